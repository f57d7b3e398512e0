/* Pack lists, plain or in parts (doc/format/index.md), and what live snapshots list.
 *
 * A list of few packs is plain. A longer one names parts, which are plain lists that never change, each with the bits of those
 * of its packs that are meant, and has the few packs itself that are in no part yet. So the next snapshot's list takes the
 * parts of the last one's over, and what a commit writes goes with what is new: 1 bit and a little for every pack used,
 * 32 bytes for each that is. */
#ifndef PK_REPO_PACKLIST_H
#define PK_REPO_PACKLIST_H

#include "repo/maintain_internal.h"
#include "repo/nameset.h"

#define PART_NAMES 8192u /* packs in a part, and at most in a list by itself; struct repo has another in tests */

struct list_part {
    struct digest name; /* of a plain list */
    uint32_t count;     /* of names in it */
    const uint8_t *bits; /* which of them, from bit 0 of byte 0 on; NULL: all */
};
struct packlist {
    uint8_t *body;
    struct list_part *parts;
    size_t part_count;
    const struct digest *own; /* sorted */
    size_t own_count;
};
/* Reads a list of either kind, but not its parts. ERR_OBJECT_CORRUPT for a part whose name is that of a list in parts. */
int packlist_open(struct repo *r, const struct digest *name, struct packlist *ret, struct error *err) PK_CHECK;
void packlist_close(struct packlist *l);
typedef int (*name_cb)(void *ctx, const struct digest *name, struct error *err);
/* Every name of a list, in no order; one part at a time is in memory. Stops at the first answer that is not 0. */
int packlist_each(struct repo *r, const struct digest *name, name_cb cb, void *ctx, struct error *err) PK_CHECK;
/* Reads it, and each of its parts. */
int packlist_readable(struct repo *r, const struct digest *name, struct error *err) PK_CHECK;

/* Calls cb for each name that a list shall have, perhaps more than once; called twice, it must give the same. */
typedef int (*names_source)(void *ctx, name_cb cb, void *cb_ctx, struct error *err);
/* Writes a list, with parts of `former` (may be NULL) where they serve. Staged. ret_parts: its parts, sorted; those that are
 * not former's are staged too. */
int packlist_make(struct repo *r, names_source each, void *ctx, const struct digest *former, struct digest *ret, uint64_t *ret_bytes, struct digests *ret_parts, struct error *err) PK_CHECK;

/* Which snapshots to look at; a forgotten one is never asked about. */
typedef bool (*snapshot_filter)(void *ctx, const struct snapshot_info *s);
/* What is needed of these snapshots today, the moves of collections since included. A part that many lists share is read
 * once. `broken` (may be NULL) is told of a list that cannot be read, and the others are still looked at. */
typedef int (*list_broken)(void *ctx, const struct snapshot_info *s, int code, const char *text, struct error *err);
int packlist_union(struct repo *r, snapshot_filter wanted, list_broken broken, void *ctx, struct nameset *ret, struct error *err) PK_CHECK;
/* The lists of live snapshots, or some of them, are read next: see store_expect. */
void packlist_expect(struct repo *r);
/* The parts of every list of a live snapshot. */
int packlist_live_parts(struct repo *r, struct digests *ret, struct error *err) PK_CHECK;

#endif
