#include "surface/neo4j/neo4j_internal.h"
#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include "surface/setting.h"

#define TIMEOUT_MS 60000
#define PORT 7687

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
    int r = setting_text(scratch ? scratch : dbms, "host", "neo4j", &s->host, err);
    s->port = port ? (unsigned)json_integer_value(port) : PORT;
    if (r == 0 && !s->host) r = mem_strdup("127.0.0.1", &s->host, err);
    if (r == 0 && !scratch) r = setting_text(dbms, "database", "neo4j", &s->database, err);
    if (r == 0 && !s->database) r = mem_strdup("neo4j", &s->database, err);
    if (r == 0 && scratch) r = neo4j_scratch_password(scratch, &s->password, err);
    if (r < 0 || scratch) return r;
    s->tls = json_is_true(json_object_get(dbms, "tls"));
    s->labels = json_object_get(dbms, "labels");
    if ((r = setting_text(dbms, "user", "neo4j", &s->user, err)) < 0 ||
        (r = setting_text(dbms, "ca", "neo4j", &s->ca, err)) < 0)
        return r;
    if ((r = setting_text(dbms, "query", "neo4j", &s->query, err)) < 0) return r;
    r = choose_method(s, dbms, err);
    return r == 0 ? setting_password(s->ctx, dbms, "neo4j", &s->password, err) : r;
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
