#include "base/proc.h"
#include "base/seam.h"
#include "work/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* after what it needs */
#include <cmocka.h>

static struct buf written(const struct metric_sample *samples, size_t n) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(65536);
    assert_int_equal(metrics_write(samples, n, &b, &err), 0);
    assert_int_equal(buf_terminate(&b, &err), 0);
    return b;
}

static const struct metric_sample samples[] = {
    {.metric = METRIC_BUILD_INFO, .version = "0.1.0", .value = 1},
    {.metric = METRIC_POLICY_RPO, .env = "prod", .surface = "pg", .value = 300},
    {.metric = METRIC_BACKUP_LAST_SUCCESS, .env = "prod", .surface = "a\"b\\c\nd", .repo = "main", .value = 1771225200},
    {.metric = METRIC_POLICY_RPO, .env = "dev", .surface = "pg", .value = 0.5},
    {.metric = METRIC_LEDGER_ENTRIES, .repo = "main", .value = 9007199254740993.0},
    {.metric = METRIC_REPOSITORY_BYTES, .repo = "main", .value = INFINITY},
};
#define SAMPLE_COUNT (sizeof samples / sizeof *samples)

static void samples_are_grouped_and_escaped(void **state) {
    struct buf b = written(samples, SAMPLE_COUNT);
    (void)state;
    assert_string_equal(
        (char *)b.ptr,
        "# HELP proofkeep_backup_last_success_timestamp_seconds When the last successful backup of the surface ended.\n"
        "# TYPE proofkeep_backup_last_success_timestamp_seconds gauge\n"
        "proofkeep_backup_last_success_timestamp_seconds{env=\"prod\",surface=\"a\\\"b\\\\c\\nd\",repo=\"main\"} "
        "1771225200\n"
        "# HELP proofkeep_policy_rpo_seconds How much loss the policy allows; absent where it allows any.\n"
        "# TYPE proofkeep_policy_rpo_seconds gauge\n"
        "proofkeep_policy_rpo_seconds{env=\"prod\",surface=\"pg\"} 300\n"
        "proofkeep_policy_rpo_seconds{env=\"dev\",surface=\"pg\"} 0.5\n"
        "# HELP proofkeep_ledger_entries Entries in the repository's log.\n"
        "# TYPE proofkeep_ledger_entries gauge\n"
        "proofkeep_ledger_entries{repo=\"main\"} 9007199254740992\n"
        "# HELP proofkeep_repository_bytes Bytes that the repository's objects take.\n"
        "# TYPE proofkeep_repository_bytes gauge\n"
        "proofkeep_repository_bytes{repo=\"main\"} +Inf\n"
        "# HELP proofkeep_build_info Always 1; the label says which version answered.\n"
        "# TYPE proofkeep_build_info gauge\n"
        "proofkeep_build_info{version=\"0.1.0\"} 1\n");
    buf_free(&b);
}

static void refused(const struct metric_sample *wrong, size_t n, const char *why) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(65536);
    assert_int_equal(metrics_write(wrong, n, &b, &err), -ERR_INTERNAL);
    assert_string_equal(err.text, why);
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void what_no_reader_could_take_is_refused(void **state) {
    const struct metric_sample missing = {.metric = METRIC_LEDGER_ENTRIES};
    const struct metric_sample extra = {.metric = METRIC_LEDGER_ENTRIES, .repo = "r", .env = "e"};
    const struct metric_sample twice[] = {{.metric = METRIC_LEDGER_ENTRIES, .repo = "r"},
                                          {.metric = METRIC_LEDGER_ENTRIES, .repo = "r"}};
    (void)state;
    refused(&missing, 1, "label repo of metric proofkeep_ledger_entries is missing or too many");
    refused(&extra, 1, "label env of metric proofkeep_ledger_entries is missing or too many");
    refused(twice, 2, "metric proofkeep_ledger_entries has one series twice");
}

static void an_unknown_value_is_no_line(void **state) {
    struct buf b = written(NULL, 0);
    (void)state;
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

/* The oracle: the parser of Prometheus' own Python client. */
static void prometheus_reads_what_was_written(void **state) {
    static const char script[] = "import sys\n"
                                 "try:\n from prometheus_client.parser import text_string_to_metric_families as parse\n"
                                 "except ImportError:\n sys.exit(77)\n"
                                 "for f in parse(open(sys.argv[1]).read()):\n"
                                 " for s in f.samples: print(s.name, f.type, sorted(s.labels.items()), s.value)\n";
    struct error err = ERROR_INIT;
    struct buf text = written(samples, SAMPLE_COUNT), out = BUF_INIT(65536);
    char path[] = "/tmp/proofkeep-metrics-XXXXXX";
    int status = 0, fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text.ptr, text.len), (ssize_t)text.len);
    close(fd);
    const char *const argv[] = {"/usr/bin/python3", "-c", script, path, NULL};
    struct proc_spec spec = {.argv = argv, .keep_fd = -1, .pipe_out = true};
    struct proc *p = NULL;
    assert_int_equal(proc_start(&spec, &p, &err), 0);
    assert_int_equal(buf_reserve(&out, 32768, &err), 0);
    assert_int_equal(io_read_full(proc_out(p), out.ptr, 32767, &out.len, "python3", &err), 0);
    out.ptr[out.len] = 0;
    (void)!proc_wait(p, &status, &err);
    unlink(path);
    bool missing = status == 77;
    if (status == 0) {
        assert_non_null(strstr((char *)out.ptr,
                               "proofkeep_backup_last_success_timestamp_seconds gauge [('env', 'prod'), "
                               "('repo', 'main'), ('surface', 'a\"b\\\\c\\nd')] 1771225200.0\n"));
        assert_non_null(
            strstr((char *)out.ptr, "proofkeep_policy_rpo_seconds gauge [('env', 'dev'), ('surface', 'pg')] 0.5\n"));
        assert_non_null(strstr((char *)out.ptr, "proofkeep_repository_bytes gauge [('repo', 'main')] inf\n"));
    } else if (!missing) {
        fail_msg("%s", err.text);
    }
    proc_free(p);
    buf_free(&text);
    buf_free(&out);
    if (missing) {
        print_message("# python3-prometheus-client is not installed\n");
        skip();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_grouped_and_escaped),
        cmocka_unit_test(what_no_reader_could_take_is_refused),
        cmocka_unit_test(an_unknown_value_is_no_line),
        cmocka_unit_test(prometheus_reads_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
