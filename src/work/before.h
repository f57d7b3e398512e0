/* Before a restore writes over something live whose state nothing keeps, that is backed up: the driver's plan says so
 * ("overwrites", surface.h), the document of the plan says by whom ("backup_first", which is absent where nothing is
 * lost), and the receipts name it. */
#ifndef PK_WORK_BEFORE_H
#define PK_WORK_BEFORE_H

#include "work/restore.h"

/* What a plan's document says: */
#define BEFORE_HERE "here"           /* by whoever carries the plan out, right before it writes */
#define BEFORE_ELSEWHERE "elsewhere" /* by somebody else, after the plan was made: this key or this copy cannot */
#define BEFORE_DECLINED "declined"   /* by nobody, as was asked for */
/* For a document that has its "target". */
int before_put(struct work *w, bool declined, json_t *doc, struct error *err) PK_CHECK;
/* A backup is due before the plan is carried out. */
bool before_due(const struct restore_plan *p);

/* See to it, and note in p->before what there is now. A run that was killed keeps to what it had taken, when the same
 * plan is carried out again: what is there by then may be half restored. ERR_BACKUP_FIRST when there is none, or only a
 * partial one: nothing was begun. Recovery points that were borrowed from w->repo are looked up anew afterwards. */
int before_see_to(struct work *w, struct restore_plan *p, struct error *err) PK_CHECK;
/* The plan's run has ended, whatever came of it: the next has to see to it again. */
void before_end(struct work *w, const struct restore_plan *p);
/* What is due, as a sentence for who reads a plan, of its document or of a set's member; empty: nothing is overwritten. */
void before_text(const json_t *doc, const char *label, char out[600]);
/* What a killed run of the plan `from` had taken serves `to`, which was made for the same request. */
void before_hand_on(struct work *w, const char *from, const char *to);

#endif
