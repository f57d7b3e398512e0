#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"
#include <errno.h>
#include <sys/mman.h>

#define ID_MAX                                                                                                         \
    (INT64_C(1) << 41) /* what a file can have room for; ids are given anew, so they stay close to the count */

int places_open(struct places *p, const char *scratch_dir, struct error *err) {
    void *room;
    *p = (struct places){.fd = -1};
    if (!scratch_dir) return error_set(err, ERR_INTERNAL, "neo4j: no scratch folder was given");
    int r = mem_alloc(PLACES_BUFFERED * sizeof(uint64_t), &room, err);
    if (r < 0) return r;
    p->buffered = room;
    r = io_nameless(scratch_dir, &p->fd, err);
    if (r < 0) places_close(p);
    return r;
}

void places_close(struct places *p) {
    if (p->map) (void)seam_munmap((void *)p->map, p->map_bytes);
    if (p->fd >= 0) io_close(&p->fd);
    seam_free(p->buffered);
    *p = (struct places){.fd = -1};
}

static int flush(struct places *p, struct error *err) {
    int r = p->n ? io_pwrite_full(p->fd, p->buffered, p->n * 8, p->first * 8, "the scratch folder", err) : 0;
    p->n = 0;
    return r;
}

int places_put(struct places *p, int64_t id, uint64_t value, struct error *err) {
    if (id < 0 || id >= ID_MAX)
        return error_set(err, ERR_NEO4J_VALUE, "the id %lld is none of a stored node or relationship", (long long)id);
    uint64_t at = (uint64_t)id;
    if (at < p->first || at >= p->first + PLACES_BUFFERED || p->n == 0) {
        int r = flush(p, err);
        if (r < 0) return r;
        p->first = at;
    }
    size_t k = (size_t)(at - p->first);
    /* A gap is filled with what is nothing, unless something was written there before. */
    if (k > p->n && p->first + p->n < p->end) {
        int r = flush(p, err);
        if (r < 0) return r;
        p->first = at;
        k = 0;
    }
    while (p->n < k) p->buffered[p->n++] = 0;
    p->buffered[k] = value;
    if (p->n == k) p->n++;
    if (at >= p->end) p->end = at + 1;
    return 0;
}

int places_get(struct places *p, int64_t id, uint64_t *ret, struct error *err) {
    size_t got = 0;
    *ret = 0;
    if (id < 0 || (uint64_t)id >= p->end) return 0;
    uint64_t at = (uint64_t)id;
    if (p->map) {
        memcpy(ret, p->map + at * 8, 8);
        return 0;
    }
    if (at >= p->first && at < p->first + p->n) {
        *ret = p->buffered[at - p->first];
        return 0;
    }
    int r = io_pread_full(p->fd, ret, 8, at * 8, &got, "the scratch folder", err);
    if (r == 0 && got != 8) *ret = 0;
    return r;
}

int places_seal(struct places *p, struct error *err) {
    int r = flush(p, err);
    if (r < 0 || p->end == 0) return r;
    void *map = seam_mmap((size_t)p->end * 8, PROT_READ, MAP_SHARED, p->fd, 0);
    if (map == MAP_FAILED) return error_set_errno(err, ERR_IO_READ, "map the file in the scratch folder");
    p->map = map;
    p->map_bytes = (size_t)p->end * 8;
    return 0;
}
