/* Invariants
 *  1. A member is "done" in the journal only after its restore was answered with success, with the fingerprint of what
 * was then at its target (empty where no such restore is possible any more); it is "begun" from before the first byte
 * is written.
 *  2. Targets of all members that are not done are looked at before the first of them is touched.
 *  3. Whatever fails, services that were restored are started and `live` is run; the receipt says what failed.
 */
#include "work/set_restore_internal.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "evidence/set.h"
#include "platform/guard.h"
#include "work/before.h"
#include "work/owed.h"
#include "work/quiesce.h"

#include <stdio.h>

#define JOURNAL_BYTES_MAX (4u << 20)

const char *set_step_name(enum set_step s) {
    static const char *const names[] = {"restored", "already restored", "failed", "not begun"};
    return names[s];
}

/* ---- journal ---- */
static int journal_save(struct set_run *r, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(JOURNAL_BYTES_MAX);
    int rc = json_write_pretty(r->journal, &b, err);
    return rc == 0 ? io_replace_file(AT_FDCWD, r->path, buf_bytes(&b), 0600, err) : rc;
}

static int journal_open(struct set_run *r, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(JOURNAL_BYTES_MAX);
    char lock[4200];
    int rc = plan_file_path(r->w, r->p->id, ".lock", lock, err);
    if (rc == 0) rc = plan_file_path(r->w, r->p->id, ".journal", r->path, err);
    if (rc < 0) return rc;
    r->lock = seam_openat(AT_FDCWD, lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (r->lock < 0) return error_set_errno(err, ERR_IO_WRITE, "%s", lock);
    if (io_lock(r->lock) < 0) return error_set(err, ERR_SET_BUSY, "plan %s is being carried out", r->p->id);
    rc = io_read_file(AT_FDCWD, r->path, JOURNAL_BYTES_MAX, &b, err);
    if (rc == -ERR_IO_NOT_FOUND) {
        error_clear(err);
        r->journal = json_pack("{s:{}, s:I, s:b}", "members", "took_ms", (json_int_t)0, "finished", 0);
        return r->journal ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a journal");
    }
    if (rc == 0) rc = json_parse(buf_bytes(&b), JOURNAL_BYTES_MAX, "journal of a restore", &r->journal, err);
    return rc;
}

static json_t *journal_of(const struct set_run *r, const char *surface) {
    return json_object_get(json_object_get(r->journal, "members"), surface);
}

/* The plan that a member was last begun by: the set's own, or one that was made anew after a kill. */
static const char *plan_of(const json_t *m, const json_t *row) {
    return json_text(row, "plan", json_text(m, "plan", ""));
}

int set_journal_put(struct set_run *r, const struct set_restored *m, const char *plan, const char *state,
                    const char *fingerprint, struct error *err) {
    json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "state", state, "plan", plan, "target", m->target,
                            "fingerprint", fingerprint, "before", m->before, "items", (json_int_t)m->items, "bytes",
                            (json_int_t)m->bytes);
    int rc = json_put(json_object_get(r->journal, "members"), m->surface, row, err);
    return rc == 0 ? journal_save(r, err) : rc;
}

/* ---- before anything is touched ---- */
/* What was restored must be what is there: nobody may take it for the set's who has put something else in its place. */
static int already(struct set_run *r, size_t i, const json_t *row, struct error *err) {
    const json_t *m = json_array_get(r->members, i);
    struct set_restored *s = &r->rows[i];
    struct restore_plan p = {0};
    char print[129], how[160];
    const struct snapshot_info *info =
        repo_snapshot_at(r->w->repo, (uint64_t)json_integer_value(json_object_get(m, "seq")));
    snprintf(s->target, sizeof s->target, "%s", json_text(row, "target", ""));
    snprintf(s->before, sizeof s->before, "%.*s", SNAPSHOT_ID_MAX - 1, json_text(row, "before", ""));
    s->step = SET_ALREADY;
    int rc = info ? plan_file_load(r->w, plan_of(m, row), &p.doc, err)
                  : error_set(err, ERR_NO_POINT, "the recovery point of %s is gone", s->surface);
    const char *then = json_text(row, "fingerprint", "");
    if (rc == 0 && *then) {
        p.seq = info->seq;
        snprintf(p.id, sizeof p.id, "%s", plan_of(m, row));
        rc = restore_fingerprint(r->w, &p, print, err);
    }
    if (rc == 0 && *then && strcmp(print, then) != 0)
        rc = error_set(err, ERR_PLAN_STALE, "plan %s restored %s, and what is at its target now is something else",
                       r->p->id, s->surface);
    /* after the end of a plan, what is live has gone on */
    if (rc == 0 && !json_is_true(json_object_get(r->journal, "finished")))
        rc = set_integrity(r->w, m, s->target, how, err);
    restore_plan_free(&p);
    return rc < 0 ? rc : 0;
}

/* A member that was being restored when the run was killed, and whose target is another since. What is swapped in or
 * goes in place begins anew by another plan of the same request. What a driver knows for its own half is not in a
 * target's fingerprint, and goes with the same plan; anything else under the name of a new thing is not ours to take
 * away. */
static int again(struct set_run *r, size_t i, const json_t *row, struct error *err) {
    const json_t *m = json_array_get(r->members, i);
    json_t *doc = NULL;
    char address[400];
    const struct snapshot_info *info =
        repo_snapshot_at(r->w->repo, (uint64_t)json_integer_value(json_object_get(m, "seq")));
    /* an import into a graph goes on where the same one stopped, and refuses any other */
    const bool live = json_is_true(json_object_get(m, "swap")) || json_is_true(json_object_get(m, "in_place")),
               goes_on = strcmp(json_text(m, "kind", ""), "neo4j") == 0;
    if (!info || (!live && !goes_on)) {
        error_state(err, "a killed run of this plan was restoring it: what it left there is half of it");
        error_next(err, "Look at %.150s, remove what is half-restored there, then carry out the plan again.",
                   json_text(m, "target", ""));
        return -(int)err->code;
    }
    error_clear(err);
    int rc = plan_file_load(r->w, plan_of(m, row), &doc, err);
    unsigned undone;
    bool sure;
    if (rc == 0) rc = restore_undo(r->w, plan_of(m, row), &undone, &sure, err);
    snprintf(address, sizeof address, "%.120s/%.130s@%s", info->environment, info->surface, info->id);
    struct restore_options o = {.in_place = json_is_true(json_object_get(m, "in_place")),
                                .swap = json_is_true(json_object_get(m, "swap")),
                                .into = live ? NULL : json_string_value(json_object_get(doc, "into")),
                                .terminate_connections = json_is_true(json_object_get(doc, "terminate_connections")),
                                .no_owner = json_is_true(json_object_get(doc, "no_owner")),
                                .no_backup_first = strcmp(json_text(doc, "backup_first", ""), BEFORE_DECLINED) == 0};
    if (rc == 0) rc = restore_plan_make(r->w, address, &o, &r->plans[i], err);
    if (rc == 0) before_hand_on(r->w, plan_of(m, row), r->plans[i].id);
    json_decref(doc);
    return rc;
}

static int prepare(struct set_run *r, struct error *err) {
    for (size_t i = 0; i < r->n; i++) {
        const json_t *m = json_array_get(r->members, i), *row;
        struct set_restored *s = &r->rows[i];
        s->surface = json_text(m, "surface", "");
        s->step = SET_NOT_BEGUN;
        snprintf(s->target, sizeof s->target, "%s", json_text(m, "target", ""));
        row = journal_of(r, s->surface);
        int rc;
        if (strcmp(json_text(row, "state", ""), "done") == 0)
            rc = already(r, i, row, err);
        else if (r->p->made) {
            r->plans[i] = r->p->made[i];
            json_incref(r->plans[i].doc);
            rc = 0;
        } else if ((rc = restore_plan_load(r->w, plan_of(m, row), &r->plans[i], err)) == -ERR_PLAN_STALE && row)
            rc = again(r, i, row, err);
        if (rc < 0) {
            rc = error_wrap(err, "%s", s->surface);
            if (!*err->state) error_state(err, "nothing was done by this run");
            return rc;
        }
    }
    return 0;
}

/* ---- the receipt ---- */
static json_t *member_row(const struct set_run *r, size_t i) {
    const struct set_restored *s = &r->rows[i];
    char why[401];
    snprintf(why, sizeof why, "%.400s", s->why.text);
    return json_pack("{s:s, s:s, s:s, s:s*, s:o, s:I, s:I, s:I, s:o}", "surface", s->surface, "snapshot",
                     json_text(json_array_get(r->members, i), "backup_id", ""), "result", set_step_name(s->step),
                     "before", *s->before ? s->before : NULL, "target", json_name(BYTES_STR(s->target)), "items",
                     (json_int_t)s->items, "bytes", (json_int_t)s->bytes, "duration_ms",
                     (json_int_t)(s->duration_ns / 1000000), "why", json_name(BYTES_STR(why)));
}

static void sign(struct set_run *r, const json_t *checks, bool good, const struct error *why) {
    const enum key_role role = repo_keys(r->w->repo)->role;
    const struct work_events *e = &r->w->options.events;
    struct redaction secrets = known_secrets_redaction(&r->w->known);
    struct error lost = ERROR_INIT;
    json_auto_t *members = json_array(), *statement = NULL;
    struct digest entry;
    const struct set_info *set = NULL;
    if (role != ROLE_ADMIN && role != ROLE_RESTORE) return;
    for (size_t i = 0; i < repo_set_count(r->w->repo); i++)
        if (repo_set(r->w->repo, i)->seq == r->p->seq) set = repo_set(r->w->repo, i);
    int rc = members && set ? 0 : error_set(&lost, ERR_NO_MEMORY, "no memory for a receipt");
    for (size_t i = 0; i < r->n && rc == 0; i++) rc = json_push(members, member_row(r, i), &lost);
    struct set_restore_record record = {.set = set,
                                        .plan_sha256 = json_text(r->p->doc, "digest", ""),
                                        .started_ns = r->started_ns,
                                        .completed_ns = time_now_ns(),
                                        .took_ns = r->done->took_ns,
                                        .succeeded = good,
                                        .members = members,
                                        .checks = checks,
                                        .principal = r->w->principal,
                                        .notes = good ? "" : why->text};
    if (rc == 0) rc = evidence_set_restore(&record, &secrets, &statement, &lost);
    if (rc == 0) rc = owed_append(r->w, r->p->label, statement, &r->done->seq, &entry, &lost);
    if (rc == 0 && e->receipt)
        e->receipt(e->ctx, r->p->label, json_object_get(statement, "predicate"), r->done->seq, &entry);
    if (rc == 0) rc = repo_publish(r->w->repo, &lost);
    if (rc < 0 && e->warning) e->warning(e->ctx, r->p->label, lost.text);
}

/* All that will be written over, before any of it is. */
static int back_up_first(struct set_run *r, struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < r->n && rc == 0; i++) {
        struct restore_plan *p = &r->plans[i];
        if (!p->doc || r->rows[i].step == SET_ALREADY) continue;
        p->no_backup_first |= r->p->no_backup_first;
        rc = before_see_to(r->w, p, err);
        snprintf(r->rows[i].before, sizeof r->rows[i].before, "%s", p->before_first[0] ? p->before_first : p->before);
        if (rc < 0) r->rows[i].why = *err;
    }
    for (size_t i = 0; i < r->n && rc < 0; i++) {
        if (r->rows[i].step == SET_ALREADY)
            r->done->already++;
        else
            r->done->not_begun++;
        set_member_tell(r, &r->rows[i]);
    }
    return rc;
}

static int act(struct set_run *r, json_t *checks, struct error *err) {
    struct quiesce q;
    struct error lost = ERROR_INIT;
    int rc = quiesce_begin(&q, r->w, &r->spec, "standby", "live", "restore", false, err);
    if (rc < 0) return rc;
    rc = back_up_first(r, err);
    if (rc == 0) rc = set_restore_all(r, err);
    const bool whole = rc == 0;
    int checked =
        set_checks_run(r->w, &r->spec, r->p->doc, r->rows, !whole, r->watch, r->done, checks, whole ? err : &lost);
    if (whole) rc = checked;
    const struct work_events *e = &r->w->options.events;
    if (!whole && checked < 0 && e->warning) e->warning(e->ctx, r->p->label, lost.text);
    error_clear(&lost);
    int up = quiesce_end(&q, rc == 0 ? err : &lost);
    if (rc < 0 && up < 0 && e->warning) e->warning(e->ctx, r->p->label, lost.text);
    return rc < 0 ? rc : up;
}

static int carry_out(struct set_run *r, struct error *err) {
    int rc = journal_open(r, err);
    if (rc == 0) rc = set_spec_of(r->w, r->p->doc, &r->spec, err);
    if (rc == 0) rc = prepare(r, err);
    if (rc < 0) return rc;
    json_auto_t *checks = json_array();
    if (!checks) return error_set(err, ERR_NO_MEMORY, "no memory for checks");
    const bool before = json_is_true(json_object_get(r->journal, "finished"));
    rc = act(r, checks, err);
    r->done->duration_ns = time_now_ns() - r->started_ns;
    const int64_t took_ms =
        json_integer_value(json_object_get(r->journal, "took_ms")) + (before ? 0 : r->done->duration_ns / 1000000);
    r->done->took_ns = took_ms * 1000000;
    struct error lost = ERROR_INIT;
    int kept = json_put_int(r->journal, "took_ms", took_ms, &lost);
    if (kept == 0) kept = json_put(r->journal, "finished", json_boolean(before || rc == 0), &lost);
    if (kept == 0) kept = journal_save(r, &lost);
    const struct work_events *e = &r->w->options.events;
    if (kept < 0 && e->warning) e->warning(e->ctx, r->p->label, lost.text);
    sign(r, checks, rc == 0, err);
    return rc;
}

int set_restore_run(struct work *w, const struct set_plan *p, const char *confirm,
                    const struct set_restore_watch *watch, struct set_restore_done *ret, struct error *err) {
    void *plans = NULL, *rows = NULL;
    struct set_run r = {.w = w, .p = p, .watch = watch, .done = ret, .lock = -1, .started_ns = time_now_ns()};
    const struct config_environment *e =
        w->config ? config_environment(w->config, json_text(p->doc, "environment", "")) : NULL;
    *ret = (struct set_restore_done){0};
    r.members = json_object_get(p->doc, "members");
    r.n = json_array_size(r.members);
    int rc = e ? guard_confirm(e, GUARD_RESTORE, json_text(p->doc, "set", ""), p->set_id, confirm, err) : 0;
    if (rc == 0) rc = mem_alloc((r.n + 1) * sizeof *r.plans, &plans, err);
    if (rc == 0) rc = mem_alloc((r.n + 1) * sizeof *r.rows, &rows, err);
    r.plans = plans;
    r.rows = rows;
    if (rc == 0) rc = carry_out(&r, err);
    for (size_t i = 0; plans && i < r.n; i++) restore_plan_free(&r.plans[i]);
    seam_free(plans);
    seam_free(rows);
    json_decref(r.journal);
    io_close(&r.lock);
    return rc;
}

/* ---- undoing ---- */
static int undo_member(struct set_run *r, size_t i, unsigned *undone, struct error *err) {
    const json_t *m = json_array_get(r->members, i), *row = journal_of(r, json_text(m, "surface", ""));
    struct set_restored *s = &r->rows[i];
    struct restore_plan now = {0};
    unsigned removed = 0;
    bool sure;
    s->surface = json_text(m, "surface", "");
    s->step = SET_NOT_BEGUN;
    snprintf(s->target, sizeof s->target, "%s", json_text(row ? row : m, "target", ""));
    if (strcmp(json_text(row, "state", ""), "done") == 0) {
        s->step = SET_ALREADY;
        return 0;
    }
    if (!row) return 0;
    int rc = restore_undo(r->w, plan_of(m, row), &removed, &sure, &s->why);
    *undone += removed;
    /* PostgreSQL swaps, whatever it is called; anything else has been written over where it is */
    if (rc == 0 && json_is_true(json_object_get(m, "in_place")) && strcmp(json_text(m, "kind", ""), "postgres") != 0)
        rc = error_set(&s->why, ERR_SET_RESTORE,
                       "it was being restored in place, and may be half of it: only the plan carried out again mends it");
    /* killed between the end of a restore and the journal, it is whole there: nobody may take that for undone */
    const bool other = rc == 0 && restore_plan_load(r->w, plan_of(m, row), &now, &s->why) < 0;
    if (other) (void)!error_wrap(&s->why, "what is there now%s stays", sure ? "" : ", which may be half of it,");
    if (other && !sure) rc = -(int)s->why.code;
    restore_plan_free(&now);
    if (rc < 0) {
        s->step = SET_FAILED;
        return error_set(err, ERR_SET_RESTORE, "%s: %s", s->surface, s->why.text);
    }
    if (other) return 0; /* the plan, carried out again, looks at it */
    json_object_del(json_object_get(r->journal, "members"), s->surface);
    return journal_save(r, err);
}

static int undo_all(struct set_run *r, unsigned *undone, struct error *err) {
    struct error lost = ERROR_INIT;
    bool standby = false;
    int rc = journal_open(r, err);
    if (rc == 0) rc = set_spec_of(r->w, r->p->doc, &r->spec, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < r->n; i++) {
        struct error one = ERROR_INIT;
        if (undo_member(r, i, undone, &one) < 0 && rc == 0) {
            *err = one;
            rc = -(int)one.code;
        }
        set_member_tell(r, &r->rows[i]);
    }
    /* half a member is no reason to keep the platform in standby */
    int up = quiesce_undo_left(r->w, &r->spec, "standby", "live", "restore", &standby, rc < 0 ? &lost : err);
    *undone += standby && up == 0;
    return rc < 0 ? rc : up;
}

int set_restore_abort(struct work *w, const char *id, const struct set_restore_watch *watch, unsigned *ret,
                      struct error *err) {
    struct set_plan p;
    struct set_restore_done done = {0};
    void *rows = NULL;
    struct set_run r = {.w = w, .p = &p, .watch = watch, .done = &done, .lock = -1, .started_ns = time_now_ns()};
    *ret = 0;
    int rc = set_plan_load(w, id, &p, err);
    if (rc < 0) return rc;
    r.members = json_object_get(p.doc, "members");
    r.n = json_array_size(r.members);
    rc = mem_alloc((r.n + 1) * sizeof *r.rows, &rows, err);
    r.rows = rows;
    if (rc == 0) rc = undo_all(&r, ret, err);
    seam_free(rows);
    json_decref(r.journal);
    io_close(&r.lock);
    set_plan_free(&p);
    return rc;
}
