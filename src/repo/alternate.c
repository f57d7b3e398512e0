#include "repo/alternate.h"
#include "repo/alternate_internal.h"
#include "repo/writer_internal.h"

#define CACHE_BYTES (24u << 20) /* of each */
#define COUNTED_MAX (1u << 20)  /* ids remembered, so that none is counted twice */

struct alternate {
    char label[65];
    bool tried, away;        /* away: it went out of reach, and is asked last */
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
    size_t lead;      /* who reads ahead; count: nobody */
    atomic_uint turn; /* goes up when that is another */
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
    a->count = a->lead = n;
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
    if (rc == 0) fetch_rooms(a->fetcher, r);
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
    return repo_unreadable(rc) || rc == -ERR_IO_NOT_FOUND || rc == -ERR_S3_ARCHIVED;
}

/* ---- who reads ahead ---- */

static struct fetcher *leader(struct repo *r) {
    struct alternates *all = r->alternates;
    if (!all) return NULL;
    pthread_mutex_lock(&all->lock);
    struct fetcher *f = all->lead < all->count ? all->list[all->lead].fetcher : NULL;
    pthread_mutex_unlock(&all->lock);
    return f;
}

unsigned alternate_turn(const struct repo *r) {
    return r->alternates ? r->alternates->turn : 0;
}

bool alternate_lead(struct repo *r, const uint8_t *const *ids, size_t n) {
    struct alternates *all = r->alternates;
    size_t best = 0, most = 0;
    if (!all || leader(r)) return all != NULL;
    for (size_t i = 0; i < all->count && most < n; i++) {
        size_t has = 0;
        pthread_mutex_lock(&all->lock);
        const bool away = all->list[i].away;
        pthread_mutex_unlock(&all->lock);
        struct fetcher *f = away ? NULL : fetcher_of(r, i);
        for (size_t k = 0; f && k < n; k++) has += fetch_knows(f, ids[k]);
        if (has <= most) continue;
        most = has;
        best = i;
    }
    pthread_mutex_lock(&all->lock);
    if (most && all->lead == all->count) {
        all->lead = best;
        all->turn++;
    }
    const bool found = all->lead < all->count;
    pthread_mutex_unlock(&all->lock);
    return found;
}

void alternate_expect(struct repo *r, const uint8_t *id_prefix) {
    struct fetcher *f = leader(r);
    struct digest id = {0};
    memcpy(id.b, id_prefix, ID_PREFIX_BYTES);
    if (f) fetch_expect(f, &id);
}

void alternate_reader(struct repo *r) {
    struct fetcher *f = leader(r);
    if (f) fetch_reader(f);
}

void alternate_forget(struct repo *r) {
    struct fetcher *f = leader(r);
    if (f) fetch_forget(f);
}

/* What was expected of it, another is told. */
static void gone(struct alternates *all, size_t i) {
    pthread_mutex_lock(&all->lock);
    struct fetcher *f = all->lead == i ? all->list[i].fetcher : NULL;
    all->list[i].away = true;
    if (f) {
        all->lead = all->count;
        all->turn++;
    }
    pthread_mutex_unlock(&all->lock);
    if (f) fetch_forget(f);
}

/* The places of all, in the order in which they are asked. */
static void in_order(struct alternates *all, size_t ret[ALTERNATES_MAX]) {
    size_t n = 0;
    pthread_mutex_lock(&all->lock);
    if (all->lead < all->count) ret[n++] = all->lead;
    for (int away = 0; away < 2; away++)
        for (size_t i = 0; i < all->count; i++)
            if (i != all->lead && all->list[i].away == away) ret[n++] = i;
    pthread_mutex_unlock(&all->lock);
}

int alternate_chunk(struct repo *r, int why, const struct digest *id, enum chunk_kind kind, struct fetched *ret,
                    struct error *err) {
    struct alternates *all = r->alternates;
    char said[200] = "";
    size_t n = 0, order[ALTERNATES_MAX];
    if (!all || (why && !helps(why))) return why;
    if (repo_out_of_reach(why)) all->away = true;
    in_order(all, order);
    for (size_t k = 0; k < all->count; k++) {
        struct error e = ERROR_INIT;
        const size_t i = order[k];
        struct fetcher *f = fetcher_of(r, i);
        int rc = f ? fetch_chunk(f, id->b, id, kind, ret, &e) : 0;
        if (f && rc == 0) {
            ret->from = f;
            count(all, &all->list[i], ret);
            error_clear(err);
            return 0;
        }
        if (repo_out_of_reach(rc)) gone(all, i);
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
