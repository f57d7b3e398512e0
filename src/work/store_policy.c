#include "work/store_policy.h"

#include "base/bytes.h"
#include "platform/config.h"
#include "store/s3/where.h"

#include <stdio.h>

#define W (1u << ROLE_WRITER)
#define R (1u << ROLE_RESTORE)
#define P (1u << ROLE_PRUNE)
#define A (1u << ROLE_ADMIN)
#define ALL (W | R | P | A)
#define PLACES_MAX 12

struct grant {
    const char *sid;
    const char *actions[8];
    bool bucket; /* of the bucket, not of objects; then for names below the prefix only where that can be said */
    struct {
        unsigned roles;
        const char *place; /* below the prefix */
    } places[PLACES_MAX];
    bool aws; /* others do not know these actions */
    enum { ALWAYS, IF_ERASING, UNLESS_ERASING } when;
};

/* Which calls a role makes, on what. Objects are as doc/format/repository.md names them. */
static const struct grant grants[] = {
    {"Read",
     {"s3:GetObject"},
     false,
     {{ALL, "format"},
      {ALL, "checkpoint"},
      {ALL, "keys/*"},
      {ALL, "log/*"},
      {ALL, "tile/*"},
      {ALL, "summary/*"},
      {ALL, "index/*"}, /* runs to find what is stored already, pack lists to know what is in use */
      {ALL, "witness/*"},
      {W | A, "sess/*"},
      {W | R | A, "wal/*"}, /* a writer looks at the header of what has the name already */
      {R | A, "packs/*"}}},
    {"Create",
     {"s3:PutObject"},
     false,
     {{ALL, "log/*"},
      {W | P | A, "index/*"}, /* a collection writes runs without what it removes */
      {W | P | A, "tile/*"},
      {W | P | A, "checkpoint"},
      {W | A, "packs/*"}, /* repacking reads, so it is the admin's */
      {W | A, "sess/*"},
      {W | A, "wal/*"},
      {A, "summary/*"}, /* nobody believes another's */
      {ALL, "witness/*"}, /* what witnesses that were asked have signed */
      {A, "keys/*"},
      {A, "format"}}},
    /* A lock is set when an object is created, and made longer while it is used. That nobody here makes it shorter is
     * up to the server: none of compliance, in governance not all hold that to s3:BypassGovernanceRetention. */
    {"Lock",
     {"s3:PutObjectRetention", "s3:GetObjectRetention", "s3:GetObjectLegalHold"},
     false,
     {{ALL, "log/*"},
      {W | P | A, "index/*"},
      {W | A, "packs/*"},
      {W | A, "wal/*"},
      {W | A, "keys/*"},
      {W | A, "format"}}},
    {"Locked", {"s3:GetObjectRetention", "s3:GetObjectLegalHold"}, false, {{P, "packs/*"}, {P, "wal/*"}}},
    {"Versions", /* to see through what was put over an object */
     {"s3:GetObjectVersion"},
     false,
     {{R | A, "packs/*"},
      {R | A, "wal/*"},
      {R | P | A, "index/*"},
      {R | P | A, "log/*"},
      {R | P | A, "keys/*"},
      {R | P | A, "format"}}},
    {"Abort", {"s3:AbortMultipartUpload"}, false, {{W | P | A, "index/*"}, {W | P | A, "packs/*"}, {W | A, "wal/*"}}},
    {"Remove",
     {"s3:DeleteObject"},
     false,
     {{P | A, "packs/*"},
      {P | A, "index/*"},
      {P | A, "wal/*"}, /* pieces of what is whole by now */
      {P | A, "sess/*"},
      {P | A, "tile/*"}, /* those that a fuller one replaces */
      {A, "summary/*"},
      {A, "keys/*"}}},
    {"Erase", /* what is locked no more */
     {"s3:DeleteObjectVersion"},
     false,
     {{P | A, "packs/*"}, {P | A, "index/*"}, {P | A, "wal/*"}},
     .when = IF_ERASING},
    {"Thaw", {"s3:RestoreObject"}, false, {{R | A, "packs/*"}}, .aws = true},
    {"Try", /* what init and doctor find out by doing it */
     {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion",
      "s3:PutObjectRetention", "s3:BypassGovernanceRetention"},
     false,
     {{A, "probe/*"}}},
    {"List", {"s3:ListBucket"}, true, {{ALL, "*"}}},
    {"ListUploads", {"s3:ListBucketMultipartUploads"}, true, {{P | A, ""}}}, /* knows no condition on names */
    {"ListVersions", {"s3:ListBucketVersions", "s3:GetBucketVersioning"}, true, {{R | P | A, ""}}},
    {"Settings",
     {"s3:GetBucketObjectLockConfiguration", "s3:GetLifecycleConfiguration", "s3:GetEncryptionConfiguration",
      "s3:GetBucketPolicyStatus", "s3:GetBucketPolicy"},
     true,
     {{A, ""}}},
    {"Openness", {"s3:GetBucketAcl", "s3:GetBucketPublicAccessBlock"}, true, {{A, ""}}, .aws = true},
};

/* What is denied besides, since another policy may allow more than this one. */
static const struct grant denials[] = {
    {"NeverBypass", {"s3:BypassGovernanceRetention"}, false, {{W | R | P, "*"}}},
    {"NeverErase", {"s3:DeleteObjectVersion"}, false, {{W | R | P, "*"}}, .when = UNLESS_ERASING},
    {"NeverErase",
     {"s3:DeleteObjectVersion"},
     false,
     {{W | R, "*"}, {P, "log/*"}, {P, "keys/*"}, {P, "format"}, {P, "checkpoint"}},
     .when = IF_ERASING},
    {"NeverRemove",
     {"s3:DeleteObject"},
     false,
     {{W | R, "*"}, {P, "log/*"}, {P, "keys/*"}, {P, "format"}, {P, "checkpoint"}}},
    /* Ceph lets whoever stored an object read it, unless it is denied. */
    {"NeverRead", {"s3:GetObject", "s3:GetObjectVersion"}, false, {{W, "packs/*"}}},
    {"NeverLook", {"s3:ListBucketVersions"}, true, {{W, ""}}},
    {"NeverConfigure",
     {"s3:DeleteBucket", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:PutBucketVersioning",
      "s3:PutBucketObjectLockConfiguration", "s3:PutLifecycleConfiguration", "s3:PutEncryptionConfiguration"},
     true,
     {{W | R | P, ""}}},
};

/* Names that are given once. `checkpoint` is replaced, and so may be a summary that nobody could believe. */
static const struct grant once = {"NeverReplace",
                                  {"s3:PutObject"},
                                  false,
                                  {{ALL, "log/*"},
                                   {W | P | A, "index/*"},
                                   {W | P | A, "tile/*"},
                                   {W | A, "packs/*"},
                                   {W | A, "sess/*"},
                                   {W | A, "wal/*"},
                                   {ALL, "witness/*"},
                                   {A, "keys/*"},
                                   {A, "format"}}};

struct maker {
    const struct store_policy_request *q;
    struct s3_where where;
    bool locks;   /* the configuration asks for them */
    bool erasing; /* …and they hold whatever these credentials try */
    bool ceph; /* it has principals by ARNs like AWS, and refuses a whole policy for one action that it does not know */
    json_t *statements;
};

static const char *partition(const struct maker *m) {
    return !m->where.aws                                 ? "aws"
           : strncmp(m->where.region, "cn-", 3) == 0     ? "aws-cn"
           : strncmp(m->where.region, "us-gov-", 7) == 0 ? "aws-us-gov"
                                                         : "aws";
}

static bool applies(const struct grant *g, enum key_role role) {
    bool any = false;
    for (size_t i = 0; i < PLACES_MAX && g->places[i].roles; i++) any |= (g->places[i].roles & (1u << role)) != 0;
    return any;
}

static int put_actions(const struct maker *m, json_t *statement, const struct grant *g, struct error *err) {
    json_t *a = json_array();
    int rc = json_put(statement, "Action", a, err);
    for (size_t i = 0; i < sizeof g->actions / sizeof *g->actions && g->actions[i] && rc == 0; i++)
        if (!m->ceph || !strstr(g->actions[i], "EncryptionConfiguration"))
            rc = json_push(a, json_string(g->actions[i]), err);
    return rc;
}

static int put_resources(const struct maker *m, json_t *statement, const struct grant *g, struct error *err) {
    char arn[700];
    json_t *r = json_array();
    int rc = json_put(statement, "Resource", r, err);
    snprintf(arn, sizeof arn, "arn:%s:s3:::%s", partition(m), m->where.bucket);
    if (g->bucket && rc == 0) rc = json_push(r, json_string(arn), err);
    for (size_t i = 0; !g->bucket && i < PLACES_MAX && g->places[i].roles && rc == 0; i++) {
        if (!(g->places[i].roles & (1u << m->q->role))) continue;
        snprintf(arn, sizeof arn, "arn:%s:s3:::%s/%s%s", partition(m), m->where.bucket, m->where.prefix,
                 g->places[i].place);
        rc = json_push(r, json_string(arn), err);
    }
    return rc;
}

static int put_principals(const struct maker *m, json_t *statement, struct error *err) {
    if (m->q->style != POLICY_BUCKET) return 0;
    json_t *p = json_object(), *names = json_array();
    int rc = json_put(statement, "Principal", p, err);
    if (rc == 0)
        rc = json_put(p, "AWS", names, err);
    else
        json_decref(names);
    for (size_t i = 0; i < m->q->principal_count && rc == 0; i++)
        rc = json_push(names, json_string(m->q->principals[i]), err);
    return rc;
}

static int add(struct maker *m, const struct grant *g, bool allow, json_t *condition, struct error *err) {
    static const char *const roles[] = {
        [ROLE_ADMIN] = "Admin", [ROLE_WRITER] = "Writer", [ROLE_RESTORE] = "Restore", [ROLE_PRUNE] = "Prune"};
    char sid[64];
    if (!applies(g, m->q->role) || g->when == (m->erasing ? UNLESS_ERASING : IF_ERASING)) {
        json_decref(condition);
        return 0;
    }
    json_t *s = json_object();
    snprintf(sid, sizeof sid, "Proofkeep%s%s", roles[m->q->role], g->sid);
    int rc = json_push(m->statements, s, err);
    if (rc == 0) rc = json_put_str(s, "Sid", sid, err);
    if (rc == 0) rc = json_put_str(s, "Effect", allow ? "Allow" : "Deny", err);
    if (rc == 0) rc = put_principals(m, s, err);
    if (rc == 0) rc = put_actions(m, s, g, err);
    if (rc == 0) rc = put_resources(m, s, g, err);
    if (rc == 0 && condition) return json_put(s, "Condition", condition, err);
    json_decref(condition);
    return rc;
}

/* Lists reach no further than the prefix. */
static int below_prefix(const struct maker *m, const struct grant *g, json_t **ret, struct error *err) {
    char names[600];
    *ret = NULL;
    if (!g->bucket || strcmp(g->places[0].place, "*") != 0 || !m->where.prefix[0]) return 0;
    snprintf(names, sizeof names, "%s*", m->where.prefix);
    *ret = json_pack("{s:{s:s}}", "StringLike", "s3:prefix", names);
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a policy");
}

/* AWS, Amazon S3 User Guide, "Enforce conditional writes on Amazon S3 buckets": the steps of an upload in parts but the
 * last take no condition, and are told by s3:ObjectCreationOperation. */
static int add_once(struct maker *m, struct error *err) {
    json_t *c = json_pack("{s:{s:s}, s:{s:s}}", "Null", "s3:if-none-match", "true", "Bool",
                          "s3:ObjectCreationOperation", "true");
    return c ? add(m, &once, false, c, err) : error_set(err, ERR_NO_MEMORY, "no memory for a policy");
}

/* Keys of AWS's key service have policies of their own; that of the user must allow it too. */
static int add_kms(struct maker *m, struct error *err) {
    if (!m->where.aws || m->q->style != POLICY_IDENTITY || strncmp(m->where.kms_key, "arn:", 4) != 0) return 0;
    json_t *s = json_pack("{s:s, s:s, s:[s, s], s:s}", "Sid", "ProofkeepEncryption", "Effect", "Allow", "Action",
                          "kms:GenerateDataKey", "kms:Decrypt", "Resource", m->where.kms_key);
    return json_push(m->statements, s, err);
}

static int find_place(struct maker *m, struct error *err) {
    const struct store_policy_request *q = m->q;
    struct config *c = NULL;
    const struct config_repository *r = NULL;
    int rc = config_load(q->config_path, &c, err);
    if (rc == -ERR_CONFIG_NONE && !q->config_path) {
        error_clear(err);
        rc = 0;
    }
    if (rc < 0) return rc;
    if (c && q->repository)
        r = config_repository(c, q->repository);
    else if (c && c->repositories.count == 1)
        r = c->repositories.items[0];
    const char *url = r ? r->url : q->repository;
    if (!url) {
        error_set(err, ERR_USAGE, "no repository is named");
        rc = error_next(err, "Name one with --repository.");
    } else if (strncmp(url, "s3://", 5) != 0)
        rc = error_set(err, ERR_USAGE, "'%.200s' is no bucket: only buckets have policies", url);
    else
        rc = s3_where(url, &m->where, err);
    if (rc == 0 && r && r->immutability) {
        m->locks = true;
        /* In governance AWS alone is known to hold a lock to the permission, whichever way it is asked. */
        m->erasing = r->immutability->mode == CONFIG_LOCK_COMPLIANCE || m->where.aws;
    }
    config_free(c);
    return rc;
}

static int check_principals(const struct maker *m, struct error *err) {
    const struct store_policy_request *q = m->q;
    if (q->style == POLICY_IDENTITY && q->principal_count)
        return error_set(err, ERR_USAGE, "a policy for a user or role names no principal; --style bucket does");
    if (q->style == POLICY_BUCKET && !q->principal_count) {
        error_set(err, ERR_USAGE, "a bucket's policy says whom it is for, and no --principal is given");
        return error_next(err, "Name the user or role: an ARN for AWS and Ceph, a user's name for other servers.");
    }
    for (size_t i = 0; i < q->principal_count; i++) {
        if (!q->principals[i][0] || strcmp(q->principals[i], "*") == 0)
            return error_set(err, ERR_USAGE, "'%s' as --principal is nobody or everybody", q->principals[i]);
        if (m->where.aws && strncmp(q->principals[i], "arn:", 4) != 0)
            return error_set(err, ERR_USAGE, "'%.200s' is no ARN, and AWS names principals by theirs",
                             q->principals[i]);
    }
    return 0;
}

static void note(const struct maker *m, struct store_policy *ret) {
    const bool creates = m->q->role != ROLE_RESTORE;
    size_t n = 0;
    if (!m->where.aws && creates)
        ret->notes[n++] =
            "Only AWS can force If-None-Match by a policy: here these credentials can put other bytes over "
            "names that they may create. Keep versions in the bucket, so that nothing is lost by it.";
    if (m->q->role == ROLE_PRUNE)
        ret->notes[n++] = m->erasing ? "What was locked is erased for good when its lock has ended; what never was "
                                       "locked stays as a version until a lifecycle rule ends it."
                          : m->locks ? "In governance not every server keeps a thief from making locks shorter, so "
                                       "this does not let what was locked be erased when its lock has ended: that is "
                                       "the owner's. With the mode compliance it does."
                                     : "Where the bucket keeps versions, what is pruned stays as one until a lifecycle "
                                       "rule ends it; no credential of proofkeep's does. With immutability in the "
                                       "configuration, a policy is printed that erases what was locked.";
    if (m->ceph)
        ret->notes[n++] =
            "Ceph knows no action for the encryption of a bucket: how that is set is not measured with these.";
    if (m->q->style == POLICY_BUCKET)
        ret->notes[n++] = "A bucket has one policy: put the statements of all roles into it.";
}

int store_policy_make(const struct store_policy_request *q, struct store_policy *ret, struct error *err) {
    struct maker m = {.q = q};
    *ret = (struct store_policy){0};
    int rc = find_place(&m, err);
    if (rc == 0) rc = check_principals(&m, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < q->principal_count && !m.where.aws; i++) m.ceph |= strncmp(q->principals[i], "arn:", 4) == 0;
    json_auto_t *document = json_object();
    m.statements = json_array();
    rc = json_put_str(document, "Version", "2012-10-17", err);
    if (rc == 0)
        rc = json_put(document, "Statement", m.statements, err);
    else
        json_decref(m.statements);
    for (size_t i = 0; i < sizeof grants / sizeof *grants && rc == 0; i++) {
        json_t *condition;
        if (grants[i].aws && !m.where.aws) continue;
        rc = below_prefix(&m, &grants[i], &condition, err);
        if (rc == 0) rc = add(&m, &grants[i], true, condition, err);
    }
    if (rc == 0) rc = add_kms(&m, err);
    for (size_t i = 0; i < sizeof denials / sizeof *denials && rc == 0; i++)
        rc = add(&m, &denials[i], false, NULL, err);
    if (rc == 0 && m.where.aws) rc = add_once(&m, err);
    if (rc < 0) return rc;
    note(&m, ret);
    ret->document = json_incref(document);
    return 0;
}
