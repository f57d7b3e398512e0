/* Backup receipts: one per job, success or failure, in the shape of `io.kfm.backup-receipt.v1`
 * (doc/reference/backup-receipt.schema.json). The receipt is the predicate of an in-toto statement; for a success the
 * statement's subjects are the artifacts, for a failure it is the job.
 *
 * What `integrity` says. A receipt is written when the backup ends, before anything was verified, and an entry of the
 * log is never changed. So at backup time `validated` is false, `validated_at` is null, and `validation_method` is
 * "checksum": the way stored bytes were compared while they were written, which is not counted as a validation. A
 * verification that ran later is a statement of its own; a receipt written afterwards (beside an export, in an audit
 * folder) may be given its result, and then `validated_at` is when it ended and `validation_method` how it was done.
 * `validated` is true only when that result is VERIFIED at `checksum` or above. A reader that finds `validated_at` null
 * knows that nothing was checked; one that finds a time and false knows that a check ran and did not pass.
 */
#ifndef PK_EVIDENCE_RECEIPT_H
#define PK_EVIDENCE_RECEIPT_H

#include "evidence/levels.h"
#include "evidence/redact.h"

#define RECEIPT_SCHEMA "io.kfm.backup-receipt.v1"
#define BACKUP_ID_BYTES 40

enum receipt_status { RECEIPT_FAILURE = 0, RECEIPT_SUCCESS = 1 };
enum receipt_initiator { INITIATED_BY_AUTOMATION = 0, INITIATED_BY_HUMAN = 1 };

struct receipt_artifact {
    const char *uri;
    struct digest sha256;
    uint64_t bytes;
};

/* Everything is borrowed. NULL texts become "", which means unset: nothing is guessed. */
struct receipt {
    const char *backup_id, *environment, *surface;
    const char *method; /* "snapshot" | "logical_dump" | "physical_basebackup" | "rebuild_only" */
    int64_t started_ns, completed_ns;
    enum receipt_status status;
    const struct receipt_artifact *artifacts; /* at least one for a success */
    size_t artifact_count;
    const struct verification_result *verification; /* NULL: none ran */
    const char *git_repo, *git_sha, *change_ticket;
    enum receipt_initiator initiated_by;
    const char *principal;
    const char *notes;
    const json_t
        *extra; /* further members (an object), e.g. "repository", "recovery_point", "versions"; NULL for none */
};

/* "bkp-20260216-070000Z-1f2e3d4c"; the last part is random. */
int receipt_backup_id(int64_t started_ns, char ret[BACKUP_ID_BYTES], struct error *err) PK_CHECK;
/* The receipt itself. URIs, git, principal, notes and every text of `extra` are cleaned of secrets. ERR_INTERNAL for
 * what the schema does not allow: unknown method, times that run backwards, a success without artifacts, extra members
 * that clash. */
int receipt_predicate(const struct receipt *r, const struct redaction *secrets, json_t **ret,
                      struct error *err) PK_CHECK;
/* The statement around it. A failure's subject is "job/<backup_id>" with the SHA-256 of the predicate as json_write
 * gives it (compact, keys sorted, ASCII), before the log adds its "ledger" member. */
int receipt_statement(const struct receipt *r, const struct redaction *secrets, json_t **ret,
                      struct error *err) PK_CHECK;

#endif
