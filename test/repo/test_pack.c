/* Packs of every size, to the last byte that fits: each falls into a Padmé class or is as large as a pack may be, and
 * opens. */
#include "repo/codec.h"
#include "repo/parity.h"
#include "repo/repo_internal.h"
#include "repo_kit.h"

#include <stdlib.h>
#include <string.h>

#define PACK (1u << 20)

/* A pack of one frame of `payload` bytes; whether it fitted. */
static bool made(struct kit *k, const struct session *s, const uint8_t *data, size_t payload, struct digest *ret_name,
                 uint64_t *ret_bytes) {
    struct error err = ERROR_INIT;
    struct member m = {.len = (uint32_t)payload};
    struct pack_slot slot;
    struct pack_out *p = NULL;
    kit_ok(pack_out_new(k->repo, s, false, &p, &err), &err);
    bool fits = pack_out_fits(p, payload, 1);
    if (fits) {
        uint8_t *back = malloc(payload);
        uint32_t n = (uint32_t)payload;
        kit_ok(pack_out_reserve(p, n, n, CODEC_RAW, CHUNK_DATA, NULL, &m, 1, &slot, &err), &err);
        kit_ok(pack_out_seal(&slot, pack_out_record(&slot), BYTES_OF(data, payload), back, &err), &err);
        free(back);
        kit_ok(pack_out_finish(k->repo, p, ret_name, ret_bytes, &err), &err);
        kit_ok(store_commit(k->store, &err), &err);
    }
    pack_out_free(p);
    return fits;
}

static void opens(struct kit *k, const struct digest *name, uint64_t bytes, const uint8_t *data, size_t payload) {
    struct error err = ERROR_INIT;
    struct pack_in *in = NULL;
    uint64_t stored;
    char key[96];
    uint8_t *sealed = malloc(payload + AEAD_TAG_BYTES), *plain = malloc(payload);
    pack_key(false, name, key);
    kit_ok(store_stat(k->store, key, &stored, NULL, &err), &err);
    assert_int_equal(stored, bytes);
    kit_ok(pack_in_open(k->repo, false, name, &in, &err), &err);
    assert_int_equal(pack_in_frames(in), 1);
    kit_ok(pack_in_sealed(k->repo, in, 0, sealed, &err), &err);
    kit_ok(pack_in_unseal(in, 0, sealed, plain, &err), &err);
    assert_memory_equal(plain, data, payload);
    pack_in_free(in);
    free(sealed);
    free(plain);
}

static void fill(unsigned parity) {
    struct error err = ERROR_INIT;
    struct kit k = {0};
    struct session s = {0};
    struct digest name;
    uint64_t bytes;
    uint8_t *data = malloc(PACK);
    kit_begin(&k);
    repo_parity_set(k.repo, parity);
    kit_ok(session_new(k.repo, &s, &err), &err);
    kit_random(data, PACK, 5);
    size_t most = PACK;
    while (!made(&k, &s, data, most, &name, &bytes)) most--;
    assert_true(most > PACK * 85 / 100);
    size_t room = parity_room(PACK, parity);
    bool clamped = false, padded = false;
    for (size_t less = 0; less < most; less = less < 40 ? less + 1 : less * 2) {
        assert_true(made(&k, &s, data, most - less, &name, &bytes));
        opens(&k, &name, bytes, data, most - less);
        assert_true(bytes <= PACK);
        size_t body = 0; /* what bytes are without their parity */
        for (size_t b = room; b > most - less && !body; b--)
            if (b + parity_bytes(b, parity) == bytes) body = b;
        assert_true(body);
        assert_true(body == room || padme(body) == body);
        clamped |= body == room;
        padded |= body != room;
    }
    assert_true(clamped && padded);
    free(data);
    session_clear(&s);
    kit_end(&k);
}

static void packs_of_every_size_open(void **state) {
    (void)state;
    fill(0);
}

static void and_so_do_those_with_parity(void **state) {
    (void)state;
    fill(10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_of_every_size_open),
        cmocka_unit_test(and_so_do_those_with_parity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
