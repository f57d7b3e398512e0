/* What the log says of WAL: batches of objects with their digests, so that what has no key can check them. */
#include "repo/repo_internal.h"

#include <inttypes.h>

#define KEY_PREFIX "wal/%" PRIu64 "/"

bool wal_system_parse(const char *text, uint64_t *ret) {
    uint64_t v = 0;
    size_t n = 0;
    for (; text[n] >= '0' && text[n] <= '9'; n++) {
        uint64_t d = (uint64_t)(text[n] - '0');
        if (v > (UINT64_MAX - d) / 10) return false;
        v = v * 10 + d;
    }
    if (n == 0 || text[n] || text[0] == '0') return false;
    *ret = v;
    return true;
}

static const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static bool row_of(const json_t *j, uint64_t system, struct wal_row *ret) {
    const char *name = json_string_value(json_array_get(j, 0));
    json_int_t bytes = json_integer_value(json_array_get(j, 2));
    if (!name || !json_get_digest(json_array_get(j, 1), &ret->digest) || bytes < 1) return false;
    int n = snprintf(ret->key, sizeof ret->key, KEY_PREFIX "%s", system, name);
    ret->object_bytes = (uint64_t)bytes;
    return n > 0 && (size_t)n < sizeof ret->key && store_key_valid(ret->key);
}

int judge_wal(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    struct wal_batch b = {.seq = e->seq};
    struct wal_row row;
    const json_t *objects = json_object_get(p, "objects");
    const char *environment = text_of(p, "environment"), *surface = text_of(p, "surface");
    bool good = *environment && *surface && wal_system_parse(text_of(p, "system"), &b.system);
    b.objects = json_array_size(objects);
    good &= b.objects > 0 && b.objects <= WAL_ROWS_MAX;
    for (size_t i = 0; i < b.objects && good; i++) good = row_of(json_array_get(objects, i), b.system, &row);
    if (!good)
        return error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " does not say which WAL is stored", e->seq);
    int rc = mem_grow((void **)&s->wal, &s->wal_cap, s->wal_count + 1, sizeof *s->wal, err);
    if (rc == 0) rc = mem_strdup(environment, &b.environment, err);
    if (rc == 0 && (rc = mem_strdup(surface, &b.surface, err)) < 0) seam_free(b.environment);
    if (rc == 0) s->wal[s->wal_count++] = b;
    return rc;
}

static int append(struct repo *r, const char *environment, const char *surface, uint64_t system,
                  const struct wal_row *rows, size_t n, struct error *err) {
    char text[24], prefix[32];
    struct sha256_state *sum = NULL;
    struct digest all;
    json_t *objects = json_array(), *statement = NULL;
    snprintf(text, sizeof text, "%" PRIu64, system);
    int skip = snprintf(prefix, sizeof prefix, KEY_PREFIX, system);
    int rc = objects ? sha256_new(&sum, err) : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (strncmp(rows[i].key, prefix, (size_t)skip) != 0)
            rc = error_set(err, ERR_INTERNAL, "%s is registered for cluster %s", rows[i].key, text);
        else
            rc = json_push(objects,
                           json_pack("[s, o, I]", rows[i].key + skip, json_digest(&rows[i].digest),
                                     (json_int_t)rows[i].object_bytes),
                           err);
        sha256_update(sum, BYTES_OF(rows[i].digest.b, DIGEST_BYTES));
    }
    if (rc < 0) {
        json_decref(objects);
        sha256_free(sum);
        return rc;
    }
    sha256_finish(sum, &all);
    sha256_free(sum);
    json_t *p = json_pack("{s:s, s:s, s:s, s:o}", "environment", environment, "surface", surface, "system", text,
                          "objects", objects);
    if (!p) return error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    rc = statement_make(PREDICATE_WAL, "wal", &all, p, &statement, err);
    if (rc == 0) rc = repo_append(r, statement, NULL, NULL, err);
    json_decref(statement);
    return rc;
}

int wal_log_append(struct repo *r, const char *environment, const char *surface, uint64_t system,
                   const struct wal_row *rows, size_t n, struct error *err) {
    int rc = 0;
    for (size_t at = 0; at < n && rc == 0; at += WAL_ROWS_MAX)
        rc = append(r, environment, surface, system, rows + at, n - at < WAL_ROWS_MAX ? n - at : WAL_ROWS_MAX, err);
    return rc;
}

bool wal_log_system(const struct repo *r, const char *environment, const char *surface, uint64_t *ret) {
    for (size_t i = r->state.wal_count; i-- > 0;) {
        const struct wal_batch *b = &r->state.wal[i];
        if (strcmp(b->environment, environment) != 0 || strcmp(b->surface, surface) != 0) continue;
        *ret = b->system;
        return true;
    }
    return false;
}

size_t wal_log_count(const struct repo *r) {
    return r->state.wal_count;
}
const struct wal_batch *wal_log_batch(const struct repo *r, size_t i) {
    return &r->state.wal[i];
}

int wal_log_rows(struct repo *r, const struct wal_batch *b, struct wal_row **ret, size_t *ret_n, struct error *err) {
    struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES), payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES);
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    json_t *statement = NULL;
    void *rows = NULL;
    int rc = ledger_read_known(r->ledger, b->seq, &envelope, err);
    if (rc == 0) rc = dsse_decode(buf_bytes(&envelope), &payload, pub, sig, err);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), payload.max_bytes, "a batch of WAL", &statement, err);
    const json_t *objects = json_object_get(json_object_get(statement, "predicate"), "objects");
    size_t n = json_array_size(objects);
    if (rc == 0 && n != b->objects)
        rc = error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " is not the one that was read before", b->seq);
    if (rc == 0) rc = mem_alloc((n + 1) * sizeof(struct wal_row), &rows, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (!row_of(json_array_get(objects, i), b->system, (struct wal_row *)rows + i))
            rc = error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " is not the one that was read before", b->seq);
    json_decref(statement);
    buf_free(&envelope);
    buf_free(&payload);
    if (rc < 0) {
        seam_free(rows);
        return rc;
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}
