/* Which recovery point is the last that is right? Points are tried one after the other, each restored into a scratch
 * instance and asked. */
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
    const char *since, *until; /* points, as addresses have them behind '@'; NULL: all */
    bool every;
    const char *query, *expect; /* clean is what answers this; expect NULL: true */
    const char *const
        *tables;      /* with query: restore only these (NULL-terminated picks); NULL or empty: all of the database */
    const char *pick; /* instead of query: clean is a point that has a row of this pick */
};
struct bisect_try {
    char id[SNAPSHOT_ID_MAX];
    int64_t time_ns, took_ns;
    enum bisect_answer answer;
    json_t *value;  /* what it answered, or how many rows; owned; NULL when unknown */
    char text[300]; /* why it is unknown */
};
struct bisect_result {
    size_t points;            /* candidates in all */
    struct bisect_try *tries; /* in the order in which they were made; owned */
    size_t count;
    struct bisect_found found;          /* places among the candidates: see clean and not_clean */
    struct bisect_try clean, not_clean; /* copies, the value borrowed; id is empty when there is none */
    size_t between;                     /* candidates between these two that gave no answer */
    int64_t duration_ns;
};
/* each (may be NULL) is called after every try. ERR_NO_POINT when there are no candidates. 0 whatever was found. */
int bisect_points(struct work *w, const struct bisect_options *o, void (*each)(void *ctx, const struct bisect_try *t),
                  void *ctx, struct bisect_result *ret, struct error *err) PK_CHECK;
void bisect_free(struct bisect_result *r);

#endif
