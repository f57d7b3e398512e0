/* Storage classes whose objects cannot be read at once: they are brought back ("thawed") for some days first, which takes
 * minutes to days by class and tier. Names, sizes and times can be had at any time; bytes of an archived object are
 * ERR_S3_ARCHIVED. A driver without the table has none.
 *
 * What is cold: objects below one prefix, which whoever knows what objects mean tells the handle; an address may name an
 * archive class for these only, so that everything else stays readable at once.
 *
 * AWS, Amazon S3 User Guide, "Restoring an archived object" and "Understanding archive retrieval options".
 */
#ifndef PK_STORE_ARCHIVE_H
#define PK_STORE_ARCHIVE_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

struct store;

enum store_tier { STORE_TIER_EXPEDITED, STORE_TIER_STANDARD, STORE_TIER_BULK, STORE_TIERS };
enum store_depth {
    STORE_DEPTH_NONE, /* read at once */
    STORE_DEPTH_COLD, /* GLACIER, and the Archive Access tier of INTELLIGENT_TIERING */
    STORE_DEPTH_DEEP, /* DEEP_ARCHIVE, and the Deep Archive Access tier */
};
enum store_thaw { STORE_THAW_NONE, STORE_THAW_ASKED, STORE_THAW_DONE };
#define STORE_CLASS_BYTES 40
struct store_coldness {
    char name[STORE_CLASS_BYTES]; /* of the class; "STANDARD" where the server says none */
    enum store_depth depth;
    enum store_thaw thaw; /* NONE: nobody asked for it, or its days are over */
    int64_t until_ns;     /* of DONE: when it freezes again; 0: the server does not say */
    bool moves;           /* a thaw moves it to a readable class for good, so it takes no days */
};
/* Whether a read would be ERR_S3_ARCHIVED. */
static inline bool store_is_frozen(const struct store_coldness *c) {
    return c->depth != STORE_DEPTH_NONE && c->thaw != STORE_THAW_DONE;
}

struct store_archive_ops {
    int (*look)(struct store *, const char *key, struct store_coldness *, struct error *);
    int (*thaw)(struct store *, const char *key, const struct store_coldness *, enum store_tier, unsigned days,
                struct error *);
    enum store_depth (*writes)(struct store *);
};

/* Objects whose keys begin with it (of static duration) are cold. Before anything is stored through the handle. */
void store_set_cold(struct store *s, const char *prefix);
bool store_is_cold(const struct store *s, const char *key);
/* How deep cold objects that this handle stores lie. */
enum store_depth store_cold_depth(struct store *s);
/* Whether there can be archived objects at all. */
bool store_has_archive(const struct store *s);
/* One request. ERR_OBJECT_MISSING. Where there is no archive everything is STORE_DEPTH_NONE. Any thread. */
int store_look_cold(struct store *s, const char *key, struct store_coldness *ret, struct error *err) PK_CHECK;
/* Ask that the object be readable for `days` (1 to 3650) once it has come back. `c` is what store_look_cold said. Asked again
 * it changes nothing, or, once it has come back, its end. ERR_S3_TIER: not in that tier, now or ever; another may do. Any
 * thread. */
int store_thaw(struct store *s, const char *key, const struct store_coldness *c, enum store_tier tier, unsigned days,
               struct error *err) PK_CHECK;

const char *store_tier_name(enum store_tier t); /* "expedited" */
/* The longest that a thaw takes by the documentation named above; 0: that depth cannot be thawed in that tier, or need not. */
int64_t store_thaw_ns(enum store_depth d, enum store_tier t);

#endif
