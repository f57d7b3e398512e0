#include "base/http.h"
#include "base/http_spare.h"
#include "base/meter.h"
#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#define IDLE_MAX 64 /* connections kept beyond their use */
#define SLICE_MS 100

struct http {
    pthread_mutex_t lock; /* the idle handles */
    CURL *idle[IDLE_MAX]; /* each keeps its connection; the last used is the first used again */
    size_t idle_count;
    CURLSH *share; /* resolved names and TLS sessions */
    pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
    struct http_options o;
    char *ca_file, *certificate;
    struct meter up, down;
    struct spares spares;
};

/* A request under way. */
struct transfer {
    struct http *h;
    const struct http_request *q;
    struct http_response *r;
    CURL *easy;
    curl_socket_t made; /* a connection that was begun ahead */
    struct spare_place place; /* that was tried last */
    size_t part, at; /* of the body, what is sent next */
    uint64_t body_bytes;
    int stop_before;
    int64_t moved_ns; /* when something last moved */
    curl_off_t moved;
    enum {
        GAVE_UP_NOT,
        GAVE_UP_STOP,
        GAVE_UP_CANCEL,
        GAVE_UP_STALL,
        GAVE_UP_HEADERS,
        GAVE_UP_TAKE,
        GAVE_UP_TEXT,
        GAVE_UP_MEMORY
    } gave_up;
    char why[CURL_ERROR_SIZE];
    struct error taking; /* how `take` failed */
};

static void *curl_alloc(size_t n) {
    return seam_alloc(n ? n : 1);
}
static void *curl_realloc(void *p, size_t n) {
    return seam_realloc(p, n ? n : 1);
}
static void *curl_calloc(size_t n, size_t each) {
    if (each != 0 && n > SIZE_MAX / each) return NULL;
    void *p = curl_alloc(n * each);
    return p ? memset(p, 0, n * each) : NULL;
}
static char *curl_strdup_(const char *s) {
    size_t n = strlen(s) + 1;
    char *p = curl_alloc(n);
    return p ? memcpy(p, s, n) : NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode begun = CURLE_FAILED_INIT;
static void begin(void) {
    begun = curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_alloc, seam_free, curl_realloc, curl_strdup_, curl_calloc);
}

static void share_lock(CURL *easy, curl_lock_data what, curl_lock_access how, void *ctx) {
    (void)easy, (void)how;
    pthread_mutex_lock(&((struct http *)ctx)->share_locks[what]);
}
static void share_unlock(CURL *easy, curl_lock_data what, void *ctx) {
    (void)easy;
    pthread_mutex_unlock(&((struct http *)ctx)->share_locks[what]);
}

int http_new(const struct http_options *o, struct http **ret, struct error *err) {
    void *p;
    pthread_once(&once, begin);
    if (begun != CURLE_OK) return error_set(err, ERR_NO_MEMORY, "libcurl: %s", curl_easy_strerror(begun));
    int rc = mem_alloc(sizeof(struct http), &p, err);
    if (rc < 0) return rc;
    struct http *h = p;
    h->o = *o;
    if (h->o.connect_timeout_ms <= 0) h->o.connect_timeout_ms = HTTP_CONNECT_MS;
    if (h->o.stall_ms <= 0) h->o.stall_ms = HTTP_STALL_MS;
    pthread_mutex_init(&h->lock, NULL);
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++) pthread_mutex_init(&h->share_locks[i], NULL);
    spares_init(&h->spares);
    meter_init(&h->up, o->upload_bytes_per_s);
    meter_init(&h->down, o->download_bytes_per_s);
    if (o->ca_file) rc = mem_strdup(o->ca_file, &h->ca_file, err);
    if (rc == 0 && o->certificate) rc = mem_strdup(o->certificate, &h->certificate, err);
    if (rc == 0) h->share = curl_share_init();
    if (rc == 0 && !h->share) rc = error_set(err, ERR_NO_MEMORY, "no memory for connections");
    if (rc < 0) {
        http_free(h);
        return rc;
    }
    curl_share_setopt(h->share, CURLSHOPT_USERDATA, h);
    curl_share_setopt(h->share, CURLSHOPT_LOCKFUNC, share_lock);
    curl_share_setopt(h->share, CURLSHOPT_UNLOCKFUNC, share_unlock);
    curl_share_setopt(h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    curl_share_setopt(h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    *ret = h;
    return 0;
}

void http_free(struct http *h) {
    if (!h) return;
    for (size_t i = 0; i < h->idle_count; i++) curl_easy_cleanup(h->idle[i]);
    if (h->share) curl_share_cleanup(h->share);
    for (int i = 0; i < CURL_LOCK_DATA_LAST; i++) pthread_mutex_destroy(&h->share_locks[i]);
    pthread_mutex_destroy(&h->lock);
    spares_free(&h->spares);
    meter_free(&h->up);
    meter_free(&h->down);
    seam_free(h->ca_file);
    seam_free(h->certificate);
    seam_free(h);
}

static CURL *handle_take(struct http *h) {
    CURL *easy = NULL;
    pthread_mutex_lock(&h->lock);
    if (h->idle_count > 0) easy = h->idle[--h->idle_count];
    pthread_mutex_unlock(&h->lock);
    return easy ? easy : curl_easy_init();
}

static void handle_return(struct http *h, CURL *easy) {
    curl_easy_reset(easy);
    pthread_mutex_lock(&h->lock);
    bool kept = h->idle_count < IDLE_MAX;
    if (kept) h->idle[h->idle_count++] = easy;
    pthread_mutex_unlock(&h->lock);
    if (!kept) curl_easy_cleanup(easy);
}

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a) {
    struct transfer *t = ctx;
    (void)purpose;
    t->made = CURL_SOCKET_BAD;
    t->place = (struct spare_place){.type = a->socktype, .protocol = a->protocol};
    if (t->h->o.ahead && a->addrlen <= sizeof t->place.to) {
        memcpy(&t->place.to, &a->addr, a->addrlen);
        t->place.len = a->addrlen;
        t->made = spares_take(&t->h->spares, &t->place);
    }
    if (t->made >= 0) return t->made;
    int fd = seam_socket(a->family, a->socktype, a->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static int is_connected(void *ctx, curl_socket_t fd, curlsocktype purpose) {
    (void)purpose;
    return fd == ((struct transfer *)ctx)->made ? CURL_SOCKOPT_ALREADY_CONNECTED : CURL_SOCKOPT_OK;
}

static size_t give_body(char *to, size_t size, size_t n, void *ctx) {
    struct transfer *t = ctx;
    size_t room = meter_grant(&t->h->up, size * n), got = 0;
    while (got < room && t->part < t->q->body_count) {
        struct bytes b = t->q->body[t->part];
        size_t some = b.len - t->at < room - got ? b.len - t->at : room - got;
        if (some > 0) memcpy(to + got, b.ptr + t->at, some);
        got += some;
        t->at += some;
        if (t->at == b.len) t->part++, t->at = 0;
    }
    meter_wait(&t->h->up, got);
    return got;
}

/* libcurl sends again on a fresh connection what a dead one did not take. */
static int seek_body(void *ctx, curl_off_t to, int whence) {
    struct transfer *t = ctx;
    if (whence != SEEK_SET || to < 0) return CURL_SEEKFUNC_CANTSEEK;
    uint64_t left = (uint64_t)to;
    for (t->part = 0; t->part < t->q->body_count && left >= t->q->body[t->part].len; t->part++)
        left -= t->q->body[t->part].len;
    t->at = t->part < t->q->body_count ? (size_t)left : 0;
    return t->part < t->q->body_count || left == 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static size_t take_body(char *p, size_t size, size_t n, void *ctx) {
    struct transfer *t = ctx;
    struct http_response *r = t->r;
    long status = 0;
    n *= size;
    meter_wait(&t->h->down, n);
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->q->into && status / 100 == 2) {
        size_t room = t->q->into_bytes - r->body_bytes, some = n < room ? n : room;
        memcpy((uint8_t *)t->q->into + r->body_bytes, p, some);
        r->body_bytes += some;
        r->cut = some < n;
        return r->cut ? 0 : n;
    }
    if (t->q->take && status / 100 == 2) {
        r->body_bytes += n;
        if (t->q->take(t->q->take_ctx, BYTES_OF(p, n), &t->taking) == 0) return n;
        t->gave_up = GAVE_UP_TAKE;
        return 0;
    }
    if (!t->q->text) return n;
    struct error e = ERROR_INIT;
    if (buf_append(t->q->text, p, n, &e) < 0) {
        t->gave_up = t->q->text->len + n > t->q->text->max_bytes ? GAVE_UP_TEXT : GAVE_UP_MEMORY;
        return 0;
    }
    r->body_bytes += n;
    return n;
}

/* Kept as "name: value" and a NUL each, names in lower case. */
static size_t take_header(char *p, size_t size, size_t n, void *ctx) {
    struct transfer *t = ctx;
    struct buf *b = &t->r->headers;
    struct error e = ERROR_INIT;
    size_t len = n * size, all = len;
    if (len >= 5 && memcmp(p, "HTTP/", 5) == 0) {
        /* A new answer, as after "100 Continue": what came before it was none. */
        buf_clear(b);
        t->r->body_bytes = 0;
        if (t->q->text) buf_clear(t->q->text);
        return all;
    }
    while (len > 0 && (p[len - 1] == '\r' || p[len - 1] == '\n')) len--;
    size_t at = b->len;
    if (len == 0) return all;
    if (buf_append(b, p, len, &e) < 0 || buf_append(b, "", 1, &e) < 0) {
        t->gave_up = b->len + len + 1 > b->max_bytes ? GAVE_UP_HEADERS : GAVE_UP_MEMORY;
        return 0;
    }
    for (char *c = (char *)b->ptr + at; *c && *c != ':'; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + ('a' - 'A'));
    return all;
}

static int watch(void *ctx, curl_off_t dl_total, curl_off_t dl, curl_off_t ul_total, curl_off_t ul) {
    struct transfer *t = ctx;
    (void)dl_total, (void)ul_total;
    int64_t now = time_monotonic_ns();
    if (dl + ul != t->moved) {
        t->moved = dl + ul;
        t->moved_ns = now;
    }
    if (t->q->cancel && atomic_load(t->q->cancel))
        t->gave_up = GAVE_UP_CANCEL;
    else if (atomic_load(&stop_signal) != t->stop_before)
        t->gave_up = GAVE_UP_STOP;
    else if (now - t->moved_ns > (int64_t)t->h->o.stall_ms * 1000000)
        t->gave_up = GAVE_UP_STALL;
    return t->gave_up != GAVE_UP_NOT;
}

/* "https://host:port" for messages: paths and queries stay out of them. */
static void place_of(const char *url, char out[256]) {
    const char *host = strstr(url, "://");
    size_t n = host ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : 0;
    snprintf(out, 256, "%.*s", (int)(n < 255 ? n : 255), url);
}

static CURLcode set_up(struct transfer *t, struct curl_slist *headers) {
    CURL *c = t->easy;
    struct http *h = t->h;
    const struct http_request *q = t->q;
    CURLcode rc = CURLE_OK;
#define SET(option, value)                                                                                             \
    do {                                                                                                               \
        if (rc == CURLE_OK) rc = curl_easy_setopt(c, option, value);                                                   \
    } while (0)
    SET(CURLOPT_SHARE, h->share);
    SET(CURLOPT_URL, q->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (h->ca_file) SET(CURLOPT_CAINFO, h->ca_file);
    if (h->ca_file) SET(CURLOPT_CAPATH, NULL);
    if (h->certificate) {
        struct curl_blob key = {(void *)(uintptr_t)h->o.key.ptr, h->o.key.len, CURL_BLOB_NOCOPY};
        SET(CURLOPT_SSLCERT, h->certificate);
        SET(CURLOPT_SSLKEY_BLOB, &key);
        SET(CURLOPT_KEYPASSWD, ""); /* else OpenSSL asks the terminal for one */
    }
    if (h->o.no_proxy) SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_BUFFERSIZE, 256L << 10);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)h->o.connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)q->timeout_ms);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, t);
    SET(CURLOPT_SOCKOPTFUNCTION, is_connected);
    SET(CURLOPT_SOCKOPTDATA, t);
    SET(CURLOPT_ERRORBUFFER, t->why);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, watch);
    SET(CURLOPT_XFERINFODATA, t);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, t);
    if (strcmp(q->method, "PUT") == 0 || strcmp(q->method, "POST") == 0 || q->body_count > 0) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_READFUNCTION, give_body);
        SET(CURLOPT_READDATA, t);
        SET(CURLOPT_SEEKFUNCTION, seek_body);
        SET(CURLOPT_SEEKDATA, t);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->body_bytes);
    } else if (strcmp(q->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
    }
    if (strcmp(q->method, "POST") == 0 || strcmp(q->method, "DELETE") == 0) SET(CURLOPT_CUSTOMREQUEST, q->method);
#undef SET
    return rc;
}

/* Of TLS 1.3 a server's refusal of our certificate, or of none, comes when the handshake is over for us. */
static bool refuses_us(const char *why) {
    return strstr(why, "certificate required") || strstr(why, "alert bad certificate") ||
           strstr(why, "alert unknown ca") || strstr(why, "alert certificate");
}

static int failed(struct transfer *t, CURLcode code, struct error *err) {
    char place[256];
    place_of(t->q->url, place);
    const char *why = t->why[0] ? t->why : curl_easy_strerror(code);
    long os_errno = 0;
    double connected = 0;
    curl_easy_getinfo(t->easy, CURLINFO_OS_ERRNO, &os_errno);
    curl_easy_getinfo(t->easy, CURLINFO_APPCONNECT_TIME, &connected);
    if (connected <= 0) curl_easy_getinfo(t->easy, CURLINFO_CONNECT_TIME, &connected);
    switch (t->gave_up) {
    case GAVE_UP_NOT:
        break;
    case GAVE_UP_STOP:
        return stop_check(err) < 0 ? -(int)err->code : error_set(err, ERR_INTERRUPTED, "stopped");
    case GAVE_UP_CANCEL:
        return error_set(err, ERR_INTERRUPTED, "the request to %s was called off", place);
    case GAVE_UP_STALL:
        return error_set(err, ERR_NET_STALL, "%s: nothing was sent or received for %.1f s", place,
                         t->h->o.stall_ms / 1000.0);
    case GAVE_UP_HEADERS:
        return error_set(err, ERR_NET_ANSWER, "%s answers with more than %zu KiB of headers", place,
                         HTTP_HEADERS_BYTES_MAX >> 10);
    case GAVE_UP_TAKE:
        *err = t->taking;
        return -(int)err->code;
    case GAVE_UP_TEXT:
        return error_set(err, ERR_NET_ANSWER, "%s answers with more than the %zu bytes that it may", place,
                         t->q->text->max_bytes);
    case GAVE_UP_MEMORY:
        return error_set(err, ERR_NO_MEMORY, "no memory for the answer of %s", place);
    }
    if (refuses_us(why)) {
        error_set(err, ERR_NET_TLS, "%s does not take %s: %s", place,
                  t->h->certificate ? "our certificate" : "clients without a certificate", why);
        return error_next(err, "Name a certificate that the server's authority has signed, and its key.");
    }
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
        return error_set(err, ERR_NO_MEMORY, "no memory for a request to %s", place);
    case CURLE_URL_MALFORMAT:
        return error_set(err, ERR_USAGE, "'%s' cannot be asked for: %s", place, why);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return error_set(err, ERR_NET_DNS, "%s: %s", place, why);
    case CURLE_COULDNT_CONNECT:
        return error_set(err, ERR_NET_REFUSED, "%s: %s", place, why);
    case CURLE_OPERATION_TIMEDOUT:
        if (connected <= 0)
            return error_set(err, ERR_NET_REFUSED, "%s: no connection within %.1f s", place,
                             t->h->o.connect_timeout_ms / 1000.0);
        return error_set(err, ERR_NET_STALL, "%s: %s", place, why);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM: /* ours, or its key */
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER:
        return error_set(err, ERR_NET_TLS, "%s: %s", place, why);
    case CURLE_SSL_CONNECT_ERROR:
        if (strstr(why, "wrong version number") || strstr(why, "packet length too long") ||
            strstr(why, "http request")) {
            error_set(err, ERR_NET_TLS, "%s: what answers there does not speak TLS (%s)", place, why);
            return error_next(err, "Check the port; say http:// only where nobody can listen in between.");
        }
        /* A reset in the handshake says nothing about certificates. */
        if (os_errno == 0 && !strstr(why, "SYSCALL")) return error_set(err, ERR_NET_TLS, "%s: %s", place, why);
        return error_set(err, ERR_NET_BROKEN, "%s: %s", place, why);
    case CURLE_UNSUPPORTED_PROTOCOL: /* of the answer: what it begins with is no HTTP/1 */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_BAD_CONTENT_ENCODING:
#if LIBCURL_VERSION_NUM >= 0x080600
    case CURLE_TOO_LARGE: /* more header lines than it takes */
#endif
        return error_set(err, ERR_NET_ANSWER, "%s: %s", place, why);
    default:
        return error_set(err, ERR_NET_BROKEN, "%s: %s", place, why);
    }
}

static CURLcode add_header(struct curl_slist **list, const char *line) {
    struct curl_slist *more = curl_slist_append(*list, line);
    if (!more) return CURLE_OUT_OF_MEMORY;
    *list = more;
    return CURLE_OK;
}

static int perform(struct transfer *t, struct error *err) {
    struct curl_slist *headers = NULL;
    CURLcode code = CURLE_OK;
    for (size_t i = 0; i < t->q->header_count && code == CURLE_OK; i++) code = add_header(&headers, t->q->headers[i]);
    /* Nothing that was not asked for: what is signed must be what is sent. */
    if (code == CURLE_OK) code = add_header(&headers, "Expect:");
    if (code == CURLE_OK) code = add_header(&headers, "Accept:");
    if (code == CURLE_OK) code = set_up(t, headers);
    int verdict = CURLE_OK, rc = 0;
    if (code == CURLE_OK && seam_net_perform(t->easy, &verdict) < 0) {
        char place[256];
        place_of(t->q->url, place);
        rc = error_set_errno(err, ERR_NET_BROKEN, "%s", place);
    } else if (code == CURLE_OK) {
        code = (CURLcode)verdict;
    }
    if (rc == 0 && code != CURLE_OK && !(code == CURLE_WRITE_ERROR && t->r->cut)) rc = failed(t, code, err);
    if (rc == 0) {
        long status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        t->r->status = (int)status;
        const char *date = http_header(t->r, "date");
        if (date && !http_date_parse(date, &t->r->date_ns)) t->r->date_ns = 0;
        const char *left = http_header(t->r, "connection");
        if (t->h->o.ahead && status / 100 == 2)
            spares_answered(&t->h->spares, t->place.len ? &t->place : NULL, left && strcasecmp(left, "close") == 0);
    }
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return rc;
}

int http_send(struct http *h, const struct http_request *q, struct http_response *ret, struct error *err) {
    *ret = (struct http_response){.headers = BUF_INIT(HTTP_HEADERS_BYTES_MAX)};
    struct transfer t = {.h = h, .q = q, .r = ret, .made = CURL_SOCKET_BAD, .stop_before = atomic_load(&stop_signal)};
    if (strncmp(q->url, "http://", 7) != 0 && strncmp(q->url, "https://", 8) != 0)
        return error_set(err, ERR_USAGE, "'%.64s' begins with neither http:// nor https://", q->url);
    for (size_t i = 0; i < q->body_count; i++) t.body_bytes += q->body[i].len;
    if (q->text) buf_clear(q->text);
    t.easy = handle_take(h);
    if (!t.easy) return error_set(err, ERR_NO_MEMORY, "no memory for a connection");
    t.moved_ns = time_monotonic_ns();
    int rc = perform(&t, err);
    /* What failed may have left the handle half made, and its connection is of no use. */
    if (rc < 0)
        curl_easy_cleanup(t.easy);
    else
        handle_return(h, t.easy);
    return rc;
}

void http_response_free(struct http_response *r) {
    buf_free(&r->headers);
}

const char *http_header(const struct http_response *r, const char *name) {
    size_t n = strlen(name);
    for (size_t at = 0; at < r->headers.len;) {
        const char *line = (const char *)r->headers.ptr + at;
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            line += n + 1;
            return line + strspn(line, " \t");
        }
        at += strlen(line) + 1;
    }
    return NULL;
}

bool http_date_parse(const char *s, int64_t *ret_ns) {
    time_t t = curl_getdate(s, NULL);
    if (t == -1) return false;
    *ret_ns = (int64_t)t * NS_PER_S;
    return true;
}

int http_retry_after_ms(const struct http_response *r, int most_ms) {
    const char *after = http_header(r, "retry-after");
    long s = after ? strtol(after, NULL, 10) : 0;
    return s <= 0 ? 0 : s > most_ms / 1000 ? most_ms : (int)s * 1000;
}

int http_wait(unsigned tries_failed, int base_ms, int cap_ms, int hint_ms, const atomic_bool *cancel,
              struct error *err) {
    int64_t most = base_ms;
    for (unsigned i = 1; i < tries_failed && most < cap_ms; i++) most *= 2;
    if (most > cap_ms) most = cap_ms;
    uint32_t r = 0;
    /* Without randomness the longest wait is the safe one. */
    int64_t ms = seam_getrandom(&r, sizeof r) == sizeof r ? (int64_t)((uint64_t)r * (uint64_t)(most + 1) >> 32) : most;
    if (ms < hint_ms) ms = hint_ms;
    int before = atomic_load(&stop_signal);
    while (ms > 0) {
        int slice = ms < SLICE_MS ? (int)ms : SLICE_MS;
        (void)seam_poll(NULL, 0, slice);
        ms -= slice;
        if (cancel && atomic_load(cancel)) return error_set(err, ERR_INTERRUPTED, "the request was called off");
        if (atomic_load(&stop_signal) != before) return stop_check(err);
    }
    return 0;
}

int http_escape(struct buf *b, struct bytes in, bool slash, struct error *err) {
    static const char digits[] = "0123456789ABCDEF";
    int rc = 0;
    for (size_t i = 0; i < in.len && rc == 0; i++) {
        uint8_t c = in.ptr[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~' || (slash && c == '/');
        char out[3] = {'%', digits[c >> 4], digits[c & 15]};
        rc = plain ? buf_append(b, &c, 1, err) : buf_append(b, out, 3, err);
    }
    return rc;
}

bool http_unescape(struct bytes in, struct buf *b, struct error *err) {
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.ptr[i];
        if (c == '%') {
            if (in.len - i < 3 || !hex_decode((const char *)in.ptr + i + 1, 2, &c, 1) || c == 0) return false;
            i += 2;
        }
        if (buf_append(b, &c, 1, err) < 0) return false;
    }
    return true;
}
