#include "surface/setting.h"

#include "base/seam.h"

int setting_text(const json_t *o, const char *key, const char *kind, char **ret, struct error *err) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return 0;
    if (!json_is_string(v)) return error_set(err, ERR_CONFIG_VALUE, "%s: %s wants a text", kind, key);
    return mem_strdup(json_string_value(v), ret, err);
}

int setting_password(const struct surface_context *ctx, const json_t *o, const char *kind, struct secret **ret,
                     struct error *err) {
    char *ref = NULL;
    int r = setting_text(o, "password", kind, &ref, err);
    if (r == 0 && ref && !ctx->secret)
        r = error_set(err, ERR_SECRET, "the password %s cannot be had here", ref);
    else if (r == 0 && ref)
        r = ctx->secret(ctx->secret_ctx, ref, ret, err);
    seam_free(ref);
    return r < 0 ? error_wrap(err, "%s: password of %s", kind, ctx->name ? ctx->name : "the surface") : 0;
}
