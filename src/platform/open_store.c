#include "platform/open_store.h"
#include "base/seam.h"
#include "base/time.h"
#include "platform/secret_ref.h"

struct access {
    const struct config *config;
    const struct config_environment *environment;
    const char *secret;
};

static int get(void *ctx, struct secret **ret, struct error *err) {
    const struct access *a = ctx;
    return secret_resolve(a->config, a->environment, a->secret, ret, err);
}

#define DAY_NS (24 * 3600 * NS_PER_S)

static int64_t span(const struct config_duration *d, int64_t days) {
    return d->state == CONFIG_SET ? d->ns : days * DAY_NS;
}

struct store_locks config_locks(const struct config_repository *r) {
    struct store_locks l = {.mode = STORE_LOCK_NONE};
    const struct config_immutability *i = r ? r->immutability : NULL;
    if (!i) return l;
    l = (struct store_locks){
        .mode = i->mode == CONFIG_LOCK_COMPLIANCE ? STORE_LOCK_COMPLIANCE : STORE_LOCK_GOVERNANCE,
        .rules = {{"log/", span(&i->log, 90)},
                  {"keys/", span(&i->keys, 90)},
                  {"format", span(&i->keys, 90)},
                  {"packs/", span(&i->packs, 35)},
                  {"index/", span(&i->index, 35)},
                  {"wal/", span(&i->wal, 35)}},
        .count = 6,
    };
    return l;
}

static int open_there(const struct config *c, const struct config_environment *e, const char *url, bool create,
                      struct store **ret, struct error *err) {
    const struct config_repository *r = config_repository_at(c, url);
    if (!r || !r->s3 || !r->s3->credentials) return store_open(url, create, ret, err);
    for (size_t i = 0; !e && i < c->environments.count; i++)
        if (strcmp(c->environments.items[i]->repository, r->head.name) == 0) e = c->environments.items[i];
    if (!e)
        return error_set(err, ERR_SECRET, "the credentials of repository '%s' cannot be had: no environment uses it",
                         r->head.name);
    void *p;
    int rc = mem_alloc(sizeof(struct access), &p, err);
    if (rc < 0) return rc;
    struct access *a = p;
    *a = (struct access){c, e, r->s3->credentials};
    return store_open_with(url, create, &(struct store_access){get, seam_free, a}, ret, err);
}

int config_open_store(const struct config *c, const struct config_environment *e, const char *url, bool create,
                      struct store **ret, struct error *err) {
    struct store_locks l = config_locks(config_repository_at(c, url));
    int rc = open_there(c, e, url, create, ret, err);
    if (rc == 0 && l.mode != STORE_LOCK_NONE) store_set_locks(*ret, &l);
    return rc;
}
