/* Statements about a snapshot that exists already: a verification, a hold, a restore, a reading. Their members are
 * those that the repository's fold reads (repo/state.c), and more for people. FORGET, DELETE and KEY entries are made
 * where their checks are, in repo/. The subject is the snapshot's receipt: its id and the digest of its envelope; of a
 * reading of all that there is, the log. Texts are cleaned of secrets. Results are owned by the caller.
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

struct read_record {
    const char *verb;                  /* "export", "mount" */
    const struct about *point;         /* which was read; NULL: any could be */
    const char *environment, *surface; /* of the point */
    struct digest log_root;            /* without a point: of the log, */
    uint64_t log_size, points;         /* its entries, and the live points among them */
    const char *target;                /* folder */
    int64_t started_ns, completed_ns;  /* completed_ns 0: it was begun, and nothing is said of its end */
    bool succeeded;
    uint64_t files, bytes; /* that were written, when it succeeded */
    const char *principal;
    const json_t *extra; /* further members; may be NULL */
};
/* PREDICATE_READ: data left the repository by other ways than a restore. Names of items are not in it. */
int evidence_read(const struct read_record *r, const struct redaction *secrets, json_t **ret,
                  struct error *err) PK_CHECK;

#endif
