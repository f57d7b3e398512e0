/* Receipts of sets: of a backup of several surfaces in one run (set/v1), which is the set's manifest as well, and of
 * its restore (set-restore/v1). Each surface has a receipt of its own besides, which these name by digest. Members are
 * those that the repository's fold reads (repo/set_log.c), and more for people; doc/format/repository.md has them.
 * Texts are cleaned of secrets; results are owned by the caller. */
#ifndef PK_EVIDENCE_SET_H
#define PK_EVIDENCE_SET_H

#include "evidence/redact.h"
#include "repo/set.h"

/* Everything is borrowed. */
struct set_record {
    const char *id, *environment, *name;
    int64_t started_ns, completed_ns;
    const char *consistency; /* "quiesced", "per-surface", "fuzzy" or "none" */
    const json_t *members; /* [{"surface", "backup_id", "seq", "receipt", …}] in the order of restoring; may be empty */
    const json_t *missing; /* [{"surface", "code", "text"}] */
    const json_t *freeze;  /* {"frozen_at", "resumed_at", "held"}; NULL: nothing was frozen */
    bool complete;         /* all members are whole and nothing is missing */
    const char *principal, *notes, *ticket;
};
/* `members` and `missing` together have at most SET_MEMBERS_MAX elements (ERR_INTERNAL). The statement's subject is the
 * set, by the SHA-256 of its members' receipts' digests one after the other. */
int evidence_set(const struct set_record *r, const struct redaction *secrets, json_t **ret, struct error *err) PK_CHECK;

/* The receipt of a set in a copy. Everything is borrowed. */
struct set_copied {
    const json_t
        *source; /* predicate of the source's receipt, with `seq` and `receipt` of its members those of the copy */
    const char *set_id, *source_repository; /* hex */
    uint64_t source_seq;
    struct digest source_entry;
    int64_t copied_ns;
    const char *principal; /* who copied */
};
/* The source's predicate and a member `copy`: {"repository", "seq", "receipt", "copied_at", "principal"}, the source's
 * entry. ERR_INTERNAL when a member has no receipt. */
int evidence_set_copied(const struct set_copied *c, const struct redaction *secrets, json_t **ret,
                        struct error *err) PK_CHECK;

struct set_restore_record {
    const struct set_info *set;
    const char *plan_sha256; /* hex */
    int64_t started_ns, completed_ns;
    int64_t took_ns; /* all runs of the plan together */
    bool succeeded;
    const json_t *members; /* [{"surface", "snapshot", "result", "target", …}] */
    const json_t *checks;  /* [{"check", "surface", "result", …}] */
    const char *principal, *notes;
};
int evidence_set_restore(const struct set_restore_record *r, const struct redaction *secrets, json_t **ret,
                         struct error *err) PK_CHECK;

#endif
