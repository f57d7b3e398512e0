#include "surface/pgphys/restore_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MARK ".proofkeep-restoring"

/* "PATH\nDEV INO\n": what the folder is filled for, and the folder that is in, so that nobody takes it for gone where
 * it is only not to be seen: on another host, or while something is not mounted. Who fills holds a lock on it. */
int pgphys_space_mark(struct pgphys_restore *r, int fd, struct pgphys_item *it, struct error *err) {
    char text[2 * PATH_MAX + 64];
    struct stat in;
    if (seam_fstat(r->parentfd, &in) < 0) return error_set_errno(err, ERR_IO_READ, "look at %s", r->parent);
    int n = snprintf(text, sizeof text, "%s/%s\n%llu %llu\n", r->parent, r->name, (unsigned long long)in.st_dev,
                     (unsigned long long)in.st_ino);
    int out = seam_openat(fd, MARK, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0 && errno == EEXIST)
        return error_set(err, ERR_TARGET_NOT_EMPTY, "another restore fills the tablespace's folder %s", it->target);
    if (out < 0) return error_set_errno(err, ERR_IO_WRITE, "write into the tablespace's folder %s", it->target);
    it->marked = true;
    it->mark_fd = out;
    int rc = io_lock(out) < 0 ? error_set(err, ERR_TARGET_NOT_EMPTY, "another restore fills %s", it->target) : 0;
    return rc == 0 ? io_write_full(out, text, (size_t)n, it->target, err) : rc;
}

/* The mark is written in one piece, but a power cut may have left none of it: then who filled the folder is not known.
 */
static bool is_gone(char *text) {
    char *line = strchr(text, '\n'), *end;
    struct stat st;
    if (text[0] != '/' || !line) return false;
    *line++ = 0;
    const unsigned long long dev = strtoull(line, &end, 10), ino = strtoull(end, &end, 10);
    if (*end != '\n' || seam_fstatat(AT_FDCWD, text, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT) return false;
    *strrchr(text, '/') = 0;
    return seam_fstatat(AT_FDCWD, *text ? text : "/", &st, 0) == 0 && st.st_dev == dev && st.st_ino == ino;
}

int pgphys_space_take(const char *path) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(2 * PATH_MAX + 64);
    struct error none = ERROR_INIT;
    struct stat st;
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int mark = seam_openat(fd, MARK, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    /* nobody fills or empties it, nor has since it was opened */
    bool ours = mark >= 0 && io_lock(mark) == 0 && seam_fstat(mark, &st) == 0 && S_ISREG(st.st_mode) &&
                st.st_uid == geteuid() && st.st_nlink > 0;
    int rc = ours ? io_read_file(fd, MARK, 2 * PATH_MAX + 63, &b, &none) : -1;
    if (rc == 0) rc = buf_terminate(&b, &none);
    if (rc < 0 || !is_gone((char *)b.ptr)) io_close(&mark);
    io_close(&fd);
    return mark;
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

/* Durable before anything gets its name: a mark that came back would have a later restore empty what is in use. */
int pgphys_spaces_done(struct pgphys_restore *r, struct error *err) {
    for (size_t i = 0; i < r->n; i++) {
        struct pgphys_item *it = &r->items[i];
        if (!it->marked) continue;
        int fd = seam_openat(AT_FDCWD, it->target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0), rc = 0;
        if (fd < 0 || (seam_unlinkat(fd, MARK, 0) < 0 && errno != ENOENT) || (r->lasting && seam_fsync(fd) < 0))
            rc = error_set_errno(err, ERR_IO_WRITE, "remove %s/" MARK, it->target);
        io_close(&fd);
        if (rc < 0) return rc;
    }
    return 0;
}

void pgphys_spaces_free(struct pgphys_restore *r) {
    for (size_t i = 0; i < r->n; i++)
        if (r->items[i].marked) io_close(&r->items[i].mark_fd);
}

int pgphys_undo(const struct surface_context *ctx, const struct restore_request *q, unsigned *ret_removed,
                struct error *err) {
    struct pgphys_restore r = {.ctx = ctx, .q = q};
    const json_t *v;
    size_t i;
    *ret_removed = 0;
    if (!q->target)
        return 0; /* into an old folder, where there are no marks, or one whose name nobody knows any more */
    int rc = pgphys_target_choose(&r, err);
    json_array_foreach(json_object_get(q->facts, "tablespaces"), i, v) {
        char to[PATH_MAX], link[64];
        const char *was = json_text(v, "location", ""), *oid = json_text(v, "oid", "");
        if (rc < 0 || *was != '/') continue;
        snprintf(link, sizeof link, "pg_tblspc/%.40s", oid);
        rc = pgphys_target_space(&r, link, was, to, err);
        int mark = rc < 0 ? -1 : pgphys_space_take(to);
        if (mark < 0) continue;
        rc = pgphys_space_empty(to, err);
        io_close(&mark);
        *ret_removed += rc == 0;
        /* Who made one elsewhere is not known; it may have been there, empty. */
        const size_t n = strlen(r.spaces);
        if (rc == 0 && !strncmp(to, r.spaces, n) && to[n] == '/') (void)!seam_unlinkat(AT_FDCWD, to, AT_REMOVEDIR);
    }
    if (rc == 0 && *ret_removed) (void)!seam_unlinkat(AT_FDCWD, r.spaces, AT_REMOVEDIR);
    return rc;
}
