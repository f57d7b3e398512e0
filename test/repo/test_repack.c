/* Packs that are moved: what goes as it is, and what must prove itself before it does. */
#include "repo/maintain_internal.h"
#include "repo/writer_internal.h"
#include "repo_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEM 200000u

static uint8_t noise[2 * ITEM];

/* A pack with one frame that says it holds that chunk, and a run over it. The bytes are others. */
static void lie(struct kit *k, const struct digest *id, struct digest *ret_pack) {
    struct error err = ERROR_INIT;
    struct writer *w = NULL;
    struct writer_options o = {.environment = "", .surface = "lie", .no_delta = true};
    struct digests packs = {0}, runs = {0}, none = {0};
    struct member m = {*id, ITEM};
    const struct frame f = {.plain_len = ITEM, .codec = CODEC_RAW, .kind = CHUNK_DATA, .member_count = 1};
    uint8_t *back = malloc(ITEM);
    uint64_t bytes;
    kit_ok(writer_open_bare(k->repo, &o, &w, &err), &err);
    kit_ok(frame_put(w, &f, &m, BYTES_OF(noise + ITEM, ITEM), back, &err), &err);
    kit_ok(moved_finish(w, 0, &packs, &runs, &bytes, &err), &err);
    writer_free(w);
    free(back);
    assert_int_equal(packs.n, 1);
    *ret_pack = packs.d[0];
    kit_ok(delete_append(k->repo, ledger_size(repo_ledger(k->repo)), &none, NULL, &runs, &none, &none, 0, NULL, &err),
           &err);
    kit_ok(repo_sync(k->repo, &err), &err);
    digests_free(&packs);
    digests_free(&runs);
}

static int use_nothing(void *ctx, const struct pack_use *u, struct error *err) {
    (void)ctx, (void)u, (void)err;
    return 0;
}

static struct pack_fact data_pack(struct kit *k, const struct digest *but) {
    struct error err = ERROR_INIT;
    struct pack_facts all = {0};
    struct pack_fact found = {0};
    kit_ok(index_packs(k->repo, &all, &err), &err);
    for (size_t i = 0; i < all.n; i++)
        if (!all.f[i].meta && !(but && digest_equal(&all.f[i].name, but))) found = all.f[i];
    free(all.f);
    assert_true(found.bytes > 0);
    return found;
}

static void chunk_of(const uint8_t *data, struct kit *k, struct digest *ret) {
    struct error err = ERROR_INIT;
    struct bytes key;
    struct digest sha;
    kit_ok(repo_id_key(k->repo, 0, &key, &err), &err);
    sha256(BYTES_OF(data, ITEM), &sha);
    chunk_id(key, CHUNK_DATA, &sha, ret);
}

/* What is read of the chunk when the runs that moving made are all that is known; NULL: that it is damaged. */
static void expect_moved(struct kit *k, const struct digests *runs, const struct digest *id, const uint8_t *data) {
    struct error err = ERROR_INIT;
    struct index x = {0};
    struct fetcher *f = NULL;
    struct fetched c;
    for (size_t i = 0; i < runs->n; i++) kit_ok(index_add(k->repo, &x, &runs->d[i], &err), &err);
    kit_ok(fetcher_new(k->repo, &x, NULL, 1u << 20, &f, &err), &err);
    if (data) {
        kit_ok(fetch_chunk(f, id->b, id, CHUNK_DATA, &c, &err), &err);
        assert_int_equal(c.data.len, ITEM);
        assert_memory_equal(c.data.ptr, data, ITEM);
        fetch_release(f, &c);
    } else {
        assert_int_equal(fetch_chunk(f, id->b, id, CHUNK_DATA, &c, &err), -ERR_OBJECT_CORRUPT);
        assert_non_null(strstr(err.text, "is not what its id says"));
    }
    fetcher_free(f);
    index_free(&x);
}

static void moved(struct kit *k, const struct pack_fact *which, size_t n, struct digests *ret_runs) {
    struct error err = ERROR_INIT;
    struct marks *m = NULL;
    struct digests packs = {0};
    struct pack_facts facts = {.f = (struct pack_fact *)(uintptr_t)which, .n = n};
    uint64_t bytes;
    kit_ok(packs_use(k->repo, use_nothing, NULL, &m, &err), &err);
    kit_ok(repack(k->repo, m, &facts, &packs, ret_runs, &bytes, &err), &err);
    kit_ok(store_commit(k->store, &err), &err);
    assert_true(bytes >= ITEM);
    marks_free(m);
    digests_free(&packs);
}

/* The true one is thrown away when the other is taken for it. */
static void a_copy_that_is_not_what_its_id_says_takes_no_place(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it = {"a", CONTENT_FILE, noise, ITEM};
    struct digest id, lies;
    kit_begin(&k);
    k.threads = 1;
    kit_backup(&k, "t", &it, 1, true, NULL);
    chunk_of(noise, &k, &id);
    lie(&k, &id, &lies);
    const struct pack_fact truth = data_pack(&k, &lies), lying = data_pack(&k, &truth.name);
    assert_true(digest_equal(&lying.name, &lies));
    for (int first = 0; first < 2; first++) {
        const struct pack_fact which[2] = {first ? lying : truth, first ? truth : lying};
        struct digests runs = {0};
        moved(&k, which, 2, &runs);
        expect_moved(&k, &runs, &id, noise);
        digests_free(&runs);
    }
    kit_end(&k);
}

/* So a collection does not stop for damage that it can do nothing about, and a check names it as before. */
static void what_is_nowhere_else_goes_as_it_is(void **state) {
    (void)state;
    struct kit k;
    struct kit_item it = {"a", CONTENT_FILE, noise, ITEM};
    struct error err = ERROR_INIT;
    struct digests gone = {0}, lying = {0}, added = {0}, removed = {0}, none = {0}, runs = {0};
    struct digest id, lies;
    kit_begin(&k);
    k.threads = 1;
    kit_backup(&k, "t", &it, 1, true, NULL);
    chunk_of(noise, &k, &id);
    const struct pack_fact truth = data_pack(&k, NULL);
    moved(&k, &truth, 1, &runs);
    expect_moved(&k, &runs, &id, noise);
    digests_free(&runs);
    lie(&k, &id, &lies);
    kit_ok(digests_add(&gone, &truth.name, &err), &err);
    kit_ok(digests_add(&lying, &lies, &err), &err);
    kit_ok(runs_without(k.repo, &gone, &added, &removed, &err), &err);
    kit_ok(
        delete_append(k.repo, ledger_size(repo_ledger(k.repo)), &gone, &lying, &added, &removed, &none, 0, NULL, &err),
        &err);
    kit_ok(repo_sync(k.repo, &err), &err);
    const struct pack_fact only = data_pack(&k, NULL);
    assert_true(digest_equal(&only.name, &lies));
    runs = (struct digests){0};
    moved(&k, &only, 1, &runs);
    expect_moved(&k, &runs, &id, NULL);
    digests_free(&gone);
    digests_free(&lying);
    digests_free(&added);
    digests_free(&removed);
    digests_free(&runs);
    kit_end(&k);
}

#define SMALL 40000u /* six of them are a frame */
#define FRAMES 24u
#define SMALLS (6 * FRAMES)

static uint8_t smalls[SMALLS][SMALL];

/* Of each frame the first `dead` items are forgotten, and all packs of data are moved: how many of those items went
 * with the others. What lives is read from what was moved. */
static unsigned dead_that_went(unsigned dead) {
    struct kit k;
    struct kit_item all[SMALLS], live[SMALLS];
    char names[SMALLS][8];
    struct error err = ERROR_INIT;
    struct pack_facts packs = {0};
    struct digests runs = {0};
    struct index x = {0};
    struct digest sha, id;
    struct location l;
    struct bytes key;
    size_t n = 0, w = 0;
    unsigned went = 0;
    kit_begin(&k);
    k.threads = 1;
    k.checkpoint_bytes = 1u << 30;
    for (unsigned i = 0; i < SMALLS; i++) {
        snprintf(names[i], sizeof names[i], "%03u", i);
        all[i] = (struct kit_item){names[i], CONTENT_FILE, smalls[i], SMALL};
        if (i % 6 >= dead) live[n++] = all[i];
    }
    const uint64_t first = kit_backup(&k, "t", all, SMALLS, true, NULL);
    const uint64_t second = kit_backup(&k, "t", live, n, true, NULL);
    kit_ok(repo_forget(k.repo, &first, 1, "test", &err), &err);
    kit_ok(repo_sync(k.repo, &err), &err);
    kit_ok(index_packs(k.repo, &packs, &err), &err);
    for (size_t i = 0; i < packs.n; i++)
        if (!packs.f[i].meta) packs.f[w++] = packs.f[i];
    moved(&k, packs.f, w, &runs);
    for (size_t i = 0; i < runs.n; i++) kit_ok(index_add(k.repo, &x, &runs.d[i], &err), &err);
    kit_ok(repo_id_key(k.repo, 0, &key, &err), &err);
    for (unsigned i = 0; i < SMALLS; i++) {
        sha256(BYTES_OF(smalls[i], SMALL), &sha);
        chunk_id(key, CHUNK_DATA, &sha, &id);
        const bool there = index_find(&x, id.b, &l);
        if (i % 6 < dead)
            went += there;
        else
            assert_true(there);
    }
    index_free(&x);
    kit_expect(&k, second, live, n);
    seam_free(packs.f);
    digests_free(&runs);
    kit_end(&k);
    return went;
}

static void frames_go_as_they_are_while_little_of_all_is_dead(void **state) {
    (void)state;
    assert_int_equal(dead_that_went(1), FRAMES); /* a sixth of each */
    for (unsigned dead = 2; dead <= 3; dead++) {
        const unsigned went = dead_that_went(dead), live = SMALLS - dead * FRAMES;
        assert_true(went >= dead && went % dead == 0);
        assert_true(went * 8 <= live + went);
    }
    assert_int_equal(dead_that_went(4), 0); /* too much to take along */
}

int main(void) {
    for (unsigned i = 0; i < SMALLS; i++) kit_random(smalls[i], SMALL, 100 + i);
    kit_random(noise, sizeof noise, 7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_that_is_not_what_its_id_says_takes_no_place),
        cmocka_unit_test(what_is_nowhere_else_goes_as_it_is),
        cmocka_unit_test(frames_go_as_they_are_while_little_of_all_is_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
