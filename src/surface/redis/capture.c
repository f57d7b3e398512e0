#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include "surface/redis/canon.h"
#include <stdio.h>

#define PROGRESS_EVERY 16384

struct capture {
    const struct redis_settings *s;
    struct sink *sink;
    struct sorter *sorter;
    struct rdb_in in;
    json_t *facts;
    struct rdb_key key; /* the current one; its name is not kept */
    uint64_t seq, items, bytes, seen, received, tallied;
    struct buf users, libraries, module_aux, module_aux_after, name;
    struct redis_tally tally;
    struct canon canon;
    unsigned version;
    bool wanted, access;
};

/* ---- what arrives ---- */
static int on_aux(void *ctx, struct bytes name, struct bytes value, struct error *err) {
    static const char *const kept[] = {"redis-ver", "valkey-ver", "redis-bits", "ctime", "used-mem", NULL};
    struct capture *c = ctx;
    json_t *aux = json_object_get(c->facts, "rdb_aux");
    for (size_t i = 0; kept[i]; i++)
        if (bytes_equal(name, BYTES_STR(kept[i]))) return json_put(aux, kept[i], json_name(value), err);
    return 0;
}

static int on_library(void *ctx, struct bytes raw, struct bytes code, struct error *err) {
    struct capture *c = ctx;
    redis_tally_library(&c->tally, code);
    return buf_append(&c->libraries, raw.ptr, raw.len, err);
}

static int on_module_aux(void *ctx, struct bytes raw, struct error *err) {
    struct capture *c = ctx;
    struct buf *to = c->seen ? &c->module_aux_after : &c->module_aux;
    return raw.len ? buf_append(to, raw.ptr, raw.len, err) : 0;
}

static int on_key(void *ctx, const struct rdb_key *k, struct error *err) {
    struct capture *c = ctx;
    c->key = *k;
    c->wanted = redis_settings_has(c->s, k->database);
    if (c->wanted) {
        c->access |= k->access != ACCESS_NONE;
        buf_clear(&c->name);
        int r = buf_append(&c->name, k->name.ptr, k->name.len, err);
        if (r < 0) return r;
    }
    if (++c->seen % PROGRESS_EVERY == 0) redis_progress(c->s, "receive", c->received, c->seen);
    return c->wanted ? sorter_begin(c->sorter, k, err) : 0;
}

static int on_value(void *ctx, struct bytes raw, struct error *err) {
    struct capture *c = ctx;
    c->received += raw.len;
    return c->wanted ? sorter_value(c->sorter, raw, err) : 0;
}

/* SCAN may answer a key more than once: what is counted then is what the sorter leaves. */
static bool may_repeat(const struct capture *c) {
    return c->s->method == REDIS_SCAN;
}

static int tally(struct capture *c, uint64_t database, enum rdb_class class, bool expires, struct hash128 hash,
                 struct error *err) {
    c->tallied++;
    return redis_tally_key(&c->tally, database, class, expires, hash, err);
}

static int on_key_end(void *ctx, enum rdb_class class, struct hash128 content, struct error *err) {
    struct capture *c = ctx;
    size_t n = 0;
    if (!c->wanted) return 0;
    uint8_t *held = sorter_held(c->sorter, &n);
    const struct hash128 hash = rdb_key_hash(buf_bytes(&c->name), class, c->key.expires_ms, content);
    int r = held ? canon_order(&c->canon, c->key.type, held, n, err) : 0;
    if (r == 0 && !may_repeat(c)) r = tally(c, c->key.database, class, c->key.expires_ms >= 0, hash, err);
    return r == 0 ? sorter_end(c->sorter, class, may_repeat(c) ? hash : (struct hash128){0}, err) : r;
}

static struct rdb_events events_of(struct capture *c) {
    return (struct rdb_events){.ctx = c,
                               .aux = on_aux,
                               .library = on_library,
                               .module_aux = on_module_aux,
                               .key = on_key,
                               .value = on_value,
                               .key_end = on_key_end};
}

static int by_replication(struct capture *c, struct error *err) {
    struct redis_sync y;
    struct rdb_facts rdb;
    struct rdb_events ev = events_of(c);
    int r = redis_sync_open(c->s, &y, err);
    if (r < 0) return r;
    r = rdb_in_open(&c->in, redis_sync_read, &y, err);
    if (r == 0) r = rdb_walk(&c->in, &ev, &rdb, err);
    if (r == 0) r = redis_sync_end(&y, &c->in, err);
    if (r == 0) r = redis_sync_facts(&y, &rdb, c->facts, err);
    if (r == 0) c->version = rdb.version;
    if (r == 0 && !rdb.checksum)
        redis_note(c->s, NOTE_WARNING, "rdb", "the server wrote no checksum (rdbchecksum no): its stream is unchecked");
    rdb_in_close(&c->in);
    redis_sync_close(&y);
    return r < 0 ? error_state(err, "nothing was kept as a snapshot") : 0;
}

/* Libraries as FUNCTION DUMP has them: what an RDB has, and ten bytes at the end. */
static int dumped_libraries(struct capture *c, struct resp *conn, struct error *err) {
    struct resp_reply h;
    int r = resp_words(conn, err, "FUNCTION", "DUMP", NULL);
    if (r == 0) r = resp_flush(conn, err);
    if (r == 0) r = resp_next(conn, &h, err);
    if (r < 0) return r;
    if (h.kind != RESP_BULK) {
        redis_note(c->s, NOTE_SKIPPED, "functions",
                   "the user may not read them, or the server has none: they are not part of this snapshot");
        return resp_skip(conn, &h, err);
    }
    r = resp_bulk(conn, &h, &c->libraries, err);
    if (r < 0) return r;
    if (c->libraries.len < 10) return error_set(err, ERR_REDIS_PROTOCOL, "FUNCTION DUMP answered too little");
    c->libraries.len -= 10;
    return 0;
}

struct memory {
    struct bytes left;
};
static int read_memory(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct memory *m = ctx;
    (void)err;
    *ret_n = n < m->left.len ? n : m->left.len;
    if (*ret_n) memcpy(p, m->left.ptr, *ret_n);
    m->left = BYTES_OF(m->left.ptr + *ret_n, m->left.len - *ret_n);
    return 0;
}

static int count_libraries(struct capture *c, struct error *err) {
    struct memory m = {buf_bytes(&c->libraries)};
    CLEANUP(buf_free) struct buf code = BUF_INIT(REDIS_TEXT_MAX);
    int r = rdb_in_open(&c->in, read_memory, &m, err);
    while (r == 0 && rdb_offset(&c->in) < c->libraries.len) {
        uint8_t opcode;
        buf_clear(&code);
        r = rdb_take(&c->in, &opcode, 1, err);
        if (r == 0 && opcode != 245) r = rdb_bad(&c->in, err, "FUNCTION DUMP holds what is no library");
        if (r == 0) r = rdb_string_get(&c->in, &code, err);
        if (r == 0) redis_tally_library(&c->tally, buf_bytes(&code));
    }
    rdb_in_close(&c->in);
    return r;
}

static int by_scan(struct capture *c, struct resp *conn, struct bytes info, struct error *err) {
    struct rdb_events ev = events_of(c);
    uint64_t vanished = 0;
    int r = redis_scan(c->s, conn, info, &ev, &c->version, &vanished, err);
    if (r == 0) r = dumped_libraries(c, conn, err);
    if (r == 0) r = count_libraries(c, err);
    if (r == 0) r = json_put_int(c->facts, "vanished", (int64_t)vanished, err);
    return r == 0 ? json_put_int(c->facts, "rdb_version", c->version, err) : r;
}

/* ---- what is kept ---- */
static int item_open(struct capture *c, const char *name, enum item_kind kind, struct item_out *o, struct error *err) {
    int r = item_out_open(o, c->sink, c->seq, name, kind, err);
    if (r == 0) c->seq++;
    return r;
}

static int item_close(struct capture *c, struct item_out *o, json_t *attr, struct error *err) {
    c->items++;
    c->bytes += o->total;
    return item_out_close(o, attr, err);
}

static int put_text(struct capture *c, const char *name, const struct buf *text, struct error *err) {
    struct item_out o;
    if (text->len == 0) return 0;
    int r = item_open(c, name, ITEM_RECORDS, &o, err);
    if (r < 0) return r;
    r = item_out_put(&o, BYTES_OF(text->ptr, text->len), err);
    if (r == 0) r = item_close(c, &o, json_pack("{s:s, s:i}", "type", name, "rdb_version", (int)c->version), err);
    item_out_drop(&o);
    return r;
}

static int put_key(struct capture *c, const struct sorted *e, struct item_out *keys, struct item_out *access,
                   struct error *err) {
    int r = redis_record_put(keys, &e->key, e->bytes, err);
    if (r == 0 && access->item) r = redis_access_put(access, &e->key, err);
    if (r == 0 && e->held) r = item_out_put(keys, BYTES_OF(e->value.ptr, e->value.len), err);
    while (r == 0 && !e->held) {
        struct bytes piece;
        r = sorter_piece(c->sorter, &piece, err);
        if (r < 0 || piece.len == 0) break;
        r = item_out_put(keys, BYTES_OF(piece.ptr, piece.len), err);
    }
    if (r == 0 && may_repeat(c)) r = tally(c, e->key.database, e->class, e->key.expires_ms >= 0, e->hash, err);
    if (r == 0 && ++c->seen % PROGRESS_EVERY == 0) redis_progress(c->s, "store", c->bytes + keys->total, c->seen);
    return r;
}

static int put_database(struct capture *c, struct sorted *e, bool *end, struct error *err) {
    struct item_out keys = {0}, access = {0};
    uint64_t database = e->key.database, count = 0, expires = 0, largest = 0;
    char name[64];
    int r = 0;
    snprintf(name, sizeof name, "db/%llu/access", (unsigned long long)database);
    if (c->access) r = item_open(c, name, ITEM_RECORDS, &access, err);
    snprintf(name, sizeof name, "db/%llu/keys", (unsigned long long)database);
    if (r == 0) r = item_open(c, name, ITEM_RECORDS, &keys, err);
    while (r == 0 && !*end && e->key.database == database) {
        count++;
        expires += e->key.expires_ms >= 0;
        if (e->bytes > largest) largest = e->bytes;
        r = put_key(c, e, &keys, &access, err);
        if (r == 0) r = sorter_next(c->sorter, e, end, err);
    }
    if (r == 0 && access.item)
        r = item_close(c, &access, json_pack("{s:s, s:I}", "type", "access", "database", (json_int_t)database), err);
    if (r == 0)
        r = item_close(c, &keys,
                       json_pack("{s:s, s:I, s:i, s:I, s:I, s:I}", "type", "keys", "database", (json_int_t)database,
                                 "rdb_version", (int)c->version, "keys", (json_int_t)count, "expires",
                                 (json_int_t)expires, "largest", (json_int_t)largest),
                       err);
    item_out_drop(&keys);
    item_out_drop(&access);
    return r == 0 ? json_push(json_object_get(c->facts, "databases"), json_integer((json_int_t)database), err) : r;
}

static int put_all(struct capture *c, struct error *err) {
    struct sorted e;
    bool end = false;
    int r = put_text(c, "acl", &c->users, err);
    if (r == 0) r = sorter_sort(c->sorter, err);
    c->seen = 0;
    if (r == 0) r = sorter_next(c->sorter, &e, &end, err);
    while (r == 0 && !end) r = put_database(c, &e, &end, err);
    if (r == 0 && c->seen != c->tallied)
        r = error_set(err, ERR_REDIS_RDB, "the stream has %llu keys, of which only %llu are different ones",
                      (unsigned long long)c->tallied, (unsigned long long)c->seen);
    if (r == 0) r = put_text(c, "functions", &c->libraries, err);
    if (r == 0) r = put_text(c, "module_aux", &c->module_aux, err);
    return r == 0 ? put_text(c, "module_aux_after", &c->module_aux_after, err) : r;
}

static int capture(struct capture *c, struct error *err) {
    CLEANUP(buf_free) struct buf info = BUF_INIT(8u << 20);
    struct resp conn;
    bool had = false;
    int r = redis_connect(c->s, NULL, 0, &conn, err);
    if (r < 0) return r;
    r = redis_facts(c->s, &conn, c->facts, &info, err);
    if (r == 0) r = redis_users(&conn, &c->users, &had, err);
    if (r == 0) r = json_put(c->facts, "users", json_boolean(had), err);
    if (r == 0 && !had)
        redis_note(c->s, NOTE_SKIPPED, "acl",
                   "the user may not read the users (acl|list): they are not part of this snapshot");
    const size_t memory = c->s->ctx->alone ? SORTER_MEMORY_ALONE : SORTER_MEMORY;
    if (r == 0) r = sorter_new(c->s->ctx->scratch_dir, memory, &c->sorter, err);
    if (r == 0) r = c->s->method == REDIS_SCAN ? by_scan(c, &conn, buf_bytes(&info), err) : by_replication(c, err);
    resp_close(&conn);
    return r == 0 ? put_all(c, err) : r;
}

int redis_capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret, struct error *err) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    json_t *invariants = json_object();
    struct capture c = {.sink = sink,
                        .facts = json_pack("{s:{}, s:[]}", "rdb_aux", "databases"),
                        .canon = {.text = BUF_INIT(SORTER_VALUE_MAX)},
                        .users = BUF_INIT(REDIS_TEXT_MAX),
                        .libraries = BUF_INIT(REDIS_TEXT_MAX),
                        .module_aux = BUF_INIT(REDIS_TEXT_MAX),
                        .module_aux_after = BUF_INIT(REDIS_TEXT_MAX),
                        .name = BUF_INIT(RDB_TEXT_BYTES_MAX)};
    int r =
        c.facts && invariants ? redis_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    c.s = s;
    if (r == 0) r = capture(&c, err);
    if (r == 0) r = redis_tally_json(&c.tally, invariants, err);
    if (r == 0)
        *ret = (struct capture_result){.facts = c.facts,
                                       .invariants = invariants,
                                       .items = c.items,
                                       .bytes = c.bytes,
                                       .method = s->method == REDIS_SCAN ? "logical_dump" : "snapshot",
                                       .consistency = s->method == REDIS_SCAN ? "fuzzy" : "exact"};
    sorter_free(c.sorter);
    canon_free(&c.canon);
    redis_tally_free(&c.tally);
    if (c.users.ptr) wipe(c.users.ptr, c.users.cap);
    buf_free(&c.users);
    buf_free(&c.libraries);
    buf_free(&c.module_aux);
    buf_free(&c.module_aux_after);
    buf_free(&c.name);
    if (r == 0) return 0;
    json_decref(c.facts);
    json_decref(invariants);
    return error_wrap(err, "redis %s", ctx->name ? ctx->name : "");
}
