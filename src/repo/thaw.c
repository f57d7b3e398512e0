#include "repo/thaw.h"

#include "repo/maintain_internal.h"
#include "repo/nameset.h"
#include "repo/packlist.h"
#include "repo/writer_internal.h"

#include <stdio.h>

#define FIRST_PACKS 1000 /* one page of a list */
#define AT_ONCE 8
#define FORGOTTEN_MAX 5

struct survey {
    struct thaw_survey *s;
    struct nameset need;
    bool whole;
    uint64_t seen;
    size_t cap;
};

static bool is_one(void *ctx, const struct snapshot_info *s) {
    return s == ctx;
}

/* Whether there is anything in an archive, by as much of the list as is looked at without a reason. */
static int see_archived(void *ctx, const struct store_object *o, struct error *err) {
    struct survey *v = ctx;
    (void)err;
    if (o->archived) v->whole = true;
    return v->whole || ++v->seen > FIRST_PACKS;
}

static int see(void *ctx, const struct store_object *o, struct error *err) {
    struct survey *v = ctx;
    struct pack_fact f;
    if (!pack_fact_object(o, &f) || nameset_find(&v->need, f.name.b) == NAMESET_NONE) return 0;
    v->s->packs++;
    v->s->bytes += f.bytes;
    if (!o->archived) return 0;
    int rc = mem_grow((void **)&v->s->cold, &v->cap, v->s->cold_count + 1, sizeof *v->s->cold, err);
    if (rc < 0) return rc;
    struct thaw_pack *p = &v->s->cold[v->s->cold_count++];
    *p = (struct thaw_pack){.bytes = f.bytes};
    snprintf(p->key, sizeof p->key, "%s", o->key);
    return 0;
}

/* ---- what some items need ---- */

struct thaw_need {
    struct idset packs;
    uint64_t count, bytes;
};

static int need_pack(void *ctx, const struct digest *pack, uint64_t bytes, struct error *err) {
    struct thaw_need *n = ctx;
    if (idset_has(&n->packs, pack->b)) return 0;
    n->count++;
    n->bytes += bytes;
    return idset_add(&n->packs, pack->b, err);
}

int thaw_need_item(struct thaw_need *n, struct snapshot *s, const struct item_head *h, struct error *err) {
    return snapshot_item_packs(s, h, need_pack, n, err);
}

/* Leaves of what was found what is needed. */
static int narrowed(struct thaw_survey *s, thaw_narrow narrow, void *ctx, struct error *err) {
    struct thaw_need need = {0};
    int rc = narrow(ctx, &need, err);
    if (rc == 1) {
        size_t kept = 0;
        for (size_t i = 0; i < s->cold_count; i++) {
            struct digest name;
            const char *hex = strrchr(s->cold[i].key, '/') + 1;
            if (hex_decode(hex, strlen(hex), name.b, DIGEST_BYTES) && idset_has(&need.packs, name.b))
                s->cold[kept++] = s->cold[i];
        }
        s->cold_count = kept;
        s->packs = need.count;
        s->bytes = need.bytes;
    }
    idset_free(&need.packs);
    return rc < 0 ? rc : 0;
}

/* ---- a request for each, several at a time ---- */

struct asking {
    struct repo *r;
    enum store_tier tier;
    unsigned days;
    bool ask;
    pthread_mutex_t lock; /* what follows */
    struct error failed;
};
struct task {
    struct asking *a;
    struct thaw_pack *p;
};

static void one(void *arg) {
    struct task *t = arg;
    struct asking *a = t->a;
    struct error e = ERROR_INIT;
    pthread_mutex_lock(&a->lock);
    bool stop = a->failed.code != 0;
    pthread_mutex_unlock(&a->lock);
    int rc = 0;
    if (!stop && a->ask) {
        rc = store_thaw(a->r->store, t->p->key, &t->p->is, a->tier, a->days, &e);
        if (rc == 0) t->p->is.thaw = STORE_THAW_ASKED;
    } else if (!stop)
        rc = store_look_cold(a->r->store, t->p->key, &t->p->is, &e);
    if (rc < 0) {
        pthread_mutex_lock(&a->lock);
        if (!a->failed.code) a->failed = e;
        pthread_mutex_unlock(&a->lock);
    }
    seam_free(t);
}

static int each(struct asking *a, struct thaw_survey *s, struct error *err) {
    struct pool *pool = NULL;
    int rc = pool_new(AT_ONCE, 2 * AT_ONCE, &pool, err);
    pthread_mutex_init(&a->lock, NULL);
    for (size_t i = 0; i < s->cold_count && rc == 0; i++) {
        void *mem;
        if (a->ask && (!store_is_frozen(&s->cold[i].is) || s->cold[i].is.thaw == STORE_THAW_ASKED)) continue;
        if ((rc = stop_check(err)) < 0 || (rc = mem_alloc(sizeof(struct task), &mem, err)) < 0) break;
        struct task *t = mem;
        *t = (struct task){a, &s->cold[i]};
        pool_submit(pool, one, t);
    }
    if (pool) pool_drain(pool);
    pool_free(pool);
    pthread_mutex_destroy(&a->lock);
    if (rc == 0 && a->failed.code) {
        *err = a->failed;
        rc = -(int)err->code;
    }
    return rc;
}

static void count(struct thaw_survey *s) {
    s->frozen = s->frozen_bytes = s->asked = s->asked_bytes = s->done = 0;
    s->soonest_ns = 0;
    for (size_t i = 0; i < s->cold_count; i++) {
        const struct thaw_pack *p = &s->cold[i];
        if (!store_is_frozen(&p->is)) {
            s->done++;
            if (p->is.until_ns && (!s->soonest_ns || p->is.until_ns < s->soonest_ns)) s->soonest_ns = p->is.until_ns;
        } else if (p->is.thaw == STORE_THAW_ASKED) {
            s->asked++;
            s->asked_bytes += p->bytes;
        } else {
            s->frozen++;
            s->frozen_bytes += p->bytes;
        }
    }
}

void thaw_expect(struct repo *r, const struct snapshot_info *info) {
    if (store_has_archive(r->store)) store_expect_list(r->store, "packs/", false, 1);
    snapshot_expect_root(r, info);
}

int thaw_survey_make(struct repo *r, const struct snapshot_info *info, bool whole, thaw_narrow narrow, void *ctx,
                     struct thaw_survey *ret, struct error *err) {
    struct survey v = {.s = ret, .whole = whole || store_cold_depth(r->store) != STORE_DEPTH_NONE};
    struct asking look = {.r = r};
    *ret = (struct thaw_survey){0};
    if (!store_has_archive(r->store)) return 0;
    int rc = v.whole ? 0 : store_list(r->store, "packs/", see_archived, &v, err);
    if (rc < 0 || !v.whole) return rc < 0 ? error_wrap(err, "looking for what lies in an archive") : 0;
    rc = packlist_union(r, is_one, NULL, (void *)info, &v.need, err);
    if (rc == 0) rc = store_list(r->store, "packs/", see, &v, err);
    nameset_free(&v.need);
    ret->point_bytes = ret->bytes;
    if (rc >= 0 && ret->cold_count && narrow) rc = narrowed(ret, narrow, ctx, err);
    if (rc >= 0 && ret->cold_count) rc = each(&look, ret, err);
    if (rc < 0) {
        thaw_survey_free(ret);
        return error_wrap(err, "looking for what lies in an archive");
    }
    count(ret);
    return 0;
}

void thaw_survey_free(struct thaw_survey *s) {
    seam_free(s->cold);
    *s = (struct thaw_survey){0};
}

int thaw_ask(struct repo *r, struct thaw_survey *s, enum store_tier tier, unsigned days, struct error *err) {
    struct asking ask = {.r = r, .tier = tier, .days = days, .ask = true};
    int rc = each(&ask, s, err);
    count(s);
    return rc;
}

int thaw_look(struct repo *r, struct thaw_survey *s, bool *ret_done, struct error *err) {
    int rc = 0;
    *ret_done = true;
    for (size_t i = 0; i < s->cold_count && rc == 0 && *ret_done; i++) {
        struct thaw_pack *p = &s->cold[i];
        if (!store_is_frozen(&p->is)) continue;
        rc = store_look_cold(r->store, p->key, &p->is, err);
        if (rc < 0 || !store_is_frozen(&p->is)) continue;
        *ret_done = false;
        if (p->is.thaw == STORE_THAW_ASKED) continue;
        if (++p->forgotten > FORGOTTEN_MAX)
            rc = error_set(err, ERR_S3_ARCHIVED, "the store was asked for %s, and does not bring it back", p->key);
        p->is.thaw = STORE_THAW_ASKED;
    }
    count(s);
    return rc;
}
