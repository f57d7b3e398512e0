/* Threads, bounded queues and a worker pool that lets the waiting help. */
#ifndef PK_BASE_THREAD_H
#define PK_BASE_THREAD_H

#include "base/error.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

int thread_start(pthread_t *ret, void *(*run)(void *), void *arg, struct error *err) PK_CHECK;
/* From here on this thread, and those that it starts, give way to others with processors and disks, as far as the
 * system lets them: there is no way back for who is not root. */
void thread_give_way(void);
/* Where processors are shared out between sessions first (autogroup), a thread's priority means nothing to other
 * sessions: from here on all of this one's processes give way, until as many calls of session_take_back. Nothing where
 * the system has no such thing, or somebody has set another value than the usual. A killed process leaves the session
 * as it is. */
void session_give_way(void);
void session_take_back(void);
/* One of the places that are left; false: there is none. Given back by adding one. */
static inline bool place_take(atomic_uint *left) {
    unsigned n = atomic_load(left);
    while (n > 0 && !atomic_compare_exchange_weak(left, &n, n - 1)) continue;
    return n > 0;
}
unsigned thread_cpus(void); /* usable CPUs of this process, at least 1 */

/* A bounded multi-producer, multi-consumer queue of pointers. */
struct queue;
int queue_new(size_t slots, struct queue **ret, struct error *err) PK_CHECK;
void queue_free(struct queue *q);          /* NULL is fine; must be empty of owners */
bool queue_push(struct queue *q, void *p); /* waits for room; false once closed */
bool queue_pop(struct queue *q, void **ret_p); /* waits; false once closed and empty */
bool queue_try_pop(struct queue *q, void **ret_p); /* false at once when there is nothing */
void queue_close(struct queue *q);

/* A pool of worker threads over one bounded queue of tasks. A task never blocks on another task. pool_submit waits for room
 * by running queued tasks itself, so a producer on a machine with few cores is never idle. */
struct pool;
typedef void (*pool_task)(void *arg);
int pool_new(unsigned threads, size_t slots, struct pool **ret, struct error *err) PK_CHECK;
void pool_submit(struct pool *p, pool_task run, void *arg);
void pool_drain(struct pool *p); /* helps until every submitted task has ended */
void pool_free(struct pool *p);  /* drains first; NULL is fine */

/* Set by signal handlers (SIGINT 2, SIGTERM 15), 0 otherwise. Long loops ask stop_check() now and then. */
extern atomic_int stop_signal;
int stop_check(struct error *err) PK_CHECK; /* ERR_INTERRUPTED or ERR_TERMINATED when asked to stop */
/* While it is held, stop_check in this thread finds nothing: for what must come to its end, or be undone. */
void stop_hold(bool held);

#endif
