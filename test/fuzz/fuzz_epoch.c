/* The object of an epoch: whatever stands in it, an error or keys. The log names it by its digest, so that only the
 * admin can put anything there. u8 role (2 writer, 3 restore, 4 prune), u8 epoch (1 to 4), u8: 1 makes boxes that open
 * of the first bytes; the rest follows the header. */
#include "repo/run.h"
#include "repo_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OBJECT_MAX (1u << 20)

static void append(struct buf *b, struct bytes in) {
    struct error err = ERROR_INIT;
    need(buf_append(b, in.ptr, in.len, &err) == 0);
}

static void box(struct buf *out, const uint8_t *to, struct bytes plain) {
    struct error err = ERROR_INIT;
    need(buf_reserve(out, plain.len + SEAL_OVERHEAD_BYTES, &err) == 0);
    need(box_seal(to, plain, out->ptr + out->len, &err) == 0);
    out->len += plain.len + SEAL_OVERHEAD_BYTES;
}

static void make(struct fixture *f, unsigned epoch, bool opens, struct bytes in, struct buf *out) {
    struct error err = ERROR_INIT;
    uint8_t h[RUN_HEADER_BYTES] = "PKINDEX1\1\2\3", pub[BOX_PUBLIC_BYTES], length[4];
    put_u16(h + RUN_EPOCH_AT, (uint16_t)epoch);
    memcpy(h + 64, f->repo.id, 16);
    append(out, BYTES_OF(h, sizeof h));
    if (opens) {
        append(out, input_take(&in, (size_t)epoch * KEY_BYTES + AEAD_TAG_BYTES));
        box(out, f->repo.keys->read_public, input_take(&in, ((size_t)epoch + 3) * KEY_BYTES));
        append(out, BYTES_OF(f->repo.keys->sign_public, SIGN_PUBLIC_BYTES));
        struct bytes plain = input_take(&in, (f->repo.keys->role == ROLE_WRITER ? 3 : 1) * KEY_BYTES);
        put_u32(length, (uint32_t)(plain.len + SEAL_OVERHEAD_BYTES));
        append(out, BYTES_OF(length, sizeof length));
        need(sign_box_public(f->repo.keys->sign_public, pub, &err) == 0);
        box(out, pub, plain);
    }
    append(out, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fixture f;
    struct error err = ERROR_INIT;
    struct buf object = BUF_INIT(OBJECT_MAX);
    struct keyring *admin, *own;
    struct digest name;
    struct epoch_info *epochs;
    void *p;
    char key[96];
    if (size < 3 || size > OBJECT_MAX / 2) return 0;
    unsigned epoch = 1 + data[1] % 4;
    fixture_init(&f);
    admin = f.repo.keys;
    need(keyring_derive(admin, (enum key_role)(2 + data[0] % 3), &own, &err) == 0);
    f.repo.keys = own;
    make(&f, epoch, data[2] == 1, BYTES_OF(data + 3, size - 3), &object);
    sha256(buf_bytes(&object), &name);
    run_key(&name, key);
    mem_store_put(&f.store, key, buf_bytes(&object));
    need(mem_alloc(epoch * sizeof *epochs, &p, &err) == 0);
    epochs = p;
    for (unsigned i = 0; i < epoch; i++) epochs[i].keys = name;
    f.repo.state.epochs = epochs;
    f.repo.state.epoch_count = epoch;
    int rc = epochs_load(&f.repo, &err);
    need(rc == 0 || rc == -ERR_OBJECT_CORRUPT || rc == -ERR_KEY_ROLE || rc == -ERR_KEY_WRONG);
    if (rc == 0) {
        struct bytes k;
        need(repo_epoch(&f.repo) == epoch && repo_index_key(&f.repo, epoch, &k, &err) == 0);
    }
    keyring_free(admin);
    buf_free(&object);
    fixture_free(&f);
    return 0;
}
