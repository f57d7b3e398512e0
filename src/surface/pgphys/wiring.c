#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <stdio.h>
#include <stdlib.h>

static int archiver(PGconn *c, struct wal_wiring *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *set = NULL;
    CLEANUP(pg_clearp) PGresult *r = NULL;
    /* A setting that the role may not see is no row. */
    int rc = pg_query(
        c, &set, err,
        "SELECT max(setting) FILTER (WHERE name = 'archive_mode'),"
        " coalesce(bool_and(setting = '') FILTER (WHERE name IN ('archive_command', 'archive_library')), false),"
        " max(setting) FILTER (WHERE name = 'archive_timeout'), pg_catalog.pg_is_in_recovery()"
        " FROM pg_catalog.pg_settings"
        " WHERE name IN ('archive_mode', 'archive_timeout', 'archive_command', 'archive_library')",
        0, NULL);
    if (rc == 0)
        rc = pg_query(c, &r, err,
                      "SELECT failed_count, last_failed_wal,"
                      " coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)"
                      " FROM pg_catalog.pg_stat_archiver",
                      0, NULL);
    if (rc < 0) return rc;
    const char *mode = pg_value(set, 0, 0);
    ret->off = !strcmp(mode, "off");
    ret->rests = !strcmp(mode, "on") && pg_true(set, 0, 3);
    ret->no_command = pg_true(set, 0, 1);
    ret->timeout_ns = strtoll(pg_value(set, 0, 2), NULL, 10) * NS_PER_S;
    ret->failed = pg_true(r, 0, 2) ? strtoull(pg_value(r, 0, 0), NULL, 10) : 0;
    snprintf(ret->failed_wal, sizeof ret->failed_wal, "%.64s", pg_value(r, 0, 1));
    return 0;
}

static int slot_of(PGconn *c, const char *slot, struct wal_wiring *ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct receive_watch w = {0};
    int rc = pg_query(c, &r, err, receive_slot_query, 1, &slot);
    if (rc < 0) return rc;
    receive_slot_take(&w, r);
    ret->slot = w.found;
    ret->slot_lost = !strcmp(w.wal_status, "lost");
    ret->slot_active = w.active;
    ret->slot_bytes = w.slot_bytes;
    ret->slot_unlimited = w.found && !w.limited;
    return 0;
}

int pgphys_wal_wiring(const struct surface_context *ctx, const char *slot, struct wal_wiring *ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    struct wal_wiring w = {0};
    int rc = pg_settings_load(ctx, NULL, &s, err);
    if (rc == 0) rc = pg_connect(s, NULL, &c, err);
    if (rc == 0) rc = slot ? slot_of(c, slot, &w, err) : archiver(c, &w, err);
    if (rc == 0) *ret = w;
    return rc;
}
