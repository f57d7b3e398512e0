#include "platform/retention.h"
#include "base/time.h"
#include "platform/config.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CLOCK_SLACK_NS (5 * 60 * NS_PER_S)
#define STALE_DEFAULT_NS (48 * 3600 * NS_PER_S)
#define MEDIAN_OF 5

/* ---- periods: a number that is the same for all instants of one hour, day, week, month or year, in UTC ---- */
static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

static void civil(int64_t ns, struct tm *ret) {
    time_t t = (time_t)floor_div(ns, NS_PER_S);
    gmtime_r(&t, ret);
}
static int64_t period_none(int64_t ns) {
    (void)ns;
    return 0;
}
static int64_t period_hour(int64_t ns) {
    return floor_div(ns, 3600 * NS_PER_S);
}
static int64_t period_day(int64_t ns) {
    return floor_div(ns, 86400 * NS_PER_S);
}
static int64_t period_week(int64_t ns) {
    return floor_div(period_day(ns) + 3, 7); /* day 0 was a Thursday */
}
static int64_t period_month(int64_t ns) {
    struct tm tm;
    civil(ns, &tm);
    return (int64_t)tm.tm_year * 12 + tm.tm_mon;
}
static int64_t period_year(int64_t ns) {
    struct tm tm;
    civil(ns, &tm);
    return tm.tm_year;
}

struct rule {
    const char *name;
    uint32_t places;
    int64_t (*period)(int64_t ns);
};
struct run {
    const struct retention_point *points;
    size_t n;
    const struct retention_rules *rules;
    int64_t now_ns;
    struct retention_verdict *verdicts;
    struct retention_plan *plan;
    uint32_t min_copies;
    size_t newest_proven; /* n when nothing is proven */
};

bool retention_proven(const struct retention_point *p, const struct retention_rules *rules) {
    return p->status == RETENTION_WHOLE &&
           p->level >= (rules->level_min ? rules->level_min : (unsigned)CONFIG_LEVEL_CHECKSUM);
}

static bool proven(const struct run *r, size_t i) {
    return retention_proven(&r->points[i], r->rules);
}

static int64_t distance(int64_t later, int64_t earlier) {
    int64_t d;
    if (__builtin_sub_overflow(later, earlier, &d)) return later > earlier ? INT64_MAX : INT64_MIN;
    return d;
}

/* The first reason that is found stays: there is none for forgetting what anything keeps. */
static void keep(struct run *r, size_t i, const char *fmt, ...) PK_PRINTF(3, 4);
static void keep(struct run *r, size_t i, const char *fmt, ...) {
    struct retention_verdict *v = &r->verdicts[i];
    if (v->decision == RETENTION_KEEP) return;
    v->decision = RETENTION_KEEP;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v->reason, sizeof(v->reason), fmt, ap);
    va_end(ap);
}

/* Newest first, the newest proven point of each period that has one takes a place. The periods are remembered one by
 * one, not just the last: a clock that went back and forth must not use up places. */
static void apply_rule(struct run *r, const struct rule *rule) {
    int64_t taken[RETENTION_PLACES_MAX];
    uint32_t used = 0;
    uint32_t places = rule->places < RETENTION_PLACES_MAX ? rule->places : RETENTION_PLACES_MAX;
    bool each = rule->period == period_none;
    for (size_t i = r->n; i-- > 0 && used < places;) {
        if (!proven(r, i)) continue;
        int64_t period = rule->period(r->points[i].time_ns);
        bool known = false;
        for (uint32_t j = used; !each && j-- > 0 && !known;) known = taken[j] == period;
        if (known) continue;
        taken[used++] = period;
        char when[32];
        time_format(r->points[i].time_ns, when);
        keep(r, i, "%s %u of %u (%.10s)", rule->name, (unsigned)used, (unsigned)places, when);
    }
}

static void apply_rules(struct run *r) {
    const struct retention_rules *p = r->rules;
    const struct rule rules[] = {
        {"last", p->last, period_none},     {"hourly", p->hourly, period_hour},    {"daily", p->daily, period_day},
        {"weekly", p->weekly, period_week}, {"monthly", p->monthly, period_month}, {"yearly", p->yearly, period_year},
    };
    bool any = false;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) any |= rules[i].places > 0;
    for (size_t i = 0; i < r->n; i++) {
        if (r->points[i].held) keep(r, i, "held");
        if (!any) keep(r, i, "no retention rule is set");
        if (r->newest_proven == r->n)
            keep(r, i, "nothing is proven yet");
        else if (i > r->newest_proven)
            keep(r, i, "newer than the newest proven backup");
        else if (i == r->newest_proven)
            keep(r, i, "the newest proven backup");
    }
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) apply_rule(r, &rules[i]);
}

/* Proven points that the rules alone would not keep fill up to min_copies, newest first. */
static void apply_min_copies(struct run *r) {
    uint32_t have = 0;
    for (size_t i = 0; i < r->n; i++)
        have += proven(r, i) && r->verdicts[i].decision == RETENTION_KEEP && have < r->min_copies;
    for (size_t i = r->n; i-- > 0 && have < r->min_copies;) {
        if (!proven(r, i) || r->verdicts[i].decision == RETENTION_KEEP) continue;
        keep(r, i, "one of at least %u proven copies", (unsigned)r->min_copies);
        have++;
    }
}

/* What lies aside goes with the proven point before it, else with the first after it. */
static void apply_aside(struct run *r) {
    for (size_t i = 0; i < r->n; i++) {
        size_t by = i;
        if (r->points[i].status != RETENTION_ASIDE) continue;
        while (by > 0 && !proven(r, by)) by--;
        while (by < r->n && !proven(r, by)) by++;
        if (by == r->n || r->verdicts[by].decision == RETENTION_KEEP)
            keep(r, i, "of before a restore, and stays with its neighbour");
    }
}

static void explain_forgotten(struct run *r) {
    for (size_t i = 0; i < r->n; i++) {
        struct retention_verdict *v = &r->verdicts[i];
        if (v->decision == RETENTION_KEEP) continue;
        const char *why = proven(r, i)                               ? "no rule keeps it"
                          : r->points[i].status == RETENTION_DAMAGED ? "damaged, and a newer backup is proven"
                          : r->points[i].status == RETENTION_PARTIAL ? "partial, and a newer backup is proven"
                          : r->points[i].status == RETENTION_ASIDE ? "of before a restore, and its neighbour goes, too"
                                                                   : "never proven, and a newer backup is";
        snprintf(v->reason, sizeof(v->reason), "%s", why);
    }
}

/* ---- holds ---- */
static void hold(struct run *r, enum retention_hold which, const char *fmt, ...) PK_PRINTF(3, 4);
static void hold(struct run *r, enum retention_hold which, const char *fmt, ...) {
    if (r->plan->holds & (unsigned)which) return;
    r->plan->holds |= (unsigned)which;
    char *text = r->plan->hold_text[__builtin_ctz((unsigned)which)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(r->plan->hold_text[0]), fmt, ap);
    va_end(ap);
}

static void hold_stopped(struct run *r) {
    size_t newest = r->n;
    for (size_t i = r->n; i-- > 0 && newest == r->n;)
        if (r->points[i].status == RETENTION_WHOLE) newest = i;
    if (newest == r->n) {
        hold(r, RETENTION_HOLD_STOPPED, "there is no whole backup");
        return;
    }
    const struct retention_point *p = &r->points[newest];
    int64_t stale = r->rules->stale_after_ns > 0 ? r->rules->stale_after_ns : STALE_DEFAULT_NS;
    int64_t age = distance(r->now_ns, p->time_ns);
    char when[32], old[32], limit[32];
    time_format(p->time_ns, when);
    if (age > stale) {
        duration_format(age, old);
        duration_format(stale, limit);
        hold(r, RETENTION_HOLD_STOPPED, "backups have stopped: the newest whole one, of %s, is %s old; over %s holds",
             when, old, limit);
    } else if (p->seq <= r->rules->last_prune_seq) {
        hold(r, RETENTION_HOLD_STOPPED, "no whole backup since the last prune; the newest is of %s", when);
    }
}

static uint64_t median(uint64_t *v, size_t n) {
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && v[j] < v[j - 1]; j--) {
            uint64_t spare = v[j];
            v[j] = v[j - 1];
            v[j - 1] = spare;
        }
    return n % 2 ? v[n / 2] : v[n / 2 - 1] + (v[n / 2] - v[n / 2 - 1]) / 2;
}

static void hold_shrank(struct run *r, size_t newest) {
    uint64_t bytes[MEDIAN_OF], items[MEDIAN_OF];
    size_t count = 0;
    for (size_t i = newest; i-- > 0 && count < MEDIAN_OF;) {
        if (r->points[i].status != RETENTION_WHOLE) continue;
        bytes[count] = r->points[i].bytes;
        items[count++] = r->points[i].items;
    }
    const struct retention_point *p = &r->points[newest];
    if (count == 0 || p->seq <= r->rules->accepted_seq) return;
    uint64_t usual_bytes = median(bytes, count), usual_items = median(items, count);
    /* 2x < m, without overflow */
    if (p->bytes < usual_bytes && p->bytes < usual_bytes - p->bytes) {
        char now[32], usual[32];
        size_format(p->bytes, now);
        size_format(usual_bytes, usual);
        hold(r, RETENTION_HOLD_SHRANK, "the newest backup has %s, under half of the usual %s", now, usual);
    } else if (p->items < usual_items && p->items < usual_items - p->items) {
        hold(r, RETENTION_HOLD_SHRANK, "the newest backup has %llu items, under half of the usual %llu",
             (unsigned long long)p->items, (unsigned long long)usual_items);
    }
}

static void hold_clock(struct run *r) {
    const struct retention_point *last = NULL;
    for (size_t i = 0; i < r->n; i++) {
        const struct retention_point *p = &r->points[i], *former = last;
        char when[32], before[32];
        if (p->status == RETENTION_ASIDE) continue;
        last = p;
        time_format(p->time_ns, when);
        if (p->seq <= r->rules->accepted_seq) continue;
        if (distance(p->time_ns, r->now_ns) > CLOCK_SLACK_NS) {
            hold(r, RETENTION_HOLD_CLOCK, "the clock jumped: a backup is of %s, which is in the future", when);
        } else if (former && distance(former->time_ns, p->time_ns) > CLOCK_SLACK_NS) {
            time_format(former->time_ns, before);
            hold(r, RETENTION_HOLD_CLOCK, "the clock jumped: a backup of %s was made after one of %s", when, before);
        }
    }
}

static void apply_holds(struct run *r) {
    size_t newest = r->n;
    while (newest > 0 && r->points[newest - 1].status == RETENTION_ASIDE) newest--;
    hold_stopped(r);
    if (newest-- == 0) return;
    hold_shrank(r, newest);
    hold_clock(r);
    if (r->newest_proven != newest) {
        const struct retention_point *p = &r->points[newest];
        char when[32];
        time_format(p->time_ns, when);
        hold(r, RETENTION_HOLD_UNVERIFIED, "the newest backup, of %s, is %s", when,
             p->status == RETENTION_DAMAGED   ? "damaged"
             : p->status == RETENTION_PARTIAL ? "partial"
             : p->level > 0                   ? "verified, but not as far as the policy wants"
                                              : "not verified");
    }
    if (r->plan->proven < r->min_copies)
        hold(r, RETENTION_HOLD_COPIES, "%zu of at least %u copies are proven", r->plan->proven,
             (unsigned)r->min_copies);
}

static void count(struct run *r) {
    for (size_t i = 0; i < r->n; i++) {
        struct retention_verdict *v = &r->verdicts[i];
        uint64_t *sum = r->plan->holds ? &r->plan->deferred_bytes : &r->plan->forgotten_bytes;
        if (v->decision == RETENTION_KEEP) {
            r->plan->kept++;
            continue;
        }
        if (r->plan->holds) v->decision = RETENTION_DEFERRED;
        *(r->plan->holds ? &r->plan->deferred : &r->plan->forgotten) += 1;
        if (__builtin_add_overflow(*sum, r->points[i].bytes, sum)) *sum = UINT64_MAX;
    }
}

void retention_decide(const struct retention_point *points, size_t n, const struct retention_rules *rules,
                      int64_t now_ns, struct retention_verdict *verdicts, struct retention_plan *ret) {
    *ret = (struct retention_plan){0};
    struct run r = {
        .points = points,
        .n = n,
        .rules = rules,
        .now_ns = now_ns,
        .verdicts = verdicts,
        .plan = ret,
        .min_copies = rules->min_copies ? rules->min_copies : 1,
        .newest_proven = n,
    };
    for (size_t i = 0; i < n; i++) {
        assert(i == 0 || points[i].seq > points[i - 1].seq);
        verdicts[i] = (struct retention_verdict){.decision = RETENTION_FORGET};
        if (!proven(&r, i)) continue;
        r.newest_proven = i;
        ret->proven++;
    }
    apply_rules(&r);
    apply_min_copies(&r);
    apply_aside(&r);
    explain_forgotten(&r);
    apply_holds(&r);
    count(&r);
}

int retention_check(const struct retention_plan *plan, const char *what, struct error *err) {
    if (plan->deferred == 0) return 0;
    char all[RETENTION_HOLD_COUNT * 164] = "";
    for (size_t i = 0; i < RETENTION_HOLD_COUNT; i++) {
        const char *text = plan->hold_text[i];
        if (text[0]) snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", all[0] ? "; " : "", text);
    }
    error_set(err, ERR_PRUNE_HELD, "%s: %zu backups that the rules would let go stay: %s", what, plan->deferred, all);
    return error_state(err, "nothing was removed");
}

const char *retention_hold_name(enum retention_hold one) {
    static const char *const names[RETENTION_HOLD_COUNT] = {"stopped", "shrank", "unverified", "clock", "copies"};
    return names[__builtin_ctz((unsigned)one)];
}
