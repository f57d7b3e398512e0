/* What a store was found to do (store_probe), judged for a repository. */
#ifndef PK_WORK_STORE_CHECK_H
#define PK_WORK_STORE_CHECK_H

#include "store/store.h"

/* What the protocol of the log stands on; without it nothing may be kept there. ERR_STORE_PROMISE with what is missing
 * and what it would cost; also where it could not be found out. */
int store_facts_required(const struct store_facts *f, struct error *err) PK_CHECK;

enum store_risk { STORE_RISK_NONE, STORE_RISK_TOLD, STORE_RISK_WARNED };
/* What else was found, one sentence at a time: the i-th, with its consequence; false behind the last. `next` may be
 * NULL. */
bool store_facts_sentence(const struct store_facts *f, unsigned i, enum store_risk *ret, const char **ret_text,
                          const char **ret_next);

#endif
