#include "surface/redis/rdb.h"

#include "base/thread.h"
#include <stdlib.h>

enum {
    OP_SLOT_INFO = 244,
    OP_FUNCTION2 = 245,
    OP_FUNCTION_EARLY = 246,
    OP_MODULE_AUX = 247,
    OP_IDLE = 248,
    OP_FREQ = 249,
    OP_AUX = 250,
    OP_RESIZEDB = 251,
    OP_EXPIRETIME_MS = 252,
    OP_EXPIRETIME = 253,
    OP_SELECTDB = 254,
    OP_EOF = 255
};
#define FIRST_OPCODE 240
#define CHECKSUM_SINCE 5
#define STOP_CHECK_EVERY 4096

struct walk {
    struct rdb_in *in;
    const struct rdb_events *ev;
    struct rdb_key key; /* what is known of the next one */
    struct buf name, text;
    struct rdb_facts *facts;
};

static int magic(struct walk *w, struct error *err) {
    uint8_t head[9];
    char digits[5] = {0};
    int r = rdb_take(w->in, head, sizeof head, err);
    if (r < 0) return r;
    if (memcmp(head, "VALKEY", 6) == 0)
        return rdb_bad(w->in, err, "the stream is of Valkey's own format (of Valkey 9), which is not known here");
    if (memcmp(head, "REDIS", 5) != 0) return rdb_bad(w->in, err, "the stream does not begin as an RDB does");
    memcpy(digits, head + 5, 4);
    if (strspn(digits, "0123456789") != 4) return rdb_bad(w->in, err, "the stream has no version");
    w->facts->version = (unsigned)atoi(digits);
    if (w->facts->version < 1 || w->facts->version > RDB_VERSION_MAX)
        return rdb_bad(w->in, err, "the stream is of RDB version %u, and those up to %d are known", w->facts->version,
                       RDB_VERSION_MAX);
    return 0;
}

static int get(struct walk *w, struct buf *b, struct error *err) {
    buf_clear(b);
    return rdb_string_get(w->in, b, err);
}

static int aux(struct walk *w, struct error *err) {
    int r = get(w, &w->name, err);
    if (r == 0) r = get(w, &w->text, err);
    return r == 0 && w->ev->aux ? w->ev->aux(w->ev->ctx, buf_bytes(&w->name), buf_bytes(&w->text), err) : r;
}

static int collect(void *ctx, struct bytes more, struct error *err) {
    return buf_append(ctx, more.ptr, more.len, err);
}

static int library(struct walk *w, struct error *err) {
    static const uint8_t opcode = OP_FUNCTION2;
    buf_clear(&w->name);
    int r = buf_append(&w->name, &opcode, 1, err);
    if (r == 0) r = rdb_copy_begin(w->in, collect, &w->name);
    if (r == 0) r = get(w, &w->text, err);
    if (r == 0) r = rdb_copy_end(w->in, err);
    return r == 0 && w->ev->library ? w->ev->library(w->ev->ctx, buf_bytes(&w->name), buf_bytes(&w->text), err) : r;
}

static int ignore(void *ctx, struct bytes more, struct error *err) {
    (void)ctx;
    (void)more;
    (void)err;
    return 0;
}

static int module_aux(struct walk *w, struct error *err) {
    static const uint8_t opcode = OP_MODULE_AUX;
    int (*to)(void *, struct bytes, struct error *) = w->ev->module_aux ? w->ev->module_aux : ignore;
    uint64_t id, kind, when;
    struct mix m;
    mix_begin(&m);
    int r = to(w->ev->ctx, BYTES_OF(&opcode, 1), err);
    if (r == 0) r = rdb_copy_begin(w->in, to, w->ev->ctx);
    if (r == 0) r = rdb_plain_length(w->in, &id, err);
    if (r == 0) r = rdb_plain_length(w->in, &kind, err);
    if (r == 0 && kind != 2) r = rdb_bad(w->in, err, "a module's own data does not say when it is loaded");
    if (r == 0) r = rdb_plain_length(w->in, &when, err);
    if (r == 0) r = rdb_module_parts(w->in, &m, err);
    if (r == 0) r = rdb_copy_end(w->in, err);
    return r == 0 ? to(w->ev->ctx, BYTES_OF(NULL, 0), err) : r;
}

static int resize(struct walk *w, struct error *err) {
    uint64_t keys = 0, expires = 0;
    int r = rdb_plain_length(w->in, &keys, err);
    if (r == 0) r = rdb_plain_length(w->in, &expires, err);
    if (r < 0 || !w->ev->database) return r;
    return w->ev->database(w->ev->ctx, w->key.database, keys, expires, err);
}

static int expiry(struct walk *w, size_t n, struct error *err) {
    uint8_t b[8];
    int r = rdb_take(w->in, b, n, err);
    if (r < 0) return r;
    w->key.expires_ms = n == 8 ? (int64_t)get_u64(b) : (int64_t)(int32_t)get_u32(b) * 1000;
    return w->key.expires_ms < 0 ? rdb_bad(w->in, err, "a key expires before all time") : 0;
}

static int key(struct walk *w, uint8_t type, struct error *err) {
    enum rdb_class class;
    struct hash128 content;
    int r = get(w, &w->name, err);
    w->key.name = buf_bytes(&w->name);
    w->key.type = type;
    if (r == 0) r = w->ev->key(w->ev->ctx, &w->key, err);
    if (r == 0) r = rdb_copy_begin(w->in, w->ev->value, w->ev->ctx);
    if (r == 0) r = rdb_value(w->in, type, &class, &content, err);
    if (r == 0) r = rdb_copy_end(w->in, err);
    if (r == 0) r = w->ev->key_end(w->ev->ctx, class, content, err);
    w->key.expires_ms = -1;
    w->key.access = ACCESS_NONE;
    w->key.since = 0;
    w->facts->keys++;
    return r;
}

static int opcode(struct walk *w, uint8_t op, struct error *err) {
    uint64_t v;
    uint8_t b;
    int r;
    switch (op) {
    case OP_AUX:
        return aux(w, err);
    case OP_FUNCTION2:
        return library(w, err);
    case OP_MODULE_AUX:
        return module_aux(w, err);
    case OP_RESIZEDB:
        return resize(w, err);
    case OP_SELECTDB:
        r = rdb_plain_length(w->in, &w->key.database, err);
        return r == 0 && w->key.database > INT32_MAX ? rdb_bad(w->in, err, "a database's number is too large") : r;
    case OP_SLOT_INFO:
        for (r = 0, b = 0; r == 0 && b < 3; b++) r = rdb_plain_length(w->in, &v, err);
        return r;
    case OP_EXPIRETIME_MS:
        return expiry(w, 8, err);
    case OP_EXPIRETIME:
        return expiry(w, 4, err);
    case OP_IDLE:
        w->key.access = ACCESS_IDLE;
        return rdb_plain_length(w->in, &w->key.since, err);
    case OP_FREQ:
        w->key.access = ACCESS_FREQ;
        r = rdb_take(w->in, &b, 1, err);
        w->key.since = b;
        return r;
    case OP_FUNCTION_EARLY:
        return rdb_bad(w->in, err, "a function is stored as a server that was no release wrote it (opcode 246)");
    default:
        return rdb_bad(w->in, err, "the opcode %u is not known here", op);
    }
}

static int checksum(struct walk *w, struct error *err) {
    uint8_t b[8];
    if (w->facts->version < CHECKSUM_SINCE) return 0;
    uint64_t is = rdb_in_crc(w->in);
    int r = rdb_take(w->in, b, 8, err);
    if (r < 0) return r;
    uint64_t said = get_u64(b);
    w->facts->checksum = said != 0;
    if (said && said != is)
        return rdb_bad(w->in, err, "the checksum is %016llx, and the stream's own says %016llx", (unsigned long long)is,
                       (unsigned long long)said);
    return 0;
}

static int records(struct walk *w, struct error *err) {
    for (uint64_t n = 0;; n++) {
        uint8_t op;
        int r = n % STOP_CHECK_EVERY == 0 ? stop_check(err) : 0;
        if (r == 0) r = rdb_take(w->in, &op, 1, err);
        if (r == 0 && op == OP_EOF) return checksum(w, err);
        if (r == 0) r = op >= FIRST_OPCODE ? opcode(w, op, err) : key(w, op, err);
        if (r < 0) return r;
    }
}

int rdb_walk(struct rdb_in *in, const struct rdb_events *ev, struct rdb_facts *ret, struct error *err) {
    struct rdb_facts facts = {0};
    struct walk w = {.in = in,
                     .ev = ev,
                     .key = {.expires_ms = -1},
                     .name = BUF_INIT(RDB_TEXT_BYTES_MAX),
                     .text = BUF_INIT(RDB_TEXT_BYTES_MAX),
                     .facts = &facts};
    int r = magic(&w, err);
    if (r == 0) r = records(&w, err);
    buf_free(&w.name);
    buf_free(&w.text);
    facts.bytes = rdb_offset(in);
    if (r == 0) *ret = facts;
    return r;
}
