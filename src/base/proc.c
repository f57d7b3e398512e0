/* A child process and the thread that watches it.
 *
 * 1. The watcher forks, so the child's PDEATHSIG, which acts when the forking thread ends, acts only when we all do.
 * 2. The watcher alone reaps, under the lock and with `ended` set in the same breath; so whoever holds the lock and
 * sees `ended` unset may signal the pid.
 * 3. The watcher ends when the child has ended, even when a grandchild keeps the output pipe open.
 */
#include "base/proc.h"
#include "base/proc_internal.h"
#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TAIL_BYTES 8192
#define TICK_MS 100
#define GRACE_NS (5 * NS_PER_S)

struct proc {
    pthread_t watcher;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct proc_launch *launch; /* until it was started */
    struct error *launch_err;
    bool launched, ended, joined;
    bool watch_failed; /* the status is not known */
    bool stopped;      /* a stop of ours was passed on */
    bool overdue;      /* its time was over */
    int stop_before;   /* stop_signal at the start */
    int64_t kill_at;   /* when SIGKILL follows SIGTERM; 0 when nothing was asked */
    int64_t timeout, deadline; /* ns; 0: none */
    pid_t pid;
    int status;
    int pid_fd, output_fd;
    int in, out;
    char name[128];
    size_t tail_len;
    bool tail_cut;
    char tail[2 * TAIL_BYTES];
    char shown[TAIL_BYTES + 1];
};

static void launch_free(struct proc_launch **l) {
    if (!*l) return;
    for (int i = 0; i < 3; i++) io_close(&(*l)->fds[i]);
    io_close(&(*l)->report_fd);
    seam_free(*l);
    *l = NULL;
}

static void tail_add(struct proc *p, const char *s, size_t n) {
    pthread_mutex_lock(&p->lock);
    if (p->tail_len + n > sizeof p->tail) {
        /* n is at most half, so half can stay. */
        size_t keep = p->tail_len < TAIL_BYTES ? p->tail_len : TAIL_BYTES;
        memmove(p->tail, p->tail + p->tail_len - keep, keep);
        p->tail_len = keep;
        p->tail_cut = true;
    }
    memcpy(p->tail + p->tail_len, s, n);
    p->tail_len += n;
    pthread_mutex_unlock(&p->lock);
}

/* Reads what there is. At its end or on failure the descriptor is closed; the child's status is what counts. */
static void output_read(struct proc *p) {
    char block[4096];
    while (p->output_fd >= 0) {
        ssize_t n = seam_read(p->output_fd, block, sizeof block);
        if (n > 0) {
            tail_add(p, block, (size_t)n);
            continue;
        }
        if (n < 0 && errno == EAGAIN) return;
        io_close(&p->output_fd);
    }
}

/* The lock is held. A group, so that what a script started goes with it. */
static void group_signal(struct proc *p, int sig) {
    if (p->launched && !p->ended && p->pid > 0) kill(-p->pid, sig);
}

static void kill_ask(struct proc *p) {
    if (p->kill_at) return;
    group_signal(p, SIGTERM);
    p->kill_at = time_monotonic_ns() + GRACE_NS;
}

static void watch_tick(struct proc *p) {
    pthread_mutex_lock(&p->lock);
    if (!p->stop_before && !p->stopped && atomic_load(&stop_signal)) {
        p->stopped = true;
        kill_ask(p);
    }
    if (p->deadline && !p->kill_at && time_monotonic_ns() >= p->deadline) {
        p->overdue = true;
        kill_ask(p);
    }
    if (p->kill_at && time_monotonic_ns() >= p->kill_at) group_signal(p, SIGKILL);
    pthread_mutex_unlock(&p->lock);
}

static void watch(struct proc *p) {
    for (;;) {
        struct pollfd fds[2] = {{p->pid_fd, POLLIN, 0}, {p->output_fd, POLLIN, 0}};
        int n = seam_poll(fds, 2, TICK_MS);
        if (n < 0) {
            pthread_mutex_lock(&p->lock);
            p->watch_failed = true;
            group_signal(p, SIGKILL);
            pthread_mutex_unlock(&p->lock);
        }
        if (n > 0 && fds[1].revents) output_read(p);
        if (n < 0 || fds[0].revents) break;
        watch_tick(p);
    }
    output_read(p);
    io_close(&p->output_fd);
    pthread_mutex_lock(&p->lock);
    if (seam_waitpid(p->pid, &p->status, 0) < 0) p->watch_failed = true;
    p->ended = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    io_close(&p->pid_fd);
}

static int launch_refused(struct proc *p, const struct proc_report *r) {
    const struct proc_spec *spec = p->launch->spec;
    errno = r->sys_errno;
    switch (r->stage) {
    case PROC_STAGE_USER:
        return error_set_errno(p->launch_err, ERR_PROC_SPAWN, "start %s: become the user %s", p->name, spec->user);
    case PROC_STAGE_CWD:
        return error_set_errno(p->launch_err, ERR_PROC_SPAWN, "start %s: enter the folder %s", p->name,
                               spec->cwd ? spec->cwd : "/");
    case PROC_STAGE_EXEC:
        return error_set_errno(p->launch_err, ERR_PROC_SPAWN, "start %s: run %s", p->name, p->launch->program);
    default:
        return error_set_errno(p->launch_err, ERR_PROC_SPAWN, "start %s: prepare the process", p->name);
    }
}

/* Forks and learns whether the program runs. On failure the child is reaped. */
static int launch(struct proc *p) {
    struct proc_launch *l = p->launch;
    struct error *err = p->launch_err;
    int report[2];
    if (seam_pipe2(report, 0) < 0) return error_set_errno(err, ERR_PROC_SPAWN, "start %s: make a pipe", p->name);
    l->report_fd = report[1];
    pid_t parent = getpid();
    pid_t pid = seam_fork();
    if (pid == 0) proc_child_run(l, parent);
    io_close(&l->report_fd);
    if (pid < 0) {
        error_set_errno(err, ERR_PROC_SPAWN, "start %s: fork", p->name);
        io_close(&report[0]);
        return -(int)err->code;
    }
    struct proc_report r;
    size_t got = 0;
    int rc = io_read_full(report[0], &r, sizeof r, &got, p->name, err);
    io_close(&report[0]);
    if (rc == 0 && got == sizeof r) rc = launch_refused(p, &r);
    if (rc == 0 && (p->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0)
        rc = error_set_errno(err, ERR_PROC_SPAWN, "start %s: watch the process", p->name);
    if (rc) {
        kill(pid, SIGKILL);
        seam_waitpid(pid, NULL, 0);
        return rc;
    }
    p->pid = pid;
    return 0;
}

static void *watcher_run(void *arg) {
    struct proc *p = arg;
    int rc = launch(p);
    launch_free(&p->launch);
    pthread_mutex_lock(&p->lock);
    p->launched = true;
    p->ended = rc != 0;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (rc == 0) watch(p);
    return NULL;
}

static int pipe_make(struct proc *p, int fds[2], struct error *err) {
    if (seam_pipe2(fds, 0) == 0) return 0;
    return error_set_errno(err, ERR_PROC_SPAWN, "start %s: make a pipe", p->name);
}

static int descriptors_make(struct proc *p, struct error *err) {
    struct proc_launch *l = p->launch;
    int fds[2], rc;
    if (l->spec->pipe_in) {
        if ((rc = pipe_make(p, fds, err))) return rc;
        l->fds[0] = fds[0];
        p->in = fds[1];
    } else if ((l->fds[0] = seam_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0)) < 0) {
        return error_set_errno(err, ERR_PROC_SPAWN, "start %s: open /dev/null", p->name);
    }
    if ((rc = pipe_make(p, fds, err))) return rc;
    p->output_fd = fds[0];
    l->fds[2] = fds[1];
    if (l->spec->pipe_out) {
        if ((rc = pipe_make(p, fds, err))) return rc;
        p->out = fds[0];
        l->fds[1] = fds[1];
    } else if ((l->fds[1] = fcntl(l->fds[2], F_DUPFD_CLOEXEC, 0)) < 0) {
        return error_set_errno(err, ERR_PROC_SPAWN, "start %s: copy a descriptor", p->name);
    }
    if (fcntl(p->output_fd, F_SETFL, O_NONBLOCK) < 0)
        return error_set_errno(err, ERR_PROC_SPAWN, "start %s: set up a pipe", p->name);
    return 0;
}

int proc_start(const struct proc_spec *spec, struct proc **ret, struct error *err) {
    void *m = NULL;
    int rc = mem_alloc(sizeof(struct proc), &m, err);
    if (rc) return rc;
    struct proc *p = m;
    p->in = p->out = p->pid_fd = p->output_fd = -1;
    p->launch_err = err;
    p->joined = p->ended = true; /* until there is a watcher */
    p->stop_before = atomic_load(&stop_signal);
    p->timeout = spec->timeout_ns;
    if (p->timeout) p->deadline = time_monotonic_ns() + p->timeout;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    const char *slash = strrchr(spec->argv[0], '/');
    snprintf(p->name, sizeof p->name, "%s", slash ? slash + 1 : spec->argv[0]);

    void *l = NULL;
    rc = mem_alloc(sizeof(struct proc_launch), &l, err);
    if (rc == 0) {
        p->launch = l;
        p->launch->spec = spec;
        p->launch->report_fd = p->launch->fds[0] = p->launch->fds[1] = p->launch->fds[2] = -1;
        rc = proc_launch_prepare(p->launch, err);
    }
    if (rc == 0) rc = descriptors_make(p, err);
    if (rc == 0) {
        p->joined = p->ended = false;
        rc = thread_start(&p->watcher, watcher_run, p, err);
        if (rc) p->joined = p->ended = true;
    }
    if (rc == 0) {
        pthread_mutex_lock(&p->lock);
        while (!p->launched) pthread_cond_wait(&p->changed, &p->lock);
        pthread_mutex_unlock(&p->lock);
        rc = -(int)err->code;
    }
    p->launch_err = NULL;
    if (rc)
        proc_free(p);
    else
        *ret = p;
    return rc;
}

int proc_in(struct proc *p) {
    return p->in;
}
int proc_out(struct proc *p) {
    return p->out;
}
void proc_close_in(struct proc *p) {
    io_close(&p->in);
}

static void watcher_join(struct proc *p) {
    if (p->joined) return;
    pthread_join(p->watcher, NULL);
    p->joined = true;
}

const char *proc_output(struct proc *p) {
    pthread_mutex_lock(&p->lock);
    size_t n = p->tail_len < TAIL_BYTES ? p->tail_len : TAIL_BYTES;
    const char *from = p->tail + p->tail_len - n;
    if (p->tail_cut || n < p->tail_len) {
        /* The first line may be torn. One that fills the whole tail is better than none. */
        const char *line = memchr(from, '\n', n);
        if (line && (size_t)(line + 1 - from) < n) {
            n -= (size_t)(line + 1 - from);
            from = line + 1;
        }
    }
    for (size_t i = 0; i < n; i++) p->shown[i] = from[i] ? from[i] : '?';
    while (n > 0 && p->shown[n - 1] == '\n') n--;
    p->shown[n] = 0;
    pthread_mutex_unlock(&p->lock);
    return p->shown;
}

/* The end of its output that fits a message, from the start of a line. */
static const char *output_brief(struct proc *p) {
    const char *s = proc_output(p);
    size_t n = strlen(s);
    if (n <= 800) return s;
    const char *line = strchr(s + n - 800, '\n');
    return line && line[1] ? line + 1 : s + n - 800;
}

bool proc_running(struct proc *p) {
    pthread_mutex_lock(&p->lock);
    bool running = !p->ended;
    pthread_mutex_unlock(&p->lock);
    return running;
}

bool proc_overdue(struct proc *p) {
    return p->overdue;
}

int proc_wait(struct proc *p, int *ret_status, struct error *err) {
    io_close(&p->in);
    io_close(&p->out);
    watcher_join(p);
    if (p->watch_failed) {
        if (ret_status) *ret_status = 128 + SIGKILL;
        return error_set(err, ERR_PROC_FAILED, "%s could not be watched to its end", p->name);
    }
    int status = WIFEXITED(p->status) ? WEXITSTATUS(p->status) : 128 + WTERMSIG(p->status);
    if (ret_status) *ret_status = status;
    if (status == 0) return 0;
    if (p->stopped && stop_check(err)) return error_wrap(err, "%s", p->name);
    const char *said = output_brief(p);
    const char *sep = *said ? ": " : "";
    if (p->overdue)
        return error_set(err, ERR_PROC_FAILED, "%s did not end within %.1f s and was stopped%s%s", p->name,
                         (double)p->timeout / NS_PER_S, sep, said);
    if (WIFEXITED(p->status))
        return error_set(err, ERR_PROC_FAILED, "%s ended with status %d%s%s", p->name, status, sep, said);
    const char *signal_name = sigdescr_np(WTERMSIG(p->status));
    return error_set(err, ERR_PROC_FAILED, "%s was ended by signal %d (%s)%s%s", p->name, WTERMSIG(p->status),
                     signal_name ? signal_name : "unknown", sep, said);
}

void proc_free(struct proc *p) {
    if (!p) return;
    io_close(&p->in);
    io_close(&p->out);
    pthread_mutex_lock(&p->lock);
    if (!p->ended) kill_ask(p);
    pthread_mutex_unlock(&p->lock);
    watcher_join(p);
    launch_free(&p->launch);
    io_close(&p->output_fd);
    io_close(&p->pid_fd);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    seam_free(p);
}

int proc_run(const struct proc_spec *spec, struct buf *out, struct error *err) {
    struct proc_spec own = *spec;
    own.pipe_in = false;
    own.pipe_out = out != NULL;
    struct proc *p = NULL;
    int rc = proc_start(&own, &p, err);
    if (rc) return rc;
    while (rc == 0 && out) {
        uint8_t block[8192];
        ssize_t n = seam_read(p->out, block, sizeof block);
        if (n < 0) rc = error_set_errno(err, ERR_IO_READ, "read the output of %s", p->name);
        if (n <= 0) break;
        if ((size_t)n > out->max_bytes - out->len)
            rc = error_set(err, ERR_PROC_FAILED, "%s printed more than the %zu bytes allowed", p->name, out->max_bytes);
        else
            rc = buf_append(out, block, (size_t)n, err);
    }
    if (rc == 0) rc = proc_wait(p, NULL, err);
    proc_free(p);
    return rc;
}
