#include "repo/alternate.h"
#include "repo/alternate_internal.h"
#include "repo/writer_internal.h"

#define CACHE_BYTES (24u << 20) /* of each */
#define COUNTED_MAX (1u << 20)  /* ids remembered, so that none is counted twice */

struct alternate {
    char label[65];
    bool tried;
    struct fetcher *fetcher; /* NULL: it cannot be used, or was not tried */
    struct error failed;
    uint64_t chunks, bytes;
};
struct alternates {
    pthread_mutex_t lock;
    alternate_open open;
    void *ctx;
    struct alternate list[ALTERNATES_MAX];
    size_t count;
    struct idset counted;
    size_t counted_n;
    atomic_bool away; /* the repository itself went out of reach */
};

int repo_alternates_set(struct repo *r, const char *const *labels, size_t n, alternate_open open, void *ctx,
                        struct error *err) {
    void *mem;
    if (n == 0 || r->alternates) return 0;
    if (n > ALTERNATES_MAX) return error_set(err, ERR_USAGE, "more than %d copies of one repository", ALTERNATES_MAX);
    int rc = mem_alloc(sizeof(struct alternates), &mem, err);
    if (rc < 0) return rc;
    struct alternates *a = mem;
    pthread_mutex_init(&a->lock, NULL);
    a->open = open;
    a->ctx = ctx;
    a->count = n;
    for (size_t i = 0; i < n; i++) snprintf(a->list[i].label, sizeof a->list[i].label, "%s", labels[i]);
    r->alternates = a;
    return 0;
}

void alternates_free(struct repo *r) {
    struct alternates *a = r->alternates;
    if (!a) return;
    for (size_t i = 0; i < a->count; i++) fetcher_free(a->list[i].fetcher);
    idset_free(&a->counted);
    pthread_mutex_destroy(&a->lock);
    seam_free(a);
    r->alternates = NULL;
}

size_t repo_alternates(const struct repo *r) {
    return r->alternates ? r->alternates->count : 0;
}

void repo_alternate_stats(const struct repo *r, size_t i, struct alternate_stats *ret) {
    const struct alternate *a = &r->alternates->list[i];
    *ret = (struct alternate_stats){a->label, a->chunks, a->bytes, a->failed.code ? &a->failed : NULL};
}

bool alternates_first(const struct repo *r) {
    return r->alternates && r->alternates->away;
}

static int try_open(struct repo *r, struct alternate *a, size_t i, struct error *err) {
    struct repo *other = NULL;
    int rc = r->alternates->open(r->alternates->ctx, i, &other, err);
    if (rc == 0 && !repo_shares_content(r, other))
        rc = error_set(err, ERR_COPY_FOREIGN, "it does not share the content keys of repository %s", r->id_hex);
    if (rc == 0) rc = fetcher_new(other, &other->index, NULL, CACHE_BYTES, &a->fetcher, err);
    return rc;
}

/* Others that want it too wait meanwhile. */
static struct fetcher *fetcher_of(struct repo *r, size_t i) {
    struct alternates *all = r->alternates;
    struct alternate *a = &all->list[i];
    pthread_mutex_lock(&all->lock);
    if (!a->tried) {
        struct error e = ERROR_INIT;
        a->tried = true;
        if (try_open(r, a, i, &e) < 0) a->failed = e;
    }
    struct fetcher *f = a->fetcher;
    pthread_mutex_unlock(&all->lock);
    return f;
}

static void count(struct alternates *all, struct alternate *a, const struct fetched *c) {
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&all->lock);
    bool known = idset_has(&all->counted, c->id.b);
    if (!known && all->counted_n < COUNTED_MAX && idset_add(&all->counted, c->id.b, &e) == 0) all->counted_n++;
    if (!known) {
        a->chunks++;
        a->bytes += c->data.len;
    }
    pthread_mutex_unlock(&all->lock);
}

/* Whether another copy may have what failed so. A stop, or no memory, is no matter of copies. */
static bool helps(int rc) {
    return error_info(rc)->status == EXIT_INTEGRITY || repo_out_of_reach(rc) || rc == -ERR_IO_READ ||
           rc == -ERR_IO_NOT_FOUND || rc == -ERR_S3_ARCHIVED;
}

int alternate_chunk(struct repo *r, int why, const struct digest *id, enum chunk_kind kind, struct fetched *ret,
                    struct error *err) {
    struct alternates *all = r->alternates;
    char said[200] = "";
    size_t n = 0;
    if (!all || (why && !helps(why))) return why;
    if (repo_out_of_reach(why)) all->away = true;
    for (size_t i = 0; i < all->count; i++) {
        struct error e = ERROR_INIT;
        struct fetcher *f = fetcher_of(r, i);
        int rc = f ? fetch_chunk(f, id->b, id, kind, ret, &e) : 0;
        if (f && rc == 0) {
            ret->from = f;
            count(all, &all->list[i], ret);
            error_clear(err);
            return 0;
        }
        if (f && rc < 0 && !helps(rc)) {
            error_clear(err);
            *err = e;
            return rc;
        }
        if (n < sizeof said)
            n += (size_t)snprintf(said + n, sizeof said - n, "%s%.40s: %.90s", n ? "; " : "", all->list[i].label,
                                  f ? e.text : all->list[i].failed.text);
    }
    if (why) (void)!error_state(err, "no copy has it whole either: %s", said);
    return why ? why : -ERR_OBJECT_MISSING;
}
