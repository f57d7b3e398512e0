#include "surface/redis/redis_internal.h"

#include "base/seam.h"

static int problem(json_t *list, struct error *what, struct error *err) {
    json_t *p = json_pack("{s:s, s:s}", "code", error_info((int)what->code)->code, "text", what->text);
    error_clear(what);
    return json_push(list, p, err);
}

/* Asked of the server's own rules, so that no synchronisation has to be begun. */
static int may_sync(struct resp *c, const struct redis_settings *s, struct error *what) {
    CLEANUP(buf_free) struct buf answer = BUF_INIT(4096), who = BUF_INIT(4096);
    struct error ignored = ERROR_INIT;
    const char *const wanted = s->method == REDIS_SCAN ? "scan" : "psync";
    if (resp_ask(c, &who, &ignored, "ACL", "WHOAMI", NULL) < 0 || buf_terminate(&who, &ignored) < 0) return 0;
    if (resp_ask(c, &answer, &ignored, "ACL", "DRYRUN", (const char *)who.ptr, wanted, "0", "0", NULL) < 0) return 0;
    if (bytes_equal(buf_bytes(&answer), BYTES_STR("OK"))) return 0;
    return error_set(what, s->method == REDIS_SCAN ? ERR_REDIS_DENIED : ERR_REDIS_NO_SYNC, "%s: %.*s", c->where,
                     answer.len < 300 ? (int)answer.len : 300, (const char *)answer.ptr);
}

int redis_probe(const struct surface_context *ctx, json_t **ret, struct error *err) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    struct error what = ERROR_INIT;
    struct resp c = {.fd = -1};
    json_t *facts = json_object(), *problems = json_array();
    int r = facts && problems ? redis_settings_load(ctx, NULL, &s, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = redis_connect(s, NULL, 0, &c, err);
    if (r == 0 && redis_facts(s, &c, facts, NULL, &what) < 0) r = problem(problems, &what, err);
    if (r == 0 && may_sync(&c, s, &what) < 0) r = problem(problems, &what, err);
    if (r == 0) r = json_put(facts, "problems", json_incref(problems), err);
    resp_close(&c);
    json_decref(problems);
    if (r < 0)
        json_decref(facts);
    else
        *ret = facts;
    return r < 0 ? error_wrap(err, "redis %s", ctx->name ? ctx->name : "") : 0;
}
