/* Keys that sign checkpoints, and the cosignatures of witnesses. Sources: C2SP signed-note, tlog-checkpoint and
 * tlog-cosignature (cosignature/v1, Ed25519). Checking needs no log, no store and no secret. */
#ifndef PK_LEDGER_COSIGN_H
#define PK_LEDGER_COSIGN_H

#include "ledger/note.h"

#define NOTE_NAME_BYTES 200 /* with the NUL */

/* The byte that a key's id and its verifier key begin with. */
enum note_kind_of_key { NOTE_ED25519 = 0x01, NOTE_COSIGNATURE = 0x04 };
struct note_key {
    char name[NOTE_NAME_BYTES];
    enum note_kind_of_key kind;
    uint8_t id[NOTE_KEY_ID_BYTES];
    uint8_t pub[SIGN_PUBLIC_BYTES];
};
/* ERR_USAGE for a name that a note may not carry (empty, space, '+', control, not ASCII, too long). */
int note_key_make(const char *name, enum note_kind_of_key kind, const uint8_t pub[SIGN_PUBLIC_BYTES],
                  struct note_key *ret, struct error *err) PK_CHECK;
/* "<name>+<hex of the id>+<base64 of the kind and the key>", as verifier keys are written. ERR_USAGE for anything else,
 * an id that is not the key's included. */
int note_key_parse(const char *text, struct note_key *ret, struct error *err) PK_CHECK;
int note_key_format(const struct note_key *k, struct buf *ret, struct error *err) PK_CHECK; /* appended, no newline */
/* The secret form that others know: "PRIVATE+KEY+<name>+<id>+<base64 of the kind and the seed>". *ret_seed is owned by
 * the caller. ERR_SECRET, which quotes nothing of it. */
int note_secret_format(const struct note_key *k, struct bytes seed, struct buf *ret, struct error *err) PK_CHECK;
int note_secret_parse(struct bytes text, struct note_key *ret, struct secret **ret_seed, struct error *err) PK_CHECK;

/* A checkpoint's text (up to the blank line) and its signature lines, both borrowed from `note`; nothing is verified.
 * `origin` NULL takes any, and *ret_origin (may be NULL) is where it stands. ERR_LEDGER_BROKEN for what is no
 * checkpoint. */
struct checkpoint_parts {
    struct bytes origin, text, lines;
    struct checkpoint head;
};
int checkpoint_split(struct bytes note, const char *origin, struct checkpoint_parts *ret, struct error *err) PK_CHECK;
/* Whether a line by this key is there and holds. ret_time_s (may be NULL) is a cosignature's own time, 0 otherwise; of
 * several the newest counts. ERR_LEDGER_BROKEN when there is none, or when one that names the key does not hold. */
int checkpoint_signed_by(const struct checkpoint_parts *p, const struct note_key *k, int64_t *ret_time_s,
                         struct error *err) PK_CHECK;
/* A signature line over the text, appended to `ret`: of the kind that the key is. time_s is a cosignature's. */
int checkpoint_line(struct bytes text, const struct note_key *k, struct bytes seed, int64_t time_s, struct buf *ret,
                    struct error *err) PK_CHECK;

#endif
