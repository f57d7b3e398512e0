#include "work/copy.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "evidence/copy.h"
#include "repo/wal_object.h"
#include "work/any_copy.h"
#include "work/counted.h"

#include <stdio.h>

#define TRIES 4        /* of one point, when collections come in between */
#define THREADS_MIN 4  /* a thread mostly waits for the stores */
#define THREADS_MAX 12 /* bounds memory */
#define REREAD_NS (90 * INT64_C(86400) * NS_PER_S) /* where the configuration does not say */

struct run {
    struct work *from, *to;
    const struct copy_request *q;
    struct copy_result *r;
    struct selection *selections;
    uint64_t *seqs;
    size_t count, cap;
    char label[260]; /* of the point at hand */
    uint64_t bytes;
};

static const struct snapshot_info *point_at(const struct repo *r, uint64_t seq) {
    for (size_t i = 0; i < repo_snapshot_count(r); i++)
        if (repo_snapshot(r, i)->seq == seq) return repo_snapshot(r, i)->forgotten ? NULL : repo_snapshot(r, i);
    return NULL;
}

static int choose(struct run *run, uint64_t seq, struct error *err) {
    int rc = mem_grow((void **)&run->seqs, &run->cap, run->count + 1, sizeof *run->seqs, err);
    if (rc == 0) run->seqs[run->count++] = seq;
    return rc;
}

static bool selected(const struct run *run, const struct snapshot_info *p) {
    for (size_t i = 0; i < run->q->count; i++) {
        const struct selection *s = &run->selections[i];
        if (s->address.point.kind == POINT_UNSAID && selection_has(s, run->from->config, p->environment, p->surface))
            return true;
    }
    return run->q->count == 0;
}

static int choose_set(struct run *run, const struct set_info *s, uint64_t **said, size_t *n, size_t *cap,
                      struct error *err) {
    if (set_members_left(run->from, s) != s->member_count)
        return error_set(err, ERR_NO_POINT, "%s has %zu of its %zu recovery points left, and is not whole any more",
                         s->id, set_members_left(run->from, s), s->member_count);
    int rc = mem_grow((void **)said, cap, *n + s->member_count + 1, sizeof **said, err);
    for (size_t i = 0; rc == 0 && i < s->member_count; i++) (*said)[(*n)++] = s->members[i];
    return rc;
}

static bool wal_wanted(void *ctx, const char *environment, const char *surface) {
    const struct run *run = ctx;
    for (size_t i = 0; i < run->q->count; i++) {
        const struct selection *s = &run->selections[i];
        if (s->address.point.kind == POINT_UNSAID && selection_has(s, run->from->config, environment, surface))
            return true;
    }
    return run->q->count == 0;
}

/* Every chosen point once, in the order of the log. */
static int choose_all(struct run *run, struct error *err) {
    const struct repo *r = run->from->repo;
    uint64_t *said = NULL;
    size_t n = 0, cap = 0;
    int rc = 0;
    for (size_t i = 0; i < run->q->count && rc == 0; i++) {
        const struct address *a = &run->selections[i].address;
        const struct snapshot_info *p;
        if (a->point.kind == POINT_UNSAID) continue;
        const struct set_info *set = NULL;
        rc = set_find(run->from, run->q->addresses[i], &set, err);
        if (rc == 0 && set) {
            if ((rc = choose_set(run, set, &said, &n, &cap, err)) == 0) continue;
            break;
        }
        if (rc == 0) rc = work_point_of(run->from, a->environment, a->surfaces[0], &a->point, &p, err);
        if (rc == 0) rc = mem_grow((void **)&said, &cap, n + 1, sizeof *said, err);
        if (rc == 0) said[n++] = p->seq;
    }
    for (size_t i = 0; i < repo_snapshot_count(r) && rc == 0; i++) {
        const struct snapshot_info *p = repo_snapshot(r, i);
        bool want = !p->forgotten && selected(run, p);
        for (size_t k = 0; k < n && !want; k++) want = said[k] == p->seq;
        if (run->q->forward) want = want && copy_waits(r, p) && strcmp(p->fallback, run->q->forward) == 0;
        if (want) rc = choose(run, p->seq, err);
    }
    seam_free(said);
    bool any = run->count > 0 || run->q->forward;
    for (size_t i = 0; i < wal_log_count(r) && !any; i++)
        any = wal_wanted(run, wal_log_batch(r, i)->environment, wal_log_batch(r, i)->surface);
    if (rc == 0 && !any) rc = error_set(err, ERR_NO_POINT, "nothing that is named has a recovery point or WAL to copy");
    return rc;
}

static int open_source(struct run *run, struct error *err) {
    char url[sizeof run->from->url];
    void *mem;
    int rc = mem_alloc((run->q->count + 1) * sizeof *run->selections, &mem, err);
    if (rc < 0) return rc;
    run->selections = mem;
    if (run->q->count == 0) return work_open_repo(run->from, NULL, err);
    for (size_t i = 0; i < run->q->count; i++) {
        if ((rc = selection_parse(run->q->addresses[i], true, &run->selections[i], err)) < 0) return rc;
        if ((rc = work_open_repo(run->from, run->selections[i].address.environment, err)) < 0) return rc;
        if (i && strcmp(url, run->from->url) != 0)
            return error_set(err, ERR_USAGE, "'%s' lies in another repository than '%s'; copy one repository at a time",
                             run->q->addresses[i], run->q->addresses[0]);
        snprintf(url, sizeof url, "%s", run->from->url);
    }
    return 0;
}

/* Its name in the configuration, else where it is, without what only tells how it is reached. */
static int label_make(struct run *run, struct error *err) {
    const struct config *c = run->to->config;
    const char *name = run->to->url;
    struct buf clean = BUF_INIT(8192);
    char place[4096];
    if (c && run->to->options.repository && config_repository(c, run->to->options.repository))
        name = run->to->options.repository;
    for (size_t i = 0; name == run->to->url && c && i < c->repositories.count; i++)
        if (strcmp(c->repositories.items[i]->url, run->to->url) == 0) name = c->repositories.items[i]->head.name;
    snprintf(place, sizeof place, "%.*s", (int)strcspn(name, "?"), name);
    int rc = redact_text(place, NULL, &clean, err);
    if (rc == 0) rc = buf_terminate(&clean, err);
    if (rc == 0) snprintf(run->r->label, sizeof run->r->label, "%.60s", (const char *)clean.ptr);
    buf_free(&clean);
    return rc;
}

static void progress(void *ctx, uint64_t read_bytes, uint64_t stored_bytes) {
    struct run *run = ctx;
    const struct work_events *e = &run->from->options.events;
    if (e->progress) e->progress(e->ctx, run->label, "copy", read_bytes, 0, stored_bytes, 0);
}

struct making {
    struct run *run;
    const struct snapshot_info *info;
    json_t *statement; /* the last one made */
};

static int build(void *ctx, const json_t *source, struct writer *w, const json_t *repository, const struct digest *kept,
                 json_t **ret, struct error *err) {
    struct making *m = ctx;
    struct redaction secrets = known_secrets_redaction(&m->run->to->known);
    struct receipt_artifact a;
    char uri[128];
    writer_artifact(w, &a.sha256, &a.bytes, uri);
    a.uri = uri;
    struct copied c = {.source = source,
                       .repository = repository,
                       .artifact = &a,
                       .source_repository = repo_id_hex(m->run->from->repo),
                       .source_seq = m->info->seq,
                       .source_entry = m->info->entry,
                       .kept = *kept,
                       .copied_ns = time_now_ns(),
                       .principal = m->run->to->principal};
    int rc = evidence_copied(&c, &secrets, ret, err);
    if (rc == 0) {
        json_decref(m->statement);
        m->statement = json_incref(*ret);
    }
    return rc;
}

/* What a collection moved in the source meanwhile is found by the log as it is then. */
static bool source_moved(struct run *run) {
    struct error e = ERROR_INIT;
    uint64_t before = ledger_size(repo_ledger(run->from->repo));
    return repo_sync(run->from->repo, &e) == 0 && ledger_size(repo_ledger(run->from->repo)) > before;
}

static int copy_one(struct run *run, uint64_t seq, struct copy_point *p, struct error *err) {
    struct copy_options o = {.threads = run->to->jobs < THREADS_MIN   ? THREADS_MIN
                                        : run->to->jobs > THREADS_MAX ? THREADS_MAX
                                                                      : run->to->jobs,
                             .ctx = run,
                             .progress = progress};
    struct digest entry;
    int rc = 0;
    for (int tries = 1; tries <= TRIES; tries++) {
        struct making m = {.run = run, .info = point_at(run->from->repo, seq)};
        struct copy_stats s;
        bool there;
        if (!m.info) return error_set(err, ERR_NO_POINT, "the recovery point was forgotten in the meantime");
        rc = copy_snapshot(run->from->repo, m.info, run->to->repo, &o, build, &m, &s, &p->seq, &entry, &there, err);
        p->stats.frames += s.frames;
        p->stats.frame_bytes += s.frame_bytes;
        p->stats.encoded_chunks += s.encoded_chunks;
        p->stats.read_bytes += s.read_bytes;
        p->stats.stored_bytes += s.stored_bytes;
        const struct work_events *e = &run->to->options.events;
        if (rc == 0 && !there && e->receipt)
            e->receipt(e->ctx, run->label, json_object_get(m.statement, "predicate"), p->seq, &entry);
        json_decref(m.statement);
        if (rc == 0) p->outcome = there ? COPY_THERE : COPY_DONE;
        if (rc == 0 || tries == TRIES) break;
        if (rc != -ERR_REPO_COMMIT_LOST && !(rc == -ERR_OBJECT_MISSING && source_moved(run))) break;
        error_clear(err);
    }
    return rc;
}

/* Named by itself, a point that the destination has forgotten is copied again; else that was its retention's will. */
static bool is_there(const struct run *run, const struct snapshot_info *info) {
    const struct snapshot_info *c = copy_find(run->from->repo, info, run->to->repo);
    return c && (!c->forgotten || selected(run, info));
}

static int point_run(struct run *run, uint64_t seq, copy_point_cb cb, void *ctx, struct error *err) {
    const struct snapshot_info *info = point_at(run->from->repo, seq);
    struct copy_result *r = run->r;
    struct error failure = ERROR_INIT;
    char id[SNAPSHOT_ID_MAX];
    int64_t begun = time_now_ns();
    int rc = 0;
    if (!info) return 0; /* forgotten meanwhile */
    struct copy_point p = {.id = id, .source_seq = seq, .bytes = info->bytes};
    snprintf(id, sizeof id, "%s", info->id);
    work_label(info, p.label);
    snprintf(run->label, sizeof run->label, "%s", p.label);
    if (is_there(run, info))
        p.outcome = COPY_THERE;
    else if (repo_snapshot_suspect(run->from->repo, info))
        p.outcome = COPY_SUSPECT;
    else if (run->q->dry_run)
        p.outcome = COPY_WOULD;
    else if ((rc = copy_one(run, seq, &p, &failure)) < 0)
        p.failure = &failure;
    p.duration_ns = time_now_ns() - begun;
    unsigned *counts[] = {&r->failed, &r->done, &r->there, &r->suspect, &r->would};
    ++*counts[p.outcome];
    if (p.outcome == COPY_DONE) r->bytes += p.bytes;
    r->stats.frames += p.stats.frames;
    r->stats.frame_bytes += p.stats.frame_bytes;
    r->stats.encoded_chunks += p.stats.encoded_chunks;
    r->stats.read_bytes += p.stats.read_bytes;
    r->stats.stored_bytes += p.stats.stored_bytes;
    if (rc < 0 && r->first.code == ERR_NONE) r->first = failure;
    int told = cb(ctx, &p, err);
    if (told != 0) return told;
    if (rc == 0 || error_info(rc)->status == EXIT_INTEGRITY) return 0;
    *err = failure;
    if (rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED)
        (void)!error_state(
            err, "recovery points copied so far are whole; of this one, what was stored is reused by the next run");
    return rc;
}

static int wal(struct run *run, struct error *err) {
    struct copy_result *r = run->r;
    int rc = copy_wal_run(run->from, run->to, wal_wanted, run, run->q->dry_run, &r->wal, err);
    if (rc < 0) return rc;
    r->stats.wal_newest = r->wal.newest;
    r->stats.wal_missing = r->wal.failed;
    return 0;
}

/* Of a fallback, when any of its WAL was stored in the place of the destination. */
static bool forwards_wal(struct run *run, int *rc, struct error *err) {
    uint64_t waits = 1;
    int64_t since;
    if (run->q->forward) *rc = wal_log_waiting(run->from->repo, run->q->forward, &waits, &since, err);
    return *rc == 0 && waits > 0;
}

static const struct copy_info *copy_known(const struct repo *from, const struct repo *to) {
    for (size_t i = 0; i < repo_copy_count(from); i++)
        if (memcmp(repo_copy(from, i)->repository, repo_keys(to)->repo_id, 16) == 0) return repo_copy(from, i);
    return NULL;
}

/* An entry a run would make a log of nothing; so only when there is news. */
static bool is_news(struct run *run) {
    const struct copy_info *c = copy_known(run->from->repo, run->to->repo);
    const struct repo *from = run->from->repo;
    if (run->r->reread.at_ns) return true;
    if (!c) return run->r->done || run->r->there || run->r->stats.wal_newest;
    if (run->r->stats.wal_newest > c->wal_newest ||
        (run->r->stats.wal_newest && run->r->stats.wal_missing != c->wal_missing))
        return true;
    for (size_t i = 0; i < repo_snapshot_count(from); i++) {
        const struct snapshot_info *s = repo_snapshot(from, i);
        bool told = s->seq <= c->newest;
        for (size_t k = 0; k < c->missing_count && told; k++) told = c->missing[k] != s->seq;
        if (!s->forgotten && !told && copy_find(from, s, run->to->repo)) return true;
    }
    return strcmp(c->label, run->r->label) != 0;
}

static int tell(struct run *run, struct error *err) {
    struct error e = ERROR_INIT;
    bool said = false;
    int rc = 0;
    if (is_news(run))
        rc = copy_tell(run->from->repo, run->to->repo, run->r->label, run->r->done, &run->r->stats, &run->r->reread,
                       run->from->principal, &said, err);
    if (rc < 0) return error_wrap(err, "telling the source's log of the copy");
    if (said) rc = repo_publish(run->from->repo, &e);
    if (rc == 0 && (run->r->done || run->r->sets.done || run->r->wal.objects)) rc = repo_publish(run->to->repo, &e);
    if (rc < 0 && run->from->options.events.warning)
        run->from->options.events.warning(run->from->options.events.ctx, "repository", e.text);
    const struct copy_info *c = copy_known(run->from->repo, run->to->repo);
    if (c) run->r->behind = repo_copy_lag(run->from->repo, c, NULL);
    if (c) run->r->wal_behind = repo_copy_wal_lag(run->from->repo, c, NULL);
    return 0;
}

/* ---- media that are attached at times ---- */

static const struct config_repository *offline_of(struct work *to) {
    const struct config_repository *c =
        to->config && to->options.repository ? config_repository(to->config, to->options.repository) : NULL;
    const char *url;
    struct error e = ERROR_INIT;
    if (!c && to->config && work_repo_url(to, NULL, &url, &e) == 0) c = config_repository_at(to->config, url);
    return c && c->offline ? c : NULL;
}

static int open_destination(struct run *run, struct error *err) {
    int rc = work_open_repo(run->to, NULL, err);
    const struct config_repository *c = offline_of(run->to);
    if (!c || !any_copy_due(rc)) return rc;
    error_clear(err);
    run->r->absent = true;
    snprintf(run->r->label, sizeof run->r->label, "%s", c->head.name);
    return 0;
}

/* By its name the log knows it. */
static int medium_check(struct run *run, struct error *err) {
    const struct repo *from = run->from->repo;
    for (size_t i = 0; offline_of(run->to) && i < repo_copy_count(from); i++) {
        const struct copy_info *c = repo_copy(from, i);
        char known[33];
        if (strcmp(c->label, run->r->label) != 0 ||
            memcmp(c->repository, repo_keys(run->to->repo)->repo_id, sizeof c->repository) == 0)
            continue;
        hex_encode(c->repository, sizeof c->repository, known);
        error_set(err, ERR_COPY_MEDIUM, "what is attached as %s is repository %s, and the log knows %s by that name",
                  run->r->label, repo_id_hex(run->to->repo), known);
        (void)!error_state(err, "nothing was copied");
        return error_next(err, "Attach the right medium; a new one gets a name of its own in the configuration.");
    }
    return 0;
}

struct reading {
    struct run *run;
    char first[300];
};

static int on_finding(void *ctx, const struct check_finding *f, struct error *err) {
    struct reading *r = ctx;
    (void)err;
    if (!*r->first) snprintf(r->first, sizeof r->first, "%.90s: %.200s", f->object, f->text);
    return 0;
}

static void on_read(void *ctx, uint64_t done, uint64_t total) {
    struct reading *r = ctx;
    const struct work_events *e = &r->run->from->options.events;
    if (e->progress) e->progress(e->ctx, r->run->r->label, "reading again", done, total, 0, 0);
}

/* Every object against its digest, and what should be there. */
static int reread(struct run *run, size_t lost, char first[300], struct error *err) {
    struct copy_reread *r = &run->r->reread;
    struct reading in = {.run = run};
    struct check_options o = {
        .level = VERIFY_CHECKSUM, .threads = run->to->jobs, .ctx = &in, .progress = on_read, .finding = on_finding};
    struct check_totals t;
    int rc = repo_check(run->to->repo, &o, &t, err);
    if (rc < 0) return error_wrap(err, "reading all of %s again", run->r->label);
    *r = (struct copy_reread){.at_ns = time_now_ns(),
                              .whole = t.result == CHECK_VERIFIED && lost == 0,
                              .objects = t.objects,
                              .bytes = t.bytes,
                              .findings = t.findings,
                              .lost = lost};
    snprintf(first, 300, "%s", in.first);
    return 0;
}

static int reread_judge(const struct run *run, const char *first, struct error *err) {
    const struct copy_reread *r = &run->r->reread;
    if (!r->at_ns || r->whole) return 0;
    if (r->lost)
        error_set(err, ERR_COPY_MEDIUM,
                  "%s has not got %s that the log says it had: it was rolled back, or is another%s%s", run->r->label,
                  COUNTED(r->lost, "recovery point"), *first ? "; " : "", first);
    else
        error_set(err, ERR_COPY_MEDIUM, "%s: %s; the first: %s", run->r->label,
                  COUNTED(r->findings, "object that is not what it was"), first);
    return error_state(err, "the source is untouched, and its log knows of this");
}

static void due_set(struct run *run) {
    const struct config_repository *c = offline_of(run->to);
    const struct copy_info *i = copy_known(run->from->repo, run->to->repo);
    if (c && i) run->r->reread_due_ns = copy_reread_due(c, i);
}

int64_t copy_reread_due(const struct config_repository *c, const struct copy_info *i) {
    int64_t every = c->reread.state == CONFIG_SET ? c->reread.ns : REREAD_NS;
    return (i->reread_ns ? i->reread_ns : i->first_ns) + every;
}

/* Into the epochs of the source, as the admin of the destination. */
static int follow(struct run *run, struct error *err) {
    const struct repo *from = run->from->repo;
    struct repo *to = run->to->repo;
    const struct work_events *e = &run->to->options.events;
    unsigned begun;
    char line[160];
    if (run->q->dry_run || repo_keys(to)->role != ROLE_ADMIN || !repo_keys(to)->shared_content ||
        repo_epoch(to) >= repo_epoch(from) || !repo_keys(from)->read_secret || !repo_shares_content(from, to))
        return 0;
    int rc = repo_epoch_follow(to, from, &begun, err);
    if (rc < 0) return rc;
    snprintf(line, sizeof line, "the copy has followed its source into epoch %u of its ids", repo_epoch(to));
    if (begun && e->warning) e->warning(e->ctx, "repository", line);
    return 0;
}

int work_copy(struct work *from, struct work *to, const struct copy_request *q, copy_point_cb cb, void *ctx,
              struct copy_result *ret, struct error *err) {
    struct run run = {.from = from, .to = to, .q = q, .r = ret};
    int64_t begun = time_now_ns();
    char first[300] = "";
    size_t lost = 0;
    *ret = (struct copy_result){0};
    int rc = open_source(&run, err);
    if (rc == 0) rc = open_destination(&run, err);
    if (rc < 0 || ret->absent) {
        seam_free(run.selections);
        return rc;
    }
    if (rc == 0) rc = follow(&run, err);
    if (rc == 0) rc = copy_check(from->repo, to->repo, err);
    if (rc == -ERR_COPY_FOREIGN) {
        (void)!error_state(err, "nothing was copied");
        (void)!error_next(err, "make a destination that does: proofkeep init --repository DEST --copy-of %.200s",
                          from->url);
    }
    if (rc == 0) rc = label_make(&run, err);
    if (rc == 0) rc = medium_check(&run, err);
    if (rc == 0) lost = copy_lost(from->repo, to->repo);
    if (rc == 0 && !q->none) rc = choose_all(&run, err);
    /* a set as soon as its last member is there, so that a long run leaves whole ones wherever it is cut off */
    for (size_t i = 0; i < run.count && rc == 0; i++) {
        if (!q->dry_run) rc = copy_sets_run(from, to, run.seqs[i], &ret->sets, err);
        if (rc == 0) rc = point_run(&run, run.seqs[i], cb, ctx, err);
    }
    if (rc == 0 && !q->none && !q->dry_run) rc = copy_sets_run(from, to, UINT64_MAX, &ret->sets, err);
    if (rc == 0 && !q->none && forwards_wal(&run, &rc, err)) rc = wal(&run, err);
    if (rc == 0 && q->reread && !q->dry_run) rc = reread(&run, lost, first, err);
    if (rc == 0 && !q->dry_run) rc = tell(&run, err);
    if (rc == 0) due_set(&run);
    if (rc == 0) rc = reread_judge(&run, first, err);
    ret->duration_ns = time_now_ns() - begun;
    seam_free(run.selections);
    seam_free(run.seqs);
    return rc;
}
