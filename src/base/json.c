#include "base/json.h"
#include "base/seam.h"
#include "base/utf8.h"

#define JSON_MAX_DEPTH 64

/* jansson reports refused memory as bad syntax, which would tell an operator of damage that is not there. */
static _Thread_local bool json_starved;

static void *json_alloc(size_t n) {
    void *p = seam_alloc(n);
    if (!p) json_starved = true;
    return p;
}

/* jansson's memory goes through the seam like ours. It is set before main, as it may not change under live documents.
 */
__attribute__((constructor)) static void json_use_seam(void) {
    json_set_alloc_funcs(json_alloc, seam_free);
}

/* jansson recurses, so the depth is known to be bounded before it starts. Brackets in strings do not count. */
static int depth_check(struct bytes in, const char *what, struct error *err) {
    unsigned depth = 0, line = 1, column = 0;
    bool quoted = false;
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.ptr[i];
        column++;
        if (c == '\n') {
            line++;
            column = 0;
        }
        if (quoted) {
            if (c == '\\')
                i++, column++;
            else if (c == '"')
                quoted = false;
            continue;
        }
        if (c == '"')
            quoted = true;
        else if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        if (depth > JSON_MAX_DEPTH)
            return error_set(err, ERR_JSON, "%s: line %u, column %u: nested deeper than %d", what, line, column,
                             JSON_MAX_DEPTH);
    }
    return 0;
}

int json_parse(struct bytes in, size_t max_bytes, const char *what, json_t **ret, struct error *err) {
    if (in.len > max_bytes)
        return error_set(err, ERR_JSON, "%s: %zu bytes, more than the %zu allowed", what, in.len, max_bytes);
    int rc = depth_check(in, what, err);
    if (rc) return rc;
    json_error_t e;
    json_starved = false;
    json_t *j = json_loadb(in.len ? (const char *)in.ptr : "", in.len, JSON_REJECT_DUPLICATES, &e);
    /* it also passes over a failure to remember a character, and so gives another text than was there */
    if (j && !json_starved) {
        *ret = j;
        return 0;
    }
    json_decref(j);
    if (json_starved) return error_set(err, ERR_NO_MEMORY, "%s: parse JSON", what);
    return error_set(err, ERR_JSON, "%s: line %d, column %d: %s", what, e.line, e.column, e.text);
}

struct writing {
    struct buf *out;
    struct error *err;
    bool failed; /* jansson passes over a failure to write an object's key */
};

static int write_part(const char *p, size_t n, void *arg) {
    struct writing *w = arg;
    if (buf_append(w->out, p, n, w->err)) w->failed = true;
    return w->failed ? -1 : 0;
}

static int write_flags(const json_t *j, size_t flags, struct buf *out, struct error *err) {
    size_t start = out->len;
    struct writing w = {out, err, false};
    if (json_dump_callback(j, write_part, &w, flags | JSON_ENCODE_ANY) == 0 && !w.failed) return 0;
    out->len = start;
    /* Only memory can fail otherwise: our documents have neither cycles nor foreign strings. */
    return error_set(err, ERR_NO_MEMORY, "write JSON");
}

int json_write(const json_t *j, struct buf *out, struct error *err) {
    return write_flags(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII, out, err);
}

int json_write_pretty(const json_t *j, struct buf *out, struct error *err) {
    return write_flags(j, JSON_INDENT(2), out, err);
}

int json_put(json_t *object, const char *key, json_t *value, struct error *err) {
    if (json_object_set_new(object, key, value) == 0) return 0;
    return error_set(err, ERR_NO_MEMORY, "set JSON key '%s'", key);
}

int json_put_str(json_t *object, const char *key, const char *value, struct error *err) {
    size_t n = strlen(value);
    for (size_t i = 0, c; i < n; i += c)
        if ((c = utf8_char_bytes((const uint8_t *)value + i, n - i)) == 0)
            return error_set(err, ERR_JSON, "set JSON key '%s': the text is not UTF-8", key);
    return json_put(object, key, json_stringn(value, n), err);
}

int json_put_int(json_t *object, const char *key, int64_t value, struct error *err) {
    return json_put(object, key, json_integer(value), err);
}

int json_push(json_t *array, json_t *value, struct error *err) {
    if (json_array_append_new(array, value) == 0) return 0;
    return error_set(err, ERR_NO_MEMORY, "append to a JSON array");
}

static int need(const json_t *o, const char *key, const char *what, bool ok(const json_t *), const char *type,
                json_t **ret, struct error *err) {
    if (!json_is_object(o)) return error_set(err, ERR_JSON, "%s: not an object", what);
    json_t *v = json_object_get(o, key);
    if (!v) return error_set(err, ERR_JSON, "%s: '%s' is missing", what, key);
    if (!ok(v)) return error_set(err, ERR_JSON, "%s: '%s' is not %s", what, key, type);
    *ret = v;
    return 0;
}

static bool is_str(const json_t *v) {
    return json_is_string(v);
}
static bool is_int(const json_t *v) {
    return json_is_integer(v);
}
static bool is_object(const json_t *v) {
    return json_is_object(v);
}
static bool is_array(const json_t *v) {
    return json_is_array(v);
}

int json_need_str(const json_t *o, const char *key, const char *what, const char **ret, struct error *err) {
    json_t *v = NULL;
    int rc = need(o, key, what, is_str, "a string", &v, err);
    if (rc == 0) *ret = json_string_value(v);
    return rc;
}

int json_need_int(const json_t *o, const char *key, const char *what, int64_t *ret, struct error *err) {
    json_t *v = NULL;
    int rc = need(o, key, what, is_int, "an integer", &v, err);
    if (rc == 0) *ret = json_integer_value(v);
    return rc;
}

int json_need_object(const json_t *o, const char *key, const char *what, json_t **ret, struct error *err) {
    return need(o, key, what, is_object, "an object", ret, err);
}

int json_need_array(const json_t *o, const char *key, const char *what, json_t **ret, struct error *err) {
    return need(o, key, what, is_array, "an array", ret, err);
}

json_t *json_name(struct bytes name) {
    static const char digits[] = "0123456789ABCDEF";
    if (name.len > SIZE_MAX / 3) return NULL;
    char *text = seam_alloc(name.len * 3 + 1);
    if (!text) return NULL;
    size_t n = 0;
    for (size_t i = 0; i < name.len;) {
        const uint8_t *p = name.ptr + i;
        size_t c = utf8_char_bytes(p, name.len - i);
        bool control = c == 1 ? *p < 0x20 || *p == 0x7F : c == 2 && p[0] == 0xC2 && p[1] < 0xA0;
        bool keep = c > 0 && !control && *p != '%';
        if (c == 0) c = 1;
        for (size_t k = 0; k < c; k++) {
            if (keep) {
                text[n++] = (char)p[k];
            } else {
                text[n++] = '%';
                text[n++] = digits[p[k] >> 4];
                text[n++] = digits[p[k] & 15];
            }
        }
        i += c;
    }
    json_t *j = json_stringn_nocheck(text, n);
    seam_free(text);
    return j;
}

const char *json_text(const json_t *o, const char *key, const char *otherwise) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : otherwise;
}

json_t *json_copy_whole(const json_t *in) {
    json_t *copy = json_deep_copy(in);
    if (copy && json_equal(copy, in)) return copy;
    json_decref(copy);
    return NULL;
}
