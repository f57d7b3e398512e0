/* Opens the store of a repository as the configuration says. */
#ifndef PK_PLATFORM_OPEN_STORE_H
#define PK_PLATFORM_OPEN_STORE_H

#include "platform/config.h"
#include "store/store.h"

/* store_open with the credentials that the configuration names for the repository at this URL, if it names any. `c` may
 * be NULL: there is no configuration. Secrets are had as environment `e` has them; NULL means the first that uses the
 * repository. Both outlive the store. What it stores is locked as the configuration says (config_locks). */
int config_open_store(const struct config *c, const struct config_environment *e, const char *url, bool create,
                      struct store **ret, struct error *err) PK_CHECK;

/* What objects of a repository are locked with; mode NONE when nothing is configured. */
struct store_locks config_locks(const struct config_repository *r);

#endif
