#include "crypto_test.h"

static const struct {
    const char *seed, *pub, *msg, *sig;
} vectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe246"
     "5"
     "5141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb"
     "0"
     "0d291612bb0c00"},
};

static void ed25519_is_rfc_8032(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct bytes seed = hex(vectors[i].seed), msg = hex(vectors[i].msg);
        uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
        OK(sign_public(seed, pub, e));
        is_hex(pub, sizeof pub, vectors[i].pub);
        OK(sign_detached(seed, msg, sig, e));
        is_hex(sig, sizeof sig, vectors[i].sig);
        assert_true(sign_verify(pub, msg, sig));
        unhex(seed), unhex(msg);
    }
}

static void a_signature_holds_for_its_key_and_message_alone(void **state) {
    (void)state;
    uint8_t seed[32] = {7}, other[32] = {8}, pub[32], other_pub[32], sig[64], msg[9] = "evidence";
    OK(sign_public(BYTES_OF(seed, 32), pub, e));
    OK(sign_public(BYTES_OF(other, 32), other_pub, e));
    OK(sign_detached(BYTES_OF(seed, 32), BYTES_OF(msg, 8), sig, e));
    assert_false(sign_verify(other_pub, BYTES_OF(msg, 8), sig));
    assert_false(sign_verify(pub, BYTES_OF(msg, 7), sig));
    for (size_t bit = 0; bit < sizeof sig * 8; bit++) {
        sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(sign_verify(pub, BYTES_OF(msg, 8), sig));
        sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(sign_verify(pub, BYTES_OF(msg, 8), sig));
}

static void a_seed_of_another_size_is_refused(void **state) {
    (void)state;
    uint8_t seed[32] = {7}, out[64];
    FAILS(ERR_CRYPTO, "has 32 bytes, not 31", sign_public(BYTES_OF(seed, 31), out, e));
    FAILS(ERR_CRYPTO, "has 32 bytes, not 0", sign_detached(BYTES_OF(seed, 0), BYTES_STR("m"), out, e));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ed25519_is_rfc_8032),
        cmocka_unit_test(a_signature_holds_for_its_key_and_message_alone),
        cmocka_unit_test(a_seed_of_another_size_is_refused),
    };
    return cmocka_run_group_tests(tests, init_crypto, NULL);
}
