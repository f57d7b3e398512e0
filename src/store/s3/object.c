#include "base/seam.h"
#include "store/s3/s3_internal.h"
#include <inttypes.h>
#include <stdlib.h>

#define COMPARE_BYTES ((size_t)1 << 20)
#define MARK_HEADER "x-amz-meta-pk-create"

int s3_exists_error(struct s3_store *s, const char *key, struct error *err) {
    return error_set(err, ERR_OBJECT_EXISTS, "the object %s exists already in %s", key, s->name);
}

/* Takes n bytes at `at` out of the parts as if they were one; false when they differ from p. */
static bool parts_equal(const struct bytes *parts, size_t count, uint64_t at, const uint8_t *p, size_t n) {
    for (size_t i = 0; i < count && n > 0; i++) {
        if (at >= parts[i].len) {
            at -= parts[i].len;
            continue;
        }
        size_t some = parts[i].len - (size_t)at < n ? parts[i].len - (size_t)at : n;
        if (memcmp(parts[i].ptr + at, p, some) != 0) return false;
        p += some;
        n -= some;
        at = 0;
    }
    return n == 0;
}

static uint64_t total_of(const struct bytes *parts, size_t n) {
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += parts[i].len;
    return total;
}

int s3_same(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, bool *ret_same,
            struct error *err) {
    uint64_t total = total_of(parts, n), bytes, at = 0;
    int64_t created_ns;
    int rc = s3_stat(&s->base, key, &bytes, &created_ns, err);
    if (rc < 0) return rc;
    *ret_same = bytes == total;
    if (bytes != total || total == 0) return 0;
    void *p = NULL;
    rc = mem_alloc(COMPARE_BYTES, &p, err);
    while (rc == 0 && *ret_same && at < total) {
        size_t got = 0;
        rc = s3_read(&s->base, key, at, p, COMPARE_BYTES, &got, err);
        if (rc == 0) *ret_same = got > 0 && parts_equal(parts, n, at, p, got);
        at += got;
    }
    seam_free(p);
    return rc;
}

int s3_same_or_sent(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, bool unsure,
                    bool *ret_same, struct error *err) {
    int rc = s3_same(s, key, parts, n, ret_same, err);
    if ((rc != -ERR_S3_DENIED && rc != -ERR_S3_ARCHIVED) || !unsure) return rc;
    error_clear(err);
    return 0;
}

/* Whether the object there is the one that this create stored, in a try whose answer never came. */
static int is_ours(struct s3_store *s, const char *key, const char *mark, bool unsure, const struct bytes *parts,
                   size_t n, bool *ret_ours, struct error *err) {
    struct s3_call c = {
        .what = "look at an object", .action = "s3:GetObject", .method = "HEAD", .key = key, .expected = {404}};
    *ret_ours = false;
    int rc = s3_call(s, &c, err);
    const char *theirs = rc == 0 ? http_header(&c.answer, MARK_HEADER) : NULL;
    if (rc == 0 && theirs) *ret_ours = strcmp(theirs, mark) == 0;
    bool unmarked = rc == 0 && !theirs && c.answer.status != 404;
    s3_call_free(&c);
    return unmarked && unsure ? s3_same(s, key, parts, n, ret_ours, err) : rc;
}

int s3_put_dated(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, enum s3_put_mode mode,
                 const struct digest *known, const atomic_bool *cancel, int64_t *ret_date_ns, struct error *err) {
    static const struct bytes nothing = {NULL, 0};
    char what[S3_KEY_BYTES_MAX], mark[33], until[32];
    uint8_t random[16];
    snprintf(what, sizeof what, "store the object %s", key);
    struct s3_call c = {.what = what,
                        .action = "s3:PutObject",
                        .method = "PUT",
                        .key = key,
                        .body = n ? parts : &nothing,
                        .body_count = n ? n : 1,
                        .digest = true,
                        .known = known,
                        .unsure = mode == S3_PUT_AGAIN,
                        .cancel = cancel};
    int rc = random_bytes(random, sizeof random, err);
    if (rc < 0) return rc;
    hex_encode(random, sizeof random, mark);
    if (mode != S3_PUT_REPLACE) {
        s3_header_add(&c, "if-none-match", "*");
        s3_header_add(&c, MARK_HEADER, mark);
        c.expected[0] = 412;
    }
    s3_write_headers(s, &c);
    s3_lock_headers(s, key, &c, until);
    if (ret_date_ns) *ret_date_ns = 0;
    rc = s3_call(s, &c, err);
    if (rc == 0 && ret_date_ns && c.answer.status != 412) *ret_date_ns = c.answer.date_ns;
    if (rc == 0) s3_version_seen(s, &c.answer);
    if (rc == 0 && c.answer.status == 412) {
        bool fine = false;
        rc = mode == S3_PUT_CREATE ? is_ours(s, key, mark, c.unsure, parts, n, &fine, err)
                                   : s3_same_or_sent(s, key, parts, n, c.unsure, &fine, err);
        if (rc == 0 && !fine) rc = s3_exists_error(s, key, err);
    }
    s3_call_free(&c);
    return rc;
}

int s3_put(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, enum s3_put_mode mode,
           const atomic_bool *cancel, struct error *err) {
    return s3_put_dated(s, key, parts, n, mode, NULL, cancel, NULL, err);
}

int s3_create_timed(struct store *st, const char *key, struct bytes content, int64_t *ret_created_ns,
                    struct error *err) {
    return s3_put_dated((struct s3_store *)st, key, &content, 1, S3_PUT_CREATE, NULL, NULL, ret_created_ns, err);
}

int s3_create(struct store *st, const char *key, struct bytes content, struct error *err) {
    return s3_put((struct s3_store *)st, key, &content, 1, S3_PUT_CREATE, NULL, err);
}

int s3_replace(struct store *st, const char *key, struct bytes content, struct error *err) {
    return s3_put((struct s3_store *)st, key, &content, 1, S3_PUT_REPLACE, NULL, err);
}

static void tag_of(const struct s3_call *c, char ret[STORE_TAG_BYTES]) {
    const char *tag = http_header(&c->answer, "etag");
    snprintf(ret, STORE_TAG_BYTES, "%s", tag && strlen(tag) < STORE_TAG_BYTES ? tag : "");
}

/* Of another try, whose first was carried out, nobody can tell here: then it is as if another had been faster. */
int s3_replace_if(struct store *st, const char *key, struct bytes content, char tag[STORE_TAG_BYTES], bool *ret_done,
                  struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    char what[S3_KEY_BYTES_MAX], until[32];
    snprintf(what, sizeof what, "store the object %s", key);
    struct s3_call c = {.what = what,
                        .action = "s3:PutObject",
                        .method = "PUT",
                        .key = key,
                        .body = &content,
                        .body_count = 1,
                        .digest = true,
                        .expected = {412, 409, 404, 501}};
    s3_header_add(&c, tag[0] ? "if-match" : "if-none-match", tag[0] ? tag : "*");
    s3_write_headers(s, &c);
    s3_lock_headers(s, key, &c, until);
    int rc = s3_call(s, &c, err);
    *ret_done = rc == 0 && c.answer.status / 100 == 2;
    if (*ret_done) tag_of(&c, tag);
    s3_call_free(&c);
    return rc;
}

static int look(struct s3_store *s, const char *key, bool top, uint64_t *ret_bytes, int64_t *ret_created_ns,
                struct error *err) {
    char what[S3_KEY_BYTES_MAX];
    snprintf(what, sizeof what, "look at the object %s", key);
    struct s3_call c = {.what = what, .action = "s3:GetObject", .method = "HEAD", .key = key};
    int rc = top ? s3_call(s, &c, err) : s3_call_past(s, &c, err);
    if (rc == 0) {
        const char *length = http_header(&c.answer, "content-length"), *time = http_header(&c.answer, "last-modified");
        if (!length || !time || !http_date_parse(time, ret_created_ns))
            rc = error_set(err, ERR_NET_ANSWER, "cannot %s in %s: %s says neither its size nor its time", what, s->name,
                           s->host);
        else
            *ret_bytes = strtoull(length, NULL, 10);
    }
    s3_call_free(&c);
    return rc == -ERR_S3_DENIED ? s3_denied_stat(s, key, ret_bytes, ret_created_ns, err) : rc;
}

int s3_stat(struct store *st, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *err) {
    return look((struct s3_store *)st, key, false, ret_bytes, ret_created_ns, err);
}

int s3_stat_top(struct s3_store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *err) {
    return look(s, key, true, ret_bytes, ret_created_ns, err);
}

/* "bytes 3-6/10" */
static bool range_parse(const char *s, uint64_t *ret_from, uint64_t *ret_to) {
    return s && sscanf(s, "bytes %" SCNu64 "-%" SCNu64 "/", ret_from, ret_to) == 2;
}

/* `query` names a version; NULL: the one that this handle reads. *ret_created_ns is 0 when nobody says it. */
static int read_range(struct s3_store *s, const char *key, const char *query, uint64_t at, void *p, size_t len,
                      size_t *ret_n, int64_t *ret_created_ns, char *ret_tag, struct error *err) {
    char what[S3_KEY_BYTES_MAX], range[64];
    snprintf(what, sizeof what, "read the object %s", key);
    snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, at, at + len - 1);
    struct s3_call c = {.what = what,
                        .action = "s3:GetObject",
                        .method = "GET",
                        .key = key,
                        .query = query,
                        .into = p,
                        .into_bytes = len,
                        .expected = {416}};
    s3_header_add(&c, "range", range);
    int rc = query ? s3_call(s, &c, err) : s3_call_past(s, &c, err);
    uint64_t from = 0, to = 0;
    size_t n = c.answer.body_bytes;
    if (rc == 0 && c.answer.status == 416) {
        *ret_n = 0;
    } else if (rc == 0 && c.answer.status == 206 && range_parse(http_header(&c.answer, "content-range"), &from, &to) &&
               from == at && to - from + 1 == n && !c.answer.cut) {
        *ret_n = n;
    } else if (rc == 0 && c.answer.status == 200 && at == 0) {
        *ret_n = n; /* the whole of it, and we stopped reading where ours ended */
    } else if (rc == 0) {
        rc = error_set(err, ERR_NET_ANSWER, "cannot %s in %s: %s was asked for %s and answers %d with %zu bytes of %s",
                       what, s->name, s->host, range, c.answer.status, n,
                       http_header(&c.answer, "content-range") ? http_header(&c.answer, "content-range") : "no range");
    }
    const char *time = rc == 0 && c.answer.status != 416 ? http_header(&c.answer, "last-modified") : NULL;
    if (!time || !http_date_parse(time, ret_created_ns)) *ret_created_ns = 0;
    if (ret_tag && rc == 0) tag_of(&c, ret_tag);
    s3_call_free(&c);
    return rc == -ERR_S3_DENIED ? s3_denied_read(s, key, err) : rc;
}

int s3_get(struct s3_store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
           int64_t *ret_created_ns, struct error *err) {
    /* Nothing is asked for, or no object is that long: then it is only whether there is one. */
    if (len == 0 || at > (uint64_t)INT64_MAX - len) {
        uint64_t bytes;
        int rc = s3_stat(&s->base, key, &bytes, ret_created_ns, err);
        if (rc == 0) *ret_n = 0;
        return rc;
    }
    int rc;
    if (at == 0 && s3_soon_read(s, key, p, len, ret_n, ret_created_ns, NULL, &rc, err)) return rc;
    return read_range(s, key, NULL, at, p, len, ret_n, ret_created_ns, NULL, err);
}

int s3_read_whole(struct s3_store *s, const char *key, void *p, size_t len, size_t *ret_n, int64_t *ret_created_ns,
                  char tag[STORE_TAG_BYTES], struct error *err) {
    return read_range(s, key, NULL, 0, p, len, ret_n, ret_created_ns, tag, err);
}

int s3_read(struct store *st, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, struct error *err) {
    int64_t created_ns;
    return s3_get((struct s3_store *)st, key, at, p, len, ret_n, &created_ns, err);
}

int s3_read_tagged(struct store *st, const char *key, void *p, size_t len, size_t *ret_n, char tag[STORE_TAG_BYTES],
                   struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    int64_t created_ns;
    int rc;
    if (s3_soon_read(s, key, p, len, ret_n, &created_ns, tag, &rc, err)) return rc;
    return read_range(s, key, NULL, 0, p, len, ret_n, &created_ns, tag, err);
}

int s3_read_version(struct store *st, const char *key, const char *id, uint64_t at, void *p, size_t len, size_t *ret_n,
                    struct error *err) {
    CLEANUP(buf_free) struct buf q = BUF_INIT(4096);
    uint8_t nothing[1];
    int64_t created_ns;
    bool none = len == 0 || at > (uint64_t)INT64_MAX - len;
    int rc = s3_version_query(&q, "", id, err);
    if (rc == 0)
        rc = read_range((struct s3_store *)st, key, (const char *)q.ptr, none ? 0 : at, none ? nothing : p,
                        none ? 1 : len, ret_n, &created_ns, NULL, err);
    if (rc == 0 && none) *ret_n = 0;
    return rc;
}

int s3_remove(struct store *st, const char *key, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    char what[S3_KEY_BYTES_MAX];
    snprintf(what, sizeof what, "remove the object %s", key);
    struct s3_call c = {.what = what, .action = "s3:DeleteObject", .method = "DELETE", .key = key, .expected = {404}};
    int rc = s3_call(s, &c, err);
    if (rc == 0 && c.answer.status == 404 && strcmp(c.code, "NoSuchBucket") == 0) {
        struct s3_fault f = {.code = "NoSuchBucket"};
        rc = s3_fault_error(s, &c, &f, err);
    }
    s3_call_free(&c);
    return rc;
}
