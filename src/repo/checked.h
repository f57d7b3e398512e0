/* When each object was last seen whole: a help for checks that have a budget, kept in the cache folder. It proves nothing to
 * anybody else; what another host needs to go on from is in the log (check_budget.h). Losing it loses only the order.
 * One thread at a time. */
#ifndef PK_REPO_CHECKED_H
#define PK_REPO_CHECKED_H

#include "crypto/crypto.h"

enum checked_level { CHECKED_CHECKSUM = 0, CHECKED_DECODE = 1, CHECKED_LEVELS };
struct checked_row {
    struct digest name;
    int64_t at_ns[CHECKED_LEVELS]; /* 0: never */
};
struct checked {
    struct checked_row *rows; /* sorted by name, once checked_sort was called */
    size_t n, cap;
};
/* What `path` holds; nothing when there is no such file, or it is damaged. */
int checked_load(const char *path, struct checked *ret, struct error *err) PK_CHECK;
/* Durable, replaced whole. */
int checked_store(const char *path, const struct checked *c, struct error *err) PK_CHECK;
struct checked_row *checked_find(const struct checked *c, const struct digest *name); /* NULL: never seen */
/* Add a row at the end; sort before the next find. */
int checked_add(struct checked *c, const struct checked_row *row, struct error *err) PK_CHECK;
void checked_sort(struct checked *c); /* of rows alike the newest times are kept */
void checked_free(struct checked *c);

#endif
