#include "repo/checked.h"

#include "base/seam.h"
#include <stdlib.h>
#include <string.h>

#define MAGIC "PKCHKD01"
#define HEADER 48 /* magic, u64 rows, SHA-256 of the rows */
#define ROW (DIGEST_BYTES + 8 * CHECKED_LEVELS)
#define ROWS_MAX (UINT64_C(1) << 26)

int checked_load(const char *path, struct checked *ret, struct error *err) {
    struct buf b = BUF_INIT(HEADER + ROWS_MAX * ROW);
    struct error e = ERROR_INIT;
    struct digest d;
    *ret = (struct checked){0};
    int rc = io_read_file(AT_FDCWD, path, b.max_bytes, &b, &e);
    uint64_t n = 0;
    if (rc == 0 && b.len >= HEADER && memcmp(b.ptr, MAGIC, 8) == 0) n = get_u64(b.ptr + 8);
    if (n > ROWS_MAX || b.len != HEADER + n * ROW) n = 0;
    if (n) sha256(BYTES_OF(b.ptr + HEADER, n * ROW), &d);
    if (n && memcmp(d.b, b.ptr + 16, DIGEST_BYTES) != 0) n = 0;
    rc = n ? mem_grow((void **)&ret->rows, &ret->cap, n, sizeof *ret->rows, err) : 0;
    for (uint64_t i = 0; i < n && rc == 0; i++) {
        const uint8_t *p = b.ptr + HEADER + i * ROW;
        struct checked_row *r = &ret->rows[ret->n++];
        memcpy(r->name.b, p, DIGEST_BYTES);
        for (int l = 0; l < CHECKED_LEVELS; l++) r->at_ns[l] = (int64_t)get_u64(p + DIGEST_BYTES + 8 * l);
    }
    buf_free(&b);
    return rc;
}

int checked_store(const char *path, const struct checked *c, struct error *err) {
    struct buf b = BUF_INIT(HEADER + ROWS_MAX * ROW);
    struct digest d;
    int rc = buf_reserve(&b, HEADER + c->n * ROW, err);
    if (rc < 0) return rc;
    b.len = HEADER + c->n * ROW;
    memset(b.ptr, 0, HEADER);
    memcpy(b.ptr, MAGIC, 8);
    put_u64(b.ptr + 8, c->n);
    for (size_t i = 0; i < c->n; i++) {
        uint8_t *p = b.ptr + HEADER + i * ROW;
        memcpy(p, c->rows[i].name.b, DIGEST_BYTES);
        for (int l = 0; l < CHECKED_LEVELS; l++) put_u64(p + DIGEST_BYTES + 8 * l, (uint64_t)c->rows[i].at_ns[l]);
    }
    sha256(BYTES_OF(b.ptr + HEADER, c->n * ROW), &d);
    memcpy(b.ptr + 16, d.b, DIGEST_BYTES);
    rc = io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, err);
    buf_free(&b);
    return rc;
}

static int order(const void *a, const void *b) {
    return memcmp(a, b, DIGEST_BYTES);
}

struct checked_row *checked_find(const struct checked *c, const struct digest *name) {
    return c->n ? bsearch(name, c->rows, c->n, sizeof *c->rows, order) : NULL;
}

int checked_add(struct checked *c, const struct checked_row *row, struct error *err) {
    int rc = mem_grow((void **)&c->rows, &c->cap, c->n + 1, sizeof *c->rows, err);
    if (rc == 0) c->rows[c->n++] = *row;
    return rc;
}

void checked_sort(struct checked *c) {
    if (c->n < 2) return;
    qsort(c->rows, c->n, sizeof *c->rows, order);
    size_t w = 1;
    for (size_t i = 1; i < c->n; i++) {
        if (!digest_equal(&c->rows[i].name, &c->rows[w - 1].name)) {
            c->rows[w++] = c->rows[i];
            continue;
        }
        for (int l = 0; l < CHECKED_LEVELS; l++)
            if (c->rows[i].at_ns[l] > c->rows[w - 1].at_ns[l]) c->rows[w - 1].at_ns[l] = c->rows[i].at_ns[l];
    }
    c->n = w;
}

void checked_free(struct checked *c) {
    seam_free(c->rows);
    *c = (struct checked){0};
}
