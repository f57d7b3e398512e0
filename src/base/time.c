#include "base/time.h"
#include "base/seam.h"
#include <stdio.h>

static int64_t clock_ns(clockid_t id) {
    struct timespec ts;
    if (seam_clock_gettime(id, &ts) < 0) return 0;
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t time_now_ns(void) {
    return clock_ns(CLOCK_REALTIME);
}
int64_t time_monotonic_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

static struct tm time_split(int64_t ns) {
    time_t s = ns / NS_PER_S - (ns % NS_PER_S < 0);
    struct tm tm = {0};
    gmtime_r(&s, &tm);
    return tm;
}

void time_format(int64_t ns, char out[32]) {
    struct tm tm = time_split(ns);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void time_format_compact(int64_t ns, char out[24]) {
    struct tm tm = time_split(ns);
    strftime(out, 24, "%Y%m%d-%H%M%SZ", &tm);
}

/* Takes exactly n digits of a value between min and max. */
static bool take_digits(const char **s, int n, int min, int max, int *ret) {
    int v = 0;
    for (int i = 0; i < n; i++, (*s)++) {
        if (**s < '0' || **s > '9') return false;
        v = v * 10 + (**s - '0');
    }
    if (v < min || v > max) return false;
    *ret = v;
    return true;
}

static bool take_char(const char **s, char c) {
    if (**s != c) return false;
    (*s)++;
    return true;
}

static int month_days(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar, counted from years that start in March. */
static int64_t civil_days(int year, int month, int day) {
    int64_t y = year - (month <= 2), era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* The fraction after the dot; digits beyond nanoseconds are read and dropped. */
static bool take_fraction(const char **s, int64_t *ret_ns) {
    int64_t ns = 0, unit = NS_PER_S / 10;
    if (**s < '0' || **s > '9') return false;
    for (; **s >= '0' && **s <= '9'; (*s)++, unit /= 10) ns += (**s - '0') * unit;
    *ret_ns = ns;
    return true;
}

bool time_parse(const char *s, int64_t *ret_ns) {
    int year, month, day, hour = 0, minute = 0, second = 0, zone = 0;
    int64_t fraction = 0;
    if (!take_digits(&s, 4, 1, 9999, &year) || !take_char(&s, '-') || !take_digits(&s, 2, 1, 12, &month) ||
        !take_char(&s, '-') || !take_digits(&s, 2, 1, month_days(year, month), &day))
        return false;
    if (*s) {
        if (!take_char(&s, 'T') && !take_char(&s, 't') && !take_char(&s, ' ')) return false;
        /* A leap second is the same instant as the second after it, as POSIX counts. */
        if (!take_digits(&s, 2, 0, 23, &hour) || !take_char(&s, ':') || !take_digits(&s, 2, 0, 59, &minute) ||
            !take_char(&s, ':') || !take_digits(&s, 2, 0, 60, &second))
            return false;
        if (take_char(&s, '.') && !take_fraction(&s, &fraction)) return false;
        if (*s == '+' || *s == '-') {
            int sign = *s++ == '+' ? 1 : -1, zh, zm;
            if (!take_digits(&s, 2, 0, 23, &zh) || !take_char(&s, ':') || !take_digits(&s, 2, 0, 59, &zm)) return false;
            zone = sign * (zh * 60 + zm);
        } else if (!take_char(&s, 'Z') && !take_char(&s, 'z')) {
            return false;
        }
        if (*s) return false;
    }
    int64_t seconds = civil_days(year, month, day) * 86400 + hour * 3600 + (minute - zone) * 60 + second, ns;
    if (__builtin_mul_overflow(seconds, NS_PER_S, &ns) || __builtin_add_overflow(ns, fraction, &ns)) return false;
    *ret_ns = ns;
    return true;
}

static const struct {
    char name;
    int64_t seconds;
} duration_units[] = {{'w', 604800}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};

bool duration_parse(const char *s, int64_t *ret_ns) {
    int64_t total = 0;
    size_t next = 0; /* units come largest first, each once */
    if (!*s) return false;
    while (*s) {
        int64_t v = 0;
        if (*s < '0' || *s > '9') return false;
        for (; *s >= '0' && *s <= '9'; s++)
            if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *s - '0', &v)) return false;
        size_t unit = next;
        while (unit < sizeof duration_units / sizeof duration_units[0] && duration_units[unit].name != *s) unit++;
        if (unit == sizeof duration_units / sizeof duration_units[0]) return false;
        next = unit + 1;
        s++;
        if (__builtin_mul_overflow(v, duration_units[unit].seconds, &v) || __builtin_mul_overflow(v, NS_PER_S, &v) ||
            __builtin_add_overflow(total, v, &total))
            return false;
    }
    *ret_ns = total;
    return true;
}

static void format_pair(char out[32], const char *sign, uint64_t a, const char *au, uint64_t b, const char *bu) {
    if (b)
        snprintf(out, 32, "%s%u %s %u %s", sign, (unsigned)a, au, (unsigned)b, bu);
    else
        snprintf(out, 32, "%s%u %s", sign, (unsigned)a, au);
}

void duration_format(int64_t ns, char out[32]) {
    const char *sign = ns < 0 ? "-" : "";
    uint64_t n = ns < 0 ? -(uint64_t)ns : (uint64_t)ns, s = n / NS_PER_S;
    /* Cut off, never rounded up: "60.0 s" or "24 h" would look like a mistake. */
    if (n == 0)
        snprintf(out, 32, "0 s");
    else if (s == 0)
        snprintf(out, 32, "%s%u ms", sign, (unsigned)(n / 1000000));
    else if (s < 60 && n / 100000000 % 10)
        snprintf(out, 32, "%s%u.%u s", sign, (unsigned)s, (unsigned)(n / 100000000 % 10));
    else if (s < 3600)
        format_pair(out, sign, s / 60 ? s / 60 : s, s / 60 ? "m" : "s", s / 60 ? s % 60 : 0, "s");
    else if (s < 86400)
        format_pair(out, sign, s / 3600, "h", s % 3600 / 60, "m");
    else
        format_pair(out, sign, s / 86400, "d", s % 86400 / 3600, "h");
}

void size_format(uint64_t bytes, char out[32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned u = 0;
    uint64_t unit = 1;
    while (bytes / unit >= 1024) unit <<= 10, u++;
    uint64_t whole = bytes / unit, tenth = u ? (bytes % unit >> (10 * (u - 1))) * 10 >> 10 : 0;
    if (tenth)
        snprintf(out, 32, "%u.%u %s", (unsigned)whole, (unsigned)tenth, units[u]);
    else
        snprintf(out, 32, "%u %s", (unsigned)whole, units[u]);
}

bool size_parse(const char *s, uint64_t *ret_bytes) {
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"kB", 1000},
                 {"KB", 1000},
                 {"KiB", UINT64_C(1) << 10},
                 {"MB", 1000000},
                 {"MiB", UINT64_C(1) << 20},
                 {"GB", 1000000000},
                 {"GiB", UINT64_C(1) << 30},
                 {"TB", UINT64_C(1000000000000)},
                 {"TiB", UINT64_C(1) << 40},
                 {"PB", UINT64_C(1000000000000000)},
                 {"PiB", UINT64_C(1) << 50}};
    uint64_t v = 0;
    if (*s < '0' || *s > '9') return false;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v)) return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(s, units[i].name)) continue;
        if (__builtin_mul_overflow(v, units[i].bytes, &v)) return false;
        *ret_bytes = v;
        return true;
    }
    return false;
}
