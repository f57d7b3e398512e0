/* Requests for a cosignature: an old size, a consistency proof from there, and a checkpoint. Source: C2SP tlog-witness,
 * "add-checkpoint". Checking needs no log, no store and no key. */
#ifndef PK_LEDGER_ADD_CHECKPOINT_H
#define PK_LEDGER_ADD_CHECKPOINT_H

#include "ledger/note.h"
#include "ledger/proof.h"

#define ADD_CHECKPOINT_PATH "/add-checkpoint"
#define ADD_CHECKPOINT_SIZE_TYPE "text/x.tlog.size"
#define ADD_CHECKPOINT_PROOF_MAX 63u
/* The old size's line, 63 hashes, an empty line, a checkpoint. */
#define ADD_CHECKPOINT_BYTES_MAX (32u + ADD_CHECKPOINT_PROOF_MAX * 45u + 1u + CHECKPOINT_MAX_BYTES)

struct add_checkpoint {
    uint64_t old_size;
    struct proof proof;
    struct bytes note; /* borrowed from the request; not looked into */
};
/* ERR_LEDGER_BROKEN for what is no request. */
int add_checkpoint_parse(struct bytes request, struct add_checkpoint *ret, struct error *err) PK_CHECK;
/* The request, appended. */
int add_checkpoint_format(const struct add_checkpoint *a, struct buf *ret, struct error *err) PK_CHECK;
/* The body of a 409 that says which size the witness has: false for anything else. */
bool add_checkpoint_size(struct bytes body, uint64_t *ret);

#endif
