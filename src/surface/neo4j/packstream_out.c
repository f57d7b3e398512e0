#include "surface/neo4j/packstream.h"

static int put(struct buf *out, uint8_t marker, unsigned width, uint64_t v, struct error *err) {
    uint8_t p[9] = {marker};
    for (unsigned i = 0; i < width; i++) p[1 + i] = (uint8_t)(v >> 8 * (width - 1 - i));
    return buf_append(out, p, 1 + width, err);
}

/* tiny: the marker that holds up to 15 itself, 0 when there is none; wide: the first of the three with a length. */
static int head(struct buf *out, uint8_t tiny, uint8_t wide, uint64_t n, struct error *err) {
    if (tiny && n < 16) return put(out, (uint8_t)(tiny | n), 0, 0, err);
    if (n <= 0xFF) return put(out, wide, 1, n, err);
    if (n <= 0xFFFF) return put(out, (uint8_t)(wide + 1), 2, n, err);
    if (n <= 0xFFFFFFFF) return put(out, (uint8_t)(wide + 2), 4, n, err);
    return error_set(err, ERR_NEO4J_VALUE, "a value of %llu bytes is too long to be packed", (unsigned long long)n);
}

int ps_put_bool(struct buf *out, bool v, struct error *err) {
    return put(out, v ? 0xC3 : 0xC2, 0, 0, err);
}

int ps_put_int(struct buf *out, int64_t v, struct error *err) {
    if (v >= -16 && v <= INT8_MAX) return put(out, (uint8_t)v, 0, 0, err);
    if (v >= INT8_MIN && v <= INT8_MAX) return put(out, 0xC8, 1, (uint64_t)v, err);
    if (v >= INT16_MIN && v <= INT16_MAX) return put(out, 0xC9, 2, (uint64_t)v, err);
    if (v >= INT32_MIN && v <= INT32_MAX) return put(out, 0xCA, 4, (uint64_t)v, err);
    return put(out, 0xCB, 8, (uint64_t)v, err);
}

int ps_put_float(struct buf *out, uint64_t bits, struct error *err) {
    return put(out, 0xC1, 8, bits, err);
}

int ps_put_bytes(struct buf *out, struct bytes v, struct error *err) {
    int r = head(out, 0, 0xCC, v.len, err);
    return r == 0 ? buf_append(out, v.ptr, v.len, err) : r;
}

int ps_put_text(struct buf *out, struct bytes v, struct error *err) {
    int r = head(out, 0x80, 0xD0, v.len, err);
    return r == 0 ? buf_append(out, v.ptr, v.len, err) : r;
}

int ps_put_str(struct buf *out, const char *v, struct error *err) {
    return ps_put_text(out, BYTES_STR(v), err);
}

int ps_put_list(struct buf *out, uint32_t n, struct error *err) {
    return head(out, 0x90, 0xD4, n, err);
}

int ps_put_map(struct buf *out, uint32_t n, struct error *err) {
    return head(out, 0xA0, 0xD8, n, err);
}

int ps_put_struct(struct buf *out, unsigned n, uint8_t tag, struct error *err) {
    return put(out, (uint8_t)(0xB0 | (n & 0x0F)), 1, tag, err);
}
