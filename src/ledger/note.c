#include "ledger/note_internal.h"

#include "base/seam.h"
#include <inttypes.h>

static bool name_fits(const char *name) {
    if (!*name) return false;
    for (const uint8_t *p = (const uint8_t *)name; *p; p++)
        if (*p <= ' ' || *p == '+' || *p > '~') return false;
    return true;
}

int note_id(const char *name, enum note_kind_of_key kind, const uint8_t pub[SIGN_PUBLIC_BYTES],
            uint8_t ret[NOTE_KEY_ID_BYTES], struct error *err) {
    if (!name_fits(name)) return error_set(err, ERR_INTERNAL, "'%s' cannot be the name of a note's key", name);
    CLEANUP(buf_free) struct buf in = BUF_INIT(strlen(name) + 2 + SIGN_PUBLIC_BYTES);
    const uint8_t mid[2] = {'\n', (uint8_t)kind};
    if (buf_append_str(&in, name, err) < 0 || buf_append(&in, mid, sizeof(mid), err) < 0 ||
        buf_append(&in, pub, SIGN_PUBLIC_BYTES, err) < 0)
        return error_wrap(err, "checkpoint");
    struct digest d;
    sha256(buf_bytes(&in), &d);
    memcpy(ret, d.b, NOTE_KEY_ID_BYTES);
    return 0;
}

int note_key_id(const char *name, const uint8_t pub[SIGN_PUBLIC_BYTES], uint8_t ret[NOTE_KEY_ID_BYTES],
                struct error *err) {
    return note_id(name, NOTE_ED25519, pub, ret, err);
}

int note_verifier(const char *name, const uint8_t pub[SIGN_PUBLIC_BYTES], struct buf *ret, struct error *err) {
    uint8_t id[NOTE_KEY_ID_BYTES], key[1 + SIGN_PUBLIC_BYTES] = {NOTE_ED25519};
    char hex[2 * NOTE_KEY_ID_BYTES + 1];
    memcpy(key + 1, pub, SIGN_PUBLIC_BYTES);
    if (note_key_id(name, pub, id, err) < 0) return -(int)err->code;
    hex_encode(id, sizeof(id), hex);
    if (buf_printf(ret, err, "%s+%s+", name, hex) < 0 || base64_encode(ret, BYTES_OF(key, sizeof(key)), err) < 0)
        return error_wrap(err, "verifier key");
    return 0;
}

int checkpoint_sign(const char *origin, const struct checkpoint *c, struct bytes sign_seed, struct buf *ret,
                    struct error *err) {
    uint8_t pub[SIGN_PUBLIC_BYTES], line[NOTE_KEY_ID_BYTES + SIGN_BYTES];
    if (sign_public(sign_seed, pub, err) < 0 || note_key_id(origin, pub, line, err) < 0)
        return error_wrap(err, "checkpoint");
    size_t start = ret->len;
    if (buf_printf(ret, err, "%s\n%" PRIu64 "\n", origin, c->size) < 0 ||
        base64_encode(ret, BYTES_OF(c->root.b, DIGEST_BYTES), err) < 0 || buf_append_str(ret, "\n", err) < 0 ||
        sign_detached(sign_seed, BYTES_OF(ret->ptr + start, ret->len - start), line + NOTE_KEY_ID_BYTES, err) < 0 ||
        buf_printf(ret, err, "\n" NOTE_DASH "%s ", origin) < 0 ||
        base64_encode(ret, BYTES_OF(line, sizeof(line)), err) < 0 || buf_append_str(ret, "\n", err) < 0) {
        ret->len = start;
        return error_wrap(err, "checkpoint");
    }
    return 0;
}

bool note_line(struct bytes *rest, struct bytes *ret) {
    const uint8_t *nl = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;
    if (!nl) return false;
    *ret = BYTES_OF(rest->ptr, (size_t)(nl - rest->ptr));
    *rest = BYTES_OF(nl + 1, rest->len - ret->len - 1);
    return true;
}

bool note_number(struct bytes line, uint64_t *ret) {
    uint64_t v = 0;
    if (line.len == 0 || line.len > 20 || (line.len > 1 && line.ptr[0] == '0')) return false;
    for (size_t i = 0; i < line.len; i++) {
        unsigned d = (unsigned)line.ptr[i] - '0';
        if (d > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, d, &v)) return false;
    }
    *ret = v;
    return true;
}

bool note_base64(struct bytes text, uint8_t *ret, size_t len) {
    struct error e = ERROR_INIT;
    CLEANUP(buf_free) struct buf raw = BUF_INIT(text.len + 8);
    bool good = base64_decode(&raw, text, &e) == 0 && raw.len == len;
    if (good) memcpy(ret, raw.ptr, len);
    wipe(raw.ptr, raw.cap); /* it may have been a secret's */
    return good;
}

static bool parse_text(struct bytes text, const char *origin, struct checkpoint *ret) {
    struct bytes line;
    if (!note_line(&text, &line) || !bytes_equal(line, BYTES_STR(origin))) return false;
    if (!note_line(&text, &line) || !note_number(line, &ret->size)) return false;
    return note_line(&text, &line) && note_base64(line, ret->root.b, DIGEST_BYTES);
}

int checkpoint_verify(struct bytes note, const char *origin, const uint8_t pub[SIGN_PUBLIC_BYTES],
                      struct checkpoint *ret, struct error *err) {
    uint8_t id[NOTE_KEY_ID_BYTES], sig[NOTE_KEY_ID_BYTES + SIGN_BYTES];
    if (note_key_id(origin, pub, id, err) < 0) return -(int)err->code;
    /* the text ends before the last blank line */
    size_t end = 0;
    for (size_t i = 1; i < note.len; i++)
        if (note.ptr[i] == '\n' && note.ptr[i - 1] == '\n') end = i;
    struct checkpoint c;
    struct bytes text = BYTES_OF(note.ptr, end);
    if (note.len > CHECKPOINT_MAX_BYTES || end == 0 || note.ptr[note.len - 1] != '\n' || !parse_text(text, origin, &c))
        return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint of %s is malformed", origin);
    struct bytes rest = BYTES_OF(note.ptr + end + 1, note.len - end - 1), line;
    CLEANUP(buf_free) struct buf head = BUF_INIT(strlen(origin) + 8);
    if (buf_printf(&head, err, NOTE_DASH "%s ", origin) < 0) return error_wrap(err, "checkpoint");
    bool ours = false;
    while (note_line(&rest, &line)) {
        if (line.len <= head.len || memcmp(line.ptr, head.ptr, head.len) != 0) continue;
        struct bytes b64 = BYTES_OF(line.ptr + head.len, line.len - head.len);
        if (!note_base64(b64, sig, sizeof(sig)) || memcmp(sig, id, sizeof(id)) != 0) continue;
        if (!sign_verify(pub, text, sig + NOTE_KEY_ID_BYTES))
            return error_set(err, ERR_LEDGER_BROKEN, "the signature of the checkpoint of %s does not hold", origin);
        ours = true;
    }
    if (!ours)
        return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint of %s is not signed by the key expected", origin);
    *ret = c;
    return 0;
}
