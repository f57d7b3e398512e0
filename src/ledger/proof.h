/* Inclusion and consistency proofs. Source: RFC 9162 §2.1.3 and §2.1.4. Checking needs no log, no store and no key. */
#ifndef PK_LEDGER_PROOF_H
#define PK_LEDGER_PROOF_H

#include "ledger/ledger.h"
#include "ledger/tree.h"

#define PROOF_MAX 65
struct proof {
    size_t count;
    struct digest hashes[PROOF_MAX];
};

/* That leaf `index` is in the tree of the first `size` leaves; index < size <= tree_size. */
void tree_prove_inclusion(const struct tree *t, uint64_t index, uint64_t size, struct proof *ret);
/* That the tree of `old_size` leaves is a prefix of that of `new_size`; old_size <= new_size <= tree_size. */
void tree_prove_consistency(const struct tree *t, uint64_t old_size, uint64_t new_size, struct proof *ret);
/* The same over the entries a ledger has seen; ERR_NO_POINT when it has not seen as many. What lies below the summary at
 * which the handle began comes from tiles that add up to the handle's own tree, else from the entries. */
int ledger_prove_inclusion(struct ledger *l, uint64_t index, uint64_t size, struct proof *ret, struct error *err) PK_CHECK;
int ledger_prove_consistency(struct ledger *l, uint64_t old_size, uint64_t new_size, struct proof *ret,
                             struct error *err) PK_CHECK;
/* Root over the first `size` entries, size <= ledger_size, had in the same way. */
int ledger_root_at(struct ledger *l, uint64_t size, struct digest *ret, struct error *err) PK_CHECK;

/* ERR_LEDGER_BROKEN when the proof does not show it. */
int proof_check_inclusion(const struct digest *leaf, uint64_t index, uint64_t size, const struct digest *root,
                          const struct proof *p, struct error *err) PK_CHECK;
int proof_check_consistency(uint64_t old_size, const struct digest *old_root, uint64_t new_size,
                            const struct digest *new_root, const struct proof *p, struct error *err) PK_CHECK;

#endif
