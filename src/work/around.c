#include "work/around.h"

#include "base/seam.h"
#include "work/hook.h"

#include <errno.h>

#define MARK ".standby"
#define ACTION "restore"

int around_begin(struct work *w, const struct surface_context *ctx, const char *plan, bool *ret, struct error *err) {
    char path[4200];
    *ret = false;
    if (!ctx->hook) return 0;
    int rc = plan_file_path(w, plan, MARK, path, err);
    if (rc == 0) rc = io_replace_file(AT_FDCWD, path, BYTES_OF(NULL, 0), 0600, err);
    if (rc < 0) return rc;
    rc = ctx->hook(ctx->hook_ctx, "standby", ACTION, NULL, err);
    *ret = rc != 1;
    if (rc == 1) (void)!seam_unlinkat(AT_FDCWD, path, 0);
    return rc == 1 ? 0 : rc;
}

int around_end(struct work *w, const struct surface_context *ctx, const char *plan, struct error *err) {
    char path[4200];
    int rc = ctx->hook(ctx->hook_ctx, "live", ACTION, NULL, err);
    if (rc < 0)
        return error_next(err, "Mend it, then run 'proofkeep restore --plan %s --abort', which runs it again.", plan);
    rc = plan_file_path(w, plan, MARK, path, err);
    if (rc == 0 && seam_unlinkat(AT_FDCWD, path, 0) < 0 && errno != ENOENT)
        rc = error_set_errno(err, ERR_IO_WRITE, "remove %s", path);
    return rc;
}

int around_abort(struct work *w, const char *plan, bool *ret, struct error *err) {
    const struct config *c;
    const struct config_environment *e;
    const struct config_surface *s;
    struct work_surface surface = {0};
    struct work_bridge b;
    struct surface_context ctx;
    struct stat st;
    json_t *doc = NULL;
    char path[4200];
    *ret = false;
    if (!plan_file_is(plan, "pln")) return error_set(err, ERR_PLAN_STALE, "'%.40s' is no plan's id", plan);
    int rc = plan_file_load(w, plan, &doc, err);
    if (rc == 0) rc = plan_file_path(w, plan, MARK, path, err);
    if (rc == 0) *ret = seam_fstatat(AT_FDCWD, path, &st, 0) == 0;
    if (rc == 0 && *ret) {
        const char *env = json_string_value(json_object_get(doc, "environment")),
                   *name = json_string_value(json_object_get(doc, "surface"));
        rc = work_need_config(w, &c, err);
        if (rc == 0) rc = config_need_environment(c, env ? env : "", &e, err);
        if (rc == 0) rc = config_need_surface(c, e, name ? name : "", &s, err);
        if (rc == 0) rc = work_surface_open(w, e, s, &surface, err);
        if (rc == 0 && (rc = work_bridge_open(w, &surface, &b, &ctx, err)) == 0) {
            rc = around_end(w, &ctx, plan, err);
            work_bridge_close(&b);
        }
        work_surface_close(&surface);
    }
    json_decref(doc);
    return rc;
}
