/* WAL of a surface in every repository that must have it: the environment's own, and those that `wal.also` of the surface names.
 * One that is out of reach keeps none of the others from being given theirs; what is stored counts only when all have it. */
#ifndef PK_WORK_WAL_HOMES_H
#define PK_WORK_WAL_HOMES_H

#include "work/wal_internal.h"

#define WAL_HOMES_MAX 8

/* The fallback of a repository that is out of reach, in its place: it counts as that repository. Not one that must have
 * the WAL itself, nor one that stands in for another of them already: then there would be one copy less. */
struct wal_stand {
    bool used; /* now; what was opened for it stays so to the end */
    struct work *work;
    struct work_wal *wal;
    struct wal_spool spool;
    struct error why; /* of the repository */
    int64_t retry_ns; /* when the repository is tried again (monotonic) */
};
struct wal_home {
    char label[65];
    struct work *work;      /* at that repository */
    struct work_wal *wal;   /* NULL: not opened, or it cannot be */
    struct wal_spool spool; /* of that very repository; path empty while it is not known which it is */
    struct error failed;    /* why it cannot be opened; code ERR_NONE: it can */
    bool noted;             /* so says the note of a run before this one, and this one has not tried */
    struct wal_stand stand;
    char last[WAL_OBJECT_KEY_BYTES]; /* through the sink: what it has been given while another failed */
};
struct wal_homes {
    pthread_mutex_t lock; /* who stands in for whom */
    struct wal_sink sink; /* `put` and `put_piece` of one thread at a time; success only when each of them has it */
    struct work *w;
    char environment[128], surface[128];
    bool brief; /* a run for one file: it leaves word for the next that a repository is away (wal_stand.c) */
    struct wal_home list[WAL_HOMES_MAX];
    size_t count;
};
/* Finds out which repositories these are and has each one's spool folder; opens none of them. One that cannot be looked
 * at is marked as failed, and when `brief` also one that has a fallback and was away within the last minute: it is not
 * asked. The first is that of `w`. To be closed whatever was answered. */
int wal_homes_look(struct work *w, const char *environment, const char *surface, bool brief, struct wal_homes *ret,
                   struct error *err) PK_CHECK;
/* For those that are out of reach, their fallbacks; with a warning. */
void wal_homes_stand_in(struct wal_homes *h);
/* Opens those that can be opened, or their fallbacks. */
void wal_homes_open(struct wal_homes *h);
void wal_homes_close(struct wal_homes *h);

/* A whole file, or bytes of a segment. */
struct wal_part {
    uint64_t system;
    const struct wal_name *name;
    uint32_t from;
    struct bytes bytes;
    bool whole;
};
/* Into one of them, any thread. When it is out of reach its fallback gets it, from then on; it itself is tried again
 * every minute. Why neither can be had is the error. */
int wal_home_put(struct wal_homes *h, struct wal_home *home, const struct wal_part *p, struct error *err) PK_CHECK;
/* Its handle and spool folder, or those of the fallback that stands in; the handle NULL when neither could be opened.
 */
struct work_wal *wal_home_at(struct wal_homes *h, const struct wal_home *home, const struct wal_spool **ret_spool);

/* wal_stand.c: the fallback that may stand in for it; NULL: none. There is a configuration. wal_stand_begin is called
 * with the lock held. */
const char *wal_home_fallback(const struct wal_homes *h, const struct wal_home *home);
bool wal_home_away(struct wal_homes *h, struct wal_home *home); /* by the note of another run; fills failed and noted */
int wal_home_look(struct wal_homes *h, struct work *w, struct wal_spool *ret, struct error *err) PK_CHECK;
bool wal_stand_begin(struct wal_homes *h, struct wal_home *home, const struct error *why);
void wal_stand_close(struct wal_home *home);
/* Whether those that can be had all have that very file by their marks; false when there are none. */
bool wal_homes_marked(struct wal_homes *h, const struct wal_name *n, const struct stat *st);
/* How many cannot be had; the first's error (code and text) with where `what` is and where it is not, by `has`, a flag for each. */
int wal_homes_lacking(const struct wal_homes *h, const char *what, const bool *has, const struct error *why, struct error *err);
/* The cluster that WAL of the surface is of, by the first that knows one. */
bool wal_homes_system(struct wal_homes *h, uint64_t *ret);
/* As work_wal_register, in each that is open; in a fallback that stands in at once. The first failure of such a one, or
 * of a log that does not know yet whose WAL it takes, is returned; of others is warned. */
int wal_homes_register(struct wal_homes *h, bool now, struct error *err) PK_CHECK;

#endif
