#include "repo/cut.h"
#include "crypto/crypto.h"
#include "repo/cut_internal.h"
#include <assert.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

typedef size_t cut_find(const struct cutter *c, const uint8_t *p, size_t from, size_t to, uint32_t mask);

static cut_find *const find_of[] = {
    [CUT_SCALAR] = cut_find_scalar,
#if defined(__x86_64__)
    [CUT_AVX2] = cut_find_avx2,
    [CUT_AVX512] = cut_find_avx512,
#else
    [CUT_AVX2] = NULL,
    [CUT_AVX512] = NULL,
#endif
};

bool cutter_has(enum cut_kernel k) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (k == CUT_AVX2) return __builtin_cpu_supports("avx2");
    if (k == CUT_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vbmi");
#endif
    return k == CUT_SCALAR;
}

void cutter_use(struct cutter *c, enum cut_kernel k) {
    assert(cutter_has(k));
    c->kernel = k;
}

#if defined(__x86_64__)
/* Ticks of one kernel over the cutter's own tables, which are as good as random: the best of a few runs. */
static uint64_t race(const struct cutter *c, enum cut_kernel k) {
    uint64_t best = UINT64_MAX;
    for (int run = 0; run < 5; run++) {
        const uint64_t start = __rdtsc();
        volatile size_t at = find_of[k](c, (const uint8_t *)c, CUT_WARM_BYTES, 1024 + sizeof c->derived, 0xffffffc0u);
        (void)at;
        const uint64_t ticks = __rdtsc() - start;
        if (ticks < best) best = ticks;
    }
    return best;
}
#endif

static enum cut_kernel fastest(const struct cutter *c) {
#if defined(__x86_64__)
    if (cutter_has(CUT_AVX512)) return CUT_AVX512;
    /* Gathers are quick on some CPUs and, by microcode against data sampling, slower than scalar code on others; the
     * cuts are the same, so it is safe to let them race. */
    if (cutter_has(CUT_AVX2) && race(c, CUT_AVX2) < race(c, CUT_SCALAR)) return CUT_AVX2;
#else
    (void)c;
#endif
    return CUT_SCALAR;
}

int cutter_init(struct cutter *c, struct bytes cut_key, struct error *err) {
    uint8_t table[1024];
    if (cut_key.len != KEY_BYTES) return error_set(err, ERR_CRYPTO, "the cut key has %zu bytes, not 32", cut_key.len);
    if (hkdf_sha256(cut_key, BYTES_OF(NULL, 0), BYTES_STR("proofkeep/v1/gear"), table, sizeof table, err) != 0)
        return error_wrap(err, "deriving the cutting table");
    memset(c->derived, 0, sizeof c->derived);
    for (size_t i = 0; i < 256; i++) {
        c->gear[i] = get_u32(table + 4 * i);
        for (size_t plane = 0; plane < 4; plane++) c->derived[256 * plane + i] = table[4 * i + plane];
    }
    wipe(table, sizeof table);
    c->kernel = fastest(c);
    return 0;
}

size_t cutter_next(const struct cutter *c, const struct cut_params *p, struct bytes data, bool final) {
    assert(p->min_bytes >= 64 && p->min_bytes < p->avg_bytes && p->avg_bytes < p->max_bytes &&
           p->max_bytes <= 8u << 20 && (p->avg_bytes & (p->avg_bytes - 1)) == 0);
    const unsigned log = (unsigned)__builtin_ctz(p->avg_bytes);
    const uint32_t hard = ~(uint32_t)0 << (31 - log), easy = ~(uint32_t)0 << (33 - log);
    const size_t len = data.len < p->max_bytes ? data.len : p->max_bytes;
    cut_find *const find = find_of[c->kernel];

    size_t from = p->min_bytes - 1;
    const size_t turn = p->avg_bytes - 1 < len ? p->avg_bytes - 1 : len;
    if (from < turn) {
        const size_t at = find(c, data.ptr, from, turn, hard);
        if (at < turn) return at + 1;
    }
    from = p->avg_bytes - 1;
    if (from < len) {
        const size_t at = find(c, data.ptr, from, len, easy);
        if (at < len) return at + 1;
    }
    return len == p->max_bytes || final ? len : 0;
}
