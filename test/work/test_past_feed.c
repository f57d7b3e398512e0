/* WAL handed to a server that has no key: the very command that the server would run is run by a shell, in a data
 * folder. */
#include "harness/claims.h"
#include "harness/scratch.h"

#include "base/seam.h"
#include "work/past_feed.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSTEM UINT64_C(7000000000000000001)
#define SEGMENT "000000010000000000000003"
#define NEXT "000000010000000000000004"
#define BROKEN "000000010000000000000009"

struct bed {
    struct scratch s;
    struct wal_source source;
    atomic_uint asked;
    int dirfd;
    struct past_feed *feed;
};

/* Segments 3 and 4 are there, 9 cannot be read, and nothing else is. */
static int get(struct wal_source *source, uint64_t system, const struct wal_name *n, struct buf *ret,
               struct error *err) {
    struct bed *b = (struct bed *)((char *)source - offsetof(struct bed, source));
    char name[WAL_NAME_BYTES];
    wal_name_format(n, name);
    atomic_fetch_add(&b->asked, 1);
    if (system != SYSTEM) return error_set(err, ERR_PG_WAL, "another cluster");
    if (strcmp(name, BROKEN) == 0) return error_set(err, ERR_OBJECT_CORRUPT, "it is damaged");
    if (strcmp(name, SEGMENT) != 0 && strcmp(name, NEXT) != 0) return error_set(err, ERR_WAL_ABSENT, "not there");
    return buf_append_str(ret, name, err);
}

static int write_it(struct wal_source *source, uint64_t system, const struct wal_name *n, int fd, const char *path,
                    struct error *err) {
    struct buf b = BUF_INIT(4096);
    int rc = get(source, system, n, &b, err);
    if (rc == 0) rc = io_write_full(fd, b.ptr, b.len, path, err);
    buf_free(&b);
    return rc;
}

static const struct wal_source_ops ops = {get, write_it, NULL};

static int setup(void **state) {
    static struct bed b;
    struct error err = ERROR_INIT;
    b = (struct bed){.source = {&ops}};
    scratch_make(&b.s);
    assert_int_equal(mkdir(scratch_path(&b.s, "data"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(&b.s, PAST_FEED_FOLDER), 0700), 0);
    b.dirfd = open(scratch_path(&b.s, PAST_FEED_FOLDER), O_RDONLY | O_DIRECTORY);
    assert_true(b.dirfd >= 0);
    claim_ok(past_feed_start(&b.source, SYSTEM, b.dirfd, &b.feed, &err), err);
    *state = &b;
    return 0;
}

static int teardown(void **state) {
    struct bed *b = *state;
    struct error err = ERROR_INIT;
    past_feed_stop(b->feed, &err);
    close(b->dirfd);
    scratch_remove(&b->s);
    return 0;
}

/* As the server would: %f and %p filled in, from its data folder. The exit status. */
static int fetch(struct bed *b, const char *name) {
    char line[4096 + 1024];
    size_t at = (size_t)snprintf(line, sizeof line, "cd %s && (", scratch_path(&b->s, "data"));
    for (const char *p = past_feed_command; *p; p++) {
        if (*p != '%')
            line[at++] = *p;
        else
            at += (size_t)snprintf(line + at, sizeof line - at, "%s", *++p == 'f' ? name : "got");
    }
    snprintf(line + at, sizeof line - at, ")");
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool has(struct bed *b, const char *path) {
    struct stat st;
    return lstat(scratch_path(&b->s, path), &st) == 0;
}

static void what_is_stored_is_handed_over(void **state) {
    struct bed *b = *state;
    char text[100] = "";
    assert_int_equal(fetch(b, SEGMENT), 0);
    assert_true(scratch_read(&b->s, "data/got", text, sizeof text) > 0);
    assert_string_equal(text, SEGMENT);
    assert_int_equal(unlink(scratch_path(&b->s, "data/got")), 0);
    assert_int_equal(fetch(b, NEXT), 0);
    assert_true(scratch_read(&b->s, "data/got", text, sizeof text) > 0);
    assert_string_equal(text, NEXT);
    assert_int_equal(fetch(b, SEGMENT), 0); /* once more, as a server does at the end of a timeline */
    assert_false(has(b, PAST_FEED_FOLDER "/" SEGMENT));
}

static void what_is_absent_is_said_to_be(void **state) {
    struct bed *b = *state;
    assert_int_equal(fetch(b, "00000002.history"), 1);
    assert_int_equal(fetch(b, "000000010000000000000005"), 1);
    assert_int_equal(fetch(b, "000000010000000000000005"), 1);
    assert_false(has(b, "data/got"));
}

static void what_cannot_be_told_stops_the_server(void **state) {
    struct bed *b = *state;
    struct error err = ERROR_INIT;
    assert_int_equal(fetch(b, BROKEN), 200);
    (void)!error_set(&err, ERR_PG_RECOVERY, "the server went down");
    past_feed_stop(b->feed, &err);
    b->feed = NULL;
    assert_non_null(strstr(err.text, "it is damaged"));
    assert_int_equal(err.code, ERR_PG_RECOVERY);
}

static void nobody_waits_for_a_feeder_that_is_gone(void **state) {
    struct bed *b = *state;
    struct error err = ERROR_INIT;
    past_feed_stop(b->feed, &err);
    b->feed = NULL;
    assert_int_equal(rename(scratch_path(&b->s, PAST_FEED_FOLDER), scratch_path(&b->s, "gone")), 0);
    assert_int_equal(fetch(b, SEGMENT), 200);
    assert_int_equal(atomic_load(&b->asked), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_stored_is_handed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_absent_is_said_to_be, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_told_stops_the_server, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_for_a_feeder_that_is_gone, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
