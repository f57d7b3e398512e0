#include "surface/neo4j/import_internal.h"

#include "base/seam.h"

static int show(const json_t *v, struct buf *out, struct error *err) {
    if (json_is_string(v)) return buf_append_str(out, json_string_value(v), err);
    return v ? buf_printf(out, err, "%lld", (long long)json_integer_value(v)) : buf_append_str(out, "not there", err);
}

/* All of the target is read, and what is counted must be what the snapshot says. */
static int compare(struct import *m, json_t *found, struct error *err) {
    const json_t *wanted;
    const char *name;
    json_object_foreach((json_t *)m->q->invariants, name, wanted) {
        CLEANUP(buf_free) struct buf text = BUF_INIT(1 << 16);
        const json_t *want = json_object_get(wanted, "value"),
                     *got = json_object_get(json_object_get(found, name), "value");
        if (got && json_equal(want, got)) continue;
        int r = show(want, &text, err);
        if (r == 0) r = buf_append_str(&text, " in the snapshot and ", err);
        if (r == 0) r = show(got, &text, err);
        if (r == 0) r = buf_terminate(&text, err);
        if (r < 0) return r;
        error_set(err, ERR_NEO4J_LOST, "%.200s is %s in the target", name, (const char *)text.ptr);
        return error_state(err, "the graph was imported, and differs");
    }
    return 0;
}

int import_judge(struct import *m, struct error *err) {
    struct neo4j_settings there = *m->s;
    struct survey v = {.places = {.fd = -1}, .seen = {.fd = -1}};
    json_t *found = json_object();
    there.database = (char *)m->t->database;
    there.labels = NULL;
    there.query = NULL;
    int r = found ? survey_open(&v, &there, m->b, NULL, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    v.no_state = true;
    if (r == 0) r = survey_run(&v, err);
    if (r == 0) r = graph_count_json(&v.count, found, err);
    if (r == 0) r = compare(m, found, err);
    survey_close(&v);
    json_decref(found);
    return r;
}
