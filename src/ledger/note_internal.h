/* Pieces of signed notes, for the files that read them. */
#ifndef PK_LEDGER_NOTE_INTERNAL_H
#define PK_LEDGER_NOTE_INTERNAL_H

#include "ledger/cosign.h"
#include "ledger/note.h"

#define NOTE_DASH "\xe2\x80\x94 " /* em dash, space */

int note_id(const char *name, enum note_kind_of_key kind, const uint8_t pub[SIGN_PUBLIC_BYTES],
            uint8_t ret[NOTE_KEY_ID_BYTES], struct error *err) PK_CHECK;
/* The next line without its newline; false when there is no newline left. */
bool note_line(struct bytes *rest, struct bytes *ret);
/* A decimal number without leading zeros. */
bool note_number(struct bytes line, uint64_t *ret);
/* Base64 of exactly `len` bytes. */
bool note_base64(struct bytes text, uint8_t *ret, size_t len);

#endif
