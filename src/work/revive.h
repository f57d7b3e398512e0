/* Bringing back what somebody deleted or overwrote where versions are kept. Only creates: the good version of an object
 * is copied on top of whatever hides it. What retention removed on purpose is not brought back, nor is a key's slot
 * that its owner gave up. Of what is derived from the log, tiles and bundles get their first version back unread, as
 * every reader checks them against the log; the checkpoint is written anew. */
#ifndef PK_WORK_REVIVE_H
#define PK_WORK_REVIVE_H

#include "work/context.h"

#define REVIVE_COMMAND "proofkeep repair --from-versions" /* for messages */

struct revive_totals {
    uint64_t objects; /* in use */
    uint64_t hidden;  /* of them, or slots of keys in force, under a delete marker */
    uint64_t covered; /* of them under other bytes */
    uint64_t derived; /* tiles and bundles of which either holds */
    uint64_t revived; /* put back on top; with dry_run, what would be */
    uint64_t bytes;   /* of these */
    uint64_t lost;    /* no version is good */
    char first_lost[96];
};
/* Of the open repository. Checks each good version in full before it is put back: by the digest in its name, or by the
 * log's chain. What is lost is told as a warning each. ERR_STORE_NO_VERSIONS where none are kept. Interrupted, the next
 * run goes on. */
int work_revive(struct work *w, bool dry_run, struct revive_totals *ret, struct error *err) PK_CHECK;
/* Only counts hidden and covered objects, by the list alone. All 0 where no versions are kept. */
int work_revive_count(struct work *w, struct revive_totals *ret, struct error *err) PK_CHECK;

#endif
