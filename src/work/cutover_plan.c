#include "work/cutover_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include "ledger/ledger.h"
#include "platform/guard.h"
#include "work/hook.h"
#include "work/reading.h"

#include <stdio.h>

#define PREFIX "cut"
#define LOOK_BACK 512 /* entries of the log, for a run that tells how long the steps take */

bool cutover_plan_is(const char *id) {
    return plan_file_is(id, PREFIX);
}

/* ---- how long it took the last time ---- */

/* The predicate of an entry that records such a run of the surface; NULL: it does not. Owned by the caller. */
static json_t *past_run(struct ledger *l, uint64_t seq, const char *environment, const char *surface) {
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(1u << 20);
    CLEANUP(buf_free) struct buf payload = BUF_INIT(1u << 20);
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    struct error none = ERROR_INIT;
    json_t *statement = NULL, *ret = NULL;
    if (ledger_read_known(l, seq, &envelope, &none) < 0 ||
        dsse_decode(buf_bytes(&envelope), &payload, pub, sig, &none) < 0 ||
        json_parse(buf_bytes(&payload), payload.max_bytes, "an entry", &statement, &none) < 0)
        return NULL;
    json_t *p = json_object_get(statement, "predicate");
    const char *e = json_string_value(json_object_get(p, "environment")),
               *s = json_string_value(json_object_get(p, "surface")),
               *status = json_string_value(json_object_get(p, "status"));
    if (json_is_object(json_object_get(p, "cutover")) && e && s && status && !strcmp(e, environment) &&
        !strcmp(s, surface) && !strcmp(status, "success"))
        ret = json_incref(p);
    json_decref(statement);
    return ret;
}

int64_t cut_past_ms(struct work *w, const char *environment, const char *surface, const char *step) {
    struct ledger *l = repo_ledger(w->repo);
    const uint64_t size = ledger_size(l), base = ledger_base(l);
    for (uint64_t i = 0; i < LOOK_BACK && size > base + i; i++) {
        json_t *p = past_run(l, size - 1 - i, environment, surface);
        const json_t *s;
        size_t k;
        int64_t ms = -1;
        json_array_foreach(json_object_get(json_object_get(p, "cutover"), "steps"), k, s) {
            const char *name = json_string_value(json_object_get(s, "name"));
            if (name && !strcmp(name, step)) ms = json_integer_value(json_object_get(s, "ms"));
        }
        json_decref(p);
        if (ms >= 0) return ms; /* a rehearsal has some of them only */
    }
    return -1;
}

/* ---- the plan ---- */

struct making {
    struct work *w;
    const struct cutover_options *o;
    struct restore_plan copy;
    const struct config_surface *surface;
    const struct config_hooks *hooks;
    const struct surface_driver *driver;
    const char *freeze; /* "hook" | "read-only" | "none" */
    bool latest, subscriptions; /* enabled ones, here or in the backup */
    json_t *doc, *warnings, *live;
};

static bool has(const struct making *m, const char *hook) {
    return hook_find(m->hooks, hook) != NULL;
}

static int unfit(struct error *err, const char *why) {
    return error_set(err, ERR_CUTOVER_UNFIT, "%s", why);
}

static int choose(struct making *m, struct error *err) {
    const struct restore_options *r = &m->o->restore;
    m->hooks = m->surface ? m->surface->hooks : NULL;
    if (!m->driver->cutover) return unfit(err, "only a physical backup of PostgreSQL can take the place of its server");
    if (r->in_place || r->delta || r->standby)
        return unfit(err, "the new server is restored into a folder of its own: no --in-place, --delta or --standby");
    if (r->target_action && strcmp(r->target_action, "promote") != 0)
        return unfit(err, "the new server must take writes: no --target-action but promote");
    if (!m->o->rehearse && !has(m, "switch"))
        return unfit(err, "the surface has no hooks.switch, the program that leads clients to the new server");
    if (has(m, "freeze") != has(m, "resume")) return unfit(err, "hooks.freeze and hooks.resume go together");
    if (has(m, "standby") != has(m, "live")) return unfit(err, "hooks.standby and hooks.live go together");
    if (!m->o->port && !has(m, "start"))
        return unfit(
            err,
            "name a port of the new server with --port, as the old one keeps its own; or give the surface hooks.start");
    if (m->o->rehearse && (m->o->no_freeze || m->o->terminate || m->o->watch_ns))
        return error_set(err, ERR_USAGE,
                         "a rehearsal freezes and switches nothing: no --freeze, --terminate-connections or --watch");
    m->freeze = m->o->no_freeze || m->o->rehearse ? "none" : has(m, "freeze") ? "hook" : "read-only";
    return 0;
}

static bool wanted(const struct making *m, const char *step) {
    bool frozen = strcmp(m->freeze, "none") != 0, new_alone = false;
    static const char *const all[] = {"restore", "start", "recover", "checks", "stop"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) new_alone |= !strcmp(step, all[i]);
    if (m->o->rehearse) return new_alone;
    if (!strcmp(step, "stop")) return false;
    if (!strcmp(step, "standby") || !strcmp(step, "live")) return has(m, "standby");
    if (!strcmp(step, "freeze")) return frozen;
    if (!strcmp(step, "last-wal")) return frozen && m->latest;
    if (!strcmp(step, "resume")) return !strcmp(m->freeze, "hook");
    if (!strcmp(step, "watch")) return m->o->watch_ns > 0;
    return true;
}

/* The copy's own estimate says more than the last run does: it knows the size and the WAL to replay. */
static int64_t estimate_ms(const struct making *m, const char *step) {
    const json_t *d = m->copy.doc;
    const json_t *all = json_object_get(d, "estimated_seconds"),
                 *replay = json_object_get(json_object_get(json_object_get(d, "recovery"), "wal"), "replay_seconds");
    if (!strcmp(step, "restore") && json_is_integer(all))
        return (json_integer_value(all) - json_integer_value(replay)) * 1000;
    if (!strcmp(step, "watch")) return m->o->watch_ns / 1000000;
    const char *env = json_string_value(json_object_get(d, "environment")),
               *surface = json_string_value(json_object_get(d, "surface"));
    int64_t past = cut_past_ms(m->w, env, surface, step);
    if (!strcmp(step, "recover") && past < 0 && json_is_integer(replay)) return json_integer_value(replay) * 1000;
    return past;
}

static int steps(struct making *m, struct error *err) {
    json_t *list = json_array();
    bool all = true;
    int64_t total = 0;
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    for (const struct cut_step *s = cut_steps; rc == 0 && s->name; s++) {
        if (!wanted(m, s->name)) continue;
        int64_t ms = estimate_ms(m, s->name);
        if (ms < 0)
            all = false;
        else
            total += ms;
        rc = json_push(list,
                       json_pack("{s:s, s:s, s:o}", "name", s->name, "text", s->text, "estimated_seconds",
                                 ms < 0 ? json_null() : json_real((double)ms / 1000.0)),
                       err);
    }
    if (rc < 0) {
        json_decref(list);
        return rc;
    }
    rc = json_put(m->doc, "steps", list, err);
    return rc == 0 ? json_put(m->doc, "estimated_seconds", all ? json_real((double)total / 1000.0) : json_null(), err)
                   : rc;
}

static int warn(struct making *m, struct error *err, const char *text) {
    return json_push(m->warnings, json_string(text), err);
}

static int warnings(struct making *m, struct error *err) {
    int64_t sessions = json_integer_value(json_object_get(m->live, "sessions")),
            prepared = json_integer_value(json_object_get(m->live, "prepared"));
    char line[300];
    int rc = 0;
    if (!strcmp(m->freeze, "read-only")) {
        snprintf(line, sizeof line,
                 "freezing lets %lld sessions read and not write; a transaction that says READ WRITE itself is not "
                 "stopped, but found out before the switch",
                 (long long)sessions);
        rc = warn(m, err, line);
        if (rc == 0)
            rc = warn(m, err,
                      "the old server stays read-only when the new one has taken over; ALTER SYSTEM RESET "
                      "default_transaction_read_only lets it be written again");
    }
    if (rc == 0 && prepared)
        rc = warn(m, err, "prepared transactions wait to be committed; the freeze refuses while there are any");
    if (rc == 0 && m->o->amcheck == CUTOVER_AMCHECK_INSTALLED)
        rc =
            warn(m, err,
                 "pg_amcheck looks only into databases that have the extension amcheck, and the others are not checked "
                 "by it; --amcheck install makes it in them for that long");
    if (rc == 0 && m->o->amcheck == CUTOVER_AMCHECK_NONE)
        rc = warn(m, err, "pg_amcheck is not run: nobody looks for damage in tables and indexes");
    if (rc == 0 && m->o->rehearse)
        return warn(
            m, err,
            "a rehearsal: the live server is not touched, and what it has is not compared; the new folder stays "
            "when the new server was stopped");
    if (rc == 0 && !strcmp(m->freeze, "none"))
        rc = warn(m, err, "nothing is frozen: what is written to the live server from now on is not in the new one");
    if (rc == 0 && m->subscriptions)
        rc = warn(
            m, err,
            "subscriptions rest in the new server until it is restarted; what publishers send meanwhile goes to the "
            "old one, is acknowledged, and never comes to the new one: ALTER SUBSCRIPTION … DISABLE on the live "
            "server before this is carried out; then, with the old one stopped, restart the new one and ENABLE "
            "them there");
    if (rc == 0 && !m->latest)
        rc = warn(m, err, "what was written after the target is not in the new server, also while all is frozen");
    if (rc == 0 && m->surface && m->surface->wal && m->surface->wal->mode == CONFIG_WAL_STREAM)
        rc = warn(m, err,
                  "the receiver must be led to the new server as well, by the switch hook: wal receive follows its new "
                  "timeline");
    return rc;
}

/* The kind of the point says whether it can take over; then what the live server says. */
static int look_live(struct making *m, const char *address, struct error *err) {
    const struct snapshot_info *info;
    struct work_surface s = {0};
    struct work_bridge b;
    struct surface_context ctx;
    int rc = work_find_point(m->w, address, &info, err);
    if (rc == 0) rc = work_surface_of(m->w, info, &s, err);
    if (rc < 0) return rc;
    m->driver = s.driver;
    m->surface = s.config_surface;
    rc = choose(m, err);
    if (rc == 0 && strcmp(m->freeze, "none") != 0 && (rc = work_bridge_open(m->w, &s, &b, &ctx, err)) == 0) {
        rc = known_secrets_error(&m->w->known, m->driver->cutover->look(&ctx, &m->live, err), err);
        work_bridge_close(&b);
        if (rc < 0) error_next(err, "If it is lost, say --freeze none.");
    }
    work_surface_close(&s);
    return rc;
}

static int fill(struct making *m, const char *id, struct error *err) {
    static const char *const amchecks[] = {"installed", "install", "none"};
    const struct cutover_options *o = m->o;
    const json_t *d = m->copy.doc;
    json_t *accept = json_array(), *doc = m->doc;
    const char *folder = json_string_value(json_object_get(json_object_get(d, "target"), "target"));
    int rc = accept ? json_put_str(doc, "id", id, err) : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    for (const char *const *a = o->accept; rc == 0 && a && *a; a++) rc = json_push(accept, json_string(*a), err);
    if (rc == 0) rc = json_put(doc, "environment", json_incref(json_object_get(d, "environment")), err);
    if (rc == 0) rc = json_put(doc, "surface", json_incref(json_object_get(d, "surface")), err);
    if (rc == 0) rc = json_put(doc, "snapshot", json_incref(json_object_get(d, "snapshot")), err);
    if (rc == 0) rc = json_put(doc, "log_seq", json_incref(json_object_get(d, "seq")), err);
    if (rc == 0) rc = json_put_str(doc, "folder", folder ? folder : "", err);
    if (rc == 0) rc = json_put_int(doc, "port", o->port, err);
    if (rc == 0) rc = json_put_str(doc, "freeze", m->freeze, err);
    if (rc == 0) rc = json_put(doc, "rehearsal", json_boolean(o->rehearse), err);
    if (rc == 0) rc = json_put(doc, "subscriptions_rest", json_boolean(m->subscriptions), err);
    if (rc == 0) rc = json_put(doc, "latest", json_boolean(m->latest), err);
    if (rc == 0) rc = json_put(doc, "terminate_connections", json_boolean(o->terminate), err);
    if (rc == 0) rc = json_put_int(doc, "wait_ms", o->wait_ns / 1000000, err);
    if (rc == 0) rc = json_put_int(doc, "watch_ms", o->watch_ns / 1000000, err);
    if (rc == 0) rc = json_put_str(doc, "amcheck", amchecks[o->amcheck], err);
    if (rc == 0) rc = json_put(doc, "accept", json_incref(accept), err);
    if (rc == 0) rc = json_put(doc, "live", m->live ? json_incref(m->live) : json_null(), err);
    if (rc == 0) rc = json_put(doc, "warnings", json_incref(m->warnings), err);
    if (rc == 0) rc = json_put(doc, "restore", json_incref(m->copy.doc), err);
    json_decref(accept);
    return rc;
}

static int plan_of(struct work *w, struct cutover_plan *p, struct error *err) {
    const char *env = json_string_value(json_object_get(p->doc, "environment")),
               *surface = json_string_value(json_object_get(p->doc, "surface")),
               *snapshot = json_string_value(json_object_get(p->doc, "snapshot"));
    if (!env || !surface || !snapshot) return error_set(err, ERR_PLAN_STALE, "plan %s is not whole", p->id);
    const struct config_environment *e = w->config ? config_environment(w->config, env) : NULL;
    if (!e)
        return error_set(err, ERR_CUTOVER_UNFIT, "the configuration does not have the environment %s any more", env);
    p->protected = e->protected;
    p->seq = (uint64_t)json_integer_value(json_object_get(p->doc, "log_seq"));
    snprintf(p->label, sizeof p->label, "%.120s/%.120s", env, surface);
    snprintf(p->snapshot_id, sizeof p->snapshot_id, "%s", snapshot);
    return guard_phrase(GUARD_RESTORE, env, surface, snapshot, p->phrase, err);
}

int cutover_plan_make(struct work *w, const char *address, const struct cutover_options *o, struct cutover_plan *ret,
                      struct error *err) {
    struct cutover_options with = *o;
    struct making m = {.w = w, .o = &with};
    struct restore_options *r = &with.restore;
    *ret = (struct cutover_plan){0};
    m.latest = !r->target_time && !r->target_lsn && !r->target_xid && !r->target_name &&
               (!r->target || !strcmp(r->target, "latest"));
    if (m.latest && !r->target) r->target = "latest";
    char timeline[16];
    int rc = look_live(&m, address, err);
    /* The archive may have newer timelines of servers that took over and were given up; all that is acknowledged is on
     * this. */
    snprintf(timeline, sizeof timeline, "%u", (unsigned)json_integer_value(json_object_get(m.live, "timeline")));
    if (m.live && m.latest && !r->target_timeline) r->target_timeline = timeline;
    if (rc == 0) rc = restore_plan_make(w, address, r, &m.copy, err);
    m.subscriptions = json_integer_value(json_object_get(m.live, "subscriptions")) > 0 ||
                      json_is_true(json_object_get(json_object_get(m.copy.doc, "target"), "subscriptions"));
    m.doc = json_object();
    m.warnings = json_array();
    if (rc == 0 && (!m.doc || !m.warnings)) rc = error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    if (rc == 0) rc = warnings(&m, err);
    if (rc == 0) rc = plan_file_name(PREFIX, ret->id, err);
    if (rc == 0) rc = steps(&m, err);
    if (rc == 0) rc = fill(&m, ret->id, err);
    if (rc == 0) rc = plan_file_save(w, ret->id, m.doc, err);
    if (rc == 0) {
        ret->doc = json_incref(m.doc);
        rc = plan_of(w, ret, err);
    }
    restore_plan_free(&m.copy);
    json_decref(m.doc);
    json_decref(m.warnings);
    json_decref(m.live);
    if (rc < 0) cutover_plan_free(ret);
    return rc;
}

int cutover_plan_load(struct work *w, const char *id, struct cutover_plan *ret, struct error *err) {
    *ret = (struct cutover_plan){0};
    if (!cutover_plan_is(id)) return error_set(err, ERR_PLAN_STALE, "'%.40s' is no plan's id", id);
    snprintf(ret->id, sizeof ret->id, "%s", id);
    int rc = plan_file_load(w, id, &ret->doc, err);
    if (rc == 0) rc = work_open_repo(w, json_string_value(json_object_get(ret->doc, "environment")), err);
    if (rc == 0) rc = plan_of(w, ret, err);
    const struct snapshot_info *info = rc == 0 ? repo_snapshot_at(w->repo, ret->seq) : NULL;
    if (rc == 0 && (!info || info->forgotten || strcmp(info->id, ret->snapshot_id) != 0))
        rc = error_set(err, ERR_PLAN_STALE, "plan %s: its recovery point is not there any more", id);
    if (rc < 0) cutover_plan_free(ret);
    return rc;
}

void cutover_plan_free(struct cutover_plan *p) {
    json_decref(p->doc);
    p->doc = NULL;
}
