/* Where an offline restore goes. */
#ifndef PK_SURFACE_NEO4J_OFFLINE_PLACE_H
#define PK_SURFACE_NEO4J_OFFLINE_PLACE_H

#include "surface/neo4j/neo4j_offline.h"

/* What is made before it has its name. A killed run's is found by that, by the lock that nobody holds, and by a file of
 * ours in it, as the folder may be another user's (work/leftover.h). */
#define NEO4J_PARTIAL ".proofkeep-partial-"
#define NEO4J_PARTIAL_MARK ".proofkeep-partial"

struct neo4j_place {
    char path[PATH_MAX], beside[PATH_MAX]; /* the folder, and what is made first, in the same one */
    bool in_place, exists, empty;
};
/* A scratch instance's home, the server's own, or a folder that is new or empty: by default one beside the server's
 * home. ERR_USAGE, ERR_TARGET_NOT_EMPTY. */
int neo4j_place_decide(const struct neo4j_offline *o, const struct restore_request *q, struct neo4j_place *ret,
                       struct error *err) PK_CHECK;
/* What of `all` (names) the request takes: "NAME" or "db/NAME", all when it says nothing. ERR_USAGE when it names
 * another. */
int neo4j_place_takes(const struct restore_request *q, const json_t *all, json_t **ret, struct error *err) PK_CHECK;

#endif
