/* Sets: several surfaces of one environment that are backed up and restored as one.
 *
 * A set is configured (`sets:` of the environment, else of the file), or is what an address names: "prod/all", a class
 * ("prod/@truth"), or a list ("prod/pg,redis"). Its name is the last part of the address as one would type it, the list
 * in the order of restoring.
 */
#ifndef PK_PLATFORM_SET_H
#define PK_PLATFORM_SET_H

#include "platform/address.h"

#define SET_NAME_BYTES 1024 /* with the NUL */

struct set_spec {
    char name[SET_NAME_BYTES];
    const struct config_environment *environment;
    const struct config_set *config;                            /* NULL when it is not a configured one */
    const struct config_surface *members[ADDRESS_SURFACES_MAX]; /* in the order of restoring */
    size_t count;
};

/* The configured set of that name, as the environment sees it; NULL when there is none. */
const struct config_set *config_set(const struct config *c, const struct config_environment *e, const char *name);
/* Whether a surface depends on another, itself or by way of others, which need be in no set with them. config_check has
 * refused circles. */
bool set_depends(const struct config *c, const struct config_surface *s, const struct config_surface *on);
/* What a manifest or a plan says that a surface waits for: what its configuration names, and those of the n others that
 * it depends on by way of more. Owned; NULL: no memory. */
json_t *set_depends_json(const struct config *c, const struct config_surface *s,
                         const struct config_surface *const *others, size_t n);
/* Sort surfaces for a restore: each after what it depends on (those that are among them), else by class (configuration,
 * truth, runtime, cache), else as they came. */
void set_order(const struct config *c, const struct config_surface **surfaces, size_t n);
/* The set that addresses of one environment mean together. `a` holds n of them; ERR_USAGE when they are of several
 * environments or name points. One surface that is no set of its own gives a set of one. Borrowed from the
 * configuration. */
int set_resolve(const struct config *c, const struct address *a, size_t n, struct set_spec *ret,
                struct error *err) PK_CHECK;
/* 0 for the first to be restored: configuration; then truth, runtime, cache. */
int set_class_rank(const struct config_surface *s);

#endif
