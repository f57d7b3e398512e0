/* Reading folders ahead of the walk: helper threads list and stat folders in about the order in which the walk will
 * want them, and the walk does itself what it wants and nobody has begun.
 *
 * Memory: the names of a folder are held and sorted at once (about 16 bytes and its name each); what stat says of them
 * only for a few blocks of 1024 around the walk. Ahead of the walk at most AHEAD_ENTRIES entries and AHEAD_FOLDERS open
 * folders are held, whatever the size of the tree.
 *
 * 1. A folder's listing and each block is done by one thread, once; only the walk waits for it.
 * 2. The walk is never kept waiting by the limits: they bind the helpers only.
 */
#ifndef PK_SURFACE_FILES_SCAN_H
#define PK_SURFACE_FILES_SCAN_H

#include "surface/files/attr.h"
#include "surface/files/dirs.h"
#include "surface/files/tree.h"

#define SCAN_BLOCK 1024

struct lite { /* what the walk wants to know of an entry */
    uint32_t mode, uid, gid, rdev_major, rdev_minor;
    bool excluded; /* a pattern leaves it out */
    int failed;    /* errno of stat; the rest is empty then */
    uint64_t ino, dev, size, nlink;
    struct stamp mtime, ctime;
    struct folder *child; /* a folder to descend into; NULL for others and for foreign file systems. Owned */
};
void lite_of_stat(const struct stat *st, struct lite *ret);

enum job_state { JOB_IDLE, JOB_QUEUED, JOB_RUNNING, JOB_DONE };
struct entry {
    uint64_t key; /* first bytes of the name, to sort by */
    uint32_t at, len;
};
struct block {
    enum job_state state;
    struct lite *lite;
};
struct folder {
    struct dir dir; /* first: a folder is freed as a dir */
    struct bytes name;
    const struct tree_root *root;
    bool top;         /* stands above a root, and has that root as its only entry */
    bool toward_only; /* only what leads to a root named beneath it counts here */
    uint64_t fs_dev;  /* for one_file_system */
    enum job_state state;
    int failed; /* errno: could not be opened, or not read to its end; what was read is there */
    struct entry *entries;
    size_t n, entries_cap;
    char *names;
    size_t names_len, names_cap;
    struct block *blocks;
    size_t n_blocks;
};

struct scan;
/* t is borrowed until scan_free. Starts `threads` helpers. */
int scan_new(const struct tree *t, unsigned threads, struct scan **ret, struct error *err) PK_CHECK;
/* End the helpers. Needed before folders are given back in the middle of a walk; nothing more may be asked for then. */
void scan_stop(struct scan *s);
void scan_free(struct scan *s); /* stops; NULL is fine. Every folder that the walk has must have been given back */
struct dirs *scan_dirs(struct scan *s);

/* The folder above a root, to begin the walk with; for the root "/" it is that root itself. ERR_SOURCE_MISSING when the
 * root is not there. Give it back with scan_leave. */
int scan_top(struct scan *s, const struct tree_root *root, struct folder **ret, struct error *err) PK_CHECK;
/* See that a folder is listed: f->n entries, in order. */
int scan_list(struct scan *s, struct folder *f, struct error *err) PK_CHECK;
/* See that entry i of a listed folder is known: *ret is borrowed until scan_leave, or until an entry 2 * SCAN_BLOCK
 * further on is asked for. Its child may be taken out (then the caller owns it, and gives it back with scan_leave). */
int scan_entry(struct scan *s, struct folder *f, size_t i, struct lite **ret, struct error *err) PK_CHECK;
/* The item name of entry i, NUL-terminated after its length. */
int scan_name(const struct folder *f, size_t i, struct buf *ret, struct error *err) PK_CHECK;
/* The walk comes back to a folder from one below it. */
void scan_back(struct scan *s, struct folder *f);
/* The walk is done with a listed folder and all below it. Readers may still use its descriptor by dir_ref. */
void scan_leave(struct scan *s, struct folder *f);

#endif
