/* Notes of what a capture makes outside of the repository, so that what a killed one left behind can be told from what a
 * recovery point needs, and from what is somebody else's. A note is there before the thing is, and until either the
 * recovery point stands in the log or the thing is gone.
 */
#ifndef PK_SURFACE_CLAIMS_H
#define PK_SURFACE_CLAIMS_H

#include "base/error.h"

#include <stdbool.h>

struct surface_claims {
    void *ctx;
    /* Durable when it returns: the thing of this name, at most 600 bytes, is this backup's. Where the file system of the
     * cache folder has no locks no note is kept, since the dead could not be told from the living; that is 0 too. */
    int (*make)(void *ctx, const char *name, struct error *err);
    /* It was never made, or is gone again. */
    void (*drop)(void *ctx, const char *name);
    /* Calls cb for everything that a backup of this surface claimed which is over, and of which the log has no recovery
     * point. cb: 0 when nothing is left of it, which ends the note; else another backup asks again. */
    int (*dead)(void *ctx, int (*cb)(void *cb_ctx, const char *name), void *cb_ctx, struct error *err);
    const char *job; /* the id of the backup whose capture this is */
    /* Whether the backup of that id has a recovery point in the log, as it was last read: it is over then, on whichever
     * host it ran. */
    bool (*stored)(void *ctx, const char *job);
};

#endif
