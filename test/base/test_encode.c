#include "base/bytes.h"
#include "harness/claims.h"
#include <stdlib.h>

static void hex_is_exact(void **s) {
    (void)s;
    char out[9];
    hex_encode("\x00\x0f\xf0\xff", 4, out);
    assert_string_equal(out, "000ff0ff");
    uint8_t p[4] = {9, 9, 9, 9};
    assert_true(hex_decode("000FF0ff", 8, p, 4));
    assert_memory_equal(p, "\x00\x0f\xf0\xff", 4);
    memset(p, 9, 4);
    assert_false(hex_decode("000ff0f", 7, p, 4));
    assert_false(hex_decode("000ff0ff0", 9, p, 4));
    assert_false(hex_decode("000ff0fg", 8, p, 4));
    assert_false(hex_decode("0x0ff0ff", 8, p, 4));
    assert_memory_equal(p, "\x09\x09\x09\x09", 4);
}

static void base64_follows_rfc_4648(void **s) {
    (void)s;
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"}};
    struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(100);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_clear(&b);
        claim_ok(base64_encode(&b, BYTES_STR(rows[i][0]), &e), e);
        assert_true(bytes_equal(buf_bytes(&b), BYTES_STR(rows[i][1])));
        buf_clear(&b);
        claim_ok(base64_decode(&b, BYTES_STR(rows[i][1]), &e), e);
        assert_true(bytes_equal(buf_bytes(&b), BYTES_STR(rows[i][0])));
        buf_clear(&b);
        claim_ok(base64_decode(&b, BYTES_OF(rows[i][1], strcspn(rows[i][1], "=")), &e), e);
        assert_true(bytes_equal(buf_bytes(&b), BYTES_STR(rows[i][0])));
    }
    buf_clear(&b);
    claim_ok(base64_decode(&b, BYTES_STR("-_+/"), &e), e);
    assert_true(bytes_equal(buf_bytes(&b), BYTES_OF("\xfb\xff\xbf", 3)));
    buf_free(&b);
}

static void base64_refuses_what_is_not(void **s) {
    (void)s;
    static const char *const rows[][2] = {{"Zg=", "padded wrongly"}, {"Z", "cut short"},
                                          {"Zm9vY", "cut short"},    {"====", "foreign"},
                                          {"Zm=v", "foreign"},       {"Z===", "foreign"},
                                          {"Zm9v\n", "cut short"},   {"Zm 9", "foreign character at offset 2"},
                                          {"Zh==", "stray bits"},    {"Zm9=", "stray bits"},
                                          {"=", "padded wrongly"},   {"Zg==Zg==", "foreign"}};
    struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(100);
    claim_ok(buf_append_str(&b, "before", &e), e);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        claim_fails(base64_decode(&b, BYTES_STR(rows[i][0]), &e), e, ERR_JSON, rows[i][1]);
        assert_true(bytes_equal(buf_bytes(&b), BYTES_STR("before")));
    }
    buf_free(&b);
}

static void property_encodings_round_trip(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    struct buf b = BUF_INIT(1000), back = BUF_INIT(1000);
    srand(3);
    for (int round = 0; round < 20000; round++) {
        uint8_t p[100], q[100];
        char hex[201];
        size_t n = (size_t)rand() % sizeof p;
        for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(rand() >> 7);
        buf_clear(&b);
        buf_clear(&back);
        claim_ok(base64_encode(&b, BYTES_OF(p, n), &e), e);
        assert_int_equal(b.len, (n + 2) / 3 * 4);
        claim_ok(base64_decode(&back, buf_bytes(&b), &e), e);
        assert_true(bytes_equal(buf_bytes(&back), BYTES_OF(p, n)));
        hex_encode(p, n, hex);
        assert_true(hex_decode(hex, 2 * n, q, n) && memcmp(p, q, n) == 0);
    }
    buf_free(&b);
    buf_free(&back);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hex_is_exact),
        cmocka_unit_test(base64_follows_rfc_4648),
        cmocka_unit_test(base64_refuses_what_is_not),
        cmocka_unit_test(property_encodings_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
