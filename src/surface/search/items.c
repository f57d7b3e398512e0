#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

#define SECTIONS_MAX 16

int search_items_open(struct search_items *w, const char *name, struct item_out *o, struct error *err) {
    int r = item_out_open(o, w->sink, w->seq, name, ITEM_RECORDS, err);
    if (r == 0) w->seq++;
    return r;
}

int search_items_close(struct search_items *w, struct item_out *o, json_t *attr, struct error *err) {
    w->items++;
    w->bytes += o->total;
    return item_out_close(o, attr, err);
}

static int put_json(struct search_items *w, const char *name, const json_t *body, json_t *attr, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
    struct item_out o = {0};
    int r = json_write(body, &text, err);
    if (r == 0) r = search_items_open(w, name, &o, err);
    if (r < 0) {
        json_decref(attr);
        return r;
    }
    r = item_out_put(&o, buf_bytes(&text), err);
    if (r == 0)
        r = search_items_close(w, &o, attr, err);
    else
        json_decref(attr);
    item_out_drop(&o);
    return r;
}

int search_items_index(struct search_items *w, const struct search_index *x, struct error *err) {
    char name[320];
    snprintf(name, sizeof name, "index/%.255s/meta", x->name);
    return put_json(w, name, x->definition,
                    json_pack("{s:s, s:s, s:s*}", "type", "index", "index", x->name, "data_stream", x->stream), err);
}

int search_items_sections(struct search_items *w, const struct search_client *c, json_t *invariants,
                          struct error *err) {
    const struct search_section *order[SECTIONS_MAX];
    size_t n = 0;
    char name[64];
    int r = 0;
    for (const struct search_section *x = search_sections; x->name; x++) { /* items come by name */
        size_t k = n++;
        for (; k > 0 && strcmp(order[k - 1]->name, x->name) > 0; k--) order[k] = order[k - 1];
        order[k] = x;
    }
    for (size_t i = 0; i < n && r == 0; i++) {
        json_t *bodies = NULL;
        r = search_section_get(c, order[i], &bodies, err);
        snprintf(name, sizeof name, "cluster/%s", order[i]->name);
        if (r == 0 && bodies)
            r = put_json(w, name, bodies,
                         json_pack("{s:s, s:I}", "type", order[i]->name, "count", (json_int_t)json_object_size(bodies)),
                         err);
        if (r == 0 && bodies && !order[i]->apart)
            r = search_invariants_section(order[i]->name, bodies, invariants, err);
        json_decref(bodies);
    }
    return r;
}
