#include "surface/redis/redis_internal.h"

#include <stdlib.h>

/* "db/3" or "db/3/PATTERN"; *ret_pattern is NULL without one. */
static bool database_of(const char *one, uint64_t *ret, const char **ret_pattern) {
    char *end;
    if (strncmp(one, "db/", 3) != 0 || one[3] < '0' || one[3] > '9') return false;
    *ret = strtoull(one + 3, &end, 10);
    *ret_pattern = *end == '/' && end[1] ? end + 1 : NULL;
    return *end == 0 || *end == '/';
}

int redis_include_check(const char *const *include, struct error *err) {
    uint64_t database;
    const char *pattern;
    for (; include && *include; include++)
        if (!database_of(*include, &database, &pattern) && strcmp(*include, "functions") != 0 &&
            strcmp(*include, "acl") != 0)
            return error_set(err, ERR_USAGE,
                             "'%.200s' names nothing of a Redis snapshot; that is db/<number>, db/<number>/<pattern of "
                             "keys>, functions or acl",
                             *include);
    return 0;
}

bool redis_takes_database(const char *const *include, uint64_t database) {
    uint64_t one;
    const char *pattern;
    if (!include) return true;
    for (; *include; include++)
        if (database_of(*include, &one, &pattern) && one == database) return true;
    return false;
}

bool redis_takes_whole(const char *const *include, uint64_t database) {
    uint64_t one;
    const char *pattern;
    if (!include) return true;
    for (; *include; include++)
        if (database_of(*include, &one, &pattern) && one == database && !pattern) return true;
    return false;
}

bool redis_takes_key(const char *const *include, uint64_t database, struct bytes name) {
    uint64_t one;
    const char *pattern;
    if (!include) return true;
    for (; *include; include++)
        if (database_of(*include, &one, &pattern) && one == database &&
            (!pattern || redis_glob(BYTES_STR(pattern), name)))
            return true;
    return false;
}

bool redis_takes(const char *const *include, const char *item) {
    if (!include) return true;
    for (; *include; include++)
        if (!strcmp(*include, item)) return true;
    return false;
}
