/* Checkpoints as signed notes. Sources: C2SP signed-note, tlog-checkpoint. Ed25519 only; the key's name is the origin.
 */
#ifndef PK_LEDGER_NOTE_H
#define PK_LEDGER_NOTE_H

#include "ledger/ledger.h"

#define CHECKPOINT_KEY "checkpoint"
#define CHECKPOINT_MAX_BYTES (64u * 1024u) /* room for many witnesses' lines */
#define NOTE_KEY_ID_BYTES 4

struct checkpoint {
    uint64_t size;
    struct digest root;
};

/* First four bytes of SHA-256(name || 0x0A || 0x01 || key). */
int note_key_id(const char *name, const uint8_t pub[SIGN_PUBLIC_BYTES], uint8_t ret[NOTE_KEY_ID_BYTES],
                struct error *err) PK_CHECK;
/* The verifier key others are given: "<name>+<hex of the key id>+<base64 of 0x01 || key>". */
int note_verifier(const char *name, const uint8_t pub[SIGN_PUBLIC_BYTES], struct buf *ret, struct error *err) PK_CHECK;
/* Text, blank line and one signature line. ERR_INTERNAL for an origin that a note may not carry (space, '+', control).
 */
int checkpoint_sign(const char *origin, const struct checkpoint *c, struct bytes sign_seed, struct buf *ret,
                    struct error *err) PK_CHECK;
/* Check the form and the signature by this key; lines of other keys (witnesses) are ignored, unless none is by this
 * key. ERR_LEDGER_BROKEN otherwise. */
int checkpoint_verify(struct bytes note, const char *origin, const uint8_t pub[SIGN_PUBLIC_BYTES],
                      struct checkpoint *ret, struct error *err) PK_CHECK;

#endif
