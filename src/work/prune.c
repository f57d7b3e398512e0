#include "work/prune.h"

#include "base/seam.h"
#include "base/time.h"
#include "platform/guard.h"
#include "platform/policy.h"
#include "repo/copy.h"
#include "work/counted.h"
#include "work/prune_sets.h"
#include "work/prune_wal.h"

#include <stdio.h>

void prune_plan_free(struct prune_plan *p) {
    for (size_t i = 0; i < p->count; i++) seam_free(p->list[i].points);
    seam_free(p->list);
    prune_wal_free(p);
    *p = (struct prune_plan){0};
}

static struct prune_surface *surface_find_in(struct prune_plan *p, const char *name) {
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->list[i].name, name) == 0) return &p->list[i];
    return NULL;
}

static int surfaces_collect(struct work *w, const struct selection *s, struct prune_plan *p, struct error *err) {
    size_t cap = 0;
    for (size_t i = 0; i < repo_snapshot_count(w->repo); i++) {
        const struct snapshot_info *n = repo_snapshot(w->repo, i);
        if (n->forgotten || strcmp(n->environment, p->environment) != 0 ||
            !selection_has(s, w->config, n->environment, n->surface) || surface_find_in(p, n->surface))
            continue;
        int rc = mem_grow((void **)&p->list, &cap, p->count + 1, sizeof *p->list, err);
        if (rc < 0) return rc;
        p->list[p->count] = (struct prune_surface){0};
        snprintf(p->list[p->count++].name, sizeof p->list->name, "%s", n->surface);
    }
    return 0;
}

/* Without a configuration, or for a surface that it does not have, there is no rule, and nothing is forgotten. */
static void rules_of(struct work *w, const struct prune_plan *p, const char *surface, struct retention_rules *ret) {
    const struct config_environment *e = w->config ? config_environment(w->config, p->environment) : NULL;
    const struct config_surface *s = w->config ? config_surface(w->config, surface) : NULL;
    struct policy policy = {0};
    if (e && s && config_environment_has(e, s)) policy_of(w->config, e, s, &policy);
    policy_retention(&policy, ret);
    for (size_t i = 0; i < repo_snapshot_count(w->repo); i++) {
        const struct snapshot_info *n = repo_snapshot(w->repo, i);
        if (n->forgotten && strcmp(n->environment, p->environment) == 0 && strcmp(n->surface, surface) == 0 &&
            n->forgotten_seq > ret->last_prune_seq)
            ret->last_prune_seq = n->forgotten_seq;
    }
}

static int surface_decide(struct work *w, const struct prune_plan *p, struct prune_surface *s, int64_t now_ns,
                          struct error *err) {
    struct retention_rules rules;
    const struct snapshot_info **points = NULL;
    struct retention_point *in = NULL;
    struct retention_verdict *out = NULL;
    size_t n = 0;
    void *mem;
    int rc = work_points(w, p->environment, s->name, &points, &n, err);
    if (rc == 0 && (rc = mem_alloc((n + 1) * sizeof *in, &mem, err)) == 0) in = mem;
    if (rc == 0 && (rc = mem_alloc((n + 1) * sizeof *out, &mem, err)) == 0) out = mem;
    if (rc == 0 && (rc = mem_alloc((n + 1) * sizeof *s->points, &mem, err)) == 0) s->points = mem;
    for (size_t i = 0; i < n && rc == 0; i++)
        in[i] = (struct retention_point){
            .seq = points[i]->seq,
            .time_ns = points[i]->stored_ns,
            .level = (unsigned)points[i]->verified,
            .bytes = points[i]->bytes,
            .items = points[i]->items,
            .held = points[i]->holds > 0 || copy_waits(w->repo, points[i]),
            .status = points[i]->before_restore                                           ? RETENTION_ASIDE
                      : points[i]->verify_failed                                          ? RETENTION_DAMAGED
                      : points[i]->complete && !repo_snapshot_suspect(w->repo, points[i]) ? RETENTION_WHOLE
                                                                                          : RETENTION_PARTIAL,
        };
    if (rc == 0) {
        rules_of(w, p, s->name, &rules);
        retention_decide(in, n, &rules, now_ns, out, &s->plan);
        for (size_t i = 0; i < n; i++) {
            struct prune_point *to = &s->points[i];
            *to = (struct prune_point){
                .seq = points[i]->seq, .time_ns = points[i]->stored_ns, .bytes = points[i]->bytes, .verdict = out[i]};
            to->proven = retention_proven(&in[i], &rules);
            snprintf(to->id, sizeof to->id, "%s", points[i]->id);
            if (!points[i]->holds && copy_waits(w->repo, points[i]))
                snprintf(to->verdict.reason, sizeof to->verdict.reason, "it waits to be forwarded to %.60s",
                         points[i]->fallback);
        }
        s->point_count = n;
    }
    seam_free(out);
    seam_free(in);
    seam_free(points);
    return rc;
}

static int digest_add(struct buf *b, const struct prune_surface *s, struct error *err) {
    int rc = buf_printf(b, err, "surface %s holds %u\n", s->name, s->plan.holds);
    for (size_t i = 0; i < s->point_count && rc == 0; i++)
        rc = buf_printf(b, err, "%llu %s\n", (unsigned long long)s->points[i].seq,
                        s->points[i].verdict.decision == RETENTION_FORGET     ? "forget"
                        : s->points[i].verdict.decision == RETENTION_DEFERRED ? "defer"
                                                                              : "keep");
    return rc;
}

/* What the plan promises, in one line each: the same lines, the same plan. Times and reasons are for people. */
static int plan_digest(struct prune_plan *p, struct error *err) {
    struct buf b = BUF_INIT(64u << 20);
    struct digest d;
    int rc = buf_printf(&b, err, "prune %s %s/%s at log %llu, collect only %d, grace %lld\n", p->repository,
                        p->environment, p->surfaces, (unsigned long long)p->log_size, p->options.collect_only,
                        (long long)p->options.grace_ns);
    for (size_t i = 0; i < p->count && rc == 0; i++) rc = digest_add(&b, &p->list[i], err);
    if (rc == 0) rc = prune_wal_digest(p, &b, err);
    if (rc == 0) {
        sha256(buf_bytes(&b), &d);
        hex_encode(d.b, sizeof d.b, p->digest);
        snprintf(p->id, sizeof p->id, "pln-%.12s", p->digest);
    }
    buf_free(&b);
    return rc;
}

static int names_join(const struct address *a, char *out, size_t cap, struct error *err) {
    size_t n = 0;
    if (a->all)
        n = (size_t)snprintf(out, cap, "all");
    else if (a->class)
        n = (size_t)snprintf(out, cap, "@%s",
                             a->class == CONFIG_CLASS_TRUTH     ? "truth"
                             : a->class == CONFIG_CLASS_RUNTIME ? "runtime"
                             : a->class == CONFIG_CLASS_CACHE   ? "cache"
                                                                : "config");
    for (size_t i = 0; i < a->surface_count && n < cap; i++)
        n += (size_t)snprintf(out + n, cap - n, "%s%s", i ? "," : "", a->surfaces[i]);
    return n < cap ? 0 : error_set(err, ERR_USAGE, "too many surfaces in one run; name fewer");
}

static void unused_look(struct work *w, struct prune_plan *p) {
    struct gc_options o = {.grace_ns = p->options.grace_ns, .now_ns = time_now_ns()};
    struct gc_plan g;
    struct error lost = ERROR_INIT;
    /* an estimate for people: a key that may not collect may still look at a plan */
    if (gc_plan_make(w->repo, &o, &g, &lost) < 0) return;
    p->unused_bytes = g.dead_bytes;
    p->unused_packs = g.dead_packs;
    p->unused_known = true;
    gc_plan_free(&g);
}

int prune_plan_make(struct work *w, const struct selection *s, const struct prune_options *o, struct prune_plan *ret,
                    struct error *err) {
    int64_t now_ns = time_now_ns();
    struct prune_plan p = {.options = *o};
    if (s->everything) return error_set(err, ERR_USAGE, "prune wants an environment");
    snprintf(p.environment, sizeof p.environment, "%s", s->address.environment);
    int rc = names_join(&s->address, p.surfaces, sizeof p.surfaces, err);
    if (rc == 0 && !w->options.repository) rc = selection_check(s, w, err);
    w->collecting = true;
    if (rc == 0) rc = work_open_repo(w, p.environment, err);
    if (rc == 0) rc = repo_sync_lately(w->repo, err);
    if (rc < 0) return rc;
    const struct config_environment *e = w->config ? config_environment(w->config, p.environment) : NULL;
    snprintf(p.repository, sizeof p.repository, "%s", repo_id_hex(w->repo));
    snprintf(p.url, sizeof p.url, "%s", w->url);
    p.log_size = ledger_size(repo_ledger(w->repo));
    p.protected = e && e->protected;
    if (p.protected) rc = guard_phrase(GUARD_PRUNE, p.environment, p.surfaces, NULL, p.phrase, err);
    if (rc == 0 && !o->collect_only) rc = surfaces_collect(w, s, &p, err);
    for (size_t i = 0; i < p.count && rc == 0; i++) rc = surface_decide(w, &p, &p.list[i], now_ns, err);
    if (rc == 0) rc = prune_sets_bind(w, &p, err);
    if (rc == 0) rc = prune_wal_plan(w, s, &p, err);
    if (rc == 0) rc = plan_digest(&p, err);
    if (rc < 0) {
        prune_plan_free(&p);
        return rc;
    }
    for (size_t i = 0; i < p.count; i++) {
        p.forgotten += p.list[i].plan.forgotten;
        p.forgotten_bytes += p.list[i].plan.forgotten_bytes;
    }
    if (o->estimate) unused_look(w, &p);
    *ret = p;
    return 0;
}

int prune_plan_check(const struct prune_plan *p, struct error *err) {
    char what[300];
    for (size_t i = 0; i < p->count; i++) {
        snprintf(what, sizeof what, "%s/%s", p->environment, p->list[i].name);
        int rc = retention_check(&p->list[i].plan, what, err);
        if (rc < 0) return rc;
    }
    return 0;
}

static int forget(struct work *w, const struct prune_plan *p, struct error *err) {
    uint64_t *seqs = NULL;
    size_t *sizes = NULL, n = 0, at = 0, all = 0;
    char reason[128];
    int rc = prune_sets_order(p, &seqs, &sizes, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) all += sizes[i];
    if (all) gc_expect(w->repo, seqs, all);
    snprintf(reason, sizeof reason, "retention, plan %s, by %.60s", p->id, w->principal);
    for (size_t i = 0; rc == 0 && i < n; at += sizes[i++]) rc = repo_forget(w->repo, seqs + at, sizes[i], reason, err);
    seam_free(sizes);
    seam_free(seqs);
    return rc;
}

static int collect(struct work *w, const struct prune_plan *p, struct prune_done *ret, struct error *err) {
    struct gc_options o = {.grace_ns = p->options.grace_ns, .now_ns = time_now_ns()};
    struct gc_plan done;
    const struct work_events *e = &w->options.events;
    if (repo_keys(w->repo)->read_secret) o.repack_below = PRUNE_REPACK_BELOW;
    if (e->progress) e->progress(e->ctx, "repository", "collect", 0, 0, 0, 0);
    int rc = gc_run(w->repo, &o, &done, err);
    if (rc < 0) return rc;
    ret->freed_packs = done.dead_packs + done.repack_packs;
    ret->freed_bytes = done.dead_bytes + done.repack_bytes;
    ret->repacked_packs = done.repack_packs;
    ret->repacked_bytes = done.repack_bytes;
    ret->repacked_live_bytes = done.repack_live_bytes;
    ret->young_bytes = done.young_bytes;
    ret->locked = done.locked;
    ret->locked_bytes = done.locked_bytes;
    ret->locked_until_ns = done.locked_until_ns;
    ret->freed_packs -= done.locked_packs;
    ret->freed_bytes -= done.locked_bytes;
    if (done.damaged && e->warning)
        e->warning(e->ctx, "repository",
                   "a recovery point lacks data, so packs were freed whole and none was rewritten: 'proofkeep repair' says more");
    gc_plan_free(&done);
    uint64_t pieces, bytes;
    rc = work_wal_collect(w, &pieces, &bytes, err);
    ret->freed_bytes += bytes;
    return rc < 0 ? rc : prune_wal_run(w, p, ret, err);
}

static int plan_same(struct work *w, const struct prune_plan *p, struct error *err) {
    struct selection s;
    struct prune_plan now = {0};
    struct prune_options o = p->options;
    o.estimate = false;
    char text[600];
    snprintf(text, sizeof text, "%s/%s", p->environment, p->surfaces);
    int rc = selection_parse(text, false, &s, err);
    if (rc == 0) rc = prune_plan_make(w, &s, &o, &now, err);
    if (rc == 0 && strcmp(now.digest, p->digest) != 0) {
        error_set(err, ERR_PLAN_STALE, "plan %s was made for log size %llu of repository %s; it is %llu of %s now%s",
                  p->id, (unsigned long long)p->log_size, p->repository, (unsigned long long)now.log_size,
                  now.repository, now.log_size == p->log_size ? ", and other points would go" : "");
        error_state(err, "nothing was removed");
        rc = error_next(err, "proofkeep prune %s/%s --dry-run", p->environment, p->surfaces);
    }
    prune_plan_free(&now);
    return rc;
}

static int role_check(const struct work *w, struct error *err) {
    enum key_role role = repo_keys(w->repo)->role;
    if (role == ROLE_ADMIN || role == ROLE_PRUNE) return 0;
    error_set(err, ERR_KEY_ROLE, "pruning needs a prune or admin key, and this one is a %s key", key_role_name(role));
    return error_state(err, "nothing was removed");
}

int prune_run(struct work *w, const struct prune_plan *p, const char *typed, struct prune_done *ret,
              struct error *err) {
    int64_t begun = time_monotonic_ns();
    char path[4300];
    *ret = (struct prune_done){0};
    int rc = prune_plan_check(p, err);
    w->collecting = true;
    if (rc == 0) rc = work_open_repo(w, p->environment, err);
    if (rc == 0) rc = role_check(w, err);
    if (rc < 0) return rc;
    const struct config_environment *e = w->config ? config_environment(w->config, p->environment) : NULL;
    if (e && (rc = guard_confirm(e, GUARD_PRUNE, p->surfaces, NULL, typed, err)) < 0) return rc;
    /* a collection marks anew whatever the log says by then, so what others commit makes no plan of it stale */
    if (!p->options.collect_only && (rc = plan_same(w, p, err)) < 0) return rc;
    if ((rc = forget(w, p, err)) < 0) return rc;
    ret->forgotten = p->forgotten;
    if ((rc = collect(w, p, ret, err)) < 0) {
        *err->state = '\0'; /* the collection does not know what was forgotten before it */
        return error_state(err, "%s %s forgotten; the space that was not freed is freed by the next run",
                           COUNTED(p->forgotten, "recovery point"), p->forgotten == 1 ? "was" : "were");
    }
    struct error lost = ERROR_INIT;
    if (repo_publish(w->repo, &lost) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, "repository", lost.text);
    snprintf(path, sizeof path, "%s/plans/%s.json", w->cache_dir, p->id);
    (void)seam_unlinkat(AT_FDCWD, path, 0);
    ret->duration_ns = time_monotonic_ns() - begun;
    return 0;
}
