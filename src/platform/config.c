#include "base/seam.h"
#include "platform/config_internal.h"

int config_alloc(struct config *c, size_t n, void **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct config_block) + n, &p, err);
    if (rc < 0) return rc;
    struct config_block *b = p;
    b->next = c->blocks;
    c->blocks = b;
    *ret = b->data;
    return 0;
}

int config_copy(struct config *c, const char *s, const char **ret, struct error *err) {
    size_t n = strlen(s) + 1;
    void *p;
    int rc = config_alloc(c, n, &p, err);
    if (rc < 0) return rc;
    memcpy(p, s, n);
    *ret = p;
    return 0;
}

void config_free(struct config *c) {
    if (!c) return;
    while (c->blocks) {
        struct config_block *next = c->blocks->next;
        seam_free(c->blocks);
        c->blocks = next;
    }
    seam_free(c);
}

void config_freep(struct config **c) {
    config_free(*c);
}

/* The list's items are of as many types as there are lists, but each begins with its head. */
#define FIND(list, wanted)                                                                                             \
    for (size_t i = 0; i < (list).count; i++)                                                                          \
        if (strcmp((list).items[i]->head.name, (wanted)) == 0) return (list).items[i];                                 \
    return NULL

const struct config_environment *config_environment(const struct config *c, const char *name) {
    FIND(c->environments, name);
}
const struct config_surface *config_surface(const struct config *c, const char *name) {
    FIND(c->surfaces, name);
}
const struct config_repository *config_repository_at(const struct config *c, const char *url) {
    for (size_t i = 0; c && i < c->repositories.count; i++)
        if (strcmp(c->repositories.items[i]->url, url) == 0) return c->repositories.items[i];
    return NULL;
}

const struct config_repository *config_repository(const struct config *c, const char *name) {
    FIND(c->repositories, name);
}
const struct config_secret *config_secret(const struct config *c, const char *name) {
    FIND(c->secrets, name);
}

/* "a, b, c", cut with "…" where there is no more room. */
struct names {
    const char *all[256];
    size_t count;
};
static void add_name(struct names *n, const char *name) {
    if (n->count < sizeof(n->all) / sizeof(n->all[0])) n->all[n->count++] = name;
}
static int no_such(struct error *err, const char *what, const char *name, const struct names *n) {
    char list[400] = "", did[100] = "";
    for (size_t i = 0; i < n->count; i++) {
        size_t used = strlen(list);
        if (used + strlen(n->all[i]) + 8 > sizeof(list)) {
            memcpy(list + used, ", …", sizeof(", …"));
            break;
        }
        snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", n->all[i]);
    }
    const char *best = schema_suggest(name, n->all, n->count);
    if (best) snprintf(did, sizeof(did), " (did you mean '%s'?)", best);
    return error_set(err, ERR_NO_POINT, "there is no %s '%.64s'; there is %s%s", what, name, n->count ? list : "none",
                     did);
}

int config_need_environment(const struct config *c, const char *name, const struct config_environment **ret,
                            struct error *err) {
    const struct config_environment *e = config_environment(c, name);
    if (e) {
        *ret = e;
        return 0;
    }
    struct names n = {.count = 0};
    for (size_t i = 0; i < c->environments.count; i++) add_name(&n, c->environments.items[i]->head.name);
    return no_such(err, "environment", name, &n);
}

int config_need_surface(const struct config *c, const struct config_environment *e, const char *name,
                        const struct config_surface **ret, struct error *err) {
    const struct config_surface *s = config_surface(c, name);
    if (s && config_environment_has(e, s)) {
        *ret = s;
        return 0;
    }
    struct names n = {.count = 0};
    for (size_t i = 0; i < c->surfaces.count; i++)
        if (config_environment_has(e, c->surfaces.items[i])) add_name(&n, c->surfaces.items[i]->head.name);
    char what[SCHEMA_NAME_BYTES + 32];
    snprintf(what, sizeof(what), "surface in %s called", e->head.name);
    return no_such(err, what, name, &n);
}

bool config_environment_has(const struct config_environment *e, const struct config_surface *s) {
    if (!e->surfaces.items) return true;
    for (size_t i = 0; i < e->surfaces.count; i++)
        if (strcmp(e->surfaces.items[i], s->head.name) == 0) return true;
    return false;
}

bool config_environment_reaches(const struct config *c, const struct config_environment *e,
                                const struct config_repository *r) {
    const struct config_repository *own = e->repository ? config_repository(c, e->repository) : NULL;
    if (!own) return false;
    if (own == r || strcmp(own->url, r->url) == 0) return true;
    if (own->fallback && strcmp(own->fallback, r->head.name) == 0) return true;
    for (size_t i = 0; i < own->copies.count; i++)
        if (strcmp(own->copies.items[i], r->head.name) == 0) return true;
    return false;
}

bool config_is_dev(const struct config_environment *e) {
    return strcmp(e->head.name, "dev") == 0;
}

static const char *enum_name(const struct schema *s, const char *field, int value) {
    return schema_enum_name(schema_find(s, field), value);
}
const char *config_kind_name(const struct config_surface *s) {
    return enum_name(schema_find(&schema_root, "surfaces")->object, "kind", s->kind);
}
const char *config_driver_name(const struct config_surface *s) {
    if (s->kind == CONFIG_KIND_POSTGRES && s->method == CONFIG_METHOD_PHYSICAL) return "postgres-physical";
    return config_kind_name(s);
}
const char *config_class_name(const struct config_surface *s) {
    return enum_name(schema_find(&schema_root, "surfaces")->object, "class", s->class);
}
const char *config_level_name(enum config_level level) {
    const struct schema *environment = schema_find(&schema_root, "environments")->object;
    const char *name = enum_name(schema_find(environment, "policy")->object, "verify", (int)level);
    return name ? name : "unset";
}
