#include "surface/pgphys/pgphys_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LOCK_KEY "8102356718236491821" /* of an advisory lock: any number, the same for ever */
#define REPLAY_WAIT_NS (120 * NS_PER_S)
#define CONTROL_TRIES 20
#define PID_BYTES_MAX 4096

void pgphys_pause(int ms) {
    (void)!seam_poll(NULL, 0, ms);
}

static int text(struct pgphys_session *s, const char *sql, char *out, size_t n, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(s->c, &r, err, sql, 0, NULL);
    if (rc < 0) return rc;
    if (PQntuples(r) != 1 || (size_t)PQgetlength(r, 0, 0) >= n)
        return error_set(err, ERR_PG_QUERY, "the server's answer has not the form that was asked for");
    snprintf(out, n, "%s", pg_value(r, 0, 0));
    return 0;
}

static int lsn(struct pgphys_session *s, const char *sql, uint64_t *ret, struct error *err) {
    char answer[64];
    int rc = text(s, sql, answer, sizeof answer, err);
    if (rc == 0 && !wal_lsn_parse(answer, ret))
        rc = error_set(err, ERR_PG_QUERY, "the server gave '%s' as a place in the WAL", answer);
    return rc;
}

/* Without one the server may recycle segments that the backup needs before they are copied. A role that may start a
 * backup need not be allowed to make one; that the segments are there is checked at the end in any case. */
static int keep_wal(struct pgphys_session *s, struct error *err) {
    char sql[256];
    snprintf(sql, sizeof sql,
             "SELECT pg_catalog.pg_create_physical_replication_slot('proofkeep_%d_%" PRIx64 "', true, true)",
             PQbackendPID(s->c), (uint64_t)time_now_ns());
    CLEANUP(pg_clearp) PGresult *r = PQexec(s->c, sql);
    s->slot = PQresultStatus(r) == PGRES_TUPLES_OK;
    return s->slot || PQstatus(s->c) == CONNECTION_OK ? 0 : pg_result_error(s->c, r, err, "keep the WAL");
}

/* Files of the standby may be of before the start until what it replays has come so far. */
static int wait_replay(struct pgphys_session *s, struct error *err) {
    int64_t until = time_monotonic_ns() + REPLAY_WAIT_NS;
    for (;;) {
        uint64_t at = 0;
        int rc = lsn(s, "SELECT coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0')", &at, err);
        if (rc < 0 || at >= s->start_lsn) return rc;
        if (time_monotonic_ns() > until)
            return error_set(err, ERR_PG_BASE,
                             "the standby has not replayed the WAL to the start of the backup in 2 minutes");
        if ((rc = stop_check(err)) < 0) return rc;
        pgphys_pause(100);
    }
}

int pgphys_wal_position(PGconn *c, uint64_t *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err,
                      "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN greatest("
                      "pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())"
                      " ELSE pg_catalog.pg_current_wal_flush_lsn() END",
                      0, NULL);
    if (rc == 0 && !wal_lsn_parse(pg_value(r, 0, 0), ret))
        rc = error_set(err, ERR_PG_QUERY, "the server does not tell how far its WAL goes");
    return rc;
}

int pgphys_clock(PGconn *c, int64_t *ret_ns, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc =
        pg_query(c, &r, err, "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint", 0, NULL);
    if (rc == 0) *ret_ns = strtoll(pg_value(r, 0, 0), NULL, 10) * 1000;
    return rc;
}

static int start(struct pgphys_session *s, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    char when[24], answer[64] = "";
    int rc = text(s, "SELECT pg_catalog.pg_try_advisory_lock(" LOCK_KEY ")", answer, sizeof answer, err);
    if (rc == 0 && answer[0] != 't')
        rc = error_set(err, ERR_PG_BASE, "another physical backup of this server is running");
    if (rc == 0) rc = text(s, "SELECT pg_catalog.pg_is_in_recovery()", answer, sizeof answer, err);
    s->standby = answer[0] == 't';
    if (rc == 0)
        rc = text(s, "SELECT system_identifier FROM pg_catalog.pg_control_system()", answer, sizeof answer, err);
    s->system = strtoull(answer, NULL, 10);
    if (rc == 0)
        rc = text(s, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'", answer,
                  sizeof answer, err);
    s->wal_segment_bytes = strtoull(answer, NULL, 10);
    if (rc == 0) rc = keep_wal(s, err);
    if (rc == 0) rc = pgphys_clock(s->c, &s->start_ns, err);
    if (rc < 0) return rc;
    time_format_compact(s->start_ns, when);
    snprintf(s->label_text, sizeof s->label_text, "proofkeep %s", when);
    const char *params[] = {s->label_text};
    rc = pg_query(s->c, &r, err, "SELECT pg_catalog.pg_backup_start($1, true)", 1, params);
    if (rc == 0 && !wal_lsn_parse(pg_value(r, 0, 0), &s->start_lsn))
        rc = error_set(err, ERR_PG_BASE, "the server gave '%s' as the start of the backup", pg_value(r, 0, 0));
    return rc == 0 && s->standby ? wait_replay(s, err) : rc;
}

int pgphys_session_start(struct pgphys_session *s, const struct pg_settings *settings, struct error *err) {
    *s = (struct pgphys_session){.label = BUF_INIT(64 << 10), .map = BUF_INIT(1 << 20)};
    int rc = pg_connect(settings, NULL, &s->c, err);
    if (rc < 0) return rc;
    s->major = PQserverVersion(s->c) / 10000;
    if (s->major < PGPHYS_MAJOR_MIN || s->major > PGPHYS_MAJOR_MAX)
        return error_set(err, ERR_PG_VERSION, "the server is PostgreSQL %d; physical backup knows %d to %d", s->major,
                         PGPHYS_MAJOR_MIN, PGPHYS_MAJOR_MAX);
    return start(s, err);
}

/* "START TIMELINE: 3" of a backup_label; 0 when there is none. */
static uint32_t label_timeline(struct buf *label) {
    const char *at = strstr((const char *)label->ptr, "START TIMELINE: ");
    return at ? (uint32_t)strtoul(at + strlen("START TIMELINE: "), NULL, 10) : 0;
}

int pgphys_session_stop(struct pgphys_session *s, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    /* It is we who see to the WAL: whether an archive has it, too, is not waited for. */
    int rc =
        pg_query(s->c, &r, err, "SELECT lsn, labelfile, spcmapfile FROM pg_catalog.pg_backup_stop(false)", 0, NULL);
    if (rc < 0) {
        if (err->code == ERR_PG_QUERY) err->code = ERR_PG_BASE;
        return error_wrap(err, "end the backup");
    }
    if ((rc = pgphys_clock(s->c, &s->stop_ns, err)) < 0) return rc;
    if (!wal_lsn_parse(pg_value(r, 0, 0), &s->stop_lsn) || s->stop_lsn <= s->start_lsn)
        return error_set(err, ERR_PG_BASE, "the server gave '%s' as the end of the backup", pg_value(r, 0, 0));
    rc = buf_append_str(&s->label, pg_value(r, 0, 1), err);
    if (rc == 0) rc = buf_terminate(&s->label, err);
    if (rc == 0) rc = buf_append_str(&s->map, pg_value(r, 0, 2), err);
    if (rc < 0) return rc;
    uint32_t timeline = label_timeline(&s->label);
    if (timeline != s->timeline)
        return error_set(err, ERR_PG_BASE, "the backup began on timeline %u, and its label says %u", s->timeline,
                         timeline);
    return 0;
}

void pgphys_session_end(struct pgphys_session *s) {
    pg_finishp(&s->c);
    buf_free(&s->label);
    buf_free(&s->map);
}

int pgphys_session_folder(struct pgphys_session *s, char out[PATH_MAX], struct error *err) {
    int rc = text(s, "SHOW data_directory", out, PATH_MAX, err);
    return rc < 0 ? error_wrap(err, "ask where the data folder is; set data_directory, or grant pg_read_all_settings")
                  : 0;
}

int pgphys_control_load(int dirfd, uint8_t *out, size_t *ret_n, struct pgphys_control *ret, struct error *err) {
    for (int i = 1;; i++) {
        struct error e = ERROR_INIT;
        int fd = seam_openat(dirfd, PGPHYS_CONTROL, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        if (fd < 0) return error_set_errno(err, ERR_PG_CONTROL, "open " PGPHYS_CONTROL);
        int rc = io_pread_full(fd, out, PGPHYS_CONTROL_BYTES, 0, ret_n, PGPHYS_CONTROL, &e);
        io_close(&fd);
        if (rc == 0) rc = pgphys_control_read(BYTES_OF(out, *ret_n), ret, &e);
        if (rc == 0) return 0;
        if (i == CONTROL_TRIES) {
            *err = e;
            return rc;
        }
        pgphys_pause(20);
    }
}

/* The port is on the fourth line of postmaster.pid, and when the server came up, in seconds, on the third. */
static int same_server(struct pgphys_session *s, int dirfd, struct error *err) {
    CLEANUP(buf_free) struct buf pid = BUF_INIT(PID_BYTES_MAX + 1);
    char port[64], up[64], has_port[64] = "", has_up[64] = "";
    int rc = text(s, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'port'", port, sizeof port, err);
    if (rc == 0)
        rc = text(s, "SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::bigint", up, sizeof up, err);
    if (rc < 0) return rc;
    rc = io_read_file(dirfd, "postmaster.pid", PID_BYTES_MAX, &pid, err);
    if (rc == -ERR_IO_NOT_FOUND) {
        error_clear(err);
        return error_set(err, ERR_PG_BASE, "no server runs in the data folder: it has no postmaster.pid");
    }
    if (rc == 0) rc = buf_terminate(&pid, err);
    if (rc < 0) return rc;
    sscanf((const char *)pid.ptr, "%*[^\n]\n%*[^\n]\n%63[^\n]\n%63[^\n]", has_up, has_port);
    long long apart = strtoll(up, NULL, 10) - strtoll(has_up, NULL, 10);
    if (strcmp(port, has_port) != 0 || apart < -60 || apart > 60)
        return error_set(
            err, ERR_PG_BASE,
            "the server in the data folder is another one: it listens on port %s and that which is asked on %s",
            has_port, port);
    return 0;
}

int pgphys_session_prove(struct pgphys_session *s, int dirfd, struct pgphys_control *ret, struct error *err) {
    uint8_t file[PGPHYS_CONTROL_BYTES];
    char want[24], is[24];
    size_t n;
    int rc = pgphys_control_load(dirfd, file, &n, ret, err);
    if (rc < 0) return rc;
    if (ret->system != s->system)
        return error_set(err, ERR_PG_BASE,
                         "the data folder is of another cluster: its system identifier is %" PRIu64
                         ", and the server's is %" PRIu64,
                         ret->system, s->system);
    rc = same_server(s, dirfd, err);
    if (rc < 0) return rc;
    if (ret->checkpoint < s->start_lsn) {
        wal_lsn_format(ret->checkpoint, is);
        wal_lsn_format(s->start_lsn, want);
        return error_set(
            err, ERR_PG_BASE,
            "the data folder is not the server's: its last checkpoint is at %s, before the backup's start at %s", is,
            want);
    }
    s->timeline = s->timeline_end = ret->timeline;
    return 0;
}
