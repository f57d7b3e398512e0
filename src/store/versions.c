#include "store/versions.h"
#include "base/seam.h"
#include "store/store.h"

const char *store_lock_name(enum store_lock l) {
    static const char *const names[] = {"none", "governance", "compliance"};
    return (unsigned)l < sizeof names / sizeof *names ? names[l] : "none";
}

static int need(const struct store *s, const char *key, struct error *err) {
    if (!s->ops->versions)
        return error_set(err, ERR_STORE_NO_VERSIONS, "a store of the kind '%s' keeps neither versions nor retention",
                         s->ops->name);
    if (key && !store_key_valid(key))
        return error_set(err, ERR_STORE_KEY, "'%.64s' cannot be the name of an object", key);
    return 0;
}

static int need_folder(const char *prefix, struct error *err) {
    size_t n = strlen(prefix);
    char folder[513] = "";
    bool good = n == 0;
    if (n > 1 && n < sizeof folder && prefix[n - 1] == '/') {
        memcpy(folder, prefix, n - 1);
        good = store_key_valid(folder);
    }
    return good ? 0 : error_set(err, ERR_STORE_KEY, "'%.64s' cannot be a folder of objects", prefix);
}

void store_set_locks(struct store *s, const struct store_locks *l) {
    s->locks = *l;
}

int64_t store_lock_ns(const struct store *s, const char *key) {
    if (s->locks.mode == STORE_LOCK_NONE || !s->ops->versions) return 0;
    for (unsigned i = 0; i < s->locks.count; i++)
        if (strncmp(key, s->locks.rules[i].prefix, strlen(s->locks.rules[i].prefix)) == 0)
            return s->locks.rules[i].keep_ns;
    return 0;
}

int store_keeps_versions(struct store *s, bool *ret, struct error *err) {
    *ret = false;
    return s->ops->versions ? s->ops->versions->kept(s, ret, err) : 0;
}

bool store_lists_no_versions(struct store *s) {
    return !s->ops->versions || s->ops->versions->unkept_by_lists(s);
}

int store_list_versions(struct store *s, const char *prefix, store_version_cb cb, void *ctx, struct error *err) {
    int rc = need(s, NULL, err);
    if (rc == 0) rc = need_folder(prefix, err);
    return rc < 0 ? rc : s->ops->versions->list(s, prefix, cb, ctx, err);
}

int store_list_kept(struct store *s, const char *prefix,
                    int (*cb)(void *ctx, const struct store_object *o, struct error *err), void *ctx,
                    struct error *err) {
    if (!s->ops->versions) return store_list(s, prefix, cb, ctx, err);
    int rc = need_folder(prefix, err);
    return rc < 0 ? rc : s->ops->versions->list_kept(s, prefix, cb, ctx, err);
}

int store_read_version(struct store *s, const char *key, const char *id, uint64_t at, void *p, size_t len,
                       size_t *ret_n, struct error *err) {
    int rc = need(s, key, err);
    return rc < 0 ? rc : s->ops->versions->read(s, key, id, at, p, len, ret_n, err);
}

int store_restore_version(struct store *s, const char *key, const char *id, struct error *err) {
    int rc = need(s, key, err);
    return rc < 0 ? rc : s->ops->versions->restore(s, key, id, err);
}

bool store_pin_first_version(struct store *s, const char *key) {
    return s->ops->versions && store_key_valid(key) && s->ops->versions->pin_first(s, key);
}

int store_retention(struct store *s, const char *key, struct store_retention *ret, struct error *err) {
    int rc = need(s, key, err);
    return rc < 0 ? rc : s->ops->versions->retention(s, key, ret, err);
}

int store_retain(struct store *s, const char *key, const struct store_retention *want, struct error *err) {
    int rc = need(s, key, err);
    return rc < 0 ? rc : s->ops->versions->retain(s, key, want, err);
}

int store_may_shorten(struct store *s, const char *key, bool *ret, struct error *err) {
    int rc = need(s, key, err);
    return rc < 0 ? rc : s->ops->versions->may_shorten(s, key, ret, err);
}

int store_reclaim(struct store *s, const char *key, int64_t *ret_until_ns, struct error *err) {
    *ret_until_ns = 0;
    if (!s->ops->versions) return store_remove(s, key, err);
    int rc = need(s, key, err);
    return rc < 0 ? rc : s->ops->versions->reclaim(s, key, ret_until_ns, err);
}

int store_bucket(struct store *s, struct store_bucket *ret, struct error *err) {
    int rc = need(s, NULL, err);
    return rc < 0 ? rc : s->ops->versions->bucket(s, ret, err);
}

void store_sights(struct store *s, struct store_sights *ret) {
    ret->hidden = atomic_load(&s->hidden);
    ret->covered = atomic_load(&s->covered);
    ret->first[0] = 0;
    if (ret->hidden + ret->covered > 0) memcpy(ret->first, s->first_seen, sizeof ret->first);
}
