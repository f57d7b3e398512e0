#include "work/status.h"

#include "base/seam.h"
#include "base/time.h"
#include "platform/policy.h"
#include "work/point.h"
#include "work/witnesses.h"

#include <stdio.h>
#include <stdlib.h>

const char *status_state_name(enum status_state s) {
    static const char *const names[] = {"unknown",  "breached", "no backup", "damaged",
                                        "unproven", "failed",   "no target", "good"};
    return names[s];
}

bool status_fails(enum status_state s) {
    return s <= STATUS_UNPROVEN;
}

struct run {
    struct work *w;
    const struct selection *s;
    struct status *st;
};

/* The worst state found first stays, with its reason. */
static void worsen(struct status_row *r, enum status_state state, const char *fmt, ...) PK_PRINTF(3, 4);
static void worsen(struct status_row *r, enum status_state state, const char *fmt, ...) {
    if (state >= r->state) return;
    r->state = state;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->why, sizeof r->why, fmt, ap);
    va_end(ap);
}

static void gather(const struct repo *repo, struct status_row *r) {
    for (size_t i = 0; i < repo_snapshot_count(repo); i++) {
        const struct snapshot_info *p = repo_snapshot(repo, i);
        if (strcmp(p->environment, r->environment) != 0 || strcmp(p->surface, r->surface) != 0) continue;
        if (!*r->kind) snprintf(r->kind, sizeof r->kind, "%s", p->kind);
        if (!p->forgotten) r->held += p->holds > 0;
        if (p->before_restore) continue;
        /* what was proven of a point that is gone by now was still proven */
        for (int l = VERIFY_PRESENT; l <= VERIFY_REBUILD; l++)
            for (int k = l; k <= VERIFY_REBUILD; k++)
                if (p->level_ns[k] > r->level_ns[l]) r->level_ns[l] = p->level_ns[k];
        if (p->restored_ns > r->restored_ns) {
            r->restored_ns = p->restored_ns;
            r->restore_took_ns = p->restore_took_ns;
        }
        if (p->completed_ns > r->attempt_ns) {
            r->attempt_ns = p->completed_ns;
            r->attempt_failed = !p->complete;
        }
        if (p->forgotten) continue;
        if (!p->complete || repo_snapshot_suspect(repo, p)) continue;
        if (p->is_copy && point_time(p) < r->good_time_ns) continue; /* it came late */
        snprintf(r->good_id, sizeof r->good_id, "%s", p->id);
        r->good_time_ns = point_time(p);
        r->good_started_ns = p->started_ns;
        r->good_completed_ns = p->completed_ns;
        r->good_bytes = p->bytes;
        r->good_stored_bytes = p->stored_bytes;
        r->good_seq = p->seq;
        if (p->verify_failed || p->verified < r->level_wanted) continue;
        snprintf(r->proven_id, sizeof r->proven_id, "%s", p->id);
        r->proven_time_ns = point_time(p);
        r->proven_at_ns = p->verified_ns;
        r->proven_level = p->verified;
    }
    for (size_t i = 0; i < repo_job_count(repo); i++) {
        const struct job_info *j = repo_job(repo, i);
        if (strcmp(j->environment, r->environment) != 0 || strcmp(j->surface, r->surface) != 0) continue;
        if (j->completed_ns < r->attempt_ns) continue;
        r->attempt_ns = j->completed_ns;
        r->attempt_failed = true;
    }
}

static bool newest_is_damaged(const struct repo *repo, const struct status_row *r) {
    for (size_t i = 0; i < repo_snapshot_count(repo); i++)
        if (repo_snapshot(repo, i)->seq == r->good_seq) return repo_snapshot(repo, i)->verify_failed;
    return false;
}

static void judge(const struct repo *repo, struct status_row *r, int64_t now_ns) {
    char age[32], limit[32];
    const struct config_duration *rpo = &r->rpo, *rto = &r->rto;
    const int64_t good_ns = status_stored_ns(r);
    duration_format(now_ns > good_ns ? now_ns - good_ns : 0, age); /* a server is asked after that */
    r->state = STATUS_GOOD;
    if (!r->good_time_ns && rpo->state != CONFIG_NONE && r->configured) {
        worsen(r, rpo->state == CONFIG_SET ? STATUS_BREACHED : STATUS_NO_BACKUP, "there is no whole backup");
    } else if (r->good_time_ns && rpo->state == CONFIG_SET && now_ns - good_ns > rpo->ns) {
        const bool wal = good_ns > r->good_time_ns, silent = r->wal.server == STATUS_SERVER_SILENT;
        duration_format(rpo->ns, limit);
        worsen(r, silent ? STATUS_UNKNOWN : STATUS_BREACHED, "the newest %s is %s old; the RPO is %s%s%s%s",
               wal ? "WAL" : "whole backup", age, limit,
               silent ? "; whether the server has written more is not known: " : "",
               !silent && *r->wal.server_why ? "; " : "", r->wal.server_why);
    }
    if (r->wal.broken)
        worsen(r, STATUS_BREACHED, "WAL from %s to %s, after the newest backup, is missing", r->wal.from, r->wal.to);
    if (rto->state == CONFIG_SET && r->restored_ns && r->restore_took_ns > rto->ns) {
        duration_format(r->restore_took_ns, age);
        duration_format(rto->ns, limit);
        worsen(r, STATUS_BREACHED, "the last proven restore took %s; the RTO is %s", age, limit);
    }
    if (r->good_time_ns && newest_is_damaged(repo, r))
        worsen(r, STATUS_DAMAGED, "the newest whole backup failed its verification");
    if (r->configured && r->good_time_ns && rpo->state != CONFIG_NONE) {
        if (!r->proven_time_ns)
            worsen(r, STATUS_UNPROVEN, "no backup is verified at '%s'", point_level(r->level_wanted));
        else if (rpo->state == CONFIG_SET && !r->wal.reaches && now_ns - r->proven_time_ns > rpo->ns)
            worsen(r, STATUS_UNPROVEN, "no backup within the RPO is verified at '%s'", point_level(r->level_wanted));
    }
    if (rto->state == CONFIG_SET && r->good_time_ns && !r->restored_ns)
        worsen(r, STATUS_UNPROVEN, "no restore was ever proven, so nothing says that the RTO can be kept");
    if (r->attempt_failed) worsen(r, STATUS_FAILED, "the last attempt failed or was partial");
    if (!r->configured)
        worsen(r, STATUS_NO_TARGET, "the configuration does not have it");
    else if (rpo->state == CONFIG_UNSET)
        worsen(r, STATUS_NO_TARGET, "no RPO is set");
}

static int row_new(struct run *run, struct status_row **ret, struct error *err) {
    struct status *st = run->st;
    int rc = mem_grow((void **)&st->rows, &st->row_cap, st->row_count + 1, sizeof *st->rows, err);
    if (rc < 0) return rc;
    *ret = &st->rows[st->row_count++];
    **ret = (struct status_row){.state = STATUS_GOOD, .level_wanted = VERIFY_CHECKSUM};
    return 0;
}

static int row_configured(struct run *run, const struct config_environment *e, const struct config_surface *s,
                          const char *repository, const struct error *failed, struct error *err) {
    struct status_row *r;
    struct policy p;
    int rc = row_new(run, &r, err);
    if (rc < 0) return rc;
    policy_of(run->w->config, e, s, &p);
    snprintf(r->environment, sizeof r->environment, "%s", e->head.name);
    snprintf(r->surface, sizeof r->surface, "%s", s->head.name);
    snprintf(r->kind, sizeof r->kind, "%s", config_kind_name(s));
    snprintf(r->repository, sizeof r->repository, "%s", repository);
    r->configured = true;
    r->protected = e->protected;
    r->rpo = p.rpo;
    r->rto = p.rto;
    if (p.verify != CONFIG_LEVEL_UNSET) r->level_wanted = (enum verify_level)p.verify;
    if (failed) {
        worsen(r, STATUS_UNKNOWN, "%.390s", failed->text);
        return 0;
    }
    gather(run->w->repo, r);
    struct error lost = ERROR_INIT;
    int seen = status_wal_look(run->w, r, &lost);
    judge(run->w->repo, r, run->st->now_ns);
    if (seen < 0) worsen(r, STATUS_UNKNOWN, "%.390s", lost.text);
    return 0;
}

static bool has_row(const struct status *st, size_t from, const char *environment, const char *surface) {
    for (size_t i = from; i < st->row_count; i++)
        if (strcmp(st->rows[i].environment, environment) == 0 && strcmp(st->rows[i].surface, surface) == 0) return true;
    return false;
}

/* What the repository has and the configuration does not. */
static int rows_left_over(struct run *run, size_t from, const char *repository, struct error *err) {
    const struct repo *repo = run->w->repo;
    for (size_t i = 0; i < repo_snapshot_count(repo); i++) {
        const struct snapshot_info *p = repo_snapshot(repo, i);
        struct status_row *r;
        if (p->forgotten || !selection_has(run->s, run->w->config, p->environment, p->surface) ||
            has_row(run->st, from, p->environment, p->surface))
            continue;
        int rc = row_new(run, &r, err);
        if (rc < 0) return rc;
        snprintf(r->environment, sizeof r->environment, "%s", p->environment);
        snprintf(r->surface, sizeof r->surface, "%s", p->surface);
        snprintf(r->repository, sizeof r->repository, "%s", repository);
        gather(repo, r);
        judge(repo, r, run->st->now_ns);
    }
    return 0;
}

static const char *repository_name(const struct work *w, const char *url) {
    for (size_t i = 0; w->config && i < w->config->repositories.count; i++)
        if (strcmp(w->config->repositories.items[i]->url, url) == 0) return w->config->repositories.items[i]->head.name;
    return NULL;
}

static int repository_new(struct status *st, const char *name, struct status_repository **ret, struct error *err) {
    int rc = mem_grow((void **)&st->repositories, &st->repository_cap, st->repository_count + 1,
                      sizeof *st->repositories, err);
    if (rc < 0) return rc;
    *ret = &st->repositories[st->repository_count];
    **ret = (struct status_repository){.entries = 0};
    snprintf((*ret)->name, sizeof (*ret)->name, "%s", name);
    return 0;
}

/* The log itself is what is wrong, and not a network or a key. */
static bool log_wrong(const struct error *e) {
    return e->code == ERR_LEDGER_BROKEN || e->code == ERR_LEDGER_ROLLBACK || e->code == ERR_LEDGER_WITNESS;
}

static int repository_add_inconsistent(struct run *run, const char *name, struct error *err) {
    struct status_repository *r;
    int rc = repository_new(run->st, name, &r, err);
    if (rc < 0) return rc;
    r->inconsistent = true;
    run->st->repository_count++;
    return 0;
}

static int repository_add(struct run *run, const char *name, struct error *err) {
    struct status *st = run->st;
    struct status_repository *r;
    uint64_t packs;
    int rc = repository_new(st, name, &r, err);
    if (rc < 0) return rc;
    r->entries = ledger_size(repo_ledger(run->w->repo));
    if (run->w->witnesses) {
        r->witnessed = true;
        r->silent = run->w->witnesses->silent;
        r->witness_ns = run->w->witnesses->last_s * NS_PER_S;
        witnesses_sentence(run->w->witnesses, st->now_ns, r->witness);
    }
    const struct drill_info *drill = repo_key_drill(run->w->repo);
    if (drill) {
        r->drilled_ns = drill->time_ns;
        r->drill_role = drill->role;
    }
    const struct work_events *events = &run->w->options.events;
    char seen[400];
    if (events->warning && work_sights(run->w, seen, sizeof seen)) events->warning(events->ctx, name, seen);
    if ((rc = coverage_sum_make(run->w->repo, &r->coverage, err)) < 0) return rc;
    if (!drift_last(run->w, &r->drift, &r->drift_ns)) r->drift_ns = 0;
    if ((rc = repo_totals(run->w->repo, &packs, &r->bytes, err)) == 0) st->repository_count++;
    return rc;
}

static int look(void *ctx, const char *url, const struct error *failed, struct error *err) {
    struct run *run = ctx;
    const struct config *c = run->w->config;
    const char *name = repository_name(run->w, url), *other;
    size_t from = run->st->row_count;
    int rc = 0;
    if (failed && run->st->unreachable.code == ERR_NONE) run->st->unreachable = *failed;
    if (!name) name = failed ? url : repo_id_hex(run->w->repo);
    for (size_t i = 0; c && i < c->environments.count && rc == 0; i++) {
        const struct config_environment *e = c->environments.items[i];
        struct error lost = ERROR_INIT;
        if (!selection_environment(run->s, e->head.name)) continue;
        if (work_repo_url(run->w, e->head.name, &other, &lost) < 0 || strcmp(other, url) != 0) continue;
        for (size_t k = 0; k < c->surfaces.count && rc == 0; k++)
            if (config_environment_has(e, c->surfaces.items[k]) &&
                selection_has(run->s, c, e->head.name, c->surfaces.items[k]->head.name))
                rc = row_configured(run, e, c->surfaces.items[k], name, failed, err);
    }
    if (rc == 0) rc = status_fallback_add(run->st, run->w, config_repository_at(c, url), err);
    if (failed && rc == 0 && log_wrong(failed)) return repository_add_inconsistent(run, name, err);
    if (failed || rc < 0) return rc;
    if ((rc = rows_left_over(run, from, name, err)) < 0) return rc;
    if ((rc = status_sets_add(run->st, run->w, run->s, name, err)) < 0) return rc;
    if ((rc = status_copies_add(run->st, run->w, name, err)) < 0) return rc;
    return repository_add(run, name, err);
}

static int by_state(const void *a, const void *b) {
    const struct status_row *x = a, *y = b;
    if (x->state != y->state) return x->state < y->state ? -1 : 1;
    int c = strcmp(x->environment, y->environment);
    return c ? c : strcmp(x->surface, y->surface);
}

int work_status(struct work *w, const struct selection *s, struct status *ret, struct error *err) {
    *ret = (struct status){.now_ns = time_now_ns()};
    struct run run = {w, s, ret};
    int rc = w->options.repository ? 0 : selection_check(s, w, err);
    if (rc == 0) rc = work_each_repository(w, s, look, &run, err);
    if (rc < 0) {
        status_free(ret);
        return rc;
    }
    if (ret->row_count) qsort(ret->rows, ret->row_count, sizeof *ret->rows, by_state);
    return 0;
}

void status_free(struct status *s) {
    seam_free(s->rows);
    seam_free(s->repositories);
    seam_free(s->copies);
    seam_free(s->fallbacks);
    seam_free(s->sets);
    *s = (struct status){0};
}

int status_check(const struct status *s, struct error *err) {
    char list[1200] = "";
    size_t n = 0, len = 0;
    for (size_t i = 0; i < s->row_count; i++) {
        const struct status_row *r = &s->rows[i];
        if (!status_fails(r->state)) continue;
        if (n++ < 5 && len < sizeof list)
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%.60s/%.60s %s %s: %.110s", len ? "; " : "",
                                    r->environment, r->surface, r->state == STATUS_NO_BACKUP ? "has" : "is",
                                    status_state_name(r->state), r->why);
    }
    for (size_t i = 0; i < s->set_count; i++) {
        const struct status_set *r = &s->sets[i];
        if (!status_fails(r->state)) continue;
        if (n++ < 5 && len < sizeof list)
            len += (size_t)snprintf(list + len, sizeof list - len, "%sthe set %.60s/%.60s %s %s: %.110s",
                                    len ? "; " : "", r->environment, r->set,
                                    r->state == STATUS_NO_BACKUP ? "has" : "is", status_state_name(r->state), r->why);
    }
    for (size_t i = 0; i < s->repository_count; i++) {
        const struct status_repository *r = &s->repositories[i];
        if (!r->silent) continue;
        if (n++ < 5 && len < sizeof list)
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%.60s: %.190s", len ? "; " : "", r->name, r->witness);
    }
    for (size_t i = 0; i < s->copy_count; i++) {
        const struct status_copy *c = &s->copies[i];
        if (!c->overdue) continue;
        if (n++ < 5 && len < sizeof list)
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%.60s: the offline copy %.60s %s",
                                    len ? "; " : "", c->repository, c->label,
                                    !c->told_ns        ? "was never written"
                                    : c->reread_failed ? "was damaged or another when it was last read"
                                                       : "is overdue for reading all of it again");
    }
    for (size_t i = 0; i < s->fallback_count; i++) {
        const struct status_fallback *f = &s->fallbacks[i];
        if (!status_fallback_fails(f)) continue;
        if (n++ < 5 && len < sizeof list && !f->waiting && f->wal)
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%.60s: %llu of its WAL objects %s in %.60s",
                                    len ? "; " : "", f->repository, (unsigned long long)f->wal,
                                    f->wal == 1 ? "waits" : "wait", f->name);
        else if (n <= 5 && len < sizeof list)
            len += f->waiting ? (size_t)snprintf(list + len, sizeof list - len,
                                                 "%s%.60s: %zu of its recovery points %s in %.60s", len ? "; " : "",
                                                 f->repository, f->waiting, f->waiting == 1 ? "waits" : "wait", f->name)
                              : (size_t)snprintf(list + len, sizeof list - len,
                                                 "%s%.60s: its fallback %.60s cannot be used: %.90s", len ? "; " : "",
                                                 f->repository, f->name, f->why);
    }
    if (n == 0) return 0;
    return error_set(err, ERR_TARGET_BREACHED, "%s%s", list, n > 5 ? "; and more" : "");
}
