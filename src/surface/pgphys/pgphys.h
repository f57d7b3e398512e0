/* PostgreSQL, physical: a cluster's files as items. Two ways in (the replication protocol, and reading the data folder
 * between pg_backup_start and pg_backup_stop) give items of the same names and contents; one way out.
 *
 * An item's name is its path below the data folder ("base/5/1259"); files of tablespaces have the name they are seen
 * under, "pg_tblspc/16400/PG_15_202209061/5/16401", and "pg_tblspc/16400" is a link. "backup_label", "tablespace_map"
 * and "backup_manifest" are items as well, and so are the segments "pg_wal/<name>" that make the backup consistent:
 * every base is whole without any archive. Relation files are ITEM_PAGES, from the host those above 128 KiB ITEM_PARTS
 * with a CRC-32C in their record; pg_control and all others are ITEM_FILE. What links of configuration lead to, and
 * what lies outside, comes from the host only.
 */
#ifndef PK_SURFACE_PGPHYS_PGPHYS_H
#define PK_SURFACE_PGPHYS_PGPHYS_H

#include "surface/postgres/postgres_internal.h"
#include "surface/surface.h"
#include "surface/wal.h"

/* ---- attr.c: an item's attribute record ---- */
#define PGPHYS_ATTR_VERSION 1
enum pgphys_type { PGPHYS_FILE = 'f', PGPHYS_FOLDER = 'd', PGPHYS_LINK = 'l' };
enum pgphys_flag {
    PGPHYS_BAD_PAGES = 1 << 0, /* pages whose checksum was wrong at every reading; which, the facts say */
    PGPHYS_GREW_SHORT = 1 << 1, /* it was cut off while it was read, and padded to its listed size with zeros */
};
struct pgphys_attr {
    enum pgphys_type type;
    uint32_t mode; /* 07777 */
    uint32_t flags;
    int64_t mtime_ns;
    struct bytes target; /* PGPHYS_LINK: the tablespace's folder at capture; borrowed when decoded */
    bool has_crc;        /* of a file whose digest is by parts: it stands in the backup manifest */
    uint32_t crc32c;
};
int pgphys_attr_encode(const struct pgphys_attr *a, struct buf *out, struct error *err) PK_CHECK;
int pgphys_attr_decode(struct bytes in, struct pgphys_attr *ret, struct error *err) PK_CHECK; /* ERR_OBJECT_CORRUPT, ERR_FORMAT_VERSION */

/* ---- names.c: what belongs into a backup, as basebackup.c of PostgreSQL decides ---- */
/* Content is left out and the folder kept (pg_replslot, pg_stat_tmp, …, pg_wal's own files). */
bool pgphys_folder_emptied(struct bytes name);
/* Never part of a backup (postmaster.pid, pgsql_tmp*, pg_internal.init*, temporary relations, an old backup_label…). */
bool pgphys_left_out(struct bytes name);
/* A relation's file, by its path; *ret_segment (may be NULL) is the number behind the dot, *ret_fork 0 main, 1 fsm, 2 vm, 3 init. */
bool pgphys_relation(struct bytes name, uint32_t *ret_segment, unsigned *ret_fork);

/* ---- pages.c: checksums of relation pages ---- */
/* How far the server's WAL goes, asked of it when that is needed: no page has a later LSN. */
struct pgphys_position {
    PGconn *c; /* which nobody else uses meanwhile */
    pthread_mutex_t lock;
    uint64_t at;      /* as it was told last */
    int64_t asked_ns; /* when */
    struct error err; /* it could not be told: what was judged since does not count */
};
void pgphys_position_init(struct pgphys_position *p, PGconn *c);
void pgphys_position_free(struct pgphys_position *p);
/* Of a page that was read before: whether the server can have written it. Any thread. */
bool pgphys_position_reaches(struct pgphys_position *p, uint64_t lsn);
int pgphys_position_told(struct pgphys_position *p, struct error *err) PK_CHECK; /* the failure of what was asked */
/* Where WAL is flushed to; of a standby where it is received or replayed to. session.c */
int pgphys_wal_position(PGconn *c, uint64_t *ret, struct error *err) PK_CHECK;

struct pgphys_pages { /* one file's pages as they stream by; any thread, one at a time */
    uint32_t block_bytes;
    uint32_t first_block; /* segment number times blocks a segment: the checksum covers the block's number */
    uint64_t start_lsn; /* pages at or above, if the server can have written them, may be torn: WAL makes them whole */
    struct pgphys_position *position; /* NULL: it is not asked */
    uint64_t checked, skipped;
    uint32_t bad[16]; /* numbers of the first bad blocks, within the relation */
    uint64_t bad_count;
};
/* Judge whole pages that follow each other, the first being block `at` of this file. New pages (all zero) are skipped,
 * and so are those whose checksum is wrong while their LSN lies between start_lsn and where the server is. Nothing is
 * changed in `data`. */
void pgphys_pages_check(struct pgphys_pages *p, uint32_t at, struct bytes data);
uint16_t pgphys_page_checksum(const uint8_t *page, uint32_t block_bytes, uint32_t block);

/* ---- control.c: pg_control ---- */
struct pgphys_control {
    uint64_t system;
    uint32_t version, catalog;
    uint32_t state;
    uint64_t checkpoint, redo, min_recovery;
    uint32_t timeline, min_recovery_timeline;
    uint32_t block_bytes, segment_blocks, wal_block_bytes, wal_segment_bytes;
    uint32_t checksum_version; /* 0: pages have none */
    int32_t max_connections, max_worker_processes, max_wal_senders, max_prepared_xacts, max_locks_per_xact;
};
/* Versions 15 to 18; checks its CRC. ERR_PG_CONTROL. */
int pgphys_control_read(struct bytes file, struct pgphys_control *ret, struct error *err) PK_CHECK;

/* ---- manifest.c: backup_manifest, as pg_verifybackup reads it ---- */
struct pgphys_manifest;
int pgphys_manifest_new(int pg_major, uint64_t system, struct pgphys_manifest **ret, struct error *err) PK_CHECK;
int pgphys_manifest_add(struct pgphys_manifest *m, struct bytes path, uint64_t bytes, int64_t mtime_ns, const struct digest *sha256, struct error *err) PK_CHECK;
/* A file of which no SHA-256 is known. */
int pgphys_manifest_add_crc(struct pgphys_manifest *m, struct bytes path, uint64_t bytes, int64_t mtime_ns,
                            uint32_t crc32c, struct error *err) PK_CHECK;
/* Ends it: WAL ranges, and its own checksum. */
int pgphys_manifest_finish(struct pgphys_manifest *m, uint32_t timeline, uint64_t start_lsn, uint64_t end_lsn, struct buf *ret, struct error *err) PK_CHECK;
void pgphys_manifest_free(struct pgphys_manifest *m);

/* ---- the two ways in; both fill all of *ret (method "physical_basebackup") ---- */
int pgphys_capture_host(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret, struct error *err) PK_CHECK;
int pgphys_capture_stream(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret, struct error *err) PK_CHECK;
/* Facts of both, beside each other's own: version, system id, timeline, start and stop LSN and instant, block and segment size,
 * checksums, tablespaces, the five settings that a replica needs, locale provider and collation versions, configuration outside
 * the data folder, bad pages. facts.c */
int pgphys_server_facts(PGconn *c, json_t *facts, struct error *err) PK_CHECK;

#endif
