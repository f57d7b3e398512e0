/* Invariants of so many tables and sequences that the snapshot's root has no room for them: an item "invariants" holds
 * them, a line each, and the root has their number and digest by database. */
#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <stdlib.h>

#define ROOM_BYTES (256u << 10) /* of the root's 1 MiB */
#define VALUE_BYTES 128         /* about what an invariant takes beside its name */
#define LINE_BYTES_MAX (64u << 10)
#define ITEM PG_BULK_ITEM

/* "db/<database>/" */
static size_t group_len(const char *key) {
    const char *end = strncmp(key, "db/", 3) ? NULL : strchr(key + 3, '/');
    return end ? (size_t)(end + 1 - key) : 0;
}

static bool is_bulk(const char *key, const json_t *invariant) {
    const json_t *v = json_object_get(invariant, "value");
    return group_len(key) && strcmp(key + group_len(key), "large_objects") != 0 &&
           (json_is_integer(json_object_get(v, "rows")) || json_is_integer(json_object_get(v, "last_value")));
}

bool pg_bulk_wanted(const json_t *invariants) {
    const char *key;
    json_t *v;
    size_t bytes = 0;
    json_object_foreach((json_t *)invariants, key, v) bytes += strlen(key) + VALUE_BYTES;
    return bytes > ROOM_BYTES;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int bulk_keys(const json_t *invariants, const char ***ret, size_t *ret_n, struct error *err) {
    void *p;
    const char *key;
    json_t *v;
    size_t n = 0;
    int r = mem_alloc((json_object_size(invariants) + 1) * sizeof(char *), &p, err);
    if (r < 0) return r;
    const char **keys = p;
    json_object_foreach((json_t *)invariants, key, v) {
        if (is_bulk(key, v)) keys[n++] = key;
    }
    qsort(keys, n, sizeof *keys, by_text);
    *ret = keys;
    *ret_n = n;
    return 0;
}

struct folding {
    json_t *invariants;
    struct item_out *out; /* may be NULL */
    struct sha256_state *hash;
    struct buf group, line;
    json_int_t count; /* in the group */
};

static int group_end(struct folding *f, struct error *err) {
    struct digest d;
    char hex[DIGEST_BYTES * 2 + 1];
    if (f->count == 0) return 0;
    sha256_finish(f->hash, &d);
    hex_encode(d.b, DIGEST_BYTES, hex);
    f->group.len--; /* the end of the text */
    int r = buf_append_str(&f->group, PG_BULK_KEY, err);
    if (r == 0) r = buf_terminate(&f->group, err);
    if (r < 0) return r;
    json_t *v = json_pack("{s:{s:I, s:s}, s:s}", "value", "count", f->count, "sha256", hex, "expect", "equal");
    f->count = 0;
    return v ? json_put(f->invariants, (const char *)f->group.ptr, v, err) : error_set(err, ERR_NO_MEMORY, "no memory");
}

static int fold_one(struct folding *f, const char *key, struct error *err) {
    size_t n = group_len(key);
    int r = 0;
    if (f->count == 0 || f->group.len != n + 1 || memcmp(f->group.ptr, key, n) != 0) {
        r = group_end(f, err);
        buf_clear(&f->group);
        if (r == 0) r = buf_append(&f->group, key, n, err);
        if (r == 0) r = buf_append(&f->group, "", 1, err);
    }
    json_t *one = r == 0 ? json_pack("{s:O}", key, json_object_get(f->invariants, key)) : NULL;
    if (r == 0 && !one) r = error_set(err, ERR_NO_MEMORY, "no memory");
    buf_clear(&f->line);
    if (r == 0) r = json_write(one, &f->line, err);
    if (r == 0) r = buf_append_str(&f->line, "\n", err);
    json_decref(one);
    if (r == 0 && f->out) r = item_out_put(f->out, BYTES_OF(f->line.ptr, f->line.len), err);
    if (r < 0) return r;
    sha256_update(f->hash, buf_bytes(&f->line));
    f->count++;
    json_object_del(f->invariants, key);
    return 0;
}

int pg_bulk_fold(json_t *invariants, struct item_out *out, struct error *err) {
    struct folding f = {
        .invariants = invariants, .out = out, .group = BUF_INIT(LINE_BYTES_MAX), .line = BUF_INIT(LINE_BYTES_MAX)};
    const char **keys = NULL;
    size_t n = 0;
    int r = bulk_keys(invariants, &keys, &n, err);
    if (r == 0) r = sha256_new(&f.hash, err);
    for (size_t i = 0; r == 0 && i < n; i++) r = fold_one(&f, keys[i], err);
    if (r == 0) r = group_end(&f, err);
    sha256_free(f.hash);
    buf_free(&f.group);
    buf_free(&f.line);
    seam_free(keys);
    return r;
}

int pg_bulk_put(struct pg_capture *c, json_t *invariants, json_t *facts, struct error *err) {
    struct sink_item *it;
    if (!pg_bulk_wanted(invariants)) return 0;
    int r = c->sink->ops->open(c->sink, c->seq, BYTES_STR(ITEM), ITEM_RECORDS, &it, err);
    if (r < 0) return r;
    c->seq++;
    struct item_out o = {.sink = c->sink, .item = it};
    r = pg_bulk_fold(invariants, &o, err);
    if (r == 0) r = item_out_flush(&o, err);
    if (r < 0) {
        c->sink->ops->drop(it);
        return r;
    }
    r = c->sink->ops->close(it, BYTES_STR("{\"type\":\"invariants\"}"), NULL, err);
    if (r < 0) return r;
    c->items++;
    c->bytes += o.total;
    return json_put_str(facts, PG_BULK_FACT, ITEM, err);
}

bool pg_bulk_is(const json_t *facts) {
    return json_object_get(facts, PG_BULK_FACT) != NULL;
}

/* ---- reading them ---- */
struct reading {
    struct source *src;
    const char *prefix; /* "db/<database>/" */
    json_t *into;
    struct buf line;
    bool found;
};

static int line_take(struct reading *k, struct error *err) {
    json_t *one = NULL;
    int r = json_parse(buf_bytes(&k->line), LINE_BYTES_MAX, "the item " ITEM, &one, err);
    const char *key;
    json_t *v;
    if (r == 0) {
        json_object_foreach(one, key, v) {
            if (r == 0 && strncmp(key, k->prefix, strlen(k->prefix)) == 0)
                r = json_put(k->into, key, json_incref(v), err);
        }
    }
    json_decref(one);
    buf_clear(&k->line);
    return r;
}

static int text_take(struct reading *k, struct bytes d, struct error *err) {
    int r = 0;
    while (r == 0 && d.len) {
        const uint8_t *nl = memchr(d.ptr, '\n', d.len);
        size_t n = nl ? (size_t)(nl - d.ptr) : d.len;
        r = buf_append(&k->line, d.ptr, n, err);
        if (r == 0 && nl) r = line_take(k, err);
        d = BYTES_OF(d.ptr + n + (nl ? 1 : 0), d.len - n - (nl ? 1 : 0));
    }
    return r;
}

static int item_read(void *ctx, const struct source_head *h, struct error *err) {
    struct reading *k = ctx;
    struct source_item *it;
    struct bytes d;
    if (!bytes_equal(h->name, BYTES_STR(ITEM))) return 0;
    int r = k->src->ops->open(k->src, h, &it, err);
    if (r < 0) return r;
    while ((r = k->src->ops->next(it, &d, err)) == 0 && d.len && (r = text_take(k, d, err)) == 0)
        ;
    k->src->ops->close(it);
    k->found = r == 0;
    return r;
}

int pg_bulk_expand(struct source *src, const json_t *facts, const json_t *invariants, const char *database,
                   json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf prefix = BUF_INIT(LINE_BYTES_MAX);
    CLEANUP(buf_free) struct buf key = BUF_INIT(LINE_BYTES_MAX);
    struct reading k = {.src = src, .line = BUF_INIT(LINE_BYTES_MAX)};
    int r = pg_item_name(&prefix, BYTES_STR(database), "", err);
    if (r == 0) r = pg_item_name(&key, BYTES_STR(database), PG_BULK_KEY, err);
    if (r == 0 && !(k.into = json_copy((json_t *)invariants))) r = error_set(err, ERR_NO_MEMORY, "no memory");
    k.prefix = (const char *)prefix.ptr;
    if (r == 0 && pg_bulk_is(facts) && json_object_get(invariants, (const char *)key.ptr)) {
        json_object_del(k.into, (const char *)key.ptr);
        r = src->ops->walk(src, BYTES_STR(ITEM), item_read, &k, err);
        if (r == 0 && !k.found)
            r = error_set(err, ERR_RESTORE_DIFFERS,
                          "the item " ITEM ", which the snapshot's facts name, is not in the "
                          "snapshot");
    }
    buf_free(&k.line);
    if (r < 0)
        json_decref(k.into);
    else
        *ret = k.into;
    return r;
}
