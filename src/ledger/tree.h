/* The Merkle tree of a whole log (RFC 6962 hashing, RFC 9162 proofs), kept as C2SP tlog-tiles wants it: level L holds
 * the hash of every full subtree of 256^L leaves, so that a tile is a run of one level. Memory: 32.13 bytes an entry.
 *
 * Invariants
 *  1. levels[0] are the leaf hashes; levels[L+1][i] is the root over levels[L][256i .. 256i+255].
 *  2. A hash is added only once it is final, so nothing in the tree ever changes.
 *  3. A tree may begin at an edge: then it lacks what lies in full tiles below its base, and knows the root of no smaller
 *     tree. Whoever begins one must know from elsewhere that the edge is right: its root is all that it shows.
 * One thread at a time.
 */
#ifndef PK_LEDGER_TREE_H
#define PK_LEDGER_TREE_H

#include "crypto/crypto.h"
#include <stdbool.h>

#define TREE_FANOUT 256u
#define TREE_LEVELS 8u

struct tree;
int hash_tree_new(struct tree **ret, struct error *err) PK_CHECK;
/* The edge of a tree of `size`: the hashes of the last, partial tile of each level, level 0 first; those of level L are
 * size / 256^L mod 256 in number. It gives the root, and is enough to go on from. */
size_t tree_edge_count(uint64_t size);
void tree_edge(const struct tree *t, uint64_t size, struct digest *ret); /* tree_base <= size <= tree_size */
int hash_tree_begin(uint64_t size, const struct digest *edge, struct tree **ret, struct error *err) PK_CHECK;
uint64_t tree_base(const struct tree *t); /* where it began; 0 for a whole one */
void hash_tree_free(struct tree *t); /* NULL is fine */
void hash_tree_freep(struct tree **t);
/* Room for `more` leaves, so that as many tree_add cannot fail. */
int tree_reserve(struct tree *t, size_t more, struct error *err) PK_CHECK;
void tree_add(struct tree *t, const struct digest *leaf); /* room must have been reserved */
uint64_t tree_size(const struct tree *t);
/* Root over the first `size` leaves; tree_base <= size <= tree_size, or 0. O(log n). */
void tree_root(const struct tree *t, uint64_t size, struct digest *ret);
/* Hashes of one level of a whole tree, borrowed until the next tree_add or tree_reserve. */
const struct digest *tree_level(const struct tree *t, unsigned level, uint64_t *ret_count);
/* Hash `index` of a level and those after it, borrowed likewise; the tree must have it. */
const struct digest *tree_hashes(const struct tree *t, unsigned level, uint64_t index);
bool tree_has(const struct tree *t, unsigned level, uint64_t index);
/* Root over leaves [begin, end), where begin is a multiple of the smallest power of two not below end - begin. */
void tree_range(const struct tree *t, uint64_t begin, uint64_t end, struct digest *ret);

/* Root over n = 2^k hashes, n <= 256: of a full tile, its hash on the next level. */
void tree_reduce(const struct digest *hashes, size_t n, struct digest *ret);
/* SHA-256(0x01 || left || right); ret may be either of them. */
void merkle_node(const struct digest *left, const struct digest *right, struct digest *ret);

#endif
