/* Writing a large file past the page cache, through an aligned buffer; of a very large one each is written by a second
 * thread while the next is filled. One file at a time, by one thread. */
#ifndef PK_SURFACE_FILES_BOUNCE_H
#define PK_SURFACE_FILES_BOUNCE_H

#include "base/error.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define BOUNCE_BYTES (1u << 20)
#define BOUNCE_ALIGN 4096u

/* Where it goes. */
struct bounce_file {
    int fd;           /* with O_DIRECT; replaced by one without where blocks are coarser than ours */
    int dir;          /* to open it again by `comp` */
    const char *comp;
    const char *text; /* its name, for messages */
};
/* Zeroed before the first bounce_ready. */
struct bounce {
    uint8_t *p; /* BOUNCE_BYTES to be filled; another after bounce_write */
    uint8_t *other;
    bool started, busy, ending; /* started: there is a thread */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct bounce_file *file; /* of the write that is on its way, which is judged by bounce_wait */
    size_t n;
    uint64_t at;
    int rc;
    struct error err;
};

bool bounce_ready(struct bounce *b); /* makes p, if need be; false: no memory */
void bounce_rest(struct bounce *b);  /* after bounce_wait: no second thread and buffer, until they are wanted again */
void bounce_free(struct bounce *b);
/* n bytes of p go to byte `at` of the file. `behind`: they may still be on their way when it returns, and *f, which stays
 * the caller's, is left alone until bounce_wait. */
int bounce_write(struct bounce *b, struct bounce_file *f, size_t n, uint64_t at, bool behind, struct error *err) PK_CHECK;
int bounce_wait(struct bounce *b, struct error *err) PK_CHECK; /* also after an error, before *f goes */

#endif
