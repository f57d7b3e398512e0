/* surface/claims.h as files of the repository's cache folder, claims/<16 hex>.json, each locked by the backup whose it is
 * for as long as it runs. A note has the id of its backup, so that the log says whether that came to be. */
#ifndef PK_WORK_CLAIMS_H
#define PK_WORK_CLAIMS_H

#include "surface/claims.h"
#include "work/context.h"

struct work_claims {
    struct surface_claims table; /* for the driver; one thread */
    struct work *work;
    const char *job; /* the backup's id; outlives it */
    char label[260], folder[4200];
    struct claim *of;
    size_t n, cap;
    char (*over)[24]; /* notes that nobody held before the log was read */
    size_t n_over, cap_over;
};
/* For one attempt of a backup into the open repository, before its writer is opened: where there are notes that nobody holds, the log
 * is read once more, and dead tells of those alone. Nothing is made before a driver asks. *ret stays where it is; to be closed whatever was answered. */
int work_claims_open(struct work *w, const struct work_surface *s, const char *job, struct work_claims *ret, struct error *err) PK_CHECK;
/* stored: the recovery point is in the log, and needs what was claimed; else the notes stay for the next backup. */
void work_claims_close(struct work_claims *c, bool stored);

#endif
