/* Packs: whatever a holder of keys put in one, an error or frames that lie within it. First byte 0: the rest is the
 * object. Else the rest is a directory to be sealed and the payloads of its frames: u32 frames, u32 length, directory,
 * payloads. */
#include "../harness/frame_decode.h"
#include "crypto/crypto_internal.h"
#include "repo_fixture.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OBJECT_MAX (4u << 20)

static void append(struct buf *b, const void *p, size_t n) {
    struct error err = ERROR_INIT;
    need(buf_append(b, p, n, &err) == 0);
}

static void seal(struct buf *out, const uint8_t key[32], uint32_t ordinal, struct bytes record, struct bytes plain) {
    struct error err = ERROR_INIT;
    struct aead *a = NULL;
    struct buf aad = BUF_INIT(OBJECT_MAX);
    uint8_t nonce[AEAD_NONCE_BYTES];
    need(pack_aead(CIPHER_CHACHA20_POLY1305, key, out->ptr, ordinal, record, &a, nonce, &aad, &err) == 0);
    need(buf_reserve(out, plain.len + AEAD_TAG_BYTES, &err) == 0);
    need(aead_seal(a, nonce, buf_bytes(&aad), plain, out->ptr + out->len, &err) == 0);
    out->len += plain.len + AEAD_TAG_BYTES;
    aead_free(a);
    buf_free(&aad);
}

/* The frames that the directory speaks of, as far as there is input for them. */
static void frames_put(struct buf *out, const uint8_t key[32], struct bytes dir, struct bytes in) {
    struct cursor c = cursor_of(dir);
    cursor_take(&c, 8);
    for (uint32_t ordinal = 0; c.len > 0 && !c.bad; ordinal++) {
        const uint8_t *start = c.ptr;
        uint32_t stored = cursor_u32(&c);
        cursor_u32(&c);
        uint8_t codec = cursor_u8(&c);
        cursor_u8(&c);
        size_t members = cursor_u16(&c);
        if (codec == CODEC_ZSTD_DELTA) cursor_take(&c, 32);
        cursor_take(&c, 36 * members);
        if (c.bad || stored < AEAD_TAG_BYTES || stored - AEAD_TAG_BYTES > in.len) return;
        seal(out, key, ordinal, BYTES_OF(start, (size_t)(c.ptr - start)), input_take(&in, stored - AEAD_TAG_BYTES));
    }
}

static void make(struct fixture *f, struct bytes in, struct buf *out) {
    static const char magic[] = "PKPACK01\1\2\1";
    struct error err = ERROR_INIT;
    uint8_t h[PACK_HEADER_BYTES] = {0}, okm[64], key[32] = {7}, foot[48] = "PKFOOT01";
    struct buf info = BUF_INIT(64);
    memcpy(h, magic, 11);
    memcpy(h + 16, f->repo.id, 16);
    need(box_seal(f->repo.keys->read_public, BYTES_OF(key, 32), h + 112, &err) == 0);
    append(&info, "proofkeep/v1/pack", 17);
    append(&info, f->repo.id, 16);
    need(hkdf_sha256(BYTES_OF(key, 32), BYTES_OF(h + 48, 32), buf_bytes(&info), okm, 64, &err) == 0);
    memcpy(h + 80, okm + 32, 32);
    append(out, h, sizeof h);
    uint32_t frames = (uint32_t)input_number(&in, 4);
    struct bytes dir = input_take(&in, input_number(&in, 4));
    frames_put(out, okm, dir, in);
    put_u64(foot + 8, out->len);
    put_u32(foot + 16, (uint32_t)dir.len);
    put_u32(foot + 20, frames);
    seal(out, okm, UINT32_C(0xffffffff), BYTES_OF(NULL, 0), dir);
    seal(out, okm, UINT32_C(0xfffffffd), BYTES_OF(NULL, 0), BYTES_OF(NULL, 0));
    seal(out, okm, UINT32_C(0xfffffffe), BYTES_OF(NULL, 0), BYTES_OF(foot, sizeof foot));
    buf_free(&info);
}

static void use(struct fixture *f, struct pack_in *in, size_t len) {
    static const uint8_t base[64] = "a base, which deltas are decoded against";
    struct error err = ERROR_INIT;
    struct codec *codec;
    need(codec_new(&codec, &err) == 0);
    for (uint32_t i = 0; i < pack_in_frames(in); i++) {
        const struct frame *fr = pack_in_frame(in, i);
        need(fr->at >= PACK_HEADER_BYTES && fr->at + fr->stored_len <= len && fr->plain_len <= CHUNK_PLAIN_MAX);
        uint8_t *plain = malloc(fr->plain_len + 1u);
        need(plain != NULL);
        int rc = frame_decode(&f->repo, in, i, codec, BYTES_OF(NULL, 0), BYTES_OF(base, sizeof base), plain, &err);
        need(rc == 0 || rc == -ERR_OBJECT_CORRUPT);
        error_clear(&err);
        free(plain);
    }
    need(pack_in_frame(in, pack_in_frames(in)) == NULL);
    codec_free(codec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fixture f;
    struct error err = ERROR_INIT;
    struct buf object = BUF_INIT(OBJECT_MAX);
    struct pack_in *in = NULL;
    struct digest name = {{1}};
    char key[96];
    if (size < 1 || size > OBJECT_MAX / 8) return 0;
    fixture_init(&f);
    struct bytes rest = BYTES_OF(data + 1, size - 1);
    if (data[0] == 0)
        append(&object, rest.ptr, rest.len);
    else
        make(&f, rest, &object);
    pack_key(false, &name, key);
    mem_store_put(&f.store, key, buf_bytes(&object));
    int rc = pack_in_open(&f.repo, false, &name, &in, &err);
    need(rc == 0 || (rc == -ERR_OBJECT_CORRUPT && strstr(err.text, key) != NULL));
    if (rc == 0) use(&f, in, object.len);
    pack_in_free(in);
    buf_free(&object);
    fixture_free(&f);
    return 0;
}
