/* Names of users and groups, each asked for once. All functions may be called from any thread. */
#ifndef PK_SURFACE_FILES_OWNERS_H
#define PK_SURFACE_FILES_OWNERS_H

#include "base/bytes.h"
#include "base/thread.h"
#include <sys/types.h>

#define OWNERS_BUCKETS 256
struct owner;
struct owners {
    pthread_mutex_t lock;
    struct owner *by_id[2][OWNERS_BUCKETS]; /* users, groups */
    struct owner *by_name[2][OWNERS_BUCKETS];
};
void owners_init(struct owners *o);
void owners_end(struct owners *o);
/* The name of an id; empty when it has none. Borrowed until owners_end. */
struct bytes owners_user(struct owners *o, uint32_t uid);
struct bytes owners_group(struct owners *o, uint32_t gid);
/* The id that goes by `name` here, else `id`. Zero stays zero whatever it is called. */
uint32_t owners_uid(struct owners *o, struct bytes name, uint32_t id);
uint32_t owners_gid(struct owners *o, struct bytes name, uint32_t id);

#endif
