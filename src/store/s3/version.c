/* Versions of objects: listing them, and seeing through what hides the first. */
#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"
#include <stdlib.h>

#define PINS_MAX 65536 /* then all are forgotten, and found again as they are needed */
#define PIN_BUCKETS 1024
#define MARK_BYTES_MAX 2048
#define TAG_BYTES 80

/* ---- pins: keys of which this handle reads the first version ---- */

struct pin {
    struct pin *next;
    char key[S3_KEY_BYTES_MAX + 1], id[];
};
struct pins {
    struct pin *buckets[PIN_BUCKETS];
    size_t count;
};

static struct pin **bucket_of(struct pins *p, const char *key) {
    uint32_t h = 2166136261u;
    for (; *key; key++) h = (h ^ (uint8_t)*key) * 16777619u;
    return &p->buckets[h % PIN_BUCKETS];
}

static void pins_clear(struct pins *p) {
    for (size_t i = 0; i < PIN_BUCKETS; i++)
        while (p->buckets[i]) {
            struct pin *gone = p->buckets[i];
            p->buckets[i] = gone->next;
            seam_free(gone);
        }
    p->count = 0;
}

void s3_pins_free(struct pins *p) {
    if (p) pins_clear(p);
    seam_free(p);
}

static struct pin **pin_find(struct pins *p, const char *key) {
    struct pin **at = bucket_of(p, key);
    while (*at && strcmp((*at)->key, key) != 0) at = &(*at)->next;
    return at;
}

bool s3_pinned(struct s3_store *s, const char *key, char id[STORE_VERSION_BYTES]) {
    bool found = false;
    if (!atomic_load(&s->any_pins)) return false;
    pthread_mutex_lock(&s->pin_lock);
    struct pin *p = s->pins ? *pin_find(s->pins, key) : NULL;
    if (p) snprintf(id, STORE_VERSION_BYTES, "%s", p->id);
    found = p != NULL;
    pthread_mutex_unlock(&s->pin_lock);
    return found;
}

static void pin_add(struct s3_store *s, const char *key, const char *id, atomic_ullong *counter) {
    struct error e = ERROR_INIT;
    void *mem;
    pthread_mutex_lock(&s->pin_lock);
    if (!s->pins && mem_alloc(sizeof(struct pins), &mem, &e) == 0) s->pins = mem;
    if (s->pins && s->pins->count >= PINS_MAX) pins_clear(s->pins);
    struct pin **at = s->pins ? pin_find(s->pins, key) : NULL;
    /* what is looked at already is not counted again, nor is what has the same bytes on top */
    if (at && !*at && mem_alloc(sizeof(struct pin) + strlen(id) + 1, &mem, &e) == 0) {
        *at = mem;
        snprintf((*at)->key, sizeof(*at)->key, "%s", key);
        memcpy((*at)->id, id, strlen(id) + 1);
        s->pins->count++;
        if (counter && !s->base.first_seen[0]) snprintf(s->base.first_seen, sizeof s->base.first_seen, "%.120s", key);
        if (counter) atomic_fetch_add(counter, 1);
        atomic_store(&s->any_pins, true);
    }
    pthread_mutex_unlock(&s->pin_lock);
}

void s3_unpin(struct s3_store *s, const char *key) {
    pthread_mutex_lock(&s->pin_lock);
    struct pin **at = s->pins ? pin_find(s->pins, key) : NULL;
    if (at && *at) {
        struct pin *gone = *at;
        *at = gone->next;
        seam_free(gone);
        s->pins->count--;
    }
    pthread_mutex_unlock(&s->pin_lock);
}

/* ---- listing ---- */

struct row {
    size_t key_at, id_at, tag_at; /* in the page's texts */
    size_t order;                 /* as it was listed */
    uint64_t bytes;
    int64_t created_ns;
    bool marker, latest;
};
struct version_page {
    const char *prefix; /* the store's own, which is dropped */
    struct buf texts;
    struct row *rows;
    size_t row_count, row_cap;
    bool truncated;
    char key_mark[MARK_BYTES_MAX], id_mark[MARK_BYTES_MAX];
    char key[S3_KEY_BYTES_MAX + 1], id[STORE_VERSION_BYTES], size[24], time[40]; /* of the row that is being read */
    char tag[TAG_BYTES];
    bool row_ok, latest;
};

static bool copy(char *to, size_t cap, struct bytes text) {
    if (text.len >= cap) return false;
    if (text.len) memcpy(to, text.ptr, text.len);
    to[text.len] = 0;
    return true;
}

static void begin_row(struct version_page *p) {
    p->key[0] = p->id[0] = p->size[0] = p->time[0] = p->tag[0] = 0;
    p->row_ok = true;
    p->latest = false;
}

static int end_row(struct version_page *p, bool marker, struct error *err) {
    size_t skip = strlen(p->prefix);
    struct row r = {.marker = marker, .latest = p->latest, .order = p->row_count};
    int rc = 0;
    if (p->row_ok && strncmp(p->key, p->prefix, skip) == 0 && store_key_valid(p->key + skip)) {
        char *end;
        r.bytes = strtoull(p->size, &end, 10);
        if (!time_parse(p->time, &r.created_ns) || !p->id[0] || (!marker && (!p->size[0] || *end)))
            return error_set(err, ERR_NET_ANSWER, "the list has a version without id, size or time");
        r.key_at = p->texts.len;
        rc = buf_append(&p->texts, p->key + skip, strlen(p->key + skip) + 1, err);
        r.id_at = p->texts.len;
        if (rc == 0) rc = buf_append(&p->texts, p->id, strlen(p->id) + 1, err);
        r.tag_at = p->texts.len;
        if (rc == 0) rc = buf_append(&p->texts, p->tag, strlen(p->tag) + 1, err);
        if (rc == 0) rc = mem_grow((void **)&p->rows, &p->row_cap, p->row_count + 1, sizeof *p->rows, err);
        if (rc == 0) p->rows[p->row_count++] = r;
    }
    begin_row(p);
    return rc;
}

static int take(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct version_page *p = ctx;
    static const char root[] = "ListVersionsResult/";
    const char *name = strncmp(path, root, sizeof root - 1) == 0 ? path + sizeof root - 1 : "";
    bool marker = strncmp(name, "DeleteMarker", 12) == 0;
    const char *field = marker ? name + 12 : strncmp(name, "Version", 7) == 0 ? name + 7 : "-";
    if (strcmp(field, "/Key") == 0) p->row_ok &= copy(p->key, sizeof p->key, text);
    if (strcmp(field, "/VersionId") == 0) p->row_ok &= copy(p->id, sizeof p->id, text);
    if (strcmp(field, "/ETag") == 0) (void)copy(p->tag, sizeof p->tag, text);
    if (strcmp(field, "/Size") == 0) (void)copy(p->size, sizeof p->size, text);
    if (strcmp(field, "/LastModified") == 0) (void)copy(p->time, sizeof p->time, text);
    if (strcmp(field, "/IsLatest") == 0) p->latest = bytes_equal(text, BYTES_STR("true"));
    if (!*field) return end_row(p, marker, err);
    if (strcmp(name, "IsTruncated") == 0) p->truncated = bytes_equal(text, BYTES_STR("true"));
    bool fits = true;
    if (strcmp(name, "NextKeyMarker") == 0) fits = copy(p->key_mark, sizeof p->key_mark, text);
    if (strcmp(name, "NextVersionIdMarker") == 0) fits = copy(p->id_mark, sizeof p->id_mark, text);
    return fits ? 0 : error_set(err, ERR_NET_ANSWER, "the list's continuation is too long");
}

static int query_of(struct buf *q, const struct version_page *p, const char *prefix, struct error *err) {
    int rc = 0;
    if (p->key_mark[0]) rc = buf_append_str(q, "key-marker=", err);
    if (rc == 0) rc = http_escape(q, BYTES_STR(p->key_mark), false, err);
    if (rc == 0) rc = buf_printf(q, err, "%smax-keys=1000&prefix=", p->key_mark[0] ? "&" : "");
    if (rc == 0) rc = http_escape(q, BYTES_STR(p->prefix), false, err);
    if (rc == 0) rc = http_escape(q, BYTES_STR(prefix), false, err);
    if (rc == 0 && p->id_mark[0]) rc = buf_append_str(q, "&version-id-marker=", err);
    if (rc == 0) rc = http_escape(q, BYTES_STR(p->id_mark), false, err);
    if (rc == 0) rc = buf_append_str(q, "&versions=", err);
    return rc < 0 ? rc : buf_terminate(q, err);
}

int s3_versions_query(struct s3_store *s, const char *prefix, struct buf *ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct version_page), &mem, err);
    if (rc < 0) return rc;
    struct version_page *p = mem;
    p->prefix = s->place.prefix;
    rc = query_of(ret, p, prefix, err);
    seam_free(p);
    return rc;
}

static int get_page(struct s3_store *s, const char *prefix, struct version_page *p, struct buf *text,
                    struct error *err) {
    CLEANUP(buf_free) struct buf q = BUF_INIT((size_t)32 << 10);
    char what[S3_KEY_BYTES_MAX], key_before[MARK_BYTES_MAX], id_before[MARK_BYTES_MAX];
    snprintf(what, sizeof what, "list the versions of '%s'", prefix);
    int rc = query_of(&q, p, prefix, err);
    if (rc < 0) return rc;
    struct s3_call c = {
        .what = what, .action = "s3:ListBucketVersions", .method = "GET", .query = (const char *)q.ptr, .text = text};
    memcpy(key_before, p->key_mark, sizeof key_before);
    memcpy(id_before, p->id_mark, sizeof id_before);
    p->key_mark[0] = p->id_mark[0] = 0;
    p->row_count = 0;
    p->truncated = false;
    buf_clear(&p->texts);
    begin_row(p);
    if (key_before[0] || !s3_soon_page(s, c.query, text, &rc, err)) rc = s3_call(s, &c, err);
    if (rc == 0 && (rc = xml_walk(buf_bytes(text), take, p, err)) < 0)
        error_wrap(err, "cannot %s in %s", what, s->name);
    if (rc == 0 && p->truncated &&
        (!p->key_mark[0] || (strcmp(key_before, p->key_mark) == 0 && strcmp(id_before, p->id_mark) == 0)))
        rc = error_set(err, ERR_NET_ANSWER, "cannot %s in %s: the list has no end", what, s->name);
    s3_call_free(&c);
    return rc;
}

static const char *texts_of(const struct version_page *p) {
    return (const char *)p->texts.ptr;
}

/* Some servers list all markers of a page before all versions. Versions of a key come newest first from each. */
static int row_order(const void *a, const void *b, void *ctx) {
    const struct row *x = a, *y = b;
    const char *texts = texts_of(ctx);
    int d = strcmp(texts + x->key_at, texts + y->key_at);
    if (d == 0) d = y->latest - x->latest;
    return d ? d : (x->order > y->order) - (x->order < y->order);
}

/* Non-zero of cb stops; what is positive is no failure and comes back. */
static int each_version(struct s3_store *s, const char *prefix, store_version_cb cb, void *ctx, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct version_page), &mem, err);
    if (rc < 0) return rc;
    struct version_page *p = mem;
    struct buf text = BUF_INIT(S3_TEXT_BYTES_MAX);
    p->prefix = s->place.prefix;
    p->texts = BUF_INIT(S3_TEXT_BYTES_MAX);
    do {
        rc = get_page(s, prefix, p, &text, err);
        if (rc == 0 && p->row_count) qsort_r(p->rows, p->row_count, sizeof *p->rows, row_order, p);
        for (size_t i = 0; i < p->row_count && rc == 0; i++) {
            const struct row *r = &p->rows[i];
            struct store_version v = {.key = texts_of(p) + r->key_at,
                                      .id = texts_of(p) + r->id_at,
                                      .tag = texts_of(p) + r->tag_at,
                                      .bytes = r->bytes,
                                      .created_ns = r->created_ns,
                                      .marker = r->marker,
                                      .latest = r->latest};
            rc = cb(ctx, &v, err);
        }
    } while (rc == 0 && p->truncated);
    buf_free(&text);
    buf_free(&p->texts);
    seam_free(p->rows);
    seam_free(p);
    return rc;
}

int s3_list_versions(struct store *st, const char *prefix, store_version_cb cb, void *ctx, struct error *err) {
    return each_version((struct s3_store *)st, prefix, cb, ctx, err);
}

/* ---- whether versions are kept ---- */

static int take_status(void *ctx, const char *path, struct bytes text, struct error *err) {
    (void)err;
    if (strcmp(path, "VersioningConfiguration/Status") == 0) *(bool *)ctx = text.len > 0;
    return 0;
}

/* Where versions were kept once and are no more ("Suspended"), the old ones are still there. */
int s3_kept(struct store *st, bool *ret, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    int known = atomic_load(&s->keeps);
    bool kept = false;
    *ret = known == S3_KEEPS;
    if (known >= S3_KEEPS_NOT) return 0;
    CLEANUP(buf_free) struct buf text = BUF_INIT((size_t)64 << 10);
    struct s3_call c = {.what = "ask whether versions are kept",
                        .action = "s3:GetBucketVersioning",
                        .method = "GET",
                        .query = "versioning=",
                        .text = &text};
    int rc = s3_call(s, &c, err);
    s3_call_free(&c);
    if (rc == 0) rc = xml_walk(buf_bytes(&text), take_status, &kept, err);
    if (rc < 0 && (error_info((int)err->code)->status == EXIT_UNREACHABLE || err->code == ERR_NO_MEMORY)) return rc;
    if (rc < 0) error_clear(err);
    atomic_store(&s->keeps, kept ? S3_KEEPS : S3_KEEPS_NOT);
    *ret = kept;
    return 0;
}

bool s3_unkept_by_lists(struct store *st) {
    const int known = atomic_load(&((struct s3_store *)st)->keeps);
    return known == S3_KEEPS_UNSEEN || known == S3_KEEPS_NOT;
}

/* What was listed before versions were switched on says nothing of what is stored since. */
void s3_version_seen(struct s3_store *s, const struct http_response *stored) {
    const char *id = http_header(stored, "x-amz-version-id");
    int unseen = S3_KEEPS_UNSEEN;
    if (id && strcmp(id, "null") != 0) atomic_compare_exchange_strong(&s->keeps, &unseen, S3_KEEPS_UNASKED);
}

/* ---- seeing through ---- */

struct oldest {
    char key[S3_KEY_BYTES_MAX + 1];
    char id[STORE_VERSION_BYTES], tag[TAG_BYTES], top_tag[TAG_BYTES];
    uint64_t bytes, top_bytes;
    int64_t created_ns;
    bool found, is_latest, hidden;
};

static void take_version(struct oldest *o, const struct store_version *v) {
    if (v->marker) {
        o->hidden |= v->latest;
        return;
    }
    if (v->latest) {
        snprintf(o->top_tag, sizeof o->top_tag, "%s", v->tag);
        o->top_bytes = v->bytes;
    }
    o->found = true;
    o->is_latest = v->latest;
    o->bytes = v->bytes;
    o->created_ns = v->created_ns;
    snprintf(o->id, sizeof o->id, "%s", v->id);
    snprintf(o->tag, sizeof o->tag, "%s", v->tag);
}

/* Of a key whose first version is not the one on top. A good version that was put back on top is no sight. */
static void pin_oldest(struct s3_store *s, const struct oldest *o) {
    bool same = !o->hidden && o->tag[0] && strcmp(o->tag, o->top_tag) == 0 && o->bytes == o->top_bytes;
    pin_add(s, o->key, o->id, same ? NULL : o->hidden ? &s->base.hidden : &s->base.covered);
}

static int see(void *ctx, const struct store_version *v, struct error *err) {
    struct oldest *o = ctx;
    (void)err;
    int d = strcmp(v->key, o->key);
    if (d == 0) take_version(o, v);
    return d > 0; /* the names that only begin like ours come after it */
}

static bool oldest_of(struct s3_store *s, const char *key, struct oldest *ret) {
    struct error e = ERROR_INIT;
    *ret = (struct oldest){.found = false};
    snprintf(ret->key, sizeof ret->key, "%s", key);
    return each_version(s, key, see, ret, &e) >= 0 && ret->found;
}

static bool see_past(struct s3_store *s, const char *key, const struct http_response *answer) {
    const char *marker = http_header(answer, "x-amz-delete-marker");
    bool kept = false;
    struct error e = ERROR_INIT;
    struct oldest o;
    if (marker && strcmp(marker, "true") == 0) {
        kept = true;
        atomic_store(&s->keeps, S3_KEEPS);
    } else if (s3_kept(&s->base, &kept, &e) < 0)
        return false;
    if (!kept || !oldest_of(s, key, &o) || !o.hidden) return false;
    pin_oldest(s, &o);
    return s3_pinned(s, key, o.id);
}

int s3_version_query(struct buf *q, const char *before, const char *id, struct error *err) {
    int rc = buf_printf(q, err, "%s%sversionId=", before, *before ? "&" : "");
    if (rc == 0) rc = http_escape(q, BYTES_STR(id), false, err);
    return rc < 0 ? rc : buf_terminate(q, err);
}

int s3_call_past(struct s3_store *s, struct s3_call *c, struct error *err) {
    const char *sub = c->query ? c->query : "";
    for (;;) {
        CLEANUP(buf_free) struct buf q = BUF_INIT(4096);
        char id[STORE_VERSION_BYTES];
        bool pinned = s3_pinned(s, c->key, id);
        int rc = pinned ? s3_version_query(&q, sub, id, err) : 0;
        if (rc == 0) {
            if (pinned) c->query = (const char *)q.ptr;
            rc = s3_call(s, c, err);
            c->query = *sub ? sub : NULL;
        }
        /* What has a name of its own beside the object (its retention) is refused of a marker with 405 by some. */
        bool hidden = rc == -ERR_OBJECT_MISSING || (rc < 0 && *sub && c->answer.status == 405);
        if (!hidden || pinned || !see_past(s, c->key, &c->answer)) return rc;
        error_clear(err);
    }
}

bool s3_pin_first(struct store *st, const char *key) {
    struct s3_store *s = (struct s3_store *)st;
    struct error e = ERROR_INIT;
    struct oldest o;
    char id[STORE_VERSION_BYTES];
    bool kept;
    if (s3_pinned(s, key, id)) return true;
    if (s3_kept(st, &kept, &e) < 0 || !kept || !oldest_of(s, key, &o) || o.is_latest) return false;
    pin_oldest(s, &o);
    return s3_pinned(s, key, id);
}

/* ---- the list with what is hidden ---- */

#define HELD_MAX 32768 /* rows; a longer list is worth the question */

struct kept_list {
    struct s3_store *s;
    store_list_cb cb;
    void *ctx;
    struct oldest o; /* of the key that is being read; "" before the first */
    bool told;       /* cb was called */
    bool plain;      /* versions are there, and not for us: the names are listed instead */
    /* While nobody knows whether versions are kept, and none was listed yet that only such buckets have. */
    bool holding;
    struct buf names;
    struct row *rows; /* key_at in names, bytes, created_ns */
    size_t row_count, row_cap;
};

static int tell(struct kept_list *k, const char *key, uint64_t bytes, int64_t created_ns, struct error *err) {
    struct store_object object = {key, bytes, created_ns};
    k->told = true;
    return k->cb(k->ctx, &object, err);
}

static int flush(struct kept_list *k, struct error *err) {
    if (!k->o.found) return 0;
    if (!k->holding) {
        if (!k->o.is_latest) pin_oldest(k->s, &k->o);
        return tell(k, k->o.key, k->o.bytes, k->o.created_ns, err);
    }
    const struct row r = {.key_at = k->names.len, .bytes = k->o.bytes, .created_ns = k->o.created_ns};
    int rc = buf_append(&k->names, k->o.key, strlen(k->o.key) + 1, err);
    if (rc == 0) rc = mem_grow((void **)&k->rows, &k->row_cap, k->row_count + 1, sizeof *k->rows, err);
    if (rc == 0) k->rows[k->row_count++] = r;
    return rc;
}

static int release(struct kept_list *k, struct error *err) {
    int rc = 0;
    k->holding = false;
    for (size_t i = 0; i < k->row_count && rc == 0; i++)
        rc = tell(k, (const char *)k->names.ptr + k->rows[i].key_at, k->rows[i].bytes, k->rows[i].created_ns, err);
    k->row_count = 0;
    return rc;
}

static int keep(void *ctx, const struct store_version *v, struct error *err) {
    struct kept_list *k = ctx;
    if (k->holding && (v->marker || strcmp(v->id, "null") != 0 || k->row_count >= HELD_MAX)) {
        bool kept;
        int rc = s3_kept(&k->s->base, &kept, err);
        k->plain = rc == 0 && !kept;
        if (rc == 0) rc = kept ? release(k, err) : 1;
        if (rc != 0) return rc;
    }
    if (strcmp(k->o.key, v->key) != 0) {
        int rc = flush(k, err);
        if (rc != 0) return rc;
        k->o = (struct oldest){.found = false};
        snprintf(k->o.key, sizeof k->o.key, "%s", v->key);
    }
    take_version(&k->o, v);
    return 0;
}

/* Whether the list of names may yet be had. */
static bool may_not_list(const struct error *e) {
    return e->code != ERR_NO_MEMORY && e->code != ERR_INTERRUPTED && e->code != ERR_TERMINATED &&
           error_info((int)e->code)->status != EXIT_UNREACHABLE;
}

/* A list of versions says by itself that there are none, so nobody is asked before there is one. */
int s3_list_kept(struct store *st, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    struct kept_list k = {.s = s, .cb = cb, .ctx = ctx, .names = BUF_INIT(SIZE_MAX / 2)};
    struct error e = ERROR_INIT;
    int known = atomic_load(&s->keeps);
    if (known == S3_KEEPS_UNLISTED || known == S3_KEEPS_NOT) return s3_list(st, prefix, cb, ctx, err);
    k.holding = known <= S3_KEEPS_UNSEEN;
    int rc = each_version(s, prefix, keep, &k, &e);
    if (rc == 0) rc = flush(&k, &e);
    const bool unseen = rc == 0 && k.holding && k.row_count;
    if (unseen) atomic_compare_exchange_strong(&s->keeps, &known, S3_KEEPS_UNSEEN);
    if (rc == 0 && k.holding) rc = release(&k, &e);
    buf_free(&k.names);
    seam_free(k.rows);
    /* Who may not list versions lists what is not hidden; nothing was told before a refusal. */
    const bool denied = rc == -ERR_S3_DENIED && !k.told;
    if (denied && k.holding) atomic_compare_exchange_strong(&s->keeps, &known, S3_KEEPS_UNLISTED);
    bool kept = false;
    if (rc < 0 && !denied && !k.told && known != S3_KEEPS && may_not_list(&e)) {
        if ((rc = s3_kept(st, &kept, err)) < 0) return rc;
        k.plain = !kept;
        rc = -(int)e.code;
    }
    if (denied || k.plain) return s3_list(st, prefix, cb, ctx, err);
    if (rc < 0) *err = e;
    return rc;
}
