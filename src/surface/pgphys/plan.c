#include "surface/pgphys/restore_internal.h"

#include "surface/plan.h"
#include <gnu/libc-version.h>
#include <stdio.h>

static const char *target_text(const struct restore_recovery *q, char *out, size_t n) {
    const char *kind = q->time ? "time" : q->lsn ? "LSN" : q->xid ? "transaction" : q->name ? "restore point" : NULL;
    const char *value = q->time ? q->time : q->lsn ? q->lsn : q->xid ? q->xid : q->name;
    if (q->immediate)
        snprintf(out, n, "as far as it is consistent");
    else if (kind)
        snprintf(out, n, "to %s the %s %.200s", q->exclusive ? "just before" : "and with", kind, value);
    else
        snprintf(out, n, "%s", q->standby ? "for ever, as a standby" : "to the end of the WAL that there is");
    return out;
}

static int steps_of(struct pgphys_restore *r, struct plan_parts *p, struct error *err) {
    const struct restore_recovery *q = r->q->recovery;
    const json_t *spaces = json_object_get(r->q->facts, "tablespaces"), *v;
    char text[300];
    size_t i;
    int rc;
    if (r->delta)
        rc = plan_say(p->steps, err,
                      "remove pg_control, and what the backup does not have, from %s; rewrite what differs", r->target);
    else
        rc =
            plan_say(p->steps, err, "write all files into a new folder, which is named %s when it is whole", r->target);
    json_array_foreach(spaces, i, v) {
        char to[PATH_MAX], link[64];
        const char *was = json_string_value(json_object_get(v, "location")),
                   *oid = json_string_value(json_object_get(v, "oid"));
        if (rc < 0 || !was || *was != '/' || !oid) continue;
        snprintf(link, sizeof link, "pg_tblspc/%.40s", oid);
        rc = pgphys_target_space(r, link, was, to, err);
        if (rc == 0) rc = plan_say(p->steps, err, "put the tablespace %s into %s", was, to);
    }
    if (rc == 0) rc = plan_say(p->steps, err, "write pg_control last");
    if (rc == 0 && q)
        rc = plan_say(p->steps, err, "when it is started, the server recovers %s%s%s%s",
                      target_text(q, text, sizeof text), q->action ? ", and then does: " : "",
                      q->action ? q->action : "", q->own_timeline ? ", and goes on as a new timeline" : "");
    if (rc == 0 && !q) rc = plan_say(p->steps, err, "when it is started, the server recovers to the end of the backup");
    if (rc == 0 && !r->q->in_place)
        rc = json_push(
            p->warnings,
            json_string(
                "archiving is off in the copy (archive_mode in postgresql.auto.conf); turn it on when it takes over"),
            err);
    json_array_foreach(json_object_get(r->q->facts, "config_outside"), i, v) {
        const char *path = json_string_value(json_object_get(v, "path"));
        if (rc == 0 && path)
            rc = json_push(
                p->warnings,
                json_is_true(json_object_get(v, "captured"))
                    ? json_sprintf("%s was outside the data folder; it is restored below " PGPHYS_CONFIG, path)
                    : json_sprintf("%s was outside the data folder, and is not in the backup", path),
                err);
    }
    return rc;
}

/* "a, b, c and others", of those that are enabled where it is said of them; false: there are none. */
static bool names_of(const json_t *list, char out[256]) {
    const json_t *v;
    size_t i, n = 0, at = 0;
    json_array_foreach(list, i, v) {
        if (strcmp(json_text(v, "enabled", "true"), "true") != 0) continue;
        if (n++ < 3)
            at += (size_t)snprintf(out + at, 256 - at, "%s%.64s", n > 1 ? ", " : "", json_text(v, "name", "?"));
        else if (n == 4)
            snprintf(out + at, 256 - at, " and others");
    }
    return n > 0;
}

static int survivors(const struct pgphys_restore *r, struct plan_parts *p, struct error *err) {
    const json_t *facts = r->q->facts;
    json_int_t prepared = json_integer_value(json_object_get(facts, "prepared_transactions"));
    char names[256];
    int rc = 0;
    if (names_of(json_object_get(facts, "replication_slots"), names))
        rc =
            json_push(p->warnings,
                      json_sprintf("replication slots are in no backup (%s): make those anew that a consumer needs; it "
                                   "begins where the copy is, and not where it was",
                                   names),
                      err);
    if (rc == 0 && names_of(json_object_get(facts, "subscriptions"), names))
        rc = json_push(
            p->warnings,
            json_sprintf("subscriptions are in the backup, and enabled (%s): a copy that is started beside its "
                         "original takes from the publishers what is meant for that; start it with "
                         "max_logical_replication_workers = 0 first",
                         names),
            err);
    if (rc == 0 && prepared > 0)
        rc = json_push(
            p->warnings,
            json_sprintf("prepared transactions that had not ended when the backup began: %lld; unless they ended "
                         "before the copy's instant they hold their locks there until COMMIT PREPARED or "
                         "ROLLBACK PREPARED",
                         (long long)prepared),
            err);
    return rc;
}

/* By another version of the C library text may sort otherwise than its indexes do. ICU's comes with each server, which
 * warns itself; of a database in C or POSIX there is no version. */
static int collations(const struct pgphys_restore *r, struct plan_parts *p, struct error *err) {
    const char *here = gnu_get_libc_version();
    const json_t *v;
    size_t i;
    json_array_foreach(json_object_get(r->q->facts, "databases"), i, v) {
        const char *there = json_text(v, "collation_version_now", here);
        if (strcmp(json_text(v, "locale_provider", ""), "c") != 0 || !strcmp(there, here)) continue;
        return json_push(
            p->warnings,
            json_sprintf(
                "text was sorted by version %s of the C library, in the database %s for one, and this host has "
                "%s: a server that runs here may find indexes on text wrong; REINDEX them first",
                there, json_text(v, "name", "?"), here),
            err);
    }
    return 0;
}

static int print(const struct pgphys_restore *r, struct buf *out, struct error *err) {
    struct stat st = {0};
    (void)!seam_fstatat(AT_FDCWD, r->target, &st, AT_SYMLINK_NOFOLLOW);
    return buf_printf(out, err, "%s %d %d %llu", r->q->target || r->q->in_place ? r->target : "-", r->exists, r->delta,
                      r->exists ? (unsigned long long)st.st_ino : 0ULL);
}

int pgphys_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) {
    struct pgphys_restore r = {.ctx = ctx, .q = q, .parentfd = -1, .dirfd = -1};
    struct plan_parts parts = {0};
    json_t *out = json_object();
    char names[256];
    int rc = out ? plan_begin(&parts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pgphys_recovery_check(q->recovery, q->facts, err);
    if (rc == 0) rc = pgphys_target_decide(&r, err);
    if (rc == 0) rc = steps_of(&r, &parts, err);
    if (rc == 0) rc = survivors(&r, &parts, err);
    if (rc == 0) rc = collations(&r, &parts, err);
    if (rc == 0) rc = print(&r, &parts.print, err);
    if (rc == 0) rc = json_put_str(out, "target", r.target, err);
    if (rc == 0 && names_of(json_object_get(q->facts, "subscriptions"), names))
        rc = json_put(out, "subscriptions", json_true(), err); /* for a cutover */
    if (rc == 0)
        rc = plan_put(&parts, r.exists, !r.delta, (uint64_t)json_integer_value(json_object_get(q->facts, "bytes")), out,
                      err);
    plan_end(&parts);
    if (rc < 0)
        json_decref(out);
    else
        *ret = out;
    return rc;
}
