#include "crypto_test.h"

static void of(const char *text, size_t times, const char *want) {
    struct sha256_state *s;
    struct digest d;
    OK(sha256_new(&s, e));
    for (size_t i = 0; i < times; i++) sha256_update(s, BYTES_STR(text));
    sha256_finish(s, &d);
    is_hex(d.b, 32, want);
    sha256_free(s);
}

static void sha256_is_fips_180_4(void **state) {
    (void)state;
    struct digest d;
    sha256(BYTES_OF(NULL, 0), &d);
    is_hex(d.b, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256(BYTES_STR("abc"), &d);
    is_hex(d.b, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    of("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    of("", 3, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void a_copy_of_a_state_goes_its_own_way(void **state) {
    (void)state;
    struct sha256_state *a, *b;
    struct digest da, db;
    OK(sha256_new(&a, e));
    sha256_update(a, BYTES_STR("ab"));
    OK(sha256_copy(a, &b, e));
    sha256_update(b, BYTES_STR("c"));
    sha256_finish(b, &db);
    sha256_update(a, BYTES_STR("c"));
    sha256_finish(a, &da);
    is_hex(da.b, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(digest_equal(&da, &db));
    sha256_finish(a, &da); /* finishing begins another message */
    is_hex(da.b, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_free(a);
    sha256_free(b);
    sha256_free(NULL);
}

static void hmac_is_rfc_4231(void **state) {
    (void)state;
    struct digest d;
    uint8_t key[131], data[50];
    memset(key, 0x0b, 20);
    hmac_sha256(BYTES_OF(key, 20), BYTES_STR("Hi There"), &d);
    is_hex(d.b, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_sha256(BYTES_STR("Jefe"), BYTES_STR("what do ya want for nothing?"), &d);
    is_hex(d.b, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    memset(data, 0xdd, sizeof data);
    hmac_sha256(BYTES_OF(key, 20), BYTES_OF(data, 50), &d);
    is_hex(d.b, 32, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    hmac_sha256(BYTES_OF(key, 131), BYTES_STR("Test Using Larger Than Block-Size Key - Hash Key First"), &d);
    is_hex(d.b, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void hkdf_is_rfc_5869(void **state) {
    (void)state;
    uint8_t out[82], ikm[80], salt[80], info[80];
    memset(ikm, 0x0b, 22);
    for (int i = 0; i < 80; i++) salt[i] = (uint8_t)i, info[i] = (uint8_t)(0xf0 + i);
    OK(hkdf_sha256(BYTES_OF(ikm, 22), BYTES_OF(salt, 13), BYTES_OF(info, 10), out, 42, e));
    is_hex(out, 42, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    OK(hkdf_sha256(BYTES_OF(ikm, 22), BYTES_OF(NULL, 0), BYTES_OF(NULL, 0), out, 42, e));
    is_hex(out, 42, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
    for (int i = 0; i < 80; i++) ikm[i] = (uint8_t)i, salt[i] = (uint8_t)(0x60 + i), info[i] = (uint8_t)(0xb0 + i);
    OK(hkdf_sha256(BYTES_OF(ikm, 80), BYTES_OF(salt, 80), BYTES_OF(info, 80), out, 82, e));
    is_hex(
        out, 82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f"
        "09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87");
}

static void hkdf_refuses_more_than_it_can_give(void **state) {
    (void)state;
    uint8_t *out = malloc(8161);
    assert_non_null(out);
    struct bytes k = BYTES_STR("k");
    OK(hkdf_sha256(k, k, k, out, 8160, e));
    FAILS(ERR_CRYPTO, "at most 8160 bytes", hkdf_sha256(k, k, k, out, 8161, e));
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_is_fips_180_4),
        cmocka_unit_test(a_copy_of_a_state_goes_its_own_way),
        cmocka_unit_test(hmac_is_rfc_4231),
        cmocka_unit_test(hkdf_is_rfc_5869),
        cmocka_unit_test(hkdf_refuses_more_than_it_can_give),
    };
    return cmocka_run_group_tests(tests, init_crypto, NULL);
}
