/* What one machine remembers of one log: the entries it accepted, and the pin (size, root, last digest).
 *
 * Invariants
 *  1. The entries file is a function of the log: record n stands at the same place whoever writes it, so several
 * processes may write it at once without a lock, and whatever is torn or stale fails its checksum.
 *  2. The pin is replaced atomically, and never by a smaller one.
 *  3. A log that was begun at a summary has its entries in a file of their own, named after where it begins; the summary
 *     itself is kept beside it, and believed no more than one from the store.
 *  4. A pin or entries file that fails its checksum is as if it were not there. Nothing read from here is believed
 * unless it adds up to the pin and the store holds the pinned last entry. One thread at a time. Losing the cache costs
 * time, and the memory of how long the log was.
 */
#ifndef PK_LEDGER_CACHE_H
#define PK_LEDGER_CACHE_H

#include "crypto/crypto.h"
#include "ledger/tree.h"

struct cache_pin {
    uint64_t size;
    struct digest root;
    struct digest last; /* SHA-256 of entry size-1 */
};

struct cache;
/* Files "ledger-<id>.pin", "ledger-<id>.entries", "ledger-<id>.base" and "ledger-<id>.<base>.entries" in dir, which is
 * made (0700) when missing; id is of the origin. */
int cache_open(const char *dir, const char *origin, struct cache **ret, struct error *err) PK_CHECK;
void cache_close(struct cache *c); /* NULL is fine */
/* NULL when there is none. Borrowed until the next call. */
const struct cache_pin *cache_pinned(const struct cache *c);
/* Read the entries up to the pin and hash them. *ret_good is false, and the entries are as if there were none, unless
 * the root over them is the pinned one. `edge` is that of the tree where the entries begin; NULL at 0. */
int cache_load(struct cache *c, const struct digest *edge, bool *ret_good, struct error *err) PK_CHECK;
uint64_t cache_count(const struct cache *c); /* one past the last entry that can be read */
/* From now on entries are remembered from `base` on (0: from the first), none of them yet. A failure ends the
 * remembering. */
void cache_begin_at(struct cache *c, uint64_t base);
/* The summary that was kept, as it was given, and what it sums up; *ret_base is 0 when there is none. */
int cache_base_read(struct cache *c, size_t max_bytes, uint64_t *ret_base, struct buf *ret_summary,
                    struct error *err) PK_CHECK;
/* Keep the summary at which the entries now begin. Only saves time, so a failure is passed over. */
void cache_base_keep(struct cache *c, struct bytes summary);
int cache_read(struct cache *c, uint64_t seq, struct buf *ret, int64_t *ret_stored_ns, struct error *err) PK_CHECK;
/* Remember entry `seq`. Only the next one is taken; a failure just ends the remembering. */
void cache_add(struct cache *c, uint64_t seq, struct bytes entry, int64_t stored_ns);
/* Durable when it returns. */
int cache_pin(struct cache *c, const struct cache_pin *p, struct error *err) PK_CHECK;

#endif
