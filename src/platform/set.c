#include "platform/set.h"

#include <stdio.h>

#define REACHED_MAX 256

const struct config_set *config_set(const struct config *c, const struct config_environment *e, const char *name) {
    for (size_t i = 0; e && i < e->sets.count; i++)
        if (strcmp(e->sets.items[i]->head.name, name) == 0) return e->sets.items[i];
    for (size_t i = 0; c && i < c->sets.count; i++)
        if (strcmp(c->sets.items[i]->head.name, name) == 0) return c->sets.items[i];
    return NULL;
}

int set_class_rank(const struct config_surface *s) {
    switch (s->class) {
    case CONFIG_CLASS_CONFIG:
        return 0;
    case CONFIG_CLASS_TRUTH:
        return 1;
    case CONFIG_CLASS_RUNTIME:
        return 2;
    default:
        return 3;
    }
}

static bool names(const struct config_surface *s, const struct config_surface *on) {
    for (size_t i = 0; i < s->depends_on.count; i++)
        if (strcmp(s->depends_on.items[i], on->head.name) == 0) return true;
    return false;
}

bool set_depends(const struct config *c, const struct config_surface *s, const struct config_surface *on) {
    const struct config_surface *seen[REACHED_MAX];
    size_t n = 0;
    seen[n++] = s;
    for (size_t at = 0; at < n; at++) {
        if (names(seen[at], on)) return true;
        for (size_t i = 0; i < seen[at]->depends_on.count; i++) {
            const struct config_surface *next = config_surface(c, seen[at]->depends_on.items[i]);
            size_t k = 0;
            while (k < n && seen[k] != next) k++;
            if (!next || k < n) continue;
            if (n == REACHED_MAX) return true; /* waiting for one too many does no harm */
            seen[n++] = next;
        }
    }
    return false;
}

json_t *set_depends_json(const struct config *c, const struct config_surface *s,
                         const struct config_surface *const *others, size_t n) {
    json_t *list = json_array();
    int rc = list ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < s->depends_on.count; i++)
        rc = json_array_append_new(list, json_string(s->depends_on.items[i]));
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (others[i] != s && !names(s, others[i]) && set_depends(c, s, others[i]))
            rc = json_array_append_new(list, json_string(others[i]->head.name));
    if (rc == 0) return list;
    json_decref(list);
    return NULL;
}

void set_order(const struct config *c, const struct config_surface **s, size_t n) {
    for (size_t at = 0; at < n; at++) {
        size_t best = n;
        for (size_t i = at; i < n; i++) {
            bool free = true;
            for (size_t k = at; k < n && free; k++) free = k == i || !set_depends(c, s[i], s[k]);
            if (free && (best == n || set_class_rank(s[i]) < set_class_rank(s[best]))) best = i;
        }
        if (best == n) best = at;
        const struct config_surface *next = s[best];
        memmove(s + at + 1, s + at, (best - at) * sizeof *s);
        s[at] = next;
    }
}

static int add(struct set_spec *s, const struct address_target *t, struct error *err) {
    for (size_t i = 0; i < t->surface_count; i++) {
        bool there = false;
        for (size_t k = 0; k < s->count; k++) there |= s->members[k] == t->surfaces[i];
        if (there) continue;
        if (s->count == ADDRESS_SURFACES_MAX)
            return error_set(err, ERR_USAGE, "a set has at most %d surfaces", ADDRESS_SURFACES_MAX);
        s->members[s->count++] = t->surfaces[i];
    }
    return 0;
}

static int name_list(struct set_spec *s, struct error *err) {
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        if (n < sizeof s->name)
            n += (size_t)snprintf(s->name + n, sizeof s->name - n, "%s%s", i ? "," : "", s->members[i]->head.name);
    return n < sizeof s->name
               ? 0
               : error_set(err, ERR_USAGE, "the list of surfaces is too long for a name; give it one in 'sets'");
}

int set_resolve(const struct config *c, const struct address *a, size_t n, struct set_spec *ret, struct error *err) {
    struct set_spec s = {0};
    for (size_t i = 0; i < n; i++) {
        struct address_target t;
        int rc = strcmp(a[i].environment, a[0].environment) == 0
                     ? address_resolve(c, &a[i], &t, err)
                     : error_set(err, ERR_USAGE, "a set is of one environment, and these are of %s and %s",
                                 a[0].environment, a[i].environment);
        if (rc == 0) rc = add(&s, &t, err);
        if (rc < 0) return rc;
        s.environment = t.environment;
    }
    set_order(c, s.members, s.count);
    if (n == 1 && !a->all && a->class == CONFIG_CLASS_UNSET && a->surface_count == 1)
        s.config = config_set(c, s.environment, a->surfaces[0]);
    if (s.config)
        snprintf(s.name, sizeof s.name, "%s", s.config->head.name);
    else if (n == 1 && a->all)
        snprintf(s.name, sizeof s.name, "all");
    else if (n == 1 && a->class != CONFIG_CLASS_UNSET)
        snprintf(s.name, sizeof s.name, "@%s", address_class_name(a->class));
    else {
        int rc = name_list(&s, err);
        if (rc < 0) return rc;
    }
    *ret = s;
    return 0;
}
