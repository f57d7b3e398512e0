#include "base/seam.h"
#include "crypto/crypto_internal.h"
#include <sodium.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define SECRET_BYTES_MAX 4096u

/* The record lies on the same private mapping as its bytes, so one call releases both. */
struct secret {
    size_t len;
    size_t mapped;
    uint8_t bytes[];
};

void wipe(void *p, size_t n) {
    if (n > 0) sodium_memzero(p, n);
}

void key32_wipe(struct key32 *k) {
    wipe(k, sizeof *k);
}

static int secret_map(size_t len, struct secret **ret, struct error *err) {
    if (len == 0 || len > SECRET_BYTES_MAX)
        return error_set(err, ERR_SECRET, "a secret of %zu bytes cannot be kept: it must have 1 to %u", len,
                         SECRET_BYTES_MAX);
    size_t mapped = (sizeof(struct secret) + len + 4095) & ~(size_t)4095;
    struct secret *s = seam_mmap(mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) return error_set_errno(err, ERR_NO_MEMORY, "cannot map memory for a secret");
    /* Both are precautions that a container may forbid; a backup must not fail for want of them. */
    (void)mlock(s, mapped);
    (void)madvise(s, mapped, MADV_DONTDUMP);
    s->len = len;
    s->mapped = mapped;
    *ret = s;
    return 0;
}

int secret_new(struct bytes from, struct secret **ret, struct error *err) {
    struct secret *s;
    int rc = secret_map(from.len, &s, err);
    if (rc < 0) return rc;
    memcpy(s->bytes, from.ptr, from.len);
    *ret = s;
    return 0;
}

int secret_random(size_t len, struct secret **ret, struct error *err) {
    struct secret *s;
    int rc = secret_map(len, &s, err);
    if (rc < 0) return rc;
    rc = random_bytes(s->bytes, len, err);
    if (rc < 0) {
        secret_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

struct bytes secret_bytes(const struct secret *s) {
    return BYTES_OF(s->bytes, s->len);
}

void secret_free(struct secret *s) {
    if (s == NULL) return;
    size_t mapped = s->mapped;
    wipe(s, mapped);
    (void)seam_munmap(s, mapped);
}

void secret_freep(struct secret **s) {
    secret_free(*s);
    *s = NULL;
}

int random_bytes(void *p, size_t n, struct error *err) {
    uint8_t *at = p;
    while (n > 0) {
        ssize_t got = seam_getrandom(at, n < 256 ? n : 256);
        if (got <= 0) return error_set_errno(err, ERR_CRYPTO, "the system gave no random bytes");
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

int crypto_init(struct error *err) {
    if (sodium_init() < 0) return error_set(err, ERR_CRYPTO, "libsodium could not be initialised");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return error_set_errno(err, ERR_CRYPTO, "core dumps of this process could not be forbidden");
    /* Programs that we start are told secrets as well, and inherit this. Of 1 byte, as 0 does not stop the kernel from
     * handing a dump to a program (core(5)). */
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1});
    return aead_init(err);
}
