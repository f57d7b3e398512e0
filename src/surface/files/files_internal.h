/* The functions behind the driver table `surface_files`; contracts are those of surface.h. */
#ifndef PK_SURFACE_FILES_FILES_INTERNAL_H
#define PK_SURFACE_FILES_FILES_INTERNAL_H

#include "surface/surface.h"

int files_probe(const struct surface_context *ctx, json_t **ret_facts, struct error *err) PK_CHECK;
int files_capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                  struct error *err) PK_CHECK;
int files_plan(const struct surface_context *ctx, const struct restore_request *req, json_t **ret,
               struct error *err) PK_CHECK;
int files_restore(const struct surface_context *ctx, struct source *src, const struct restore_request *req,
                  struct restore_result *ret, struct error *err) PK_CHECK;
int files_measure(const struct surface_context *ctx, const json_t *scratch, const json_t *facts, json_t **ret,
                  struct error *err) PK_CHECK;
int files_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *err) PK_CHECK;
int files_wants(const struct surface_context *ctx, struct source *src, const struct restore_request *q,
                int (*cb)(void *, const struct source_head *, struct error *), void *cb_ctx,
                struct error *err) PK_CHECK;

#endif
