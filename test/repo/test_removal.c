/* A collection that others overtake: what they append between its marking and its entry is let pass when it needs
 * nothing of what goes, and else the collection marks anew. Invariants by number: src/repo/removal.c. */
#include "base/time.h"
#include "repo/repo_internal.h"
#include "repo/run_merge.h"
#include "repo_kit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define BIG 400000u
#define SMALL 3000u

/* Somebody who commits each time that the collector is about to create its entry, as often as `left` says. */
static struct {
    const struct store_ops *was;
    struct store_ops ops;
    void (*slip)(unsigned n);
    unsigned left, done;
} crowd;
static struct kit k, other; /* the collector; a host with a cache of its own */
static uint8_t *noise;
static uint64_t slipped[64]; /* what `other` committed */

static int crowd_create(struct store *s, const char *key, struct bytes content, struct error *err) {
    if (strncmp(key, "log/", 4) == 0 && crowd.left) {
        crowd.left--;
        crowd.slip(crowd.done++);
    }
    return crowd.was->create(s, key, content, err);
}

static void crowd_begin(void (*slip)(unsigned n), unsigned times) {
    if (k.store->ops != &crowd.ops) crowd.was = k.store->ops;
    crowd.ops = *crowd.was;
    crowd.ops.create = crowd_create;
    crowd.slip = slip;
    crowd.left = times;
    crowd.done = 0;
    k.store->ops = &crowd.ops;
}

static void world_begin(void) {
    struct error err = ERROR_INIT;
    kit_begin(&k);
    other = k;
    snprintf(other.cache_dir, sizeof other.cache_dir, "%s/other", k.dir);
    kit_ok(store_local_open(k.repo_dir, false, &other.store, &err), &err);
    kit_ok(repo_open(other.store, &other.unlock, other.cache_dir, &other.repo, &err), &err);
}

/* Whatever came of it, all that is live decodes, and no run names a pack that is not there (invariant 2). */
static void world_end(void) {
    struct error err = ERROR_INIT;
    struct check_totals totals;
    struct check_options o = {.level = VERIFY_DECODE};
    kit_close(&other);
    kit_reopen(&k, true);
    kit_ok(repo_check(k.repo, &o, &totals, &err), &err);
    assert_int_equal(totals.result, CHECK_VERIFIED);
    for (size_t i = 0; i < k.repo->index.count; i++) {
        struct run_view v;
        kit_ok(index_scan(&k.repo->index, i, false, &v, &err), &err);
        for (uint32_t p = 0; p < v.pack_count; p++) {
            const uint8_t *row = v.packs + (size_t)p * RUN_PACK_BYTES;
            char key[96];
            uint64_t bytes;
            pack_key(get_u64(row + DIGEST_BYTES) & RUN_PACK_META, (const struct digest *)row, key);
            kit_ok(store_stat(k.store, key, &bytes, NULL, &err), &err);
        }
        index_scan_end(&v);
    }
    kit_end(&k);
}

static struct kit_item big(const char *name, uint32_t from) {
    return (struct kit_item){name, CONTENT_FILE, noise + from, BIG};
}
static struct kit_item small(const char *name, uint32_t from) {
    return (struct kit_item){name, CONTENT_FILE, noise + from, SMALL};
}

static uint64_t stored(struct kit *by, const char *surface, struct kit_item item) {
    return kit_backup(by, surface, &item, 1, true, NULL);
}

static void forgotten(uint64_t seq) {
    struct error err = ERROR_INIT;
    kit_ok(repo_sync(k.repo, &err), &err);
    kit_ok(repo_forget(k.repo, &seq, 1, "test", &err), &err);
}

static int age_one(void *ctx, const struct store_object *o, struct error *err) {
    char path[256];
    struct timespec t[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    (void)ctx, (void)err;
    snprintf(path, sizeof path, "%s/%s", k.repo_dir, o->key);
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
    return 0;
}

/* What was stored there so far was stored long ago. */
static void aged(const char *folder) {
    struct error err = ERROR_INIT;
    kit_ok(store_list(k.store, folder, age_one, NULL, &err), &err);
}

/* How often it marked. With `grace`, what was not `aged` is left. */
static unsigned collected_with(bool grace, double repack_below, uint64_t *ret_packs) {
    struct error err = ERROR_INIT;
    struct gc_plan plan;
    struct gc_options o = {.now_ns = grace ? time_now_ns() : INT64_MAX / 2,
                           .grace_ns = grace ? 3600 * NS_PER_S : 0,
                           .repack_below = repack_below};
    kit_ok(gc_run(k.repo, &o, &plan, &err), &err);
    const unsigned markings = plan.markings;
    if (ret_packs) *ret_packs = repack_below > 0 ? plan.repack_packs : plan.dead_packs;
    gc_plan_free(&plan);
    assert_int_equal(crowd.left, 0);
    return markings;
}

static unsigned collected(double repack_below, uint64_t *ret_packs) {
    return collected_with(false, repack_below, ret_packs);
}

static void expect(uint64_t seq, struct kit_item item) {
    struct error err = ERROR_INIT;
    kit_ok(repo_sync(k.repo, &err), &err);
    kit_expect(&k, seq, &item, 1);
}

/* ---- what needs nothing of it ---- */

static void commit_something_else(unsigned n) {
    slipped[n] = stored(&other, "other", small("x", 3 * BIG + n * 7000));
}

static void one_commit_is_let_pass(void **state) {
    uint64_t packs;
    (void)state;
    world_begin();
    uint64_t a = stored(&k, "t", big("a", 0)), b = stored(&k, "u", big("b", BIG));
    forgotten(a);
    crowd_begin(commit_something_else, 1);
    assert_int_equal(collected(0, &packs), 1);
    assert_true(packs > 0);
    expect(b, big("b", BIG));
    expect(slipped[0], small("x", 3 * BIG));
    world_end();
}

/* So many that what they add to the index is merged several times, with a run that the collection takes out. */
static void so_are_many_in_a_row(void **state) {
    uint64_t packs;
    (void)state;
    world_begin();
    uint64_t a = stored(&k, "t", big("a", 0)), b = stored(&k, "u", big("b", BIG));
    forgotten(a);
    crowd_begin(commit_something_else, 3 * MERGE_COUNT);
    assert_int_equal(collected(0, &packs), 1);
    assert_true(packs > 0);
    assert_true(other.repo->state.run_count < MERGE_COUNT + 2); /* they were merged */
    expect(b, big("b", BIG));
    for (unsigned n = 0; n < 3 * MERGE_COUNT; n++) expect(slipped[n], small("x", 3 * BIG + n * 7000));
    world_end();
}

static struct writer *late;

static void commit_the_late_one(unsigned n) {
    struct error err = ERROR_INIT;
    kit_ok(kit_commit(late, "late", &slipped[n], &err), &err);
    writer_free(late);
}

/* It merged runs that somebody else merged before the marking: the collection's entry takes out the one that was live
 * then. */
static void a_merge_that_did_not_know_of_another_names_nothing_that_goes(void **state) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = "dev", .surface = "late", .threads = 1};
    struct writer_stats stats;
    struct witem *item;
    char surface[8] = "s0";
    uint64_t packs;
    (void)state;
    world_begin();
    uint64_t a = stored(&k, "t", small("a", 0));
    for (unsigned i = 0; i + 2 < MERGE_COUNT; i++, surface[1]++) stored(&k, surface, small("x", 10000 + i * 7000));
    aged("packs/");
    aged("index/");
    kit_ok(writer_open(other.repo, &o, &late, &err), &err);
    kit_ok(writer_item_open(late, 0, BYTES_STR("x"), CONTENT_FILE, &item, &err), &err);
    kit_ok(witem_close(item, BYTES_STR("attr"), NULL, &err), &err);
    json_t *root = json_object();
    kit_ok(writer_finish(late, root, &err), &err);
    json_decref(root);
    assert_int_equal(k.repo->state.run_count, MERGE_COUNT - 1);
    stored(&k, surface, small("x", 90000));
    assert_int_equal(k.repo->state.run_count, 1);
    forgotten(a);
    crowd_begin(commit_the_late_one, 1);
    assert_int_equal(collected_with(true, 0, &packs), 1);
    assert_true(packs > 0);
    /* who reads the index now finds nothing of what went, and stores it anew */
    kit_reopen(&k, true);
    struct kit_item again = small("a", 0);
    uint64_t b = kit_backup(&k, "t", &again, 1, false, &stats);
    assert_true(stats.new_bytes >= SMALL);
    expect(b, again);
    world_end();
}

/* ---- what needs what goes ---- */

static void commit_what_was_forgotten(unsigned n) {
    slipped[n] = stored(&other, "t", big("a", 0));
}

static void a_commit_that_relies_on_a_pack_that_goes_makes_it_mark_anew(void **state) {
    uint64_t packs;
    struct error err = ERROR_INIT;
    (void)state;
    world_begin();
    uint64_t a = stored(&k, "t", big("a", 0));
    uint64_t c = stored(&k, "v", big("c", 2 * BIG));
    kit_ok(repo_sync(other.repo, &err), &err);
    forgotten(a);
    forgotten(c);
    crowd_begin(commit_what_was_forgotten, 1);
    assert_int_equal(collected(0, &packs), 2);
    assert_true(packs > 0); /* of the third */
    expect(slipped[0], big("a", 0));
    world_end();
}

static void resume(unsigned n) {
    struct kit_item items[2] = {big("a", 0), big("b", BIG)};
    struct writer_stats stats;
    slipped[n] = kit_backup(&other, "long", items, 2, true, &stats);
    assert_true(stats.new_bytes < 2 * BIG);
}

static int count_one(void *ctx, const struct store_object *o, struct error *err) {
    (void)o, (void)err;
    return ++*(int *)ctx, 0;
}

/* A backup that ended before its commit, with a resume state. */
static void killed(void) {
    struct error err = ERROR_INIT;
    struct writer_options o = {.environment = "dev", .surface = "long", .threads = 1};
    struct writer *w;
    struct witem *item;
    uint8_t *p;
    size_t room;
    kit_ok(writer_open(other.repo, &o, &w, &err), &err);
    kit_ok(writer_item_open(w, 0, BYTES_STR("a"), CONTENT_FILE, &item, &err), &err);
    for (size_t at = 0; at < BIG;) {
        kit_ok(witem_space(item, &p, &room, &err), &err);
        const size_t part = BIG - at < room ? BIG - at : room;
        memcpy(p, noise + at, part);
        kit_ok(witem_advance(item, part, &err), &err);
        at += part;
    }
    kit_ok(witem_close(item, BYTES_STR("attr"), NULL, &err), &err);
    for (int points = 0; !points; seam_poll(NULL, 0, 1)) { /* once its threads have sealed something */
        kit_ok(writer_checkpoint(w, &err), &err);
        kit_ok(store_list(k.store, "sess/", count_one, &points, &err), &err);
    }
    writer_free(w);
}

static void goes_on_where_it_ended(bool grace) {
    struct error err = ERROR_INIT;
    struct kit_item items[2] = {big("a", 0), big("b", BIG)};
    crowd_begin(resume, 1);
    assert_int_equal(collected_with(grace, 0, NULL), 2);
    kit_ok(repo_sync(k.repo, &err), &err);
    kit_expect(&k, slipped[0], items, 2);
}

static void so_does_one_that_goes_on_where_a_killed_run_ended(void **state) {
    (void)state;
    world_begin();
    killed();
    goes_on_where_it_ended(false);
    world_end();
}

static void and_one_that_takes_over_no_more_than_a_run_that_is_swept(void **state) {
    (void)state;
    world_begin();
    killed();
    aged("index/");
    goes_on_where_it_ended(true);
    world_end();
}

/* ---- packs that are rewritten ---- */

static struct kit_item two[2];

/* A pack of which little lives: `two` is stored, and then only the first of it. */
static uint64_t thin_begin(void) {
    world_begin();
    two[0] = small("a", 0);
    two[1] = big("b", BIG);
    uint64_t a = kit_backup(&k, "t", two, 2, true, NULL), b = kit_backup(&k, "t", two, 1, true, NULL);
    struct error err = ERROR_INIT;
    kit_ok(repo_sync(other.repo, &err), &err);
    forgotten(a);
    return b;
}

static void commit_the_same(unsigned n) {
    slipped[n] = kit_backup(&other, "t", two, 1, false, NULL);
}

static void commits_whose_chunks_were_moved_are_let_pass(void **state) {
    uint64_t packs;
    (void)state;
    uint64_t b = thin_begin();
    crowd_begin(commit_the_same, 5);
    assert_int_equal(collected(0.9, &packs), 1);
    assert_true(packs > 0);
    expect(b, two[0]);
    for (unsigned n = 0; n < 5; n++) expect(slipped[n], two[0]);
    world_end();
}

static void commit_both(unsigned n) {
    slipped[n] = kit_backup(&other, "t", two, 2, false, NULL);
}

static void one_that_needs_more_of_a_pack_than_was_moved_is_not(void **state) {
    (void)state;
    uint64_t b = thin_begin();
    crowd_begin(commit_both, 1);
    assert_int_equal(collected(0.9, NULL), 2);
    expect(b, two[0]);
    struct error err = ERROR_INIT;
    kit_ok(repo_sync(k.repo, &err), &err);
    kit_expect(&k, slipped[0], two, 2);
    world_end();
}

/* ---- collections ---- */

static void reindex(unsigned n) {
    struct error err = ERROR_INIT;
    (void)n;
    kit_ok(repo_sync(other.repo, &err), &err);
    kit_ok(repo_reindex(other.repo, &err), &err);
}

static void it_marks_anew_after_another_collection_and_gives_up_in_the_end(void **state) {
    (void)state;
    world_begin();
    uint64_t a = stored(&k, "t", big("a", 0)), b = stored(&k, "u", big("b", BIG));
    forgotten(a);
    crowd_begin(reindex, 15);
    assert_int_equal(collected(0, NULL), 16);
    forgotten(b);
    crowd_begin(reindex, 16);
    struct error err = ERROR_INIT;
    struct gc_plan plan;
    struct gc_options o = {.now_ns = INT64_MAX / 2};
    assert_int_equal(gc_run(k.repo, &o, &plan, &err), -ERR_REPO_BUSY);
    assert_non_null(strstr(err.text, "each of the 16 times that this collection had marked what is in use, others"));
    assert_non_null(strstr(err.state, "no pack was removed"));
    world_end();
}

static struct keyring *pruner;

static void remove_its_key(unsigned n) {
    struct error err = ERROR_INIT;
    (void)n;
    kit_ok(repo_sync(other.repo, &err), &err);
    kit_ok(repo_key_remove(other.repo, pruner->sign_public, &err), &err);
}

static void with_a_key_that_is_removed_meanwhile_it_removes_nothing(void **state) {
    struct error err = ERROR_INIT;
    struct gc_plan plan;
    struct gc_options o = {.now_ns = INT64_MAX / 2};
    uint8_t key[32] = {7};
    struct unlock u = {.kind = SLOT_KEY_FILE, .secret = BYTES_OF(key, 32)}, admin;
    (void)state;
    world_begin();
    kit_ok(keyring_derive(repo_keys(k.repo), ROLE_PRUNE, &pruner, &err), &err);
    kit_ok(repo_key_add(k.repo, pruner, &u, "collector", &err), &err);
    uint64_t a = stored(&k, "t", big("a", 0));
    forgotten(a);
    admin = k.unlock;
    k.unlock = u;
    kit_reopen(&k, false);
    kit_ok(repo_sync(other.repo, &err), &err);
    crowd_begin(remove_its_key, 1);
    assert_int_equal(gc_run(k.repo, &o, &plan, &err), -ERR_KEY_ROLE);
    assert_non_null(strstr(err.text, "is signed by a key that was removed"));
    assert_non_null(strstr(err.state, "nothing was removed"));
    keyring_free(pruner);
    /* what it would have removed is there */
    k.unlock = admin;
    kit_reopen(&k, false);
    struct writer_stats stats;
    struct kit_item again = big("a", 0);
    uint64_t b = kit_backup(&k, "t", &again, 1, false, &stats);
    assert_int_equal(stats.new_chunks, 0);
    expect(b, again);
    world_end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_commit_is_let_pass),
        cmocka_unit_test(so_are_many_in_a_row),
        cmocka_unit_test(a_merge_that_did_not_know_of_another_names_nothing_that_goes),
        cmocka_unit_test(a_commit_that_relies_on_a_pack_that_goes_makes_it_mark_anew),
        cmocka_unit_test(so_does_one_that_goes_on_where_a_killed_run_ended),
        cmocka_unit_test(and_one_that_takes_over_no_more_than_a_run_that_is_swept),
        cmocka_unit_test(commits_whose_chunks_were_moved_are_let_pass),
        cmocka_unit_test(one_that_needs_more_of_a_pack_than_was_moved_is_not),
        cmocka_unit_test(it_marks_anew_after_another_collection_and_gives_up_in_the_end),
        cmocka_unit_test(with_a_key_that_is_removed_meanwhile_it_removes_nothing),
    };
    noise = malloc(8 * BIG);
    kit_random(noise, 8 * BIG, 4);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(noise);
    return rc;
}
