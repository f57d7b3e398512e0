#include "surface/search/search_internal.h"

#include "base/seam.h"
#include "surface/setting.h"

#define URL "http://127.0.0.1:9200"
#define HEADER_MAX 16384

static int secret_of(const struct surface_context *ctx, const char *ref, struct secret **ret, struct error *err) {
    if (!ctx->secret) return error_set(err, ERR_SECRET, "the secret %s cannot be had here", ref);
    return ctx->secret(ctx->secret_ctx, ref, ret, err);
}

static int authorize(struct search_settings *s, const json_t *cluster, struct error *err) {
    const char *user = json_string_value(json_object_get(cluster, "user"));
    const char *password = json_string_value(json_object_get(cluster, "password"));
    const char *key = json_string_value(json_object_get(cluster, "api_key"));
    struct buf plain = BUF_INIT(HEADER_MAX);
    CLEANUP(secret_freep) struct secret *secret = NULL;
    int r = 0;
    if (!user && !password && !key) return 0;
    if (key && (user || password))
        return error_set(err, ERR_CONFIG_VALUE, "search: an api_key goes without user and password");
    if (!key && !(user && password)) return error_set(err, ERR_CONFIG_VALUE, "search: user and password go together");
    /* What is doubled may leave a copy behind; so there is room from the beginning. */
    r = buf_reserve(&s->authorization, HEADER_MAX / 2, err);
    if (r == 0) r = buf_reserve(&plain, HEADER_MAX / 4, err);
    if (r == 0) r = secret_of(s->ctx, key ? key : password, &secret, err);
    if (r == 0) r = buf_append_str(&s->authorization, key ? "authorization: ApiKey " : "authorization: Basic ", err);
    if (r == 0 && !key) r = buf_printf(&plain, err, "%s:", user);
    if (r == 0) r = buf_append(&plain, secret_bytes(secret).ptr, secret_bytes(secret).len, err);
    if (r == 0)
        r = key ? buf_append(&s->authorization, plain.ptr, plain.len, err)
                : base64_encode(&s->authorization, buf_bytes(&plain), err);
    if (r == 0) r = buf_terminate(&s->authorization, err);
    if (r == 0 && strpbrk((const char *)s->authorization.ptr, "\r\n"))
        r = error_set(err, ERR_SECRET, "the secret %s has a line break, which an API key has not", key);
    if (plain.ptr) wipe(plain.ptr, plain.cap);
    buf_free(&plain);
    return r;
}

static int identify(struct search_settings *s, const json_t *cluster, struct error *err) {
    const char *key = json_string_value(json_object_get(cluster, "key"));
    int r = setting_text(cluster, "certificate", "search", &s->certificate, err);
    if (r == 0 && !s->certificate != !key)
        r = error_set(err, ERR_CONFIG_VALUE, "search: certificate and key go together");
    return r == 0 && key ? secret_of(s->ctx, key, &s->key, err) : r;
}

static int load(struct search_settings *s, const json_t *scratch, const char *url, struct error *err) {
    const json_t *cluster = json_object_get(s->ctx->settings, "cluster");
    int r = 0;
    if (url)
        r = mem_strdup(url, &s->url, err);
    else
        r = setting_text(scratch ? scratch : cluster, "url", "search", &s->url, err);
    if (r == 0 && !s->url) r = mem_strdup(URL, &s->url, err);
    if (r < 0) return r;
    for (size_t n = strlen(s->url); n > 0 && s->url[n - 1] == '/';) s->url[--n] = 0;
    if (strncmp(s->url, "http://", 7) != 0 && strncmp(s->url, "https://", 8) != 0)
        return error_set(err, ERR_CONFIG_VALUE, "search: the cluster's url begins with neither http:// nor https://");
    if (strchr(s->url, '@'))
        return error_set(err, ERR_CONFIG_VALUE, "search: the cluster's url holds a password; name a secret instead");
    s->indices = json_object_get(cluster, "indices");
    s->exclude = json_object_get(cluster, "exclude");
    s->facets = json_object_get(cluster, "facets");
    r = setting_text(cluster, "distribution", "search", &s->distribution, err);
    if (r == 0) r = setting_text(cluster, "java_home", "search", &s->java_home, err);
    if (r == 0) r = setting_text(cluster, "run_as", "search", &s->run_as, err);
    if (r < 0 || scratch) return r;
    r = setting_text(cluster, "ca", "search", &s->ca, err);
    if (r == 0) r = identify(s, cluster, err);
    return r == 0 ? authorize(s, cluster, err) : r;
}

int search_settings_load(const struct surface_context *ctx, const json_t *scratch, const char *url,
                         struct search_settings **ret, struct error *err) {
    struct search_settings *s;
    int r = mem_alloc(sizeof *s, (void **)&s, err);
    if (r < 0) return r;
    s->ctx = ctx;
    s->scratch = scratch != NULL;
    s->authorization = BUF_INIT(HEADER_MAX);
    r = load(s, scratch, url, err);
    if (r < 0)
        search_settings_free(s);
    else
        *ret = s;
    return r;
}

void search_settings_free(struct search_settings *s) {
    if (!s) return;
    if (s->authorization.ptr) wipe(s->authorization.ptr, s->authorization.cap);
    buf_free(&s->authorization);
    seam_free(s->url);
    seam_free(s->ca);
    seam_free(s->certificate);
    secret_free(s->key);
    seam_free(s->distribution);
    seam_free(s->java_home);
    seam_free(s->run_as);
    seam_free(s);
}

void search_settings_freep(struct search_settings **s) {
    search_settings_free(*s);
}

void search_note(const struct search_settings *s, enum note_kind kind, const char *name, const char *text) {
    if (s->ctx->events.note) s->ctx->events.note(s->ctx->events.ctx, kind, BYTES_STR(name), text);
}

void search_progress(const struct search_settings *s, const char *phase, uint64_t bytes, uint64_t items) {
    if (s->ctx->events.progress) s->ctx->events.progress(s->ctx->events.ctx, phase, bytes, 0, items);
}
