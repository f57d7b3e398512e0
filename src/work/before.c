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
    return json_put_str(doc, "backup_first", declined ? BEFORE_DECLINED : here ? BEFORE_HERE : BEFORE_ELSEWHERE, err);
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

bool before_due(const struct restore_plan *p) {
    return !p->no_backup_first && (by(p, BEFORE_HERE) || by(p, BEFORE_ELSEWHERE));
}

static int refuse(struct error *err) {
    error_state(err, "nothing was restored, and nothing that is live was touched");
    return error_next(err, "Mend that; or, where nothing of what is there now is worth keeping, carry the plan out "
                           "with --no-backup-first.");
}

/* ---- what a killed run had taken ---- */
static bool kept(struct work *w, struct restore_plan *p) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(MARK_BYTES_MAX);
    json_auto_t *doc = NULL;
    char path[4200];
    struct error e = ERROR_INIT;
    if (plan_file_path(w, p->id, MARK, path, &e) < 0 || io_read_file(AT_FDCWD, path, MARK_BYTES_MAX, &b, &e) < 0 ||
        json_parse(buf_bytes(&b), MARK_BYTES_MAX, "note of a backup", &doc, &e) < 0)
        return false;
    const struct snapshot_info *info =
        repo_snapshot_at(w->repo, (uint64_t)json_integer_value(json_object_get(doc, "seq")));
    if (!info || info->forgotten || strcmp(info->id, json_text(doc, "id", "")) != 0) return false;
    snprintf(p->before, sizeof p->before, "%s", info->id);
    return true;
}

static int keep(struct work *w, const struct restore_plan *p, uint64_t seq, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(MARK_BYTES_MAX);
    char path[4200];
    json_auto_t *doc = json_pack("{s:s, s:I}", "id", p->before, "seq", (json_int_t)seq);
    int rc = doc ? plan_file_path(w, p->id, MARK, path, err) : error_set(err, ERR_NO_MEMORY, "no memory for a note");
    if (rc == 0) rc = json_write(doc, &b, err);
    return rc == 0 ? io_replace_file(AT_FDCWD, path, buf_bytes(&b), 0600, err) : rc;
}

void before_end(struct work *w, const struct restore_plan *p) {
    char path[4200];
    struct error e = ERROR_INIT;
    if (before_due(p) && plan_file_path(w, p->id, MARK, path, &e) == 0) (void)!seam_unlinkat(AT_FDCWD, path, 0);
}

void before_hand_on(struct work *w, const char *from, const char *to) {
    char old[4200], new[4200];
    struct error e = ERROR_INIT;
    if (plan_file_path(w, from, MARK, old, &e) == 0 && plan_file_path(w, to, MARK, new, &e) == 0)
        (void)!seam_renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}

/* ---- */
/* Somebody else's: whole, and begun after the plan was made. */
static int find(struct work *w, struct restore_plan *p, const char *surface, struct error *err) {
    const char *environment = json_text(p->doc, "environment", "");
    const int64_t planned = json_integer_value(json_object_get(p->doc, "planned_ns"));
    for (size_t i = repo_snapshot_count(w->repo); i-- > 0;) {
        const struct snapshot_info *s = repo_snapshot(w->repo, i);
        /* receipts have whole seconds */
        if (s->forgotten || !s->complete || s->is_copy || s->started_ns <= planned - NS_PER_S ||
            strcmp(s->environment, environment) != 0 || strcmp(s->surface, surface) != 0)
            continue;
        snprintf(p->before, sizeof p->before, "%s", s->id);
        return 0;
    }
    error_set(err, ERR_BACKUP_FIRST, "what %s has now would be lost: no whole backup of it was begun since plan %s",
              p->label, p->id);
    error_state(err, "nothing was restored, and nothing that is live was touched");
    return error_next(err,
                      "Run 'proofkeep backup %s --before-restore %s' with a key that may write, then carry the plan out; "
                      "or, where nothing of what is there now is worth keeping, carry it out with --no-backup-first.",
                      p->label, p->id);
}

static int surface_open(struct work *w, const struct restore_plan *p, const char *surface, struct work_surface *ret,
                        struct error *err) {
    const struct snapshot_info *info = repo_snapshot_at(w->repo, p->seq);
    struct snapshot *s = NULL;
    if (!info)
        return error_set(err, ERR_PLAN_STALE, "plan %s: its recovery point of %s is not there any more", p->id,
                         surface);
    int rc = work_surface_of(w, info, ret, err);
    if (rc < 0 || ret->config_surface) return rc;
    /* one that no configuration has is what it was when it was backed up */
    if ((rc = snapshot_open_sized(w->repo, info, 4u << 20, &s, err)) < 0) return rc;
    json_t *settings = json_incref(json_object_get(snapshot_root(s), "settings"));
    snapshot_close(s);
    if (!settings) return error_set(err, ERR_CONFIG_NONE, "nothing says what %s consists of", p->label);
    json_decref(ret->settings);
    ret->settings = settings;
    return 0;
}

static int take(struct work *w, struct restore_plan *p, const char *surface, struct error *err) {
    struct work_surface s = {0};
    struct backup_result done = {0};
    char note[120];
    snprintf(note, sizeof note, "before the restore of plan %s", p->id);
    const struct backup_options o = {.note = note, .before_restore = p->id};
    int rc = surface_open(w, p, surface, &s, err);
    if (rc == 0) rc = backup_surface(w, &s, &o, &done, err);
    work_surface_close(&s);
    if (rc == -ERR_INTERRUPTED || rc == -ERR_TERMINATED) return rc;
    if (rc < 0) {
        struct error why = *err;
        error_clear(err);
        error_set(err, ERR_BACKUP_FIRST, "what %s has now could not be backed up first: %s", p->label, why.text);
        return refuse(err);
    }
    if (!done.complete) {
        error_set(err, ERR_BACKUP_FIRST, "the backup %s of what %s has now is partial: %llu unreadable, %llu changed",
                  done.id, p->label, (unsigned long long)done.unreadable, (unsigned long long)done.changed);
        return refuse(err);
    }
    snprintf(p->before, sizeof p->before, "%s", done.id);
    return done.fallback[0] ? 0 : keep(w, p, done.seq, err);
}

int before_see_to(struct work *w, struct restore_plan *p, struct error *err) {
    const char *surface = json_text(p->doc, "surface", "");
    if (!before_due(p) || p->before[0] || kept(w, p)) return 0;
    return by(p, BEFORE_HERE) ? take(w, p, surface, err) : find(w, p, surface, err);
}
