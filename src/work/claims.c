#include "work/claims.h"

#include "base/seam.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define NOTE_BYTES_MAX 4096u
#define TRIES 16

struct claim {
    int fd; /* of its note, locked */
    char name[601], path[4300];
};

/* Whether a lock that is held shows to another who asks. */
static bool locks_work(const char *path) {
    CLEANUP(io_close) int fd = seam_openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    return fd >= 0 && seam_flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

/* An empty note of a name of its own, locked. */
static int begin(const struct work_claims *c, struct claim *ret, struct error *err) {
    uint8_t random[8];
    char hex[17];
    struct stat st;
    for (int tries = 1;; tries++) {
        int r = random_bytes(random, sizeof random, err);
        if (r < 0) return r;
        hex_encode(random, sizeof random, hex);
        snprintf(ret->path, sizeof ret->path, "%s/%s.json", c->folder, hex);
        ret->fd = seam_openat(AT_FDCWD, ret->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (ret->fd < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", ret->path);
        /* whoever sweeps may have come in between, and takes an empty note away */
        if (io_lock(ret->fd) == 0 && seam_fstat(ret->fd, &st) == 0 && st.st_nlink > 0) return 0;
        if (tries == TRIES) r = error_set_errno(err, ERR_IO_WRITE, "lock %s", ret->path);
        io_close(&ret->fd);
        if (r < 0) return r;
    }
}

static int write_note(const struct work_claims *c, const struct claim *x, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(NOTE_BYTES_MAX);
    json_auto_t *note = json_pack("{s:i, s:s, s:s, s:s}", "v", 1, "surface", c->label, "job", c->job, "name", x->name);
    int r = note ? json_write(note, &text, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = io_write_full(x->fd, text.ptr, text.len, x->path, err);
    if (r == 0 && seam_fsync(x->fd) < 0) r = error_set_errno(err, ERR_IO_WRITE, "write %s", x->path);
    if (r < 0) return r;
    CLEANUP(io_close) int dir = seam_openat(AT_FDCWD, c->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return dir >= 0 && seam_fsync(dir) == 0 ? 0 : error_set_errno(err, ERR_IO_WRITE, "write %s", c->folder);
}

static void end(struct claim *x, bool gone) {
    if (gone) (void)seam_unlinkat(AT_FDCWD, x->path, 0);
    io_close(&x->fd);
}

static int make(void *ctx, const char *name, struct error *err) {
    struct work_claims *c = ctx;
    if (!*c->folder) return 0;
    int r = mem_grow((void **)&c->of, &c->cap, c->n + 1, sizeof *c->of, err);
    if (r == 0) r = io_mkdirs(c->folder, 0700, err);
    if (r < 0) return r;
    struct claim *x = &c->of[c->n];
    if (strlen(name) >= sizeof x->name) return error_set(err, ERR_INTERNAL, "a claim's name is too long");
    snprintf(x->name, sizeof x->name, "%s", name);
    if ((r = begin(c, x, err)) < 0) return r;
    bool locks = locks_work(x->path);
    if (locks) r = write_note(c, x, err);
    if (locks && r == 0)
        c->n++;
    else
        end(x, true);
    return r;
}

static void drop(void *ctx, const char *name) {
    struct work_claims *c = ctx;
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->of[i].name, name) != 0) continue;
        end(&c->of[i], true);
        c->of[i] = c->of[--c->n];
        return;
    }
}

static bool stored(void *ctx, const char *job) {
    const struct work_claims *c = ctx;
    const struct repo *r = c->work->repo;
    for (size_t i = 0; i < repo_snapshot_count(r); i++)
        if (!strcmp(repo_snapshot(r, i)->id, job)) return true;
    return false;
}

/* A note that nobody holds. What cannot be read as one was being written when its backup died, before anything was
 * made. */
static void over(const struct work_claims *c, int dir, const char *file, int (*cb)(void *, const char *),
                 void *cb_ctx) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(NOTE_BYTES_MAX);
    CLEANUP(io_close) int fd = seam_openat(dir, file, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    struct error ignored = ERROR_INIT;
    json_auto_t *note = NULL;
    if (fd < 0 || seam_flock(fd, LOCK_EX | LOCK_NB) < 0) return;
    if (io_read_file(dir, file, NOTE_BYTES_MAX, &text, &ignored) < 0) return;
    if (json_parse(buf_bytes(&text), NOTE_BYTES_MAX, file, &note, &ignored) == -ERR_NO_MEMORY) return;
    if (note && strcmp(json_text(note, "surface", ""), c->label) != 0) return;
    if (!note || stored((void *)c, json_text(note, "job", "")) || cb(cb_ctx, json_text(note, "name", "")) == 0)
        (void)seam_unlinkat(dir, file, 0);
}

static bool is_note(const char *file) {
    return strlen(file) == 16 + 5 && !strcmp(file + 16, ".json");
}

/* An empty one is not begun, or was cut off before it was: it is taken away, and whoever was about to lock it makes
 * another. */
static bool is_over(int dir, const char *file) {
    CLEANUP(io_close) int fd = seam_openat(dir, file, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    struct stat st;
    if (fd < 0 || seam_flock(fd, LOCK_EX | LOCK_NB) < 0 || seam_fstat(fd, &st) < 0) return false;
    if (st.st_size == 0) (void)seam_unlinkat(dir, file, 0);
    return st.st_size > 0;
}

/* *ret -1: there never was a note. */
static int open_folder(const struct work_claims *c, int *ret, struct error *err) {
    *ret = *c->folder ? seam_openat(AT_FDCWD, c->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0) : -1;
    return *ret >= 0 || !*c->folder || errno == ENOENT ? 0 : error_set_errno(err, ERR_IO_READ, "open %s", c->folder);
}

static int dead(void *ctx, int (*cb)(void *, const char *), void *cb_ctx, struct error *err) {
    const struct work_claims *c = ctx;
    CLEANUP(io_close) int dir = -1;
    int r = c->n_over ? open_folder(c, &dir, err) : 0;
    for (size_t i = 0; r == 0 && dir >= 0 && i < c->n_over; i++) over(c, dir, c->over[i], cb, cb_ctx);
    return r;
}

/* Those that nobody holds now. One that dies later may do so with its recovery point in a log that we did not read. */
static int survey(struct work_claims *c, struct error *err) {
    int fd, r = open_folder(c, &fd, err);
    if (r < 0 || fd < 0) return r;
    CLEANUP(io_close) int dir = fd;
    int again = seam_openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = again < 0 ? NULL : seam_fdopendir(again);
    if (!d) {
        r = error_set_errno(err, ERR_IO_READ, "list %s", c->folder);
        io_close(&again);
        return r;
    }
    for (const struct dirent *e; r == 0 && (e = seam_readdir(d));) {
        if (!is_note(e->d_name) || !is_over(dir, e->d_name)) continue;
        r = mem_grow((void **)&c->over, &c->cap_over, c->n_over + 1, sizeof *c->over, err);
        if (r == 0) snprintf(c->over[c->n_over++], sizeof *c->over, "%.22s", e->d_name);
    }
    (void)seam_closedir(d);
    return r;
}

int work_claims_open(struct work *w, const struct work_surface *s, const char *job, struct work_claims *ret,
                     struct error *err) {
    const char *cache = repo_cache_dir(w->repo);
    *ret = (struct work_claims){.table = {ret, make, drop, dead, job, stored}, .work = w, .job = job};
    snprintf(ret->label, sizeof ret->label, "%.120s/%.120s", s->environment, s->name);
    if (cache) snprintf(ret->folder, sizeof ret->folder, "%.4000s/claims", cache);
    int r = survey(ret, err);
    return r == 0 && ret->n_over ? repo_sync(w->repo, err) : r;
}

void work_claims_close(struct work_claims *c, bool is_stored) {
    for (size_t i = 0; i < c->n; i++) end(&c->of[i], is_stored);
    seam_free(c->of);
    seam_free(c->over);
    *c = (struct work_claims){0};
}
