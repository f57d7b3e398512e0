#include "platform/policy.h"
#include "base/time.h"

#define STALE_DEFAULT_NS (48 * 3600 * NS_PER_S)

static const struct config_targets *targets_of(const struct config_policy *p, const struct config_surface *s) {
    for (size_t i = 0; p && i < p->surface.count; i++)
        if (strcmp(p->surface.items[i]->head.name, s->head.name) == 0) return p->surface.items[i];
    return NULL;
}

static void take_retention(struct policy *ret, const struct config_retention *r) {
    if (!r) return;
    if (!ret->keep) ret->keep = r->keep;
    if (!ret->min_copies.set) ret->min_copies = r->min_copies;
}

void policy_of(const struct config *c, const struct config_environment *e, const struct config_surface *s,
               struct policy *ret) {
    const struct config_policy *p = e->policy;
    const struct config_targets *t = targets_of(p, s);
    *ret = (struct policy){0};
    if (t) {
        ret->rpo = t->rpo;
        ret->rto = t->rto;
        ret->verify = (enum config_level)t->verify;
        take_retention(ret, t->retention);
    }
    if (p) {
        if (ret->rpo.state == CONFIG_UNSET) ret->rpo = p->rpo;
        if (ret->rto.state == CONFIG_UNSET) ret->rto = p->rto;
        if (ret->verify == CONFIG_LEVEL_UNSET) ret->verify = (enum config_level)p->verify;
        take_retention(ret, p->retention);
    }
    if (c->defaults) take_retention(ret, c->defaults->retention);
}

static uint32_t places(struct config_int v) {
    return v.set ? (uint32_t)v.value : 0;
}

void policy_retention(const struct policy *p, struct retention_rules *ret) {
    *ret = (struct retention_rules){0};
    if (p->keep) {
        ret->last = places(p->keep->last);
        ret->hourly = places(p->keep->hourly);
        ret->daily = places(p->keep->daily);
        ret->weekly = places(p->keep->weekly);
        ret->monthly = places(p->keep->monthly);
        ret->yearly = places(p->keep->yearly);
    }
    ret->min_copies = p->min_copies.set ? places(p->min_copies) : 1;
    ret->level_min = p->verify == CONFIG_LEVEL_UNSET ? CONFIG_LEVEL_CHECKSUM : p->verify;
    ret->stale_after_ns = STALE_DEFAULT_NS;
    if (p->rpo.state == CONFIG_SET) ret->stale_after_ns = p->rpo.ns > INT64_MAX / 2 ? INT64_MAX : 2 * p->rpo.ns;
}

static int put_duration(json_t *row, const char *key, const struct config_duration *d, struct error *err) {
    return json_put_str(row, key, d->state == CONFIG_UNSET ? "unset" : d->text, err);
}

/* {"daily":7,…}; each rule that is set. */
static int put_keep(json_t *row, const struct config_keep *keep, struct error *err) {
    if (!keep) return json_put_str(row, "retention", "unset", err);
    const struct {
        const char *name;
        struct config_int places;
    } rules[] = {{"last", keep->last},     {"hourly", keep->hourly},   {"daily", keep->daily},
                 {"weekly", keep->weekly}, {"monthly", keep->monthly}, {"yearly", keep->yearly}};
    int rc = json_put(row, "retention", json_object(), err);
    for (size_t i = 0; rc == 0 && i < sizeof(rules) / sizeof(rules[0]); i++)
        if (rules[i].places.set)
            rc = json_put_int(json_object_get(row, "retention"), rules[i].name, rules[i].places.value, err);
    return rc;
}

static int put_unset(json_t *row, const struct policy *p, struct error *err) {
    const struct {
        const char *name;
        bool unset;
    } all[] = {
        {"rpo", p->rpo.state == CONFIG_UNSET},
        {"rto", p->rto.state == CONFIG_UNSET},
        {"retention", p->keep == NULL},
        {"min_copies", !p->min_copies.set},
        {"verify", p->verify == CONFIG_LEVEL_UNSET},
    };
    int rc = json_put(row, "unset", json_array(), err);
    for (size_t i = 0; rc == 0 && i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].unset) rc = json_push(json_object_get(row, "unset"), json_string(all[i].name), err);
    return rc;
}

static int fill_row(json_t *row, const struct config *c, const struct config_environment *e,
                    const struct config_surface *s, struct error *err) {
    struct policy p;
    policy_of(c, e, s, &p);
    int rc = json_put_str(row, "environment", e->head.name, err);
    if (rc == 0) rc = json_put_str(row, "surface", s->head.name, err);
    if (rc == 0) rc = json_put_str(row, "kind", config_kind_name(s), err);
    if (rc == 0) rc = json_put_str(row, "classification", config_class_name(s), err);
    if (rc == 0) rc = json_put(row, "protected", json_boolean(e->protected), err);
    if (rc == 0) rc = json_put_str(row, "repository", e->repository, err);
    if (rc == 0) rc = put_duration(row, "rpo", &p.rpo, err);
    if (rc == 0) rc = put_duration(row, "rto", &p.rto, err);
    if (rc == 0) rc = put_keep(row, p.keep, err);
    if (rc == 0)
        rc = p.min_copies.set ? json_put_int(row, "min_copies", p.min_copies.value, err)
                              : json_put_str(row, "min_copies", "unset", err);
    if (rc == 0) rc = json_put_str(row, "verify", config_level_name(p.verify), err);
    return rc < 0 ? rc : put_unset(row, &p, err);
}

int policy_matrix(const struct config *c, json_t **ret, struct error *err) {
    json_auto_t *rows = json_array();
    if (!rows) return error_set(err, ERR_NO_MEMORY, "no memory for the policy matrix");
    for (size_t i = 0; i < c->environments.count; i++)
        for (size_t j = 0; j < c->surfaces.count; j++) {
            const struct config_environment *e = c->environments.items[i];
            if (!config_environment_has(e, c->surfaces.items[j])) continue;
            json_t *row = json_object();
            int rc = json_push(rows, row, err); /* owns the row in every case, and keeps it while it is filled */
            if (rc == 0) rc = fill_row(row, c, e, c->surfaces.items[j], err);
            if (rc < 0) return rc;
        }
    *ret = json_incref(rows);
    return 0;
}
