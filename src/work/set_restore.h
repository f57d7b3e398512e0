/* Restoring a set: the plans of all members under one, carried out at once where they do not depend on each other; then
 * what was restored is measured, services are started, and health and smoke checks are run, none of which can be left
 * out.
 *
 * A plan may be carried out again, after a crash or a failure in the middle: a journal beside it knows which members
 * were restored; these are looked at and not restored again. */
#ifndef PK_WORK_SET_RESTORE_H
#define PK_WORK_SET_RESTORE_H

#include "work/restore.h"
#include "work/set.h"

#define SET_PLAN_PREFIX "pls"

struct set_restore_options {
    /* NULL; a folder, below which members that can be folders go by their names; or "SURFACE=TARGET,…", where a target
     * is what `restore --into` of that surface takes, or one of the words in-place, swap and beside. */
    const char *into;
    bool replace; /* in the place of the live things: swapped in where the kind can, else in place */
    bool terminate_connections, no_owner, no_backup_first;
};
struct set_plan {
    char id[PLAN_ID_BYTES]; /* pls-<hex> */
    char label[SET_NAME_BYTES + 80], set_id[SNAPSHOT_ID_MAX];
    uint64_t seq;          /* of the set's receipt */
    bool protected, fresh; /* as of restore_plan: fresh when all members are */
    char phrase[512];
    bool no_backup_first;      /* set by the caller, as of restore_plan */
    json_t *doc;               /* the whole plan; owned */
    struct restore_plan *made; /* of the members, in their order; NULL once it was stored and loaded. Owned */
    size_t made_count;
};
/* Make a plan of each member and one of all; nothing else is changed. ERR_NO_POINT when the set lacks a recovery point
 * by now. */
int set_plan_make(struct work *w, const struct set_info *s, const struct set_restore_options *o, struct set_plan *ret,
                  struct error *err) PK_CHECK;
/* One made before. ERR_PLAN_STALE when it is unknown or was altered, or its repository or set is another. */
int set_plan_load(struct work *w, const char *id, struct set_plan *ret, struct error *err) PK_CHECK;
void set_plan_free(struct set_plan *p);
/* A target as "SURFACE=TARGET,…" gives it for one member, in out; false: it says nothing of it. ERR_USAGE by
 * set_plan_make for names that are none. */
bool set_into(const char *into, const char *surface, const json_t *members, char *out, size_t n);

enum set_step { SET_RESTORED, SET_ALREADY, SET_FAILED, SET_NOT_BEGUN };
const char *set_step_name(enum set_step s); /* "restored" */
struct set_restored {
    const char *surface; /* borrowed from the plan */
    enum set_step step;
    char target[4096];
    char before[SNAPSHOT_ID_MAX]; /* the backup of what was there before, the first that was taken; empty: none */
    uint64_t items, bytes;
    int64_t duration_ns;
    struct error why; /* of what failed or was not begun */
};
struct set_check_done {
    char name[80], surface[80]; /* "health", "integrity" or a check's name; surface empty: of the whole */
    enum check_result result;   /* VERIFIED, CORRUPT (it failed) or NOT_CHECKED */
    char how[160];              /* of integrity: what was compared */
    int64_t duration_ns;
    struct error why;
};
struct set_restore_watch { /* called one at a time, from any thread, members as they end */
    void *ctx;
    void (*member)(void *ctx, const struct set_restored *m);
    void (*check)(void *ctx, const struct set_check_done *c);
};
struct set_restore_done {
    unsigned restored, already, failed, not_begun, checks, checks_failed; /* checks: those that were made */
    unsigned checks_not_made; /* where a driver cannot measure what it restored */
    int64_t duration_ns;      /* of this run */
    int64_t took_ns; /* of all runs of the plan that restored something, checks included: what an RTO is held against */
    uint64_t items, bytes; /* of this run */
    uint64_t seq;          /* of the receipt; 0: the key may not sign one, or it could not be written (warned) */
};
/* ERR_CONFIRM; ERR_PLAN_STALE when the target of a member that is yet to be restored has changed (nothing was begun),
 * or what was restored is not what it was; ERR_SET_BUSY when it is being carried out; ERR_SET_RESTORE when a member
 * failed: what depends on it was not begun; ERR_SET_CHECK. `ret` is filled in every case. */
int set_restore_run(struct work *w, const struct set_plan *p, const char *confirm,
                    const struct set_restore_watch *watch, struct set_restore_done *ret, struct error *err) PK_CHECK;

/* Undo what a killed run of the plan left: the platform in standby, and what was half restored beside the live things.
 * What was restored stays, and is told as SET_ALREADY; what was removed, or was not begun, as SET_NOT_BEGUN, with why
 * where something else than before the plan is at its target; SET_FAILED has why. *ret: how much was undone. The plan
 * can be carried out afterwards. ERR_SET_BUSY; ERR_SET_RESTORE when something is left. */
int set_restore_abort(struct work *w, const char *id, const struct set_restore_watch *watch, unsigned *ret,
                      struct error *err) PK_CHECK;

/* ---- what the parts share ---- */
/* The set as the configuration has it now, for its hooks: members that it does not know are left out. */
int set_spec_of(struct work *w, const json_t *doc, struct set_spec *ret, struct error *err) PK_CHECK;
/* Integrity, start, health, smoke checks, in this order, each whatever the ones before said. 0 when all passed; else
 * the first failure. With `start_only`, services are started and nothing is checked. `members` is as the plan has it;
 * `restored` has a row for each. */
int set_checks_run(struct work *w, const struct set_spec *spec, const json_t *doc, const struct set_restored *restored,
                   bool start_only, const struct set_restore_watch *watch, struct set_restore_done *counts,
                   json_t *rows, struct error *err) PK_CHECK;
/* Compare one restored member with what was captured, by measuring it again. 0 when it is the same, 1 when its driver
 * cannot measure what lies there, so that only the restore's own checks stand; ERR_RESTORE_DIFFERS. `how` says what was
 * compared. */
int set_integrity(struct work *w, const json_t *member, const char *target, char how[160], struct error *err) PK_CHECK;

#endif
