/* Removing a tree in two levels: what lies deeper is first moved up into the root, so that neither the depth of the
 * tree nor its width costs descriptors or memory, and a path too long for the system is never formed. */
#include "base/seam.h"
#include <errno.h>
#include <stdio.h>

struct removal {
    const char *path; /* for messages */
    int root;
    dev_t dev;
    uint64_t moved; /* numbers the folders that were moved up */
};

static void dir_close(DIR **d) {
    if (*d) seam_closedir(*d);
}

static int removal_failed(struct removal *r, const char *name, struct error *err) {
    return error_set_errno(err, ERR_IO_WRITE, "remove %s: %s", r->path, name);
}

/* Opens a folder so that its entries can be removed; *ret_fd is -1 when it is gone. */
static int folder_open(struct removal *r, int dirfd, const char *name, int *ret_fd, struct error *err) {
    int fd = seam_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0 && errno == EACCES && seam_fchmodat(dirfd, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        fd = seam_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0 && errno != ENOENT) return removal_failed(r, name, err);
    struct stat st;
    int rc = 0;
    if (fd >= 0 && seam_fstat(fd, &st) < 0) {
        rc = removal_failed(r, name, err);
    } else if (fd >= 0 && r->root >= 0 && st.st_dev != r->dev) {
        rc = error_set(err, ERR_IO_WRITE, "remove %s: %s is another file system; unmount it first", r->path, name);
    } else if (fd >= 0) {
        r->dev = st.st_dev;
        if ((st.st_mode & 0700) != 0700 && seam_fchmod(fd, 0700) < 0) rc = removal_failed(r, name, err);
    }
    if (rc)
        io_close(&fd);
    else
        *ret_fd = fd;
    return rc;
}

static int folder_move_up(struct removal *r, int dirfd, const char *name, struct error *err) {
    char up[48];
    for (;;) {
        snprintf(up, sizeof up, ".pk-removing-%llu", (unsigned long long)r->moved++);
        if (seam_renameat2(dirfd, name, r->root, up, RENAME_NOREPLACE) == 0 || errno == ENOENT) return 0;
        if (errno == EACCES && seam_fchmodat(dirfd, name, 0700, AT_SYMLINK_NOFOLLOW) == 0 &&
            seam_renameat2(dirfd, name, r->root, up, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno != EEXIST) return removal_failed(r, name, err);
    }
}

/* Empties the folder at fd, once through. At the root folders are emptied in their turn, below it they are moved up.
 * *ret_more says that something was found, so that another pass is due. */
static int folder_empty(struct removal *r, int fd, bool at_root, bool *ret_more, struct error *err) {
    int own = seam_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0);
    if (own < 0) return removal_failed(r, "a folder in it", err);
    CLEANUP(dir_close) DIR *d = seam_fdopendir(own);
    if (!d) {
        int rc = removal_failed(r, "a folder in it", err);
        io_close(&own);
        return rc;
    }
    bool more = false;
    for (;;) {
        errno = 0;
        struct dirent *e = seam_readdir(d);
        if (!e && errno) return removal_failed(r, "a folder in it", err);
        if (!e) break;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        more = true;
        if (seam_unlinkat(fd, e->d_name, 0) == 0 || errno == ENOENT) continue;
        if (errno != EISDIR && errno != EPERM) return removal_failed(r, e->d_name, err);
        int first = errno;
        if (seam_unlinkat(fd, e->d_name, AT_REMOVEDIR) == 0 || errno == ENOENT) continue;
        if (errno == ENOTDIR) errno = first;
        if (errno != ENOTEMPTY && errno != EEXIST) return removal_failed(r, e->d_name, err);
        int rc;
        if (!at_root) {
            rc = folder_move_up(r, fd, e->d_name, err);
        } else {
            CLEANUP(io_close) int sub = -1;
            rc = folder_open(r, fd, e->d_name, &sub, err);
            for (bool again = sub >= 0; rc == 0 && again;) rc = folder_empty(r, sub, false, &again, err);
            if (rc == 0 && seam_unlinkat(fd, e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                rc = removal_failed(r, e->d_name, err);
        }
        if (rc) return rc;
    }
    *ret_more = more;
    return 0;
}

int io_remove_tree(int dirfd, const char *path, struct error *err) {
    struct removal r = {.path = path, .root = -1};
    if (seam_unlinkat(dirfd, path, 0) == 0 || errno == ENOENT) return 0;
    /* unlink answers EISDIR for a folder on Linux, and EPERM where it follows POSIX to the letter. */
    if (errno != EISDIR && errno != EPERM) return removal_failed(&r, path, err);
    int fd = -1;
    int rc = folder_open(&r, dirfd, path, &fd, err);
    r.root = fd;
    for (bool again = fd >= 0; rc == 0 && again;) rc = folder_empty(&r, fd, true, &again, err);
    io_close(&fd);
    if (rc == 0 && seam_unlinkat(dirfd, path, AT_REMOVEDIR) < 0 && errno != ENOENT) rc = removal_failed(&r, path, err);
    return rc;
}
