#include "surface/pgphys/pgphys_internal.h"

#include <errno.h>
#include <stdio.h>

#define SEGMENT_WAIT_NS (60 * NS_PER_S)
#define HEAD_BYTES 8192

static int gone(const char *name, const struct pgphys_session *s, struct error *err) {
    return error_set(err, ERR_PG_BASE, "the WAL segment %s, which completes the backup, is gone from pg_wal%s", name,
                     s->slot ? "" : "; let the role make a replication slot (REPLICATION), or raise wal_keep_size");
}

/* A primary switches to a new segment when the backup ends. A standby cannot, and its last segment goes into the backup
 * as far as it has come, which is beyond the backup's end. */
static int wait_written(struct pgphys_session *s, struct error *err) {
    int64_t until = time_monotonic_ns() + SEGMENT_WAIT_NS;
    for (;;) {
        uint64_t at = 0;
        int rc = pgphys_wal_position(s->c, &at, err);
        if (rc < 0 || at >= s->stop_lsn) return rc;
        if (time_monotonic_ns() > until)
            return error_set(err, ERR_PG_BASE,
                             "the server has not written the WAL to the end of the backup in a minute");
        if ((rc = stop_check(err)) < 0) return rc;
        pgphys_pause(50);
    }
}

/* pages: so far its pages have to be WAL's. */
static int copy(struct pgphys_session *s, int fd, struct sink *sink, const char *name, uint64_t size, bool segment,
                uint64_t pages, struct error *err) {
    CLEANUP(buf_free) struct buf record = BUF_INIT(256);
    uint8_t head[HEAD_BYTES];
    struct sink_item *item = NULL;
    struct wal_name parsed = {0};
    struct wal_pages w;
    size_t n;
    int rc = 0;
    if (segment) {
        rc = wal_name_parse(name + strlen("pg_wal/"), &parsed, err);
        if (rc == 0) rc = io_pread_full(fd, head, sizeof head, 0, &n, name, err);
        if (rc == 0) rc = wal_segment_check(&parsed, BYTES_OF(head, n), s->system, err);
    }
    wal_pages_begin(&w, &parsed, (uint32_t)s->wal_segment_bytes);
    struct pgphys_attr a = {.type = PGPHYS_FILE, .mode = 0600, .mtime_ns = s->stop_ns};
    if (rc == 0) rc = pgphys_attr_encode(&a, &record, err);
    if (rc == 0) rc = sink->ops->open(sink, SINK_ANY_ORDER, BYTES_STR(name), ITEM_FILE, &item, err);
    for (uint64_t at = 0; rc == 0 && at < size; at += n) {
        uint8_t *p;
        size_t room;
        rc = stop_check(err);
        if (rc == 0) rc = sink->ops->space(item, &p, &room, err);
        size_t want = rc == 0 && room < size - at ? room : (size_t)(size - at);
        if (rc == 0) rc = io_pread_full(fd, p, want, at, &n, name, err);
        if (rc == 0 && n < want) rc = error_set(err, ERR_PG_BASE, "%s was cut off while it was read", name);
        if (rc == 0 && segment) wal_pages_feed(&w, BYTES_OF(p, n));
        if (rc == 0) rc = sink->ops->advance(item, n, err);
    }
    if (rc == 0 && segment) rc = wal_pages_check(&w, pages, err);
    if (rc == 0) return sink->ops->close(item, buf_bytes(&record), NULL, err);
    if (item) sink->ops->drop(item);
    return rc;
}

/* A segment that is not needed any more gets another name and new content: it has to be the same file still when all
 * was read. */
static int put(struct pgphys_session *s, int dirfd, struct sink *sink, const char *name, bool segment, uint64_t pages,
               uint64_t *bytes, struct error *err) {
    struct stat before, after;
    int fd = seam_openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0) return errno == ENOENT ? gone(name, s, err) : error_set_errno(err, ERR_IO_READ, "open %s", name);
    int rc = seam_fstat(fd, &before) < 0 ? error_set_errno(err, ERR_IO_READ, "look at %s", name) : 0;
    if (rc == 0 && segment && (uint64_t)before.st_size != s->wal_segment_bytes)
        rc = error_set(err, ERR_PG_WAL, "%s has %llu bytes, and segments of this server have %llu", name,
                       (unsigned long long)before.st_size, (unsigned long long)s->wal_segment_bytes);
    if (rc == 0) rc = copy(s, fd, sink, name, (uint64_t)before.st_size, segment, pages, err);
    if (rc == 0 && (seam_fstatat(dirfd, name, &after, AT_SYMLINK_NOFOLLOW) < 0 || after.st_ino != before.st_ino))
        rc = gone(name, s, err);
    if (rc == 0) *bytes += (uint64_t)before.st_size;
    io_close(&fd);
    return rc;
}

/* Without its history a server does not know a timeline that is not the first. */
static int histories(struct pgphys_session *s, int dirfd, struct sink *sink, uint64_t *bytes, struct error *err) {
    int fd = seam_openat(dirfd, "pg_wal", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "open pg_wal");
    DIR *d = seam_fdopendir(fd);
    if (!d) {
        int rc = error_set_errno(err, ERR_IO_READ, "read pg_wal");
        io_close(&fd);
        return rc;
    }
    int rc = 0;
    struct dirent *e;
    while (rc == 0 && (errno = 0, e = seam_readdir(d))) {
        char name[300];
        struct wal_name n;
        struct error ignored = ERROR_INIT;
        if (wal_name_parse(e->d_name, &n, &ignored) < 0 || n.kind != WAL_HISTORY || n.timeline > s->timeline_end)
            continue;
        snprintf(name, sizeof name, "pg_wal/%s", e->d_name);
        rc = put(s, dirfd, sink, name, false, 0, bytes, err);
    }
    if (rc == 0 && errno) rc = error_set_errno(err, ERR_IO_READ, "read pg_wal");
    seam_closedir(d);
    return rc;
}

int pgphys_segments_put(struct pgphys_session *s, int dirfd, struct sink *sink, json_t *names, uint64_t *bytes,
                        struct error *err) {
    uint32_t size = (uint32_t)s->wal_segment_bytes;
    uint64_t first = s->start_lsn / size, last = (s->stop_lsn - 1) / size;
    int rc = wait_written(s, err);
    for (uint64_t i = first; rc == 0 && i <= last; i++) {
        char text[WAL_NAME_BYTES], name[WAL_NAME_BYTES + 16];
        bool any = false;
        /* A standby may have followed its primary to another timeline meanwhile; then a segment may be there twice, and
         * the newest has all of it. */
        for (uint32_t t = s->timeline; rc == 0 && t <= s->timeline_end; t++) {
            struct stat st;
            struct wal_name n = wal_name_at(t, i * size, size);
            wal_name_format(&n, text);
            snprintf(name, sizeof name, "pg_wal/%s", text);
            if (t < s->timeline_end && seam_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) continue;
            if (any && seam_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) continue;
            rc = put(s, dirfd, sink, name, true, t == s->timeline_end ? s->stop_lsn : 0, bytes, err);
            if (rc == 0) rc = json_push(names, json_string(text), err);
            any = true;
        }
    }
    if (rc == 0) rc = histories(s, dirfd, sink, bytes, err);
    return rc < 0 ? error_wrap(err, "the WAL of the backup") : 0;
}
