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
#include <stdbool.h>
#include <stdint.h>

enum store_promise {
    STORE_ATOMIC_CREATE = 1 << 0,   /* of two creators of one key exactly one succeeds */
    STORE_READ_AFTER_WRITE = 1 << 1,
    STORE_LIST_AFTER_WRITE = 1 << 2,
    STORE_CHEAP_READ = 1 << 3,      /* random reads cost little: delta bases may be read back */
};

struct store_object {
    const char *key;       /* borrowed for the call */
    uint64_t bytes;
    int64_t created_ns;    /* by the server's clock */
};
typedef int (*store_list_cb)(void *ctx, const struct store_object *o, struct error *err); /* non-zero stops */

struct store;
struct store_ops {
    const char *name;
    unsigned promises;
    /* Create `key` with the concatenation of parts. Not yet durable and not yet visible to others when it returns: it is
     * *staged*, and store_commit makes every object staged through this handle durable and visible, in the order staged.
     * The bytes need not stay after it returns. Large parts aligned to 4096 are written past the page cache. */
    int (*stage)(struct store *, const char *key, const struct bytes *parts, size_t part_count, struct error *);
    /* ERR_OBJECT_EXISTS when one of the names was taken by an object with other bytes (those after it stay staged); a name
     * that already holds exactly these bytes is fine. One barrier for all. */
    int (*commit)(struct store *, struct error *);
    /* Create at once, durable when it returns. ERR_OBJECT_EXISTS when the name is taken, whatever its bytes. */
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
};
struct store { const struct store_ops *ops; };

int store_stage(struct store *s, const char *key, const struct bytes *parts, size_t n, struct error *err) PK_CHECK;
int store_commit(struct store *s, struct error *err) PK_CHECK;
int store_create(struct store *s, const char *key, struct bytes content, struct error *err) PK_CHECK;
int store_replace(struct store *s, const char *key, struct bytes content, struct error *err) PK_CHECK;
int store_read(struct store *s, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n, struct error *err) PK_CHECK;
/* The whole object appended to ret. ERR_OBJECT_CORRUPT when it has more than max bytes, as then it is not what was stored. */
int store_read_all(struct store *s, const char *key, size_t max, struct buf *ret, struct error *err) PK_CHECK;
/* Either result may be NULL. */
int store_stat(struct store *s, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *err) PK_CHECK;
int store_list(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) PK_CHECK;
int store_remove(struct store *s, const char *key, struct error *err) PK_CHECK;
int store_free_space(struct store *s, uint64_t *ret_bytes, struct error *err) PK_CHECK;
void store_close(struct store *s); /* NULL is fine */
unsigned store_promises(const struct store *s);
/* A key that every driver takes. */
bool store_key_valid(const char *key);

/* A local folder ("file:///abs/path" or a plain path). `create` makes the folder (mode 0700) when it is missing, and removes
 * unfinished objects that are older than a day; without it a missing folder is ERR_REPO_NONE. A handle that failed to make
 * data durable latches: it still reads, and every write is ERR_REPO_LATCHED. */
int store_local_open(const char *path, bool create, struct store **ret, struct error *err) PK_CHECK;
/* By URL; ERR_USAGE for a scheme that this version does not know. */
int store_open(const char *url, bool create, struct store **ret, struct error *err) PK_CHECK;

#endif
