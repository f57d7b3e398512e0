/* Chunks that are wanted without their neighbours: of a frame no more is decoded than that takes, and nobody is given
 * less for it, nor anything else. */
#include "repo/codec.h"
#include "repo/maintain_internal.h"
#include "repo/writer_internal.h"
#include "repo_kit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEMBER (128u << 10)
#define MEMBERS 8u
#define FRAME (MEMBERS * MEMBER)
#define MANY 40u /* frames, more than keep a decoder */

static uint8_t *plain, *other, *room, *back;
static struct codec *codec;

static int begin(void **state) {
    struct error err = ERROR_INIT;
    (void)state;
    plain = malloc(FRAME + MANY);
    other = malloc(FRAME + MANY);
    room = malloc(codec_bound(FRAME));
    back = malloc(codec_bound(FRAME));
    kit_text(plain, FRAME + MANY, 5);
    return codec_new(&codec, &err);
}

static int end(void **state) {
    (void)state;
    codec_free(codec);
    free(plain);
    free(other);
    free(room);
    free(back);
    return 0;
}

static void id_of(struct kit *k, const uint8_t *p, struct digest *ret) {
    struct error err = ERROR_INIT;
    struct bytes key;
    struct digest sha;
    kit_ok(repo_id_key(k->repo, 0, &key, &err), &err);
    sha256(BYTES_OF(p, MEMBER), &sha);
    chunk_id(key, CHUNK_DATA, &sha, ret);
}

/* What is put goes to packs and a run of its own. */
static struct writer *put_begin(struct kit *k) {
    struct error err = ERROR_INIT;
    const struct writer_options o = {.environment = "", .surface = "put", .no_delta = true};
    struct writer *w = NULL;
    kit_ok(writer_open_bare(k->repo, &o, &w, &err), &err);
    return w;
}

/* A frame that says it holds `is`, of which it has the first `len` bytes of `has`. */
static void put_frame(struct kit *k, struct writer *w, const uint8_t *is, const uint8_t *has, size_t len) {
    const struct frame f = {.plain_len = FRAME, .codec = CODEC_ZSTD, .kind = CHUNK_DATA, .member_count = MEMBERS};
    struct error err = ERROR_INIT;
    struct member m[MEMBERS];
    enum codec_kind kind;
    size_t n;
    for (unsigned i = 0; i < MEMBERS; i++) {
        id_of(k, is + i * MEMBER, &m[i].id);
        m[i].len = MEMBER;
    }
    kit_ok(codec_encode(codec, BYTES_OF(has, len), 1, room, &n, &kind, &err), &err);
    assert_int_equal(kind, CODEC_ZSTD);
    kit_ok(frame_put(w, &f, m, BYTES_OF(room, n), back, &err), &err);
}

/* A chunk as a delta, decoded only with `base` as it is. */
static void put_delta(struct kit *k, struct writer *w, const uint8_t *is, const uint8_t *base) {
    struct frame f = {.plain_len = MEMBER, .codec = CODEC_ZSTD_DELTA, .kind = CHUNK_DATA, .member_count = 1};
    struct error err = ERROR_INIT;
    struct member m = {.len = MEMBER};
    bool worth;
    size_t n;
    id_of(k, is, &m.id);
    id_of(k, base, &f.base);
    kit_ok(codec_encode_delta(codec, BYTES_OF(is, MEMBER), BYTES_OF(base, MEMBER), 1, room, &n, &worth, &err), &err);
    assert_true(worth);
    kit_ok(frame_put(w, &f, &m, BYTES_OF(room, n), back, &err), &err);
}

static void put_end(struct kit *k, struct writer *w, struct index *x) {
    struct error err = ERROR_INIT;
    struct digests packs = {0}, runs = {0};
    uint64_t bytes;
    kit_ok(moved_finish(w, 0, &packs, &runs, &bytes, &err), &err);
    writer_free(w);
    kit_ok(store_commit(k->store, &err), &err);
    for (size_t i = 0; i < runs.n; i++) kit_ok(index_add(k->repo, x, &runs.d[i], &err), &err);
    digests_free(&packs);
    digests_free(&runs);
}

static int get(struct kit *k, struct fetcher *f, const uint8_t *is, enum check_of proof, struct fetched *ret,
               struct error *err) {
    struct digest id;
    id_of(k, is, &id);
    int rc = fetch_chunk_into(f, id.b, &id, CHUNK_DATA, NULL, proof, ret, err);
    if (rc < 0) return rc;
    assert_int_equal(ret->data.len, MEMBER);
    assert_memory_equal(ret->data.ptr, is, MEMBER);
    return 0;
}

static void expect(struct kit *k, struct fetcher *f, const uint8_t *is, enum check_of proof) {
    struct error err = ERROR_INIT;
    struct fetched c;
    kit_ok(get(k, f, is, proof, &c, &err), &err);
    fetch_release(f, &c);
}

static void expect_damage(struct kit *k, struct fetcher *f, const uint8_t *is, enum check_of proof, const char *text) {
    struct error err = ERROR_INIT;
    struct fetched c;
    assert_int_equal(get(k, f, is, proof, &c, &err), -ERR_OBJECT_CORRUPT);
    if (!strstr(err.text, text)) fail_msg("no '%s' in '%s'", text, err.text);
}

static void members_come_in_any_order(void **state) {
    static const uint8_t orders[][MEMBERS] = {
        {3, 1, 7, 0, 5, 2, 6, 4}, {7, 6, 5, 4, 3, 2, 1, 0}, {0, 1, 2, 3, 4, 5, 6, 7}, {2, 2, 6, 6, 2, 7, 3, 0}};
    struct error err = ERROR_INIT;
    struct index x = {0};
    struct kit k;
    (void)state;
    kit_begin_packs(&k, 16u << 20);
    struct writer *w = put_begin(&k);
    put_frame(&k, w, plain, plain, FRAME);
    put_end(&k, w, &x);
    for (unsigned o = 0; o < sizeof orders / sizeof *orders; o++)
        for (unsigned whole = 0; whole <= MEMBERS; whole++) { /* who wants the neighbours, too, comes in the midst */
            struct fetcher *f;
            struct fetched first;
            kit_ok(fetcher_new(k.repo, &x, NULL, 4u << 20, &f, &err), &err);
            kit_ok(get(&k, f, plain + orders[o][0] * MEMBER, CHECK_APART, &first, &err), &err);
            for (unsigned i = 0; i < MEMBERS; i++)
                expect(&k, f, plain + orders[o][i] * MEMBER, i == whole ? CHECK_FRAME : CHECK_APART);
            assert_memory_equal(first.data.ptr, plain + orders[o][0] * MEMBER, MEMBER);
            fetch_release(f, &first);
            fetcher_free(f);
        }
    index_free(&x);
    kit_end(&k);
}

static void damage_is_found_where_it_is(void **state) {
    struct error err = ERROR_INIT;
    struct kit k;
    (void)state;
    kit_begin_packs(&k, 16u << 20);
    for (int shorter = 0; shorter < 2; shorter++) {
        const char *what = shorter ? "it decodes to fewer bytes" : "is not what its id says";
        struct index x = {0};
        struct fetcher *f;
        struct writer *w = put_begin(&k);
        memcpy(other, plain, FRAME);
        other[5 * MEMBER + 77] ^= 1;
        put_frame(&k, w, plain, other, shorter ? FRAME - 2 * MEMBER - 9 : FRAME);
        put_end(&k, w, &x);
        kit_ok(fetcher_new(k.repo, &x, NULL, 4u << 20, &f, &err), &err);
        expect(&k, f, plain + 2 * MEMBER, CHECK_APART);
        expect(&k, f, plain + 4 * MEMBER, CHECK_APART);
        expect_damage(&k, f, plain + 5 * MEMBER, CHECK_APART, what);
        expect(&k, f, plain + 4 * MEMBER, CHECK_APART);
        expect(&k, f, plain, CHECK_APART);
        if (shorter)
            expect_damage(&k, f, plain + 7 * MEMBER, CHECK_APART, what);
        else
            expect(&k, f, plain + 7 * MEMBER, CHECK_APART);
        /* who wants the frame is not content with its beginning */
        expect(&k, f, plain + 3 * MEMBER, CHECK_APART);
        if (shorter) expect_damage(&k, f, plain + 3 * MEMBER, CHECK_FRAME, what);
        fetcher_free(f);
        kit_ok(fetcher_new(k.repo, &x, NULL, 4u << 20, &f, &err), &err);
        expect_damage(&k, f, plain + 5 * MEMBER, CHECK_APART, what);
        fetcher_free(f);
        /* and is no matter where there is another copy, whichever is asked first */
        w = put_begin(&k);
        put_frame(&k, w, plain, plain, FRAME);
        put_end(&k, w, &x);
        struct index y = {0};
        for (size_t i = x.count; i-- > 0;) kit_ok(index_add(k.repo, &y, &x.names[i], &err), &err);
        for (int turned = 0; turned < 2; turned++) {
            kit_ok(fetcher_new(k.repo, turned ? &y : &x, NULL, 4u << 20, &f, &err), &err);
            for (unsigned i = 0; i < MEMBERS; i += 1 + i % 3) expect(&k, f, plain + i * MEMBER, CHECK_APART);
            expect(&k, f, plain + 5 * MEMBER, CHECK_APART);
            expect(&k, f, plain + MEMBER, CHECK_FRAME);
            fetcher_free(f);
        }
        index_free(&y);
        index_free(&x);
    }
    kit_end(&k);
}

static int flip(void *ctx, const struct store_object *o, struct error *err) {
    struct kit *k = ctx;
    char path[256];
    (void)err;
    snprintf(path, sizeof path, "%s/%s", k->repo_dir, o->key);
    chmod(path, 0600);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, 40000, SEEK_SET), 0); /* in the first frame's bytes */
    int c = fgetc(f);
    assert_int_equal(fseek(f, 40000, SEEK_SET), 0);
    assert_int_equal(fputc(c ^ 1, f), c ^ 1);
    assert_int_equal(fclose(f), 0);
    return 0;
}

static void a_frame_that_does_not_open_gives_nothing(void **state) {
    struct error err = ERROR_INIT;
    struct index x = {0};
    struct fetcher *f;
    struct kit k;
    (void)state;
    kit_begin_packs(&k, 16u << 20);
    struct writer *w = put_begin(&k);
    put_frame(&k, w, plain, plain, FRAME);
    put_end(&k, w, &x);
    kit_ok(store_list(k.store, "packs/d/", flip, &k, &err), &err);
    kit_ok(fetcher_new(k.repo, &x, NULL, 4u << 20, &f, &err), &err);
    for (unsigned i = 0; i < MEMBERS; i++)
        expect_damage(&k, f, plain + i * MEMBER, CHECK_APART, "frame 0 does not open");
    fetcher_free(f);
    index_free(&x);
    kit_end(&k);
}

static void a_base_is_had_from_the_midst_of_its_frame(void **state) {
    struct error err = ERROR_INIT;
    struct index x = {0};
    struct fetcher *f;
    struct kit k;
    (void)state;
    kit_begin_packs(&k, 16u << 20);
    memcpy(other, plain, FRAME);
    for (unsigned i = 0; i < MEMBERS; i++) other[i * MEMBER + 5000] ^= 1;
    struct writer *w = put_begin(&k);
    put_frame(&k, w, plain, plain, FRAME);
    for (unsigned i = 0; i < MEMBERS; i++) put_delta(&k, w, other + i * MEMBER, plain + i * MEMBER);
    put_end(&k, w, &x);
    kit_ok(fetcher_new(k.repo, &x, NULL, 4u << 20, &f, &err), &err);
    expect(&k, f, other + 3 * MEMBER, CHECK_APART);
    expect(&k, f, other + MEMBER, CHECK_APART);
    expect(&k, f, plain + 5 * MEMBER, CHECK_APART);
    expect(&k, f, other + 5 * MEMBER, CHECK_APART);
    expect(&k, f, other + 7 * MEMBER, CHECK_FRAME);
    expect(&k, f, other, CHECK_APART);
    fetcher_free(f);
    index_free(&x);
    /* of a base that is another than its id says, the damage is told */
    memset(&x, 0, sizeof x);
    w = put_begin(&k);
    other[2 * MEMBER + 9] ^= 1; /* after its delta was made of the true one */
    put_frame(&k, w, plain, other, FRAME);
    other[2 * MEMBER + 9] ^= 1;
    put_delta(&k, w, other + 2 * MEMBER, plain + 2 * MEMBER);
    put_end(&k, w, &x);
    kit_ok(fetcher_new(k.repo, &x, NULL, 4u << 20, &f, &err), &err);
    expect_damage(&k, f, other + 2 * MEMBER, CHECK_APART, "is not what its id says");
    fetcher_free(f);
    index_free(&x);
    kit_end(&k);
}

struct asking {
    struct kit *k;
    struct fetcher *f;
    unsigned seed;
};

/* Frames of one text, each a byte further on. */
static void *ask(void *arg) {
    struct asking *a = arg;
    uint32_t at = a->seed;
    for (unsigned i = 0; i < 120; i++) {
        at = at * 1664525u + 1013904223u;
        expect(a->k, a->f, plain + (at >> 20) % MANY + (at >> 8) % MEMBERS * MEMBER,
               at >> 28 ? CHECK_APART : CHECK_FRAME);
    }
    return NULL;
}

static void more_frames_are_begun_than_keep_a_decoder(void **state) {
    struct error err = ERROR_INIT;
    struct index x = {0};
    struct fetcher *f;
    struct kit k;
    (void)state;
    kit_begin_packs(&k, 16u << 20);
    struct writer *w = put_begin(&k);
    for (unsigned n = 0; n < MANY; n++) put_frame(&k, w, plain + n, plain + n, FRAME);
    put_end(&k, w, &x);
    for (int small = 0; small < 2; small++) {
        kit_ok(fetcher_new(k.repo, &x, NULL, small ? 3u << 20 : 64u << 20, &f, &err), &err);
        for (unsigned i = 1; i < MEMBERS; i += 3)
            for (unsigned n = 0; n < MANY; n++) expect(&k, f, plain + n + i * MEMBER, CHECK_APART);
        fetcher_free(f);
        /* and by threads beside each other */
        struct asking a[4];
        pthread_t threads[4];
        kit_ok(fetcher_new(k.repo, &x, NULL, small ? 3u << 20 : 64u << 20, &f, &err), &err);
        for (unsigned i = 0; i < 4; i++) {
            a[i] = (struct asking){&k, f, 7 * i};
            kit_ok(thread_start(&threads[i], ask, &a[i], &err), &err);
        }
        for (unsigned i = 0; i < 4; i++) pthread_join(threads[i], NULL);
        fetcher_free(f);
    }
    index_free(&x);
    kit_end(&k);
}

struct meeting {
    struct kit *k;
    struct fetcher *f;
    pthread_barrier_t *met;
    unsigned first;
};

static void *meet(void *arg) {
    struct meeting *m = arg;
    pthread_barrier_wait(m->met);
    for (unsigned i = 0; i < MEMBERS; i++)
        expect(m->k, m->f, plain + (m->first + i * 3) % MEMBERS * MEMBER, CHECK_APART);
    return NULL;
}

static void threads_share_a_frame(void **state) {
    struct error err = ERROR_INIT;
    struct index x = {0};
    struct kit k;
    (void)state;
    kit_begin_packs(&k, 16u << 20);
    struct writer *w = put_begin(&k);
    put_frame(&k, w, plain, plain, FRAME);
    put_end(&k, w, &x);
    for (unsigned n = 0; n < 30; n++) {
        struct fetcher *f;
        struct meeting m[3];
        pthread_barrier_t met;
        pthread_t threads[3];
        kit_ok(fetcher_new(k.repo, &x, NULL, 4u << 20, &f, &err), &err);
        pthread_barrier_init(&met, NULL, 3);
        for (unsigned i = 0; i < 3; i++) {
            m[i] = (struct meeting){&k, f, &met, n + 2 * i};
            kit_ok(thread_start(&threads[i], meet, &m[i], &err), &err);
        }
        for (unsigned i = 0; i < 3; i++) pthread_join(threads[i], NULL);
        pthread_barrier_destroy(&met);
        fetcher_free(f);
    }
    index_free(&x);
    kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_in_any_order),
        cmocka_unit_test(damage_is_found_where_it_is),
        cmocka_unit_test(a_frame_that_does_not_open_gives_nothing),
        cmocka_unit_test(a_base_is_had_from_the_midst_of_its_frame),
        cmocka_unit_test(more_frames_are_begun_than_keep_a_decoder),
        cmocka_unit_test(threads_share_a_frame),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
