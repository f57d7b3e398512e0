#include "work/doctor.h"

#include "base/seam.h"
#include "base/time.h"
#include "platform/policy.h"
#include "repo/copy.h"
#include "surface/pgphys/receive.h"
#include "work/any_copy.h"
#include "work/beside.h"
#include "work/counted.h"
#include "work/drift.h"
#include "work/leftover.h"
#include "work/owed.h"
#include "work/own_keys.h"
#include "work/recovery.h"
#include "work/revive.h"
#include "work/store_check.h"
#include "work/wal_homes.h"
#include "work/wal_window.h"
#include "work/witnesses.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SPACE_LEAST (UINT64_C(64) << 20)
#define SPACE_LITTLE (UINT64_C(1) << 30)
#define CLOCK_SLACK_NS (5 * 60 * NS_PER_S)

const char *finding_level_name(enum finding_level l) {
    static const char *const names[] = {"fact", "warning", "problem"};
    return names[l];
}

struct doctor {
    struct work *w;
    const struct selection *s;
    finding_cb cb;
    surface_facts_cb surface;
    void *ctx;
    struct doctor_totals *totals;
};

struct drift_look {
    struct doctor *d;
    const char *url;
};

static int say(struct doctor *d, const struct finding *f, struct error *err) {
    unsigned *counts[] = {&d->totals->facts, &d->totals->warnings, &d->totals->problems};
    *counts[f->level] += 1;
    return d->cb(d->ctx, f, err);
}

__attribute__((format(printf, 7, 8))) static int tell(struct doctor *d, enum finding_level level, const char *check,
                                                      const char *subject, const char *next, struct error *err,
                                                      const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct finding f = {level, check, subject, NULL, text, next};
    return say(d, &f, err);
}

static int tell_error(struct doctor *d, const char *check, const char *subject, const struct error *e,
                      struct error *err) {
    const struct error_info *info = error_info((int)e->code);
    struct finding f = {FINDING_PROBLEM, check, subject, info->code, e->text, *e->next ? e->next : info->next};
    return say(d, &f, err);
}

/* ---- the configuration ---- */

static int look_at_targets(struct doctor *d, const struct config_environment *e, const struct config_surface *s,
                           struct error *err) {
    struct policy p;
    char subject[160], unset[64] = "";
    policy_of(d->w->config, e, s, &p);
    if (p.rpo.state == CONFIG_UNSET) strcat(unset, "rpo");
    if (p.rto.state == CONFIG_UNSET) strcat(unset, *unset ? ", rto" : "rto");
    if (!p.keep) strcat(unset, *unset ? ", retention" : "retention");
    if (!*unset) return 0;
    snprintf(subject, sizeof subject, "%s/%s", e->head.name, s->head.name);
    return tell(d, FINDING_WARNING, "configuration", subject,
                "Set what is approved in the environment's policy; 'none' says that there is no target.", err,
                "not set: %s", unset);
}

static int look_at_config(struct doctor *d, struct error *err) {
    const struct config *c = d->w->config;
    if (!c)
        return tell(d, FINDING_WARNING, "configuration", "proofkeep.yaml", "proofkeep init", err,
                    "there is none: only what the command line names can be looked at");
    int rc = tell(d, FINDING_FACT, "configuration", c->head.file, NULL, err, "%s, %s",
                  COUNTED(c->environments.count, "environment"), COUNTED(c->surfaces.count, "surface"));
    for (size_t i = 0; i < c->environments.count && rc == 0; i++)
        for (size_t k = 0; k < c->surfaces.count && rc == 0; k++) {
            const struct config_environment *e = c->environments.items[i];
            const struct config_surface *s = c->surfaces.items[k];
            if (config_environment_has(e, s) && selection_has(d->s, c, e->head.name, s->head.name))
                rc = look_at_targets(d, e, s, err);
        }
    return rc;
}

/* ---- keys ---- */

static int look_at_key_file(struct doctor *d, const char *path, const char *url, struct error *err) {
    char folder[4096];
    struct stat key, repo;
    if (!work_local_folder(url, folder)) return 0;
    if (work_path_within(path, folder)) {
        struct error e = ERROR_INIT;
        error_set(&e, ERR_POLICY, "it lies in the repository's own folder, %s: both are lost, or stolen, together",
                  folder);
        error_next(&e, "Move it to another place, and name that in the configuration.");
        return tell_error(d, "key", path, &e, err);
    }
    if (seam_fstatat(AT_FDCWD, path, &key, 0) == 0 && seam_fstatat(AT_FDCWD, folder, &repo, 0) == 0 &&
        key.st_dev == repo.st_dev)
        return tell(d, FINDING_WARNING, "key", path, "Keep a copy of the key on another device, and one off this host.",
                    err, "it lies on the same file system as the repository %s", folder);
    return tell(d, FINDING_FACT, "key", path, NULL, err, "it lies apart from the repository");
}

static int look_at_keys(struct doctor *d, const char *url, struct error *err) {
    const struct work_options *o = &d->w->options;
    const struct config *c = d->w->config;
    const char *kit = o->recovery_kit && strcmp(o->recovery_kit, "-") != 0 ? o->recovery_kit : NULL;
    const char *given = kit ? kit : o->key_file ? o->key_file : o->passphrase_file, *other;
    char path[4096], seen[4096] = "";
    if (given) return look_at_key_file(d, given, url, err);
    int rc = 0;
    for (size_t i = 0; c && i < c->environments.count && rc == 0; i++) {
        const struct config_environment *e = c->environments.items[i];
        const struct config_repository *r = config_repository(c, e->repository);
        struct error lost = ERROR_INIT;
        if (!selection_environment(d->s, e->head.name) || !r || !r->encrypt) continue;
        if (work_repo_url(d->w, e->head.name, &other, &lost) < 0 || strcmp(other, url) != 0) continue;
        const struct config_secret *s = config_secret(c, r->encrypt->key);
        if (!s || !own_key_file(s, e, path) || strcmp(path, seen) == 0) continue;
        snprintf(seen, sizeof seen, "%s", path);
        rc = look_at_key_file(d, path, url, err);
    }
    return rc;
}

/* ---- repositories ---- */

static int look_at_space(struct doctor *d, const char *url, struct error *err) {
    struct error e = ERROR_INIT;
    uint64_t free_bytes, need = 0;
    char have[32], usual[32];
    if (store_free_space(d->w->store, &free_bytes, &e) < 0) return tell_error(d, "space", url, &e, err);
    if (free_bytes == UINT64_MAX) return 0;
    for (size_t i = 0; i < repo_snapshot_count(d->w->repo); i++) {
        const struct snapshot_info *s = repo_snapshot(d->w->repo, i);
        if (!s->forgotten && s->stored_bytes > need) need = s->stored_bytes;
    }
    size_format(free_bytes, have);
    size_format(need, usual);
    if (free_bytes < SPACE_LEAST) {
        error_set(&e, ERR_IO_FULL, "%s are free, which no backup can do with", have);
        return tell_error(d, "space", url, &e, err);
    }
    if (free_bytes < SPACE_LITTLE || free_bytes < need)
        return tell(d, FINDING_WARNING, "space", url, "Free space there, or prune.", err,
                    "%s are free; the largest backup so far took %s", have, usual);
    return tell(d, FINDING_FACT, "space", url, NULL, err, "%s are free", have);
}

/* Credentials of one role are not let at what is only tried out. That they cannot destroy is tried by what is not
 * there. */
static int look_at_denied(struct doctor *d, const char *url, struct error *err) {
    const enum key_role role = repo_keys(d->w->repo)->role;
    struct error e = ERROR_INIT;
    struct digest name;
    char key[96], hex[2 * DIGEST_BYTES + 1];
    int rc = random_bytes(name.b, sizeof name.b, err);
    if (rc < 0) return rc;
    hex_encode(name.b, sizeof name.b, hex);
    snprintf(key, sizeof key, "packs/d/%.2s/%s", hex, hex);
    rc = tell(d, FINDING_FACT, "store", url, NULL, err,
              "what it does was not tried: these credentials may store nothing but what a repository holds");
    if (rc < 0) return rc;
    if (store_remove(d->w->store, key, &e) == 0)
        return tell(d, role == ROLE_PRUNE || role == ROLE_ADMIN ? FINDING_FACT : FINDING_WARNING, "store", url,
                    "See 'proofkeep store policy': it prints what they must be allowed, and no more.", err,
                    "these credentials can remove packs: who steals them can remove backups");
    if (e.code != ERR_S3_DENIED) return tell_error(d, "store", url, &e, err);
    return tell(d, FINDING_FACT, "store", url, NULL, err, "these credentials cannot remove a pack");
}

/* Only of servers: it writes a few small objects, and takes them away again. */
static int look_at_store(struct doctor *d, const char *url, struct error *err) {
    char folder[4096];
    struct store_facts facts;
    struct error e = ERROR_INIT;
    enum store_risk risk;
    const char *text, *next;
    int rc = 0;
    if (work_local_folder(url, folder)) return 0;
    rc = store_probe(d->w->store, &facts, &e);
    if (rc == -ERR_S3_DENIED) return look_at_denied(d, url, err);
    if (rc < 0 || (rc = store_facts_required(&facts, &e)) < 0) return tell_error(d, "store", url, &e, err);
    for (unsigned i = 0; rc == 0 && store_facts_sentence(&facts, i, &risk, &text, &next); i++)
        if (risk != STORE_RISK_NONE)
            rc = tell(d, risk == STORE_RISK_WARNED ? FINDING_WARNING : FINDING_FACT, "store", url, next, err, "%s", text);
    return rc;
}

/* What the server does when these credentials ask for an earlier end of a lock: their policy alone does not tell. Every
 * role may lock entries of the log, and the newest has the mode of now. */
static int look_at_governance(struct doctor *d, const char *url, struct error *err) {
    const uint64_t entries = ledger_size(repo_ledger(d->w->repo));
    struct error e = ERROR_INIT;
    char entry[32];
    bool can = false;
    if (d->w->store->locks.mode != STORE_LOCK_GOVERNANCE || entries == 0) return 0;
    snprintf(entry, sizeof entry, "log/%016llu", (unsigned long long)entries - 1);
    if (store_may_shorten(d->w->store, entry, &can, &e) < 0) return tell_error(d, "store", url, &e, err);
    if (!can) return tell(d, FINDING_FACT, "store", url, NULL, err, "these credentials cannot make a lock shorter");
    return tell(d, FINDING_WARNING, "store", url,
                "Set mode: compliance under immutability, then proofkeep store renew.", err,
                "these credentials can make a lock in governance shorter: object lock keeps nothing from who steals "
                "them and can erase");
}

/* Only what a policy asks, and what is not well in any case; store_check.c tells the rest. */
static int tell_drift(void *ctx, const struct drift_signal *s, struct error *err) {
    struct drift_look *l = ctx;
    if (s->state != DRIFT_BREACHED && s->state != DRIFT_UNKNOWN) return 0;
    return tell(l->d, FINDING_WARNING, "drift", l->url, s->next, err, "%s: %s", s->name, s->text);
}

static int look_at_drift(struct doctor *d, const char *url, struct error *err) {
    struct drift_look l = {d, url};
    struct drift_totals t;
    struct error e = ERROR_INIT;
    char seen[400];
    int rc = 0;
    if (work_sights(d->w, seen, sizeof seen))
        rc = tell(d, FINDING_WARNING, "store", url, "Find out who did it; then bring them back: " REVIVE_COMMAND, err,
                  "%s", seen);
    if (rc < 0) return rc;
    rc = work_drift(d->w, tell_drift, &l, &t, &e);
    return rc < 0 ? tell_error(d, "drift", url, &e, err) : 0;
}

static int look_at_clock(struct doctor *d, const char *url, struct error *err) {
    int64_t newest = 0, now = time_now_ns();
    char theirs[32], ours[32];
    for (size_t i = 0; i < repo_snapshot_count(d->w->repo); i++)
        if (repo_snapshot(d->w->repo, i)->stored_ns > newest) newest = repo_snapshot(d->w->repo, i)->stored_ns;
    if (newest == 0) return 0;
    time_format(newest, theirs);
    time_format(now, ours);
    if (newest - now > CLOCK_SLACK_NS)
        return tell(d, FINDING_WARNING, "clock", url, "Set this host's clock by NTP; retention holds until then.", err,
                    "this host says %s, and the newest backup was stored at %s by the store's clock", ours, theirs);
    return tell(d, FINDING_FACT, "clock", url, NULL, err, "this host's clock, %s, agrees with the store's", ours);
}

/* A key on paper that was never typed in again is a hope. */
static int look_at_drill(struct doctor *d, const char *url, struct error *err) {
    const struct drill_info *drill = repo_key_drill(d->w->repo);
    const char *next = "proofkeep key recovery-kit, then proofkeep key test-recovery";
    char age[32];
    if (!drill)
        return tell(d, FINDING_WARNING, "recovery", url, next, err, "no recovery kit was ever tried on it");
    int64_t now = time_now_ns();
    duration_format(now > drill->time_ns ? now - drill->time_ns : 0, age);
    bool due = now - drill->time_ns > RECOVERY_DRILL_DUE_NS;
    return tell(d, due ? FINDING_WARNING : FINDING_FACT, "recovery", url, due ? "proofkeep key test-recovery" : NULL,
                err, "a recovery kit (%s key) was last tried %s ago", key_role_name(drill->role), age);
}

static int look_at_suspects(struct doctor *d, const char *url, struct error *err) {
    size_t n = 0;
    for (size_t i = 0; i < repo_snapshot_count(d->w->repo); i++) {
        const struct snapshot_info *s = repo_snapshot(d->w->repo, i);
        n += !s->forgotten && repo_snapshot_suspect(d->w->repo, s);
    }
    if (n == 0) return 0;
    return tell(d, FINDING_WARNING, "keys", url, "Restore and compare what is needed of them; take new backups.", err,
                "%s written with a key that was revoked as compromised ('list' marks them)",
                COUNTED(n, "recovery point"));
}

/* A key that writes or prunes and was stolen gives away what is stored with keys of its time. One that reads gives away
 * everything, and is told of as such when it is revoked. */
static int look_at_epoch(struct doctor *d, const char *url, struct error *err) {
    size_t n = 0;
    for (size_t i = 0; i < repo_key_count(d->w->repo); i++) {
        const struct key_info *k = repo_key(d->w->repo, i);
        n += k->suspect_ns && (k->role == ROLE_WRITER || k->role == ROLE_PRUNE) &&
             k->last_epoch == repo_epoch(d->w->repo);
    }
    if (n == 0) return 0;
    return tell(d, FINDING_WARNING, "keys", url, "Change the ids, with the admin key: proofkeep key rotate-ids", err,
                "%s revoked as compromised, and chunk ids and the index are still made with keys of that time",
                n == 1 ? "a key was" : "keys were");
}

static int look_at_witnesses(struct doctor *d, const char *url, struct error *err) {
    const struct work_witnesses *s = d->w->witnesses;
    char text[200];
    if (!s) return 0;
    witnesses_sentence(s, time_now_ns(), text);
    int rc = tell(d, s->silent ? FINDING_WARNING : FINDING_FACT, "witness", url,
                  s->silent ? "See on the witness's host why 'proofkeep ledger witness' does not run." : NULL, err, "%s", text);
    if (rc == 0 && *s->refused)
        rc = tell(d, FINDING_WARNING, "witness", url, "Find out who stored it; it was passed over.", err, "%s", s->refused);
    return rc;
}

/* A fallback or a copy, as the open repository would use it. */
static int look_at_other(struct doctor *d, const struct config_repository *own, const char *name, bool fallback,
                         struct error *err) {
    const struct config_repository *c = config_repository(d->w->config, name);
    const char *check = fallback ? "fallback" : "copy";
    struct work *at = NULL;
    struct error e = ERROR_INIT;
    int rc = beside_open(d->w, name, NULL, &at, &e);
    if (any_copy_due(rc) && c->offline) {
        rc = tell(d, FINDING_FACT, check, name, NULL, err, "it is offline, and not attached");
    } else if (rc < 0) {
        rc = tell(d, FINDING_WARNING, check, name, "Mend that before it is needed.", err, "it cannot be used: %s",
                  e.text);
    } else if (repo_content_differs(d->w->repo, at->repo)) {
        rc = tell(d, FINDING_WARNING, check, name, "Make one that does, with 'proofkeep init --copy-of'.", err,
                  "it does not share the content keys of %s, so it is no copy of it", own->head.name);
    } else {
        size_t n = copy_waiting(at->repo, own->head.name, NULL);
        rc = tell(d, n ? FINDING_WARNING : FINDING_FACT, check, name, n ? "Run 'proofkeep copy --forward'." : NULL, err,
                  "it opens with a%s %s key; %s to be forwarded to %s",
                  repo_keys(at->repo)->role == ROLE_ADMIN ? "n" : "", key_role_name(repo_keys(at->repo)->role),
                  n == 0 ? "nothing waits" : COUNTED(n, "recovery point"), own->head.name);
    }
    work_close(at);
    return rc;
}

static int look_at_others(struct doctor *d, const char *url, struct error *err) {
    const struct config_repository *own = config_repository_at(d->w->config, url);
    int rc = own && own->fallback ? look_at_other(d, own, own->fallback, true, err) : 0;
    for (size_t i = 0; own && i < own->copies.count && rc == 0; i++)
        if (!own->fallback || strcmp(own->fallback, own->copies.items[i]) != 0)
            rc = look_at_other(d, own, own->copies.items[i], false, err);
    return rc;
}

/* AWS's order has variables before files, so they serve everywhere; in a protected environment they are told of. */
static int look_at_variables(struct doctor *d, const char *url, struct error *err) {
    const struct config *c = d->w->config;
    const char *key = getenv("AWS_SECRET_ACCESS_KEY");
    if (strncmp(url, "s3://", 5) != 0 || !key || !*key || !c) return 0;
    if (strstr(url, "credentials_file=") || strstr(url, "profile=")) return 0;
    for (size_t i = 0; i < c->environments.count; i++) {
        const struct config_environment *e = c->environments.items[i];
        const struct config_repository *r = config_repository(c, e->repository);
        if (!e->protected || !selection_environment(d->s, e->head.name) || !r || strcmp(r->url, url) != 0) continue;
        if (r->s3 && r->s3->credentials) continue;
        return tell(
            d, FINDING_WARNING, "store", url,
            "Name 'credentials' in the repository's s3 section, as a credential:, file: or command: reference.", err,
            "'%s' is protected, and its bucket's secret key comes from the variable AWS_SECRET_ACCESS_KEY, which "
            "others may see in the environment of whatever starts proofkeep",
            e->head.name);
    }
    return 0;
}

/* What a surface's WAL leads to, and whether every repository that must have it can be had. */
static int look_at_wal(struct doctor *d, const char *environment, const char *surface, struct error *err) {
    struct wal_window *list = NULL;
    struct error e = ERROR_INIT;
    char label[260], text[120];
    size_t n = 0;
    snprintf(label, sizeof label, "%.120s/%.120s", environment, surface);
    int rc = wal_windows_of(d->w, environment, surface, &list, &n, &e);
    if (rc < 0) return tell_error(d, "wal", label, &e, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        wal_window_text(&list[i], text);
        rc = tell(d, FINDING_FACT, "wal", label, NULL, err, "recoverable on %s", text);
    }
    seam_free(list);
    return rc;
}

static int look_at_homes(struct doctor *d, const char *environment, const struct config_surface *s, struct error *err) {
    struct wal_homes h;
    struct error e = ERROR_INIT;
    char label[260];
    int rc = 0, looked = wal_homes_look(d->w, environment, s->head.name, false, &h, &e);
    snprintf(label, sizeof label, "%.120s/%.120s", environment, s->head.name);
    if (looked < 0) rc = tell_error(d, "wal", label, &e, err);
    for (size_t i = 1; i < h.count && rc == 0 && looked == 0; i++)
        rc = h.list[i].failed.code == ERR_NONE
                 ? tell(d, FINDING_FACT, "wal", label, NULL, err, "its WAL goes into %s as well", h.list[i].label)
                 : tell_error(d, "wal", label, &h.list[i].failed, err);
    wal_homes_close(&h);
    return rc;
}

static int look_at_all_wal(struct doctor *d, const char *url, struct error *err) {
    int rc = 0;
    for (size_t i = 0; d->w->config && i < d->w->config->environments.count && rc == 0; i++) {
        const struct config_environment *e = d->w->config->environments.items[i];
        const struct config_repository *r = e->repository ? config_repository(d->w->config, e->repository) : NULL;
        if (!r || strcmp(r->url, url) != 0 || !selection_environment(d->s, e->head.name)) continue;
        for (size_t k = 0; k < d->w->config->surfaces.count && rc == 0; k++) {
            const struct config_surface *s = d->w->config->surfaces.items[k];
            if (!s->wal || s->wal->mode == CONFIG_WAL_NONE || !config_environment_has(e, s) ||
                !selection_has(d->s, d->w->config, e->head.name, s->head.name))
                continue;
            rc = look_at_wal(d, e->head.name, s->head.name, err);
            if (rc == 0 && s->wal->also.count) rc = look_at_homes(d, e->head.name, s, err);
        }
    }
    return rc;
}

static int look_at_repository(void *ctx, const char *url, const struct error *failed, struct error *err) {
    struct doctor *d = ctx;
    int rc = look_at_keys(d, url, err);
    if (rc == 0) rc = look_at_variables(d, url, err);
    if (rc < 0) return rc;
    if (failed) return tell_error(d, "repository", url, failed, err);
    size_t live = 0;
    for (size_t i = 0; i < repo_snapshot_count(d->w->repo); i++) live += !repo_snapshot(d->w->repo, i)->forgotten;
    rc = tell(d, FINDING_FACT, "repository", url, NULL, err, "id %s, opened with a%s %s key; %s, %s",
              repo_id_hex(d->w->repo), repo_keys(d->w->repo)->role == ROLE_ADMIN ? "n" : "",
              key_role_name(repo_keys(d->w->repo)->role), COUNTED(ledger_size(repo_ledger(d->w->repo)), "log entry"),
              COUNTED(live, "recovery point"));
    if (rc == 0) rc = look_at_drill(d, url, err);
    if (rc == 0) rc = look_at_suspects(d, url, err);
    if (rc == 0) rc = look_at_epoch(d, url, err);
    char voids[400];
    if (rc == 0 && work_void_entries(d->w, voids, sizeof voids))
        rc = tell(d, FINDING_WARNING, "log", url, "Find out who stored them; remove the key that signed them.", err,
                  "%s", voids);
    const char *refused = repo_summary_refused(d->w->repo);
    if (rc == 0 && refused[0])
        rc = tell(d, FINDING_WARNING, "log", url, "Find out who stored it; 'proofkeep verify' names all such objects.", err,
                  "what is derived from the log was refused, and the log itself read instead: %s", refused);
    if (rc == 0) rc = look_at_witnesses(d, url, err);
    if (rc == 0 && d->w->config) rc = look_at_others(d, url, err);
    if (rc == 0) rc = look_at_all_wal(d, url, err);
    if (rc == 0) rc = look_at_store(d, url, err);
    if (rc == 0) rc = look_at_governance(d, url, err);
    if (rc == 0) rc = look_at_drift(d, url, err);
    if (rc == 0) rc = look_at_space(d, url, err);
    return rc < 0 ? rc : look_at_clock(d, url, err);
}

/* ---- surfaces ---- */

struct key_look {
    struct doctor *d;
    const char *label;
    const struct config_surface *s;
    char told[4096];
};

/* A backup leaves them out. */
static int look_for_key(void *ctx, const char *path, struct error *err) {
    struct key_look *l = ctx;
    struct stat st;
    if (seam_fstatat(AT_FDCWD, path, &st, 0) < 0) return 0; /* not on this host */
    for (size_t i = 0; i < l->s->paths.count; i++) {
        if (strcmp(path, l->told) == 0 || !work_path_within(path, l->s->paths.items[i])) continue;
        snprintf(l->told, sizeof l->told, "%s", path);
        return tell(l->d, FINDING_WARNING, "surface", l->label, "Keep a copy of the key, or a recovery kit, elsewhere.",
                    err, "%s holds %s, a key of the repository, which no backup there has", l->s->paths.items[i], path);
    }
    return 0;
}

static int look_at_paths(struct doctor *d, const char *label, const struct config_surface *s, const char *url,
                         struct error *err) {
    char folder[4096];
    struct stat a, b;
    struct key_look keys = {.d = d, .label = label, .s = s};
    int rc = own_keys_each(d->w, url, look_for_key, &keys, err);
    if (rc < 0) return rc;
    if (!work_local_folder(url, folder) || seam_fstatat(AT_FDCWD, folder, &b, 0) < 0) return 0;
    bool warned = false;
    for (size_t i = 0; i < s->paths.count && rc == 0; i++) {
        if (work_path_within(folder, s->paths.items[i]))
            rc = tell(d, FINDING_WARNING, "surface", label, "Exclude the repository's folder.", err,
                      "%s holds the repository %s, which would be backed up into itself", s->paths.items[i], folder);
        else if (!warned && seam_fstatat(AT_FDCWD, s->paths.items[i], &a, 0) == 0 && a.st_dev == b.st_dev) {
            warned = true;
            rc = tell(d, FINDING_WARNING, "surface", label, "Keep backups on another disk, or copy them elsewhere.",
                      err, "%s lies on the same file system as its backups", s->paths.items[i]);
        }
    }
    return rc;
}

static int look_at_facts(struct doctor *d, const struct work_surface *s, const char *label, const json_t *facts,
                         struct error *err) {
    const json_t *problems = json_object_get(facts, "problems"), *p;
    const char *server = json_string_value(json_object_get(facts, "server_version"));
    const char *client = json_string_value(json_object_get(facts, "client_version"));
    const char *dir = json_string_value(json_object_get(facts, "client_dir"));
    size_t i;
    int rc = 0;
    json_array_foreach(problems, i, p) {
        const char *code = json_string_value(json_object_get(p, "code"));
        const char *text = json_string_value(json_object_get(p, "text"));
        const struct error_info *info = code ? error_info_by_code(code) : NULL;
        struct finding f = {FINDING_PROBLEM, "surface", label, code, text ? text : "", info ? info->next : NULL};
        if (rc == 0) rc = say(d, &f, err);
    }
    if (rc == 0 && client)
        rc = tell(d, FINDING_FACT, "tools", label, NULL, err, "client %s in %s%s%s", client, dir ? dir : "PATH",
                  server ? ", server " : "", server ? server : "");
    if (rc == 0 && json_array_size(problems) == 0)
        rc = tell(d, FINDING_FACT, "surface", label, NULL, err, "%s, ready to be backed up", s->driver->kind);
    return rc < 0 || !d->surface ? rc : d->surface(d->ctx, s->environment, s->name, facts, err);
}

static int tell_archiving(struct doctor *d, const struct config_surface *cs, const struct config_environment *e,
                          const char *label, const struct wal_wiring *w, struct error *err) {
    struct policy p;
    char rpo[32], timeout[32];
    policy_of(d->w->config, e, cs, &p);
    if (w->off)
        return tell(d, FINDING_WARNING, "wal", label, "Set it to on, and restart the server.", err,
                    "archive_mode is off: the server hands over no WAL");
    if (w->rests) return 0;
    if (w->no_command)
        return tell(d, FINDING_WARNING, "wal", label, "Set it to 'proofkeep wal push SURFACE %p'.", err,
                    "archive_command is empty: the server hands over no WAL, and keeps it until its disk is full");
    int rc = 0;
    if (w->failed)
        rc = tell(d, FINDING_WARNING, "wal", label, "See why in the server's log: it keeps all WAL from there on.", err,
                  "archiving fails, the last time with %s; %s in all", w->failed_wal, COUNTED(w->failed, "failure"));
    if (rc < 0 || p.rpo.state == CONFIG_NONE) return rc;
    if (!w->timeout_ns)
        return tell(d, FINDING_WARNING, "wal", label, "Set it below what may be lost, or stream the WAL.", err,
                    "archive_timeout is 0: what can be lost when little is written has no bound");
    if (p.rpo.state != CONFIG_SET || w->timeout_ns <= p.rpo.ns) return 0;
    duration_format(w->timeout_ns, timeout);
    duration_format(p.rpo.ns, rpo);
    return tell(d, FINDING_WARNING, "wal", label, "Set it below what may be lost, or stream the WAL.", err,
                "archive_timeout is %s, and the RPO %s", timeout, rpo);
}

static int tell_slot(struct doctor *d, const char *label, const char *slot, const struct wal_wiring *w,
                     struct error *err) {
    char held[32];
    if (!w->slot)
        return tell(d, FINDING_WARNING, "wal", label, "Run 'proofkeep wal receive --create-slot'.", err,
                    "the server has no replication slot '%s': no WAL is received", slot);
    if (w->slot_lost)
        return tell(d, FINDING_WARNING, "wal", label, "Run 'proofkeep wal receive', which says what is missing.", err,
                    "the server has given up the replication slot '%s', with WAL that was not received", slot);
    int rc = 0;
    size_format(w->slot_bytes, held);
    if (!w->slot_active)
        rc =
            tell(d, FINDING_WARNING, "wal", label, "Run 'proofkeep wal receive' as a service.", err,
                 "nobody receives through the replication slot '%s', for which the server keeps %s of WAL", slot, held);
    if (rc == 0 && w->slot_unlimited)
        rc = tell(
            d, FINDING_WARNING, "wal", label, "Set max_slot_wal_keep_size to what the disk under pg_wal can spare.",
            err,
            "max_slot_wal_keep_size is not set: while nobody receives, WAL is kept for '%s' until the disk is full",
            slot);
    return rc;
}

/* Whether the server hands over its WAL, as it is configured that it does. */
static int look_at_wiring(struct doctor *d, const struct config_environment *e, const struct config_surface *cs,
                          const struct surface_context *ctx, const char *label, struct error *err) {
    struct wal_wiring w;
    struct error failed = ERROR_INIT;
    const int mode = cs->kind == CONFIG_KIND_POSTGRES && cs->wal ? cs->wal->mode : CONFIG_WAL_NONE;
    if (mode != CONFIG_WAL_ARCHIVE && mode != CONFIG_WAL_STREAM) return 0;
    const char *slot = mode == CONFIG_WAL_ARCHIVE ? NULL : cs->wal->slot ? cs->wal->slot : WAL_SLOT_DEFAULT;
    if (known_secrets_error(&d->w->known, pgphys_wal_wiring(ctx, slot, &w, &failed), &failed) < 0)
        return tell_error(d, "wal", label, &failed, err);
    return slot ? tell_slot(d, label, slot, &w, err) : tell_archiving(d, cs, e, label, &w, err);
}

static int probe(struct doctor *d, const struct config_environment *e, const struct config_surface *cs,
                 struct error *err) {
    struct work_surface s;
    struct work_bridge b;
    struct surface_context ctx;
    struct error failed = ERROR_INIT;
    const char *url;
    json_t *facts = NULL;
    char label[260];
    snprintf(label, sizeof label, "%s/%s", e->head.name, cs->head.name);
    int rc = work_surface_open(d->w, e, cs, &s, &failed);
    if (rc < 0) return tell_error(d, "surface", label, &failed, err);
    if ((rc = work_bridge_open(d->w, &s, &b, &ctx, err)) == 0) {
        int probed = known_secrets_error(&d->w->known, s.driver->probe(&ctx, &facts, &failed), &failed);
        rc = probed < 0 ? tell_error(d, "surface", label, &failed, err) : look_at_facts(d, &s, label, facts, err);
        if (rc == 0 && probed == 0) rc = look_at_wiring(d, e, cs, &ctx, label, err);
        json_decref(facts);
    }
    work_bridge_close(&b);
    work_surface_close(&s);
    error_clear(&failed);
    if (rc == 0 && cs->kind == CONFIG_KIND_FILES && work_repo_url(d->w, e->head.name, &url, &failed) == 0)
        rc = look_at_paths(d, label, cs, url, err);
    return rc;
}

static int look_at_surfaces(struct doctor *d, struct error *err) {
    const struct config *c = d->w->config;
    int rc = 0;
    for (size_t i = 0; c && i < c->environments.count && rc == 0; i++)
        for (size_t k = 0; k < c->surfaces.count && rc == 0; k++) {
            const struct config_environment *e = c->environments.items[i];
            const struct config_surface *s = c->surfaces.items[k];
            if (config_environment_has(e, s) && selection_has(d->s, c, e->head.name, s->head.name))
                rc = probe(d, e, s, err);
        }
    return rc;
}

/* ---- what killed runs left ---- */

#define PLANS_LOOKED_AT 1000

static int tell_partial(void *ctx, const char *path, struct error *err) {
    char next[2 * 4096];
    size_t n = (size_t)snprintf(next, sizeof next, "rm -rf -- '");
    for (const char *p = path; *p && n < sizeof next - 6; p++)
        if (*p == '\'')
            n += (size_t)snprintf(next + n, sizeof next - n, "'\\''");
        else
            next[n++] = *p;
    snprintf(next + n, sizeof next - n, "'");
    return tell(ctx, FINDING_WARNING, "leftovers", path, next, err,
                "it is left of a run that was killed; a restore to the same target removes it too");
}

static bool looked_at(const json_t *folders, const char *target) {
    const char *slash = strrchr(target, '/');
    char folder[4096];
    if (!slash || snprintf(folder, sizeof folder, "%.*s/", (int)(slash - target), target) >= (int)sizeof folder)
        return true;
    if (json_object_get(folders, folder)) return true;
    json_object_set_new((json_t *)folders, folder, json_true());
    return false;
}

static int look_at_owed(struct doctor *d, struct error *err) {
    const struct config *c = d->w->config;
    int rc = 0;
    for (size_t i = 0; c && i < c->repositories.count && rc == 0; i++) {
        char folder[4200];
        unsigned n = owed_count(d->w, c->repositories.items[i]->url, folder);
        if (n)
            rc = tell(d, FINDING_WARNING, "owed", c->repositories.items[i]->head.name, NULL, err,
                      "%s of jobs that found its log out of reach; the next that writes to it puts what waits in %.300s there",
                      COUNTED(n, "statement"), folder);
    }
    return rc;
}

/* Beside what is backed up, and wherever a plan of this cache folder led. */
static int look_at_leftovers(struct doctor *d, struct error *err) {
    const struct config *c = d->w->config;
    json_t *folders = json_object();
    char dir[4200];
    int rc = 0;
    unsigned seen = 0;
    if (!folders) return error_set(err, ERR_NO_MEMORY, "no memory to look for leftovers");
    if (d->w->scratch_removed)
        rc = tell(d, FINDING_FACT, "leftovers", "scratch folders", NULL, err, "removed %s of runs that were killed",
                  COUNTED(d->w->scratch_removed, "scratch folder"));
    for (size_t i = 0; c && i < c->surfaces.count && rc == 0; i++)
        for (size_t k = 0; k < c->surfaces.items[i]->paths.count && rc == 0; k++)
            if (!looked_at(folders, c->surfaces.items[i]->paths.items[k]))
                rc = leftover_partials(c->surfaces.items[i]->paths.items[k], true, tell_partial, d, err);
    snprintf(dir, sizeof dir, "%.4000s/plans", d->w->cache_dir);
    int fd = rc == 0 ? seam_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) : -1;
    DIR *plans = fd < 0 ? NULL : seam_fdopendir(fd);
    if (!plans) io_close(&fd);
    for (struct dirent *e; plans && rc == 0 && seen < PLANS_LOOKED_AT && (e = seam_readdir(plans)); seen++) {
        struct buf b = BUF_INIT(16u << 20);
        struct error lost = ERROR_INIT;
        json_t *doc = NULL;
        if (*e->d_name != '.' && io_read_file(dirfd(plans), e->d_name, b.max_bytes, &b, &lost) == 0 &&
            json_parse(buf_bytes(&b), b.max_bytes, "plan", &doc, &lost) == 0) {
            const char *target = json_string_value(json_object_get(json_object_get(doc, "target"), "target"));
            if (target && *target == '/' && !looked_at(folders, target))
                rc = leftover_partials(target, true, tell_partial, d, err);
        }
        json_decref(doc);
        buf_free(&b);
    }
    if (plans) seam_closedir(plans);
    json_decref(folders);
    return rc;
}

int work_doctor(struct work *w, const struct selection *s, finding_cb cb, surface_facts_cb surface, void *ctx,
                struct doctor_totals *ret, struct error *err) {
    struct doctor d = {w, s, cb, surface, ctx, ret};
    *ret = (struct doctor_totals){0};
    int rc = selection_check(s, w, err);
    if (rc == 0) rc = look_at_config(&d, err);
    if (rc == 0) rc = work_each_repository(w, s, look_at_repository, &d, err);
    if (rc == 0) rc = look_at_surfaces(&d, err);
    if (rc == 0) rc = look_at_owed(&d, err);
    return rc < 0 ? rc : look_at_leftovers(&d, err);
}
