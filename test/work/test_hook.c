#include "work_kit.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "work/hook.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Hooks are of the user's making: a shell is one. */
static int run_line(struct work_kit *k, const char *line, int64_t timeout_ns, const json_t *facts, struct error *err) {
    const char *words[] = {"/bin/sh", "-c", line, NULL};
    const struct config_hook h = {.run = {words, 3},
                                  .timeout = {timeout_ns ? CONFIG_SET : CONFIG_UNSET, timeout_ns, "as given"}};
    const struct hook_event event = {.hook = "freeze", .surface = "files", .action = "backup", .facts = facts};
    return hook_run(k->work, config_environment(k->work->config, "dev"), &h, &event, NULL, err);
}

static void a_hook_is_told_what_it_is_for(void **state) {
    struct work_kit k;
    char line[9000], text[600] = "", path[4200];
    (void)state;
    work_kit_begin(&k, NULL);
    snprintf(path, sizeof path, "%s/told-dev", k.work->scratch_dir);
    snprintf(line, sizeof line, "cat > %s/told-{env}; env >> %s/told-{env}", k.work->scratch_dir, k.work->scratch_dir);
    json_t *facts = json_pack("{s:s}", "port", "5433");
    setenv("PK_TEST_LEAKS", "1", 1);
    assert_works(run_line(&k, line, 0, facts, &err));
    json_decref(facts);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(text, "\"hook\":\"freeze\""));
    assert_non_null(strstr(text, "\"environment\":\"dev\""));
    assert_non_null(strstr(text, "\"surface\":\"files\""));
    assert_non_null(strstr(text, "\"action\":\"backup\""));
    assert_non_null(strstr(text, "\"facts\":{\"port\":\"5433\"}"));
    assert_null(strstr(text, "PK_TEST_LEAKS"));
    work_kit_end(&k);
}

static void a_failing_hook_is_named_with_its_last_words(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, NULL);
    assert_fails(run_line(&k, "echo the queue is not empty >&2; exit 3", 0, NULL, &err), ERR_HOOK,
                 "'freeze' of dev/files", "status 3", "the queue is not empty");
    assert_fails(run_line(&k, "exec sleep 60", NS_PER_S / 5, NULL, &err), ERR_HOOK_TIME, "did not end within 0.2 s");
    work_kit_end(&k);
}

static void what_a_hook_says_holds_no_secret(void **state) {
    struct work_kit k;
    struct error err = ERROR_INIT;
    (void)state;
    work_kit_begin(&k, NULL);
    kit_ok(known_secrets_add(&k.work->known, BYTES_STR("hunter22"), &err), &err);
    int rc = run_line(&k, "echo password hunter22 refused; exit 1", 0, NULL, &err);
    assert_int_equal(rc, -ERR_HOOK);
    assert_null(strstr(err.text, "hunter22"));
    assert_non_null(strstr(err.text, "refused"));
    work_kit_end(&k);
}

/* After a stop was asked for, what undoes must still be done. */
static void a_hook_that_begins_after_a_stop_runs_to_its_end(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, NULL);
    atomic_store(&stop_signal, 2);
    struct error err = ERROR_INIT;
    int rc = run_line(&k, "sleep 0.4; cat > /dev/null", 0, NULL, &err);
    atomic_store(&stop_signal, 0);
    kit_ok(rc, &err);
    work_kit_end(&k);
}

static void hooks_are_found_by_their_words(void **state) {
    struct config_hook a = {0}, b = {0};
    const struct config_hooks hooks = {.freeze = &a, .switch_over = &b};
    (void)state;
    assert_ptr_equal(hook_find(&hooks, "freeze"), &a);
    assert_ptr_equal(hook_find(&hooks, "switch"), &b);
    assert_null(hook_find(&hooks, "resume"));
    assert_null(hook_find(&hooks, "checks"));
    assert_null(hook_find(NULL, "freeze"));
}

int main(void) {
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hook_is_told_what_it_is_for),
        cmocka_unit_test(a_failing_hook_is_named_with_its_last_words),
        cmocka_unit_test(what_a_hook_says_holds_no_secret),
        cmocka_unit_test(a_hook_that_begins_after_a_stop_runs_to_its_end),
        cmocka_unit_test(hooks_are_found_by_their_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
