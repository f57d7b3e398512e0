#include "base/seam.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* The code that says most about a failed call on a path. */
static enum error_code path_code(enum error_code other) {
    return errno == ENOENT ? ERR_IO_NOT_FOUND : other;
}

int io_read_full(int fd, void *p, size_t n, size_t *ret_n, const char *what, struct error *err) {
    size_t done = 0;
    while (done < n) {
        ssize_t r = seam_read(fd, (uint8_t *)p + done, n - done);
        if (r < 0) return error_set_errno(err, ERR_IO_READ, "read %s", what);
        if (r == 0) break;
        done += (size_t)r;
    }
    *ret_n = done;
    return 0;
}

int io_pread_full(int fd, void *p, size_t n, uint64_t at, size_t *ret_n, const char *what, struct error *err) {
    size_t done = 0;
    if (at > INT64_MAX || n > INT64_MAX - at)
        return error_set(err, ERR_IO_READ, "read %s: offset %llu is beyond any file", what, (unsigned long long)at);
    while (done < n) {
        ssize_t r = seam_pread(fd, (uint8_t *)p + done, n - done, (off_t)(at + done));
        if (r < 0) return error_set_errno(err, ERR_IO_READ, "read %s at %llu", what, (unsigned long long)(at + done));
        if (r == 0) break;
        done += (size_t)r;
    }
    *ret_n = done;
    return 0;
}

int io_write_full(int fd, const void *p, size_t n, const char *what, struct error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t r = seam_write(fd, (const uint8_t *)p + done, n - done);
        if (r < 0) return error_set_errno(err, ERR_IO_WRITE, "write %s", what);
        if (r == 0) return error_set(err, ERR_IO_WRITE, "write %s: the system wrote nothing", what);
        done += (size_t)r;
    }
    return 0;
}

int io_pwrite_full(int fd, const void *p, size_t n, uint64_t at, const char *what, struct error *err) {
    if (at > INT64_MAX || n > INT64_MAX - at)
        return error_set(err, ERR_IO_WRITE, "write %s: offset %llu is beyond any file", what, (unsigned long long)at);
    for (size_t done = 0; done < n;) {
        ssize_t r = seam_pwrite(fd, (const uint8_t *)p + done, n - done, (off_t)(at + done));
        if (r < 0) return error_set_errno(err, ERR_IO_WRITE, "write %s at %llu", what, (unsigned long long)(at + done));
        if (r == 0) return error_set(err, ERR_IO_WRITE, "write %s: the system wrote nothing", what);
        done += (size_t)r;
    }
    return 0;
}

int io_lock(int fd) {
    if (seam_flock(fd, LOCK_EX | LOCK_NB) == 0) return 0;
    return errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -1;
}

void io_close(int *fd) {
    if (*fd >= 0) {
        int saved = errno;
        seam_close(*fd);
        errno = saved;
    }
    *fd = -1;
}

int io_read_file(int dirfd, const char *path, size_t max, struct buf *b, struct error *err) {
    CLEANUP(io_close) int fd = seam_openat(dirfd, path, O_RDONLY | O_NOCTTY, 0);
    if (fd < 0) {
        int rc = error_set_errno(err, path_code(ERR_IO_READ), "open %s", path);
        return dirfd == AT_FDCWD ? io_whose(path, "read", err) : rc;
    }
    size_t start = b->len, done = 0;
    int rc = 0;
    for (;;) {
        /* One byte above the limit is asked for, to tell a file that ends there from one that does not. */
        uint8_t block[16384];
        size_t want = max - done < sizeof block ? max - done + 1 : sizeof block;
        size_t got = 0;
        rc = io_read_full(fd, block, want, &got, path, err);
        if (rc == 0 && got > max - done)
            rc = error_set(err, ERR_IO_READ, "read %s: it is larger than the %zu bytes allowed", path, max);
        if (rc == 0 && buf_append(b, block, got, err)) rc = error_wrap(err, "read %s", path);
        if (rc) break;
        done += got;
        if (got < want) return 0;
    }
    b->len = start;
    return rc;
}

/* Splits path into its folder, opened, and its last name, borrowed. */
static int parent_open(int dirfd, const char *path, int *ret_fd, const char **ret_name, struct error *err) {
    const char *slash = strrchr(path, '/');
    char folder[4096];
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof folder) {
        errno = ENAMETOOLONG;
        return error_set_errno(err, ERR_IO_WRITE, "open the folder of %s", path);
    }
    memcpy(folder, path, n);
    folder[n] = 0;
    int fd = seam_openat(dirfd, !slash ? "." : n == 0 ? "/" : folder, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return error_set_errno(err, path_code(ERR_IO_WRITE), "open the folder of %s", path);
    *ret_fd = fd;
    *ret_name = slash ? slash + 1 : path;
    return 0;
}

/* A new file of an unused name in the folder; *ret_fd is its descriptor. */
static int temporary_open(int folder, int access, char tmp[32], const char *path, int *ret_fd, struct error *err) {
    for (int tries = 0;; tries++) {
        uint64_t r;
        if (seam_getrandom(&r, sizeof r) != sizeof r)
            return error_set_errno(err, ERR_IO_WRITE, "random name for %s", path);
        snprintf(tmp, 32, ".pk-%016llx.tmp", (unsigned long long)r);
        int fd = seam_openat(folder, tmp, access | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0) {
            *ret_fd = fd;
            return 0;
        }
        if (errno != EEXIST || tries == 8)
            return error_set_errno(err, path_code(ERR_IO_WRITE), "create a file beside %s", path);
    }
}

/* Where the file system has no nameless files it has a name, which is gone at once. */
int io_nameless(const char *dir, int *ret_fd, struct error *err) {
    char tmp[32];
    int fd = seam_openat(AT_FDCWD, dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        int folder = seam_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (folder < 0) return error_set_errno(err, ERR_IO_WRITE, "open the folder %s", dir);
        int rc = temporary_open(folder, O_RDWR, tmp, dir, &fd, err);
        if (rc == 0 && seam_unlinkat(folder, tmp, 0) < 0) {
            rc = error_set_errno(err, ERR_IO_WRITE, "remove a temporary file's name in %s", dir);
            io_close(&fd);
        }
        io_close(&folder);
        if (rc < 0) return rc;
    }
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "create a temporary file in %s", dir);
    *ret_fd = fd;
    return 0;
}

/* Everything up to and with the rename. */
static int replace_content(int folder, const char *name, const char *path, struct bytes content, mode_t mode,
                           struct error *err) {
    CLEANUP(io_close) int fd = -1;
    char tmp[32];
    int rc = temporary_open(folder, O_WRONLY, tmp, path, &fd, err);
    if (rc) return rc;
    rc = io_write_full(fd, content.ptr, content.len, path, err);
    if (rc == 0 && seam_fchmod(fd, mode) < 0) rc = error_set_errno(err, ERR_IO_WRITE, "set the mode of %s", path);
    if (rc == 0 && seam_fsync(fd) < 0) rc = error_set_errno(err, ERR_IO_SYNC, "sync %s", path);
    if (rc == 0) {
        int closing = fd;
        fd = -1;
        if (seam_close(closing) < 0) rc = error_set_errno(err, ERR_IO_WRITE, "close %s", path);
    }
    if (rc == 0 && seam_renameat2(folder, tmp, folder, name, 0) < 0)
        rc = error_set_errno(err, path_code(ERR_IO_WRITE), "rename to %s", path);
    if (rc) seam_unlinkat(folder, tmp, 0);
    return rc;
}

int io_replace_file(int dirfd, const char *path, struct bytes content, mode_t mode, struct error *err) {
    CLEANUP(io_close) int folder = -1;
    const char *name;
    int rc = parent_open(dirfd, path, &folder, &name, err);
    if (rc == 0) rc = replace_content(folder, name, path, content, mode, err);
    if (rc) return error_state(err, "%s is as it was before.", path);
    if (seam_fsync(folder) < 0) {
        rc = error_set_errno(err, ERR_IO_SYNC, "sync the folder of %s", path);
        error_state(err, "%s has its new content, which may not outlive a power cut.", path);
    }
    return rc;
}

/* Makes one level and its name in the level above durable. */
static int mkdir_level(const char *path, mode_t mode, struct error *err) {
    if (seam_mkdirat(AT_FDCWD, path, mode) < 0) {
        if (errno != EEXIST) {
            error_set_errno(err, path_code(ERR_IO_WRITE), "create the folder %s", path);
            return io_whose(path, "write into", err);
        }
        struct stat st;
        if (seam_fstatat(AT_FDCWD, path, &st, 0) < 0)
            return error_set_errno(err, path_code(ERR_IO_READ), "look at %s", path);
        if (!S_ISDIR(st.st_mode)) return error_set(err, ERR_IO_EXISTS, "%s exists and is not a folder", path);
        return 0;
    }
    CLEANUP(io_close) int fd = -1;
    const char *name;
    int rc = parent_open(AT_FDCWD, path, &fd, &name, err);
    if (rc) return rc;
    if (seam_fsync(fd) < 0) return error_set_errno(err, ERR_IO_SYNC, "sync the folder of %s", path);
    return 0;
}

int io_mkdirs(const char *path, mode_t mode, struct error *err) {
    char at[4096];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    if (n == 0 || n >= sizeof at) {
        errno = n ? ENAMETOOLONG : EINVAL;
        return error_set_errno(err, ERR_IO_WRITE, "create the folder '%.80s'", path);
    }
    memcpy(at, path, n);
    at[n] = 0;
    struct stat st;
    if (seam_fstatat(AT_FDCWD, at, &st, 0) == 0 && S_ISDIR(st.st_mode)) return 0;
    for (size_t i = 1; i < n; i++) {
        if (at[i] != '/' || at[i - 1] == '/') continue;
        at[i] = 0;
        /* What is there already is not touched, so a parent we may not write to is no hindrance. */
        int rc = seam_fstatat(AT_FDCWD, at, &st, 0) == 0 && S_ISDIR(st.st_mode) ? 0 : mkdir_level(at, mode, err);
        if (rc) return rc;
        at[i] = '/';
    }
    return mkdir_level(at, mode, err);
}
