#include "base/http_spare.h"

#include "base/seam.h"
#include "base/time.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define OLD_NS (INT64_C(4) * NS_PER_S) /* sooner than servers tire of a connection that says nothing */

void spares_init(struct spares *s) {
    *s = (struct spares){0};
    pthread_mutex_init(&s->lock, NULL);
}

static void drop_first(struct spares *s) {
    s->count--;
    memmove(s->ready, s->ready + 1, s->count * sizeof *s->ready);
}

static bool is_old(const struct spares *s) {
    return time_monotonic_ns() - s->ready[0].begun_ns > OLD_NS;
}

static void close_all(struct spares *s) {
    while (s->count > 0) io_close(&s->ready[--s->count].fd);
}

void spares_free(struct spares *s) {
    close_all(s);
    pthread_mutex_destroy(&s->lock);
}

/* The lock is held. Nothing waits here; what cannot be begun is none. */
static void fill(struct spares *s, size_t most) {
    while (s->place.len && s->count < most) {
        int fd = seam_socket(s->place.to.ss_family, s->place.type | SOCK_NONBLOCK, s->place.protocol);
        if (fd < 0) return;
        if (seam_connect(fd, (const struct sockaddr *)&s->place.to, s->place.len) < 0 && errno != EINPROGRESS) {
            io_close(&fd);
            return;
        }
        s->ready[s->count].fd = fd;
        s->ready[s->count++].begun_ns = time_monotonic_ns();
    }
}

/* Made, and neither refused nor closed since. */
static bool is_made(int fd, bool *ret_dead) {
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    int n = seam_poll(&p, 1, 0);
    *ret_dead = n < 0 || (n > 0 && (p.revents & ~POLLOUT));
    return n > 0 && !*ret_dead;
}

static bool is_same(const struct spare_place *a, const struct spare_place *b) {
    return a->len == b->len && a->type == b->type && a->protocol == b->protocol && memcmp(&a->to, &b->to, a->len) == 0;
}

int spares_take(struct spares *s, const struct spare_place *at) {
    int fd = -1;
    bool dead = false;
    pthread_mutex_lock(&s->lock);
    if (!is_same(&s->place, at)) {
        pthread_mutex_unlock(&s->lock);
        return -1;
    }
    while (s->count > 0 && fd < 0) {
        const bool old = is_old(s);
        const bool made = is_made(s->ready[0].fd, &dead);
        if (!made && !dead && !old) break; /* those behind it are younger */
        if (made && !old)
            fd = s->ready[0].fd;
        else
            io_close(&s->ready[0].fd);
        drop_first(s);
    }
    if (!dead && s->wanted) fill(s, SPARE_MAX);
    pthread_mutex_unlock(&s->lock);
    return fd;
}

void spares_answered(struct spares *s, const struct spare_place *at, bool closed) {
    pthread_mutex_lock(&s->lock);
    const bool first = at && !is_same(&s->place, at);
    if (first) {
        close_all(s);
        s->place = *at;
    }
    s->wanted = closed;
    if (closed || first) fill(s, closed ? SPARE_MAX : SPARE_FIRST);
    while (!closed && s->count > 0 && is_old(s)) {
        io_close(&s->ready[0].fd);
        drop_first(s);
    }
    pthread_mutex_unlock(&s->lock);
}
