/* The reader of pg_dump archives: whatever the bytes, a whole archive or an error, and a table of contents that was
 * read is read the same from what an item keeps of it. */
#include "surface/postgres/archive.h"
#include "surface/postgres/rows.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

struct feed {
    struct bytes left;
    size_t at_once;
};

static int feed_read(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct feed *f = ctx;
    (void)err;
    if (n > f->left.len) n = f->left.len;
    if (n > f->at_once) n = f->at_once;
    *ret_n = n;
    if (n == 0) return 0;
    memcpy(p, f->left.ptr, n);
    f->left.ptr += n;
    f->left.len -= n;
    return 0;
}

static void check_contents(const struct pg_toc *t) {
    struct error err = ERROR_INIT;
    struct pg_toc *again = NULL;
    struct buf directory = BUF_INIT(64u << 20);
    need(pg_toc_parse(buf_bytes(&t->raw), &again, &err) == 0);
    need(bytes_equal(buf_bytes(&again->raw), buf_bytes(&t->raw)) && again->entry_count == t->entry_count);
    need(pg_toc_directory(t, &directory, &err) == 0);
    for (size_t i = 0; i < t->entry_count; i++) need(pg_toc_find(t, t->entries[i].dump_id) == &t->entries[i]);
    buf_free(&directory);
    pg_toc_free(again);
}

static int read_content(struct pg_archive *a, struct pg_rows *rows, struct error *err) {
    uint8_t p[97];
    for (;;) {
        size_t n;
        int rc = pg_archive_read(a, p, sizeof p, &n, err);
        if (rc < 0 || n == 0) return rc;
        need(n <= sizeof p);
        if (rows && (rc = pg_rows_text(rows, BYTES_OF(p, n), err)) < 0) return rc;
    }
}

static int read_block(struct pg_archive *a, const struct pg_toc *t, const struct pg_entry *e, struct error *err) {
    struct pg_rows rows;
    uint32_t oid = 1;
    int rc = 0;
    pg_rows_init(&rows);
    if (!pg_entry_is_large_objects(t, e)) {
        rc = read_content(a, &rows, err);
        return rc == 0 ? pg_rows_finish(&rows, err) : rc;
    }
    while (rc == 0 && (rc = pg_archive_object(a, &oid, err)) == 0 && oid) rc = read_content(a, NULL, err);
    return rc;
}

static int read_known(struct pg_archive *a, struct error *err) {
    const struct pg_toc *t = NULL;
    const struct pg_entry *e = NULL;
    int rc = pg_archive_toc(a, &t, err);
    if (rc < 0) return rc;
    check_contents(t);
    while ((rc = pg_archive_next(a, &e, err)) == 0 && e)
        if ((rc = read_block(a, t, e, err)) < 0) break;
    return rc;
}

static int read_unknown(struct pg_archive *a, size_t size, struct error *err) {
    uint8_t p[97];
    size_t n = 1, all = 0;
    int rc = 0;
    while (rc == 0 && n > 0) {
        rc = pg_archive_raw(a, p, sizeof p, &n, err);
        if (rc == 0) all += n;
    }
    need(rc == 0 && all == size);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (size_t at_once = 1; at_once <= 1 << 20; at_once <<= 10) {
        struct error err = ERROR_INIT;
        struct feed f = {BYTES_OF(data, size), at_once};
        struct pg_archive *a = NULL;
        int rc = pg_archive_open(feed_read, &f, &a, &err);
        if (rc == 0) rc = pg_archive_known(a) ? read_known(a, &err) : read_unknown(a, size, &err);
        need(rc == -(int)err.code && (rc == 0 || err.text[0]));
        pg_archive_free(a);
    }
    return 0;
}
