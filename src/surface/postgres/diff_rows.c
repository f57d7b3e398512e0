#include "surface/postgres/rows_diff.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"

#include <stdio.h>

/* One side is walked in the order of the key, the other is asked for the same keys, a batch at a time: what is equal is
 * for the key's own type to say (1.0 and 1.00 are one number), and neither side has to sort the other's rows. */

#define BATCH_BYTES (4u << 20)
#define BATCH_ROWS 1000
#define BATCH_ROWS_SLOW 20000 /* where no index helps, each batch reads the whole table */

struct count {
    uint64_t deleted, changed, added, same, taken;
    int64_t highest; /* of the column that a sequence feeds, among rows that come back */
    bool has_highest;
};
struct differ {
    const struct surface_context *ctx;
    const struct rows_wish *wish;
    struct pg_rows_side side;
    struct pg_parents *parents;
    struct count *counts; /* one a table */
    json_t *warnings;
    struct buf last_key; /* of the row before, where the past is walked */
    uint64_t rows_seen, bytes_seen;
};

/* ---- the tables ---- */
static bool has_table(const struct pg_row_table *list, size_t n, const char *schema, const char *table) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].pick.schema, schema) && !strcmp(list[i].pick.table, table)) return true;
    return false;
}

static int add_table(PGconn *live, struct pg_pick *pick, bool picked, struct pg_row_table **list, size_t *n,
                     size_t *cap, struct error *err) {
    struct pg_row_table t;
    int rc = pg_row_table_open(live, pick, picked, &t, err);
    if (rc < 0) return rc;
    if ((rc = mem_grow((void **)list, cap, *n + 1, sizeof **list, err)) < 0) {
        pg_row_table_free(&t);
        return rc;
    }
    (*list)[(*n)++] = t;
    return 0;
}

static int add_parents(PGconn *live, struct pg_row_table **list, size_t *n, size_t *cap, size_t at, struct error *err) {
    const json_t *fks = json_object_get((*list)[at].live, "fks"), *fk;
    size_t i;
    int rc = 0;
    json_array_foreach(fks, i, fk) {
        const char *schema = json_string_value(json_object_get(fk, "schema")),
                   *table = json_string_value(json_object_get(fk, "table"));
        struct pg_pick pick = {0};
        if (rc < 0 || has_table(*list, *n, schema, table)) continue;
        rc = mem_strdup(schema, &pick.schema, err);
        if (rc == 0) rc = mem_strdup(table, &pick.table, err);
        if (rc == 0) rc = add_table(live, &pick, false, list, n, cap, err);
        pg_pick_free(&pick);
    }
    return rc;
}

static void free_tables(struct pg_row_table *list, size_t n) {
    for (size_t i = 0; i < n; i++) pg_row_table_free(&list[i]);
    seam_free(list);
}

int pg_rows_tables(PGconn *live, const struct rows_wish *wish, struct pg_row_table **ret, size_t *ret_n,
                   struct error *err) {
    struct pg_row_table *list = NULL;
    size_t n = 0, cap = 0;
    int rc = wish->picks && wish->picks[0] ? 0 : error_set(err, ERR_USAGE, "no table was named");
    for (size_t i = 0; rc == 0 && wish->picks[i]; i++) {
        struct pg_pick pick;
        rc = pg_pick_parse(wish->picks[i], &pick, err);
        if (rc < 0) break;
        if (has_table(list, n, pick.schema, pick.table))
            rc = error_set(err, ERR_USAGE, "'%.80s': the table is named twice", wish->picks[i]);
        if (rc == 0) rc = add_table(live, &pick, true, &list, &n, &cap, err);
        pg_pick_free(&pick);
    }
    for (size_t i = 0; rc == 0 && wish->with_parents && i < n; i++) rc = add_parents(live, &list, &n, &cap, i, err);
    if (rc < 0) {
        free_tables(list, n);
        return rc;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

static int scope_of(const char *database, const struct pg_row_table *t, struct buf *out, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    /* The parts of a hypertable are tables that its own dump entry does not name. */
    if (json_is_true(json_object_get(t->live, "hyper"))) return pg_item_name(out, BYTES_STR(database), "contents", err);
    int rc = pg_ident(&name, BYTES_STR(t->pick.schema), err);
    if (rc == 0) rc = buf_append_str(&name, ".", err);
    if (rc == 0) rc = pg_ident(&name, BYTES_STR(t->pick.table), err);
    if (rc == 0) rc = buf_terminate(&name, err);
    return rc == 0 ? pg_rows_scope(database, (const char *)name.ptr, out, err) : rc;
}

#define SNAPSHOT "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

int pg_rows_look(const struct surface_context *ctx, const struct rows_wish *wish, json_t **ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *live = NULL;
    struct pg_row_table *tables = NULL;
    size_t n = 0;
    json_t *facts = json_object(), *include = json_array();
    int rc = facts && include ? pg_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pg_rows_connect(s, wish->database, SNAPSHOT, &live, err);
    if (rc == 0) rc = pg_rows_tables(live, wish, &tables, &n, err);
    if (rc == 0) rc = pg_server_facts(live, facts, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        CLEANUP(buf_free) struct buf scope = BUF_INIT(8192);
        rc = scope_of(wish->database, &tables[i], &scope, err);
        if (rc == 0) rc = json_push(include, json_string((const char *)scope.ptr), err);
    }
    json_t *j = rc == 0 ? json_pack("{s:O, s:s, s:O*, s:O}", "include", include, "database", wish->database,
                                    "system_identifier", json_object_get(facts, "system_identifier"),
                                    "server_version_num", json_object_get(facts, "server_version_num"))
                        : NULL;
    if (rc == 0 && !j) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    free_tables(tables, n);
    json_decref(facts);
    json_decref(include);
    if (rc == 0) *ret = j;
    return rc;
}

/* ---- one batch ---- */
static void read_row(const PGresult *q, int row, int first, size_t n, struct change_value *out) {
    for (size_t i = 0; i < n; i++) {
        int col = first + (int)i;
        bool null = PQgetisnull(q, row, col);
        out[i] = (struct change_value){null ? NULL : PQgetvalue(q, row, col), (size_t)PQgetlength(q, row, col)};
    }
}

static bool same_values(const struct change_value *a, const struct change_value *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!a[i].text != !b[i].text) return false;
        if (a[i].text && (a[i].len != b[i].len || memcmp(a[i].text, b[i].text, a[i].len) != 0)) return false;
    }
    return true;
}

/* The rows of one side that have the keys of these rows: "ord", and the columns where they are asked for. */
static int look_up(PGconn *c, const struct pg_row_table *t, const PGresult *rows, bool columns, PGresult **ret,
                   struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    struct buf arrays[PG_PICK_COLUMNS_MAX];
    const char *params[PG_PICK_COLUMNS_MAX];
    size_t n = 0;
    int rc = t->key_count <= PG_PICK_COLUMNS_MAX ? 0 : error_set(err, ERR_ROWS_KEY, "%s: too many columns", t->label);
    for (; rc == 0 && n < t->key_count; n++) {
        arrays[n] = BUF_INIT(CHANGE_LINE_BYTES_MAX);
        rc = buf_append(&arrays[n], "{", 1, err);
        for (int i = 0; rc == 0 && i < PQntuples(rows); i++) {
            int col = (int)t->key[n];
            rc = pg_array_push(&arrays[n], PQgetisnull(rows, i, col) ? NULL : PQgetvalue(rows, i, col),
                               (size_t)PQgetlength(rows, i, col), err);
        }
        if (rc == 0) rc = buf_append(&arrays[n], "}", 1, err);
        if (rc == 0) rc = buf_terminate(&arrays[n], err);
        params[n] = (const char *)arrays[n].ptr;
    }
    if (rc == 0) rc = buf_append_str(&sql, "SELECT k.ord", err);
    if (rc == 0 && columns) rc = buf_append_str(&sql, ", ", err);
    if (rc == 0 && columns) rc = pg_row_columns_sql(t, "t", &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " FROM unnest(", err);
    for (size_t i = 1; rc == 0 && i <= n; i++) rc = buf_printf(&sql, err, "%s$%zu::text[]", i > 1 ? ", " : "", i);
    if (rc == 0) rc = buf_append_str(&sql, ") WITH ORDINALITY AS k(", err);
    for (size_t i = 1; rc == 0 && i <= n; i++) rc = buf_printf(&sql, err, "k%zu, ", i);
    if (rc == 0) rc = buf_printf(&sql, err, "ord) JOIN %s t ON ", t->sql);
    if (rc == 0) rc = pg_row_join_sql(t, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " ORDER BY k.ord", err);
    if (rc == 0) rc = buf_terminate(&sql, err);
    if (rc == 0) rc = pg_rows_run(c, &sql, (int)n, params, ret, err);
    for (size_t i = 0; i < n; i++) buf_free(&arrays[i]);
    return rc;
}

static int no_key(const struct pg_row_table *t, struct error *err, const char *why) {
    error_set(err, ERR_ROWS_KEY, "%s: %s", t->label, why);
    return error_next(err, "Name columns that tell its rows apart: '%.100s(column,…)'.", t->label);
}

/* Row of `found` with this place, from *at on; -1 when there is none. Two of them mean that the key is none. */
static int found_at(const struct pg_row_table *t, const PGresult *found, int *at, int place, int *ret,
                    struct error *err) {
    *ret = -1;
    for (; *at < PQntuples(found) && atol(pg_value(found, *at, 0)) == place + 1; ++*at) {
        if (*ret >= 0) return no_key(t, err, "two rows have the same key");
        *ret = *at;
    }
    return 0;
}

static void note_highest(const struct pg_row_table *t, const struct change_value *row, struct count *c) {
    for (size_t i = 0; i < t->column_count; i++) {
        if (!t->columns[i].sequence || !row[i].text) continue;
        long long v = strtoll(row[i].text, NULL, 10);
        if (!c->has_highest || v > c->highest) c->highest = v;
        c->has_highest = true;
    }
}

/* Rows come in the order of the key, so equal ones follow each other. */
static int check_key(struct differ *d, const struct pg_row_table *t, const struct change_value *row,
                     struct error *err) {
    CLEANUP(buf_free) struct buf key = BUF_INIT(CHANGE_LINE_BYTES_MAX);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < t->key_count; i++) {
        const struct change_value *v = &row[t->key[i]];
        if (!v->text) return no_key(t, err, "a column of the key is null");
        rc = pg_array_push(&key, v->text, v->len, err);
    }
    if (rc < 0) return rc;
    if (bytes_equal(buf_bytes(&key), buf_bytes(&d->last_key))) return no_key(t, err, "two rows have the same key");
    buf_clear(&d->last_key);
    return buf_append(&d->last_key, key.ptr, key.len, err);
}

struct rows_of { /* values of a batch, in one piece: rows of column_count values */
    struct change_value *then, *now;
    const struct change_value **taken;
};

static int compare_batch(struct differ *d, size_t table, const PGresult *then, const PGresult *now, struct rows_of *m,
                         struct error *err) {
    const struct pg_row_table *t = &d->side.tables[table];
    struct count *c = &d->counts[table];
    size_t width = t->column_count, taken = 0;
    int rc = 0, at = 0, hit;
    for (int i = 0; rc == 0 && i < PQntuples(then); i++) {
        struct change_value *old = m->then + (size_t)i * width;
        read_row(then, i, 0, width, old);
        if ((rc = check_key(d, t, old, err)) < 0) break;
        if ((rc = found_at(t, now, &at, i, &hit, err)) < 0) break;
        if (hit >= 0) read_row(now, hit, 1, width, m->now);
        enum change_row kind = hit < 0 ? CHANGE_ROW_DELETED : CHANGE_ROW_CHANGED;
        if (hit >= 0 && same_values(old, m->now, width)) {
            c->same++;
            continue;
        }
        ++*(hit < 0 ? &c->deleted : &c->changed);
        if (!(d->wish->take & (hit < 0 ? ROWS_DELETED : ROWS_CHANGED))) continue;
        rc = change_set_row(d->side.out, table, kind, false, width, t->key, t->key_count, old, hit < 0 ? NULL : m->now,
                            err);
        if (hit < 0) note_highest(t, old, c);
        m->taken[taken++] = old;
        c->taken++;
    }
    return rc == 0 && taken ? pg_parents_check(d->parents, &d->side, table, taken, m->taken, err) : rc;
}

static int compare_past(struct differ *d, size_t table, const PGresult *then, struct error *err) {
    CLEANUP(pg_clearp) PGresult *now = NULL;
    const struct pg_row_table *t = &d->side.tables[table];
    size_t n = (size_t)PQntuples(then);
    struct rows_of m = {0};
    int rc = look_up(d->side.live, t, then, true, &now, err);
    if (rc == 0) rc = mem_alloc((n * t->column_count + 1) * sizeof *m.then, (void **)&m.then, err);
    if (rc == 0) rc = mem_alloc((t->column_count + 1) * sizeof *m.now, (void **)&m.now, err);
    if (rc == 0) rc = mem_alloc((n + 1) * sizeof *m.taken, (void **)&m.taken, err);
    if (rc == 0) rc = compare_batch(d, table, then, now, &m, err);
    seam_free(m.then);
    seam_free(m.now);
    seam_free(m.taken);
    return rc;
}

static int compare_live(struct differ *d, size_t table, const PGresult *now, struct error *err) {
    CLEANUP(pg_clearp) PGresult *then = NULL;
    const struct pg_row_table *t = &d->side.tables[table];
    struct change_value *row = NULL;
    int at = 0, hit;
    int rc = look_up(d->side.then, t, now, false, &then, err);
    if (rc == 0) rc = mem_alloc((t->column_count + 1) * sizeof *row, (void **)&row, err);
    for (int i = 0; rc == 0 && i < PQntuples(now); i++) {
        if ((rc = found_at(t, then, &at, i, &hit, err)) < 0 || hit >= 0) continue;
        read_row(now, i, 0, t->column_count, row);
        d->counts[table].added++;
        d->counts[table].taken++;
        rc = change_set_row(d->side.out, table, CHANGE_ROW_ADDED, false, t->column_count, t->key, t->key_count, NULL,
                            row, err);
    }
    seam_free(row);
    return rc;
}

/* ---- one table ---- */
static int open_cursor(PGconn *c, const struct pg_row_table *t, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(8u << 20);
    int rc = buf_append_str(&sql, "DECLARE pk_rows NO SCROLL CURSOR FOR SELECT ", err);
    if (rc == 0) rc = pg_row_columns_sql(t, "t", &sql, err);
    if (rc == 0) rc = buf_printf(&sql, err, " FROM %s t WHERE ", t->sql);
    if (rc == 0) rc = pg_row_where_sql(t, &sql, err);
    for (size_t i = 0; rc == 0 && i < t->key_count; i++) {
        rc = buf_append_str(&sql, i ? ", t." : " ORDER BY t.", err);
        if (rc == 0) rc = pg_ident(&sql, BYTES_STR(t->columns[t->key[i]].name), err);
    }
    if (rc == 0) rc = buf_terminate(&sql, err);
    rc = rc == 0 ? pg_rows_run(c, &sql, 0, NULL, NULL, err) : rc;
    return rc < 0 ? error_wrap(err, "%s", t->label) : 0;
}

static uint64_t bytes_of(const PGresult *q) {
    uint64_t total = 0;
    for (int i = 0; i < PQntuples(q); i++)
        for (int k = 0; k < PQnfields(q); k++) total += (uint64_t)PQgetlength(q, i, k);
    return total;
}

static void progress(struct differ *d, const PGresult *q, uint64_t bytes) {
    const struct surface_events *e = &d->ctx->events;
    d->rows_seen += (uint64_t)PQntuples(q);
    d->bytes_seen += bytes;
    if (e->progress) e->progress(e->ctx, "compare", d->bytes_seen, 0, d->rows_seen);
}

typedef int (*batch_fn)(struct differ *d, size_t table, const PGresult *rows, struct error *err);

static int walk(struct differ *d, size_t table, PGconn *c, batch_fn fn, struct error *err) {
    const struct pg_row_table *t = &d->side.tables[table];
    uint64_t limit = t->key_unique ? BATCH_ROWS : BATCH_ROWS_SLOW, n = 32; /* until it is known how wide rows are */
    int rc = open_cursor(c, t, err), got = 1;
    while (rc == 0 && got) {
        CLEANUP(pg_clearp) PGresult *rows = NULL;
        CLEANUP(buf_free) struct buf sql = BUF_INIT(128);
        rc = stop_check(err);
        if (rc == 0) rc = buf_printf(&sql, err, "FETCH %llu FROM pk_rows", (unsigned long long)n);
        if (rc == 0) rc = buf_terminate(&sql, err);
        if (rc == 0) rc = pg_rows_run(c, &sql, 0, NULL, &rows, err);
        if (rc < 0 || (got = PQntuples(rows)) == 0) break;
        uint64_t bytes = bytes_of(rows), fit = BATCH_BYTES / (bytes / (uint64_t)got + 1);
        rc = fn(d, table, rows, err);
        progress(d, rows, bytes);
        n = fit > n * 4 ? n * 4 : fit; /* a batch of narrow rows says little about the next */
        n = n > limit ? limit : n < 1 ? 1 : n;
    }
    if (rc == 0) rc = pg_command(c, err, "CLOSE pk_rows");
    return rc < 0 ? error_wrap(err, "%s", t->label) : 0;
}

static int diff_table(struct differ *d, size_t table, struct error *err) {
    buf_clear(&d->last_key);
    int rc = walk(d, table, d->side.then, compare_past, err);
    if (rc == 0 && d->wish->take & ROWS_ADDED) rc = walk(d, table, d->side.live, compare_live, err);
    return rc;
}

/* ---- what stands in the change set beside rows ---- */
static int put_table(struct differ *d, const struct pg_row_table *t, struct error *err) {
    json_t *columns = json_array(), *key = json_array();
    int rc = columns && key ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; rc == 0 && i < t->column_count; i++)
        rc = json_push(columns, json_pack("{s:s, s:s}", "name", t->columns[i].name, "type", t->columns[i].cast), err);
    for (size_t i = 0; rc == 0 && i < t->key_count; i++)
        rc = json_push(key, json_string(t->columns[t->key[i]].name), err);
    json_t *j = rc == 0 ? json_pack("{s:s, s:s, s:s, s:O, s:O, s:O, s:O, s:b}", "table", t->label, "schema",
                                    t->pick.schema, "name", t->pick.table, "columns", columns, "key", key,
                                    "columns_dropped", t->gone, "columns_added", t->fresh, "picked", t->picked)
                        : NULL;
    if (rc == 0 && !j) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0 && t->pick.where) rc = json_put_str(j, "where", t->pick.where, err);
    if (rc == 0) rc = change_set_table(d->side.out, j, err);
    json_decref(j);
    json_decref(columns);
    json_decref(key);
    return rc;
}

static int warn(struct differ *d, struct error *err, const char *fmt, ...) PK_PRINTF(3, 4);
static int warn(struct differ *d, struct error *err, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    json_t *text = json_string(line);
    return json_push(d->warnings, text ? text : json_name(BYTES_STR(line)), err);
}

static int warn_of_columns(struct differ *d, const struct pg_row_table *t, struct error *err) {
    const json_t *name, *c;
    size_t i, k;
    int rc = 0;
    json_array_foreach(t->gone, i, name) if (rc == 0) rc =
        warn(d, err, "%s: column %s was dropped since; its values are not put back", t->label, json_string_value(name));
    json_array_foreach(t->fresh, i, name) {
        bool needed = false;
        json_array_foreach(json_object_get(t->live, "columns"), k, c) if (json_equal(json_object_get(c, "name"), name))
            needed = json_is_true(json_object_get(c, "not_null")) && !json_is_true(json_object_get(c, "default")) &&
                     !*json_string_value(json_object_get(c, "identity"));
        if (rc == 0)
            rc = warn(d, err,
                      needed ? "%s: column %s was added since, may not be null and has no default: no deleted row can "
                               "be put back"
                             : "%s: column %s was added since; rows that are put back get its default",
                      t->label, json_string_value(name));
    }
    return rc;
}

static int warn_of_sequence(struct differ *d, size_t table, struct error *err) {
    const struct pg_row_table *t = &d->side.tables[table];
    const struct count *c = &d->counts[table];
    int rc = 0;
    for (size_t i = 0; rc == 0 && c->has_highest && i < t->column_count; i++) {
        if (!t->columns[i].sequence) continue;
        const json_t *s = json_array_get(json_object_get(t->live, "sequences"), t->columns[i].sequence - 1);
        const json_t *last = json_object_get(s, "last");
        if (!json_is_integer(last) || json_integer_value(last) < c->highest)
            rc = warn(d, err, "%s: sequence %s stands below values that come back, and is not moved", t->label,
                      json_string_value(json_object_get(s, "name")));
    }
    return rc;
}

static int put_triggers(const struct pg_row_table *t, const struct count *c, uint64_t parents, json_t *out,
                        struct error *err) {
    const json_t *g;
    size_t i;
    int rc = 0;
    json_array_foreach(json_object_get(t->live, "triggers"), i, g) if (rc == 0 && (c->taken || parents)) rc =
        json_push(out, json_pack("{s:s, s:O}", "table", t->label, "trigger", json_object_get(g, "name")), err);
    return rc;
}

static int report(struct differ *d, const struct digest *whole, uint64_t rows, uint64_t bytes, json_t **ret,
                  struct error *err) {
    json_t *tables = json_array(), *triggers = json_array(), *missing = NULL, *m, *j = NULL;
    char hex[65];
    size_t i;
    int rc = tables && triggers ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    hex_encode(whole->b, sizeof whole->b, hex);
    for (i = 0; rc == 0 && i < d->side.table_count; i++) {
        const struct count *c = &d->counts[i];
        const struct pg_row_table *t = &d->side.tables[i];
        json_t *added = d->wish->take & ROWS_ADDED ? json_integer((json_int_t)c->added) : json_null();
        rc = json_push(tables,
                       json_pack("{s:s, s:b, s:I, s:I, s:o, s:I, s:I, s:I}", "table", t->label, "picked", t->picked,
                                 "deleted", (json_int_t)c->deleted, "changed", (json_int_t)c->changed, "added", added,
                                 "same", (json_int_t)c->same, "taken", (json_int_t)c->taken, "parents",
                                 (json_int_t)d->side.parents_taken[i]),
                       err);
        if (rc == 0) rc = put_triggers(t, c, d->side.parents_taken[i], triggers, err);
    }
    if (rc == 0) rc = pg_parents_missing(d->parents, false, &missing, err);
    json_array_foreach(missing, i, m) {
        size_t at = (size_t)json_integer_value(json_object_get(m, "referring"));
        json_object_del(m, "referring");
        if (rc == 0) rc = json_put_str(m, "table", d->side.tables[at].label, err);
    }
    if (rc == 0 && !(j = json_pack("{s:O, s:O, s:O, s:O, s:I, s:I, s:s}", "tables", tables, "missing_parents", missing,
                                   "triggers", triggers, "warnings", d->warnings, "rows", (json_int_t)rows, "bytes",
                                   (json_int_t)bytes, "sha256", hex)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(tables);
    json_decref(triggers);
    json_decref(missing);
    if (rc == 0) *ret = j;
    return rc;
}

/* ---- all of it ---- */
static int match_tables(struct differ *d, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < d->side.table_count; i++) {
        struct pg_row_table *t = &d->side.tables[i];
        json_t *then = NULL;
        rc = pg_table_describe(d->side.then, t->pick.schema, t->pick.table, &then, err);
        if (rc == 0) rc = pg_row_table_match(t, then, err);
        if (rc == 0) rc = warn_of_columns(d, t, err);
    }
    return rc;
}

static int live_facts(struct differ *d, const json_t *head, json_t **ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *q = NULL;
    json_t *facts = json_object(), *all = json_deep_copy(head), *live;
    int rc = facts && all ? pg_server_facts(d->side.live, facts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0)
        rc = pg_query(d->side.live, &q, err,
                      "SELECT to_char(transaction_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
                      0, NULL);
    if (rc == 0) {
        live = json_pack("{s:s, s:s, s:O*, s:O}", "database", d->wish->database, "snapshot_at", pg_value(q, 0, 0),
                         "system_identifier", json_object_get(facts, "system_identifier"), "server_version_num",
                         json_object_get(facts, "server_version_num"));
        rc = live ? json_put(all, "live", live, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    }
    json_decref(facts);
    if (rc < 0)
        json_decref(all);
    else
        *ret = all;
    return rc;
}

static int diff_all(struct differ *d, const json_t *head, int fd, json_t **ret, struct error *err) {
    json_t *all = NULL, *missing = NULL, *end = NULL;
    struct digest whole;
    uint64_t rows = 0, bytes = 0;
    int rc = match_tables(d, err);
    if (rc == 0) rc = live_facts(d, head, &all, err);
    if (rc == 0) rc = change_set_begin(fd, all, &d->side.out, err);
    for (size_t i = 0; rc == 0 && i < d->side.table_count; i++) rc = put_table(d, &d->side.tables[i], err);
    for (size_t i = 0; rc == 0 && i < d->side.table_count; i++)
        if (d->side.tables[i].picked) rc = diff_table(d, i, err);
    if (rc == 0) rc = pg_parents_take(d->parents, &d->side, err);
    for (size_t i = 0; rc == 0 && i < d->side.table_count; i++) rc = warn_of_sequence(d, i, err);
    if (rc == 0) rc = pg_parents_missing(d->parents, true, &missing, err);
    if (rc == 0 && !(end = json_pack("{s:O}", "missing_parents", missing)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = change_set_end(d->side.out, end, &whole, &rows, &bytes, err);
    if (rc == 0) rc = report(d, &whole, rows, bytes, ret, err);
    json_decref(all);
    json_decref(missing);
    json_decref(end);
    return rc;
}

int pg_rows_diff(const struct surface_context *ctx, const json_t *past, const struct rows_wish *wish,
                 const json_t *head, int fd, json_t **ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_settings_freep) struct pg_settings *then = NULL;
    struct differ d = {.ctx = ctx,
                       .wish = wish,
                       .last_key = BUF_INIT(CHANGE_LINE_BYTES_MAX),
                       .warnings = json_array(),
                       .side.with_parents = wish->with_parents,
                       .side.takes_deleted = wish->take & ROWS_DELETED};
    struct pg_rows_side *side = &d.side;
    int rc = d.warnings ? pg_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pg_settings_load(ctx, past, &then, err);
    if (rc == 0) rc = pg_rows_connect(then, wish->database, SNAPSHOT, &side->then, err);
    if (rc == 0) rc = pg_rows_connect(s, wish->database, SNAPSHOT, &side->live, err);
    if (rc == 0) rc = pg_rows_tables(side->live, wish, &side->tables, &side->table_count, err);
    if (rc == 0) rc = mem_alloc((side->table_count + 1) * sizeof *d.counts, (void **)&d.counts, err);
    if (rc == 0)
        rc = mem_alloc((side->table_count + 1) * sizeof *side->parents_taken, (void **)&side->parents_taken, err);
    if (rc == 0) rc = pg_parents_new(&d.parents, err);
    if (rc == 0) rc = diff_all(&d, head, fd, ret, err);
    pg_parents_free(d.parents);
    change_set_free(side->out);
    free_tables(side->tables, side->table_count);
    seam_free(side->parents_taken);
    seam_free(d.counts);
    json_decref(d.warnings);
    buf_free(&d.last_key);
    pg_finishp(&side->live);
    pg_finishp(&side->then);
    return rc;
}
