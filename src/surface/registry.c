#include "surface/surface.h"

static const struct surface_driver *const drivers[] = {&surface_files, &surface_postgres, &surface_postgres_physical,
                                                       &surface_redis, &surface_search, &surface_neo4j};

const struct surface_driver *surface_find(const char *kind) {
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
        if (!strcmp(drivers[i]->kind, kind)) return drivers[i];
    return NULL;
}

int sink_write(const struct sink *s, struct sink_item *it, struct bytes data, struct error *err) {
    while (data.len > 0) {
        uint8_t *p;
        size_t room;
        int rc = s->ops->space(it, &p, &room, err);
        if (rc) return rc;
        size_t n = room < data.len ? room : data.len;
        memcpy(p, data.ptr, n);
        rc = s->ops->advance(it, n, err);
        if (rc) return rc;
        data = BYTES_OF(data.ptr + n, data.len - n);
    }
    return 0;
}
