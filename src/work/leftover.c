#include "work/leftover.h"

#include "base/seam.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PARTIAL ".proofkeep-partial-"
#define MARK ".proofkeep-partial" /* an empty file in a half-made folder */
#define TRIES 16

int leftover_lock(int fd, const char *path, struct error *err) {
    return io_lock(fd) == 0 ? 0 : error_set_errno(err, ERR_IO_WRITE, "locking the folder %s", path);
}

int leftover_lock_new(const char *path, int *ret, struct error *err) {
    for (int tries = 1;; tries++) {
        struct stat st;
        if (seam_mkdirat(AT_FDCWD, path, 0700) < 0) return error_set_errno(err, ERR_IO_WRITE, "making %s", path);
        int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        int rc = fd < 0 ? error_set_errno(err, ERR_IO_READ, "opening %s", path) : leftover_lock(fd, path, err);
        if (rc == 0 && seam_fstat(fd, &st) < 0) rc = error_set_errno(err, ERR_IO_READ, "opening %s", path);
        if (rc == 0 && st.st_nlink > 0) {
            *ret = fd;
            return 0;
        }
        io_close(&fd);
        /* a sweeper may have seen it before it was locked; then it is gone, or about to be */
        if (tries == TRIES || (rc < 0 && err->sys_errno != ENOENT && err->sys_errno != EWOULDBLOCK)) {
            (void)seam_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
            return rc < 0 ? rc : error_set(err, ERR_IO_WRITE, "%s was removed again and again", path);
        }
        (void)seam_unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
        error_clear(err);
    }
}

static bool hex_digits(const char *p, size_t n) {
    return strlen(p) == n && strspn(p, "0123456789abcdef") == n;
}

static bool is_scratch(const char *name, const char *unused) {
    static const char head[] = "proofkeep-";
    (void)unused;
    if (strncmp(name, head, sizeof head - 1) != 0) return false;
    const char *pid = name + sizeof head - 1, *end = pid + strspn(pid, "0123456789");
    return end > pid && *end == '-' && hex_digits(end + 1, 12);
}

/* Of the name `of`, or of any when it is NULL. The files driver tags with 16 digits, an export with 8. */
static bool is_partial(const char *name, const char *of) {
    const char *mark = strstr(name, PARTIAL);
    for (const char *next = mark; next; next = strstr(next + 1, PARTIAL)) mark = next;
    if (!mark || mark == name) return false;
    const char *tag = mark + sizeof PARTIAL - 1;
    if (!hex_digits(tag, 16) && !hex_digits(tag, 8)) return false;
    size_t n = (size_t)(mark - name);
    /* long names are cut before they are tagged */
    return !of || (strncmp(name, of, n) == 0 && (of[n] == '\0' || n == 200));
}

/* Where it was given to the user of a server, root's own file in it says who made it; no other user can have put one
 * there. */
static bool is_ours(int fd, const struct stat *folder) {
    struct stat st;
    if (folder->st_uid == geteuid()) return true;
    return geteuid() == 0 && seam_fstatat(fd, MARK, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_uid == 0 && st.st_nlink == 1 && st.st_size == 0;
}

struct look {
    const char *folder, *of;
    bool (*fits)(const char *name, const char *of);
    leftover_cb cb;
    void *ctx;
};

/* Each folder of ours in `folder` that fits and that nobody holds. */
static int look(const struct look *l, struct error *err) {
    char path[4096 + 300];
    int fd = seam_openat(AT_FDCWD, l->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), rc = 0;
    DIR *d = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!d) {
        io_close(&fd);
        return 0; /* nothing to see is nothing left */
    }
    for (struct dirent *e; rc == 0 && (e = seam_readdir(d));) {
        struct stat st;
        if (!l->fits(e->d_name, l->of)) continue;
        if (snprintf(path, sizeof path, "%s/%s", l->folder[1] ? l->folder : "", e->d_name) >= (int)sizeof path)
            continue;
        int one = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (one < 0) continue;
        if (seam_fstat(one, &st) == 0 && is_ours(one, &st) && seam_flock(one, LOCK_EX | LOCK_NB) == 0)
            rc = l->cb(l->ctx, path, err);
        io_close(&one);
    }
    seam_closedir(d);
    return rc;
}

static int remove_one(void *ctx, const char *path, struct error *err) {
    unsigned *removed = ctx;
    struct error lost = ERROR_INIT;
    (void)err;
    *removed += io_remove_tree(AT_FDCWD, path, &lost) == 0;
    return 0;
}

unsigned leftover_scratch_remove(const char *base) {
    unsigned removed = 0;
    struct error e = ERROR_INIT;
    struct look l = {base, NULL, is_scratch, remove_one, &removed};
    (void)!look(&l, &e);
    return removed;
}

int leftover_partials(const char *target, bool all, leftover_cb cb, void *ctx, struct error *err) {
    char folder[4096];
    const char *slash = strrchr(target, '/');
    if (*target != '/' || strlen(target) >= sizeof folder) return 0;
    size_t n = slash == target ? 1 : (size_t)(slash - target);
    memcpy(folder, target, n);
    folder[n] = '\0';
    struct look l = {folder, all ? NULL : slash + 1, is_partial, cb, ctx};
    return look(&l, err);
}

struct telling {
    struct work *w;
    const char *label;
    unsigned removed;
};

static void tell(const struct telling *t, const char *before, const char *path, const char *after) {
    const struct work_events *e = &t->w->options.events;
    char line[4096 + 600];
    snprintf(line, sizeof line, "%s%s%s", before, path, after);
    if (e->warning) e->warning(e->ctx, t->label, line);
}

static int name_partial(void *ctx, const char *path, struct error *err) {
    (void)err;
    tell(ctx, "", path, " is left of a run that was killed; carrying this out removes it");
    return 0;
}

static int remove_partial(void *ctx, const char *path, struct error *err) {
    struct telling *t = ctx;
    struct error lost = ERROR_INIT;
    (void)err;
    const bool gone = io_remove_tree(AT_FDCWD, path, &lost) == 0;
    t->removed += gone;
    if (gone)
        tell(t, "removed ", path, ", which a run that was killed had left");
    else
        tell(t, "", path, " is left of a run that was killed and could not be removed");
    return 0;
}

void work_partials_name(struct work *w, const char *target, const char *label) {
    struct error lost = ERROR_INIT;
    struct telling t = {w, label, 0};
    (void)!leftover_partials(target, false, name_partial, &t, &lost);
}

unsigned work_partials_remove(struct work *w, const char *target, const char *label) {
    struct error lost = ERROR_INIT;
    struct telling t = {w, label, 0};
    (void)!leftover_partials(target, false, remove_partial, &t, &lost);
    return t.removed;
}
