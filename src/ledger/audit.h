/* Reading a whole log whatever the handle began at, and holding what is published of it against its entries. */
#ifndef PK_LEDGER_AUDIT_H
#define PK_LEDGER_AUDIT_H

#include "ledger/cosign.h"

/* Give entries [from, end), end <= ledger_size, to a judge: like ledger_replay, but also those that a summary stood
 * for. They come from bundles where these are whole, and every one is an entry of the handle's tree. stored_ns is 0. */
int ledger_walk(struct ledger *l, uint64_t from, uint64_t end, ledger_judge judge, void *ctx,
                struct error *err) PK_CHECK;
/* The same without looking inside: the bytes of each. */
typedef int (*ledger_entry_cb)(void *ctx, uint64_t seq, struct bytes envelope, struct error *err);
int ledger_walk_raw(struct ledger *l, uint64_t from, uint64_t end, ledger_entry_cb cb, void *ctx,
                    struct error *err) PK_CHECK;

/* The checkpoint that is published, as it stands. *ret_found is false, and nothing is appended, when there is none. */
int ledger_note(struct ledger *l, struct buf *ret, bool *ret_found, struct error *err) PK_CHECK;

/* Every tile and bundle that the tree of `size` has and that of `old` had not (those of `old`'s own partial ones
 * included), with the bytes that the entries give. The handle's tree is made whole for it. */
typedef int (*ledger_object_cb)(void *ctx, const char *key, struct bytes content, struct error *err);
int ledger_derive(struct ledger *l, uint64_t old, uint64_t size, ledger_object_cb cb, void *ctx,
                  struct error *err) PK_CHECK;

#endif
