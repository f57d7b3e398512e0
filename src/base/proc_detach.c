#include "base/proc.h"
#include "base/seam.h"
#include <unistd.h>

int proc_detach(void (*run)(void *), void *arg, struct error *err) {
    pid_t pid = seam_fork();
    if (pid < 0) return error_set_errno(err, ERR_PROC_SPAWN, "starting a process of our own");
    if (pid > 0) return 0; /* whoever waits for us inherits it */
    (void)!setsid();
    int null = seam_openat(AT_FDCWD, "/dev/null", O_RDWR, 0);
    for (int fd = 0; fd <= 2 && null >= 0; fd++) (void)!dup2(null, fd);
    if (null > 2) io_close(&null);
    if (null >= 0 || fcntl(0, F_GETFD) >= 0) run(arg);
    _exit(0);
}
