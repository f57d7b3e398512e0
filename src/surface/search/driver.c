#include "surface/search/snapshot.h"

static int probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    return engine_surface(ctx) ? engine_probe(ctx, ret, err) : search_probe(ctx, ret, err);
}

static int capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                   struct error *err) {
    return engine_surface(ctx) ? engine_capture(ctx, sink, ret, err) : search_capture(ctx, sink, ret, err);
}

/* A snapshot is restored in the way that it was taken, whatever the surface says by now. */
static int restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                   struct restore_result *ret, struct error *err) {
    return engine_facts(q->facts) ? engine_restore(ctx, src, q, ret, err) : search_restore(ctx, src, q, ret, err);
}

static int measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                   struct error *err) {
    return engine_facts(facts) ? engine_measure(ctx, scratch, facts, ret, err)
                               : search_measure(ctx, scratch, facts, ret, err);
}

static const struct surface_selection selection[] = {{"cluster", "indices"}, {"cluster", "exclude"}, {0}};

const struct surface_driver surface_search = {
    .kind = "search",
    .selection = selection,
    .receipt_surface = "search",
    .probe = probe,
    .capture = capture,
    .plan = search_plan,
    .restore = restore,
    .scratch_start = search_scratch_start,
    .scratch_stop = search_scratch_stop,
    .measure = measure,
    .describe = search_describe,
    .export_tree = search_export_tree,
    .wants = search_wants,
    .outside = engine_outside,
};
