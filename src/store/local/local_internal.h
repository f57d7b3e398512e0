/* The local driver's insides.
 *
 * Invariants
 *  1. A name outside tmp/ is given once, by renameat2(RENAME_NOREPLACE) or linkat, to a file that was fsynced before.
 *     Only `replace` overwrites, and only with a file that was fsynced before.
 *  2. A call that promises durability returns 0 only after the folder of every name it gave was fsynced, and every
 * folder above that this handle had not yet seen durable.
 *  3. A staged file keeps its descriptor until it was fsynced, so that no write error can be lost between the two.
 *  4. Once an fsync has failed or could not be asked for, nothing more is written through this handle: what the page
 * cache still says is not to be believed.
 *  5. Nothing under tmp/ is ever listed or read.
 */
#ifndef PK_STORE_LOCAL_LOCAL_INTERNAL_H
#define PK_STORE_LOCAL_LOCAL_INTERNAL_H

#include "store/store.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define TMP_NAME_BYTES 37 /* "tmp/", 32 digits, NUL */

/* A sorted set of strings that it owns. */
struct names {
    char **at;
    size_t len, cap;
};
int names_add(struct names *n, const char *s, size_t s_len, struct error *err) PK_CHECK; /* there already is fine */
bool names_has(const struct names *n, const char *s, size_t s_len);
void names_free(struct names *n); /* leaves it empty */

struct staged {
    char *key;
    char tmp[TMP_NAME_BYTES];
    int fd; /* -1 once fsynced */
};

struct local_store {
    struct store base;
    char *path;
    int root;
    atomic_bool tmp_made;
    atomic_bool direct_refused; /* this file system does not take O_DIRECT */
    atomic_bool latched;
    pthread_mutex_t lock; /* the fields below */
    struct staged *staged;
    size_t staged_len, staged_cap, staged_open;
    struct names durable;       /* folders whose own entry is durable, "" the root among them */
    char why[256];              /* what latched it */
    pthread_mutex_t committing; /* held through a commit; taken before lock */
};

/* Files (file.c). A temporary file holding the parts, open for fsync; removed again on failure. */
int local_write_tmp(struct local_store *s, const struct bytes *parts, size_t n, mode_t mode, char tmp[TMP_NAME_BYTES],
                    int *ret_fd, struct error *err) PK_CHECK;
void local_drop_tmp(struct local_store *s, const char *tmp);
/* Removes what a killed run left under tmp/ more than a day ago; local_write_tmp does before the first of a handle's.
 */
void local_tidy(struct store *);
/* Refuse writes from now on, for the cause in errno; fills err. */
int local_latch(struct local_store *s, const char *what, struct error *err);
/* io_whose of an object, or of a folder of the store. */
int local_whose(const struct local_store *s, const char *key, const char *deed, struct error *err) PK_CHECK;
/* fsync that latches; `what` is for the message. */
int local_sync(struct local_store *s, int fd, const char *what, struct error *err) PK_CHECK;
int local_check_latch(struct local_store *s, struct error *err) PK_CHECK;

/* Names (place.c). Move tmp to key, making folders; parents that need an fsync are added to `touched`. The result is
 * ERR_OBJECT_EXISTS, with tmp left, when the name is taken. */
int local_place(struct local_store *s, const char *tmp, const char *key, bool replace, struct names *touched,
                struct error *err) PK_CHECK;
/* The folders on key's way that are to be fsynced before it is durable. */
int local_touch(struct local_store *s, const char *key, struct names *touched, struct error *err) PK_CHECK;
int local_sync_folders(struct local_store *s, const struct names *touched, struct error *err) PK_CHECK;

/* The driver's functions. */
int local_stage(struct store *, const char *key, const struct bytes *parts, size_t n, struct error *) PK_CHECK;
int local_commit(struct store *, struct error *) PK_CHECK;
int local_create(struct store *, const char *key, struct bytes content, struct error *) PK_CHECK;
int local_replace(struct store *, const char *key, struct bytes content, struct error *) PK_CHECK;
int local_read(struct store *, const char *key, uint64_t at, void *p, size_t len, size_t *ret_n,
               struct error *) PK_CHECK;
int local_stat(struct store *, const char *key, uint64_t *ret_bytes, int64_t *ret_created_ns, struct error *) PK_CHECK;
int local_list(struct store *, const char *prefix, store_list_cb cb, void *ctx, struct error *) PK_CHECK;
int local_remove(struct store *, const char *key, struct error *) PK_CHECK;

#endif
