#include "../harness/claims.h"
#include "../harness/fault.h"
#include "../harness/scratch.h"
#include "base/seam.h"
#include "work/journal.h"

static const char *const steps[] = {"freeze", "restore", "switch", NULL};

struct bed {
    struct scratch s;
    char path[4200];
};

static int setup(void **state) {
    static struct bed b;
    scratch_make(&b.s);
    snprintf(b.path, sizeof b.path, "%s", scratch_path(&b.s, "plan.journal"));
    *state = &b;
    return 0;
}

static int teardown(void **state) {
    scratch_remove(&((struct bed *)*state)->s);
    return 0;
}

static void a_new_one_has_its_steps_pending(void **state) {
    struct bed *b = *state;
    struct error err = ERROR_INIT;
    struct journal j;
    char text[4096];
    claim_ok(journal_open(b->path, "digest", steps, &j, &err), err);
    assert_int_equal(journal_steps(&j), 3);
    assert_string_equal(journal_name(&j, 1), "restore");
    assert_string_equal(journal_is(&j), "new");
    for (size_t i = 0; i < 3; i++) assert_int_equal(journal_state(&j, i), STEP_PENDING);
    assert_int_equal(journal_state_of(&j, "no such"), STEP_PENDING);
    journal_close(&j);
    assert_true(scratch_read(&b->s, "plan.journal", text, sizeof text) > 0);
}

static void what_was_begun_and_kept_is_there_after_a_kill(void **state) {
    struct bed *b = *state;
    struct error err = ERROR_INIT;
    struct journal j;
    claim_ok(journal_open(b->path, "digest", steps, &j, &err), err);
    claim_ok(journal_set(&j, "running", &err), err);
    claim_ok(journal_begin(&j, 0, &err), err);
    claim_ok(journal_keep(&j, "before", json_string("off"), &err), err);
    claim_ok(journal_done(&j, 0, json_pack("{s:i}", "ended", 2), &err), err);
    claim_ok(journal_begin(&j, 1, &err), err);
    journal_close(&j); /* as a kill leaves it: the file is all that there is */
    claim_ok(journal_open(b->path, "digest", steps, &j, &err), err);
    assert_string_equal(journal_is(&j), "running");
    assert_int_equal(journal_state_of(&j, "freeze"), STEP_DONE);
    assert_int_equal(journal_state_of(&j, "restore"), STEP_BEGUN);
    assert_int_equal(journal_state_of(&j, "switch"), STEP_PENDING);
    assert_string_equal(json_string_value(journal_kept(&j, "before")), "off");
    assert_null(journal_kept(&j, "nothing"));
    const json_t *first = json_array_get(json_object_get(j.doc, "steps"), 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "detail"), "ended")), 2);
    assert_true(json_is_integer(json_object_get(first, "ms")));
    claim_ok(journal_begin(&j, 1, &err), err);
    const json_t *second = json_array_get(json_object_get(j.doc, "steps"), 1);
    assert_int_equal(json_integer_value(json_object_get(second, "runs")), 2);
    journal_close(&j);
}

static void a_failure_is_told_and_can_be_tried_again(void **state) {
    struct bed *b = *state;
    struct error err = ERROR_INIT, why = ERROR_INIT;
    struct journal j;
    static const char *const again[] = {"restore", "no such", NULL};
    claim_ok(journal_open(b->path, "digest", steps, &j, &err), err);
    claim_ok(journal_begin(&j, 1, &err), err);
    (void)!error_set(&why, ERR_IO_WRITE, "the disk said no");
    claim_ok(journal_failed(&j, 1, json_pack("{s:i}", "looks", 3), &why, &err), err);
    assert_int_equal(journal_state(&j, 1), STEP_FAILED);
    const json_t *s = json_array_get(json_object_get(j.doc, "steps"), 1);
    assert_string_equal(json_string_value(json_object_get(s, "error")), "PK-IO-002: the disk said no");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(s, "detail"), "looks")), 3);
    claim_ok(journal_again(&j, again, &err), err);
    assert_int_equal(journal_state(&j, 1), STEP_PENDING);
    claim_ok(journal_begin(&j, 1, &err), err);
    assert_null(json_object_get(json_array_get(json_object_get(j.doc, "steps"), 1), "error"));
    journal_close(&j);
}

static void two_processes_do_not_have_it_at_once(void **state) {
    struct bed *b = *state;
    struct error err = ERROR_INIT;
    struct journal one, two;
    claim_ok(journal_open(b->path, "digest", steps, &one, &err), err);
    claim_fails(journal_open(b->path, "digest", steps, &two, &err), err, ERR_JOURNAL_BUSY, "held by another process");
    journal_close(&two);
    journal_close(&one);
    claim_ok(journal_open(b->path, "digest", steps, &two, &err), err);
    journal_close(&two);
}

static void what_is_no_journal_of_this_plan_is_refused(void **state) {
    struct bed *b = *state;
    struct error err = ERROR_INIT;
    struct journal j;
    static const char *const fewer[] = {"freeze", "restore", NULL}, *const others[] = {"freeze", "copy", "switch",
                                                                                       NULL};
    claim_ok(journal_open(b->path, "digest", steps, &j, &err), err);
    journal_close(&j);
    claim_fails(journal_open(b->path, "another", steps, &j, &err), err, ERR_JOURNAL, "belongs to something else");
    journal_close(&j);
    claim_fails(journal_open(b->path, "digest", fewer, &j, &err), err, ERR_JOURNAL, "has other steps");
    journal_close(&j);
    claim_fails(journal_open(b->path, "digest", others, &j, &err), err, ERR_JOURNAL, "has other steps");
    journal_close(&j);
    /* clang-format off */
    static const char *const texts[] = {
        "", "{", "[]", "{\"v\":2}", "{\"v\":1,\"subject\":\"digest\"}",
        "{\"v\":1,\"subject\":\"digest\",\"state\":\"new\",\"kept\":{},\"steps\":[{}]}",
        "{\"v\":1,\"subject\":\"digest\",\"state\":\"new\",\"kept\":{},\"steps\":[{\"name\":\"freeze\",\"state\":\"perhaps\"}]}",
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        scratch_write(&b->s, "plan.journal", texts[i], strlen(texts[i]));
        claim_fails(journal_open(b->path, "digest", steps, &j, &err), err, ERR_JOURNAL, "plan.journal");
        journal_close(&j);
    }
}

/* The whole life of a journal, with one call failing: what memory says after it is on disk, too, or was there before.
 */
static void life(void *arg, uint64_t n) {
    struct bed *b = arg;
    struct error err = ERROR_INIT, none = ERROR_INIT;
    struct journal j, again;
    (void)n;
    int rc = journal_open(b->path, "digest", steps, &j, &err);
    if (rc == 0) rc = journal_begin(&j, 0, &err);
    if (rc == 0) rc = journal_keep(&j, "before", json_string("on"), &err);
    if (rc == 0) rc = journal_done(&j, 0, NULL, &err);
    if (rc == 0) rc = journal_set(&j, "done", &err);
    assert_true((rc < 0) == (err.code != ERR_NONE));
    enum step_state said = j.doc ? journal_state(&j, 0) : STEP_PENDING;
    journal_close(&j);
    fault_remove();
    claim_ok(journal_open(b->path, "digest", steps, &again, &none), none);
    assert_true(journal_state(&again, 0) >= said);
    if (journal_state(&again, 0) == STEP_DONE)
        assert_string_equal(json_string_value(journal_kept(&again, "before")), "on");
    journal_close(&again);
    (void)!remove(b->path);
}

static void no_failing_call_loses_what_was_done(void **state) {
    struct bed *b = *state;
    uint64_t hits = 0;
    for (uint64_t n = 1;; n++) {
        fault_install();
        fault_fail(n, 0, false);
        life(b, n);
        if (!fault_hits()) break;
        hits++;
    }
    assert_true(hits > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_one_has_its_steps_pending, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_begun_and_kept_is_there_after_a_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_is_told_and_can_be_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(two_processes_do_not_have_it_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_journal_of_this_plan_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(no_failing_call_loses_what_was_done, setup, teardown),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
