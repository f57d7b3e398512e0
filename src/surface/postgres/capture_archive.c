#include "surface/postgres/postgres_internal.h"
#include "surface/postgres/rows.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <stdio.h>

#define REPORT_EVERY_NS (NS_PER_S / 4)
#define NAME_BYTES_MAX 4096
#define WAIT_MS 200

int pg_report(const struct pg_settings *s, struct pg_fleet *f, const char *phase, uint64_t bytes, struct error *err) {
    uint64_t all = atomic_fetch_add_explicit(&f->bytes, bytes, memory_order_relaxed) + bytes;
    int64_t now = time_monotonic_ns(), last = atomic_load_explicit(&f->reported_at, memory_order_relaxed);
    if (now - last < REPORT_EVERY_NS || !atomic_compare_exchange_strong(&f->reported_at, &last, now)) return 0;
    const struct surface_events *e = &s->ctx->events;
    if (e->progress) e->progress(e->ctx, phase, all, 0, atomic_load(&f->items));
    return pg_fleet_check(f, err);
}

static int report(struct pg_capture *c, uint64_t more, struct error *err) {
    c->bytes += more;
    return pg_report(c->s, c->fleet, "dump", more, err);
}

static int close_item(struct pg_capture *c, struct sink_item **it, json_t *attr, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(JSON_MAX_BYTES);
    int r = json_write(attr, &text, err);
    if (r < 0) return r;
    struct sink_item *item = *it;
    *it = NULL; /* close frees it, whatever comes of it */
    r = c->sink->ops->close(item, buf_bytes(&text), NULL, err);
    if (r == 0) c->items++, atomic_fetch_add(&c->fleet->items, 1);
    return r;
}

struct pipe {
    int fd;
    const struct pg_fleet *fleet;
};

/* A dump that waits for a lock says nothing for hours, in which another may have failed. */
static int read_pipe(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    const struct pipe *in = ctx;
    struct pollfd some = {.fd = in->fd, .events = POLLIN};
    int ready = in->fleet->at_once > 1 ? 0 : 1;
    while (ready == 0) {
        int r = pg_fleet_check(in->fleet, err);
        if (r < 0) return r;
        ready = seam_poll(&some, 1, WAIT_MS);
    }
    ssize_t got = ready < 0 ? -1 : seam_read(in->fd, p, n);
    if (got < 0) return error_set_errno(err, ERR_IO_READ, "read from pg_dump");
    *ret_n = (size_t)got;
    return 0;
}

/* ---- one block of rows ---- */
static int copy_rows(struct pg_capture *c, struct pg_archive *a, struct sink_item *it, struct pg_rows *rows,
                     struct error *err) {
    for (;;) {
        uint8_t *space;
        size_t room, n;
        int r = c->sink->ops->space(it, &space, &room, err);
        if (r == 0) r = pg_archive_read(a, space, room, &n, err);
        if (r < 0 || n == 0) return r;
        if (rows && (r = pg_rows_text(rows, BYTES_OF(space, n), err)) < 0) return r;
        if ((r = c->sink->ops->advance(it, n, err)) < 0) return r;
        if ((r = report(c, n, err)) < 0) return r;
    }
}

static int put_invariant(struct pg_capture *c, const char *database, struct bytes key, json_t *value,
                         struct error *err) {
    json_t *both = value ? json_pack("{s:o, s:s}", "value", value, "expect", "equal") : NULL;
    if (!both) return error_set(err, ERR_NO_MEMORY, "no memory");
    return pg_key_put(c->invariants, database, key, both, err);
}

static json_t *rows_value(const struct pg_rows *rows) {
    char digest[33];
    pg_rows_digest(rows, digest);
    return json_pack("{s:I, s:s}", "rows", (json_int_t)rows->rows, "digest", digest);
}

struct copying {
    struct pg_capture *c;
    struct pg_archive *a;
    const struct pg_toc *t;
    const char *database;
    const json_t *inherits;
    struct pg_captured *ret;
    struct pg_rows objects;
    struct buf spare; /* has the room that giving up needs */
};

static int table_facts(struct copying *k, const struct pg_entry *e, const struct pg_rows *rows, json_t *columns,
                       json_t *attr, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(NAME_BYTES_MAX);
    struct bytes list;
    char digest[33];
    pg_rows_digest(rows, digest);
    int r = pg_json_put(attr, BYTES_STR("columns"), json_incref(columns), err);
    if (r == 0) r = json_put_int(attr, "rows", (int64_t)rows->rows, err);
    if (r == 0) r = json_put_str(attr, "digest", digest, err);
    if (r == 0) r = pg_qualified(&name, pg_toc_text(k->t, e->schema), pg_toc_text(k->t, e->tag), err);
    if (r == 0) r = put_invariant(k->c, k->database, buf_bytes(&name), rows_value(rows), err);
    json_t *known = r == 0 ? json_name(buf_bytes(&name)) : NULL;
    bool inherits = known && json_object_get(k->inherits, json_string_value(known));
    json_decref(known);
    if (r == 0 && inherits) {
        r = pg_copy_columns(pg_toc_text(k->t, e->copy), &list, NULL, err);
        if (r == 0)
            r = pg_json_put(k->ret->columns, buf_bytes(&name), json_stringn((const char *)list.ptr, list.len), err);
    }
    return r;
}

/* The next item of this database. */
static int open_item(struct pg_capture *c, struct bytes name, enum item_kind kind, struct sink_item **ret,
                     struct error *err) {
    if (c->seq == c->seq_end) return error_set(err, ERR_INTERNAL, "blocks of the dump were miscounted");
    return c->sink->ops->open(c->sink, c->seq++, name, kind, ret, err);
}

static int data_name(struct copying *k, struct buf *out, struct error *err) {
    char rest[32];
    snprintf(rest, sizeof rest, "data/%010llu", (unsigned long long)++k->ret->tables);
    buf_clear(out);
    return pg_item_name(out, BYTES_STR(k->database), rest, err);
}

static int open_data(struct copying *k, const struct pg_entry *e, const char *type, struct sink_item **ret,
                     json_t **ret_attr, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(NAME_BYTES_MAX);
    json_t *attr = json_pack("{s:s, s:i}", "type", type, "dump_id", (int)e->dump_id);
    int r = attr ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && e->schema.len > 0)
        r = pg_json_put(attr, BYTES_STR("schema"), json_name(pg_toc_text(k->t, e->schema)), err);
    if (r == 0) r = pg_json_put(attr, BYTES_STR("table"), json_name(pg_toc_text(k->t, e->tag)), err);
    if (r == 0) r = data_name(k, &name, err);
    if (r == 0) r = open_item(k->c, buf_bytes(&name), ITEM_RECORDS, ret, err);
    if (r < 0)
        json_decref(attr);
    else
        *ret_attr = attr;
    return r;
}

static int copy_table(struct copying *k, const struct pg_entry *e, struct error *err) {
    struct sink_item *it = NULL;
    json_t *attr = NULL, *columns = NULL;
    struct pg_rows rows;
    struct bytes list;
    pg_rows_init(&rows);
    int r = e->copy.len > 0 ? pg_copy_columns(pg_toc_text(k->t, e->copy), &list, &columns, err) : 0;
    if (r == 0) r = open_data(k, e, "table_data", &it, &attr, err);
    if (r == 0) r = copy_rows(k->c, k->a, it, columns ? &rows : NULL, err);
    if (r == 0 && columns) {
        r = pg_rows_finish(&rows, err);
        if (r == 0) r = table_facts(k, e, &rows, columns, attr, err);
    }
    if (r == 0) r = close_item(k->c, &it, attr, err);
    k->c->sink->ops->drop(it);
    json_decref(attr);
    json_decref(columns);
    if (r == 0) return 0;
    struct bytes schema = pg_toc_text(k->t, e->schema), tag = pg_toc_text(k->t, e->tag);
    return error_wrap(err, "table %.*s.%.*s", (int)schema.len, (const char *)schema.ptr, (int)tag.len,
                      (const char *)tag.ptr);
}

/* ---- large objects: (oid, (length, bytes)*, 0)*, 0; all numbers 4 bytes, little-endian ---- */
static int put_number(struct item_out *o, uint32_t v, struct error *err) {
    uint8_t b[4];
    put_u32(b, v);
    return item_out_put(o, BYTES_OF(b, sizeof b), err);
}

/* Full pieces, so that the same object gives the same bytes however the pipe delivered it. */
static int read_piece(struct pg_archive *a, uint8_t *p, size_t bytes, size_t *ret_n, struct error *err) {
    size_t done = 0, n = 1;
    while (done < bytes && n > 0) {
        int r = pg_archive_read(a, p + done, bytes - done, &n, err);
        if (r < 0) return r;
        done += n;
    }
    *ret_n = done;
    return 0;
}

static int copy_object(struct copying *k, struct item_out *o, uint32_t oid, uint8_t *piece, size_t piece_bytes,
                       struct error *err) {
    uint8_t head[4];
    size_t n = 0;
    put_u32(head, oid);
    pg_rows_begin(&k->objects);
    pg_rows_part(&k->objects, BYTES_OF(head, 4));
    int r = put_number(o, oid, err);
    while (r == 0) {
        r = read_piece(k->a, piece, piece_bytes, &n, err);
        if (r < 0 || n == 0) break;
        pg_rows_part(&k->objects, BYTES_OF(piece, n));
        r = put_number(o, (uint32_t)n, err);
        if (r == 0) r = item_out_put(o, BYTES_OF(piece, n), err);
        if (r == 0) r = report(k->c, n, err);
    }
    if (r == 0) r = put_number(o, 0, err);
    if (r == 0) pg_rows_end(&k->objects);
    return r;
}

static int copy_objects(struct copying *k, const struct pg_entry *e, struct error *err) {
    struct sink_item *it = NULL;
    json_t *attr = NULL;
    uint8_t *piece = NULL;
    const size_t piece_bytes = 64 << 10;
    uint64_t before = k->objects.rows;
    int r = mem_alloc(piece_bytes, (void **)&piece, err);
    if (r == 0) r = open_data(k, e, "large_objects", &it, &attr, err);
    struct item_out o = {.sink = k->c->sink, .item = it};
    while (r == 0) {
        uint32_t oid;
        r = pg_archive_object(k->a, &oid, err);
        if (r < 0 || oid == 0) break;
        r = copy_object(k, &o, oid, piece, piece_bytes, err);
    }
    if (r == 0) r = put_number(&o, 0, err);
    if (r == 0) r = item_out_flush(&o, err);
    if (r == 0) r = json_put_int(attr, "objects", (int64_t)(k->objects.rows - before), err);
    if (r == 0) r = close_item(k->c, &it, attr, err);
    k->c->sink->ops->drop(it);
    json_decref(attr);
    seam_free(piece);
    return r < 0 ? error_wrap(err, "large objects") : 0;
}

/* ---- the whole ---- */
static int put_contents(struct pg_capture *c, const char *database, const struct pg_toc *t, json_t *attr,
                        struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(NAME_BYTES_MAX);
    struct sink_item *it = NULL;
    int r = pg_item_name(&name, BYTES_STR(database), "contents", err);
    if (r == 0) r = open_item(c, buf_bytes(&name), ITEM_RECORDS, &it, err);
    if (r < 0) return r;
    struct item_out o = {.sink = c->sink, .item = it};
    r = item_out_put(&o, BYTES_OF(t->raw.ptr, t->raw.len), err);
    if (r == 0) r = item_out_flush(&o, err);
    c->bytes += t->raw.len;
    if (r == 0) r = close_item(c, &it, attr, err);
    c->sink->ops->drop(it);
    return r;
}

static int put_sequences(struct copying *k, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(NAME_BYTES_MAX);
    for (size_t i = 0; i < k->t->entry_count; i++) {
        const struct pg_entry *e = &k->t->entries[i];
        int64_t last;
        bool called;
        if (!pg_text_is(k->t, e->desc, "SEQUENCE SET")) continue;
        buf_clear(&name);
        int r = pg_sequence_set(pg_toc_text(k->t, e->defn), &last, &called, err);
        if (r == 0) r = pg_qualified(&name, pg_toc_text(k->t, e->schema), pg_toc_text(k->t, e->tag), err);
        if (r == 0)
            r = put_invariant(k->c, k->database, buf_bytes(&name),
                              json_pack("{s:I, s:b}", "last_value", (json_int_t)last, "is_called", called), err);
        if (r < 0) return r;
    }
    return 0;
}

static int copy_opaque(struct pg_capture *c, const char *database, struct pg_archive *a, json_t *attr,
                       struct pg_captured *ret, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(NAME_BYTES_MAX);
    struct sink_item *it = NULL;
    int r = pg_item_name(&name, BYTES_STR(database), "archive", err);
    if (r == 0) r = open_item(c, buf_bytes(&name), ITEM_OPAQUE, &it, err);
    if (r < 0) return r;
    for (;;) {
        uint8_t *space;
        size_t room, n = 0;
        r = c->sink->ops->space(it, &space, &room, err);
        if (r == 0) r = pg_archive_raw(a, space, room, &n, err);
        if (r < 0 || n == 0) break;
        if ((r = c->sink->ops->advance(it, n, err)) < 0 || (r = report(c, n, err)) < 0) break;
        ret->bytes += n;
    }
    if (r == 0) r = json_put_str(attr, "type", "archive", err);
    if (r == 0) r = close_item(c, &it, attr, err);
    c->sink->ops->drop(it);
    ret->opaque = true;
    return r;
}

static int copy_blocks(struct copying *k, struct error *err) {
    for (;;) {
        const struct pg_entry *e;
        int r = pg_archive_next(k->a, &e, err);
        if (r < 0 || !e) return r;
        r = pg_entry_is_large_objects(k->t, e) ? copy_objects(k, e, err) : copy_table(k, e, err);
        if (r < 0) return r;
    }
}

static int take_turn(struct pg_capture *c, uint64_t items, struct error *err) {
    int r = pg_fleet_turn(c->fleet, c->place, items, &c->seq, err);
    if (r == 0) c->seq_end = c->seq + items;
    return r;
}

/* Numbers that a failure left over: others would wait for them. */
static void give_up(struct copying *k) {
    struct error err = ERROR_INIT;
    int r = 0;
    while (r == 0 && k->c->seq < k->c->seq_end) {
        struct sink_item *it = NULL;
        r = data_name(k, &k->spare, &err);
        if (r == 0) r = open_item(k->c, buf_bytes(&k->spare), ITEM_RECORDS, &it, &err);
        k->c->sink->ops->drop(it);
    }
}

static int copy_known(struct copying *k, json_t *item_facts, struct error *err) {
    uint64_t items = 1; /* the contents, and one for each block */
    int r = pg_archive_toc(k->a, &k->t, err);
    if (r < 0) return r;
    for (size_t i = 0; i < k->t->entry_count; i++) items += k->t->entries[i].has_data;
    r = json_put_str(item_facts, "type", "contents", err);
    if (r == 0) r = json_put_int(item_facts, "entries", (int64_t)k->t->entry_count, err);
    if (r == 0) r = take_turn(k->c, items, err);
    if (r == 0) r = put_contents(k->c, k->database, k->t, item_facts, err);
    if (r == 0) r = put_sequences(k, err);
    if (r == 0) r = copy_blocks(k, err);
    if (r == 0) r = put_invariant(k->c, k->database, BYTES_STR("large_objects"), rows_value(&k->objects), err);
    if (r == 0) k->ret->entries = k->t->entry_count;
    k->ret->bytes = k->c->bytes;
    return r;
}

int pg_capture_archive(struct pg_capture *c, const char *database, int fd, json_t *item_facts, const json_t *inherits,
                       struct pg_captured *ret, struct error *err) {
    struct copying k = {
        .c = c, .database = database, .inherits = inherits, .ret = ret, .spare = BUF_INIT(NAME_BYTES_MAX)};
    struct pipe in = {fd, c->fleet};
    uint8_t major, minor;
    char version[16];
    int r = buf_reserve(&k.spare, NAME_BYTES_MAX, err);
    if (r == 0) r = pg_archive_open(read_pipe, &in, &k.a, err);
    if (r < 0) {
        buf_free(&k.spare);
        return r;
    }
    pg_archive_version(k.a, &major, &minor);
    ret->major = major;
    ret->minor = minor;
    snprintf(version, sizeof version, "%u.%u", major, minor);
    r = json_put_str(item_facts, "archive_version", version, err);
    if (r == 0 && pg_archive_known(k.a))
        r = copy_known(&k, item_facts, err);
    else if (r == 0 && (r = take_turn(c, 1, err)) == 0)
        r = copy_opaque(c, database, k.a, item_facts, ret, err);
    if (r < 0) give_up(&k);
    pg_archive_free(k.a);
    buf_free(&k.spare);
    return r;
}
