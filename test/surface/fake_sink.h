/* A sink and a source in memory, for drivers' tests. It holds the drivers to surface.h: seq numbers used once and in
 * name order (or none used at all), known asked in name order by one thread, keep only of what known just answered, no item too far ahead of
 * the oldest unfinished one. A breach is remembered and fails fake_seal. Plain malloc throughout, so that faults at the
 * seam are the driver's alone. */
#ifndef PK_TEST_SURFACE_FAKE_SINK_H
#define PK_TEST_SURFACE_FAKE_SINK_H

#include "surface/surface.h"
#include <stdatomic.h>

struct fake;
struct fake *fake_new(void);
void fake_free(struct fake *f);

/* Begin a new snapshot; the one before, if sealed, is what known answers from. */
struct sink *fake_sink(struct fake *f);
/* End the snapshot after a successful capture. ERR_INTERNAL with the first breach of the contract. */
int fake_seal(struct fake *f, struct error *err) PK_CHECK;
void fake_abandon(struct fake *f); /* end it after a failed capture; the one before stays */
/* The sealed snapshot as a source; from any thread. Whole content is checked against its digest at the end of reading.
 */
struct source *fake_source(struct fake *f);
extern atomic_uint fake_seeks; /* how often a source began elsewhere than at its beginning, ever */
/* From now on it has peek, match, apart and seek, too. */
void fake_matching(struct fake *f);

/* Add an item by hand to the sealed snapshot, where it stands and whatever it is called. Copies. */
void fake_add(struct fake *f, const char *name, struct bytes attr, enum item_kind kind, struct bytes content);

struct fake_view { /* an item of the sealed snapshot; borrowed until the next snapshot */
    struct bytes name, attr;
    enum item_kind kind;
    uint64_t bytes, data_bytes; /* with and without holes */
    struct digest sha256;
    const uint8_t *data; /* without holes */
};
size_t fake_count(const struct fake *f);
struct fake_view fake_at(const struct fake *f, size_t i);
bool fake_find(const struct fake *f, const char *name, struct fake_view *ret);
void fake_spoil(struct fake *f, const char *name); /* turn a bit of an item's content, its digest staying */
/* What is given of an item before its end, to who asked for that (source_ops.late), is wrong. */
void fake_lie_late(struct fake *f, const char *name);

/* What the last snapshot saw. */
struct fake_counts {
    uint64_t known, kept, opened, held, confirmed, restarted, dropped; /* held ones are counted as opened, too */
};
struct fake_counts fake_counts(const struct fake *f);
/* The n-th open from now on, and all after it, fail with ERR_IO_FULL. 0: none. */
void fake_fail_open(struct fake *f, uint64_t n);
void fake_discard(struct fake *f, bool on); /* contents are digested and forgotten: for large trees */

#endif
