#include "base/time.h"
#include "store/s3/s3_internal.h"
#include <strings.h>

static void take_text(char *to, size_t cap, struct bytes text) {
    size_t n = text.len < cap - 1 ? text.len : cap - 1;
    for (size_t i = 0; i < n; i++) to[i] = (char)(text.ptr[i] < 0x20 || text.ptr[i] == 0x7f ? ' ' : text.ptr[i]);
    while (n > 0 && n == cap - 1 && (to[n - 1] & 0xc0) == 0x80) n--; /* not within a character */
    to[n] = 0;
}

static int take(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct s3_fault *f = ctx;
    const char *name = strrchr(path, '/');
    (void)err;
    if (!name) return 0;
    if (strcmp(name, "/Code") == 0) take_text(f->code, sizeof f->code, text);
    if (strcmp(name, "/Message") == 0) take_text(f->message, sizeof f->message, text);
    if (strcmp(name, "/Region") == 0) take_text(f->region, sizeof f->region, text);
    return 0;
}

void s3_fault_parse(struct bytes body, struct s3_fault *ret) {
    struct error e = ERROR_INIT;
    *ret = (struct s3_fault){.code = ""};
    /* What is no XML leaves the status to speak, but for what web servers say on a port of theirs that wants TLS. */
    if (body.ptr && body.len > 0 && xml_walk(body, take, ret, &e) < 0)
        ret->wants_tls = memmem(body.ptr, body.len, "HTTP request", 12) && memmem(body.ptr, body.len, "HTTPS", 5);
}

static bool is_one_of(const char *code, const char *const *names) {
    for (; *names; names++)
        if (strcmp(code, *names) == 0) return true;
    return false;
}

bool s3_fault_passes(int status, const struct s3_fault *f) {
    static const char *const codes[] = {"RequestTimeout",
                                        "SlowDown",
                                        "Throttling",
                                        "ThrottlingException",
                                        "RequestLimitExceeded",
                                        "TooManyRequests",
                                        "OperationAborted",
                                        "ConditionalRequestConflict",
                                        "InternalError",
                                        "ServiceUnavailable",
                                        "XAmzContentSHA256Mismatch",
                                        "BadDigest",
                                        "IncompleteBody",
                                        NULL};
    if (status == 429 || status == 408 || (status / 100 == 5 && status != 501 && status != 507)) return true;
    return is_one_of(f->code, codes);
}

static bool says(const struct s3_fault *f, const char *word) {
    return strcasestr(f->message, word) != NULL;
}

/* Which of our errors it is. */
static enum error_code kind_of(int status, const struct s3_fault *f, bool bucket) {
    static const char *const keys[] = {
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "UnrecognizedClientException",
        "InvalidSecurity",    "InvalidToken",          "InvalidTokenId",       NULL};
    static const char *const expired[] = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", NULL};
    static const char *const regions[] = {"AuthorizationHeaderMalformed",
                                          "PermanentRedirect",
                                          "TemporaryRedirect",
                                          "IllegalLocationConstraintException",
                                          "AuthorizationQueryParametersError",
                                          NULL};
    static const char *const skewed[] = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture", NULL};
    static const char *const full[] = {"QuotaExceeded",
                                       "ServiceQuotaExceeded",
                                       "XMinioAdminBucketQuotaExceeded",
                                       "XMinioStorageFull",
                                       "StorageFull",
                                       "InsufficientStorage",
                                       NULL};
    if (f->wants_tls) return ERR_NET_TLS;
    if (is_one_of(f->code, keys)) return ERR_S3_CREDENTIALS;
    if (is_one_of(f->code, expired)) return ERR_S3_EXPIRED;
    if (is_one_of(f->code, skewed)) return ERR_S3_SKEW;
    if (strcmp(f->code, "AuthorizationHeaderMalformed") == 0 && !f->region[0] && !says(f, "region"))
        return ERR_S3_CREDENTIALS;
    if (is_one_of(f->code, regions) || status == 301 || status == 307 || status == 308) return ERR_S3_REGION;
    if (is_one_of(f->code, full) || status == 507) return ERR_S3_QUOTA;
    if (strcmp(f->code, "NoSuchBucket") == 0) return ERR_S3_BUCKET;
    if (strcmp(f->code, "NoSuchKey") == 0 || strcmp(f->code, "NoSuchVersion") == 0 ||
        (status == 404 && !f->code[0] && !bucket))
        return ERR_OBJECT_MISSING;
    if (status == 404 && bucket) return ERR_S3_BUCKET;
    if (strcmp(f->code, "ObjectLocked") == 0 || says(f, "object lock") || says(f, "WORM") || says(f, "is locked") ||
        says(f, "legal hold") || says(f, "governance bypass"))
        return ERR_S3_LOCKED;
    if (strcmp(f->code, "InvalidObjectState") == 0) return ERR_S3_ARCHIVED;
    if (status == 401 || status == 403) return ERR_S3_DENIED;
    return s3_fault_passes(status, f) ? ERR_S3_BUSY : ERR_S3_REFUSED;
}

static int skew_error(const struct s3_call *c, const char *head, struct error *err) {
    char by[32], theirs[32];
    int64_t now = time_now_ns(), date = c->answer.date_ns;
    if (date == 0) return error_set(err, ERR_S3_SKEW, "%s", head);
    duration_format(now > date ? now - date : date - now, by);
    time_format(date, theirs);
    error_set(err, ERR_S3_SKEW, "%s; this host's clock is %s %s the server's, which says %s", head, by,
              now > date ? "ahead of" : "behind", theirs);
    return -ERR_S3_SKEW;
}

int s3_fault_error(struct s3_store *s, const struct s3_call *c, const struct s3_fault *f, struct error *err) {
    int status = c->answer.status;
    enum error_code kind = kind_of(status, f, c->key == NULL);
    const char *region = f->region[0] ? f->region : http_header(&c->answer, "x-amz-bucket-region");
    char head[800];
    snprintf(head, sizeof head, "cannot %.200s in %.200s: %.120s answers %d%s%s%s%.180s", c->what, s->name, s->host,
             status, f->code[0] ? " " : "", f->code, f->message[0] ? ": " : "", f->message);
    switch (kind) {
    case ERR_OBJECT_MISSING:
        return error_set(err, kind, "the object %s is not in %s", c->key ? c->key : "asked for", s->name);
    case ERR_S3_SKEW:
        return skew_error(c, head, err);
    case ERR_NET_TLS:
        error_set(err, kind, "%s: it wants TLS on that port, and was asked by plain HTTP", head);
        return error_next(err, "Say https:// in the endpoint.");
    case ERR_S3_REGION:
        error_set(err, kind, "%s; we asked as for the region %s%s%.64s", head, s->place.region,
                  region ? ", and the bucket is in " : "", region ? region : "");
        if (region) error_next(err, "Say region=%.64s in the URL, or region: in the configuration.", region);
        return -(int)kind;
    case ERR_S3_DENIED:
        error_set(err, kind, "%s", head);
        return error_next(err, "Grant %s on this bucket to the credentials, or use others that have it.", c->action);
    default:
        return error_set(err, kind, "%s", head);
    }
}
