/* The standard path of a physical PostgreSQL restore that takes the place of the live server: standby, freeze, the last
 * WAL, a new cluster from base and WAL, checks, switch, resume, watch. A plan first and an act second, like every
 * restore.
 *
 *  1. Every step is in a journal beside the plan (journal.h): a run that was killed goes on at the step that was
 * interrupted.
 *  2. Until the switch hook was called, and when its one call has failed, whatever fails ends with the new server
 * stopped, and writes to the old one allowed again. What was restored is kept to be looked at. After a call whose end
 * nobody knows (the run was killed, or the hook was stopped with it) clients may be at the new server: it is left
 * running, whatever fails.
 *  3. Nothing is switched to that has not passed its checks, nor while the live server was written to since it was
 * frozen.
 *  4. The old server is never stopped, changed or removed; after the switch it stays frozen, because whoever still
 * writes to it would lose what he writes.
 *  5. Hooks may run twice for one step, after a kill.
 */
#ifndef PK_WORK_CUTOVER_H
#define PK_WORK_CUTOVER_H

#include "surface/cutover.h"
#include "work/restore.h"

#define CUTOVER_WAIT_NS (60 * NS_PER_S)

struct cutover_options {
    struct restore_options restore;
    unsigned port;           /* of the new server; 0: as its configuration says */
    bool rehearse; /* restore, start, check and stop the new server: nothing of the live one is asked for or changed */
    bool no_freeze;          /* the live server is dead, or frozen already */
    bool terminate;
    int64_t wait_ns;         /* for transactions to end, and for the last WAL to be stored */
    int64_t watch_ns;        /* 0: not watched */
    int amcheck;             /* enum cutover_amcheck */
    const char *const *accept; /* checks that may fail; NULL-terminated */
};
struct cutover_plan {
    char id[PLAN_ID_BYTES]; /* cut-<hex> */
    char label[260], snapshot_id[SNAPSHOT_ID_MAX];
    uint64_t seq;
    bool protected;
    char phrase[512];
    json_t *doc;    /* owned: {"restore": the plan of the copy, "steps": [{"name", "text", "estimated_seconds"}], …} */
};
bool cutover_plan_is(const char *id);
/* Changes nothing but the cache folder. ERR_CUTOVER_UNFIT for what cannot take over, and the errors of restore_plan_make. */
int cutover_plan_make(struct work *w, const char *address, const struct cutover_options *o, struct cutover_plan *ret, struct error *err) PK_CHECK;
int cutover_plan_load(struct work *w, const char *id, struct cutover_plan *ret, struct error *err) PK_CHECK;
void cutover_plan_free(struct cutover_plan *p);

struct cutover_events {
    void *ctx;
    /* A step begins (ms below 0), or has ended: "done" or "failed". detail: what it found, or NULL. */
    void (*step)(void *ctx, const char *name, const char *state, int64_t ms, const json_t *detail);
};
struct cutover_done {
    bool already;        /* it was carried out before; nothing was done now */
    json_t *steps;       /* as the journal has them; owned, like the next */
    json_t *connection;  /* of the new server; NULL while there is none */
    char folder[4096];
};
/* Carry it out, or go on with it. ERR_CUTOVER_STATE when it came to its end without success. *ret is filled on failure, too. */
int cutover_run(struct work *w, const struct cutover_plan *p, const char *confirm, const struct cutover_events *e, struct cutover_done *ret, struct error *err) PK_CHECK;
#define CUTOVER_NOT_SWITCHED "clients are at the old server"
/* Undo what a run that was killed left: for the case that it is not to go on. ERR_CUTOVER_STATE once the switch hook
 * was called, unless `confirm` (may be NULL) is CUTOVER_NOT_SWITCHED and the call is not known to have succeeded. */
int cutover_abort(struct work *w, const struct cutover_plan *p, const char *confirm, const struct cutover_events *e,
                  struct cutover_done *ret, struct error *err) PK_CHECK;
void cutover_done_free(struct cutover_done *d);
/* The plan of a cutover in this environment, of this cache folder, that was begun and has not come to its end, killed or not: what it
 * froze must not be resumed by others. false: none. */
bool cutover_under_way(const struct work *w, const char *environment, char ret[PLAN_ID_BYTES]);

#endif
