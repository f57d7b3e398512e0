/* What the parts of the standard path share. */
#ifndef PK_WORK_CUTOVER_INTERNAL_H
#define PK_WORK_CUTOVER_INTERNAL_H

#include "work/cutover.h"
#include "work/journal.h"

struct cut {
    struct work *w;
    const struct cutover_plan *p;
    const struct cutover_events *events;
    const char *confirm;
    struct journal j;
    struct work_surface surface;
    struct work_bridge bridge;
    struct surface_context ctx;
    const struct cutover_driver *driver;
    json_t *facts; /* of the point; owned */
    struct cutover_start start;
    bool opened, bridged;
    bool was_begun; /* the step that runs was interrupted before */
    bool refused;   /* the first call of the switch hook was in this run, and failed by itself: it has not switched */
    bool stopped;   /* the switch hook was stopped, with this run or by its timeout */
    bool led;       /* the switch hook has succeeded in this run, whether or not that could be written down */
};

/* cutover_steps.c */
struct cut_step {
    const char *name;
    const char *text; /* for the plan */
    /* *ret (owned by the caller, may stay NULL): what it found. Called again after a kill. */
    int (*run)(struct cut *k, json_t **ret, struct error *err);
};
extern const struct cut_step cut_steps[]; /* in order; ended by a NULL name */
const struct cut_step *cut_step_find(const char *name);
/* Nothing is frozen or switched: the new server is stopped at the end, and its folder stays. */
bool cut_is_rehearsal(const json_t *plan);
/* The switch hook was called, and nobody knows whether it did its work. */
bool cut_switch_unknown(const struct cut *k);
/* Puts back whatever was begun and must not stay. The first error; the rest is done all the same. */
int cut_undo(struct cut *k, struct error *err) PK_CHECK;

/* cutover_plan.c */
/* How long a step took in the newest recorded run for the surface; below 0: none is recorded. */
int64_t cut_past_ms(struct work *w, const char *environment, const char *surface, const char *step);

#endif
