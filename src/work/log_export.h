/* A plain copy of the log for an auditor: checked by stock tools, or by a witness. */
#ifndef PK_WORK_LOG_EXPORT_H
#define PK_WORK_LOG_EXPORT_H

#include "work/context.h"

struct log_exported {
    uint64_t entries, size, objects; /* of the log; of its checkpoint; files written */
    char verifier[300];              /* of a key that signed the checkpoint; the admin's where it did */
};
/* Into a new or empty folder (ERR_TARGET_NOT_EMPTY): log/, tile/, checkpoint, witness/, keys.txt and README.md. Every
 * entry was held against the log's tree; tiles and bundles are made of them. Without a checkpoint one is published
 * first. */
int log_export(struct work *w, const char *to, struct log_exported *ret, struct error *err) PK_CHECK;

#endif
