/* What a driver offers for taking the place of a live instance by a restored one: the live one is frozen, the new one started,
 * checked and put in its place. work/cutover.h drives it; every function can be called again after a kill, and then finds what
 * the call before left. */
#ifndef PK_SURFACE_CUTOVER_H
#define PK_SURFACE_CUTOVER_H

#include "surface/surface.h"

struct cutover_freeze {
    int64_t wait_ns;  /* how long transactions that began before it may go on */
    bool terminate;   /* then end their sessions; else the freeze fails */
    const json_t *before; /* what before_freeze gave */
};
struct cutover_start {
    const char *folder; /* the restored one */
    unsigned port;      /* 0: what its configuration says */
    const json_t *facts;
    bool alone; /* its subscriptions rest: it must take nothing that is meant for the live one */
};
enum cutover_amcheck { CUTOVER_AMCHECK_INSTALLED, CUTOVER_AMCHECK_INSTALL, CUTOVER_AMCHECK_NONE };
struct cutover_check {
    const json_t *connection; /* of the new instance */
    const json_t *facts;
    enum cutover_amcheck amcheck;
    bool same_as_live;  /* it was recovered to the end: what is declared must be as it is on the live one */
    const char *reach;  /* a place that recovery must have come to; NULL: none */
};
struct cutover_driver {
    /* What there is to freeze, for the plan: {"sessions", "prepared", "version", "timeline", "subscriptions"}. Changes
     * nothing. */
    int (*look)(const struct surface_context *, json_t **ret, struct error *);
    /* What resume needs to put things back, to be kept before freeze is called. */
    int (*before_freeze)(const struct surface_context *, json_t **ret, struct error *);
    /* When it returns, no transaction that could write goes on, and none begins that does not say itself that it writes.
     * ERR_CUTOVER_FREEZE when sessions stand in the way: they are as they were, and resume is due. */
    int (*freeze)(const struct surface_context *, const struct cutover_freeze *, json_t **ret, struct error *);
    int (*resume)(const struct surface_context *, const json_t *before, struct error *);
    /* The end of what was written, handed to the archive: {"lsn", "next_xid"}. */
    int (*last_wal)(const struct surface_context *, json_t **ret, struct error *);
    /* ERR_CUTOVER_WROTE when anything has written since `last`, or the freeze is not in force any more (with `builtin`). */
    int (*quiet)(const struct surface_context *, const json_t *last, bool builtin, struct error *);
    /* Get the folder ready for its first start: archiving is held back until adopt, and of one that is alone its
     * subscriptions rest. */
    int (*ready)(const struct surface_context *, const struct cutover_start *, struct error *);
    /* Start it, unless it runs. Returns before its recovery is at an end. */
    int (*start)(const struct surface_context *, const struct cutover_start *, struct error *);
    /* Wait until it takes writes: {"host", "port", "data_directory", "pid", "timeline", "recovered_to"}. ERR_PG_RECOVERY when it goes down. */
    int (*wait)(const struct surface_context *, const struct cutover_start *, json_t **ret, struct error *);
    int (*stop)(const struct surface_context *, const struct cutover_start *, struct error *); /* fine when it does not run */
    /* Integrity checks: [{"name", "result": "passed" | "failed" | "not_checked", "detail"}]. An error is that of asking. */
    int (*check)(const struct surface_context *, const struct cutover_check *, json_t **ret, struct error *);
    /* Let it archive as its own configuration says. Subscriptions that rest do so until it is started anew. */
    int (*adopt)(const struct surface_context *, const struct cutover_start *, const json_t *connection,
                 struct error *);
    /* Whether it answers, takes writes, and its declared queries answer. ERR_CUTOVER_WATCH, and those of connecting. */
    int (*health)(const struct surface_context *, const json_t *connection, struct error *);
};

#endif
