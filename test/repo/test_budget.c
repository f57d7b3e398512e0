/* Checks within a budget: what was seen longest ago comes first, and each run goes on where the one before it stopped.
 */
#include "harness/claims.h"
#include "repo/check_budget.h"
#include "repo_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIG (8u << 20)
#define PACKS_MAX 32
#define HOUR_NS (INT64_C(3600) * 1000000000)
#define AT_ONCE_MAX 2 /* packs that are hashed side by side, and so taken on together */

static uint8_t *noise;

static int any_finding(void *ctx, const struct check_finding *f, struct error *err) {
    (void)f, (void)err;
    ++*(unsigned *)ctx;
    return 0;
}

static struct check_totals checked_for(struct kit *k, enum verify_level level, struct check_budget budget,
                                       unsigned *findings) {
    struct error err = ERROR_INIT;
    struct check_totals t;
    struct check_options o = {.level = level, .budget = &budget, .threads = 2, .ctx = findings, .finding = any_finding};
    kit_ok(repo_check(k->repo, &o, &t, &err), &err);
    return t;
}

/* One run that has room for next to nothing; every run takes on something. */
static struct check_totals checked_once(struct kit *k, enum verify_level level, unsigned *findings) {
    return checked_for(k, level, (struct check_budget){.bytes = 1, .window_ns = HOUR_NS}, findings);
}

static struct checked memory_of(struct kit *k) {
    struct error err = ERROR_INIT;
    struct checked c;
    char path[300];
    snprintf(path, sizeof path, "%s/%s/checked", k->cache_dir, repo_id_hex(k->repo));
    kit_ok(checked_load(path, &c, &err), &err);
    return c;
}

/* How many rows a run has renewed; none that it left was seen longer ago than one of them. */
static uint64_t renewed(const struct checked *before, const struct checked *after, enum checked_level level) {
    int64_t newest = 0;
    uint64_t n = 0;
    assert_int_equal(before->n, after->n);
    for (size_t i = 0; i < after->n; i++) {
        const int64_t was = before->rows[i].at_ns[level];
        assert_memory_equal(&before->rows[i].name, &after->rows[i].name, sizeof(struct digest));
        if (was == after->rows[i].at_ns[level]) continue;
        assert_true(after->rows[i].at_ns[level] > was);
        if (was > newest) newest = was;
        n++;
    }
    for (size_t i = 0; i < after->n; i++)
        if (before->rows[i].at_ns[level] == after->rows[i].at_ns[level])
            assert_true(before->rows[i].at_ns[level] >= newest);
    return n;
}

static void what_was_seen_longest_ago_comes_first(void **state) {
    (void)state;
    for (enum verify_level level = VERIFY_CHECKSUM; level <= VERIFY_DECODE; level++) {
        const enum checked_level of = level >= VERIFY_DECODE ? CHECKED_DECODE : CHECKED_CHECKSUM;
        struct kit k;
        struct kit_item it[] = {{"a", CONTENT_FILE, noise, BIG}};
        unsigned findings = 0;
        kit_begin(&k);
        kit_backup(&k, "t", it, 1, true, NULL);
        struct check_totals t = checked_once(&k, level, &findings);
        const uint64_t n = t.packs;
        uint64_t taken = n - t.packs_left;
        assert_in_range(n, 8, PACKS_MAX);
        assert_in_range(taken, 1, AT_ONCE_MAX);
        /* Three rounds: the first meets what was never seen, the others what was. The handle is another each time. */
        while (taken < 3 * n) {
            struct checked before = memory_of(&k);
            kit_reopen(&k, false);
            t = checked_once(&k, level, &findings);
            struct checked after = memory_of(&k);
            uint64_t now = renewed(&before, &after, of);
            assert_in_range(now, 1, AT_ONCE_MAX);
            assert_int_equal(t.packs_left, n - now);
            taken += now;
            assert_int_equal(t.oldest_ns != 0, taken >= n);
            assert_int_equal(t.bytes_covered == t.pack_bytes, taken >= n);
            checked_free(&before);
            checked_free(&after);
        }
        assert_int_equal(findings, 0);
        kit_end(&k);
    }
}

static void what_is_new_goes_before_what_was_seen(void **state) {
    struct kit k;
    struct kit_item it[] = {{"a", CONTENT_FILE, noise, BIG / 2}, {"b", CONTENT_FILE, noise + BIG / 2, BIG / 2}};
    unsigned findings = 0;
    (void)state;
    kit_begin(&k);
    kit_backup(&k, "t", it, 1, true, NULL);
    while (!checked_once(&k, VERIFY_CHECKSUM, &findings).oldest_ns) continue;
    struct checked known = memory_of(&k);
    kit_backup(&k, "t", it, 2, true, NULL);
    struct check_totals t = checked_once(&k, VERIFY_CHECKSUM, &findings);
    const uint64_t more = t.packs - known.n;
    uint64_t taken = t.packs - t.packs_left;
    assert_in_range(more, AT_ONCE_MAX + 1, PACKS_MAX);
    for (; taken + AT_ONCE_MAX <= more; taken += t.packs - t.packs_left) {
        assert_int_equal(t.oldest_ns, 0);
        t = checked_once(&k, VERIFY_CHECKSUM, &findings);
    }
    /* no run was spent on what the first point had */
    struct checked now = memory_of(&k);
    size_t again = 0, fresh = 0;
    for (size_t i = 0; i < now.n; i++) {
        const struct checked_row *was = checked_find(&known, &now.rows[i].name);
        if (!was)
            fresh += now.rows[i].at_ns[CHECKED_CHECKSUM] != 0;
        else
            again += now.rows[i].at_ns[CHECKED_CHECKSUM] != was->at_ns[CHECKED_CHECKSUM];
    }
    assert_int_equal(again, 0);
    assert_int_equal(fresh, taken);
    checked_free(&known);
    checked_free(&now);
    assert_int_equal(findings, 0);
    kit_end(&k);
}

static void a_budget_of_time_ends_as_one_of_bytes_does(void **state) {
    struct kit k;
    struct kit_item it[] = {{"a", CONTENT_FILE, noise, BIG}};
    unsigned findings = 0;
    uint64_t runs = 0;
    (void)state;
    kit_begin(&k);
    kit_backup(&k, "t", it, 1, true, NULL);
    struct check_totals t;
    do {
        t = checked_for(&k, VERIFY_DECODE, (struct check_budget){.ns = 1, .window_ns = HOUR_NS}, &findings);
        assert_in_range(t.packs - t.packs_left, 1, AT_ONCE_MAX);
        assert_true(++runs <= t.packs);
    } while (!t.oldest_ns);
    assert_true(runs >= t.packs / AT_ONCE_MAX);
    t = checked_for(&k, VERIFY_DECODE, (struct check_budget){.ns = HOUR_NS, .window_ns = HOUR_NS}, &findings);
    assert_int_equal(t.packs_left, 0);
    assert_int_equal(findings, 0);
    kit_end(&k);
}

int main(void) {
    noise = malloc(BIG);
    if (!noise) abort();
    kit_random(noise, BIG, 3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_seen_longest_ago_comes_first),
        cmocka_unit_test(what_is_new_goes_before_what_was_seen),
        cmocka_unit_test(a_budget_of_time_ends_as_one_of_bytes_does),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(noise);
    return failed;
}
