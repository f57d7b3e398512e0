#include "platform/address.h"
#include "base/time.h"
#include "platform/set.h"

#include <ctype.h>

static const char backup_prefix[] = "bkp-";

int point_parse(const char *text, struct point_spec *ret, struct error *err) {
    struct point_spec p = {.kind = POINT_ID};
    size_t n = strlen(text);
    if (strcmp(text, "latest") == 0) {
        p.kind = POINT_LATEST;
    } else if (time_parse(text, &p.time_ns)) {
        p.kind = POINT_TIME;
    } else if (n > 0 && n < sizeof(p.id)) {
        for (size_t i = 0; i < n; i++)
            if (!isalnum((unsigned char)text[i]) && text[i] != '-') n = 0;
        if (n) memcpy(p.id, text, n + 1);
    }
    if (p.kind == POINT_ID && p.id[0] == '\0')
        return error_set(
            err, ERR_USAGE,
            "'%.64s' is no recovery point; one is 'latest', a backup id or the beginning of one, or a time such as "
            "2026-02-16T09:58:00Z",
            text);
    *ret = p;
    return 0;
}

/* A name of `n` bytes at p. */
static int take_name(const char *text, const char *what, const char *p, size_t n, char out[SCHEMA_NAME_BYTES],
                     struct error *err) {
    if (n > 0 && n < SCHEMA_NAME_BYTES) {
        memcpy(out, p, n);
        out[n] = '\0';
        if (schema_name_ok(out)) return 0;
    }
    return error_set(err, ERR_USAGE,
                     "'%.200s' has no valid %s; an address is env/surface[@point], such as prod/postgres@latest", text,
                     what);
}

static int take_surfaces(const char *text, const char *p, size_t n, struct address *a, struct error *err) {
    if (n == 3 && memcmp(p, "all", 3) == 0) {
        a->all = true;
        return 0;
    }
    for (const char *end = p + n;;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        if (a->surface_count == ADDRESS_SURFACES_MAX)
            return error_set(err, ERR_USAGE, "an address names at most %d surfaces", ADDRESS_SURFACES_MAX);
        char *name = a->surfaces[a->surface_count];
        int rc = take_name(text, "surface", p, (size_t)(stop - p), name, err);
        if (rc < 0) return rc;
        for (size_t i = 0; i < a->surface_count; i++)
            if (strcmp(a->surfaces[i], name) == 0)
                return error_set(err, ERR_USAGE, "'%.200s' names the surface '%s' twice", text, name);
        a->surface_count++;
        if (!comma) return 0;
        p = comma + 1;
    }
}

int address_parse(const char *text, struct address *ret, struct error *err) {
    struct address a = {.class = CONFIG_CLASS_UNSET};
    const char *slash = strchr(text, '/');
    if (!slash)
        return error_set(err, ERR_USAGE,
                         "'%.200s' is no address; one is env/surface[@point], such as prod/postgres@latest or prod/all",
                         text);
    int rc = take_name(text, "environment", text, (size_t)(slash - text), a.environment, err);
    if (rc < 0) return rc;
    const char *rest = slash + 1, *at = strchr(rest, '@');
    if (at == rest) {
        const struct field *classes = schema_find(schema_find(&schema_root, "surfaces")->object, "class");
        const char *point = strchr(at + 1, '@');
        size_t n = point ? (size_t)(point - at - 1) : strlen(at + 1);
        for (int v = 1; classes->values[v - 1]; v++)
            if (strlen(classes->values[v - 1]) == n && memcmp(classes->values[v - 1], at + 1, n) == 0)
                a.class = (enum config_class)v;
        if (a.class == CONFIG_CLASS_UNSET)
            return error_set(err, ERR_USAGE, "'%.200s' has no valid class; one is truth, runtime, cache or config",
                             text);
        if (point && (rc = point_parse(point + 1, &a.point, err)) < 0) return rc;
    } else {
        rc = take_surfaces(text, rest, at ? (size_t)(at - rest) : strlen(rest), &a, err);
        if (rc == 0 && at) rc = point_parse(at + 1, &a.point, err);
        if (rc < 0) return rc;
    }
    *ret = a;
    return 0;
}

const char *address_class_name(enum config_class class) {
    const struct field *classes = schema_find(schema_find(&schema_root, "surfaces")->object, "class");
    return schema_enum_name(classes, (int)class);
}

static int resolve_set(const struct config *c, const struct config_set *s, struct address_target *t,
                       struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < s->surfaces.count && rc == 0; i++)
        rc = t->surface_count < ADDRESS_SURFACES_MAX
                 ? config_need_surface(c, t->environment, s->surfaces.items[i], &t->surfaces[t->surface_count++], err)
                 : error_set(err, ERR_USAGE, "a set has at most %d surfaces", ADDRESS_SURFACES_MAX);
    return rc < 0 ? error_wrap(err, "the set '%s'", s->head.name) : 0;
}

int address_resolve(const struct config *c, const struct address *a, struct address_target *ret, struct error *err) {
    struct address_target t = {.surface_count = 0};
    int rc = config_need_environment(c, a->environment, &t.environment, err);
    const struct config_set *set =
        rc == 0 && a->surface_count == 1 ? config_set(c, t.environment, a->surfaces[0]) : NULL;
    if (set && (rc = resolve_set(c, set, &t, err)) == 0) *ret = t;
    if (set) return rc;
    for (size_t i = 0; rc == 0 && i < a->surface_count; i++)
        rc = config_need_surface(c, t.environment, a->surfaces[i], &t.surfaces[t.surface_count++], err);
    if (rc < 0) return rc;
    for (size_t i = 0; a->surface_count == 0 && i < c->surfaces.count; i++) {
        const struct config_surface *s = c->surfaces.items[i];
        if (!config_environment_has(t.environment, s) || (!a->all && s->class != (int)a->class)) continue;
        if (t.surface_count == ADDRESS_SURFACES_MAX)
            return error_set(err, ERR_USAGE, "%s has more than %d such surfaces; name them in several runs",
                             a->environment, ADDRESS_SURFACES_MAX);
        t.surfaces[t.surface_count++] = s;
    }
    if (t.surface_count == 0) return error_set(err, ERR_NO_POINT, "%s has no surface of that class", a->environment);
    *ret = t;
    return 0;
}

static bool id_begins(const char *id, const char *wanted) {
    size_t n = strlen(wanted), skip = sizeof(backup_prefix) - 1;
    return strncmp(id, wanted, n) == 0 || (strncmp(id, backup_prefix, skip) == 0 && strncmp(id + skip, wanted, n) == 0);
}

static int find_id(const char *wanted, const struct point_entry *points, size_t n, const char *what, size_t *ret_index,
                   struct error *err) {
    char some[4 * (POINT_ID_BYTES_MAX + 2) + 8] = "";
    size_t found = 0, at = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(points[i].id, wanted) == 0) {
            *ret_index = i;
            return 0;
        }
        if (!id_begins(points[i].id, wanted)) continue;
        if (found < 4)
            snprintf(some + strlen(some), sizeof(some) - strlen(some), "%s%.63s", found ? ", " : "", points[i].id);
        at = i;
        found++;
    }
    if (found == 0) return error_set(err, ERR_NO_POINT, "%s has no backup whose id begins with '%s'", what, wanted);
    if (found > 1)
        return error_set(err, ERR_NO_POINT, "%s has %zu backups whose ids begin with '%s': %s%s", what, found, wanted,
                         some, found > 4 ? ", …" : "");
    *ret_index = at;
    return 0;
}

/* Partial ones are taken by their ids only. */
static int none_whole(const struct point_entry *points, size_t n, const char *what, struct error *err) {
    size_t partial = 0, newest = n;
    for (size_t i = 0; i < n; i++) {
        if (points[i].aside) continue;
        newest = i;
        partial++;
    }
    if (n == 0) return error_set(err, ERR_NO_POINT, "%s has no whole backup", what);
    if (!partial) {
        error_set(err, ERR_NO_POINT, "%s has no whole backup but of what restores wrote over, the newest being %s",
                  what, points[n - 1].id);
        return error_next(err, "Such a point is meant by its id alone: %s@%s.", what, points[n - 1].id);
    }
    error_set(err, ERR_NO_POINT, "%s has no whole backup: %s, the newest being %s", what,
              partial == 1 ? "its only recovery point is partial" : "all of its recovery points are partial",
              points[newest].id);
    return error_next(err,
                      "See with 'proofkeep show %s@%s' what it lacks; named so, what it has is restored. Mend the "
                      "cause and back up again.",
                      what, points[newest].id);
}

int point_find(const struct point_spec *spec, const struct point_entry *points, size_t n, const char *what,
               size_t *ret_index, struct error *err) {
    if (spec->kind == POINT_ID) return find_id(spec->id, points, n, what, ret_index, err);
    bool found = false, any = false;
    size_t at = 0;
    int64_t oldest = INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        if (!points[i].whole || points[i].aside) continue;
        any = true;
        if (points[i].time_ns < oldest) oldest = points[i].time_ns;
        if (spec->kind == POINT_TIME && points[i].time_ns > spec->time_ns) continue;
        /* The log's order decides what is newest; for a time, the instant does. */
        if (!found || spec->kind != POINT_TIME || points[i].time_ns >= points[at].time_ns) at = i;
        found = true;
    }
    if (!found && !any) return none_whole(points, n, what, err);
    if (!found) {
        char wanted[32], first[32];
        time_format(spec->time_ns, wanted);
        time_format(oldest, first);
        return error_set(err, ERR_NO_POINT, "%s has no backup as old as %s; its oldest is of %s", what, wanted, first);
    }
    *ret_index = at;
    return 0;
}
