#include "surface/neo4j/import_internal.h"

#include "base/seam.h"

static const char key_constraint[] =
    "CREATE CONSTRAINT " IMPORT_CONSTRAINT " IF NOT EXISTS FOR (n:" IMPORT_LABEL ") REQUIRE n." IMPORT_KEY " IS UNIQUE";
static const char strip_query[] =
    "MATCH (n:" IMPORT_LABEL ") WITH n LIMIT 20000 REMOVE n:" IMPORT_LABEL ", n." IMPORT_KEY " RETURN count(*)";

static int name_import(struct import *m, struct error *err) {
    struct digest d;
    uint8_t both[2 * DIGEST_BYTES];
    int r = records_find(m->src, GRAPH_NODES, &m->nodes, err);
    if (r == 0) r = records_find(m->src, GRAPH_RELATIONSHIPS, &m->relationships, err);
    if (r == 0) r = records_schema(m->src, &m->schema, err);
    if (r < 0) return r;
    memcpy(both, m->nodes.sha256.b, DIGEST_BYTES);
    memcpy(both + DIGEST_BYTES, m->relationships.sha256.b, DIGEST_BYTES);
    sha256(BYTES_OF(both, sizeof both), &d);
    hex_encode(d.b, sizeof d.b, m->id);
    return 0;
}

static int carry_out(struct import *m, struct error *err) {
    const char *database = m->t->database;
    int r = schema_make(m->b, database, m->schema, "constraints", err);
    if (r == 0) r = bolt_do(m->b, database, key_constraint, BYTES_OF(NULL, 0), err);
    if (r == 0) r = schema_await(m->b, database, err);
    if (r == 0) r = import_nodes(m, err);
    if (r == 0) r = import_relationships(m, err);
    if (r == 0) r = import_repeat(m, "finish", strip_query, err);
    if (r == 0) r = bolt_do(m->b, database, "DROP CONSTRAINT " IMPORT_CONSTRAINT " IF EXISTS", BYTES_OF(NULL, 0), err);
    if (r == 0) r = schema_make(m->b, database, m->schema, "indexes", err);
    return r == 0 ? schema_await(m->b, database, err) : r;
}

static int report(const struct import *m, struct restore_result *ret, struct error *err) {
    json_t *facts = json_pack("{s:o, s:s, s:s, s:b, s:b, s:b}", "target",
                              json_sprintf("%s database %s", bolt_where(m->b), m->t->database), "server",
                              bolt_where(m->b), "database", m->t->database, "resumed", (int)m->resumed, "already_there",
                              (int)m->already, "replaced", (int)m->replaced);
    const json_t *nodes = json_object_get(json_object_get(m->q->invariants, "nodes"), "value"),
                 *relationships = json_object_get(json_object_get(m->q->invariants, "relationships"), "value");
    int r = facts ? json_put_int(facts, "nodes", json_integer_value(nodes), err)
                  : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = json_put_int(facts, "relationships", json_integer_value(relationships), err);
    if (r < 0) {
        json_decref(facts);
        return r;
    }
    *ret = (struct restore_result){.facts = facts,
                                   .items = (uint64_t)(json_integer_value(nodes) + json_integer_value(relationships)),
                                   .bytes = m->nodes.bytes + m->relationships.bytes};
    return 0;
}

static int over(struct import *m, struct error *err) {
    return bolt_do(m->b, m->t->database, "MATCH (s:" IMPORT_STATE ") DELETE s", BYTES_OF(NULL, 0), err);
}

static int restore(struct import *m, struct restore_result *ret, struct error *err) {
    int r = name_import(m, err);
    if (r == 0) r = neo4j_connect(m->s, m->t->host[0] ? m->t->host : NULL, m->t->port, &m->b, err);
    if (r == 0) r = neo4j_target_guard(m->s, m->t, m->q, m->b, err);
    if (r == 0) r = import_begin(m, err);
    if (r < 0) return r;
    if (m->already) return report(m, ret, err);
    r = carry_out(m, err);
    if (r == 0 && !m->q->as_scratch && m->q->invariants) r = import_judge(m, err);
    if (r == -ERR_NEO4J_LOST) { /* to go on with it would find the same for ever, also in place */
        struct error ignored = ERROR_INIT;
        (void)!over(m, &ignored);
        return r;
    }
    if (r == 0) r = over(m, err);
    if (r < 0) return error_state(err, "the import has not come to its end; the same command goes on where it stopped");
    return report(m, ret, err);
}

int neo4j_logical_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                          struct restore_result *ret, struct error *err) {
    CLEANUP(neo4j_settings_freep) struct neo4j_settings *s = NULL;
    struct neo4j_target t;
    struct import m = {.q = q, .t = &t, .src = src};
    int r = neo4j_settings_load(ctx, q->as_scratch ? q->scratch : NULL, &s, err);
    m.s = s;
    if (r == 0) r = neo4j_target_decide(s, q, &t, err);
    if (r == 0) r = restore(&m, ret, err);
    bolt_close(m.b);
    json_decref(m.schema);
    return r < 0 ? error_wrap(err, "neo4j %s", ctx->name ? ctx->name : "") : 0;
}
