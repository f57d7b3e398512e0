/* Where the keys of a repository lie: files that are never stored in it, nor where it is copied to. */
#ifndef PK_WORK_OWN_KEYS_H
#define PK_WORK_OWN_KEYS_H

#include "surface/surface.h"
#include "work/context.h"

/* The file that a secret is kept in, for an environment; false when it is kept otherwise. */
bool own_key_file(const struct config_secret *s, const struct config_environment *e, char out[4096]);
/* Each file that a key of the repository at `url` is read from, and of its fallback, its copies, and what it is one of: as the
 * options name it, else as the configuration does for any environment. A file may come twice. */
int own_keys_each(const struct work *w, const char *url, int (*cb)(void *ctx, const char *path, struct error *err), void *ctx,
                  struct error *err) PK_CHECK;

/* Those that are there, for a capture; zeroed to begin. */
struct own_keys {
    struct file_identity *list;
    size_t count, cap;
};
int own_keys_find(const struct work *w, struct own_keys *ret, struct error *err) PK_CHECK; /* of the open repository */
void own_keys_free(struct own_keys *k);

#endif
