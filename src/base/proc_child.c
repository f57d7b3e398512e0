#include "base/proc_internal.h"
#include "base/seam.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *path_of(const struct proc_spec *spec) {
    for (const char *const *e = spec->env; e && *e; e++)
        if (!strncmp(*e, "PATH=", 5)) return *e + 5;
    const char *ours = getenv("PATH");
    return ours && *ours ? ours : PATH_DEFAULT;
}

/* Looked up here and not by execvp in the child, which may not allocate. */
static int program_find(struct proc_launch *l, struct error *err) {
    const char *name = l->spec->argv[0];
    if (strchr(name, '/')) {
        int n = snprintf(l->program, sizeof l->program, "%s", name);
        if (n < (int)sizeof l->program) return 0;
        return error_set(err, ERR_PROC_SPAWN, "start %.200s: the path is too long", name);
    }
    for (const char *p = path_of(l->spec); *p;) {
        size_t n = strcspn(p, ":");
        int len = snprintf(l->program, sizeof l->program, "%.*s/%s", (int)n, p, name);
        struct stat st;
        /* A relative folder in PATH would mean another program in every working directory. */
        if (*p == '/' && len > 0 && len < (int)sizeof l->program && seam_fstatat(AT_FDCWD, l->program, &st, 0) == 0 &&
            S_ISREG(st.st_mode) && (st.st_mode & 0111))
            return 0;
        p += n + (p[n] == ':');
    }
    return error_set(err, ERR_PROC_SPAWN, "start %s: there is no such program in PATH", name);
}

static int user_find(struct proc_launch *l, struct error *err) {
    if (!l->spec->user || geteuid() != 0) return 0;
    char text[16384];
    struct passwd pw, *found = NULL;
    int rc = getpwnam_r(l->spec->user, &pw, text, sizeof text, &found);
    if (rc || !found) {
        errno = rc ? rc : ENOENT;
        return error_set_errno(err, ERR_PROC_SPAWN, "start %s: look up the user %s", l->spec->argv[0], l->spec->user);
    }
    l->group_count = PROC_GROUPS_MAX;
    if (getgrouplist(pw.pw_name, pw.pw_gid, l->groups, &l->group_count) < 0)
        return error_set(err, ERR_PROC_SPAWN, "start %s: the user %s is in more than %d groups", l->spec->argv[0],
                         l->spec->user, PROC_GROUPS_MAX);
    l->uid = pw.pw_uid;
    l->gid = pw.pw_gid;
    l->become = true;
    return 0;
}

int proc_launch_prepare(struct proc_launch *l, struct error *err) {
    int rc = program_find(l, err);
    if (rc == 0) rc = user_find(l, err);
    if (rc) return rc;
    if (snprintf(l->path_env, sizeof l->path_env, "PATH=%s", path_of(l->spec)) >= (int)sizeof l->path_env)
        snprintf(l->path_env, sizeof l->path_env, "PATH=%s", PATH_DEFAULT);
    l->minimal_env[0] = l->path_env;
    l->minimal_env[1] = "LANG=C.UTF-8";
    l->minimal_env[2] = "LC_ALL=C.UTF-8";
    return 0;
}

static _Noreturn void give_up(int report_fd, enum proc_stage stage) {
    struct proc_report r = {stage, errno};
    ssize_t n = write(report_fd, &r, sizeof r);
    _exit(n == sizeof r ? 127 : 126);
}

/* Out of the way of 0 to 3, whatever numbers we were started with. */
static int move_high(int fd, int report_fd) {
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (high < 0) give_up(report_fd, PROC_STAGE_DESCRIPTORS);
    return high;
}

_Noreturn void proc_child_run(const struct proc_launch *l, pid_t parent) {
    const struct proc_spec *spec = l->spec;
    int report = move_high(l->report_fd, l->report_fd), fds[4];
    for (int i = 0; i < 3; i++) fds[i] = move_high(l->fds[i], report);
    fds[3] = spec->keep_fd >= 0 ? move_high(spec->keep_fd, report) : -1;

    /* What we ignore or block is our habit; the new program starts with the usual ones. */
    for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);

    /* The raw calls: glibc's would try to signal threads that this child does not have. */
    if (l->become &&
        (syscall(SYS_setgroups, (size_t)l->group_count, l->groups) < 0 ||
         syscall(SYS_setresgid, l->gid, l->gid, l->gid) < 0 || syscall(SYS_setresuid, l->uid, l->uid, l->uid) < 0))
        give_up(report, PROC_STAGE_USER);
    if (chdir(spec->cwd ? spec->cwd : "/") < 0) give_up(report, PROC_STAGE_CWD);
    /* After the change of user, which would clear it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) give_up(report, PROC_STAGE_PARENT);
    if (getppid() != parent) {
        errno = ESRCH;
        give_up(report, PROC_STAGE_PARENT);
    }
    for (int i = 0; i < 4; i++)
        if (fds[i] >= 0 && dup2(fds[i], i) < 0) give_up(report, PROC_STAGE_DESCRIPTORS);
    /* A second line of defence behind O_CLOEXEC, for descriptors of libraries. Old kernels lack it. */
    syscall(SYS_close_range, spec->keep_fd >= 0 ? 4u : 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
    execve(l->program, (char *const *)spec->argv, (char *const *)(spec->env ? spec->env : l->minimal_env));
    give_up(report, PROC_STAGE_EXEC);
}
