#include "base/seam.h"
#include "crypto/crypto.h"
#include "store/store.h"
#include <stdio.h>

#define TRIES 3

static enum store_fact unknown(struct store_facts *f, const struct error *why) {
    if (!f->why[0]) snprintf(f->why, sizeof f->why, "%.500s", why->text);
    return STORE_FACT_UNKNOWN;
}

static bool is_refusal(const struct error *e) {
    return e->code == ERR_S3_DENIED || e->code == ERR_S3_LOCKED || e->code == ERR_IO_DENIED;
}

struct sought {
    const char *key;
    bool found;
};

static int see(void *ctx, const struct store_object *o, struct error *err) {
    struct sought *s = ctx;
    (void)err;
    s->found |= strcmp(o->key, s->key) == 0;
    return 0;
}

/* Several times, since a place that is consistent only in the end shows that now and then. */
static int look(struct store *s, const char *folder, struct store_facts *f, struct error *err) {
    char key[128], got[16];
    f->conditional_create = f->read_after_write = f->list_after_write = STORE_FACT_YES;
    for (int i = 0; i < TRIES; i++) {
        struct bytes first = BYTES_STR("first"), second = BYTES_STR("second");
        struct error e = ERROR_INIT;
        size_t n = 0;
        snprintf(key, sizeof key, "%s%d", folder, i);
        int rc = store_create(s, key, first, err);
        if (rc < 0) return rc;
        rc = store_create(s, key, second, &e);
        if (rc == 0)
            f->conditional_create = STORE_FACT_NO;
        else if (e.code != ERR_OBJECT_EXISTS && f->conditional_create == STORE_FACT_YES)
            f->conditional_create = unknown(f, &e);
        error_clear(&e);
        rc = store_read(s, key, 0, got, sizeof got, &n, &e);
        if (rc < 0 && e.code != ERR_OBJECT_MISSING)
            f->read_after_write = f->read_after_write == STORE_FACT_NO ? STORE_FACT_NO : unknown(f, &e);
        else if (rc < 0 || !bytes_equal(BYTES_OF(got, n), f->conditional_create == STORE_FACT_NO ? second : first))
            f->read_after_write = STORE_FACT_NO;
        struct sought sought = {key, false};
        error_clear(&e);
        if (store_list(s, folder, see, &sought, &e) < 0)
            f->list_after_write = f->list_after_write == STORE_FACT_NO ? STORE_FACT_NO : unknown(f, &e);
        else if (!sought.found)
            f->list_after_write = STORE_FACT_NO;
    }
    return 0;
}

/* With the tag of what is there no more, on an object of its own: number TRIES. */
static enum store_fact try_replace(struct store *s, const char *folder, struct store_facts *f) {
    char key[128], got[16], tag[STORE_TAG_BYTES];
    struct error e = ERROR_INIT;
    bool done = false;
    size_t n;
    snprintf(key, sizeof key, "%s%d", folder, TRIES);
    int rc = store_replace(s, key, BYTES_STR("first"), &e);
    if (rc == 0) rc = store_read_tagged(s, key, got, sizeof got, &n, tag, &e);
    if (rc == 0 && !tag[0]) return STORE_FACT_NONE;
    if (rc == 0) rc = store_replace(s, key, BYTES_STR("second"), &e);
    if (rc == 0) rc = store_replace_if(s, key, BYTES_STR("third"), tag, &done, &e);
    if (rc < 0) return unknown(f, &e);
    if (done) return STORE_FACT_NO;
    /* and one that holds is taken: a gateway that does not know its own tags refuses all of them */
    rc = store_read_tagged(s, key, got, sizeof got, &n, tag, &e);
    if (rc == 0) rc = store_replace_if(s, key, BYTES_STR("third"), tag, &done, &e);
    return rc < 0 ? unknown(f, &e) : done ? STORE_FACT_YES : STORE_FACT_NO;
}

static void clean(struct store *s, const char *folder, struct store_facts *f) {
    char key[128];
    for (int i = 0; i < TRIES + store_has_tags(s); i++) {
        struct error e = ERROR_INIT;
        snprintf(key, sizeof key, "%s%d", folder, i);
        if (store_remove(s, key, &e) == 0)
            f->delete_refused = STORE_FACT_NO;
        else
            f->delete_refused = is_refusal(&e) ? STORE_FACT_YES : unknown(f, &e);
    }
}

int store_probe(struct store *s, struct store_facts *ret, struct error *err) {
    struct store_facts f = {.conditional_parts = STORE_FACT_NONE,
                            .conditional_replace = STORE_FACT_NONE,
                            .erase_refused = STORE_FACT_NONE,
                            .versioned = STORE_FACT_NONE,
                            .lock_enabled = STORE_FACT_NONE,
                            .lock_enforced = STORE_FACT_NONE};
    uint8_t random[16];
    char folder[64], hex[33];
    int rc = random_bytes(random, sizeof random, err);
    if (rc < 0) return rc;
    hex_encode(random, sizeof random, hex);
    snprintf(folder, sizeof folder, "probe/%s/", hex);
    rc = look(s, folder, &f, err);
    if (rc == 0 && store_has_tags(s)) f.conditional_replace = try_replace(s, folder, &f);
    if (rc == 0 && s->ops->probe) rc = s->ops->probe(s, folder, &f, err);
    clean(s, folder, &f);
    if (rc < 0) return error_wrap(err, "trying out what the store does");
    *ret = f;
    return 0;
}
