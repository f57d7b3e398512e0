#include "cli/verb_restore.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "work/any_copy.h"
#include "work/around.h"
#include "work/before.h"
#include "work/counted.h"
#include "work/restore.h"
#include "work/set_restore.h"
#include "work/thaw.h"

#include <stdio.h>

void verb_restore_plan_event(struct cli *c, const json_t *doc) {
    if (!output_is_json(c->output)) return;
    json_t *copy = json_deep_copy(doc); /* the event has a sequence number of its own */
    if (copy && json_object_get(copy, "seq")) {
        json_object_set(copy, "log_seq", json_object_get(copy, "seq"));
        json_object_del(copy, "seq");
    }
    output_event(c->output, "plan", copy);
}

static void warnings_print(struct cli *c, const json_t *list) {
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one)
        output_styled(c->output, STYLE_WARN, "  warning   %s\n", json_string_value(one) ? json_string_value(one) : "-");
}

#define THAW_DAYS 7
#define THAW_DAYS_MAX 3650

/* What must come out of an archive first, and how long that takes by tier. */
static void thaw_print(struct cli *c, const json_t *t) {
    char size[32], took[32];
    const char *tier;
    const json_t *seconds;
    if (!t) return;
    const uint64_t frozen = (uint64_t)json_integer_value(json_object_get(t, "frozen_packs")),
                   asked = (uint64_t)json_integer_value(json_object_get(t, "asked_packs"));
    size_format((uint64_t)json_integer_value(json_object_get(t, "frozen_bytes")), size);
    if (frozen)
        output_print(c->output, "  thaw      %s (%s) of %lld must come out of %s first\n", COUNTED(frozen, "pack"),
                     size, (long long)json_integer_value(json_object_get(t, "packs")), json_text(t, "class", "-"));
    if (asked)
        output_print(c->output, "  thaw      %s are on their way out of %s\n", COUNTED(asked, "pack"),
                     json_text(t, "class", "-"));
    json_object_foreach(json_object_get(t, "tiers"), tier, seconds) {
        duration_format(json_integer_value(seconds) * NS_PER_S, took);
        output_print(c->output, "  thaw      --thaw %s takes up to %s\n", tier, took);
    }
}

static int thaw_tier(struct cli *c, struct thaw_request *ret, bool *ret_given, struct error *err) {
    const char *name = options_text(c->options, OPT_THAW);
    *ret = (struct thaw_request){.tier = STORE_TIER_STANDARD,
                                 .days = options_count(c->options, OPT_THAW_DAYS, THAW_DAYS),
                                 .no_wait = options_flag(c->options, OPT_NO_WAIT)};
    *ret_given = name != NULL;
    for (enum store_tier t = 0; name && t < STORE_TIERS; t++)
        if (strcmp(name, store_tier_name(t)) == 0) ret->tier = t;
    if (!name && (options_given(c->options, OPT_THAW_DAYS) || ret->no_wait))
        return error_set(err, ERR_USAGE, "--thaw-days and --no-wait are of --thaw, which is not given");
    if (ret->days < 1 || ret->days > THAW_DAYS_MAX)
        return error_set(err, ERR_USAGE, "--thaw-days wants 1 to %d", THAW_DAYS_MAX);
    return 0;
}

void verb_restore_found_print(struct cli *c, const json_t *found) {
    const bool back = json_is_true(json_object_get(found, "rolled_back"));
    if (!json_is_object(found)) return;
    output_print(c->output, "  found     in the WAL at %s of timeline %lld, %s %s\n", json_text(found, "lsn", "-"),
                 (long long)json_integer_value(json_object_get(found, "timeline")),
                 back                                            ? "rolled back at"
                 : json_is_true(json_object_get(found, "point")) ? "behind the transaction of"
                                                                 : "committed at",
                 json_text(found, "time", "an unknown time"));
}

/* What is lost, and for a recovery what leads to the instant. */
static void point_print(struct cli *c, const json_t *d) {
    const json_t *r = json_object_get(d, "recovery"), *wal = json_object_get(r, "wal");
    char loss[32], size[32];
    const bool target = json_object_get(r, "base_end") != NULL;
    duration_format(json_integer_value(json_object_get(d, "loss_seconds")) * NS_PER_S, loss);
    output_print(c->output, "  point     %s%s\n", json_text(d, "point", "-"),
                 json_is_true(json_object_get(r, "exclusive")) ? ", just before it" : "");
    if (json_is_null(json_object_get(d, "loss_seconds")))
        output_print(c->output, "  you lose  everything written after it\n");
    else
        output_print(c->output, "  you lose  everything written since: %s\n", loss);
    if (target)
        output_print(c->output, "  base      %s, which ended at %s%s\n", json_text(d, "snapshot", "-"),
                     json_text(r, "base_end", "-"),
                     json_is_true(json_object_get(r, "base_chosen")) ? ": the newest that leads to the target" : "");
    verb_restore_found_print(c, json_object_get(r, "found"));
    if (!json_is_object(wal)) return;
    const uint64_t segments = (uint64_t)json_integer_value(json_object_get(wal, "segments"));
    size_format((uint64_t)json_integer_value(json_object_get(wal, "bytes")), size);
    output_print(c->output, "  WAL       %s to %s along timeline %lld, up to %s, stored at about %s\n",
                 json_text(wal, "from", "-"), json_text(wal, "to", "-"),
                 (long long)json_integer_value(json_object_get(wal, "timeline")), json_text(wal, "last", "-"),
                 json_text(wal, "newest", "-"));
    output_print(c->output, "  replay    about %s of it, in %s\n", size, COUNTED(segments, "segment"));
}

/* ", of which replaying WAL about 4 s", or nothing */
static void replay_text(const json_t *d, char out[64]) {
    char took[32];
    const json_t *s = json_object_get(json_object_get(json_object_get(d, "recovery"), "wal"), "replay_seconds");
    out[0] = 0;
    if (!json_is_integer(s)) return;
    duration_format(json_integer_value(s) * NS_PER_S, took);
    snprintf(out, 64, ", of which replaying WAL about %s", took);
}

void verb_restore_first_print(struct cli *c, const json_t *doc, const char *label, const char *lead) {
    char text[600];
    before_text(doc, label, text);
    if (!*text) return;
    output_styled(c->output, strcmp(json_text(doc, "backup_first", ""), BEFORE_HERE) == 0 ? STYLE_PLAIN : STYLE_WARN,
                  "%s%s\n", lead, text);
}

static void plan_print(struct cli *c, const struct restore_plan *p) {
    const json_t *d = p->doc, *t = json_object_get(d, "target"), *step, *part;
    char size[32], replay[64], estimate[64] = "unknown: no restore of this surface is on record yet";
    size_t i;
    size_format((uint64_t)json_integer_value(json_object_get(d, "bytes")), size);
    replay_text(d, replay);
    if (json_is_integer(json_object_get(d, "estimated_seconds")))
        duration_format(json_integer_value(json_object_get(d, "estimated_seconds")) * NS_PER_S, estimate);
    output_styled(c->output, STYLE_BOLD, "Plan %s\n", p->id);
    output_print(c->output, "  restore   %s  from %s\n", p->label, p->snapshot_id);
    point_print(c, d);
    json_array_foreach(json_object_get(d, "paths"), i, part)
        output_print(c->output, "  only      %s\n", json_string_value(part) ? json_string_value(part) : "-");
    output_print(c->output, "  size      %s in %s%s\n", size,
                 COUNTED((uint64_t)json_integer_value(json_object_get(d, "items")), "item"),
                 json_array_size(json_object_get(d, "paths")) ? ", with what is not wanted" : "");
    output_print(c->output, "  target    %s\n",
                 json_string_value(json_object_get(t, "target")) ? json_text(t, "target", "-")
                                                                 : json_text(d, "into", "-"));
    thaw_print(c, json_object_get(d, "thaw"));
    if (json_object_get(d, "thaw") && !json_is_integer(json_object_get(d, "estimated_seconds"))) {
        duration_format(json_integer_value(json_object_get(json_object_get(d, "thaw"), "seconds")) * NS_PER_S,
                        estimate);
        output_print(
            c->output,
            "  time      up to %s before it begins, then unknown: no restore of this surface is on record yet\n",
            estimate);
    } else
        output_print(c->output, "  time      %s%s\n", estimate, replay);
    verb_restore_first_print(c, d, p->label, "  first     ");
    json_array_foreach(json_object_get(t, "steps"), i, step)
        output_print(c->output, "  step %zu    %s\n", i + 1, json_string_value(step) ? json_string_value(step) : "-");
    warnings_print(c, json_object_get(d, "warnings"));
    warnings_print(c, json_object_get(t, "warnings"));
    verb_restore_plan_event(c, p->doc);
}

/* The phrase by option, or typed by a person. */
static int run(struct cli *c, struct work *w, struct restore_plan *p, const struct thaw_request *thaw,
               struct error *err) {
    struct buf typed = BUF_INIT(4096);
    const char *confirm = NULL;
    struct restore_done done = {0};
    char took[32], size[32], rate[40];
    int rc = prompt_phrase(c, p->protected ? p->phrase : NULL, &typed, &confirm, err);
    if (rc == 0 && thaw) rc = restore_thaw(w, p, confirm, thaw, err);
    p->no_backup_first = options_flag(c->options, OPT_NO_BACKUP_FIRST);
    if (rc == 0) rc = restore_run(w, p, confirm, &done, err);
    buf_free(&typed);
    if (rc < 0) {
        if (err->code == ERR_S3_THAWING) output_set_result(c->output, json_pack("{s:s}", "plan", p->id));
        if (err->code != ERR_CONFIRM && err->code != ERR_S3_THAWING)
            output_progress_end(c->output, p->label, STYLE_BAD, "FAILED");
        json_decref(done.facts);
        return rc;
    }
    duration_format(done.duration_ns, took);
    size_format(done.bytes, size);
    verb_rate(done.bytes, done.duration_ns, rate);
    output_progress_end(c->output, p->label, STYLE_GOOD, "RESTORED  to %s: %s, %s, in %s (%s)", done.target,
                        COUNTED(done.items, "item"), size, took, rate);
    if (p->before[0]) output_print(c->output, "  what was there before is %s@%s\n", p->label, p->before);
    if (p->before_first[0])
        output_print(c->output, "  what was there before the run that did not end well is %s@%s\n", p->label,
                     p->before_first);
    verb_copies_say(c, w);
    json_t *copies = NULL;
    rc = any_copy_json(w, &copies, err);
    output_set_result(
        c->output, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:s?, s:s?, s:s?, s:o}", "plan", p->id, "snapshot",
                             p->snapshot_id, "target", done.target, "items", (json_int_t)done.items, "bytes",
                             (json_int_t)done.bytes, "duration_ms", (json_int_t)(done.duration_ns / 1000000), "facts",
                             done.facts ? done.facts : json_object(), "before", p->before[0] ? p->before : NULL,
                             "before_first", p->before_first[0] ? p->before_first : NULL, "read_from",
                             any_copy_read_from(w), "copies", copies ? copies : json_array()));
    return rc;
}

/* What a killed run of a plan may have left: the platform in standby, and half of a target. */
static int undo(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    const char *plan = options_text(c->options, OPT_PLAN);
    bool was = false;
    output_set_job(c->output, "restore");
    if (!plan) return error_set(err, ERR_USAGE, "--abort undoes a plan; name it with --plan");
    unsigned removed = 0;
    bool sure;
    int rc = verb_work(c, &w, err);
    if (rc == 0 && plan_file_is(plan, SET_PLAN_PREFIX)) return verb_restore_set_abort(c, w, plan, err);
    if (rc == 0) rc = around_abort(w, plan, &was, err);
    if (rc == 0 && was) output_print(c->output, "%s: the platform is back in service.\n", plan);
    if (rc == 0) rc = restore_undo(w, plan, &removed, &sure, err);
    if (rc == 0 && !sure)
        output_print(c->output,
                     "%s: what a killed run may have half restored cannot be told from anything else, and stays.\n",
                     plan);
    else if (rc == 0 && (removed || !was))
        output_print(c->output, "%s: %s.\n", plan,
                     removed ? "what a killed run had half restored was removed" : "nothing was left to be undone");
    return rc;
}

struct restore_options verb_restore_options(struct cli *c) {
    size_t n;
    return (struct restore_options){.into = options_text(c->options, OPT_INTO),
                                    .paths = options_list(c->options, OPT_PATH, &n),
                                    .in_place = options_flag(c->options, OPT_IN_PLACE),
                                    .swap = options_flag(c->options, OPT_SWAP),
                                    .no_backup_first = options_flag(c->options, OPT_NO_BACKUP_FIRST),
                                    .terminate_connections = options_flag(c->options, OPT_TERMINATE),
                                    .no_owner = options_flag(c->options, OPT_NO_OWNER),
                                    .delta = options_flag(c->options, OPT_DELTA),
                                    .tablespaces = options_list(c->options, OPT_TABLESPACE, &n),
                                    .target = options_text(c->options, OPT_TARGET),
                                    .target_time = options_text(c->options, OPT_TARGET_TIME),
                                    .target_lsn = options_text(c->options, OPT_TARGET_LSN),
                                    .target_xid = options_text(c->options, OPT_TARGET_XID),
                                    .target_name = options_text(c->options, OPT_TARGET_NAME),
                                    .target_timeline = options_text(c->options, OPT_TARGET_TIMELINE),
                                    .target_action = options_text(c->options, OPT_TARGET_ACTION),
                                    .target_exclusive = options_flag(c->options, OPT_TARGET_EXCLUSIVE),
                                    .standby = options_flag(c->options, OPT_STANDBY)};
}

int verb_restore_by_name(const char *phrase, const char *full, const char *plan, struct error *err) {
    error_set(err, phrase ? ERR_CONFIRM : ERR_TARGET_NOT_EMPTY, "%s, so the plan %s must be carried out by name",
              phrase ? "the environment is protected" : full, plan);
    if (phrase) return error_next(err, "Carry the plan out with --confirm '%s'.", phrase);
    return error_next(err, "Carry it out with --plan %s, or name an empty or new target.", plan);
}

int verb_run_restore(struct cli *c, struct error *err) {
    struct work *w = NULL;
    struct restore_plan p = {0};
    const char *plan = options_text(c->options, OPT_PLAN);
    struct restore_options o = verb_restore_options(c);
    bool dry = options_flag(c->options, OPT_DRY_RUN), thawing = false;
    struct thaw_request thaw;
    if (verb_restore_is_cutover(c)) return verb_restore_cutover(c, err);
    if (options_flag(c->options, OPT_ABORT)) return undo(c, err);
    if (verb_restore_is_rows(c)) return verb_restore_rows(c, err);
    output_set_job(c->output, "restore");
    int rc = verb_restore_no_cutover(c, err);
    if (rc == 0) rc = thaw_tier(c, &thaw, &thawing, err);
    o.thaw = thawing;
    o.tier = thaw.tier;
    if (rc == 0) rc = verb_work_reading(c, &w, err);
    const struct set_info *set = NULL;
    if (rc == 0 && !plan) rc = set_find(w, options_operand(c->options, 0), &set, err);
    if (rc == 0 && (set || (plan && plan_file_is(plan, SET_PLAN_PREFIX)))) {
        rc = verb_restore_set(c, w, set, err);
        work_close(w);
        return rc;
    }
    if (rc == 0)
        rc = plan ? restore_plan_load(w, plan, &p, err)
                  : restore_plan_make(w, options_operand(c->options, 0), &o, &p, err);
    if (rc < 0) goto out;
    plan_print(c, &p);
    if (dry || (!plan && (p.protected || !p.fresh))) {
        output_set_result(c->output, json_pack("{s:s}", "plan", p.id));
        output_print(c->output, "\nTo carry it out:\n  proofkeep restore --plan %s", p.id);
        if (thaw_planned(p.doc)) output_print(c->output, " --thaw %s", store_tier_name(thaw.tier));
        if (p.protected) output_print(c->output, " --confirm '%s'", p.phrase);
        output_print(c->output, "\n");
        if (!dry)
            rc = verb_restore_by_name(p.protected ? p.phrase : NULL, "the target is not new and empty", p.id, err);
    } else
        rc = run(c, w, &p, thawing ? &thaw : NULL, err);
out:
    restore_plan_free(&p);
    work_close(w);
    return rc;
}
