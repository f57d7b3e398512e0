/* The recovery points of one repository as a read-only file system:
 *
 *   DIR/<environment>/<surface>/<point>/…   the point's items; a surface of files has its paths from the root on
 *   DIR/<environment>/<surface>/latest      a symbolic link to the newest complete point
 *
 * A point's folder is named by its id, with ".partial" when the backup was, or ".damaged" when the newest verification
 * of it failed; both open under the bare id, too. Points that are added or forgotten meanwhile show within MOUNT_SYNC_S
 * seconds. Items that are files carry their metadata; others are files of mode 0400 with the point's time. Folders that
 * hold items and are none themselves have mode 0755.
 *
 * Every chunk is checked by its id before a byte of it is answered; what is damaged or missing answers EIO, and a
 * warning says why. The SHA-256 of a whole file is checked when it is read in order from its start to its end.
 */
#ifndef PK_WORK_MOUNT_H
#define PK_WORK_MOUNT_H

#include "work/context.h"

#define MOUNT_SYNC_S 2

struct mount_options {
    const char *dir;            /* an empty folder that is there */
    bool allow_other;           /* other users may look in, as modes and owners allow */
    void (*mounted)(void *ctx); /* told when it can be looked into; may be NULL */
    void *ctx;
};
/* Opens the repository, mounts, says so in its log (receipt.h), and serves until a signal (stop_signal), or until DIR
 * is unmounted by others; then DIR is the empty folder that it was. ERR_MOUNT when the system cannot or will not, or
 * DIR is not empty; nothing stays mounted after a failure. A process that is killed leaves a dead mount, which
 * `fusermount3 -u DIR` ends. */
int mount_run(struct work *w, const struct mount_options *o, struct error *err) PK_CHECK;

#endif
