#include "repo/writer_internal.h"

static size_t slot_of(const struct idset *s, const uint8_t *id) {
    return (size_t)get_u64(id) & (s->slots - 1);
}

static bool empty(const uint8_t *id) {
    return get_u64(id) == 0 && get_u64(id + 8) == 0;
}

bool idset_has(const struct idset *s, const uint8_t *id) {
    if (!s->slots) return false;
    for (size_t i = slot_of(s, id);; i = (i + 1) & (s->slots - 1)) {
        if (empty(s->ids[i])) return false;
        if (memcmp(s->ids[i], id, ID_PREFIX_BYTES) == 0) return true;
    }
}

static void put(struct idset *s, const uint8_t *id) {
    size_t i = slot_of(s, id);
    while (!empty(s->ids[i])) {
        if (memcmp(s->ids[i], id, ID_PREFIX_BYTES) == 0) return;
        i = (i + 1) & (s->slots - 1);
    }
    memcpy(s->ids[i], id, ID_PREFIX_BYTES);
    s->used++;
}

int idset_add(struct idset *s, const uint8_t *id, struct error *err) {
    if (empty(id)) return 0;
    if ((s->used + 1) * 2 > s->slots) {
        struct idset n = {.slots = s->slots ? s->slots * 2 : 4096};
        void *p;
        int rc = mem_alloc(n.slots * ID_PREFIX_BYTES, &p, err);
        if (rc < 0) return rc;
        n.ids = p;
        for (size_t i = 0; i < s->slots; i++)
            if (!empty(s->ids[i])) put(&n, s->ids[i]);
        seam_free(s->ids);
        *s = n;
    }
    put(s, id);
    return 0;
}

void idset_free(struct idset *s) {
    seam_free(s->ids);
    *s = (struct idset){0};
}
