/* Retention of objects, and what it leaves to removal. */
#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"

static const char *mode_name(enum store_lock m) {
    return m == STORE_LOCK_COMPLIANCE ? "COMPLIANCE" : "GOVERNANCE";
}

static enum store_lock mode_of(struct bytes name) {
    return bytes_equal(name, BYTES_STR("COMPLIANCE"))   ? STORE_LOCK_COMPLIANCE
           : bytes_equal(name, BYTES_STR("GOVERNANCE")) ? STORE_LOCK_GOVERNANCE
                                                        : STORE_LOCK_NONE;
}

void s3_lock_headers(struct s3_store *s, const char *key, struct s3_call *c, char until[32]) {
    int64_t ns = store_lock_ns(&s->base, key);
    if (ns <= 0) return;
    time_format(time_now_ns() + ns, until);
    s3_header_add(c, "x-amz-object-lock-mode", mode_name(s->base.locks.mode));
    s3_header_add(c, "x-amz-object-lock-retain-until-date", until);
    c->md5 = true;
}

/* What the answer to HEAD says. */
static void read_headers(const struct http_response *answer, struct store_retention *ret) {
    const char *mode = http_header(answer, "x-amz-object-lock-mode");
    const char *until = http_header(answer, "x-amz-object-lock-retain-until-date");
    const char *held = http_header(answer, "x-amz-object-lock-legal-hold");
    *ret = (struct store_retention){.held = held && strcmp(held, "ON") == 0};
    if (mode && until && time_parse(until, &ret->until_ns)) ret->mode = mode_of(BYTES_STR(mode));
}

static int take(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct store_retention *r = ctx;
    const char *name = strrchr(path, '/');
    char until[64];
    (void)err;
    if (name && strcmp(name, "/Mode") == 0) r->mode = mode_of(text);
    if (name && strcmp(name, "/RetainUntilDate") == 0 && text.len < sizeof until) {
        snprintf(until, sizeof until, "%.*s", (int)text.len, (const char *)text.ptr);
        if (!time_parse(until, &r->until_ns)) r->mode = STORE_LOCK_NONE;
    }
    if (name && strcmp(name, "/Status") == 0) r->held = bytes_equal(text, BYTES_STR("ON"));
    return 0;
}

/* One of an object's own settings; `past`: of the version that this handle reads. That it has none is told as 404, or
 * 400, with a code, and of the bucket in words. */
static int setting(struct s3_store *s, const char *key, const char *query, const char *action, bool past,
                   struct store_retention *ret, int *ret_status, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT((size_t)64 << 10);
    char what[S3_KEY_BYTES_MAX];
    snprintf(what, sizeof what, "read the retention of the object %s", key);
    struct s3_call c = {.what = what, .action = action, .method = "GET", .key = key, .query = query, .text = &text};
    struct error e = ERROR_INIT;
    int rc = past ? s3_call_past(s, &c, &e) : s3_call(s, &c, &e);
    int status = *ret_status = c.answer.status;
    s3_call_free(&c);
    if (rc == 0) return xml_walk(buf_bytes(&text), take, ret, err);
    bool none = (status == 404 || status == 400) &&
                (strcasestr(e.text, "ObjectLockConfiguration") || strcasestr(e.text, "Object Lock Configuration") ||
                 strcasestr(e.text, "object lock not configured"));
    if (none || status == 501) return 0;
    *err = e;
    return rc;
}

/* What may be asked by who may not read the object. A hold is asked for only where nothing else keeps it. */
static int by_settings(struct s3_store *s, const char *key, bool past, struct store_retention *ret, int *ret_status,
                       struct error *err) {
    int rc = setting(s, key, "retention=", "s3:GetObjectRetention", past, ret, ret_status, err);
    if (rc == 0 && ret->until_ns <= time_now_ns())
        rc = setting(s, key, "legal-hold=", "s3:GetObjectLegalHold", past, ret, ret_status, err);
    return rc;
}

/* Not every server says so of a version that is asked for by name, nor to who may read objects and not their locks. */
static bool untold(const struct s3_store *s, const struct store_retention *r) {
    return r->mode == STORE_LOCK_NONE && s->base.locks.mode != STORE_LOCK_NONE;
}

static int by_head(struct s3_store *s, const char *key, struct store_retention *ret, struct error *err) {
    char what[S3_KEY_BYTES_MAX], id[STORE_VERSION_BYTES];
    int status;
    snprintf(what, sizeof what, "look at the retention of the object %s", key);
    struct s3_call c = {.what = what, .action = "s3:GetObjectRetention", .method = "HEAD", .key = key};
    int rc = s3_call_past(s, &c, err);
    if (rc == 0) read_headers(&c.answer, ret);
    s3_call_free(&c);
    if (rc == 0 && ret->mode == STORE_LOCK_NONE && (s3_pinned(s, key, id) || untold(s, ret)))
        rc = by_settings(s, key, true, ret, &status, err);
    return rc;
}

int s3_retention(struct store *st, const char *key, struct store_retention *ret, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    struct store_retention r = {.mode = STORE_LOCK_NONE}, other = r;
    struct error e = ERROR_INIT;
    int status;
    const bool settings = atomic_load(&s->no_head);
    int rc = settings ? by_settings(s, key, true, &r, &status, err) : by_head(s, key, &r, err);
    if (rc == -ERR_S3_DENIED) {
        int again = settings ? by_head(s, key, &other, &e) : by_settings(s, key, true, &other, &status, &e);
        if (again == -ERR_S3_DENIED) return rc;
        if ((rc = again) < 0)
            *err = e;
        else {
            error_clear(err);
            atomic_store(&s->no_head, !settings);
            r = other;
        }
    }
    if (rc == 0) *ret = r;
    return rc;
}

static int put_setting(struct s3_store *s, const char *key, const char *query, const char *action, const char *what,
                       bool bypass, struct bytes body, struct error *err) {
    char text[S3_KEY_BYTES_MAX];
    snprintf(text, sizeof text, "%s the object %s", what, key);
    struct s3_call c = {.what = text,
                        .action = action,
                        .method = "PUT",
                        .key = key,
                        .query = query,
                        .body = &body,
                        .body_count = 1,
                        .digest = true,
                        .md5 = true};
    if (bypass) s3_header_add(&c, "x-amz-bypass-governance-retention", "true");
    int rc = s3_call_past(s, &c, err);
    s3_call_free(&c);
    return rc;
}

static int retention_xml(char *out, size_t size, enum store_lock mode, const char *until) {
    return snprintf(out, size,
                    "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>%s</Mode><RetainUntilDate>%s"
                    "</RetainUntilDate></Retention>",
                    mode_name(mode), until);
}

int s3_retain(struct store *st, const char *key, const struct store_retention *want, struct error *err) {
    char until[32], body[256];
    time_format(want->until_ns, until);
    int n = retention_xml(body, sizeof body, want->mode, until);
    struct bytes b = BYTES_OF(body, (size_t)n);
    struct s3_store *s = (struct s3_store *)st;
    int rc = put_setting(s, key, "retention=", "s3:PutObjectRetention", "lock", false, b, err);
    if (want->mode != STORE_LOCK_COMPLIANCE || (rc != -ERR_S3_LOCKED && rc != -ERR_S3_DENIED)) return rc;
    struct error e = ERROR_INIT; /* what the first try said is the better reason */
    if (put_setting(s, key, "retention=", "s3:BypassGovernanceRetention", "lock", true, b, &e) < 0) return rc;
    error_clear(err);
    return 0;
}

#define SHORTER_NS (2 * NS_PER_S) /* dates are of seconds */

int s3_may_shorten(struct store *st, const char *key, bool *ret, struct error *err) {
    struct store_retention is, want;
    char until[32], body[256];
    *ret = false;
    int rc = s3_retention(st, key, &is, err);
    if (rc < 0 || is.mode != STORE_LOCK_GOVERNANCE || is.until_ns < time_now_ns() + 10 * SHORTER_NS) return rc;
    want = is;
    time_format(is.until_ns - SHORTER_NS, until);
    int n = retention_xml(body, sizeof body, is.mode, until);
    rc = put_setting((struct s3_store *)st, key, "retention=", "s3:BypassGovernanceRetention", "lock", true,
                     BYTES_OF(body, (size_t)n), err);
    if (rc == -ERR_S3_DENIED || rc == -ERR_S3_LOCKED) {
        error_clear(err);
        return 0;
    }
    *ret = rc == 0;
    return rc < 0 ? rc : s3_retain(st, key, &want, err);
}

/* A version whose retention has ended, for good. */
static int erase(struct s3_store *s, const char *key, const char *id, struct error *err) {
    CLEANUP(buf_free) struct buf q = BUF_INIT(4096);
    char what[S3_KEY_BYTES_MAX];
    snprintf(what, sizeof what, "erase the object %s", key);
    int rc = s3_version_query(&q, "", id, err);
    struct s3_call c = {.what = what,
                        .action = "s3:DeleteObjectVersion",
                        .method = "DELETE",
                        .key = key,
                        .query = (const char *)q.ptr,
                        .expected = {404}};
    if (rc == 0) rc = s3_call(s, &c, err);
    s3_call_free(&c);
    return rc;
}

struct newest {
    const char *key;
    char id[STORE_VERSION_BYTES];
};

static int see_newest(void *ctx, const struct store_version *v, struct error *err) {
    struct newest *n = ctx;
    (void)err;
    int d = strcmp(v->key, n->key);
    if (d == 0 && v->latest && !v->marker) snprintf(n->id, sizeof n->id, "%s", v->id);
    return d > 0 || (d == 0 && v->latest);
}

/* What lies on top, and until when it is locked; id "": nothing, or a marker. */
struct top {
    struct store_retention r;
    char id[STORE_VERSION_BYTES];
    int64_t now_ns;
};

static int top_by_head(struct s3_store *s, const char *key, struct top *ret, struct error *err) {
    char what[S3_KEY_BYTES_MAX];
    int status;
    snprintf(what, sizeof what, "look at the object %s", key);
    struct s3_call c = {.what = what, .action = "s3:GetObject", .method = "HEAD", .key = key, .expected = {404}};
    int rc = s3_call(s, &c, err);
    ret->now_ns = c.answer.date_ns ? c.answer.date_ns : time_now_ns();
    if (rc == 0 && c.answer.status / 100 == 2) {
        const char *v = http_header(&c.answer, "x-amz-version-id");
        snprintf(ret->id, sizeof ret->id, "%s", v ? v : "null");
        read_headers(&c.answer, &ret->r);
    }
    s3_call_free(&c);
    if (rc == 0 && ret->id[0] && untold(s, &ret->r)) rc = by_settings(s, key, false, &ret->r, &status, err);
    return rc;
}

/* The version need be known only of what is to be erased. */
static int top_by_settings(struct s3_store *s, const char *key, struct top *ret, struct error *err) {
    struct newest n = {.key = key};
    int status = 0;
    int rc = by_settings(s, key, false, &ret->r, &status, err);
    const bool hidden = rc < 0 && status == 405;
    ret->now_ns = time_now_ns();
    if (rc == -ERR_OBJECT_MISSING) {
        error_clear(err);
        return 0;
    }
    if (rc < 0 && !hidden) return rc;
    const bool ended = ret->r.mode != STORE_LOCK_NONE && ret->r.until_ns <= ret->now_ns;
    snprintf(n.id, sizeof n.id, "%s", hidden || ended ? "" : "null");
    if (hidden || ended) {
        struct error e = ERROR_INIT;
        int listed = s3_list_versions(&s->base, key, see_newest, &n, &e);
        if (listed < 0) {
            *err = e;
            return listed;
        }
        if (hidden && n.id[0]) return rc;
        error_clear(err);
    }
    snprintf(ret->id, sizeof ret->id, "%s", n.id);
    return 0;
}

/* Who may not read an object may yet be told of its lock. Who is told nothing must not take it for free. */
static int look_at_top(struct s3_store *s, const char *key, struct top *ret, struct error *err) {
    const bool settings = atomic_load(&s->no_head);
    *ret = (struct top){.r = {.mode = STORE_LOCK_NONE}};
    int rc = settings ? top_by_settings(s, key, ret, err) : top_by_head(s, key, ret, err);
    if (rc != -ERR_S3_DENIED) return rc;
    error_clear(err);
    *ret = (struct top){.r = {.mode = STORE_LOCK_NONE}};
    rc = settings ? top_by_head(s, key, ret, err) : top_by_settings(s, key, ret, err);
    if (rc == 0) atomic_store(&s->no_head, !settings);
    return rc;
}

int s3_reclaim(struct store *st, const char *key, int64_t *ret_until_ns, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    struct top top;
    bool kept;
    *ret_until_ns = 0;
    int rc = s3_kept(st, &kept, err);
    if (rc < 0) return rc;
    if (!kept && s->base.locks.mode == STORE_LOCK_NONE) return s3_remove(st, key, err);
    rc = look_at_top(s, key, &top, err);
    if (rc == -ERR_S3_DENIED && s->base.locks.mode == STORE_LOCK_NONE) {
        error_clear(err); /* nobody asked for locks; where versions are kept this only hides it */
        return s3_remove(st, key, err);
    }
    if (rc < 0 || !top.id[0]) return rc;
    if (top.r.held) {
        *ret_until_ns = INT64_MAX;
        return 0;
    }
    const bool locked = top.r.mode != STORE_LOCK_NONE;
    if (locked && top.r.until_ns > top.now_ns) {
        *ret_until_ns = top.r.until_ns;
        return 0;
    }
    rc = locked ? erase(s, key, top.id, err) : s3_remove(st, key, err);
    if (rc == -ERR_S3_LOCKED || (locked && rc == -ERR_S3_DENIED)) {
        *ret_until_ns = INT64_MAX;
        error_clear(err);
        rc = 0;
    }
    return rc;
}

static int is_error(void *ctx, const char *path, struct bytes text, struct error *err) {
    (void)text, (void)err;
    if (strcmp(path, "Error") == 0) *(bool *)ctx = true;
    return 0;
}

int s3_restore_version(struct store *st, const char *key, const char *id, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(buf_free) struct buf from = BUF_INIT(8192), text = BUF_INIT((size_t)64 << 10);
    char what[S3_KEY_BYTES_MAX], until[32];
    snprintf(what, sizeof what, "put a version of the object %s on top", key);
    int rc = buf_printf(&from, err, "/%s/%s%s?", s->place.bucket, s->place.prefix, key);
    if (rc == 0) rc = s3_version_query(&from, "", id, err);
    if (rc < 0) return rc;
    struct s3_call c = {.what = what, .action = "s3:PutObject", .method = "PUT", .key = key, .text = &text};
    s3_header_add(&c, "x-amz-copy-source", (const char *)from.ptr);
    s3_write_headers(s, &c);
    s3_lock_headers(s, key, &c, until);
    c.md5 = false; /* there is no body */
    rc = s3_call(s, &c, err);
    bool failed = false;
    struct error ignored = ERROR_INIT;
    if (rc == 0) (void)!xml_walk(buf_bytes(&text), is_error, &failed, &ignored);
    if (rc == 0 && failed) { /* the server said 200 before it knew */
        struct s3_fault f;
        s3_fault_parse(buf_bytes(&text), &f);
        rc = s3_fault_error(s, &c, &f, err);
    }
    s3_call_free(&c);
    if (rc == 0) s3_unpin(s, key);
    return rc;
}
