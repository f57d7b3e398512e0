/* surface/bucket.h over a store. */
#ifndef PK_WORK_BUCKET_H
#define PK_WORK_BUCKET_H

#include "surface/bucket.h"
#include "work/context.h"

/* For surface_context.bucket; ctx is a work_bridge. url is s3://…, with credentials as a repository there has them. Nothing is
 * asked of the server yet. The caller closes *ret. */
int work_bucket_open(void *ctx, const char *url, struct surface_bucket **ret, struct error *err) PK_CHECK;

#endif
