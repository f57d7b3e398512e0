#include "surface/neo4j/graph_internal.h"

#include "base/seam.h"

#define FETCH 10000
#define PROGRESS_EVERY 16384
#define RECORD_MAX (BOLT_MESSAGE_MAX + 4096)

int survey_open(struct survey *v, const struct neo4j_settings *s, struct bolt *b, struct sink *sink,
                struct error *err) {
    *v = (struct survey){.s = s,
                         .b = b,
                         .sink = sink,
                         .whole = s->scratch || (!s->labels && !s->query),
                         .places = {.fd = -1},
                         .seen = {.fd = -1},
                         .record = BUF_INIT(RECORD_MAX)};
    int r = places_open(&v->places, s->ctx->scratch_dir, err);
    if (r == 0 && !v->whole) r = places_open(&v->seen, s->ctx->scratch_dir, err);
    if (r < 0) survey_close(v);
    return r;
}

void survey_close(struct survey *v) {
    places_close(&v->places);
    places_close(&v->seen);
    graph_count_free(&v->count);
    buf_free(&v->record);
    value_sort_free(&v->sort);
    entity_walk_free(&v->walk);
    json_decref(v->schema);
    v->schema = NULL;
}

/* ---- out: a record is its length and its bytes ---- */
static int put_record(struct survey *v, struct error *err) {
    uint8_t head[10];
    size_t n = 0;
    for (uint64_t left = v->record.len;; left >>= 7) {
        head[n++] = (uint8_t)(left >= 0x80 ? left | 0x80 : left);
        if (left < 0x80) break;
    }
    v->item_bytes += n + v->record.len;
    v->item_records++;
    if (v->item_records % PROGRESS_EVERY == 0)
        neo4j_progress(v->s, v->sink ? "export" : "measure", v->bytes + v->item_bytes, v->item_records);
    if (!v->sink) return 0;
    int r = item_out_put(&v->out, BYTES_OF(head, n), err);
    return r == 0 ? item_out_put(&v->out, buf_bytes(&v->record), err) : r;
}

/* ---- nodes ---- */
/* In the order of ids nothing comes twice; out of it, what stands for a node tells. */
static int come_before(struct survey *v, struct places *p, int64_t id, bool *ret, struct error *err) {
    uint64_t old = 0;
    bool next = id > v->last;
    *ret = false;
    if (next)
        v->last = id;
    else
        v->ordered = false;
    if (next || p->fd < 0) return 0;
    int r = places_get(p, id, &old, err);
    *ret = old != 0;
    return r;
}

static bool is_state(struct bytes labels) {
    struct error ignored = ERROR_INIT;
    struct ps_in in = ps_of(labels);
    struct ps_value list, name;
    return ps_next(&in, &list, &ignored) == 0 && list.count == 1 && ps_next(&in, &name, &ignored) == 0 &&
           bytes_equal(name.text, BYTES_STR(IMPORT_STATE));
}

static int on_node(void *ctx, const struct entity *e, struct error *err) {
    struct survey *v = ctx;
    struct ps_in names = e->names, properties = e->properties;
    uint64_t stands_for = 0;
    bool before = false;
    int r = come_before(v, &v->places, e->id, &before, err);
    if (r < 0 || before) return r;
    buf_clear(&v->record);
    r = ps_put_int(&v->record, e->id, err);
    size_t from = v->record.len;
    if (r == 0) r = value_put_names(&names, &v->sort, &v->record, err);
    size_t labels = v->record.len - from;
    if (r == 0) r = value_put_map(&properties, &v->sort, &v->record, err);
    if (r < 0) return error_wrap(err, "node %lld", (long long)e->id);
    if (v->no_state && is_state(BYTES_OF(v->record.ptr + from, labels))) return 0;
    r = graph_count_node(&v->count, BYTES_OF(v->record.ptr + from, labels),
                         BYTES_OF(v->record.ptr + from, v->record.len - from), &stands_for, err);
    if (r == 0) r = places_put(&v->places, e->id, stands_for, err);
    return r == 0 ? put_record(v, err) : r;
}

/* ---- relationships ---- */
static int on_relationship(void *ctx, const struct entity *e, struct error *err) {
    struct survey *v = ctx;
    struct ps_in name = e->names, properties = e->properties;
    struct ps_value type;
    uint64_t start = 0, end = 0;
    bool before = false;
    int r = come_before(v, &v->seen, e->id, &before, err);
    if (r < 0 || before) return r;
    r = places_get(&v->places, e->start, &start, err);
    if (r == 0) r = places_get(&v->places, e->end, &end, err);
    if (r < 0) return r;
    if (!start || !end) { /* a node that came after the nodes were read, or that is not asked for */
        v->left_out++;
        return 0;
    }
    buf_clear(&v->record);
    r = ps_put_int(&v->record, e->id, err);
    if (r == 0) r = ps_put_int(&v->record, e->start, err);
    if (r == 0) r = ps_put_int(&v->record, e->end, err);
    size_t from = v->record.len;
    if (r == 0) r = ps_need(&name, PACK_TEXT, "a type", &type, err);
    if (r == 0) r = ps_put_text(&v->record, type.text, err);
    if (r == 0) r = value_put_map(&properties, &v->sort, &v->record, err);
    if (r < 0) return error_wrap(err, "relationship %lld", (long long)e->id);
    r = graph_count_relationship(&v->count, type.text, BYTES_OF(v->record.ptr + from, v->record.len - from), start, end,
                                 err);
    if (r == 0 && v->seen.fd >= 0) r = places_put(&v->seen, e->id, 1, err);
    return r == 0 ? put_record(v, err) : r;
}

/* ---- a pass ---- */
static int labels_text(const struct neo4j_settings *s, struct buf *out, struct error *err) {
    const json_t *name;
    size_t i;
    int r = 0;
    json_array_foreach(s->labels, i, name) {
        if (r == 0 && i) r = buf_append_str(out, "|", err);
        if (r == 0) r = value_put_cypher_name(BYTES_OF(json_string_value(name), json_string_length(name)), out, err);
    }
    return r;
}

static int query_text(const struct survey *v, bool relationships, struct buf *out, struct error *err) {
    if (v->whole) return buf_append_str(out, relationships ? "MATCH ()-[r]->() RETURN r" : "MATCH (n) RETURN n", err);
    if (v->s->query) return buf_append_str(out, v->s->query, err);
    int r = buf_append_str(out, relationships ? "MATCH (a:" : "MATCH (n:", err);
    if (r == 0) r = labels_text(v->s, out, err);
    if (!relationships) return r == 0 ? buf_append_str(out, ") RETURN n", err) : r;
    if (r == 0) r = buf_append_str(out, ")-[r]->(b:", err);
    if (r == 0) r = labels_text(v->s, out, err);
    return r == 0 ? buf_append_str(out, ") RETURN r", err) : r;
}

static int pass(struct survey *v, bool relationships, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(GRAPH_TEXT_MAX);
    struct bolt_rows q;
    struct ps_in in;
    uint32_t n = 0;
    bool end = false;
    v->walk.relationships = relationships;
    v->walk.cb = relationships ? on_relationship : on_node;
    v->walk.ctx = v;
    v->last = -1;
    v->ordered = true;
    v->item_bytes = v->item_records = 0;
    int r = query_text(v, relationships, &text, err);
    if (r == 0) r = buf_terminate(&text, err);
    if (r == 0)
        r = bolt_query(v->b, v->s->database, BOLT_READ, (const char *)text.ptr, BYTES_OF(NULL, 0), FETCH, &q, err);
    while (r == 0 && !end) {
        r = bolt_row(&q, &in, &n, &end, err);
        for (; r == 0 && !end && n; n--) r = entity_walk(&v->walk, &in, err);
    }
    return r;
}

static int close_item(struct survey *v, json_t *attr, struct error *err) {
    int r = item_out_close(&v->out, attr, err);
    item_out_drop(&v->out);
    v->bytes += v->item_bytes;
    return r;
}

static int item(struct survey *v, uint64_t seq, bool relationships, struct error *err) {
    const char *name = relationships ? GRAPH_RELATIONSHIPS : GRAPH_NODES;
    if (!v->sink) return pass(v, relationships, err);
    int r = item_out_open(&v->out, v->sink, seq, name, ITEM_RECORDS, err);
    if (r < 0) return r;
    r = pass(v, relationships, err);
    if (r < 0) {
        item_out_drop(&v->out);
        return r;
    }
    return close_item(v,
                      json_pack("{s:s, s:i, s:I, s:b}", "type", relationships ? "relationships" : "nodes", "version", 1,
                                "records", (json_int_t)v->item_records, "by_id", (int)v->ordered),
                      err);
}

static int schema_item(struct survey *v, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(GRAPH_TEXT_MAX);
    int r = json_write_pretty(v->schema, &text, err);
    if (r == 0) r = item_out_open(&v->out, v->sink, 2, GRAPH_SCHEMA, ITEM_OPAQUE, err);
    if (r < 0) return r;
    r = item_out_put(&v->out, buf_bytes(&text), err);
    v->item_bytes = text.len;
    json_t *attr = json_pack("{s:s, s:i, s:I, s:I}", "type", "schema", "version", 1, "constraints",
                             (json_int_t)v->count.constraints, "indexes", (json_int_t)v->count.indexes);
    if (r == 0) return close_item(v, attr, err);
    json_decref(attr);
    item_out_drop(&v->out);
    return r;
}

int survey_run(struct survey *v, struct error *err) {
    int r = item(v, 0, false, err);
    if (r == 0) r = places_seal(&v->places, err);
    if (r == 0) r = item(v, 1, true, err);
    if (r == 0) r = schema_read(v->b, v->s->database, &v->schema, err);
    if (r == 0 && !v->whole) r = schema_narrow(v->schema, &v->count, err);
    if (r == 0) r = schema_count(v->schema, &v->count, err);
    return r == 0 && v->sink ? schema_item(v, err) : r;
}
