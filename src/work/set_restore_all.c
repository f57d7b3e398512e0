/* Invariants
 *  1. A member is begun only when all that it waits for have ended, however they ended; and not at all when one that it
 * depends on was not restored.
 *  2. The journal, the rows and the watcher are touched under the lock only; a member's row while it is being restored
 * by its own thread only.
 */
#include "work/set_restore_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include "work/any_copy.h"
#include "work/set_handles.h"

/* A folder of 520 MB by one thread took 93 MB, of which 48 are caches, and 5 MB more with each thread. */
#define BASE_BYTES (UINT64_C(24) << 20)
#define MEMBER_BYTES (UINT64_C(26) << 20)
#define CACHE_BYTES (UINT64_C(24) << 20) /* of each, where there are several */
#define THREAD_BYTES (UINT64_C(6) << 20)
#define FAR_BYTES                                                                                                      \
    (UINT64_C(60) << 20) /* of each that reads ahead: 64 and 4 (ahead.h), and a third less of caches (fetch.c) */

enum state { WAITING, RUNNING, ENDED };

struct act {
    struct set_run *run;
    enum state state[SET_MEMBERS_MAX];
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned running;
};
struct hand {
    struct act *act;
    struct work *w;
    pthread_t thread;
};

/* ---- what waits for what ---- */
static bool depends(const json_t *m, const json_t *on) {
    const json_t *name;
    size_t k;
    json_array_foreach(json_object_get(m, "depends_on"), k, name) {
        if (json_is_string(name) && strcmp(json_string_value(name), json_text(on, "surface", "")) == 0) return true;
    }
    return false;
}

static bool within(const char *path, const char *folder) {
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/') n--;
    return strncmp(path, folder, n) == 0 && (n == 1 || path[n] == 0 || path[n] == '/');
}

/* Of all stores' words for a target only these are for others to read: see surface.h, plan. */
static const char *word(const struct restore_plan *p, const char *key) {
    return json_text(json_object_get(p->doc, "target"), key, "");
}

/* "postgres" and "postgres-physical" are one store. */
static bool one_store(const json_t *a, const json_t *b) {
    const char *x = json_text(a, "kind", ""), *y = json_text(b, "kind", "");
    const size_t n = strcspn(x, "-");
    return n == strcspn(y, "-") && strncmp(x, y, n) == 0;
}

bool set_restore_waits(const json_t *members, const struct restore_plan *to, size_t i, size_t d) {
    const json_t *a = json_array_get(members, i), *b = json_array_get(members, d);
    if (depends(a, b)) return true;
    if (!to[i].doc || !to[d].doc) return false;
    const char *x = word(&to[i], "target"), *y = word(&to[d], "target");
    if (*x == '/' && *y == '/') return within(x, y) || within(y, x);
    if (!one_store(a, b)) return false;
    /* a server may go by two names, and have another identity since it was started anew */
    const char *p = word(&to[i], "system"), *q = word(&to[d], "system");
    return !*p || !*q || strcmp(p, q) == 0 || strcmp(x, y) == 0;
}

/* The most that can be on their way at one time, when what comes at the same distance from the first does. */
static size_t width(const struct set_run *r) {
    size_t level[SET_MEMBERS_MAX] = {0}, at[SET_MEMBERS_MAX] = {0}, most = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (r->rows[i].step == SET_ALREADY) continue;
        for (size_t d = 0; d < i; d++)
            if (r->rows[d].step != SET_ALREADY && level[d] >= level[i] && set_restore_waits(r->members, r->plans, i, d))
                level[i] = level[d] + 1;
        if (++at[level[i]] > most) most = at[level[i]];
    }
    return most;
}

void set_restore_share(size_t wide, unsigned jobs, bool far, unsigned *ret_at_once, unsigned *ret_threads,
                       size_t *ret_cache_bytes) {
    const uint64_t each = MEMBER_BYTES + CACHE_BYTES + (far ? FAR_BYTES : 0);
    unsigned k = jobs < SET_HANDLES_MAX ? jobs : SET_HANDLES_MAX, threads = jobs ? jobs : 1;
    if (k > wide) k = (unsigned)wide;
    if (k == 0) k = 1;
    while (k > 1 && BASE_BYTES + k * (each + THREAD_BYTES) > SET_MEMORY_BYTES) k--;
    /* threads are not shared out: one that takes longer than the others would be left with a part of them */
    while (k > 1 && threads > 1 && BASE_BYTES + k * (each + surface_writers(threads) * THREAD_BYTES) > SET_MEMORY_BYTES)
        threads--;
    *ret_at_once = k;
    *ret_threads = threads;
    *ret_cache_bytes = k > 1 ? CACHE_BYTES : 0;
}

/* ---- one member ---- */
static int journal_put(struct act *a, const struct set_restored *s, const char *plan, const char *state,
                       const char *print, struct error *err) {
    pthread_mutex_lock(&a->lock);
    int rc = set_journal_put(a->run, s, plan, state, print, err);
    pthread_mutex_unlock(&a->lock);
    return rc;
}

static int restore_one(struct act *a, struct work *w, size_t i, struct error *err) {
    struct set_restored *s = &a->run->rows[i];
    struct restore_plan *p = &a->run->plans[i];
    struct restore_done d = {0};
    char print[129] = "";
    int rc = journal_put(a, s, p->id, "begun", "", err);
    p->in_standby = true; /* the hooks of all were run before the first, and are undone after the last check */
    /* the phrase of the whole was given; that of the part follows from it */
    if (rc == 0) rc = restore_run(w, p, p->phrase, &d, err);
    if (rc == 0) {
        snprintf(s->target, sizeof s->target, "%s", d.target);
        s->items = d.items;
        s->bytes = d.bytes;
        rc = restore_fingerprint(w, p, print, err);
        /* it could not be done a second time: a Redis that was swapped in with its last spare databases has none left
         */
        if (rc == -ERR_POLICY) {
            error_clear(err);
            *print = 0;
            rc = 0;
        }
    }
    if (rc == 0) rc = journal_put(a, s, p->id, "done", print, err);
    s->duration_ns = d.duration_ns;
    json_decref(d.facts);
    return rc;
}

/* ---- all ---- */
static const struct set_restored *failed_before(const struct act *a, size_t i) {
    const struct set_run *r = a->run;
    for (size_t d = 0; d < i; d++)
        if (a->state[d] == ENDED && r->rows[d].step >= SET_FAILED &&
            depends(json_array_get(r->members, i), json_array_get(r->members, d)))
            return &r->rows[d];
    return NULL;
}

static void end(struct act *a, size_t i) {
    struct set_run *r = a->run;
    struct set_restored *s = &r->rows[i];
    a->state[i] = ENDED;
    r->done->already += s->step == SET_ALREADY;
    r->done->failed += s->step == SET_FAILED;
    r->done->not_begun += s->step == SET_NOT_BEGUN;
    if (s->step == SET_RESTORED) {
        r->done->restored++;
        r->done->items += s->items;
        r->done->bytes += s->bytes;
    }
    set_member_tell(r, s);
    pthread_cond_broadcast(&a->ended);
}

static bool waits(const struct act *a, size_t i) {
    for (size_t d = 0; d < i; d++)
        if (a->state[d] != ENDED && set_restore_waits(a->run->members, a->run->plans, i, d)) return true;
    return false;
}

/* The first that can be begun; a->run->n: none. What cannot be any more is ended. */
static size_t next(struct act *a) {
    struct set_run *r = a->run;
    for (size_t i = 0; i < r->n; i++) {
        const struct set_restored *on;
        if (a->state[i] != WAITING || waits(a, i)) continue;
        if (stop_check(&r->rows[i].why) == 0) {
            if (!(on = failed_before(a, i))) return i;
            error_set(&r->rows[i].why, ERR_SET_RESTORE, "it depends on %s, which was not restored", on->surface);
        }
        end(a, i);
    }
    return r->n;
}

static void *restores(void *arg) {
    struct hand *h = arg;
    struct act *a = h->act;
    struct set_run *r = a->run;
    pthread_mutex_lock(&a->lock);
    for (;;) {
        const size_t i = next(a);
        if (i == r->n && a->running == 0) break;
        if (i == r->n) {
            pthread_cond_wait(&a->ended, &a->lock);
            continue;
        }
        a->state[i] = RUNNING;
        a->running++;
        pthread_mutex_unlock(&a->lock);
        int rc = restore_one(a, h->w, i, &r->rows[i].why);
        pthread_mutex_lock(&a->lock);
        a->running--;
        r->rows[i].step = rc < 0 ? SET_FAILED : SET_RESTORED;
        if (rc == 0) error_clear(&r->rows[i].why);
        end(a, i);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static int verdict(const struct set_run *r, struct error *err) {
    const struct set_restored *s = r->rows, *const past = r->rows + r->n;
    while (s < past && s->why.code == ERR_NONE) s++;
    if (s == past) return 0;
    const bool stopped = s->why.code == ERR_INTERRUPTED || s->why.code == ERR_TERMINATED;
    error_set(err, stopped ? s->why.code : ERR_SET_RESTORE, "%s: %s", s->surface, s->why.text);
    return error_state(err, "%u of %zu surfaces are restored, %u failed, %u not begun",
                       r->done->restored + r->done->already, r->n, r->done->failed, r->done->not_begun);
}

void set_member_tell(const struct set_run *r, const struct set_restored *m) {
    if (r->watch && r->watch->member) r->watch->member(r->watch->ctx, m);
}

int set_restore_all(struct set_run *r, struct error *err) {
    struct act a = {.run = r};
    struct hand hands[SET_HANDLES_MAX];
    struct set_handles h;
    unsigned at_once, threads, begun = 1;
    size_t cache_bytes;
    if (r->n > SET_MEMBERS_MAX)
        return error_set(err, ERR_PLAN_STALE, "plan %s has more surfaces than a set can have", r->p->id);
    pthread_mutex_init(&a.lock, NULL);
    pthread_cond_init(&a.ended, NULL);
    for (size_t i = 0; i < r->n; i++)
        if (r->rows[i].step == SET_ALREADY) end(&a, i);
    const bool far = store_reads_many(repo_store(r->w->repo));
    set_restore_share(width(r), r->w->jobs, far, &at_once, &threads, &cache_bytes);
    /* a kit is typed once, and a copy in the repository's place is gone over to by one */
    const bool alone = r->w->options.recovery_kit || any_copy_read_from(r->w);
    set_handles_open(&h, r->w, json_text(r->p->doc, "environment", ""), alone ? 1 : at_once, threads);
    const size_t cache_was = r->w->cache_bytes;
    for (unsigned i = 0; i < h.count; i++) {
        hands[i] = (struct hand){.act = &a, .w = h.of[i]};
        if (h.count > 1) h.of[i]->cache_bytes = cache_bytes;
    }
    for (; begun < h.count; begun++) {
        struct error lost = ERROR_INIT; /* the others do its part */
        if (thread_start(&hands[begun].thread, restores, &hands[begun], &lost) < 0) break;
    }
    (void)restores(&hands[0]);
    for (unsigned i = 1; i < begun; i++) pthread_join(hands[i].thread, NULL);
    r->w->cache_bytes = cache_was;
    set_handles_close(&h);
    pthread_cond_destroy(&a.ended);
    pthread_mutex_destroy(&a.lock);
    return verdict(r, err);
}
