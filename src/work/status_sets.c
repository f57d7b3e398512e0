/* Sets against their targets. The point of a set is the instant at which it began: what was written after it may be
 * missing. */
#include "base/seam.h"
#include "base/time.h"
#include "work/point.h"
#include "work/quiesce.h"
#include "work/status.h"

#include <stdio.h>
#include <stdlib.h>

static struct status_set *set_at(struct status *st, const char *environment, const char *name) {
    for (size_t i = 0; i < st->set_count; i++)
        if (strcmp(st->sets[i].environment, environment) == 0 && strcmp(st->sets[i].set, name) == 0)
            return &st->sets[i];
    return NULL;
}

static int add(struct status *st, const char *environment, const char *name, const char *repository,
               struct status_set **ret, struct error *err) {
    int rc = mem_grow((void **)&st->sets, &st->set_cap, st->set_count + 1, sizeof *st->sets, err);
    if (rc < 0) return rc;
    *ret = &st->sets[st->set_count++];
    **ret = (struct status_set){.state = STATUS_NO_TARGET};
    snprintf((*ret)->environment, sizeof(*ret)->environment, "%s", environment);
    snprintf((*ret)->set, sizeof(*ret)->set, "%s", name);
    snprintf((*ret)->repository, sizeof(*ret)->repository, "%s", repository);
    return 0;
}

static int configured(struct status *st, const struct work *w, const struct config_environment *e,
                      const struct config_set *c, const char *repository, struct error *err) {
    struct status_set *s;
    if (set_at(st, e->head.name, c->head.name)) return 0; /* the environment's stands above the root's */
    for (size_t k = 0; k < c->surfaces.count; k++) /* one of the root may name what this environment does not have */
        if (!config_environment_has(e, config_surface(w->config, c->surfaces.items[k]))) return 0;
    int rc = add(st, e->head.name, c->head.name, repository, &s, err);
    if (rc < 0) return rc;
    s->configured = true;
    s->surfaces = c->surfaces.count;
    s->rpo = c->rpo;
    s->rto = c->rto;
    if (s->rpo.state == CONFIG_UNSET && e->policy) s->rpo = e->policy->rpo;
    if (s->rto.state == CONFIG_UNSET && e->policy) s->rto = e->policy->rto;
    return 0;
}

static void judge(struct status_set *s, bool newest_whole, int64_t now_ns) {
    char age[32], limit[32];
    s->state = STATUS_GOOD;
    if (!s->configured || (s->rpo.state == CONFIG_UNSET && s->rto.state == CONFIG_UNSET)) {
        s->state = STATUS_NO_TARGET;
        snprintf(s->why, sizeof s->why, "%s",
                 s->configured ? "no RPO and no RTO is set" : "it is not configured, so it has no targets");
    }
    duration_format(s->rpo.ns, limit);
    if (s->configured && !s->good_time_ns && s->rpo.state != CONFIG_NONE) {
        s->state = s->rpo.state == CONFIG_SET ? STATUS_BREACHED : STATUS_NO_BACKUP;
        snprintf(s->why, sizeof s->why, "there is no whole set");
    } else if (s->good_time_ns && s->rpo.state == CONFIG_SET && now_ns - s->good_time_ns > s->rpo.ns) {
        duration_format(now_ns - s->good_time_ns, age);
        s->state = STATUS_BREACHED;
        snprintf(s->why, sizeof s->why, "the newest whole set is %s old; the RPO is %s", age, limit);
    } else if (s->rto.state == CONFIG_SET && s->restored_ns && s->restore_took_ns > s->rto.ns) {
        duration_format(s->restore_took_ns, age);
        duration_format(s->rto.ns, limit);
        s->state = STATUS_BREACHED;
        snprintf(s->why, sizeof s->why, "the last restore of the whole took %s; the RTO is %s", age, limit);
    } else if (s->rto.state == CONFIG_SET && s->good_time_ns && !s->restored_ns) {
        s->state = STATUS_UNPROVEN;
        snprintf(s->why, sizeof s->why, "no restore of the whole is on record, so its RTO was never tried");
    } else if (s->good_time_ns && !newest_whole && s->state == STATUS_GOOD) {
        s->state = STATUS_FAILED;
        snprintf(s->why, sizeof s->why, "the newest set is partial");
    }
}

static bool trusted(const struct work *w, const struct set_info *n) {
    for (size_t i = 0; i < n->member_count; i++) {
        const struct snapshot_info *p = repo_snapshot_at(w->repo, n->members[i]);
        if (!p || repo_snapshot_suspect(w->repo, p)) return false;
    }
    return true;
}

static void gather(struct status *st, struct work *w, struct status_set *s) {
    bool newest_whole = true;
    for (size_t i = 0; i < repo_set_count(w->repo); i++) {
        const struct set_info *n = repo_set(w->repo, i);
        if (strcmp(n->environment, s->environment) != 0 || strcmp(n->name, s->set) != 0) continue;
        if (n->complete && n->restored_ns > s->restored_ns) {
            s->restored_ns = n->restored_ns;
            s->restore_took_ns = n->restore_took_ns;
        }
        newest_whole = n->complete;
        if (!s->configured) s->surfaces = n->member_count + n->missing;
        const int64_t time_ns = set_time(w, n);
        if (!n->complete || set_members_left(w, n) != n->member_count || !trusted(w, n)) continue;
        snprintf(s->good_id, sizeof s->good_id, "%s", n->id);
        snprintf(s->consistency, sizeof s->consistency, "%s", n->consistency);
        s->good_time_ns = time_ns;
    }
    judge(s, newest_whole, st->now_ns);
}

static bool selected(const struct selection *s, const char *environment, const char *name) {
    if (s->everything) return true;
    if (!selection_environment(s, environment)) return false;
    if (s->address.all) return true;
    return s->address.surface_count == 1 && strcmp(s->address.surfaces[0], name) == 0;
}

static int by_state(const void *a, const void *b) {
    const struct status_set *x = a, *y = b;
    if (x->state != y->state) return x->state < y->state ? -1 : 1;
    int c = strcmp(x->environment, y->environment);
    return c ? c : strcmp(x->set, y->set);
}

int status_sets_add(struct status *st, struct work *w, const struct selection *s, const char *name, struct error *err) {
    const struct config *c = w->config;
    const struct work_events *events = &w->options.events;
    const size_t from = st->set_count;
    int rc = 0;
    for (size_t i = 0; c && i < c->environments.count && rc == 0; i++) {
        const struct config_environment *e = c->environments.items[i];
        struct error lost = ERROR_INIT;
        const char *url;
        char left[1500];
        if (work_repo_url(w, e->head.name, &url, &lost) < 0 || strcmp(url, w->url) != 0) continue;
        static const char *const downs[] = {"freeze", "standby"};
        for (size_t k = 0; k < 2; k++)
            if (selection_environment(s, e->head.name) && events->warning &&
                quiesce_left(w, e->head.name, downs[k], left, sizeof left))
                events->warning(events->ctx, e->head.name, left);
        for (size_t k = 0; k < e->sets.count && rc == 0; k++)
            if (selected(s, e->head.name, e->sets.items[k]->head.name))
                rc = configured(st, w, e, e->sets.items[k], name, err);
        for (size_t k = 0; k < c->sets.count && rc == 0; k++)
            if (selected(s, e->head.name, c->sets.items[k]->head.name))
                rc = configured(st, w, e, c->sets.items[k], name, err);
    }
    for (size_t i = 0; i < repo_set_count(w->repo) && rc == 0; i++) {
        const struct set_info *n = repo_set(w->repo, i);
        struct status_set *row;
        if (set_at(st, n->environment, n->name) || !selected(s, n->environment, n->name)) continue;
        rc = add(st, n->environment, n->name, name, &row, err);
    }
    for (size_t i = from; i < st->set_count && rc == 0; i++) gather(st, w, &st->sets[i]);
    if (rc == 0 && st->set_count) qsort(st->sets, st->set_count, sizeof *st->sets, by_state);
    return rc;
}

static json_t *target_json(const struct config_duration *d) {
    if (d->state == CONFIG_UNSET) return json_null();
    return d->state == CONFIG_NONE ? json_string("none") : json_integer((json_int_t)(d->ns / NS_PER_S));
}

int status_sets_json(const struct status *st, json_t **ret, struct error *err) {
    json_auto_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for the status");
    for (size_t i = 0; i < st->set_count && rc == 0; i++) {
        const struct status_set *s = &st->sets[i];
        json_t *good = json_null(), *restored = json_null();
        if (s->good_time_ns)
            good =
                json_pack("{s:s, s:o, s:I, s:s}", "id", s->good_id, "time", point_time_json(s->good_time_ns), "age_s",
                          (json_int_t)((st->now_ns - s->good_time_ns) / NS_PER_S), "consistency", s->consistency);
        if (s->restored_ns)
            restored = json_pack("{s:o, s:I}", "at", point_time_json(s->restored_ns), "took_ms",
                                 (json_int_t)(s->restore_took_ns / 1000000));
        rc = json_push(list,
                       json_pack("{s:s, s:s, s:s, s:b, s:s, s:b, s:s, s:I, s:o, s:o, s:o, s:o}", "environment",
                                 s->environment, "set", s->set, "repository", s->repository, "configured",
                                 (int)s->configured, "state", status_state_name(s->state), "ok",
                                 (int)!status_fails(s->state), "why", s->why, "surfaces", (json_int_t)s->surfaces,
                                 "rpo_s", target_json(&s->rpo), "rto_s", target_json(&s->rto), "last_good", good,
                                 "last_restore", restored),
                       err);
    }
    if (rc == 0) *ret = json_incref(list);
    return rc;
}
