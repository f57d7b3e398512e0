#include "base/seam.h"
#include "base/time.h"
#include "store/local/local_internal.h"
#include <errno.h>

static int missing(struct local_store *s, const char *key, struct error *err) {
    return error_set(err, ERR_OBJECT_MISSING, "the object %s is not in %s", key, s->path);
}

static int cannot(struct local_store *s, const char *verb, const char *key, struct error *err) {
    if (errno == ENOENT || errno == ENOTDIR || errno == EISDIR) return missing(s, key, err);
    error_set_errno(err, ERR_IO_READ, "cannot %s the object %s in %s", verb, key, s->path);
    return local_whose(s, key, "read", err);
}

int local_read(struct store *st, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, struct error *err) {
    struct local_store *s = (struct local_store *)st;
    /* Not to hang on a pipe, nor to follow a link, that somebody put in an object's place. */
    int fd = seam_openat(s->root, key, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    if (fd < 0) return cannot(s, "read", key, err);
    if (at > (uint64_t)INT64_MAX - len) len = 0; /* no file is that long, so the object has ended */
    uint8_t *to = p;
    size_t got = 0;
    int rc = 0;
    while (got < len) {
        ssize_t n = seam_pread(fd, to + got, len - got, (off_t)(at + got));
        if (n < 0) rc = cannot(s, "read", key, err);
        if (n <= 0) break;
        got += (size_t)n;
    }
    io_close(&fd);
    if (rc == 0) *ret_n = got;
    return rc;
}

static int64_t time_of(const struct stat *st) {
    return st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;
}

int local_stat(struct store *st, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *err) {
    struct local_store *s = (struct local_store *)st;
    struct stat found;
    if (seam_fstatat(s->root, key, &found, AT_SYMLINK_NOFOLLOW) < 0) return cannot(s, "look at", key, err);
    if (!S_ISREG(found.st_mode)) return missing(s, key, err);
    *ret_bytes = (uint64_t)found.st_size;
    *ret_created_ns = time_of(&found);
    return 0;
}

int local_remove(struct store *st, const char *key, struct error *err) {
    struct local_store *s = (struct local_store *)st;
    int rc = local_check_latch(s, err);
    if (rc < 0) return rc;
    if (seam_unlinkat(s->root, key, 0) == 0 || errno == ENOENT || errno == ENOTDIR) return 0;
    error_set_errno(err, ERR_IO_WRITE, "cannot remove the object %s from %s", key, s->path);
    return local_whose(s, key, "remove", err);
}
