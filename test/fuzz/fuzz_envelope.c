/* Signed envelopes (DSSE): what is refused, what verifies, and that no bit of one can be flipped unnoticed. First byte
 * 0: the rest is an envelope. Else: u32 bit to flip, and the payload to be signed. */
#include "ledger/ledger.h"
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENVELOPE_MAX (4u << 20)

static void envelope(struct bytes in, const uint8_t pub[SIGN_PUBLIC_BYTES]) {
    struct error err = ERROR_INIT;
    struct buf decoded = BUF_INIT(ENVELOPE_MAX), verified = BUF_INIT(ENVELOPE_MAX);
    uint8_t claimed[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    int rc = dsse_decode(in, &decoded, claimed, sig, &err);
    need(rc == 0 || (rc == -ERR_LEDGER_BROKEN && decoded.len == 0 && strstr(err.text, "envelope")));
    error_clear(&err);
    int valid = dsse_verify(in, pub, &verified, &err);
    need(valid == 0 || (valid == -ERR_LEDGER_BROKEN && verified.len == 0));
    if (valid == 0) {
        need(rc == 0 && memcmp(claimed, pub, sizeof claimed) == 0);
        need(decoded.len == verified.len && memcmp(decoded.ptr, verified.ptr, decoded.len) == 0);
    }
    /* whoever else it claims to be of, it is */
    if (rc == 0 && memcmp(claimed, pub, sizeof claimed) != 0) need(valid < 0);
    buf_free(&decoded);
    buf_free(&verified);
}

static void flipped(struct bytes in, struct bytes seed, const uint8_t pub[SIGN_PUBLIC_BYTES]) {
    struct error err = ERROR_INIT;
    struct buf made = BUF_INIT(ENVELOPE_MAX), payload = BUF_INIT(ENVELOPE_MAX);
    uint64_t bit = input_number(&in, 4);
    need(dsse_sign(seed, in, &made, &err) == 0);
    need(dsse_verify(buf_bytes(&made), pub, &payload, &err) == 0);
    need(payload.len == in.len && (in.len == 0 || memcmp(payload.ptr, in.ptr, in.len) == 0));
    bit %= made.len * 8;
    made.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    need(dsse_verify(buf_bytes(&made), pub, &payload, &err) == -ERR_LEDGER_BROKEN && payload.len == in.len);
    envelope(buf_bytes(&made), pub);
    buf_free(&made);
    buf_free(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fixture f;
    struct error err = ERROR_INIT;
    uint8_t pub[SIGN_PUBLIC_BYTES];
    if (size < 1 || size > 1u << 20) return 0;
    struct bytes in = BYTES_OF(data + 1, size - 1);
    fixture_init(&f);
    struct bytes seed = secret_bytes(f.repo.keys->sign_seed);
    need(sign_public(seed, pub, &err) == 0);
    if (data[0] == 0)
        envelope(in, pub);
    else
        flipped(in, seed, pub);
    fixture_free(&f);
    return 0;
}
