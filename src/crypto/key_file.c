#include "base/seam.h"
#include "crypto/keyring_internal.h"

#define KEY_WORD "PROOFKEEP-KEY-1 "
#define IDENTITY_WORD "PROOFKEEP-IDENTITY-1 "
#define RECIPIENT_WORD "pkr1"
#define BASE64_BYTES 44
#define TEXT_BYTES_MAX 16384

static int format_line(const char *word, struct bytes key, struct buf *ret, struct error *err) {
    if (key.len != KEY_BYTES)
        return error_set(err, ERR_SECRET, "a key file holds %d bytes of key, not %zu", KEY_BYTES, key.len);
    /* Room for the whole line first, so that growing leaves no copy of half a key behind. */
    int rc = buf_reserve(ret, strlen(word) + BASE64_BYTES + 2, err);
    if (rc < 0) return rc;
    rc = buf_append_str(ret, word, err);
    if (rc < 0) return rc;
    rc = base64_encode(ret, key, err);
    return rc < 0 ? rc : buf_append_str(ret, "\n", err);
}

int key_file_format(struct bytes key32, struct buf *ret, struct error *err) {
    return format_line(KEY_WORD, key32, ret, err);
}

int key_identity_format(struct bytes secret32, struct buf *ret, struct error *err) {
    return format_line(IDENTITY_WORD, secret32, ret, err);
}

static bool starts(struct bytes line, const char *word) {
    return line.len >= strlen(word) && memcmp(line.ptr, word, strlen(word)) == 0;
}

static int parse_line(struct bytes line, unsigned number, struct secret **ret, enum slot_kind *ret_kind,
                      struct error *err) {
    bool identity = starts(line, IDENTITY_WORD);
    if (!identity && !starts(line, KEY_WORD))
        return error_set(err, ERR_SECRET, "line %u of the key file does not begin with %sor %s", number, KEY_WORD,
                         IDENTITY_WORD);
    size_t skip = strlen(identity ? IDENTITY_WORD : KEY_WORD);
    struct buf b = BUF_INIT(TEXT_BYTES_MAX);
    /* A decoding failure's own text could quote the key. */
    struct error quiet = ERROR_INIT;
    int rc = buf_reserve(&b, 2 * BASE64_BYTES, err);
    if (rc < 0) return rc;
    bool good = line.len - skip <= BASE64_BYTES &&
                base64_decode(&b, BYTES_OF(line.ptr + skip, line.len - skip), &quiet) == 0 && b.len == KEY_BYTES;
    if (good) {
        rc = secret_new(buf_bytes(&b), ret, err);
        *ret_kind = identity ? SLOT_RECIPIENT : SLOT_KEY_FILE;
    } else {
        rc = error_set(err, ERR_SECRET, "line %u of the key file does not hold %d bytes in base64", number, KEY_BYTES);
    }
    wipe(b.ptr, b.cap);
    buf_free(&b);
    return rc;
}

int key_file_parse(struct bytes text, struct secret **ret, enum slot_kind *ret_kind, struct error *err) {
    if (text.len > TEXT_BYTES_MAX) return error_set(err, ERR_SECRET, "a file of %zu bytes is not a key file", text.len);
    CLEANUP(secret_freep) struct secret *found = NULL;
    enum slot_kind kind = SLOT_KEY_FILE;
    unsigned number = 0;
    while (text.len > 0) {
        const uint8_t *end = memchr(text.ptr, '\n', text.len);
        struct bytes line = BYTES_OF(text.ptr, end != NULL ? (size_t)(end - text.ptr) : text.len);
        size_t used = line.len + (end != NULL);
        text = BYTES_OF(text.ptr + used, text.len - used);
        number++;
        while (line.len > 0 && strchr(" \t\r", line.ptr[line.len - 1]) != NULL && line.ptr[line.len - 1] != 0)
            line.len--;
        if (line.len == 0 || line.ptr[0] == '#') continue;
        if (found != NULL) return error_set(err, ERR_SECRET, "line %u of the key file is one too many", number);
        int rc = parse_line(line, number, &found, &kind, err);
        if (rc < 0) return rc;
    }
    if (found == NULL) return error_set(err, ERR_SECRET, "the key file holds no key");
    *ret = found;
    *ret_kind = kind;
    found = NULL;
    return 0;
}

void key_recipient_format(const uint8_t pub[BOX_PUBLIC_BYTES], char out[RECIPIENT_TEXT_BYTES]) {
    memcpy(out, RECIPIENT_WORD, strlen(RECIPIENT_WORD));
    hex_encode(pub, BOX_PUBLIC_BYTES, out + strlen(RECIPIENT_WORD));
}

bool key_recipient_parse(const char *s, uint8_t pub[BOX_PUBLIC_BYTES]) {
    size_t n = strlen(RECIPIENT_WORD);
    return strncmp(s, RECIPIENT_WORD, n) == 0 && hex_decode(s + n, strlen(s + n), pub, BOX_PUBLIC_BYTES);
}
