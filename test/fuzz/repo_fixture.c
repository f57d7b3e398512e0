#include "repo_fixture.h"
#include "crypto/keyring_internal.h"

#include <stdlib.h>

void need(int holds) {
    if (!holds) abort();
}

void fixture_init(struct fixture *f) {
    struct error err = ERROR_INIT;
    uint8_t master[32];
    need(crypto_init(&err) == 0);
    *f = (struct fixture){
        .repo = {.cipher = CIPHER_CHACHA20_POLY1305, .data_pack_bytes = 1 << 20, .meta_pack_bytes = 1 << 20}};
    mem_store_init(&f->store, NULL);
    for (int i = 0; i < 16; i++) f->repo.id[i] = (uint8_t)i;
    for (int i = 0; i < 32; i++) master[i] = (uint8_t)(0x40 + i);
    hex_encode(f->repo.id, 16, f->repo.id_hex);
    need(keyring_from_master(f->repo.id, BYTES_OF(master, 32), &f->repo.keys, &err) == 0);
    f->repo.store = &f->store.base;
    pthread_mutex_init(&f->repo.lock, NULL);
}

void fixture_free(struct fixture *f) {
    struct repo *r = &f->repo;
    state_free(&r->state);
    index_free(&r->index);
    epochs_free(r);
    for (size_t i = 0; i < r->session_count; i++) secret_free(r->sessions[i].key);
    seam_free(r->sessions);
    keyring_free(r->keys);
    pthread_mutex_destroy(&r->lock);
    mem_store_free(&f->store);
}

struct bytes input_take(struct bytes *in, size_t n) {
    if (n > in->len) n = in->len;
    struct bytes got = BYTES_OF(in->ptr, n);
    *in = BYTES_OF(in->ptr + n, in->len - n);
    return got;
}

uint64_t input_number(struct bytes *in, size_t bytes) {
    struct bytes b = input_take(in, bytes);
    uint64_t v = 0;
    for (size_t i = b.len; i-- > 0;) v = v << 8 | b.ptr[i];
    return v;
}
