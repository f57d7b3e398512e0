#define OPENSSL_SUPPRESS_DEPRECATED /* the low-level interface takes a state as it is */
/* Two hashes at once equal OpenSSL's, one at a time, with and without the SHA instructions. */
#include "base/seam.h"
#include "crypto/parts.h"
#include "crypto/sha256_x16.h"
#include "crypto/sha256_x2.h"
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define DATA_BYTES (8u << 20)

static uint8_t *data;
static uint64_t rng_state = 0x9e3779b97f4a7c15u;
static uint64_t rng(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}

static int group_setup(void **state) {
    struct error err = ERROR_INIT;
    (void)state;
    if (mem_alloc(DATA_BYTES, (void **)&data, &err) != 0) return -1;
    for (size_t i = 0; i < DATA_BYTES; i += 8) put_u64(data + i, rng());
    return 0;
}

static int group_teardown(void **state) {
    (void)state;
    seam_free(data);
    return 0;
}

/* The oracle is OpenSSL's EVP interface, which the code under test does not use. */
static void assert_sha256(struct digest got, struct bytes of) {
    struct digest want;
    unsigned len = 0;
    assert_int_equal(EVP_Digest(of.len == 0 ? (const void *)"" : of.ptr, of.len, want.b, &len, EVP_sha256(), NULL), 1);
    assert_int_equal(len, 32);
    assert_memory_equal(got.b, want.b, 32);
}

#define WAYS 3
static bool ways(int way) {
    static const unsigned lanes[WAYS] = {1, 2, 16};
    if (lanes[way] == 2 && !sha256_x2_has()) {
        print_message("# SKIP the SHA instructions: this CPU has them not\n");
        return false;
    }
    if (lanes[way] == 16 && !sha256_x16_has()) {
        print_message("# SKIP sixteen lanes: this CPU has no AVX-512\n");
        return false;
    }
    sha256_lanes_allow(lanes[way]);
    assert_int_equal(sha256_many_lanes(), lanes[way]);
    return true;
}

static void sha256_two(struct bytes a, struct digest *ret_a, struct bytes b, struct digest *ret_b) {
    const struct bytes in[2] = {a, b};
    struct digest ret[2];
    sha256_many(in, ret, 2);
    *ret_a = ret[0];
    *ret_b = ret[1];
}

static void published_digests_hold(void **state) {
    (void)state;
    /* FIPS 180-4's examples: "abc", and two blocks */
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const uint8_t two[] = {0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8, 0xe5, 0xc0, 0x26,
                                  0x93, 0x0c, 0x3e, 0x60, 0x39, 0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff,
                                  0x21, 0x67, 0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1};
    for (int way = 0; way < WAYS; way++) {
        struct digest a, b;
        if (!ways(way)) continue;
        sha256_two(BYTES_STR("abc"), &a, BYTES_STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), &b);
        assert_memory_equal(a.b, abc, 32);
        assert_memory_equal(b.b, two, 32);
    }
}

static void two_messages_of_any_lengths_hash_like_one_each(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        if (!ways(way)) continue;
        for (size_t n = 0; n <= 300; n++)
            for (size_t m = n % 3; m <= 300; m += 3) {
                struct digest a, b;
                sha256_two(BYTES_OF(data + 1, n), &a, BYTES_OF(data + 1000, m), &b);
                assert_sha256(a, BYTES_OF(data + 1, n));
                assert_sha256(b, BYTES_OF(data + 1000, m));
            }
        struct digest a, b;
        sha256_two(BYTES_OF(data, DATA_BYTES), &a, BYTES_OF(data + 3, DATA_BYTES - 77777), &b);
        assert_sha256(a, BYTES_OF(data, DATA_BYTES));
        assert_sha256(b, BYTES_OF(data + 3, DATA_BYTES - 77777));
        sha256_two(BYTES_OF(NULL, 0), &a, BYTES_OF(NULL, 0), &b);
        assert_sha256(a, BYTES_OF(NULL, 0));
        assert_sha256(b, BYTES_OF(NULL, 0));
    }
}

static void many_messages_hash_like_one_each(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        if (!ways(way)) continue;
        for (size_t count = 0; count <= 40; count++) {
            struct bytes in[40];
            struct digest got[40];
            for (size_t i = 0; i < count; i++)
                in[i] = BYTES_OF(data + i, (i * 7919 + count * 104729) % (i % 5 == 0 ? 70 : 20000));
            sha256_many(in, got, count);
            for (size_t i = 0; i < count; i++) assert_sha256(got[i], in[i]);
        }
        for (size_t round = 0; round < 30; round++) { /* lanes that end together, last, and long before the others */
            struct bytes in[40];
            struct digest got[40];
            for (size_t i = 0; i < 40; i++)
                in[i] = BYTES_OF(data + rng() % 4096, rng() % 3 == 0 ? rng() % 200000 : rng() % 5 * 64);
            sha256_many(in, got, 40);
            for (size_t i = 0; i < 40; i++) assert_sha256(got[i], in[i]);
        }
    }
}

static void what_is_taken_by_itself_is_what_the_cpu_has(void **state) {
    (void)state;
    sha256_lanes_allow(0);
    const unsigned lanes = sha256_many_lanes();
    assert_true(lanes == 1 || (lanes == 2 && sha256_x2_has()) || (lanes == 16 && sha256_x16_has()));
    assert_true(lanes > 1 || !sha256_x2_has());
    struct bytes in[20];
    struct digest got[20];
    for (size_t i = 0; i < 20; i++) in[i] = BYTES_OF(data + i, i * 997);
    sha256_many(in, got, 20);
    for (size_t i = 0; i < 20; i++) assert_sha256(got[i], in[i]);
}

static void two_running_hashes_absorb_their_own_bytes(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        if (!ways(way)) continue;
        struct error err = ERROR_INIT;
        struct sha256_state *a, *b;
        struct digest got;
        assert_int_equal(sha256_new(&a, &err), 0);
        assert_int_equal(sha256_new(&b, &err), 0);
        size_t at_a = 0, at_b = 0;
        for (size_t i = 0; i < 200; i++) {
            const size_t n = i * 31 % 517, m = i * 57 % 701;
            sha256_update_two(a, BYTES_OF(data + at_a, n), b, BYTES_OF(data + 9 + at_b, m));
            at_a += n;
            at_b += m;
        }
        sha256_finish(a, &got);
        assert_sha256(got, BYTES_OF(data, at_a));
        sha256_finish(b, &got);
        assert_sha256(got, BYTES_OF(data + 9, at_b));
        sha256_free(a);
        sha256_free(b);
    }
}

static void blocks_advance_both_states_alone(void **state) {
    (void)state;
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    if (!sha256_x2_has()) skip();
    for (size_t blocks = 0; blocks < 20; blocks++) {
        uint32_t a[8], b[8], a2[8], b2[8], other[8];
        memcpy(a, start, 32), memcpy(b, start, 32), memcpy(a2, start, 32), memcpy(b2, start, 32);
        sha256_x2_blocks(a, data, b, data + 5000, blocks);
        /* in steps, beside another neighbour, and swapped */
        for (size_t i = 0; i < blocks; i++) {
            memset(other, (int)i, sizeof other);
            sha256_x2_blocks(a2, data + 64 * i, other, data + 9999, 1);
            sha256_x2_blocks(other, data + 7777, b2, data + 5000 + 64 * i, 1);
        }
        assert_memory_equal(a, a2, 32);
        assert_memory_equal(b, b2, 32);
        if (blocks == 0) assert_memory_equal(a, start, 32);
    }
}

static void sixteen_states_advance_alone(void **state) {
    (void)state;
    if (!sha256_x16_has()) skip();
    for (size_t blocks = 0; blocks < 9; blocks++) {
        uint32_t wide[8][16], own[16][8];
        const uint8_t *in[16];
        for (size_t i = 0; i < 16; i++) {
            in[i] = data + 1 + i * 333;
            for (size_t k = 0; k < 8; k++) wide[k][i] = own[i][k] = (uint32_t)rng();
        }
        sha256_x16_blocks(wide, in, blocks);
        for (size_t i = 0; i < 16; i++) {
            SHA256_CTX c;
            SHA256_Init(&c);
            memcpy(c.h, own[i], sizeof c.h);
            SHA256_Update(&c, in[i], blocks * 64);
            for (size_t k = 0; k < 8; k++) assert_int_equal(wide[k][i], c.h[k]);
        }
    }
}

static void a_pair_hashes_stream_and_chunks_at_every_length(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    for (int way = 0; way < WAYS; way++) {
        struct sha256_pair *p = NULL;
        struct digest d;
        if (!ways(way)) continue;
        assert_int_equal(sha256_pair_new(&p, &err), 0);
        size_t stream = 0;
        for (size_t n = 0; n <= 300; n++) {
            sha256_pair_update(p, BYTES_OF(data + stream, n));
            sha256_pair_chunk_finish(p, &d);
            assert_sha256(d, BYTES_OF(data + stream, n));
            stream += n;
        }
        sha256_pair_stream_finish(p, &d);
        assert_sha256(d, BYTES_OF(data, stream));
        /* both begin afresh */
        sha256_pair_update(p, BYTES_OF(data, 100));
        sha256_pair_stream_finish(p, &d);
        assert_sha256(d, BYTES_OF(data, 100));
        sha256_pair_update(p, BYTES_OF(data + 100, 100)); /* the chunk went on */
        sha256_pair_chunk_finish(p, &d);
        assert_sha256(d, BYTES_OF(data, 200));
        sha256_pair_free(p);
    }
    sha256_pair_free(NULL);
}

static void parts_are_digested_at_every_length(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    static const size_t sizes[] = {
        0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 17 * PART_BYTES + 5};
    uint8_t *in = malloc(18 * PART_BYTES);
    assert_non_null(in);
    for (size_t i = 0; i < 18 * PART_BYTES; i++) in[i] = (uint8_t)rng();
    for (int way = 0; way < WAYS; way++) {
        if (!ways(way)) continue;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct sha256_state *all = NULL;
            struct digest got, each[18], sha[18];
            size_t n = 0;
            assert_int_equal(sha256_new(&all, &err), 0);
            /* in two pieces, of which the first ends where a part does */
            const size_t first = sizes[i] / PART_BYTES / 2 * PART_BYTES;
            parts_update(all, BYTES_OF(in, first), each);
            parts_update(all, BYTES_OF(in + first, sizes[i] - first), each + first / PART_BYTES);
            sha256_finish(all, &got);
            sha256_free(all);
            for (size_t at = 0; at < sizes[i]; at += PART_BYTES, n++) {
                const struct bytes part = BYTES_OF(in + at, sizes[i] - at < PART_BYTES ? sizes[i] - at : PART_BYTES);
                assert_sha256(each[n], part);
                sha[n] = each[n];
            }
            assert_sha256(got, BYTES_OF((const uint8_t *)sha, n * sizeof *sha));
        }
    }
    free(in);
}

static void a_pair_does_not_mind_how_it_is_fed(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    for (int way = 0; way < WAYS; way++) {
        if (!ways(way)) continue;
        for (int round = 0; round < 40; round++) {
            struct sha256_pair *p = NULL;
            struct digest d;
            const size_t piece_max = 2 + rng() % (round % 2 == 0 ? 200 : 100000),
                         total = rng() % (round % 2 == 0 ? 100000 : DATA_BYTES);
            size_t chunk_start = 0;
            assert_int_equal(sha256_pair_new(&p, &err), 0);
            for (size_t at = 0; at < total;) {
                size_t n = rng() % piece_max;
                if (n > total - at) n = total - at;
                sha256_pair_update(p, BYTES_OF(data + at, n));
                at += n;
                if (rng() % 4 == 0) {
                    sha256_pair_chunk_finish(p, &d);
                    assert_sha256(d, BYTES_OF(data + chunk_start, at - chunk_start));
                    chunk_start = at;
                }
            }
            sha256_pair_stream_finish(p, &d);
            assert_sha256(d, BYTES_OF(data, total));
            sha256_pair_free(p);
        }
    }
}

static void a_stream_of_more_than_four_gigabits_is_counted_right(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct sha256_pair *p = NULL;
    struct digest d, want;
    unsigned len = 0;
    (void)ways(1);
    EVP_MD_CTX *oracle = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestInit_ex(oracle, EVP_sha256(), NULL), 1);
    assert_int_equal(sha256_pair_new(&p, &err), 0);
    for (int i = 0; i < 66; i++) { /* 528 MiB + 66 * 3 bytes: the low word of the bit count wraps */
        sha256_pair_update(p, BYTES_OF(data, DATA_BYTES));
        sha256_pair_update(p, BYTES_OF(data, 3));
        assert_int_equal(EVP_DigestUpdate(oracle, data, DATA_BYTES), 1);
        assert_int_equal(EVP_DigestUpdate(oracle, data, 3), 1);
    }
    assert_int_equal(EVP_DigestFinal_ex(oracle, want.b, &len), 1);
    sha256_pair_chunk_finish(p, &d);
    assert_memory_equal(d.b, want.b, 32);
    sha256_pair_stream_finish(p, &d);
    assert_memory_equal(d.b, want.b, 32);
    EVP_MD_CTX_free(oracle);
    sha256_pair_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_digests_hold),
        cmocka_unit_test(two_messages_of_any_lengths_hash_like_one_each),
        cmocka_unit_test(many_messages_hash_like_one_each),
        cmocka_unit_test(what_is_taken_by_itself_is_what_the_cpu_has),
        cmocka_unit_test(two_running_hashes_absorb_their_own_bytes),
        cmocka_unit_test(blocks_advance_both_states_alone),
        cmocka_unit_test(sixteen_states_advance_alone),
        cmocka_unit_test(a_pair_hashes_stream_and_chunks_at_every_length),
        cmocka_unit_test(parts_are_digested_at_every_length),
        cmocka_unit_test(a_pair_does_not_mind_how_it_is_fed),
        cmocka_unit_test(a_stream_of_more_than_four_gigabits_is_counted_right),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
