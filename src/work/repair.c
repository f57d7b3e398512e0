#include "work/repair.h"

#include "base/seam.h"
#include "base/time.h"
#include "ledger/derived.h"
#include "platform/open_store.h"
#include "work/receipt.h"

#include <stdio.h>

static void progress(struct work *w, const char *phase, uint64_t done, uint64_t total) {
    const struct work_events *e = &w->options.events;
    if (e->progress) e->progress(e->ctx, "repository", phase, done, total, 0, 0);
}

/* ---- scrub ---- */

static int store_of(struct work *w, const char *environment, struct store **ret, struct error *err) {
    const char *url;
    int rc = work_repo_url(w, environment, &url, err);
    const struct config_environment *e = w->config && environment ? config_environment(w->config, environment) : NULL;
    if (rc == 0) rc = config_open_store(w->config, e, url, false, ret, err);
    return rc;
}

struct scrub_relay {
    struct scrub_options *o;
    struct work *w;
};

static void relay_progress(void *ctx, uint64_t done, uint64_t total) {
    progress(((struct scrub_relay *)ctx)->w, "scrub", done, total);
}

static int relay_finding(void *ctx, const char *object, enum check_result result, const char *text, struct error *err) {
    struct scrub_relay *r = ctx;
    return r->o->finding ? r->o->finding(r->o->ctx, object, result, text, err) : 0;
}

int scrub_run(struct work *w, const char *environment, struct scrub_options *o, struct scrub_totals *ret,
              struct error *err) {
    struct store *s = NULL;
    struct scrub_relay relay = {o, w};
    struct scrub_options inner = *o;
    inner.ctx = &relay;
    inner.progress = relay_progress;
    inner.finding = relay_finding;
    inner.threads = w->jobs;
    inner.cache_dir = w->cache_dir;
    int rc = store_of(w, environment, &s, err);
    if (rc == 0) rc = repo_scrub(s, &inner, ret, err);
    store_close(s);
    return rc;
}

/* ---- repair ---- */

struct repair_job {
    struct work *w, *from;
    const struct repair_request *q;
    struct repair_source *source;
    bool planning;
    uint64_t *harmed; /* by place in the log */
    json_t **paths;
    size_t n, cap, paths_cap;
    uint64_t recovered;
};

static int entry_recovered(void *ctx, const char *object, int code, const char *text, struct error *err) {
    struct repair_job *j = ctx;
    (void)code;
    (void)err;
    j->recovered++;
    if (j->q->finding) j->q->finding(j->q->ctx, object, CHECK_MISSING, text, true);
    return 0;
}

static int on_finding(void *ctx, const char *object, enum check_result result, const char *text, bool mends,
                      struct error *err) {
    struct repair_job *j = ctx;
    (void)err;
    if (j->q->finding) j->q->finding(j->q->ctx, object, result, text, mends);
    return 0;
}

static void on_progress(void *ctx, uint64_t done, uint64_t total) {
    struct repair_job *j = ctx;
    progress(j->w, j->planning ? "look" : "salvage", done, total);
}

static int on_harmed(void *ctx, const struct snapshot_info *s, const struct bytes *paths, size_t n, uint64_t total,
                     bool listless, struct error *err) {
    struct repair_job *j = ctx;
    json_t *names = json_array();
    int rc = names ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for paths");
    for (size_t i = 0; i < n && rc == 0; i++) rc = json_push(names, json_name(paths[i]), err);
    if (rc == 0 && j->q->harmed && (!j->planning || j->q->dry_run))
        j->q->harmed(j->q->ctx, s->id, names, total, listless);
    if (rc == 0 && !j->planning) {
        rc = mem_grow((void **)&j->harmed, &j->cap, j->n + 1, sizeof *j->harmed, err);
        if (rc == 0) rc = mem_grow((void **)&j->paths, &j->paths_cap, j->n + 1, sizeof *j->paths, err);
        if (rc == 0) {
            j->harmed[j->n] = s->seq;
            j->paths[j->n++] = json_incref(names);
        }
    }
    json_decref(names);
    return rc;
}

/* The same keys open it, as else its chunks would have other ids. Its log may be older than this repository's, so what
 * was seen of it is remembered apart. */
static int from_open(struct repair_job *j, struct error *err) {
    char cache[4300], hex[65];
    struct digest d;
    struct work_options o = j->w->options;
    if (!j->q->from) return 0;
    sha256(BYTES_STR(j->q->from), &d);
    hex_encode(d.b, DIGEST_BYTES, hex);
    snprintf(cache, sizeof cache, "%s/from-%.16s", j->w->cache_dir, hex);
    o.repository = j->q->from;
    o.cache_dir = cache;
    int rc = work_open(&o, &j->from, err);
    if (rc == 0) {
        j->from->mending = true; /* a copy need not be whole to help */
        rc = work_open_repo(j->from, NULL, err);
        j->from->options.cache_dir = NULL;
    }
    if (rc == 0) rc = repair_source_new(j->from->repo, &j->source, err);
    return rc < 0 ? error_wrap(err, "the other repository %s", j->q->from) : 0;
}

static int mark(struct repair_job *j, int64_t started_ns, uint64_t *ret, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < j->n && rc == 0; i++) {
        const struct snapshot_info *info = NULL;
        for (size_t k = 0; k < repo_snapshot_count(j->w->repo); k++)
            if (repo_snapshot(j->w->repo, k)->seq == j->harmed[i]) info = repo_snapshot(j->w->repo, k);
        if (!info || info->forgotten || info->verify_failed) continue;
        json_t *detail = json_array();
        const json_t *name;
        size_t at;
        json_array_foreach(j->paths[i], at, name) {
            if (at == 20 || rc < 0) break;
            rc = json_push(detail, json_pack("{s:s, s:O}", "invariant", "chunks", "lost", name), err);
        }
        if (rc == 0) rc = receipt_verification(j->w, info, VERIFY_CHECKSUM, false, started_ns, detail, NULL, err);
        *ret += rc == 0;
        json_decref(detail);
    }
    return rc;
}

static int plan_id(const struct repair_plan *p, const struct wal_repair *wal, char out[20], struct error *err) {
    char hex[65];
    struct digest d = p->digest;
    struct sha256_state *sum;
    if (wal->count) {
        int rc = sha256_new(&sum, err);
        if (rc < 0) return rc;
        sha256_update(sum, BYTES_OF(p->digest.b, DIGEST_BYTES));
        for (size_t i = 0; i < wal->count; i++)
            sha256_update(sum, BYTES_OF((const uint8_t *)wal->items[i].row.key, strlen(wal->items[i].row.key) + 1));
        sha256_finish(sum, &d);
        sha256_free(sum);
    }
    hex_encode(d.b, DIGEST_BYTES, hex);
    snprintf(out, 20, "rep-%.12s", hex);
    return 0;
}

static void wal_finding(void *ctx, const char *object, enum check_result result, const char *text, bool mends) {
    struct repair_job *j = ctx;
    if (j->q->finding) j->q->finding(j->q->ctx, object, result, text, mends);
}

static int log_first(struct repair_job *j, struct repair_done *ret, struct error *err) {
    struct store *s = NULL;
    int rc = store_of(j->w, j->q->environment, &s, err);
    if (rc == 0) rc = ledger_recover_entries(s, !j->q->dry_run, entry_recovered, j, &ret->entries_lost, err);
    store_close(s);
    ret->entries_recovered = j->recovered;
    if (rc == 0 && ret->entries_lost) {
        error_set(err, ERR_LEDGER_BROKEN, "%llu entries of the log are missing and no bundle has them",
                  (unsigned long long)ret->entries_lost);
        rc = error_next(err, "Copy the missing objects log/… from another copy of this repository, then repair again.");
    } else if (rc == 0 && j->recovered && j->q->dry_run) {
        error_set(err, ERR_LEDGER_BROKEN, "%llu entries of the log are missing; bundles have them",
                  (unsigned long long)j->recovered);
        error_state(err, "Nothing was changed, and without them nothing else can be looked at.");
        rc = error_next(err, "Run 'proofkeep repair' without --dry-run: it puts them back and goes on.");
    }
    return rc;
}

int work_repair(struct work *w, const struct repair_request *q, struct repair_done *ret, struct error *err) {
    struct repair_job j = {.w = w, .q = q, .planning = true};
    struct repair_plan p = {0};
    struct wal_repair wal = {0};
    int64_t started_ns = time_now_ns(), begun = time_monotonic_ns();
    *ret = (struct repair_done){0};
    w->mending = true;
    int rc = log_first(&j, ret, err);
    if (rc == 0) rc = work_open_repo(w, q->environment, err);
    if (rc == 0) rc = from_open(&j, err);
    struct repair_options o = {.threads = w->jobs,
                               .rescue = j.source ? repair_source_fetch : NULL,
                               .rescue_ctx = j.source,
                               .ctx = &j,
                               .progress = on_progress,
                               .finding = on_finding,
                               .harmed = on_harmed};
    if (rc == 0) rc = repair_plan_make(w->repo, &o, &p, err);
    if (rc == 0) rc = wal_repair_look(w, j.from, wal_finding, &j, &wal, err);
    if (rc == 0) rc = plan_id(&p, &wal, ret->plan, err);
    if (rc == 0) {
        ret->found = p;
        ret->found.packs = NULL;
        ret->found.runs = NULL;
        ret->found.summaries = NULL;
        ret->found.lists = NULL;
        ret->found.lists_lost = NULL;
        if (q->planned) q->planned(q->ctx, ret->plan, &p, &wal);
    }
    if (rc == 0 && q->plan && strcmp(q->plan, ret->plan) != 0) {
        error_set(err, ERR_PLAN_STALE, "plan %s is not what would be done now, which is %s", q->plan, ret->plan);
        error_state(err, "nothing was changed");
        rc = error_next(err, "proofkeep repair --dry-run");
    }
    j.planning = false;
    if (rc == 0 && !q->dry_run && (!repair_plan_empty(&p) || p.harmed)) {
        rc = repair_run(w->repo, &o, &p, w->principal, &ret->result, err);
        ret->acted = rc == 0;
        if (rc == 0) rc = repo_sync(w->repo, err);
        if (rc == 0) rc = mark(&j, started_ns, &ret->marked, err);
        struct error lost = ERROR_INIT;
        if (rc == 0 && repo_publish(w->repo, &lost) < 0 && w->options.events.warning)
            w->options.events.warning(w->options.events.ctx, "repository", lost.text);
    }
    if (rc == 0 && !q->dry_run && wal.mendable) {
        struct error lost = ERROR_INIT;
        rc = wal_repair_run(w, j.from, &wal, err);
        ret->acted |= wal.mended > 0;
        if (rc == 0 && repo_publish(w->repo, &lost) < 0 && w->options.events.warning)
            w->options.events.warning(w->options.events.ctx, "repository", lost.text);
    }
    ret->wal = wal;
    ret->wal.items = NULL;
    wal_repair_free(&wal);
    ret->duration_ns = time_monotonic_ns() - begun;
    for (size_t i = 0; i < j.n; i++) json_decref(j.paths[i]);
    seam_free(j.paths);
    seam_free(j.harmed);
    repair_plan_free(&p);
    repair_source_free(j.source);
    work_close(j.from);
    return rc;
}
