#include "surface/postgres/archive_internal.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

/* The reader copies what it takes into pg_toc.raw and remembers places, so that strings cost no allocation each and the
 * table can be written out again byte for byte. */

static const char *const here = "its table of contents";

static int take(struct pg_archive *a, size_t n, struct error *err) { /* n is small: fits the read buffer */
    int r = pg_archive_need(a, n, here, err);
    if (r < 0) return r;
    r = buf_append(&a->toc->raw, a->buf + a->at, n, err);
    a->at += n;
    return r;
}

static int take_byte(struct pg_archive *a, uint8_t *ret, struct error *err) {
    int r = take(a, 1, err);
    if (r < 0) return r;
    *ret = a->toc->raw.ptr[a->toc->raw.len - 1];
    return 0;
}

static int take_int(struct pg_archive *a, int32_t *ret, struct error *err) {
    size_t n = 1u + a->toc->int_bytes;
    int r = take(a, n, err);
    if (r < 0) return r;
    return pg_int_decode(a->toc->raw.ptr + a->toc->raw.len - n, a->toc->int_bytes, ret, err);
}

static int take_text(struct pg_archive *a, struct pg_text *ret, struct error *err) {
    int32_t len;
    int r = take_int(a, &len, err);
    if (r < 0) return r;
    struct buf *raw = &a->toc->raw;
    if (len < -1) return error_set(err, ERR_PG_ARCHIVE, "%s has a string of length %d", here, len);
    *ret = (struct pg_text){(uint32_t)raw->len, len};
    if (len > 0 && (uint64_t)len > PG_TOC_BYTES_MAX - raw->len)
        return error_set(err, ERR_PG_ARCHIVE, "%s is larger than the limit of %llu MiB", here,
                         (unsigned long long)(PG_TOC_BYTES_MAX >> 20));
    for (size_t left = len > 0 ? (size_t)len : 0; left > 0;) {
        r = pg_archive_need(a, 1, here, err);
        if (r < 0) return r;
        size_t n = a->end - a->at < left ? a->end - a->at : left;
        if (memchr(a->buf + a->at, 0, n)) return error_set(err, ERR_PG_ARCHIVE, "%s has a string with a NUL", here);
        r = buf_append(raw, a->buf + a->at, n, err);
        if (r < 0) return r;
        a->at += n;
        left -= n;
    }
    return 0;
}

static int read_head(struct pg_archive *a, int32_t *ret_entries, struct error *err) {
    struct pg_toc *t = a->toc;
    uint8_t compression = 0;
    int32_t v = 0;
    int r = take(a, 11, err);
    if (r < 0) return r;
    const uint8_t *h = t->raw.ptr;
    t->major = h[5], t->minor = h[6], t->revision = h[7];
    t->int_bytes = h[8], t->offset_bytes = h[9];
    t->format_at = 10;
    if (t->int_bytes != 4 || t->offset_bytes < 1 || t->offset_bytes > 16)
        return error_set(err, ERR_PG_ARCHIVE, "the dump has integers of %u and offsets of %u bytes", h[8], h[9]);
    if (h[10] != 1) return error_set(err, ERR_PG_ARCHIVE, "the dump is not of the custom format (format %u)", h[10]);
    if (t->minor >= 15)
        r = take_byte(a, &compression, err);
    else if ((r = take_int(a, &v, err)) == 0)
        compression = v != 0;
    if (r < 0) return r;
    if (compression) return error_set(err, ERR_PG_ARCHIVE, "the dump is compressed, although it was asked not to be");
    for (int i = 0; i < 7; i++) /* the creation time as struct tm */
        if ((r = take_int(a, &v, err)) < 0) return r;
    if ((r = take_text(a, &t->database, err)) < 0) return r;
    if ((r = take_text(a, &t->server_version, err)) < 0) return r;
    if ((r = take_text(a, &t->dump_version, err)) < 0) return r;
    if ((r = take_int(a, ret_entries, err)) < 0) return r;
    if (*ret_entries < 0 || (uint32_t)*ret_entries > PG_ENTRIES_MAX)
        return error_set(err, ERR_PG_ARCHIVE, "%s claims %d entries", here, *ret_entries);
    t->head_len = (uint32_t)t->raw.len;
    return 0;
}

static int read_deps(struct pg_archive *a, struct pg_entry *e, size_t *cap, struct error *err) {
    struct pg_toc *t = a->toc;
    e->deps_at = (uint32_t)t->dep_count;
    for (;;) {
        struct pg_text s;
        int r = take_text(a, &s, err);
        if (r < 0) return r;
        if (s.len < 0) break;
        char digits[12], *stop = digits;
        if (s.len == 0 || (size_t)s.len >= sizeof digits)
            return error_set(err, ERR_PG_ARCHIVE, "%s has a dependency that is no number", here);
        memcpy(digits, t->raw.ptr + s.at, (size_t)s.len);
        digits[s.len] = 0;
        long long id = strtoll(digits, &stop, 10);
        if (*stop || id <= 0 || id > INT32_MAX)
            return error_set(err, ERR_PG_ARCHIVE, "%s has a dependency that is no number", here);
        r = mem_grow((void **)&t->deps, cap, t->dep_count + 1, sizeof *t->deps, err);
        if (r < 0) return r;
        t->deps[t->dep_count++] = (int32_t)id;
    }
    e->deps_len = (uint32_t)(t->dep_count - e->deps_at);
    return 0;
}

static int read_entry(struct pg_archive *a, struct pg_entry *e, size_t *dep_cap, struct error *err) {
    struct pg_toc *t = a->toc;
    struct pg_text skip, with_oids;
    int32_t v;
    int r;
    e->raw_at = (uint32_t)t->raw.len;
    if ((r = take_int(a, &e->dump_id, err)) < 0) return r;
    if (e->dump_id <= 0) return error_set(err, ERR_PG_ARCHIVE, "%s has an entry numbered %d", here, e->dump_id);
    if ((r = take_int(a, &v, err)) < 0) return r;
    e->has_data = v != 0;
    if ((r = take_text(a, &skip, err)) < 0) return r; /* oid of the catalogue's table, then of the object */
    if ((r = take_text(a, &skip, err)) < 0) return r;
    if ((r = take_text(a, &e->tag, err)) < 0) return r;
    if ((r = take_text(a, &e->desc, err)) < 0) return r;
    if ((r = take_int(a, &e->section, err)) < 0) return r;
    if (e->section < PG_SECTION_NONE || e->section > PG_SECTION_POST_DATA)
        return error_set(err, ERR_PG_ARCHIVE, "entry %d is in section %d", e->dump_id, e->section);
    if ((r = take_text(a, &e->defn, err)) < 0) return r;
    if ((r = take_text(a, &skip, err)) < 0) return r; /* drop statement */
    if ((r = take_text(a, &e->copy, err)) < 0) return r;
    if ((r = take_text(a, &e->schema, err)) < 0) return r;
    if ((r = take_text(a, &e->tablespace, err)) < 0) return r;
    if (t->minor >= 14 && (r = take_text(a, &skip, err)) < 0) return r; /* access method */
    if (t->minor >= 16 && (r = take_int(a, &v, err)) < 0) return r;     /* relation kind */
    if ((r = take_text(a, &e->owner, err)) < 0) return r;
    if ((r = take_text(a, &with_oids, err)) < 0) return r;
    if (!pg_text_is(t, with_oids, "false"))
        return error_set(err, ERR_PG_ARCHIVE, "entry %d wants WITH OIDS, which no supported server has", e->dump_id);
    if ((r = read_deps(a, e, dep_cap, err)) < 0) return r;
    e->raw_len = (uint32_t)(t->raw.len - e->raw_at);
    return take(a, 1u + t->offset_bytes, err); /* where the data is: unknown in a pipe */
}

static int by_dump_id(const void *a, const void *b, void *toc) {
    const struct pg_toc *t = toc;
    int32_t x = t->entries[*(const uint32_t *)a].dump_id, y = t->entries[*(const uint32_t *)b].dump_id;
    return (x > y) - (x < y);
}

static int make_index(struct pg_toc *t, struct error *err) {
    int r = mem_alloc((t->entry_count + 1) * sizeof *t->by_id, (void **)&t->by_id, err);
    if (r < 0) return r;
    for (size_t i = 0; i < t->entry_count; i++) t->by_id[i] = (uint32_t)i;
    qsort_r(t->by_id, t->entry_count, sizeof *t->by_id, by_dump_id, t);
    for (size_t i = 1; i < t->entry_count; i++)
        if (t->entries[t->by_id[i]].dump_id == t->entries[t->by_id[i - 1]].dump_id)
            return error_set(err, ERR_PG_ARCHIVE, "%s has two entries numbered %d", here,
                             t->entries[t->by_id[i]].dump_id);
    return 0;
}

int pg_toc_read(struct pg_archive *a, struct error *err) {
    if (a->toc || !pg_archive_known(a))
        return error_set(err, ERR_PG_ARCHIVE, "archive version %u.%u is not one that can be taken apart", a->major,
                         a->minor);
    int r = mem_alloc(sizeof *a->toc, (void **)&a->toc, err);
    if (r < 0) return r;
    struct pg_toc *t = a->toc;
    t->raw.max_bytes = PG_TOC_BYTES_MAX + 64;
    int32_t entries;
    size_t cap = 0, dep_cap = 0;
    r = read_head(a, &entries, err);
    for (int32_t i = 0; r == 0 && i < entries; i++) {
        r = mem_grow((void **)&t->entries, &cap, t->entry_count + 1, sizeof *t->entries, err);
        if (r < 0) break;
        t->entries[t->entry_count] = (struct pg_entry){0};
        r = read_entry(a, &t->entries[t->entry_count], &dep_cap, err);
        if (r == 0) t->entry_count++;
    }
    return r == 0 ? make_index(t, err) : r;
}

struct slice {
    struct bytes left;
};
static int read_slice(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct slice *s = ctx;
    (void)err;
    if (n > s->left.len) n = s->left.len;
    *ret_n = n;
    if (n == 0) return 0;
    memcpy(p, s->left.ptr, n);
    s->left.ptr += n;
    s->left.len -= n;
    return 0;
}

int pg_toc_parse(struct bytes raw, struct pg_toc **ret, struct error *err) {
    struct slice s = {raw};
    struct pg_archive *a = NULL;
    int r = pg_archive_open(read_slice, &s, &a, err);
    if (r == 0) r = pg_toc_read(a, err);
    if (r == 0 && (a->end > a->at || s.left.len)) r = error_set(err, ERR_PG_ARCHIVE, "bytes follow %s", here);
    if (r == 0) {
        *ret = a->toc;
        a->toc = NULL;
    }
    pg_archive_free(a);
    return r;
}

void pg_toc_free(struct pg_toc *t) {
    if (!t) return;
    buf_free(&t->raw);
    seam_free(t->entries);
    seam_free(t->deps);
    seam_free(t->by_id);
    seam_free(t);
}

struct bytes pg_toc_text(const struct pg_toc *t, struct pg_text s) {
    return s.len <= 0 ? BYTES_OF("", 0) : BYTES_OF(t->raw.ptr + s.at, (size_t)s.len);
}

const struct pg_entry *pg_toc_find(const struct pg_toc *t, int32_t dump_id) {
    size_t lo = 0, hi = t->entry_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct pg_entry *e = &t->entries[t->by_id[mid]];
        if (e->dump_id == dump_id) return e;
        if (e->dump_id < dump_id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

bool pg_entry_is_large_objects(const struct pg_toc *t, const struct pg_entry *e) {
    return pg_text_is(t, e->desc, "BLOBS");
}

void pg_toc_file_name(const struct pg_toc *t, const struct pg_entry *e, char out[32]) {
    if (!pg_entry_is_large_objects(t, e))
        snprintf(out, 32, "%d.dat", e->dump_id);
    else if (t->minor >= 16)
        snprintf(out, 32, "blobs_%d.toc", e->dump_id);
    else
        snprintf(out, 32, "blobs.toc");
}

int pg_toc_directory(const struct pg_toc *t, struct buf *out, struct error *err) {
    size_t format_at = out->len + t->format_at;
    int r = buf_append(out, t->raw.ptr, t->head_len, err);
    if (r < 0) return r;
    out->ptr[format_at] = 3; /* a directory's table of contents calls itself tar */
    for (size_t i = 0; i < t->entry_count; i++) {
        const struct pg_entry *e = &t->entries[i];
        char name[32] = "";
        if (e->has_data) pg_toc_file_name(t, e, name);
        uint8_t head[5] = {0};
        put_u32(head + 1, (uint32_t)strlen(name));
        r = buf_append(out, t->raw.ptr + e->raw_at, e->raw_len, err);
        if (r == 0) r = buf_append(out, head, sizeof head, err);
        if (r == 0) r = buf_append_str(out, name, err);
        if (r < 0) return r;
    }
    return 0;
}
