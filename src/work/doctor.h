/* A look at everything that backups and restores need, changing nothing. */
#ifndef PK_WORK_DOCTOR_H
#define PK_WORK_DOCTOR_H

#include "work/select.h"

enum finding_level { FINDING_FACT = 0, FINDING_WARNING, FINDING_PROBLEM };
struct finding {
    enum finding_level level;
    const char *check;       /* "configuration", "repository", "key", "space", "clock", "drift", "surface", "tools", "leftovers", "fallback", "copy", "wal" */
    const char *subject;     /* what it is about: a URL, "prod/postgres"… */
    const char *code;        /* of a problem: "PK-REP-001", which 'help' explains; else NULL */
    const char *text, *next; /* next may be NULL */
};
typedef int (*finding_cb)(void *ctx, const struct finding *f, struct error *err);
struct doctor_totals {
    unsigned facts, warnings, problems;
};
/* Every finding in turn, problems where they are found. 0 when the look was completed, whatever was found. `surface`
 * (may be NULL) is given each driver's facts, borrowed. */
typedef int (*surface_facts_cb)(void *ctx, const char *environment, const char *surface, const json_t *facts,
                                struct error *err);
int work_doctor(struct work *w, const struct selection *s, finding_cb cb, surface_facts_cb surface, void *ctx,
                struct doctor_totals *ret, struct error *err) PK_CHECK;
const char *finding_level_name(enum finding_level l); /* "fact", "warning", "problem" */

#endif
