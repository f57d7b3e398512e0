#include "work/renew.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "platform/open_store.h"
#include "repo/objects.h"

#include <stdio.h>
#include <stdlib.h>

/* <cache>/locks: magic, when the next run is due, then records sorted by name */
#define MAGIC "PKLOCKS1"
#define HEAD_BYTES 16
#define NAME_BYTES 16
#define RECORD_BYTES (NAME_BYTES + 9) /* when it ends, and the mode */
#define FILE_BYTES_MAX ((size_t)256 << 20)
#define THREADS 8
#define SAVE_EVERY 4096

struct item {
    const struct live_object *object;
    uint8_t name[NAME_BYTES];
    int64_t keep_ns, until_ns; /* until_ns 0: not known or not locked */
    enum store_lock mode;
    bool missing;
};
struct renewal {
    struct work *w;
    struct store_locks locks;
    int64_t now_ns;
    struct renew_totals *totals;
    pthread_mutex_t lock; /* totals and err */
    struct error err;
};
struct task {
    struct renewal *r;
    struct item *i;
};

static void path_of(const struct work *w, char out[4200]) {
    snprintf(out, 4200, "%.4000s/locks", repo_cache_dir(w->repo));
}

static int by_name(const void *a, const void *b) {
    return memcmp(((const struct item *)a)->name, ((const struct item *)b)->name, NAME_BYTES);
}

/* A cache that is not as it should be is as none. */
static int64_t load(const struct work *w, struct buf *b) {
    char path[4200];
    struct error e = ERROR_INIT;
    if (!repo_cache_dir(w->repo)) return 0;
    path_of(w, path);
    if (io_read_file(AT_FDCWD, path, b->max_bytes, b, &e) < 0 || b->len < HEAD_BYTES || memcmp(b->ptr, MAGIC, 8) != 0 ||
        (b->len - HEAD_BYTES) % RECORD_BYTES != 0) {
        buf_clear(b);
        return 0;
    }
    return (int64_t)get_u64(b->ptr + 8);
}

static int compare_record(const void *name, const void *record) {
    return memcmp(name, record, NAME_BYTES);
}

static void recall(const struct buf *b, struct item *i) {
    if (b->len <= HEAD_BYTES) return;
    const uint8_t *at =
        bsearch(i->name, b->ptr + HEAD_BYTES, (b->len - HEAD_BYTES) / RECORD_BYTES, RECORD_BYTES, compare_record);
    if (!at) return;
    i->until_ns = (int64_t)get_u64(at + NAME_BYTES);
    i->mode = at[NAME_BYTES + 8] == STORE_LOCK_COMPLIANCE ? STORE_LOCK_COMPLIANCE : STORE_LOCK_GOVERNANCE;
}

static int save(const struct renewal *r, const struct item *items, size_t n, struct error *err) {
    struct buf b = BUF_INIT(FILE_BYTES_MAX);
    char path[4200];
    uint8_t head[HEAD_BYTES], record[RECORD_BYTES];
    if (!repo_cache_dir(r->w->repo)) return 0;
    path_of(r->w, path);
    memcpy(head, MAGIC, 8);
    put_u64(head + 8, (uint64_t)r->totals->next_ns);
    int rc = buf_append(&b, head, sizeof head, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (items[i].until_ns == 0) continue;
        memcpy(record, items[i].name, NAME_BYTES);
        put_u64(record + NAME_BYTES, (uint64_t)items[i].until_ns);
        record[NAME_BYTES + 8] = (uint8_t)items[i].mode;
        rc = buf_append(&b, record, sizeof record, err);
    }
    if (rc == 0) rc = io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, err);
    buf_free(&b);
    return rc;
}

static bool is_weak(const struct renewal *r, const struct item *i) {
    return i->until_ns < r->now_ns + i->keep_ns / 2 || i->mode < r->locks.mode;
}

static int lock(struct renewal *r, struct item *i, enum store_lock mode, struct error *err) {
    struct store_retention want = {mode, r->now_ns + i->keep_ns, false};
    if (want.until_ns < i->until_ns) want.until_ns = i->until_ns;
    int rc = store_retain(r->w->store, i->object->key, &want, err);
    if (rc < 0) return rc;
    i->until_ns = want.until_ns;
    i->mode = mode;
    return 0;
}

/* Governance becomes compliance only by rights that nobody need have here, and stays without them. */
static int renew(struct renewal *r, struct item *i, bool *ret_renewed, struct error *err) {
    struct store *s = r->w->store;
    struct store_retention is = {.mode = STORE_LOCK_NONE};
    struct error e = ERROR_INIT;
    int rc = store_retention(s, i->object->key, &is, err);
    if (rc == -ERR_OBJECT_MISSING) {
        error_clear(err);
        i->missing = true;
        return 0;
    }
    if (rc < 0) return rc;
    i->mode = is.mode;
    i->until_ns = is.mode == STORE_LOCK_NONE ? 0 : is.until_ns;
    if (!is_weak(r, i)) return 0;
    rc = lock(r, i, is.mode > r->locks.mode ? is.mode : r->locks.mode, &e);
    if ((rc == -ERR_S3_LOCKED || rc == -ERR_S3_DENIED) && is.mode == STORE_LOCK_GOVERNANCE) {
        if (i->until_ns >= r->now_ns + i->keep_ns / 2) return 0;
        rc = lock(r, i, is.mode, err);
    } else if (rc < 0)
        *err = e;
    *ret_renewed = rc == 0;
    return rc;
}

static void run(void *arg) {
    struct task *t = arg;
    struct renewal *r = t->r;
    struct error e = ERROR_INIT;
    bool renewed = false;
    pthread_mutex_lock(&r->lock);
    bool stopped = r->err.code != ERR_NONE;
    pthread_mutex_unlock(&r->lock);
    if (stopped) return;
    int rc = renew(r, t->i, &renewed, &e);
    pthread_mutex_lock(&r->lock);
    r->totals->looked_at++;
    r->totals->renewed += renewed;
    r->totals->missing += t->i->missing;
    if (rc < 0 && r->err.code == ERR_NONE) r->err = e;
    pthread_mutex_unlock(&r->lock);
}

static int items_make(struct renewal *r, const struct live_objects *live, const struct buf *known, struct item **ret,
                      size_t *ret_n, struct error *err) {
    void *mem;
    int rc = mem_alloc((live->count + 1) * sizeof(struct item), &mem, err);
    if (rc < 0) return rc;
    struct item *items = mem;
    size_t n = 0;
    for (size_t k = 0; k < live->count; k++) {
        struct item i = {.object = &live->items[k], .keep_ns = store_lock_ns(r->w->store, live->items[k].key)};
        struct digest d;
        if (i.keep_ns <= 0) continue;
        sha256(BYTES_STR(live->items[k].key), &d);
        memcpy(i.name, d.b, NAME_BYTES);
        recall(known, &i);
        items[n++] = i;
    }
    if (n) qsort(items, n, sizeof *items, by_name);
    *ret = items;
    *ret_n = n;
    return 0;
}

static int act(struct renewal *r, struct item *items, size_t n, uint64_t most, struct error *err) {
    struct pool *pool = NULL;
    void *mem;
    int rc = mem_alloc((n + 1) * sizeof(struct task), &mem, err);
    if (rc < 0) return rc;
    struct task *tasks = mem;
    uint64_t begun = 0;
    r->totals->complete = true;
    rc = pool_new(THREADS, 2 * THREADS, &pool, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!is_weak(r, &items[i])) continue;
        if (most && begun == most) {
            r->totals->complete = false;
            break;
        }
        tasks[i] = (struct task){r, &items[i]};
        pool_submit(pool, run, &tasks[i]);
        if (++begun % SAVE_EVERY == 0) { /* what was done is not to be asked again when this run is killed */
            struct error e = ERROR_INIT;
            pool_drain(pool);
            if (save(r, items, n, &e) < 0) error_clear(&e);
        }
    }
    pool_free(pool);
    seam_free(tasks);
    if (rc == 0 && r->err.code != ERR_NONE) {
        *err = r->err;
        rc = error_wrap(err, "making locks longer");
    }
    return rc;
}

/* An eighth of the shortest time: a lock is then seen several times between its half and its end. */
static void set_next(struct renewal *r, const struct item *items, size_t n) {
    int64_t least = 0;
    for (size_t i = 0; i < n; i++) {
        if (least == 0 || items[i].keep_ns < least) least = items[i].keep_ns;
        if (!items[i].missing && (r->totals->soonest_ns == 0 || items[i].until_ns < r->totals->soonest_ns))
            r->totals->soonest_ns = items[i].until_ns;
    }
    r->totals->next_ns = r->totals->complete ? r->now_ns + least / 8 : r->now_ns;
}

int work_renew(struct work *w, const struct renew_options *o, struct renew_totals *ret, struct error *err) {
    struct renewal r = {.w = w, .now_ns = time_now_ns(), .totals = ret, .err = ERROR_INIT};
    struct buf known = BUF_INIT(FILE_BYTES_MAX);
    struct live_objects live = {0};
    struct item *items = NULL;
    size_t n = 0;
    *ret = (struct renew_totals){0};
    r.locks = config_locks(w->config ? config_repository_at(w->config, w->url) : NULL);
    ret->configured = r.locks.mode != STORE_LOCK_NONE;
    if (!ret->configured) return 0;
    ret->next_ns = load(w, &known);
    ret->due = !o->when_due || r.now_ns >= ret->next_ns;
    if (!ret->due) {
        buf_free(&known);
        return 0;
    }
    pthread_mutex_init(&r.lock, NULL);
    int rc = repo_live_objects(w->repo, &live, err);
    if (rc == 0) rc = items_make(&r, &live, &known, &items, &n, err);
    ret->objects = n;
    if (rc == 0) {
        struct error unsaved = ERROR_INIT;
        rc = act(&r, items, n, o->objects_max, err);
        if (rc == 0) set_next(&r, items, n);
        int kept = save(&r, items, n, rc < 0 ? &unsaved : err);
        if (rc == 0) rc = kept;
    }
    seam_free(items);
    live_objects_free(&live);
    buf_free(&known);
    pthread_mutex_destroy(&r.lock);
    return rc;
}
