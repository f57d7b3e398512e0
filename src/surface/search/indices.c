#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdlib.h>

void search_indices_free(struct search_indices *l) {
    for (size_t i = 0; i < l->n; i++) {
        seam_free(l->of[i].name);
        seam_free(l->of[i].stream);
        json_decref(l->of[i].definition);
    }
    seam_free(l->of);
    json_decref(l->left_out);
    *l = (struct search_indices){0};
}

int search_index_get(const struct search_client *c, const char *name, json_t **ret, bool *missing, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    char what[300];
    json_t *j = NULL, *one;
    snprintf(what, sizeof what, "read how the index %.200s is defined", name);
    int r = search_path(&path, "/", name, "?flat_settings=true", err);
    if (r == 0) r = search_ask(c, "GET", (const char *)path.ptr, NULL, &j, missing, what, err);
    if (r < 0 || !j) {
        if (r == 0) *ret = NULL;
        return r;
    }
    /* Of an alias, it answers with the index behind it. */
    one = json_object_get(j, name);
    if (one)
        *ret = json_incref(one);
    else if (missing)
        *missing = true, *ret = NULL;
    else
        r = error_set(err, ERR_SEARCH_PROTOCOL, "%s: the answer is of another index", what);
    json_decref(j);
    return r;
}

static int add(const struct search_client *c, struct search_indices *l, const char *name, const char *stream, bool open,
               struct error *err) {
    int r = mem_grow((void **)&l->of, &l->cap, l->n + 1, sizeof *l->of, err);
    if (r < 0) return r;
    struct search_index *x = &l->of[l->n++];
    *x = (struct search_index){.open = open};
    r = mem_strdup(name, &x->name, err);
    if (r == 0 && stream) r = mem_strdup(stream, &x->stream, err);
    if (r == 0) r = search_index_get(c, name, &x->definition, NULL, err);
    if (r < 0) return r;
    const char *n =
        json_string_value(json_object_get(json_object_get(x->definition, "settings"), "index.number_of_shards"));
    x->primaries = n ? (unsigned)strtoul(n, NULL, 10) : 1;
    return 0;
}

static const char *stream_of(const json_t *streams, const char *index) {
    const json_t *s, *x;
    size_t i, k;
    json_array_foreach(json_object_get(streams, "data_streams"), i, s)
        json_array_foreach(json_object_get(s, "indices"), k, x) {
        const char *name = json_string_value(json_object_get(x, "index_name"));
        if (name && !strcmp(name, index)) return json_string_value(json_object_get(s, "name"));
    }
    return NULL;
}

static int by_name(const void *a, const void *b) {
    return name_compare(BYTES_STR(((const struct search_index *)a)->name),
                        BYTES_STR(((const struct search_index *)b)->name));
}

int search_indices_list(const struct search_client *c, struct search_indices *ret, struct error *err) {
    json_t *list = NULL, *streams = NULL, *one;
    bool none = false;
    size_t i;
    *ret = (struct search_indices){.left_out = json_array()};
    int r = ret->left_out ? search_ask(c, "GET", "/_cat/indices?format=json&h=index,status&expand_wildcards=all", NULL,
                                       &list, NULL, "list the indices", err)
                          : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_ask(c, "GET", "/_data_stream", NULL, &streams, &none, "list the data streams", err);
    json_array_foreach(list, i, one) {
        const char *name = json_string_value(json_object_get(one, "index"));
        const char *status = json_string_value(json_object_get(one, "status"));
        if (r < 0 || !name) continue;
        const char *stream = stream_of(streams, name);
        if (search_takes_name(c->s, stream ? stream : name))
            r = add(c, ret, name, stream, !status || strcmp(status, "close") != 0, err);
        else
            r = json_push(ret->left_out, json_string(name), err);
    }
    json_decref(list);
    json_decref(streams);
    if (r == 0 && ret->n) qsort(ret->of, ret->n, sizeof *ret->of, by_name);
    if (r < 0) search_indices_free(ret);
    return r;
}

int search_index_check(const struct search_index *x, struct error *err) {
    const json_t *source = json_object_get(json_object_get(x->definition, "mappings"), "_source");
    const char *mode =
        json_string_value(json_object_get(json_object_get(x->definition, "settings"), "index.mapping.source.mode"));
    if (json_is_false(json_object_get(source, "enabled")) || (mode && !strcmp(mode, "disabled")))
        return error_set(err, ERR_SEARCH_NO_SOURCE,
                         "the index %s has its _source disabled: its documents cannot be had", x->name);
    if (json_array_size(json_object_get(source, "excludes")) || json_array_size(json_object_get(source, "includes")))
        return error_set(
            err, ERR_SEARCH_NO_SOURCE,
            "the index %s keeps its documents (_source) without some of their fields: they cannot be had whole",
            x->name);
    return 0;
}

int search_writes(const struct search_client *c, const struct search_indices *l, uint64_t *ret, bool *ret_known,
                  struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    uint64_t sum = 0;
    int r = 0;
    *ret_known = true;
    for (size_t i = 0; i < l->n && r == 0; i++) {
        json_t *j = NULL, *copy;
        const char *index, *shard;
        json_t *of, *copies;
        size_t k;
        unsigned seen = 0;
        if (!l->of[i].open) continue;
        r = search_path(
            &path, "/", l->of[i].name,
            "/_stats/"
            "docs?level=shards&filter_path=indices.*.shards.*.seq_no.max_seq_no,indices.*.shards.*.routing.primary",
            err);
        struct error e = ERROR_INIT;
        if (r == 0 && search_ask(c, "GET", (const char *)path.ptr, NULL, &j, NULL, "ask what was written", &e) < 0)
            *ret_known = false;
        json_object_foreach(json_object_get(j, "indices"), index, of)
            json_object_foreach(json_object_get(of, "shards"), shard, copies) json_array_foreach(copies, k, copy) {
            const json_t *n = json_object_get(json_object_get(copy, "seq_no"), "max_seq_no");
            if (!json_is_true(json_object_get(json_object_get(copy, "routing"), "primary"))) continue;
            if (json_is_integer(n)) sum += (uint64_t)(json_integer_value(n) + 1), seen++;
        }
        if (seen != l->of[i].primaries) *ret_known = false;
        json_decref(j);
    }
    *ret = sum;
    return r;
}

int search_refresh(const struct search_client *c, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *j = NULL;
    int r = search_path(&path, "/", name, "/_refresh", err);
    if (r == 0) r = search_ask(c, "POST", (const char *)path.ptr, NULL, &j, NULL, "refresh an index", err);
    if (r == 0 && json_integer_value(json_object_get(json_object_get(j, "_shards"), "failed")) > 0)
        r = error_set(err, ERR_SEARCH_PARTIAL, "not all shards of the index %s could be refreshed", name);
    json_decref(j);
    return r;
}

int search_count(const struct search_client *c, const char *name, uint64_t *ret, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *j = NULL;
    int r = search_path(&path, "/", name, "/_count", err);
    if (r == 0) r = search_ask(c, "GET", (const char *)path.ptr, NULL, &j, NULL, "count an index", err);
    if (r == 0 && (!json_is_integer(json_object_get(j, "count")) ||
                   json_integer_value(json_object_get(json_object_get(j, "_shards"), "failed")) > 0))
        r = error_set(err, ERR_SEARCH_PARTIAL, "not all shards of the index %s could be counted", name);
    if (r == 0) *ret = (uint64_t)json_integer_value(json_object_get(j, "count"));
    json_decref(j);
    return r;
}
