/* A restored cluster takes the place of the live one: the parts of the driver's cutover table (surface/cutover.h). */
#ifndef PK_SURFACE_PGPHYS_TAKEOVER_H
#define PK_SURFACE_PGPHYS_TAKEOVER_H

#include "surface/cutover.h"
#include "surface/pgphys/pgphys_internal.h"

extern const struct cutover_driver pgphys_cutover;

/* freeze.c */
int pgphys_freeze_look(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int pgphys_freeze_before(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int pgphys_freeze(const struct surface_context *, const struct cutover_freeze *, json_t **ret, struct error *) PK_CHECK;
int pgphys_freeze_resume(const struct surface_context *, const json_t *before, struct error *) PK_CHECK;
int pgphys_freeze_last_wal(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int pgphys_freeze_quiet(const struct surface_context *, const json_t *last, bool builtin, struct error *) PK_CHECK;

/* takeover.c */
/* The context of the new server: the surface's, with the connection put in. ret->settings is owned: json_decref. */
int pgphys_takeover_context(const struct surface_context *, const json_t *connection, struct surface_context *ret,
                            json_t **ret_settings, struct error *) PK_CHECK;

/* takeover_check.c */
int pgphys_takeover_check(const struct surface_context *, const struct cutover_check *, json_t **ret,
                          struct error *) PK_CHECK;
int pgphys_takeover_health(const struct surface_context *, const json_t *connection, struct error *) PK_CHECK;

#endif
