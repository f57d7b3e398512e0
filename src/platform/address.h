/* Addresses: "env/surface[@point]", the way people name what they mean.
 *
 *   prod/postgres            one surface           prod/postgres@latest               its newest recovery point
 *   prod/postgres,files      several               prod/postgres@bkp-20260216-07      by backup id or a unique prefix
 * of it prod/all                 all of them           prod/postgres@2026-02-16T09:58:00Z the newest at or before that
 * time prod/@truth              all of one class
 *   prod/disaster_recovery   a configured set
 */
#ifndef PK_PLATFORM_ADDRESS_H
#define PK_PLATFORM_ADDRESS_H

#include "platform/config.h"
#include "platform/schema.h"

#define ADDRESS_SURFACES_MAX 64
#define POINT_ID_BYTES_MAX 64 /* with the NUL */

enum point_kind { POINT_UNSAID, POINT_LATEST, POINT_ID, POINT_TIME };
struct point_spec {
    enum point_kind kind;
    char id[POINT_ID_BYTES_MAX]; /* POINT_ID: whole, or its beginning */
    int64_t time_ns;             /* POINT_TIME */
};
struct address {
    char environment[SCHEMA_NAME_BYTES];
    bool all;                                               /* "env/all" */
    enum config_class class;                                /* "env/@truth"; else CONFIG_CLASS_UNSET */
    char surfaces[ADDRESS_SURFACES_MAX][SCHEMA_NAME_BYTES]; /* neither: as named, without repetition */
    size_t surface_count;
    struct point_spec point;
};

const char *address_class_name(enum config_class class); /* "truth" */
/* Only the form. ERR_USAGE says which part is wrong. `ret` is untouched on failure. */
int address_parse(const char *text, struct address *ret, struct error *err) PK_CHECK;
int point_parse(const char *text, struct point_spec *ret, struct error *err) PK_CHECK;

/* What an address means in a configuration, in the order of the files ("all", classes) or as named. Borrowed from the
 * configuration. ERR_NO_POINT names what there is. */
struct address_target {
    const struct config_environment *environment;
    const struct config_surface *surfaces[ADDRESS_SURFACES_MAX];
    size_t surface_count;
};
int address_resolve(const struct config *c, const struct address *a, struct address_target *ret,
                    struct error *err) PK_CHECK;

/* One recovery point as a lookup needs it. `whole` says that it may be restored (its backup succeeded). */
struct point_entry {
    const char *id;
    int64_t time_ns; /* the instant that its data stands for */
    bool whole;
    bool aside; /* of what a restore was about to write over: only its id means it */
};
/* Which of n points, in log order, is meant: UNSAID and LATEST are the newest whole one that is not aside; TIME is the
 * newest such one at or before it; ID matches a whole id or a unique beginning, with or without "bkp-", whole or not.
 * ERR_NO_POINT says why there is none, and names up to four candidates where a beginning fits several. `what`
 * ("prod/postgres") stands in messages. */
int point_find(const struct point_spec *spec, const struct point_entry *points, size_t n, const char *what,
               size_t *ret_index, struct error *err) PK_CHECK;

#endif
