#include "base/seam.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Every descriptor is close-on-exec from birth: a child sees only what proc.c hands it. */
static int sys_openat(int dirfd, const char *path, int flags, mode_t mode) {
    return openat(dirfd, path, flags | O_CLOEXEC, mode);
}

static int sys_openat2(int dirfd, const char *path, const struct open_how *how) {
    struct open_how h = *how;
    h.flags |= O_CLOEXEC;
    return (int)syscall(SYS_openat2, dirfd, path, &h, sizeof h);
}

/* Linux has closed the descriptor when it says EINTR; to close it again could hit another thread's. */
static int sys_close(int fd) {
    return close(fd) < 0 && errno != EINTR ? -1 : 0;
}

static int sys_fstat(int fd, struct stat *st) {
    return fstat(fd, st);
}

static int sys_fstatat(int dirfd, const char *path, struct stat *st, int flags) {
    return fstatat(dirfd, path, st, flags);
}

static int sys_mknodat(int dirfd, const char *path, mode_t mode, dev_t dev) {
    return mknodat(dirfd, path, mode, dev);
}

#define FD_PATH_MAX 4352

/* Where path below fd stands under /proc; false when it is too long. */
static bool fd_path(char out[FD_PATH_MAX], int fd, const char *path) {
    int n = path ? snprintf(out, FD_PATH_MAX, "/proc/self/fd/%d/%s", fd, path)
                 : snprintf(out, FD_PATH_MAX, "/proc/self/fd/%d", fd);
    if (n > 0 && n < FD_PATH_MAX) return true;
    errno = ENAMETOOLONG;
    return false;
}

static ssize_t sys_listxattr_at(int fd, const char *path, char *p, size_t n) {
    char at[FD_PATH_MAX];
    if (!path) {
        ssize_t r = flistxattr(fd, p, n);
        /* A descriptor of O_PATH refuses, its name under /proc does not. */
        if (r >= 0 || errno != EBADF) return r;
        return fd_path(at, fd, NULL) ? listxattr(at, p, n) : -1;
    }
    return fd_path(at, fd, path) ? llistxattr(at, p, n) : -1;
}

static ssize_t sys_getxattr_at(int fd, const char *path, const char *k, void *p, size_t n) {
    char at[FD_PATH_MAX];
    if (!path) {
        ssize_t r = fgetxattr(fd, k, p, n);
        if (r >= 0 || errno != EBADF) return r;
        return fd_path(at, fd, NULL) ? getxattr(at, k, p, n) : -1;
    }
    return fd_path(at, fd, path) ? lgetxattr(at, k, p, n) : -1;
}

static int sys_setxattr_at(int fd, const char *path, const char *k, const void *p, size_t n) {
    char at[FD_PATH_MAX];
    if (!path) {
        int r = fsetxattr(fd, k, p, n, 0);
        if (r >= 0 || errno != EBADF) return r;
        return fd_path(at, fd, NULL) ? setxattr(at, k, p, n, 0) : -1;
    }
    return fd_path(at, fd, path) ? lsetxattr(at, k, p, n, 0) : -1;
}

static void *sys_mmap(size_t n, int prot, int flags, int fd, off_t at) {
    return mmap(NULL, n, prot, flags, fd, at);
}

static void *sys_alloc_aligned(size_t align, size_t n) {
    static _Thread_local bool begun;
    void *p = NULL;
    if (!begun) { /* glibc lays a thread's heap around its first aligned block, however large, and keeps that */
        void *volatile small = malloc(1);
        free(small);
        begun = true;
    }
    int rc = posix_memalign(&p, align, n);
    if (rc == 0) return p;
    errno = rc;
    return NULL;
}

static int sys_pipe2(int fds[2], int flags) {
    return pipe2(fds, flags | O_CLOEXEC);
}

/* A signal must not stretch the caller's patience, so the rest of the time is counted here. */
static int sys_poll(struct pollfd *p, nfds_t n, int timeout_ms) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int left = timeout_ms;;) {
        int r = poll(p, n, left);
        if (r >= 0 || errno != EINTR) return r;
        if (timeout_ms < 0) continue;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t gone = (int64_t)(now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
        left = gone >= timeout_ms ? 0 : (int)(timeout_ms - gone);
    }
}

static ssize_t sys_getrandom(void *p, size_t n) {
    return getrandom(p, n, 0);
}

static int sys_socket(int family, int type, int protocol) {
    return socket(family, type | SOCK_CLOEXEC, protocol);
}

/* A connection goes on being made after a signal, so it is waited for rather than asked for again. */
static int sys_connect(int fd, const struct sockaddr *to, socklen_t len) {
    if (connect(fd, to, len) == 0) return 0;
    if (errno != EINTR) return -1;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int e = 0;
    socklen_t n = sizeof e;
    if (sys_poll(&p, 1, -1) < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0) return -1;
    errno = e;
    return e ? -1 : 0;
}

static ssize_t sys_send(int fd, const void *p, size_t n) {
    return send(fd, p, n, MSG_NOSIGNAL);
}

static int sys_net_perform(void *easy, int *ret_code) {
    *ret_code = (int)curl_easy_perform(easy);
    return 0;
}

#define sys_read read
#define sys_pread pread
#define sys_write write
#define sys_pwrite pwrite
#define sys_lseek lseek
#define sys_fsync fsync
#define sys_fdatasync fdatasync
#define sys_syncfs syncfs
#define sys_ftruncate ftruncate
#define sys_fallocate fallocate
#define sys_fstatvfs fstatvfs
#define sys_mkdirat mkdirat
#define sys_unlinkat unlinkat
#define sys_renameat2 renameat2
#define sys_linkat linkat
#define sys_flock flock
#define sys_symlinkat symlinkat
#define sys_readlinkat readlinkat
#define sys_fchmod fchmod
#define sys_fchmodat fchmodat
#define sys_fchownat fchownat
#define sys_utimensat utimensat
#define sys_fdopendir fdopendir
#define sys_readdir readdir
#define sys_closedir closedir
#define sys_munmap munmap
#define sys_alloc malloc
#define sys_realloc realloc
#define sys_fork fork
#define sys_waitpid waitpid
#define sys_clock_gettime clock_gettime

const struct seam seam_system = {
#define SEAM_OP(result, name, params, args) .name = sys_##name,
    SEAM_OPS
#undef SEAM_OP
};

const struct seam *seam_table = &seam_system;

/* close and poll of the system table settle EINTR themselves, so an EINTR that comes out of any entry means "again". */
#define SEAM_OP(result, name, params, args)                                                                            \
    result seam_##name params {                                                                                        \
        result r;                                                                                                      \
        do r = seam_table->name args;                                                                                  \
        while ((intptr_t)r == -1 && errno == EINTR);                                                                   \
        return r;                                                                                                      \
    }
SEAM_OPS
#undef SEAM_OP

void seam_free(void *p) {
    free(p);
}
