#include "work/before.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/any_copy.h"
#include "work/backup.h"

#include <stdio.h>

#define MARK ".before"
#define MARK_BYTES_MAX 4096

int before_put(struct work *w, bool declined, json_t *doc, struct error *err) {
    if (!json_is_true(json_object_get(json_object_get(doc, "target"), "overwrites"))) return 0;
    const bool here = repo_keys(w->repo)->role == ROLE_ADMIN && !any_copy_read_from(w);
    int rc = json_put_int(doc, "log_size", (int64_t)ledger_size(repo_ledger(w->repo)), err);
    if (rc < 0) return rc;
    return json_put_str(doc, "backup_first", declined ? BEFORE_DECLINED : here ? BEFORE_HERE : BEFORE_ELSEWHERE, err);
}

bool before_is_new(const json_t *doc, const json_t *target) {
    return json_is_true(json_object_get(target, "overwrites")) && !json_object_get(doc, "backup_first");
}

void before_text(const json_t *doc, const char *label, char out[600]) {
    const char *whom = json_text(doc, "backup_first", "");
    out[0] = 0;
    if (strcmp(whom, BEFORE_HERE) == 0)
        snprintf(out, 600, "what %.260s has now is backed up, before anything is written over it", label);
    else if (strcmp(whom, BEFORE_ELSEWHERE) == 0)
        snprintf(out, 600,
                 "run 'proofkeep backup %.260s --before-restore %.40s' with a key that may write: this one cannot keep "
                 "what is there now",
                 label, json_text(doc, "plan", json_text(doc, "id", "")));
    else if (strcmp(whom, BEFORE_DECLINED) == 0)
        snprintf(out, 600, "nothing: what %.260s has now is lost", label);
}

static bool by(const struct restore_plan *p, const char *whom) {
    return strcmp(json_text(p->doc, "backup_first", ""), whom) == 0;
}

static bool due(const struct restore_plan *p) {
    return !p->no_backup_first && (by(p, BEFORE_HERE) || by(p, BEFORE_ELSEWHERE));
}

/* `kept`: what is stored of it all the same; NULL: nothing. */
static int refuse(const char *kept, struct error *err) {
    error_state(err, "nothing was restored, and nothing that is live was touched");
    if (kept)
        return error_next(err,
                          "Mend that; or, where what %s lacks is not worth keeping, carry the plan out with "
                          "--no-backup-first.",
                          kept);
    return error_next(err, "Mend that; or, where nothing of what is there now is worth keeping, carry the plan out "
                           "with --no-backup-first.");
}

/* ---- the note ---- */
static void read_note(struct work *w, struct restore_plan *p) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(MARK_BYTES_MAX);
    json_auto_t *doc = NULL;
    char path[4200];
    struct error e = ERROR_INIT;
    if (plan_file_path(w, p->id, MARK, path, &e) < 0 || io_read_file(AT_FDCWD, path, MARK_BYTES_MAX, &b, &e) < 0 ||
        json_parse(buf_bytes(&b), MARK_BYTES_MAX, "note of a backup", &doc, &e) < 0)
        return;
    snprintf(p->before_first, sizeof p->before_first, "%s", json_text(doc, "id", ""));
}

int before_begin(struct work *w, const struct restore_plan *p, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(MARK_BYTES_MAX);
    char path[4200];
    if (!p->before[0] || p->before_first[0]) return 0;
    json_auto_t *doc = json_pack("{s:s}", "id", p->before);
    int rc = doc ? plan_file_path(w, p->id, MARK, path, err) : error_set(err, ERR_NO_MEMORY, "no memory for a note");
    if (rc == 0) rc = json_write(doc, &b, err);
    return rc == 0 ? io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, err) : rc;
}

void before_end(struct work *w, const struct restore_plan *p) {
    char path[4200];
    struct error e = ERROR_INIT;
    if ((p->before[0] || p->before_first[0]) && plan_file_path(w, p->id, MARK, path, &e) == 0)
        (void)!seam_unlinkat(AT_FDCWD, path, 0);
}

void before_hand_on(struct work *w, const char *from, const char *to) {
    char old[4200], new[4200];
    struct error e = ERROR_INIT;
    if (plan_file_path(w, from, MARK, old, &e) == 0 && plan_file_path(w, to, MARK, new, &e) == 0)
        (void)!seam_renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

/* ---- */
/* What has the setting; NULL: it is not there. */
static json_t *holder(const json_t *settings, const struct surface_selection *k) {
    return k->object ? json_object_get(settings, k->object) : (json_t *)settings;
}

/* One setting as `from` has it; NULL: none. */
static int select_as(json_t *settings, const struct surface_selection *k, const json_t *from, struct error *err) {
    json_t *own = holder(settings, k);
    const json_t *was = json_object_get(holder(from, k), k->key);
    if (!own) return 0;
    if (was) return json_put(own, k->key, json_deep_copy(was), err);
    json_object_del(own, k->key);
    return 0;
}

/* The settings of a point, for the caller. */
static int settings_of(struct work *w, const struct snapshot_info *info, json_t **ret, struct error *err) {
    struct snapshot *s = NULL;
    int rc = snapshot_open_sized(w->repo, info, 4u << 20, &s, err);
    if (rc == 0) *ret = json_incref(json_object_get(snapshot_root(s), "settings"));
    snapshot_close(s);
    return rc;
}

/* The surface as it is reached now, and as much of it as the restore writes over. */
static int surface_open(struct work *w, const struct restore_plan *p, struct work_surface *ret, struct error *err) {
    const struct snapshot_info *info = repo_snapshot_at(w->repo, p->seq);
    json_auto_t *was = NULL;
    if (!info) return error_set(err, ERR_PLAN_STALE, "plan %s: its recovery point is not there any more", p->id);
    int rc = work_surface_of(w, info, ret, err);
    const struct surface_selection *k = rc == 0 ? ret->driver->selection : NULL;
    if (!k) return rc;
    if ((rc = settings_of(w, info, &was, err)) < 0) return rc;
    json_t *settings = json_deep_copy(ret->settings);
    if (!settings) return error_set(err, ERR_NO_MEMORY, "no memory for settings");
    for (; rc == 0 && k->key; k++) rc = select_as(settings, k, ret->driver->overwrites_all ? NULL : was, err);
    json_decref(ret->settings);
    ret->settings = settings;
    return rc;
}

/* Whether a point was taken of as much as the surface says. */
static int takes_as_much(struct work *w, const struct snapshot_info *info, const struct work_surface *s, bool *ret,
                         struct error *err) {
    json_auto_t *was = NULL;
    int rc = settings_of(w, info, &was, err);
    *ret = rc == 0;
    for (const struct surface_selection *k = s->driver->selection; rc == 0 && k && k->key; k++) {
        const json_t *a = json_object_get(holder(was, k), k->key), *b = json_object_get(holder(s->settings, k), k->key);
        *ret &= a == b || json_equal(a, b);
    }
    return rc;
}

#define LONG_AGO (3600 * NS_PER_S) /* what somebody else has taken is no picture of now any more */

/* Somebody else's: whole, begun after the plan was made, of all that is written over, and not long ago. */
static int find(struct work *w, struct restore_plan *p, const struct work_surface *of, struct error *err) {
    const int64_t planned = json_integer_value(json_object_get(p->doc, "planned_ns"));
    const uint64_t size = (uint64_t)json_integer_value(json_object_get(p->doc, "log_size"));
    char why[200] = "", age[32];
    bool as_much;
    for (size_t i = repo_snapshot_count(w->repo); i-- > 0 && !*why;) {
        const struct snapshot_info *s = repo_snapshot(w->repo, i);
        /* receipts have whole seconds */
        if (s->seq < size || s->forgotten || !s->complete || s->started_ns <= planned - NS_PER_S ||
            repo_snapshot_suspect(w->repo, s) || strcmp(s->environment, of->environment) != 0 ||
            strcmp(s->surface, of->name) != 0)
            continue;
        int rc = takes_as_much(w, s, of, &as_much, err);
        if (rc < 0) return rc;
        duration_format(time_now_ns() - s->completed_ns, age);
        if (!as_much)
            snprintf(why, sizeof why,
                     "; %s has not all that would be written over, by the selection that it was taken with", s->id);
        else if (time_now_ns() - s->completed_ns > LONG_AGO)
            snprintf(why, sizeof why, "; %s is %s old", s->id, age);
        else {
            snprintf(p->before, sizeof p->before, "%s", s->id);
            return 0;
        }
    }
    error_set(err, ERR_BACKUP_FIRST, "what %s has now would be lost: no whole backup of it was begun since plan %s%s",
              p->label, p->id, why);
    error_state(err, "nothing was restored, and nothing that is live was touched");
    if (any_copy_read_from(w))
        return error_next(err,
                          "Back %s up, have that in %s, which is read here, and carry the plan out; or, where nothing "
                          "of what is there now is worth keeping, carry it out with --no-backup-first.",
                          p->label, any_copy_read_from(w));
    return error_next(
        err,
        "Run 'proofkeep backup %s --before-restore %s' with a key that may write, then carry the plan out; "
        "or, where nothing of what is there now is worth keeping, carry it out with --no-backup-first.",
        p->label, p->id);
}

static int take(struct work *w, struct restore_plan *p, const struct work_surface *s, struct error *err) {
    struct backup_result done = {0};
    char note[120], line[500];
    snprintf(note, sizeof note, "before the restore of plan %s", p->id);
    const struct backup_options o = {.note = note, .before_restore = p->id};
    int rc = backup_surface(w, s, &o, &done, err);
    if (rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED) return rc;
    if (rc < 0) {
        struct error why = *err;
        error_clear(err);
        error_set(err, ERR_BACKUP_FIRST, "what %s has now could not be backed up first: %s", p->label, why.text);
        return refuse(NULL, err);
    }
    if (!done.complete) {
        error_set(err, ERR_BACKUP_FIRST, "the backup %s of what %s has now is partial: %llu unreadable, %llu changed",
                  done.id, p->label, (unsigned long long)done.unreadable, (unsigned long long)done.changed);
        return refuse(done.id, err);
    }
    snprintf(p->before, sizeof p->before, "%s", done.id);
    if (done.fallback[0] && w->options.events.warning) {
        snprintf(line, sizeof line, "what is there now was backed up as %s into the fallback %s", done.id,
                 done.fallback);
        w->options.events.warning(w->options.events.ctx, p->label, line);
    }
    return 0;
}

int before_see_to(struct work *w, struct restore_plan *p, struct error *err) {
    if (p->before[0]) return 0;
    read_note(w, p);
    if (!due(p)) return 0;
    struct work_surface s = {0};
    int rc = surface_open(w, p, &s, err);
    if (rc == 0) rc = by(p, BEFORE_HERE) ? take(w, p, &s, err) : find(w, p, &s, err);
    work_surface_close(&s);
    if (rc != -ERR_BACKUP_FIRST || !p->before_first[0]) return rc;
    if (w->options.events.warning) w->options.events.warning(w->options.events.ctx, p->label, err->text);
    error_clear(err);
    return 0;
}
