#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include <stdio.h>

void redis_tally_free(struct redis_tally *t) {
    seam_free(t->of);
    *t = (struct redis_tally){0};
}

static int find(struct redis_tally *t, uint64_t database, struct redis_count **ret, struct error *err) {
    for (size_t i = t->n; i-- > 0;)
        if (t->of[i].database == database) {
            *ret = &t->of[i];
            return 0;
        }
    int r = mem_grow((void **)&t->of, &t->cap, t->n + 1, sizeof *t->of, err);
    if (r < 0) return r;
    *ret = &t->of[t->n++];
    **ret = (struct redis_count){.database = database};
    return 0;
}

int redis_tally_key(struct redis_tally *t, uint64_t database, enum rdb_class c, bool expires, struct hash128 hash,
                    struct error *err) {
    struct redis_count *d;
    int r = find(t, database, &d, err);
    if (r < 0) return r;
    d->keys++;
    d->expires += expires;
    d->classes[c]++;
    hash128_add(&d->sum, hash);
    return 0;
}

void redis_tally_library(struct redis_tally *t, struct bytes code) {
    t->libraries++;
    hash128_add(&t->library_sum, mix_bytes(code));
}

static int put(json_t *out, const char *name, json_t *value, struct error *err) {
    json_t *v = value ? json_pack("{s:o, s:s}", "value", value, "expect", "equal") : NULL;
    return v ? json_put(out, name, v, err) : error_set(err, ERR_NO_MEMORY, "no memory");
}

static int put_one(const struct redis_count *d, json_t *out, struct error *err) {
    unsigned long long db = d->database;
    char name[64], hex[33];
    snprintf(name, sizeof name, "db/%llu/keys", db);
    int r = put(out, name, json_integer((json_int_t)d->keys), err);
    snprintf(name, sizeof name, "db/%llu/expires", db);
    if (r == 0) r = put(out, name, json_integer((json_int_t)d->expires), err);
    for (size_t i = 0; r == 0 && i < RDB_CLASSES; i++) {
        snprintf(name, sizeof name, "db/%llu/type/%s", db, rdb_class_names[i]);
        if (d->classes[i]) r = put(out, name, json_integer((json_int_t)d->classes[i]), err);
    }
    snprintf(name, sizeof name, "db/%llu/digest", db);
    hash128_hex(d->sum, hex);
    return r == 0 ? put(out, name, json_string(hex), err) : r;
}

int redis_tally_json(const struct redis_tally *t, json_t *out, struct error *err) {
    char hex[33];
    int r = put(out, "functions", json_integer((json_int_t)t->libraries), err);
    hash128_hex(t->library_sum, hex);
    if (r == 0) r = put(out, "functions/digest", json_string(hex), err);
    for (size_t i = 0; r == 0 && i < t->n; i++) r = put_one(&t->of[i], out, err);
    return r;
}
