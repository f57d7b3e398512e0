#include "ledger/summary.h"

#include "base/seam.h"
#include "ledger/ledger_internal.h"
#include "ledger/statement.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void summary_key(uint64_t size, char ret[SUMMARY_KEY_BYTES]) {
    snprintf(ret, SUMMARY_KEY_BYTES, SUMMARY_PREFIX "%016" PRIu64, size);
}

void ledger_summary_free(struct ledger_summary *s) {
    if (!s) return;
    json_decref(s->state);
    seam_free(s->edge);
    s->state = NULL;
    s->edge = NULL;
}

static json_t *hex_string(const struct digest *d) {
    char hex[2 * DIGEST_BYTES + 1];
    hex_encode(d->b, DIGEST_BYTES, hex);
    return json_string(hex);
}

static int edge_json(struct ledger *l, uint64_t size, json_t **ret, struct error *err) {
    json_auto_t *list = json_array();
    size_t n = tree_edge_count(size);
    void *p;
    if (!list) return error_set(err, ERR_NO_MEMORY, "summary");
    if (mem_alloc((n + 1) * sizeof(struct digest), &p, err) < 0) return error_wrap(err, "summary");
    struct digest *edge = p;
    int rc = 0;
    tree_edge(l->tree, size, edge);
    for (size_t i = 0; i < n && rc == 0; i++) rc = json_push(list, hex_string(&edge[i]), err);
    seam_free(edge);
    if (rc == 0) *ret = json_incref(list);
    return rc;
}

static int last_of(struct ledger *l, uint64_t size, struct digest *ret, struct error *err) {
    if (size == ledger_size(l)) {
        *ret = l->last;
        return 0;
    }
    buf_clear(&l->scratch);
    if (ledger_fetch(l, size - 1, &l->scratch, err) < 0) return -(int)err->code;
    sha256(buf_bytes(&l->scratch), ret);
    return 0;
}

static int build(struct ledger *l, uint64_t size, const struct digest *root, const json_t *state, json_t **ret,
                 struct error *err) {
    json_auto_t *predicate = json_object();
    json_auto_t *statement = NULL;
    json_auto_t *edge = NULL;
    struct digest last;
    if (!predicate) return error_set(err, ERR_NO_MEMORY, "summary");
    if (last_of(l, size, &last, err) < 0 || edge_json(l, size, &edge, err) < 0 ||
        json_put_str(predicate, "origin", l->origin, err) < 0 ||
        json_put_int(predicate, "size", (int64_t)size, err) < 0 ||
        json_put(predicate, "root", hex_string(root), err) < 0 ||
        json_put(predicate, "last", hex_string(&last), err) < 0 ||
        json_put(predicate, "edge", json_incref(edge), err) < 0 ||
        json_put(predicate, "state", json_copy_whole(state), err) < 0)
        return error_wrap(err, "summary");
    if (statement_new(SUMMARY_TYPE, json_incref(predicate), &statement, err) < 0 ||
        statement_add_subject(statement, "log", root, err) < 0)
        return -(int)err->code;
    *ret = json_incref(statement);
    return 0;
}

/* There is another object of that name. What nobody could believe is replaced, as derived objects may be. */
static int settle(struct ledger *l, const char *key, uint64_t size, const json_t *state, struct bytes ours,
                  struct error *err) {
    CLEANUP(buf_free) struct buf there = BUF_INIT(SUMMARY_MAX_BYTES + 1);
    struct ledger_summary s = {.state = NULL};
    struct error e = ERROR_INIT;
    if (store_read_all(l->store, key, SUMMARY_MAX_BYTES, &there, &e) < 0 && e.code != ERR_OBJECT_CORRUPT) {
        *err = e;
        return error_wrap(err, "summary of the log");
    }
    if (bytes_equal(buf_bytes(&there), ours)) return 0;
    error_clear(&e);
    if (summary_open(buf_bytes(&there), l->origin, size, NULL, &s, &e) < 0 && e.code != ERR_LEDGER_BROKEN) {
        *err = e;
        return error_wrap(err, "summary of the log");
    }
    bool differs = s.state && !json_equal(s.state, state);
    char signer[2 * SIGN_PUBLIC_BYTES + 1];
    hex_encode(s.signer, SIGN_PUBLIC_BYTES, signer);
    ledger_summary_free(&s);
    if (differs) {
        error_set(err, ERR_LEDGER_BROKEN, "%s, signed by %s, says otherwise than the log's first %" PRIu64 " entries",
                  key, signer, size);
        error_state(err, "The entries are whole; only what is derived from them differs.");
        return error_next(err, "Find out how that key came to sign it; then remove the object.");
    }
    if (store_replace(l->store, key, ours, err) < 0) return error_wrap(err, "summary of the log");
    return 0;
}

int ledger_publish_summary(struct ledger *l, struct bytes sign_seed, uint64_t size, const json_t *state,
                           struct error *err) {
    json_auto_t *statement = NULL;
    CLEANUP(buf_free) struct buf payload = BUF_INIT(SUMMARY_MAX_BYTES);
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(SUMMARY_MAX_BYTES);
    struct digest root;
    char key[SUMMARY_KEY_BYTES];
    if (size == 0 || size > ledger_size(l) || size < tree_base(l->tree))
        return error_set(err, ERR_INTERNAL, "a summary of %" PRIu64 " entries was to be made of a log of %" PRIu64,
                         size, ledger_size(l));
    tree_root(l->tree, size, &root);
    if (build(l, size, &root, state, &statement, err) < 0 || json_write(statement, &payload, err) < 0 ||
        dsse_sign(sign_seed, buf_bytes(&payload), &envelope, err) < 0)
        return error_wrap(err, "summary of the log");
    struct error e = ERROR_INIT;
    summary_key(size, key);
    if (store_create(l->store, key, buf_bytes(&envelope), &e) == 0) return 0;
    if (e.code == ERR_OBJECT_EXISTS) return settle(l, key, size, state, buf_bytes(&envelope), err);
    *err = e;
    return error_wrap(err, "summary of the log");
}

static int read_edge(const json_t *list, struct ledger_summary *s, struct error *err) {
    size_t n = tree_edge_count(s->size);
    void *p;
    if (json_array_size(list) != n)
        return error_set(err, ERR_LEDGER_BROKEN, "its edge has %zu hashes, not %zu", json_array_size(list), n);
    if (mem_alloc((n + 1) * sizeof(struct digest), &p, err) < 0) return error_wrap(err, "summary");
    s->edge = p;
    for (size_t i = 0; i < n; i++) {
        const char *hex = json_string_value(json_array_get(list, i));
        if (!hex || !hex_decode(hex, strlen(hex), s->edge[i].b, DIGEST_BYTES))
            return error_set(err, ERR_LEDGER_BROKEN, "its edge has a malformed hash");
    }
    struct tree *t;
    struct digest root;
    if (hash_tree_begin(s->size, s->edge, &t, err) < 0) return -(int)err->code;
    tree_root(t, s->size, &root);
    hash_tree_free(t);
    if (!digest_equal(&root, &s->root)) return error_set(err, ERR_LEDGER_BROKEN, "its edge does not give its root");
    return 0;
}

static int parse(struct bytes envelope, const char *origin, uint64_t size, const uint8_t *only,
                 struct ledger_summary *ret, struct error *err) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(SUMMARY_MAX_BYTES);
    json_auto_t *statement = NULL;
    uint8_t sig[SIGN_BYTES];
    json_t *state = NULL, *edge = NULL;
    const char *of, *root, *last;
    int64_t number;
    if (dsse_decode(envelope, &payload, ret->signer, sig, err) < 0) return -(int)err->code;
    char signer[2 * SIGN_PUBLIC_BYTES + 1];
    hex_encode(ret->signer, SIGN_PUBLIC_BYTES, signer);
    if (only && memcmp(ret->signer, only, SIGN_PUBLIC_BYTES) != 0)
        return error_set(err, ERR_LEDGER_BROKEN, "it is signed by %s, who may not sum up this log", signer);
    buf_clear(&payload);
    if (dsse_verify(envelope, ret->signer, &payload, err) < 0 ||
        json_parse(buf_bytes(&payload), SUMMARY_MAX_BYTES, "statement", &statement, err) < 0 ||
        statement_check(statement, err) < 0)
        return -(int)err->code;
    json_t *p = statement_predicate(statement);
    if (strcmp(statement_type(statement), SUMMARY_TYPE) != 0)
        return error_set(err, ERR_LEDGER_BROKEN, "it is no summary but a %s", statement_type(statement));
    if (json_need_str(p, "origin", "predicate", &of, err) < 0 ||
        json_need_int(p, "size", "predicate", &number, err) < 0 ||
        json_need_str(p, "root", "predicate", &root, err) < 0 ||
        json_need_str(p, "last", "predicate", &last, err) < 0 ||
        json_need_array(p, "edge", "predicate", &edge, err) < 0 ||
        json_need_object(p, "state", "predicate", &state, err) < 0)
        return -(int)err->code;
    if (strcmp(of, origin) != 0) return error_set(err, ERR_LEDGER_BROKEN, "it is of another log (%s)", of);
    if (number <= 0 || (uint64_t)number != size || !hex_decode(root, strlen(root), ret->root.b, DIGEST_BYTES))
        return error_set(err, ERR_LEDGER_BROKEN, "its size or root is not what its name says");
    if (!hex_decode(last, strlen(last), ret->last.b, DIGEST_BYTES))
        return error_set(err, ERR_LEDGER_BROKEN, "its last digest is malformed");
    ret->size = size;
    ret->root_status = SUMMARY_ROOT_CLAIMED;
    if (read_edge(edge, ret, err) < 0) return -(int)err->code;
    ret->state = json_incref(state);
    return 0;
}

int summary_open(struct bytes envelope, const char *origin, uint64_t size, const uint8_t *only,
                 struct ledger_summary *ret, struct error *err) {
    struct ledger_summary got = {.state = NULL};
    struct error e = ERROR_INIT;
    if (parse(envelope, origin, size, only, &got, &e) == 0) {
        *ret = got;
        return 0;
    }
    ledger_summary_free(&got);
    return error_set(err, error_info(e.code)->status == EXIT_INTEGRITY ? ERR_LEDGER_BROKEN : e.code, "%s", e.text);
}

int ledger_read_summary(struct ledger *l, uint64_t size, struct ledger_summary *ret, struct error *err) {
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(SUMMARY_MAX_BYTES + 1);
    struct ledger_summary got;
    char key[SUMMARY_KEY_BYTES];
    summary_key(size, key);
    if (store_read_all(l->store, key, SUMMARY_MAX_BYTES, &envelope, err) < 0)
        return error_wrap(err, "summary of the log");
    if (summary_open(buf_bytes(&envelope), l->origin, size, NULL, &got, err) < 0) return error_wrap(err, "%s", key);
    if (size <= ledger_size(l) && size >= tree_base(l->tree)) {
        struct digest ours;
        tree_root(l->tree, size, &ours);
        got.root_status = SUMMARY_ROOT_MATCHES;
        if (!digest_equal(&ours, &got.root)) {
            char signer[2 * SIGN_PUBLIC_BYTES + 1];
            hex_encode(got.signer, SIGN_PUBLIC_BYTES, signer);
            ledger_summary_free(&got);
            return error_set(err, ERR_LEDGER_BROKEN,
                             "%s, signed by %s: its root is not that of the log's first %" PRIu64 " entries", key,
                             signer, size);
        }
    }
    *ret = got;
    return 0;
}

struct sizes {
    uint64_t *at;
    size_t count, cap;
};

static int see_summary(void *ctx, const struct store_object *o, struct error *err) {
    struct sizes *s = ctx;
    uint64_t size = 0;
    const char *digits = o->key + strlen(SUMMARY_PREFIX);
    for (unsigned i = 0; i < 16; i++) {
        if (digits[i] < '0' || digits[i] > '9') return 0;
        size = size * 10 + (uint64_t)(digits[i] - '0');
    }
    if (digits[16] != 0 || size == 0) return 0;
    void *p = s->at;
    if (mem_grow(&p, &s->cap, s->count + 1, sizeof(*s->at), err) < 0) return -(int)err->code;
    s->at = p;
    s->at[s->count++] = size;
    return 0;
}

static int order(const void *a, const void *b) {
    uint64_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return x < y ? -1 : x > y;
}

int ledger_list_summaries(struct ledger *l, uint64_t **ret, size_t *ret_n, struct error *err) {
    struct sizes s = {0};
    if (store_list(l->store, SUMMARY_PREFIX, see_summary, &s, err) < 0) {
        seam_free(s.at);
        return error_wrap(err, "summaries of the log");
    }
    if (s.count) qsort(s.at, s.count, sizeof(*s.at), order);
    *ret = s.at;
    *ret_n = s.count;
    return 0;
}

int ledger_find_summary(struct ledger *l, uint64_t at_most, uint64_t *ret_size, struct error *err) {
    uint64_t *sizes;
    size_t n;
    if (ledger_list_summaries(l, &sizes, &n, err) < 0) return -(int)err->code;
    *ret_size = 0;
    for (size_t i = 0; i < n && sizes[i] <= at_most; i++) *ret_size = sizes[i];
    seam_free(sizes);
    return 0;
}

void ledger_drop_summaries(struct ledger *l, uint64_t size) {
    struct error e = ERROR_INIT;
    uint64_t *sizes;
    size_t n, below = 0;
    char key[SUMMARY_KEY_BYTES];
    if (ledger_list_summaries(l, &sizes, &n, &e) < 0) return;
    while (below < n && sizes[below] < size) below++;
    for (size_t i = 0; i + 1 < below; i++) {
        summary_key(sizes[i], key);
        error_clear(&e);
        if (store_remove(l->store, key, &e) < 0) break;
    }
    seam_free(sizes);
}
