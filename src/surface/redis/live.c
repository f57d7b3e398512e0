#include "surface/redis/live.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "surface/redis/crc64.h"
#include <stdio.h>
#include <stdlib.h>

#define FLIGHT_MAX (4u << 20)
#define BULK_MAX (UINT64_C(512) << 20) /* a server's own bound when it does not say */
#define FOOTER 10u

/* ---- answers ---- */
static int conflict(struct live *l, struct error *err) {
    return error_set(err, ERR_REDIS_EXISTS, "%s has keys in database %llu that would be overwritten", l->c.where,
                     (unsigned long long)l->to);
}

/* *ret_heard: there was an answer, whatever it says. */
static int answer(struct live *l, const struct live_pending *p, bool *ret_heard, struct error *err) {
    struct resp_reply h;
    int r = resp_next(&l->c, &h, err);
    if (r < 0) return r;
    *ret_heard = h.kind == RESP_STATUS || h.kind == RESP_INTEGER || h.kind == RESP_ERROR;
    if (h.kind == RESP_STATUS || (h.kind == RESP_INTEGER && h.number)) { /* MSETNX: all or none */
        l->stored += p->keys;
        l->done[l->n_done - 1].stored += p->keys;
        l->lasting += p->lasting;
        l->gone += p->expired;
        return 0;
    }
    if (!*ret_heard)
        return error_set(err, ERR_REDIS_PROTOCOL, "%s answered RESTORE with what is no answer", l->c.where);
    if ((r = live_not_ours(l, p, err)) < 0) return r;
    if (h.kind == RESP_INTEGER) return conflict(l, err);
    if (h.text.len >= 7 && memcmp(h.text.ptr, "BUSYKEY", 7) == 0) {
        if (l->conflicts != CONFLICT_SKIP) return conflict(l, err);
        l->skipped += p->keys;
        return 0;
    }
    return resp_refused(&l->c, h.text, "RESTORE", err);
}

static int oldest(struct live *l, bool *ret_heard, struct error *err) {
    struct live_pending p = l->pending[l->oldest];
    *ret_heard = false;
    int r = answer(l, &p, ret_heard, err);
    if (r < 0 && !*ret_heard) return r; /* it stays among those that nothing is known of */
    l->oldest = (l->oldest + 1) % LIVE_PENDING_MAX;
    l->waiting--;
    l->flight -= p.bytes;
    return r;
}

static int drain(struct live *l, size_t to, struct error *err) {
    bool heard;
    int r = resp_flush(&l->c, err);
    while (r == 0 && l->waiting > to) r = oldest(l, &heard, err);
    return r;
}

int live_settle(struct live *l, struct error *err) {
    bool heard;
    int r = resp_flush(&l->c, err);
    while (r == 0 && l->waiting) {
        struct error refused = ERROR_INIT;
        if (oldest(l, &heard, &refused) < 0 && !heard) r = -(int)(*err = refused).code;
    }
    return r;
}

static int expect(struct live *l, struct live_pending p, struct error *err) {
    l->pending[(l->oldest + l->waiting++) % LIVE_PENDING_MAX] = p;
    if (!p.batch) l->unsent = false;
    l->flight += p.bytes;
    if (l->waiting == LIVE_PENDING_MAX || l->flight > FLIGHT_MAX) return drain(l, l->waiting / 2, err);
    return 0;
}

/* ---- commands ---- */
static int bulk_head(struct resp *c, uint64_t n, struct error *err) {
    char text[32];
    return resp_raw(c, BYTES_OF(text, (size_t)snprintf(text, sizeof text, "$%llu\r\n", (unsigned long long)n)), err);
}

static int bulk(struct resp *c, struct bytes b, struct error *err) {
    int r = bulk_head(c, b.len, err);
    if (r == 0) r = resp_raw(c, b, err);
    return r == 0 ? resp_raw(c, BYTES_STR("\r\n"), err) : r;
}

static int number(struct resp *c, uint64_t v, struct error *err) {
    char text[24];
    return bulk(c, BYTES_OF(text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)v)), err);
}

/* The server has been told how much comes: it gets so much, with a checksum that is none, and refuses it. */
static int tear(struct live *l, uint64_t left, struct error *err) {
    static const uint8_t nothing[4096];
    int r = 0;
    while (r == 0 && left) {
        size_t n = left < sizeof nothing ? (size_t)left : sizeof nothing;
        r = resp_raw(&l->c, BYTES_OF(nothing, n), err);
        left -= n;
    }
    return r;
}

/* The value as DUMP would have given it: type, value, version, checksum. */
static int payload(struct live *l, const struct rdb_key *k, uint64_t value_bytes, struct error *err) {
    uint8_t foot[FOOTER];
    uint64_t crc = redis_crc64(0, BYTES_OF(&k->type, 1));
    int r = bulk_head(&l->c, 1 + value_bytes + FOOTER, err);
    if (r == 0) r = resp_raw(&l->c, BYTES_OF(&k->type, 1), err);
    for (struct bytes piece; r == 0;) {
        uint64_t left = l->rec.value_left;
        if (redis_records_value(&l->rec, 512 << 10, &piece, &l->torn) < 0) {
            r = tear(l, left, err);
            break;
        }
        if (piece.len == 0) break;
        crc = redis_crc64(crc, piece);
        r = resp_raw(&l->c, piece, err);
    }
    put_u16(foot, (uint16_t)l->rec.version);
    put_u64(foot + 2, redis_crc64(crc, BYTES_OF(foot, 2)));
    if (l->torn.code) memset(foot + 2, 0x5a, 8);
    if (r == 0) r = resp_raw(&l->c, BYTES_OF(foot, FOOTER), err);
    return r == 0 ? resp_raw(&l->c, BYTES_STR("\r\n"), err) : r;
}

static int too_big(const struct live *l, struct bytes name, uint64_t bytes, struct error *err) {
    return error_set(err, ERR_REDIS_TOO_BIG,
                     "a value of %llu bytes (the key has %zu) is more than %s takes in one command (%llu)",
                     (unsigned long long)bytes, name.len, l->c.where, (unsigned long long)l->bulk_max);
}

static int send_restore(struct live *l, const struct rdb_key *k, uint64_t value_bytes, struct error *err) {
    bool replace = l->conflicts == CONFLICT_REPLACE;
    uint64_t nth = l->done[l->n_done - 1].taken - 1;
    char head[64];
    int64_t expires = k->expires_ms >= 0 ? k->expires_ms + l->shift_ms : 0;
    unsigned words = 4 + (expires != 0) + replace + (k->access ? 2 : 0);
    struct live_pending p = {.first = nth,
                             .last = nth,
                             .keys = 1,
                             .bytes = (uint32_t)(value_bytes < FLIGHT_MAX ? value_bytes + k->name.len : FLIGHT_MAX),
                             .lasting = k->expires_ms < 0,
                             .expired = k->expires_ms >= 0 && expires <= l->now_ms};
    if (1 + value_bytes + FOOTER > l->bulk_max || k->name.len > l->bulk_max)
        return too_big(l, k->name, value_bytes, err);
    int r =
        resp_raw(&l->c, BYTES_OF(head, (size_t)snprintf(head, sizeof head, "*%u\r\n$7\r\nRESTORE\r\n", words)), err);
    if (r == 0) r = bulk(&l->c, k->name, err);
    if (r == 0) r = number(&l->c, (uint64_t)expires, err);
    if (r == 0) r = payload(l, k, value_bytes, err);
    if (r == 0 && expires) r = resp_raw(&l->c, BYTES_STR("$6\r\nABSTTL\r\n"), err);
    if (r == 0 && replace) r = resp_raw(&l->c, BYTES_STR("$7\r\nREPLACE\r\n"), err);
    if (r == 0 && k->access) {
        r = resp_raw(&l->c, k->access == ACCESS_IDLE ? BYTES_STR("$8\r\nIDLETIME\r\n") : BYTES_STR("$4\r\nFREQ\r\n"),
                     err);
        if (r == 0) r = number(&l->c, k->since, err);
    }
    if (r == 0) r = expect(l, p, err);
    if (r == 0 && l->torn.code) {
        *err = l->torn;
        r = -(int)err->code;
    }
    return r;
}

/* ---- many short strings in one command ---- */
static int batch_send(struct live *l, struct error *err) {
    bool all = l->conflicts == CONFLICT_REPLACE;
    char head[64];
    if (l->batched == 0) return 0;
    struct live_pending p = {.first = l->batch_first,
                             .last = l->batch_last,
                             .keys = l->batched,
                             .bytes = (uint32_t)l->batch.len,
                             .lasting = l->batched,
                             .batch = true};
    size_t n =
        (size_t)snprintf(head, sizeof head, "*%u\r\n%s\r\n", 1 + 2 * l->batched, all ? "$4\r\nMSET" : "$6\r\nMSETNX");
    int r = resp_raw(&l->c, BYTES_OF(head, n), err);
    if (r == 0) r = resp_raw(&l->c, buf_bytes(&l->batch), err);
    if (r < 0) return r; /* it stays what was not sent */
    buf_clear(&l->batch);
    l->batched = 0;
    return expect(l, p, err);
}

static int batch_bulk(struct buf *b, struct bytes text, struct error *err) {
    char head[32];
    int r = buf_append(b, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", text.len), err);
    if (r == 0) r = buf_append(b, text.ptr, text.len, err);
    return r == 0 ? buf_append(b, "\r\n", 2, err) : r;
}

/* A string as an RDB has it, whole in memory, decoded. */
static int decode(struct live *l, struct bytes raw, struct bytes *ret, struct error *err) {
    if (raw.len && raw.ptr[0] < 64 && raw.len == 1u + raw.ptr[0]) {
        *ret = BYTES_OF(raw.ptr + 1, raw.len - 1);
        return 0;
    }
    l->feed = raw;
    l->in.at = l->in.end = l->in.crc_at = l->in.copy_at = 0;
    l->in.ended = false;
    buf_clear(&l->text);
    int r = rdb_string_get(&l->in, &l->text, err);
    *ret = buf_bytes(&l->text);
    return r;
}

static int batch_add(struct live *l, const struct rdb_key *k, struct error *err) {
    struct bytes piece, text;
    int r = 0;
    buf_clear(&l->value);
    for (;;) {
        r = redis_records_value(&l->rec, SIZE_MAX, &piece, err);
        if (r < 0 || piece.len == 0) break;
        r = buf_append(&l->value, piece.ptr, piece.len, err);
        if (r < 0) break;
    }
    if (r == 0) r = decode(l, buf_bytes(&l->value), &text, err);
    if (r == 0) r = batch_bulk(&l->batch, k->name, err);
    if (r == 0) r = batch_bulk(&l->batch, text, err);
    if (r < 0) return r;
    l->batch_last = l->done[l->n_done - 1].taken - 1;
    if (l->batched == 0) l->batch_first = l->batch_last;
    l->unsent = false;
    return ++l->batched == LIVE_BATCH || l->batch.len > LIVE_BATCH_BYTES ? batch_send(l, err) : 0;
}

bool live_batches(const struct live *l, const struct rdb_key *k, uint64_t value_bytes) {
    return k->type == 0 && k->expires_ms < 0 && k->access == ACCESS_NONE && value_bytes <= LIVE_BATCH_VALUE &&
           k->name.len <= LIVE_BATCH_VALUE && l->conflicts != CONFLICT_SKIP;
}

/* ---- one database ---- */
static int ask_number(struct live *l, uint64_t *ret, struct error *err, const char *command) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(64);
    int r = resp_ask(&l->c, &text, err, command, NULL);
    if (r == 0) r = buf_terminate(&text, err);
    if (r == 0) *ret = strtoull((const char *)text.ptr, NULL, 10);
    return r;
}

static int enter(struct live *l, uint64_t to, uint64_t *ret_before, struct error *err) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)to);
    l->to = to;
    int r = resp_ask(&l->c, NULL, err, "SELECT", text, NULL);
    return r == 0 ? ask_number(l, ret_before, err, "DBSIZE") : r;
}

/* With "abort", a conflict is found before the first key is written: unless the database is empty, all are asked for.
 */
static int any_exists(struct live *l, const struct redis_items *of, struct error *err) {
    uint64_t there;
    int r = live_ask_keys(l, "EXISTS", of, NULL, &there, err);
    return r == 0 && there ? conflict(l, err) : r;
}

static int load(struct live *l, const struct redis_items *of, struct error *err) {
    struct rdb_key k;
    uint64_t bytes;
    bool end = false, whole = redis_takes_whole(l->q->include, of->database);
    int r = redis_records_open(l->src, of, &l->rec, err);
    for (uint64_t n = 0; r == 0; n++) {
        if (n % 256 == 0) { /* between two keys, and not in the middle of a command */
            stop_hold(false);
            r = stop_check(err);
            stop_hold(true);
        }
        if (r == 0) r = redis_records_next(&l->rec, &k, &bytes, &end, err);
        if (r < 0 || end) break;
        if (!whole && !redis_takes_key(l->q->include, of->database, k.name)) continue;
        l->bytes += bytes;
        l->done[l->n_done - 1].taken++;
        l->unsent = true;
        l->unsent_batch = live_batches(l, &k, bytes);
        r = l->unsent_batch ? batch_add(l, &k, err) : send_restore(l, &k, bytes, err);
        if (n % 16384 == 16383) redis_progress(l->s, "restore", l->bytes, l->stored);
    }
    if (r == 0) r = batch_send(l, err);
    if (r == 0) r = drain(l, 0, err);
    stop_hold(false);
    redis_records_close(&l->rec);
    return r;
}

/* A server that evicts says yes to all and keeps a part. What expires meanwhile may be gone; the rest may not. */
static int count_again(struct live *l, uint64_t before, struct error *err) {
    uint64_t after = 0;
    int r = ask_number(l, &after, err, "DBSIZE");
    if (r == 0 && before == 0 && after < l->lasting)
        r = error_set(err, ERR_REDIS_LOST, "%llu keys were restored into database %llu of %s, which has %llu",
                      (unsigned long long)l->lasting, (unsigned long long)l->to, l->c.where, (unsigned long long)after);
    return r;
}

static void begin(struct live *l, const struct redis_items *of, uint64_t before) {
    l->done[l->n_done++] = (struct live_done){
        .of = of, .to = l->to, .before = before, .overwrites = before && l->conflicts == CONFLICT_REPLACE};
    l->stored = l->skipped = l->gone = l->lasting = 0;
}

static int database(struct live *l, const struct redis_items *of, const struct redis_target *t,
                    struct redis_restored *ret, struct error *err) {
    uint64_t to = of->database, before = 0;
    int r = redis_target_database(t, of->database, &to, err);
    if (r == 0) r = enter(l, to, &before, err);
    /* one that is swapped in brings along whatever it has, so it must still have nothing */
    if (r == 0 && before && l->q->swap) r = conflict(l, err);
    if (r == 0 && before && l->conflicts == CONFLICT_ABORT) r = any_exists(l, of, err);
    if (r < 0) return r;
    begin(l, of, before);
    r = load(l, of, err);
    if (r == 0) r = count_again(l, before, err);
    ret->keys += l->stored - l->gone;
    ret->skipped += l->skipped;
    ret->expired += l->gone;
    if (r < 0) return r;
    char target[64];
    snprintf(target, sizeof target, "database %llu", (unsigned long long)(l->q->swap ? of->database : to));
    json_t *d =
        json_pack("{s:I, s:s, s:I, s:I, s:I}", "database", (json_int_t)of->database, "target", target, "keys",
                  (json_int_t)(l->stored - l->gone), "skipped", (json_int_t)l->skipped, "expired", (json_int_t)l->gone);
    if (d && l->q->swap && json_put_int(d, "former_database", (int64_t)to, err) < 0) {
        json_decref(d);
        return -(int)err->code;
    }
    return json_push(ret->databases, d, err);
}

static int read_feed(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct live *l = ctx;
    (void)err;
    *ret_n = n < l->feed.len ? n : l->feed.len;
    if (*ret_n) memcpy(p, l->feed.ptr, *ret_n);
    l->feed = BYTES_OF(l->feed.ptr + *ret_n, l->feed.len - *ret_n);
    return 0;
}

/* Its number, for the case that it has to be ended from outside. */
static int number_of_client(struct live *l, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(64);
    struct error refused = ERROR_INIT;
    if (resp_ask(&l->c, &text, &refused, "CLIENT", "ID", NULL) == 0 && text.len < sizeof l->client)
        memcpy(l->client, text.ptr, text.len);
    return l->c.broken ? -(int)(*err = refused).code : 0;
}

static int prepare(struct live *l, struct redis_items *items, size_t n, struct error *err) {
    void *pending;
    int r = mem_alloc(LIVE_PENDING_MAX * sizeof *l->pending, &pending, err);
    if (r < 0) return r;
    l->pending = pending;
    r = mem_alloc((n + 1) * sizeof *l->done, &pending, err);
    if (r < 0) return r;
    l->done = pending;
    r = rdb_in_open(&l->in, read_feed, l, err);
    if (r == 0) r = live_check(l, err);
    if (r == 0) r = number_of_client(l, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (redis_takes_whole(l->q->include, items[i].database) && items[i].value_max + 1 + FOOTER > l->bulk_max)
            r = too_big(l, BYTES_OF(NULL, 0), items[i].value_max, err);
    return r;
}

int redis_restore_live(const struct redis_settings *s, struct source *src, const struct restore_request *q,
                       const struct redis_target *t, struct redis_restored *ret, struct error *err) {
    struct redis_items *items = NULL;
    struct redis_target to = *t;
    size_t n = 0, taken = 0;
    struct live l = {.s = s,
                     .src = src,
                     .q = q,
                     .t = t,
                     .conflicts = q->as_scratch ? CONFLICT_REPLACE
                                  : q->swap     ? CONFLICT_ABORT
                                                : s->conflicts,
                     .c = {.fd = -1},
                     .bulk_max = BULK_MAX,
                     .shift_ms = q->as_scratch ? REDIS_SCRATCH_SHIFT_MS : 0,
                     .now_ms = time_now_ns() / 1000000,
                     .functions = BUF_INIT(REDIS_TEXT_MAX),
                     .batch = BUF_INIT(2 * (LIVE_BATCH_BYTES + LIVE_BATCH_VALUE + LIVE_BATCH_TEXT)),
                     .value = BUF_INIT(2 * LIVE_BATCH_BYTES),
                     .text = BUF_INIT(LIVE_BATCH_TEXT)};
    int r = redis_items_find(src, &items, &n, err);
    if (r == 0) r = redis_connect(s, t->host[0] ? t->host : NULL, t->port, &l.c, err);
    if (r == 0) r = prepare(&l, items, n, err);
    if (r == 0 && q->swap) r = live_spares(&l.c, q, &to, err);
    if (r == 0 && redis_takes(q->include, "functions")) r = live_functions(&l, &ret->libraries, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (redis_takes_database(q->include, items[i].database)) {
            taken++;
            r = database(&l, &items[i], &to, ret, err);
        }
    if (r == 0 && q->swap && l.n_done) r = live_swap(&l, err);
    if (r == 0 && q->include && taken == 0 && !redis_takes(q->include, "functions"))
        r = error_set(err, ERR_NO_POINT, "the snapshot has no keys in what was asked for");
    if (r < 0) live_undo(&l, err);
    ret->bytes = l.bytes;
    resp_close(&l.c);
    rdb_in_close(&l.in);
    seam_free(l.pending);
    for (size_t i = 0; i < l.n_done; i++) seam_free(l.done[i].spans);
    seam_free(l.done);
    seam_free(items);
    buf_free(&l.functions);
    buf_free(&l.batch);
    buf_free(&l.value);
    buf_free(&l.text);
    return r;
}
