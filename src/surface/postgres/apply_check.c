#include "surface/postgres/rows_diff.h"

#include "base/seam.h"

#include <stdlib.h>

/* Rows are compared as the text of a record: that asks each type's own output, which json, xml and points have and
 * equality they have not. */

#define NAMED 3 /* rows that a refusal names */

static int run(struct pg_apply *a, struct buf *sql, PGresult **ret, struct error *err) {
    int rc = buf_terminate(sql, err);
    return rc < 0 ? rc : pg_rows_run(a->c, sql, 0, NULL, ret, err);
}

/* By their lines in the change set, behind its head and its tables: a key is of somebody's data, and messages go into
 * logs. */
static void name_rows(const struct pg_apply *a, const PGresult *q, char *out, size_t n) {
    const int rows = PQntuples(q);
    size_t at = (size_t)snprintf(out, n, rows > 1 ? "lines " : "line ");
    for (int i = 0; i < rows && i < NAMED && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%llu", i ? ", " : "",
                               strtoull(pg_value(q, i, 0), NULL, 10) + a->count + 2);
    if (at < n) snprintf(out + at, n - at, "%s of the change set", rows > NAMED ? " and others" : "");
}

static int from_stage(size_t number, struct buf *sql, struct error *err) {
    return buf_printf(sql, err, " FROM pg_temp.proofkeep_rows_%zu k", number);
}

/* ---- rows are what they were when the change set was made ---- */
static int check_absent(struct pg_apply *a, size_t number, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    const struct pg_staged *t = &a->tables[number];
    char rows[400] = "";
    int rc = buf_append_str(&sql, "SELECT k.n", err);
    if (rc == 0) rc = from_stage(number, &sql, err);
    if (rc == 0) rc = buf_printf(&sql, err, " JOIN %s t ON ", t->table.sql);
    if (rc == 0) rc = pg_row_join_sql(&t->table, &sql, err);
    if (rc == 0) rc = buf_printf(&sql, err, " WHERE k.kind = 'd' ORDER BY k.n LIMIT %d", NAMED + 1);
    if (rc == 0) rc = run(a, &sql, &q, err);
    if (rc < 0 || PQntuples(q) == 0) return rc;
    name_rows(a, q, rows, sizeof rows);
    return error_set(err, ERR_ROWS_CHANGED, "%s: rows that were deleted are there again: %s", t->table.label, rows);
}

static int lock_rows(struct pg_apply *a, size_t number, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    const struct pg_staged *t = &a->tables[number];
    int rc = buf_append_str(&sql, "SELECT count(*) FROM (SELECT 1", err);
    if (rc == 0) rc = from_stage(number, &sql, err);
    if (rc == 0) rc = buf_printf(&sql, err, " JOIN %s t ON ", t->table.sql);
    if (rc == 0) rc = pg_row_join_sql(&t->table, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " WHERE k.kind <> 'd' ORDER BY k.n FOR UPDATE OF t) q", err);
    return rc == 0 ? run(a, &sql, NULL, err) : rc;
}

static int check_same(struct pg_apply *a, size_t number, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(8u << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    const struct pg_staged *t = &a->tables[number];
    char rows[400] = "";
    int rc = buf_append_str(&sql, "SELECT k.n", err);
    if (rc == 0) rc = from_stage(number, &sql, err);
    if (rc == 0) rc = buf_printf(&sql, err, " LEFT JOIN %s t ON ", t->table.sql);
    if (rc == 0) rc = pg_row_join_sql(&t->table, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " WHERE k.kind <> 'd' AND (t.tableoid IS NULL OR ROW(", err);
    if (rc == 0) rc = pg_row_columns_sql(&t->table, "t", &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, ")::text <> ROW(", err);
    if (rc == 0) rc = pg_staged_columns_sql(t, 'n', &sql, err);
    if (rc == 0) rc = buf_printf(&sql, err, ")::text) ORDER BY k.n LIMIT %d", NAMED + 1);
    if (rc == 0) rc = run(a, &sql, &q, err);
    if (rc < 0 || PQntuples(q) == 0) return rc;
    name_rows(a, q, rows, sizeof rows);
    return error_set(err, ERR_ROWS_CHANGED, "%s: rows have changed again, or are gone: %s", t->table.label, rows);
}

/* ---- what rows refer to ---- */
static size_t place_of(const struct pg_row_table *t, const char *column) {
    size_t i = 0;
    while (i < t->column_count && strcmp(t->columns[i].name, column) != 0) i++;
    return i;
}

static size_t staged_named(const struct pg_apply *a, const json_t *of) {
    const char *schema = json_string_value(json_object_get(of, "schema")),
               *table = json_string_value(json_object_get(of, "table"));
    size_t i = 0;
    while (i < a->count &&
           (strcmp(a->tables[i].table.pick.schema, schema) != 0 || strcmp(a->tables[i].table.pick.table, table) != 0))
        i++;
    return i;
}

static int put_name(const json_t *of, struct buf *sql, struct error *err) {
    int rc = pg_ident(sql, BYTES_STR(json_string_value(json_object_get(of, "schema"))), err);
    if (rc == 0) rc = buf_append_str(sql, ".", err);
    return rc == 0 ? pg_ident(sql, BYTES_STR(json_string_value(json_object_get(of, "table"))), err) : rc;
}

/* NOT EXISTS a row of the parent, or of what is about to be inserted into it (staged). false: a column is not at hand.
 */
static int put_lacking(const struct pg_apply *a, const struct pg_staged *t, const json_t *fk, size_t staged,
                       bool *ret_whole, struct buf *sql, struct error *err) {
    const json_t *c;
    size_t i;
    *ret_whole = true;
    int rc = buf_append_str(sql, " AND NOT EXISTS (SELECT 1 FROM ", err);
    if (rc == 0 && staged < a->count)
        rc = buf_printf(sql, err, "pg_temp.proofkeep_rows_%zu p WHERE p.kind = 'd'", staged);
    else if (rc == 0) {
        rc = put_name(fk, sql, err);
        if (rc == 0) rc = buf_append_str(sql, " p WHERE true", err);
    }
    json_array_foreach(json_object_get(fk, "columns"), i, c) {
        const char *remote = json_string_value(json_object_get(c, "remote"));
        size_t local = place_of(&t->table, json_string_value(json_object_get(c, "local")));
        size_t at = staged < a->count ? place_of(&a->tables[staged].table, remote) : 0;
        if (local == t->table.column_count || (staged < a->count && at == a->tables[staged].table.column_count))
            *ret_whole = false;
        if (rc == 0) rc = buf_append_str(sql, " AND p.", err);
        if (rc == 0)
            rc = staged < a->count ? buf_printf(sql, err, "t%zu", at + 1) : pg_ident(sql, BYTES_STR(remote), err);
        if (rc == 0) rc = buf_printf(sql, err, " %s k.t%zu", json_string_value(json_object_get(c, "op")), local + 1);
    }
    return rc == 0 ? buf_append_str(sql, ")", err) : rc;
}

static int check_parent(struct pg_apply *a, size_t number, const json_t *fk, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    const struct pg_staged *t = &a->tables[number];
    size_t staged = staged_named(a, fk), i;
    const json_t *c;
    char rows[400] = "";
    bool whole = true, also = true;
    int rc = buf_append_str(&sql, "SELECT k.n", err);
    if (rc == 0) rc = from_stage(number, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " WHERE k.kind <> 'a'", err);
    json_array_foreach(json_object_get(fk, "columns"), i, c) if (rc == 0) rc = buf_printf(
        &sql, err, " AND k.t%zu IS NOT NULL", place_of(&t->table, json_string_value(json_object_get(c, "local"))) + 1);
    if (rc == 0) rc = put_lacking(a, t, fk, a->count, &whole, &sql, err);
    if (rc == 0 && staged < a->count) rc = put_lacking(a, t, fk, staged, &also, &sql, err);
    if (rc < 0 || !whole || !also) return rc; /* then the server's own check is all there is */
    rc = buf_printf(&sql, err, " ORDER BY k.n LIMIT %d", NAMED + 1);
    if (rc == 0) rc = run(a, &sql, &q, err);
    if (rc < 0 || PQntuples(q) == 0) return rc;
    name_rows(a, q, rows, sizeof rows);
    return error_set(err, ERR_ROWS_PARENTS, "%s: rows of %s that these refer to are missing (%s): %s", t->table.label,
                     json_string_value(json_object_get(fk, "table")), json_string_value(json_object_get(fk, "name")),
                     rows);
}

/* ---- who refers to rows ---- */
static bool acts(const json_t *of, const char *when) {
    const char *action = json_string_value(json_object_get(of, when));
    return action && *action && strchr("cnd", *action); /* cascade, set null, set default */
}

/* Rows elsewhere that a foreign key's action would write, when what they refer to is deleted, or changes in the columns
 * that they refer by. */
static int check_action(struct pg_apply *a, size_t number, const json_t *of, bool delete, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    const struct pg_staged *t = &a->tables[number];
    size_t child = staged_named(a, of), i;
    const json_t *c;
    int rc = buf_append_str(&sql, "SELECT 1", err);
    if (rc == 0) rc = from_stage(number, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " JOIN ", err);
    if (rc == 0) rc = put_name(of, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " t ON true", err);
    json_array_foreach(json_object_get(of, "columns"), i, c) {
        size_t at = place_of(&t->table, json_string_value(json_object_get(c, "local")));
        if (at == t->table.column_count) return rc;
        if (rc == 0)
            rc = buf_printf(&sql, err, " AND k.n%zu %s t.", at + 1, json_string_value(json_object_get(c, "op")));
        if (rc == 0) rc = pg_ident(&sql, BYTES_STR(json_string_value(json_object_get(c, "remote"))), err);
    }
    if (rc == 0) rc = buf_printf(&sql, err, " WHERE k.kind = '%c'", delete ? 'a' : 'c');
    if (rc == 0 && !delete) {
        rc = buf_append_str(&sql, " AND (false", err);
        json_array_foreach(json_object_get(of, "columns"), i, c) {
            size_t at = place_of(&t->table, json_string_value(json_object_get(c, "local"))) + 1;
            if (rc == 0) rc = buf_printf(&sql, err, " OR ROW(k.t%zu)::text <> ROW(k.n%zu)::text", at, at);
        }
        if (rc == 0) rc = buf_append_str(&sql, ")", err);
    }
    if (rc == 0 && delete &&child < a->count) {
        rc = buf_printf(&sql, err,
                        " AND NOT EXISTS (SELECT 1 FROM pg_temp.proofkeep_rows_%zu k WHERE k.kind = 'a' AND ", child);
        if (rc == 0) rc = pg_row_join_sql(&a->tables[child].table, &sql, err);
        if (rc == 0) rc = buf_append_str(&sql, ")", err);
    }
    if (rc == 0) rc = buf_append_str(&sql, " LIMIT 1", err);
    if (rc == 0) rc = run(a, &sql, &q, err);
    if (rc < 0 || PQntuples(q) == 0) return rc;
    return error_set(err, ERR_ROWS_WIDER, "%s: the foreign key %s would write rows of %s as well", t->table.label,
                     json_string_value(json_object_get(of, "name")), json_string_value(json_object_get(of, "table")));
}

static int check_table(struct pg_apply *a, size_t number, struct error *err) {
    const struct pg_staged *t = &a->tables[number];
    const json_t *one;
    size_t i;
    int rc = 0;
    /* Without a unique index nothing else keeps a second row of the same key out. */
    if (!t->table.key_unique) rc = pg_command(a->c, err, "LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE", t->table.sql);
    if (rc == 0) rc = lock_rows(a, number, err);
    if (rc == 0) rc = check_absent(a, number, err);
    if (rc == 0) rc = check_same(a, number, err);
    json_array_foreach(json_object_get(t->table.live, "fks"), i, one) if (rc == 0) rc =
        check_parent(a, number, one, err);
    json_array_foreach(json_object_get(t->table.live, "referenced"), i, one) {
        if (rc == 0 && t->rows[CHANGE_ROW_ADDED] && acts(one, "on_delete"))
            rc = check_action(a, number, one, true, err);
        if (rc == 0 && t->rows[CHANGE_ROW_CHANGED] && acts(one, "on_update"))
            rc = check_action(a, number, one, false, err);
    }
    return rc;
}

int pg_apply_check(struct pg_apply *a, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < a->count; i++) rc = check_table(a, i, err);
    return rc;
}
