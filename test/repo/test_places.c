/* Going to a place at once: a name in a manifest, an ordinal, an offset in an item. */
#include "repo/repo_internal.h"
#include "repo_kit.h"

#include "../harness/fault.h"

#include <stdio.h>
#include <stdlib.h>

#define FOLDERS 40
#define FILES 400 /* a folder: several manifest chunks in all */
#define BIG (12u << 20)

struct world {
    struct kit k;
    struct snapshot *s;
    struct kit_item *items;
    size_t count;
    uint8_t *data;
};
static struct world w;

static int by_name(const void *a, const void *b) {
    const struct kit_item *x = a, *y = b;
    return name_compare(BYTES_STR(x->name), BYTES_STR(y->name));
}

static void add(const char *name, enum content_kind kind, const uint8_t *data, size_t len) {
    w.items[w.count++] = (struct kit_item){strdup(name), kind, data, len};
}

static int begin(void **state) {
    struct error err = ERROR_INIT;
    char name[64];
    (void)state;
    w.items = calloc(FOLDERS * (FILES + 2u) + 16, sizeof *w.items);
    w.data = malloc(BIG);
    kit_random(w.data, BIG, 7);
    memset(w.data + (3u << 20), 0, 1u << 20); /* which is no hole: the kit writes none */
    for (unsigned d = 0; d < FOLDERS; d++) {
        snprintf(name, sizeof name, "top/folder-%02u", d);
        add(name, CONTENT_NONE, NULL, 0);
        snprintf(name, sizeof name, "top/folder-%02u.b", d);
        add(name, CONTENT_NONE, NULL, 0);
        for (unsigned f = 0; f < FILES; f++) {
            snprintf(name, sizeof name, "top/folder-%02u/file-%03u", d, f);
            add(name, CONTENT_NONE, NULL, 0);
        }
    }
    add("top", CONTENT_NONE, NULL, 0);
    add("other/without/record", CONTENT_NONE, NULL, 0);
    add("big", CONTENT_FILE, w.data, BIG);
    add("empty", CONTENT_FILE, w.data, 0);
    add("one", CONTENT_FILE, w.data, 1);
    qsort(w.items, w.count, sizeof *w.items, by_name);
    kit_begin(&w.k);
    uint64_t seq = kit_backup(&w.k, "t", w.items, w.count, false, NULL);
    kit_ok(snapshot_open_sized(w.k.repo, kit_snapshot(&w.k, seq), 8u << 20, &w.s, &err), &err);
    return 0;
}

static int end(void **state) {
    (void)state;
    snapshot_close(w.s);
    kit_end(&w.k);
    for (size_t i = 0; i < w.count; i++) free((void *)w.items[i].name);
    free(w.items);
    free(w.data);
    return 0;
}

struct seen {
    size_t count, limit;
    uint64_t first;
    char names[128][64];
    const char *prefix;
};

static int see(void *ctx, const struct item_head *h, struct bytes *skip, struct error *err) {
    struct seen *s = ctx;
    (void)skip;
    (void)err;
    if (s->count == 0) s->first = h->ordinal;
    if (s->count < 128) snprintf(s->names[s->count], 64, "%.*s", (int)h->name.len, (const char *)h->name.ptr);
    return ++s->count == s->limit ? 7 : 0;
}

static void a_walk_begins_at_any_name(void **state) {
    (void)state;
    for (size_t i = 0; i < w.count; i += 97) {
        struct error err = ERROR_INIT;
        struct seen s = {.limit = 3};
        const size_t want = w.count - i < 3 ? w.count - i : 3;
        int rc = snapshot_walk_from(w.s, BYTES_STR(w.items[i].name), see, &s, &err);
        assert_int_equal(rc, want == 3 ? 7 : 0); /* what the callback answers is answered */
        assert_int_equal(s.count, want);
        assert_int_equal(s.first, i);
        for (size_t n = 0; n < want; n++) assert_string_equal(s.names[n], w.items[i + n].name);
    }
}

static void a_walk_from_no_items_name_begins_behind_it(void **state) {
    struct error err = ERROR_INIT;
    struct seen s = {.limit = 1};
    (void)state;
    assert_int_equal(snapshot_walk_from(w.s, BYTES_STR("other/with"), see, &s, &err), 7);
    assert_string_equal(s.names[0], "other/without/record");
    s = (struct seen){.limit = 1};
    assert_int_equal(snapshot_walk_from(w.s, BYTES_STR(""), see, &s, &err), 7);
    assert_string_equal(s.names[0], w.items[0].name);
    s = (struct seen){0};
    kit_ok(snapshot_walk_from(w.s, BYTES_STR("zzz"), see, &s, &err), &err);
    assert_int_equal(s.count, 0);
    s = (struct seen){0};
    kit_ok(snapshot_walk_from(w.s, BYTES_STR(""), see, &s, &err), &err);
    assert_int_equal(s.count, w.count);
}

static int list(void *ctx, const struct item_head *h, struct bytes *skip, struct error *err) {
    struct seen *s = ctx;
    size_t n = strlen(s->prefix);
    (void)err;
    if (h->name.len < n || memcmp(h->name.ptr, s->prefix, n) != 0) return 1;
    snprintf(s->names[s->count++], 64, "%.*s", (int)h->name.len, (const char *)h->name.ptr);
    const uint8_t *slash = memchr(h->name.ptr + n, '/', h->name.len - n);
    *skip = slash ? BYTES_OF(h->name.ptr, (size_t)(slash - h->name.ptr)) : h->name;
    return 0;
}

static void what_lies_below_is_skipped(void **state) {
    struct error err = ERROR_INIT;
    struct seen s = {.prefix = "top/"};
    char want[64];
    (void)state;
    assert_int_equal(snapshot_walk_from(w.s, BYTES_STR("top/"), list, &s, &err) & ~1, 0);
    assert_int_equal(s.count, 2 * FOLDERS);
    for (unsigned i = 0; i < s.count; i++) {
        snprintf(want, sizeof want, i % 2 ? "top/folder-%02u.b" : "top/folder-%02u", i / 2);
        assert_string_equal(s.names[i], want);
    }
    s = (struct seen){.prefix = ""};
    kit_ok(snapshot_walk_from(w.s, BYTES_STR(""), list, &s, &err), &err);
    assert_int_equal(s.count, 5); /* big, empty, one, other, top */
    assert_string_equal(s.names[3], "other/without/record");
    assert_string_equal(s.names[4], "top");
}

static int name_is(void *ctx, const struct item_head *h, struct error *err) {
    (void)err;
    assert_true(bytes_equal(h->name, BYTES_STR(*(const char **)ctx)));
    return 5;
}

static void an_item_is_found_by_its_ordinal(void **state) {
    struct error err = ERROR_INIT;
    (void)state;
    for (size_t i = 0; i < w.count; i += i + 61 < w.count ? 61 : 1)
        assert_int_equal(snapshot_item_at(w.s, i, name_is, (void *)&w.items[i].name, &err), 5);
    assert_int_equal(snapshot_item_at(w.s, w.count, name_is, NULL, &err), -ERR_NO_POINT);
    assert_non_null(strstr(err.text, "no such item"));
}

static int open_it(void *ctx, const struct item_head *h, struct error *err) {
    return ritem_open(w.s, h, ctx, err);
}

static struct ritem *opened(const char *name) {
    struct error err = ERROR_INIT;
    struct ritem *it = NULL;
    for (size_t i = 0; i < w.count; i++)
        if (strcmp(w.items[i].name, name) == 0) kit_ok(snapshot_item_at(w.s, i, open_it, &it, &err), &err);
    assert_non_null(it);
    return it;
}

static void reading_begins_where_it_is_told(void **state) {
    struct ritem *it = opened("big");
    uint32_t dice = 1;
    (void)state;
    for (int i = 0; i < 300; i++) {
        struct error err = ERROR_INIT;
        struct bytes piece;
        dice = dice * 1664525u + 1013904223u;
        uint64_t at = dice % BIG;
        kit_ok(ritem_seek(it, at, &err), &err);
        for (int n = 0; n < 1 + i % 3 && at < BIG; n++) {
            kit_ok(ritem_next(it, &piece, &err), &err);
            assert_true(piece.len > 0 && piece.len <= BIG - at);
            assert_memory_equal(piece.ptr, w.data + at, piece.len);
            at += piece.len;
        }
    }
    ritem_close(it);
}

static void the_end_is_the_end(void **state) {
    const uint64_t places[] = {BIG - 1, BIG, BIG + 1, UINT64_MAX};
    struct error err = ERROR_INIT;
    struct bytes piece;
    struct ritem *it = opened("big");
    (void)state;
    for (int i = 0; i < 4; i++) {
        kit_ok(ritem_seek(it, places[i], &err), &err);
        kit_ok(ritem_next(it, &piece, &err), &err);
        assert_int_equal(piece.len, i == 0);
        kit_ok(ritem_next(it, &piece, &err), &err);
        assert_int_equal(piece.len, 0);
    }
    /* and from the beginning it is read whole again, with its digest */
    kit_ok(ritem_seek(it, 0, &err), &err);
    uint64_t sum = 0;
    while (ritem_next(it, &piece, &err) == 0 && piece.len) sum += piece.len;
    kit_ok(-(int)err.code, &err);
    assert_int_equal(sum, BIG);
    ritem_close(it);
    it = opened("empty");
    kit_ok(ritem_seek(it, 3, &err), &err);
    kit_ok(ritem_next(it, &piece, &err), &err);
    assert_int_equal(piece.len, 0);
    ritem_close(it);
}

static void a_digest_is_checked_only_of_what_was_read_whole(void **state) {
    struct error err = ERROR_INIT;
    struct bytes piece;
    (void)state;
    for (int sought = 0; sought < 2; sought++) {
        struct item_head h = {0};
        struct ritem *it;
        for (size_t i = 0; i < w.count; i++)
            if (strcmp(w.items[i].name, "big") == 0) h.ordinal = i;
        h.kind = CONTENT_FILE;
        h.bytes = BIG; /* the digest is another's */
        kit_ok(ritem_open(w.s, &h, &it, &err), &err);
        if (sought) kit_ok(ritem_seek(it, 1, &err), &err);
        int rc;
        while ((rc = ritem_next(it, &piece, &err)) == 0 && piece.len) {}
        assert_int_equal(rc, sought ? 0 : -ERR_RESTORE_DIFFERS);
        assert_true(sought || strstr(err.text, "SHA-256"));
        error_clear(&err);
        ritem_close(it);
    }
}

static void extents_add_up_and_can_be_fetched_ahead(void **state) {
    struct error err = ERROR_INIT;
    struct ritem *it = opened("big");
    struct ritem_extent x, again;
    struct bytes piece;
    uint64_t at = 0;
    unsigned n = 0;
    (void)state;
    for (;; n++) {
        kit_ok(ritem_peek(it, &x, &err), &err);
        assert_int_equal(x.at, at);
        if (x.len == 0) break;
        assert_false(x.hole);
        kit_ok(snapshot_prefetch(w.s, &x.id, &err), &err);
        at += x.len;
        if (n % 2) {
            ritem_skip(it);
            continue;
        }
        kit_ok(ritem_peek(it, &again, &err), &err);
        assert_int_equal(again.len, x.len);
        kit_ok(ritem_next(it, &piece, &err), &err);
        assert_int_equal(piece.len, x.len);
        assert_memory_equal(piece.ptr, w.data + x.at, piece.len);
    }
    assert_int_equal(at, BIG);
    assert_true(n > 8);
    kit_ok(ritem_next(it, &piece, &err), &err);
    assert_int_equal(piece.len, 0);
    ritem_close(it);
}

static bool is_like(const uint8_t *want, size_t len, struct ritem *it, int *ret, struct error *err) {
    struct bytes piece;
    size_t at = 0;
    while ((*ret = ritem_next(it, &piece, err)) == 0 && piece.len) {
        if (piece.len > len - at || memcmp(piece.ptr, want + at, piece.len) != 0) return false;
        at += piece.len;
    }
    return *ret < 0 || at == len;
}

/* Of large items others decode what comes next; that changes nothing of what is read, or of what is said when it cannot
 * be. */
static void large_items_are_decoded_ahead(void **state) {
    const size_t len = 24u << 20;
    uint8_t *data = malloc(len);
    struct error err = ERROR_INIT;
    struct kit k;
    struct snapshot *s;
    struct ritem *it[3];
    struct bytes piece;
    unsigned failed = 0, hits = 0;
    int rc;
    (void)state;
    kit_text(data, len / 2, 3);
    kit_random(data + len / 2, len - len / 2, 5);
    const struct kit_item items[] = {
        {"a", CONTENT_FILE, data, len}, {"b", CONTENT_FILE, data, len}, {"c", CONTENT_FILE, data + 1, len - 1}};
    struct item_head h[3] = {0};
    kit_begin(&k);
    const uint64_t seq = kit_backup(&k, "t", items, 3, false, NULL);
    for (int i = 0; i < 3; i++) {
        h[i] = (struct item_head){.kind = CONTENT_FILE, .bytes = items[i].len, .ordinal = (uint64_t)i};
        sha256(BYTES_OF(items[i].data, items[i].len), &h[i].sha256);
    }
    kit_ok(snapshot_open(k.repo, kit_snapshot(&k, seq), &s, &err), &err);
    snapshot_scouts(s, 2);
    for (int i = 0; i < 3; i++) kit_ok(ritem_open(s, &h[i], &it[i], &err), &err);
    for (size_t n = 0; n < 200; n++) /* all at once, and for one of them there is nobody */
        for (int i = 0; i < 3; i++) kit_ok(ritem_next(it[i], &piece, &err), &err);
    kit_ok(ritem_seek(it[0], len / 3, &err), &err);
    kit_ok(ritem_next(it[0], &piece, &err), &err);
    assert_memory_equal(piece.ptr, data + len / 3, piece.len);
    for (int i = 0; i < 3; i++) ritem_close(it[i]);
    for (int late = 0; late < 2; late++) {
        kit_ok(ritem_open(s, &h[2], &it[2], &err), &err);
        if (late) ritem_late(it[2]);
        assert_true(is_like(data + 1, len - 1, it[2], &rc, &err));
        kit_ok(rc, &err);
        ritem_close(it[2]);
    }
    assert_true(snapshot_ahead_bytes(s) > len / 2);
    snapshot_close(s);
    for (uint64_t n = 1; n < 4000; n = n * 3 / 2 + 1) {
        kit_reopen(&k, false);
        kit_ok(snapshot_open(k.repo, kit_snapshot(&k, seq), &s, &err), &err);
        snapshot_scouts(s, 2);
        fault_install();
        fault_fail(n, 0, false);
        rc = ritem_open(s, &h[0], &it[0], &err);
        if (rc == 0) {
            assert_true(is_like(data, len, it[0], &rc, &err));
            ritem_close(it[0]);
        }
        fault_remove();
        assert_true(rc == 0 || error_info(rc)->status != EXIT_INTEGRITY);
        failed += rc < 0;
        hits += fault_hits() > 0;
        error_clear(&err);
        snapshot_close(s);
    }
    assert_true(failed > 3 && hits > failed); /* the others struck who went ahead */
    kit_end(&k);
    free(data);
}

/* The largest frame of data, plain; the snapshot is the only one. */
static uint32_t largest_frame(struct kit *k) {
    struct error err = ERROR_INIT;
    uint32_t largest = 0;
    for (size_t run = 0; run < k->repo->index.count; run++) {
        struct run_view v;
        kit_ok(index_scan(&k->repo->index, run, true, &v, &err), &err);
        const uint32_t packs = v.pack_count;
        index_scan_end(&v);
        for (uint32_t p = 0; p < packs; p++) {
            const struct location l = {.run = run, .pack = p};
            struct pack_in *in;
            struct digest name;
            bool meta;
            assert_true(index_pack(&k->repo->index, &l, &name, NULL, &meta));
            kit_ok(pack_in_open(k->repo, meta, &name, &in, &err), &err);
            const struct frame *f;
            for (uint32_t i = 0; !meta && (f = pack_in_frame(in, i)); i++)
                largest = f->plain_len > largest ? f->plain_len : largest;
            pack_in_free(in);
        }
    }
    return largest;
}

static void text_of_long_items_goes_together(void **state) {
    const size_t len = 28u << 20;
    uint8_t *data = malloc(len);
    static const struct {
        bool text;
        size_t len;
        unsigned threads;
        uint32_t least, most;
        bool narrow;
    } of[] = {{true, 28u << 20, 1, 3u << 20, 4u << 20, false},
              {true, 28u << 20, 1, 3u << 18, 1u << 20, true},
              {true, 28u << 20, 4, 3u << 19, 2u << 20, false}, /* what all threads have together stays the same */
              {true, 16u << 20, 1, 3u << 18, 1u << 20, false},
              {false, 28u << 20, 1, 3u << 18, 1u << 20, false}};
    (void)state;
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        struct kit k = {0};
        if (of[i].text)
            kit_text(data, of[i].len, 3);
        else
            kit_random(data, of[i].len, 3);
        kit_begin(&k);
        k.threads = of[i].threads;
        k.narrow = of[i].narrow;
        k.repo->data_pack_bytes = 16u << 20;
        const struct kit_item item = {"long", CONTENT_FILE, data, of[i].len};
        const uint64_t seq = kit_backup(&k, "s", &item, 1, false, NULL);
        assert_in_range(largest_frame(&k), of[i].least, of[i].most);
        kit_expect(&k, seq, &item, 1);
        kit_end(&k);
    }
    free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_begins_at_any_name),
        cmocka_unit_test(a_walk_from_no_items_name_begins_behind_it),
        cmocka_unit_test(what_lies_below_is_skipped),
        cmocka_unit_test(an_item_is_found_by_its_ordinal),
        cmocka_unit_test(reading_begins_where_it_is_told),
        cmocka_unit_test(the_end_is_the_end),
        cmocka_unit_test(a_digest_is_checked_only_of_what_was_read_whole),
        cmocka_unit_test(extents_add_up_and_can_be_fetched_ahead),
        cmocka_unit_test(large_items_are_decoded_ahead),
        cmocka_unit_test(text_of_long_items_goes_together),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
