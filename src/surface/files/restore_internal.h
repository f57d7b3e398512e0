/* A restore of trees: three passes over the snapshot's list, in name order.
 *
 * check   every name and record is looked at, before anything is written
 * make    folders; regular files by worker threads
 * finish  hard links, symbolic links, devices, fifos; then each folder's own attributes as the walk leaves it
 *
 * 1. Nothing is reached but by single components below an open folder, and never through a link (dirs.h), so nothing
 *    is written outside the base.
 * 2. Beside the live tree (staged) the base is a fresh private folder that gets its name at the very end. In place,
 * each file is written under a temporary name in its folder and renamed.
 * 3. Memory: the folders of one path, one queue of files; and the names that replace an unselected first name of a hard
 * link.
 */
#ifndef PK_SURFACE_FILES_RESTORE_INTERNAL_H
#define PK_SURFACE_FILES_RESTORE_INTERNAL_H

#include "base/time.h"
#include "surface/files/attr.h"
#include "surface/files/bounce.h"
#include "surface/files/dirs.h"
#include "surface/files/filter.h"
#include "surface/files/owners.h"
#include "surface/flush.h"
#include "surface/surface.h"

#define WORKERS_MAX 64
#define STAND_INS 4096

struct rdir {
    struct dir dir; /* first */
    /* Of a private folder: what a file created in it has got, owner and group, once `tried`; every file gets the same. */
    atomic_uint_fast64_t born;
    atomic_bool tried;
    char comp[];
};

struct level {       /* a folder on the way to the current item */
    size_t name_len; /* its name is that much of restore.path */
    struct rdir *d;  /* NULL until something in it is wanted */
    bool selected;
    bool used; /* it exists in the target */
    bool item; /* it has a record */
    struct buf attr;
};

struct stand_in { /* a selected hard link whose first name is not: it gets the content */
    struct stand_in *next;
    struct bytes first, name;
};

struct restore {
    const struct surface_context *ctx;
    struct source *src;
    struct filter filter;
    bool in_place, owners_wanted, root;
    struct owners owners;
    struct dirs dirs;
    struct rdir *base;
    char temp_tag[17];
    atomic_uint_fast64_t temp_count;

    enum { PASS_CHECK, PASS_MAKE, PASS_FINISH } pass;
    struct buf path; /* the folder of the last level */
    struct buf last; /* the last item's name */
    struct level *levels;
    size_t n_levels, levels_cap;
    char **made; /* in place: names of folders that were created, in name order */
    size_t n_made, made_cap;
    struct stand_in **stand_ins;

    struct queue *queue;    /* of batches */
    struct rbatch *filling; /* not queued yet */
    pthread_t workers[WORKERS_MAX];
    unsigned n_workers;
    struct flush flush;
    atomic_uint behind; /* files that may still be written by a second thread (bounce.h) */
    uint64_t items_total, bytes_total;
    atomic_uint_fast64_t items, bytes, skipped;
    atomic_int_fast64_t progress_ns;
    atomic_bool failed;
    pthread_mutex_t fail_lock;
    struct error err;
};

/* restore.c */
void restore_fail(struct restore *r, const struct error *err);
void restore_note(struct restore *r, enum note_kind kind, struct bytes name, const char *text);
void restore_progress(struct restore *r);
/* Where an item is written: its own name, or in place a temporary one (out) that restore_settle renames. */
#define TEMP_BYTES 64
const char *restore_temp(struct restore *r, const char *comp, char out[TEMP_BYTES]);
int restore_settle(struct restore *r, int dir, const char *temp, const char *comp, struct bytes name,
                   struct error *err) PK_CHECK;

/* restore_pass.c */
int restore_pass(struct restore *r, int pass, struct error *err) PK_CHECK;
void restore_pass_end(struct restore *r); /* frees what a pass left */
/* The folder that holds `name` below the base, opened; -1 is never returned with 0. The caller closes it. */
int restore_folder_of(struct restore *r, struct bytes name, int *ret, struct error *err) PK_CHECK;
/* Why a folder of the target could not be opened, from errno. */
int restore_open_failed(struct restore *r, struct bytes name, struct error *err) PK_CHECK;

/* restore_queue.c */
int restore_queue(struct restore *r, struct rdir *d, const struct source_head *head, struct error *err) PK_CHECK;
void restore_queue_flush(struct restore *r); /* what restore_queue holds back */
void restore_queue_end(struct restore *r);
void *restore_work(void *arg); /* a worker over the queue; arg is the restore */

/* restore_file.c: one regular file into the folder `dir`, of which more is known by d (may be NULL). */
int restore_file(struct restore *r, int dir, struct rdir *d, const char *comp, struct bytes name,
                 const struct source_head *head, struct bounce *b, struct error *err) PK_CHECK;

/* restore_attr.c: owner, extended attributes, times and mode. */
/* A file or a folder by fd; times go by dir/comp. is: its owner, group and mode now. */
int restore_attr_fd(struct restore *r, int fd, int dir, const char *comp, struct bytes name, const struct attr *a,
                    const struct stat *is, struct error *err) PK_CHECK;
/* Asks the system for `is`. */
int restore_attr_stat(int fd, struct bytes name, struct stat *ret, struct error *err) PK_CHECK;
int restore_attr_at(struct restore *r, int dir, const char *comp, struct bytes name, const struct attr *a,
                    struct error *err) PK_CHECK; /* links, fifos, devices */
/* Take away what a folder's default ACL has put on a new file or folder. */
void restore_acl_clear(int fd, bool folder);

/* restore_special.c */
int restore_special(struct restore *r, int dir, const char *comp, struct bytes name, const struct attr *a,
                    struct error *err) PK_CHECK;
int restore_hardlink(struct restore *r, int dir, const char *comp, struct bytes name, const struct attr *a,
                     struct error *err) PK_CHECK;
/* A selected hard link was checked: note it when its first name is not selected. */
int stand_in_note(struct restore *r, struct bytes name, const struct attr *a, struct error *err) PK_CHECK;
struct stand_in *stand_in_find(struct restore *r, struct bytes first);
/* After the make pass: write the content that the stand-ins need. */
int stand_ins_fill(struct restore *r, struct error *err) PK_CHECK;
void stand_ins_free(struct restore *r);

#endif
