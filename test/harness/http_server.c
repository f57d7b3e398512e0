#include "harness/http_server.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUESTS_MAX 65536
#define PEERS_MAX 32768

struct request {
    char *bytes;
    size_t len, connection;
};
struct http_server {
    int fd, port;
    char url[64];
    const struct http_answer *answers;
    size_t answer_count;
    pthread_t accepting, peers[PEERS_MAX];
    pthread_mutex_t lock;
    int peer_fds[PEERS_MAX];
    size_t peer_count;
    struct request requests[REQUESTS_MAX];
    size_t request_count;
    bool ending;
};
struct peer {
    struct http_server *s;
    size_t number;
    int fd;
};

static void need(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "the test's HTTP server: %s: %s\n", what, strerror(errno));
    abort();
}

/* One request with its body; false at the connection's end. */
static bool take_request(int fd, struct request *r) {
    size_t cap = 4096, want = SIZE_MAX;
    *r = (struct request){.bytes = malloc(cap + 1)};
    while (r->len < want) {
        if (r->len == cap) need((r->bytes = realloc(r->bytes, (cap *= 2) + 1)) != NULL, "memory");
        size_t ask = want == SIZE_MAX ? 1 : want - r->len < cap - r->len ? want - r->len : cap - r->len;
        ssize_t n = recv(fd, r->bytes + r->len, ask, 0);
        if (n <= 0) {
            free(r->bytes);
            return false;
        }
        r->len += (size_t)n;
        r->bytes[r->len] = 0;
        if (want != SIZE_MAX || r->len < 4 || memcmp(r->bytes + r->len - 4, "\r\n\r\n", 4) != 0) continue;
        want = r->len;
        const char *length = strcasestr(r->bytes, "\r\ncontent-length:");
        if (length) want += strtoul(length + 17, NULL, 10);
    }
    return true;
}

static void *serve(void *arg) {
    struct peer p = *(struct peer *)arg;
    struct http_server *s = p.s;
    free(arg);
    struct request r;
    while (take_request(p.fd, &r)) {
        pthread_mutex_lock(&s->lock);
        need(s->request_count < REQUESTS_MAX, "too many requests");
        size_t i = s->request_count++;
        r.connection = p.number;
        s->requests[i] = r;
        bool ending = s->ending;
        pthread_mutex_unlock(&s->lock);
        struct http_answer a = s->answers[i < s->answer_count ? i : s->answer_count - 1];
        for (int left = a.stall_ms; left > 0 && !ending; left -= 20) {
            poll(NULL, 0, 20);
            pthread_mutex_lock(&s->lock);
            ending = s->ending;
            pthread_mutex_unlock(&s->lock);
        }
        size_t len = a.bytes && a.len == 0 ? strlen(a.bytes) : a.len;
        for (size_t at = 0; a.bytes && at < len;) {
            ssize_t n = send(p.fd, a.bytes + at, len - at, MSG_NOSIGNAL);
            if (n <= 0) break;
            at += (size_t)n;
        }
        if (a.reset) {
            struct linger hard = {1, 0};
            setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        }
        if (a.hang_up || a.reset || !a.bytes || ending) break;
    }
    pthread_mutex_lock(&s->lock);
    close(p.fd);
    s->peer_fds[p.number] = -1;
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void *accept_all(void *arg) {
    struct http_server *s = arg;
    for (;;) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) return NULL;
        struct peer *p = malloc(sizeof *p);
        pthread_mutex_lock(&s->lock);
        need(s->peer_count < PEERS_MAX && p, "too many connections");
        *p = (struct peer){s, s->peer_count, fd};
        s->peer_fds[s->peer_count] = fd;
        need(pthread_create(&s->peers[s->peer_count], NULL, serve, p) == 0, "a thread");
        s->peer_count++;
        pthread_mutex_unlock(&s->lock);
    }
}

struct http_server *http_server_start(const struct http_answer *answers, size_t n) {
    struct http_server *s = calloc(1, sizeof *s);
    need(s != NULL && n > 0, "memory");
    s->answers = answers;
    s->answer_count = n;
    pthread_mutex_init(&s->lock, NULL);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(s->fd, 64) == 0, "listening");
    need(getsockname(s->fd, (struct sockaddr *)&a, &len) == 0, "its port");
    s->port = ntohs(a.sin_port);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", s->port);
    need(pthread_create(&s->accepting, NULL, accept_all, s) == 0, "a thread");
    return s;
}

int http_server_port(const struct http_server *s) {
    return s->port;
}

const char *http_server_url(const struct http_server *s) {
    return s->url;
}

const char *http_server_request(struct http_server *s, size_t i, size_t *ret_len) {
    pthread_mutex_lock(&s->lock);
    const char *p = i < s->request_count ? s->requests[i].bytes : NULL;
    if (p && ret_len) *ret_len = s->requests[i].len;
    pthread_mutex_unlock(&s->lock);
    return p;
}

size_t http_server_connection_of(struct http_server *s, size_t i) {
    pthread_mutex_lock(&s->lock);
    size_t n = i < s->request_count ? s->requests[i].connection : SIZE_MAX;
    pthread_mutex_unlock(&s->lock);
    return n;
}

size_t http_server_requests(struct http_server *s) {
    pthread_mutex_lock(&s->lock);
    size_t n = s->request_count;
    pthread_mutex_unlock(&s->lock);
    return n;
}

size_t http_server_connections(struct http_server *s) {
    pthread_mutex_lock(&s->lock);
    size_t n = s->peer_count;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void http_server_stop(struct http_server *s) {
    pthread_mutex_lock(&s->lock);
    s->ending = true;
    shutdown(s->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->accepting, NULL);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->peer_count; i++)
        if (s->peer_fds[i] >= 0) shutdown(s->peer_fds[i], SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < s->peer_count; i++) pthread_join(s->peers[i], NULL);
    for (size_t i = 0; i < s->request_count; i++) free(s->requests[i].bytes);
    close(s->fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
