/* Reading from any copy: what a repository has lost, has damaged or cannot give now is taken, chunk by chunk, from its `copies` and its
 * `fallback` of the configuration (repo/alternate.h); and when it cannot be reached at all, one of these is opened in its place. Only for
 * verbs that read recovery points, which set work.any_copy. */
#ifndef PK_WORK_ANY_COPY_H
#define PK_WORK_ANY_COPY_H

#include "repo/alternate.h"
#include "work/context.h"

struct work_copies {
    struct work *w;
    char environment[128];
    char names[ALTERNATES_MAX][65]; /* of the alternates of w->repo, in its order */
    struct work *at[ALTERNATES_MAX]; /* open; NULL: not yet */
    size_t count;
    struct work *shell; /* whose handles w->repo and w->store were, when: */
    char instead[65];   /* the copy that w->repo is; empty: it is the repository itself */
    char url[4096];     /* of the repository in whose place it is */
};
/* The repository was opened; name the copies that help it. */
int any_copy_attach(struct work *w, const char *environment, struct error *err) PK_CHECK;
/* It was not, for the reason `why`: open the copy that has the newest recovery point of the environment (of any without) in its place, and
 * warn. Or open options.from, which `why` NULL asks for. When there is none, the error is `why`. */
int any_copy_instead(struct work *w, const char *environment, const struct error *why, struct error *err) PK_CHECK;
/* Whether that failure lets another be opened in its place: what is damaged or forged is not passed by unasked. */
bool any_copy_due(int rc);
/* The copy at a place below c->count, open; borrowed from it. */
int any_copy_open(struct work_copies *c, size_t i, struct work **ret, struct error *err) PK_CHECK;
/* After the repository was closed that they help. NULL is fine. */
void any_copy_free(struct work_copies *c);

/* What came from where, as a sentence; false: all came from the repository itself. */
bool any_copy_sentence(const struct work *w, char *out, size_t n);
/* [{"label","chunks","bytes"}] of copies that gave something. */
int any_copy_json(const struct work *w, json_t **ret, struct error *err) PK_CHECK;
const char *any_copy_read_from(const struct work *w); /* the copy in whose place w->repo was opened; NULL: none */

#endif
