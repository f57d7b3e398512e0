/* Shared by the tests of platform/. */
#ifndef PK_TEST_PLATFORM_TEST_H
#define PK_TEST_PLATFORM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/seam.h"
#include "platform/config.h"

static inline void assert_ok(int rc, const struct error *err) {
    if (rc != 0) fail_msg("expected success, got %d: %s", rc, err->text);
}

static inline struct config *parse_ok(const char *text) {
    struct error err = ERROR_INIT;
    struct config *c = NULL;
    assert_ok(config_parse(BYTES_STR(text), "t.yaml", &c, &err), &err);
    return c;
}

static inline void parse_fails(const char *text, enum error_code code, const char *message) {
    struct error err = ERROR_INIT;
    struct config *c = NULL;
    int rc = config_parse(BYTES_STR(text), "t.yaml", &c, &err);
    assert_string_equal(err.text, message);
    assert_int_equal(rc, -(int)code);
    assert_null(c);
}

/* A folder of the test's own, removed by temp_done. */
struct temp {
    char path[64];
};
static inline void temp_make(struct temp *t) {
    snprintf(t->path, sizeof(t->path), "/tmp/pk-platform-XXXXXX");
    if (!mkdtemp(t->path)) fail_msg("mkdtemp");
}
static inline void temp_done(struct temp *t) {
    struct error err = ERROR_INIT;
    assert_ok(io_remove_tree(AT_FDCWD, t->path, &err), &err);
}
static inline const char *temp_file(const struct temp *t, const char *name, const char *content, mode_t mode) {
    static char path[16][256];
    static unsigned next;
    char *p = path[next++ % 16];
    struct error err = ERROR_INIT;
    snprintf(p, sizeof(path[0]), "%s/%s", t->path, name);
    assert_ok(io_replace_file(AT_FDCWD, p, BYTES_STR(content), mode, &err), &err);
    return p;
}

/* A whole small configuration: the head, then what a test adds. */
#define HEAD_YAML                                                                                                      \
    "version: 1\n"                                                                                                     \
    "platform: summit\n"                                                                                               \
    "repositories:\n"                                                                                                  \
    "  main: { url: \"file:///srv/backup\" }\n"                                                                        \
    "surfaces:\n"                                                                                                      \
    "  files: { kind: files, class: truth, paths: [\"/srv/{env}\"] }\n"
#define DEV_YAML                                                                                                       \
    "environments:\n"                                                                                                  \
    "  dev: { repository: main }\n"

#endif
