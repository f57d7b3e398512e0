/* The fault harness itself: a harness that did nothing would make every other claim worthless. */
#include "harness/claims.h"
#include "harness/fault.h"
#include "harness/scratch.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static struct scratch dir;

static void calls_are_counted_by_op(void **s) {
    (void)s;
    struct timespec ts;
    fault_install();
    seam_free(seam_alloc(1));
    seam_clock_gettime(CLOCK_REALTIME, &ts);
    seam_clock_gettime(CLOCK_REALTIME, &ts);
    assert_int_equal(fault_calls(), 3);
    assert_int_equal(fault_op_calls(SEAM_alloc), 1);
    assert_int_equal(fault_op_calls(SEAM_clock_gettime), 2);
    assert_int_equal(fault_hits(), 0);
    fault_remove();
    assert_ptr_equal(seam_table, &seam_system);
    assert_string_equal(fault_op_name(SEAM_renameat2), "renameat2");
}

static void faults_strike_once_or_from_then_on(void **s) {
    (void)s;
    struct stat st;
    fault_install();
    fault_fail(2, EROFS, false);
    assert_int_equal(seam_fstatat(AT_FDCWD, "/", &st, 0), 0);
    assert_int_equal(seam_fstatat(AT_FDCWD, "/", &st, 0), -1);
    assert_int_equal(errno, EROFS);
    assert_int_equal(seam_fstatat(AT_FDCWD, "/", &st, 0), 0);
    fault_install();
    fault_fail(1, 0, true);
    assert_int_equal(seam_fstatat(AT_FDCWD, "/", &st, 0), -1);
    assert_int_equal(errno, EIO);
    assert_null(seam_alloc(1));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(seam_write(1, "x", 1), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(fault_hits(), 3);
    fault_only(SEAM_alloc);
    assert_int_equal(seam_fstatat(AT_FDCWD, "/", &st, 0), 0);
    assert_null(seam_alloc(1));
    fault_remove();
}

static void a_failed_close_has_closed(void **s) {
    (void)s;
    int fd = seam_openat(AT_FDCWD, "/", O_RDONLY, 0);
    fault_install();
    fault_fail(1, 0, false);
    assert_int_equal(seam_close(fd), -1);
    assert_int_equal(errno, EIO);
    fault_remove();
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* Runs this program again as `mode` with PROOFKEEP_TEST_FAULT set; answers what waitpid says. */
static int rerun(const char *spec) {
    pid_t pid = fork();
    if (pid == 0) {
        setenv("PROOFKEEP_TEST_FAULT", spec, 1);
        if (!freopen("/dev/null", "w", stderr)) _exit(99);
        execl("/proc/self/exe", "test_fault", "child", (char *)NULL);
        _exit(98);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Three seam calls; the exit status tells which of them failed. */
static int child(void) {
    struct stat st;
    int status = 0;
    for (int i = 0; i < 3; i++)
        if (seam_fstatat(AT_FDCWD, "/", &st, 0) < 0) status |= errno == ENOSPC ? 1 << i : 64;
    return status;
}

static void whole_programs_are_steered_by_the_environment(void **s) {
    (void)s;
    char spec[SCRATCH_PATH_MAX + 16], text[200];
    assert_int_equal(WEXITSTATUS(rerun("")), 0);
    assert_int_equal(WEXITSTATUS(rerun("fail:2:ENOSPC")), 2);
    assert_int_equal(WEXITSTATUS(rerun("fail:2:28:on")), 6);
    assert_int_equal(WEXITSTATUS(rerun("fail:1:0")), 64);
    assert_int_equal(WEXITSTATUS(rerun("fail:9:EIO")), 0);
    int status = rerun("kill:3");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(WEXITSTATUS(rerun("kill:4")), 0);
    assert_int_equal(WEXITSTATUS(rerun("short")), 0);
    scratch_make(&dir);
    snprintf(spec, sizeof spec, "count:%s/n", dir.path);
    assert_int_equal(WEXITSTATUS(rerun(spec)), 0);
    assert_true(scratch_read(&dir, "n", text, sizeof text) > 0);
    assert_string_equal(text, "fstatat 3\ntotal 3\n");
    scratch_remove(&dir);
}

static void a_misspelt_steering_is_no_pass(void **s) {
    (void)s;
    static const char *const rows[] = {"fail",  "fail:0:EIO", "fail:1", "fail:1:ENOSUCH", "fail:1:EIO:off",
                                       "kill:", "kill:x",     "kill:0", "count:",         "no"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_int_equal(WEXITSTATUS(rerun(rows[i])), 97);
}

static void exit_comes_before_the_call(void **s) {
    (void)s;
    pid_t pid = fork();
    if (pid == 0) {
        fault_install();
        fault_exit(2, 7);
        struct stat st;
        seam_fstatat(AT_FDCWD, "/", &st, 0);
        seam_fstatat(AT_FDCWD, "/", &st, 0);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 7);
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "child")) return child();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_counted_by_op),
        cmocka_unit_test(faults_strike_once_or_from_then_on),
        cmocka_unit_test(a_failed_close_has_closed),
        cmocka_unit_test(whole_programs_are_steered_by_the_environment),
        cmocka_unit_test(a_misspelt_steering_is_no_pass),
        cmocka_unit_test(exit_comes_before_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
