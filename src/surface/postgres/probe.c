#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"

static int add_problem(json_t *problems, struct error *problem, struct error *err) {
    json_t *p = json_pack("{s:s, s:s}", "code", error_info((int)problem->code)->code, "text", problem->text);
    error_clear(problem);
    return json_push(problems, p, err);
}

static int probe_database(const struct pg_settings *s, const char *name, json_t *list, json_t *problems,
                          struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    struct error problem = ERROR_INIT;
    json_t *facts = NULL;
    int r = pg_connect(s, name, &c, &problem);
    if (r == 0) r = pg_command(c, &problem, "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    if (r == 0) r = pg_preflight(c, name, &problem);
    if (r < 0) {
        r = add_problem(problems, &problem, err);
        if (r < 0 || !c || PQstatus(c) != CONNECTION_OK) return r;
    }
    r = pg_database_facts(c, &facts, &problem);
    if (r < 0) return add_problem(problems, &problem, err);
    json_object_del(facts, "inherits");
    return json_push(list, facts, err);
}

static int probe(const struct pg_settings *s, json_t *facts, struct error *err) {
    CLEANUP(pg_finishp) PGconn *c = NULL;
    struct error problem = ERROR_INIT;
    struct pg_tools tools;
    json_t *names = NULL, *v, *list = json_array(), *problems = json_array();
    size_t i;
    int r = list && problems ? json_put(facts, "databases", json_incref(list), err)
                             : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = json_put(facts, "problems", json_incref(problems), err);
    if (r == 0) r = pg_connect(s, NULL, &c, err);
    if (r == 0) r = pg_server_facts(c, facts, err);
    if (r == 0 && pg_tools_find(s, PQserverVersion(c) / 10000, false, &tools, &problem) < 0)
        r = add_problem(problems, &problem, err);
    else if (r == 0 && (r = json_put_str(facts, "client_version", tools.version, err)) == 0)
        r = json_put_str(facts, "client_dir", tools.dir, err);
    if (r == 0 && pg_restoring_check(c, &problem) < 0) r = add_problem(problems, &problem, err);
    if (r == 0) r = pg_database_list(s, c, &names, err);
    json_array_foreach(names, i, v) {
        if (r == 0) r = probe_database(s, json_string_value(v), list, problems, err);
    }
    json_decref(names);
    json_decref(list);
    json_decref(problems);
    return r;
}

int pg_probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    json_t *facts = json_object();
    int r = facts ? pg_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = probe(s, facts, err);
    if (r < 0)
        json_decref(facts);
    else
        *ret = facts;
    return r < 0 ? error_wrap(err, "postgres %s", ctx->name ? ctx->name : "") : 0;
}
