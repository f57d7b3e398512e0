/* Shared by the files of work/wal*.c. */
#ifndef PK_WORK_WAL_INTERNAL_H
#define PK_WORK_WAL_INTERNAL_H

#include "base/seam.h"
#include "work/wal.h"
#include <pthread.h>

#define WAL_SPOOL_BYTES 4500

struct wal_place;

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
    struct wal_others *others; /* NULL: this repository alone */
    json_t *instead;           /* of a fallback that stands in for another repository: {"of", "code", "why"}; owned */
};

/* Whether a file, whole, is what its name says. *ret_segment: the size of its cluster's segments, 0 where it does not tell. */
int wal_check_whole(const struct wal_name *n, struct bytes file, uint64_t system, uint32_t *ret_segment, struct error *err) PK_CHECK;

/* ---- wal_get.c ---- */
/* What a recovery on this host fetched ahead, unchecked and of any age. */
int wal_fetched_read(struct work *w, const char *environment, const char *surface, uint64_t system, const struct wal_name *n, struct buf *ret,
                     struct error *err) PK_CHECK;

/* ---- wal_lost.c ---- */
/* ERR_OBJECT_MISSING when the log says that more of a file was stored than its first `have` bytes, which are there, or
 * a piece of it up to `most` shows it. Not of what retention removed, nor of what was acknowledged as lost since. */
int wal_lost_check(struct work_wal *h, uint64_t system, const struct wal_name *n, uint32_t have, uint32_t most,
                   struct error *err) PK_CHECK;

/* ---- wal_source.c ---- */
extern const struct wal_source_ops wal_source_ops;
/* Ranges of all repositories that the handle has, and how long a segment is; 0: nothing tells. Array freed with
 * seam_free. */
int wal_all_ranges(struct work_wal *h, uint64_t system, struct wal_range **ret, size_t *ret_n, uint32_t *ret_segment,
                   struct error *err) PK_CHECK;

/* As wal_place_segment_bytes, by an object of whichever repository has it. */
int wal_all_segment_bytes(struct work_wal *h, uint64_t system, const struct wal_place *p, size_t n, uint32_t *ret,
                          struct error *err) PK_CHECK;

/* ---- wal_others.c: where else the WAL of a surface may be ---- */
#define WAL_OTHERS_MAX 16
struct wal_other {
    char name[65];
    bool newer;           /* it may have what the repository never had: its fallback */
    struct work *own;     /* opened for this; NULL: lent, or not open */
    struct work_wal *wal; /* NULL: not open */
    struct error failed;  /* why it cannot be opened; ERR_NONE: it can, or was not tried */
    bool told;
};
struct wal_others {
    struct work_wal *h;
    struct wal_other list[WAL_OTHERS_MAX];
    size_t count;
};
/* The fallback of the repository, those that `wal.also` names, and, when its copies help reading (any_copy.h), these.
 * None is opened. *ret NULL: there are none. A repository that is asked for by name is taken at its word that it has no
 * newer WAL. */
int wal_others_new(struct work_wal *h, struct wal_others **ret, struct error *err) PK_CHECK;
/* Gives a handle that fallback alone, under h->others. */
int wal_others_fallback(struct work_wal *h, const char *fallback, struct error *err) PK_CHECK;
void wal_others_free(struct wal_others *o);
/* Opens it, once; a failure stays and is the answer from then on. NULL: it cannot be had, as o->failed says. */
struct work_wal *wal_other_open(struct wal_others *all, struct wal_other *o);

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
/* Whether it is of the kinds that may be stored in pieces: segments, and what is left of one at the end of a timeline.
 */
bool wal_in_pieces(const struct wal_name *n);
/* By timeline, segment, kind, and place; the whole segment before its pieces. */
int wal_place_compare(const struct wal_place *a, const struct wal_place *b);
/* The name of its object. */
void wal_place_key(uint64_t system, const struct wal_place *p, char out[WAL_OBJECT_KEY_BYTES]);
/* Of one cluster, by timeline, segment and place. Array freed with seam_free. */
int wal_places(struct repo *r, uint64_t system, struct wal_place **ret, size_t *ret_n, struct error *err) PK_CHECK;
/* The pieces of one segment, or of its .partial, by place. */
int wal_pieces(struct repo *r, uint64_t system, const struct wal_name *n, struct wal_place **ret, size_t *ret_n, struct error *err) PK_CHECK;
/* As wal_places and wal_pieces, of all repositories that the handle has; of an object that several have, the first's.
 * Those that cannot be opened are left out. */
int wal_all_places(struct work_wal *h, uint64_t system, struct wal_place **ret, size_t *ret_n,
                   struct error *err) PK_CHECK;
/* The size of a cluster's segments, by the header of one object; 0: nothing tells. */
int wal_place_segment_bytes(struct repo *r, uint64_t system, const struct wal_place *p, size_t n, uint32_t *ret, struct error *err) PK_CHECK;
int wal_place_ranges(const struct wal_place *p, size_t n, uint32_t segment_bytes, struct wal_range **ret, size_t *ret_n, struct error *err) PK_CHECK;

/* ---- wal_retain.c ---- */
struct wal_base { /* a physical backup: recovery from it reads WAL from `lsn` on */
    uint64_t system, lsn;
    uint32_t timeline;
    int64_t end_ns; /* it leads to every instant from then on; 0: it does not tell */
};
/* By the root of its snapshot. False: it does not tell. */
bool wal_base_of(const json_t *root, struct wal_base *ret);

/* ---- wal_verify.c ---- */
/* What is missing between v->ranges, and between timelines with a key that reads their histories. */
int wal_find_gaps(struct work_wal *h, struct wal_view *v, struct error *err) PK_CHECK;

/* The cluster that the file at `path` belongs to: its own header's, or for files without one that of a segment beside it. 0: unknown. */
uint64_t wal_file_system(const char *path, const struct wal_name *n, struct bytes file);

#endif
