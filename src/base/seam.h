/* The I/O seam: every fallible call of ours to the system goes through this table, so that tests can fail each call in
 * turn, kill the process at it, drop unsynced writes or tear sectors. The production program never installs another table.
 *
 * Functions keep the system call's contract (a result or -1 with errno). EINTR is the seam's business: the wrappers below
 * retry it, so callers never see it. Short reads and writes are the caller's business, except in the *_full helpers.
 */
#ifndef PK_BASE_SEAM_H
#define PK_BASE_SEAM_H

#include "base/error.h"
#include "base/bytes.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

struct sockaddr;

/* SEAM_OP(result, name, parameters, arguments). One list makes the table, the wrappers and the fault harness. */
#define SEAM_OPS \
    SEAM_OP(int, openat, (int dirfd, const char *path, int flags, mode_t mode), (dirfd, path, flags, mode)) \
    SEAM_OP(int, openat2, (int dirfd, const char *path, const struct open_how *how), (dirfd, path, how)) \
    SEAM_OP(int, close, (int fd), (fd)) \
    SEAM_OP(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n)) \
    SEAM_OP(ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at)) \
    SEAM_OP(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n)) \
    SEAM_OP(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at)) \
    SEAM_OP(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence)) \
    SEAM_OP(int, fsync, (int fd), (fd)) \
    SEAM_OP(int, fdatasync, (int fd), (fd)) \
    SEAM_OP(int, syncfs, (int fd), (fd)) \
    SEAM_OP(int, ftruncate, (int fd, off_t n), (fd, n)) \
    SEAM_OP(int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n)) \
    SEAM_OP(int, fstat, (int fd, struct stat *st), (fd, st)) \
    SEAM_OP(int, fstatat, (int dirfd, const char *path, struct stat *st, int flags), (dirfd, path, st, flags)) \
    SEAM_OP(int, fstatvfs, (int fd, struct statvfs *st), (fd, st)) \
    SEAM_OP(int, mkdirat, (int dirfd, const char *path, mode_t mode), (dirfd, path, mode)) \
    SEAM_OP(int, unlinkat, (int dirfd, const char *path, int flags), (dirfd, path, flags)) \
    SEAM_OP(int, renameat2, (int ofd, const char *o, int nfd, const char *n, unsigned flags), (ofd, o, nfd, n, flags)) \
    SEAM_OP(int, linkat, (int ofd, const char *o, int nfd, const char *n, int flags), (ofd, o, nfd, n, flags)) \
    SEAM_OP(int, flock, (int fd, int operation), (fd, operation)) \
    SEAM_OP(int, symlinkat, (const char *to, int dirfd, const char *path), (to, dirfd, path)) \
    SEAM_OP(ssize_t, readlinkat, (int dirfd, const char *path, char *p, size_t n), (dirfd, path, p, n)) \
    SEAM_OP(int, mknodat, (int dirfd, const char *path, mode_t mode, dev_t dev), (dirfd, path, mode, dev)) \
    SEAM_OP(int, fchmod, (int fd, mode_t mode), (fd, mode)) \
    SEAM_OP(int, fchmodat, (int dirfd, const char *path, mode_t mode, int flags), (dirfd, path, mode, flags)) \
    SEAM_OP(int, fchownat, (int dirfd, const char *path, uid_t u, gid_t g, int flags), (dirfd, path, u, g, flags)) \
    SEAM_OP(int, utimensat, (int dirfd, const char *path, const struct timespec ts[2], int flags), (dirfd, path, ts, flags)) \
    SEAM_OP(ssize_t, listxattr_at, (int fd, const char *path, char *p, size_t n), (fd, path, p, n)) \
    SEAM_OP(ssize_t, getxattr_at, (int fd, const char *path, const char *k, void *p, size_t n), (fd, path, k, p, n)) \
    SEAM_OP(int, setxattr_at, (int fd, const char *path, const char *k, const void *p, size_t n), (fd, path, k, p, n)) \
    SEAM_OP(DIR *, fdopendir, (int fd), (fd)) \
    SEAM_OP(struct dirent *, readdir, (DIR *d), (d)) \
    SEAM_OP(int, closedir, (DIR *d), (d)) \
    SEAM_OP(void *, mmap, (size_t n, int prot, int flags, int fd, off_t at), (n, prot, flags, fd, at)) \
    SEAM_OP(int, munmap, (void *p, size_t n), (p, n)) \
    SEAM_OP(void *, alloc, (size_t n), (n)) \
    SEAM_OP(void *, realloc, (void *p, size_t n), (p, n)) \
    SEAM_OP(void *, alloc_aligned, (size_t align, size_t n), (align, n)) \
    SEAM_OP(int, pipe2, (int fds[2], int flags), (fds, flags)) \
    SEAM_OP(int, poll, (struct pollfd *p, nfds_t n, int timeout_ms), (p, n, timeout_ms)) \
    SEAM_OP(pid_t, fork, (void), ()) \
    SEAM_OP(pid_t, waitpid, (pid_t pid, int *status, int flags), (pid, status, flags)) \
    SEAM_OP(int, clock_gettime, (clockid_t id, struct timespec *ts), (id, ts)) \
    SEAM_OP(ssize_t, getrandom, (void *p, size_t n), (p, n)) \
    SEAM_OP(int, socket, (int family, int type, int protocol), (family, type, protocol)) \
    SEAM_OP(int, connect, (int fd, const struct sockaddr *to, unsigned len), (fd, to, len)) \
    SEAM_OP(ssize_t, send, (int fd, const void *p, size_t n), (fd, p, n)) \
    SEAM_OP(int, net_perform, (void *easy, int *ret_code), (easy, ret_code))

/* The *xattr_at calls act on `fd` itself when path is NULL, else on /proc/self/fd/<fd>/<path> without following a final
 * link (lgetxattr and so on). mmap maps at an address of the kernel's choosing. alloc(0) may return NULL.
 * send never raises SIGPIPE. net_perform carries out a transfer of libcurl: 0 with libcurl's own verdict, or -1 with errno when it was not tried. */

enum seam_op {
#define SEAM_OP(result, name, params, args) SEAM_##name,
    SEAM_OPS
#undef SEAM_OP
    SEAM_OP_COUNT
};

struct seam {
#define SEAM_OP(result, name, params, args) result(*name) params;
    SEAM_OPS
#undef SEAM_OP
};

extern const struct seam seam_system; /* the real calls */
extern const struct seam *seam_table; /* what is in force; set only by tests, before any thread starts */

#define SEAM_OP(result, name, params, args) result seam_##name params;
SEAM_OPS
#undef SEAM_OP

void seam_free(void *p); /* cannot fail, so it is not in the table; NULL is fine */

/* Helpers over the table; they fill `err` with the path or purpose that the caller names in `what`. */
/* Once, when the program starts: tables that grow give their memory back when they are freed. */
void mem_init(void);
/* From here on freed blocks of up to 32 MiB are kept for those that come: for a process that wants such again and again
 * and ends soon. */
void mem_keep(void);
/* As seam_alloc, for what is megabytes long and filled at once: in large pages, where the system has them (a tenth of
 * a prune's time over S3). */
void *mem_large(size_t n);
int mem_alloc(size_t n, void **ret, struct error *err) PK_CHECK;        /* zeroed; free with seam_free */
int mem_dup(const void *p, size_t n, void **ret, struct error *err) PK_CHECK;
int mem_strdup(const char *s, char **ret, struct error *err) PK_CHECK;
int mem_grow(void **p, size_t *cap, size_t want, size_t elem_bytes, struct error *err) PK_CHECK; /* doubling array growth */
int io_read_full(int fd, void *p, size_t n, size_t *ret_n, const char *what, struct error *err) PK_CHECK; /* short only at end */
int io_pread_full(int fd, void *p, size_t n, uint64_t at, size_t *ret_n, const char *what, struct error *err) PK_CHECK;
int io_write_full(int fd, const void *p, size_t n, const char *what, struct error *err) PK_CHECK;
int io_pwrite_full(int fd, const void *p, size_t n, uint64_t at, const char *what, struct error *err) PK_CHECK;
/* A whole file of at most max bytes appended to b. ERR_IO_NOT_FOUND when there is none. */
int io_read_file(int dirfd, const char *path, size_t max, struct buf *b, struct error *err) PK_CHECK;
/* Replace a file durably: temporary beside it, written, fsynced, renamed over, folder fsynced. mode is exact. */
int io_replace_file(int dirfd, const char *path, struct bytes content, mode_t mode, struct error *err) PK_CHECK;
/* A new file in the folder, without a name, mode 0600, gone when it is closed. ERR_IO_WRITE. */
int io_nameless(const char *dir, int *ret_fd, struct error *err) PK_CHECK;
/* Create a folder and its missing parents. */
int io_mkdirs(const char *path, mode_t mode, struct error *err) PK_CHECK;
/* Remove a tree without following links; missing is fine. */
int io_remove_tree(int dirfd, const char *path, struct error *err) PK_CHECK;
/* When err is of a call that was denied: puts in front of it whose the thing is that is in the way, and its mode: the
 * first folder of the path that may not be passed, else what the path names, else the folder that it would be in.
 * `deed` is what was tried there ("read", "write into"). Keeps errno; returns -err->code. */
int io_whose(const char *path, const char *deed, struct error *err) PK_CHECK;
/* An exclusive flock, not waited for. 0 also where the file system has no locks; else -1 with errno. */
int io_lock(int fd) PK_CHECK;
void io_close(int *fd); /* closes and sets to -1; ignores -1. For descriptors whose data is already durable or read-only */

#define CLEANUP(f) __attribute__((cleanup(f)))

#endif
