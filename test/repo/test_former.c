/* Where the former selves of chunks are found, and where a chunk is cut that covers several of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../harness/claims.h"
#include "base/seam.h"
#include "repo/writer_internal.h"

#define KIB 1024u
#define NO_BASE (-1)

/* Chunk i of an item of `count` has id byte i, and ends at anchor 1000 + i. */
struct item {
    unsigned count;
    uint32_t len[64]; /* KiB; 0: a hole of 64 KiB */
};

static struct former *make(const struct item *it, enum content_kind kind) {
    struct error err = ERROR_INIT;
    struct buf refs = BUF_INIT(1u << 16);
    struct writer *w;
    struct former *f = NULL;
    void *mem;
    assert_int_equal(mem_alloc(sizeof *w, &mem, &err), 0);
    w = mem;
    for (unsigned i = 0; i < it->count; i++) {
        struct ref r = {.type = REF_CHUNK, .len = it->len[i] * KIB, .anchor = 1000 + i};
        if (!it->len[i]) r = (struct ref){.type = REF_HOLE, .len = 64 * KIB};
        memset(r.id.b, (int)i, sizeof r.id.b);
        assert_int_equal(ref_append(&refs, &r, &err), 0);
    }
    const struct memo_item m = {
        .name = BYTES_STR("it"), .kind = (uint8_t)kind, .refs = buf_bytes(&refs), .ref_count = it->count};
    assert_int_equal(former_make(w, &m, &f, &err), 0);
    buf_free(&refs);
    seam_free(w);
    return f;
}

/* Asks once; the lengths are in KiB. */
static void expect(struct former *f, uint32_t at, uint32_t len, uint64_t start, uint64_t end, uint32_t piece,
                   int base) {
    const struct digest *b = NULL;
    assert_int_equal(former_piece(f, (uint64_t)at * KIB, len * KIB, start, end, &b), piece * KIB);
    assert_int_equal(b ? b->b[0] : NO_BASE, base);
}

static const struct item four = {4, {64, 100, 40, 80}};

static void what_did_not_change_finds_itself(void **state) {
    (void)state;
    struct former *f = make(&four, CONTENT_RECORDS);
    expect(f, 0, 64, 0, 1000, 64, 0);
    expect(f, 64, 100, 1000, 1001, 100, 1);
    expect(f, 164, 40, 1001, 1002, 40, 2);
    expect(f, 204, 80, 1002, 1003, 80, 3);
    former_free(f);
}

static void a_chunk_is_cut_where_an_edit_took_the_cut_away(void **state) {
    (void)state;
    struct former *f = make(&four, CONTENT_RECORDS);
    expect(f, 0, 62, 0, 1000, 62, 0); /* 2 KiB went: all that follows has moved */
    expect(f, 62, 139, 1000, 1002, 100, 1);
    expect(f, 162, 39, 77, 1002, 39, 2); /* the cut in between has another anchor now */
    expect(f, 201, 80, 1002, 1003, 80, 3);
    former_free(f);
    /* a run that finds the parts as its former selves cuts likewise, though nothing cuts there by content */
    const struct item parts = {4, {62, 100, 39, 80}};
    f = make(&parts, CONTENT_RECORDS);
    expect(f, 0, 62, 0, 1000, 62, 0);
    expect(f, 62, 139, 1000, 1002, 100, 1);
    expect(f, 162, 39, 1001, 1002, 39, 2);
    former_free(f);
}

static void no_piece_is_small(void **state) {
    (void)state;
    struct former *f = make(&four, CONTENT_RECORDS);
    expect(f, 0, 64 + 8, 0, 55, 64 + 8, 0);
    former_free(f);
    f = make(&four, CONTENT_RECORDS);
    expect(f, 64, 100, 1000, 1001, 100, 1);
    expect(f, 164, 52, 88, 99, 52, 2); /* no anchor: by place */
    former_free(f);
    f = make(&four, CONTENT_RECORDS);
    expect(f, 64, 92, 1000, 55, 92, 1);
    expect(f, 156, 48, 88, 99, 48, 2); /* all but 8 KiB of it lay in the next one */
    former_free(f);
}

static void either_anchor_is_enough(void **state) {
    (void)state;
    struct former *f = make(&four, CONTENT_RECORDS);
    expect(f, 5000, 100, 1000, 7, 100, 1); /* far from where it was */
    former_free(f);
    f = make(&four, CONTENT_RECORDS);
    expect(f, 5000, 40, 7, 1002, 40, 2);
    expect(f, 5040, 70, 1002, 8, 70, 3);
    former_free(f);
}

static void of_namesakes_the_nearest_counts(void **state) {
    (void)state;
    struct item many = {63, {0}};
    for (unsigned i = 0; i < many.count; i++) many.len[i] = 64;
    struct former *f = make(&many, CONTENT_RECORDS);
    for (unsigned i = 0; i < many.count; i++) f->anchors[i] = 1000; /* filed under what they were, but these two */
    f->anchors[20] = f->anchors[40] = 1040;
    expect(f, 41 * 64 - 8, 64, 1040, 0, 64, 41);
    former_free(f);
}

static void without_anchors_place_is_believed_for_a_while(void **state) {
    (void)state;
    struct item many = {63, {0}};
    for (unsigned i = 0; i < many.count; i++) many.len[i] = 64;
    struct former *f = make(&many, CONTENT_RECORDS);
    expect(f, 0, 64, 0, 1000, 64, 0);
    for (unsigned i = 1; i <= 8; i++) expect(f, 64 * i, 64, 5, 6, 64, (int)i);
    for (unsigned i = 9; i <= 20; i++) expect(f, 64 * i, 64, 5, 6, 64, NO_BASE);
    expect(f, 64 * 21, 64, 1020, 6, 64, 21); /* an anchor again, and so what follows */
    expect(f, 64 * 22, 64, 5, 6, 64, 22);
    former_free(f);
}

static void nothing_lies_behind_the_end(void **state) {
    (void)state;
    struct former *f = make(&four, CONTENT_RECORDS);
    expect(f, 204, 80, 1002, 1003, 80, 3);
    expect(f, 284, 64, 1003, 9, 64, NO_BASE);
    former_free(f);
    const struct item none = {1, {0}};
    f = make(&none, CONTENT_RECORDS);
    expect(f, 0, 64, 0, 9, 64, NO_BASE);
    former_free(f);
}

static void a_single_chunk_stays_whole(void **state) {
    (void)state;
    const struct item one = {1, {30}};
    struct former *f = make(&one, CONTENT_FILE);
    expect(f, 0, 200, 0, 0, 200, 0);
    former_free(f);
}

static void what_follows_a_hole_starts_anew(void **state) {
    (void)state;
    const struct item holed = {4, {64, 0, 64, 64}};
    struct former *f = make(&holed, CONTENT_FILE);
    expect(f, 128, 60, 0, 1002, 60, 2); /* 0 is also the item's start, which is not as near */
    expect(f, 188, 64, 1002, 1003, 64, 3);
    former_free(f);
}

static void a_restart_begins_at_the_start(void **state) {
    (void)state;
    struct former *f = make(&four, CONTENT_RECORDS);
    expect(f, 0, 64, 0, 1000, 64, 0);
    expect(f, 64, 100, 1000, 1001, 100, 1);
    expect(f, 0, 64, 0, 1000, 64, 0);
    former_free(f);
}

static void pages_go_by_place(void **state) {
    (void)state;
    const struct item pages = {3, {128, 128, 128}};
    struct former *f = make(&pages, CONTENT_PAGES);
    expect(f, 128, 128, 0, 0, 128, 1);
    expect(f, 256, 128, 0, 0, 128, 2);
    expect(f, 384, 128, 0, 0, 128, NO_BASE);
    former_free(f);
}

static void whatever_is_asked_the_piece_is_some_of_it(void **state) {
    (void)state;
    struct item many = {63, {0}};
    uint64_t x = 88172645463325252u;
    for (unsigned i = 0; i < many.count; i++) many.len[i] = i % 9 ? 16 + i * 37 % 200 : 0;
    struct former *f = make(&many, CONTENT_RECORDS);
    for (unsigned i = 0; i < 200000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        const uint64_t at = (x & 7) ? x >> 40 : x, start = (x >> 3) % 80 + 990, end = (x >> 17) % 90 + 985;
        const size_t len = 1 + (x >> 23) % (400 * KIB);
        const struct digest *b = NULL;
        const size_t n = former_piece(f, at, len, start, end, &b);
        assert_true(n > 0 && n <= len);
        assert_true(!b || (b >= f->ids && b < f->ids + f->count));
    }
    former_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_did_not_change_finds_itself),
        cmocka_unit_test(a_chunk_is_cut_where_an_edit_took_the_cut_away),
        cmocka_unit_test(no_piece_is_small),
        cmocka_unit_test(either_anchor_is_enough),
        cmocka_unit_test(of_namesakes_the_nearest_counts),
        cmocka_unit_test(without_anchors_place_is_believed_for_a_while),
        cmocka_unit_test(nothing_lies_behind_the_end),
        cmocka_unit_test(a_single_chunk_stays_whole),
        cmocka_unit_test(what_follows_a_hole_starts_anew),
        cmocka_unit_test(a_restart_begins_at_the_start),
        cmocka_unit_test(pages_go_by_place),
        cmocka_unit_test(whatever_is_asked_the_piece_is_some_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
