#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"

#define ID_BYTES_MAX 1024
#define TAG_BYTES 128
#define COMPLETE_TRIES 4

struct upload {
    struct s3_store *s;
    const char *key;
    const struct bytes *parts;
    size_t count;
    const atomic_bool *cancel;
    struct buf id;     /* escaped */
    bool sums, unsure; /* a completion may have been carried out */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t left;
    struct error err; /* the first failure; the parts after it are not begun */
    atomic_bool failed;
};

struct piece {
    struct upload *u;
    unsigned number;
    uint64_t at;
    size_t len;
    char tag[TAG_BYTES];
    char sum[48];
};

/* The slices of the object's parts that make up [at, at+len). */
static size_t cut(const struct upload *u, uint64_t at, size_t len, struct bytes *out) {
    size_t n = 0;
    for (size_t i = 0; i < u->count && len > 0; i++) {
        if (at >= u->parts[i].len) {
            at -= u->parts[i].len;
            continue;
        }
        size_t some = u->parts[i].len - (size_t)at < len ? u->parts[i].len - (size_t)at : len;
        out[n++] = BYTES_OF(u->parts[i].ptr + at, some);
        len -= some;
        at = 0;
    }
    return n;
}

static int send_piece(struct piece *p, struct error *err) {
    struct upload *u = p->u;
    void *mem;
    char what[S3_KEY_BYTES_MAX];
    CLEANUP(buf_free) struct buf q = BUF_INIT(4 * ID_BYTES_MAX), sum = BUF_INIT(64);
    int rc = mem_alloc(u->count * sizeof(struct bytes), &mem, err);
    if (rc < 0) return rc;
    snprintf(what, sizeof what, "store part %u of the object %s", p->number, u->key);
    rc = buf_printf(&q, err, "partNumber=%u&uploadId=%s", p->number, (const char *)u->id.ptr);
    struct s3_call c = {.what = what,
                        .action = "s3:PutObject",
                        .method = "PUT",
                        .key = u->key,
                        .query = (const char *)q.ptr,
                        .body = mem,
                        .body_count = cut(u, p->at, p->len, mem),
                        .digest = u->sums,
                        .md5 = store_lock_ns(&u->s->base, u->key) > 0,
                        .cancel = u->cancel};
    if (rc == 0) rc = s3_call(u->s, &c, err);
    const char *tag = rc == 0 ? http_header(&c.answer, "etag") : NULL;
    if (rc == 0 && (!tag || strlen(tag) >= TAG_BYTES))
        rc = error_set(err, ERR_NET_ANSWER, "cannot %s in %s: %s gives it no tag", what, u->s->name, u->s->host);
    if (rc == 0) memcpy(p->tag, tag, strlen(tag) + 1);
    if (rc == 0) rc = base64_encode(&sum, BYTES_OF(c.body_digest.b, DIGEST_BYTES), err);
    if (rc == 0) snprintf(p->sum, sizeof p->sum, "%.*s", (int)sum.len, (const char *)sum.ptr);
    s3_call_free(&c);
    seam_free(mem);
    return rc;
}

static void run(void *arg) {
    struct piece *p = arg;
    struct upload *u = p->u;
    struct error err = ERROR_INIT;
    int rc = atomic_load(&u->failed) ? 0 : send_piece(p, &err);
    pthread_mutex_lock(&u->lock);
    if (rc < 0 && !atomic_load(&u->failed)) {
        u->err = err;
        atomic_store(&u->failed, true);
    }
    if (--u->left == 0) pthread_cond_broadcast(&u->ended);
    pthread_mutex_unlock(&u->lock);
}

static int take_id(void *ctx, const char *path, struct bytes text, struct error *err) {
    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0) return 0;
    buf_clear(ctx);
    return http_escape(ctx, text, false, err);
}

static int begin(struct upload *u, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT((size_t)64 << 10);
    char what[S3_KEY_BYTES_MAX], until[32];
    snprintf(what, sizeof what, "begin the object %s in parts", u->key);
    struct s3_call c = {.what = what,
                        .action = "s3:PutObject",
                        .method = "POST",
                        .key = u->key,
                        .query = "uploads=",
                        .text = &text,
                        .cancel = u->cancel};
    if (u->sums) s3_header_add(&c, "x-amz-checksum-algorithm", "SHA256");
    s3_write_headers(u->s, &c);
    s3_lock_headers(u->s, u->key, &c, until);
    c.md5 = false; /* there is no body; the parts have theirs */
    int rc = s3_call(u->s, &c, err);
    s3_call_free(&c);
    if (rc == 0) rc = xml_walk(buf_bytes(&text), take_id, &u->id, err);
    if (rc == 0 && u->id.len == 0) rc = error_set(err, ERR_NET_ANSWER, "%s names no upload", u->s->host);
    return rc < 0 ? rc : buf_terminate(&u->id, err);
}

static int send_all(struct upload *u, struct pool *pool, struct piece *pieces, size_t n, struct error *err) {
    u->left = n;
    for (size_t i = 0; i < n; i++) pool_submit(pool, run, &pieces[i]);
    pthread_mutex_lock(&u->lock);
    while (u->left > 0) pthread_cond_wait(&u->ended, &u->lock);
    pthread_mutex_unlock(&u->lock);
    if (!atomic_load(&u->failed)) return 0;
    *err = u->err;
    return -(int)err->code;
}

static int body_of(const struct upload *u, const struct piece *pieces, size_t n, struct buf *b, struct error *err) {
    int rc = buf_append_str(b, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">", err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = buf_printf(b, err, "<Part><PartNumber>%u</PartNumber><ETag>", pieces[i].number);
        for (const char *p = pieces[i].tag; *p && rc == 0; p++)
            rc = *p == '"'   ? buf_append_str(b, "&quot;", err)
                 : *p == '&' ? buf_append_str(b, "&amp;", err)
                 : *p == '<' ? buf_append_str(b, "&lt;", err)
                             : buf_append(b, p, 1, err);
        if (rc == 0) rc = buf_append_str(b, "</ETag>", err);
        if (rc == 0 && u->sums && !atomic_load(&u->s->no_checksum))
            rc = buf_printf(b, err, "<ChecksumSHA256>%s</ChecksumSHA256>", pieces[i].sum);
        if (rc == 0) rc = buf_append_str(b, "</Part>", err);
    }
    return rc < 0 ? rc : buf_append_str(b, "</CompleteMultipartUpload>", err);
}

static int is_error(void *ctx, const char *path, struct bytes text, struct error *err) {
    (void)text, (void)err;
    if (strcmp(path, "Error") == 0) *(bool *)ctx = true;
    return 0;
}

/* One try. *ret_again: the server said 200 before it knew, and then that it failed. */
static int complete_once(struct upload *u, const struct bytes *body, bool *ret_again, bool *ret_done,
                         struct error *err) {
    CLEANUP(buf_free) struct buf q = BUF_INIT(4 * ID_BYTES_MAX), text = BUF_INIT((size_t)64 << 10);
    char what[S3_KEY_BYTES_MAX];
    snprintf(what, sizeof what, "complete the object %s", u->key);
    int rc = buf_printf(&q, err, "uploadId=%s", (const char *)u->id.ptr);
    struct s3_call c = {.what = what,
                        .action = "s3:PutObject",
                        .method = "POST",
                        .key = u->key,
                        .query = (const char *)q.ptr,
                        .body = body,
                        .body_count = 1,
                        .text = &text,
                        .expected = {412, 404},
                        .cancel = u->cancel};
    s3_header_add(&c, "if-none-match", "*");
    if (rc == 0) rc = s3_call(u->s, &c, err);
    u->unsure |= c.unsure;
    bool failed = false;
    struct error ignored = ERROR_INIT;
    *ret_again = *ret_done = false;
    if (rc == 0 && c.answer.status == 200) (void)!xml_walk(buf_bytes(&text), is_error, &failed, &ignored);
    if (rc == 0 && failed) {
        struct s3_fault f;
        s3_fault_parse(buf_bytes(&text), &f);
        *ret_again = s3_fault_passes(200, &f);
        rc = s3_fault_error(u->s, &c, &f, err);
    } else if (rc == 0) {
        *ret_done = c.answer.status / 100 == 2;
        if (c.answer.status == 404 && !c.unsure) {
            struct s3_fault f = {.code = "NoSuchUpload"};
            rc = s3_fault_error(u->s, &c, &f, err);
        }
    }
    s3_call_free(&c);
    return rc;
}

/* 412, and 404 after a try whose answer never came, leave the object itself to say whether it is ours. */
static int complete(struct upload *u, const struct piece *pieces, size_t n, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT((size_t)4 << 20);
    bool done = false, same = false, again = true;
    int rc = body_of(u, pieces, n, &b, err);
    struct bytes body = buf_bytes(&b);
    for (unsigned i = 1; rc == 0 && again && !done; i++) {
        struct error e = ERROR_INIT;
        rc = complete_once(u, &body, &again, &done, &e);
        if (rc < 0 && again && i < COMPLETE_TRIES)
            rc = http_wait(i, 200, 5000, 0, u->cancel, err);
        else if (rc < 0)
            *err = e;
    }
    if (rc < 0 || done) return rc;
    rc = s3_same_or_sent(u->s, u->key, u->parts, u->count, u->unsure, &same, err);
    return rc == 0 && !same ? s3_exists_error(u->s, u->key, err) : rc;
}

static void abort_upload(struct s3_store *s, const char *key, const char *id) {
    struct error e = ERROR_INIT;
    CLEANUP(buf_free) struct buf q = BUF_INIT(4 * ID_BYTES_MAX);
    if (buf_printf(&q, &e, "uploadId=%s", id) < 0) return;
    struct s3_call c = {.what = "abort an upload",
                        .action = "s3:AbortMultipartUpload",
                        .method = "DELETE",
                        .key = key,
                        .query = (const char *)q.ptr,
                        .expected = {404},
                        .tries_max = 3};
    (void)!s3_call(s, &c, &e);
    s3_call_free(&c);
}

/* Some servers forget what the upload was begun with. */
static int lock(struct upload *u, struct error *err) {
    int64_t ns = store_lock_ns(&u->s->base, u->key);
    struct store_retention want = {u->s->base.locks.mode, time_now_ns() + ns, false};
    return ns > 0 ? s3_retain(&u->s->base, u->key, &want, err) : 0;
}

/* What is there already need not be sent. */
static int look_first(struct upload *u, bool *ret_there, struct error *err) {
    uint64_t bytes;
    int64_t created_ns;
    bool same = false;
    struct error e = ERROR_INIT;
    int rc = s3_stat_top(u->s, u->key, &bytes, &created_ns, &e);
    *ret_there = rc == 0;
    if (rc == -ERR_OBJECT_MISSING || rc == -ERR_S3_DENIED) return 0; /* who may only write, finds out at the end */
    if (rc < 0) {
        *err = e;
        return rc;
    }
    rc = s3_same(u->s, u->key, u->parts, u->count, &same, &e);
    if (rc == -ERR_S3_DENIED) {
        *ret_there = false;
        return 0;
    }
    if (rc < 0) *err = e;
    return rc == 0 && !same ? s3_exists_error(u->s, u->key, err) : rc;
}

static int send_in_pieces(struct upload *u, struct pool *pool, uint64_t total, struct error *err) {
    uint64_t each = PART_BYTES;
    while (total / each >= PARTS_MAX) each *= 2;
    size_t n = (size_t)((total + each - 1) / each);
    void *mem;
    int rc = mem_alloc(n * sizeof(struct piece), &mem, err);
    if (rc < 0) return rc;
    struct piece *pieces = mem;
    for (size_t i = 0; i < n; i++) {
        uint64_t at = i * each;
        pieces[i] = (struct piece){
            .u = u, .number = (unsigned)i + 1, .at = at, .len = (size_t)(total - at < each ? total - at : each)};
    }
    rc = begin(u, err);
    if (rc == 0) {
        rc = send_all(u, pool, pieces, n, err);
        if (rc == 0) rc = complete(u, pieces, n, err);
        if (rc == 0) rc = lock(u, err);
        if (rc < 0) abort_upload(u->s, u->key, (const char *)u->id.ptr);
    }
    seam_free(mem);
    return rc;
}

int s3_put_parts(struct s3_store *s, struct pool *pool, const char *key, const struct bytes *parts, size_t n,
                 const atomic_bool *cancel, struct error *err) {
    struct upload u = {.s = s,
                       .key = key,
                       .parts = parts,
                       .count = n,
                       .cancel = cancel,
                       .id = BUF_INIT(3 * ID_BYTES_MAX),
                       .sums = s->place.digests && !atomic_load(&s->no_checksum)};
    uint64_t total = 0;
    bool there = false;
    for (size_t i = 0; i < n; i++) total += parts[i].len;
    pthread_mutex_init(&u.lock, NULL);
    pthread_cond_init(&u.ended, NULL);
    int rc = look_first(&u, &there, err);
    if (rc == 0 && !there) rc = send_in_pieces(&u, pool, total, err);
    pthread_cond_destroy(&u.ended);
    pthread_mutex_destroy(&u.lock);
    buf_free(&u.id);
    return rc;
}

struct stale {
    struct s3_store *s;
    int64_t before_ns;
    char key[S3_KEY_BYTES_MAX + 1], id[ID_BYTES_MAX + 1], begun[40];
};

static int take_upload(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct stale *v = ctx;
    const char *name = strncmp(path, "ListMultipartUploadsResult/Upload", 33) == 0 ? path + 33 : "-";
    const struct {
        const char *name;
        char *to;
        size_t cap;
    } fields[] = {
        {"/Key", v->key, sizeof v->key}, {"/UploadId", v->id, sizeof v->id}, {"/Initiated", v->begun, sizeof v->begun}};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(name, fields[i].name) == 0 && text.len < fields[i].cap)
            snprintf(fields[i].to, fields[i].cap, "%.*s", (int)text.len, (const char *)text.ptr);
    if (*name) return 0;
    size_t skip = strlen(v->s->place.prefix);
    int64_t begun_ns;
    int stop = stop_check(err);
    if (stop < 0) return stop;
    if (strncmp(v->key, v->s->place.prefix, skip) == 0 && store_key_valid(v->key + skip) &&
        time_parse(v->begun, &begun_ns) && begun_ns < v->before_ns) {
        CLEANUP(buf_free) struct buf id = BUF_INIT(3 * ID_BYTES_MAX + 1);
        int rc = http_escape(&id, BYTES_STR(v->id), false, err);
        if (rc == 0) rc = buf_terminate(&id, err);
        if (rc < 0) return rc;
        abort_upload(v->s, v->key + skip, (const char *)id.ptr);
    }
    v->key[0] = v->id[0] = v->begun[0] = 0;
    return 0;
}

void s3_abort_stale(struct store *st) {
    struct s3_store *s = (struct s3_store *)st;
    struct error e = ERROR_INIT;
    CLEANUP(buf_free) struct buf text = BUF_INIT(S3_TEXT_BYTES_MAX), q = BUF_INIT(4096);
    int rc = buf_append_str(&q, "prefix=", &e);
    if (rc == 0) rc = http_escape(&q, BYTES_STR(s->place.prefix), false, &e);
    if (rc == 0) rc = buf_append_str(&q, "&uploads=", &e);
    if (rc == 0) rc = buf_terminate(&q, &e);
    if (rc < 0) return;
    struct s3_call c = {.what = "list unfinished uploads",
                        .action = "s3:ListBucketMultipartUploads",
                        .method = "GET",
                        .query = (const char *)q.ptr,
                        .text = &text,
                        .tries_max = 2,
                        .cancel = &s->closing};
    if (s3_call(s, &c, &e) == 0 && c.answer.date_ns != 0) {
        struct stale v = {.s = s, .before_ns = c.answer.date_ns - STALE_UPLOAD_NS};
        (void)!xml_walk(buf_bytes(&text), take_upload, &v, &e);
    }
    s3_call_free(&c);
}
