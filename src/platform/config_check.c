#include "platform/config_internal.h"

#include "base/seam.h"

/* The names of a root map, whatever its type. */
static struct config_list list_of(const struct config *c, const char *map) {
    const struct field *f = schema_find(&schema_root, map);
    struct config_list list;
    memcpy(&list, (const char *)c + f->offset, sizeof(list));
    return list;
}

static const char *name_of(const struct config_list *list, size_t i) {
    struct config_head head;
    memcpy(&head, list->items[i], sizeof(head));
    return head.name;
}

static const char *singular(const char *map) {
    if (strcmp(map, "repositories") == 0) return "repository";
    return strcmp(map, "surfaces") == 0 ? "surface" : "environment";
}

static int check_mention(struct config_reader *r, const struct config_mention *m, struct error *err) {
    const struct config_list list = list_of(r->config, m->map);
    const char *names[128];
    size_t count = 0;
    for (size_t i = 0; i < list.count; i++) {
        const char *name = name_of(&list, i);
        if (strcmp(name, m->name) == 0) return 0;
        if (count < sizeof(names) / sizeof(names[0])) names[count++] = name;
    }
    char did[100] = "";
    const char *best = schema_suggest(m->name, names, count);
    if (best) snprintf(did, sizeof(did), " (did you mean '%s'?)", best);
    r->file = m->file;
    if (strcmp(m->map, "secrets") == 0) /* the text is not shown: it may be the secret itself */
        return config_refuse(
            r, ERR_CONFIG_VALUE, m->line, m->column, err,
            "no entry of 'secrets' has the name that stands here%s; if it is the secret itself, take it out "
            "of the file",
            did);
    return config_refuse(r, ERR_CONFIG_VALUE, m->line, m->column, err, "there is no %s '%.63s'%s", singular(m->map),
                         m->name, did);
}

static int check_environment(struct config_reader *r, const struct config_environment *e, struct error *err) {
    for (size_t i = 0; i < e->accepts_from.count; i++) {
        const struct config_head *h = &e->accepts_from.items[i]->head;
        r->file = h->file;
        if (strcmp(h->name, e->head.name) == 0)
            return config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                                 "an environment accepts its own data anyway; remove '%s'", h->name);
    }
    for (size_t i = 0; e->policy && i < e->policy->surface.count; i++) {
        const struct config_head *h = &e->policy->surface.items[i]->head;
        r->file = h->file;
        if (!config_environment_has(e, config_surface(r->config, h->name)))
            return config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                                 "the environment '%s' has no surface '%s': its 'surfaces' does not name it",
                                 e->head.name, h->name);
    }
    return 0;
}

static int check_queries(struct config_reader *r, const struct config_surface *s, struct error *err) {
    for (size_t i = 0; i < s->checks.count; i++) {
        const struct config_query *a = s->checks.items[i];
        r->file = a->head.file;
        if (a->value && a->live)
            return config_refuse(r, ERR_CONFIG_VALUE, a->head.line, a->head.column, err,
                                 "surfaces.%s: the check '%s' wants both a value and what the live server answers",
                                 s->head.name, a->name);
        for (size_t j = 0; j < i; j++)
            if (strcmp(a->name, s->checks.items[j]->name) == 0)
                return config_refuse(r, ERR_CONFIG_KEY, a->head.line, a->head.column, err,
                                     "surfaces.%s has two checks called '%s'; the other is at line %u", s->head.name,
                                     a->name, (unsigned)s->checks.items[j]->head.line);
    }
    return 0;
}

/* What begins without an end would be left so by a job that went well. */
static int check_hooks(struct config_reader *r, const char *map, const char *name, const struct config_hooks *h,
                       struct error *err) {
    const bool freeze = h && h->freeze && !h->resume;
    if (!freeze && !(h && h->standby && !h->live)) return 0;
    const struct config_head *at = freeze ? &h->freeze->head : &h->standby->head;
    r->file = at->file;
    return config_refuse(r, ERR_CONFIG_VALUE, at->line, at->column, err,
                         "%s.%s has hooks.%s without hooks.%s, which undoes it", map, name,
                         freeze ? "freeze" : "standby", freeze ? "resume" : "live");
}

/* Only what is truth lasts without being made anew. */
static int check_rebuilt(struct config_reader *r, const struct config_surface *s, struct error *err) {
    const struct config_strings *from = &s->rebuilt_from;
    r->file = s->head.file;
    if (from->count && s->class == CONFIG_CLASS_TRUTH)
        return config_refuse(r, ERR_CONFIG_VALUE, s->head.line, s->head.column, err,
                             "surfaces.%s is of class truth, which others are rebuilt from; take 'rebuilt_from' out",
                             s->head.name);
    for (size_t i = 0; i < from->count; i++) {
        const struct config_surface *of = config_surface(r->config, from->items[i]);
        if (of && of->class != CONFIG_CLASS_TRUTH)
            return config_refuse(r, ERR_CONFIG_VALUE, s->head.line, s->head.column, err,
                                 "surfaces.%s is rebuilt from %s, which is of class %s: only what is truth will do",
                                 s->head.name, from->items[i], config_class_name(of));
    }
    return 0;
}

static int check_surface(struct config_reader *r, const struct config_surface *s, struct error *err) {
    bool physical = s->method == CONFIG_METHOD_PHYSICAL;
    const char *wrong = !physical && s->through          ? "through"
                        : !physical && s->data_directory ? "data_directory"
                        : !physical && s->checks.count   ? "checks"
                        : !physical && s->priority       ? "priority"
                        : !physical && s->bandwidth.set  ? "bandwidth"
                        : physical && s->databases.count ? "databases"
                                                         : NULL;
    r->file = s->head.file;
    if (wrong)
        return config_refuse(r, ERR_CONFIG_VALUE, s->head.line, s->head.column, err,
                             physical ? "surfaces.%s is a physical backup, which has all databases; take '%s' out"
                                      : "surfaces.%s has '%s', which goes with 'method: physical' only",
                             s->head.name, wrong);
    for (size_t i = 0; i < s->invariants.count; i++)
        for (size_t j = 0; j < i; j++) {
            const struct config_invariant *a = s->invariants.items[i], *b = s->invariants.items[j];
            r->file = a->head.file;
            if (strcmp(a->name, b->name) == 0)
                return config_refuse(r, ERR_CONFIG_KEY, a->head.line, a->head.column, err,
                                     "surfaces.%s has two invariants called '%s'; the other is at line %u",
                                     s->head.name, a->name, (unsigned)b->head.line);
        }
    int rc = check_hooks(r, "surfaces", s->head.name, s->hooks, err);
    if (rc == 0) rc = check_rebuilt(r, s, err);
    return rc == 0 ? check_queries(r, s, err) : rc;
}

static int check_repository(struct config_reader *r, const struct config_repository *p, struct error *err) {
    const struct config_head *h = &p->head;
    const struct config_repository *f = p->fallback ? config_repository(r->config, p->fallback) : NULL;
    bool itself = f == p;
    r->file = h->file;
    for (size_t i = 0; i < p->copies.count; i++) itself |= strcmp(p->copies.items[i], h->name) == 0;
    if (itself)
        return config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                             "repositories.%s names itself as its fallback or copy", h->name);
    if (f && f->fallback)
        return config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                             "repositories.%s: its fallback '%s' has a fallback itself; only one is ever tried",
                             h->name, f->head.name);
    if (f && f->offline)
        return config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                             "repositories.%s: its fallback '%s' is offline, and may not be there when it is needed",
                             h->name, f->head.name);
    if (p->reread.state != CONFIG_UNSET && !p->offline)
        return config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                             "repositories.%s: 'reread' is of media with 'offline: true'", h->name);
    return 0;
}

/* An address has one name for both. */
static int check_sets(struct config_reader *r, struct config_set *const *sets, size_t n,
                      const struct config_environment *e, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        const struct config_head *h = &sets[i]->head;
        r->file = h->file;
        if (config_surface(r->config, h->name))
            return config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                                 "the set '%s' has the name of a surface; an address could not tell them apart",
                                 h->name);
        for (size_t k = 0; e && k < sets[i]->surfaces.count; k++)
            if (!config_environment_has(e, config_surface(r->config, sets[i]->surfaces.items[k])))
                return config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                                     "the set '%s' names '%s', which the environment '%s' does not have", h->name,
                                     sets[i]->surfaces.items[k], e->head.name);
        int rc = check_hooks(r, "sets", h->name, sets[i]->hooks, err);
        if (rc < 0) return rc;
    }
    return 0;
}

/* Takes away, again and again, what depends on nothing that is left; what stays goes round in a circle or leads to one.
 */
static int check_order(struct config_reader *r, struct error *err) {
    const struct config *c = r->config;
    void *mem;
    int rc = mem_alloc(c->surfaces.count + 1, &mem, err);
    if (rc < 0) return rc;
    bool *gone = mem, again = true;
    while (again) {
        again = false;
        for (size_t i = 0; i < c->surfaces.count; i++) {
            const struct config_strings *on = &c->surfaces.items[i]->depends_on;
            bool free = !gone[i];
            for (size_t k = 0; k < c->surfaces.count && free; k++)
                for (size_t d = 0; d < on->count && free; d++)
                    free = gone[k] || strcmp(on->items[d], c->surfaces.items[k]->head.name) != 0;
            gone[i] |= free;
            again |= free;
        }
    }
    for (size_t i = 0; i < c->surfaces.count && rc == 0; i++) {
        const struct config_head *h = &c->surfaces.items[i]->head;
        r->file = h->file;
        if (!gone[i])
            rc = config_refuse(r, ERR_CONFIG_VALUE, h->line, h->column, err,
                               "surfaces.%s depends on itself, by way of its 'depends_on'", h->name);
    }
    seam_free(mem);
    return rc;
}

int config_check(struct config_reader *r, struct error *err) {
    struct config *c = r->config;
    for (size_t i = 0; i < schema_root.field_count; i++)
        if (schema_root.fields[i].flags & FIELD_REQUIRED && !r->seen[i].file) {
            r->file = c->head.file;
            return config_refuse(r, ERR_CONFIG_KEY, 1, 1, err, "the key '%s' is missing", schema_root.fields[i].name);
        }
    for (size_t i = 0; i < r->mention_count; i++) {
        int rc = check_mention(r, &r->mentions[i], err);
        if (rc < 0) return rc;
    }
    for (size_t i = 0; i < c->repositories.count; i++) {
        int rc = config_s3_join(r, c->repositories.items[i], err);
        if (rc == 0) rc = check_repository(r, c->repositories.items[i], err);
        if (rc < 0) return rc;
    }
    for (size_t i = 0; i < c->surfaces.count; i++) {
        int rc = check_surface(r, c->surfaces.items[i], err);
        if (rc < 0) return rc;
    }
    for (size_t i = 0; i < c->environments.count; i++) {
        int rc = check_environment(r, c->environments.items[i], err);
        const struct config_environment *e = c->environments.items[i];
        if (rc == 0) rc = check_sets(r, e->sets.items, e->sets.count, e, err);
        if (rc < 0) return rc;
    }
    int rc = check_sets(r, c->sets.items, c->sets.count, NULL, err);
    if (rc == 0) rc = check_order(r, err);
    return rc;
}
