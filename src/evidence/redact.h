/* Keeping credentials out of evidence. Every free text that goes into a receipt or another statement passes here.
 *
 * Removed, and replaced by "[redacted]":
 *  - every byte string that the caller names as a secret;
 *  - user and password in URLs ("scheme://user:pass@host");
 *  - what follows a word like password, token or secret and '=' or ':', up to the next white space, or a whole quoted
 * value;
 *  - bearer tokens, AWS access key ids, PEM private keys.
 * It removes too much rather than too little. It is the second line: the first is never to put a secret into a text.
 * Control characters become spaces and bytes that are not UTF-8 become '?', so that the result is always JSON text.
 */
#ifndef PK_EVIDENCE_REDACT_H
#define PK_EVIDENCE_REDACT_H

#include "base/bytes.h"
#include "base/json.h"

#define REDACTED "[redacted]"

/* Secrets known to the caller, borrowed for the call. Empty ones are passed over. */
struct redaction {
    const struct bytes *secrets;
    size_t count;
};
/* Append the clean text to ret. r may be NULL. */
int redact_text(const char *text, const struct redaction *r, struct buf *ret, struct error *err) PK_CHECK;
/* The same for the caller's secrets alone, as messages have words that look like credentials and are none. A text that was
 * cut in the middle of a secret loses that part too, from 4 bytes on. */
int redact_known(const char *text, const struct redaction *r, struct buf *ret, struct error *err) PK_CHECK;
/* A deep copy in which every string value is clean; member names stay. *ret is owned by the caller. */
int redact_json(const json_t *in, const struct redaction *r, json_t **ret, struct error *err) PK_CHECK;
/* The clean text as a JSON string; NULL text gives "". */
int redact_string(const char *text, const struct redaction *r, json_t **ret, struct error *err) PK_CHECK;

#endif
