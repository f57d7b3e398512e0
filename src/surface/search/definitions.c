#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

/* What a product brings itself is not the user's: it is marked, or its name begins with a dot. */
static bool own(const char *name, const json_t *body) {
    const json_t *meta = json_object_get(body, "_meta");
    return *name == '.' || json_is_true(json_object_get(meta, "managed")) ||
           json_is_true(json_object_get(body, "_managed"));
}

/* {name: body} out of {name: body}; `inner` is the part of each body that is kept (NULL: all of it). */
static int from_object(const json_t *answer, const char *inner, json_t *out, struct error *err) {
    const char *name;
    json_t *body;
    int r = 0;
    json_object_foreach((json_t *)answer, name, body) {
        json_t *kept = inner ? json_object_get(body, inner) : body;
        if (r == 0 && kept && !own(name, kept)) r = json_put(out, name, json_incref(kept), err);
    }
    return r;
}

/* … out of [{"name": …, inner: body}] */
static int from_list(const json_t *list, const char *key, const char *inner, json_t *out, struct error *err) {
    const json_t *one;
    size_t i;
    int r = 0;
    json_array_foreach((json_t *)list, i, one) {
        const char *name = json_string_value(json_object_get(one, key));
        json_t *body = json_object_get(one, inner);
        if (r == 0 && name && body && !own(name, body)) r = json_put(out, name, json_incref(body), err);
    }
    return r;
}

static int ask(const struct search_client *c, const char *path, json_t **ret, json_t **out, struct error *err) {
    bool missing = false;
    int r = search_ask(c, "GET", path, NULL, ret, &missing, "read the cluster's definitions", err);
    if (r < 0) return r;
    /* An empty list of some kinds is a 404 too; of no kind is it told from a cluster that does not have it. */
    *out = missing ? NULL : json_object();
    return missing || *out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

static int done(int r, json_t *answer, json_t *out, json_t **ret) {
    json_decref(answer);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}

static int get_scripts(const struct search_client *c, json_t **ret, struct error *err) {
    json_t *a = NULL, *out = NULL;
    int r = ask(c, "/_cluster/state/metadata?filter_path=metadata.stored_scripts", &a, &out, err);
    if (r == 0 && out)
        r = from_object(json_object_get(json_object_get(a, "metadata"), "stored_scripts"), NULL, out, err);
    return done(r, a, out, ret);
}
static int get_pipelines(const struct search_client *c, json_t **ret, struct error *err) {
    json_t *a = NULL, *out = NULL;
    int r = ask(c, "/_ingest/pipeline", &a, &out, err);
    if (r == 0 && out) r = from_object(a, NULL, out, err);
    return done(r, a, out, ret);
}
#define ISM_POLICIES "/_plugins/_ism/policies"
static int get_policies(const struct search_client *c, json_t **ret, struct error *err) {
    json_t *a = NULL, *out = NULL, *one, *fit;
    const char *name;
    size_t i, k;
    int r = ask(c, c->opensearch ? ISM_POLICIES "?size=10000" : "/_ilm/policy", &a, &out, err);
    if (r == 0 && out && !c->opensearch) r = from_object(a, "policy", out, err);
    if (r == 0 && out && c->opensearch) {
        json_array_foreach(json_object_get(a, "policies"), i, one) {
            json_t *p = json_object_get(one, "policy");
            json_object_del(p, "last_updated_time");
            json_object_del(p, "schema_version");
            json_object_del(p, "policy_id");
            json_array_foreach(json_object_get(p, "ism_template"), k, fit) json_object_del(fit, "last_updated_time");
            name = json_string_value(json_object_get(one, "_id"));
            if (r == 0 && name && p) r = json_put(out, name, json_incref(p), err);
        }
    }
    return done(r, a, out, ret);
}
static int get_components(const struct search_client *c, json_t **ret, struct error *err) {
    json_t *a = NULL, *out = NULL;
    int r = ask(c, "/_component_template", &a, &out, err);
    if (r == 0 && out) r = from_list(json_object_get(a, "component_templates"), "name", "component_template", out, err);
    return done(r, a, out, ret);
}
static int get_templates(const struct search_client *c, json_t **ret, struct error *err) {
    json_t *a = NULL, *out = NULL;
    int r = ask(c, "/_index_template", &a, &out, err);
    if (r == 0 && out) r = from_list(json_object_get(a, "index_templates"), "name", "index_template", out, err);
    return done(r, a, out, ret);
}
static int get_legacy(const struct search_client *c, json_t **ret, struct error *err) {
    json_t *a = NULL, *out = NULL;
    int r = ask(c, "/_template", &a, &out, err);
    if (r == 0 && out) r = from_object(a, NULL, out, err);
    return done(r, a, out, ret);
}

/* What a life cycle was set to, without what the cluster adds when it is asked, and would not take. */
static json_t *cycle_of(const json_t *stream) {
    static const char *const added[] = {"effective_data_retention", "retention_determined_by", "rollover", NULL};
    json_t *cycle = json_copy(json_object_get(stream, "lifecycle"));
    for (size_t i = 0; cycle && added[i]; i++) json_object_del(cycle, added[i]);
    return cycle;
}

/* Of those whose indices are taken; what a restore needs to make them again, and in which order their indices come. */
static int get_streams(const struct search_client *c, json_t **ret, struct error *err) {
    static const char *const kept[] = {"timestamp_field",      "template", "generation", "hidden",
                                       "allow_custom_routing", NULL};
    json_t *a = NULL, *out = NULL, *one, *x;
    size_t i, k;
    int r = ask(c, "/_data_stream", &a, &out, err);
    json_array_foreach(json_object_get(a, "data_streams"), i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        json_t *body, *indices;
        if (r < 0 || !name || !search_takes_name(c->s, name)) continue;
        body = json_object();
        indices = json_array();
        r = body && indices ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
        for (k = 0; r == 0 && kept[k]; k++)
            if (json_object_get(one, kept[k]))
                r = json_put(body, kept[k], json_incref(json_object_get(one, kept[k])), err);
        if (r == 0 && json_object_get(one, "lifecycle")) r = json_put(body, "lifecycle", cycle_of(one), err);
        json_array_foreach(json_object_get(one, "indices"), k, x) if (r == 0) r =
            json_push(indices, json_incref(json_object_get(x, "index_name")), err);
        if (r == 0) r = json_put(body, "indices", json_incref(indices), err);
        if (r == 0) r = json_put(out, name, json_incref(body), err);
        json_decref(body);
        json_decref(indices);
    }
    return done(r, a, out, ret);
}

const struct search_section search_sections[] = {
    {"scripts", get_scripts, "/_scripts/", "script", false},
    {"pipelines", get_pipelines, "/_ingest/pipeline/", NULL, false},
    {"policies", get_policies, NULL, "policy", false},
    {"component_templates", get_components, "/_component_template/", NULL, false},
    {"index_templates", get_templates, "/_index_template/", NULL, false},
    {"legacy_templates", get_legacy, "/_template/", NULL, false},
    {"data_streams", get_streams, NULL, NULL, true},
    {NULL, NULL, NULL, NULL, false},
};

int search_section_get(const struct search_client *c, const struct search_section *x, json_t **ret, struct error *err) {
    int r = x->get(c, ret, err);
    return r < 0 ? error_wrap(err, "%s", x->name) : 0;
}

/* When a definition was made or changed is the cluster's own. */
static bool alike(const json_t *a, const json_t *b) {
    static const char *const own_keys[] = {"created_date", "modified_date", "created_date_millis",
                                           "modified_date_millis", NULL};
    json_t *x = json_copy((json_t *)a), *y = json_copy((json_t *)b);
    for (size_t i = 0; own_keys[i] && x && y; i++) {
        if (json_is_object(x)) json_object_del(x, own_keys[i]);
        if (json_is_object(y)) json_object_del(y, own_keys[i]);
    }
    bool same = x && y && json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

/* ISM takes another policy of a name only from who says which one it is to be in the place of. */
static int ism_place(const struct search_client *c, const char *name, char out[100], struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    json_t *now = NULL;
    bool missing = false;
    int r = search_path(&path, ISM_POLICIES "/", name, "", err);
    if (r == 0)
        r = search_ask(c, "GET", (const char *)path.ptr, NULL, &now, &missing, "look at a life-cycle policy", err);
    *out = 0;
    if (r == 0 && now)
        snprintf(out, 100, "?if_seq_no=%lld&if_primary_term=%lld",
                 (long long)json_integer_value(json_object_get(now, "_seq_no")),
                 (long long)json_integer_value(json_object_get(now, "_primary_term")));
    json_decref(now);
    return r;
}

static int put_one(const struct search_client *c, const struct search_section *x, const char *name, const json_t *body,
                   struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    char what[300], after[100] = "";
    json_t *whole = x->wrap ? json_pack("{s:O}", x->wrap, body) : json_copy((json_t *)body);
    const char *before = x->path ? x->path : c->opensearch ? ISM_POLICIES "/" : "/_ilm/policy/";
    snprintf(what, sizeof what, "put cluster/%s, '%.100s'", x->name, name);
    int r = whole ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && !x->path && c->opensearch) r = ism_place(c, name, after, err);
    if (r == 0) r = search_path(&path, before, name, after, err);
    if (r == 0 && !x->wrap) {
        json_object_del(whole, "created_date_millis"), json_object_del(whole, "modified_date_millis");
        json_object_del(whole, "created_date"), json_object_del(whole, "modified_date");
    }
    if (r == 0) r = search_ask(c, "PUT", (const char *)path.ptr, whole, NULL, NULL, what, err);
    json_decref(whole);
    return r;
}

int search_section_put(const struct search_client *c, const struct search_section *x, const json_t *bodies,
                       bool replace, uint64_t *ret_put, struct error *err) {
    json_t *now = NULL, *body;
    const char *name;
    int r = search_section_get(c, x, &now, err);
    json_object_foreach((json_t *)bodies, name, body) {
        const json_t *there = json_object_get(now, name);
        if (r < 0 || (there && alike(there, body))) continue;
        if (there && !replace)
            r = error_set(err, ERR_SEARCH_EXISTS,
                          "cluster/%s has another '%.100s' already; only --in-place replaces it", x->name, name);
        else
            r = put_one(c, x, name, body, err);
        if (r == 0) ++*ret_put;
    }
    json_decref(now);
    return r;
}
