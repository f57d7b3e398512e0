/* Asking witnesses for cosignatures (C2SP tlog-witness, the client's side): what a job adds to a log is offered to the witnesses
 * of the configuration when the job is over. */
#ifndef PK_WORK_WITNESSES_OFFER_H
#define PK_WORK_WITNESSES_OFFER_H

#include "work/context.h"

/* Offer the newest checkpoint of the open repository to each URL of its `witness.ask`, when the log has grown since it was opened,
 * and store what witnesses that the configuration names answer where clients look for it. No failure harms anything: each is
 * told as a warning, and a witness that stays silent shows in `status` and `doctor`. Takes at most some seconds a witness. */
void witnesses_offer(struct work *w);

#endif
