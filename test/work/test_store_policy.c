/* Policies of the roles, read as a server reads them: what is allowed and not denied goes. */
#include "work_kit.h"

#include "work/store_policy.h"
#include <fnmatch.h>
#include <string.h>
#include <unistd.h>

static json_t *made(enum key_role role, const char *url) {
    struct store_policy_request q = {.config_path = NULL, .repository = url, .role = role};
    struct store_policy p;
    struct error err = ERROR_INIT;
    if (store_policy_make(&q, &p, &err) < 0) fail_msg("%s", err.text);
    return p.document;
}

static bool matches(const json_t *list, const char *text) {
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one) if (fnmatch(json_string_value(one), text, 0) == 0) return true;
    return false;
}

/* `creation`: of a request that makes an object whole; `condition`: it says If-None-Match. */
static bool goes(const json_t *policy, const char *action, const char *resource, bool creation, bool condition) {
    const json_t *statements = json_object_get(policy, "Statement"), *s;
    bool allowed = false;
    size_t i;
    json_array_foreach(statements, i, s) {
        const json_t *when = json_object_get(s, "Condition");
        if (!matches(json_object_get(s, "Action"), action) || !matches(json_object_get(s, "Resource"), resource))
            continue;
        if (json_object_get(when, "Null") && (!creation || condition)) continue;
        if (strcmp(json_string_value(json_object_get(s, "Effect")), "Deny") == 0) return false;
        allowed = true;
    }
    return allowed;
}

static void roles_may_what_they_need_and_no_more(void **state) {
    (void)state;
    /* g: get, p: put if absent, r: put in place of another, d: delete */
    static const struct {
        const char *key, *may[4]; /* of writer, restore, prune, admin */
    } rows[] = {
        {"format", {"g", "g", "g", "gp"}},         {"checkpoint", {"gpr", "g", "gpr", "gpr"}},
        {"keys/0", {"g", "g", "g", "gpd"}},        {"log/0000000000000007", {"gp", "gp", "gp", "gp"}},
        {"tile/0/000", {"gp", "g", "gpd", "gpd"}}, {"summary/0000000000000256", {"g", "g", "g", "gprd"}},
        {"index/0", {"gp", "g", "gpd", "gpd"}},    {"sess/0", {"gp", "", "d", "gpd"}},
        {"packs/d/00/0", {"p", "g", "d", "gpd"}},  {"packs/m/00/0", {"p", "g", "d", "gpd"}},
        {"probe/0/0", {"", "", "", "gprd"}},       {"other", {"", "", "", ""}},
        {"witness/w/0", {"gp", "gp", "gp", "gp"}},
    };
    static const enum key_role roles[] = {ROLE_WRITER, ROLE_RESTORE, ROLE_PRUNE, ROLE_ADMIN};
    static const struct {
        char letter;
        const char *action;
        bool creation, condition;
    } calls[] = {{'g', "s3:GetObject", false, false},
                 {'p', "s3:PutObject", true, true},
                 {'r', "s3:PutObject", true, false},
                 {'d', "s3:DeleteObject", false, false}};
    for (size_t r = 0; r < 4; r++) {
        json_t *aws = made(roles[r], "s3://bucket/team/a");
        json_t *other = made(roles[r], "s3://bucket/team/a?endpoint=https://s3.example.com");
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            for (size_t c = 0; c < 4; c++) {
                char arn[200];
                bool want = strchr(rows[i].may[r], calls[c].letter) != NULL;
                snprintf(arn, sizeof arn, "arn:aws:s3:::bucket/team/a/%s", rows[i].key);
                if (goes(aws, calls[c].action, arn, calls[c].creation, calls[c].condition) != want)
                    fail_msg("%s: %c of %s", key_role_name(roles[r]), calls[c].letter, rows[i].key);
                /* others know no condition: who may create may replace */
                want |= calls[c].letter == 'r' && strchr(rows[i].may[r], 'p');
                if (goes(other, calls[c].action, arn, calls[c].creation, calls[c].condition) != want)
                    fail_msg("elsewhere, %s: %c of %s", key_role_name(roles[r]), calls[c].letter, rows[i].key);
                snprintf(arn, sizeof arn, "arn:aws:s3:::bucket/team/b/%s", rows[i].key);
                assert_false(goes(aws, calls[c].action, arn, calls[c].creation, calls[c].condition));
            }
        /* steps of an upload in parts take no condition */
        assert_int_equal(goes(aws, "s3:PutObject", "arn:aws:s3:::bucket/team/a/index/0", false, false),
                         roles[r] != ROLE_RESTORE);
        json_decref(aws);
        json_decref(other);
    }
}

static void no_role_erases_or_configures(void **state) {
    (void)state;
    static const char *const never[] = {"s3:PutBucketPolicy",
                                        "s3:DeleteBucket",
                                        "s3:PutLifecycleConfiguration",
                                        "s3:PutBucketVersioning",
                                        "s3:DeleteBucketPolicy",
                                        "s3:PutBucketObjectLockConfiguration",
                                        "s3:PutObjectAcl",
                                        "s3:PutObjectLegalHold",
                                        "s3:BypassGovernanceRetention",
                                        "s3:DeleteObjectVersion",
                                        "s3:PutBucketAcl",
                                        "s3:PutObjectTagging",
                                        "s3:PutEncryptionConfiguration",
                                        "s3:PutReplicationConfiguration"};
    static const char *const places[] = {"arn:aws:s3:::bucket", "arn:aws:s3:::bucket/team/a/packs/d/00/0",
                                         "arn:aws:s3:::bucket/team/a/log/0000000000000001"};
    for (enum key_role r = ROLE_ADMIN; r <= ROLE_PRUNE; r++) {
        json_t *p = made(r, "s3://bucket/team/a");
        for (size_t i = 0; i < sizeof never / sizeof *never; i++)
            for (size_t k = 0; k < 3; k++)
                if (goes(p, never[i], places[k], false, false)) fail_msg("%s may %s", key_role_name(r), never[i]);
        /* what lies in an archive class is brought back by who may read it, which costs */
        assert_int_equal(goes(p, "s3:RestoreObject", places[1], false, false), r == ROLE_ADMIN || r == ROLE_RESTORE);
        assert_false(goes(p, "s3:RestoreObject", places[2], false, false));
        assert_true(goes(p, "s3:ListBucket", "arn:aws:s3:::bucket", false, false));
        assert_false(goes(p, "s3:ListBucket", "arn:aws:s3:::other", false, false));
        json_decref(p);
    }
}

/* With a configuration: where locks hold, what prune removes is erased when they end; the log and the keys never. */
static void prune_erases_where_locks_hold(void **state) {
    (void)state;
    static const struct {
        const char *url, *locks;
        bool erases;
        const char *note;
    } rows[] = {
        {"s3://bucket/team/a", "immutability: { mode: compliance }", true, "erased for good"},
        {"s3://bucket/team/a", "immutability: { mode: governance }", true, "erased for good"},
        {"s3://bucket/team/a", "", false, "lifecycle"},
        {"s3://bucket/team/a?endpoint=https://s3.example.com", "immutability: { mode: compliance }", true, "erased"},
        {"s3://bucket/team/a?endpoint=https://s3.example.com", "immutability: { mode: governance }", false,
         "governance"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error err = ERROR_INIT;
        struct store_policy p;
        char path[] = "/tmp/proofkeep-policy-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        dprintf(fd,
                "version: 1\nplatform: test\nsecrets:\n  k: { file: /srv/k }\nrepositories:\n  main:\n    url: %s\n    "
                "encrypt: { key: k, kind: key_file }\n    %s\n"
                "surfaces:\n  a: { kind: files, class: truth, paths: [/srv] }\nenvironments:\n  lab: { repository: "
                "main }\n",
                rows[i].url, rows[i].locks);
        close(fd);
        for (enum key_role r = ROLE_ADMIN; r <= ROLE_PRUNE; r++) {
            struct store_policy_request q = {.config_path = path, .repository = "main", .role = r};
            static const char erase[] = "s3:DeleteObjectVersion", in[] = "arn:aws:s3:::bucket/team/a/";
            char arn[200];
            if (store_policy_make(&q, &p, &err) < 0) fail_msg("%s", err.text);
            static const char *const removed[] = {"packs/d/00/0", "index/0", "wal/1/0"};
            for (size_t k = 0; k < 3; k++) {
                snprintf(arn, sizeof arn, "%s%s", in, removed[k]);
                assert_int_equal(goes(p.document, erase, arn, false, false),
                                 rows[i].erases && (r == ROLE_PRUNE || r == ROLE_ADMIN));
                if (r == ROLE_PRUNE || r == ROLE_WRITER)
                    assert_true(goes(p.document, "s3:GetObjectRetention", arn, false, false));
                assert_int_equal(goes(p.document, "s3:PutObjectRetention", arn, false, false),
                                 r == ROLE_WRITER || r == ROLE_ADMIN || (r == ROLE_PRUNE && k == 1));
                assert_false(goes(p.document, "s3:BypassGovernanceRetention", arn, false, false));
            }
            static const char *const kept[] = {"log/0000000000000001", "keys/0", "format", "checkpoint"};
            for (size_t k = 0; k < 4; k++) {
                snprintf(arn, sizeof arn, "%s%s", in, kept[k]);
                assert_false(goes(p.document, erase, arn, false, false));
            }
            if (r == ROLE_PRUNE) {
                bool said = false;
                for (size_t k = 0; k < POLICY_NOTES_MAX && p.notes[k]; k++)
                    said |= strstr(p.notes[k], rows[i].note) != NULL;
                assert_true(said);
            }
            json_decref(p.document);
        }
        unlink(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_may_what_they_need_and_no_more),
        cmocka_unit_test(no_role_erases_or_configures),
        cmocka_unit_test(prune_erases_where_locks_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
