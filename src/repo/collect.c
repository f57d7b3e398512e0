/* Collection without locks. Marks from every live snapshot below n, appends DELETE at n, or behind what others appended
 * since when nothing of that needs what goes (removal.c), and only then removes objects (design: the log is the sole
 * commit). A writer that still relied on one of them finds the entry and mends. */
#include "repo/packlist.h"
#include "repo/run.h"

#define DOOMED_AT_ONCE 256
#define LISTED_MAX 65536 /* packs */
#define LISTED_NS (INT64_C(10) * NS_PER_S)

#define EXPECTED_PACKS 2 /* of metadata; each is held until it is read */
#define MARKINGS_MAX 16  /* of one collection, before it leaves the log to others */

int run_names(struct repo *r, size_t i, const struct digests *gone, bool *ret, struct error *err) {
    struct run_view v;
    *ret = false;
    int rc = index_scan(&r->index, i, false, &v, err);
    if (rc < 0) return rc;
    for (uint32_t p = 0; p < v.pack_count && !*ret; p++)
        *ret = digest_in(gone->d, gone->n, (const struct digest *)(v.packs + (size_t)p * RUN_PACK_BYTES));
    index_scan_end(&v);
    return 0;
}

/* Run `i` anew without what is gone, if it has any of that. */
static int run_without(struct repo *r, size_t i, const struct digests *gone, struct digests *added, bool *ret_hit,
                       struct error *err) {
    struct run_view v;
    struct run_entry *entries = NULL;
    uint8_t *packs = NULL;
    uint32_t *renumber = NULL, kept = 0;
    size_t n = 0;
    void *mem;
    int rc = run_names(r, i, gone, ret_hit, err);
    if (rc < 0 || !*ret_hit) return rc;
    if ((rc = index_scan(&r->index, i, true, &v, err)) < 0) return rc;
    rc = mem_alloc((size_t)v.pack_count * (sizeof *renumber + RUN_PACK_BYTES), &mem, err);
    if (rc == 0) {
        renumber = mem;
        packs = (uint8_t *)(renumber + v.pack_count);
        rc = mem_alloc(v.entry_count * sizeof *entries + 1, &mem, err);
    }
    if (rc == 0) entries = mem;
    for (uint32_t p = 0; p < v.pack_count && rc == 0; p++) {
        const uint8_t *row = v.packs + (size_t)p * RUN_PACK_BYTES;
        renumber[p] = UINT32_MAX;
        if (digest_in(gone->d, gone->n, (const struct digest *)row)) continue;
        memcpy(packs + (size_t)kept * RUN_PACK_BYTES, row, RUN_PACK_BYTES);
        renumber[p] = kept++;
    }
    for (uint64_t k = 0; k < v.entry_count && rc == 0; k++) {
        const uint8_t *e = v.entries + k * RUN_ENTRY_BYTES;
        bool delta = get_u32(e + 28) & ENTRY_DELTA;
        uint32_t pack = get_u32(e + 16);
        if (pack < v.pack_count && renumber[pack] != UINT32_MAX && !(delta && k + 1 == v.entry_count)) {
            struct run_entry *o = &entries[n++];
            memcpy(o->id, e, ID_PREFIX_BYTES);
            o->pack = renumber[pack];
            o->frame = get_u32(e + 20);
            o->plain_len = get_u32(e + 24);
            o->flags = get_u32(e + 28);
            if (delta) memcpy(o->base, e + RUN_ENTRY_BYTES + 16, ID_PREFIX_BYTES);
        }
        if (delta) k++;
    }
    index_scan_end(&v);
    struct digest name;
    if (rc == 0 && n) {
        rc = run_write(r, entries, n, packs, kept, &name, err);
        if (rc == 0) rc = digests_add(added, &name, err);
    }
    seam_free(renumber);
    seam_free(entries);
    return rc;
}

int runs_without(struct repo *r, const struct digests *gone, struct digests *added, struct digests *removed,
                 struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        bool hit;
        rc = run_without(r, i, gone, added, &hit, err);
        if (rc == 0 && hit) rc = digests_add(removed, &r->index.names[i], err);
    }
    return rc;
}

void gc_plan_free(struct gc_plan *p) {
    seam_free(p->dead);
    seam_free(p->repack);
    *p = (struct gc_plan){0};
}

/* A pack little of which is live. */
struct thin {
    struct digest name;
    float share;
};
struct planning {
    const struct gc_options *o;
    struct gc_plan *plan;
    const struct nameset *tried; /* what an earlier part of the same collection was to remove */
    struct nameset live;
    struct thin *thin;
    size_t thin_count, thin_cap, dead_cap, repack_cap;
};

static int thin_see(void *ctx, const struct pack_use *u, struct error *err) {
    struct planning *p = ctx;
    if (nameset_find(&p->live, u->name.b) == NAMESET_NONE || (double)u->live >= p->o->repack_below * (double)u->total)
        return 0;
    int rc = mem_grow((void **)&p->thin, &p->thin_cap, p->thin_count + 1, sizeof *p->thin, err);
    if (rc == 0) p->thin[p->thin_count++] = (struct thin){u->name, u->total ? (float)u->live / (float)u->total : 0};
    return rc;
}

static int fact_push(struct pack_fact **list, size_t *n, size_t *cap, const struct pack_fact *f, struct error *err) {
    int rc = mem_grow((void **)list, cap, *n + 1, sizeof *f, err);
    if (rc == 0) (*list)[(*n)++] = *f;
    return rc;
}

/* The list of packs that was made last. A plan and what carries it out look at the same one, where it costs requests:
 * what came since is no matter of a collection yet, and what is gone since is removed again, which is nothing. */
struct packs_listed {
    int64_t ns; /* monotonic */
    struct listed_pack {
        char key[96];
        uint64_t bytes;
        int64_t created_ns;
        bool archived;
    } * d;
    size_t n, cap;
    bool whole; /* else there were too many */
    store_list_cb cb;
    void *ctx;
};

void packs_listed_drop(struct repo *r) {
    if (r->listed) seam_free(r->listed->d);
    seam_free(r->listed);
    r->listed = NULL;
}

static int pack_listed(void *ctx, const struct store_object *o, struct error *err) {
    struct packs_listed *l = ctx;
    struct error e = ERROR_INIT;
    l->whole &= l->n < LISTED_MAX && strlen(o->key) < sizeof l->d->key &&
                mem_grow((void **)&l->d, &l->cap, l->n + 1, sizeof *l->d, &e) == 0;
    if (l->whole) {
        struct listed_pack *k = &l->d[l->n++];
        *k = (struct listed_pack){.bytes = o->bytes, .created_ns = o->created_ns, .archived = o->archived};
        snprintf(k->key, sizeof k->key, "%s", o->key);
    }
    return l->cb(l->ctx, o, err);
}

static bool packs_listed_lately(const struct repo *r) {
    return r->listed && time_monotonic_ns() - r->listed->ns < LISTED_NS;
}

static int packs_list(struct repo *r, store_list_cb cb, void *ctx, struct error *err) {
    void *mem;
    int rc = 0;
    if (!store_reads_many(r->store)) return store_list(r->store, "packs/", cb, ctx, err);
    if (packs_listed_lately(r)) {
        for (size_t i = 0; i < r->listed->n && rc == 0; i++) {
            const struct listed_pack *k = &r->listed->d[i];
            const struct store_object o = {k->key, k->bytes, k->created_ns, k->archived};
            rc = cb(ctx, &o, err);
        }
        return rc;
    }
    packs_listed_drop(r);
    if ((rc = mem_alloc(sizeof *r->listed, &mem, err)) < 0) return rc;
    r->listed = mem;
    *r->listed = (struct packs_listed){.ns = time_monotonic_ns(), .whole = true, .cb = cb, .ctx = ctx};
    rc = store_list(r->store, "packs/", pack_listed, r->listed, err);
    if (rc != 0 || !r->listed->whole) packs_listed_drop(r);
    return rc;
}

/* One pack of the store: what becomes of it. */
static int pack_see(void *ctx, const struct store_object *o, struct error *err) {
    struct planning *p = ctx;
    struct gc_plan *plan = p->plan;
    struct pack_fact f;
    if (!pack_fact_object(o, &f)) return 0;
    const bool live = nameset_find(&p->live, f.name.b) != NAMESET_NONE,
               young = f.created_ns > p->o->now_ns - p->o->grace_ns;
    if (live) {
        plan->live_packs++;
        plan->live_bytes += f.bytes;
        const struct thin *t =
            p->thin_count && !young ? bsearch(&f.name, p->thin, p->thin_count, sizeof *t, digest_order) : NULL;
        if (t && o->archived) plan->archived_packs++;
        if (!t || o->archived) return 0;
        plan->repack_packs++;
        plan->repack_bytes += f.bytes;
        plan->repack_live_bytes += (uint64_t)((double)f.bytes * (double)t->share);
        return fact_push(&plan->repack, &plan->repack_count, &p->repack_cap, &f, err);
    }
    if (young) {
        plan->young_packs++;
        plan->young_bytes += f.bytes;
        return 0;
    }
    if (nameset_find(p->tried, f.name.b) != NAMESET_NONE) return 0; /* its store has it locked */
    plan->dead_packs++;
    plan->dead_bytes += f.bytes;
    if (plan->dead_count >= (p->o->dead_max ? p->o->dead_max : GC_DEAD_MAX)) return 0;
    return fact_push(&plan->dead, &plan->dead_count, &p->dead_cap, &f, err);
}

void collect_expect(struct repo *r) {
    if (r->keys->role != ROLE_ADMIN && r->keys->role != ROLE_PRUNE) return;
    if (!packs_listed_lately(r)) store_expect_list(r->store, "packs/", false, 1);
    packlist_expect(r);
}

static int plan_make(struct repo *r, const struct gc_options *o, const struct nameset *tried, struct gc_plan *ret,
                     struct marks **ret_marks, struct error *err) {
    *ret = (struct gc_plan){0};
    struct planning p = {.o = o, .plan = ret, .tried = tried};
    if (r->keys->role != ROLE_ADMIN && r->keys->role != ROLE_PRUNE)
        return error_set(err, ERR_KEY_ROLE, "collecting needs a prune or admin key, and this one is a %s key",
                         key_role_name(r->keys->role));
    int rc = repo_sync_lately(r, err);
    if (rc < 0) return rc;
    ret->log_size = ledger_size(r->ledger);
    collect_expect(r);
    if ((rc = packlist_union(r, NULL, NULL, NULL, &p.live, err)) < 0) goto out;
    if (o->repack_below > 0 && r->keys->read_secret) {
        struct error e = ERROR_INIT;
        rc = packs_use(r, thin_see, &p, ret_marks, &e);
        if (is_damage(rc) && !repo_log_moved(r)) {
            /* what a damaged snapshot still needs cannot be told chunk by chunk; its pack list still holds */
            ret->damaged = true;
            p.thin_count = 0;
            rc = 0;
        }
        if (rc < 0) {
            *err = e;
            goto out;
        }
    }
    if (p.thin_count) qsort(p.thin, p.thin_count, sizeof *p.thin, digest_order);
    rc = packs_list(r, pack_see, &p, err);
out:
    store_expect_end(r->store);
    nameset_free(&p.live);
    seam_free(p.thin);
    if (rc < 0) gc_plan_free(ret);
    if (rc == -ERR_OBJECT_MISSING && repo_log_moved(r)) {
        error_clear(err);
        rc = error_set(err, ERR_REPO_COMMIT_LOST, "another collection came in between");
    }
    return rc;
}

void gc_expect(struct repo *r, const uint64_t *seqs, size_t n) {
    struct digest packs[EXPECTED_PACKS];
    unsigned known = 0;
    if (!store_reads_many(r->store) || !r->keys->read_secret) return; /* it marks by lists alone */
    for (size_t i = r->state.snapshot_count; i-- > 0 && known < EXPECTED_PACKS;) {
        const struct snapshot_info *s = &r->state.snapshots[i];
        bool goes = s->forgotten;
        for (size_t k = 0; k < n && !goes; k++) goes = seqs[k] == s->seq;
        for (size_t k = 0; k < s->root_count && !goes && known < EXPECTED_PACKS; k++) {
            struct location l;
            char key[96];
            uint64_t bytes;
            bool meta, there = false;
            if (!index_find(&r->index, s->root[k].b, &l) || !index_pack(&r->index, &l, &packs[known], &bytes, &meta) ||
                bytes > r->meta_pack_bytes)
                continue;
            for (unsigned p = 0; p < known; p++) there |= digest_equal(&packs[p], &packs[known]);
            if (there) continue;
            pack_key(meta, &packs[known++], key);
            store_expect(r->store, key, (size_t)bytes + 1, 1);
        }
    }
}

int gc_plan_make(struct repo *r, const struct gc_options *o, struct gc_plan *ret, struct error *err) {
    const struct nameset none = {0};
    return plan_make(r, o, &none, ret, NULL, err);
}

/* What is to be swept: index objects that nothing refers to, and resume states that nobody came back for. */
struct sweep {
    struct digests keep, index;
    int64_t before;
    char (*sessions)[96];
    size_t n, cap;
};

static void sweep_free(struct sweep *s) {
    digests_free(&s->keep);
    digests_free(&s->index);
    seam_free(s->sessions);
}

static int sweep_see(void *ctx, const struct store_object *o, struct error *err) {
    struct sweep *s = ctx;
    struct digest d;
    const char *name = strrchr(o->key, '/');
    if (!name || strlen(o->key) >= 96 || o->created_ns >= s->before) return 0;
    if (strncmp(o->key, "index/", 6) == 0) {
        if (!hex_decode(name + 1, strlen(name + 1), d.b, DIGEST_BYTES) || digest_in(s->keep.d, s->keep.n, &d)) return 0;
        return digests_add(&s->index, &d, err);
    }
    int rc = mem_grow((void **)&s->sessions, &s->cap, s->n + 1, sizeof *s->sessions, err);
    if (rc == 0) snprintf(s->sessions[s->n++], 96, "%s", o->key);
    return rc;
}

/* Before the entry: a writer that is about to refer to one of these must be able to read so in the log, like with
 * packs. */
static int sweep_plan(struct repo *r, const struct gc_options *o, const struct digests *added,
                      const struct digests *removed, struct sweep *ret, struct error *err) {
    struct sweep s = {.before = o->now_ns - o->grace_ns};
    const struct state *st = &r->state;
    int rc = 0;
    for (size_t i = 0; i < st->run_count && rc == 0; i++) {
        bool goes = false;
        for (size_t k = 0; k < removed->n; k++) goes |= digest_equal(&removed->d[k], &st->runs[i]);
        if (!goes) rc = digests_add(&s.keep, &st->runs[i], err);
    }
    for (size_t i = 0; i < added->n && rc == 0; i++) rc = digests_add(&s.keep, &added->d[i], err);
    for (size_t i = 0; i < st->epoch_count && rc == 0; i++) rc = digests_add(&s.keep, &st->epochs[i].keys, err);
    for (size_t i = 0; i < st->snapshot_count && rc == 0; i++)
        if (!st->snapshots[i].forgotten) {
            rc = digests_add(&s.keep, &st->snapshots[i].packs, err);
            if (rc == 0 && st->snapshots[i].is_copy) rc = digests_add(&s.keep, &st->snapshots[i].source.kept, err);
        }
    for (size_t i = 0; i < st->delete_count && rc == 0; i++) {
        rc = st->deletes[i].has_packs ? digests_add(&s.keep, &st->deletes[i].packs, err) : 0;
        if (rc == 0 && st->deletes[i].has_replacement) rc = digests_add(&s.keep, &st->deletes[i].replaced_by, err);
        if (rc == 0 && st->deletes[i].has_swept) rc = digests_add(&s.keep, &st->deletes[i].swept, err);
    }
    if (rc == 0) rc = packlist_live_parts(r, &s.keep, err);
    s.keep.n = digest_sort_unique(s.keep.d, s.keep.n);
    if (rc == 0) rc = store_list(r->store, "index/", sweep_see, &s, err);
    if (rc == 0) rc = store_list(r->store, "sess/", sweep_see, &s, err);
    s.index.n = digest_sort_unique(s.index.d, s.index.n);
    if (rc < 0)
        sweep_free(&s);
    else
        *ret = s;
    return rc;
}

/* Removes packs and what else goes. Together where nothing can be locked; else one by one, and what is locked is
 * counted and left. */
struct doomed {
    struct repo *r;
    struct gc_plan *plan;
    bool together;
    size_t n;
    char keys[DOOMED_AT_ONCE][96];
};

static int doomed_begin(struct doomed *d, struct repo *r, struct gc_plan *plan, struct error *err) {
    bool kept = false;
    int rc = store_lists_no_versions(r->store) ? 0 : store_keeps_versions(r->store, &kept, err);
    if (rc < 0) return rc;
    packs_listed_drop(r);
    d->r = r;
    d->plan = plan;
    d->together = !kept && r->store->locks.mode == STORE_LOCK_NONE;
    d->n = 0;
    return 0;
}

static int doomed_end(struct doomed *d, struct error *err) {
    const char *keys[DOOMED_AT_ONCE];
    for (size_t i = 0; i < d->n; i++) keys[i] = d->keys[i];
    int rc = store_remove_many(d->r->store, keys, d->n, err);
    d->n = 0;
    return rc;
}

static int doomed_add(struct doomed *d, const char *key, struct error *err) {
    snprintf(d->keys[d->n++], sizeof d->keys[0], "%s", key);
    return d->n < DOOMED_AT_ONCE ? 0 : doomed_end(d, err);
}

static int reclaim(struct doomed *d, const char *key, uint64_t bytes, struct error *err) {
    struct gc_plan *plan = d->plan;
    int64_t until_ns;
    if (d->together) return doomed_add(d, key, err);
    int rc = store_reclaim(d->r->store, key, &until_ns, err);
    if (rc < 0 || until_ns == 0) return rc;
    plan->locked++;
    plan->locked_packs += bytes > 0;
    plan->locked_bytes += bytes;
    if (until_ns > plan->locked_until_ns) plan->locked_until_ns = until_ns;
    return 0;
}

static int sweep_act(struct doomed *d, const struct sweep *s, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < s->index.n && rc == 0; i++) {
        char key[96];
        run_key(&s->index.d[i], key);
        rc = reclaim(d, key, 0, err);
    }
    for (size_t i = 0; i < s->n && rc == 0; i++)
        rc = d->together ? doomed_add(d, s->sessions[i], err) : store_remove(d->r->store, s->sessions[i], err);
    return rc;
}

static int all_remove(struct repo *r, const struct digests *gone, const struct pack_facts *all, const struct sweep *s,
                      struct gc_plan *plan, struct error *err) {
    struct doomed d;
    if (gone->n + s->index.n + s->n == 0) return 0;
    int rc = doomed_begin(&d, r, plan, err);
    for (size_t i = 0; i < gone->n && rc == 0; i++) {
        const struct pack_fact *f = pack_fact_find(all, &gone->d[i]);
        char key[96];
        if (!f) continue;
        pack_key(f->meta, &f->name, key);
        rc = reclaim(&d, key, f->bytes, err);
    }
    if (rc == 0) rc = sweep_act(&d, s, err);
    return rc < 0 ? rc : doomed_end(&d, err);
}

static void *publish(void *arg) {
    struct error ignored = ERROR_INIT; /* the caller publishes what is not when all is removed */
    (void)!repo_publish(arg, &ignored);
    return NULL;
}

/* Where a request takes long, the log that says so is published meanwhile: what removes knows nothing of the log. */
static int all_remove_beside(struct repo *r, const struct digests *gone, const struct pack_facts *all,
                             const struct sweep *s, struct gc_plan *plan, struct error *err) {
    struct error alone = ERROR_INIT;
    pthread_t thread;
    const bool beside = store_reads_many(r->store) && thread_start(&thread, publish, r, &alone) == 0;
    int rc = all_remove(r, gone, all, s, plan, err);
    if (beside) pthread_join(thread, NULL);
    return rc;
}

static void *tidy(void *arg) {
    store_tidy(arg);
    return NULL;
}

/* Takes out of `names` what an earlier entry has deleted: it only still lies there, and the log need not say so twice.
 */
static int forget_deleted(struct repo *r, bool swept, struct digests *names, struct error *err) {
    int rc = 0;
    for (size_t i = r->state.delete_count; i-- > 0 && names->n > 0 && rc == 0;) {
        const struct delete_info *d = &r->state.deletes[i];
        struct digest *list;
        size_t n, w = 0;
        if (swept ? !d->has_swept : !d->has_packs) continue;
        if ((rc = packlist_read(r, swept ? &d->swept : &d->packs, &list, &n, err)) < 0) break;
        for (size_t k = 0; k < names->n; k++)
            if (!digest_in(list, n, &names->d[k])) names->d[w++] = names->d[k];
        names->n = w;
        seam_free(list);
    }
    return rc;
}

static int copy_digests(struct digests *to, const struct digests *from, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < from->n && rc == 0; i++) rc = digests_add(to, &from->d[i], err);
    return rc;
}

/* Adds them; sorted by name. */
static int facts_of(const struct pack_fact *f, size_t n, struct pack_facts *ret, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) rc = fact_push(&ret->f, &ret->n, &ret->cap, &f[i], err);
    if (ret->n) qsort(ret->f, ret->n, sizeof *ret->f, digest_order);
    return rc;
}

static int collect_once(struct repo *r, const struct gc_options *o, struct nameset *tried, struct gc_plan *plan,
                        struct error *err) {
    struct digests gone = {0}, fresh = {0}, added = {0}, removed = {0}, gone_new = {0}, swept_new = {0};
    struct pack_facts all = {0}, again = {0};
    struct sweep sweep = {0};
    struct marks *marks = NULL;
    struct marked marked = {0};
    uint64_t bytes = 0;
    int rc = plan_make(r, o, tried, plan, &marks, err);
    if (rc < 0) {
        marks_free(marks);
        return rc;
    }
    rc = marked_begin(r, &marked, err);
    if (rc == 0 && marked.at != plan->log_size)
        rc = error_set(err, ERR_REPO_COMMIT_LOST, "the log moved on while a collection was marking");
    /* what this run stores from here on is kept whether it is listed or not */
    store_expect_list(r->store, "index/", false, 1);
    store_expect_list(r->store, "sess/", false, 1);
    if (rc == 0 && (plan->dead_count || plan->repack_count)) {
        rc = facts_of(plan->repack, plan->repack_count, &again, err);
        if (rc == 0) rc = facts_of(plan->dead, plan->dead_count, &all, err);
        if (rc == 0) rc = facts_of(plan->repack, plan->repack_count, &all, err);
        if (rc == 0 && again.n) rc = repack(r, marks, &again, &fresh, &added, &plan->repack_live_bytes, err);
        marked.moves = again.n > 0;
        marked.moved = added.n;
        for (size_t i = 0; i < all.n && rc == 0; i++) {
            bytes += all.f[i].bytes;
            rc = digests_add(&gone, &all.f[i].name, err);
        }
        gone.n = digest_sort_unique(gone.d, gone.n);
        if (rc == 0) rc = runs_without(r, &gone, &added, &removed, err);
    }
    if (rc == 0) rc = sweep_plan(r, o, &added, &removed, &sweep, err);
    store_expect_end(r->store);
    if (rc == 0) rc = copy_digests(&gone_new, &gone, err);
    if (rc == 0) rc = copy_digests(&swept_new, &sweep.index, err);
    if (rc == 0 && gone.n && !again.n) rc = forget_deleted(r, false, &gone_new, err);
    if (rc == 0 && sweep.index.n) rc = forget_deleted(r, true, &swept_new, err);
    if (rc == 0 && (gone_new.n || swept_new.n || added.n || removed.n)) {
        /* an empty list is one too: snapshots may list a pack of which they need nothing any more */
        marked.packs = &gone;
        marked.swept = &sweep.index;
        rc = delete_append(r, plan->log_size, &gone_new, again.n ? &fresh : NULL, &added, &removed, &swept_new, bytes,
                           &marked, err);
        if (rc == 0) rc = store_reads_many(r->store) ? repo_follow(r, err) : repo_sync(r, err);
    }
    if (rc == 0) rc = all_remove_beside(r, &gone, &all, &sweep, plan, err);
    marks_free(marks);
    digests_free(&marked.runs);
    if (plan->dead_count < plan->dead_packs) /* there will be another part */
        for (size_t i = 0; i < gone.n && rc == 0; i++) rc = nameset_add(tried, gone.d[i].b, err);
    nameset_sort(tried);
    sweep_free(&sweep);
    digests_free(&gone_new);
    digests_free(&swept_new);
    digests_free(&gone);
    digests_free(&fresh);
    digests_free(&added);
    digests_free(&removed);
    seam_free(all.f);
    seam_free(again.f);
    return rc;
}

static int collect_part(struct repo *r, const struct gc_options *o, struct nameset *tried, struct gc_plan *ret,
                        struct error *err) {
    for (int attempt = 1;; attempt++) {
        int rc = collect_once(r, o, tried, ret, err);
        ret->markings = (unsigned)attempt;
        if (rc == 0) return 0;
        gc_plan_free(ret);
        r->fresh_ns = 0;
        if (rc != -ERR_REPO_COMMIT_LOST) return error_wrap(err, "collecting");
        error_clear(err);
        if (attempt < MARKINGS_MAX) continue;
        error_set(err, ERR_REPO_BUSY,
                  "each of the %d times that this collection had marked what is in use, others collected too, or used "
                  "what was to go",
                  attempt);
        error_state(err, "no pack was removed; every recovery point is whole");
        return error_next(err,
                          "Run 'proofkeep prune' again when no other prune and no repair of this repository runs.");
    }
}

int gc_run(struct repo *r, const struct gc_options *o, struct gc_plan *ret, struct error *err) {
    struct nameset tried = {0};
    struct error alone = ERROR_INIT;
    pthread_t thread;
    /* what it gives up is older than any run that goes on */
    const bool allowed = r->keys->role == ROLE_ADMIN || r->keys->role == ROLE_PRUNE;
    const bool beside = allowed && store_reads_many(r->store) && thread_start(&thread, tidy, r->store, &alone) == 0;
    int rc = collect_part(r, o, &tried, ret, err);
    /* what one entry was not enough for; what was repacked just now is not looked at again */
    struct gc_options rest = *o;
    rest.repack_below = 0;
    for (uint64_t left = ret->dead_packs - ret->dead_count; rc == 0 && left > 0;) {
        struct gc_plan more;
        if ((rc = collect_part(r, &rest, &tried, &more, err)) < 0) gc_plan_free(ret);
        const bool fewer = rc == 0 && more.dead_packs - more.dead_count < left;
        left = fewer ? more.dead_packs - more.dead_count : 0;
        if (rc < 0) break;
        /* other packs, but the same objects of the index */
        ret->locked = ret->locked_packs + more.locked;
        ret->locked_packs += more.locked_packs;
        ret->locked_bytes += more.locked_bytes;
        if (more.locked_until_ns > ret->locked_until_ns) ret->locked_until_ns = more.locked_until_ns;
        if (more.markings > ret->markings) ret->markings = more.markings;
        gc_plan_free(&more);
    }
    nameset_free(&tried);
    if (beside)
        pthread_join(thread, NULL);
    else if (rc == 0)
        store_tidy(r->store);
    return rc;
}

struct forget {
    struct repo *r;
    const uint64_t *seqs;
    size_t n;
    json_t *statement;
};

static int build_forget(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct forget *f = ctx;
    (void)seq;
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; k < f->r->state.snapshot_count; k++) {
            const struct snapshot_info *s = &f->r->state.snapshots[k];
            if (s->seq == f->seqs[i] && s->holds)
                return error_set(err, ERR_PRUNE_HELD, "snapshot %s is on hold", s->id);
        }
    *ret = json_copy_whole(f->statement);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
}

int repo_forget(struct repo *r, const uint64_t *seqs, size_t n, const char *reason, struct error *err) {
    if (r->keys->role != ROLE_ADMIN && r->keys->role != ROLE_PRUNE)
        return error_set(err, ERR_KEY_ROLE, "pruning needs a prune or admin key, and this one is a %s key",
                         key_role_name(r->keys->role));
    int rc = repo_writable(r, err);
    if (rc < 0) return rc;
    /* an entry is bounded, so long lists become several entries */
    for (size_t at = 0; at < n && rc == 0; at += 1024) {
        size_t part = n - at < 1024 ? n - at : 1024;
        json_t *p = json_object(), *s = NULL, *a = json_array();
        struct digest d;
        rc = json_put(p, "seqs", a, err);
        for (size_t i = 0; i < part && rc == 0; i++) rc = json_push(a, json_integer((json_int_t)seqs[at + i]), err);
        if (rc == 0) rc = json_put_str(p, "reason", reason, err);
        sha256(BYTES_OF(seqs + at, part * sizeof *seqs), &d);
        if (rc == 0)
            rc = statement_make(PREDICATE_FORGET, "snapshots", &d, p, &s, err);
        else
            json_decref(p);
        struct forget f = {r, seqs + at, part, s};
        if (rc == 0) rc = ledger_append(r->ledger, secret_bytes(r->keys->sign_seed), build_forget, &f, NULL, NULL, err);
        json_decref(s);
    }
    return rc;
}
