#include "surface/pgphys/restore_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool pgphys_folder_empty(const char *path) {
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0) return errno == ENOENT;
    DIR *d = seam_fdopendir(fd);
    if (!d) {
        io_close(&fd);
        return false;
    }
    bool empty = true;
    errno = 0;
    for (struct dirent *e; empty && (e = seam_readdir(d));) empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
    if (errno) empty = false;
    seam_closedir(d);
    return empty;
}

int pgphys_target_choose(struct pgphys_restore *r, struct error *err) {
    const struct restore_request *q = r->q;
    const char *folder = json_string_value(json_object_get(r->ctx->settings, "data_directory"));
    char stamp[24];
    int n;
    if (q->as_scratch) {
        const char *data = json_string_value(json_object_get(q->scratch, "data"));
        if (!data) return error_set(err, ERR_JSON, "the scratch server's facts have no data folder");
        n = snprintf(r->target, sizeof r->target, "%s", data);
    } else if (q->target) {
        n = snprintf(r->target, sizeof r->target, "%s", q->target);
    } else if (!folder) {
        return error_set(err, ERR_USAGE, "a whole cluster is restored into a folder; name it with --into");
    } else if (q->in_place) {
        n = snprintf(r->target, sizeof r->target, "%s", folder);
    } else {
        time_format_compact(time_now_ns(), stamp);
        n = snprintf(r->target, sizeof r->target, "%s.restored-%s", folder, stamp);
    }
    while (n > 1 && n < PATH_MAX && r->target[n - 1] == '/') r->target[--n] = 0;
    const char *slash = strrchr(r->target, '/');
    if (n >= PATH_MAX - 32 || r->target[0] != '/' || !slash[1] || strlen(slash + 1) > 200 || !strcmp(slash, "/.") ||
        !strcmp(slash, "/.."))
        return error_set(err, ERR_USAGE, "the target '%.200s' is no absolute path of a folder", r->target);
    snprintf(r->parent, sizeof r->parent, "%.*s", slash == r->target ? 1 : (int)(slash - r->target), r->target);
    snprintf(r->spaces, sizeof r->spaces, "%.*s-tablespaces", PATH_MAX - 20, r->target);
    return 0;
}

static bool there(const struct pgphys_restore *r, const char *name) {
    char path[PATH_MAX + 64];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", r->target, name);
    return seam_fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int pgphys_target_decide(struct pgphys_restore *r, struct error *err) {
    const struct restore_request *q = r->q;
    struct stat st;
    if (q->include && q->include[0])
        return error_set(err, ERR_USAGE,
                         "a physical backup is restored as a whole; of a logical one, parts can be chosen");
    if (q->swap)
        return error_set(err, ERR_USAGE, "a running cluster cannot be swapped; restore it beside, and switch over");
    if (q->in_place && !q->delta)
        return error_set(err, ERR_USAGE,
                         "a restore into the server's own folder is a delta restore: say --delta as well");
    int rc = pgphys_target_choose(r, err);
    if (rc < 0) return rc;
    if (seam_fstatat(AT_FDCWD, r->target, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT) return error_set_errno(err, ERR_IO_READ, "look at %s", r->target);
        return 0;
    }
    r->exists = true;
    if (!S_ISDIR(st.st_mode)) return error_set(err, ERR_TARGET_NOT_EMPTY, "%s is there, and is no folder", r->target);
    if (pgphys_folder_empty(r->target)) return 0;
    if (!q->delta)
        return error_set(err, ERR_TARGET_NOT_EMPTY, "%s is not empty; --delta restores into an old data folder",
                         r->target);
    if (!there(r, "PG_VERSION"))
        return error_set(err, ERR_TARGET_NOT_EMPTY, "%s is not empty, and no data folder of PostgreSQL either",
                         r->target);
    if (there(r, "postmaster.pid")) {
        error_set(err, ERR_PG_IN_USE, "a server runs in %s, or has not been shut down: postmaster.pid is there",
                  r->target);
        return error_next(err, "Stop the server. If surely none runs, remove that file.");
    }
    r->delta = true;
    return 0;
}

int pgphys_target_space(const struct pgphys_restore *r, const char *name, const char *was, char *out,
                        struct error *err) {
    size_t n = strlen(was);
    for (const char *const *m = r->q->tablespaces; m && *m; m++) {
        if (strncmp(*m, was, n) != 0 || (*m)[n] != '=') continue;
        if ((*m)[n + 1] != '/')
            return error_set(err, ERR_USAGE, "the new place of the tablespace %s is no absolute path", was);
        snprintf(out, PATH_MAX, "%s", *m + n + 1);
        return 0;
    }
    if (r->delta) {
        char path[PATH_MAX + 64];
        snprintf(path, sizeof path, "%s/%s", r->target, name);
        ssize_t k = seam_readlinkat(AT_FDCWD, path, out, PATH_MAX - 1);
        if (k > 0 && out[0] == '/') {
            out[k] = 0;
            return 0;
        }
    }
    if (snprintf(out, PATH_MAX, "%s/%s", r->spaces, strrchr(name, '/') + 1) >= PATH_MAX)
        return error_set(err, ERR_USAGE, "the path of a tablespace is too long");
    return 0;
}
