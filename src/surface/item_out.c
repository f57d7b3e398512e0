#include "surface/item_out.h"

#include "base/seam.h"

int item_out_open(struct item_out *o, struct sink *sink, uint64_t seq, const char *name, enum item_kind kind,
                  struct error *err) {
    *o = (struct item_out){.sink = sink};
    return sink->ops->open(sink, seq, BYTES_STR(name), kind, &o->item, err);
}

int item_out_flush(struct item_out *o, struct error *err) {
    int r = o->used ? o->sink->ops->advance(o->item, o->used, err) : 0;
    o->used = o->room = 0;
    return r;
}

int item_out_put(struct item_out *o, struct bytes b, struct error *err) {
    o->total += b.len;
    while (b.len) {
        if (o->used == o->room) {
            int r = item_out_flush(o, err);
            if (r == 0) r = o->sink->ops->space(o->item, &o->space, &o->room, err);
            if (r < 0) return r;
        }
        size_t n = o->room - o->used < b.len ? o->room - o->used : b.len;
        memcpy(o->space + o->used, b.ptr, n);
        o->used += n;
        b = BYTES_OF(b.ptr + n, b.len - n);
    }
    return 0;
}

int item_out_close(struct item_out *o, json_t *attr, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(JSON_MAX_BYTES);
    int r = attr ? json_write(attr, &text, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    json_decref(attr);
    if (r == 0) r = item_out_flush(o, err);
    if (r < 0) return r;
    struct sink_item *it = o->item;
    o->item = NULL;
    return o->sink->ops->close(it, buf_bytes(&text), NULL, err);
}

void item_out_drop(struct item_out *o) {
    if (o->item) o->sink->ops->drop(o->item);
    o->item = NULL;
}
