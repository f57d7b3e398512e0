#include "surface/search/snapshot.h"

#include "base/seam.h"
#include <stdio.h>

bool engine_surface(const struct surface_context *ctx) {
    return !strcmp(json_text(json_object_get(ctx->settings, "cluster"), "method", ""), "snapshot");
}

bool engine_facts(const json_t *facts) {
    return !strcmp(json_text(facts, "method", ""), "snapshot");
}

/* ---- before a capture ---- */
static int problem(json_t *list, struct error *what, struct error *err) {
    json_t *p = json_pack("{s:s, s:s}", "code", error_info((int)what->code)->code, "text", what->text);
    error_clear(what);
    return json_push(list, p, err);
}

int engine_probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_client c = {0};
    struct search_indices l = {0};
    struct error what = ERROR_INIT;
    json_t *facts = json_object(), *problems = json_array(), *names = json_array();
    int r = facts && problems && names ? search_settings_load(ctx, NULL, NULL, &s, err)
                                       : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_open(s, &c, err);
    if (r == 0) r = search_facts(&c, facts, err);
    /* Nothing is registered by a look. */
    const char *name =
        json_text(json_object_get(json_object_get(ctx->settings, "cluster"), "snapshot"), "repository", "");
    bool there = json_object_get(json_object_get(facts, "snapshot_repositories"), name) != NULL;
    const json_t *how =
        json_object_get(json_object_get(json_object_get(ctx->settings, "cluster"), "snapshot"), "register");
    if (r == 0 && !there && !how) {
        (void)!error_set(&what, ERR_ENGINE_REPOSITORY, "%s has no snapshot repository %s", s->url, name);
        r = problem(problems, &what, err);
    } else if (r == 0 && there && engine_repository_verify(&c, name, &what) < 0) {
        r = problem(problems, &what, err);
    }
    if (r == 0 && (search_indices_list(&c, &l, &what) < 0 || search_facets_check(s, &l, &what) < 0))
        r = problem(problems, &what, err);
    for (size_t i = 0; r == 0 && i < l.n; i++) r = json_push(names, json_string(l.of[i].name), err);
    if (r == 0) r = json_put(facts, "indices", json_incref(names), err);
    if (r == 0) r = json_put(facts, "problems", json_incref(problems), err);
    search_indices_free(&l);
    search_close(&c);
    json_decref(problems);
    json_decref(names);
    if (r < 0)
        json_decref(facts);
    else
        *ret = facts;
    return r < 0 ? error_wrap(err, "search %s", ctx->name ? ctx->name : "") : 0;
}

/* ---- what was restored, or is live ---- */
static int index_of(const struct search_client *c, const json_t *x, bool scratch, json_t *out, struct error *err) {
    struct search_tally t = {0};
    uint64_t documents = 0;
    char item[320], hex[33];
    const char *name = json_text(x, "name", ""), *as = scratch && *name == '.' ? name + 1 : name;
    int r = search_refresh(c, as, err);
    if (r == 0) r = search_count(c, as, &documents, err);
    snprintf(item, sizeof item, "index/%.255s/documents", name);
    if (r == 0) r = search_invariant(out, item, json_integer((json_int_t)documents), err);
    if (r == 0) r = search_facets(c, name, as, NULL, out, err);
    if (r < 0 || !json_is_true(json_object_get(x, "digest"))) return r;
    r = search_tally_run(c, as, (unsigned)json_integer_value(json_object_get(x, "primaries")), &t, err);
    hash128_hex(t.sum, hex);
    snprintf(item, sizeof item, "index/%.255s/digest", name);
    return r == 0 ? search_invariant(out, item, json_string(hex), err) : r;
}

int engine_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                   struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_client c = {0};
    json_t *out = json_object();
    const json_t *x;
    size_t i;
    int r = out ? search_settings_load(ctx, scratch, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_open(s, &c, err);
    for (const struct search_section *y = search_sections; y->name && r == 0; y++) {
        json_t *bodies = NULL;
        if (y->apart) continue;
        r = search_section_get(&c, y, &bodies, err);
        if (r == 0 && bodies) r = search_invariants_section(y->name, bodies, out, err);
        json_decref(bodies);
    }
    json_array_foreach(json_object_get(facts, "indices"), i, x) if (r == 0) r =
        index_of(&c, x, scratch != NULL, out, err);
    search_close(&c);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}

/* ---- what is not ours ---- */
int engine_outside(const struct surface_context *ctx, const json_t *facts, bool *ret, struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_client c = {0};
    const json_t *snapshot = json_object_get(facts, "snapshot"), *x;
    const char *repository = json_text(snapshot, "repository", ""), *name = json_text(snapshot, "name", "");
    json_t *info = NULL, *status = NULL, *names = json_array();
    size_t i;
    *ret = engine_facts(facts) && !json_is_true(json_object_get(snapshot, "carried"));
    if (!*ret) {
        json_decref(names);
        return 0;
    }
    int r = names ? search_settings_load(ctx, NULL, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_array_foreach(json_object_get(facts, "indices"), i, x) if (r == 0) r =
        json_push(names, json_string(json_text(x, "name", "")), err);
    if (r == 0) r = search_open(s, &c, err);
    if (r == 0) r = engine_repository_verify(&c, repository, err);
    if (r == 0) r = engine_snapshot_get(&c, repository, name, &info, err);
    if (r == 0 && strcmp(json_text(info, "uuid", ""), json_text(snapshot, "uuid", "")) != 0)
        r = error_set(err, ERR_ENGINE_GONE, "the snapshot %s in the cluster's repository %s is another one by now",
                      name, repository);
    if (r == 0) r = engine_snapshot_judge(info, names, err);
    if (r == 0) r = engine_snapshot_status(&c, repository, name, &status, err);
    const json_t *total = json_object_get(json_object_get(status, "stats"), "total");
    if (r == 0 && (!json_equal(json_object_get(total, "file_count"), json_object_get(snapshot, "files")) ||
                   !json_equal(json_object_get(total, "size_in_bytes"), json_object_get(snapshot, "bytes"))))
        r = error_set(err, ERR_ENGINE_PARTIAL, "the snapshot %s has other files by now than when it was made", name);
    json_decref(info);
    json_decref(status);
    json_decref(names);
    search_close(&c);
    return r < 0 ? error_wrap(err, "search %s", ctx->name ? ctx->name : "") : 0;
}
