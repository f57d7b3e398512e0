/* Hooks: programs of the user's that a job runs at named places (config_hooks). Argv only, a minimal environment, one
 * line of JSON on standard input; what they print is for messages only, cleaned of known secrets. */
#ifndef PK_WORK_HOOK_H
#define PK_WORK_HOOK_H

#include "work/context.h"

#define HOOK_INPUT_MAX 32768 /* bytes of the JSON; a pipe holds more */

struct hook_event {
    const char *hook;    /* "freeze" */
    const char *surface; /* NULL: of no single surface */
    const char *action;  /* "backup", "restore", …: of which job */
    const json_t *facts; /* NULL: none; no secrets */
};
/* The hook of that name ("freeze", "switch", …; not checks); NULL when it is not configured, or hooks is NULL. */
const struct config_hook *hook_find(const struct config_hooks *hooks, const char *name);
/* Runs it to its end. A stop of ours that was asked for before does not end it, so that what undoes is run. ERR_HOOK
 * when it failed or could not be started; ERR_HOOK_TIME when it ran for too long and was stopped, so that nobody knows
 * whether it did its work; ERR_INTERRUPTED, ERR_TERMINATED. `ret_ns`, how long it ran,
 * may be NULL. */
int hook_run(struct work *w, const struct config_environment *e, const struct config_hook *h,
             const struct hook_event *event, int64_t *ret_ns, struct error *err) PK_CHECK;

#endif
