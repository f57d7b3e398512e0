#include "surface/redis/live.h"

#include "base/seam.h"
#include "surface/plan.h"
#include <stdio.h>
#include <stdlib.h>

struct plan {
    const struct redis_settings *s;
    const struct restore_request *q;
    const struct redis_target *t;
    const struct redis_target *to; /* with the spare databases of a swap */
    struct plan_parts parts;
    uint64_t there; /* keys in the target databases */
};

static int plan_folder(struct plan *p, bool *ret_exists, struct error *err) {
    struct stat st;
    *ret_exists = seam_fstatat(AT_FDCWD, p->t->path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int r = buf_printf(&p->parts.print, err, "folder %s %d\n", p->t->path, *ret_exists);
    if (r == 0 && *ret_exists)
        r = plan_say(p->parts.warnings, err, "there is something at %s already: the restore would be refused",
                     p->t->path);
    if (r == 0)
        r = plan_say(p->parts.steps, err,
                     "write dump.rdb, the base of an append-only log with its manifest, and users.acl into %s",
                     p->t->path);
    return r == 0 ? plan_say(p->parts.steps, err,
                             "start a server from that folder: it loads the data with or without appendonly")
                  : r;
}

/* A restore of the live databases does so with keys and libraries that it finds. */
static bool overwrites(const struct plan *p) {
    return p->t->live && !p->q->swap && p->s->conflicts == CONFLICT_REPLACE;
}

static int plan_database(struct plan *p, struct resp *c, uint64_t from, struct error *err) {
    static const char *const policies[] = {
        "would refuse the restore when they are among those restored",
        "would be overwritten, and a restore that fails in the middle could not be undone (--swap, or a folder, can)",
        "would stay as they are"};
    static const char *const failing[] = {"; when it fails, what was restored is removed again",
                                          "; when it fails, some keys are replaced and others not",
                                          "; when it fails, what was restored is removed again"};
    CLEANUP(buf_free) struct buf size = BUF_INIT(64);
    char text[24];
    uint64_t to = from;
    int r = redis_target_database(p->to, from, &to, err);
    snprintf(text, sizeof text, "%llu", (unsigned long long)to);
    if (r == 0) r = resp_ask(c, NULL, err, "SELECT", text, NULL);
    if (r == 0) r = resp_ask(c, &size, err, "DBSIZE", NULL);
    if (r == 0) r = buf_terminate(&size, err);
    if (r < 0) return r;
    uint64_t there = strtoull((const char *)size.ptr, NULL, 10);
    p->there += there;
    p->parts.overwrites |= there && overwrites(p);
    r = buf_printf(&p->parts.print, err, "database %llu %d\n", (unsigned long long)to, there > 0);
    if (r == 0 && p->q->swap)
        return plan_say(
            p->parts.steps, err,
            "restore database %llu into the empty database %llu of %s and, when all is there, swap both: what "
            "database %llu has now is in database %llu then, until you remove it; when it fails before, what was "
            "restored is removed again",
            (unsigned long long)from, (unsigned long long)to, c->where, (unsigned long long)from,
            (unsigned long long)to);
    if (r == 0 && there)
        r = plan_say(p->parts.warnings, err, "database %llu has %llu keys: they %s", (unsigned long long)to,
                     (unsigned long long)there, policies[p->s->conflicts]);
    if (r == 0)
        r = plan_say(p->parts.steps, err, "restore database %llu into database %llu of %s%s", (unsigned long long)from,
                     (unsigned long long)to, c->where, failing[there ? p->s->conflicts : CONFLICT_ABORT]);
    return r;
}

static int plan_server(struct plan *p, json_t *out, struct error *err) {
    CLEANUP(buf_free) struct buf info = BUF_INIT(4u << 20);
    const json_t *d;
    size_t i;
    struct redis_target to = *p->t;
    struct resp c;
    char text[256] = "", id[64];
    int r = redis_connect(p->s, p->t->host[0] ? p->t->host : NULL, p->t->port, &c, err);
    if (r < 0) return r;
    r = resp_ask(&c, &info, err, "INFO", NULL);
    (void)redis_info(buf_bytes(&info), "redis_version", text, sizeof text);
    if (r == 0) r = redis_target_guard(p->s, p->t, p->q, buf_bytes(&info), c.where, err);
    if (r == 0 && p->q->swap) r = live_spares(&c, p->q, &to, err);
    p->to = &to;
    if (r == 0) r = json_put_str(out, "server_version", text, err);
    if (redis_info(buf_bytes(&info), "number_of_libraries", id, sizeof id) && strcmp(id, "0") != 0 &&
        redis_takes(p->q->include, "functions") &&
        json_integer_value(json_object_get(json_object_get(p->q->invariants, "functions"), "value")) > 0)
        p->parts.overwrites |= overwrites(p);
    if (r == 0 && redis_info(buf_bytes(&info), "run_id", id, sizeof id)) r = json_put_str(out, "system", id, err);
    if (r == 0) r = buf_printf(&p->parts.print, err, "server %s %s\n", c.where, text);
    json_array_foreach(json_object_get(p->q->facts, "databases"), i, d) {
        uint64_t from = (uint64_t)json_integer_value(d);
        if (r == 0 && redis_takes_database(p->q->include, from)) r = plan_database(p, &c, from, err);
    }
    if (r == 0 && !p->q->include)
        r = plan_say(p->parts.warnings, err,
                     "users are not restored into a running server; a restore into a folder has them as users.acl");
    if (r == 0 && p->q->swap)
        r = plan_say(p->parts.warnings, err,
                     "the server needs the memory for both, until the old databases are removed");
    if (r == 0) r = json_put_str(out, "target", c.where, err);
    resp_close(&c);
    return r;
}

int redis_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    struct redis_target t;
    struct plan p = {.q = q, .t = &t};
    json_t *out = json_object();
    bool exists = false;
    int r = out ? plan_begin(&p.parts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = redis_settings_load(ctx, q->as_scratch ? q->scratch : NULL, &s, err);
    p.s = s;
    if (r == 0) r = redis_target_decide(s, q, &t, err);
    if (r == 0) r = t.folder ? plan_folder(&p, &exists, err) : plan_server(&p, out, err);
    if (r == 0 && !t.folder) exists = p.there > 0;
    if (r == 0 && t.folder) r = json_put_str(out, "target", t.path, err);
    if (r == 0 && q->target && !t.folder) r = json_put_str(out, "target", q->target, err);
    const uint64_t bytes = (uint64_t)json_integer_value(json_object_get(q->facts, "rdb_bytes"));
    if (r == 0) r = plan_put(&p.parts, exists, !exists, t.folder ? bytes : 2 * bytes, out, err);
    plan_end(&p.parts);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
