/* What a thief of a writer's key may put into a repository: it is refused by whoever reads it, and nobody waits for
 * ever. */
#include "../fuzz/repo_fixture.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        struct error err_ = ERROR_INIT, *e = &err_;                                                                    \
        if ((call) != 0) fail_msg("%s: %s", #call, err_.text);                                                         \
    } while (0)
#define LEN 8192

static struct fixture f;
static struct digest ids[4];
static uint8_t plain[4][LEN];

/* One pack: chunk i is stored against chunk bases[i], or raw where that is -1; and the run over it, in which a liar
 * calls every chunk plain. */
static void store(const int bases[], unsigned n, bool liar) {
    struct session s = {{0}, NULL, {0}};
    struct pack_out *p = NULL;
    struct codec *codec = NULL;
    struct digest name, run;
    struct run_entry *entries = NULL;
    size_t count = 0, cap = 0;
    uint64_t bytes;
    uint8_t row[RUN_PACK_BYTES], back[LEN];
    fixture_init(&f);
    OK(session_new(&f.repo, &s, e));
    OK(pack_out_new(&f.repo, &s, false, &p, e));
    OK(codec_new(&codec, e));
    for (unsigned i = 0; i < n; i++) {
        struct digest sha;
        for (size_t k = 0; k < LEN; k++) plain[i][k] = (uint8_t)(k * k * 31 >> 7 ^ (k / 1000 == i));
        sha256(BYTES_OF(plain[i], LEN), &sha);
        chunk_id(secret_bytes(f.repo.keys->id_key), CHUNK_DATA, &sha, &ids[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        struct member m = {ids[i], LEN};
        struct pack_slot slot;
        uint8_t out[LEN];
        struct bytes payload = BYTES_OF(plain[i], LEN);
        bool worth = bases[i] >= 0;
        if (worth) {
            size_t len;
            OK(codec_encode_delta(codec, payload, BYTES_OF(plain[bases[i]], LEN), 1, out, &len, &worth, e));
            payload = worth ? BYTES_OF(out, len) : BYTES_OF(plain[i], 100); /* what never is decoded may be anything */
            worth = true;
        }
        OK(pack_out_reserve(p, (uint32_t)payload.len, LEN, worth ? CODEC_ZSTD_DELTA : CODEC_RAW, CHUNK_DATA,
                            worth ? &ids[bases[i]] : NULL, &m, 1, &slot, e));
        OK(pack_out_seal(&slot, pack_out_record(&slot), payload, back, e));
    }
    OK(pack_out_finish(&f.repo, p, &name, &bytes, e));
    OK(pack_out_entries(p, 0, &entries, &count, &cap, e));
    memcpy(row, name.b, 32);
    put_u64(row + 32, bytes);
    for (size_t i = 0; i < count && liar; i++) entries[i].flags &= ~ENTRY_DELTA;
    OK(run_write(&f.repo, entries, count, row, 1, &run, e));
    OK(index_add(&f.repo, &f.repo.index, &run, e));
    seam_free(entries);
    codec_free(codec);
    pack_out_free(p);
    session_clear(&s);
}

static int fetch(struct fetcher *x, unsigned i, struct error *err) {
    struct fetched got = {0};
    int rc = fetch_chunk(x, ids[i].b, &ids[i], CHUNK_DATA, &got, err);
    if (rc < 0) return rc;
    assert_int_equal(got.data.len, LEN);
    assert_memory_equal(got.data.ptr, plain[i], LEN);
    fetch_release(x, &got);
    return 0;
}

static void is_refused(struct fetcher *x, unsigned i) {
    struct error err = ERROR_INIT;
    assert_int_equal(fetch(x, i, &err), -ERR_OBJECT_CORRUPT);
    assert_non_null(strstr(err.text, "the base of a delta"));
}

static void deltas_against_plain_chunks_are_read(void **state) {
    (void)state;
    struct fetcher *x;
    store((const int[]){-1, 0}, 2, false);
    OK(fetcher_new(&f.repo, &f.repo.index, NULL, 1 << 20, &x, e));
    OK(fetch(x, 1, e));
    OK(fetch(x, 0, e));
    fetcher_free(x);
    fixture_free(&f);
}

static void a_delta_against_a_delta_is_refused(void **state) {
    (void)state;
    struct fetcher *x;
    store((const int[]){-1, 0, 1}, 3, true);
    OK(fetcher_new(&f.repo, &f.repo.index, NULL, 1 << 20, &x, e));
    is_refused(x, 2);
    OK(fetch(x, 1, e)); /* now the middle one is in the cache */
    is_refused(x, 2);
    fetcher_free(x);
    fixture_free(&f);
}

static void a_base_that_the_index_calls_a_delta_is_not_looked_at(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct fetcher *x;
    store((const int[]){-1, 0, 1}, 3, false);
    OK(fetcher_new(&f.repo, &f.repo.index, NULL, 1 << 20, &x, e));
    assert_int_equal(fetch(x, 2, &err), -ERR_OBJECT_MISSING);
    fetcher_free(x);
    fixture_free(&f);
}

static void a_delta_against_itself_is_refused(void **state) {
    (void)state;
    struct fetcher *x;
    store((const int[]){0}, 1, true);
    OK(fetcher_new(&f.repo, &f.repo.index, NULL, 1 << 20, &x, e));
    is_refused(x, 0);
    is_refused(x, 0);
    fetcher_free(x);
    fixture_free(&f);
}

static struct fetcher *shared;

static void *fetch_often(void *arg) {
    for (unsigned i = 0; i < 200; i++) {
        struct error err = ERROR_INIT;
        need(fetch(shared, *(unsigned *)arg, &err) == -ERR_OBJECT_CORRUPT);
    }
    return NULL;
}

static void deltas_against_each_other_are_refused_by_threads_at_once(void **state) {
    (void)state;
    pthread_t threads[4];
    unsigned which[4] = {0, 1, 0, 1};
    store((const int[]){1, 0}, 2, true);
    OK(fetcher_new(&f.repo, &f.repo.index, NULL, 1 << 20, &shared, e));
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, fetch_often, &which[i]), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    fetcher_free(shared);
    fixture_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deltas_against_plain_chunks_are_read),
        cmocka_unit_test(a_delta_against_a_delta_is_refused),
        cmocka_unit_test(a_base_that_the_index_calls_a_delta_is_not_looked_at),
        cmocka_unit_test(a_delta_against_itself_is_refused),
        cmocka_unit_test(deltas_against_each_other_are_refused_by_threads_at_once),
    };
    alarm(120); /* a deadlock is a failure */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
