#include "base/seam.h"
#include "base/time.h"
#include "store/local/local_internal.h"
#include <errno.h>

static int local_free_space(struct store *st, uint64_t *ret_bytes, struct error *err) {
    struct local_store *s = (struct local_store *)st;
    struct statvfs v;
    if (seam_fstatvfs(s->root, &v) < 0)
        return error_set_errno(err, ERR_IO_READ, "cannot ask for the free space of %s", s->path);
    *ret_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    return 0;
}

static void local_close(struct store *st) {
    struct local_store *s = (struct local_store *)st;
    for (size_t i = 0; i < s->staged_len; i++) {
        io_close(&s->staged[i].fd);
        local_drop_tmp(s, s->staged[i].tmp);
        seam_free(s->staged[i].key);
    }
    seam_free(s->staged);
    names_free(&s->durable);
    io_close(&s->root);
    seam_free(s->path);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->committing);
    seam_free(s);
}

static const struct store_ops local_ops = {
    .name = "local",
    .promises =
        STORE_ATOMIC_CREATE | STORE_READ_AFTER_WRITE | STORE_LIST_AFTER_WRITE | STORE_CHEAP_READ | STORE_STAGED_HIDDEN,
    .stage = local_stage,
    .commit = local_commit,
    .create = local_create,
    .replace = local_replace,
    .read = local_read,
    .stat = local_stat,
    .list = local_list,
    .remove = local_remove,
    .free_space = local_free_space,
    .close = local_close,
    .tidy = local_tidy,
};

/* The new folder and those above it that were made with it: how many is not known, and an fsync too many harms nothing.
 * A folder above that may not be read was not made here. */
static int sync_upwards(struct local_store *s, struct error *err) {
    int fd = seam_openat(s->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    struct stat here, above;
    int rc = 0;
    while (fd >= 0 && rc == 0) {
        rc = local_sync(s, fd, "the folder and those above it", err);
        int up = rc < 0 ? -1 : seam_openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        bool last = up < 0 || seam_fstat(fd, &here) < 0 || seam_fstat(up, &above) < 0 || here.st_dev != above.st_dev ||
                    here.st_ino == above.st_ino;
        io_close(&fd);
        if (last) io_close(&up);
        fd = up;
    }
    return rc;
}

static int open_root(struct local_store *s, bool create, struct error *err) {
    s->root = seam_openat(AT_FDCWD, s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (s->root >= 0) return 0;
    if (errno == ENOENT && create) {
        int rc = io_mkdirs(s->path, 0700, err);
        if (rc < 0) return rc;
        s->root = seam_openat(AT_FDCWD, s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        return s->root >= 0 ? sync_upwards(s, err)
                            : error_set_errno(err, ERR_IO_READ, "cannot open the folder %s", s->path);
    }
    if (errno == ENOENT) return error_set(err, ERR_REPO_NONE, "there is no folder %s", s->path);
    error_set_errno(err, errno == EACCES ? ERR_IO_DENIED : ERR_REPO_UNREACHABLE, "cannot open the folder %s", s->path);
    return io_whose(s->path, "list", err);
}

int store_local_open(const char *path, bool create, struct store **ret, struct error *err) {
    if (strncmp(path, "file://", 7) == 0) {
        path += 7;
        if (path[0] != '/') return error_set(err, ERR_USAGE, "after 'file://' comes an absolute path, not '%s'", path);
    }
    if (path[0] == 0) return error_set(err, ERR_USAGE, "the path of the repository is empty");
    void *p;
    int rc = mem_alloc(sizeof(struct local_store), &p, err);
    if (rc < 0) return rc;
    struct local_store *s = p;
    s->base.ops = &local_ops;
    s->root = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->committing, NULL);
    rc = mem_strdup(path, &s->path, err);
    if (rc == 0) rc = open_root(s, create, err);
    if (rc < 0) {
        local_close(&s->base);
        return rc;
    }
    *ret = &s->base;
    return 0;
}
