#include "work/cutover_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "work/hook.h"
#include "work/pitr_reach.h"

#include <stdio.h>

#define POLL_NS (500 * 1000000LL)
#define WATCH_EVERY_NS (2 * NS_PER_S)
#define WATCH_SHOWN 10

static bool freeze_is(const struct cut *k, const char *what) {
    return !strcmp(json_text(k->p->doc, "freeze", ""), what);
}

static int64_t ns_of(const struct cut *k, const char *key) {
    return json_integer_value(json_object_get(k->p->doc, key)) * 1000000;
}

/* Ended by a stop of ours. */
static int pause_for(int64_t ns, struct error *err) {
    const int64_t until = time_monotonic_ns() + ns;
    int rc = 0;
    while (rc == 0 && time_monotonic_ns() < until) {
        (void)!seam_poll(NULL, 0, 100);
        rc = stop_check(err);
    }
    return rc;
}

/* ---- hooks ---- */

static int hook(struct cut *k, const char *name, struct error *err) {
    const json_t *old = json_object_get(k->ctx.settings, "connect"), *connection = journal_kept(&k->j, "connection");
    json_t *o = json_object_get(old, "host"), *port = json_object_get(old, "port");
    json_t *facts = json_pack("{s:s, s:s, s:s, s:O?, s:{s:O?, s:O?}}", "plan", k->p->id, "snapshot", k->p->snapshot_id,
                              "folder", k->start.folder, "connection", connection, "old", "host", o, "port", port);
    if (!facts) return error_set(err, ERR_NO_MEMORY, "no memory for what a hook is told");
    int rc = k->ctx.hook(k->ctx.hook_ctx, name, "cutover", facts, err);
    json_decref(facts);
    return rc == 1 ? error_set(err, ERR_CUTOVER_UNFIT, "the configuration has no hooks.%s any more", name) : rc;
}

static int step_standby(struct cut *k, json_t **ret, struct error *err) {
    (void)ret;
    return hook(k, "standby", err);
}

static int step_live(struct cut *k, json_t **ret, struct error *err) {
    (void)ret;
    return hook(k, "live", err);
}

static int step_resume(struct cut *k, json_t **ret, struct error *err) {
    (void)ret;
    return hook(k, "resume", err);
}

/* ---- the old server ---- */

static int step_freeze(struct cut *k, json_t **ret, struct error *err) {
    struct cutover_freeze how = {.wait_ns = ns_of(k, "wait_ms"),
                                 .terminate = json_is_true(json_object_get(k->p->doc, "terminate_connections"))};
    if (freeze_is(k, "hook")) return hook(k, "freeze", err);
    json_t *before = NULL;
    /* What an interrupted run found is what was; now there is what that run may have set. */
    if (!k->was_begun || !journal_kept(&k->j, "before_freeze")) {
        int rc = k->driver->before_freeze(&k->ctx, &before, err);
        if (rc == 0) rc = journal_keep(&k->j, "before_freeze", before, err);
        if (rc < 0) return rc;
    }
    how.before = journal_kept(&k->j, "before_freeze");
    return k->driver->freeze(&k->ctx, &how, ret, err);
}

/* Wait until what leads there is stored: a copy that is recovered to the end then has all that was acknowledged. */
static int stored(struct cut *k, const char *lsn, struct error *err) {
    const int64_t until = time_monotonic_ns() + ns_of(k, "wait_ms");
    const json_t *recovery = json_object_get(json_object_get(k->p->doc, "restore"), "recovery");
    const struct restore_recovery q = {.lsn = lsn,
                                       .timeline = json_string_value(json_object_get(recovery, "timeline"))};
    for (;;) {
        struct error why = ERROR_INIT;
        json_t *reach = NULL;
        const struct snapshot_info *info = repo_snapshot_at(k->w->repo, k->p->seq);
        int rc = info ? pitr_reach(k->w, info, k->facts, &q, &reach, &why)
                      : error_set(&why, ERR_PLAN_STALE, "the recovery point is not there any more");
        json_decref(reach);
        if (rc == 0) return 0;
        if (rc != -ERR_PG_TARGET || time_monotonic_ns() > until) {
            *err = why;
            error_wrap(err, "the last WAL, up to %s, is not stored", lsn);
            return rc == -ERR_PG_TARGET ? error_next(err, "See that the server archives, or wait longer with --wait.")
                                        : rc;
        }
        if ((rc = pause_for(POLL_NS, err)) < 0) return rc;
    }
}

static int step_last_wal(struct cut *k, json_t **ret, struct error *err) {
    json_t *last = NULL;
    int rc = k->driver->last_wal(&k->ctx, &last, err);
    if (rc == 0) rc = journal_keep(&k->j, "last", json_incref(last), err);
    if (rc == 0) rc = stored(k, json_text(last, "lsn", ""), err);
    if (rc == 0)
        *ret = last;
    else
        json_decref(last);
    return rc;
}

/* ---- the new one ---- */

static bool restored_before(const struct cut *k) {
    char path[4200];
    struct stat st;
    snprintf(path, sizeof path, "%.4000s/global/pg_control", k->start.folder);
    return k->was_begun && seam_fstatat(AT_FDCWD, path, &st, 0) == 0;
}

static int step_restore(struct cut *k, json_t **ret, struct error *err) {
    struct restore_plan copy = {0};
    struct restore_done done = {0};
    if (restored_before(k)) return 0; /* its name is given last */
    int rc = restore_plan_load(k->w, json_text(json_object_get(k->p->doc, "restore"), "id", ""), &copy, err);
    if (rc == 0) rc = restore_run(k->w, &copy, k->confirm, &done, err);
    if (rc == 0)
        *ret = json_pack("{s:I, s:I, s:s}", "items", (json_int_t)done.items, "bytes", (json_int_t)done.bytes, "folder",
                         done.target);
    json_decref(done.facts);
    restore_plan_free(&copy);
    return rc;
}

static int step_start(struct cut *k, json_t **ret, struct error *err) {
    (void)ret;
    int rc = k->driver->ready(&k->ctx, &k->start, err);
    return rc == 0 ? k->driver->start(&k->ctx, &k->start, err) : rc;
}

static int step_recover(struct cut *k, json_t **ret, struct error *err) {
    json_t *connection = NULL;
    int rc = k->was_begun ? k->driver->start(&k->ctx, &k->start, err) : 0; /* it may have gone with the host */
    if (rc == 0) rc = k->driver->wait(&k->ctx, &k->start, &connection, err);
    if (rc < 0) return rc;
    if ((rc = journal_keep(&k->j, "connection", json_incref(connection), err)) < 0)
        json_decref(connection);
    else
        *ret = connection;
    return rc;
}

/* ---- checks ---- */

static int smoke_tests(struct cut *k, json_t *list, struct error *err) {
    const struct config_surface *s = k->surface.config_surface;
    size_t n = s && s->hooks ? s->hooks->checks.count : 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const struct config_hook *h = s->hooks->checks.items[i];
        json_t *facts = json_pack("{s:s, s:O?}", "plan", k->p->id, "connection", journal_kept(&k->j, "connection"));
        const struct hook_event event = {
            .hook = h->head.name, .surface = s->head.name, .action = "cutover", .facts = facts};
        struct error why = ERROR_INIT;
        rc = hook_run(k->w, k->surface.config_environment, h, &event, NULL, &why);
        json_decref(facts);
        if (rc < 0 && rc != -ERR_HOOK && rc != -ERR_HOOK_TIME) {
            *err = why;
            return rc;
        }
        char name[160];
        snprintf(name, sizeof name, "hook %.140s", h->head.name);
        rc = json_push(list,
                       json_pack("{s:s, s:s, s:s}", "name", name, "result", rc == 0 ? "passed" : "failed", "detail",
                                 rc == 0 ? "it says that all is well" : why.text),
                       err);
    }
    return rc;
}

static bool accepted(const struct cut *k, const char *name) {
    const json_t *a;
    size_t i;
    json_array_foreach(json_object_get(k->p->doc, "accept"), i,
                       a) if (json_is_string(a) && !strcmp(json_string_value(a), name)) return true;
    return false;
}

static int judge(const struct cut *k, const json_t *list, struct error *err) {
    const json_t *one, *first = NULL;
    size_t i;
    unsigned failed = 0;
    json_array_foreach(list, i, one) {
        if (strcmp(json_text(one, "result", ""), "failed") != 0 || accepted(k, json_text(one, "name", ""))) continue;
        if (!failed++) first = one;
    }
    if (!failed) return 0;
    return error_set(err, ERR_CUTOVER_CHECK, "%s: %s%s", json_text(first, "name", ""), json_text(first, "detail", ""),
                     failed > 1 ? ", and more" : "");
}

static int step_checks(struct cut *k, json_t **ret, struct error *err) {
    static const char *const words[] = {"installed", "install", "none"};
    const json_t *last = journal_kept(&k->j, "last");
    struct cutover_check q = {.connection = journal_kept(&k->j, "connection"),
                              .facts = k->facts,
                              .same_as_live = last != NULL,
                              .reach = last ? json_text(last, "lsn", "") : NULL};
    json_t *list = NULL;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i], json_text(k->p->doc, "amcheck", ""))) q.amcheck = (enum cutover_amcheck)i;
    int rc = k->driver->check(&k->ctx, &q, &list, err);
    if (rc == 0) rc = smoke_tests(k, list, err);
    if (rc == 0) rc = judge(k, list, err);
    if (list) *ret = json_pack("{s:o}", "checks", list);
    return rc;
}

/* ---- taking over ---- */

/* Called in a run that did not live to see its end. */
#define UNKNOWN "switch_unknown"

bool cut_switch_unknown(const struct cut *k) {
    if (k->refused || k->led) return false;
    return k->stopped || journal_kept(&k->j, UNKNOWN) ||
           (journal_state_of(&k->j, "switch") == STEP_BEGUN && journal_kept(&k->j, "switch_called"));
}

static int step_switch(struct cut *k, json_t **ret, struct error *err) {
    const json_t *last = journal_kept(&k->j, "last");
    struct error why = ERROR_INIT;
    int rc = 0;
    /* Once the hook was called it may have done its work: what is written now may be to the new server. */
    const bool called = journal_kept(&k->j, UNKNOWN) || (k->was_begun && journal_kept(&k->j, "switch_called"));
    if (called && !journal_kept(&k->j, UNKNOWN) && (rc = journal_keep(&k->j, UNKNOWN, json_true(), err)) < 0) return rc;
    if (last && !called) rc = k->driver->quiet(&k->ctx, last, freeze_is(k, "read-only"), &why);
    /* A hook freezes in its own way; autovacuum, which goes on then, is not told from others. */
    if (rc < 0 && freeze_is(k, "hook") && (rc == -ERR_CUTOVER_WROTE || rc == -ERR_PG_CONNECT)) {
        *ret = json_pack("{s:s}", "warning", why.text);
        rc = 0;
    }
    if (rc < 0) {
        *err = why;
        return rc;
    }
    if (!called) rc = journal_keep(&k->j, "switch_called", json_true(), err);
    k->refused = rc < 0 && !called;
    if (rc < 0) return rc;
    rc = hook(k, "switch", err);
    k->led = rc == 0;
    /* one that was stopped, with us or since its time was over, may have been past its work */
    k->stopped = rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED || rc == -ERR_HOOK_TIME;
    k->refused = rc < 0 && !called && !k->stopped;
    /* its step will be written down as failed, which says nothing of that */
    if (k->stopped && journal_keep(&k->j, UNKNOWN, json_true(), &why) < 0) error_clear(&why);
    return rc;
}

static int step_archive(struct cut *k, json_t **ret, struct error *err) {
    (void)ret;
    return k->driver->adopt(&k->ctx, &k->start, journal_kept(&k->j, "connection"), err);
}

/* ---- watching ---- */

static int well(struct cut *k, struct error *err) {
    int rc = k->driver->health(&k->ctx, journal_kept(&k->j, "connection"), err);
    const struct config_surface *s = k->surface.config_surface;
    return rc == 0 && hook_find(s ? s->hooks : NULL, "health") ? hook(k, "health", err) : rc;
}

static int step_watch(struct cut *k, json_t **ret, struct error *err) {
    const int64_t until = time_monotonic_ns() + ns_of(k, "watch_ms");
    unsigned looks = 0, failed = 0;
    json_t *failures = json_array();
    struct error first = ERROR_INIT;
    int rc = failures ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    do {
        struct error why = ERROR_INIT;
        if (rc == 0) rc = stop_check(err);
        if (rc < 0) break;
        looks++;
        if (well(k, &why) < 0) {
            char now[32];
            time_format(time_now_ns(), now);
            if (!failed++) first = why;
            if (failed <= WATCH_SHOWN)
                rc = json_push(failures, json_pack("{s:s, s:s}", "at", now, "why", why.text), err);
        }
        int64_t left = until - time_monotonic_ns();
        if (rc == 0) rc = pause_for(left < WATCH_EVERY_NS ? left : WATCH_EVERY_NS, err);
    } while (rc == 0 && time_monotonic_ns() < until);
    *ret = json_pack("{s:I, s:I, s:o}", "looks", (json_int_t)looks, "failed", (json_int_t)failed, "failures", failures);
    if (rc == 0 && failed)
        rc = error_set(err, ERR_CUTOVER_WATCH, "%u of %u looks failed; the first: %s", failed, looks, first.text);
    return rc;
}

bool cut_is_rehearsal(const json_t *plan) {
    return json_is_true(json_object_get(plan, "rehearsal"));
}

static int step_stop(struct cut *k, json_t **ret, struct error *err) {
    (void)ret;
    return k->driver->stop(&k->ctx, &k->start, err);
}

const struct cut_step cut_steps[] = {
    {"standby", "put the platform into standby (hooks.standby)", step_standby},
    {"freeze", "stop writes to the live server", step_freeze},
    {"last-wal", "have the live server archive its last WAL, and wait until it is stored", step_last_wal},
    {"restore", "restore the base backup into the new folder", step_restore},
    {"start", "start the new server, which archives nothing yet", step_start},
    {"recover", "wait until it has replayed the WAL and takes writes", step_recover},
    {"checks",
     "check it: connections, how far it came, indexes, collations, pg_amcheck, declared queries, hooks.checks",
     step_checks},
    {"switch", "see that nothing was written since the freeze, and lead clients over (hooks.switch)", step_switch},
    {"archive", "let the new server archive", step_archive},
    {"resume", "let writes go on (hooks.resume)", step_resume},
    {"live", "put the platform back into service (hooks.live)", step_live},
    {"watch", "watch it: connections, declared queries, hooks.health", step_watch},
    {"stop", "stop the new server; what was restored stays", step_stop},
    {NULL, NULL, NULL},
};

const struct cut_step *cut_step_find(const char *name) {
    for (const struct cut_step *s = cut_steps; s->name; s++)
        if (!strcmp(s->name, name)) return s;
    return NULL;
}

/* ---- putting back ---- */

static bool begun(const struct cut *k, const char *step) {
    return journal_state_of(&k->j, step) != STEP_PENDING;
}

static void keep_first(struct error *first, const struct error *one, int rc) {
    if (rc < 0 && !first->code) *first = *one;
}

int cut_undo(struct cut *k, struct error *err) {
    struct error one = ERROR_INIT, stopping = ERROR_INIT;
    const json_t *before = journal_kept(&k->j, "before_freeze");
    int rc = begun(k, "start") ? k->driver->stop(&k->ctx, &k->start, &one) : 0;
    keep_first(&stopping, &one, rc);
    error_clear(&one);
    rc = 0;
    if (begun(k, "freeze") && freeze_is(k, "hook")) rc = hook(k, "resume", &one);
    if (begun(k, "freeze") && freeze_is(k, "read-only") && before) rc = k->driver->resume(&k->ctx, before, &one);
    if (rc < 0) {
        error_set(err, ERR_CUTOVER_FROZEN, "%s", one.text);
        error_next(err, "Mend that, then run 'proofkeep restore --plan %s --abort'.", k->p->id);
    }
    error_clear(&one);
    rc = begun(k, "standby") ? hook(k, "live", &one) : 0;
    keep_first(err, &one, rc);
    if (!err->code && stopping.code) {
        *err = stopping;
        return error_wrap(err, "stopping the new server");
    }
    return err->code ? -(int)err->code : 0;
}
