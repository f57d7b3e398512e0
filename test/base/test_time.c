#include "base/time.h"
#include "harness/claims.h"
#include "harness/fault.h"
#include <stdlib.h>
#include <time.h>

static int64_t parsed(const char *s) {
    int64_t ns = -1;
    if (!time_parse(s, &ns)) fail_msg("'%s' was refused", s);
    return ns;
}

static void rfc_3339_is_read(void **s) {
    (void)s;
    assert_true(parsed("1970-01-01T00:00:00Z") == 0);
    assert_true(parsed("2026-02-16T07:00:00Z") == INT64_C(1771225200) * NS_PER_S);
    assert_true(parsed("2026-02-16T09:30:00+02:30") == parsed("2026-02-16T07:00:00Z"));
    assert_true(parsed("2026-02-15T23:00:00-08:00") == parsed("2026-02-16T07:00:00Z"));
    assert_true(parsed("2026-02-16t07:00:00.25z") == parsed("2026-02-16T07:00:00Z") + NS_PER_S / 4);
    assert_true(parsed("2026-02-16 07:00:00.1234567899Z") == parsed("2026-02-16T07:00:00Z") + 123456789);
    assert_true(parsed("2026-02-16") == parsed("2026-02-16T00:00:00Z"));
    assert_true(parsed("2016-12-31T23:59:60Z") == parsed("2017-01-01T00:00:00Z"));
    assert_true(parsed("1969-12-31T23:59:59.5Z") == -NS_PER_S / 2);
    assert_true(parsed("2024-02-29") + 86400 * NS_PER_S == parsed("2024-03-01"));
}

static void all_else_is_refused(void **s) {
    (void)s;
    const char *const rows[] = {"",
                                "2026",
                                "2026-02",
                                "2026-2-16",
                                "2026-02-30",
                                "2023-02-29",
                                "1900-02-29",
                                "2026-13-01",
                                "2026-00-01",
                                "2026-02-16T",
                                "2026-02-16T07:00Z",
                                "2026-02-16T07:00:00",
                                "2026-02-16T24:00:00Z",
                                "2026-02-16T07:60:00Z",
                                "2026-02-16T07:00:61Z",
                                "2026-02-16T07:00:00.Z",
                                "2026-02-16T07:00:00Zx",
                                "2026-02-16T07:00:00+2:00",
                                "2026-02-16T07:00:00+0200",
                                "2026-02-16T07:00:00+24:00",
                                " 2026-02-16",
                                "2026-02-16 ",
                                "+026-02-16",
                                "0000-01-01",
                                "9999-12-31T23:59:59Z",
                                "1600-01-01"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t ns = 77;
        if (time_parse(rows[i], &ns)) fail_msg("'%s' was taken", rows[i]);
        assert_true(ns == 77);
    }
}

static void property_times_round_trip(void **s) {
    (void)s;
    srand(4);
    for (int i = 0; i < 200000; i++) {
        int64_t seconds = ((int64_t)rand() << 20 ^ rand()) % INT64_C(9000000000) * (rand() % 2 ? 1 : -1);
        char text[32];
        time_format(seconds * NS_PER_S, text);
        assert_true(parsed(text) == seconds * NS_PER_S);
        /* A fraction is dropped towards the past, before 1970 too. */
        time_format(seconds * NS_PER_S + 999999999, text);
        assert_true(parsed(text) == seconds * NS_PER_S);
    }
}

static void compact_form_is_for_ids(void **s) {
    (void)s;
    char out[24];
    time_format_compact(parsed("2026-02-16T07:00:00Z"), out);
    assert_string_equal(out, "20260216-070000Z");
}

static void durations_are_read(void **s) {
    (void)s;
    const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {{"24h", 86400},  {"5m", 300},     {"30d", 2592000}, {"90s", 90},
                {"2w", 1209600}, {"1h30m", 5400}, {"0s", 0},        {"1w1d1h1m1s", 694861}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t ns = -1;
        assert_true(duration_parse(rows[i].text, &ns));
        assert_true(ns == rows[i].seconds * NS_PER_S);
    }
    const char *const bad[] = {"",       "5",
                               "m",      "5 m",
                               "-5m",    "+5m",
                               "1.5h",   "30m1h",
                               "1h1h",   "5M",
                               "5ms",    "5min",
                               "1h30",   "99999999999999999999s",
                               "20000w", "9223372036854775807s",
                               " 5m",    "5m "};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t ns = 77;
        if (duration_parse(bad[i], &ns)) fail_msg("'%s' was taken", bad[i]);
        assert_true(ns == 77);
    }
}

static void durations_are_for_people(void **s) {
    (void)s;
    const struct {
        int64_t ns;
        const char *text;
    } rows[] = {{0, "0 s"},
                {350000000, "350 ms"},
                {4200000000, "4.2 s"},
                {59990000000, "59.9 s"},
                {60 * NS_PER_S, "1 m"},
                {303 * NS_PER_S, "5 m 3 s"},
                {4800 * NS_PER_S, "1 h 20 m"},
                {3 * 86400 * NS_PER_S, "3 d"},
                {90000 * NS_PER_S, "1 d 1 h"},
                {-90 * NS_PER_S, "-1 m 30 s"},
                {7 * NS_PER_S, "7 s"},
                {INT64_MIN, "-106751 d 23 h"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[32];
        duration_format(rows[i].ns, out);
        assert_string_equal(out, rows[i].text);
    }
}

static void sizes_are_read_and_written(void **s) {
    (void)s;
    const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"4096", 4096},
                {"64MiB", 64 << 20},
                {"1GB", 1000000000},
                {"0", 0},
                {"7B", 7},
                {"1kB", 1000},
                {"1KB", 1000},
                {"3KiB", 3072},
                {"2TiB", UINT64_C(2) << 40},
                {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t v = 77;
        assert_true(size_parse(good[i].text, &v));
        assert_true(v == good[i].bytes);
    }
    const char *const bad[] = {
        "",         "MiB", "-1", "1.5GiB", "64 MiB", "64M", "64mib", "1 ", " 1", "1x", "18446744073709551616",
        "20000PiB", "0x10"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t v = 77;
        if (size_parse(bad[i], &v)) fail_msg("'%s' was taken", bad[i]);
        assert_true(v == 77);
    }
    const struct {
        uint64_t bytes;
        const char *text;
    } shown[] = {{0, "0 B"},
                 {1023, "1023 B"},
                 {1024, "1 KiB"},
                 {1536, "1.5 KiB"},
                 {UINT64_C(3) << 29, "1.5 GiB"},
                 {(UINT64_C(1) << 30) - 1, "1023.9 MiB"},
                 {UINT64_MAX, "15.9 EiB"}};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        char out[32];
        size_format(shown[i].bytes, out);
        assert_string_equal(out, shown[i].text);
    }
}

static int fake_clock(clockid_t id, struct timespec *ts) {
    *ts = id == CLOCK_REALTIME ? (struct timespec){1771225200, 5} : (struct timespec){3, 0};
    return 0;
}

static void tests_own_the_clock(void **s) {
    (void)s;
    struct seam table = seam_system;
    table.clock_gettime = fake_clock;
    seam_table = &table;
    assert_true(time_now_ns() == INT64_C(1771225200) * NS_PER_S + 5);
    assert_true(time_monotonic_ns() == 3 * NS_PER_S);
    seam_table = &seam_system;
    int64_t a = time_monotonic_ns(), b = time_monotonic_ns();
    assert_true(a > 0 && b >= a && time_now_ns() > INT64_C(1500000000) * NS_PER_S);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_3339_is_read),           cmocka_unit_test(all_else_is_refused),
        cmocka_unit_test(property_times_round_trip),  cmocka_unit_test(compact_form_is_for_ids),
        cmocka_unit_test(durations_are_read),         cmocka_unit_test(durations_are_for_people),
        cmocka_unit_test(sizes_are_read_and_written), cmocka_unit_test(tests_own_the_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
