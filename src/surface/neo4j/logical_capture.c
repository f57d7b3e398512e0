#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"

struct instant { /* what a server says of itself at one moment */
    int64_t nodes, relationships;
    char bookmark[256];
};

/* A bookmark names the newest transaction: the same one before and after means that nothing was committed between. */
static int look(const struct neo4j_settings *s, struct bolt *b, struct instant *ret, struct error *err) {
    struct bolt_rows q;
    struct ps_in in;
    struct ps_value v;
    uint32_t n = 0;
    bool end = false;
    int r = bolt_query(b, s->database, BOLT_READ, "MATCH (n) RETURN count(n)", BYTES_OF(NULL, 0), 10, &q, err);
    while (r == 0 && !end) {
        r = bolt_row(&q, &in, &n, &end, err);
        if (r == 0 && !end && n == 1) r = ps_need(&in, PACK_INT, "a count", &v, err);
        if (r == 0 && !end) ret->nodes = v.number;
    }
    if (r < 0) return r;
    memcpy(ret->bookmark, q.bookmark, sizeof ret->bookmark);
    return bolt_number(b, s->database, BOLT_READ, "MATCH ()-[r]->() RETURN count(r)", BYTES_OF(NULL, 0),
                       &ret->relationships, err);
}

static int refuse_half(const struct neo4j_settings *s, struct bolt *b, struct error *err) {
    int64_t n = 0;
    int r = bolt_number(b, s->database, BOLT_READ, "MATCH (n:" IMPORT_STATE ") RETURN count(n)", BYTES_OF(NULL, 0), &n,
                        err);
    if (r < 0 || n == 0) return r;
    return error_set(err, ERR_NEO4J_HALF, "%s: database %s", bolt_where(b), s->database);
}

static json_t *instant_json(int64_t nodes, int64_t relationships) {
    return json_pack("{s:I, s:I}", "nodes", (json_int_t)nodes, "relationships", (json_int_t)relationships);
}

/* What the counts before and after say of what was captured. */
static int say_change(const struct survey *v, const struct instant *before, const struct instant *after, json_t *facts,
                      struct error *err) {
    const struct graph_count *c = &v->count;
    const bool told = before->bookmark[0] && after->bookmark[0];
    const bool quiet = told && !strcmp(before->bookmark, after->bookmark);
    const bool counts =
        before->nodes == after->nodes && before->relationships == after->relationships &&
        (!v->whole || ((uint64_t)before->nodes == c->nodes && (uint64_t)before->relationships == c->relationships));
    json_t *all = json_pack("{s:o, s:o, s:o}", "before", instant_json(before->nodes, before->relationships), "captured",
                            instant_json((int64_t)c->nodes, (int64_t)c->relationships), "after",
                            instant_json(after->nodes, after->relationships));
    int r = json_put(facts, "counts", all, err);
    if (r == 0) r = json_put(facts, "counts_changed", json_boolean(!counts), err);
    if (r == 0) r = json_put_str(facts, "commits_meanwhile", quiet ? "none" : told ? "some" : "unknown", err);
    if (!counts)
        neo4j_note(v->s, NOTE_WARNING, "graph", "nodes or relationships came or went while the graph was read");
    else if (told && !quiet)
        neo4j_note(v->s, NOTE_WARNING, "graph", "something was committed while the graph was read");
    return r;
}

static int capture(const struct neo4j_settings *s, struct sink *sink, json_t *facts, json_t *invariants,
                   struct capture_result *ret, struct error *err) {
    CLEANUP(bolt_closep) struct bolt *b = NULL;
    struct survey v = {.places = {.fd = -1}, .seen = {.fd = -1}};
    struct instant before = {0}, after = {0};
    int r = neo4j_connect(s, NULL, 0, &b, err);
    if (r == 0) r = neo4j_facts(s, b, facts, err);
    if (r == 0) r = refuse_half(s, b, err);
    if (r == 0) r = look(s, b, &before, err);
    if (r == 0) r = survey_open(&v, s, b, sink, err);
    if (r == 0) r = survey_run(&v, err);
    if (r == 0) r = look(s, b, &after, err);
    if (r == 0) r = say_change(&v, &before, &after, facts, err);
    if (r == 0) r = json_put_str(facts, "method", "logical", err);
    if (r == 0) r = json_put_str(facts, "selection", v.whole ? "all" : s->labels ? "labels" : "query", err);
    if (r == 0) r = json_put_int(facts, "relationships_left_out", (int64_t)v.left_out, err);
    if (r == 0 && v.left_out)
        neo4j_note(s, NOTE_SKIPPED, GRAPH_RELATIONSHIPS,
                   "relationships whose nodes are not in this snapshot were left out");
    if (r == 0) r = graph_count_json(&v.count, invariants, err);
    if (r == 0)
        *ret = (struct capture_result){.facts = facts,
                                       .invariants = invariants,
                                       .items = 3,
                                       .bytes = v.bytes,
                                       .skipped = v.left_out,
                                       .method = "logical_dump",
                                       .consistency = "fuzzy"};
    survey_close(&v);
    return r;
}

int neo4j_logical_capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                          struct error *err) {
    CLEANUP(neo4j_settings_freep) struct neo4j_settings *s = NULL;
    json_t *facts = json_object(), *invariants = json_object();
    int r = facts && invariants ? neo4j_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = capture(s, sink, facts, invariants, ret, err);
    if (r == 0) return 0;
    json_decref(facts);
    json_decref(invariants);
    return error_wrap(err, "neo4j %s", ctx->name ? ctx->name : "");
}

int neo4j_logical_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                          struct error *err) {
    CLEANUP(neo4j_settings_freep) struct neo4j_settings *s = NULL;
    CLEANUP(bolt_closep) struct bolt *b = NULL;
    struct survey v = {.places = {.fd = -1}, .seen = {.fd = -1}};
    json_t *out = json_object();
    (void)facts;
    int r = out ? neo4j_settings_load(ctx, scratch, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = neo4j_connect(s, NULL, 0, &b, err);
    if (r == 0) r = survey_open(&v, s, b, NULL, err);
    if (r == 0) r = survey_run(&v, err);
    if (r == 0) r = graph_count_json(&v.count, out, err);
    survey_close(&v);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r < 0 ? error_wrap(err, "neo4j %s", ctx->name ? ctx->name : "") : 0;
}
