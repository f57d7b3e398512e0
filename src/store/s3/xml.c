#include "base/seam.h"
#include "store/s3/s3_internal.h"

#define DEPTH_MAX 16
#define PATH_BYTES 512

struct walk {
    const char *at, *end;
    xml_cb cb;
    void *ctx;
    char path[PATH_BYTES];
    size_t path_len, depth;
    size_t ends[DEPTH_MAX]; /* how long the path was before each open element */
    bool has_children[DEPTH_MAX];
    struct buf text;
};

static int refuse(struct error *err, const char *why) {
    return error_set(err, ERR_NET_ANSWER, "the answer is no XML as object stores send it: %s", why);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int put_code_point(struct buf *b, unsigned long c, struct error *err) {
    uint8_t u[4];
    size_t n;
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return refuse(err, "a number that is no character");
    if (c < 0x80) {
        u[0] = (uint8_t)c, n = 1;
    } else if (c < 0x800) {
        u[0] = (uint8_t)(0xc0 | c >> 6), u[1] = (uint8_t)(0x80 | (c & 63)), n = 2;
    } else if (c < 0x10000) {
        u[0] = (uint8_t)(0xe0 | c >> 12), u[1] = (uint8_t)(0x80 | (c >> 6 & 63)), u[2] = (uint8_t)(0x80 | (c & 63)),
        n = 3;
    } else {
        u[0] = (uint8_t)(0xf0 | c >> 18), u[1] = (uint8_t)(0x80 | (c >> 12 & 63));
        u[2] = (uint8_t)(0x80 | (c >> 6 & 63)), u[3] = (uint8_t)(0x80 | (c & 63)), n = 4;
    }
    return buf_append(b, u, n, err);
}

/* w->at is behind '&'. */
static int take_entity(struct walk *w, struct error *err) {
    static const struct {
        const char *name;
        char c;
    } named[] = {{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}};
    size_t left = (size_t)(w->end - w->at);
    for (size_t i = 0; i < 5; i++) {
        size_t n = strlen(named[i].name);
        if (left < n || memcmp(w->at, named[i].name, n) != 0) continue;
        w->at += n;
        return buf_append(&w->text, &named[i].c, 1, err);
    }
    if (left < 3 || *w->at != '#') return refuse(err, "an unknown entity");
    w->at++;
    bool hex = *w->at == 'x';
    unsigned long c = 0;
    size_t digits = 0;
    for (w->at += hex; w->at < w->end && *w->at != ';'; w->at++, digits++) {
        char d = *w->at;
        unsigned v = d >= '0' && d <= '9'          ? (unsigned)(d - '0')
                     : hex && d >= 'a' && d <= 'f' ? (unsigned)(d - 'a' + 10)
                     : hex && d >= 'A' && d <= 'F' ? (unsigned)(d - 'A' + 10)
                                                   : 99;
        if (v == 99 || digits > 7) return refuse(err, "a malformed entity");
        c = c * (hex ? 16 : 10) + v;
    }
    if (w->at == w->end || digits == 0) return refuse(err, "a malformed entity");
    w->at++;
    return put_code_point(&w->text, c, err);
}

static int take_text(struct walk *w, struct error *err) {
    int rc = 0;
    while (rc == 0 && w->at < w->end && *w->at != '<') {
        if (*w->at == '&') {
            w->at++;
            rc = take_entity(w, err);
            continue;
        }
        const char *from = w->at;
        while (w->at < w->end && *w->at != '<' && *w->at != '&') w->at++;
        if (w->depth > 0) rc = buf_append(&w->text, from, (size_t)(w->at - from), err);
    }
    return rc;
}

/* A name at w->at, its prefix dropped. */
static int take_name(struct walk *w, const char **ret, size_t *ret_len, struct error *err) {
    const char *from = w->at;
    while (w->at < w->end && !is_space(*w->at) && *w->at != '>' && *w->at != '/') {
        if (*w->at == ':') from = w->at + 1;
        if (*w->at == '<' || *w->at == '"' || *w->at == '=' || *w->at == 0) return refuse(err, "a malformed tag");
        w->at++;
    }
    *ret = from;
    *ret_len = (size_t)(w->at - from);
    return *ret_len > 0 && w->at < w->end ? 0 : refuse(err, "a malformed tag");
}

static int close_element(struct walk *w, struct error *err) {
    size_t d = w->depth - 1;
    struct bytes text = w->has_children[d] ? BYTES_OF(NULL, 0) : buf_bytes(&w->text);
    if (!w->has_children[d] && !text.ptr) text.ptr = (const uint8_t *)"";
    int rc = w->cb(w->ctx, w->path, text, err);
    w->depth = d;
    w->path_len = w->ends[d];
    w->path[w->path_len] = 0;
    buf_clear(&w->text);
    return rc;
}

static int open_tag(struct walk *w, struct error *err) {
    const char *name;
    size_t n;
    int rc = take_name(w, &name, &n, err);
    if (rc < 0) return rc;
    if (w->depth == DEPTH_MAX || w->path_len + n + 2 > PATH_BYTES) return refuse(err, "too deep");
    if (w->depth > 0) w->has_children[w->depth - 1] = true;
    w->ends[w->depth] = w->path_len;
    w->has_children[w->depth] = false;
    if (w->depth++ > 0) w->path[w->path_len++] = '/';
    memcpy(w->path + w->path_len, name, n);
    w->path_len += n;
    w->path[w->path_len] = 0;
    buf_clear(&w->text);
    char quote = 0;
    bool empty = false;
    for (; w->at < w->end && (quote || *w->at != '>'); w->at++) {
        if (quote ? *w->at == quote : *w->at == '"' || *w->at == '\'') quote = quote ? 0 : *w->at;
        empty = !quote && *w->at == '/';
    }
    if (w->at == w->end) return refuse(err, "it ends within a tag");
    w->at++;
    return empty ? close_element(w, err) : 0;
}

static int close_tag(struct walk *w, struct error *err) {
    const char *name;
    size_t n;
    int rc = take_name(w, &name, &n, err);
    if (rc < 0) return rc;
    if (w->depth == 0) return refuse(err, "a tag closes what was not open");
    const char *last = strrchr(w->path, '/');
    last = last ? last + 1 : w->path;
    if (strlen(last) != n || memcmp(last, name, n) != 0) return refuse(err, "a tag closes another");
    while (w->at < w->end && is_space(*w->at)) w->at++;
    if (w->at == w->end || *w->at++ != '>') return refuse(err, "a malformed tag");
    return close_element(w, err);
}

/* "<?…?>" and "<!--…-->" */
static int skip_past(struct walk *w, const char *what, struct error *err) {
    const char *found = memmem(w->at, (size_t)(w->end - w->at), what, strlen(what));
    if (!found) return refuse(err, "it ends too early");
    w->at = found + strlen(what);
    return 0;
}

int xml_walk(struct bytes in, xml_cb cb, void *ctx, struct error *err) {
    struct walk w = {.at = (const char *)in.ptr, .cb = cb, .ctx = ctx, .text = BUF_INIT((size_t)64 << 10)};
    w.end = w.at + in.len;
    int rc = 0;
    bool any = false;
    while (rc == 0 && w.at < w.end) {
        if (*w.at != '<') {
            rc = take_text(&w, err);
            continue;
        }
        w.at++;
        if (w.at == w.end) {
            rc = refuse(err, "it ends within a tag");
        } else if (*w.at == '?') {
            rc = skip_past(&w, "?>", err);
        } else if (*w.at == '!') {
            rc = w.end - w.at > 3 && memcmp(w.at, "!--", 3) == 0 ? skip_past(&w, "-->", err)
                                                                 : refuse(err, "a declaration");
        } else if (*w.at == '/') {
            w.at++;
            rc = close_tag(&w, err);
        } else {
            any = true;
            rc = open_tag(&w, err);
        }
    }
    if (rc == 0 && (w.depth > 0 || !any)) rc = refuse(err, any ? "it ends too early" : "it has no element");
    buf_free(&w.text);
    return rc;
}
