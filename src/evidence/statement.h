/* Statements about a snapshot that exists already: a verification, a hold, a restore. Their members are those that the
 * repository's fold reads (repo/state.c), and more for people. FORGET, DELETE and KEY entries are made where their
 * checks are, in repo/. The subject is always the snapshot's receipt: its id and the digest of its envelope. Texts are
 * cleaned of secrets. Results are owned by the caller.
 */
#ifndef PK_EVIDENCE_STATEMENT_H
#define PK_EVIDENCE_STATEMENT_H

#include "evidence/levels.h"
#include "evidence/redact.h"

/* Which snapshot: as snapshot_info has it. */
struct about {
    const char *id; /* backup_id */
    uint64_t seq;
    struct digest entry; /* of the receipt's envelope */
};

/* PREDICATE_VERIFICATION, with the words of in-toto's test-result predicate: result PASSED, WARNED or FAILED, and the
 * rungs as names of tests. ERR_UNVERIFIABLE for NOT_CHECKED: what did not run leaves no result. `extra` (may be NULL):
 * further members. */
int evidence_verification(const struct about *a, const struct verification_result *v, const char *principal,
                          const json_t *extra, const struct redaction *secrets, json_t **ret,
                          struct error *err) PK_CHECK;

enum hold_action { HOLD_PLACE = 0, HOLD_RELEASE = 1 };
/* `set`: the id of the set as a member of which it is held, NULL for one by itself. */
int evidence_hold(const struct about *a, enum hold_action action, const char *set, const char *reason,
                  const char *principal, const struct redaction *secrets, json_t **ret, struct error *err) PK_CHECK;

struct restore_record {
    const char *environment, *surface; /* of the target */
    const char *target;                /* folder, database… */
    int64_t started_ns, completed_ns;
    bool succeeded;
    uint64_t items, bytes;
    const struct digest *plan;                      /* of the plan that was run; NULL without */
    const struct verification_result *verification; /* of what was restored; NULL: none ran */
    const char *principal, *notes;                  /* notes: for a failure, its message */
    const json_t *extra;                            /* further members; may be NULL */
};
int evidence_restore(const struct about *a, const struct restore_record *r, const struct redaction *secrets,
                     json_t **ret, struct error *err) PK_CHECK;

#endif
