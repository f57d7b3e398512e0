#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include "surface/redis/crc64.h"
#include <stdio.h>
#include <stdlib.h>

#define COUNT "64" /* so many values at most wait in the server for us */
#define FOOTER 10u /* version and checksum of a DUMP */

struct scan {
    const struct redis_settings *s;
    struct resp *c;
    const struct rdb_events *ev;
    struct buf names; /* of one page, each with its length (4 bytes) in front */
    struct buf cursor;
    struct rdb_in in;
    uint64_t left; /* of the dump that is read, without its footer */
    unsigned version;
    uint64_t vanished;
};

static int read_dump(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct scan *w = ctx;
    *ret_n = 0;
    if (w->left == 0) return 0;
    int r = resp_part(w->c, p, n < w->left ? n : (size_t)w->left, ret_n, err);
    w->left -= *ret_n;
    return r;
}

/* The footer is not the parser's: it ends where the value does. */
static int footer(struct scan *w, uint64_t crc, struct error *err) {
    uint8_t b[FOOTER];
    int r = 0;
    for (size_t at = 0, n = 0; r == 0 && at < FOOTER; at += n) r = resp_part(w->c, b + at, FOOTER - at, &n, err);
    if (r == 0) r = resp_bulk_end(w->c, err);
    if (r < 0) return r;
    unsigned version = get_u16(b);
    crc = redis_crc64(crc, BYTES_OF(b, 2));
    if (get_u64(b + 2) != crc) return error_set(err, ERR_REDIS_RDB, "the checksum of a value does not hold");
    if (version > RDB_VERSION_MAX)
        return error_set(err, ERR_REDIS_RDB, "the values are of RDB version %u, and those up to %d are known", version,
                         RDB_VERSION_MAX);
    w->version = version;
    return 0;
}

static int value(struct scan *w, const struct resp_reply *h, struct rdb_key *k, struct error *err) {
    enum rdb_class class;
    struct hash128 content;
    if (h->number < (int64_t)FOOTER + 1) return error_set(err, ERR_REDIS_PROTOCOL, "DUMP answered too little");
    w->left = (uint64_t)h->number - FOOTER;
    w->in.at = w->in.end = w->in.crc_at = w->in.copy_at = 0;
    w->in.crc = w->in.past = 0;
    w->in.ended = false;
    int r = rdb_take(&w->in, &k->type, 1, err);
    if (r == 0) r = w->ev->key(w->ev->ctx, k, err);
    if (r == 0) r = rdb_copy_begin(&w->in, w->ev->value, w->ev->ctx);
    if (r == 0) r = rdb_value(&w->in, k->type, &class, &content, err);
    if (r == 0) r = rdb_copy_end(&w->in, err);
    if (r == 0 && (w->left || w->in.at != w->in.end)) r = rdb_bad(&w->in, err, "a value has more than its type says");
    if (r == 0) r = w->ev->key_end(w->ev->ctx, class, content, err);
    return r == 0 ? footer(w, rdb_in_crc(&w->in), err) : r;
}

/* The reply to PEXPIRETIME (7.0) or PTTL; then the dump. */
static int one(struct scan *w, uint64_t database, struct bytes name, bool absolute, int64_t now_ms, struct error *err) {
    struct resp_reply h;
    struct rdb_key k = {.database = database, .name = name, .expires_ms = -1};
    int r = resp_next(w->c, &h, err);
    if (r == 0 && h.kind == RESP_ERROR) return resp_refused(w->c, h.text, absolute ? "PEXPIRETIME" : "PTTL", err);
    if (r == 0 && h.kind == RESP_INTEGER && h.number >= 0) k.expires_ms = absolute ? h.number : now_ms + h.number;
    if (r == 0) r = resp_next(w->c, &h, err);
    if (r < 0) return r;
    if (h.kind == RESP_ERROR) return resp_refused(w->c, h.text, "DUMP", err);
    if (h.kind == RESP_NIL) {
        w->vanished++;
        return 0;
    }
    if (h.kind != RESP_BULK) return error_set(err, ERR_REDIS_PROTOCOL, "DUMP answered what is no value");
    return value(w, &h, &k, err);
}

static int now(struct scan *w, int64_t *ret_ms, struct error *err) {
    struct resp_reply h;
    CLEANUP(buf_free) struct buf text = BUF_INIT(64);
    int r = resp_words(w->c, err, "TIME", NULL);
    if (r == 0) r = resp_flush(w->c, err);
    if (r == 0) r = resp_next(w->c, &h, err);
    if (r < 0 || h.kind == RESP_ERROR) return r < 0 ? r : resp_refused(w->c, h.text, "TIME", err);
    int64_t parts[2] = {0};
    for (int64_t i = 0, n = h.number; r == 0 && i < n && i < 2; i++) {
        buf_clear(&text);
        r = resp_next(w->c, &h, err);
        if (r == 0 && h.kind == RESP_BULK) r = resp_bulk(w->c, &h, &text, err);
        if (r == 0) r = buf_terminate(&text, err);
        if (r == 0) parts[i] = strtoll((const char *)text.ptr, NULL, 10);
    }
    *ret_ms = parts[0] * 1000 + parts[1] / 1000;
    return r;
}

static int page(struct scan *w, struct error *err) {
    struct resp_reply h;
    int r = buf_terminate(&w->cursor, err);
    if (r == 0) r = resp_words(w->c, err, "SCAN", (const char *)w->cursor.ptr, "COUNT", COUNT, NULL);
    if (r == 0) r = resp_flush(w->c, err);
    if (r == 0) r = resp_next(w->c, &h, err);
    if (r < 0) return r;
    if (h.kind == RESP_ERROR) return resp_refused(w->c, h.text, "SCAN", err);
    buf_clear(&w->cursor);
    buf_clear(&w->names);
    bool good = h.kind == RESP_LIST && h.number == 2;
    if (good) r = resp_next(w->c, &h, err);
    good = good && r == 0 && h.kind == RESP_BULK;
    if (good) r = resp_bulk(w->c, &h, &w->cursor, err);
    if (good && r == 0) r = resp_next(w->c, &h, err);
    good = good && r == 0 && h.kind == RESP_LIST;
    if (r < 0) return r;
    if (!good) return error_set(err, ERR_REDIS_PROTOCOL, "SCAN answered what is no page of keys");
    for (int64_t n = h.number; r == 0 && n; n--) {
        r = resp_next(w->c, &h, err);
        if (r == 0 && h.kind != RESP_BULK) r = error_set(err, ERR_REDIS_PROTOCOL, "SCAN answered what is no key");
        if (r == 0) r = buf_append_u32(&w->names, (uint32_t)h.number, err);
        if (r == 0) r = resp_bulk(w->c, &h, &w->names, err);
    }
    return r;
}

static int dump_page(struct scan *w, uint64_t database, bool absolute, struct error *err) {
    int64_t now_ms = 0;
    int r = absolute ? 0 : now(w, &now_ms, err);
    for (int pass = 0; pass < 2 && r == 0; pass++) {
        struct cursor at = cursor_of(buf_bytes(&w->names));
        while (r == 0 && at.len) {
            uint32_t n = cursor_u32(&at);
            struct bytes name = cursor_take(&at, n);
            struct bytes time[] = {BYTES_STR(absolute ? "PEXPIRETIME" : "PTTL"), name},
                         dump[] = {BYTES_STR("DUMP"), name};
            if (pass) {
                r = one(w, database, name, absolute, now_ms, err);
                continue;
            }
            r = resp_command(w->c, 2, time, err);
            if (r == 0) r = resp_command(w->c, 2, dump, err);
        }
        if (r == 0 && pass == 0) r = resp_flush(w->c, err);
    }
    return r;
}

static int scan_database(struct scan *w, uint64_t database, bool absolute, struct error *err) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)database);
    int r = resp_ask(w->c, NULL, err, "SELECT", text, NULL);
    buf_clear(&w->cursor);
    if (r == 0) r = buf_append_str(&w->cursor, "0", err);
    do {
        if (r == 0) r = stop_check(err);
        if (r == 0) r = page(w, err);
        if (r == 0) r = dump_page(w, database, absolute, err);
    } while (r == 0 && !bytes_equal(buf_bytes(&w->cursor), BYTES_STR("0")));
    return r;
}

int redis_scan(const struct redis_settings *s, struct resp *c, struct bytes info, const struct rdb_events *ev,
               unsigned *ret_version, uint64_t *ret_vanished, struct error *err) {
    struct scan w = {.s = s, .c = c, .ev = ev, .names = BUF_INIT(256u << 20), .cursor = BUF_INIT(64)};
    char version[64] = "";
    (void)redis_info(info, "redis_version", version, sizeof version);
    int r = rdb_in_open(&w.in, read_dump, &w, err);
    for (size_t at = 0; r == 0 && at < info.len;) { /* "db3:keys=…": those that have any */
        const uint8_t *line = info.ptr + at, *nl = memchr(line, '\n', info.len - at);
        size_t len = nl ? (size_t)(nl - line) : info.len - at;
        char text[32];
        unsigned long long database;
        snprintf(text, sizeof text, "%.*s", len < 30 ? (int)len : 30, (const char *)line);
        at += len + 1;
        if (sscanf(text, "db%llu:keys=", &database) != 1 || !strstr(text, ":keys=")) continue;
        if (redis_settings_has(s, database)) r = scan_database(&w, database, atoi(version) >= 7, err);
    }
    rdb_in_close(&w.in);
    buf_free(&w.names);
    buf_free(&w.cursor);
    *ret_version = w.version;
    *ret_vanished = w.vanished;
    return r;
}
