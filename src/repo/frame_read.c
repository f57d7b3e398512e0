/* One frame as it is stored: opened, decoded, and its chunks held against their ids. */
#include "crypto/sha256_x2.h"
#include "repo/repo_internal.h"

#define MEMBERS_AT_ONCE 64

/* Chunks that are hashed together, and what each has to be. */
struct held_chunks {
    struct bytes id_key;
    struct bytes data[MEMBERS_AT_ONCE];
    struct {
        struct digest id, *ret_sha; /* ret_sha may be NULL */
        enum chunk_kind kind;
        bool *good;
    } of[MEMBERS_AT_ONCE];
    unsigned n;
};

static void chunks_hold(struct held_chunks *h) {
    struct digest sha[MEMBERS_AT_ONCE], id;
    sha256_many(h->data, sha, h->n);
    for (unsigned i = 0; i < h->n; i++) {
        chunk_id(h->id_key, h->of[i].kind, &sha[i], &id);
        *h->of[i].good &= digest_equal(&id, &h->of[i].id);
        if (h->of[i].ret_sha) *h->of[i].ret_sha = sha[i];
    }
    h->n = 0;
}

/* The chunks of a frame; what is still to be hashed at its end stays for the next one. */
static void frame_hold(struct held_chunks *h, const struct frame *fr, const uint8_t *plain, struct digest *ret_shas,
                       bool *good) {
    for (unsigned i = 0; i < fr->member_count; i++, h->n++) {
        const struct member m = frame_member(fr, i);
        if (h->n == MEMBERS_AT_ONCE) chunks_hold(h);
        h->data[h->n] = BYTES_OF(plain, m.len);
        h->of[h->n].id = m.id;
        h->of[h->n].ret_sha = ret_shas ? &ret_shas[i] : NULL;
        h->of[h->n].kind = fr->kind;
        h->of[h->n].good = good;
        plain += m.len;
    }
}

int frames_hold(struct repo *r, struct pack_in *in, const uint32_t *ordinals, uint8_t *const *plain, unsigned n,
                bool *ret_good, struct error *err) {
    struct held_chunks h;
    int rc = repo_id_key(r, pack_in_epoch(in), &h.id_key, err);
    if (rc < 0) return rc;
    h.n = 0;
    for (unsigned f = 0; f < n; f++) {
        ret_good[f] = true;
        frame_hold(&h, pack_in_frame(in, ordinals[f]), plain[f], NULL, &ret_good[f]);
    }
    chunks_hold(&h);
    return 0;
}

static int members_verify(struct repo *r, struct pack_in *in, uint32_t ordinal, const uint8_t *plain,
                          struct digest *shas, struct error *err) {
    const struct frame *fr = pack_in_frame(in, ordinal);
    struct held_chunks h;
    bool good = true;
    int rc = repo_id_key(r, pack_in_epoch(in), &h.id_key, err);
    if (rc < 0) return rc;
    h.n = 0;
    frame_hold(&h, fr, plain, shas, &good);
    chunks_hold(&h);
    if (!good)
        return error_set(err, ERR_OBJECT_CORRUPT, "%s: a chunk of frame %u is not what its id says", pack_in_key(in),
                         ordinal);
    return 0;
}

/* Without `prove`, members are left to be checked when they are handed out. */
static int payload_decode(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec,
                          struct bytes payload, struct bytes base, bool prove, uint8_t *plain, struct digest *shas,
                          struct error *err) {
    const struct frame *fr = pack_in_frame(in, ordinal);
    int rc = codec_decode(codec, fr->codec, payload, base, plain, fr->plain_len, err);
    if (rc < 0) return error_wrap(err, "%s: frame %u", pack_in_key(in), ordinal);
    return prove ? members_verify(r, in, ordinal, plain, shas, err) : 0;
}

int frame_verify(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec, struct bytes payload,
                 struct bytes base, uint8_t *plain, struct error *err) {
    return payload_decode(r, in, ordinal, codec, payload, base, true, plain, NULL, err);
}

int frame_payload(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec, struct bytes sealed_in,
                  struct bytes *ret, struct error *err) {
    const struct frame *fr = pack_in_frame(in, ordinal);
    uint8_t *opened = codec_room(codec, fr->stored_len);
    int rc = 0;
    if (!opened) rc = error_set(err, ERR_NO_MEMORY, "no memory for a frame of %u bytes", fr->stored_len);
    if (rc == 0 && sealed_in.len) {
        rc = pack_in_unseal(in, ordinal, sealed_in.ptr, opened, err);
    } else if (rc == 0) {
        rc = pack_in_sealed(r, in, ordinal, opened, err);
        if (rc == 0) rc = pack_in_unseal(in, ordinal, opened, opened, err);
        if (rc == -ERR_OBJECT_CORRUPT && pack_in_sealed_mended(r, in, ordinal, opened)) {
            error_clear(err);
            rc = pack_in_unseal(in, ordinal, opened, opened, err);
        }
    }
    if (rc == 0) *ret = BYTES_OF(opened, fr->stored_len - AEAD_TAG_BYTES);
    return rc;
}

static int decode_once(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec,
                       struct bytes sealed_in, struct bytes base, bool prove, uint8_t *plain, struct digest *shas,
                       struct error *err) {
    struct bytes payload;
    int rc = frame_payload(r, in, ordinal, codec, sealed_in, &payload, err);
    return rc < 0 ? rc : payload_decode(r, in, ordinal, codec, payload, base, prove, plain, shas, err);
}

int frame_read(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec, struct bytes sealed_in,
               struct bytes base, bool prove, uint8_t *plain, struct digest *shas, struct error *err) {
    int rc = decode_once(r, in, ordinal, codec, sealed_in, base, prove, plain, shas, err);
    /* A directory that was cached may be of the true pack, and what lies in the store now put over it. */
    if (rc != -ERR_OBJECT_CORRUPT || sealed_in.len || !store_pin_first_version(r->store, pack_in_key(in))) return rc;
    error_clear(err);
    return decode_once(r, in, ordinal, codec, sealed_in, base, prove, plain, shas, err);
}

int frame_open(struct repo *r, struct pack_in *in, uint32_t ordinal, struct codec *codec, struct bytes sealed_in,
               struct bytes base, uint8_t *plain, struct error *err) {
    return frame_read(r, in, ordinal, codec, sealed_in, base, false, plain, NULL, err);
}
