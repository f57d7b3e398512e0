/* WAL given back: out of the repository first, and what it lacks or cannot give out of wherever else it is kept. That a
 * file is absent is said when the repository and its fallback, which may have taken what came while it was out of
 * reach, both say so; the others have nothing but what the repository had. */
#include "work/any_copy.h"
#include "work/beside.h"
#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct work_wal *of_source(struct wal_source *s) {
    return (struct work_wal *)((char *)s - offsetof(struct work_wal, source));
}

static int absent(const struct wal_name *n, struct error *err) {
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    error_clear(err);
    return error_set(err, ERR_WAL_ABSENT, "%s is not in the repository", name);
}

/* ---- where it goes: into memory, or into a file, of which no more than a part is in memory ---- */

#define COMPARED_BYTES (64u << 10)

struct out {
    struct buf *buf; /* or: */
    int fd;
    const char *path;
    size_t start;     /* in buf */
    uint64_t len;     /* so far */
    uint8_t head[64]; /* its first bytes */
};

static int out_append(struct out *o, struct bytes b, struct error *err) {
    int rc = o->buf ? buf_append(o->buf, b.ptr, b.len, err) : io_pwrite_full(o->fd, b.ptr, b.len, o->len, o->path, err);
    if (rc < 0) return rc;
    if (o->len < sizeof o->head) {
        size_t n = sizeof o->head - (size_t)o->len;
        memcpy(o->head + o->len, b.ptr, n < b.len ? n : b.len);
    }
    o->len += b.len;
    return 0;
}

static int out_same(const struct out *o, uint64_t at, struct bytes b, bool *ret, struct error *err) {
    uint8_t room[COMPARED_BYTES];
    *ret = true;
    if (o->buf) {
        *ret = memcmp(o->buf->ptr + o->start + at, b.ptr, b.len) == 0;
        return 0;
    }
    while (b.len && *ret) {
        size_t n = b.len < sizeof room ? b.len : sizeof room;
        ssize_t got = seam_pread(o->fd, room, n, (off_t)at);
        if (got <= 0) return error_set_errno(err, ERR_IO_READ, "cannot read %s again", o->path);
        *ret = memcmp(room, b.ptr, (size_t)got) == 0;
        b.ptr += got;
        b.len -= (size_t)got;
        at += (uint64_t)got;
    }
    return 0;
}

static int out_zeros(struct out *o, uint64_t to, struct error *err) {
    if (!o->buf)
        return seam_ftruncate(o->fd, (off_t)to) < 0 ? error_set_errno(err, ERR_IO_WRITE, "cannot extend %s", o->path)
                                                    : 0;
    size_t n = (size_t)(to - o->len);
    int rc = buf_reserve(o->buf, n, err);
    if (rc < 0) return rc;
    memset(o->buf->ptr + o->buf->len, 0, n);
    o->buf->len += n;
    return 0;
}

static void out_clear(struct out *o) {
    if (o->buf) o->buf->len = o->start;
    o->len = 0;
}

static int get_whole(struct work_wal *h, uint64_t system, const struct wal_name *n, struct out *o, struct error *err) {
    CLEANUP(buf_free) struct buf own = BUF_INIT(WAL_SEGMENT_MAX);
    struct buf *b = o->buf ? o->buf : &own;
    char key[WAL_OBJECT_KEY_BYTES];
    size_t start = b->len;
    uint32_t segment;
    wal_object_name(system, n, key);
    int rc = wal_object_get(h->w->repo, key, b, err);
    struct bytes got = BYTES_OF(b->ptr + start, b->len - start);
    if (rc == 0) rc = wal_check_whole(n, got, system, &segment, err);
    if (rc == 0 && !o->buf) rc = out_append(o, got, err);
    if (rc < 0) out_clear(o);
    return rc;
}

/* ---- a segment that never became whole ---- */

struct piece {
    struct work_wal *at;
    struct wal_place place;
};
struct pieces {
    struct piece *items;
    size_t n, cap;
};

static int by_place(const void *a, const void *b) {
    return wal_place_compare(&((const struct piece *)a)->place, &((const struct piece *)b)->place);
}

static int pieces_add(struct pieces *all, struct work_wal *at, uint64_t system, const struct wal_name *n,
                      struct error *err) {
    struct wal_place *p = NULL;
    size_t count = 0;
    int rc = wal_pieces(at->w->repo, system, n, &p, &count, err);
    if (rc == 0) rc = mem_grow((void **)&all->items, &all->cap, all->n + count, sizeof *all->items, err);
    for (size_t i = 0; i < count && rc == 0; i++) all->items[all->n++] = (struct piece){at, p[i]};
    seam_free(p);
    return rc;
}

static int piece_take(uint64_t system, const struct piece *x, struct out *o, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(WAL_SEGMENT_MAX);
    const struct wal_place *p = &x->place;
    char key[WAL_OBJECT_KEY_BYTES];
    bool same = true;
    wal_piece_name(system, &p->name, p->from, p->to, key);
    int rc = wal_object_get(x->at->w->repo, key, &b, err);
    size_t over = (size_t)(o->len - p->from);
    if (rc == 0 && b.len != p->to - p->from)
        rc = error_set(err, ERR_OBJECT_CORRUPT, "%s has not the length that its name says", key);
    if (rc == 0 && over > b.len) over = b.len;
    if (rc == 0 && over) rc = out_same(o, p->from, BYTES_OF(b.ptr, over), &same, err);
    if (rc == 0 && !same) rc = error_set(err, ERR_WAL_DIFFERS, "%s says otherwise than the piece before it", key);
    return rc == 0 && b.len > over ? out_append(o, BYTES_OF(b.ptr + over, b.len - over), err) : rc;
}

static bool in_reach(const struct wal_other *o) {
    return o->wal && o->newer;
}

/* Whether a log knows of more than these pieces show. */
static int check_all(struct work_wal *h, uint64_t system, const struct wal_name *n, uint32_t have, uint32_t most,
                     struct error *err) {
    int rc = wal_lost_check(h, system, n, have, most, err);
    for (size_t i = 0; h->others && i < h->others->count && rc == 0; i++)
        if (in_reach(&h->others->list[i])) rc = wal_lost_check(h->others->list[i].wal, system, n, have, most, err);
    return rc;
}

/* What they are by their first page, and no longer than that says. */
static int check_head(const struct wal_name *n, const struct out *o, uint64_t system, uint32_t *ret_segment,
                      struct error *err) {
    struct bytes head = BYTES_OF(o->head, o->len < sizeof o->head ? (size_t)o->len : sizeof o->head);
    struct wal_header h;
    int rc = wal_segment_check(n, head, system, err);
    if (rc == 0) rc = wal_header_read(head, &h, err);
    if (rc < 0) return rc;
    *ret_segment = h.segment_bytes;
    return o->len <= h.segment_bytes ? 0 : error_set(err, ERR_OBJECT_CORRUPT, "pieces of a segment reach over its end");
}

/* The beginning of a segment, or all of it, as a server wants it: zeros where nothing was written yet. ERR_WAL_ABSENT:
 * no piece of it; with `complete`, not all of it. */
static int from_pieces(struct work_wal *h, uint64_t system, const struct wal_name *n, bool complete, struct out *o,
                       struct error *err) {
    struct pieces all = {0};
    uint32_t most = 0, reach = 0, segment = WAL_SEGMENT_MAX;
    int rc = pieces_add(&all, h, system, n, err);
    for (size_t i = 0; h->others && i < h->others->count && rc == 0; i++)
        if (in_reach(&h->others->list[i])) rc = pieces_add(&all, h->others->list[i].wal, system, n, err);
    if (all.n) qsort(all.items, all.n, sizeof *all.items, by_place);
    for (size_t i = 0; i < all.n; i++)
        if (all.items[i].place.from <= reach && all.items[i].place.to > reach) reach = all.items[i].place.to;
    if (rc == 0 && complete && (reach < WAL_SEGMENT_MIN || (reach & (reach - 1)))) /* no need to read them */
        rc = absent(n, err);
    for (size_t i = 0; i < all.n && rc == 0; i++) {
        const struct wal_place *p = &all.items[i].place;
        if (p->from <= o->len && p->to > o->len) rc = piece_take(system, &all.items[i], o, err);
        if (p->to > most) most = p->to;
    }
    seam_free(all.items);
    if (rc == 0 && o->len) rc = check_head(n, o, system, &segment, err);
    if (rc == 0 && o->len < segment && !complete) rc = check_all(h, system, n, (uint32_t)o->len, most, err);
    if (rc == 0 && (o->len == 0 || (complete && o->len < segment))) rc = absent(n, err);
    if (rc == 0 && o->len < segment) rc = out_zeros(o, segment, err);
    if (rc < 0) out_clear(o);
    return rc;
}

/* ---- out of the repository ---- */

static int get_here(struct work_wal *h, uint64_t system, const struct wal_name *n, struct out *ret, struct error *err) {
    struct error pieces = ERROR_INIT;
    int got = -ERR_WAL_ABSENT;
    /* those of a fallback that goes before are in reach by now; what is left of a timeline is there whole or not */
    if (wal_in_pieces(n)) got = from_pieces(h, system, n, n->kind == WAL_PARTIAL, ret, &pieces);
    if (got != -ERR_WAL_ABSENT && got != -ERR_OBJECT_MISSING) {
        *err = pieces;
        return got;
    }
    /* Between the two looks it may have become whole, and its pieces gone. */
    int rc = n->kind == WAL_SEGMENT ? get_whole(h, system, n, ret, err) : -ERR_OBJECT_MISSING;
    if (rc != -ERR_OBJECT_MISSING) return rc;
    *err = pieces;
    if (got == -ERR_OBJECT_MISSING) return got;
    error_clear(err);
    rc = check_all(h, system, n, 0, 0, err);
    return rc < 0 ? rc : absent(n, err);
}

/* ---- and out of the others ---- */

static bool helps(int rc) {
    return rc == -ERR_WAL_ABSENT || repo_unreadable(rc);
}

static bool nothing_there(struct work_wal *at, uint64_t system, const struct wal_name *n, struct error *err) {
    char key[WAL_OBJECT_KEY_BYTES];
    struct wal_place *p = NULL;
    size_t count = 0;
    wal_object_name(system, n, key);
    if (store_stat(at->w->store, key, NULL, NULL, err) != -ERR_OBJECT_MISSING) return false;
    error_clear(err);
    int rc = wal_pieces(at->w->repo, system, n, &p, &count, err);
    seam_free(p);
    return rc == 0 && count == 0;
}

/* Long segments are stored in pieces alone (WAL_WHOLE_MAX). */
static int get_complete(struct work_wal *at, uint64_t system, const struct wal_name *n, struct out *ret,
                        struct error *err) {
    int rc = get_whole(at, system, n, ret, err);
    if (rc != -ERR_OBJECT_MISSING || !wal_in_pieces(n)) return rc;
    error_clear(err);
    return from_pieces(at, system, n, true, ret, err);
}

static int cannot_tell(const struct wal_other *o, const struct wal_name *n, const struct error *why,
                       struct error *err) {
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    error_clear(err);
    error_set(err, ERR_UNVERIFIABLE,
              "%s is not all in the repository, and its fallback %s, which may have it, cannot be read: %.300s", name,
              o->name, why->text);
    return error_next(err, "Bring the fallback back; or, if it surely has no newer WAL, name the repository by "
                           "--repository: then it alone is asked.");
}

/* The file whole from the first that has it so. Absent (1): from none, and of those that may have newer WAL, each can
 * be read. */
static int from_others(struct work_wal *h, uint64_t system, const struct wal_name *n, bool newer, const char *why,
                       struct out *ret, struct error *err) {
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    for (size_t i = 0; h->others && i < h->others->count; i++) {
        struct wal_other *o = &h->others->list[i];
        struct error e = ERROR_INIT, look = ERROR_INIT;
        if (o->newer != newer) continue;
        struct work_wal *at = wal_other_open(h->others, o);
        int rc = at ? (newer ? get_whole : get_complete)(at, system, n, ret, &e) : -(int)o->failed.code;
        if (rc == 0) {
            beside_warn(h->w, o->name, "%s came from it, as the repository could not give it%s%.300s", name,
                        *why ? ": " : "", why);
            return 0;
        }
        if (!newer || rc == -ERR_OBJECT_MISSING) continue;
        if (at && rc == -ERR_KEY_ROLE && nothing_there(at, system, n, &look)) continue;
        return cannot_tell(o, n, at ? &e : &o->failed, err);
    }
    return 1;
}

static int take(struct work_wal *h, uint64_t system, const struct wal_name *n, struct out *ret, struct error *err) {
    struct error first = ERROR_INIT, why = ERROR_INIT;
    int rc = get_whole(h, system, n, ret, &first);
    if (rc == 0 || (rc != -ERR_OBJECT_MISSING && !helps(rc))) {
        *err = first;
        return rc;
    }
    /* What pieces make whole is all there, as long segments always are: nobody else need be in reach. */
    if (rc == -ERR_OBJECT_MISSING && wal_in_pieces(n) && from_pieces(h, system, n, true, ret, &why) == 0) return 0;
    error_clear(&why);
    int newer = from_others(h, system, n, true, rc == -ERR_OBJECT_MISSING ? "" : first.text, ret, &why);
    if (newer == 0) return 0;
    if (rc == -ERR_OBJECT_MISSING && newer == 1) {
        error_clear(&first);
        rc = get_here(h, system, n, ret, &first);
        if (rc == 0) return 0;
    }
    int other = helps(rc) ? from_others(h, system, n, false, first.text, ret, err) : 1;
    if (other == 0) return 0;
    *err = newer < 0 ? why : first;
    return newer < 0 ? newer : rc;
}

static int source_get(struct wal_source *s, uint64_t system, const struct wal_name *n, struct buf *ret,
                      struct error *err) {
    struct out o = {.buf = ret, .fd = -1, .start = ret->len};
    return take(of_source(s), system, n, &o, err);
}

static int source_write(struct wal_source *s, uint64_t system, const struct wal_name *n, int fd, const char *path,
                        struct error *err) {
    struct out o = {.fd = fd, .path = path};
    return take(of_source(s), system, n, &o, err);
}

/* ---- how far it leads ---- */

/* In the order of the repositories where it is the same object. */
static int places_join(struct wal_place **all, size_t *n, struct wal_place *more, size_t m, struct error *err) {
    size_t cap = *n, i = 0, k = 0, at = 0;
    struct wal_place *out;
    if (m == 0) return 0;
    int rc = mem_alloc((cap + m) * sizeof *out, (void **)&out, err);
    if (rc < 0) return rc;
    while (i < *n || k < m) {
        int d = i == *n ? 1 : k == m ? -1 : wal_place_compare(&(*all)[i], &more[k]);
        out[at++] = d <= 0 ? (*all)[i] : more[k];
        i += d <= 0;
        k += d >= 0;
    }
    seam_free(*all);
    *all = out;
    *n = at;
    return 0;
}

int wal_all_places(struct work_wal *h, uint64_t system, struct wal_place **ret, size_t *ret_n, struct error *err) {
    *ret = NULL;
    int rc = wal_places(h->w->repo, system, ret, ret_n, err);
    for (size_t i = 0; h->others && i < h->others->count && rc == 0; i++) {
        struct wal_place *more = NULL;
        struct error e = ERROR_INIT;
        size_t m = 0;
        struct work_wal *at = wal_other_open(h->others, &h->others->list[i]);
        if (!at || wal_places(at->w->repo, system, &more, &m, &e) < 0) continue; /* it is said when it is needed */
        rc = places_join(ret, ret_n, more, m, err);
        seam_free(more);
    }
    if (rc < 0) {
        seam_free(*ret);
        *ret = NULL;
    }
    return rc;
}

int wal_all_ranges(struct work_wal *h, uint64_t system, struct wal_range **ret, size_t *ret_n, uint32_t *ret_segment,
                   struct error *err) {
    struct wal_place *places = NULL;
    size_t n = 0;
    int rc = wal_all_places(h, system, &places, &n, err);
    if (rc < 0) return rc;
    rc = wal_all_segment_bytes(h, system, places, n, ret_segment, err);
    if (rc == 0) rc = wal_place_ranges(places, n, *ret_segment, ret, ret_n, err);
    seam_free(places);
    return rc;
}

int wal_all_segment_bytes(struct work_wal *h, uint64_t system, const struct wal_place *p, size_t n, uint32_t *ret,
                          struct error *err) {
    int rc = wal_place_segment_bytes(h->w->repo, system, p, n, ret, err);
    for (size_t i = 0; h->others && i < h->others->count && rc == 0 && !*ret; i++) {
        struct work_wal *at = wal_other_open(h->others, &h->others->list[i]);
        if (at) rc = wal_place_segment_bytes(at->w->repo, system, p, n, ret, err);
    }
    return rc;
}

static int source_ranges(struct wal_source *s, uint64_t system, struct wal_range **ret, size_t *ret_n,
                         struct error *err) {
    uint32_t segment;
    return wal_all_ranges(of_source(s), system, ret, ret_n, &segment, err);
}

const struct wal_source_ops wal_source_ops = {source_get, source_write, source_ranges};
