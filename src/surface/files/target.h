/* Where a restore goes. */
#ifndef PK_SURFACE_FILES_TARGET_H
#define PK_SURFACE_FILES_TARGET_H

#include "surface/surface.h"

enum target_mode { TARGET_NEW, TARGET_IN_PLACE, TARGET_SWAP };
struct target {
    enum target_mode mode;
    char *path;   /* absolute; in place: the folder below which items are replaced */
    char *parent; /* of path; "/" for "/" */
    char *name;   /* its last component */
};
/* Decide from the request: scratch, given, in place, swap, or by default beside the live root. ERR_USAGE for what does
 * not go together. Free with target_free. */
int target_decide(const struct surface_context *ctx, const struct restore_request *req, struct target *ret,
                  struct error *err) PK_CHECK;
void target_free(struct target *t);
/* What is at path now. ERR_IO_ESCAPE when it is a symbolic link, ERR_IO_EXISTS when it is no folder. */
int target_look(const struct target *t, bool *ret_exists, bool *ret_empty, struct error *err) PK_CHECK;

#endif
