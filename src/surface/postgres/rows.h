/* Rows counted and digested without regard to their order, so that two copies of a table can be compared.
 *
 * A row is a line of COPY text without its newline (newlines in values are escaped, so lines are rows). Each row gives
 * a 128-bit hash; the digest is the sum of them modulo 2^128. The hash is fast and fixed, not cryptographic: it finds
 * damage and difference, not forgery, which is the business of the content's SHA-256. Defined, with vectors, in
 * doc/format/postgres.md. Large objects are digested alike: one "row" each, its oid (4 bytes, little-endian) and
 * content.
 */
#ifndef PK_SURFACE_POSTGRES_ROWS_H
#define PK_SURFACE_POSTGRES_ROWS_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/mix.h"

struct pg_rows {
    uint64_t rows;
    struct hash128 sum;
    struct mix row; /* the row begun */
    bool open;
    /* the text */
    bool ended;
};

void pg_rows_init(struct pg_rows *s);
void pg_rows_row(struct pg_rows *s, struct bytes row); /* one whole row */
/* One row in parts. */
void pg_rows_begin(struct pg_rows *s);
void pg_rows_part(struct pg_rows *s, struct bytes part);
void pg_rows_end(struct pg_rows *s);
/* COPY text as a dump holds it, in pieces of any size. Its own end mark is the line "\."; only newlines may follow.
 * ERR_PG_ARCHIVE where something else does. */
int pg_rows_text(struct pg_rows *s, struct bytes text, struct error *err) PK_CHECK;
/* ERR_SOURCE_TRUNCATED when the end mark was not met. */
int pg_rows_finish(struct pg_rows *s, struct error *err) PK_CHECK;
void pg_rows_digest(const struct pg_rows *s, char out[33]); /* 32 hex digits, the most significant first */

#endif
