#include "base/seam.h"
#include "base/time.h"
#include "store/local/local_internal.h"
#include <errno.h>

#define KEY_BYTES_MAX 512

struct walk {
    struct local_store *s;
    store_list_cb cb;
    void *ctx;
    char key[KEY_BYTES_MAX + 1];
};

static int walk_folder(struct walk *w, size_t len, struct error *err);

static int walk_entry(struct walk *w, int dir, size_t len, const char *name, struct error *err) {
    size_t n = strlen(name);
    if (len + n > KEY_BYTES_MAX) return 0;
    memcpy(w->key + len, name, n + 1);
    if (!store_key_valid(w->key)) return 0;
    struct stat st;
    if (seam_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT) return 0; /* removed since it was read from the folder */
        return error_set_errno(err, ERR_IO_READ, "cannot look at %s in %s", w->key, w->s->path);
    }
    if (S_ISREG(st.st_mode)) {
        struct store_object o = {.key = w->key,
                                 .bytes = (uint64_t)st.st_size,
                                 .created_ns = st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec};
        return w->cb(w->ctx, &o, err);
    }
    if (!S_ISDIR(st.st_mode) || len + n + 1 > KEY_BYTES_MAX) return 0;
    memcpy(w->key + len + n, "/", 2);
    return walk_folder(w, len + n + 1, err);
}

/* w->key[0..len) is the folder's name, ending in '/' or empty. */
static int walk_folder(struct walk *w, size_t len, struct error *err) {
    int fd = seam_openat(w->s->root, len > 0 ? w->key : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return 0;
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (d == NULL) {
        error_set_errno(err, ERR_IO_READ, "cannot list the folder '%s' in %s", w->key, w->s->path);
        io_close(&fd);
        return local_whose(w->s, w->key, "list", err);
    }
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        struct dirent *e = seam_readdir(d);
        if (e == NULL) {
            w->key[len] = 0;
            if (errno != 0)
                rc = error_set_errno(err, ERR_IO_READ, "cannot list the folder '%s' in %s", w->key, w->s->path);
            break;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) rc = walk_entry(w, fd, len, e->d_name, err);
    }
    (void)seam_closedir(d);
    return rc;
}

int local_list(struct store *st, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    struct walk w = {.s = (struct local_store *)st, .cb = cb, .ctx = ctx};
    size_t n = strlen(prefix);
    memcpy(w.key, prefix, n + 1);
    return walk_folder(&w, n, err);
}
