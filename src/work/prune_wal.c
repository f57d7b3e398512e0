#include "work/prune_wal.h"

#include "base/seam.h"

#include <inttypes.h>

static bool planned(const struct prune_plan *p, uint64_t system) {
    for (size_t i = 0; i < p->wal_count; i++)
        if (p->wal[i].system == system) return true;
    return false;
}

static bool goes(void *ctx, uint64_t seq) {
    const struct prune_plan *p = ctx;
    for (size_t i = 0; i < p->count; i++)
        for (size_t k = 0; k < p->list[i].point_count; k++)
            if (p->list[i].points[k].seq == seq) return p->list[i].points[k].verdict.decision == RETENTION_FORGET;
    return false;
}

int prune_wal_plan(struct work *w, const struct selection *s, struct prune_plan *p, struct error *err) {
    size_t cap = 0;
    int rc = 0;
    for (size_t i = 0; i < wal_log_count(w->repo) && rc == 0; i++) {
        const struct wal_batch *b = wal_log_batch(w->repo, i);
        if (strcmp(b->environment, p->environment) != 0 || planned(p, b->system) ||
            !selection_has(s, w->config, b->environment, b->surface))
            continue;
        rc = mem_grow((void **)&p->wal, &cap, p->wal_count + 1, sizeof *p->wal, err);
        if (rc == 0) rc = work_wal_leaving(w, b->system, p->options.grace_ns, goes, p, &p->wal[p->wal_count], err);
        if (rc < 0) break;
        p->wal_objects += p->wal[p->wal_count].objects;
        p->wal_bytes += p->wal[p->wal_count++].bytes;
    }
    return rc;
}

int prune_wal_digest(const struct prune_plan *p, struct buf *b, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < p->wal_count && rc == 0; i++)
        for (size_t k = 0; k < p->wal[i].first_count && rc == 0; k++)
            rc = buf_printf(b, err, "wal %" PRIu64 " before %s\n", p->wal[i].system, p->wal[i].first[k].name);
    return rc;
}

static int leaving_json(const struct wal_leaving *l, json_t **ret, struct error *err) {
    json_auto_t *first = json_array();
    char system[24];
    int rc = first ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    for (size_t i = 0; i < l->first_count && rc == 0; i++) rc = json_push(first, json_string(l->first[i].name), err);
    if (rc < 0) return rc;
    snprintf(system, sizeof system, "%" PRIu64, l->system);
    *ret = json_pack("{s:s, s:O, s:I, s:I, s:s?}", "system", system, "first", first, "objects", (json_int_t)l->objects,
                     "bytes", (json_int_t)l->bytes, "why", *l->why ? l->why : NULL);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
}

int prune_wal_json(const struct prune_plan *p, json_t **ret, struct error *err) {
    json_auto_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    for (size_t i = 0; i < p->wal_count && rc == 0; i++) {
        json_t *one = NULL;
        rc = leaving_json(&p->wal[i], &one, err);
        if (rc == 0) rc = json_push(list, one, err);
    }
    if (rc == 0) *ret = json_incref(list);
    return rc;
}

int prune_wal_run(struct work *w, const struct prune_plan *p, struct prune_done *ret, struct error *err) {
    struct wal_removed sum = {0};
    int rc = 0;
    for (size_t i = 0; i < p->wal_count && rc == 0; i++) {
        struct wal_leaving now = {0};
        rc = work_wal_leaving(w, p->wal[i].system, p->options.grace_ns, NULL, NULL, &now, err);
        if (rc == 0) rc = work_wal_remove(w, &now, p->options.grace_ns, &sum, err);
        wal_leaving_free(&now);
    }
    ret->wal_objects = sum.objects;
    ret->wal_bytes = sum.bytes;
    ret->freed_bytes += sum.bytes;
    ret->locked += sum.locked;
    ret->locked_bytes += sum.locked_bytes;
    if (sum.locked_until_ns > ret->locked_until_ns) ret->locked_until_ns = sum.locked_until_ns;
    return rc;
}

void prune_wal_free(struct prune_plan *p) {
    for (size_t i = 0; i < p->wal_count; i++) wal_leaving_free(&p->wal[i]);
    seam_free(p->wal);
}
