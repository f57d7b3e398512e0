#include "repo/parity.h"

#include "base/seam.h"
#include "crypto/sha256_x2.h"

#include <isa-l/erasure_code.h>
#include <string.h>

#define FOOT_BYTES 64u
#define HEAD_BYTES 32u
#define SUM_BYTES 16u /* of each shard's SHA-256 */
#define SHARD_MIN 512u
#define SHARDS_MAX 200u
#define TABLE_COEFFICIENT_BYTES 32u /* what ec_init_tables wants for each coefficient */
#define PACK_MAX (256u << 20)

static const char magic[8] = "PKPARITY";

struct layout {
    unsigned k, m;      /* shards of data, of parity */
    size_t shard, body; /* bytes of each; protected bytes before the section */
};

static size_t protected_of(const struct layout *l) {
    return l->body + FOOT_BYTES;
}
static size_t table_bytes(const struct layout *l) {
    return (size_t)(l->k + l->m) * SUM_BYTES;
}
/* What says how the pack is cut and what each shard's sum is. It stands on both sides of the parity. */
static size_t block_bytes(const struct layout *l) {
    return HEAD_BYTES + table_bytes(l) + DIGEST_BYTES;
}
static size_t section_bytes(const struct layout *l) {
    return 2 * block_bytes(l) + l->m * l->shard;
}

static struct layout layout_of(size_t protected_len, unsigned percent) {
    struct layout l = {.body = protected_len - FOOT_BYTES};
    l.shard = ((protected_len + SHARDS_MAX - 1) / SHARDS_MAX + 63) / 64 * 64;
    if (l.shard < SHARD_MIN) l.shard = SHARD_MIN;
    l.k = (unsigned)((protected_len + l.shard - 1) / l.shard);
    l.m = (l.k * percent + 99) / 100;
    if (l.m < 2) l.m = 2;
    return l;
}

size_t parity_bytes(size_t protected_len, unsigned percent) {
    if (!percent) return 0;
    struct layout l = layout_of(protected_len, percent);
    return section_bytes(&l);
}

size_t parity_room(size_t cap, unsigned percent) {
    size_t low = FOOT_BYTES, high = cap;
    if (!percent) return cap;
    while (low < high) {
        size_t mid = low + (high - low + 1) / 2;
        if (mid + parity_bytes(mid, percent) <= cap)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

/* A pack's shards: where each lies. Those of data that reach beyond the body lie in a copy, with the footer and zeros.
 */
struct shards {
    struct layout l;
    uint8_t *at[256];
    uint8_t *tail;
};

static int shards_open(struct shards *s, const struct layout *l, uint8_t *body, const uint8_t *foot, uint8_t *parity,
                       struct error *err) {
    size_t whole = l->body / l->shard, rest = l->body - whole * l->shard;
    void *mem;
    int rc = mem_alloc((l->k - whole) * l->shard, &mem, err);
    if (rc < 0) return rc;
    s->l = *l;
    s->tail = mem;
    memcpy(s->tail, body + whole * l->shard, rest);
    memcpy(s->tail + rest, foot, FOOT_BYTES);
    for (size_t i = 0; i < l->k; i++) s->at[i] = i < whole ? body + i * l->shard : s->tail + (i - whole) * l->shard;
    for (size_t i = 0; i < l->m; i++) s->at[l->k + i] = parity + i * l->shard;
    return 0;
}

static void shards_close(struct shards *s) {
    seam_free(s->tail);
}

static void sums(const struct shards *s, uint8_t *out) {
    struct bytes in[256] = {{0}};
    struct digest d[256];
    const unsigned n = s->l.k + s->l.m;
    for (unsigned i = 0; i < n; i++) in[i] = BYTES_OF(s->at[i], s->l.shard);
    sha256_many(in, d, n);
    for (unsigned i = 0; i < n; i++) memcpy(out + (size_t)i * SUM_BYTES, d[i].b, SUM_BYTES);
}

/* rows[] of the products of the k shards at in[] with `matrix`. */
static int multiply(const struct layout *l, const uint8_t *matrix, unsigned rows, uint8_t **in, uint8_t **out,
                    struct error *err) {
    void *mem;
    int rc = mem_alloc((size_t)rows * l->k * TABLE_COEFFICIENT_BYTES, &mem, err);
    if (rc < 0) return rc;
    ec_init_tables((int)l->k, (int)rows, (uint8_t *)matrix, mem);
    ec_encode_data((int)l->shard, (int)l->k, (int)rows, mem, in, out);
    seam_free(mem);
    return 0;
}

static int matrix_new(const struct layout *l, uint8_t **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc((size_t)(l->k + l->m) * l->k, &mem, err);
    if (rc < 0) return rc;
    gf_gen_cauchy1_matrix(mem, (int)(l->k + l->m), (int)l->k);
    *ret = mem;
    return 0;
}

static int encode(struct shards *s, struct error *err) {
    const struct layout *l = &s->l;
    uint8_t *matrix;
    int rc = matrix_new(l, &matrix, err);
    if (rc < 0) return rc;
    rc = multiply(l, matrix + (size_t)l->k * l->k, l->m, s->at, s->at + l->k, err);
    seam_free(matrix);
    return rc;
}

/* Shards must be encoded by now. */
static void block_write(const struct shards *s, uint8_t *out) {
    const struct layout *l = &s->l;
    struct digest d;
    memset(out, 0, HEAD_BYTES);
    memcpy(out, magic, sizeof magic);
    out[8] = 1;
    put_u16(out + 10, (uint16_t)l->k);
    put_u16(out + 12, (uint16_t)l->m);
    put_u32(out + 16, (uint32_t)l->shard);
    put_u64(out + 24, l->body);
    sums(s, out + HEAD_BYTES);
    sha256(BYTES_OF(out, HEAD_BYTES + table_bytes(l)), &d);
    memcpy(out + HEAD_BYTES + table_bytes(l), d.b, DIGEST_BYTES);
}

static int section_write(struct shards *s, uint8_t *out, struct error *err) {
    int rc = encode(s, err);
    if (rc < 0) return rc;
    block_write(s, out);
    memcpy(out + section_bytes(&s->l) - block_bytes(&s->l), out, block_bytes(&s->l));
    return 0;
}

int parity_make(struct bytes body, struct bytes foot, unsigned percent, uint8_t *out, struct error *err) {
    struct layout l = layout_of(body.len + FOOT_BYTES, percent);
    struct shards s;
    int rc = shards_open(&s, &l, (uint8_t *)body.ptr, foot.ptr, out + block_bytes(&l), err);
    if (rc < 0) return rc;
    rc = section_write(&s, out, err);
    shards_close(&s);
    return rc;
}

/* The block at p, when it is whole. */
static bool block_read(struct bytes found, const uint8_t *p, struct layout *ret) {
    size_t left = (size_t)(found.ptr + found.len - p);
    struct digest d;
    if (left < HEAD_BYTES || p[8] != 1) return false;
    struct layout l = {.k = get_u16(p + 10), .m = get_u16(p + 12), .shard = get_u32(p + 16), .body = get_u64(p + 24)};
    if (l.k == 0 || l.m == 0 || l.k > SHARDS_MAX || l.m > SHARDS_MAX / 4 || l.shard < SHARD_MIN || l.shard % 64 != 0 ||
        l.body > PACK_MAX || (protected_of(&l) + l.shard - 1) / l.shard != l.k || left < block_bytes(&l))
        return false;
    sha256(BYTES_OF(p, HEAD_BYTES + table_bytes(&l)), &d);
    if (memcmp(p + HEAD_BYTES + table_bytes(&l), d.b, DIGEST_BYTES) != 0) return false;
    *ret = l;
    return true;
}

static const uint8_t *block_find(struct bytes found, struct layout *ret) {
    const uint8_t *p = found.ptr, *end = found.ptr + found.len;
    while ((p = memmem(p, (size_t)(end - p), magic, sizeof magic)) && !block_read(found, p, ret)) p++;
    return p;
}

/* The lost shards of data from the others. `good` has the numbers of k shards that are whole. */
static int solve(struct shards *s, const unsigned *good, const unsigned *lost, unsigned lost_count, struct error *err) {
    const unsigned k = s->l.k;
    uint8_t *matrix = NULL, *rows = NULL, *inverse, *in[256], *out[256];
    void *mem = NULL;
    int rc = matrix_new(&s->l, &matrix, err);
    if (rc == 0 && (rc = mem_alloc(2 * (size_t)k * k, &mem, err)) == 0) {
        rows = mem;
        inverse = rows + (size_t)k * k;
        for (unsigned i = 0; i < k; i++) {
            memcpy(rows + (size_t)i * k, matrix + (size_t)good[i] * k, k);
            in[i] = s->at[good[i]];
        }
        if (gf_invert_matrix(rows, inverse, (int)k) != 0)
            rc = error_set(err, ERR_OBJECT_CORRUPT, "its parity cannot be solved");
        /* the rows of what is lost, over what was read already */
        for (unsigned i = 0; i < lost_count; i++) {
            memmove(rows + (size_t)i * k, inverse + (size_t)lost[i] * k, k);
            out[i] = s->at[lost[i]];
        }
        if (rc == 0) rc = multiply(&s->l, rows, lost_count, in, out, err);
    }
    seam_free(mem);
    seam_free(matrix);
    return rc;
}

static int mend(struct shards *s, const uint8_t *table, unsigned *ret_bad, struct error *err) {
    unsigned good[256], lost[256], good_count = 0, lost_count = 0, bad = 0;
    uint8_t is[256 * SUM_BYTES];
    sums(s, is);
    for (unsigned i = 0; i < s->l.k + s->l.m; i++) {
        if (memcmp(is + (size_t)i * SUM_BYTES, table + (size_t)i * SUM_BYTES, SUM_BYTES) == 0) {
            if (good_count < s->l.k) good[good_count++] = i;
        } else {
            bad++;
            if (i < s->l.k) lost[lost_count++] = i;
        }
    }
    *ret_bad = bad;
    if (good_count < s->l.k)
        return error_set(err, ERR_OBJECT_CORRUPT, "%u of its %u shards are damaged, and its parity mends up to %u", bad,
                         s->l.k + s->l.m, s->l.m);
    return lost_count ? solve(s, good, lost, lost_count, err) : 0;
}

/* Puts a copy of what was found into the place of a whole pack; what is cut off is zeros, and found damaged by its sum.
 */
static int assemble(struct bytes found, const uint8_t *block, const struct layout *l, uint8_t *pack, size_t total,
                    unsigned *ret_bad, struct error *err) {
    size_t at = l->body + block_bytes(l);
    struct shards s;
    memcpy(pack, found.ptr, found.len < total ? found.len : total);
    int rc = shards_open(&s, l, pack, pack + total - FOOT_BYTES, pack + at, err);
    if (rc < 0) return rc;
    rc = mend(&s, block + HEAD_BYTES, ret_bad, err);
    if (rc == 0) {
        size_t whole = l->body / l->shard * l->shard;
        memcpy(pack + whole, s.tail, l->body - whole);
        memcpy(pack + total - FOOT_BYTES, s.tail + (l->body - whole), FOOT_BYTES);
        rc = section_write(&s, pack + l->body, err);
    }
    shards_close(&s);
    return rc;
}

int parity_mend(struct bytes found, const struct digest *name, uint8_t **ret, size_t *ret_len, unsigned *ret_mended,
                struct error *err) {
    struct layout l;
    const uint8_t *block = found.len ? block_find(found, &l) : NULL;
    if (!block) return error_set(err, ERR_OBJECT_CORRUPT, "it has no parity that is whole");
    size_t total = protected_of(&l) + section_bytes(&l);
    unsigned bad = 0;
    void *mem;
    struct digest d;
    int rc = mem_alloc(total, &mem, err);
    if (rc < 0) return rc;
    rc = assemble(found, block, &l, mem, total, &bad, err);
    if (rc == 0) sha256(BYTES_OF(mem, total), &d);
    if (rc == 0 && !digest_equal(&d, name))
        rc = error_set(err, ERR_OBJECT_CORRUPT, "what its parity gives is not the pack of that name");
    if (rc < 0) {
        seam_free(mem);
        return rc;
    }
    *ret = mem;
    *ret_len = total;
    if (ret_mended) *ret_mended = bad;
    return 0;
}
