#include "repo/run.h"

#define RUN_BYTES_MAX (UINT64_C(1) << 34)
#define EXPECTED_BYTES ((size_t)1 << 20)  /* a pack list of 32,000 names */
#define READ_STEP_BYTES ((size_t)8 << 20) /* room is not touched before bytes come */

static int bad(const char *key, const char *what, struct error *err) {
    error_clear(err);
    return error_set(err, ERR_OBJECT_CORRUPT, "%s: %s", key, what);
}

/* The whole object. Where a request takes long its size is not asked for first. */
static int body_read(struct repo *r, const char *key, uint8_t **ret, uint64_t *ret_size, size_t *ret_got,
                     struct error *err) {
    void *mem = NULL;
    size_t cap = 0, got = 0, n = 0;
    int rc = 0;
    if (!store_reads_many(r->store)) {
        if ((rc = store_stat(r->store, key, ret_size, NULL, err)) < 0) return rc;
        if (*ret_size < RUN_HEADER_BYTES || *ret_size > RUN_BYTES_MAX) return bad(key, "its size is impossible", err);
        if ((rc = mem_alloc(*ret_size, &mem, err)) < 0) return rc;
        *ret = mem;
        return store_read(r->store, key, 0, mem, *ret_size, ret_got, err);
    }
    for (size_t step = READ_STEP_BYTES; rc == 0 && got == cap; step *= 2) {
        if (cap > RUN_BYTES_MAX) rc = bad(key, "its size is impossible", err);
        if (rc == 0) rc = mem_grow(&mem, &cap, cap + step, 1, err);
        if (rc == 0) rc = store_read(r->store, key, got, (uint8_t *)mem + got, cap - got, &n, err);
        if (rc == 0) got += n;
    }
    if (rc == 0 && got < RUN_HEADER_BYTES) rc = bad(key, "its size is impossible", err);
    void *fit = rc == 0 ? seam_realloc(mem, got) : NULL;
    *ret = fit ? fit : mem;
    *ret_size = *ret_got = got;
    return rc;
}

static int read_once(struct repo *r, const struct digest *name, uint8_t type, uint8_t other, uint8_t *ret_type,
                     uint64_t *ret_entries, uint32_t *ret_packs, uint8_t **ret, size_t *ret_len, struct error *err) {
    char key[96];
    uint64_t size;
    size_t got;
    void *mem = NULL;
    struct aead *a = NULL;
    run_key(name, key);
    int rc = body_read(r, key, (uint8_t **)&mem, &size, &got, err);
    uint8_t *p = mem;
    if (rc < 0) goto out;
    struct digest d;
    sha256(BYTES_OF(p, got), &d);
    if (got != size || !digest_equal(&d, name)) {
        rc = bad(key, "its bytes are not those of its name", err);
        goto out;
    }
    uint64_t entries = get_u64(p + 16);
    uint32_t packs = get_u32(p + 24);
    if (memcmp(p, "PKINDEX1", 8) == 0 && memcmp(p + 64, r->id, 16) == 0 && p[10] > RUN_TYPE_KEPT) {
        rc = error_set(err, ERR_FORMAT_VERSION, "%s is of a type that is unknown here", key);
        goto out;
    }
    if (memcmp(p, "PKINDEX1", 8) != 0 || p[8] != FORMAT_VERSION || (p[10] != type && p[10] != other) ||
        memcmp(p + 64, r->id, 16) != 0 || (p[9] != CIPHER_AES_256_GCM && p[9] != CIPHER_CHACHA20_POLY1305)) {
        rc = bad(key, "its header is not that of such an object of this repository", err);
        goto out;
    }
    if (get_u16(p + RUN_EPOCH_AT) > r->epoch) {
        rc = bad(key, "its header names an epoch that the log does not know", err);
        goto out;
    }
    type = p[10];
    if ((rc = run_aead(r, p, &a, err)) < 0) goto out;
    size_t in = RUN_HEADER_BYTES, out = 0;
    uint8_t header[RUN_HEADER_BYTES];
    memcpy(header, p, sizeof header);
    for (uint64_t block = 0; in < size; block++) {
        uint8_t nonce[AEAD_NONCE_BYTES] = {0};
        put_u64(nonce, block);
        size_t n = size - in < RUN_BLOCK_BYTES + AEAD_TAG_BYTES ? size - in : RUN_BLOCK_BYTES + AEAD_TAG_BYTES;
        if (n < AEAD_TAG_BYTES ||
            aead_open(a, nonce, BYTES_OF(header, sizeof header), BYTES_OF(p + in, n), p + in, err) < 0) {
            rc = bad(key, "a block of it does not open", err);
            goto out;
        }
        memmove(p + out, p + in, n - AEAD_TAG_BYTES);
        in += n;
        out += n - AEAD_TAG_BYTES;
    }
    uint64_t want = type == RUN_TYPE_INDEX  ? entries * RUN_ENTRY_BYTES + (uint64_t)packs * RUN_PACK_BYTES
                    : type == RUN_TYPE_KEPT ? entries
                                            : entries * DIGEST_BYTES;
    if (entries > size || (type != RUN_TYPE_PARTS && out != want)) {
        rc = bad(key, "its body does not add up", err);
        goto out;
    }
    *ret_type = type;
    *ret_entries = entries;
    *ret_packs = packs;
    *ret = p;
    *ret_len = out;
    mem = NULL;
out:
    aead_free(a);
    seam_free(mem);
    return rc;
}

/* What this handle read before; 1 when it did. */
static int read_again(struct repo *r, const struct digest *name, uint8_t type, uint8_t other, uint8_t *ret_type,
                      uint64_t *ret_entries, uint32_t *ret_packs, uint8_t **ret, size_t *ret_len, struct error *err) {
    void *mem = NULL;
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < READ_BODIES && rc == 0; i++) {
        if (!r->read_bodies[i].body || !digest_equal(&r->read_bodies[i].name, name) ||
            (r->read_bodies[i].type != type && r->read_bodies[i].type != other))
            continue;
        rc = mem_dup(r->read_bodies[i].body, r->read_bodies[i].len, &mem, err);
        if (rc < 0) break;
        *ret_type = r->read_bodies[i].type;
        *ret_entries = r->read_bodies[i].entries;
        *ret_packs = r->read_bodies[i].packs;
        *ret = mem;
        *ret_len = r->read_bodies[i].len;
        rc = 1;
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static void read_keep(struct repo *r, const struct digest *name, uint8_t type, uint64_t entries, uint32_t packs,
                      const uint8_t *body, size_t len) {
    struct error e = ERROR_INIT;
    void *mem;
    if (!store_reads_many(r->store) || len == 0 || len > READ_BODY_MAX || mem_dup(body, len, &mem, &e) < 0) return;
    pthread_mutex_lock(&r->lock);
    const unsigned i = r->read_next++ % READ_BODIES;
    seam_free(r->read_bodies[i].body);
    r->read_bodies[i].name = *name;
    r->read_bodies[i].type = type;
    r->read_bodies[i].entries = entries;
    r->read_bodies[i].packs = packs;
    r->read_bodies[i].body = mem;
    r->read_bodies[i].len = len;
    pthread_mutex_unlock(&r->lock);
}

void run_expect(struct repo *r, const struct digest *name) {
    char key[96];
    bool have = false;
    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < READ_BODIES; i++)
        have |= r->read_bodies[i].body && digest_equal(&r->read_bodies[i].name, name);
    pthread_mutex_unlock(&r->lock);
    run_key(name, key);
    if (!have) store_expect(r->store, key, EXPECTED_BYTES, 1);
}

void run_read_drop(struct repo *r) {
    for (unsigned i = 0; i < READ_BODIES; i++) {
        seam_free(r->read_bodies[i].body);
        r->read_bodies[i].body = NULL;
    }
}

int run_read_either(struct repo *r, const struct digest *name, uint8_t type, uint8_t other, uint8_t *ret_type,
                    uint64_t *ret_entries, uint32_t *ret_packs, uint8_t **ret, size_t *ret_len, struct error *err) {
    char key[96];
    run_key(name, key);
    int rc = read_again(r, name, type, other, ret_type, ret_entries, ret_packs, ret, ret_len, err);
    if (rc) return rc < 0 ? rc : 0;
    rc = read_once(r, name, type, other, ret_type, ret_entries, ret_packs, ret, ret_len, err);
    if (rc == -ERR_OBJECT_CORRUPT && store_pin_first_version(r->store, key)) {
        error_clear(err);
        rc = read_once(r, name, type, other, ret_type, ret_entries, ret_packs, ret, ret_len, err);
    }
    if (rc == 0) read_keep(r, name, *ret_type, *ret_entries, *ret_packs, *ret, *ret_len);
    return rc;
}

int run_read_body(struct repo *r, const struct digest *name, uint8_t type, uint64_t *ret_entries, uint32_t *ret_packs,
                  uint8_t **ret, size_t *ret_len, struct error *err) {
    uint8_t found;
    return run_read_either(r, name, type, type, &found, ret_entries, ret_packs, ret, ret_len, err);
}

int packlist_read(struct repo *r, const struct digest *name, struct digest **ret, size_t *ret_n, struct error *err) {
    uint64_t n;
    uint32_t packs;
    uint8_t *body;
    size_t len;
    int rc = run_read_body(r, name, RUN_TYPE_PACKLIST, &n, &packs, &body, &len, err);
    if (rc < 0) return rc;
    *ret = (struct digest *)body;
    *ret_n = n;
    return 0;
}

int kept_read(struct repo *r, const struct digest *name, struct buf *ret, struct error *err) {
    uint64_t n;
    uint32_t packs;
    uint8_t *body;
    size_t len;
    int rc = run_read_body(r, name, RUN_TYPE_KEPT, &n, &packs, &body, &len, err);
    if (rc < 0) return rc;
    rc = buf_append(ret, body, len, err);
    seam_free(body);
    return rc;
}
