#include "surface/redis/redis_internal.h"

#include "base/seam.h"

/* The same numbers as a capture's, of a live or a scratch server; nothing is stored, so nothing needs an order. */
struct measure {
    const struct redis_settings *s;
    struct redis_tally tally;
    struct buf name;
    uint64_t database;
    int64_t expires_ms;
    int64_t shift_ms;
};

static int on_library(void *ctx, struct bytes raw, struct bytes code, struct error *err) {
    struct measure *m = ctx;
    (void)raw;
    (void)err;
    redis_tally_library(&m->tally, code);
    return 0;
}

static int on_key(void *ctx, const struct rdb_key *k, struct error *err) {
    struct measure *m = ctx;
    m->database = k->database;
    m->expires_ms = k->expires_ms >= 0 ? k->expires_ms - m->shift_ms : -1;
    buf_clear(&m->name);
    return buf_append(&m->name, k->name.ptr, k->name.len, err);
}

static int on_value(void *ctx, struct bytes raw, struct error *err) {
    (void)ctx;
    (void)raw;
    (void)err;
    return 0;
}

static int on_key_end(void *ctx, enum rdb_class c, struct hash128 content, struct error *err) {
    struct measure *m = ctx;
    if (!redis_settings_has(m->s, m->database)) return 0;
    struct hash128 h = rdb_key_hash(buf_bytes(&m->name), c, m->expires_ms, content);
    return redis_tally_key(&m->tally, m->database, c, m->expires_ms >= 0, h, err);
}

static int survey(struct measure *m, struct error *err) {
    struct rdb_events ev = {.ctx = m, .library = on_library, .key = on_key, .value = on_value, .key_end = on_key_end};
    struct redis_sync y;
    struct rdb_in in = {0};
    struct rdb_facts rdb;
    int r = redis_sync_open(m->s, &y, err);
    if (r < 0) return r;
    r = rdb_in_open(&in, redis_sync_read, &y, err);
    if (r == 0) r = rdb_walk(&in, &ev, &rdb, err);
    if (r == 0) r = redis_sync_end(&y, &in, err);
    rdb_in_close(&in);
    redis_sync_close(&y);
    return r;
}

int redis_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                  struct error *err) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    struct measure m = {.name = BUF_INIT(RDB_TEXT_BYTES_MAX),
                        .shift_ms = json_integer_value(json_object_get(scratch, "shift_ms"))};
    json_t *out = json_object();
    (void)facts;
    int r = out ? redis_settings_load(ctx, scratch, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    m.s = s;
    if (r == 0) r = survey(&m, err);
    if (r == 0) r = redis_tally_json(&m.tally, out, err);
    redis_tally_free(&m.tally);
    buf_free(&m.name);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
