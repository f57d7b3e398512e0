/* Folders held open. Everything below one is reached by a single component from its descriptor, so paths may be longer
 * than the system's limit and nobody can redirect a path on its way. Descriptors are scarce, so a folder that nobody
 * uses may be closed and is opened again from its parent when needed, and then must be the same folder.
 *
 * 1. A dir with uses > 0 or pinned has fd >= 0.
 * 2. fd, uses and pinned change only under the lock of `dirs`.
 * 3. A dir holds a reference to its parent.
 */
#ifndef PK_SURFACE_FILES_DIRS_H
#define PK_SURFACE_FILES_DIRS_H

#include "base/seam.h"
#include "base/thread.h"

struct dir {
    struct dir *up;   /* NULL for a base, which stays open */
    const char *comp; /* its name in `up`; a base's path, for messages */
    atomic_uint refs;
    unsigned depth;
    int fd;
    DIR *stream; /* owns fd when it is set */
    unsigned uses;
    bool pinned;
    uint64_t dev, ino; /* of the first opening; 0, 0 before */
};
struct dirs {
    pthread_mutex_t lock;
    atomic_uint open;
    bool noatime;
    void (*free)(struct dir *); /* frees the memory of one */
};

/* Every DIRS_STEP-th level stays open in a deep descent, so that opening again is never long. */
#define DIRS_STEP 32

void dirs_init(struct dirs *s, bool noatime, void (*free)(struct dir *));
void dirs_end(struct dirs *s);

/* Open a base by path, which is the administrator's: links in it are followed. -1 with errno. */
int dir_open_base(struct dirs *s, struct dir *d, const char *path);
void dir_init(struct dir *d, struct dir *up, const char *comp); /* one reference, takes one of up */
struct dir *dir_ref(struct dir *d);
void dir_unref(struct dirs *s, struct dir *d); /* closes and frees with the last one; NULL is fine */
/* The descriptor, opened when it has to be, good until dir_put; -1 with errno, ESTALE when the folder was exchanged. */
int dir_get(struct dirs *s, struct dir *d);
void dir_put(struct dirs *s, struct dir *d);
int dir_pin(struct dirs *s, struct dir *d); /* opens and keeps open; -1 with errno */
void dir_unpin(struct dirs *s, struct dir *d);
/* The folder's stream for reading entries, from a pinned dir; kept with it. NULL with errno. */
DIR *dir_stream(struct dirs *s, struct dir *d);

#endif
