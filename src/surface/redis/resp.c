#include "surface/redis/resp.h"

#include "base/net.h"
#include "base/seam.h"
#include "crypto/crypto.h"
#include "surface/tls.h"
#include <stdio.h>
#include <stdlib.h>

#define IN_BYTES (64u << 10)
#define OUT_BYTES (1u << 20)

/* ---- bytes ---- */
static int receive(struct resp *c, void *p, size_t n, size_t *ret_n, struct error *err) {
    int r = c->tls ? tls_recv(c->tls, p, n, ret_n, err) : net_recv(c->fd, p, n, c->timeout_ms, ret_n, err);
    c->broken |= r < 0 || *ret_n == 0;
    return r < 0 ? error_wrap(err, "%s", c->where) : 0;
}

static int more(struct resp *c, struct error *err) {
    size_t n;
    if (c->at < c->end) return 0;
    c->at = c->end = 0;
    int r = receive(c, c->in, IN_BYTES, &n, err);
    if (r < 0) return r;
    c->end = n;
    return n ? 0 : error_set(err, ERR_NET_BROKEN, "%s ended the connection", c->where);
}

static int send_all(struct resp *c, const void *p, size_t n, struct error *err) {
    int r = c->tls ? tls_send(c->tls, p, n, err) : net_send(c->fd, p, n, c->timeout_ms, err);
    c->broken |= r < 0;
    return r < 0 ? error_wrap(err, "%s", c->where) : 0;
}

int resp_flush(struct resp *c, struct error *err) {
    int r = c->out.len ? send_all(c, c->out.ptr, c->out.len, err) : 0;
    buf_clear(&c->out);
    return r;
}

int resp_raw(struct resp *c, struct bytes part, struct error *err) {
    const bool large = part.len > OUT_BYTES / 2; /* sent as it lies, after what was collected before it */
    int r = large || c->out.len + part.len > OUT_BYTES ? resp_flush(c, err) : 0;
    if (r == 0 && large) return send_all(c, part.ptr, part.len, err);
    return r == 0 ? buf_append(&c->out, part.ptr, part.len, err) : r;
}

static int head(struct resp *c, char kind, size_t n, struct error *err) {
    char text[32];
    return resp_raw(c, BYTES_OF(text, (size_t)snprintf(text, sizeof text, "%c%zu\r\n", kind, n)), err);
}

int resp_command(struct resp *c, size_t n, const struct bytes *args, struct error *err) {
    int r = head(c, '*', n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = head(c, '$', args[i].len, err);
        if (r == 0) r = resp_raw(c, args[i], err);
        if (r == 0) r = resp_raw(c, BYTES_STR("\r\n"), err);
    }
    return r;
}

static int words(struct resp *c, const char *first, va_list ap, struct error *err) {
    struct bytes args[16];
    size_t n = 0;
    for (const char *w = first; w && n < sizeof args / sizeof *args; w = va_arg(ap, const char *))
        args[n++] = BYTES_STR(w);
    return resp_command(c, n, args, err);
}

int resp_words(struct resp *c, struct error *err, const char *first, ...) {
    va_list ap;
    va_start(ap, first);
    int r = words(c, first, ap, err);
    va_end(ap);
    return r;
}

/* ---- replies ---- */
static int garbled(const struct resp *c, struct error *err) {
    return error_set(err, ERR_REDIS_PROTOCOL, "%s sent what is no reply of a Redis server", c->where);
}

/* A line with its end taken off, which is \r\n, or in a synchronisation \n alone. */
static int read_line(struct resp *c, struct error *err) {
    buf_clear(&c->line);
    for (;;) {
        int r = more(c, err);
        if (r < 0) return r;
        const uint8_t *from = c->in + c->at, *nl = memchr(from, '\n', c->end - c->at);
        size_t n = nl ? (size_t)(nl - from) : c->end - c->at;
        if (c->line.len + n > RESP_LINE_MAX) return garbled(c, err);
        if ((r = buf_append(&c->line, from, n, err)) < 0) return r;
        c->at += n + (nl != NULL);
        if (!nl) continue;
        if (c->line.len && c->line.ptr[c->line.len - 1] == '\r') c->line.len--;
        return buf_terminate(&c->line, err);
    }
}

int resp_line(struct resp *c, struct bytes *ret, struct error *err) {
    int r;
    do r = read_line(c, err);
    while (r == 0 && c->line.len == 0);
    *ret = buf_bytes(&c->line);
    return r;
}

static int number(struct resp *c, int64_t *ret, struct error *err) {
    const char *text = (const char *)c->line.ptr + 1;
    char *end;
    *ret = strtoll(text, &end, 10);
    return end == text || *end ? garbled(c, err) : 0;
}

static int skip(struct resp *c, const struct resp_reply *h, unsigned depth, struct error *err);

static int next(struct resp *c, struct resp_reply *ret, unsigned depth, struct error *err) {
    for (;;) {
        int r = read_line(c, err);
        if (r < 0) return r;
        if (c->line.len == 0 || depth > RESP_DEPTH_MAX) return garbled(c, err);
        char kind = (char)c->line.ptr[0];
        *ret = (struct resp_reply){.text = BYTES_OF(c->line.ptr + 1, c->line.len - 1)};
        switch (kind) {
        case '+':
        case '(':
        case ',':
        case '#':
            ret->kind = RESP_STATUS;
            return 0;
        case '-':
            ret->kind = RESP_ERROR;
            return 0;
        case '_':
            ret->kind = RESP_NIL;
            return 0;
        case ':':
            ret->kind = RESP_INTEGER;
            return number(c, &ret->number, err);
        case '$':
        case '=':
        case '!':
            ret->kind = RESP_BULK;
            break;
        case '*':
        case '~':
        case '%':
        case '>':
        case '|':
            ret->kind = RESP_LIST;
            break;
        default:
            return garbled(c, err);
        }
        if ((r = number(c, &ret->number, err)) < 0) return r;
        if (ret->number < -1 || ret->number > INT64_MAX / 4) return garbled(c, err);
        if (ret->number == -1) ret->kind = RESP_NIL;
        if (kind == '%' || kind == '|') ret->number *= 2;
        if (kind != '|' && kind != '>') return 0;
        if ((r = skip(c, ret, depth, err)) < 0) return r; /* not an answer */
    }
}

int resp_next(struct resp *c, struct resp_reply *ret, struct error *err) {
    return next(c, ret, 0, err);
}

int resp_stream(struct resp *c, void *p, size_t n, size_t *ret_n, struct error *err) {
    if (c->at == c->end) return receive(c, p, n, ret_n, err);
    *ret_n = c->end - c->at < n ? c->end - c->at : n;
    memcpy(p, c->in + c->at, *ret_n);
    c->at += *ret_n;
    return 0;
}

int resp_part(struct resp *c, void *p, size_t n, size_t *ret_n, struct error *err) {
    int r = resp_stream(c, p, n, ret_n, err);
    if (r == 0 && *ret_n == 0 && n) return error_set(err, ERR_NET_BROKEN, "%s ended the connection", c->where);
    return r;
}

int resp_bulk_end(struct resp *c, struct error *err) {
    char end[2];
    for (size_t at = 0, n; at < 2; at += n) {
        int r = resp_part(c, end + at, 2 - at, &n, err);
        if (r < 0) return r;
    }
    return memcmp(end, "\r\n", 2) == 0 ? 0 : garbled(c, err);
}

int resp_bulk(struct resp *c, const struct resp_reply *h, struct buf *out, struct error *err) {
    uint64_t left = (uint64_t)h->number;
    if (left > out->max_bytes - out->len)
        return error_set(err, ERR_REDIS_PROTOCOL, "%s sent an answer of %llu bytes, far more than was to come",
                         c->where, (unsigned long long)left);
    while (left) {
        size_t n = 0, want = left < IN_BYTES ? (size_t)left : IN_BYTES;
        int r = buf_reserve(out, want, err);
        if (r == 0) r = resp_part(c, out->ptr + out->len, want, &n, err);
        if (r < 0) return r;
        out->len += n;
        left -= n;
    }
    return resp_bulk_end(c, err);
}

static int skip(struct resp *c, const struct resp_reply *h, unsigned depth, struct error *err) {
    uint8_t drop[4096];
    int r = 0;
    if (h->kind == RESP_BULK) {
        for (uint64_t left = (uint64_t)h->number; r == 0 && left;) {
            size_t n = 0;
            r = resp_part(c, drop, left < sizeof drop ? (size_t)left : sizeof drop, &n, err);
            left -= n;
        }
        return r == 0 ? resp_bulk_end(c, err) : r;
    }
    if (h->kind != RESP_LIST) return 0;
    for (int64_t i = 0, n = h->number; r == 0 && i < n; i++) {
        struct resp_reply one;
        r = next(c, &one, depth + 1, err);
        if (r == 0) r = skip(c, &one, depth + 1, err);
    }
    return r;
}

int resp_skip(struct resp *c, const struct resp_reply *h, struct error *err) {
    return skip(c, h, 0, err);
}

static bool begins(struct bytes text, const char *with) {
    size_t n = strlen(with);
    return text.len >= n && memcmp(text.ptr, with, n) == 0;
}

int resp_refused(const struct resp *c, struct bytes text, const char *command, struct error *err) {
    enum error_code code = ERR_REDIS_REPLY;
    if (begins(text, "WRONGPASS") || begins(text, "NOAUTH") || begins(text, "ERR invalid password") ||
        begins(text, "ERR AUTH") || begins(text, "ERR Client sent AUTH"))
        code = ERR_REDIS_AUTH;
    else if (begins(text, "NOPERM"))
        code = ERR_REDIS_DENIED;
    else if (begins(text, "LOADING") || begins(text, "MASTERDOWN") || begins(text, "NOMASTERLINK"))
        code = ERR_REDIS_NOT_READY;
    return error_set(err, code, "%s answered %s with: %.*s", c->where, command, text.len < 300 ? (int)text.len : 300,
                     (const char *)text.ptr);
}

int resp_ask(struct resp *c, struct buf *out, struct error *err, const char *first, ...) {
    struct resp_reply h;
    va_list ap;
    va_start(ap, first);
    int r = words(c, first, ap, err);
    va_end(ap);
    if (r == 0) r = resp_flush(c, err);
    if (r == 0) r = resp_next(c, &h, err);
    if (r < 0) return r;
    switch (h.kind) {
    case RESP_ERROR:
        return resp_refused(c, h.text, first, err);
    case RESP_BULK:
        return out ? resp_bulk(c, &h, out, err) : resp_skip(c, &h, err);
    case RESP_STATUS:
        return out ? buf_append(out, h.text.ptr, h.text.len, err) : 0;
    case RESP_INTEGER:
        return out ? buf_printf(out, err, "%lld", (long long)h.number) : 0;
    case RESP_LIST:
        return resp_skip(c, &h, err);
    default:
        return 0;
    }
}

/* ---- connections ---- */
static int log_in(struct resp *c, const struct resp_server *s, struct error *err) {
    struct bytes args[3] = {BYTES_STR("AUTH")};
    struct resp_reply h;
    size_t n = 1;
    if (s->user) args[n++] = BYTES_STR(s->user);
    if (s->password.len == 0) return 0;
    args[n++] = s->password;
    int r = resp_command(c, n, args, err);
    if (r == 0) r = send_all(c, c->out.ptr, c->out.len, err);
    if (c->out.ptr) wipe(c->out.ptr, c->out.cap);
    buf_clear(&c->out);
    if (r == 0) r = resp_next(c, &h, err);
    if (r == 0 && h.kind == RESP_ERROR) return resp_refused(c, h.text, "AUTH", err);
    return r;
}

int resp_open(const struct resp_server *s, struct resp *ret, struct error *err) {
    struct resp c = {
        .fd = -1, .timeout_ms = s->timeout_ms, .out = BUF_INIT(2 * OUT_BYTES), .line = BUF_INIT(2 * RESP_LINE_MAX)};
    void *in;
    if (s->host[0] == '/')
        snprintf(c.where, sizeof c.where, "%.290s", s->host);
    else
        snprintf(c.where, sizeof c.where, "%.270s port %u", s->host, s->port);
    int r = mem_alloc(IN_BYTES, &in, err);
    if (r < 0) return r;
    c.in = in;
    r = net_connect(s->host, s->port, s->timeout_ms, &c.fd, err);
    if (r == 0 && s->tls) r = tls_open(c.fd, s->host, s->ca, s->timeout_ms, &c.tls, err);
    if (r == 0) r = log_in(&c, s, err);
    if (r < 0)
        resp_close(&c);
    else
        *ret = c;
    return r;
}

void resp_close(struct resp *c) {
    tls_free(c->tls);
    if (c->fd >= 0) io_close(&c->fd);
    seam_free(c->in);
    buf_free(&c->out);
    buf_free(&c->line);
    *c = (struct resp){.fd = -1};
}
