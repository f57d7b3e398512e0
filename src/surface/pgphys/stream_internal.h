/* The parts of pgphys_capture_stream: messages come in on one thread (pump), and on the caller's become members of archives (tar.h)
 * and items (stream_item.c), which are held against the server's own list at the end (stream_tally.c). */
#ifndef PK_SURFACE_PGPHYS_STREAM_INTERNAL_H
#define PK_SURFACE_PGPHYS_STREAM_INTERNAL_H

#include "base/thread.h"
#include "surface/pgphys/pgphys.h"
#include "surface/pgphys/tar.h"

/* ---- stream_pump.c: CopyData of a connection, read ahead ---- */
struct stream_pump;
/* The connection, which is in COPY OUT, belongs to the pump until stream_pump_free. */
int stream_pump_start(PGconn *c, struct stream_pump **ret, struct error *err) PK_CHECK;
/* The next message, at least one byte, borrowed until the next call; empty at the good end of the copy. ERR_PG_BASE. */
int stream_pump_next(struct stream_pump *p, struct bytes *ret, struct error *err) PK_CHECK;
void stream_pump_free(struct stream_pump *p); /* ends the reading wherever it is; NULL is fine */
void stream_pump_freep(struct stream_pump **p);
/* Until there is more to read of a connection, and reads it; looks now and then whether we are to stop. given_up may be NULL.
 * ERR_PG_BASE, ERR_INTERRUPTED, ERR_TERMINATED. */
int stream_wait(PGconn *c, const atomic_bool *given_up, struct error *err) PK_CHECK;
/* A failure of the server during a base backup: ERR_PG_BASE, ERR_PG_PRIVILEGE for want of one, with the server's message. */
int stream_server_error(PGconn *c, const PGresult *r, struct error *err) PK_CHECK;

/* ---- stream_tally.c: what came, against what the server says it sent ---- */
struct stream_tally;
int stream_tally_new(const char *scratch_dir, struct stream_tally **ret, struct error *err) PK_CHECK;
/* In the order in which they came. */
int stream_tally_add(struct stream_tally *t, struct bytes name, uint64_t bytes, const struct digest *sha256, struct error *err) PK_CHECK;
/* The backup_manifest, in pieces. ERR_PG_BASE as soon as it names a file otherwise than it came. */
int stream_tally_manifest(struct stream_tally *t, struct bytes piece, struct error *err) PK_CHECK;
/* After the last piece: everything was named, and the manifest is whole by its own checksum. */
int stream_tally_finish(struct stream_tally *t, struct error *err) PK_CHECK;
void stream_tally_free(struct stream_tally *t); /* NULL is fine */

/* ---- stream_item.c: members become items ---- */
struct stream_incremental; /* stream_incremental.h */
struct stream_space { /* a tablespace as the server named it when the backup began */
    uint32_t oid;
    char *location; /* relative to the data folder for one that lies in it */
};
struct stream_base { /* what came of a base so far, and what is known of it */
    const struct surface_context *ctx;
    struct sink *sink;
    uint64_t system, start_lsn, stop_lsn;
    uint32_t timeline, stop_timeline, block_bytes, segment_blocks, wal_segment_bytes;
    bool checksums;
    struct stream_space *spaces;
    size_t space_count;
    struct stream_tally *tally;
    struct stream_incremental *incremental;
    struct buf prefix; /* of the present archive: empty, or "pg_tblspc/<oid>/" */
    /* the present item */
    struct sink_item *item;
    struct buf name, head; /* head: its first bytes, for those that are looked into */
    size_t head_want;
    enum pgphys_type type;
    uint32_t mode;
    int64_t mtime_s;
    uint64_t size;
    uint8_t *room;
    size_t room_bytes, used;
    bool is_relation, is_segment, is_left_out;
    struct sha256_state *sha; /* of one that is left out */
    struct pgphys_pages pages;
    struct pgphys_position *position; /* NULL: it is not asked */
    uint32_t blocks; /* judged of the present item */
    /* of all */
    uint64_t items, bytes, total, pages_checked, pages_unchecked, bad_pages, bad_file_count;
    int64_t reported_ns;
    json_t *bad_files;
    uint64_t *segments; /* numbers of WAL segments of the backup's timeline that came and were checked */
    size_t segment_count, segment_cap;
    struct wal_pages wal, wal_last,
        wal_faulty; /* of the present segment; the last of those; the first that has a fault */
    bool has_label, has_control;
    uint64_t label_checkpoint;
    struct pgphys_control control;
};
extern const struct tar_ops stream_item_ops; /* ctx is the stream_base */
/* The links and folders under pg_tblspc that the server does not send itself. */
int stream_spaces_put(struct stream_base *b, struct error *err) PK_CHECK;
/* One item beside the archives: begun, in pieces, ended. */
int stream_item_begin(struct stream_base *b, const struct tar_member *m, struct error *err) PK_CHECK;
int stream_item_content(struct stream_base *b, struct bytes piece, struct error *err) PK_CHECK;
int stream_item_end(struct stream_base *b, struct error *err) PK_CHECK;
/* Whether it makes a cluster: label, control file, and the WAL from start to stop. ERR_PG_BASE. */
int stream_base_check(const struct stream_base *b, struct error *err) PK_CHECK;
void stream_base_clear(struct stream_base *b); /* drops an item that is open */

#endif
