#include "surface/redis/redis_internal.h"

#include "base/seam.h"

int redis_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *err) {
    (void)name;
    return json_parse(attr, JSON_MAX_BYTES, "an item's attributes", ret, err);
}

struct heads {
    json_t *facts;
};

/* The snapshot's facts are not at hand here; the items say what an RDB needs. */
static int on_item(void *ctx, const struct source_head *h, struct error *err) {
    struct heads *w = ctx;
    json_t *attr = NULL;
    int r = json_parse(h->attr, JSON_MAX_BYTES, "an item's attributes", &attr, err);
    const json_t *version = json_object_get(attr, "rdb_version");
    if (r == 0 && version) r = json_put_int(w->facts, "rdb_version", json_integer_value(version), err);
    json_decref(attr);
    return r;
}

int redis_export_tree(const struct surface_context *ctx, struct source *src, int dirfd, struct error *err) {
    struct heads w = {json_pack("{s:i}", "rdb_version", 0)};
    struct redis_restored done = {.databases = json_array()};
    (void)ctx;
    int r = w.facts && done.databases ? src->ops->walk(src, BYTES_OF(NULL, 0), on_item, &w, err)
                                      : error_set(err, ERR_NO_MEMORY, "no memory");
    struct restore_request q = {.facts = w.facts};
    if (r == 0) r = redis_users_write(src, dirfd, err);
    if (r == 0) r = redis_rdb_write(src, &q, dirfd, "dump.rdb", &done, err);
    if (r == 0 && seam_fsync(dirfd) < 0) r = error_set_errno(err, ERR_IO_SYNC, "make the export durable");
    json_decref(w.facts);
    json_decref(done.databases);
    return r;
}
