#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

static int index_of(const struct search_client *c, const char *name, const char *as, unsigned primaries, json_t *out,
                    struct error *err) {
    struct search_tally t;
    int r = search_refresh(c, as, err);
    if (r == 0) r = search_tally_run(c, as, primaries, &t, err);
    if (r == 0) r = search_facets(c, name, as, NULL, out, err);
    return r == 0 ? search_invariants_index(name, t.documents, t.sum, out, err) : r;
}

/* An index of a data stream that was restored has a name of its own: it is what stood in its place. */
static const char *former_name(const struct search_indices *l, size_t at, const json_t *facts) {
    const struct search_index *x = &l->of[at];
    const json_t *f;
    size_t i, nth = 0;
    if (!x->stream) return x->name;
    for (i = 0; i < at; i++) nth += l->of[i].stream && !strcmp(l->of[i].stream, x->stream);
    json_array_foreach(json_object_get(facts, "indices"), i, f) {
        if (!strcmp(json_text(f, "data_stream", ""), x->stream) && nth-- == 0) return json_text(f, "name", x->name);
    }
    return x->name;
}

static int live(const struct search_client *c, const json_t *facts, json_t *out, struct error *err) {
    struct search_indices l;
    int r = search_indices_list(c, &l, err);
    if (r < 0) return r;
    for (size_t i = 0; i < l.n && r == 0; i++)
        if (l.of[i].open) r = index_of(c, former_name(&l, i, facts), l.of[i].name, l.of[i].primaries, out, err);
    search_indices_free(&l);
    return r;
}

/* A scratch server has what was restored into it, under names of its own for those that begin with a dot. */
static int scratched(const struct search_client *c, const json_t *facts, json_t *out, struct error *err) {
    const json_t *x;
    size_t i;
    int r = 0;
    json_array_foreach(json_object_get(facts, "indices"), i, x) {
        const char *name = json_string_value(json_object_get(x, "name"));
        if (r == 0 && name)
            r = index_of(c, name, *name == '.' ? name + 1 : name,
                         (unsigned)json_integer_value(json_object_get(x, "primaries")), out, err);
    }
    return r;
}

static int sections(const struct search_client *c, json_t *out, struct error *err) {
    int r = 0;
    for (const struct search_section *x = search_sections; x->name && r == 0; x++) {
        json_t *bodies = NULL;
        if (x->apart) continue;
        r = search_section_get(c, x, &bodies, err);
        if (r == 0 && bodies) r = search_invariants_section(x->name, bodies, out, err);
        json_decref(bodies);
    }
    return r;
}

int search_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                   struct error *err) {
    CLEANUP(search_settings_freep) struct search_settings *s = NULL;
    struct search_client c = {0};
    json_t *out = json_object();
    int r = out ? search_settings_load(ctx, scratch, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_open(s, &c, err);
    if (r == 0) r = sections(&c, out, err);
    if (r == 0) r = scratch ? scratched(&c, facts, out, err) : live(&c, facts, out, err);
    search_close(&c);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
