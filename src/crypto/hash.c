/* The EVP interface fetches and allocates for every message, which for small chunks costs more than the hash; the plain
 * functions are deprecated for applications that choose algorithms at run time, which this one never does. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/seam.h"
#include "crypto/crypto_internal.h"
#include <openssl/md5.h>
#include <openssl/sha.h>

#define BLOCK_BYTES 64
#define HKDF_BYTES_MAX (255 * DIGEST_BYTES)

static void add(SHA256_CTX *c, struct bytes in) {
    if (in.len > 0) SHA256_Update(c, in.ptr, in.len);
}

void sha256(struct bytes in, struct digest *ret) {
    SHA256_CTX c;
    SHA256_Init(&c);
    add(&c, in);
    SHA256_Final(ret->b, &c);
}

int sha256_new(struct sha256_state **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct sha256_state), &p, err);
    if (rc < 0) return rc;
    struct sha256_state *s = p;
    SHA256_Init(&s->ctx);
    *ret = s;
    return 0;
}

void sha256_update(struct sha256_state *s, struct bytes in) {
    add(&s->ctx, in);
}

void sha256_finish(struct sha256_state *s, struct digest *ret) {
    SHA256_Final(ret->b, &s->ctx);
    SHA256_Init(&s->ctx);
}

int sha256_copy(const struct sha256_state *s, struct sha256_state **ret, struct error *err) {
    struct sha256_state *n;
    int rc = sha256_new(&n, err);
    if (rc < 0) return rc;
    n->ctx = s->ctx;
    *ret = n;
    return 0;
}

void sha256_free(struct sha256_state *s) {
    if (s != NULL) wipe(s, sizeof *s);
    seam_free(s);
}

void md5_many(const struct bytes *parts, size_t n, uint8_t ret[MD5_BYTES]) {
    MD5_CTX c;
    MD5_Init(&c);
    for (size_t i = 0; i < n; i++)
        if (parts[i].len > 0) MD5_Update(&c, parts[i].ptr, parts[i].len);
    MD5_Final(ret, &c);
}

struct hmac {
    SHA256_CTX inner, outer;
};

static void hmac_begin(struct hmac *h, struct bytes key) {
    uint8_t pad[BLOCK_BYTES] = {0};
    if (key.len > BLOCK_BYTES) {
        struct digest d;
        sha256(key, &d);
        memcpy(pad, d.b, DIGEST_BYTES);
        wipe(&d, sizeof d);
    } else if (key.len > 0) {
        memcpy(pad, key.ptr, key.len);
    }
    for (size_t i = 0; i < BLOCK_BYTES; i++) pad[i] ^= 0x36;
    SHA256_Init(&h->inner);
    SHA256_Update(&h->inner, pad, BLOCK_BYTES);
    for (size_t i = 0; i < BLOCK_BYTES; i++) pad[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&h->outer);
    SHA256_Update(&h->outer, pad, BLOCK_BYTES);
    wipe(pad, sizeof pad);
}

static void hmac_end(struct hmac *h, uint8_t out[DIGEST_BYTES]) {
    uint8_t d[DIGEST_BYTES];
    SHA256_Final(d, &h->inner);
    SHA256_Update(&h->outer, d, DIGEST_BYTES);
    SHA256_Final(out, &h->outer);
    wipe(d, sizeof d);
}

void hmac_sha256(struct bytes key, struct bytes in, struct digest *ret) {
    struct hmac h;
    hmac_begin(&h, key);
    add(&h.inner, in);
    hmac_end(&h, ret->b);
    wipe(&h, sizeof h);
}

int hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t out_len,
                struct error *err) {
    if (out_len > HKDF_BYTES_MAX)
        return error_set(err, ERR_CRYPTO, "HKDF-SHA256 gives at most %d bytes, %zu were asked for", HKDF_BYTES_MAX,
                         out_len);
    struct digest prk, t = {0};
    hmac_sha256(salt, ikm, &prk);
    struct hmac keyed, h;
    hmac_begin(&keyed, BYTES_OF(prk.b, DIGEST_BYTES));
    uint8_t round = 1;
    for (size_t at = 0; at < out_len; at += DIGEST_BYTES, round++) {
        h = keyed;
        if (round > 1) SHA256_Update(&h.inner, t.b, DIGEST_BYTES);
        add(&h.inner, info);
        SHA256_Update(&h.inner, &round, 1);
        hmac_end(&h, t.b);
        memcpy(out + at, t.b, out_len - at < DIGEST_BYTES ? out_len - at : DIGEST_BYTES);
    }
    wipe(&prk, sizeof prk);
    wipe(&t, sizeof t);
    wipe(&keyed, sizeof keyed);
    wipe(&h, sizeof h);
    return 0;
}
