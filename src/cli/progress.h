/* Progress of a job, a line a surface. On a terminal the lines are redrawn, at most ten times a second. Elsewhere a
 * line is printed when a phase begins and then at most every 30 s; with --json a `phase` event when a phase begins and
 * then a `progress` event at most every second. While the total is unknown there is `~` in place of a percentage. Any
 * thread; quick. */
#ifndef PK_CLI_PROGRESS_H
#define PK_CLI_PROGRESS_H

#include "cli/output.h"

struct progress_point {
    const char *surface, *phase; /* "prod/postgres", "copy" */
    uint64_t bytes;
    uint64_t bytes_total;  /* 0: unknown */
    uint64_t bytes_stored; /* after deduplication and compression; 0: unknown */
    uint64_t items;        /* 0: not counted */
};
/* More than 32 surfaces at once: the rest goes unreported. */
void output_progress(struct output *o, const struct progress_point *p);
/* The surface is done: its line becomes one that stays, on standard error, even with --quiet if `style` is STYLE_BAD.
 */
void output_progress_end(struct output *o, const char *surface, enum style style, const char *fmt, ...) PK_PRINTF(4, 5);

#endif
