/* Recovery of a physical backup to an instant: what a plan's document says of it, and the request that it makes. */
#ifndef PK_WORK_PITR_H
#define PK_WORK_PITR_H

#include "work/restore.h"

/* Adds "recovery" (null when nothing is asked for), "delta" and "tablespaces" of the options to a plan's document. For a
 * target that needs more WAL than the backup has, "restore_command" is the command line that fetches it: this program, with
 * the configuration that it runs with; ERR_IO_NOT_FOUND when its file is gone. A restore into the place of the old cluster, whose
 * server goes on to archive, always recovers, if only until it is consistent: else it would write other WAL under names of its old timeline. ERR_USAGE for what does not go together, or asks a logical backup for an instant. */
int pitr_document(struct work *w, const struct snapshot_info *info, const struct restore_options *o, json_t *doc, struct error *err) PK_CHECK;
/* ERR_USAGE: a point that is no physical backup is asked for an instant (time: which, where it is one). With the
 * nearest that there is: the surface's own point before it, and where physical backups of the environment are. */
int pitr_refuse_logical(struct work *w, const struct snapshot_info *info, const char *time, struct error *err) PK_CHECK;
/* The request that a document describes; borrowed from it. false: none. */
bool pitr_request(const json_t *doc, struct restore_recovery *ret);
/* What a plan says once it is known how far the WAL leads (pitr_reach; NULL when it was not asked): "point" and
 * "loss_seconds" (null when no time is known) become those of the target, "recovery" gets "wal" and "base_end", and
 * "estimated_seconds" counts the WAL to replay; "timeline" is the one that was found, also where the newest was asked
 * for; "restore_command" names the backup's cluster. Nothing else for a plan without recovery, or of a standby, which
 * has no target. */
int pitr_tell(const json_t *facts, const json_t *reach, json_t *doc, struct error *err) PK_CHECK;
/* Before a plan is carried out that takes the place of an old cluster: the histories of all timelines that are stored of it go into the
 * document, so that the server takes none of their numbers. Nothing for other plans. */
int pitr_histories(struct work *w, const struct snapshot_info *info, const json_t *facts, json_t *doc, struct error *err) PK_CHECK;
/* Whether the options name a target that a newer backup may lie behind. */
bool pitr_has_instant(const struct restore_options *o);

#endif
