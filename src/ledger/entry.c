#include "ledger/ledger_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include "ledger/statement.h"
#include <inttypes.h>
#include <stdio.h>

#define LEDGER_MEMBERS 4 /* seq, prev, time, key */

void entry_key(uint64_t seq, char ret[ENTRY_KEY_BYTES]) {
    snprintf(ret, ENTRY_KEY_BYTES, "log/%016" PRIu64, seq);
}

bool entry_number(const char *key, uint64_t *ret) {
    const char *digits = key + strlen("log/");
    uint64_t seq = 0;
    for (unsigned i = 0; i < 16; i++) {
        if (digits[i] < '0' || digits[i] > '9') return false;
        seq = seq * 10 + (uint64_t)(digits[i] - '0');
    }
    *ret = seq;
    return digits[16] == 0;
}

void entry_free(struct entry *e) {
    json_decref(e->statement);
    e->statement = NULL;
}

/* A machine's fault keeps its code; anything else about an entry means that the log is broken. */
static int refuse(struct error *err, uint64_t seq, const struct error *cause) {
    return error_set(err, error_info(cause->code)->status == EXIT_INTEGRITY ? ERR_LEDGER_BROKEN : cause->code,
                     "entry %" PRIu64 ": %s", seq, cause->text);
}

static int check_place(const json_t *statement, uint64_t seq, const struct digest *prev, struct entry *e,
                       struct error *err) {
    json_t *place = NULL;
    int64_t number;
    const char *before, *time, *key;
    if (json_need_object(statement_predicate(statement), "ledger", "predicate", &place, err) < 0 ||
        json_need_int(place, "seq", "ledger", &number, err) < 0 ||
        json_need_str(place, "prev", "ledger", &before, err) < 0 ||
        json_need_str(place, "time", "ledger", &time, err) < 0 || json_need_str(place, "key", "ledger", &key, err) < 0)
        return -(int)err->code;
    if (json_object_size(place) != LEDGER_MEMBERS)
        return error_set(err, ERR_LEDGER_BROKEN, "its \"ledger\" object has unknown members");
    if (number < 0 || (uint64_t)number != seq)
        return error_set(err, ERR_LEDGER_BROKEN, "it says that it is entry %" PRId64, number);
    char hex[2 * DIGEST_BYTES + 1];
    hex_encode(prev->b, DIGEST_BYTES, hex);
    if (strcmp(before, hex) != 0)
        return error_set(err, ERR_LEDGER_BROKEN, "it follows another entry than the one before it (\"prev\" differs)");
    hex_encode(e->signer, SIGN_PUBLIC_BYTES, hex);
    if (strcmp(key, hex) != 0)
        return error_set(err, ERR_LEDGER_BROKEN, "it names another key than the one that signed it");
    if (!time_parse(time, &e->time_ns)) return error_set(err, ERR_LEDGER_BROKEN, "its time is not RFC 3339");
    return 0;
}

static int check(struct bytes envelope, uint64_t seq, const struct digest *prev, bool trusted, struct entry *e,
                 struct error *err) {
    if (envelope.len > LEDGER_ENTRY_MAX_BYTES)
        return error_set(err, ERR_LEDGER_BROKEN, "it has %zu bytes, more than the %u allowed", envelope.len,
                         LEDGER_ENTRY_MAX_BYTES);
    CLEANUP(buf_free) struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES);
    uint8_t sig[SIGN_BYTES];
    if (dsse_decode(envelope, &payload, e->signer, sig, err) < 0) return -(int)err->code;
    /* The keyid only says which key to try; that it may sign at all is for the judge, after the signature held. */
    if (!trusted) {
        buf_clear(&payload);
        if (dsse_verify(envelope, e->signer, &payload, err) < 0) return -(int)err->code;
    }
    if (json_parse(buf_bytes(&payload), LEDGER_ENTRY_MAX_BYTES, "statement", &e->statement, err) < 0 ||
        statement_check(e->statement, err) < 0)
        return -(int)err->code;
    sha256(envelope, &e->digest);
    return check_place(e->statement, seq, prev, e, err);
}

int entry_check(struct bytes envelope, uint64_t seq, const struct digest *prev, bool trusted, struct entry *ret,
                struct error *err) {
    struct error e = ERROR_INIT;
    struct entry got = {.statement = NULL};
    if (check(envelope, seq, prev, trusted, &got, &e) < 0) {
        entry_free(&got);
        return refuse(err, seq, &e);
    }
    *ret = got;
    return 0;
}

int entry_known(uint64_t seq, struct bytes envelope, struct ledger_entry *ret, json_t **ret_statement,
                struct error *err) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES);
    uint8_t sig[SIGN_BYTES];
    *ret = (struct ledger_entry){.seq = seq, .envelope = envelope};
    if (dsse_decode(envelope, &payload, ret->signer, sig, err) < 0 ||
        json_parse(buf_bytes(&payload), LEDGER_ENTRY_MAX_BYTES, "statement", ret_statement, err) < 0)
        return error_wrap(err, "entry %" PRIu64 " of the log", seq);
    ret->statement = *ret_statement;
    const json_t *place = json_object_get(json_object_get(ret->statement, "predicate"), "ledger");
    const char *time = json_string_value(json_object_get(place, "time"));
    if (time) (void)time_parse(time, &ret->time_ns);
    sha256(envelope, &ret->digest);
    return 0;
}

static int add_place(json_t *statement, uint64_t seq, const struct digest *prev, struct bytes sign_seed,
                     struct error *err) {
    uint8_t pub[SIGN_PUBLIC_BYTES];
    char before[2 * DIGEST_BYTES + 1], key[2 * SIGN_PUBLIC_BYTES + 1], now[32];
    if (sign_public(sign_seed, pub, err) < 0) return error_wrap(err, "log entry");
    hex_encode(prev->b, DIGEST_BYTES, before);
    hex_encode(pub, SIGN_PUBLIC_BYTES, key);
    time_format(time_now_ns(), now);
    json_auto_t *place = json_object();
    if (!place) return error_set(err, ERR_NO_MEMORY, "log entry");
    if (json_put_int(place, "seq", (int64_t)seq, err) < 0 || json_put_str(place, "prev", before, err) < 0 ||
        json_put_str(place, "time", now, err) < 0 || json_put_str(place, "key", key, err) < 0)
        return error_wrap(err, "log entry");
    return json_put(statement_predicate(statement), "ledger", json_incref(place), err);
}

int entry_make(json_t *statement, uint64_t seq, const struct digest *prev, struct bytes sign_seed, struct buf *ret,
               struct error *err) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(8u << 20);
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(16u << 20);
    struct error e = ERROR_INIT;
    if (statement_check(statement, &e) < 0)
        return error_set(err, ERR_INTERNAL, "an entry was to be made of a malformed statement: %s", e.text);
    if (add_place(statement, seq, prev, sign_seed, err) < 0 || json_write(statement, &payload, err) < 0 ||
        dsse_sign(sign_seed, buf_bytes(&payload), &envelope, err) < 0)
        return error_wrap(err, "entry %" PRIu64, seq);
    if (envelope.len > LEDGER_ENTRY_MAX_BYTES) {
        error_set(err, ERR_LEDGER_TOO_BIG, "entry %" PRIu64 " would have %zu bytes, more than the %u allowed", seq,
                  envelope.len, LEDGER_ENTRY_MAX_BYTES);
        return error_state(err, "Nothing was added to the log.");
    }
    if (buf_append(ret, envelope.ptr, envelope.len, err) < 0) return error_wrap(err, "entry %" PRIu64, seq);
    return 0;
}
