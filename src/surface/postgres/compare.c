#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"

#define NAMED_MAX 5 /* differences spelled out */

struct comparing {
    const struct pg_settings *s;
    const json_t *measured;
    struct buf text;
    unsigned compared, different;
};

/* Only what was restored is compared: the rows of tables taken, the state of sequences taken. */
static int taken_keys(const struct pg_folder *f, const char *database, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf key = BUF_INIT(8192);
    json_t *keys = json_object();
    int r = keys ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    for (size_t i = 0; r == 0 && i < f->toc->entry_count; i++) {
        const struct pg_entry *e = &f->toc->entries[i];
        if (!f->take[i] || !(e->has_data || pg_text_is(f->toc, e->desc, "SEQUENCE SET"))) continue;
        buf_clear(&key);
        r = pg_qualified(&key, pg_toc_text(f->toc, e->schema), pg_toc_text(f->toc, e->tag), err);
        if (r == 0) r = pg_key_put(keys, database, buf_bytes(&key), json_true(), err);
    }
    if (r < 0)
        json_decref(keys);
    else
        *ret = keys;
    return r;
}

static int extension_versions(struct comparing *k, const char *key, const json_t *want, const json_t *have,
                              struct error *err) {
    const char *name;
    json_t *version;
    json_object_foreach((json_t *)want, name, version) {
        const json_t *got = json_object_get(have, name);
        if (json_equal(got, version)) continue;
        if (got) {
            pg_note(k->s, NOTE_WARNING, BYTES_STR(name),
                    "this server gave another version of the extension than the source had");
            continue;
        }
        int r = k->different++ < NAMED_MAX ? buf_printf(&k->text, err, "; %s: %s is missing", key, name) : 0;
        if (r < 0) return r;
    }
    return 0;
}

static int one(struct comparing *k, const char *key, const json_t *want, struct error *err) {
    const json_t *have = json_object_get(json_object_get(k->measured, key), "value");
    const char *last = strrchr(key, '/');
    k->compared++;
    if (last && !strcmp(last, "/extensions")) return extension_versions(k, key, want, have, err);
    if (json_equal(want, have)) return 0;
    if (k->different++ >= NAMED_MAX) return 0;
    if (!have) return buf_printf(&k->text, err, "; %s is missing", key);
    const json_t *a = json_object_get(want, "rows"), *b = json_object_get(have, "rows");
    if (a && !json_equal(a, b))
        return buf_printf(&k->text, err, "; %s: %lld rows instead of %lld", key, (long long)json_integer_value(b),
                          (long long)json_integer_value(a));
    return buf_printf(&k->text, err, "; %s: %s", key, a ? "other rows" : "another value");
}

int pg_compare(const struct pg_settings *s, const char *database, const json_t *expected, const json_t *measured,
               const struct pg_folder *restored, unsigned *ret_count, struct error *err) {
    CLEANUP(buf_free) struct buf prefix = BUF_INIT(4096);
    struct comparing k = {.s = s, .measured = measured, .text = BUF_INIT(64 << 10)};
    json_t *only = NULL, *invariant;
    const char *key;
    int r = pg_item_name(&prefix, BYTES_STR(database), "", err);
    if (r == 0 && restored->toc && !restored->all) r = taken_keys(restored, database, &only, err);
    json_object_foreach((json_t *)expected, key, invariant) {
        if (r < 0 || strncmp(key, (const char *)prefix.ptr, prefix.len) != 0) continue;
        const char *expect = json_string_value(json_object_get(invariant, "expect"));
        if ((only && !json_object_get(only, key)) || !expect || strcmp(expect, "equal") != 0) continue;
        r = one(&k, key, json_object_get(invariant, "value"), err);
    }
    if (r == 0) r = buf_terminate(&k.text, err);
    if (r == 0 && k.compared == 0 && !only)
        r = error_set(err, ERR_PG_INVARIANT, "database %s: the snapshot has no invariants to compare with", database);
    if (r == 0 && k.different)
        r = error_set(err, ERR_PG_INVARIANT, "database %s: %u of %u invariants differ%s", database, k.different,
                      k.compared, (const char *)k.text.ptr);
    json_decref(only);
    buf_free(&k.text);
    if (r == 0) *ret_count = k.compared;
    return r;
}
