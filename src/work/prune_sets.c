#include "work/prune_sets.h"

#include "base/seam.h"
#include "base/time.h"
#include "platform/set.h"
#include "work/counted.h"
#include "work/set.h"

#include <stdio.h>
#include <stdlib.h>

#define ENTRY_MAX 1024 /* points that an entry of the log forgets */

struct place {
    uint64_t seq;
    struct prune_surface *of;
    struct prune_point *point;
};
struct bind {
    struct work *w;
    struct prune_plan *p;
    struct place *places; /* by seq */
    size_t n;
};

static int by_seq(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static struct place *place_of(const struct bind *b, uint64_t seq) {
    struct place want = {.seq = seq};
    return bsearch(&want, b->places, b->n, sizeof want, by_seq);
}

static int places_make(struct bind *b, struct error *err) {
    size_t n = 0;
    void *mem;
    for (size_t i = 0; i < b->p->count; i++) n += b->p->list[i].point_count;
    int rc = mem_alloc((n + 1) * sizeof *b->places, &mem, err);
    if (rc < 0) return rc;
    b->places = mem;
    for (size_t i = 0; i < b->p->count; i++)
        for (size_t k = 0; k < b->p->list[i].point_count; k++)
            b->places[b->n++] = (struct place){b->p->list[i].points[k].seq, &b->p->list[i], &b->p->list[i].points[k]};
    qsort(b->places, b->n, sizeof *b->places, by_seq);
    return 0;
}

static bool is_bound(const struct bind *b, const struct set_info *s) {
    return s->member_count > 0 && strcmp(s->environment, b->p->environment) == 0 &&
           set_members_left(b->w, s) == s->member_count;
}

static bool keep(struct place *at, const struct set_info *s, const char *why) {
    struct retention_verdict *v = &at->point->verdict;
    if (v->decision == RETENTION_KEEP) return false;
    v->decision = RETENTION_KEEP;
    snprintf(v->reason, sizeof v->reason, "of %.33s%.58s", s->id, why);
    return true;
}

/* Whether the configuration means anything by the name still: a set that was renamed or ended is not kept for ever. */
static bool is_meant(const struct bind *b, const char *name) {
    char text[SET_NAME_BYTES + 140];
    struct address a;
    struct set_spec spec;
    struct error none = ERROR_INIT;
    snprintf(text, sizeof text, "%s/%s", b->p->environment, name);
    return b->w->config && address_parse(text, &a, &none) == 0 && set_resolve(b->w->config, &a, 1, &spec, &none) == 0;
}

static bool is_proven(const struct bind *b, const struct set_info *s) {
    for (size_t k = 0; k < s->member_count; k++) {
        const struct place *at = place_of(b, s->members[k]);
        if (!at || !at->point->proven) return false;
    }
    return true;
}

/* Whether a later whole set, which is proven, has every surface of it. */
static bool has_successor(const struct bind *b, const struct set_info *s) {
    for (size_t i = repo_set_count(b->w->repo); i-- > 0;) {
        const struct set_info *o = repo_set(b->w->repo, i);
        size_t found = 0;
        if (o->seq <= s->seq) break;
        if (!o->complete || !is_bound(b, o) || !is_proven(b, o)) continue;
        for (size_t k = 0; k < s->member_count; k++) {
            const struct place *at = place_of(b, s->members[k]);
            for (size_t m = 0; at && m < o->member_count; m++)
                if (place_of(b, o->members[m])->of == at->of) {
                    found++;
                    break;
                }
        }
        if (found == s->member_count) return true;
    }
    return false;
}

/* Newest first. The first of its name is the newest whole one; it stays only where none is proven. */
static void pin_newest(struct bind *b, const char *name, size_t from) {
    const struct set_info *newest = NULL;
    const char *why = ", the newest whole one, of which none is proven";
    for (size_t i = from + 1; i-- > 0;) {
        const struct set_info *s = repo_set(b->w->repo, i);
        if (strcmp(s->name, name) != 0 || !s->complete || !is_bound(b, s)) continue;
        const bool proven = is_proven(b, s);
        if (!newest || proven) newest = s;
        if (!proven) continue;
        why = ", the newest proven one";
        break;
    }
    /* a list of surfaces that was backed up once is not kept for ever */
    const struct config_environment *e = config_environment(b->w->config, b->p->environment);
    if (newest && !config_set(b->w->config, e, name) && has_successor(b, newest)) return;
    for (size_t k = 0; newest && k < newest->member_count; k++) {
        struct place *at = place_of(b, newest->members[k]);
        if (at) (void)keep(at, newest, why);
    }
}

static bool seen_after(const struct bind *b, size_t i) {
    const struct set_info *s = repo_set(b->w->repo, i);
    for (size_t k = repo_set_count(b->w->repo); k-- > i + 1;) {
        const struct set_info *o = repo_set(b->w->repo, k);
        if (strcmp(o->environment, s->environment) == 0 && strcmp(o->name, s->name) == 0) return true;
    }
    return false;
}

/* What was taken out of the configuration has no rule, so all of it stays: it would keep the others for ever. */
static bool can_bind(const struct bind *b, const struct snapshot_info *n) {
    const struct config *c = b->w->config;
    const struct config_environment *e = c ? config_environment(c, b->p->environment) : NULL;
    const struct config_surface *s = c ? config_surface(c, n->surface) : NULL;
    return n->holds > 0 || !e || (s && config_environment_has(e, s));
}

static bool has_stopped(const struct prune_surface *s) {
    return s->plan.holds & RETENTION_HOLD_STOPPED;
}

/* What one member keeps, all keep. Deferred ones refuse the whole run by themselves. */
static bool bind_one(struct bind *b, const struct set_info *s) {
    char why[80];
    const struct snapshot_info *outside = NULL;
    const struct place *stays = NULL, *goes_on = NULL; /* of those that stay, one whose backups have not stopped */
    bool changed = false;
    for (size_t k = 0; k < s->member_count; k++) {
        struct place *at = place_of(b, s->members[k]);
        const struct snapshot_info *n = repo_snapshot_at(b->w->repo, s->members[k]);
        const bool binds = can_bind(b, n);
        if (!at && binds)
            outside = n;
        else if (at && binds && at->point->verdict.decision == RETENTION_KEEP) {
            stays = at;
            if (!has_stopped(at->of)) goes_on = at;
        }
        if (at && !at->point->set) {
            at->point->set = s->seq;
            snprintf(at->point->set_id, sizeof at->point->set_id, "%s", s->id);
        }
    }
    if (!outside && !stays) return false;
    snprintf(why, sizeof why, stays ? ", of which %.30s stays" : ", and %.30s is not pruned here",
             stays ? stays->of->name : outside->surface);
    for (size_t k = 0; k < s->member_count; k++) {
        struct place *at = place_of(b, s->members[k]);
        if (!at || !keep(at, s, why)) continue;
        changed = true;
        if (goes_on || outside || has_stopped(at->of)) continue;
        stays->of->keeps++;
        stays->of->keeps_bytes += at->point->bytes;
    }
    return changed;
}

static void say_what_it_keeps(const struct prune_plan *p, struct prune_surface *s) {
    char size[32];
    if (!s->keeps) return;
    size_format(s->keeps_bytes, size);
    snprintf(s->keeps_text, sizeof s->keeps_text,
             "%s of other surfaces (%s) %s only because of sets with its own, and its backups have stopped. Back it up "
             "again; or, if it is gone for good, take it out of %.120s in the configuration: its own then stay, and "
             "keep no others",
             COUNTED(s->keeps, "recovery point"), size, s->keeps == 1 ? "stays" : "stay", p->environment);
}

static void count_again(struct prune_surface *s) {
    struct retention_plan *r = &s->plan;
    r->kept = r->deferred = r->forgotten = 0;
    r->deferred_bytes = r->forgotten_bytes = 0;
    for (size_t i = 0; i < s->point_count; i++) {
        const struct prune_point *p = &s->points[i];
        if (p->verdict.decision == RETENTION_KEEP) {
            r->kept++;
            continue;
        }
        const bool deferred = p->verdict.decision == RETENTION_DEFERRED;
        uint64_t *sum = deferred ? &r->deferred_bytes : &r->forgotten_bytes;
        *(deferred ? &r->deferred : &r->forgotten) += 1;
        if (__builtin_add_overflow(*sum, p->bytes, sum)) *sum = UINT64_MAX;
    }
}

int prune_sets_bind(struct work *w, struct prune_plan *p, struct error *err) {
    struct bind b = {.w = w, .p = p};
    const size_t n = repo_set_count(w->repo);
    if (n == 0 || p->count == 0) return 0;
    int rc = places_make(&b, err);
    if (rc < 0) return rc;
    for (size_t i = n; i-- > 0;) {
        const struct set_info *s = repo_set(w->repo, i);
        if (strcmp(s->environment, p->environment) == 0 && !seen_after(&b, i) && is_meant(&b, s->name))
            pin_newest(&b, s->name, i);
    }
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < n; i++)
            if (is_bound(&b, repo_set(w->repo, i))) again |= bind_one(&b, repo_set(w->repo, i));
    }
    for (size_t i = 0; i < p->count; i++) {
        count_again(&p->list[i]);
        say_what_it_keeps(p, &p->list[i]);
    }
    seam_free(b.places);
    return 0;
}

/* ---- the act ---- */

static uint64_t group_of(const struct place *p) {
    return p->point->set ? p->point->set : p->seq;
}

static int by_group(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    const uint64_t g = group_of(x), h = group_of(y);
    return g != h ? (g > h) - (g < h) : by_seq(a, b);
}

int prune_sets_order(const struct prune_plan *p, uint64_t **ret_seqs, size_t **ret_sizes, size_t *ret_n,
                     struct error *err) {
    struct bind b = {.p = (struct prune_plan *)p};
    void *seqs = NULL, *sizes = NULL;
    size_t n = 0, entries = 0;
    int rc = places_make(&b, err);
    for (size_t i = 0; rc == 0 && i < b.n; i++)
        if (b.places[i].point->verdict.decision == RETENTION_FORGET) b.places[n++] = b.places[i];
    if (n) qsort(b.places, n, sizeof *b.places, by_group);
    if (rc == 0) rc = mem_alloc((n + 1) * sizeof(uint64_t), &seqs, err);
    if (rc == 0) rc = mem_alloc((n + 1) * sizeof(size_t), &sizes, err);
    for (size_t at = 0; rc == 0 && at < n;) {
        size_t part = n - at < ENTRY_MAX ? n - at : ENTRY_MAX;
        /* a set is far smaller than an entry, so one that does not fit as a whole goes into the next */
        while (at + part < n && part > 1 && group_of(&b.places[at + part]) == group_of(&b.places[at + part - 1]))
            part--;
        for (size_t i = 0; i < part; i++) ((uint64_t *)seqs)[at + i] = b.places[at + i].seq;
        ((size_t *)sizes)[entries++] = part;
        at += part;
    }
    seam_free(b.places);
    if (rc < 0) {
        seam_free(seqs);
        seam_free(sizes);
        return rc;
    }
    *ret_seqs = seqs;
    *ret_sizes = sizes;
    *ret_n = entries;
    return 0;
}
