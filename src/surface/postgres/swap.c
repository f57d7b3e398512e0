/* The swap: live becomes before, fresh becomes live, in one transaction for all databases of a restore.
 *
 *   open ── refuse (others connected, nothing changed)
 *     └── closed (no new connections) ── emptied ── renamed, committed ── opened again
 *                      └── any failure: rolled back, opened again, nothing changed
 */
#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <stdio.h>
#include <time.h>

#define EMPTY_WAIT_NS (10 * NS_PER_S)
#define EMPTY_TICK_MS 50

static int in_use(PGconn *c, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf who = BUF_INIT(4096);
    unsigned n;
    int r = pg_connections(c, name, &n, &who, err);
    if (r < 0 || n == 0) return r;
    error_set(err, ERR_PG_IN_USE, "others are connected to database %s, %u of them: %s", name, n,
              (const char *)who.ptr);
    return error_state(err, "the live database is as it was");
}

int pg_swap_check(PGconn *c, const struct pg_swap *swaps, size_t n, bool terminate, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        bool taken = false;
        int r = pg_database_exists(c, swaps[i].before, &taken, err);
        if (r == 0 && taken && swaps[i].live_exists)
            r = error_set(err, ERR_PG_EXISTS, "the server has a database %s already", swaps[i].before);
        if (r == 0 && !strcmp(PQdb(c), swaps[i].live))
            r = error_set(err, ERR_CONFIG_VALUE,
                          "%s cannot be swapped through a connection to itself; set connect.dbname to another database",
                          swaps[i].live);
        if (r == 0 && swaps[i].live_exists && !terminate) r = in_use(c, swaps[i].live, err);
        if (r < 0) return r;
    }
    return 0;
}

static int allow(PGconn *c, const char *name, bool on, struct error *err) {
    CLEANUP(buf_free) struct buf id = BUF_INIT(4096);
    int r = pg_ident(&id, BYTES_STR(name), err);
    if (r == 0) r = buf_terminate(&id, err);
    return r == 0 ? pg_command(c, err, "ALTER DATABASE %s ALLOW_CONNECTIONS %s", (const char *)id.ptr,
                               on ? "true" : "false")
                  : r;
}

static int empty(PGconn *c, const char *name, struct error *err) {
    const char *params[] = {name};
    for (int64_t until = time_monotonic_ns() + EMPTY_WAIT_NS;;) {
        CLEANUP(buf_free) struct buf who = BUF_INIT(4096);
        PGresult *q = NULL;
        unsigned n;
        int r = pg_query(c, &q, err,
                         "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
                         " WHERE datname = $1 AND pid <> pg_catalog.pg_backend_pid()",
                         1, params);
        PQclear(q);
        if (r == 0) r = pg_connections(c, name, &n, &who, err);
        if (r < 0 || n == 0) return r;
        if (time_monotonic_ns() > until) return in_use(c, name, err);
        seam_poll(NULL, 0, EMPTY_TICK_MS);
    }
}

static int rename_to(PGconn *c, const char *from, const char *to, struct error *err) {
    CLEANUP(buf_free) struct buf sql = BUF_INIT(4096);
    int r = buf_append_str(&sql, "ALTER DATABASE ", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(from), err);
    if (r == 0) r = buf_append_str(&sql, " RENAME TO ", err);
    if (r == 0) r = pg_ident(&sql, BYTES_STR(to), err);
    if (r == 0) r = buf_terminate(&sql, err);
    return r == 0 ? pg_command(c, err, "%s", (const char *)sql.ptr) : r;
}

static int rename_all(PGconn *c, struct pg_swap *swaps, size_t n, struct error *err) {
    int r = pg_command(c, err, "BEGIN");
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (swaps[i].live_exists) r = rename_to(c, swaps[i].live, swaps[i].before, err);
        if (r == 0) r = rename_to(c, swaps[i].fresh, swaps[i].live, err);
    }
    if (r == 0) r = pg_command(c, err, "COMMIT");
    if (r == 0) return 0;
    struct error ignored = ERROR_INIT;
    (void)!pg_command(c, &ignored, "ROLLBACK"); /* a server that is gone has rolled back */
    return r;
}

int pg_swap_run(PGconn *c, struct pg_swap *swaps, size_t n, bool terminate, struct error *err) {
    size_t closed = 0;
    int r = pg_swap_check(c, swaps, n, terminate, err);
    for (; r == 0 && closed < n; closed++) {
        if (!swaps[closed].live_exists) continue;
        r = allow(c, swaps[closed].live, false, err);
        if (r == 0) r = terminate ? empty(c, swaps[closed].live, err) : in_use(c, swaps[closed].live, err);
        if (r < 0) {
            closed++;
            break;
        }
    }
    if (r == 0) r = rename_all(c, swaps, n, err);
    bool swapped = r == 0;
    struct error opening = ERROR_INIT;
    int opened = 0;
    for (size_t i = 0; i < closed; i++)
        if (swaps[i].live_exists && allow(c, swapped ? swaps[i].before : swaps[i].live, true, &opening) < 0)
            opened = -1;
    if (swapped && opened < 0) /* the old one stays closed to new connections; that is its safest state */
        return 0;
    if (r < 0) {
        error_wrap(err, "swap");
        return error_state(err, opened < 0
                                    ? "the live database has its name, but may refuse connections: ALTER DATABASE … "
                                      "ALLOW_CONNECTIONS true"
                                    : "the live database is as it was");
    }
    return 0;
}
