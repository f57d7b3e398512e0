#include "surface/pgphys/restore_internal.h"

#include <stdio.h>

static int step(json_t *steps, struct error *err, const char *fmt, ...) PK_CHECK PK_PRINTF(3, 4);
static int step(json_t *steps, struct error *err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    json_t *text = json_vsprintf(fmt, ap);
    va_end(ap);
    return json_push(steps, text, err);
}

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

static int steps_of(struct pgphys_restore *r, json_t *steps, json_t *warnings, struct error *err) {
    const struct restore_recovery *q = r->q->recovery;
    const json_t *spaces = json_object_get(r->q->facts, "tablespaces"), *v;
    char text[300];
    size_t i;
    int rc;
    if (r->delta)
        rc = step(steps, err, "remove pg_control, and what the backup does not have, from %s; rewrite what differs",
                  r->target);
    else
        rc = step(steps, err, "write all files into a new folder, which is named %s when it is whole", r->target);
    json_array_foreach(spaces, i, v) {
        char to[PATH_MAX], link[64];
        const char *was = json_string_value(json_object_get(v, "location")),
                   *oid = json_string_value(json_object_get(v, "oid"));
        if (rc < 0 || !was || *was != '/' || !oid) continue;
        snprintf(link, sizeof link, "pg_tblspc/%.40s", oid);
        rc = pgphys_target_space(r, link, was, to, err);
        if (rc == 0) rc = step(steps, err, "put the tablespace %s into %s", was, to);
    }
    if (rc == 0) rc = step(steps, err, "write pg_control last");
    if (rc == 0 && q)
        rc = step(steps, err, "when it is started, the server recovers %s%s%s%s", target_text(q, text, sizeof text),
                  q->action ? ", and then does: " : "", q->action ? q->action : "",
                  q->own_timeline ? ", and goes on as a new timeline" : "");
    if (rc == 0 && !q) rc = step(steps, err, "when it is started, the server recovers to the end of the backup");
    if (rc == 0 && !r->q->in_place)
        rc = json_push(
            warnings,
            json_string(
                "archiving is off in the copy (archive_mode in postgresql.auto.conf); turn it on when it takes over"),
            err);
    json_array_foreach(json_object_get(r->q->facts, "config_outside"), i, v) {
        const char *path = json_string_value(json_object_get(v, "path"));
        if (rc == 0 && path)
            rc = json_push(
                warnings,
                json_is_true(json_object_get(v, "captured"))
                    ? json_sprintf("%s was outside the data folder; it is restored below " PGPHYS_CONFIG, path)
                    : json_sprintf("%s was outside the data folder, and is not in the backup", path),
                err);
    }
    return rc;
}

static int fingerprint(const struct pgphys_restore *r, char hex[65], struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(16 << 10);
    struct stat st = {0};
    struct digest d;
    (void)!seam_fstatat(AT_FDCWD, r->target, &st, AT_SYMLINK_NOFOLLOW);
    int rc = buf_printf(&b, err, "%s %d %d %llu", r->q->target || r->q->in_place ? r->target : "-", r->exists, r->delta,
                        r->exists ? (unsigned long long)st.st_ino : 0ULL);
    sha256(buf_bytes(&b), &d);
    hex_encode(d.b, sizeof d.b, hex);
    return rc;
}

int pgphys_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) {
    struct pgphys_restore r = {.ctx = ctx, .q = q, .parentfd = -1, .dirfd = -1};
    json_t *steps = json_array(), *warnings = json_array(), *out = json_object();
    char hex[65];
    int rc = steps && warnings && out ? pgphys_recovery_check(q->recovery, q->facts, err)
                                      : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pgphys_target_decide(&r, err);
    if (rc == 0) rc = steps_of(&r, steps, warnings, err);
    if (rc == 0) rc = fingerprint(&r, hex, err);
    if (rc == 0) rc = json_put_str(out, "target", r.target, err);
    if (rc == 0) rc = json_put_str(out, "fingerprint", hex, err);
    if (rc == 0) rc = json_put(out, "exists", json_boolean(r.exists), err);
    if (rc == 0) rc = json_put(out, "empty", json_boolean(!r.delta), err);
    if (rc == 0) rc = json_put_int(out, "space_bytes", json_integer_value(json_object_get(q->facts, "bytes")), err);
    if (rc == 0) rc = json_put(out, "steps", json_incref(steps), err);
    if (rc == 0) rc = json_put(out, "warnings", json_incref(warnings), err);
    json_decref(steps);
    json_decref(warnings);
    if (rc < 0)
        json_decref(out);
    else
        *ret = out;
    return rc;
}
