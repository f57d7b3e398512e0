#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#define OUT_BYTES (1u << 18)
#define FILES_MAX (1u << 20)

struct part { /* an item; its name is text + at */
    struct source_head head;
    size_t at, len;
};
struct rebuild {
    struct source *src;
    const char *database;
    int fd;
    const char *what;
    struct buf text;
    struct part *parts;
    size_t n, cap;
    ZSTD_CCtx *z;
    uint8_t *out;
    uint64_t items, bytes;
};

static struct bytes part_name(const struct rebuild *b, const struct part *p) {
    return BYTES_OF(b->text.ptr + p->at, p->len);
}

static int on_head(void *ctx, const struct source_head *h, struct error *err) {
    struct rebuild *b = ctx;
    if (b->n == FILES_MAX)
        return error_set(err, ERR_RESTORE_DIFFERS, "the database %s has too many files", b->database);
    int r = b->n < b->cap ? 0 : mem_grow((void **)&b->parts, &b->cap, b->n + 1, sizeof *b->parts, err);
    size_t at = b->text.len;
    if (r == 0) r = buf_append(&b->text, h->name.ptr, h->name.len, err);
    if (r < 0) return r;
    b->parts[b->n] = (struct part){*h, at, h->name.len};
    b->parts[b->n].head.name = b->parts[b->n].head.attr = BYTES_OF(NULL, 0);
    b->n++;
    if (b->src->ops->expect) b->src->ops->expect(b->src, h);
    return 0;
}

static const struct part *find(const struct rebuild *b, struct bytes name) {
    size_t low = 0, high = b->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = name_compare(part_name(b, &b->parts[mid]), name);
        if (c == 0) return &b->parts[mid];
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static int squeeze(struct rebuild *b, struct bytes in, ZSTD_EndDirective end, struct error *err) {
    ZSTD_inBuffer from = {in.ptr, in.len, 0};
    size_t left;
    do {
        ZSTD_outBuffer to = {b->out, OUT_BYTES, 0};
        left = ZSTD_compressStream2(b->z, &to, &from, end);
        if (ZSTD_isError(left)) return error_set(err, ERR_INTERNAL, "compress a dump: %s", ZSTD_getErrorName(left));
        int r = to.pos ? io_write_full(b->fd, b->out, to.pos, b->what, err) : 0;
        if (r < 0) return r;
    } while (from.pos < from.size || (end == ZSTD_e_end && left));
    return 0;
}

static int put(void *ctx, struct bytes piece, struct error *err) {
    struct rebuild *b = ctx;
    b->bytes += piece.len;
    return squeeze(b, piece, ZSTD_e_continue, err);
}

/* A hole is zeros in an archive. */
static int put_zeros(struct rebuild *b, uint64_t n, int (*to)(void *, struct bytes, struct error *),
                     struct error *err) {
    static const uint8_t zeros[65536];
    int r = 0;
    while (r == 0 && n) {
        size_t now = n < sizeof zeros ? (size_t)n : sizeof zeros;
        r = to(b, BYTES_OF(zeros, now), err);
        n -= now;
    }
    return r;
}

static int put_item(struct rebuild *b, const struct part *p, int (*to)(void *, struct bytes, struct error *),
                    struct error *err) {
    struct source_item *it = NULL;
    struct source_head head = p->head;
    struct bytes piece;
    head.name = part_name(b, p);
    int r = b->src->ops->open(b->src, &head, &it, err);
    if (r < 0) return r;
    while (r == 0 && (r = b->src->ops->next(it, &piece, err)) == 0 && piece.len)
        r = piece.ptr ? to(b, piece, err) : put_zeros(b, piece.len, to, err);
    b->src->ops->close(it);
    b->items++;
    return r;
}

static int put_file(void *ctx, struct bytes name, uint64_t bytes, struct error *err) {
    struct rebuild *b = ctx;
    CLEANUP(buf_free) struct buf full = BUF_INIT(NEO4J_FILE_NAME_MAX + 200);
    int r = buf_printf(&full, err, "db/%s/store/%.*s", b->database, (int)name.len, (const char *)name.ptr);
    if (r < 0) return r;
    const struct part *p = find(b, buf_bytes(&full));
    if (!p || p->head.bytes != bytes)
        return error_set(err, ERR_RESTORE_DIFFERS, "the dump of %s %s of the file %.*s that its frame tells of",
                         b->database, p ? "has another size" : "has nothing", (int)name.len, (const char *)name.ptr);
    return put_item(b, p, put, err);
}

/* The frame comes through its reader, which asks for the files between its pieces. */
static int feed(void *ctx, struct bytes piece, struct error *err) {
    return neo4j_container_feed(ctx, piece, err);
}

static int frame_zeros_refused(struct error *err) {
    return error_set(err, ERR_RESTORE_DIFFERS, "the frame of a dump has a hole");
}

static int put_apart(struct rebuild *b, const struct part *frame, struct error *err) {
    const struct neo4j_container_events on = {b, put, put_file, NULL};
    struct neo4j_container c;
    struct source_item *it = NULL;
    struct source_head head = frame->head;
    struct bytes piece;
    neo4j_container_init(&c, &on, true);
    head.name = part_name(b, frame);
    int r = io_write_full(b->fd, NEO4J_DUMP_MAGIC, 4, b->what, err);
    if (r == 0) r = b->src->ops->open(b->src, &head, &it, err);
    while (r == 0 && (r = b->src->ops->next(it, &piece, err)) == 0 && piece.len)
        r = piece.ptr ? feed(&c, piece, err) : frame_zeros_refused(err);
    if (it) b->src->ops->close(it);
    b->items++;
    if (r == 0) r = neo4j_container_end(&c, err);
    neo4j_container_free(&c);
    return r == 0 ? squeeze(b, BYTES_OF(NULL, 0), ZSTD_e_end, err) : r;
}

static int put_raw(void *ctx, struct bytes piece, struct error *err) {
    struct rebuild *b = ctx;
    b->bytes += piece.len;
    return io_write_full(b->fd, piece.ptr, piece.len, b->what, err);
}

static int encoder(struct rebuild *b, struct error *err) {
    void *out = NULL;
    b->z = ZSTD_createCCtx();
    if (!b->z) return error_set(err, ERR_NO_MEMORY, "no memory for an encoder");
    ZSTD_CCtx_setParameter(b->z, ZSTD_c_compressionLevel, 1);
    ZSTD_CCtx_setParameter(b->z, ZSTD_c_checksumFlag, 1);
    int r = mem_alloc(OUT_BYTES, &out, err);
    b->out = out;
    return r;
}

int neo4j_rebuild(struct source *src, const char *database, int fd, const char *what, uint64_t *ret_items,
                  uint64_t *ret_bytes, struct error *err) {
    struct rebuild b = {.src = src, .database = database, .fd = fd, .what = what, .text = BUF_INIT((size_t)1 << 30)};
    char name[NEO4J_NAME_MAX + 16];
    int n = snprintf(name, sizeof name, "db/%s/", database);
    int r = encoder(&b, err);
    if (r == 0) r = src->ops->walk(src, BYTES_OF(name, (size_t)n), on_head, &b, err);
    snprintf(name, sizeof name, "db/%s/frame", database);
    const struct part *frame = find(&b, BYTES_STR(name));
    snprintf(name, sizeof name, "db/%s/dump", database);
    const struct part *whole = find(&b, BYTES_STR(name));
    if (r == 0 && !frame && !whole)
        r = error_set(err, ERR_USAGE, "the snapshot has no database '%s'", database);
    else if (r == 0)
        r = frame ? put_apart(&b, frame, err) : put_item(&b, whole, put_raw, err);
    if (ret_items) *ret_items += b.items;
    if (ret_bytes) *ret_bytes += b.bytes;
    ZSTD_freeCCtx(b.z);
    seam_free(b.out);
    seam_free(b.parts);
    buf_free(&b.text);
    return r;
}

/* ---- which databases ---- */
struct names {
    json_t *list;
    char last[NEO4J_NAME_MAX];
};

static int on_name(void *ctx, const struct source_head *h, struct error *err) {
    struct names *w = ctx;
    const uint8_t *slash = h->name.len > 3 ? memchr(h->name.ptr + 3, '/', h->name.len - 3) : NULL;
    size_t n = slash ? (size_t)(slash - h->name.ptr) - 3 : 0;
    if (n == 0 || n >= sizeof w->last) return error_set(err, ERR_RESTORE_DIFFERS, "an item is of no database");
    if (strlen(w->last) == n && !memcmp(w->last, h->name.ptr + 3, n)) return 0;
    memcpy(w->last, h->name.ptr + 3, n);
    w->last[n] = 0;
    if (!neo4j_name_holds(w->last)) return error_set(err, ERR_RESTORE_DIFFERS, "an item is of no database");
    if (json_array_size(w->list) == NEO4J_DATABASES_MAX)
        return error_set(err, ERR_RESTORE_DIFFERS, "too many databases");
    return json_push(w->list, json_string(w->last), err);
}

int neo4j_items_databases(struct source *src, json_t **ret, struct error *err) {
    struct names w = {.list = json_array()};
    int r =
        w.list ? src->ops->walk(src, BYTES_STR("db/"), on_name, &w, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r < 0)
        json_decref(w.list);
    else
        *ret = w.list;
    return r;
}
