/* Parity inside packs: what may be lost of one, what may not, and that reading mends. */
#include "harness/claims.h"
#include "repo/parity.h"
#include "repo_kit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOOT 64u

static uint8_t *room(size_t n) {
    uint8_t *p = malloc(n);
    if (!p) abort();
    return p;
}

static uint8_t *make(size_t body, unsigned percent, size_t *ret_len, struct digest *ret_name) {
    struct error err = ERROR_INIT;
    size_t section = parity_bytes(body + FOOT, percent);
    uint8_t *p = room(body + section + FOOT);
    kit_random(p, body, 7);
    kit_random(p + body + section, FOOT, 8);
    kit_ok(parity_make(BYTES_OF(p, body), BYTES_OF(p + body + section, FOOT), percent, p + body, &err), &err);
    *ret_len = body + section + FOOT;
    sha256(BYTES_OF(p, *ret_len), ret_name);
    return p;
}

static void mends(const uint8_t *damaged, size_t len, const uint8_t *whole, size_t whole_len, const struct digest *name,
                  unsigned shards) {
    struct error err = ERROR_INIT;
    uint8_t *got = NULL;
    size_t n = 0;
    unsigned mended = 0;
    kit_ok(parity_mend(BYTES_OF(damaged, len), name, &got, &n, &mended, &err), &err);
    assert_int_equal(n, whole_len);
    assert_memory_equal(got, whole, n);
    if (shards != UINT_MAX) assert_int_equal(mended, shards);
    seam_free(got);
}

static void refuses(const uint8_t *damaged, size_t len, const struct digest *name, const char *text) {
    struct error err = ERROR_INIT;
    uint8_t *got = NULL;
    size_t n;
    claim_fails(parity_mend(BYTES_OF(damaged, len), name, &got, &n, NULL, &err), err, ERR_OBJECT_CORRUPT, text);
    assert_null(got);
}

static void packs_of_every_size_are_mended(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 256, 447, 448, 449, 4096, 65536 - 64, 100000, 102336, 102337, 1000003, 4u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned percent = 1; percent <= 25; percent += 24) {
            size_t len;
            struct digest name;
            uint8_t *whole = make(sizes[i], percent, &len, &name), *bad = room(len);
            memcpy(bad, whole, len);
            mends(bad, len, whole, len, &name, 0);
            for (size_t at = 0; at < len; at += len / 5 + 1) {
                bad[at] ^= 0x10;
                mends(bad, len, whole, len, &name, UINT_MAX);
                bad[at] ^= 0x10;
            }
            mends(bad, len - 1, whole, len, &name, UINT_MAX);
            free(bad);
            free(whole);
        }
}

static void as_many_shards_may_be_lost_as_there_is_parity(void **state) {
    (void)state;
    size_t body = 200 * 640 - FOOT, len; /* 200 shards of 640 bytes, and 4 % are 8 */
    struct digest name;
    uint8_t *whole = make(body, 4, &len, &name), *bad = room(len);
    size_t block = 32 + 16 * 208 + 32;
    assert_int_equal(len, body + 2 * block + 8 * 640 + FOOT);
    memcpy(bad, whole, len);
    for (unsigned i = 0; i < 8; i++) bad[i * 17 * 640 + i] ^= 1;
    mends(bad, len, whole, len, &name, 8);
    bad[199 * 640] ^= 1;
    refuses(bad, len, &name, "9 of its 208 shards are damaged, and its parity mends up to 8");
    memcpy(bad, whole, len);
    memset(bad + 5 * 640 + 1, 0, 7 * 640); /* one long burst */
    mends(bad, len, whole, len, &name, 8);
    memcpy(bad, whole, len);
    for (unsigned i = 0; i < 4; i++) bad[i * 640] ^= 1;
    for (unsigned i = 0; i < 4; i++) bad[body + block + i * 640] ^= 1; /* parity itself */
    mends(bad, len, whole, len, &name, 8);
    free(bad);
    free(whole);
}

static void blocks_stand_twice(void **state) {
    (void)state;
    size_t body = 50000, len;
    struct digest name;
    uint8_t *whole = make(body, 10, &len, &name), *bad = room(len + 100);
    size_t block = 32 + 16 * (98 + 10) + 32;
    memcpy(bad, whole, len);
    memset(bad + body - 300, 0, 300 + block); /* the first, and the end of the body */
    mends(bad, len, whole, len, &name, UINT_MAX);
    memcpy(bad, whole, len);
    mends(bad, len - FOOT - block, whole, len, &name, UINT_MAX); /* the second, and the footer */
    memset(bad + len, 7, 100);
    mends(bad, len + 100, whole, len, &name, 0); /* something was appended */
    memcpy(bad, whole, len);
    bad[body + 40] ^= 1;
    bad[len - FOOT - 40] ^= 1;
    refuses(bad, len, &name, "it has no parity that is whole");
    refuses(whole, 0, &name, "it has no parity that is whole");
    struct digest other = name;
    other.b[0] ^= 1;
    refuses(whole, len, &other, "what its parity gives is not the pack of that name");
    free(bad);
    free(whole);
}

static void room_is_what_fits(void **state) {
    (void)state;
    const size_t caps[] = {1u << 16, 1u << 20, 4u << 20, 16u << 20, 12345678};
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
        assert_int_equal(parity_room(caps[i], 0), caps[i]);
        for (unsigned percent = 1; percent <= PARITY_PERCENT_MAX; percent++) {
            size_t fits = parity_room(caps[i], percent);
            assert_true(fits + parity_bytes(fits, percent) <= caps[i]);
            assert_true(fits > caps[i] / (100 + percent) * 100 - caps[i] / 8);
        }
    }
}

struct spoil {
    struct kit *k;
    size_t at, len;
    unsigned packs;
};

static int spoil_one(void *ctx, const struct store_object *o, struct error *err) {
    struct spoil *s = ctx;
    char path[4300];
    uint8_t junk[4096];
    (void)err;
    snprintf(path, sizeof path, "%s/%s", s->k->repo_dir, o->key);
    assert_int_equal(chmod(path, 0600), 0);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0 && s->len <= sizeof junk);
    kit_random(junk, s->len, 99);
    size_t at = s->at == SIZE_MAX ? (size_t)o->bytes - s->len : s->at;
    assert_int_equal(pwrite(fd, junk, s->len, (off_t)at), (ssize_t)s->len);
    close(fd);
    s->packs++;
    return 0;
}

static unsigned spoil(struct kit *k, size_t at, size_t len) {
    struct error err = ERROR_INIT;
    struct spoil s = {.k = k, .at = at, .len = len};
    kit_ok(store_list(k->store, "packs/", spoil_one, &s, &err), &err);
    return s.packs;
}

static int count_finding(void *ctx, const struct check_finding *f, struct error *err) {
    (void)f, (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

static uint8_t *text;
#define TEXT (3u << 20)

static void a_repository_mends_what_it_reads(void **state) {
    (void)state;
    struct kit_item it[] = {{"one", CONTENT_FILE, text, TEXT}, {"two", CONTENT_PAGES, text + 77, TEXT / 2}};
    const size_t places[] = {0, 300, 70000, SIZE_MAX}; /* header, frames, footer */
    for (unsigned percent = 0; percent <= 5; percent += 5)
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            struct kit k;
            struct error err = ERROR_INIT;
            unsigned found = 0;
            kit_begin(&k);
            repo_parity_set(k.repo, percent);
            uint64_t seq = kit_backup(&k, "t", it, 2, true, NULL);
            unsigned packs = spoil(&k, places[i], 64);
            assert_true(packs >= 3);
            kit_reopen(&k, true);
            if (percent) {
                kit_expect(&k, seq, it, 2);
            } else if (places[i] == 0 || places[i] == SIZE_MAX) {
                struct snapshot *s = NULL;
                int rc = snapshot_open(k.repo, kit_snapshot(&k, seq), &s, &err);
                assert_int_equal(rc, -ERR_OBJECT_CORRUPT);
            }
            struct check_options o = {.level = VERIFY_CHECKSUM, .ctx = &found, .finding = count_finding};
            struct check_totals t;
            error_clear(&err);
            kit_ok(repo_check(k.repo, &o, &t, &err), &err);
            assert_int_equal(t.result, CHECK_CORRUPT); /* mended when read is not undamaged */
            assert_true(found >= packs);
            kit_end(&k);
        }
}

int main(void) {
    text = malloc(TEXT);
    kit_random(text, TEXT, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_of_every_size_are_mended),
        cmocka_unit_test(as_many_shards_may_be_lost_as_there_is_parity),
        cmocka_unit_test(blocks_stand_twice),
        cmocka_unit_test(room_is_what_fits),
        cmocka_unit_test(a_repository_mends_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
