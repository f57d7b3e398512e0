/* What of a repository is elsewhere: its copies, and what waits in its fallback. */
#include "repo/wal_object.h"
#include "work/status.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/beside.h"
#include "work/copy.h"

#include <stdio.h>

static int copy_new(struct status *st, const char *repository, const char *label, struct status_copy **ret,
                    struct error *err) {
    int rc = mem_grow((void **)&st->copies, &st->copy_cap, st->copy_count + 1, sizeof *st->copies, err);
    if (rc < 0) return rc;
    *ret = &st->copies[st->copy_count++];
    **ret = (struct status_copy){0};
    snprintf((*ret)->repository, sizeof(*ret)->repository, "%s", repository);
    snprintf((*ret)->label, sizeof(*ret)->label, "%s", label);
    return 0;
}

int status_copies_add(struct status *st, struct work *w, const char *name, struct error *err) {
    const struct repo *repo = w->repo;
    const struct config_repository *own = config_repository_at(w->config, w->url);
    struct status_copy *s;
    size_t from = st->copy_count;
    int rc = 0;
    for (size_t i = 0; i < repo_copy_count(repo) && rc == 0; i++) {
        const struct copy_info *c = repo_copy(repo, i);
        const struct config_repository *at = w->config ? config_repository(w->config, c->label) : NULL;
        if ((rc = copy_new(st, name, c->label, &s, err)) < 0) break;
        s->told_ns = c->time_ns;
        s->reread_ns = c->reread_ns;
        s->reread_failed = c->reread_failed;
        hex_encode(c->repository, sizeof c->repository, s->id);
        s->behind = repo_copy_lag(repo, c, &s->waiting_ns);
        int64_t wal_ns;
        s->wal_behind = repo_copy_wal_lag(repo, c, &wal_ns);
        if (s->wal_behind && (!s->behind || wal_ns < s->waiting_ns)) s->waiting_ns = wal_ns;
        if (!at || !at->offline) continue;
        s->offline = true;
        s->due_ns = copy_reread_due(at, c);
        s->overdue = s->reread_failed || s->due_ns < st->now_ns;
    }
    for (size_t i = 0; own && i < own->copies.count && rc == 0; i++) {
        const struct config_repository *at = config_repository(w->config, own->copies.items[i]);
        bool known = !at->offline;
        for (size_t k = from; k < st->copy_count && !known; k++)
            known = strcmp(st->copies[k].label, at->head.name) == 0;
        if (known) continue;
        if ((rc = copy_new(st, name, at->head.name, &s, err)) < 0) break;
        s->offline = s->overdue = true; /* never written */
        for (size_t k = 0; k < repo_snapshot_count(repo); k++) {
            const struct snapshot_info *p = repo_snapshot(repo, k);
            if (p->forgotten || repo_snapshot_suspect(repo, p)) continue;
            if (!s->behind++) s->waiting_ns = p->stored_ns;
        }
    }
    return rc;
}

int status_fallback_add(struct status *st, struct work *w, const struct config_repository *c, struct error *err) {
    struct work *at = NULL;
    struct error e = ERROR_INIT;
    int64_t since = 0;
    if (!c || !c->fallback) return 0;
    int rc = mem_grow((void **)&st->fallbacks, &st->fallback_cap, st->fallback_count + 1, sizeof *st->fallbacks, err);
    if (rc < 0) return rc;
    struct status_fallback *f = &st->fallbacks[st->fallback_count++];
    *f = (struct status_fallback){0};
    snprintf(f->repository, sizeof f->repository, "%s", c->head.name);
    snprintf(f->name, sizeof f->name, "%s", c->fallback);
    if (beside_open(w, c->fallback, NULL, &at, &e) < 0)
        snprintf(f->why, sizeof f->why, "%.390s", e.text);
    else
        f->waiting = copy_waiting(at->repo, c->head.name, &f->since_ns);
    if (at && wal_log_waiting(at->repo, c->head.name, &f->wal, &since, &e) < 0)
        snprintf(f->why, sizeof f->why, "%.390s", e.text);
    if (f->wal && (!f->waiting || since < f->since_ns)) f->since_ns = since;
    work_close(at);
    return 0;
}

bool status_fallback_fails(const struct status_fallback *f) {
    return f->waiting > 0 || f->wal > 0 || *f->why;
}
