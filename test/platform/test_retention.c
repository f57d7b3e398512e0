#include "platform_test.h"

#include "base/time.h"
#include "platform/retention.h"

#define HOUR (3600 * NS_PER_S)
#define DAY (24 * HOUR)
#define N_MAX 400

static int64_t at(const char *rfc3339) {
    int64_t ns;
    if (!time_parse(rfc3339, &ns)) fail_msg("%s", rfc3339);
    return ns;
}

/* n proven points, one every `step`, the last at `end`; seq from 10. */
static void history(struct retention_point *p, size_t n, int64_t end, int64_t step) {
    for (size_t i = 0; i < n; i++)
        p[i] =
            (struct retention_point){10 + i, end - (int64_t)(n - 1 - i) * step, CONFIG_LEVEL_FULL, 1000, 10, false, 0};
}

static struct retention_verdict verdicts[N_MAX];
static struct retention_plan plan;
static void decide(const struct retention_point *p, size_t n, const struct retention_rules *r, int64_t now) {
    retention_decide(p, n, r, now, verdicts, &plan);
}
static size_t count(size_t n, enum retention_decision d) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += verdicts[i].decision == d;
    return sum;
}

static void keeps_by_place(void **state) {
    (void)state;
    struct retention_point p[60];
    const int64_t now = at("2026-03-01T12:00:00Z");
    history(p, 60, now - HOUR, DAY); /* daily at 11:00, 2026-01-01 to 2026-03-01 */
    const struct retention_rules r = {.daily = 3, .weekly = 2, .monthly = 3};
    decide(p, 60, &r, now);
    assert_int_equal(plan.holds, 0);
    assert_string_equal(verdicts[59].reason, "the newest proven backup");
    assert_string_equal(verdicts[58].reason, "daily 2 of 3 (2026-02-28)");
    assert_string_equal(verdicts[57].reason, "daily 3 of 3 (2026-02-27)");
    /* Sunday 2026-03-01 is the newest of its week and month; the week before ended on Sunday 2026-02-22. */
    assert_string_equal(verdicts[52].reason, "weekly 2 of 2 (2026-02-22)");
    assert_string_equal(verdicts[30].reason, "monthly 3 of 3 (2026-01-31)");
    assert_int_equal(plan.kept, 5);
    assert_int_equal(plan.forgotten, 55);
    assert_int_equal(plan.forgotten_bytes, 55000);
    assert_string_equal(verdicts[0].reason, "no rule keeps it");
    assert_int_equal(verdicts[0].decision, RETENTION_FORGET);
    struct error err = ERROR_INIT;
    assert_ok(retention_check(&plan, "prod/pg", &err), &err);
}

static void takes_the_newest_of_each_hour_and_year(void **state) {
    (void)state;
    const int64_t now = at("2026-01-01T02:30:00Z");
    const struct retention_point p[] = {
        {1, at("2024-12-31T23:59:59Z"), 5, 1, 1, false, 0}, {2, at("2025-12-31T23:00:00Z"), 5, 1, 1, false, 0},
        {3, at("2025-12-31T23:59:59Z"), 5, 1, 1, false, 0}, {4, at("2026-01-01T01:00:00Z"), 5, 1, 1, false, 0},
        {5, at("2026-01-01T01:40:00Z"), 5, 1, 1, false, 0}, {6, at("2026-01-01T02:10:00Z"), 5, 1, 1, false, 0},
    };
    const struct retention_rules r = {.hourly = 2, .yearly = 3};
    decide(p, 6, &r, now);
    assert_int_equal(verdicts[5].decision, RETENTION_KEEP);
    assert_string_equal(verdicts[4].reason, "hourly 2 of 2 (2026-01-01)");
    assert_int_equal(verdicts[3].decision, RETENTION_FORGET);
    assert_string_equal(verdicts[2].reason, "yearly 2 of 3 (2025-12-31)");
    assert_int_equal(verdicts[1].decision, RETENTION_FORGET);
    assert_string_equal(verdicts[0].reason, "yearly 3 of 3 (2024-12-31)");
}

/* Invariant 4: after a silence of a year, everything that filled a place still does. */
static void counts_no_calendar(void **state) {
    (void)state;
    struct retention_point p[30];
    const int64_t end = at("2025-01-31T00:00:00Z");
    history(p, 30, end, DAY);
    const struct retention_rules r = {.daily = 7, .stale_after_ns = INT64_MAX};
    decide(p, 30, &r, end + HOUR);
    assert_int_equal(count(30, RETENTION_KEEP), 7);
    decide(p, 30, &r, end + 365 * DAY);
    assert_int_equal(plan.holds, 0);
    assert_int_equal(count(30, RETENTION_KEEP), 7);
}

static void a_restless_clock_uses_up_no_places(void **state) {
    (void)state;
    struct retention_point p[9];
    const int64_t now = at("2026-01-10T12:00:00Z");
    history(p, 9, now - HOUR, DAY);
    for (size_t i = 3; i < 9; i++) /* back and forth between two days */
        p[i].time_ns = i % 2 ? now - 26 * HOUR : now - HOUR;
    const struct retention_rules r = {.daily = 4, .accepted_seq = UINT64_MAX};
    decide(p, 9, &r, now);
    assert_int_equal(plan.holds, 0);
    assert_int_equal(plan.kept, 4); /* those two days, and the two before them */
    assert_string_equal(verdicts[1].reason, "daily 4 of 4 (2026-01-03)");
}

/* Invariants 1 and 3 */
static void unproven_ones_fill_no_places(void **state) {
    (void)state;
    struct retention_point p[10];
    const int64_t now = at("2026-01-10T01:00:00Z");
    history(p, 10, now - HOUR, DAY);
    p[9].level = p[8].level = 0;
    p[7].level = CONFIG_LEVEL_PRESENT; /* below the rung that counts */
    p[6].status = RETENTION_PARTIAL;
    p[5].status = RETENTION_DAMAGED;
    p[2].level = 0;
    p[1].status = RETENTION_DAMAGED;
    p[0].status = RETENTION_PARTIAL;
    const struct retention_rules r = {.last = 1, .accepted_seq = UINT64_MAX};
    decide(p, 10, &r, now);
    assert_int_equal(plan.proven, 2);
    assert_int_equal(plan.holds, RETENTION_HOLD_UNVERIFIED);
    assert_string_equal(plan.hold_text[2], "the newest backup, of 2026-01-10T00:00:00Z, is not verified");
    for (size_t i = 5; i < 10; i++) assert_string_equal(verdicts[i].reason, "newer than the newest proven backup");
    assert_string_equal(verdicts[4].reason, "the newest proven backup");
    assert_int_equal(verdicts[3].decision, RETENTION_DEFERRED);
    assert_string_equal(verdicts[3].reason, "no rule keeps it");
    assert_string_equal(verdicts[2].reason, "never proven, and a newer backup is");
    assert_string_equal(verdicts[1].reason, "damaged, and a newer backup is proven");
    assert_string_equal(verdicts[0].reason, "partial, and a newer backup is proven");
}

static void without_rules_or_proof_all_stay(void **state) {
    (void)state;
    struct retention_point p[10];
    const int64_t now = at("2026-01-10T01:00:00Z");
    history(p, 10, now - HOUR, DAY);
    const struct retention_rules none = {.min_copies = 1}, some = {.last = 1};
    decide(p, 10, &none, now);
    assert_int_equal(plan.kept, 10);
    assert_string_equal(verdicts[0].reason, "no retention rule is set");
    for (size_t i = 0; i < 10; i++) p[i].level = 0;
    decide(p, 10, &some, now);
    assert_int_equal(plan.kept, 10);
    assert_string_equal(verdicts[0].reason, "nothing is proven yet");
    decide(p, 0, &some, now);
    assert_int_equal(plan.holds, RETENTION_HOLD_STOPPED);
    assert_string_equal(plan.hold_text[0], "there is no whole backup");
}

/* Invariants 2 and 5 */
static void held_ones_and_copies_stay(void **state) {
    (void)state;
    struct retention_point p[10];
    const int64_t now = at("2026-01-10T01:00:00Z");
    history(p, 10, now - HOUR, DAY);
    p[0].held = true;
    const struct retention_rules r = {.last = 1, .min_copies = 4};
    decide(p, 10, &r, now);
    assert_int_equal(plan.holds, 0);
    assert_string_equal(verdicts[0].reason, "held");
    assert_string_equal(verdicts[8].reason, "one of at least 4 proven copies");
    assert_int_equal(plan.kept, 4); /* the held one counts, as it is proven */
}

static void holds_when_backups_have_stopped(void **state) {
    (void)state;
    struct retention_point p[10];
    const int64_t end = at("2026-01-10T00:00:00Z");
    history(p, 10, end, DAY);
    struct retention_rules r = {.last = 1};
    decide(p, 10, &r, end + 48 * HOUR);
    assert_int_equal(plan.holds, 0);
    decide(p, 10, &r, end + 48 * HOUR + 1);
    assert_int_equal(plan.holds, RETENTION_HOLD_STOPPED);
    assert_string_equal(
        plan.hold_text[0],
        "backups have stopped: the newest whole one, of 2026-01-10T00:00:00Z, is 2 d old; over 2 d holds");
    assert_int_equal(plan.forgotten, 0);
    assert_int_equal(plan.deferred, 9);
    struct error err = ERROR_INIT;
    assert_int_equal(retention_check(&plan, "prod/pg", &err), -ERR_PRUNE_HELD);
    assert_string_equal(err.text,
                        "prod/pg: 9 backups that the rules would let go stay: backups have stopped: the newest whole "
                        "one, of 2026-01-10T00:00:00Z, is 2 d old; over 2 d holds");
    assert_string_equal(err.state, "nothing was removed");
    r.stale_after_ns = HOUR;
    decide(p, 10, &r, end + 2 * HOUR);
    assert_int_equal(plan.holds, RETENTION_HOLD_STOPPED);
    r.stale_after_ns = 0;
    r.last_prune_seq = 19; /* that of the newest */
    decide(p, 10, &r, end + HOUR);
    assert_int_equal(plan.holds, RETENTION_HOLD_STOPPED);
    assert_string_equal(plan.hold_text[0],
                        "no whole backup since the last prune; the newest is of 2026-01-10T00:00:00Z");
    r.last_prune_seq = 18;
    decide(p, 10, &r, end + HOUR);
    assert_int_equal(plan.holds, 0);
}

static void holds_when_the_newest_shrank(void **state) {
    (void)state;
    struct retention_point p[7];
    const int64_t now = at("2026-01-10T01:00:00Z");
    history(p, 7, now - HOUR, DAY);
    p[0].bytes = 1000000; /* the sixth before it: not looked at */
    const uint64_t before[] = {100, 300, 1000, 5000, 400};
    for (size_t i = 0; i < 5; i++) p[1 + i].bytes = before[i];
    struct retention_rules r = {.last = 1};
    p[6].bytes = 200; /* exactly half of the median */
    decide(p, 7, &r, now);
    assert_int_equal(plan.holds, 0);
    p[6].bytes = 199;
    decide(p, 7, &r, now);
    assert_int_equal(plan.holds, RETENTION_HOLD_SHRANK);
    assert_non_null(strstr(plan.hold_text[1], "the newest backup has 199 B, under half of the usual 400 B"));
    r.accepted_seq = p[6].seq;
    decide(p, 7, &r, now);
    assert_int_equal(plan.holds, 0);
    r.accepted_seq = 0;
    p[6].bytes = 200;
    p[6].items = 4;
    decide(p, 7, &r, now);
    assert_int_equal(plan.holds, RETENTION_HOLD_SHRANK);
    assert_string_equal(plan.hold_text[1], "the newest backup has 4 items, under half of the usual 10");
    for (size_t i = 0; i < 6; i++) p[i].bytes = UINT64_MAX;
    p[6] = (struct retention_point){16, p[6].time_ns, 5, UINT64_MAX / 2, 10, false, 0};
    decide(p, 7, &r, now);
    assert_int_equal(plan.holds, RETENTION_HOLD_SHRANK);
}

static void holds_when_the_clock_jumped(void **state) {
    (void)state;
    struct retention_point p[10];
    const int64_t now = at("2026-01-10T01:00:00Z");
    history(p, 10, now - HOUR, DAY);
    struct retention_rules r = {.last = 1};
    p[5].time_ns = p[4].time_ns - 5 * 60 * NS_PER_S;
    decide(p, 10, &r, now);
    assert_int_equal(plan.holds, 0);
    p[5].time_ns -= 1;
    decide(p, 10, &r, now);
    assert_int_equal(plan.holds, RETENTION_HOLD_CLOCK);
    assert_string_equal(
        plan.hold_text[3],
        "the clock jumped: a backup of 2026-01-04T23:54:59Z was made after one of 2026-01-05T00:00:00Z");
    r.accepted_seq = p[5].seq;
    decide(p, 10, &r, now);
    assert_int_equal(plan.holds, 0);
    p[9].time_ns = now + 5 * 60 * NS_PER_S;
    decide(p, 10, &r, now);
    assert_int_equal(plan.holds, 0);
    p[9].time_ns += NS_PER_S;
    decide(p, 10, &r, now);
    assert_int_equal(plan.holds, RETENTION_HOLD_CLOCK);
    assert_string_equal(plan.hold_text[3],
                        "the clock jumped: a backup is of 2026-01-10T01:05:01Z, which is in the future");
}

static void holds_when_copies_lack(void **state) {
    (void)state;
    struct retention_point p[5];
    const int64_t now = at("2026-01-10T01:00:00Z");
    history(p, 5, now - HOUR, DAY);
    p[0].level = p[1].level = p[2].level = 0;
    const struct retention_rules r = {.last = 1, .min_copies = 3};
    decide(p, 5, &r, now);
    assert_int_equal(plan.holds, RETENTION_HOLD_COPIES);
    assert_string_equal(plan.hold_text[4], "2 of at least 3 copies are proven");
    assert_int_equal(plan.forgotten, 0);
    assert_string_equal(retention_hold_name(RETENTION_HOLD_COPIES), "copies");
}

/* ---- properties over random histories ---- */
static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint64_t dice(uint64_t n) { /* xorshift64*, 0 .. n-1 */
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (seed * 0x2545f4914f6cdd1du >> 16) % n;
}
static uint32_t maybe(uint64_t n) {
    return dice(2) ? (uint32_t)dice(n) : 0;
}

static size_t random_history(struct retention_point *p, int64_t now) {
    size_t n = (size_t)dice(N_MAX);
    uint64_t seq = 0;
    bool wild = dice(4) == 0;
    int64_t t = now - (int64_t)dice(800) * DAY;
    for (size_t i = 0; i < n; i++) {
        seq += 1 + dice(9);
        t += (int64_t)dice(36) * HOUR / 2;
        if (wild && dice(20) == 0)
            t = dice(2)   ? INT64_MAX - (int64_t)dice(99)
                : dice(2) ? INT64_MIN + (int64_t)dice(99)
                          : now - (int64_t)dice(9999) * HOUR;
        if (!wild && t > now) t = now;
        p[i] = (struct retention_point){seq,
                                        t,
                                        (unsigned)dice(7),
                                        dice(2) ? 1000 : dice(UINT64_MAX),
                                        dice(100),
                                        dice(30) == 0,
                                        dice(8) ? RETENTION_WHOLE : (enum retention_status)dice(4)};
        if (wild && t > INT64_MAX - 100 * DAY) t = now;
        if (wild && t < INT64_MIN + 100 * DAY) t = now;
    }
    return n;
}

static bool is_proven(const struct retention_point *p, const struct retention_rules *r) {
    return p->status == RETENTION_WHOLE && p->level >= (r->level_min ? r->level_min : CONFIG_LEVEL_CHECKSUM);
}

/* Whose fate one that lies aside shares; n: nobody's. */
static size_t neighbour(const struct retention_point *p, size_t n, const struct retention_rules *r, size_t i) {
    for (size_t j = i; j-- > 0;)
        if (is_proven(&p[j], r)) return j;
    for (size_t j = i; j < n; j++)
        if (is_proven(&p[j], r)) return j;
    return n;
}

static void check_invariants(const struct retention_point *p, size_t n, const struct retention_rules *r) {
    size_t newest = n, proven = 0, proven_stay = 0;
    bool any = r->last || r->hourly || r->daily || r->weekly || r->monthly || r->yearly;
    for (size_t i = 0; i < n; i++)
        if (is_proven(&p[i], r)) {
            newest = i;
            proven++;
            proven_stay += verdicts[i].decision != RETENTION_FORGET;
        }
    size_t places = r->last + r->hourly + r->daily + r->weekly + r->monthly + r->yearly, kept_by_rule = 0;
    for (size_t i = 0; i < n; i++) {
        bool forgotten = verdicts[i].decision == RETENTION_FORGET;
        assert_false(forgotten && i == newest);                            /* 1 */
        assert_false(p[i].held && verdicts[i].decision != RETENTION_KEEP); /* 2 */
        assert_false(forgotten && (newest == n || i > newest));            /* 3 */
        assert_false(forgotten && plan.holds);                             /* 6 */
        assert_false(verdicts[i].decision == RETENTION_DEFERRED && !plan.holds);
        assert_false(forgotten && !any); /* 7 */
        assert_true(verdicts[i].reason[0] != '\0');
        if (p[i].status == RETENTION_ASIDE && !p[i].held && any && newest != n && i < newest) /* 8 */
            assert_int_equal(verdicts[i].decision, verdicts[neighbour(p, n, r, i)].decision);
        kept_by_rule += strstr(verdicts[i].reason, " of ") != NULL && !strstr(verdicts[i].reason, "proven");
    }
    uint32_t copies = r->min_copies ? r->min_copies : 1;
    assert_true(proven_stay >= (proven < copies ? proven : copies)); /* 5 */
    assert_true(kept_by_rule <= places);
    assert_int_equal(plan.kept + plan.deferred + plan.forgotten, n);
    assert_int_equal(plan.proven, proven);
}

/* A point from before a restore neither takes a place nor raises a hold, however small, new and unproven it is. */
static void what_lies_aside_changes_nothing(void **state) {
    (void)state;
    struct retention_point p[12], with[13];
    struct retention_verdict alone[12];
    const int64_t now = at("2026-03-01T12:00:00Z");
    const struct retention_rules r = {.daily = 3, .min_copies = 2};
    history(p, 12, now - 2 * HOUR, DAY);
    for (size_t where = 0; where <= 12; where++) {
        decide(p, 12, &r, now);
        assert_int_equal(plan.holds, 0);
        memcpy(alone, verdicts, sizeof alone);
        for (size_t i = 0; i < 12; i++) {
            struct retention_point *to = &with[i < where ? i : i + 1];
            *to = p[i];
            to->seq = 10 + (uint64_t)(to - with);
        }
        with[where] = (struct retention_point){10 + where,        now + DAY, /* a clock that jumped, too */
                                               CONFIG_LEVEL_FULL, 1,         1, false, RETENTION_ASIDE};
        decide(with, 13, &r, now);
        assert_int_equal(plan.holds, 0);
        assert_int_equal(plan.proven, 12);
        for (size_t i = 0; i < 12; i++) assert_int_equal(verdicts[i < where ? i : i + 1].decision, alone[i].decision);
        const size_t by = where ? where - 1 : 0;
        assert_int_equal(verdicts[where].decision, alone[by].decision);
        assert_non_null(strstr(verdicts[where].reason, where == 12 ? "newer than" : "before a restore"));
    }
}

static void random_histories_keep_the_invariants(void **state) {
    (void)state;
    static struct retention_point p[N_MAX];
    static struct retention_verdict later[N_MAX];
    size_t forgot = 0, held = 0;
    for (unsigned round = 0; round < 4000; round++) {
        const int64_t now = at("2026-06-01T00:00:00Z") + (int64_t)dice(1000) * HOUR;
        size_t n = random_history(p, now);
        struct retention_rules r = {
            .last = maybe(10),
            .hourly = maybe(50),
            .daily = maybe(30),
            .weekly = maybe(10),
            .monthly = maybe(24),
            .yearly = maybe(5),
            .min_copies = maybe(6),
            .level_min = (unsigned)maybe(7),
            .stale_after_ns = dice(2) ? INT64_MAX : (int64_t)dice(100) * HOUR,
            .last_prune_seq = dice(2) ? 0 : dice(900),
            .accepted_seq = dice(2) ? UINT64_MAX : 0,
        };
        decide(p, n, &r, now);
        check_invariants(p, n, &r);
        forgot += plan.forgotten > 0;
        held += plan.deferred > 0;
        /* Invariant 4: the passing of time alone, however long, forgets nothing more. */
        memcpy(later, verdicts, sizeof(later));
        decide(p, n, &r, now + (int64_t)dice(5000) * DAY);
        for (size_t i = 0; i < n; i++)
            assert_false(verdicts[i].decision == RETENTION_FORGET && later[i].decision == RETENTION_KEEP);
    }
    assert_true(forgot > 300); /* the histories do reach both ends */
    assert_true(held > 300);
}

/* What a first run forgets and a second sees: pruning again at once removes nothing more. */
static void pruning_twice_is_pruning_once(void **state) {
    (void)state;
    static struct retention_point p[N_MAX];
    for (unsigned round = 0; round < 1000; round++) {
        const int64_t now = at("2026-06-01T00:00:00Z");
        size_t n = random_history(p, now), left = 0;
        struct retention_rules r = {.last = maybe(10),
                                    .daily = 1 + maybe(30),
                                    .weekly = maybe(10),
                                    .monthly = maybe(12),
                                    .min_copies = maybe(4),
                                    .stale_after_ns = INT64_MAX,
                                    .accepted_seq = UINT64_MAX};
        decide(p, n, &r, now);
        for (size_t i = 0; i < n; i++)
            if (verdicts[i].decision != RETENTION_FORGET) p[left++] = p[i];
        decide(p, left, &r, now);
        assert_int_equal(plan.forgotten, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_by_place),
        cmocka_unit_test(takes_the_newest_of_each_hour_and_year),
        cmocka_unit_test(counts_no_calendar),
        cmocka_unit_test(a_restless_clock_uses_up_no_places),
        cmocka_unit_test(unproven_ones_fill_no_places),
        cmocka_unit_test(without_rules_or_proof_all_stay),
        cmocka_unit_test(held_ones_and_copies_stay),
        cmocka_unit_test(holds_when_backups_have_stopped),
        cmocka_unit_test(holds_when_the_newest_shrank),
        cmocka_unit_test(holds_when_the_clock_jumped),
        cmocka_unit_test(holds_when_copies_lack),
        cmocka_unit_test(what_lies_aside_changes_nothing),
        cmocka_unit_test(random_histories_keep_the_invariants),
        cmocka_unit_test(pruning_twice_is_pruning_once),
    };
    return cmocka_run_group_tests_name("platform/retention", tests, NULL, NULL);
}
