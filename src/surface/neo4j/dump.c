#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include <stdio.h>
#include <zstd.h>

#define IN_BYTES (1u << 18)

struct dump {
    const struct neo4j_offline *o;
    const char *database;
    struct sink *sink;
    struct sink_item *frame, *file, *whole;
    struct neo4j_dumped *ret;
    struct buf name; /* of the file's item */
};

static int open_item(struct dump *d, const char *part, enum item_kind kind, struct sink_item **ret, struct error *err) {
    buf_clear(&d->name);
    int r = buf_printf(&d->name, err, "db/%s/%s", d->database, part);
    if (r == 0) r = d->sink->ops->open(d->sink, SINK_ANY_ORDER, buf_bytes(&d->name), kind, ret, err);
    return r;
}

static int close_item(struct dump *d, struct sink_item **item, const char *what, struct error *err) {
    CLEANUP(buf_free) struct buf attr = BUF_INIT(512);
    struct sink_item *it = *item;
    *item = NULL;
    int r = buf_printf(&attr, err, "{\"is\":\"%s\"}", what);
    if (r < 0) {
        d->sink->ops->drop(it);
        return r;
    }
    d->ret->items++;
    return d->sink->ops->close(it, buf_bytes(&attr), NULL, err);
}

static int on_frame(void *ctx, struct bytes piece, struct error *err) {
    struct dump *d = ctx;
    d->ret->bytes += piece.len;
    int r = d->file ? close_item(d, &d->file, "a file of the store", err) : 0;
    return r == 0 ? sink_write(d->sink, d->frame, piece, err) : r;
}

/* Lucene writes new files and removes old ones; all other files are made of pages that are changed where they are, or
 * are appended to. */
static enum item_kind kind_of(struct bytes name) {
    static const char *const lucene[] = {"/text-", "/fulltext-", "/vector-", "/lucene"};
    for (size_t i = 0; i < sizeof lucene / sizeof *lucene; i++)
        if (memmem(name.ptr, name.len, lucene[i], strlen(lucene[i]))) return ITEM_OPAQUE;
    return ITEM_PAGES;
}

static int on_file(void *ctx, struct bytes name, uint64_t bytes, struct error *err) {
    struct dump *d = ctx;
    CLEANUP(buf_free) struct buf part = BUF_INIT(NEO4J_FILE_NAME_MAX + 64);
    (void)bytes;
    int r = d->file ? close_item(d, &d->file, "a file of the store", err) : 0;
    if (r == 0) r = buf_printf(&part, err, "store/%.*s", (int)name.len, (const char *)name.ptr);
    if (r == 0) r = buf_terminate(&part, err);
    if (r == 0) r = open_item(d, (const char *)part.ptr, kind_of(name), &d->file, err);
    return r;
}

static int on_content(void *ctx, struct bytes piece, struct error *err) {
    struct dump *d = ctx;
    d->ret->bytes += piece.len;
    return sink_write(d->sink, d->file, piece, err);
}

static void progress(struct dump *d, const char *phase) {
    const struct surface_events *e = &d->o->ctx->events;
    if (e->progress) e->progress(e->ctx, phase, d->ret->bytes, 0, d->ret->items);
}

static int read_some(struct dump *d, int fd, uint8_t *in, size_t *ret_n, struct error *err) {
    ssize_t n = seam_read(fd, in, IN_BYTES);
    if (n < 0) return error_set_errno(err, ERR_IO_READ, "read the dump of %s", d->database);
    *ret_n = (size_t)n;
    d->ret->dump_bytes += (uint64_t)n;
    return 0;
}

static int inflate(struct dump *d, ZSTD_DCtx *z, struct neo4j_container *c, uint8_t *out, struct bytes in,
                   size_t *state, struct error *err) {
    ZSTD_inBuffer from = {in.ptr, in.len, 0};
    bool more = true;
    while (more) {
        ZSTD_outBuffer to = {out, IN_BYTES, 0};
        size_t before = from.pos;
        *state = ZSTD_decompressStream(z, &to, &from);
        if (ZSTD_isError(*state))
            return error_set(err, ERR_SOURCE_TRUNCATED, "the dump of %s is damaged: %s", d->database,
                             ZSTD_getErrorName(*state));
        int r = neo4j_container_feed(c, BYTES_OF(out, to.pos), err);
        if (r < 0) return r;
        more = from.pos < from.size || to.pos == to.size;
        if (more && to.pos == 0 && from.pos == before) break;
    }
    return 0;
}

/* `n` bytes of it, beyond the magic, are in `in` already. */
static int read_apart(struct dump *d, int fd, uint8_t *in, size_t n, struct error *err) {
    const struct neo4j_container_events on = {d, on_frame, on_file, on_content};
    struct neo4j_container c;
    void *out = NULL;
    size_t state = 1;
    ZSTD_DCtx *z = ZSTD_createDCtx();
    int r = z ? mem_alloc(IN_BYTES, &out, err) : error_set(err, ERR_NO_MEMORY, "no memory for a decoder");
    neo4j_container_init(&c, &on, false);
    if (r == 0) r = open_item(d, "frame", ITEM_RECORDS, &d->frame, err);
    while (r == 0 && n) {
        r = inflate(d, z, &c, out, BYTES_OF(in, n), &state, err);
        progress(d, "dump");
        if (r == 0) r = read_some(d, fd, in, &n, err);
    }
    if (r == 0 && state != 0)
        r = error_set(err, ERR_SOURCE_TRUNCATED, "the dump of %s ends within its compressed stream", d->database);
    if (r == 0) r = neo4j_container_end(&c, err);
    d->ret->apart = !c.foreign;
    d->ret->files = c.files;
    if (r == 0 && d->file) r = close_item(d, &d->file, "a file of the store", err);
    if (r == 0) r = close_item(d, &d->frame, "a dump without its files", err);
    neo4j_container_free(&c);
    ZSTD_freeDCtx(z);
    seam_free(out);
    return r;
}

static int read_opaque(struct dump *d, int fd, uint8_t *in, struct bytes head, struct error *err) {
    int r = open_item(d, "dump", ITEM_OPAQUE, &d->whole, err);
    size_t n = 1;
    if (r == 0) r = sink_write(d->sink, d->whole, head, err);
    while (r == 0 && n) {
        r = read_some(d, fd, in, &n, err);
        if (r == 0 && n) r = sink_write(d->sink, d->whole, BYTES_OF(in, n), err);
        progress(d, "dump");
    }
    d->ret->bytes = d->ret->dump_bytes;
    return r == 0 ? close_item(d, &d->whole, "a dump as it came", err) : r;
}

static int read_dump(struct dump *d, int fd, uint8_t *in, struct error *err) {
    uint8_t magic[4];
    size_t n = 0;
    int r = io_read_full(fd, magic, sizeof magic, &n, "the dump", err);
    if (r < 0) return r;
    d->ret->dump_bytes = n;
    if (n == 0) return error_set(err, ERR_SOURCE_TRUNCATED, "the dump of %s is empty", d->database);
    if (n < sizeof magic || memcmp(magic, NEO4J_DUMP_MAGIC, sizeof magic) != 0)
        return read_opaque(d, fd, in, BYTES_OF(magic, n), err);
    r = read_some(d, fd, in, &n, err);
    if (r == 0 && n == 0)
        return error_set(err, ERR_SOURCE_TRUNCATED, "the dump of %s ends after its first word", d->database);
    return r == 0 ? read_apart(d, fd, in, n, err) : r;
}

int neo4j_dump_items(const struct neo4j_offline *o, const char *database, struct sink *sink, struct neo4j_dumped *ret,
                     struct error *err) {
    struct dump d = {
        .o = o, .database = database, .sink = sink, .ret = ret, .name = BUF_INIT(NEO4J_FILE_NAME_MAX + 200)};
    struct error ended = ERROR_INIT;
    char doing[NEO4J_NAME_MAX + 40];
    void *in = NULL;
    struct proc *p = NULL;
    *ret = (struct neo4j_dumped){0};
    snprintf(doing, sizeof doing, "dump the database %s", database);
    int r = mem_alloc(IN_BYTES, &in, err);
    if (r == 0)
        r = neo4j_admin_start(o, NULL, (const char *[]){"database", "dump", "--to-stdout", database, NULL}, false, true,
                              &p, err);
    if (r == 0) r = read_dump(&d, proc_out(p), in, err);
    /* Why the stream is short, the one that made it knows best. */
    if (p && (r == 0 || r == -ERR_SOURCE_TRUNCATED) && neo4j_admin_wait(p, doing, &ended) < 0) {
        *err = ended;
        r = -(int)ended.code;
    }
    proc_free(p);
    sink->ops->drop(d.file);
    sink->ops->drop(d.frame);
    sink->ops->drop(d.whole);
    buf_free(&d.name);
    seam_free(in);
    return r;
}
