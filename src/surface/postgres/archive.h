/* The pg_dump custom archive (-Fc -Z0) as a stream: header, table of contents, then one block of data an entry.
 *
 * Read once, front to back, from a callback; never seeks. Everything in it is distrusted: lengths are bounded, integers
 * are checked for their form, entries and blocks may occur once only. The archive has no end mark of its own, so its
 * end is accepted exactly where a block could begin and only when every entry with data has had its block; the
 * producer's exit status is the third condition, and the caller's. Format: pg_backup_archiver.c, pg_backup_custom.c,
 * pg_backup_directory.c of PostgreSQL 10 to 18 (archive 1.12 to 1.16).
 *
 * Errors: ERR_SOURCE_TRUNCATED where the bytes end too early, ERR_PG_ARCHIVE where they are not an archive of ours.
 * One thread at a time for each object. After an error an archive may only be freed.
 */
#ifndef PK_SURFACE_POSTGRES_ARCHIVE_H
#define PK_SURFACE_POSTGRES_ARCHIVE_H

#include "base/bytes.h"
#include "base/error.h"

#define PG_TOC_BYTES_MAX (UINT64_C(256) << 20) /* header and table of contents together */
#define PG_ENTRIES_MAX (4u << 20)

/* Up to n bytes to p; *ret_n is 0 only at the end. */
typedef int (*pg_read_fn)(void *ctx, uint8_t *p, size_t n, size_t *ret_n, struct error *err);

/* A string of the table of contents: a place in pg_toc.raw. len -1 is a null. */
struct pg_text {
    uint32_t at;
    int32_t len;
};

enum pg_section { PG_SECTION_NONE = 1, PG_SECTION_PRE_DATA, PG_SECTION_DATA, PG_SECTION_POST_DATA };

struct pg_entry {
    int32_t dump_id;
    bool has_data;
    struct pg_text tag, desc, defn, copy, schema, tablespace, owner;
    int32_t section;
    uint32_t raw_at, raw_len;   /* its bytes in pg_toc.raw, without the part that belongs to the custom format */
    uint32_t deps_at, deps_len; /* a run of pg_toc.deps: dump ids, not all of which are entries */
};

struct pg_toc {
    uint8_t major, minor, revision; /* of the archive format */
    uint8_t int_bytes, offset_bytes;
    uint32_t format_at; /* where in raw the format byte is */
    uint32_t head_len;  /* bytes of raw before the first entry */
    struct pg_text database, server_version, dump_version;
    struct buf raw; /* header and entries, byte for byte */
    struct pg_entry *entries;
    size_t entry_count;
    int32_t *deps;
    size_t dep_count;
    uint32_t *by_id; /* indexes of entries, ascending by dump id */
};

struct bytes pg_toc_text(const struct pg_toc *t, struct pg_text s); /* empty for a null; borrowed from the table */
static inline bool pg_text_is(const struct pg_toc *t, struct pg_text s, const char *want) {
    return bytes_equal(pg_toc_text(t, s), BYTES_STR(want));
}
const struct pg_entry *pg_toc_find(const struct pg_toc *t, int32_t dump_id); /* NULL when there is none */
bool pg_entry_is_large_objects(const struct pg_toc *t, const struct pg_entry *e);
/* A table of contents alone, as pg_toc.raw holds it; bytes after the last entry are refused. */
int pg_toc_parse(struct bytes raw, struct pg_toc **ret, struct error *err) PK_CHECK;
void pg_toc_free(struct pg_toc *t); /* NULL is fine */
/* The same as the toc.dat of a directory archive, appended to out. */
int pg_toc_directory(const struct pg_toc *t, struct buf *out, struct error *err) PK_CHECK;
/* The file in a directory archive that holds an entry's data. out has 32 bytes. */
void pg_toc_file_name(const struct pg_toc *t, const struct pg_entry *e, char out[32]);

struct pg_archive;
/* Reads the magic and the version, no more. */
int pg_archive_open(pg_read_fn read, void *ctx, struct pg_archive **ret, struct error *err) PK_CHECK;
void pg_archive_free(struct pg_archive *a); /* NULL is fine */
void pg_archive_version(const struct pg_archive *a, uint8_t *ret_major, uint8_t *ret_minor);
bool pg_archive_known(const struct pg_archive *a); /* whether the rest can be taken apart */
/* Of an unknown version: all its bytes from the first on, as they come. *ret_n is 0 at the end. */
int pg_archive_raw(struct pg_archive *a, uint8_t *p, size_t n, size_t *ret_n, struct error *err) PK_CHECK;
/* The table of contents; borrowed until pg_archive_free. Once, before any block. */
int pg_archive_toc(struct pg_archive *a, const struct pg_toc **ret, struct error *err) PK_CHECK;
/* The next block of data; *ret NULL at the archive's good end. The block before it must have been read to its end. */
int pg_archive_next(struct pg_archive *a, const struct pg_entry **ret, struct error *err) PK_CHECK;
/* Content of the current block, or of the current large object; *ret_n is 0 at its end. */
int pg_archive_read(struct pg_archive *a, uint8_t *p, size_t n, size_t *ret_n, struct error *err) PK_CHECK;
/* In a block of large objects: the next one's oid, 0 at the end of the block. The one before must have been read. */
int pg_archive_object(struct pg_archive *a, uint32_t *ret_oid, struct error *err) PK_CHECK;

#endif
