/* A bucket that is none of the repository's, for drivers that read what a server keeps there. Keys as in store/store.h. */
#ifndef PK_SURFACE_BUCKET_H
#define PK_SURFACE_BUCKET_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct surface_bucket;
struct surface_bucket_ops {
    int (*size)(struct surface_bucket *, const char *key, uint64_t *ret, struct error *); /* ERR_OBJECT_MISSING */
    /* *ret_n < len only at the object's end. ERR_OBJECT_MISSING. */
    int (*read)(struct surface_bucket *, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, struct error *);
    /* Every key below `folder` ("" or "a/b/"), in no order. */
    int (*list)(struct surface_bucket *, const char *folder, int (*cb)(void *ctx, const char *key), void *ctx, struct error *);
    void (*close)(struct surface_bucket *);
};
struct surface_bucket {
    const struct surface_bucket_ops *ops;
};

#endif
