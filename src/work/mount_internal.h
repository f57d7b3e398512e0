/* Shared by src/work/mount*.c only.
 *
 * Inodes are numbers that say where a thing is, so that no table of them is kept, however many the kernel knows:
 *
 *   slot 0                      the root (1), environments and surfaces (2 + 2i), `latest` of a surface (3 + 2i)
 *   slot, DEPTH_POINT, 0        the folder of a point
 *   slot, 0, ordinal            an item of it
 *   slot, depth, ordinal        a folder that is no item: the first `depth` parts of the name of the first item in it
 *
 * Locks, in the order in which they are taken: a file's or a listing's own; repo_lock for reading, by whoever reads the
 * repository, never twice by one thread, and for writing by its sync; then `lock`, for what its comment says.
 */
#ifndef PK_WORK_MOUNT_INTERNAL_H
#define PK_WORK_MOUNT_INTERNAL_H

#include "base/seam.h"
#include "base/thread.h"
#include "work/mount.h"

#define MOUNT_POINTS_OPEN 6                   /* more only while more threads read at once */
#define MOUNT_POINT_CACHE (24u << 20)         /* bytes of decoded frames, each */
#define MOUNT_DECODED_BYTES (72u << 20)       /* all of them together, but for 4 MiB each */
#define MOUNT_NODES_BYTES (16u << 20)         /* of items kept for the next question */
#define MOUNT_AHEAD_BYTES (UINT64_C(8) << 20) /* decoded ahead of who reads in order */
#define MOUNT_TOLD_BYTES (UINT64_C(128) << 20) /* told ahead of them to a store that is far away */
#define MOUNT_LEADERS 1                        /* files at once of which that much is told */

#define ORDINAL_BITS 34
#define DEPTH_BITS 12
#define SLOT_MAX ((1u << 18) - 1)
#define DEPTH_POINT ((1u << DEPTH_BITS) - 1)
#define ID_ROOT 1
static inline uint64_t id_of(uint64_t slot, uint64_t depth, uint64_t ordinal) {
    return slot << (ORDINAL_BITS + DEPTH_BITS) | depth << ORDINAL_BITS | ordinal;
}
static inline uint32_t id_slot(uint64_t id) {
    return (uint32_t)(id >> (ORDINAL_BITS + DEPTH_BITS));
}
static inline uint32_t id_depth(uint64_t id) {
    return (uint32_t)(id >> ORDINAL_BITS) & DEPTH_POINT;
}
static inline uint64_t id_ordinal(uint64_t id) {
    return id & ((UINT64_C(1) << ORDINAL_BITS) - 1);
}

struct mount_place { /* an environment, or a surface of one */
    char *name;
    uint32_t environment; /* of a surface: the index of its environment; of an environment: its own */
    bool is_surface;
    uint32_t latest; /* of a surface: slot of the newest complete point, 0 without */
    int64_t time_ns; /* of the newest point in it */
};
struct mount_point {
    uint64_t seq;
    uint32_t place; /* its surface */
    char id[SNAPSHOT_ID_MAX];
    bool complete, damaged, gone, aside; /* aside: of what a restore was about to write over, never the latest */
    int64_t time_ns;
    const struct surface_driver *driver; /* NULL when unknown here: its items are then no files */
    struct snapshot *snapshot;           /* NULL while it is not open */
    bool opening;
    unsigned holds;
    uint64_t used;
};
struct node; /* mount_node.c */
#define NODE_BUCKETS 8192
struct mount {
    struct work *w;
    pthread_rwlock_t repo_lock;
    struct pool *ahead; /* decodes what will be read next */
    uid_t uid;
    gid_t gid;
    int64_t began_ns;
    pthread_mutex_t lock; /* all that follows, and what points hold besides seq, place, id, time_ns and driver */
    pthread_cond_t opened;
    bool syncing;
    int64_t synced_ns; /* monotonic */
    struct mount_place *places;
    size_t place_count, place_cap;
    struct mount_point **points; /* by slot - 1, in log order; never freed before the mount */
    size_t point_count, point_cap;
    size_t points_open;
    uint64_t clock;
    unsigned warned, leaders;
    pthread_mutex_t node_lock; /* the nodes; a leaf */
    struct node *by_id[NODE_BUCKETS], *by_name[NODE_BUCKETS];
    struct node *newest, *oldest;
    size_t node_bytes;
};

/* What answers to the kernel are made of. */
struct mount_entry {
    uint64_t id;
    struct stat st;
    bool fixed; /* never changes: it may be kept for long */
};

/* ---- mount_point.c ---- */
int mount_init(struct mount *m, struct work *w, struct error *err) PK_CHECK;
void mount_end(struct mount *m); /* safe on what mount_init left half-made */
/* Reads the log again when that was not done in the last MOUNT_SYNC_S seconds. What fails is a warning: what was known
 * stays. Takes repo_lock. */
void mount_sync(struct mount *m);
/* A point's snapshot, opened when need be, until mount_release. Under repo_lock (read). */
int mount_hold(struct mount *m, uint32_t slot, struct snapshot **ret, struct error *err) PK_CHECK;
void mount_release(struct mount *m, uint32_t slot);
void mount_hold_again(struct mount *m, uint32_t slot); /* another hold of what is held */
bool mount_lead(struct mount *m, int more); /* 1: one file more of MOUNT_LEADERS, if that can be; -1: one less */
bool mount_crowded(struct mount *m); /* more points are open than should be: let go of what can be opened again */
const struct mount_point *mount_point_of(struct mount *m, uint32_t slot); /* NULL: none */
/* What is not an item: root, environments, surfaces, `latest`, points. false: there is none. No repo_lock. */
bool mount_place_entry(struct mount *m, uint64_t id, struct mount_entry *ret);
bool mount_place_child(struct mount *m, uint64_t parent, struct bytes name, struct mount_entry *ret);
/* The child behind `cookie` in a folder that is no point; false at the end. name has 256 bytes. */
bool mount_place_next(struct mount *m, uint64_t folder, uint64_t *cookie, char *name, struct mount_entry *ret);
bool mount_latest(struct mount *m, uint64_t id, char out[SNAPSHOT_ID_MAX + 16]); /* where the link leads */
static inline bool id_is_place(uint64_t id) {
    return id_slot(id) == 0;
}
static inline bool id_is_point(uint64_t id) {
    return id_slot(id) > 0 && id_depth(id) == DEPTH_POINT;
}
/* Says it on the work's warnings, the first few hundred times; the errno to answer. */
int mount_failed(struct mount *m, const struct error *err, const char *what);

/* ---- mount_node.c: items of points; takes repo_lock ---- */
struct node {
    uint64_t id;
    unsigned refs;
    bool settled; /* before anybody else sees it: nothing is left to be read for it */
    struct node *id_next, *name_next, *newer, *older;
    size_t cost;
    struct item_head head; /* name and attr are the node's own; a folder that is no item has only a name */
    struct item_stat stat; /* its slices are the node's own */
    uint64_t data_bytes;   /* without holes */
    uint8_t bytes[];
};
/* -ERR_NO_POINT: there is none of that name or number. Put back with node_put. A hard link is answered as its first
 * name. */
int node_child(struct mount *m, uint64_t parent, struct bytes name, struct node **ret, struct error *err) PK_CHECK;
int node_get(struct mount *m, uint64_t id, struct node **ret, struct error *err) PK_CHECK;
void node_put(struct mount *m, struct node *n);
void node_entry(const struct node *n, struct mount_entry *ret);
void nodes_free(struct mount *m);

struct listing; /* an open folder of a point; one thread at a time */
struct listed {
    struct mount_entry entry; /* id 0: it could not be read whole, and must be asked for to hear why */
    char name[256];
    uint64_t cookie; /* the listing goes on behind it */
};
int listing_open(struct mount *m, uint64_t folder, struct listing **ret, struct error *err) PK_CHECK;
void listing_close(struct listing *l);
/* The entry behind `cookie`, LISTING_BEGIN for the first; borrowed until the next call. NULL at the end. */
#define LISTING_BEGIN 2 /* "." and ".." are the caller's */
int listing_next(struct listing *l, uint64_t cookie, const struct listed **ret, struct error *err) PK_CHECK;

/* ---- mount_file.c: contents ---- */
struct mount_file;
int mount_file_open(struct mount *m, uint64_t id, struct mount_file **ret, struct error *err) PK_CHECK;
void mount_file_close(struct mount_file *f);
/* Up to n bytes from `at`; fewer only at the end. Any thread. */
int mount_file_read(struct mount_file *f, uint64_t at, uint8_t *p, size_t n, size_t *ret_n, struct error *err) PK_CHECK;
/* Where the next data (or hole) is at or behind `at`; the size for a hole at the end. -ERR_NO_POINT: no data follows.
 */
int mount_file_seek(struct mount_file *f, uint64_t at, bool hole, uint64_t *ret, struct error *err) PK_CHECK;

/* ---- mount.c ---- */
/* Says in the log that it is mounted. Before anything is answered, so without locks; touches nothing below o->dir. */
void mount_record(struct mount *m, const struct mount_options *o);

/* ---- mount_fuse.c ---- */
int mount_serve(struct mount *m, const struct mount_options *o, struct error *err) PK_CHECK;

#endif
