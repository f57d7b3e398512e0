#include "work/past_recovery.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/pitr.h"
#include "work/pitr_reach.h"
#include "work/point.h"

#include <stdio.h>
#include <stdlib.h>

bool past_is_physical(const struct snapshot_info *info) {
    return strcmp(info->kind, PAST_PHYSICAL) == 0;
}

static bool has_instant(const struct restore_recovery *q) {
    return q->time || q->lsn || q->xid || q->name;
}

/* A command is what says that WAL is to be followed; here it stands for "latest". */
static bool follows(const struct restore_recovery *q) {
    return has_instant(q) || (q->restore_command && !q->immediate);
}

bool past_recovers(const struct restore_recovery *q) {
    return q && (has_instant(q) || q->immediate || q->restore_command || q->timeline || q->exclusive);
}

json_t *past_recovery_json(const struct restore_recovery *q) {
    if (!past_recovers(q)) return json_null();
    const char *key = q->time ? "time" : q->lsn ? "lsn" : q->xid ? "xid" : q->name ? "name" : NULL;
    const char *value = q->time ? q->time : q->lsn ? q->lsn : q->xid ? q->xid : q->name;
    return json_pack("{s:o, s:b, s:s?}",
                     key            ? key
                     : q->immediate ? "immediate"
                                    : "latest",
                     key ? json_string(value) : json_true(), "exclusive", (int)q->exclusive, "timeline", q->timeline);
}

/* ---- a scratch cluster ---- */

static int system_of(const struct past_recovery *p, uint64_t *ret, struct error *err) {
    const char *text = json_string_value(json_object_get(p->in->facts, "system_identifier"));
    char *end = NULL;
    *ret = text ? strtoull(text, &end, 10) : 0;
    return *ret && !*end ? 0 : error_set(err, ERR_PG_TARGET, "its facts do not say which cluster it is of");
}

/* The folder beside the data, through which the server is fed. */
static int feed_folder(struct past_recovery *p, struct error *err) {
    const char *folder = json_string_value(json_object_get(p->scratch, "folder"));
    char path[4096];
    struct stat st;
    if (!folder || snprintf(path, sizeof path, "%s/" PAST_FEED_FOLDER, folder) >= (int)sizeof path)
        return error_set(err, ERR_PG_SCRATCH, "the scratch server has no folder");
    if (seam_mkdirat(AT_FDCWD, path, 0700) < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", path);
    p->feedfd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (p->feedfd < 0) return error_set_errno(err, ERR_IO_READ, "open %s", path);
    if (geteuid() == 0 && (seam_fstatat(AT_FDCWD, folder, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                           seam_fchownat(p->feedfd, "", st.st_uid, st.st_gid, AT_EMPTY_PATH) < 0))
        return error_set_errno(err, ERR_IO_WRITE, "give %s to the scratch server", path);
    return 0;
}

static int feed_open(struct past_recovery *p, struct past_feed **ret, struct error *err) {
    uint64_t system;
    int rc = system_of(p, &system, err);
    if (rc == 0) rc = work_wal_open_all(p->work, p->info->environment, p->info->surface, &p->wal, err);
    if (rc == 0) rc = feed_folder(p, err);
    return rc == 0 ? past_feed_start(work_wal_source(p->wal), system, p->feedfd, ret, err) : rc;
}

/* When the last transaction that is in it was committed; a backup's end, where none was since. */
static int ask_instant(struct past_recovery *p, struct error *err) {
    static const char sql[] = "SELECT to_char(pg_catalog.pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC',"
                              " 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    const char *stop = json_string_value(json_object_get(p->in->facts, "stop_time"));
    json_t *v = NULL;
    int64_t ns;
    int rc = p->in->surface.driver->rows->ask(&p->in->ctx, p->scratch, "template1", sql, &v, err);
    if (rc == 0 && json_is_string(v) && time_parse(json_string_value(v), &ns))
        p->past.instant_ns = ns;
    else if (rc == 0 && stop && time_parse(stop, &ns))
        p->past.instant_ns = ns;
    json_decref(v);
    return rc;
}

/* What a former past left of the same base. A restore over that writes again what was replayed into it, and what else
 * is not as the base has it, by content. */
static bool wake(struct past_recovery *p) {
    struct past_instance *i = p->instance;
    if (!i || i->driver != p->in->surface.driver || strcmp(i->base, p->info->id) != 0) return false;
    p->scratch = i->scratch;
    *i = (struct past_instance){0};
    return true;
}

static void feed_close(struct past_recovery *p) {
    const char *folder = json_string_value(json_object_get(p->scratch, "folder"));
    struct error ignored = ERROR_INIT;
    char path[4096];
    if (p->feedfd < 0) return;
    io_close(&p->feedfd); /* first, so that its folder can be removed */
    snprintf(path, sizeof path, "%s/" PAST_FEED_FOLDER, folder);
    (void)!io_remove_tree(AT_FDCWD, path, &ignored);
}

/* For the next past; false: it is to be stopped. */
static bool rest(struct past_recovery *p) {
    const struct surface_driver *d = p->in->surface.driver;
    struct error ignored = ERROR_INIT;
    if (!p->instance || !p->up || !d->scratch_rest || d->scratch_rest(&p->in->ctx, p->scratch, &ignored) < 0)
        return false;
    past_instance_stop(p->work, p->instance);
    p->instance->driver = d;
    p->instance->scratch = p->scratch;
    snprintf(p->instance->base, sizeof p->instance->base, "%s", p->info->id);
    p->scratch = NULL;
    return true;
}

static int restore(struct past_recovery *p, struct error *err) {
    struct work_reading *in = p->in;
    struct past_feed *feed = NULL;
    struct restore_result r = {0};
    const bool over = wake(p);
    if (!over && p->instance) past_instance_stop(p->work, p->instance); /* room for another */
    int rc = over ? 0 : in->surface.driver->scratch_start(&in->ctx, in->facts, &p->scratch, err);
    /* Every byte is checked on its way out of the repository: the stock tool's second reading is for verification. */
    if (rc == 0) rc = json_put(p->scratch, "verify", json_false(), err);
    if (rc == 0) rc = json_put(p->scratch, "open_databases", json_true(), err);
    if (rc == 0 && p->beyond) rc = feed_open(p, &feed, err);
    if (rc == 0) {
        struct restore_request q = {.as_scratch = true,
                                    .scratch = p->scratch,
                                    .delta = over,
                                    .recovery = past_recovers(&p->want) ? &p->want : NULL,
                                    .facts = in->facts,
                                    .invariants = in->invariants};
        rc = in->surface.driver->restore(&in->ctx, &in->source.source, &q, &r, err);
    }
    past_feed_stop(feed, err);
    json_decref(r.facts);
    p->up = rc == 0;
    return rc;
}

static int open_recovery(struct past *past, const char *const *include, const json_t **ret, struct error *err) {
    struct past_recovery *p = (struct past_recovery *)past;
    json_t *reach = NULL;
    (void)include;
    int rc = p->beyond ? pitr_reach(p->work, p->info, p->in->facts, &p->want, &reach, err) : 0;
    json_decref(reach);
    if (rc == 0) rc = restore(p, err);
    if (rc == 0) rc = ask_instant(p, err);
    if (rc == 0) *ret = p->scratch;
    return known_secrets_error(&p->work->known, rc, err);
}

static void close_recovery(struct past *past) {
    struct past_recovery *p = (struct past_recovery *)past;
    const struct surface_context ctx = {.scratch_dir = p->work->scratch_dir};
    feed_close(p);
    if (p->scratch && !rest(p)) p->in->surface.driver->scratch_stop(&ctx, p->scratch);
    json_decref(p->scratch);
    work_wal_close(p->wal);
    p->scratch = NULL;
    p->wal = NULL;
}

void past_of_recovery(struct work *w, const struct snapshot_info *info, struct work_reading *in,
                      const struct restore_recovery *want, struct past_recovery *ret) {
    *ret =
        (struct past_recovery){.past = {.open = open_recovery, .close = close_recovery, .instant_ns = point_time(info)},
                               .work = w,
                               .in = in,
                               .info = info,
                               .want = want ? *want : (struct restore_recovery){0},
                               .feedfd = -1};
    ret->beyond = want && follows(want);
    ret->want.restore_command = ret->beyond ? past_feed_command : NULL;
    ret->want.action = NULL;
    ret->want.standby = false;
}

void past_of(struct work *w, const struct snapshot_info *info, struct work_reading *in,
             const struct restore_recovery *q, struct past_either *ret) {
    *ret = (struct past_either){0};
    if (past_is_physical(info)) {
        past_of_recovery(w, info, in, q, &ret->recovery);
        ret->past = &ret->recovery.past;
    } else {
        past_of_point(w, info, in, &ret->point);
        ret->past = &ret->point.past;
    }
}

/* ---- which base ---- */

/* Whether recovery from it leads to the target: nothing is copied, and no server is asked. */
static int try_base(struct work *w, const struct snapshot_info *info, const struct restore_recovery *q,
                    struct pitr_find *find, bool only, bool *ret_before, struct error *err) {
    struct work_reading in;
    struct restore_recovery want = *q;
    json_t *plan = NULL, *reach = NULL, *nowhere = NULL;
    char path[4200];
    snprintf(path, sizeof path, "%s/none", w->scratch_dir);
    int rc = work_reading_open(w, info, &in, err);
    if (rc == 0) rc = (nowhere = json_pack("{s:s}", "data", path)) ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    want.restore_command = past_feed_command;
    struct restore_request r = {
        .as_scratch = true, .scratch = nowhere, .recovery = &want, .facts = in.facts, .invariants = in.invariants};
    if (rc == 0) rc = in.surface.driver->plan(&in.ctx, &r, &plan, err);
    *ret_before = rc == 0;
    if (rc == 0) rc = pitr_reach(w, info, in.facts, &want, &reach, err);
    json_decref(plan);
    json_decref(nowhere);
    work_reading_close(&in);
    if (rc == 0 && pitr_find_is(q)) {
        *ret_before = false; /* it leads on, but not to there */
        rc = pitr_find_look(find, w, info, q, reach, only, err);
    }
    json_decref(reach);
    return rc;
}

static int newest_base(struct work *w, const struct address *a, const struct restore_recovery *q,
                       struct pitr_find *find, const struct snapshot_info **ret, struct error *err) {
    const struct snapshot_info **points = NULL;
    struct error kept = ERROR_INIT;
    size_t n = 0, whole = 0;
    int rc = work_points(w, a->environment, a->surfaces[0], &points, &n, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++)
        if (points[i]->complete && past_is_physical(points[i])) points[whole++] = points[i];
    n = whole;
    for (rc = -ERR_PG_TARGET; rc == -ERR_PG_TARGET && !find->ended && n-- > 0;) {
        bool before;
        error_clear(err);
        rc = try_base(w, points[n], q, find, whole == 1, &before, err);
        if (rc == 0) *ret = points[n];
        /* Why the newest before the target does not lead to it says more than that an older one does not either. */
        if (rc == -ERR_PG_TARGET && before && !kept.code) kept = *err;
    }
    seam_free(points);
    if (rc == -ERR_PG_TARGET && !find->ended && find->backups) {
        error_clear(err);
        return pitr_find_none(find, q, err);
    }
    if (rc == -ERR_PG_TARGET && kept.code) *err = kept;
    if (rc == -ERR_PG_TARGET && !err->code)
        return error_set(err, ERR_PG_TARGET, "there is no whole physical backup to recover from");
    return rc;
}

int past_find_point(struct work *w, const char *address, const struct restore_recovery *q, struct pitr_find *find,
                    const struct snapshot_info **ret, struct error *err) {
    const struct snapshot_info *info = NULL;
    struct address a;
    bool before;
    int rc = address_parse(address, &a, err);
    if (rc == 0) rc = work_find_point(w, address, &info, err);
    if (rc < 0) return rc;
    if (past_recovers(q) && !past_is_physical(info)) return pitr_refuse_logical(w, info, q->time, err);
    if (past_recovers(q) && q->action)
        return error_set(err, ERR_USAGE, "what to do at the target is not to be chosen: it is a scratch server's");
    if (past_recovers(q) && follows(q)) {
        find->chosen = a.point.kind == POINT_UNSAID;
        if (find->chosen)
            rc = newest_base(w, &a, q, find, &info, err);
        else if ((rc = try_base(w, info, q, find, true, &before, err)) == -ERR_PG_TARGET && !find->ended &&
                 find->backups) {
            error_clear(err);
            rc = pitr_find_none(find, q, err);
        }
    }
    if (rc == 0) *ret = info;
    return rc < 0 && past_recovers(q) ? error_wrap(err, "%s", address) : rc;
}
