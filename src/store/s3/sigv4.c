#include "store/s3/sigv4.h"
#include "base/seam.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include <stdio.h>

#define CANONICAL_BYTES_MAX ((size_t)64 << 10)
#define SECRET_KEY_BYTES_MAX 256

void sigv4_date(int64_t now_ns, char out[SIGV4_DATE_BYTES]) {
    char rfc[32];
    time_format(now_ns, rfc); /* 2013-05-24T00:00:00Z */
    snprintf(out, SIGV4_DATE_BYTES, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", rfc, rfc + 5, rfc + 8, rfc + 11, rfc + 14, rfc + 17);
}

static int put_names(const struct sigv4_request *q, struct buf *b, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < q->header_count && rc == 0; i++)
        rc = buf_printf(b, err, "%s%s", i ? ";" : "", q->headers[i].name);
    return rc;
}

static int canonical(const struct sigv4_request *q, struct buf *b, struct error *err) {
    int rc = buf_printf(b, err, "%s\n%s\n%s\n", q->method, q->path, q->query ? q->query : "");
    for (size_t i = 0; i < q->header_count && rc == 0; i++)
        rc = buf_printf(b, err, "%s:%s\n", q->headers[i].name, q->headers[i].value);
    if (rc == 0) rc = buf_append_str(b, "\n", err);
    if (rc == 0) rc = put_names(q, b, err);
    return rc < 0 ? rc : buf_printf(b, err, "\n%s", q->payload);
}

static void derive(const struct sigv4_request *q, struct bytes secret_key, struct digest *ret) {
    uint8_t first[4 + SECRET_KEY_BYTES_MAX] = "AWS4";
    memcpy(first + 4, secret_key.ptr, secret_key.len);
    hmac_sha256(BYTES_OF(first, 4 + secret_key.len), BYTES_OF(q->date, 8), ret);
    wipe(first, sizeof first);
    const struct bytes steps[] = {BYTES_STR(q->region), BYTES_STR(q->service), BYTES_STR("aws4_request")};
    for (size_t i = 0; i < 3; i++) {
        struct digest from = *ret;
        hmac_sha256(BYTES_OF(from.b, sizeof from.b), steps[i], ret);
        wipe(&from, sizeof from);
    }
}

int sigv4_authorize(const struct sigv4_request *q, const char *access_key, struct bytes secret_key, struct buf *out,
                    struct error *err) {
    if (secret_key.len > SECRET_KEY_BYTES_MAX)
        return error_set(err, ERR_SECRET, "the secret key of %s is longer than any", access_key);
    CLEANUP(buf_free) struct buf b = BUF_INIT(CANONICAL_BYTES_MAX);
    struct digest d, key;
    char hex[2 * DIGEST_BYTES + 1], scope[200];
    int rc = canonical(q, &b, err);
    if (rc < 0) return rc;
    sha256(buf_bytes(&b), &d);
    hex_encode(d.b, sizeof d.b, hex);
    snprintf(scope, sizeof scope, "%.8s/%s/%s/aws4_request", q->date, q->region, q->service);
    buf_clear(&b);
    rc = buf_printf(&b, err, "AWS4-HMAC-SHA256\n%s\n%s\n%s", q->date, scope, hex);
    if (rc < 0) return rc;
    derive(q, secret_key, &key);
    hmac_sha256(BYTES_OF(key.b, sizeof key.b), buf_bytes(&b), &d);
    wipe(&key, sizeof key);
    hex_encode(d.b, sizeof d.b, hex);
    buf_clear(out);
    rc = buf_printf(out, err, "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=", access_key, scope);
    if (rc == 0) rc = put_names(q, out, err);
    if (rc == 0) rc = buf_printf(out, err, ",Signature=%s", hex);
    return rc < 0 ? rc : buf_terminate(out, err);
}
