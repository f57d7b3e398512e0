/* Objects of the write-ahead log: one file of PostgreSQL (or a piece of a segment) an object, under a name that says what it
 * is, and not deduplicated. What a name means is the caller's business; doc/format/wal.md has the bytes.
 *
 * Invariants
 *  1. A name is created once. Other plain bytes under it are ERR_WAL_DIFFERS, and what is there stays.
 *  2. What was sealed was opened, decoded and compared before the store was given it.
 *  3. The keyed id of an object covers its plain bytes and its name: only who has the id key of its epoch can have made it,
 *     and it cannot stand under another name.
 *  4. An object counts as stored from its creation on. Its entry in the log (wal/v1) comes later and serves checks that have
 *     no key, locks and copies: one without an entry is whole, authentic by (3), and waits for the next batch.
 */
#ifndef PK_REPO_WAL_OBJECT_H
#define PK_REPO_WAL_OBJECT_H

#include "repo/repo.h"

#define WAL_OBJECT_KEY_BYTES 96                /* of a name, with the NUL */
#define WAL_OBJECT_BYTES_MAX (UINT32_C(1) << 30) /* plain bytes */
#define WAL_OBJECT_HEADER_BYTES 256

/* What an object's header says to everybody. */
struct wal_object_head {
    unsigned epoch;          /* of the id key that made `keyed` */
    struct digest keyed;
    uint64_t plain_bytes;
    uint32_t segment_bytes;  /* of its cluster; 0: not known when it was made */
};
struct wal_object_stored {
    struct digest digest; /* of the object */
    uint64_t object_bytes;
    bool was_there;       /* with the same plain bytes; digest and size are then of what is there */
};
/* Store `plain` as the object `key` ("wal/…"), durable when it returns. ERR_WAL_DIFFERS (1). ERR_KEY_ROLE when the name is
 * taken by an object of an epoch whose id key we lack, so that nobody can tell. Any thread; memory is the object's size. */
int wal_object_put(struct repo *r, const char *key, struct bytes plain, uint32_t segment_bytes, struct wal_object_stored *ret, struct error *err) PK_CHECK;
/* Its header. ERR_OBJECT_MISSING when there is none of that name, ERR_OBJECT_CORRUPT when it is no such object. Needs no key. */
int wal_object_head(struct repo *r, const char *key, struct wal_object_head *ret, struct error *err) PK_CHECK;
/* Its plain bytes, appended and checked against the keyed id. ERR_OBJECT_MISSING, ERR_OBJECT_CORRUPT; ERR_KEY_ROLE without the
 * read key. Any thread. */
int wal_object_get(struct repo *r, const char *key, struct buf *ret, struct error *err) PK_CHECK;

/* Whether these would be the plain bytes of the object that is there, by its header. ERR_OBJECT_MISSING, ERR_OBJECT_CORRUPT (no such header),
 * ERR_KEY_ROLE. */
int wal_object_matches(struct repo *r, const char *key, struct bytes plain, bool *ret, struct error *err) PK_CHECK;

/* ---- the log ---- */
struct wal_row { /* of a batch */
    char key[WAL_OBJECT_KEY_BYTES];
    struct digest digest;
    uint64_t object_bytes;
};
/* Hold what is stored against its registration, as scrub does: ERR_OBJECT_MISSING, ERR_OBJECT_CORRUPT. Needs no key. */
int wal_object_check(struct repo *r, const struct wal_row *row, struct error *err) PK_CHECK;
/* Whether the key is of a piece of a segment that is stored whole by now: what completed it may have removed the piece. */
bool wal_piece_gave_way(struct store *s, const char *key);
/* Register objects of one cluster in the log: as many entries as it takes (WAL_ROWS_MAX objects each). The same object may be
 * registered again. ERR_KEY_ROLE for a key that may not. */
#define WAL_ROWS_MAX 200
int wal_log_append(struct repo *r, const char *environment, const char *surface, uint64_t system, const struct wal_row *rows, size_t n, struct error *err) PK_CHECK;
/* The same of what was stored in the place of another repository: {"of", "code", "why"}; NULL: it was not. */
int wal_log_append_instead(struct repo *r, const char *environment, const char *surface, uint64_t system,
                           const json_t *fallback, const struct wal_row *rows, size_t n, struct error *err) PK_CHECK;
/* Objects that were stored here in the place of the repository called `of` and have not been copied there since; when
 * the oldest was. */
int wal_log_waiting(struct repo *r, const char *of, uint64_t *ret_objects, int64_t *ret_since_ns,
                    struct error *err) PK_CHECK;
/* A system identifier as the log and names of objects have it: decimal, no zero in front. */
bool wal_system_parse(const char *text, uint64_t *ret);
/* Which cluster a surface's WAL is of: that of its newest batch. False: there is none. */
bool wal_log_system(const struct repo *r, const char *environment, const char *surface, uint64_t *ret);
/* Entries of the log that register objects, oldest first. */
struct wal_batch {
    uint64_t seq;
    char *environment, *surface;
    uint64_t system;
    uint64_t objects;
    int64_t time_ns;
    bool mended; /* its objects stand in the place of ones of the same names that earlier entries register */
};
size_t wal_log_count(const struct repo *r);
const struct wal_batch *wal_log_batch(const struct repo *r, size_t i); /* until the next sync */
/* The objects of one, as its entry names them. Array freed with seam_free. */
int wal_log_rows(struct repo *r, const struct wal_batch *b, struct wal_row **ret, size_t *ret_n, struct error *err) PK_CHECK;

/* The same of objects that were stored anew because what was there was damaged or lost: from here on their digests count, and those that
 * earlier entries name do not. Admin only. */
int wal_log_mend(struct repo *r, const char *environment, const char *surface, uint64_t system, const struct wal_row *rows, size_t n, struct error *err) PK_CHECK;
/* Rows that count no more, because a later entry registers what was stored anew. */
struct wal_mended { /* by key */
    char key[WAL_OBJECT_KEY_BYTES];
    uint64_t seq; /* of the newest such entry */
};
int wal_log_mended(struct repo *r, struct wal_mended **ret, size_t *ret_n, struct error *err) PK_CHECK; /* freed with seam_free */
bool wal_row_counts(const struct wal_mended *m, size_t n, const char *key, uint64_t seq);

/* Which instants cannot be recovered to without an object of WAL, as a clause for a person: "no recovery leads to instants from about … to
 * …"; "" when its loss costs none. By when it and its neighbour were stored and when base backups of the surface ended, so approximate;
 * about_ns stands in where the store does not tell. Needs no key. */
#define WAL_HARM_BYTES 240
void wal_harm(struct repo *r, const char *environment, const char *surface, const char *key, int64_t about_ns, char out[WAL_HARM_BYTES]);

/* ---- gaps that will not be mended, and are known (wal-gap/v1) ---- */
#define WAL_REASON_BYTES_MAX 500
struct wal_ack {
    uint64_t seq, system, from, to; /* both 0: the timeline's history */
    uint32_t timeline;
    int64_t time_ns;
    char *reason;
};
size_t wal_log_acks(const struct repo *r);
/* The newest that covers what is missing from one place to the other; NULL: none does. */
const struct wal_ack *wal_log_acknowledged(const struct repo *r, uint64_t system, uint32_t timeline, uint64_t from, uint64_t to);
/* Say so. Admin only. ERR_USAGE for a reason that is empty or too long. */
int wal_log_acknowledge(struct repo *r, const char *environment, const char *surface, const struct wal_ack *a, const char *principal, struct error *err) PK_CHECK;

/* ---- WAL that was removed (delete/v1 with `wal_first`) ---- */
struct wal_first {
    uint64_t system;
    char name[25]; /* a segment: what is of its timeline and before it may be gone; history files stay */
};
bool wal_first_valid(const char *name);
/* Say in the log that what lies before these segments is needed no longer, before any of it is removed. ERR_KEY_ROLE for a
 * key that is neither admin nor prune. */
int wal_log_remove(struct repo *r, uint64_t system, const struct wal_first *firsts, size_t n, struct error *err) PK_CHECK;
/* Whether an object of WAL need not be there by what the log says. It may be there: a lock kept it, or its removal has not ended. */
bool wal_log_gone(const struct repo *r, const char *key);
/* The first segment of a timeline that must be there, borrowed until the next sync; NULL: nothing was removed. */
const char *wal_log_first(const struct repo *r, uint64_t system, uint32_t timeline);

#endif
