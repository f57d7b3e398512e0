/* PackStream, the encoding of Bolt's messages and of our own records of a graph: read from a slice within its bounds,
 * written into a buffer in the shortest form. See "PackStream" of Neo4j's Bolt manual, and doc/format/neo4j.md.
 */
#ifndef PK_SURFACE_NEO4J_PACKSTREAM_H
#define PK_SURFACE_NEO4J_PACKSTREAM_H

#include "base/bytes.h"
#include "base/error.h"

#define PACK_DEPTH_MAX 32

enum ps_kind {
    PACK_NULL,
    PACK_BOOL,
    PACK_INT,
    PACK_FLOAT,
    PACK_BYTES,
    PACK_TEXT,
    PACK_LIST,
    PACK_MAP,
    PACK_STRUCT,
};
/* The tags of structures. */
enum ps_tag {
    TAG_NODE = 'N',
    TAG_RELATIONSHIP = 'R',
    TAG_UNBOUND = 'r',
    TAG_PATH = 'P',
    TAG_DATE = 'D',
    TAG_TIME = 'T',
    TAG_LOCAL_TIME = 't',
    TAG_DATE_TIME = 'I',
    TAG_DATE_TIME_ZONE = 'i',
    TAG_DATE_TIME_LEGACY = 'F',
    TAG_DATE_TIME_ZONE_LEGACY = 'f',
    TAG_LOCAL_DATE_TIME = 'd',
    TAG_DURATION = 'E',
    TAG_POINT_2D = 'X',
    TAG_POINT_3D = 'Y',
};
struct ps_value {
    enum ps_kind kind;
    bool flag;
    uint8_t tag; /* of a structure */
    int64_t number;
    uint64_t bits;     /* of a float, as IEEE 754 has them */
    struct bytes text; /* of text and bytes; borrowed from the slice */
    uint32_t count;    /* members of a list or a structure, pairs of a map: read next */
};
struct ps_in {
    const uint8_t *at, *end;
};
static inline struct ps_in ps_of(struct bytes b) {
    return (struct ps_in){b.ptr, b.ptr + b.len};
}

/* The next value, or the head of one with members. A count is never more than what is left of the slice could hold.
 * ERR_NEO4J_PROTOCOL. */
int ps_next(struct ps_in *in, struct ps_value *ret, struct error *err) PK_CHECK;
/* The same, and it must be of that kind. `what` names it in the error. */
int ps_need(struct ps_in *in, enum ps_kind kind, const char *what, struct ps_value *ret, struct error *err) PK_CHECK;
/* Passes over a value with all its members: *ret (may be NULL) is where it lies. ERR_NEO4J_PROTOCOL also when it is
 * nested deeper than PACK_DEPTH_MAX. */
int ps_skip(struct ps_in *in, struct bytes *ret, struct error *err) PK_CHECK;
/* The value of a key of a map that begins at `map`; *ret_found false when it has none, or is no map. */
int ps_find(struct bytes map, const char *key, struct ps_in *ret, bool *ret_found, struct error *err) PK_CHECK;

int ps_put_bool(struct buf *out, bool v, struct error *err) PK_CHECK;
int ps_put_int(struct buf *out, int64_t v, struct error *err) PK_CHECK;
int ps_put_float(struct buf *out, uint64_t bits, struct error *err) PK_CHECK;
int ps_put_bytes(struct buf *out, struct bytes v, struct error *err) PK_CHECK;
int ps_put_text(struct buf *out, struct bytes v, struct error *err) PK_CHECK;
int ps_put_str(struct buf *out, const char *v, struct error *err) PK_CHECK;
int ps_put_list(struct buf *out, uint32_t n, struct error *err) PK_CHECK; /* n values follow */
int ps_put_map(struct buf *out, uint32_t n, struct error *err) PK_CHECK;  /* n pairs follow */
int ps_put_struct(struct buf *out, unsigned n, uint8_t tag, struct error *err) PK_CHECK;
/* A value with members follows whose bytes are packed already. */
static inline int ps_put_raw(struct buf *out, struct bytes v, struct error *err) {
    return buf_append(out, v.ptr, v.len, err);
}

#endif
