/* Streaming WAL: a server's write-ahead log through a physical replication slot into a `wal_sink`, as it is written.
 *
 * Invariants
 *  1. The server is told that WAL is flushed only up to what the sink said is durable; the slot holds all that is not.
 *  2. What is put follows what was put before it, without a hole; a hole is an error (ERR_RECEIVE_GAP), never passed
 * over unless the caller says so, and then it is told as an event.
 *  3. A segment is put whole only after all of it was received from its first byte on and its header agrees with its
 * name; of one longer than WAL_WHOLE_MAX, parts, the first of which has that header.
 *  4. The newest byte that the server has flushed is on its way into the sink within `piece_ns` of its arrival.
 *  5. At most RECEIVE_BYTES_MAX of segments are in memory. When the sink is slower
 *     than the server, nothing is read until there is room; status messages go on, so that the server keeps the stream.
 *
 * Source: PostgreSQL's documentation, "Streaming Replication Protocol".
 */
#ifndef PK_SURFACE_PGPHYS_RECEIVE_H
#define PK_SURFACE_PGPHYS_RECEIVE_H

#include "surface/surface.h"
#include "surface/wal.h"

#define RECEIVE_BYTES_MAX (64u << 20)
#define RECEIVE_PIECE_NS (INT64_C(2) * 1000000000)

enum receive_event {
    RECEIVE_STARTED = 1, /* a stream began: of which timeline, where */
    RECEIVE_PROGRESS,    /* something more is durable; at most once a second */
    RECEIVE_TIMELINE,    /* the server went over to another timeline, and so do we */
    RECEIVE_BRANCH,      /* WAL that is stored lies on a branch that the server left before its end */
    RECEIVE_DISCONNECTED, /* the server is gone; it is tried again */
    RECEIVE_STORE_FAILS, /* the sink fails; it is tried again, and the slot holds what is not stored */
    RECEIVE_STORE_WORKS, /* again */
    RECEIVE_SLOT,        /* the slot holds much, or is about to be given up by the server */
    RECEIVE_SLOT_MADE,   /* there was none, or it was given up */
    RECEIVE_GAP,         /* a gap was accepted */
};
struct receive_state {
    uint64_t system;
    uint32_t timeline, segment_bytes;
    uint64_t received, durable, server_end; /* places; server_end as the server said last */
    int64_t unsaved_ns;                     /* when the oldest byte came that is not durable; 0: there is none (monotonic) */
    uint64_t segments, pieces, bytes;       /* put since the beginning; bytes of both */
    uint64_t slot_bytes;                    /* that the slot holds, when it was asked last */
    char wal_status[16];                    /* of the slot, "" when it cannot be asked */
    bool synchronous;                       /* commits wait for us */
    unsigned connections;
};
#define WAL_SLOT_DEFAULT "proofkeep" /* where neither the command line nor the configuration names a slot */
struct receive_options {
    const char *slot;             /* NULL: WAL_SLOT_DEFAULT */
    const char *application_name; /* as synchronous_standby_names may have it; NULL: the slot's name */
    uint64_t system;              /* the cluster that is expected; 0: any */
    int64_t piece_ns;             /* 0: RECEIVE_PIECE_NS; where commits wait for us, pieces are put at once */
    int64_t watch_ns;             /* how often the slot is looked at; 0: 10 s */
    uint64_t slot_warn_bytes;     /* warn when the slot holds more, and at every doubling; 0: 1 GiB */
    int64_t patience_ns;          /* how long a server that was there may be gone, or the slot be in use; 0: see below */
    bool create_slot;             /* make it when it is missing */
    bool accept_gap;              /* go on where the server still has WAL; an invalidated slot is made anew */
    bool once;                    /* end when all is durable that the server had flushed at the beginning */
    uint64_t until_lsn;           /* end when durable up to here; 0: never */
    void *ctx;
    /* Called from the thread of pgphys_receive. text: plain words; may be empty for RECEIVE_PROGRESS. May be NULL. */
    void (*event)(void *ctx, enum receive_event what, const struct receive_state *s, const char *text);
};
/* Receives until stop_signal, `once` or `until_lsn`, then puts what it has, and confirms it. The sink is used by one thread
 * at a time, not this one. *ret is filled whatever is answered. Patience without a limit: a server that is gone is tried for
 * ever, a slot in use for 75 s.
 *   ERR_INTERRUPTED, ERR_TERMINATED  asked to stop; when not all could be put the state says so
 *   ERR_RECEIVE_GAP     the server has removed WAL that is not stored, or gave the slot up; the text names the gap
 *   ERR_RECEIVE_SYSTEM  another cluster
 *   ERR_RECEIVE_BRANCH  the same cluster, but a history in which what is stored has no place
 *   ERR_RECEIVE_SLOT    no such slot, a logical one, or it cannot be made
 *   ERR_RECEIVE_BUSY    somebody else receives through the slot
 *   ERR_PG_CONNECT      at the first connection, or after patience_ns; ERR_PG_WAL, ERR_WAL_DIFFERS and whatever else the
 *                       sink says that trying again cannot mend */
int pgphys_receive(const struct surface_context *ctx, struct wal_sink *sink, const struct receive_options *o,
                   struct receive_state *ret, struct error *err) PK_CHECK;
/* slot NULL: "proofkeep". ERR_RECEIVE_SLOT when there is none, ERR_RECEIVE_BUSY. */
int pgphys_slot_drop(const struct surface_context *ctx, const char *slot, struct error *err) PK_CHECK;

/* A finished segment or a history of the cluster `system` out of the server's pg_wal, over the connection (superuser or
 * pg_read_server_files); appended. Its header is the caller's to check. ERR_WAL_ABSENT: not there any more; ERR_PG_WAL: not finished;
 * ERR_RECEIVE_SYSTEM. wal_read.c */
int pgphys_wal_read(const struct surface_context *ctx, uint64_t system, const struct wal_name *n, struct buf *ret, struct error *err) PK_CHECK;
/* Has the server end its segment, so that it is archived. *ret_switched false: there was nothing in it; else *ret is the
 * segment's name. ERR_PG_PRIVILEGE, ERR_PG_QUERY (also of a standby). switch.c */
int pgphys_wal_switch(const struct surface_context *ctx, bool *ret_switched, struct wal_name *ret, struct error *err) PK_CHECK;

/* What a server does to hand over its WAL. */
struct wal_wiring {
    /* by archiving */
    bool off, rests, no_command; /* off: archive_mode; rests: while it is a standby; no_command: nor a library */
    int64_t timeout_ns;          /* archive_timeout; 0: none */
    uint64_t failed;             /* tries in all, if the last one did; else 0 */
    char failed_wal[65];         /* the last of them */
    /* by a slot */
    bool slot, slot_lost, slot_active,
        slot_unlimited;  /* slot: it is there; unlimited: max_slot_wal_keep_size is not set */
    uint64_t slot_bytes; /* of WAL that it holds */
};
/* slot: what is asked about it; NULL: about archiving. The rest of *ret is zero. ERR_PG_CONNECT, ERR_PG_QUERY. wiring.c
 */
int pgphys_wal_wiring(const struct surface_context *ctx, const char *slot, struct wal_wiring *ret,
                      struct error *err) PK_CHECK;

/* How far a server has written. */
struct wal_written {
    uint64_t system;
    bool standby; /* it cannot say what its primary has written, and nothing below is told */
    uint32_t timeline;
    uint64_t lsn;       /* flushed up to here */
    uint64_t checkpoint; /* where the last one is */
    int64_t timeout_ns; /* archive_timeout: 0 (also of one that is up for less than that), or a segment with anything of
                         * use in it is ended after that time */
};
/* ERR_PG_CONNECT, ERR_PG_QUERY. written.c */
int pgphys_wal_written(const struct surface_context *ctx, struct wal_written *ret, struct error *err) PK_CHECK;

#endif
