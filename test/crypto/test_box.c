#include "crypto_test.h"

static const uint8_t secret[32] = {0x5d, 0xab, 0x08, 0x7e, 0x62, 0x4a, 0x8a, 0x4b, 0x79, 0xe1, 0x7f,
                                   0x8b, 0x83, 0x80, 0x0e, 0xe6, 0x6f, 0x3b, 0xb1, 0x29, 0x26, 0x18,
                                   0xb6, 0xfd, 0x1c, 0x2f, 0x8b, 0x27, 0xff, 0x88, 0xe0, 0xeb};

static void public_keys_are_rfc_7748(void **state) {
    (void)state;
    uint8_t pub[32];
    OK(box_public(BYTES_OF(secret, 32), pub, e));
    is_hex(pub, 32, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    FAILS(ERR_CRYPTO, "has 32 bytes, not 5", box_public(BYTES_OF(secret, 5), pub, e));
}

static void only_the_secret_opens_a_box(void **state) {
    (void)state;
    uint8_t pub[32], box[48 + 21], again[48 + 21], out[21], other[32] = {9};
    struct bytes plain = BYTES_OF("what the box contains", 21);
    OK(box_public(BYTES_OF(secret, 32), pub, e));
    OK(box_seal(pub, plain, box, e));
    OK(box_seal(pub, plain, again, e));
    assert_memory_not_equal(box, again, sizeof box); /* each box has a key of its own */
    OK(box_open(BYTES_OF(secret, 32), BYTES_OF(box, sizeof box), out, e));
    assert_memory_equal(out, plain.ptr, 21);
    memset(out, 0x77, sizeof out);
    FAILS(ERR_KEY_WRONG, "sealed to another key, or altered",
          box_open(BYTES_OF(other, 32), BYTES_OF(box, sizeof box), out, e));
    for (size_t i = 0; i < sizeof out; i++) assert_int_equal(out[i], 0);
}

static void no_bit_of_a_box_can_change(void **state) {
    (void)state;
    uint8_t pub[32], box[48 + 3], out[3];
    OK(box_public(BYTES_OF(secret, 32), pub, e));
    OK(box_seal(pub, BYTES_STR("abc"), box, e));
    for (size_t bit = 0; bit < sizeof box * 8; bit++) {
        box[bit / 8] ^= (uint8_t)(1 << bit % 8);
        FAILS(ERR_KEY_WRONG, "does not open with the key whose public half is de9edb7d7b7dc1b4",
              box_open(BYTES_OF(secret, 32), BYTES_OF(box, sizeof box), out, e));
        box[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    OK(box_open(BYTES_OF(secret, 32), BYTES_OF(box, sizeof box), out, e));
    FAILS(ERR_OBJECT_CORRUPT, "47 bytes", box_open(BYTES_OF(secret, 32), BYTES_OF(box, 47), out, e));
}

static void an_empty_box_and_a_degenerate_key(void **state) {
    (void)state;
    uint8_t pub[32], box[48], out[1], zero[32] = {0};
    OK(box_public(BYTES_OF(secret, 32), pub, e));
    OK(box_seal(pub, BYTES_OF(NULL, 0), box, e));
    OK(box_open(BYTES_OF(secret, 32), BYTES_OF(box, 48), out, e));
    FAILS(ERR_CRYPTO, "degenerate", box_seal(zero, BYTES_OF(NULL, 0), box, e));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_keys_are_rfc_7748),
        cmocka_unit_test(only_the_secret_opens_a_box),
        cmocka_unit_test(no_bit_of_a_box_can_change),
        cmocka_unit_test(an_empty_box_and_a_degenerate_key),
    };
    return cmocka_run_group_tests(tests, init_crypto, NULL);
}
