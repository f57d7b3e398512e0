/* An item of a sink that is written in small parts, and ended with attributes in JSON. One thread at a time. */
#ifndef PK_SURFACE_ITEM_OUT_H
#define PK_SURFACE_ITEM_OUT_H

#include "base/json.h"
#include "surface/surface.h"

struct item_out {
    struct sink *sink;
    struct sink_item *item; /* NULL once it was closed or dropped */
    uint64_t total;         /* bytes that were put */
    uint8_t *space;
    size_t room, used;
};
/* Begin it: item_out_drop() is safe on *o ever after. */
int item_out_open(struct item_out *o, struct sink *sink, uint64_t seq, const char *name, enum item_kind kind,
                  struct error *err) PK_CHECK;
int item_out_put(struct item_out *o, struct bytes b, struct error *err) PK_CHECK; /* copies in */
/* What was put is the sink's: before anyone else writes to or closes the item. */
int item_out_flush(struct item_out *o, struct error *err) PK_CHECK;
/* End it. Takes `attr` in every case; NULL is what no memory makes of json_pack(). The item may be left open by an
 * error. */
int item_out_close(struct item_out *o, json_t *attr, struct error *err) PK_CHECK;
void item_out_drop(struct item_out *o); /* nothing, when it was closed */

#endif
