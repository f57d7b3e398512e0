#include "ledger/cosign.h"

#include "base/seam.h"
#include "ledger/note_internal.h"
#include <inttypes.h>
#include <stdio.h>

#define PRIVATE_WORD "PRIVATE+KEY+"
#define COSIGNED_HEAD "cosignature/v1\ntime "
#define TIME_BYTES 8u

static bool name_good(const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n >= NOTE_NAME_BYTES) return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] == '+' || name[i] > '~') return false;
    return true;
}

int note_key_make(const char *name, enum note_kind_of_key kind, const uint8_t pub[SIGN_PUBLIC_BYTES],
                  struct note_key *ret, struct error *err) {
    struct note_key k = {.kind = kind};
    if (!name_good(name))
        return error_set(err, ERR_USAGE,
                         "'%.60s' cannot be the name of a key: up to %d printable ASCII characters, no "
                         "space and no '+'",
                         name, NOTE_NAME_BYTES - 1);
    snprintf(k.name, sizeof k.name, "%s", name);
    memcpy(k.pub, pub, sizeof k.pub);
    if (note_id(name, kind, pub, k.id, err) < 0) return error_wrap(err, "verifier key");
    *ret = k;
    return 0;
}

/* The three parts of "name+hex+base64"; what the base64 holds goes to key: kind and 32 bytes. */
static bool parse(const char *text, size_t len, char name[NOTE_NAME_BYTES], uint8_t id[NOTE_KEY_ID_BYTES],
                  uint8_t key[1 + SIGN_PUBLIC_BYTES]) {
    const char *a = memchr(text, '+', len);
    const char *b = a ? memchr(a + 1, '+', len - (size_t)(a + 1 - text)) : NULL;
    if (!b || (size_t)(a - text) >= NOTE_NAME_BYTES) return false;
    memcpy(name, text, (size_t)(a - text));
    name[a - text] = 0;
    return name_good(name) && hex_decode(a + 1, (size_t)(b - a - 1), id, NOTE_KEY_ID_BYTES) &&
           note_base64(BYTES_OF(b + 1, len - (size_t)(b + 1 - text)), key, 1 + SIGN_PUBLIC_BYTES) &&
           (key[0] == NOTE_ED25519 || key[0] == NOTE_COSIGNATURE);
}

int note_key_parse(const char *text, struct note_key *ret, struct error *err) {
    char name[NOTE_NAME_BYTES];
    uint8_t id[NOTE_KEY_ID_BYTES], key[1 + SIGN_PUBLIC_BYTES];
    struct note_key k;
    if (!parse(text, strlen(text), name, id, key))
        return error_set(err, ERR_USAGE,
                         "'%.300s' is no verifier key: one is NAME+8 HEX DIGITS+BASE64, of an Ed25519 key", text);
    if (note_key_make(name, (enum note_kind_of_key)key[0], key + 1, &k, err) < 0) return -(int)err->code;
    if (memcmp(id, k.id, sizeof id) != 0)
        return error_set(err, ERR_USAGE, "the verifier key '%.300s' was mistyped: its parts do not belong together",
                         text);
    *ret = k;
    return 0;
}

static int format(const char *word, const struct note_key *k, const uint8_t *body, struct buf *ret, struct error *err) {
    char hex[2 * NOTE_KEY_ID_BYTES + 1];
    uint8_t key[1 + SIGN_PUBLIC_BYTES] = {(uint8_t)k->kind};
    memcpy(key + 1, body, SIGN_PUBLIC_BYTES);
    hex_encode(k->id, sizeof k->id, hex);
    /* Room for the whole line first, so that growing leaves no copy of half a secret behind. */
    int rc = buf_reserve(ret, strlen(word) + strlen(k->name) + 128, err);
    if (rc == 0) rc = buf_printf(ret, err, "%s%s+%s+", word, k->name, hex);
    if (rc == 0) rc = base64_encode(ret, BYTES_OF(key, sizeof key), err);
    wipe(key, sizeof key);
    return rc < 0 ? error_wrap(err, "verifier key") : 0;
}

int note_key_format(const struct note_key *k, struct buf *ret, struct error *err) {
    return format("", k, k->pub, ret, err);
}

int note_secret_format(const struct note_key *k, struct bytes seed, struct buf *ret, struct error *err) {
    return format(PRIVATE_WORD, k, seed.ptr, ret, err);
}

int note_secret_parse(struct bytes text, struct note_key *ret, struct secret **ret_seed, struct error *err) {
    char name[NOTE_NAME_BYTES];
    uint8_t id[NOTE_KEY_ID_BYTES], key[1 + SIGN_SEED_BYTES], pub[SIGN_PUBLIC_BYTES];
    size_t skip = strlen(PRIVATE_WORD);
    struct note_key k;
    while (text.len > 0 && strchr(" \t\r\n", text.ptr[text.len - 1]) && text.ptr[text.len - 1]) text.len--;
    int rc = 0;
    if (text.len <= skip || memcmp(text.ptr, PRIVATE_WORD, skip) != 0 ||
        !parse((const char *)text.ptr + skip, text.len - skip, name, id, key))
        rc = error_set(err, ERR_SECRET, "it does not hold one line that begins with " PRIVATE_WORD);
    if (rc == 0) rc = sign_public(BYTES_OF(key + 1, SIGN_SEED_BYTES), pub, err);
    if (rc == 0) rc = note_key_make(name, (enum note_kind_of_key)key[0], pub, &k, err);
    if (rc == 0 && memcmp(id, k.id, sizeof id) != 0)
        rc = error_set(err, ERR_SECRET, "its parts do not belong together");
    if (rc == 0) rc = secret_new(BYTES_OF(key + 1, SIGN_SEED_BYTES), ret_seed, err);
    wipe(key, sizeof key);
    if (rc == 0) *ret = k;
    return rc;
}

static int malformed(struct error *err) {
    return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint is malformed");
}

int checkpoint_split(struct bytes note, const char *origin, struct checkpoint_parts *ret, struct error *err) {
    struct checkpoint_parts p = {0};
    size_t end = 0;
    for (size_t i = 1; i < note.len; i++)
        if (note.ptr[i] == '\n' && note.ptr[i - 1] == '\n') end = i;
    if (note.len > CHECKPOINT_MAX_BYTES || end == 0 || note.ptr[note.len - 1] != '\n') return malformed(err);
    p.text = BYTES_OF(note.ptr, end);
    p.lines = BYTES_OF(note.ptr + end + 1, note.len - end - 1);
    struct bytes rest = p.text, line;
    if (!note_line(&rest, &p.origin) || p.origin.len == 0 || !note_line(&rest, &line) ||
        !note_number(line, &p.head.size) || !note_line(&rest, &line) || !note_base64(line, p.head.root.b, DIGEST_BYTES))
        return malformed(err);
    if (origin && !bytes_equal(p.origin, BYTES_STR(origin)))
        return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint is of another log, '%.*s', not of '%s'",
                         p.origin.len > 200 ? 200 : (int)p.origin.len, (const char *)p.origin.ptr, origin);
    *ret = p;
    return 0;
}

/* What a cosignature signs. */
static int cosigned(struct bytes text, uint64_t time_s, struct buf *ret, struct error *err) {
    int rc = buf_printf(ret, err, COSIGNED_HEAD "%" PRIu64 "\n", time_s);
    return rc < 0 ? rc : buf_append(ret, text.ptr, text.len, err);
}

static uint64_t big_endian(const uint8_t b[TIME_BYTES]) {
    uint64_t v = 0;
    for (unsigned i = 0; i < TIME_BYTES; i++) v = v << 8 | b[i];
    return v;
}

static int holds(const struct checkpoint_parts *p, const struct note_key *k, const uint8_t *sig, int64_t *ret_time_s,
                 struct error *err) {
    *ret_time_s = 0;
    if (k->kind == NOTE_ED25519) return sign_verify(k->pub, p->text, sig) ? 1 : 0;
    CLEANUP(buf_free) struct buf b = BUF_INIT(p->text.len + 64);
    uint64_t t = big_endian(sig);
    if (t == 0 || t > INT64_MAX / 1000000000) return 0;
    if (cosigned(p->text, t, &b, err) < 0) return -(int)err->code;
    *ret_time_s = (int64_t)t;
    return sign_verify(k->pub, buf_bytes(&b), sig + TIME_BYTES) ? 1 : 0;
}

int checkpoint_signed_by(const struct checkpoint_parts *p, const struct note_key *k, int64_t *ret_time_s,
                         struct error *err) {
    uint8_t sig[NOTE_KEY_ID_BYTES + TIME_BYTES + SIGN_BYTES];
    size_t len = NOTE_KEY_ID_BYTES + SIGN_BYTES + (k->kind == NOTE_COSIGNATURE ? TIME_BYTES : 0);
    char head[NOTE_NAME_BYTES + 8];
    struct bytes rest = p->lines, line;
    int64_t newest = 0, time_s;
    bool found = false;
    size_t n = (size_t)snprintf(head, sizeof head, NOTE_DASH "%s ", k->name);
    while (note_line(&rest, &line)) {
        if (line.len <= n || memcmp(line.ptr, head, n) != 0) continue;
        if (!note_base64(BYTES_OF(line.ptr + n, line.len - n), sig, len) || memcmp(sig, k->id, sizeof k->id) != 0)
            continue;
        int good = holds(p, k, sig + NOTE_KEY_ID_BYTES, &time_s, err);
        if (good < 0) return good;
        if (!good)
            return error_set(err, ERR_LEDGER_BROKEN, "the signature of %s under the checkpoint does not hold", k->name);
        found = true;
        if (time_s > newest) newest = time_s;
    }
    if (!found)
        return error_set(err, ERR_LEDGER_BROKEN, "the checkpoint has no signature of %s by the key expected", k->name);
    if (ret_time_s) *ret_time_s = newest;
    return 0;
}

int checkpoint_line(struct bytes text, const struct note_key *k, struct bytes seed, int64_t time_s, struct buf *ret,
                    struct error *err) {
    uint8_t sig[NOTE_KEY_ID_BYTES + TIME_BYTES + SIGN_BYTES];
    size_t at = NOTE_KEY_ID_BYTES;
    int rc;
    memcpy(sig, k->id, sizeof k->id);
    if (k->kind == NOTE_COSIGNATURE) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(text.len + 64);
        for (unsigned i = 0; i < TIME_BYTES; i++) sig[at++] = (uint8_t)((uint64_t)time_s >> 8 * (TIME_BYTES - 1 - i));
        rc = cosigned(text, (uint64_t)time_s, &b, err);
        if (rc == 0) rc = sign_detached(seed, buf_bytes(&b), sig + at, err);
    } else
        rc = sign_detached(seed, text, sig + at, err);
    size_t before = ret->len;
    if (rc == 0) rc = buf_printf(ret, err, NOTE_DASH "%s ", k->name);
    if (rc == 0) rc = base64_encode(ret, BYTES_OF(sig, at + SIGN_BYTES), err);
    if (rc == 0) rc = buf_append_str(ret, "\n", err);
    if (rc < 0) ret->len = before;
    return rc < 0 ? error_wrap(err, "signature of a checkpoint") : 0;
}
