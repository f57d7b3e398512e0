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
    /* of a stretch that is there, the segment in which it begins is acknowledged */
    const uint64_t from = g.minimal ? g.from - g.from % v->segment_bytes : g.from,
                   to = g.minimal ? from + v->segment_bytes : g.to;
    const struct wal_ack *a = wal_log_acknowledged(r, v->system, g.timeline, from, to);
    g.known = a != NULL;
    if (a) snprintf(g.why, sizeof g.why, "%.150s", a->reason);
    v->known_gaps += g.known;
    int rc = mem_grow((void **)&v->gaps, cap, v->gap_count + 1, sizeof *v->gaps, err);
    if (rc == 0) v->gaps[v->gap_count++] = g;
    return rc;
}

static int gaps_within(const struct repo *r, struct wal_view *v, size_t *cap, struct error *err) {
    int rc = 0;
    for (size_t i = 1; i < v->range_count && rc == 0; i++) {
        const struct wal_range *a = &v->ranges[i - 1], *b = &v->ranges[i];
        if (a->timeline == b->timeline)
            rc = add_gap(
                r, v, cap,
                (struct wal_gap){.timeline = a->timeline, .from = a->to, .to = b->from, .needed_by = b->timeline}, err);
    }
    return rc;
}

/* A timeline goes on from where it left its parent: the parent's WAL must reach the segment in which that is, of which
 * the new timeline's first segment is a copy. */
static int gap_before(struct work_wal *h, struct wal_view *v, uint32_t timeline, size_t *cap, struct error *err) {
    struct repo *r = h->w->repo;
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = timeline};
    struct wal_switch *list = NULL;
    struct buf b = BUF_INIT(WAL_HISTORY_BYTES_MAX);
    size_t count = 0;
    int rc = work_wal_source(h)->ops->get(work_wal_source(h), v->system, &n, &b, err);
    if (rc == -ERR_UNVERIFIABLE) { /* a fallback that is out of reach may have it */
        error_clear(err);
        rc = 0;
    } else if (rc == -ERR_OBJECT_MISSING ||
               rc == -ERR_WAL_ABSENT) { /* without its history nothing before it can be joined to it */
        error_clear(err);
        rc = add_gap(r, v, cap, (struct wal_gap){.timeline = timeline, .needed_by = timeline}, err);
    } else if (rc == 0)
        rc = wal_history_parse(buf_bytes(&b), timeline, &list, &count, err);
    if (rc < 0 && error_info(rc)->status ==
                      EXIT_INTEGRITY) { /* damaged, or never was one: the other timelines are judged all the same */
        error_clear(err);
        rc = add_gap(r, v, cap, (struct wal_gap){.timeline = timeline, .needed_by = timeline, .unreadable = true}, err);
    }
    if (rc == 0 && count) {
        uint32_t parent = list[count - 1].timeline;
        uint64_t need = list[count - 1].lsn - list[count - 1].lsn % v->segment_bytes, reached = 0;
        for (size_t i = 0; i < v->range_count; i++)
            if (v->ranges[i].timeline == parent && v->ranges[i].from <= need && v->ranges[i].to > reached)
                reached = v->ranges[i].to;
        if (reached && reached < need)
            rc = add_gap(r, v, cap,
                         (struct wal_gap){.timeline = parent, .from = reached, .to = need, .needed_by = timeline}, err);
    }
    seam_free(list);
    buf_free(&b);
    return rc;
}

int wal_find_gaps(struct work_wal *h, struct wal_view *v, struct error *err) {
    struct repo *r = h->w->repo;
    size_t cap = 0;
    bool reads = repo_keys(r)->read_secret != NULL;
    int rc = gaps_within(r, v, &cap, err);
    for (size_t i = 0; i < v->range_count && rc == 0 && reads; i++)
        if (v->ranges[i].timeline > 1 && (i == 0 || v->ranges[i - 1].timeline != v->ranges[i].timeline))
            rc = gap_before(h, v, v->ranges[i].timeline, &cap, err);
    return rc;
}

/* ---- what the log has, 16 bytes an object: a name's digest ---- */

#define NAME_BYTES 16
struct names {
    uint8_t (*ids)[NAME_BYTES]; /* sorted */
    uint8_t *seen;              /* a bit for each */
    size_t n, cap;
};

static void name_id(const char *key, uint8_t out[NAME_BYTES]) {
    struct digest d;
    sha256(BYTES_STR(key), &d);
    memcpy(out, d.b, NAME_BYTES);
}

static int by_id(const void *a, const void *b) {
    return memcmp(a, b, NAME_BYTES);
}

/* Whatever surface they were registered for. */
static int registered_names(struct repo *r, uint64_t system, struct names *ret, struct error *err) {
    size_t kept = 0;
    void *bits;
    int rc = 0;
    for (size_t i = 0; i < wal_log_count(r) && rc == 0; i++) {
        const struct wal_batch *b = wal_log_batch(r, i);
        struct wal_row *rows = NULL;
        size_t n = 0;
        if (b->system != system) continue;
        rc = wal_log_rows(r, b, &rows, &n, err);
        if (rc == 0) rc = mem_grow((void **)&ret->ids, &ret->cap, ret->n + n, sizeof *ret->ids, err);
        for (size_t k = 0; k < n && rc == 0; k++) name_id(rows[k].key, ret->ids[ret->n++]);
        seam_free(rows);
    }
    if (rc == 0 && ret->n) qsort(ret->ids, ret->n, sizeof *ret->ids, by_id);
    for (size_t i = 0; i < ret->n && rc == 0; i++)
        if (kept == 0 || memcmp(ret->ids[i], ret->ids[kept - 1], NAME_BYTES) != 0)
            memmove(ret->ids[kept++], ret->ids[i], NAME_BYTES);
    ret->n = kept;
    if (rc == 0 && (rc = mem_alloc(kept / 8 + 1, &bits, err)) == 0) ret->seen = bits;
    return rc;
}

/* Whether the log has it; it counts as seen then. *ret_first: for the first time. */
static bool names_see(struct names *s, const char *key, bool *ret_first) {
    uint8_t id[NAME_BYTES];
    name_id(key, id);
    uint8_t(*at)[NAME_BYTES] = s->n ? bsearch(id, s->ids, s->n, sizeof *s->ids, by_id) : NULL;
    if (!at) return false;
    size_t i = (size_t)(at - s->ids);
    *ret_first = !(s->seen[i / 8] >> i % 8 & 1);
    s->seen[i / 8] |= (uint8_t)(1u << i % 8);
    return true;
}

static void names_free(struct names *s) {
    seam_free(s->ids);
    seam_free(s->seen);
}

/* In a range that the log says stays as it is, and said after that entry: what came later can be lost again. */
static bool is_known(const struct repo *r, const struct wal_view *v, const struct wal_place *p, uint64_t since) {
    uint64_t lsn = v->segment_bytes ? wal_name_lsn(&p->name, v->segment_bytes) : 0;
    const struct wal_ack *a = NULL;
    if (p->name.kind == WAL_HISTORY)
        a = wal_log_acknowledged(r, v->system, p->name.timeline, 0, 0);
    else if (v->segment_bytes)
        a = wal_log_acknowledged(r, v->system, p->name.timeline, lsn, lsn + v->segment_bytes);
    return a && a->seq > since;
}

struct telling {
    struct work_wal *h;
    struct wal_view *v;
    wal_damaged damaged;
    void *ctx;
};

static void tell(const struct telling *t, const char *key, const struct error *why) {
    char harm[WAL_HARM_BYTES];
    struct error e = *why;
    if (!t->damaged) return;
    wal_harm(t->h->w->repo, t->h->environment, t->h->surface, key, 0, harm);
    if (*harm) (void)!error_set(&e, why->code, "%.300s; %s", why->text, harm);
    t->damaged(t->ctx, key, &e);
}

/* What the log has and the store has not; a piece may have gone once its segment was whole. */
static int count_missing(const struct telling *t, struct names *names, struct error *err) {
    struct repo *r = t->h->w->repo;
    struct wal_view *v = t->v;
    int rc = 0;
    for (size_t i = wal_log_count(r); i-- > 0 && rc == 0;) { /* the newest that names it */
        const struct wal_batch *b = wal_log_batch(r, i);
        struct wal_row *rows = NULL;
        size_t n = 0;
        if (b->system != v->system) continue;
        rc = wal_log_rows(r, b, &rows, &n, err);
        for (size_t k = 0; k < n && rc == 0; k++) {
            const char *place = strchr(rows[k].key + 4, '/');
            struct wal_place p = {0};
            struct error e = ERROR_INIT;
            bool first;
            if (!names_see(names, rows[k].key, &first) || !first) continue;
            if (wal_log_gone(r, rows[k].key) || wal_piece_gave_way(t->h->w->store, rows[k].key)) continue;
            if (place && wal_place_read(place + 1, &p) && is_known(r, v, &p, b->seq)) {
                v->known++;
                continue;
            }
            v->missing++;
            (void)!error_set(&e, ERR_OBJECT_MISSING, "the log has it, and the store has not");
            tell(t, rows[k].key, &e);
        }
        seam_free(rows);
    }
    return rc;
}

#define PAGE_BYTES 8192u

/* What an object tells of wal_level; where it ends. *page_bytes: as its segment's beginning has it, where that was
 * seen. */
static uint64_t place_levels(struct wal_levels *levels, const struct wal_place *p, uint32_t segment_bytes,
                             uint32_t *page_bytes, struct bytes in, wal_level_told told, void *ctx) {
    const uint64_t lsn = wal_name_lsn(&p->name, segment_bytes) + (p->piece ? p->from : 0);
    struct wal_header head;
    struct error none = ERROR_INIT;
    if (wal_header_read(in, &head, &none) == 0) *page_bytes = head.block_bytes;
    wal_levels_read(levels, lsn, *page_bytes, in, told, ctx);
    return lsn + in.len;
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

/* Stretches of WAL that were written with wal_level=minimal, object by object in their order. */
struct minimal {
    const struct repo *r;
    struct wal_view *v;
    size_t cap; /* of the view's gaps */
    struct wal_levels levels;
    uint32_t timeline, page_bytes;
    uint64_t told, from, end; /* the last record; the present stretch, or 0; of what was read */
    int rc;
    struct error *err;
};

static void minimal_ends(struct minimal *m, uint64_t at) {
    if (m->from && m->rc == 0)
        m->rc =
            add_gap(m->r, m->v, &m->cap,
                    (struct wal_gap){
                        .timeline = m->timeline, .from = m->from, .to = at, .needed_by = m->timeline, .minimal = true},
                    m->err);
    m->from = 0;
}

static void on_level(void *ctx, uint64_t lsn, bool minimal) {
    struct minimal *m = ctx;
    if (lsn <= m->told) return; /* a piece says again what its segment says */
    m->told = lsn;
    if (!minimal)
        minimal_ends(m, lsn);
    else if (!m->from)
        m->from = lsn;
}

static int minimal_read(struct minimal *m, const struct wal_place *p, struct bytes in) {
    if (p->name.kind != WAL_SEGMENT || !m->v->segment_bytes) return 0;
    if (p->name.timeline != m->timeline) {
        minimal_ends(m, m->end);
        m->timeline = p->name.timeline;
        m->levels = (struct wal_levels){0};
        m->told = 0;
    }
    m->end = place_levels(&m->levels, p, m->v->segment_bytes, &m->page_bytes, in, on_level, m);
    return m->rc;
}

static int count_objects(struct work_wal *h, const struct wal_place *p, size_t n, bool decode, wal_damaged damaged,
                         void *ctx, struct wal_view *v, struct error *err) {
    struct names names = {0};
    struct unknown unknown = {0};
    struct telling t = {h, v, damaged, ctx};
    struct minimal minimal = {.r = h->w->repo, .v = v, .cap = v->gap_count, .page_bytes = PAGE_BYTES, .err = err};
    bool may_register = repo_keys(h->w->repo)->role == ROLE_ADMIN, first;
    struct buf b = BUF_INIT(WAL_SEGMENT_MAX);
    int rc = registered_names(h->w->repo, v->system, &names, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        char key[WAL_OBJECT_KEY_BYTES] = "";
        struct error e = ERROR_INIT;
        wal_place_key(v->system, &p[i], key);
        v->objects++;
        v->stored_bytes += p[i].object_bytes;
        bool registered = names_see(&names, key, &first);
        v->registered += registered;
        if (!decode) continue;
        int got = check_place(h, v->system, &p[i], key, &b, &e);
        v->checked++;
        if (got == 0) rc = minimal_read(&minimal, &p[i], buf_bytes(&b));
        if (got == 0 && rc == 0 && !registered && may_register) rc = note_unknown(h, key, &unknown, err);
        if (got == 0) continue;
        if (error_info(got)->status != EXIT_INTEGRITY) {
            *err = e; /* not known to be damaged: the check itself failed */
            rc = got;
        } else if (is_known(h->w->repo, v, &p[i], 0)) {
            v->known++;
        } else {
            v->damaged++;
            tell(&t, key, &e);
        }
        if (rc == 0) rc = stop_check(err);
    }
    if (rc == 0) minimal_ends(&minimal, minimal.end);
    if (rc == 0) rc = minimal.rc;
    if (rc == 0) rc = count_missing(&t, &names, err);
    if (rc == 0) rc = wal_log_append(h->w->repo, h->environment, h->surface, v->system, unknown.rows, unknown.n, err);
    if (rc == 0) v->registered += unknown.n;
    seam_free(unknown.rows);
    buf_free(&b);
    names_free(&names);
    return rc;
}

/* Ranges and gaps of the surface's cluster. `p` stays the caller's to free, on failure too. */
static int view_make(struct work_wal *h, struct wal_view *v, struct wal_place **p, size_t *n, struct error *err) {
    struct repo *r = h->w->repo;
    int rc = wal_places(r, v->system, p, n, err);
    if (rc == 0) rc = wal_place_segment_bytes(r, v->system, *p, *n, &v->segment_bytes, err);
    if (rc == 0) rc = wal_place_ranges(*p, *n, v->segment_bytes, &v->ranges, &v->range_count, err);
    return rc == 0 ? wal_find_gaps(h, v, err) : rc;
}

static int acknowledge(struct work_wal *h, const struct wal_acknowledged *x, const char *reason,
                       struct wal_acknowledged **ret, size_t *n, size_t *cap, struct error *err) {
    struct wal_ack a = {
        .system = h->system, .timeline = x->timeline, .from = x->from, .to = x->to, .reason = (char *)reason};
    int rc = mem_grow((void **)ret, cap, *n + 1, sizeof **ret, err);
    if (rc == 0) rc = wal_log_acknowledge(h->w->repo, h->environment, h->surface, &a, h->w->principal, err);
    if (rc == 0) (*ret)[(*n)++] = *x;
    return rc;
}

static bool is_of(const struct wal_place *p, const struct wal_name *segment) {
    return p->name.kind != WAL_HISTORY && p->name.timeline == segment->timeline && p->name.log == segment->log &&
           p->name.seg == segment->seg;
}

/* Whether an object of it that the log has is not there. */
static int is_lost(struct work_wal *h, const struct wal_name *segment, bool *ret, struct error *err) {
    const struct repo *r = h->w->repo;
    int rc = 0;
    for (size_t i = 0; i < wal_log_count(r) && rc == 0 && !*ret; i++) {
        struct wal_row *rows = NULL;
        size_t n = 0;
        if (wal_log_batch(r, i)->system != h->system) continue;
        rc = wal_log_rows(h->w->repo, wal_log_batch(r, i), &rows, &n, err);
        for (size_t k = 0; k < n && rc == 0 && !*ret; k++) {
            const char *place = strchr(rows[k].key + 4, '/'), *key = rows[k].key;
            struct wal_place p = {0};
            if (!place || !wal_place_read(place + 1, &p) || !is_of(&p, segment) || wal_log_gone(r, key)) continue;
            rc = store_stat(h->w->store, key, NULL, NULL, err);
            if (rc != -ERR_OBJECT_MISSING) continue;
            error_clear(err);
            rc = 0;
            *ret = !wal_piece_gave_way(h->w->store, key);
        }
        seam_free(rows);
    }
    return rc;
}

static void on_any(void *ctx, uint64_t lsn, bool minimal) {
    (void)lsn;
    *(bool *)ctx |= minimal;
}

/* What is whole is not to be said to be lost: nobody would hear of it when it is. */
static int is_hurt(struct work_wal *h, const struct wal_place *p, size_t n, const struct wal_name *segment,
                   uint32_t segment_bytes, bool *ret, struct error *err) {
    struct buf b = BUF_INIT(WAL_SEGMENT_MAX);
    struct wal_levels levels = {0};
    uint32_t page_bytes = PAGE_BYTES;
    int rc = 0;
    *ret = false;
    for (size_t i = 0; i < n && rc == 0 && !*ret; i++) {
        char key[WAL_OBJECT_KEY_BYTES];
        if (!is_of(&p[i], segment)) continue;
        wal_place_key(h->system, &p[i], key);
        rc = check_place(h, h->system, &p[i], key, &b, err);
        if (rc == 0 && p[i].name.kind == WAL_SEGMENT)
            (void)place_levels(&levels, &p[i], segment_bytes, &page_bytes, buf_bytes(&b), on_any, ret);
        if (rc == 0 || error_info(rc)->status != EXIT_INTEGRITY) continue;
        error_clear(err);
        rc = 0;
        *ret = true;
    }
    buf_free(&b);
    return rc == 0 && !*ret ? is_lost(h, segment, ret, err) : rc;
}

int work_wal_acknowledge(struct work *w, const char *environment, const char *surface, const struct wal_name *segment,
                         const char *reason, struct wal_acknowledged **ret, size_t *ret_n, struct error *err) {
    struct work_wal *h = NULL;
    struct wal_place *p = NULL;
    struct wal_view v = {0};
    size_t n = 0, cap = 0;
    *ret = NULL;
    *ret_n = 0;
    w->log_only = true;
    int rc = work_wal_open(w, environment, surface, &h, err);
    if (rc == 0 && repo_keys(w->repo)->role != ROLE_ADMIN)
        rc = error_set(err, ERR_KEY_ROLE, "acknowledging a gap takes an admin key, and this is a %s key",
                       key_role_name(repo_keys(w->repo)->role));
    if (rc == 0 && !work_wal_system(h, &v.system))
        rc = error_set(err, ERR_USAGE, "no WAL was ever stored for %s/%s", environment, surface);
    if (rc == 0) rc = view_make(h, &v, &p, &n, err);
    uint64_t at = segment && rc == 0 && v.segment_bytes ? wal_name_lsn(segment, v.segment_bytes) : 0;
    for (size_t i = 0; i < v.gap_count && rc == 0; i++) {
        const struct wal_gap *g = &v.gaps[i];
        if (g->known || (segment && (g->timeline != segment->timeline || at < g->from || at >= g->to))) continue;
        struct wal_acknowledged x = {g->timeline, g->from, g->to};
        rc = acknowledge(h, &x, reason, ret, ret_n, &cap, err);
    }
    bool hurt = false;
    if (rc == 0 && !*ret_n && segment && v.segment_bytes) rc = is_hurt(h, p, n, segment, v.segment_bytes, &hurt, err);
    if (rc == 0 && hurt) {
        struct wal_acknowledged x = {segment->timeline, at, at + v.segment_bytes};
        rc = acknowledge(h, &x, reason, ret, ret_n, &cap, err);
    }
    if (rc == 0 && !*ret_n)
        rc = error_set(err, ERR_USAGE, "the WAL of %s/%s has no gap that is not known%s", environment, surface,
                       segment ? " at that segment, and nothing of it is damaged or lost" : "");
    struct error late = ERROR_INIT;
    if (rc == 0 && repo_publish(w->repo, &late) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, surface, late.text);
    seam_free(p);
    wal_view_free(&v);
    work_wal_close(h);
    if (rc < 0) {
        seam_free(*ret);
        *ret = NULL;
    }
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
        rc = view_make(h, &v, &p, &n, err);
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
