#include "surface/neo4j/neo4j_internal.h"
#include "surface/neo4j/neo4j_offline.h"
#include "surface/neo4j/offline_place.h"

#include <stdio.h>

static bool offline_surface(const struct surface_context *ctx) {
    const char *method = json_string_value(json_object_get(json_object_get(ctx->settings, "dbms"), "method"));
    return method && !strcmp(method, "offline");
}

/* A snapshot is restored in the way that it was taken, whatever the surface says by now. */
static bool offline_facts(const json_t *facts) {
    const char *method = json_string_value(json_object_get(facts, "method"));
    return method && !strcmp(method, "offline");
}

static bool offline_item(struct bytes name) {
    return name.len > 3 && !memcmp(name.ptr, "db/", 3);
}

static int probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    return offline_surface(ctx) ? neo4j_offline_probe(ctx, ret, err) : neo4j_logical_probe(ctx, ret, err);
}

static int capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                   struct error *err) {
    return offline_surface(ctx) ? neo4j_offline_capture(ctx, sink, ret, err)
                                : neo4j_logical_capture(ctx, sink, ret, err);
}

static int plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) {
    return offline_facts(q->facts) ? neo4j_offline_plan(ctx, q, ret, err) : neo4j_logical_plan(ctx, q, ret, err);
}

static int restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                   struct restore_result *ret, struct error *err) {
    return offline_facts(q->facts) ? neo4j_offline_restore(ctx, src, q, ret, err)
                                   : neo4j_logical_restore(ctx, src, q, ret, err);
}

static int measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                   struct error *err) {
    return offline_facts(facts) ? neo4j_offline_measure(ctx, scratch, facts, ret, err)
                                : neo4j_logical_measure(ctx, scratch, facts, ret, err);
}

static int describe(struct bytes name, struct bytes attr, json_t **ret, struct error *err) {
    if (!offline_item(name)) return neo4j_logical_describe(name, attr, ret, err);
    return json_parse(attr, JSON_MAX_BYTES, "an item's attributes", ret, err);
}

static int export_tree(const struct surface_context *ctx, struct source *src, int dirfd, struct error *err) {
    (void)ctx;
    int r = neo4j_logical_export(src, dirfd, err);
    return r == 0 ? neo4j_offline_export(src, dirfd, err) : r;
}

/* Of an online backup nothing can be chosen. */
static int wants(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                 int (*cb)(void *, const struct source_head *, struct error *), void *cb_ctx, struct error *err) {
    json_t *all = NULL, *take = NULL, *x;
    size_t i;
    (void)ctx;
    int r = offline_facts(q->facts) ? neo4j_items_databases(src, &all, err)
                                    : src->ops->walk(src, BYTES_OF(NULL, 0), cb, cb_ctx, err);
    if (r == 0 && all) r = neo4j_place_takes(q, all, &take, err);
    json_array_foreach(take, i, x) {
        char name[NEO4J_NAME_MAX + 16];
        const int n = snprintf(name, sizeof name, "db/%s/", json_string_value(x));
        if (r == 0) r = src->ops->walk(src, BYTES_OF(name, (size_t)n), cb, cb_ctx, err);
    }
    json_decref(all);
    json_decref(take);
    return r;
}

/* What both methods keep; each snapshot says of itself whether it is exact, and how it was taken. */
static const struct surface_selection selection[] = {{"dbms", "labels"}, {"dbms", "query"}, {0}};

const struct surface_driver surface_neo4j = {
    .kind = "neo4j",
    .selection = selection,
    .overwrites_all = true,
    .receipt_surface = "neo4j",
    .probe = probe,
    .capture = capture,
    .plan = plan,
    .restore = restore,
    .scratch_start = neo4j_scratch_start,
    .scratch_stop = neo4j_scratch_stop,
    .measure = measure,
    .describe = describe,
    .export_tree = export_tree,
    .wants = wants,
};
