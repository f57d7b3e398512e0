/* The small containers that Redis keeps in one string (listpack, ziplist, intset, zipmap), read element by element as
 * the string is decoded, however long it is. Sources: listpack.c, ziplist.c, intset.c and zipmap.c of Redis, by
 * behaviour.
 */
#ifndef PK_SURFACE_REDIS_RDB_PACK_H
#define PK_SURFACE_REDIS_RDB_PACK_H

#include "surface/redis/rdb_in.h"

enum pack_form { PACK_LISTPACK, PACK_ZIPLIST, PACK_INTSET, PACK_ZIPMAP };
struct rdb_pack {
    struct rdb_str s;
    struct bytes piece;
    enum pack_form form;
    uint64_t left; /* of an intset, elements */
    unsigned width;
    uint64_t entry; /* of a listpack, bytes of the element without its length at the back */
    bool value;     /* of a zipmap, a value comes next */
    uint8_t spare;
};
struct pack_element {
    bool end, number;
    int64_t v;
    uint64_t len; /* of text, to be consumed with pack_mix or pack_text */
};
int pack_open(struct rdb_in *in, enum pack_form form, struct rdb_pack *p, struct error *err) PK_CHECK;
/* The next element. Text must be consumed before the one after. At the end nothing may follow: ERR_REDIS_RDB. */
int pack_next(struct rdb_pack *p, struct pack_element *e, struct error *err) PK_CHECK;
/* The element as text, numbers in decimal. */
int pack_mix(struct rdb_pack *p, const struct pack_element *e, struct mix *m, struct error *err) PK_CHECK;
int pack_hash(struct rdb_pack *p, const struct pack_element *e, struct hash128 *ret, struct error *err) PK_CHECK;
int pack_double(struct rdb_pack *p, const struct pack_element *e, double *ret, struct error *err) PK_CHECK;
/* The next element, which must be there. */
int pack_need(struct rdb_pack *p, struct pack_element *e, struct error *err) PK_CHECK;

/* A score as text has it; ERR_REDIS_RDB when it is none. */
int rdb_score(const struct rdb_in *in, const char *text, double *ret, struct error *err) PK_CHECK;

#endif
