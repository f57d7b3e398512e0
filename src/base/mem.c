#include "base/seam.h"
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

void mem_init(void) {
#ifdef __GLIBC__
    /* Left alone, the allocator learns from the first large block that is freed to keep those that follow in its heaps,
     * where the ones between them hold them fast: a million files then cost a hundred MiB more. The buffers of every
     * day are smaller than this, and stay cheap. */
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
    /* A heap keeps what was once taken from it: with one for each thread, frames that one decodes and another lets go
     * had a restore from a bucket hold 60 MiB more. It takes no more CPU time with two, with four or with one. */
    (void)mallopt(M_ARENA_MAX, 2);
#endif
}

void mem_keep(void) {
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

void *mem_large(size_t n) {
    const size_t page = 2u << 20;
    if (n < 2 * page) return seam_alloc_aligned(4096, n);
    void *p = seam_alloc_aligned(page, n);
    if (p) (void)madvise(p, n / page * page, MADV_HUGEPAGE);
    return p;
}

int mem_alloc(size_t n, void **ret, struct error *err) {
    /* At least a byte: NULL would look like a failure to some and like nothing to others. */
    void *p = seam_alloc(n ? n : 1);
    if (!p) return error_set_errno(err, ERR_NO_MEMORY, "%zu bytes of memory", n);
    memset(p, 0, n ? n : 1);
    *ret = p;
    return 0;
}

int mem_dup(const void *p, size_t n, void **ret, struct error *err) {
    void *q = seam_alloc(n ? n : 1);
    if (!q) return error_set_errno(err, ERR_NO_MEMORY, "%zu bytes of memory", n);
    if (n > 0) memcpy(q, p, n);
    *ret = q;
    return 0;
}

int mem_strdup(const char *s, char **ret, struct error *err) {
    void *p = NULL;
    int rc = mem_dup(s, strlen(s) + 1, &p, err);
    if (rc == 0) *ret = p;
    return rc;
}

int mem_grow(void **p, size_t *cap, size_t want, size_t elem_bytes, struct error *err) {
    if (want <= *cap) return 0;
    size_t n = *cap > SIZE_MAX / 2 ? want : *cap * 2, bytes;
    if (n < want) n = want;
    if (n < 8) n = 8;
    if (__builtin_mul_overflow(n, elem_bytes, &bytes))
        return error_set(err, ERR_NO_MEMORY, "%zu elements of %zu bytes are too many", want, elem_bytes);
    void *q = seam_realloc(*p, bytes);
    if (!q) return error_set_errno(err, ERR_NO_MEMORY, "%zu bytes of memory", bytes);
    *p = q;
    *cap = n;
    return 0;
}
