#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"
#include <stdlib.h>

#define TOKEN_BYTES_MAX 2048

struct row {
    size_t key_at; /* in the page's names */
    uint64_t bytes;
    int64_t created_ns;
    bool archived;
};

/* One page of the list. */
struct page {
    const char *prefix; /* the store's own, which is dropped */
    struct buf names;
    struct row *rows;
    size_t row_count, row_cap;
    bool truncated, escaped;
    char token[TOKEN_BYTES_MAX];
    char key[S3_KEY_BYTES_MAX + 1], size[24], time[40], class[STORE_CLASS_BYTES]; /* of the row that is being read */
    bool key_ok;
};

static bool copy(char *to, size_t cap, struct bytes text) {
    if (text.len >= cap) return false;
    memcpy(to, text.ptr, text.len);
    to[text.len] = 0;
    return true;
}

static int end_row(struct page *p, struct error *err) {
    char *end;
    struct row r = {.key_at = p->names.len,
                    .bytes = strtoull(p->size, &end, 10),
                    .archived = s3_class_depth(p->class) != STORE_DEPTH_NONE};
    if (!p->size[0] || *end || !time_parse(p->time, &r.created_ns))
        return error_set(err, ERR_NET_ANSWER, "the list has an object without size or time");
    const char *key = p->key;
    struct buf plain = BUF_INIT(S3_KEY_BYTES_MAX + 1);
    bool good = p->key_ok;
    if (good && p->escaped) {
        good = http_unescape(BYTES_STR(p->key), &plain, err) && buf_terminate(&plain, err) == 0;
        key = good ? (const char *)plain.ptr : "";
    }
    size_t skip = strlen(p->prefix);
    int rc = 0;
    /* What else lies there under names that are no keys is none of ours. */
    if (good && strncmp(key, p->prefix, skip) == 0 && store_key_valid(key + skip)) {
        rc = buf_append(&p->names, key + skip, strlen(key + skip) + 1, err);
        if (rc == 0) rc = mem_grow((void **)&p->rows, &p->row_cap, p->row_count + 1, sizeof *p->rows, err);
        if (rc == 0) p->rows[p->row_count++] = r;
    }
    if (!good) error_clear(err);
    buf_free(&plain);
    p->key[0] = p->size[0] = p->time[0] = p->class[0] = 0;
    return rc;
}

static int take(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct page *p = ctx;
    const char *name = strncmp(path, "ListBucketResult/", 17) == 0 ? path + 17 : "";
    if (strcmp(name, "Contents/Key") == 0) p->key_ok = copy(p->key, sizeof p->key, text);
    if (strcmp(name, "Contents/Size") == 0) (void)copy(p->size, sizeof p->size, text);
    if (strcmp(name, "Contents/LastModified") == 0) (void)copy(p->time, sizeof p->time, text);
    if (strcmp(name, "Contents/StorageClass") == 0) (void)copy(p->class, sizeof p->class, text);
    if (strcmp(name, "Contents") == 0) return end_row(p, err);
    if (strcmp(name, "IsTruncated") == 0) p->truncated = bytes_equal(text, BYTES_STR("true"));
    if (strcmp(name, "EncodingType") == 0) p->escaped = bytes_equal(text, BYTES_STR("url"));
    if (strcmp(name, "NextContinuationToken") == 0 && !copy(p->token, sizeof p->token, text))
        return error_set(err, ERR_NET_ANSWER, "the list's continuation is too long");
    return 0;
}

/* Names in order: continuation-token, encoding-type, list-type, max-keys, prefix. */
static int query_of(struct buf *q, const char *token, const char *prefix, const char *folder, struct error *err) {
    int rc = 0;
    buf_clear(q);
    if (*token) rc = buf_append_str(q, "continuation-token=", err);
    if (*token && rc == 0) rc = http_escape(q, BYTES_STR(token), false, err);
    if (rc == 0) rc = buf_printf(q, err, "%slist-type=2&max-keys=1000&prefix=", *token ? "&" : "");
    if (rc == 0) rc = http_escape(q, BYTES_STR(prefix), false, err);
    if (rc == 0) rc = http_escape(q, BYTES_STR(folder), false, err);
    return rc < 0 ? rc : buf_terminate(q, err);
}

int s3_list_query(struct s3_store *s, const char *prefix, struct buf *ret, struct error *err) {
    return query_of(ret, "", s->place.prefix, prefix, err);
}

static int get_page(struct s3_store *s, const char *folder, struct page *p, struct buf *text, struct error *err) {
    CLEANUP(buf_free) struct buf q = BUF_INIT((size_t)16 << 10);
    char what[S3_KEY_BYTES_MAX];
    snprintf(what, sizeof what, "list '%s'", folder);
    int rc = query_of(&q, p->token, s->place.prefix, folder, err);
    if (rc < 0) return rc;
    struct s3_call c = {
        .what = what, .action = "s3:ListBucket", .method = "GET", .query = (const char *)q.ptr, .text = text};
    bool first = p->token[0] == 0;
    char before[TOKEN_BYTES_MAX];
    memcpy(before, p->token, sizeof before);
    p->token[0] = 0;
    p->row_count = 0;
    p->truncated = false;
    buf_clear(&p->names);
    if (!first || !s3_soon_page(s, c.query, text, &rc, err)) rc = s3_call(s, &c, err);
    if (rc == 0 && (rc = xml_walk(buf_bytes(text), take, p, err)) < 0)
        error_wrap(err, "cannot %s in %s", what, s->name);
    if (rc == 0 && p->truncated && (p->token[0] == 0 || (!first && strcmp(before, p->token) == 0)))
        rc = error_set(err, ERR_NET_ANSWER, "cannot %s in %s: the list has no end", what, s->name);
    s3_call_free(&c);
    return rc;
}

int s3_list(struct store *st, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    void *mem;
    int rc = mem_alloc(sizeof(struct page), &mem, err);
    if (rc < 0) return rc;
    struct page *p = mem;
    struct buf text = BUF_INIT(S3_TEXT_BYTES_MAX);
    p->prefix = s->place.prefix;
    p->names = BUF_INIT(S3_TEXT_BYTES_MAX);
    do {
        rc = get_page(s, prefix, p, &text, err);
        for (size_t i = 0; i < p->row_count && rc == 0; i++) {
            struct store_object o = {(const char *)p->names.ptr + p->rows[i].key_at, p->rows[i].bytes,
                                     p->rows[i].created_ns, p->rows[i].archived};
            rc = cb(ctx, &o, err);
        }
    } while (rc == 0 && p->truncated);
    buf_free(&text);
    buf_free(&p->names);
    seam_free(p->rows);
    seam_free(p);
    return rc;
}
