#include "cli/listing.h"
#include "cli_test.h"
#include "harness/fault.h"

#include <fcntl.h>

static struct capture cap;

static void jobs_print_lines_and_end_with_the_result(void **state) {
    struct error none = ERROR_INIT;
    (void)state;
    capture_begin(&cap);
    struct output *o = capture_output(&cap, true);
    output_set_job(o, "job-1");
    output_event(o, "plan", json_pack("{s:i}", "steps", 3));
    output_warning(o, "prod/x", "odd name %s", "a\x1b[31m\xff");
    output_set_result(o, json_pack("{s:s}", "snapshot", "bkp-1"));
    assert_int_equal(output_finish(o, &none, true), EXIT_OK);
    output_event(o, "late", NULL);
    output_free(o);
    capture_end(&cap);
    assert_contains(cap.out, "\"type\":\"plan\"");
    assert_contains(cap.out, "\"surface\":\"prod/x\"");
    assert_contains(cap.out, "odd name a\\\\x1b[31m\\\\xff");
    assert_lacks(cap.out, "late");
    assert_string_equal(cap.err, "");
    json_t *j = last_line(cap.out);
    assert_string_equal(json_string_value(json_object_get(j, "type")), "result");
    assert_string_equal(json_string_value(json_object_get(j, "job")), "job-1");
    assert_string_equal(json_string_value(json_object_get(j, "snapshot")), "bkp-1");
    assert_string_equal(json_string_value(json_object_get(j, "status")), "OK");
    assert_int_equal(json_integer_value(json_object_get(j, "exit")), 0);
    assert_int_equal(json_integer_value(json_object_get(j, "seq")), 2);
    assert_int_equal(json_integer_value(json_object_get(j, "v")), 1);
    json_decref(j);
}

static void a_query_prints_one_document(void **state) {
    struct error none = ERROR_INIT, err = ERROR_INIT;
    json_t *j = NULL;
    (void)state;
    capture_begin(&cap);
    struct output *o = capture_output(&cap, true);
    output_print(o, "not for programs\n");
    output_remark(o, "nor this");
    output_document(o, json_pack("{s:[]}", "points"));
    assert_int_equal(output_finish(o, &none, false), EXIT_OK);
    output_free(o);
    capture_end(&cap);
    assert_int_equal(json_parse(BYTES_STR(cap.out), JSON_MAX_BYTES, "document", &j, &err), 0);
    assert_non_null(json_object_get(j, "points"));
    assert_string_equal(cap.err, "");
    json_decref(j);
}

static void usage_errors_end_with_the_result_too(void **state) {
    static const char *const lines[] = {"--json", "--json zebra", "restore --json --zebra", "list --json --color=red",
                                        "hold zebra --json"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(capture_run(&cap, lines[i]), EXIT_USAGE);
        json_t *j = last_line(cap.out), *error = json_object_get(j, "error");
        assert_string_equal(json_string_value(json_object_get(j, "type")), "result");
        assert_int_equal(json_integer_value(json_object_get(j, "exit")), 2);
        assert_string_equal(json_string_value(json_object_get(error, "code")), "PK-USE-001");
        assert_string_equal(json_string_value(json_object_get(error, "state")), "nothing was touched");
        assert_string_equal(cap.err, "");
        json_decref(j);
    }
}

static void an_error_says_what_why_state_and_next(void **state) {
    struct error e = ERROR_INIT;
    (void)state;
    capture_begin(&cap);
    struct output *o = capture_output(&cap, false);
    output_print(o, "data first\n");
    (void)!error_set(&e, ERR_SOURCE_MISSING, "prod/x: /srv/x is not there");
    (void)!error_state(&e, "nothing was written; the last good point is 1 h old");
    assert_int_equal(output_finish(o, &e, true), EXIT_FAILED);
    output_free(o);
    capture_end(&cap);
    assert_string_equal(cap.out, "data first\n");
    assert_string_equal(cap.err, "error PK-SRC-004: The source is not there\n"
                                 "  why:   prod/x: /srv/x is not there\n"
                                 "  state: nothing was written; the last good point is 1 h old\n"
                                 "  next:  Check the surface's paths or connection.\n"
                                 "  docs:  proofkeep help PK-SRC-004\n");
}

static void every_error_exits_with_its_own_status(void **state) {
    (void)state;
    for (int code = 1; code < ERR_COUNT; code++) {
        struct error e = ERROR_INIT;
        (void)!error_set(&e, (enum error_code)code, "why");
        capture_begin(&cap);
        struct output *o = capture_output(&cap, false);
        assert_int_equal(output_finish(o, &e, false), error_info(code)->status);
        output_free(o);
        capture_end(&cap);
        assert_contains(cap.err, error_info(code)->code);
    }
}

static void a_lost_standard_output_is_a_failure(void **state) {
    struct error none = ERROR_INIT;
    (void)state;
    for (int json = 0; json < 2; json++) {
        capture_begin(&cap);
        struct output_config config = {.out_fd = open("/dev/full", O_WRONLY), .err_fd = cap.err_fd, .json = json};
        struct error err = ERROR_INIT;
        struct output *o = NULL;
        assert_int_equal(output_new(&config, &o, &err), 0);
        output_print(o, "text");
        output_document(o, json_object());
        assert_int_equal(output_alive(o), !json);
        assert_int_equal(output_finish(o, &none, false), EXIT_FAILED);
        output_free(o);
        close(config.out_fd);
        capture_end(&cap);
        assert_contains(cap.err, "error PK-IO-003");
        assert_contains(cap.err, "standard output");
        assert_contains(cap.err, "No space left on device");
        assert_contains(cap.err, "state: what was printed is incomplete");
    }
}

static void names_cannot_drive_the_terminal(void **state) {
    struct error none = ERROR_INIT, err = ERROR_INIT;
    struct buf b = BUF_INIT(1024);
    (void)state;
    capture_begin(&cap);
    struct output *o = capture_output(&cap, false);
    output_print(o, "%s|\n", "\x1b]0;x\x07 \xc2\x9b \xe2\x80\xae ok \xc3\xbc");
    output_warning(o, "a\nb", "c\nd");
    assert_int_equal(output_finish(o, &none, false), EXIT_OK);
    output_free(o);
    capture_end(&cap);
    assert_string_equal(cap.out, "\\x1b]0;x\\x07 \\xc2\\x9b \\xe2\\x80\\xae ok \xc3\xbc|\n");
    assert_string_equal(cap.err, "warning: a\\x0ab: c\\x0ad\n");
    assert_int_equal(text_escape(&b, BYTES_OF("a\n\tb", 4), false, &err), 0);
    assert_int_equal(b.len, 10);
    buf_free(&b);
}

static void colour_is_only_where_it_was_asked_for(void **state) {
    struct error none = ERROR_INIT;
    (void)state;
    for (int colour = 0; colour < 2; colour++) {
        capture_begin(&cap);
        struct output_config config = {.out_fd = cap.out_fd, .err_fd = cap.err_fd, .colour_out = colour};
        struct error err = ERROR_INIT;
        struct output *o = NULL;
        assert_int_equal(output_new(&config, &o, &err), 0);
        output_styled(o, STYLE_GOOD, "ON TIME");
        output_warning(o, NULL, "w");
        assert_int_equal(output_finish(o, &none, false), EXIT_OK);
        output_free(o);
        capture_end(&cap);
        assert_string_equal(cap.out, colour ? "\033[32mON TIME\033[0m" : "ON TIME");
        assert_string_equal(cap.err, "warning: w\n");
    }
    assert_int_equal(capture_run(&cap, "--color=always zebra"), EXIT_USAGE);
    assert_contains(cap.err, "\033[31merror PK-USE-001");
    assert_int_equal(capture_run(&cap, "--color=never zebra"), EXIT_USAGE);
    assert_lacks(cap.err, "\033");
}

static void no_color_and_dumb_terminals_are_heeded(void **state) {
    struct output_config c;
    (void)state;
    int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(fd >= 0);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    output_config_detect(&c, fd, fd, "auto");
    assert_true(c.colour_out && c.colour_err && c.live);
    setenv("NO_COLOR", "1", 1);
    output_config_detect(&c, fd, fd, "auto");
    assert_false(c.colour_out || c.colour_err);
    assert_true(c.live);
    output_config_detect(&c, fd, fd, "always");
    assert_true(c.colour_out);
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    output_config_detect(&c, fd, fd, "auto");
    assert_false(c.colour_out || c.colour_err || c.live);
    close(fd);
}

static void quiet_and_verbose_choose_the_remarks(void **state) {
    struct error none = ERROR_INIT;
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        capture_begin(&cap);
        struct output_config config = {.out_fd = cap.out_fd, .err_fd = cap.err_fd, .quiet = i == 0, .verbose = i == 2};
        struct error err = ERROR_INIT;
        struct output *o = NULL;
        assert_int_equal(output_new(&config, &o, &err), 0);
        output_remark(o, "remark");
        output_detail(o, "detail");
        output_warning(o, NULL, "warned");
        assert_int_equal(output_finish(o, &none, false), EXIT_OK);
        output_free(o);
        capture_end(&cap);
        assert_int_equal(strstr(cap.err, "remark") != NULL, i > 0);
        assert_int_equal(strstr(cap.err, "detail") != NULL, i == 2);
        assert_contains(cap.err, "warning: warned\n");
    }
}

static void listings_line_up(void **state) {
    static const struct listing_column columns[] = {{"surface", false}, {"size", true}, {"state", false}};
    static const char *const rows[][3] = {
        {"prod/x", "1.0 GiB", "VERIFIED"}, {"\xc3\xbc/long-name", "3 B", "MISSING"}, {"b", NULL, "x\ty"}};
    struct error none = ERROR_INIT, err = ERROR_INIT;
    struct listing *l = NULL;
    (void)state;
    capture_begin(&cap);
    struct output *o = capture_output(&cap, false);
    assert_int_equal(listing_new(columns, 3, &l, &err), 0);
    listing_print(l, o);
    for (size_t i = 0; i < 3; i++) assert_int_equal(listing_row(l, rows[i], &err), 0);
    listing_style(l, 2, STYLE_BAD);
    assert_int_equal(listing_rows(l), 3);
    listing_print(l, o);
    assert_int_equal(output_finish(o, &none, false), EXIT_OK);
    listing_free(l);
    output_free(o);
    capture_end(&cap);
    assert_string_equal(cap.out, "surface         size  state\n"
                                 "prod/x       1.0 GiB  VERIFIED\n"
                                 "\xc3\xbc/long-name      3 B  MISSING\n"
                                 "b                     x\\x09y\n");
}

static bool finish_under_fault(void) {
    struct error e = ERROR_INIT, err = ERROR_INIT;
    struct output_config config = {.out_fd = cap.out_fd, .err_fd = cap.err_fd, .json = true};
    struct output *o = NULL;
    if (output_new(&config, &o, &err) < 0) return false;
    output_event(o, "plan", json_object());
    (void)!error_set(&e, ERR_KEY_WRONG, "why");
    assert_int_equal(output_finish(o, &e, true), EXIT_WRONG_KEY);
    output_free(o);
    return true;
}

/* Only memory fails here: without a way to write there is no last line to speak of. */
static void the_result_is_printed_even_without_memory(void **state) {
    static const enum seam_op ops[] = {SEAM_alloc, SEAM_realloc};
    unsigned hits = 0;
    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (int from_then_on = 0; from_then_on < 2; from_then_on++)
            for (uint64_t n = 1, more = 1; more; n++) {
                capture_begin(&cap);
                fault_install();
                fault_only(ops[i]);
                fault_fail(n, 0, from_then_on);
                bool begun = finish_under_fault();
                more = fault_hits();
                hits += more > 0;
                fault_remove();
                capture_end(&cap);
                if (!begun) continue;
                json_t *j = last_line(cap.out);
                assert_string_equal(json_string_value(json_object_get(j, "type")), "result");
                assert_int_equal(json_integer_value(json_object_get(j, "exit")), EXIT_WRONG_KEY);
                json_decref(j);
            }
    assert_true(hits > 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_print_lines_and_end_with_the_result),
        cmocka_unit_test(a_query_prints_one_document),
        cmocka_unit_test(usage_errors_end_with_the_result_too),
        cmocka_unit_test(an_error_says_what_why_state_and_next),
        cmocka_unit_test(every_error_exits_with_its_own_status),
        cmocka_unit_test(a_lost_standard_output_is_a_failure),
        cmocka_unit_test(names_cannot_drive_the_terminal),
        cmocka_unit_test(colour_is_only_where_it_was_asked_for),
        cmocka_unit_test(no_color_and_dumb_terminals_are_heeded),
        cmocka_unit_test(quiet_and_verbose_choose_the_remarks),
        cmocka_unit_test(listings_line_up),
        cmocka_unit_test(the_result_is_printed_even_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
