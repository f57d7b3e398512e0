/* What of a recovery point lies in an archive class (store/archive.h), and having it brought back. */
#ifndef PK_REPO_THAW_H
#define PK_REPO_THAW_H

#include "repo/reader.h"

struct thaw_pack {
    char key[96];
    uint64_t bytes;
    struct store_coldness is;
    unsigned forgotten; /* looks at which the store knew nothing of a thaw that it was asked for */
};
struct thaw_survey {
    uint64_t packs, bytes;   /* that the point needs, as far as the store lists them */
    uint64_t point_bytes;    /* that all of the point needs; the same but for a part of it */
    struct thaw_pack *cold;  /* of these, what is of an archive class */
    size_t cold_count;
    uint64_t frozen, frozen_bytes; /* nobody asked for these */
    uint64_t asked, asked_bytes;   /* on their way */
    uint64_t done;                 /* can be read for now */
    int64_t soonest_ns;            /* of these, when the first freezes again; 0: none, or the server does not say */
};
/* The packs that some items of a point need, and how much that is. */
struct thaw_need;
int thaw_need_item(struct thaw_need *n, struct snapshot *s, const struct item_head *h, struct error *err) PK_CHECK;
/* Asked once there is something cold in the point: tells of the items that are wanted by thaw_need_item, and answers 1;
 * 0: all of the point is. */
typedef int (*thaw_narrow)(void *ctx, struct thaw_need *n, struct error *err);
/* One request for 1000 packs of the store, and one for each of the point that is of an archive class, several at a
 * time. Unless `whole`, or the repository's own packs go to an archive, a store whose first 1000 packs are not is not
 * asked further. Costs memory of a row for each cold pack. `narrow` may be NULL. */
int thaw_survey_make(struct repo *r, const struct snapshot_info *info, bool whole, thaw_narrow narrow, void *ctx,
                     struct thaw_survey *ret, struct error *err) PK_CHECK;
/* Help only, where requests take long: what thaw_survey_make and then snapshot_open begin with is asked for. Both
 * follow at once, and then store_expect_end. */
void thaw_expect(struct repo *r, const struct snapshot_info *info);
void thaw_survey_free(struct thaw_survey *s);
/* Ask for all that is frozen, several at a time, and count it as asked for. The first failure stops; what was asked for by then
 * is on its way, and asking again is fine. */
int thaw_ask(struct repo *r, struct thaw_survey *s, enum store_tier tier, unsigned days, struct error *err) PK_CHECK;
/* Look again at what is on its way, in order, until one still is. *ret_done: nothing is any more. */
int thaw_look(struct repo *r, struct thaw_survey *s, bool *ret_done, struct error *err) PK_CHECK;

#endif
