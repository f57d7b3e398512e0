#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

int receive_refused(PGconn *c, const PGresult *r, bool streaming, struct error *err, const char *what) {
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    const char *said = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    if (!state) state = "";
    if (!said) said = "";
    /* undefined_file: the segment is gone. object_not_in_prerequisite_state: the slot was invalidated, or, when it is
     * made, the server's settings have no room for it. */
    bool state_bad = !strcmp(state, "55000");
    if (streaming && (state_bad || !strcmp(state, "58P01")))
        return error_set(err, ERR_RECEIVE_GAP, "%s: %s", what, said);
    if (!strcmp(state, "55006")) return error_set(err, ERR_RECEIVE_BUSY, "%s: %s", what, said);
    if (state_bad || !strcmp(state, "42704") || !strcmp(state, "53400"))
        return error_set(err, ERR_RECEIVE_SLOT, "%s: %s", what, said);
    return pg_result_error(c, r, err, what);
}

static int ask(PGconn *c, const char *command, const char *what, int fields, PGresult **ret, struct error *err) {
    PGresult *r = PQexec(c, command);
    int rc = 0;
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        rc = receive_refused(c, r, false, err, what);
    else if (PQntuples(r) != 1 || PQnfields(r) < fields)
        rc = error_set(err, ERR_PG_QUERY, "%s: %d rows of %d columns came", what, PQntuples(r), PQnfields(r));
    if (rc < 0) {
        PQclear(r);
        return rc;
    }
    *ret = r;
    return 0;
}

/* "16MB", "1min", "500ms", "0": a setting with its unit, as SHOW writes it. */
static bool with_unit(const char *text, uint64_t *ret_number, const char **ret_unit) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    *ret_number = strtoull(text, &end, 10);
    *ret_unit = end;
    return true;
}

static int segment_size(PGconn *c, uint32_t *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    uint64_t n;
    const char *unit;
    int rc = ask(c, "SHOW wal_segment_size", "ask for wal_segment_size", 1, &r, err);
    if (rc < 0) return rc;
    if (with_unit(pg_value(r, 0, 0), &n, &unit)) {
        if (!strcmp(unit, "MB"))
            n <<= 20;
        else if (!strcmp(unit, "GB"))
            n <<= 30;
        else if (!strcmp(unit, "kB"))
            n <<= 10;
        if (n >= WAL_SEGMENT_MIN && n <= WAL_SEGMENT_MAX && (n & (n - 1)) == 0) {
            *ret = (uint32_t)n;
            return 0;
        }
    }
    return error_set(err, ERR_PG_QUERY, "wal_segment_size is '%s'", pg_value(r, 0, 0));
}

static int sender_timeout(PGconn *c, int64_t *ret_ns, struct error *err) {
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    CLEANUP(pg_clearp) PGresult *r = NULL;
    uint64_t n;
    const char *unit;
    int rc = ask(c, "SHOW wal_sender_timeout", "ask for wal_sender_timeout", 1, &r, err);
    if (rc < 0) return rc;
    *ret_ns = 0;
    if (!with_unit(pg_value(r, 0, 0), &n, &unit)) return 0;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(unit, units[i].unit)) *ret_ns = (int64_t)n * units[i].ms * 1000000;
    return 0;
}

int receive_identify(PGconn *c, struct receive_server *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct receive_server s = {0};
    int rc = ask(c, "IDENTIFY_SYSTEM", "IDENTIFY_SYSTEM", 3, &r, err);
    if (rc < 0) return rc;
    s.system = strtoull(pg_value(r, 0, 0), NULL, 10);
    s.timeline = (uint32_t)strtoul(pg_value(r, 0, 1), NULL, 10);
    if (s.system == 0 || s.timeline == 0 || !wal_lsn_parse(pg_value(r, 0, 2), &s.end))
        return error_set(err, ERR_PG_QUERY, "IDENTIFY_SYSTEM: '%s', '%s', '%s'", pg_value(r, 0, 0), pg_value(r, 0, 1),
                         pg_value(r, 0, 2));
    const char *standby = PQparameterStatus(c, "in_hot_standby");
    s.standby = standby && !strcmp(standby, "on");
    rc = segment_size(c, &s.segment_bytes, err);
    if (rc == 0) rc = sender_timeout(c, &s.timeout_ns, err);
    if (rc == 0) *ret = s;
    return rc;
}

/* What PostgreSQL lets a slot be called; so it needs no quoting. */
bool receive_slot_name_ok(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return n > 0 && n <= PG_NAME_MAX && name[n] == 0;
}

int receive_slot_read(PGconn *c, const char *slot, struct receive_slot *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    char command[128];
    snprintf(command, sizeof command, "READ_REPLICATION_SLOT %s", slot);
    int rc = ask(c, command, "READ_REPLICATION_SLOT", 3, &r, err);
    /* Of a logical slot it is an error. */
    if (rc == -ERR_PG_QUERY) {
        struct error said = *err;
        error_clear(err);
        return error_set(err, ERR_RECEIVE_SLOT, "slot %s: %s", slot, said.text);
    }
    if (rc < 0) return rc;
    *ret = (struct receive_slot){.exists = !PQgetisnull(r, 0, 0), .physical = !strcmp(pg_value(r, 0, 0), "physical")};
    if (!PQgetisnull(r, 0, 1) && !wal_lsn_parse(pg_value(r, 0, 1), &ret->lsn))
        return error_set(err, ERR_PG_QUERY, "READ_REPLICATION_SLOT: '%s'", pg_value(r, 0, 1));
    ret->timeline = (uint32_t)strtoul(pg_value(r, 0, 2), NULL, 10);
    return 0;
}

int receive_slot_create(PGconn *c, const char *slot, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    char command[160];
    snprintf(command, sizeof command, "CREATE_REPLICATION_SLOT %s PHYSICAL (RESERVE_WAL)", slot);
    int rc = ask(c, command, "CREATE_REPLICATION_SLOT", 1, &r, err);
    return rc < 0 ? error_wrap(err, "slot %s", slot) : 0;
}

int receive_slot_drop(PGconn *c, const char *slot, struct error *err) {
    char command[128];
    snprintf(command, sizeof command, "DROP_REPLICATION_SLOT %s", slot);
    CLEANUP(pg_clearp) PGresult *r = PQexec(c, command);
    if (PQresultStatus(r) == PGRES_COMMAND_OK) return 0;
    (void)!receive_refused(c, r, false, err, "DROP_REPLICATION_SLOT");
    return error_wrap(err, "slot %s", slot);
}

int receive_history(PGconn *c, uint32_t timeline, struct buf *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    char command[64];
    snprintf(command, sizeof command, "TIMELINE_HISTORY %u", timeline);
    int rc = ask(c, command, command, 2, &r, err);
    if (rc < 0) return rc;
    return buf_append(ret, PQgetvalue(r, 0, 1), (size_t)PQgetlength(r, 0, 1), err);
}

int receive_start(PGconn *c, const char *slot, uint32_t timeline, uint64_t lsn, struct error *err) {
    char command[192], at[24];
    wal_lsn_format(lsn, at);
    snprintf(command, sizeof command, "START_REPLICATION SLOT %s PHYSICAL %s TIMELINE %u", slot, at, timeline);
    CLEANUP(pg_clearp) PGresult *r = PQexec(c, command);
    if (PQresultStatus(r) == PGRES_COPY_BOTH) return 0;
    return receive_refused(c, r, true, err, "START_REPLICATION");
}
