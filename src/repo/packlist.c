#include "repo/packlist.h"
#include "repo/run.h"

#include <stdlib.h>

#define PART_ROW_BYTES                                                                                                 \
    (DIGEST_BYTES + 8u) /* name, u32 names in it, u32 names meant; the bits follow when they differ */
#define EXPECTED_MAX 8  /* pack lists */
#define SPARSE 4u       /* a part of which less than this share is meant is not taken over */

static int corrupt(const struct digest *name, const char *what, struct error *err) {
    char key[96];
    run_key(name, key);
    return error_set(err, ERR_OBJECT_CORRUPT, "%s: %s", key, what);
}

static size_t bits_count(const uint8_t *bits, size_t n) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += bit_get(bits, i);
    return sum;
}

static int parts_parse(struct packlist *l, const struct digest *name, struct cursor *c, size_t parts, size_t own,
                       struct error *err) {
    void *mem;
    int rc = mem_alloc((parts + 1) * sizeof *l->parts, &mem, err);
    if (rc < 0) return rc;
    l->parts = mem;
    for (; l->part_count < parts; l->part_count++) {
        struct list_part *p = &l->parts[l->part_count];
        struct bytes d = cursor_take(c, DIGEST_BYTES);
        p->count = cursor_u32(c);
        const uint32_t meant = cursor_u32(c);
        if (c->bad || !meant || meant > p->count) return corrupt(name, "it names a part of it wrongly", err);
        memcpy(p->name.b, d.ptr, DIGEST_BYTES);
        if (meant == p->count) continue;
        struct bytes bits = cursor_take(c, (p->count + 7u) / 8);
        if (c->bad || bits_count(bits.ptr, p->count) != meant)
            return corrupt(name, "it counts a part of it wrongly", err);
        p->bits = bits.ptr;
    }
    struct bytes names = cursor_take(c, own * DIGEST_BYTES);
    if (c->bad || c->len) return corrupt(name, "its body does not add up", err);
    l->own = (const struct digest *)names.ptr;
    l->own_count = own;
    return 0;
}

int packlist_open(struct repo *r, const struct digest *name, struct packlist *ret, struct error *err) {
    struct packlist l = {0};
    uint64_t entries;
    uint32_t own;
    uint8_t type;
    size_t len;
    int rc = run_read_either(r, name, RUN_TYPE_PACKLIST, RUN_TYPE_PARTS, &type, &entries, &own, &l.body, &len, err);
    if (rc < 0) return rc;
    if (type == RUN_TYPE_PACKLIST) {
        l.own = (const struct digest *)l.body;
        l.own_count = entries;
    } else {
        struct cursor c = cursor_of(BYTES_OF(l.body, len));
        rc = entries > len / PART_ROW_BYTES ? corrupt(name, "its body does not add up", err)
                                            : parts_parse(&l, name, &c, entries, own, err);
    }
    if (rc < 0)
        packlist_close(&l);
    else
        *ret = l;
    return rc;
}

void packlist_close(struct packlist *l) {
    seam_free(l->body);
    seam_free(l->parts);
    *l = (struct packlist){0};
}

/* Reads the plain list that a part is. */
static int part_read(struct repo *r, const struct list_part *p, struct digest **ret, struct error *err) {
    size_t n;
    int rc = packlist_read(r, &p->name, ret, &n, err);
    if (rc == 0 && n != p->count) {
        seam_free(*ret);
        rc = corrupt(&p->name, "it has another number of names than a list says of it", err);
    }
    return rc;
}

static int part_each(struct repo *r, const struct list_part *p, name_cb cb, void *ctx, struct error *err) {
    struct digest *names;
    int rc = part_read(r, p, &names, err);
    if (rc < 0) return rc;
    for (uint32_t i = 0; i < p->count && rc == 0; i++)
        if (!p->bits || bit_get(p->bits, i)) rc = cb(ctx, &names[i], err);
    seam_free(names);
    return rc;
}

int packlist_each(struct repo *r, const struct digest *name, name_cb cb, void *ctx, struct error *err) {
    struct packlist l;
    int rc = packlist_open(r, name, &l, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < l.own_count && rc == 0; i++) rc = cb(ctx, &l.own[i], err);
    for (size_t i = 0; i < l.part_count && rc == 0; i++) rc = part_each(r, &l.parts[i], cb, ctx, err);
    packlist_close(&l);
    return rc;
}

/* ---- making ---- */

struct making {
    struct repo *r;
    struct nameset set;
    uint8_t *taken; /* by a part or the list itself: a bit a name of set */
    size_t part_names, parts;
    struct buf rows;
    struct digest *own;
    size_t own_count;
    struct digests *names; /* of the parts */
};

static int set_put(void *ctx, const struct digest *d, struct error *err) {
    struct nameset *s = ctx;
    if (s->count == s->cap && s->count > s->sorted) nameset_sort(s); /* before it grows: names may come twice */
    return nameset_add(s, d->b, err);
}

static int row_put(struct making *m, const struct digest *name, size_t count, size_t meant, const uint8_t *bits,
                   struct error *err) {
    int rc = buf_append(&m->rows, name->b, DIGEST_BYTES, err);
    if (rc == 0) rc = buf_append_u32(&m->rows, (uint32_t)count, err);
    if (rc == 0) rc = buf_append_u32(&m->rows, (uint32_t)meant, err);
    if (rc == 0 && meant < count) rc = buf_append(&m->rows, bits, (count + 7) / 8, err);
    if (rc == 0) rc = digests_add(m->names, name, err);
    m->parts++;
    return rc;
}

/* Takes over what a former part has of the set, if that is enough of it. */
static int part_keep(struct making *m, const struct list_part *p, struct error *err) {
    struct digest *names;
    void *mem;
    int rc = part_read(m->r, p, &names, err);
    if (rc < 0) return rc;
    if ((rc = mem_alloc(p->count / 8 + 1, &mem, err)) < 0) {
        seam_free(names);
        return rc;
    }
    uint8_t *bits = mem;
    size_t meant = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const size_t at = nameset_find(&m->set, names[i].b);
        if (at == NAMESET_NONE || bit_get(m->taken, at)) continue;
        bit_set(bits, i);
        meant++;
    }
    if (meant && meant * SPARSE >= p->count) {
        for (uint32_t i = 0; i < p->count; i++)
            if (bit_get(bits, i)) bit_set(m->taken, nameset_find(&m->set, names[i].b));
        rc = row_put(m, &p->name, p->count, meant, bits, err);
    }
    seam_free(mem);
    seam_free(names);
    return rc;
}

static int own_put(void *ctx, const struct digest *d, struct error *err) {
    struct making *m = ctx;
    struct digest part;
    if (!bit_take(m->taken, nameset_find(&m->set, d->b))) return 0;
    m->own[m->own_count++] = *d;
    if (m->own_count < m->part_names) return 0;
    int rc = packlist_write(m->r, m->own, m->own_count, &part, NULL, err);
    if (rc == 0) rc = row_put(m, &part, m->own_count, m->own_count, NULL, err);
    m->own_count = 0;
    return rc;
}

int packlist_make(struct repo *r, names_source each, void *ctx, const struct digest *former, struct digest *ret,
                  uint64_t *ret_bytes, struct digests *ret_parts, struct error *err) {
    const size_t part_names = r->part_names ? r->part_names : PART_NAMES;
    struct making m = {.r = r, .part_names = part_names, .rows = BUF_INIT(1u << 30), .names = ret_parts};
    struct packlist old = {0};
    void *mem;
    int rc = each(ctx, set_put, &m.set, err);
    nameset_sort(&m.set);
    if (rc == 0) rc = mem_alloc(m.set.count / 8 + 1, &mem, err);
    if (rc == 0) m.taken = mem;
    if (rc == 0) rc = mem_alloc(part_names * sizeof *m.own, &mem, err);
    if (rc == 0) m.own = mem;
    if (rc == 0 && former && m.set.count >= part_names) {
        /* what cannot be read of the former list is made anew */
        struct error e = ERROR_INIT;
        if (packlist_open(r, former, &old, &e) < 0) old = (struct packlist){0};
        for (size_t i = 0; i < old.part_count && rc == 0; i++) {
            error_clear(&e);
            rc = part_keep(&m, &old.parts[i], &e);
            if (is_damage(rc)) rc = 0;
            if (rc < 0) *err = e;
        }
    }
    if (rc == 0) rc = each(ctx, own_put, &m, err);
    if (rc == 0 && !m.parts) rc = packlist_write(r, m.own, m.own_count, ret, ret_bytes, err);
    if (rc == 0 && m.parts) {
        const size_t own = m.own_count = digest_sort_unique(m.own, m.own_count);
        rc = buf_append(&m.rows, m.own, own * sizeof *m.own, err);
        if (rc == 0)
            rc = run_write_body(r, RUN_TYPE_PARTS, m.parts, (uint32_t)own, buf_bytes(&m.rows), ret, ret_bytes, err);
    }
    ret_parts->n = digest_sort_unique(ret_parts->d, ret_parts->n);
    packlist_close(&old);
    buf_free(&m.rows);
    seam_free(m.own);
    seam_free(m.taken);
    nameset_free(&m.set);
    return rc;
}

/* ---- what live snapshots list ---- */

struct shared { /* a part and what any list means of it */
    struct digest name;
    uint32_t count;
    uint8_t *bits; /* NULL: all */
};
struct joined {
    struct shared *parts; /* sorted by name */
    size_t n, cap;
};

static int part_join(struct joined *j, const struct list_part *p, struct error *err) {
    size_t lo = 0, hi = j->n, bytes = (p->count + 7u) / 8;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (digest_order(&j->parts[mid].name, &p->name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    struct shared *s;
    if (lo == j->n || !digest_equal(&j->parts[lo].name, &p->name) || j->parts[lo].count != p->count) {
        void *bits = NULL;
        int rc = mem_grow((void **)&j->parts, &j->cap, j->n + 1, sizeof *j->parts, err);
        if (rc == 0 && p->bits) rc = mem_dup(p->bits, bytes, &bits, err);
        if (rc < 0) return rc;
        s = &j->parts[lo];
        memmove(s + 1, s, (j->n++ - lo) * sizeof *s);
        *s = (struct shared){p->name, p->count, bits};
        return 0;
    }
    s = &j->parts[lo];
    if (!p->bits) {
        seam_free(s->bits);
        s->bits = NULL;
    }
    for (size_t i = 0; s->bits && i < bytes; i++) s->bits[i] |= p->bits[i];
    return 0;
}

static void joined_free(struct joined *j) {
    for (size_t i = 0; i < j->n; i++) seam_free(j->parts[i].bits);
    seam_free(j->parts);
}

static int list_join(struct repo *r, const struct digest *name, struct joined *j, struct nameset *set,
                     struct error *err) {
    struct packlist l;
    int rc = packlist_open(r, name, &l, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < l.own_count && rc == 0 && set; i++) rc = set_put(set, &l.own[i], err);
    for (size_t i = 0; i < l.part_count && rc == 0; i++) rc = part_join(j, &l.parts[i], err);
    packlist_close(&l);
    return rc;
}

struct moved {
    struct nameset *set;
    uint8_t *gone;
    bool hit;
};

static int gone_put(void *ctx, const struct digest *d, struct error *err) {
    struct moved *m = ctx;
    (void)err;
    m->hit |= bit_take(m->gone, nameset_find(m->set, d->b));
    return 0;
}

static int move_follow(struct repo *r, const struct delete_info *d, struct nameset *set, struct error *err) {
    void *mem;
    int rc = mem_alloc(set->count / 8 + 1, &mem, err);
    if (rc < 0) return rc;
    struct moved m = {set, mem, false};
    rc = packlist_each(r, &d->packs, gone_put, &m, err);
    if (rc == 0 && m.hit) {
        nameset_drop(set, m.gone);
        rc = packlist_each(r, &d->replaced_by, set_put, set, err);
        nameset_sort(set);
    }
    seam_free(mem);
    return rc;
}

struct joining {
    struct repo *r;
    snapshot_filter wanted;
    list_broken broken;
    void *ctx;
};

static bool joins(const struct joining *g, size_t i) {
    const struct snapshot_info *s = &g->r->state.snapshots[i];
    return !s->forgotten && (!g->wanted || g->wanted(g->ctx, s));
}

/* Names of packs never recur and no snapshot lists one that was removed before it, so what a collection moved may be
 * taken out of the union as it would be taken out of each list. */
static int moves_follow(const struct joining *g, struct nameset *set, struct error *err) {
    const struct state *st = &g->r->state;
    uint64_t first = UINT64_MAX;
    int rc = 0;
    for (size_t i = 0; i < st->snapshot_count; i++)
        if (joins(g, i) && st->snapshots[i].packs_seq < first) first = st->snapshots[i].packs_seq;
    for (size_t i = 0; i < st->delete_count && rc == 0; i++) {
        const struct delete_info *d = &st->deletes[i];
        struct error e = ERROR_INIT;
        if (d->seq < first || !d->has_packs || !d->has_replacement) continue;
        if ((rc = move_follow(g->r, d, set, &e)) == 0) continue;
        const int code = rc;
        if (!g->broken || !is_damage(rc)) {
            *err = e;
            break;
        }
        rc = 0;
        for (size_t k = 0; k < st->snapshot_count && rc == 0; k++)
            if (st->snapshots[k].packs_seq <= d->seq && joins(g, k))
                rc = g->broken(g->ctx, &st->snapshots[k], code, e.text, err);
    }
    return rc;
}

int packlist_readable(struct repo *r, const struct digest *name, struct error *err) {
    struct packlist l;
    int rc = packlist_open(r, name, &l, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < l.part_count && rc == 0; i++) {
        struct digest *names;
        if ((rc = part_read(r, &l.parts[i], &names, err)) == 0) seam_free(names);
    }
    packlist_close(&l);
    return rc;
}

static int union_once(const struct joining *g, struct nameset *ret, struct error *err) {
    struct repo *r = g->r;
    struct joined j = {0};
    int rc = 0;
    for (size_t i = 0; i < r->state.snapshot_count && rc == 0; i++) {
        const struct snapshot_info *s = &r->state.snapshots[i];
        struct error e = ERROR_INIT;
        if (!joins(g, i)) continue;
        /* a list that broke is told of before any of it counts: nothing may be called whole for want of a part */
        int one = g->broken ? packlist_readable(r, &s->packs, &e) : 0;
        if (one == 0) one = list_join(r, &s->packs, &j, ret, &e);
        if (one == 0) continue;
        if (g->broken && is_damage(one)) {
            rc = g->broken(g->ctx, s, one, e.text, err); /* err is for what goes wrong in the telling */
            continue;
        }
        *err = e;
        rc = error_wrap(err, "the pack list of snapshot %s", s->id);
    }
    for (size_t i = 0; i < j.n && rc == 0; i++) {
        const struct list_part p = {j.parts[i].name, j.parts[i].count, j.parts[i].bits};
        rc = part_each(r, &p, set_put, ret, err);
        if (rc < 0) rc = error_wrap(err, "a part of live snapshots' pack lists");
    }
    nameset_sort(ret);
    joined_free(&j);
    return rc < 0 ? rc : moves_follow(g, ret, err);
}

void packlist_expect(struct repo *r) {
    unsigned n = 0;
    for (size_t i = r->state.snapshot_count; i-- > 0 && n < EXPECTED_MAX;)
        if (!r->state.snapshots[i].forgotten) {
            run_expect(r, &r->state.snapshots[i].packs);
            n++;
        }
}

int packlist_union(struct repo *r, snapshot_filter wanted, list_broken broken, void *ctx, struct nameset *ret,
                   struct error *err) {
    struct joining g = {r, wanted, NULL, ctx};
    *ret = (struct nameset){0};
    int rc = union_once(&g, ret, err);
    if (broken && is_damage(rc)) {
        /* which lists it harms takes a look at each */
        nameset_free(ret);
        error_clear(err);
        g.broken = broken;
        rc = union_once(&g, ret, err);
    }
    if (rc < 0) nameset_free(ret);
    return rc;
}

int packlist_live_parts(struct repo *r, struct digests *ret, struct error *err) {
    struct joined j = {0};
    int rc = 0;
    for (size_t i = 0; i < r->state.snapshot_count && rc == 0; i++)
        if (!r->state.snapshots[i].forgotten) rc = list_join(r, &r->state.snapshots[i].packs, &j, NULL, err);
    for (size_t i = 0; i < j.n && rc == 0; i++) rc = digests_add(ret, &j.parts[i].name, err);
    joined_free(&j);
    return rc;
}
