/* Keys on paper: lines that a person can type, each with a check of its own that finds the character that was mistyped.
 *
 * A line holds 26 characters of data and 3 of check, in Crockford's base 32 (digits and letters without I, L, O and U), in
 * groups of five. The check makes the line, with its letter and its number before it, a codeword of a Reed-Solomon code of
 * length 31 over GF(32) and distance 4: one wrong character is found and placed, two are always noticed, a line in the
 * place of another is told. The bytes are described in doc/format/keys.md, with vectors. */
#ifndef PK_CRYPTO_KIT_H
#define PK_CRYPTO_KIT_H

#include "crypto/crypto.h"

#define KIT_LINE_CHARS 29
#define KIT_LINES_MAX 31    /* of one part */
#define KIT_BYTES_MAX 500   /* of one part */
#define KIT_WORD_BYTES 12   /* "lusab-babad", NUL */
enum kit_part { KIT_KEY = 1, KIT_SLOT = 2 }; /* lines K1, K2; lines S1 to at most S31 */

/* Append the lines of a part, "K1  XXXXX XXXXX XXXXX XXXXX XXXXX XXXX\n" each. At most KIT_BYTES_MAX bytes of data. The
 * buffer has its room before (a grown one would leave a copy behind), and the caller wipes it. */
int kit_write(enum kit_part part, struct bytes data, struct buf *ret, struct error *err) PK_CHECK;
/* The check word of a whole kit: two proquints (arXiv:0901.4016) of 32 bits of SHA-256("proofkeep/v1/kit-word" || key). */
void kit_word(struct bytes key32, char out[KIT_WORD_BYTES]);

struct paper_kit {
    struct secret *secret; /* 32 bytes of key, then the bytes of the slot that it opens, where the kit has them */
    size_t slot_bytes;     /* 0: without */
    bool has_word;         /* the check word stood there, and was right */
    bool has_repo_id;
    uint8_t repo_id[16];
};
/* Read a kit that was typed or scanned: lines that begin with K or S and a number, "check word: …" and "repository: …"; any
 * other line is passed over, and so are case, blanks and hyphens, and O for 0, I and L for 1. Lines K1 and K2 must be there;
 * S lines all or none. ERR_KIT names the line, and where it can the character, that is wrong, never what stands there.
 * *ret is untouched then; else the caller frees ret->secret. */
int kit_read(struct bytes text, struct paper_kit *ret, struct error *err) PK_CHECK;

#endif
