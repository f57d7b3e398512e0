#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <stdio.h>
#include <stdlib.h>

static int quoted(struct buf *out, struct bytes name, char mark, struct error *err) {
    int r = buf_append(out, &mark, 1, err);
    for (size_t i = 0; r == 0 && i < name.len; i++) {
        if (name.ptr[i] == mark) r = buf_append(out, &mark, 1, err);
        if (r == 0) r = buf_append(out, &name.ptr[i], 1, err);
    }
    return r == 0 ? buf_append(out, &mark, 1, err) : r;
}

int pg_ident(struct buf *out, struct bytes name, struct error *err) {
    return quoted(out, name, '"', err);
}

int pg_ident_plain(struct buf *out, struct bytes name, struct error *err) {
    bool plain = name.len > 0;
    for (size_t i = 0; plain && i < name.len; i++) {
        uint8_t c = name.ptr[i];
        plain = (c >= 'a' && c <= 'z') || c == '_' || (i > 0 && ((c >= '0' && c <= '9') || c == '$'));
    }
    return plain ? buf_append(out, name.ptr, name.len, err) : pg_ident(out, name, err);
}

int pg_literal(struct buf *out, struct bytes text, struct error *err) {
    /* standard_conforming_strings is on in every connection of ours, so a backslash is only a backslash. */
    return quoted(out, text, '\'', err);
}

int pg_part_encode(struct buf *out, struct bytes name, struct error *err) {
    int r = 0;
    for (size_t i = 0; r == 0 && i < name.len; i++) {
        uint8_t c = name.ptr[i];
        if (c == '/' || c == '%' || c < 0x20 || c == 0x7f || (c == '.' && i == 0))
            r = buf_printf(out, err, "%%%02X", c);
        else
            r = buf_append(out, &c, 1, err);
    }
    return r;
}

int pg_part_decode(struct buf *out, struct bytes part, struct error *err) {
    int r = 0;
    for (size_t i = 0; r == 0 && i < part.len; i++) {
        uint8_t c = part.ptr[i];
        if (c == '%') {
            if (part.len - i < 3 || !hex_decode((const char *)part.ptr + i + 1, 2, &c, 1) || c == 0)
                return error_set(err, ERR_RESTORE_DIFFERS, "the snapshot names a database in a way that is not ours");
            i += 2;
        }
        r = buf_append(out, &c, 1, err);
    }
    return r;
}

void pg_sibling_name(const char *name, const char *what, const char *stamp, char *out) {
    size_t room = PG_NAME_MAX - strlen(what) - strlen(stamp) - 2, n = strlen(name);
    if (n > room)
        for (n = room; n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80;) n--; /* not inside a character */
    snprintf(out, PG_NAME_MAX + 1, "%.*s_%s_%s", (int)n, name, what, stamp);
}

int pg_qualified(struct buf *out, struct bytes schema, struct bytes name, struct error *err) {
    int r = pg_ident_plain(out, schema, err);
    if (r == 0) r = buf_append_str(out, ".", err);
    if (r == 0) r = pg_ident_plain(out, name, err);
    return r;
}

int pg_item_name(struct buf *out, struct bytes database, const char *rest, struct error *err) {
    buf_clear(out);
    int r = buf_append_str(out, "db/", err);
    if (r == 0) r = pg_part_encode(out, database, err);
    if (r == 0) r = buf_printf(out, err, "/%s", rest);
    if (r == 0) r = buf_terminate(out, err);
    return r;
}

int pg_json_put(json_t *object, struct bytes key, json_t *value, struct error *err) {
    json_t *name = json_name(key);
    int r = name && value ? json_put(object, json_string_value(name), json_incref(value), err)
                          : error_set(err, ERR_NO_MEMORY, "no memory for a fact");
    json_decref(value);
    json_decref(name);
    return r;
}

int pg_key_put(json_t *object, const char *database, struct bytes rest, json_t *value, struct error *err) {
    CLEANUP(buf_free) struct buf key = BUF_INIT(16 << 10);
    json_t *name = json_name(rest);
    int r =
        name ? pg_item_name(&key, BYTES_STR(database), "", err) : error_set(err, ERR_NO_MEMORY, "no memory for a fact");
    if (r == 0) r = buf_append_str(&key, json_string_value(name), err);
    if (r == 0) r = buf_terminate(&key, err);
    json_decref(name);
    if (r == 0) return json_put(object, (const char *)key.ptr, value, err);
    json_decref(value);
    return r;
}

/* An identifier at *p, quoted or not; advances past it. Its text goes to name (may be NULL). */
static bool skip_ident(const char **p, const char *end, struct buf *name, struct error *err) {
    const char *s = *p;
    if (s < end && *s == '"') {
        for (s++; s < end; s++) {
            if (*s == '"' && (s + 1 == end || s[1] != '"')) break;
            if (*s == '"') s++;
            if (name && buf_append(name, s, 1, err) < 0) return false;
        }
        if (s == end) return false;
        *p = s + 1;
        return true;
    }
    while (s < end && !strchr(" .,()\"", *s)) s++;
    if (s == *p) return false;
    if (name && buf_append(name, *p, (size_t)(s - *p), err) < 0) return false;
    *p = s;
    return true;
}

static bool skip_str(const char **p, const char *end, const char *want) {
    size_t n = strlen(want);
    if ((size_t)(end - *p) < n || memcmp(*p, want, n) != 0) return false;
    *p += n;
    return true;
}

static int read_columns(const char *p, const char *end, json_t *names, const char **ret_end, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    for (;;) {
        buf_clear(&name);
        if (!skip_ident(&p, end, names ? &name : NULL, err)) return err->code ? -(int)err->code : 1;
        if (names) {
            int r = json_push(names, json_name(buf_bytes(&name)), err);
            if (r < 0) return r;
        }
        if (skip_str(&p, end, ", ")) continue;
        *ret_end = p;
        return skip_str(&p, end, ")") ? 0 : 1;
    }
}

int pg_copy_columns(struct bytes copy, struct bytes *ret_list, json_t **ret_names, struct error *err) {
    const char *p = (const char *)copy.ptr, *end = p + copy.len, *list = p, *list_end = p;
    json_t *names = ret_names ? json_array() : NULL;
    int r = ret_names && !names ? error_set(err, ERR_NO_MEMORY, "no memory for column names") : 0;
    bool ok = skip_str(&p, end, "COPY ") && skip_ident(&p, end, NULL, err) && skip_str(&p, end, ".") &&
              skip_ident(&p, end, NULL, err) && skip_str(&p, end, " ");
    if (r == 0 && ok && skip_str(&p, end, "(")) {
        list = list_end = p;
        r = read_columns(p, end, names, &list_end, err);
        ok = r == 0;
        p = list_end + 1;
    }
    if (r >= 0 && (!ok || !skip_str(&p, end, " FROM stdin;") || end - p > 1))
        r = error_set(err, ERR_PG_ARCHIVE, "the dump has a COPY statement of an unknown form");
    if (r < 0) {
        json_decref(names);
        return r;
    }
    *ret_list = BYTES_OF(list, (size_t)(list_end - list));
    if (ret_names) *ret_names = names;
    return 0;
}

int pg_sequence_set(struct bytes defn, int64_t *ret_last, bool *ret_called, struct error *err) {
    /* SELECT pg_catalog.setval('<name>', <number>, true|false); the name may hold anything, so from the end. */
    const char *p = (const char *)defn.ptr, *end = p + defn.len;
    while (end > p && (end[-1] == '\n' || end[-1] == ';' || end[-1] == ')')) end--;
    const char *comma = memrchr(p, ',', (size_t)(end - p));
    const char *number = comma ? memrchr(p, ',', (size_t)(comma - p)) : NULL;
    if (number) {
        char text[32] = "", *stop = text;
        size_t n = (size_t)(comma - number - 1);
        if (n > 0 && n < sizeof text) memcpy(text, number + 1, n);
        long long v = strtoll(text, &stop, 10);
        size_t rest = (size_t)(end - comma);
        if (stop > text && !*stop && (rest == 6 || rest == 7)) {
            *ret_last = v;
            *ret_called = rest == 6;
            if (memcmp(comma, *ret_called ? ", true" : ", false", rest) == 0) return 0;
        }
    }
    return error_set(err, ERR_PG_ARCHIVE, "the dump sets a sequence in an unknown form");
}
