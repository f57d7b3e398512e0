/* What the tests of cli/ share: an output that writes to memory files, and reading them back. */
#ifndef PK_TEST_CLI_TEST_H
#define PK_TEST_CLI_TEST_H

#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
/* after what it needs */
#include <cmocka.h>

struct capture {
    int out_fd, err_fd;
    char out[65536], err[65536];
};

static inline void capture_begin(struct capture *c) {
    c->out_fd = memfd_create("out", MFD_CLOEXEC);
    c->err_fd = memfd_create("err", MFD_CLOEXEC);
    assert_true(c->out_fd >= 0 && c->err_fd >= 0);
}

static inline void capture_read_fd(int fd, char *text, size_t cap) {
    ssize_t n = pread(fd, text, cap - 1, 0);
    assert_true(n >= 0);
    text[n] = 0;
}

/* What has been written so far. */
static inline void capture_read(struct capture *c) {
    capture_read_fd(c->out_fd, c->out, sizeof c->out);
    capture_read_fd(c->err_fd, c->err, sizeof c->err);
}

static inline void capture_end(struct capture *c) {
    capture_read(c);
    close(c->out_fd);
    close(c->err_fd);
}

static inline struct output *capture_output(struct capture *c, bool json) {
    struct output_config config = {.out_fd = c->out_fd, .err_fd = c->err_fd, .json = json};
    struct error err = ERROR_INIT;
    struct output *o = NULL;
    assert_int_equal(output_new(&config, &o, &err), 0);
    return o;
}

/* Words of a command line, split at spaces; at most 31. */
struct line {
    char text[512];
    char *argv[32];
    int argc;
};
static inline void line_split(struct line *l, const char *text) {
    l->argc = 0;
    snprintf(l->text, sizeof l->text, "proofkeep %s", text);
    for (char *save = NULL, *word = strtok_r(l->text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        assert_true(l->argc < 31);
        l->argv[l->argc++] = word;
    }
    l->argv[l->argc] = NULL;
}

/* The whole program on one command line. */
static inline enum exit_status capture_run(struct capture *c, const char *text) {
    struct line l;
    line_split(&l, text);
    capture_begin(c);
    enum exit_status status = cli_run(l.argc, l.argv, c->out_fd, c->err_fd);
    capture_end(c);
    return status;
}

/* The last line of text that ends in newlines, parsed. */
static inline json_t *last_line(const char *text) {
    struct error err = ERROR_INIT;
    json_t *j = NULL;
    size_t len = strlen(text), from;
    assert_true(len > 0 && text[len - 1] == '\n');
    for (from = len - 1; from > 0 && text[from - 1] != '\n'; from--) continue;
    if (json_parse(BYTES_OF(text + from, len - from), JSON_MAX_BYTES, "last line", &j, &err) < 0)
        fail_msg("%s: %s", err.text, text);
    return j;
}

#define assert_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (!strstr((text), (part))) fail_msg("'%s' is not in '%s'", (part), (text));                                  \
    } while (0)
#define assert_lacks(text, part)                                                                                       \
    do {                                                                                                               \
        if (strstr((text), (part))) fail_msg("'%s' is in '%s'", (part), (text));                                       \
    } while (0)

#endif
