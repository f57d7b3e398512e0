/* HTTP/1.1 requests over libcurl: one pool of connections for all threads, certificates always checked.
 *
 * Redirects are not followed, proxies are taken from the usual variables (https_proxy, no_proxy), nothing is read from
 * .netrc and nothing is sent or kept as a cookie. Sockets are close-on-exec. libcurl takes its memory through the seam,
 * and every request is one call of seam_net_perform, so that tests can fail both.
 */
#ifndef PK_BASE_HTTP_H
#define PK_BASE_HTTP_H

#include "base/bytes.h"
#include "base/error.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HTTP_HEADERS_BYTES_MAX ((size_t)64 << 10) /* of one answer */
#define HTTP_CONNECT_MS 10000
#define HTTP_STALL_MS 30000

struct http_options {
    const char *ca_file;    /* PEM, instead of the system's certificates; NULL: the system's */
    const char *certificate; /* PEM, shown to servers that ask who we are; NULL: none */
    struct bytes key;        /* its key, PEM without a passphrase; borrowed until http_free */
    int connect_timeout_ms; /* name, connection and TLS together; 0: HTTP_CONNECT_MS */
    int stall_ms;           /* a request in which nothing moves for so long is given up; 0: HTTP_STALL_MS */
    uint64_t upload_bytes_per_s, download_bytes_per_s; /* of all requests together; 0: no limit */
    bool no_proxy;                                     /* for addresses that only this machine can mean */
    bool ahead; /* where answers close their connections, a few others are begun before they are needed */
};

/* Any thread may use one at any time. */
struct http;
int http_new(const struct http_options *o, struct http **ret, struct error *err) PK_CHECK;
void http_free(struct http *h); /* no request may be under way; NULL is fine */

struct http_request {
    const char *method;         /* GET, HEAD, PUT, POST, DELETE */
    const char *url;            /* http or https */
    const char *const *headers; /* "name: value" lines */
    size_t header_count;
    const struct bytes *body; /* of PUT and POST, and of DELETE when there is one; sent with its length */
    size_t body_count;
    void *into; /* where the body of a 2xx answer goes, instead of `text` */
    size_t into_bytes;
    /* Where the body of a 2xx answer goes instead, piece by piece as it arrives: the request is given up when it fails,
     * and fails as it did. */
    int (*take)(void *ctx, struct bytes piece, struct error *err);
    void *take_ctx;
    struct buf *text;          /* where any other body goes; one that does not fit is ERR_NET_ANSWER. NULL drops it */
    int64_t timeout_ms;        /* for everything together; 0: none but the stall's */
    const atomic_bool *cancel; /* the request is given up (ERR_INTERRUPTED) once it is true; NULL: never */
};
struct http_response {
    int status;
    size_t body_bytes;  /* into `into` or `text` */
    bool cut;           /* there was more than `into` holds; the rest was not fetched */
    int64_t date_ns;    /* the server's clock, 0 when it did not say */
    struct buf headers; /* private */
};

/* One request, one answer. 0 when a whole answer arrived, whatever its status. Else what was stored at `into` and
 * `text` means nothing, and the error says how far it came: ERR_NET_DNS, ERR_NET_REFUSED, ERR_NET_TLS: the server has
 * seen nothing of it; ERR_NET_STALL, ERR_NET_BROKEN, ERR_NET_ANSWER: it may have been carried out. A stop signal that
 * comes while it runs ends it (ERR_INTERRUPTED, ERR_TERMINATED); one that came before does not, so that work can be
 * undone. http_response_free in every case. */
int http_send(struct http *h, const struct http_request *q, struct http_response *ret, struct error *err) PK_CHECK;
void http_response_free(struct http_response *r);

/* A header of the answer by its lower-case name; NULL when it was not sent. Borrowed until http_response_free. */
const char *http_header(const struct http_response *r, const char *name);
/* Milliseconds that the answer asks to be waited (Retry-After in seconds), `most_ms` at most; 0 when it does not. */
int http_retry_after_ms(const struct http_response *r, int most_ms);
/* RFC 9110 dates ("Sun, 06 Nov 1994 08:49:37 GMT"). */
bool http_date_parse(const char *s, int64_t *ret_ns);

/* Before try number `failed` + 1: sleeps a random time between nothing and min(cap, base * 2^(failed-1)) (full jitter),
 * at least `hint_ms`. Ends early with an error when a stop signal comes or *cancel turns true. */
int http_wait(unsigned failed, int base_ms, int cap_ms, int hint_ms, const atomic_bool *cancel,
              struct error *err) PK_CHECK;

/* Bytes as they may stand in a URL: all but A-Z a-z 0-9 - . _ ~ as %XX, and with `slash` '/' stays. */
int http_escape(struct buf *b, struct bytes in, bool slash, struct error *err) PK_CHECK;
/* The reverse; false on a '%' that is not followed by two digits, and on %00. */
bool http_unescape(struct bytes in, struct buf *b, struct error *err);

#endif
