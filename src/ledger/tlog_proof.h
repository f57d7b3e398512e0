/* Proofs that others check offline: that an entry is in the log under a checkpoint. Source: C2SP tlog-proof ("v1"). */
#ifndef PK_LEDGER_TLOG_PROOF_H
#define PK_LEDGER_TLOG_PROOF_H

#include "ledger/proof.h"

#define TLOG_PROOF_MAX_BYTES (256u << 10)

struct tlog_proof {
    uint64_t index;
    struct proof path;
    struct bytes note; /* the checkpoint, as it was signed; borrowed */
};
int tlog_proof_write(const struct tlog_proof *p, struct buf *ret, struct error *err) PK_CHECK;
/* `ret->note` is borrowed from text. Extra data is passed over. ERR_LEDGER_BROKEN for what is no such proof. */
int tlog_proof_parse(struct bytes text, struct tlog_proof *ret, struct error *err) PK_CHECK;

#endif
