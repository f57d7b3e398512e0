#include "surface/postgres/rows_diff.h"

#include "base/seam.h"
#include "base/thread.h"

#define COPY_BYTES (64u << 10)

static int changed(const struct pg_row_table *t, struct error *err, const char *what) {
    return error_set(err, ERR_ROWS_CHANGED, "%s: %s since the change set was made", t->label, what);
}

/* ---- a table ---- */
static int take_pick(const json_t *line, struct pg_pick *p, struct error *err) {
    const char *schema, *name;
    int rc = json_need_str(line, "schema", "change set", &schema, err);
    if (rc == 0) rc = json_need_str(line, "name", "change set", &name, err);
    if (rc == 0) rc = mem_strdup(schema, &p->schema, err);
    if (rc == 0) rc = mem_strdup(name, &p->table, err);
    if (rc == 0) p->columns = json_deep_copy(json_object_get(line, "key"));
    return rc == 0 && !p->columns ? error_set(err, ERR_NO_MEMORY, "no memory") : rc;
}

/* The columns that live and the change set have must be just those of the change set, of the same types. */
static int same_columns(const struct pg_row_table *t, const json_t *columns, struct error *err) {
    const json_t *c;
    size_t i;
    if (json_array_size(columns) != t->column_count) return changed(t, err, "its columns have changed");
    json_array_foreach(columns, i, c) {
        const char *name = json_string_value(json_object_get(c, "name")),
                   *type = json_string_value(json_object_get(c, "type"));
        if (!name || !type || strcmp(name, t->columns[i].name) != 0 || strcmp(type, t->columns[i].cast) != 0)
            return changed(t, err, "its columns have changed");
    }
    return 0;
}

static int create(struct pg_apply *a, size_t number, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    const struct pg_row_table *t = &a->tables[number].table;
    int rc = buf_printf(&sql, err, "CREATE TEMPORARY TABLE proofkeep_rows_%zu (n bigint, kind text", number);
    for (size_t i = 0; rc == 0 && i < t->key_count; i++)
        rc = buf_printf(&sql, err, ", k%zu %s", i + 1, t->columns[t->key[i]].cast);
    for (size_t i = 0; rc == 0 && i < t->column_count; i++)
        rc = buf_printf(&sql, err, ", t%zu %s, n%zu %s", i + 1, t->columns[i].cast, i + 1, t->columns[i].cast);
    if (rc == 0) rc = buf_append_str(&sql, ") ON COMMIT DROP", err);
    if (rc == 0) rc = buf_terminate(&sql, err);
    return rc == 0 ? pg_rows_run(a->c, &sql, 0, NULL, NULL, err) : rc;
}

static int on_table(void *ctx, size_t number, const json_t *line, struct error *err) {
    struct pg_apply *a = ctx;
    struct pg_pick pick = {0};
    struct pg_staged s = {0};
    json_t *then = json_pack("{s:O}", "columns", json_object_get(line, "columns"));
    int rc = then ? take_pick(line, &pick, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pg_row_table_open(a->c, &pick, true, &s.table, err);
    pg_pick_free(&pick);
    if (rc < 0) {
        json_decref(then);
        return rc;
    }
    rc = pg_row_table_match(&s.table, then, err);
    if (rc == 0) rc = same_columns(&s.table, json_object_get(line, "columns"), err);
    if (rc == 0) rc = mem_grow((void **)&a->tables, &a->cap, a->count + 1, sizeof *a->tables, err);
    if (rc < 0) {
        pg_row_table_free(&s.table);
        return rc;
    }
    a->tables[a->count++] = s;
    a->copying = a->count;
    return create(a, number, err);
}

/* ---- rows, as COPY text ---- */
static int copy_failed(struct pg_apply *a, struct error *err) {
    PGresult *r = PQgetResult(a->c);
    int rc = pg_result_error(a->c, r, err, "COPY");
    PQclear(r);
    return rc;
}

static int copy_flush(struct pg_apply *a, struct error *err) {
    if (a->line.len && PQputCopyData(a->c, (const char *)a->line.ptr, (int)a->line.len) != 1)
        return copy_failed(a, err);
    buf_clear(&a->line);
    return 0;
}

static int copy_end(struct pg_apply *a, struct error *err) {
    if (a->copying >= a->count) return 0;
    a->copying = a->count;
    int rc = copy_flush(a, err);
    if (rc == 0 && PQputCopyEnd(a->c, NULL) != 1) rc = copy_failed(a, err);
    if (rc < 0) return rc;
    PGresult *r = PQgetResult(a->c);
    if (PQresultStatus(r) != PGRES_COMMAND_OK) rc = pg_result_error(a->c, r, err, "COPY");
    PQclear(r);
    while ((r = PQgetResult(a->c))) PQclear(r);
    return rc;
}

static int copy_begin(struct pg_apply *a, size_t table, struct error *err) {
    char sql[64];
    int rc = copy_end(a, err);
    if (rc < 0) return rc;
    snprintf(sql, sizeof sql, "COPY pg_temp.proofkeep_rows_%zu FROM STDIN", table);
    PGresult *r = PQexec(a->c, sql);
    if (PQresultStatus(r) != PGRES_COPY_IN) rc = pg_result_error(a->c, r, err, "COPY");
    PQclear(r);
    if (rc == 0) a->copying = table;
    return rc;
}

static int put_text(struct buf *out, struct bytes text, struct error *err) {
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < text.len;) {
        size_t n = at;
        while (n < text.len && !strchr("\\\n\r\t", text.ptr[n])) n++;
        rc = buf_append(out, text.ptr + at, n - at, err);
        if (rc == 0 && n < text.len) {
            uint8_t c = text.ptr[n++];
            rc = buf_append_str(out, c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t", err);
        }
        at = n;
    }
    return rc;
}

static int put_value(struct buf *out, const json_t *value, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(CHANGE_LINE_BYTES_MAX);
    bool null = true;
    int rc = value ? change_set_value(value, &null, &text, err) : 0;
    if (rc == 0) rc = buf_append(out, "\t", 1, err);
    if (rc < 0) return rc;
    return null ? buf_append_str(out, "\\N", err) : put_text(out, buf_bytes(&text), err);
}

static int on_row(void *ctx, size_t table, enum change_row kind, const json_t *line, struct error *err) {
    struct pg_apply *a = ctx;
    struct pg_staged *s = &a->tables[table];
    const struct pg_row_table *t = &s->table;
    const json_t *then = json_object_get(line, "then"), *now = json_object_get(line, "now");
    const json_t *known = kind == CHANGE_ROW_ADDED ? now : then;
    int rc = a->copying == table ? 0 : copy_begin(a, table, err);
    if (rc == 0 &&
        (json_array_size(known) != t->column_count || (json_is_array(now) && json_array_size(now) != t->column_count)))
        rc = error_set(err, ERR_CHANGE_SET, "a row of %s has too few or too many values", t->label);
    if (rc == 0) rc = buf_printf(&a->line, err, "%llu\t%c", (unsigned long long)a->n++, change_row_name(kind)[0]);
    for (size_t i = 0; rc == 0 && i < t->key_count; i++)
        rc = put_value(&a->line, json_array_get(known, t->key[i]), err);
    for (size_t i = 0; rc == 0 && i < t->column_count; i++) {
        rc = put_value(&a->line, json_array_get(then, i), err);
        if (rc == 0) rc = put_value(&a->line, json_array_get(now, i), err);
    }
    if (rc == 0) rc = buf_append(&a->line, "\n", 1, err);
    if (rc == 0 && a->line.len >= COPY_BYTES) rc = copy_flush(a, err);
    if (rc == 0 && a->n % 1024 == 0) rc = stop_check(err);
    s->rows[kind]++;
    return rc;
}

/* ---- its beginning and end ---- */
static int on_head(void *ctx, const json_t *line, struct error *err) {
    struct pg_apply *a = ctx;
    const json_t *live = json_object_get(line, "live");
    const char *database = json_string_value(json_object_get(live, "database")),
               *system = json_string_value(json_object_get(live, "system_identifier"));
    json_t *facts = json_object();
    int rc = facts ? pg_server_facts(a->c, facts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    const char *here = json_string_value(json_object_get(facts, "system_identifier"));
    if (rc == 0 && (!database || strcmp(database, a->wish->database) != 0))
        rc = error_set(err, ERR_ROWS_CHANGED, "the change set is of database %s", database ? database : "?");
    if (rc == 0 && system && here && strcmp(system, here) != 0)
        rc = error_set(err, ERR_ROWS_CHANGED, "the change set is of server %s, and this is %s", system, here);
    json_decref(facts);
    return rc;
}

static int on_end(void *ctx, const json_t *line, struct error *err) {
    struct pg_apply *a = ctx;
    const json_t *first = json_array_get(json_object_get(line, "missing_parents"), 0);
    int rc = copy_end(a, err);
    if (rc == 0 && first) {
        error_set(err, ERR_ROWS_PARENTS, "rows of %s that taken ones refer to are missing (%s)",
                  json_string_value(json_object_get(first, "parent")),
                  json_string_value(json_object_get(first, "constraint")));
        rc = -ERR_ROWS_PARENTS;
    }
    for (size_t i = 0; rc == 0 && i < a->count; i++)
        rc = pg_command(a->c, err, "ANALYZE pg_temp.proofkeep_rows_%zu", i);
    return rc;
}

int pg_apply_stage(struct pg_apply *a, int fd, struct error *err) {
    static const struct change_set_reader reader = {.head = on_head, .table = on_table, .row = on_row, .end = on_end};
    a->line = BUF_INIT(CHANGE_LINE_BYTES_MAX);
    int rc = change_set_read(fd, &reader, a, err);
    if (rc < 0 && a->copying < a->count) { /* the server waits for more */
        PGresult *r;
        (void)!PQputCopyEnd(a->c, "given up");
        while ((r = PQgetResult(a->c))) PQclear(r);
    }
    buf_free(&a->line);
    return rc;
}

int pg_staged_columns_sql(const struct pg_staged *t, char prefix, struct buf *out, struct error *err) {
    int rc = 0;
    for (size_t i = 1; rc == 0 && i <= t->table.column_count; i++)
        rc = buf_printf(out, err, "%sk.%c%zu", i > 1 ? ", " : "", prefix, i);
    return rc;
}
