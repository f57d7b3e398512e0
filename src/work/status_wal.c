/* How far back and how far forward the WAL of a surface reaches. */
#include "base/seam.h"
#include "base/time.h"
#include "repo/reader.h"
#include "work/point.h"
#include "work/status.h"
#include "work/wal_internal.h"
#include "work/wal_receive.h"

#include <inttypes.h>
#include <stdio.h>

#define ROOT_CACHE_BYTES (1u << 20)
#define YOUNG_NS (30 * NS_PER_S) /* WAL that came so lately says itself that it comes */

static bool is_base(const struct repo *repo, const struct status_row *r, const struct snapshot_info *p) {
    return !p->forgotten && p->complete && strcmp(p->environment, r->environment) == 0 &&
           strcmp(p->surface, r->surface) == 0 && strcmp(p->kind, "postgres-physical") == 0 &&
           !repo_snapshot_suspect(repo, p);
}

static int base_read(struct work *w, const struct snapshot_info *p, struct wal_base *ret, bool *ret_tells,
                     struct error *err) {
    struct snapshot *s = NULL;
    int rc = snapshot_open_sized(w->repo, p, ROOT_CACHE_BYTES, &s, err);
    *ret_tells = rc == 0 && wal_base_of(snapshot_root(s), ret);
    snapshot_close(s);
    if (rc == 0 || error_info(rc)->status != EXIT_INTEGRITY) return rc;
    error_clear(err); /* that it is damaged is not said here */
    return 0;
}

/* The first gap after the beginning of a base, or WAL of its timeline that begins too late. */
static bool broken_after(const struct repo *r, const struct wal_view *v, const struct wal_base *b,
                         struct wal_gap *ret) {
    uint64_t start = b->lsn - b->lsn % v->segment_bytes, first = UINT64_MAX;
    for (size_t i = 0; i < v->range_count; i++)
        if (v->ranges[i].timeline == b->timeline && v->ranges[i].to > start && v->ranges[i].from < first)
            first = v->ranges[i].from;
    if (first != UINT64_MAX && first > start) {
        *ret = (struct wal_gap){.timeline = b->timeline, .from = start, .to = first, .needed_by = b->timeline};
        ret->known = wal_log_acknowledged(r, v->system, b->timeline, start, first) != NULL;
        return true;
    }
    for (size_t i = 0; i < v->gap_count; i++)
        if (v->gaps[i].to > b->lsn && v->gaps[i].timeline >= b->timeline) {
            *ret = v->gaps[i];
            return true;
        }
    return false;
}

/* From the newest backup back, as far as nothing is missing after them. */
static int bases_walk(struct work *w, const struct wal_view *v, struct status_row *r, struct error *err) {
    bool newest = true;
    int rc = 0;
    for (size_t i = repo_snapshot_count(w->repo); i-- > 0 && rc == 0;) {
        const struct snapshot_info *p = repo_snapshot(w->repo, i);
        struct wal_base b;
        struct wal_gap g;
        bool tells;
        if (!is_base(w->repo, r, p)) continue;
        rc = base_read(w, p, &b, &tells, err);
        if (rc < 0 || !tells || b.system != v->system) continue;
        if (broken_after(w->repo, v, &b, &g)) {
            if (newest && !g.known) {
                r->wal.broken = true;
                wal_lsn_format(g.from, r->wal.from);
                wal_lsn_format(g.to, r->wal.to);
            }
            break;
        }
        newest = false;
        const int64_t end_ns = b.end_ns ? b.end_ns : p->completed_ns;
        if (end_ns < r->wal.first_ns || !r->wal.first_ns) r->wal.first_ns = end_ns;
    }
    return rc;
}

static int windows(struct work_wal *h, const struct wal_view *v, struct status_row *r, struct error *err) {
    struct wal_window *list;
    size_t n;
    int rc = wal_windows(h, v, &list, &n, err);
    if (rc < 0) return rc;
    for (size_t i = n > STATUS_WINDOWS_MAX ? n - STATUS_WINDOWS_MAX : 0; i < n; i++)
        r->wal.windows[r->wal.window_count++] = list[i];
    seam_free(list);
    size_t skip = v->known_gaps > STATUS_WINDOWS_MAX ? v->known_gaps - STATUS_WINDOWS_MAX : 0;
    for (size_t i = 0; i < v->gap_count; i++)
        if (v->gaps[i].known && (skip == 0 || skip-- == 0)) r->wal.known[r->wal.known_count++] = v->gaps[i];
    return 0;
}

/* ---- the server's word: a server that writes nothing loses nothing, however old its WAL is ---- */

const char *status_server_name(enum status_server s) {
    static const char *const names[] = {"not asked", "silent", "other", "ahead", "soon", "same"};
    return names[s];
}

int64_t status_stored_ns(const struct status_row *r) {
    int64_t ns = r->good_time_ns;
    if (r->wal.reaches && r->wal.newest_ns > ns) ns = r->wal.newest_ns;
    if (r->wal.reaches && r->wal.sure_ns > ns) ns = r->wal.sure_ns;
    return ns;
}

static void says(struct status_row *r, enum status_server s, const char *fmt, ...) PK_PRINTF(3, 4);
static void says(struct status_row *r, enum status_server s, const char *fmt, ...) {
    va_list ap;
    r->wal.server = s;
    va_start(ap, fmt);
    vsnprintf(r->wal.server_why, sizeof r->wal.server_why, fmt, ap);
    va_end(ap);
}

void status_wal_server(struct status_row *r, const struct wal_view *v, const struct wal_written *w, int64_t asked_ns) {
    uint32_t newest = 0;
    uint64_t end = 0;
    char at[24], stored[24], size[32], timeout[32];
    r->wal.sure_ns = 0;
    if (w->system != v->system) {
        says(r, STATUS_SERVER_OTHER, "the server is another cluster, %" PRIu64, w->system);
        return;
    }
    if (w->standby) {
        says(r, STATUS_SERVER_SILENT, "it is a standby, and cannot say what its primary has written");
        return;
    }
    for (size_t i = 0; i < v->range_count; i++) {
        if (v->ranges[i].timeline > newest) newest = v->ranges[i].timeline;
        if (v->ranges[i].timeline == w->timeline && v->ranges[i].to > end) end = v->ranges[i].to;
    }
    wal_lsn_format(w->lsn, at);
    wal_lsn_format(end, stored);
    /* What is stored was flushed before it came, and it was listed before the server was asked. */
    if (w->timeline < newest || w->lsn < end) {
        if (w->timeline < newest)
            says(r, STATUS_SERVER_OTHER, "the server is on timeline %u, and timeline %u is stored",
                 (unsigned)w->timeline, (unsigned)newest);
        else
            says(r, STATUS_SERVER_OTHER, "the server has written up to %s only, and %s is stored", at, stored);
        return;
    }
    if (w->lsn == end) {
        says(r, STATUS_SERVER_SAME, "the server has written nothing since");
        r->wal.sure_ns = asked_ns;
        return;
    }
    size_format(w->lsn - end, size);
    /* A server ends a segment that has anything of use in it after archive_timeout, twice that where it crashed in
     * between. What else it writes into one, now and then, does not make it end it, nor does what was in it when the
     * server started, after a crash, say. Every checkpoint since is behind that, so a segment that has none but at its
     * very beginning was begun later. */
    const uint64_t segment = v->segment_bytes ? w->lsn - w->lsn % v->segment_bytes : 0;
    if (end && v->segment_bytes && w->timeout_ns > 0 && end >= segment &&
        w->checkpoint <= segment + WAL_LONG_HEADER_BYTES) {
        duration_format(2 * w->timeout_ns, timeout);
        says(r, STATUS_SERVER_SOON, "what the server has written since is less than %s old", timeout);
        r->wal.sure_ns = asked_ns - 2 * w->timeout_ns;
    } else if (end)
        says(r, STATUS_SERVER_AHEAD, "the server has since written %s that is not stored", size);
    else
        says(r, STATUS_SERVER_AHEAD, "the server is on timeline %u, of which nothing is stored", (unsigned)w->timeline);
}

static void ask(struct work *w, struct status_row *r, const struct wal_view *v) {
    struct wal_written at;
    struct error why = ERROR_INIT;
    const int64_t now_ns = time_now_ns(), age_ns = now_ns - r->wal.newest_ns;
    if (age_ns <= YOUNG_NS && (r->rpo.state != CONFIG_SET || age_ns <= r->rpo.ns)) return;
    if (work_wal_written(w, r->environment, r->surface, &at, &why) < 0)
        says(r, STATUS_SERVER_SILENT, "it could not be asked: %.170s", why.text);
    else
        status_wal_server(r, v, &at, now_ns);
}

int status_wal_look(struct work *w, struct status_row *r, struct error *err) {
    struct wal_view v = {0};
    struct work_wal *h = NULL;
    if (!wal_log_system(w->repo, r->environment, r->surface, &v.system)) return 0;
    r->wal.any = true;
    int rc = work_wal_open_all(w, r->environment, r->surface, &h, err);
    if (rc == 0) rc = wal_all_ranges(h, v.system, &v.ranges, &v.range_count, &v.segment_bytes, err);
    if (rc == 0) rc = wal_find_gaps(h, &v, err);
    for (size_t i = 0; i < v.range_count && rc == 0; i++)
        if (v.ranges[i].last_ns > r->wal.newest_ns) r->wal.newest_ns = v.ranges[i].last_ns;
    if (rc == 0 && v.range_count && repo_keys(w->repo)->read_secret) rc = bases_walk(w, &v, r, err);
    r->wal.reaches = rc == 0 && r->wal.first_ns != 0;
    if (rc == 0) rc = windows(h, &v, r, err);
    if (rc == 0 && r->wal.reaches) ask(w, r, &v);
    work_wal_close(h);
    wal_view_free(&v);
    return rc < 0 ? error_wrap(err, "looking at the WAL of %s/%s", r->environment, r->surface) : 0;
}
