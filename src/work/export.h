/* Export: a recovery point as its store's own files, for stock tools, with digests that sha256sum -c accepts. */
#ifndef PK_WORK_EXPORT_H
#define PK_WORK_EXPORT_H

#include "work/context.h"

/* Into the new folder: data/ (the store's files), manifest-sha256.txt and CHECKSUMS (the same lines), bagit.txt,
 * receipt.dsse.json (the signed envelope as in the log) and receipt.json (its predicate). Durable, and under its final
 * name only when whole. ERR_TARGET_NOT_EMPTY when it is there and not an empty folder. That it was exported, or begun
 * to be, is then said in the log (receipt.h), so `info` is not valid any more. */
int export_snapshot(struct work *w, const struct snapshot_info *info, const char *folder, struct error *err) PK_CHECK;

#endif
