#include "surface/redis/live.h"

#include "base/seam.h"
#include "surface/redis/crc64.h"
#include <stdio.h>
#include <stdlib.h>

/* A value that has expired is read by the server, and then not stored: a question without a trace. */
static int can_load(struct live *l, unsigned version, struct error *err) {
    uint8_t value[13] = {0, 1, 'x'}, random[8];
    char key[40] = "proofkeep:probe:";
    struct resp_reply h;
    int r = random_bytes(random, sizeof random, err);
    if (r < 0) return r;
    hex_encode(random, sizeof random, key + strlen(key));
    put_u16(value + 3, (uint16_t)version);
    put_u64(value + 5, redis_crc64(0, BYTES_OF(value, 5)));
    struct bytes args[] = {BYTES_STR("RESTORE"), BYTES_STR(key), BYTES_STR("1"), BYTES_OF(value, sizeof value),
                           BYTES_STR("ABSTTL")};
    r = resp_command(&l->c, 5, args, err);
    if (r == 0) r = resp_flush(&l->c, err);
    if (r == 0) r = resp_next(&l->c, &h, err);
    if (r < 0 || h.kind == RESP_STATUS) return r;
    if (h.kind != RESP_ERROR)
        return error_set(err, ERR_REDIS_PROTOCOL, "%s answered RESTORE with what is no answer", l->c.where);
    if (h.text.len < 20 || !memmem(h.text.ptr, h.text.len, "payload version", 15))
        return resp_refused(&l->c, h.text, "RESTORE", err);
    return error_set(err, ERR_REDIS_VERSION, "the values are of RDB version %u, which %s does not load", version,
                     l->c.where);
}

/* CONFIG is often withheld; then the usual bound is taken for granted. */
static int bulk_bound(struct live *l, struct error *err) {
    struct resp_reply h;
    CLEANUP(buf_free) struct buf text = BUF_INIT(4096);
    int r = resp_words(&l->c, err, "CONFIG", "GET", "proto-max-bulk-len", NULL);
    if (r == 0) r = resp_flush(&l->c, err);
    if (r == 0) r = resp_next(&l->c, &h, err);
    if (r < 0 || h.kind != RESP_LIST || h.number != 2) return r < 0 ? r : resp_skip(&l->c, &h, err);
    for (unsigned i = 0; r == 0 && i < 2; i++) {
        buf_clear(&text);
        r = resp_next(&l->c, &h, err);
        if (r == 0) r = h.kind == RESP_BULK ? resp_bulk(&l->c, &h, &text, err) : resp_skip(&l->c, &h, err);
    }
    if (r == 0) r = buf_terminate(&text, err);
    uint64_t bound = r == 0 ? strtoull((const char *)text.ptr, NULL, 10) : 0;
    if (bound) l->bulk_max = bound;
    return r;
}

static int check_server(struct live *l, struct error *err) {
    CLEANUP(buf_free) struct buf info = BUF_INIT(4u << 20);
    char text[128];
    int r = resp_ask(&l->c, &info, err, "INFO", NULL);
    if (r < 0) return r;
    struct bytes i = buf_bytes(&info);
    if (redis_info(i, "loading", text, sizeof text) && strcmp(text, "0") != 0)
        return error_set(err, ERR_REDIS_NOT_READY, "%s is loading its data", l->c.where);
    if (redis_info(i, "role", text, sizeof text) && strcmp(text, "master") != 0)
        return error_set(err, ERR_REDIS_NOT_READY, "%s is a replica, which takes its data from its master only",
                         l->c.where);
    return redis_target_guard(l->s, l->t, l->q, i, l->c.where, err);
}

int live_check(struct live *l, struct error *err) {
    int64_t version = 0;
    int r = json_need_int(l->q->facts, "rdb_version", "the snapshot's facts", &version, err);
    if (r == 0) r = check_server(l, err);
    if (r == 0 && version) r = can_load(l, (unsigned)version, err);
    if (r == 0) r = bulk_bound(l, err);
    return r;
}
