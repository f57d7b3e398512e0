#include "store/s3/credentials.h"
#include "base/http.h"
#include "base/seam.h"
#include "base/time.h"
#include <stdlib.h>

#define METADATA_CONNECT_MS 1000
#define METADATA_STALL_MS 3000

struct credential_chain {
    pthread_mutex_t lock; /* held while credentials are had, so that they are had once */
    struct credential *now;
    char file[1024], profile[128];
    int (*secret)(void *ctx, struct secret **ret, struct error *err);
    void *ctx;
    struct http *metadata; /* NULL until needed; past every proxy */
};

void credential_release(struct credential *c) {
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1) return;
    secret_free(c->secret_key);
    secret_free(c->token);
    seam_free(c);
}

int credential_make(const char *access_key, struct bytes secret_key, struct bytes token, int64_t expires_ns,
                    const char *source, struct credential **ret, struct error *err) {
    void *p;
    if (!*access_key || strlen(access_key) >= ACCESS_KEY_BYTES || strspn(access_key, "\r\n ") > 0)
        return error_set(err, ERR_S3_NO_CREDENTIALS, "%s: the access key is none", source);
    if (secret_key.len == 0) return error_set(err, ERR_S3_NO_CREDENTIALS, "%s: the secret key is empty", source);
    int rc = mem_alloc(sizeof(struct credential), &p, err);
    if (rc < 0) return rc;
    struct credential *c = p;
    atomic_init(&c->refs, 1);
    snprintf(c->access_key, sizeof c->access_key, "%s", access_key);
    snprintf(c->source, sizeof c->source, "%s", source);
    c->expires_ns = expires_ns;
    rc = secret_new(secret_key, &c->secret_key, err);
    if (rc == 0 && token.len > 0) {
        char line[4096]; /* a NUL after it, and not longer than a secret may be */
        if (token.len >= sizeof line || memchr(token.ptr, '\n', token.len) || memchr(token.ptr, '\r', token.len)) {
            rc = error_set(err, ERR_S3_NO_CREDENTIALS, "%s: the session token is none", source);
        } else {
            memcpy(line, token.ptr, token.len);
            line[token.len] = 0;
            rc = secret_new(BYTES_OF(line, token.len + 1), &c->token, err);
            wipe(line, sizeof line);
        }
    }
    if (rc < 0) {
        credential_release(c);
        return rc;
    }
    *ret = c;
    return 0;
}

int credential_chain_new(const struct credential_options *o, struct credential_chain **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct credential_chain), &p, err);
    if (rc < 0) return rc;
    struct credential_chain *c = p;
    pthread_mutex_init(&c->lock, NULL);
    if (o->credentials_file) snprintf(c->file, sizeof c->file, "%s", o->credentials_file);
    if (o->profile) snprintf(c->profile, sizeof c->profile, "%s", o->profile);
    c->secret = o->secret;
    c->ctx = o->ctx;
    *ret = c;
    return 0;
}

void credential_chain_free(struct credential_chain *c) {
    if (!c) return;
    credential_release(c->now);
    http_free(c->metadata);
    pthread_mutex_destroy(&c->lock);
    seam_free(c);
}

static const char *variable(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* ~/.aws/credentials or what a variable names instead; false when nobody knows a home. */
static bool file_path(const char *name, const char *tail, char out[1024]) {
    const char *v = variable(name), *home = variable("HOME");
    if (v) return snprintf(out, 1024, "%s", v) < 1024;
    return home && snprintf(out, 1024, "%s/.aws/%s", home, tail) < 1024;
}

static const char *profile_of(const struct credential_chain *c) {
    const char *v = variable("AWS_PROFILE");
    return c->profile[0] ? c->profile : v ? v : "default";
}

static int from_variables(struct credential **ret, char why[CREDENTIAL_WHY_BYTES], struct error *err) {
    const char *id = variable("AWS_ACCESS_KEY_ID"), *key = variable("AWS_SECRET_ACCESS_KEY");
    const char *token = variable("AWS_SESSION_TOKEN");
    if (!id || !key) {
        snprintf(why, CREDENTIAL_WHY_BYTES, "%s is not set", id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
        return 0;
    }
    return credential_make(id, BYTES_STR(key), token ? BYTES_STR(token) : BYTES_OF(NULL, 0), 0,
                           "the environment's variables", ret, err);
}

static int from_profile(struct credential_chain *c, struct credential **ret, char why[CREDENTIAL_WHY_BYTES],
                        struct error *err) {
    char path[1024];
    const char *profile = profile_of(c);
    size_t n = 0;
    static const char *const names[] = {"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"};
    static const char *const tails[] = {"credentials", "config"};
    if (c->file[0]) return credential_from_file(c->file, profile, false, ret, why, err);
    snprintf(why, CREDENTIAL_WHY_BYTES, "there is no HOME to look for .aws/credentials in");
    for (size_t i = 0; i < 2 && !*ret; i++) {
        char one[CREDENTIAL_WHY_BYTES] = "";
        if (!file_path(names[i], tails[i], path)) continue;
        int rc = credential_from_file(path, profile, i == 1, ret, one, err);
        if (rc < 0) return rc;
        n += (size_t)snprintf(why + n, n < CREDENTIAL_WHY_BYTES ? CREDENTIAL_WHY_BYTES - n : 0, "%s%s", i ? "; " : "",
                              one);
        if (n >= CREDENTIAL_WHY_BYTES) n = CREDENTIAL_WHY_BYTES - 1;
    }
    return 0;
}

static int from_secret(struct credential_chain *c, struct credential **ret, char why[CREDENTIAL_WHY_BYTES],
                       struct error *err) {
    CLEANUP(secret_freep) struct secret *s = NULL;
    int rc = c->secret(c->ctx, &s, err);
    return rc < 0
               ? rc
               : credential_from_text(secret_bytes(s), profile_of(c), "the configuration's credentials", ret, why, err);
}

static int need_metadata(struct credential_chain *c, struct error *err) {
    struct http_options o = {
        .connect_timeout_ms = METADATA_CONNECT_MS, .stall_ms = METADATA_STALL_MS, .no_proxy = true};
    return c->metadata ? 0 : http_new(&o, &c->metadata, err);
}

static int look(struct credential_chain *c, struct credential **ret, struct error *err) {
    char why[4][CREDENTIAL_WHY_BYTES] = {"", "", "", ""};
    bool given = c->secret && !c->file[0], named = given || c->file[0] || c->profile[0];
    int rc = 0;
    *ret = NULL;
    if (!named) rc = from_variables(ret, why[0], err);
    if (given) rc = from_secret(c, ret, why[0], err);
    if (rc == 0 && !*ret && !given) rc = from_profile(c, ret, why[1], err);
    if (rc == 0 && !*ret && !named) rc = need_metadata(c, err);
    if (rc == 0 && !*ret && !named) rc = credential_from_container(c->metadata, ret, why[2], err);
    if (rc == 0 && !*ret && !named) rc = credential_from_instance(c->metadata, ret, why[3], err);
    if (rc < 0 || *ret) return rc;
    error_set(err, ERR_S3_NO_CREDENTIALS, "no credentials: %s%s%.400s%s%s%s%s", why[0], why[0][0] ? "; " : "", why[1],
              why[2][0] ? "; " : "", why[2], why[3][0] ? "; " : "", why[3]);
    return -ERR_S3_NO_CREDENTIALS;
}

int credential_get(struct credential_chain *c, const struct credential *refused, struct credential **ret,
                   struct error *err) {
    pthread_mutex_lock(&c->lock);
    int rc = 0;
    bool again = !c->now || c->now == refused ||
                 (c->now->expires_ns != 0 && c->now->expires_ns - CREDENTIAL_FRESH_NS < time_now_ns());
    if (again) {
        struct credential *found = NULL;
        struct error e = ERROR_INIT;
        rc = look(c, &found, &e);
        if (rc == 0) {
            credential_release(c->now);
            c->now = found;
        } else if (c->now && c->now != refused && c->now->expires_ns > time_now_ns()) {
            rc = 0; /* the old one still serves; the next request tries again */
        } else {
            *err = e;
        }
    }
    if (rc == 0) {
        atomic_fetch_add(&c->now->refs, 1);
        *ret = c->now;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int credential_region(struct credential_chain *c, char out[64], struct error *err) {
    static const char *const names[] = {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"};
    static const char *const tails[] = {"config", "credentials"};
    char path[1024];
    const char *v = variable("AWS_REGION");
    if (!v) v = variable("AWS_DEFAULT_REGION");
    out[0] = 0;
    if (v) snprintf(out, 64, "%s", v);
    for (size_t i = 0; i < 2 && !out[0]; i++) {
        if (!file_path(names[i], tails[i], path)) continue;
        int rc = credential_file_region(path, profile_of(c), i == 0, out, err);
        if (rc < 0) return rc;
    }
    if (!out[0]) snprintf(out, 64, "us-east-1");
    if (strspn(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != strlen(out))
        return error_set(err, ERR_CONFIG_VALUE, "'%s' is no name of a region", out);
    return 0;
}
