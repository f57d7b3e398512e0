#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"

#define LOCK_SECONDS 20

static enum store_fact unknown(struct store_facts *f, const struct error *why) {
    if (!f->why[0]) snprintf(f->why, sizeof f->why, "%.500s", why->text);
    return STORE_FACT_UNKNOWN;
}

struct word {
    const char *path;
    char text[64];
};

static int find(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct word *w = ctx;
    (void)err;
    if (strcmp(path, w->path) == 0) snprintf(w->text, sizeof w->text, "%.*s", (int)text.len, (const char *)text.ptr);
    return 0;
}

/* One word of one of the bucket's settings; "" when it is not set. Negative when it could not be asked for. */
static int setting(struct s3_store *s, const char *query, const char *action, struct word *w, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT((size_t)64 << 10);
    struct s3_call c = {.what = "read the bucket's settings",
                        .action = action,
                        .method = "GET",
                        .query = query,
                        .text = &text,
                        .expected = {404}};
    int rc = s3_call(s, &c, err);
    if (rc == 0 && c.answer.status == 200) rc = xml_walk(buf_bytes(&text), find, w, err);
    if (rc == 0 && c.answer.status == 404 && strcmp(c.code, "NoSuchBucket") == 0) {
        struct s3_fault f = {.code = "NoSuchBucket"};
        rc = s3_fault_error(s, &c, &f, err);
    }
    s3_call_free(&c);
    return rc;
}

static enum store_fact is_set(struct s3_store *s, const char *query, const char *action, const char *path,
                              struct store_facts *f) {
    struct word w = {.path = path};
    struct error e = ERROR_INIT;
    if (setting(s, query, action, &w, &e) < 0) {
        /* A server without the feature refuses the question. */
        return e.code == ERR_S3_REFUSED ? STORE_FACT_NONE : unknown(f, &e);
    }
    return strcmp(w.text, "Enabled") == 0 ? STORE_FACT_YES : STORE_FACT_NO;
}

/* An object of its own; *version is "" where none is kept. */
static int put(struct s3_store *s, const char *key, bool locked, char version[256], struct error *err) {
    struct bytes content = BYTES_STR("probe");
    char until[32];
    struct s3_call c = {.what = "store an object to try out",
                        .action = "s3:PutObject",
                        .method = "PUT",
                        .key = key,
                        .body = &content,
                        .body_count = 1,
                        .digest = true};
    time_format(time_now_ns() + LOCK_SECONDS * NS_PER_S, until);
    if (locked) {
        c.action = "s3:PutObjectRetention";
        s3_header_add(&c, "x-amz-object-lock-mode", "GOVERNANCE");
        s3_header_add(&c, "x-amz-object-lock-retain-until-date", until);
    }
    s3_write_headers(s, &c);
    int rc = s3_call(s, &c, err);
    const char *v = rc == 0 ? http_header(&c.answer, "x-amz-version-id") : NULL;
    snprintf(version, 256, "%s", v ? v : "");
    s3_call_free(&c);
    return rc;
}

/* Whether one version can be erased for good. The bypass is asked for only to clean up. */
static enum store_fact erase(struct s3_store *s, const char *key, const char *version, bool bypass,
                             struct store_facts *f) {
    CLEANUP(buf_free) struct buf q = BUF_INIT(1024);
    struct error e = ERROR_INIT;
    int rc = buf_append_str(&q, "versionId=", &e);
    if (rc == 0) rc = http_escape(&q, BYTES_STR(version), false, &e);
    if (rc == 0) rc = buf_terminate(&q, &e);
    struct s3_call c = {.what = "erase an object's version",
                        .action = "s3:DeleteObjectVersion",
                        .method = "DELETE",
                        .key = key,
                        .query = rc == 0 ? (const char *)q.ptr : NULL};
    if (bypass) s3_header_add(&c, "x-amz-bypass-governance-retention", "true");
    if (rc == 0) rc = s3_call(s, &c, &e);
    int status = c.answer.status;
    s3_call_free(&c);
    if (rc == 0) return STORE_FACT_NO;
    /* Some answer 400 rather than 403 for what is locked. */
    return status == 403 || status == 400 || e.code == ERR_S3_LOCKED ? STORE_FACT_YES : unknown(f, &e);
}

static void try_versions(struct s3_store *s, const char *key, struct store_facts *f) {
    char version[256];
    struct error e = ERROR_INIT;
    if (put(s, key, false, version, &e) < 0)
        f->erase_refused = unknown(f, &e);
    else if (version[0] && strcmp(version, "null") != 0)
        f->erase_refused = erase(s, key, version, false, f);
}

static void try_lock(struct s3_store *s, const char *key, struct store_facts *f) {
    char version[256];
    struct error e = ERROR_INIT;
    if (put(s, key, true, version, &e) < 0) {
        f->lock_enforced = unknown(f, &e);
        return;
    }
    f->lock_enforced = erase(s, key, version, false, f);
    if (f->lock_enforced == STORE_FACT_YES) {
        struct store_facts ignored = {.why = "-"};
        (void)erase(s, key, version, true,
                    &ignored); /* else it stays for as long as it is locked, and then as a version */
    }
}

static int take_id(void *ctx, const char *path, struct bytes text, struct error *err) {
    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0) return 0;
    buf_clear(ctx);
    return http_escape(ctx, text, false, err);
}

/* An upload of one part over the name that is taken. It is aborted when it was not let through. */
static enum store_fact try_parts(struct s3_store *s, const char *key, struct store_facts *f) {
    CLEANUP(buf_free)
    struct buf text = BUF_INIT((size_t)64 << 10),
               id = BUF_INIT(3072), q = BUF_INIT(4096), body = BUF_INIT(4096);
    struct bytes content = BYTES_STR("third");
    struct error e = ERROR_INIT;
    char tag[128] = "";
    struct s3_call c = {.what = "begin an object in parts",
                        .action = "s3:PutObject",
                        .method = "POST",
                        .key = key,
                        .query = "uploads=",
                        .text = &text};
    int rc = s3_call(s, &c, &e);
    s3_call_free(&c);
    if (rc == 0) rc = xml_walk(buf_bytes(&text), take_id, &id, &e);
    if (rc == 0) rc = buf_terminate(&id, &e);
    if (rc < 0) return unknown(f, &e);
    rc = buf_printf(&q, &e, "partNumber=1&uploadId=%s", (const char *)id.ptr);
    c = (struct s3_call){.what = "store a part",
                         .action = "s3:PutObject",
                         .method = "PUT",
                         .key = key,
                         .query = (const char *)q.ptr,
                         .body = &content,
                         .body_count = 1};
    if (rc == 0) rc = s3_call(s, &c, &e);
    if (rc == 0 && http_header(&c.answer, "etag")) {
        const char *from = http_header(&c.answer, "etag");
        size_t n = 0;
        for (; *from && n + 1 < sizeof tag; from++)
            if (*from != '"') tag[n++] = *from;
        tag[n] = 0;
    }
    s3_call_free(&c);
    buf_clear(&q);
    if (rc == 0)
        rc = buf_printf(&body, &e,
                        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part><PartNumber>1"
                        "</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>",
                        tag);
    if (rc == 0) rc = buf_printf(&q, &e, "uploadId=%s", (const char *)id.ptr);
    struct bytes xml = buf_bytes(&body);
    c = (struct s3_call){.what = "complete an object",
                         .action = "s3:PutObject",
                         .method = "POST",
                         .key = key,
                         .query = (const char *)q.ptr,
                         .body = &xml,
                         .body_count = 1,
                         .text = &text,
                         .expected = {412, 409}};
    s3_header_add(&c, "if-none-match", "*");
    if (rc == 0) rc = s3_call(s, &c, &e);
    int status = rc == 0 ? c.answer.status : 0;
    s3_call_free(&c);
    if (status / 100 != 2 && q.len > 0) {
        struct error ignored = ERROR_INIT;
        c = (struct s3_call){.what = "abort an upload",
                             .action = "s3:AbortMultipartUpload",
                             .method = "DELETE",
                             .key = key,
                             .query = (const char *)q.ptr,
                             .expected = {404},
                             .tries_max = 2};
        (void)!s3_call(s, &c, &ignored);
        s3_call_free(&c);
    }
    if (rc < 0) return unknown(f, &e);
    return status / 100 == 2 ? STORE_FACT_NO : STORE_FACT_YES;
}

int s3_probe(struct store *st, const char *folder, struct store_facts *f, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    char taken[160], versioned[160], locked[160];
    (void)err;
    snprintf(taken, sizeof taken, "%s0", folder);
    snprintf(versioned, sizeof versioned, "%s1", folder);
    snprintf(locked, sizeof locked, "%s2", folder);
    f->conditional_parts = try_parts(s, taken, f);
    f->versioned = is_set(s, "versioning=", "s3:GetBucketVersioning", "VersioningConfiguration/Status", f);
    f->lock_enabled = is_set(s, "object-lock=", "s3:GetBucketObjectLockConfiguration",
                             "ObjectLockConfiguration/ObjectLockEnabled", f);
    if (f->versioned == STORE_FACT_YES) try_versions(s, versioned, f);
    if (f->lock_enabled == STORE_FACT_YES) try_lock(s, locked, f);
    return 0;
}
