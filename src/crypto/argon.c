#include "crypto/crypto_internal.h"
#include <errno.h>
#include <sodium.h>

int argon2id(struct bytes passphrase, const uint8_t salt[16], uint64_t ops, uint64_t mem_bytes, uint8_t *out,
             size_t out_len, struct error *err) {
    if (ops < 1 || ops > ARGON_OPS_MAX || mem_bytes < ARGON_MEM_BYTES_MIN || mem_bytes > ARGON_MEM_BYTES_MAX ||
        mem_bytes % 1024 != 0 || out_len < 16 || out_len > 64)
        return error_set(
            err, ERR_CRYPTO,
            "Argon2id with %llu passes over %llu bytes is outside the limits (1 to %d passes, 8 KiB to 1 GiB)",
            (unsigned long long)ops, (unsigned long long)mem_bytes, ARGON_OPS_MAX);
    if (crypto_pwhash(out, out_len, (const char *)passphrase.ptr, passphrase.len, salt, ops, (size_t)mem_bytes,
                      crypto_pwhash_ALG_ARGON2ID13) != 0) {
        errno = ENOMEM;
        return error_set_errno(err, ERR_NO_MEMORY, "Argon2id could not have its %llu MiB of memory",
                               (unsigned long long)(mem_bytes >> 20));
    }
    return 0;
}
