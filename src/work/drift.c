#include "work/drift.h"

#include "base/seam.h"
#include "base/time.h"
#include "platform/open_store.h"
#include "repo/objects.h"
#include "work/counted.h"
#include "work/revive.h"

#include <stdio.h>

#define SAMPLE 64

const char *drift_state_name(enum drift_state s) {
    static const char *const names[] = {"unknown", "ok", "told", "breached"};
    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

struct drift {
    struct work *w;
    drift_cb cb;
    void *ctx;
    struct drift_totals *totals;
    const struct config_repository *repository; /* NULL: it is in no configuration */
    struct store_locks locks;
    bool asked; /* immutability is configured */
    struct store_bucket b;
};

static int say(struct drift *d, const struct drift_signal *s, struct error *err) {
    unsigned *const counts[] = {&d->totals->unknown, &d->totals->ok, &d->totals->told, &d->totals->breached};
    *counts[s->state] += 1;
    return d->cb(d->ctx, s, err);
}

__attribute__((format(printf, 6, 7))) static int tell(struct drift *d, const char *name, enum drift_state state,
                                                      const char *next, struct error *err, const char *fmt, ...) {
    struct drift_signal s = {.name = name, .state = state, .next = state == DRIFT_OK ? NULL : next};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s.text, sizeof s.text, fmt, ap);
    va_end(ap);
    return say(d, &s, err);
}

/* Unknown is as bad as a breach where the policy asks, and told where it does not. */
static int unknown(struct drift *d, const char *name, bool asked, const char *what, struct error *err) {
    return tell(d, name, asked ? DRIFT_UNKNOWN : DRIFT_TOLD,
                "Grant these credentials the action that the reason names, so that it can be watched.", err,
                "whether %s could not be found out: %.250s", what,
                d->b.why[0] ? d->b.why : "the server knows no such question");
}

static int look_at_lock(struct drift *d, struct error *err) {
    static const char next[] = "Keep the repository in a bucket that was made with object lock.";
    if (d->b.lockable == STORE_ANSWER_YES) {
        char by_default[80] = "";
        if (d->b.default_mode != STORE_LOCK_NONE) {
            char span[32];
            duration_format(d->b.default_ns, span);
            snprintf(by_default, sizeof by_default, ", by default %s for %s", store_lock_name(d->b.default_mode), span);
        }
        return tell(d, "lock", DRIFT_OK, NULL, err, "object lock is on%s", by_default);
    }
    if (d->b.lockable == STORE_ANSWER_UNKNOWN) return unknown(d, "lock", d->asked, "object lock is on", err);
    return tell(d, "lock", d->asked ? DRIFT_BREACHED : DRIFT_TOLD, next, err,
                "object lock is off: whoever has the bucket's admin credential can destroy every backup");
}

static int look_at_versions(struct drift *d, struct error *err) {
    if (d->b.versioned == STORE_ANSWER_YES)
        return tell(d, "versions", DRIFT_OK, NULL, err, "what is removed or replaced stays as a version");
    if (d->b.versioned == STORE_ANSWER_UNKNOWN) return unknown(d, "versions", d->asked, "versions are kept", err);
    return tell(d, "versions", d->asked ? DRIFT_BREACHED : DRIFT_TOLD, "Turn versioning on in the bucket.", err,
                "no versions are kept: what is removed or overwritten is gone");
}

static void after(int64_t ns, char out[48]) {
    char span[32];
    duration_format(ns, span);
    snprintf(out, 48, ns > 0 ? "after %s" : "some day", span);
}

static int look_at_lifecycle(struct drift *d, struct error *err) {
    char when[48];
    int rc = 0;
    after(d->b.expires_ns, when);
    if (d->b.expires == STORE_ANSWER_YES)
        rc = tell(d, "expiry", DRIFT_BREACHED,
                  "Remove that rule from the bucket's lifecycle; prune is what frees space.", err,
                  "a lifecycle rule removes objects %s: backups will vanish", when);
    else if (d->b.expires == STORE_ANSWER_UNKNOWN)
        rc = unknown(d, "expiry", true, "a lifecycle rule removes objects", err);
    else
        rc = tell(d, "expiry", DRIFT_OK, NULL, err, "no lifecycle rule removes objects");
    if (rc < 0) return rc;
    if (d->b.archives == STORE_ANSWER_YES)
        rc = tell(d, "archive", DRIFT_BREACHED,
                  "End that rule, or give it the prefix packs/d/ below that of the repository.", err,
                  "a lifecycle rule moves what every command reads to an archive class: the repository will be "
                  "unreadable");
    else if (d->b.archives == STORE_ANSWER_UNKNOWN)
        rc = unknown(d, "archive", false, "a lifecycle rule moves objects to an archive class", err);
    else
        rc = tell(d, "archive", DRIFT_OK, NULL, err,
                  "no lifecycle rule moves what every command reads to an archive class");
    if (rc < 0) return rc;
    after(d->b.expires_noncurrent_ns, when);
    if (d->b.expires_noncurrent == STORE_ANSWER_YES)
        rc = tell(
            d, "old-versions", d->asked ? DRIFT_OK : DRIFT_TOLD,
            "Let the rule wait longer than it takes to notice a theft, or lock what is stored (immutability).", err,
            "a lifecycle rule removes versions below the newest %s: so long can what a thief deleted be brought back%s",
            when, d->asked ? ", and longer while it is locked" : "");
    else if (d->b.expires_noncurrent == STORE_ANSWER_UNKNOWN)
        rc = unknown(d, "old-versions", false, "a lifecycle rule removes old versions", err);
    else
        rc = tell(d, "old-versions", DRIFT_OK, NULL, err, "no lifecycle rule removes versions below the newest");
    if (rc < 0) return rc;
    if (d->b.aborts == STORE_ANSWER_NO)
        return tell(d, "uploads", DRIFT_OK, NULL, err,
                    "no lifecycle rule aborts unfinished uploads; a prune aborts those of more than a day ago");
    if (d->b.aborts == STORE_ANSWER_UNKNOWN) return unknown(d, "uploads", false, "unfinished uploads are aborted", err);
    return tell(d, "uploads", DRIFT_OK, NULL, err, "%s",
                d->b.aborts == STORE_ANSWER_YES ? "a lifecycle rule aborts unfinished uploads"
                                                : "the server knows no lifecycle rules");
}

static int look_at_encryption(struct drift *d, struct error *err) {
    const char *wanted = d->b.sse_wanted, *found = d->b.sse_found;
    if (wanted[0] && d->b.sse_seen == STORE_ANSWER_NONE)
        return tell(d, "encryption", DRIFT_UNKNOWN, NULL, err,
                    "encryption at rest, %s, is asked for, and there is no checkpoint to see it by", wanted);
    if (wanted[0] && d->b.sse_seen == STORE_ANSWER_UNKNOWN)
        return unknown(d, "encryption", true, "what is stored is encrypted at rest", err);
    if (wanted[0] && d->b.sse_seen == STORE_ANSWER_YES && strcmp(wanted, found) != 0)
        return tell(
            d, "encryption", DRIFT_BREACHED,
            "Use a server that encrypts at rest, and give every host that stores here the same 'sse'; what was "
            "stored stays as it is.",
            err, "%s is asked for at rest, and what was stored last has %s; it is encrypted by proofkeep all the same",
            wanted, found[0] ? found : "none");
    if (wanted[0])
        return tell(d, "encryption", DRIFT_OK, NULL, err, "what is stored is encrypted at rest as asked for, with %s",
                    wanted);
    if (d->b.encrypted == STORE_ANSWER_YES)
        return tell(d, "encryption", DRIFT_OK, NULL, err, "the bucket encrypts what is stored by default");
    if (d->b.encrypted == STORE_ANSWER_UNKNOWN)
        return unknown(d, "encryption", false, "the bucket encrypts by default", err);
    return tell(d, "encryption", DRIFT_OK, NULL, err,
                "the bucket does not encrypt by default; what is stored is encrypted by proofkeep");
}

static int look_at_access(struct drift *d, struct error *err) {
    int rc;
    if (d->b.open_to_all == STORE_ANSWER_YES)
        rc = tell(d, "public", DRIFT_BREACHED,
                  "Close it: remove the grant or the statement for everyone, block public access.", err,
                  "the bucket is open to everyone by its policy or its grants: what is stored is encrypted, and yet "
                  "sizes and times tell much");
    else if (d->b.open_to_all == STORE_ANSWER_UNKNOWN)
        rc = unknown(d, "public", true, "the bucket is open to everyone", err);
    else
        rc = tell(d, "public", DRIFT_OK, NULL, err, "the bucket is not open to everyone");
    if (rc < 0) return rc;
    bool writer = repo_keys(d->w->repo)->role == ROLE_WRITER;
    if (d->b.may_erase == STORE_ANSWER_NO)
        return tell(d, "removal", DRIFT_OK, NULL, err, "these credentials cannot remove anything for good");
    if (d->b.may_erase == STORE_ANSWER_UNKNOWN)
        return unknown(d, "removal", writer, "these credentials can remove objects", err);
    if (!writer)
        return tell(d, "removal", DRIFT_OK, NULL, err,
                    "these credentials can remove objects, as pruning needs (%s key)",
                    key_role_name(repo_keys(d->w->repo)->role));
    return tell(d, "removal", DRIFT_BREACHED,
                "Take the permissions to delete objects and versions from this host's credentials.", err,
                "this host only adds backups, and yet its credentials can remove objects for good: who steals them "
                "can remove what is not locked");
}

static int look_at_retention(struct drift *d, const struct live_objects *live, struct error *err) {
    static const char next[] = "proofkeep store renew";
    uint64_t looked = 0, loose = 0, missing = 0;
    int64_t soonest = 0, now = time_now_ns();
    char first[96] = "", until[32];
    if (!d->asked)
        return tell(d, "retention", DRIFT_TOLD, "Configure immutability for this repository.", err,
                    "no immutability is configured: nothing is locked");
    for (unsigned i = 0; i < SAMPLE && live->count > 0; i++) {
        uint64_t r;
        struct store_retention is;
        struct error e = ERROR_INIT;
        int rc = random_bytes(&r, sizeof r, err);
        if (rc < 0) return rc;
        const struct live_object *o = &live->items[live->count <= SAMPLE ? i : r % live->count];
        if (live->count <= SAMPLE && i >= live->count) break;
        int64_t keep = store_lock_ns(d->w->store, o->key);
        if (keep <= 0) continue;
        rc = store_retention(d->w->store, o->key, &is, &e);
        if (rc < 0 && rc != -ERR_OBJECT_MISSING) {
            snprintf(d->b.why, sizeof d->b.why, "%.250s", e.text);
            return unknown(d, "retention", true, "objects are locked", err);
        }
        looked++;
        missing += rc < 0;
        if (rc < 0) continue;
        bool locked = is.held || (is.mode >= d->locks.mode && is.until_ns > now);
        /* past the half a renewal is due, and past three quarters it is overdue */
        bool lasts = is.held || is.until_ns - now > keep / 4;
        if (!(locked && lasts) && loose++ == 0) snprintf(first, sizeof first, "%s", o->key);
        if (locked && !is.held && (soonest == 0 || is.until_ns < soonest)) soonest = is.until_ns;
    }
    if (missing)
        return tell(d, "retention", DRIFT_BREACHED, "proofkeep verify", err,
                    "%s of %llu looked at in use and not there", COUNTED(missing, "object"),
                    (unsigned long long)looked);
    if (loose)
        return tell(
            d, "retention", DRIFT_BREACHED, next, err,
            "%llu of %s looked at not locked as the policy asks, or not for much longer (first: %s): a thief could "
            "erase them",
            (unsigned long long)loose, COUNTED(looked, "object"), first);
    time_format(soonest, until);
    return tell(d, "retention", DRIFT_OK, NULL, err, "all of %s looked at are locked%s%s", COUNTED(looked, "object"),
                soonest ? ", the first until " : "", soonest ? until : "");
}

static int look_at_objects(struct drift *d, struct error *err) {
    struct revive_totals t;
    struct error e = ERROR_INIT;
    if (work_revive_count(d->w, &t, &e) < 0) {
        snprintf(d->b.why, sizeof d->b.why, "%.250s", e.text);
        return unknown(d, "hidden", d->b.versioned == STORE_ANSWER_YES, "objects were deleted or overwritten", err);
    }
    if (t.hidden + t.covered == 0)
        return tell(d, "hidden", DRIFT_OK, NULL, err,
                    "no object in use lies under a delete marker or under other bytes");
    return tell(d, "hidden", DRIFT_BREACHED, "Find out who did it; then bring them back: " REVIVE_COMMAND, err,
                "%s in use deleted and %llu overwritten by somebody; their first versions are still there",
                COUNTED(t.hidden, "object"), (unsigned long long)t.covered);
}

/* ---- what is remembered ---- */

static void path_of(const struct work *w, char out[4200]) {
    snprintf(out, 4200, "%.4000s/drift.json", repo_cache_dir(w->repo));
}

static void remember(const struct work *w, const struct drift_totals *t) {
    struct buf b = BUF_INIT(4096);
    struct error e = ERROR_INIT;
    char path[4200];
    if (!repo_cache_dir(w->repo)) return;
    path_of(w, path);
    json_t *j = json_pack("{s:I, s:i, s:i, s:i, s:i}", "time_ns", (json_int_t)time_now_ns(), "ok", (int)t->ok, "told",
                          (int)t->told, "unknown", (int)t->unknown, "breached", (int)t->breached);
    if (j && json_write(j, &b, &e) == 0) (void)!io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, &e);
    json_decref(j);
    buf_free(&b);
}

bool drift_last(const struct work *w, struct drift_totals *ret, int64_t *ret_time_ns) {
    struct buf b = BUF_INIT(4096);
    struct error e = ERROR_INIT;
    char path[4200];
    json_auto_t *j = NULL;
    int64_t v[5];
    static const char *const names[] = {"time_ns", "ok", "told", "unknown", "breached"};
    if (!repo_cache_dir(w->repo)) return false;
    path_of(w, path);
    bool good = io_read_file(AT_FDCWD, path, b.max_bytes, &b, &e) == 0 &&
                json_parse(buf_bytes(&b), b.max_bytes, "drift", &j, &e) == 0;
    for (int i = 0; i < 5 && good; i++) good = json_need_int(j, names[i], "drift", &v[i], &e) == 0 && v[i] >= 0;
    buf_free(&b);
    if (!good) return false;
    *ret_time_ns = v[0];
    *ret = (struct drift_totals){(unsigned)v[1], (unsigned)v[2], (unsigned)v[3], (unsigned)v[4]};
    return true;
}

int work_drift(struct work *w, drift_cb cb, void *ctx, struct drift_totals *ret, struct error *err) {
    struct drift d = {.w = w, .cb = cb, .ctx = ctx, .totals = ret};
    struct live_objects live = {0};
    *ret = (struct drift_totals){0};
    d.repository = w->config ? config_repository_at(w->config, w->url) : NULL;
    d.locks = config_locks(d.repository);
    d.asked = d.locks.mode != STORE_LOCK_NONE;
    int rc = store_bucket(w->store, &d.b, err);
    if (rc == -ERR_STORE_NO_VERSIONS) {
        error_clear(err);
        return 0;
    }
    if (rc == 0) rc = look_at_lock(&d, err);
    if (rc == 0) rc = look_at_versions(&d, err);
    if (rc == 0) rc = look_at_lifecycle(&d, err);
    if (rc == 0) rc = look_at_encryption(&d, err);
    if (rc == 0) rc = look_at_access(&d, err);
    if (rc == 0 && d.asked) rc = repo_live_objects(w->repo, &live, err);
    if (rc == 0) rc = look_at_retention(&d, &live, err);
    live_objects_free(&live);
    if (rc == 0) rc = look_at_objects(&d, err);
    if (rc == 0) remember(w, ret);
    return rc;
}
