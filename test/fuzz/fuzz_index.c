/* Index runs and pack lists: whatever a holder of the index key put in one, an error or look-ups that stay within it.
 * First byte 0: the rest is the object. Else: u8 type, u64 entries, u32 packs, and the body to be sealed. */
#include "repo/packlist.h"
#include "repo/run.h"
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OBJECT_MAX (4u << 20)

static void append(struct buf *b, const void *p, size_t n) {
    struct error err = ERROR_INIT;
    need(buf_append(b, p, n, &err) == 0);
}

static void make(struct fixture *f, struct bytes in, struct buf *out) {
    struct error err = ERROR_INIT;
    struct aead *a = NULL;
    uint8_t h[RUN_HEADER_BYTES] = "PKINDEX1\1\2";
    h[10] = (uint8_t)input_number(&in, 1);
    put_u64(h + 16, input_number(&in, 8));
    put_u32(h + 24, (uint32_t)input_number(&in, 4));
    memcpy(h + 64, f->repo.id, 16);
    append(out, h, sizeof h);
    need(run_aead(&f->repo, h, &a, &err) == 0);
    for (uint64_t i = 0; in.len > 0; i++) {
        uint8_t nonce[AEAD_NONCE_BYTES] = {0};
        struct bytes part = input_take(&in, RUN_BLOCK_BYTES);
        put_u64(nonce, i);
        need(buf_reserve(out, part.len + AEAD_TAG_BYTES, &err) == 0);
        need(aead_seal(a, nonce, BYTES_OF(h, sizeof h), part, out->ptr + out->len, &err) == 0);
        out->len += part.len + AEAD_TAG_BYTES;
    }
    aead_free(a);
}

static void look_up(struct fixture *f, const struct digest *name) {
    struct error err = ERROR_INIT;
    struct index *x = &f->repo.index;
    int rc = index_add(&f->repo, x, name, &err);
    need(rc == 0 || rc == -ERR_OBJECT_CORRUPT || rc == -ERR_FORMAT_VERSION);
    if (rc < 0) return;
    struct run_view v;
    need(index_scan(x, 0, true, &v, &err) == 0);
    for (uint64_t i = 0; i < v.entry_count; i++) {
        struct location l;
        struct digest pack;
        uint8_t id[ID_PREFIX_BYTES];
        memcpy(id, v.entries + i * RUN_ENTRY_BYTES, sizeof id);
        if (!index_find(x, id, &l)) continue;
        need(l.pack < v.pack_count);
        index_pack(x, &l, &pack, NULL, NULL);
        if (l.delta) (void)!index_find(x, l.base, &l);
        id[15] ^= 1;
        (void)!index_find(x, id, &l);
    }
    index_scan_end(&v);
}

static int see_name(void *ctx, const struct digest *d, struct error *err) {
    (void)err;
    ++*(size_t *)ctx;
    need(d != NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fixture f;
    struct error err = ERROR_INIT;
    struct buf object = BUF_INIT(OBJECT_MAX);
    struct digest name, *packs = NULL;
    size_t n = 0;
    char key[96];
    if (size < 1 || size > OBJECT_MAX / 2) return 0;
    fixture_init(&f);
    if (data[0] == 0)
        append(&object, data + 1, size - 1);
    else
        make(&f, BYTES_OF(data + 1, size - 1), &object);
    sha256(buf_bytes(&object), &name);
    run_key(&name, key);
    mem_store_put(&f.store, key, buf_bytes(&object));
    int rc = packlist_read(&f.repo, &name, &packs, &n, &err);
    need(rc == 0 || rc == -ERR_OBJECT_CORRUPT || rc == -ERR_FORMAT_VERSION);
    if (rc == 0 && n) (void)!digest_in(packs, n, &packs[n / 2]);
    seam_free(packs);
    n = 0;
    error_clear(&err);
    rc = packlist_each(&f.repo, &name, see_name, &n, &err);
    need(rc == 0 || rc == -ERR_OBJECT_CORRUPT || rc == -ERR_OBJECT_MISSING || rc == -ERR_FORMAT_VERSION);
    look_up(&f, &name);
    buf_free(&object);
    fixture_free(&f);
    return 0;
}
