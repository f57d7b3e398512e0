/* A check that needs no key: whoever can read a store can tell whether what lies there is what was put there.
 *
 * Looked at: 'format' against entry 0; every pack, index object and key slot against the SHA-256 in its name; the log's
 * entries (signature, place, chain) and which of them their signers may not say; tiles, bundles, checkpoint and summaries
 * against the entries; that every index object that the log names is there; every object of WAL that the log has, against its digest there.
 * Not to be seen without a key: that a pack is missing (pack lists are sealed), and whether the admin key of entry 0 is yours:
 * compare ret->admin with 'proofkeep key list'. Nothing is written to the store.
 */
#ifndef PK_REPO_SCRUB_H
#define PK_REPO_SCRUB_H

#include "repo/maintain.h"

struct scrub_options {
    unsigned threads;
    const char *cache_dir;   /* remembers there what was checked when; NULL: nothing is remembered */
    int64_t budget_ns;       /* stop taking on packs after this time; 0: none */
    uint64_t budget_bytes;   /* or after so many bytes; 0: none */
    void *ctx;
    void (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total);
    int (*finding)(void *ctx, const char *object, enum check_result result, const char *text, struct error *err);
};
struct scrub_totals {
    char repository[33], admin[65]; /* as the log's first entry has them */
    uint64_t objects, bytes;        /* that were looked at */
    uint64_t packs, pack_bytes;     /* that the store lists */
    uint64_t packs_left, bytes_left; /* of these, what the budget did not reach, and what lies in an archive class */
    uint64_t packs_archived, bytes_archived; /* the latter, as far as it was tried: it is not damaged, and nothing is known of it */
    uint64_t wal_left;              /* registered objects of WAL that the budget did not reach */
    uint64_t entries, void_entries, findings;
    int64_t oldest_ns; /* when the pack that was checked longest ago was; 0: one never was, or there is none */
    enum check_result result; /* CHECK_VERIFIED only when everything was looked at and is whole */
};
/* 0 when it ran, whatever it found; an error when it could not be carried out. Packs that were checked longest ago come first,
 * as far as cache_dir remembers. Memory: one block of 1 MiB a thread, 48 bytes a pack. */
int repo_scrub(struct store *s, const struct scrub_options *o, struct scrub_totals *ret, struct error *err) PK_CHECK;

#endif
