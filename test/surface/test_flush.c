/* A sync beside a restore: what it was told once is not lost, and it ends when it is told to. */
#include "harness/claims.h"
#include "harness/fault.h"
#include "surface/flush.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

static int open_here(void) {
    int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void wait_for(uint64_t syncs) {
    for (int i = 0; fault_op_calls(SEAM_syncfs) < syncs; i++) {
        assert_true(i < 6000);
        poll(NULL, 0, 10);
    }
}

static void a_failure_is_told_in_the_end(void **state) {
    (void)state;
    for (int by_count = 0; by_count < 2; by_count++) {
        struct flush f = {0};
        int fd = open_here();
        fault_install();
        fault_only(SEAM_syncfs);
        fault_fail(1, EIO, false);
        flush_start(&f, fd);
        for (int i = 0; by_count && i < 1024; i++) flush_count(&f, 128 << 10);
        if (!by_count) flush_ask(&f);
        wait_for(1);
        flush_ask(&f); /* this one does not fail */
        assert_int_equal(flush_end(&f, true), EIO);
        assert_int_equal(fault_op_calls(SEAM_syncfs), 2);
        fault_remove();
        close(fd);
    }
}

static void what_was_asked_for_is_done_where_it_is_wanted(void **state) {
    (void)state;
    struct flush f = {0};
    int fd = open_here();
    fault_install();
    fault_only(SEAM_syncfs);
    flush_start(&f, fd);
    flush_count(&f, 1 << 20); /* too little to be worth one */
    assert_int_equal(flush_end(&f, true), 0);
    assert_int_equal(fault_op_calls(SEAM_syncfs), 0);
    f = (struct flush){0};
    flush_start(&f, fd);
    flush_ask(&f);
    assert_int_equal(flush_end(&f, true), 0);
    assert_int_equal(fault_op_calls(SEAM_syncfs), 1);
    f = (struct flush){0};
    flush_start(&f, fd);
    assert_int_equal(flush_end(&f, false), 0);
    flush_ask(&f); /* after the end there is nobody to do it, and nothing to harm */
    flush_count(&f, UINT64_C(1) << 30);
    assert_int_equal(fault_op_calls(SEAM_syncfs), 1);
    fault_remove();
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_told_in_the_end),
        cmocka_unit_test(what_was_asked_for_is_done_where_it_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
