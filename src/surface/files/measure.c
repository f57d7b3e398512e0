/* The invariants of a tree as it lies on disk: a capture into a sink that keeps nothing but digests. */
#include "surface/files/capture_internal.h"
#include "surface/files/files_internal.h"

#define ROOM (64u << 10)

struct sink_item {
    struct sha256_state *hash;
    uint8_t room[ROOM];
};

static bool nothing_known(struct sink *s, struct bytes name, struct item_known *ret) {
    (void)s, (void)name, (void)ret;
    return false;
}

static int never_kept(struct sink *s, uint64_t seq, struct bytes name, struct bytes attr, struct error *err) {
    (void)s, (void)seq, (void)name, (void)attr;
    return error_set(err, ERR_INTERNAL, "an item was kept although nothing was known");
}

static int digest_open(struct sink *s, uint64_t seq, struct bytes name, enum item_kind kind, struct sink_item **ret,
                       struct error *err) {
    (void)s, (void)seq, (void)name;
    /* Not zeroed: most of the room is never looked at. */
    size_t n = kind == ITEM_NONE ? offsetof(struct sink_item, room) : sizeof(struct sink_item);
    struct sink_item *it = seam_alloc(n);
    if (!it) return error_set_errno(err, ERR_NO_MEMORY, "%zu bytes of memory", n);
    int rc = sha256_new(&it->hash, err);
    if (rc)
        seam_free(it);
    else
        *ret = it;
    return rc;
}

static int digest_space(struct sink_item *it, uint8_t **ret, size_t *ret_len, struct error *err) {
    (void)err;
    *ret = it->room;
    *ret_len = ROOM;
    return 0;
}

static int digest_advance(struct sink_item *it, size_t n, struct error *err) {
    (void)err;
    sha256_update(it->hash, BYTES_OF(it->room, n));
    return 0;
}

static int digest_hole(struct sink_item *it, uint64_t len, struct error *err) {
    (void)err;
    memset(it->room, 0, ROOM);
    for (uint64_t n; len > 0; len -= n) {
        n = len < ROOM ? len : ROOM;
        sha256_update(it->hash, BYTES_OF(it->room, n));
    }
    return 0;
}

static int digest_restart(struct sink_item *it, struct error *err) {
    (void)err;
    struct digest ignored;
    sha256_finish(it->hash, &ignored);
    return 0;
}

static void digest_drop(struct sink_item *it) {
    if (!it) return;
    sha256_free(it->hash);
    seam_free(it);
}

static int digest_close(struct sink_item *it, struct bytes attr, struct digest *ret_sha256, struct error *err) {
    (void)attr, (void)err;
    if (ret_sha256) sha256_finish(it->hash, ret_sha256);
    digest_drop(it);
    return 0;
}

static const struct sink_ops digest_ops = {
    .known = nothing_known,
    .keep = never_kept,
    .open = digest_open,
    .space = digest_space,
    .advance = digest_advance,
    .hole = digest_hole,
    .restart = digest_restart,
    .close = digest_close,
    .drop = digest_drop,
};

int files_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                  struct error *err) {
    struct sink sink = {&digest_ops};
    struct tree t = {0};
    struct capture c = {0};
    const char *path = json_string_value(json_object_get(scratch, "path"));
    if (scratch && (!path || path[0] != '/'))
        return error_set(err, ERR_JSON, "the scratch tree's facts have no absolute path");
    int rc = scratch ? tree_of_copy(facts, path, &t, err) : tree_read_settings(ctx->settings, &t, err);
    if (rc) return rc;
    rc = capture_run(&c, ctx, &t, &sink, true, err);
    uint64_t lost = atomic_load(&c.unreadable) + atomic_load(&c.vanished);
    if (rc == 0 && lost)
        rc = error_set(err, ERR_UNVERIFIABLE, "%llu items of the tree could not be read, so it was not measured",
                       (unsigned long long)lost);
    if (rc == 0) rc = tally_invariants(&c.tally, ret, err);
    capture_free(&c);
    tree_free(&t);
    return rc;
}
