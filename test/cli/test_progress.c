#include "base/seam.h"
#include "base/time.h"
#include "cli_test.h"

static struct capture cap;
static struct seam clocked;
static int64_t now_ns;

static int clock_fixed(clockid_t id, struct timespec *ts) {
    (void)id;
    ts->tv_sec = (time_t)(now_ns / NS_PER_S);
    ts->tv_nsec = (long)(now_ns % NS_PER_S);
    return 0;
}

static int clock_take(void **state) {
    (void)state;
    clocked = seam_system;
    clocked.clock_gettime = clock_fixed;
    seam_table = &clocked;
    now_ns = 1000 * NS_PER_S;
    return 0;
}

static int clock_give_back(void **state) {
    (void)state;
    seam_table = &seam_system;
    return 0;
}

static size_t count(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part)) n++;
    return n;
}

static void run_for(struct output *o, const char *phase, int seconds, uint64_t total) {
    for (int i = 0; i <= seconds; i++) {
        struct progress_point p = {"prod/x", phase, (uint64_t)i << 20, total, 0, 0};
        output_progress(o, &p);
        now_ns += NS_PER_S;
    }
}

static void a_log_gets_a_line_a_phase_and_one_every_30_s(void **state) {
    struct error none = ERROR_INIT;
    (void)state;
    capture_begin(&cap);
    struct output *o = capture_output(&cap, false);
    run_for(o, "read", 90, 0);
    run_for(o, "copy", 40, 100u << 20);
    output_progress_end(o, "prod/x", STYLE_GOOD, "done, %d files", 3);
    assert_int_equal(output_finish(o, &none, true), EXIT_OK);
    output_free(o);
    capture_end(&cap);
    assert_string_equal(cap.out, "");
    assert_int_equal(count(cap.err, "prod/x: read"), 4);
    assert_int_equal(count(cap.err, "prod/x: copy"), 2);
    assert_contains(cap.err, "prod/x: read\n");
    assert_contains(cap.err, "prod/x: read: ~ 30 MiB, 1 MiB/s\n");
    assert_contains(cap.err, "prod/x: copy: 30%, 30 MiB of 100 MiB, 1 MiB/s, ");
    assert_contains(cap.err, " left\n");
    assert_contains(cap.err, "prod/x: done, 3 files\n");
}

static void programs_get_at_most_an_event_a_second(void **state) {
    struct error none = ERROR_INIT;
    (void)state;
    capture_begin(&cap);
    struct output *o = capture_output(&cap, true);
    for (int i = 0; i <= 50; i++) {
        struct progress_point p = {"prod/x", "copy", (uint64_t)i * 1000, 100000, 77, 5};
        output_progress(o, &p);
        now_ns += NS_PER_S / 10;
    }
    assert_int_equal(output_finish(o, &none, true), EXIT_OK);
    output_free(o);
    capture_end(&cap);
    assert_int_equal(count(cap.out, "\"type\":\"phase\""), 1);
    assert_int_equal(count(cap.out, "\"type\":\"progress\""), 5);
    assert_contains(cap.out, "\"bytes\":50000,\"eta_s\":5,\"items\":5,\"phase\":\"copy\",\"rate\":10000,\"seq\":5,"
                             "\"stored\":77,\"surface\":\"prod/x\"");
    assert_contains(cap.out, "\"total\":100000");
    assert_string_equal(cap.err, "");
}

static void a_terminal_is_redrawn_ten_times_a_second(void **state) {
    struct error none = ERROR_INIT, err = ERROR_INIT;
    struct output *o = NULL;
    (void)state;
    capture_begin(&cap);
    struct output_config config = {.out_fd = cap.out_fd, .err_fd = cap.err_fd, .live = true, .columns = 60};
    assert_int_equal(output_new(&config, &o, &err), 0);
    for (int i = 0; i < 100; i++) {
        struct progress_point p = {"prod/x", "copy", (uint64_t)i << 20, 200u << 20, 0, 0};
        output_progress(o, &p);
        now_ns += NS_PER_S / 100;
    }
    struct progress_point other = {"prod/y", "read", 5, 0, 0, 0};
    output_progress(o, &other);
    output_remark(o, "a remark");
    output_progress_end(o, "prod/x", STYLE_PLAIN, "done");
    assert_int_equal(output_finish(o, &none, true), EXIT_OK);
    output_free(o);
    capture_end(&cap);
    assert_int_equal(count(cap.err, "prod/x               copy"), 12);
    assert_contains(cap.err, "#######--------- ");
    assert_contains(cap.err, "prod/y               read      ~ 5 B");
    /* Two lines up, cleared, the remark, and both lines again. */
    assert_contains(cap.err, "\033[2A\r\033[Ja remark\nprod/x ");
    assert_contains(cap.err, "\033[2A\r\033[Jprod/x: done\nprod/y ");
    /* Nothing of it stays at the end. */
    assert_string_equal(cap.err + strlen(cap.err) - strlen("\033[1A\r\033[J"), "\033[1A\r\033[J");
    for (const char *line = cap.err; *line;) {
        size_t len = strcspn(line, "\n");
        assert_true(len < 60 + 16);
        line += len + (line[len] == '\n');
    }
}

static void quiet_has_no_progress_but_failures(void **state) {
    struct error none = ERROR_INIT, err = ERROR_INIT;
    struct output *o = NULL;
    (void)state;
    capture_begin(&cap);
    struct output_config config = {.out_fd = cap.out_fd, .err_fd = cap.err_fd, .quiet = true};
    assert_int_equal(output_new(&config, &o, &err), 0);
    run_for(o, "read", 90, 0);
    output_progress_end(o, "prod/x", STYLE_GOOD, "done");
    output_progress_end(o, "prod/y", STYLE_BAD, "failed");
    assert_int_equal(output_finish(o, &none, true), EXIT_OK);
    output_free(o);
    capture_end(&cap);
    assert_string_equal(cap.err, "prod/y: failed\n");
}

static void any_number_of_surfaces_is_survived(void **state) {
    struct error none = ERROR_INIT;
    (void)state;
    capture_begin(&cap);
    struct output *o = capture_output(&cap, false);
    for (int i = 0; i < 100; i++) {
        char name[300];
        snprintf(name, sizeof name, "surface-%d-%0200d", i, 0);
        struct progress_point p = {name, "read", 1, 0, 0, 0};
        output_progress(o, &p);
    }
    assert_int_equal(output_finish(o, &none, true), EXIT_OK);
    output_free(o);
    capture_end(&cap);
    assert_int_equal(count(cap.err, ": read"), 32);
}

int main(void) {
#define CLAIM(f) cmocka_unit_test_setup_teardown(f, clock_take, clock_give_back)
    const struct CMUnitTest tests[] = {
        CLAIM(a_log_gets_a_line_a_phase_and_one_every_30_s), CLAIM(programs_get_at_most_an_event_a_second),
        CLAIM(a_terminal_is_redrawn_ten_times_a_second),     CLAIM(quiet_has_no_progress_but_failures),
        CLAIM(any_number_of_surfaces_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
