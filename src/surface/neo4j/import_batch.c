#include "surface/neo4j/import_internal.h"

#include "base/seam.h"
#include <stdio.h>

#define BATCH_ROWS 10000
#define BATCH_BYTES (4u << 20)
#define GROUPS_MAX 64
#define REQUEST_MAX (64u << 20)

/* Rows that one query takes: nodes with the same labels, relationships of the same type. */
struct group {
    struct buf key, rows; /* key: labels or type, packed */
    uint32_t n;
};
struct batch {
    struct import *m;
    bool relationships;
    struct group groups[GROUPS_MAX];
    size_t n_groups;
    uint32_t rows;
    size_t bytes;
    int64_t done; /* records, with those of this batch */
    struct buf text, params;
};

static void batch_free(struct batch *b) {
    for (size_t i = 0; i < GROUPS_MAX; i++) {
        buf_free(&b->groups[i].key);
        buf_free(&b->groups[i].rows);
    }
    buf_free(&b->text);
    buf_free(&b->params);
}

/* ---- the queries ---- */
static int labels_text(struct bytes labels, struct buf *out, struct error *err) {
    struct ps_in in = ps_of(labels);
    struct ps_value list, name;
    int r = ps_need(&in, PACK_LIST, "the labels of a record", &list, err);
    for (uint32_t i = 0; r == 0 && i < list.count; i++) {
        r = ps_need(&in, PACK_TEXT, "a label of a record", &name, err);
        if (r == 0) r = buf_append_str(out, ":", err);
        if (r == 0) r = value_put_cypher_name(name.text, out, err);
    }
    return r;
}

static int nodes_query(struct bytes labels, struct buf *out, struct error *err) {
    int r = buf_append_str(out, "UNWIND $rows AS row CREATE (n:" IMPORT_LABEL, err);
    if (r == 0) r = labels_text(labels, out, err);
    return r == 0 ? buf_append_str(out, ") SET n = row[1], n." IMPORT_KEY " = row[0]", err) : r;
}

static int relationships_query(struct bytes type, struct buf *out, struct error *err) {
    struct ps_in in = ps_of(type);
    struct ps_value name;
    int r = ps_need(&in, PACK_TEXT, "the type of a record", &name, err);
    if (r == 0)
        r = buf_append_str(out,
                           "UNWIND $rows AS row MATCH (a:" IMPORT_LABEL " {" IMPORT_KEY
                           ": row[0]}) MATCH (b:" IMPORT_LABEL " {" IMPORT_KEY ": row[1]}) CREATE (a)-[r:",
                           err);
    if (r == 0) r = value_put_cypher_name(name.text, out, err);
    return r == 0 ? buf_append_str(out, "]->(b) SET r = row[2]", err) : r;
}

/* ---- a batch: one transaction, which also says how far the import is ---- */
static int put_group(struct batch *b, struct group *g, struct error *err) {
    buf_clear(&b->text);
    buf_clear(&b->params);
    int r = b->relationships ? relationships_query(buf_bytes(&g->key), &b->text, err)
                             : nodes_query(buf_bytes(&g->key), &b->text, err);
    if (r == 0) r = ps_put_map(&b->params, 1, err);
    if (r == 0) r = ps_put_str(&b->params, "rows", err);
    if (r == 0) r = ps_put_list(&b->params, g->n, err);
    if (r == 0) r = ps_put_raw(&b->params, buf_bytes(&g->rows), err);
    if (r == 0) r = bolt_put_run(b->m->b, NULL, BOLT_WRITE, buf_bytes(&b->text), buf_bytes(&b->params), err);
    return r == 0 ? bolt_put_discard(b->m->b, err) : r;
}

static int put_progress(struct batch *b, struct error *err) {
    static const char nodes[] = "MATCH (s:" IMPORT_STATE ") SET s.nodes = $n";
    static const char relationships[] = "MATCH (s:" IMPORT_STATE ") SET s.relationships = $n";
    buf_clear(&b->params);
    int r = ps_put_map(&b->params, 1, err);
    if (r == 0) r = ps_put_str(&b->params, "n", err);
    if (r == 0) r = ps_put_int(&b->params, b->done, err);
    if (r == 0)
        r = bolt_put_run(b->m->b, NULL, BOLT_WRITE, b->relationships ? BYTES_STR(relationships) : BYTES_STR(nodes),
                         buf_bytes(&b->params), err);
    if (r == 0) r = bolt_put_discard(b->m->b, err);
    return r == 0 ? bolt_put_commit(b->m->b, err) : r;
}

static int send_batch(struct batch *b, struct error *err) {
    struct bolt *c = b->m->b;
    if (b->rows == 0) return 0;
    int r = bolt_put_begin(c, b->m->t->database, BOLT_WRITE, err);
    for (size_t i = 0; r == 0 && i < b->n_groups; i++) r = put_group(b, &b->groups[i], err);
    if (r == 0) r = put_progress(b, err);
    for (size_t i = 0; r == 0 && i < 2 * b->n_groups + 4; i++) r = bolt_success(c, NULL, err);
    b->m->bytes += b->bytes;
    for (size_t i = 0; i < b->n_groups; i++) {
        buf_clear(&b->groups[i].key);
        buf_clear(&b->groups[i].rows);
        b->groups[i].n = 0;
    }
    b->n_groups = b->rows = 0;
    b->bytes = 0;
    if (r == 0) neo4j_progress(b->m->s, "import", b->m->bytes, (uint64_t)b->done);
    return r;
}

static struct group *group_of(struct batch *b, struct bytes key) {
    for (size_t i = b->n_groups; i-- > 0;)
        if (bytes_equal(buf_bytes(&b->groups[i].key), key)) return &b->groups[i];
    return NULL;
}

static int new_group(struct batch *b, struct bytes key, struct group **ret, struct error *err) {
    int r = b->n_groups == GROUPS_MAX ? send_batch(b, err) : 0;
    if (r < 0) return r;
    struct group *g = &b->groups[b->n_groups];
    g->key.max_bytes = g->rows.max_bytes = REQUEST_MAX;
    r = buf_append(&g->key, key.ptr, key.len, err);
    if (r == 0) b->n_groups++;
    *ret = g;
    return r;
}

/* A row is what the query unwinds: the ids and the properties, as they lie in the record. */
static int add(struct batch *b, struct bytes record, struct error *err) {
    struct ps_in in = ps_of(record);
    struct bytes id, start = {0}, end = {0}, key, properties;
    struct group *g = NULL;
    int r = ps_skip(&in, &id, err);
    if (r == 0 && b->relationships) r = ps_skip(&in, &start, err);
    if (r == 0 && b->relationships) r = ps_skip(&in, &end, err);
    if (r == 0) r = ps_skip(&in, &key, err);
    if (r == 0) r = ps_skip(&in, &properties, err);
    if (r == 0 && in.at != in.end) r = error_set(err, ERR_RESTORE_DIFFERS, "a record goes on after its end");
    if (r == 0 && b->rows && (b->rows == BATCH_ROWS || b->bytes + record.len > BATCH_BYTES)) r = send_batch(b, err);
    if (r == 0 && !(g = group_of(b, key))) r = new_group(b, key, &g, err);
    if (r == 0) r = ps_put_list(&g->rows, b->relationships ? 3 : 2, err);
    if (r == 0) r = ps_put_raw(&g->rows, b->relationships ? start : id, err);
    if (r == 0 && b->relationships) r = ps_put_raw(&g->rows, end, err);
    if (r == 0) r = ps_put_raw(&g->rows, properties, err);
    if (r < 0) return r;
    g->n++;
    b->rows++;
    b->bytes += record.len;
    b->done++;
    return 0;
}

static int import(struct import *m, bool relationships, const struct source_head *head, int64_t done,
                  struct error *err) {
    struct batch b = {
        .m = m, .relationships = relationships, .text = BUF_INIT(GRAPH_TEXT_MAX), .params = BUF_INIT(REQUEST_MAX)};
    struct records in = {0};
    struct bytes record;
    bool end = false;
    int r = records_open(m->src, head, &in, err);
    while (r == 0 && !end) {
        r = records_next(&in, &record, &end, err);
        if (r < 0 || end) break;
        if (in.n <= (uint64_t)done)
            b.done++; /* committed by an earlier run */
        else
            r = add(&b, record, err);
    }
    if (r == 0) r = send_batch(&b, err);
    records_close(&in);
    batch_free(&b);
    return r < 0 ? error_wrap(err, relationships ? "relationships" : "nodes") : 0;
}

int import_nodes(struct import *m, struct error *err) {
    return import(m, false, &m->nodes, m->nodes_done, err);
}

int import_relationships(struct import *m, struct error *err) {
    return import(m, true, &m->relationships, m->relationships_done, err);
}
