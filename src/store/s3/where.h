/* What an s3:// address says of the bucket itself, for those who write its policies. Asks no server. */
#ifndef PK_STORE_S3_WHERE_H
#define PK_STORE_S3_WHERE_H

#include "base/error.h"
#include <stdbool.h>

struct s3_where {
    char bucket[64];
    char prefix[512]; /* "" or ends in '/' */
    char region[64];  /* as the address says; "" when it does not */
    char kms_key[512];
    bool aws; /* AWS itself, as far as the address tells: no endpoint, or one of amazonaws.com */
};
/* ERR_USAGE for what is no address of a bucket. */
int s3_where(const char *url, struct s3_where *ret, struct error *err) PK_CHECK;

#endif
