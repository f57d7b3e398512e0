/* What the log says of WAL: batches of objects with their digests, so that what has no key can check them. */
#include "repo/maintain_internal.h"
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

static bool row_of(const json_t *j, uint64_t system, struct wal_row *ret) {
    const char *name = json_string_value(json_array_get(j, 0));
    json_int_t bytes = json_integer_value(json_array_get(j, 2));
    if (!name || !json_get_digest(json_array_get(j, 1), &ret->digest) || bytes < 1) return false;
    int n = snprintf(ret->key, sizeof ret->key, KEY_PREFIX "%s", system, name);
    ret->object_bytes = (uint64_t)bytes;
    return n > 0 && (size_t)n < sizeof ret->key && store_key_valid(ret->key);
}

int judge_wal(struct state *s, const struct ledger_entry *e, const json_t *p, enum key_role role, struct error *err) {
    struct wal_batch b = {.seq = e->seq, .time_ns = e->time_ns, .mended = json_is_true(json_object_get(p, "mended"))};
    struct wal_row row;
    const json_t *objects = json_object_get(p, "objects");
    const char *environment = json_text(p, "environment", ""), *surface = json_text(p, "surface", "");
    bool good = *environment && *surface && wal_system_parse(json_text(p, "system", ""), &b.system);
    b.objects = json_array_size(objects);
    good &= b.objects > 0 && b.objects <= WAL_ROWS_MAX;
    for (size_t i = 0; i < b.objects && good; i++) good = row_of(json_array_get(objects, i), b.system, &row);
    if (!good)
        return error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " does not say which WAL is stored", e->seq);
    if (b.mended && role != ROLE_ADMIN)
        return error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " mends WAL without an admin key", e->seq);
    int rc = mem_grow((void **)&s->wal, &s->wal_cap, s->wal_count + 1, sizeof *s->wal, err);
    if (rc == 0) rc = mem_strdup(environment, &b.environment, err);
    if (rc == 0 && (rc = mem_strdup(surface, &b.surface, err)) < 0) seam_free(b.environment);
    if (rc == 0) s->wal[s->wal_count++] = b;
    return rc;
}

static int append(struct repo *r, const char *environment, const char *surface, uint64_t system, bool mended,
                  const json_t *fallback, const struct wal_row *rows, size_t n, struct error *err) {
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
    rc = mended ? json_put(p, "mended", json_true(), err) : 0;
    if (rc == 0 && fallback) rc = json_put(p, "fallback", json_incref((json_t *)fallback), err);
    if (rc < 0)
        json_decref(p);
    else
        rc = statement_make(PREDICATE_WAL, "wal", &all, p, &statement, err);
    if (rc == 0) rc = repo_append(r, statement, NULL, NULL, err);
    json_decref(statement);
    return rc;
}

int wal_object_check(struct repo *r, const struct wal_row *row, struct error *err) {
    return object_check_name(r->store, row->key, row->object_bytes, &row->digest, err);
}

int wal_log_append_instead(struct repo *r, const char *environment, const char *surface, uint64_t system,
                           const json_t *fallback, const struct wal_row *rows, size_t n, struct error *err) {
    int rc = 0;
    for (size_t at = 0; at < n && rc == 0; at += WAL_ROWS_MAX)
        rc = append(r, environment, surface, system, false, fallback, rows + at,
                    n - at < WAL_ROWS_MAX ? n - at : WAL_ROWS_MAX, err);
    return rc;
}

int wal_log_append(struct repo *r, const char *environment, const char *surface, uint64_t system,
                   const struct wal_row *rows, size_t n, struct error *err) {
    return wal_log_append_instead(r, environment, surface, system, NULL, rows, n, err);
}

int wal_log_mend(struct repo *r, const char *environment, const char *surface, uint64_t system,
                 const struct wal_row *rows, size_t n, struct error *err) {
    int rc = 0;
    for (size_t at = 0; at < n && rc == 0; at += WAL_ROWS_MAX)
        rc = append(r, environment, surface, system, true, NULL, rows + at,
                    n - at < WAL_ROWS_MAX ? n - at : WAL_ROWS_MAX, err);
    return rc;
}

static int by_key(const void *a, const void *b) {
    const struct wal_mended *x = a, *y = b;
    int d = strcmp(x->key, y->key);
    return d ? d : x->seq < y->seq ? 1 : x->seq > y->seq ? -1 : 0; /* the newest first */
}

int state_wal_mended(struct repo *r, const struct state *st, struct wal_mended **ret, size_t *ret_n,
                     struct error *err) {
    struct wal_mended *list = NULL;
    size_t n = 0, cap = 0, w = 0;
    int rc = 0;
    for (size_t i = 0; i < st->wal_count && rc == 0; i++) {
        const struct wal_batch *b = &st->wal[i];
        struct wal_row *rows = NULL;
        size_t count = 0;
        if (!b->mended) continue;
        rc = wal_log_rows(r, b, &rows, &count, err);
        if (rc == 0) rc = mem_grow((void **)&list, &cap, n + count, sizeof *list, err);
        for (size_t k = 0; k < count && rc == 0; k++, n++) {
            memcpy(list[n].key, rows[k].key, sizeof list[n].key);
            list[n].seq = b->seq;
        }
        seam_free(rows);
    }
    if (rc < 0) {
        seam_free(list);
        return rc;
    }
    if (n) qsort(list, n, sizeof *list, by_key);
    for (size_t i = 0; i < n; i++)
        if (w == 0 || strcmp(list[i].key, list[w - 1].key) != 0) list[w++] = list[i];
    *ret = list;
    *ret_n = w;
    return 0;
}

int wal_log_mended(struct repo *r, struct wal_mended **ret, size_t *ret_n, struct error *err) {
    return state_wal_mended(r, &r->state, ret, ret_n, err);
}

bool wal_row_counts(const struct wal_mended *m, size_t n, const char *key, uint64_t seq) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int d = strcmp(m[mid].key, key);
        if (d == 0) return m[mid].seq <= seq;
        if (d < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return true;
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

/* `with` (may be NULL): only when its text has that; else *ret stays NULL. Of very many entries few have it. */
static int statement_read(struct repo *r, uint64_t seq, const char *with, json_t **ret, struct error *err) {
    struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES), payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES);
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    int rc = ledger_read_known(r->ledger, seq, &envelope, err);
    if (rc == 0) rc = dsse_decode(buf_bytes(&envelope), &payload, pub, sig, err);
    if (rc == 0 && (!with || memmem(payload.ptr, payload.len, with, strlen(with))))
        rc = json_parse(buf_bytes(&payload), payload.max_bytes, "a batch of WAL", ret, err);
    buf_free(&envelope);
    buf_free(&payload);
    return rc;
}

/* Which were stored in the place of the repository of that name, and have not been copied there since. */
int wal_log_waiting(struct repo *r, const char *of, uint64_t *ret_objects, int64_t *ret_since_ns, struct error *err) {
    uint64_t copied = 0;
    int rc = 0;
    *ret_objects = 0;
    *ret_since_ns = 0;
    for (size_t i = 0; i < r->state.copy_count; i++)
        if (strcmp(r->state.copies[i].label, of) == 0 && !r->state.copies[i].wal_missing)
            copied = r->state.copies[i].wal_newest;
    for (size_t i = r->state.wal_count; i-- > 0 && rc == 0 && r->state.wal[i].seq > copied;) {
        const struct wal_batch *b = &r->state.wal[i];
        json_t *statement = NULL;
        rc = statement_read(r, b->seq, "\"fallback\"", &statement, err);
        const json_t *instead = json_object_get(json_object_get(statement, "predicate"), "fallback");
        if (rc == 0 && strcmp(json_text(instead, "of", ""), of) == 0) {
            *ret_objects += b->objects;
            *ret_since_ns = b->time_ns;
        }
        json_decref(statement);
    }
    return rc;
}

int wal_log_rows(struct repo *r, const struct wal_batch *b, struct wal_row **ret, size_t *ret_n, struct error *err) {
    json_t *statement = NULL;
    void *rows = NULL;
    int rc = statement_read(r, b->seq, NULL, &statement, err);
    const json_t *objects = json_object_get(json_object_get(statement, "predicate"), "objects");
    size_t n = json_array_size(objects);
    if (rc == 0 && n != b->objects)
        rc = error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " is not the one that was read before", b->seq);
    if (rc == 0) rc = mem_alloc((n + 1) * sizeof(struct wal_row), &rows, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (!row_of(json_array_get(objects, i), b->system, (struct wal_row *)rows + i))
            rc = error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " is not the one that was read before", b->seq);
    json_decref(statement);
    if (rc < 0) {
        seam_free(rows);
        return rc;
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}
