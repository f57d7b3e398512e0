/* Parts of the receiver: the ring of segments with its storing thread, the replication connection, the slot's watch. */
#ifndef PK_SURFACE_PGPHYS_RECEIVE_INTERNAL_H
#define PK_SURFACE_PGPHYS_RECEIVE_INTERNAL_H

#include "base/thread.h"
#include "surface/pgphys/receive.h"
#include "surface/postgres/postgres_internal.h"

/* ---- receive_store.c: one thread fills, one puts ----
 * A segment's bytes are put from where they were received: the filling thread writes only behind `filled`, the storing one
 * reads only before it, so that nothing is copied or waits. */
struct receive_store;
struct receive_stored {
    uint32_t timeline; /* of the newest durable byte; 0: nothing was put yet */
    uint64_t lsn;      /* behind it */
    bool idle;         /* all that was given is durable */
    bool room;         /* a segment may begin */
    int64_t unsaved_ns;
    uint64_t segments, pieces, bytes;
    int64_t failing_ns;  /* since when puts have failed; 0: the last one did not */
    unsigned failures;   /* of all time: tells a new one */
    struct error failure; /* the last one */
    bool dead;           /* it is one that is not tried again */
};
/* The store begins at once; wake_fd is written to (a byte, never waited for) after every put. */
int receive_store_new(struct wal_sink *sink, uint64_t system, uint32_t segment_bytes, int64_t piece_ns, int wake_fd,
                      struct receive_store **ret, struct error *err) PK_CHECK;
/* Tries once more what is not durable, ends the thread, frees. NULL is fine. */
void receive_store_free(struct receive_store *s);
/* Begins a segment of which `durable` bytes are stored already, or the part of a long one (WAL_WHOLE_MAX) that begins
 * at `at`. *ret_lacks: how long it is. Only when there is room. */
int receive_store_begin(struct receive_store *s, const struct wal_name *name, uint32_t at, uint32_t durable,
                        uint32_t *ret_lacks, struct error *err) PK_CHECK;
/* The next bytes of it, at most what it lacks; full when it answers 0 room. Checks header and name: ERR_PG_WAL. */
int receive_store_append(struct receive_store *s, struct bytes data, uint32_t *ret_lacks, struct error *err) PK_CHECK;
/* No more will come of the segment that was begun. */
void receive_store_end(struct receive_store *s);
/* A whole file, behind all that was given before. Copies. */
int receive_store_file(struct receive_store *s, const struct wal_name *name, struct bytes file, struct error *err) PK_CHECK;
/* Put pieces as they come instead of every piece_ns. */
void receive_store_hurry(struct receive_store *s, bool hurry);
void receive_store_look(struct receive_store *s, struct receive_stored *ret);

/* ---- receive_server.c: what is asked over the replication connection ---- */
struct receive_server {
    uint64_t system, end; /* end: what it has flushed (a standby: replayed) */
    uint32_t timeline, segment_bytes;
    int64_t timeout_ns; /* of its walsender; 0: none */
    bool standby;
};
struct receive_slot {
    bool exists, physical;
    uint64_t lsn; /* 0: it holds nothing */
    uint32_t timeline;
};
int receive_identify(PGconn *c, struct receive_server *ret, struct error *err) PK_CHECK;
int receive_slot_read(PGconn *c, const char *slot, struct receive_slot *ret, struct error *err) PK_CHECK;
int receive_slot_create(PGconn *c, const char *slot, struct error *err) PK_CHECK;
int receive_slot_drop(PGconn *c, const char *slot, struct error *err) PK_CHECK;
/* The history file of a timeline above 1. */
int receive_history(PGconn *c, uint32_t timeline, struct buf *ret, struct error *err) PK_CHECK;
/* Into copy mode. */
int receive_start(PGconn *c, const char *slot, uint32_t timeline, uint64_t lsn, struct error *err) PK_CHECK;
/* An answer that is none, as an error: ERR_RECEIVE_GAP (streaming: removed, invalidated), ERR_RECEIVE_BUSY, ERR_RECEIVE_SLOT
 * (missing, cannot be made), ERR_PG_CONNECT, or as pg_result_error. */
int receive_refused(PGconn *c, const PGresult *r, bool streaming, struct error *err, const char *what);
bool receive_slot_name_ok(const char *name);

/* ---- receive_watch.c: the slot as pg_replication_slots shows it, over a connection of its own; never waits ---- */
struct receive_watch {
    PGconn *conn; /* NULL: cannot be asked */
    bool asked, told_unable;
    int64_t next_ns, every_ns;
    bool fresh, found; /* fresh: an answer came since it was last taken */
    uint64_t slot_bytes;
    int64_t safe_bytes;  /* before the server gives the slot up; -1: unlimited or unknown */
    bool limited;        /* max_slot_wal_keep_size is set */
    char wal_status[16]; /* reserved, extended, unreserved, lost; "" */
    bool synchronous;
    bool active; /* somebody receives through it */
};
extern const char receive_slot_query[];                             /* $1: the slot's name */
void receive_slot_take(struct receive_watch *w, const PGresult *r); /* its answer */
/* Connects; when that fails the watch stays blind, and *why says it. */
void receive_watch_open(struct receive_watch *w, const struct pg_settings *s, struct error *why);
void receive_watch_close(struct receive_watch *w);
int receive_watch_fd(const struct receive_watch *w); /* -1: none to poll */
/* Asks when it is time, takes what came. */
void receive_watch_tick(struct receive_watch *w, const char *slot, int64_t now_ns);
/* Asks now and waits for the answer. */
void receive_watch_now(struct receive_watch *w, const char *slot);

/* ---- receive.c, receive_stream.c ---- */
struct receive {
    const struct surface_context *ctx;
    const struct receive_options *o;
    struct wal_sink *sink;
    struct pg_settings *settings;
    const char *slot;
    PGconn *conn; /* for replication */
    struct receive_server server;
    struct receive_store *store;
    struct receive_stored stored; /* as it was seen last */
    struct receive_watch watch;
    struct receive_state state;
    int wake[2]; /* written to by the storing thread */
    uint32_t have_timeline; /* durable when the run began, or since */
    uint64_t have_lsn;
    uint64_t confirm; /* what the server is told is flushed */
    uint64_t until;   /* 0: never */
    unsigned failures_told;
    bool fails_told;
    uint64_t slot_told;      /* bytes that were warned of last */
    char status_told[16];    /* wal_status that was warned of last */
    int64_t progress_ns;
    bool gap_accepted;       /* in this connection */
};
void receive_say(struct receive *r, enum receive_event what, const char *fmt, ...) PK_PRINTF(3, 4);
/* Looks at the store and the slot, and tells what is new. A failure that ends all is an error. */
int receive_look(struct receive *r, struct error *err) PK_CHECK;
/* Sleeps until the time or until the storing thread did something; watches. */
void receive_wait(struct receive *r, int timeout_ms);

enum receive_end { RECEIVE_END_DONE = 1, RECEIVE_END_TIMELINE };
/* Streams a timeline from the start of a segment, of which `durable` bytes are stored. RECEIVE_END_DONE: asked to stop, or
 * all is durable that was wanted. RECEIVE_END_TIMELINE: the next one and where it begins. */
int receive_stream(struct receive *r, uint32_t timeline, uint64_t start, uint32_t durable, enum receive_end *ret,
                   uint32_t *ret_timeline, uint64_t *ret_lsn, struct error *err) PK_CHECK;

#endif
