/* Files as they come when the server sends what has changed, and how they become whole: basebackup_incremental.c and
 * reconstruct.c of PostgreSQL. A file "INCREMENTAL.<name>" is, in the server's byte order: a magic number, the count of
 * blocks, the number of blocks below which what does not come is as it was; the blocks' numbers, ascending; zeros up to
 * a whole block when there are any; and the blocks. */
#include "surface/pgphys/stream_incremental.h"

#include "base/seam.h"
#include "surface/pgphys/pgphys_internal.h"
#include <stdio.h>
#include <stdlib.h>

#define MAGIC UINT32_C(0xd3ae1f0d)
#define FORK_FSM 1
#define FORK_VM 2
#define SPACE_DEFAULT 1663
#define SPACE_GLOBAL 1664
#define CHANGED_MAX (1u << 20)
static const char prefix[] = "INCREMENTAL.";
static const char label_lines[] = "INCREMENTAL FROM ";

static int malformed(const struct stream_base *b, const char *what, struct error *err) {
    error_set(err, ERR_PG_BASE, "what has changed of %.*s came malformed: %s", (int)b->name.len,
              (const char *)b->name.ptr, what);
    return error_state(err, "no snapshot was made; earlier ones are untouched");
}

int stream_changes_name(struct stream_base *b, bool *ret, struct error *err) {
    struct stream_incremental *k = b->incremental;
    size_t at = b->name.len;
    *ret = false;
    while (at > 0 && b->name.ptr[at - 1] != '/') at--;
    if (b->name.len - at < sizeof prefix || memcmp(b->name.ptr + at, prefix, sizeof prefix - 1) != 0) return 0;
    buf_clear(&k->raw_name);
    int rc = buf_append(&k->raw_name, b->name.ptr, b->name.len, err);
    if (rc < 0) return rc;
    memmove(b->name.ptr + at, b->name.ptr + at + sizeof prefix - 1, b->name.len - at - (sizeof prefix - 1));
    b->name.len -= sizeof prefix - 1;
    *ret = true;
    return 0;
}

static int raw_begin(struct stream_incremental *k, struct error *err) {
    k->raw = true;
    k->raw_bytes = 0;
    return k->sha ? 0 : sha256_new(&k->sha, err);
}

int stream_changes_begin(struct stream_base *b, struct error *err) {
    struct stream_incremental *k = b->incremental;
    k->head_have = k->blocks_have = k->padding = 0;
    k->count = k->length = k->next = k->block_have = 0;
    k->at = k->kept = 0;
    k->ready = false;
    unsigned fork = 0;
    k->forgets = pgphys_relation(buf_bytes(&b->name), NULL, &fork) && fork == FORK_VM && k->vm_lost;
    int rc = raw_begin(k, err);
    if (rc == 0 && !b->is_relation) return malformed(b, "it is no relation", err);
    if (rc == 0) rc = b->sink->ops->again(b->sink, buf_bytes(&b->name), &k->known, &b->item, err);
    if (rc < 0 || b->item) return rc;
    error_set(err, ERR_PG_BASE,
              "the server sent what has changed of %.*s, of which the previous backup has nothing that can be read",
              (int)b->name.len, (const char *)b->name.ptr);
    (void)!error_state(err, "no snapshot was made; earlier ones are untouched");
    return error_next(err, "Take a backup with --full-read.");
}

int stream_changes_label(struct stream_base *b, struct error *err) {
    struct stream_incremental *k = b->incremental;
    buf_clear(&k->raw_name);
    int rc = buf_append(&k->raw_name, b->name.ptr, b->name.len, err);
    return rc == 0 ? raw_begin(k, err) : rc;
}

void stream_changes_raw(struct stream_incremental *k, struct bytes piece) {
    sha256_update(k->sha, piece);
    k->raw_bytes += piece.len;
}

/* The header is whole: whether anything of the file is to be written. */
static int header_end(struct stream_base *b, struct error *err) {
    struct stream_incremental *k = b->incremental;
    const size_t bytes = sizeof k->head + (size_t)k->count * 4;
    for (uint32_t i = 0; i < k->count; i++)
        if (k->blocks[i] >= b->segment_blocks || (i && k->blocks[i] <= k->blocks[i - 1]))
            return malformed(b, "its blocks are out of order", err);
    if (k->count && k->blocks[k->count - 1] >= k->length) k->length = k->blocks[k->count - 1] + 1;
    if (k->count && bytes % b->block_bytes) k->padding = b->block_bytes - bytes % b->block_bytes;
    k->ready = true;
    /* of one with a digest by parts the SHA-256 of the whole is still to be had, for the list of files */
    k->same = !k->forgets && k->count == 0 && k->known.kind != ITEM_PARTS &&
              (uint64_t)k->length * b->block_bytes == k->known.bytes;
    return k->same ? 0 : b->sink->ops->restart(b->item, err);
}

static int head_end(struct stream_base *b, struct error *err) {
    struct stream_incremental *k = b->incremental;
    uint32_t v[3];
    memcpy(v, k->head, sizeof v);
    if (v[0] != MAGIC) return malformed(b, "it has not the mark of such a file", err);
    if (v[1] > b->segment_blocks || v[2] > b->segment_blocks) return malformed(b, "it has too many blocks", err);
    k->count = v[1];
    k->length = v[2];
    /* A file that was cut off and has grown since is not what it was behind the cut, whatever comes behind it. */
    k->kept = (uint64_t)k->length * b->block_bytes;
    if (k->kept > k->known.bytes) k->kept = k->known.bytes;
    if (k->forgets) k->kept = 0;
    return mem_grow((void **)&k->blocks, &k->blocks_cap, k->count + 1u, sizeof *k->blocks, err);
}

/* From where the item is up to a block: as it was, and zeros behind what is kept. */
static int fill(struct stream_base *b, uint64_t to, struct error *err) {
    struct stream_incremental *k = b->incremental;
    uint8_t *room;
    size_t n;
    int rc = 0;
    if (to > k->at) k->blocks_kept += (to - k->at) / b->block_bytes;
    while (k->at < to && (rc = stop_check(err)) == 0 && (rc = stream_item_room(b, &room, &n, err)) == 0) {
        if (to - k->at < n) n = (size_t)(to - k->at);
        if (k->at < k->kept && k->kept - k->at < n) n = (size_t)(k->kept - k->at);
        if (k->at < k->kept)
            rc = b->sink->ops->was(b->item, k->at, room, n, err);
        else
            memset(room, 0, n);
        if (rc < 0) return rc;
        stream_item_used(b, n);
        k->at += n;
        b->bytes += n;
    }
    return rc;
}

static int block_take(struct stream_base *b, struct bytes *piece, struct error *err) {
    struct stream_incremental *k = b->incremental;
    if (k->next >= k->count) return malformed(b, "it goes on behind its end", err);
    int rc = k->block_have ? 0 : fill(b, (uint64_t)k->blocks[k->next] * b->block_bytes, err);
    const size_t left = b->block_bytes - k->block_have, n = piece->len < left ? piece->len : left;
    if (rc == 0) rc = stream_item_put(b, BYTES_OF(piece->ptr, n), err);
    *piece = BYTES_OF(piece->ptr + n, piece->len - n);
    k->block_have += (uint32_t)n;
    k->at += n;
    b->bytes += n;
    if (k->block_have < b->block_bytes) return rc;
    k->block_have = 0;
    k->next++;
    k->blocks_sent++;
    return rc;
}

static size_t take(struct bytes *piece, uint8_t *to, size_t have, size_t want) {
    const size_t n = want - have < piece->len ? want - have : piece->len;
    memcpy(to + have, piece->ptr, n);
    *piece = BYTES_OF(piece->ptr + n, piece->len - n);
    return have + n;
}

int stream_changes_content(struct stream_base *b, struct bytes piece, struct error *err) {
    struct stream_incremental *k = b->incremental;
    int rc = 0;
    stream_changes_raw(k, piece);
    while (piece.len && rc == 0) {
        if (k->head_have < sizeof k->head) {
            k->head_have = take(&piece, k->head, k->head_have, sizeof k->head);
            if (k->head_have == sizeof k->head) rc = head_end(b, err);
        } else if (!k->ready) {
            k->blocks_have = take(&piece, (uint8_t *)k->blocks, k->blocks_have, (size_t)k->count * 4);
        } else if (k->padding) {
            const size_t n = k->padding < piece.len ? k->padding : piece.len;
            k->padding -= n;
            piece = BYTES_OF(piece.ptr + n, piece.len - n);
        } else {
            rc = block_take(b, &piece, err);
        }
        if (rc == 0 && !k->ready && k->head_have == sizeof k->head && k->blocks_have == (size_t)k->count * 4)
            rc = header_end(b, err);
    }
    return rc;
}

/* xlogbackup.c and its reader: a server does not start from a label that says it is of an incremental backup. */
static int label_put(struct stream_base *b, struct error *err) {
    struct bytes left = buf_bytes(&b->head);
    uint64_t bytes = 0;
    int rc = 0;
    while (left.len && rc == 0) {
        const uint8_t *end = memchr(left.ptr, '\n', left.len);
        const size_t n = end ? (size_t)(end - left.ptr) + 1 : left.len;
        if (n < sizeof label_lines - 1 || memcmp(left.ptr, label_lines, sizeof label_lines - 1) != 0) {
            rc = stream_item_put(b, BYTES_OF(left.ptr, n), err);
            bytes += n;
        }
        left = BYTES_OF(left.ptr + n, left.len - n);
    }
    b->size = bytes;
    return rc;
}

int stream_changes_end(struct stream_base *b, struct error *err) {
    struct stream_incremental *k = b->incremental;
    if (!k->changes) return label_put(b, err);
    if (!k->ready || k->next < k->count || k->block_have) return malformed(b, "it broke off", err);
    if (k->same) {
        b->size = k->known.bytes;
        b->bytes += b->size;
        k->files_same++;
        k->blocks_kept += b->size / b->block_bytes;
        return 0;
    }
    int rc = fill(b, (uint64_t)k->length * b->block_bytes, err);
    b->size = k->at;
    return rc;
}

int stream_changes_tally(struct stream_base *b, struct bytes name, const struct digest *sha, struct error *err) {
    struct stream_incremental *k = b->incremental;
    struct digest raw;
    int rc;
    if (k->raw) {
        sha256_finish(k->sha, &raw);
        rc = stream_tally_add(b->tally, buf_bytes(&k->raw_name), k->raw_bytes, &raw, err);
    } else {
        rc = stream_tally_add(b->tally, name, b->size, sha, err);
    }
    if (rc < 0 || b->is_left_out) return rc;
    return pgphys_manifest_add(k->manifest, name, b->size, b->mtime_s * NS_PER_S, sha, err);
}

int stream_changes_manifest(struct stream_base *b, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 30);
    const struct pgphys_attr a = {.type = PGPHYS_FILE, .mode = 0600, .mtime_ns = time_now_ns() / NS_PER_S * NS_PER_S};
    int rc = pgphys_manifest_finish(b->incremental->manifest, b->timeline, b->start_lsn, b->stop_lsn, &text, err);
    if (rc == 0) rc = pgphys_put(b->sink, "backup_manifest", ITEM_FILE, a, buf_bytes(&text), NULL, err);
    b->bytes += text.len;
    b->items++;
    return rc;
}

/* ---- everything is read, and held against what was ---- */

/* "base/<database>/<relation>", "global/<relation>", "pg_tblspc/<space>/PG_…/<database>/<relation>" */
static void relation_of(struct stream_base *b, unsigned fork, uint32_t segment) {
    struct stream_change *f = &b->incremental->file;
    const char *name = (const char *)b->name.ptr, *p;
    *f = (struct stream_change){.space = SPACE_DEFAULT, .fork = fork, .block = segment * b->segment_blocks};
    if (!strncmp(name, "global/", 7)) {
        f->space = SPACE_GLOBAL;
        p = name + 7;
    } else {
        p = name + 5;
        if (!strncmp(name, "pg_tblspc/", 10)) {
            f->space = (uint32_t)strtoul(name + 10, NULL, 10);
            p = strchr(strchr(name + 10, '/') + 1, '/') + 1;
        }
        f->database = (uint32_t)strtoul(p, NULL, 10);
        p = strchr(p, '/') + 1;
    }
    f->relation = (uint32_t)strtoul(p, NULL, 10);
}

int stream_compared_begin(struct stream_base *b, enum item_kind kind, struct error *err) {
    struct stream_incremental *k = b->incremental;
    unsigned fork = 0;
    uint32_t segment = 0;
    int rc = buf_terminate(&b->name, err);
    if (rc < 0) return rc;
    k->at = k->missed_here = 0;
    /* Of free space maps the server always sends all, and lost visibility maps are never kept. */
    const bool relation = pgphys_relation(buf_bytes(&b->name), &segment, &fork);
    if (relation) relation_of(b, fork, segment);
    if (relation && fork != FORK_FSM && !(fork == FORK_VM && k->vm_lost))
        rc = b->sink->ops->again(b->sink, buf_bytes(&b->name), &k->known, &b->item, err);
    if (rc < 0) return rc;
    k->compared = b->item != NULL;
    if (k->compared) return b->sink->ops->restart(b->item, err);
    return b->sink->ops->open(b->sink, SINK_ANY_ORDER, buf_bytes(&b->name), kind, &b->item, err);
}

/* Beyond so many it is not worth asking: most of the cluster has changed. */
static int changed(struct stream_base *b, uint64_t block, struct error *err) {
    struct stream_incremental *k = b->incremental;
    if (k->changed_n == CHANGED_MAX) {
        k->changed_more++;
        return 0;
    }
    int rc = mem_grow((void **)&k->changed, &k->changed_cap, k->changed_n + 1, sizeof *k->changed, err);
    if (rc < 0) return rc;
    k->changed[k->changed_n] = k->file;
    k->changed[k->changed_n++].block += (uint32_t)block;
    return 0;
}

static void missed(struct stream_base *b, uint64_t block) {
    struct stream_incremental *k = b->incremental;
    if (k->hints) {
        k->hinted++;
        return;
    }
    if (!k->missed++)
        snprintf(k->missed_first, sizeof k->missed_first, "block %llu of %.120s", (unsigned long long)block,
                 (const char *)b->name.ptr);
    if (!k->missed_here++) k->missed_files++;
}

/* PageHeaderData: the LSN as two numbers, then checksum, flags, lower, upper (0: a new page). */
static int page_compare(struct stream_base *b, const uint8_t *is, const uint8_t *was, uint64_t block,
                        struct error *err) {
    struct stream_incremental *k = b->incremental;
    uint32_t half[2];
    uint16_t upper;
    k->compared_blocks++;
    if (memcmp(is, was, b->block_bytes) == 0) return 0;
    memcpy(half, is, sizeof half);
    memcpy(&upper, is + 14, sizeof upper);
    const uint64_t lsn = (uint64_t)half[0] << 32 | half[1];
    if (!upper) return 0;
    /* A record that ends where the former one began was in it. */
    if (lsn <= k->former_lsn) missed(b, block);
    /* what was written since the backup began is in its own WAL */
    return lsn > k->former_lsn && lsn < b->start_lsn ? changed(b, block, err) : 0;
}

int stream_compared_pages(struct stream_base *b, struct bytes pages, struct error *err) {
    struct stream_incremental *k = b->incremental;
    int rc = buf_terminate(&b->name, err);
    while (rc == 0 && pages.len >= b->block_bytes && k->at + b->block_bytes <= k->known.bytes) {
        const uint64_t left = k->known.bytes - k->at;
        size_t n = pages.len < k->was_bytes ? pages.len : k->was_bytes;
        if (left < n) n = (size_t)left;
        n -= n % b->block_bytes;
        rc = b->sink->ops->was(b->item, k->at, k->was, n, err);
        for (size_t at = 0; rc == 0 && at < n; at += b->block_bytes)
            rc = page_compare(b, pages.ptr + at, k->was + at, (k->at + at) / b->block_bytes, err);
        pages = BYTES_OF(pages.ptr + n, pages.len - n);
        k->at += n;
    }
    return rc;
}
