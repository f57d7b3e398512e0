/* What the parts of the physical method share.
 *
 * Invariants of capture from the host
 *  1. Everything below the data folder is read between pg_backup_start and pg_backup_stop of one session; pg_control is
 *     read after all other files, since its minimum recovery point is what says when a standby's copy is consistent.
 *  2. Nothing is written into the data folder.
 *  3. What was listed is read to its listed size: what grew since is in the WAL, what shrank is padded with zeros.
 *  4. All WAL from start to stop is part of the snapshot, or there is no snapshot.
 */
#ifndef PK_SURFACE_PGPHYS_INTERNAL_H
#define PK_SURFACE_PGPHYS_INTERNAL_H

#include "base/meter.h"
#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "surface/pgphys/pgphys.h"
#include <limits.h>

#define PGPHYS_JOBS_MAX 64
#define PGPHYS_CONTROL "global/pg_control"
#define PGPHYS_CONTROL_BYTES 8192
#define PGPHYS_CONFIG "proofkeep_config" /* below it: configuration from outside, by its absolute path */
#define PGPHYS_CONFIG_NAMES 3
#define PGPHYS_MAJOR_MIN 15
#define PGPHYS_MAJOR_MAX 18

/* ---- session.c: the server's side of a backup ---- */
struct pgphys_session {
    PGconn *c;
    int major;
    bool standby, slot; /* slot: the server keeps the WAL while the session lives */
    uint64_t system, start_lsn, stop_lsn, wal_segment_bytes;
    uint32_t timeline, timeline_end; /* of the start, and the newest that was replayed */
    int64_t start_ns, stop_ns;
    char label_text[96];
    struct buf label, map; /* backup_label, tablespace_map: as the server gave them */
};
/* Connects, takes the lock against a second run, starts the backup. ERR_PG_BASE, ERR_PG_VERSION, those of pg_query. The
 * session is to be ended whatever comes. */
int pgphys_session_start(struct pgphys_session *s, const struct pg_settings *settings, struct error *err) PK_CHECK;
int pgphys_session_stop(struct pgphys_session *s, struct error *err) PK_CHECK;
void pgphys_session_end(struct pgphys_session *s); /* aborts a backup that was not stopped */
/* The server's data folder. */
int pgphys_session_folder(struct pgphys_session *s, char out[PATH_MAX], struct error *err) PK_CHECK;
/* ERR_PG_BASE unless the server behind the session is the one that runs in the folder, and on the same storage. */
int pgphys_session_prove(struct pgphys_session *s, int dirfd, struct pgphys_control *ret, struct error *err) PK_CHECK;
/* pg_control of a folder, read again while its checksum is wrong: a reading may be torn. out has PGPHYS_CONTROL_BYTES. */
int pgphys_control_load(int dirfd, uint8_t *out, size_t *ret_n, struct pgphys_control *ret, struct error *err) PK_CHECK;
/* The server's own clock: it is what its transactions' times are of. */
int pgphys_clock(PGconn *c, int64_t *ret_ns, struct error *err) PK_CHECK;
void pgphys_pause(int ms);

/* ---- list.c: what is in a data folder ---- */
struct pgphys_entry {
    char *name; /* in the list's memory */
    enum pgphys_type type;
    uint32_t mode, flags;
    uint64_t bytes;
    int64_t mtime_ns;
    char *target;
    bool pages, lost; /* lost: it was gone when it was to be read, and is no part of the backup */
    struct digest sha256; /* of one whose kind is ITEM_PARTS, by parts */
    uint32_t crc32c;      /* of such a one */
};
struct pgphys_list {
    struct pgphys_entry *entries; /* in name order once it is made */
    size_t n, cap;
    char *block; /* memory of names */
    size_t used, size;
    void **blocks;
    size_t n_blocks, cap_blocks;
    uint64_t bytes, skipped;
    char (*nested)[PATH_MAX]; /* tablespaces inside the data folder, seen from there */
    size_t n_nested;
    char (*links)[PATH_MAX]; /* links to files of the configuration, as seen in the data folder */
    size_t n_links, cap_links;
    char *replaced[PGPHYS_CONFIG_NAMES]; /* set before it is made: where the server's own file is instead (config.c) */
};
/* Everything that belongs into a backup, but for pg_control. catalog: of pg_control, names the folders of tablespaces. */
int pgphys_list_make(struct pgphys_list *l, const struct pg_settings *s, int dirfd, const char *path, int major,
                     uint32_t catalog, struct error *err) PK_CHECK;
int pgphys_list_add(struct pgphys_list *l, struct bytes name, enum pgphys_type type, const struct stat *st,
                    struct bytes target, struct error *err) PK_CHECK;
void pgphys_list_sort(struct pgphys_list *l);
void pgphys_list_free(struct pgphys_list *l);

/* ---- config.c: configuration that is no file of the data folder ---- */
struct pgphys_config {
    struct pgphys_session *session;
    const struct pg_settings *settings;
    struct sink *sink;
    int dirfd; /* the data folder: the server's user is who has it */
    const struct pgphys_list *list;
    json_t *facts; /* "config_outside" is told which were captured */
    int (*put)(void *ctx, const char *name, struct pgphys_attr a, struct bytes content, struct error *err);
    void *ctx;
    uint64_t folders; /* so many were put besides */
    uint64_t skipped; /* links that the server would not read */
};
/* Finds out which of postgresql.conf, pg_hba.conf and pg_ident.conf the server has outside: l->replaced. */
int pgphys_config_look(PGconn *c, const json_t *facts, struct pgphys_list *l, struct error *err) PK_CHECK;
bool pgphys_config_replaced(const struct pgphys_list *l, const char *name);
/* What lies outside, below PGPHYS_CONFIG; what links in the data folder lead to, in their place; and of what is in
 * list->replaced, files of these names that a restored server starts with. */
int pgphys_config_put(struct pgphys_config *g, struct error *err) PK_CHECK;

/* ---- read.c: files into items ---- */
struct pgphys_bad { /* a file with pages whose checksum is wrong */
    const struct pgphys_entry *entry;
    uint64_t count;
    uint32_t blocks[16];
};
struct pgphys_reading {
    const struct surface_context *ctx;
    struct sink *sink;
    int dirfd;
    const struct pgphys_control *control;
    uint64_t start_lsn;
    struct pgphys_position *position; /* NULL: it is not asked */
    struct pgphys_list *list;
    struct queue *queue; /* of files that are to be read */
    struct meter meter;  /* of all that is read */
    atomic_uint_fast64_t bytes, items, vanished, shrunk, checked, unchecked;
    atomic_int_fast64_t told_ns;
    atomic_bool in_vain;  /* set by who will not need it any more, and knows why: it ends, with ERR_INTERRUPTED */
    pthread_mutex_t lock; /* of all below */
    struct pgphys_bad *bad;
    size_t n_bad, cap_bad;
    bool failed;
    struct error err;
};
/* Reads the whole list with ctx->jobs threads. */
int pgphys_read_all(struct pgphys_reading *r, struct error *err) PK_CHECK;
/* Content that is in memory, as an item. ret_sha256 may be NULL. */
int pgphys_put(struct sink *sink, const char *name, enum item_kind kind, struct pgphys_attr attr, struct bytes content,
               struct digest *ret_sha256, struct error *err) PK_CHECK;
int pgphys_attr_of(const struct pgphys_entry *e, struct buf *out, struct error *err) PK_CHECK;
enum item_kind pgphys_kind_of(const struct pgphys_entry *e);

/* ---- segments.c: the WAL that completes it ---- */
/* Segments from start to stop, and the histories of timelines, from the pg_wal of a folder. Names go into `names`. */
int pgphys_segments_put(struct pgphys_session *s, int dirfd, struct sink *sink, json_t *names, uint64_t *bytes,
                        struct error *err) PK_CHECK;

/* ---- freeze.c: what a frozen server's postgresql.auto.conf has besides ---- */
#define PGPHYS_FREEZE_READ_ONLY "default_transaction_read_only" /* on, as long as it lasts */
#define PGPHYS_FREEZE_MARK "proofkeep.frozen"
#define PGPHYS_FREEZE_WAS "proofkeep.was_" /* and the name of a setting: what that was; not there: it was not set */
bool pgphys_freeze_sets(const char *name, size_t n); /* whether the freeze sets it */

/* ---- invariants.c ---- */
/* Of the server that the settings lead to: its databases, of each its relations, extensions and what is declared for
 * it; with facts (of a snapshot) what was declared then. Without facts, relations are lists of oids, for _steady. A
 * stop, and *in_vain (may be NULL), end the query that is running. */
int pgphys_invariants(const struct pg_settings *s, const json_t *facts, const atomic_bool *in_vain, json_t *out,
                      struct error *err) PK_CHECK;
/* A backup's instant lies between two measurements: what changed from the one to the other cannot be expected of a copy, and
 * is taken out of `after`; of what may only grow the smaller value stays, and of relations how many are in both. */
int pgphys_invariants_steady(const json_t *before, json_t *after, struct error *err) PK_CHECK;
/* How many pairs of databases that belong together do not agree, with a note. */
unsigned pgphys_pairs_differ(const struct pg_settings *s, const json_t *invariants);
/* The declared ones into the facts, each with its database. */
int pgphys_declared_facts(const struct pg_settings *s, json_t *facts, struct error *err) PK_CHECK;

/* ---- restore.c, scratch.c, plan.c: the driver's functions ---- */
int pgphys_restore(const struct surface_context *, struct source *, const struct restore_request *, struct restore_result *,
                   struct error *) PK_CHECK;
/* What a killed restore into a new folder put into the folders of tablespaces, once that folder is gone (space.c). */
int pgphys_undo(const struct surface_context *, const struct restore_request *, unsigned *ret_removed,
                struct error *) PK_CHECK;
/* Every item as it is below dirfd; a tablespace is a folder in pg_tblspc there. */
int pgphys_export_tree(const struct surface_context *, struct source *, int dirfd, struct error *) PK_CHECK;
int pgphys_plan(const struct surface_context *, const struct restore_request *, json_t **, struct error *) PK_CHECK;
int pgphys_scratch_start(const struct surface_context *, const json_t *facts, json_t **ret, struct error *) PK_CHECK;
/* Checks the restored scratch folder with the stock tool (unless "verify" of q->scratch is false, which also spares the
 * restore to be made durable), starts a server from it and lets it come to its target; both are told in ctx->checks.
 * ERR_RESTORE_DIFFERS, ERR_PG_RECOVERY. */
int pgphys_scratch_run(const struct surface_context *, const struct restore_request *q, struct error *) PK_CHECK;
/* Of a scratch server its tables and indexes, too, by the stock tool: told in ctx->checks, and ERR_PG_INVARIANT when it
 * finds damage, which goes before a query that the server could not answer. */
int pgphys_measure(const struct surface_context *, const json_t *scratch, const json_t *facts, json_t **, struct error *) PK_CHECK;

#endif
