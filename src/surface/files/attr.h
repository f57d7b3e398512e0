/* The attribute record of a file tree's item: what there is besides its name and content. doc/format/files.md is the
 * format.
 */
#ifndef PK_SURFACE_FILES_ATTR_H
#define PK_SURFACE_FILES_ATTR_H

#include "base/bytes.h"
#include "base/seam.h"

#define ATTR_VERSION 1
#define ATTR_BYTES_MAX (16u << 20)

enum file_type {
    FILE_REGULAR = 'f',
    FILE_FOLDER = 'd',
    FILE_LINK = 'l',     /* symbolic */
    FILE_HARDLINK = 'h', /* another name of a regular file that came earlier in name order */
    FILE_FIFO = 'p',
    FILE_CHAR = 'c',
    FILE_BLOCK = 'b',
};
enum attr_flag {
    ATTR_SPARSE = 1 << 0,  /* holes were found */
    ATTR_PARTIAL = 1 << 1, /* it changed while it was read, at every attempt: the content may be torn */
};

struct stamp { /* seconds may lie outside what int64 nanoseconds reach */
    int64_t s;
    uint32_t ns;
};
static inline bool stamp_equal(struct stamp a, struct stamp b) {
    return a.s == b.s && a.ns == b.ns;
}

struct attr {
    enum file_type type;
    uint32_t mode; /* permission bits, 07777 */
    uint32_t uid, gid;
    struct bytes user, group; /* their names where it was captured; empty when they had none */
    struct stamp mtime, ctime;
    uint64_t ino, dev, size, nlink;
    struct bytes target; /* FILE_LINK: where to; FILE_HARDLINK: the item name of the first name */
    uint32_t rdev_major, rdev_minor;
    uint32_t flags;
    int64_t since_ns;    /* when the capture began that read the item */
    struct bytes xattrs; /* a run for xattr_next */
};

/* Append the record of `a`. */
int attr_encode(const struct attr *a, struct buf *out, struct error *err) PK_CHECK;
/* Read a record; slices of *ret are borrowed from `in`. ERR_OBJECT_CORRUPT when it is malformed, ERR_FORMAT_VERSION
 * when it is of a version, or has a field, that this program may not pass over. *ret is untouched on failure. */
int attr_decode(struct bytes in, struct attr *ret, struct error *err) PK_CHECK;

/* Extended attributes: append one to a run; take the next out of one, false at its end (attr_decode has checked the
 * run). */
int xattr_append(struct buf *run, struct bytes key, struct bytes value, struct error *err) PK_CHECK;
bool xattr_next(struct bytes *run, struct bytes *ret_key, struct bytes *ret_value);

#endif
