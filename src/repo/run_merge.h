/* Merging index runs, so that a look-up asks few and a commit still writes little.
 *
 * Runs fall into classes by their entries, each eight times the one before; when a class has eight, they and all smaller
 * ones become one run of a higher class. A run of RUN_FULL entries or more stays as it is. So an entry is written at most once
 * a class, five times in all, and of n entries there are at most n / RUN_FULL runs and 28 more. */
#ifndef PK_REPO_RUN_MERGE_H
#define PK_REPO_RUN_MERGE_H

#include "repo/maintain_internal.h"

#define RUN_FULL (RUN_ENTRIES_MAX / 2)
#define MERGE_COUNT 8u
#define MERGE_REMOVED_MAX 200u /* live runs that go at once: an entry of the log names them */

/* Writes what there is to merge in the index; staged and committed, and not live before an entry says so. removed: what went
 * into `added`, runs that are not live included. */
int runs_merge(struct repo *r, struct digests *added, struct digests *removed, struct error *err) PK_CHECK;

#endif
