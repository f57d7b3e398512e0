#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

bool redis_info(struct bytes info, const char *key, char *out, size_t n) {
    size_t k = strlen(key);
    for (size_t at = 0; at < info.len;) {
        const uint8_t *line = info.ptr + at, *nl = memchr(line, '\n', info.len - at);
        size_t len = nl ? (size_t)(nl - line) : info.len - at;
        at += len + 1;
        if (len <= k || line[k] != ':' || memcmp(line, key, k) != 0) continue;
        while (len > k + 1 && line[len - 1] == '\r') len--;
        snprintf(out, n, "%.*s", (int)(len - k - 1), (const char *)line + k + 1);
        return true;
    }
    return false;
}

/* "cmd" facts that receipts may show; never an address, a path or a password. */
static const struct {
    const char *info, *fact;
    bool number;
} wanted[] = {
    {"redis_version", "redis_version", false},
    {"valkey_version", "valkey_version", false},
    {"server_name", "server_name", false},
    {"redis_mode", "mode", false},
    {"run_id", "run_id", false},
    {"role", "role", false},
    {"master_repl_offset", "replication_offset", true},
    {"used_memory", "used_memory", true},
    {"maxmemory", "maxmemory", true},
    {"maxmemory_policy", "maxmemory_policy", false},
    {"aof_enabled", "aof_enabled", true},
    {"rdb_last_save_time", "rdb_last_save_time", true},
    {"rdb_last_bgsave_status", "rdb_last_bgsave_status", false},
    {"cluster_enabled", "cluster_enabled", true},
};

static int put_wanted(struct bytes info, json_t *facts, struct error *err) {
    char text[256];
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof wanted / sizeof *wanted; i++) {
        if (!redis_info(info, wanted[i].info, text, sizeof text)) continue;
        r = wanted[i].number ? json_put_int(facts, wanted[i].fact, strtoll(text, NULL, 10), err)
                             : json_put_str(facts, wanted[i].fact, text, err);
    }
    return r;
}

/* "module:name=search,ver=20815,…" */
static int put_modules(struct bytes info, json_t *facts, struct error *err) {
    json_t *list = json_array();
    int r = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t at = 0; r == 0 && at < info.len;) {
        static const char begin[] = "module:name=";
        const uint8_t *line = info.ptr + at, *nl = memchr(line, '\n', info.len - at);
        size_t len = nl ? (size_t)(nl - line) : info.len - at, k = sizeof begin - 1;
        at += len + 1;
        if (len <= k || memcmp(line, begin, k) != 0) continue;
        const uint8_t *comma = memchr(line + k, ',', len - k);
        r = json_push(list, json_stringn((const char *)line + k, comma ? (size_t)(comma - line) - k : len - k), err);
    }
    return r == 0 ? json_put(facts, "modules", list, err) : (json_decref(list), r);
}

/* CONFIG is often withheld; it only adds words. */
static int put_config(struct resp *c, json_t *facts, struct error *err) {
    static const char *const keys[] = {"save", "appendfsync", "rdbchecksum", "databases"};
    struct resp_reply h;
    CLEANUP(buf_free) struct buf text = BUF_INIT(4096);
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof keys / sizeof *keys; i++) {
        r = resp_words(c, err, "CONFIG", "GET", keys[i], NULL);
        if (r == 0) r = resp_flush(c, err);
        if (r == 0) r = resp_next(c, &h, err);
        if (r < 0 || h.kind == RESP_ERROR) return r;
        if (h.kind != RESP_LIST || h.number != 2) {
            r = resp_skip(c, &h, err);
            continue;
        }
        for (unsigned k = 0; r == 0 && k < 2; k++) {
            buf_clear(&text);
            r = resp_next(c, &h, err);
            if (r == 0) r = h.kind == RESP_BULK ? resp_bulk(c, &h, &text, err) : resp_skip(c, &h, err);
        }
        if (r == 0) r = buf_terminate(&text, err);
        char fact[64];
        snprintf(fact, sizeof fact, "config_%s", keys[i]);
        if (r == 0) r = json_put(facts, fact, json_name(buf_bytes(&text)), err);
    }
    return r;
}

static int check_ready(const struct resp *c, struct bytes info, struct error *err) {
    char text[64];
    if (redis_info(info, "loading", text, sizeof text) && strcmp(text, "0") != 0)
        return error_set(err, ERR_REDIS_NOT_READY, "%s is loading its data", c->where);
    if (redis_info(info, "master_link_status", text, sizeof text) && strcmp(text, "up") != 0)
        return error_set(err, ERR_REDIS_NOT_READY, "%s is a replica whose link to its master is %s", c->where, text);
    if (redis_info(info, "master_sync_in_progress", text, sizeof text) && strcmp(text, "0") != 0)
        return error_set(err, ERR_REDIS_NOT_READY, "%s is a replica that is being synchronised", c->where);
    return 0;
}

int redis_facts(const struct redis_settings *s, struct resp *c, json_t *facts, struct buf *ret_info,
                struct error *err) {
    CLEANUP(buf_free) struct buf info = BUF_INIT(4u << 20);
    char text[64];
    int r = resp_ask(c, &info, err, "INFO", NULL);
    if (r == 0) r = check_ready(c, buf_bytes(&info), err);
    if (r == 0 && !redis_info(buf_bytes(&info), "redis_version", text, sizeof text))
        r = error_set(err, ERR_REDIS_PROTOCOL, "%s does not say which version it is", c->where);
    if (r == 0) r = put_wanted(buf_bytes(&info), facts, err);
    if (r == 0) r = put_modules(buf_bytes(&info), facts, err);
    if (r == 0) r = put_config(c, facts, err);
    if (r == 0 && redis_info(buf_bytes(&info), "cluster_enabled", text, sizeof text) && !strcmp(text, "1"))
        redis_note(s, NOTE_WARNING, c->where, "it is a node of a cluster: only the slots of this node are captured");
    if (r == 0 && ret_info) r = buf_append(ret_info, info.ptr, info.len, err);
    return r;
}

int redis_users(struct resp *c, struct buf *out, bool *ret_had, struct error *err) {
    struct resp_reply h;
    int r = resp_words(c, err, "ACL", "LIST", NULL);
    if (r == 0) r = resp_flush(c, err);
    if (r == 0) r = resp_next(c, &h, err);
    if (r < 0) return r;
    *ret_had = h.kind == RESP_LIST;
    if (h.kind != RESP_LIST) return resp_skip(c, &h, err);
    for (int64_t n = h.number; r == 0 && n; n--) {
        r = resp_next(c, &h, err);
        if (r == 0 && h.kind != RESP_BULK)
            r = error_set(err, ERR_REDIS_PROTOCOL, "%s sent no text for a user", c->where);
        if (r == 0) r = resp_bulk(c, &h, out, err);
        if (r == 0) r = buf_append_str(out, "\n", err);
    }
    return r;
}
