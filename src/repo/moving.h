/* Chunks of one snapshot, also when collections move its data while it is read. What is missing by the view of the log that
 * the repository handle has is looked for by newer views of its own, so that nothing that others hold of the handle's
 * state or index changes. Thread-safe. */
#ifndef PK_REPO_MOVING_H
#define PK_REPO_MOVING_H

#include "repo/repo_internal.h"

#define MOVING_VIEWS_MAX 4 /* collections that one reader can be overtaken by */

struct moving;
/* `info` is read before it returns. The caches take cache_bytes, and a quarter of that for each newer view. */
int moving_new(struct repo *r, const struct snapshot_info *info, size_t cache_bytes, struct moving **ret, struct error *err) PK_CHECK;
void moving_free(struct moving *m);
/* Like root_read, fetch_chunk and fetch_release. ERR_OBJECT_MISSING stands when the log has nothing new to say; the message
 * tells when the snapshot was forgotten in the meantime. */
int moving_root(struct moving *m, const struct snapshot_info *info, struct root_doc *ret, struct error *err) PK_CHECK;
int moving_chunk(struct moving *m, const struct digest *id, enum chunk_kind kind, struct fetched *ret, struct error *err) PK_CHECK;
int moving_chunk_into(struct moving *m, const struct digest *id, enum chunk_kind kind, struct sha256_state **stream,
                      enum check_of proof, struct fetched *ret, struct error *err) PK_CHECK; /* fetch_chunk_into */
void moving_release(struct fetched *c);
/* Like fetch_ahead; while there are alternates, waited for. */
int moving_ahead(struct moving *m, const struct digest *id, size_t *ret_bytes, struct error *err) PK_CHECK;
/* Like fetch_expect. While there are alternates it is kept (expected.h), and the one that has to give it is told. */
void moving_expect(struct moving *m, const struct digest *id);
bool moving_retell(struct moving *m); /* an alternate reads ahead, and not all of what it should was kept */
/* Like fetch_packs, by the view that was there first. */
int moving_packs(struct moving *m, const uint8_t *id_prefix,
                 int (*cb)(void *ctx, const struct digest *pack, uint64_t bytes, struct error *err), void *ctx,
                 struct error *err) PK_CHECK;
void moving_reader(struct moving *m); /* like fetch_reader */
void moving_forget(struct moving *m); /* like fetch_forget */

/* A handle of its own on what `r` has open, with the log as it is now; keys and store are r's, which outlives it. */
int repo_view_open(struct repo *r, struct repo **ret, struct error *err) PK_CHECK;
void repo_view_close(struct repo *view);

#endif
