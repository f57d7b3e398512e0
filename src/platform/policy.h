/* The policy in force for one surface in one environment. Unset stays unset: nothing here guesses a target. */
#ifndef PK_PLATFORM_POLICY_H
#define PK_PLATFORM_POLICY_H

#include "platform/config.h"
#include "platform/retention.h"

struct policy {
    struct config_duration rpo, rto; /* the surface's in this environment, else the environment's */
    /* keep and min_copies are looked up each on its own: the surface's in this environment, else the environment's,
     * else the defaults'. A nearer `keep` replaces a farther one as a whole. */
    const struct config_keep *keep; /* NULL: unset, so nothing is ever forgotten */
    struct config_int min_copies;
    enum config_level verify; /* CONFIG_LEVEL_UNSET: see retention_rules.level_min */
};

void policy_of(const struct config *c, const struct config_environment *e, const struct config_surface *s,
               struct policy *ret);

/* Retention rules from a policy: unset min_copies is 1, unset verify is checksum, stale after 2 x rpo, or 48 h where
 * rpo is unset or "none". The caller adds what only the repository knows (last_prune_seq, accepted_seq). */
void policy_retention(const struct policy *p, struct retention_rules *ret);

/* The matrix, one row for each environment and each of its surfaces, in the order of the files:
 * [{"environment","surface","kind","classification","protected","repository","rpo","rto","retention","min_copies","verify",
 *   "unset":["rpo",…]}]. Durations as written; "unset" and "none" are words. */
int policy_matrix(const struct config *c, json_t **ret, struct error *err) PK_CHECK;

#endif
