#include "platform/open_store.h"
#include "base/seam.h"
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

int config_open_store(const struct config *c, const struct config_environment *e, const char *url, bool create,
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
