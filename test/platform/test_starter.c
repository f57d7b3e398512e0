#include "platform_test.h"

static struct config *write_and_parse(const struct config_starter *p, struct buf *b) {
    struct error err = ERROR_INIT;
    assert_ok(config_write_starter(b, p, &err), &err);
    assert_ok(buf_terminate(b, &err), &err);
    return parse_ok((char *)b->ptr);
}

static void the_whole_one_parses(void **state) {
    (void)state;
    static const char *const paths[] = {"/srv/with \"quotes\" and \\", "/srv/ünïcode: #x", NULL};
    const struct config_starter p = {
        .platform = "summit: \"the\" platform #1",
        .environment = "prod",
        .protected = true,
        .repository_url = "file:///srv/backup",
        .key_file = "/etc/proofkeep/prod.key",
        .key_kind = CONFIG_KEY_KEY_FILE,
        .paths = paths,
        .postgres = true,
        .pg_host = "/run/postgresql",
        .pg_port = 5433,
        .pg_user = "backup",
        .pg_dbname = "summit",
        .pg_password_file = "/etc/proofkeep/pg.pass",
        .rpo = "24h",
        .rto = "none",
    };
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    CLEANUP(config_freep) struct config *c = write_and_parse(&p, &b);
    assert_string_equal(c->platform, p.platform);
    assert_string_equal(config_surface(c, "files")->paths.items[0], paths[0]);
    assert_string_equal(config_surface(c, "files")->paths.items[1], paths[1]);
    assert_int_equal(config_surface(c, "postgres")->connect->port.value, 5433);
    assert_true(config_environment(c, "prod")->protected);
    assert_int_equal(config_environment(c, "prod")->policy->rto.state, CONFIG_NONE);
    assert_string_equal(config_secret(c, "repository-key")->file, p.key_file);
    assert_int_equal(config_repository(c, "main")->encrypt->kind, CONFIG_KEY_KEY_FILE);
}

static void the_smallest_ones_parse(void **state) {
    (void)state;
    static const char *const paths[] = {"/srv", NULL};
    CLEANUP(buf_free) struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
    const struct config_starter files = {.platform = "demo", .repository_url = "/srv/b", .paths = paths};
    CLEANUP(config_freep) struct config *c = write_and_parse(&files, &a);
    assert_int_equal(config_environment(c, "dev")->policy->rpo.state, CONFIG_UNSET);
    assert_null(config_repository(c, "main")->encrypt);
    const struct config_starter postgres = {.platform = "demo", .repository_url = "/srv/b", .postgres = true};
    CLEANUP(config_freep) struct config *d = write_and_parse(&postgres, &b);
    assert_null(config_surface(d, "postgres")->connect);
    assert_null(config_surface(d, "files"));
}

static void what_would_not_parse_is_refused(void **state) {
    (void)state;
    static const char *const relative[] = {"srv", NULL};
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    struct error err = ERROR_INIT;
    struct config_starter p = {.platform = "demo", .repository_url = "/srv/b"};
    assert_int_equal(config_write_starter(&b, &p, &err), -ERR_USAGE);
    assert_string_equal(err.text, "a configuration needs at least one surface: files to back up, or a database");
    error_clear(&err);
    p.paths = relative;
    assert_int_equal(config_write_starter(&b, &p, &err), -ERR_CONFIG_VALUE);
    assert_non_null(strstr(err.text, "the starter configuration would not be valid: proofkeep.yaml:"));
    assert_non_null(strstr(err.text, "surfaces.files.paths wants an absolute path, one that begins with '/'"));
    error_clear(&err);
    p.environment = "Prod";
    assert_int_equal(config_write_starter(&b, &p, &err), -ERR_USAGE);
    assert_int_equal(b.len, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_one_parses),
        cmocka_unit_test(the_smallest_ones_parse),
        cmocka_unit_test(what_would_not_parse_is_refused),
    };
    return cmocka_run_group_tests_name("platform/starter", tests, NULL, NULL);
}
