/* The two actions of the verb 'key' that have to do with keys on paper. */
#ifndef PK_CLI_KEY_KIT_H
#define PK_CLI_KEY_KIT_H

#include "cli/verb.h"

int key_kit_print(struct cli *c, struct work *w, struct error *err) PK_CHECK;
int key_kit_test(struct cli *c, struct work *w, struct error *err) PK_CHECK;

#endif
