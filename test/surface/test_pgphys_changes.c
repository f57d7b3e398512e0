/* Files that come as what changed, and what comes of them: whole ones and malformed ones. */
#include "harness/claims.h"

#include "base/seam.h"
#include "surface/pgphys/stream_incremental.h"
#include <stdlib.h>
#include <string.h>

#define PAGE 1024u
#define ROOM (64u << 10)

struct sink_item {
    uint8_t was[16 * PAGE], is[64 * PAGE];
    size_t was_n, is_n, reads;
    bool known, restarted, confirmed, closed, parts;
};
static struct sink_item item;
static uint8_t room[ROOM];

static int on_again(struct sink *s, struct bytes name, struct item_known *known, struct sink_item **ret,
                    struct error *err) {
    (void)s, (void)name, (void)err;
    *ret = item.known ? &item : NULL;
    *known = (struct item_known){.kind = item.parts ? ITEM_PARTS : ITEM_PAGES, .bytes = item.was_n};
    sha256(BYTES_OF(item.was, item.was_n), &known->sha256);
    return 0;
}
static int on_was(struct sink_item *it, uint64_t at, uint8_t *out, size_t n, struct error *err) {
    (void)err;
    assert_true(at + n <= it->was_n);
    memcpy(out, it->was + at, n);
    it->reads++;
    return 0;
}
static int on_space(struct sink_item *it, uint8_t **ret, size_t *n, struct error *err) {
    (void)it, (void)err;
    *ret = room;
    *n = sizeof room;
    return 0;
}
static int on_advance(struct sink_item *it, size_t n, struct error *err) {
    (void)err;
    assert_true(it->is_n + n <= sizeof it->is);
    memcpy(it->is + it->is_n, room, n);
    it->is_n += n;
    return 0;
}
static int on_restart(struct sink_item *it, struct error *err) {
    (void)err;
    it->restarted = true;
    return 0;
}
static int on_close(struct sink_item *it, struct bytes attr, struct digest *ret, struct error *err) {
    (void)attr, (void)err;
    it->closed = true;
    if (ret) sha256(BYTES_OF(it->is, it->is_n), ret);
    return 0;
}
static int on_confirm(struct sink_item *it, struct bytes attr, struct error *err) {
    (void)attr, (void)err;
    it->confirmed = true;
    return 0;
}
static void on_drop(struct sink_item *it) {
    (void)it;
}
static const struct sink_ops ops = {.again = on_again,
                                    .was = on_was,
                                    .space = on_space,
                                    .advance = on_advance,
                                    .restart = on_restart,
                                    .close = on_close,
                                    .confirm = on_confirm,
                                    .drop = on_drop};
static struct sink sink = {&ops};

/* One file as it comes, in pieces of that size. */
static int feed(const char *name, const uint32_t *words, size_t n_words, size_t blocks, size_t piece, bool vm_lost,
                struct stream_incremental *k, struct error *err) {
    static const struct surface_context ctx;
    uint8_t file[64 * PAGE] = {0};
    struct stream_base b = {.ctx = &ctx,
                            .sink = &sink,
                            .incremental = k,
                            .block_bytes = PAGE,
                            .segment_blocks = 32,
                            .prefix = BUF_INIT(64),
                            .name = BUF_INIT(4096),
                            .head = BUF_INIT(1u << 17)};
    size_t n = n_words * 4;
    memcpy(file, words, n);
    if (n_words > 3) n = (n + PAGE - 1) / PAGE * PAGE;
    for (size_t i = 0; i < blocks; i++, n += PAGE) memset(file + n, (int)(0xa0 + i), PAGE);
    *k = (struct stream_incremental){.mode = STREAM_CHANGES, .raw_name = BUF_INIT(4096), .vm_lost = vm_lost};
    const struct tar_member m = {.name = BYTES_STR(name), .type = TAR_FILE, .mode = 0600, .bytes = n};
    int rc = stream_tally_new(NULL, &b.tally, err);
    if (rc == 0) rc = pgphys_manifest_new(17, 1, &k->manifest, err);
    if (rc == 0) rc = stream_item_ops.begin(&b, &m, err);
    for (size_t at = 0; rc == 0 && at < n; at += piece)
        rc = stream_item_ops.content(&b, BYTES_OF(file + at, n - at < piece ? n - at : piece), err);
    if (rc == 0) rc = stream_item_ops.end(&b, err);
    b.item = NULL;
    stream_base_clear(&b);
    stream_incremental_clear(k);
    return rc;
}

static void was(size_t pages) {
    memset(&item, 0, sizeof item);
    item.known = true;
    item.was_n = pages * PAGE;
    for (size_t i = 0; i < pages; i++) memset(item.was + i * PAGE, (int)(i + 1), PAGE);
}
static uint8_t page(size_t i) {
    for (size_t k = 1; k < PAGE; k++) assert_int_equal(item.is[i * PAGE + k], item.is[i * PAGE]);
    return item.is[i * PAGE];
}

#define MAGIC 0xd3ae1f0du
static void a_file_becomes_whole(void **state) {
    (void)state;
    const uint32_t words[] = {MAGIC, 3, 6, 1, 4, 8};
    const uint8_t want[] = {1, 0xa0, 3, 4, 0xa1, 6, 0, 0, 0xa2};
    for (size_t piece = 1; piece < 4000; piece = piece * 3 + 1) {
        struct stream_incremental k;
        struct error err = ERROR_INIT;
        was(6);
        claim_ok(feed("base/5/INCREMENTAL.1259", words, 6, 3, piece, false, &k, &err), err);
        assert_true(item.restarted && item.closed && !item.confirmed);
        assert_int_equal(item.is_n, sizeof want * PAGE);
        for (size_t i = 0; i < sizeof want; i++) assert_int_equal(page(i), want[i]);
        assert_int_equal(k.blocks_sent, 3);
    }
}

/* It was cut off at its third block and has grown since, with pages that were never written. */
static void of_a_file_that_was_cut_off_nothing_comes_back(void **state) {
    (void)state;
    const uint32_t words[] = {MAGIC, 2, 3, 1, 7};
    const uint8_t want[] = {1, 0xa0, 3, 0, 0, 0, 0, 0xa1};
    struct stream_incremental k;
    struct error err = ERROR_INIT;
    was(6);
    claim_ok(feed("base/5/INCREMENTAL.1259", words, 5, 2, 100, false, &k, &err), err);
    assert_int_equal(item.is_n, sizeof want * PAGE);
    for (size_t i = 0; i < sizeof want; i++) assert_int_equal(page(i), want[i]);
}

static void a_file_without_changes_is_not_read(void **state) {
    (void)state;
    const uint32_t words[] = {MAGIC, 0, 6};
    struct stream_incremental k;
    struct error err = ERROR_INIT;
    was(6);
    claim_ok(feed("base/5/INCREMENTAL.1259", words, 3, 0, 5, false, &k, &err), err);
    assert_true(item.confirmed && !item.closed && !item.restarted && item.reads == 0);
    was(6); /* of its digest by parts no list of files can be made */
    item.parts = true;
    claim_ok(feed("base/5/INCREMENTAL.1259", words, 3, 0, 5, false, &k, &err), err);
    assert_true(item.closed && item.restarted && !item.confirmed && item.is_n == 6 * PAGE && page(5) == 6);
    was(8); /* it was cut off */
    claim_ok(feed("base/5/INCREMENTAL.1259", words, 3, 0, 5, false, &k, &err), err);
    assert_true(item.closed && item.is_n == 6 * PAGE && page(5) == 6);
}

static void of_a_map_that_is_not_kept_track_of_nothing_stays(void **state) {
    (void)state;
    const uint32_t words[] = {MAGIC, 1, 3, 1};
    struct stream_incremental k;
    struct error err = ERROR_INIT;
    was(3);
    claim_ok(feed("base/5/INCREMENTAL.1259_vm", words, 4, 1, 100, true, &k, &err), err);
    assert_true(page(0) == 0 && page(1) == 0xa0 && page(2) == 0 && item.reads == 0);
    was(3);
    claim_ok(feed("base/5/INCREMENTAL.1259_vm", words, 4, 1, 100, false, &k, &err), err);
    assert_true(page(0) == 1 && page(1) == 0xa0 && page(2) == 3);
}

static void what_is_malformed_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *why;
        uint32_t words[6];
        size_t n, blocks;
    } t[] = {
        {"base/5/INCREMENTAL.1259", "it has not the mark of such a file", {1, 0, 6}, 3, 0},
        {"base/5/INCREMENTAL.1259", "it has too many blocks", {MAGIC, 33, 6}, 3, 0},
        {"base/5/INCREMENTAL.1259", "it has too many blocks", {MAGIC, 0, 33}, 3, 0},
        {"base/5/INCREMENTAL.1259", "its blocks are out of order", {MAGIC, 2, 6, 3, 3}, 5, 2},
        {"base/5/INCREMENTAL.1259", "its blocks are out of order", {MAGIC, 1, 6, 32}, 4, 1},
        {"base/5/INCREMENTAL.1259", "it broke off", {MAGIC, 2, 6, 1, 3}, 5, 1},
        {"base/5/INCREMENTAL.1259", "it broke off", {MAGIC, 2}, 2, 0},
        {"base/5/INCREMENTAL.1259", "it goes on behind its end", {MAGIC, 1, 6, 1}, 4, 2},
        {"global/INCREMENTAL.pg_control", "it is no relation", {MAGIC, 0, 6}, 3, 0},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct stream_incremental k;
        struct error err = ERROR_INIT;
        was(6);
        claim_fails(feed(t[i].name, t[i].words, t[i].n, t[i].blocks, 7, false, &k, &err), err, ERR_PG_BASE, t[i].why);
    }
    struct stream_incremental k;
    struct error err = ERROR_INIT;
    was(6);
    item.known = false;
    claim_fails(feed("base/5/INCREMENTAL.1259", t[4].words, 4, 1, 7, false, &k, &err), err, ERR_PG_BASE,
                "nothing that can be read");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_becomes_whole),
        cmocka_unit_test(of_a_file_that_was_cut_off_nothing_comes_back),
        cmocka_unit_test(a_file_without_changes_is_not_read),
        cmocka_unit_test(of_a_map_that_is_not_kept_track_of_nothing_stays),
        cmocka_unit_test(what_is_malformed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
