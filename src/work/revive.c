#include "work/revive.h"

#include "base/seam.h"
#include "base/thread.h"
#include "repo/objects.h"

#include <stdio.h>

#define VERSIONS_MAX 8 /* of one object, the oldest, are looked at */
#define READ_BYTES ((size_t)4 << 20)
#define OBJECT_BYTES_MAX ((size_t)1 << 30)
#define THREADS_MAX 8

struct candidate {
    const struct live_object *object;
    char key[96];
    char *ids; /* real versions, newest first, each ending in NUL */
    unsigned count;
    bool hidden, derived;
};
struct scan {
    struct work *w;
    const struct live_objects *live;
    struct revive_totals *totals;
    struct candidate *found;
    size_t count, cap;
    /* the key that is being read; "" before the first */
    struct candidate now;
    size_t ids_len, ids_cap;
    char top_tag[96], last_tag[96];
    uint64_t top_bytes, last_bytes;
    unsigned real;
};

static int end_key(struct scan *s, struct error *err) {
    struct candidate *c = &s->now;
    bool same = !c->hidden && s->top_tag[0] && strcmp(s->top_tag, s->last_tag) == 0 && s->top_bytes == s->last_bytes;
    bool slot = strncmp(c->key, "keys/", 5) == 0;
    /* bundles of part of their width are removed by ourselves when there are wider ones */
    c->derived = strncmp(c->key, "tile/", 5) == 0 && !(c->hidden && strstr(c->key, ".p/"));
    int rc = 0;
    if (!c->key[0] || s->real == 0 || (!c->hidden && (s->real == 1 || same))) return 0;
    c->object = live_object_find(s->live, c->key);
    if (!c->object && !(slot && c->hidden) && !c->derived) return 0;
    if ((rc = mem_grow((void **)&s->found, &s->cap, s->count + 1, sizeof *s->found, err)) < 0) return rc;
    s->found[s->count++] = *c;
    c->ids = NULL; /* taken over */
    s->ids_cap = 0;
    return 0;
}

static int see(void *ctx, const struct store_version *v, struct error *err) {
    struct scan *s = ctx;
    struct candidate *c = &s->now;
    int rc = 0;
    if (strcmp(c->key, v->key) != 0) {
        if ((rc = end_key(s, err)) < 0) return rc;
        char *ids = c->ids;
        *c = (struct candidate){.ids = ids};
        if (strlen(v->key) < sizeof c->key) snprintf(c->key, sizeof c->key, "%s", v->key);
        s->ids_len = 0;
        s->real = 0;
        s->top_tag[0] = 0;
    }
    if (v->marker) {
        c->hidden |= v->latest;
        return 0;
    }
    if (v->latest) {
        snprintf(s->top_tag, sizeof s->top_tag, "%.90s", v->tag);
        s->top_bytes = v->bytes;
    }
    snprintf(s->last_tag, sizeof s->last_tag, "%.90s", v->tag);
    s->last_bytes = v->bytes;
    s->real++;
    size_t n = strlen(v->id) + 1;
    if (c->count == VERSIONS_MAX) { /* the newest gives way */
        size_t first = strlen(c->ids) + 1;
        s->ids_len -= first;
        memmove(c->ids, c->ids + first, s->ids_len);
        c->count--;
    }
    if ((rc = mem_grow((void **)&c->ids, &s->ids_cap, s->ids_len + n, 1, err)) < 0) return rc;
    memcpy(c->ids + s->ids_len, v->id, n);
    s->ids_len += n;
    c->count++;
    return 0;
}

static int look(struct scan *s, struct error *err) {
    int rc = store_list_versions(s->w->store, "", see, s, err);
    return rc < 0 ? rc : end_key(s, err);
}

static void scan_free(struct scan *s) {
    for (size_t i = 0; i < s->count; i++) seam_free(s->found[i].ids);
    seam_free(s->found);
    seam_free(s->now.ids);
}

/* Slots that were hidden, but not by a thief, are left out. */
static int choose_slots(struct scan *s, struct error *err) {
    char(*names)[96] = NULL;
    bool *keep = NULL;
    size_t n = 0, w = 0, k = 0;
    void *mem;
    int rc = mem_alloc((s->count + 1) * sizeof *names, &mem, err);
    if (rc < 0) return rc;
    names = mem;
    if ((rc = mem_alloc(s->count + 1, &mem, err)) < 0) goto out;
    keep = mem;
    for (size_t i = 0; i < s->count; i++)
        if (!s->found[i].object && !s->found[i].derived) memcpy(names[n++], s->found[i].key, sizeof *names);
    if (n) rc = repo_slots_lost(s->w->repo, (const char(*)[96])names, n, keep, err);
    for (size_t i = 0; i < s->count && rc == 0; i++) {
        bool stays = s->found[i].object || s->found[i].derived || keep[k++];
        if (stays)
            s->found[w++] = s->found[i];
        else
            seam_free(s->found[i].ids);
    }
    if (rc == 0) s->count = w;
out:
    seam_free(keep);
    seam_free(names);
    return rc;
}

static int begin(struct work *w, struct scan *s, struct live_objects *live, struct revive_totals *ret,
                 struct error *err) {
    bool kept;
    *ret = (struct revive_totals){0};
    *s = (struct scan){.w = w, .live = live, .totals = ret};
    *live = (struct live_objects){0};
    int rc = store_keeps_versions(w->store, &kept, err);
    if (rc < 0) return rc;
    if (!kept) return error_set(err, ERR_STORE_NO_VERSIONS, "%s keeps no versions", w->url);
    rc = repo_live_objects(w->repo, live, err);
    if (rc == 0) rc = look(s, err);
    if (rc == 0) rc = choose_slots(s, err);
    for (size_t i = 0; i < s->count && rc == 0; i++)
        *(s->found[i].derived ? &ret->derived : s->found[i].hidden ? &ret->hidden : &ret->covered) += 1;
    ret->objects = live->count;
    return rc;
}

int work_revive_count(struct work *w, struct revive_totals *ret, struct error *err) {
    struct scan s;
    struct live_objects live;
    int rc = begin(w, &s, &live, ret, err);
    if (rc == -ERR_STORE_NO_VERSIONS) {
        error_clear(err);
        rc = 0;
    }
    scan_free(&s);
    live_objects_free(&live);
    return rc;
}

/* ---- putting back ---- */

struct reviving {
    struct work *w;
    struct revive_totals *totals;
    bool dry_run;
    pthread_mutex_t lock; /* what follows, and the repository's handle */
    struct error err;     /* the first failure; what was not begun then is not begun */
};
struct task {
    struct reviving *r;
    const struct candidate *c;
};

static int read_whole(struct store *s, const char *key, const char *id, struct buf *b, struct error *err) {
    for (;;) {
        size_t got;
        int rc = buf_reserve(b, READ_BYTES, err);
        if (rc == 0) rc = store_read_version(s, key, id, b->len, b->ptr + b->len, READ_BYTES, &got, err);
        if (rc < 0) return rc;
        b->len += got;
        if (got < READ_BYTES) return 0;
    }
}

static int is_good(struct reviving *r, const struct candidate *c, const char *id, struct buf *b, bool *ret,
                   struct error *err) {
    struct live_object slot = {.kind = LIVE_SLOT};
    memcpy(slot.key, c->key, sizeof slot.key);
    buf_clear(b);
    *ret = false;
    int rc = read_whole(r->w->store, c->key, id, b, err);
    if (rc == -ERR_OBJECT_MISSING) {
        error_clear(err);
        return 0;
    }
    if (rc < 0 || c->derived) {
        *ret = rc == 0;
        return rc;
    }
    const struct live_object *o = c->object ? c->object : &slot;
    bool shared = o->kind == LIVE_ENTRY; /* the log's handle belongs to one thread at a time */
    if (shared) pthread_mutex_lock(&r->lock);
    rc = live_object_is(r->w->repo, o, buf_bytes(b), ret, err);
    if (shared) pthread_mutex_unlock(&r->lock);
    return rc;
}

/* From the oldest on, as that is the true one unless somebody got at it too. */
static int revive(struct reviving *r, const struct candidate *c, struct error *err) {
    struct buf b = BUF_INIT(OBJECT_BYTES_MAX);
    bool good = false, on_top = false;
    int rc = 0;
    for (unsigned i = c->count; i-- > 0 && !good && rc == 0;) {
        const char *id = c->ids;
        for (unsigned k = 0; k < i; k++) id += strlen(id) + 1;
        rc = is_good(r, c, id, &b, &good, err);
        on_top = good && i == 0 && !c->hidden;
        if (rc == 0 && good && !on_top && !r->dry_run) rc = store_restore_version(r->w->store, c->key, id, err);
    }
    pthread_mutex_lock(&r->lock);
    if (rc == 0 && good && !on_top) {
        r->totals->revived++;
        r->totals->bytes += b.len;
    }
    if (rc == 0 && !good) {
        const struct work_events *e = &r->w->options.events;
        char line[300];
        if (r->totals->lost++ == 0) memcpy(r->totals->first_lost, c->key, sizeof r->totals->first_lost);
        snprintf(line, sizeof line, "no version of %s is good", c->key);
        if (e->warning) e->warning(e->ctx, "repository", line);
    }
    pthread_mutex_unlock(&r->lock);
    buf_free(&b);
    return rc;
}

static void run(void *arg) {
    struct task *t = arg;
    struct reviving *r = t->r;
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&r->lock);
    bool stopped = r->err.code != ERR_NONE;
    pthread_mutex_unlock(&r->lock);
    int rc = stopped ? 0 : revive(r, t->c, &e);
    if (rc < 0) {
        pthread_mutex_lock(&r->lock);
        if (r->err.code == ERR_NONE) r->err = e;
        pthread_mutex_unlock(&r->lock);
    }
}

static int revive_all(struct reviving *r, const struct scan *s, struct error *err) {
    struct pool *pool = NULL;
    void *mem;
    unsigned threads = r->w->jobs < THREADS_MAX ? r->w->jobs : THREADS_MAX;
    int rc = mem_alloc((s->count + 1) * sizeof(struct task), &mem, err);
    if (rc < 0) return rc;
    struct task *tasks = mem;
    rc = pool_new(threads ? threads : 1, 2 * THREADS_MAX, &pool, err);
    for (size_t i = 0; i < s->count && rc == 0; i++) {
        tasks[i] = (struct task){r, &s->found[i]};
        pool_submit(pool, run, &tasks[i]);
    }
    pool_free(pool);
    seam_free(tasks);
    if (rc == 0 && r->err.code != ERR_NONE) {
        *err = r->err;
        rc = error_wrap(err, "putting versions back on top");
        (void)!error_state(err, "%llu objects were put back; the next run goes on with the others",
                           (unsigned long long)r->totals->revived);
    }
    return rc;
}

int work_revive(struct work *w, bool dry_run, struct revive_totals *ret, struct error *err) {
    struct scan s;
    struct live_objects live;
    struct reviving r = {.w = w, .totals = ret, .dry_run = dry_run, .err = ERROR_INIT};
    pthread_mutex_init(&r.lock, NULL);
    int rc = begin(w, &s, &live, ret, err);
    if (rc == 0) rc = revive_all(&r, &s, err);
    scan_free(&s);
    live_objects_free(&live);
    pthread_mutex_destroy(&r.lock);
    struct error lost = ERROR_INIT;
    if (rc == 0 && !dry_run && repo_publish(w->repo, &lost) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, "repository", lost.text);
    return rc;
}
