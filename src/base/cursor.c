#include "base/bytes.h"

struct cursor cursor_of(struct bytes b) {
    return (struct cursor){b.ptr, b.len, false};
}

struct bytes cursor_take(struct cursor *c, size_t n) {
    if (c->bad || n > c->len) {
        c->bad = true;
        return (struct bytes){NULL, 0};
    }
    struct bytes r = {c->ptr, n};
    if (n > 0) c->ptr += n;
    c->len -= n;
    return r;
}

uint8_t cursor_u8(struct cursor *c) {
    struct bytes b = cursor_take(c, 1);
    return b.len ? b.ptr[0] : 0;
}

uint16_t cursor_u16(struct cursor *c) {
    struct bytes b = cursor_take(c, 2);
    return b.len ? get_u16(b.ptr) : 0;
}

uint32_t cursor_u32(struct cursor *c) {
    struct bytes b = cursor_take(c, 4);
    return b.len ? get_u32(b.ptr) : 0;
}

uint64_t cursor_u64(struct cursor *c) {
    struct bytes b = cursor_take(c, 8);
    return b.len ? get_u64(b.ptr) : 0;
}

uint64_t cursor_varint(struct cursor *c) {
    uint64_t v = 0;
    for (unsigned i = 0; i < 10; i++) {
        uint8_t byte = cursor_u8(c);
        if (c->bad) return 0;
        if (i == 9 && byte > 1) break;
        v |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte & 0x80) continue;
        /* A last byte of zero adds nothing: the same number has a shorter form, and one number has one form. */
        if (byte == 0 && i > 0) break;
        return v;
    }
    c->bad = true;
    return 0;
}
