/* The server's own incremental (PostgreSQL 17 and newer) as a hint for a base backup over the stream: what it says is
 * unchanged is taken from the previous snapshot's content, so that only what changed is read and sent. What comes of it
 * is an ordinary snapshot that names all its chunks: nothing needs another to be restored.
 *
 * It is never proof. When the last backup that read everything is too old, the next reads everything, and every page of
 * a relation is held against the previous snapshot. One that differs, though its LSN is older than that snapshot's
 * beginning, is one that the server would not have sent; and so is one whose LSN lies between the two beginnings, when
 * the server's summaries do not tell of it (summaries.c). Those are counted.
 */
#ifndef PK_SURFACE_PGPHYS_STREAM_INCREMENTAL_H
#define PK_SURFACE_PGPHYS_STREAM_INCREMENTAL_H

#include "surface/pgphys/stream_internal.h"

struct stream_change { /* a page that differs and may be in the server's summaries */
    uint32_t space, database, relation, fork, block;
    bool told; /* it is */
};
struct stream_incremental {
    enum { STREAM_ALL, STREAM_ALL_COMPARED, STREAM_CHANGES } mode;
    char why[200];                    /* of STREAM_ALL, although changes were asked for */
    uint64_t former_lsn;              /* where the previous snapshot begins */
    char last_full[32];               /* when the last that read everything did */
    bool hints;                       /* pages may change without WAL, by hint bits: what is found is no miss */
    bool vm_lost;                     /* the server does not tell when bits of visibility maps are cleared */
    struct pgphys_manifest *manifest; /* of STREAM_CHANGES, of the files as they are stored */
    uint8_t *was;                     /* room for the former content of STREAM_ALL_COMPARED */
    size_t was_bytes;
    /* the present item */
    bool changes, raw, same; /* it comes as what changed; in other bytes than are stored; it is as it was */
    bool forgets;            /* of it nothing is kept: what does not come is zeros */
    bool compared;           /* its former content can be read */
    struct item_known known;
    struct buf raw_name;
    struct sha256_state *sha; /* of the raw bytes */
    uint64_t raw_bytes;
    uint8_t head[12];
    size_t head_have;
    uint32_t count, length; /* blocks that come; blocks of the file at least */
    uint64_t kept;          /* bytes at its beginning that are as they were where no block comes; zeros behind */
    uint32_t *blocks;
    size_t blocks_have, blocks_cap, padding; /* bytes; numbers; bytes */
    bool ready;                              /* the header is whole */
    uint32_t next;                           /* of blocks */
    uint32_t block_have;                     /* bytes of the present one */
    uint64_t at;                             /* what is written of the item, or compared */
    uint64_t missed_here;
    struct stream_change file; /* of which relation it is */
    /* of all */
    uint64_t files_same, blocks_sent, blocks_kept, compared_blocks, missed, missed_files, hinted;
    struct stream_change *changed; /* of STREAM_ALL_COMPARED, in no order */
    size_t changed_n, changed_cap;
    uint64_t changed_more; /* beyond what is kept: never asked for */
    char summaries[200];   /* why the summaries were not asked; empty: they were */
    char missed_first[160];
};
/* How this backup is to be taken, by the settings, the server and the previous snapshot. May upload the
 * previous snapshot's manifest through `copy`. Failing to do that is no failure: everything is read then. */
int stream_incremental_choose(struct stream_base *b, PGconn *ask, PGconn *copy, int64_t now_ns,
                              struct error *err) PK_CHECK;
/* The server did not want to: the connection is made ready for another command, by which everything is read. */
int stream_incremental_give_up(struct stream_base *b, PGconn *c, struct error *why, struct error *err) PK_CHECK;
/* After everything was compared: which changes the server's summaries of the WAL in between do not tell of. That they
 * cannot be asked is no failure. */
int stream_summaries_ask(struct stream_base *b, PGconn *ask, struct error *err) PK_CHECK;
int stream_incremental_facts(const struct stream_base *b, const char *start_time, json_t *facts,
                             struct error *err) PK_CHECK;
void stream_incremental_clear(struct stream_incremental *k);

/* ---- for stream_item.c ---- */
/* The name of a file that comes as what has changed becomes the file's own. */
int stream_changes_name(struct stream_base *b, bool *ret, struct error *err) PK_CHECK;
/* Opens the present item. */
int stream_changes_begin(struct stream_base *b, struct error *err) PK_CHECK;
int stream_compared_begin(struct stream_base *b, enum item_kind kind, struct error *err) PK_CHECK;
int stream_changes_content(struct stream_base *b, struct bytes piece, struct error *err) PK_CHECK;
int stream_changes_end(struct stream_base *b,
                       struct error *err) PK_CHECK; /* what lies behind the last block that came */
/* Whole pages of the item, before they are handed over. */
int stream_compared_pages(struct stream_base *b, struct bytes pages, struct error *err) PK_CHECK;
/* A backup label as that of a whole backup. */
int stream_changes_label(struct stream_base *b, struct error *err) PK_CHECK;
/* After the present item: into the tally as it came, into the manifest as it is stored. */
int stream_changes_tally(struct stream_base *b, struct bytes name, const struct digest *sha,
                         struct error *err) PK_CHECK;
void stream_changes_raw(struct stream_incremental *k, struct bytes piece); /* bytes as they came */
/* The list of files as they are stored, an item. */
int stream_changes_manifest(struct stream_base *b, struct error *err) PK_CHECK;

/* of stream_item.c: room for content of the present item, at least one page */
int stream_item_room(struct stream_base *b, uint8_t **ret, size_t *ret_n, struct error *err) PK_CHECK;
void stream_item_used(struct stream_base *b, size_t n);
int stream_item_put(struct stream_base *b, struct bytes piece, struct error *err) PK_CHECK;

#endif
