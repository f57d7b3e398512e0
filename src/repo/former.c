/* Finding the former self of a chunk: by place in pages, by anchor (the bytes at its cut points) in streams that shift.
 */
#include "repo/writer_internal.h"

#define FORMER_CHUNKS_MAX (1u << 20) /* bounds memory at about 80 MiB; what lies beyond is stored without a base */
#define NONE UINT32_MAX
#define GUESSES_MAX 8u       /* pieces in a row whose base is told by place alone */
#define STRAY_MAX (1u << 20) /* a chunk's two ends are not found further apart than this from where they should be */
#define PIECE_MIN (16u << 10)

void former_free(struct former *f) {
    if (!f) return;
    seam_free(f->ids);
    seam_free(f->ends);
    seam_free(f->lens);
    seam_free(f->anchors);
    seam_free(f->by_start);
    seam_free(f->by_end);
    seam_free(f);
}

static void table_put(const struct former *f, uint32_t *table, uint64_t anchor, uint32_t number) {
    for (uint32_t i = (uint32_t)(anchor ^ anchor >> 32) & (f->slots - 1);; i = (i + 1) & (f->slots - 1))
        if (!table[i]) {
            table[i] = number;
            return;
        }
}

/* The chunk's first byte. */
static uint64_t from_of(const struct former *f, uint32_t i) {
    return f->ends[i] - f->lens[i];
}

/* The anchor before a chunk: of the chunk that it touches, none at the item's start and after a hole. */
static uint64_t start_of(const struct former *f, uint32_t i) {
    return i && f->ends[i - 1] == from_of(f, i) ? f->anchors[i - 1] : 0;
}

/* The first chunk that ends behind a place; count if none does. */
static uint32_t chunk_at(const struct former *f, uint64_t at) {
    uint32_t lo = 0, hi = f->count;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (f->ends[mid] <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static uint64_t apart(uint64_t a, uint64_t b) {
    return a > b ? a - b : b - a;
}

/* The chunk with that anchor at its start (its end), and of several the one whose start (end) is nearest to a place. */
static uint32_t chunk_with(const struct former *f, bool end, uint64_t anchor, uint64_t place) {
    const uint32_t *table = end ? f->by_end : f->by_start;
    uint32_t best = NONE;
    uint64_t best_apart = UINT64_MAX;
    unsigned tries = 0;
    for (uint32_t i = (uint32_t)(anchor ^ anchor >> 32) & (f->slots - 1); table[i] && tries < 64;
         i = (i + 1) & (f->slots - 1), tries++) {
        const uint32_t n = table[i] - 1;
        if ((end ? f->anchors[n] : start_of(f, n)) != anchor) continue;
        const uint64_t off = apart(end ? f->ends[n] : from_of(f, n), place);
        if (off < best_apart) {
            best_apart = off;
            best = n;
        }
    }
    return best;
}

size_t former_piece(struct former *f, uint64_t at, size_t len, uint64_t start_anchor, uint64_t end_anchor,
                    const struct digest **ret_base) {
    if (!f->count) return len;
    if (f->kind == CONTENT_PAGES) {
        const uint32_t i = chunk_at(f, at);
        if (i < f->count) *ret_base = &f->ids[i];
        return len;
    }
    /* Anchors are exact, and say how far the content has moved. Between them, and for a while behind the last, what
     * lies here is taken to be what lay there. */
    const bool told = f->guesses < GUESSES_MAX;
    uint64_t place = at + f->moved; /* modulo 2^64, as the content may have moved towards the start */
    uint32_t here = told ? chunk_at(f, place) : NONE;
    if (here >= f->count || from_of(f, here) != place || start_of(f, here) != start_anchor)
        here = chunk_with(f, false, start_anchor, place);
    const bool start_known = here != NONE;
    if (start_known) place = from_of(f, here);
    uint32_t there = end_anchor ? chunk_with(f, true, end_anchor, place + len) : NONE;
    if (there != NONE && (start_known || told) && apart(f->ends[there], place + len) > STRAY_MAX) {
        /* One of two has strayed, most likely the one that is not known exactly; if both are, the end's namesake. */
        if (!start_known) {
            *ret_base = &f->ids[there];
            f->moved = f->ends[there] - (at + len);
            f->guesses = 0;
            return len;
        }
        there = NONE;
    }
    if (!start_known && there == NONE && ++f->guesses > GUESSES_MAX) {
        f->guesses = GUESSES_MAX;
        return len;
    }
    if (start_known || there != NONE) f->guesses = 0;
    if (!start_known && !told) place = f->ends[there] - len;
    if (!start_known) here = chunk_at(f, place);
    if (here >= f->count || (there != NONE && here > there)) here = there;
    if (here == NONE || here >= f->count) return len;
    /* A chunk that has grown beyond its former self covers others too, as the cut between them was edited away. Cut
     * where it was: each part then has its own base, and a later run that cuts likewise finds the parts again. */
    size_t piece = len;
    if (end_anchor && here != there) {
        uint64_t part = f->ends[here] > place ? f->ends[here] - place : 0;
        if (part < PIECE_MIN && here + 1 < f->count) part = f->ends[++here] - place;
        if (part >= PIECE_MIN && part + PIECE_MIN <= len) piece = (size_t)part;
    }
    *ret_base = &f->ids[here];
    f->moved = piece == len && there != NONE ? f->ends[there] - (at + len) : place - at;
    return piece;
}

static int add(struct former *f, size_t cap[4], const struct ref *ref, uint64_t end, struct error *err) {
    int rc = mem_grow((void **)&f->ids, &cap[0], f->count + 1u, sizeof *f->ids, err);
    if (rc == 0) rc = mem_grow((void **)&f->ends, &cap[1], f->count + 1u, sizeof *f->ends, err);
    if (rc == 0) rc = mem_grow((void **)&f->anchors, &cap[2], f->count + 1u, sizeof *f->anchors, err);
    if (rc == 0) rc = mem_grow((void **)&f->lens, &cap[3], f->count + 1u, sizeof *f->lens, err);
    if (rc < 0) return rc;
    f->ids[f->count] = ref->id;
    f->lens[f->count] = (uint32_t)ref->len;
    f->ends[f->count] = end;
    f->anchors[f->count++] = ref->anchor;
    return 0;
}

int former_make(struct writer *w, const struct memo_item *m, struct former **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct former) + m->name.len, &mem, err);
    if (rc < 0) return rc;
    struct former *f = mem;
    uint8_t *name = (uint8_t *)(f + 1);
    memcpy(name, m->name.ptr, m->name.len);
    f->name = BYTES_OF(name, m->name.len);
    f->kind = content_is_pages(m->kind) ? CONTENT_PAGES : m->kind;
    size_t cap[4] = {0};
    uint64_t end = 0;
    struct cursor c = cursor_of(m->refs);
    struct ref ref;
    while (rc == 0 && f->count < FORMER_CHUNKS_MAX && ref_take(&c, &ref)) {
        struct bytes body;
        if (ref.type == REF_LIST && (memo_list(w->part, &ref.id, &body) || memo_list(w->prev, &ref.id, &body))) {
            struct cursor in = cursor_of(body);
            struct ref r2;
            uint64_t e = end;
            while (rc == 0 && f->count < FORMER_CHUNKS_MAX && ref_take(&in, &r2)) {
                e += r2.len;
                if (r2.type == REF_CHUNK) rc = add(f, cap, &r2, e, err);
            }
        }
        end += ref.len;
        if (ref.type == REF_CHUNK) rc = add(f, cap, &ref, end, err);
    }
    f->slots = 16;
    while (f->slots < 2 * f->count) f->slots *= 2;
    if (rc == 0) rc = mem_alloc(f->slots * sizeof(uint32_t), &mem, err);
    if (rc == 0) f->by_start = mem;
    if (rc == 0) rc = mem_alloc(f->slots * sizeof(uint32_t), &mem, err);
    if (rc == 0) f->by_end = mem;
    for (uint32_t i = 0; i < f->count && rc == 0; i++) {
        table_put(f, f->by_start, start_of(f, i), i + 1);
        table_put(f, f->by_end, f->anchors[i], i + 1);
    }
    if (rc < 0)
        former_free(f);
    else
        *ret = f;
    return rc;
}

bool former_whole(const struct former *f) {
    return f->count < FORMER_CHUNKS_MAX;
}

int former_read(const struct former *f, struct fetcher *from, uint64_t at, uint8_t *out, size_t n, struct error *err) {
    while (n) {
        const uint32_t i = chunk_at(f, at);
        const uint64_t begin = i < f->count ? from_of(f, i) : UINT64_MAX;
        const uint64_t left = at < begin ? begin - at : f->ends[i] - at;
        const size_t part = left < n ? (size_t)left : n;
        if (at < begin) {
            memset(out, 0, part);
        } else {
            struct fetched c;
            int rc = fetch_chunk(from, f->ids[i].b, &f->ids[i], CHUNK_DATA, &c, err);
            if (rc < 0) return rc;
            if (c.data.len == f->lens[i])
                memcpy(out, c.data.ptr + (at - begin), part);
            else
                rc = error_set(err, ERR_OBJECT_CORRUPT, "a chunk has another length than what refers to it says");
            fetch_release(from, &c);
            if (rc < 0) return rc;
        }
        at += part;
        out += part;
        n -= part;
    }
    return 0;
}
