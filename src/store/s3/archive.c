/* Objects in archive classes: what HEAD says of them, and POST ?restore (RestoreObject). */
#include "store/archive.h"
#include "base/time.h"
#include "store/s3/s3_internal.h"

enum store_depth s3_class_depth(const char *name) {
    return strcmp(name, "GLACIER") == 0        ? STORE_DEPTH_COLD
           : strcmp(name, "DEEP_ARCHIVE") == 0 ? STORE_DEPTH_DEEP
                                               : STORE_DEPTH_NONE;
}

/* x-amz-restore: ongoing-request="false", expiry-date="Fri, 23 Dec 2012 00:00:00 GMT" */
static void read_thaw(const char *text, struct store_coldness *c) {
    char date[64];
    const char *end = strstr(text, "expiry-date=\"");
    c->thaw = strstr(text, "ongoing-request=\"true\"")    ? STORE_THAW_ASKED
              : strstr(text, "ongoing-request=\"false\"") ? STORE_THAW_DONE
                                                          : STORE_THAW_NONE;
    if (!end) return;
    snprintf(date, sizeof date, "%.*s", (int)strcspn(end + 13, "\""), end + 13);
    if (!http_date_parse(date, &c->until_ns)) c->until_ns = 0;
}

int s3_look_cold(struct store *st, const char *key, struct store_coldness *ret, struct error *err) {
    struct s3_store *s = (struct s3_store *)st;
    struct store_coldness c = {.name = "STANDARD"};
    char what[S3_KEY_BYTES_MAX];
    snprintf(what, sizeof what, "look at the storage class of the object %s", key);
    struct s3_call call = {.what = what, .action = "s3:GetObject", .method = "HEAD", .key = key};
    int rc = s3_call_past(s, &call, err);
    if (rc == 0) {
        const char *name = http_header(&call.answer, "x-amz-storage-class"),
                   *tier = http_header(&call.answer, "x-amz-archive-status"),
                   *thaw = http_header(&call.answer, "x-amz-restore");
        if (name) snprintf(c.name, sizeof c.name, "%s", name);
        c.depth = s3_class_depth(c.name);
        /* Of INTELLIGENT_TIERING the server moves to its own archives what nobody has read for long. */
        c.moves = tier && c.depth == STORE_DEPTH_NONE;
        if (c.moves) c.depth = strcmp(tier, "DEEP_ARCHIVE_ACCESS") == 0 ? STORE_DEPTH_DEEP : STORE_DEPTH_COLD;
        if (thaw) read_thaw(thaw, &c);
        *ret = c;
    }
    s3_call_free(&call);
    return rc;
}

static int asked_error(struct s3_store *s, const struct s3_call *c, enum store_tier tier, struct error *err) {
    struct s3_fault f = {.code = ""};
    if (strcmp(c->code, "GlacierExpeditedRetrievalNotAvailable") == 0) {
        error_set(err, ERR_S3_TIER, "cannot %s in %s: %s answers that it has no capacity for the tier %s now", c->what,
                  s->name, s->host, store_tier_name(tier));
        return error_next(err, "Take the tier standard or bulk, or try again later.");
    }
    memcpy(f.code, c->code, sizeof f.code);
    return s3_fault_error(s, c, &f, err);
}

int s3_thaw(struct store *st, const char *key, const struct store_coldness *c, enum store_tier tier, unsigned days,
            struct error *err) {
    static const char *const tiers[] = {"Expedited", "Standard", "Bulk"};
    struct s3_store *s = (struct s3_store *)st;
    char what[S3_KEY_BYTES_MAX], body[400], keep[40] = "";
    if (!c->moves) snprintf(keep, sizeof keep, "<Days>%u</Days>", days);
    int n =
        snprintf(body, sizeof body,
                 "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">%s<GlacierJobParameters><Tier>%s"
                 "</Tier></GlacierJobParameters></RestoreRequest>",
                 keep, tiers[tier]);
    struct bytes b = BYTES_OF(body, (size_t)n);
    snprintf(what, sizeof what, "bring back the object %s", key);
    struct s3_call call = {.what = what,
                           .action = "s3:RestoreObject",
                           .method = "POST",
                           .key = key,
                           .query = "restore=",
                           .body = &b,
                           .body_count = 1,
                           .digest = true,
                           .md5 = true,
                           .expected = {409, 503}};
    int rc;
    for (unsigned failed = 1;; failed++) {
        rc = s3_call_past(s, &call, err);
        if (rc < 0 || call.answer.status != 503 || strncmp(call.code, "Glacier", 7) == 0 || failed == 8) break;
        if ((rc = http_wait(failed, 200, 10000, 0, NULL, err)) < 0) break;
    }
    if (rc == 0 && call.answer.status / 100 != 2 && strcmp(call.code, "RestoreAlreadyInProgress") != 0)
        rc = asked_error(s, &call, tier, err);
    s3_call_free(&call);
    return rc;
}

enum store_depth s3_writes_cold(struct store *st) {
    const struct s3_store *s = (const struct s3_store *)st;
    return st->cold ? s3_class_depth(s->place.data_class) : STORE_DEPTH_NONE;
}
