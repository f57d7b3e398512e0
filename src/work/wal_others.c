#include "work/any_copy.h"
#include "work/beside.h"
#include "work/wal_internal.h"

#include <stdio.h>

static void name_add(struct wal_others *all, const char *name, bool newer, const char *own) {
    if (!name || all->count == WAL_OTHERS_MAX || strcmp(name, own) == 0) return;
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->list[i].name, name) == 0) return;
    struct wal_other *o = &all->list[all->count++];
    snprintf(o->name, sizeof o->name, "%s", name);
    o->newer = newer;
}

int wal_others_new(struct work_wal *h, struct wal_others **ret, struct error *err) {
    struct work *w = h->w;
    const struct config_surface *s = w->config ? config_surface(w->config, h->surface) : NULL;
    const struct config_repository *own = beside_config(w, h->environment);
    const char *instead = any_copy_read_from(w), *at = instead ? instead : own ? own->head.name : "";
    void *mem;
    *ret = NULL;
    if (!own) return 0;
    int rc = mem_alloc(sizeof(struct wal_others), &mem, err);
    if (rc < 0) return rc;
    struct wal_others *all = mem;
    all->h = h;
    name_add(all, own->fallback, !instead && !w->options.repository, at);
    for (size_t i = 0; s && s->wal && i < s->wal->also.count; i++) name_add(all, s->wal->also.items[i], false, at);
    for (size_t i = 0; w->copies && i < w->copies->count; i++) name_add(all, w->copies->names[i], false, at);
    if (all->count)
        *ret = all;
    else
        seam_free(all);
    return 0;
}

int wal_others_fallback(struct work_wal *h, const char *fallback, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct wal_others), &mem, err);
    if (rc < 0) return rc;
    h->others = mem;
    h->others->h = h;
    name_add(h->others, fallback, true, "");
    return 0;
}

void wal_others_free(struct wal_others *all) {
    for (size_t i = 0; all && i < all->count; i++) {
        work_wal_close(all->list[i].wal);
        work_close(all->list[i].own);
    }
    seam_free(all);
}

/* A copy that helps reading is open already, or will be. */
static int open_at(const struct wal_others *all, struct wal_other *o, struct work **ret, struct error *err) {
    struct work *w = all->h->w;
    for (size_t i = 0; w->copies && i < w->copies->count; i++)
        if (strcmp(w->copies->names[i], o->name) == 0) return any_copy_open(w->copies, i, ret, err);
    int rc = beside_open(w, o->name, all->h->environment, &o->own, err);
    if (rc == 0) *ret = o->own;
    return rc;
}

struct work_wal *wal_other_open(struct wal_others *all, struct wal_other *o) {
    struct work *at;
    struct error e = ERROR_INIT;
    if (o->wal || o->failed.code != ERR_NONE) return o->wal;
    int rc = open_at(all, o, &at, &e);
    if (rc == 0) rc = work_wal_open_source(at, all->h->environment, all->h->surface, &o->wal, &e);
    if (rc < 0) o->failed = e;
    return rc < 0 ? NULL : o->wal;
}
