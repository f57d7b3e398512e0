/* How far the stored write-ahead log leads from a base backup: looked at before a byte of it is copied, because a server finds
 * a missing segment only when all the rest has been restored. */
#ifndef PK_WORK_PITR_REACH_H
#define PK_WORK_PITR_REACH_H

#include "work/context.h"

/* Walks the WAL from the backup's end along the timeline that `q` asks for (its number, "current", or else the newest whose
 * history is stored), as a server does, over every fork on the way. ERR_PG_TARGET when that cannot lead to the target: no
 * WAL is stored, some is missing before the target, the timeline did not come from the backup, or the target lies behind what is
 * stored; each with what can be reached. A time is held against when the newest segment was stored, which is near its last commit
 * and no more. A transaction or a name is not searched for.
 * *ret, owned: {"from", "to", "timeline", "to_timeline", "bytes", "segments", "last", "newest", "replay_seconds", "missing_from"}
 * (the last null when nothing is missing); null for what recovers without the archive (immediate) or for ever (standby). */
int pitr_reach(struct work *w, const struct snapshot_info *info, const json_t *facts, const struct restore_recovery *q, json_t **ret, struct error *err) PK_CHECK;

#endif
