/* Restore: a plan first, an act second. The default target is new and empty, beside the live thing. */
#ifndef PK_WORK_RESTORE_H
#define PK_WORK_RESTORE_H

#include "work/context.h"
#include "work/plan_file.h"

struct restore_options {
    const char *into;                 /* NULL: the driver's default */
    const char *const *paths;         /* NULL-terminated; NULL or empty: everything */
    bool in_place, swap, terminate_connections, no_owner;
    bool thaw; /* something may lie in an archive class (work/thaw.h): look at every pack */
    enum store_tier tier;             /* that the estimate is made for */
    bool delta;
    const char *const *tablespaces;   /* "OLD=NEW"; NULL-terminated, may be NULL */
    /* Where a physical backup's recovery ends; NULL for what is not asked for. target: "latest" or "immediate". */
    const char *target, *target_time, *target_lsn, *target_xid, *target_name, *target_timeline, *target_action;
    bool target_exclusive, standby;
    bool no_backup_first; /* what is overwritten is lost, as was asked for (work/before.h) */
};
struct restore_plan {
    char id[PLAN_ID_BYTES];           /* pln-<hex> */
    char label[260], snapshot_id[SNAPSHOT_ID_MAX];
    uint64_t seq;
    bool protected;                   /* the target environment asks for the phrase */
    bool fresh;                       /* the target is new and empty, so plan and act may be one command */
    char phrase[512];
    bool in_standby;                  /* set by whoever keeps the platform in standby around it: no hooks are run for that */
    bool thawed;                      /* restore_thaw has seen to it that everything can be read */
    bool no_backup_first;             /* set by the caller: none is asked for now, whatever the plan says */
    /* Backups of what was there before (work/before.h), empty: none. before_first: by a run that did not end well */
    char before[SNAPSHOT_ID_MAX], before_first[SNAPSHOT_ID_MAX];
    json_t *doc;                      /* the whole plan, for people and programs; owned */
};
/* Make a plan and keep it in the cache folder, so that it can be carried out by its id. Changes nothing else. */
int restore_plan_make(struct work *w, const char *address, const struct restore_options *o, struct restore_plan *ret, struct error *err) PK_CHECK;
/* A plan made before; ERR_PLAN_STALE when it is unknown, or the target, the repository's point or the plan itself has changed. */
int restore_plan_load(struct work *w, const char *id, struct restore_plan *ret, struct error *err) PK_CHECK;
void restore_plan_free(struct restore_plan *p);

/* *ret: what the point is restored into, when it goes beside the live thing, is a folder that the restore makes. */
int restore_makes_folder(struct work *w, const struct snapshot_info *info, bool *ret, struct error *err) PK_CHECK;

/* Remove what a killed run of the plan left half restored beside a target, where that is provably its own; *ret is how
 * much. What was restored, or swapped in, stays. *ret_sure: nothing half of it is left; false where a half cannot be
 * told from anything else. */
int restore_undo(struct work *w, const char *id, unsigned *ret, bool *ret_sure, struct error *err) PK_CHECK;

struct restore_done {
    char target[4096];
    uint64_t items, bytes, skipped;
    int64_t duration_ns;
    json_t *facts; /* owned by the caller */
};
/* Carry it out, after what it overwrites is backed up where nothing else keeps that (p->before; ERR_BACKUP_FIRST:
 * nothing was begun). `confirm` is the typed phrase, NULL when none was given (ERR_CONFIRM where one is needed). A
 * receipt of the outcome goes into the log where the key may sign one. ERR_S3_ARCHIVED when something lies in an
 * archive class: nothing was begun (work/thaw.h). */
int restore_run(struct work *w, struct restore_plan *p, const char *confirm, struct restore_done *ret,
                struct error *err) PK_CHECK;

/* Tells of each item whose content carrying the plan's document out reads, and answers 1; 0, without having told of
 * all, when that may be any. */
int restore_wants(struct work *w, const struct snapshot_info *info, const json_t *doc,
                  int (*cb)(void *ctx, struct snapshot *s, const struct item_head *h, struct error *err), void *ctx,
                  struct error *err) PK_CHECK;

/* What identifies the target of a plan as it is now, in the driver's own words: the same for as long as nobody puts
 * something else there. */
int restore_fingerprint(struct work *w, const struct restore_plan *p, char out[129], struct error *err) PK_CHECK;

#endif
