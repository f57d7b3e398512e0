/* Shared by the files of work/wal*.c. */
#ifndef PK_WORK_WAL_INTERNAL_H
#define PK_WORK_WAL_INTERNAL_H

#include "base/seam.h"
#include "work/wal.h"
#include <pthread.h>

#define WAL_SPOOL_BYTES 4500

/* ---- wal_spool.c: a folder of this host's own, where runs leave word for each other ---- */
struct wal_spool { char path[WAL_SPOOL_BYTES]; };
/* The spool folder of a surface, made if need be; whoever `whose` names has its own: for marks and what waits for the log the id of a
 * repository, so that none of them is believed for another, be it made anew in the same place; for what is fetched ahead its URL. */
int wal_spool_open(struct work *w, const char *whose, const char *environment, const char *surface, struct wal_spool *ret, struct error *err) PK_CHECK;
/* A mark says that the very file at `path` (inode, size and time of its last change) is stored. */
int wal_mark_set(const struct wal_spool *s, const struct wal_name *n, const struct stat *st, struct error *err) PK_CHECK;
bool wal_mark_holds(const struct wal_spool *s, const struct wal_name *n, const struct stat *st);
void wal_mark_drop(const struct wal_spool *s, const struct wal_name *n);
/* Objects that wait for their entry in the log. */
int wal_pending_add(const struct wal_spool *s, const struct wal_row *row, struct error *err) PK_CHECK;
/* Those that wait, if enough do or they have waited long enough, or `now`; *ret_n 0 when not. Of very many the oldest. Held until they are dropped or
 * let go: *ret_lock is the descriptor of the lock, -1 when another run has it. Array freed with seam_free. */
int wal_pending_take(const struct wal_spool *s, bool now, struct wal_row **ret, size_t *ret_n, int *ret_lock, struct error *err) PK_CHECK;
/* *ret_more: others of those that were taken are left. */
int wal_pending_done(const struct wal_spool *s, bool registered, bool *ret_more, int *lock, struct error *err) PK_CHECK;

/* ---- wal.c ---- */
struct work_wal {
    struct wal_sink sink;
    struct wal_source source;
    struct work *w;
    char environment[128], surface[128];
    struct wal_spool spool;
    pthread_mutex_t lock;      /* what follows */
    uint64_t system;           /* 0: not known yet */
    bool registered;           /* the log knows the system */
    uint32_t segment_bytes;    /* 0: not seen yet */
};

/* Whether a file, whole, is what its name says. *ret_segment: the size of its cluster's segments, 0 where it does not tell. */
int wal_check_whole(const struct wal_name *n, struct bytes file, uint64_t system, uint32_t *ret_segment, struct error *err) PK_CHECK;

/* ---- wal_get.c ---- */
/* What a recovery on this host fetched ahead, unchecked and of any age. */
int wal_fetched_read(struct work *w, const char *environment, const char *surface, uint64_t system, const struct wal_name *n, struct buf *ret,
                     struct error *err) PK_CHECK;

/* ---- wal_any.c ---- */
/* As the source's `get`; with w->any_copy, what is not there, is damaged or cannot be reached is taken from the first copy that has it
 * whole, and that is warned of. Absent is what the repository does not have and no copy that answers. */
int wal_any_get(struct work_wal *h, uint64_t system, const struct wal_name *n, struct buf *ret, struct error *err) PK_CHECK;

/* ---- wal_place.c: what is stored, by listing it ---- */
struct wal_place { /* an object */
    struct wal_name name;
    bool piece;
    uint32_t from, to; /* of a piece */
    uint64_t object_bytes;
    int64_t created_ns;
};
/* Of an object's name without "wal/<system>/"; false when it is none. */
bool wal_place_read(const char *text, struct wal_place *ret);
/* By timeline, segment, kind, and place; the whole segment before its pieces. */
int wal_place_compare(const struct wal_place *a, const struct wal_place *b);
/* The name of its object. */
void wal_place_key(uint64_t system, const struct wal_place *p, char out[WAL_OBJECT_KEY_BYTES]);
/* Of one cluster, by timeline, segment and place. Array freed with seam_free. */
int wal_places(struct repo *r, uint64_t system, struct wal_place **ret, size_t *ret_n, struct error *err) PK_CHECK;
/* The pieces of one segment, by place. */
int wal_pieces(struct repo *r, uint64_t system, const struct wal_name *n, struct wal_place **ret, size_t *ret_n, struct error *err) PK_CHECK;
/* The size of a cluster's segments, by the header of one object; 0: nothing tells. */
int wal_place_segment_bytes(struct repo *r, uint64_t system, const struct wal_place *p, size_t n, uint32_t *ret, struct error *err) PK_CHECK;
int wal_place_ranges(const struct wal_place *p, size_t n, uint32_t segment_bytes, struct wal_range **ret, size_t *ret_n, struct error *err) PK_CHECK;

/* ---- wal_retain.c ---- */
struct wal_base { /* a physical backup: recovery from it reads WAL from `lsn` on */
    uint64_t system, lsn;
    uint32_t timeline;
};
/* By the root of its snapshot. False: it does not tell. */
bool wal_base_of(const json_t *root, struct wal_base *ret);

/* ---- wal_verify.c ---- */
/* What is missing between v->ranges, and between timelines with a key that reads their histories. */
int wal_find_gaps(struct repo *r, struct wal_view *v, struct error *err) PK_CHECK;

/* The cluster that the file at `path` belongs to: its own header's, or for files without one that of a segment beside it. 0: unknown. */
uint64_t wal_file_system(const char *path, const struct wal_name *n, struct bytes file);

#endif
