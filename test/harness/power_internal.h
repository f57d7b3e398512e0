/* The journal of the power harness, written by power.c and replayed by power_state.c. */
#ifndef PK_TEST_HARNESS_POWER_INTERNAL_H
#define PK_TEST_HARNESS_POWER_INTERNAL_H

#include "power.h"
#include <stddef.h>
#include <sys/types.h>

enum power_kind {
    POWER_CREATE, /* object, mode with type, dir and name (NULL for none), data: a link's target */
    POWER_WRITE,  /* object, at, data */
    POWER_TRUNC,  /* object, at: the new size */
    POWER_EXTEND, /* object, at: the least size */
    POWER_MODE,   /* object, mode */
    POWER_SYNC,   /* object */
    POWER_LINK,   /* object, dir, name */
    POWER_UNLINK, /* dir, name */
    POWER_RENAME  /* dir, name, dir2, name2, exchange */
};

/* Objects are numbered as they appear; 0 is the root. */
struct power_op {
    enum power_kind kind;
    size_t object, dir, dir2;
    char *name, *name2;
    uint64_t at;
    uint8_t *data;
    size_t len;
    mode_t mode;
    int exchange;
};

struct power_journal {
    struct power_op *ops;
    size_t count, cap;
    size_t baseline; /* the first of them make what stood there before */
    size_t objects;
};
extern struct power_journal power_journal;

_Noreturn void power_abort(const char *what, const char *path);
void *power_memory(void *p, size_t n); /* realloc that aborts */

#endif
