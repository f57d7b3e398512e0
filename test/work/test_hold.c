#include "work_kit.h"

#include "work/hold.h"

#include <stdio.h>

struct seen {
    unsigned n;
    char reason[64], principal[128];
};

static int see(void *ctx, const struct hold_line *l, struct error *err) {
    struct seen *s = ctx;
    (void)err;
    s->n++;
    snprintf(s->reason, sizeof s->reason, "%s", l->reason);
    snprintf(s->principal, sizeof s->principal, "%s", l->principal);
    return 0;
}

static struct seen listed(struct work_kit *k, const char *what) {
    struct error err = ERROR_INIT;
    struct selection s;
    struct seen seen = {0};
    kit_ok(selection_parse(what, true, &s, &err), &err);
    kit_ok(hold_list(k->work, &s, see, &seen, &err), &err);
    return seen;
}

static void holds_are_listed_with_their_reason_until_released(void **state) {
    struct work_kit k;
    struct hold_done d;
    (void)state;
    work_kit_begin(&k, NULL);
    uint64_t first = work_kit_point(&k, "files", 100, 1), second = work_kit_point(&k, "files", 100, 2);
    assert_works(hold_add(k.work, "dev/files@latest", "case 4711", &d, &err));
    assert_string_equal(d.id, work_kit_info(&k, second)->id);
    assert_string_equal(d.label, "dev/files");
    assert_works(hold_add(k.work, "dev/files@latest", "audit", &d, &err));
    assert_int_equal(work_kit_info(&k, second)->holds, 2);
    assert_int_equal(work_kit_info(&k, first)->holds, 0);
    struct seen s = listed(&k, NULL);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.reason, "audit");
    assert_string_equal(s.principal, k.work->principal);
    assert_int_equal(listed(&k, "dev/files@latest").n, 2);
    assert_int_equal(listed(&k, "dev/other").n, 0);
    assert_works(hold_release(k.work, "dev/files@latest", "closed", &d, &err));
    assert_int_equal(d.ended, 2);
    assert_int_equal(work_kit_info(&k, second)->holds, 0);
    assert_int_equal(listed(&k, NULL).n, 0);
    assert_fails(hold_release(k.work, "dev/files@latest", "again", &d, &err), ERR_NO_POINT, "is not on hold");
    assert_fails(hold_add(k.work, "dev/files@latest", "", &d, &err), ERR_USAGE, "reason");
    assert_fails(hold_add(k.work, "dev/other@latest", "x", &d, &err), ERR_NO_POINT, "dev/other");
    work_kit_end(&k);
}

static void a_held_point_cannot_be_forgotten(void **state) {
    struct work_kit k;
    struct hold_done d;
    (void)state;
    work_kit_begin(&k, NULL);
    uint64_t seq = work_kit_point(&k, "files", 100, 1);
    assert_works(hold_add(k.work, "dev/files", "case", &d, &err));
    assert_fails(repo_forget(k.work->repo, &seq, 1, "test", &err), ERR_PRUNE_HELD, "on hold");
    assert_false(work_kit_info(&k, seq)->forgotten);
    work_kit_end(&k);
}

/* What a role may not say must be refused before it is in the log, where it would break the log for everyone. */
static void roles_are_asked_before_anything_is_written(void **state) {
    struct work_kit k;
    struct hold_done d;
    char writer[160], restore[160];
    (void)state;
    work_kit_begin(&k, NULL);
    uint64_t seq = work_kit_point(&k, "files", 100, 1);
    work_kit_key(&k, ROLE_WRITER, writer);
    work_kit_key(&k, ROLE_RESTORE, restore);
    uint64_t size = ledger_size(repo_ledger(k.work->repo));
    work_kit_open(&k, writer);
    assert_fails(hold_add(k.work, "dev/files", "x", &d, &err), ERR_KEY_ROLE, "this one is a writer key");
    work_kit_open(&k, restore);
    assert_int_equal(ledger_size(repo_ledger(k.work->repo)), size);
    assert_works(hold_add(k.work, "dev/files", "x", &d, &err));
    assert_fails(hold_release(k.work, "dev/files", "x", &d, &err), ERR_KEY_ROLE, "needs an admin key");
    work_kit_open(&k, NULL);
    assert_int_equal(work_kit_info(&k, seq)->holds, 1);
    work_kit_end(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_are_listed_with_their_reason_until_released),
        cmocka_unit_test(a_held_point_cannot_be_forgotten),
        cmocka_unit_test(roles_are_asked_before_anything_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
