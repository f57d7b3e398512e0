#include "work/thaw.h"

#include "base/http.h"
#include "base/time.h"
#include "platform/guard.h"
#include "work/counted.h"

#define LOOK_BASE_MS 2000
#define LOOK_CAP_MS 300000
#define LOOK_MIN_MS 500

/* The longest by tier; 0: not in that tier. */
static int64_t longest(const struct thaw_survey *s, enum store_tier tier) {
    int64_t ns = 0;
    for (size_t i = 0; i < s->cold_count; i++) {
        if (!store_is_frozen(&s->cold[i].is)) continue;
        int64_t one = store_thaw_ns(s->cold[i].is.depth, tier);
        if (one == 0 && s->cold[i].is.thaw == STORE_THAW_NONE) return 0;
        if (one > ns) ns = one;
    }
    return ns;
}

/* "GLACIER", or both when there are two. */
static void class_names(const struct thaw_survey *s, char out[2 * STORE_CLASS_BYTES + 8]) {
    const char *first = NULL, *other = NULL;
    for (size_t i = 0; i < s->cold_count; i++) {
        const char *name = s->cold[i].is.name;
        if (!store_is_frozen(&s->cold[i].is)) continue;
        if (!first)
            first = name;
        else if (!other && strcmp(name, first) != 0)
            other = name;
    }
    snprintf(out, 2 * STORE_CLASS_BYTES + 8, "%s%s%s", first ? first : "", other ? " and " : "", other ? other : "");
}

struct chosen {
    struct work *w;
    const struct snapshot_info *info;
    const json_t *doc; /* of the plan */
    struct thaw_need *need;
};

static int choose_item(void *ctx, struct snapshot *s, const struct item_head *h, struct error *err) {
    return thaw_need_item(((struct chosen *)ctx)->need, s, h, err);
}

static int choose(void *ctx, struct thaw_need *need, struct error *err) {
    struct chosen *c = ctx;
    c->need = need;
    return restore_wants(c->w, c->info, c->doc, choose_item, c, err);
}

/* What carrying out a plan needs. */
static int survey(struct work *w, const struct snapshot_info *info, bool whole, const json_t *doc,
                  struct thaw_survey *ret, struct error *err) {
    struct chosen c = {.w = w, .info = info, .doc = doc};
    return thaw_survey_make(w->repo, info, whole, choose, &c, ret, err);
}

/* Of what all of the point takes, what the part of it that is restored does. */
static int64_t part(const struct thaw_survey *s, int64_t seconds) {
    if (s->bytes >= s->point_bytes) return seconds;
    return (int64_t)((double)seconds * (double)s->bytes / (double)s->point_bytes + 0.999);
}

int thaw_plan(struct work *w, const struct snapshot_info *info, bool whole, enum store_tier tier, json_t *doc,
              struct error *err) {
    struct thaw_survey s;
    char names[2 * STORE_CLASS_BYTES + 8];
    int rc = survey(w, info, whole, doc, &s, err);
    if (rc < 0 || s.frozen + s.asked == 0) {
        if (rc == 0) thaw_survey_free(&s);
        return rc;
    }
    class_names(&s, names);
    json_t *t = json_object(), *tiers = json_object();
    rc = json_put(doc, "thaw", t, err);
    if (rc == 0) rc = json_put_int(t, "packs", (int64_t)s.packs, err);
    if (rc == 0) rc = json_put_int(t, "bytes", (int64_t)s.bytes, err);
    if (rc == 0) rc = json_put_str(t, "class", names, err);
    if (rc == 0) rc = json_put_int(t, "frozen_packs", (int64_t)s.frozen, err);
    if (rc == 0) rc = json_put_int(t, "frozen_bytes", (int64_t)s.frozen_bytes, err);
    if (rc == 0) rc = json_put_int(t, "asked_packs", (int64_t)s.asked, err);
    if (rc == 0) rc = json_put_int(t, "thawed_packs", (int64_t)s.done, err);
    if (rc == 0)
        rc = json_put(t, "tiers", tiers, err);
    else
        json_decref(tiers);
    for (enum store_tier i = 0; i < STORE_TIERS && rc == 0; i++)
        if (longest(&s, i)) rc = json_put_int(tiers, store_tier_name(i), longest(&s, i) / NS_PER_S, err);
    /* The tier that was asked for, or the one that every class has. */
    if (longest(&s, tier) == 0) tier = STORE_TIER_STANDARD;
    const int64_t seconds = longest(&s, tier) / NS_PER_S;
    const json_t *restore = json_object_get(doc, "estimated_seconds");
    if (rc == 0) rc = json_put_str(t, "tier", store_tier_name(tier), err);
    if (rc == 0) rc = json_put_int(t, "seconds", seconds, err);
    if (rc == 0 && json_is_integer(restore))
        rc = json_put_int(doc, "estimated_seconds", part(&s, json_integer_value(restore)) + seconds, err);
    thaw_survey_free(&s);
    return rc;
}

bool thaw_planned(const json_t *doc) {
    return json_is_object(json_object_get(doc, "thaw"));
}

static int frozen_error(const struct restore_plan *p, const struct thaw_survey *s, struct error *err) {
    char names[2 * STORE_CLASS_BYTES + 8], size[32];
    class_names(s, names);
    size_format(s->frozen_bytes, size);
    error_set(err, ERR_S3_ARCHIVED, "%s of %llu that %s needs (%s) cannot be read at once: the class is %s",
              COUNTED(s->frozen, "pack"), (unsigned long long)s->packs, p->snapshot_id, size, names);
    error_state(err, "Nothing was restored and nothing was asked for.");
    return error_next(err, "Bring them back and restore with 'proofkeep restore --plan %s --thaw standard'.", p->id);
}

static int thawing_error(const struct restore_plan *p, const struct thaw_survey *s, enum store_tier tier,
                         struct error *err) {
    char names[2 * STORE_CLASS_BYTES + 8], size[32], took[32], when[32];
    const int64_t ns = longest(s, tier);
    class_names(s, names);
    size_format(s->asked_bytes, size);
    duration_format(ns, took);
    time_format(time_now_ns() + ns, when);
    error_set(err, ERR_S3_THAWING, "%s (%s) are on their way out of %s; %s takes up to %s, so until about %s",
              COUNTED(s->asked, "pack"), size, names, store_tier_name(tier), took, when);
    error_state(err, "Nothing was restored yet.");
    return error_next(err, "Then run 'proofkeep restore --plan %s --thaw %s': what came back is not paid for again.",
                      p->id, store_tier_name(tier));
}

static int confirmed(struct work *w, const struct restore_plan *p, const struct snapshot_info *info,
                     const char *confirm, struct error *err) {
    const struct config_environment *e = w->config ? config_environment(w->config, info->environment) : NULL;
    return e ? guard_confirm(e, GUARD_RESTORE, info->surface, p->snapshot_id, confirm, err) : 0;
}

static void progress(struct work *w, const struct restore_plan *p, const struct thaw_survey *s, uint64_t total) {
    const struct work_events *e = &w->options.events;
    if (e->progress) e->progress(e->ctx, p->label, "thaw", total - s->asked_bytes, total, 0, s->done);
}

static int wait_for(struct work *w, const struct restore_plan *p, struct thaw_survey *s, struct error *err) {
    const uint64_t total = s->asked_bytes;
    bool done = false;
    int rc = 0;
    for (unsigned looks = 1; rc == 0; looks++) {
        progress(w, p, s, total);
        rc = thaw_look(w->repo, s, &done, err);
        if (rc < 0 || done) break;
        rc = http_wait(looks < 20 ? looks : 20, LOOK_BASE_MS, LOOK_CAP_MS, LOOK_MIN_MS, NULL, err);
    }
    if (rc == 0) progress(w, p, s, total);
    return rc;
}

int restore_thaw(struct work *w, struct restore_plan *p, const char *confirm, const struct thaw_request *q,
                 struct error *err) {
    const struct snapshot_info *info = repo_snapshot_at(w->repo, p->seq);
    struct thaw_survey s;
    if (!info) return error_set(err, ERR_PLAN_STALE, "plan %s: its recovery point is not there any more", p->id);
    int rc = confirmed(w, p, info, confirm, err);
    if (rc == 0) rc = survey(w, info, true, p->doc, &s, err);
    if (rc < 0) return rc;
    if (s.frozen && longest(&s, q->tier) == 0) {
        char names[2 * STORE_CLASS_BYTES + 8];
        class_names(&s, names);
        rc = error_set(err, ERR_S3_TIER, "%s has no tier %s", names, store_tier_name(q->tier));
        error_state(err, "Nothing was asked for and nothing was restored.");
        (void)!error_next(err, "Take the tier standard or bulk.");
    }
    if (rc == 0) rc = thaw_ask(w->repo, &s, q->tier, q->days, err);
    if (rc == 0 && s.asked && q->no_wait) {
        bool done;
        rc = thaw_look(w->repo, &s, &done, err);
        if (rc == 0 && !done) rc = thawing_error(p, &s, q->tier, err);
    } else if (rc == 0 && s.asked)
        rc = wait_for(w, p, &s, err);
    if (rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED)
        (void)!error_state(err, "What was asked for goes on coming back; nothing was restored yet.");
    p->thawed = rc == 0;
    thaw_survey_free(&s);
    return rc;
}

int thaw_check(struct work *w, const struct restore_plan *p, const struct snapshot_info *info, struct error *err) {
    struct thaw_survey s;
    if (p->thawed || !thaw_planned(p->doc)) return 0;
    int rc = survey(w, info, true, p->doc, &s, err);
    if (rc < 0) return rc;
    if (s.frozen)
        rc = frozen_error(p, &s, err);
    else if (s.asked)
        rc = thawing_error(p, &s, STORE_TIER_STANDARD, err);
    thaw_survey_free(&s);
    return rc;
}
