/* Plans as files of the cache folder: made once, with the digest of what they say, and carried out by their name. */
#ifndef PK_WORK_PLAN_FILE_H
#define PK_WORK_PLAN_FILE_H

#include "work/context.h"

#define PLAN_ID_BYTES 40
/* "<prefix>-<16 hex digits>" */
int plan_file_name(const char *prefix, char ret[PLAN_ID_BYTES], struct error *err) PK_CHECK;
bool plan_file_is(const char *id, const char *prefix);
/* A path of the plans' folder, which is made: "<id><suffix>". */
int plan_file_path(struct work *w, const char *id, const char *suffix, char ret[4200], struct error *err) PK_CHECK;
/* Sets "digest", and stores it for its owner only. */
int plan_file_save(struct work *w, const char *id, json_t *doc, struct error *err) PK_CHECK;
/* ERR_PLAN_STALE when there is none or it was altered. */
int plan_file_load(struct work *w, const char *id, json_t **ret, struct error *err) PK_CHECK;

#endif
