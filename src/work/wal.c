#include "work/wal.h"

#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>

static struct work_wal *of_sink(struct wal_sink *s) {
    return (struct work_wal *)((char *)s - offsetof(struct work_wal, sink));
}

/* ---- whose WAL it is ---- */

static int another_cluster(const struct work_wal *h, uint64_t system, uint64_t known, struct error *err) {
    error_set(err, ERR_PG_WAL,
              "this is WAL of the cluster with the system identifier %" PRIu64 ", and %s/%s is the cluster %" PRIu64,
              system, h->environment, h->surface, known);
    return error_next(err,
                      "Give the other cluster a surface of its own. If it takes this one's place, set wal.system of "
                      "the surface to its identifier.");
}

/* The first WAL of a surface says which cluster it is of, for good. */
static int claim(struct work_wal *h, uint64_t system, struct error *err) {
    pthread_mutex_lock(&h->lock);
    if (!h->system) h->system = system;
    uint64_t known = h->system;
    pthread_mutex_unlock(&h->lock);
    return system && system == known ? 0 : another_cluster(h, system, known, err);
}

static int note(struct work_wal *h, const char *key, const struct wal_object_stored *s, struct error *err) {
    struct wal_row row = {.digest = s->digest, .object_bytes = s->object_bytes};
    snprintf(row.key, sizeof row.key, "%s", key);
    /* What nobody notes is found by listing: no reason to say that the WAL is not stored. But in a fallback it waits to
     * be forwarded only when the log says so. */
    struct error lost = ERROR_INIT;
    if (h->instead) return wal_pending_add(&h->spool, &row, err);
    if (wal_pending_add(&h->spool, &row, &lost) < 0 && h->w->options.events.warning)
        h->w->options.events.warning(h->w->options.events.ctx, h->surface, lost.text);
    return 0;
}

/* ---- the sink ---- */

int wal_check_whole(const struct wal_name *n, struct bytes file, uint64_t system, uint32_t *ret_segment,
                    struct error *err) {
    char name[WAL_NAME_BYTES];
    struct wal_header header;
    wal_name_format(n, name);
    *ret_segment = 0;
    if (n->kind == WAL_HISTORY) {
        struct wal_switch *list = NULL;
        size_t count;
        int rc = wal_history_parse(file, n->timeline, &list, &count, err);
        seam_free(list);
        return rc;
    }
    if (n->kind == WAL_BACKUP)
        return file.len && file.len <= WAL_HISTORY_BYTES_MAX
                   ? 0
                   : error_set(err, ERR_PG_WAL, "%s has %zu bytes, which no backup's history has", name, file.len);
    int rc = wal_segment_check(n, file, system, err);
    if (rc == 0) rc = wal_header_read(file, &header, err);
    if (rc < 0) return rc;
    *ret_segment = header.segment_bytes;
    if (file.len == header.segment_bytes) return 0;
    return error_set(err, ERR_PG_WAL, "%s has %zu bytes, and a whole segment of its cluster has %" PRIu32, name,
                     file.len, header.segment_bytes);
}

static int sink_put(struct wal_sink *s, uint64_t system, const struct wal_name *n, struct bytes file,
                    struct error *err) {
    struct work_wal *h = of_sink(s);
    struct wal_object_stored stored;
    char key[WAL_OBJECT_KEY_BYTES];
    uint32_t segment;
    int rc = wal_check_whole(n, file, system, &segment, err);
    if (rc == 0) rc = claim(h, system, err);
    if (rc < 0) return error_state(err, "nothing of it was stored");
    wal_object_name(system, n, key);
    rc = wal_object_put(h->w->repo, key, file, segment, &stored, err);
    return rc < 0 ? rc : note(h, key, &stored, err);
}

static int sink_put_piece(struct wal_sink *s, uint64_t system, const struct wal_name *n, uint32_t from,
                          struct bytes piece, struct error *err) {
    struct work_wal *h = of_sink(s);
    struct wal_object_stored stored;
    struct wal_header header;
    char key[WAL_OBJECT_KEY_BYTES];
    if (!wal_in_pieces(n) || piece.len == 0 || piece.len > WAL_SEGMENT_MAX - from)
        return error_set(err, ERR_PG_WAL, "%zu bytes at %" PRIu32 " are no piece of a segment", piece.len, from);
    int rc = claim(h, system, err);
    if (rc == 0 && from == 0) {
        rc = wal_segment_check(n, piece, system, err);
        if (rc == 0) rc = wal_header_read(piece, &header, err);
        if (rc == 0) {
            pthread_mutex_lock(&h->lock);
            h->segment_bytes = header.segment_bytes;
            pthread_mutex_unlock(&h->lock);
        }
    }
    if (rc < 0) return error_state(err, "nothing of it was stored");
    wal_piece_name(system, n, from, from + (uint32_t)piece.len, key);
    pthread_mutex_lock(&h->lock);
    uint32_t segment = h->segment_bytes;
    pthread_mutex_unlock(&h->lock);
    rc = wal_object_put(h->w->repo, key, piece, segment, &stored, err);
    return rc < 0 ? rc : note(h, key, &stored, err);
}

static int sink_resume(struct wal_sink *s, uint64_t system, uint32_t *ret_timeline, uint64_t *ret_lsn,
                       uint32_t *ret_segment_bytes, struct error *err) {
    struct work_wal *h = of_sink(s);
    struct wal_range *list = NULL;
    size_t n = 0;
    uint32_t segment = 0;
    int rc = wal_all_ranges(h, system, &list, &n, &segment, err);
    if (rc < 0) return rc;
    *ret_timeline = n ? list[n - 1].timeline : 0;
    *ret_lsn = n ? list[n - 1].to : 0;
    *ret_segment_bytes = segment;
    pthread_mutex_lock(&h->lock);
    h->segment_bytes = segment;
    pthread_mutex_unlock(&h->lock);
    seam_free(list);
    return 0;
}

static const struct wal_sink_ops sink_ops = {sink_put, sink_put_piece, sink_resume};

/* ---- the handle ---- */

static int configured_system(struct work *w, const char *surface, uint64_t *ret, struct error *err) {
    const struct config_surface *s = w->config ? config_surface(w->config, surface) : NULL;
    *ret = 0;
    if (!s || !s->wal || !s->wal->system || wal_system_parse(s->wal->system, ret)) return 0;
    return error_set(err, ERR_CONFIG_VALUE, "%s:%u: wal.system of the surface %s is no system identifier", s->head.file,
                     (unsigned)s->wal->head.line, surface);
}

static int open_handle(struct work *w, const char *environment, const char *surface, bool spool, struct work_wal **ret,
                       struct error *err) {
    uint64_t named;
    void *mem;
    int rc = configured_system(w, surface, &named, err);
    if (rc == 0) rc = work_open_repo(w, environment, err);
    if (rc == 0) rc = mem_alloc(sizeof(struct work_wal), &mem, err);
    if (rc < 0) return rc;
    struct work_wal *h = mem;
    h->sink.ops = &sink_ops;
    h->source.ops = &wal_source_ops;
    h->w = w;
    snprintf(h->environment, sizeof h->environment, "%s", environment);
    snprintf(h->surface, sizeof h->surface, "%s", surface);
    pthread_mutex_init(&h->lock, NULL);
    rc = spool ? wal_spool_open(w, repo_id_hex(w->repo), environment, surface, &h->spool, err) : 0;
    h->registered = wal_log_system(w->repo, environment, surface, &h->system);
    if (named) {
        h->registered = h->registered && h->system == named;
        h->system = named;
    }
    if (rc < 0)
        work_wal_close(h);
    else
        *ret = h;
    return rc;
}

int work_wal_open(struct work *w, const char *environment, const char *surface, struct work_wal **ret,
                  struct error *err) {
    return open_handle(w, environment, surface, true, ret, err);
}

int work_wal_open_source(struct work *w, const char *environment, const char *surface, struct work_wal **ret,
                         struct error *err) {
    return open_handle(w, environment, surface, false, ret, err);
}

void work_wal_close(struct work_wal *h) {
    if (!h) return;
    wal_others_free(h->others);
    json_decref(h->instead);
    pthread_mutex_destroy(&h->lock);
    seam_free(h);
}

int work_wal_open_all(struct work *w, const char *environment, const char *surface, struct work_wal **ret,
                      struct error *err) {
    int rc = open_handle(w, environment, surface, false, ret, err);
    if (rc == 0 && (rc = wal_others_new(*ret, &(*ret)->others, err)) < 0) work_wal_close(*ret);
    return rc;
}

struct wal_sink *work_wal_sink(struct work_wal *h) {
    return &h->sink;
}
struct wal_source *work_wal_source(struct work_wal *h) {
    return &h->source;
}

bool work_wal_system(const struct work_wal *h, uint64_t *ret) {
    if (h->system) *ret = h->system;
    return h->system != 0;
}

/* Rows of one cluster at a time; a surface that was given another may have both. */
static int register_rows(struct work_wal *h, const struct wal_row *rows, size_t n, struct error *err) {
    int rc = 0;
    for (size_t at = 0, end; at < n && rc == 0; at = end) {
        uint64_t system;
        char text[24];
        size_t len = strcspn(rows[at].key + 4, "/");
        snprintf(text, sizeof text, "%.*s", (int)(len < sizeof text ? len : sizeof text - 1), rows[at].key + 4);
        for (end = at + 1; end < n && strncmp(rows[end].key, rows[at].key, len + 5) == 0;) end++;
        if (!wal_system_parse(text, &system)) continue;
        rc = wal_log_append_instead(h->w->repo, h->environment, h->surface, system, h->instead, rows + at, end - at,
                                    err);
        if (rc == 0) h->registered |= system == h->system;
    }
    return rc;
}

int work_wal_register(struct work_wal *h, bool now, struct error *err) {
    bool any = false, more = true;
    int rc = 0;
    while (more && rc == 0) {
        struct wal_row *rows;
        size_t n;
        int lock = -1;
        rc = wal_pending_take(&h->spool, now || !h->registered, &rows, &n, &lock, err);
        if (rc < 0 || n == 0) break;
        rc = register_rows(h, rows, n, err);
        any |= rc == 0;
        int done = wal_pending_done(&h->spool, rc == 0, &more, &lock, err);
        if (rc == 0) rc = done;
        seam_free(rows);
    }
    if (rc < 0) return error_wrap(err, "registering WAL in the log");
    if (!any) return 0;
    struct error lost = ERROR_INIT;
    if (repo_publish(h->w->repo, &lost) < 0 && h->w->options.events.warning)
        h->w->options.events.warning(h->w->options.events.ctx, h->surface, lost.text);
    return 0;
}
