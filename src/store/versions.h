/* What only some places keep: versions of objects, and retention of them (object lock). A driver without the table
 * knows no such thing: what asks for it is ERR_STORE_NO_VERSIONS, what can do without it does.
 *
 * Objects are created once, so of several real versions of a key the OLDEST is the true one; whatever lies above it, a
 * delete marker or other bytes, somebody put there later. Only `checkpoint` and its like are replaced by ourselves.
 *
 * Seeing through. Where versions are kept, store_read and store_stat of a key that a delete marker hides go on to that
 * oldest version, and the key stays pinned to it for the life of the handle. What was overwritten is not seen by the
 * store: who finds bytes that are not what they should be calls store_pin_first_version and reads again. Both are
 * counted. Whether versions are kept is asked for once a handle, at the first object that is missing; else nothing is
 * asked more.
 */
#ifndef PK_STORE_VERSIONS_H
#define PK_STORE_VERSIONS_H

#include "base/bytes.h"
#include "base/error.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct store;
struct store_object;

#define STORE_VERSION_BYTES 256 /* of a version's id, with the NUL */
struct store_version {
    const char *key, *id; /* borrowed for the call */
    const char *tag;      /* the server's word for the content, "" for none: of the same size and tag, the same bytes */
    uint64_t bytes;
    int64_t created_ns; /* by the server's clock */
    bool marker;        /* a delete marker: the key was "deleted" here */
    bool latest;
};
typedef int (*store_version_cb)(void *ctx, const struct store_version *v, struct error *err); /* non-zero stops */

/* Governance can be lifted by whoever has a special permission; compliance by nobody, until it ends. */
enum store_lock { STORE_LOCK_NONE, STORE_LOCK_GOVERNANCE, STORE_LOCK_COMPLIANCE };
struct store_retention {
    enum store_lock mode; /* NONE: no retention, and until_ns means nothing */
    int64_t until_ns;
    bool held; /* a legal hold is on it */
};

/* What new objects are locked with, by the first rule whose prefix their key begins with; others are not. */
#define STORE_LOCK_RULES_MAX 8
struct store_locks {
    enum store_lock mode; /* NONE: nothing is locked */
    struct {
        const char *prefix; /* of static duration */
        int64_t keep_ns;
    } rules[STORE_LOCK_RULES_MAX];
    unsigned count;
};

/* The bucket's settings, as far as they bear on what lies in it. */
enum store_answer {
    STORE_ANSWER_UNKNOWN = 0, /* these credentials may not ask, or the answer was no answer */
    STORE_ANSWER_YES,
    STORE_ANSWER_NO,
    STORE_ANSWER_NONE, /* the place knows no such thing */
};
struct store_bucket {
    enum store_answer versioned;  /* NO: also where it was switched off again */
    enum store_answer lockable;   /* object lock is on */
    enum store_lock default_mode; /* what is stored without a word is locked with; NONE: not */
    int64_t default_ns;
    enum store_answer expires;                 /* a lifecycle rule removes current objects of ours */
    enum store_answer expires_noncurrent;      /* …or versions below the newest */
    int64_t expires_ns, expires_noncurrent_ns; /* the soonest of them; 0: not known, or by date */
    enum store_answer aborts;                  /* a lifecycle rule aborts unfinished uploads */
    enum store_answer archives;                /* …moves what must be readable at once to an archive class */
    enum store_answer encrypted;               /* by default, at rest */
    char sse_wanted[16];                       /* encryption at rest that this handle asks for; "" for none */
    enum store_answer sse_seen; /* how `checkpoint`, which every job stores anew, has it; NONE: it is not there */
    char sse_found[16];         /* "" for none; only when something is wanted, and seen */
    enum store_answer open_to_all;             /* by policy or by grant */
    enum store_answer may_erase;               /* these credentials can remove an object, or a version of it for good */
    char why[256];                             /* of what is unknown, the first reason; else "" */
};

/* What was seen through by this handle: keys, each counted once. */
struct store_sights {
    uint64_t hidden;  /* by a delete marker */
    uint64_t covered; /* by other bytes */
    char first[128];  /* one of them; "" when there is none */
};

struct store_version_ops {
    int (*list)(struct store *, const char *prefix, store_version_cb, void *, struct error *);
    int (*list_kept)(struct store *, const char *prefix, int (*cb)(void *, const struct store_object *, struct error *),
                     void *, struct error *);
    int (*read)(struct store *, const char *key, const char *id, uint64_t at, void *, size_t, size_t *, struct error *);
    int (*restore)(struct store *, const char *key, const char *id, struct error *);
    bool (*pin_first)(struct store *, const char *key);
    int (*retention)(struct store *, const char *key, struct store_retention *, struct error *);
    int (*retain)(struct store *, const char *key, const struct store_retention *, struct error *);
    int (*may_shorten)(struct store *, const char *key, bool *, struct error *);
    int (*reclaim)(struct store *, const char *key, int64_t *, struct error *);
    int (*bucket)(struct store *, struct store_bucket *, struct error *);
    int (*kept)(struct store *, bool *, struct error *);
    bool (*unkept_by_lists)(struct store *);
};

/* Before anything is stored through the handle. Where nothing can be locked it changes nothing. */
void store_set_locks(struct store *s, const struct store_locks *l);
/* How long an object of that key is locked from now on; 0: it is not. */
int64_t store_lock_ns(const struct store *s, const char *key);

/* Whether the place keeps versions; false too where it knows no such thing. */
int store_keeps_versions(struct store *s, bool *ret, struct error *err) PK_CHECK;
/* Whether lists have shown already that none are kept, of what they listed: for who asks only to do the same at less cost, as
 * nobody is asked for this. */
bool store_lists_no_versions(struct store *s);
/* Every version of every key that starts with prefix (as of store_list), in the order of keys; of one key all after
 * each other, newest first. */
int store_list_versions(struct store *s, const char *prefix, store_version_cb cb, void *ctx,
                        struct error *err) PK_CHECK;
/* As store_list, but keys that a delete marker hides are seen too, with size and time of their oldest version. As many
 * requests as store_list, and one that asks whether versions are kept, once, where there is any. What
 * is hidden or covered is pinned to its oldest version as it is listed, and counted unless its newest has the same
 * bytes. */
int store_list_kept(struct store *s, const char *prefix,
                    int (*cb)(void *ctx, const struct store_object *o, struct error *err), void *ctx,
                    struct error *err) PK_CHECK;
/* As store_read. ERR_OBJECT_MISSING when there is no such version. */
int store_read_version(struct store *s, const char *key, const char *id, uint64_t at, void *p, size_t len,
                       size_t *ret_n, struct error *err) PK_CHECK;
/* Make this version the newest again, by a copy of it on top with the retention of a new object. Removes nothing. */
int store_restore_version(struct store *s, const char *key, const char *id, struct error *err) PK_CHECK;
/* From now on this handle reads the oldest version of the key. True: read again, once, as another thread may have
 * pinned it before. False: that makes no difference, since it is the newest, no versions are kept, or nobody could say.
 */
bool store_pin_first_version(struct store *s, const char *key);

/* Of the newest version, or of the one that is pinned. ERR_OBJECT_MISSING. */
int store_retention(struct store *s, const char *key, struct store_retention *ret, struct error *err) PK_CHECK;
/* Lock it until then (`held` is not looked at). A lock that is there can only be made longer, else ERR_S3_LOCKED;
 * governance becomes compliance only by who may bypass it, else ERR_S3_LOCKED or ERR_S3_DENIED. */
int store_retain(struct store *s, const char *key, const struct store_retention *want, struct error *err) PK_CHECK;
/* Whether these credentials can bring the end of a lock in governance nearer, found out by two seconds that are put
 * back. False too where the object has no such lock, or one of less than 20 s. */
int store_may_shorten(struct store *s, const char *key, bool *ret, struct error *err) PK_CHECK;
/* Remove so that its space is free. An object whose retention has ended is erased; one that never was locked is removed
 * as store_remove does, so that where versions are kept it stays as one for as long as the bucket's owner wants.
 * *ret_until_ns is 0 then; else it is locked until that time (INT64_MAX: by a legal hold, nobody says how long, or its
 * lock has ended and these credentials may not erase it) and stays as it is. ERR_S3_DENIED where they may not even ask:
 * it stays too. */
int store_reclaim(struct store *s, const char *key, int64_t *ret_until_ns, struct error *err) PK_CHECK;

/* ERR_STORE_NO_VERSIONS of a folder. Changes nothing. */
int store_bucket(struct store *s, struct store_bucket *ret, struct error *err) PK_CHECK;
void store_sights(struct store *s, struct store_sights *ret);
const char *store_lock_name(enum store_lock l); /* "none", "governance", "compliance" */

#endif
