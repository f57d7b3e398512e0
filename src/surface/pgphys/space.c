#include "surface/pgphys/restore_internal.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define MARK ".proofkeep-restoring"

int pgphys_space_mark(struct pgphys_restore *r, int fd, struct pgphys_item *it, struct error *err) {
    char path[2 * PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", r->parent, r->name);
    int out = seam_openat(fd, MARK, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0) return error_set_errno(err, ERR_IO_WRITE, "write into the tablespace's folder %s", it->target);
    it->marked = true;
    int rc = io_write_full(out, path, (size_t)n, it->target, err);
    io_close(&out);
    return rc;
}

/* The mark is written in one piece, but a power cut may have left none of it: then who filled the folder is not known.
 */
bool pgphys_space_abandoned(const char *path) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(2 * PATH_MAX);
    struct error none = ERROR_INIT;
    struct stat st;
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) return false;
    bool ours = seam_fstatat(fd, MARK, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
    int rc = ours ? io_read_file(fd, MARK, 2 * PATH_MAX - 1, &b, &none) : -1;
    io_close(&fd);
    if (rc == 0) rc = buf_terminate(&b, &none);
    return rc == 0 && b.ptr[0] == '/' && seam_fstatat(AT_FDCWD, (const char *)b.ptr, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
           errno == ENOENT;
}

int pgphys_space_empty(const char *path, struct error *err) {
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0), rc = 0;
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        rc = error_set_errno(err, ERR_IO_READ, "read the tablespace's folder %s", path);
        io_close(&fd);
        return rc;
    }
    for (struct dirent *e; rc == 0 && (e = seam_readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strcmp(e->d_name, MARK) != 0)
            rc = io_remove_tree(fd, e->d_name, err);
    if (rc == 0 && seam_unlinkat(fd, MARK, 0) < 0 &&
        errno != ENOENT) /* last, or a kill would leave what nobody filled */
        rc = error_set_errno(err, ERR_IO_WRITE, "empty the tablespace's folder %s", path);
    seam_closedir(d);
    return rc;
}

int pgphys_spaces_done(struct pgphys_restore *r, struct error *err) {
    char path[PATH_MAX + sizeof MARK + 1];
    for (size_t i = 0; i < r->n; i++) {
        if (!r->items[i].marked) continue;
        snprintf(path, sizeof path, "%s/" MARK, r->items[i].target);
        if (seam_unlinkat(AT_FDCWD, path, 0) < 0 && errno != ENOENT)
            return error_set_errno(err, ERR_IO_WRITE, "remove %s", path);
    }
    return 0;
}
