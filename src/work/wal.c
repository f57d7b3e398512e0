#include "work/wal.h"

#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>

static struct work_wal *of_sink(struct wal_sink *s) {
    return (struct work_wal *)((char *)s - offsetof(struct work_wal, sink));
}
static struct work_wal *of_source(struct wal_source *s) {
    return (struct work_wal *)((char *)s - offsetof(struct work_wal, source));
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
    /* What nobody notes is found by listing: no reason to say that the WAL is not stored. */
    struct error lost = ERROR_INIT;
    (void)err;
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
    if (n->kind != WAL_SEGMENT || piece.len == 0 || piece.len > WAL_SEGMENT_MAX - from)
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

static int ranges(struct work_wal *h, uint64_t system, struct wal_range **ret, size_t *ret_n, uint32_t *ret_segment,
                  struct error *err) {
    struct wal_place *places = NULL;
    size_t n;
    int rc = wal_places(h->w->repo, system, &places, &n, err);
    if (rc == 0) rc = wal_place_segment_bytes(h->w->repo, system, places, n, ret_segment, err);
    if (rc == 0) rc = wal_place_ranges(places, n, *ret_segment, ret, ret_n, err);
    seam_free(places);
    return rc;
}

static int sink_resume(struct wal_sink *s, uint64_t system, uint32_t *ret_timeline, uint64_t *ret_lsn,
                       uint32_t *ret_segment_bytes, struct error *err) {
    struct work_wal *h = of_sink(s);
    struct wal_range *list = NULL;
    size_t n = 0;
    uint32_t segment = 0;
    int rc = ranges(h, system, &list, &n, &segment, err);
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

/* ---- the source ---- */

static int absent(const struct wal_name *n, struct error *err) {
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    return error_set(err, ERR_WAL_ABSENT, "%s is not in the repository", name);
}

static int piece_take(struct work_wal *h, uint64_t system, const struct wal_place *p, size_t start, struct buf *ret,
                      struct error *err) {
    struct buf b = BUF_INIT(WAL_SEGMENT_MAX);
    char key[WAL_OBJECT_KEY_BYTES];
    wal_piece_name(system, &p->name, p->from, p->to, key);
    int rc = wal_object_get(h->w->repo, key, &b, err);
    size_t have = ret->len - start, over = have - p->from;
    if (rc == 0 && b.len != p->to - p->from)
        rc = error_set(err, ERR_OBJECT_CORRUPT, "%s has not the length that its name says", key);
    if (rc == 0 && over > b.len) over = b.len;
    if (rc == 0 && over && memcmp(ret->ptr + start + p->from, b.ptr, over) != 0)
        rc = error_set(err, ERR_WAL_DIFFERS, "%s says otherwise than the piece before it", key);
    if (rc == 0 && b.len > over) rc = buf_append(ret, b.ptr + over, b.len - over, err);
    buf_free(&b);
    return rc;
}

/* The beginning of a segment that never became whole, as a server wants it: zeros where nothing was written yet. */
static int from_pieces(struct work_wal *h, uint64_t system, const struct wal_name *n, struct buf *ret,
                       struct error *err) {
    struct wal_place *p = NULL;
    struct wal_header header;
    size_t count, start = ret->len;
    int rc = wal_pieces(h->w->repo, system, n, &p, &count, err);
    for (size_t i = 0; i < count && rc == 0; i++)
        if (p[i].from <= ret->len - start && p[i].to > ret->len - start)
            rc = piece_take(h, system, &p[i], start, ret, err);
    seam_free(p);
    if (rc == 0 && ret->len == start) return absent(n, err);
    struct bytes got = BYTES_OF(ret->ptr + start, ret->len - start);
    if (rc == 0) rc = wal_segment_check(n, got, system, err);
    if (rc == 0) rc = wal_header_read(got, &header, err);
    if (rc == 0) rc = buf_reserve(ret, header.segment_bytes - got.len, err);
    if (rc == 0) {
        memset(ret->ptr + ret->len, 0, header.segment_bytes - got.len);
        ret->len = start + header.segment_bytes;
    } else
        ret->len = start;
    return rc;
}

static int get_whole(struct work_wal *h, uint64_t system, const struct wal_name *n, struct buf *ret,
                     struct error *err) {
    char key[WAL_OBJECT_KEY_BYTES];
    size_t start = ret->len;
    uint32_t segment;
    wal_object_name(system, n, key);
    int rc = wal_object_get(h->w->repo, key, ret, err);
    if (rc == 0) rc = wal_check_whole(n, BYTES_OF(ret->ptr + start, ret->len - start), system, &segment, err);
    if (rc < 0) ret->len = start;
    return rc;
}

static int source_get(struct wal_source *s, uint64_t system, const struct wal_name *n, struct buf *ret,
                      struct error *err) {
    struct work_wal *h = of_source(s);
    int rc = get_whole(h, system, n, ret, err);
    if (rc != -ERR_OBJECT_MISSING) return rc;
    error_clear(err);
    if (n->kind != WAL_SEGMENT) return absent(n, err);
    rc = from_pieces(h, system, n, ret, err);
    if (rc != -ERR_WAL_ABSENT && rc != -ERR_OBJECT_MISSING) return rc;
    /* Between the two looks it may have become whole, and its pieces gone. */
    error_clear(err);
    rc = get_whole(h, system, n, ret, err);
    if (rc != -ERR_OBJECT_MISSING) return rc;
    error_clear(err);
    return absent(n, err);
}

static int source_ranges(struct wal_source *s, uint64_t system, struct wal_range **ret, size_t *ret_n,
                         struct error *err) {
    uint32_t segment;
    return ranges(of_source(s), system, ret, ret_n, &segment, err);
}

static const struct wal_source_ops source_ops = {source_get, source_ranges};

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
    h->source.ops = &source_ops;
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
    pthread_mutex_destroy(&h->lock);
    seam_free(h);
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
        rc = wal_log_append(h->w->repo, h->environment, h->surface, system, rows + at, end - at, err);
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
