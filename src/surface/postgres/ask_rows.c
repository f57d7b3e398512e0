#include "surface/postgres/rows_diff.h"

#include "base/seam.h"

#include <stdlib.h>

#define LOOK "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

static int ask(PGconn *c, struct buf *sql, PGresult **ret, struct error *err) {
    int rc = buf_terminate(sql, err);
    if (rc == 0) rc = pg_rows_run(c, sql, 0, NULL, ret, err);
    if (rc == 0 && (PQntuples(*ret) != 1 || PQnfields(*ret) != 1))
        rc = error_set(err, ERR_PG_QUERY, "the query answered %d rows of %d columns, not one value", PQntuples(*ret),
                       PQnfields(*ret));
    return rc;
}

int pg_rows_ask(const struct surface_context *ctx, const json_t *past, const char *database, const char *sql,
                json_t **ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *q = NULL;
    CLEANUP(buf_free) struct buf text = BUF_INIT(1 << 20);
    int rc = pg_settings_load(ctx, past, &s, err);
    if (rc == 0) rc = pg_rows_connect(s, database, LOOK, &c, err);
    if (rc == 0) rc = buf_append_str(&text, sql, err);
    if (rc == 0) rc = ask(c, &text, &q, err);
    if (rc < 0) return rc;
    const char *value = PQgetvalue(q, 0, 0);
    json_t *j = PQgetisnull(q, 0, 0) ? json_null() : json_string(value);
    if (!j) j = json_name(BYTES_STR(value));
    if (!j) return error_set(err, ERR_NO_MEMORY, "no memory");
    *ret = j;
    return 0;
}

static int count(PGconn *c, struct pg_pick *pick, uint64_t *ret, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(8u << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    struct pg_row_table t;
    bool keyed = pick->values != NULL;
    json_t *columns = NULL;
    int rc = 0;
    /* A predicate needs no key: any column will do. */
    if (!keyed && !pick->columns) {
        json_t *d = NULL;
        rc = pg_table_describe(c, pick->schema, pick->table, &d, err);
        const json_t *first = json_array_get(json_object_get(d, "columns"), 0);
        if (rc == 0 && first) columns = json_pack("[O]", json_object_get(first, "name"));
        json_decref(d);
        pick->columns = columns;
    }
    if (rc == 0) rc = pg_row_table_open(c, pick, true, &t, err);
    if (rc < 0) return rc;
    rc = buf_printf(&sql, err, "SELECT count(*) FROM %s t WHERE ", t.sql);
    if (rc == 0) rc = pg_row_where_sql(&t, &sql, err);
    if (rc == 0) rc = ask(c, &sql, &q, err);
    if (rc == 0) *ret = strtoull(pg_value(q, 0, 0), NULL, 10);
    pg_row_table_free(&t);
    return rc;
}

int pg_rows_count(const struct surface_context *ctx, const json_t *past, const char *database, const char *pick,
                  uint64_t *ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    struct pg_pick p = {0};
    int rc = pg_pick_parse(pick, &p, err);
    if (rc == 0) rc = pg_settings_load(ctx, past, &s, err);
    if (rc == 0) rc = pg_rows_connect(s, database, LOOK, &c, err);
    if (rc == 0) rc = count(c, &p, ret, err);
    pg_pick_free(&p);
    return rc;
}

const struct rows_driver pg_rows_driver = {
    .scope = pg_rows_scope,
    .look = pg_rows_look,
    .diff = pg_rows_diff,
    .apply = pg_rows_apply,
    .ask = pg_rows_ask,
    .count = pg_rows_count,
};
