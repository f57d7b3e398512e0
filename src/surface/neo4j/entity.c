#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"

#define DEPTH_MAX 16

void entity_walk_free(struct entity_walk *w) {
    seam_free(w->ids);
    seam_free(w->rels);
    w->ids = NULL;
    w->rels = NULL;
    w->cap_ids = w->cap_rels = 0;
}

static int odd(struct error *err, const char *what) {
    return error_set(err, ERR_NEO4J_PROTOCOL, "%s has not the members that it should have", what);
}

static int number(struct ps_in *in, const char *what, int64_t *ret, struct error *err) {
    struct ps_value v;
    int r = ps_need(in, PACK_INT, what, &v, err);
    if (r == 0) *ret = v.number;
    return r;
}

static int skip(struct ps_in *in, uint32_t n, struct error *err) {
    int r = 0;
    while (r == 0 && n--) r = ps_skip(in, NULL, err);
    return r;
}

static int slice(struct ps_in *in, struct ps_in *ret, struct error *err) {
    struct bytes b;
    int r = ps_skip(in, &b, err);
    if (r == 0) *ret = ps_of(b);
    return r;
}

/* id, labels, properties and, since Bolt 5, the id as a text. */
static int node(struct entity_walk *w, struct ps_in *in, uint32_t n, struct error *err) {
    struct entity e = {0};
    if (n < 3) return odd(err, "a node");
    int r = number(in, "a node's id", &e.id, err);
    if (r == 0) r = slice(in, &e.names, err);
    if (r == 0) r = slice(in, &e.properties, err);
    if (r == 0) r = skip(in, n - 3, err);
    return r == 0 && !w->relationships ? w->cb(w->ctx, &e, err) : r;
}

static int relationship(struct entity_walk *w, struct ps_in *in, uint32_t n, struct error *err) {
    struct entity e = {0};
    if (n < 5) return odd(err, "a relationship");
    int r = number(in, "a relationship's id", &e.id, err);
    if (r == 0) r = number(in, "its start", &e.start, err);
    if (r == 0) r = number(in, "its end", &e.end, err);
    if (r == 0) r = slice(in, &e.names, err);
    if (r == 0) r = slice(in, &e.properties, err);
    if (r == 0) r = skip(in, n - 5, err);
    return r == 0 && w->relationships ? w->cb(w->ctx, &e, err) : r;
}

/* ---- a path: nodes, relationships without ends, and which of them follow each other ---- */
static int path_nodes(struct entity_walk *w, struct ps_in *in, uint32_t *ret_n, struct error *err) {
    struct ps_value list, v;
    int r = ps_need(in, PACK_LIST, "a path's nodes", &list, err);
    if (r == 0 && list.count > w->cap_ids) r = mem_grow((void **)&w->ids, &w->cap_ids, list.count, sizeof *w->ids, err);
    for (uint32_t i = 0; r == 0 && i < list.count; i++) {
        struct ps_in copy;
        r = ps_need(in, PACK_STRUCT, "a path's node", &v, err);
        if (r == 0 && (v.tag != TAG_NODE || v.count < 3)) r = odd(err, "a path");
        copy = *in;
        if (r == 0) r = number(&copy, "a node's id", &w->ids[i], err);
        if (r == 0) r = node(w, in, v.count, err);
    }
    *ret_n = list.count;
    return r;
}

static int path_relationships(struct entity_walk *w, struct ps_in *in, uint32_t *ret_n, struct error *err) {
    struct ps_value list;
    int r = ps_need(in, PACK_LIST, "a path's relationships", &list, err);
    if (r == 0 && list.count > w->cap_rels)
        r = mem_grow((void **)&w->rels, &w->cap_rels, list.count, sizeof *w->rels, err);
    for (uint32_t i = 0; r == 0 && i < list.count; i++) r = slice(in, &w->rels[i], err);
    *ret_n = list.count;
    return r;
}

static int unbound(struct entity_walk *w, struct ps_in in, int64_t start, int64_t end, struct error *err) {
    struct entity e = {.start = start, .end = end};
    struct ps_value v;
    int r = ps_need(&in, PACK_STRUCT, "a path's relationship", &v, err);
    if (r == 0 && (v.tag != TAG_UNBOUND || v.count < 3)) r = odd(err, "a path");
    if (r == 0) r = number(&in, "a relationship's id", &e.id, err);
    if (r == 0) r = slice(&in, &e.names, err);
    if (r == 0) r = slice(&in, &e.properties, err);
    return r == 0 && w->relationships ? w->cb(w->ctx, &e, err) : r;
}

static int path(struct entity_walk *w, struct ps_in *in, uint32_t members, struct error *err) {
    struct ps_value list;
    uint32_t nodes = 0, rels = 0;
    if (members != 3) return odd(err, "a path");
    int r = path_nodes(w, in, &nodes, err);
    if (r == 0) r = path_relationships(w, in, &rels, err);
    if (r == 0) r = ps_need(in, PACK_LIST, "a path's order", &list, err);
    if (r == 0 && (list.count % 2 || nodes == 0)) r = odd(err, "a path");
    int64_t at = r == 0 ? w->ids[0] : 0;
    for (uint32_t i = 0; r == 0 && i < list.count; i += 2) {
        int64_t rel = 0, to = 0;
        r = number(in, "a path's order", &rel, err);
        if (r == 0) r = number(in, "a path's order", &to, err);
        if (r < 0) return r;
        /* a relationship that is walked against its direction has a negative number; both count from one */
        if (rel == 0 || rel < -(int64_t)rels || rel > rels || to < 0 || to >= nodes) return odd(err, "a path");
        int64_t next = w->ids[to];
        r = unbound(w, w->rels[(rel < 0 ? -rel : rel) - 1], rel < 0 ? next : at, rel < 0 ? at : next, err);
        at = next;
    }
    return r;
}

static int walk(struct entity_walk *w, struct ps_in *in, unsigned depth, struct error *err) {
    struct ps_value v;
    int r = ps_next(in, &v, err);
    if (r < 0) return r;
    if (depth == DEPTH_MAX) return error_set(err, ERR_NEO4J_PROTOCOL, "a value is nested too deep");
    if (v.kind == PACK_STRUCT) {
        if (v.tag == TAG_NODE) return node(w, in, v.count, err);
        if (v.tag == TAG_RELATIONSHIP) return relationship(w, in, v.count, err);
        if (v.tag == TAG_PATH) return path(w, in, v.count, err);
        return skip(in, v.count, err);
    }
    for (uint32_t i = 0; r == 0 && i < v.count; i++) {
        if (v.kind == PACK_MAP) r = ps_skip(in, NULL, err);
        if (r == 0) r = walk(w, in, depth + 1, err);
    }
    return r;
}

int entity_walk(struct entity_walk *w, struct ps_in *value, struct error *err) {
    return walk(w, value, 0, err);
}
