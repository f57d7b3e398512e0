#include "base/thread.h"
#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What was removed is no gap. */
static bool still_missing(const struct repo *r, const struct wal_view *v, struct wal_gap *g) {
    struct wal_name n;
    struct error e = ERROR_INIT;
    const char *first = wal_log_first(r, v->system, g->timeline);
    if (!first || g->from == g->to || wal_name_parse(first, &n, &e) < 0) return true;
    uint64_t at = wal_name_lsn(&n, v->segment_bytes);
    if (g->from < at) g->from = at;
    return g->from < g->to;
}

static int add_gap(const struct repo *r, struct wal_view *v, size_t *cap, struct wal_gap g, struct error *err) {
    if (!still_missing(r, v, &g)) return 0;
    int rc = mem_grow((void **)&v->gaps, cap, v->gap_count + 1, sizeof *v->gaps, err);
    if (rc == 0) v->gaps[v->gap_count++] = g;
    return rc;
}

static int gaps_within(const struct repo *r, struct wal_view *v, size_t *cap, struct error *err) {
    int rc = 0;
    for (size_t i = 1; i < v->range_count && rc == 0; i++) {
        const struct wal_range *a = &v->ranges[i - 1], *b = &v->ranges[i];
        if (a->timeline == b->timeline)
            rc = add_gap(r, v, cap, (struct wal_gap){a->timeline, a->to, b->from, b->timeline}, err);
    }
    return rc;
}

/* A timeline goes on from where it left its parent: the parent's WAL must reach the segment in which that is, of which
 * the new timeline's first segment is a copy. */
static int gap_before(struct repo *r, struct wal_view *v, uint32_t timeline, size_t *cap, struct error *err) {
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = timeline};
    struct wal_switch *list = NULL;
    struct buf b = BUF_INIT(WAL_HISTORY_BYTES_MAX);
    size_t count = 0;
    char key[WAL_OBJECT_KEY_BYTES];
    wal_object_name(v->system, &n, key);
    int rc = wal_object_get(r, key, &b, err);
    if (rc == -ERR_OBJECT_MISSING) { /* without its history nothing before it can be joined to it */
        error_clear(err);
        rc = add_gap(r, v, cap, (struct wal_gap){timeline, 0, 0, timeline}, err);
    } else if (rc == 0)
        rc = wal_history_parse(buf_bytes(&b), timeline, &list, &count, err);
    if (rc == 0 && count) {
        uint32_t parent = list[count - 1].timeline;
        uint64_t need = list[count - 1].lsn - list[count - 1].lsn % v->segment_bytes, reached = 0;
        for (size_t i = 0; i < v->range_count; i++)
            if (v->ranges[i].timeline == parent && v->ranges[i].from <= need && v->ranges[i].to > reached)
                reached = v->ranges[i].to;
        if (reached && reached < need) rc = add_gap(r, v, cap, (struct wal_gap){parent, reached, need, timeline}, err);
    }
    seam_free(list);
    buf_free(&b);
    return rc;
}

int wal_find_gaps(struct repo *r, struct wal_view *v, struct error *err) {
    size_t cap = 0;
    bool reads = repo_keys(r)->read_secret != NULL;
    int rc = gaps_within(r, v, &cap, err);
    for (size_t i = 0; i < v->range_count && rc == 0 && reads; i++)
        if (v->ranges[i].timeline > 1 && (i == 0 || v->ranges[i - 1].timeline != v->ranges[i].timeline))
            rc = gap_before(r, v, v->ranges[i].timeline, &cap, err);
    return rc;
}

struct names {
    char (*keys)[WAL_OBJECT_KEY_BYTES];
    size_t n, cap;
};

static int by_name(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Names that the log has of a cluster, whatever surface they were registered for. */
static int registered_names(struct repo *r, uint64_t system, struct names *ret, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < wal_log_count(r) && rc == 0; i++) {
        const struct wal_batch *b = wal_log_batch(r, i);
        struct wal_row *rows = NULL;
        size_t n = 0;
        if (b->system != system) continue;
        rc = wal_log_rows(r, b, &rows, &n, err);
        if (rc == 0) rc = mem_grow((void **)&ret->keys, &ret->cap, ret->n + n, sizeof *ret->keys, err);
        for (size_t k = 0; k < n && rc == 0; k++) memcpy(ret->keys[ret->n++], rows[k].key, sizeof rows[k].key);
        seam_free(rows);
    }
    if (rc == 0 && ret->n) qsort(ret->keys, ret->n, sizeof *ret->keys, by_name);
    return rc;
}

/* What the log has and the store has not; a piece may have gone once its segment was whole. */
static void count_missing(const struct repo *r, const struct names *have, const struct names *registered,
                          wal_damaged damaged, void *ctx, struct wal_view *v) {
    for (size_t i = 0; i < registered->n; i++) {
        const char *key = registered->keys[i], *pieces = strstr(key, ".pieces/");
        char whole[WAL_OBJECT_KEY_BYTES];
        struct error e = ERROR_INIT;
        if (i > 0 && strcmp(key, registered->keys[i - 1]) == 0) continue;
        if (bsearch(key, have->keys, have->n, sizeof *have->keys, by_name) || wal_log_gone(r, key)) continue;
        if (pieces) {
            snprintf(whole, sizeof whole, "%.*s", (int)(pieces - key), key);
            if (bsearch(whole, have->keys, have->n, sizeof *have->keys, by_name)) continue;
        }
        v->missing++;
        (void)!error_set(&e, ERR_OBJECT_MISSING, "the log has it, and the store has not");
        if (damaged) damaged(ctx, key, &e);
    }
}

static int check_place(struct work_wal *h, uint64_t system, const struct wal_place *p, const char *key, struct buf *b,
                       struct error *err) {
    buf_clear(b);
    if (!p->piece) return work_wal_source(h)->ops->get(work_wal_source(h), system, &p->name, b, err);
    return wal_object_get(h->w->repo, key, b, err);
}

/* What a decoding found whole and the log has not: whatever a lost spool folder left. */
struct unknown {
    struct wal_row *rows;
    size_t n, cap;
};

static int note_unknown(struct work_wal *h, const char *key, struct unknown *u, struct error *err) {
    struct buf b = BUF_INIT((size_t)WAL_SEGMENT_MAX + WAL_SEGMENT_MAX / 8);
    int rc = mem_grow((void **)&u->rows, &u->cap, u->n + 1, sizeof *u->rows, err);
    if (rc == 0) rc = store_read_all(h->w->store, key, b.max_bytes, &b, err);
    if (rc == 0) {
        struct wal_row *row = &u->rows[u->n++];
        *row = (struct wal_row){.object_bytes = b.len};
        snprintf(row->key, sizeof row->key, "%s", key);
        sha256(buf_bytes(&b), &row->digest);
    }
    buf_free(&b);
    return rc;
}

static int count_objects(struct work_wal *h, const struct wal_place *p, size_t n, bool decode, wal_damaged damaged,
                         void *ctx, struct wal_view *v, struct error *err) {
    struct names names = {0}, have = {0};
    struct unknown unknown = {0};
    bool may_register = repo_keys(h->w->repo)->role == ROLE_ADMIN;
    struct buf b = BUF_INIT(WAL_SEGMENT_MAX);
    int rc = registered_names(h->w->repo, v->system, &names, err);
    if (rc == 0) rc = mem_grow((void **)&have.keys, &have.cap, n + 1, sizeof *have.keys, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        char key[WAL_OBJECT_KEY_BYTES] = "";
        struct error e = ERROR_INIT;
        wal_place_key(v->system, &p[i], key);
        memcpy(have.keys[have.n++], key, sizeof key);
        v->objects++;
        v->stored_bytes += p[i].object_bytes;
        bool registered = names.n && bsearch(key, names.keys, names.n, sizeof *names.keys, by_name);
        v->registered += registered;
        if (!decode) continue;
        int got = check_place(h, v->system, &p[i], key, &b, &e);
        v->checked++;
        if (got == 0 && !registered && may_register) rc = note_unknown(h, key, &unknown, err);
        if (got == 0) continue;
        if (error_info(got)->status != EXIT_INTEGRITY) {
            *err = e; /* not known to be damaged: the check itself failed */
            rc = got;
        } else {
            v->damaged++;
            if (damaged) damaged(ctx, key, &e);
        }
        if (rc == 0) rc = stop_check(err);
    }
    if (rc == 0 && have.n) qsort(have.keys, have.n, sizeof *have.keys, by_name);
    if (rc == 0) count_missing(h->w->repo, &have, &names, damaged, ctx, v);
    if (rc == 0) rc = wal_log_append(h->w->repo, h->environment, h->surface, v->system, unknown.rows, unknown.n, err);
    if (rc == 0) v->registered += unknown.n;
    seam_free(unknown.rows);
    buf_free(&b);
    seam_free(names.keys);
    seam_free(have.keys);
    return rc;
}

int work_wal_verify(struct work *w, const char *environment, const char *surface, bool decode, wal_damaged damaged,
                    void *ctx, struct wal_view *ret, struct error *err) {
    struct work_wal *h = NULL;
    struct wal_place *p = NULL;
    struct wal_view v = {0};
    size_t n = 0;
    w->log_only = true;
    int rc = work_wal_open(w, environment, surface, &h, err);
    if (rc == 0 && work_wal_system(h, &v.system)) {
        rc = wal_places(w->repo, v.system, &p, &n, err);
        if (rc == 0) rc = wal_place_segment_bytes(w->repo, v.system, p, n, &v.segment_bytes, err);
        if (rc == 0) rc = wal_place_ranges(p, n, v.segment_bytes, &v.ranges, &v.range_count, err);
        if (rc == 0) rc = wal_find_gaps(w->repo, &v, err);
        if (rc == 0) rc = count_objects(h, p, n, decode, damaged, ctx, &v, err);
    }
    seam_free(p);
    work_wal_close(h);
    if (rc < 0)
        wal_view_free(&v);
    else
        *ret = v;
    return rc;
}

void wal_view_free(struct wal_view *v) {
    seam_free(v->ranges);
    seam_free(v->gaps);
    *v = (struct wal_view){0};
}
