/* A plain folder as a place for WAL: files by their names, and of a segment that is not whole "<name>.part". Harm comes by
 * files in it, so that it can be done to another process: ".fail" (every put fails), ".slow" (seconds that a put takes),
 * ".differs" (a put of a segment finds other bytes). */
#ifndef PK_TEST_SURFACE_WAL_FOLDER_H
#define PK_TEST_SURFACE_WAL_FOLDER_H

#include "surface/wal.h"

struct wal_folder {
    struct wal_sink sink;
    char path[256];
    uint32_t segment_bytes; /* of what is in it; 0: take the first one's */
};
void wal_folder_open(struct wal_folder *f, const char *path, uint32_t segment_bytes);
void wal_folder_harm(const struct wal_folder *f, const char *what, const char *content); /* content NULL: no longer */

#endif
