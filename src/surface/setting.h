/* What drivers read from their settings. Errors begin with `kind`, the driver's. */
#ifndef PK_SURFACE_SETTING_H
#define PK_SURFACE_SETTING_H

#include "surface/surface.h"

/* A copy of the text of a key, the caller's to free; *ret stays as it is when there is none. ERR_CONFIG_VALUE when it
 * is no text. */
int setting_text(const json_t *o, const char *key, const char *kind, char **ret, struct error *err) PK_CHECK;
/* The secret that the key `password` names, had through the context; *ret stays as it is when none is named. */
int setting_password(const struct surface_context *ctx, const json_t *o, const char *kind, struct secret **ret,
                     struct error *err) PK_CHECK;

#endif
