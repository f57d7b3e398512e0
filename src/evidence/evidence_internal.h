/* Members of predicates, as the files of this layer write them. */
#ifndef PK_EVIDENCE_EVIDENCE_INTERNAL_H
#define PK_EVIDENCE_EVIDENCE_INTERNAL_H

#include "crypto/crypto.h"
#include "evidence/redact.h"

int evidence_put_text(json_t *o, const char *key, const char *text, const struct redaction *s,
                      struct error *err) PK_CHECK;
int evidence_put_time(json_t *o, const char *key, int64_t ns, struct error *err) PK_CHECK;
int evidence_put_digest(json_t *o, const char *key, const struct digest *d, struct error *err) PK_CHECK;
/* `empty` (an object or array, owned here) becomes a member; *ret is it, borrowed, to be filled in place. */
int evidence_put_new(json_t *o, const char *key, json_t *empty, json_t **ret, struct error *err) PK_CHECK;
/* Cleaned copies of extra's members (NULL: none). ERR_INTERNAL when one is there already or is the log's own. */
int evidence_put_extra(json_t *o, const json_t *extra, const struct redaction *s, struct error *err) PK_CHECK;

#endif
