/* Shared by the readers of header, table of contents and blocks. */
#ifndef PK_SURFACE_POSTGRES_ARCHIVE_INTERNAL_H
#define PK_SURFACE_POSTGRES_ARCHIVE_INTERNAL_H

#include "surface/postgres/archive.h"

#define PG_READ_BYTES (1u << 20)

enum pg_block_state { PG_AT_BLOCK, PG_IN_DATA, PG_AT_OBJECT, PG_IN_OBJECT };

struct pg_archive {
    pg_read_fn read;
    void *ctx;
    uint8_t *buf;
    size_t at, end;
    bool eof;
    uint8_t major, minor;
    struct pg_toc *toc;
    bool toc_done;
    uint8_t *seen;  /* one byte an entry: its block was met */
    size_t missing; /* entries with data whose block was not met yet */
    enum pg_block_state state;
    const struct pg_entry *entry; /* of the current block */
    size_t piece_left;
};

/* At least n (at most PG_READ_BYTES) bytes from a->at on; false at the end of the stream, with the error set unless
 * nothing at all was left and end_ok. */
int pg_archive_need(struct pg_archive *a, size_t n, const char *where, struct error *err) PK_CHECK;
int pg_archive_fill(struct pg_archive *a, struct error *err) PK_CHECK; /* one read more; sets eof */
/* An integer from p, which has 1 + int_bytes bytes: a sign byte and a magnitude. */
int pg_int_decode(const uint8_t *p, unsigned int_bytes, int32_t *ret, struct error *err) PK_CHECK;
int pg_toc_read(struct pg_archive *a, struct error *err) PK_CHECK;

#endif
