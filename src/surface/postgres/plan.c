#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "surface/plan.h"
#include <stdlib.h>

struct planning {
    const struct restore_request *q;
    PGconn *c;
    json_t *list;
    struct plan_parts parts;
    uint64_t bytes;
    bool swap;
};

/* What the server has under a name: oid and size, or nothing. */
static int look(struct planning *p, const char *name, const char *as, json_t *d, bool *ret_exists, struct error *err) {
    const char *params[] = {name};
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(p->c, &r, err,
                      "SELECT oid, pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database"
                      " WHERE datname = $1",
                      1, params);
    if (rc < 0) return rc;
    bool half;
    rc = pg_database_half(p->c, name, p->q->planned_ns, &half, err);
    if (rc < 0) return rc;
    *ret_exists = PQntuples(r) > 0 && !half;
    if (half && !strcmp(as, "target"))
        rc = plan_say(p->parts.steps, err, "drop what a killed run of this plan left of %s", name);
    if (rc < 0) return rc;
    rc = buf_printf(&p->parts.print, err, "%s %s %s\n", as, name, *ret_exists ? pg_value(r, 0, 0) : "-");
    if (rc == 0 && *ret_exists) rc = json_put_int(d, "bytes", strtoll(pg_value(r, 0, 1), NULL, 10), err);
    return rc;
}

static int plan_live(struct planning *p, const struct pg_restore_job *j, json_t *d, struct error *err) {
    CLEANUP(buf_free) struct buf who = BUF_INIT(4096);
    bool exists;
    unsigned n = 0;
    int r = look(p, j->live, "live", d, &exists, err);
    if (r == 0) r = json_put(d, "live_exists", json_boolean(exists), err);
    if (r == 0) r = pg_connections(p->c, j->live, &n, &who, err);
    if (r == 0) r = json_put_int(d, "connections", n, err);
    if (r < 0 || !p->swap) return r;
    if (n && !p->q->terminate_connections)
        r = json_push(p->parts.warnings,
                      json_sprintf("sessions of others on %s: %u (%s); the swap would be refused", j->live, n,
                                   (const char *)who.ptr),
                      err);
    if (r == 0 && exists && n && p->q->terminate_connections)
        r = plan_say(p->parts.steps, err, "terminate %u connections to %s", n, j->live);
    if (r == 0 && exists)
        r = plan_say(p->parts.steps, err, "rename %s to %s, and %s to %s, in one transaction", j->live, j->before,
                     j->target, j->live);
    else if (r == 0)
        r = plan_say(p->parts.steps, err, "rename %s to %s", j->target, j->live);
    if (r < 0 || !exists) return r;
    const char *params[] = {j->live};
    CLEANUP(pg_clearp) PGresult *slots = NULL;
    r = pg_query(p->c, &slots, err, "SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE database = $1", 1,
                 params);
    if (r == 0 && strcmp(pg_value(slots, 0, 0), "0") != 0)
        r = json_push(p->parts.warnings,
                      json_sprintf("%s replication slots belong to %s and stay with the old database",
                                   pg_value(slots, 0, 0), j->live),
                      err);
    return r;
}

/* Which of them have a parent that is named only the contents say. */
static int plan_heirs(struct planning *p, const struct pg_restore_job *j, struct error *err) {
    size_t n;
    const char *first;
    int r = pg_select_heirs_known(p->q->include, j->name, j->facts, &n, &first, err);
    if (r < 0 || n == 0) return r;
    return json_push(
        p->parts.warnings,
        json_sprintf("%s has %zu table%s that inherit%s and %s not named, such as %s: a table that is named "
                     "comes without the rows of those that inherit from it",
                     j->name, n, n == 1 ? "" : "s", n == 1 ? "s" : "", n == 1 ? "is" : "are", first),
        err);
}

static int plan_one(struct planning *p, const struct pg_restore_job *j, struct error *err) {
    json_t *d = json_pack("{s:s, s:s}", "name", j->name, "target", p->swap ? j->live : j->target);
    bool exists = false;
    int r = d ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && !p->swap) r = look(p, j->target, "target", d, &exists, err);
    if (r == 0 && !p->swap) r = json_put(d, "exists", json_boolean(exists), err);
    if (r == 0 && exists && !p->q->as_scratch)
        r = json_push(p->parts.warnings, json_sprintf("%s exists already: the restore would be refused", j->target),
                      err);
    if (r == 0) r = plan_say(p->parts.steps, err, "make database %s and restore %s into it", j->target, j->name);
    if (r == 0)
        r = plan_say(p->parts.steps, err,
                     "compare every table's rows, every sequence and the large objects with what was captured");
    if (r == 0) r = plan_heirs(p, j, err);
    if (r == 0) r = plan_live(p, j, d, err);
    p->bytes += 2 * (uint64_t)json_integer_value(json_object_get(j->facts, "dump_bytes"));
    if (r < 0) {
        json_decref(d);
        return r;
    }
    return json_push(p->list, d, err);
}

static int finish(struct planning *p, json_t *out, struct error *err) {
    const json_t *first = json_array_get(p->list, 0);
    bool exists = json_is_true(json_object_get(first, p->swap ? "live_exists" : "exists"));
    const char *target = json_string_value(json_object_get(first, "target"));
    int r = target ? json_put_str(out, "target", target, err) : 0;
    if (r == 0) r = json_put(out, "databases", json_incref(p->list), err);
    return r == 0 ? plan_put(&p->parts, exists, !exists, p->bytes, out, err) : r;
}

int pg_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    struct planning p = {.q = q, .list = json_array(), .swap = (q->swap || q->in_place) && !q->as_scratch};
    struct pg_restore_job *jobs = NULL;
    size_t n = 0;
    json_t *out = json_object(), *server = json_object();
    int r = out && server && p.list ? plan_begin(&p.parts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = pg_jobs_make(q, &jobs, &n, err);
    if (r == 0) r = pg_settings_load(ctx, q->as_scratch ? q->scratch : NULL, &s, err);
    if (r == 0) r = pg_connect_admin(s, NULL, &c, err);
    p.c = c;
    if (r == 0) r = pg_server_facts(c, server, err);
    if (r == 0) r = json_put(out, "server_version", json_incref(json_object_get(server, "server_version")), err);
    const char *system = json_string_value(json_object_get(server, "system_identifier"));
    if (r == 0 && system) r = json_put_str(out, "system", system, err);
    if (r == 0)
        r = buf_printf(&p.parts.print, err, "server %s %d\n", system ? system : "-", PQserverVersion(c) / 10000);
    if (r == 0 && pg_selects_globals(q->include) && !q->no_owner)
        r = plan_say(p.parts.steps, err, "make the roles that the server lacks");
    for (size_t k = 0; r == 0 && k < n; k++) r = plan_one(&p, &jobs[k], err);
    if (r == 0) r = finish(&p, out, err);
    pg_jobs_free(jobs, n);
    plan_end(&p.parts);
    json_decref(p.list);
    json_decref(server);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
