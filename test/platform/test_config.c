#include "platform_test.h"

#include "harness/fault.h"

static const char whole[] =
    "version: 1\n"
    "platform: summit\n"
    "defaults:\n"
    "  retention: { keep: { daily: 7, weekly: 5, monthly: 12 }, min_copies: 2 }\n"
    "secrets:\n"
    "  pg-password: { credential: pg-password, dev: { env: POSTGRES_PASSWORD } }\n"
    "  repo-key: { command: [vault, kv, get, -field=key, kv/backup] }\n"
    "  repo-file: { file: \"/etc/proofkeep/{env}.key\" }\n"
    "repositories:\n"
    "  local: { url: /srv/local }\n"
    "  primary: { url: \"file:///srv/backup\", encrypt: { key: repo-key, kind: key_file }, jobs: 4 }\n"
    "surfaces:\n"
    "  postgres:\n"
    "    kind: postgres\n"
    "    class: runtime\n"
    "    receipt_surface: postgis\n"
    "    connect: { host: \"pg.{env}.internal\", port: 5433, user: backup, dbname: \"summit_{env}\", password: "
    "pg-password,\n"
    "               sslmode: verify-full, sslrootcert: /etc/ssl/pg.pem }\n"
    "    databases: [\"summit_{env}\", audit]\n"
    "    tools_dir: /usr/lib/postgresql/15/bin\n"
    "    run_as: postgres\n"
    "    invariants:\n"
    "      - { name: users, sql: \"select count(*) from users\", expect: not_shrunk }\n"
    "      - { name: schema, sql: \"select max(version) from migrations\", expect: equal }\n"
    "  artifacts:\n"
    "    kind: files\n"
    "    class: truth\n"
    "    paths: [\"/srv/{env}/raw\", /srv/processed]\n"
    "    exclude: [\"*.tmp\"]\n"
    "    one_file_system: true\n"
    "environments:\n"
    "  dev: { repository: local, surfaces: [artifacts], policy: { rpo: 24h, rto: 30m } }\n"
    "  staging: { repository: local, accepts_from: { prod: {} } }\n"
    "  prod:\n"
    "    protected: true\n"
    "    repository: primary\n"
    "    policy:\n"
    "      rpo: 24h\n"
    "      verify: decode\n"
    "      surface:\n"
    "        postgres: { rpo: 5m, rto: 1h, retention: { keep: { hourly: 168 } } }\n"
    "        artifacts: { rpo: none }\n"
    "git: { repo: \"https://git.example.com/platform\", change_ticket: CHG-1042 }\n"
    "runbooks: { base: \"https://runbooks.example.com/backup/\" }\n";

static void reads_every_key(void **state) {
    (void)state;
    CLEANUP(config_freep) struct config *c = parse_ok(whole);
    assert_string_equal(c->platform, "summit");
    assert_int_equal(c->version.value, 1);
    assert_int_equal(c->defaults->retention->keep->weekly.value, 5);
    assert_false(c->defaults->retention->keep->hourly.set);
    assert_int_equal(c->defaults->retention->min_copies.value, 2);
    const struct config_secret *s = config_secret(c, "pg-password");
    assert_string_equal(s->credential, "pg-password");
    assert_string_equal(s->dev->env, "POSTGRES_PASSWORD");
    s = config_secret(c, "repo-key");
    assert_int_equal(s->command.count, 5);
    assert_string_equal(s->command.items[4], "kv/backup");
    assert_null(s->command.items[5]);
    const struct config_repository *r = config_repository(c, "primary");
    assert_string_equal(r->url, "file:///srv/backup");
    assert_string_equal(r->encrypt->key, "repo-key");
    assert_int_equal(r->encrypt->kind, CONFIG_KEY_KEY_FILE);
    assert_int_equal(r->jobs.value, 4);
    assert_null(config_repository(c, "local")->encrypt);
    const struct config_surface *pg = config_surface(c, "postgres");
    assert_int_equal(pg->kind, CONFIG_KIND_POSTGRES);
    assert_string_equal(config_kind_name(pg), "postgres");
    assert_string_equal(config_class_name(pg), "runtime");
    assert_string_equal(pg->receipt_surface, "postgis");
    assert_int_equal(pg->connect->port.value, 5433);
    assert_int_equal(pg->invariants.count, 2);
    assert_string_equal(pg->invariants.items[1]->sql, "select max(version) from migrations");
    assert_int_equal(pg->invariants.items[1]->expect, CONFIG_EXPECT_EQUAL);
    const struct config_surface *files = config_surface(c, "artifacts");
    assert_true(files->one_file_system);
    assert_string_equal(files->exclude.items[0], "*.tmp");
    const struct config_environment *prod = config_environment(c, "prod");
    assert_true(prod->protected);
    assert_int_equal(prod->policy->rpo.state, CONFIG_SET);
    assert_int_equal(prod->policy->rpo.ns, INT64_C(24) * 3600 * 1000000000);
    assert_string_equal(prod->policy->surface.items[1]->head.name, "artifacts");
    assert_int_equal(prod->policy->surface.items[1]->rpo.state, CONFIG_NONE);
    assert_string_equal(config_environment(c, "staging")->accepts_from.items[0]->head.name, "prod");
    assert_string_equal(c->git->change_ticket, "CHG-1042");
    assert_string_equal(c->runbooks->base, "https://runbooks.example.com/backup/");
    assert_null(config_environment(c, "nowhere"));
}

static void unset_stays_unset(void **state) {
    (void)state;
    CLEANUP(config_freep) struct config *c = parse_ok(HEAD_YAML DEV_YAML);
    assert_null(c->defaults);
    assert_null(config_environment(c, "dev")->policy);
    assert_false(config_environment(c, "dev")->protected);
    assert_null(config_environment(c, "dev")->surfaces.items);
    assert_true(config_environment_has(config_environment(c, "dev"), config_surface(c, "files")));
}

static void refuses_unknown_keys_with_a_hint(void **state) {
    (void)state;
    parse_fails(HEAD_YAML DEV_YAML "enviroments: {}\n", ERR_CONFIG_KEY,
                "t.yaml:9:1: the key 'enviroments' is not known to this version of proofkeep under the top level "
                "(did you mean 'environments'?)");
    parse_fails(HEAD_YAML "environments:\n  dev: { repositroy: main }\n", ERR_CONFIG_KEY,
                "t.yaml:8:10: the key 'repositroy' is not known to this version of proofkeep under environments.dev "
                "(did you mean 'repository'?)");
    parse_fails(HEAD_YAML
                "environments:\n  dev:\n    repository: main\n    policy: { retention: { keep: { dayly: 1 } } }\n",
                ERR_CONFIG_KEY,
                "t.yaml:10:36: the key 'dayly' is not known to this version of proofkeep under "
                "environments.dev.policy.retention.keep (did you mean 'daily'?)");
}

static void refuses_what_later_versions_will_know(void **state) {
    (void)state;
    static const struct {
        const char *yaml, *message;
    } later[] = {
        {"sanitize: {}\n",
         "t.yaml:9:1: the key 'sanitize' is not known to this version of proofkeep under the top level"},
        {"drills: {}\n", "t.yaml:9:1: the key 'drills' is not known to this version of proofkeep under the top level"},
        {"notify: {}\n", "t.yaml:9:1: the key 'notify' is not known to this version of proofkeep under the top level"},
        {"server: {}\n", "t.yaml:9:1: the key 'server' is not known to this version of proofkeep under the top level"},
        {"defaults: { schedule: \"02:00 UTC\" }\n",
         "t.yaml:9:13: the key 'schedule' is not known to this version of proofkeep under defaults"},
        {"defaults: { freshness_grace: 25% }\n",
         "t.yaml:9:13: the key 'freshness_grace' is not known to this version of proofkeep under defaults"},
        {"secrets: { s: { aws_profile: backup-writer } }\n",
         "t.yaml:9:17: the key 'aws_profile' is not known to this version of proofkeep under secrets.s"},
    };
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        char text[1024];
        snprintf(text, sizeof(text), "%s%s", HEAD_YAML DEV_YAML, later[i].yaml);
        parse_fails(text, ERR_CONFIG_KEY, later[i].message);
    }
    parse_fails("version: 1\nsurfaces:\n  neo4j: { kind: mongodb, class: cache }\n", ERR_CONFIG_VALUE,
                "t.yaml:3:18: surfaces.neo4j.kind: 'mongodb' is not known to this version; it wants one of files, "
                "postgres, redis, search, neo4j");
    parse_fails("repositories:\n  p: { url: \"gs://key:hunter2@bucket/v1\" }\n", ERR_CONFIG_VALUE,
                "t.yaml:2:13: repositories.p.url: 'gs' is not a kind of place that this version knows; it wants "
                "file:///absolute/path, an absolute path or s3://bucket/prefix");
}

static void refuses_duplicates(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    struct config *c = NULL;
    assert_int_equal(config_parse(BYTES_STR("version: 1\nplatform: a\nplatform: b\n"), "t.yaml", &c, &err),
                     -ERR_CONFIG_KEY);
    assert_non_null(strstr(err.text, "t.yaml:3:1"));
    assert_non_null(strstr(err.text, "platform"));
}

static void refuses_wrong_types(void **state) {
    (void)state;
    static const struct {
        const char *yaml, *message;
    } wrong[] = {
        {"version: 2\n", "t.yaml:1:10: version wants 1, not '2'"},
        {"version: \"1\"\n", "t.yaml:1:10: version wants 1 without quotes, not '1'"},
        {"version:\n", "t.yaml:1:9: version has no value; it wants 1"},
        {"platform: [a]\n", "t.yaml:1:11: platform wants text, not a list"},
        {"platform: \"a\\x07b\"\n", "t.yaml:1:11: platform has control characters or is too long"},
        {"surfaces: []\n", "t.yaml:1:11: surfaces wants a mapping of names ({} for none)"},
        {"surfaces: {}\n", "t.yaml:1:11: surfaces is empty; it wants at least one entry"},
        {"surfaces: { all: {} }\n", "t.yaml:1:13: 'all' is no name under surfaces; names are up to 63 of a-z 0-9 . _ "
                                    "-, begin with a letter or digit, and "
                                    "are not 'all'"},
        {"surfaces: { Files: {} }\n", "t.yaml:1:13: 'Files' is no name under surfaces; names are up to 63 of a-z 0-9 . "
                                      "_ -, begin with a letter or digit, "
                                      "and are not 'all'"},
        {"surfaces: { f: text }\n", "t.yaml:1:16: surfaces.f wants a mapping ({} for an empty one)"},
        {"surfaces: { f: { kind: files, class: truth } }\n", "t.yaml:1:13: surfaces.f lacks the key 'paths'"},
        {"surfaces: { f: { kind: files, class: truth, paths: [] } }\n",
         "t.yaml:1:52: surfaces.f.paths is empty; it wants at least one element"},
        {"surfaces: { f: { kind: files, class: truth, paths: /a } }\n",
         "t.yaml:1:52: surfaces.f.paths wants a list, [like, this]"},
        {"surfaces: { f: { kind: files, class: truth, paths: [a/b] } }\n",
         "t.yaml:1:53: surfaces.f.paths wants an absolute path, one that begins with '/'"},
        {"surfaces: { f: { kind: files, class: truht } }\n",
         "t.yaml:1:38: surfaces.f.class: 'truht' is not known to this version; it wants one of truth, runtime, cache, "
         "config "
         "(did you mean 'truth'?)"},
        {"surfaces: { f: { kind: files, connect: {} } }\n",
         "t.yaml:1:31: the key 'connect' belongs to surfaces of kind postgres, and surfaces.f is of kind files"},
        {"surfaces: { f: { kind: files, one_file_system: yes } }\n",
         "t.yaml:1:48: surfaces.f.one_file_system wants true or false, not 'yes'"},
        {"surfaces: { p: { kind: postgres, connect: { port: 70000 } } }\n",
         "t.yaml:1:51: surfaces.p.connect.port wants a whole number from 1 to 65535, not '70000'"},
        {"surfaces: { p: { kind: postgres, connect: { port: 0x10 } } }\n",
         "t.yaml:1:51: surfaces.p.connect.port wants a whole number from 1 to 65535, not '0x10'"},
        {"surfaces: { p: { kind: postgres, connect: { port: 99999999999999999999 } } }\n",
         "t.yaml:1:51: surfaces.p.connect.port wants a whole number from 1 to 65535, not '99999999999999999999'"},
        {"environments: { p: { policy: { rpo: soon } } }\n",
         "t.yaml:1:37: environments.p.policy.rpo wants a duration such as 5m, 24h or 30d, or none, not 'soon'"},
        {"environments: { p: { policy: { rpo: 0s } } }\n",
         "t.yaml:1:37: environments.p.policy.rpo wants a duration such as 5m, 24h or 30d, or none, not '0s'"},
        {"environments: { p: { surfaces: [a, a] } }\n", "t.yaml:1:36: environments.p.surfaces names 'a' twice"},
        {"secrets: { s: {} }\n",
         "t.yaml:1:12: secrets.s wants exactly one of the keys credential, file, command, env, and has 0"},
        {"secrets: { s: { file: /a, env: B } }\n",
         "t.yaml:1:12: secrets.s wants exactly one of the keys credential, file, command, env, and has 2"},
        {"secrets: { s: { file: hunter2 } }\n",
         "t.yaml:1:23: secrets.s.file wants an absolute path, one that begins with '/'"},
        {"repositories: { r: { url: \"/srv/{env}\" } }\n",
         "t.yaml:1:27: repositories.r.url may not contain any of { } ? #"},
        {"[]\n", "t.yaml:1:1: the file wants a mapping at its top, such as \"version: 1\""},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct error err = ERROR_INIT;
        struct config *c = NULL;
        int rc = config_parse(BYTES_STR(wrong[i].yaml), "t.yaml", &c, &err);
        assert_true(rc == -ERR_CONFIG_VALUE || rc == -ERR_CONFIG_KEY);
        assert_string_equal(err.text, wrong[i].message);
    }
}

static void refuses_what_does_not_fit_together(void **state) {
    (void)state;
    parse_fails("", ERR_CONFIG_KEY, "t.yaml:1:1: the file is empty");
    parse_fails("version: 1\nplatform: a\n", ERR_CONFIG_KEY, "t.yaml:1:1: the key 'repositories' is missing");
    parse_fails(HEAD_YAML "environments:\n  dev: { repository: mian }\n", ERR_CONFIG_VALUE,
                "t.yaml:8:22: there is no repository 'mian' (did you mean 'main'?)");
    parse_fails(HEAD_YAML "environments:\n  dev: { repository: main, surfaces: [flies] }\n", ERR_CONFIG_VALUE,
                "t.yaml:8:39: there is no surface 'flies' (did you mean 'files'?)");
    parse_fails(HEAD_YAML "environments:\n  dev: { repository: main, accepts_from: { prd: {} } }\n", ERR_CONFIG_VALUE,
                "t.yaml:8:44: there is no environment 'prd'");
    parse_fails(HEAD_YAML "environments:\n  dev: { repository: main, accepts_from: { dev: {} } }\n", ERR_CONFIG_VALUE,
                "t.yaml:8:44: an environment accepts its own data anyway; remove 'dev'");
    parse_fails(
        "version: 1\nplatform: a\nrepositories: { m: { url: /b } }\n"
        "surfaces:\n  a: { kind: files, class: truth, paths: [/a] }\n  b: { kind: files, class: truth, paths: [/b] }\n"
        "environments:\n  dev: { repository: m, surfaces: [a], policy: { surface: { b: {} } } }\n",
        ERR_CONFIG_VALUE, "t.yaml:8:61: the environment 'dev' has no surface 'b': its 'surfaces' does not name it");
    parse_fails("version: 1\nplatform: a\nrepositories: { main: { url: /b } }\n"
                "surfaces:\n  p:\n    kind: postgres\n    class: runtime\n    invariants:\n"
                "      - { name: n, sql: select 1, expect: equal }\n      - { name: n, sql: select 2, expect: equal "
                "}\n" DEV_YAML,
                ERR_CONFIG_KEY, "t.yaml:10:9: surfaces.p has two invariants called 'n'; the other is at line 9");
    parse_fails("version: 1\nplatform: a\nrepositories: { main: { url: /b } }\n"
                "surfaces:\n  p:\n    kind: postgres\n    class: runtime\n    method: physical\n    checks:\n"
                "      - { name: n, sql: select 1 }\n      - { name: n, sql: select 2 }\n" DEV_YAML,
                ERR_CONFIG_KEY, "t.yaml:11:9: surfaces.p has two checks called 'n'; the other is at line 10");
    parse_fails("version: 1\nplatform: a\nrepositories: { main: { url: /b } }\n"
                "surfaces:\n  p:\n    kind: postgres\n    class: runtime\n    method: physical\n    checks:\n"
                "      - { name: n, sql: select 1, value: '1', live: true }\n" DEV_YAML,
                ERR_CONFIG_VALUE,
                "t.yaml:10:9: surfaces.p: the check 'n' wants both a value and what the live server answers");
    parse_fails("version: 1\nplatform: a\nrepositories: { main: { url: /b } }\n"
                "surfaces:\n  p: { kind: postgres, class: truth, checks: [{ name: n, sql: select 1 }] }\n" DEV_YAML,
                ERR_CONFIG_VALUE, "t.yaml:5:3: surfaces.p has 'checks', which goes with 'method: physical' only");
    parse_fails("version: 1\nplatform: a\nrepositories: { main: { url: /b } }\n"
                "surfaces:\n  p: { kind: postgres, class: truth, through: host }\n" DEV_YAML,
                ERR_CONFIG_VALUE, "t.yaml:5:3: surfaces.p has 'through', which goes with 'method: physical' only");
    parse_fails("version: 1\nplatform: a\nrepositories: { main: { url: /b } }\n"
                "surfaces:\n  p: { kind: postgres, class: truth, data_directory: /d }\n" DEV_YAML,
                ERR_CONFIG_VALUE,
                "t.yaml:5:3: surfaces.p has 'data_directory', which goes with 'method: physical' only");
    parse_fails("version: 1\nplatform: a\nrepositories: { main: { url: /b } }\n"
                "surfaces:\n  p: { kind: postgres, class: truth, method: physical, databases: [a] }\n" DEV_YAML,
                ERR_CONFIG_VALUE,
                "t.yaml:5:3: surfaces.p is a physical backup, which has all databases; take 'databases' out");
    parse_fails("version: 1\nplatform: a\nrepositories: { main: { url: /b } }\n"
                "surfaces:\n  p: { kind: files, class: truth, paths: [/a], method: physical }\n" DEV_YAML,
                ERR_CONFIG_KEY,
                "t.yaml:5:48: the key 'method' belongs to surfaces of kind postgres, and surfaces.p is of kind files");
}

static void never_repeats_what_may_be_a_secret(void **state) {
    (void)state;
    parse_fails("version: 1\nplatform: a\nrepositories: { m: { url: /b, encrypt: { key: hunter2 } } }\n"
                "surfaces:\n  f: { kind: files, class: truth, paths: [/f] }\nenvironments:\n  dev: { repository: m }\n",
                ERR_CONFIG_VALUE,
                "t.yaml:3:47: no entry of 'secrets' has the name that stands here; if it is the secret itself, take it "
                "out of the "
                "file");
}

static void joins_conf_d(void **state) {
    (void)state;
    struct temp t;
    struct error err = ERROR_INIT;
    temp_make(&t);
    char folder[128];
    snprintf(folder, sizeof(folder), "%s/conf.d", t.path);
    assert_ok(io_mkdirs(folder, 0700, &err), &err);
    const char *path = temp_file(&t, "main.yaml", HEAD_YAML DEV_YAML, 0600);
    temp_file(&t, "conf.d/20-prod.yaml", "environments:\n  prod: { repository: main, surfaces: [more] }\n", 0600);
    temp_file(&t, "conf.d/10-more.yaml", "surfaces:\n  more: { kind: files, class: cache, paths: [/more] }\n", 0600);
    temp_file(&t, "conf.d/.hidden.yaml", "nonsense", 0600);
    temp_file(&t, "conf.d/readme.txt", "nonsense", 0600);
    struct config *c = NULL;
    assert_ok(config_load(path, &c, &err), &err);
    assert_int_equal(c->surfaces.count, 2);
    assert_int_equal(c->environments.count, 2);
    assert_string_equal(c->head.file, path);
    assert_non_null(strstr(config_environment(c, "prod")->head.file, "conf.d/20-prod.yaml"));
    config_free(c);

    c = NULL;
    temp_file(&t, "conf.d/30-again.yaml", "surfaces:\n  more: { kind: files, class: cache, paths: [/again] }\n", 0600);
    assert_int_equal(config_load(path, &c, &err), -ERR_CONFIG_KEY);
    assert_non_null(strstr(err.text, "conf.d/30-again.yaml:2:3: surfaces.more stands at "));
    assert_non_null(strstr(err.text, "conf.d/10-more.yaml:2 already"));
    error_clear(&err);
    temp_file(&t, "conf.d/30-again.yaml", "platform: other\n", 0600);
    assert_int_equal(config_load(path, &c, &err), -ERR_CONFIG_KEY);
    assert_non_null(strstr(err.text, "conf.d/30-again.yaml:1:1: the key 'platform' stands at "));
    assert_non_null(strstr(err.text, "main.yaml:2 already; it stands in one file only"));
    assert_null(c);
    temp_done(&t);
}

static void looks_where_it_says(void **state) {
    (void)state;
    struct temp t;
    struct error err = ERROR_INIT;
    struct config *c = NULL;
    char before[4096];
    temp_make(&t);
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(t.path), 0);
    if (access("/etc/proofkeep/proofkeep.yaml", F_OK) != 0) {
        assert_int_equal(config_load(NULL, &c, &err), -ERR_CONFIG_NONE);
        assert_string_equal(err.text, "there is neither ./proofkeep.yaml nor /etc/proofkeep/proofkeep.yaml");
        error_clear(&err);
    }
    assert_int_equal(config_load("/nonexistent/p.yaml", &c, &err), -ERR_CONFIG_NONE);
    assert_string_equal(err.text, "there is no file /nonexistent/p.yaml");
    error_clear(&err);
    temp_file(&t, "proofkeep.yaml", HEAD_YAML DEV_YAML, 0600);
    assert_ok(config_load(NULL, &c, &err), &err);
    assert_string_equal(c->head.file, "proofkeep.yaml");
    config_free(c);
    assert_int_equal(chdir(before), 0);
    temp_done(&t);
}

static void gives_drivers_their_settings(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(config_freep) struct config *c = parse_ok(whole);
    json_t *j;
    assert_ok(config_surface_settings(c, config_environment(c, "prod"), config_surface(c, "artifacts"), &j, &err),
              &err);
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    assert_ok(json_write(j, &b, &err), &err);
    assert_ok(buf_terminate(&b, &err), &err);
    assert_string_equal(
        (char *)b.ptr,
        "{\"exclude\":[\"*.tmp\"],\"one_file_system\":true,\"paths\":[\"/srv/prod/raw\",\"/srv/processed\"]}");
    json_decref(j);
    assert_ok(config_surface_settings(c, config_environment(c, "prod"), config_surface(c, "postgres"), &j, &err), &err);
    buf_clear(&b);
    assert_ok(json_write(j, &b, &err), &err);
    assert_ok(buf_terminate(&b, &err), &err);
    assert_string_equal(
        (char *)b.ptr,
        "{\"connect\":{\"dbname\":\"summit_prod\",\"host\":\"pg.prod.internal\",\"password\":\"pg-password\","
        "\"port\":5433,\"sslmode\":\"verify-full\",\"sslrootcert\":\"/etc/ssl/pg.pem\",\"user\":\"backup\"},"
        "\"databases\":[\"summit_prod\",\"audit\"],\"invariants\":["
        "{\"expect\":\"not_shrunk\",\"name\":\"users\",\"sql\":\"select count(*) from users\"},"
        "{\"expect\":\"equal\",\"name\":\"schema\",\"sql\":\"select max(version) from migrations\"}],"
        "\"run_as\":\"postgres\",\"tools_dir\":\"/usr/lib/postgresql/15/bin\"}");
    json_decref(j);
}

static void says_all_databases_in_the_drivers_way(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(config_freep)
    struct config *c = parse_ok("version: 1\nplatform: a\nrepositories: { m: { url: /b } }\nsurfaces:\n"
                                "  p: { kind: postgres, class: runtime, databases: [all] }\n"
                                "environments:\n  prod: { repository: m }\n");
    json_t *j;
    assert_ok(config_surface_settings(c, config_environment(c, "prod"), config_surface(c, "p"), &j, &err), &err);
    assert_string_equal(json_string_value(json_object_get(j, "databases")), "all");
    json_decref(j);
}

/* S19: the source documents' variables, in dev only. */
static void honours_variables_in_dev_only(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(config_freep)
    struct config *c = parse_ok("version: 1\nplatform: a\nrepositories: { m: { url: /b } }\nsurfaces:\n"
                                "  p: { kind: postgres, class: runtime, connect: { host: filed, user: kept } }\n"
                                "environments:\n  dev: { repository: m }\n  prod: { repository: m }\n");
    const struct config_environment *dev = config_environment(c, "dev"), *prod = config_environment(c, "prod");
    setenv("POSTGRES_HOST", "localhost", 1);
    setenv("POSTGRES_PORT", "5444", 1);
    setenv("POSTGRES_DB", "summit_dev", 1);
    setenv("POSTGRES_USER", "", 1);
    setenv("POSTGRES_PASSWORD", "devpassword", 1);
    json_t *j;
    assert_ok(config_surface_settings(c, dev, config_surface(c, "p"), &j, &err), &err);
    const json_t *connect = json_object_get(j, "connect");
    assert_string_equal(json_string_value(json_object_get(connect, "host")), "localhost");
    assert_int_equal(json_integer_value(json_object_get(connect, "port")), 5444);
    assert_string_equal(json_string_value(json_object_get(connect, "dbname")), "summit_dev");
    assert_string_equal(json_string_value(json_object_get(connect, "user")), "kept");
    assert_string_equal(json_string_value(json_object_get(connect, "password")), "env:POSTGRES_PASSWORD");
    json_decref(j);
    assert_ok(config_surface_settings(c, prod, config_surface(c, "p"), &j, &err), &err);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "connect"), "host")), "filed");
    assert_null(json_object_get(json_object_get(j, "connect"), "password"));
    json_decref(j);
    setenv("POSTGRES_PORT", "many", 1);
    assert_int_equal(config_surface_settings(c, dev, config_surface(c, "p"), &j, &err), -ERR_CONFIG_VALUE);
    assert_string_equal(err.text, "the variable POSTGRES_PORT wants a port from 1 to 65535");
    error_clear(&err);

    const char *name;
    enum config_key_kind kind;
    assert_int_equal(config_repository_key(c, dev, &name, &kind, &err), -ERR_KEY_NONE);
    assert_string_equal(err.text, "the repository 'm' of environment 'dev' has no 'encrypt:' in the configuration");
    error_clear(&err);
    setenv("BACKUP_ENCRYPTION_KEY", "phrase", 1);
    assert_ok(config_repository_key(c, dev, &name, &kind, &err), &err);
    assert_string_equal(name, "env:BACKUP_ENCRYPTION_KEY");
    assert_int_equal(kind, CONFIG_KEY_PASSPHRASE);
    assert_int_equal(config_repository_key(c, prod, &name, &kind, &err), -ERR_KEY_NONE);
    unsetenv("BACKUP_ENCRYPTION_KEY");
    unsetenv("POSTGRES_HOST");
    unsetenv("POSTGRES_PORT");
    unsetenv("POSTGRES_DB");
    unsetenv("POSTGRES_USER");
    unsetenv("POSTGRES_PASSWORD");
}

static void dumps_without_secrets(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    CLEANUP(config_freep) struct config *c = parse_ok(whole);
    json_t *j;
    assert_ok(config_dump(c, &j, &err), &err);
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 20);
    assert_ok(json_write(j, &b, &err), &err);
    assert_ok(buf_terminate(&b, &err), &err);
    assert_non_null(strstr((char *)b.ptr, "\"repo-key\":{\"command\":[\"vault\",\"\\u2026\"]}"));
    assert_null(strstr((char *)b.ptr, "kv/backup"));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(json_object_get(j, "surfaces"), "postgres"), "kind")),
        "postgres");
    assert_int_equal(json_array_size(json_object_get(j, "effective_policy")), 1 + 2 + 2);
    json_decref(j);
}

/* Every call to the system fails in turn: an error comes back, and nothing leaks or stays behind. */
static void load_under_faults(void *arg, uint64_t n) {
    struct error err = ERROR_INIT;
    struct config *c = NULL;
    (void)n;
    int rc = config_load(arg, &c, &err);
    if (rc == 0)
        config_free(c);
    else
        assert_int_equal(rc, -(int)err.code);
}
static void survives_every_fault(void **state) {
    (void)state;
    struct temp t;
    temp_make(&t);
    struct error err = ERROR_INIT;
    char folder[128];
    snprintf(folder, sizeof(folder), "%s/conf.d", t.path);
    assert_ok(io_mkdirs(folder, 0700, &err), &err);
    const char *path = temp_file(&t, "proofkeep.yaml", whole, 0600);
    temp_file(&t, "conf.d/a.yaml", "surfaces:\n  more: { kind: files, class: cache, paths: [/more] }\n", 0600);
    char copy[256];
    snprintf(copy, sizeof(copy), "%s", path);
    assert_true(fault_each(false, load_under_faults, copy) > 100);
    assert_true(fault_each(true, load_under_faults, copy) > 100);
    temp_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_key),
        cmocka_unit_test(unset_stays_unset),
        cmocka_unit_test(refuses_unknown_keys_with_a_hint),
        cmocka_unit_test(refuses_what_later_versions_will_know),
        cmocka_unit_test(refuses_duplicates),
        cmocka_unit_test(refuses_wrong_types),
        cmocka_unit_test(refuses_what_does_not_fit_together),
        cmocka_unit_test(never_repeats_what_may_be_a_secret),
        cmocka_unit_test(joins_conf_d),
        cmocka_unit_test(looks_where_it_says),
        cmocka_unit_test(gives_drivers_their_settings),
        cmocka_unit_test(says_all_databases_in_the_drivers_way),
        cmocka_unit_test(honours_variables_in_dev_only),
        cmocka_unit_test(dumps_without_secrets),
        cmocka_unit_test(survives_every_fault),
    };
    return cmocka_run_group_tests_name("platform/config", tests, NULL, NULL);
}
