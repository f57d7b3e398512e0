#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "work/hook.h"
#include "work/reading.h"
#include "work/set_restore.h"
#include "work/verify.h"

#include <stdio.h>

#define HEALTH_WAIT_NS (60 * NS_PER_S) /* a service that was just started is not well at once */
#define HEALTH_PAUSE_MS 500

int set_spec_of(struct work *w, const json_t *doc, struct set_spec *ret, struct error *err) {
    const json_t *m;
    size_t i;
    *ret = (struct set_spec){.environment =
                                 w->config ? config_environment(w->config, json_text(doc, "environment", "")) : NULL};
    if (strlen(json_text(doc, "set", "")) >= sizeof ret->name)
        return error_set(err, ERR_PLAN_STALE, "the plan's set has no name");
    snprintf(ret->name, sizeof ret->name, "%s", json_text(doc, "set", ""));
    if (!ret->environment) return 0;
    ret->config = config_set(w->config, ret->environment, ret->name);
    json_array_foreach(json_object_get(doc, "members"), i, m) {
        const struct config_surface *s = config_surface(w->config, json_text(m, "surface", ""));
        if (s && ret->count < ADDRESS_SURFACES_MAX) ret->members[ret->count++] = s;
    }
    return 0;
}

/* ---- integrity ---- */
/* Of what expires, some is gone by now: what lasts must be there, and where nothing expires, all of it, as it was. */
static int lasting(const json_t *want, const json_t *got, json_t *differences, struct error *err) {
    const char *name;
    const json_t *w;
    int rc = 0;
    json_object_foreach((json_t *)want, name, w) {
        char key[100];
        int n = -1;
        unsigned long long db;
        if (rc < 0 || sscanf(name, "db/%llu/keys%n", &db, &n) != 1 || n < 0 || name[n]) continue;
        snprintf(key, sizeof key, "db/%llu/expires", db);
        json_int_t all = json_integer_value(json_object_get(w, "value")),
                   some = json_integer_value(json_object_get(json_object_get(want, key), "value")),
                   there = json_integer_value(json_object_get(json_object_get(got, name), "value")) -
                           json_integer_value(json_object_get(json_object_get(got, key), "value"));
        if (there != all - some)
            rc =
                json_push(differences,
                          json_pack("{s:s, s:I, s:I}", "invariant", name, "expected", all - some, "found", there), err);
        if (some || rc < 0) continue;
        snprintf(key, sizeof key, "db/%llu/digest", db);
        json_auto_t *one = json_pack("{s:O}", key, json_object_get(want, key));
        if (one) rc = verify_compare(one, got, differences, err);
    }
    return rc;
}

/* Every database of it is where the snapshot has it, so that the driver finds it by its name. */
static bool same_names(const json_t *facts, const char *target) {
    const json_t *d;
    size_t i, n = 0;
    char list[4096] = "";
    json_array_foreach(json_object_get(facts, "databases"), i, d) {
        if (n < sizeof list)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", json_text(d, "name", ""));
    }
    return *list && strcmp(list, target) == 0;
}

/* Facts whose databases say under which names they were restored; *ret NULL where the target does not say that, or
 * where what is compared across databases would be asked in those of the old names. */
static int renamed(const json_t *facts, const char *target, json_t **ret, struct error *err) {
    json_auto_t *out = json_deep_copy(facts);
    json_t *list = json_object_get(out, "databases"), *d;
    size_t i, commas = 0;
    *ret = NULL;
    if (!out) return error_set(err, ERR_NO_MEMORY, "no memory");
    for (const char *at = strstr(target, ", "); at; at = strstr(at + 2, ", ")) commas++;
    if (json_object_get(facts, "consistent") || json_array_size(list) != commas + 1) return 0;
    json_array_foreach(list, i, d) {
        const size_t n = i < commas ? (size_t)(strstr(target, ", ") - target) : strlen(target);
        json_t *at = n ? json_stringn(target, n) : NULL;
        if (!at) return 0; /* a name that is no text */
        int rc = json_put(d, "at", at, err);
        if (rc < 0) return rc;
        target += i < commas ? n + 2 : n;
    }
    *ret = json_incref(out);
    return 0;
}

/* Of a cluster, what was restored; the rest of it has gone its own way. */
static int indices(const json_t *want, const json_t *got, json_t *differences, struct error *err) {
    json_auto_t *some = json_object();
    const char *name;
    json_t *w;
    int rc = some ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach((json_t *)want, name, w) {
        if (rc == 0 && strncmp(name, "index/", 6) == 0) rc = json_put(some, name, json_incref(w), err);
    }
    return rc == 0 ? verify_compare(some, got, differences, err) : rc;
}

static bool has_indices(const json_t *invariants) {
    const char *name;
    json_t *w;
    json_object_foreach((json_t *)invariants, name, w) {
        if (strncmp(name, "index/", 6) == 0) return true;
    }
    return false;
}

typedef int (*compare_fn)(const json_t *want, const json_t *got, json_t *differences, struct error *err);

static int measure(struct work_reading *in, const json_t *scratch, const json_t *facts, compare_fn compare,
                   struct error *err) {
    json_auto_t *got = NULL, *differences = json_array();
    const struct surface_driver *d = in->surface.driver;
    int rc = differences ? d->measure(&in->ctx, scratch, facts, &got, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = compare(in->invariants, got, differences, err);
    const json_t *first = json_array_get(differences, 0);
    if (rc == 0 && first)
        rc = error_set(err, ERR_RESTORE_DIFFERS, "%zu of what was measured at capture differs, the first: %s",
                       json_array_size(differences), json_text(first, "invariant", ""));
    return rc;
}

static bool is_offline(const json_t *facts) {
    return strcmp(json_text(facts, "method", ""), "offline") == 0;
}

/* What is measured is what the surface takes by now. */
static bool is_all(const struct work_reading *in) {
    const json_t *dbms = json_object_get(in->ctx.settings, "dbms");
    return strcmp(json_text(in->facts, "selection", ""), "all") == 0 && !json_object_get(dbms, "labels") &&
           !json_object_get(dbms, "query");
}

/* Neo4j's own tool tells nothing of a database that a server runs on. */
static bool is_still(struct work_reading *in) {
    json_auto_t *now = NULL;
    struct error ignored = ERROR_INIT;
    return in->surface.driver->probe(&in->ctx, &now, &ignored) == 0 && json_is_false(json_object_get(now, "running"));
}

int set_integrity(struct work *w, const json_t *member, const char *target, char how[160], struct error *err) {
    struct work_reading in = {0};
    const char *kind = json_text(member, "kind", "");
    const bool in_place = json_is_true(json_object_get(member, "in_place")),
               swap = json_is_true(json_object_get(member, "swap"));
    const struct snapshot_info *info =
        repo_snapshot_at(w->repo, (uint64_t)json_integer_value(json_object_get(member, "seq")));
    if (!info) return error_set(err, ERR_NO_POINT, "the recovery point is gone");
    json_auto_t *scratch = *target == '/' ? json_pack("{s:s}", "path", target) : NULL, *at = NULL;
    int rc = work_reading_open(w, info, &in, err);
    if (rc == 0 && strcmp(kind, "postgres") == 0 && same_names(in.facts, target))
        at = json_incref((json_t *)in.facts);
    else if (rc == 0 && strcmp(kind, "postgres") == 0)
        rc = renamed(in.facts, target, &at, err);
    if (rc < 0) {
        snprintf(how, 160, "could not be begun");
    } else if (strcmp(kind, "files") == 0 && scratch) {
        snprintf(how, 160, "every file read again and compared");
        rc = measure(&in, scratch, in.facts, verify_compare, err);
    } else if (strcmp(kind, "redis") == 0 && (in_place || swap)) {
        snprintf(how, 160, "every key that does not expire counted again");
        rc = measure(&in, NULL, in.facts, lasting, err);
    } else if (strcmp(kind, "redis") == 0 && scratch) {
        snprintf(how, 160, "every key in dump.rdb read and digested again");
        rc = measure(&in, scratch, in.facts, verify_compare, err);
    } else if (at) {
        snprintf(how, 160, "every table, sequence and large object measured again");
        rc = measure(&in, NULL, at, verify_compare, err);
    } else if (in_place && strcmp(kind, "search") == 0 && has_indices(in.invariants)) {
        snprintf(how, 160, "every document of every index counted and digested again");
        rc = measure(&in, NULL, in.facts, indices, err);
    } else if (in_place && strcmp(kind, "neo4j") == 0 && is_all(&in)) {
        snprintf(how, 160, "every node, relationship and property read and digested again");
        rc = measure(&in, NULL, in.facts, verify_compare, err);
    } else if (in_place && strcmp(kind, "neo4j") == 0 && is_offline(in.facts) && is_still(&in)) {
        snprintf(how, 160, "the last transaction of every database asked for again");
        rc = measure(&in, NULL, in.facts, verify_compare, err);
    } else {
        snprintf(how, 160, "cannot be measured there: the restore's own checks stand");
        rc = 1;
    }
    work_reading_close(&in);
    return rc == 1 ? 1 : known_secrets_error(&w->known, rc, err);
}

/* ---- hooks and checks ---- */
struct checking {
    struct work *w;
    const struct set_spec *spec;
    const json_t *doc, *members;
    const struct set_restored *restored;
    const struct set_restore_watch *watch;
    struct set_restore_done *counts;
    json_t *rows;
    int rc; /* of the first that failed */
    struct error *err;
};

static int note(struct checking *c, struct set_check_done *d, int rc, int64_t started_ns, struct error *err) {
    static const char *const words[] = {"PASSED", "FAILED", "NOT_CHECKED"};
    d->result = rc == 0 ? CHECK_VERIFIED : rc < 0 ? CHECK_CORRUPT : CHECK_NOT_CHECKED;
    d->duration_ns = time_now_ns() - started_ns;
    c->counts->checks += rc <= 0;
    c->counts->checks_not_made += rc > 0;
    c->counts->checks_failed += rc < 0;
    if (c->watch && c->watch->check) c->watch->check(c->watch->ctx, d);
    if (rc < 0 && c->rc == 0) {
        const enum error_code code =
            d->why.code == ERR_INTERRUPTED || d->why.code == ERR_TERMINATED ? d->why.code : ERR_SET_CHECK;
        c->rc = error_set(c->err, code, "%s%s%s: %s", d->surface, *d->surface ? ": " : "", d->name, d->why.text);
        error_state(c->err, "every surface is restored; what was restored stays where it is");
    }
    char why[301];
    snprintf(why, sizeof why, "%.300s", d->why.text);
    return json_push(c->rows,
                     json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "check", d->name, "surface", d->surface, "result",
                               words[rc == 0  ? 0
                                     : rc < 0 ? 1
                                              : 2],
                               "how", d->how, "duration_ms", (json_int_t)(d->duration_ns / 1000000), "why",
                               json_name(BYTES_STR(why))),
                     err);
}

static json_t *facts_of(const struct checking *c, const struct set_restored *s) {
    json_t *targets = json_object();
    for (size_t i = 0; targets && i < json_array_size(c->members); i++)
        json_object_set_new(targets, c->restored[i].surface, json_name(BYTES_STR(c->restored[i].target)));
    return json_pack("{s:s, s:s, s:s, s:o?, s:o}", "set", c->spec->name, "set_id", json_text(c->doc, "set_id", ""),
                     "plan", json_text(c->doc, "id", ""), "target", s ? json_name(BYTES_STR(s->target)) : NULL,
                     "targets", targets);
}

static int call(struct checking *c, const struct config_hook *h, const char *name, const struct set_restored *s,
                struct error *err) {
    json_auto_t *facts = facts_of(c, s);
    const struct hook_event e = {.hook = name, .surface = s ? s->surface : NULL, .action = "restore", .facts = facts};
    return facts ? hook_run(c->w, c->spec->environment, h, &e, NULL, err) : error_set(err, ERR_NO_MEMORY, "no memory");
}

static int one_hook(struct checking *c, const struct config_hook *h, const char *name, const struct set_restored *s,
                    int64_t wait_ns, struct error *err) {
    struct set_check_done d = {0};
    if (!h) return 0;
    snprintf(d.name, sizeof d.name, "%.79s", name);
    snprintf(d.surface, sizeof d.surface, "%.79s", s ? s->surface : "");
    const int64_t started = time_now_ns();
    int rc = call(c, h, name, s, &d.why);
    while ((rc == -ERR_HOOK || rc == -ERR_HOOK_TIME) && time_now_ns() - started < wait_ns && stop_check(err) == 0) {
        error_clear(&d.why);
        (void)!seam_poll(NULL, 0, HEALTH_PAUSE_MS);
        rc = call(c, h, name, s, &d.why);
    }
    return note(c, &d, rc, started, err);
}

static const struct config_surface *surface_of(const struct checking *c, size_t i) {
    for (size_t k = 0; k < c->spec->count; k++)
        if (strcmp(c->spec->members[k]->head.name, c->restored[i].surface) == 0) return c->spec->members[k];
    return NULL;
}

static int hooks_run(struct checking *c, const char *name, int64_t wait_ns, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < json_array_size(c->members) && rc == 0; i++) {
        const struct config_surface *s = surface_of(c, i);
        if (s && c->restored[i].step <= SET_ALREADY)
            rc = one_hook(c, hook_find(s->hooks, name), name, &c->restored[i], wait_ns, err);
    }
    const struct config_hooks *own = c->spec->config ? c->spec->config->hooks : NULL;
    return rc == 0 ? one_hook(c, hook_find(own, name), name, NULL, wait_ns, err) : rc;
}

static int smoke_of(struct checking *c, const struct config_hooks *h, const struct set_restored *s, struct error *err) {
    int rc = 0;
    for (size_t i = 0; h && i < h->checks.count && rc == 0; i++)
        rc = one_hook(c, h->checks.items[i], h->checks.items[i]->head.name, s, 0, err);
    return rc;
}

static int smoke(struct checking *c, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < json_array_size(c->members) && rc == 0; i++) {
        const struct config_surface *s = surface_of(c, i);
        if (s) rc = smoke_of(c, s->hooks, &c->restored[i], err);
    }
    return rc == 0 && c->spec->config ? smoke_of(c, c->spec->config->hooks, NULL, err) : rc;
}

static int integrity(struct checking *c, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < json_array_size(c->members) && rc == 0; i++) {
        struct set_check_done d = {.name = "integrity"};
        const int64_t started = time_now_ns();
        snprintf(d.surface, sizeof d.surface, "%.79s", c->restored[i].surface);
        int one = set_integrity(c->w, json_array_get(c->members, i), c->restored[i].target, d.how, &d.why);
        rc = note(c, &d, one, started, err);
    }
    return rc;
}

int set_checks_run(struct work *w, const struct set_spec *spec, const json_t *doc, const struct set_restored *restored,
                   bool start_only, const struct set_restore_watch *watch, struct set_restore_done *counts,
                   json_t *rows, struct error *err) {
    struct error why = ERROR_INIT, lost = ERROR_INIT;
    struct checking c = {.w = w,
                         .spec = spec,
                         .doc = doc,
                         .members = json_object_get(doc, "members"),
                         .restored = restored,
                         .watch = watch,
                         .counts = counts,
                         .rows = rows,
                         .err = &why};
    /* before anything writes there again */
    int rc = start_only ? 0 : integrity(&c, &lost);
    if (rc == 0 && spec->environment) rc = hooks_run(&c, "start", 0, &lost);
    if (!start_only && rc == 0 && spec->environment) rc = hooks_run(&c, "health", HEALTH_WAIT_NS, &lost);
    if (!start_only && rc == 0 && spec->environment) rc = smoke(&c, &lost);
    if (rc == 0) rc = c.rc;
    if (rc < 0) *err = c.rc < 0 ? why : lost;
    return rc;
}
