#include "surface/neo4j/bolt_internal.h"

#include "base/net.h"
#include "base/seam.h"
#include "crypto/crypto.h"
#include "surface/tls.h"

#define CHUNK_MAX 0xFFFFu
#define OUT_BYTES (4u << 20)

static int receive(struct bolt *b, void *p, size_t n, size_t *ret_n, struct error *err) {
    int r = b->tls ? tls_recv(b->tls, p, n, ret_n, err) : net_recv(b->fd, p, n, b->patience_ms, ret_n, err);
    if (r == 0 && *ret_n) return 0;
    b->broken = true;
    return r < 0 ? error_wrap(err, "%s", b->where)
                 : error_set(err, ERR_NET_BROKEN, "%s ended the connection", b->where);
}

static int send_all(struct bolt *b, const void *p, size_t n, struct error *err) {
    int r = b->tls ? tls_send(b->tls, p, n, err) : net_send(b->fd, p, n, b->timeout_ms, err);
    if (r == 0) return 0;
    b->broken = true;
    return error_wrap(err, "%s", b->where);
}

/* At least n bytes lie at `at`; n is at most BOLT_IN_BYTES. */
static int have(struct bolt *b, size_t n, struct error *err) {
    if (b->end - b->at >= n) return 0;
    memmove(b->in, b->in + b->at, b->end - b->at);
    b->end -= b->at;
    b->at = 0;
    while (b->end < n) {
        size_t got = 0;
        int r = receive(b, b->in + b->end, BOLT_IN_BYTES - b->end, &got, err);
        if (r < 0) return r;
        b->end += got;
    }
    return 0;
}

/* ---- the handshake: four proposals, each "range, minor, major" from the top ---- */
static int agree(struct bolt *b, struct error *err) {
    static const uint8_t hello[20] = {0x60, 0x60, 0xB0, 0x17, 0, 8, 8, 5};
    int r = send_all(b, hello, sizeof hello, err);
    if (r == 0) r = have(b, 4, err);
    if (r < 0) return r;
    const uint8_t *p = b->in + b->at;
    b->at += 4;
    b->minor = p[2];
    if (p[3] == 5 && p[2] <= 8) return 0;
    if (!memcmp(p, "HTTP", 4))
        return error_set(err, ERR_NEO4J_PROTOCOL, "%s speaks HTTP: name the port of Bolt, which is often 7687",
                         b->where);
    if (p[3] == 0)
        return error_set(err, ERR_NEO4J_PROTOCOL, "%s speaks none of the versions 5.0 to 5.8 of Bolt", b->where);
    return error_set(err, ERR_NEO4J_PROTOCOL, "%s is no Bolt server", b->where);
}

int bolt_connect(struct bolt *b, const struct bolt_server *s, struct error *err) {
    void *in;
    int r = mem_alloc(BOLT_IN_BYTES, &in, err);
    if (r < 0) return r;
    b->in = in;
    r = net_connect(s->host, s->port, s->timeout_ms, &b->fd, err);
    if (r == 0 && s->tls) r = tls_open(b->fd, s->host, s->ca, s->patience_ms, &b->tls, err);
    return r < 0 ? error_wrap(err, "%s", b->where) : agree(b, err);
}

void bolt_disconnect(struct bolt *b) {
    tls_free(b->tls);
    if (b->fd >= 0) io_close(&b->fd);
    seam_free(b->in);
    buf_free(&b->long_message);
    if (b->out.ptr) wipe(b->out.ptr, b->out.cap);
    buf_free(&b->out);
    if (b->request.ptr) wipe(b->request.ptr, b->request.cap);
    buf_free(&b->request);
}

/* ---- out ---- */
int bolt_flush(struct bolt *b, struct error *err) {
    int r = b->broken ? error_set(err, ERR_NET_BROKEN, "%s: the connection is gone", b->where) : 0;
    if (r == 0 && b->out.len) r = send_all(b, b->out.ptr, b->out.len, err);
    buf_clear(&b->out);
    return r;
}

int bolt_put(struct bolt *b, struct error *err) {
    int r = 0;
    for (size_t at = 0; r == 0 && at < b->request.len;) {
        size_t n = b->request.len - at < CHUNK_MAX ? b->request.len - at : CHUNK_MAX;
        uint8_t head[2] = {(uint8_t)(n >> 8), (uint8_t)n};
        if (b->out.len + n + 4 > OUT_BYTES) r = bolt_flush(b, err);
        if (r == 0) r = buf_append(&b->out, head, 2, err);
        if (r == 0) r = buf_append(&b->out, b->request.ptr + at, n, err);
        at += n;
    }
    return r == 0 ? buf_append(&b->out, "\0", 2, err) : r;
}

/* ---- in ---- */
/* A chunk's length; at least that much and the next one's head are there when all of it fits. */
static int chunk(struct bolt *b, size_t *ret, struct error *err) {
    int r = have(b, 2, err);
    if (r < 0) return r;
    *ret = (size_t)b->in[b->at] << 8 | b->in[b->at + 1];
    r = have(b, *ret ? *ret + 4 : 2, err);
    if (r == 0) b->at += 2;
    return r;
}

int bolt_take(struct bolt *b, struct bytes *ret, struct error *err) {
    size_t n = 0;
    int r = b->broken ? error_set(err, ERR_NET_BROKEN, "%s: the connection is gone", b->where) : 0;
    while (r == 0 && n == 0) r = chunk(b, &n, err); /* an empty one between messages keeps the connection alive */
    if (r < 0) return r;
    const uint8_t *p = b->in + b->at;
    b->at += n;
    if (p[n] == 0 && p[n + 1] == 0) {
        b->at += 2;
        *ret = BYTES_OF(p, n);
        return 0;
    }
    buf_clear(&b->long_message);
    r = buf_append(&b->long_message, p, n, err);
    while (r == 0) {
        if ((r = chunk(b, &n, err)) < 0 || n == 0) break;
        if (b->long_message.len + n > BOLT_MESSAGE_MAX) {
            b->broken = true;
            return error_set(err, ERR_NEO4J_VALUE, "%s sends a node or relationship of more than 64 MiB", b->where);
        }
        r = buf_append(&b->long_message, b->in + b->at, n, err);
        b->at += n;
    }
    *ret = buf_bytes(&b->long_message);
    return r;
}
