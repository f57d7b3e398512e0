#include "surface/pgphys/restore_internal.h"

#include <errno.h>
#include <stdio.h>

#define PIECE_BYTES (256u << 10)
#define PAGE 8192u /* as most servers have; others' are written in part, or with a neighbour */
#define QUEUE_FILES 256
#define TOLD_NS (NS_PER_S / 10)

static int dress(struct pgphys_restore *r, int fd, const char *name, const struct pgphys_attr *a, struct error *err) {
    struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
    int64_t s = a->mtime_ns / NS_PER_S, ns = a->mtime_ns % NS_PER_S;
    ts[1] = (struct timespec){.tv_sec = (time_t)(ns < 0 ? s - 1 : s), .tv_nsec = (long)(ns < 0 ? ns + NS_PER_S : ns)};
    if (r->own && seam_fchownat(fd, "", r->uid, r->gid, AT_EMPTY_PATH) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "give %s to the server's user", name);
    if (seam_fchmod(fd, a->mode) < 0) return error_set_errno(err, ERR_IO_WRITE, "set the mode of %s", name);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (seam_utimensat(AT_FDCWD, path, ts, 0) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "set the time of %s", name);
    return 0;
}

static void tell(struct pgphys_restore *r) {
    const struct surface_events *e = &r->ctx->events;
    int64_t now = time_monotonic_ns(), last = atomic_load_explicit(&r->told_ns, memory_order_relaxed);
    if (!e->progress || now - last < TOLD_NS || !atomic_compare_exchange_strong(&r->told_ns, &last, now)) return;
    e->progress(e->ctx, "writing", atomic_load(&r->bytes), r->total, atomic_load(&r->done));
}

static bool zeros(const uint8_t *p, size_t n) {
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* A file that is there and that threads compare in parts. */
struct split {
    uint64_t size; /* of what was there */
    atomic_uint left;
    atomic_bool written;
    struct split *next;
};
/* What one thread writes: of a file all, or a part. */
struct part {
    const struct pgphys_item *it;
    uint64_t from, to;
    struct split *of; /* NULL: all */
};

struct place {
    struct pgphys_restore *r;
    int fd;
    const char *name;
    uint8_t *old;      /* PIECE_BYTES, or NULL: the file is new */
    uint64_t old_at;   /* of what is in old */
    size_t old_n;
    uint64_t at, end; /* of what is written */
    uint64_t size;    /* of what was there */
    bool written;
};

static int write_at(struct place *p, const uint8_t *d, size_t n, uint64_t at, struct error *err) {
    p->written = true;
    atomic_fetch_add_explicit(&p->r->written, n, memory_order_relaxed);
    int rc = io_pwrite_full(p->fd, d, n, at, p->name, err);
    if (rc == 0) flush_count(&p->r->flush, n);
    return rc;
}

/* What is there from p->at on: n bytes, and perhaps more, or what there is. */
static int look(struct place *p, size_t n, struct bytes *ret, struct error *err) {
    const uint64_t left = p->old && p->at < p->size ? p->size - p->at : 0;
    int rc = 0;
    if (n > left) n = (size_t)left;
    if (n && (p->at < p->old_at || p->at + n > p->old_at + p->old_n)) {
        p->old_at = p->at;
        rc = io_pread_full(p->fd, p->old, left < PIECE_BYTES ? (size_t)left : PIECE_BYTES, p->at, &p->old_n, p->name,
                           err);
    }
    const size_t into = n ? (size_t)(p->at - p->old_at) : 0;
    *ret = n && rc == 0 ? BYTES_OF(p->old + into, p->old_n - into) : BYTES_OF(NULL, 0);
    return rc;
}

/* Of a piece that differs from what was there, the pages that do, those that follow each other at once. */
static int put_pages(struct place *p, struct bytes d, const uint8_t *was, struct error *err) {
    for (size_t i = 0, end; i < d.len; i = end) {
        size_t n = d.len - i < PAGE ? d.len - i : PAGE;
        end = i + n;
        if (memcmp(was + i, d.ptr + i, n) == 0) continue;
        for (; end < d.len; end += n) {
            n = d.len - end < PAGE ? d.len - end : PAGE;
            if (memcmp(was + end, d.ptr + end, n) == 0) break;
        }
        int rc = write_at(p, d.ptr + i, end - i, p->at + i, err);
        if (rc < 0) return rc;
    }
    return 0;
}

/* Only what differs from what is there is written. */
static int put(struct place *p, struct bytes d, struct error *err) {
    while (d.len) {
        size_t n = d.len < PIECE_BYTES ? d.len : PIECE_BYTES;
        struct bytes was;
        int rc = look(p, n, &was, err);
        if (rc < 0) return rc;
        if (d.ptr && was.len >= n) {
            rc = put_pages(p, BYTES_OF(d.ptr, n), was.ptr, err);
        } else if (d.ptr) {
            rc = write_at(p, d.ptr, n, p->at, err);
        } else if (was.len && !(was.len >= n && zeros(was.ptr, n))) {
            memset(p->old, 0, n);
            p->old_n = 0;
            rc = write_at(p, p->old, n, p->at, err);
        }
        if (rc < 0) return rc;
        p->at += n;
        d = BYTES_OF(d.ptr ? d.ptr + n : NULL, d.len - n);
    }
    return 0;
}

/* The next piece when it is there already, by its id: 0 bytes when it is not. */
static int take_same(struct place *p, struct source_item *in, size_t *ret, struct error *err) {
    const struct source_ops *ops = p->r->src->ops;
    struct extent e;
    struct bytes is;
    bool same = false;
    *ret = 0;
    if (!p->old || !ops->match || p->at >= p->size) return 0;
    int rc = ops->peek(in, &e, err);
    if (rc < 0 || e.hole || e.len == 0 || e.len > PIECE_BYTES || e.len > p->size - p->at || e.len > p->end - p->at ||
        e.at != p->at)
        return rc;
    rc = look(p, (size_t)e.len, &is, err);
    if (rc == 0 && is.len >= e.len) rc = ops->match(in, is, &same, err);
    if (rc == 0 && same) *ret = (size_t)e.len;
    return rc;
}

static int fill_once(struct place *p, const struct pgphys_item *it, void (*judge)(struct source_item *),
                     struct error *err) {
    struct pgphys_restore *r = p->r;
    struct source_item *in;
    struct source_head head = it->head;
    head.name = BYTES_STR(it->name);
    int rc = r->src->ops->open(r->src, &head, &in, err);
    if (rc < 0) return rc;
    const bool to_end = p->end == head.bytes;
    if (judge) judge(in);
    if (p->at) rc = r->src->ops->seek(in, p->at, err);
    while (rc == 0 && (to_end || p->at < p->end)) {
        struct bytes d = {0};
        rc = take_same(p, in, &d.len, err);
        if (d.len) {
            p->at += d.len;
        } else {
            if (rc == 0) rc = r->src->ops->next(in, &d, err);
            if (rc < 0 || d.len == 0) break;
            if (d.len > p->end - p->at && to_end) {
                rc = error_set(err, ERR_RESTORE_DIFFERS, "%s has more content than the record says", it->name);
                break;
            }
            if (d.len > p->end - p->at) d.len = (size_t)(p->end - p->at);
            rc = put(p, d, err);
        }
        atomic_fetch_add_explicit(&r->bytes, d.len, memory_order_relaxed);
        tell(r);
        if (rc == 0) rc = stop_check(err);
    }
    r->src->ops->close(in);
    if (rc == 0 && p->at != p->end)
        rc = error_set(err, ERR_RESTORE_DIFFERS, "%s has less content than the record says", it->name);
    return rc;
}

/* No server starts from what is being written, so what turns out at its end not to be right is written again. */
static int fill(struct place *p, const struct pgphys_item *it, struct error *err) {
    const struct source_ops *ops = p->r->src->ops;
    if (p->old || !ops->late) return fill_once(p, it, p->old ? ops->apart : NULL, err);
    int rc = fill_once(p, it, ops->late, err);
    if (rc != -ERR_RESTORE_DIFFERS) return rc;
    error_clear(err);
    atomic_fetch_sub_explicit(&p->r->bytes, p->at, memory_order_relaxed);
    p->at = 0;
    return fill_once(p, it, NULL, err);
}

/* What is there under the name in a delta restore: a file's descriptor, or -1 when there is none of use. */
static int old_file(struct pgphys_restore *r, const char *as, uint64_t *ret_size, struct error *err) {
    struct stat st;
    *ret_size = 0;
    if (!r->delta || seam_fstatat(r->dirfd, as, &st, AT_SYMLINK_NOFOLLOW) < 0) return -1;
    if (!S_ISREG(st.st_mode) || st.st_nlink != 1) {
        (void)!io_remove_tree(r->dirfd, as, err);
        return -1;
    }
    *ret_size = (uint64_t)st.st_size;
    return seam_openat(r->dirfd, as, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
}

static int finish(struct place *p, const struct pgphys_item *it, struct error *err) {
    struct pgphys_restore *r = p->r;
    if (seam_ftruncate(p->fd, (off_t)it->head.bytes) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "set the size of %s", it->name);
    atomic_fetch_add(p->old && !p->written && p->size == it->head.bytes ? &r->kept : &r->changed, 1);
    return dress(r, p->fd, it->name, &it->attr, err);
}

static int part_write(struct pgphys_restore *r, const struct part *part, const char *as, struct error *err) {
    const struct pgphys_item *it = part->it;
    struct place p = {.r = r, .name = it->name, .at = part->from, .end = part->to};
    int rc = 0;
    p.fd = old_file(r, as, &p.size, err);
    if (err->code) return -(int)err->code;
    if (p.fd < 0 && part->of) return error_set(err, ERR_IO_WRITE, "%s was taken away while it was written", it->name);
    if (part->of) p.size = part->of->size;
    if (p.fd >= 0 && !(p.old = seam_alloc_aligned(4096, PIECE_BYTES)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory to compare %s", it->name);
    if (p.fd < 0) {
        p.fd = seam_openat(r->dirfd, as, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (p.fd < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", it->name);
    }
    bool last = true;
    if (rc == 0) rc = fill(&p, it, err);
    if (rc == 0 && part->of) {
        if (p.written) part->of->written = true;
        last = atomic_fetch_sub(&part->of->left, 1) == 1; /* never, when one has failed */
        p.written = part->of->written;
    }
    if (rc == 0 && last) rc = finish(&p, it, err);
    if (last) atomic_fetch_add(&r->done, 1);
    seam_free(p.old);
    if (seam_close(p.fd) < 0 && rc == 0) rc = error_set_errno(err, ERR_IO_WRITE, "close %s", it->name);
    return rc;
}

int pgphys_file_write(struct pgphys_restore *r, const struct pgphys_item *it, const char *as, struct error *err) {
    const struct part all = {.it = it, .to = it->head.bytes};
    return part_write(r, &all, as, err);
}

int pgphys_text_write(struct pgphys_restore *r, const char *name, struct bytes content, mode_t mode,
                      struct error *err) {
    struct pgphys_attr a = {.type = PGPHYS_FILE, .mode = mode, .mtime_ns = time_now_ns()};
    if (seam_unlinkat(r->dirfd, name, 0) < 0 && errno != ENOENT)
        return error_set_errno(err, ERR_IO_WRITE, "remove %s", name);
    int fd = seam_openat(r->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", name);
    int rc = io_write_full(fd, content.ptr, content.len, name, err);
    if (rc == 0) rc = dress(r, fd, name, &a, err);
    if (seam_close(fd) < 0 && rc == 0) rc = error_set_errno(err, ERR_IO_WRITE, "close %s", name);
    return rc;
}

static int folder_make(struct pgphys_restore *r, const struct pgphys_item *it, struct error *err) {
    struct stat st;
    if (r->delta && seam_fstatat(r->dirfd, it->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        bool linked = S_ISLNK(st.st_mode) && !strcmp(it->name, "pg_wal"); /* its own disk: that stays */
        if (linked || S_ISDIR(st.st_mode)) goto dress_it;
        int rc = io_remove_tree(r->dirfd, it->name, err);
        if (rc < 0) return rc;
    }
    if (seam_mkdirat(r->dirfd, it->name, 0700) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "make the folder %s", it->name);
dress_it:;
    int fd = seam_openat(r->dirfd, it->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "open the folder %s", it->name);
    struct pgphys_attr a = it->attr;
    if (a.type == PGPHYS_LINK) a.mode = 0700;
    int rc = dress(r, fd, it->name, &a, err);
    io_close(&fd);
    return rc;
}

static int spaces_folder(struct pgphys_restore *r, struct error *err) {
    struct stat st;
    if (r->spaces_made || seam_fstatat(AT_FDCWD, r->spaces, &st, 0) == 0) return 0;
    if (seam_mkdirat(AT_FDCWD, r->spaces, 0700) < 0)
        return errno == EEXIST ? 0 : error_set_errno(err, ERR_IO_WRITE, "make the folder %s", r->spaces);
    r->spaces_made = true;
    if (r->own && seam_fchownat(AT_FDCWD, r->spaces, r->uid, r->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "give %s to the server's user", r->spaces);
    return 0;
}

/* What lies above is the server's user's way to it. *ret_made: nobody else has made it meanwhile. */
static int folder_and_parents(const char *path, bool *ret_made, struct error *err) {
    char above[PATH_MAX];
    snprintf(above, sizeof above, "%.*s", (int)(strrchr(path, '/') - path), path);
    int rc = above[0] ? io_mkdirs(above, 0755, err) : 0;
    if (rc < 0) return rc;
    *ret_made = seam_mkdirat(AT_FDCWD, path, 0700) == 0;
    if (*ret_made || errno == EEXIST) return 0;
    return error_set_errno(err, ERR_IO_WRITE, "make the tablespace's folder %s", path);
}

static int space_folder(struct pgphys_restore *r, struct pgphys_item *it, bool ours, struct error *err) {
    struct pgphys_attr a = {.type = PGPHYS_FOLDER, .mode = 0700, .mtime_ns = it->attr.mtime_ns};
    struct stat st;
    size_t n = strlen(r->spaces);
    int rc = !strncmp(it->target, r->spaces, n) && it->target[n] == '/' ? spaces_folder(r, err) : 0;
    if (rc < 0) return rc;
    bool was_there = seam_fstatat(AT_FDCWD, it->target, &st, 0) == 0;
    if (was_there && !ours && !pgphys_folder_empty(it->target)) {
        int mark = pgphys_space_take(it->target);
        if (mark < 0)
            return error_set(err, ERR_TARGET_NOT_EMPTY,
                             "the tablespace's folder %s is not empty; name another with --tablespace %s=NEW",
                             it->target, it->was);
        rc = pgphys_space_empty(it->target, err);
        io_close(&mark);
        if (rc < 0) return rc;
    }
    if (!was_there && (rc = folder_and_parents(it->target, &it->made, err)) < 0) return rc;
    int fd = seam_openat(AT_FDCWD, it->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "open the tablespace's folder %s", it->target);
    if (!ours && !r->delta) rc = pgphys_space_mark(r, fd, it, err);
    if (rc == 0) rc = dress(r, fd, it->target, &a, err);
    io_close(&fd);
    return rc;
}

static int space_make(struct pgphys_restore *r, struct pgphys_item *it, struct error *err) {
    char now[PATH_MAX];
    struct stat st;
    ssize_t n = seam_readlinkat(r->dirfd, it->name, now, sizeof now - 1);
    now[n > 0 ? n : 0] = 0;
    bool linked = n > 0 && !strcmp(now, it->target);
    int rc = space_folder(r, it, linked, err);
    if (rc < 0 || linked) return rc;
    if (r->delta && seam_fstatat(r->dirfd, it->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        rc = io_remove_tree(r->dirfd, it->name, err);
    if (rc < 0) return rc;
    if (seam_symlinkat(it->target, r->dirfd, it->name) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "make the link %s", it->name);
    if (r->own && seam_fchownat(r->dirfd, it->name, r->uid, r->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERR_IO_WRITE, "give the link %s to the server's user", it->name);
    return 0;
}

static bool failed(struct pgphys_restore *r) {
    pthread_mutex_lock(&r->lock);
    bool is = r->failed;
    pthread_mutex_unlock(&r->lock);
    return is;
}

static void fail(struct pgphys_restore *r, const struct error *err) {
    pthread_mutex_lock(&r->lock);
    if (!r->failed) r->err = *err;
    r->failed = true;
    pthread_mutex_unlock(&r->lock);
}

static void *writer_run(void *arg) {
    struct pgphys_restore *r = arg;
    void *p;
    while (queue_pop(r->queue, &p)) {
        struct part *part = p;
        struct error err = ERROR_INIT;
        if (!failed(r) && part_write(r, part, part->it->name, &err) < 0) fail(r, &err);
        seam_free(part);
    }
    return NULL;
}

/* Whether it is worth more than one thread: each piece of it is judged by itself then. */
static bool is_split(struct pgphys_restore *r, const struct pgphys_item *it, struct stat *st) {
    const struct source_ops *ops = r->src->ops;
    return r->delta && it->head.bytes >= 2 * PGPHYS_PART_BYTES && ops->match && ops->apart && ops->seek &&
           seam_fstatat(r->dirfd, it->name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st->st_mode) &&
           st->st_nlink == 1 && st->st_size >= 2 * (off_t)PGPHYS_PART_BYTES;
}

static int submit(struct pgphys_restore *r, const struct pgphys_item *it, struct split **splits, struct error *err) {
    const uint64_t bytes = it->head.bytes;
    struct split *of = NULL;
    struct stat st;
    void *p;
    int rc = 0;
    uint64_t step = bytes;
    if (is_split(r, it, &st)) {
        if ((rc = mem_alloc(sizeof *of, &p, err)) < 0) return rc;
        step = PGPHYS_PART_BYTES;
        of = p;
        of->size = (uint64_t)st.st_size;
        of->left = (unsigned)((bytes + step - 1) / step);
        of->next = *splits;
        *splits = of;
    }
    uint64_t from = 0;
    do {
        struct part *part;
        if ((rc = mem_alloc(sizeof *part, (void **)&part, err)) < 0) return rc;
        *part = (struct part){.it = it, .from = from, .to = bytes - from < step ? bytes : from + step, .of = of};
        from = part->to;
        queue_push(r->queue, part);
    } while (from < bytes);
    return 0;
}

/* postgresql.auto.conf is written with what recovery needs, tablespace_map would lead the server to the old places, and
 * pg_control comes last. */
static bool written_elsewhere(const struct pgphys_restore *r, const struct pgphys_item *it) {
    if (r->plain) return false;
    return it == r->control || it == r->map || (it == r->manifest && r->map) || !strcmp(it->name, PGPHYS_AUTO_CONF);
}

int pgphys_files_write(struct pgphys_restore *r, struct error *err) {
    pthread_t threads[PGPHYS_JOBS_MAX];
    unsigned jobs = r->ctx->jobs ? r->ctx->jobs : 1, n = 0;
    if (jobs > PGPHYS_JOBS_MAX) jobs = PGPHYS_JOBS_MAX;
    struct split *splits = NULL;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < r->n; i++) {
        bool link = r->items[i].attr.type == PGPHYS_LINK;
        if (r->items[i].attr.type == PGPHYS_FOLDER || (link && r->plain)) rc = folder_make(r, &r->items[i], err);
        if (link && !r->plain) rc = space_make(r, &r->items[i], err);
    }
    if (rc < 0) return rc;
    if (r->lasting) flush_start(&r->flush, r->dirfd);
    rc = queue_new(QUEUE_FILES, &r->queue, err);
    while (rc == 0 && n < jobs) {
        rc = thread_start(&threads[n], writer_run, r, err);
        if (rc == 0) n++;
    }
    for (size_t i = 0; rc == 0 && i < r->n && !failed(r); i++)
        if (r->items[i].attr.type == PGPHYS_FILE && !written_elsewhere(r, &r->items[i]))
            rc = submit(r, &r->items[i], &splits, err);
    if (rc < 0) fail(r, err);
    if (r->queue) queue_close(r->queue);
    while (n > 0) pthread_join(threads[--n], NULL);
    queue_free(r->queue);
    r->queue = NULL;
    for (struct split *s; (s = splits);) {
        splits = s->next;
        seam_free(s);
    }
    struct error late = ERROR_INIT;
    if (r->lasting && (errno = flush_end(&r->flush, rc == 0 && !failed(r))) != 0) {
        error_set_errno(&late, ERR_IO_SYNC, "make what was restored durable");
        fail(r, &late);
    }
    if (rc == 0 && r->failed) {
        *err = r->err;
        rc = -(int)r->err.code;
    }
    return rc;
}
