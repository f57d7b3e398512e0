#include "base/seam.h"
#include "crypto/crypto_internal.h"
#include <assert.h>
#include <openssl/evp.h>
#include <sodium.h>

#define MESSAGE_BYTES_MAX ((size_t)1 << 30)

struct aead {
    EVP_CIPHER_CTX *ctx;
};

/* Fetched once and kept for the life of the process. */
static EVP_CIPHER *fetched_gcm, *fetched_chacha;

int aead_init(struct error *err) {
    if (fetched_gcm == NULL) fetched_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (fetched_chacha == NULL) fetched_chacha = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    if (fetched_gcm == NULL || fetched_chacha == NULL)
        return error_set(err, ERR_CRYPTO, "OpenSSL offers no %s",
                         fetched_gcm == NULL ? "AES-256-GCM" : "ChaCha20-Poly1305");
    return 0;
}

enum cipher cipher_best(void) {
    return crypto_aead_aes256gcm_is_available() ? CIPHER_AES_256_GCM : CIPHER_CHACHA20_POLY1305;
}

int aead_new(enum cipher c, struct bytes key, struct aead **ret, struct error *err) {
    assert(fetched_gcm != NULL && fetched_chacha != NULL);
    if (c != CIPHER_AES_256_GCM && c != CIPHER_CHACHA20_POLY1305)
        return error_set(err, ERR_CRYPTO, "there is no cipher of number %d", (int)c);
    if (key.len != KEY_BYTES)
        return error_set(err, ERR_CRYPTO, "a cipher's key has %d bytes, not %zu", KEY_BYTES, key.len);
    void *p;
    int rc = mem_alloc(sizeof(struct aead), &p, err);
    if (rc < 0) return rc;
    struct aead *a = p;
    a->ctx = EVP_CIPHER_CTX_new();
    const EVP_CIPHER *cipher = c == CIPHER_AES_256_GCM ? fetched_gcm : fetched_chacha;
    if (a->ctx == NULL || EVP_EncryptInit_ex2(a->ctx, cipher, key.ptr, NULL, NULL) != 1) {
        aead_free(a);
        return error_set(err, ERR_CRYPTO, "OpenSSL did not set up a cipher");
    }
    *ret = a;
    return 0;
}

void aead_free(struct aead *a) {
    if (a == NULL) return;
    EVP_CIPHER_CTX_free(a->ctx);
    seam_free(a);
}

static int check_sizes(struct bytes aad, size_t len, struct error *err) {
    if (aad.len > MESSAGE_BYTES_MAX || len > MESSAGE_BYTES_MAX)
        return error_set(err, ERR_CRYPTO, "a message of %zu bytes with %zu bytes of associated data is over the limit",
                         len, aad.len);
    return 0;
}

/* OpenSSL takes a NULL or empty slice for the end of the message or for no output, so empty ones are never passed. */
static bool feed(EVP_CIPHER_CTX *ctx, struct bytes aad, struct bytes in, uint8_t *out) {
    int n = 0;
    if (aad.len > 0 && EVP_CipherUpdate(ctx, NULL, &n, aad.ptr, (int)aad.len) != 1) return false;
    if (in.len == 0) return true;
    return EVP_CipherUpdate(ctx, out, &n, in.ptr, (int)in.len) == 1 && n == (int)in.len;
}

int aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], struct bytes aad, struct bytes in, uint8_t *out,
              struct error *err) {
    int rc = check_sizes(aad, in.len, err);
    if (rc < 0) return rc;
    int n = 0;
    if (EVP_CipherInit_ex2(a->ctx, NULL, NULL, nonce, 1, NULL) != 1 || !feed(a->ctx, aad, in, out) ||
        EVP_CipherFinal_ex(a->ctx, out + in.len, &n) != 1 || n != 0 ||
        EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, out + in.len) != 1)
        return error_set(err, ERR_CRYPTO, "OpenSSL did not encrypt %zu bytes", in.len);
    return 0;
}

int aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], struct bytes aad, struct bytes in, uint8_t *out,
              struct error *err) {
    if (in.len < AEAD_TAG_BYTES)
        return error_set(err, ERR_OBJECT_CORRUPT, "an encrypted message has %zu bytes, fewer than its tag", in.len);
    size_t len = in.len - AEAD_TAG_BYTES;
    int rc = check_sizes(aad, len, err);
    if (rc < 0) return rc;
    uint8_t tag[AEAD_TAG_BYTES], none[1];
    memcpy(tag, in.ptr + len, sizeof tag);
    int n = 0;
    if (EVP_CipherInit_ex2(a->ctx, NULL, NULL, nonce, 0, NULL) != 1 ||
        EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES, tag) != 1 ||
        !feed(a->ctx, aad, BYTES_OF(in.ptr, len), out)) {
        wipe(out, len);
        return error_set(err, ERR_CRYPTO, "OpenSSL did not decrypt %zu bytes", len);
    }
    if (EVP_CipherFinal_ex(a->ctx, none, &n) != 1) {
        wipe(out, len);
        return error_set(err, ERR_OBJECT_CORRUPT,
                         "%zu encrypted bytes are not what was stored (their authentication tag does not hold)", len);
    }
    return 0;
}

static const uint8_t zero_nonce[AEAD_NONCE_BYTES];

void once_seal(const struct key32 *key, struct bytes aad, struct bytes in, uint8_t *out) {
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in.ptr, in.len, aad.ptr, aad.len, NULL, zero_nonce, key->b);
}

bool once_open(const struct key32 *key, struct bytes aad, struct bytes in, uint8_t *out) {
    return crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in.ptr, in.len, aad.ptr, aad.len, zero_nonce,
                                                     key->b) == 0;
}
