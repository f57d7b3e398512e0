#include "work/own_keys.h"

#include "base/seam.h"

#include <stdio.h>

bool own_key_file(const struct config_secret *s, const struct config_environment *e, char out[4096]) {
    const char *from = config_is_dev(e) && s->dev ? s->dev->file : s->file, *at;
    size_t n = 0;
    if (!from) return false;
    for (; (at = strstr(from, "{env}")) && n < 4096; from = at + 5)
        n += (size_t)snprintf(out + n, 4096 - n, "%.*s%s", (int)(at - from), from, e->head.name);
    if (n < 4096) n += (size_t)snprintf(out + n, 4096 - n, "%s", from);
    return n < 4096;
}

static bool goes_to(const struct config_repository *from, const struct config_repository *to) {
    for (size_t i = 0; i < from->copies.count; i++)
        if (strcmp(from->copies.items[i], to->head.name) == 0) return true;
    return from->fallback && strcmp(from->fallback, to->head.name) == 0;
}

/* All between which points go, however many steps that takes. */
static void ties(const struct config *c, const struct config_repository *own, bool *tied) {
    const size_t n = c->repositories.count;
    bool more = true;
    for (size_t i = 0; i < n; i++) tied[i] = c->repositories.items[i] == own;
    while (more) {
        more = false;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n && !tied[i]; k++)
                if (tied[k] && (goes_to(c->repositories.items[k], c->repositories.items[i]) ||
                                goes_to(c->repositories.items[i], c->repositories.items[k])))
                    more = tied[i] = true;
    }
}

int own_keys_each(const struct work *w, const char *url, int (*cb)(void *ctx, const char *path, struct error *err),
                  void *ctx, struct error *err) {
    const struct config *c = w->config;
    const struct config_repository *own = c ? config_repository_at(c, url) : NULL;
    const struct work_options *o = &w->options;
    const char *const given[] = {o->key_file, o->passphrase_file, o->recovery_kit};
    char path[4096];
    int rc = 0;
    for (size_t i = 0; i < sizeof given / sizeof *given && rc == 0; i++)
        if (given[i] && strcmp(given[i], "-") != 0) rc = cb(ctx, given[i], err);
    void *mem = NULL;
    if (rc == 0 && own) rc = mem_alloc(c->repositories.count, &mem, err);
    bool *tied = mem;
    if (tied) ties(c, own, tied);
    for (size_t i = 0; tied && i < c->repositories.count && rc == 0; i++) {
        const struct config_repository *r = c->repositories.items[i];
        if (!tied[i]) continue;
        const struct config_secret *s = r->encrypt && r->encrypt->key ? config_secret(c, r->encrypt->key) : NULL;
        for (size_t k = 0; s && k < c->environments.count && rc == 0; k++)
            if (own_key_file(s, c->environments.items[k], path)) rc = cb(ctx, path, err);
    }
    seam_free(mem);
    return rc;
}

static int add(void *ctx, const char *path, struct error *err) {
    struct own_keys *k = ctx;
    struct stat st;
    if (seam_fstatat(AT_FDCWD, path, &st, 0) < 0) return 0; /* not on this host */
    for (size_t i = 0; i < k->count; i++)
        if (k->list[i].ino == st.st_ino && k->list[i].dev == st.st_dev) return 0;
    int rc = mem_grow((void **)&k->list, &k->cap, k->count + 1, sizeof *k->list, err);
    if (rc == 0) k->list[k->count++] = (struct file_identity){st.st_dev, st.st_ino};
    return rc;
}

int own_keys_find(const struct work *w, struct own_keys *ret, struct error *err) {
    int rc = own_keys_each(w, w->url, add, ret, err);
    if (rc < 0) own_keys_free(ret);
    return rc;
}

void own_keys_free(struct own_keys *k) {
    seam_free(k->list);
    *k = (struct own_keys){0};
}
