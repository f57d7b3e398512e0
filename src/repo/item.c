/* One item being written: bytes in, chunks and references out. */
#include "crypto/sha256_x2.h"
#include "repo/writer_internal.h"

#define SPACE_MIN (64u << 10)
#define WHOLE_MAX (256u << 10) /* a file up to this is one chunk */
#define LONG_FROM (16u << 20)  /* behind this an item is a long one */
#define LIST_FLUSH (192u << 10) /* references beyond this move into a list chunk */
#define ANCHOR_BYTES 64

static const struct cut_params cut_stream = {16u << 10, 64u << 10, 256u << 10};

struct witem {
    struct writer *w;
    uint64_t seq;
    struct buf name, refs, lists;
    uint64_t ref_count, list_count, list_bytes; /* references in refs; lists flushed; bytes the present refs cover */
    enum content_kind kind;
    uint8_t *block;
    size_t have;
    uint64_t bytes, at;
    uint64_t last_anchor;
    struct sha256_pair *sha; /* the stream and the chunk at once */
    struct sha256_state *parts; /* of CONTENT_PARTS instead */
    bool sha_used;
    struct digest only; /* of the single chunk */
    uint64_t chunks;
    struct former *former;
    struct memo_item *kept; /* the content that it is expected to have; until confirmed or restarted */
    struct former *was;     /* the content that can be read meanwhile */
};

static uint64_t anchor_of(struct bytes chunk) {
    size_t n = chunk.len < ANCHOR_BYTES ? chunk.len : ANCHOR_BYTES;
    const uint8_t *p = chunk.ptr + chunk.len - n;
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15) ^ n;
    for (size_t i = 0; i + 8 <= n; i += 8) {
        h = (h ^ get_u64(p + i)) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    for (size_t i = n & ~(size_t)7; i < n; i++) h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h | 1; /* never zero: zero is the stream's start */
}

static int item_begin(struct writer *w, uint64_t seq, struct bytes name, enum content_kind kind, struct witem **ret,
                      struct error *err) {
    int rc = order_wait(w, seq, err);
    if (rc < 0) return rc;
    void *mem;
    /* its number is never handed in now, and others must not wait for it */
    if ((rc = mem_alloc(sizeof(struct witem), &mem, err)) < 0) return writer_fail(w, err);
    struct witem *it = mem;
    it->w = w;
    it->seq = seq;
    it->kind = kind;
    it->name = BUF_INIT(1u << 20);
    it->refs = BUF_INIT(1u << 20);
    it->lists = BUF_INIT(256u << 20);
    if ((rc = buf_append(&it->name, name.ptr, name.len, err)) < 0) {
        buf_free(&it->name);
        seam_free(it);
        return writer_fail(w, err);
    }
    *ret = it;
    return 0;
}

/* One that is no pages would have it cut elsewhere than at its parts. */
static void parts_former(struct witem *it) {
    if (!it->former || it->former->kind == CONTENT_PAGES) return;
    former_free(it->former);
    it->former = NULL;
}

int writer_item_open(struct writer *w, uint64_t seq, struct bytes name, enum content_kind kind, struct witem **ret,
                     struct error *err) {
    int rc = item_begin(w, seq, name, kind, ret, err);
    if (rc == 0 && w->delta && (kind == CONTENT_RECORDS || content_is_pages(kind) || kind == CONTENT_FILE))
        (*ret)->former = former_take(w, name);
    if (rc == 0 && w->delta && (kind == CONTENT_RECORDS || (seq == WRITER_ANY_ORDER && kind != CONTENT_OPAQUE)) &&
        !(*ret)->former)
        (*ret)->former = former_find(w, name);
    if (rc == 0 && kind == CONTENT_PARTS) parts_former(*ret);
    return rc;
}

int writer_item_hold(struct writer *w, uint64_t seq, struct bytes name, struct witem **ret, struct error *err) {
    const struct memo_item *m = known_take(w, name);
    if (!m) return error_set(err, ERR_INTERNAL, "an item was to be held that was not known");
    struct witem *it;
    void *mem;
    int rc = item_begin(w, seq, name, (enum content_kind)m->kind, &it, err);
    if (rc < 0) return rc;
    rc = mem_alloc(sizeof *m + m->refs.len, &mem, err);
    if (rc < 0) {
        witem_drop(it);
        return writer_fail(w, err);
    }
    it->kept = mem;
    *it->kept = *m;
    uint8_t *refs = (uint8_t *)(it->kept + 1);
    if (m->refs.len) memcpy(refs, m->refs.ptr, m->refs.len);
    it->kept->refs = BYTES_OF(refs, m->refs.len);
    it->kept->name = buf_bytes(&it->name);
    it->kept->attr = BYTES_OF(NULL, 0);
    *ret = it;
    return 0;
}

int writer_item_again(struct writer *w, struct bytes name, struct known_item *ret_known, struct witem **ret,
                      struct error *err) {
    struct memo_item *kept = NULL;
    struct former *was = NULL;
    int rc = known_again(w, name, &kept, &was, err);
    *ret = NULL;
    if (rc == 0 && kept) {
        /* whoever writes it anew wants the SHA-256 of the whole */
        const enum content_kind kind = content_is_pages(kept->kind) ? CONTENT_PAGES : (enum content_kind)kept->kind;
        rc = item_begin(w, WRITER_ANY_ORDER, name, kind, ret, err);
        if (rc == 0) {
            (*ret)->kept = kept;
            (*ret)->was = was;
            *ret_known = (struct known_item){
                .kind = (enum content_kind)kept->kind, .bytes = kept->bytes, .sha256 = kept->sha256};
            return 0;
        }
    }
    seam_free(kept);
    former_free(was);
    return rc;
}

int witem_was(struct witem *it, uint64_t at, uint8_t *out, size_t n, struct error *err) {
    return former_read(it->was, it->w->fetcher, at, out, n, err);
}

static void item_free(struct witem *it) {
    seam_free(it->kept);
    block_give(it->w, it->block);
    sha256_pair_free(it->sha);
    sha256_free(it->parts);
    former_free(it->former);
    former_free(it->was);
    buf_free(&it->refs);
    buf_free(&it->lists);
    seam_free(it);
}

/* Moves the references gathered so far into a list chunk, so that memory does not grow with the item. */
static int list_flush(struct witem *it, struct error *err) {
    struct ref ref = {.type = REF_LIST, .len = it->list_bytes};
    int rc = meta_put(it->w, CHUNK_LIST, buf_bytes(&it->refs), &ref.id, err);
    if (rc == 0) rc = ref_append(&it->lists, &ref, err);
    it->list_count++;
    it->list_bytes = 0;
    it->ref_count = 0;
    buf_clear(&it->refs);
    return rc;
}

static int ref_add(struct witem *it, const struct ref *ref, struct error *err) {
    int rc = ref_append(&it->refs, ref, err);
    it->ref_count++;
    it->list_bytes += ref->len;
    if (rc == 0 && it->refs.len >= LIST_FLUSH) rc = list_flush(it, err);
    return rc;
}

/* A single chunk needs no anchor: its former self is found by its start. */
static uint64_t anchor_at_end(const struct witem *it, struct bytes data, bool last) {
    const bool shifts = it->kind == CONTENT_RECORDS || (it->kind == CONTENT_FILE && !(last && it->chunks == 0));
    return shifts ? anchor_of(data) : 0;
}

/* Absorbs a chunk into the stream's digest and answers its own; of CONTENT_PARTS several chunks. */
static int sha_feed(struct witem *it, struct bytes data, struct digest *ret_chunk, struct error *err) {
    int rc = 0;
    if (it->kind == CONTENT_PARTS) {
        rc = it->parts ? 0 : sha256_new(&it->parts, err);
        if (rc == 0) parts_update(it->parts, data, ret_chunk);
        return rc;
    }
    if (!it->sha && (rc = sha256_pair_new(&it->sha, err)) < 0) return rc;
    it->sha_used = true;
    sha256_pair_update(it->sha, data);
    sha256_pair_chunk_finish(it->sha, ret_chunk);
    return 0;
}

static int piece_emit(struct witem *it, struct bytes data, bool last, const struct digest *base, struct error *err) {
    struct digest sha;
    const enum chunk_part part = content_is_pages(it->kind) ? PART_PAGES : it->at < LONG_FROM ? PART_ANY : PART_LONG;
    int rc = 0;
    if (last && !it->sha_used && it->kind != CONTENT_PARTS) {
        sha256(data, &sha);
        it->only = sha;
    } else
        rc = sha_feed(it, data, &sha, err);
    if (rc < 0) return rc;
    struct ref ref = {.type = REF_CHUNK, .len = data.len, .anchor = anchor_at_end(it, data, last)};
    if ((rc = chunk_put_part(it->w, part, data, &sha, base, &ref.id, err)) < 0) return rc;
    it->last_anchor = ref.anchor;
    it->at += data.len;
    it->bytes += data.len;
    it->chunks++;
    return ref_add(it, &ref, err);
}

static int chunk_emit(struct witem *it, struct bytes data, bool last, struct error *err) {
    const uint64_t end_anchor = it->former ? anchor_at_end(it, data, last) : 0;
    int rc = 0;
    for (size_t n; rc == 0 && data.len; data = BYTES_OF(data.ptr + n, data.len - n)) {
        const struct digest *base = NULL;
        n = it->former ? former_piece(it->former, it->at, data.len, it->last_anchor, end_anchor, &base) : data.len;
        rc = piece_emit(it, BYTES_OF(data.ptr, n), last && n == data.len, base, err);
    }
    return rc;
}

static int block_emit(struct witem *it, struct error *err) {
    struct page_chunk c[BLOCK_CHUNKS] = {0};
    struct digest sha[BLOCK_CHUNKS];
    int rc = 0;
    for (unsigned i = 0; i < BLOCK_CHUNKS && rc == 0; i++) {
        if (it->former) (void)former_piece(it->former, it->at + (uint64_t)i * PAGE_CHUNK, PAGE_CHUNK, 0, 0, &c[i].base);
        if (it->kind != CONTENT_PARTS)
            rc = sha_feed(it, BYTES_OF(it->block + i * PAGE_CHUNK, PAGE_CHUNK), &c[i].sha, err);
    }
    if (rc == 0 && it->kind == CONTENT_PARTS) rc = sha_feed(it, BYTES_OF(it->block, BLOCK_BYTES), sha, err);
    for (unsigned i = 0; i < BLOCK_CHUNKS && it->kind == CONTENT_PARTS; i++) c[i].sha = sha[i];
    if (rc == 0) rc = chunk_put_block(it->w, &it->block, c, err);
    for (unsigned i = 0; i < BLOCK_CHUNKS && rc == 0; i++) {
        const struct ref ref = {.type = REF_CHUNK, .len = PAGE_CHUNK, .id = c[i].id};
        rc = ref_add(it, &ref, err);
    }
    it->last_anchor = 0;
    it->at += BLOCK_BYTES;
    it->bytes += BLOCK_BYTES;
    it->chunks += BLOCK_CHUNKS;
    it->have = 0;
    return rc;
}

/* Emits every chunk whose end is decided; with `final` all of them. `last` says that the item ends here too. */
static int cut(struct witem *it, bool final, bool last, struct error *err) {
    size_t from = 0;
    int rc = 0;
    if (content_is_pages(it->kind) && it->have == BLOCK_BYTES && (!it->former || it->former->kind == CONTENT_PAGES))
        return block_emit(it, err);
    while (rc == 0 && from < it->have) {
        struct bytes rest = BYTES_OF(it->block + from, it->have - from);
        size_t n;
        if (content_is_pages(it->kind))
            n = rest.len >= PAGE_CHUNK ? PAGE_CHUNK : final ? rest.len : 0;
        else if (it->kind == CONTENT_FILE && last && it->chunks == 0 && it->at == 0 && rest.len <= WHOLE_MAX)
            n = rest.len;
        else
            n = cutter_next(&it->w->repo->cutter, &cut_stream, rest, final);
        if (n == 0) break;
        rc = chunk_emit(it, BYTES_OF(rest.ptr, n), last && n == rest.len, err);
        from += n;
    }
    memmove(it->block, it->block + from, it->have - from);
    it->have -= from;
    return rc;
}

int witem_space(struct witem *it, uint8_t **ret, size_t *ret_len, struct error *err) {
    int rc = writer_alive(it->w, err);
    if (rc < 0) return rc;
    if (!it->block && !(it->block = block_take(it->w)))
        return error_set(err, ERR_NO_MEMORY, "no memory for a block of content");
    if (BLOCK_BYTES - it->have < SPACE_MIN && (rc = cut(it, false, false, err)) < 0) return rc;
    *ret = it->block + it->have;
    *ret_len = BLOCK_BYTES - it->have;
    return 0;
}

int witem_advance(struct witem *it, size_t n, struct error *err) {
    it->have += n;
    return writer_checkpoint_due(it->w) ? writer_checkpoint(it->w, err) : 0;
}

/* A hole would shift the parts. */
static int zeros_write(struct witem *it, uint64_t len, struct error *err) {
    int rc = 0;
    while (rc == 0 && len > 0) {
        uint8_t *p;
        size_t n;
        if ((rc = witem_space(it, &p, &n, err)) < 0) break;
        if (n > len) n = (size_t)len;
        memset(p, 0, n);
        rc = witem_advance(it, n, err);
        len -= n;
    }
    return rc;
}

int witem_hole(struct witem *it, uint64_t len, struct error *err) {
    if (it->kind == CONTENT_PARTS) return zeros_write(it, len, err);
    static const uint8_t zeros[4096];
    int rc = it->have ? cut(it, true, false, err) : 0;
    for (uint64_t left = len; rc == 0 && left > 0;) {
        size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
        struct digest ignored;
        rc = sha_feed(it, BYTES_OF(zeros, n), &ignored, err);
        left -= n;
    }
    struct ref ref = {.type = REF_HOLE, .len = len};
    it->at += len;
    it->bytes += len;
    it->chunks++;
    it->last_anchor = 0;
    return rc < 0 ? rc : ref_add(it, &ref, err);
}

int witem_restart(struct witem *it, struct error *err) {
    (void)err;
    if (it->kept) {
        former_hold(it->w, it->kept, &it->former);
        if (it->kind == CONTENT_PARTS) parts_former(it);
        seam_free(it->kept);
        it->kept = NULL;
    }
    buf_clear(&it->refs);
    buf_clear(&it->lists);
    it->ref_count = it->list_count = it->list_bytes = it->chunks = 0;
    it->have = 0;
    it->bytes = it->at = 0;
    it->last_anchor = 0;
    sha256_pair_free(it->sha);
    sha256_free(it->parts);
    it->sha = NULL;
    it->parts = NULL;
    it->sha_used = false;
    return 0;
}

/* Hands the item in with its body, or latches the writer: its number is never handed in then. Takes body over. */
static int item_end(struct witem *it, int rc, struct buf body, struct error *err) {
    if (rc == 0) {
        rc = order_done(it->w, it->seq, it->name, body, false, err);
    } else {
        buf_free(&it->name);
        buf_free(&body);
        writer_fail(it->w, err);
    }
    item_free(it);
    return rc;
}

int witem_close(struct witem *it, struct bytes attr, struct digest *ret_sha256, struct error *err) {
    struct buf body = BUF_INIT(8u << 20);
    struct digest sha;
    int rc = it->have ? cut(it, true, true, err) : 0;
    if (rc == 0 && it->parts)
        sha256_finish(it->parts, &sha);
    else if (rc == 0 && it->sha_used)
        sha256_pair_stream_finish(it->sha, &sha);
    else if (it->chunks)
        sha = it->only;
    else
        sha256(BYTES_OF(NULL, 0), &sha);
    struct buf *refs = &it->refs;
    uint64_t count = it->ref_count;
    if (rc == 0 && it->list_count) {
        if (it->ref_count) rc = list_flush(it, err);
        refs = &it->lists;
        count = it->list_count;
    }
    if (rc == 0) rc = manifest_body(&body, it->kind, attr, it->bytes, &sha, count, buf_bytes(refs), err);
    if (rc == 0) {
        if (ret_sha256) *ret_sha256 = sha;
        it->w->bytes += it->bytes;
    }
    return item_end(it, rc, body, err);
}

int witem_confirm(struct witem *it, struct bytes attr, struct error *err) {
    struct writer *w = it->w;
    const struct memo_item *m = it->kept;
    struct buf body = BUF_INIT(8u << 20);
    int rc = m ? 0 : error_set(err, ERR_INTERNAL, "an item was confirmed that was not held");
    if (rc == 0) {
        lists_copy(w, m);
        rc = manifest_body(&body, m->kind, attr, m->bytes, &m->sha256, m->ref_count, m->refs, err);
    }
    if (rc == 0) {
        w->bytes += m->bytes;
        w->dup_bytes += m->bytes;
    }
    return item_end(it, rc, body, err);
}

void witem_drop(struct witem *it) {
    if (!it) return;
    struct error e = ERROR_INIT;
    (void)!order_done(it->w, it->seq, it->name, BUF_INIT(16), true, &e);
    item_free(it);
}
