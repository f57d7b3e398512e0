#include "surface/pgphys/commits.h"

#include "base/proc.h"
#include "base/seam.h"
#include "base/thread.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define OPEN_MAX_SLOTS (1u << 20)
#define LINE_MAX_BYTES (64u << 20) /* a commit names each of its subtransactions and invalidations */
#define READ_BYTES 65536

/* ---- transactions that touched something, by hash, with linear probing ---- */

static size_t slot_of(const struct wal_commits *c, uint32_t xid) {
    return (size_t)(xid * UINT32_C(2654435761)) & (c->open_slots - 1);
}

static size_t find(const struct wal_commits *c, uint32_t xid) {
    size_t i = slot_of(c, xid);
    while (c->open[i] && c->open[i] != xid) i = (i + 1) & (c->open_slots - 1);
    return i;
}

static int open_more(struct wal_commits *c, struct error *err) {
    struct wal_commits more = {.open_slots = c->open_slots ? c->open_slots * 2 : 256};
    int rc = mem_alloc(more.open_slots * sizeof *more.open, (void **)&more.open, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < c->open_slots; i++)
        if (c->open[i]) more.open[find(&more, c->open[i])] = c->open[i];
    seam_free(c->open);
    c->open = more.open;
    c->open_slots = more.open_slots;
    return 0;
}

static int open_add(struct wal_commits *c, uint32_t xid, struct error *err) {
    if (!xid || c->full) return 0;
    if (c->open_count * 2 >= c->open_slots) {
        c->full = c->open_slots >= OPEN_MAX_SLOTS;
        int rc = c->full ? 0 : open_more(c, err);
        if (rc < 0 || c->full) return rc;
    }
    size_t i = find(c, xid);
    if (!c->open[i]) c->open_count++;
    c->open[i] = xid;
    return 0;
}

/* Whether it was there; what lay behind it moves up. */
static bool open_take(struct wal_commits *c, uint32_t xid) {
    if (!xid || !c->open_slots) return false;
    size_t i = find(c, xid), mask = c->open_slots - 1;
    if (!c->open[i]) return false;
    c->open[i] = 0;
    c->open_count--;
    for (size_t k = (i + 1) & mask; c->open[k]; k = (k + 1) & mask) {
        uint32_t moved = c->open[k];
        c->open[k] = 0;
        c->open[find(c, moved)] = moved;
    }
    return true;
}

void wal_commits_free(struct wal_commits *c) {
    seam_free(c->open);
    *c = (struct wal_commits){0};
}

/* ---- records ---- */

static bool end_transaction(struct wal_commits *c, const struct waldump_record *r) {
    bool touched = open_take(c, r->xid);
    size_t at = 0;
    while (at < r->subxacts.len &&
           (r->subxacts.ptr[at] == ' ' || (r->subxacts.ptr[at] >= '0' && r->subxacts.ptr[at] <= '9'))) {
        uint32_t xid = 0;
        while (at < r->subxacts.len && r->subxacts.ptr[at] >= '0' && r->subxacts.ptr[at] <= '9')
            xid = xid * 10 + (uint32_t)(r->subxacts.ptr[at++] - '0');
        touched |= open_take(c, xid);
        if (at < r->subxacts.len && r->subxacts.ptr[at] == ' ') at++;
    }
    return touched;
}

struct reading {
    struct wal_commits *c;
    const struct wal_stretch *s;
    int (*cb)(void *ctx, const struct wal_commit *, struct error *);
    void *ctx;
};

static int line(struct reading *r, struct bytes text, struct error *err) {
    struct wal_commits *c = r->c;
    struct waldump_record rec;
    if (!waldump_line(text, &rec) || rec.lsn <= c->seen || rec.lsn < r->s->from) return 0;
    c->seen = rec.lsn;
    if (rec.kind == WALDUMP_HEAP) {
        bool counts = rec.deletes || (rec.updates && !c->deletes_only);
        return counts && waldump_touches(&rec, c->database, c->files, c->file_count) ? open_add(c, rec.xid, err) : 0;
    }
    bool touched = rec.kind != WALDUMP_POINT && end_transaction(c, &rec);
    if (rec.kind == WALDUMP_ABORT && !c->aborts) return 0;
    struct wal_commit commit = {.lsn = rec.lsn,
                                .timeline = r->s->timeline,
                                .xid = rec.xid,
                                .time_ns = rec.time_ns,
                                .touched = touched || c->full,
                                .ddl = rec.ddl,
                                .aborted = rec.kind == WALDUMP_ABORT,
                                .name = rec.name};
    return r->cb(r->ctx, &commit, err);
}

static int lines(struct reading *r, struct buf *b, struct error *err) {
    size_t at = 0;
    int rc = 0;
    for (uint8_t *nl; rc == 0 && (nl = memchr(b->ptr + at, '\n', b->len - at));) {
        size_t n = (size_t)(nl - b->ptr) - at;
        rc = line(r, BYTES_OF(b->ptr + at, n), err);
        at += n + 1;
    }
    memmove(b->ptr, b->ptr + at, b->len - at);
    b->len -= at;
    return rc;
}

static int output(struct reading *r, int fd, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(LINE_MAX_BYTES);
    for (int rc = 0;;) {
        if ((rc = stop_check(err)) < 0 || (rc = buf_reserve(&b, READ_BYTES, err)) < 0) return rc;
        ssize_t n = seam_read(fd, b.ptr + b.len, READ_BYTES);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_set_errno(err, ERR_IO_READ, "read what pg_waldump prints");
        if (n == 0) return 0;
        b.len += (size_t)n;
        if ((rc = lines(r, &b, err)) != 0) return rc;
    }
}

/* The furthest place that a message names, as one or by its segment. */
static uint64_t furthest(const char *said, uint32_t segment_bytes) {
    static const char digits[] = "0123456789ABCDEF/";
    uint64_t best = 0, lsn;
    for (const char *p = said; *p; p += strcspn(p, digits)) {
        char word[40];
        struct wal_name name;
        struct error no = ERROR_INIT;
        size_t n = strspn(p, digits);
        snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : 0), p);
        p += n;
        bool is = strchr(word, '/') ? wal_lsn_parse(word, &lsn) : false;
        if (!is && strlen(word) == 24 && segment_bytes && wal_name_parse(word, &name, &no) == 0) {
            lsn = wal_name_lsn(&name, segment_bytes);
            is = true;
        }
        if (is && lsn > best) best = lsn;
    }
    return best;
}

/* A record that is none, where no more is stored: a server would end there, too. That a file could not be read, or that
 * the program fell, says nothing of where the WAL ends. */
static bool is_end(const struct wal_stretch *s, const char *said) {
    static const char *const words[] = {"error in WAL record at ", "could not find a valid record after ", NULL};
    const char *at = NULL;
    for (size_t i = 0; words[i] && !at; i++) at = strstr(said, words[i]);
    return at && furthest(at, s->segment_bytes) >= s->end;
}

int wal_commits_read(struct wal_commits *c, const struct wal_stretch *s,
                     int (*cb)(void *ctx, const struct wal_commit *, struct error *), void *ctx, struct error *err) {
    static const char *const env[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", NULL};
    char program[PATH_MAX], path[PATH_MAX + 16], timeline[32], from[40], to[40], lsn[24];
    struct reading r = {c, s, cb, ctx};
    struct proc *p = NULL;
    struct error why = ERROR_INIT;
    struct stat st;
    snprintf(program, sizeof program, "%s/pg_waldump", s->bin);
    snprintf(path, sizeof path, "--path=%s", s->folder);
    snprintf(timeline, sizeof timeline, "--timeline=%" PRIu32, s->timeline);
    wal_lsn_format(s->from, lsn);
    snprintf(from, sizeof from, "--start=%s", lsn);
    wal_lsn_format(s->to, lsn);
    snprintf(to, sizeof to, "--end=%s", lsn);
    if (seam_fstatat(AT_FDCWD, program, &st, 0) < 0)
        return error_set_errno(err, ERR_PG_SCRATCH, "look for pg_waldump in %s", s->bin);
    /* Heap records are half of all that is printed, and needed only where relations are asked for. */
    const char *argv[] = {program,
                          path,
                          timeline,
                          from,
                          to,
                          "--rmgr=Transaction",
                          c->file_count ? "--rmgr=Heap" : NULL,
                          c->file_count ? "--rmgr=Heap2" : NULL,
                          NULL,
                          NULL};
    if (c->points) argv[c->file_count ? 8 : 6] = "--rmgr=XLOG";
    struct proc_spec spec = {
        .argv = argv, .env = env, .user = s->run_as, .cwd = s->folder, .pipe_out = true, .keep_fd = -1};
    int rc = proc_start(&spec, &p, err);
    if (rc < 0) return rc;
    rc = output(&r, proc_out(p), err);
    if (rc == 0 && (rc = proc_wait(p, NULL, &why)) < 0) {
        if (rc == -ERR_PROC_FAILED && is_end(s, why.text))
            rc = 0;
        else if (rc == -ERR_PROC_FAILED)
            rc = error_set(err, ERR_PG_WAL, "%s", why.text);
        else
            *err = why;
    }
    proc_free(p);
    return rc;
}
