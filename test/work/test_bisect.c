/* The search for the last point that is right, over answers that are known. */
#include "harness/claims.h"

#include "work/bisect.h"

struct world {
    const char *answers; /* c, n, u, oldest first */
    unsigned tries;
    size_t fail_at; /* the try of this candidate is an error */
};

static int answer(void *ctx, size_t i, enum bisect_answer *ret, struct error *err) {
    struct world *w = ctx;
    w->tries++;
    if (i == w->fail_at) return error_set(err, ERR_PG_SCRATCH, "no server");
    *ret = w->answers[i] == 'c' ? BISECT_CLEAN : w->answers[i] == 'n' ? BISECT_NOT : BISECT_UNKNOWN;
    return 0;
}

static struct bisect_found run(struct world *w, bool every) {
    enum bisect_answer answers[256] = {0};
    struct error err = ERROR_INIT;
    struct bisect_found f = {0};
    struct bisect_search s = {.count = strlen(w->answers), .answers = answers, .every = every, .ctx = w, .try = answer};
    w->fail_at = SIZE_MAX;
    w->tries = 0;
    claim_ok(bisect_run(&s, &f, &err), err);
    assert_true(w->tries <= s.count);
    return f;
}

static void every_single_boundary_is_found_in_few_tries(void **state) {
    (void)state;
    char text[201];
    for (size_t n = 2; n <= 200; n += n < 20 ? 1 : 45) {
        for (size_t clean = 1; clean < n; clean++) {
            memset(text, 'n', n);
            memset(text, 'c', clean);
            text[n] = 0;
            struct world w = {.answers = text};
            struct bisect_found f = run(&w, false);
            assert_true(f.has_clean && f.has_not && f.monotonic);
            assert_int_equal(f.last_clean, clean - 1);
            assert_int_equal(f.first_not, clean);
            assert_true(w.tries <= 12);
        }
    }
}

static void both_ends_are_tried_whatever_they_say(void **state) {
    (void)state;
    struct world w = {.answers = "ccccc"};
    struct bisect_found f = run(&w, false);
    assert_true(f.has_clean && !f.has_not && f.monotonic);
    assert_int_equal(f.last_clean, 4);
    w.answers = "nnnnn";
    f = run(&w, false);
    assert_true(!f.has_clean && f.has_not);
    assert_int_equal(w.tries, 5);
    w.answers = "nnncc";
    f = run(&w, false);
    assert_true(f.has_clean && !f.has_not && !f.monotonic);
    w.answers = "c";
    f = run(&w, false);
    assert_true(f.has_clean && !f.has_not);
    assert_int_equal(w.tries, 1);
}

static void what_came_and_went_is_found(void **state) {
    (void)state;
    struct world w = {.answers = "nnnnnccccnnnnnnn"};
    struct bisect_found f = run(&w, false);
    assert_true(f.has_clean && f.has_not && !f.monotonic);
    assert_int_equal(f.last_clean, 8);
    assert_int_equal(f.first_not, 9);
    w.answers = "nnnnnnnnnnncnnnn";
    f = run(&w, false);
    assert_int_equal(f.last_clean, 11);
}

static void answers_that_go_back_and_forth_are_noticed(void **state) {
    (void)state;
    struct world w = {.answers = "ccncccncccccncnn"};
    struct bisect_found f = run(&w, true);
    assert_false(f.monotonic);
    assert_int_equal(w.tries, 16);
    assert_int_equal(f.last_clean, 13);
    assert_int_equal(f.first_not, 14);
    /* The middle of what is thought bad is clean: the search goes on behind it. */
    w.answers = "cnnnnnnnnnncccccnn";
    f = run(&w, false);
    assert_false(f.monotonic && f.last_clean != 0);
    w.answers = "ccccnnnnccccccccnnnn";
    f = run(&w, false);
    assert_int_equal(f.last_clean, 15);
    assert_int_equal(f.first_not, 16);
}

static void points_without_an_answer_are_passed_over(void **state) {
    (void)state;
    struct world w = {.answers = "uccuuunnu"};
    struct bisect_found f = run(&w, false);
    assert_int_equal(f.last_clean, 2);
    assert_int_equal(f.first_not, 6);
    assert_true(f.monotonic);
    w.answers = "uuuu";
    f = run(&w, false);
    assert_true(!f.has_clean && !f.has_not);
}

static void an_error_ends_it(void **state) {
    (void)state;
    enum bisect_answer answers[8] = {0};
    struct error err = ERROR_INIT;
    struct bisect_found f;
    struct world w = {.answers = "cccccnnn", .fail_at = 0};
    struct bisect_search s = {.count = 8, .answers = answers, .ctx = &w, .try = answer};
    claim_fails(bisect_run(&s, &f, &err), err, ERR_PG_SCRATCH, "no server");
    assert_int_equal(w.tries, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_single_boundary_is_found_in_few_tries),
        cmocka_unit_test(both_ends_are_tried_whatever_they_say),
        cmocka_unit_test(what_came_and_went_is_found),
        cmocka_unit_test(answers_that_go_back_and_forth_are_noticed),
        cmocka_unit_test(points_without_an_answer_are_passed_over),
        cmocka_unit_test(an_error_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
