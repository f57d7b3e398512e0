#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include <stdio.h>

/* The same numbers as a capture's, of a live or a scratch server or of what lies in a folder for one; nothing is
 * stored, so nothing needs an order. */
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

static struct rdb_events events_of(struct measure *m) {
    return (struct rdb_events){
        .ctx = m, .library = on_library, .key = on_key, .value = on_value, .key_end = on_key_end};
}

static int survey(struct measure *m, struct error *err) {
    struct rdb_events ev = events_of(m);
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

static int read_file(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    ssize_t got = seam_read(*(int *)ctx, p, n);
    if (got < 0) return error_set_errno(err, ERR_IO_READ, "read dump.rdb");
    *ret_n = (size_t)got;
    return 0;
}

/* What a restore laid down for a server that is not started yet. */
static int survey_folder(struct measure *m, const char *folder, struct error *err) {
    struct rdb_events ev = events_of(m);
    struct rdb_in in = {0};
    struct rdb_facts rdb;
    char path[4200];
    snprintf(path, sizeof path, "%.4090s/dump.rdb", folder);
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "open %s", path);
    int r = rdb_in_open(&in, read_file, &fd, err);
    if (r == 0) r = rdb_walk(&in, &ev, &rdb, err);
    rdb_in_close(&in);
    io_close(&fd);
    return r < 0 ? error_wrap(err, "%s", path) : 0;
}

int redis_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                  struct error *err) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    struct measure m = {.name = BUF_INIT(RDB_TEXT_BYTES_MAX),
                        .shift_ms = json_integer_value(json_object_get(scratch, "shift_ms"))};
    const char *folder = json_string_value(json_object_get(scratch, "path"));
    json_t *out = json_object();
    (void)facts;
    int r = out ? redis_settings_load(ctx, scratch, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    m.s = s;
    if (r == 0) r = folder ? survey_folder(&m, folder, err) : survey(&m, err);
    if (r == 0) r = redis_tally_json(&m.tally, out, err);
    redis_tally_free(&m.tally);
    buf_free(&m.name);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
