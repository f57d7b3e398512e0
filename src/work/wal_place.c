#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void wal_object_name(uint64_t system, const struct wal_name *n, char out[WAL_OBJECT_KEY_BYTES]) {
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    snprintf(out, WAL_OBJECT_KEY_BYTES, "wal/%" PRIu64 "/%08" PRIX32 "/%.40s", system, n->timeline, name);
}

static void pieces_folder(uint64_t system, const struct wal_name *n, char out[WAL_OBJECT_KEY_BYTES]) {
    struct wal_name whole = {n->kind == WAL_PARTIAL ? WAL_PARTIAL : WAL_SEGMENT, n->timeline, n->log, n->seg, 0};
    char key[WAL_OBJECT_KEY_BYTES];
    wal_object_name(system, &whole, key);
    snprintf(out, WAL_OBJECT_KEY_BYTES, "%.66s.pieces/", key);
}

void wal_piece_name(uint64_t system, const struct wal_name *n, uint32_t from, uint32_t to,
                    char out[WAL_OBJECT_KEY_BYTES]) {
    char folder[WAL_OBJECT_KEY_BYTES];
    pieces_folder(system, n, folder);
    snprintf(out, WAL_OBJECT_KEY_BYTES, "%.74s%08" PRIX32 "-%08" PRIX32, folder, from, to);
}

static bool take_hex8(const char *p, uint32_t *ret) {
    uint32_t v = 0;
    for (int i = 0; i < 8; i++) {
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'A' && p[i] <= 'F'))) return false;
        v = v << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : p[i] - 'A' + 10);
    }
    *ret = v;
    return true;
}

bool wal_in_pieces(const struct wal_name *n) {
    return n->kind == WAL_SEGMENT || n->kind == WAL_PARTIAL;
}

/* "<timeline>/<file>" or "<timeline>/<segment, or its .partial>.pieces/<from>-<to>" */
bool wal_place_read(const char *text, struct wal_place *ret) {
    char name[WAL_NAME_BYTES];
    uint32_t timeline;
    struct error e = ERROR_INIT;
    if (strlen(text) < 9 || !take_hex8(text, &timeline) || text[8] != '/') return false;
    text += 9;
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    if (slash) {
        if (n < 7 || strncmp(slash - 7, ".pieces", 7) != 0) return false;
        n -= 7;
    }
    if (n >= sizeof name) return false;
    memcpy(name, text, n);
    name[n] = 0;
    if (wal_name_parse(name, &ret->name, &e) < 0 || ret->name.timeline != timeline) return false;
    if (!slash) return true;
    ret->piece = true;
    return wal_in_pieces(&ret->name) && strlen(slash + 1) == 17 && take_hex8(slash + 1, &ret->from) &&
           slash[9] == '-' && take_hex8(slash + 10, &ret->to) && ret->from < ret->to;
}

struct listing {
    size_t skip; /* of each key */
    struct wal_place *items;
    size_t n, cap;
};

static int see(void *ctx, const struct store_object *o, struct error *err) {
    struct listing *l = ctx;
    struct wal_place p = {.object_bytes = o->bytes, .created_ns = o->created_ns};
    if (strlen(o->key) <= l->skip || !wal_place_read(o->key + l->skip, &p)) return 0;
    int rc = mem_grow((void **)&l->items, &l->cap, l->n + 1, sizeof *l->items, err);
    if (rc == 0) l->items[l->n++] = p;
    return rc;
}

#define ORDER(a, b) ((a) < (b) ? -1 : (a) > (b))
int wal_place_compare(const struct wal_place *a, const struct wal_place *b) {
    int d = ORDER(a->name.timeline, b->name.timeline);
    if (!d) d = ORDER(a->name.log, b->name.log);
    if (!d) d = ORDER(a->name.seg, b->name.seg);
    if (!d) d = ORDER(a->name.kind, b->name.kind);
    if (!d) d = ORDER(a->piece, b->piece); /* the whole segment before its pieces */
    if (!d) d = ORDER(a->from, b->from);
    return d ? d : ORDER(a->to, b->to);
}

static int order(const void *a, const void *b) {
    return wal_place_compare(a, b);
}

static int list(struct repo *r, const char *folder, size_t skip, struct wal_place **ret, size_t *ret_n,
                struct error *err) {
    struct listing l = {.skip = skip};
    int rc = store_list(repo_store(r), folder, see, &l, err);
    if (rc < 0) {
        seam_free(l.items);
        return rc;
    }
    if (l.n) qsort(l.items, l.n, sizeof *l.items, order);
    *ret = l.items;
    *ret_n = l.n;
    return 0;
}

int wal_places(struct repo *r, uint64_t system, struct wal_place **ret, size_t *ret_n, struct error *err) {
    char folder[40];
    int n = snprintf(folder, sizeof folder, "wal/%" PRIu64 "/", system);
    return list(r, folder, (size_t)n, ret, ret_n, err);
}

int wal_pieces(struct repo *r, uint64_t system, const struct wal_name *n, struct wal_place **ret, size_t *ret_n,
               struct error *err) {
    char folder[WAL_OBJECT_KEY_BYTES], cluster[40];
    int skip = snprintf(cluster, sizeof cluster, "wal/%" PRIu64 "/", system);
    pieces_folder(system, n, folder);
    return list(r, folder, (size_t)skip, ret, ret_n, err);
}

void wal_place_key(uint64_t system, const struct wal_place *p, char out[WAL_OBJECT_KEY_BYTES]) {
    if (p->piece)
        wal_piece_name(system, &p->name, p->from, p->to, out);
    else
        wal_object_name(system, &p->name, out);
}

int wal_place_segment_bytes(struct repo *r, uint64_t system, const struct wal_place *p, size_t n, uint32_t *ret,
                            struct error *err) {
    *ret = 0;
    for (size_t i = n; i-- > 0 && !*ret;) {
        struct wal_object_head h;
        char key[WAL_OBJECT_KEY_BYTES];
        if (!wal_in_pieces(&p[i].name)) continue;
        wal_place_key(system, &p[i], key);
        int rc = wal_object_head(r, key, &h, err);
        if (rc == -ERR_OBJECT_MISSING || rc == -ERR_OBJECT_CORRUPT) {
            error_clear(err); /* another one tells */
            continue;
        }
        if (rc < 0) return rc;
        uint32_t s = h.segment_bytes;
        if (s >= WAL_SEGMENT_MIN && s <= WAL_SEGMENT_MAX && !(s & (s - 1))) *ret = s;
    }
    return 0;
}

struct building {
    struct wal_range *items;
    size_t n, cap;
};

/* What lies at [from, to) of a timeline goes on where the last range ended, or begins another. */
static int extend(struct building *b, uint32_t timeline, uint64_t from, uint64_t to, int64_t at_ns, struct error *err) {
    struct wal_range *last = b->n ? &b->items[b->n - 1] : NULL;
    if (last && last->timeline == timeline && from <= last->to) {
        if (to > last->to) last->to = to;
        if (at_ns > last->last_ns) last->last_ns = at_ns;
        return 0;
    }
    int rc = mem_grow((void **)&b->items, &b->cap, b->n + 1, sizeof *b->items, err);
    if (rc == 0) b->items[b->n++] = (struct wal_range){timeline, from, to, at_ns, at_ns};
    return rc;
}

int wal_place_ranges(const struct wal_place *p, size_t n, uint32_t segment_bytes, struct wal_range **ret, size_t *ret_n,
                     struct error *err) {
    struct building b = {0};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (p[i].name.kind != WAL_SEGMENT || !segment_bytes) continue;
        uint64_t at = wal_name_lsn(&p[i].name, segment_bytes);
        if (p[i].piece && (p[i].to > segment_bytes)) continue;
        /* a piece that nothing of its segment goes before is of no use to anybody */
        bool follows = !p[i].piece || p[i].from == 0 ||
                       (b.n && b.items[b.n - 1].timeline == p[i].name.timeline && b.items[b.n - 1].from <= at &&
                        b.items[b.n - 1].to >= at + p[i].from);
        if (!follows) continue;
        rc = extend(&b, p[i].name.timeline, p[i].piece ? at + p[i].from : at,
                    p[i].piece ? at + p[i].to : at + segment_bytes, p[i].created_ns, err);
    }
    if (rc < 0) {
        seam_free(b.items);
        return rc;
    }
    *ret = b.items;
    *ret_n = b.n;
    return 0;
}
