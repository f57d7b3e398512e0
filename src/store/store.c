#include "store/store.h"
#include "base/seam.h"
#include "store/s3/s3_internal.h"

#define KEY_BYTES_MAX 512
#define SEGMENT_BYTES_MAX 200
#define READ_FIRST_BYTES ((size_t)64 << 10)
#define READ_STEP_BYTES ((size_t)8 << 20)

static bool segment_valid(const char *p, size_t n) {
    if (n == 0 || n > SEGMENT_BYTES_MAX || (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.')))) return false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '-';
        if (!good) return false;
    }
    return true;
}

bool store_key_valid(const char *key) {
    if (strlen(key) > KEY_BYTES_MAX || strcmp(key, "tmp") == 0 || strncmp(key, "tmp/", 4) == 0) return false;
    for (;;) {
        size_t n = strcspn(key, "/");
        if (!segment_valid(key, n)) return false;
        if (key[n] == 0) return true;
        key += n + 1;
    }
}

static int check_key(const char *key, struct error *err) {
    if (store_key_valid(key)) return 0;
    return error_set(err, ERR_STORE_KEY, "'%.64s' cannot be the name of an object", key);
}

int store_stage(struct store *s, const char *key, const struct bytes *parts, size_t n, struct error *err) {
    int rc = check_key(key, err);
    return rc < 0 ? rc : s->ops->stage(s, key, parts, n, err);
}

int store_stage_own(struct store *s, const char *key, uint8_t *mem, size_t len, const uint8_t sha256[32],
                    struct error *err) {
    const struct bytes part = {mem, len};
    int rc = check_key(key, err);
    if (rc == 0 && s->ops->stage_own) return s->ops->stage_own(s, key, mem, len, sha256, err);
    if (rc == 0) rc = s->ops->stage(s, key, &part, 1, err);
    seam_free(mem);
    return rc;
}

int store_commit(struct store *s, struct error *err) {
    return s->ops->commit(s, err);
}

int store_create(struct store *s, const char *key, struct bytes content, struct error *err) {
    int rc = check_key(key, err);
    return rc < 0 ? rc : s->ops->create(s, key, content, err);
}

int store_create_timed(struct store *s, const char *key, struct bytes content, int64_t *ret_created_ns,
                       struct error *err) {
    struct error unknown = ERROR_INIT;
    uint64_t bytes;
    int64_t ns = 0;
    int rc = check_key(key, err);
    if (rc == 0 && s->ops->create_timed)
        rc = s->ops->create_timed(s, key, content, &ns, err);
    else if (rc == 0)
        rc = s->ops->create(s, key, content, err);
    if (rc < 0) return rc;
    if (ns == 0 && s->ops->stat(s, key, &bytes, &ns, &unknown) < 0) ns = 0;
    *ret_created_ns = ns;
    return 0;
}

void store_expect(struct store *s, const char *key, size_t bytes, unsigned uses) {
    if (s->ops->expect && store_key_valid(key)) s->ops->expect(s, key, bytes, uses);
}

void store_expect_list(struct store *s, const char *prefix, bool kept, unsigned uses) {
    if (s->ops->expect) s->ops->expect_list(s, prefix, kept, uses);
}

void store_expect_end(struct store *s) {
    if (s->ops->expect) s->ops->expect_end(s);
}

void store_tidy(struct store *s) {
    if (s->ops->tidy) s->ops->tidy(s);
}

int store_replace(struct store *s, const char *key, struct bytes content, struct error *err) {
    int rc = check_key(key, err);
    return rc < 0 ? rc : s->ops->replace(s, key, content, err);
}

int store_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, struct error *err) {
    int rc = check_key(key, err);
    return rc < 0 ? rc : s->ops->read(s, key, at, p, len, ret_n, err);
}

/* No stat first: a request costs more than a short read, and the object's size is not to be trusted anyway. */
static int read_on(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err) {
    size_t got = 0, step = READ_FIRST_BYTES, n;
    for (;;) {
        size_t room = ret->max_bytes - ret->len, want = step;
        if (want > max - got) want = max - got;
        if (want > room) want = room;
        uint8_t probe[1];
        int rc = want > 0 ? buf_reserve(ret, want, err) : 0;
        if (rc < 0) return rc;
        rc = want > 0 ? store_read(s, key, got, ret->ptr + ret->len, want, &n, err)
                      : store_read(s, key, got, probe, 1, &n, err);
        if (rc < 0) return rc;
        if (want == 0 && n > 0 && got == max)
            return error_set(err, ERR_OBJECT_CORRUPT, "the object %s has more than the %zu bytes it may have", key,
                             max);
        if (want == 0) return n > 0 ? buf_append(ret, probe, n, err) : 0; /* which fails, as there is no room */
        ret->len += n;
        got += n;
        if (n < want) return 0;
        step = step * 2 < READ_STEP_BYTES ? step * 2 : READ_STEP_BYTES;
    }
}

int store_read_all(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err) {
    size_t before = ret->len;
    int rc = read_on(s, key, max, ret, err);
    if (rc < 0) ret->len = before;
    return rc;
}

int store_stat(struct store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *err) {
    uint64_t bytes;
    int64_t created_ns;
    int rc = check_key(key, err);
    if (rc == 0) rc = s->ops->stat(s, key, &bytes, &created_ns, err);
    if (rc < 0) return rc;
    if (ret_bytes) *ret_bytes = bytes;
    if (ret_created_ns) *ret_created_ns = created_ns;
    return 0;
}

int store_list(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    size_t n = strlen(prefix);
    char folder[KEY_BYTES_MAX + 1] = "";
    bool good = n == 0;
    if (n > 1 && n <= KEY_BYTES_MAX && prefix[n - 1] == '/') {
        memcpy(folder, prefix, n - 1);
        good = store_key_valid(folder);
    }
    if (!good) return error_set(err, ERR_STORE_KEY, "'%.64s' cannot be a folder of objects", prefix);
    return s->ops->list(s, prefix, cb, ctx, err);
}

int store_remove(struct store *s, const char *key, struct error *err) {
    int rc = check_key(key, err);
    return rc < 0 ? rc : s->ops->remove(s, key, err);
}

bool store_has_tags(const struct store *s) {
    return s->ops->read_tagged && s->ops->replace_if;
}

int store_read_tagged(struct store *s, const char *key, void *p, size_t len, size_t *ret_n, char tag[STORE_TAG_BYTES],
                      struct error *err) {
    tag[0] = 0;
    if (!store_has_tags(s)) return store_read(s, key, 0, p, len, ret_n, err);
    int rc = check_key(key, err);
    return rc < 0 ? rc : s->ops->read_tagged(s, key, p, len, ret_n, tag, err);
}

int store_replace_if(struct store *s, const char *key, struct bytes content, char tag[STORE_TAG_BYTES], bool *ret_done,
                     struct error *err) {
    *ret_done = false;
    if (!store_has_tags(s)) return 0;
    int rc = check_key(key, err);
    return rc < 0 ? rc : s->ops->replace_if(s, key, content, tag, ret_done, err);
}

bool store_reads_many(const struct store *s) {
    return s->ops->get_many != NULL;
}

void store_get_many(struct store *s, struct store_get *gets, size_t n) {
    bool good = s->ops->get_many != NULL;
    for (size_t i = 0; i < n && good; i++) good = store_key_valid(gets[i].key);
    if (good) {
        s->ops->get_many(s, gets, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct store_get *g = &gets[i];
        g->created_ns = 0;
        (void)!store_read(s, g->key, g->at, g->p, g->len, &g->n, &g->err);
    }
}

int store_remove_many(struct store *s, const char *const *keys, size_t n, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) rc = check_key(keys[i], err);
    if (rc == 0 && s->ops->remove_many) return s->ops->remove_many(s, keys, n, err);
    for (size_t i = 0; i < n && rc == 0; i++) rc = s->ops->remove(s, keys[i], err);
    return rc;
}

bool store_requests(struct store *s, struct store_requests *ret) {
    if (!s->ops->requests) return false;
    s->ops->requests(s, ret);
    return true;
}

void store_requests_add(struct store_requests *sum, const struct store_requests *more) {
    for (enum store_verb v = 0; v < STORE_VERBS; v++) sum->count[v] += more->count[v];
    sum->bytes_sent += more->bytes_sent;
    sum->bytes_received += more->bytes_received;
}

const char *store_verb_name(enum store_verb v) {
    static const char *const names[] = {"GET", "HEAD", "LIST", "PUT", "POST", "DELETE"};
    return names[v];
}

int store_free_space(struct store *s, uint64_t *ret_bytes, struct error *err) {
    return s->ops->free_space(s, ret_bytes, err);
}

void store_close(struct store *s) {
    if (s != NULL) s->ops->close(s);
}

unsigned store_promises(const struct store *s) {
    return s->ops->promises;
}

static int check_scheme(const char *url, struct error *err) {
    const char *colon = strstr(url, "://");
    if (colon != NULL && strncmp(url, "file://", 7) != 0)
        return error_set(err, ERR_USAGE,
                         "this version cannot open repositories at '%.*s://': it knows folders ('file:///path' or '/path') "
                         "and buckets ('s3://bucket/prefix')",
                         (int)(colon - url < 32 ? colon - url : 32), url);
    return 0;
}

int store_url_check(const char *url, struct error *err) {
    struct s3_place p;
    return strncmp(url, "s3://", 5) == 0 ? s3_place_parse(url, &p, err) : check_scheme(url, err);
}

int store_open_with(const char *url, bool create, const struct store_access *a, struct store **ret, struct error *err) {
    if (strncmp(url, "s3://", 5) == 0) return store_s3_open(url, create, a, ret, err);
    int rc = check_scheme(url, err);
    if (rc == 0) rc = store_local_open(url, create, ret, err);
    if (a && a->free) a->free(a->ctx);
    return rc;
}

int store_open(const char *url, bool create, struct store **ret, struct error *err) {
    return store_open_with(url, create, NULL, ret, err);
}
