#include "base/seam.h"
#include "store/local/local_internal.h"
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>

/* Folders are few (two levels of packs); past this the set is forgotten and learnt again, at the cost of a few fsyncs.
 */
#define DURABLE_MAX 4096

static size_t folder_len(const char *key, size_t len) {
    while (len > 0 && key[len - 1] != '/') len--;
    return len > 0 ? len - 1 : 0;
}

int local_touch(struct local_store *s, const char *key, struct names *touched, struct error *err) {
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t len = strlen(key);;) {
        len = folder_len(key, len);
        rc = names_add(touched, key, len, err);
        if (rc < 0 || len == 0 || names_has(&s->durable, key, len)) break;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int local_sync_folders(struct local_store *s, const struct names *touched, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < touched->len && rc == 0; i++) {
        const char *folder = touched->at[i][0] != 0 ? touched->at[i] : ".";
        int fd = seam_openat(s->root, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        char what[600];
        snprintf(what, sizeof what, "the folder %s", folder);
        rc = fd < 0 ? local_latch(s, what, err) : local_sync(s, fd, what, err);
        io_close(&fd);
    }
    if (rc < 0) return rc;
    pthread_mutex_lock(&s->lock);
    if (s->durable.len > DURABLE_MAX) names_free(&s->durable);
    struct error forgotten = ERROR_INIT; /* what is not remembered is fsynced again, no more */
    for (size_t i = 0; i < touched->len; i++)
        if (names_add(&s->durable, touched->at[i], strlen(touched->at[i]), &forgotten) < 0) break;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static int make_folders(struct local_store *s, const char *key, struct error *err) {
    size_t last = folder_len(key, strlen(key));
    pthread_mutex_lock(&s->lock);
    bool known = last == 0 || names_has(&s->durable, key, last);
    pthread_mutex_unlock(&s->lock);
    if (known) return 0;
    char path[520];
    for (size_t i = 1; i <= last; i++) {
        if (key[i] != '/') continue;
        memcpy(path, key, i);
        path[i] = 0;
        if (seam_mkdirat(s->root, path, 0700) < 0 && errno != EEXIST)
            return error_set_errno(err, ERR_IO_WRITE, "cannot make the folder %s/%s", s->path, path);
    }
    return 0;
}

/* A link whose answer was lost on the way (NFS) reports EEXIST though it was made; the two names then are one file. */
static bool is_same_file(struct local_store *s, const char *a, const char *b) {
    struct stat sa, sb;
    return seam_fstatat(s->root, a, &sa, AT_SYMLINK_NOFOLLOW) == 0 &&
           seam_fstatat(s->root, b, &sb, AT_SYMLINK_NOFOLLOW) == 0 && sa.st_ino == sb.st_ino && sa.st_dev == sb.st_dev;
}

static int give_name(struct local_store *s, const char *tmp, const char *key) {
    if (seam_renameat2(s->root, tmp, s->root, key, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return -1;
    if (seam_linkat(s->root, tmp, s->root, key, 0) < 0) {
        if (errno != EEXIST) return -1;
        if (!is_same_file(s, tmp, key)) {
            errno = EEXIST;
            return -1;
        }
    }
    local_drop_tmp(s, tmp);
    return 0;
}

int local_place(struct local_store *s, const char *tmp, const char *key, bool replace, struct names *touched,
                struct error *err) {
    int rc = make_folders(s, key, err);
    if (rc < 0) return rc;
    /* Before the name is given, so that a failure to remember the folder cannot leave a name that is never made
     * durable. */
    rc = local_touch(s, key, touched, err);
    if (rc < 0) return rc;
    if (replace ? seam_renameat2(s->root, tmp, s->root, key, 0) == 0 : give_name(s, tmp, key) == 0) return 0;
    if (errno == EEXIST) return error_set(err, ERR_OBJECT_EXISTS, "the object %s exists already in %s", key, s->path);
    return error_set_errno(err, ERR_IO_WRITE, "cannot give the object %s its name in %s", key, s->path);
}
