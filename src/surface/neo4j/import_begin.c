#include "surface/neo4j/import_internal.h"

#include "base/seam.h"
#include "base/thread.h"

#define LOOK_EVERY 4096
#define STATE "(s:" IMPORT_STATE ")"

int import_repeat(struct import *m, const char *phase, const char *query, struct error *err) {
    int64_t n = 0;
    uint64_t all = 0;
    do {
        int r = bolt_number(m->b, m->t->database, BOLT_WRITE, query, BYTES_OF(NULL, 0), &n, err);
        if (r < 0) return r;
        all += (uint64_t)n;
        neo4j_progress(m->s, phase, m->bytes, all);
    } while (n > 0);
    return 0;
}

/* All of it comes, and is what was backed up, before anything is removed for it. */
static int readable(struct import *m, const struct source_head *head, struct error *err) {
    struct records in = {0};
    struct bytes record;
    bool end = false;
    int r = records_open(m->src, head, &in, err);
    while (r == 0 && !end) {
        r = records_next(&in, &record, &end, err);
        if (r == 0 && in.n % LOOK_EVERY == 0) r = stop_check(err);
    }
    records_close(&in);
    return r < 0 ? error_state(err, "nothing was changed") : 0;
}

/* Relationships first, so that no node has too many of them for one transaction. */
static int empty(struct import *m, struct error *err) {
    m->replaced = true;
    int r = schema_drop(m->b, m->t->database, err);
    if (r == 0) r = import_repeat(m, "remove", "MATCH ()-[r]->() WITH r LIMIT 20000 DELETE r RETURN count(*)", err);
    if (r == 0) r = import_repeat(m, "remove", "MATCH (n) WITH n LIMIT 20000 DELETE n RETURN count(*)", err);
    return r < 0 ? error_state(err, "part of what was in the database has been removed") : 0;
}

static int put_id(struct import *m, struct buf *params, struct error *err) {
    int r = ps_put_map(params, 1, err);
    if (r == 0) r = ps_put_str(params, "id", err);
    return r == 0 ? ps_put_str(params, m->id, err) : r;
}

/* How far this import is; *ret_found false when the target knows nothing of it. */
static int progress(struct import *m, struct bytes params, bool *ret_found, struct error *err) {
    struct bolt_rows q;
    struct ps_in in;
    struct ps_value nodes, relationships;
    uint32_t n = 0;
    bool end = false;
    int r = bolt_query(m->b, m->t->database, BOLT_WRITE,
                       "MATCH " STATE " WHERE s.import = $id RETURN s.nodes, s.relationships", params, 10, &q, err);
    while (r == 0 && !end) {
        r = bolt_row(&q, &in, &n, &end, err);
        if (r < 0 || end || n != 2) continue;
        r = ps_need(&in, PACK_INT, "how far an import is", &nodes, err);
        if (r == 0) r = ps_need(&in, PACK_INT, "how far an import is", &relationships, err);
        if (r < 0) return r;
        *ret_found = true;
        m->nodes_done = nodes.number;
        m->relationships_done = relationships.number;
    }
    return r;
}

/* What is there already may be what is asked for: a restore that is run twice. */
static int look(struct import *m, int64_t there, struct error *err) {
    const json_t *nodes = json_object_get(json_object_get(m->q->invariants, "nodes"), "value");
    struct error differs = ERROR_INIT;
    int64_t half = 0;
    int r =
        bolt_number(m->b, m->t->database, BOLT_READ, "MATCH " STATE " RETURN count(s)", BYTES_OF(NULL, 0), &half, err);
    if (r < 0) return r;
    if (half == 0 && there == json_integer_value(nodes)) {
        m->already = import_judge(m, &differs) == 0;
        if (m->already) return 0;
        if (differs.code != ERR_NEO4J_LOST) {
            *err = differs;
            return -(int)err->code;
        }
    }
    error_set(err, ERR_NEO4J_NOT_EMPTY, "%s: database %s has %lld nodes%s", bolt_where(m->b), m->t->database,
              (long long)(there - half), half ? ", some of them of another restore that has not come to its end" : "");
    return error_state(err, "nothing was changed");
}

int import_begin(struct import *m, struct error *err) {
    CLEANUP(buf_free) struct buf params = BUF_INIT(4096);
    const char *database = m->t->database;
    int64_t there = 0;
    int r = put_id(m, &params, err);
    if (r == 0) r = progress(m, buf_bytes(&params), &m->resumed, err);
    if (r < 0 || m->resumed) return r;
    r = bolt_number(m->b, database, BOLT_READ, "MATCH (n) RETURN count(n)", BYTES_OF(NULL, 0), &there, err);
    if (r == 0 && there && !m->q->in_place) r = look(m, there, err);
    if (r < 0 || m->already) return r;
    if (r == 0 && !m->q->in_place && schema_only(m->b, database, m->schema, err) < 0)
        return error_state(err, "nothing was changed");
    if (there && m->q->in_place) r = readable(m, &m->nodes, err);
    if (r == 0 && there && m->q->in_place) r = readable(m, &m->relationships, err);
    if (r == 0 && m->q->in_place) r = empty(m, err);
    if (r == 0)
        r = bolt_do(m->b, database, "CREATE " STATE " SET s.import = $id, s.nodes = 0, s.relationships = 0",
                    buf_bytes(&params), err);
    return r;
}
