/* Change sets: rows as they were and as they are, as lines of JSON (doc/format/change-set.md). Written once, in one
 * pass; read in one pass, checked at its end. They hold payload: the file is for its owner only, and nothing of a row
 * may get into a log or a receipt.
 */
#ifndef PK_SURFACE_CHANGE_SET_H
#define PK_SURFACE_CHANGE_SET_H

#include "base/json.h"
#include "crypto/crypto.h"

enum change_row { CHANGE_ROW_DELETED, CHANGE_ROW_CHANGED, CHANGE_ROW_ADDED };
const char *change_row_name(enum change_row kind); /* "deleted", "changed", "added" */

struct change_value {
    const char *text; /* NULL for SQL's null */
    size_t len;
};
#define CHANGE_LINE_BYTES_MAX (512u << 20)

struct change_set;
/* head (borrowed) becomes the first line, with "line", "format" and "version". fd is borrowed, and is at its beginning.
 */
int change_set_begin(int fd, const json_t *head, struct change_set **ret, struct error *err) PK_CHECK;
/* All tables come before all rows. `table` (borrowed) has "table", "columns" and "key". Their numbers are 0, 1, 2… */
int change_set_table(struct change_set *c, const json_t *table, struct error *err) PK_CHECK;
/* A row of table number `table`: n values as they were and as they are (NULL: there is no such row then, or now); `key`
 * has the places of the key's columns among them. parent: it is here because others refer to it. */
int change_set_row(struct change_set *c, size_t table, enum change_row kind, bool parent, size_t n, const size_t *key,
                   size_t key_n, const struct change_value *then, const struct change_value *now,
                   struct error *err) PK_CHECK;
/* Ends it with `end` (borrowed), the number of rows and the digest of all lines before; what is asked for may be NULL.
 * Durable. */
int change_set_end(struct change_set *c, const json_t *end, struct digest *ret_whole, uint64_t *ret_rows,
                   uint64_t *ret_bytes, struct error *err) PK_CHECK;
void change_set_free(struct change_set *c); /* NULL is fine */

struct change_set_reader { /* each may be NULL; what is handed over is borrowed for the call */
    int (*head)(void *ctx, const json_t *line, struct error *err);
    int (*table)(void *ctx, size_t number, const json_t *line, struct error *err);
    int (*row)(void *ctx, size_t table, enum change_row kind, const json_t *line, struct error *err);
    int (*end)(void *ctx, const json_t *line, struct error *err); /* only when all before it was right */
};
/* Reads from the file's beginning. ERR_CHANGE_SET when it is no change set, is cut off, or is not what its end says. A
 * result of the callbacks that is not 0 ends it and is answered. */
int change_set_read(int fd, const struct change_set_reader *r, void *ctx, struct error *err) PK_CHECK;
/* The SHA-256 of the whole file. */
int change_set_digest(int fd, struct digest *ret, struct error *err) PK_CHECK;
/* A value of a row as text; *ret_null for null. The text is appended. */
int change_set_value(const json_t *value, bool *ret_null, struct buf *out, struct error *err) PK_CHECK;

#endif
