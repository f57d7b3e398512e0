/* Object stores. Keys are '/'-separated paths of [A-Za-z0-9._-] segments, none "." or ".." and none longer than 200 bytes,
 * 512 bytes in all, the first not "tmp" (a driver may keep its unfinished work there); others are ERR_STORE_KEY. Objects
 * are immutable and created only if absent.
 *
 * A driver is a const table. Promise bits say what it keeps; a conformance test holds every driver to its promises.
 * A store handle may be used by many threads at once unless said otherwise.
 */
#ifndef PK_STORE_STORE_H
#define PK_STORE_STORE_H

#include "base/bytes.h"
#include "base/error.h"
#include "store/archive.h"
#include "store/versions.h"
#include <stdbool.h>
#include <stdint.h>

enum store_promise {
    STORE_ATOMIC_CREATE = 1 << 0,   /* of two creators of one key exactly one succeeds */
    STORE_READ_AFTER_WRITE = 1 << 1,
    STORE_LIST_AFTER_WRITE = 1 << 2,
    STORE_CHEAP_READ = 1 << 3,      /* random reads cost little: delta bases may be read back */
    /* What is staged is unseen until its commit, comes in the order staged, and is dropped by a close. Without it (an object
     * store shows what it has) a staged object may be seen at any time after stage was called, in any order, and may stay
     * when it was never committed: so stage only what nobody looks for before something created after the commit names it. */
    STORE_STAGED_HIDDEN = 1 << 4,
};

/* What a place was found to do. */
enum store_fact {
    STORE_FACT_UNKNOWN = 0, /* it could not be found out */
    STORE_FACT_YES,
    STORE_FACT_NO,
    STORE_FACT_NONE, /* the place knows no such thing */
};
struct store_facts {
    enum store_fact conditional_create; /* a name that is taken is not given again */
    enum store_fact conditional_parts;  /* nor to an object that is stored in parts */
    enum store_fact conditional_replace; /* what somebody else replaced meanwhile is left as it is */
    enum store_fact read_after_write, list_after_write;
    enum store_fact delete_refused;     /* these credentials cannot remove an object */
    enum store_fact erase_refused;      /* nor, where versions are kept, one version of it for good */
    enum store_fact versioned;          /* what is removed or replaced stays as a version */
    enum store_fact lock_enabled, lock_enforced; /* retention can be set; what is retained cannot be erased */
    char why[512]; /* of what is unknown, the first reason; else "" */
};

struct store_object {
    const char *key;       /* borrowed for the call */
    uint64_t bytes;
    int64_t created_ns;    /* by the server's clock */
    bool archived;         /* its class is one of store/archive.h, whether or not it has been thawed */
};
typedef int (*store_list_cb)(void *ctx, const struct store_object *o, struct error *err); /* non-zero stops */

/* One of several reads. */
struct store_get {
    const char *key;
    uint64_t at;
    void *p;
    size_t len;
    /* results, as store_read's; err.code 0: it was read */
    size_t n;
    int64_t created_ns; /* of the object; 0: unknown */
    struct error err;
};

/* What a handle has asked of a server so far: every try, by what it was for, and bytes of bodies. */
enum store_verb { STORE_VERB_GET, STORE_VERB_HEAD, STORE_VERB_LIST, STORE_VERB_PUT, STORE_VERB_POST, STORE_VERB_DELETE, STORE_VERBS };
struct store_requests {
    uint64_t count[STORE_VERBS];
    uint64_t bytes_sent, bytes_received;
};
const char *store_verb_name(enum store_verb v); /* "GET" */

#define STORE_TAG_BYTES 128 /* with the NUL */

struct store;
struct store_ops {
    const char *name;
    unsigned promises;
    /* Create `key` with the concatenation of parts. Not yet durable and (see STORE_STAGED_HIDDEN) not yet visible to others
     * when it returns: it is *staged*, and store_commit makes every object staged through this handle durable and visible.
     * The bytes need not stay after it returns. Large parts aligned to 4096 are written past the page cache. It may wait
     * for earlier ones to be stored, and fail with what they failed with. */
    int (*stage)(struct store *, const char *key, const struct bytes *parts, size_t part_count, struct error *);
    /* ERR_OBJECT_EXISTS when one of the names was taken by an object with other bytes (those after it stay staged); a name
     * that already holds exactly these bytes is fine. One barrier for all. After another failure what is not stored stays
     * staged, and another commit tries again, unless the handle has latched. */
    int (*commit)(struct store *, struct error *);
    /* Create at once, durable when it returns. ERR_OBJECT_EXISTS when the name is taken, whatever its bytes: what has it is
     * durable then, whoever made it. */
    int (*create)(struct store *, const char *key, struct bytes content, struct error *);
    /* Replace (only for derived objects such as `checkpoint`). Durable when it returns. */
    int (*replace)(struct store *, const char *key, struct bytes content, struct error *);
    /* Read [at, at+len) into p; *ret_n < len only at the object's end. ERR_OBJECT_MISSING when there is none. */
    int (*read)(struct store *, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, struct error *);
    /* Size and time. ERR_OBJECT_MISSING when there is none. */
    int (*stat)(struct store *, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *);
    /* Every object whose key starts with prefix (a folder, ends in '/'; "" is all), in no order; a folder that is not there
     * is empty. Staged ones are not seen. What else lies in the store under names that are no keys is passed over. */
    int (*list)(struct store *, const char *prefix, store_list_cb cb, void *ctx, struct error *);
    int (*remove)(struct store *, const char *key, struct error *); /* missing is fine; may come back after a crash */
    int (*free_space)(struct store *, uint64_t *ret_bytes, struct error *); /* UINT64_MAX when unbounded or unknown */
    void (*close)(struct store *); /* drops what is staged */
    /* Optional: adds what only the driver can find out to what store_probe found. `folder` is a fresh one of the probe's own. */
    int (*probe)(struct store *, const char *folder, struct store_facts *facts, struct error *);
    /* Optional: `stage` of what the caller gives away, whatever comes of it (mem is freed by seam_free), with its
     * SHA-256, which is not made again. */
    int (*stage_own)(struct store *, const char *key, uint8_t *mem, size_t len, const uint8_t sha256[32],
                     struct error *);
    /* Optional, for places where a request takes long and many do not take longer: they are under way at the same time. */
    void (*get_many)(struct store *, struct store_get *gets, size_t n);
    int (*remove_many)(struct store *, const char *const *keys, size_t n, struct error *);
    /* Optional, all or none: see store_expect. */
    void (*expect)(struct store *, const char *key, size_t bytes, unsigned uses);
    void (*expect_list)(struct store *, const char *prefix, bool kept, unsigned uses);
    void (*expect_end)(struct store *);
    /* Optional: create, which also tells the time that the server says in its answer; 0: it says none, or the answer was lost. */
    int (*create_timed)(struct store *, const char *key, struct bytes content, int64_t *ret_created_ns, struct error *);
    /* Optional, both or neither: see store_read_tagged and store_replace_if. */
    int (*read_tagged)(struct store *, const char *key, void *p, size_t len, size_t *ret_n, char tag[STORE_TAG_BYTES], struct error *);
    int (*replace_if)(struct store *, const char *key, struct bytes content, char tag[STORE_TAG_BYTES], bool *ret_done, struct error *);
    /* Optional: see store_tidy. */
    void (*tidy)(struct store *);
    /* Optional, for places behind a server. */
    void (*requests)(struct store *, struct store_requests *ret);
    const struct store_version_ops *versions; /* NULL: the place keeps neither versions nor retention */
    const struct store_archive_ops *archive;  /* NULL: everything is readable at once */
};
struct store {
    const struct store_ops *ops;
    struct store_locks locks;
    const char *cold; /* see store_set_cold; NULL: nothing is */
    atomic_ullong hidden, covered; /* keys that were seen through: see store_sights */
    char first_seen[128];          /* written before either of them leaves zero */
};

int store_stage(struct store *s, const char *key, const struct bytes *parts, size_t n, struct error *err) PK_CHECK;
/* The same of bytes that are given away, from seam_alloc or its like, by somebody who knows their SHA-256. */
int store_stage_own(struct store *s, const char *key, uint8_t *mem, size_t len, const uint8_t sha256[32],
                    struct error *err) PK_CHECK;
int store_commit(struct store *s, struct error *err) PK_CHECK;
int store_create(struct store *s, const char *key, struct bytes content, struct error *err) PK_CHECK;
/* Also tells when, by the place's clock; 0: that is not known. */
int store_create_timed(struct store *s, const char *key, struct bytes content, int64_t *ret_created_ns, struct error *err) PK_CHECK;
int store_replace(struct store *s, const char *key, struct bytes content, struct error *err) PK_CHECK;
int store_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, struct error *err) PK_CHECK;
/* Whether the two below are more than store_read and store_replace: else they tell no tag, and do nothing. */
bool store_has_tags(const struct store *s);
/* As store_read from 0 on, of an object that is replaced. `tag` is the place's word for just this content; "" when the place
 * says none. With ERR_OBJECT_MISSING it is "", too. */
int store_read_tagged(struct store *s, const char *key, void *p, size_t len, size_t *ret_n, char tag[STORE_TAG_BYTES],
                      struct error *err) PK_CHECK;
/* As store_replace, if what is there is still what was read with that tag; with "", if nothing is there. `tag` is the new
 * content's then. *ret_done is false, and nothing was changed, when it is not so, or the place does not do that. */
int store_replace_if(struct store *s, const char *key, struct bytes content, char tag[STORE_TAG_BYTES], bool *ret_done,
                     struct error *err) PK_CHECK;
/* Each as store_read; only drivers that read many at once tell when objects were created. */
void store_get_many(struct store *s, struct store_get *gets, size_t n);
/* Help only: an object of less than `bytes` that is read next, from its beginning, or a list of store_list or (`kept`)
 * store_list_kept. Where requests take long it is asked for at once, and `uses` reads of it are given that answer, an
 * error, too. What is expected wrongly costs a request. From store_expect_end on whatever is still expected is asked
 * for anew: before that comes nothing that wants to know what the place has by then. */
void store_expect(struct store *s, const char *key, size_t bytes, unsigned uses);
void store_expect_list(struct store *s, const char *prefix, bool kept, unsigned uses);
void store_expect_end(struct store *s);
/* Whether reads cost a request each, and several at once no more time than one. */
bool store_reads_many(const struct store *s);
/* The whole object appended to ret. ERR_OBJECT_CORRUPT when it has more than max bytes, as then it is not what was stored. */
int store_read_all(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err) PK_CHECK;
/* Either result may be NULL. */
int store_stat(struct store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *err) PK_CHECK;
int store_list(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) PK_CHECK;
int store_remove(struct store *s, const char *key, struct error *err) PK_CHECK;
/* In any order. After a failure some are removed and some are not. */
int store_remove_many(struct store *s, const char *const *keys, size_t n, struct error *err) PK_CHECK;
/* Gives up what crashed runs began to store more than a day ago and never ended. What cannot be found or removed stays. */
void store_tidy(struct store *s);
bool store_requests(struct store *s, struct store_requests *ret); /* false: there is no server to ask */
void store_requests_add(struct store_requests *sum, const struct store_requests *more);
int store_free_space(struct store *s, uint64_t *ret_bytes, struct error *err) PK_CHECK;
void store_close(struct store *s); /* NULL is fine */
unsigned store_promises(const struct store *s);
/* A key that every driver takes. */
bool store_key_valid(const char *key);

/* Finds out what the place does by doing it, with small objects under probe/<random>/ that are removed again where that is
 * allowed. Fails only when nothing can be stored there at all; what else cannot be found out is STORE_FACT_UNKNOWN. */
int store_probe(struct store *s, struct store_facts *ret, struct error *err) PK_CHECK;

/* A local folder ("file:///abs/path" or a plain path). `create` makes the folder (mode 0700) when it is missing;
 * without it that is ERR_REPO_NONE. What killed runs left unfinished more than a day ago is removed before a handle's
 * first write, and by store_tidy. A handle that failed to make data durable latches: it still reads, and every write is
 * ERR_REPO_LATCHED. */
int store_local_open(const char *path, bool create, struct store **ret, struct error *err) PK_CHECK;
/* s3://BUCKET[/PREFIX][?NAME=VALUE&…], values percent-escaped:
 *   endpoint=https://HOST[:PORT]  another than AWS's own; http:// only where nobody listens in
 *   region=NAME                   else AWS_REGION, the profile's, us-east-1
 *   style=path|virtual            where the bucket stands; path with an endpoint, else virtual
 *   ca_file=/PATH                 PEM certificates instead of the system's
 *   profile=NAME, credentials_file=/PATH   see store/s3/credentials.h
 *   sse=AES256|aws:kms, kms_key=ID, storage_class=NAME   sent with every object; no archive class
 *   data_storage_class=NAME   of cold objects (store/archive.h) instead; it may be GLACIER or DEEP_ARCHIVE
 *   payload_digests=signed|unsigned   unsigned: for servers that refuse them
 *   bandwidth=SIZE                bytes a second, each way
 *   timeout=DURATION              after which a request in which nothing moves is given up; 30s
 *   connections=N                 objects stored at once; 8
 * Nothing is asked of the server yet, so a bucket that is missing shows at the first call (ERR_S3_BUCKET); buckets are not
 * made. What crashed runs left unfinished is aborted a day later, by store_tidy. `create` changes nothing. */
struct store_access;
int store_s3_open(const char *url, bool create, const struct store_access *a, struct store **ret, struct error *err) PK_CHECK;
/* Only the form of a URL: ERR_USAGE for what store_open would not take. */
int store_url_check(const char *url, struct error *err) PK_CHECK;
/* By URL; ERR_USAGE for a scheme that this version does not know. */
int store_open(const char *url, bool create, struct store **ret, struct error *err) PK_CHECK;

/* Credentials from elsewhere than store/s3/credentials.h says; then nothing else is looked at, but for an address that names
 * a credentials_file. */
struct secret;
struct store_access {
    /* As text like that of ~/.aws/credentials, or the JSON that AWS wants of a credential process, whose Expiration is
     * heeded. Asked for when needed and again before they expire, by any thread, one at a time. The caller owns *ret. */
    int (*credentials)(void *ctx, struct secret **ret, struct error *err);
    void (*free)(void *ctx); /* called once: when the store is closed, or could not be opened. May be NULL */
    void *ctx;
};
/* `a` is copied; NULL is store_open. Folders want no credentials. */
int store_open_with(const char *url, bool create, const struct store_access *a, struct store **ret, struct error *err) PK_CHECK;

#endif
