#include "base/thread.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GIVE_WAY_NICE 10
/* linux/ioprio.h, which not every libc's headers come with: the lowest of the best-effort class. */
#define IO_OF_THREAD 1
#define IO_LOWEST ((2 << 13) | 7)

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

void thread_give_way(void) {
    const struct sched_param none = {0};
    const id_t self = (id_t)syscall(SYS_gettid);
    errno = 0;
    const bool nicer = getpriority(PRIO_PROCESS, self) >= GIVE_WAY_NICE || errno != 0;
    (void)!sched_setscheduler(0, SCHED_BATCH, &none);
    if (!nicer) (void)!setpriority(PRIO_PROCESS, self, GIVE_WAY_NICE);
    (void)!syscall(SYS_ioprio_set, IO_OF_THREAD, 0, IO_LOWEST);
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
