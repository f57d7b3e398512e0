#include "surface/search/search_internal.h"

#include "base/seam.h"

static int problem(json_t *list, struct error *what, struct error *err) {
    json_t *p = json_pack("{s:s, s:s}", "code", error_info((int)what->code)->code, "text", what->text);
    error_clear(what);
    return json_push(list, p, err);
}

static int indices(const struct search_client *c, json_t *facts, json_t *problems, struct error *err) {
    struct search_indices l = {0};
    struct error what = ERROR_INIT;
    json_t *names = json_array();
    int r = names ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && search_indices_list(c, &l, &what) < 0) {
        json_decref(names);
        return problem(problems, &what, err);
    }
    for (size_t i = 0; r == 0 && i < l.n; i++) {
        if (search_index_check(&l.of[i], &what) < 0) r = problem(problems, &what, err);
        if (r == 0) r = json_push(names, json_string(l.of[i].name), err);
    }
    if (r == 0 && search_facets_check(c->s, &l, &what) < 0) r = problem(problems, &what, err);
    search_indices_free(&l);
    return r == 0 ? json_put(facts, "indices", names, err) : (json_decref(names), r);
}

int search_probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_client c = {0};
    json_t *facts = json_object(), *problems = json_array();
    int r =
        facts && problems ? search_settings_load(ctx, NULL, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_open(s, &c, err);
    if (r == 0) r = search_facts(&c, facts, err);
    if (r == 0) r = indices(&c, facts, problems, err);
    if (r == 0) r = json_put(facts, "problems", json_incref(problems), err);
    search_close(&c);
    json_decref(problems);
    if (r < 0)
        json_decref(facts);
    else
        *ret = facts;
    return r < 0 ? error_wrap(err, "search %s", ctx->name ? ctx->name : "") : 0;
}
