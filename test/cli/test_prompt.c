#include "base/thread.h"
#include "cli/prompt.h"
#include "cli_test.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>

static const struct prompt question = {"Passphrase", "--passphrase-file PATH", ERR_KEY_NONE};

static void on_signal(int number) {
    atomic_store(&stop_signal, number);
}

/* What a program would do that asks: prints "got: …" or "refused: …". */
static int asker(const char *text, bool secret) {
    struct line l;
    struct error err = ERROR_INIT;
    struct cli c = {"proofkeep", NULL, NULL};
    struct options *o = NULL;
    struct output_config config = {.out_fd = 1, .err_fd = 2};
    struct buf answer = BUF_INIT(256);
    line_split(&l, text);
    if (options_parse(l.argc, l.argv, &o, &err) < 0) return 9;
    c.options = o;
    config.json = options_flag(o, OPT_JSON);
    if (output_new(&config, &c.output, &err) < 0) return 9;
    int r = secret ? prompt_secret(&c, &question, &answer, &err) : prompt_line(&c, &question, &answer, &err);
    if (r == 0)
        printf("got: <%s>\n", (const char *)answer.ptr);
    else
        printf("refused: %s: %s: next %s\n", error_info(r)->code, err.text, err.next);
    fflush(stdout);
    buf_free(&answer);
    output_free(c.output);
    options_free(o);
    return 0;
}

struct session {
    pid_t pid;
    int fd;
    char text[4096];
    size_t len;
};

static void session_begin(struct session *s, const char *text, bool secret) {
    memset(s, 0, sizeof *s);
    s->pid = forkpty(&s->fd, NULL, NULL, NULL);
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        struct sigaction sa = {.sa_handler = on_signal};
        sigaction(SIGINT, &sa, NULL);
        _exit(asker(text, secret));
    }
}

static void session_read_until(struct session *s, const char *part) {
    while (!strstr(s->text, part)) {
        struct pollfd p = {s->fd, POLLIN, 0};
        if (poll(&p, 1, 10000) <= 0) fail_msg("no '%s' within 10 s: '%s'", part, s->text);
        ssize_t n = read(s->fd, s->text + s->len, sizeof s->text - 1 - s->len);
        if (n <= 0) fail_msg("no '%s' at the end: '%s'", part, s->text);
        s->len += (size_t)n;
        s->text[s->len] = 0;
    }
}

static void session_write(struct session *s, const char *text) {
    assert_int_equal(write(s->fd, text, strlen(text)), (ssize_t)strlen(text));
}

static bool session_echoes(struct session *s) {
    struct termios mode;
    assert_int_equal(tcgetattr(s->fd, &mode), 0);
    return mode.c_lflag & ECHO;
}

static void session_end(struct session *s) {
    int status;
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(s->fd);
}

static void a_line_is_asked_for_on_the_terminal(void **state) {
    struct session s;
    (void)state;
    session_begin(&s, "list", false);
    session_read_until(&s, "Passphrase: ");
    assert_true(session_echoes(&s));
    session_write(&s, "an answer\n");
    session_read_until(&s, "got: <an answer>");
    session_end(&s);
}

static void a_secret_is_not_echoed(void **state) {
    struct session s;
    (void)state;
    session_begin(&s, "list", true);
    session_read_until(&s, "Passphrase: ");
    assert_false(session_echoes(&s));
    session_write(&s, "hush\n");
    session_read_until(&s, "got: <hush>");
    assert_ptr_equal(strstr(s.text, "hush"), strstr(s.text, "got: <hush>") + 6);
    assert_true(session_echoes(&s));
    session_end(&s);
}

static void a_signal_ends_the_question_and_gives_the_echo_back(void **state) {
    struct session s;
    (void)state;
    session_begin(&s, "list", true);
    session_read_until(&s, "Passphrase: ");
    session_write(&s, "hu\003");
    session_read_until(&s, "refused: PK-SYS-002");
    assert_true(session_echoes(&s));
    session_end(&s);
}

static void an_end_of_input_is_no_answer(void **state) {
    struct session s;
    (void)state;
    session_begin(&s, "list", false);
    session_read_until(&s, "Passphrase: ");
    session_write(&s, "\004");
    session_read_until(&s, "refused: PK-KEY-003: no answer was given to 'Passphrase'");
    session_end(&s);
}

static void nothing_is_asked_where_it_was_forbidden(void **state) {
    static const char *const lines[] = {"list --no-input", "list --json"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct session s;
        session_begin(&s, lines[i], true);
        session_read_until(
            &s, "refused: PK-KEY-003: 'Passphrase' cannot be asked here, and --passphrase-file PATH is not given: "
                "next pass --passphrase-file PATH");
        assert_lacks(s.text, "Passphrase: ");
        session_end(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_asked_for_on_the_terminal),
        cmocka_unit_test(a_secret_is_not_echoed),
        cmocka_unit_test(a_signal_ends_the_question_and_gives_the_echo_back),
        cmocka_unit_test(an_end_of_input_is_no_answer),
        cmocka_unit_test(nothing_is_asked_where_it_was_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
