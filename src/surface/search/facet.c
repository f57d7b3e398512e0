#include "surface/search/search_internal.h"

#include "base/seam.h"

#define QUERY_MAX (256u << 10)

int search_facets_check(const struct search_settings *s, const struct search_indices *l, struct error *err) {
    const json_t *f;
    size_t i;
    json_array_foreach((json_t *)s->facets, i, f) {
        bool there = false;
        for (size_t k = 0; k < l->n; k++) there |= l->of[k].open && !strcmp(l->of[k].name, json_text(f, "index", ""));
        if (!there)
            return error_set(err, ERR_CONFIG_VALUE,
                             "the facet '%s' is of the index '%s', which is not among those backed up",
                             json_text(f, "name", ""), json_text(f, "index", ""));
    }
    return 0;
}

/* What has to be alike: how many there are, and what was aggregated. A digest of it, since it may hold payload. */
static int digest(const json_t *answer, char hex[2 * DIGEST_BYTES + 1], struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(SEARCH_ANSWER_MAX);
    const json_t *aggregations = json_object_get(answer, "aggregations");
    struct digest d;
    json_t *kept = json_pack("{s:O?, s:O*}", "total", json_object_get(json_object_get(answer, "hits"), "total"),
                             "aggregations", aggregations);
    int r = kept ? json_write(kept, &b, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(kept);
    if (r < 0) return r;
    sha256(buf_bytes(&b), &d);
    hex_encode(d.b, sizeof d.b, hex);
    return 0;
}

static int one(const struct search_client *c, const json_t *f, const char *as, const struct search_reader *r,
               json_t *out, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    bool frozen = r && r->n_frozen == 1 && r->way != SEARCH_SCROLL;
    char what[300], name[200], hex[2 * DIGEST_BYTES + 1];
    json_t *body = NULL, *answer = NULL;
    snprintf(what, sizeof what, "the facet '%.100s'", json_text(f, "name", ""));
    snprintf(name, sizeof name, "facet/%.100s", json_text(f, "name", ""));
    int rc = json_parse(BYTES_STR(json_text(f, "query", "")), QUERY_MAX, what, &body, err);
    if (rc == 0 && !json_is_object(body))
        rc = error_set(err, ERR_CONFIG_VALUE, "%s: its query is no JSON object", what);
    if (rc == 0) rc = json_put_int(body, "size", 0, err);
    if (rc == 0) rc = json_put(body, "track_total_hits", json_true(), err);
    if (rc == 0 && frozen)
        rc = json_put(
            body, "pit",
            json_pack("{s:s%, s:s}", "id", (const char *)r->frozen->ptr, r->frozen->len, "keep_alive", SEARCH_KEEP),
            err);
    if (rc == 0)
        rc = frozen ? search_path(&path, "/_search?allow_partial_search_results=false", "", "", err)
                    : search_path(&path, "/", as, "/_search?allow_partial_search_results=false", err);
    if (rc == 0) rc = search_ask(c, "POST", (const char *)path.ptr, body, &answer, NULL, what, err);
    if (rc == 0 && (!json_is_false(json_object_get(answer, "timed_out")) ||
                    json_integer_value(json_object_get(json_object_get(answer, "_shards"), "failed")) != 0))
        rc = error_set(err, ERR_SEARCH_PARTIAL, "%s was not answered by all shards", what);
    if (rc == 0) rc = digest(answer, hex, err);
    if (rc == 0) rc = search_invariant(out, name, json_string(hex), err);
    json_decref(body);
    json_decref(answer);
    return rc;
}

int search_facets(const struct search_client *c, const char *index, const char *as, const struct search_reader *r,
                  json_t *out, struct error *err) {
    const json_t *f;
    size_t i;
    int rc = 0;
    json_array_foreach((json_t *)c->s->facets, i, f) if (rc == 0 && !strcmp(json_text(f, "index", ""), index)) rc =
        one(c, f, as, r, out, err);
    return rc;
}
