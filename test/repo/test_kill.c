/* A process that is killed at any call to the system leaves a repository that opens, restores all it had, and finishes
 * the work when it is asked again. */
#include "torture_kit.h"

#include "../harness/fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct torture t;
static struct outcome *shared;

/* Runs the scenario in a child that dies at call n; 0: it lives. Answers whether it was killed. */
static bool run_killed(uint64_t n) {
    int status = 0;
    memset(shared, 0, sizeof *shared);
    pid_t pid = fork();
    if (pid == 0) {
        struct error err = ERROR_INIT;
        torture_child = true;
        torture_watch(120);
        fault_install();
        if (n) fault_kill(n);
        int rc = torture_scenario(t.work, shared, &err);
        if (rc < 0) fprintf(stderr, "# %s %s\n", error_info(rc)->code, err.text);
        _exit(rc < 0);
    }
    torture_claim(pid > 0 && waitpid(pid, &status, 0) == pid, "no child");
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    torture_claim(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0), "the child ended with %x",
                  (unsigned)status);
    return killed;
}

static void each_kill_is_survived(void **state) {
    (void)state;
    struct points p;
    uint64_t at, killed = 0;
    points_begin(&p, t.calls);
    while (points_next(&p, &at)) {
        torture_at("killed at call %llu of %llu", (unsigned long long)at, (unsigned long long)t.calls);
        torture_watch(240);
        torture_fresh(&t);
        killed += run_killed(at);
        torture_holds(&t, t.work, shared, at % 2 == 0);
        torture_again(t.work);
    }
    assert_true(killed > 0);
    print_message("# %llu runs, %llu killed\n", (unsigned long long)p.done - 1, (unsigned long long)killed);
}

/* The next run is killed as well, and the next: what each leaves must not add up to harm. */
static void kills_in_a_row_are_survived(void **state) {
    (void)state;
    struct points p;
    uint64_t at;
    points_begin(&p, t.calls);
    p.full = false;
    bool stored = false, forgetting = false, forgot = false;
    torture_fresh(&t);
    for (int i = 0; i < (torture_full() ? 200 : 6) && points_next(&p, &at); i++) {
        torture_at("killed in a row, number %d, at call %llu", i, (unsigned long long)at);
        torture_watch(240);
        run_killed(at);
        shared->forgetting |= forgetting;
        shared->forgot |= forgot;
        torture_holds(&t, t.work, shared, false);
        stored |= shared->stored != 0;
        forgetting = shared->forgetting;
        forgot = shared->forgot;
    }
    assert_true(stored || !torture_full());
    torture_again(t.work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kill_is_survived),
        cmocka_unit_test(kills_in_a_row_are_survived),
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    torture_begin(&t);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    torture_end(&t);
    return rc;
}
