/* A tar archive that streams by in pieces of any size: header, contents, trailer of one member after the other.
 *
 * Read: ustar as POSIX.1-2008 (pax, "ustar Interchange Format") has it, with numbers in base 256 as GNU tar and PostgreSQL's tar.c
 * write what octal digits cannot hold. Members are files, folders and symbolic links; anything else is refused.
 */
#ifndef PK_SURFACE_PGPHYS_TAR_H
#define PK_SURFACE_PGPHYS_TAR_H

#include "base/bytes.h"
#include "base/error.h"

#define TAR_BLOCK 512

enum tar_type { TAR_FILE = 'f', TAR_FOLDER = 'd', TAR_LINK = 'l' }; /* as enum pgphys_type */
struct tar_member {
    struct bytes name;   /* without "./" in front and '/' at its end; relative, and no part of it is ".", ".." or empty */
    enum tar_type type;
    uint32_t mode;       /* 07777 */
    int64_t mtime_s;
    uint64_t bytes;      /* 0 for all but files */
    struct bytes target; /* of a link */
};
struct tar_ops { /* slices are borrowed for the call; a failure ends the reading */
    int (*begin)(void *ctx, const struct tar_member *, struct error *);
    int (*content)(void *ctx, struct bytes, struct error *); /* of a file; never empty */
    int (*end)(void *ctx, struct error *);
};
struct tar {
    const struct tar_ops *ops;
    void *ctx;
    uint8_t header[TAR_BLOCK];
    size_t have;               /* of the header */
    uint64_t left, padding;    /* of the member's content, and of what fills its last block */
    bool within, ended;        /* in a member; an empty block was seen */
};
void tar_init(struct tar *t, const struct tar_ops *ops, void *ctx);
/* ERR_PG_BASE when it is no tar archive. */
int tar_feed(struct tar *t, struct bytes piece, struct error *err) PK_CHECK;
/* The archive's end: ERR_PG_BASE when it broke off. Empty blocks at the end are not asked for. */
int tar_finish(const struct tar *t, struct error *err) PK_CHECK;

#endif
