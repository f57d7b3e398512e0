#include "base/proc.h"
#include "base/seam.h"
#include "cli/docs.h"
#include "cli_test.h"
#include "work/metrics.h"

#include <fcntl.h>

static struct capture cap;

static struct buf made(int (*make)(struct buf *, struct error *)) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(DOCS_BYTES_MAX);
    assert_int_equal(make(&b, &err), 0);
    assert_int_equal(buf_terminate(&b, &err), 0);
    return b;
}

static void the_copies_in_the_project_are_what_is_made_now(void **state) {
    const char *root = getenv("PROOFKEEP_SOURCE_ROOT");
    (void)state;
    assert_non_null(root);
    for (const struct docs_kind *k = docs_kinds; k->name; k++) {
        if (!k->copy) continue;
        struct error err = ERROR_INIT;
        struct buf now = made(k->make), kept = BUF_INIT(DOCS_BYTES_MAX);
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", root, k->copy);
        if (io_read_file(AT_FDCWD, path, DOCS_BYTES_MAX, &kept, &err) < 0) fail_msg("%s; run 'make docs'", err.text);
        if (!bytes_equal(buf_bytes(&now), buf_bytes(&kept))) fail_msg("%s is out of date; run 'make docs'", k->copy);
        buf_free(&now);
        buf_free(&kept);
    }
}

static void every_error_has_its_place_in_the_reference(void **state) {
    struct buf md = made(docs_errors_md);
    (void)state;
    for (int i = 1; i < ERR_COUNT; i++) {
        const struct error_info *info = error_info(i);
        char head[64];
        snprintf(head, sizeof head, "\n### %s\n", info->code);
        assert_contains((char *)md.ptr, head);
        assert_contains((char *)md.ptr, info->what);
        assert_contains((char *)md.ptr, info->next);
        assert_ptr_equal(error_info_by_code(info->code), info);
    }
    buf_free(&md);
}

static void every_exit_status_and_metric_has_its_place_in_the_reference(void **state) {
    struct buf exits = made(docs_exit_md), metrics = made(docs_metrics_md);
    (void)state;
#define EXIT_STATUS(name, number, text) assert_contains((char *)exits.ptr, "| " #number " | " text " |");
#include "base/exit_table.def"
#undef EXIT_STATUS
    for (int i = 0; i < METRIC_COUNT; i++) assert_contains((char *)metrics.ptr, metric_table[i].name);
    buf_free(&exits);
    buf_free(&metrics);
}

/* Every verb and option is in every document, so nothing can be added to the table and forgotten. */
static void every_option_is_in_every_document(void **state) {
    struct buf docs[] = {made(docs_bash), made(docs_zsh), made(docs_fish), made(docs_cli_md), made(docs_man)};
    static const char *const dashes[] = {"--", "--", " -l ", "--", "Fl \\-"};
    (void)state;
    for (size_t d = 0; d < sizeof docs / sizeof *docs; d++) {
        for (int i = 0; i < OPT_COUNT; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s%s", dashes[d], option_table[i].name);
            assert_contains((char *)docs[d].ptr, name);
        }
        for (int i = 0; i < VERB_COUNT; i++) assert_contains((char *)docs[d].ptr, verb_table[i].name);
        buf_free(&docs[d]);
    }
}

/* Where the list of options has names: in the seventh column of a line. */
static bool lists_option(const char *help, const char *name) {
    char head[80];
    snprintf(head, sizeof head, " --%s", name);
    for (const char *at = help; (at = strstr(at, head)); at++) {
        const char *line = at, *end = at + strlen(head);
        while (line > help && line[-1] != '\n') line--;
        if (at - line == 5 && (*end == ' ' || *end == '\n')) return true;
    }
    return false;
}

static void help_explains_verbs_and_errors(void **state) {
    (void)state;
    assert_int_equal(capture_run(&cap, "help"), EXIT_OK);
    for (int i = 0; i < VERB_COUNT; i++) assert_contains(cap.out, verb_table[i].summary);
    for (int v = 0; v < VERB_COUNT; v++) {
        char line[64], first[sizeof cap.out];
        snprintf(line, sizeof line, "help %s", verb_table[v].name);
        assert_int_equal(capture_run(&cap, line), EXIT_OK);
        memcpy(first, cap.out, sizeof first);
        snprintf(line, sizeof line, "%s --help", verb_table[v].name);
        assert_int_equal(capture_run(&cap, line), EXIT_OK);
        if (v != VERB_HELP) assert_string_equal(cap.out, first);
        for (int i = 0; i < OPT_COUNT && v != VERB_HELP; i++) {
            assert_int_equal(lists_option(cap.out, option_table[i].name),
                             option_applies((enum option_id)i, (enum verb_id)v));
        }
    }
    assert_int_equal(capture_run(&cap, "help pk-rep-001"), EXIT_OK);
    assert_contains(cap.out, "PK-REP-001\n  what:  There is no repository at that place.\n");
    assert_contains(cap.out, "  exit:  10, ");
    assert_int_equal(capture_run(&cap, "--help PK-REP-001"), EXIT_OK);
    assert_contains(cap.out, "PK-REP-001\n");
    assert_int_equal(capture_run(&cap, "help PK-REP-0O1"), EXIT_USAGE);
    assert_contains(cap.err, "there is no verb or error code 'PK-REP-0O1'; did you mean 'PK-REP-001'?");
}

static void help_for_programs_is_one_document(void **state) {
    static const char *const lines[] = {"help --json", "help restore --json", "restore --help --json",
                                        "help PK-IO-001 --json", "--version --json"};
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct error err = ERROR_INIT;
        json_t *j = NULL;
        assert_int_equal(capture_run(&cap, lines[i]), EXIT_OK);
        assert_int_equal(json_parse(BYTES_STR(cap.out), JSON_MAX_BYTES, lines[i], &j, &err), 0);
        json_decref(j);
    }
}

static bool installed(const char *program) {
    const char *const argv[] = {"sh", "-c", "command -v \"$1\"", "sh", program, NULL};
    struct proc_spec spec = {.argv = argv, .keep_fd = -1};
    struct buf out = BUF_INIT(4096);
    struct error err = ERROR_INIT;
    int r = proc_run(&spec, &out, &err);
    buf_free(&out);
    return r == 0;
}

/* Run argv with a document in the file that the last word names; fails the test with what was printed. */
static void accepted_by(const char *const *argv, int (*make)(struct buf *, struct error *), const char *path,
                        const char *expected) {
    struct error err = ERROR_INIT;
    struct buf document = made(make), out = BUF_INIT(65536);
    struct proc_spec spec = {.argv = argv, .keep_fd = -1};
    assert_int_equal(io_replace_file(AT_FDCWD, path, buf_bytes(&document), 0600, &err), 0);
    if (proc_run(&spec, &out, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(buf_terminate(&out, &err), 0);
    assert_string_equal((char *)out.ptr, expected);
    buf_free(&document);
    buf_free(&out);
    unlink(path);
}

static void temporary(char path[64]) {
    snprintf(path, 64, "/tmp/proofkeep-docs-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

#define NEEDS(program)                                                                                                 \
    if (!installed(program)) {                                                                                         \
        print_message("# %s is not installed\n", program);                                                             \
        skip();                                                                                                        \
    }

static void mandoc_accepts_the_manual_page(void **state) {
    char path[64];
    (void)state;
    NEEDS("mandoc");
    temporary(path);
    const char *const argv[] = {"mandoc", "-T", "lint", "-W", "warning", path, NULL};
    accepted_by(argv, docs_man, path, "");
}

static void bash_completes(void **state) {
    static const char script[] =
        "source \"$1\"\n"
        "try() { COMP_WORDS=(proofkeep \"$@\"); COMP_CWORD=$#; _proofkeep; echo \"${COMPREPLY[*]}\"; }\n"
        "try ba; try backup --fu; try key ''; try key add --role ''; try --color = al\n"
        "try --color = always sta; try verify --level d; try help ver; try restore --cache-dir /us\n"
        "try restore --note ''; try backup --swa; try -r x lis\n";
    char path[64];
    (void)state;
    NEEDS("bash");
    temporary(path);
    const char *const argv[] = {"bash", "--norc", "-c", script, "bash", path, NULL};
    accepted_by(argv, docs_bash, path,
                "backup\n--full-read\nlist add remove rotate revoke rotate-ids recovery-kit test-recovery "
                "generate\nadmin writer restore prune\nalways\n"
                "status\ndecode\nverify\n/usr\n\n\nlist\n");
}

static void fish_completes(void **state) {
    static const char script[] =
        "source $argv[1]; complete -C'proofkeep ba'; complete -C'proofkeep verify --level d';"
        "complete -C'proofkeep restore --in-p'; complete -C'proofkeep key ge'; complete -C'proofkeep backup --swa'";
    char path[64];
    (void)state;
    NEEDS("fish");
    temporary(path);
    const char *const argv[] = {"fish", "--no-config", "-c", script, path, NULL};
    accepted_by(argv, docs_fish, path,
                "backup\ttake recovery points\ndecode\tHow far up the ladder to climb.\n"
                "--in-place\tRestore over the live thing instead of beside it.\n"
                "generate\tmake a recipient's identity and print its public key; opens no repository\n");
}

/* A line is typed on a pseudo-terminal, Tab included; the function that it runs says what the line had become. */
static void zsh_completes(void **state) {
    static const char script[] =
        "zmodload zsh/zpty; zpty z \"TERM=dumb HOME=/nonexistent zsh -f -i\"\n"
        "zpty -w z 'PS1= PROMPT= RPROMPT= ; autoload -Uz compinit; compinit -u -D; unsetopt zle_bracketed_paste "
        "2>/dev/null;"
        " proofkeep() { print -r -- \"RAN:$*:RAN\"; }; source '\"$1\"'; bindkey \"^I\" complete-word; print REA''DY'\n"
        "zpty -r -m z x '*READY*' || exit 1\n"
        "for line in $'ba\\t' $'backup --fu\\t' $'key gen\\t' $'verify --level de\\t' $'--color=alw\\t'; do\n"
        "  zpty -w z \"proofkeep $line\"; zpty -r -m z x '*RAN:*:RAN*' || exit 2\n"
        "  print -r -- ${${x##*RAN:}%%:RAN*} | sed 's/ *$//'\n"
        "done; zpty -w z exit; zpty -d z\n";
    static const char outer[] = "x=$(timeout 60 zsh -f -c \"$0\" zsh \"$1\"); s=$?; printf '%s\\n' \"$x\"; exit $s";
    char path[64];
    (void)state;
    NEEDS("zsh");
    temporary(path);
    const char *const argv[] = {"sh", "-c", outer, script, path, NULL};
    accepted_by(argv, docs_zsh, path,
                "backup\nbackup --full-read\nkey generate\nverify --level decode\n--color=always\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_copies_in_the_project_are_what_is_made_now),
        cmocka_unit_test(every_error_has_its_place_in_the_reference),
        cmocka_unit_test(every_exit_status_and_metric_has_its_place_in_the_reference),
        cmocka_unit_test(every_option_is_in_every_document),
        cmocka_unit_test(help_explains_verbs_and_errors),
        cmocka_unit_test(help_for_programs_is_one_document),
        cmocka_unit_test(mandoc_accepts_the_manual_page),
        cmocka_unit_test(bash_completes),
        cmocka_unit_test(fish_completes),
        cmocka_unit_test(zsh_completes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
