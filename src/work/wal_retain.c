/* WAL that no base needs any more. */
#include "base/thread.h"
#include "base/time.h"
#include "repo/reader.h"
#include "store/versions.h"
#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define ROOT_CACHE_BYTES (1u << 20)

struct bases {
    struct wal_base *items;
    size_t n, cap;
};

bool wal_base_of(const json_t *root, struct wal_base *ret) {
    const json_t *facts = json_object_get(root, "facts");
    const char *system = json_string_value(json_object_get(facts, "system_identifier"));
    const char *lsn = json_string_value(json_object_get(facts, "start_lsn"));
    const char *end = json_string_value(json_object_get(facts, "stop_time"));
    json_int_t timeline = json_integer_value(json_object_get(facts, "timeline"));
    ret->timeline = (uint32_t)timeline;
    if (!end || !time_parse(end, &ret->end_ns)) ret->end_ns = 0;
    return system && lsn && timeline > 0 && timeline <= UINT32_MAX && wal_system_parse(system, &ret->system) &&
           wal_lsn_parse(lsn, &ret->lsn);
}

/* Of the whole repository: the same cluster may be backed up under several names. */
static int bases_read(struct work *w, wal_base_goes goes, void *ctx, struct bases *b, struct wal_leaving *l,
                      struct error *err) {
    int rc = 0;
    for (size_t i = 0; i < repo_snapshot_count(w->repo) && rc == 0 && !*l->why; i++) {
        const struct snapshot_info *info = repo_snapshot(w->repo, i);
        struct snapshot *s = NULL;
        if (info->forgotten || strcmp(info->kind, "postgres-physical") != 0 || (goes && goes(ctx, info->seq))) continue;
        if ((rc = mem_grow((void **)&b->items, &b->cap, b->n + 1, sizeof *b->items, err)) < 0) break;
        rc = snapshot_open_sized(w->repo, info, ROOT_CACHE_BYTES, &s, err);
        if (rc == 0 && wal_base_of(snapshot_root(s), &b->items[b->n])) {
            b->n++;
        } else if (rc == 0 || error_info(rc)->status == EXIT_INTEGRITY) {
            error_clear(err);
            rc = 0;
            snprintf(l->why, sizeof l->why, "%s does not tell where it begins", info->id);
        }
        snapshot_close(s);
    }
    return rc;
}

static int timeline_add(struct wal_leaving *l, size_t *cap, uint32_t timeline, uint64_t lsn, uint32_t segment_bytes,
                        struct error *err) {
    struct wal_name n = wal_name_at(timeline, lsn, segment_bytes);
    struct wal_first f = {.system = l->system};
    char text[WAL_NAME_BYTES];
    wal_name_format(&n, text);
    memcpy(f.name, text, sizeof f.name - 1);
    for (size_t i = 0; i < l->first_count; i++)
        if (strncmp(l->first[i].name, f.name, 8) == 0) return 0;
    int rc = mem_grow((void **)&l->first, cap, l->first_count + 1, sizeof f, err);
    if (rc == 0) l->first[l->first_count++] = f;
    return rc;
}

/* A timeline whose history is not there is joined to none. */
static int ancestors_add(struct work *w, struct wal_leaving *l, size_t *cap, uint32_t timeline, uint64_t lsn,
                         uint32_t segment_bytes, struct error *err) {
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = timeline};
    struct wal_switch *list = NULL;
    struct buf b = BUF_INIT(WAL_HISTORY_BYTES_MAX);
    char key[WAL_OBJECT_KEY_BYTES];
    size_t count = 0;
    wal_object_name(l->system, &n, key);
    int rc = wal_object_get(w->repo, key, &b, err);
    if (rc == 0) rc = wal_history_parse(buf_bytes(&b), timeline, &list, &count, err);
    if (rc < 0 && error_info(rc)->status == EXIT_INTEGRITY) {
        error_clear(err);
        rc = 0;
    }
    for (size_t i = 0; i < count && rc == 0; i++) rc = timeline_add(l, cap, list[i].timeline, lsn, segment_bytes, err);
    seam_free(list);
    buf_free(&b);
    return rc;
}

/* Recovery from a base reads nothing before its own beginning, on whatever timeline: what lies before the earliest of
 * all may go. Timelines that none of them is on or comes from are left alone: who knows what they are for. */
static int firsts_of(struct work *w, const struct bases *b, uint32_t segment_bytes, struct wal_leaving *l,
                     struct error *err) {
    uint64_t lsn = UINT64_MAX;
    size_t cap = 0;
    int rc = 0;
    for (size_t i = 0; i < b->n; i++)
        if (b->items[i].system == l->system && b->items[i].lsn < lsn) lsn = b->items[i].lsn;
    if (lsn == UINT64_MAX || segment_bytes == 0) {
        snprintf(l->why, sizeof l->why,
                 lsn == UINT64_MAX ? "no physical backup of that cluster is kept"
                                   : "no object tells how long the segments are");
        return 0;
    }
    for (size_t i = 0; i < b->n && rc == 0; i++) {
        if (b->items[i].system != l->system) continue;
        rc = timeline_add(l, &cap, b->items[i].timeline, lsn, segment_bytes, err);
        if (rc == 0 && b->items[i].timeline > 1)
            rc = ancestors_add(w, l, &cap, b->items[i].timeline, lsn, segment_bytes, err);
    }
    return rc;
}

/* The newest segment tells a receiver where to go on, and everybody how long segments are. */
static const struct wal_place *newest_of(const struct wal_place *p, size_t n) {
    while (n > 0)
        if (p[--n].name.kind == WAL_SEGMENT) return &p[n];
    return NULL;
}

static bool goes_now(const struct wal_leaving *l, const struct wal_place *p) {
    char text[WAL_NAME_BYTES];
    wal_name_format(&p->name, text);
    if (p->name.kind == WAL_HISTORY) return false;
    for (size_t i = 0; i < l->first_count; i++)
        if (strncmp(text, l->first[i].name, 8) == 0) return strncmp(text, l->first[i].name, 24) < 0;
    return false;
}

typedef int (*place_cb)(void *ctx, const struct wal_leaving *l, const struct wal_place *p, struct error *err);

static int each_place(const struct wal_leaving *l, const struct wal_place *p, size_t n, int64_t grace_ns, place_cb cb,
                      void *ctx, struct error *err) {
    const struct wal_place *newest = newest_of(p, n);
    int64_t old_ns = time_now_ns() - grace_ns;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!goes_now(l, &p[i]) || p[i].created_ns > old_ns) continue;
        if (newest && p[i].name.timeline == newest->name.timeline && p[i].name.log == newest->name.log &&
            p[i].name.seg == newest->name.seg)
            continue;
        rc = cb(ctx, l, &p[i], err);
    }
    return rc;
}

static int count(void *ctx, const struct wal_leaving *l, const struct wal_place *p, struct error *err) {
    struct wal_leaving *sum = ctx;
    (void)l;
    (void)err;
    sum->objects++;
    sum->bytes += p->object_bytes;
    return 0;
}

/* What this fallback took for another repository is needed by the backups there. */
static int waits(struct work *w, struct wal_leaving *l, struct error *err) {
    const struct config_repository *own = w->config ? config_repository_at(w->config, w->url) : NULL;
    int rc = 0;
    for (size_t i = 0; own && i < w->config->repositories.count && rc == 0; i++) {
        const struct config_repository *c = w->config->repositories.items[i];
        uint64_t n = 0;
        int64_t since;
        if (!c->fallback || strcmp(c->fallback, own->head.name) != 0) continue;
        rc = wal_log_waiting(w->repo, c->head.name, &n, &since, err);
        if (rc == 0 && n) snprintf(l->why, sizeof l->why, "WAL waits here to be forwarded to %.60s", c->head.name);
    }
    return rc;
}

int work_wal_leaving(struct work *w, uint64_t system, int64_t grace_ns, wal_base_goes goes, void *ctx,
                     struct wal_leaving *ret, struct error *err) {
    struct wal_leaving l = {.system = system};
    struct bases b = {0};
    struct wal_place *p = NULL;
    uint32_t segment_bytes = 0;
    size_t n = 0;
    int rc = 0;
    if (!repo_keys(w->repo)->read_secret)
        snprintf(l.why, sizeof l.why, "this key reads no backup, and they tell what is needed");
    else
        rc = bases_read(w, goes, ctx, &b, &l, err);
    if (rc == 0 && !*l.why) rc = waits(w, &l, err);
    if (rc == 0 && !*l.why) rc = wal_places(w->repo, system, &p, &n, err);
    if (rc == 0 && !*l.why) rc = wal_place_segment_bytes(w->repo, system, p, n, &segment_bytes, err);
    if (rc == 0 && !*l.why) rc = firsts_of(w, &b, segment_bytes, &l, err);
    if (rc == 0) rc = each_place(&l, p, n, grace_ns, count, &l, err);
    seam_free(p);
    seam_free(b.items);
    if (rc < 0) {
        wal_leaving_free(&l);
        return error_wrap(err, "looking for WAL that no backup needs");
    }
    *ret = l;
    return 0;
}

void wal_leaving_free(struct wal_leaving *l) {
    seam_free(l->first);
    *l = (struct wal_leaving){0};
}

/* Said before, so that what is missing afterwards is known to be no damage; and only what was not said yet. */
static int say(struct work *w, const struct wal_leaving *l, struct error *err) {
    void *mem;
    size_t n = 0;
    int rc = mem_alloc((l->first_count + 1) * sizeof(struct wal_first), &mem, err);
    if (rc < 0) return rc;
    struct wal_first *news = mem;
    for (size_t i = 0; i < l->first_count; i++) {
        struct wal_name name;
        struct error e = ERROR_INIT;
        const char *was = NULL;
        if (wal_name_parse(l->first[i].name, &name, &e) == 0) was = wal_log_first(w->repo, l->system, name.timeline);
        if (!was || strcmp(was, l->first[i].name) < 0) news[n++] = l->first[i];
    }
    rc = wal_log_remove(w->repo, l->system, news, n, err);
    seam_free(news);
    return rc;
}

struct removing {
    struct work *w;
    struct wal_removed *sum;
};

static int remove_place(void *ctx, const struct wal_leaving *l, const struct wal_place *p, struct error *err) {
    struct removing *x = ctx;
    char key[WAL_OBJECT_KEY_BYTES];
    int64_t until_ns = 0;
    if (p->piece)
        wal_piece_name(l->system, &p->name, p->from, p->to, key);
    else
        wal_object_name(l->system, &p->name, key);
    int rc = store_reclaim(x->w->store, key, &until_ns, err);
    if (rc < 0) return rc;
    if (until_ns == 0) {
        x->sum->objects++;
        x->sum->bytes += p->object_bytes;
    } else {
        x->sum->locked++;
        x->sum->locked_bytes += p->object_bytes;
        if (until_ns > x->sum->locked_until_ns) x->sum->locked_until_ns = until_ns;
    }
    return stop_check(err);
}

int work_wal_remove(struct work *w, const struct wal_leaving *l, int64_t grace_ns, struct wal_removed *ret,
                    struct error *err) {
    struct removing x = {w, ret};
    struct wal_place *p = NULL;
    size_t n = 0;
    if (l->objects == 0) return 0;
    int rc = wal_places(w->repo, l->system, &p, &n, err);
    if (rc == 0) rc = say(w, l, err);
    if (rc == 0) rc = each_place(l, p, n, grace_ns, remove_place, &x, err);
    seam_free(p);
    return rc < 0 ? error_wrap(err, "removing WAL that no backup needs") : 0;
}
