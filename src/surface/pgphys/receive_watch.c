#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

const char receive_slot_query[] =
    "SELECT s.wal_status, s.safe_wal_size, s.restart_lsn IS NOT NULL,"
    " pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
    " ELSE pg_catalog.pg_current_wal_lsn() END, s.restart_lsn),"
    " pg_catalog.current_setting('max_slot_wal_keep_size'), r.sync_state, s.active"
    " FROM pg_catalog.pg_replication_slots s LEFT JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid"
    " WHERE s.slot_name = $1";

void receive_watch_open(struct receive_watch *w, const struct pg_settings *s, struct error *why) {
    receive_watch_close(w);
    if (pg_connect(s, NULL, &w->conn, why) < 0) w->conn = NULL;
}

void receive_watch_close(struct receive_watch *w) {
    pg_finishp(&w->conn);
    w->asked = w->fresh = false;
    w->next_ns = 0;
}

int receive_watch_fd(const struct receive_watch *w) {
    return w->conn && w->asked ? PQsocket(w->conn) : -1;
}

void receive_slot_take(struct receive_watch *w, const PGresult *r) {
    if (PQresultStatus(r) != PGRES_TUPLES_OK) return;
    w->fresh = true;
    w->found = PQntuples(r) == 1;
    if (!w->found) return;
    snprintf(w->wal_status, sizeof w->wal_status, "%s", pg_value(r, 0, 0));
    w->safe_bytes = PQgetisnull(r, 0, 1) ? -1 : strtoll(pg_value(r, 0, 1), NULL, 10);
    long long held = pg_true(r, 0, 2) ? strtoll(pg_value(r, 0, 3), NULL, 10) : 0;
    w->slot_bytes = held > 0 ? (uint64_t)held : 0;
    w->limited = strcmp(pg_value(r, 0, 4), "-1") != 0;
    const char *sync = pg_value(r, 0, 5);
    w->synchronous = !strcmp(sync, "sync") || !strcmp(sync, "quorum");
    w->active = pg_true(r, 0, 6);
}

static void lost(struct receive_watch *w) {
    pg_finishp(&w->conn);
    w->asked = false;
}

static bool ask(struct receive_watch *w, const char *slot) {
    w->asked = w->conn && PQsendQueryParams(w->conn, receive_slot_query, 1, NULL, &slot, NULL, NULL, 0) == 1;
    if (!w->asked) lost(w);
    return w->asked;
}

void receive_watch_tick(struct receive_watch *w, const char *slot, int64_t now_ns) {
    if (!w->conn) return;
    if (!w->asked && now_ns >= w->next_ns) {
        w->next_ns = now_ns + w->every_ns;
        if (!ask(w, slot)) return;
    }
    if (!w->asked) return;
    if (PQconsumeInput(w->conn) == 0) {
        lost(w);
        return;
    }
    while (!PQisBusy(w->conn)) {
        CLEANUP(pg_clearp) PGresult *r = PQgetResult(w->conn);
        if (!r) {
            w->asked = false;
            return;
        }
        receive_slot_take(w, r);
    }
}

void receive_watch_now(struct receive_watch *w, const char *slot) {
    w->fresh = w->found = false;
    if (!w->conn || !ask(w, slot)) return;
    for (PGresult *r; (r = PQgetResult(w->conn));) {
        receive_slot_take(w, r);
        PQclear(r);
    }
    w->asked = false;
}
