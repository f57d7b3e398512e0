/* Recovery of a physical backup to an instant: what a plan's document says of it, and the request that it makes. */
#ifndef PK_WORK_PITR_H
#define PK_WORK_PITR_H

#include "work/restore.h"

/* Adds "recovery" (null when nothing is asked for), "delta" and "tablespaces" of the options to a plan's document. For a
 * target that needs more WAL than the backup has, "restore_command" is the command line that fetches it: this program, with
 * the configuration that it runs with. ERR_USAGE for what does not go together, or asks a logical backup for an instant. */
int pitr_document(struct work *w, const struct snapshot_info *info, const struct restore_options *o, json_t *doc, struct error *err) PK_CHECK;
/* The request that a document describes; borrowed from it. false: none. */
bool pitr_request(const json_t *doc, struct restore_recovery *ret);
/* What a plan says once it is known how far the WAL leads (pitr_reach; NULL when it was not asked): "point" and "loss_seconds"
 * (null when no time is known) become those of the target, "recovery" gets "wal" and "base_end", and "estimated_seconds" counts the
 * WAL to replay. Nothing for a plan without recovery, or of a standby, which has no target. */
int pitr_tell(const json_t *facts, const json_t *reach, json_t *doc, struct error *err) PK_CHECK;
/* Whether the options name an instant that a newer backup may lie behind. */
bool pitr_has_instant(const struct restore_options *o);

#endif
