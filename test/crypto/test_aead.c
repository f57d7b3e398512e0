#include "crypto_test.h"

struct vector {
    enum cipher cipher;
    const char *key, *nonce, *aad, *plain, *sealed;
};

/* Test case 16 of McGrew and Viega's GCM specification, as taken up by NIST; RFC 8439 section 2.8.2. */
static const struct vector vectors[] = {
    {CIPHER_AES_256_GCM, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a"
     "bcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
    {CIPHER_CHACHA20_POLY1305, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
     "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
     "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920636f756c64206f6666"
     "657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73637265656e20776f756c642062652069"
     "742e",
     "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b29"
     "05d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b"
     "61161ae10b594f09e26a7e902ecbd0600691"},
};

static void the_ciphers_are_the_standards(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct vector *v = &vectors[i];
        struct bytes key = hex(v->key), nonce = hex(v->nonce), aad = hex(v->aad), plain = hex(v->plain);
        struct aead *a;
        uint8_t work[256];
        OK(aead_new(v->cipher, key, &a, e));
        for (int again = 0; again < 3; again++) { /* the context serves many messages, both ways, in place */
            memcpy(work, plain.ptr, plain.len);
            OK(aead_seal(a, nonce.ptr, aad, BYTES_OF(work, plain.len), work, e));
            is_hex(work, plain.len + AEAD_TAG_BYTES, v->sealed);
            OK(aead_open(a, nonce.ptr, aad, BYTES_OF(work, plain.len + AEAD_TAG_BYTES), work, e));
            assert_memory_equal(work, plain.ptr, plain.len);
        }
        aead_free(a);
        unhex(key), unhex(nonce), unhex(aad), unhex(plain);
    }
}

static void nothing_altered_is_opened(void **state) {
    (void)state;
    for (enum cipher c = CIPHER_AES_256_GCM; c <= CIPHER_CHACHA20_POLY1305; c++) {
        uint8_t key[32] = {1}, nonce[12] = {2}, aad[5] = {3}, plain[37], sealed[53], out[37];
        memset(plain, 0x5a, sizeof plain);
        struct aead *a;
        OK(aead_new(c, BYTES_OF(key, 32), &a, e));
        OK(aead_seal(a, nonce, BYTES_OF(aad, 5), BYTES_OF(plain, 37), sealed, e));
        struct {
            uint8_t *p;
            size_t n;
        } parts[] = {{sealed, 53}, {nonce, 12}, {aad, 5}};
        for (size_t i = 0; i < 3; i++) {
            for (size_t bit = 0; bit < parts[i].n * 8; bit++) {
                parts[i].p[bit / 8] ^= (uint8_t)(1 << bit % 8);
                memset(out, 0x77, sizeof out);
                FAILS(ERR_OBJECT_CORRUPT, "authentication tag does not hold",
                      aead_open(a, nonce, BYTES_OF(aad, 5), BYTES_OF(sealed, 53), out, e));
                for (size_t j = 0; j < sizeof out; j++) assert_int_equal(out[j], 0); /* not one byte is let out */
                parts[i].p[bit / 8] ^= (uint8_t)(1 << bit % 8);
            }
        }
        FAILS(ERR_OBJECT_CORRUPT, "fewer than its tag",
              aead_open(a, nonce, BYTES_OF(aad, 5), BYTES_OF(sealed, 15), out, e));
        OK(aead_open(a, nonce, BYTES_OF(aad, 5), BYTES_OF(sealed, 53), out, e)); /* failures do not spoil the context */
        assert_memory_equal(out, plain, 37);
        aead_free(a);
    }
}

static void empty_messages_and_empty_data_are_fine(void **state) {
    (void)state;
    for (enum cipher c = CIPHER_AES_256_GCM; c <= CIPHER_CHACHA20_POLY1305; c++) {
        uint8_t key[32] = {1}, nonce[12] = {2}, sealed[17], other[17], out[1];
        struct aead *a;
        OK(aead_new(c, BYTES_OF(key, 32), &a, e));
        OK(aead_seal(a, nonce, BYTES_OF(NULL, 0), BYTES_OF(NULL, 0), sealed, e));
        OK(aead_open(a, nonce, BYTES_OF(NULL, 0), BYTES_OF(sealed, 16), out, e));
        OK(aead_seal(a, nonce, BYTES_STR("x"), BYTES_OF(NULL, 0), other, e));
        assert_memory_not_equal(sealed, other, 16);
        aead_free(a);
    }
}

static void wrong_keys_and_ciphers_are_refused(void **state) {
    (void)state;
    struct aead *a;
    uint8_t key[32] = {0};
    FAILS(ERR_CRYPTO, "has 32 bytes, not 16", aead_new(CIPHER_AES_256_GCM, BYTES_OF(key, 16), &a, e));
    FAILS(ERR_CRYPTO, "no cipher of number 9", aead_new((enum cipher)9, BYTES_OF(key, 32), &a, e));
    assert_true(cipher_best() == CIPHER_AES_256_GCM || cipher_best() == CIPHER_CHACHA20_POLY1305);
    aead_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ciphers_are_the_standards),
        cmocka_unit_test(nothing_altered_is_opened),
        cmocka_unit_test(empty_messages_and_empty_data_are_fine),
        cmocka_unit_test(wrong_keys_and_ciphers_are_refused),
    };
    return cmocka_run_group_tests(tests, init_crypto, NULL);
}
