#include "evidence/redact.h"

#include "base/seam.h"
#include "base/utf8.h"
#include <ctype.h>
#include <strings.h>

#define TEXT_MAX_BYTES ((size_t)4 << 20)
#define WORD_TAIL_MAX 32 /* "PASSWORD" may go on: "PASSWORD_FILE_2=" */

static const char *const words[] = {
    "password",   "passwd",        "passphrase", "pwd",        "secret",    "token",       "apikey",
    "api_key",    "api-key",       "access_key", "access-key", "accesskey", "private_key", "private-key",
    "credential", "authorization", "signature",  "pgpass",     "auth_key",  "session_key", "encryption_key",
};

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

#define CUT_MIN 4 /* bytes of a secret at the end of a text that count as one that was cut off */

/* Step 1: known secrets, longest first where several begin at one place. `cut`: the text may end in the middle of one.
 */
static int drop_secrets(struct bytes in, const struct redaction *r, bool cut, struct buf *out, struct error *err) {
    for (size_t i = 0; i < in.len;) {
        size_t longest = 0;
        for (size_t k = 0; r && k < r->count; k++) {
            struct bytes s = r->secrets[k];
            size_t left = in.len - i, n = s.len <= left ? s.len : left;
            if (n > longest && (n == s.len || (cut && n >= CUT_MIN)) && memcmp(in.ptr + i, s.ptr, n) == 0) longest = n;
        }
        if (buf_append(out, longest ? (const void *)REDACTED : in.ptr + i, longest ? strlen(REDACTED) : 1, err) < 0)
            return -(int)err->code;
        i += longest ? longest : 1;
    }
    return 0;
}

/* Step 2: text that JSON can carry. */
static int make_text(struct bytes in, struct buf *out, struct error *err) {
    for (size_t i = 0; i < in.len;) {
        size_t n = utf8_char_bytes(in.ptr + i, in.len - i);
        const char *with = n == 0 ? "?" : in.ptr[i] < ' ' && in.ptr[i] != '\n' && in.ptr[i] != '\t' ? " " : NULL;
        if (buf_append(out, with ? (const void *)with : in.ptr + i, with ? 1 : n, err) < 0) return -(int)err->code;
        i += n ? n : 1;
    }
    return buf_terminate(out, err);
}

/* What a rule found at its place: keep `keep` bytes, drop `drop` more. drop 0: nothing found. */
struct found {
    size_t keep, drop;
    const char *instead;
};

/* "://user:pass@". A password may hold a '/', so a colon that no port follows makes the search go on to the next space.
 */
static struct found find_url(const char *p) {
    struct found none = {0};
    if (strncmp(p, "://", 3) != 0) return none;
    const char *begin = p + 3, *end = begin + strcspn(begin, "/?# \t\r\n\"'<>");
    const char *colon = memchr(begin, ':', (size_t)(end - begin));
    bool port = colon && colon + 1 < end && colon + 1 + strspn(colon + 1, "0123456789") >= end;
    if (colon && !port) end = begin + strcspn(begin, " \t\r\n\"<>");
    const char *at = memrchr(begin, '@', (size_t)(end - begin));
    if (!at) return none;
    return (struct found){3, (size_t)(at - begin), REDACTED};
}

/* Length of the value at p: quoted, or up to white space; "Bearer x" and "Basic x" count as one. */
static size_t value_bytes(const char *p) {
    if (*p == '"' || *p == '\'') {
        size_t n = 1;
        while (p[n] && p[n] != *p) n += p[n] == '\\' && p[n + 1] ? 2 : 1;
        return p[n] ? n + 1 : n;
    }
    size_t n = 0;
    if (strncasecmp(p, "bearer ", 7) == 0 || strncasecmp(p, "basic ", 6) == 0 || strncasecmp(p, "digest ", 7) == 0)
        n = strcspn(p, " ") + 1;
    while (p[n] && !is_space(p[n])) n++;
    return n;
}

static struct found find_word(const char *p) {
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        size_t n = strlen(words[i]), tail = 0;
        if (strncasecmp(p, words[i], n) != 0) continue;
        while (tail < WORD_TAIL_MAX && (isalnum((unsigned char)p[n]) || p[n] == '_' || p[n] == '-')) n++, tail++;
        if (p[n] == '"' || p[n] == '\'' || p[n] == ']') n++;
        while (p[n] == ' ' || p[n] == '\t') n++;
        if (p[n] != '=' && p[n] != ':') continue;
        n++;
        if (p[n] == '>') n++; /* "=>" */
        while (p[n] == ' ' || p[n] == '\t') n++;
        size_t value = value_bytes(p + n);
        if (value) return (struct found){n, value, REDACTED};
    }
    return (struct found){0};
}

static struct found find_bearer(const char *p) {
    if (strncasecmp(p, "bearer ", 7) != 0) return (struct found){0};
    size_t n = strcspn(p + 7, " \t\r\n\"',;");
    return n >= 8 ? (struct found){7, n, REDACTED} : (struct found){0};
}

static struct found find_aws_id(const char *p) {
    if (strncmp(p, "AKIA", 4) != 0 && strncmp(p, "ASIA", 4) != 0) return (struct found){0};
    size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
    return n >= 20 ? (struct found){0, n, REDACTED} : (struct found){0};
}

static struct found find_pem(const char *p) {
    if (strncmp(p, "-----BEGIN ", 11) != 0) return (struct found){0};
    const char *line = p + strcspn(p, "\n"), *private = strstr(p, "PRIVATE KEY");
    if (!private || private > line) return (struct found){0};
    const char *end = strstr(p + 11, "-----END ");
    size_t n = end ? (size_t)(end - p) + strcspn(end, "\n") : strlen(p);
    return (struct found){0, n, REDACTED};
}

static struct found (*const rules[])(const char *) = {find_url, find_word, find_bearer, find_aws_id, find_pem};

/* Step 3: what looks like a credential. */
static int drop_patterns(const char *p, struct buf *out, struct error *err) {
    while (*p) {
        struct found f = {0};
        for (size_t i = 0; i < sizeof(rules) / sizeof(*rules) && !f.drop; i++) f = rules[i](p);
        if (!f.drop) f = (struct found){1, 0, ""};
        if (buf_append(out, p, f.keep, err) < 0 || buf_append_str(out, f.instead, err) < 0) return -(int)err->code;
        p += f.keep + f.drop;
    }
    return 0;
}

int redact_text(const char *text, const struct redaction *r, struct buf *ret, struct error *err) {
    CLEANUP(buf_free) struct buf bare = BUF_INIT(TEXT_MAX_BYTES);
    CLEANUP(buf_free) struct buf clean = BUF_INIT(TEXT_MAX_BYTES);
    size_t before = ret->len;
    if (drop_secrets(BYTES_STR(text), r, false, &bare, err) < 0 || make_text(buf_bytes(&bare), &clean, err) < 0 ||
        drop_patterns((const char *)clean.ptr, ret, err) < 0) {
        ret->len = before;
        return error_wrap(err, "cleaning a text of secrets");
    }
    return 0;
}

int redact_known(const char *text, const struct redaction *r, struct buf *ret, struct error *err) {
    size_t before = ret->len;
    int rc = drop_secrets(BYTES_STR(text), r, true, ret, err);
    if (rc == 0) rc = buf_terminate(ret, err);
    if (rc == 0) return 0;
    ret->len = before;
    return error_wrap(err, "cleaning a text of secrets");
}

int redact_string(const char *text, const struct redaction *r, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf clean = BUF_INIT(TEXT_MAX_BYTES);
    if (redact_text(text ? text : "", r, &clean, err) < 0) return -(int)err->code;
    json_t *j = json_stringn(clean.len ? (const char *)clean.ptr : "", clean.len);
    if (!j) return error_set(err, ERR_NO_MEMORY, "cleaning a text of secrets");
    *ret = j;
    return 0;
}

/* Depth is bounded: documents come from our own parser or our own code. */
static int copy(const json_t *in, const struct redaction *r, json_t **ret, struct error *err) {
    if (json_is_string(in)) return redact_string(json_string_value(in), r, ret, err);
    if (!json_is_object(in) && !json_is_array(in)) {
        *ret = json_copy_whole(in);
        return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "cleaning a document of secrets");
    }
    json_auto_t *out = json_is_object(in) ? json_object() : json_array();
    const char *key;
    json_t *value, *clean = NULL;
    size_t i;
    if (!out) return error_set(err, ERR_NO_MEMORY, "cleaning a document of secrets");
    if (json_is_object(in)) {
        json_object_foreach((json_t *)(uintptr_t)in, key, value) {
            if (copy(value, r, &clean, err) < 0 || json_put(out, key, clean, err) < 0) return -(int)err->code;
        }
    } else {
        json_array_foreach(in, i, value) {
            if (copy(value, r, &clean, err) < 0 || json_push(out, clean, err) < 0) return -(int)err->code;
        }
    }
    *ret = json_incref(out);
    return 0;
}

int redact_json(const json_t *in, const struct redaction *r, json_t **ret, struct error *err) {
    return copy(in, r, ret, err);
}
