/* The S3 driver's insides.
 *
 * Invariants
 *  1. What is created, staged ones too, goes out with "If-None-Match: *"; only `replace` goes without. A server that
 * does not obey it is found by store_probe, not here.
 *  2. A create that finds its name taken is a loss only when the object is not the one that an earlier try of the same
 *     call stored: every create carries a random mark (x-amz-meta-pk-create) by which it knows its own.
 *  3. Names of objects are [A-Za-z0-9._/-] only, prefix included, so nothing in a path wants escaping.
 *  4. Staged bytes are held in memory until they are stored, at most STAGE_BYTES_MAX of them (what is given away may
 * stand in a larger block, untouched); larger objects are stored from the caller's memory before stage returns. What
 * failed stays held until a commit has said so.
 *  5. Nothing secret stands in a message: they quote the server's code and words, never headers of ours.
 *  6. Where versions are kept, a read of a key goes to its newest version, unless the key is pinned: then to the
 * oldest. Nothing ever unpins what is hidden or covered but store_restore_version, or a table of pins that is full.
 */
#ifndef PK_STORE_S3_S3_INTERNAL_H
#define PK_STORE_S3_S3_INTERNAL_H

#include "base/http.h"
#include "base/thread.h"
#include "crypto/crypto.h"
#include "store/s3/credentials.h"
#include "store/store.h"
#include <pthread.h>
#include <stdio.h>

#define S3_KEY_BYTES_MAX 1024 /* prefix and key */
#define S3_PREFIX_BYTES_MAX 500
#define S3_TEXT_BYTES_MAX ((size_t)4 << 20) /* an answer in XML */
#define STAGE_BYTES_MAX ((size_t)64 << 20)
#define MULTIPART_BYTES_MIN ((size_t)32 << 20) /* larger objects go in parts */
#define PART_BYTES ((size_t)16 << 20)
#define PARTS_MAX 10000
#define STALE_UPLOAD_NS (INT64_C(24) * 3600 * 1000000000)

/* Addresses (place.c): s3://BUCKET[/PREFIX][?name=value&…] */
struct s3_place {
    char bucket[64];
    char prefix[S3_PREFIX_BYTES_MAX + 2]; /* "" or ends in '/' */
    char endpoint[256];                   /* "https://host[:port]"; "" until the region is known: AWS's own */
    char region[64];                      /* "" until known */
    bool path_style, style_given;
    bool digests; /* payloads are signed and sent with their SHA-256 */
    char ca_file[1024], credentials_file[1024], profile[128];
    char sse[16], kms_key[512], storage_class[40], data_class[40];
    uint64_t bytes_per_s;
    int64_t timeout_ns;
    unsigned connections;
};
int s3_place_parse(const char *url, struct s3_place *ret, struct error *err) PK_CHECK;

struct stager;
struct pins;
/* Versions. UNSEEN: a list of them had none but such as buckets have that keep none; UNLISTED: lists of them are
 * denied. Nobody was asked for these. */
enum { S3_KEEPS_UNASKED, S3_KEEPS_UNSEEN, S3_KEEPS_UNLISTED, S3_KEEPS_NOT, S3_KEEPS };
struct s3_store {
    struct store base;
    struct s3_place place;
    char name[600];                /* "s3://bucket/prefix", for messages */
    char host[320], url_base[340]; /* of every request: "https://host" */
    char path_base[80];            /* "" or "/bucket" */
    struct http *http;
    struct credential_chain *chain;
    struct store_access access;
    atomic_bool no_checksum; /* this server refuses x-amz-checksum-sha256 */
    atomic_bool no_batch;    /* it removes objects one by one only */
    atomic_bool no_head;     /* these credentials may read the locks of objects, but not the objects */
    atomic_uint_fast64_t asked[STORE_VERBS], bytes_sent, bytes_received;
    atomic_bool closing;
    atomic_bool bucket_seen; /* something was found there, so what is missing is an object */
    pthread_mutex_t lock;    /* stager and readers are made when first needed */
    struct stager *stager;
    struct pool *readers;     /* made when several objects are first asked for at once */
    struct s3_soon *soon; /* what was asked for before anybody read it; soon_lock guards it, and soon_over ends it */
    pthread_mutex_t soon_lock;
    pthread_cond_t soon_came;
    atomic_bool soon_over;
    atomic_bool any_soon;     /* else nobody looks */
    atomic_int keeps;         /* whether the bucket keeps versions */
    atomic_bool any_pins;     /* else pins need not be looked at */
    pthread_mutex_t pin_lock; /* pins */
    struct pins *pins;
};

/* Requests (request.c). One call, as many tries as it takes. Zeroed but for what is said. */
struct s3_header {
    const char *name, *value; /* names in lower case */
};
#define S3_HEADERS_MAX 16
struct s3_call {
    const char *what;         /* "store the object x": messages read "cannot <what> …" */
    const char *action;       /* "s3:PutObject" */
    const char *method, *key; /* key NULL: the bucket */
    const char *query;        /* escaped, its names in order: "a=b&c=d"; NULL: none */
    struct s3_header headers[S3_HEADERS_MAX];
    size_t header_count;
    const struct bytes *body;
    size_t body_count;
    const struct digest *known; /* the body's digest, when somebody has made it; else NULL */
    bool digest; /* send the body's digest as a checksum that the server checks and keeps */
    bool md5;    /* the server wants a checksum in any case: send Content-MD5 where none other goes */
    void *into;
    size_t into_bytes;
    struct buf *text;   /* of a 2xx answer; NULL drops it */
    int expected[4];    /* statuses other than 2xx that are no failure */
    unsigned tries_max; /* 0: the usual */
    const atomic_bool *cancel;
    /* results */
    struct http_response answer;
    char code[64]; /* of an expected failure's XML */
    bool unsure;   /* an earlier try may have been carried out */
    struct digest body_digest;
};
int s3_call(struct s3_store *s, struct s3_call *c, struct error *err) PK_CHECK;
void s3_call_free(struct s3_call *c);
void s3_header_add(struct s3_call *c, const char *name, const char *value); /* "" and NULL add nothing */
/* What every new object is sent with: encryption, storage class (of c->key). */
void s3_write_headers(struct s3_store *s, struct s3_call *c);

/* Failures (answer.c): the server's status and body as our error. */
struct s3_fault {
    char code[64], message[256], region[64];
    bool wants_tls; /* it is a web server's, on a port where TLS is spoken */
};
void s3_fault_parse(struct bytes body, struct s3_fault *ret);
bool s3_fault_passes(int status, const struct s3_fault *f); /* worth another try */
int s3_fault_error(struct s3_store *s, const struct s3_call *c, const struct s3_fault *f, struct error *err);

/* XML (xml.c): the callback sees every element at its end, by the names above it ("ListBucketResult/Contents/Key",
 * namespaces' prefixes dropped), with its text, entities replaced, or {NULL,0} when it has elements in it. The text is
 * borrowed for the call. ERR_NET_ANSWER for what is no XML of the sort that servers send: at most 16 deep, no DTD, no
 * CDATA. */
typedef int (*xml_cb)(void *ctx, const char *path, struct bytes text, struct error *err);
int xml_walk(struct bytes in, xml_cb cb, void *ctx, struct error *err) PK_CHECK;

/* Objects (object.c). How put ends where the name is taken. AGAIN is SAME_IS_FINE after a call that failed, and yet may
 * have been carried out. */
enum s3_put_mode { S3_PUT_CREATE, S3_PUT_SAME_IS_FINE, S3_PUT_AGAIN, S3_PUT_REPLACE };
int s3_put(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, enum s3_put_mode mode,
           const atomic_bool *cancel, struct error *err) PK_CHECK;
/* As s3_put; ret_date_ns (NULL: unwanted) is what the server's clock showed when it had stored the object, 0 when that
 * is not known. */
int s3_put_dated(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, enum s3_put_mode mode,
                 const struct digest *known, const atomic_bool *cancel, int64_t *ret_date_ns,
                 struct error *err) PK_CHECK;
/* Whether the object under key holds just these bytes. */
int s3_same(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, bool *ret_same,
            struct error *err) PK_CHECK;
/* After a name was found taken: an object that may not be read, and that an earlier try of the same call may have
 * stored
 * (`unsure`), is the same when it is as long; so is one that lies in an archive by now. */
int s3_same_or_sent(struct s3_store *s, const char *key, const struct bytes *parts, size_t n, bool unsure,
                    bool *ret_same, struct error *err) PK_CHECK;
int s3_exists_error(struct s3_store *s, const char *key, struct error *err);

/* What is denied (denied.c). Servers deny to look at what is not there to whoever may list names below a prefix only,
 * and look like that at what is there but may not be read. The list tells which it is: `err`, which says ERR_S3_DENIED,
 * becomes ERR_OBJECT_MISSING where the name is not listed; size and time are those listed. */
int s3_denied_stat(struct s3_store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns,
                   struct error *err) PK_CHECK;
int s3_denied_read(struct s3_store *s, const char *key, struct error *err) PK_CHECK;

/* Large objects (multipart.c), as S3_PUT_SAME_IS_FINE, in parallel over the stager's threads. */
int s3_put_parts(struct s3_store *s, struct pool *pool, const char *key, const struct bytes *parts, size_t n,
                 const atomic_bool *cancel, struct error *err) PK_CHECK;
/* Uploads below the prefix that were begun more than a day ago and never ended. What cannot be asked or aborted is
 * left. */
void s3_abort_stale(struct store *);

/* Versions (version.c) */
void s3_pins_free(struct pins *p);
/* The version that this handle reads of a key; false: the newest. */
bool s3_pinned(struct s3_store *s, const char *key, char id[STORE_VERSION_BYTES]);
void s3_unpin(struct s3_store *s, const char *key);
/* Appends "versionId=…" to what stands before it in the query ("" or "a=b"), and ends it. */
int s3_version_query(struct buf *q, const char *before, const char *id, struct error *err) PK_CHECK;
/* s3_call for the version that this handle reads of c->key; where the newest is a delete marker, for the oldest. */
int s3_call_past(struct s3_store *s, struct s3_call *c, struct error *err) PK_CHECK;

/* Retention (lock.c): what a new object of that key is locked with. `until` is borrowed by the call. */
void s3_lock_headers(struct s3_store *s, const char *key, struct s3_call *c, char until[32]);

/* Of the newest version, which may be a marker: then ERR_OBJECT_MISSING. */
int s3_stat_top(struct s3_store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns,
                struct error *err) PK_CHECK;

/* Staging (stage.c) */
void s3_stager_free(struct stager *g);

/* As s3_read, with the object's time (0 when the server does not say it). */
int s3_get(struct s3_store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, int64_t *ret_created_ns,
           struct error *err) PK_CHECK;

/* Each by a request of its own, several at a time (many.c). */
int s3_remove_each(struct s3_store *s, const char *const *keys, size_t n, struct error *err) PK_CHECK;

/* The driver's functions. */
int s3_stage(struct store *, const char *key, const struct bytes *parts, size_t n, struct error *) PK_CHECK;
int s3_stage_own(struct store *st, const char *key, uint8_t *mem, size_t len, const uint8_t sha256[32],
                 struct error *err) PK_CHECK;
int s3_commit(struct store *, struct error *) PK_CHECK;
int s3_create(struct store *, const char *key, struct bytes content, struct error *) PK_CHECK;
int s3_create_timed(struct store *, const char *key, struct bytes content, int64_t *ret_created_ns,
                    struct error *) PK_CHECK;
int s3_replace(struct store *, const char *key, struct bytes content, struct error *) PK_CHECK;
int s3_read(struct store *, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, struct error *) PK_CHECK;
int s3_stat(struct store *, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *) PK_CHECK;
int s3_list(struct store *, const char *prefix, store_list_cb cb, void *ctx, struct error *) PK_CHECK;
int s3_remove(struct store *, const char *key, struct error *) PK_CHECK;
void s3_get_many(struct store *, struct store_get *gets, size_t n);
struct pool *s3_readers(struct s3_store *s); /* NULL when there can be none */

/* What is read soon (soon.c): asked for at once by the readers. The two that answer whether it was expected wait for
 * it; then its result is theirs. */
void s3_expect(struct store *, const char *key, size_t bytes, unsigned uses);
void s3_expect_list(struct store *, const char *prefix, bool kept, unsigned uses);
void s3_expect_end(struct store *);
bool s3_soon_read(struct s3_store *s, const char *key, void *p, size_t len, size_t *ret_n, int64_t *ret_created_ns,
                  char *ret_tag, int *ret_rc, struct error *err);
bool s3_soon_page(struct s3_store *s, const char *query, struct buf *text, int *ret_rc, struct error *err);
/* read_tagged with the object's time; nothing that was expected. */
int s3_read_whole(struct s3_store *s, const char *key, void *p, size_t len, size_t *ret_n, int64_t *ret_created_ns,
                  char tag[STORE_TAG_BYTES], struct error *err) PK_CHECK;
/* The query of the first page of a list. */
int s3_list_query(struct s3_store *s, const char *prefix, struct buf *ret, struct error *err) PK_CHECK;
int s3_versions_query(struct s3_store *s, const char *prefix, struct buf *ret, struct error *err) PK_CHECK;
int s3_remove_many(struct store *, const char *const *keys, size_t n, struct error *) PK_CHECK;
int s3_probe(struct store *, const char *folder, struct store_facts *facts, struct error *) PK_CHECK;
int s3_list_versions(struct store *, const char *prefix, store_version_cb cb, void *ctx, struct error *) PK_CHECK;
int s3_list_kept(struct store *, const char *prefix, store_list_cb cb, void *ctx, struct error *) PK_CHECK;
int s3_read_version(struct store *, const char *key, const char *id, uint64_t at, void *p, size_t len, size_t *ret_n,
                    struct error *) PK_CHECK;
int s3_restore_version(struct store *, const char *key, const char *id, struct error *) PK_CHECK;
bool s3_pin_first(struct store *, const char *key);
int s3_retention(struct store *, const char *key, struct store_retention *ret, struct error *) PK_CHECK;
int s3_retain(struct store *, const char *key, const struct store_retention *want, struct error *) PK_CHECK;
int s3_may_shorten(struct store *, const char *key, bool *ret, struct error *) PK_CHECK;
int s3_reclaim(struct store *, const char *key, int64_t *ret_until_ns, struct error *) PK_CHECK;
int s3_bucket(struct store *, struct store_bucket *ret, struct error *) PK_CHECK;
int s3_kept(struct store *, bool *ret, struct error *) PK_CHECK;
bool s3_unkept_by_lists(struct store *);
void s3_version_seen(struct s3_store *s, const struct http_response *stored); /* the answer to what was stored */
int s3_read_tagged(struct store *, const char *key, void *p, size_t len, size_t *ret_n, char tag[STORE_TAG_BYTES],
                   struct error *) PK_CHECK;
int s3_replace_if(struct store *, const char *key, struct bytes content, char tag[STORE_TAG_BYTES], bool *ret_done,
                  struct error *) PK_CHECK;

/* Archive classes (archive.c) */
enum store_depth s3_class_depth(const char *name);
int s3_look_cold(struct store *, const char *key, struct store_coldness *, struct error *) PK_CHECK;
int s3_thaw(struct store *, const char *key, const struct store_coldness *, enum store_tier, unsigned days,
            struct error *) PK_CHECK;
enum store_depth s3_writes_cold(struct store *);

#endif
