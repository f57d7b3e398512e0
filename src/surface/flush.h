/* Syncs of a file system while a restore goes on: what was written through the page cache goes to the disk while more
 * is decoded, so that the sync at the end, which is still the caller's, finds little left. */
#ifndef PK_SURFACE_FLUSH_H
#define PK_SURFACE_FLUSH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeroed before flush_start. flush_count and flush_ask are for any thread, and do nothing before flush_start and after
 * flush_end. */
struct flush {
    int fd;  /* in the file system; the caller's, open until flush_end */
    int why; /* errno of the first sync that failed, 0: none. A file system tells once what it could not write. */
    bool started, asked, ending;
    atomic_uint_fast64_t cached; /* bytes written into the page cache */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
};

/* Without a thread, if it could not be had, nothing is synced before the end. */
void flush_start(struct flush *f, int fd);
/* That much more is in the page cache; asks for a sync when there is enough to be worth one. */
void flush_count(struct flush *f, uint64_t bytes);
void flush_ask(struct flush *f); /* for a sync; returns at once */
/* Waits for the sync that runs, and when it is `wanted` for what was asked for besides. Answers why, which is to fail
 * the restore. */
int flush_end(struct flush *f, bool wanted);

#endif
