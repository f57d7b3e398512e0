/* The receipt of a snapshot that was copied: its source's predicate with the original instants, surface and operator,
 * told by the one who copied it. What was verified of the source is not inherited: `integrity` is as of a new backup.
 * The member `copy` says of what it is a copy:
 *
 *   "copy": {"repository": <id of the source, hex>, "seq": <its entry there>, "receipt": <SHA-256 of that entry's
 * envelope>, "envelope": <index/ object that keeps the envelope>, "copied_at": <RFC 3339>, "principal": <who copied>}
 */
#ifndef PK_EVIDENCE_COPY_H
#define PK_EVIDENCE_COPY_H

#include "evidence/receipt.h"

/* Everything is borrowed. */
struct copied {
    const json_t *source;     /* predicate of the source's receipt */
    const json_t *repository; /* the new member of that name, but for kind and complete, which are the source's */
    const struct receipt_artifact *artifact;
    const char *source_repository; /* hex */
    uint64_t source_seq;
    struct digest source_entry, kept;
    int64_t copied_ns;
    const char *principal;
};
/* ERR_LEDGER_BROKEN for a source that is no receipt of a snapshot. */
int evidence_copied(const struct copied *c, const struct redaction *secrets, json_t **ret, struct error *err) PK_CHECK;

#endif
