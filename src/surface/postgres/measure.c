#include "surface/postgres/postgres_internal.h"
#include "surface/postgres/rows.h"

#include "base/seam.h"
#include "base/thread.h"
#include <libpq/libpq-fs.h>
#include <stdio.h>
#include <stdlib.h>

#define OBJECT_PIECE (256 << 10)
#define REPORT_ROWS 65536

struct measuring {
    const struct pg_settings *s;
    PGconn *c;
    const char *key_name;
    const json_t *columns; /* as captured, of tables that inherit */
    struct pg_fleet *fleet;
    json_t *out;
};

static int put(struct measuring *m, struct bytes key, json_t *value, struct error *err) {
    json_t *both = value ? json_pack("{s:o, s:s}", "value", value, "expect", "equal") : NULL;
    return both ? pg_key_put(m->out, m->key_name, key, both, err) : error_set(err, ERR_NO_MEMORY, "no memory");
}

static json_t *rows_value(const struct pg_rows *rows) {
    char digest[33];
    pg_rows_digest(rows, digest);
    return json_pack("{s:I, s:s}", "rows", (json_int_t)rows->rows, "digest", digest);
}

static int copy_out(struct measuring *m, const char *sql, struct pg_rows *rows, struct error *err) {
    PGresult *r = PQexec(m->c, sql);
    int rc = PQresultStatus(r) == PGRES_COPY_OUT ? 0 : pg_result_error(m->c, r, err, "read");
    PQclear(r);
    if (rc < 0) return rc;
    for (uint64_t bytes = 0;;) {
        char *row;
        int n = PQgetCopyData(m->c, &row, 0);
        if (n < 0) break;
        bytes += (uint64_t)n;
        pg_rows_row(rows, BYTES_OF(row, (size_t)(n > 0 && row[n - 1] == '\n' ? n - 1 : n)));
        PQfreemem(row);
        if (rows->rows % REPORT_ROWS != 0) continue;
        if ((rc = pg_report(m->s, m->fleet, "measure", bytes, err)) < 0) return rc;
        bytes = 0;
    }
    while ((r = PQgetResult(m->c))) {
        if (rc == 0 && PQresultStatus(r) != PGRES_COMMAND_OK) rc = pg_result_error(m->c, r, err, "read");
        PQclear(r);
    }
    return rc;
}

/* The same columns and rows that pg_dump takes: generated columns left out, of an extension's table what its condition
 * says, of a table never its children's rows. */
static int measure_table(struct measuring *m, const char *schema, const char *table, const char *columns,
                         const char *condition, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(1 << 20);
    CLEANUP(buf_free) struct buf key = BUF_INIT(4096);
    struct pg_rows rows;
    pg_rows_init(&rows);
    int r = pg_qualified(&key, BYTES_STR(schema), BYTES_STR(table), err);
    if (r < 0) return r;
    const char *captured = NULL;
    json_t *name = json_name(buf_bytes(&key));
    if (name) captured = json_string_value(json_object_get(m->columns, json_string_value(name)));
    json_decref(name);
    if (captured) columns = captured;
    bool query = condition[0] != 0;
    r = buf_append_str(&sql, query ? "COPY (SELECT " : "COPY ", err);
    if (r == 0 && query) r = buf_printf(&sql, err, "%s FROM ONLY ", columns);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(schema), err);
    if (r == 0) r = buf_append_str(&sql, ".", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(table), err);
    if (r == 0 && query) r = buf_printf(&sql, err, " %s)", condition);
    if (r == 0 && !query && columns[0]) r = buf_printf(&sql, err, " (%s)", columns);
    if (r == 0) r = buf_append_str(&sql, " TO STDOUT", err);
    if (r == 0) r = buf_terminate(&sql, err);
    if (r == 0) r = copy_out(m, (const char *)sql.ptr, &rows, err);
    if (r == 0) r = put(m, buf_bytes(&key), rows_value(&rows), err);
    if (r < 0) return error_wrap(err, "measure %s.%s", schema, table);
    atomic_fetch_add(&m->fleet->items, 1);
    return pg_report(m->s, m->fleet, "measure", 0, err);
}

static int measure_tables(struct measuring *m, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(8192);
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = buf_append_str(
        &sql,
        "SELECT n.nspname, c.relname,"
        " (SELECT string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a"
        "  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped",
        err);
    if (rc == 0 && PQserverVersion(m->c) >= 120000) rc = buf_append_str(&sql, " AND a.attgenerated = ''", err);
    if (rc == 0)
        rc = buf_append_str(
            &sql,
            "), (SELECT e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] FROM pg_catalog.pg_extension e"
            "  WHERE c.oid = ANY (e.extconfig))"
            " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
            " AND c.relpersistence <> 't' AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())"
            " AND (NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d"
            "  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')"
            " OR EXISTS (SELECT 1 FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig)))"
            " ORDER BY 1, 2",
            err);
    if (rc == 0) rc = buf_terminate(&sql, err);
    if (rc == 0) rc = pg_query(m->c, &r, err, (const char *)sql.ptr, 0, NULL);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        rc = measure_table(m, pg_value(r, i, 0), pg_value(r, i, 1), pg_value(r, i, 2), pg_value(r, i, 3), err);
    return rc;
}

static int measure_sequences(struct measuring *m, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(
        m->c, &r, err,
        "SELECT n.nspname, c.relname, pg_catalog.format('SELECT last_value, is_called FROM %I.%I', n.nspname, "
        "c.relname)"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'S' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
        " AND c.relpersistence <> 't' AND (NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d"
        "  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')"
        " OR EXISTS (SELECT 1 FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig))) ORDER BY 1, 2",
        0, NULL);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        CLEANUP(pg_clearp) PGresult *q = NULL;
        CLEANUP(buf_free) struct buf key = BUF_INIT(4096);
        rc = pg_query(m->c, &q, err, pg_value(r, i, 2), 0, NULL);
        if (rc == 0) rc = pg_qualified(&key, BYTES_STR(pg_value(r, i, 0)), BYTES_STR(pg_value(r, i, 1)), err);
        if (rc == 0)
            rc = put(m, buf_bytes(&key),
                     json_pack("{s:I, s:b}", "last_value", (json_int_t)strtoll(pg_value(q, 0, 0), NULL, 10),
                               "is_called", pg_true(q, 0, 1)),
                     err);
    }
    return rc;
}

static int measure_object(struct measuring *m, Oid oid, char *piece, struct pg_rows *rows, struct error *err) {
    uint8_t head[4];
    int fd = lo_open(m->c, oid, INV_READ), n;
    if (fd < 0) return error_set(err, ERR_PG_PRIVILEGE, "open large object %u: %s", oid, PQerrorMessage(m->c));
    put_u32(head, oid);
    pg_rows_begin(rows);
    pg_rows_part(rows, BYTES_OF(head, 4));
    uint64_t bytes = 0;
    while ((n = lo_read(m->c, fd, piece, OBJECT_PIECE)) > 0) {
        pg_rows_part(rows, BYTES_OF(piece, (size_t)n));
        bytes += (uint64_t)n;
    }
    pg_rows_end(rows);
    if (n < 0 || lo_close(m->c, fd) < 0)
        return error_set(err, ERR_PG_QUERY, "read large object %u: %s", oid, PQerrorMessage(m->c));
    return pg_report(m->s, m->fleet, "measure", bytes, err);
}

static int measure_objects(struct measuring *m, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct pg_rows rows;
    char *piece = NULL;
    pg_rows_init(&rows);
    int rc = mem_alloc(OBJECT_PIECE, (void **)&piece, err);
    if (rc == 0) rc = pg_query(m->c, &r, err, "SELECT oid FROM pg_catalog.pg_largeobject_metadata", 0, NULL);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++)
        rc = measure_object(m, (Oid)strtoul(pg_value(r, i, 0), NULL, 10), piece, &rows, err);
    seam_free(piece);
    return rc == 0 ? put(m, BYTES_STR("large_objects"), rows_value(&rows), err) : rc;
}

static int use_money(struct measuring *m, const json_t *facts, struct error *err) {
    const char *want = json_string_value(json_object_get(facts, "lc_monetary"));
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4096);
    if (!want) return 0;
    int r = buf_append_str(&sql, "SAVEPOINT money; SET lc_monetary = ", err);
    if (r == 0) r = pg_literal(&sql, BYTES_STR(want), err);
    if (r == 0) r = buf_terminate(&sql, err);
    if (r < 0) return r;
    struct error refused = ERROR_INIT;
    if (pg_command(m->c, &refused, "%s", (const char *)sql.ptr) == 0) return 0;
    pg_note(m->s, NOTE_WARNING, BYTES_STR(m->key_name),
            "this server lacks the source's money format; such columns may differ");
    return pg_command(m->c, err, "ROLLBACK; BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
}

int pg_measure_database(const struct pg_settings *s, PGconn *c, const char *key_name, const json_t *facts,
                        struct pg_fleet *fleet, json_t *out, struct error *err) {
    struct measuring m = {
        .s = s, .c = c, .key_name = key_name, .columns = json_object_get(facts, "columns"), .fleet = fleet, .out = out};
    json_t *extensions = NULL;
    int r = pg_command(c, err, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    if (r == 0) r = use_money(&m, facts, err);
    if (r == 0) r = measure_tables(&m, err);
    if (r == 0) r = measure_sequences(&m, err);
    if (r == 0) r = measure_objects(&m, err);
    if (r == 0) r = pg_declared_measure(c, key_name, json_object_get(facts, "declared"), out, err);
    if (r == 0) r = pg_extensions(c, &extensions, err);
    if (r == 0) r = put(&m, BYTES_STR("extensions"), extensions, err);
    if (r == 0) r = pg_hypertables_put(c, key_name, out, err);
    if (r == 0) r = pg_command(c, err, "COMMIT");
    return r < 0 ? error_wrap(err, "measure database %s", PQdb(c)) : 0;
}

struct survey {
    const struct pg_settings *s;
    struct pg_fleet fleet;
    const json_t *known, *names;
    json_t **found; /* one a name */
};

static const json_t *facts_of(const json_t *known, const char *name) {
    const json_t *d;
    size_t i;
    json_array_foreach(known, i, d) {
        const char *n = json_string_value(json_object_get(d, "name"));
        if (n && !strcmp(n, name)) return d;
    }
    return NULL;
}

static int survey_one(void *ctx, size_t i, struct error *err) {
    struct survey *v = ctx;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    const char *name = json_string_value(json_array_get(v->names, i));
    if (!(v->found[i] = json_object())) return error_set(err, ERR_NO_MEMORY, "no memory");
    /* restored under another name it is what was captured all the same */
    int r = pg_connect(v->s, json_text(facts_of(v->known, name), "at", name), &c, err);
    return r < 0 ? r : pg_measure_database(v->s, c, name, facts_of(v->known, name), &v->fleet, v->found[i], err);
}

static int survey_all(struct survey *v, json_t *out, struct error *err) {
    size_t n = json_array_size(v->names);
    int r = mem_alloc((n + 1) * sizeof *v->found, (void **)&v->found, err);
    if (r < 0) return r;
    r = pg_fleet_run(&v->fleet, v->s->ctx->jobs, n, survey_one, v, err);
    for (size_t i = 0; i < n; i++) {
        if (r == 0 && json_object_update_new(out, json_incref(v->found[i])) < 0)
            r = error_set(err, ERR_NO_MEMORY, "no memory");
        json_decref(v->found[i]);
    }
    seam_free(v->found);
    return r;
}

int pg_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
               struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    json_t *out = json_object(), *names = NULL;
    const json_t *known = json_object_get(facts, "databases"), *d;
    size_t i;
    int r = out ? pg_settings_load(ctx, scratch, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && json_array_size(known)) {
        names = json_array();
        json_array_foreach(known, i, d) {
            const char *name = json_string_value(json_object_get(d, "name"));
            if (r == 0)
                r = name ? json_push(names, json_string(name), err)
                         : error_set(err, ERR_JSON, "a database has no name");
        }
    } else if (r == 0) {
        CLEANUP(pg_finishp) PGconn *c = NULL;
        r = pg_connect(s, NULL, &c, err);
        if (r == 0) r = pg_database_list(s, c, &names, err);
    }
    struct survey v = {.s = s, .known = known, .names = names};
    if (r == 0) r = survey_all(&v, out, err);
    if (r == 0) r = pg_pairs_measure(s, json_object_get(json_object_get(facts, "consistent"), "checks"), out, err);
    if (r == 0 && pg_bulk_is(facts)) r = pg_bulk_fold(out, NULL, err);
    json_decref(names);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
