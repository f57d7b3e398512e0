#include "base/http.h"
#include "base/json.h"
#include "base/seam.h"
#include "base/time.h"
#include "store/s3/credentials.h"
#include <stdlib.h>

#define ANSWER_BYTES_MAX ((size_t)64 << 10)
#define TRIES 3

static const char *variable(const char *name) {
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static void wiped_free(struct buf *b) {
    if (b->ptr) wipe(b->ptr, b->cap);
    buf_free(b);
}

/* The answer's text when it is 200, else `why`. */
static bool ask(struct http *h, const char *method, const char *url, const char *header, struct buf *text,
                char why[CREDENTIAL_WHY_BYTES]) {
    struct error e = ERROR_INIT;
    struct http_request q = {.method = method, .url = url, .text = text, .timeout_ms = 5000};
    int status = 0;
    if (header) q.headers = &header, q.header_count = 1;
    for (unsigned i = 1; i <= TRIES && status == 0; i++) {
        struct http_response r;
        error_clear(&e);
        if (http_send(h, &q, &r, &e) == 0 && (r.status / 100 != 5 || i == TRIES)) status = r.status;
        http_response_free(&r);
        if (e.code == ERR_NET_REFUSED || e.code == ERR_NET_DNS) break;
        if (status == 0 && i < TRIES && http_wait(i, 100, 1000, 0, NULL, &e) < 0) break;
    }
    if (status == 200 && buf_terminate(text, &e) == 0) return true;
    if (status != 0)
        snprintf(why, CREDENTIAL_WHY_BYTES, "%.100s answers %d", url, status);
    else
        snprintf(why, CREDENTIAL_WHY_BYTES, "%.300s", e.text);
    return false;
}

static struct bytes member(json_t *j, const char *name) {
    json_t *v = json_object_get(j, name);
    return json_is_string(v) ? BYTES_OF(json_string_value(v), json_string_length(v)) : BYTES_OF(NULL, 0);
}

static void forget(struct bytes b) {
    if (b.ptr) wipe((void *)(uintptr_t)b.ptr, b.len);
}

int credential_from_json(struct bytes text, const char *source, struct credential **ret, struct error *err) {
    json_t *j = NULL;
    int rc = json_parse(text, ANSWER_BYTES_MAX, source, &j, err);
    if (rc < 0) return rc;
    struct bytes id = member(j, "AccessKeyId"), key = member(j, "SecretAccessKey"), token = member(j, "Token");
    if (!token.ptr) token = member(j, "SessionToken"); /* as a process says it */
    struct bytes until = member(j, "Expiration");
    int64_t expires_ns = 0;
    if (!id.ptr || !key.ptr || (until.ptr && !time_parse((const char *)until.ptr, &expires_ns)))
        rc = error_set(err, ERR_S3_NO_CREDENTIALS, "%s: the answer holds no credentials", source);
    else
        rc = credential_make((const char *)id.ptr, key, token, expires_ns, source, ret, err);
    forget(key);
    forget(token);
    json_decref(j);
    return rc;
}

/* Only to this host, or with nobody in between. */
static bool full_uri_ok(const char *uri) {
    static const char *const near[] = {"127.0.0.1",     "localhost",      "[::1]",
                                       "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    if (strncmp(uri, "https://", 8) == 0) return true;
    if (strncmp(uri, "http://", 7) != 0) return false;
    const char *host = uri + 7;
    size_t n = host[0] == '[' ? strcspn(host, "]/") + 1 : strcspn(host, ":/");
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        if (strlen(near[i]) == n && strncmp(host, near[i], n) == 0) return true;
    return false;
}

int credential_from_container(struct http *h, struct credential **ret, char why[CREDENTIAL_WHY_BYTES],
                              struct error *err) {
    const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    const char *token_file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    CLEANUP(wiped_free) struct buf text = BUF_INIT(ANSWER_BYTES_MAX), header = BUF_INIT(ANSWER_BYTES_MAX);
    CLEANUP(wiped_free) struct buf from_file = BUF_INIT(ANSWER_BYTES_MAX);
    char url[1024];
    if (!relative && !full) {
        snprintf(why, CREDENTIAL_WHY_BYTES, "no container's endpoint is named");
        return 0;
    }
    if (!relative && !full_uri_ok(full))
        return error_set(err, ERR_S3_NO_CREDENTIALS,
                         "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor on this host, so no credentials are "
                         "asked for there");
    snprintf(url, sizeof url, "%s%s", relative ? "http://169.254.170.2" : "", relative ? relative : full);
    int rc = buf_reserve(&header, 8192, err);
    if (rc == 0 && token_file) rc = io_read_file(AT_FDCWD, token_file, 4096, &from_file, err);
    if (rc == 0 && token_file) rc = buf_terminate(&from_file, err);
    if (rc < 0) return rc;
    if (token_file) token = (const char *)from_file.ptr;
    if (token) rc = buf_printf(&header, err, "Authorization: %.*s", (int)strcspn(token, "\r\n"), token);
    if (rc == 0) rc = buf_terminate(&header, err);
    if (rc < 0) return rc;
    if (!ask(h, "GET", url, token ? (const char *)header.ptr : NULL, &text, why)) return 0;
    return credential_from_json(buf_bytes(&text), "the container's credentials", ret, err);
}

int credential_from_instance(struct http *h, struct credential **ret, char why[CREDENTIAL_WHY_BYTES],
                             struct error *err) {
    const char *off = variable("AWS_EC2_METADATA_DISABLED"), *base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    CLEANUP(wiped_free) struct buf text = BUF_INIT(ANSWER_BYTES_MAX);
    char url[1024], header[2048], role[256];
    if (off && strcmp(off, "true") == 0) {
        snprintf(why, CREDENTIAL_WHY_BYTES, "the instance's metadata is switched off");
        return 0;
    }
    if (!base) base = "http://169.254.169.254";
    size_t n = strlen(base);
    while (n > 0 && base[n - 1] == '/') n--;
    snprintf(url, sizeof url, "%.*s/latest/api/token", (int)n, base);
    if (!ask(h, "PUT", url, "X-aws-ec2-metadata-token-ttl-seconds: 21600", &text, why)) return 0;
    if (text.len > 1500 || strcspn((char *)text.ptr, "\r\n") < text.len)
        return error_set(err, ERR_S3_NO_CREDENTIALS, "the instance's metadata gives no token");
    snprintf(header, sizeof header, "X-aws-ec2-metadata-token: %s", (char *)text.ptr);
    snprintf(url, sizeof url, "%.*s/latest/meta-data/iam/security-credentials/", (int)n, base);
    bool got = ask(h, "GET", url, header, &text, why);
    if (got) {
        size_t len = strcspn((char *)text.ptr, "\r\n");
        snprintf(role, sizeof role, "%.*s", (int)(len < 200 ? len : 200), (char *)text.ptr);
        snprintf(url, sizeof url, "%.*s/latest/meta-data/iam/security-credentials/%s", (int)n, base, role);
        got = role[0] && ask(h, "GET", url, header, &text, why);
    }
    wipe(header, sizeof header);
    return got ? credential_from_json(buf_bytes(&text), "the instance's role", ret, err) : 0;
}
