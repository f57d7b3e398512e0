#include "crypto/sha256_x2.h"
#include "surface/files/capture_internal.h"
#include <errno.h>

#define LANES 2
#define LANE_BYTES (256u << 10)

struct lane {
    struct reading r; /* r.t is NULL while the lane is free */
    struct sha256_state *sha;
    uint8_t *buffer;
    struct bytes rest; /* read, and not hashed yet */
    bool other;        /* the content is another, or cannot be told so cheaply */
};
struct reread {
    struct lane lanes[LANES];
};

void reread_free(struct reread *r) {
    if (!r) return;
    for (size_t i = 0; i < LANES; i++) {
        sha256_free(r->lanes[i].sha);
        seam_free(r->lanes[i].buffer);
    }
    seam_free(r);
}

static int reread_new(struct reread **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct reread), &p, err);
    if (rc) return rc;
    struct reread *r = p;
    for (size_t i = 0; i < LANES && rc == 0; i++) {
        rc = sha256_new(&r->lanes[i].sha, err);
        if (rc == 0 && !(r->lanes[i].buffer = seam_alloc_aligned(4096, LANE_BYTES)))
            rc = error_set(err, ERR_NO_MEMORY, "no memory to read a file");
    }
    if (rc)
        reread_free(r);
    else
        *ret = r;
    return rc;
}

static void lane_begin(struct lane *l, struct task *t) {
    l->r = (struct reading){.t = t, .item = t->held, .fd = t->dir >= 0 ? file_open(t, t->dir) : -1};
    l->r.read_errno = l->r.fd >= 0 ? 0 : t->dir >= 0 ? errno : t->dir_errno;
    l->rest = BYTES_OF(NULL, 0);
    l->other = false;
    t->held = NULL;
    if (l->r.read_errno) return;
    const struct stat *st = &l->r.before;
    if (seam_fstat(l->r.fd, &l->r.before) < 0)
        l->r.read_errno = errno;
    else
        /* the layout of a sparse file may have changed alone */
        l->other = !S_ISREG(st->st_mode) || (uint64_t)st->st_size != t->held_bytes ||
                   (uint64_t)st->st_blocks * 512 < (uint64_t)st->st_size;
}

/* Whether there is something to hash; reads the next piece when there is none. */
static bool lane_fill(struct lane *l, struct error *err) {
    struct reading *r = &l->r;
    struct capture *c = r->t->c;
    const uint64_t left = r->t->held_bytes - r->total;
    if (l->rest.len > 0) return true;
    if (r->read_errno || l->other || left == 0 || atomic_load(&c->failed)) return false;
    const ssize_t n = seam_pread(r->fd, l->buffer, left < LANE_BYTES ? (size_t)left : LANE_BYTES, (off_t)r->total);
    if (n < 0) r->read_errno = errno;
    if (n == 0) l->other = true; /* it has become shorter */
    if (n <= 0) return false;
    l->rest = BYTES_OF(l->buffer, (size_t)n);
    r->total += (uint64_t)n;
    atomic_fetch_add_explicit(&c->bytes_done, (uint64_t)n, memory_order_relaxed);
    capture_progress(c);
    if (stop_check(err)) capture_fail(c, err);
    return true;
}

/* All of it is read, or will not be. */
static void lane_end(struct lane *l) {
    struct reading *r = &l->r;
    struct task *t = r->t;
    struct capture *c = t->c;
    struct error err = ERROR_INIT;
    struct digest got;
    struct stat after;
    bool lost = false;
    int rc = 0;
    sha256_finish(l->sha, &got); /* whatever came of it: the next file starts afresh */
    if (!r->read_errno && !l->other && !atomic_load(&c->failed)) {
        if (seam_fstat(r->fd, &after) < 0)
            r->read_errno = errno;
        else
            r->confirmed =
                r->total == t->held_bytes && stat_same(&r->before, &after) && digest_equal(&got, &t->held_sha256);
    }
    if (r->confirmed) {
        rc = file_close(r, false, &err);
    } else {
        r->total = 0;
        if (!r->read_errno) rc = c->sink->ops->restart(r->item, &err);
        if (rc == 0) rc = file_capture(r, &lost, &err);
    }
    if (rc) capture_fail(c, &err);
    if (r->item) c->sink->ops->drop(r->item);
    io_close(&r->fd);
    if (t->dir >= 0) dir_put(scan_dirs(c->scan), &t->f->dir);
    r->t = NULL;
    task_end(t, lost || rc != 0);
}

static struct bytes lane_take(struct lane *l, size_t n) {
    const struct bytes piece = BYTES_OF(l->rest.ptr, n);
    l->rest = BYTES_OF(l->rest.ptr + n, l->rest.len - n);
    return piece;
}

/* Both lanes by as much as both have; what the longer has more of waits for the next file in the other. */
static void lanes_hash(struct lane *a, struct lane *b) {
    const size_t least = a->rest.len < b->rest.len ? a->rest.len : b->rest.len, n = least & ~(size_t)63;
    if (n > 0) sha256_update_two(a->sha, lane_take(a, n), b->sha, lane_take(b, n));
    struct lane *ending = a->rest.len && (!b->rest.len || a->rest.len <= b->rest.len) ? a : b;
    if (n < 64 || ending->rest.len < 64) sha256_update(ending->sha, lane_take(ending, ending->rest.len));
}

struct task *reread_run(struct reread **rr, struct capture *c, struct task *first) {
    struct error err = ERROR_INIT;
    struct task *next = first, *other = NULL;
    if (!*rr && reread_new(rr, &err)) {
        capture_fail(c, &err);
        c->sink->ops->drop(first->held);
        first->held = NULL;
        if (first->dir >= 0) dir_put(scan_dirs(c->scan), &first->f->dir);
        task_end(first, true);
        return NULL;
    }
    struct reread *r = *rr;
    for (;;) {
        for (size_t i = 0; i < LANES; i++) {
            struct lane *l = &r->lanes[i];
            /* Nobody waits while a lane is full, so what it holds is finished, whoever waits for it. */
            for (;;) {
                if (!l->r.t) {
                    void *p;
                    if (!next && !other && queue_try_pop(c->queue, &p)) next = p;
                    if (next && !next->held) {
                        other = next;
                        next = NULL;
                    }
                    if (!next) break;
                    lane_begin(l, next);
                    next = NULL;
                }
                if (lane_fill(l, &err)) break;
                lane_end(l);
            }
        }
        if (!r->lanes[0].r.t && !r->lanes[1].r.t) return other;
        lanes_hash(&r->lanes[0], &r->lanes[1]);
    }
}
