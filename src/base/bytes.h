/* Byte slices, growable buffers with a maximum from birth, and little-endian packing. */
#ifndef PK_BASE_BYTES_H
#define PK_BASE_BYTES_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes. Never owns; {NULL,0} is empty. */
struct bytes {
    const uint8_t *ptr;
    size_t len;
};
#define BYTES_OF(p, n) ((struct bytes){(const uint8_t *)(p), (n)})
#define BYTES_STR(s) BYTES_OF((s), strlen(s))

static inline bool bytes_equal(struct bytes a, struct bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Order of item names: bytewise, but '/' sorts below every other byte, so that a folder's contents directly follow it
 * ("a", "a/x", "a.b"). Negative, zero or positive. */
int name_compare(struct bytes a, struct bytes b);

/* A growable buffer. Never grows past max_bytes: an append that would fails with ERR_NO_MEMORY and leaves it as it was. */
struct buf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    size_t max_bytes;
};
#define BUF_INIT(max) ((struct buf){NULL, 0, 0, (max)})
void buf_free(struct buf *b);  /* safe on zeroed and on NULL; leaves it empty */
void buf_clear(struct buf *b); /* length to zero, keeps memory */
int buf_reserve(struct buf *b, size_t more, struct error *err) PK_CHECK; /* room for `more` bytes after len */
int buf_append(struct buf *b, const void *p, size_t n, struct error *err) PK_CHECK;
int buf_append_str(struct buf *b, const char *s, struct error *err) PK_CHECK;
int buf_printf(struct buf *b, struct error *err, const char *fmt, ...) PK_CHECK PK_PRINTF(3, 4);
int buf_terminate(struct buf *b, struct error *err) PK_CHECK; /* a NUL after len, not counted in it */
static inline struct bytes buf_bytes(const struct buf *b) { return BYTES_OF(b->ptr, b->len); }

static inline void put_u16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); }
static inline void put_u32(uint8_t *p, uint32_t v) { put_u16(p, (uint16_t)v); put_u16(p + 2, (uint16_t)(v >> 16)); }
static inline void put_u64(uint8_t *p, uint64_t v) { put_u32(p, (uint32_t)v); put_u32(p + 4, (uint32_t)(v >> 32)); }
static inline uint16_t get_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t get_u32(const uint8_t *p) { return (uint32_t)get_u16(p) | (uint32_t)get_u16(p + 2) << 16; }
static inline uint64_t get_u64(const uint8_t *p) { return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32; }

/* A bounded reader over a slice: every take checks. After a short take `bad` is set and stays set, takes return zero. */
struct cursor {
    const uint8_t *ptr;
    size_t len;
    bool bad;
};
struct cursor cursor_of(struct bytes b);
struct bytes cursor_take(struct cursor *c, size_t n);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
/* Unsigned LEB128, at most 10 bytes; overlong or overflowing sets bad. */
uint64_t cursor_varint(struct cursor *c);
int buf_append_varint(struct buf *b, uint64_t v, struct error *err) PK_CHECK;
int buf_append_u32(struct buf *b, uint32_t v, struct error *err) PK_CHECK;
int buf_append_u64(struct buf *b, uint64_t v, struct error *err) PK_CHECK;

/* Lower-case hex; out has 2*len+1 bytes. */
void hex_encode(const void *p, size_t len, char *out);
/* Exactly 2*len hex digits, any case; false on anything else. */
bool hex_decode(const char *hex, size_t hex_len, void *out, size_t len);
/* Standard base64 with padding into b; decoding accepts standard and URL-safe alphabets, with or without padding. */
int base64_encode(struct buf *b, struct bytes in, struct error *err) PK_CHECK;
int base64_decode(struct buf *b, struct bytes in, struct error *err) PK_CHECK; /* ERR_JSON on foreign characters */

#endif
