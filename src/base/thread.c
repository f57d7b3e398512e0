#include "base/thread.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>

atomic_int stop_signal;

int thread_start(pthread_t *ret, void *(*run)(void *), void *arg, struct error *err) {
    /* Signals are the first thread's business; a handler that ran elsewhere would not end its blocking call. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(ret, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0) return 0;
    errno = rc;
    return error_set_errno(err, ERR_THREAD, "start a thread");
}

unsigned thread_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

static _Thread_local bool stop_held;

void stop_hold(bool held) {
    stop_held = held;
}

int stop_check(struct error *err) {
    int s = atomic_load_explicit(&stop_signal, memory_order_relaxed);
    if (s == 0 || stop_held) return 0;
    if (s == SIGINT) return error_set(err, ERR_INTERRUPTED, "interrupted by SIGINT");
    return error_set(err, ERR_TERMINATED, "told to stop by signal %d", s);
}
