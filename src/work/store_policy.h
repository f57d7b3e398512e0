/* The policy that the owner of a bucket gives to the credentials of one role: what the program asks of S3 in that role,
 * and nothing besides. The table in store_policy.c says which calls those are, by kind of object. */
#ifndef PK_WORK_STORE_POLICY_H
#define PK_WORK_STORE_POLICY_H

#include "base/json.h"
#include "crypto/keyring.h"

enum policy_style {
    POLICY_IDENTITY, /* for a user or role: names no principal */
    POLICY_BUCKET,   /* for the bucket: names whom it is for */
};
struct store_policy_request {
    const char *config_path; /* NULL: where a configuration usually stands, if there is one */
    const char *repository;  /* address, or name in the configuration; NULL: the configuration's only one */
    enum key_role role;
    enum policy_style style;
    const char *const *principals; /* of POLICY_BUCKET: ARNs for AWS and Ceph, names for other servers */
    size_t principal_count;
};
#define POLICY_NOTES_MAX 4
struct store_policy {
    json_t *document;                    /* owned by whoever asked; "Version" and "Statement" as AWS has them */
    const char *notes[POLICY_NOTES_MAX]; /* what the policy cannot do, or wants beside it; the rest NULL */
};
/* Opens no repository and asks no server. ERR_USAGE for a repository that is no bucket, for missing or wrong
 * principals. */
int store_policy_make(const struct store_policy_request *q, struct store_policy *ret, struct error *err) PK_CHECK;

#endif
