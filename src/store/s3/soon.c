#include "base/seam.h"
#include "store/s3/s3_internal.h"

/* Something that was asked for before anybody read it. */
struct s3_soon {
    struct s3_soon *next;
    struct s3_store *s;
    char name[S3_KEY_BYTES_MAX + 1200]; /* the key, or a list's query */
    const char *action;                 /* of a list, else NULL */
    char what[S3_KEY_BYTES_MAX];
    unsigned uses;
    uint8_t *mem;
    size_t len, n;
    int64_t created_ns;
    char tag[STORE_TAG_BYTES];
    struct buf text;
    struct error err;
    bool done;
};

static void soon_free(struct s3_soon *o) {
    buf_free(&o->text);
    seam_free(o->mem);
    seam_free(o);
}

static void ask(void *arg) {
    struct s3_soon *o = arg;
    struct s3_store *s = o->s;
    if (o->action) {
        struct s3_call c = {.what = o->what,
                            .action = o->action,
                            .method = "GET",
                            .query = o->name,
                            .text = &o->text,
                            .cancel = &s->soon_over};
        (void)!s3_call(s, &c, &o->err);
        s3_call_free(&c);
    } else
        (void)!s3_read_whole(s, o->name, o->mem, o->len, &o->n, &o->created_ns, o->tag, &o->err);
    pthread_mutex_lock(&s->soon_lock);
    o->done = true;
    pthread_cond_broadcast(&s->soon_came);
    pthread_mutex_unlock(&s->soon_lock);
}

static struct s3_soon **find(struct s3_store *s, const char *name, bool list) {
    struct s3_soon **at = &s->soon;
    while (*at && (((*at)->action != NULL) != list || strcmp((*at)->name, name) != 0)) at = &(*at)->next;
    return at;
}

static void begin(struct s3_store *s, struct s3_soon *o) {
    struct pool *p = s3_readers(s);
    pthread_mutex_lock(&s->soon_lock);
    const bool fresh = p && !*find(s, o->name, o->action != NULL);
    if (fresh) {
        o->s = s;
        o->next = s->soon;
        s->soon = o;
        atomic_store(&s->any_soon, true);
    }
    pthread_mutex_unlock(&s->soon_lock);
    if (fresh)
        pool_submit(p, ask, o);
    else
        soon_free(o);
}

void s3_expect(struct store *st, const char *key, size_t bytes, unsigned uses) {
    struct error e = ERROR_INIT;
    void *mem, *room = NULL;
    if (mem_alloc(sizeof(struct s3_soon), &mem, &e) < 0) return;
    struct s3_soon *o = mem;
    if (!(room = seam_alloc(bytes))) {
        seam_free(o);
        return;
    }
    o->mem = room;
    o->len = bytes;
    o->uses = uses;
    snprintf(o->name, sizeof o->name, "%s", key);
    begin((struct s3_store *)st, o);
}

void s3_expect_list(struct store *st, const char *prefix, bool kept, unsigned uses) {
    struct s3_store *s = (struct s3_store *)st;
    CLEANUP(buf_free) struct buf q = BUF_INIT((size_t)16 << 10);
    struct error e = ERROR_INIT;
    void *mem;
    const int known = atomic_load(&s->keeps);
    kept &= known != S3_KEEPS_UNLISTED && known != S3_KEEPS_NOT; /* as s3_list_kept asks */
    if ((kept ? s3_versions_query(s, prefix, &q, &e) : s3_list_query(s, prefix, &q, &e)) < 0) return;
    if (mem_alloc(sizeof(struct s3_soon), &mem, &e) < 0) return;
    struct s3_soon *o = mem;
    o->text = BUF_INIT(S3_TEXT_BYTES_MAX);
    snprintf(o->what, sizeof o->what, kept ? "list the versions of '%s'" : "list '%s'", prefix);
    o->action = kept ? "s3:ListBucketVersions" : "s3:ListBucket";
    o->uses = uses;
    if (q.len <= sizeof o->name) {
        memcpy(o->name, q.ptr, q.len);
        begin(s, o);
    } else
        soon_free(o);
}

/* Under the lock: what came under the name, once it is there; NULL when nobody expected it. */
static struct s3_soon *wait_for(struct s3_store *s, const char *name, bool list) {
    struct s3_soon *o;
    while ((o = *find(s, name, list)) && !o->done) pthread_cond_wait(&s->soon_came, &s->soon_lock);
    return o;
}

static void used(struct s3_store *s, struct s3_soon *o, bool no_more) {
    struct s3_soon **at = &s->soon;
    if (--o->uses > 0 && !no_more) return;
    while (*at != o) at = &(*at)->next;
    *at = o->next;
    soon_free(o);
}

bool s3_soon_read(struct s3_store *s, const char *key, void *p, size_t len, size_t *ret_n, int64_t *ret_created_ns,
                  char *ret_tag, int *ret_rc, struct error *err) {
    char id[STORE_VERSION_BYTES];
    bool found = false;
    if (!atomic_load(&s->any_soon)) return false;
    pthread_mutex_lock(&s->soon_lock);
    struct s3_soon *o = wait_for(s, key, false);
    if (o) {
        found = (o->err.code || o->n < o->len || len <= o->n) && !s3_pinned(s, key, id);
        *ret_rc = -(int)o->err.code;
        if (found && o->err.code) *err = o->err;
        if (found && !o->err.code) {
            *ret_n = o->n < len ? o->n : len;
            *ret_created_ns = o->created_ns;
            memcpy(p, o->mem, *ret_n);
            if (ret_tag) memcpy(ret_tag, o->tag, STORE_TAG_BYTES);
        }
        used(s, o, !found);
    }
    pthread_mutex_unlock(&s->soon_lock);
    return found;
}

bool s3_soon_page(struct s3_store *s, const char *query, struct buf *text, int *ret_rc, struct error *err) {
    bool found = false;
    if (!atomic_load(&s->any_soon)) return false;
    pthread_mutex_lock(&s->soon_lock);
    struct s3_soon *o = wait_for(s, query, true);
    if (o) {
        found = o->err.code != ERR_INTERRUPTED || !atomic_load(&s->soon_over); /* called off, but not by us */
        buf_clear(text);
        *ret_rc = -(int)o->err.code;
        if (found && o->err.code)
            *err = o->err;
        else if (found)
            *ret_rc = buf_append(text, o->text.ptr, o->text.len, err);
        used(s, o, !found || o->err.code);
    }
    pthread_mutex_unlock(&s->soon_lock);
    return found;
}

void s3_expect_end(struct store *st) {
    struct s3_store *s = (struct s3_store *)st;
    atomic_store(&s->soon_over, true);
    pthread_mutex_lock(&s->soon_lock);
    while (s->soon) {
        struct s3_soon *o = s->soon;
        if (o->done) {
            s->soon = o->next;
            soon_free(o);
        } else
            pthread_cond_wait(&s->soon_came, &s->soon_lock);
    }
    atomic_store(&s->any_soon, false);
    pthread_mutex_unlock(&s->soon_lock);
    atomic_store(&s->soon_over, false);
}
