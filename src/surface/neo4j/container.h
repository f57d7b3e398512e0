/* The plain content of a database dump of Neo4j 5, taken apart as it comes: what is in files, and all the rest, its
 * FRAME. Dump files begin with "DZV1" and one zstd stream; its content is "zstd"  u32 version, 1   u64 files   u64
 * bytes in them   (big-endian) a POSIX tar, with PAX headers, of the store's folder and of the transaction logs' found
 * on dumps of 5.26 and held to by test/e2e/neo4j_offline_server.sh.
 *
 * Invariants
 *  1. Frame and files, each in order, are the content byte for byte, whatever is in it: what is not understood is
 * frame.
 *  2. From the frame alone the same cuts are found again, so the content can be put together from frame and files.
 */
#ifndef PK_SURFACE_NEO4J_CONTAINER_H
#define PK_SURFACE_NEO4J_CONTAINER_H

#include "base/bytes.h"
#include <stdbool.h>

#define NEO4J_DUMP_MAGIC "DZV1"
#define NEO4J_FILE_NAME_MAX 4096

struct neo4j_container_events {
    void *ctx;
    int (*frame)(void *ctx, struct bytes piece, struct error *err); /* the next of it, in pieces of any size */
    /* A file of at least one byte begins here. `name` is relative, without "." and ".." in it; borrowed for the call.
     */
    int (*file)(void *ctx, struct bytes name, uint64_t bytes, struct error *err);
    int (*content)(void *ctx, struct bytes piece, struct error *err); /* of that file; not used when reading a frame */
};
struct neo4j_container {
    const struct neo4j_container_events *on;
    bool frame_only; /* what is fed is the frame: files are told of, and their contents are not in it */
    int state;
    uint8_t block[512];
    size_t have;
    struct buf pax;
    uint64_t left, pad; /* of what is being passed, and what fills its last block */
    uint64_t pax_size;
    bool has_pax_size, has_pax_name;
    unsigned zero_blocks;
    char name[NEO4J_FILE_NAME_MAX + 1]; /* of a PAX header for the next entry; empty: none that an item can have */
    uint64_t files_said, bytes_said, files, bytes; /* said at its head, and counted */
    bool whole;                                    /* the end of the tar was seen */
    bool foreign;                                  /* something was not understood: what follows is frame */
};
/* `on` is borrowed until the last call. */
void neo4j_container_init(struct neo4j_container *c, const struct neo4j_container_events *on, bool frame_only);
void neo4j_container_free(struct neo4j_container *c);
/* The next bytes. Fails only as an event does, or for want of memory. */
int neo4j_container_feed(struct neo4j_container *c, struct bytes in, struct error *err) PK_CHECK;
/* There is no more. ERR_SOURCE_TRUNCATED when the tar has no end, or not the files and bytes that its head says. A
 * content that is foreign cannot be told to be whole by this, and passes. */
int neo4j_container_end(const struct neo4j_container *c, struct error *err) PK_CHECK;

#endif
