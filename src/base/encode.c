#include "base/bytes.h"

void hex_encode(const void *p, size_t len, char *out) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = p;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool hex_decode(const char *hex, size_t hex_len, void *out, size_t len) {
    uint8_t *o = out;
    if (len > SIZE_MAX / 2 || hex_len != 2 * len) return false;
    /* Checked first, so that out is untouched on failure. */
    for (size_t i = 0; i < hex_len; i++)
        if (hex_digit(hex[i]) < 0) return false;
    for (size_t i = 0; i < len; i++) o[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    return true;
}

int base64_encode(struct buf *b, struct bytes in, struct error *err) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t groups = in.len / 3 + (in.len % 3 != 0);
    if (groups > SIZE_MAX / 4) return error_set(err, ERR_NO_MEMORY, "%zu bytes are too many for base64", in.len);
    int rc = buf_reserve(b, groups * 4, err);
    if (rc) return rc;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i < 3 ? in.len - i : 3;
        uint32_t v = (uint32_t)in.ptr[i] << 16;
        if (n > 1) v |= (uint32_t)in.ptr[i + 1] << 8;
        if (n > 2) v |= in.ptr[i + 2];
        uint8_t *o = b->ptr + b->len;
        o[0] = (uint8_t)alphabet[v >> 18];
        o[1] = (uint8_t)alphabet[v >> 12 & 63];
        o[2] = n > 1 ? (uint8_t)alphabet[v >> 6 & 63] : '=';
        o[3] = n > 2 ? (uint8_t)alphabet[v & 63] : '=';
        b->len += 4;
    }
    return 0;
}

static int base64_digit(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}

int base64_decode(struct buf *b, struct bytes in, struct error *err) {
    size_t n = in.len;
    if (n > 0 && in.ptr[n - 1] == '=') {
        if (n % 4 != 0) return error_set(err, ERR_JSON, "base64 text of %zu characters is padded wrongly", in.len);
        n -= in.ptr[n - 2] == '=' ? 2 : 1;
    }
    if (n % 4 == 1) return error_set(err, ERR_JSON, "base64 text of %zu characters is cut short", in.len);
    size_t start = b->len;
    int rc = buf_reserve(b, n / 4 * 3 + 2, err);
    if (rc) return rc;
    uint32_t v = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        int d = base64_digit(in.ptr[i]);
        if (d < 0) {
            b->len = start;
            return error_set(err, ERR_JSON, "base64 text has a foreign character at offset %zu", i);
        }
        v = v << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            b->ptr[b->len++] = (uint8_t)(v >> bits);
            v &= (1u << bits) - 1;
        }
    }
    /* Left-over bits would give one value several spellings. */
    if (v != 0) {
        b->len = start;
        return error_set(err, ERR_JSON, "base64 text has stray bits at its end");
    }
    return 0;
}
