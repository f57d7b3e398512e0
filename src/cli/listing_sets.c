#include "cli/listing_sets.h"

#include "base/time.h"
#include "cli/verb.h"
#include "work/counted.h"

#include <stdio.h>

static const struct listing_column columns[] = {
    {"SET", false}, {"TIME", false}, {"CONSISTENCY", false}, {"SURFACES", true}, {"RESTORED", false}, {"NOTES", false},
};
#define COLUMNS (sizeof columns / sizeof *columns)

int listing_sets_new(struct listing **ret, struct error *err) {
    return listing_new(columns, COLUMNS, ret, err);
}

int listing_sets_row(struct listing *l, const struct work *w, const struct set_info *s, struct error *err) {
    char point[1300], time[32], surfaces[32], restored[64] = "never", notes[100] = "", took[32];
    const size_t left = set_members_left(w, s), all = s->member_count + s->missing;
    snprintf(point, sizeof point, "%.120s/%.1023s@%s", s->environment, s->name, s->id);
    time_format(set_time(w, s), time);
    snprintf(surfaces, sizeof surfaces, "%zu", all);
    duration_format(s->restore_took_ns, took);
    if (s->restored_ns) snprintf(restored, sizeof restored, "in %s", took);
    if (!s->complete) snprintf(notes, sizeof notes, "partial, %zu of %zu", s->member_count, all);
    if (left < s->member_count) snprintf(notes, sizeof notes, "%zu of %zu left", left, all);
    const char *cells[COLUMNS] = {point, time, s->consistency, surfaces, restored, notes};
    int rc = listing_row(l, cells, err);
    if (rc == 0 && *notes) listing_style(l, 5, STYLE_WARN);
    return rc;
}

/* ---- status ---- */
static const struct listing_column board[] = {
    {"SET", false},         {"STATE", false},    {"LAST WHOLE", false}, {"RPO", false},
    {"CONSISTENCY", false}, {"RESTORED", false}, {"RTO", false},        {"WHY", false},
};
#define BOARD (sizeof board / sizeof *board)

static const char *target(const struct config_duration *d) {
    return d->state == CONFIG_UNSET ? "unset" : d->text;
}

static int board_row(struct listing *l, const struct status_set *s, int64_t now_ns, struct error *err) {
    char label[1200], good[48] = "never", restored[96] = "never", took[32], age[48];
    snprintf(label, sizeof label, "%.126s/%.1023s", s->environment, s->set);
    if (s->good_time_ns) verb_age(s->good_time_ns, now_ns, good);
    if (s->restored_ns) {
        verb_age(s->restored_ns, now_ns, age);
        duration_format(s->restore_took_ns, took);
        snprintf(restored, sizeof restored, "%s in %s", age, took);
    }
    const char *cells[BOARD] = {
        label, status_state_name(s->state), good, target(&s->rpo), s->consistency, restored, target(&s->rto), s->why};
    int rc = listing_row(l, cells, err);
    if (rc == 0)
        listing_style(l, 1, status_fails(s->state) ? STYLE_BAD : s->state == STATUS_GOOD ? STYLE_GOOD : STYLE_WARN);
    return rc;
}

int listing_sets_status(struct cli *c, const struct status *st, struct error *err) {
    struct listing *l = NULL;
    if (st->set_count == 0) return 0;
    int rc = listing_new(board, BOARD, &l, err);
    for (size_t i = 0; i < st->set_count && rc == 0; i++) rc = board_row(l, &st->sets[i], st->now_ns, err);
    if (rc == 0) output_print(c->output, "\n");
    if (rc == 0) listing_print(l, c->output);
    listing_free(l);
    return rc;
}

/* ---- show ---- */
int listing_sets_show(struct cli *c, struct work *w, const struct set_info *s, struct error *err) {
    json_auto_t *set = NULL, *receipt = NULL;
    const json_t *m;
    char started[32], completed[32], size[32], took[32], hex[65];
    struct output *o = c->output;
    size_t i;
    int rc = set_json(w, s, &set, err);
    if (rc == 0) rc = set_predicate(w, s, &receipt, err);
    if (rc < 0) return rc;
    time_format(set_time(w, s), started);
    time_format(s->completed_ns, completed);
    hex_encode(s->entry.b, DIGEST_BYTES, hex);
    output_styled(o, STYLE_BOLD, "%s/%s@%s\n", s->environment, s->name, s->id);
    output_print(o, "set        %s, %s, %zu of its %s still there\n", s->complete ? "whole" : "partial", s->consistency,
                 set_members_left(w, s), COUNTED(s->member_count, "recovery point"));
    output_print(o, "taken      %s to %s by %s\n", started, completed, json_text(receipt, "principal", ""));
    const json_t *freeze = json_object_get(receipt, "freeze");
    duration_format(json_integer_value(json_object_get(freeze, "frozen_ms")) * 1000000, took);
    if (json_is_object(freeze))
        output_print(o, "frozen     for %s, which %s\n", took,
                     json_is_true(json_object_get(freeze, "held")) ? "held for all captures"
                                                                   : "did NOT hold for all captures");
    duration_format(s->restore_took_ns, took);
    output_print(o, "restored   %s%s\n", s->restored_ns ? "the last time whole in " : "never whole",
                 s->restored_ns ? took : "");
    output_print(o, "receipt    log entry %llu, sha256 %s\n", (unsigned long long)s->seq, hex);
    json_array_foreach(json_object_get(receipt, "members"), i, m) {
        const struct snapshot_info *p =
            repo_snapshot_at(w->repo, (uint64_t)json_integer_value(json_object_get(m, "seq")));
        size_format((uint64_t)json_integer_value(json_object_get(m, "bytes")), size);
        output_print(o, "  %-14s %s  %s, %s, %s%s%s\n", json_text(m, "surface", ""), json_text(m, "backup_id", ""),
                     json_text(m, "kind", ""), json_text(m, "consistency", ""), size,
                     json_is_true(json_object_get(m, "complete")) ? "" : ", PARTIAL",
                     p && !p->forgotten ? "" : ", FORGOTTEN");
    }
    json_array_foreach(json_object_get(receipt, "missing"), i, m)
        output_styled(o, STYLE_BAD, "  %-14s MISSING  %s %s\n", json_text(m, "surface", ""), json_text(m, "code", ""),
                      json_text(m, "text", ""));
    json_t *document = json_pack("{s:O, s:O}", "set", set, "receipt", receipt);
    if (!document) return error_set(err, ERR_NO_MEMORY, "no memory");
    output_document(o, document);
    return 0;
}
