#include "work/cutover_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include "evidence/statement.h"
#include "platform/guard.h"
#include "work/owed.h"
#include "work/reading.h"
#include "work/thaw.h"

#include <stdio.h>

#define STEPS_MAX 32
#define CHECKS_MAX 100    /* that a receipt has */
#define UNDOING "undoing" /* the journal's state from before anything is put back until all of it is */

/* ---- opening ---- */

static int facts_of(struct cut *k, const struct snapshot_info *info, struct error *err) {
    struct work_reading in;
    int rc = work_reading_open(k->w, info, &in, err);
    if (rc == 0 && !(k->facts = json_copy_whole(in.facts)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory for the facts of %s", info->id);
    work_reading_close(&in);
    return rc;
}

static int journal_of(struct cut *k, struct error *err) {
    const char *names[STEPS_MAX + 1], *digest = json_string_value(json_object_get(k->p->doc, "digest"));
    const json_t *list = json_object_get(k->p->doc, "steps"), *s;
    char path[4200];
    size_t i, n = 0;
    json_array_foreach(list, i, s) {
        const char *name = json_string_value(json_object_get(s, "name"));
        if (!name || !cut_step_find(name) || n == STEPS_MAX)
            return error_set(err, ERR_PLAN_STALE, "plan %s has a step that this program does not know", k->p->id);
        names[n++] = name;
    }
    names[n] = NULL;
    int rc = plan_file_path(k->w, k->p->id, ".journal", path, err);
    return rc == 0 ? journal_open(path, digest ? digest : k->p->id, names, &k->j, err) : rc;
}

static int cut_open(struct work *w, const struct cutover_plan *p, const struct cutover_events *e, struct cut *k,
                    struct error *err) {
    const json_t *port = json_object_get(p->doc, "port");
    *k = (struct cut){.w = w, .p = p, .events = e, .j = {.lock = -1}};
    const struct snapshot_info *info = repo_snapshot_at(w->repo, p->seq);
    int rc = info ? facts_of(k, info, err)
                  : error_set(err, ERR_PLAN_STALE, "plan %s: its recovery point is not there any more", p->id);
    if (rc == 0) rc = work_surface_of(w, info, &k->surface, err);
    k->opened = rc == 0;
    if (rc == 0) rc = work_bridge_open(w, &k->surface, &k->bridge, &k->ctx, err);
    k->bridged = rc == 0;
    if (rc == 0 && !(k->driver = k->surface.driver->cutover))
        rc = error_set(err, ERR_CUTOVER_UNFIT, "the surface is no physical backup of PostgreSQL any more");
    const char *folder = json_string_value(json_object_get(p->doc, "folder"));
    k->start = (struct cutover_start){.folder = folder ? folder : "",
                                      .port = (unsigned)json_integer_value(port),
                                      .facts = k->facts,
                                      .alone = cut_is_rehearsal(p->doc) ||
                                               json_is_true(json_object_get(p->doc, "subscriptions_rest"))};
    return rc == 0 ? journal_of(k, err) : rc;
}

static void cut_close(struct cut *k) {
    journal_close(&k->j);
    if (k->bridged) work_bridge_close(&k->bridge);
    if (k->opened) work_surface_close(&k->surface);
    json_decref(k->facts);
}

static void fill(const struct cut *k, struct cutover_done *ret) {
    const json_t *c = journal_kept(&k->j, "connection");
    ret->steps = json_incref(json_object_get(k->j.doc, "steps"));
    ret->connection = c ? json_incref((json_t *)c) : NULL;
    snprintf(ret->folder, sizeof ret->folder, "%s", k->start.folder);
}

void cutover_done_free(struct cutover_done *d) {
    json_decref(d->steps);
    json_decref(d->connection);
    *d = (struct cutover_done){0};
}

/* ---- what is told ---- */

static void tell(const struct cut *k, size_t i, bool begins) {
    const json_t *s = json_array_get(json_object_get(k->j.doc, "steps"), i);
    if (!k->events || !k->events->step) return;
    k->events->step(k->events->ctx, journal_name(&k->j, i), step_state_name(journal_state(&k->j, i)),
                    begins ? -1 : json_integer_value(json_object_get(s, "ms")), json_object_get(s, "detail"));
}

/* An entry of the log is bounded: of the checks the names and results, and why where one did not pass. */
static json_t *detail_of(const json_t *detail) {
    const json_t *list = json_object_get(detail, "checks"), *one;
    size_t i;
    if (!list) return json_incref((json_t *)detail);
    json_t *out = json_array();
    json_array_foreach(list, i, one) {
        const char *name = json_string_value(json_object_get(one, "name")),
                   *result = json_string_value(json_object_get(one, "result")),
                   *why = json_string_value(json_object_get(one, "detail"));
        if (!out || !name || !result || i == CHECKS_MAX) break;
        bool passed = !strcmp(result, "passed");
        char text[200];
        snprintf(text, sizeof text, "%s", why ? why : "");
        if (strlen(text) == sizeof text - 1) { /* cut off, and not within a character */
            size_t n = sizeof text - 1;
            while (n && ((unsigned char)text[n - 1] & 0xC0) == 0x80) n--;
            text[n ? n - 1 : 0] = 0;
        }
        json_array_append_new(
            out, json_pack("{s:s, s:s, s:s*}", "name", name, "result", result, "detail", passed ? NULL : text));
    }
    return json_pack("{s:o}", "checks", out);
}

/* Steps as a receipt has them: what they found of interest, and how long each took. */
static json_t *steps_of(const struct cut *k) {
    const json_t *list = json_object_get(k->j.doc, "steps"), *s;
    json_t *out = json_array();
    size_t i;
    json_array_foreach(list, i, s) {
        const json_t *detail = json_object_get(s, "detail");
        json_t *one = json_pack("{s:O, s:O, s:O, s:O*, s:o*}", "name", json_object_get(s, "name"), "state",
                                json_object_get(s, "state"), "runs", json_object_get(s, "runs"), "ms",
                                json_object_get(s, "ms"), "detail", detail ? detail_of(detail) : NULL);
        if (!one || json_array_append_new(out, one) < 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

/* Best effort, as what it tells of has been done. Without "duration_ms": how long a restore takes, the receipt of the
 * copy says. */
static void receipt(struct cut *k, const struct error *why) {
    struct work *w = k->w;
    struct error lost = ERROR_INIT;
    enum key_role role = repo_keys(w->repo)->role;
    const struct snapshot_info *info = repo_snapshot_at(w->repo, k->p->seq);
    const char *hex = json_string_value(json_object_get(k->p->doc, "digest")),
               *began = json_string_value(journal_kept(&k->j, "began"));
    int64_t begun = time_now_ns();
    struct digest plan;
    if (!info || (role != ROLE_ADMIN && role != ROLE_RESTORE)) return;
    if (began && !time_parse(began, &begun)) begun = time_now_ns();
    struct about a = {info->id, info->seq, info->entry};
    struct redaction secrets = known_secrets_redaction(&w->known);
    json_t *statement = NULL, *steps = steps_of(k),
           *extra = steps ? json_pack("{s:{s:s, s:s, s:b, s:o}}", "cutover", "plan", k->p->id, "freeze",
                                      json_string_value(json_object_get(k->p->doc, "freeze")), "rehearsal",
                                      (int)cut_is_rehearsal(k->p->doc), "steps", steps)
                          : NULL;
    struct restore_record r = {
        .environment = info->environment,
        .surface = info->surface,
        .target = k->start.folder,
        .started_ns = begun,
        .completed_ns = time_now_ns(),
        .succeeded = !why,
        .items = info->items,
        .bytes = info->bytes,
        .plan = hex && hex_decode(hex, strlen(hex), plan.b, sizeof plan.b) ? &plan : NULL,
        .principal = w->principal,
        .notes = why ? why->text : NULL,
        .extra = extra,
    };
    int rc = extra ? evidence_restore(&a, &r, &secrets, &statement, &lost)
                   : error_set(&lost, ERR_NO_MEMORY, "no memory for a receipt");
    if (rc == 0) rc = owed_append(w, k->p->label, statement, NULL, NULL, &lost);
    if (rc == 0) rc = repo_publish(w->repo, &lost);
    if (rc < 0 && w->options.events.warning) w->options.events.warning(w->options.events.ctx, k->p->label, lost.text);
    json_decref(statement);
    json_decref(extra);
}

/* ---- steps ---- */

static int run_step(struct cut *k, size_t i, struct error *err) {
    const struct cut_step *s = cut_step_find(journal_name(&k->j, i));
    struct error lost = ERROR_INIT;
    json_t *detail = NULL;
    k->was_begun = journal_state(&k->j, i) == STEP_BEGUN;
    int rc = journal_begin(&k->j, i, err);
    if (rc < 0) return rc;
    tell(k, i, true);
    rc = known_secrets_error(&k->w->known, s->run(k, &detail, err), err);
    /* A step whose end cannot be written down has failed, and its end is not known to a later run. */
    if (rc == 0)
        rc = journal_done(&k->j, i, detail, err);
    else if (journal_failed(&k->j, i, detail, err, &lost) < 0)
        error_clear(&lost);
    tell(k, i, false);
    return rc < 0 ? error_wrap(err, "step %s", s->name) : 0;
}

static bool switched(const struct cut *k) {
    return k->led || journal_state_of(&k->j, "switch") == STEP_DONE;
}

/* After the switch every step that is left is taken, whatever failed before it. */
static int run_steps(struct cut *k, struct error *err) {
    struct error first = ERROR_INIT;
    for (size_t i = 0; i < journal_steps(&k->j); i++) {
        struct error one = ERROR_INIT;
        if (journal_state(&k->j, i) == STEP_DONE || run_step(k, i, &one) == 0) continue;
        if (!first.code) first = one;
        if (!switched(k)) break;
    }
    if (first.code) *err = first;
    return -(int)first.code;
}

static int put_back(struct cut *k, const struct error *why, struct error *err) {
    /* A server that was started has gone its own way and cannot be recovered further; all before that can be done
     * again. */
    static const char *const again[] = {"standby", "freeze", "last-wal", "restore", NULL};
    static const char *const again_restored[] = {"standby", "freeze", "last-wal", NULL};
    bool spent = journal_state_of(&k->j, "start") != STEP_PENDING,
         restored = journal_state_of(&k->j, "restore") == STEP_DONE;
    /* A run that was to go on after writes were allowed again would take what is frozen no more for frozen. */
    struct error lost = ERROR_INIT;
    const bool noted = journal_set(&k->j, UNDOING, &lost) == 0;
    int rc = cut_undo(k, err);
    if (rc < 0) return error_wrap(err, "putting things back");
    if (!spent) rc = journal_again(&k->j, restored ? again_restored : again, err);
    if (rc == 0) rc = journal_set(&k->j, spent ? "undone" : "stopped", err);
    /* No journal is begun anew, and refused when the folder is there. */
    if (rc < 0 && !noted) (void)!seam_unlinkat(AT_FDCWD, k->j.path, 0);
    if (rc == 0 && why) receipt(k, why);
    return rc;
}

/* Where putting back failed. */
static const char *left_behind(const struct cut *k) {
    return cut_is_rehearsal(k->p->doc) ? "the live server was not touched; the new one may still run"
                                       : "nothing was switched; writes to the old server may still be refused";
}

static int failed(struct cut *k, struct error *err) {
    struct error undo = ERROR_INIT;
    if (switched(k)) {
        error_state(err, "the new server has taken over; the old one is kept as it was");
        return error_next(err, "Run 'proofkeep restore --plan %s' again for what is left.", k->p->id);
    }
    if (cut_switch_unknown(k)) {
        error_state(err, "a call of the switch hook was cut off, so clients may be at the new server: it runs on, "
                         "and the old one stays frozen");
        return error_next(err,
                          "Mend that, then run 'proofkeep restore --plan %s' again. If no client is led to the new "
                          "server: '--plan %s --abort --confirm \"%s\"'.",
                          k->p->id, k->p->id, CUTOVER_NOT_SWITCHED);
    }
    if (put_back(k, err, &undo) < 0) {
        error_wrap(&undo, "%s; then", err->text);
        *err = undo;
        error_state(err, "%s", left_behind(k));
        return -(int)err->code;
    }
    return error_state(err, "nothing was switched; the old server takes writes as before");
}

static int state_check(struct cut *k, struct cutover_done *ret, struct error *err) {
    const char *state = journal_is(&k->j);
    ret->already = !strcmp(state, "done");
    if (strcmp(state, "undone") != 0) return 0;
    return error_set(err, ERR_CUTOVER_STATE,
                     "plan %s failed after the new server in %s was started, and was undone: that folder cannot be "
                     "recovered further",
                     k->p->id, k->start.folder);
}

/* The new one needs as much room as the backup has, and the WAL that it will replay. */
static int room_check(const struct cut *k, const struct restore_plan *copy, struct error *err) {
    char path[4096], want[32], have[32];
    struct statvfs v;
    const json_t *wal = json_object_get(json_object_get(copy->doc, "recovery"), "wal");
    const uint64_t need = (uint64_t)json_integer_value(json_object_get(copy->doc, "bytes")) +
                          (uint64_t)json_integer_value(json_object_get(wal, "bytes"));
    snprintf(path, sizeof path, "%s", k->start.folder);
    int fd = -1;
    for (char *slash; fd < 0 && (slash = strrchr(path, '/'));) {
        slash[slash == path] = 0; /* the folder above, or the root */
        fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (slash == path) break;
    }
    int rc = fd >= 0 ? seam_fstatvfs(fd, &v) : -1;
    io_close(&fd);
    if (rc < 0 || (uint64_t)v.f_bavail * v.f_frsize >= need) return 0; /* what cannot be told is no reason not to try */
    size_format(need, want);
    size_format((uint64_t)v.f_bavail * v.f_frsize, have);
    return error_set(err, ERR_IO_FULL, "the new server needs %s in %s, where %s is free", want, path, have);
}

/* All that would refuse the copy refuses before anything is frozen for it. */
static int copy_check(struct cut *k, struct error *err) {
    struct restore_plan copy = {0};
    const char *id = json_string_value(json_object_get(json_object_get(k->p->doc, "restore"), "id"));
    if (journal_state_of(&k->j, "restore") != STEP_PENDING) return 0;
    int rc = restore_plan_load(k->w, id ? id : "", &copy, err);
    const struct snapshot_info *info = rc == 0 ? repo_snapshot_at(k->w->repo, copy.seq) : NULL;
    if (rc == 0 && info) rc = thaw_check(k->w, &copy, info, err);
    if (rc == 0) rc = room_check(k, &copy, err);
    restore_plan_free(&copy);
    return rc;
}

/* What had been started before a kill may have gone with the host. */
static int start_again(struct cut *k, struct error *err) {
    json_t *connection = NULL;
    if (journal_state_of(&k->j, "recover") != STEP_DONE || journal_state_of(&k->j, "stop") != STEP_PENDING) return 0;
    int rc = k->driver->start(&k->ctx, &k->start, err);
    if (rc == 0) rc = k->driver->wait(&k->ctx, &k->start, &connection, err);
    return rc == 0 ? journal_keep(&k->j, "connection", connection, err) : error_wrap(err, "the new server");
}

static int run(struct cut *k, struct cutover_done *ret, struct error *err) {
    const struct config_environment *e = k->surface.config_environment;
    char now[32];
    int rc = 0;
    if (!strcmp(journal_is(&k->j), UNDOING) && (rc = put_back(k, NULL, err)) < 0)
        return error_state(err, "%s", left_behind(k));
    rc = state_check(k, ret, err);
    if (rc < 0 || ret->already) return rc;
    if (e) rc = guard_confirm(e, GUARD_RESTORE, k->surface.name, k->p->snapshot_id, k->confirm, err);
    if (rc == 0) rc = copy_check(k, err);
    time_format(time_now_ns(), now);
    if (rc == 0 && !journal_kept(&k->j, "began")) rc = journal_keep(&k->j, "began", json_string(now), err);
    /* By this others see that something of it may be frozen. */
    if (rc == 0 && !cut_is_rehearsal(k->p->doc))
        rc = journal_keep(&k->j, "environment", json_string(k->surface.environment), err);
    if (rc == 0) rc = journal_set(&k->j, "running", err);
    if (rc < 0) return rc;
    rc = start_again(k, err);
    if (rc == 0) rc = run_steps(k, err);
    /* It was watched to the end, and that it was not well is no reason to watch it again. */
    bool watched = rc == -ERR_CUTOVER_WATCH;
    if (rc < 0 && !watched) return failed(k, err);
    struct error lost = ERROR_INIT;
    if (journal_set(&k->j, "done", &lost) < 0 && rc == 0) {
        *err = lost;
        rc = -(int)lost.code;
    }
    receipt(k, NULL);
    return rc;
}

int cutover_run(struct work *w, const struct cutover_plan *p, const char *confirm, const struct cutover_events *e,
                struct cutover_done *ret, struct error *err) {
    struct cut k;
    *ret = (struct cutover_done){0};
    int rc = cut_open(w, p, e, &k, err);
    k.confirm = confirm;
    if (rc == 0) {
        rc = run(&k, ret, err);
        fill(&k, ret);
    }
    cut_close(&k);
    return rc;
}

int cutover_abort(struct work *w, const struct cutover_plan *p, const char *confirm, const struct cutover_events *e,
                  struct cutover_done *ret, struct error *err) {
    struct cut k;
    *ret = (struct cutover_done){0};
    int rc = cut_open(w, p, e, &k, err);
    if (rc == 0) {
        const char *state = journal_is(&k.j);
        enum step_state s = journal_state_of(&k.j, "switch");
        if (!strcmp(state, "done") && cut_is_rehearsal(p->doc))
            ret->already = true;
        else if (!strcmp(state, "done") || s == STEP_DONE)
            rc = error_set(err, ERR_CUTOVER_STATE, "plan %s: the new server has taken over", p->id);
        else if ((s == STEP_BEGUN || cut_switch_unknown(&k)) && strcmp(state, UNDOING) != 0 &&
                 strcmp(state, "undone") != 0 && (!confirm || strcmp(confirm, CUTOVER_NOT_SWITCHED) != 0)) {
            error_set(err, ERR_CUTOVER_STATE,
                      "plan %s: the switch had begun, and whether clients are led to the new server cannot be told",
                      p->id);
            rc = error_next(err,
                            "Run the plan again: the switch hook is called again. If no client is led to the new "
                            "server, add --confirm \"%s\".",
                            CUTOVER_NOT_SWITCHED);
        } else if (!strcmp(state, "new") || !strcmp(state, "stopped") || !strcmp(state, "undone"))
            ret->already = true; /* nothing is left to be put back */
        else
            rc = put_back(&k, NULL, err);
        fill(&k, ret);
    }
    cut_close(&k);
    return rc;
}
