#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

/* A record of "db/<n>/keys": name (varint length, bytes), type of its value, flags, milliseconds since 1970 when it
 * expires (8 bytes, little-endian) with flag 1, value (varint length, bytes). See doc/format/redis.md. */
#define EXPIRES 1u
#define HEAD_MAX 32

static size_t varint(uint8_t *p, uint64_t v) {
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

int redis_record_put(struct item_out *o, const struct rdb_key *k, uint64_t value_bytes, struct error *err) {
    uint8_t head[HEAD_MAX];
    size_t n = varint(head, k->name.len);
    int r = item_out_put(o, BYTES_OF(head, n), err);
    if (r == 0) r = item_out_put(o, BYTES_OF(k->name.ptr, k->name.len), err);
    n = 0;
    head[n++] = k->type;
    head[n++] = k->expires_ms >= 0 ? EXPIRES : 0;
    if (k->expires_ms >= 0) {
        put_u64(head + n, (uint64_t)k->expires_ms);
        n += 8;
    }
    n += varint(head + n, value_bytes);
    return r == 0 ? item_out_put(o, BYTES_OF(head, n), err) : r;
}

int redis_access_put(struct item_out *o, const struct rdb_key *k, struct error *err) {
    uint8_t b[HEAD_MAX];
    b[0] = (uint8_t)k->access;
    return item_out_put(o, BYTES_OF(b, 1 + varint(b + 1, k->since)), err);
}

/* ---- in ---- */
static int damaged(struct error *err) {
    return error_set(err, ERR_RESTORE_DIFFERS, "an item of the snapshot does not hold records of keys");
}

bool redis_item_of(struct bytes name, uint64_t *ret_database, bool *ret_keys) {
    char text[64];
    char *end;
    if (name.len >= sizeof text || name.len < 4) return false;
    memcpy(text, name.ptr, name.len);
    text[name.len] = 0;
    *ret_database = strtoull(text + 3, &end, 10);
    *ret_keys = !strcmp(end, "/keys");
    return end != text + 3 && (*ret_keys || !strcmp(end, "/access"));
}

struct finding {
    struct redis_items *of;
    size_t n, cap;
};

static int found(void *ctx, const struct source_head *h, struct error *err) {
    struct finding *f = ctx;
    uint64_t database;
    bool keys;
    if (!redis_item_of(h->name, &database, &keys)) return 0;
    if (f->n == 0 || f->of[f->n - 1].database != database) {
        int r = mem_grow((void **)&f->of, &f->cap, f->n + 1, sizeof *f->of, err);
        if (r < 0) return r;
        f->of[f->n++] = (struct redis_items){.database = database};
    }
    struct redis_items *one = &f->of[f->n - 1];
    struct source_head *to = keys ? &one->keys : &one->access;
    *to = *h;
    to->name = to->attr = BYTES_OF(NULL, 0);
    if (!keys) {
        one->has_access = true;
        return 0;
    }
    json_t *attr = NULL;
    int64_t version = 0, count = 0, expires = 0, largest = 0;
    int r = json_parse(h->attr, JSON_MAX_BYTES, "an item's attributes", &attr, err);
    if (r == 0) r = json_need_int(attr, "rdb_version", "an item's attributes", &version, err);
    if (r == 0) r = json_need_int(attr, "keys", "an item's attributes", &count, err);
    if (r == 0) r = json_need_int(attr, "expires", "an item's attributes", &expires, err);
    if (r == 0) r = json_need_int(attr, "largest", "an item's attributes", &largest, err);
    json_decref(attr);
    one->version = (unsigned)version;
    one->count = (uint64_t)count;
    one->expires = (uint64_t)expires;
    one->value_max = (uint64_t)largest;
    return r;
}

int redis_items_find(struct source *src, struct redis_items **ret, size_t *ret_n, struct error *err) {
    struct finding f = {0};
    int r = src->ops->walk(src, BYTES_STR("db/"), found, &f, err);
    for (size_t i = 0; r == 0 && i < f.n; i++)
        if (!f.of[i].version)
            r = error_set(err, ERR_RESTORE_DIFFERS, "the snapshot lacks the keys of database %llu",
                          (unsigned long long)f.of[i].database);
    if (r < 0) {
        seam_free(f.of);
        return r;
    }
    *ret = f.of;
    *ret_n = f.n;
    return 0;
}

int redis_records_open(struct source *src, const struct redis_items *of, struct redis_records *r, struct error *err) {
    *r = (struct redis_records){.src = src, .name = BUF_INIT(RDB_TEXT_BYTES_MAX), .version = of->version};
    int rc = src->ops->open(src, &of->keys, &r->keys, err);
    if (rc == 0 && of->has_access) rc = src->ops->open(src, &of->access, &r->access, err);
    if (rc < 0) redis_records_close(r);
    return rc;
}

void redis_records_close(struct redis_records *r) {
    if (r->keys) r->src->ops->close(r->keys);
    if (r->access) r->src->ops->close(r->access);
    buf_free(&r->name);
    *r = (struct redis_records){0};
}

static int more(struct redis_records *r, struct source_item *it, struct bytes *piece, struct error *err) {
    if (piece->len) return 0;
    int rc = r->src->ops->next(it, piece, err);
    return rc == 0 && piece->len && !piece->ptr ? damaged(err) : rc;
}

static int byte(struct redis_records *r, struct source_item *it, struct bytes *piece, uint8_t *ret, struct error *err) {
    int rc = more(r, it, piece, err);
    if (rc == 0 && piece->len == 0) return damaged(err);
    if (rc < 0) return rc;
    *ret = *piece->ptr;
    *piece = BYTES_OF(piece->ptr + 1, piece->len - 1);
    return 0;
}

static int number(struct redis_records *r, struct source_item *it, struct bytes *piece, uint64_t *ret,
                  struct error *err) {
    *ret = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = 0;
        int rc = byte(r, it, piece, &b, err);
        if (rc < 0) return rc;
        *ret |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return 0;
    }
    return damaged(err);
}

int redis_records_value(struct redis_records *r, size_t max, struct bytes *ret, struct error *err) {
    *ret = BYTES_OF(NULL, 0);
    if (r->value_left == 0) return 0;
    int rc = more(r, r->keys, &r->piece, err);
    if (rc < 0) return rc;
    size_t n = r->piece.len < max ? r->piece.len : max;
    if (n > r->value_left) n = (size_t)r->value_left;
    if (n == 0) return damaged(err);
    *ret = BYTES_OF(r->piece.ptr, n);
    r->piece = BYTES_OF(r->piece.ptr + n, r->piece.len - n);
    r->value_left -= n;
    return 0;
}

static int name(struct redis_records *r, struct error *err) {
    uint64_t left;
    int rc = number(r, r->keys, &r->piece, &left, err);
    buf_clear(&r->name);
    while (rc == 0 && left) {
        rc = more(r, r->keys, &r->piece, err);
        size_t n = r->piece.len < left ? r->piece.len : (size_t)left;
        if (rc == 0 && n == 0) rc = damaged(err);
        if (rc == 0) rc = buf_append(&r->name, r->piece.ptr, n, err);
        if (rc == 0) r->piece = BYTES_OF(r->piece.ptr + n, r->piece.len - n);
        left -= n;
    }
    return rc;
}

static int access_of(struct redis_records *r, struct rdb_key *k, struct error *err) {
    uint8_t kind = 0;
    int rc = byte(r, r->access, &r->access_piece, &kind, err);
    if (rc == 0) rc = number(r, r->access, &r->access_piece, &k->since, err);
    if (rc == 0 && kind > ACCESS_FREQ) rc = damaged(err);
    k->access = (enum rdb_access)kind;
    return rc;
}

int redis_records_next(struct redis_records *r, struct rdb_key *ret, uint64_t *ret_bytes, bool *ret_end,
                       struct error *err) {
    struct bytes passed;
    uint8_t flags = 0, b[8];
    int rc = 0;
    while (rc == 0 && r->value_left) rc = redis_records_value(r, SIZE_MAX, &passed, err);
    if (rc == 0) rc = more(r, r->keys, &r->piece, err);
    if (rc < 0) return rc;
    *ret_end = r->piece.len == 0;
    if (*ret_end) { /* the other one's digest is checked at its end, too */
        if (r->access) rc = more(r, r->access, &r->access_piece, err);
        return rc == 0 && r->access && r->access_piece.len ? damaged(err) : rc;
    }
    rc = name(r, err);
    *ret = (struct rdb_key){.name = buf_bytes(&r->name), .expires_ms = -1};
    if (rc == 0) rc = byte(r, r->keys, &r->piece, &ret->type, err);
    if (rc == 0) rc = byte(r, r->keys, &r->piece, &flags, err);
    if (rc == 0 && flags & ~EXPIRES) rc = damaged(err);
    for (size_t i = 0; rc == 0 && flags && i < 8; i++) rc = byte(r, r->keys, &r->piece, &b[i], err);
    if (rc == 0 && flags) ret->expires_ms = (int64_t)get_u64(b);
    if (rc == 0) rc = number(r, r->keys, &r->piece, &r->value_left, err);
    if (rc == 0 && r->access) rc = access_of(r, ret, err);
    *ret_bytes = r->value_left;
    return rc;
}

struct reading {
    struct source *src;
    struct bytes name;
    struct buf *out;
};

static int read_one(void *ctx, const struct source_head *h, struct error *err) {
    struct reading *w = ctx;
    struct source_item *it;
    struct bytes piece;
    if (!bytes_equal(h->name, w->name)) return 0;
    int r = w->src->ops->open(w->src, h, &it, err);
    if (r < 0) return r;
    while ((r = w->src->ops->next(it, &piece, err)) == 0 && piece.len) {
        if (!piece.ptr) r = damaged(err);
        if (r == 0) r = buf_append(w->out, piece.ptr, piece.len, err);
        if (r < 0) break;
    }
    w->src->ops->close(it);
    return r;
}

int redis_item_read(struct source *src, const char *item, struct buf *out, struct error *err) {
    struct reading w = {src, BYTES_STR(item), out};
    return src->ops->walk(src, w.name, read_one, &w, err);
}
