#include "surface/neo4j/neo4j_internal.h"

#include "base/seam.h"

#define TIMEOUT_MS 60000
#define PORT 7687

static int text_of(const json_t *o, const char *key, char **ret, struct error *err) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return 0;
    if (!json_is_string(v)) return error_set(err, ERR_CONFIG_VALUE, "neo4j: %s wants a text", key);
    return mem_strdup(json_string_value(v), ret, err);
}

static int password(struct neo4j_settings *s, const json_t *dbms, struct error *err) {
    char *ref = NULL;
    int r = text_of(dbms, "password", &ref, err);
    if (r == 0 && ref && !s->ctx->secret)
        r = error_set(err, ERR_SECRET, "the password %s cannot be had here", ref);
    else if (r == 0 && ref)
        r = s->ctx->secret(s->ctx->secret_ctx, ref, &s->password, err);
    seam_free(ref);
    return r < 0 ? error_wrap(err, "neo4j: password of %s", s->ctx->name ? s->ctx->name : "the surface") : 0;
}

static int choose_method(struct neo4j_settings *s, const json_t *dbms, struct error *err) {
    const char *v = json_string_value(json_object_get(dbms, "method"));
    s->method = v && !strcmp(v, "offline") ? NEO4J_OFFLINE : NEO4J_LOGICAL;
    if (v && strcmp(v, "offline") != 0 && strcmp(v, "logical") != 0)
        return error_set(err, ERR_CONFIG_VALUE, "neo4j: method cannot be %s", v);
    if (s->labels && s->query)
        return error_set(err, ERR_CONFIG_VALUE, "neo4j: labels and query exclude each other: a query can name labels");
    if (s->method == NEO4J_OFFLINE && (s->labels || s->query))
        return error_set(err, ERR_CONFIG_VALUE, "neo4j: labels and query are of the method logical");
    return 0;
}

static int load(struct neo4j_settings *s, const json_t *scratch, struct error *err) {
    const json_t *dbms = json_object_get(s->ctx->settings, "dbms");
    const json_t *port = json_object_get(scratch ? scratch : dbms, "port");
    int r = text_of(scratch ? scratch : dbms, "host", &s->host, err);
    s->port = port ? (unsigned)json_integer_value(port) : PORT;
    if (r == 0 && !s->host) r = mem_strdup("127.0.0.1", &s->host, err);
    if (r == 0 && !scratch) r = text_of(dbms, "database", &s->database, err);
    if (r == 0 && !s->database) r = mem_strdup("neo4j", &s->database, err);
    if (r < 0 || scratch) return r;
    s->tls = json_is_true(json_object_get(dbms, "tls"));
    s->labels = json_object_get(dbms, "labels");
    if ((r = text_of(dbms, "user", &s->user, err)) < 0 || (r = text_of(dbms, "ca", &s->ca, err)) < 0) return r;
    if ((r = text_of(dbms, "query", &s->query, err)) < 0) return r;
    r = choose_method(s, dbms, err);
    return r == 0 ? password(s, dbms, err) : r;
}

int neo4j_settings_load(const struct surface_context *ctx, const json_t *scratch, struct neo4j_settings **ret,
                        struct error *err) {
    struct neo4j_settings *s;
    int r = mem_alloc(sizeof *s, (void **)&s, err);
    if (r < 0) return r;
    s->ctx = ctx;
    s->scratch = scratch != NULL;
    s->timeout_ms = TIMEOUT_MS;
    r = load(s, scratch, err);
    if (r < 0)
        neo4j_settings_free(s);
    else
        *ret = s;
    return r;
}

void neo4j_settings_free(struct neo4j_settings *s) {
    if (!s) return;
    seam_free(s->host);
    seam_free(s->user);
    seam_free(s->ca);
    seam_free(s->database);
    seam_free(s->query);
    secret_free(s->password);
    seam_free(s);
}

void neo4j_settings_freep(struct neo4j_settings **s) {
    neo4j_settings_free(*s);
}

void neo4j_note(const struct neo4j_settings *s, enum note_kind kind, const char *name, const char *text) {
    if (s->ctx->events.note) s->ctx->events.note(s->ctx->events.ctx, kind, BYTES_STR(name), text);
}

void neo4j_progress(const struct neo4j_settings *s, const char *phase, uint64_t bytes, uint64_t items) {
    if (s->ctx->events.progress) s->ctx->events.progress(s->ctx->events.ctx, phase, bytes, 0, items);
}
