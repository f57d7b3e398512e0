/* DSSE v1.0.2 (secure-systems-lab/dsse, envelope.md and protocol.md), with one Ed25519 signature. Stricter than the
 * specification: no unknown members, exactly one signature, a keyid that is the key, and no spare bits in base64; so an
 * envelope has no bit that could be flipped unnoticed. */
#include "base/json.h"
#include "base/seam.h"
#include "ledger/ledger.h"

#define DSSE_MAX_BYTES ((size_t)128 << 20)

/* The cause keeps its code only when it is the machine's fault and not the envelope's. */
static int refuse(struct error *err, const struct error *cause) {
    return error_set(err, error_info(cause->code)->status == EXIT_INTEGRITY ? ERR_LEDGER_BROKEN : cause->code, "%s",
                     cause->text);
}

static int pae(struct bytes payload, struct buf *ret, struct error *err) {
    if (buf_printf(ret, err, "DSSEv1 %zu %s %zu ", strlen(PAYLOAD_TYPE), PAYLOAD_TYPE, payload.len) < 0 ||
        buf_append(ret, payload.ptr, payload.len, err) < 0)
        return error_wrap(err, "signed envelope");
    return 0;
}

int dsse_sign(struct bytes sign_seed, struct bytes payload, struct buf *ret_envelope, struct error *err) {
    CLEANUP(buf_free) struct buf body = BUF_INIT(payload.len + 256);
    uint8_t sig[SIGN_BYTES], pub[SIGN_PUBLIC_BYTES];
    char keyid[2 * SIGN_PUBLIC_BYTES + 1];
    if (pae(payload, &body, err) < 0 || sign_detached(sign_seed, buf_bytes(&body), sig, err) < 0 ||
        sign_public(sign_seed, pub, err) < 0)
        return error_wrap(err, "signing");
    hex_encode(pub, sizeof(pub), keyid);
    size_t before = ret_envelope->len;
    if (buf_append_str(ret_envelope, "{\"payload\":\"", err) < 0 || base64_encode(ret_envelope, payload, err) < 0 ||
        buf_printf(ret_envelope, err, "\",\"payloadType\":\"%s\",\"signatures\":[{\"keyid\":\"%s\",\"sig\":\"",
                   PAYLOAD_TYPE, keyid) < 0 ||
        base64_encode(ret_envelope, BYTES_OF(sig, sizeof(sig)), err) < 0 ||
        buf_append_str(ret_envelope, "\"}]}", err) < 0) {
        ret_envelope->len = before;
        return error_wrap(err, "signed envelope");
    }
    return 0;
}

/* base64_decode takes both alphabets and refuses a second spelling of the same value. */
static int decode_base64(const char *text, struct buf *ret, struct error *err) {
    struct error e = ERROR_INIT;
    if (base64_decode(ret, BYTES_STR(text), &e) == 0) return 0;
    (void)!error_wrap(&e, "envelope");
    return refuse(err, &e);
}

static int need_text(const json_t *o, const char *key, const char **ret, struct error *err) {
    struct error e = ERROR_INIT;
    return json_need_str(o, key, "envelope", ret, &e) < 0 ? refuse(err, &e) : 0;
}

static int decode(struct bytes envelope, struct buf *payload, uint8_t pub[SIGN_PUBLIC_BYTES], uint8_t sig[SIGN_BYTES],
                  struct error *err) {
    json_auto_t *doc = NULL;
    json_t *list = NULL;
    struct error e = ERROR_INIT;
    if (json_parse(envelope, DSSE_MAX_BYTES, "envelope", &doc, &e) < 0 ||
        json_need_array(doc, "signatures", "envelope", &list, &e) < 0)
        return refuse(err, &e);
    const json_t *one = json_array_get(list, 0);
    if (json_object_size(doc) != 3 || json_array_size(list) != 1 || json_object_size(one) != 2)
        return error_set(err, ERR_LEDGER_BROKEN,
                         "the envelope has other members than a payload, its type and one signature");
    const char *type, *body, *keyid, *sig64;
    if (need_text(doc, "payloadType", &type, err) < 0 || need_text(doc, "payload", &body, err) < 0 ||
        need_text(one, "keyid", &keyid, err) < 0 || need_text(one, "sig", &sig64, err) < 0)
        return -(int)err->code;
    if (strcmp(type, PAYLOAD_TYPE) != 0)
        return error_set(err, ERR_LEDGER_BROKEN, "the envelope's payload type is not %s", PAYLOAD_TYPE);
    char again[2 * SIGN_PUBLIC_BYTES + 1] = "";
    bool hex = hex_decode(keyid, strlen(keyid), pub, SIGN_PUBLIC_BYTES);
    if (hex) hex_encode(pub, SIGN_PUBLIC_BYTES, again);
    if (!hex || strcmp(again, keyid) != 0)
        return error_set(err, ERR_LEDGER_BROKEN, "the envelope's keyid is not a key in lower-case hex");
    CLEANUP(buf_free) struct buf raw = BUF_INIT(strlen(sig64) + 8);
    if (decode_base64(body, payload, err) < 0 || decode_base64(sig64, &raw, err) < 0) return -(int)err->code;
    if (raw.len != SIGN_BYTES)
        return error_set(err, ERR_LEDGER_BROKEN, "the envelope's signature has %zu bytes, not %d", raw.len, SIGN_BYTES);
    memcpy(sig, raw.ptr, SIGN_BYTES);
    return 0;
}

/* Through a buffer of its own, so that ret_payload is as it was after a failure. */
int dsse_decode(struct bytes envelope, struct buf *ret_payload, uint8_t ret_pub[SIGN_PUBLIC_BYTES],
                uint8_t ret_sig[SIGN_BYTES], struct error *err) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(envelope.len + 8);
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    if (decode(envelope, &payload, pub, sig, err) < 0 || buf_append(ret_payload, payload.ptr, payload.len, err) < 0)
        return -(int)err->code;
    memcpy(ret_pub, pub, sizeof(pub));
    memcpy(ret_sig, sig, sizeof(sig));
    return 0;
}

int dsse_verify(struct bytes envelope, const uint8_t pub[SIGN_PUBLIC_BYTES], struct buf *ret_payload,
                struct error *err) {
    CLEANUP(buf_free) struct buf payload = BUF_INIT(envelope.len + 8);
    CLEANUP(buf_free) struct buf body = BUF_INIT(envelope.len + 256);
    uint8_t claimed[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    if (decode(envelope, &payload, claimed, sig, err) < 0) return -(int)err->code;
    if (memcmp(claimed, pub, sizeof(claimed)) != 0)
        return error_set(err, ERR_LEDGER_BROKEN, "the envelope is signed by another key than the one expected");
    if (pae(buf_bytes(&payload), &body, err) < 0) return -(int)err->code;
    if (!sign_verify(pub, buf_bytes(&body), sig))
        return error_set(err, ERR_LEDGER_BROKEN, "the envelope's signature does not hold");
    if (buf_append(ret_payload, payload.ptr, payload.len, err) < 0) return error_wrap(err, "signed envelope");
    return 0;
}
