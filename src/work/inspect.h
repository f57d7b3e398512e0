/* Looking into recovery points: their facts, their items, and what differs between two. Contents are not read, so the
 * key need only open metadata; that is a restore or admin key all the same. */
#ifndef PK_WORK_INSPECT_H
#define PK_WORK_INSPECT_H

#include "work/context.h"

/* The signed envelope of a point's receipt as it stands in the log; its SHA-256 is snapshot_info.entry. */
int inspect_receipt(struct work *w, const struct snapshot_info *info, struct buf *ret, struct error *err) PK_CHECK;
/* Of a copy: the envelope of its source's receipt. ERR_NO_POINT when it is none; else errors of copy_source_read. */
int inspect_source_receipt(struct work *w, const struct snapshot_info *info, struct buf *ret, struct error *err) PK_CHECK;
/* The facts: {"point": {…}, "receipt": {…}, "source": null or of a copy {"signature": "VERIFIED" | "FAILED", "signer", "why"},
 * "snapshot": {…} or null when the key may not read}. */
int inspect_facts(struct work *w, const struct snapshot_info *info, json_t **ret, struct error *err) PK_CHECK;

/* {"name", "type", …} of an item: what its driver says, and "bytes" and "sha256" when it has content. */
int inspect_item_json(const struct surface_driver *d, const struct item_head *h, json_t **ret,
                      struct error *err) PK_CHECK;
/* The items that the paths name and all below them, path by path, each in name order; no paths: all. Leading and
 * trailing slashes do not count. ERR_NO_POINT for a path that names nothing. The head is borrowed for the call. */
typedef int (*inspect_cb)(void *ctx, const struct surface_driver *d, const struct item_head *h, struct error *err);
int inspect_items(struct work *w, const struct snapshot_info *info, const char *const *paths, inspect_cb cb, void *ctx,
                  struct error *err) PK_CHECK;

enum change_kind { CHANGE_ADDED = 0, CHANGE_REMOVED, CHANGE_CONTENT, CHANGE_ATTRIBUTES, CHANGE_BOTH };
const char *
change_kind_name(enum change_kind k); /* "added", "removed", "content", "attributes", "content and attributes" */
struct change {
    enum change_kind kind;
    const struct item_head *before, *after; /* NULL where there is none; borrowed for the call */
};
struct diff_totals {
    uint64_t same, added, removed, changed;
    uint64_t bytes_added, bytes_removed; /* of items that came and went */
};
/* What differs from `a` to `b`, in name order, by a merge of both walks, each by a thread of its own; memory is bounded
 * whatever the number of items. Attributes differ when what their driver says of them does: how an item happened to be
 * stored on disk is no change. ERR_USAGE when the two are of different kinds. */
typedef int (*change_cb)(void *ctx, const struct surface_driver *d, const struct change *c, struct error *err);
int inspect_diff(struct work *w, const struct snapshot_info *a, const struct snapshot_info *b, change_cb cb, void *ctx,
                 struct diff_totals *ret, struct error *err) PK_CHECK;

#endif
