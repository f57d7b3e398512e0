/* Contents of items, read at any place. Who reads in order is decoded ahead of. */
#include "work/mount_internal.h"

#define RUN_BYTES (1u << 20) /* what one task decodes: about a frame */
#define RUN_CHUNKS 64
#define RUNS_AT_ONCE ((size_t)(MOUNT_AHEAD_BYTES / RUN_BYTES) + 1)

struct run_task { /* neighbours that are decoded ahead */
    struct mount *m;
    struct snapshot *snapshot;
    uint32_t slot;
    unsigned count;
    struct digest ids[RUN_CHUNKS];
};

struct mount_file {
    struct mount *m;
    struct node *node;
    uint32_t slot;
    pthread_mutex_t lock;
    /* NULL while the point is not held */
    struct snapshot *snapshot;
    struct ritem *item, *scout; /* the scout is ahead of the reader by what is being decoded */
    bool scouting;
    uint64_t scout_at;
    /* of a store that is far away: what is ahead of the scout, and will be wanted */
    struct ritem *herald;
    bool leads;                        /* one of those of which much is told */
    uint64_t told_at, order_at, front; /* where in order reading began, and how far it came */
    struct bytes piece; /* of the item, borrowed from it; ptr NULL: a hole */
    uint64_t piece_at, last_end;
};

int mount_file_open(struct mount *m, uint64_t id, struct mount_file **ret, struct error *err) {
    struct node *n;
    void *mem = NULL;
    int rc = node_get(m, id, &n, err);
    if (rc < 0) return rc;
    if (!S_ISREG(n->stat.mode))
        rc = error_set(err, ERR_NO_POINT, "the item has no content");
    else
        rc = mem_alloc(sizeof(struct mount_file), &mem, err);
    if (rc < 0) {
        node_put(m, n);
        return rc;
    }
    struct mount_file *f = mem;
    f->m = m;
    f->node = n;
    f->slot = id_slot(id);
    pthread_mutex_init(&f->lock, NULL);
    *ret = f;
    return 0;
}

static void herald_end(struct mount_file *f) {
    ritem_close(f->herald);
    f->herald = NULL;
}

static void let_go(struct mount_file *f) {
    if (!f->snapshot) return;
    ritem_close(f->item);
    ritem_close(f->scout);
    herald_end(f);
    f->item = f->scout = NULL;
    if (f->leads) mount_lead(f->m, -1);
    f->leads = false;
    f->scouting = false;
    f->piece = (struct bytes){0};
    f->piece_at = 0; /* where a reader that is opened anew begins */
    f->snapshot = NULL;
    mount_release(f->m, f->slot);
}

void mount_file_close(struct mount_file *f) {
    if (!f) return;
    pthread_rwlock_rdlock(&f->m->repo_lock);
    let_go(f);
    pthread_rwlock_unlock(&f->m->repo_lock);
    node_put(f->m, f->node);
    pthread_mutex_destroy(&f->lock);
    seam_free(f);
}

static void run_decode(void *arg) {
    struct run_task *t = arg;
    pthread_rwlock_rdlock(&t->m->repo_lock);
    int rc = 0;
    for (unsigned i = 0; i < t->count && rc == 0 && !atomic_load(&stop_signal); i++) {
        struct error err = ERROR_INIT; /* the reader finds it out by itself, if it comes that far */
        rc = snapshot_prefetch(t->snapshot, &t->ids[i], &err);
    }
    mount_release(t->m, t->slot);
    pthread_rwlock_unlock(&t->m->repo_lock);
    seam_free(t);
}

static struct run_task *run_new(struct mount_file *f) {
    struct error err = ERROR_INIT;
    void *mem;
    if (mem_alloc(sizeof(struct run_task), &mem, &err) < 0) return NULL;
    struct run_task *t = mem;
    t->m = f->m;
    t->snapshot = f->snapshot;
    t->slot = f->slot;
    mount_hold_again(f->m, f->slot);
    return t;
}

/* Makes the tasks that decode what lies behind `at`; they are handed in when no lock is held, as that may run one. It
 * is help and no more: what fails here ends the scouting, and the reader goes on. */
static size_t ahead(struct mount_file *f, uint64_t at, struct run_task **tasks) {
    struct error err = ERROR_INIT;
    const uint64_t size = f->node->head.bytes;
    size_t n = 0;
    if (f->scouting && (f->scout_at < at || f->scout_at > at + 2 * MOUNT_AHEAD_BYTES)) {
        ritem_close(f->scout);
        f->scout = NULL;
        f->scouting = false;
    }
    if (f->scouting && (f->scout_at >= size || f->scout_at - at > MOUNT_AHEAD_BYTES / 2)) return 0;
    if (!f->scouting) {
        if (ritem_open(f->snapshot, &f->node->head, &f->scout, &err) < 0) return 0;
        f->scouting = true;
        f->scout_at = at;
        if (ritem_seek(f->scout, at, &err) < 0) return 0;
    }
    for (uint64_t run = 0; f->scout_at < size && f->scout_at < at + MOUNT_AHEAD_BYTES;) {
        struct ritem_extent x;
        if (ritem_peek(f->scout, &x, &err) < 0) break;
        f->scout_at = x.len ? x.at + x.len : size;
        ritem_skip(f->scout);
        if (x.hole || !x.len) continue;
        if (!n || run >= RUN_BYTES || tasks[n - 1]->count == RUN_CHUNKS) {
            if (n == RUNS_AT_ONCE || !(tasks[n] = run_new(f))) break;
            n++;
            run = 0;
        }
        tasks[n - 1]->ids[tasks[n - 1]->count++] = x.id;
        run += x.len;
    }
    return n;
}

/* Tells what lies behind `at`, the farther the more was read in order, so that packs are on their way side by side
 * before the first of them is needed. Help and no more, like the scout. */
static void tell(struct mount_file *f, uint64_t at) {
    struct error err = ERROR_INIT;
    const uint64_t size = f->node->head.bytes, run = (at - f->order_at) * 4;
    uint64_t until = at + MOUNT_AHEAD_BYTES;
    if (run > MOUNT_AHEAD_BYTES && !f->leads && (f->leads = mount_lead(f->m, 1))) snapshot_reader(f->snapshot);
    if (run > MOUNT_AHEAD_BYTES && f->leads) until = at + (run < MOUNT_TOLD_BYTES ? run : MOUNT_TOLD_BYTES);
    if (f->herald && f->told_at < at) herald_end(f);
    if (!f->herald) {
        f->told_at = at;
        int rc = ritem_open(f->snapshot, &f->node->head, &f->herald, &err);
        if (rc == 0 && (rc = ritem_seek(f->herald, at, &err)) < 0) herald_end(f);
        if (rc < 0) return;
    }
    while (f->told_at < size && f->told_at < until) {
        struct ritem_extent x;
        if (ritem_peek(f->herald, &x, &err) < 0) return;
        f->told_at = x.len ? x.at + x.len : size;
        ritem_skip(f->herald);
        if (!x.hole && x.len) snapshot_expect_chunk(f->snapshot, &x.id);
    }
}

/* Whether a read goes on where others were, give or take those that are on their way at the same time. */
static bool goes_on(struct mount_file *f, uint64_t at, size_t n) {
    const uint64_t near = f->front ? MOUNT_AHEAD_BYTES / 2 : 0;
    const bool on = at <= f->front + near && at + near >= f->front;
    if (!on) herald_end(f);
    if (!on || at < f->order_at) f->order_at = at;
    f->front = on && f->front > at + n ? f->front : at + n;
    return on;
}

/* The piece that `at` lies in; empty at the end. */
static int piece_get(struct mount_file *f, uint64_t at, struct error *err) {
    if (at >= f->piece_at && at - f->piece_at < f->piece.len) return 0;
    int rc = f->item ? 0 : ritem_open(f->snapshot, &f->node->head, &f->item, err);
    if (rc == 0 && at != f->piece_at + f->piece.len) rc = ritem_seek(f->item, at, err);
    f->piece = (struct bytes){0};
    f->piece_at = at;
    return rc < 0 ? rc : ritem_next(f->item, &f->piece, err);
}

static int read_held(struct mount_file *f, uint64_t at, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    size_t done = 0;
    int rc = 0;
    while (done < n && (rc = piece_get(f, at + done, err)) == 0 && f->piece.len) {
        uint64_t into = at + done - f->piece_at, left = f->piece.len - into;
        size_t take = left < n - done ? (size_t)left : n - done;
        if (f->piece.ptr)
            memcpy(p + done, f->piece.ptr + into, take);
        else
            memset(p + done, 0, take);
        done += take;
    }
    /* Read to its end in order: only asking once more tells that its digest is right. */
    if (rc == 0 && at + done == f->node->head.bytes && f->piece.len && f->item) rc = piece_get(f, at + done, err);
    *ret_n = done;
    return rc;
}

int mount_file_read(struct mount_file *f, uint64_t at, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct run_task *tasks[RUNS_AT_ONCE];
    size_t task_count = 0;
    const uint64_t size = f->node->head.bytes;
    int rc = 0;
    *ret_n = 0;
    if (f->node->head.kind == CONTENT_NONE || at >= size || n == 0) return 0;
    pthread_mutex_lock(&f->lock);
    pthread_rwlock_rdlock(&f->m->repo_lock);
    if (!f->snapshot) rc = mount_hold(f->m, f->slot, &f->snapshot, err);
    if (rc == 0) {
        bool in_order = at == f->last_end || (at == 0 && size > n);
        if (goes_on(f, at, n) && snapshot_is_far(f->snapshot)) tell(f, at);
        if (in_order && size - at > n) task_count = ahead(f, at + n, tasks);
    }
    pthread_rwlock_unlock(&f->m->repo_lock);
    pthread_mutex_unlock(&f->lock);
    for (size_t i = 0; i < task_count; i++) pool_submit(f->m->ahead, run_decode, tasks[i]);
    if (rc < 0) return rc;

    pthread_mutex_lock(&f->lock);
    pthread_rwlock_rdlock(&f->m->repo_lock);
    if (!f->snapshot) rc = mount_hold(f->m, f->slot, &f->snapshot, err);
    if (rc == 0) rc = read_held(f, at, p, n, ret_n, err);
    if (rc == 0) f->last_end = at + *ret_n;
    if (rc < 0 || mount_crowded(f->m)) let_go(f);
    pthread_rwlock_unlock(&f->m->repo_lock);
    pthread_mutex_unlock(&f->lock);
    return rc;
}

int mount_file_seek(struct mount_file *f, uint64_t at, bool hole, uint64_t *ret, struct error *err) {
    const uint64_t size = f->node->head.bytes;
    struct snapshot *s;
    struct ritem *it = NULL;
    if (at >= size) return error_set(err, ERR_NO_POINT, "the item ends before that");
    if (f->node->head.kind == CONTENT_NONE || !f->node->stat.sparse) {
        *ret = hole ? size : at;
        return 0;
    }
    pthread_rwlock_rdlock(&f->m->repo_lock);
    int rc = mount_hold(f->m, f->slot, &s, err);
    if (rc == 0) {
        rc = ritem_open(s, &f->node->head, &it, err);
        if (rc == 0) rc = ritem_seek(it, at, err);
        for (;;) {
            struct ritem_extent x;
            if (rc == 0) rc = ritem_peek(it, &x, err);
            if (rc < 0) break;
            if (x.len == 0 && !hole) rc = error_set(err, ERR_NO_POINT, "no data follows");
            if (x.len == 0 || x.hole == hole) {
                *ret = x.at > at ? x.at : at;
                break;
            }
            ritem_skip(it);
        }
        ritem_close(it);
        mount_release(f->m, f->slot);
    }
    pthread_rwlock_unlock(&f->m->repo_lock);
    return rc;
}
