#include "surface/redis/canon.h"

#include "base/seam.h"
#include <stdlib.h>

enum { TYPE_SET = 2, TYPE_HASH = 4 };
#define FEW 16

struct span {
    const uint8_t *p;
    size_t n;
};

void canon_free(struct canon *c) {
    seam_free(c->spans);
    buf_free(&c->text);
    c->spans = NULL;
    c->cap = 0;
}

/* A length at p; the bytes that it takes, or 0. *ret_encoded is the first byte's six bits where it is no length. */
static size_t length(const uint8_t *p, size_t n, uint64_t *ret, bool *ret_encoded) {
    size_t more = n == 0 ? 0 : p[0] >> 6 == 1 ? 1 : p[0] == 0x80 ? 4 : p[0] == 0x81 ? 8 : 0;
    if (n < 1 + more || (p[0] >> 6 == 2 && !more)) return 0;
    *ret_encoded = p[0] >> 6 == 3;
    *ret = p[0] & 63;
    if (p[0] >> 6 == 2) *ret = 0;
    for (size_t i = 1; i <= more; i++) *ret = *ret << 8 | p[i];
    return 1 + more;
}

/* The bytes of the string at p, or 0. */
static size_t string(const uint8_t *p, size_t n) {
    uint64_t v, packed, plain;
    bool encoded;
    size_t at = length(p, n, &v, &encoded);
    if (at == 0) return 0;
    if (!encoded) return v <= n - at ? at + (size_t)v : 0;
    if (v < 3) return n - at >= (size_t)1 << v ? at + ((size_t)1 << v) : 0;
    size_t a = length(p + at, n - at, &packed, &encoded), b = a ? length(p + at + a, n - at - a, &plain, &encoded) : 0;
    at += a + b;
    return v == 3 && b && packed <= n - at ? at + (size_t)packed : 0;
}

static int by_bytes(const void *a, const void *b) {
    const struct span *x = a, *y = b;
    int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return c ? c : x->n < y->n ? -1 : x->n > y->n;
}

/* Most have a few elements, for which qsort is slow. */
static void order(struct span *s, size_t n) {
    if (n > FEW) {
        qsort(s, n, sizeof *s, by_bytes);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct span x = s[i];
        size_t k = i;
        for (; k > 0 && by_bytes(&x, &s[k - 1]) < 0; k--) s[k] = s[k - 1];
        s[k] = x;
    }
}

int canon_order(struct canon *c, uint8_t type, uint8_t *value, size_t n, struct error *err) {
    uint64_t count;
    bool encoded;
    if (type != TYPE_SET && type != TYPE_HASH) return 0;
    size_t head = length(value, n, &count, &encoded), at = head;
    if (head == 0 || encoded || count < 2 || count > CANON_ELEMENTS_MAX) return 0;
    int r = mem_grow(&c->spans, &c->cap, (size_t)count, sizeof(struct span), err);
    if (r < 0) return r;
    struct span *s = c->spans;
    for (uint64_t i = 0; i < count; i++) {
        size_t from = at;
        for (int k = 0; k < (type == TYPE_HASH ? 2 : 1); k++) {
            size_t one = string(value + at, n - at);
            if (one == 0) return 0;
            at += one;
        }
        s[i] = (struct span){value + from, at - from};
    }
    if (at != n) return 0;
    order(s, (size_t)count);
    buf_clear(&c->text);
    for (uint64_t i = 0; r == 0 && i < count; i++) r = buf_append(&c->text, s[i].p, s[i].n, err);
    if (r == 0) memcpy(value + head, c->text.ptr, c->text.len);
    return r;
}
