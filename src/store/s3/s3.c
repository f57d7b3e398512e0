#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"

static int s3_free_space(struct store *st, uint64_t *ret_bytes, struct error *err) {
    (void)st, (void)err;
    *ret_bytes = UINT64_MAX;
    return 0;
}

static void s3_requests(struct store *st, struct store_requests *ret) {
    struct s3_store *s = (struct s3_store *)st;
    for (int i = 0; i < STORE_VERBS; i++) ret->count[i] = atomic_load(&s->asked[i]);
    ret->bytes_sent = atomic_load(&s->bytes_sent);
    ret->bytes_received = atomic_load(&s->bytes_received);
}

static void s3_close(struct store *st) {
    struct s3_store *s = (struct s3_store *)st;
    atomic_store(&s->closing, true);
    s3_stager_free(s->stager);
    s3_expect_end(st);
    pool_free(s->readers);
    s3_pins_free(s->pins);
    credential_chain_free(s->chain);
    http_free(s->http);
    if (s->access.free) s->access.free(s->access.ctx);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->soon_lock);
    pthread_cond_destroy(&s->soon_came);
    pthread_mutex_destroy(&s->pin_lock);
    seam_free(s);
}

static const struct store_version_ops s3_versions = {
    .list = s3_list_versions,
    .list_kept = s3_list_kept,
    .read = s3_read_version,
    .restore = s3_restore_version,
    .pin_first = s3_pin_first,
    .retention = s3_retention,
    .retain = s3_retain,
    .may_shorten = s3_may_shorten,
    .reclaim = s3_reclaim,
    .bucket = s3_bucket,
    .kept = s3_kept,
    .unkept_by_lists = s3_unkept_by_lists,
};

static const struct store_archive_ops s3_archive = {
    .look = s3_look_cold,
    .thaw = s3_thaw,
    .writes = s3_writes_cold,
};

static const struct store_ops s3_ops = {
    .name = "s3",
    .promises = STORE_ATOMIC_CREATE | STORE_READ_AFTER_WRITE | STORE_LIST_AFTER_WRITE,
    .stage = s3_stage,
    .stage_own = s3_stage_own,
    .commit = s3_commit,
    .create = s3_create,
    .create_timed = s3_create_timed,
    .replace = s3_replace,
    .read_tagged = s3_read_tagged,
    .replace_if = s3_replace_if,
    .read = s3_read,
    .stat = s3_stat,
    .list = s3_list,
    .remove = s3_remove,
    .free_space = s3_free_space,
    .close = s3_close,
    .probe = s3_probe,
    .versions = &s3_versions,
    .archive = &s3_archive,
    .get_many = s3_get_many,
    .expect = s3_expect,
    .expect_list = s3_expect_list,
    .expect_end = s3_expect_end,
    .remove_many = s3_remove_many,
    .tidy = s3_abort_stale,
    .requests = s3_requests,
};

/* Where requests go. AWS's own hosts end in amazonaws.com.cn in China. */
static int place_hosts(struct s3_store *s, struct error *err) {
    struct s3_place *p = &s->place;
    if (!p->endpoint[0])
        snprintf(p->endpoint, sizeof p->endpoint, "https://s3.%s.amazonaws.com%s", p->region,
                 strncmp(p->region, "cn-", 3) == 0 ? ".cn" : "");
    const char *host = strstr(p->endpoint, "://") + 3;
    int scheme = (int)(host - p->endpoint);
    if (p->path_style) {
        snprintf(s->host, sizeof s->host, "%s", host);
        snprintf(s->path_base, sizeof s->path_base, "/%s", p->bucket);
    } else {
        if (host[0] == '[' || strspn(host, "0123456789.:") == strlen(host))
            return error_set(err, ERR_USAGE,
                             "a bucket cannot be part of the host's name where that is a number: say style=path");
        snprintf(s->host, sizeof s->host, "%s.%s", p->bucket, host);
    }
    snprintf(s->url_base, sizeof s->url_base, "%.*s%s", scheme, p->endpoint, s->host);
    /* Clients leave the usual port out of the Host header, which is signed. */
    size_t n = strlen(s->host);
    const char *usual = scheme == 8 ? ":443" : ":80";
    if (n > strlen(usual) && strcmp(s->host + n - strlen(usual), usual) == 0) s->host[n - strlen(usual)] = 0;
    return 0;
}

int store_s3_open(const char *url, bool create, const struct store_access *a, struct store **ret, struct error *err) {
    void *p;
    (void)create;
    int rc = crypto_init(err);
    if (rc == 0) rc = mem_alloc(sizeof(struct s3_store), &p, err);
    if (rc < 0) {
        if (a && a->free) a->free(a->ctx);
        return rc;
    }
    struct s3_store *s = p;
    if (a) s->access = *a;
    s->base.ops = &s3_ops;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->soon_lock, NULL);
    pthread_cond_init(&s->soon_came, NULL);
    pthread_mutex_init(&s->pin_lock, NULL);
    rc = s3_place_parse(url, &s->place, err);
    if (rc == 0) {
        size_t n = strlen(s->place.prefix);
        snprintf(s->name, sizeof s->name, "s3://%s%s%.*s", s->place.bucket, n ? "/" : "", (int)(n ? n - 1 : 0),
                 s->place.prefix);
        if (s->place.timeout_ns == 0) s->place.timeout_ns = INT64_C(1000000) * HTTP_STALL_MS;
    }
    struct credential_options c = {s->place.credentials_file, s->place.profile, s->access.credentials, s->access.ctx};
    if (rc == 0) rc = credential_chain_new(&c, &s->chain, err);
    if (rc == 0 && !s->place.region[0]) rc = credential_region(s->chain, s->place.region, err);
    if (rc == 0) rc = place_hosts(s, err);
    struct http_options o = {
        .ca_file = s->place.ca_file[0] ? s->place.ca_file : NULL,
        .stall_ms = (int)(s->place.timeout_ns / 1000000),
        .upload_bytes_per_s = s->place.bytes_per_s,
        .download_bytes_per_s = s->place.bytes_per_s,
        .ahead = true,
    };
    if (rc == 0) rc = http_new(&o, &s->http, err);
    if (rc < 0) {
        s3_close(&s->base);
        return rc;
    }
    *ret = &s->base;
    return 0;
}
