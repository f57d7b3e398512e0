/* What output.c and progress.c share. */
#ifndef PK_CLI_OUTPUT_INTERNAL_H
#define PK_CLI_OUTPUT_INTERNAL_H

#include "cli/output.h"
#include "cli/progress.h"
#include <pthread.h>

#define PROGRESS_SURFACES_MAX 32

struct progress_slot {
    char surface[96], phase[32];
    uint64_t bytes, bytes_total, bytes_stored, items;
    int64_t shown_ns;   /* when a line was last printed */
    int64_t sampled_ns; /* when rate was last brought up to date */
    uint64_t sampled_bytes;
    double rate; /* bytes a second, smoothed; negative while unknown */
    bool active;
};

struct output {
    struct output_config config;
    pthread_mutex_t lock;
    char job[64];
    uint64_t seq;
    struct buf pending;   /* text for people, not yet on standard output */
    struct error failure; /* the first: standard output is lost, or memory was short */
    bool lost;            /* standard output is lost: write no more of it */
    json_t *result, *requests;
    bool finished;
    struct progress_slot slots[PROGRESS_SURFACES_MAX];
    unsigned drawn_lines; /* live progress lines below which the cursor stands */
    int64_t drawn_ns;
};

/* All with the lock held. */
void output_event_locked(struct output *o, const char *type, json_t *fields);
void output_err_locked(struct output *o, struct bytes text);
/* "<name>: <text>\n", the text in its style. */
void output_line_err_locked(struct output *o, enum style style, const char *name, const char *text);
void progress_erase_locked(struct output *o);
void progress_draw_locked(struct output *o);

#endif
