#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"
#include "store/s3/sigv4.h"
#include <stdlib.h>

#define TRIES_MAX 10
#define WAIT_BASE_MS 100
#define WAIT_CAP_MS 10000
#define HINT_MS_MAX 30000
#define SLOWEST_BYTES_PER_S 16384 /* a transfer that is slower for long is a stall, whatever trickles */
#define PATH_BYTES (S3_KEY_BYTES_MAX + 100)
#define SIGNED_MAX (S3_HEADERS_MAX + 6)

void s3_header_add(struct s3_call *c, const char *name, const char *value) {
    if (value && *value && c->header_count < S3_HEADERS_MAX)
        c->headers[c->header_count++] = (struct s3_header){name, value};
}

void s3_write_headers(struct s3_store *s, struct s3_call *c) {
    s3_header_add(c, "x-amz-server-side-encryption", s->place.sse);
    s3_header_add(c, "x-amz-server-side-encryption-aws-kms-key-id", s->place.kms_key);
    const bool cold = s->place.data_class[0] && c->key && store_is_cold(&s->base, c->key);
    s3_header_add(c, "x-amz-storage-class", cold ? s->place.data_class : s->place.storage_class);
}

void s3_call_free(struct s3_call *c) {
    http_response_free(&c->answer);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct sigv4_header *)a)->name, ((const struct sigv4_header *)b)->name);
}

/* The digest of the body, once for all tries. */
static int digest_body(struct s3_call *c, struct error *err) {
    if (c->known) {
        c->body_digest = *c->known;
        return 0;
    }
    if (c->body_count == 1 || c->body_count == 0) {
        sha256(c->body_count ? c->body[0] : BYTES_OF(NULL, 0), &c->body_digest);
        return 0;
    }
    struct sha256_state *h = NULL;
    int rc = sha256_new(&h, err);
    for (size_t i = 0; i < c->body_count && rc == 0; i++) sha256_update(h, c->body[i]);
    if (rc == 0) sha256_finish(h, &c->body_digest);
    sha256_free(h);
    return rc;
}

/* One signed request's texts; they are borrowed by the request until it is done. */
struct signed_request {
    char url[sizeof((struct s3_store *)0)->url_base + PATH_BYTES + 1200];
    char payload[2 * DIGEST_BYTES + 1], date[SIGV4_DATE_BYTES], checksum[48], md5[32];
    struct sigv4_header headers[SIGNED_MAX];
    size_t header_count;
    struct buf lines;
    const char *starts[SIGNED_MAX + 1];
};

static void add(struct signed_request *r, const char *name, const char *value) {
    r->headers[r->header_count++] = (struct sigv4_header){name, value};
}

static int checksum_text(const struct digest *d, char out[48], struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(64);
    int rc = base64_encode(&b, BYTES_OF(d->b, sizeof d->b), err);
    if (rc == 0) snprintf(out, 48, "%.*s", (int)b.len, (const char *)b.ptr);
    return rc;
}

static int md5_text(const struct bytes *body, size_t n, char out[32], struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(64);
    uint8_t md5[MD5_BYTES];
    md5_many(body, n, md5);
    int rc = base64_encode(&b, BYTES_OF(md5, sizeof md5), err);
    if (rc == 0) snprintf(out, 32, "%.*s", (int)b.len, (const char *)b.ptr);
    return rc;
}

static int sign(struct s3_store *s, const struct s3_call *c, const struct credential *k, struct signed_request *r,
                struct error *err) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s%s", s->path_base, c->key ? s->place.prefix : "", c->key ? c->key : "");
    snprintf(r->url, sizeof r->url, "%s%s%s%s", s->url_base, path, c->query ? "?" : "", c->query ? c->query : "");
    bool has_body = c->body_count > 0;
    if (has_body && !s->place.digests)
        snprintf(r->payload, sizeof r->payload, "UNSIGNED-PAYLOAD");
    else
        hex_encode(c->body_digest.b, DIGEST_BYTES, r->payload);
    sigv4_date(time_now_ns(), r->date);
    r->header_count = 0;
    add(r, "host", s->host);
    add(r, "x-amz-content-sha256", r->payload);
    add(r, "x-amz-date", r->date);
    if (k->token) add(r, "x-amz-security-token", (const char *)secret_bytes(k->token).ptr);
    int rc = 0;
    if (c->digest && s->place.digests && !atomic_load(&s->no_checksum)) {
        rc = checksum_text(&c->body_digest, r->checksum, err);
        add(r, "x-amz-checksum-sha256", r->checksum);
    } else if (c->md5 && has_body) {
        rc = md5_text(c->body, c->body_count, r->md5, err);
        add(r, "content-md5", r->md5);
    }
    for (size_t i = 0; i < c->header_count; i++) add(r, c->headers[i].name, c->headers[i].value);
    qsort(r->headers, r->header_count, sizeof *r->headers, by_name);
    struct sigv4_request q = {
        .method = c->method,
        .path = path,
        .query = c->query,
        .headers = r->headers,
        .header_count = r->header_count,
        .payload = r->payload,
        .region = s->place.region,
        .service = "s3",
    };
    memcpy(q.date, r->date, sizeof q.date);
    CLEANUP(buf_free) struct buf authorization = BUF_INIT(4096);
    if (rc == 0) rc = sigv4_authorize(&q, k->access_key, secret_bytes(k->secret_key), &authorization, err);
    if (rc == 0) rc = buf_reserve(&r->lines, 32768, err); /* one block, so that pointers into it stay */
    size_t n = 0;
    buf_clear(&r->lines);
    for (size_t i = 0; i < r->header_count && rc == 0; i++) {
        r->starts[n++] = (const char *)r->lines.ptr + r->lines.len;
        rc = buf_printf(&r->lines, err, "%s: %s", r->headers[i].name, r->headers[i].value);
        if (rc == 0) rc = buf_append(&r->lines, "", 1, err);
    }
    if (rc == 0) r->starts[n++] = (const char *)r->lines.ptr + r->lines.len;
    if (rc == 0) rc = buf_printf(&r->lines, err, "authorization: %s", (const char *)authorization.ptr);
    if (rc == 0) rc = buf_append(&r->lines, "", 1, err);
    r->header_count = n;
    return rc;
}

static bool is_expected(const struct s3_call *c) {
    if (c->answer.status / 100 == 2) return true;
    for (size_t i = 0; i < 4; i++)
        if (c->expected[i] != 0 && c->expected[i] == c->answer.status) return true;
    return false;
}

static int64_t timeout_of(const struct s3_store *s, const struct s3_call *c) {
    uint64_t bytes = c->into_bytes, rate = SLOWEST_BYTES_PER_S;
    for (size_t i = 0; i < c->body_count; i++) bytes += c->body[i].len;
    uint64_t share = s->place.bytes_per_s / (4 * s->place.connections);
    if (share > 0 && share < rate) rate = share;
    return 2 * s->place.timeout_ns / 1000000 + (int64_t)(bytes * 1000 / rate);
}

/* A GET of the bucket is a list of objects, versions or uploads; else of one of its settings. */
static enum store_verb verb_of(const struct s3_call *c) {
    const bool list = !c->key && c->query && (strstr(c->query, "prefix=") || strstr(c->query, "uploads="));
    enum store_verb v = list ? STORE_VERB_LIST : STORE_VERB_GET;
    for (enum store_verb i = 0; i < STORE_VERBS; i++)
        if (i != STORE_VERB_GET && strcmp(c->method, store_verb_name(i)) == 0) v = i;
    return v;
}

static void count(struct s3_store *s, const struct s3_call *c) {
    atomic_fetch_add(&s->asked[verb_of(c)], 1);
    for (size_t i = 0; i < c->body_count; i++) atomic_fetch_add(&s->bytes_sent, c->body[i].len);
    atomic_fetch_add(&s->bytes_received, c->answer.body_bytes);
}

static int try_once(struct s3_store *s, struct s3_call *c, const struct credential *k, struct buf *text,
                    struct error *err) {
    struct signed_request r = {.lines = BUF_INIT((size_t)64 << 10)};
    int rc = sign(s, c, k, &r, err);
    struct http_request q = {
        .method = c->method,
        .url = r.url,
        .headers = r.starts,
        .header_count = r.header_count,
        .body = c->body,
        .body_count = c->body_count,
        .into = c->into,
        .into_bytes = c->into_bytes,
        .text = text,
        .timeout_ms = timeout_of(s, c),
        .cancel = c->cancel,
    };
    http_response_free(&c->answer);
    if (rc == 0) {
        rc = http_send(s->http, &q, &c->answer, err);
        count(s, c);
    }
    if (r.lines.ptr) wipe(r.lines.ptr, r.lines.cap); /* the session's token */
    buf_free(&r.lines);
    return rc;
}

/* An answer to HEAD has no body: the same as a GET of one byte has. */
static void ask_why(struct s3_store *s, struct s3_call *c, const struct credential *k, struct buf *text) {
    struct error e = ERROR_INIT;
    struct s3_call again = {.what = c->what, .method = "GET", .key = c->key, .query = c->query, .cancel = c->cancel};
    s3_header_add(&again, "range", "bytes=0-0");
    sha256(BYTES_OF(NULL, 0), &again.body_digest);
    if (try_once(s, &again, k, text, &e) < 0 || again.answer.status != c->answer.status) buf_clear(text);
    s3_call_free(&again);
}

static unsigned tries_of(const struct s3_call *c, int code) {
    unsigned most = c->tries_max ? c->tries_max : TRIES_MAX;
    unsigned of_kind = code == ERR_NET_REFUSED ? 7 : code == ERR_NET_DNS ? 4 : code == ERR_NET_STALL ? 4 : TRIES_MAX;
    return of_kind < most ? of_kind : most;
}

/* A server that knows no checksums says so in one of these ways; it is asked without from then on. */
static bool refuses_checksum(struct s3_store *s, const struct s3_call *c, const struct s3_fault *f) {
    if (!c->digest || !s->place.digests || atomic_load(&s->no_checksum)) return false;
    bool is = strcmp(f->code, "NotImplemented") == 0 ||
              (c->answer.status == 400 && strcmp(f->code, "BadDigest") != 0 && strcasestr(f->message, "checksum"));
    if (is) atomic_store(&s->no_checksum, true);
    return is;
}

/* After a failed try: 1 to try again, else the error. */
static int judge(struct s3_store *s, struct s3_call *c, struct credential **k, unsigned failed, struct buf *text,
                 bool *renewed, int rc, struct error *e, struct error *err) {
    struct s3_fault f = {.code = ""};
    int hint_ms = 0;
    bool again;
    if (rc == 0) {
        bool known = c->answer.status == 404 && atomic_load(&s->bucket_seen);
        if (strcmp(c->method, "HEAD") == 0 && !known) ask_why(s, c, *k, text);
        s3_fault_parse(buf_bytes(text), &f);
        again = s3_fault_passes(c->answer.status, &f);
        hint_ms = http_retry_after_ms(&c->answer, HINT_MS_MAX);
        if (again && c->answer.status / 100 == 5) c->unsure = true;
        if (refuses_checksum(s, c, &f)) return 1;
        s3_fault_error(s, c, &f, e);
        if ((e->code == ERR_S3_EXPIRED || e->code == ERR_S3_CREDENTIALS) && !*renewed) {
            struct credential *other = NULL;
            struct error ignored = ERROR_INIT;
            *renewed = true;
            if (credential_get(s->chain, *k, &other, &ignored) == 0) {
                bool new = strcmp(other->access_key, (*k)->access_key) != 0 || other->expires_ns != (*k)->expires_ns ||
                           !bytes_equal(secret_bytes(other->secret_key), secret_bytes((*k)->secret_key)) ||
                           (other->token && (*k)->token &&
                            !bytes_equal(secret_bytes(other->token), secret_bytes((*k)->token)));
                credential_release(*k);
                *k = other;
                if (new) return 1;
            }
        }
    } else {
        again = e->code == ERR_NET_DNS || e->code == ERR_NET_REFUSED || e->code == ERR_NET_STALL ||
                e->code == ERR_NET_BROKEN || e->code == ERR_NET_ANSWER;
        if (e->code == ERR_NET_STALL || e->code == ERR_NET_BROKEN || e->code == ERR_NET_ANSWER) c->unsure = true;
        if (e->code != ERR_NO_MEMORY) error_wrap(e, "cannot %.200s in %.200s", c->what, s->name);
    }
    if (again && failed < tries_of(c, (int)e->code))
        return (rc = http_wait(failed, WAIT_BASE_MS, WAIT_CAP_MS, hint_ms, c->cancel, err)) < 0 ? rc : 1;
    *err = *e;
    if (again && failed > 1) (void)error_wrap(err, "given up after %u tries", failed);
    /* A port where TLS is spoken does this to plain HTTP. */
    if ((err->code == ERR_NET_BROKEN || err->code == ERR_NET_ANSWER) && strncmp(s->url_base, "http://", 7) == 0 &&
        !atomic_load(&s->bucket_seen))
        (void)!error_next(err, "See whether the server wants https:// on that port, and check the network between.");
    return -(int)err->code;
}

int s3_call(struct s3_store *s, struct s3_call *c, struct error *err) {
    struct buf own = BUF_INIT((size_t)256 << 10), *text = c->text ? c->text : &own;
    struct credential *k = NULL;
    bool renewed = false;
    int rc = digest_body(c, err);
    for (unsigned failed = 1; rc == 0; failed++) {
        struct error e = ERROR_INIT;
        if (!k && (rc = credential_get(s->chain, NULL, &k, err)) < 0) break;
        rc = try_once(s, c, k, text, &e);
        if (rc == 0 && is_expected(c)) {
            struct s3_fault f = {.code = ""};
            if (c->answer.status / 100 != 2)
                s3_fault_parse(buf_bytes(text), &f);
            else
                atomic_store(&s->bucket_seen, true);
            memcpy(c->code, f.code, sizeof c->code);
            break;
        }
        rc = judge(s, c, &k, failed, text, &renewed, rc, &e, err);
        if (rc != 1) break;
        rc = 0;
    }
    credential_release(k);
    buf_free(&own);
    return rc;
}
