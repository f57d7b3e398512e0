/* The read-only switch of a live server. ALTER SYSTEM is no part of the WAL, so the copy that replays it is not frozen
 * with it. A session may still say itself that its transaction writes; that is found out (quiet), not prevented. */
#include "surface/pgphys/takeover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define PAUSE_MS 100
#define RELOAD_NS (10 * NS_PER_S)
#define END_NS (20 * NS_PER_S) /* that a session which was told to end may take */
#define SHOWN 3

/* Autovacuum writes, too, and nothing tells it from others afterwards. */
static const char *const frozen[][2] = {{PGPHYS_FREEZE_READ_ONLY, "on"}, {"autovacuum", "off"}};
#define FROZEN (sizeof frozen / sizeof *frozen)
#define NAME_BYTES 80

struct live {
    struct pg_settings *s;
    PGconn *c;
};

static int live_open(const struct surface_context *ctx, struct live *l, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    *l = (struct live){0};
    int rc = pg_settings_load(ctx, NULL, &l->s, err);
    if (rc == 0) rc = pg_connect(l->s, NULL, &l->c, err);
    if (rc == 0) rc = pg_query(l->c, &r, err, "SELECT pg_catalog.pg_is_in_recovery()", 0, NULL);
    if (rc == 0 && pg_true(r, 0, 0))
        rc = error_set(err, ERR_CUTOVER_UNFIT, "the live server is a standby; freeze the primary that it follows");
    return rc < 0 ? error_wrap(err, "the live server") : 0;
}

static void live_close(struct live *l) {
    pg_finishp(&l->c);
    pg_settings_freep(&l->s);
}

int pgphys_freeze_look(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(live_close) struct live l;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = live_open(ctx, &l, err);
    if (rc == 0)
        rc = pg_query(l.c, &r, err,
                      "SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'"
                      " AND pid <> pg_catalog.pg_backend_pid()), (SELECT count(*) FROM pg_catalog.pg_prepared_xacts),"
                      " pg_catalog.current_setting('server_version'),"
                      " pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8),"
                      " (SELECT count(*) FROM pg_catalog.pg_subscription WHERE subenabled)",
                      0, NULL);
    if (rc < 0) return rc;
    *ret = json_pack("{s:I, s:I, s:s, s:I, s:I}", "sessions", (json_int_t)strtoll(pg_value(r, 0, 0), NULL, 10),
                     "prepared", (json_int_t)strtoll(pg_value(r, 0, 1), NULL, 10), "version", pg_value(r, 0, 2),
                     "timeline", (json_int_t)strtoll(pg_value(r, 0, 3), NULL, 16), "subscriptions",
                     (json_int_t)strtoll(pg_value(r, 0, 4), NULL, 10));
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

/* Whoever froze it before us would find his freeze taken for what was, and put back for ever. */
static int not_frozen(PGconn *c, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err,
                      "SELECT reset_val = 'on' OR EXISTS (SELECT 1 FROM pg_catalog.pg_file_settings f WHERE f.name ="
                      " s.name AND f.setting = 'on' AND f.sourcefile LIKE '%/postgresql.auto.conf')"
                      " FROM pg_catalog.pg_settings s WHERE s.name = 'default_transaction_read_only'",
                      0, NULL);
    if (rc < 0) error_next(err, "Freezing needs a superuser in connect.user; or give the surface hooks.freeze.");
    if (rc < 0 || !pg_true(r, 0, 0)) return rc;
    error_set(err, ERR_CUTOVER_FREEZE, "the live server is read-only already (default_transaction_read_only = on)");
    return error_next(err, "If another plan froze it, abort that one; else reset it, or plan with --freeze none.");
}

int pgphys_freeze_before(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(live_close) struct live l;
    json_t *out = json_object();
    int rc = out ? live_open(ctx, &l, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (!out) l = (struct live){0};
    if (rc == 0) rc = not_frozen(l.c, err);
    for (size_t i = 0; rc == 0 && i < FROZEN; i++) {
        CLEANUP(pg_clearp) PGresult *r = NULL;
        const char *params[] = {frozen[i][0]};
        rc = pg_query(l.c, &r, err,
                      "SELECT setting FROM pg_catalog.pg_file_settings WHERE name = $1"
                      " AND sourcefile LIKE '%/postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1",
                      1, params);
        if (rc < 0) error_next(err, "Freezing needs a superuser in connect.user; or give the surface hooks.freeze.");
        if (rc == 0) rc = json_put(out, frozen[i][0], PQntuples(r) ? json_string(pg_value(r, 0, 0)) : json_null(), err);
    }
    if (rc < 0)
        json_decref(out);
    else
        *ret = out;
    return rc;
}

static int set(PGconn *c, const char *name, const char *value, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(4096);
    if (!value) return pg_command(c, err, "ALTER SYSTEM RESET %s", name);
    int rc = pg_literal(&b, BYTES_STR(value), err);
    if (rc == 0) rc = buf_terminate(&b, err);
    return rc == 0 ? pg_command(c, err, "ALTER SYSTEM SET %s = %s", name, (const char *)b.ptr) : rc;
}

/* One of our own beside the server's. A session that does not know it yet would be told that there is none. */
static int set_own(PGconn *c, const char *name, const char *value, struct error *err) {
    int rc = pg_command(c, err, "SET %s = ''", name);
    return rc == 0 ? set(c, name, value, err) : rc;
}

/* A base that is taken meanwhile has the file with all this in it, and a copy of it is to be restored as the server
 * was: what a setting was before stands there too, while the mark does. */
static int mark(PGconn *c, const json_t *before, bool on, struct error *err) {
    int rc = on ? 0 : set_own(c, PGPHYS_FREEZE_MARK, NULL, err);
    for (size_t i = 0; rc == 0 && i < FROZEN; i++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, PGPHYS_FREEZE_WAS "%s", frozen[i][0]);
        rc = set_own(c, name, on ? json_string_value(json_object_get(before, frozen[i][0])) : NULL, err);
    }
    return rc == 0 && on ? set_own(c, PGPHYS_FREEZE_MARK, "on", err) : rc;
}

bool pgphys_freeze_sets(const char *name, size_t n) {
    for (size_t i = 0; i < FROZEN; i++)
        if (n == strlen(frozen[i][0]) && !strncasecmp(name, frozen[i][0], n)) return true;
    return false;
}

/* A new session has what the postmaster has, which tells all others before it takes another one. */
static int reload(struct live *l, bool on, bool *ret_seen, struct error *err) {
    CLEANUP(pg_clearp) PGresult *told = NULL;
    const int64_t until = time_monotonic_ns() + RELOAD_NS;
    int rc = pg_query(l->c, &told, err, "SELECT pg_catalog.pg_reload_conf()", 0, NULL);
    for (*ret_seen = false; rc == 0 && !*ret_seen && time_monotonic_ns() < until;) {
        CLEANUP(pg_finishp) PGconn *c = NULL;
        CLEANUP(pg_clearp) PGresult *r = NULL;
        pgphys_pause(PAUSE_MS);
        rc = pg_connect(l->s, NULL, &c, err);
        if (rc == 0)
            rc = pg_query(c, &r, err,
                          "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only'",
                          0, NULL);
        *ret_seen = rc == 0 && !strcmp(pg_value(r, 0, 0), "on") == on;
    }
    return rc;
}

/* Where another value stands above the system's, nothing is frozen by it. */
static int nobody_exempt(PGconn *c, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err,
                      "SELECT COALESCE(r.rolname, 'all roles'), COALESCE(d.datname, 'all databases')"
                      " FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole"
                      " LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,"
                      " pg_catalog.unnest(s.setconfig) u WHERE u IN ('default_transaction_read_only=off',"
                      " 'default_transaction_read_only=false', 'default_transaction_read_only=no',"
                      " 'default_transaction_read_only=0') LIMIT 1",
                      0, NULL);
    if (rc < 0 || !PQntuples(r)) return rc;
    error_set(err, ERR_CUTOVER_FREEZE,
              "%s in %s has default_transaction_read_only = off as a setting of its own, which stands above the freeze",
              pg_value(r, 0, 0), pg_value(r, 0, 1));
    return error_next(err, "Reset it (ALTER ROLE or ALTER DATABASE … RESET), or give the surface hooks.freeze.");
}

#define IN_THE_WAY                                                                                                     \
    " FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid() AND (backend_type = 'autovacuum "      \
    "worker'"                                                                                                          \
    " OR backend_xid IS NOT NULL OR (backend_type = 'client backend' AND xact_start < $1::timestamptz))"

static int in_the_way(PGconn *c, const char *since, unsigned *ret, char who[300], struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    const char *params[] = {since};
    int rc = pg_query(c, &r, err,
                      "SELECT pid, COALESCE(usename, backend_type), COALESCE(application_name, ''), state" IN_THE_WAY
                      " ORDER BY xact_start",
                      1, params);
    if (rc < 0) return rc;
    *ret = (unsigned)PQntuples(r);
    who[0] = 0;
    for (size_t at = 0, i = 0; i < *ret && i < SHOWN && at < 250; i++)
        at += (size_t)snprintf(who + at, 300 - at, "%sprocess %s (%.40s%s%.30s, %.20s)", i ? ", " : "",
                               pg_value(r, (int)i, 0), pg_value(r, (int)i, 1), *pg_value(r, (int)i, 2) ? " by " : "",
                               pg_value(r, (int)i, 2), pg_value(r, (int)i, 3));
    return 0;
}

static int end_sessions(PGconn *c, const char *since, bool vacuum_only, unsigned *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    const char *params[] = {since, vacuum_only ? "t" : "f"};
    int rc = pg_query(c, &r, err,
                      "SELECT pg_catalog.pg_terminate_backend(pid)" IN_THE_WAY
                      " AND (backend_type = 'autovacuum worker' OR NOT $2::bool)",
                      2, params);
    if (rc == 0) *ret += vacuum_only ? 0 : (unsigned)PQntuples(r);
    return rc;
}

static int drain(PGconn *c, const struct cutover_freeze *how, const char *since, unsigned *ret_ended,
                 struct error *err) {
    const int64_t until = time_monotonic_ns() + how->wait_ns;
    char who[300];
    unsigned left = 1;
    int rc = end_sessions(c, since, true, ret_ended, err);
    for (bool told = false; rc == 0;) {
        const int64_t now = time_monotonic_ns();
        rc = in_the_way(c, since, &left, who, err);
        if (rc == 0 && left == 0) return 0;
        if (rc == 0) rc = stop_check(err);
        if (rc == 0 && how->terminate && !told && now >= until) {
            rc = end_sessions(c, since, false, ret_ended, err);
            told = true;
        } else if (rc == 0 && now >= until + (how->terminate ? END_NS : 0))
            return error_set(err, ERR_CUTOVER_FREEZE,
                             "%u session%s still in a transaction that may write, after %lld s: %s", left,
                             left == 1 ? " is" : "s are", (long long)((now - until + how->wait_ns) / NS_PER_S), who);
        if (rc == 0) pgphys_pause(PAUSE_MS);
    }
    return rc;
}

static int no_prepared(PGconn *c, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err, "SELECT count(*) FROM pg_catalog.pg_prepared_xacts", 0, NULL);
    if (rc < 0 || !strcmp(pg_value(r, 0, 0), "0")) return rc;
    error_set(err, ERR_CUTOVER_FREEZE, "%s prepared transaction(s) wait to be committed, which nothing can refuse",
              pg_value(r, 0, 0));
    return error_next(err, "Commit or roll them back (pg_prepared_xacts lists them), then run the plan again.");
}

int pgphys_freeze(const struct surface_context *ctx, const struct cutover_freeze *how, json_t **ret,
                  struct error *err) {
    CLEANUP(live_close) struct live l;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    const int64_t begun = time_monotonic_ns();
    unsigned ended = 0;
    bool seen = false;
    int rc = live_open(ctx, &l, err);
    if (rc == 0) rc = nobody_exempt(l.c, err);
    if (rc == 0) rc = mark(l.c, how->before, true, err);
    for (size_t i = 0; rc == 0 && i < FROZEN; i++) rc = set(l.c, frozen[i][0], frozen[i][1], err);
    if (rc == 0) rc = reload(&l, true, &seen, err);
    if (rc == 0 && !seen)
        rc =
            error_set(err, ERR_CUTOVER_FREEZE, "new sessions do not have default_transaction_read_only = on after %d s",
                      (int)(RELOAD_NS / NS_PER_S));
    if (rc == 0) rc = pg_query(l.c, &r, err, "SELECT pg_catalog.clock_timestamp()", 0, NULL);
    if (rc == 0) rc = drain(l.c, how, pg_value(r, 0, 0), &ended, err);
    if (rc == 0) rc = no_prepared(l.c, err);
    if (rc < 0) return rc;
    *ret = json_pack("{s:I, s:I}", "waited_ms", (json_int_t)((time_monotonic_ns() - begun) / 1000000), "sessions_ended",
                     (json_int_t)ended);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

int pgphys_freeze_resume(const struct surface_context *ctx, const json_t *before, struct error *err) {
    CLEANUP(live_close) struct live l;
    bool seen = false;
    int rc = live_open(ctx, &l, err);
    /* what a base is known by to be of a frozen server goes last */
    for (size_t i = FROZEN; rc == 0 && i-- > 0;)
        rc = set(l.c, frozen[i][0], json_string_value(json_object_get(before, frozen[i][0])), err);
    if (rc == 0) rc = reload(&l, false, &seen, err);
    if (rc == 0 && !seen)
        rc = error_set(err, ERR_CUTOVER_FREEZE, "new sessions still have default_transaction_read_only = on after %d s",
                       (int)(RELOAD_NS / NS_PER_S));
    return rc == 0 ? mark(l.c, NULL, false, err) : rc;
}

/* A restore point, so that there is something in the segment that is switched from, and a place to come to. */
int pgphys_freeze_last_wal(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(live_close) struct live l;
    CLEANUP(pg_clearp) PGresult *r = NULL, *s = NULL;
    int rc = live_open(ctx, &l, err);
    if (rc == 0)
        rc = pg_query(l.c, &r, err,
                      "SELECT pg_catalog.pg_create_restore_point('proofkeep: the last before the switch'),"
                      " pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()),"
                      " pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())",
                      0, NULL);
    /* It has its number already, so nothing would tell later that it was committed behind that place. */
    if (rc == 0 && strcmp(pg_value(r, 0, 1), pg_value(r, 0, 2)) != 0)
        rc = error_set(err, ERR_CUTOVER_FREEZE,
                       "a session has begun to write since the live server was frozen (transaction %s)",
                       pg_value(r, 0, 2));
    if (rc == 0) rc = pg_query(l.c, &s, err, "SELECT pg_catalog.pg_switch_wal()", 0, NULL);
    if (rc < 0) return rc;
    *ret = json_pack("{s:s, s:s}", "lsn", pg_value(r, 0, 0), "next_xid", pg_value(r, 0, 1));
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

int pgphys_freeze_quiet(const struct surface_context *ctx, const json_t *last, bool builtin, struct error *err) {
    CLEANUP(live_close) struct live l;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    const char *then = json_string_value(json_object_get(last, "next_xid"));
    int rc = live_open(ctx, &l, err);
    if (rc == 0)
        rc = pg_query(l.c, &r, err,
                      "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()), reset_val,"
                      " (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL)"
                      " + (SELECT count(*) FROM pg_catalog.pg_prepared_xacts)"
                      " FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only'",
                      0, NULL);
    if (rc == 0 && builtin && strcmp(pg_value(r, 0, 1), "on") != 0)
        return error_set(err, ERR_CUTOVER_WROTE, "the live server is not read-only any more: somebody has undone it");
    if (rc == 0 && (!then || strcmp(then, pg_value(r, 0, 0)) != 0))
        return error_set(err, ERR_CUTOVER_WROTE,
                         "transactions up to %s were begun on the live server, and the last that is in the copy can be "
                         "the one before %s",
                         pg_value(r, 0, 0), then ? then : "-");
    /* Numbers that are given out are seen above only when one of them has ended. */
    if (rc == 0 && strcmp(pg_value(r, 0, 2), "0") != 0)
        return error_set(err, ERR_CUTOVER_WROTE, "%s transaction(s) on the live server write, and have not ended",
                         pg_value(r, 0, 2));
    return rc;
}
