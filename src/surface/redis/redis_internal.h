/* The Redis driver's parts: settings, synchronisation, items, targets.
 *
 * Invariants of the driver
 *  1. Nothing here changes the source: a capture reads as a replica does, or by SCAN and DUMP.
 *  2. A snapshot's items come from one RDB that was read to its end mark and its checksum, or are labelled fuzzy.
 *  3. A restore writes into a folder that it made, or into databases that the request names; without `in_place` never
 * into the database that the data is of.
 *  4. A password is in this process's memory and on its way to the server; nowhere else.
 *  5. No value and no database is ever held: memory is bounded by the sorter's budget.
 */
#ifndef PK_SURFACE_REDIS_INTERNAL_H
#define PK_SURFACE_REDIS_INTERNAL_H

#include "surface/item_out.h"
#include "surface/redis/rdb.h"
#include "surface/redis/resp.h"
#include "surface/redis/sorter.h"
#include "surface/surface.h"

#define REDIS_TEXT_MAX (64u << 20) /* of libraries, users, modules' own data */
/* A scratch instance gets every key with a time in the far future, so that what expires meanwhile is compared too. */
#define REDIS_SCRATCH_SHIFT_MS (INT64_C(1) << 42)

/* ---- settings.c ---- */
enum redis_method { REDIS_REPLICATION, REDIS_SCAN };
enum redis_conflicts { CONFLICT_ABORT, CONFLICT_REPLACE, CONFLICT_SKIP };
struct redis_settings {
    const struct surface_context *ctx;
    char *host, *user, *ca;
    unsigned port;
    bool tls, scratch;
    int timeout_ms;          /* of connecting, and of each wait */
    struct secret *password; /* may be NULL */
    const json_t *databases; /* numbers as text; NULL: all; borrowed */
    enum redis_method method;
    enum redis_conflicts conflicts;
};
/* scratch: connection facts of a scratch instance, or NULL. */
int redis_settings_load(const struct surface_context *ctx, const json_t *scratch, struct redis_settings **ret,
                        struct error *err) PK_CHECK;
void redis_settings_free(struct redis_settings *s);
void redis_settings_freep(struct redis_settings **s);
bool redis_settings_has(const struct redis_settings *s, uint64_t database);
/* host and port NULL and 0: those of the settings. Another server is logged into as server.targets says, or not at all.
 */
int redis_connect(const struct redis_settings *s, const char *host, unsigned port, struct resp *ret,
                  struct error *err) PK_CHECK;
void redis_note(const struct redis_settings *s, enum note_kind kind, const char *name, const char *text);
void redis_progress(const struct redis_settings *s, const char *phase, uint64_t bytes, uint64_t items);

/* ---- facts.c ---- */
/* Of one line of INFO's answer: "redis_version:7.0.15". False when there is none. */
bool redis_info(struct bytes info, const char *key, char *out, size_t n);
/* What INFO and CONFIG say, without secrets. *ret_info (may be NULL) gets INFO's own text. ERR_REDIS_NOT_READY when the
 * data is not whole: loading, or a replica whose link is down. */
int redis_facts(const struct redis_settings *s, struct resp *c, json_t *facts, struct buf *ret_info,
                struct error *err) PK_CHECK;
/* The users as lines of an ACL file; *ret_had false when the user may not read them. */
int redis_users(struct resp *c, struct buf *out, bool *ret_had, struct error *err) PK_CHECK;

/* ---- sync.c: a full synchronisation, as a replica ---- */
struct redis_sync {
    struct resp c;
    bool open, marked, rdb_only;
    char mark[40], id[41];
    int64_t offset;
    uint64_t left; /* of a payload whose length was said */
};
int redis_sync_open(const struct redis_settings *s, struct redis_sync *y, struct error *err) PK_CHECK;
int redis_sync_read(void *sync, uint8_t *p, size_t n, size_t *ret_n, struct error *err) PK_CHECK; /* an rdb_read */
/* After rdb_walk: the payload ended just there. ERR_SOURCE_TRUNCATED, ERR_REDIS_PROTOCOL. */
int redis_sync_end(struct redis_sync *y, struct rdb_in *in, struct error *err) PK_CHECK;
void redis_sync_close(struct redis_sync *y); /* safe on zeroed */
int redis_sync_facts(const struct redis_sync *y, const struct rdb_facts *rdb, json_t *facts,
                     struct error *err) PK_CHECK;

/* ---- scan.c: by SCAN and DUMP ---- */
/* Every key of the databases, its value as an RDB has it, through the key events of ev. *ret_version: of the values. */
int redis_scan(const struct redis_settings *s, struct resp *c, struct bytes info, const struct rdb_events *ev,
               unsigned *ret_version, uint64_t *ret_vanished, struct error *err) PK_CHECK;

/* ---- tally.c: what is counted ---- */
struct redis_count {
    uint64_t database, keys, expires, classes[RDB_CLASSES], value_max;
    struct hash128 sum;
};
struct redis_tally {
    struct redis_count *of;
    size_t n, cap;
    uint64_t libraries;
    struct hash128 library_sum;
};
void redis_tally_free(struct redis_tally *t);
int redis_tally_key(struct redis_tally *t, uint64_t database, enum rdb_class c, bool expires, struct hash128 hash,
                    struct error *err) PK_CHECK;
void redis_tally_library(struct redis_tally *t, struct bytes code);
int redis_tally_json(const struct redis_tally *t, json_t *out, struct error *err) PK_CHECK;

/* ---- record.c: items ---- */
/* The head of a key's record, up to its value. */
int redis_record_put(struct item_out *o, const struct rdb_key *k, uint64_t value_bytes, struct error *err) PK_CHECK;
int redis_access_put(struct item_out *o, const struct rdb_key *k, struct error *err) PK_CHECK;

struct redis_records { /* the reading of a database's items */
    struct source *src;
    struct source_item *keys, *access; /* access may be NULL */
    struct bytes piece, access_piece;
    uint64_t value_left;
    struct buf name;
    unsigned version; /* of the values */
};
struct redis_items { /* of one database */
    uint64_t database;
    struct source_head keys, access; /* name and attr are not kept here */
    bool has_access;
    unsigned version;
    uint64_t count, expires, value_max;
};
bool redis_item_of(struct bytes name, uint64_t *ret_database, bool *ret_keys); /* "db/<n>/keys", or "/access" */
/* The databases of a snapshot, in the order of their items. Freed with seam_free. */
int redis_items_find(struct source *src, struct redis_items **ret, size_t *ret_n, struct error *err) PK_CHECK;
int redis_records_open(struct source *src, const struct redis_items *of, struct redis_records *r,
                       struct error *err) PK_CHECK;
/* The next key; the value of the one before is passed over. ERR_RESTORE_DIFFERS when the content is not records. */
int redis_records_next(struct redis_records *r, struct rdb_key *ret, uint64_t *ret_bytes, bool *ret_end,
                       struct error *err) PK_CHECK;
int redis_records_value(struct redis_records *r, size_t max, struct bytes *ret,
                        struct error *err) PK_CHECK; /* empty: its end */
void redis_records_close(struct redis_records *r);   /* safe on zeroed */
/* The content of one small item; nothing when there is none. */
int redis_item_read(struct source *src, const char *name, struct buf *out, struct error *err) PK_CHECK;

/* ---- glob.c ---- */
/* As KEYS of Redis matches: * ? [a-z] [^a] \x, bytewise. */
bool redis_glob(struct bytes pattern, struct bytes text);

/* ---- select.c: what a request takes ---- */
bool redis_takes_database(const char *const *include, uint64_t database);
bool redis_takes_key(const char *const *include, uint64_t database, struct bytes name);
bool redis_takes_whole(const char *const *include, uint64_t database); /* without a look at its keys */
bool redis_takes(const char *const *include, const char *item);        /* "functions", "acl" */
/* ERR_USAGE for what names nothing that a snapshot can have. */
int redis_include_check(const char *const *include, struct error *err) PK_CHECK;

/* ---- target.c ---- */
struct redis_target {
    bool folder;
    char path[4096]; /* of a folder */
    char host[512];  /* empty: that of the settings */
    unsigned port;
    struct {
        uint64_t from, to;
    } map[64];
    size_t n_map;
    bool live; /* the very databases that were captured */
};
int redis_target_decide(const struct redis_settings *s, const struct restore_request *q, struct redis_target *ret,
                        struct error *err) PK_CHECK;
/* ERR_POLICY when the server, by what INFO says, is the one that was captured and a database would go into itself. */
int redis_target_guard(const struct redis_settings *s, const struct redis_target *t, const struct restore_request *q,
                       struct bytes info, const char *where, struct error *err) PK_CHECK;
/* Where a database goes. ERR_USAGE when the request does not say. */
int redis_target_database(const struct redis_target *t, uint64_t from, uint64_t *ret, struct error *err) PK_CHECK;

/* ---- live.c, offline.c ---- */
struct redis_restored {
    uint64_t keys, bytes, skipped, expired, libraries;
    json_t *databases;
};
int redis_restore_live(const struct redis_settings *s, struct source *src, const struct restore_request *q,
                       const struct redis_target *t, struct redis_restored *ret, struct error *err) PK_CHECK;
int redis_restore_folder(const struct redis_settings *s, struct source *src, const struct restore_request *q,
                         const char *path, struct redis_restored *ret, struct error *err) PK_CHECK;
/* An RDB of what the request takes into name below dirfd, durable. */
int redis_rdb_write(struct source *src, const struct restore_request *q, int dirfd, const char *name,
                    struct redis_restored *ret, struct error *err) PK_CHECK;

/* The users, when the snapshot has them, into users.acl below dirfd, durable. */
int redis_users_write(struct source *src, int dirfd, struct error *err) PK_CHECK;

/* ---- the driver's functions ---- */
int redis_probe(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int redis_capture(const struct surface_context *, struct sink *, struct capture_result *, struct error *) PK_CHECK;
int redis_plan(const struct surface_context *, const struct restore_request *, json_t **, struct error *) PK_CHECK;
int redis_restore(const struct surface_context *, struct source *, const struct restore_request *,
                  struct restore_result *, struct error *) PK_CHECK;
int redis_wants(const struct surface_context *, struct source *, const struct restore_request *,
                int (*cb)(void *ctx, const struct source_head *, struct error *), void *ctx, struct error *) PK_CHECK;
int redis_scratch_start(const struct surface_context *, const json_t *facts, json_t **ret, struct error *) PK_CHECK;
void redis_scratch_stop(const struct surface_context *, json_t *scratch);
int redis_measure(const struct surface_context *, const json_t *scratch, const json_t *facts, json_t **,
                  struct error *) PK_CHECK;
int redis_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *) PK_CHECK;
int redis_export_tree(const struct surface_context *, struct source *, int dirfd, struct error *) PK_CHECK;

#endif
