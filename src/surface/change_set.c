#include "surface/change_set.h"

#include "base/seam.h"

#include <stdio.h>

#define FORMAT "proofkeep change set"
#define VERSION 1
#define FLUSH_BYTES (256u << 10)
#define READ_BYTES (256u << 10)

static const char *const names[] = {"deleted", "changed", "added"};

const char *change_row_name(enum change_row kind) {
    return names[kind];
}

/* ---- writing ---- */
struct change_set {
    int fd;
    struct buf out;
    struct sha256_state *lines, *whole;
    uint64_t rows, bytes;
};

static int flush(struct change_set *c, struct error *err) {
    int rc = io_write_full(c->fd, c->out.ptr, c->out.len, "change set", err);
    if (rc < 0) return rc;
    c->bytes += c->out.len;
    buf_clear(&c->out);
    return 0;
}

static int put_line(struct change_set *c, const json_t *line, bool last, struct error *err) {
    size_t at = c->out.len;
    int rc = json_write(line, &c->out, err);
    if (rc == 0) rc = buf_append(&c->out, "\n", 1, err);
    if (rc < 0) return rc;
    struct bytes text = BYTES_OF(c->out.ptr + at, c->out.len - at);
    if (!last) sha256_update(c->lines, text);
    sha256_update(c->whole, text);
    return c->out.len >= FLUSH_BYTES ? flush(c, err) : 0;
}

/* The members of `from`, and which line it is. */
static int put_named(struct change_set *c, const char *name, json_t *line, const json_t *from, bool last,
                     struct error *err) {
    int rc = line ? json_put_str(line, "line", name, err) : error_set(err, ERR_NO_MEMORY, "no memory for a change set");
    if (rc == 0 && from && json_object_update_missing(line, (json_t *)from) < 0)
        rc = error_set(err, ERR_NO_MEMORY, "no memory for a change set");
    if (rc == 0) rc = put_line(c, line, last, err);
    json_decref(line);
    return rc;
}

int change_set_begin(int fd, const json_t *head, struct change_set **ret, struct error *err) {
    struct change_set *c;
    int rc = mem_alloc(sizeof *c, (void **)&c, err);
    if (rc < 0) return rc;
    c->fd = fd;
    c->out = BUF_INIT(CHANGE_LINE_BYTES_MAX + FLUSH_BYTES);
    rc = sha256_new(&c->lines, err);
    if (rc == 0) rc = sha256_new(&c->whole, err);
    if (rc == 0)
        rc = put_named(c, "head", json_pack("{s:s, s:i}", "format", FORMAT, "version", VERSION), head, false, err);
    if (rc < 0) {
        change_set_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

void change_set_free(struct change_set *c) {
    if (!c) return;
    sha256_free(c->lines);
    sha256_free(c->whole);
    buf_free(&c->out);
    seam_free(c);
}

int change_set_table(struct change_set *c, const json_t *table, struct error *err) {
    return put_named(c, "table", json_object(), table, false, err);
}

static json_t *value_json(const struct change_value *v, struct error *err) {
    if (!v->text) return json_null();
    json_t *text = json_stringn(v->text, v->len); /* none for what is no UTF-8 */
    if (text) return text;
    CLEANUP(buf_free) struct buf b = BUF_INIT(CHANGE_LINE_BYTES_MAX);
    if (base64_encode(&b, BYTES_OF(v->text, v->len), err) < 0) return NULL;
    return json_pack("{s:s%}", "base64", b.ptr, b.len);
}

static int put_values(json_t *line, const char *name, const struct change_value *v, const size_t *places, size_t n,
                      struct error *err) {
    json_t *list = v ? json_array() : json_null();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a row");
    for (size_t i = 0; rc == 0 && v && i < n; i++) {
        json_t *one = value_json(&v[places ? places[i] : i], err);
        rc = one ? json_push(list, one, err) : error_set(err, ERR_NO_MEMORY, "no memory for a row");
    }
    if (rc == 0) return json_put(line, name, list, err);
    json_decref(list);
    return rc;
}

int change_set_row(struct change_set *c, size_t table, enum change_row kind, bool parent, size_t n, const size_t *key,
                   size_t key_n, const struct change_value *then, const struct change_value *now, struct error *err) {
    json_t *line = json_pack("{s:s, s:I, s:s}", "line", "row", "table", (json_int_t)table, "is", names[kind]);
    int rc = line ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a row");
    if (rc == 0) rc = put_values(line, "key", then ? then : now, key, key_n, err);
    if (rc == 0) rc = put_values(line, "then", then, NULL, n, err);
    if (rc == 0) rc = put_values(line, "now", now, NULL, n, err);
    if (rc == 0 && parent) rc = json_put(line, "parent", json_true(), err);
    if (rc == 0) rc = put_line(c, line, false, err);
    json_decref(line);
    if (rc == 0) c->rows++;
    return rc;
}

int change_set_end(struct change_set *c, const json_t *end, struct digest *ret_whole, uint64_t *ret_rows,
                   uint64_t *ret_bytes, struct error *err) {
    struct digest d;
    char hex[65];
    sha256_finish(c->lines, &d);
    hex_encode(d.b, sizeof d.b, hex);
    int rc = put_named(c, "end", json_pack("{s:I, s:s}", "rows", (json_int_t)c->rows, "sha256", hex), end, true, err);
    if (rc == 0) rc = flush(c, err);
    if (rc == 0 && seam_fsync(c->fd) < 0) rc = error_set_errno(err, ERR_IO_WRITE, "make the change set durable");
    if (rc < 0) return rc;
    sha256_finish(c->whole, &d);
    if (ret_whole) *ret_whole = d;
    if (ret_rows) *ret_rows = c->rows;
    if (ret_bytes) *ret_bytes = c->bytes;
    return 0;
}

/* ---- reading ---- */
struct reading {
    int fd;
    const struct change_set_reader *r;
    void *ctx;
    struct buf text; /* from the file, not yet taken */
    size_t used;
    uint64_t at;
    struct sha256_state *lines;
    uint64_t rows, line;
    size_t tables;
    bool ended;
};

static int bad(struct reading *w, struct error *err, const char *what) {
    return error_set(err, ERR_CHANGE_SET, "line %llu of the change set: %s", (unsigned long long)w->line, what);
}

/* The next line without its newline; len 0 at the end of the file. */
static int next_line(struct reading *w, struct bytes *ret, struct error *err) {
    for (size_t seen = 0;;) {
        uint8_t *from = w->text.ptr ? w->text.ptr + w->used : NULL;
        size_t have = w->text.len - w->used;
        uint8_t *nl = have > seen ? memchr(from + seen, '\n', have - seen) : NULL;
        if (nl) {
            *ret = BYTES_OF(from, (size_t)(nl - from));
            w->used += ret->len + 1;
            w->line++;
            return 0;
        }
        seen = have;
        if (w->used) memmove(w->text.ptr, from, have);
        w->text.len = have;
        w->used = 0;
        size_t n = 0;
        int rc = buf_reserve(&w->text, READ_BYTES, err);
        if (rc == 0) rc = io_pread_full(w->fd, w->text.ptr + have, READ_BYTES, w->at, &n, "change set", err);
        if (rc < 0) return rc;
        w->at += n;
        w->text.len += n;
        if (n > 0) continue;
        if (have) return w->line++, bad(w, err, "it is cut off");
        *ret = (struct bytes){0};
        return 0;
    }
}

static int take_head(struct reading *w, const json_t *j, struct error *err) {
    const char *format = json_string_value(json_object_get(j, "format"));
    if (!format || strcmp(format, FORMAT) != 0) return bad(w, err, "it is no change set");
    if (json_integer_value(json_object_get(j, "version")) != VERSION)
        return bad(w, err, "its version is not known here");
    return w->r->head ? w->r->head(w->ctx, j, err) : 0;
}

static bool are_columns(const json_t *list) {
    const json_t *c;
    size_t i;
    json_array_foreach(list, i, c) if (!json_is_string(json_object_get(c, "name"))) return false;
    return true;
}

static bool are_names(const json_t *list) {
    const json_t *name;
    size_t i;
    json_array_foreach(list, i, name) if (!json_is_string(name)) return false;
    return true;
}

static int take_table(struct reading *w, const json_t *j, struct error *err) {
    if (!json_is_string(json_object_get(j, "table")) || !json_is_array(json_object_get(j, "columns")) ||
        !json_is_array(json_object_get(j, "key")) || w->rows || !are_columns(json_object_get(j, "columns")) ||
        !are_names(json_object_get(j, "key")))
        return bad(w, err, "it is no table");
    size_t number = w->tables++;
    return w->r->table ? w->r->table(w->ctx, number, j, err) : 0;
}

static int take_row(struct reading *w, const json_t *j, struct error *err) {
    const char *is = json_string_value(json_object_get(j, "is"));
    json_int_t table = json_integer_value(json_object_get(j, "table"));
    size_t kind = 0;
    while (kind < sizeof names / sizeof *names && (!is || strcmp(is, names[kind]) != 0)) kind++;
    bool then = json_is_array(json_object_get(j, "then")), now = json_is_array(json_object_get(j, "now"));
    if (kind == sizeof names / sizeof *names || table < 0 || (size_t)table >= w->tables ||
        !json_is_array(json_object_get(j, "key")) || then != (kind != CHANGE_ROW_ADDED) ||
        now != (kind != CHANGE_ROW_DELETED))
        return bad(w, err, "it is no row");
    w->rows++;
    return w->r->row ? w->r->row(w->ctx, (size_t)table, (enum change_row)kind, j, err) : 0;
}

static int take_end(struct reading *w, const json_t *j, struct error *err) {
    struct digest d;
    char hex[65];
    sha256_finish(w->lines, &d);
    hex_encode(d.b, sizeof d.b, hex);
    const char *said = json_string_value(json_object_get(j, "sha256"));
    if (!said || strcmp(said, hex) != 0) return bad(w, err, "what stands before it is not what was written");
    if (json_integer_value(json_object_get(j, "rows")) != (json_int_t)w->rows) return bad(w, err, "rows are missing");
    w->ended = true;
    return w->r->end ? w->r->end(w->ctx, j, err) : 0;
}

static int take_line(struct reading *w, struct bytes text, struct error *err) {
    json_t *j = NULL;
    if (w->ended) return bad(w, err, "it stands behind the end");
    int rc = json_parse(text, CHANGE_LINE_BYTES_MAX, "change set", &j, err);
    if (rc == -ERR_JSON) {
        error_clear(err);
        return bad(w, err, "it is no JSON");
    }
    if (rc < 0) return rc;
    const char *line = json_string_value(json_object_get(j, "line"));
    bool end = line && !strcmp(line, "end");
    if (!end) {
        sha256_update(w->lines, text);
        sha256_update(w->lines, BYTES_OF("\n", 1));
    }
    if (w->line == 1)
        rc = line && !strcmp(line, "head") ? take_head(w, j, err) : bad(w, err, "it is no change set");
    else if (line && !strcmp(line, "table"))
        rc = take_table(w, j, err);
    else if (line && !strcmp(line, "row"))
        rc = take_row(w, j, err);
    else
        rc = end ? take_end(w, j, err) : bad(w, err, "nobody knows what it is");
    json_decref(j);
    return rc;
}

int change_set_read(int fd, const struct change_set_reader *r, void *ctx, struct error *err) {
    struct reading w = {.fd = fd, .r = r, .ctx = ctx, .text = BUF_INIT(CHANGE_LINE_BYTES_MAX + READ_BYTES)};
    struct bytes line;
    int rc = sha256_new(&w.lines, err);
    while (rc == 0) {
        rc = next_line(&w, &line, err);
        if (rc == 0 && !line.ptr) {
            w.line++;
            if (!w.ended) rc = bad(&w, err, "it ends without its end");
            break;
        }
        if (rc == 0) rc = take_line(&w, line, err);
    }
    sha256_free(w.lines);
    buf_free(&w.text);
    return rc;
}

int change_set_digest(int fd, struct digest *ret, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(READ_BYTES);
    struct sha256_state *s = NULL;
    size_t n = 1;
    int rc = sha256_new(&s, err);
    if (rc == 0) rc = buf_reserve(&b, READ_BYTES, err);
    for (uint64_t at = 0; rc == 0 && n; at += n) {
        rc = io_pread_full(fd, b.ptr, READ_BYTES, at, &n, "change set", err);
        if (rc == 0) sha256_update(s, BYTES_OF(b.ptr, n));
    }
    if (rc == 0) sha256_finish(s, ret);
    sha256_free(s);
    return rc;
}

int change_set_value(const json_t *value, bool *ret_null, struct buf *out, struct error *err) {
    const char *packed = json_string_value(json_object_get(value, "base64"));
    *ret_null = json_is_null(value);
    if (*ret_null) return 0;
    if (json_is_string(value)) return buf_append(out, json_string_value(value), json_string_length(value), err);
    int rc = packed ? base64_decode(out, BYTES_STR(packed), err) : -ERR_JSON;
    if (rc != -ERR_JSON) return rc;
    error_clear(err);
    return error_set(err, ERR_CHANGE_SET, "a value of the change set is neither text nor null");
}
