#include "work/wal_walk.h"

#include "base/seam.h"
#include "work/past_feed.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOW 8  /* segments that lie in the scratch folder at a time */
#define OVERLAP 2 /* of the window before, for a record that crosses */

/* What is asked of all parts. */
struct asked {
    struct wal_commits *c;
    uint64_t until, lost_after;
    int (*cb)(void *ctx, const struct wal_commit *, struct error *);
    void *ctx;
};

int wal_walk_path(struct wal_walk *k, uint32_t target, uint64_t from, struct error *err) {
    const uint32_t base = (uint32_t)json_integer_value(json_object_get(k->in.facts, "timeline"));
    struct wal_name n = {.kind = WAL_HISTORY, .timeline = target};
    struct wal_source *source = work_wal_source(k->wal);
    struct wal_switch *list = NULL;
    size_t count = 0;
    struct buf b = BUF_INIT(WAL_HISTORY_BYTES_MAX);
    int rc = target == base ? 0 : source->ops->get(source, k->system, &n, &b, err);
    if (rc == 0 && target != base) rc = wal_history_parse(buf_bytes(&b), target, &list, &count, err);
    seam_free(k->path);
    k->path = NULL;
    k->path_n = 0;
    if (rc == 0) rc = mem_alloc((count + 1) * sizeof *k->path, (void **)&k->path, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (list[i].lsn <= from || (k->path_n == 0 && list[i].timeline != base)) continue;
        k->path[k->path_n++] = (struct wal_walk_part){list[i].timeline, from, list[i].lsn};
        from = list[i].lsn;
    }
    if (rc == 0) k->path[k->path_n++] = (struct wal_walk_part){target, from, UINT64_MAX};
    seam_free(list);
    buf_free(&b);
    return rc;
}

/* Whether anything of the segment is stored. */
static int fetch(struct wal_walk *k, uint32_t timeline, uint64_t lsn, uint64_t lost_after, int dirfd, bool *ret,
                 struct error *err) {
    struct wal_name n = wal_name_at(timeline, lsn, k->segment_bytes);
    char name[WAL_NAME_BYTES];
    struct stat st;
    wal_name_format(&n, name);
    *ret = true;
    if (seam_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) return 0;
    int rc = past_feed_put(work_wal_source(k->wal), k->system, &n, dirfd, err);
    if (rc != -ERR_WAL_ABSENT && (rc != -ERR_OBJECT_MISSING || lsn < lost_after)) return rc;
    error_clear(err);
    *ret = false;
    return 0;
}

static void drop(struct wal_walk *k, uint32_t timeline, uint64_t lsn, int dirfd) {
    struct wal_name n = wal_name_at(timeline, lsn, k->segment_bytes);
    char name[WAL_NAME_BYTES];
    wal_name_format(&n, name);
    (void)!seam_unlinkat(dirfd, name, 0);
}

static void feed_path(const struct wal_walk *k, char out[4096]) {
    snprintf(out, 4096, "%.4080s/" PAST_FEED_FOLDER, json_string_value(json_object_get(k->scratch, "folder")));
}

static int part(struct wal_walk *k, const struct asked *q, struct wal_walk_part p, int dirfd, struct error *err) {
    const uint64_t size = k->segment_bytes, end = p.to < q->until + 1 ? p.to : q->until + 1;
    uint64_t first = p.from - p.from % size, have = first;
    int rc = 0;
    bool there = true;
    char path[4096];
    feed_path(k, path);
    while (rc == 0 && there && have < end) {
        uint64_t stop = first + WINDOW * size;
        while (rc == 0 && there && have < stop && have < end) {
            rc = fetch(k, p.timeline, have, q->lost_after, dirfd, &there, err);
            if (rc == 0 && there) have += size;
        }
        /* A record that begins at `until` ends behind it; records of the segment are whole in what was fetched. */
        uint64_t next = have > first + OVERLAP * size ? have - OVERLAP * size : first;
        struct wal_stretch w = {.bin = json_string_value(json_object_get(k->scratch, "bin")),
                                .run_as = json_string_value(json_object_get(k->scratch, "run_as")),
                                .folder = path,
                                .timeline = p.timeline,
                                .from = first > p.from ? first : p.from,
                                .to = have < p.to ? have : p.to,
                                .end = !there || have >= end ? next : UINT64_MAX,
                                .segment_bytes = k->segment_bytes};
        if (rc == 0 && have > first) rc = wal_commits_read(q->c, &w, q->cb, q->ctx, err);
        for (; first < next; first += size) drop(k, p.timeline, first, dirfd);
    }
    for (; first < have; first += size) drop(k, p.timeline, first, dirfd);
    return rc;
}

int wal_walk_records(struct wal_walk *k, struct wal_commits *c, uint64_t after, uint64_t until, uint64_t lost_after,
                     int (*cb)(void *ctx, const struct wal_commit *, struct error *), void *ctx, struct error *err) {
    const struct asked q = {c, until, lost_after, cb, ctx};
    char path[4096];
    feed_path(k, path);
    int dirfd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    int rc = dirfd < 0 ? error_set_errno(err, ERR_IO_READ, "open %s", path) : 0;
    for (size_t i = 0; rc == 0 && i < k->path_n; i++)
        if (k->path[i].to > after && k->path[i].from <= until) rc = part(k, &q, k->path[i], dirfd, err);
    io_close(&dirfd);
    return rc;
}

int wal_walk_open(struct work *w, const struct snapshot_info *base, struct wal_walk *ret, struct error *err) {
    struct wal_walk *k = ret;
    const char *system;
    char path[4096];
    struct stat st;
    *k = (struct wal_walk){.work = w};
    int rc = work_reading_open(w, base, &k->in, err);
    if (rc == 0) rc = json_need_str(k->in.facts, "system_identifier", "the snapshot's facts", &system, err);
    if (rc < 0) return rc;
    k->system = strtoull(system, NULL, 10);
    k->segment_bytes = (uint32_t)json_integer_value(json_object_get(k->in.facts, "wal_segment_bytes"));
    if (k->segment_bytes < WAL_SEGMENT_MIN)
        return error_set(err, ERR_PG_TARGET, "its facts do not say how long a WAL segment is");
    rc = work_wal_open_all(w, base->environment, base->surface, &k->wal, err);
    if (rc == 0) rc = k->in.surface.driver->scratch_start(&k->in.ctx, k->in.facts, &k->scratch, err);
    if (rc < 0) return rc;
    const char *folder = json_string_value(json_object_get(k->scratch, "folder"));
    feed_path(k, path);
    if (seam_mkdirat(AT_FDCWD, path, 0700) < 0) return error_set_errno(err, ERR_IO_WRITE, "make %s", path);
    if (geteuid() == 0 && (seam_fstatat(AT_FDCWD, folder, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                           seam_fchownat(AT_FDCWD, path, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0))
        return error_set_errno(err, ERR_IO_WRITE, "give %s to the server's user", path);
    return 0;
}

void wal_walk_close(struct wal_walk *k) {
    if (!k->work) return;
    const struct surface_context ctx = {.scratch_dir = k->work->scratch_dir};
    if (k->scratch) k->in.surface.driver->scratch_stop(&ctx, k->scratch);
    json_decref(k->scratch);
    work_wal_close(k->wal);
    work_reading_close(&k->in);
    seam_free(k->path);
    *k = (struct wal_walk){0};
}
