/* What the bucket is set to, as far as it bears on what lies in it. Everything is asked, nothing is tried but a removal
 * of an object that is not there. */
#include "base/json.h"
#include "base/seam.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"
#include <stdlib.h>

#define DAY_NS (24 * 3600 * NS_PER_S)

static enum store_answer unknown(struct store_bucket *b, const struct error *why) {
    if (!b->why[0]) snprintf(b->why, sizeof b->why, "%.250s", why->text);
    return STORE_ANSWER_UNKNOWN;
}

/* YES: it answered, and `root` is what it answered with; NO: such a thing was never set. */
static enum store_answer ask(struct s3_store *s, const char *query, const char *action, const char *root, xml_cb cb,
                             void *ctx, struct store_bucket *b) {
    CLEANUP(buf_free) struct buf text = BUF_INIT((size_t)1 << 20);
    struct error e = ERROR_INIT;
    struct s3_call c = {.what = "read the bucket's settings",
                        .action = action,
                        .method = "GET",
                        .query = query,
                        .text = &text,
                        .expected = {404, 501, 405}};
    int rc = s3_call(s, &c, &e);
    int status = c.answer.status;
    bool no_bucket = strcmp(c.code, "NoSuchBucket") == 0;
    s3_call_free(&c);
    if (rc < 0) return unknown(b, &e);
    if (status == 404 && no_bucket) {
        error_set(&e, ERR_S3_BUCKET, "there is no such bucket");
        return unknown(b, &e);
    }
    if (status / 100 != 2) return status == 404 ? STORE_ANSWER_NO : STORE_ANSWER_NONE;
    /* Who does not know the question may answer with a list of the bucket. */
    if (!memmem(text.ptr, text.len, root, strlen(root))) return STORE_ANSWER_NONE;
    rc = xml_walk(buf_bytes(&text), cb, ctx, &e);
    return rc < 0 ? unknown(b, &e) : STORE_ANSWER_YES;
}

static bool is(const char *path, const char *end) {
    size_t n = strlen(path), m = strlen(end);
    return n >= m && strcmp(path + n - m, end) == 0;
}

static bool word(struct bytes text, const char *want) {
    return text.len == strlen(want) && strncasecmp((const char *)text.ptr, want, text.len) == 0;
}

static int64_t number(struct bytes text) {
    char digits[24];
    if (text.len == 0 || text.len >= sizeof digits) return 0;
    snprintf(digits, sizeof digits, "%.*s", (int)text.len, (const char *)text.ptr);
    long long n = strtoll(digits, NULL, 10);
    return n < 0 || n > 100 * 366 ? 0 : n;
}

static int take_versioning(void *ctx, const char *path, struct bytes text, struct error *err) {
    (void)err;
    if (is(path, "/Status")) *(bool *)ctx = word(text, "Enabled");
    return 0;
}

static int take_lock(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct store_bucket *b = ctx;
    (void)err;
    if (is(path, "/ObjectLockEnabled") && word(text, "Enabled")) b->lockable = STORE_ANSWER_YES;
    if (is(path, "/DefaultRetention/Mode"))
        b->default_mode = word(text, "COMPLIANCE") ? STORE_LOCK_COMPLIANCE : STORE_LOCK_GOVERNANCE;
    if (is(path, "/DefaultRetention/Days")) b->default_ns = number(text) * DAY_NS;
    if (is(path, "/DefaultRetention/Years")) b->default_ns = number(text) * 365 * DAY_NS;
    return 0;
}

static int take_sse(void *ctx, const char *path, struct bytes text, struct error *err) {
    (void)err;
    if (is(path, "/SSEAlgorithm")) *(bool *)ctx = text.len > 0;
    return 0;
}

/* ---- lifecycle ---- */

struct rules {
    struct store_bucket *b;
    const char *ours; /* prefix */
    /* the rule that is being read */
    char prefix[S3_KEY_BYTES_MAX + 1];
    bool enabled, tagged, expires, expires_noncurrent, aborts, archives;
    int64_t days, noncurrent_days;
};

static void sooner(int64_t *least, int64_t days) {
    int64_t ns = days * DAY_NS;
    if (ns > 0 && (*least == 0 || ns < *least)) *least = ns;
}

/* Whether a rule for what begins with `prefix` is for anything of a repository in `ours` (doc/format/repository.md). */
static bool is_ours(const char *prefix, const char *ours) {
    static const char *const names[] = {"checkpoint", "format", "index/",   "keys/", "log/",    "packs/",
                                        "sess/",      "tile/",  "summary/", "wal/",  "witness/"};
    const size_t n = strlen(prefix), m = strlen(ours);
    if (strncmp(prefix, ours, n < m ? n : m) != 0) return false;
    bool any = n <= m;
    for (size_t i = 0; i < sizeof names / sizeof *names && !any; i++) {
        const size_t k = strlen(names[i]);
        any = strncmp(prefix + m, names[i], n - m < k ? n - m : k) == 0;
    }
    return any;
}

static void end_rule(struct rules *r) {
    const size_t m = strlen(r->ours);
    const bool ours = r->enabled && !r->tagged && is_ours(r->prefix, r->ours);
    if (ours && r->expires) {
        r->b->expires = STORE_ANSWER_YES;
        sooner(&r->b->expires_ns, r->days);
    }
    if (ours && r->expires_noncurrent) {
        r->b->expires_noncurrent = STORE_ANSWER_YES;
        sooner(&r->b->expires_noncurrent_ns, r->noncurrent_days);
    }
    if (ours && r->aborts) r->b->aborts = STORE_ANSWER_YES;
    /* packs of data may go there */
    const bool only_data = strncmp(r->prefix, r->ours, m) == 0 && strncmp(r->prefix + m, "packs/d", 7) == 0;
    if (ours && r->archives && !only_data) r->b->archives = STORE_ANSWER_YES;
    *r = (struct rules){.b = r->b, .ours = r->ours};
}

static int take_rule(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct rules *r = ctx;
    (void)err;
    if (is(path, "/Prefix") && text.len < sizeof r->prefix)
        snprintf(r->prefix, sizeof r->prefix, "%.*s", (int)text.len, (const char *)text.ptr);
    if (is(path, "/Rule/Status")) r->enabled = word(text, "Enabled");
    if (is(path, "/Tag/Key")) r->tagged = true; /* nothing of ours has a tag */
    if (is(path, "/Rule/Expiration/Days")) r->expires = true, r->days = number(text);
    if (is(path, "/Rule/Expiration/Date")) r->expires = true;
    if (is(path, "/NoncurrentVersionExpiration/NoncurrentDays"))
        r->expires_noncurrent = true, r->noncurrent_days = number(text);
    if (is(path, "/Transition/StorageClass")) r->archives |= word(text, "GLACIER") || word(text, "DEEP_ARCHIVE");
    if (is(path, "/AbortIncompleteMultipartUpload/DaysAfterInitiation")) r->aborts = true;
    if (strcmp(path, "LifecycleConfiguration/Rule") == 0) end_rule(r);
    return 0;
}

static void look_at_lifecycle(struct s3_store *s, struct store_bucket *b) {
    struct rules r = {.b = b, .ours = s->place.prefix};
    b->expires = b->expires_noncurrent = b->aborts = b->archives = STORE_ANSWER_NO;
    enum store_answer a =
        ask(s, "lifecycle=", "s3:GetLifecycleConfiguration", "LifecycleConfiguration", take_rule, &r, b);
    if (a == STORE_ANSWER_UNKNOWN || a == STORE_ANSWER_NONE)
        b->expires = b->expires_noncurrent = b->aborts = b->archives = a;
}

/* ---- who else may come in ---- */

struct open_to {
    bool policy, grant, grants_ignored, policy_restricted;
};

static int take_open(void *ctx, const char *path, struct bytes text, struct error *err) {
    struct open_to *o = ctx;
    static const char group[] = "/groups/global/";
    (void)err;
    if (is(path, "/IsPublic")) o->policy = word(text, "true");
    if (is(path, "/Grantee/URI") && memmem(text.ptr, text.len, group, sizeof group - 1)) o->grant = true;
    if (is(path, "/IgnorePublicAcls")) o->grants_ignored = word(text, "true");
    if (is(path, "/RestrictPublicBuckets")) o->policy_restricted = word(text, "true");
    return 0;
}

/* "*", {"AWS": "*"} or {"AWS": ["*"]} */
static bool is_anyone(const json_t *principal) {
    const json_t *v = json_is_object(principal) ? json_object_get(principal, "AWS") : principal, *one;
    size_t i;
    if (json_is_string(v)) return strcmp(json_string_value(v), "*") == 0;
    json_array_foreach(v, i, one) if (json_is_string(one) && strcmp(json_string_value(one), "*") == 0) return true;
    return false;
}

/* Not every server's own judgement counts a policy that lets anyone read, but not list, as open. One with a condition
 * is left to that judgement. */
static enum store_answer look_at_policy(struct s3_store *s, struct store_bucket *b) {
    CLEANUP(buf_free) struct buf text = BUF_INIT((size_t)1 << 20);
    struct error e = ERROR_INIT;
    json_auto_t *policy = NULL;
    struct s3_call c = {.what = "read the bucket's policy",
                        .action = "s3:GetBucketPolicy",
                        .method = "GET",
                        .query = "policy=",
                        .text = &text,
                        .expected = {404, 501, 405}};
    int rc = s3_call(s, &c, &e);
    int status = c.answer.status;
    s3_call_free(&c);
    if (rc == 0 && status / 100 != 2) return status == 404 ? STORE_ANSWER_NO : STORE_ANSWER_NONE;
    if (rc == 0) rc = json_parse(buf_bytes(&text), text.max_bytes, "the bucket's policy", &policy, &e);
    if (rc < 0) return unknown(b, &e);
    const json_t *all = json_object_get(policy, "Statement"), *one;
    size_t i, n = json_is_array(all) ? json_array_size(all) : 1;
    for (i = 0; i < n; i++) {
        one = json_is_array(all) ? json_array_get(all, i) : all;
        const char *effect = json_string_value(json_object_get(one, "Effect"));
        if (effect && strcmp(effect, "Allow") == 0 && !json_object_get(one, "Condition") &&
            is_anyone(json_object_get(one, "Principal")))
            return STORE_ANSWER_YES;
    }
    return STORE_ANSWER_NO;
}

static enum store_answer look_who_may(struct s3_store *s, struct store_bucket *b) {
    struct open_to o = {.policy = false};
    struct store_bucket unheard = {.why = "-"}; /* not needed for an answer */
    (void)ask(s, "publicAccessBlock=", "s3:GetBucketPublicAccessBlock", "Block", take_open, &o, &unheard);
    enum store_answer policy = ask(s, "policyStatus=", "s3:GetBucketPolicyStatus", "PolicyStatus", take_open, &o, b);
    if (!o.policy && policy != STORE_ANSWER_UNKNOWN) {
        policy = look_at_policy(s, b);
        o.policy = policy == STORE_ANSWER_YES;
    }
    enum store_answer acl = ask(s, "acl=", "s3:GetBucketAcl", "AccessControlPolicy", take_open, &o, b);
    if ((o.policy && !o.policy_restricted) || (o.grant && !o.grants_ignored)) return STORE_ANSWER_YES;
    if (policy == STORE_ANSWER_UNKNOWN || acl == STORE_ANSWER_UNKNOWN) return STORE_ANSWER_UNKNOWN;
    return policy == STORE_ANSWER_NONE && acl == STORE_ANSWER_NONE ? STORE_ANSWER_NONE : STORE_ANSWER_NO;
}

/* By the name of a version that cannot be, a removal does not even leave a marker. */
static enum store_answer look_at_removal(struct s3_store *s, bool kept, struct store_bucket *b) {
    struct error e = ERROR_INIT;
    struct s3_call c = {.what = "see whether removal is allowed",
                        .action = kept ? "s3:DeleteObjectVersion" : "s3:DeleteObject",
                        .method = "DELETE",
                        .key = "probe/nothing",
                        .query = kept ? "versionId=null" : NULL,
                        .expected = {404, 400}};
    int rc = s3_call(s, &c, &e);
    s3_call_free(&c);
    if (rc == 0) return STORE_ANSWER_YES;
    return rc == -ERR_S3_DENIED ? STORE_ANSWER_NO : unknown(b, &e);
}

/* By what was stored last, as a bucket's default and an old object tell nothing of that. */
static void look_at_sse(struct s3_store *s, struct store_bucket *b) {
    struct error e = ERROR_INIT;
    struct s3_call c = {.what = "see how an object is encrypted at rest",
                        .action = "s3:GetObject",
                        .method = "HEAD",
                        .key = "checkpoint",
                        .expected = {404}};
    b->sse_seen = STORE_ANSWER_NONE;
    snprintf(b->sse_wanted, sizeof b->sse_wanted, "%s", s->place.sse);
    if (!b->sse_wanted[0]) return;
    int rc = s3_call(s, &c, &e);
    const char *is = rc == 0 ? http_header(&c.answer, "x-amz-server-side-encryption") : NULL;
    if (is) snprintf(b->sse_found, sizeof b->sse_found, "%s", is);
    if (rc < 0)
        b->sse_seen = unknown(b, &e);
    else if (c.answer.status / 100 == 2)
        b->sse_seen = STORE_ANSWER_YES;
    s3_call_free(&c);
}

static enum store_answer set_to(enum store_answer asked, bool on) {
    return asked == STORE_ANSWER_YES ? (on ? STORE_ANSWER_YES : STORE_ANSWER_NO) : asked;
}

int s3_bucket(struct store *st, struct store_bucket *ret, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    struct store_bucket b = {.lockable = STORE_ANSWER_UNKNOWN};
    bool on = false, kept;
    int rc = s3_kept(st, &kept, err);
    if (rc < 0) return rc;
    enum store_answer a =
        ask(s, "versioning=", "s3:GetBucketVersioning", "VersioningConfiguration", take_versioning, &on, &b);
    b.versioned = set_to(a, on);
    struct store_bucket lock = {.lockable = STORE_ANSWER_NO};
    a = ask(s, "object-lock=", "s3:GetBucketObjectLockConfiguration", "ObjectLockConfiguration", take_lock, &lock, &b);
    b.lockable = a == STORE_ANSWER_YES ? lock.lockable : a;
    if (b.lockable == STORE_ANSWER_YES) {
        b.default_mode = lock.default_mode;
        b.default_ns = lock.default_ns;
    }
    look_at_lifecycle(s, &b);
    on = false;
    a = ask(s, "encryption=", "s3:GetEncryptionConfiguration", "ServerSideEncryptionConfiguration", take_sse, &on, &b);
    b.encrypted = set_to(a, on);
    look_at_sse(s, &b);
    b.open_to_all = look_who_may(s, &b);
    b.may_erase = look_at_removal(s, kept, &b);
    *ret = b;
    return 0;
}
