/* An import, which is begun, goes on where it stopped, and is judged at its end. */
#ifndef PK_SURFACE_NEO4J_IMPORT_INTERNAL_H
#define PK_SURFACE_NEO4J_IMPORT_INTERNAL_H

#include "surface/neo4j/graph_internal.h"

struct import {
    const struct neo4j_settings *s;
    const struct restore_request *q;
    const struct neo4j_target *t;
    struct bolt *b;
    struct source *src;
    struct source_head nodes, relationships;
    char id[2 * DIGEST_BYTES + 1]; /* names what is imported */
    json_t *schema;
    int64_t nodes_done, relationships_done; /* as the target says */
    uint64_t bytes;
    bool resumed, replaced;
    bool already; /* the target has just what is imported: nothing is done */
};
/* ---- import_begin.c ---- */
/* The target is empty, or was emptied as in_place asks, or has the beginning of this import, or all of it (`already`).
 * ERR_NEO4J_NOT_EMPTY. */
int import_begin(struct import *m, struct error *err) PK_CHECK;
/* Runs a query that changes some of the graph and says how much, until nothing is left to change. */
int import_repeat(struct import *m, const char *phase, const char *query, struct error *err) PK_CHECK;
/* ---- import_judge.c ---- */
/* Reads all of the target: what is counted must be what the snapshot says. ERR_NEO4J_LOST. */
int import_judge(struct import *m, struct error *err) PK_CHECK;
/* ---- import_batch.c ---- */
int import_nodes(struct import *m, struct error *err) PK_CHECK;
int import_relationships(struct import *m, struct error *err) PK_CHECK;

#endif
