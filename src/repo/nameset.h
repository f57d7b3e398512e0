/* A sorted set of pack names, by their first 16 bytes: that many bits of a SHA-256 meet by chance in no repository, and
 * half of the memory would otherwise hold what decides nothing. 100 TB in packs of 16 MiB are 100 MB. */
#ifndef PK_REPO_NAMESET_H
#define PK_REPO_NAMESET_H

#include "repo/repo_internal.h"

#define NAME_PREFIX_BYTES 16
#define NAMESET_NONE SIZE_MAX

struct nameset {
    uint8_t (*names)[NAME_PREFIX_BYTES];
    size_t count, cap;
    size_t sorted; /* the first so many are sorted and no two alike */
    uint32_t *fan; /* where names of each first `bits` bits begin; NULL: not known */
    unsigned bits;
};
/* The first 16 bytes at `name`. Not found before the next nameset_sort. */
int nameset_add(struct nameset *s, const uint8_t *name, struct error *err) PK_CHECK;
void nameset_sort(struct nameset *s); /* needs no memory to speak of */
size_t nameset_find(const struct nameset *s, const uint8_t *name); /* its place, or NAMESET_NONE */
/* Keep those whose bit is not set. */
void nameset_drop(struct nameset *s, const uint8_t *bits);
void nameset_free(struct nameset *s);

static inline bool bit_get(const uint8_t *bits, size_t i) { return bits[i / 8] >> i % 8 & 1; }
static inline void bit_set(uint8_t *bits, size_t i) { bits[i / 8] |= (uint8_t)(1u << i % 8); }
/* Sets it; whether it was not set before. false for NAMESET_NONE. */
static inline bool bit_take(uint8_t *bits, size_t i) {
    if (i == NAMESET_NONE || bit_get(bits, i)) return false;
    bit_set(bits, i);
    return true;
}

#endif
