#include "base/net.h"

#include "base/seam.h"
#include "base/thread.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SLICE_MS 500

static int wait_for(int fd, short events, int timeout_ms, const char *what, struct error *err) {
    for (int left = timeout_ms;;) {
        int slice = left < SLICE_MS ? left : SLICE_MS;
        struct pollfd p = {.fd = fd, .events = events};
        int r = stop_check(err);
        if (r < 0) return r;
        if ((r = seam_poll(&p, 1, slice)) < 0) return error_set_errno(err, ERR_NET_BROKEN, "wait to %s", what);
        if (r > 0) return 0;
        if ((left -= slice) <= 0)
            return error_set(err, ERR_NET_STALL, "nothing moved for %d s while waiting to %s", timeout_ms / 1000, what);
    }
}

static int try_one(const struct sockaddr *to, socklen_t len, int timeout_ms, const char *where, int *ret_fd,
                   struct error *err) {
    int fd = seam_socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0), e = 0, on = 1;
    socklen_t n = sizeof e;
    if (fd < 0) return error_set_errno(err, ERR_NET_REFUSED, "make a socket for %s", where);
    int r = seam_connect(fd, to, len);
    if (r < 0 && errno == EINPROGRESS) {
        r = wait_for(fd, POLLOUT, timeout_ms, "connect", err);
        if (r == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0) e = errno;
        errno = e;
        if (r == 0 && e)
            r = error_set_errno(err, ERR_NET_REFUSED, "connect to %s", where);
        else if (r < 0)
            r = error_wrap(err, "%s", where);
    } else if (r < 0) {
        r = error_set_errno(err, ERR_NET_REFUSED, "connect to %s", where);
    }
    if (r < 0) {
        io_close(&fd);
        return r;
    }
    if (to->sa_family != AF_UNIX) {
        (void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* wishes: slower without, never wrong */
        (void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    *ret_fd = fd;
    return 0;
}

static int connect_unix(const char *path, int timeout_ms, int *ret_fd, struct error *err) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path)
        return error_set(err, ERR_NET_REFUSED, "the path of the unix socket %s is too long", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    return try_one((const struct sockaddr *)&to, sizeof to, timeout_ms, path, ret_fd, err);
}

int net_connect(const char *host, unsigned port, int timeout_ms, int *ret_fd, struct error *err) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    char service[16], where[512];
    if (host[0] == '/') return connect_unix(host, timeout_ms, ret_fd, err);
    snprintf(service, sizeof service, "%u", port);
    snprintf(where, sizeof where, "%.400s port %u", host, port);
    int r = getaddrinfo(host, service, &want, &list);
    if (r != 0) return error_set(err, ERR_NET_DNS, "look up %s: %s", host, gai_strerror(r));
    r = error_set(err, ERR_NET_DNS, "%s has no address", host);
    for (const struct addrinfo *a = list; a && r < 0; a = a->ai_next) {
        error_clear(err);
        r = try_one(a->ai_addr, a->ai_addrlen, timeout_ms, where, ret_fd, err);
        if (r == -ERR_INTERRUPTED || r == -ERR_TERMINATED) break;
    }
    freeaddrinfo(list);
    return r;
}

int net_recv(int fd, void *p, size_t n, int timeout_ms, size_t *ret_n, struct error *err) {
    for (;;) {
        ssize_t got = seam_read(fd, p, n);
        if (got >= 0) {
            *ret_n = (size_t)got;
            return 0;
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK) return error_set_errno(err, ERR_NET_BROKEN, "receive");
        int r = wait_for(fd, POLLIN, timeout_ms, "receive", err);
        if (r < 0) return r;
    }
}

int net_send(int fd, const void *p, size_t n, int timeout_ms, struct error *err) {
    const uint8_t *at = p;
    while (n > 0) {
        ssize_t put = seam_send(fd, at, n);
        if (put < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return error_set_errno(err, ERR_NET_BROKEN, "send");
        if (put < 0) {
            int r = wait_for(fd, POLLOUT, timeout_ms, "send", err);
            if (r < 0) return r;
            continue;
        }
        at += put;
        n -= (size_t)put;
    }
    return 0;
}
