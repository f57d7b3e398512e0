#include "base/bytes.h"
#include "harness/claims.h"
#include "harness/fault.h"
#include <stdlib.h>

static int sign(int v) {
    return (v > 0) - (v < 0);
}
static int compare(const char *a, const char *b) {
    return sign(name_compare(BYTES_STR(a), BYTES_STR(b)));
}

static void contents_follow_their_folder(void **s) {
    (void)s;
    const char *const order[] = {"", "a", "a/", "a/x", "a/x/y", "a/xx", "a\x01", "a.b", "a.b/c", "ab", "b", "\xff"};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        for (size_t k = 0; k < sizeof order / sizeof *order; k++)
            assert_int_equal(compare(order[i], order[k]), sign((int)i - (int)k));
}

/* What name_compare promises, as the order of path components; the two must agree on names without empty components. */
static int compare_components(const char *a, const char *b) {
    while (*a || *b) {
        size_t n = strcspn(a, "/"), m = strcspn(b, "/");
        int c = memcmp(a, b, n < m ? n : m);
        if (c) return sign(c);
        if (n != m) return n < m ? -1 : 1;
        a += n + (a[n] == '/');
        b += m + (b[m] == '/');
    }
    return 0;
}

static void property_name_order_is_component_order(void **s) {
    (void)s;
    srand(1);
    const char alphabet[] = "a.-/b";
    for (int round = 0; round < 200000; round++) {
        char n[2][8];
        for (int k = 0; k < 2; k++) {
            int len = 1 + rand() % 6;
            for (int i = 0; i < len; i++) {
                char c = alphabet[rand() % 5];
                bool edge = i == 0 || i == len - 1 || n[k][i - 1] == '/';
                n[k][i] = c == '/' && edge ? 'a' : c;
            }
            n[k][len] = 0;
        }
        assert_int_equal(compare(n[0], n[1]), compare_components(n[0], n[1]));
        assert_int_equal(compare(n[0], n[1]), -compare(n[1], n[0]));
    }
}

static void buffer_never_passes_its_limit(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(10);
    claim_ok(buf_append(&b, "0123456789", 10, &e), e);
    claim_fails(buf_append(&b, "x", 1, &e), e, ERR_NO_MEMORY, "limit of 10 bytes");
    claim_fails(buf_printf(&b, &e, "%d", 1), e, ERR_NO_MEMORY, "limit of 10 bytes");
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.ptr, "0123456789", 10);
    claim_ok(buf_terminate(&b, &e), e);
    assert_string_equal((char *)b.ptr, "0123456789");
    assert_int_equal(b.len, 10);
    buf_clear(&b);
    claim_ok(buf_printf(&b, &e, "%s-%d", "ab", 42), e);
    claim_ok(buf_append_str(&b, "!", &e), e);
    assert_true(bytes_equal(buf_bytes(&b), BYTES_STR("ab-42!")));
    buf_free(&b);
    buf_free(&b);
    buf_free(NULL);
    struct buf zero = {0};
    claim_fails(buf_append(&zero, "x", 1, &e), e, ERR_NO_MEMORY, "limit of 0 bytes");
    claim_fails(buf_reserve(&b, SIZE_MAX, &e), e, ERR_NO_MEMORY, "limit");
    buf_free(&zero);
}

static void buffer_survives_refused_memory(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(1000);
    claim_ok(buf_append(&b, "keep", 4, &e), e);
    fault_install();
    fault_fail(1, 0, true);
    uint8_t more[200] = {0};
    claim_fails(buf_append(&b, more, sizeof more, &e), e, ERR_NO_MEMORY, "Cannot allocate memory");
    fault_remove();
    assert_true(bytes_equal(buf_bytes(&b), BYTES_STR("keep")));
    buf_free(&b);
}

static void cursor_latches_after_a_short_take(void **s) {
    (void)s;
    const uint8_t p[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    struct cursor c = cursor_of(BYTES_OF(p, sizeof p));
    assert_int_equal(cursor_u8(&c), 1);
    assert_int_equal(cursor_u16(&c), 0x0302);
    assert_int_equal(cursor_u32(&c), 0x07060504);
    assert_true(cursor_u64(&c) == 0x0f0e0d0c0b0a0908);
    assert_int_equal(cursor_u16(&c), 0);
    assert_true(c.bad);
    assert_int_equal(cursor_u8(&c), 0);
    assert_null(cursor_take(&c, 0).ptr);
    c = cursor_of(BYTES_OF(NULL, 0));
    assert_int_equal(cursor_take(&c, 0).len, 0);
    assert_false(c.bad);
    cursor_take(&c, SIZE_MAX);
    assert_true(c.bad);
}

static uint64_t random_u64(void) {
    uint64_t v = 0;
    for (int i = 0; i < 5; i++) v = v << 15 ^ (uint64_t)rand();
    return v >> (rand() % 64);
}

static void property_varint_round_trips(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(64);
    srand(2);
    for (int i = 0; i < 100000; i++) {
        uint64_t v = i == 0 ? 0 : i == 1 ? UINT64_MAX : random_u64();
        buf_clear(&b);
        claim_ok(buf_append_varint(&b, v, &e), e);
        claim_ok(buf_append_u32(&b, (uint32_t)v, &e), e);
        claim_ok(buf_append_u64(&b, v, &e), e);
        struct cursor c = cursor_of(buf_bytes(&b));
        assert_true(cursor_varint(&c) == v);
        assert_true(cursor_u32(&c) == (uint32_t)v && cursor_u64(&c) == v);
        assert_true(!c.bad && c.len == 0);
        /* Every cut is noticed. */
        for (size_t n = 0; n < b.len - 12; n++) {
            c = cursor_of(BYTES_OF(b.ptr, n));
            assert_int_equal(cursor_varint(&c), 0);
            assert_true(c.bad);
        }
    }
    buf_free(&b);
}

static void overlong_varints_are_bad(void **s) {
    (void)s;
    const struct bytes rows[] = {
        BYTES_OF("\x80\x00", 2),
        BYTES_OF("\xff\x80\x00", 3),
        BYTES_OF("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10),
        BYTES_OF("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11),
        BYTES_OF("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10),
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cursor c = cursor_of(rows[i]);
        assert_int_equal(cursor_varint(&c), 0);
        assert_true(c.bad);
    }
    struct cursor zero = cursor_of(BYTES_OF("\x00", 1));
    assert_int_equal(cursor_varint(&zero), 0);
    assert_false(zero.bad);
}

static void arrays_grow_without_overflow(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    void *p = NULL;
    size_t cap = 0;
    claim_ok(mem_grow(&p, &cap, 3, 8, &e), e);
    assert_true(cap >= 3);
    memset(p, 7, cap * 8);
    claim_ok(mem_grow(&p, &cap, cap + 1, 8, &e), e);
    assert_int_equal(((uint8_t *)p)[63], 7);
    size_t before = cap;
    claim_fails(mem_grow(&p, &cap, SIZE_MAX / 2, 8, &e), e, ERR_NO_MEMORY, "too many");
    assert_int_equal(cap, before);
    seam_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contents_follow_their_folder),      cmocka_unit_test(property_name_order_is_component_order),
        cmocka_unit_test(buffer_never_passes_its_limit),     cmocka_unit_test(buffer_survives_refused_memory),
        cmocka_unit_test(cursor_latches_after_a_short_take), cmocka_unit_test(property_varint_round_trips),
        cmocka_unit_test(overlong_varints_are_bad),          cmocka_unit_test(arrays_grow_without_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
