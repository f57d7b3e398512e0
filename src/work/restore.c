#include "work/restore.h"

#include "base/seam.h"
#include "base/time.h"
#include "platform/guard.h"
#include "work/around.h"
#include "work/before.h"
#include "work/extract.h"
#include "work/leftover.h"
#include "work/pitr.h"
#include "work/pitr_find.h"
#include "work/pitr_reach.h"
#include "work/point.h"
#include "work/reading.h"
#include "work/receipt.h"
#include "work/select.h"
#include "work/thaw.h"

#include <stdio.h>

#define INCLUDES_MAX 4096

/* The request that a plan's document describes, for what is read. Borrowed from both. */
struct request {
    struct restore_request q;
    struct restore_recovery recovery;
    const char **include, **tablespaces;
};

static void request_free(struct request *q) {
    seam_free(q->include);
    seam_free(q->tablespaces);
}

static int texts(const json_t *list, const char *what, const char ***ret, struct error *err) {
    void *mem;
    if (json_array_size(list) > INCLUDES_MAX) return error_set(err, ERR_USAGE, "more than %d %s", INCLUDES_MAX, what);
    int rc = mem_alloc((json_array_size(list) + 1) * sizeof **ret, &mem, err);
    if (rc < 0) return rc;
    *ret = mem;
    for (size_t i = 0; i < json_array_size(list); i++) (*ret)[i] = json_string_value(json_array_get(list, i));
    return 0;
}

static int request_read(const json_t *doc, const struct work_reading *r, struct request *ret, struct error *err) {
    const json_t *paths = json_object_get(doc, "paths"), *spaces = json_object_get(doc, "tablespaces");
    *ret = (struct request){0};
    int rc = texts(paths, "paths", &ret->include, err);
    if (rc == 0) rc = texts(spaces, "tablespaces", &ret->tablespaces, err);
    if (rc < 0) return rc;
    bool recover = pitr_request(doc, &ret->recovery);
    ret->q =
        (struct restore_request){.target = json_string_value(json_object_get(doc, "into")),
                                 .include = json_array_size(paths) ? ret->include : NULL,
                                 .in_place = json_is_true(json_object_get(doc, "in_place")),
                                 .swap = json_is_true(json_object_get(doc, "swap")),
                                 .terminate_connections = json_is_true(json_object_get(doc, "terminate_connections")),
                                 .no_owner = json_is_true(json_object_get(doc, "no_owner")),
                                 .delta = json_is_true(json_object_get(doc, "delta")),
                                 .tablespaces = ret->tablespaces,
                                 .recovery = recover ? &ret->recovery : NULL,
                                 .planned_ns = json_integer_value(json_object_get(doc, "planned_ns")),
                                 .facts = r->facts,
                                 .invariants = r->invariants};
    return 0;
}

/* From the newest recorded restore of the surface, scaled by size: an estimate that says where it comes from. */
static int estimate(struct work *w, const struct snapshot_info *info, json_t *doc, struct error *err) {
    for (size_t i = repo_snapshot_count(w->repo); i-- > 0;) {
        const struct snapshot_info *s = repo_snapshot(w->repo, i);
        if (!s->restore_ns || strcmp(s->environment, info->environment) != 0 || strcmp(s->surface, info->surface) != 0)
            continue;
        double scale = s->bytes ? (double)info->bytes / (double)s->bytes : 1.0;
        int rc = json_put_int(doc, "estimated_seconds", (int64_t)((double)s->restore_ns * scale / 1e9 + 0.999), err);
        return rc < 0 ? rc : json_put_str(doc, "estimated_from", s->id, err);
    }
    return json_put(doc, "estimated_seconds", json_null(), err);
}

static bool makes_folder(const char *kind) {
    return strcmp(kind, "files") == 0 || strcmp(kind, "postgres-physical") == 0;
}

/* A graph goes into a server, a dump of one into a folder. */
int restore_makes_folder(struct work *w, const struct snapshot_info *info, bool *ret, struct error *err) {
    struct work_reading r;
    *ret = makes_folder(info->kind);
    if (strcmp(info->kind, "neo4j") != 0) return 0;
    int rc = work_reading_open(w, info, &r, err);
    if (rc == 0) *ret = strcmp(json_text(r.facts, "method", ""), "offline") == 0;
    work_reading_close(&r);
    return rc;
}

/* The folder that a plan makes; NULL when it makes none. */
static const char *plan_folder(const json_t *doc) {
    const char *kind = json_string_value(json_object_get(doc, "kind"));
    const char *target = json_string_value(json_object_get(json_object_get(doc, "target"), "target"));
    if (!kind || extract_is(doc)) return NULL;
    const bool either = strcmp(kind, "neo4j") == 0 || strcmp(kind, "redis") == 0; /* a folder, or a server */
    return makes_folder(kind) || (either && target && *target == '/') ? target : NULL;
}

/* What was found for a plan. */
struct looked {
    json_t *target; /* what the driver says about it now */
    json_t *reach;  /* how far WAL leads; NULL when that is not asked */
    json_t *facts;  /* of the point, when recovery is asked for */
    bool protected;
    bool before; /* the point lies before the target of its recovery */
};

static void looked_free(struct looked *l) {
    json_decref(l->target);
    json_decref(l->reach);
    json_decref(l->facts);
    *l = (struct looked){0};
}

/* What the driver says about the target now, with what it will be asked to do. */
static int driver_plan(struct work *w, const struct snapshot_info *info, const json_t *doc, struct looked *ret,
                       struct error *err) {
    struct work_reading r;
    struct request q = {0};
    int rc = work_reading_open(w, info, &r, err);
    ret->protected = r.surface.protected;
    if (rc == 0) rc = request_read(doc, &r, &q, err);
    if (rc == 0)
        rc = extract_is(doc) ? extract_plan(&r, &q.q, &ret->target, err)
                             : r.surface.driver->plan(&r.ctx, &q.q, &ret->target, err);
    if (rc == 0 && q.q.recovery) {
        ret->before = true;
        ret->facts = json_incref((json_t *)r.facts);
        rc = pitr_reach(w, info, r.facts, q.q.recovery, &ret->reach, err);
    }
    request_free(&q);
    work_reading_close(&r);
    return known_secrets_error(&w->known, rc, err);
}

/* The fields of a plan that its document holds. */
static int plan_fill(struct work *w, struct restore_plan *p, bool protected, struct error *err) {
    const json_t *d = p->doc, *t = json_object_get(d, "target");
    snprintf(p->label, sizeof p->label, "%s/%s", json_string_value(json_object_get(d, "environment")),
             json_string_value(json_object_get(d, "surface")));
    snprintf(p->snapshot_id, sizeof p->snapshot_id, "%s", json_string_value(json_object_get(d, "snapshot")));
    p->seq = (uint64_t)json_integer_value(json_object_get(d, "seq"));
    p->protected = protected;
    p->fresh = (!json_is_true(json_object_get(t, "exists")) || json_is_true(json_object_get(t, "empty"))) &&
               !json_is_true(json_object_get(d, "in_place")) && !json_is_true(json_object_get(d, "swap"));
    (void)w;
    return guard_phrase(GUARD_RESTORE, json_string_value(json_object_get(d, "environment")),
                        json_string_value(json_object_get(d, "surface")), p->snapshot_id, p->phrase, err);
}

/* A folder is named from where the plan is made, wherever it is carried out. */
static int into_put(struct work *w, const struct snapshot_info *info, const struct restore_options *o, json_t *doc,
                    struct error *err) {
    const char *into = o->into;
    char here[3000], full[8000];
    bool folder = false;
    if (!into) return json_put(doc, "into", json_null(), err);
    int rc = *into == '/' || extract_wanted(info, o) ? 0 : restore_makes_folder(w, info, &folder, err);
    if (rc < 0) return rc;
    if (!folder || !getcwd(here, sizeof here)) return json_put(doc, "into", json_string(into), err);
    snprintf(full, sizeof full, "%s/%.4500s", here, into);
    return json_put(doc, "into", json_string(full), err);
}

/* What a person should know before the plan is carried out; what the driver has to say stands with the target. */
static int warnings(struct work *w, const struct snapshot_info *info, json_t *doc, struct error *err) {
    json_t *list = json_array();
    int rc = list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    if (rc == 0 && !info->complete)
        rc = json_push(list, json_string("it is partial: something is missing from it"), err);
    if (rc == 0 && repo_snapshot_suspect(w->repo, info))
        rc = json_push(list,
                       json_string("it is suspect: the key that wrote it was revoked, others may have used it by then"),
                       err);
    if (rc == 0 && info->verify_failed)
        rc = json_push(list, json_string("its last verification failed: what is damaged cannot be restored"), err);
    return rc < 0 ? (json_decref(list), rc) : json_put(doc, "warnings", list, err);
}

/* The point that is meant; when only a target is, the newest that recovery leads from to it. What has to be looked for
 * in the WAL is looked for from a point that was named as well. */
static int find_point(struct work *w, const char *address, const struct restore_options *o, struct pitr_find *find,
                      const struct snapshot_info **ret, struct error *err) {
    const struct snapshot_info **points = NULL;
    char oldest[SNAPSHOT_ID_MAX] = "";
    struct error kept = ERROR_INIT;
    struct address a;
    size_t n = 0, whole = 0;
    const struct restore_recovery sought = {.xid = o->target_xid, .name = o->target_name};
    int rc = address_parse(address, &a, err);
    const bool named = rc == 0 && a.point.kind != POINT_UNSAID;
    if (rc < 0 || !pitr_has_instant(o) || (named && !pitr_find_is(&sought)) || a.surface_count != 1)
        return rc < 0 ? rc : work_find_point(w, address, ret, err);
    if ((rc = work_find_point(w, address, ret, err)) < 0) return rc; /* that there is one at all */
    if (strcmp((*ret)->kind, "postgres-physical") != 0) return 0;
    if (extract_wanted(*ret, o)) {
        struct restore_recovery q = extract_recovery(o);
        return past_find_point(w, address, &q, find, ret, err);
    }
    if ((rc = work_points(w, a.environment, a.surfaces[0], &points, &n, err)) < 0) return rc;
    find->chosen = !named;
    for (size_t i = 0; i < n; i++)
        if (named ? points[i] == *ret : points[i]->complete && past_is_physical(points[i])) points[whole++] = points[i];
    n = whole;
    rc = 1;
    while (rc == 1 && n-- > 0) {
        struct looked found = {0};
        json_t *doc = json_object();
        error_clear(err);
        rc = doc ? into_put(w, points[n], o, doc, err) : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
        if (rc == 0) rc = json_put(doc, "in_place", json_boolean(o->in_place), err);
        if (rc == 0) rc = pitr_document(w, points[n], o, doc, err);
        if (rc == 0) rc = driver_plan(w, points[n], doc, &found, err);
        const bool leads = rc == 0;
        if (leads && pitr_find_is(&sought))
            rc = pitr_find_look(find, w, points[n], &sought, found.reach, whole == 1, err);
        if (rc == 0) *ret = points[n];
        if (rc == -ERR_PG_TARGET && !find->ended) {
            rc = 1;
            /* Why the newest before the target does not lead to it says more than that an older one does not either. */
            if (!leads && found.before && !kept.code) kept = *err;
            snprintf(oldest, sizeof oldest, "%s", points[n]->id);
        }
        json_decref(doc);
        looked_free(&found);
    }
    seam_free(points);
    if (rc != 1) return rc < 0 && find->ended ? error_wrap(err, "%s", address) : rc;
    if (find->backups) {
        error_clear(err);
        rc = pitr_find_none(find, &sought, err);
        return error_wrap(err, "%s", address);
    }
    if (!kept.code) return error_wrap(err, "%s, whose oldest whole backup is %s", address, oldest);
    *err = kept;
    return error_wrap(err, "%s", address);
}

/* A plan that would find its new folder taken is none. */
static int target_free_check(const json_t *target, struct error *err) {
    if (strcmp(json_text(target, "mode", ""), "new") != 0 || !json_is_true(json_object_get(target, "exists")) ||
        json_is_true(json_object_get(target, "empty")))
        return 0;
    error_set(err, ERR_TARGET_NOT_EMPTY, "the target '%s' is not empty", json_text(target, "target", "-"));
    return error_next(err,
                      "Name an empty or new target, or none for one beside the live folder; --swap puts all of it in "
                      "the place of the live folder, which is kept, and --in-place with --path single files.");
}

/* Where a folder is meant. */
static int target_apart_check(const struct work *w, const struct restore_options *o, const json_t *target,
                              struct error *err) {
    const char *path = json_text(target, "target", "");
    char folder[4096];
    if (*path != '/') return 0;
    int rc = work_apart_check(path, w->url, err);
    if (rc < 0 || (!o->swap && !o->delta) || !work_local_folder(w->url, folder) || !work_path_within(folder, path))
        return rc;
    error_set(err, ERR_POLICY, "the repository's own folder, %s, lies in %s, and would be moved or removed with it",
              folder, path);
    return error_next(err, "Restore beside it, with --into, or move the repository elsewhere first.");
}

int restore_plan_make(struct work *w, const char *address, const struct restore_options *o, struct restore_plan *ret,
                      struct error *err) {
    const struct snapshot_info *info;
    json_t *doc = json_object(), *paths = json_array();
    struct looked found = {0};
    struct pitr_find find = {0};
    char id[PLAN_ID_BYTES], when[32], entry[65];
    *ret = (struct restore_plan){0};
    int rc = o->in_place && o->into ? error_set(err, ERR_USAGE, "a restore in place has no other target")
                                    : find_point(w, address, o, &find, &info, err);
    if (rc == 0)
        rc = repo_keys(w->repo)->read_secret
                 ? 0
                 : error_set(err, ERR_KEY_ROLE, "restoring needs a restore or admin key, and this one is a %s key",
                             key_role_name(repo_keys(w->repo)->role));
    if (rc == 0) rc = plan_file_name("pln", id, err);
    if (rc < 0) goto out;
    time_format(point_time(info), when);
    thaw_expect(w->repo, info);
    int64_t now = time_now_ns();
    hex_encode(info->entry.b, DIGEST_BYTES, entry);
    for (const char *const *p = o->paths; p && *p && rc == 0; p++) rc = json_push(paths, json_string(*p), err);
    if (rc == 0) rc = json_put_str(doc, "id", id, err);
    if (rc == 0) rc = json_put_str(doc, "environment", info->environment, err);
    if (rc == 0) rc = json_put_str(doc, "surface", info->surface, err);
    if (rc == 0) rc = json_put_str(doc, "kind", info->kind, err);
    if (rc == 0) rc = json_put_str(doc, "snapshot", info->id, err);
    if (rc == 0) rc = json_put_int(doc, "seq", (int64_t)info->seq, err);
    if (rc == 0) rc = json_put_str(doc, "receipt", entry, err);
    if (rc == 0) rc = json_put_str(doc, "repository", repo_id_hex(w->repo), err);
    if (rc == 0) rc = json_put_str(doc, "point", when, err);
    if (rc == 0) rc = json_put_int(doc, "planned_ns", now, err);
    if (rc == 0) rc = json_put_int(doc, "loss_seconds", (now - point_time(info)) / NS_PER_S, err);
    if (rc == 0) rc = json_put(doc, "complete", json_boolean(info->complete), err);
    if (rc == 0) rc = warnings(w, info, doc, err);
    if (rc == 0) rc = json_put_int(doc, "bytes", (int64_t)info->bytes, err);
    if (rc == 0) rc = json_put_int(doc, "items", (int64_t)info->items, err);
    if (rc == 0) rc = into_put(w, info, o, doc, err);
    if (rc == 0) rc = json_put(doc, "paths", json_incref(paths), err);
    if (rc == 0) rc = json_put(doc, "in_place", json_boolean(o->in_place), err);
    if (rc == 0) rc = json_put(doc, "swap", json_boolean(o->swap), err);
    if (rc == 0) rc = json_put(doc, "terminate_connections", json_boolean(o->terminate_connections), err);
    if (rc == 0) rc = json_put(doc, "no_owner", json_boolean(o->no_owner), err);
    if (rc == 0) rc = pitr_document(w, info, o, doc, err);
    if (rc == 0) rc = estimate(w, info, doc, err);
    if (rc == 0) rc = thaw_plan(w, info, o->thaw, o->tier, doc, err);
    if (rc == 0) rc = driver_plan(w, info, doc, &found, err);
    store_expect_end(repo_store(w->repo));
    if (rc == 0) rc = target_apart_check(w, o, found.target, err);
    if (rc == 0) rc = target_free_check(found.target, err);
    if (rc == 0) rc = pitr_find_put(&find, json_object_get(doc, "recovery"), json_object_get(doc, "warnings"), err);
    if (rc == 0) rc = pitr_tell(found.facts, found.reach, doc, err);
    if (rc == 0) {
        /* a default target is named now, so that running the plan restores to just that place */
        const char *chosen = json_string_value(json_object_get(found.target, "target"));
        const json_t *databases = json_object_get(found.target, "databases");
        bool one = json_array_size(databases) < 2;
        if (!chosen) chosen = json_string_value(json_object_get(json_array_get(databases, 0), "target"));
        if (!o->into && !o->swap && !o->in_place && one && chosen) rc = json_put_str(doc, "into", chosen, err);
    }
    if (rc == 0) rc = json_put(doc, "target", json_incref(found.target), err);
    if (rc == 0) rc = before_put(w, o->no_backup_first, doc, err);
    if (rc == 0) rc = plan_file_save(w, id, doc, err);
    if (rc == 0) {
        snprintf(ret->id, sizeof ret->id, "%s", id);
        ret->doc = json_incref(doc);
        rc = plan_fill(w, ret, found.protected, err);
    }
    if (rc == 0 && plan_folder(doc)) work_partials_name(w, plan_folder(doc), ret->label);
out:
    json_decref(doc);
    looked_free(&found);
    json_decref(paths);
    if (rc < 0) restore_plan_free(ret);
    return rc;
}

void restore_plan_free(struct restore_plan *p) {
    json_decref(p->doc);
    p->doc = NULL;
}

static int stale(struct error *err, const char *id, const char *what) {
    return error_set(err, ERR_PLAN_STALE, "plan %s: %s", id, what);
}

/* The point that the plan was made for, as the open repository has it. */
static int plan_point(struct work *w, const json_t *doc, const char *id, const struct snapshot_info **ret,
                      struct error *err) {
    const struct snapshot_info *info =
        repo_snapshot_at(w->repo, (uint64_t)json_integer_value(json_object_get(doc, "seq")));
    char entry[65] = "";
    if (info) hex_encode(info->entry.b, DIGEST_BYTES, entry);
    if (strcmp(json_text(doc, "repository", ""), repo_id_hex(w->repo)) != 0)
        return stale(err, id, "it is for another repository");
    if (!info || info->forgotten || strcmp(json_text(doc, "receipt", ""), entry) != 0)
        return stale(err, id, "its recovery point is not there any more");
    *ret = info;
    return 0;
}

int restore_plan_load(struct work *w, const char *id, struct restore_plan *ret, struct error *err) {
    struct looked found = {0};
    *ret = (struct restore_plan){0};
    if (strlen(id) > 30 || strspn(id, "pln-0123456789abcdef") != strlen(id))
        return error_set(err, ERR_PLAN_STALE, "'%.40s' is no plan's id", id);
    int rc = plan_file_load(w, id, &ret->doc, err);
    if (rc == 0) rc = work_open_repo(w, json_string_value(json_object_get(ret->doc, "environment")), err);
    if (rc < 0) goto out;
    const struct snapshot_info *info;
    if ((rc = plan_point(w, ret->doc, id, &info, err)) < 0) goto out;
    snprintf(ret->id, sizeof ret->id, "%s", id);
    if ((rc = driver_plan(w, info, ret->doc, &found, err)) < 0) {
        rc = error_wrap(err, "plan %s", id);
        goto out;
    }
    const char *then = json_string_value(json_object_get(json_object_get(ret->doc, "target"), "fingerprint")),
               *now = json_string_value(json_object_get(found.target, "fingerprint"));
    if (!then || !now || strcmp(then, now) != 0 || before_is_new(ret->doc, found.target))
        rc = stale(err, id, "the target has changed since");
    if (rc == 0) rc = plan_fill(w, ret, found.protected, err);
out:
    looked_free(&found);
    if (rc < 0) restore_plan_free(ret);
    return rc;
}

int restore_fingerprint(struct work *w, const struct restore_plan *p, char out[129], struct error *err) {
    struct looked found = {0};
    const struct snapshot_info *info = repo_snapshot_at(w->repo, p->seq);
    if (!info) return stale(err, p->id, "its recovery point is not there any more");
    int rc = driver_plan(w, info, p->doc, &found, err);
    const char *now = json_string_value(json_object_get(found.target, "fingerprint"));
    snprintf(out, 129, "%.128s", now ? now : "");
    looked_free(&found);
    return rc;
}

struct wanted {
    struct snapshot *snapshot;
    int (*cb)(void *, struct snapshot *, const struct item_head *, struct error *);
    void *ctx;
};

static int wanted_item(void *ctx, const struct source_head *h, struct error *err) {
    struct wanted *t = ctx;
    const struct item_head i = {h->name, h->attr, (enum content_kind)h->kind, h->bytes, h->sha256, h->ordinal};
    return t->cb(t->ctx, t->snapshot, &i, err);
}

int restore_wants(struct work *w, const struct snapshot_info *info, const json_t *doc,
                  int (*cb)(void *, struct snapshot *, const struct item_head *, struct error *), void *ctx,
                  struct error *err) {
    struct work_reading in = {0};
    struct request q = {0};
    if (!json_array_size(json_object_get(doc, "paths")) || extract_is(doc)) return 0;
    int rc = work_reading_open(w, info, &in, err);
    if (rc == 0) rc = request_read(doc, &in, &q, err);
    if (rc == 0 && in.surface.driver->wants) {
        struct wanted t = {in.snapshot, cb, ctx};
        rc = in.surface.driver->wants(&in.ctx, &in.source.source, &q.q, wanted_item, &t, err);
        if (rc == 0) rc = 1;
    }
    request_free(&q);
    work_reading_close(&in);
    /* lists of references may lie there themselves */
    if (rc == -ERR_S3_ARCHIVED) {
        error_clear(err);
        return 0;
    }
    return rc;
}

/* Where it went, as the driver says; a driver of databases names each. */
static void target_name(const json_t *facts, const json_t *doc, char *out, size_t n) {
    const char *one = json_string_value(json_object_get(facts, "target"));
    const json_t *d;
    size_t i, at = 0;
    if (!one) one = json_string_value(json_object_get(doc, "into"));
    snprintf(out, n, "%s", one ? one : "");
    json_array_foreach(json_object_get(facts, "databases"), i, d) {
        const char *name = json_string_value(json_object_get(d, "target"));
        if (name && at < n) at += (size_t)snprintf(out + at, n - at, "%s%s", i ? ", " : "", name);
    }
}

int restore_run(struct work *w, struct restore_plan *p, const char *confirm, struct restore_done *ret,
                struct error *err) {
    struct work_reading in;
    struct request q = {0};
    struct restore_result r = {0};
    *ret = (struct restore_done){0};
    const struct snapshot_info *info;
    int rc = plan_point(w, p->doc, p->id, &info, err);
    if (rc < 0) return rc;
    const struct config_environment *e = w->config ? config_environment(w->config, info->environment) : NULL;
    rc = e ? guard_confirm(e, GUARD_RESTORE, info->surface, p->snapshot_id, confirm, err) : 0;
    if (rc == 0) rc = thaw_check(w, p, info, err);
    if (rc < 0) return rc;
    int64_t started = time_now_ns();
    rc = work_reading_open(w, info, &in, err);
    if (rc == 0) rc = pitr_histories(w, info, in.facts, p->doc, err);
    if (rc == 0) rc = request_read(p->doc, &in, &q, err);
    if (rc < 0) goto out;
    if (plan_folder(p->doc)) (void)work_partials_remove(w, plan_folder(p->doc), in.bridge.label);
    bool standby = false;
    if (!p->fresh && !p->in_standby) rc = around_begin(w, &in.ctx, p->id, &standby, err);
    if (rc == 0) rc = before_see_to(w, p, err);
    if (rc == 0) rc = before_begin(w, p, err);
    info = repo_snapshot_at(w->repo, p->seq); /* a backup has moved it */
    if (rc == 0)
        rc = extract_is(p->doc) ? extract_run(w, info, &in, &q.q, &r, err)
                                : in.surface.driver->restore(&in.ctx, &in.source.source, &q.q, &r, err);
    rc = known_secrets_error(&w->known, rc, err);
    if (rc == 0) before_end(w, p);
    struct error live = ERROR_INIT;
    if (standby && around_end(w, &in.ctx, p->id, &live) < 0 && w->options.events.warning)
        w->options.events.warning(w->options.events.ctx, in.bridge.label, live.text);
    target_name(rc == 0 ? r.facts : NULL, p->doc, ret->target, sizeof ret->target);
    if (rc < 0)
        (void)!error_state(err,
                           "nothing was put in the place of anything live; what was half-restored has been removed");
    if (rc < 0 && p->before[0] && w->options.events.warning) {
        char kept[300];
        snprintf(kept, sizeof kept, "what was there before is backed up as %s%s%s", p->before,
                 p->before_first[0] ? ", and before the run that did not end well as " : "", p->before_first);
        w->options.events.warning(w->options.events.ctx, in.bridge.label, kept);
    }
    ret->items = r.items;
    ret->bytes = r.bytes;
    ret->skipped = r.skipped;
    ret->facts = r.facts;
    ret->duration_ns = time_now_ns() - started;
    char seen[400];
    if (w->options.events.warning && work_sights(w, seen, sizeof seen))
        w->options.events.warning(w->options.events.ctx, in.bridge.label, seen);
    enum key_role role = repo_keys(w->repo)->role;
    if (role == ROLE_ADMIN || role == ROLE_RESTORE) {
        struct error lost = ERROR_INIT;
        const char *digest = json_string_value(json_object_get(p->doc, "digest"));
        int one = receipt_restore(w, info, digest, p->before, p->before_first, ret->target, rc == 0, started, r.bytes,
                                  r.items, &lost);
        if (one == 0) one = repo_publish(w->repo, &lost);
        if (one < 0) receipt_lost(w, in.bridge.label, "the receipt is not in the log", &lost);
    }
    if (rc == 0 && live.code) {
        *err = live;
        error_state(err, "it is restored; the platform may still be in standby");
        rc = -(int)live.code;
    }
out:
    request_free(&q);
    work_reading_close(&in);
    return rc;
}

int restore_undo(struct work *w, const char *id, unsigned *ret, bool *ret_sure, struct error *err) {
    struct work_reading in = {0};
    struct request q = {0};
    json_auto_t *doc = NULL;
    *ret = 0;
    *ret_sure = false;
    int rc = plan_file_load(w, id, &doc, err);
    if (rc == 0) rc = work_open_repo(w, json_text(doc, "environment", ""), err);
    const struct snapshot_info *info;
    if (rc == 0) rc = plan_point(w, doc, id, &info, err);
    if (rc < 0) return rc;
    rc = work_reading_open(w, info, &in, err);
    if (rc == 0) rc = request_read(doc, &in, &q, err);
    if (rc == 0 && plan_folder(doc)) *ret += work_partials_remove(w, plan_folder(doc), in.bridge.label);
    unsigned more = 0;
    if (rc == 0 && in.surface.driver->undo && !extract_is(doc)) rc = in.surface.driver->undo(&in.ctx, &q.q, &more, err);
    *ret += more;
    *ret_sure = plan_folder(doc) || (in.surface.driver && in.surface.driver->undo) || extract_is(doc);
    rc = known_secrets_error(&w->known, rc, err);
    request_free(&q);
    work_reading_close(&in);
    return rc;
}
