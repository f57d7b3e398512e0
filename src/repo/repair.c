/* Finding what is damaged, and mending it. */
#include "ledger/derived.h"
#include "repo/packlist.h"
#include "repo/repair_internal.h"
#include "repo/run.h"
#include "repo/state_summary.h"

#include <stdio.h>
#include <stdlib.h>

#define COMMITS_MAX 16 /* of others, before the log is left to them */

struct scan {
    struct repo *r;
    const struct repair_options *o;
    struct repair_plan *plan;
    size_t pack_cap, run_cap, summary_cap, list_cap, list_lost_cap;
    pthread_mutex_t lock; /* what follows */
    uint64_t done, total;
    struct error failed;
};

void repair_plan_free(struct repair_plan *p) {
    seam_free(p->packs);
    seam_free(p->runs);
    seam_free(p->summaries);
    seam_free(p->lists);
    seam_free(p->lists_lost);
    *p = (struct repair_plan){0};
}

bool repair_plan_empty(const struct repair_plan *p) {
    return !p->pack_count && !p->run_count && !p->list_count && !p->list_lost_count && !p->derived && !p->summary_count;
}

static int say(struct scan *s, const char *object, int code, const char *text, bool mends, struct error *err) {
    enum check_result r = code == -ERR_OBJECT_MISSING                  ? CHECK_MISSING
                          : error_info(code)->status == EXIT_INTEGRITY ? CHECK_CORRUPT
                                                                       : CHECK_UNREADABLE;
    return s->o->finding ? s->o->finding(s->o->ctx, object, r, text, mends, err) : 0;
}

/* ---- packs ---- */

struct task {
    struct scan *s;
    struct pack_fact fact;
};

static int pack_damaged(struct scan *s, const struct pack_fact *f, int code, const char *text, struct error *err) {
    char key[96];
    pack_key(f->meta, &f->name, key);
    int rc = say(s, key, code, text, true, err);
    if (rc == 0)
        rc = mem_grow((void **)&s->plan->packs, &s->pack_cap, s->plan->pack_count + 1, sizeof *s->plan->packs, err);
    if (rc == 0)
        s->plan->packs[s->plan->pack_count++] =
            (struct repair_pack){.name = f->name,
                                 .bytes = f->bytes,
                                 .meta = f->meta,
                                 .result = code == -ERR_OBJECT_MISSING ? CHECK_MISSING : CHECK_CORRUPT};
    return rc;
}

static void pack_scan(void *arg) {
    struct task *t = arg;
    struct scan *s = t->s;
    struct error e = ERROR_INIT, lost = ERROR_INIT;
    char key[96];
    pack_key(t->fact.meta, &t->fact.name, key);
    int rc = object_check_name(s->r->store, key, t->fact.bytes, &t->fact.name, &e);
    if (is_damage(rc)) { /* what went wrong on the way here is not there the second time */
        error_clear(&e);
        rc = object_check_name(s->r->store, key, t->fact.bytes, &t->fact.name, &e);
    }
    pthread_mutex_lock(&s->lock);
    s->done += t->fact.bytes;
    s->plan->objects++;
    s->plan->bytes += t->fact.bytes;
    if (is_damage(rc))
        rc = pack_damaged(s, &t->fact, rc, rc == -ERR_OBJECT_MISSING ? "the object is not there" : e.text, &lost);
    else if (rc == -ERR_S3_ARCHIVED) {
        s->plan->archived++;
        rc = 0;
    } else if (rc < 0) {
        s->plan->unreadable++;
        rc = say(s, key, rc, e.text, false, &lost);
    }
    if (rc < 0 && lost.code && !s->failed.code) s->failed = lost;
    if (s->o->progress) s->o->progress(s->o->ctx, s->done, s->total);
    pthread_mutex_unlock(&s->lock);
    seam_free(t);
}

/* Every pack that the index or a live snapshot names, with its size and kind where these are known. */
static int packs_named(struct scan *s, struct pack_facts *ret, struct error *err) {
    struct repo *r = s->r;
    struct pack_facts stored = {0};
    int rc = index_packs(r, ret, err);
    if (rc == 0) rc = store_packs(r, &stored, err);
    size_t indexed = ret->n;
    for (size_t i = 0; i < r->state.snapshot_count && rc == 0; i++) {
        struct digests one;
        struct error e = ERROR_INIT;
        if (r->state.snapshots[i].forgotten) continue;
        int got = snapshot_packs(r, &r->state.snapshots[i], &one, &e);
        if (got < 0) {
            if (!is_damage(got)) {
                *err = e;
                rc = got;
            }
            continue; /* the list is a finding of its own */
        }
        for (size_t k = 0; k < one.n && rc == 0; k++) {
            struct pack_facts known = {.f = ret->f, .n = indexed};
            if (pack_fact_find(&known, &one.d[k])) continue;
            const struct pack_fact *f = pack_fact_find(&stored, &one.d[k]);
            struct pack_fact lost = {.name = one.d[k]};
            if ((rc = mem_grow((void **)&ret->f, &ret->cap, ret->n + 1, sizeof *ret->f, err)) == 0)
                ret->f[ret->n++] = f ? *f : lost;
        }
        digests_free(&one);
        if (ret->n > indexed) {
            qsort(ret->f, ret->n, sizeof *ret->f, digest_order); /* the name comes first in a fact */
            size_t w = 1;
            for (size_t k = 1; k < ret->n; k++)
                if (!digest_equal(&ret->f[k].name, &ret->f[w - 1].name)) ret->f[w++] = ret->f[k];
            ret->n = indexed = w;
        }
    }
    seam_free(stored.f);
    return rc;
}

static int packs_scan(struct scan *s, struct error *err) {
    struct pack_facts all = {0};
    struct pool *pool = NULL;
    int rc = packs_named(s, &all, err);
    for (size_t i = 0; i < all.n; i++) s->total += all.f[i].bytes;
    if (rc == 0) rc = pool_new(s->o->threads ? s->o->threads : thread_cpus(), 2, &pool, err);
    for (size_t i = 0; i < all.n && rc == 0; i++) {
        void *mem;
        if ((rc = stop_check(err)) < 0 || (rc = mem_alloc(sizeof(struct task), &mem, err)) < 0) break;
        struct task *t = mem;
        *t = (struct task){s, all.f[i]};
        pool_submit(pool, pack_scan, t);
    }
    if (pool) pool_drain(pool);
    pool_free(pool);
    seam_free(all.f);
    if (rc == 0 && s->failed.code) {
        *err = s->failed;
        rc = -(int)err->code;
    }
    if (s->plan->pack_count)
        qsort(s->plan->packs, s->plan->pack_count, sizeof *s->plan->packs, digest_order); /* its name comes first */
    return rc;
}

/* ---- everything else ---- */

static int run_scan(struct scan *s, const struct digest *name, struct error *err) {
    struct error e = ERROR_INIT;
    uint64_t n;
    uint32_t packs;
    uint8_t *body = NULL;
    size_t len;
    char key[96];
    run_key(name, key);
    int rc = run_read_body(s->r, name, RUN_TYPE_INDEX, &n, &packs, &body, &len, &e);
    seam_free(body);
    s->plan->objects++;
    if (rc == 0) return 0;
    if (!is_damage(rc)) {
        *err = e;
        return rc;
    }
    rc = say(s, key, rc, e.text, true, err);
    if (rc == 0)
        rc = mem_grow((void **)&s->plan->runs, &s->run_cap, s->plan->run_count + 1, sizeof *s->plan->runs, err);
    if (rc == 0) s->plan->runs[s->plan->run_count++] = *name;
    return rc;
}

static int epoch_scan(struct scan *s, unsigned epoch, struct error *err) {
    struct error e = ERROR_INIT;
    char key[96];
    run_key(&s->r->state.epochs[epoch - 1].keys, key);
    int rc = epoch_check(s->r, epoch, &e);
    s->plan->objects++;
    if (rc == 0) return 0;
    if (!is_damage(rc)) {
        *err = e;
        return rc;
    }
    s->plan->unmendable++;
    return say(s, key, rc, e.text, false, err);
}

static int list_scan(struct scan *s, bool of_snapshot, const struct digest *name, bool *ret_lost, struct error *err) {
    struct error e = ERROR_INIT;
    struct digest *packs = NULL;
    size_t n;
    char key[96];
    run_key(name, key);
    int rc = of_snapshot ? packlist_readable(s->r, name, &e) : packlist_read(s->r, name, &packs, &n, &e);
    seam_free(packs);
    s->plan->objects++;
    if (rc == 0) return 0;
    if (!is_damage(rc)) {
        *err = e;
        return rc;
    }
    *ret_lost = true;
    return say(s, key, rc, e.text, true, err);
}

static int collection_scan(struct scan *s, bool there, const struct digest *name, bool *ret_lost, struct error *err) {
    bool lost = false;
    int rc = there ? list_scan(s, false, name, &lost, err) : 0;
    if (rc < 0 || !lost) return rc;
    *ret_lost = true;
    rc = mem_grow((void **)&s->plan->lists_lost, &s->list_lost_cap, s->plan->list_lost_count + 1,
                  sizeof *s->plan->lists_lost, err);
    if (rc == 0) s->plan->lists_lost[s->plan->list_lost_count++] = *name;
    return rc;
}

/* Whether every list of a live snapshot can be read: parts that many share are read once. */
static bool lists_whole(struct scan *s) {
    struct nameset packs;
    struct digests parts = {0};
    struct error e = ERROR_INIT;
    const bool whole =
        packlist_union(s->r, NULL, NULL, NULL, &packs, &e) == 0 && packlist_live_parts(s->r, &parts, &e) == 0;
    s->plan->objects += parts.n;
    nameset_free(&packs);
    digests_free(&parts);
    return whole;
}

/* A snapshot needs a new list when its own is lost, and when what a collection did to it is. */
static int index_look(struct scan *s, struct error *err) {
    const struct state *st = &s->r->state;
    uint64_t blind = 0; /* snapshots whose lists are older than this entry cannot be followed */
    int rc = 0;
    for (size_t i = 0; i < st->run_count && rc == 0; i++)
        if (!state_epoch_object(st, &st->runs[i])) rc = run_scan(s, &st->runs[i], err);
    for (size_t i = 0; i < st->epoch_count && rc == 0; i++) rc = epoch_scan(s, (unsigned)i + 1, err);
    for (size_t i = 0; i < st->delete_count && rc == 0; i++) {
        const struct delete_info *d = &st->deletes[i];
        bool lost = false, swept = false;
        rc = collection_scan(s, d->has_packs, &d->packs, &lost, err);
        if (rc == 0) rc = collection_scan(s, d->has_replacement, &d->replaced_by, &lost, err);
        if (rc == 0) rc = collection_scan(s, d->has_swept, &d->swept, &swept, err);
        if (lost && d->has_replacement) blind = d->seq;
    }
    const bool whole = rc == 0 && lists_whole(s);
    for (size_t i = 0; i < st->snapshot_count && rc == 0; i++) {
        bool lost = st->snapshots[i].packs_seq < blind;
        if (st->snapshots[i].forgotten) continue;
        s->plan->objects += whole;
        if (!whole && (rc = list_scan(s, true, &st->snapshots[i].packs, &lost, err)) < 0) break;
        if (!lost) continue;
        rc = mem_grow((void **)&s->plan->lists, &s->list_cap, s->plan->list_count + 1, sizeof *s->plan->lists, err);
        if (rc == 0) s->plan->lists[s->plan->list_count++] = st->snapshots[i].seq;
    }
    return rc;
}

static int slot_scan(void *ctx, const struct store_object *o, struct error *err) {
    struct scan *s = ctx;
    struct error e = ERROR_INIT;
    struct digest d;
    const char *name = strrchr(o->key, '/');
    if (!name || !hex_decode(name + 1, strlen(name + 1), d.b, DIGEST_BYTES)) return 0;
    s->plan->objects++;
    int rc = object_check_name(s->r->store, o->key, o->bytes, &d, &e);
    if (rc == 0) return 0;
    if (!is_damage(rc)) {
        *err = e;
        return rc;
    }
    s->plan->unmendable++;
    return say(s, o->key, rc, e.text, false, err);
}

static int derived_see(void *ctx, const char *object, int code, const char *text, struct error *err) {
    struct scan *s = ctx;
    s->plan->derived++;
    return say(s, object, code, text, true, err);
}

static int summary_see(void *ctx, const char *object, int code, const char *text, struct error *err) {
    struct scan *s = ctx;
    unsigned long long size;
    if (sscanf(object, "summary/%16llu", &size) != 1) return say(s, object, code, text, false, err);
    int rc = mem_grow((void **)&s->plan->summaries, &s->summary_cap, s->plan->summary_count + 1,
                      sizeof *s->plan->summaries, err);
    if (rc == 0) s->plan->summaries[s->plan->summary_count++] = size;
    return rc < 0 ? rc : say(s, object, code, text, true, err);
}

/* The log as a whole reading of it says, and what is derived from it. */
static int log_scan(struct scan *s, struct error *err) {
    struct repo *r = s->r;
    struct ledger *l = NULL;
    struct summaries_check derived;
    char origin[64];
    repo_origin(r, origin);
    int rc = summaries_check_begin(r, &derived, err);
    if (rc == 0) rc = ledger_open(r->store, origin, NULL, summaries_judge, &derived, &l, err);
    if (rc == 0) rc = ledger_sync(l, err);
    if (rc == 0) rc = derived_check(l, &s->plan->objects, derived_see, s, err);
    if (rc == 0) rc = summaries_check_summaries(&derived, l, &s->plan->objects, summary_see, s, err);
    s->plan->objects += l ? ledger_size(l) : 0;
    ledger_close(l);
    summaries_check_free(&derived);
    return rc;
}

static void plan_digest(const struct repo *r, struct repair_plan *p) {
    struct sha256_state *sum = NULL;
    struct error e = ERROR_INIT;
    if (sha256_new(&sum, &e) < 0) return;
    sha256_update(sum, BYTES_OF(r->id, sizeof r->id));
    for (size_t i = 0; i < p->pack_count; i++) {
        uint8_t result = (uint8_t)p->packs[i].result;
        sha256_update(sum, BYTES_OF(p->packs[i].name.b, DIGEST_BYTES));
        sha256_update(sum, BYTES_OF(&result, 1));
    }
    for (size_t i = 0; i < p->run_count; i++) sha256_update(sum, BYTES_OF(p->runs[i].b, DIGEST_BYTES));
    for (size_t i = 0; i < p->summary_count; i++) sha256_update(sum, BYTES_OF(&p->summaries[i], 8));
    for (size_t i = 0; i < p->list_count; i++) sha256_update(sum, BYTES_OF(&p->lists[i], 8));
    for (size_t i = 0; i < p->list_lost_count; i++) sha256_update(sum, BYTES_OF(p->lists_lost[i].b, DIGEST_BYTES));
    sha256_update(sum, BYTES_OF(&p->derived, 8));
    sha256_finish(sum, &p->digest);
    sha256_free(sum);
}

static int may(const struct repo *r, struct error *err) {
    if (r->keys->role == ROLE_ADMIN) return 0;
    return error_set(err, ERR_KEY_ROLE, "a repair needs an admin key, and this one is a %s key",
                     key_role_name(r->keys->role));
}

static bool any_missing(const struct repair_plan *p) {
    for (size_t i = 0; i < p->pack_count; i++)
        if (p->packs[i].result == CHECK_MISSING) return true;
    return p->run_count > 0;
}

int repair_plan_make(struct repo *r, const struct repair_options *o, struct repair_plan *ret, struct error *err) {
    struct repair_plan p = {0};
    struct scan s = {.r = r, .o = o, .plan = &p};
    struct salvage v = {0};
    int rc = may(r, err);
    if (rc < 0) return rc;
    pthread_mutex_init(&s.lock, NULL);
    rc = log_scan(&s, err);
    if (rc == 0) rc = store_list(r->store, "keys/", slot_scan, &s, err);
    if (rc == 0) rc = index_look(&s, err);
    if (rc == 0) rc = packs_scan(&s, err);
    pthread_mutex_destroy(&s.lock);
    if (rc == 0 && any_missing(&p) && collected_meanwhile(r)) {
        rc = error_set(err, ERR_REPO_BUSY, "a collection removed objects while they were being looked at");
        (void)!error_state(err, "Nothing was changed.");
    }
    if (rc == 0) {
        rc = salvage_open(r, o, &p, false, &v, err);
        if (rc == 0) rc = salvage_packs(&v, err);
        /* what the index lacks is not lost before it was rebuilt */
        if (rc == 0 && !p.run_count) rc = salvage_harm(&v, &p.harmed, err);
        p.chunks_salvaged = v.salvaged;
        p.chunks_rescued = v.rescued_count;
        p.chunks_lost = v.lost;
        salvage_close(&v);
    }
    plan_digest(r, &p);
    if (rc < 0) {
        repair_plan_free(&p);
        return error_wrap(err, "looking for damage");
    }
    *ret = p;
    return 0;
}

/* ---- mending ---- */

static int busy(struct error *err) {
    error_clear(err);
    error_set(err, ERR_REPO_BUSY, "others committed to the log each of the %d times that the repair was about to",
              COMMITS_MAX);
    error_state(err, "no object was removed; what was salvaged is stored and will be found by the next repair");
    return error_next(err, "Run 'proofkeep repair' again when fewer jobs commit to this repository.");
}

static int taken(struct error *err) {
    error_set(err, ERR_REPO_BUSY, "a collection came in between, and may have taken what the repair had just stored");
    return error_next(err, "Run 'proofkeep repair' again when no prune of this repository runs.");
}

static int runs_mend(struct repo *r, const struct repair_plan *p, struct error *err) {
    struct digests known = {0}, added = {0}, none = {0}, lost = {0};
    int rc = 0;
    for (size_t i = 0; i < p->run_count && rc == 0; i++) rc = digests_add(&lost, &p->runs[i], err);
    lost.n = digest_sort_unique(lost.d, lost.n);
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        struct run_view v;
        if (digest_in(lost.d, lost.n, &r->index.names[i])) continue;
        if ((rc = index_scan(&r->index, i, false, &v, err)) < 0) break;
        for (uint32_t k = 0; k < v.pack_count && rc == 0; k++) {
            struct digest d;
            memcpy(d.b, v.packs + (size_t)k * RUN_PACK_BYTES, DIGEST_BYTES);
            rc = digests_add(&known, &d, err);
        }
        index_scan_end(&v);
    }
    known.n = digest_sort_unique(known.d, known.n);
    if (rc == 0) rc = index_rebuild(r, &known, &added, err);
    const size_t deletes = r->state.delete_count;
    for (int tries = 0; rc == 0; tries++) {
        rc = delete_append(r, ledger_size(r->ledger), &none, NULL, &added, &lost, &none, 0, NULL, err);
        if (rc != -ERR_REPO_COMMIT_LOST) break;
        if (tries == COMMITS_MAX) {
            rc = busy(err);
            break;
        }
        error_clear(err);
        rc = repo_sync(r, err);
        /* what was rebuilt may name what it took */
        if (rc == 0 && r->state.delete_count != deletes) rc = taken(err);
    }
    if (rc == 0) rc = repo_sync(r, err);
    digests_free(&known);
    digests_free(&added);
    digests_free(&lost);
    return rc < 0 ? error_wrap(err, "rebuilding the index") : 0;
}

static int none_taken(struct repo *r, bool has, const struct digest *list, const struct digests *fresh,
                      struct error *err) {
    struct digest *gone;
    size_t n;
    int rc = has ? packlist_read(r, list, &gone, &n, err) : 0;
    if (rc < 0 || !has) return rc;
    for (size_t k = 0; k < fresh->n && rc == 0; k++)
        if (digest_in(gone, n, &fresh->d[k])) rc = taken(err);
    seam_free(gone);
    return rc;
}

/* Whether a collection that came since has taken what was just stored, which no snapshot lists yet. */
static int still_there(struct repo *r, uint64_t since, const struct digests *fresh, const struct digests *new_runs,
                       struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < r->state.delete_count && rc == 0; i++) {
        const struct delete_info *d = &r->state.deletes[i];
        if (d->seq < since) continue;
        rc = none_taken(r, d->has_packs, &d->packs, fresh, err);
        if (rc == 0) rc = none_taken(r, d->has_swept, &d->swept, new_runs, err);
    }
    return rc;
}

static int packs_retire(struct repo *r, const struct digests *gone, const struct digests *fresh,
                        const struct digests *new_runs, uint64_t since, uint64_t bytes, struct error *err) {
    struct digests none = {0};
    int rc = 0;
    for (int tries = 0; rc == 0; tries++) {
        struct digests added = {0}, removed = {0};
        rc = repo_sync(r, err);
        if (rc == 0) rc = still_there(r, since, fresh, new_runs, err);
        for (size_t i = 0; i < new_runs->n && rc == 0; i++) rc = digests_add(&added, &new_runs->d[i], err);
        if (rc == 0) rc = runs_without(r, gone, &added, &removed, err);
        if (rc == 0)
            rc = delete_append(r, ledger_size(r->ledger), gone, fresh, &added, &removed, &none, bytes, NULL, err);
        digests_free(&added);
        digests_free(&removed);
        if (rc != -ERR_REPO_COMMIT_LOST) break;
        if (tries == COMMITS_MAX) return busy(err);
        error_clear(err);
        rc = 0;
    }
    return rc < 0 ? rc : repo_sync(r, err);
}

static int packs_mend(struct salvage *s, struct repair_result *ret, struct error *err) {
    struct repo *r = s->r;
    struct digests gone = {0}, fresh = {0}, runs = {0};
    uint64_t since = ledger_size(r->ledger), bytes = 0;
    int rc = salvage_packs(s, err);
    rc = moved_finish(s->w, rc, &fresh, &runs, &ret->bytes_new, err);
    for (size_t i = 0; i < s->plan->pack_count && rc == 0; i++) {
        rc = digests_add(&gone, &s->plan->packs[i].name, err);
        bytes += s->plan->packs[i].bytes;
    }
    if (rc == 0) rc = packs_retire(r, &gone, &fresh, &runs, since, bytes, err);
    for (size_t i = 0; i < s->plan->pack_count && rc == 0; i++) {
        const struct repair_pack *p = &s->plan->packs[i];
        struct error e = ERROR_INIT;
        char key[96];
        pack_key(p->meta, &p->name, key);
        if (store_remove(r->store, key, &e) < 0) ret->remains++;
        ret->packs_retired++;
    }
    ret->packs_new = fresh.n;
    ret->chunks_salvaged = s->salvaged;
    ret->chunks_rescued = s->rescued_count;
    ret->chunks_lost = s->lost;
    digests_free(&gone);
    digests_free(&fresh);
    digests_free(&runs);
    return rc < 0 ? error_wrap(err, "salvaging damaged packs") : 0;
}

static int record(struct repo *r, const struct repair_plan *p, const struct repair_result *d, const char *principal,
                  uint64_t at, const json_t *lists, const json_t *lost, int64_t started_ns, struct error *err) {
    char started[32], completed[32], hex[65];
    json_t *objects = json_array(), *s = NULL;
    time_format(started_ns, started);
    time_format(time_now_ns(), completed);
    int rc = objects ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    /* an entry is bounded: the first names stand for the rest */
    for (size_t i = 0; i < p->pack_count && i < 100 && rc == 0; i++) {
        char key[96];
        pack_key(p->packs[i].meta, &p->packs[i].name, key);
        rc = json_push(objects, json_string(key), err);
    }
    for (size_t i = 0; i < p->run_count && i < 100 && rc == 0; i++) {
        char key[96];
        run_key(&p->runs[i], key);
        rc = json_push(objects, json_string(key), err);
    }
    hex_encode(p->digest.b, DIGEST_BYTES, hex);
    json_t *predicate = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:O, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "plan", hex, "started_at", started,
        "completed_at", completed, "principal", principal, "objects", objects, "lists", lists, "lists_lost", lost,
        "packs_retired", (json_int_t)d->packs_retired, "packs_new", (json_int_t)d->packs_new, "runs_rebuilt",
        (json_int_t)d->runs_rebuilt, "derived", (json_int_t)d->derived, "chunks_salvaged",
        (json_int_t)d->chunks_salvaged, "chunks_rescued", (json_int_t)d->chunks_rescued, "chunks_lost",
        (json_int_t)d->chunks_lost, "remains", (json_int_t)d->remains, "snapshots_harmed", (json_int_t)d->harmed);
    if (rc == 0 && !predicate) rc = error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    if (rc == 0)
        rc = statement_make(PREDICATE_REPAIR, "damage", &p->digest, predicate, &s, err);
    else
        json_decref(predicate);
    if (rc == 0) rc = statement_append_at(r, at, s, err);
    json_decref(s);
    return rc;
}

/* Packs that hold a chunk of it or a base. */
struct marking {
    struct repo *r;
    uint8_t **used; /* a byte a pack, for each run */
};

static int mark_chunk(void *ctx, const uint8_t *id, struct error *err) {
    struct marking *m = ctx;
    struct copies at = {0};
    struct location l;
    (void)err;
    while (index_copy(&m->r->index, id, &at, &l)) m->used[l.run][l.pack] = 1;
    return 0;
}

static int marked_each(void *ctx, name_cb cb, void *cb_ctx, struct error *err) {
    const struct marking *m = ctx;
    const struct index *x = &m->r->index;
    int rc = 0;
    for (size_t i = 0; i < x->count && rc == 0; i++) {
        struct run_view v;
        if ((rc = index_scan(x, i, false, &v, err)) < 0) break;
        for (uint32_t k = 0; k < v.pack_count && rc == 0; k++)
            if (m->used[i][k]) rc = cb(cb_ctx, (const struct digest *)(v.packs + (size_t)k * RUN_PACK_BYTES), err);
        index_scan_end(&v);
    }
    return rc;
}

/* Where what lists the items is lost itself, every pack is named: too many packs kept are no loss. */
static int list_make(struct repo *r, const struct snapshot_info *info, struct digest *ret, struct error *err) {
    struct marking m = {.r = r};
    struct digests parts = {0};
    struct error e = ERROR_INIT;
    void *mem;
    int rc = mem_alloc((r->index.count + 1) * sizeof *m.used, &mem, err);
    if (rc < 0) return rc;
    m.used = mem;
    for (size_t i = 0; i < r->index.count && rc == 0; i++) {
        rc = mem_alloc(index_pack_count(&r->index, i) + 1u, &mem, err);
        if (rc == 0) m.used[i] = mem;
    }
    if (rc == 0) {
        int got = snapshot_chunk_ids(r, info, mark_chunk, &m, &e);
        for (size_t i = 0; i < r->index.count && is_damage(got); i++)
            memset(m.used[i], 1, index_pack_count(&r->index, i));
        if (got < 0 && !is_damage(got)) {
            *err = e;
            rc = got;
        }
    }
    if (rc == 0) rc = repo_index_whole(r, err);
    if (rc == 0) rc = packlist_make(r, marked_each, &m, &info->packs, ret, NULL, &parts, err);
    for (size_t i = 0; i < r->index.count; i++) seam_free(m.used[i]);
    seam_free(m.used);
    digests_free(&parts);
    return rc;
}

static const struct snapshot_info *live(const struct repo *r, uint64_t seq) {
    for (size_t i = 0; i < r->state.snapshot_count; i++)
        if (r->state.snapshots[i].seq == seq) return r->state.snapshots[i].forgotten ? NULL : &r->state.snapshots[i];
    return NULL;
}

#define LISTS_AN_ENTRY 300

/* The entry that says what was done, and gives the new lists; several of them for many lists. The last one lets go of
 * the lists of collections, once no snapshot needs them. */
static int conclude(struct repo *r, const struct repair_plan *p, struct repair_result *d, const char *principal,
                    int64_t started_ns, struct error *err) {
    size_t done = 0, lost_done = 0;
    int rc = 0, tries = 0;
    bool again;
    do {
        json_t *lists = json_array(), *lost = json_array();
        struct digest name;
        size_t to = done, lost_to = lost_done;
        rc = lists && lost ? repo_sync(r, err) : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
        uint64_t at = ledger_size(r->ledger);
        for (; to < p->list_count && to - done < LISTS_AN_ENTRY && rc == 0; to++) {
            const struct snapshot_info *info = live(r, p->lists[to]);
            if (!info) continue;
            rc = list_make(r, info, &name, err);
            if (rc == 0) rc = json_push(lists, json_pack("[I, o]", (json_int_t)p->lists[to], json_digest(&name)), err);
        }
        for (; to == p->list_count && lost_to < p->list_lost_count && lost_to - lost_done < LISTS_AN_ENTRY && rc == 0;
             lost_to++)
            rc = json_push(lost, json_digest(&p->lists_lost[lost_to]), err);
        if (rc == 0) rc = store_commit(r->store, err);
        if (rc == 0) rc = record(r, p, d, principal, at, lists, lost, started_ns, err);
        again = rc == -ERR_REPO_COMMIT_LOST;
        if (rc == 0) {
            done = to;
            lost_done = lost_to;
        } else if (again && tries++ < COMMITS_MAX) {
            error_clear(err);
            rc = 0;
        } else if (again)
            rc = busy(err);
        json_decref(lists);
        json_decref(lost);
    } while (rc == 0 && (again || done < p->list_count || lost_done < p->list_lost_count));
    d->lists_rebuilt = rc == 0 ? p->list_count : 0;
    return rc;
}

int repair_run(struct repo *r, const struct repair_options *o, const struct repair_plan *p, const char *principal,
               struct repair_result *ret, struct error *err) {
    struct salvage v = {0};
    int64_t started_ns = time_now_ns();
    *ret = (struct repair_result){0};
    int rc = may(r, err);
    if (rc == 0) rc = repo_writable(r, err);
    if (rc == 0 && p->derived)
        rc = ledger_mend_derived(r->ledger, secret_bytes(r->keys->sign_seed), &ret->derived, err);
    for (size_t i = 0; i < p->summary_count && rc == 0; i++) {
        rc = state_mend_summary(r, p->summaries[i], err);
        ret->derived += rc == 0;
    }
    if (rc == 0 && p->run_count) {
        rc = runs_mend(r, p, err);
        ret->runs_rebuilt = rc == 0 ? p->run_count : 0;
    }
    if (rc == 0) {
        rc = salvage_open(r, o, p, true, &v, err);
        if (rc == 0 && p->pack_count) rc = packs_mend(&v, ret, err);
        if (rc == 0) rc = salvage_harm(&v, &ret->harmed, err);
        salvage_close(&v);
    }
    if (rc == 0) rc = conclude(r, p, ret, principal, started_ns, err);
    return rc < 0 ? error_wrap(err, "repairing the repository") : 0;
}
