#include "work/bisect.h"

#include "base/time.h"
#include "cli/verb.h"
#include "work/counted.h"
#include "work/point.h"

#include <stdio.h>

/* `bisect` and `find-deletion`: the same search, with another question. */

struct words {
    const char *clean, *not_clean;
};
static const struct words query_words = {"clean", "not clean"}, row_words = {"there", "not there"};

/* To the microsecond, which is what the server's clock says and --target-time takes. */
static void instant_text(int64_t ns, char out[40]) {
    char when[32];
    time_format(ns, when);
    snprintf(out, 40, "%.19s.%06dZ", when, (int)(ns % NS_PER_S / 1000));
}

struct telling {
    struct cli *c;
    const struct words *words;
};

static const char *word(const struct words *w, enum bisect_answer a) {
    return a == BISECT_CLEAN ? w->clean : a == BISECT_NOT ? w->not_clean : "unknown";
}

static json_t *try_json(const struct bisect_try *t) {
    const char *to = *t->lsn ? t->lsn : t->end ? "end" : NULL;
    return json_pack("{s:s, s:s*, s:o*, s:o, s:s, s:O*, s:s*, s:I}", "snapshot", t->id, "recovered_to", to, "before",
                     t->before ? json_true() : NULL, "time", point_time_json(t->time_ns), "answer",
                     t->answer == BISECT_CLEAN ? "clean"
                     : t->answer == BISECT_NOT ? "not_clean"
                                               : "unknown",
                     "value", t->value, "text", *t->text ? t->text : NULL, "duration_ms",
                     (json_int_t)(t->took_ns / 1000000));
}

static void value_text(const struct bisect_try *t, char *out, size_t n) {
    const char *sep = *t->text ? "; " : "";
    if (json_is_string(t->value))
        snprintf(out, n, "%.60s%s%.200s", json_string_value(t->value), sep, t->text);
    else if (json_is_integer(t->value))
        snprintf(out, n, "%lld%s%.200s", (long long)json_integer_value(t->value), sep, t->text);
    else
        snprintf(out, n, "%s", *t->text ? t->text : json_is_null(t->value) ? "NULL" : "-");
}

/* The point, and how far it was recovered from there. */
static void place_text(const struct bisect_try *t, char *out, size_t n) {
    snprintf(out, n, "%s%s%s", t->id,
             *t->lsn && t->before ? " to just before "
             : *t->lsn            ? " to "
             : t->end             ? " to the end of the WAL"
                                  : "",
             t->lsn);
}

static void each(void *ctx, const struct bisect_try *t) {
    const struct telling *x = ctx;
    char when[32], took[32], value[304], place[SNAPSHOT_ID_MAX + 64];
    time_format(t->time_ns, when);
    duration_format(t->took_ns, took);
    value_text(t, value, sizeof value);
    place_text(t, place, sizeof place);
    enum style style = t->answer == BISECT_CLEAN ? STYLE_GOOD : t->answer == BISECT_NOT ? STYLE_BAD : STYLE_WARN;
    output_styled(x->c->output, style, "  %s  %s  %-9s  %s  (%s)\n", when, place, word(x->words, t->answer), value,
                  took);
    output_event(x->c->output, "try", try_json(t));
}

static void end_line(struct cli *c, const char *what, const struct bisect_try *t, bool has) {
    char when[32], place[SNAPSHOT_ID_MAX + 64];
    if (!has) {
        output_print(c->output, "%s  none\n", what);
        return;
    }
    time_format(t->time_ns, when);
    place_text(t, place, sizeof place);
    output_print(c->output, "%s  %s  %s\n", what, when, place);
}

static json_t *transaction_json(const struct bisect_transaction *t) {
    if (!t->xid) return json_null();
    char when[40];
    instant_text(t->time_ns, when);
    return json_pack("{s:I, s:s, s:I, s:s, s:s, s:I}", "xid", (json_int_t)t->xid, "lsn", t->lsn, "timeline",
                     (json_int_t)t->timeline, "time", when, "base", t->base, "commits_between",
                     (json_int_t)t->looked_at);
}

static void transaction_tell(struct cli *c, const struct bisect_result *r, const struct bisect_options *o) {
    const struct bisect_transaction *t = &r->transaction;
    char when[40];
    if (t->xid) {
        instant_text(t->time_ns, when);
        output_styled(c->output, STYLE_BOLD, "transaction:       %lu  committed %s  at %s, timeline %lu\n",
                      (unsigned long)t->xid, when, t->lsn, (unsigned long)t->timeline);
        if (!o->pick) return;
        output_print(c->output, "\nTo see what it took:\n  proofkeep restore %s@%s%s%s --rows '", o->address, t->base,
                     o->database ? " --database " : "", o->database ? o->database : "");
        for (const char *p = o->pick; *p; p++)
            if (*p == '\'')
                output_print(c->output, "'\\''");
            else
                output_print(c->output, "%c", *p);
        output_print(c->output, "' --target-lsn %s --target-exclusive\n\n", t->lsn);
    } else if (*r->why_none && r->found.has_not)
        output_styled(c->output, STYLE_WARN, "the transaction was not found: %s\n", r->why_none);
}

static void tell(struct cli *c, const struct bisect_result *r, const struct bisect_options *o) {
    char took[32];
    const bool row = o->pick != NULL;
    duration_format(r->duration_ns, took);
    end_line(c, row ? "last there:      " : "last clean:      ", &r->clean, *r->clean.id != 0);
    end_line(c, row ? "first not there: " : "first not clean: ", &r->not_clean, r->found.has_not);
    transaction_tell(c, r, o);
    if (r->between) output_print(c->output, "%s between them gave no answer\n", COUNTED(r->between, "recovery point"));
    if (!r->found.monotonic)
        output_styled(
            c->output, STYLE_WARN,
            "the answers go back and forth: some earlier point is not what this one is; --all tries every one\n");
    if (r->found.has_clean && !r->found.has_not)
        output_print(c->output, "%s\n", row ? "It is still there in the newest." : "The newest is clean.");
    size_t instants = 0;
    for (size_t i = 0; i < r->count; i++) instants += *r->tries[i].lsn != 0;
    output_print(c->output, "%s of %llu tried", COUNTED(r->count - instants, "recovery point"),
                 (unsigned long long)r->points);
    if (instants) output_print(c->output, ", and %s between", COUNTED(instants, "instant"));
    output_print(c->output, ", in %s\n", took);
    json_t *tries = json_array();
    for (size_t i = 0; tries && i < r->count; i++) json_array_append_new(tries, try_json(&r->tries[i]));
    output_set_result(c->output,
                      json_pack("{s:o, s:o, s:o, s:b, s:I, s:I, s:o, s:I}", row ? "last_there" : "last_clean",
                                *r->clean.id ? try_json(&r->clean) : json_null(),
                                row ? "first_not_there" : "first_not_clean",
                                r->found.has_not ? try_json(&r->not_clean) : json_null(), "transaction",
                                transaction_json(&r->transaction), "monotonic", (int)r->found.monotonic, "between",
                                (json_int_t)r->between, "points", (json_int_t)r->points, "tries", tries, "duration_ms",
                                (json_int_t)(r->duration_ns / 1000000)));
}

static int search(struct cli *c, struct bisect_options *o, struct error *err) {
    struct work *w = NULL;
    struct bisect_result r = {0};
    struct telling t = {c, o->pick ? &row_words : &query_words};
    o->address = options_operand(c->options, 0);
    o->database = options_text(c->options, OPT_DATABASE);
    o->since = options_text(c->options, OPT_SINCE);
    o->until = options_text(c->options, OPT_UNTIL);
    o->every = options_flag(c->options, OPT_ALL);
    o->points_only = options_flag(c->options, OPT_POINTS_ONLY);
    int rc = verb_work(c, &w, err);
    if (rc == 0) rc = bisect_points(w, o, each, &t, &r, err);
    if (rc == 0) tell(c, &r, o);
    if (rc == 0 && !*r.clean.id)
        rc = error_set(err, ERR_NO_CLEAN_POINT, "%s of %s", COUNTED(r.count, "recovery point"),
                       o->pick ? "those tried has the row" : "those tried answers as expected");
    bisect_free(&r);
    work_close(w);
    return rc;
}

int verb_run_bisect(struct cli *c, struct error *err) {
    size_t n;
    struct bisect_options o = {.query = options_text(c->options, OPT_QUERY),
                               .expect = options_text(c->options, OPT_EXPECT),
                               .tables = options_list(c->options, OPT_PATH, &n)};
    output_set_job(c->output, "bisect");
    return search(c, &o, err);
}

int verb_run_find_deletion(struct cli *c, struct error *err) {
    struct bisect_options o = {.pick = options_operand(c->options, 1)};
    output_set_job(c->output, "find-deletion");
    return search(c, &o, err);
}
