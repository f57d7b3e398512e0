/* Backing up surfaces. */
#ifndef PK_WORK_BACKUP_H
#define PK_WORK_BACKUP_H

#include "work/context.h"

struct backup_options {
    bool full_read, dry_run;
    const char *ticket, *note;
    const char *export_dir; /* NULL: none */
    const char *before_restore; /* the plan of a restore that is about to write over it; NULL: none */
};
struct backup_result {
    char label[260], id[SNAPSHOT_ID_MAX];
    bool stored, complete;
    uint64_t seq, items, bytes;
    int64_t duration_ns;
    struct writer_stats stats;
    uint64_t unreadable, changed, skipped;
    char method[32], consistency[16];
    char fallback[65], fallback_of[65], fallback_why[400]; /* it went to this repository in the place of that one; else empty */
};
/* One surface. A receipt is in the log whenever it could be written, for failures too. 0 with complete false: partial. */
int backup_surface(struct work *w, const struct work_surface *s, const struct backup_options *o, struct backup_result *ret, struct error *err) PK_CHECK;
/* Files and folders without configuration, as the surface ADHOC_ENVIRONMENT/name. */
int backup_adhoc_surface(const char *const *paths, size_t n, const char *name, struct work_surface *ret, struct error *err) PK_CHECK;

#endif
