#include "surface/redis/redis_internal.h"

#include <stdio.h>
#include <stdlib.h>

static int tell(struct redis_sync *y, const char *option, const char *value, bool *ret_taken, struct error *err) {
    struct resp_reply h;
    int r = resp_words(&y->c, err, "REPLCONF", option, value, NULL);
    if (r == 0) r = resp_flush(&y->c, err);
    if (r == 0) r = resp_next(&y->c, &h, err);
    if (r < 0) return r;
    *ret_taken = h.kind == RESP_STATUS;
    if (h.kind == RESP_ERROR && h.text.len > 6 && memcmp(h.text.ptr, "NOPERM", 6) == 0)
        return resp_refused(&y->c, h.text, "REPLCONF", err);
    return resp_skip(&y->c, &h, err);
}

static int refused(struct redis_sync *y, struct bytes line, const char *command, struct error *err) {
    int r = resp_refused(&y->c, BYTES_OF(line.ptr + 1, line.len - 1), command, err);
    if (err->code != ERR_REDIS_REPLY && err->code != ERR_REDIS_DENIED) return r;
    err->code = ERR_REDIS_NO_SYNC; /* whatever its words are, this is what they come to */
    return -ERR_REDIS_NO_SYNC;
}

/* "+FULLRESYNC <id> <offset>", after as many newlines as the server needs to stay in touch. */
static int begin(struct redis_sync *y, struct error *err) {
    struct bytes line;
    char text[128];
    int r = resp_words(&y->c, err, "PSYNC", "?", "-1", NULL);
    if (r == 0) r = resp_flush(&y->c, err);
    if (r == 0) r = resp_line(&y->c, &line, err);
    if (r < 0) return r;
    if (line.ptr[0] == '-') return refused(y, line, "PSYNC", err);
    snprintf(text, sizeof text, "%.*s", line.len < 100 ? (int)line.len : 100, (const char *)line.ptr);
    long long offset;
    if (sscanf(text, "+FULLRESYNC %40s %lld", y->id, &offset) != 2)
        return error_set(err, ERR_REDIS_PROTOCOL, "%s began a synchronisation with '%s'", y->c.where, text);
    y->offset = offset;
    return 0;
}

/* "$<length>", or "$EOF:<mark>" of a server that sends what it has not counted. */
static int payload(struct redis_sync *y, struct error *err) {
    struct bytes line;
    char *end;
    int r = resp_line(&y->c, &line, err);
    if (r < 0) return r;
    if (line.ptr[0] == '-') return refused(y, line, "PSYNC", err);
    const char *text = (const char *)line.ptr;
    if (line.len == 5 + sizeof y->mark && memcmp(text, "$EOF:", 5) == 0) {
        y->marked = true;
        memcpy(y->mark, text + 5, sizeof y->mark);
        return 0;
    }
    y->left = strtoull(text + 1, &end, 10);
    if (text[0] != '$' || end == text + 1 || *end || y->left == 0)
        return error_set(err, ERR_REDIS_PROTOCOL, "%s announced its data with '%.60s'", y->c.where, text);
    return 0;
}

int redis_sync_open(const struct redis_settings *s, struct redis_sync *y, struct error *err) {
    bool taken;
    *y = (struct redis_sync){0};
    int r = redis_connect(s, NULL, 0, &y->c, err);
    if (r < 0) return r;
    y->open = true;
    /* Servers before 6.2 do not know it; they go on feeding us, and are left when we have what we came for. */
    r = tell(y, "rdb-only", "1", &y->rdb_only, err);
    if (r == 0) r = tell(y, "capa", "eof", &taken, err);
    if (r == 0) r = begin(y, err);
    if (r == 0) r = payload(y, err);
    if (r < 0) redis_sync_close(y);
    return r;
}

int redis_sync_read(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err) {
    struct redis_sync *y = ctx;
    if (y->marked) return resp_stream(&y->c, p, n, ret_n, err);
    *ret_n = 0;
    if (y->left == 0) return 0;
    int r = resp_stream(&y->c, p, n < y->left ? n : (size_t)y->left, ret_n, err);
    y->left -= *ret_n;
    return r;
}

int redis_sync_end(struct redis_sync *y, struct rdb_in *in, struct error *err) {
    char mark[sizeof y->mark];
    if (!y->marked) {
        uint64_t more = y->left + (in->end - in->at);
        return more ? error_set(err, ERR_REDIS_PROTOCOL, "%s announced %llu bytes more than its data has", y->c.where,
                                (unsigned long long)more)
                    : 0;
    }
    int r = rdb_take(in, mark, sizeof mark, err);
    if (r == 0 && memcmp(mark, y->mark, sizeof mark) != 0)
        r = error_set(err, ERR_SOURCE_TRUNCATED, "%s did not end its data with the mark that it announced", y->c.where);
    return r;
}

void redis_sync_close(struct redis_sync *y) {
    if (y->open) resp_close(&y->c);
    *y = (struct redis_sync){0};
}

int redis_sync_facts(const struct redis_sync *y, const struct rdb_facts *rdb, json_t *facts, struct error *err) {
    int r = json_put_str(facts, "replication_id", y->id, err);
    if (r == 0) r = json_put_int(facts, "replication_offset", y->offset, err);
    if (r == 0) r = json_put(facts, "rdb_only", json_boolean(y->rdb_only), err);
    if (r == 0) r = json_put_str(facts, "rdb_transfer", y->marked ? "marked" : "counted", err);
    if (r == 0) r = json_put_int(facts, "rdb_version", rdb->version, err);
    if (r == 0) r = json_put_int(facts, "rdb_bytes", (int64_t)rdb->bytes, err);
    return r == 0 ? json_put_str(facts, "rdb_checksum", rdb->checksum ? "verified" : "unchecked", err) : r;
}
