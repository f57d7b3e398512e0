#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DATABASE_MAX 1000000000u
#define SOURCE_TIMEOUT_MS 5000

static int folder(struct redis_target *t, const char *path, struct error *err) {
    t->folder = true;
    int n = snprintf(t->path, sizeof t->path, "%s", path);
    while (n > 1 && n < (int)sizeof t->path && t->path[n - 1] == '/') t->path[--n] = 0;
    return n < (int)sizeof t->path - 64 ? 0 : error_set(err, ERR_USAGE, "the path of the target is too long");
}

static int beside(const struct redis_settings *s, struct redis_target *t, struct error *err) {
    char stamp[24], here[3000], path[4096];
    time_format_compact(time_now_ns(), stamp);
    if (!getcwd(here, sizeof here)) return error_set_errno(err, ERR_IO_READ, "find the current folder");
    snprintf(path, sizeof path, "%s/%.500s.restored-%s", here, s->ctx->name ? s->ctx->name : "redis", stamp);
    return folder(t, path, err);
}

static int bad(const char *text, struct error *err) {
    return error_set(err, ERR_USAGE,
                     "the target '%.200s' is none: it is /a/folder, a database such as 5 or 0=5,1=6, or "
                     "redis://host:port/0=5 or unix:/path/of/socket?0=5",
                     text);
}

/* "5", or "0=5,1=6". */
static int map(struct redis_target *t, const char *text, const struct restore_request *q, const char *whole,
               struct error *err) {
    const json_t *databases = json_object_get(q->facts, "databases");
    for (const char *at = text; *at;) {
        char *end;
        if (*at < '0' || *at > '9' || t->n_map == sizeof t->map / sizeof *t->map) return bad(whole, err);
        uint64_t a = strtoull(at, &end, 10), b = a;
        if (*end == '=' && end[1] >= '0' && end[1] <= '9') {
            b = strtoull(end + 1, &end, 10);
        } else if (t->n_map == 0 && *end == 0 && json_array_size(databases) <= 1) {
            a = (uint64_t)json_integer_value(json_array_get(databases, 0));
        } else if (*end != ',' && *end != 0) {
            return bad(whole, err);
        } else if (q->include && q->include[0] && !q->include[1] && strncmp(q->include[0], "db/", 3) == 0) {
            a = strtoull(q->include[0] + 3, NULL, 10);
        } else {
            return error_set(err, ERR_USAGE, "the snapshot has several databases: say which goes where, as in 0=5,1=6");
        }
        if (b > DATABASE_MAX) return bad(whole, err);
        t->map[t->n_map].from = a;
        t->map[t->n_map++].to = b;
        at = *end == ',' ? end + 1 : end;
        if (*end && *end != ',') return bad(whole, err);
    }
    return 0;
}

static int server(struct redis_target *t, const char *text, const struct restore_request *q, struct error *err) {
    const char *at = text + 8, *slash = strchr(at, '/'), *end = slash ? slash : at + strlen(at);
    const char *colon = memchr(at, ':', (size_t)(end - at));
    t->port = 6379;
    if (*at == '[') { /* an address of IPv6 */
        const char *close = memchr(at, ']', (size_t)(end - at));
        if (!close) return bad(text, err);
        colon = close[1] == ':' ? close + 1 : NULL;
        snprintf(t->host, sizeof t->host, "%.*s", (int)(close - at - 1), at + 1);
    } else {
        snprintf(t->host, sizeof t->host, "%.*s", (int)((colon ? colon : end) - at), at);
    }
    if (colon) t->port = (unsigned)strtoul(colon + 1, NULL, 10);
    if (!t->host[0] || t->host[0] == '/' || t->port < 1 || t->port > 65535) return bad(text, err);
    return slash ? map(t, slash + 1, q, text, err) : 0;
}

static int socket_of(struct redis_target *t, const char *text, const struct restore_request *q, struct error *err) {
    const char *at = text + 5, *mark = strchr(at, '?');
    if (*at != '/') return bad(text, err);
    snprintf(t->host, sizeof t->host, "%.*s", mark ? (int)(mark - at) : (int)strlen(at), at);
    return mark ? map(t, mark + 1, q, text, err) : 0;
}

int redis_target_decide(const struct redis_settings *s, const struct restore_request *q, struct redis_target *ret,
                        struct error *err) {
    struct redis_target t = {0};
    int r = redis_include_check(q->include, err);
    if (r < 0) return r;
    if (q->swap && q->target)
        return error_set(err, ERR_USAGE,
                         "--swap puts what was restored in the place of the live databases: it has no other target");
    if (q->swap && q->in_place)
        return error_set(
            err, ERR_USAGE,
            "--swap puts other databases in the place of the live ones, --in-place writes into them: say one of both");
    if (q->in_place && q->target) return error_set(err, ERR_USAGE, "a restore in place has no other target");
    if (q->as_scratch)
        r = 0;
    else if (q->in_place || q->swap)
        t.live = true;
    else if (!q->target)
        r = beside(s, &t, err);
    else if (q->target[0] == '/')
        r = folder(&t, q->target, err);
    else if (strncmp(q->target, "redis://", 8) == 0)
        r = server(&t, q->target, q, err);
    else if (strncmp(q->target, "unix:", 5) == 0)
        r = socket_of(&t, q->target, q, err);
    else
        r = *q->target ? map(&t, q->target, q, q->target, err) : bad(q->target, err);
    if (r == 0) *ret = t;
    return r;
}

int redis_target_database(const struct redis_target *t, uint64_t from, uint64_t *ret, struct error *err) {
    for (size_t i = 0; i < t->n_map; i++)
        if (t->map[i].from == from) {
            *ret = t->map[i].to;
            return 0;
        }
    if (t->n_map)
        return error_set(err, ERR_USAGE, "the target does not say where database %llu goes", (unsigned long long)from);
    *ret = from;
    return 0;
}

/* Whether it is the server of the settings by another name, or by its own: a run_id is another after each start, so
 * that of the snapshot does not say. A source that does not answer soon is gone. */
static bool is_source(const struct redis_settings *s, struct bytes info) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(4u << 20);
    struct redis_settings soon = *s;
    struct error ignored = ERROR_INIT;
    struct resp c;
    char here[128], there[128];
    soon.timeout_ms = SOURCE_TIMEOUT_MS;
    if (!redis_info(info, "run_id", there, sizeof there) || redis_connect(&soon, NULL, 0, &c, &ignored) < 0)
        return false;
    bool same = resp_ask(&c, &text, &ignored, "INFO", NULL) == 0 &&
                redis_info(buf_bytes(&text), "run_id", here, sizeof here) && !strcmp(here, there);
    resp_close(&c);
    return same;
}

int redis_target_guard(const struct redis_settings *s, const struct redis_target *t, const struct restore_request *q,
                       struct bytes info, const char *where, struct error *err) {
    const char *source = json_string_value(json_object_get(q->facts, "run_id"));
    char text[128];
    if (t->live || q->as_scratch) return 0;
    bool same = source && redis_info(info, "run_id", text, sizeof text) && !strcmp(text, source);
    /* A server that was started again is still the same one when it is where the settings say. */
    if (!same && t->host[0] && !is_source(s, info)) return 0;
    if (t->n_map == 0)
        return error_set(err, ERR_POLICY, "%s is the live server: say --in-place, or another database as in --into 0=5",
                         where);
    for (size_t k = 0; k < t->n_map; k++)
        if (t->map[k].from == t->map[k].to)
            return error_set(err, ERR_POLICY, "database %llu of %s is the live one: only --in-place restores into it",
                             (unsigned long long)t->map[k].to, where);
    return 0;
}
