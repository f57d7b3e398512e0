/* What an object store, its address and its credentials files say. The first byte picks the reader: 0 an answer in XML,
 * 1 an address, 2 credentials. Whatever the bytes: something whole, or an error with its reason. */
#include "base/seam.h"
#include "store/s3/s3_internal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

static int see(void *ctx, const char *path, struct bytes text, struct error *err) {
    (void)err;
    need(path[0] != '\0' && strlen(path) < 512 && (text.ptr != NULL || text.len == 0));
    ++*(size_t *)ctx;
    return 0;
}

static void answer(struct bytes in) {
    struct error err = ERROR_INIT;
    struct s3_fault f;
    size_t seen = 0;
    int rc = xml_walk(in, see, &seen, &err);
    need(rc == 0 ? seen > 0 : rc == -(int)err.code && err.text[0] != '\0');
    s3_fault_parse(in, &f);
    need(memchr(f.code, 0, sizeof f.code) && memchr(f.message, 0, sizeof f.message) &&
         memchr(f.region, 0, sizeof f.region));
    for (const char *p = f.message; *p; p++) need((unsigned char)*p >= 0x20);
    (void)s3_fault_passes(400, &f);
}

static void address(struct bytes in) {
    struct error err = ERROR_INIT;
    struct s3_place p;
    char *url = calloc(1, in.len + 1);
    need(url != NULL);
    if (in.len > 0) memcpy(url, in.ptr, in.len);
    int rc = s3_place_parse(url, &p, &err);
    if (rc < 0) {
        need(rc == -(int)err.code && err.text[0] != '\0');
    } else {
        size_t n = strlen(p.prefix);
        need(strlen(p.bucket) >= 3 && (n == 0 || p.prefix[n - 1] == '/') && p.connections >= 1);
        need(strspn(p.bucket, "abcdefghijklmnopqrstuvwxyz0123456789-.") == strlen(p.bucket));
    }
    free(url);
}

static void credentials(struct bytes in) {
    struct error err = ERROR_INIT;
    struct credential *c = NULL;
    char why[CREDENTIAL_WHY_BYTES] = "";
    int rc = credential_from_text(in, "default", "fuzz", &c, why, &err);
    need(rc < 0 ? rc == -(int)err.code && !c : c || why[0] != '\0');
    if (c) need(c->access_key[0] != '\0' && secret_bytes(c->secret_key).len > 0);
    credential_release(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        answer(in);
        break;
    case 1:
        address(in);
        break;
    default:
        credentials(in);
    }
    return 0;
}
