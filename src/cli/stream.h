/* A query's one document, written piece by piece because one array of it may be longer than memory:
 * {<head>, "<array>": [<item>, …], <tail>}. Nothing without --json. When a query fails half-way the document stays
 * unfinished, and the result line, which every failure prints, follows on a line of its own. */
#ifndef PK_CLI_STREAM_H
#define PK_CLI_STREAM_H

#include "cli/output.h"

struct stream {
    struct output *output;
    struct buf pending;
    bool begun, ended, any;
};
/* `head` (an object, may be NULL) is borrowed. */
int stream_begin(struct stream *s, struct output *o, const json_t *head, const char *array, struct error *err) PK_CHECK;
int stream_item(struct stream *s, json_t *item, struct error *err) PK_CHECK; /* owns item in every case */
int stream_end(struct stream *s, const json_t *tail, struct error *err) PK_CHECK;
void stream_free(struct stream *s); /* safe on zeroed */

#endif
