/* What the server's summaries of its WAL tell of changed pages: basebackup_incremental.c and blkreftable.c of
 * PostgreSQL 17. An incremental backup would have sent a block that a summary names, those from a limit on to which a
 * fork was cut off (0: it was made anew), and all of a database that was copied as files (relation 0). */
#include "surface/pgphys/stream_incremental.h"

#include "base/seam.h"
#include "base/time.h"
#include "surface/pgphys/pgphys_internal.h"
#include <stdio.h>
#include <stdlib.h>

#define WAIT_NS (60 * NS_PER_S)
#define PAUSE_MS 200

/* By the first so many fields. */
static int order_of(const struct stream_change *a, const struct stream_change *b, size_t fields) {
    const uint32_t x[] = {a->space, a->database, a->relation, a->fork, a->block};
    const uint32_t y[] = {b->space, b->database, b->relation, b->fork, b->block};
    for (size_t i = 0; i < fields; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

static int order(const void *a, const void *b) {
    return order_of(a, b, 5);
}

/* Where what is not before it begins. */
static size_t find(const struct stream_incremental *k, const struct stream_change *c) {
    size_t low = 0, high = k->changed_n;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (order_of(&k->changed[mid], c, 5) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* fields: so many have to be the same; the blocks from it on otherwise. */
static void tell(struct stream_incremental *k, const struct stream_change *c, size_t fields) {
    for (size_t i = find(k, c); i < k->changed_n && order_of(&k->changed[i], c, fields) == 0; i++)
        k->changed[i].told = true;
}

/* How far they go without a gap, and whether more may come. */
static int reach(const struct stream_base *b, PGconn *ask, uint64_t *ret, bool *ret_gap, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    char timeline[16];
    const char *params[] = {timeline};
    snprintf(timeline, sizeof timeline, "%u", b->timeline);
    int rc = pg_query(ask, &r, err,
                      "SELECT start_lsn, end_lsn FROM pg_catalog.pg_available_wal_summaries() WHERE tli = $1"
                      " ORDER BY start_lsn",
                      1, params);
    *ret = b->incremental->former_lsn;
    *ret_gap = false;
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        uint64_t from, to;
        if (!wal_lsn_parse(pg_value(r, i, 0), &from) || !wal_lsn_parse(pg_value(r, i, 1), &to))
            return error_set(err, ERR_PG_QUERY, "the server does not tell what its summaries are of");
        if (from > *ret) *ret_gap = true;
        if (from <= *ret && to > *ret) *ret = to;
    }
    return rc;
}

/* The server makes them a little later than the WAL. */
static int wait_for(const struct stream_base *b, PGconn *ask, struct error *err) {
    const int64_t until = time_monotonic_ns() + WAIT_NS;
    char at[24], to[24];
    for (;;) {
        uint64_t lsn;
        bool gap;
        int rc = reach(b, ask, &lsn, &gap, err);
        if (rc < 0 || lsn >= b->start_lsn) return rc;
        if (gap || time_monotonic_ns() > until) {
            wal_lsn_format(lsn, at);
            wal_lsn_format(b->start_lsn, to);
            return error_set(err, ERR_PG_QUERY, "the server has no summary of the WAL from %s to %s", at, to);
        }
        if ((rc = stop_check(err)) < 0) return rc;
        pgphys_pause(PAUSE_MS);
    }
}

static uint32_t number(const PGresult *r, int column) {
    return (uint32_t)strtoul(pg_value(r, 0, column), NULL, 10);
}

/* Row by row: there may be as many as blocks have changed. */
static int contents(struct stream_base *b, PGconn *ask, struct error *err) {
    struct stream_incremental *k = b->incremental;
    char timeline[16], from[24], to[24];
    const char *params[] = {timeline, from, to};
    snprintf(timeline, sizeof timeline, "%u", b->timeline);
    wal_lsn_format(k->former_lsn, from);
    wal_lsn_format(b->start_lsn, to);
    if (!PQsendQueryParams(ask,
                           "SELECT c.reltablespace, c.reldatabase, c.relfilenode, c.relforknumber, c.relblocknumber,"
                           " c.is_limit_block FROM pg_catalog.pg_available_wal_summaries() s,"
                           " LATERAL pg_catalog.pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) c"
                           " WHERE s.tli = $1 AND s.end_lsn > $2::pg_lsn AND s.start_lsn < $3::pg_lsn",
                           3, NULL, params, NULL, NULL, 0) ||
        !PQsetSingleRowMode(ask))
        return pg_result_error(ask, NULL, err, "ask for the summaries of the WAL");
    PGresult *r;
    unsigned rows = 0;
    int rc = 0;
    for (; (r = PQgetResult(ask)); PQclear(r)) {
        const ExecStatusType status = PQresultStatus(r);
        if (rc == 0 && status != PGRES_SINGLE_TUPLE && status != PGRES_TUPLES_OK)
            rc = pg_result_error(ask, r, err, "ask for the summaries of the WAL");
        if (rc == 0 && ++rows % 4096 == 0) rc = stop_check(err);
        if (rc < 0 || PQntuples(r) != 1) continue;
        const struct stream_change c = {.space = number(r, 0),
                                        .database = number(r, 1),
                                        .relation = number(r, 2),
                                        .fork = number(r, 3),
                                        .block = number(r, 4)};
        tell(k, &c, c.relation == 0 ? 2 : pg_true(r, 0, 5) ? 4 : 5);
    }
    return rc;
}

static void count(struct stream_incremental *k) {
    const struct stream_change *last = NULL;
    for (size_t i = 0; i < k->changed_n; i++) {
        const struct stream_change *c = &k->changed[i];
        if (c->told) continue;
        if (!k->missed++)
            snprintf(k->missed_first, sizeof k->missed_first, "block %u of relation %u/%u/%u", c->block, c->space,
                     c->database, c->relation);
        if (!last || order_of(last, c, 4) != 0) k->missed_files++;
        last = c;
    }
}

int stream_summaries_ask(struct stream_base *b, PGconn *ask, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct stream_incremental *k = b->incremental;
    struct error why = ERROR_INIT;
    if (k->mode != STREAM_ALL_COMPARED) return 0;
    int rc = pg_query(ask, &r, &why, "SELECT pg_catalog.current_setting('summarize_wal')", 0, NULL);
    if (rc == 0 && strcmp(pg_value(r, 0, 0), "on") != 0)
        rc = error_set(&why, ERR_PG_QUERY, "summarize_wal is off at the server");
    if (rc == 0) rc = wait_for(b, ask, &why);
    if (rc == 0 && k->changed_n) {
        qsort(k->changed, k->changed_n, sizeof *k->changed, order);
        rc = contents(b, ask, &why);
        if (rc == 0) count(k);
    }
    if (rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED) {
        *err = why;
        return rc;
    }
    if (rc < 0)
        snprintf(k->summaries, sizeof k->summaries, "%.190s", why.text);
    else if (k->changed_more)
        snprintf(k->summaries, sizeof k->summaries, "there was no room to ask for %llu of the pages that have changed",
                 (unsigned long long)k->changed_more);
    return 0;
}
