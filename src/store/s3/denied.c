#include "store/s3/s3_internal.h"

struct look {
    const char *key;
    bool found;
    uint64_t bytes;
    int64_t created_ns;
};

static int see(void *ctx, const struct store_object *o, struct error *err) {
    struct look *l = ctx;
    (void)err;
    if (strcmp(o->key, l->key) != 0) return 0;
    l->found = true;
    l->bytes = o->bytes;
    l->created_ns = o->created_ns;
    return 1; /* nothing else is wanted */
}

/* Whether the list could be had; what it says is in `l`. */
static bool look(struct s3_store *s, struct look *l) {
    struct error ignored = ERROR_INIT;
    int rc = s3_list(&s->base, l->key, see, l, &ignored);
    return rc >= 0;
}

static int missing(struct s3_store *s, const char *key, struct error *err) {
    error_clear(err);
    return error_set(err, ERR_OBJECT_MISSING, "the object %s is not in %s", key, s->name);
}

int s3_denied_stat(struct s3_store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns,
                   struct error *err) {
    struct look l = {.key = key};
    if (!look(s, &l)) return -(int)err->code;
    if (!l.found) return missing(s, key, err);
    error_clear(err);
    *ret_bytes = l.bytes;
    *ret_created_ns = l.created_ns;
    return 0;
}

int s3_denied_read(struct s3_store *s, const char *key, struct error *err) {
    struct look l = {.key = key};
    return look(s, &l) && !l.found ? missing(s, key, err) : -(int)err->code;
}
