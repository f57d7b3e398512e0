/* Shared by check, collect, repack and reindex. */
#ifndef PK_REPO_MAINTAIN_INTERNAL_H
#define PK_REPO_MAINTAIN_INTERNAL_H

#include "repo/maintain.h"
#include "repo/repo_internal.h"

struct digests {
    struct digest *d;
    size_t n, cap;
};
int digests_add(struct digests *s, const struct digest *d, struct error *err) PK_CHECK;
void digests_free(struct digests *s);

/* The packs that a snapshot needs today: its pack list, with what collections since have moved. Sorted. */
int snapshot_packs(struct repo *r, const struct snapshot_info *info, struct digests *ret, struct error *err) PK_CHECK;

struct pack_fact {
    struct digest name;
    uint64_t bytes;
    int64_t created_ns;
    bool meta;
};
struct pack_facts {
    struct pack_fact *f;
    size_t n, cap;
};
/* Every pack object in the store. Sorted by name. */
int store_packs(struct repo *r, struct pack_facts *ret, struct error *err) PK_CHECK;
/* Every pack that the index knows. Sorted by name, unique. */
int index_packs(struct repo *r, struct pack_facts *ret, struct error *err) PK_CHECK;
bool pack_fact_object(const struct store_object *o, struct pack_fact *ret); /* of the store; false when it is none */
void pack_fact_row(const uint8_t *row, struct pack_fact *ret); /* of a run */
const struct pack_fact *pack_fact_find(const struct pack_facts *s, const struct digest *name);

/* Read an object whole and hold its SHA-256 against `name`: ERR_OBJECT_CORRUPT. `bytes` is about its size. Any thread; holds at
 * most 8 MiB of it. */
int object_check_name(struct store *s, const char *key, uint64_t bytes, const struct digest *name, struct error *err) PK_CHECK;
/* Whether a collection that counts came since this handle read the log. What the handle knows stays as it is. */
bool collected_meanwhile(struct repo *r);
/* Whether a fold of the log failed because something is missing or not what it should be, which no second try mends. */
static inline bool is_damage(int rc) { return rc == -ERR_OBJECT_MISSING || rc == -ERR_OBJECT_CORRUPT; }

/* Whether run `i` of the index mentions one of `gone` (sorted). */
int run_names(struct repo *r, size_t i, const struct digests *gone, bool *ret, struct error *err) PK_CHECK;
/* Rewrite the runs that mention one of `gone` (sorted) without it. Staged. */
int runs_without(struct repo *r, const struct digests *gone, struct digests *added, struct digests *removed, struct error *err) PK_CHECK;
/* Which entries of the index are live, as packs_use found it; good as long as the handle does not sync. */
struct marks;
void marks_free(struct marks *m);
/* Store the live chunks of these packs anew. */
int repack(struct repo *r, const struct marks *m, const struct pack_facts *which, struct digests *new_packs, struct digests *new_runs, uint64_t *ret_bytes, struct error *err) PK_CHECK;
/* From now on the writer stores chunks of that epoch: a pack has one, and a chunk keeps its id. */
int moved_epoch(struct writer *w, unsigned epoch, struct error *err) PK_CHECK;
/* What a writer of writer_open_bare took: its packs, and a run over them, staged (where a request costs little, packs
 * are durable). `rc` is how it went so far: below 0 nothing is finished, and answered again. */
struct writer;
int moved_finish(struct writer *w, int rc, struct digests *new_packs, struct digests *new_runs, uint64_t *ret_bytes, struct error *err) PK_CHECK;
/* Runs over the packs of the store that `known` (sorted) does not have, by their directories; packs that a collection removed
 * and packs that are damaged are left out. Staged and committed; nothing refers to them yet. */
int index_rebuild(struct repo *r, const struct digests *known, struct digests *added, struct error *err) PK_CHECK;
/* Share of live bytes for each pack of the index: plain bytes live and in all, of one run; a pack that several runs have
 * is told of several times. Needs the read key. ret_marks may be NULL. */
struct pack_use { struct digest name; uint64_t live, total; };
int packs_use(struct repo *r, int (*cb)(void *ctx, const struct pack_use *u, struct error *err), void *ctx, struct marks **ret_marks, struct error *err) PK_CHECK;
/* Calls for every chunk that live snapshots need (data, lists, manifests, roots, and the bases of deltas, maybe often). */
int live_chunks(struct repo *r, int (*cb)(void *ctx, const uint8_t *id_prefix, struct error *err), void *ctx, struct error *err) PK_CHECK;
/* The same for one snapshot. */
int snapshot_chunk_ids(struct repo *r, const struct snapshot_info *info, int (*cb)(void *ctx, const uint8_t *id_prefix, struct error *err), void *ctx, struct error *err) PK_CHECK;
/* Appends a statement (borrowed) at exactly log position `at`; ERR_REPO_COMMIT_LOST when the log has moved on. */
int statement_append_at(struct repo *r, uint64_t at, json_t *statement, struct error *err) PK_CHECK;
/* What a collection knew of the log when it marked: with it, its entry may come behind what others appended since
 * (removal.c). */
struct marked {
    uint64_t at;                   /* entries below have been looked at */
    const struct digests *packs;   /* all that go, sorted; those too that an earlier entry names */
    const struct digests *swept;   /* all index objects that go, sorted */
    bool moves;                    /* others take the place of packs that live snapshots list */
    size_t moved;                  /* so many of the runs added are over those; they come first */
    struct digests runs;           /* that were live, sorted */
    size_t deletes, lists, epochs; /* in the log; of lists, those that deletes name */
};
/* As of now, when the state has just been marked. The caller fills in what goes, and frees `runs`. */
int marked_begin(struct repo *r, struct marked *ret, struct error *err) PK_CHECK;
/* Appends a DELETE entry at log position `at`. When the log has moved on: ERR_REPO_COMMIT_LOST; or with `marked`,
 * behind it, if nothing of that needs what goes. Then the runs may have become others. replaced_by (maybe empty) takes
 * the place of `packs` in every snapshot's list that has one of them; NULL when no live snapshot lists any.
 * ERR_KEY_ROLE when the entry is there and counts for nothing, as the key was removed meanwhile. */
int delete_append(struct repo *r, uint64_t at, const struct digests *packs, const struct digests *replaced_by,
                  struct digests *runs_added, struct digests *runs_removed, const struct digests *swept, uint64_t bytes,
                  struct marked *marked, struct error *err) PK_CHECK;

#endif
