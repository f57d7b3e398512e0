/* Between which instants a surface with WAL can be recovered, timeline by timeline. */
#ifndef PK_WORK_WAL_WINDOW_H
#define PK_WORK_WAL_WINDOW_H

#include "work/wal.h"

struct wal_window {
    uint32_t timeline;
    int64_t first_ns; /* the end of the first base backup from which nothing is missing, or when the timeline began */
    int64_t last_ns;  /* when the last of its WAL was stored */
    uint64_t from, to;
};
/* By the bases that are kept and the ranges of `v` (of the surface's cluster), by timeline and place. Times are those
 * of storing, so near the commits in it and no more. The handle's repository is open, its index with it, with a key
 * that reads; with another there are none. *ret freed with seam_free. */
int wal_windows(struct work_wal *h, const struct wal_view *v, struct wal_window **ret, size_t *ret_n,
                struct error *err) PK_CHECK;
/* The same from nothing, by all that is kept anywhere (work_wal_open_all); none for a surface without WAL. */
int wal_windows_of(struct work *w, const char *environment, const char *surface, struct wal_window **ret, size_t *ret_n, struct error *err) PK_CHECK;
/* The same by what a verification of this place saw. *ret_known: the key reads; with another there are none. The
 * repository of `w` is open, its index with it. */
int wal_windows_seen(struct work *w, const char *environment, const char *surface, const struct wal_view *v,
                     bool *ret_known, struct wal_window **ret, size_t *ret_n, struct error *err) PK_CHECK;
/* "timeline 2 from 2026-… to 2026-…" */
void wal_window_text(const struct wal_window *x, char out[120]);

#endif
