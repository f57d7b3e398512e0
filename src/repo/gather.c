#include "repo/gather.h"

#include "base/seam.h"
#include <stdlib.h>

#define HEAD_BYTES 8 /* lengths of name and body */
#define RECORD_MAX (64u << 20)
#define READ_MIN (16u << 10)

struct run { /* of the file, and what of it is in memory */
    uint64_t at, end;
    struct buf b;
    size_t from;
    struct bytes name, body; /* of the record in front */
};
struct gather {
    const char *dir;
    size_t bytes_max;
    struct buf arena;
    size_t *records; /* where each begins in the arena */
    size_t count, cap;
    int fd;
    uint64_t written;
    struct run *runs;
    size_t run_count, run_cap;
};

int gather_new(const char *dir, size_t bytes_max, struct gather **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct gather), &mem, err);
    if (rc < 0) return rc;
    struct gather *g = mem;
    g->dir = dir ? dir : "/tmp";
    g->bytes_max = bytes_max;
    g->arena = BUF_INIT(bytes_max + RECORD_MAX);
    g->fd = -1;
    *ret = g;
    return 0;
}

static struct bytes name_at(const uint8_t *record) {
    return BYTES_OF(record + HEAD_BYTES, get_u32(record));
}

static size_t length_at(const uint8_t *record) {
    return HEAD_BYTES + (size_t)get_u32(record) + get_u32(record + 4);
}

static int record_order(const void *a, const void *b, void *arena) {
    return name_compare(name_at((const uint8_t *)arena + *(const size_t *)a),
                        name_at((const uint8_t *)arena + *(const size_t *)b));
}

static int twice(struct bytes name, struct error *err) {
    return error_set(err, ERR_INTERNAL, "two items have the name %.*s", (int)(name.len < 512 ? name.len : 512),
                     (const char *)name.ptr);
}

static int sort(struct gather *g, struct error *err) {
    if (!g->count) return 0;
    qsort_r(g->records, g->count, sizeof *g->records, record_order, g->arena.ptr);
    for (size_t i = 1; i < g->count; i++)
        if (record_order(&g->records[i - 1], &g->records[i], g->arena.ptr) == 0)
            return twice(name_at(g->arena.ptr + g->records[i]), err);
    return 0;
}

static int out(struct gather *g, struct buf *b, struct error *err) {
    int rc = io_pwrite_full(g->fd, b->ptr, b->len, g->written, "the temporary file of a backup's list", err);
    g->written += b->len;
    buf_clear(b);
    return rc;
}

/* What is in memory becomes a run of the file. */
static int spill(struct gather *g, struct error *err) {
    int rc = sort(g, err);
    if (rc == 0 && g->fd < 0) rc = io_nameless(g->dir, &g->fd, err);
    if (rc == 0) rc = mem_grow((void **)&g->runs, &g->run_cap, g->run_count + 1, sizeof *g->runs, err);
    if (rc < 0) return rc;
    struct run *r = &g->runs[g->run_count++];
    *r = (struct run){.at = g->written, .b = BUF_INIT(RECORD_MAX + READ_MIN)};
    struct buf b = BUF_INIT(RECORD_MAX + (1u << 20));
    for (size_t i = 0; i < g->count && rc == 0; i++) {
        const uint8_t *p = g->arena.ptr + g->records[i];
        rc = buf_append(&b, p, length_at(p), err);
        if (rc == 0 && b.len >= 1u << 20) rc = out(g, &b, err);
    }
    if (rc == 0) rc = out(g, &b, err);
    buf_free(&b);
    r->end = g->written;
    buf_clear(&g->arena);
    g->count = 0;
    return rc;
}

int gather_add(struct gather *g, struct bytes name, struct bytes body, struct error *err) {
    const size_t need = HEAD_BYTES + name.len + body.len;
    if (need > RECORD_MAX) return error_set(err, ERR_NO_MEMORY, "the record of an item has %zu bytes", need);
    int rc = 0;
    if (g->count && g->arena.len + need + (g->count + 1) * sizeof *g->records > g->bytes_max) rc = spill(g, err);
    if (rc == 0) rc = mem_grow((void **)&g->records, &g->cap, g->count + 1, sizeof *g->records, err);
    if (rc == 0) rc = buf_reserve(&g->arena, need, err);
    if (rc < 0) return rc;
    g->records[g->count++] = g->arena.len;
    rc = buf_append_u32(&g->arena, (uint32_t)name.len, err);
    if (rc == 0) rc = buf_append_u32(&g->arena, (uint32_t)body.len, err);
    if (rc == 0) rc = buf_append(&g->arena, name.ptr, name.len, err);
    return rc == 0 ? buf_append(&g->arena, body.ptr, body.len, err) : rc;
}

/* ---- merging ---- */

static int fill(struct gather *g, struct run *r, size_t want, struct error *err) {
    const size_t have = r->b.len - r->from;
    if (r->from) memmove(r->b.ptr, r->b.ptr + r->from, have);
    r->b.len = have;
    r->from = 0;
    const size_t n = r->end - r->at < want - have ? (size_t)(r->end - r->at) : want - have;
    size_t got = 0;
    int rc = buf_reserve(&r->b, n, err);
    if (rc == 0)
        rc = io_pread_full(g->fd, r->b.ptr + have, n, r->at, &got, "the temporary file of a backup's list", err);
    if (rc == 0 && got != n)
        rc = error_set(err, ERR_IO_READ, "the temporary file of a backup's list has become shorter");
    r->b.len += got;
    r->at += got;
    return rc;
}

/* Brings the next record to the front; *ret says whether there is one. */
static int advance(struct gather *g, struct run *r, size_t read_bytes, bool *ret, struct error *err) {
    r->from += r->name.ptr ? HEAD_BYTES + r->name.len + r->body.len : 0;
    *ret = r->from < r->b.len || r->at < r->end;
    if (!*ret) return 0;
    int rc = 0;
    if (r->b.len - r->from < HEAD_BYTES) rc = fill(g, r, read_bytes, err);
    const size_t need = rc == 0 ? length_at(r->b.ptr + r->from) : 0;
    if (rc == 0 && r->b.len - r->from < need) rc = fill(g, r, need > read_bytes ? need : read_bytes, err);
    if (rc < 0) return rc;
    const uint8_t *p = r->b.ptr + r->from;
    r->name = name_at(p);
    r->body = BYTES_OF(p + HEAD_BYTES + r->name.len, get_u32(p + 4));
    return 0;
}

static void sift(struct run **heap, size_t n, size_t i) {
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && name_compare(heap[k + 1]->name, heap[k]->name) < 0) k++;
        if (name_compare(heap[i]->name, heap[k]->name) <= 0) return;
        struct run *r = heap[i];
        heap[i] = heap[k];
        heap[k] = r;
    }
}

static int merge(struct gather *g, struct run **heap, gather_cb cb, void *ctx, struct error *err) {
    const size_t share = g->bytes_max / g->run_count, read_bytes = share > READ_MIN ? share : READ_MIN;
    struct buf last = BUF_INIT(RECORD_MAX);
    size_t n = 0;
    bool more = false, any = false;
    int rc = 0;
    for (size_t i = 0; i < g->run_count && rc == 0; i++) {
        rc = advance(g, &g->runs[i], read_bytes, &more, err);
        if (rc == 0 && more) heap[n++] = &g->runs[i];
    }
    for (size_t i = n / 2; i-- > 0 && rc == 0;) sift(heap, n, i);
    while (n && rc == 0) {
        struct run *r = heap[0];
        if (any && bytes_equal(buf_bytes(&last), r->name)) {
            rc = twice(r->name, err);
            break;
        }
        any = true;
        buf_clear(&last);
        rc = buf_append(&last, r->name.ptr, r->name.len, err);
        if (rc == 0) rc = cb(ctx, r->name, r->body, err);
        if (rc == 0) rc = advance(g, r, read_bytes, &more, err);
        if (rc < 0) break; /* its name may have lain where its records were read to anew */
        if (!more) heap[0] = heap[--n];
        sift(heap, n, 0);
    }
    buf_free(&last);
    return rc;
}

int gather_each(struct gather *g, gather_cb cb, void *ctx, struct error *err) {
    int rc = g->run_count ? spill(g, err) : sort(g, err);
    for (size_t i = 0; i < g->count && rc == 0; i++) { /* all were held in memory */
        const uint8_t *p = g->arena.ptr + g->records[i];
        const struct bytes name = name_at(p);
        rc = cb(ctx, name, BYTES_OF(name.ptr + name.len, get_u32(p + 4)), err);
    }
    if (rc < 0 || !g->run_count) return rc;
    buf_free(&g->arena);
    void *heap;
    rc = mem_alloc(g->run_count * sizeof(struct run *), &heap, err);
    if (rc < 0) return rc;
    rc = merge(g, heap, cb, ctx, err);
    seam_free(heap);
    return rc;
}

void gather_free(struct gather *g) {
    if (!g) return;
    for (size_t i = 0; i < g->run_count; i++) buf_free(&g->runs[i].b);
    seam_free(g->runs);
    seam_free(g->records);
    buf_free(&g->arena);
    io_close(&g->fd);
    seam_free(g);
}
