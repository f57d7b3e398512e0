#include "surface/neo4j/offline_place.h"

#include "base/seam.h"
#include "surface/plan.h"
#include <stdio.h>
#include <stdlib.h>

struct plan {
    struct neo4j_offline o;
    struct neo4j_place place;
    const struct restore_request *q;
    struct plan_parts parts;
    json_t *all, *take;
    uint64_t bytes;
};

static int choose(struct plan *p, struct error *err) {
    const json_t *d;
    size_t i;
    json_array_foreach(json_object_get(p->q->facts, "databases"), i, d) {
        int r = json_push(p->all, json_incref(json_object_get(d, "name")), err);
        if (r < 0) return r;
        p->bytes += (uint64_t)json_integer_value(json_object_get(d, "bytes"));
    }
    return neo4j_place_takes(p->q, p->all, &p->take, err);
}

static int versions(struct plan *p, struct error *err) {
    const char *was = json_string_value(json_object_get(p->q->facts, "neo4j_version"));
    char now[64];
    int r = neo4j_admin_version(&p->o, now, err);
    if (r < 0 || !was) return r;
    long major = strtol(was, NULL, 10), here = strtol(now, NULL, 10);
    const char *a = strchr(was, '.'), *b = strchr(now, '.');
    long minor = a ? strtol(a + 1, NULL, 10) : 0, minor_here = b ? strtol(b + 1, NULL, 10) : 0;
    if (major > here || (major == here && minor > minor_here))
        r = plan_say(p->parts.warnings, err,
                     "the dump is of Neo4j %s, and neo4j-admin here of %s: an older one may refuse to load it", was,
                     now);
    return r;
}

/* A live server says nothing of its databases, and the fingerprint then says just that. */
static int live(struct plan *p, struct error *err) {
    json_t *info = NULL;
    const json_t *row;
    size_t i;
    bool used = false;
    int r = neo4j_admin_info(&p->o, NULL, &info, err);
    json_array_foreach(info, i, row) {
        used = used || json_is_true(json_object_get(row, "in_use"));
        if (r == 0)
            r = buf_printf(&p->parts.print, err, "%s %lld\n", json_string_value(json_object_get(row, "name")),
                           (long long)json_integer_value(json_object_get(row, "last_committed")));
    }
    if (r == 0)
        r = plan_say(p->parts.steps, err,
                     "load them into %s" NEO4J_PARTIAL
                     "… and check them there, so that nothing is replaced by what is not sound",
                     p->place.path);
    if (r == 0 && used) r = plan_say(p->parts.steps, err, "stop the server by the hook 'stop'");
    if (r == 0) r = plan_say(p->parts.steps, err, "dump what is there now into %s.before-…", p->o.home);
    json_array_foreach(p->take, i, row) {
        const char *name = json_string_value(row);
        if (r == 0)
            r = plan_say(p->parts.steps, err, "%s the database %s of %s",
                         neo4j_info_of(info, name) ? "replace" : "load", name, p->o.home);
    }
    if (r == 0)
        r = plan_say(p->parts.steps, err, "check them again%s",
                     used ? ", and start the server by the hook 'start'" : "");
    json_decref(info);
    return r;
}

static int beside(struct plan *p, struct error *err) {
    const json_t *row;
    size_t i;
    int r = 0;
    json_array_foreach(p->take, i, row) if (r == 0) r = plan_say(
        p->parts.steps, err, "load the database %s into %s and check it", json_string_value(row), p->place.path);
    if (r == 0)
        r = plan_say(p->parts.steps, err,
                     "start a server on it with NEO4J_CONF=%s/conf, after that file has the settings of your own",
                     p->place.path);
    return r;
}

static int make(struct plan *p, json_t *out, struct error *err) {
    int r = neo4j_place_decide(&p->o, p->q, &p->place, err);
    if (r == 0) r = choose(p, err);
    if (r == 0) r = versions(p, err);
    if (r == 0) r = buf_printf(&p->parts.print, err, "%s %d %d\n", p->place.path, p->place.in_place, p->place.exists);
    if (r == 0) r = p->place.in_place ? live(p, err) : beside(p, err);
    if (r < 0) return r;
    r = json_put_str(out, "target", p->place.path, err);
    return r == 0
               ? plan_put(&p->parts, p->place.exists, p->place.empty, (p->place.in_place ? 3 : 1) * p->bytes, out, err)
               : r;
}

int neo4j_offline_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret,
                       struct error *err) {
    struct plan p = {.q = q, .all = json_array()};
    json_t *out = json_object();
    int r = out && p.all ? plan_begin(&p.parts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = neo4j_offline_load(ctx, &p.o, err);
    if (r == 0) r = make(&p, out, err);
    plan_end(&p.parts);
    json_decref(p.all);
    json_decref(p.take);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
