#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"
#include "surface/plan.h"

int neo4j_logical_probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(neo4j_settings_freep) struct neo4j_settings *s = NULL;
    CLEANUP(bolt_closep) struct bolt *b = NULL;
    struct error what = ERROR_INIT;
    json_t *facts = json_object(), *problems = json_array();
    int r = facts && problems ? neo4j_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = neo4j_connect(s, NULL, 0, &b, err);
    if (r == 0 && neo4j_facts(s, b, facts, &what) < 0)
        r = json_push(problems, json_pack("{s:s, s:s}", "code", error_info((int)what.code)->code, "text", what.text),
                      err);
    if (r == 0) r = json_put(facts, "problems", json_incref(problems), err);
    json_decref(problems);
    if (r < 0)
        json_decref(facts);
    else
        *ret = facts;
    return r < 0 ? error_wrap(err, "neo4j %s", ctx->name ? ctx->name : "") : 0;
}

static int steps(struct plan_parts *p, const struct neo4j_target *t, const struct restore_request *q, struct bolt *b,
                 int64_t there, struct error *err) {
    const json_t *nodes = json_object_get(json_object_get(q->invariants, "nodes"), "value"),
                 *relationships = json_object_get(json_object_get(q->invariants, "relationships"), "value");
    int r = buf_printf(&p->print, err, "%s %s %s %d", bolt_where(b), bolt_agent(b), t->database, there == 0);
    if (r == 0 && there && t->live)
        r = plan_say(p->steps, err, "remove the %lld nodes of database %s of %s, its constraints and its indexes",
                     (long long)there, t->database, bolt_where(b));
    if (r == 0 && there && t->live)
        r = plan_say(p->warnings, err, "what is in database %s is removed before the backup is imported", t->database);
    if (r == 0 && there && !t->live)
        r = plan_say(p->warnings, err,
                     "database %s has %lld nodes: unless they are of this restore, begun before, it would be refused",
                     t->database, (long long)there);
    if (r == 0)
        r = plan_say(p->steps, err, "import %lld nodes and %lld relationships into database %s of %s",
                     (long long)json_integer_value(nodes), (long long)json_integer_value(relationships), t->database,
                     bolt_where(b));
    if (r == 0)
        r = plan_say(p->steps, err, "make constraints before and indexes after, and compare all with the backup");
    if (r == 0) r = plan_say(p->warnings, err, "users and roles are not part of an online export");
    return r;
}

int neo4j_logical_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret,
                       struct error *err) {
    CLEANUP(neo4j_settings_freep) struct neo4j_settings *s = NULL;
    CLEANUP(bolt_closep) struct bolt *b = NULL;
    CLEANUP(buf_free) struct buf where = BUF_INIT(4096);
    struct plan_parts parts = {0};
    struct neo4j_target t;
    int64_t there = 0, begun = 0;
    json_t *out = json_object();
    int r = out ? plan_begin(&parts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = neo4j_settings_load(ctx, q->as_scratch ? q->scratch : NULL, &s, err);
    if (r == 0) r = neo4j_target_decide(s, q, &t, err);
    if (r == 0) r = neo4j_connect(s, t.host[0] ? t.host : NULL, t.port, &b, err);
    if (r == 0) r = neo4j_target_guard(s, &t, q, b, err);
    if (r == 0) r = bolt_number(b, t.database, BOLT_READ, "MATCH (n) RETURN count(n)", BYTES_OF(NULL, 0), &there, err);
    if (r == 0) r = buf_printf(&where, err, "%s database %s", bolt_where(b), t.database);
    if (r == 0) r = buf_terminate(&where, err);
    if (r == 0) r = json_put_str(out, "target", (const char *)where.ptr, err);
    if (r == 0) r = steps(&parts, &t, q, b, there, err);
    /* half of an import is what no backup takes: what was there was kept before that was begun */
    if (r == 0 && there && t.live)
        r = bolt_number(b, t.database, BOLT_READ, "MATCH (n:" IMPORT_STATE ") RETURN count(n)", BYTES_OF(NULL, 0),
                        &begun, err);
    parts.overwrites = there && t.live && !begun;
    if (r == 0) r = plan_put(&parts, true, there == 0, 0, out, err);
    plan_end(&parts);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}

/* ---- items ---- */
int neo4j_logical_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *err) {
    (void)name;
    return json_parse(attr, JSON_MAX_BYTES, "attributes of an item", ret, err);
}
