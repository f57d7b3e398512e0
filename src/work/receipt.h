/* The statements of the use cases, made with evidence's builders and put into the log. */
#ifndef PK_WORK_RECEIPT_H
#define PK_WORK_RECEIPT_H

#include "work/context.h"

struct job {
    char id[SNAPSHOT_ID_MAX];  /* bkp-YYYYMMDD-HHMMSSZ-<shortid> */
    int64_t started_ns;
    const char *method;        /* "snapshot", "logical_dump" … */
    const char *note, *ticket; /* may be NULL */
    const json_t *fallback;    /* for the receipt, when it goes to another repository than it should; borrowed, may be NULL */
    const char *before_restore; /* the plan that is about to write over what is there; NULL: none is */
};
int job_begin(struct job *j, const char *prefix, struct error *err) PK_CHECK;
/* Receipt of a finished writer: its subject and artifact are the pack list. `complete` false: partial, so never "success". */
int receipt_success(struct work *w, const struct work_surface *s, const struct job *j, struct writer *writer, bool complete, const char *why_partial, json_t **ret, struct error *err) PK_CHECK;
/* Append the receipt of a job that failed; `cause` is what went wrong. Where the log cannot be reached it is kept for later, as all
 * of these (owed.h). Best effort: its own failure is answered, not fatal. */
int receipt_failure(struct work *w, const struct work_surface *s, const struct job *j, const struct error *cause, struct error *err) PK_CHECK;
uint64_t receipt_not_made(const json_t *checks); /* how many of surface_context.checks could not be made */
/* Append a verification's result. Borrowed, may be NULL: detail, the differences; checks, what others than this program
 * said (surface_context.checks), of which those that could not be made are warnings. */
int receipt_verification(struct work *w, const struct snapshot_info *info, enum verify_level level, bool passed,
                         int64_t started_ns, const json_t *detail, const json_t *checks, struct error *err) PK_CHECK;
/* Append a restore's result. `target` names where it went, `before` the backup of what was there, `first` that of
 * before a run that did not end well (empty: none). What came from copies is said. */
int receipt_restore(struct work *w, const struct snapshot_info *info, const char *plan_sha256, const char *before,
                    const char *first, const char *target, bool success, int64_t started_ns, uint64_t bytes,
                    uint64_t items, struct error *err) PK_CHECK;

/* A warning that something is not in the log, and why; hinders nothing. `label` may be NULL. */
void receipt_lost(struct work *w, const char *label, const char *what, const struct error *why);

/* Append that data was read out of the repository by other ways than a restore. That it cannot be said hinders nobody
 * who needs the data: it is a warning. `seq`: of the point; files, bytes: what was written of it. */
void receipt_export(struct work *w, uint64_t seq, const char *target, bool success, int64_t started_ns, uint64_t files,
                    uint64_t bytes);
/* The log as it is known now says which points may be read; those that come later may be, too. */
void receipt_mount(struct work *w, size_t points, const char *target, bool allow_other);

#endif
