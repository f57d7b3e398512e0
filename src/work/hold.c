#include "work/hold.h"

#include "base/seam.h"
#include "evidence/statement.h"
#include "ledger/statement.h"

#include <stdio.h>

/* The log takes an entry before it is judged, so what a role may not say must be refused here. */
static int may(const struct work *w, enum hold_action action, struct error *err) {
    enum key_role role = repo_keys(w->repo)->role;
    if (role == ROLE_ADMIN || (action == HOLD_PLACE && (role == ROLE_PRUNE || role == ROLE_RESTORE))) return 0;
    return error_set(err, ERR_KEY_ROLE, "%s a hold needs %s key, and this one is a %s key",
                     action == HOLD_PLACE ? "placing" : "releasing",
                     action == HOLD_PLACE ? "an admin, prune or restore" : "an admin", key_role_name(role));
}

static int change(struct work *w, const char *address, const char *reason, enum hold_action action,
                  struct hold_done *ret, struct error *err) {
    const struct snapshot_info *info;
    json_t *statement = NULL;
    *ret = (struct hold_done){0};
    if (!*reason) return error_set(err, ERR_USAGE, "a hold needs a reason that is not empty");
    int rc = work_find_point(w, address, &info, err);
    if (rc == 0) rc = may(w, action, err);
    if (rc < 0) return rc;
    work_label(info, ret->label);
    snprintf(ret->id, sizeof ret->id, "%s", info->id);
    if (action == HOLD_RELEASE && !info->holds) return error_set(err, ERR_NO_POINT, "%s is not on hold", info->id);
    ret->ended = action == HOLD_RELEASE ? info->holds : 0;
    uint64_t point = info->seq;
    struct about about = {info->id, info->seq, info->entry};
    rc = evidence_hold(&about, action, reason, w->principal, NULL, &statement, err);
    if (rc == 0) rc = repo_append(w->repo, statement, &ret->seq, NULL, err);
    json_decref(statement);
    if (rc < 0) return rc;
    info = repo_snapshot_at(w->repo, point);
    if (action == HOLD_PLACE && info && info->forgotten)
        return error_set(err, ERR_NO_POINT, "%s was forgotten by somebody else just before the hold", ret->id);
    struct error lost = ERROR_INIT;
    if (repo_publish(w->repo, &lost) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, ret->label, lost.text);
    return 0;
}

int hold_add(struct work *w, const char *address, const char *reason, struct hold_done *ret, struct error *err) {
    return change(w, address, reason, HOLD_PLACE, ret, err);
}

int hold_release(struct work *w, const char *address, const char *reason, struct hold_done *ret, struct error *err) {
    return change(w, address, reason, HOLD_RELEASE, ret, err);
}

static int line(struct work *w, const struct hold_info *h, const struct snapshot_info *point, hold_cb cb, void *ctx,
                struct error *err) {
    struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1), payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    json_t *statement = NULL;
    int rc = ledger_read(repo_ledger(w->repo), h->seq, &envelope, err);
    if (rc == 0) rc = dsse_verify(buf_bytes(&envelope), h->signer, &payload, err);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), payload.max_bytes, "a hold", &statement, err);
    if (rc == 0) {
        const json_t *p = statement_predicate(statement);
        const char *reason = json_string_value(json_object_get(p, "reason"));
        const char *principal = json_string_value(json_object_get(p, "principal"));
        struct hold_line l = {point, h, reason ? reason : "", principal ? principal : ""};
        rc = cb(ctx, &l, err);
    }
    json_decref(statement);
    buf_free(&payload);
    buf_free(&envelope);
    return rc;
}

int hold_list(struct work *w, const struct selection *s, hold_cb cb, void *ctx, struct error *err) {
    const struct snapshot_info *only = NULL;
    if (!s->everything && s->address.point.kind != POINT_UNSAID) {
        if (s->address.surface_count != 1) return error_set(err, ERR_USAGE, "a recovery point is of one surface");
        int rc = work_point_of(w, s->address.environment, s->address.surfaces[0], &s->address.point, &only, err);
        if (rc < 0) return rc;
    }
    for (size_t i = 0; i < repo_hold_count(w->repo); i++) {
        const struct hold_info *h = repo_hold(w->repo, i);
        const struct snapshot_info *point = repo_snapshot_at(w->repo, h->snapshot);
        if (h->released || !point || (only && point != only)) continue;
        if (!selection_has(s, w->config, point->environment, point->surface)) continue;
        int rc = line(w, h, point, cb, ctx, err);
        if (rc != 0) return rc;
    }
    return 0;
}
