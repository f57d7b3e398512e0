/* restore_command: one process a file. While the server replays it, a process of its own fetches what comes next into
 * the spool folder, by cluster; nothing there is believed before its header was checked again, or when it lies there
 * for long: what the repository has may be another's by then. */
#include "work/any_copy.h"
#include "work/wal_internal.h"

#include "base/proc.h"
#include "base/time.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define AHEAD_BYTES (UINT64_C(256) << 20)
#define AHEAD_MAX 16
#define WAIT_NS (60 * NS_PER_S)
#define POLL_NS (10 * 1000000)
#define COPY_BYTES (1u << 20)
#define LOCK "lock"
#define OLD_NS (900 * NS_PER_S)
#define CLUSTER "cluster" /* which one the surface is, as the last run found out that was not told */

static void fetched_path(const struct wal_spool *s, const struct wal_name *n, const char *more,
                         char out[WAL_SPOOL_BYTES + 80]) {
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    snprintf(out, WAL_SPOOL_BYTES + 80, "%s/%s%s", s->path, name, more);
}

static int open_new(const char *path, int *ret, struct error *err) {
    (void)!seam_unlinkat(AT_FDCWD, path, 0);
    *ret = seam_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return *ret < 0 ? error_set_errno(err, ERR_IO_WRITE, "cannot make %s", path) : 0;
}

static int close_new(const char *path, int fd, int rc, struct error *err) {
    if (seam_close(fd) < 0 && rc == 0) rc = error_set_errno(err, ERR_IO_WRITE, "writing %s", path);
    if (rc < 0) (void)!seam_unlinkat(AT_FDCWD, path, 0);
    return rc;
}

static int write_new(const char *path, struct work_wal *h, uint64_t system, const struct wal_name *n,
                     struct error *err) {
    struct wal_source *s = work_wal_source(h);
    int fd, rc = open_new(path, &fd, err);
    return rc < 0 ? rc : close_new(path, fd, s->ops->write(s, system, n, fd, path, err), err);
}

static void beside(const char *path, char out[4200]) {
    snprintf(out, 4200, "%s.proofkeep-%d", path, (int)getpid());
}

/* Not made durable: the server that asks reads it now, and asks again after a crash. */
static int give_name(const char *tmp, const char *path, struct error *err) {
    if (seam_renameat2(AT_FDCWD, tmp, AT_FDCWD, path, 0) == 0) return 0;
    int rc = error_set_errno(err, ERR_IO_WRITE, "cannot rename %s to %s", tmp, path);
    (void)!seam_unlinkat(AT_FDCWD, tmp, 0);
    return rc;
}

/* Whether ours is the other up to a place, and nothing but zeros from there on. */
static int is_shorter(int fd, const char *path, int other, const char *name, bool *ret, struct error *err) {
    uint8_t *room;
    size_t n = 1, there;
    bool differs = false;
    void *v;
    int rc = mem_alloc(2 * COPY_BYTES, &v, err);
    if (rc < 0) return rc;
    room = v;
    *ret = true;
    for (uint64_t at = 0; rc == 0 && n && *ret; at += n) {
        size_t i = 0;
        rc = io_pread_full(fd, room, COPY_BYTES, at, &n, path, err);
        if (rc == 0) rc = io_pread_full(other, room + COPY_BYTES, COPY_BYTES, at, &there, name, err);
        if (rc < 0) break;
        if (there != n) *ret = false;
        if (!differs && memcmp(room, room + COPY_BYTES, n) == 0) continue;
        while (!differs && room[i] == room[COPY_BYTES + i]) i++;
        differs = true;
        for (; i < n && *ret; i++) *ret = room[i] == 0;
    }
    *ret = *ret && differs;
    seam_free(v);
    return rc;
}

/* A standby may have streamed more of a segment than is stored yet. What it gets here takes the place of its own file
 * in pg_wal, beside which it is put: what the standby has said to have would be lost, and the server end at its
 * promotion. */
static int keep_longer(const char *tmp, const char *path, const struct wal_name *n, struct error *err) {
    char name[WAL_NAME_BYTES], own[4200];
    const char *slash = strrchr(path, '/');
    bool shorter = false;
    wal_name_format(n, name);
    snprintf(own, sizeof own, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name);
    if (n->kind != WAL_SEGMENT || strcmp(own, path) == 0) return 0;
    int other = seam_openat(AT_FDCWD, own, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (other < 0) return 0;
    int fd = seam_openat(AT_FDCWD, tmp, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    int rc = fd < 0 ? error_set_errno(err, ERR_IO_READ, "cannot open %s", tmp)
                    : is_shorter(fd, tmp, other, own, &shorter, err);
    io_close(&fd);
    io_close(&other);
    if (rc == 0 && shorter) rc = error_set(err, ERR_WAL_ABSENT, "%s has more of it than is stored", own);
    if (rc < 0) (void)!seam_unlinkat(AT_FDCWD, tmp, 0);
    return rc;
}

static int deliver(const char *path, struct work_wal *h, uint64_t system, const struct wal_name *n, struct error *err) {
    char tmp[4200];
    beside(path, tmp);
    int rc = write_new(tmp, h, system, n, err);
    if (rc == 0) rc = keep_longer(tmp, path, n, err);
    return rc == 0 ? give_name(tmp, path, err) : rc;
}

/* ---- fetching ahead ---- */

struct ahead {
    struct work *w;
    char environment[128], surface[128];
    struct wal_spool spool;
    struct wal_name after;
    uint64_t system;
};

/* Each cluster's files lie apart. */
static int cluster_spool(const struct wal_spool *s, uint64_t system, struct wal_spool *ret, struct error *err) {
    snprintf(ret->path, sizeof ret->path, "%.4400s/get/%" PRIu64, s->path, system);
    return io_mkdirs(ret->path, 0700, err);
}

static uint64_t cluster_known(const struct wal_spool *s) {
    char path[WAL_SPOOL_BYTES + 80], text[32] = "";
    struct buf b = BUF_INIT(sizeof text - 1);
    struct error e = ERROR_INIT;
    uint64_t system = 0;
    snprintf(path, sizeof path, "%s/" CLUSTER, s->path);
    if (io_read_file(AT_FDCWD, path, b.max_bytes, &b, &e) == 0 && b.len) memcpy(text, b.ptr, b.len);
    buf_free(&b);
    return wal_system_parse(text, &system) ? system : 0;
}

/* Only help: whoever does not find it asks the repository. */
static void cluster_note(const struct wal_spool *s, uint64_t system) {
    char path[WAL_SPOOL_BYTES + 80], text[32];
    struct error e = ERROR_INIT;
    if (cluster_known(s) == system) return;
    snprintf(path, sizeof path, "%s/" CLUSTER, s->path);
    snprintf(text, sizeof text, "%" PRIu64, system);
    (void)!io_replace_file(AT_FDCWD, path, BYTES_STR(text), 0600, &e);
}

static int lock_ahead(const struct wal_spool *s) {
    char path[WAL_SPOOL_BYTES + 80];
    snprintf(path, sizeof path, "%s/" LOCK, s->path);
    int fd = seam_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && io_lock(fd) < 0) io_close(&fd);
    return fd;
}

static bool lies_there(const struct wal_spool *s, const struct wal_name *n) {
    char path[WAL_SPOOL_BYTES + 80];
    struct stat st;
    fetched_path(s, n, "", path);
    return seam_fstatat(AT_FDCWD, path, &st, 0) == 0 && st.st_mtim.tv_sec * NS_PER_S + OLD_NS > time_now_ns();
}

/* Of one that is in pieces there may be more by the time that it is asked for, but for one that they make whole. */
static bool is_whole(struct work_wal *h, uint64_t system, const struct wal_name *n, uint32_t segment) {
    char key[WAL_OBJECT_KEY_BYTES];
    struct wal_object_head whole;
    struct wal_place *p = NULL;
    struct error e = ERROR_INIT;
    size_t count = 0;
    uint32_t to = 0;
    wal_object_name(system, n, key);
    int rc = wal_object_head(h->w->repo, key, &whole, &e);
    if (rc != -ERR_OBJECT_MISSING || segment <= WAL_WHOLE_MAX) return rc == 0;
    error_clear(&e);
    if (wal_pieces(h->w->repo, system, n, &p, &count, &e) < 0) return false;
    for (size_t i = 0; i < count; i++)
        if (p[i].from <= to && p[i].to > to) to = p[i].to;
    seam_free(p);
    return to == segment;
}

static int fetch_one(struct work_wal *h, uint64_t system, const struct wal_spool *s, const struct wal_name *n,
                     uint32_t segment, struct error *err) {
    char path[WAL_SPOOL_BYTES + 80], tmp[WAL_SPOOL_BYTES + 80];
    fetched_path(s, n, "", path);
    fetched_path(s, n, ".part", tmp); /* while it is there, who wants it knows that it comes */
    if (!is_whole(h, system, n, segment)) return -ERR_WAL_ABSENT;
    int rc = write_new(tmp, h, system, n, err);
    return rc == 0 ? give_name(tmp, path, err) : rc;
}

/* What lies before the place that the recovery has come to, and what a killed run left. */
static void tidy(const struct wal_spool *s, const struct wal_name *from) {
    char keep[WAL_NAME_BYTES];
    wal_name_format(from, keep);
    int fd = seam_openat(AT_FDCWD, s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    int dup = fd < 0 ? -1 : seam_openat(AT_FDCWD, s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *d = dup < 0 ? NULL : seam_fdopendir(dup);
    for (struct dirent *x; d && (x = seam_readdir(d));) {
        struct wal_name n;
        struct error e = ERROR_INIT;
        if (x->d_name[0] == '.' || strcmp(x->d_name, LOCK) == 0) continue;
        if (wal_name_parse(x->d_name, &n, &e) < 0 || strcmp(x->d_name, keep) < 0)
            (void)!seam_unlinkat(fd, x->d_name, 0);
    }
    if (d)
        (void)!seam_closedir(d);
    else
        io_close(&dup);
    io_close(&fd);
}

static struct wal_name following(const struct wal_name *n, uint32_t segment_bytes) {
    struct wal_name next = *n;
    if (++next.seg >= (uint32_t)(UINT64_C(0x100000000) / segment_bytes)) next.seg = 0, next.log++;
    return next;
}

static void fetch_following(struct ahead *a, struct work_wal *h, uint64_t system) {
    struct error e = ERROR_INIT;
    struct wal_place asked = {.name = a->after};
    struct wal_name n = a->after;
    uint32_t segment;
    if (wal_place_segment_bytes(h->w->repo, system, &asked, 1, &segment, &e) < 0 || !segment) return;
    for (unsigned i = 0; i < AHEAD_MAX; i++) {
        n = following(&n, segment);
        if ((uint64_t)(i + 1) * segment > AHEAD_BYTES && i >= 2) break;
        if (!lies_there(&a->spool, &n) && fetch_one(h, system, &a->spool, &n, segment, &e) < 0) break;
    }
}

/* Whatever goes wrong here, the one who asks next finds out by himself. */
static void run_ahead(void *arg) {
    struct ahead *a = arg;
    struct error e = ERROR_INIT;
    struct work_wal *h = NULL;
    int lock = lock_ahead(&a->spool);
    if (lock < 0) return;
    mem_keep(); /* fresh memory for each segment costs as much as decoding it */
    tidy(&a->spool, &a->after);
    a->w->log_only = true;
    a->w->options.events = (struct work_events){0};
    if (work_wal_open_all(a->w, a->environment, a->surface, &h, &e) == 0) fetch_following(a, h, a->system);
    work_wal_close(h);
    io_close(&lock);
}

/* As there are few left: half of what may lie there has been taken. */
static bool running_low(const struct wal_spool *s, const struct wal_name *n, uint32_t segment_bytes) {
    struct wal_name at = *n;
    for (unsigned i = 0; i < AHEAD_MAX / 2; i++) {
        at = following(&at, segment_bytes);
        if (!lies_there(s, &at)) return true;
    }
    return false;
}

static void start_ahead(struct work *w, const char *environment, const char *surface, uint64_t system,
                        const struct wal_spool *s, const struct wal_name *n) {
    static struct ahead a; /* outlives this call in the other process */
    struct error e = ERROR_INIT;
    int lock = lock_ahead(s);
    if (lock < 0) return; /* one is at it */
    io_close(&lock);
    a.w = w;
    a.spool = *s;
    a.after = *n;
    a.system = system;
    snprintf(a.environment, sizeof a.environment, "%s", environment);
    snprintf(a.surface, sizeof a.surface, "%s", surface);
    if (proc_detach(run_ahead, &a, &e) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, surface, e.text);
}

/* ---- one file ---- */

int wal_fetched_read(struct work *w, const char *environment, const char *surface, uint64_t system,
                     const struct wal_name *n, struct buf *ret, struct error *err) {
    struct wal_spool base, spool;
    char path[WAL_SPOOL_BYTES + 80];
    const char *url;
    int rc = work_repo_url(w, environment, &url, err);
    if (rc == 0) rc = wal_spool_open(w, url, environment, surface, &base, err);
    if (rc == 0) rc = cluster_spool(&base, system, &spool, err);
    if (rc < 0) return rc;
    fetched_path(&spool, n, "", path);
    return io_read_file(AT_FDCWD, path, WAL_SEGMENT_MAX, ret, err);
}

static int copy_to(int fd, const char *from, const char *to, struct error *err) {
    char tmp[4200];
    void *room;
    size_t got = 1;
    uint64_t at = 0;
    int out, rc = mem_alloc(COPY_BYTES, &room, err);
    if (rc < 0) return rc;
    beside(to, tmp);
    rc = open_new(tmp, &out, err);
    for (; rc == 0 && got; at += got) {
        rc = io_pread_full(fd, room, COPY_BYTES, at, &got, from, err);
        if (rc == 0) rc = io_write_full(out, room, got, tmp, err);
    }
    if (out >= 0) rc = close_new(tmp, out, rc, err);
    seam_free(room);
    return rc == 0 ? give_name(tmp, to, err) : rc;
}

/* A segment that was fetched ahead, given the name that the server wants: no byte of it is copied, unless across file
 * systems. False when there is none that is what it should be. */
static bool take_fetched(const struct wal_spool *s, uint64_t system, const struct wal_name *n, const char *to,
                         uint32_t *ret_segment) {
    char path[WAL_SPOOL_BYTES + 80];
    uint8_t page[4096];
    size_t got = 0;
    struct error e = ERROR_INIT;
    struct wal_header h;
    struct stat st;
    fetched_path(s, n, "", path);
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) return false;
    bool good = seam_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                io_pread_full(fd, page, sizeof page, 0, &got, path, &e) == 0 &&
                wal_segment_check(n, BYTES_OF(page, got), system, &e) == 0 &&
                wal_header_read(BYTES_OF(page, got), &h, &e) == 0 && (uint64_t)st.st_size == h.segment_bytes;
    bool moved = good && seam_renameat2(AT_FDCWD, path, AT_FDCWD, to, 0) == 0;
    if (good && !moved) good = errno == EXDEV && copy_to(fd, path, to, &e) == 0;
    if (good) *ret_segment = h.segment_bytes;
    if (!moved) (void)!seam_unlinkat(AT_FDCWD, path, 0);
    io_close(&fd);
    return good;
}

/* Another process may just be fetching it: then it comes sooner from there. */
static bool wait_fetched(const struct wal_spool *s, const struct wal_name *n) {
    char part[WAL_SPOOL_BYTES + 80];
    struct stat st;
    int64_t until = time_monotonic_ns() + WAIT_NS;
    for (;;) {
        if (lies_there(s, n)) return true;
        fetched_path(s, n, ".part", part);
        int lock = lock_ahead(s);
        bool idle = lock >= 0;
        io_close(&lock);
        if (idle || seam_fstatat(AT_FDCWD, part, &st, 0) < 0 || time_monotonic_ns() > until) break;
        (void)!seam_poll(NULL, 0, POLL_NS / 1000000);
    }
    return lies_there(s, n);
}

static int one_is_there(void *ctx, const struct store_object *o, struct error *err) {
    (void)o, (void)err;
    *(bool *)ctx = true;
    return 1;
}

/* No entry of the log says whose WAL the surface takes. That means that there is none only where there is none at all.
 */
static int nobody_knows(const struct work *w, const char *environment, const char *surface, struct error *err) {
    bool any = false;
    int rc = store_list(w->store, "wal/", one_is_there, &any, err);
    if (rc < 0) return rc;
    if (!any) return error_set(err, ERR_WAL_ABSENT, "nothing was ever stored for %s/%s", environment, surface);
    error_set(err, ERR_UNVERIFIABLE, "the log does not say which cluster %s/%s is, and there is WAL", environment,
              surface);
    return error_next(err, "Name the cluster by wal.system of the surface in the configuration.");
}

/* A copy that stands in unasked may lag behind: what it lacks the repository may have. */
static int absent_for_sure(const struct work *w, const char *name, struct error *err) {
    const char *copy = any_copy_read_from(w);
    if (!copy || w->options.from) return -ERR_WAL_ABSENT;
    error_clear(err);
    error_set(err, ERR_UNVERIFIABLE, "%s is not in the copy %s, and the repository, which may have it, is out of reach",
              name, copy);
    return error_next(err, "Bring the repository back; or recover as far as the copy leads: --from %s", copy);
}

static int system_of(struct work *w, const char *environment, const char *surface, const struct wal_get *q,
                     const struct work_wal *h, uint64_t *ret, struct error *err) {
    if (q->system || work_wal_system(h, ret)) return 0;
    for (size_t i = 0; h->others && i < h->others->count; i++) {
        struct wal_other *o = &h->others->list[i];
        if (!o->newer) continue;
        const struct work_wal *at = wal_other_open(h->others, o);
        if (at && work_wal_system(at, ret)) return 0;
        if (!at)
            return error_set(err, ERR_UNVERIFIABLE,
                             "the log does not say which cluster %s/%s is, and its fallback %s cannot be read: %.300s",
                             environment, surface, o->name, o->failed.text);
    }
    return nobody_knows(w, environment, surface, err);
}

int work_wal_get(struct work *w, const char *environment, const char *surface, const struct wal_get *q,
                 struct error *err) {
    struct wal_spool base, spool;
    struct wal_name n;
    struct work_wal *h = NULL;
    const char *url;
    uint32_t segment = 0;
    if (strlen(q->path) >= 4000) return error_set(err, ERR_USAGE, "the file's name is too long");
    int rc = wal_name_parse(q->name, &n, err);
    if (rc == 0) rc = work_repo_url(w, environment, &url, err);
    if (rc == 0) rc = wal_spool_open(w, url, environment, surface, &base, err);
    if (rc < 0) return rc;
    bool is_segment = n.kind == WAL_SEGMENT;
    uint64_t system = q->system ? q->system : cluster_known(&base);
    bool known = is_segment && system && cluster_spool(&base, system, &spool, err) == 0;
    bool there = known && wait_fetched(&spool, &n);
    if (there && take_fetched(&spool, system, &n, q->path, &segment)) {
        if (running_low(&spool, &n, segment)) start_ahead(w, environment, surface, system, &spool, &n);
        return 0;
    }
    if (known) start_ahead(w, environment, surface, system, &spool, &n);
    w->log_only = true;
    rc = work_wal_open_all(w, environment, surface, &h, err);
    if (rc == 0) rc = system_of(w, environment, surface, q, h, &system, err);
    if (rc == 0 && !q->system) cluster_note(&base, system);
    if (rc == 0) rc = deliver(q->path, h, system, &n, err);
    if (rc == -ERR_WAL_ABSENT) rc = absent_for_sure(w, q->name, err);
    work_wal_close(h);
    return rc;
}
