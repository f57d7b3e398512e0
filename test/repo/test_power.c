/* Power fails behind any change that the scenario makes to the disk: with nothing kept that was not synced, with all of
 * it kept, with the last write torn, and with names that came before their data. Whatever had been reported as done is
 * there, and what is there is whole. */
#include "torture_kit.h"

#include "../harness/power.h"

#include <stdio.h>
#include <stdlib.h>

static struct torture t;
static struct outcome whole; /* of the run that was recorded */

static const char *const modes[POWER_MODE_COUNT] = {"unsynced dropped", "all kept", "the last write torn",
                                                    "names first"};

static void power_fails_at(uint64_t n, enum power_mode mode) {
    char dir[160];
    torture_at("power fails behind change %llu of %llu, %s", (unsigned long long)n, (unsigned long long)power_ops(),
               modes[mode]);
    torture_watch(240);
    struct outcome then = {.stored = n >= whole.ops_stored ? whole.stored : 0,
                           .forgetting = n > whole.ops_stored,
                           .forgot = n >= whole.ops_forgot};
    snprintf(dir, sizeof dir, "%s/crashed", t.base);
    /* the cache as the crash left it, and then none: the former must not hide from, nor add to, what the latter finds
     */
    for (int fresh = 0; fresh < 2; fresh++) {
        torture_remove(dir);
        power_materialise(dir, n, mode);
        torture_holds(&t, dir, &then, fresh);
        if (n % 4 == (unsigned)mode) torture_again(dir);
    }
    torture_remove(dir);
}

static void each_power_loss_is_survived(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    torture_fresh(&t);
    power_begin(t.work);
    int rc = torture_scenario(t.work, &whole, &err);
    power_end();
    torture_claim(rc == 0, "%s %s", error_info(rc)->code, err.text);
    assert_true(whole.stored && whole.forgot && whole.ops_stored > 0 && whole.ops_stored < whole.ops_forgot);
    struct points p;
    uint64_t at;
    points_begin(&p, (power_ops() + 1) * POWER_MODE_COUNT);
    while (points_next(&p, &at))
        power_fails_at((at - 1) / POWER_MODE_COUNT, (enum power_mode)((at - 1) % POWER_MODE_COUNT));
    print_message("# %llu changes, %llu crashes\n", (unsigned long long)power_ops(), (unsigned long long)p.done - 1);
    /* right behind what was reported is where a promise that came too early shows */
    for (int mode = 0; mode < POWER_MODE_COUNT; mode++) {
        power_fails_at(whole.ops_stored, (enum power_mode)mode);
        power_fails_at(whole.ops_forgot, (enum power_mode)mode);
        power_fails_at(power_ops(), (enum power_mode)mode);
    }
    power_forget();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_power_loss_is_survived),
    };
    torture_begin(&t);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    torture_end(&t);
    return rc;
}
