/* The only file that knows libmicrohttpd. */
#include "work/witness_serve.h"

#include "base/seam.h"
#include "ledger/add_checkpoint.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECTIONS_MAX 64
#define PER_ADDRESS_MAX 16
#define TIMEOUT_S 30

/* Answers of libmicrohttpd's callbacks were ints before they were an enum. */
#if MHD_VERSION < 0x00097002
typedef int yes_no;
#else
typedef enum MHD_Result yes_no;
#endif

struct witness_server {
    struct witness *w;
    struct witness_events events;
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock; /* one request is judged at a time */
    char url[100];
    bool open;
};
struct request {
    struct buf body;
    bool too_long, no_memory;
};

static yes_no answer_send(struct MHD_Connection *c, unsigned status, const char *type, const char *allow,
                          struct bytes body) {
    struct MHD_Response *r = MHD_create_response_from_buffer(body.len, (void *)body.ptr, MHD_RESPMEM_MUST_COPY);
    if (!r) return MHD_NO;
    yes_no ok = MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (ok == MHD_YES && allow) ok = MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, allow);
    if (ok == MHD_YES) ok = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return ok;
}

static yes_no say(struct MHD_Connection *c, unsigned status, const char *allow, const char *text) {
    return answer_send(c, status, "text/plain; charset=utf-8", allow, BYTES_STR(text));
}

static void peer_of(struct MHD_Connection *c, char out[64]) {
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = i ? i->client_addr : NULL;
    const void *at = !a ? NULL
                     : a->sa_family == AF_INET6
                         ? (const void *)&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr
                         : (const void *)&((const struct sockaddr_in *)(const void *)a)->sin_addr;
    if (!at || !inet_ntop(a->sa_family, at, out, 64)) snprintf(out, 64, "-");
}

static yes_no judged(struct witness_server *s, struct MHD_Connection *c, const struct request *q) {
    struct witness_answer a;
    struct error e = ERROR_INIT;
    char from[64];
    yes_no ok;
    peer_of(c, from);
    pthread_mutex_lock(&s->lock);
    int rc = witness_add_checkpoint(s->w, buf_bytes(&q->body), &a, &e);
    if (rc < 0) {
        a.status = 500;
        snprintf(a.why, sizeof a.why, "%.290s", e.text);
        ok = say(c, 500, NULL, "the witness could not do its work\n"); /* whose inside is nobody's business */
    } else
        ok = answer_send(c, (unsigned)a.status, a.type, NULL, buf_bytes(&a.body));
    if (s->events.answered) s->events.answered(s->events.ctx, &a, from);
    pthread_mutex_unlock(&s->lock);
    buf_free(&a.body);
    return ok;
}

static yes_no on_request(void *ctx, struct MHD_Connection *c, const char *path, const char *method, const char *version,
                         const char *data, size_t *data_len, void **state) {
    struct witness_server *s = ctx;
    struct request *q = *state;
    (void)version;
    if (!q) {
        void *mem = seam_alloc(sizeof *q);
        if (!mem) return MHD_NO;
        q = mem;
        *q = (struct request){.body = BUF_INIT(ADD_CHECKPOINT_BYTES_MAX)};
        *state = q;
        return MHD_YES;
    }
    if (*data_len > 0) {
        struct error e = ERROR_INIT;
        q->too_long |= *data_len > q->body.max_bytes - q->body.len;
        if (!q->too_long && buf_append(&q->body, data, *data_len, &e) < 0) q->no_memory = true;
        *data_len = 0;
        return MHD_YES;
    }
    if (strcmp(path, ADD_CHECKPOINT_PATH) != 0) return say(c, 404, NULL, "there is only " ADD_CHECKPOINT_PATH "\n");
    if (strcmp(method, "POST") != 0) return say(c, 405, "POST", "add-checkpoint is asked by POST\n");
    if (q->no_memory) return say(c, 500, NULL, "the witness could not do its work\n");
    if (q->too_long) return say(c, 413, NULL, "a request for a cosignature is shorter\n");
    return judged(s, c, q);
}

static void on_end(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code) {
    struct request *q = *state;
    (void)ctx, (void)c, (void)code;
    if (q) buf_free(&q->body);
    seam_free(q);
    *state = NULL;
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* "8080", "127.0.0.1:8080", "[::1]:8080" */
static int address_of(const char *text, union address *ret, bool *ret_open, struct error *err) {
    const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
    char host[64] = "127.0.0.1", *end;
    size_t n = colon ? (size_t)(colon - text) : 0;
    const bool six = n > 2 && text[0] == '[' && text[n - 1] == ']';
    if (colon && n < sizeof host) snprintf(host, sizeof host, "%.*s", six ? (int)n - 2 : (int)n, text + six);
    long number = strtol(port, &end, 10);
    *ret = (union address){0};
    bool good = n < sizeof host && *port >= '0' && *port <= '9' && !*end && number <= 65535;
    if (six && good) {
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons((uint16_t)number);
        good = inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1;
        *ret_open = !IN6_IS_ADDR_LOOPBACK(&ret->v6.sin6_addr);
    } else if (good) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons((uint16_t)number);
        good = inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1;
        *ret_open = ntohl(ret->v4.sin_addr.s_addr) >> 24 != 127;
    }
    return good ? 0
                : error_set(
                      err, ERR_USAGE,
                      "'%.100s' is no place to listen at: PORT, or NUMBER:PORT such as 127.0.0.1:8080 or [::1]:8080",
                      text);
}

int witness_server_start(struct witness *w, const char *listen, const struct witness_events *e,
                         struct witness_server **ret, struct error *err) {
    union address at;
    void *mem;
    bool open = false;
    int rc = address_of(listen, &at, &open, err);
    if (rc == 0) rc = mem_alloc(sizeof(struct witness_server), &mem, err);
    if (rc < 0) return rc;
    struct witness_server *s = mem;
    const bool six = at.any.sa_family == AF_INET6;
    *s = (struct witness_server){.w = w, .events = *e, .open = open};
    pthread_mutex_init(&s->lock, NULL);
    s->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | (six ? (unsigned)MHD_USE_IPv6 : 0u), 0, NULL,
                         NULL, on_request, s, MHD_OPTION_SOCK_ADDR, &at.any, MHD_OPTION_NOTIFY_COMPLETED, on_end, NULL,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
                         (unsigned)PER_ADDRESS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32 << 10, MHD_OPTION_END);
    const union MHD_DaemonInfo *i = s->daemon ? MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
    if (!i) {
        rc = error_set_errno(err, ERR_NET_LISTEN, "listen at %.100s", listen);
        witness_server_stop(s);
        return rc;
    }
    char host[64];
    (void)inet_ntop(at.any.sa_family, six ? (const void *)&at.v6.sin6_addr : (const void *)&at.v4.sin_addr, host,
                    sizeof host);
    snprintf(s->url, sizeof s->url, six ? "http://[%s]:%u" : "http://%s:%u", host, (unsigned)i->port);
    *ret = s;
    return 0;
}

const char *witness_server_url(const struct witness_server *s) {
    return s->url;
}

bool witness_server_is_open(const struct witness_server *s) {
    return s->open;
}

void witness_server_stop(struct witness_server *s) {
    if (!s) return;
    if (s->daemon) MHD_stop_daemon(s->daemon);
    pthread_mutex_destroy(&s->lock);
    seam_free(s);
}
