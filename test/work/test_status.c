#include "work_kit.h"

#include "base/time.h"
#include "work/backup.h"
#include "work/status.h"
#include "work/verify.h"
#include "work/wal_receive.h"

#include <stdio.h>

#define TARGETS "    policy: { rpo: 24h, verify: checksum }\n"

static const struct status_row *row_of(const struct status *s, const char *surface) {
    for (size_t i = 0; i < s->row_count; i++)
        if (strcmp(s->rows[i].surface, surface) == 0) return &s->rows[i];
    fail_msg("no row for %s", surface);
    return NULL;
}

static struct status looked(struct work_kit *k, const char *what) {
    struct error err = ERROR_INIT;
    struct selection s;
    struct status st;
    kit_ok(selection_parse(what, false, &s, &err), &err);
    kit_ok(repo_sync(k->work->repo, &err), &err);
    kit_ok(work_status(k->work, &s, &st, &err), &err);
    return st;
}

static void expect(struct work_kit *k, const char *surface, enum status_state state, const char *why) {
    struct status st = looked(k, "dev");
    const struct status_row *r = row_of(&st, surface);
    if (r->state != state)
        fail_msg("%s is %s (%s) instead of %s", surface, status_state_name(r->state), r->why, status_state_name(state));
    if (!strstr(r->why, why)) fail_msg("'%s' is not in '%s'", why, r->why);
    status_free(&st);
}

static void a_surface_goes_from_nothing_to_proven(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, TARGETS);
    expect(&k, "files", STATUS_BREACHED, "there is no whole backup");
    uint64_t seq = work_kit_point(&k, "files", 100, 1);
    expect(&k, "files", STATUS_UNPROVEN, "no backup is verified at 'checksum'");
    work_kit_verify(&k, seq, VERIFY_PRESENT, true);
    expect(&k, "files", STATUS_UNPROVEN, "no backup is verified at 'checksum'");
    work_kit_verify(&k, seq, VERIFY_CHECKSUM, true);
    expect(&k, "files", STATUS_GOOD, "");
    work_kit_verify(&k, seq, VERIFY_DECODE, false);
    expect(&k, "files", STATUS_DAMAGED, "failed its verification");
    work_kit_end(&k);
}

static void without_targets_nothing_is_breached_and_nothing_is_called_good(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, NULL);
    expect(&k, "files", STATUS_NO_BACKUP, "no whole backup");
    struct status st = looked(&k, "dev/files");
    assert_fails(status_check(&st, &err), ERR_TARGET_BREACHED, "dev/files has no backup: there is");
    status_free(&st);
    uint64_t seq = work_kit_point(&k, "files", 100, 1);
    expect(&k, "files", STATUS_UNPROVEN, "no backup is verified");
    work_kit_verify(&k, seq, VERIFY_CHECKSUM, true);
    expect(&k, "files", STATUS_NO_TARGET, "no RPO is set");
    work_kit_point(&k, "gone", 100, 1);
    expect(&k, "gone", STATUS_NO_TARGET, "the configuration does not have it");
    work_kit_end(&k);
}

static void a_target_of_none_asks_for_nothing(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, "    policy: { rpo: none }\n");
    expect(&k, "files", STATUS_GOOD, "");
    work_kit_end(&k);
}

static void an_rto_is_kept_only_by_a_restore_that_was_proven(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, "    policy: { rpo: 24h, rto: 1h }\n");
    uint64_t seq = work_kit_point(&k, "files", 100, 1);
    work_kit_verify(&k, seq, VERIFY_DECODE, true);
    expect(&k, "files", STATUS_UNPROVEN, "no restore was ever proven");
    work_kit_verify(&k, seq, VERIFY_FULL, true);
    expect(&k, "files", STATUS_GOOD, "");
    work_kit_end(&k);
}

static void a_lower_rung_does_not_refresh_a_higher_one(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, TARGETS);
    uint64_t seq = work_kit_point(&k, "files", 100, 1);
    work_kit_verify(&k, seq, VERIFY_FULL, true);
    int64_t full = work_kit_info(&k, seq)->verified_ns;
    struct timespec wait = {1, 100000000}; /* entries carry whole seconds */
    nanosleep(&wait, NULL);
    work_kit_verify(&k, seq, VERIFY_PRESENT, true);
    const struct snapshot_info *i = work_kit_info(&k, seq);
    assert_int_equal(i->verified, VERIFY_FULL);
    assert_int_equal(i->verified_ns, full);
    assert_true(i->level_ns[VERIFY_PRESENT] > full);
    struct status st = looked(&k, "dev/files");
    assert_int_equal(st.rows[0].level_ns[VERIFY_FULL], full);
    assert_int_equal(st.rows[0].level_ns[VERIFY_CHECKSUM], full);
    assert_true(st.rows[0].level_ns[VERIFY_PRESENT] > full);
    status_free(&st);
    work_kit_end(&k);
}

static void the_check_names_what_fails_worst_first(void **state) {
    struct work_kit k;
    (void)state;
    work_kit_begin(&k, TARGETS);
    work_kit_point(&k, "files", 100, 1);
    struct status st = looked(&k, "dev");
    assert_int_equal(st.row_count, 2);
    assert_string_equal(st.rows[0].surface, "other"); /* breached before unproven */
    assert_fails(status_check(&st, &err), ERR_TARGET_BREACHED, "dev/other is breached", "dev/files is unproven");
    status_free(&st);
    st = looked(&k, "dev/@truth");
    assert_int_equal(st.row_count, 1);
    status_free(&st);
    work_kit_end(&k);
}

static void the_metrics_say_only_what_is_known(void **state) {
    struct work_kit k;
    struct buf b = BUF_INIT(1 << 20);
    (void)state;
    work_kit_begin(&k, TARGETS);
    uint64_t seq = work_kit_point(&k, "files", 100, 1);
    work_kit_verify(&k, seq, VERIFY_CHECKSUM, true);
    struct status st = looked(&k, "dev");
    assert_works(status_metrics(&st, "1.2.3", &b, &err));
    assert_works(buf_terminate(&b, &err));
    const char *text = (char *)b.ptr;
    assert_non_null(strstr(text, "proofkeep_backup_size_bytes{env=\"dev\",surface=\"files\",repo=\"main\"} 100\n"));
    assert_null(strstr(text, "proofkeep_backup_size_bytes{env=\"dev\",surface=\"other\""));
    assert_non_null(strstr(text, "proofkeep_policy_rpo_seconds{env=\"dev\",surface=\"other\"} 86400\n"));
    assert_null(strstr(text, "proofkeep_policy_rto_seconds"));
    assert_non_null(strstr(text, "level=\"checksum\"}"));
    assert_null(strstr(text, "level=\"decode\"}"));
    assert_non_null(strstr(text, "proofkeep_ledger_entries{repo=\"main\"} 3\n"));
    buf_free(&b);
    status_free(&st);
    work_kit_end(&k);
}

static void a_repository_out_of_reach_is_unknown_and_fails(void **state) {
    struct work_kit k;
    struct error err = ERROR_INIT;
    char away[160];
    (void)state;
    work_kit_begin(&k, TARGETS);
    repo_close(k.work->repo);
    store_close(k.work->store);
    k.work->repo = NULL;
    k.work->store = NULL;
    snprintf(away, sizeof away, "%s.away", k.kit.repo_dir);
    assert_int_equal(seam_renameat2(AT_FDCWD, k.kit.repo_dir, AT_FDCWD, away, 0), 0);
    struct selection s;
    struct status st;
    kit_ok(selection_parse(NULL, false, &s, &err), &err);
    kit_ok(work_status(k.work, &s, &st, &err), &err);
    assert_int_equal(st.rows[0].state, STATUS_UNKNOWN);
    assert_int_equal(st.unreachable.code, ERR_REPO_NONE);
    assert_true(status_fails(STATUS_UNKNOWN));
    status_free(&st);
    assert_int_equal(seam_renameat2(AT_FDCWD, away, AT_FDCWD, k.kit.repo_dir, 0), 0);
    work_kit_end(&k);
}

static void each_surface_has_the_time_of_its_own_restore(void **state) {
    struct work_kit k;
    struct verify_result v;
    char small[160], large[160], path[200];
    (void)state;
    work_kit_begin(&k, "    policy: { rpo: 24h, rto: 1h }\n");
    snprintf(small, sizeof small, "%s/small", k.kit.dir);
    snprintf(large, sizeof large, "%s/large", k.kit.dir);
    assert_works(io_mkdirs(small, 0755, &err));
    assert_works(io_mkdirs(large, 0755, &err));
    for (int i = 0; i < 2000; i++) {
        snprintf(path, sizeof path, "%s/%d", i ? large : small, i);
        assert_works(io_replace_file(AT_FDCWD, path, BYTES_STR(path), 0600, &err));
    }
    const char *const folders[] = {large, small}, *const names[] = {"files", "other"};
    for (int i = 0; i < 2; i++) {
        struct error err = ERROR_INIT;
        struct work_surface s;
        struct backup_options o = {0};
        struct backup_result r;
        const char *paths[] = {folders[i]};
        kit_ok(backup_adhoc_surface(paths, 1, names[i], &s, &err), &err);
        snprintf(s.environment, sizeof s.environment, "dev");
        kit_ok(backup_surface(k.work, &s, &o, &r, &err), &err);
        work_surface_close(&s);
    }
    const struct snapshot_info *list[] = {repo_latest(k.work->repo, "dev", "files"),
                                          repo_latest(k.work->repo, "dev", "other")};
    assert_works(verify_snapshots(k.work, list, 2, VERIFY_FULL, NULL, NULL, &v, &err));
    assert_true(v.passed);
    assert_int_equal(v.points, 2);
    struct status st = looked(&k, "dev");
    int64_t many = row_of(&st, "files")->restore_took_ns, one = row_of(&st, "other")->restore_took_ns;
    /* restoring one file takes no part of restoring two thousand, and neither has the time of the run */
    assert_true(one > 0 && one < many && one + many <= v.duration_ns + 2 * 1000000);
    status_free(&st);
    json_decref(v.differences);
    work_kit_end(&k);
}

/* ---- what a server says of WAL that is old ---- */

#define MIB (UINT64_C(1) << 20)
#define ASKED (INT64_C(1700000000) * NS_PER_S)

static struct status_row told_of(const struct wal_range *ranges, size_t n, const struct wal_written *w) {
    struct wal_view v = {
        .system = 7, .segment_bytes = 16 * MIB, .ranges = (struct wal_range *)ranges, .range_count = n};
    struct status_row r = {.good_time_ns = 5 * NS_PER_S, .wal = {.reaches = true, .newest_ns = 10 * NS_PER_S}};
    status_wal_server(&r, &v, w, ASKED);
    return r;
}

static void expect_told(const struct wal_range *ranges, size_t n, struct wal_written w, enum status_server server,
                        int64_t sure_ns, const char *why) {
    struct status_row r = told_of(ranges, n, &w);
    assert_string_equal(status_server_name(r.wal.server), status_server_name(server));
    assert_int_equal(r.wal.sure_ns, sure_ns);
    if (!strstr(r.wal.server_why, why)) fail_msg("'%s' is not in '%s'", why, r.wal.server_why);
    assert_int_equal(status_stored_ns(&r), sure_ns > 10 * NS_PER_S ? sure_ns : 10 * NS_PER_S);
}

static void only_a_server_that_has_written_nothing_more_makes_old_wal_young(void **state) {
    const struct wal_range one[] = {{1, 0, 40 * MIB, 1, 1}},
                           two[] = {{1, 0, 40 * MIB, 1, 1}, {2, 32 * MIB, 64 * MIB, 1, 1}};
    const int64_t minute = 60 * NS_PER_S;
    (void)state;
    expect_told(one, 1, (struct wal_written){7, false, 1, 40 * MIB, MIB, 0}, STATUS_SERVER_SAME, ASKED,
                "nothing since");
    expect_told(one, 1, (struct wal_written){7, false, 1, 40 * MIB + 1, MIB, 0}, STATUS_SERVER_AHEAD, 0,
                "1 B that is not");
    /* archive_timeout speaks of the segment that is being written, and of no other */
    expect_told(one, 1, (struct wal_written){7, false, 1, 40 * MIB + 1, MIB, minute}, STATUS_SERVER_SOON,
                ASKED - 2 * minute, "is less than ");
    expect_told(one, 1, (struct wal_written){7, false, 1, 48 * MIB - 1, MIB, minute}, STATUS_SERVER_SOON,
                ASKED - 2 * minute, "");
    expect_told(one, 1, (struct wal_written){7, false, 1, 48 * MIB, MIB, minute}, STATUS_SERVER_AHEAD, 0, "8 MiB");
    /* nor of what was in it before the server started, behind which its checkpoints are */
    expect_told(one, 1, (struct wal_written){7, false, 1, 48 * MIB - 1, 32 * MIB + 40, minute}, STATUS_SERVER_SOON,
                ASKED - 2 * minute, "");
    expect_told(one, 1, (struct wal_written){7, false, 1, 48 * MIB - 1, 32 * MIB + 48, minute}, STATUS_SERVER_AHEAD, 0,
                "");
    /* one that is not there, where WAL comes from */
    expect_told(one, 1, (struct wal_written){7, false, 1, 40 * MIB - 1, MIB, minute}, STATUS_SERVER_OTHER, 0,
                "up to 0/27FFFFF only");
    expect_told(one, 1, (struct wal_written){8, false, 1, 40 * MIB, MIB, 0}, STATUS_SERVER_OTHER, 0,
                "another cluster, 8");
    expect_told(two, 2, (struct wal_written){7, false, 1, 40 * MIB, MIB, 0}, STATUS_SERVER_OTHER, 0,
                "on timeline 1, and timeline 2");
    expect_told(two, 2, (struct wal_written){7, false, 2, 64 * MIB, MIB, 0}, STATUS_SERVER_SAME, ASKED,
                "nothing since");
    expect_told(one, 1, (struct wal_written){7, false, 2, 40 * MIB, MIB, minute}, STATUS_SERVER_AHEAD, 0,
                "of which nothing is stored");
    expect_told(one, 1, (struct wal_written){.system = 7, .standby = true}, STATUS_SERVER_SILENT, 0, "standby");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_server_that_has_written_nothing_more_makes_old_wal_young),
        cmocka_unit_test(a_surface_goes_from_nothing_to_proven),
        cmocka_unit_test(without_targets_nothing_is_breached_and_nothing_is_called_good),
        cmocka_unit_test(a_target_of_none_asks_for_nothing),
        cmocka_unit_test(an_rto_is_kept_only_by_a_restore_that_was_proven),
        cmocka_unit_test(a_lower_rung_does_not_refresh_a_higher_one),
        cmocka_unit_test(the_check_names_what_fails_worst_first),
        cmocka_unit_test(the_metrics_say_only_what_is_known),
        cmocka_unit_test(a_repository_out_of_reach_is_unknown_and_fails),
        cmocka_unit_test(each_surface_has_the_time_of_its_own_restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
