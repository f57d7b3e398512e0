#include "base/bytes.h"
#include "base/seam.h"
#include <stdio.h>

/* '/' to 0 and all else one up keeps the order total and a folder's contents right behind it. */
static unsigned name_weight(uint8_t c) {
    return c == '/' ? 0 : c + 1u;
}

int name_compare(struct bytes a, struct bytes b) {
    size_t n = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < n; i++)
        if (a.ptr[i] != b.ptr[i]) return name_weight(a.ptr[i]) < name_weight(b.ptr[i]) ? -1 : 1;
    return a.len < b.len ? -1 : a.len > b.len;
}

void buf_free(struct buf *b) {
    if (!b) return;
    seam_free(b->ptr);
    b->ptr = NULL;
    b->len = b->cap = 0;
}

void buf_clear(struct buf *b) {
    b->len = 0;
}

int buf_reserve(struct buf *b, size_t more, struct error *err) {
    if (more <= b->cap - b->len && b->ptr) return 0;
    if (b->len > b->max_bytes || more > b->max_bytes - b->len)
        return error_set(err, ERR_NO_MEMORY, "a buffer would grow past its limit of %zu bytes", b->max_bytes);
    size_t want = b->len + more;
    size_t cap = b->cap > SIZE_MAX / 2 ? want : b->cap * 2;
    if (cap < want) cap = want;
    if (cap < 64) cap = 64;
    if (cap > b->max_bytes) cap = b->max_bytes;
    /* One byte above the capacity is buf_terminate's. */
    if (cap == SIZE_MAX) return error_set(err, ERR_NO_MEMORY, "a buffer of %zu bytes is too large", cap);
    void *p = seam_realloc(b->ptr, cap + 1);
    if (!p) return error_set_errno(err, ERR_NO_MEMORY, "a buffer of %zu bytes", cap);
    b->ptr = p;
    b->cap = cap;
    return 0;
}

int buf_append(struct buf *b, const void *p, size_t n, struct error *err) {
    if (n == 0) return 0;
    int rc = buf_reserve(b, n, err);
    if (rc) return rc;
    memcpy(b->ptr + b->len, p, n);
    b->len += n;
    return 0;
}

int buf_append_str(struct buf *b, const char *s, struct error *err) {
    return buf_append(b, s, strlen(s), err);
}

int buf_printf(struct buf *b, struct error *err, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    int rc = n < 0 ? error_set(err, ERR_INTERNAL, "a text could not be formatted") : buf_reserve(b, (size_t)n, err);
    if (rc == 0) {
        /* The terminator of vsnprintf goes where buf_terminate's would. */
        vsnprintf((char *)b->ptr + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return rc;
}

int buf_terminate(struct buf *b, struct error *err) {
    int rc = buf_reserve(b, 0, err);
    if (rc) return rc;
    b->ptr[b->len] = 0;
    return 0;
}

int buf_append_u32(struct buf *b, uint32_t v, struct error *err) {
    uint8_t p[4];
    put_u32(p, v);
    return buf_append(b, p, sizeof p, err);
}

int buf_append_u64(struct buf *b, uint64_t v, struct error *err) {
    uint8_t p[8];
    put_u64(p, v);
    return buf_append(b, p, sizeof p, err);
}

int buf_append_varint(struct buf *b, uint64_t v, struct error *err) {
    uint8_t p[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return buf_append(b, p, n, err);
}
