#include "ledger/summary.h"

#include "base/seam.h"
#include "ledger/ledger_internal.h"
#include "ledger/statement.h"
#include <inttypes.h>
#include <stdio.h>

#define SUMMARY_KEY_BYTES 32

static void summary_key(uint64_t size, char ret[SUMMARY_KEY_BYTES]) {
    snprintf(ret, SUMMARY_KEY_BYTES, SUMMARY_PREFIX "%016" PRIu64, size);
}

void ledger_summary_free(struct ledger_summary *s) {
    if (!s) return;
    json_decref(s->state);
    s->state = NULL;
}

static int build(struct ledger *l, uint64_t size, const struct digest *root, const json_t *state, json_t **ret,
                 struct error *err) {
    json_auto_t *predicate = json_object();
    json_auto_t *statement = NULL;
    char hex[2 * DIGEST_BYTES + 1];
    hex_encode(root->b, DIGEST_BYTES, hex);
    if (!predicate) return error_set(err, ERR_NO_MEMORY, "summary");
    if (json_put_str(predicate, "origin", l->origin, err) < 0 ||
        json_put_int(predicate, "size", (int64_t)size, err) < 0 || json_put_str(predicate, "root", hex, err) < 0 ||
        json_put(predicate, "state", json_deep_copy(state), err) < 0)
        return error_wrap(err, "summary");
    if (statement_new(SUMMARY_TYPE, json_incref(predicate), &statement, err) < 0 ||
        statement_add_subject(statement, "log", root, err) < 0)
        return -(int)err->code;
    *ret = json_incref(statement);
    return 0;
}

int ledger_publish_summary(struct ledger *l, struct bytes sign_seed, uint64_t size, const json_t *state,
                           struct error *err) {
    json_auto_t *statement = NULL;
    CLEANUP(buf_free) struct buf payload = BUF_INIT(SUMMARY_MAX_BYTES);
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(SUMMARY_MAX_BYTES);
    struct digest root;
    char key[SUMMARY_KEY_BYTES];
    if (size == 0 || size > ledger_size(l))
        return error_set(err, ERR_INTERNAL, "a summary of %" PRIu64 " entries was to be made of a log of %" PRIu64,
                         size, ledger_size(l));
    tree_root(l->tree, size, &root);
    if (build(l, size, &root, state, &statement, err) < 0 || json_write(statement, &payload, err) < 0 ||
        dsse_sign(sign_seed, buf_bytes(&payload), &envelope, err) < 0)
        return error_wrap(err, "summary of the log");
    struct error e = ERROR_INIT;
    summary_key(size, key);
    if (store_create(l->store, key, buf_bytes(&envelope), &e) == 0) return 0;
    if (e.code != ERR_OBJECT_EXISTS) {
        *err = e;
        return error_wrap(err, "summary of the log");
    }
    struct ledger_summary there;
    if (ledger_read_summary(l, size, &there, err) < 0) return -(int)err->code;
    bool same = json_equal(there.state, state);
    ledger_summary_free(&there);
    if (!same)
        return error_set(err, ERR_LEDGER_BROKEN, "%s says otherwise than the log's first %" PRIu64 " entries", key,
                         size);
    return 0;
}

static int parse(struct ledger *l, struct bytes envelope, uint64_t size, struct ledger_summary *ret,
                 struct error *err) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(SUMMARY_MAX_BYTES);
    json_auto_t *statement = NULL;
    uint8_t sig[SIGN_BYTES];
    json_t *state = NULL;
    const char *origin, *root;
    int64_t number;
    if (dsse_decode(envelope, &payload, ret->signer, sig, err) < 0) return -(int)err->code;
    buf_clear(&payload);
    if (dsse_verify(envelope, ret->signer, &payload, err) < 0 ||
        json_parse(buf_bytes(&payload), SUMMARY_MAX_BYTES, "statement", &statement, err) < 0 ||
        statement_check(statement, err) < 0)
        return -(int)err->code;
    json_t *p = statement_predicate(statement);
    if (strcmp(statement_type(statement), SUMMARY_TYPE) != 0)
        return error_set(err, ERR_LEDGER_BROKEN, "it is no summary but a %s", statement_type(statement));
    if (json_need_str(p, "origin", "predicate", &origin, err) < 0 ||
        json_need_int(p, "size", "predicate", &number, err) < 0 ||
        json_need_str(p, "root", "predicate", &root, err) < 0 ||
        json_need_object(p, "state", "predicate", &state, err) < 0)
        return -(int)err->code;
    if (strcmp(origin, l->origin) != 0) return error_set(err, ERR_LEDGER_BROKEN, "it is of another log (%s)", origin);
    if (number < 0 || (uint64_t)number != size || !hex_decode(root, strlen(root), ret->root.b, DIGEST_BYTES))
        return error_set(err, ERR_LEDGER_BROKEN, "its size or root is not what its name says");
    ret->size = size;
    ret->root_status = SUMMARY_ROOT_CLAIMED;
    if (size <= ledger_size(l)) {
        struct digest ours;
        tree_root(l->tree, size, &ours);
        if (!digest_equal(&ours, &ret->root))
            return error_set(err, ERR_LEDGER_BROKEN, "its root is not that of the log's first %" PRIu64 " entries",
                             size);
        ret->root_status = SUMMARY_ROOT_MATCHES;
    }
    ret->state = json_incref(state);
    return 0;
}

int ledger_read_summary(struct ledger *l, uint64_t size, struct ledger_summary *ret, struct error *err) {
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(SUMMARY_MAX_BYTES + 1);
    struct ledger_summary got = {.state = NULL};
    struct error e = ERROR_INIT;
    char key[SUMMARY_KEY_BYTES];
    summary_key(size, key);
    if (store_read_all(l->store, key, SUMMARY_MAX_BYTES, &envelope, err) < 0)
        return error_wrap(err, "summary of the log");
    if (parse(l, buf_bytes(&envelope), size, &got, &e) < 0)
        return error_set(err, e.code == ERR_NO_MEMORY ? ERR_NO_MEMORY : ERR_LEDGER_BROKEN, "%s: %s", key, e.text);
    *ret = got;
    return 0;
}

struct search {
    uint64_t at_most, best;
};

static int see_summary(void *ctx, const struct store_object *o, struct error *err) {
    (void)err;
    struct search *s = ctx;
    uint64_t size = 0;
    const char *digits = o->key + strlen(SUMMARY_PREFIX);
    for (unsigned i = 0; i < 16; i++) {
        if (digits[i] < '0' || digits[i] > '9') return 0;
        size = size * 10 + (uint64_t)(digits[i] - '0');
    }
    if (digits[16] == 0 && size <= s->at_most && size > s->best) s->best = size;
    return 0;
}

int ledger_find_summary(struct ledger *l, uint64_t at_most, uint64_t *ret_size, struct error *err) {
    struct search s = {.at_most = at_most};
    if (store_list(l->store, SUMMARY_PREFIX, see_summary, &s, err) < 0) return error_wrap(err, "summaries of the log");
    *ret_size = s.best;
    return 0;
}
