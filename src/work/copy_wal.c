#include "work/copy_wal.h"

#include "base/thread.h"
#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MEMORY_BYTES (UINT64_C(192) << 20)
#define THREADS_MAX 8

struct cluster {
    uint64_t system, seq; /* seq: of the newest entry about it */
    const char *environment, *surface;
};
struct job {
    struct work *from, *to;
    struct cluster c;
    struct wal_place *todo;
    size_t n;
    pthread_mutex_t lock; /* what follows, and both logs */
    size_t next;
    struct wal_row *rows; /* in the destination, and not in its log */
    size_t row_count, row_cap;
    struct copy_wal *sum;
    struct error err; /* what ends the run */
};

/* ---- what is to be copied ---- */

static int places_of(struct repo *r, uint64_t system, struct wal_place **ret, size_t *n, struct error *err) {
    int rc = wal_places(r, system, ret, n, err);
    return rc < 0 ? error_wrap(err, "listing WAL") : 0;
}

/* Sorted alike, both are gone through once. Of what the source has, `todo` keeps what the other lacks, at its
 * beginning. */
static void choose(const struct repo *to, const struct cluster *c, struct wal_place *p, size_t *n,
                   const struct wal_place *other, size_t m, uint64_t *ret_there) {
    struct wal_name whole = {0};
    size_t k = 0, w = 0;
    for (size_t i = 0; i < *n; i++) {
        char key[WAL_OBJECT_KEY_BYTES];
        struct wal_place x = p[i];
        if (!x.piece && x.name.kind == WAL_SEGMENT) whole = x.name; /* comes before its pieces */
        bool gave_way = x.piece && x.name.kind == WAL_SEGMENT && whole.timeline == x.name.timeline &&
                        whole.log == x.name.log && whole.seg == x.name.seg;
        while (k < m && wal_place_compare(&other[k], &x) < 0) k++;
        bool there = k < m && wal_place_compare(&other[k], &x) == 0;
        wal_place_key(c->system, &x, key);
        *ret_there += there;
        if (!there && !gave_way && !wal_log_gone(to, key)) p[w++] = x;
    }
    *n = w;
}

/* ---- one object ---- */

static int arrived(struct work *to, const char *key, const struct wal_object_stored *s, struct error *err) {
    struct buf b = BUF_INIT((size_t)s->object_bytes + 1);
    struct digest d;
    int rc = store_read_all(to->store, key, b.max_bytes, &b, err);
    if (rc == 0) sha256(buf_bytes(&b), &d);
    if (rc == 0 && !digest_equal(&d, &s->digest))
        rc = error_set(err, ERR_OBJECT_CORRUPT, "%s is not what was stored there a moment ago", key);
    buf_free(&b);
    return rc;
}

static int row_add(struct job *j, const char *key, const struct wal_object_stored *s, struct error *err) {
    int rc = mem_grow((void **)&j->rows, &j->row_cap, j->row_count + 1, sizeof *j->rows, err);
    if (rc < 0) return rc;
    struct wal_row *row = &j->rows[j->row_count++];
    *row = (struct wal_row){.digest = s->digest, .object_bytes = s->object_bytes};
    snprintf(row->key, sizeof row->key, "%s", key);
    return 0;
}

static int rows_register(struct job *j, size_t at_least, struct error *err) {
    if (j->row_count < at_least) return 0;
    int rc = wal_log_append(j->to->repo, j->c.environment, j->c.surface, j->c.system, j->rows, j->row_count, err);
    if (rc == 0) j->row_count = 0;
    return rc;
}

static int copy_one(struct job *j, const char *key, struct wal_object_stored *ret, uint64_t *ret_bytes,
                    struct error *err) {
    struct buf plain = BUF_INIT(WAL_SEGMENT_MAX);
    struct wal_object_head head;
    int rc = wal_object_head(j->from->repo, key, &head, err);
    if (rc == 0) rc = wal_object_get(j->from->repo, key, &plain, err);
    if (rc == 0) rc = wal_object_put(j->to->repo, key, buf_bytes(&plain), head.segment_bytes, ret, err);
    *ret_bytes = plain.len;
    buf_free(&plain);
    if (rc == 0) rc = arrived(j->to, key, ret, err);
    return rc;
}

static bool take(struct job *j, size_t *ret) {
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&j->lock);
    if (j->err.code == ERR_NONE && stop_check(&e) < 0) j->err = e;
    bool more = j->err.code == ERR_NONE && j->next < j->n;
    if (more) *ret = j->next++;
    pthread_mutex_unlock(&j->lock);
    return more;
}

static void told(struct job *j) {
    const struct work_events *e = &j->from->options.events;
    char label[260];
    snprintf(label, sizeof label, "%.120s/%.120s", j->c.environment, j->c.surface);
    if (e->progress) e->progress(e->ctx, label, "copy WAL", j->sum->bytes, 0, 0, j->sum->objects);
}

static void *run(void *arg) {
    struct job *j = arg;
    for (size_t i; take(j, &i);) {
        struct error e = ERROR_INIT;
        struct wal_object_stored s;
        char key[WAL_OBJECT_KEY_BYTES];
        uint64_t bytes = 0;
        wal_place_key(j->c.system, &j->todo[i], key);
        int rc = copy_one(j, key, &s, &bytes, &e);
        pthread_mutex_lock(&j->lock);
        bool damage = rc < 0 && error_info(rc)->status == EXIT_INTEGRITY;
        if (damage && j->sum->failed++ == 0) j->sum->first = e;
        if (rc == 0) {
            j->sum->objects++;
            j->sum->bytes += bytes;
            told(j);
            rc = row_add(j, key, &s, &e);
            if (rc == 0) rc = rows_register(j, WAL_ROWS_MAX, &e);
        }
        if (rc < 0 && !damage && j->err.code == ERR_NONE) j->err = e;
        pthread_mutex_unlock(&j->lock);
    }
    return NULL;
}

static int run_all(struct job *j, uint32_t segment_bytes, struct error *err) {
    pthread_t threads[THREADS_MAX];
    struct error e = ERROR_INIT;
    uint64_t fit = MEMORY_BYTES / (3 * (uint64_t)(segment_bytes ? segment_bytes : WAL_SEGMENT_MIN));
    unsigned want = j->to->jobs < THREADS_MAX ? j->to->jobs : THREADS_MAX, got = 0;
    if (want > fit) want = fit ? (unsigned)fit : 1;
    while (got + 1 < want && got + 1 < j->n && thread_start(&threads[got], run, j, &e) == 0) got++;
    run(j);
    for (unsigned i = 0; i < got; i++) pthread_join(threads[i], NULL);
    /* What was stored counts, whatever ended the run. */
    struct error late = ERROR_INIT;
    int rc = rows_register(j, 1, &late);
    if (j->err.code == ERR_NONE && rc < 0) j->err = late;
    if (j->err.code == ERR_NONE) return 0;
    *err = j->err;
    return -(int)err->code;
}

/* ---- what an interrupted run left without an entry ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

/* What is damaged by now is not given an entry that calls it whole; a key that cannot read cannot tell. */
static bool left_whole(struct job *j, const char *key, int *rc, struct error *err) {
    struct buf plain = BUF_INIT(WAL_SEGMENT_MAX);
    struct error e = ERROR_INIT;
    if (!repo_keys(j->to->repo)->read_secret) return true;
    int got = wal_object_get(j->to->repo, key, &plain, &e);
    buf_free(&plain);
    if (got == 0) return true;
    if (error_info(got)->status != EXIT_INTEGRITY) {
        *err = e;
        *rc = got;
    } else if (j->sum->failed++ == 0)
        j->sum->first = e;
    return false;
}

static int left_register(struct job *j, const struct wal_place *p, size_t n, struct error *err) {
    char(*names)[WAL_OBJECT_KEY_BYTES] = NULL;
    size_t count = 0, cap = 0;
    int rc = 0;
    for (size_t i = 0; i < wal_log_count(j->to->repo) && rc == 0; i++) {
        const struct wal_batch *b = wal_log_batch(j->to->repo, i);
        struct wal_row *rows = NULL;
        size_t m = 0;
        if (b->system != j->c.system) continue;
        rc = wal_log_rows(j->to->repo, b, &rows, &m, err);
        if (rc == 0) rc = mem_grow((void **)&names, &cap, count + m, sizeof *names, err);
        for (size_t k = 0; k < m && rc == 0; k++) memcpy(names[count++], rows[k].key, sizeof *names);
        seam_free(rows);
    }
    if (count) qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < n && rc == 0; i++) {
        char key[WAL_OBJECT_KEY_BYTES] = "";
        struct wal_object_stored s = {0};
        struct buf b = BUF_INIT((size_t)WAL_SEGMENT_MAX + WAL_SEGMENT_MAX / 8);
        wal_place_key(j->c.system, &p[i], key);
        if ((count && bsearch(key, names, count, sizeof *names, by_name)) || !left_whole(j, key, &rc, err)) continue;
        rc = store_read_all(j->to->store, key, b.max_bytes, &b, err);
        if (rc == 0) sha256(buf_bytes(&b), &s.digest);
        s.object_bytes = b.len;
        buf_free(&b);
        if (rc == 0) rc = row_add(j, key, &s, err);
        if (rc == 0) rc = rows_register(j, WAL_ROWS_MAX, err);
        if (rc == 0) rc = stop_check(err);
    }
    if (rc == 0) rc = rows_register(j, 1, err);
    seam_free(names);
    return rc;
}

/* ---- a cluster ---- */

static int cluster_run(struct work *from, struct work *to, const struct cluster *c, bool dry_run, struct copy_wal *sum,
                       struct error *err) {
    struct job j = {.from = from, .to = to, .c = *c, .sum = sum, .err = ERROR_INIT};
    struct wal_place *there = NULL;
    size_t m = 0;
    uint32_t segment_bytes = 0;
    int rc = places_of(from->repo, c->system, &j.todo, &j.n, err);
    if (rc == 0) rc = wal_place_segment_bytes(from->repo, c->system, j.todo, j.n, &segment_bytes, err);
    if (rc == 0) rc = places_of(to->repo, c->system, &there, &m, err);
    if (rc == 0 && !dry_run) rc = left_register(&j, there, m, err);
    if (rc == 0) choose(to->repo, c, j.todo, &j.n, there, m, &sum->there);
    seam_free(there);
    pthread_mutex_init(&j.lock, NULL);
    if (rc == 0 && dry_run)
        sum->would += j.n;
    else if (rc == 0)
        rc = run_all(&j, segment_bytes, err);
    pthread_mutex_destroy(&j.lock);
    seam_free(j.todo);
    seam_free(j.rows);
    return rc < 0 ? error_wrap(err, "copying the WAL of the cluster %" PRIu64, c->system) : 0;
}

/* Each once, the one that was heard of last at the end: a surface is the cluster of its newest entry, in the copy too.
 */
static int clusters_of(const struct repo *from, copy_wal_wanted wanted, void *ctx, struct cluster **ret, size_t *ret_n,
                       bool *ret_all, struct error *err) {
    size_t cap = 0;
    int rc = 0;
    *ret_all = true;
    for (size_t i = wal_log_count(from); i-- > 0 && rc == 0;) {
        const struct wal_batch *b = wal_log_batch(from, i);
        bool known = false;
        for (size_t k = 0; k < *ret_n && !known; k++) known = (*ret)[k].system == b->system;
        if (known) continue;
        if (!wanted(ctx, b->environment, b->surface)) {
            *ret_all = false;
            continue;
        }
        rc = mem_grow((void **)ret, &cap, *ret_n + 1, sizeof **ret, err);
        if (rc == 0) (*ret)[(*ret_n)++] = (struct cluster){b->system, b->seq, b->environment, b->surface};
    }
    return rc;
}

/* What came late of an older cluster must not make it the surface's newest. */
static int surface_keep(const struct repo *from, struct repo *to, const struct cluster *c, struct error *err) {
    uint64_t here, there;
    int rc = 0;
    if (!wal_log_system(from, c->environment, c->surface, &here) || here != c->system ||
        !wal_log_system(to, c->environment, c->surface, &there) || there == here)
        return 0;
    for (size_t i = wal_log_count(to); i-- > 0;) {
        struct wal_row *rows = NULL;
        size_t n;
        if (wal_log_batch(to, i)->system != here) continue;
        rc = wal_log_rows(to, wal_log_batch(to, i), &rows, &n, err);
        if (rc == 0) rc = wal_log_append(to, c->environment, c->surface, here, rows, 1, err);
        seam_free(rows);
        break;
    }
    return rc;
}

static bool owned(struct cluster *c, struct error *err) {
    char *environment = NULL, *surface = NULL;
    if (mem_strdup(c->environment, &environment, err) < 0 || mem_strdup(c->surface, &surface, err) < 0) {
        seam_free(environment);
        return false;
    }
    c->environment = environment;
    c->surface = surface;
    return true;
}

int copy_wal_run(struct work *from, struct work *to, copy_wal_wanted wanted, void *ctx, bool dry_run,
                 struct copy_wal *ret, struct error *err) {
    struct cluster *list = NULL;
    size_t n = 0, ready = 0, batches = wal_log_count(from->repo);
    bool all;
    *ret = (struct copy_wal){0};
    uint64_t newest = batches ? wal_log_batch(from->repo, batches - 1)->seq : 0;
    int rc = clusters_of(from->repo, wanted, ctx, &list, &n, &all, err);
    /* the destination's log grows meanwhile, and the names are those of the source's */
    while (rc == 0 && ready < n) {
        if (owned(&list[ready], err))
            ready++;
        else
            rc = -(int)err->code;
    }
    for (size_t i = n; i-- > 0 && rc == 0;) rc = cluster_run(from, to, &list[i], dry_run, ret, err);
    for (size_t i = n; i-- > 0 && rc == 0 && !dry_run;) rc = surface_keep(from->repo, to->repo, &list[i], err);
    if (rc == 0 && all) ret->newest = newest;
    for (size_t i = 0; i < ready; i++) {
        seam_free((void *)list[i].environment);
        seam_free((void *)list[i].surface);
    }
    seam_free(list);
    return rc;
}
