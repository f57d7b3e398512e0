#include "repo/coverage.h"

#include "base/time.h"
#include "repo/repo_internal.h"

#include <stdio.h>

#define LOOK_BACK 2000 /* entries */
#define SECOND INT64_C(1000000000)

static const char *level_word(enum verify_level l) {
    return l >= VERIFY_DECODE ? "decode" : "checksum";
}

static bool may_vouch(const struct repo *r, const uint8_t signer[SIGN_PUBLIC_BYTES]) {
    for (size_t i = 0; i < r->state.key_count; i++)
        if (memcmp(r->state.keys[i].public_key, signer, SIGN_PUBLIC_BYTES) == 0)
            return (r->state.keys[i].role == ROLE_ADMIN || r->state.keys[i].role == ROLE_RESTORE) &&
                   !r->state.keys[i].removed;
    return false;
}

/* True when the entry is one of ours at that level. */
static bool coverage_parse(const struct repo *r, struct bytes envelope, enum verify_level level, struct coverage *ret) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES);
    json_auto_t *statement = NULL;
    struct error e = ERROR_INIT;
    uint8_t signer[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES], raw[COVERAGE_PARTS * 4];
    if (dsse_decode(envelope, &payload, signer, sig, &e) < 0 ||
        json_parse(buf_bytes(&payload), LEDGER_ENTRY_MAX_BYTES, "statement", &statement, &e) < 0)
        return false;
    const char *type = json_string_value(json_object_get(statement, "predicateType"));
    const json_t *p = json_object_get(statement, "predicate");
    const char *word = json_string_value(json_object_get(p, "level")),
               *parts = json_string_value(json_object_get(p, "oldest")),
               *time = json_string_value(json_object_get(p, "started_at"));
    if (!type || strcmp(type, PREDICATE_COVERAGE) != 0 || !word || !parts || !time || !may_vouch(r, signer))
        return false;
    ret->level = strcmp(word, "decode") == 0 ? VERIFY_DECODE : VERIFY_CHECKSUM;
    if (ret->level < level || !time_parse(time, &ret->stored_ns) || !hex_decode(parts, strlen(parts), raw, sizeof raw))
        return false;
    for (int i = 0; i < COVERAGE_PARTS; i++) ret->oldest_ns[i] = (int64_t)get_u32(raw + 4 * i) * SECOND;
    return true;
}

int coverage_find(struct repo *r, enum verify_level level, struct coverage *ret, size_t max, size_t *ret_n,
                  struct error *err) {
    uint64_t size = ledger_size(r->ledger), base = ledger_base(r->ledger);
    *ret_n = 0;
    for (uint64_t seq = size; seq-- > base && size - seq <= LOOK_BACK && *ret_n < max;) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
        int rc = ledger_read_known(r->ledger, seq, &b, err);
        if (rc < 0) return error_wrap(err, "looking for what was checked before");
        if (coverage_parse(r, buf_bytes(&b), level, &ret[*ret_n])) ret[(*ret_n)++].seq = seq;
    }
    return 0;
}

int coverage_add(struct repo *r, enum verify_level level, const int64_t oldest_ns[COVERAGE_PARTS],
                 const struct check_totals *t, int64_t started_ns, const char *principal, struct error *err) {
    uint8_t raw[COVERAGE_PARTS * 4];
    char parts[sizeof raw * 2 + 1], started[32], completed[32];
    struct digest d;
    json_t *s = NULL;
    for (int i = 0; i < COVERAGE_PARTS; i++) put_u32(raw + 4 * i, (uint32_t)(oldest_ns[i] / SECOND));
    hex_encode(raw, sizeof raw, parts);
    sha256(BYTES_OF(raw, sizeof raw), &d);
    time_format(started_ns, started);
    time_format(time_now_ns(), completed);
    json_t *p = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "level", level_word(level), "oldest",
                          parts, "started_at", started, "completed_at", completed, "principal", principal, "bytes",
                          (json_int_t)t->bytes, "packs", (json_int_t)t->packs, "pack_bytes", (json_int_t)t->pack_bytes,
                          "bytes_covered", (json_int_t)t->bytes_covered, "findings", (json_int_t)t->findings);
    if (!p) return error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    int rc = statement_make(PREDICATE_COVERAGE, "coverage", &d, p, &s, err);
    if (rc == 0) rc = repo_append(r, s, NULL, NULL, err);
    json_decref(s);
    return rc;
}
