/* Sets, as the fold of the log knows them: entries set/v1 (a backup of several surfaces in one run) and set-restore/v1.
 * Recovery points are what they are without any set; these entries name them by place and digest, and say what they are
 * together. */
#ifndef PK_REPO_SET_H
#define PK_REPO_SET_H

#include "repo/repo.h"

#define PREDICATE_SET PREDICATE_PREFIX "set/v1"
#define PREDICATE_SET_RESTORE PREDICATE_PREFIX "set-restore/v1"
#define SET_MEMBERS_MAX 64

/* Strings and arrays are owned by the repository until the next sync. */
struct set_info {
    uint64_t seq;
    struct digest entry;      /* of the envelope */
    char id[SNAPSHOT_ID_MAX]; /* set-20260216-070000Z-1f2e3d4c */
    char *environment, *name; /* "prod", "all" */
    int64_t started_ns, completed_ns, claimed_ns;
    char consistency[16]; /* "quiesced", "per-surface", "fuzzy"; "none" of a set without members */
    bool complete;        /* every surface of it has a whole recovery point in it */
    uint64_t *members;    /* places of their receipts, in the order of restoring */
    size_t member_count;
    unsigned missing;        /* surfaces that have none in it */
    int64_t restored_ns;     /* when it was last restored whole, with every check passed; 0: never */
    int64_t restore_took_ns; /* how long that took */
};
size_t repo_set_count(const struct repo *r);
const struct set_info *repo_set(const struct repo *r, size_t i); /* in log order; until the next sync */

#endif
