/* The restore of a base: into a folder that gets its name when all is in it, or (delta) into what an earlier state left.
 *
 *  1. pg_control goes first (delta) and comes last: a half-restored folder is none that a server would start from.
 *  2. Before pg_control is there, all else is durable.
 *  3. Nothing is written through a link that the restore did not make or look at: tablespaces are folders of their own,
 *     empty at the beginning, or (delta) those that the folder's links lead to.
 */
#ifndef PK_SURFACE_PGPHYS_RESTORE_INTERNAL_H
#define PK_SURFACE_PGPHYS_RESTORE_INTERNAL_H

#include "surface/flush.h"
#include "surface/pgphys/pgphys_internal.h"

#define PGPHYS_AUTO_CONF "postgresql.auto.conf"
#define PGPHYS_PART_BYTES (16u << 20) /* of a file that is there already, so much is one thread's at once */

struct pgphys_item { /* of the snapshot; name and target in the list's memory */
    const char *name, *target; /* target: of a link, where it will lead */
    const char *was;           /* where it led */
    struct pgphys_attr attr;
    struct source_head head;   /* without name and attr */
    bool made, marked;         /* link: this run made its folder; it says who fills it */
    int mark_fd;               /* when marked */
};
struct pgphys_restore {
    const struct surface_context *ctx;
    struct pg_settings *settings;
    struct source *src;
    const struct restore_request *q;
    char target[PATH_MAX], parent[PATH_MAX], spaces[PATH_MAX];
    char name[NAME_MAX + 1];             /* that is filled, in parent */
    bool whole; /* pg_control has its name */
    bool delta, exists, made, spaces_made;
    bool lasting; /* it is made durable */
    bool plain; /* an export: all items as they are, tablespaces as folders */
    int parentfd, dirfd;
    bool own;                            /* files are given to uid and gid */
    unsigned uid, gid;
    mode_t folder_mode;
    struct pgphys_item *items;
    size_t n, cap;
    struct pgphys_list names;            /* memory of names only */
    struct pgphys_item *control;
    const struct pgphys_item *map, *manifest;
    int64_t major;
    struct queue *queue;
    atomic_uint_fast64_t bytes, written, kept, changed, done;
    atomic_int_fast64_t told_ns;
    uint64_t removed, total;
    pthread_mutex_t lock;
    bool failed;
    struct error err;
    struct flush flush; /* where it is lasting */
};

/* target.c */
/* Where it is to go, whatever is there: fills target, parent, spaces. ERR_USAGE. */
int pgphys_target_choose(struct pgphys_restore *r, struct error *err) PK_CHECK;
/* Where it goes: fills target, parent, spaces, delta, exists. ERR_USAGE, ERR_TARGET_NOT_EMPTY, ERR_PG_IN_USE. */
int pgphys_target_decide(struct pgphys_restore *r, struct error *err) PK_CHECK;
/* Where the link of a tablespace will lead; out has PATH_MAX. */
int pgphys_target_space(const struct pgphys_restore *r, const char *name, const char *was, char *out, struct error *err) PK_CHECK;
bool pgphys_folder_empty(const char *path); /* or not there */

/* space.c: the folder of a tablespace, while it is filled, has a file with the path of what it is filled for, by which
 * the next run knows what a killed one left in it. ERR_TARGET_NOT_EMPTY when another run has put its own there. */
int pgphys_space_mark(struct pgphys_restore *r, int fd, struct pgphys_item *it, struct error *err) PK_CHECK;
/* The mark of a folder whose place is there no more, locked until it is closed: nobody else fills or empties it. -1:
 * it is none, or somebody's. */
int pgphys_space_take(const char *path);
int pgphys_space_empty(const char *path, struct error *err) PK_CHECK; /* removes all that is in it, the mark last */
int pgphys_spaces_done(struct pgphys_restore *r, struct error *err) PK_CHECK;
void pgphys_spaces_free(struct pgphys_restore *r); /* gives the marks' locks back */

/* restore_file.c */
int pgphys_files_write(struct pgphys_restore *r, struct error *err) PK_CHECK; /* all but pg_control */
int pgphys_file_write(struct pgphys_restore *r, const struct pgphys_item *it, const char *as, struct error *err) PK_CHECK;
int pgphys_text_write(struct pgphys_restore *r, const char *name, struct bytes content, mode_t mode, struct error *err) PK_CHECK;

/* recovery.c */
/* postgresql.auto.conf as it is to be, from what it was: recovery targets that are there become comments, what the request
 * asks for is appended. *ret_signal: "recovery.signal", "standby.signal", or NULL when the backup's own WAL is all. */
int pgphys_recovery_text(const struct restore_recovery *q, bool archive_off, struct bytes was, struct buf *ret,
                         const char **ret_signal, struct error *err) PK_CHECK;
/* ERR_USAGE for what does not go together, and what cannot be read; ERR_PG_TARGET for a target that lies before the
 * backup's end. */
int pgphys_recovery_check(const struct restore_recovery *q, const json_t *facts, struct error *err) PK_CHECK;

#endif
