/* Where backups go while their repository is out of reach: into its `fallback`, a repository of its own that shares its
 * content keys, from which they are forwarded: copied, with their receipts, when it is there again.
 *
 * Only being out of reach counts (repo_out_of_reach): what answers, and refuses, is damaged or opens with another key, is
 * not passed by. Writing takes a writer's key of the fallback; forwarding, one that reads it.
 */
#ifndef PK_WORK_FALLBACK_H
#define PK_WORK_FALLBACK_H

#include "work/copy.h"

struct work_fallback {
    struct work *at;         /* the fallback, open */
    char of[65], name[65];   /* of the two repositories */
    struct error why;        /* what the one said that is out of reach */
};
void fallback_free(struct work_fallback *f);

/* The fallback that this run went over to for the repository of `environment`; NULL: it did not. */
struct work_fallback *fallback_in_use(struct work *w, const char *environment);
/* Go over to it, for the rest of the run: its repository answered `why`. *ret NULL (and 0): none is configured. When the
 * fallback cannot be used either, the error is `why` and says so. */
int fallback_begin(struct work *w, const char *environment, const struct error *why, struct work_fallback **ret, struct error *err) PK_CHECK;

/* Once in a run, when the repository of `environment` was reached: forward what waits, or warn of why it cannot be. */
void fallback_look(struct work *w, const char *environment);

/* The member `fallback` of a receipt: {"of", "code", "why"}. */
int fallback_json(struct work *w, const struct work_fallback *f, json_t **ret, struct error *err) PK_CHECK;

#endif
