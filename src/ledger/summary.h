/* Signed summaries of what a log says up to a size: the object summary/<size as 16 digits>, a DSSE envelope around a
 * statement {subject: [{name: "log", digest: {sha256: <root, hex>}}], predicateType: SUMMARY_TYPE, predicate:
 * {"origin", "size", "root", "last", "edge", "state"}}. `last` is the digest of entry size-1, `edge` that of the tree
 * (tree.h), which must give the root. The state is a pure function of the first `size` entries; which one is the caller's
 * business. So is who may sign: a summary is as good as its signer. What a handle makes of them stands in ledger.h.
 */
#ifndef PK_LEDGER_SUMMARY_H
#define PK_LEDGER_SUMMARY_H

#include "ledger/ledger.h"

#define SUMMARY_TYPE "https://proofkeep.dev/summary/v1"
#define SUMMARY_MAX_BYTES (24u << 20)       /* of the envelope */
#define SUMMARY_STATE_MAX_BYTES (16u << 20) /* of the state, written out; a larger one is not published */

/* Whether the root was held against the log. */
enum summary_root {
    SUMMARY_ROOT_CLAIMED = 0, /* the handle has not read so far, or began beyond: the signer says so, nobody else */
    SUMMARY_ROOT_MATCHES = 1, /* it is the root of the entries seen */
};
struct ledger_summary {
    uint64_t size;
    struct digest root, last;
    struct digest *edge; /* tree_edge_count(size) hashes, owned */
    enum summary_root root_status;
    uint8_t signer[SIGN_PUBLIC_BYTES]; /* the signature holds; whether this key may is for the caller */
    json_t *state;                     /* owned: ledger_summary_free */
};

/* Publish the state at `size` (1 .. ledger_size, not below where the handle began). Somebody's summary of that size may
 * be there already: fine when it says the same; ERR_LEDGER_BROKEN, naming its signer, when it says otherwise, for then one
 * of the two did not compute what it should; replaced when it is malformed, of another log, or by another key than ours
 * and right. Durable when it returns. */
int ledger_publish_summary(struct ledger *l, struct bytes sign_seed, uint64_t size, const json_t *state,
                           struct error *err) PK_CHECK;
/* ERR_OBJECT_MISSING when there is none; ERR_LEDGER_BROKEN when it is malformed, of another log, or its root is not
 * ours. */
int ledger_read_summary(struct ledger *l, uint64_t size, struct ledger_summary *ret, struct error *err) PK_CHECK;
/* The sizes of all that are published, ascending; the caller frees them with seam_free. */
int ledger_list_summaries(struct ledger *l, uint64_t **ret, size_t *ret_n, struct error *err) PK_CHECK;
/* The largest published size not above `at_most`; 0 when there is none. */
int ledger_find_summary(struct ledger *l, uint64_t at_most, uint64_t *ret_size, struct error *err) PK_CHECK;
/* Remove all below `size` but the newest of them, for readers that have just listed it. Stores that forbid it keep them. */
void ledger_drop_summaries(struct ledger *l, uint64_t size);
void ledger_summary_free(struct ledger_summary *s);

#endif
