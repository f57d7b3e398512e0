/* The capture of trees: one walking thread in name order, readers for contents, helpers that read folders ahead
 * (scan.h).
 *
 * 1. seq numbers are given by the walk, in name order; each is used once, by keep or open.
 * 2. Readers take tasks in the order of their seq, so the oldest unfinished item is always in somebody's hands and a
 * sink may make later ones wait.
 * 3. A hard link is recorded only after its first name was; when that one is lost, the next name takes its place.
 * 4. After a failure every task is still opened and dropped, so that nobody waits for it in the sink.
 */
#ifndef PK_SURFACE_FILES_CAPTURE_INTERNAL_H
#define PK_SURFACE_FILES_CAPTURE_INTERNAL_H

#include "base/time.h"
#include "surface/files/owners.h"
#include "surface/files/scan.h"
#include "surface/files/tally.h"
#include "surface/surface.h"

#define JOBS_MAX 64

struct task {               /* an item that a reader will finish */
    struct tally_slot slot; /* first; slot.name is the item's name */
    struct capture *c;
    struct folder *f; /* a reference */
    int dir;          /* its descriptor, held while the task waits; -1 with the reason in dir_errno */
    int dir_errno;
    const char *comp;
    uint64_t seq;
    struct lite lite;
    struct link_group *group; /* NULL for a file with one name */
    bool follows;             /* the first name of the group is recorded: record a link */
    struct task *next;        /* in group->waiting */
    struct sink_item *held;   /* begun with the content that the last snapshot has; NULL for a new one */
    uint64_t held_bytes;
    struct digest held_sha256;
};

enum group_state { GROUP_PENDING, GROUP_GOOD, GROUP_LOST };
struct link_group { /* the names of one inode */
    struct link_group *next;
    uint64_t dev, ino, nlink, seen;
    unsigned holds; /* tasks that have it */
    enum group_state state;
    struct bytes first_name;             /* owned */
    struct task *waiting, *waiting_last; /* names that came while the first was being read */
};
#define LINK_BUCKETS 4096

struct capture {
    const struct surface_context *ctx;
    struct sink *sink;
    const struct tree *tree;
    bool full_read;
    int64_t since_ns;
    struct scan *scan;
    struct tally tally;
    struct owners owners;
    struct queue *queue; /* of tasks */
    pthread_t readers[JOBS_MAX];
    unsigned n_readers;
    uint64_t seq;

    pthread_mutex_t links_lock;
    struct link_group **links;

    atomic_uint_fast64_t items_done, bytes_done, kept, unreadable, changed, skipped, vanished;
    atomic_int_fast64_t progress_ns;
    atomic_bool failed;
    pthread_mutex_t fail_lock;
    int rc;
    struct error err;
};

/* capture.c. Runs a whole capture of the trees into the sink; the caller then reads the counters, and frees. */
int capture_run(struct capture *c, const struct surface_context *ctx, const struct tree *t, struct sink *sink,
                bool full_read, struct error *err) PK_CHECK;
void capture_free(struct capture *c);                          /* safe on zeroed */
void capture_fail(struct capture *c, const struct error *err); /* the first failure counts */
void capture_note(struct capture *c, enum note_kind kind, struct bytes name, const char *text);
void capture_progress(struct capture *c); /* cheap; tells the caller now and then */

/* walk.c */
int capture_walk(struct capture *c, struct folder *top, struct error *err) PK_CHECK;
void attr_of_lite(struct capture *c, enum file_type type, const struct lite *l, struct attr *ret);

/* read.c: finish a task, and those that waited for it. */
void task_run(struct task *t);
/* One file being read. */
struct reading {
    struct task *t;
    struct sink_item *item; /* NULL once it is ended */
    int fd;
    struct stat before;
    uint64_t total; /* bytes so far */
    bool holes;
    bool confirmed; /* the content is the one that the item was held with */
    int read_errno; /* the file could not be read; the run goes on */
};
int file_open(struct task *t, int dir); /* -1 with errno */
bool stat_same(const struct stat *a, const struct stat *b);
/* Ends the item with the attributes of r->before. */
int file_close(struct reading *r, bool partial, struct error *err) PK_CHECK;
/* Reads the file into the open item and ends it. */
int file_capture(struct reading *r, bool *ret_lost, struct error *err) PK_CHECK;
void lost_note(struct task *t, int why);
void task_end(struct task *t, bool dropped);

/* reread.c: files that have, perhaps, the content of the last snapshot. Two are hashed at a time, from the queue; a
 * task that is not such a file, and came out of the queue meanwhile, is answered (else NULL). */
struct reread;
struct task *reread_run(struct reread **r, struct capture *c, struct task *first);
void reread_free(struct reread *r); /* NULL is fine */
/* Extended attributes of fd (path NULL) or of fd/path as a run. -1 with errno; a file system without any has none. */
int xattrs_read(int fd, const char *path, struct buf *run, struct error *err) PK_CHECK;

/* links.c */
int links_init(struct capture *c, struct error *err) PK_CHECK;
void links_end(struct capture *c);
/* What is to be done with a name of an inode that has several. */
enum link_role {
    LINK_FIRST,   /* read it: the group's first name */
    LINK_WAITS,   /* the first name is being read */
    LINK_FOLLOWS, /* record it as a link to the first name */
};
/* The walk has met another name of an inode. */
int link_meet(struct capture *c, const struct lite *l, struct bytes name, struct link_group **ret,
              enum link_role *ret_role, struct error *err) PK_CHECK;
/* A task for a name that was to wait: WAITS when it does now (it is the reader's then), else what has become of it. */
int link_join(struct capture *c, struct task *t, enum link_role *ret, struct error *err) PK_CHECK;
/* The first name is recorded. Returns the tasks that waited, chained by next, to be recorded as links. */
struct task *link_good(struct capture *c, struct link_group *g);
/* The first name is lost. Returns the task that takes its place; after a failure of the capture, all that waited. */
struct task *link_lost(struct capture *c, struct link_group *g);
struct bytes link_first(struct link_group *g);              /* of a group that is GOOD */
void link_hold(struct capture *c, struct link_group *g);    /* for a task */
void link_release(struct capture *c, struct link_group *g); /* the task is done with it */
void link_forget(struct capture *c, struct link_group *g);  /* the walk is: frees it once all names were seen */

#endif
