/* AWS Signature Version 4, in the Authorization header. Source: AWS, "Create a signed AWS API request", and for S3's
 * once-escaped paths "Authenticating Requests: Using the Authorization Header". */
#ifndef PK_STORE_S3_SIGV4_H
#define PK_STORE_S3_SIGV4_H

#include "base/bytes.h"
#include "base/error.h"

#define SIGV4_DATE_BYTES 17 /* "20130524T000000Z" and its NUL */

struct sigv4_header {
    const char *name, *value; /* lower-case name; value without blanks around it */
};
struct sigv4_request {
    const char *method;
    const char *path;                   /* escaped, as it is sent */
    const char *query;                  /* escaped, its names in order; NULL: none. "a" is written "a=" */
    const struct sigv4_header *headers; /* in order of name: host, x-amz-content-sha256 and x-amz-date among them */
    size_t header_count;
    const char *payload; /* as x-amz-content-sha256 says: hex digest or UNSIGNED-PAYLOAD */
    char date[SIGV4_DATE_BYTES];
    const char *region, *service;
};
void sigv4_date(int64_t now_ns, char out[SIGV4_DATE_BYTES]);
/* The header's value, NUL-terminated, in place of what `out` held. The secret key is at most 256 bytes, else
 * ERR_SECRET. */
int sigv4_authorize(const struct sigv4_request *q, const char *access_key, struct bytes secret_key, struct buf *out,
                    struct error *err) PK_CHECK;

#endif
