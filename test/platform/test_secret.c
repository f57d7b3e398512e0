#include "platform_test.h"

#include "platform/secret_ref.h"

static const char yaml[] =
    "version: 1\nplatform: a\n"
    "secrets:\n"
    "  cred: { credential: \"pg-{env}\" }\n"
    "  file: { file: \"%s/key-{env}\" }\n"
    "  echo: { command: [printf, \"hunter-%%s\\n\", \"{env}\"] }\n"
    "  fails: { command: [sh, -c, \"echo hunter2; exit 3\"] }\n"
    "  silent: { command: [\"true\"] }\n"
    "  huge: { command: [head, -c, \"70000\", /dev/zero] }\n"
    "  var: { env: PK_TEST_SECRET }\n"
    "  both: { file: \"%s/key-prod\", dev: { env: PK_TEST_SECRET } }\n"
    "  shared: { file: \"%s/shared\" }\n"
    "repositories: { main: { url: /b } }\n"
    "surfaces:\n  pg: { kind: postgres, class: runtime, connect: { password: shared } }\n"
    "environments:\n  dev: { repository: main }\n  prod: { repository: main, protected: true }\n";

static struct temp temp;
static struct config *config;
static const struct config_environment *dev, *prod;

static int setup(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    char text[4096];
    temp_make(&temp);
    snprintf(text, sizeof(text), yaml, temp.path, temp.path, temp.path);
    if (crypto_init(&err) != 0) return -1;
    config = parse_ok(text);
    dev = config_environment(config, "dev");
    prod = config_environment(config, "prod");
    return 0;
}
static int teardown(void **state) {
    (void)state;
    config_free(config);
    temp_done(&temp);
    return 0;
}

static void resolves(const struct config_environment *e, const char *name, const char *value) {
    struct error err = ERROR_INIT;
    CLEANUP(secret_freep) struct secret *s = NULL;
    assert_ok(secret_resolve(config, e, name, &s, &err), &err);
    assert_true(bytes_equal(secret_bytes(s), BYTES_STR(value)));
}
static void refused(const struct config_environment *e, const char *name, enum error_code code, const char *message) {
    struct error err = ERROR_INIT;
    struct secret *s = NULL;
    int rc = secret_resolve(config, e, name, &s, &err);
    assert_null(s);
    if (!strstr(err.text, message)) fail_msg("'%s' is not in '%s'", message, err.text);
    assert_int_equal(rc, -(int)code);
    assert_null(strstr(err.text, "hunter"));
}

static void files_must_be_private(void **state) {
    (void)state;
    temp_file(&temp, "key-prod", "s3cret\n", 0600);
    resolves(prod, "file", "s3cret");
    temp_file(&temp, "key-prod", "two\nlines\n\n", 0400);
    resolves(prod, "file", "two\nlines\n"); /* one newline goes */
    static const mode_t open_modes[] = {0640, 0604, 0620, 0602, 0644, 0610};
    for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
        char message[64];
        temp_file(&temp, "key-prod", "hunter2\n", open_modes[i]);
        snprintf(message, sizeof(message), "has mode %04o and owner %u: its group or others may use it",
                 (unsigned)open_modes[i], (unsigned)geteuid());
        refused(prod, "file", ERR_SECRET, message);
    }
    temp_file(&temp, "key-prod", "\n", 0600);
    refused(prod, "file", ERR_SECRET, "is empty");
    refused(dev, "file", ERR_SECRET, "key-dev: No such file or directory");
    char path[128];
    snprintf(path, sizeof(path), "%s/key-dev", temp.path);
    struct error err = ERROR_INIT;
    assert_ok(io_mkdirs(path, 0700, &err), &err);
    refused(dev, "file", ERR_SECRET, "is not a regular file");
}

static void files_must_be_roots_or_ours(void **state) {
    (void)state;
    if (geteuid() != 0) skip(); /* only root can give a file away */
    const char *path = temp_file(&temp, "given", "hunter2\n", 0600);
    assert_int_equal(chown(path, 12345, 0), 0);
    struct error err = ERROR_INIT;
    struct secret *s = NULL;
    assert_int_equal(secret_read_file(path, &s, &err), -ERR_SECRET);
    assert_non_null(
        strstr(err.text, "has mode 0600 and owner 12345: it belongs to neither root nor us (we are user 0)"));
}

static void credentials_come_from_systemd(void **state) {
    (void)state;
    unsetenv("CREDENTIALS_DIRECTORY");
    refused(prod, "cred", ERR_SECRET, "the credential 'pg-prod' cannot be had: CREDENTIALS_DIRECTORY is not set");
    setenv("CREDENTIALS_DIRECTORY", temp.path, 1);
    temp_file(&temp, "pg-prod", "s3cret", 0440); /* as an ACL shows */
    resolves(prod, "cred", "s3cret");
    temp_file(&temp, "pg-prod", "hunter2", 0444);
    refused(prod, "cred", ERR_SECRET, "its group or others may use it");
    unsetenv("CREDENTIALS_DIRECTORY");
}

static void commands_give_their_output(void **state) {
    (void)state;
    resolves(prod, "echo", "hunter-prod");
    refused(prod, "fails", ERR_PROC_FAILED, "secret 'fails'");
    refused(prod, "silent", ERR_SECRET, "secret 'silent': the output of true is empty");
    struct error err = ERROR_INIT;
    struct secret *s = NULL;
    assert_true(secret_resolve(config, prod, "huge", &s, &err) < 0);
    assert_null(s);
}

static void variables_serve_in_dev_only(void **state) {
    (void)state;
    unsetenv("PK_TEST_SECRET");
    refused(dev, "var", ERR_SECRET, "the variable PK_TEST_SECRET is not set");
    setenv("PK_TEST_SECRET", "s3cret", 1);
    resolves(dev, "var", "s3cret");
    resolves(dev, "env:PK_TEST_SECRET", "s3cret");
    refused(prod, "var", ERR_SECRET,
            "the variable PK_TEST_SECRET is not read in environment 'prod': variables leak into child processes, dumps "
            "and logs, "
            "so they serve in 'dev' only");
    refused(prod, "env:PK_TEST_SECRET", ERR_SECRET, "is not read in environment 'prod'");
    temp_file(&temp, "key-prod", "filed\n", 0600);
    resolves(dev, "both", "s3cret");
    resolves(prod, "both", "filed");
    unsetenv("PK_TEST_SECRET");
}

/* S15 */
static void productions_credentials_never_serve_in_dev(void **state) {
    (void)state;
    temp_file(&temp, "shared", "s3cret\n", 0600);
    resolves(prod, "shared", "s3cret");
    refused(dev, "shared", ERR_POLICY,
            "the secret 'shared' is the very one that the protected environment 'prod' connects with (surface 'pg'), "
            "and those "
            "never serve in 'dev'");
}

static const char apart[] =
    "version: 1\nplatform: a\n"
    "secrets:\n"
    "  one: { file: \"%s/shared\" }\n"
    "  again: { file: \"%s/shared\" }\n"
    "  other: { file: \"%s/other\", dev: { file: \"%s/shared\" } }\n"
    "  own: { file: \"%s/own-{env}\" }\n"
    "  both: { file: \"%s/both\" }\n"
    "  login: { file: \"%s/login\" }\n"
    "  tls: { file: \"%s/tls\" }\n"
    "repositories:\n"
    "  live: { url: /live, encrypt: { key: one } }\n"
    "  play: { url: /play, encrypt: { key: %s }, copies: [far] }\n"
    "  far: { url: 's3://far/r', s3: { endpoint: 'https://a', credentials: both } }\n"
    "  bucket: { url: 's3://near/r', s3: { endpoint: 'https://a', credentials: %s }, copies: [far] }\n"
    "surfaces:\n"
    "  cache: { kind: redis, class: runtime, server: { host: h, password: %s, targets: [{ host: s, password: "
    "login }] } }\n"
    "  tree: { kind: files, class: truth, paths: [/t] }\n"
    "  find: { kind: search, class: runtime, cluster: { certificate: /c, key: tls } }\n"
    "environments:\n  dev: { repository: play }\n"
    "  prod: { repository: live, protected: true, surfaces: [cache, find] }\n"
    "  vault: { repository: bucket, protected: true, surfaces: [tree] }\n";

static void with(const char *play, const char *bucket, const char *cache, const char *wanted, const char *why) {
    char text[4096];
    const char *p = temp.path;
    struct config *was = config;
    snprintf(text, sizeof(text), apart, p, p, p, p, p, p, p, p, play, bucket, cache);
    config = parse_ok(text);
    if (why)
        refused(config_environment(config, "dev"), wanted, ERR_POLICY, why);
    else
        resolves(config_environment(config, "dev"), wanted, "s3cret");
    config_free(config);
    config = was;
}

/* S15 */
static void neither_do_its_keys_nor_other_logins(void **state) {
    (void)state;
    static const char key[] =
        "is the very one that the protected environment 'prod' opens its backups with (repository "
        "'live'), and those never serve in 'dev'";
    for (const char *const *f = (const char *const[]){"shared", "both", "login", "own-dev", "tls", NULL}; *f; f++)
        temp_file(&temp, *f, "s3cret\n", 0600);
    with("one", "both", "own", "one", key);
    with("again", "both", "own", "again", key);
    with("other", "both", "own", "other", key);
    with("own", "both", "own", "own", NULL);
    /* a repository that both have is shared by design, with its credentials */
    with("own", "own", "own", "both", NULL);
    with("both", "both", "own", "both",
         "the protected environment 'vault' opens its backups with (repository 'bucket')");
    /* that of one that was named is nobody's in particular */
    with("own", "own", "own", "one", NULL);
    with("own", "own", "login", "login", "the protected environment 'prod' connects with (surface 'cache')");
    with("own", "own", "own", "tls", "the protected environment 'prod' connects with (surface 'find')");
    /* a server that is restored into may be dev's */
    with("own", "own", "own", "login", NULL);
}

static void unknown_names_are_refused(void **state) {
    (void)state;
    refused(prod, "hunter2", ERR_SECRET, "the configuration has no secret of the name that was asked for");
    struct secret_context ctx = {config, prod};
    struct secret *s = NULL;
    struct error err = ERROR_INIT;
    assert_ok(secret_resolve_for(&ctx, "echo", &s, &err), &err);
    secret_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_must_be_private),
        cmocka_unit_test(files_must_be_roots_or_ours),
        cmocka_unit_test(credentials_come_from_systemd),
        cmocka_unit_test(commands_give_their_output),
        cmocka_unit_test(variables_serve_in_dev_only),
        cmocka_unit_test(productions_credentials_never_serve_in_dev),
        cmocka_unit_test(neither_do_its_keys_nor_other_logins),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests_name("platform/secret", tests, setup, teardown);
}
