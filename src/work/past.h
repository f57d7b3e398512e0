/* The past of a surface, on a scratch instance, for whoever compares with it or asks it: a way to it is a function that
 * is handed in. This one is a recovery point that is restored; a cluster recovered to an instant is another. */
#ifndef PK_WORK_PAST_H
#define PK_WORK_PAST_H

#include "surface/rows.h"
#include "work/reading.h"

struct past {
    /* Starts a scratch instance and puts into it what `include` names (NULL-terminated; NULL: all). *ret: its
     * connection facts, owned by the past until close. Once. */
    int (*open)(struct past *p, const char *const *include, const json_t **ret, struct error *err);
    void (*close)(struct past *p); /* stops and removes it; harmless when nothing was opened */
    int64_t instant_ns;            /* that it stands for */
};
/* One scratch instance for several points, one after the other: starting one costs more than a table does. */
struct past_instance {
    const struct surface_driver *driver; /* NULL: there is none yet */
    json_t *scratch;
    int64_t version; /* of the server, as facts have it; another major version wants another instance */
    char base[SNAPSHOT_ID_MAX]; /* a cluster at rest: the point whose files are in it, changed by what was replayed
                                   since */
};
void past_instance_stop(struct work *w, struct past_instance *i);
/* A recovery point. What was restored is compared with what was captured. */
struct past_point {
    struct past past;
    struct work *work;
    struct work_reading *in;        /* open, of the point; outlives it */
    struct past_instance *instance; /* set after past_of_point to have it kept; else one of its own */
    struct past_instance own;
};
void past_of_point(struct work *w, const struct snapshot_info *info, struct work_reading *in, struct past_point *ret);

/* The only database of a recovery point's facts, or the one that is named; ERR_NO_POINT, ERR_USAGE. Borrowed from
 * facts. */
int past_database(const json_t *facts, const char *wanted, const char **ret, struct error *err) PK_CHECK;
/* Rows, or ERR_USAGE when this kind of surface has none. */
int past_rows(const struct work_reading *in, const struct rows_driver **ret, struct error *err) PK_CHECK;
/* What to include of a database for one pick: its scope, or all of the database where parts of a table are tables that
 * the scope does not name. */
int past_scope(const json_t *facts, const struct rows_driver *d, const char *database, const char *pick,
               struct buf *ret, struct error *err) PK_CHECK;

#endif
