/* Cutting, against a naive implementation written from doc/format/cutting.md alone. */
#include "base/seam.h"
#include "crypto/crypto.h"
#include "repo/cut.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DATA_BYTES (4u << 20)

struct world {
    struct cutter cutter;
    uint32_t gear[256]; /* derived here, block by block, from RFC 5869 */
    uint8_t *data;
};

static uint64_t rng_state;
static uint64_t rng(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}

static uint8_t *mem(size_t n) {
    struct error err = ERROR_INIT;
    void *p = NULL;
    assert_int_equal(mem_alloc(n + 1, &p, &err), 0);
    return p;
}

static void fill_random(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(rng() >> 32);
}

/* The specification, word for word: nothing rolls, every hash is the sum of its 32 terms. */
static uint32_t naive_hash(const uint32_t *gear, const uint8_t *chunk, size_t i) {
    uint32_t h = 0;
    for (size_t j = i - 31; j <= i; j++) h += gear[chunk[j]] << (i - j);
    return h;
}

static uint32_t top_bits(unsigned n) {
    uint32_t mask = 0;
    for (unsigned b = 0; b < n; b++) mask |= 1u << (31 - b);
    return mask;
}

static size_t naive_next(const uint32_t *gear, const struct cut_params *p, struct bytes data, bool final) {
    unsigned k = 0;
    while (1u << k != p->avg_bytes) k++;
    for (size_t i = 0; i < data.len; i++) {
        if (i + 1 == p->max_bytes) return i + 1;
        if (i + 1 < p->min_bytes) continue;
        const uint32_t mask = i + 1 < p->avg_bytes ? top_bits(k + 1) : top_bits(k - 1);
        if ((naive_hash(gear, data.ptr, i) & mask) == 0) return i + 1;
    }
    return final ? data.len : 0;
}

static void naive_table(struct bytes key, uint32_t gear[256]) {
    static const uint8_t zero_salt[32];
    static const char info[] = "proofkeep/v1/gear";
    struct digest prk, t = {{0}};
    uint8_t okm[1024], block[32 + sizeof info];
    hmac_sha256(BYTES_OF(zero_salt, 32), key, &prk);
    for (size_t n = 0; n < 32; n++) {
        size_t len = 0;
        if (n > 0) {
            memcpy(block, t.b, 32);
            len = 32;
        }
        memcpy(block + len, info, sizeof info - 1);
        len += sizeof info - 1;
        block[len++] = (uint8_t)(n + 1);
        hmac_sha256(BYTES_OF(prk.b, 32), BYTES_OF(block, len), &t);
        memcpy(okm + 32 * n, t.b, 32);
    }
    for (size_t i = 0; i < 256; i++)
        gear[i] = (uint32_t)okm[4 * i] | (uint32_t)okm[4 * i + 1] << 8 | (uint32_t)okm[4 * i + 2] << 16 |
                  (uint32_t)okm[4 * i + 3] << 24;
}

static const enum cut_kernel kernels[] = {CUT_SCALAR, CUT_AVX2, CUT_AVX512};
static const char *const kernel_names[] = {"scalar", "avx2", "avx512"};
#define KERNELS 3

static int setup(void **state) {
    struct error err = ERROR_INIT;
    struct world *w = NULL;
    uint8_t key[32];
    rng_state = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < 32; i++) key[i] = (uint8_t)i;
    if (mem_alloc(sizeof *w, (void **)&w, &err) != 0 || mem_alloc(DATA_BYTES, (void **)&w->data, &err) != 0) return -1;
    if (cutter_init(&w->cutter, BYTES_OF(key, 32), &err) != 0) return -1;
    naive_table(BYTES_OF(key, 32), w->gear);
    fill_random(w->data, DATA_BYTES);
    for (size_t k = 0; k < KERNELS; k++)
        if (!cutter_has(kernels[k])) print_message("# SKIP kernel %s: this CPU has it not\n", kernel_names[k]);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    seam_free(w->data);
    seam_free(w);
    return 0;
}

static const struct cut_params all_params[] = {
    {64, 128, 129},
    {64, 128, 256},
    {127, 128, 512},
    {64, 256, 8192},
    {65, 1024, 4096},
    {100, 512, 100000},
    {511, 512, 513},
    {512, 2048, 8192},
    {1024, 4096, 16384},
    {2048, 8192, 32768},
    {4096, 16384, 65536},
    {16384, 65536, 262144},
    {8192, 32768, 65536},
    {65536, 262144, 1 << 20},
    {1 << 18, 1 << 20, 4 << 20},
    {64, 65536, 1 << 20},
    {1 << 20, 4 << 20, 8 << 20},
    {1000, 1024, 8 << 20},
    {8191, 8192, 8193},
};
#define PARAMS (sizeof all_params / sizeof *all_params)

static void the_table_is_hkdf_of_the_key(void **state) {
    const struct world *w = *state;
    assert_memory_equal(w->cutter.gear, w->gear, sizeof w->gear);
}

static void keys_of_other_lengths_are_refused(void **state) {
    struct world *w = *state;
    for (size_t n = 0; n < 64; n++) {
        struct error err = ERROR_INIT;
        if (n == 32) continue;
        assert_int_equal(cutter_init(&w->cutter, BYTES_OF(w->data, n), &err), -ERR_CRYPTO);
        assert_non_null(strstr(err.text, "the cut key has "));
    }
}

/* Cut the whole of data with every kernel this CPU has, and compare each cut with `want`, or with the scalar kernel's.
 */
static void kernels_agree(struct world *w, const struct cut_params *p, struct bytes data, bool naive) {
    for (size_t at = 0; at < data.len;) {
        const struct bytes rest = BYTES_OF(data.ptr + at, data.len - at);
        cutter_use(&w->cutter, CUT_SCALAR);
        const size_t want = naive ? naive_next(w->gear, p, rest, true) : cutter_next(&w->cutter, p, rest, true);
        assert_in_range(want, 1, p->max_bytes);
        for (size_t k = 0; k < KERNELS; k++) {
            if (!cutter_has(kernels[k])) continue;
            cutter_use(&w->cutter, kernels[k]);
            const size_t got = cutter_next(&w->cutter, p, rest, true);
            if (got != want)
                fail_msg("%s cuts at %zu, not %zu (at %zu of %zu; %u/%u/%u)", kernel_names[k], got, want, at, data.len,
                         p->min_bytes, p->avg_bytes, p->max_bytes);
        }
        at += want;
    }
}

static void kernels_cut_like_the_specification_on_random_data(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < PARAMS; i++)
        kernels_agree(w, &all_params[i], BYTES_OF(w->data, all_params[i].avg_bytes > 1 << 18 ? 3u << 20 : 1u << 20),
                      true);
}

static void kernels_agree_with_one_another_on_much_data(void **state) {
    struct world *w = *state;
    for (int round = 0; round < 4; round++) {
        fill_random(w->data, DATA_BYTES);
        for (size_t i = 0; i < PARAMS; i++) kernels_agree(w, &all_params[i], BYTES_OF(w->data, DATA_BYTES), false);
    }
}

static void kernels_agree_on_zeros_and_are_bounded_by_max(void **state) {
    struct world *w = *state;
    memset(w->data, 0, DATA_BYTES);
    for (size_t i = 0; i < PARAMS; i++) {
        kernels_agree(w, &all_params[i], BYTES_OF(w->data, 1 << 20), true);
        /* all windows of zeros hash alike: every chunk but the last has one length */
        const size_t n = cutter_next(&w->cutter, &all_params[i], BYTES_OF(w->data, DATA_BYTES), true);
        if (n < DATA_BYTES)
            assert_true(n == all_params[i].min_bytes || n == all_params[i].avg_bytes || n == all_params[i].max_bytes);
    }
}

static void kernels_agree_on_periodic_data(void **state) {
    static const size_t periods[] = {1, 2, 3, 7, 16, 31, 32, 33, 64, 100, 255, 256, 512, 1000, 1024, 4096, 8192};
    struct world *w = *state;
    const size_t n = 1 << 18;
    for (size_t k = 0; k < sizeof periods / sizeof *periods; k++) {
        fill_random(w->data, periods[k]);
        for (size_t i = periods[k]; i < n; i++) w->data[i] = w->data[i - periods[k]];
        for (size_t i = 0; i < PARAMS; i++) kernels_agree(w, &all_params[i], BYTES_OF(w->data, n), i < 4);
    }
}

static void kernels_agree_on_text(void **state) {
    struct world *w = *state;
    size_t n = 0;
    for (unsigned row = 0; n + 100 < DATA_BYTES; row++)
        n += (size_t)snprintf((char *)w->data + n, 100, "INSERT INTO t VALUES (%u, 'name %llu', %u.%02u);\n", row,
                              (unsigned long long)(rng() >> 44), row * 7 % 1000, row % 100);
    for (size_t i = 0; i < PARAMS; i++) {
        kernels_agree(w, &all_params[i], BYTES_OF(w->data, n), false);
        kernels_agree(w, &all_params[i], BYTES_OF(w->data, 300000), true);
    }
}

static void kernels_agree_at_every_length_around_every_boundary(void **state) {
    static const struct cut_params some[] = {
        {64, 128, 256}, {300, 512, 2048}, {1024, 4096, 16384}, {700, 16384, 40000}};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        const struct cut_params *p = &some[i];
        const size_t edges[] = {0,
                                32,
                                64,
                                p->min_bytes,
                                p->avg_bytes,
                                p->max_bytes,
                                p->min_bytes + 512,
                                p->min_bytes + 1024,
                                p->min_bytes + 16 * 64,
                                p->min_bytes + 16 * 128,
                                p->min_bytes + 8 * 128,
                                p->min_bytes + 16 * 80};
        for (size_t e = 0; e < sizeof edges / sizeof *edges; e++)
            for (size_t n = edges[e] < 70 ? 0 : edges[e] - 70; n < edges[e] + 70; n++)
                for (size_t start = 0; start < 5; start++) {
                    const struct bytes d = BYTES_OF(w->data + start * 54321 + n, n);
                    for (int final = 0; final < 2; final++) {
                        const size_t want = naive_next(w->gear, p, d, final != 0);
                        for (size_t k = 0; k < KERNELS; k++) {
                            if (!cutter_has(kernels[k])) continue;
                            cutter_use(&w->cutter, kernels[k]);
                            assert_int_equal(cutter_next(&w->cutter, p, d, final != 0), want);
                        }
                    }
                }
    }
}

/* Plant a window that hashes to zero in data that has none, at every place around the lanes' seams. */
static void a_single_cut_is_found_wherever_it_is(void **state) {
    struct world *w = *state;
    static const struct cut_params p = {2048, 1 << 20, 2 << 20};
    const size_t len = 40000;
    uint8_t window[32];
    uint32_t h;
    do { /* 2^-21 a try, so extend byte by byte over a long stream instead of drawing afresh */
        fill_random(window, 32);
        h = 0;
        for (size_t i = 0; i < 32; i++) h = (h << 1) + w->gear[window[i]];
        for (size_t tries = 0; tries < 1u << 22 && (h & top_bits(21)) != 0; tries++) {
            memmove(window, window + 1, 31);
            window[31] = (uint8_t)(rng() >> 32);
            h = (h << 1) + w->gear[window[31]];
        }
    } while ((h & top_bits(21)) != 0);
    cutter_use(&w->cutter, CUT_SCALAR);
    assert_int_equal(cutter_next(&w->cutter, &p, BYTES_OF(w->data, len), false), 0);
    for (size_t at = 2048 - 32; at + 32 <= len; at += at < 4000 || at > len - 700 || at % 1024 < 40 ? 1 : 13) {
        uint8_t saved[32];
        memcpy(saved, w->data + at, 32);
        memcpy(w->data + at, window, 32);
        for (size_t k = 0; k < KERNELS; k++) {
            if (!cutter_has(kernels[k])) continue;
            cutter_use(&w->cutter, kernels[k]);
            const size_t got = cutter_next(&w->cutter, &p, BYTES_OF(w->data, len), false);
            if (got != at + 32) fail_msg("%s: %zu, not %zu", kernel_names[k], got, at + 32);
        }
        memcpy(w->data + at, saved, 32);
    }
}

static void feeding_by_pieces_cuts_like_feeding_whole(void **state) {
    struct world *w = *state;
    for (size_t i = 0; i < PARAMS; i++) {
        const struct cut_params *p = &all_params[i];
        const size_t total = DATA_BYTES / 2 + 77;
        for (size_t at = 0; at < total;) {
            const size_t whole = cutter_next(&w->cutter, p, BYTES_OF(w->data + at, total - at), true);
            size_t have = 0, n = 0;
            while (n == 0) {
                const size_t left = total - at - have, room = p->max_bytes - have;
                size_t more = 1 + rng() % (p->max_bytes / 3 + 1);
                if (more > left) more = left;
                if (more > room) more = room;
                have += more;
                n = cutter_next(&w->cutter, p, BYTES_OF(w->data + at, have), at + have == total);
                assert_true(n != 0 || (have < p->max_bytes && at + have < total));
            }
            assert_int_equal(n, whole);
            at += n;
        }
        assert_int_equal(cutter_next(&w->cutter, p, BYTES_OF(NULL, 0), false), 0);
        assert_int_equal(cutter_next(&w->cutter, p, BYTES_OF(NULL, 0), true), 0);
        /* max_bytes always suffice */
        assert_true(cutter_next(&w->cutter, p, BYTES_OF(w->data, p->max_bytes < DATA_BYTES ? p->max_bytes : DATA_BYTES),
                                p->max_bytes > DATA_BYTES) != 0);
    }
}

static size_t cut_all(const struct world *w, const struct cut_params *p, struct bytes data, size_t *ends) {
    size_t n = 0;
    for (size_t at = 0; at < data.len;) {
        at += cutter_next(&w->cutter, p, BYTES_OF(data.ptr + at, data.len - at), true);
        ends[n++] = at;
    }
    return n;
}

static void an_insertion_changes_few_chunks(void **state) {
    static const struct cut_params p = {1024, 4096, 16384};
    struct world *w = *state;
    const size_t total = 2u << 20;
    uint8_t *edited = mem(total + 1000);
    size_t *a = (size_t *)(void *)mem(3000 * sizeof *a), *b = (size_t *)(void *)mem(3000 * sizeof *b);
    const size_t na = cut_all(w, &p, BYTES_OF(w->data, total), a);
    size_t worst = 0, all = 0;
    for (size_t round = 0; round < 60; round++) {
        const size_t at = rng() % total, k = 1 + rng() % 1000;
        memcpy(edited, w->data, at);
        fill_random(edited + at, k);
        memcpy(edited + at + k, w->data + at, total - at);
        const size_t nb = cut_all(w, &p, BYTES_OF(edited, total + k), b);
        size_t head = 0, tail = 0;
        while (head < na && head < nb && a[head] == b[head]) head++;
        while (tail < na && tail < nb && a[na - 1 - tail] + k == b[nb - 1 - tail]) tail++;
        assert_true(a[head] >= at || b[head] >= at); /* nothing before the edit moves */
        const size_t changed = nb > head + tail ? nb - head - tail : 0;
        if (changed > worst) worst = changed;
        all += changed;
    }
    assert_true(na > 300);
    assert_in_range(worst, 0, 30);
    assert_in_range(all, 0, 60 * 6);
    seam_free(edited);
    seam_free(a);
    seam_free(b);
}

static void sizes_are_spread_about_the_average(void **state) {
    struct world *w = *state;
    static const struct cut_params some[] = {{512, 2048, 8192}, {1024, 4096, 16384}, {2048, 8192, 32768}};
    size_t *ends = (size_t *)(void *)mem(9000 * sizeof *ends);
    for (size_t i = 0; i < 3; i++) {
        const struct cut_params *p = &some[i];
        const size_t n = cut_all(w, p, BYTES_OF(w->data, DATA_BYTES), ends);
        size_t at_max = 0, near = 0, last = 0;
        for (size_t k = 0; k < n; k++) {
            const size_t len = ends[k] - last;
            last = ends[k];
            if (k + 1 < n) assert_in_range(len, p->min_bytes, p->max_bytes);
            at_max += len == p->max_bytes;
            near += len >= p->avg_bytes / 2 && len <= p->avg_bytes * 2;
        }
        const size_t mean = DATA_BYTES / n;
        assert_in_range(mean, p->avg_bytes * 8 / 10, p->avg_bytes * 14 / 10);
        assert_true(near * 100 >= n * 65);  /* normalised: most are within a factor of two */
        assert_true(at_max * 100 <= n * 2); /* forced cuts are rare */
    }
    seam_free(ends);
}

static void another_key_cuts_elsewhere(void **state) {
    struct world *w = *state;
    static const struct cut_params p = {1024, 4096, 16384};
    struct error err = ERROR_INIT;
    size_t *a = (size_t *)(void *)mem(6000 * sizeof *a), *b = (size_t *)(void *)mem(6000 * sizeof *b);
    uint8_t key[32] = {0};
    const size_t na = cut_all(w, &p, BYTES_OF(w->data, DATA_BYTES), a);
    assert_int_equal(cutter_init(&w->cutter, BYTES_OF(key, 32), &err), 0);
    const size_t nb = cut_all(w, &p, BYTES_OF(w->data, DATA_BYTES), b);
    size_t same = 0;
    for (size_t i = 0, j = 0; i + 1 < na && j + 1 < nb;)
        if (a[i] == b[j])
            same++, i++, j++;
        else if (a[i] < b[j])
            i++;
        else
            j++;
    assert_in_range(same, 0, 10);
    seam_free(a);
    seam_free(b);
}

static void the_kernel_in_use_is_one_that_the_cpu_has(void **state) {
    struct world *w = *state;
    assert_true(cutter_has(CUT_SCALAR)); /* everywhere, AVX or not */
    assert_true(cutter_has(w->cutter.kernel));
    assert_false(cutter_has((enum cut_kernel)3));
    if (cutter_has(CUT_AVX512)) assert_int_equal(w->cutter.kernel, CUT_AVX512);
    if (!cutter_has(CUT_AVX512) && !cutter_has(CUT_AVX2)) assert_int_equal(w->cutter.kernel, CUT_SCALAR);
    cutter_use(&w->cutter, CUT_SCALAR);
    assert_int_equal(w->cutter.kernel, CUT_SCALAR);
    kernels_agree(w, &all_params[8], BYTES_OF(w->data, 1 << 18), true);
}

/* doc/format/cutting.md, "Test vectors". */
static void the_published_vectors_hold(void **state) {
    struct world *w = *state;
    char path[4096], line[512];
    const char *doc = getenv("PK_DOC");
    if (doc == NULL) {
        print_message("# SKIP PK_DOC does not name the folder of the documents\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/format/cutting.md", doc);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    uint64_t x = 1;
    for (size_t i = 0; i < 1u << 20; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        w->data[i] = (uint8_t)(x >> 56);
    }
    unsigned checked = 0, tables = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        struct cut_params p;
        unsigned index, value;
        int used = 0;
        if (sscanf(line, "gear %u %x", &index, &value) == 2) {
            assert_in_range(index, 0, 255);
            assert_int_equal(w->gear[index], value);
            assert_int_equal(w->cutter.gear[index], value);
            tables++;
        }
        if (sscanf(line, "cut %u %u %u:%n", &p.min_bytes, &p.avg_bytes, &p.max_bytes, &used) != 3 || used == 0)
            continue;
        size_t at = 0, end = 0;
        for (char *s = line + used, *next; (end = strtoul(s, &next, 10)) != 0; s = next) {
            at += cutter_next(&w->cutter, &p, BYTES_OF(w->data + at, (1u << 20) - at), true);
            assert_int_equal(at, end);
            checked++;
        }
    }
    fclose(f);
    assert_int_equal(tables, 4);
    assert_int_equal(checked, 16 + 16 + 14);
}

int main(void) {
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CLAIM(the_table_is_hkdf_of_the_key),
        CLAIM(keys_of_other_lengths_are_refused),
        CLAIM(kernels_cut_like_the_specification_on_random_data),
        CLAIM(kernels_agree_with_one_another_on_much_data),
        CLAIM(kernels_agree_on_zeros_and_are_bounded_by_max),
        CLAIM(kernels_agree_on_periodic_data),
        CLAIM(kernels_agree_on_text),
        CLAIM(kernels_agree_at_every_length_around_every_boundary),
        CLAIM(a_single_cut_is_found_wherever_it_is),
        CLAIM(feeding_by_pieces_cuts_like_feeding_whole),
        CLAIM(an_insertion_changes_few_chunks),
        CLAIM(sizes_are_spread_about_the_average),
        CLAIM(another_key_cuts_elsewhere),
        CLAIM(the_kernel_in_use_is_one_that_the_cpu_has),
        CLAIM(the_published_vectors_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
