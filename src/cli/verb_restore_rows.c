#include "cli/verb_restore.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "work/counted.h"
#include "work/past_recovery.h"
#include "work/rows.h"

#include <stdio.h>

#define SHOWN_TABLES 512 /* more than a plan can have */
#define SHOWN 10         /* rows of a table that the plan shows; -v shows all */

/* ---- rows as people read them ---- */
struct showing {
    struct cli *c;
    const json_t *tables; /* [table lines] */
    uint64_t *seen;       /* by table, then kind */
    uint64_t shown_max;
};

static void put(struct buf *line, const char *s, struct error *err) {
    if (buf_append_str(line, s, err) < 0) error_clear(err); /* a line that is cut is still a line */
}

static void put_value(struct buf *line, const json_t *v, struct error *err) {
    CLEANUP(buf_free) struct buf value = BUF_INIT(CHANGE_LINE_BYTES_MAX);
    bool null = true;
    if (change_set_value(v, &null, &value, err) < 0) error_clear(err);
    if (null) {
        put(line, "NULL", err);
        return;
    }
    size_t n = value.len > 60 ? 57 : value.len;
    if (buf_printf(line, err, "'%.*s%s'", (int)n, value.ptr ? (const char *)value.ptr : "",
                   n < value.len ? "..." : "") < 0)
        error_clear(err);
}

static void put_column(struct buf *line, const json_t *table, size_t i, struct error *err) {
    put(line, line->len ? ", " : "", err);
    put(line, json_text(json_array_get(json_object_get(table, "columns"), i), "name", "-"), err);
    put(line, "=", err);
}

static int on_row(void *ctx, size_t number, enum change_row kind, const json_t *row, struct error *err) {
    struct showing *s = ctx;
    const json_t *table = json_array_get(s->tables, number), *v;
    const json_t *then = json_object_get(row, "then"), *now = json_object_get(row, "now");
    CLEANUP(buf_free) struct buf key = BUF_INIT(4096);
    CLEANUP(buf_free) struct buf line = BUF_INIT(1 << 20);
    size_t i;
    if (s->seen[number]++ >= s->shown_max) return 0;
    json_array_foreach(json_object_get(row, "key"), i, v) {
        put(&key, i ? ", " : "", err);
        put_value(&key, v, err);
    }
    json_array_foreach(kind == CHANGE_ROW_ADDED ? now : then, i, v) {
        if (kind == CHANGE_ROW_CHANGED && json_equal(v, json_array_get(now, i))) continue;
        put_column(&line, table, i, err);
        if (kind == CHANGE_ROW_CHANGED) {
            put_value(&line, json_array_get(now, i), err);
            put(&line, " -> ", err);
        }
        put_value(&line, v, err);
    }
    output_styled(s->c->output,
                  kind == CHANGE_ROW_ADDED     ? STYLE_BAD
                  : kind == CHANGE_ROW_CHANGED ? STYLE_WARN
                                               : STYLE_GOOD,
                  "    %s %s  (%.*s)  %.*s%s\n",
                  kind == CHANGE_ROW_ADDED     ? "remove"
                  : kind == CHANGE_ROW_CHANGED ? "revert"
                                               : "bring back",
                  json_text(table, "table", "-"), (int)key.len, key.ptr ? (const char *)key.ptr : "", (int)line.len,
                  line.ptr ? (const char *)line.ptr : "",
                  json_is_true(json_object_get(row, "parent")) ? "  (referred to)" : "");
    return 0;
}

static int on_table(void *ctx, size_t number, const json_t *line, struct error *err) {
    struct showing *s = ctx;
    if (number >= SHOWN_TABLES) return error_set(err, ERR_CHANGE_SET, "the change set has too many tables");
    return json_push((json_t *)s->tables, json_incref((json_t *)line), err);
}

static int rows_print(struct cli *c, const struct rows_plan *p, struct error *err) {
    static const struct change_set_reader reader = {.table = on_table, .row = on_row};
    uint64_t seen[SHOWN_TABLES] = {0};
    json_t *tables = json_array();
    struct showing s = {.c = c,
                        .tables = tables,
                        .seen = seen,
                        .shown_max = options_switches(c->options, OPT_VERBOSE) ? UINT64_MAX : SHOWN};
    if (output_is_json(c->output)) {
        json_decref(tables);
        return 0;
    }
    int rc = tables ? rows_plan_read(p, &reader, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; rc == 0 && i < json_array_size(tables); i++)
        if (seen[i] > s.shown_max)
            output_print(c->output, "    and %llu more of %s; -v shows all, the change set has them\n",
                         (unsigned long long)(seen[i] - s.shown_max),
                         json_text(json_array_get(tables, i), "table", "-"));
    json_decref(tables);
    return rc;
}

/* ---- the plan ---- */
static void tables_print(struct cli *c, const json_t *list) {
    const json_t *t;
    size_t i;
    json_array_foreach(list, i, t) {
        char added[48] = "";
        long long parents = (long long)json_integer_value(json_object_get(t, "parents"));
        if (json_is_integer(json_object_get(t, "added")))
            snprintf(added, sizeof added, ", %lld added", (long long)json_integer_value(json_object_get(t, "added")));
        if (json_is_true(json_object_get(t, "picked")))
            output_print(c->output, "  table     %s: since then %lld deleted, %lld changed%s, %lld the same\n",
                         json_text(t, "table", "-"), (long long)json_integer_value(json_object_get(t, "deleted")),
                         (long long)json_integer_value(json_object_get(t, "changed")), added,
                         (long long)json_integer_value(json_object_get(t, "same")));
        if (parents)
            output_print(c->output, "  table     %s: %lld that others refer to\n", json_text(t, "table", "-"), parents);
    }
}

/* Of a physical backup: what its WAL was followed to. */
static void recovery_print(struct cli *c, const json_t *r) {
    static const char *const keys[] = {"time", "lsn", "xid", "name"};
    static const char *const words[] = {"", "LSN ", "transaction ", "restore point "};
    const char *before = json_is_true(json_object_get(r, "exclusive")) ? "just before " : "";
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(r, keys[i]))
            output_print(c->output, "  instant   %s%s%s\n", before, words[i], json_text(r, keys[i], "-"));
    if (json_object_get(r, "latest")) output_print(c->output, "  instant   the end of the WAL\n");
    verb_restore_found_print(c, json_object_get(r, "found"));
}

static int plan_print(struct cli *c, const struct rows_plan *p, struct error *err) {
    const json_t *d = p->doc, *one;
    size_t i;
    output_styled(c->output, STYLE_BOLD, "Plan %s\n", p->id);
    output_print(c->output, "  rows of   %s  from %s\n", p->label, p->snapshot_id);
    output_print(c->output, "  point     %s\n", json_text(d, "point", "-"));
    recovery_print(c, json_object_get(d, "recovery"));
    output_print(c->output, "  into      database %s, live\n", json_text(d, "database", "-"));
    tables_print(c, json_object_get(d, "tables"));
    output_print(c->output, "  changes   %s, %s\n", COUNTED(p->rows, "row"), p->changes);
    int rc = rows_print(c, p, err);
    json_array_foreach(json_object_get(d, "missing_parents"), i, one)
        output_styled(c->output, STYLE_BAD, "  missing   %lld of %s refer to rows of %s that are gone too (%s)\n",
                      (long long)json_integer_value(json_object_get(one, "rows")), json_text(one, "table", "-"),
                      json_text(one, "parent", "-"), json_text(one, "constraint", "-"));
    json_array_foreach(json_object_get(d, "triggers"), i, one)
        output_print(c->output, "  trigger   %s on %s\n", json_text(one, "trigger", "-"), json_text(one, "table", "-"));
    json_array_foreach(json_object_get(d, "warnings"), i, one)
        output_styled(c->output, STYLE_WARN, "  warning   %s\n", json_string_value(one));
    verb_restore_plan_event(c, p->doc);
    return rc;
}

/* ---- making and carrying out ---- */
static unsigned take_of(struct cli *c) {
    size_t n;
    const char *const *list = options_list(c->options, OPT_TAKE, &n);
    unsigned take = 0;
    for (size_t i = 0; i < n; i++)
        take |= !strcmp(list[i], "deleted") ? ROWS_DELETED : !strcmp(list[i], "changed") ? ROWS_CHANGED : ROWS_ADDED;
    return take ? take : ROWS_DELETED;
}

static int no_others(struct cli *c, struct error *err) {
    static const enum option_id others[] = {OPT_INTO,      OPT_PATH,          OPT_IN_PLACE,       OPT_SWAP,
                                            OPT_TERMINATE, OPT_NO_OWNER,      OPT_DELTA,          OPT_TABLESPACE,
                                            OPT_STANDBY,   OPT_TARGET_ACTION, OPT_NO_BACKUP_FIRST};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (options_given(c->options, others[i]))
            return error_set(err, ERR_USAGE,
                             "--rows brings back rows of live tables; --%s is for restores of the whole",
                             option_table[others[i]].name);
    return 0;
}

/* false: nothing is asked for but the point itself */
static bool recovery_of(struct cli *c, struct restore_recovery *ret) {
    const char *target = options_text(c->options, OPT_TARGET);
    *ret = (struct restore_recovery){.time = options_text(c->options, OPT_TARGET_TIME),
                                     .lsn = options_text(c->options, OPT_TARGET_LSN),
                                     .xid = options_text(c->options, OPT_TARGET_XID),
                                     .name = options_text(c->options, OPT_TARGET_NAME),
                                     .timeline = options_text(c->options, OPT_TARGET_TIMELINE),
                                     .exclusive = options_flag(c->options, OPT_TARGET_EXCLUSIVE),
                                     .immediate = target && !strcmp(target, "immediate"),
                                     .restore_command = target && !strcmp(target, "latest") ? target : NULL};
    return past_recovers(ret);
}

static int plan_make(struct cli *c, struct work *w, struct rows_plan *p, struct error *err) {
    size_t n;
    struct restore_recovery q;
    struct rows_options o = {.recovery = recovery_of(c, &q) ? &q : NULL,
                             .database = options_text(c->options, OPT_DATABASE),
                             .picks = options_list(c->options, OPT_ROWS, &n),
                             .take = take_of(c),
                             .with_parents = options_flag(c->options, OPT_WITH_PARENTS),
                             .no_triggers = options_flag(c->options, OPT_NO_TRIGGERS),
                             .changes = options_text(c->options, OPT_CHANGES)};
    int rc = no_others(c, err);
    return rc == 0 ? rows_plan_make(w, options_operand(c->options, 0), &o, p, err) : rc;
}

static void done_print(struct cli *c, const struct rows_plan *p, const struct rows_done *d) {
    char took[32];
    const json_t *one;
    size_t i;
    duration_format(d->duration_ns, took);
    output_progress_end(c->output, p->label, STYLE_GOOD, "APPLIED  %s brought back, %llu reverted, %llu removed, in %s",
                        COUNTED(d->inserted, "row"), (unsigned long long)d->updated, (unsigned long long)d->deleted,
                        took);
    json_array_foreach(json_object_get(d->facts, "written_by_triggers"), i, one)
        output_warning(c->output, p->label, "triggers also wrote %lld rows of %s",
                       (long long)json_integer_value(json_object_get(one, "rows")), json_text(one, "table", "-"));
    json_array_foreach(json_object_get(d->facts, "warnings"), i, one)
        output_warning(c->output, p->label, "%s", json_string_value(one));
    output_set_result(c->output, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:O}", "plan", p->id, "snapshot",
                                           p->snapshot_id, "inserted", (json_int_t)d->inserted, "updated",
                                           (json_int_t)d->updated, "deleted", (json_int_t)d->deleted, "duration_ms",
                                           (json_int_t)(d->duration_ns / 1000000), "facts", d->facts));
}

static int run(struct cli *c, struct work *w, const struct rows_plan *p, struct error *err) {
    CLEANUP(buf_free) struct buf typed = BUF_INIT(4096);
    const char *confirm = NULL;
    struct rows_done done = {0};
    int rc = prompt_phrase(c, p->protected ? p->phrase : NULL, &typed, &confirm, err);
    if (rc == 0) rc = rows_plan_run(w, p, confirm, &done, err);
    if (rc == 0)
        done_print(c, p, &done);
    else if (err->code != ERR_CONFIRM)
        output_progress_end(c->output, p->label, STYLE_BAD, "FAILED");
    json_decref(done.facts);
    return rc;
}

bool verb_restore_is_rows(struct cli *c) {
    const char *plan = options_text(c->options, OPT_PLAN);
    return options_given(c->options, OPT_ROWS) || (plan && rows_plan_is(plan));
}

int verb_restore_rows(struct cli *c, struct error *err) {
    struct work *w = NULL;
    struct rows_plan p = {0};
    const char *plan = options_text(c->options, OPT_PLAN);
    output_set_job(c->output, "restore");
    int rc = verb_work(c, &w, err);
    if (rc == 0) rc = plan ? rows_plan_load(w, plan, &p, err) : plan_make(c, w, &p, err);
    if (rc == 0) rc = plan_print(c, &p, err);
    if (rc == 0 && plan && !options_flag(c->options, OPT_DRY_RUN))
        rc = run(c, w, &p, err);
    else if (rc == 0) {
        output_set_result(c->output,
                          json_pack("{s:s, s:I, s:s}", "plan", p.id, "rows", (json_int_t)p.rows, "changes", p.changes));
        if (p.rows == 0)
            output_print(c->output, "\nNothing of what was asked for is missing.\n");
        else if (p.missing_parents)
            output_print(
                c->output,
                "\nIt cannot be carried out while rows are missing: add --with-parents, or name their tables.\n");
        else {
            output_print(c->output, "\nTo carry it out:\n  proofkeep restore --plan %s", p.id);
            if (p.protected) output_print(c->output, " --confirm '%s'", p.phrase);
            output_print(c->output, "\n");
        }
    }
    rows_plan_free(&p);
    work_close(w);
    return rc;
}
