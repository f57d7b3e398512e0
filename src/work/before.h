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
/* A plan whose target overwrites by now what it did not when the plan was made. */
bool before_is_new(const json_t *doc, const json_t *target);
/* What is due, as a sentence for who reads a plan, of its document or of a set's member; empty: nothing is overwritten.
 */
void before_text(const json_t *doc, const char *label, char out[600]);

/* See to it, and note in the plan what there is. A run before this that was killed, or failed, has left a note of what
 * there was before it: named as well, and enough where half a restore is what no backup takes. ERR_BACKUP_FIRST when
 * there is none, or only a partial one: nothing was begun. Recovery points that were borrowed from w->repo are looked
 * up anew afterwards. */
int before_see_to(struct work *w, struct restore_plan *p, struct error *err) PK_CHECK;
/* The driver is about to write: the note for the next run, durable; and it has ended well: there is no need of one. */
int before_begin(struct work *w, const struct restore_plan *p, struct error *err) PK_CHECK;
void before_end(struct work *w, const struct restore_plan *p);
/* What a run of the plan `from` has noted serves `to`, which was made for the same request. */
void before_hand_on(struct work *w, const char *from, const char *to);

#endif
