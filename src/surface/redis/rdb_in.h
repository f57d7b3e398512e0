/* An RDB stream pulled through one bounded buffer: checksummed as it passes, its strings decoded piece by piece, and a
 * part of it copied to whoever keeps values. Nothing here holds a value.
 */
#ifndef PK_SURFACE_REDIS_RDB_IN_H
#define PK_SURFACE_REDIS_RDB_IN_H

#include "base/mix.h"
#include "base/error.h"

#define RDB_NEED_MAX 4096 /* of rdb_need */
#define RDB_IN_BYTES (256u << 10)

typedef int (*rdb_read)(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err); /* 0 bytes: the end */
typedef int (*rdb_copy)(void *ctx, struct bytes more, struct error *err);

struct rdb_in {
    rdb_read read;
    void *ctx;
    uint8_t *buf;
    size_t at, end;
    uint64_t past; /* bytes of the stream before buf */
    uint64_t crc;
    size_t crc_at;
    rdb_copy copy; /* where bytes go while copying */
    void *copy_ctx;
    size_t copy_at;
    bool copying, ended;
    uint8_t *window; /* of LZF, made when first needed */
};
int rdb_in_open(struct rdb_in *in, rdb_read read, void *ctx, struct error *err) PK_CHECK;
void rdb_in_close(struct rdb_in *in); /* safe on zeroed */

int rdb_in_fill(struct rdb_in *in, size_t n, struct error *err) PK_CHECK;
/* At least n bytes at in->buf + in->at. ERR_SOURCE_TRUNCATED when the stream ends before. */
static inline int rdb_need(struct rdb_in *in, size_t n, struct error *err) {
    return in->end - in->at >= n ? 0 : rdb_in_fill(in, n, err);
}
static inline uint64_t rdb_offset(const struct rdb_in *in) {
    return in->past + in->at;
}
int rdb_take(struct rdb_in *in, void *out, size_t n, struct error *err) PK_CHECK; /* n at most RDB_NEED_MAX */
/* Between 1 and max bytes where they lie (max > 0), valid until the next call. */
int rdb_piece(struct rdb_in *in, uint64_t max, struct bytes *ret, struct error *err) PK_CHECK;
/* The checksum of all that was taken. */
uint64_t rdb_in_crc(struct rdb_in *in);
int rdb_copy_begin(struct rdb_in *in, rdb_copy copy, void *ctx);
int rdb_copy_end(struct rdb_in *in, struct error *err) PK_CHECK; /* hands over what is left */
/* "…, at byte N of the stream". */
int rdb_bad(const struct rdb_in *in, struct error *err, const char *fmt, ...) PK_PRINTF(3, 4);

/* A length, or with *ret_encoded the number of a special encoding of a string. */
int rdb_length(struct rdb_in *in, uint64_t *ret, bool *ret_encoded, struct error *err) PK_CHECK;
int rdb_plain_length(struct rdb_in *in, uint64_t *ret, struct error *err) PK_CHECK; /* ERR_REDIS_RDB when encoded */

/* ---- strings ---- */
struct rdb_str { /* one that is being read */
    struct rdb_in *in;
    uint64_t left;   /* decoded bytes to come */
    uint64_t packed; /* of LZF: encoded bytes to come */
    uint64_t len;    /* decoded, of all */
    bool lzf, number;
    char text[24];      /* of a number */
    size_t have, given; /* of LZF: bytes in the window, and of those, handed out */
};
int rdb_str_open(struct rdb_in *in, struct rdb_str *s, struct error *err) PK_CHECK;
/* The next decoded piece, empty at the end; valid until the next call. */
int rdb_str_next(struct rdb_str *s, struct bytes *ret, struct error *err) PK_CHECK;
/* All that is left into m. */
int rdb_str_mix(struct rdb_str *s, struct mix *m, struct error *err) PK_CHECK;
/* A whole string: mixed, or appended to out. */
int rdb_string_mix(struct rdb_in *in, struct mix *m, struct error *err) PK_CHECK;
int rdb_string_hash(struct rdb_in *in, struct hash128 *ret, struct error *err) PK_CHECK;
int rdb_string_get(struct rdb_in *in, struct buf *out,
                   struct error *err) PK_CHECK; /* ERR_REDIS_RDB when beyond its maximum */

#endif
