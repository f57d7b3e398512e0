#include "surface/files/capture_internal.h"
#include <errno.h>

#define ATTEMPTS 4            /* to read a file that changes: once, and three times more */
#define XATTR_BYTES_MAX 65536 /* of a list, and of a value: the kernel's limits */
#define LIST_BYTES 4096

/* ---- extended attributes ---- */

static int value_append(int fd, const char *path, const char *key, struct buf *run, struct error *err) {
    uint8_t few[1024];
    ssize_t n = seam_getxattr_at(fd, path, key, few, sizeof few);
    if (n >= 0) return xattr_append(run, BYTES_STR(key), BYTES_OF(few, n), err);
    if (errno == ENODATA) return 0;
    if (errno != ERANGE) return -1;
    void *many;
    int rc = mem_alloc(XATTR_BYTES_MAX, &many, err);
    if (rc) return rc;
    n = seam_getxattr_at(fd, path, key, many, XATTR_BYTES_MAX);
    int why = errno;
    rc = n < 0 ? -1 : xattr_append(run, BYTES_STR(key), BYTES_OF(many, n), err);
    seam_free(many);
    errno = why;
    return rc;
}

int xattrs_read(int fd, const char *path, struct buf *run, struct error *err) {
    char few[LIST_BYTES], *list = few;
    void *many = NULL;
    ssize_t n = seam_listxattr_at(fd, path, few, sizeof few);
    if (n == 0) return 0;
    if (n < 0 && errno == ERANGE) {
        int rc = mem_alloc(XATTR_BYTES_MAX, &many, err);
        if (rc) return rc;
        list = many;
        n = seam_listxattr_at(fd, path, list, XATTR_BYTES_MAX);
    }
    int rc = n < 0 && errno != EOPNOTSUPP ? -1 : 0;
    for (ssize_t i = 0; i < n && rc == 0; i += (ssize_t)strlen(list + i) + 1)
        rc = value_append(fd, path, list + i, run, err);
    int why = errno;
    seam_free(many);
    errno = why;
    return rc;
}

/* ---- contents ---- */

static int hole_put(struct reading *r, uint64_t len, struct error *err) {
    r->holes = true;
    r->total += len;
    return r->t->c->sink->ops->hole(r->item, len, err);
}

/* Reads [r->total, stop) straight into the sink; less when the file has become shorter. */
static int data_read(struct reading *r, uint64_t stop, struct error *err) {
    struct capture *c = r->t->c;
    const struct sink_ops *ops = c->sink->ops;
    while (r->total < stop) {
        uint8_t *p;
        size_t room;
        int rc = ops->space(r->item, &p, &room, err);
        if (rc) return rc;
        if (room > stop - r->total) room = (size_t)(stop - r->total);
        ssize_t n = seam_pread(r->fd, p, room, (off_t)r->total);
        if (n < 0) r->read_errno = errno;
        if (n <= 0) return 0;
        rc = ops->advance(r->item, (size_t)n, err);
        if (rc) return rc;
        r->total += (uint64_t)n;
        atomic_fetch_add_explicit(&c->bytes_done, (uint64_t)n, memory_order_relaxed);
        if (r->total < stop) {
            capture_progress(c);
            if ((rc = stop_check(err)) || atomic_load(&c->failed)) return rc;
        }
    }
    return 0;
}

static int content_read(struct reading *r, struct error *err) {
    uint64_t end = (uint64_t)r->before.st_size;
    bool sparse = (uint64_t)r->before.st_blocks * 512 < end;
    r->total = 0;
    r->holes = false;
    int rc = 0;
    while (rc == 0 && r->total < end && r->read_errno == 0) {
        uint64_t at = r->total, stop = end;
        if (sparse) {
            off_t data = seam_lseek(r->fd, (off_t)at, SEEK_DATA);
            if (data < 0 && errno == ENXIO) return hole_put(r, end - at, err);
            sparse = data >= 0;
            if (sparse && (uint64_t)data > at) {
                rc = hole_put(r, ((uint64_t)data < end ? (uint64_t)data : end) - at, err);
                continue;
            }
            off_t hole = sparse ? seam_lseek(r->fd, (off_t)at, SEEK_HOLE) : -1;
            if (hole > (off_t)at && (uint64_t)hole < end) stop = (uint64_t)hole;
        }
        rc = data_read(r, stop, err);
        if (r->total < stop) break;
    }
    return rc;
}

bool stat_same(const struct stat *a, const struct stat *b) {
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

void lost_note(struct task *t, int why) {
    struct capture *c = t->c;
    if (why == ENOENT || why == ENOTDIR || why == ESTALE || why == ELOOP || why == ENXIO || why == EISDIR) {
        atomic_fetch_add(&c->vanished, 1);
        capture_note(c, NOTE_VANISHED, t->slot.name, "gone, or replaced by something else, before it could be read");
    } else {
        char text[128], whose[224], *said = strerror_r(why, text, sizeof text);
        if (why == EACCES || why == EPERM) {
            /* who is on call has to know what to change */
            snprintf(whose, sizeof whose, "%s: it belongs to %u:%u and has mode %04o", said, t->lite.uid, t->lite.gid,
                     t->lite.mode & 07777);
            said = whose;
        }
        atomic_fetch_add(&c->unreadable, 1);
        capture_note(c, NOTE_UNREADABLE, t->slot.name, said);
    }
}

int file_open(struct task *t, int dir) {
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    int fd = seam_openat(dir, t->comp, flags | O_NOATIME, 0);
    /* Only an owner may read without a trace. */
    if (fd < 0 && errno == EPERM) fd = seam_openat(dir, t->comp, flags, 0);
    return fd;
}

/* Reads until two looks at the file agree; what stands in the sink then goes with r->before. */
static int file_read(struct reading *r, bool *ret_partial, struct error *err) {
    const struct sink_ops *ops = r->t->c->sink->ops;
    for (int attempt = 1;; attempt++) {
        struct stat after;
        if (seam_fstat(r->fd, &r->before) < 0)
            r->read_errno = errno;
        else if (!S_ISREG(r->before.st_mode))
            r->read_errno = ENOENT;
        if (r->read_errno) return 0;
        int rc = content_read(r, err);
        if (rc || r->read_errno) return rc;
        if (seam_fstat(r->fd, &after) < 0) {
            r->read_errno = errno;
            return 0;
        }
        *ret_partial = !stat_same(&r->before, &after) || r->total != (uint64_t)r->before.st_size;
        if (!*ret_partial || attempt == ATTEMPTS || atomic_load(&r->t->c->failed)) return 0;
        rc = ops->restart(r->item, err);
        if (rc) return rc;
    }
}

int file_close(struct reading *r, bool partial, struct error *err) {
    struct task *t = r->t;
    struct capture *c = t->c;
    CLEANUP(buf_free) struct buf run = BUF_INIT(ATTR_BYTES_MAX), record = BUF_INIT(ATTR_BYTES_MAX);
    if (xattrs_read(r->fd, NULL, &run, err)) {
        if (err->code) return -(int)err->code;
        buf_clear(&run);
        capture_note(c, NOTE_WARNING, t->slot.name, "its extended attributes could not be read");
    }
    struct lite l;
    struct attr a;
    lite_of_stat(&r->before, &l);
    attr_of_lite(c, FILE_REGULAR, &l, &a);
    a.size = r->total;
    a.flags = (r->holes ? ATTR_SPARSE : 0) | (partial ? ATTR_PARTIAL : 0);
    a.xattrs = buf_bytes(&run);
    int rc = attr_encode(&a, &record, err);
    if (rc) return rc;
    struct sink_item *item = r->item;
    r->item = NULL;
    if (r->confirmed) {
        t->slot.sha256 = t->held_sha256;
        rc = c->sink->ops->confirm(item, buf_bytes(&record), err);
    } else {
        rc = c->sink->ops->close(item, buf_bytes(&record), &t->slot.sha256, err);
    }
    t->slot.type = FILE_REGULAR;
    t->slot.size = r->total;
    return rc;
}

int file_capture(struct reading *r, bool *ret_lost, struct error *err) {
    struct capture *c = r->t->c;
    bool partial = false;
    int rc = r->fd >= 0 ? file_read(r, &partial, err) : 0;
    *ret_lost = r->read_errno != 0 || atomic_load(&c->failed);
    if (rc == 0 && !*ret_lost) {
        rc = file_close(r, partial, err);
        if (rc == 0 && partial) {
            atomic_fetch_add(&c->changed, 1);
            capture_note(c, NOTE_CHANGED, r->t->slot.name,
                         "changed during each of 4 readings; what is kept may be torn");
        }
    } else if (rc == 0 && r->read_errno) {
        lost_note(r->t, r->read_errno);
    }
    if (r->item) c->sink->ops->drop(r->item);
    r->item = NULL;
    return rc;
}

static int task_capture(struct task *t, bool *ret_lost, bool *ret_other, struct error *err) {
    struct capture *c = t->c;
    CLEANUP(io_close) int fd = t->dir >= 0 ? file_open(t, t->dir) : -1;
    int why = t->dir >= 0 ? errno : t->dir_errno;
    struct reading r = {.t = t, .fd = fd, .read_errno = fd < 0 ? why : 0};
    int rc = c->sink->ops->open(c->sink, t->seq, t->slot.name, ITEM_FILE, &r.item, err);
    if (rc) return rc;
    rc = file_capture(&r, ret_lost, err);
    *ret_other = rc == 0 && !r.read_errno && (r.before.st_ino != t->lite.ino || r.before.st_dev != t->lite.dev);
    return rc;
}

static int link_capture(struct task *t, struct error *err) {
    struct capture *c = t->c;
    CLEANUP(buf_free) struct buf record = BUF_INIT(ATTR_BYTES_MAX);
    struct attr a;
    attr_of_lite(c, FILE_HARDLINK, &t->lite, &a);
    a.target = link_first(t->group);
    struct sink_item *item;
    int rc = attr_encode(&a, &record, err);
    if (rc) return rc;
    rc = c->sink->ops->open(c->sink, t->seq, t->slot.name, ITEM_NONE, &item, err);
    if (rc == 0) rc = c->sink->ops->close(item, buf_bytes(&record), NULL, err);
    t->slot.type = FILE_HARDLINK;
    tally_digest(&a, &t->slot.size, &t->slot.sha256);
    return rc;
}

/* A task whose capture has failed elsewhere: its seq is used up all the same. */
static void task_drop(struct task *t) {
    struct capture *c = t->c;
    struct sink_item *item = NULL;
    struct error ignored = ERROR_INIT;
    if (c->sink->ops->open(c->sink, t->seq, t->slot.name, ITEM_NONE, &item, &ignored) == 0) c->sink->ops->drop(item);
}

void task_end(struct task *t, bool dropped) {
    struct capture *c = t->c;
    atomic_fetch_add_explicit(&c->items_done, 1, memory_order_relaxed);
    capture_progress(c);
    tally_finish(&c->tally, &t->slot, dropped);
}

static void links_capture(struct capture *c, struct task *list) {
    for (struct task *t = list, *next; t; t = next) {
        next = t->next;
        struct error err = ERROR_INIT;
        bool failed = atomic_load(&c->failed);
        if (failed)
            task_drop(t);
        else if (link_capture(t, &err))
            capture_fail(c, &err);
        link_release(c, t->group);
        task_end(t, failed || err.code);
    }
}

void task_run(struct task *t) {
    struct capture *c = t->c;
    while (t) {
        struct error err = ERROR_INIT;
        struct link_group *g = t->group;
        struct task *next = t->next, *more = NULL;
        bool lost = true, other = false;
        if (t->follows) {
            links_capture(c, t);
            return;
        }
        if (t->dir < 0 && t->dir_errno == 0) {
            t->dir = dir_get(scan_dirs(c->scan), &t->f->dir);
            t->dir_errno = errno;
        }
        if (atomic_load(&c->failed)) {
            task_drop(t);
        } else if (task_capture(t, &lost, &other, &err)) {
            lost = true;
            capture_fail(c, &err);
        }
        if (t->dir >= 0) dir_put(scan_dirs(c->scan), &t->f->dir);
        /* A group's other names are links to what was met, not to what has taken its place. */
        if (g && (lost || other))
            more = link_lost(c, g);
        else if (g)
            links_capture(c, link_good(c, g));
        if (g) link_release(c, g);
        task_end(t, lost);
        t = more ? more : next;
    }
}
