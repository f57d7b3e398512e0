#include "surface/postgres/archive_internal.h"

#include "base/seam.h"

enum { BLOCK_DATA = 1, BLOCK_LARGE_OBJECTS = 3 };

int pg_archive_fill(struct pg_archive *a, struct error *err) {
    if (a->at == a->end) a->at = a->end = 0;
    if (a->at > 0 && a->end == PG_READ_BYTES) {
        memmove(a->buf, a->buf + a->at, a->end - a->at);
        a->end -= a->at;
        a->at = 0;
    }
    size_t n = 0;
    int r = a->read(a->ctx, a->buf + a->end, PG_READ_BYTES - a->end, &n, err);
    if (r < 0) return r;
    if (n == 0) a->eof = true;
    a->end += n;
    return 0;
}

int pg_archive_need(struct pg_archive *a, size_t n, const char *where, struct error *err) {
    while (a->end - a->at < n) {
        if (!a->eof) {
            int r = pg_archive_fill(a, err);
            if (r < 0) return r;
        }
        if (a->eof && a->end - a->at < n) return error_set(err, ERR_SOURCE_TRUNCATED, "the dump ends inside %s", where);
    }
    return 0;
}

int pg_int_decode(const uint8_t *p, unsigned int_bytes, int32_t *ret, struct error *err) {
    uint64_t v = 0;
    for (unsigned i = 0; i < int_bytes; i++)
        if (i < 8) v |= (uint64_t)p[1 + i] << (8 * i);
    if (p[0] > 1 || v > (p[0] ? UINT64_C(1) << 31 : INT32_MAX))
        return error_set(err, ERR_PG_ARCHIVE, "the dump has an integer that is none (sign %u, value %llu)", p[0],
                         (unsigned long long)v);
    *ret = (int32_t)(p[0] ? -(int64_t)v : (int64_t)v);
    return 0;
}

static int take_int(struct pg_archive *a, int32_t *ret, const char *where, struct error *err) {
    size_t n = 1u + a->toc->int_bytes;
    if (a->end - a->at < n) {
        int r = pg_archive_need(a, n, where, err);
        if (r < 0) return r;
    }
    int r = pg_int_decode(a->buf + a->at, a->toc->int_bytes, ret, err);
    a->at += n;
    return r;
}

int pg_archive_open(pg_read_fn read, void *ctx, struct pg_archive **ret, struct error *err) {
    struct pg_archive *a;
    int r = mem_alloc(sizeof *a, (void **)&a, err);
    if (r < 0) return r;
    a->read = read;
    a->ctx = ctx;
    r = mem_alloc(PG_READ_BYTES, (void **)&a->buf, err);
    if (r == 0) r = pg_archive_need(a, 8, "its header", err);
    if (r == 0 && memcmp(a->buf, "PGDMP", 5) != 0)
        r = error_set(err, ERR_PG_ARCHIVE, "what came is not a custom-format dump (it does not begin with PGDMP)");
    if (r < 0) {
        pg_archive_free(a);
        return r;
    }
    a->major = a->buf[5];
    a->minor = a->buf[6];
    *ret = a;
    return 0;
}

void pg_archive_free(struct pg_archive *a) {
    if (!a) return;
    pg_toc_free(a->toc);
    seam_free(a->seen);
    seam_free(a->buf);
    seam_free(a);
}

void pg_archive_version(const struct pg_archive *a, uint8_t *ret_major, uint8_t *ret_minor) {
    *ret_major = a->major;
    *ret_minor = a->minor;
}

bool pg_archive_known(const struct pg_archive *a) {
    return a->major == 1 && a->minor >= 12 && a->minor <= 16;
}

int pg_archive_raw(struct pg_archive *a, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    if (a->at == a->end && !a->eof) {
        int r = pg_archive_fill(a, err);
        if (r < 0) return r;
    }
    size_t have = a->end - a->at;
    if (have > n) have = n;
    memcpy(p, a->buf + a->at, have);
    a->at += have;
    *ret_n = have;
    return 0;
}

int pg_archive_toc(struct pg_archive *a, const struct pg_toc **ret, struct error *err) {
    int r = pg_toc_read(a, err);
    if (r < 0) return r;
    r = mem_alloc(a->toc->entry_count + 1, (void **)&a->seen, err);
    if (r < 0) return r;
    for (size_t i = 0; i < a->toc->entry_count; i++) a->missing += a->toc->entries[i].has_data;
    a->toc_done = true;
    *ret = a->toc;
    return 0;
}

static int good_end(struct pg_archive *a, struct error *err) {
    if (a->missing == 0) return 0;
    for (size_t i = 0; i < a->toc->entry_count; i++) {
        const struct pg_entry *e = &a->toc->entries[i];
        if (!e->has_data || a->seen[i]) continue;
        struct bytes schema = pg_toc_text(a->toc, e->schema), tag = pg_toc_text(a->toc, e->tag);
        return error_set(err, ERR_SOURCE_TRUNCATED,
                         "the dump ends too early: the data of %zu of its entries never came, the first is %.*s%s%.*s",
                         a->missing, (int)schema.len, (const char *)schema.ptr, schema.len ? "." : "", (int)tag.len,
                         (const char *)tag.ptr);
    }
    return error_set(err, ERR_INTERNAL, "blocks of the dump were miscounted");
}

int pg_archive_next(struct pg_archive *a, const struct pg_entry **ret, struct error *err) {
    if (!a->toc_done || a->state != PG_AT_BLOCK)
        return error_set(err, ERR_INTERNAL, "a block of the dump was not read to its end");
    while (a->at == a->end && !a->eof) {
        int r = pg_archive_fill(a, err);
        if (r < 0) return r;
    }
    if (a->at == a->end) {
        int r = good_end(a, err);
        if (r == 0) *ret = NULL;
        return r;
    }
    int r = pg_archive_need(a, 1, "a block's head", err);
    if (r < 0) return r;
    uint8_t type = a->buf[a->at++];
    if (type != BLOCK_DATA && type != BLOCK_LARGE_OBJECTS)
        return error_set(err, ERR_PG_ARCHIVE, "the dump has a block of unknown type %u", type);
    int32_t id;
    r = take_int(a, &id, "a block's head", err);
    if (r < 0) return r;
    const struct pg_entry *e = pg_toc_find(a->toc, id);
    if (!e || !e->has_data)
        return error_set(err, ERR_PG_ARCHIVE, "the dump has a block for entry %d, which has no data", id);
    uint8_t *seen = &a->seen[e - a->toc->entries];
    if (*seen) return error_set(err, ERR_PG_ARCHIVE, "the dump has two blocks for entry %d", id);
    if ((type == BLOCK_LARGE_OBJECTS) != pg_entry_is_large_objects(a->toc, e))
        return error_set(err, ERR_PG_ARCHIVE, "the block of entry %d is of the wrong type", id);
    *seen = 1;
    a->missing--;
    a->entry = e;
    a->state = type == BLOCK_DATA ? PG_IN_DATA : PG_AT_OBJECT;
    a->piece_left = 0;
    *ret = e;
    return 0;
}

int pg_archive_read(struct pg_archive *a, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    size_t done = 0;
    if (a->state != PG_IN_DATA && a->state != PG_IN_OBJECT) {
        *ret_n = 0;
        return 0;
    }
    while (done < n) {
        /* What is there is handed out before more is waited for. */
        if (done > 0 && a->end - a->at < (a->piece_left ? 1u : 1u + a->toc->int_bytes)) break;
        if (a->piece_left == 0) {
            int32_t len;
            int r = take_int(a, &len, "a block of data", err);
            if (r < 0) return r;
            if (len < 0) return error_set(err, ERR_PG_ARCHIVE, "the dump has a piece of negative length");
            if (len == 0) {
                a->state = a->state == PG_IN_DATA ? PG_AT_BLOCK : PG_AT_OBJECT;
                break;
            }
            a->piece_left = (size_t)len;
        }
        if (a->at == a->end) {
            int r = pg_archive_need(a, 1, "a block of data", err);
            if (r < 0) return r;
        }
        size_t take = a->end - a->at;
        if (take > a->piece_left) take = a->piece_left;
        if (take > n - done) take = n - done;
        memcpy(p + done, a->buf + a->at, take);
        a->at += take;
        a->piece_left -= take;
        done += take;
    }
    *ret_n = done;
    return 0;
}

int pg_archive_object(struct pg_archive *a, uint32_t *ret_oid, struct error *err) {
    if (a->state != PG_AT_OBJECT)
        return error_set(err, ERR_INTERNAL, "a large object of the dump was not read to its end");
    int32_t oid;
    int r = take_int(a, &oid, "the large objects", err);
    if (r < 0) return r;
    a->state = oid ? PG_IN_OBJECT : PG_AT_BLOCK;
    *ret_oid = (uint32_t)oid;
    return 0;
}
