#include "surface/neo4j/bolt_internal.h"

#include <stdio.h>

int bolt_query(struct bolt *b, const char *database, enum bolt_access a, const char *query, struct bytes params,
               int64_t fetch, struct bolt_rows *ret, struct error *err) {
    *ret = (struct bolt_rows){.b = b, .fetch = fetch};
    int r = bolt_put_run(b, database, a, BYTES_STR(query), params, err);
    if (r == 0) r = bolt_put_pull(b, fetch, err);
    return r == 0 ? bolt_success(b, NULL, err) : r;
}

/* The end of a group: of the rows, or there are more. */
static int group_end(struct bolt_rows *q, struct bytes meta, struct error *err) {
    struct ps_in in;
    struct ps_value v = {0};
    bool found = false;
    int r = ps_find(meta, "has_more", &in, &found, err);
    if (r == 0 && found) r = ps_need(&in, PACK_BOOL, "has_more", &v, err);
    if (r < 0) return error_wrap(err, "%s", q->b->where);
    if (found && v.flag) return bolt_put_pull(q->b, q->fetch, err);
    q->end = true;
    r = ps_find(meta, "bookmark", &in, &found, err);
    if (r < 0 || !found) return r;
    r = ps_need(&in, PACK_TEXT, "a bookmark", &v, err);
    if (r == 0 && v.text.len < sizeof q->bookmark)
        snprintf(q->bookmark, sizeof q->bookmark, "%.*s", (int)v.text.len, (const char *)v.text.ptr);
    return r;
}

int bolt_row(struct bolt_rows *q, struct ps_in *ret, uint32_t *ret_n, bool *ret_end, struct error *err) {
    struct bolt_message m;
    struct ps_value v;
    while (!q->end) {
        int r = bolt_next(q->b, &m, err);
        if (r < 0) return r;
        if (m.kind == BOLT_RECORD) {
            *ret = ps_of(m.body);
            r = ps_need(ret, PACK_LIST, "a row", &v, err);
            *ret_n = v.count;
            *ret_end = false;
            return r < 0 ? error_wrap(err, "%s", q->b->where) : 0;
        }
        if (m.kind == BOLT_FAILURE) return bolt_refused(q->b, m.body, err);
        if (m.kind != BOLT_SUCCESS)
            return error_set(err, ERR_NEO4J_PROTOCOL, "%s ignored a request for rows", q->b->where);
        if ((r = group_end(q, m.body, err)) < 0) return r;
    }
    *ret_end = true;
    return 0;
}

int bolt_do(struct bolt *b, const char *database, const char *query, struct bytes params, struct error *err) {
    int r = bolt_put_run(b, database, BOLT_WRITE, BYTES_STR(query), params, err);
    if (r == 0) r = bolt_put_discard(b, err);
    if (r == 0) r = bolt_success(b, NULL, err);
    return r == 0 ? bolt_success(b, NULL, err) : r;
}

int bolt_number(struct bolt *b, const char *database, enum bolt_access a, const char *query, struct bytes params,
                int64_t *ret, struct error *err) {
    struct bolt_rows q;
    struct ps_in in;
    struct ps_value v = {0};
    uint32_t n = 0;
    bool end = false, found = false;
    int r = bolt_query(b, database, a, query, params, 10, &q, err);
    while (r == 0 && !end) {
        r = bolt_row(&q, &in, &n, &end, err);
        if (r == 0 && !end && n == 1 && !found) r = ps_need(&in, PACK_INT, "a count", &v, err);
        found |= r == 0 && !end;
    }
    if (r == 0 && !found) r = error_set(err, ERR_NEO4J_PROTOCOL, "%s gave no row where one was asked for", b->where);
    if (r == 0) *ret = v.number;
    return r;
}
