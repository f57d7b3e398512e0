/* Proofs of receipts for people who have neither the program, nor a key, nor the repository: a C2SP tlog-proof and
 * beside it the receipt's signed envelope, which is the leaf. */
#ifndef PK_WORK_LOG_PROOF_H
#define PK_WORK_LOG_PROOF_H

#include "ledger/cosign.h"
#include "work/context.h"

#define LOG_PROOF_SUFFIX ".tlog-proof"
#define LOG_ENVELOPE_SUFFIX ".dsse.json"

struct log_proof_made {
    uint64_t seq, size;
    char proof[4096], envelope[4096]; /* files */
    size_t witnesses;                 /* whose cosignatures it has */
};
/* Of an entry by its number, of a backup by its id, or of a recovery point by its address (env/surface@point). `out`
 * may end in LOG_PROOF_SUFFIX or gets it; the envelope lies beside it. Neither may be there yet (ERR_IO_EXISTS).
 * Without a checkpoint that counts the entry one is published. The proof also has a signature of the key that the
 * repository was opened with. */
int log_proof_make(struct work *w, const char *what, const char *out, struct log_proof_made *ret,
                   struct error *err) PK_CHECK;

struct log_proof_request {
    const char *proof, *envelope;    /* files; envelope NULL: the one beside the proof */
    const char *const *log_keys;     /* NULL-terminated verifier keys: one must have signed the checkpoint */
    const char *const *witness_keys; /* NULL-terminated: each must have cosigned it */
};
struct log_proof_checked {
    uint64_t seq, size;
    struct digest entry, root;
    uint8_t signer[SIGN_PUBLIC_BYTES]; /* of the entry; whether it may is for the log to say */
    int64_t time_ns;                   /* claimed by it */
    int64_t witnessed_s;               /* the oldest of the witnesses' times; 0 without */
    json_t *statement;                 /* owned: json_decref */
};
/* Opens nothing but the files. ERR_LEDGER_BROKEN for whatever does not hold, ERR_USAGE without a log key. */
int log_proof_check(const struct log_proof_request *q, struct log_proof_checked *ret, struct error *err) PK_CHECK;

/* The newest checkpoint that counts more than `seq` entries, with all signatures that are at hand: cosigned where there
 * are witnesses, else as published, else NULL text. *ret_witnesses counts cosignatures. */
int log_note_for(struct work *w, uint64_t seq, struct buf *ret, size_t *ret_witnesses, struct error *err) PK_CHECK;
/* Add a line of the key that the repository was opened with, unless there is one, so that whoever knows only this key
 * can check the checkpoint; which must be the log's, or ERR_LEDGER_BROKEN. */
int log_note_sign(struct work *w, struct buf *note, struct error *err) PK_CHECK;

#endif
