/* A meter that lets so many bytes a second through, for all threads together. */
#ifndef PK_BASE_METER_H
#define PK_BASE_METER_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct meter {
    pthread_mutex_t lock;
    uint64_t bytes_per_s; /* 0: all at once */
    int64_t free_ns;      /* when everything let through so far will have gone */
};
void meter_init(struct meter *m, uint64_t bytes_per_s);
void meter_free(struct meter *m);
/* At most so many of n may go in one piece, so that waits stay short. */
size_t meter_grant(const struct meter *m, size_t n);
/* Sleeps until n bytes may have gone, or the program is told to stop. */
void meter_wait(struct meter *m, size_t n);

#endif
