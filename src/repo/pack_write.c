/* Packs being filled. Layout (doc/format/pack.md): header, sealed frames, sealed directory, sealed padding, parity where
 * the repository wants it, sealed footer. Nothing in it but header and parity is readable without the key, and nothing
 * marks where one frame ends. */
#include "repo/parity.h"
#include "repo/repo_internal.h"

#define ORDINAL_DIRECTORY UINT32_C(0xffffffff)
#define ORDINAL_FOOTER UINT32_C(0xfffffffe)
#define ORDINAL_PADDING UINT32_C(0xfffffffd)
#define DIRECTORY_BYTES_MAX (8u << 20) /* tiny files have more of a pack in its directory than in frames */

struct pack_out {
    uint8_t *mem;           /* cap bytes, page-aligned; NULL once they were given to the store */
    size_t cap, room, used; /* room: cap less what parity takes of it */
    unsigned parity;        /* percent */
    struct buf dir;
    uint32_t frames;
    bool meta;
    uint8_t key[KEY_BYTES];
    enum cipher cipher;
};

uint64_t padme(uint64_t len) {
    if (len < 2) return len;
    unsigned e = 63u - (unsigned)__builtin_clzll(len);
    unsigned s = 32u - (unsigned)__builtin_clz(e);
    uint64_t mask = (UINT64_C(1) << (e > s ? e - s : 0)) - 1;
    return (len + mask) & ~mask;
}

void pack_key(bool meta, const struct digest *name, char out[96]) {
    char hex[65];
    hex_encode(name->b, sizeof name->b, hex);
    snprintf(out, 96, "packs/%c/%.2s/%s", meta ? 'm' : 'd', hex, hex);
}

int session_new(struct repo *r, struct session *ret, struct error *err) {
    ret->epoch = r->epoch;
    int rc = random_bytes(ret->id, sizeof ret->id, err);
    if (rc == 0) rc = secret_random(KEY_BYTES, &ret->key, err);
    if (rc == 0) rc = box_seal(r->keys->read_public, secret_bytes(ret->key), ret->sealed, err);
    return rc;
}

void session_clear(struct session *s) {
    secret_free(s->key);
    s->key = NULL;
}

int pack_aead(enum cipher cipher, const uint8_t key[KEY_BYTES], const uint8_t header[PACK_HEADER_BYTES],
              uint32_t ordinal, struct bytes record, struct aead **ret, uint8_t nonce[AEAD_NONCE_BYTES],
              struct buf *aad, struct error *err) {
    memset(nonce, 0, AEAD_NONCE_BYTES);
    put_u32(nonce, ordinal);
    int rc = buf_append(aad, header, PACK_HEADER_BYTES, err);
    if (rc == 0) rc = buf_append_u32(aad, ordinal, err);
    if (rc == 0 && record.len) rc = buf_append(aad, record.ptr, record.len, err);
    if (rc == 0) rc = aead_new(cipher, BYTES_OF(key, KEY_BYTES), ret, err);
    return rc;
}

static int seal_at(const struct pack_out *p, uint32_t ordinal, struct bytes in, uint8_t *out, struct error *err) {
    uint8_t nonce[AEAD_NONCE_BYTES];
    struct aead *a = NULL;
    struct buf aad = BUF_INIT(1u << 12);
    int rc = pack_aead(p->cipher, p->key, p->mem, ordinal, BYTES_OF(NULL, 0), &a, nonce, &aad, err);
    if (rc == 0) rc = aead_seal(a, nonce, buf_bytes(&aad), in, out, err);
    aead_free(a);
    buf_free(&aad);
    return rc;
}

int pack_out_new(struct repo *r, const struct session *s, bool meta, struct pack_out **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct pack_out), &mem, err);
    if (rc < 0) return rc;
    struct pack_out *p = mem;
    p->dir = BUF_INIT(DIRECTORY_BYTES_MAX);
    p->meta = meta;
    p->cipher = r->cipher;
    p->cap = meta ? r->meta_pack_bytes : r->data_pack_bytes;
    p->parity = r->parity_percent;
    p->room = parity_room(p->cap, p->parity);
    p->mem = mem_large(p->cap);
    if (!p->mem) {
        rc = error_set(err, ERR_NO_MEMORY, "no memory for a pack of %zu bytes", p->cap);
        goto fail;
    }
    uint8_t *h = p->mem;
    memset(h, 0, PACK_HEADER_BYTES);
    if ((rc = random_bytes(h + 48, 32, err)) < 0) goto fail;
    uint8_t okm[2 * KEY_BYTES];
    struct buf info = BUF_INIT(256);
    rc = buf_append_str(&info, "proofkeep/v1/pack", err);
    if (rc == 0) rc = buf_append(&info, r->id, sizeof r->id, err);
    if (rc == 0) rc = hkdf_sha256(secret_bytes(s->key), BYTES_OF(h + 48, 32), buf_bytes(&info), okm, sizeof okm, err);
    buf_free(&info);
    if (rc < 0) goto fail;
    memcpy(p->key, okm, KEY_BYTES);
    memcpy(h, "PKPACK01", 8);
    h[8] = FORMAT_VERSION;
    h[9] = (uint8_t)r->cipher;
    h[10] = meta ? 2 : 1;
    put_u16(h + PACK_EPOCH_AT, (uint16_t)s->epoch);
    memcpy(h + 16, r->id, 16);
    memcpy(h + 32, s->id, 16);
    memcpy(h + 80, okm + KEY_BYTES, 32);
    memcpy(h + 112, s->sealed, SEALED_KEY_BYTES);
    wipe(okm, sizeof okm);
    p->used = PACK_HEADER_BYTES;
    if ((rc = buf_append(&p->dir, PACK_DIR_MAGIC, 8, err)) < 0) goto fail;
    *ret = p;
    return 0;
fail:
    pack_out_free(p);
    return rc;
}

static size_t record_bytes(unsigned members) {
    return 12 + DIGEST_BYTES + 36u * members;
}

bool pack_out_fits(const struct pack_out *p, size_t payload_len, unsigned members) {
    size_t frame = payload_len + AEAD_TAG_BYTES, dir = p->dir.len + record_bytes(members) + AEAD_TAG_BYTES;
    return p->dir.len + record_bytes(members) <= DIRECTORY_BYTES_MAX &&
           p->used + frame + dir + AEAD_TAG_BYTES + PACK_FOOTER_BYTES <= p->room;
}

bool pack_out_empty(const struct pack_out *p) {
    return p->frames == 0;
}
bool pack_out_is_meta(const struct pack_out *p) {
    return p->meta;
}

int frame_record(struct buf *b, uint32_t stored_len, uint32_t plain_len, enum codec_kind codec, enum chunk_kind kind,
                 const struct digest *base, const struct member *m, unsigned n, struct error *err) {
    uint8_t h[12];
    put_u32(h, stored_len);
    put_u32(h + 4, plain_len);
    h[8] = (uint8_t)codec;
    h[9] = (uint8_t)kind;
    put_u16(h + 10, (uint16_t)n);
    int rc = buf_reserve(b, record_bytes(n), err);
    if (rc == 0) rc = buf_append(b, h, sizeof h, err);
    if (rc == 0 && codec == CODEC_ZSTD_DELTA) rc = buf_append(b, base->b, DIGEST_BYTES, err);
    for (unsigned i = 0; i < n && rc == 0; i++) {
        rc = buf_append(b, m[i].id.b, DIGEST_BYTES, err);
        if (rc == 0) rc = buf_append_u32(b, m[i].len, err);
    }
    return rc;
}

int pack_out_reserve(struct pack_out *p, uint32_t payload_len, uint32_t plain_len, enum codec_kind codec,
                     enum chunk_kind kind, const struct digest *base, const struct member *m, unsigned n,
                     struct pack_slot *ret, struct error *err) {
    size_t at = p->dir.len;
    int rc = frame_record(&p->dir, payload_len + AEAD_TAG_BYTES, plain_len, codec, kind, base, m, n, err);
    if (rc < 0) return rc;
    *ret = (struct pack_slot){p, p->frames++, p->used, at, p->dir.len - at};
    p->used += payload_len + AEAD_TAG_BYTES;
    return 0;
}

struct bytes pack_out_record(const struct pack_slot *s) {
    return BYTES_OF(s->pack->dir.ptr + s->record_at, s->record_len);
}

int pack_out_seal(const struct pack_slot *s, struct bytes record, struct bytes payload, uint8_t *back,
                  struct error *err) {
    struct pack_out *p = s->pack;
    uint8_t nonce[AEAD_NONCE_BYTES];
    struct aead *a = NULL;
    struct buf aad = BUF_INIT(4u << 20);
    int rc = pack_aead(p->cipher, p->key, p->mem, s->ordinal, record, &a, nonce, &aad, err);
    if (rc == 0) rc = aead_seal(a, nonce, buf_bytes(&aad), payload, p->mem + s->at, err);
    if (rc == 0)
        rc = aead_open(a, nonce, buf_bytes(&aad), BYTES_OF(p->mem + s->at, payload.len + AEAD_TAG_BYTES), back, err);
    aead_free(a);
    buf_free(&aad);
    return rc;
}

int pack_out_finish(struct repo *r, struct pack_out *p, struct digest *ret_name, uint64_t *ret_bytes,
                    struct error *err) {
    uint64_t dir_at = p->used;
    int rc = seal_at(p, ORDINAL_DIRECTORY, buf_bytes(&p->dir), p->mem + p->used, err);
    if (rc < 0) return rc;
    p->used += p->dir.len + AEAD_TAG_BYTES;
    uint64_t total = padme(p->used + AEAD_TAG_BYTES + PACK_FOOTER_BYTES);
    if (total > p->room) total = p->room;
    size_t pad = (size_t)(total - PACK_FOOTER_BYTES - p->used) - AEAD_TAG_BYTES;
    memset(p->mem + p->used, 0, pad);
    rc = seal_at(p, ORDINAL_PADDING, BYTES_OF(p->mem + p->used, pad), p->mem + p->used, err);
    if (rc < 0) return rc;
    p->used += pad + AEAD_TAG_BYTES;
    uint8_t foot[PACK_FOOTER_BYTES - AEAD_TAG_BYTES] = {0};
    memcpy(foot, "PKFOOT01", 8);
    put_u64(foot + 8, dir_at);
    put_u32(foot + 16, (uint32_t)p->dir.len);
    put_u32(foot + 20, p->frames);
    put_u64(foot + 24, p->parity ? p->used : 0);
    uint8_t *section = p->mem + p->used, *footer = section + parity_bytes(p->used + PACK_FOOTER_BYTES, p->parity);
    rc = seal_at(p, ORDINAL_FOOTER, BYTES_OF(foot, sizeof foot), footer, err);
    if (rc == 0 && p->parity)
        rc = parity_make(BYTES_OF(p->mem, p->used), BYTES_OF(footer, PACK_FOOTER_BYTES), p->parity, section, err);
    if (rc < 0) return rc;
    p->used = (size_t)(footer - p->mem) + PACK_FOOTER_BYTES;
    sha256(BYTES_OF(p->mem, p->used), ret_name);
    *ret_bytes = p->used;
    char key[96];
    pack_key(p->meta, ret_name, key);
    uint8_t *mem = p->mem;
    p->mem = NULL;
    return store_stage_own(r->store, key, mem, p->used, ret_name->b, err);
}

int pack_out_entries(struct pack_out *p, uint32_t pack_ordinal, struct run_entry **entries, size_t *n, size_t *cap,
                     struct error *err) {
    struct cursor c = cursor_of(buf_bytes(&p->dir));
    const size_t before = *n;
    cursor_take(&c, 8);
    for (uint32_t ordinal = 0; c.len > 0; ordinal++) {
        cursor_u32(&c);
        cursor_u32(&c);
        uint8_t codec = cursor_u8(&c), kind = cursor_u8(&c);
        unsigned members = cursor_u16(&c);
        const uint8_t *base = codec == CODEC_ZSTD_DELTA ? cursor_take(&c, DIGEST_BYTES).ptr : NULL;
        int rc = mem_grow((void **)entries, cap, *n + members, sizeof **entries, err);
        if (rc < 0) {
            *n = before; /* the next pack gets this one's place, and must not get its frames */
            return rc;
        }
        for (unsigned i = 0; i < members; i++) {
            struct run_entry *e = &(*entries)[*n];
            memcpy(e->id, cursor_take(&c, DIGEST_BYTES).ptr, ID_PREFIX_BYTES);
            e->plain_len = cursor_u32(&c);
            e->pack = pack_ordinal;
            e->frame = ordinal;
            e->flags = (base ? ENTRY_DELTA : 0) | (uint32_t)kind << ENTRY_KIND_SHIFT;
            if (base) memcpy(e->base, base, ID_PREFIX_BYTES);
            (*n)++;
        }
    }
    return 0;
}

void pack_out_free(struct pack_out *p) {
    if (!p) return;
    wipe(p->key, sizeof p->key);
    seam_free(p->mem);
    buf_free(&p->dir);
    seam_free(p);
}
