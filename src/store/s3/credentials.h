/* Credentials for AWS and its like, looked for in AWS's order:
 *   1. what the address names (credentials_file and profile), or what the configuration gives; then nothing else is
 * looked at
 *   2. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN
 *   3. the profile AWS_PROFILE, else "default", of ~/.aws/credentials and ~/.aws/config (AWS_SHARED_CREDENTIALS_FILE
 * and AWS_CONFIG_FILE name others). A file from which a secret key is read must be closed to group and others.
 *   4. the container's endpoint: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, the latter over https or to
 *      this host only, with AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE or AWS_CONTAINER_AUTHORIZATION_TOKEN
 *   5. the instance's metadata, version 2 only; not with AWS_EC2_METADATA_DISABLED=true
 * Profiles that want a role assumed, a login or a process are refused by name (ERR_S3_NO_CREDENTIALS).
 * Sources: AWS SDKs and Tools Reference Guide; EC2 User Guide, "Use the Instance Metadata Service".
 */
#ifndef PK_STORE_S3_CREDENTIALS_H
#define PK_STORE_S3_CREDENTIALS_H

#include "crypto/crypto.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define ACCESS_KEY_BYTES 132
#define CREDENTIAL_FRESH_NS (INT64_C(300) * 1000000000) /* expiring ones are had anew so long before */

/* Shared and never changed; released by whoever was given it. */
struct credential {
    atomic_uint refs;
    char access_key[ACCESS_KEY_BYTES];
    struct secret *secret_key;
    struct secret *token; /* NULL: none; ends in NUL */
    int64_t expires_ns;   /* 0: never */
    char source[96];      /* "the profile default of ~/.aws/credentials" */
};
void credential_release(struct credential *c); /* NULL is fine */

struct credential_options {
    const char *credentials_file, *profile;                           /* NULL or "": not given */
    int (*secret)(void *ctx, struct secret **ret, struct error *err); /* NULL: none; see struct store_access */
    void *ctx;
};
/* Any thread may use one. Looks at nothing yet. */
struct credential_chain;
int credential_chain_new(const struct credential_options *o, struct credential_chain **ret, struct error *err) PK_CHECK;
void credential_chain_free(struct credential_chain *c);
/* The current credential, had anew when it is about to expire, or when it is the one that the server `refused` (NULL:
 * none was), as a file may have been renewed. ERR_S3_NO_CREDENTIALS says where was looked; ERR_SECRET when a file is
 * open to others. */
int credential_get(struct credential_chain *c, const struct credential *refused, struct credential **ret,
                   struct error *err) PK_CHECK;
/* AWS_REGION, AWS_DEFAULT_REGION, the profile's `region`, else "us-east-1". */
int credential_region(struct credential_chain *c, char out[64], struct error *err) PK_CHECK;

/* Of one source each (profile.c, metadata.c). `*ret` stays NULL when the source has none, and `why` then says so. */
#define CREDENTIAL_WHY_BYTES 400
int credential_make(const char *access_key, struct bytes secret_key, struct bytes token, int64_t expires_ns,
                    const char *source, struct credential **ret, struct error *err) PK_CHECK;
int credential_from_file(const char *path, const char *profile, bool is_config, struct credential **ret,
                         char why[CREDENTIAL_WHY_BYTES], struct error *err) PK_CHECK;
/* The text of a credentials file that came from elsewhere, or a credential process's JSON. */
int credential_from_text(struct bytes text, const char *profile, const char *source, struct credential **ret,
                         char why[CREDENTIAL_WHY_BYTES], struct error *err) PK_CHECK;
int credential_from_json(struct bytes text, const char *source, struct credential **ret, struct error *err) PK_CHECK;
/* `out` is "" when the profile says no region. */
int credential_file_region(const char *path, const char *profile, bool is_config, char out[64],
                           struct error *err) PK_CHECK;
struct http;
int credential_from_container(struct http *h, struct credential **ret, char why[CREDENTIAL_WHY_BYTES],
                              struct error *err) PK_CHECK;
int credential_from_instance(struct http *h, struct credential **ret, char why[CREDENTIAL_WHY_BYTES],
                             struct error *err) PK_CHECK;

#endif
