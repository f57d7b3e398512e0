#include "surface/files/capture_internal.h"
#include <errno.h>

#define RACY_NS (2 * NS_PER_S)
#define TARGET_BYTES_MAX 65536

struct level { /* a folder the walk is in */
    struct folder *f;
    size_t next;
};
struct walk {
    struct capture *c;
    struct level *levels;
    size_t n, cap;
    struct buf name, record, run;
};

void attr_of_lite(struct capture *c, enum file_type type, const struct lite *l, struct attr *ret) {
    *ret = (struct attr){
        .type = type,
        .mode = l->mode & 07777,
        .uid = l->uid,
        .gid = l->gid,
        .user = owners_user(&c->owners, l->uid),
        .group = owners_group(&c->owners, l->gid),
        .mtime = l->mtime,
        .ctime = l->ctime,
        .ino = l->ino,
        .dev = l->dev,
        .size = type == FILE_REGULAR || type == FILE_HARDLINK ? l->size : 0,
        .nlink = type == FILE_FOLDER ? 0 : l->nlink,
        .rdev_major = type == FILE_CHAR || type == FILE_BLOCK ? l->rdev_major : 0,
        .rdev_minor = type == FILE_CHAR || type == FILE_BLOCK ? l->rdev_minor : 0,
        .since_ns = c->since_ns,
    };
}

static int64_t stamp_ns(struct stamp t) {
    if (t.s > INT64_MAX / NS_PER_S - 1) return INT64_MAX;
    if (t.s < INT64_MIN / NS_PER_S + 1) return INT64_MIN;
    return t.s * NS_PER_S + t.ns;
}

/* Whether an item is what its record says. A time stamp as young as the capture that read it proves nothing: the file
 * may have changed again within the same tick of its clock. */
static bool is_unchanged(const struct attr *a, const struct lite *l) {
    if (a->ino != l->ino || !stamp_equal(a->mtime, l->mtime) || !stamp_equal(a->ctime, l->ctime)) return false;
    if ((a->type == FILE_REGULAR || a->type == FILE_HARDLINK) && a->size != l->size) return false;
    if (a->flags & ATTR_PARTIAL) return false;
    int64_t m = stamp_ns(a->mtime), since = a->since_ns;
    return stamp_ns(a->ctime) < since - RACY_NS && (m < since - RACY_NS || m > since + RACY_NS);
}

/* Whether a file of the same size and time may have the content that the last snapshot has of it: read, it is compared
 * instead of cut anew. */
static bool may_be_same(struct capture *c, struct bytes name, const struct lite *l, struct item_known *known,
                        struct attr *a) {
    struct error ignored = ERROR_INIT;
    if (!c->sink->ops->hold || l->size == 0) return false;
    if (c->full_read && !c->sink->ops->known(c->sink, name, known)) return false; /* else it was asked already */
    if (!known->attr.ptr || attr_decode(known->attr, a, &ignored)) return false;
    return a->type == FILE_REGULAR && known->kind == ITEM_FILE && known->bytes == l->size && a->size == l->size &&
           stamp_equal(a->mtime, l->mtime) && (a->flags & ATTR_PARTIAL) == 0;
}

/* Asks the sink for the former record, and decides whether it still holds. `first` is the first name of a hard link. */
static bool known_holds(struct capture *c, struct bytes name, enum file_type type, const struct lite *l,
                        struct bytes first, struct item_known *ret, struct attr *ret_attr) {
    struct error ignored = ERROR_INIT;
    *ret = (struct item_known){0};
    if (c->full_read || !c->sink->ops->known(c->sink, name, ret)) return false;
    if (attr_decode(ret->attr, ret_attr, &ignored)) return false;
    if (ret_attr->type != type || !is_unchanged(ret_attr, l)) return false;
    if (type == FILE_REGULAR) return ret->kind == ITEM_FILE && ret->bytes == l->size;
    return ret->kind == ITEM_NONE && (type != FILE_HARDLINK || bytes_equal(ret_attr->target, first));
}

static int item_keep(struct walk *w, const struct item_known *known, const struct attr *a, struct error *err) {
    struct capture *c = w->c;
    struct bytes name = buf_bytes(&w->name);
    int rc = c->sink->ops->keep(c->sink, c->seq++, name, known->attr, err);
    if (rc) return rc;
    atomic_fetch_add_explicit(&c->kept, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->items_done, 1, memory_order_relaxed);
    if (a->type == FILE_REGULAR) return tally_put(&c->tally, name, a->type, known->bytes, &known->sha256, err);
    uint64_t size;
    struct digest d;
    tally_digest(a, &size, &d);
    return tally_put(&c->tally, name, a->type, size, &d, err);
}

/* Records an item that has no content. */
static int item_record(struct walk *w, const struct attr *a, struct error *err) {
    struct capture *c = w->c;
    struct bytes name = buf_bytes(&w->name);
    struct sink_item *item = NULL;
    buf_clear(&w->record);
    int rc = attr_encode(a, &w->record, err);
    if (rc == 0) rc = c->sink->ops->open(c->sink, c->seq++, name, ITEM_NONE, &item, err);
    if (rc == 0) rc = c->sink->ops->close(item, buf_bytes(&w->record), NULL, err);
    if (rc) return rc;
    atomic_fetch_add_explicit(&c->items_done, 1, memory_order_relaxed);
    uint64_t size;
    struct digest d;
    tally_digest(a, &size, &d);
    return tally_put(&c->tally, name, a->type, size, &d, err);
}

static void task_release(struct tally_slot *slot) {
    struct task *t = (struct task *)slot;
    dir_unref(scan_dirs(t->c->scan), &t->f->dir);
    seam_free(t);
}

static int task_new(struct walk *w, struct folder *f, const char *comp, const struct lite *l, struct link_group *g,
                    struct task **ret, struct error *err) {
    void *p;
    size_t comp_len = strlen(comp);
    int rc = mem_alloc(sizeof(struct task) + w->name.len + comp_len + 1, &p, err);
    if (rc) return rc;
    struct task *t = p;
    uint8_t *text = (uint8_t *)(t + 1);
    memcpy(text, w->name.ptr, w->name.len);
    memcpy(text + w->name.len, comp, comp_len + 1);
    t->slot.name = BYTES_OF(text, w->name.len);
    t->slot.release = task_release;
    t->c = w->c;
    t->f = f;
    dir_ref(&f->dir);
    t->dir = -1;
    t->comp = (char *)text + w->name.len;
    t->lite = *l;
    t->seq = w->c->seq++;
    t->group = g;
    if (g) link_hold(w->c, g);
    *ret = t;
    return 0;
}

/* Hands a file to the readers. */
static int task_queue(struct walk *w, struct folder *f, const char *comp, const struct lite *l, struct link_group *g,
                      const struct item_known *held, struct error *err) {
    struct capture *c = w->c;
    struct task *t;
    int rc = task_new(w, f, comp, l, g, &t, err);
    if (rc) return rc;
    if (held) {
        t->held_bytes = held->bytes;
        t->held_sha256 = held->sha256;
        if ((rc = c->sink->ops->hold(c->sink, t->seq, t->slot.name, &t->held, err)) < 0) {
            task_release(&t->slot);
            return rc;
        }
    }
    /* The queue is short, so its tasks may hold descriptors; those that wait for a first name may be many, and do not.
     */
    t->dir = dir_get(scan_dirs(c->scan), &f->dir);
    t->dir_errno = errno;
    tally_add(&c->tally, &t->slot);
    queue_push(c->queue, t);
    return 0;
}

/* A further name of a file whose first is still being read. */
static int task_join(struct walk *w, struct folder *f, const char *comp, const struct lite *l, struct link_group *g,
                     struct error *err) {
    struct capture *c = w->c;
    struct task *t;
    int rc = task_new(w, f, comp, l, g, &t, err);
    if (rc) return rc;
    tally_add(&c->tally, &t->slot);
    enum link_role role = LINK_FIRST;
    rc = link_join(c, t, &role, err);
    /* The first name is settled by now, so this one is as if it had just been met; a reader does either. */
    if (rc) capture_fail(c, err);
    if (role == LINK_FOLLOWS) t->follows = true;
    if (role != LINK_WAITS) queue_push(c->queue, t);
    return rc;
}

static int meet_regular(struct walk *w, struct folder *f, const char *comp, const struct lite *l, struct error *err) {
    struct capture *c = w->c;
    struct bytes name = buf_bytes(&w->name);
    struct link_group *g = NULL;
    enum link_role role = LINK_FIRST;
    struct item_known known;
    struct attr a;
    int rc = l->nlink > 1 ? link_meet(c, l, name, &g, &role, err) : 0;
    if (rc) return rc;
    if (role == LINK_WAITS) return task_join(w, f, comp, l, g, err);
    if (role == LINK_FIRST) {
        if (!known_holds(c, name, FILE_REGULAR, l, (struct bytes){0}, &known, &a))
            return task_queue(w, f, comp, l, g, !g && may_be_same(c, name, l, &known, &a) ? &known : NULL, err);
        rc = item_keep(w, &known, &a, err);
        if (g) link_good(c, g);
    } else if (known_holds(c, name, FILE_HARDLINK, l, link_first(g), &known, &a)) {
        rc = item_keep(w, &known, &a, err);
    } else {
        attr_of_lite(c, FILE_HARDLINK, l, &a);
        a.target = link_first(g);
        rc = item_record(w, &a, err);
    }
    if (g) link_forget(c, g);
    return rc;
}

/* ---- folders, links, devices, fifos ---- */

static int link_target(int dir, const char *comp, struct buf *ret, struct error *err) {
    buf_clear(ret);
    for (size_t room = 256; room <= TARGET_BYTES_MAX; room *= 2) {
        int rc = buf_reserve(ret, room, err);
        if (rc) return rc;
        ssize_t n = seam_readlinkat(dir, comp, (char *)ret->ptr, room);
        if (n < 0) return -1;
        ret->len = (size_t)n;
        if ((size_t)n < room) return 0;
    }
    errno = ENAMETOOLONG;
    return -1;
}

static void lose(struct walk *w, int why) {
    struct capture *c = w->c;
    struct bytes name = buf_bytes(&w->name);
    char text[128];
    if (why == ENOENT || why == ENOTDIR || why == ESTALE || why == ELOOP || why == EINVAL) {
        atomic_fetch_add(&c->vanished, 1);
        capture_note(c, NOTE_VANISHED, name, "gone, or replaced by something else, before it could be read");
    } else {
        atomic_fetch_add(&c->unreadable, 1);
        capture_note(c, NOTE_UNREADABLE, name, strerror_r(why, text, sizeof text));
    }
}

/* Extended attributes of something that is not a regular file. A folder that may not be read is asked by its name. */
static int special_xattrs(struct walk *w, struct folder *f, const char *comp, struct folder *child, struct error *err) {
    struct dirs *dirs = scan_dirs(w->c->scan);
    buf_clear(&w->run);
    int self = child ? dir_get(dirs, &child->dir) : -1;
    int up = self < 0 ? dir_get(dirs, &f->dir) : -1, rc = -1;
    if (self >= 0)
        rc = xattrs_read(self, NULL, &w->run, err);
    else if (up >= 0)
        rc = xattrs_read(up, comp, &w->run, err);
    if (self >= 0) dir_put(dirs, &child->dir);
    if (up >= 0) dir_put(dirs, &f->dir);
    if (rc == 0 || err->code) return -(int)err->code;
    buf_clear(&w->run);
    capture_note(w->c, NOTE_WARNING, buf_bytes(&w->name), "its extended attributes could not be read");
    return 0;
}

static int meet_special(struct walk *w, struct folder *f, const char *comp, const struct lite *l, enum file_type type,
                        struct error *err) {
    struct capture *c = w->c;
    struct item_known known;
    struct attr a;
    if (known_holds(c, buf_bytes(&w->name), type, l, (struct bytes){0}, &known, &a))
        return item_keep(w, &known, &a, err);
    CLEANUP(buf_free) struct buf target = BUF_INIT(2 * TARGET_BYTES_MAX);
    int rc = 0;
    if (type == FILE_LINK) {
        int dir = dir_get(scan_dirs(c->scan), &f->dir);
        rc = dir < 0 ? -1 : link_target(dir, comp, &target, err);
        int why = errno;
        if (dir >= 0) dir_put(scan_dirs(c->scan), &f->dir);
        if (rc && err->code) return rc;
        if (rc) {
            lose(w, why);
            return 0;
        }
    }
    rc = special_xattrs(w, f, comp, l->child, err);
    if (rc) return rc;
    attr_of_lite(c, type, l, &a);
    a.target = buf_bytes(&target);
    a.xattrs = buf_bytes(&w->run);
    return item_record(w, &a, err);
}

static bool is_key(const struct surface_context *ctx, const struct lite *l) {
    for (size_t i = 0; i < ctx->key_count; i++)
        if (ctx->keys[i].ino == l->ino && ctx->keys[i].dev == l->dev) return true;
    return false;
}

static int skip(struct walk *w, const char *why) {
    atomic_fetch_add(&w->c->skipped, 1);
    capture_note(w->c, NOTE_SKIPPED, buf_bytes(&w->name), why);
    return 0;
}

static int meet(struct walk *w, struct folder *f, const char *comp, const struct lite *l, struct error *err) {
    switch (l->mode & S_IFMT) {
    case S_IFREG:
        if (is_key(w->c->ctx, l)) return skip(w, "a key of the repository: it is not stored with what it opens");
        return meet_regular(w, f, comp, l, err);
    case S_IFDIR:
        return meet_special(w, f, comp, l, FILE_FOLDER, err);
    case S_IFLNK:
        return meet_special(w, f, comp, l, FILE_LINK, err);
    case S_IFIFO:
        return meet_special(w, f, comp, l, FILE_FIFO, err);
    case S_IFCHR:
        return meet_special(w, f, comp, l, FILE_CHAR, err);
    case S_IFBLK:
        return meet_special(w, f, comp, l, FILE_BLOCK, err);
    default:
        return skip(w, "a socket: only its server can make it again");
    }
}

/* ---- the way through the tree ---- */

static int enter(struct walk *w, struct folder *f, struct error *err) {
    void *levels = w->levels;
    int rc = mem_grow(&levels, &w->cap, w->n + 1, sizeof *w->levels, err);
    w->levels = levels;
    if (rc) {
        /* A helper may be at it, so it can only be given back once the helpers have ended. */
        scan_stop(w->c->scan);
        scan_leave(w->c->scan, f);
        return rc;
    }
    w->levels[w->n++] = (struct level){.f = f};
    rc = scan_list(w->c->scan, f, err);
    if (rc == 0 && f->failed) {
        int why = f->failed;
        w->name.len = 0;
        rc = buf_append(&w->name, f->name.ptr, f->name.len, err);
        if (rc == 0) lose(w, why);
    }
    return rc;
}

static int step(struct walk *w, struct error *err) {
    struct capture *c = w->c;
    if (atomic_load_explicit(&c->failed, memory_order_relaxed)) return -(int)ERR_INTERNAL; /* the cause is in c->err */
    struct level *top = &w->levels[w->n - 1];
    struct folder *f = top->f;
    if (top->next == f->n) {
        scan_leave(c->scan, f);
        if (--w->n > 0) scan_back(c->scan, w->levels[w->n - 1].f);
        return stop_check(err);
    }
    size_t i = top->next++;
    struct lite *l;
    int rc = scan_entry(c->scan, f, i, &l, err);
    if (rc) return rc;
    const char *comp = f->names + f->entries[i].at;
    if (l->excluded) return 0;
    rc = scan_name(f, i, &w->name, err);
    if (rc) return rc;
    if (i % SCAN_BLOCK == 0) {
        capture_progress(c);
        rc = stop_check(err);
    }
    if (rc == 0 && l->failed && f->top) {
        errno = l->failed;
        rc = error_set_errno(err, ERR_SOURCE_MISSING, "the path '%s' of this surface went away", f->root->path);
    }
    if (rc == 0 && l->failed)
        lose(w, l->failed);
    else if (rc == 0)
        rc = meet(w, f, comp, l, err);
    if (rc || !l->child) return rc;
    struct folder *child = l->child;
    l->child = NULL;
    return enter(w, child, err);
}

int capture_walk(struct capture *c, struct folder *top, struct error *err) {
    struct walk w = {
        .c = c, .name = BUF_INIT(SIZE_MAX), .record = BUF_INIT(ATTR_BYTES_MAX), .run = BUF_INIT(ATTR_BYTES_MAX)};
    int rc = enter(&w, top, err);
    while (rc == 0 && w.n > 0) rc = step(&w, err);
    if (rc) scan_stop(c->scan);
    while (w.n > 0) scan_leave(c->scan, w.levels[--w.n].f);
    seam_free(w.levels);
    buf_free(&w.name);
    buf_free(&w.record);
    buf_free(&w.run);
    return rc;
}
