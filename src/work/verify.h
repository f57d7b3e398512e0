/* Verification: the ladder's rungs, each result a receipt in the log. */
#ifndef PK_WORK_VERIFY_H
#define PK_WORK_VERIFY_H

#include "work/context.h"

struct verify_finding {
    char object[128], text[300];
    enum check_result result;
    json_t *snapshots, *paths; /* arrays; owned by the callee, valid for the call */
    uint64_t paths_total;
};
struct verify_result {
    enum verify_level level;
    bool passed;
    uint64_t objects, bytes, findings;
    uint64_t packs_archived, bytes_archived; /* in an archive class, so not read */
    size_t unread;  /* points that need such packs, and of which there is no result for that */
    size_t points; /* of which there is a result: what was forgotten in the meantime has none */
    uint64_t packs, packs_left, pack_bytes, bytes_left, bytes_covered; /* with a budget: see struct check_totals */
    int64_t oldest_ns;                                                 /* likewise */
    size_t vouched; /* with a budget: points of which every object was checked within the window, and that say so now */
    int64_t duration_ns;
    json_t *unverified; /* owned by the caller; NULL without any: [{"snapshot","surface","code","text"}] */
    json_t *checks; /* owned by the caller; NULL without any: what others than this program said at level full, of each
                     * point (surface_context.checks, with "snapshot" and "surface"), also of one in `unverified` */
    uint64_t checks_not_made; /* of these */
    json_t *differences; /* owned by the caller: [{"invariant","expected","found"}] of level full */
};
typedef void (*verify_finding_cb)(void *ctx, const struct verify_finding *f);
/* Verify these snapshots (all of the open repository) at `level`: present, checksum, decode or full. A receipt a snapshot is
 * appended where the key may sign one. 0 when the verification ran, whatever it found: see ret->passed.
 * What a concurrent collection moves is followed: the check is taken again by the newer log, a few times (ERR_REPO_BUSY).
 * Each one's receipt at full has the time of its own restore; below full, the time of the check that all had in common.
 * Entries of the log that count for nothing are named to the warning event.
 * A point that needs packs out of an archive class gets no receipt unless something else of it is damaged, and nothing passes.
 * A point whose own check could not be carried out (what it has outside is out of reach, no scratch server can be had) gets no
 * receipt and is in ret->unverified; the others go on, and nothing passes. When that is so of all, its error is answered.
 * Full first checks up to decode, then restores each into a scratch place and compares invariants; what a check of others'
 * (ret->checks) finds is damage. One that could not be made, since there is no such program, hinders nothing: it is in the
 * receipt, whose result then is WARNED. */
int verify_snapshots(struct work *w, const struct snapshot_info *const *snapshots, size_t n, enum verify_level level, verify_finding_cb cb, void *ctx, struct verify_result *ret, struct error *err) PK_CHECK;

/* Append to differences what of `want` (invariants of a capture) `got` does not have or has otherwise; what was not
 * measured again is a difference, never a pass. */
int verify_compare(const json_t *want, const json_t *got, json_t *differences, struct error *err) PK_CHECK;

#define VERIFY_WINDOW_NS (30 * 24 * 3600 * INT64_C(1000000000)) /* a cycle of checks with a budget */
/* As much as the budget allows, at checksum or decode, what was checked longest ago first; what was reached is remembered in
 * the cache and, where the key may vouch, in the log (coverage/v1). `passed` says that nothing bad was found, whether or not
 * everything was reached. A point gets a receipt when it is damaged, and when every object of it was checked within the
 * window and since its last receipt of that level; the receipt begins with the oldest of these checks. */
int verify_budget(struct work *w, const struct snapshot_info *const *snapshots, size_t n, enum verify_level level, const struct check_budget *b, verify_finding_cb cb, void *ctx, struct verify_result *ret, struct error *err) PK_CHECK;

#endif
