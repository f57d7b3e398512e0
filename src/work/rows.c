#include "work/rows.h"

#include "base/seam.h"
#include "base/time.h"
#include "evidence/statement.h"
#include "platform/guard.h"
#include "work/owed.h"
#include "work/past_recovery.h"
#include "work/plan_file.h"
#include "work/point.h"

#include <stdio.h>

#define PREFIX "rows"
#define PICKS_MAX 256

bool rows_plan_is(const char *id) {
    return plan_file_is(id, PREFIX);
}

void rows_plan_free(struct rows_plan *p) {
    json_decref(p->doc);
    *p = (struct rows_plan){0};
}

static int need_reader(struct work *w, struct error *err) {
    if (repo_keys(w->repo)->read_secret) return 0;
    return error_set(err, ERR_KEY_ROLE, "restoring needs a restore or admin key, and this one is a %s key",
                     key_role_name(repo_keys(w->repo)->role));
}

static int fill(struct rows_plan *p, const char *id, json_t *doc, bool protected, struct error *err) {
    const char *environment = json_string_value(json_object_get(doc, "environment")),
               *surface = json_string_value(json_object_get(doc, "surface")),
               *snapshot = json_string_value(json_object_get(doc, "snapshot")),
               *changes = json_string_value(json_object_get(doc, "changes"));
    if (!environment || !surface || !snapshot || !changes)
        return error_set(err, ERR_PLAN_STALE, "plan %s: it is no plan for rows", id);
    snprintf(p->id, sizeof p->id, "%s", id);
    snprintf(p->label, sizeof p->label, "%s/%s", environment, surface);
    snprintf(p->snapshot_id, sizeof p->snapshot_id, "%s", snapshot);
    snprintf(p->changes, sizeof p->changes, "%s", changes);
    p->seq = (uint64_t)json_integer_value(json_object_get(doc, "seq"));
    p->rows = (uint64_t)json_integer_value(json_object_get(doc, "rows"));
    p->protected = protected;
    const json_t *m;
    size_t i;
    json_array_foreach(json_object_get(doc, "missing_parents"), i, m) p->missing_parents +=
        (uint64_t)json_integer_value(json_object_get(m, "rows"));
    p->doc = json_incref(doc);
    return guard_phrase(GUARD_RESTORE, environment, surface, snapshot, p->phrase, err);
}

/* ---- making ---- */
struct making {
    struct work *w;
    const struct rows_options *o;
    const struct snapshot_info *info;
    struct work_reading in;
    const struct rows_driver *rows;
    struct rows_wish wish;
    struct past_either past;
    struct pitr_find find;
    const char *include[PICKS_MAX + 1];
    json_t *look, *found; /* owned */
    char id[PLAN_ID_BYTES], changes[4200];
    int fd;
};

static int changes_open(struct making *m, struct error *err) {
    char here[2048];
    int rc = 0;
    if (!m->o->changes)
        rc = plan_file_path(m->w, m->id, ".changes", m->changes, err);
    else if (*m->o->changes == '/' || !getcwd(here, sizeof here))
        snprintf(m->changes, sizeof m->changes, "%.4000s", m->o->changes);
    else
        snprintf(m->changes, sizeof m->changes, "%s/%.2000s", here, m->o->changes);
    if (rc < 0) return rc;
    m->fd = seam_openat(AT_FDCWD, m->changes, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return m->fd >= 0 ? 0 : error_set_errno(err, ERR_IO_WRITE, "make the change set %s", m->changes);
}

static int include_all(struct making *m, struct error *err) {
    const json_t *list = json_object_get(m->look, "include"), *one;
    size_t i;
    if (json_array_size(list) > PICKS_MAX) return error_set(err, ERR_USAGE, "more than %d tables", PICKS_MAX);
    json_array_foreach(list, i, one) m->include[i] = json_string_value(one);
    return 0;
}

static int head_of(const struct making *m, json_t **ret, struct error *err) {
    char entry[65];
    const struct snapshot_info *i = m->info;
    hex_encode(i->entry.b, DIGEST_BYTES, entry);
    *ret = json_pack("{s:{s:s, s:s, s:s, s:I, s:s, s:s}, s:o}", "point", "environment", i->environment, "surface",
                     i->surface, "id", i->id, "log_seq", (json_int_t)i->seq, "receipt", entry, "repository",
                     repo_id_hex(m->w->repo), "instant", point_time_json(m->past.past->instant_ns));
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a change set");
}

static int compare(struct making *m, struct error *err) {
    const json_t *scratch = NULL;
    json_t *head = NULL;
    int rc = past_rows(&m->in, &m->rows, err);
    if (rc == 0) rc = past_database(m->in.facts, m->o->database, &m->wish.database, err);
    /* Live is asked first: that costs nothing, and says what of the past is needed. */
    if (rc == 0) rc = m->rows->look(&m->in.ctx, &m->wish, &m->look, err);
    if (rc == 0) rc = include_all(m, err);
    if (rc == 0) rc = m->past.past->open(m->past.past, m->include, &scratch, err);
    if (rc == 0) rc = head_of(m, &head, err);
    if (rc == 0) rc = changes_open(m, err);
    if (rc == 0) rc = m->rows->diff(&m->in.ctx, scratch, &m->wish, head, m->fd, &m->found, err);
    m->past.past->close(m->past.past);
    json_decref(head);
    return known_secrets_error(&m->w->known, rc, err);
}

static int warnings(const struct making *m, json_t **ret, struct error *err) {
    json_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    if (rc == 0 && repo_snapshot_suspect(m->w->repo, m->info))
        rc = json_push(list, json_string("the point is suspect: the key that wrote it was revoked"), err);
    if (rc == 0 && json_array_size(json_object_get(m->found, "triggers")))
        rc = json_push(list,
                       json_string(m->o->no_triggers
                                       ? "triggers of the tables are switched off while rows are put back"
                                       : "triggers of the tables fire when rows are put back, and may write "
                                         "elsewhere"),
                       err);
    if (rc == 0 && json_array_extend(list, json_object_get(m->found, "warnings")) < 0)
        rc = error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    if (rc < 0)
        json_decref(list);
    else
        *ret = list;
    return rc;
}

static int document(struct making *m, json_t **ret, struct error *err) {
    const struct snapshot_info *i = m->info;
    const json_t *f = m->found;
    char entry[65];
    json_t *list = NULL;
    hex_encode(i->entry.b, DIGEST_BYTES, entry);
    int rc = warnings(m, &list, err);
    if (rc < 0) return rc;
    json_t *doc = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:o, s:s, s:O*, s:s, s:O, s:O, s:O, s:O, s:O, s:O, s:b, s:o}", "id",
        m->id, "what", "rows", "environment", i->environment, "surface", i->surface, "snapshot", i->id, "seq",
        (json_int_t)i->seq, "receipt", entry, "repository", repo_id_hex(m->w->repo), "point",
        point_time_json(m->past.past->instant_ns), "database", m->wish.database, "system_identifier",
        json_object_get(m->look, "system_identifier"), "changes", m->changes, "changes_sha256",
        json_object_get(f, "sha256"), "rows", json_object_get(f, "rows"), "bytes", json_object_get(f, "bytes"),
        "tables", json_object_get(f, "tables"), "missing_parents", json_object_get(f, "missing_parents"), "triggers",
        json_object_get(f, "triggers"), "no_triggers", (int)m->o->no_triggers, "warnings", list);
    rc = doc ? json_put(doc, "recovery", past_recovery_json(m->o->recovery), err)
             : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    if (rc == 0) rc = pitr_find_put(&m->find, json_object_get(doc, "recovery"), list, err);
    if (rc < 0)
        json_decref(doc);
    else
        *ret = doc;
    return rc;
}

int rows_plan_make(struct work *w, const char *address, const struct rows_options *o, struct rows_plan *ret,
                   struct error *err) {
    struct making m = {.w = w, .o = o, .fd = -1};
    json_t *doc = NULL;
    *ret = (struct rows_plan){0};
    m.wish = (struct rows_wish){.picks = o->picks, .take = o->take, .with_parents = o->with_parents};
    int rc = past_find_point(w, address, o->recovery, &m.find, &m.info, err);
    if (rc == 0) rc = need_reader(w, err);
    if (rc == 0) rc = plan_file_name(PREFIX, m.id, err);
    if (rc < 0) return rc;
    rc = work_reading_open(w, m.info, &m.in, err);
    if (rc == 0) past_of(w, m.info, &m.in, o->recovery, &m.past);
    if (rc == 0) rc = compare(&m, err);
    if (rc == 0) rc = document(&m, &doc, err);
    if (rc == 0) rc = plan_file_save(w, m.id, doc, err);
    if (rc == 0) rc = fill(ret, m.id, doc, m.in.surface.protected, err);
    if (rc < 0) {
        if (m.fd >= 0) (void)!seam_unlinkat(AT_FDCWD, m.changes, 0);
        rows_plan_free(ret);
    }
    io_close(&m.fd);
    json_decref(doc);
    json_decref(m.look);
    json_decref(m.found);
    work_reading_close(&m.in);
    return rc;
}

/* ---- loading ---- */
static int stale(struct error *err, const char *id, const char *what) {
    return error_set(err, ERR_PLAN_STALE, "plan %s: %s", id, what);
}

/* The file is the one that was looked at. */
static int changes_load(const struct rows_plan *p, int *ret_fd, struct error *err) {
    struct digest d;
    char hex[65];
    const char *said = json_string_value(json_object_get(p->doc, "changes_sha256"));
    int fd = seam_openat(AT_FDCWD, p->changes, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0) return stale(err, p->id, "its change set is not where it was");
    int rc = change_set_digest(fd, &d, err);
    hex_encode(d.b, sizeof d.b, hex);
    if (rc == 0 && (!said || strcmp(said, hex) != 0))
        rc = stale(err, p->id, "its change set was altered after it was made");
    if (rc < 0)
        io_close(&fd);
    else
        *ret_fd = fd;
    return rc;
}

int rows_plan_load(struct work *w, const char *id, struct rows_plan *ret, struct error *err) {
    json_t *doc = NULL;
    char entry[65] = "";
    int fd = -1;
    *ret = (struct rows_plan){0};
    if (!rows_plan_is(id)) return stale(err, id, "it is no plan for rows"); /* nor a path out of the plans' folder */
    int rc = plan_file_load(w, id, &doc, err);
    if (rc == 0) rc = fill(ret, id, doc, false, err);
    if (rc == 0) rc = work_open_repo(w, json_string_value(json_object_get(doc, "environment")), err);
    if (rc == 0) {
        const struct snapshot_info *info = repo_snapshot_at(w->repo, ret->seq);
        const char *receipt = json_string_value(json_object_get(doc, "receipt")),
                   *repository = json_string_value(json_object_get(doc, "repository"));
        struct work_surface s = {0};
        if (info) hex_encode(info->entry.b, DIGEST_BYTES, entry);
        if (!repository || strcmp(repository, repo_id_hex(w->repo)) != 0)
            rc = stale(err, id, "it is for another repository");
        else if (!info || info->forgotten || !receipt || strcmp(receipt, entry) != 0)
            rc = stale(err, id, "its recovery point is not there any more");
        if (rc == 0) rc = work_surface_of(w, info, &s, err);
        ret->protected = s.protected;
        work_surface_close(&s);
    }
    if (rc == 0) rc = changes_load(ret, &fd, err);
    io_close(&fd);
    json_decref(doc);
    if (rc < 0) rows_plan_free(ret);
    return rc;
}

int rows_plan_read(const struct rows_plan *p, const struct change_set_reader *r, void *ctx, struct error *err) {
    int fd = -1;
    int rc = changes_load(p, &fd, err);
    if (rc == 0) rc = change_set_read(fd, r, ctx, err);
    io_close(&fd);
    return rc;
}

/* ---- carrying out ---- */
/* Without "duration_ms": how long rows took says nothing of how long a restore of the surface takes. */
static int receipt(struct work *w, const struct snapshot_info *info, const struct rows_plan *p,
                   const struct rows_done *d, bool success, int64_t started_ns, struct error *err) {
    struct about a = {.id = info->id, .seq = info->seq, .entry = info->entry};
    struct redaction secrets = known_secrets_redaction(&w->known);
    const char *said = json_string_value(json_object_get(p->doc, "digest"));
    struct digest plan;
    bool has_plan = said && hex_decode(said, strlen(said), plan.b, sizeof plan.b);
    char label[260];
    json_t *statement = NULL;
    json_t *extra =
        json_pack("{s:{s:O, s:O*, s:b}}", "rows", "changes_sha256", json_object_get(p->doc, "changes_sha256"), "tables",
                  d->facts ? json_object_get(d->facts, "tables") : NULL, "no_triggers",
                  (int)json_is_true(json_object_get(p->doc, "no_triggers")));
    struct restore_record r = {.environment = info->environment,
                               .surface = info->surface,
                               .target = json_string_value(json_object_get(p->doc, "database")),
                               .started_ns = started_ns,
                               .completed_ns = time_now_ns(),
                               .succeeded = success,
                               .items = d->inserted + d->updated + d->deleted,
                               .plan = has_plan ? &plan : NULL,
                               .principal = w->principal,
                               .extra = extra};
    int rc = extra ? evidence_restore(&a, &r, &secrets, &statement, err)
                   : error_set(err, ERR_NO_MEMORY, "no memory for a receipt");
    work_label(info, label);
    if (rc == 0) rc = owed_append(w, label, statement, NULL, NULL, err);
    if (rc == 0) rc = repo_publish(w->repo, err);
    json_decref(statement);
    json_decref(extra);
    return rc;
}

static void record(struct work *w, const struct rows_plan *p, const struct rows_done *d, bool success,
                   int64_t started_ns) {
    enum key_role role = repo_keys(w->repo)->role;
    const struct snapshot_info *info = repo_snapshot_at(w->repo, p->seq);
    struct error lost = ERROR_INIT;
    if (!info || (role != ROLE_ADMIN && role != ROLE_RESTORE)) return;
    if (receipt(w, info, p, d, success, started_ns, &lost) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, p->label, lost.text);
}

static int apply(struct work *w, const struct snapshot_info *info, const struct rows_plan *p, int fd,
                 struct rows_done *ret, struct error *err) {
    struct work_reading in;
    const struct rows_driver *rows;
    struct rows_apply a = {.database = json_string_value(json_object_get(p->doc, "database")),
                           .no_triggers = json_is_true(json_object_get(p->doc, "no_triggers"))};
    int rc = work_reading_open(w, info, &in, err);
    if (rc == 0) rc = past_rows(&in, &rows, err);
    if (rc == 0) rc = rows->apply(&in.ctx, fd, &a, &ret->facts, err);
    work_reading_close(&in);
    return known_secrets_error(&w->known, rc, err);
}

int rows_plan_run(struct work *w, const struct rows_plan *p, const char *confirm, struct rows_done *ret,
                  struct error *err) {
    int fd = -1;
    *ret = (struct rows_done){0};
    const struct snapshot_info *info = repo_snapshot_at(w->repo, p->seq);
    if (!info) return stale(err, p->id, "its recovery point is not there any more");
    const struct config_environment *e = w->config ? config_environment(w->config, info->environment) : NULL;
    int rc = e ? guard_confirm(e, GUARD_RESTORE, info->surface, p->snapshot_id, confirm, err) : 0;
    if (rc == 0) rc = changes_load(p, &fd, err);
    if (rc < 0) return rc;
    int64_t started = time_now_ns();
    rc = apply(w, info, p, fd, ret, err);
    io_close(&fd);
    ret->duration_ns = time_now_ns() - started;
    ret->inserted = (uint64_t)json_integer_value(json_object_get(ret->facts, "inserted"));
    ret->updated = (uint64_t)json_integer_value(json_object_get(ret->facts, "updated"));
    ret->deleted = (uint64_t)json_integer_value(json_object_get(ret->facts, "deleted"));
    record(w, p, ret, rc == 0, started);
    return rc;
}
