/* The objects that a repository lives by, by name: what is to be kept locked, and what is worth bringing back. Derived ones
 * (tiles, checkpoint, summaries), resume states and what only forgotten snapshots used are none of them. */
#ifndef PK_REPO_OBJECTS_H
#define PK_REPO_OBJECTS_H

#include "repo/repo.h"

enum live_kind { LIVE_FORMAT, LIVE_SLOT, LIVE_ENTRY, LIVE_PACK, LIVE_INDEX, LIVE_WAL, LIVE_KIND_COUNT };
struct live_object {
    char key[96];
    enum live_kind kind;
    uint64_t seq; /* of LIVE_ENTRY */
    struct digest digest; /* of LIVE_WAL, whose name does not say it */
};
struct live_objects {
    struct live_object *items; /* by key, unique */
    size_t count, cap;
};
/* By the log as `r` knows it. Key slots are those that the store shows. Of WAL, those that the log has. Reads pack lists, and no
 * pack; needs no read key. */
int repo_live_objects(struct repo *r, struct live_objects *ret, struct error *err) PK_CHECK;
void live_objects_free(struct live_objects *o);
const struct live_object *live_object_find(const struct live_objects *o, const char *key); /* NULL: there is none */
/* Whether these are the bytes of that object: by the digest in its name, the log's chain, its registration, or the log's first entry. */
int live_object_is(struct repo *r, const struct live_object *o, struct bytes content, bool *ret, struct error *err) PK_CHECK;
/* The key slots among `hidden` (n names "keys/…", newest first) that nobody gave up: slots of keys in force that have no slot
 * left in the store; of each key the newest. Sets keep[i]. */
int repo_slots_lost(struct repo *r, const char (*hidden)[96], size_t n, bool *keep, struct error *err) PK_CHECK;

#endif
