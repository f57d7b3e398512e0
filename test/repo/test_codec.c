/* Codecs: round trips, what is refused, what is not worth it. */
#include "base/seam.h"
#include "repo/codec.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <zstd.h>

#include <cmocka.h>

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

static void fill_text(uint8_t *p, size_t n) {
    static const char *const words[] = {"backup ",  "restore ", "the ",   "of ",    "ledger ", "chunk\n",
                                        "receipt ", "42, ",     "proof ", "kept, ", "and ",    "table ",
                                        "row ",     "key=",     "value;", "0x1f "};
    for (size_t i = 0; i < n;) {
        const uint64_t r = rng();
        const char *w = words[r >> 8 & 15];
        if ((r & 7) == 0) {
            p[i++] = (uint8_t)('a' + (r >> 16) % 26);
            continue;
        }
        for (; *w != 0 && i < n; w++) p[i++] = (uint8_t)*w;
    }
}

static int setup(void **state) {
    struct error err = ERROR_INIT;
    rng_state = 0x9e3779b97f4a7c15u;
    return codec_new((struct codec **)state, &err);
}

static int teardown(void **state) {
    codec_free(*state);
    return 0;
}

static void refused(struct codec *c, enum codec_kind kind, struct bytes in, struct bytes base, size_t plain_len,
                    const char *text) {
    uint8_t *out = mem(plain_len);
    struct error err = ERROR_INIT;
    out[plain_len] = 0xa5;
    assert_int_equal(codec_decode(c, kind, in, base, out, plain_len, &err), -ERR_OBJECT_CORRUPT);
    assert_int_equal(err.code, ERR_OBJECT_CORRUPT);
    assert_non_null(strstr(err.text, "is damaged: "));
    if (text != NULL && strstr(err.text, text) == NULL) fail_msg("no '%s' in '%s'", text, err.text);
    assert_int_equal(out[plain_len], 0xa5);
    seam_free(out);
}

static void round_trip(struct codec *c, struct bytes in, int level, enum codec_kind want) {
    struct error err = ERROR_INIT;
    uint8_t *out = mem(codec_bound(in.len)), *back = mem(in.len);
    size_t len = 0;
    enum codec_kind kind = CODEC_ZSTD_DELTA;
    assert_int_equal(codec_encode(c, in, level, out, &len, &kind, &err), 0);
    assert_int_equal(kind, want);
    if (kind == CODEC_RAW) assert_int_equal(len, in.len);
    if (kind == CODEC_ZSTD) assert_true(len * 100 <= in.len * 97 + 99);
    const struct bytes frame = kind == CODEC_RAW ? in : BYTES_OF(out, len);
    assert_int_equal(codec_decode(c, kind, frame, BYTES_OF(NULL, 0), back, in.len, &err), 0);
    assert_true(bytes_equal(in, BYTES_OF(back, in.len)));
    seam_free(out);
    seam_free(back);
}

static void text_is_compressed_and_comes_back_at_every_size_and_level(void **state) {
    static const size_t sizes[] = {200, 1000, 4095, 4096, 65535, 65536, 65537, 262144, 1 << 20};
    static const int levels[] = {1, 3, 6, -5, 0};
    uint8_t *p = mem(8 << 20);
    fill_text(p, 8 << 20);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            round_trip(*state, BYTES_OF(p, sizes[i]), levels[l], CODEC_ZSTD);
    round_trip(*state, BYTES_OF(p, (8 << 20) - 1), 1, CODEC_ZSTD);
    round_trip(*state, BYTES_OF(p, 8 << 20), 3, CODEC_ZSTD);
    round_trip(*state, BYTES_OF(p, 1 << 20), 19, CODEC_ZSTD);
    seam_free(p);
}

static void tiny_inputs_stay_raw_and_come_back(void **state) {
    static const uint8_t zeros[64];
    uint8_t p[16];
    fill_random(p, sizeof p);
    round_trip(*state, BYTES_OF(NULL, 0), 1, CODEC_RAW);
    for (size_t n = 1; n <= 16; n++) round_trip(*state, BYTES_OF(p, n), 1, CODEC_RAW);
    round_trip(*state, BYTES_OF(zeros, sizeof zeros), 1, CODEC_ZSTD);
}

static void random_bytes_stay_raw_at_every_size(void **state) {
    static const size_t sizes[] = {17, 100, 4096, 65535, 65536, 65537, 262144, 1 << 20};
    uint8_t *p = mem(1 << 20);
    fill_random(p, 1 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        round_trip(*state, BYTES_OF(p, sizes[i]), 1, CODEC_RAW);
        round_trip(*state, BYTES_OF(p, sizes[i]), 3, CODEC_RAW);
    }
    seam_free(p);
}

static void raw_answers_write_nothing_for_large_random_input(void **state) {
    const size_t n = 256 << 10;
    uint8_t *p = mem(n), *out = mem(codec_bound(n));
    struct error err = ERROR_INIT;
    size_t len = 0;
    enum codec_kind kind = CODEC_ZSTD;
    fill_random(p, n);
    memset(out, 0x5a, codec_bound(n));
    assert_int_equal(codec_encode(*state, BYTES_OF(p, n), 1, out, &len, &kind, &err), 0);
    assert_int_equal(kind, CODEC_RAW);
    for (size_t i = 0; i < codec_bound(n); i++) assert_int_equal(out[i], 0x5a);
    seam_free(p);
    seam_free(out);
}

static void the_quick_test_does_not_give_up_on_what_compresses(void **state) {
    const size_t n = 256 << 10;
    uint8_t *p = mem(n);
    /* even bytes that repeat within a slice */
    fill_random(p, 1024);
    for (size_t i = 1024; i < n; i++) p[i] = p[i - 1024];
    round_trip(*state, BYTES_OF(p, n), 1, CODEC_ZSTD);
    /* random digits: nothing repeats, but four bits a byte suffice */
    for (size_t i = 0; i < n; i++) p[i] = "0123456789abcdef"[rng() >> 32 & 15];
    round_trip(*state, BYTES_OF(p, n), 1, CODEC_ZSTD);
    /* one byte in four is text-like */
    fill_random(p, n);
    for (size_t i = 0; i < n; i += 4) p[i] = 'x';
    round_trip(*state, BYTES_OF(p, n), 1, CODEC_ZSTD);
    memset(p, 0, n);
    round_trip(*state, BYTES_OF(p, n), 1, CODEC_ZSTD);
    seam_free(p);
}

static void savings_under_three_per_cent_do_not_count(void **state) {
    const size_t n = 100000;
    uint8_t *p = mem(n);
    fill_random(p, n);
    memset(p + 50000, 'z', 2000); /* about 2 % */
    round_trip(*state, BYTES_OF(p, n), 3, CODEC_RAW);
    memset(p + 50000, 'z', 6000); /* about 6 %: below the quick test's eye it may go either way, so use a small input */
    round_trip(*state, BYTES_OF(p + 20000, 60000), 3, CODEC_ZSTD);
    seam_free(p);
}

struct frame {
    uint8_t *plain, *bytes;
    size_t plain_len, len;
};

static struct frame text_frame(struct codec *c, size_t n) {
    struct error err = ERROR_INIT;
    struct frame f = {mem(n), mem(codec_bound(n)), n, 0};
    enum codec_kind kind = CODEC_RAW;
    fill_text(f.plain, n);
    assert_int_equal(codec_encode(c, BYTES_OF(f.plain, n), 3, f.bytes, &f.len, &kind, &err), 0);
    assert_int_equal(kind, CODEC_ZSTD);
    return f;
}

static void frame_free(struct frame *f) {
    seam_free(f->plain);
    seam_free(f->bytes);
}

static void every_truncation_is_refused(void **state) {
    struct frame f = text_frame(*state, 3000);
    for (size_t n = 0; n < f.len; n++)
        refused(*state, CODEC_ZSTD, BYTES_OF(f.bytes, n), BYTES_OF(NULL, 0), f.plain_len, NULL);
    frame_free(&f);
}

static void other_sizes_than_the_frame_has_are_refused(void **state) {
    struct frame f = text_frame(*state, 3000);
    for (size_t n = 0; n < 3100; n++)
        if (n != f.plain_len) refused(*state, CODEC_ZSTD, BYTES_OF(f.bytes, f.len), BYTES_OF(NULL, 0), n, NULL);
    refused(*state, CODEC_ZSTD, BYTES_OF(f.bytes, f.len), BYTES_OF(NULL, 0), 3001, "it decodes to fewer bytes");
    refused(*state, CODEC_RAW, BYTES_OF(f.plain, 10), BYTES_OF(NULL, 0), 11, "raw bytes of another size");
    refused(*state, CODEC_RAW, BYTES_OF(f.plain, 11), BYTES_OF(NULL, 0), 10, "raw bytes of another size");
    frame_free(&f);
}

static void garbled_frames_never_write_past_the_end(void **state) {
    struct frame f = text_frame(*state, 3000);
    uint8_t *out = mem(f.plain_len);
    size_t caught = 0;
    for (int round = 0; round < 20000; round++) {
        struct error err = ERROR_INIT;
        const size_t at = rng() % f.len;
        const uint8_t was = f.bytes[at];
        f.bytes[at] ^= (uint8_t)(1 + rng() % 255);
        out[f.plain_len] = 0xa5;
        /* a frame without a checksum may decode to other bytes: ids and the AEAD are for that */
        const int rc =
            codec_decode(*state, CODEC_ZSTD, BYTES_OF(f.bytes, f.len), BYTES_OF(NULL, 0), out, f.plain_len, &err);
        assert_true(rc == 0 || rc == -ERR_OBJECT_CORRUPT);
        caught += rc != 0;
        assert_int_equal(out[f.plain_len], 0xa5);
        f.bytes[at] = was;
    }
    assert_true(caught > 1000);
    /* and the codec still works */
    struct error err = ERROR_INIT;
    assert_int_equal(
        codec_decode(*state, CODEC_ZSTD, BYTES_OF(f.bytes, f.len), BYTES_OF(NULL, 0), out, f.plain_len, &err), 0);
    assert_memory_equal(out, f.plain, f.plain_len);
    seam_free(out);
    frame_free(&f);
}

static void garbage_and_unknown_kinds_are_refused(void **state) {
    uint8_t p[300];
    for (int round = 0; round < 2000; round++) {
        fill_random(p, sizeof p);
        refused(*state, CODEC_ZSTD, BYTES_OF(p, rng() % sizeof p), BYTES_OF(NULL, 0), 1000, NULL);
        put_u32(p, ZSTD_MAGICNUMBER);
        struct error err = ERROR_INIT;
        uint8_t out[1001];
        out[1000] = 0xa5;
        const int rc = codec_decode(*state, CODEC_ZSTD, BYTES_OF(p, sizeof p), BYTES_OF(NULL, 0), out, 1000, &err);
        assert_true(rc == 0 || rc == -ERR_OBJECT_CORRUPT);
        assert_int_equal(out[1000], 0xa5);
    }
    refused(*state, (enum codec_kind)3, BYTES_OF(p, 10), BYTES_OF(NULL, 0), 10, "an unknown codec");
    refused(*state, (enum codec_kind)255, BYTES_OF(p, 10), BYTES_OF(NULL, 0), 10, "an unknown codec");
}

static void only_one_frame_and_nothing_else_is_taken(void **state) {
    struct frame f = text_frame(*state, 3000);
    uint8_t *two = mem(2 * f.len + 16);
    memcpy(two, f.bytes, f.len);
    memcpy(two + f.len, f.bytes, f.len);
    refused(*state, CODEC_ZSTD, BYTES_OF(two, 2 * f.len), BYTES_OF(NULL, 0), 6000, "bytes follow the frame");
    refused(*state, CODEC_ZSTD, BYTES_OF(two, f.len + 1), BYTES_OF(NULL, 0), 3000, "bytes follow the frame");
    /* a skippable frame in front */
    put_u32(two, 0x184d2a50);
    put_u32(two + 4, 4);
    memcpy(two + 12, f.bytes, f.len);
    refused(*state, CODEC_ZSTD, BYTES_OF(two, f.len + 12), BYTES_OF(NULL, 0), 3000, "does not start as a zstd frame");
    seam_free(two);
    frame_free(&f);
}

static void bombs_and_large_windows_are_refused(void **state) {
    const size_t huge = 64 << 20;
    uint8_t *zeros = mem(huge), *out = mem(codec_bound(huge));
    struct error err = ERROR_INIT;
    size_t len = 0;
    enum codec_kind kind = CODEC_RAW;
    assert_int_equal(codec_encode(*state, BYTES_OF(zeros, huge), 1, out, &len, &kind, &err), 0);
    assert_int_equal(kind, CODEC_ZSTD);
    assert_true(len < 8192);
    refused(*state, CODEC_ZSTD, BYTES_OF(out, len), BYTES_OF(NULL, 0), 1 << 20, NULL);
    refused(*state, CODEC_ZSTD, BYTES_OF(out, len), BYTES_OF(NULL, 0), 0, NULL);
    /* stock zstd, window 16 MiB, no content size */
    ZSTD_CCtx *z = ZSTD_createCCtx();
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, 24)));
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, 0)));
    len = ZSTD_compress2(z, out, codec_bound(huge), zeros, huge);
    assert_false(ZSTD_isError(len));
    refused(*state, CODEC_ZSTD, BYTES_OF(out, len), BYTES_OF(NULL, 0), huge, "its window is larger than 8 MiB");
    /* stock zstd, a content size that is not ours */
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, 1)));
    len = ZSTD_compress2(z, out, codec_bound(huge), zeros, 1000);
    assert_false(ZSTD_isError(len));
    refused(*state, CODEC_ZSTD, BYTES_OF(out, len), BYTES_OF(NULL, 0), 999, "it claims another size");
    assert_int_equal(codec_decode(*state, CODEC_ZSTD, BYTES_OF(out, len), BYTES_OF(NULL, 0), zeros, 1000, &err), 0);
    ZSTD_freeCCtx(z);
    seam_free(zeros);
    seam_free(out);
}

static void a_changed_chunk_costs_little_against_its_former_self(void **state) {
    static const size_t sizes[] = {2000, 8192, 131072, 262144, 1 << 20, 4 << 20};
    static const int levels[] = {1, 3};
    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const size_t n = sizes[i];
            uint8_t *base = mem(n), *in = mem(n), *out = mem(codec_bound(n)), *back = mem(n);
            struct error err = ERROR_INIT;
            size_t len = 0;
            bool worth = false;
            fill_random(base, n); /* nothing but the base helps */
            memcpy(in, base, n);
            for (size_t k = 0; k <= n / 8192; k++) in[rng() % n] ^= 1;
            assert_int_equal(
                codec_encode_delta(*state, BYTES_OF(in, n), BYTES_OF(base, n), levels[l], out, &len, &worth, &err), 0);
            assert_true(worth);
            assert_true(len < n / 20 + 64);
            assert_int_equal(
                codec_decode(*state, CODEC_ZSTD_DELTA, BYTES_OF(out, len), BYTES_OF(base, n), back, n, &err), 0);
            assert_memory_equal(back, in, n);
            seam_free(base);
            seam_free(in);
            seam_free(out);
            seam_free(back);
        }
}

/* What a database does to its pages: rows written anew in their page, moved together, removed. */
static void change_pages(uint8_t *p, size_t n) {
    for (size_t k = rng() % 40; k > 0; k--) {
        const size_t page = rng() % (n / 8192 + 1) * 8192, room = page + 8192 < n ? 8192 : n - page;
        if (room < 512) continue;
        const size_t from = rng() % (room - 256), to = rng() % (room - 256), len = rng() % 256;
        if (k % 3 == 0) memmove(p + page + to, p + page + from, len);
        if (k % 3 == 1) fill_random(p + page + to, len / 4);
        if (k % 7 == 0) memset(p + page + to, 0, len);
    }
}

static void pages_cost_little_against_their_former_selves(void **state) {
    const size_t most = 256u << 10, one = 128u << 10;
    uint8_t *base = mem(most), *in = mem(most), *out = mem(codec_bound(most)), *back = mem(most);
    struct error err = ERROR_INIT;
    size_t len = 0;
    bool worth = false;
    codec_expect(*state, CODEC_PAGES);
    for (unsigned i = 0; i < 400; i++) {
        const size_t n = i % 4 == 0 ? 2 + rng() % (most - 2) : one;
        const size_t m = i % 5 == 0 ? 1 + rng() % (most - 1) : i % 5 == 1 && n > 8192 ? n - 8192 : n;
        fill_random(base, most);
        memcpy(in, base, n);
        change_pages(in, n);
        assert_int_equal(codec_encode_delta(*state, BYTES_OF(in, n), BYTES_OF(base, m), 1, out, &len, &worth, &err), 0);
        if (m >= n && n >= 8192) assert_true(worth && len < n / 4);
        /* made by the search of pages each time, which shows by the window: that of the other way covers the base, too
         */
        if (n == one && m == one) assert_true(len < n / 16 && (out[5] >> 3) + 10 == 17);
        if (!worth) continue;
        assert_int_equal(codec_decode(*state, CODEC_ZSTD_DELTA, BYTES_OF(out, len), BYTES_OF(base, m), back, n, &err),
                         0);
        assert_memory_equal(back, in, n);
    }
    fill_random(in, one);
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(in, one), BYTES_OF(base, one), 1, out, &len, &worth, &err), 0);
    assert_false(worth);
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(base, one), BYTES_OF(base, one), 1, out, &len, &worth, &err),
                     0);
    assert_true(worth && len < 64);
    codec_expect(*state, CODEC_ANY);
    seam_free(base);
    seam_free(in);
    seam_free(out);
    seam_free(back);
}

static void nothing_is_written_around_the_room_of_short_pages(void **state) {
    uint8_t base[600], back[600], room[256 + 1024];
    struct error err = ERROR_INIT;
    fill_random(base, sizeof base);
    codec_expect(*state, CODEC_PAGES);
    for (size_t n = 2; n <= sizeof base; n++) {
        size_t len = 0;
        bool worth = false;
        memset(room, 0xa5, sizeof room);
        assert_int_equal(codec_encode_delta(*state, BYTES_OF(base, n), BYTES_OF(base, sizeof base), 1, room + 256, &len,
                                            &worth, &err),
                         0);
        for (size_t i = 0; i < 256; i++) assert_int_equal(room[i], 0xa5);
        if (!worth) continue;
        assert_int_equal(codec_decode(*state, CODEC_ZSTD_DELTA, BYTES_OF(room + 256, len), BYTES_OF(base, sizeof base),
                                      back, n, &err),
                         0);
        assert_memory_equal(back, base, n);
    }
    codec_expect(*state, CODEC_ANY);
}

static void text_is_told_from_programs_and_noise(void **state) {
    const size_t n = 100000;
    uint8_t *in = mem(n);
    (void)state;
    fill_text(in, n);
    assert_true(codec_is_text(BYTES_OF(in, n)));
    assert_true(codec_is_text(BYTES_OF(in, 20)));
    for (size_t i = 0; i + 1 < n; i += 2) in[i] = 0xd0 + (i >> 1) % 2, in[i + 1] = 0x80 + in[i + 1] % 64; /* Cyrillic */
    assert_true(codec_is_text(BYTES_OF(in, n)));
    for (size_t i = 0; i < n; i += 20) in[i] = 0;
    assert_false(codec_is_text(BYTES_OF(in, n)));
    fill_random(in, n);
    assert_false(codec_is_text(BYTES_OF(in, n)));
    seam_free(in);
}

/* By steps into fresh pages of `out`, which cannot be written once they are decoded. */
static int steps(struct codec *c, struct bytes in, uint8_t *out, size_t plain_len, size_t by, struct error *err) {
    size_t have = 0, upto = 0;
    int rc = codec_steps(c, in, plain_len, err);
    memset(out, 0xa5, plain_len + 1);
    while (rc == 0 && upto < plain_len) {
        upto = plain_len - upto < by ? plain_len : upto + by;
        rc = codec_step(c, out, upto, &have, err);
        assert_true(rc < 0 || (have >= upto && have <= plain_len && have < upto + (128u << 10)));
        assert_int_equal(mprotect(out, have & ~(size_t)4095, PROT_READ), 0);
    }
    assert_int_equal(mprotect(out, plain_len, PROT_READ | PROT_WRITE), 0);
    assert_int_equal(out[plain_len], 0xa5);
    return rc;
}

static void steps_come_to_the_same_as_the_whole(void **state) {
    static const size_t sizes[] = {3000, 128u << 10, (128u << 10) + 1, 1000000, 1u << 20, 3u << 20};
    const size_t most = 3u << 20;
    uint8_t *in = mem(most), *frame = mem(codec_bound(most)), *back = mem(most);
    uint8_t *out = mmap(NULL, most + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct error err = ERROR_INIT;
    enum codec_kind kind = CODEC_RAW;
    assert_ptr_not_equal(out, MAP_FAILED);
    size_t len = 0;
    unsigned good = 0;
    fill_text(in, most);
    fill_random(in + 400000, 200000); /* blocks that are stored as they are */
    memset(in + 700000, 7, 150000);   /* and of one byte */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t n = sizes[i];
        assert_int_equal(codec_encode(*state, BYTES_OF(in, n), 1, frame, &len, &kind, &err), 0);
        assert_int_equal(kind, CODEC_ZSTD);
        for (size_t by = 50000; by <= n * 2; by *= 3) {
            assert_int_equal(steps(*state, BYTES_OF(frame, len), out, n, by, &err), 0);
            assert_memory_equal(out, in, n);
        }
        /* of another size than it has: told when the end is asked for, or when there is no room */
        for (size_t other = n - 1; other <= n + 1; other += 2) {
            size_t have;
            error_clear(&err);
            assert_int_equal(steps(*state, BYTES_OF(frame, len), out, other, n / 2, &err), -ERR_OBJECT_CORRUPT);
            if (other > n) assert_non_null(strstr(err.text, "it decodes to fewer bytes"));
            error_clear(&err);
            assert_int_equal(codec_steps(*state, BYTES_OF(frame, len), n + 1, &err), 0);
            assert_int_equal(codec_step(*state, out, n / 2, &have, &err), 0);
            assert_memory_equal(out, in, n / 2);
        }
        assert_int_equal(codec_steps(*state, BYTES_OF(frame, len - 1), n, &err), -ERR_OBJECT_CORRUPT);
        error_clear(&err);
        /* and of what is garbled, the same is refused, or the same is made */
        for (unsigned g = 0; g < 60; g++) {
            uint8_t *at = &frame[rng() % len], was = *at;
            struct error a = ERROR_INIT, b = ERROR_INIT;
            *at ^= (uint8_t)(1 + rng() % 255);
            int one = codec_decode(*state, CODEC_ZSTD, BYTES_OF(frame, len), BYTES_OF(NULL, 0), back, n, &a);
            int two = steps(*state, BYTES_OF(frame, len), out, n, 100000, &b);
            assert_int_equal(one, two);
            if (one == 0) assert_memory_equal(out, back, n);
            good += one == 0;
            *at = was;
        }
    }
    assert_true(good > 0);
    /* a decoder that was left in the midst decodes others */
    assert_int_equal(codec_steps(*state, BYTES_OF(frame, len), most, &err), 0);
    assert_int_equal(codec_step(*state, out, 300000, &len, &err), 0);
    round_trip(*state, BYTES_OF(in, most), 1, CODEC_ZSTD);
    seam_free(in);
    seam_free(frame);
    munmap(out, most + 4096);
    seam_free(back);
}

static void what_is_expected_is_no_matter_for_decoding(void **state) {
    static const enum codec_content order[] = {CODEC_PAGES, CODEC_ANY, CODEC_WAL, CODEC_PAGES, CODEC_WAL};
    const size_t n = 300000;
    uint8_t *in = mem(n), *out = mem(codec_bound(n)), *back = mem(n);
    struct error err = ERROR_INIT;
    fill_text(in, n);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        size_t len = 0;
        enum codec_kind kind = CODEC_RAW;
        codec_expect(*state, order[i]);
        assert_int_equal(codec_encode(*state, BYTES_OF(in, n), 1, out, &len, &kind, &err), 0);
        assert_int_equal(kind, CODEC_ZSTD);
        assert_int_equal(codec_decode(*state, kind, BYTES_OF(out, len), BYTES_OF(NULL, 0), back, n, &err), 0);
        assert_memory_equal(back, in, n);
    }
    codec_expect(*state, CODEC_ANY);
    seam_free(in);
    seam_free(out);
    seam_free(back);
}

static void a_shifted_chunk_of_another_length_is_still_worth_it(void **state) {
    const size_t n = 200000, m = 130000;
    uint8_t *base = mem(n), *shifted = mem(m), *out = mem(codec_bound(m)), *back = mem(m);
    struct error err = ERROR_INIT;
    size_t len = 0;
    bool worth = false;
    fill_random(base, n);
    memcpy(shifted, base + 777, m);
    const struct bytes in = BYTES_OF(shifted, m);
    assert_int_equal(codec_encode_delta(*state, in, BYTES_OF(base, n), 1, out, &len, &worth, &err), 0);
    assert_true(worth);
    assert_true(len < 2000);
    assert_int_equal(codec_decode(*state, CODEC_ZSTD_DELTA, BYTES_OF(out, len), BYTES_OF(base, n), back, m, &err), 0);
    assert_memory_equal(back, in.ptr, m);
    seam_free(base);
    seam_free(shifted);
    seam_free(out);
    seam_free(back);
}

static void a_delta_over_half_or_against_nothing_is_not_worth_it(void **state) {
    const size_t n = 131072;
    uint8_t *base = mem(n), *in = mem(n), *out = mem(codec_bound(n));
    struct error err = ERROR_INIT;
    size_t len = 0;
    bool worth = true;
    fill_random(base, n);
    fill_random(in, n);
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(in, n), BYTES_OF(base, n), 1, out, &len, &worth, &err), 0);
    assert_false(worth);
    memcpy(in, base, n * 4 / 10); /* 40 % in common leaves 60 % */
    worth = true;
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(in, n), BYTES_OF(base, n), 1, out, &len, &worth, &err), 0);
    assert_false(worth);
    memcpy(in, base, n * 6 / 10);
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(in, n), BYTES_OF(base, n), 1, out, &len, &worth, &err), 0);
    assert_true(worth);
    assert_true(len <= n / 2);
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(in, n), BYTES_OF(NULL, 0), 1, out, &len, &worth, &err), 0);
    assert_false(worth);
    worth = true;
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(NULL, 0), BYTES_OF(base, n), 1, out, &len, &worth, &err), 0);
    assert_false(worth);
    seam_free(base);
    seam_free(in);
    seam_free(out);
}

/* A frame does not name its base. With a wrong one the decoder sees either an impossible match (refused) or possible
 * ones (other bytes): the caller's check of the chunk's id is what catches the second. */
static void a_wrong_base_is_refused_or_gives_other_bytes(void **state) {
    const size_t n = 131072;
    uint8_t *base = mem(n), *wrong = mem(n), *in = mem(n), *out = mem(codec_bound(n)), *back = mem(n);
    struct error err = ERROR_INIT;
    size_t len = 0;
    bool worth = false;
    fill_text(base, n);
    fill_text(wrong, n);
    memcpy(in, base, n);
    in[1000] ^= 1;
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(in, n), BYTES_OF(base, n), 1, out, &len, &worth, &err), 0);
    assert_true(worth);
    const struct bytes frame = BYTES_OF(out, len);
    assert_int_equal(codec_decode(*state, CODEC_ZSTD_DELTA, frame, BYTES_OF(wrong, n), back, n, &err), 0);
    assert_memory_not_equal(back, in, n);
    refused(*state, CODEC_ZSTD_DELTA, frame, BYTES_OF(NULL, 0), n, NULL);
    refused(*state, CODEC_ZSTD_DELTA, frame, BYTES_OF(wrong, 10), n, NULL);
    refused(*state, CODEC_ZSTD, frame, BYTES_OF(base, n), n, NULL); /* a base is only for deltas */
    seam_free(base);
    seam_free(wrong);
    seam_free(in);
    seam_free(out);
    seam_free(back);
}

static void a_delta_leaves_nothing_behind_for_the_next_frame(void **state) {
    const size_t n = 20000;
    uint8_t *base = mem(n), *out = mem(codec_bound(n)), *again = mem(codec_bound(n));
    struct error err = ERROR_INIT;
    size_t len = 0, len2 = 0;
    bool worth = false;
    enum codec_kind kind = CODEC_RAW;
    fill_text(base, n);
    assert_int_equal(codec_encode(*state, BYTES_OF(base, n), 1, out, &len, &kind, &err), 0);
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(base, n), BYTES_OF(base, n), 1, again, &len2, &worth, &err),
                     0);
    assert_true(worth);
    uint8_t *noise = mem(n);
    fill_random(noise, n);
    assert_int_equal(codec_encode_delta(*state, BYTES_OF(noise, n), BYTES_OF(base, n), 1, again, &len2, &worth, &err),
                     0);
    assert_false(worth);
    seam_free(noise);
    assert_int_equal(codec_encode(*state, BYTES_OF(base, n), 1, again, &len2, &kind, &err), 0);
    assert_true(bytes_equal(BYTES_OF(out, len), BYTES_OF(again, len2)));
    seam_free(base);
    seam_free(out);
    seam_free(again);
}

static void its_room_stays_and_grows(void **state) {
    uint8_t *small = codec_room(*state, 100);
    assert_non_null(small);
    memset(small, 1, 100);
    assert_ptr_equal(codec_room(*state, 50), small);
    assert_ptr_equal(codec_room(*state, 100), small);
    uint8_t *large = codec_room(*state, 1u << 20);
    assert_non_null(large);
    memset(large, 2, 1u << 20);
    assert_ptr_equal(codec_room(*state, 100), large);
}

/* The memory seam fails once: the codec says so and leaves nothing. */
static void *no_alloc(size_t n) {
    (void)n;
    errno = ENOMEM;
    return NULL;
}
static void want_of_memory_is_an_error(void **state) {
    (void)state;
    struct seam broken = seam_system;
    struct error err = ERROR_INIT;
    struct codec *c = NULL;
    broken.alloc = no_alloc;
    const struct seam *was = seam_table;
    seam_table = &broken;
    const int rc = codec_new(&c, &err);
    seam_table = was;
    assert_int_equal(rc, -ERR_NO_MEMORY);
    assert_null(c);
    assert_true(err.text[0] != 0);
    uint8_t *had = codec_room(*state, 100);
    assert_non_null(had);
    seam_table = &broken;
    uint8_t *none = codec_room(*state, 8u << 20);
    seam_table = was;
    assert_null(none);
    uint8_t *again = codec_room(*state, 100);
    assert_non_null(again);
    memset(again, 3, 100);
}

int main(void) {
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CLAIM(text_is_compressed_and_comes_back_at_every_size_and_level),
        CLAIM(tiny_inputs_stay_raw_and_come_back),
        CLAIM(random_bytes_stay_raw_at_every_size),
        CLAIM(raw_answers_write_nothing_for_large_random_input),
        CLAIM(the_quick_test_does_not_give_up_on_what_compresses),
        CLAIM(savings_under_three_per_cent_do_not_count),
        CLAIM(every_truncation_is_refused),
        CLAIM(other_sizes_than_the_frame_has_are_refused),
        CLAIM(garbled_frames_never_write_past_the_end),
        CLAIM(garbage_and_unknown_kinds_are_refused),
        CLAIM(only_one_frame_and_nothing_else_is_taken),
        CLAIM(bombs_and_large_windows_are_refused),
        CLAIM(a_changed_chunk_costs_little_against_its_former_self),
        CLAIM(pages_cost_little_against_their_former_selves),
        CLAIM(nothing_is_written_around_the_room_of_short_pages),
        CLAIM(text_is_told_from_programs_and_noise),
        CLAIM(steps_come_to_the_same_as_the_whole),
        CLAIM(what_is_expected_is_no_matter_for_decoding),
        CLAIM(a_shifted_chunk_of_another_length_is_still_worth_it),
        CLAIM(a_delta_over_half_or_against_nothing_is_not_worth_it),
        CLAIM(a_wrong_base_is_refused_or_gives_other_bytes),
        CLAIM(a_delta_leaves_nothing_behind_for_the_next_frame),
        CLAIM(its_room_stays_and_grows),
        CLAIM(want_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
