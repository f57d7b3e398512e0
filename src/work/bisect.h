/* Which recovery point is the last that is right? Points are tried one after the other, each restored into a scratch
 * instance and asked. Where WAL leads on from a physical backup, so are the end of the WAL, and then instants between the last
 * that is right and the first that is not, down to the transaction that made the difference. */
#ifndef PK_WORK_BISECT_H
#define PK_WORK_BISECT_H

#include "work/context.h"

enum bisect_answer { BISECT_UNTRIED = 0, BISECT_CLEAN, BISECT_NOT, BISECT_UNKNOWN };

/* ---- the search alone ---- */
struct bisect_search {
    size_t count;                /* candidates, oldest first */
    enum bisect_answer *answers; /* of the caller, one a candidate, all untried at first */
    bool every;                  /* try all of them */
    void *ctx;
    int (*try)(void *ctx, size_t i, enum bisect_answer *ret, struct error *err);
};
struct bisect_found {
    bool has_clean, has_not; /* has_not: a point after the last clean one is not clean */
    size_t last_clean, first_not;
    bool monotonic; /* of what was tried, none is clean after one that is not */
};
/* Tries both ends; halves the stretch between a clean point and a later one that is not; then, since nothing promises
 * that a clean point is clean all the way back, one in the middle of each stretch beyond, and begins again behind a
 * clean one that turns up. With both ends not clean it looks for any clean one, at last at all. Candidates without an
 * answer are passed over. An error of `try` ends it. */
int bisect_run(struct bisect_search *s, struct bisect_found *ret, struct error *err) PK_CHECK;

/* ---- over recovery points ---- */
struct bisect_options {
    const char *address;       /* "env/surface" */
    const char *database;      /* NULL: the only one */
    const char *since, *until; /* points, as addresses have them behind '@'; NULL: all. WAL is followed to a time that `until` names */
    bool every;
    bool points_only; /* no instants between */
    const char *query, *expect; /* clean is what answers this; expect NULL: true */
    const char *const
        *tables;      /* with query: restore only these (NULL-terminated picks); NULL or empty: all of the database */
    const char *pick; /* instead of query: clean is a point that has a row of this pick */
};
struct bisect_try {
    char id[SNAPSHOT_ID_MAX];
    char lsn[24];     /* recovered to there from the point; empty: it is the point itself, or the end */
    bool before, end; /* just before it; to the end of the WAL, or the time that bounds the search */
    size_t candidate; /* SIZE_MAX: none of the first search */
    int64_t time_ns, took_ns;
    enum bisect_answer answer;
    json_t *value;  /* what it answered, or how many rows; owned; NULL when unknown */
    char text[300]; /* why it is unknown */
    json_t *files;  /* of a physical backup, with `pick`: its database and the files of its table; owned */
};
struct bisect_transaction { /* xid 0: none was found */
    uint32_t xid, timeline;
    char lsn[24];      /* where its commit record begins: --target-lsn, with --target-exclusive just before it */
    int64_t time_ns;   /* by the server's clock */
    char base[SNAPSHOT_ID_MAX];
    uint64_t looked_at; /* commits in the WAL between */
};
struct bisect_result {
    size_t points;            /* candidates in all */
    struct bisect_try *tries; /* in the order in which they were made; owned */
    size_t count;
    struct bisect_found found;          /* places among the candidates: see clean and not_clean */
    struct bisect_try clean, not_clean; /* copies, the value borrowed; id is empty when there is none */
    size_t between;                     /* candidates between these two that gave no answer */
    struct bisect_transaction transaction;
    char why_none[400]; /* WAL was to be followed, and no transaction found */
    int64_t duration_ns;
};
/* Without a clean candidate there may yet be a clean instant since the newest backup: then there is a transaction.
 * each (may be NULL) is called after every try. ERR_NO_POINT when there are no candidates. 0 whatever was found. */
int bisect_points(struct work *w, const struct bisect_options *o, void (*each)(void *ctx, const struct bisect_try *t),
                  void *ctx, struct bisect_result *ret, struct error *err) PK_CHECK;
void bisect_free(struct bisect_result *r);

#endif
