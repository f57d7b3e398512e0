/* A data stream comes back as one: made by a template of its name that gives each of its indices the settings and
 * mappings of the backup, rolled over once for each, and filled through its own name, since its indices take nothing
 * else. What was live under its name is removed only when all documents of the backup stand beside it.
 */
#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

#define TEMPLATE_PRIORITY 2000000000 /* over whatever the user has */

struct stream {
    struct search_restoring *w;
    const char *name;
    const json_t *body, *indices;
    char template[320];
    bool made;
};

static int call(const struct stream *s, const char *method, const char *before, const char *name, const char *after,
                json_t *body, json_t **ret, bool *missing, const char *what, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    int r = search_path(&path, before, name, after, err);
    if (r == 0) r = search_ask(s->w->c, method, (const char *)path.ptr, body, ret, missing, what, err);
    json_decref(body);
    return r;
}

/* What the cluster adds to the indices of a stream by itself is not asked for. */
static json_t *mappings_of(const json_t *definition) {
    json_t *m = json_copy(json_object_get(definition, "mappings"));
    if (!m) m = json_object();
    if (m) json_object_del(m, "_data_stream_timestamp");
    return m;
}

static int put_template(const struct stream *s, const json_t *definition, const json_t *now, struct error *err) {
    json_t *settings = json_copy((json_t *)now), *mappings = mappings_of(definition), *kind = json_object(), *body;
    const json_t *field = json_object_get(s->body, "timestamp_field");
    int r = settings && mappings && kind ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) json_object_del(settings, "index.hidden");
    if (r == 0 && s->w->c->opensearch && strcmp(json_text(field, "name", "@timestamp"), "@timestamp") != 0)
        r = json_put(kind, "timestamp_field", json_deep_copy(field), err);
    if (r == 0 && json_is_true(json_object_get(s->body, "hidden"))) r = json_put(kind, "hidden", json_true(), err);
    if (r == 0 && json_is_true(json_object_get(s->body, "allow_custom_routing")))
        r = json_put(kind, "allow_custom_routing", json_true(), err);
    body = json_pack("{s:[s], s:i, s:O, s:{s:O, s:O}}", "index_patterns", s->name, "priority", TEMPLATE_PRIORITY,
                     "data_stream", kind, "template", "settings", settings, "mappings", mappings);
    if (r == 0 && !body) r = error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0)
        r = call(s, "PUT", "/_index_template/", s->template, "", json_incref(body), NULL, NULL,
                 "put the template of a data stream", err);
    json_decref(body);
    json_decref(settings);
    json_decref(mappings);
    json_decref(kind);
    return r;
}

/* A template that a stream is made by cannot be removed; one that fits nothing can. */
static int drop_template(const struct stream *s, struct error *err) {
    json_t *body = json_pack("{s:[s], s:i, s:{}}", "index_patterns", "proofkeep-restoring-fits-nothing", "priority",
                             TEMPLATE_PRIORITY, "data_stream");
    int r = call(s, "PUT", "/_index_template/", s->template, "", body, NULL, NULL,
                 "let go of the template that a data stream was made by (it needs one of its own)", err);
    return r == 0 ? call(s, "DELETE", "/_index_template/", s->template, "", NULL, NULL, NULL,
                         "remove the template that a data stream was made by", err)
                  : r;
}

static int write_index(const struct stream *s, char out[256], struct error *err) {
    json_t *j = NULL;
    int r = call(s, "GET", "/_data_stream/", s->name, "", NULL, &j, NULL, "look at a data stream", err);
    const json_t *indices = json_object_get(json_array_get(json_object_get(j, "data_streams"), 0), "indices");
    const char *last = json_text(json_array_get(indices, json_array_size(indices) ? json_array_size(indices) - 1 : 0),
                                 "index_name", "");
    if (r == 0 && !*last) r = error_set(err, ERR_SEARCH_PROTOCOL, "the data stream %s has no index", s->name);
    if (r == 0) snprintf(out, 256, "%s", last);
    json_decref(j);
    return r;
}

static int refill(struct stream *s, const char *index, bool first, struct error *err) {
    json_t *definition = NULL, *now = NULL, *later = NULL;
    char name[256];
    unsigned primaries = 1;
    int r = search_definition_read(s->w->src, index, &definition, &primaries, err);
    if (r == 0) r = search_plan_settings(definition, true, &now, &later, err);
    if (r == 0) r = put_template(s, definition, now, err);
    if (r == 0)
        r = first ? call(s, "PUT", "/_data_stream/", s->name, "", NULL, NULL, NULL, "make a data stream", err)
                  : call(s, "POST", "/", s->name, "/_rollover", NULL, NULL, NULL, "roll a data stream over", err);
    s->made |= r == 0;
    if (r == 0) r = write_index(s, name, err);
    if (r == 0) r = search_wait_healthy(s->w->c, name, err);
    if (r == 0) r = search_fill(s->w, index, name, s->name, true, primaries, err);
    if (r == 0) r = search_set_later(s->w, name, later, err);
    json_decref(definition);
    json_decref(now);
    json_decref(later);
    return r;
}

/* All that the backup has of it as indices of their own, before what is live goes; or away with them again. What was
 * there under their names is only taken for them when it is what was backed up. */
static int beside(struct stream *s, bool make, struct error *err) {
    const json_t *x;
    size_t i;
    uint64_t documents = s->w->documents, bytes = s->w->bytes;
    int r = 0;
    json_array_foreach((json_t *)s->indices, i, x) {
        const char *index = json_string_value(x);
        json_t *definition = NULL, *now = NULL, *later = NULL;
        char name[256];
        unsigned primaries = 1;
        bool there = false, missing = false;
        if (r == 0) r = search_target_name(s->w->t, index, name, err);
        if (r == 0 && !make)
            r = call(s, "DELETE", "/", name, "", NULL, NULL, &missing, "remove what stood beside", err);
        if (r < 0 || !make) continue;
        r = search_definition_read(s->w->src, index, &definition, &primaries, err);
        if (r == 0) r = search_plan_settings(definition, false, &now, &later, err);
        if (r == 0) r = search_build(s->w, index, name, definition, now, NULL, NULL, primaries, &there, err);
        json_decref(definition);
        json_decref(now);
        json_decref(later);
    }
    s->w->documents = documents; /* they come once more, into the stream */
    s->w->bytes = bytes;
    return r;
}

/* Whether what stands beside is there from a run that removed the live one. */
static int was_beside(struct stream *s, bool *ret, struct error *err) {
    json_t *there = NULL;
    bool missing = false;
    char name[256];
    int r = search_target_name(s->w->t, json_string_value(json_array_get(s->indices, 0)), name, err);
    if (r == 0) r = search_index_get(s->w->c, name, &there, &missing, err);
    *ret = there != NULL;
    json_decref(there);
    return r;
}

static int remake(struct stream *s, struct error *err) {
    json_t *live = NULL, *cycle = json_object_get(s->body, "lifecycle");
    const json_t *x;
    bool none = false, kept = false;
    size_t i;
    int r = call(s, "GET", "/_data_stream/", s->name, "", NULL, &live, &none, "look at a data stream", err);
    if (r == 0) r = was_beside(s, &kept, err);
    kept |= live != NULL;
    if (r == 0 && kept) r = beside(s, true, err);
    if (r == 0 && live)
        r = call(s, "DELETE", "/_data_stream/", s->name, "", NULL, NULL, NULL, "remove a data stream", err);
    json_array_foreach((json_t *)s->indices, i, x) if (r == 0) r = refill(s, json_string_value(x), i == 0, err);
    if (r == 0) r = drop_template(s, err);
    if (r == 0 && cycle)
        r = call(s, "PUT", "/_data_stream/", s->name, "/_lifecycle", json_incref(cycle), NULL, NULL,
                 "give a data stream its life cycle", err);
    if (r == 0 && kept) r = beside(s, false, err);
    json_decref(live);
    return r < 0 && s->made ? error_state(err, "the data stream %s is half made; the next run makes it anew", s->name)
                            : r;
}

/* Those of its indices that the snapshot has: one may have been closed, or rolled over to after the list was made. */
static int backed_up(struct search_restoring *w, const json_t *indices, json_t **ret, struct error *err) {
    json_t *out = json_array(), *x;
    size_t i;
    int r = out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_array_foreach((json_t *)indices, i, x) {
        CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
        char item[320];
        bool there = false;
        snprintf(item, sizeof item, "index/%.255s/meta", json_string_value(x) ? json_string_value(x) : "");
        if (r == 0) r = search_item_read(w->src, item, &text, &there, err);
        if (r == 0 && there) r = json_push(out, json_incref(x), err);
    }
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}

static int one(struct search_restoring *w, const char *name, const json_t *body, struct error *err) {
    struct stream s = {.w = w, .name = name, .body = body};
    json_auto_t *had = NULL;
    const json_t *x;
    size_t i, taken = 0;
    uint64_t before = w->documents;
    int r = backed_up(w, json_object_get(body, "indices"), &had, err);
    if (r < 0) return r;
    s.indices = had;
    json_array_foreach((json_t *)s.indices, i, x) taken +=
        search_takes_backing(w->q->include, json_string_value(x) ? json_string_value(x) : "", name);
    if (!taken) return 0;
    if (taken != json_array_size(s.indices))
        return error_set(err, ERR_USAGE,
                         "of the data stream %s, %zu of %zu indices are named: in place it is restored as a whole "
                         "(--path index/%s)",
                         name, taken, json_array_size(s.indices), name);
    snprintf(s.template, sizeof s.template, "proofkeep-restoring-%.40s-%.250s", json_text(w->q->facts, "stamp", ""),
             name);
    w->in_streams -= taken < w->in_streams ? taken : w->in_streams;
    r = remake(&s, err);
    if (r < 0) return error_wrap(err, "restore the data stream %s", name);
    return json_push(w->done,
                     json_pack("{s:s, s:s, s:I, s:b}", "index", name, "target", name, "documents",
                               (json_int_t)(w->documents - before), "was_there", 0),
                     err);
}

int search_restore_streams(struct search_restoring *w, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
    json_t *streams = NULL, *body;
    const char *name;
    bool there = false;
    int r = search_item_read(w->src, "cluster/data_streams", &text, &there, err);
    if (r == 0 && there) r = json_parse(buf_bytes(&text), SEARCH_ANSWER_MAX, "the data streams", &streams, err);
    json_object_foreach(streams, name, body) if (r == 0) r = one(w, name, body, err);
    json_decref(streams);
    if (r == 0 && w->in_streams)
        r = error_set(
            err, ERR_RESTORE_DIFFERS,
            "the snapshot has %zu indices of data streams, and does not say how these are made of them: restore "
            "them beside",
            w->in_streams);
    return r;
}
