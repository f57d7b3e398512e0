#include "work/wal_window.h"

#include "base/seam.h"
#include "base/time.h"
#include "repo/reader.h"
#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define ROOT_CACHE_BYTES (1u << 20)

struct base {
    struct wal_base at;
    int64_t end_ns;
};
struct bases {
    struct base *items;
    size_t n, cap;
};

static bool is_base(const struct repo *r, const struct snapshot_info *p, const char *environment, const char *surface) {
    return !p->forgotten && p->complete && strcmp(p->environment, environment) == 0 &&
           strcmp(p->surface, surface) == 0 && strcmp(p->kind, "postgres-physical") == 0 &&
           !repo_snapshot_suspect(r, p);
}

/* One that is damaged leads nowhere; that it is, is said elsewhere. */
static int bases_read(struct work *w, const char *environment, const char *surface, uint64_t system, struct bases *b,
                      struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < repo_snapshot_count(w->repo) && rc == 0; i++) {
        const struct snapshot_info *p = repo_snapshot(w->repo, i);
        struct snapshot *s = NULL;
        struct base x = {.end_ns = p->completed_ns};
        if (!is_base(w->repo, p, environment, surface)) continue;
        rc = snapshot_open_sized(w->repo, p, ROOT_CACHE_BYTES, &s, err);
        bool tells = rc == 0 && wal_base_of(snapshot_root(s), &x.at) && x.at.system == system;
        snapshot_close(s);
        if (rc < 0 && error_info(rc)->status == EXIT_INTEGRITY) {
            error_clear(err);
            rc = 0;
        }
        if (tells && x.at.end_ns) x.end_ns = x.at.end_ns;
        if (rc == 0 && tells) rc = mem_grow((void **)&b->items, &b->cap, b->n + 1, sizeof *b->items, err);
        if (rc == 0 && tells) b->items[b->n++] = x;
    }
    return rc;
}

/* Where a timeline came from; *ret_parent 0: that cannot be told. */
static int parent_of(struct work_wal *h, uint64_t system, uint32_t timeline, uint32_t *ret_parent, uint64_t *ret_lsn,
                     struct error *err) {
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = timeline};
    struct buf b = BUF_INIT(WAL_HISTORY_BYTES_MAX);
    struct wal_switch *list = NULL;
    size_t count = 0;
    *ret_parent = 0;
    int rc = work_wal_source(h)->ops->get(work_wal_source(h), system, &n, &b, err);
    if (rc == 0) rc = wal_history_parse(buf_bytes(&b), timeline, &list, &count, err);
    if (rc == 0 && count) {
        *ret_parent = list[count - 1].timeline;
        *ret_lsn = list[count - 1].lsn;
    }
    if (rc < 0 && (error_info(rc)->status == EXIT_INTEGRITY || rc == -ERR_WAL_ABSENT || rc == -ERR_UNVERIFIABLE)) {
        error_clear(err);
        rc = 0;
    }
    seam_free(list);
    buf_free(&b);
    return rc;
}

static void take(struct wal_window *x, int64_t first_ns, uint64_t from) {
    if (!x->first_ns || first_ns < x->first_ns) x->first_ns = first_ns;
    if (from < x->from) x->from = from;
}

/* Whether the server wrote something with wal_level=minimal behind that place of a range: what lies before is led there
 * and no further, to an instant that is not known. Only where that was looked for. */
static bool minimal_after(const struct wal_view *v, const struct wal_range *r, uint64_t lsn) {
    for (size_t i = 0; i < v->gap_count; i++)
        if (v->gaps[i].minimal && v->gaps[i].timeline == r->timeline && v->gaps[i].to > lsn && v->gaps[i].from < r->to)
            return true;
    return false;
}

/* From a base in the range itself, or over the fork from a window of the parent. */
static int window_make(struct work_wal *h, const struct wal_view *v, const struct wal_range *r, const struct bases *b,
                       const struct wal_window *before, size_t n, struct wal_window *x, struct error *err) {
    uint32_t parent = 0;
    uint64_t fork = 0, mask = ~((uint64_t)v->segment_bytes - 1);
    *x = (struct wal_window){.timeline = r->timeline, .last_ns = r->last_ns, .from = UINT64_MAX, .to = r->to};
    for (size_t i = 0; i < b->n; i++) {
        const struct wal_base *at = &b->items[i].at;
        if (at->timeline == r->timeline && (at->lsn & mask) >= r->from && at->lsn < r->to &&
            !minimal_after(v, r, at->lsn))
            take(x, b->items[i].end_ns, at->lsn & mask);
    }
    int rc = r->timeline > 1 ? parent_of(h, v->system, r->timeline, &parent, &fork, err) : 0;
    for (size_t i = 0; i < n && rc == 0 && parent; i++)
        if (before[i].timeline == parent && before[i].from <= (fork & mask) && before[i].to >= (fork & mask) &&
            r->from <= (fork & mask) && r->to > fork && !minimal_after(v, r, fork))
            take(x, r->first_ns > before[i].first_ns ? r->first_ns : before[i].first_ns, r->from);
    if (x->last_ns < x->first_ns) x->last_ns = x->first_ns;
    return rc;
}

int wal_windows(struct work_wal *h, const struct wal_view *v, struct wal_window **ret, size_t *ret_n,
                struct error *err) {
    struct work *w = h->w;
    struct bases b = {0};
    struct wal_window *list = NULL;
    size_t n = 0, cap = 0;
    *ret = NULL;
    *ret_n = 0;
    if (!repo_keys(w->repo)->read_secret || !v->segment_bytes) return 0;
    int rc = bases_read(w, h->environment, h->surface, v->system, &b, err);
    for (size_t i = 0; i < v->range_count && rc == 0; i++) {
        struct wal_window x;
        rc = window_make(h, v, &v->ranges[i], &b, list, n, &x, err);
        if (rc < 0 || !x.first_ns) continue;
        rc = mem_grow((void **)&list, &cap, n + 1, sizeof *list, err);
        if (rc == 0) list[n++] = x;
    }
    seam_free(b.items);
    if (rc < 0) {
        seam_free(list);
        return rc;
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int wal_windows_of(struct work *w, const char *environment, const char *surface, struct wal_window **ret, size_t *ret_n,
                   struct error *err) {
    struct work_wal *h = NULL;
    struct wal_view v = {0};
    *ret = NULL;
    *ret_n = 0;
    if (!wal_log_system(w->repo, environment, surface, &v.system)) return 0;
    int rc = work_wal_open_all(w, environment, surface, &h, err);
    if (rc == 0) rc = wal_all_ranges(h, v.system, &v.ranges, &v.range_count, &v.segment_bytes, err);
    if (rc == 0) rc = wal_windows(h, &v, ret, ret_n, err);
    work_wal_close(h);
    wal_view_free(&v);
    return rc < 0 ? error_wrap(err, "looking at the WAL of %s/%s", environment, surface) : 0;
}

int wal_windows_seen(struct work *w, const char *environment, const char *surface, const struct wal_view *v,
                     bool *ret_known, struct wal_window **ret, size_t *ret_n, struct error *err) {
    struct work_wal *h = NULL;
    *ret = NULL;
    *ret_n = 0;
    *ret_known = repo_keys(w->repo)->read_secret != NULL;
    if (!*ret_known) return 0;
    int rc = work_wal_open(w, environment, surface, &h, err);
    if (rc == 0) rc = wal_windows(h, v, ret, ret_n, err);
    work_wal_close(h);
    return rc < 0 ? error_wrap(err, "looking for what the WAL of %s/%s leads to", environment, surface) : 0;
}

void wal_window_text(const struct wal_window *x, char out[120]) {
    char first[32], last[32];
    time_format(x->first_ns, first);
    time_format(x->last_ns, last);
    snprintf(out, 120, "timeline %" PRIu32 " from %s to %s", x->timeline, first, last);
}
