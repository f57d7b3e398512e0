#include "work_kit.h"

#include "base/time.h"
#include "work/hold.h"
#include "work/prune_sets.h"

#include <stdio.h>
#include <unistd.h>

#define LAST_2 "    policy: { verify: checksum, retention: { keep: { last: 2 }, min_copies: 1 } }\n"
#define BYTES 40000

static struct prune_plan planned(struct work_kit *k, const char *what, bool collect_only, int64_t grace_ns) {
    struct error err = ERROR_INIT;
    struct selection s;
    struct prune_options o = {.collect_only = collect_only, .grace_ns = grace_ns, .estimate = true};
    struct prune_plan p;
    kit_ok(selection_parse(what, false, &s, &err), &err);
    kit_ok(prune_plan_make(k->work, &s, &o, &p, &err), &err);
    return p;
}

/* n points of `files`, each verified. */
static void points(struct work_kit *k, uint64_t *seqs, size_t n) {
    for (size_t i = 0; i < n; i++) {
        seqs[i] = work_kit_point(k, "files", BYTES, (uint32_t)i + 1);
        work_kit_verify(k, seqs[i], VERIFY_CHECKSUM, true);
    }
}

static void a_plan_forgets_frees_and_leaves_the_rest_whole(void **state) {
    struct work_kit k;
    uint64_t seqs[5];
    struct prune_done d;
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 5);
    struct prune_plan p = planned(&k, "dev", false, 0);
    assert_int_equal(p.count, 1);
    assert_int_equal(p.forgotten, 3);
    assert_string_equal(p.surfaces, "all");
    for (int i = 0; i < 5; i++)
        assert_int_equal(p.list[0].points[i].verdict.decision, i < 3 ? RETENTION_FORGET : RETENTION_KEEP);
    assert_works(prune_plan_check(&p, &err));
    usleep(20000); /* with no grace at all, packs must be older than now */
    assert_works(prune_run(k.work, &p, NULL, &d, &err));
    assert_int_equal(d.forgotten, 3);
    assert_true(d.freed_bytes >= 3 * BYTES);
    for (int i = 0; i < 5; i++) assert_int_equal(work_kit_info(&k, seqs[i])->forgotten, i < 3);
    work_kit_expect(&k, seqs[3], BYTES, 4);
    work_kit_expect(&k, seqs[4], BYTES, 5);
    prune_plan_free(&p);
    work_kit_end(&k);
}

static void nothing_is_forgotten_without_rules_or_proof(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, NULL);
    for (uint32_t i = 0; i < 3; i++) work_kit_verify(&k, work_kit_point(&k, "files", BYTES, i + 1), VERIFY_FULL, true);
    struct prune_plan p = planned(&k, "dev/files", false, 0);
    assert_int_equal(p.forgotten, 0);
    assert_string_equal(p.list[0].points[0].verdict.reason, "no retention rule is set");
    prune_plan_free(&p);
    work_kit_end(&k);

    work_kit_begin(&k, LAST_2);
    for (uint32_t i = 0; i < 4; i++) work_kit_point(&k, "files", BYTES, i + 1);
    p = planned(&k, "dev/files", false, 0);
    assert_int_equal(p.forgotten, 0);
    assert_string_equal(p.list[0].points[0].verdict.reason, "nothing is proven yet");
    prune_plan_free(&p);
    work_kit_end(&k);
}

static void an_unproven_newest_point_holds_the_whole_run(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    struct prune_done d;
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 4);
    work_kit_point(&k, "files", BYTES, 9);
    struct prune_plan p = planned(&k, "dev", false, 0);
    assert_int_equal(p.forgotten, 0);
    assert_fails(prune_plan_check(&p, &err), ERR_PRUNE_HELD, "dev/files: 2 backups", "is not verified");
    assert_fails(prune_run(k.work, &p, NULL, &d, &err), ERR_PRUNE_HELD, "dev/files");
    prune_plan_free(&p);
    assert_false(work_kit_info(&k, seqs[0])->forgotten);
    work_kit_end(&k);
}

static void a_second_prune_without_a_new_backup_is_held(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    struct prune_done d;
    struct hold_done h;
    char address[128];
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 4);
    snprintf(address, sizeof address, "dev/files@%s", work_kit_info(&k, seqs[0])->id);
    assert_works(hold_add(k.work, address, "case", &h, &err));
    struct prune_plan p = planned(&k, "dev", false, 0);
    assert_int_equal(p.forgotten, 1);
    assert_works(prune_run(k.work, &p, NULL, &d, &err));
    prune_plan_free(&p);
    assert_works(hold_release(k.work, address, "closed", &h, &err));
    p = planned(&k, "dev", false, 0);
    assert_fails(prune_plan_check(&p, &err), ERR_PRUNE_HELD, "no whole backup since the last prune");
    prune_plan_free(&p);
    work_kit_end(&k);
}

static void a_plan_is_stale_once_the_log_has_grown(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    struct prune_done d;
    struct prune_plan again;
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 4);
    struct prune_plan p = planned(&k, "dev", false, 0);
    assert_works(prune_plan_store(k.work, &p, &err));
    assert_works(prune_plan_load(k.work, p.id, &again, &err));
    assert_string_equal(again.digest, p.digest);
    prune_plan_free(&again);
    uint64_t newest = work_kit_point(&k, "other", BYTES, 9);
    assert_fails(prune_plan_load(k.work, p.id, &again, &err), ERR_PLAN_STALE, p.id, "does not hold any more");
    assert_fails(prune_run(k.work, &p, NULL, &d, &err), ERR_PLAN_STALE, "log size");
    assert_false(work_kit_info(&k, seqs[0])->forgotten);
    assert_false(work_kit_info(&k, newest)->forgotten);
    assert_fails(prune_plan_load(k.work, "pln-000000000000", &again, &err), ERR_PLAN_STALE, "not in the cache folder");
    assert_fails(prune_plan_load(k.work, "../../etc/passwd", &again, &err), ERR_USAGE, "no plan's id");
    prune_plan_free(&p);
    work_kit_end(&k);
}

static void a_plan_that_was_carried_out_is_gone(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    struct prune_done d;
    struct prune_plan again;
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 4);
    struct prune_plan p = planned(&k, "dev", false, PRUNE_GRACE_NS);
    assert_works(prune_plan_store(k.work, &p, &err));
    assert_works(prune_run(k.work, &p, NULL, &d, &err));
    assert_int_equal(d.freed_packs, d.repacked_packs);
    assert_true(d.young_bytes > 0); /* the grace keeps them */
    assert_fails(prune_plan_load(k.work, p.id, &again, &err), ERR_PLAN_STALE, "carried out");
    prune_plan_free(&p);
    p = planned(&k, "dev", true, 0);
    assert_true(p.unused_bytes >= BYTES);
    assert_int_equal(p.count, 0);
    assert_works(prune_run(k.work, &p, NULL, &d, &err));
    assert_int_equal(d.forgotten, 0);
    assert_true(d.freed_bytes >= BYTES);
    work_kit_expect(&k, seqs[3], BYTES, 4);
    prune_plan_free(&p);
    work_kit_end(&k);
}

static void a_protected_environment_wants_the_phrase(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    struct prune_done d;
    (void)state;
    work_kit_begin(&k, "    protected: true\n" LAST_2);
    points(&k, seqs, 4);
    struct prune_plan p = planned(&k, "dev/files", false, 0);
    assert_string_equal(p.phrase, "prune dev/files");
    assert_fails(prune_run(k.work, &p, NULL, &d, &err), ERR_CONFIRM, "prune dev/files");
    assert_fails(prune_run(k.work, &p, "prune dev/all", &d, &err), ERR_CONFIRM, "another");
    assert_false(work_kit_info(&k, seqs[0])->forgotten);
    assert_works(prune_run(k.work, &p, "prune dev/files", &d, &err));
    assert_true(work_kit_info(&k, seqs[0])->forgotten);
    prune_plan_free(&p);
    work_kit_end(&k);
}

static void only_keys_that_may_prune_do(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    struct prune_done d;
    char restore[160], prune[160];
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 4);
    work_kit_key(&k, ROLE_RESTORE, restore);
    work_kit_key(&k, ROLE_PRUNE, prune);
    work_kit_open(&k, restore);
    struct prune_plan p = planned(&k, "dev", false, 0);
    assert_int_equal(p.forgotten, 2);
    assert_false(p.unused_known);
    assert_fails(prune_run(k.work, &p, NULL, &d, &err), ERR_KEY_ROLE, "this one is a restore key");
    prune_plan_free(&p);
    work_kit_open(&k, prune);
    p = planned(&k, "dev", false, 0);
    assert_works(prune_run(k.work, &p, NULL, &d, &err));
    assert_int_equal(d.forgotten, 2);
    prune_plan_free(&p);
    work_kit_end(&k);
}

static void a_damaged_point_is_not_proof(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 4);
    work_kit_verify(&k, seqs[3], VERIFY_CHECKSUM, false);
    struct prune_plan p = planned(&k, "dev", false, 0);
    assert_int_equal(p.list[0].points[2].verdict.decision, RETENTION_KEEP);
    assert_fails(prune_plan_check(&p, &err), ERR_PRUNE_HELD, "is damaged");
    prune_plan_free(&p);
    work_kit_end(&k);
}

/* A store in which somebody commits, or collects, each time that a collection has marked. */
static struct {
    const struct store_ops *ops;
    struct store_ops table;
    struct work_kit *kit;
    unsigned marked;
    bool collects;
} crowd;

static int crowd_list(struct store *s, const char *prefix, store_list_cb cb, void *ctx, struct error *err) {
    if (strcmp(prefix, "sess/") == 0) {
        struct error e = ERROR_INIT;
        crowd.marked++;
        if (crowd.collects) kit_ok(repo_sync(crowd.kit->kit.repo, &e), &e);
        if (crowd.collects)
            kit_ok(repo_reindex(crowd.kit->kit.repo, &e), &e);
        else
            work_kit_point(crowd.kit, "other", 500, 100 + crowd.marked);
    }
    return crowd.ops->list(s, prefix, cb, ctx, err);
}

static void crowd_begin(struct work_kit *k, bool collects) {
    crowd.ops = k->work->store->ops;
    crowd.table = *crowd.ops;
    crowd.table.list = crowd_list;
    crowd.kit = k;
    crowd.marked = 0;
    crowd.collects = collects;
    k->work->store->ops = &crowd.table;
}

static void among_those_who_never_pause_prune_marks_once(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    struct prune_done d;
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 4);
    struct prune_plan p = planned(&k, "dev", false, 0);
    crowd_begin(&k, false);
    assert_works(prune_run(k.work, &p, NULL, &d, &err));
    k.work->store->ops = crowd.ops;
    assert_int_equal(crowd.marked, 1);
    assert_true(d.freed_bytes >= BYTES);
    work_kit_expect(&k, seqs[2], BYTES, 3);
    work_kit_expect(&k, seqs[3], BYTES, 4);
    prune_plan_free(&p);
    work_kit_end(&k);
}

static void among_those_who_collect_all_the_time_it_is_busy(void **state) {
    struct work_kit k;
    uint64_t seqs[4];
    struct prune_done d;
    (void)state;
    work_kit_begin(&k, LAST_2);
    points(&k, seqs, 4);
    struct prune_plan p = planned(&k, "dev", false, 0);
    crowd_begin(&k, true);
    {
        struct error err = ERROR_INIT;
        assert_int_equal(prune_run(k.work, &p, NULL, &d, &err), -ERR_REPO_BUSY);
        assert_int_equal(error_info(err.code)->status, EXIT_BUSY);
        assert_non_null(strstr(err.text, "each of the 16 times that this collection had marked what is in use"));
        assert_non_null(strstr(err.state, "2 recovery points were forgotten; the space that was not freed"));
        assert_non_null(strstr(err.next, "Run 'proofkeep prune' again"));
    }
    k.work->store->ops = crowd.ops;
    assert_int_equal(crowd.marked, 16);
    work_kit_expect(&k, seqs[2], BYTES, 3);
    work_kit_expect(&k, seqs[3], BYTES, 4);
    prune_plan_free(&p);
    /* once they pause, the next run frees it */
    p = planned(&k, "dev", true, 0);
    assert_works(prune_run(k.work, &p, NULL, &d, &err));
    assert_true(d.freed_bytes >= BYTES);
    prune_plan_free(&p);
    work_kit_end(&k);
}

/* More of them than an entry of the log takes: whatever is cut off between two entries leaves no part of a set. */
static void no_entry_forgets_part_of_a_set(void **state) {
    enum { SETS = 700, SURFACES = 3 };
    static struct prune_point rows[SURFACES][SETS];
    struct prune_surface surfaces[SURFACES] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    struct prune_plan p = {.list = surfaces, .count = SURFACES};
    uint64_t *seqs;
    size_t *sizes, n, at = 0;
    (void)state;
    for (unsigned k = 0; k < SURFACES; k++) {
        surfaces[k].points = rows[k];
        surfaces[k].point_count = SETS;
        for (unsigned i = 0; i < SETS; i++)
            rows[k][i] = (struct prune_point){
                .seq = 4 * i + 1 + k, .set = 4 * i + 4, .verdict.decision = i % 7 ? RETENTION_FORGET : RETENTION_KEEP};
    }
    assert_works(prune_sets_order(&p, &seqs, &sizes, &n, &err));
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        assert_true(sizes[i] <= 1024 && sizes[i] % SURFACES == 0);
        assert_int_equal((seqs[at] - 1) % 4, 0); /* the first of its set */
        at += sizes[i];
    }
    assert_int_equal(at, SETS / 7 * 6 * SURFACES);
    seam_free(seqs);
    seam_free(sizes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_entry_forgets_part_of_a_set),
        cmocka_unit_test(a_plan_forgets_frees_and_leaves_the_rest_whole),
        cmocka_unit_test(nothing_is_forgotten_without_rules_or_proof),
        cmocka_unit_test(an_unproven_newest_point_holds_the_whole_run),
        cmocka_unit_test(a_second_prune_without_a_new_backup_is_held),
        cmocka_unit_test(a_plan_is_stale_once_the_log_has_grown),
        cmocka_unit_test(a_plan_that_was_carried_out_is_gone),
        cmocka_unit_test(a_protected_environment_wants_the_phrase),
        cmocka_unit_test(only_keys_that_may_prune_do),
        cmocka_unit_test(a_damaged_point_is_not_proof),
        cmocka_unit_test(among_those_who_never_pause_prune_marks_once),
        cmocka_unit_test(among_those_who_collect_all_the_time_it_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
