/* What a child needs to become another program, all of it made before fork: after it, only async-signal-safe calls may
 * be made in the child of a program with threads. */
#ifndef PK_BASE_PROC_INTERNAL_H
#define PK_BASE_PROC_INTERNAL_H

#include "base/error.h"
#include "base/proc.h"
#include <limits.h>
#include <sys/types.h>

#define PROC_GROUPS_MAX 256

struct proc_launch {
    const struct proc_spec *spec;
    char program[PATH_MAX];
    char path_env[4096 + 8]; /* "PATH=…" of the minimal environment */
    const char *minimal_env[4];
    bool become; /* another user */
    uid_t uid;
    gid_t gid;
    gid_t groups[PROC_GROUPS_MAX];
    int group_count;
    int fds[3];    /* stdin, stdout, stderr of the child */
    int report_fd; /* where the child says what it could not do */
};

/* What the child could not do. It writes one and exits; it writes nothing when the new program runs. */
enum proc_stage { PROC_STAGE_DESCRIPTORS, PROC_STAGE_USER, PROC_STAGE_CWD, PROC_STAGE_PARENT, PROC_STAGE_EXEC };
struct proc_report {
    int stage;
    int sys_errno;
};

/* Fills program, environment and user from l->spec. ERR_PROC_SPAWN. */
int proc_launch_prepare(struct proc_launch *l, struct error *err) PK_CHECK;
/* In the child, after fork. */
_Noreturn void proc_child_run(const struct proc_launch *l, pid_t parent);

#endif
