/* WAL that the log knows and the store has lost is not absent: a server that took it for absent would end its recovery
 * there, or follow another branch. Entries of the log are read newest first; which names each has is kept in the cache
 * folder, as a standby asks for what is not there yet again and again. */
#include "work/wal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MEMO_BYTES (8u << 20)
#define STEM_BYTES 25 /* a segment's name, which those of its pieces and of others begin with */

struct names { /* of one entry, as text is compared */
    uint64_t seq;
    char low[STEM_BYTES], high[STEM_BYTES];
};
struct memo {
    char path[4200];
    struct names *items; /* by seq */
    size_t n, cap;
    struct buf fresh; /* lines to be added */
};

static int by_seq(const void *a, const void *b) {
    const struct names *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

/* A line that is torn, or none of ours, is as if it were not there. */
static int memo_line(struct memo *m, const char *line, struct error *err) {
    struct names x;
    int end = 0;
    if (sscanf(line, "%20" SCNu64 " %24[0-9A-F.a-z] %24[0-9A-F.a-z]%n", &x.seq, x.low, x.high, &end) != 3 || line[end])
        return 0;
    int rc = mem_grow((void **)&m->items, &m->cap, m->n + 1, sizeof *m->items, err);
    if (rc == 0) m->items[m->n++] = x;
    return rc;
}

/* Only help: what it does not have is read from the log. */
static void memo_open(const struct work_wal *h, struct memo *m) {
    struct buf b = BUF_INIT(MEMO_BYTES);
    struct error e = ERROR_INIT;
    snprintf(m->path, sizeof m->path, "%.4000s/wal-names-%s", h->w->cache_dir, repo_id_hex(h->w->repo));
    m->fresh = BUF_INIT(MEMO_BYTES);
    int rc = io_read_file(AT_FDCWD, m->path, MEMO_BYTES - 1, &b, &e);
    if (rc == 0) rc = buf_terminate(&b, &e);
    for (char *p = rc == 0 ? (char *)b.ptr : NULL, *end; rc == 0 && (end = strchr(p, '\n')); p = end + 1) {
        *end = 0; /* or sscanf would measure all that follows, for each line */
        rc = memo_line(m, p, &e);
    }
    if (m->n) qsort(m->items, m->n, sizeof *m->items, by_seq);
    buf_free(&b);
}

static void memo_close(struct memo *m) {
    struct error e = ERROR_INIT;
    int fd = m->fresh.len ? seam_openat(AT_FDCWD, m->path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600)
                          : -1;
    if (fd >= 0) (void)!io_write_full(fd, m->fresh.ptr, m->fresh.len, m->path, &e);
    io_close(&fd);
    buf_free(&m->fresh);
    seam_free(m->items);
}

/* "wal/<system>/<timeline>/<name>": the beginning of the name. */
static void stem_of(const char *key, char out[STEM_BYTES]) {
    const char *p = strchr(key + 4, '/');
    if (p) p = strchr(p + 1, '/');
    snprintf(out, STEM_BYTES, "%.24s", p ? p + 1 : "");
}

static void memo_add(struct memo *m, uint64_t seq, const struct wal_row *rows, size_t n) {
    struct names x = {.seq = seq};
    struct error e = ERROR_INIT;
    for (size_t i = 0; i < n; i++) {
        char stem[STEM_BYTES];
        stem_of(rows[i].key, stem);
        if (i == 0 || strcmp(stem, x.low) < 0) memcpy(x.low, stem, sizeof stem);
        if (i == 0 || strcmp(stem, x.high) > 0) memcpy(x.high, stem, sizeof stem);
    }
    /* before the first, the end of a line that a killed run left open */
    if (n) (void)!buf_printf(&m->fresh, &e, "%s%" PRIu64 " %s %s\n", m->fresh.len ? "" : "\n", x.seq, x.low, x.high);
}

static bool may_have(const struct memo *m, uint64_t seq, const char *stem) {
    struct names want = {.seq = seq};
    const struct names *x = m->n ? bsearch(&want, m->items, m->n, sizeof want, by_seq) : NULL;
    return !x || (strcmp(stem, x->low) >= 0 && strcmp(stem, x->high) <= 0);
}

/* Whether it says of more than the first `have` bytes that they are stored. */
static bool says_more(const struct wal_row *row, const char *key, uint32_t have) {
    const char *place = strchr(row->key + 4, '/');
    struct wal_place p = {0};
    size_t n = strlen(key);
    if (strcmp(row->key, key) == 0) return true;
    return strncmp(row->key, key, n) == 0 && strncmp(row->key + n, ".pieces/", 8) == 0 && place &&
           wal_place_read(place + 1, &p) && p.to > have;
}

/* That it stays lost was said after it was registered: then it is absent. */
static int is_known(struct work_wal *h, uint64_t system, const struct wal_name *n, uint64_t seq, bool *ret,
                    struct error *err) {
    struct wal_place *p = NULL;
    const struct wal_ack *a = NULL;
    size_t count;
    uint32_t segment = 0;
    int rc = 0;
    if (n->kind == WAL_HISTORY)
        a = wal_log_acknowledged(h->w->repo, system, n->timeline, 0, 0);
    else if (wal_log_acks(h->w->repo)) {
        rc = wal_places(h->w->repo, system, &p, &count, err);
        if (rc == 0) rc = wal_place_segment_bytes(h->w->repo, system, p, count, &segment, err);
        seam_free(p);
        uint64_t lsn = segment ? wal_name_lsn(n, segment) : 0;
        if (rc == 0 && segment) a = wal_log_acknowledged(h->w->repo, system, n->timeline, lsn, lsn + segment);
    }
    *ret = a && a->seq > seq;
    return rc;
}

static int is_lost(const struct work_wal *h, const char *name, const char *witness, struct error *err) {
    error_set(err, ERR_OBJECT_MISSING, "%s is not all there, and %s that it was stored", name, witness);
    return error_next(
        err,
        "Bring it back with 'proofkeep repair %s'. If it is lost for good, end the recovery before it by a target; or "
        "say so with 'proofkeep wal acknowledge %s/%s %s --reason TEXT': then it counts as the end of the WAL.",
        h->environment, h->environment, h->surface, name);
}

int wal_lost_check(struct work_wal *h, uint64_t system, const struct wal_name *n, uint32_t have, uint32_t most,
                   struct error *err) {
    const struct repo *r = h->w->repo;
    struct memo m = {0};
    char key[WAL_OBJECT_KEY_BYTES], stem[STEM_BYTES], name[WAL_NAME_BYTES];
    bool lost = false, known = false;
    int rc = 0;
    wal_object_name(system, n, key);
    if (wal_log_gone(r, key)) return 0;
    wal_name_format(n, name);
    if (most > have) { /* a piece that nothing goes before: what did is lost */
        rc = is_known(h, system, n, 0, &known, err);
        return rc < 0 || known ? rc : is_lost(h, name, "a later piece of it shows", err);
    }
    stem_of(key, stem);
    memo_open(h, &m);
    for (size_t i = wal_log_count(r);
         i-- > 0 && rc == 0 && !lost && !known;) { /* what is older was said before as well */
        const struct wal_batch *b = wal_log_batch(r, i);
        struct wal_row *rows = NULL;
        size_t count = 0;
        if (b->system != system || !may_have(&m, b->seq, stem)) continue;
        rc = wal_log_rows(h->w->repo, b, &rows, &count, err);
        if (rc == 0) memo_add(&m, b->seq, rows, count);
        for (size_t k = 0; k < count && rc == 0 && !lost && !known; k++) {
            if (!says_more(&rows[k], key, have)) continue;
            rc = is_known(h, system, n, b->seq, &known, err);
            lost = rc == 0 && !known;
        }
        seam_free(rows);
    }
    memo_close(&m);
    return lost ? is_lost(h, name, "the log says", err) : rc;
}
