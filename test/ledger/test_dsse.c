/* DSSE envelopes: one key's word for exact bytes, with no bit that could be altered unnoticed. */
#include "fixture.h"

#define PAYLOAD "{\"_type\":\"https://in-toto.io/Statement/v1\",\"text\":\"h\xc3\xa9llo\"}"

static void sign_sample(struct buf *envelope, uint8_t pub[SIGN_PUBLIC_BYTES]) {
    struct error err;
    EXPECT_OK(dsse_sign(test_key, BYTES_STR(PAYLOAD), envelope, &err), err);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
}

static void what_was_signed_is_what_is_read(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(4096), payload = BUF_INIT(4096);
    uint8_t pub[SIGN_PUBLIC_BYTES], claimed[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    struct error err;
    sign_sample(&envelope, pub);
    EXPECT_OK(dsse_verify(buf_bytes(&envelope), pub, &payload, &err), err);
    assert_true(bytes_equal(buf_bytes(&payload), BYTES_STR(PAYLOAD)));
    buf_clear(&payload);
    EXPECT_OK(dsse_decode(buf_bytes(&envelope), &payload, claimed, sig, &err), err);
    assert_memory_equal(claimed, pub, sizeof(pub));
    assert_true(bytes_equal(buf_bytes(&payload), BYTES_STR(PAYLOAD)));
}

static void an_empty_payload_is_a_payload(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(4096), payload = BUF_INIT(4096);
    uint8_t pub[SIGN_PUBLIC_BYTES];
    struct error err;
    EXPECT_OK(dsse_sign(test_key, BYTES_OF(NULL, 0), &envelope, &err), err);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    EXPECT_OK(dsse_verify(buf_bytes(&envelope), pub, &payload, &err), err);
    assert_int_equal(payload.len, 0);
}

static void every_flipped_bit_is_refused(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(4096), payload = BUF_INIT(8192);
    uint8_t pub[SIGN_PUBLIC_BYTES];
    sign_sample(&envelope, pub);
    for (size_t bit = 0; bit < envelope.len * 8; bit++) {
        struct error err = ERROR_INIT;
        envelope.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (dsse_verify(buf_bytes(&envelope), pub, &payload, &err) != -ERR_LEDGER_BROKEN)
            fail_msg("bit %zu was flipped and the envelope was taken (%s)", bit, err.text);
        assert_int_equal(payload.len, 0);
        envelope.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void every_shorter_or_longer_envelope_is_refused(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(4096), payload = BUF_INIT(8192);
    uint8_t pub[SIGN_PUBLIC_BYTES];
    struct error err;
    sign_sample(&envelope, pub);
    for (size_t len = 0; len < envelope.len; len++)
        EXPECT_FAIL(dsse_verify(BYTES_OF(envelope.ptr, len), pub, &payload, &err), err, LEDGER_BROKEN, "envelope");
    EXPECT_OK(buf_append_str(&envelope, "x", &err), err);
    EXPECT_FAIL(dsse_verify(buf_bytes(&envelope), pub, &payload, &err), err, LEDGER_BROKEN, "envelope");
}

static void another_key_is_refused(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(4096), payload = BUF_INIT(4096);
    uint8_t pub[SIGN_PUBLIC_BYTES], seed[SIGN_SEED_BYTES] = {9};
    struct error err;
    sign_sample(&envelope, pub);
    EXPECT_OK(sign_public(BYTES_OF(seed, sizeof(seed)), pub, &err), err);
    EXPECT_FAIL(dsse_verify(buf_bytes(&envelope), pub, &payload, &err), err, LEDGER_BROKEN, "signed by another key");
}

/* A keyid proves nothing: who swaps it for another key's gets nowhere. */
static void a_swapped_keyid_is_refused(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(4096), payload = BUF_INIT(4096);
    uint8_t pub[SIGN_PUBLIC_BYTES], other[SIGN_PUBLIC_BYTES], seed[SIGN_SEED_BYTES] = {9};
    char from[65], to[65];
    struct error err;
    sign_sample(&envelope, pub);
    EXPECT_OK(sign_public(BYTES_OF(seed, sizeof(seed)), other, &err), err);
    hex_encode(pub, sizeof(pub), from);
    hex_encode(other, sizeof(other), to);
    EXPECT_OK(buf_terminate(&envelope, &err), err);
    char *at = strstr((char *)envelope.ptr, from);
    assert_non_null(at);
    memcpy(at, to, 64);
    EXPECT_FAIL(dsse_verify(buf_bytes(&envelope), other, &payload, &err), err, LEDGER_BROKEN,
                "signature does not hold");
}

static void verify_text(const char *text, const char *fragment) {
    uint8_t pub[SIGN_PUBLIC_BYTES];
    struct error err;
    CLEANUP(buf_free) struct buf payload = BUF_INIT(4096);
    EXPECT_OK(sign_public(test_key, pub, &err), err);
    EXPECT_FAIL(dsse_verify(BYTES_STR(text), pub, &payload, &err), err, LEDGER_BROKEN, fragment);
}

static void malformed_envelopes_are_refused_with_their_reason(void **state) {
    (void)state;
    verify_text("", "envelope");
    verify_text("[]", "not an object");
    verify_text("{}", "signatures");
    verify_text("{\"payload\":\"\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[]}",
                "one signature");
    verify_text("{\"payload\":\"\",\"payloadType\":\"text/plain\",\"signatures\":[{\"keyid\":\"\",\"sig\":\"\"}]}",
                "payload type");
    verify_text("{\"payload\":\"\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[{\"keyid\":\"\","
                "\"sig\":\"\"}]}",
                "keyid");
    verify_text(
        "{\"payload\":\"\",\"payload\":\"\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[{}]}",
        "duplicate");
    verify_text("{\"payload\":\"?\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[{\"keyid\":"
                "\"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\",\"sig\":\"AAAA\"}]}",
                "base64");
    verify_text("{\"payload\":\"\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[{\"keyid\":"
                "\"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\",\"sig\":\"AAAA\"}]}",
                "3 bytes");
}

/* Others may write base64url and spaces; the signature is over the payload, not over its spelling. */
static void other_spellings_of_the_envelope_are_read(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(4096), payload = BUF_INIT(4096), other = BUF_INIT(4096);
    uint8_t pub[SIGN_PUBLIC_BYTES];
    struct error err;
    sign_sample(&envelope, pub);
    bool value = false, inside = false;
    for (size_t i = 0; i < envelope.len; i++) {
        char c = (char)envelope.ptr[i];
        if (c == '"') inside = !inside;
        if (!inside) value = c == ':';
        if (inside && value && (c == '=')) continue;
        EXPECT_OK(buf_append(&other, &c, 1, &err), err);
        if (!inside && (c == ',' || c == ':')) EXPECT_OK(buf_append_str(&other, "\n ", &err), err);
    }
    EXPECT_OK(dsse_verify(buf_bytes(&other), pub, &payload, &err), err);
    assert_true(bytes_equal(buf_bytes(&payload), BYTES_STR(PAYLOAD)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_signed_is_what_is_read),
        cmocka_unit_test(an_empty_payload_is_a_payload),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(every_shorter_or_longer_envelope_is_refused),
        cmocka_unit_test(another_key_is_refused),
        cmocka_unit_test(a_swapped_keyid_is_refused),
        cmocka_unit_test(malformed_envelopes_are_refused_with_their_reason),
        cmocka_unit_test(other_spellings_of_the_envelope_are_read),
    };
    return cmocka_run_group_tests(tests, crypto_setup, NULL);
}
