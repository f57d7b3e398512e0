#include "base/thread.h"
#include "surface/files/restore_internal.h"
#include <errno.h>

#define DIRECT_MIN (1u << 20) /* from here on past the page cache, which costs several times the CPU */
#define BEHIND_MIN (16u << 20) /* from here on written while more is decoded */
#define ALIGN BOUNCE_ALIGN

struct writer {
    struct restore *r;
    struct bounce *b; /* NULL: through the page cache */
    struct bytes name;
    char text[NAME_TEXT_BYTES]; /* the name as messages have it */
    struct bounce_file file;
    bool large, behind; /* large enough for a thread that writes behind; it has one of the places for such */
    uint64_t at;      /* where the next byte goes; with a bounce: base + fill */
    uint64_t base;    /* a multiple of ALIGN */
    size_t fill;
    bool holes;
};

static int write_failed(const struct writer *w, const char *what, struct error *err) {
    return error_set_errno(err, ERR_IO_WRITE, "%s '%s'", what, w->text);
}

static int file_create(int dir, const char *comp, mode_t mode, bool *direct) {
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    int fd = seam_openat(dir, comp, flags | (*direct ? O_DIRECT : 0), mode);
    if (fd >= 0 || errno != EINVAL || !*direct) return fd;
    /* The system finds out that the file system cannot do it when it has made the file. */
    *direct = false;
    if (seam_unlinkat(dir, comp, 0) < 0 && errno != ENOENT) return -1;
    return seam_openat(dir, comp, flags, mode);
}

/* What is full of the bounce. */
static int flush_full(struct writer *w, size_t n, struct error *err) {
    if (w->large && !w->behind) w->behind = place_take(&w->r->behind);
    return bounce_write(w->b, &w->file, n, w->base, w->behind, err);
}

static int bounce_data(struct writer *w, struct bytes d, struct error *err) {
    while (d.len > 0) {
        size_t n = BOUNCE_BYTES - w->fill < d.len ? BOUNCE_BYTES - w->fill : d.len;
        memcpy(w->b->p + w->fill, d.ptr, n);
        w->fill += n;
        w->at += n;
        d = BYTES_OF(d.ptr + n, d.len - n);
        if (w->fill < BOUNCE_BYTES) continue;
        int rc = flush_full(w, w->fill, err);
        if (rc) return rc;
        w->base += w->fill;
        w->fill = 0;
    }
    return 0;
}

/* Zeros up to the end of the block, then nothing up to the block in which the hole ends. */
static int bounce_hole(struct writer *w, uint64_t len, struct error *err) {
    size_t pad = (ALIGN - w->fill % ALIGN) % ALIGN;
    if (pad > len) pad = (size_t)len;
    memset(w->b->p + w->fill, 0, pad);
    w->fill += pad;
    w->at += pad;
    len -= pad;
    if (len == 0 && w->fill < BOUNCE_BYTES) return 0;
    int rc = flush_full(w, w->fill, err);
    if (rc) return rc;
    w->at += len;
    w->base = w->at / ALIGN * ALIGN;
    w->fill = (size_t)(w->at - w->base);
    memset(w->b->p, 0, w->fill);
    return 0;
}

static int piece_write(struct writer *w, struct bytes d, struct error *err) {
    if (!d.ptr) w->holes = true;
    if (w->b) return d.ptr ? bounce_data(w, d, err) : bounce_hole(w, d.len, err);
    int rc = 0;
    if (d.ptr) {
        rc = io_pwrite_full(w->file.fd, d.ptr, d.len, w->at, w->text, err);
        /* in place each file is made durable by itself */
        if (rc == 0 && !w->r->in_place) flush_count(&w->r->flush, (d.len + ALIGN - 1) / ALIGN * ALIGN);
    }
    w->at += d.len;
    return rc;
}

static int content_once(struct writer *w, const struct source_head *h, const struct attr *a, bool late,
                        struct error *err) {
    struct restore *r = w->r;
    struct source_item *it;
    int rc = r->src->ops->open(r->src, h, &it, err);
    if (rc) return rc;
    if (late) r->src->ops->late(it);
    /* Space is asked for beforehand, so that a full disk is found early and writes need not extend the file. */
    if (w->b && !(a->flags & ATTR_SPARSE) && seam_fallocate(w->file.fd, 0, 0, (off_t)h->bytes) < 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        rc = write_failed(w, "make room for", err);
    while (rc == 0) {
        struct bytes d;
        rc = r->src->ops->next(it, &d, err);
        if (rc || d.len == 0) break;
        if (d.len > h->bytes - w->at) {
            rc = error_set(err, ERR_RESTORE_DIFFERS, "there is more content than the record says");
            break;
        }
        rc = piece_write(w, d, err);
        atomic_fetch_add_explicit(&r->bytes, d.len, memory_order_relaxed);
        restore_progress(r);
        if (rc == 0) rc = stop_check(err);
        if (rc == 0 && atomic_load(&r->failed)) {
            /* Half a file must not get its name; why is known already. */
            *err = r->err;
            rc = -(int)err->code;
        }
    }
    r->src->ops->close(it);
    if (rc == 0 && w->at != h->bytes)
        rc = error_set(err, ERR_RESTORE_DIFFERS, "there is less content than the record says");
    if (rc == 0 && w->b && w->fill) {
        size_t n = (w->fill + ALIGN - 1) / ALIGN * ALIGN;
        memset(w->b->p + w->fill, 0, n - w->fill);
        rc = flush_full(w, n, err);
    }
    if (w->b) {
        struct error behind = ERROR_INIT;
        int last = bounce_wait(w->b, &behind);
        if (rc == 0 && (rc = last) < 0) *err = behind;
        bounce_rest(w->b);
    }
    if (w->behind) atomic_fetch_add(&w->r->behind, 1);
    w->behind = false;
    if (rc == 0 && (w->b || w->holes) && seam_ftruncate(w->file.fd, (off_t)h->bytes) < 0)
        rc = write_failed(w, "set the size of", err);
    return rc;
}

/* A file has its name, or the folder that it is in, only when all of it is right; so what turns out at its end not to
 * be is written again. */
static int content_write(struct writer *w, const struct source_head *h, const struct attr *a, struct error *err) {
    if (!w->r->src->ops->late) return content_once(w, h, a, false, err);
    int rc = content_once(w, h, a, true, err);
    if (rc != -ERR_RESTORE_DIFFERS || atomic_load(&w->r->failed)) return rc;
    error_clear(err);
    atomic_fetch_sub_explicit(&w->r->bytes, w->at, memory_order_relaxed);
    w->at = w->base = w->fill = 0;
    w->holes = false;
    if (seam_ftruncate(w->file.fd, 0) < 0) return write_failed(w, "begin again", err);
    return content_once(w, h, a, false, err);
}

/* Files that one process creates in one private folder all get the same owner and group, and the mode that was asked
 * for if one of them did; so one is looked at, not all. Elsewhere another's default ACL or set-group-id bit may come in
 * between. */
static int look(const struct writer *w, struct rdir *d, mode_t asked, struct stat *ret, struct error *err) {
    if (d && atomic_load_explicit(&d->tried, memory_order_acquire)) {
        uint64_t born = atomic_load_explicit(&d->born, memory_order_relaxed);
        *ret = (struct stat){.st_uid = (uid_t)(born >> 32), .st_gid = (gid_t)born, .st_mode = S_IFREG | asked};
        return 0;
    }
    int rc = restore_attr_stat(w->file.fd, w->name, ret, err);
    if (rc == 0 && d && !w->r->in_place && (ret->st_mode & 07777) == asked) {
        atomic_store_explicit(&d->born, (uint64_t)ret->st_uid << 32 | ret->st_gid, memory_order_relaxed);
        atomic_store_explicit(&d->tried, true, memory_order_release);
    }
    return rc;
}

/* Beside the live tree nobody else gets near it, so it may have its mode from the start. What is opened again by name,
 * or gets attributes that want write permission, has that first. */
static mode_t mode_first(const struct restore *r, const struct attr *a, bool direct) {
    return r->in_place ? 0600 : (a->mode & 0777) | (direct || a->xattrs.len ? 0600 : 0);
}

int restore_file(struct restore *r, int dir, struct rdir *d, const char *comp, struct bytes name,
                 const struct source_head *h, struct bounce *b, struct error *err) {
    char temp[TEMP_BYTES];
    const char *as = restore_temp(r, comp, temp);
    struct attr a;
    int rc = attr_decode(h->attr, &a, err);
    if (rc) return rc;
    bool direct = h->bytes >= DIRECT_MIN;
    if (direct && !bounce_ready(b)) direct = false;
    struct writer w = {
        .r = r, .name = name, .file = {.dir = dir, .comp = as, .text = w.text}, .large = h->bytes >= BEHIND_MIN};
    name_text(name, w.text);
    mode_t asked = mode_first(r, &a, direct);
    struct stat is;
    w.file.fd = file_create(dir, as, asked, &direct);
    if (w.file.fd < 0) return write_failed(&w, "create", err);
    if (direct) w.b = b;
    rc = content_write(&w, h, &a, err);
    if (rc == 0) rc = look(&w, d, asked, &is, err);
    if (rc == 0) rc = restore_attr_fd(r, w.file.fd, dir, as, name, &a, &is, err);
    if (rc == 0 && r->in_place && seam_fsync(w.file.fd) < 0)
        rc = error_set_errno(err, ERR_IO_SYNC, "make '%s' durable", w.text);
    if (seam_close(w.file.fd) < 0 && rc == 0) rc = write_failed(&w, "close", err);
    if (rc == 0) rc = restore_settle(r, dir, as, comp, name, err);
    if (rc == 0)
        atomic_fetch_add_explicit(&r->items, 1, memory_order_relaxed);
    else if (r->in_place)
        seam_unlinkat(dir, as, 0);
    return rc ? error_wrap(err, "restore '%s'", w.text) : 0;
}
