#include "surface/redis/redis_internal.h"

#include "base/seam.h"

static int report(const struct redis_target *t, const struct redis_restored *d, struct restore_result *ret,
                  struct error *err) {
    json_t *facts =
        json_pack("{s:I, s:I, s:I, s:I}", "keys", (json_int_t)d->keys, "expired_meanwhile", (json_int_t)d->expired,
                  "skipped", (json_int_t)d->skipped, "libraries", (json_int_t)d->libraries);
    int r = facts ? json_put(facts, t->folder ? "contents" : "databases", json_incref(d->databases), err)
                  : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && t->folder) r = json_put_str(facts, "target", t->path, err);
    if (r < 0) {
        json_decref(facts);
        return r;
    }
    *ret = (struct restore_result){
        .facts = facts, .items = d->keys, .bytes = d->bytes, .skipped = d->skipped + d->expired};
    return 0;
}

int redis_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                  struct restore_result *ret, struct error *err) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    struct redis_restored done = {.databases = json_array()};
    struct redis_target t;
    int r = done.databases ? redis_settings_load(ctx, q->as_scratch ? q->scratch : NULL, &s, err)
                           : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = redis_target_decide(s, q, &t, err);
    if (r == 0)
        r = t.folder ? redis_restore_folder(s, src, q, t.path, &done, err)
                     : redis_restore_live(s, src, q, &t, &done, err);
    if (r == 0) r = report(&t, &done, ret, err);
    json_decref(done.databases);
    return r < 0 ? error_wrap(err, "redis %s", ctx->name ? ctx->name : "") : 0;
}
