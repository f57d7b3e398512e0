#include "cli_test.h"
#include "harness/fault.h"

static struct line line;

static struct options *parsed(const char *text) {
    struct error err = ERROR_INIT;
    struct options *o = NULL;
    line_split(&line, text);
    if (options_parse(line.argc, line.argv, &o, &err) < 0) fail_msg("%s: %s", text, err.text);
    return o;
}

static void refused(const char *text, const char *why, const char *next) {
    struct error err = ERROR_INIT;
    struct options *o = NULL;
    line_split(&line, text);
    assert_int_equal(options_parse(line.argc, line.argv, &o, &err), -ERR_USAGE);
    assert_null(o);
    assert_string_equal(err.text, why);
    assert_string_equal(err.next, next);
}

static void values_are_read_in_every_spelling(void **state) {
    static const char *const lines[] = {"backup -r repo prod/x", "backup -rrepo prod/x",
                                        "backup --repository repo prod/x", "--repository=repo backup prod/x",
                                        "backup prod/x -r repo"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct options *o = parsed(lines[i]);
        assert_int_equal(options_verb(o), VERB_BACKUP);
        assert_string_equal(options_text(o, OPT_REPOSITORY), "repo");
        assert_string_equal(options_operand(o, 0), "prod/x");
        assert_null(options_operand(o, 1));
        options_free(o);
    }
}

static void values_have_the_type_of_their_option(void **state) {
    (void)state;
    struct options *o = parsed("backup x --jobs 3 -vvq --verbose --full-read");
    assert_int_equal(options_count(o, OPT_JOBS, 9), 3);
    assert_int_equal(options_switches(o, OPT_VERBOSE), 3);
    assert_true(options_flag(o, OPT_QUIET));
    assert_true(options_flag(o, OPT_FULL_READ));
    assert_false(options_flag(o, OPT_DRY_RUN));
    options_free(o);
    o = parsed("prune prod --grace 1h30m");
    assert_int_equal(options_duration(o, OPT_GRACE, 9), INT64_C(5400) * 1000000000);
    assert_int_equal(options_count(o, OPT_JOBS, 9), 9);
    options_free(o);
    o = parsed("prune prod");
    assert_int_equal(options_duration(o, OPT_GRACE, 9), 9);
    assert_null(options_text(o, OPT_REPOSITORY));
    options_free(o);
}

static void repeated_values_keep_their_order(void **state) {
    size_t n;
    (void)state;
    struct options *o = parsed("restore x --path a --path=b --path c");
    const char *const *list = options_list(o, OPT_PATH, &n);
    assert_int_equal(n, 3);
    assert_string_equal(list[0], "a");
    assert_string_equal(list[2], "c");
    assert_null(list[3]);
    options_free(o);
    o = parsed("restore x");
    assert_null(options_list(o, OPT_PATH, &n)[0]);
    assert_int_equal(n, 0);
    options_free(o);
}

static void files_takes_the_operands_as_well(void **state) {
    size_t n;
    (void)state;
    struct options *o = parsed("backup -r repo --files a b c --name n d");
    const char *const *list = options_list(o, OPT_FILES, &n);
    assert_int_equal(n, 4);
    assert_string_equal(list[0], "a");
    assert_string_equal(list[3], "d");
    assert_null(list[4]);
    assert_null(options_operand(o, 0));
    options_free(o);
}

static void two_dashes_end_the_options(void **state) {
    size_t n;
    (void)state;
    struct options *o = parsed("show x -- --json -q");
    const char *const *operands = options_operands(o, &n);
    assert_int_equal(n, 3);
    assert_string_equal(operands[1], "--json");
    assert_string_equal(operands[2], "-q");
    assert_false(options_flag(o, OPT_JSON));
    options_free(o);
}

static void an_action_is_not_an_operand(void **state) {
    (void)state;
    struct options *o = parsed("hold add prod/x --reason why");
    assert_true(options_is_action(o, "add"));
    assert_false(options_is_action(o, "list"));
    assert_string_equal(options_operand(o, 0), "prod/x");
    assert_true(options_is_job(o));
    options_free(o);
    o = parsed("hold list");
    assert_null(options_operand(o, 0));
    assert_false(options_is_job(o));
    options_free(o);
    o = parsed("list");
    assert_false(options_is_action(o, "add"));
    options_free(o);
}

static void mistakes_are_refused_with_a_suggestion(void **state) {
    static const char *const cases[][3] = {
        {"restor x", "unknown verb 'restor'; did you mean 'restore'?", "proofkeep --help"},
        {"zebra", "unknown verb 'zebra'", "proofkeep --help"},
        {"list --josn", "unknown option '--josn'; did you mean '--json'?", "proofkeep list --help"},
        {"list --js", "unknown option '--js'; did you mean '--json'?", "proofkeep list --help"},
        {"list --zebra=1", "unknown option '--zebra'", "proofkeep list --help"},
        {"list -z", "unknown option '-z' in '-z'", "proofkeep list --help"},
        {"list --swap", "'list' has no option '--swap'; it belongs to: restore", "proofkeep list --help"},
        {"", "no verb is given", "proofkeep --help"},
        {"diff a", "'diff' needs 2 operands, not 1", "proofkeep diff --help"},
        {"diff a b c", "'diff' does not know what to do with 'c'", "proofkeep diff --help"},
        {"backup", "'backup' needs an operand, or the option '--files'", "proofkeep backup --help"},
        {"verify --all x", "'verify' takes either '--all' or 'x', not both", "proofkeep verify --help"},
        {"restore x --plan p", "'restore' takes either '--plan' or 'x', not both", "proofkeep restore --help"},
        {"key",
         "'key' wants to know what to do: list, add, remove, rotate, revoke, rotate-ids, recovery-kit, test-recovery, "
         "generate",
         "proofkeep key --help"},
        {"key ad", "'key' has no action 'ad'; did you mean 'add'?", "proofkeep key --help"},
        {"key zebra",
         "'key' has no action 'zebra'; it has: list, add, remove, rotate, revoke, rotate-ids, recovery-kit, "
         "test-recovery, generate",
         "proofkeep key --help"},
        {"hold add x", "'hold add' needs the option '--reason'", "proofkeep hold --help"},
        {"export x", "'export' needs the option '--to'", "proofkeep export --help"},
        {"hold release", "'hold release' needs 1 operand, not 0", "proofkeep hold --help"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused(cases[i][0], cases[i][1], cases[i][2]);
}

static void wrong_values_are_refused(void **state) {
    static const char *const cases[][2] = {
        {"backup x --jobs 0", "option '--jobs' wants a number from 1 to 4096, not '0'"},
        {"backup x --jobs 4097", "option '--jobs' wants a number from 1 to 4096, not '4097'"},
        {"backup x --jobs 99999999999999999999",
         "option '--jobs' wants a number from 1 to 4096, not '99999999999999999999'"},
        {"backup x --jobs=-1", "option '--jobs' wants a number from 1 to 4096, not '-1'"},
        {"backup x --jobs 2x", "option '--jobs' wants a number from 1 to 4096, not '2x'"},
        {"backup x --note=", "option '--note' needs a value, not an empty one"},
        {"backup x --note", "option '--note' needs a value"},
        {"backup x -r", "option '--repository' needs a value"},
        {"backup x --note a --note b", "option '--note' is given twice"},
        {"backup x --dry-run=yes", "option '--dry-run' takes no value"},
        {"backup x --note --json",
         "option '--note' needs a value, and '--json' looks like an option; if it is the value, write '--note=--json'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i][0], cases[i][1], "proofkeep backup --help");
    refused("prune x --grace soon", "option '--grace' wants a duration such as 24h, not 'soon'",
            "proofkeep prune --help");
    refused("list --color red", "option '--color' wants one of auto|always|never, not 'red'", "proofkeep list --help");
}

static void help_is_given_in_spite_of_mistakes(void **state) {
    static const char *const lines[] = {"restore --help", "restore --josn --help", "--help restore --josn", "-h",
                                        "restore -h x y z"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct options *o = parsed(lines[i]);
        assert_true(options_flag(o, OPT_HELP));
        options_free(o);
    }
}

static void json_and_colour_are_known_before_parsing(void **state) {
    (void)state;
    line_split(&line, "bogus --json --color=never -qvv --verbose");
    struct options_early early = options_peek(line.argc, line.argv);
    assert_true(early.json && early.quiet);
    assert_int_equal(early.verbose, 3);
    assert_string_equal(early.color, "never");
    line_split(&line, "show x -- --json");
    early = options_peek(line.argc, line.argv);
    assert_false(early.json);
    assert_string_equal(early.color, "auto");
}

static void names_and_letters_are_unique(void **state) {
    (void)state;
    for (int i = 0; i < OPT_COUNT; i++) {
        assert_int_equal(option_find(option_table[i].name, strlen(option_table[i].name)), i);
        if (option_table[i].short_name) assert_int_equal(option_find_short(option_table[i].short_name), i);
        assert_true(option_table[i].verbs != 0);
        assert_int_equal(option_table[i].text[strlen(option_table[i].text) - 1], '.');
    }
    for (int i = 0; i < VERB_COUNT; i++) assert_int_equal(verb_find(verb_table[i].name), i);
}

/* An example that the parser refuses would be a lie in four documents. */
static void every_example_parses(void **state) {
    (void)state;
    unsigned seen = 0;
    for (const struct example_info *e = example_table; e->command; e++) {
        char text[512];
        size_t n = 0;
        /* Quoted words lose their quotes and spaces, as the shell's would keep together. */
        bool quoted = false;
        assert_memory_equal(e->command, "proofkeep ", 10);
        for (const char *c = e->command + 10; *c; c++) {
            if (*c == '\'')
                quoted = !quoted;
            else
                text[n++] = quoted && *c == ' ' ? '_' : *c;
        }
        text[n] = 0;
        struct options *o = parsed(text);
        assert_int_equal(options_verb(o), e->verb);
        seen |= 1u << e->verb;
        options_free(o);
    }
    assert_int_equal(seen, (1u << VERB_COUNT) - 1);
}

static void every_verb_can_be_run(void **state) {
    (void)state;
    for (int i = 0; i < VERB_COUNT; i++)
        if (!verb_runs[i]) fail_msg("verbs.def has no row for '%s'", verb_table[i].name);
}

static void parse_once(void *arg, uint64_t n) {
    struct error err = ERROR_INIT;
    struct options *o = NULL;
    (void)arg, (void)n;
    line_split(&line, "restore x --path a --path b --into t");
    int r = options_parse(line.argc, line.argv, &o, &err);
    assert_true(r == 0 || (r == -ERR_NO_MEMORY && !o));
    options_free(o);
}

static void every_failure_of_memory_is_survived(void **state) {
    (void)state;
    assert_int_equal(fault_each(false, parse_once, NULL), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_in_every_spelling),
        cmocka_unit_test(values_have_the_type_of_their_option),
        cmocka_unit_test(repeated_values_keep_their_order),
        cmocka_unit_test(files_takes_the_operands_as_well),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(an_action_is_not_an_operand),
        cmocka_unit_test(mistakes_are_refused_with_a_suggestion),
        cmocka_unit_test(wrong_values_are_refused),
        cmocka_unit_test(help_is_given_in_spite_of_mistakes),
        cmocka_unit_test(json_and_colour_are_known_before_parsing),
        cmocka_unit_test(names_and_letters_are_unique),
        cmocka_unit_test(every_example_parses),
        cmocka_unit_test(every_verb_can_be_run),
        cmocka_unit_test(every_failure_of_memory_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
