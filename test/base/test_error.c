#include "harness/claims.h"
#include <errno.h>
#include <stdlib.h>

static void first_failure_is_kept(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    assert_int_equal(error_set(&e, ERR_IO_READ, "read %s", "a"), -ERR_IO_READ);
    assert_int_equal(error_set(&e, ERR_INTERNAL, "other"), -ERR_IO_READ);
    assert_string_equal(e.text, "read a");
}

static void context_goes_in_front(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    error_set(&e, ERR_IO_READ, "cause");
    assert_int_equal(error_wrap(&e, "inner %d", 1), -ERR_IO_READ);
    assert_int_equal(error_wrap(&e, "outer"), -ERR_IO_READ);
    assert_string_equal(e.text, "outer: inner 1: cause");
}

static void errno_is_named_and_kept(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    errno = ELOOP;
    assert_int_equal(error_set_errno(&e, ERR_IO_READ, "open x"), -ERR_IO_READ);
    assert_string_equal(e.text, "open x: Too many levels of symbolic links");
    assert_int_equal(e.sys_errno, ELOOP);
    assert_int_equal(errno, ELOOP);
}

static void full_disks_memory_and_permission_have_their_own_codes(void **s) {
    (void)s;
    const struct {
        int sys;
        enum error_code code;
    } rows[] = {{ENOSPC, ERR_IO_FULL},   {EDQUOT, ERR_IO_FULL},  {ENOMEM, ERR_NO_MEMORY},
                {EACCES, ERR_IO_DENIED}, {EPERM, ERR_IO_DENIED}, {EOPNOTSUPP, ERR_IO_UNSUPPORTED},
                {EIO, ERR_IO_WRITE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error e = ERROR_INIT;
        errno = rows[i].sys;
        assert_int_equal(error_set_errno(&e, ERR_IO_WRITE, "w"), -(int)rows[i].code);
    }
    struct error e = ERROR_INIT; /* where the code says more than that, it stays */
    errno = EACCES;
    assert_int_equal(error_set_errno(&e, ERR_SECRET, "w"), -ERR_SECRET);
}

static void long_context_never_displaces_the_cause(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    char big[4000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    error_set(&e, ERR_IO_READ, "the cause");
    for (int i = 0; i < 5; i++) error_wrap(&e, "%s", big);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_string_equal(e.text + strlen(e.text) - 11, ": the cause");

    error_clear(&e);
    errno = EIO;
    error_set_errno(&e, ERR_IO_READ, "read %s", big);
    assert_non_null(strstr(e.text, "xxx: Input/output error"));
}

static void text_is_cut_at_a_character(void **s) {
    (void)s;
    char big[3000];
    for (int shift = 0; shift < 3; shift++) {
        struct error e = ERROR_INIT;
        memset(big, 'a', sizeof big);
        for (size_t i = (size_t)shift; i + 3 < sizeof big; i += 3) memcpy(big + i, "\xE2\x82\xAC", 3);
        big[sizeof big - 1] = 0;
        error_set(&e, ERR_IO_READ, "%s", big);
        size_t n = strlen(e.text);
        assert_true(n > sizeof e.text - 4);
        assert_memory_equal(e.text + n - 3, "\xE2\x82\xAC", 3);
    }
}

static void foreign_bytes_never_reach_a_terminal(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    error_set(&e, ERR_IO_READ,
              "a\x1b[2Jb\nc\xff"
              "d\xC2\x9B"
              "e\xC3\xA4\x7f");
    assert_string_equal(e.text, "a?[2Jb c?d??e\xC3\xA4?");
}

static void nearest_state_and_next_win(void **s) {
    (void)s;
    struct error e = ERROR_INIT;
    error_set(&e, ERR_IO_READ, "x");
    assert_int_equal(error_state(&e, "near"), -ERR_IO_READ);
    error_state(&e, "far");
    error_next(&e, "do %d", 1);
    assert_int_equal(error_next(&e, "do 2"), -ERR_IO_READ);
    assert_string_equal(e.state, "near");
    assert_string_equal(e.next, "do 1");
}

static void every_row_is_complete_and_unique(void **s) {
    (void)s;
    for (int i = 1; i < (int)ERR_COUNT; i++) {
        const struct error_info *r = error_info(i);
        assert_ptr_equal(error_info(-i), r);
        assert_ptr_equal(error_info_by_code(r->code), r);
        assert_true(strlen(r->what) > 5 && strlen(r->next) > 5 && r->what[strlen(r->what) - 1] == '.');
        assert_true(!strncmp(r->code, "PK-", 3) && r->status != EXIT_OK);
    }
    assert_string_equal(error_info_by_code("pk-io-003")->name, "IO_FULL");
    assert_null(error_info_by_code("PK-IO-999"));
    assert_string_equal(error_info(99999)->name, "INTERNAL");
    assert_string_equal(error_info(0)->name, "INTERNAL");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_failure_is_kept),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(errno_is_named_and_kept),
        cmocka_unit_test(full_disks_memory_and_permission_have_their_own_codes),
        cmocka_unit_test(long_context_never_displaces_the_cause),
        cmocka_unit_test(text_is_cut_at_a_character),
        cmocka_unit_test(foreign_bytes_never_reach_a_terminal),
        cmocka_unit_test(nearest_state_and_next_win),
        cmocka_unit_test(every_row_is_complete_and_unique),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
