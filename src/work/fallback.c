#include "work/fallback.h"

#include "base/seam.h"
#include "base/time.h"
#include "repo/wal_object.h"
#include "work/beside.h"
#include "work/counted.h"

#include <stdio.h>

void fallback_free(struct work_fallback *f) {
    if (!f) return;
    work_close(f->at);
    seam_free(f);
}

struct work_fallback *fallback_in_use(struct work *w, const char *environment) {
    const struct config_repository *c = w->fallback ? beside_config(w, environment) : NULL;
    return c && strcmp(c->head.name, w->fallback->of) == 0 ? w->fallback : NULL;
}

int fallback_begin(struct work *w, const char *environment, const struct error *why, struct work_fallback **ret,
                   struct error *err) {
    const struct config_repository *c = beside_config(w, environment);
    struct error first = *why, e = ERROR_INIT;
    void *mem;
    *ret = NULL;
    if (!c || !c->fallback) return 0;
    int rc = mem_alloc(sizeof(struct work_fallback), &mem, err);
    if (rc < 0) return rc;
    struct work_fallback *f = mem;
    f->why = first;
    snprintf(f->of, sizeof f->of, "%s", c->head.name);
    snprintf(f->name, sizeof f->name, "%s", c->fallback);
    if (beside_open(w, f->name, environment, &f->at, &e) < 0) {
        *err = first;
        (void)!error_state(err, "its fallback %s cannot be used either: %.600s", f->name, e.text);
        rc = -(int)first.code;
        fallback_free(f);
        return rc;
    }
    fallback_free(w->fallback);
    w->fallback = *ret = f;
    beside_warn(w, f->of, "it is out of reach, and backups go to its fallback %s: %.600s", f->name, first.text);
    return 0;
}

static int quiet(void *ctx, const struct copy_point *p, struct error *err) {
    (void)ctx, (void)p, (void)err;
    return 0;
}

static int forward(struct work *w, struct work *from, const char *of, struct copy_result *ret, struct error *err) {
    struct copy_request q = {.forward = of};
    struct work_options o = w->options;
    struct work *to = NULL;
    o.repository = of;
    o.events.requests = NULL;
    int rc = work_open(&o, &to, err);
    if (rc == 0) rc = work_copy(from, to, &q, quiet, NULL, ret, err);
    if (rc == 0) rc = repo_sync(w->repo, err);
    work_close(to);
    return rc;
}

void fallback_look(struct work *w, const char *environment) {
    const struct config_repository *c = beside_config(w, environment);
    struct copy_result done = {0};
    struct work *from = NULL;
    struct error e = ERROR_INIT;
    int64_t since, wal_since = 0;
    uint64_t wal = 0;
    char age[32], waits[128];
    if (!c || !c->fallback || w->forwarded) return;
    w->forwarded = true;
    if (beside_open(w, c->fallback, environment, &from, &e) < 0) {
        beside_warn(w, c->head.name, "its fallback %s could not be used if it were needed: %.600s", c->fallback,
                    e.text);
        return;
    }
    if (repo_content_differs(w->repo, from->repo))
        beside_warn(
            w, c->head.name,
            "its fallback %s does not share its content keys, so nothing could be forwarded from it; make one with "
            "'proofkeep init --repository %s --copy-of %s'",
            c->fallback, c->fallback, c->head.name);
    else if (repo_epoch(from->repo) < repo_epoch(w->repo))
        beside_warn(w, c->head.name,
                    "its fallback %s has not followed it into epoch %u of ids; run once, with an admin key of it: "
                    "proofkeep copy "
                    "--all -r %s --to %s",
                    c->fallback, repo_epoch(w->repo), c->head.name, c->fallback);
    size_t n = copy_waiting(from->repo, c->head.name, &since);
    if (wal_log_waiting(from->repo, c->head.name, &wal, &wal_since, &e) < 0)
        beside_warn(w, c->head.name, "whether WAL waits in %s cannot be told: %.600s", c->fallback, e.text);
    error_clear(&e);
    if (wal && (n == 0 || wal_since < since)) since = wal_since;
    duration_format(time_now_ns() - since, age);
    if (n == 0)
        snprintf(waits, sizeof waits, "WAL (%s) waits", COUNTED(wal, "object"));
    else if (wal)
        snprintf(waits, sizeof waits, "%s and %s of WAL wait", COUNTED(n, "recovery point"), COUNTED(wal, "object"));
    else
        snprintf(waits, sizeof waits, n == 1 ? "%zu recovery point waits" : "%zu recovery points wait", n);
    n += wal > 0;
    if (n && !repo_keys(from->repo)->read_secret)
        beside_warn(w, c->head.name,
                    "%s in %s for %s, and this key of it may not read; forward with one that does: proofkeep copy "
                    "--forward -r %s --from-key-file PATH",
                    waits, c->fallback, age, c->head.name);
    else if (n && forward(w, from, c->head.name, &done, &e) < 0)
        beside_warn(w, c->head.name, "%s in %s for %s and could not be forwarded: %.600s", waits, c->fallback, age,
                    e.text);
    else if (n)
        beside_warn(w, c->head.name, "%s in %s for %s: %u forwarded, %u there before%s%s%s%.300s", waits, c->fallback,
                    age, done.done, done.there, done.wal.objects ? "; of WAL " : "",
                    done.wal.objects ? COUNTED(done.wal.objects, "object") : "",
                    done.failed ? ", the rest failed: " : "", done.failed ? done.first.text : "");
    work_close(from);
}

int fallback_json(struct work *w, const struct work_fallback *f, json_t **ret, struct error *err) {
    char why[1100];
    known_secrets_clean(&w->known, f->why.text, why, sizeof why);
    *ret = json_pack("{s:s, s:s, s:s}", "of", f->of, "code", error_info((int)f->why.code)->code, "why", why);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
}
