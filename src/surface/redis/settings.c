#include "surface/redis/redis_internal.h"

#include "base/seam.h"
#include "surface/setting.h"
#include <stdio.h>

#define TIMEOUT_MS 60000
#define PORT 6379

static int choice(const json_t *o, const char *key, const char *const *words, int *ret, struct error *err) {
    const char *v = json_string_value(json_object_get(o, key));
    if (!v) return 0;
    for (int i = 0; words[i]; i++)
        if (!strcmp(v, words[i])) {
            *ret = i;
            return 0;
        }
    return error_set(err, ERR_CONFIG_VALUE, "redis: %s cannot be %s", key, v);
}

static int load(struct redis_settings *s, const json_t *scratch, struct error *err) {
    static const char *const methods[] = {"replication", "scan", NULL};
    static const char *const conflicts[] = {"abort", "replace", "skip", NULL};
    const json_t *server = scratch ? scratch : json_object_get(s->ctx->settings, "server");
    const json_t *port = json_object_get(server, "port");
    int method = 0, conflict = 0;
    int r = setting_text(server, "host", "redis", &s->host, err);
    s->port = port ? (unsigned)json_integer_value(port) : PORT;
    if (r == 0 && !s->host) r = mem_strdup("127.0.0.1", &s->host, err);
    if (r < 0 || scratch) return r;
    s->tls = json_is_true(json_object_get(server, "tls"));
    s->databases = json_object_get(server, "databases");
    if ((r = setting_text(server, "user", "redis", &s->user, err)) < 0 ||
        (r = setting_text(server, "ca", "redis", &s->ca, err)) < 0)
        return r;
    if ((r = choice(server, "method", methods, &method, err)) < 0) return r;
    if ((r = choice(server, "conflicts", conflicts, &conflict, err)) < 0) return r;
    s->method = (enum redis_method)method;
    s->conflicts = (enum redis_conflicts)conflict;
    if (s->tls && s->host[0] == '/')
        return error_set(err, ERR_CONFIG_VALUE, "redis: TLS has no place on a unix socket");
    return setting_password(s->ctx, server, "redis", &s->password, err);
}

int redis_settings_load(const struct surface_context *ctx, const json_t *scratch, struct redis_settings **ret,
                        struct error *err) {
    struct redis_settings *s;
    int r = mem_alloc(sizeof *s, (void **)&s, err);
    if (r < 0) return r;
    s->ctx = ctx;
    s->scratch = scratch != NULL;
    s->timeout_ms = TIMEOUT_MS;
    r = load(s, scratch, err);
    if (r < 0)
        redis_settings_free(s);
    else
        *ret = s;
    return r;
}

void redis_settings_free(struct redis_settings *s) {
    if (!s) return;
    seam_free(s->host);
    seam_free(s->user);
    seam_free(s->ca);
    secret_free(s->password);
    seam_free(s);
}

void redis_settings_freep(struct redis_settings **s) {
    redis_settings_free(*s);
}

bool redis_settings_has(const struct redis_settings *s, uint64_t database) {
    char text[24];
    const json_t *v;
    size_t i;
    if (!s->databases) return true;
    snprintf(text, sizeof text, "%llu", (unsigned long long)database);
    json_array_foreach(s->databases, i, v) {
        const char *one = json_string_value(v);
        if (one && !strcmp(one, text)) return true;
    }
    return false;
}

/* ---- who is logged in where ---- */
struct login {
    const char *user, *ca;
    bool tls;
    struct secret *password;
};

static bool same_place(const char *a, unsigned a_port, const char *b, unsigned b_port) {
    return a && b && !strcmp(a, b) && (*a == '/' || a_port == b_port);
}

/* That of the settings is for their own server alone: a password that another server is sent may be read there. */
static int login_of(const struct redis_settings *s, const char *host, unsigned port, struct login *ret,
                    struct error *err) {
    const json_t *targets = json_object_get(json_object_get(s->ctx->settings, "server"), "targets"), *one;
    size_t i;
    *ret = (struct login){.tls = s->tls && host[0] != '/', .ca = s->ca};
    json_array_foreach(targets, i, one) {
        const json_t *p = json_object_get(one, "port");
        if (!same_place(host, port, json_text(one, "host", NULL), p ? (unsigned)json_integer_value(p) : PORT)) continue;
        *ret = (struct login){.user = json_text(one, "user", NULL),
                              .ca = json_text(one, "ca", NULL),
                              .tls = json_is_true(json_object_get(one, "tls"))};
        if (ret->tls && host[0] == '/')
            return error_set(err, ERR_CONFIG_VALUE, "redis: TLS has no place on a unix socket");
        return setting_password(s->ctx, one, "redis", &ret->password, err);
    }
    return 0;
}

int redis_connect(const struct redis_settings *s, const char *host, unsigned port, struct resp *ret,
                  struct error *err) {
    struct login l = {.user = s->user, .ca = s->ca, .tls = s->tls};
    bool other = host && !same_place(host, port, s->host, s->port);
    int r = other ? login_of(s, host, port, &l, err) : 0;
    const struct secret *password = other ? l.password : s->password;
    struct resp_server server = {.host = host ? host : s->host,
                                 .port = host ? port : s->port,
                                 .user = l.user,
                                 .password = password ? secret_bytes(password) : BYTES_OF(NULL, 0),
                                 .tls = l.tls,
                                 .ca = l.ca,
                                 .timeout_ms = s->timeout_ms};
    if (r == 0) r = resp_open(&server, ret, err);
    secret_free(l.password);
    return r;
}

void redis_note(const struct redis_settings *s, enum note_kind kind, const char *name, const char *text) {
    if (s->ctx->events.note) s->ctx->events.note(s->ctx->events.ctx, kind, BYTES_STR(name), text);
}

void redis_progress(const struct redis_settings *s, const char *phase, uint64_t bytes, uint64_t items) {
    if (s->ctx->events.progress) s->ctx->events.progress(s->ctx->events.ctx, phase, bytes, 0, items);
}
