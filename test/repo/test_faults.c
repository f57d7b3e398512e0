/* Every call to the system that backup, check, restore and collection make fails in turn, once and from then on:
 * nothing crashes, hangs, leaks or lies, and nothing stored before is harmed. */
#include "torture_kit.h"

#include "../harness/fault.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

static struct torture t;

/* What a failing disk or a lack of memory must never be taken for. */
static bool blames_data(int rc) {
    return error_info(rc)->status == EXIT_INTEGRITY || rc == -ERR_INTERNAL || rc == -ERR_KEY_WRONG ||
           rc == -ERR_REPO_NONE || rc == -ERR_KEY_ROLE || rc == -ERR_NO_POINT;
}

static const struct way {
    int sys_errno;
    bool on;
    const char *name;
} ways[] = {
    {0, false, "naturally, once"},         {0, true, "naturally, from then on"}, {EIO, false, "with EIO, once"},
    {EIO, true, "with EIO, from then on"}, {ENOSPC, false, "with ENOSPC, once"},
};

static void fail_at(uint64_t n, const struct way *way) {
    struct outcome o;
    struct error err = ERROR_INIT;
    torture_at("call %llu of %llu fails %s", (unsigned long long)n, (unsigned long long)t.calls, way->name);
    torture_watch(120);
    torture_fresh(&t);
    int before = torture_descriptors();
    fault_install();
    fault_fail(n, way->sys_errno, way->on);
    int rc = torture_scenario(t.work, &o, &err);
    fault_remove();
    torture_claim(torture_descriptors() == before, "%d descriptors were left open", torture_descriptors() - before);
    torture_claim(rc == -(int)err.code, "code and record of the failure differ: %d, %d", rc, (int)err.code);
    torture_claim(rc == 0 || strlen(err.text) > 5, "the error %s has the text '%s'", error_info(rc)->name, err.text);
    torture_claim(rc == 0 || !blames_data(rc), "the failure is reported as %s: %s", error_info(rc)->name, err.text);
    torture_claim(o.harm == 0, "the check calls sound data damaged: %s", o.harm_text);
    torture_claim(rc < 0 || (o.stored && o.restored && o.collected),
                  "success was reported of a scenario that was not finished");
    torture_leaks();
    torture_holds(&t, t.work, &o, n % 2 == 0);
    torture_again(t.work);
}

static void an_undisturbed_scenario_succeeds(void **state) {
    (void)state;
    struct outcome o;
    struct error err = ERROR_INIT;
    torture_fresh(&t);
    int rc = torture_scenario(t.work, &o, &err);
    torture_claim(rc == 0, "%s %s", error_info(rc)->code, err.text);
    torture_claim(o.stored && o.verified && o.restored && o.forgot && o.collected, "it does not do all");
    torture_holds(&t, t.work, &o, true);
    assert_true(t.calls > 1000);
    print_message("# %llu calls\n", (unsigned long long)t.calls);
    torture_leaks();
}

static void short_reads_and_writes_do_no_harm(void **state) {
    (void)state;
    struct outcome o;
    struct error err = ERROR_INIT;
    torture_at("short reads and writes");
    torture_fresh(&t);
    fault_install();
    fault_short(true);
    int rc = torture_scenario(t.work, &o, &err);
    fault_remove();
    torture_claim(rc == 0, "%s %s", error_info(rc)->code, err.text);
    torture_claim(o.stored && o.verified && o.restored && o.forgot && o.collected, "it does not do all");
    torture_holds(&t, t.work, &o, true);
}

static void each_failing_call_is_survived(void **state) {
    (void)state;
    const size_t n_ways = sizeof ways / sizeof *ways;
    struct points p;
    uint64_t at;
    points_begin(&p, t.calls * n_ways);
    while (points_next(&p, &at)) fail_at(1 + (at - 1) / n_ways, &ways[(at - 1) % n_ways]);
    print_message("# %llu runs\n", (unsigned long long)p.done - 1);
}

/* In a mount namespace of its own, so that nothing is left mounted. */
static int on_a_small_disk(void) {
    char dir[96], size[32];
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return 77;
    for (unsigned kib = 64; kib < 8000; kib = kib * 5 / 4) {
        struct outcome o;
        struct error err = ERROR_INIT;
        torture_at("a file system with %u KiB to spare", kib);
        snprintf(dir, sizeof dir, "%s/small-%u", t.base, kib);
        if (mkdir(dir, 0700) < 0 || mount("tmpfs", dir, "tmpfs", 0, "size=64m") < 0) return 77;
        snprintf(t.work, sizeof t.work, "%s/work", dir);
        torture_fresh(&t);
        struct statvfs v;
        if (statvfs(dir, &v) < 0) return 1;
        snprintf(size, sizeof size, "size=%lluk",
                 (unsigned long long)((v.f_blocks - v.f_bfree) * v.f_bsize / 1024 + kib));
        if (mount(NULL, dir, NULL, MS_REMOUNT, size) < 0) return 1;
        int rc = torture_scenario(t.work, &o, &err);
        if (rc < 0 && (rc != -ERR_IO_FULL || !strstr(err.text, "No space left"))) {
            print_error("%u KiB: %s %s\n", kib, error_info(rc)->code, err.text);
            return 1;
        }
        torture_holds(&t, t.work, &o, false);
        if (mount(NULL, dir, NULL, MS_REMOUNT, "size=64m") < 0) return 1;
        torture_again(t.work);
        if (umount2(dir, MNT_DETACH) < 0) return 1;
        if (rc == 0) return kib > 64 ? 0 : 1;
    }
    return 1;
}

static void a_full_disk_is_survived(void **state) {
    (void)state;
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        torture_child = true;
        _exit(on_a_small_disk());
    }
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) skip();
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_undisturbed_scenario_succeeds),
        cmocka_unit_test(short_reads_and_writes_do_no_harm),
        cmocka_unit_test(a_full_disk_is_survived),
        cmocka_unit_test(each_failing_call_is_survived),
    };
    torture_begin(&t);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    torture_end(&t);
    return rc;
}
