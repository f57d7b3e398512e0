/* Write-ahead log of PostgreSQL: the names and headers of its files, and the two tables through which drivers store it and
 * get it back. A driver never sees the repository; work/ joins them, and tests put a plain folder in its place.
 *
 * A segment's name says its timeline and its place; its first page's header says both again, with the cluster's system
 * identifier. Segments are recycled and clusters cloned, so a name is believed only when the header agrees.
 * Source of the formats: PostgreSQL's xlog_internal.h and timeline.c, versions 15 to 18.
 */
#ifndef PK_SURFACE_WAL_H
#define PK_SURFACE_WAL_H

#include "base/bytes.h"
#include "base/error.h"

#define WAL_NAME_BYTES 65 /* the longest file name that archive_command is given, with the NUL */
#define WAL_SEGMENT_MIN (1u << 20)
#define WAL_SEGMENT_MAX (1u << 30)
#define WAL_HISTORY_BYTES_MAX (1u << 20)
#define WAL_WHOLE_MAX                                                                                                  \
    (32u << 20) /* longer segments are stored in pieces, so that no more of them is ever in memory:                    \
                 */
#define WAL_PIECE_MAX (16u << 20)

enum wal_kind {
    WAL_SEGMENT = 1, /* 24 hexadecimal digits */
    WAL_PARTIAL,     /* the same and ".partial": the end of a timeline that was left; never stands for the segment */
    WAL_BACKUP,      /* the same, "." 8 digits ".backup": a backup's history file */
    WAL_HISTORY,     /* 8 digits ".history": where a timeline came from */
};
struct wal_name {
    enum wal_kind kind;
    uint32_t timeline;
    uint32_t log, seg; /* the two halves of the rest of a segment's name */
    uint32_t offset;   /* WAL_BACKUP */
};
/* ERR_PG_WAL_NAME when it is none of the four. */
int wal_name_parse(const char *text, struct wal_name *ret, struct error *err) PK_CHECK;
void wal_name_format(const struct wal_name *n, char out[WAL_NAME_BYTES]);
/* The first byte's place of a segment, with segments of so many bytes (a power of two from 1 MiB to 1 GiB); and back. */
uint64_t wal_name_lsn(const struct wal_name *n, uint32_t segment_bytes);
struct wal_name wal_name_at(uint32_t timeline, uint64_t lsn, uint32_t segment_bytes);
/* "16/B374D848" */
bool wal_lsn_parse(const char *text, uint64_t *ret);
void wal_lsn_format(uint64_t lsn, char out[24]);

struct wal_header { /* of a segment's first page */
    uint16_t magic;    /* tells the major version */
    uint32_t timeline;
    uint64_t lsn;      /* of the page */
    uint64_t system;   /* the cluster's system identifier */
    uint32_t segment_bytes, block_bytes;
};
#define WAL_LONG_HEADER_BYTES 40 /* of a segment's first page: its first record is behind it */
/* Read the header of a segment's first page; at least so many bytes. ERR_PG_WAL when it is none, or of a version we do
 * not know. */
int wal_header_read(struct bytes page, struct wal_header *ret, struct error *err) PK_CHECK;
/* Whether a segment (whole, or its beginning) is what its name says: length, timeline, place, and the cluster's identifier
 * (0: any). The timeline of a page may be older than the name's where a promotion split the segment: `name` decides.
 * ERR_PG_WAL says which of them differs, with both values. */
int wal_segment_check(const struct wal_name *name, struct bytes segment, uint64_t system, struct error *err) PK_CHECK;

/* The headers of all pages of a segment as its bytes come by: each has the mark, the place and a timeline that fit, and
 * goes on with the record that the one before it did not end. Behind a switch to the next segment pages are zeros;
 * behind where the server is, they may be anything. No checksum of a record is looked at. */
struct wal_pages {
    struct wal_name name;
    uint32_t segment_bytes, block_bytes;
    uint64_t at;                         /* bytes that came */
    uint8_t head[WAL_LONG_HEADER_BYTES]; /* of the present page */
    uint16_t magic;
    uint32_t timeline; /* of the page before */
    uint32_t left;     /* bytes of a record that the next page goes on with */
    bool zeros;
    uint64_t zeros_lsn, fault_lsn; /* pages: the first that is zeros, and the first that is none */
    const char *fault;             /* NULL: none */
};
void wal_pages_begin(struct wal_pages *w, const struct wal_name *name, uint32_t segment_bytes);
void wal_pages_feed(struct wal_pages *w, struct bytes piece);
/* ERR_PG_WAL when a page that begins before `until` is none: of what came. */
int wal_pages_check(const struct wal_pages *w, uint64_t until, struct error *err) PK_CHECK;

/* A timeline's history: where it and those before it left their parents, oldest first. */
struct wal_switch {
    uint32_t timeline; /* that was left */
    uint64_t lsn;      /* where */
};
/* Parses a history file. Array freed with seam_free. ERR_PG_WAL when malformed. */
int wal_history_parse(struct bytes text, uint32_t timeline, struct wal_switch **ret, size_t *ret_n, struct error *err) PK_CHECK;

/* What WAL says of the server's wal_level, of one timeline from somewhere on; zero at the beginning. No server is led
 * by an archive through WAL that was written with minimal. */
struct wal_levels {
    uint64_t at, next; /* a record that the page at `next` goes on with, and where it begins */
    size_t have;       /* bytes of it; 0: there is none */
    uint8_t record[54];
};
typedef void (*wal_level_told)(void *ctx, uint64_t lsn, bool minimal);
/* The bytes from a place on, in which each record that tells of it is told, in order; pages that are not whole are
 * passed over. What they are is not checked: pages that say that they lie elsewhere, and zeros, end it. */
void wal_levels_read(struct wal_levels *w, uint64_t lsn, uint32_t page_bytes, struct bytes in, wal_level_told told,
                     void *ctx);

/* ---- where a driver stores it ---- */
struct wal_sink;
struct wal_sink_ops {
    /* Whole files of any kind. Durable in every required repository when it returns. Same name and same bytes: success. Other
     * bytes under the name: ERR_WAL_DIFFERS, and nothing changed. */
    int (*put)(struct wal_sink *, uint64_t system, const struct wal_name *, struct bytes file, struct error *);
    /* Bytes [from, from + piece.len) of a segment that is not whole yet, or of a file longer than WAL_WHOLE_MAX,
     * following what was put of it before; durable when it returns. The whole segment, once put, stands above its
     * pieces. */
    int (*put_piece)(struct wal_sink *, uint64_t system, const struct wal_name *, uint32_t from, struct bytes piece, struct error *);
    /* Where a receiver goes on: the end of the newest contiguous WAL of the newest timeline, pieces included. 0 and *ret_lsn 0:
     * there is none. */
    int (*resume)(struct wal_sink *, uint64_t system, uint32_t *ret_timeline, uint64_t *ret_lsn, uint32_t *ret_segment_bytes, struct error *);
};
struct wal_sink { const struct wal_sink_ops *ops; };

/* ---- where a driver gets it back ---- */
struct wal_source;
struct wal_range { /* contiguous and whole segments (the last may be pieces) of one timeline */
    uint32_t timeline;
    uint64_t from, to;
    int64_t first_ns, last_ns; /* when its first and last segment were stored */
};
struct wal_source_ops {
    /* A file's bytes, appended. ERR_WAL_ABSENT: it is not there, surely. Any other error: it cannot be told. */
    int (*get)(struct wal_source *, uint64_t system, const struct wal_name *, struct buf *ret, struct error *);
    /* The same into an empty file, open for reading and writing, of which `path` is the name in messages; what is in it
     * after a failure is of no use. Memory: a piece (WAL_PIECE_MAX) of what was stored in pieces. */
    int (*write)(struct wal_source *, uint64_t system, const struct wal_name *, int fd, const char *path,
                 struct error *);
    /* All ranges of a cluster, by timeline and place. Array freed with seam_free. */
    int (*ranges)(struct wal_source *, uint64_t system, struct wal_range **ret, size_t *ret_n, struct error *);
};
struct wal_source { const struct wal_source_ops *ops; };

#endif
