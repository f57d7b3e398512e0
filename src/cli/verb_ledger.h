/* The actions of 'ledger' that stand in files of their own. */
#ifndef PK_CLI_VERB_LEDGER_H
#define PK_CLI_VERB_LEDGER_H

#include "cli/cli.h"

int ledger_witness(struct cli *c, struct error *err) PK_CHECK;

#endif
