#include "base/http.h"
#include "base/seam.h"
#include "platform/config_internal.h"
#include "platform/schema.h"
#include "store/store.h"

#define URL_BYTES_MAX ((size_t)3500)

static int put(struct buf *url, const char *name, const char *value, struct error *err) {
    if (!value) return 0;
    bool first = memchr(url->ptr, '?', url->len) == NULL;
    int rc = buf_printf(url, err, "%c%s=", first ? '?' : '&', name);
    /* A colon may stand there, and addresses are for people to read. */
    for (const char *p = value; rc == 0 && *p; p++)
        rc = *p == ':' ? buf_append(url, p, 1, err) : http_escape(url, BYTES_OF(p, 1), true, err);
    return rc;
}

static const char *word(const char *name, int value) {
    const struct schema *repository = schema_find(&schema_root, "repositories")->object;
    return schema_enum_name(schema_find(schema_find(repository, "s3")->object, name), value);
}

static int join(const struct config_s3 *s, struct buf *url, struct error *err) {
    char connections[24];
    snprintf(connections, sizeof connections, "%lld", (long long)s->connections.value);
    const struct {
        const char *name, *value;
    } all[] = {
        {"endpoint", s->endpoint},
        {"region", s->region},
        {"style", word("style", s->style)},
        {"ca_file", s->ca_file},
        {"credentials_file", s->credentials_file},
        {"profile", s->profile},
        {"sse", word("sse", s->sse)},
        {"kms_key", s->kms_key},
        {"storage_class", s->storage_class},
        {"data_storage_class", s->data_storage_class},
        {"payload_digests", word("payload_digests", s->payload_digests)},
        {"bandwidth", s->bandwidth.set ? s->bandwidth.text : NULL},
        {"timeout", s->timeout.state == CONFIG_SET ? s->timeout.text : NULL},
        {"connections", s->connections.set ? connections : NULL},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all && rc == 0; i++) rc = put(url, all[i].name, all[i].value, err);
    return rc < 0 ? rc : buf_terminate(url, err);
}

int config_s3_join(struct config_reader *r, struct config_repository *repository, struct error *err) {
    const struct config_s3 *s = repository->s3;
    const struct config_immutability *lock = repository->immutability;
    if (lock && strncmp(repository->url, "s3://", 5) != 0) {
        r->file = lock->head.file;
        return config_refuse(r, ERR_CONFIG_KEY, lock->head.line, lock->head.column, err,
                             "repositories.%s.immutability wants a bucket, and its url names a folder",
                             repository->head.name);
    }
    if (!s) return 0;
    r->file = s->head.file;
    if (strncmp(repository->url, "s3://", 5) != 0)
        return config_refuse(r, ERR_CONFIG_KEY, s->head.line, s->head.column, err,
                             "repositories.%s.s3 says how a bucket is reached, and its url names none",
                             repository->head.name);
    if (s->credentials && s->credentials_file)
        return config_refuse(r, ERR_CONFIG_KEY, s->head.line, s->head.column, err,
                             "repositories.%s.s3 has both credentials and credentials_file", repository->head.name);
    CLEANUP(buf_free) struct buf url = BUF_INIT(URL_BYTES_MAX);
    struct error e = ERROR_INIT;
    int rc = buf_append_str(&url, repository->url, err);
    if (rc == 0) rc = join(s, &url, err);
    if (rc < 0) return rc;
    if (store_url_check((const char *)url.ptr, &e) < 0)
        return config_refuse(r, ERR_CONFIG_VALUE, s->head.line, s->head.column, err, "repositories.%s.s3: %s",
                             repository->head.name, e.text);
    return config_copy(r->config, (const char *)url.ptr, &repository->url, err);
}
