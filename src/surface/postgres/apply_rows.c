#include "surface/postgres/rows_diff.h"

#include "base/seam.h"

#include <stdio.h>
#include <stdlib.h>

/* Rows come back before they are referred to: tables in the order of their foreign keys. Tables that refer to each
 * other are written by one statement, since foreign keys are checked at a statement's end. */

static int run(struct pg_apply *a, struct buf *sql, PGresult **ret, struct error *err) {
    int rc = buf_terminate(sql, err);
    return rc < 0 ? rc : pg_rows_run(a->c, sql, 0, NULL, ret, err);
}

static int put_target(const struct pg_staged *t, struct buf *sql, struct error *err) {
    int rc = pg_ident(sql, BYTES_STR(t->table.pick.schema), err);
    if (rc == 0) rc = buf_append_str(sql, ".", err);
    return rc == 0 ? pg_ident(sql, BYTES_STR(t->table.pick.table), err) : rc;
}

/* ---- triggers ---- */
static int switch_triggers(struct pg_apply *a, bool on, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < a->count; i++) {
        const json_t *g;
        size_t k;
        json_array_foreach(json_object_get(a->tables[i].table.live, "triggers"), k, g) {
            CLEANUP(buf_free) struct buf sql = BUF_INIT(4096);
            bool always = !strcmp(json_string_value(json_object_get(g, "enabled")), "A");
            if (rc == 0) rc = buf_append_str(&sql, "ALTER TABLE ", err);
            if (rc == 0) rc = put_target(&a->tables[i], &sql, err);
            if (rc == 0)
                rc = buf_append_str(&sql,
                                    !on      ? " DISABLE TRIGGER "
                                    : always ? " ENABLE ALWAYS TRIGGER "
                                             : " ENABLE TRIGGER ",
                                    err);
            if (rc == 0) rc = pg_ident(&sql, BYTES_STR(json_string_value(json_object_get(g, "name"))), err);
            if (rc == 0) rc = run(a, &sql, NULL, err);
        }
    }
    return rc;
}

static bool triggers_fire(const struct pg_apply *a) {
    for (size_t i = 0; i < a->count && !a->wish->no_triggers; i++)
        if (json_array_size(json_object_get(a->tables[i].table.live, "triggers"))) return true;
    return false;
}

/* ---- deleted rows ---- */
static bool waits_for(const struct pg_apply *a, size_t number) {
    const json_t *fk;
    size_t i, k;
    json_array_foreach(json_object_get(a->tables[number].table.live, "fks"), i, fk) {
        for (k = 0; k < a->count; k++) {
            const struct pg_pick *p = &a->tables[k].table.pick;
            if (k != number && !a->tables[k].done &&
                !strcmp(p->schema, json_string_value(json_object_get(fk, "schema"))) &&
                !strcmp(p->table, json_string_value(json_object_get(fk, "table"))))
                return true;
        }
    }
    return false;
}

static int put_insert(struct pg_apply *a, size_t number, struct buf *sql, struct error *err) {
    const struct pg_staged *t = &a->tables[number];
    int rc = buf_append_str(sql, "INSERT INTO ", err);
    if (rc == 0) rc = put_target(t, sql, err);
    if (rc == 0) rc = buf_append_str(sql, " (", err);
    if (rc == 0) rc = pg_row_columns_sql(&t->table, NULL, sql, err);
    if (rc == 0) rc = buf_append_str(sql, ") OVERRIDING SYSTEM VALUE SELECT ", err);
    if (rc == 0) rc = pg_staged_columns_sql(t, 't', sql, err);
    return rc == 0
               ? buf_printf(sql, err, " FROM pg_temp.proofkeep_rows_%zu k WHERE k.kind = 'd' ORDER BY k.n RETURNING 1",
                            number)
               : rc;
}

static int insert_group(struct pg_apply *a, const size_t *group, size_t n, size_t *turn, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(16u << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    int rc = buf_append_str(&sql, "WITH ", err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = buf_printf(&sql, err, "%sw%zu AS (", i ? ", " : "", i);
        if (rc == 0) rc = put_insert(a, group[i], &sql, err);
        if (rc == 0) rc = buf_append_str(&sql, ")", err);
    }
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = buf_printf(&sql, err, "%s(SELECT count(*) FROM w%zu)", i ? ", " : " SELECT ", i);
    if (rc == 0) rc = run(a, &sql, &q, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct pg_staged *t = &a->tables[group[i]];
        t->inserted = strtoull(pg_value(q, 0, (int)i), NULL, 10);
        t->done = true;
        t->turn = (*turn)++;
    }
    return rc < 0 ? error_wrap(err, "put back deleted rows of %s", a->tables[group[0]].table.label) : 0;
}

static int insert_all(struct pg_apply *a, struct error *err) {
    size_t *group, left = a->count, turn = 0;
    int rc = mem_alloc((a->count + 1) * sizeof *group, (void **)&group, err);
    while (rc == 0 && left) {
        size_t n = 0;
        for (size_t i = 0; i < a->count && n == 0; i++)
            if (!a->tables[i].done && !waits_for(a, i)) group[n++] = i;
        for (size_t i = 0, all = n == 0; all && i < a->count; i++) /* they refer to each other */
            if (!a->tables[i].done) group[n++] = i;
        rc = insert_group(a, group, n, &turn, err);
        left -= n;
    }
    seam_free(group);
    return rc;
}

/* ---- changed and added rows ---- */
/* Which columns differ in any row: others are not written, so that triggers and foreign keys of those stay asleep. */
static int differing(struct pg_apply *a, size_t number, PGresult **ret, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    int rc = buf_append_str(&sql, "SELECT ", err);
    for (size_t i = 1; rc == 0 && i <= a->tables[number].table.column_count; i++)
        rc = buf_printf(&sql, err, "%sbool_or(ROW(k.t%zu)::text <> ROW(k.n%zu)::text)", i > 1 ? ", " : "", i, i);
    if (rc == 0) rc = buf_printf(&sql, err, " FROM pg_temp.proofkeep_rows_%zu k WHERE k.kind = 'c'", number);
    return rc == 0 ? run(a, &sql, ret, err) : rc;
}

static int update(struct pg_apply *a, size_t number, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    CLEANUP(pg_clearp) PGresult *differ = NULL;
    CLEANUP(pg_clearp) PGresult *q = NULL;
    struct pg_staged *t = &a->tables[number];
    size_t set = 0;
    if (!t->rows[CHANGE_ROW_CHANGED]) return 0;
    int rc = differing(a, number, &differ, err);
    if (rc == 0) rc = buf_printf(&sql, err, "UPDATE %s t SET ", t->table.sql);
    for (size_t i = 0; rc == 0 && i < t->table.column_count; i++) {
        if (!pg_true(differ, 0, (int)i)) continue;
        if (t->table.columns[i].always)
            rc = error_set(err, ERR_ROWS_REFUSED, "%s: column %s is an identity that is always generated",
                           t->table.label, t->table.columns[i].name);
        if (rc == 0 && set++) rc = buf_append_str(&sql, ", ", err);
        if (rc == 0) rc = pg_ident(&sql, BYTES_STR(t->table.columns[i].name), err);
        if (rc == 0) rc = buf_printf(&sql, err, " = k.t%zu", i + 1);
    }
    if (rc == 0) rc = buf_printf(&sql, err, " FROM pg_temp.proofkeep_rows_%zu k WHERE k.kind = 'c' AND ", number);
    if (rc == 0) rc = pg_row_join_sql(&t->table, &sql, err);
    if (rc == 0) rc = run(a, &sql, &q, err);
    if (rc == 0) t->updated = strtoull(PQcmdTuples(q), NULL, 10);
    return rc < 0 ? error_wrap(err, "put back changed rows of %s", t->table.label) : 0;
}

static int remove_added(struct pg_apply *a, size_t number, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4u << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    struct pg_staged *t = &a->tables[number];
    if (!t->rows[CHANGE_ROW_ADDED]) return 0;
    int rc = buf_printf(&sql, err, "DELETE FROM %s t USING pg_temp.proofkeep_rows_%zu k WHERE k.kind = 'a' AND ",
                        t->table.sql, number);
    if (rc == 0) rc = pg_row_join_sql(&t->table, &sql, err);
    if (rc == 0) rc = run(a, &sql, &q, err);
    if (rc == 0) t->deleted = strtoull(PQcmdTuples(q), NULL, 10);
    return rc < 0 ? error_wrap(err, "remove added rows of %s", t->table.label) : 0;
}

/* Those that refer go before those that are referred to. */
static int delete_all(struct pg_apply *a, struct error *err) {
    int rc = 0;
    for (size_t turn = a->count; rc == 0 && turn-- > 0;)
        for (size_t i = 0; rc == 0 && i < a->count; i++)
            if (a->tables[i].turn == turn) rc = remove_added(a, i, err);
    return rc;
}

/* ---- what came of it ---- */
static int check_counts(const struct pg_staged *t, struct error *err) {
    if (t->inserted == t->rows[CHANGE_ROW_DELETED] && t->updated == t->rows[CHANGE_ROW_CHANGED] &&
        t->deleted == t->rows[CHANGE_ROW_ADDED])
        return 0;
    return error_set(
        err, ERR_ROWS_REFUSED,
        "%s: of %llu rows to insert, %llu to update and %llu to delete, %llu, %llu and %llu were; a trigger "
        "keeps the others out",
        t->table.label, (unsigned long long)t->rows[CHANGE_ROW_DELETED],
        (unsigned long long)t->rows[CHANGE_ROW_CHANGED], (unsigned long long)t->rows[CHANGE_ROW_ADDED],
        (unsigned long long)t->inserted, (unsigned long long)t->updated, (unsigned long long)t->deleted);
}

/* Rows that are not as they were, although they were put back: a trigger had its own mind. */
static int check_values(struct pg_apply *a, size_t number, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(8u << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    const struct pg_staged *t = &a->tables[number];
    char line[300];
    int rc = buf_printf(&sql, err, "SELECT count(*) FROM pg_temp.proofkeep_rows_%zu k LEFT JOIN %s t ON ", number,
                        t->table.sql);
    if (rc == 0) rc = pg_row_join_sql(&t->table, &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, " WHERE k.kind <> 'a' AND (t.tableoid IS NULL OR ROW(", err);
    if (rc == 0) rc = pg_row_columns_sql(&t->table, "t", &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, ")::text <> ROW(", err);
    if (rc == 0) rc = pg_staged_columns_sql(t, 't', &sql, err);
    if (rc == 0) rc = buf_append_str(&sql, ")::text)", err);
    if (rc == 0) rc = run(a, &sql, &q, err);
    if (rc < 0 || !strcmp(pg_value(q, 0, 0), "0")) return rc;
    if (!triggers_fire(a))
        return error_set(err, ERR_ROWS_REFUSED, "%s: %s rows are not as they were", t->table.label, pg_value(q, 0, 0));
    snprintf(line, sizeof line, "%.150s: triggers altered %.20s rows as they were put back", t->table.label,
             pg_value(q, 0, 0));
    return json_push(a->warnings, json_string(line), err);
}

/* What this transaction wrote elsewhere, by the server's own count. */
static int others(struct pg_apply *a, json_t *out, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(1 << 20);
    CLEANUP(pg_clearp) PGresult *q = NULL;
    uint64_t expected = 0;
    int rc = buf_append_str(&sql, "WITH RECURSIVE own(oid) AS (SELECT unnest('{", err);
    for (size_t i = 0; rc == 0 && i < a->count; i++) {
        const struct pg_staged *t = &a->tables[i];
        expected += t->inserted + t->updated + t->deleted;
        rc = buf_printf(&sql, err, "%s%s", i ? "," : "", json_string_value(json_object_get(t->table.live, "oid")));
    }
    if (rc == 0)
        rc = buf_append_str(&sql,
                            "}'::oid[]) UNION SELECT h.inhrelid FROM own JOIN pg_inherits h ON h.inhparent = own.oid)"
                            " SELECT CASE WHEN own.oid IS NULL THEN format('%I.%I', s.schemaname, s.relname) END,"
                            " sum(n_tup_ins + n_tup_upd + n_tup_del), current_setting('track_counts') FROM"
                            " pg_stat_xact_user_tables s LEFT JOIN own ON own.oid = s.relid WHERE s.schemaname !~"
                            " '^pg_temp' GROUP BY 1 HAVING sum(n_tup_ins + n_tup_upd + n_tup_del) > 0 ORDER BY 1",
                            err);
    if (rc == 0) rc = run(a, &sql, &q, err);
    if (rc < 0) return rc;
    if (PQntuples(q) == 0 && expected)
        return json_push(a->warnings,
                         json_string("the server counts no writes (track_counts): whether anything else was "
                                     "written is not known"),
                         err);
    for (int i = 0; rc == 0 && i < PQntuples(q); i++) {
        uint64_t n = strtoull(pg_value(q, i, 1), NULL, 10);
        bool own = PQgetisnull(q, i, 0);
        if (own && n == expected) continue;
        if (!triggers_fire(a))
            return error_set(err, ERR_ROWS_WIDER, "%s: %llu rows would be written beside those of the change set",
                             own ? "its own tables" : pg_value(q, i, 0), (unsigned long long)(own ? n - expected : n));
        rc = json_push(out,
                       json_pack("{s:s, s:I}", "table", own ? "its own tables" : pg_value(q, i, 0), "rows",
                                 (json_int_t)(own ? n - expected : n)),
                       err);
    }
    return rc;
}

static int report(struct pg_apply *a, json_t *written, json_t **ret, struct error *err) {
    json_t *tables = json_array(), *j = NULL;
    uint64_t inserted = 0, updated = 0, deleted = 0;
    int rc = tables ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; rc == 0 && i < a->count; i++) {
        const struct pg_staged *t = &a->tables[i];
        inserted += t->inserted;
        updated += t->updated;
        deleted += t->deleted;
        rc = json_push(tables,
                       json_pack("{s:s, s:I, s:I, s:I}", "table", t->table.label, "inserted", (json_int_t)t->inserted,
                                 "updated", (json_int_t)t->updated, "deleted", (json_int_t)t->deleted),
                       err);
    }
    if (rc == 0 && !(j = json_pack("{s:O, s:I, s:I, s:I, s:O, s:O}", "tables", tables, "inserted", (json_int_t)inserted,
                                   "updated", (json_int_t)updated, "deleted", (json_int_t)deleted,
                                   "written_by_triggers", written, "warnings", a->warnings)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(tables);
    if (rc == 0) *ret = j;
    return rc;
}

/* ---- the transaction ---- */
static int work(struct pg_apply *a, int fd, json_t **ret, struct error *err) {
    json_t *written = json_array();
    int rc = written ? pg_apply_stage(a, fd, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pg_apply_check(a, err);
    if (rc == 0 && a->wish->no_triggers) rc = switch_triggers(a, false, err);
    if (rc == 0) rc = pg_command(a->c, err, "SET CONSTRAINTS ALL DEFERRED");
    if (rc == 0) rc = insert_all(a, err);
    for (size_t i = 0; rc == 0 && i < a->count; i++) rc = update(a, i, err);
    if (rc == 0) rc = delete_all(a, err);
    if (rc == 0) rc = pg_command(a->c, err, "SET CONSTRAINTS ALL IMMEDIATE");
    if (rc == 0 && a->wish->no_triggers) rc = switch_triggers(a, true, err);
    for (size_t i = 0; rc == 0 && i < a->count; i++) rc = check_counts(&a->tables[i], err);
    for (size_t i = 0; rc == 0 && i < a->count; i++) rc = check_values(a, i, err);
    if (rc == 0) rc = others(a, written, err);
    if (rc == 0) rc = report(a, written, ret, err);
    json_decref(written);
    return rc;
}

/* The answer to COMMIT was lost; the server knows what became of the transaction. */
static int ask_fate(const struct pg_settings *s, const char *database, const char *xid, struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    CLEANUP(pg_clearp) PGresult *q = NULL;
    struct error again = ERROR_INIT;
    const char *params[] = {xid};
    int rc = pg_connect(s, database, &c, &again);
    if (rc == 0) rc = pg_query(c, &q, &again, "SELECT pg_catalog.txid_status($1::bigint)", 1, params);
    const char *fate = rc == 0 ? pg_value(q, 0, 0) : "";
    if (!strcmp(fate, "committed")) {
        error_clear(err);
        return 0;
    }
    if (!strcmp(fate, "aborted")) return error_state(err, "nothing was applied");
    error_state(err, "it is not known whether the change set was applied: transaction %s", xid);
    return error_next(err, "Make the change set again when the server is back: it says what is still to be done.");
}

static int commit(const struct pg_settings *s, struct pg_apply *a, struct error *err) {
    CLEANUP(pg_clearp) PGresult *q = NULL;
    char xid[32];
    int rc = pg_query(a->c, &q, err, "SELECT pg_catalog.txid_current()", 0, NULL);
    if (rc < 0) return error_state(err, "nothing was applied");
    snprintf(xid, sizeof xid, "%s", pg_value(q, 0, 0));
    PGresult *r = PQexec(a->c, "COMMIT");
    bool done = PQresultStatus(r) == PGRES_COMMAND_OK && !strcmp(PQcmdStatus(r), "COMMIT");
    if (!done) rc = pg_result_error(a->c, r, err, "COMMIT");
    PQclear(r);
    if (done) return 0;
    if (PQstatus(a->c) == CONNECTION_OK) return error_state(err, "nothing was applied");
    rc = ask_fate(s, a->wish->database, xid, err);
    return rc;
}

int pg_rows_apply(const struct surface_context *ctx, int fd, const struct rows_apply *wish, json_t **ret,
                  struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    struct pg_apply a = {.wish = wish, .warnings = json_array()};
    json_t *j = NULL;
    int rc = a.warnings ? pg_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0)
        rc = pg_rows_connect(s, wish->database,
                             "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '30s'", &a.c,
                             err);
    if (rc == 0) {
        rc = work(&a, fd, &j, err);
        if (rc == 0) rc = commit(s, &a, err);
        if (rc < 0) error_state(err, "nothing was applied"); /* unless it was said otherwise */
    }
    pg_finishp(&a.c); /* an open transaction ends with it */
    for (size_t i = 0; i < a.count; i++) pg_row_table_free(&a.tables[i].table);
    seam_free(a.tables);
    json_decref(a.warnings);
    if (rc == 0)
        *ret = j;
    else
        json_decref(j);
    return rc;
}
