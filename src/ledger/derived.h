/* What is derived from the log (tiles, bundles, checkpoint), held against its entries and derived again; and entries that the
 * store has lost, found again in bundles. Nothing here needs trust in what is derived: entries decide, and an entry that comes
 * out of a bundle must be the one that the chain of digests names.
 */
#ifndef PK_LEDGER_DERIVED_H
#define PK_LEDGER_DERIVED_H

#include "ledger/ledger.h"

/* One object that is not what it should be: ERR_OBJECT_MISSING or ERR_OBJECT_CORRUPT in `code`. Non-zero stops. */
typedef int (*derived_found)(void *ctx, const char *object, int code, const char *text, struct error *err);

/* Every tile and bundle that the published checkpoint counts, and the checkpoint itself. A log that was never published has
 * none. What is replaced by another publisher meanwhile is no finding. *objects grows by what was looked at. */
int derived_check(struct ledger *l, uint64_t *objects, derived_found found, void *ctx, struct error *err) PK_CHECK;
/* Of these only what the tree of `size` has and that of `old` had not, `old`'s own partial ones included; whatever the checkpoint says. */
int derived_check_tiles(struct ledger *l, uint64_t old, uint64_t size, uint64_t *objects, derived_found found, void *ctx, struct error *err) PK_CHECK;
/* Write anew what derived_check would find wrong, and publish the log as far as it is known. Replaces only objects that
 * are derived and wrong. ERR_LEDGER_BROKEN, and nothing is signed, when a published checkpoint that counts has another
 * root. *ret_mended counts objects. */
int ledger_mend_derived(struct ledger *l, struct bytes sign_seed, uint64_t *ret_mended, struct error *err) PK_CHECK;

/* Entries that are missing below others: found in bundles, and held against the chain (the digest that the entry after it
 * names, or for the last one the leaf hash of a tile). `recovered` is told of each; with `write` it is created, under the name
 * that nobody has. Needs no key. *ret_lost counts those that no bundle has. */
int ledger_recover_entries(struct store *s, bool write, derived_found recovered, void *ctx, uint64_t *ret_lost, struct error *err) PK_CHECK;

#endif
