#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

struct plan {
    const struct redis_settings *s;
    const struct restore_request *q;
    const struct redis_target *t;
    json_t *steps, *warnings;
    struct buf print; /* what the fingerprint is of */
    uint64_t there;   /* keys in the target databases */
};

static int say(json_t *list, struct error *err, const char *fmt, ...) PK_CHECK PK_PRINTF(3, 4);
static int say(json_t *list, struct error *err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    json_t *text = json_vsprintf(fmt, ap);
    va_end(ap);
    return json_push(list, text, err);
}

static int plan_folder(struct plan *p, bool *ret_exists, struct error *err) {
    struct stat st;
    *ret_exists = seam_fstatat(AT_FDCWD, p->t->path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    int r = buf_printf(&p->print, err, "folder %s %d\n", p->t->path, *ret_exists);
    if (r == 0 && *ret_exists)
        r = say(p->warnings, err, "there is something at %s already: the restore would be refused", p->t->path);
    if (r == 0)
        r = say(p->steps, err,
                "write dump.rdb, the base of an append-only log with its manifest, and users.acl into %s", p->t->path);
    return r == 0 ? say(p->steps, err, "start a server from that folder: it loads the data with or without appendonly")
                  : r;
}

static int plan_database(struct plan *p, struct resp *c, uint64_t from, struct error *err) {
    static const char *const policies[] = {"would refuse the restore when they are among those restored",
                                           "would be overwritten", "would stay as they are"};
    CLEANUP(buf_free) struct buf size = BUF_INIT(64);
    char text[24];
    uint64_t to = from;
    int r = redis_target_database(p->t, from, &to, err);
    snprintf(text, sizeof text, "%llu", (unsigned long long)to);
    if (r == 0) r = resp_ask(c, NULL, err, "SELECT", text, NULL);
    if (r == 0) r = resp_ask(c, &size, err, "DBSIZE", NULL);
    if (r == 0) r = buf_terminate(&size, err);
    if (r < 0) return r;
    uint64_t there = strtoull((const char *)size.ptr, NULL, 10);
    p->there += there;
    r = buf_printf(&p->print, err, "database %llu %d\n", (unsigned long long)to, there > 0);
    if (r == 0 && there)
        r = say(p->warnings, err, "database %llu has %llu keys: they %s", (unsigned long long)to,
                (unsigned long long)there, policies[p->s->conflicts]);
    if (r == 0)
        r = say(p->steps, err, "restore database %llu into database %llu of %s", (unsigned long long)from,
                (unsigned long long)to, c->where);
    return r;
}

static int plan_server(struct plan *p, json_t *out, struct error *err) {
    CLEANUP(buf_free) struct buf info = BUF_INIT(4u << 20);
    const json_t *d;
    size_t i;
    struct resp c;
    char text[256] = "";
    int r = redis_connect(p->s, p->t->host[0] ? p->t->host : NULL, p->t->port, &c, err);
    if (r < 0) return r;
    r = resp_ask(&c, &info, err, "INFO", NULL);
    (void)redis_info(buf_bytes(&info), "redis_version", text, sizeof text);
    if (r == 0) r = redis_target_guard(p->s, p->t, p->q, buf_bytes(&info), c.where, err);
    if (r == 0) r = json_put_str(out, "server_version", text, err);
    if (r == 0) r = buf_printf(&p->print, err, "server %s %s\n", c.where, text);
    json_array_foreach(json_object_get(p->q->facts, "databases"), i, d) {
        uint64_t from = (uint64_t)json_integer_value(d);
        if (r == 0 && redis_takes_database(p->q->include, from)) r = plan_database(p, &c, from, err);
    }
    if (r == 0 && !p->q->include)
        r = say(p->warnings, err,
                "users are not restored into a running server; a restore into a folder has them as users.acl");
    if (r == 0) r = json_put_str(out, "target", c.where, err);
    resp_close(&c);
    return r;
}

int redis_plan(const struct surface_context *ctx, const struct restore_request *q, json_t **ret, struct error *err) {
    CLEANUP(redis_settings_freep) struct redis_settings *s = NULL;
    struct redis_target t;
    struct plan p = {.q = q, .t = &t, .steps = json_array(), .warnings = json_array(), .print = BUF_INIT(1 << 20)};
    json_t *out = json_object();
    struct digest digest;
    char hex[2 * DIGEST_BYTES + 1];
    bool exists = false;
    int r = out && p.steps && p.warnings ? redis_settings_load(ctx, q->as_scratch ? q->scratch : NULL, &s, err)
                                         : error_set(err, ERR_NO_MEMORY, "no memory");
    p.s = s;
    if (r == 0) r = redis_target_decide(s, q, &t, err);
    if (r == 0) r = t.folder ? plan_folder(&p, &exists, err) : plan_server(&p, out, err);
    if (r == 0 && !t.folder) exists = p.there > 0;
    sha256(buf_bytes(&p.print), &digest);
    hex_encode(digest.b, sizeof digest.b, hex);
    if (r == 0 && t.folder) r = json_put_str(out, "target", t.path, err);
    if (r == 0 && q->target && !t.folder) r = json_put_str(out, "target", q->target, err);
    if (r == 0) r = json_put_str(out, "fingerprint", hex, err);
    if (r == 0) r = json_put(out, "exists", json_boolean(exists), err);
    if (r == 0) r = json_put(out, "empty", json_boolean(!exists), err);
    int64_t bytes = json_integer_value(json_object_get(q->facts, "rdb_bytes"));
    if (r == 0) r = json_put_int(out, "space_bytes", t.folder ? bytes : 2 * bytes, err);
    if (r == 0) r = json_put(out, "steps", json_incref(p.steps), err);
    if (r == 0) r = json_put(out, "warnings", json_incref(p.warnings), err);
    json_decref(p.steps);
    json_decref(p.warnings);
    buf_free(&p.print);
    if (r < 0)
        json_decref(out);
    else
        *ret = out;
    return r;
}
