#include "work/hold.h"

#include "base/seam.h"
#include "evidence/statement.h"
#include "ledger/statement.h"
#include "work/set.h"

#include <stdio.h>

/* The log takes an entry before it is judged, so what a role may not say must be refused here. */
static int may(const struct work *w, enum hold_action action, struct error *err) {
    enum key_role role = repo_keys(w->repo)->role;
    if (role == ROLE_ADMIN || (action == HOLD_PLACE && (role == ROLE_PRUNE || role == ROLE_RESTORE))) return 0;
    return error_set(err, ERR_KEY_ROLE, "%s a hold needs %s key, and this one is a %s key",
                     action == HOLD_PLACE ? "placing" : "releasing",
                     action == HOLD_PLACE ? "an admin, prune or restore" : "an admin", key_role_name(role));
}

/* One entry of the log. */
static int say(struct work *w, const struct snapshot_info *info, const char *set, const char *reason,
               enum hold_action action, struct hold_done *ret, struct error *err) {
    json_t *statement = NULL;
    const uint64_t point = info->seq;
    const unsigned holds = info->holds;
    char id[SNAPSHOT_ID_MAX];
    struct about about = {info->id, info->seq, info->entry};
    snprintf(id, sizeof id, "%s", info->id);
    int rc = evidence_hold(&about, action, set, reason, w->principal, NULL, &statement, err);
    if (rc == 0) rc = repo_append(w->repo, statement, &ret->seq, NULL, err);
    json_decref(statement);
    if (rc < 0) return rc;
    info = repo_snapshot_at(w->repo, point);
    if (action == HOLD_PLACE && info && info->forgotten)
        return error_set(err, ERR_NO_POINT, "%s was forgotten by somebody else just before the hold", id);
    ret->points++;
    if (action == HOLD_RELEASE) ret->ended += holds;
    return 0;
}

static int one(struct work *w, const char *address, const char *reason, enum hold_action action, struct hold_done *ret,
               struct error *err) {
    const struct snapshot_info *info;
    int rc = work_find_point(w, address, &info, err);
    if (rc == 0) rc = may(w, action, err);
    if (rc < 0) return rc;
    work_label(info, ret->label);
    snprintf(ret->id, sizeof ret->id, "%s", info->id);
    if (action == HOLD_RELEASE && !info->holds) return error_set(err, ERR_NO_POINT, "%s is not on hold", info->id);
    return say(w, info, NULL, reason, action, ret, err);
}

static int whole_set(struct work *w, const struct set_info *s, const char *reason, enum hold_action action,
                     struct hold_done *ret, struct error *err) {
    uint64_t members[SET_MEMBERS_MAX];
    const size_t n = s->member_count;
    size_t held = 0;
    memcpy(members, s->members, n * sizeof *members);
    snprintf(ret->label, sizeof ret->label, "%.120s/%.1023s", s->environment, s->name);
    snprintf(ret->id, sizeof ret->id, "%s", s->id);
    int rc = may(w, action, err);
    if (rc == 0 && action == HOLD_PLACE && (n == 0 || set_members_left(w, s) != n))
        rc = error_set(err, ERR_NO_POINT, "%s has %zu of its %zu recovery points left, and is not whole any more",
                       ret->id, set_members_left(w, s), n);
    for (size_t i = 0; i < n && rc == 0; i++) held += repo_snapshot_at(w->repo, members[i])->holds > 0;
    if (rc == 0 && action == HOLD_RELEASE && held == 0)
        rc = error_set(err, ERR_NO_POINT, "no recovery point of %s is on hold", ret->id);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct snapshot_info *info = repo_snapshot_at(w->repo, members[i]); /* an append moves them */
        if (info && (action == HOLD_PLACE || info->holds)) rc = say(w, info, ret->id, reason, action, ret, err);
    }
    if (rc < 0 && ret->points)
        error_state(err, "%u of its %zu recovery points %s", ret->points, n,
                    action == HOLD_PLACE ? "are held" : "are released");
    return rc;
}

static int change(struct work *w, const char *address, const char *reason, enum hold_action action,
                  struct hold_done *ret, struct error *err) {
    const struct set_info *set = NULL;
    *ret = (struct hold_done){0};
    if (!*reason) return error_set(err, ERR_USAGE, "a hold needs a reason that is not empty");
    int rc = set_find(w, address, &set, err);
    if (rc == 0) rc = set ? whole_set(w, set, reason, action, ret, err) : one(w, address, reason, action, ret, err);
    struct error lost = ERROR_INIT;
    if (ret->points && repo_publish(w->repo, &lost) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, ret->label, lost.text);
    return rc;
}

int hold_add(struct work *w, const char *address, const char *reason, struct hold_done *ret, struct error *err) {
    return change(w, address, reason, HOLD_PLACE, ret, err);
}

int hold_release(struct work *w, const char *address, const char *reason, struct hold_done *ret, struct error *err) {
    return change(w, address, reason, HOLD_RELEASE, ret, err);
}

/* ---- the list ---- */

struct listed { /* sets that have had their line */
    const struct set_info *set;
    char *reason;
};
struct list {
    struct work *w;
    const struct selection *s;
    const struct snapshot_info *only_point;
    const struct set_info *only_set;
    hold_cb cb;
    void *ctx;
    struct listed *told;
    size_t count, cap;
};

static int entry_read(struct work *w, const struct hold_info *h, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    int rc = ledger_read(repo_ledger(w->repo), h->seq, &envelope, err);
    if (rc == 0) rc = dsse_verify(buf_bytes(&envelope), h->signer, &payload, err);
    return rc == 0 ? json_parse(buf_bytes(&payload), payload.max_bytes, "a hold", ret, err) : rc;
}

/* The set that an entry says it is held as a member of, when it is one. */
static const struct set_info *set_of(const struct work *w, const char *id, uint64_t member) {
    for (size_t i = *id ? repo_set_count(w->repo) : 0; i-- > 0;) {
        const struct set_info *s = repo_set(w->repo, i);
        for (size_t k = 0; k < s->member_count && strcmp(s->id, id) == 0; k++)
            if (s->members[k] == member) return s;
    }
    return NULL;
}

/* Members on which a hold stands that was placed on the whole of the set. */
static int held_as(struct list *l, const struct set_info *set, size_t *ret, struct error *err) {
    *ret = 0;
    for (size_t k = 0; k < set->member_count; k++) {
        bool held = false;
        for (size_t i = 0; i < repo_hold_count(l->w->repo) && !held; i++) {
            const struct hold_info *h = repo_hold(l->w->repo, i);
            json_auto_t *statement = NULL;
            if (h->released || h->snapshot != set->members[k]) continue;
            int rc = entry_read(l->w, h, &statement, err);
            if (rc < 0) return rc;
            held = strcmp(json_text(statement_predicate(statement), "set", ""), set->id) == 0;
        }
        *ret += held;
    }
    return 0;
}

static int told_before(struct list *l, const struct set_info *set, const char *reason, bool *ret, struct error *err) {
    *ret = false;
    for (size_t i = 0; i < l->count && !*ret; i++)
        *ret = l->told[i].set == set && strcmp(l->told[i].reason, reason) == 0;
    if (*ret) return 0;
    int rc = mem_grow((void **)&l->told, &l->cap, l->count + 1, sizeof *l->told, err);
    if (rc == 0) rc = mem_strdup(reason, &l->told[l->count].reason, err);
    if (rc == 0) l->told[l->count++].set = set;
    return rc;
}

static int line(struct list *l, const struct hold_info *h, const struct snapshot_info *point, struct error *err) {
    json_auto_t *statement = NULL;
    bool again = false;
    int rc = entry_read(l->w, h, &statement, err);
    if (rc < 0) return rc;
    const json_t *p = statement_predicate(statement);
    struct hold_line line = {.point = point,
                             .hold = h,
                             .reason = json_text(p, "reason", ""),
                             .principal = json_text(p, "principal", ""),
                             .set = set_of(l->w, json_text(p, "set", ""), point->seq)};
    if (line.set) rc = told_before(l, line.set, line.reason, &again, err);
    if (rc < 0 || again || (l->only_set && line.set != l->only_set)) return rc;
    if (line.set) rc = held_as(l, line.set, &line.held, err);
    return rc == 0 ? l->cb(l->ctx, &line, err) : rc;
}

int hold_list(struct work *w, const struct selection *s, hold_cb cb, void *ctx, struct error *err) {
    struct list l = {.w = w, .s = s, .cb = cb, .ctx = ctx};
    const struct address *a = &s->address;
    int rc = 0;
    if (!s->everything && a->point.kind != POINT_UNSAID) {
        rc = set_find_parsed(w, a, "what is named", &l.only_set, err);
        if (rc == 0 && !l.only_set)
            rc = work_point_of(w, a->environment, a->surfaces[0], &a->point, &l.only_point, err);
    }
    for (size_t i = 0; rc == 0 && i < repo_hold_count(w->repo); i++) {
        const struct hold_info *h = repo_hold(w->repo, i);
        const struct snapshot_info *point = repo_snapshot_at(w->repo, h->snapshot);
        if (h->released || !point || (l.only_point && point != l.only_point)) continue;
        if (l.only_set || selection_has(s, w->config, point->environment, point->surface)) rc = line(&l, h, point, err);
    }
    for (size_t i = 0; i < l.count; i++) seam_free(l.told[i].reason);
    seam_free(l.told);
    return rc;
}
