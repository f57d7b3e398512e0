#include "platform_test.h"

#include "platform/open_store.h"
#include "store/store.h"

#define YAML(repository)                                                                                               \
    "version: 1\n"                                                                                                     \
    "platform: summit\n"                                                                                               \
    "secrets:\n"                                                                                                       \
    "  bucket: { file: /nowhere/keys }\n"                                                                              \
    "repositories:\n"                                                                                                  \
    "  main:\n" repository "surfaces:\n"                                                                               \
    "  files: { kind: files, class: truth, paths: [/srv] }\n"                                                          \
    "environments:\n"                                                                                                  \
    "  dev: { repository: main }\n"

static void what_s3_says_is_in_the_url(void **state) {
    (void)state;
    struct config *c = parse_ok(YAML("    url: s3://bucket/team/a?region=eu-west-1\n"
                                     "    s3:\n"
                                     "      endpoint: https://s3.example.com:9000\n"
                                     "      style: virtual\n"
                                     "      ca_file: /etc/ssl/a b.pem\n"
                                     "      credentials: bucket\n"
                                     "      profile: work\n"
                                     "      sse: aws:kms\n"
                                     "      kms_key: alias/x\n"
                                     "      storage_class: STANDARD_IA\n"
                                     "      payload_digests: unsigned\n"
                                     "      bandwidth: 10MiB\n"
                                     "      timeout: 1m\n"
                                     "      connections: 4\n"));
    assert_string_equal(config_repository(c, "main")->url,
                        "s3://bucket/team/a?region=eu-west-1&endpoint=https://s3.example.com:9000&style=virtual&"
                        "ca_file=/etc/ssl/a%20b.pem&profile=work&sse=aws:kms&kms_key=alias/x&storage_class=STANDARD_IA&"
                        "payload_digests=unsigned&bandwidth=10MiB&timeout=1m&connections=4");
    json_t *dump;
    struct error err = ERROR_INIT;
    assert_ok(config_dump(c, &dump, &err), &err);
    json_decref(dump);
    config_free(c);
    c = parse_ok(YAML("    url: s3://bucket\n"));
    assert_string_equal(config_repository(c, "main")->url, "s3://bucket");
    config_free(c);
}

static void what_does_not_fit_is_refused_at_its_place(void **state) {
    (void)state;
    parse_fails(
        YAML("    url: s3://Bucket\n"), ERR_CONFIG_VALUE,
        "t.yaml:7:10: repositories.main.url: the address 's3://Bucket' does not begin with a bucket's name (3 to 63 of "
        "a-z 0-9 . -)");
    parse_fails(
        YAML("    url: \"s3://AKIA:hush@bucket\"\n"), ERR_CONFIG_VALUE,
        "t.yaml:7:10: repositories.main.url: the address 's3://' has a user in it; credentials never stand in an "
        "address");
    parse_fails(YAML("    url: ftp://bucket\n"), ERR_CONFIG_VALUE,
                "t.yaml:7:10: repositories.main.url: 'ftp' is not a kind of place that this version knows; it wants "
                "file:///absolute/path, an absolute path or s3://bucket/prefix");
    parse_fails(YAML("    url: /srv/backup\n    s3: { region: x }\n"), ERR_CONFIG_KEY,
                "t.yaml:8:9: repositories.main.s3 says how a bucket is reached, and its url names none");
    parse_fails(YAML("    url: s3://bucket?region=a\n    s3: { region: b }\n"), ERR_CONFIG_VALUE,
                "t.yaml:8:9: repositories.main.s3: the address says region twice");
    parse_fails(YAML("    url: s3://bucket\n    s3: { endpoint: example.com }\n"), ERR_CONFIG_VALUE,
                "t.yaml:8:9: repositories.main.s3: endpoint in the address wants https://host[:port] or http://…, not "
                "'example.com'");
    parse_fails(YAML("    url: s3://bucket\n    s3: { credentials: bucket, credentials_file: /k }\n"), ERR_CONFIG_KEY,
                "t.yaml:8:9: repositories.main.s3 has both credentials and credentials_file");
    parse_fails(YAML("    url: s3://bucket\n    s3: { sse: AES128 }\n"), ERR_CONFIG_VALUE,
                "t.yaml:8:16: repositories.main.s3.sse: 'AES128' is not known to this version; it wants one of AES256, "
                "aws:kms");
    parse_fails(
        YAML("    url: s3://bucket\n    s3: { credentials: wJalrXUtnFEMI }\n"), ERR_CONFIG_VALUE,
        "t.yaml:8:24: no entry of 'secrets' has the name that stands here; if it is the secret itself, take it out of "
        "the file");
}

static void a_stores_credentials_are_the_configurations(void **state) {
    (void)state;
    struct config *c = parse_ok(YAML("    url: s3://bucket\n"
                                     "    s3: { endpoint: \"http://127.0.0.1:1\", credentials: bucket }\n"));
    const char *url = config_repository(c, "main")->url;
    struct error err = ERROR_INIT;
    struct store *s = NULL;
    setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "envsecret", 1);
    assert_ok(config_open_store(c, NULL, url, false, &s, &err), &err);
    assert_int_equal(store_stat(s, "x", NULL, NULL, &err), -ERR_SECRET);
    assert_non_null(strstr(err.text, "/nowhere/keys"));
    store_close(s);
    err = ERROR_INIT;
    assert_ok(config_open_store(NULL, NULL, url, false, &s, &err), &err); /* without one, they are looked for */
    store_close(s);
    assert_int_equal(config_open_store(c, NULL, "s3://bucket?nonsense", false, &s, &err), -ERR_USAGE);
    config_free(c);
}

#define DAY_NS (24 * 3600 * INT64_C(1000000000))

static void immutability_says_what_new_objects_are_locked_with(void **state) {
    (void)state;
    struct config *c = parse_ok(YAML("    url: s3://bucket\n"
                                     "    s3: { endpoint: \"http://127.0.0.1:1\" }\n"
                                     "    immutability: { mode: compliance, log: 400d, packs: 12h }\n"));
    struct error err = ERROR_INIT;
    struct store *s = NULL;
    const struct config_repository *r = config_repository(c, "main");
    assert_ptr_equal(config_repository_at(c, r->url), r);
    assert_null(config_repository_at(c, "s3://other"));
    assert_null(config_repository_at(NULL, r->url));
    assert_int_equal(config_locks(r).mode, STORE_LOCK_COMPLIANCE);
    assert_ok(config_open_store(c, NULL, r->url, false, &s, &err), &err);
    assert_int_equal(store_lock_ns(s, "log/0000000000000000"), 400 * DAY_NS);
    assert_int_equal(store_lock_ns(s, "packs/d/ab/cd"), DAY_NS / 2);
    assert_int_equal(store_lock_ns(s, "index/ab"), 35 * DAY_NS);
    assert_int_equal(store_lock_ns(s, "keys/ab"), 90 * DAY_NS);
    assert_int_equal(store_lock_ns(s, "format"), 90 * DAY_NS);
    assert_int_equal(store_lock_ns(s, "checkpoint"), 0);
    assert_int_equal(store_lock_ns(s, "sess/ab"), 0);
    assert_int_equal(store_lock_ns(s, "tile/0/000"), 0);
    store_close(s);
    config_free(c);
    c = parse_ok(YAML("    url: s3://bucket\n"));
    assert_int_equal(config_locks(config_repository(c, "main")).mode, STORE_LOCK_NONE);
    config_free(c);
    assert_int_equal(config_locks(NULL).mode, STORE_LOCK_NONE);
    parse_fails(YAML("    url: /srv/backup\n    immutability: { mode: compliance }\n"), ERR_CONFIG_KEY,
                "t.yaml:8:19: repositories.main.immutability wants a bucket, and its url names a folder");
    parse_fails(YAML("    url: s3://bucket\n    immutability: { log: 1d }\n"), ERR_CONFIG_KEY,
                "t.yaml:8:5: repositories.main.immutability lacks the key 'mode'");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_s3_says_is_in_the_url),
        cmocka_unit_test(what_does_not_fit_is_refused_at_its_place),
        cmocka_unit_test(a_stores_credentials_are_the_configurations),
        cmocka_unit_test(immutability_says_what_new_objects_are_locked_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
