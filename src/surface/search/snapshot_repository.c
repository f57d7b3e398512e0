#include "surface/search/snapshot.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include <stdio.h>

#define RETURN_WAIT_S 600
#define STEP_MS 500

static const json_t *snapshot_of(const struct search_settings *s) {
    return json_object_get(json_object_get(s->ctx->settings, "cluster"), "snapshot");
}

/* The cluster's own words, under our code: what it says of a repository is about folders and buckets. */
static int reword(enum error_code code, struct error *err) {
    struct error e = *err;
    if (e.code != ERR_SEARCH_REPLY) return -(int)e.code;
    error_clear(err);
    return error_set(err, code, "%s", e.text);
}

static int path_of(struct buf *path, const char *name, const char *after, struct error *err) {
    return search_path(path, "/_snapshot/", name, after, err);
}

int engine_repository_verify(const struct search_client *c, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    char what[300];
    snprintf(what, sizeof what, "try out the snapshot repository %.200s", name);
    int r = path_of(&path, name, "/_verify", err);
    if (r == 0) r = search_ask(c, "POST", (const char *)path.ptr, NULL, NULL, NULL, what, err);
    return r < 0 ? reword(ERR_ENGINE_REPOSITORY, err) : 0;
}

static int put(const struct search_client *c, const char *name, const char *after, json_t *body, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    char what[300];
    snprintf(what, sizeof what, "register the snapshot repository %.200s", name);
    int r = body ? path_of(&path, name, after, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = search_ask(c, "PUT", (const char *)path.ptr, body, NULL, NULL, what, err);
    json_decref(body);
    return r;
}

static int do_register(const struct search_client *c, const char *name, const json_t *how, struct error *err) {
    const char *type = json_text(how, "type", "fs");
    bool fs = !strcmp(type, "fs");
    const char *location = json_text(how, "location", NULL), *bucket = json_text(how, "bucket", NULL);
    if (fs && !location) return error_set(err, ERR_CONFIG_VALUE, "cluster.snapshot.register: fs needs a location");
    if (!fs && !bucket) return error_set(err, ERR_CONFIG_VALUE, "cluster.snapshot.register: s3 needs a bucket");
    /* Described uncompressed, one description deduplicates against the former. */
    json_t *body = fs ? json_pack("{s:s, s:{s:s, s:b}}", "type", type, "settings", "location", location, "compress", 0)
                      : json_pack("{s:s, s:{s:s, s:s*, s:s*}}", "type", type, "settings", "bucket", bucket, "base_path",
                                  json_text(how, "base_path", NULL), "client", json_text(how, "client", NULL));
    int r = put(c, name, "", body, err);
    if (r == 0) {
        search_note(c->s, NOTE_WARNING, name, "there was no such snapshot repository: it was registered");
        return 0;
    }
    r = reword(ERR_ENGINE_REPOSITORY, err);
    if (strstr(err->text, "path.repo"))
        return error_state(err,
                           "nothing was registered: path.repo of every node has to name that folder or one above it");
    return error_state(err, "nothing was registered");
}

int engine_path_repo(const struct search_client *c, char out[1024], struct error *err) {
    json_t *j = NULL, *node;
    const char *key;
    int r = search_ask(c, "GET", "/_nodes/settings?filter_path=nodes.*.settings.path.repo", NULL, &j, NULL,
                       "ask for the nodes' path.repo", err);
    *out = 0;
    json_object_foreach(json_object_get(j, "nodes"), key, node) {
        const json_t *repo = json_object_get(json_object_get(json_object_get(node, "settings"), "path"), "repo");
        const char *first = json_string_value(json_is_array(repo) ? json_array_get(repo, 0) : repo);
        if (first && !*out) snprintf(out, 1024, "%s", first);
    }
    json_decref(j);
    return r;
}

static int folder_of(const struct search_client *c, const json_t *settings, char **ret, struct error *err) {
    const char *said = json_text(snapshot_of(c->s), "folder", NULL), *location = json_text(settings, "location", NULL);
    char base[1024], path[2200];
    if (said || (location && *location == '/')) return mem_strdup(said ? said : location, ret, err);
    if (!location) return 0;
    int r = engine_path_repo(c, base, err);
    if (r < 0 || !*base) return r;
    snprintf(path, sizeof path, "%s/%.1100s", base, location);
    return mem_strdup(path, ret, err);
}

/* {"type", "settings"}, or NULL. */
static int look(const struct search_client *c, const char *name, json_t **answer, const json_t **ret,
                struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    bool missing = false;
    int r = path_of(&path, name, "", err);
    if (r == 0)
        r = search_ask(c, "GET", (const char *)path.ptr, NULL, answer, &missing, "look for the snapshot repository",
                       err);
    *ret = json_object_get(*answer, name);
    return r;
}

static int bucket_of(const json_t *settings, struct engine_repository *ret, struct error *err) {
    const char *bucket = json_text(settings, "bucket", NULL), *base = json_text(settings, "base_path", NULL);
    int r = bucket ? mem_strdup(bucket, &ret->bucket, err) : 0;
    return r == 0 && base ? mem_strdup(base, &ret->base, err) : r;
}

static bool truth(const json_t *v) {
    return json_is_true(v) || (json_is_string(v) && !strcmp(json_string_value(v), "true"));
}

int engine_repository_open(const struct search_client *c, struct engine_repository *ret, struct error *err) {
    const json_t *config = snapshot_of(c->s), *how = json_object_get(config, "register"), *found = NULL;
    const char *name = json_text(config, "repository", NULL);
    json_t *answer = NULL;
    *ret = (struct engine_repository){0};
    if (!name) return error_set(err, ERR_CONFIG_VALUE, "method: snapshot needs cluster.snapshot.repository");
    if (!*name || strlen(name) > 200 || strpbrk(name, "*,/ "))
        return error_set(err, ERR_CONFIG_VALUE, "cluster.snapshot.repository: '%.200s' is not one name", name);
    int r = look(c, name, &answer, &found, err);
    if (r == 0 && !found && how) {
        json_decref(answer);
        answer = NULL;
        r = do_register(c, name, how, err);
        if (r == 0) r = look(c, name, &answer, &found, err);
    }
    if (r == 0 && !found)
        r = error_set(err, ERR_ENGINE_REPOSITORY, "%s has no snapshot repository %s", c->s->url, name);
    const char *location = json_text(how, "location", NULL);
    if (r == 0 && location && strcmp(json_text(json_object_get(found, "settings"), "location", ""), location) != 0)
        r = error_set(err, ERR_ENGINE_REPOSITORY,
                      "the snapshot repository %s is there already, at %.300s and not at %s", name,
                      json_text(json_object_get(found, "settings"), "location", "no location"), location);
    if (r == 0) {
        snprintf(ret->name, sizeof ret->name, "%s", name);
        snprintf(ret->type, sizeof ret->type, "%s", json_text(found, "type", ""));
        ret->readonly = truth(json_object_get(json_object_get(found, "settings"), "readonly")) ||
                        truth(json_object_get(json_object_get(found, "settings"), "read_only"));
        if (!strcmp(ret->type, "fs")) r = folder_of(c, json_object_get(found, "settings"), &ret->folder, err);
        if (!strcmp(ret->type, "s3")) r = bucket_of(json_object_get(found, "settings"), ret, err);
    }
    json_decref(answer);
    if (r == 0) r = engine_repository_verify(c, name, err);
    if (r < 0) engine_repository_free(ret);
    return r;
}

void engine_repository_free(struct engine_repository *r) {
    seam_free(r->folder);
    seam_free(r->bucket);
    seam_free(r->base);
    r->folder = r->bucket = r->base = NULL;
}

int engine_repository_lend(const struct search_client *c, const char *name, const char *folder, struct error *err) {
    json_t *body = json_pack("{s:s, s:{s:s, s:b}}", "type", "fs", "settings", "location", folder, "readonly", 1);
    int r = put(c, name, "", body, err);
    if (r == 0) return 0;
    r = reword(ERR_ENGINE_STAGING, err);
    if (strstr(err->text, "path.repo"))
        return error_state(
            err, "no index was changed: set path.repo in the configuration of every node to a folder that this "
                 "host can write too, and start them again");
    return error_state(err, "no index was changed");
}

int engine_repository_return(const struct search_client *c, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf path = BUF_INIT(8192);
    int64_t until = time_monotonic_ns() + RETURN_WAIT_S * NS_PER_S;
    int r = path_of(&path, name, "", err);
    while (r == 0) {
        bool missing = false;
        r = search_ask(c, "DELETE", (const char *)path.ptr, NULL, NULL, NULL, "unregister a snapshot repository", err);
        if (r < 0 && strstr(err->text, "repository_missing_exception")) missing = true;
        if (r == 0 || missing) {
            error_clear(err);
            return 0;
        }
        /* "trying to modify or unregister repository that is currently used": a restore that was left running */
        if (!strstr(err->text, "currently used") || time_monotonic_ns() > until) return reword(ERR_ENGINE_STAGING, err);
        error_clear(err);
        r = stop_check(err);
        (void)!seam_poll(NULL, 0, STEP_MS);
    }
    return r;
}
