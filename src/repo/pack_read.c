/* A pack's directory: read from the end, opened, checked in full before anything in it is believed. What does not open
 * is tried again from what the pack's own parity makes of it. */
#include "repo/repo_internal.h"

#define ORDINAL_DIRECTORY UINT32_C(0xffffffff)
#define ORDINAL_FOOTER UINT32_C(0xfffffffe)
#define TAIL_BYTES (512u << 10) /* directories end before the padding */

struct pack_in {
    char key[96];
    bool meta;
    uint8_t header[PACK_HEADER_BYTES], pack_key[KEY_BYTES];
    enum cipher cipher;
    uint8_t *dir;
    size_t dir_len;
    struct frame *frames;
    uint32_t frame_count;
    struct digest name;
    bool mended;          /* what is in the store does not open, and is mended for each read */
    struct bytes ends[2]; /* while opening: what is there of the object already, and where it lies */
    uint64_t ends_at[2];
};

struct member frame_member(const struct frame *f, unsigned i) {
    struct member m;
    memcpy(m.id.b, f->members + 36u * i, DIGEST_BYTES);
    m.len = get_u32(f->members + 36u * i + DIGEST_BYTES);
    return m;
}

static int open_at(struct pack_in *p, uint32_t ordinal, struct bytes record, struct bytes in, uint8_t *out,
                   struct error *err) {
    uint8_t nonce[AEAD_NONCE_BYTES];
    struct aead *a = NULL;
    struct buf aad = BUF_INIT(4u << 20);
    int rc = pack_aead(p->cipher, p->pack_key, p->header, ordinal, record, &a, nonce, &aad, err);
    if (rc == 0) rc = aead_open(a, nonce, buf_bytes(&aad), in, out, err);
    aead_free(a);
    buf_free(&aad);
    return rc;
}

static int corrupt(struct pack_in *p, const char *what, struct error *err) {
    error_clear(err);
    return error_set(err, ERR_OBJECT_CORRUPT, "%s: %s", p->key, what);
}

/* Only what the tag refuses is corrupt; a lack of memory says nothing of the pack. */
static int opens_not(struct pack_in *p, int rc, const char *what, struct error *err) {
    return rc == -ERR_OBJECT_CORRUPT ? corrupt(p, what, err) : error_wrap(err, "%s", p->key);
}

static int read_exact(struct repo *r, struct pack_in *p, uint64_t at, void *buf, size_t n, struct error *err) {
    size_t got;
    if (p->mended) return mended_read(r, p->meta, &p->name, at, buf, n, NULL, err);
    for (int i = 0; i < 2; i++)
        if (at >= p->ends_at[i] && at - p->ends_at[i] <= p->ends[i].len && n <= p->ends[i].len - (at - p->ends_at[i])) {
            memcpy(buf, p->ends[i].ptr + (at - p->ends_at[i]), n);
            return 0;
        }
    int rc = store_read(r->store, p->key, at, buf, n, &got, err);
    if (rc < 0) return rc;
    return got == n ? 0 : corrupt(p, "it is shorter than it says", err);
}

static int parse_dir(struct pack_in *p, uint32_t frames, uint64_t dir_at, struct error *err) {
    struct cursor c = cursor_of(BYTES_OF(p->dir, p->dir_len));
    struct bytes magic = cursor_take(&c, 8);
    if (c.bad || memcmp(magic.ptr, PACK_DIR_MAGIC, 8) != 0) return corrupt(p, "its directory has no magic", err);
    if (frames > p->dir_len / 48) return corrupt(p, "its directory counts too many frames", err);
    void *mem;
    int rc = mem_alloc((size_t)frames * sizeof(struct frame), &mem, err);
    if (rc < 0) return rc;
    p->frames = mem;
    uint64_t at = PACK_HEADER_BYTES;
    for (uint32_t i = 0; i < frames; i++) {
        struct frame *f = &p->frames[i];
        const uint8_t *start = c.ptr;
        f->at = at;
        f->stored_len = cursor_u32(&c);
        f->plain_len = cursor_u32(&c);
        f->codec = cursor_u8(&c);
        f->kind = cursor_u8(&c);
        f->member_count = cursor_u16(&c);
        if (f->codec == CODEC_ZSTD_DELTA) {
            struct bytes b = cursor_take(&c, DIGEST_BYTES);
            if (!c.bad) memcpy(f->base.b, b.ptr, DIGEST_BYTES);
        }
        f->members = cursor_take(&c, 36u * f->member_count).ptr;
        if (c.bad || f->codec > CODEC_ZSTD_DELTA || f->kind < CHUNK_DATA || f->kind > CHUNK_ROOT ||
            f->member_count == 0 || f->stored_len < AEAD_TAG_BYTES || f->plain_len > CHUNK_PLAIN_MAX)
            return corrupt(p, "its directory is malformed", err);
        f->record = BYTES_OF(start, (size_t)(c.ptr - start));
        uint64_t sum = 0;
        for (unsigned m = 0; m < f->member_count; m++) sum += frame_member(f, m).len;
        at += f->stored_len;
        if (sum != f->plain_len || at > dir_at) return corrupt(p, "its directory does not add up", err);
        p->frame_count++;
    }
    if (c.len != 0 || at != dir_at) return corrupt(p, "its directory does not cover it", err);
    return 0;
}

int pack_epoch(struct repo *r, bool meta, const struct digest *name, unsigned *ret, struct error *err) {
    struct pack_in p = {.meta = meta, .name = *name};
    pack_key(meta, name, p.key);
    int rc = read_exact(r, &p, 0, p.header, PACK_HEADER_BYTES, err);
    if (rc == 0) *ret = pack_in_epoch(&p);
    return rc;
}

/* Header and end at once, the end with a guess at how long the directory is. What is missing is read again, and says
 * why. */
static uint8_t *ends_read(struct repo *r, struct pack_in *p, uint64_t size) {
    uint64_t tail = size < TAIL_BYTES ? size : TAIL_BYTES;
    uint8_t *mem = seam_alloc(PACK_HEADER_BYTES + tail);
    if (!mem) return NULL;
    struct store_get get[2] = {{.key = p->key, .p = mem, .len = PACK_HEADER_BYTES},
                               {.key = p->key, .p = mem + PACK_HEADER_BYTES, .len = tail, .at = size - tail}};
    store_get_many(r->store, get, 2);
    for (int i = 0; i < 2; i++)
        if (!get[i].err.code && get[i].n == get[i].len) {
            p->ends[i] = BYTES_OF(get[i].p, get[i].n);
            p->ends_at[i] = get[i].at;
        }
    return mem;
}

/* `size` is 0 when it is not known. */
static int open_parts(struct repo *r, struct pack_in *p, uint64_t size, struct error *err) {
    const bool meta = p->meta;
    void *mem;
    int rc = 0;
    uint8_t *h = p->header, sealed[PACK_FOOTER_BYTES], foot[PACK_FOOTER_BYTES - AEAD_TAG_BYTES];
    if (p->mended)
        rc = mended_read(r, meta, &p->name, 0, h, 0, &size, err);
    else if (!size)
        rc = store_stat(r->store, p->key, &size, NULL, err);
    if (rc < 0) return rc;
    if (size < PACK_HEADER_BYTES + PACK_FOOTER_BYTES || size > PACK_BYTES_MAX)
        return corrupt(p, "its size is impossible", err);
    if ((rc = read_exact(r, p, 0, h, PACK_HEADER_BYTES, err)) < 0) return rc;
    if (memcmp(h, "PKPACK01", 8) != 0 || h[8] != FORMAT_VERSION ||
        (h[9] != CIPHER_AES_256_GCM && h[9] != CIPHER_CHACHA20_POLY1305) || h[10] != (meta ? 2 : 1) ||
        memcmp(h + 16, r->id, 16) != 0)
        return corrupt(p, "its header is not that of a pack of this repository", err);
    if (get_u16(h + PACK_EPOCH_AT) > r->epoch)
        return corrupt(p, "its header names an epoch that the log does not know", err);
    p->cipher = h[9];
    const struct secret *ks;
    if ((rc = repo_session_key(r, h + 32, h + 112, &ks, err)) < 0)
        return rc == -ERR_KEY_WRONG ? corrupt(p, "its session key does not open", err) : rc;
    uint8_t okm[2 * KEY_BYTES];
    struct buf info = BUF_INIT(256);
    rc = buf_append_str(&info, "proofkeep/v1/pack", err);
    if (rc == 0) rc = buf_append(&info, r->id, 16, err);
    if (rc == 0) rc = hkdf_sha256(secret_bytes(ks), BYTES_OF(h + 48, 32), buf_bytes(&info), okm, sizeof okm, err);
    buf_free(&info);
    if (rc < 0) return rc;
    memcpy(p->pack_key, okm, KEY_BYTES);
    bool committed = memcmp(okm + KEY_BYTES, h + 80, 32) == 0;
    wipe(okm, sizeof okm);
    if (!committed) return corrupt(p, "its key commitment does not hold", err);
    if ((rc = read_exact(r, p, size - PACK_FOOTER_BYTES, sealed, sizeof sealed, err)) < 0) return rc;
    if ((rc = open_at(p, ORDINAL_FOOTER, BYTES_OF(NULL, 0), BYTES_OF(sealed, sizeof sealed), foot, err)) < 0)
        return opens_not(p, rc, "its footer does not open", err);
    uint64_t dir_at = get_u64(foot + 8);
    p->dir_len = get_u32(foot + 16);
    if (memcmp(foot, "PKFOOT01", 8) != 0 || dir_at > size || p->dir_len + AEAD_TAG_BYTES > size - dir_at)
        return corrupt(p, "its footer is malformed", err);
    if ((rc = mem_alloc(p->dir_len + AEAD_TAG_BYTES, &mem, err)) < 0) return rc;
    p->dir = mem;
    if ((rc = read_exact(r, p, dir_at, p->dir, p->dir_len + AEAD_TAG_BYTES, err)) < 0) return rc;
    if ((rc = open_at(p, ORDINAL_DIRECTORY, BYTES_OF(NULL, 0), BYTES_OF(p->dir, p->dir_len + AEAD_TAG_BYTES), p->dir,
                      err)) < 0)
        return opens_not(p, rc, "its directory does not open", err);
    return parse_dir(p, get_u32(foot + 20), dir_at, err);
}

static void parts_drop(struct pack_in *p) {
    seam_free(p->dir);
    seam_free(p->frames);
    p->dir = NULL;
    p->frames = NULL;
    p->frame_count = 0;
}

/* From what is at hand, or was fetched together by a size that is known; 1 when there is neither or it does not open,
 * and the store is to be asked as usual. */
static int open_near(struct repo *r, struct pack_in *p, uint64_t bytes, struct bytes whole, struct error *err) {
    if (!whole.len && (!bytes || !store_reads_many(r->store))) return 1;
    const uint64_t size = whole.len ? whole.len : bytes;
    uint8_t *ends = NULL;
    if (whole.len)
        p->ends[0] = whole;
    else if (size >= PACK_HEADER_BYTES + PACK_FOOTER_BYTES && size <= PACK_BYTES_MAX)
        ends = ends_read(r, p, size);
    int rc = open_parts(r, p, size, err);
    seam_free(ends);
    p->ends[0] = p->ends[1] = BYTES_OF(NULL, 0);
    if (rc != -ERR_OBJECT_CORRUPT) return rc;
    error_clear(err);
    parts_drop(p);
    return 1;
}

int pack_in_open(struct repo *r, bool meta, const struct digest *name, struct pack_in **ret, struct error *err) {
    return pack_in_open_from(r, meta, name, 0, BYTES_OF(NULL, 0), ret, err);
}

int pack_in_open_from(struct repo *r, bool meta, const struct digest *name, uint64_t bytes, struct bytes whole,
                      struct pack_in **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct pack_in), &mem, err);
    if (rc < 0) return rc;
    struct pack_in *p = mem;
    p->meta = meta;
    p->name = *name;
    pack_key(meta, name, p->key);
    rc = open_near(r, p, bytes, whole, err);
    if (rc == 1) rc = open_parts(r, p, 0, err);
    /* What somebody put over a pack is seen through: its first version is the pack. */
    if (rc == -ERR_OBJECT_CORRUPT && store_pin_first_version(r->store, p->key)) {
        error_clear(err);
        parts_drop(p);
        rc = open_parts(r, p, 0, err);
    }
    if (rc == -ERR_OBJECT_CORRUPT) {
        struct error lost = ERROR_INIT;
        parts_drop(p);
        p->mended = true;
        if (open_parts(r, p, 0, &lost) == 0) {
            error_clear(err);
            rc = 0;
        }
    }
    if (rc < 0)
        pack_in_free(p);
    else
        *ret = p;
    return rc;
}

uint32_t pack_in_frames(const struct pack_in *p) {
    return p->frame_count;
}
const struct frame *pack_in_frame(const struct pack_in *p, uint32_t o) {
    return o < p->frame_count ? &p->frames[o] : NULL;
}
const char *pack_in_key(const struct pack_in *p) {
    return p->key;
}
unsigned pack_in_epoch(const struct pack_in *p) {
    return get_u16(p->header + PACK_EPOCH_AT);
}

int pack_in_sealed(struct repo *r, struct pack_in *p, uint32_t ordinal, uint8_t *out, struct error *err) {
    const struct frame *f = &p->frames[ordinal];
    return read_exact(r, p, f->at, out, f->stored_len, err);
}

bool pack_in_sealed_mended(struct repo *r, struct pack_in *p, uint32_t ordinal, uint8_t *out) {
    const struct frame *f = &p->frames[ordinal];
    struct error lost = ERROR_INIT;
    return mended_read(r, p->meta, &p->name, f->at, out, f->stored_len, NULL, &lost) == 0;
}

int pack_in_unseal(struct pack_in *p, uint32_t ordinal, const uint8_t *sealed, uint8_t *out, struct error *err) {
    const struct frame *f = &p->frames[ordinal];
    int rc = open_at(p, ordinal, f->record, BYTES_OF(sealed, f->stored_len), out, err);
    if (rc < 0) {
        if (rc != -ERR_OBJECT_CORRUPT) return error_wrap(err, "%s: frame %u", p->key, ordinal);
        error_clear(err);
        return error_set(err, ERR_OBJECT_CORRUPT, "%s: frame %u does not open", p->key, ordinal);
    }
    return 0;
}

void pack_in_free(struct pack_in *p) {
    if (!p) return;
    wipe(p->pack_key, sizeof p->pack_key);
    parts_drop(p);
    seam_free(p);
}
