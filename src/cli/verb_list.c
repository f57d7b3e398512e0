#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/listing_sets.h"
#include "cli/stream.h"
#include "work/point.h"
#include "work/select.h"
#include "work/wal_window.h"

#include <stdio.h>

static const struct listing_column columns[] = {
    {"POINT", false}, {"TIME", false},     {"SIZE", true},   {"STORED", true},
    {"ITEMS", true},  {"VERIFIED", false}, {"NOTES", false},
};
#define COLUMNS (sizeof columns / sizeof *columns)

struct list {
    struct cli *c;
    struct work *w;
    const struct selection *s;
    struct stream stream;
    struct listing *listing, *sets;
    json_t *set_rows;
    const char *operand;
    size_t shown;
    struct buf windows; /* what surfaces with WAL can be recovered to, for after the list */
};

static void note(char notes[160], const char *text) {
    size_t n = strlen(notes);
    snprintf(notes + n, 160 - n, "%s%s", n ? ", " : "", text);
}

static int row(struct list *l, const struct snapshot_info *p, struct error *err) {
    char point[400], time[32], size[32], stored[32], items[32], verified[64], held[32], notes[160] = "";
    char hex[33], source[48];
    snprintf(point, sizeof point, "%.120s/%.120s@%s", p->environment, p->surface, p->id);
    time_format(point_time(p), time);
    size_format(p->bytes, size);
    size_format(p->stored_bytes, stored);
    snprintf(items, sizeof items, "%llu", (unsigned long long)p->items);
    snprintf(verified, sizeof verified, "%s", p->verify_failed ? "DAMAGED" : point_level(p->verified));
    if (!p->complete) note(notes, "partial");
    if (p->before_restore) note(notes, "before a restore");
    if (repo_snapshot_suspect(l->w->repo, p)) note(notes, "suspect");
    snprintf(held, sizeof held, "held by %u", p->holds);
    if (p->holds) note(notes, p->holds == 1 ? "held" : held);
    if (p->forgotten) note(notes, "forgotten");
    if (p->is_copy) {
        hex_encode(p->source.repository, sizeof p->source.repository, hex);
        snprintf(source, sizeof source, "copy of %.8s", hex);
        note(notes, source);
    }
    const char *cells[COLUMNS] = {point, time, size, stored, items, verified, notes};
    int rc = listing_row(l->listing, cells, err);
    if (rc == 0 && p->verify_failed) listing_style(l->listing, 5, STYLE_BAD);
    if (rc == 0 && !p->complete) listing_style(l->listing, 6, STYLE_WARN);
    return rc;
}

static int windows_of(struct list *l, const struct wal_batch *b, struct error *err) {
    struct wal_window *list = NULL;
    char text[120];
    size_t n;
    int rc = wal_windows_of(l->w, b->environment, b->surface, &list, &n, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        wal_window_text(&list[i], text);
        rc = buf_printf(&l->windows, err, "Recoverable on %s (%s/%s)\n", text, b->environment, b->surface);
    }
    seam_free(list);
    return rc;
}

/* Each surface once, by its newest entry. */
static int windows(struct list *l, struct error *err) {
    const struct repo *r = l->w->repo;
    int rc = 0;
    for (size_t i = wal_log_count(r); i-- > 0 && rc == 0;) {
        const struct wal_batch *b = wal_log_batch(r, i);
        bool seen = !selection_has(l->s, l->w->config, b->environment, b->surface);
        for (size_t k = wal_log_count(r); k-- > i + 1 && !seen;)
            seen = strcmp(wal_log_batch(r, k)->environment, b->environment) == 0 &&
                   strcmp(wal_log_batch(r, k)->surface, b->surface) == 0;
        if (!seen) rc = windows_of(l, b, err);
    }
    return rc;
}

static int set_row(struct list *l, const struct set_info *s, struct error *err) {
    json_t *j = NULL;
    int rc = listing_sets_row(l->sets, l->w, s, err);
    if (rc == 0) rc = set_json(l->w, s, &j, err);
    if (rc == 0) rc = json_put_str(j, "repository", repo_id_hex(l->w->repo), err);
    return rc == 0 ? json_push(l->set_rows, j, err) : (json_decref(j), rc);
}

/* Those of which a surface is selected. */
static int sets(struct list *l, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < repo_set_count(l->w->repo) && rc == 0; i++) {
        const struct set_info *s = repo_set(l->w->repo, i);
        bool any = false;
        if (!set_members_left(l->w, s) && !options_flag(l->c->options, OPT_ALL)) continue;
        for (size_t k = 0; k < s->member_count; k++) {
            const struct snapshot_info *p = repo_snapshot_at(l->w->repo, s->members[k]);
            any |= p && selection_has(l->s, l->w->config, p->environment, p->surface);
        }
        if (any) rc = set_row(l, s, err);
    }
    return rc;
}

static int repository(void *ctx, const char *url, const struct error *failed, struct error *err) {
    struct list *l = ctx;
    const struct snapshot_info *only = NULL;
    const struct address *a = &l->s->address;
    int rc = 0;
    (void)url;
    if (failed) {
        *err = *failed;
        return -(int)err->code;
    }
    if (!l->s->everything && a->point.kind != POINT_UNSAID) {
        const struct set_info *one;
        if ((rc = set_find(l->w, l->operand, &one, err)) < 0) return rc;
        if (one) l->shown++;
        if (one) return set_row(l, one, err);
        if (a->surface_count != 1) return error_set(err, ERR_USAGE, "a recovery point is of one surface");
        if ((rc = work_point_of(l->w, a->environment, a->surfaces[0], &a->point, &only, err)) < 0) return rc;
    }
    for (size_t i = 0; i < repo_snapshot_count(l->w->repo) && rc == 0; i++) {
        const struct snapshot_info *p = repo_snapshot(l->w->repo, i);
        json_t *j = NULL;
        if (only ? p != only : p->forgotten && !options_flag(l->c->options, OPT_ALL)) continue;
        if (!selection_has(l->s, l->w->config, p->environment, p->surface)) continue;
        l->shown++;
        if (!output_is_json(l->c->output)) {
            rc = row(l, p, err);
        } else {
            rc = point_json(p, &j, err);
            if (rc == 0) rc = json_put_str(j, "repository", repo_id_hex(l->w->repo), err);
            if (rc == 0)
                rc = json_put(j, "suspect", json_boolean(repo_snapshot_suspect(l->w->repo, p)), err);
            if (rc == 0)
                rc = stream_item(&l->stream, j, err);
            else
                json_decref(j);
        }
    }
    if (rc == 0 && !only) rc = sets(l, err);
    return rc == 0 && !only && !output_is_json(l->c->output) ? windows(l, err) : rc;
}

int verb_run_list(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    struct selection s;
    struct list l = {
        .c = c, .s = &s, .operand = options_operand(c->options, 0), .windows = BUF_INIT(1u << 20)};
    int rc = selection_parse(options_operand(c->options, 0), true, &s, err);
    if (rc == 0) rc = verb_work(c, &w, err);
    l.w = w;
    if (rc == 0) rc = listing_new(columns, COLUMNS, &l.listing, err);
    if (rc == 0) rc = listing_sets_new(&l.sets, err);
    json_auto_t *tail = json_pack("{s:[]}", "sets");
    l.set_rows = json_object_get(tail, "sets");
    if (rc == 0 && !tail) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = stream_begin(&l.stream, c->output, NULL, "points", err);
    if (rc == 0) rc = work_each_repository(w, &s, repository, &l, err);
    if (rc == 0) rc = stream_end(&l.stream, tail, err);
    if (rc == 0) listing_print(l.listing, c->output);
    if (rc == 0 && listing_rows(l.listing) && listing_rows(l.sets)) output_print(c->output, "\n");
    if (rc == 0) listing_print(l.sets, c->output);
    if (rc == 0 && l.windows.len && (rc = buf_terminate(&l.windows, err)) == 0)
        output_print(c->output, "%s", (const char *)l.windows.ptr);
    buf_free(&l.windows);
    if (rc == 0 && l.shown == 0 && !w->options.repository) rc = selection_check(&s, w, err);
    if (rc == 0 && l.shown == 0) output_remark(c->output, "There are no recovery points.");
    stream_free(&l.stream);
    listing_free(l.sets);
    listing_free(l.listing);
    return rc;
}
