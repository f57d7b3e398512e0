#include "work/backup.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "work/claims.h"
#include "work/export.h"
#include "work/fallback.h"
#include "work/owed.h"
#include "work/own_keys.h"
#include "work/receipt.h"
#include "work/renew.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ATTEMPTS 4 /* times that a collection may take packs away before we give up */
#define RENEWED_AT_ONCE 2000 /* locks, after one backup */

int backup_adhoc_surface(const char *const *paths, size_t n, const char *name, struct work_surface *ret,
                         struct error *err) {
    *ret = (struct work_surface){.driver = &surface_files, .receipt_surface = surface_files.receipt_surface};
    snprintf(ret->environment, sizeof ret->environment, "%s", ADHOC_ENVIRONMENT);
    snprintf(ret->name, sizeof ret->name, "%s", name ? name : "files");
    if (!*ret->name || strpbrk(ret->name, "/@,") || strlen(ret->name) > 100)
        return error_set(err, ERR_USAGE, "'%s' cannot name a surface", ret->name);
    json_t *list = json_array();
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        char *real = realpath(paths[i], NULL);
        if (!real) {
            rc = error_set_errno(err, ERR_SOURCE_MISSING, "%s", paths[i]);
            break;
        }
        rc = json_push(list, json_name(BYTES_STR(real)), err);
        free(real); /* seam: allocated by realpath */
    }
    if (rc == 0 && !(ret->settings = json_pack("{s:O}", "paths", list)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory for settings");
    json_decref(list);
    return rc;
}

struct commit {
    struct work *work;
    const struct work_surface *surface;
    const struct job *job;
    struct writer *writer;
    bool complete;
    const char *why;
    json_t *statement; /* the last one built */
};

static int build(void *ctx, uint64_t seq, json_t **ret, struct error *err) {
    struct commit *c = ctx;
    (void)seq;
    int rc = receipt_success(c->work, c->surface, c->job, c->writer, c->complete, c->why, ret, err);
    if (rc == 0) {
        json_decref(c->statement);
        c->statement = json_incref(*ret);
    }
    return rc;
}

static int root_make(const struct work *w, const struct work_surface *s, const struct job *j,
                     const struct capture_result *cap, const struct work_bridge *b, json_t **ret, struct error *err) {
    char started[32];
    time_format(j->started_ns, started);
    json_t *r =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:O, s:O, s:O}", "backup_id", j->id, "environment",
                  s->environment, "surface", s->name, "kind", s->driver->kind, "method", cap->method, "consistency",
                  cap->consistency, "started_at", started, "principal", w->principal, "settings", s->settings, "facts",
                  cap->facts, "invariants", cap->invariants, "notes", b->notes);
    if (!r) return error_set(err, ERR_NO_MEMORY, "no memory for the snapshot's facts");
    *ret = r;
    return 0;
}

struct former {
    struct work *work;
    const struct work_surface *surface;
};

static json_t *former_facts(void *ctx) {
    const struct former *f = ctx;
    const struct snapshot_info *info = repo_latest(f->work->repo, f->surface->environment, f->surface->name);
    struct snapshot *s = NULL;
    struct error e = ERROR_INIT;
    if (!info || snapshot_open_sized(f->work->repo, info, 4u << 20, &s, &e) < 0) return NULL;
    json_t *facts = json_incref(json_object_get(snapshot_root(s), "facts"));
    snapshot_close(s);
    return facts;
}

struct capturing {
    struct repo *repo;
    const struct writer_options *options;
    const struct work_surface *surface;
    struct surface_context *ctx;
    struct work_bridge *bridge;
    struct work_sink sink;
    struct writer *writer; /* NULL: it could not be opened */
    struct capture_result result;
    int rc;
    struct error *err;
};

static int capture_here(struct capturing *c) {
    int rc = writer_open(c->repo, c->options, &c->writer, c->err);
    if (rc < 0) return rc;
    c->bridge->writer = c->writer;
    work_sink_init(&c->sink, c->writer);
    return c->surface->driver->capture(c->ctx, &c->sink.sink, &c->result, c->err);
}

static void *capture_run(void *arg) {
    struct capturing *c = arg;
    thread_give_way();
    c->rc = capture_here(c);
    return NULL;
}

/* In a thread of its own, which the driver's and the writer's come from: what hooks start later must not have its
 * priority. */
static int capture_beside(struct capturing *c, struct error *err) {
    pthread_t thread;
    session_give_way();
    int rc = thread_start(&thread, capture_run, c, err);
    if (rc == 0) {
        pthread_join(thread, NULL);
        rc = c->rc;
    }
    session_take_back();
    return rc;
}

static bool gives_way(const struct work_surface *s) {
    const struct config_surface *c = s->config_surface;
    return c && c->method == CONFIG_METHOD_PHYSICAL && c->priority != CONFIG_NORMAL;
}

/* *ret_elsewhere: what is out of reach is the surface, and not the repository. */
static int attempt(struct work *w, const struct work_surface *s, const struct backup_options *o, struct job *j,
                   struct backup_result *ret, bool *ret_elsewhere, struct error *err) {
    struct writer_options wo = {
        .environment = s->environment, .surface = s->name, .threads = w->jobs, .narrow = w->shared};
    struct writer *writer = NULL;
    struct work_bridge b;
    struct surface_context ctx;
    struct capture_result cap = {0};
    struct work_claims claims;
    struct own_keys keys = {0};
    json_t *root = NULL;
    struct digest entry;
    bool elsewhere = false;
    int rc = work_bridge_open(w, s, &b, &ctx, err);
    if (rc < 0) return rc;
    if ((rc = work_claims_open(w, s, j->id, &claims, err)) < 0) goto out;
    if ((rc = own_keys_find(w, &keys, err)) < 0) goto out;
    ctx.claims = &claims.table;
    ctx.keys = keys.list;
    ctx.key_count = keys.count;
    ctx.full_read = o->full_read;
    struct former former = {w, s};
    ctx.former_facts = former_facts;
    ctx.former_ctx = &former;
    struct capturing taking = {.repo = w->repo, .options = &wo, .surface = s, .ctx = &ctx, .bridge = &b, .err = err};
    rc = gives_way(s) ? capture_beside(&taking, err) : capture_here(&taking);
    writer = taking.writer;
    cap = taking.result;
    rc = known_secrets_error(&w->known, rc, err);
    if (rc < 0 && !writer) goto out;
    if (rc < 0) {
        elsewhere = repo_out_of_reach(rc) && !writer_failed(writer);
        if (rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED) {
            struct error e = ERROR_INIT;
            if (writer_checkpoint(writer, &e) == 0)
                (void)!error_state(err,
                                   "no snapshot was made; what was stored so far is kept and reused by the next run");
        }
        (void)!error_state(err, "no snapshot was made; earlier ones are untouched");
        goto out;
    }
    ret->complete = cap.unreadable == 0 && cap.changed == 0;
    ret->unreadable = cap.unreadable;
    ret->changed = cap.changed;
    ret->skipped = cap.skipped;
    snprintf(ret->method, sizeof ret->method, "%s", cap.method);
    snprintf(ret->consistency, sizeof ret->consistency, "%s", cap.consistency);
    j->method = cap.method;
    if ((rc = root_make(w, s, j, &cap, &b, &root, err)) < 0) goto out;
    if ((rc = writer_finish(writer, root, err)) < 0) {
        (void)!error_state(err, "no snapshot was made; earlier ones are untouched");
        goto out;
    }
    char why[700] = "";
    const char *outside = json_text(cap.facts, "outside", "");
    if (!ret->complete)
        snprintf(why, sizeof why, "partial: %llu unreadable, %llu changed while read%s",
                 (unsigned long long)cap.unreadable, (unsigned long long)cap.changed, *outside ? "; " : "");
    snprintf(why + strlen(why), sizeof why - strlen(why), "%.500s", outside);
    struct commit c = {w, s, j, writer, ret->complete, *why ? why : NULL, NULL};
    rc = writer_commit(writer, build, &c, &ret->seq, &entry, err);
    if (rc == 0) {
        ret->stored = true;
        const struct work_events *e = &w->options.events;
        if (e->receipt) e->receipt(e->ctx, b.label, json_object_get(c.statement, "predicate"), ret->seq, &entry);
    }
    json_decref(c.statement);
out:
    if (writer) writer_stats_get(writer, &ret->stats);
    ret->items = ret->stats.items;
    ret->bytes = ret->stats.bytes;
    json_decref(root);
    json_decref(cap.facts);
    json_decref(cap.invariants);
    writer_free(writer);
    own_keys_free(&keys);
    work_claims_close(&claims, rc == 0);
    struct error e = ERROR_INIT;
    *ret_elsewhere = elsewhere && repo_sync(w->repo, &e) == 0;
    work_bridge_close(&b);
    return rc;
}

static int dry_run(struct work *w, const struct work_surface *s, struct error *err) {
    struct work_bridge b;
    struct surface_context ctx;
    json_t *facts = NULL;
    int rc = work_bridge_open(w, s, &b, &ctx, err);
    if (rc == 0) rc = s->driver->probe(&ctx, &facts, err);
    if (rc == 0 && json_array_size(json_object_get(facts, "problems")) > 0) {
        const json_t *p = json_array_get(json_object_get(facts, "problems"), 0);
        rc = error_set(err, ERR_SOURCE_MISSING, "%s", json_string_value(json_object_get(p, "text")));
    }
    json_decref(facts);
    work_bridge_close(&b);
    return known_secrets_error(&w->known, rc, err);
}

/* Some of the locks that are due, so that no backup takes much longer for it. The backup stands whatever comes of it.
 */
static void renew_when_due(struct work *w, const char *label) {
    struct renew_options o = {.when_due = true, .objects_max = RENEWED_AT_ONCE};
    struct renew_totals t;
    struct error e = ERROR_INIT;
    char line[700];
    if (work_renew(w, &o, &t, &e) == 0) return;
    snprintf(line, sizeof line, "the locks of what is in use could not be made longer: %.600s", e.text);
    if (w->options.events.warning) w->options.events.warning(w->options.events.ctx, label, line);
}

/* Where this backup goes: ours, or by now the fallback. */
static int repository_open(struct work *w, const char *environment, struct work_fallback **ret, struct error *err) {
    if ((*ret = fallback_in_use(w, environment))) return 0;
    int rc = work_open_repo(w, environment, err);
    if (rc == 0) fallback_look(w, environment);
    if (!repo_out_of_reach(rc)) return rc;
    struct error why = *err;
    error_clear(err);
    rc = fallback_begin(w, environment, &why, ret, err);
    if (rc < 0 || *ret) return rc;
    *err = why;
    return -(int)why.code;
}

/* Of an attempt that failed because its repository went out of reach meanwhile. */
static struct work_fallback *fall_back(struct work *w, const char *environment, struct error *err) {
    struct work_fallback *f = NULL;
    struct error why = *err;
    error_clear(err);
    if (fallback_begin(w, environment, &why, &f, err) == 0 && !f) *err = why;
    return f;
}

static void fallback_note(const struct work_fallback *f, const json_t *said, struct job *j, struct backup_result *ret) {
    j->fallback = said;
    snprintf(ret->fallback, sizeof ret->fallback, "%s", f->name);
    snprintf(ret->fallback_of, sizeof ret->fallback_of, "%s", f->of);
    snprintf(ret->fallback_why, sizeof ret->fallback_why, "%s", json_string_value(json_object_get(said, "why")));
}

/* Leaves its receipt, or says why there is none; the cause stays what it is. */
static void failed(struct work *w, const struct work_surface *s, const struct job *j, const char *label,
                   const struct error *cause) {
    struct error e = ERROR_INIT;
    char line[700];
    if (receipt_failure(w, s, j, cause, &e) == 0 || !w->options.events.warning) return;
    snprintf(line, sizeof line, "the receipt of this failure is not in the log: %.300s%s%.255s", e.text,
             e.state[0] ? "; " : "", e.state);
    w->options.events.warning(w->options.events.ctx, label, line);
}

static int begin(struct job *j, const struct backup_options *o, struct error *err) {
    int rc = job_begin(j, "bkp", err);
    if (rc < 0) return rc;
    j->note = o->note;
    j->ticket = o->ticket;
    j->before_restore = o->before_restore;
    return 0;
}

int backup_surface(struct work *w, const struct work_surface *s, const struct backup_options *o,
                   struct backup_result *ret, struct error *err) {
    struct job j;
    *ret = (struct backup_result){0};
    snprintf(ret->label, sizeof ret->label, "%s/%s", s->environment, s->name);
    const char *environment = strcmp(s->environment, ADHOC_ENVIRONMENT) == 0 ? NULL : s->environment;
    struct work_fallback *fallback = NULL;
    struct work *at = w;
    bool elsewhere = false;
    json_auto_t *said = NULL;
    if (o->dry_run) return dry_run(w, s, err);
    int rc = begin(&j, o, err);
    if (rc < 0) return rc;
    if ((rc = repository_open(w, environment, &fallback, err)) < 0) {
        if (repo_out_of_reach(rc)) failed(w, s, &j, ret->label, err);
        return rc;
    }
    snprintf(ret->id, sizeof ret->id, "%s", j.id);
    for (int i = 1;; i++) {
        if (fallback && at == w) {
            at = fallback->at;
            rc = fallback_json(w, fallback, &said, err);
            if (rc < 0) return rc;
            fallback_note(fallback, said, &j, ret);
        }
        rc = attempt(at, s, o, &j, ret, &elsewhere, err);
        if (repo_out_of_reach(rc) && !elsewhere && !fallback && (fallback = fall_back(w, environment, err))) {
            /* whether the first was committed is not known, so this is another */
            if ((rc = begin(&j, o, err)) < 0) return rc;
            snprintf(ret->id, sizeof ret->id, "%s", j.id);
            continue;
        }
        if (rc != -ERR_REPO_COMMIT_LOST || i == ATTEMPTS) break;
        if (w->options.events.warning)
            w->options.events.warning(w->options.events.ctx, ret->label,
                                      "a collection removed data that this backup relied on; it is taken again");
        error_clear(err);
    }
    ret->duration_ns = time_now_ns() - j.started_ns;
    if (rc < 0) {
        failed(at, s, &j, ret->label, err);
        return rc;
    }
    struct error e = ERROR_INIT;
    if (repo_publish(at->repo, &e) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, ret->label, e.text);
    owed_pay(at, ret->label);
    renew_when_due(at, ret->label);
    if (o->export_dir) {
        const struct snapshot_info *info = repo_latest(at->repo, s->environment, s->name);
        char to[4096];
        snprintf(to, sizeof to, "%.3500s/%s-%s-%s", o->export_dir, s->environment, s->name, j.id);
        rc = export_snapshot(at, info, to, err);
    }
    return rc;
}
