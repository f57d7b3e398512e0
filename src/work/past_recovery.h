/* The past out of a physical backup: its cluster on a scratch server, recovered to an instant by the WAL that is stored. */
#ifndef PK_WORK_PAST_RECOVERY_H
#define PK_WORK_PAST_RECOVERY_H

#include "work/past.h"
#include "work/past_feed.h"
#include "work/pitr_find.h"

#define PAST_PHYSICAL "postgres-physical"

struct past_recovery {
    struct past past; /* instant_ns: of the last transaction that is in it, once it is open; before, that of the base */
    struct work *work;
    struct work_reading *in;
    const struct snapshot_info *info;
    struct restore_recovery want;
    bool beyond; /* WAL is needed beyond the backup's own */
    struct past_instance
        *instance; /* set after past_of_recovery: where the cluster rests in between; NULL: none is kept */
    bool up;       /* it was brought up, and may rest */
    json_t *scratch;
    struct work_wal *wal;
    int feedfd;
};
/* `in` is open, of a physical point, and outlives it. want: NULL or without anything is the end of the backup; `restore_command`, `action`
 * and `standby` of it do not count. Its texts are borrowed. Opening it brings all databases, whatever is included; before a byte is copied it
 * is held against the WAL that is stored (pitr_reach): ERR_PG_TARGET. ERR_PG_RECOVERY when the server did not get there. */
void past_of_recovery(struct work *w, const struct snapshot_info *info, struct work_reading *in, const struct restore_recovery *want,
                      struct past_recovery *ret);
bool past_is_physical(const struct snapshot_info *info);
/* Whether anything but the end of the backup is asked for. */
bool past_recovers(const struct restore_recovery *q);
/* The point that an address names; where it names none and a target is given, the newest physical one from which WAL
 * leads to the target. `find`, zeroed, says where a target was that had to be looked for. ERR_USAGE for a target with a
 * logical point, ERR_PG_TARGET when none leads there. Opens the repository. */
int past_find_point(struct work *w, const char *address, const struct restore_recovery *q, struct pitr_find *find,
                    const struct snapshot_info **ret, struct error *err) PK_CHECK;
/* What a plan or a result says of it: {"time"|"lsn"|"xid"|"name"|"latest"|"immediate", "exclusive", "timeline"}, or null. */
json_t *past_recovery_json(const struct restore_recovery *q);

/* One of the two ways, by the point's kind. */
struct past_either {
    struct past *past;
    struct past_point point;
    struct past_recovery recovery;
};
void past_of(struct work *w, const struct snapshot_info *info, struct work_reading *in, const struct restore_recovery *q, struct past_either *ret);

#endif
