/* Checking: objects present, their bytes those of their names, every frame decoding to the chunks it names. What is
 * damaged is named with the snapshots and the paths it harms; what could not be checked is never called whole. */
#include "repo/check_budget.h"
#include "repo/check_internal.h"
#include "repo/copy.h"
#include "repo/packlist.h"
#include "repo/run.h"
#include "repo/state_summary.h"

const char *check_result_name(enum check_result c) {
    static const char *const names[] = {"not-checked", "verified", "missing", "corrupt", "unreadable"};
    return names[c];
}

#define PATHS_MAX 100

/* ---- whom damage harms ---- */

static int damage_order(const void *a, const void *b) {
    const struct damage *x = a, *y = b;
    int d = memcmp(x->pack.b, y->pack.b, DIGEST_BYTES);
    if (d == 0) d = (x->frame > y->frame) - (x->frame < y->frame);
    return d ? d : x->harmless - y->harmless;
}

/* The damage is sorted by now. */
static bool hits(const struct checking *c, const struct digest *pack, uint32_t frame, size_t *at) {
    for (int whole = 0; whole < 2; whole++) {
        struct damage key = {.pack = *pack, .frame = whole ? FRAME_ALL : frame};
        const struct damage *d =
            c->damage_count ? bsearch(&key, c->damage, c->damage_count, sizeof *d, damage_order) : NULL;
        if (!d) continue;
        *at = (size_t)(d - c->damage);
        return true;
    }
    return false;
}

struct harm {
    struct checking *c;
    struct snapshot *s;
    const struct item_head *head;
    const char *id;
};

static int harm_chunk(void *ctx, const struct digest *id, uint32_t len, struct error *err) {
    struct harm *h = ctx;
    struct checking *c = h->c;
    (void)len;
    uint8_t prefix[ID_PREFIX_BYTES];
    memcpy(prefix, id->b, sizeof prefix);
    for (int hop = 0; hop < 2; hop++) {
        struct location l;
        struct digest pack;
        size_t at;
        if (hop ? !index_find_plain(&c->r->index, prefix, &l) : !index_find(&c->r->index, prefix, &l)) break;
        index_pack(&c->r->index, &l, &pack, NULL, NULL);
        if (hits(c, &pack, l.frame, &at)) {
            struct damage *d = &c->damage[at];
            d->paths_total++;
            if (d->path_count >= PATHS_MAX) return 1;
            int rc = mem_grow((void **)&d->paths, &d->path_cap, d->path_count + 1, sizeof *d->paths, err);
            if (rc < 0) return rc;
            struct buf b = BUF_INIT(1u << 20);
            rc = buf_append(&b, h->head->name.ptr, h->head->name.len, err);
            d->paths[d->path_count++] = b;
            return rc < 0 ? rc : 1;
        }
        if (!l.delta) break;
        memcpy(prefix, l.base, sizeof prefix);
    }
    return 0;
}

static int harm_item(void *ctx, const struct item_head *head, struct error *err) {
    struct harm *h = ctx;
    h->head = head;
    int rc = ritem_chunks(h->s, head, harm_chunk, h, err);
    if (rc == -ERR_OBJECT_CORRUPT || rc == -ERR_OBJECT_MISSING) {
        error_clear(err); /* its list of chunks is damaged itself; the pack is reported for that */
        return 0;
    }
    return rc < 0 ? rc : 0;
}

static bool wanted(const struct checking *c, const struct snapshot_info *s) {
    if (s->forgotten) return false;
    if (!c->o->snapshots) return true;
    for (size_t i = 0; c->o->snapshots[i]; i++)
        if (c->o->snapshots[i]->seq == s->seq) return true;
    return false;
}

static bool is_one(void *ctx, const struct snapshot_info *s) {
    return s == ctx;
}

/* What went wrong (rc < 0, e) with what a snapshot lists. 0: it may be passed over, as damage is a finding of its own,
 * and of what is not checked nothing is claimed. Anything else would leave the snapshot out where it is to be named. */
static int list_failed(const struct checking *c, const struct snapshot_info *s, int rc, const struct error *e,
                       struct error *err) {
    if (error_info(rc)->status == EXIT_INTEGRITY || !wanted(c, s)) return 0;
    *err = *e;
    return rc;
}

/* A bit for each damage and snapshot: whether the one's packs have the other. Each list is read once. */
static int damage_harms(const struct checking *c, uint8_t **ret, struct error *err) {
    struct repo *r = c->r;
    const size_t n = r->state.snapshot_count;
    void *mem;
    int rc = mem_alloc(c->damage_count * n / 8 + 1, &mem, err);
    if (rc < 0) return rc;
    *ret = mem;
    for (size_t k = 0; k < n && c->damage_count; k++) {
        struct nameset packs;
        struct error e = ERROR_INIT;
        if (r->state.snapshots[k].forgotten) continue;
        rc = packlist_union(r, is_one, NULL, &r->state.snapshots[k], &packs, &e);
        if (rc < 0) {
            if ((rc = list_failed(c, &r->state.snapshots[k], rc, &e, err)) < 0) return rc;
            continue;
        }
        for (size_t i = 0; i < c->damage_count; i++)
            if (nameset_find(&packs, c->damage[i].pack.b) != NAMESET_NONE) bit_set(*ret, i * n + k);
        nameset_free(&packs);
    }
    return 0;
}

static int report(struct checking *c, struct error *err) {
    struct repo *r = c->r;
    const char **ids;
    void *mem;
    bool unseen = false; /* a snapshot; so nobody knows that what is damaged is not used */
    int rc = mem_alloc((r->state.snapshot_count + 1) * sizeof *ids, &mem, err);
    if (rc < 0) return rc;
    ids = mem;
    if (c->damage_count) qsort(c->damage, c->damage_count, sizeof *c->damage, damage_order);
    /* paths first: one walk a snapshot serves all damage */
    for (size_t i = 0; i < r->state.snapshot_count && rc == 0 && c->damage_count && c->fetcher; i++) {
        const struct snapshot_info *s = &r->state.snapshots[i];
        if (s->forgotten) continue;
        struct harm h = {.c = c, .id = s->id};
        struct error e = ERROR_INIT;
        rc = snapshot_open(r, s, &h.s, &e);
        if (rc < 0) { /* its own metadata is damaged, which is a finding; or it could not be looked at */
            unseen |= error_info(rc)->status != EXIT_INTEGRITY;
            rc = 0;
            continue;
        }
        rc = snapshot_walk(h.s, BYTES_OF(NULL, 0), harm_item, &h, &e);
        if (rc == -ERR_OBJECT_CORRUPT || rc == -ERR_OBJECT_MISSING) rc = 0;
        if (rc < 0) *err = e;
        snapshot_close(h.s);
    }
    uint8_t *harmed = NULL;
    if (rc == 0) rc = damage_harms(c, &harmed, err);
    for (size_t i = 0; i < c->damage_count && rc == 0; i++) {
        struct damage *d = &c->damage[i];
        char key[96];
        size_t n = 0;
        if (d->if_used && !d->paths_total && !unseen) continue;
        pack_key(d->meta, &d->pack, key);
        for (size_t k = 0; k < r->state.snapshot_count && !d->harmless; k++)
            if (bit_get(harmed, i * r->state.snapshot_count + k)) ids[n++] = r->state.snapshots[k].id;
        ids[n] = NULL;
        struct bytes paths[PATHS_MAX];
        for (size_t k = 0; k < d->path_count; k++) paths[k] = buf_bytes(&d->paths[k]);
        struct check_finding f = {key, d->result, d->text, ids, paths, d->path_count, d->paths_total};
        c->totals.findings++;
        if (c->o->finding) rc = c->o->finding(c->o->ctx, &f, err);
    }
    seam_free(harmed);
    seam_free(ids);
    return rc;
}

/* Which snapshots nothing was found out about, for packs that could not be read. */
static int archived_tell(struct checking *c, struct error *err) {
    struct repo *r = c->r;
    int rc = 0;
    nameset_sort(&c->archived);
    for (size_t k = 0; k < r->state.snapshot_count && rc == 0 && c->archived.count && c->o->archived; k++) {
        const struct snapshot_info *s = &r->state.snapshots[k];
        struct nameset packs;
        struct error e = ERROR_INIT;
        bool hit = false;
        if (!wanted(c, s)) continue;
        rc = packlist_union(r, is_one, NULL, (void *)s, &packs, &e);
        if (rc < 0) {
            rc = list_failed(c, s, rc, &e, err);
            continue;
        }
        for (size_t i = 0; i < packs.count && !hit; i++)
            hit = nameset_find(&c->archived, packs.names[i]) != NAMESET_NONE;
        nameset_free(&packs);
        if (hit) rc = c->o->archived(c->o->ctx, s, err);
    }
    return rc;
}

/* `only` is the snapshot that it harms; NULL: it is for all. */
static int object_harms(struct checking *c, const char *object, int code, const char *text,
                        const struct snapshot_info *only, struct error *err) {
    const char *ids[] = {only ? only->id : NULL, NULL};
    struct check_finding f = {object, check_result_of(code), text, ids, NULL, 0, 0};
    c->totals.findings++;
    return c->o->finding ? c->o->finding(c->o->ctx, &f, err) : 0;
}

static int object_finding(struct checking *c, const char *object, int code, const char *text, struct error *err) {
    return object_harms(c, object, code, text, NULL, err);
}

static int derived_finding(void *ctx, const char *object, int code, const char *text, struct error *err) {
    return object_finding(ctx, object, code, text, err);
}

static int slot_check(struct checking *c, const char *key, struct error *err) {
    struct buf b = BUF_INIT(64 << 10);
    struct error e = ERROR_INIT;
    /* where requests cost, what was held against its name when the repository was opened is not read again */
    const bool opened = c->far && c->r->slot_read && strcmp(c->r->slot, key) == 0;
    int rc = opened ? 0 : slot_fetch(c->r, key, &b, &e);
    if (rc == 0 && !opened) {
        char is[96];
        slot_key(buf_bytes(&b), is);
        if (strcmp(is, key) != 0) rc = error_set(&e, ERR_OBJECT_CORRUPT, "its bytes are not those of its name");
    }
    buf_free(&b);
    c->totals.objects++;
    return rc < 0 ? object_finding(c, key, rc, e.text, err) : 0;
}

static int slot_see(void *ctx, const struct store_object *o, struct error *err) {
    return slot_check(ctx, o->key, err);
}

static int list_check(struct checking *c, const struct digest *name, struct error *err) {
    struct error e = ERROR_INIT;
    struct digest *packs = NULL;
    uint64_t size;
    size_t n;
    char key[96];
    run_key(name, key);
    int rc = c->o->level >= VERIFY_CHECKSUM ? packlist_read(c->r, name, &packs, &n, &e)
                                            : store_stat(c->r->store, key, &size, NULL, &e);
    seam_free(packs);
    c->totals.objects++;
    return rc < 0 ? object_finding(c, key, rc, e.text, err) : 0;
}

/* The receipt of a copied snapshot as its source signed it. */
static int kept_check(struct checking *c, const struct snapshot_info *s, struct error *err) {
    struct buf b = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    struct error e = ERROR_INIT;
    uint64_t size;
    char key[96];
    run_key(&s->source.kept, key);
    int rc = c->o->level >= VERIFY_CHECKSUM ? copy_source_read(c->r, s, &b, NULL, &e)
                                            : store_stat(c->r->store, key, &size, NULL, &e);
    buf_free(&b);
    c->totals.objects++;
    return rc < 0 ? object_harms(c, key, rc, e.text, s, err) : 0;
}

/* What is not a pack: the log itself (from the store, not from the cache), key slots, index runs, pack lists. */
static int others_check(struct checking *c, struct error *err) {
    struct repo *r = c->r;
    struct error e = ERROR_INIT;
    struct ledger *l = NULL;
    struct summaries_check derived;
    char origin[64], key[96], hex[65];
    repo_origin(r, origin);
    int rc = summaries_check_begin(r, &derived, &e);
    /* A handle that has all of it held the end, the list and the checkpoint against each other when it was opened. */
    const bool again = c->far && ledger_base(r->ledger) == 0;
    if (rc == 0 && again) rc = ledger_reread(r->ledger, summaries_judge, &derived, &e);
    if (rc == 0 && !again) rc = ledger_open(r->store, origin, NULL, summaries_judge, &derived, &l, &e);
    if (rc == 0 && !again) rc = ledger_sync(l, &e);
    struct digest mine, theirs;
    if (rc == 0 && l && ledger_size(l) == ledger_size(r->ledger)) {
        ledger_root(l, &theirs);
        ledger_root(r->ledger, &mine);
        if (!digest_equal(&mine, &theirs))
            rc = error_set(&e, ERR_LEDGER_ROLLBACK, "the log in the store is not the one seen before");
    } else if (rc == 0 && l && ledger_size(l) < ledger_size(r->ledger))
        rc = error_set(&e, ERR_LEDGER_ROLLBACK, "the log in the store is shorter than the one seen before");
    int one = rc < 0 ? object_finding(c, "log/", rc, e.text, err)
                     : summaries_check_end(&derived, r, l ? l : r->ledger, &c->totals.objects, derived_finding, c, err);
    ledger_close(l);
    summaries_check_free(&derived);
    if (one < 0) return one;
    c->totals.objects += ledger_size(r->ledger);
    rc = c->far ? 0 : store_list(r->store, "keys/", slot_see, c, err);
    for (size_t i = 0; i < r->slot_count && rc == 0 && c->far; i++) rc = slot_check(c, r->slots[i], err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < r->state.run_count; i++) {
        uint64_t n;
        uint32_t packs;
        uint8_t *body = NULL;
        size_t len;
        if (state_epoch_object(&r->state, &r->state.runs[i])) continue;
        c->totals.objects++;
        if (c->far && index_read_whole(&r->index, &r->state.runs[i])) continue;
        error_clear(&e);
        hex_encode(r->state.runs[i].b, DIGEST_BYTES, hex);
        snprintf(key, sizeof key, "index/%s", hex);
        rc = c->o->level >= VERIFY_CHECKSUM
                 ? run_read_body(r, &r->state.runs[i], RUN_TYPE_INDEX, &n, &packs, &body, &len, &e)
                 : store_stat(r->store, key, &n, NULL, &e);
        seam_free(body);
        if (rc < 0) {
            char text[sizeof e.text + 100];
            snprintf(text, sizeof text, "%s; every recovery point needs it, and 'proofkeep repair' makes it anew",
                     e.text);
            if ((rc = object_finding(c, key, rc, text, err)) < 0) return rc;
        }
    }
    for (size_t i = 0; i < r->state.epoch_count; i++) {
        error_clear(&e);
        run_key(&r->state.epochs[i].keys, key);
        rc = epoch_check(r, (unsigned)i + 1, &e);
        c->totals.objects++;
        if (rc < 0 && (rc = object_finding(c, key, rc, e.text, err)) < 0) return rc;
    }
    /* What became of a snapshot's packs is told by the lists of the collections since, so all of these must be whole.
     */
    for (size_t i = 0; i < r->state.delete_count; i++) {
        const struct delete_info *d = &r->state.deletes[i];
        if (d->has_packs && (rc = list_check(c, &d->packs, err)) < 0) return rc;
        if (d->has_replacement && (rc = list_check(c, &d->replaced_by, err)) < 0) return rc;
        if (d->has_swept && (rc = list_check(c, &d->swept, err)) < 0) return rc;
    }
    return 0;
}

static int lost_finding(struct checking *c, struct lost_search *l, const struct snapshot_info *s, bool listless,
                        struct error *err) {
    struct buf names[LOST_PATHS_MAX];
    struct bytes paths[LOST_PATHS_MAX];
    const char *ids[] = {s->id, NULL};
    char key[32];
    size_t n = 0;
    uint64_t total = 0;
    int rc = lost_paths(l, s, names, &n, &total, err);
    for (size_t i = 0; i < n; i++) paths[i] = buf_bytes(&names[i]);
    snprintf(key, sizeof key, "log/%016llu", (unsigned long long)s->seq);
    struct check_finding f = {key,
                              CHECK_MISSING,
                              listless ? "what lists the items of this snapshot is in no pack"
                                       : "chunks that this snapshot needs are in no pack",
                              ids,
                              paths,
                              n,
                              total};
    c->totals.findings++;
    if (rc == 0 && c->o->finding) rc = c->o->finding(c->o->ctx, &f, err);
    for (size_t i = 0; i < n; i++) buf_free(&names[i]);
    return rc;
}

/* What no pack has, no pack's check can find: a repair that could not save everything leaves such snapshots. Below
 * level decode only those are looked at that failed before, as nothing else may call them whole again. */
static int lost_check(struct checking *c, struct error *err) {
    struct repo *r = c->r;
    int rc = 0;
    for (size_t i = 0; i < r->state.snapshot_count && rc == 0; i++) {
        const struct snapshot_info *s = &r->state.snapshots[i];
        bool lost, listless;
        if (!wanted(c, s) || (c->o->level < VERIFY_DECODE && !s->verify_failed)) continue;
        if ((rc = lost_look(&c->lost, s, &lost, &listless, err)) < 0 || !lost) continue;
        /* a list that is in a damaged pack was reported for that pack */
        if (!listless || !c->damage_count) rc = lost_finding(c, &c->lost, s, listless, err);
    }
    return rc;
}

/* By a look at the log of its own, as what the caller holds of the state must stay; and as the state judges it, so that
 * an entry which counts for nothing excuses nothing. */
bool collected_meanwhile(struct repo *r) {
    struct repo *now = NULL;
    struct error e = ERROR_INIT;
    uint64_t from = ledger_size(r->ledger);
    bool seen = false;
    if (repo_view_open(r, &now, &e) < 0) return false;
    for (size_t i = 0; i < now->state.delete_count; i++) seen |= now->state.deletes[i].seq >= from;
    repo_view_close(now);
    return seen;
}

static enum check_result pack_result(void *ctx, const struct digest *pack) {
    const struct checking *c = ctx;
    if (nameset_find(&c->archived, pack->b) != NAMESET_NONE) return CHECK_NOT_CHECKED;
    for (size_t i = 0; i < c->damage_count; i++)
        if (digest_equal(&c->damage[i].pack, pack)) return CHECK_CORRUPT;
    return CHECK_VERIFIED;
}

static bool see_snapshot(void *ctx, const struct snapshot_info *s) {
    return wanted(ctx, s);
}

static int list_broken_finding(void *ctx, const struct snapshot_info *s, int code, const char *text,
                               struct error *err) {
    char key[96];
    run_key(&s->packs, key);
    return object_harms(ctx, key, code, text, s, err);
}

/* With a budget packs are not taken as they come, so there is a list of them. */
struct budgeted {
    struct budget budget;
    struct pack_facts list;
    size_t reached;
};

/* Packs as the index has them, run by run, each once though runs may share it. */
struct pack_walk {
    struct checking *c;
    struct budgeted *within;
    const struct nameset *all;
    uint8_t *seen;
    struct check_task *task;
    unsigned at_once; /* packs a task */
};

static int pack_task(struct pack_walk *w, const struct pack_fact *f, struct error *err) {
    void *mem;
    int rc = w->task ? 0 : mem_alloc(sizeof(struct check_task), &mem, err);
    if (rc < 0) return rc;
    if (!w->task) w->task = mem;
    w->task->c = w->c;
    w->task->facts[w->task->count++] = *f;
    if (w->task->count < w->at_once) return 0;
    pool_submit(w->c->pool, check_packs, w->task);
    w->task = NULL;
    return stop_check(err);
}

static int pack_list(struct pack_walk *w, const struct pack_fact *f, struct error *err) {
    struct pack_facts *l = &w->within->list;
    int rc = mem_grow((void **)&l->f, &l->cap, l->n + 1, sizeof *l->f, err);
    if (rc == 0) l->f[l->n++] = *f;
    return rc;
}

static int pack_total(struct pack_walk *w, const struct pack_fact *f, struct error *err) {
    (void)err;
    w->c->total += f->bytes;
    return 0;
}

static int rows_walk(struct pack_walk *w, int (*cb)(struct pack_walk *, const struct pack_fact *, struct error *),
                     struct error *err) {
    const struct index *x = &w->c->r->index;
    int rc = 0;
    memset(w->seen, 0, w->all->count / 8 + 1);
    for (size_t i = 0; i < x->count && rc == 0; i++) {
        struct run_view v;
        if ((rc = index_scan(x, i, false, &v, err)) < 0) break;
        for (uint32_t p = 0; p < v.pack_count && rc == 0; p++) {
            struct pack_fact f;
            pack_fact_row(v.packs + (size_t)p * RUN_PACK_BYTES, &f);
            if (bit_take(w->seen, nameset_find(w->all, f.name.b))) rc = cb(w, &f, err);
        }
        index_scan_end(&v);
    }
    return rc;
}

/* What no run had, by its whole name, which only the lists have. */
static int lost_see(void *ctx, const struct digest *name, struct error *err) {
    struct pack_walk *w = ctx;
    const struct pack_fact lost = {.name = *name};
    (void)err;
    if (bit_take(w->seen, nameset_find(w->all, name->b)))
        check_pack_damaged(w->c, &lost, CHECK_MISSING, "a live snapshot needs it and the index does not know it");
    return 0;
}

static int budget_run(struct pack_walk *w, struct error *err) {
    const struct check_options *o = w->c->o;
    struct budgeted *b = w->within;
    uint64_t taken = 0;
    int rc = rows_walk(w, pack_list, err);
    if (rc == 0) rc = budget_begin(w->c->r, o, b->list.f, b->list.n, &b->budget, err);
    if (o->budget->bytes && o->budget->bytes < w->c->total) w->c->total = o->budget->bytes;
    /* asked once for as many as a task takes */
    while (b->reached < b->list.n && rc == 0 && (w->task || !budget_spent(&b->budget, taken))) {
        taken += b->list.f[b->reached].bytes;
        rc = pack_task(w, &b->list.f[b->reached++], err);
    }
    return rc;
}

static int packs_run(struct checking *c, const struct nameset *all, struct budgeted *within, struct error *err) {
    struct pack_walk w = {.c = c, .within = within, .all = all, .at_once = CHECK_PACKS_AT_ONCE};
    if (c->far) w.at_once = 1;
    const struct state *s = &c->r->state;
    void *mem;
    int rc = mem_alloc(all->count / 8 + 1, &mem, err);
    if (rc < 0) return rc;
    w.seen = mem;
    for (size_t i = 0; i < s->snapshot_count; i++) c->totals.objects += wanted(c, &s->snapshots[i]);
    rc = rows_walk(&w, pack_total, err);
    if (rc == 0) rc = c->o->budget ? budget_run(&w, err) : rows_walk(&w, pack_task, err);
    if (rc == 0 && w.task) {
        pool_submit(c->pool, check_packs, w.task);
        w.task = NULL;
    }
    size_t found = 0;
    for (size_t i = 0; i < all->count; i++) found += bit_get(w.seen, i);
    for (size_t i = 0; i < s->snapshot_count && rc == 0 && found < all->count; i++) {
        struct digests packs;
        struct error e = ERROR_INIT;
        if (!wanted(c, &s->snapshots[i])) continue;
        rc = snapshot_packs(c->r, &s->snapshots[i], &packs, &e);
        if (rc < 0) {
            rc = list_failed(c, &s->snapshots[i], rc, &e, err);
            continue;
        }
        for (size_t k = 0; k < packs.n && rc == 0; k++) rc = lost_see(&w, &packs.d[k], err);
        digests_free(&packs);
    }
    seam_free(w.task);
    seam_free(mem);
    return rc;
}

int repo_check(struct repo *r, const struct check_options *o, struct check_totals *ret, struct error *err) {
    *ret = (struct check_totals){0};
    if (o->level < VERIFY_PRESENT || o->level > VERIFY_DECODE)
        return error_set(err, ERR_USAGE, "a check of the store goes up to level decode");
    if (o->budget && o->level < VERIFY_CHECKSUM)
        return error_set(err, ERR_USAGE, "a budget is for levels checksum and decode; present is looked at whole");
    int rc = o->level >= VERIFY_DECODE ? repo_needs_read(r, "verification level decode", err) : 0;
    if (rc == 0) rc = repo_index_whole(r, err);
    if (rc < 0) return rc;
    struct checking c = {.r = r, .o = o, .far = store_reads_many(r->store)};
    struct nameset all = {0};
    struct budgeted within = {0};
    pthread_mutex_init(&c.lock, NULL);
    if (r->keys->read_secret && (rc = fetcher_new(r, &r->index, NULL, 32u << 20, &c.fetcher, err)) < 0) goto out;
    if (c.fetcher && (rc = lost_open(r, NULL, NULL, &c.lost, err)) < 0) goto out;
    /* Where reads take long, more of them are under way than there are processors, each of one pack. */
    unsigned threads = o->threads ? o->threads : thread_cpus();
    if (c.far && threads < CHECK_PACKS_FAR) threads = CHECK_PACKS_FAR;
    if ((rc = pool_new(threads, 2, &c.pool, err)) < 0) goto out;
    if ((rc = others_check(&c, err)) < 0) goto out;
    for (size_t i = 0; i < r->state.snapshot_count && rc == 0; i++)
        if (r->state.snapshots[i].is_copy && wanted(&c, &r->state.snapshots[i]))
            rc = kept_check(&c, &r->state.snapshots[i], err);
    if (rc == 0) rc = packlist_union(r, see_snapshot, list_broken_finding, &c, &all, err);
    if (rc < 0) goto out;
    rc = packs_run(&c, &all, &within, err);
    pool_drain(c.pool);
    if (rc == 0 && c.has_failed) {
        *err = c.failed;
        rc = -(int)err->code;
    }
    if (rc == 0) rc = report(&c, err);
    if (rc == 0) rc = archived_tell(&c, err);
    if (rc == 0 && c.fetcher) rc = lost_check(&c, err);
    if (rc == 0 && c.totals.findings && collected_meanwhile(r)) {
        rc = error_set(err, ERR_REPO_BUSY, "a collection removed objects while they were being checked");
        (void)!error_state(err, "Nothing is said about the repository; it is not known to be damaged.");
    }
    if (rc == 0 && o->budget) rc = budget_end(&within.budget, o, within.reached, pack_result, &c, &c.totals, err);
    if (rc == 0 && o->parts) budget_parts(&within.budget, o->parts);
out:
    budget_free(&within.budget);
    seam_free(within.list.f);
    pool_free(c.pool);
    check_packs_end(&c);
    fetcher_free(c.fetcher);
    lost_close(&c.lost);
    nameset_free(&all);
    nameset_free(&c.archived);
    for (size_t i = 0; i < c.damage_count; i++) {
        for (size_t k = 0; k < c.damage[i].path_count; k++) buf_free(&c.damage[i].paths[k]);
        seam_free(c.damage[i].paths);
    }
    seam_free(c.damage);
    pthread_mutex_destroy(&c.lock);
    if (rc < 0) return rc;
    const bool left = c.totals.packs_left || c.totals.packs_archived;
    c.totals.result = c.totals.findings ? CHECK_CORRUPT : left ? CHECK_NOT_CHECKED : CHECK_VERIFIED;
    *ret = c.totals;
    return 0;
}
