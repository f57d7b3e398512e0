/* Cryptographic primitives: OpenSSL for bulk work, libsodium for keys. crypto_init() first; all else is thread-safe.
 * Sources: FIPS 180-4 (SHA-256), RFC 2104 (HMAC), RFC 5869 (HKDF), NIST SP 800-38D (GCM), RFC 8439 (ChaCha20-Poly1305),
 * RFC 9106 (Argon2id), RFC 8032 (Ed25519), RFC 7748 (X25519). Every primitive but Argon2id can be had in Python's
 * `cryptography`, so that a reader without this program or libsodium opens a repository with a key file. */
#ifndef PK_CRYPTO_CRYPTO_H
#define PK_CRYPTO_CRYPTO_H

#include "base/bytes.h"
#include "base/error.h"

#define DIGEST_BYTES 32
#define KEY_BYTES 32
#define AEAD_TAG_BYTES 16
#define AEAD_NONCE_BYTES 12
#define SIGN_PUBLIC_BYTES 32
#define SIGN_SEED_BYTES 32
#define SIGN_BYTES 64
#define BOX_PUBLIC_BYTES 32
#define BOX_SECRET_BYTES 32
#define SEAL_OVERHEAD_BYTES 48

struct digest { uint8_t b[DIGEST_BYTES]; };
static inline bool digest_equal(const struct digest *a, const struct digest *b) { return memcmp(a->b, b->b, DIGEST_BYTES) == 0; }

/* A secret of fixed size (1 to 4096 bytes): on pages of its own, left out of core dumps, locked where RLIMIT_MEMLOCK
 * allows, wiped when freed, never printed. */
struct secret;
int secret_new(struct bytes from, struct secret **ret, struct error *err) PK_CHECK; /* copies; the caller wipes its own */
int secret_random(size_t len, struct secret **ret, struct error *err) PK_CHECK;
struct bytes secret_bytes(const struct secret *s); /* borrowed until secret_free */
void secret_free(struct secret *s);
void secret_freep(struct secret **s); /* for CLEANUP() */
void wipe(void *p, size_t n);

/* Initialise the libraries, forbid core dumps of this process (PR_SET_DUMPABLE 0) and of those that it starts (RLIMIT_CORE).
 * Before threads; again is harmless. */
int crypto_init(struct error *err) PK_CHECK;
int random_bytes(void *p, size_t n, struct error *err) PK_CHECK;

/* SHA-256 of one slice; allocates nothing, cannot fail. */
void sha256(struct bytes in, struct digest *ret);
/* The same over a message that comes in pieces; one thread at a time. */
struct sha256_state;
int sha256_new(struct sha256_state **ret, struct error *err) PK_CHECK;
void sha256_update(struct sha256_state *s, struct bytes in);
void sha256_finish(struct sha256_state *s, struct digest *ret); /* resets it for another message */
int sha256_copy(const struct sha256_state *s, struct sha256_state **ret, struct error *err) PK_CHECK;
void sha256_free(struct sha256_state *s);

/* Only for protocols that insist on it (Content-MD5): it proves nothing against anybody. */
#define MD5_BYTES 16
void md5_many(const struct bytes *parts, size_t n, uint8_t ret[MD5_BYTES]);

void hmac_sha256(struct bytes key, struct bytes in, struct digest *ret);
/* HKDF-SHA256, extract and expand; out_len <= 8160. */
int hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t out_len, struct error *err) PK_CHECK;

enum cipher { CIPHER_AES_256_GCM = 1, CIPHER_CHACHA20_POLY1305 = 2 };
enum cipher cipher_best(void); /* AES-256-GCM with AES instructions, else ChaCha20-Poly1305 */
/* A keyed AEAD context, reusable for many messages of at most 1 GiB, sealed and opened, for one thread at a time. */
struct aead;
int aead_new(enum cipher c, struct bytes key, struct aead **ret, struct error *err) PK_CHECK;
void aead_free(struct aead *a);
/* out has in.len + AEAD_TAG_BYTES bytes and may be in.ptr. */
int aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], struct bytes aad, struct bytes in, uint8_t *out, struct error *err) PK_CHECK;
/* out has in.len - AEAD_TAG_BYTES bytes and may be in.ptr. ERR_OBJECT_CORRUPT when the tag does not hold; out is then wiped. */
int aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], struct bytes aad, struct bytes in, uint8_t *out, struct error *err) PK_CHECK;

/* Ed25519 */
int sign_public(struct bytes seed, uint8_t pub[SIGN_PUBLIC_BYTES], struct error *err) PK_CHECK;
int sign_detached(struct bytes seed, struct bytes msg, uint8_t sig[SIGN_BYTES], struct error *err) PK_CHECK;
bool sign_verify(const uint8_t pub[SIGN_PUBLIC_BYTES], struct bytes msg, const uint8_t sig[SIGN_BYTES]);

/* Sealed boxes: anybody seals to a public key, only the secret opens. A box is epk(32) || ciphertext || tag(16), where
 * epk is a fresh X25519 key's public half, the key is HKDF-SHA256(X25519(esk, pub), salt = epk || pub,
 * info = "proofkeep/v1/box"), and the cipher ChaCha20-Poly1305 (RFC 8439) with a zero nonce (the key is used once) and no
 * associated data. Not libsodium's crypto_box_seal. `out` must not overlap `in`. */
int box_public(struct bytes secret, uint8_t pub[BOX_PUBLIC_BYTES], struct error *err) PK_CHECK;
int box_seal(const uint8_t pub[BOX_PUBLIC_BYTES], struct bytes in, uint8_t *out, struct error *err) PK_CHECK; /* in.len + 48 */
/* in.len - 48 bytes. ERR_KEY_WRONG when it is sealed to another key or altered, ERR_OBJECT_CORRUPT when shorter than 48;
 * out is then wiped. */
int box_open(struct bytes secret, struct bytes in, uint8_t *out, struct error *err) PK_CHECK;

/* Argon2id 1.3, one lane. Memory in bytes (8 KiB to 1 GiB, a multiple of 1 KiB), ops are passes (1 to 16); other values are
 * ERR_CRYPTO, as they may come from a hostile slot. out_len is 16 to 64. ERR_NO_MEMORY when the memory cannot be had. */
#define ARGON_OPS_MAX 16
#define ARGON_MEM_BYTES_MAX (UINT64_C(1) << 30)
#define ARGON_MEM_BYTES_MIN UINT64_C(8192)
int argon2id(struct bytes passphrase, const uint8_t salt[16], uint64_t ops, uint64_t mem_bytes, uint8_t *out, size_t out_len, struct error *err) PK_CHECK;

#endif
