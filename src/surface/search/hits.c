#include "surface/search/hits.h"

#include "base/seam.h"

/* An id is at most 512 bytes by the servers' own rule, and is written with escapes. */
#define NAME_MAX_BYTES 65536

void hits_open(struct hits *h, const struct hits_events *ev) {
    *h = (struct hits){.ev = ev,
                       .rest = BUF_INIT(HITS_TEXT_MAX),
                       .key = BUF_INIT(NAME_MAX_BYTES),
                       .value = BUF_INIT(HITS_TEXT_MAX),
                       .id = BUF_INIT(NAME_MAX_BYTES),
                       .routing = BUF_INIT(NAME_MAX_BYTES),
                       .sort = BUF_INIT(NAME_MAX_BYTES)};
}

void hits_free(struct hits *h) {
    buf_free(&h->rest);
    buf_free(&h->key);
    buf_free(&h->value);
    buf_free(&h->id);
    buf_free(&h->routing);
    buf_free(&h->sort);
}

static int bad(struct error *err, const char *what) {
    return error_set(err, ERR_SEARCH_PROTOCOL, "the answer to a search %s", what);
}

static bool is(const struct buf *b, const char *text) {
    return bytes_equal(buf_bytes(b), BYTES_STR(text));
}

/* JSON has none within a text; a document that had one would not be one line. */
static bool broken(const uint8_t *p, size_t n) {
    return memchr(p, '\n', n) || memchr(p, '\r', n);
}

static bool blank(uint8_t c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* One byte of a text in quotes; true while it goes on. */
static bool in_text(struct hits *h, uint8_t c) {
    if (h->escaped)
        h->escaped = false;
    else if (c == '\\')
        h->escaped = true;
    else if (c == '"')
        h->quoted = false;
    return h->quoted;
}

/* ---- outside of hits.hits: all of it is kept ---- */
static int outside(struct hits *h, uint8_t c, struct error *err) {
    int r = buf_append(&h->rest, &c, 1, err);
    if (r < 0 && h->rest.len == h->rest.max_bytes) {
        error_clear(err);
        return bad(err, "is too long even without its hits");
    }
    if (r < 0) return r;
    if (h->quoted) {
        if (in_text(h, c) && h->is_key) return buf_append(&h->key, &c, 1, err);
        return 0;
    }
    if (blank(c)) return 0;
    if (h->depth == 0 && c != '{') return bad(err, "is no object");
    switch (c) {
    case '"':
        h->quoted = true;
        h->is_key = h->kinds[h->depth - 1] == '{' && !h->key_ready;
        if (h->is_key) buf_clear(&h->key);
        return 0;
    case ':':
        h->key_ready = true;
        return 0;
    case ',':
        h->key_ready = false;
        return 0;
    case '{':
    case '[':
        if (h->depth == sizeof h->kinds) return bad(err, "is nested too deeply");
        if (h->depth == 1 && c == '{' && h->key_ready && is(&h->key, "hits")) h->hits_depth = 2;
        if (h->depth == 2 && h->hits_depth == 2 && c == '[' && h->key_ready && is(&h->key, "hits"))
            h->state = HITS_LIST;
        else
            h->kinds[h->depth++] = c;
        h->key_ready = false;
        return 0;
    case '}':
    case ']':
        if (h->kinds[h->depth - 1] != (c == '}' ? '{' : '[')) return bad(err, "has brackets that do not match");
        if (h->depth == h->hits_depth) h->hits_depth = 0;
        h->depth--;
        h->key_ready = false;
        if (h->depth == 0) h->state = HITS_OVER;
        return 0;
    default:
        return 0;
    }
}

/* ---- the list ---- */
static int in_list(struct hits *h, uint8_t c, struct error *err) {
    if (blank(c) || c == ',') return 0;
    if (c == ']') {
        h->state = HITS_OUTSIDE;
        return buf_append(&h->rest, &c, 1, err);
    }
    if (c != '{') return bad(err, "has a hit that is no object");
    h->state = HITS_HIT;
    h->has_id = h->has_routing = h->has_document = h->key_ready = false;
    buf_clear(&h->id);
    buf_clear(&h->routing);
    return 0;
}

static int begin_document(struct hits *h, struct error *err) {
    struct hit hit = {buf_bytes(&h->id), buf_bytes(&h->routing)};
    if (!h->has_id) return bad(err, "has a document before its id");
    h->state = HITS_DOCUMENT;
    h->document_depth = 0;
    h->has_document = true;
    return h->ev->begin(h->ev->ctx, &hit, err);
}

static int end_hit(struct hits *h, struct error *err) {
    h->state = HITS_LIST;
    h->key_ready = false;
    if (!h->has_document) return error_set(err, ERR_SEARCH_NO_SOURCE, "a hit came without its document (_source)");
    h->count++;
    return h->ev->end(h->ev->ctx, err);
}

/* Between the values of a hit; *ret_again when the byte is the first of a value. */
static int in_hit(struct hits *h, uint8_t c, bool *ret_again, struct error *err) {
    if (h->quoted) return in_text(h, c) ? buf_append(&h->key, &c, 1, err) : 0;
    if (blank(c) || c == ',') return 0;
    if (!h->key_ready) {
        if (c == '}') return end_hit(h, err);
        if (c == ':') {
            h->key_ready = true;
            return 0;
        }
        if (c != '"') return bad(err, "has a hit that is not made of names and values");
        h->quoted = true;
        buf_clear(&h->key);
        return 0;
    }
    *ret_again = true;
    h->key_ready = false;
    if (is(&h->key, "_source")) {
        if (c != '{') return error_set(err, ERR_SEARCH_NO_SOURCE, "a hit came with a document that is no object");
        return begin_document(h, err);
    }
    h->state = HITS_VALUE;
    h->value_depth = 0;
    h->keep = is(&h->key, "_id") || is(&h->key, "_routing") || is(&h->key, "sort");
    buf_clear(&h->value);
    return 0;
}

static int end_value(struct hits *h, struct error *err) {
    struct bytes v = buf_bytes(&h->value);
    h->state = HITS_HIT;
    if (!h->keep) return 0;
    if (broken(v.ptr, v.len)) return bad(err, "has a line break within a text");
    if (is(&h->key, "sort")) {
        buf_clear(&h->sort);
        return buf_append(&h->sort, v.ptr, v.len, err);
    }
    bool id = is(&h->key, "_id");
    if (v.len < 2 || v.ptr[0] != '"') return bad(err, "has an id or a routing that is no text");
    if (h->has_document) return bad(err, "has an id or a routing after its document");
    if (id)
        h->has_id = true;
    else
        h->has_routing = true;
    return buf_append(id ? &h->id : &h->routing, v.ptr + 1, v.len - 2, err);
}

/* A value of a hit that is not the document; *ret_again when the byte belongs to what follows. */
static int in_value(struct hits *h, uint8_t c, bool *ret_again, struct error *err) {
    bool text = h->quoted;
    if (!text && h->value_depth == 0 && (c == ',' || c == '}' || blank(c))) {
        *ret_again = true;
        return end_value(h, err);
    }
    int r = h->keep ? buf_append(&h->value, &c, 1, err) : 0;
    if (r < 0) return r;
    if (text)
        in_text(h, c);
    else if (c == '"')
        h->quoted = true;
    else if (c == '{' || c == '[')
        h->value_depth++;
    else if (c == '}' || c == ']')
        h->value_depth--;
    return 0;
}

/* ---- a document: passed on in pieces as large as they come ---- */
static const uint8_t *text_end(struct hits *h, const uint8_t *p, const uint8_t *end) {
    if (h->escaped && p < end) {
        h->escaped = false;
        p++;
    }
    while (p < end) {
        const uint8_t *quote = memchr(p, '"', (size_t)(end - p));
        const uint8_t *slash = memchr(p, '\\', (size_t)((quote ? quote : end) - p));
        if (!slash) {
            if (quote) h->quoted = false;
            return quote ? quote + 1 : end;
        }
        p = slash + 2;
        if (p > end) {
            h->escaped = true;
            return end;
        }
    }
    return p;
}

static int document(struct hits *h, const uint8_t **at, const uint8_t *end, struct error *err) {
    const uint8_t *from = *at, *p = from;
    int r = 0;
    while (p < end) {
        if (h->quoted) {
            const uint8_t *text = p;
            p = text_end(h, p, end);
            if (broken(text, (size_t)(p - text))) return bad(err, "has a line break within a text");
            continue;
        }
        uint8_t c = *p;
        if (c == '"') {
            h->quoted = true;
        } else if (c == '{' || c == '[') {
            h->document_depth++;
        } else if (c == '}' || c == ']') {
            if (--h->document_depth == 0) {
                p++;
                *at = p;
                h->state = HITS_HIT;
                return h->ev->document(h->ev->ctx, BYTES_OF(from, (size_t)(p - from)), err);
            }
        } else if (c == '\n' || c == '\r') {
            if (p > from) r = h->ev->document(h->ev->ctx, BYTES_OF(from, (size_t)(p - from)), err);
            if (r == 0) r = h->ev->document(h->ev->ctx, BYTES_STR(" "), err);
            if (r < 0) return r;
            from = p + 1;
        }
        p++;
    }
    *at = end;
    return p > from ? h->ev->document(h->ev->ctx, BYTES_OF(from, (size_t)(p - from)), err) : 0;
}

int hits_feed(struct hits *h, struct bytes more, struct error *err) {
    const uint8_t *p = more.ptr, *end = p + more.len;
    int r = 0;
    while (r == 0 && p < end) {
        bool again = false;
        switch (h->state) {
        case HITS_OUTSIDE:
            r = outside(h, *p, err);
            break;
        case HITS_LIST:
            r = in_list(h, *p, err);
            break;
        case HITS_HIT:
            r = in_hit(h, *p, &again, err);
            break;
        case HITS_VALUE:
            r = in_value(h, *p, &again, err);
            break;
        case HITS_DOCUMENT:
            r = document(h, &p, end, err);
            again = true;
            break;
        case HITS_OVER:
            if (!blank(*p)) r = bad(err, "goes on after its end");
            break;
        }
        if (!again) p++;
    }
    return r;
}

int hits_close(struct hits *h, json_t **ret_rest, struct error *err) {
    if (h->state != HITS_OVER) return bad(err, "ended early");
    return search_answer_parse(buf_bytes(&h->rest), HITS_TEXT_MAX, "the answer to a search", ret_rest, err);
}

int search_answer_parse(struct bytes text, size_t max, const char *what, json_t **ret, struct error *err) {
    int r = json_parse(text, max, what, ret, err);
    if (r == 0 || err->code != ERR_JSON) return r;
    struct error e = *err;
    error_clear(err);
    return error_set(err, ERR_SEARCH_PROTOCOL, "%s", e.text);
}
