/* Receipts have the document's shape, say only what is known, and carry no credentials (K11, K12). */
#include "base/seam.h"
#include "base/time.h"
#include "evidence/receipt.h"
#include "evidence/statement.h"
#include "ledger/statement.h"
#include "schema.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        err = ERROR_INIT;                                                                                              \
        if ((call) != 0) fail_msg("%s: %s", #call, err.text);                                                          \
    } while (0)
#define REFUSED(call, want, fragment)                                                                                  \
    do {                                                                                                               \
        err = ERROR_INIT;                                                                                              \
        assert_int_equal((call), -ERR_##want);                                                                         \
        if (!strstr(err.text, fragment)) fail_msg("'%s' is not in '%s'", fragment, err.text);                          \
    } while (0)

static struct error err;

/* 2026-02-16T07:00:00Z and a quarter of an hour later */
#define STARTED INT64_C(1771225200000000000)
#define COMPLETED (STARTED + 900 * NS_PER_S)

static const struct receipt_artifact one_artifact = {"s3://bucket/backups/x", {{0xab, 0xcd}}, 123456789};

static struct receipt sample(void) {
    return (struct receipt){.backup_id = "bkp-20260216-070000Z-1f2e3d4c",
                            .environment = "prod",
                            .surface = "postgis",
                            .method = "logical_dump",
                            .started_ns = STARTED,
                            .completed_ns = COMPLETED,
                            .status = RECEIPT_SUCCESS,
                            .artifacts = &one_artifact,
                            .artifact_count = 1,
                            .git_repo = "https://git.example.com/kfm",
                            .git_sha = "0123abcd",
                            .initiated_by = INITIATED_BY_AUTOMATION,
                            .principal = "backup@host",
                            .notes = "nightly"};
}

static json_t *schema;

static int setup(void **state) {
    (void)state;
    CLEANUP(buf_free) struct buf text = BUF_INIT(1u << 20);
    OK(crypto_init(&err));
    OK(io_read_file(AT_FDCWD, PK_SOURCE_ROOT "/doc/reference/backup-receipt.schema.json", (1u << 20) - 1, &text, &err));
    OK(json_parse(buf_bytes(&text), 1u << 20, "schema", &schema, &err));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    json_decref(schema);
    return 0;
}

static void expect_schema(const json_t *predicate) {
    char why[256] = "";
    if (!schema_check(schema, predicate, "receipt", why)) fail_msg("%s", why);
}

static const char *text_at(const json_t *o, const char *a, const char *b) {
    const json_t *j = json_object_get(o, a);
    return json_string_value(b ? json_object_get(j, b) : j);
}

static void a_receipt_is_the_documents_json(void **state) {
    (void)state;
    struct receipt r = sample();
    json_t *p = NULL, *want;
    OK(receipt_predicate(&r, NULL, &p, &err));
    expect_schema(p);
    want =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:[{s:s,s:s,s:i}],s:{s:b,s:s,s:n},s:{s:s,s:s,s:s},s:{s:s,s:s},s:s}",
                  "schema", "io.kfm.backup-receipt.v1", "backup_id", "bkp-20260216-070000Z-1f2e3d4c", "environment",
                  "prod", "surface", "postgis", "method", "logical_dump", "started_at", "2026-02-16T07:00:00Z",
                  "completed_at", "2026-02-16T07:15:00Z", "status", "success", "artifacts", "uri",
                  "s3://bucket/backups/x", "sha256", "abcd000000000000000000000000000000000000000000000000000000000000",
                  "bytes", 123456789, "integrity", "validated", 0, "validation_method", "checksum", "validated_at",
                  "git", "repo", "https://git.example.com/kfm", "sha", "0123abcd", "change_ticket", "", "operator",
                  "initiated_by", "automation", "principal", "backup@host", "notes", "nightly");
    assert_non_null(want);
    assert_true(json_equal(p, want));
    json_decref(p);
    json_decref(want);
}

static void the_documents_own_members_are_all_there_and_in_its_order(void **state) {
    (void)state;
    static const char *const order[] = {"schema",     "backup_id",    "environment", "surface",   "method",
                                        "started_at", "completed_at", "status",      "artifacts", "integrity",
                                        "git",        "operator",     "notes"};
    struct receipt r = sample();
    json_t *p = NULL, *value;
    const char *key;
    size_t i = 0;
    OK(receipt_predicate(&r, NULL, &p, &err));
    json_object_foreach(p, key, value) assert_string_equal(key, order[i++]);
    assert_int_equal(i, sizeof(order) / sizeof(*order));
    json_decref(p);
}

static void expect_integrity(const struct verification_result *v, bool validated, const char *method, const char *at) {
    struct receipt r = sample();
    json_t *p = NULL;
    r.verification = v;
    OK(receipt_predicate(&r, NULL, &p, &err));
    expect_schema(p);
    const json_t *o = json_object_get(p, "integrity");
    assert_int_equal(json_is_true(json_object_get(o, "validated")), validated);
    assert_string_equal(json_string_value(json_object_get(o, "validation_method")), method);
    if (at)
        assert_string_equal(json_string_value(json_object_get(o, "validated_at")), at);
    else
        assert_true(json_is_null(json_object_get(o, "validated_at")));
    json_decref(p);
}

/* K: a receipt cannot say `validated` by hand. */
static void validated_is_true_only_by_a_verification_that_ran(void **state) {
    (void)state;
    const char *at = "2026-02-16T08:00:00Z";
    struct verification_result v = {.completed_ns = STARTED + 3600 * NS_PER_S};
    expect_integrity(NULL, false, "checksum", NULL);
    for (int l = VERIFY_NONE; l <= VERIFY_REBUILD; l++)
        for (int c = CHECK_NOT_CHECKED; c <= CHECK_UNREADABLE; c++)
            for (unsigned findings = 0; findings < 2; findings++) {
                v.level = (enum verify_level)l;
                v.result = (enum check_result)c;
                v.findings = findings;
                bool ran = c != CHECK_NOT_CHECKED && l >= VERIFY_CHECKSUM;
                const char *method = !ran || l <= VERIFY_DECODE ? "checksum"
                                     : l == VERIFY_SPOT         ? "spot_restore"
                                                                : "full_restore_test";
                if (l == VERIFY_NONE && c != CHECK_NOT_CHECKED) continue; /* no such result */
                expect_integrity(&v, ran && c == CHECK_VERIFIED && !findings, method, ran ? at : NULL);
            }
}

static void a_success_names_its_artifacts_and_a_failure_its_job(void **state) {
    (void)state;
    struct receipt r = sample();
    json_t *st = NULL, *p = NULL;
    const char *name;
    struct digest d, want;
    OK(receipt_statement(&r, NULL, &st, &err));
    OK(statement_check(st, &err));
    assert_string_equal(statement_type(st), "https://proofkeep.dev/backup-receipt/v1");
    assert_int_equal(json_array_size(json_object_get(st, "subject")), 1);
    OK(statement_subject(st, 0, &name, &d, &err));
    assert_string_equal(name, "s3://bucket/backups/x");
    assert_true(digest_equal(&d, &one_artifact.sha256));
    json_decref(st);

    r.status = RECEIPT_FAILURE;
    r.artifact_count = 0;
    r.notes = "PK-PG-001 PK: the server is out of reach";
    OK(receipt_statement(&r, NULL, &st, &err));
    OK(receipt_predicate(&r, NULL, &p, &err));
    expect_schema(p);
    assert_string_equal(text_at(p, "status", NULL), "failure");
    CLEANUP(buf_free) struct buf text = BUF_INIT(65536);
    OK(json_write(p, &text, &err));
    sha256(buf_bytes(&text), &want);
    OK(statement_check(st, &err));
    OK(statement_subject(st, 0, &name, &d, &err));
    assert_string_equal(name, "job/bkp-20260216-070000Z-1f2e3d4c");
    assert_true(digest_equal(&d, &want));
    json_decref(st);
    json_decref(p);
}

static void credentials_do_not_get_into_a_receipt(void **state) {
    (void)state;
    const struct bytes secrets[] = {BYTES_STR("hunter2")};
    const struct redaction known = {secrets, 1};
    struct receipt r = sample();
    struct receipt_artifact a = one_artifact;
    json_t *extra = json_pack("{s:{s:s}}", "versions", "server", "15.2 with hunter2");
    json_t *st = NULL;
    CLEANUP(buf_free) struct buf text = BUF_INIT(65536);
    a.uri = "s3://key:hunter2@bucket/x";
    r.artifacts = &a;
    r.git_repo = "https://u:hunter2@git.example.com/kfm";
    r.git_sha = r.change_ticket = r.principal = r.notes = "password=hunter2";
    r.extra = extra;
    OK(receipt_statement(&r, &known, &st, &err));
    OK(json_write(st, &text, &err));
    assert_null(memmem(text.ptr, text.len, "hunter2", 7));
    assert_non_null(memmem(text.ptr, text.len, "s3://[redacted]@bucket/x", 24));
    buf_clear(&text);
    json_decref(st);
    OK(receipt_statement(&r, NULL, &st, &err)); /* without being told the secret */
    OK(json_write(st, &text, &err));
    assert_null(memmem(text.ptr, text.len, "key:hunter2", 11));
    assert_null(memmem(text.ptr, text.len, "=hunter2", 8));
    json_decref(st);
    json_decref(extra);
}

static void what_the_schema_forbids_is_a_bug_and_refused(void **state) {
    (void)state;
    struct receipt r = sample();
    json_t *p = NULL, *clash = json_pack("{s:s}", "status", "success"), *ledger = json_pack("{s:i}", "ledger", 1);
    r.method = "magic";
    REFUSED(receipt_predicate(&r, NULL, &p, &err), INTERNAL, "method is unknown");
    r = sample();
    r.completed_ns = r.started_ns - 1;
    REFUSED(receipt_predicate(&r, NULL, &p, &err), INTERNAL, "ends before it begins");
    r = sample();
    r.artifact_count = 0;
    REFUSED(receipt_predicate(&r, NULL, &p, &err), INTERNAL, "success without an artifact");
    r = sample();
    r.environment = "";
    REFUSED(receipt_predicate(&r, NULL, &p, &err), INTERNAL, "no environment");
    r = sample();
    r.backup_id = "x";
    REFUSED(receipt_predicate(&r, NULL, &p, &err), INTERNAL, "backup id");
    r = sample();
    r.extra = clash;
    REFUSED(receipt_predicate(&r, NULL, &p, &err), INTERNAL, "\"status\" is not free");
    r.extra = ledger;
    REFUSED(receipt_predicate(&r, NULL, &p, &err), INTERNAL, "\"ledger\" is not free");
    assert_null(p);
    json_decref(clash);
    json_decref(ledger);
}

static void ids_have_the_documents_form(void **state) {
    (void)state;
    char a[BACKUP_ID_BYTES], b[BACKUP_ID_BYTES];
    OK(receipt_backup_id(STARTED, a, &err));
    OK(receipt_backup_id(STARTED, b, &err));
    assert_true(schema_matches("^bkp-20260216-070000Z-[0-9a-f]{8}$", a));
    assert_string_not_equal(a, b);
}

static void the_rungs_have_their_names(void **state) {
    (void)state;
    static const char *const names[] = {"present", "checksum", "decode", "spot", "full", "rebuild"};
    for (int i = 0; i < 6; i++) assert_string_equal(level_name((enum verify_level)(i + 1)), names[i]);
}

static const struct about about = {"bkp-20260216-070000Z-1f2e3d4c", 17, {{0x11}}};

static void a_verification_is_recorded_in_in_totos_words(void **state) {
    (void)state;
    struct verification_result v = {
        .result = CHECK_VERIFIED, .level = VERIFY_DECODE, .started_ns = STARTED, .completed_ns = COMPLETED};
    json_t *st = NULL;
    OK(evidence_verification(&about, &v, "ci", NULL, NULL, &st, &err));
    OK(statement_check(st, &err));
    json_t *p = statement_predicate(st);
    assert_string_equal(statement_type(st), "https://proofkeep.dev/verification/v1");
    assert_string_equal(text_at(p, "result", NULL), "PASSED");
    assert_string_equal(text_at(p, "check", NULL), "VERIFIED");
    assert_string_equal(text_at(p, "level", NULL), "decode");
    assert_int_equal(json_integer_value(json_object_get(p, "seq")), 17);
    assert_int_equal(strncmp(text_at(p, "receipt", NULL), "1100", 4), 0);
    assert_int_equal(json_array_size(json_object_get(p, "passedTests")), 3);
    assert_int_equal(json_array_size(json_object_get(p, "failedTests")), 0);
    assert_int_equal(json_array_size(json_object_get(p, "configuration")), 1);
    json_decref(st);
    v.warnings = 1;
    OK(evidence_verification(&about, &v, "ci", NULL, NULL, &st, &err));
    assert_string_equal(text_at(statement_predicate(st), "result", NULL), "WARNED");
    json_decref(st);
    for (int c = CHECK_MISSING; c <= CHECK_UNREADABLE; c++) {
        v.result = (enum check_result)c;
        OK(evidence_verification(&about, &v, "ci", NULL, NULL, &st, &err));
        p = statement_predicate(st);
        assert_string_equal(text_at(p, "result", NULL), "FAILED");
        assert_int_equal(json_array_size(json_object_get(p, "passedTests")), 0);
        assert_string_equal(json_string_value(json_array_get(json_object_get(p, "failedTests"), 0)), "decode");
        json_decref(st);
    }
    v.result = CHECK_NOT_CHECKED;
    st = NULL;
    REFUSED(evidence_verification(&about, &v, "ci", NULL, NULL, &st, &err), UNVERIFIABLE, "nothing of bkp-");
    assert_null(st);
}

static void holds_and_restores_are_recorded(void **state) {
    (void)state;
    const struct bytes secrets[] = {BYTES_STR("hunter2")};
    const struct redaction known = {secrets, 1};
    json_t *st = NULL;
    OK(evidence_hold(&about, HOLD_PLACE, NULL, "case 7, hunter2", "ann", &known, &st, &err));
    assert_string_equal(statement_type(st), "https://proofkeep.dev/hold/v1");
    assert_string_equal(text_at(statement_predicate(st), "action", NULL), "place");
    assert_string_equal(text_at(statement_predicate(st), "reason", NULL), "case 7, [redacted]");
    json_decref(st);
    OK(evidence_hold(&about, HOLD_RELEASE, NULL, NULL, "ann", NULL, &st, &err));
    assert_string_equal(text_at(statement_predicate(st), "action", NULL), "release");
    json_decref(st);
    struct digest plan = {{0x22}};
    struct restore_record r = {.environment = "staging",
                               .surface = "postgres",
                               .target = "postgresql://u:hunter2@db/x",
                               .started_ns = STARTED,
                               .completed_ns = COMPLETED,
                               .succeeded = true,
                               .items = 3,
                               .plan = &plan};
    OK(evidence_restore(&about, &r, NULL, &st, &err));
    json_t *p = statement_predicate(st);
    assert_string_equal(statement_type(st), "https://proofkeep.dev/restore/v1");
    assert_string_equal(text_at(p, "status", NULL), "success");
    assert_string_equal(text_at(p, "check", NULL), "NOT_CHECKED");
    assert_string_equal(text_at(p, "target", NULL), "postgresql://[redacted]@db/x");
    assert_int_equal(strncmp(text_at(p, "plan_sha256", NULL), "2200", 4), 0);
    json_decref(st);
    struct verification_result v = {.result = CHECK_VERIFIED, .level = VERIFY_FULL};
    r.verification = &v;
    r.succeeded = false;
    OK(evidence_restore(&about, &r, NULL, &st, &err));
    p = statement_predicate(st);
    assert_string_equal(text_at(p, "status", NULL), "failure");
    assert_string_equal(text_at(p, "check", NULL), "VERIFIED");
    assert_string_equal(text_at(p, "result", NULL), "PASSED");
    json_decref(st);
}

static void readings_are_recorded(void **state) {
    (void)state;
    const struct bytes secrets[] = {BYTES_STR("hunter2")};
    const struct redaction known = {secrets, 1};
    const char *name = NULL;
    struct digest d;
    json_t *st = NULL;
    struct read_record r = {.verb = "export",
                            .point = &about,
                            .environment = "staging",
                            .surface = "postgres",
                            .target = "/srv/hunter2",
                            .started_ns = STARTED,
                            .completed_ns = COMPLETED,
                            .succeeded = true,
                            .files = 3,
                            .bytes = 70,
                            .principal = "ann@db1"};
    OK(evidence_read(&r, &known, &st, &err));
    json_t *p = statement_predicate(st);
    assert_string_equal(statement_type(st), "https://proofkeep.dev/read/v1");
    OK(statement_subject(st, 0, &name, &d, &err));
    assert_string_equal(name, about.id);
    assert_string_equal(text_at(p, "verb", NULL), "export");
    assert_string_equal(text_at(p, "snapshot", NULL), about.id);
    assert_string_equal(text_at(p, "surface", NULL), "postgres");
    assert_string_equal(text_at(p, "target", NULL), "/srv/[redacted]");
    assert_string_equal(text_at(p, "status", NULL), "success");
    assert_string_equal(text_at(p, "principal", NULL), "ann@db1");
    assert_int_equal(json_integer_value(json_object_get(p, "bytes")), 70);
    json_decref(st);
    r.succeeded = false;
    OK(evidence_read(&r, NULL, &st, &err));
    p = statement_predicate(st);
    assert_string_equal(text_at(p, "status", NULL), "failure");
    assert_null(json_object_get(p, "bytes")); /* how far it came is not known */
    json_decref(st);
    r = (struct read_record){.verb = "mount", .log_size = 7, .points = 2, .target = "/mnt", .started_ns = STARTED};
    OK(evidence_read(&r, NULL, &st, &err));
    p = statement_predicate(st);
    OK(statement_subject(st, 0, &name, &d, &err));
    assert_string_equal(name, "log");
    assert_string_equal(text_at(p, "status", NULL), "begun");
    assert_int_equal(json_integer_value(json_object_get(p, "points")), 2);
    assert_null(json_object_get(p, "snapshot"));
    assert_null(json_object_get(p, "completed_at"));
    json_decref(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receipt_is_the_documents_json),
        cmocka_unit_test(the_documents_own_members_are_all_there_and_in_its_order),
        cmocka_unit_test(validated_is_true_only_by_a_verification_that_ran),
        cmocka_unit_test(a_success_names_its_artifacts_and_a_failure_its_job),
        cmocka_unit_test(credentials_do_not_get_into_a_receipt),
        cmocka_unit_test(what_the_schema_forbids_is_a_bug_and_refused),
        cmocka_unit_test(ids_have_the_documents_form),
        cmocka_unit_test(the_rungs_have_their_names),
        cmocka_unit_test(a_verification_is_recorded_in_in_totos_words),
        cmocka_unit_test(holds_and_restores_are_recorded),
        cmocka_unit_test(readings_are_recorded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
