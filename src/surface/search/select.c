#include "surface/search/search_internal.h"

bool search_like(const char *p, const char *name) {
    const char *star = NULL, *again = NULL;
    while (*name) {
        if (*p == '*') {
            star = ++p;
            again = name;
        } else if (*p == *name) {
            p++;
            name++;
        } else if (star) {
            p = star;
            name = ++again;
        } else {
            return false;
        }
    }
    while (*p == '*') p++;
    return *p == 0;
}

/* A name that begins with a dot is the cluster's own business unless a pattern says the dot too. */
static bool listed(const json_t *patterns, const char *name) {
    const json_t *v;
    size_t i;
    json_array_foreach((json_t *)patterns, i, v) {
        const char *p = json_string_value(v);
        if (p && search_like(p, name) && (*name != '.' || *p == '.')) return true;
    }
    return false;
}

bool search_takes_name(const struct search_settings *s, const char *name) {
    if (s->exclude && listed(s->exclude, name)) return false;
    return s->indices ? listed(s->indices, name) : *name != '.';
}

bool search_takes_index(const char *const *include, const char *name) {
    if (!include) return true;
    for (; *include; include++) {
        const char *p = strncmp(*include, "index/", 6) == 0 ? *include + 6 : *include;
        if (strncmp(*include, "cluster/", 8) != 0 && search_like(p, name)) return true;
    }
    return false;
}

bool search_takes_backing(const char *const *include, const char *name, const char *stream) {
    return search_takes_index(include, name) || (stream && search_takes_index(include, stream));
}

bool search_takes_section(const char *const *include, const char *section, bool by_default) {
    if (!include) return by_default;
    for (; *include; include++)
        if (strncmp(*include, "cluster/", 8) == 0 && search_like(*include + 8, section)) return true;
    return false;
}

int search_include_check(const char *const *include, struct error *err) {
    for (; include && *include; include++) {
        bool known = strncmp(*include, "cluster/", 8) != 0 && **include;
        for (const struct search_section *x = search_sections; x->name && !known; x++)
            known = !x->apart && search_like(*include + 8, x->name);
        if (!known)
            return error_set(
                err, ERR_USAGE,
                "'%.200s' names nothing of a search snapshot; that is index/NAME (with * for anything) or "
                "one of cluster/component_templates, index_templates, legacy_templates, pipelines, policies, scripts",
                *include);
    }
    return 0;
}
