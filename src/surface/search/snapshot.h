/* Snapshots that the cluster makes itself, in a repository that is registered with it: method `snapshot` of the driver
 * for OpenSearch and Elasticsearch. Their bytes stay where the cluster keeps them, or are carried into ours.
 *
 * Invariants
 *  1. A snapshot is kept only when its state is SUCCESS, every shard succeeded, nothing failed, and it has every index
 * asked for.
 *  2. A registered repository is never changed; one of our own making is registered read-only, and unregistered at the
 * end.
 *  3. What is carried is what the snapshot itself names, shard by shard, so others may write to the repository
 * meanwhile.
 *  4. A snapshot of the cluster is removed only when it failed, is a former one of this surface that was carried, or
 * one that a backup noted as its own (surface/claims.h) and did not live to put into the log.
 */
#ifndef PK_SURFACE_SEARCH_SNAPSHOT_H
#define PK_SURFACE_SEARCH_SNAPSHOT_H

#include "surface/search/search_internal.h"

bool engine_surface(const struct surface_context *ctx); /* whether the surface says `method: snapshot` */
bool engine_facts(const json_t *facts);                 /* whether a snapshot was taken in that way */

/* ---- snapshot_repository.c ---- */
struct engine_repository {
    char name[256], type[32];
    char *folder;        /* of fs, as this host sees it; NULL: not known */
    char *bucket, *base; /* of s3: its bucket, and the path in it, as the cluster has them; NULL: not known */
    bool readonly;
};
/* The surface's, registered when it is asked for and there is none, tried out by every node. ERR_ENGINE_REPOSITORY. */
int engine_repository_open(const struct search_client *c, struct engine_repository *ret, struct error *err) PK_CHECK;
void engine_repository_free(struct engine_repository *r); /* safe on zeroed */
/* Every node can read and, unless it is read-only, write it. */
int engine_repository_verify(const struct search_client *c, const char *name, struct error *err) PK_CHECK;
/* Registers a folder read-only under a name of ours. ERR_ENGINE_STAGING when the cluster does not read there. */
int engine_repository_lend(const struct search_client *c, const char *name, const char *folder,
                           struct error *err) PK_CHECK;
/* Waits until no restore is from it. One that is not there is fine. */
int engine_repository_return(const struct search_client *c, const char *name, struct error *err) PK_CHECK;
/* The first folder of the nodes' path.repo; empty when there is none. */
int engine_path_repo(const struct search_client *c, char out[1024], struct error *err) PK_CHECK;

/* ---- snapshot_make.c ---- */
/* Makes one of these indices (an array of names) and waits for its end. *ret is what the cluster says of it, the
 * caller's. One that is not whole is removed. ERR_ENGINE_PARTIAL, ERR_ENGINE_REPOSITORY. */
int engine_snapshot_make(const struct search_client *c, const char *repository, const char *name, const json_t *indices,
                         bool carry, json_t **ret, struct error *err) PK_CHECK;
/* What the cluster says of one. ERR_ENGINE_GONE when there is none. */
int engine_snapshot_get(const struct search_client *c, const char *repository, const char *name, json_t **ret,
                        struct error *err) PK_CHECK;
/* ERR_ENGINE_PARTIAL unless it is whole and has these indices. */
int engine_snapshot_judge(const json_t *info, const json_t *indices, struct error *err) PK_CHECK;
/* Sizes by index and in all, of one that is whole: {"stats": …, "indices": {name: {"stats": …}}}. */
int engine_snapshot_status(const struct search_client *c, const char *repository, const char *name, json_t **ret,
                           struct error *err) PK_CHECK;
int engine_snapshot_remove(const struct search_client *c, const char *repository, const char *name,
                           struct error *err) PK_CHECK;
/* Whether it says of itself that this surface made it. */
bool engine_snapshot_ours(const struct search_client *c, const json_t *info);
/* Removes former ones of this surface, all but `name`, that were carried and that no backup copies any more, wherever
 * it runs: whose recovery point stands in the log, or which are a week old. *ret is counted up. */
int engine_snapshot_tidy(const struct search_client *c, const char *repository, const char *name, uint64_t *ret,
                         struct error *err) PK_CHECK;

/* ---- snapshot_leftover.c: what a killed backup of this surface left in the repository ---- */
/* Removes it, and says so; what cannot be removed now is tried again by the next backup. */
void engine_leftovers_remove(const struct search_client *c, const char *repository);
/* Before a snapshot is made; and when it is gone again. */
int engine_claim(const struct search_client *c, const char *repository, const char *name, struct error *err) PK_CHECK;
void engine_unclaim(const struct search_client *c, const char *repository, const char *name);

/* ---- snapshot_smile.c: which files a shard's part of a snapshot has. Pure. ---- */
struct engine_blob {
    struct bytes name;          /* as the repository names it, without the number of a part */
    uint64_t bytes, part_bytes; /* part_bytes 0: it is one file */
    uint32_t crc;               /* of all but the last eight bytes, as Lucene has it; only when has_crc */
    bool has_crc;
};
/* The content of one of the repository's own files: framed, checksummed, perhaps compressed. out has what is in it.
 * ERR_ENGINE_FILES. */
int engine_blob_open(struct bytes file, struct buf *out, struct error *err) PK_CHECK;
/* cb is called for every file of "files" but those whose bytes lie in the description itself. ret_files counts all. */
int engine_blob_files(struct bytes smile, int (*cb)(void *ctx, const struct engine_blob *, struct error *), void *ctx,
                      uint64_t *ret_files, uint64_t *ret_bytes, struct error *err) PK_CHECK;

/* ---- snapshot_reach.c: the files of the cluster's repository, as this host reaches them: a folder, or a bucket ----
 */
/* How shards are laid out: below indices/, or (OpenSearch 3) below a folder that is named by a hash, before or behind
 * the repository's own path. The numbers are the cluster's. */
enum { ENGINE_FIXED, ENGINE_PREFIX, ENGINE_INFIX };
struct engine_files {
    int dir;                       /* -1: it is a bucket */
    struct surface_bucket *bucket; /* NULL: it is a folder */
    char base[300], name[400];
};
/* ERR_ENGINE_FILES when it is not known where they are. */
int engine_files_open(const struct search_client *c, const struct engine_repository *r, struct engine_files *ret,
                      struct error *err) PK_CHECK;
void engine_files_close(struct engine_files *f);
const char *engine_files_name(const struct engine_files *f); /* "the folder /x", for messages */
/* The N of the newest index-N; hint: by what the repository says, where a list would be long. */
int engine_files_newest(const struct engine_files *f, bool hint, uint64_t *ret, struct error *err) PK_CHECK;
struct engine_file {
    const struct engine_files *of;
    int fd;
    uint64_t bytes, at;
    char path[700]; /* or key */
};
/* path: below the repository, HASH/indices/… where shards are laid out so. ERR_ENGINE_FILES when there is none. */
int engine_file_open(const struct engine_files *f, const char *path, int layout, struct engine_file *ret,
                     struct error *err) PK_CHECK;
int engine_file_next(struct engine_file *f, uint8_t *p, size_t room, size_t *ret_n, struct error *err) PK_CHECK;
void engine_file_close(struct engine_file *f);
int engine_file_read(const struct engine_files *f, const char *path, int layout, size_t max, struct buf *out,
                     struct error *err) PK_CHECK;
/* FNV-1a of number and id: six bits as a letter of base64, fourteen as digits. */
void engine_shard_hash(const char *id, unsigned number, char out[20]);

/* ---- snapshot_files.c: the files of one snapshot in the cluster's repository ---- */
struct engine_carried {
    uint64_t seq; /* of the next item */
    uint64_t items, bytes, kept, files;
    uint64_t file_bytes; /* as the cluster counts: files of shards */
    uint64_t generation;
    json_t *ids; /* {index: id} */
};
/* Writes them as items "snapshot/<path below the folder>", in the order of names. The repository's list of snapshots is
 * written with this one alone. ret->seq is set by the caller. ERR_ENGINE_FILES. */
int engine_carry(const struct search_settings *s, struct sink *sink, struct engine_files *files, const char *uuid,
                 const struct search_indices *indices, struct engine_carried *ret, struct error *err) PK_CHECK;

/* ---- snapshot_place.c: carried files, where a cluster reads them ---- */
struct engine_place {
    char repository[256]; /* the name to restore from */
    char folder[1200];    /* ours, and removed at the end; empty: the cluster's own repository is used */
};
/* Lays them down and registers them, or finds the cluster's own repository. What a run before left is removed first. */
/* Whether the file of a carried snapshot is laid down: not those of indices that are not restored. */
bool engine_place_wants(const struct restore_request *q, struct bytes name);
int engine_place_open(const struct search_client *c, struct source *src, const struct restore_request *q,
                      struct engine_place *ret, struct error *err) PK_CHECK;
/* What a run before left, when there was nothing any more to open it for; to be closed. */
bool engine_place_find(const struct search_client *c, const struct restore_request *q, struct engine_place *ret);
int engine_place_close(const struct search_client *c, struct engine_place *p, struct error *err) PK_CHECK;

/* ---- the method; the shapes are surface.h's ---- */
int engine_probe(const struct surface_context *, json_t **ret, struct error *) PK_CHECK;
int engine_capture(const struct surface_context *, struct sink *, struct capture_result *, struct error *) PK_CHECK;
int engine_restore(const struct surface_context *, struct source *, const struct restore_request *,
                   struct restore_result *, struct error *) PK_CHECK;
int engine_measure(const struct surface_context *, const json_t *scratch, const json_t *facts, json_t **,
                   struct error *) PK_CHECK;
int engine_outside(const struct surface_context *, const json_t *facts, bool *ret, struct error *) PK_CHECK;

#endif
