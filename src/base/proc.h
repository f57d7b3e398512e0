/* Subprocesses: argv only, never a shell; chosen environment only, never secrets in argv or environment. */
#ifndef PK_BASE_PROC_H
#define PK_BASE_PROC_H

#include "base/bytes.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_spec {
    const char *const *argv; /* argv[0] is a path or is looked up in PATH; NULL-terminated */
    const char *const *env;  /* whole environment, NULL-terminated; NULL means a minimal one: PATH, LANG=C.UTF-8, LC_ALL=C.UTF-8 */
    const char *user;        /* run as this user (setgid, initgroups, setuid) when we are root; NULL keeps ours */
    const char *cwd;         /* NULL means "/" */
    bool pipe_in;            /* give the parent a pipe to its stdin; else /dev/null */
    bool pipe_out;           /* give the parent a pipe from its stdout; else collected like stderr */
    int keep_fd;             /* one more descriptor the child inherits as 3; -1 for none */
    int64_t timeout_ns;      /* it is stopped like on SIGTERM when it runs for longer; 0: it may run for ever */
};

/* A SIGINT or SIGTERM that we get while it runs (stop_signal) is passed on: SIGTERM to its process group, SIGKILL 5 s
 * later. One that was asked for before it started is not, so that clean-up programs can run after a stop. */
struct proc;
/* Start it. stderr (and stdout without pipe_out) is read by a thread of ours; its last 8 KiB are kept for messages.
 * ERR_PROC_SPAWN when it could not be started, exec failures included. The child dies when we die (PDEATHSIG). */
int proc_start(const struct proc_spec *spec, struct proc **ret, struct error *err) PK_CHECK;
int proc_in(struct proc *p);  /* borrowed descriptor, -1 without pipe_in */
int proc_out(struct proc *p); /* borrowed descriptor, -1 without pipe_out */
void proc_close_in(struct proc *p);
/* Wait for the end. 0 when it exited 0; ERR_PROC_FAILED else, with status or signal and the last lines of its output;
 * ERR_INTERRUPTED or ERR_TERMINATED when a stop was passed on and ended it; ERR_PROC_FAILED when its time was over. Closes both pipes first: read proc_out to its
 * end before. ret_status may be NULL; it is the exit status, or 128 + signal, and is set on ERR_PROC_FAILED too. */
int proc_wait(struct proc *p, int *ret_status, struct error *err) PK_CHECK;
bool proc_overdue(struct proc *p); /* after proc_wait: it was stopped since its time was over */
bool proc_running(struct proc *p); /* it has not ended yet */
/* The last lines it printed, NUL-terminated, borrowed until proc_free. Only whole after proc_wait. */
const char *proc_output(struct proc *p);
/* Kills (SIGTERM, then SIGKILL after 5 s) and reaps when it still runs. NULL is fine. */
void proc_free(struct proc *p);
/* Start, collect all stdout (at most max_bytes) into out (may be NULL), wait. */
int proc_run(const struct proc_spec *spec, struct buf *out, struct error *err) PK_CHECK;

/* Let `run` go on in a process of its own that outlives us: a session of its own, standard streams on /dev/null, and it ends
 * when run returns, without the clean-up of ours. Only before any thread was started. */
int proc_detach(void (*run)(void *), void *arg, struct error *err) PK_CHECK;

#endif
