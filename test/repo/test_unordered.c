/* Items in any order of names: what comes out is what would have come of the right order, in bounded memory, whatever
 * fails. */
#include "repo_kit.h"

#include "../harness/fault.h"
#include "repo/gather.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t next(uint32_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}

static void shuffle(uint32_t *a, uint32_t n, uint32_t seed) {
    for (uint32_t i = 0; i < n; i++) a[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t k = next(&seed) % i, v = a[i - 1];
        a[i - 1] = a[k];
        a[k] = v;
    }
}

/* ---- gather ---- */

#define RECORDS 100000u
struct seen {
    uint32_t n;
    bool wrong;
};

static size_t record(uint32_t i, char name[32], uint8_t body[200]) {
    const size_t len = i % 200;
    snprintf(name, 32, "d%02u/%06u", i / 5000, i);
    memset(body, (int)(i & 0xff), len);
    return len;
}

static int in_order(void *ctx, struct bytes name, struct bytes body, struct error *err) {
    struct seen *s = ctx;
    char want[32];
    uint8_t content[200];
    const size_t len = record(s->n++, want, content);
    (void)err;
    s->wrong |= !bytes_equal(name, BYTES_STR(want)) || !bytes_equal(body, BYTES_OF(content, len));
    return 0;
}

static int gather_some(uint32_t count, size_t bytes_max, struct seen *s, size_t *ret_peak, struct error *err) {
    uint32_t *order = malloc(count * sizeof *order);
    struct gather *g = NULL;
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, peak = 0;
    shuffle(order, count, 7);
    int rc = gather_new("/dev/shm", bytes_max, &g, err);
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        char name[32];
        uint8_t body[200];
        const size_t len = record(order[i], name, body);
        rc = gather_add(g, BYTES_STR(name), BYTES_OF(body, len), err);
        const struct mallinfo2 m = mallinfo2();
        if (m.uordblks + m.hblkhd > before + peak) peak = m.uordblks + m.hblkhd - before;
    }
    if (rc == 0) rc = gather_each(g, in_order, s, err);
    gather_free(g);
    free(order);
    if (ret_peak) *ret_peak = peak;
    return rc;
}

static void a_hundred_thousand_records_come_back_sorted_in_little_memory(void **state) {
    (void)state;
    static const size_t limits[] = {1 << 20, 64 << 10, GATHER_BYTES};
    for (size_t i = 0; i < 3; i++) {
        struct seen s = {0};
        struct error err = ERROR_INIT;
        size_t peak;
        kit_ok(gather_some(RECORDS, limits[i], &s, &peak, &err), &err);
        assert_int_equal(s.n, RECORDS);
        assert_false(s.wrong);
        assert_true(peak < 4 * limits[i] + (2u << 20)); /* 12 MB of records */
    }
}

static void none_and_one_come_back(void **state) {
    (void)state;
    for (uint32_t n = 0; n < 2; n++) {
        struct seen s = {0};
        struct error err = ERROR_INIT;
        kit_ok(gather_some(n, 1 << 20, &s, NULL, &err), &err);
        assert_int_equal(s.n, n);
        assert_false(s.wrong);
    }
}

static int ignore(void *ctx, struct bytes name, struct bytes body, struct error *err) {
    (void)ctx, (void)name, (void)body, (void)err;
    return 0;
}

/* In one run and in two. */
static void a_name_that_comes_twice_is_an_error(void **state) {
    (void)state;
    for (size_t limit = 1; limit <= 1 << 20; limit <<= 20) {
        struct gather *g;
        struct error err = ERROR_INIT;
        kit_ok(gather_new("/dev/shm", limit, &g, &err), &err);
        kit_ok(gather_add(g, BYTES_STR("b"), BYTES_STR("1"), &err), &err);
        kit_ok(gather_add(g, BYTES_STR("a"), BYTES_STR("2"), &err), &err);
        kit_ok(gather_add(g, BYTES_STR("b"), BYTES_STR("3"), &err), &err);
        int rc = gather_each(g, ignore, NULL, &err);
        gather_free(g);
        assert_int_equal(rc, -ERR_INTERNAL);
        assert_string_equal(err.text, "two items have the name b");
    }
}

/* Records that each take a longer read than the one before, which moves what was read. */
static int gather_large(struct error *err) {
    static uint8_t body[90000];
    struct gather *g = NULL;
    int rc = gather_new("/dev/shm", 64 << 10, &g, err);
    for (char name = 'a'; name < 'i' && rc == 0; name++)
        rc = gather_add(g, BYTES_OF(&name, 1), BYTES_OF(body, (size_t)(name - 'a' + 1) * 10000), err);
    if (rc == 0) rc = gather_each(g, ignore, NULL, err);
    gather_free(g);
    return rc;
}

static void a_failed_read_of_a_large_record_is_told(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    fault_install();
    kit_ok(gather_large(&err), &err);
    const uint64_t calls = fault_calls();
    fault_remove();
    for (uint64_t n = 1; n <= calls; n++) {
        err = ERROR_INIT;
        fault_install();
        fault_fail(n, 0, false);
        int rc = gather_large(&err);
        fault_remove();
        assert_int_equal(rc, -(int)err.code);
        assert_true(err.code != ERR_INTERNAL);
    }
}

static void a_failure_of_any_call_is_told(void **state) {
    (void)state;
    struct seen s = {0};
    struct error err = ERROR_INIT;
    fault_install();
    kit_ok(gather_some(3000, 64 << 10, &s, NULL, &err), &err);
    const uint64_t calls = fault_calls();
    fault_remove();
    assert_true(calls > 20);
    for (uint64_t n = 1; n <= calls; n++) {
        err = ERROR_INIT;
        s = (struct seen){0};
        fault_install();
        fault_fail(n, 0, true);
        int rc = gather_some(3000, 64 << 10, &s, NULL, &err);
        fault_remove();
        assert_int_equal(rc, -(int)err.code);
        if (rc == 0) assert_true(s.n == 3000 && !s.wrong); /* a close */
        if (rc < 0) assert_true(strlen(err.text) > 5 && err.code != ERR_INTERNAL);
    }
}

/* ---- the writer ---- */

struct unordered {
    const struct kit_item *items;
    uint32_t n, from; /* items [from, n) of the order */
    const uint32_t *order;
    bool commit, checkpoint;
};

static int put(struct writer *w, const struct kit_item *it, struct error *err) {
    struct witem *o;
    struct digest sha, want;
    int rc = writer_item_open(w, WRITER_ANY_ORDER, BYTES_STR(it->name), it->kind, &o, err);
    if (rc < 0) return rc;
    for (size_t at = 0; at < it->len && rc == 0;) {
        uint8_t *p;
        size_t room;
        if ((rc = witem_space(o, &p, &room, err)) < 0) break;
        const size_t n = it->len - at < room ? it->len - at : room;
        memcpy(p, it->data + at, n);
        rc = witem_advance(o, n, err);
        at += n;
    }
    if (rc < 0) {
        witem_drop(o);
        return rc;
    }
    if ((rc = witem_close(o, BYTES_STR("attr"), &sha, err)) < 0) return rc;
    sha256(BYTES_OF(it->data, it->len), &want);
    assert_true(digest_equal(&sha, &want));
    return 0;
}

static int backup(struct kit *k, const struct unordered *u, struct writer_stats *stats, uint64_t *ret_seq,
                  struct error *err) {
    const struct writer_options o = {
        .environment = "dev", .surface = "cluster", .threads = 3, .checkpoint_bytes = k->checkpoint_bytes};
    struct writer *w = NULL;
    int rc = writer_open(k->repo, &o, &w, err);
    for (uint32_t i = u->from; i < u->n && rc == 0; i++) rc = put(w, &u->items[u->order[i]], err);
    if (rc == 0 && u->checkpoint) rc = writer_checkpoint(w, err);
    json_t *root = json_pack("{s:s}", "facts", "of a test");
    if (rc == 0 && u->commit) rc = writer_finish(w, root, err);
    if (rc == 0 && u->commit) rc = kit_commit(w, "cluster", ret_seq, err);
    json_decref(root);
    if (w && stats) writer_stats_get(w, stats);
    writer_free(w);
    return rc;
}

static struct kit_item *items_make(uint32_t n, uint8_t *content, size_t len, char (*names)[32]) {
    struct kit_item *items = calloc(n, sizeof *items);
    for (uint32_t i = 0; i < n; i++) {
        snprintf(names[i], 32, "base/%02u/%06u", i / 5000, i);
        const size_t size = i % 64, at = (i * 37) % (len - 64);
        items[i] = (struct kit_item){names[i], i % 3 ? CONTENT_FILE : CONTENT_PAGES, content + at, size};
    }
    return items;
}

static void a_hundred_thousand_items_shuffled_are_the_snapshot_of_the_sorted(void **state) {
    (void)state;
    const uint32_t n = 100000;
    uint8_t content[4096];
    char(*names)[32] = malloc(n * sizeof *names);
    uint32_t *order = malloc(n * sizeof *order);
    kit_text(content, sizeof content, 1);
    struct kit_item *items = items_make(n, content, sizeof content, names);
    struct unordered u = {.items = items, .n = n, .order = order, .commit = true};
    struct writer_stats first, second, third;
    struct error err = ERROR_INIT;
    struct kit k;
    uint64_t seq;
    kit_begin(&k);
    shuffle(order, n, 3);
    kit_ok(backup(&k, &u, &first, &seq, &err), &err);
    assert_int_equal(first.items, n);
    kit_expect(&k, seq, items, n);
    shuffle(order, n, 4);
    kit_ok(backup(&k, &u, &second, &seq, &err), &err);
    kit_expect(&k, seq, items, n);
    /* nothing is new: manifests do not depend on the order of coming, nor on whether there was one */
    assert_int_equal(second.new_chunks, 0);
    k.checkpoint_bytes = 1 << 30;
    kit_ok(kit_backup_try(&k, "cluster", items, n, false, &third, &seq, &err), &err);
    assert_int_equal(third.new_chunks, 0);
    kit_end(&k);
    free(items);
    free(names);
    free(order);
}

/* Pages that changed become deltas of their former selves, whatever the order of either run. */
static void former_selves_are_found_in_any_order(void **state) {
    (void)state;
    enum { N = 300, LEN = 256 << 10 };
    uint8_t *content = malloc((size_t)N * LEN);
    char(*names)[32] = malloc(N * sizeof *names);
    uint32_t order[N];
    struct kit_item items[N];
    kit_random(content, (size_t)N * LEN, 5);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(names[i], 32, "base/5/%06u", 16384 + i);
        items[i] = (struct kit_item){names[i], CONTENT_PAGES, content + (size_t)i * LEN, LEN};
    }
    struct unordered u = {.items = items, .n = N, .order = order, .commit = true};
    struct writer_stats stats;
    struct error err = ERROR_INIT;
    struct kit k;
    uint64_t seq;
    kit_begin(&k);
    shuffle(order, N, 8);
    kit_ok(backup(&k, &u, NULL, &seq, &err), &err);
    for (uint32_t i = 0; i < N; i++) content[(size_t)i * LEN + 5000] ^= 1; /* half of all chunks */
    shuffle(order, N, 9);
    kit_ok(backup(&k, &u, &stats, &seq, &err), &err);
    assert_int_equal(stats.delta_chunks, N);
    assert_true(stats.delta_stored < stats.delta_bytes / 50);
    kit_expect(&k, seq, items, N);
    kit_end(&k);
    free(content);
    free(names);
}

/* A run that breaks off leaves nothing but what the next finds by content. */
static void an_interrupted_run_is_resumed(void **state) {
    (void)state;
    enum { N = 64, LEN = 256 << 10 };
    uint8_t *content = malloc((size_t)N * LEN);
    char(*names)[32] = malloc(N * sizeof *names);
    uint32_t order[N];
    struct kit_item items[N];
    kit_random(content, (size_t)N * LEN, 6);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(names[i], 32, "base/5/%06u", 16384 + i);
        items[i] = (struct kit_item){names[i], CONTENT_PAGES, content + (size_t)i * LEN, LEN};
    }
    struct unordered u = {.items = items, .n = N / 2, .order = order, .checkpoint = true};
    struct writer_stats stats;
    struct error err = ERROR_INIT;
    struct kit k;
    uint64_t seq = 0;
    kit_begin(&k);
    k.checkpoint_bytes = 1 << 20;
    shuffle(order, N, 10);
    kit_ok(backup(&k, &u, NULL, &seq, &err), &err);
    assert_int_equal(repo_snapshot_count(k.repo), 0);
    kit_reopen(&k, false);
    shuffle(order, N, 11);
    u = (struct unordered){.items = items, .n = N, .order = order, .commit = true};
    kit_ok(backup(&k, &u, &stats, &seq, &err), &err);
    /* but for what came after the last checkpoint, and what was gathered when it broke off: a MiB each */
    assert_in_range(stats.new_bytes, (N / 2) * LEN, (N / 2 + 8) * LEN);
    assert_int_equal(stats.dup_bytes + stats.new_bytes, N * LEN);
    kit_expect(&k, seq, items, N);
    kit_end(&k);
    free(content);
    free(names);
}

static void a_backup_in_two_orders_or_with_a_name_twice_fails(void **state) {
    (void)state;
    const struct writer_options o = {.environment = "dev", .surface = "cluster", .threads = 2};
    const struct kit_item a = {"a", CONTENT_FILE, (const uint8_t *)"x", 1};
    struct error err = ERROR_INIT;
    struct writer *w;
    struct witem *it;
    struct kit k;
    kit_begin(&k);
    kit_ok(writer_open(k.repo, &o, &w, &err), &err);
    kit_ok(put(w, &a, &err), &err);
    assert_int_equal(writer_item_open(w, 0, BYTES_STR("b"), CONTENT_FILE, &it, &err), -ERR_INTERNAL);
    assert_string_equal(err.text, "items came both by number and in any order");
    writer_free(w);
    err = ERROR_INIT;
    kit_ok(writer_open(k.repo, &o, &w, &err), &err);
    kit_ok(put(w, &a, &err), &err);
    kit_ok(put(w, &a, &err), &err);
    json_t *root = json_object();
    assert_int_equal(writer_finish(w, root, &err), -ERR_INTERNAL);
    assert_string_equal(err.text, "finishing the backup: two items have the name a");
    writer_free(w);
    err = ERROR_INIT;
    kit_ok(writer_open(k.repo, &o, &w, &err), &err);
    kit_ok(writer_item_open(w, WRITER_ANY_ORDER, BYTES_STR("b"), CONTENT_FILE, &it, &err), &err);
    assert_int_equal(writer_finish(w, root, &err), -ERR_INTERNAL);
    assert_string_equal(err.text, "finishing the backup: 1 items were never finished");
    witem_drop(it);
    json_decref(root);
    writer_free(w);
    assert_int_equal(repo_snapshot_count(k.repo), 0);
    kit_end(&k);
}

/* One thread asks and holds while others open items in any order: what it was told stays, whatever they look for. */
static void what_is_known_stays_while_others_open(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    static const char *const names[] = {"base/1/1", "base/1/22", "base/1/333", "global/4", "pg_wal/55555"};
    struct kit_item items[5];
    uint32_t order[] = {0, 1, 2, 3, 4};
    uint64_t seq = 0;
    struct kit k;
    kit_begin(&k);
    for (size_t i = 0; i < 5; i++)
        items[i] = (struct kit_item){
            .name = names[i], .kind = CONTENT_FILE, .data = (const uint8_t *)names[i], .len = strlen(names[i])};
    struct unordered u = {.items = items, .order = order, .n = 5, .commit = true};
    kit_ok(backup(&k, &u, NULL, &seq, &err), &err);
    const struct writer_options o = {.environment = "dev", .surface = "cluster", .threads = 1};
    for (size_t asked = 0; asked < 5; asked++)
        for (size_t other = 0; other < 5; other++) {
            struct writer *w;
            struct witem *held, *opened;
            struct known_item known;
            if (other == asked) continue;
            kit_ok(writer_open(k.repo, &o, &w, &err), &err);
            assert_true(writer_known(w, BYTES_STR(names[asked]), &known));
            kit_ok(writer_item_open(w, WRITER_ANY_ORDER, BYTES_STR(names[other]), CONTENT_FILE, &opened, &err), &err);
            kit_ok(writer_item_hold(w, WRITER_ANY_ORDER, BYTES_STR(names[asked]), &held, &err), &err);
            kit_ok(witem_confirm(held, BYTES_STR("attr"), &err), &err);
            for (size_t next = asked + 1; next < 5; next++)
                assert_true(writer_known(w, BYTES_STR(names[next]), &known));
            witem_drop(opened);
            writer_free(w);
        }
    kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_thousand_records_come_back_sorted_in_little_memory),
        cmocka_unit_test(none_and_one_come_back),
        cmocka_unit_test(a_name_that_comes_twice_is_an_error),
        cmocka_unit_test(a_failed_read_of_a_large_record_is_told),
        cmocka_unit_test(a_failure_of_any_call_is_told),
        cmocka_unit_test(a_hundred_thousand_items_shuffled_are_the_snapshot_of_the_sorted),
        cmocka_unit_test(former_selves_are_found_in_any_order),
        cmocka_unit_test(an_interrupted_run_is_resumed),
        cmocka_unit_test(a_backup_in_two_orders_or_with_a_name_twice_fails),
        cmocka_unit_test(what_is_known_stays_while_others_open),
    };
    return cmocka_run_group_tests_name("repo/unordered", tests, NULL, NULL);
}
