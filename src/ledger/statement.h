/* in-toto Statement v1 (in-toto/attestation, spec/v1/statement.md): the payload of every envelope. What a predicate
 * means is the business of the layers above. Subjects need a digest each; ours is always SHA-256. */
#ifndef PK_LEDGER_STATEMENT_H
#define PK_LEDGER_STATEMENT_H

#include "ledger/ledger.h"

/* A statement with no subject yet. Owns `predicate` (an object) in every case, also when it fails. */
int statement_new(const char *predicate_type, json_t *predicate, json_t **ret, struct error *err) PK_CHECK;
int statement_add_subject(json_t *statement, const char *name, const struct digest *sha256, struct error *err) PK_CHECK;
/* Shape of a statement: _type, at least one subject and each with a digest, predicateType, predicate. ERR_JSON
 * otherwise. */
int statement_check(const json_t *statement, struct error *err) PK_CHECK;
/* Of a checked statement; borrowed. */
const char *statement_type(const json_t *statement);
json_t *statement_predicate(const json_t *statement);
/* Subject i: name (NULL when it has none) and SHA-256 (ERR_JSON when it has another digest only). */
int statement_subject(const json_t *statement, size_t i, const char **ret_name, struct digest *ret,
                      struct error *err) PK_CHECK;

#endif
