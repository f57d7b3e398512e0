#include "pg_stage.h"

#include "base/seam.h"
#include <stdlib.h>
#include <unistd.h>

struct pg_stage stage;

bool stage_skip(void) {
    if (pg_server_find(&stage.server)) return false;
    printf("1..1\nok 1 # SKIP no PostgreSQL server programs (initdb) on this host\n");
    return true;
}

static void on_note(void *ctx, enum note_kind kind, struct bytes name, const char *text) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)ctx, (void)kind;
    pthread_mutex_lock(&lock);
    size_t at = strlen(stage.notes);
    snprintf(stage.notes + at, sizeof stage.notes - at, "%.*s: %s\n", (int)name.len, (const char *)name.ptr, text);
    pthread_mutex_unlock(&lock);
}

static int on_secret(void *ctx, const char *ref, struct secret **ret, struct error *err) {
    (void)ctx;
    if (strcmp(ref, "pg") != 0) return error_set(err, ERR_SECRET, "there is no secret %s", ref);
    return secret_new(BYTES_STR("pass:word\\with'marks"), ret, err);
}

json_t *stage_settings(const char *user, const char *databases) {
    json_t *j = json_pack("{s:{s:s, s:i, s:s, s:s}}", "connect", "host", stage.server.folder, "port", 5432, "user",
                          user, "dbname", "postgres");
    assert_non_null(j);
    if (stage.server.root && !strcmp(user, "postgres")) json_object_set_new(j, "run_as", json_string("postgres"));
    if (!strcmp(user, "pw")) json_object_set_new(json_object_get(j, "connect"), "password", json_string("pg"));
    if (databases) {
        json_t *d = json_loads(databases, JSON_DECODE_ANY, NULL);
        assert_non_null(d);
        json_object_set_new(j, "databases", d);
    }
    return j;
}

struct surface_context stage_context(const json_t *settings) {
    stage.notes[0] = 0;
    return (struct surface_context){.environment = "test",
                                    .name = "db",
                                    .settings = settings,
                                    .secret = on_secret,
                                    .jobs = 2,
                                    .scratch_dir = stage.scratch_dir,
                                    .events = {.note = on_note}};
}

void stage_drop(struct capture_result *r) {
    json_decref(r->facts);
    json_decref(r->invariants);
}

int64_t stage_rows(const json_t *invariants, const char *key) {
    const json_t *v = json_object_get(json_object_get(invariants, key), "value");
    if (!v) fail_msg("there is no invariant %s", key);
    return json_integer_value(json_object_get(v, "rows"));
}

struct restore_request stage_request(void) {
    return (struct restore_request){.facts = stage.captured.facts, .invariants = stage.captured.invariants};
}

static void make_server(void) {
    struct error err = ERROR_INIT;
    pg_server_start(&stage.server);
    snprintf(stage.scratch_dir, sizeof stage.scratch_dir, "/tmp/pk-pg-scratch-%d", (int)getpid());
    assert_int_equal(io_mkdirs(stage.scratch_dir, 0700, &err), 0);
    pg_server_sql(&stage.server, "postgres", pg_fixture_globals);
    pg_server_sql(&stage.server, "app", pg_fixture_app);
    pg_server_sql(&stage.server, PG_WEIRD, pg_fixture_weird);
    stage.have_postgis =
        pg_server_ask(&stage.server, "app", "SELECT 1 FROM pg_available_extensions WHERE name = 'postgis'")[0] == '1';
    if (stage.have_postgis) pg_server_sql(&stage.server, "app", pg_fixture_postgis);
}

int stage_setup(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    claim_ok(crypto_init(&err), err);
    make_server();
    stage.settings = stage_settings("postgres", "[\"app\"]");
    /* What the stock tools make of it is what a restore has to be: they may put columns that are inherited elsewhere.
     */
    if (pg_server_shell(&stage.server,
                        "%s/pg_dump -Fc app >%s/stock && %s/createdb -T template0 app_stock &&"
                        " %s/pg_restore -d app_stock %s/stock",
                        stage.server.bin, stage.server.folder, stage.server.bin, stage.server.bin,
                        stage.server.folder) != 0)
        return -1;
    struct surface_context ctx = stage_context(stage.settings);
    snapshot_init(&stage.shot);
    int r = surface_postgres.capture(&ctx, &stage.shot.sink, &stage.captured, &err);
    if (r < 0) fprintf(stderr, "# capture: %s\n", err.text);
    return r;
}

int stage_teardown(void **state) {
    (void)state;
    struct error err = ERROR_INIT;
    stage_drop(&stage.captured);
    snapshot_free(&stage.shot);
    json_decref(stage.settings);
    pg_server_remove(&stage.server);
    /* Whatever the claims did, nothing of ours stays behind. */
    int fd = seam_openat(AT_FDCWD, stage.scratch_dir, O_RDONLY | O_DIRECTORY, 0), left = 0;
    DIR *d = fd >= 0 ? seam_fdopendir(fd) : NULL;
    for (const struct dirent *e; d && (e = seam_readdir(d));)
        if (e->d_name[0] != '.') left++, fprintf(stderr, "# left behind: %s\n", e->d_name);
    if (d) seam_closedir(d);
    (void)!io_remove_tree(AT_FDCWD, stage.scratch_dir, &err);
    return left ? -1 : 0;
}

json_t *stage_tools(const char *pg_dump_script) {
    char dir[256];
    static unsigned n;
    snprintf(dir, sizeof dir, "%s/tools-%u", stage.server.folder, ++n);
    assert_int_equal(
        pg_server_shell(&stage.server, "mkdir %s && ln -s %s/* %s/ && rm %s/pg_dump", dir, stage.server.bin, dir, dir),
        0);
    char path[512], script[1024];
    snprintf(path, sizeof path, "%s/pg_dump", dir);
    snprintf(script, sizeof script,
             "#!/bin/bash\nreal=%s/pg_dump\nif [ \"$1\" = --version ]; then exec $real --version; fi\n%s\n",
             stage.server.bin, pg_dump_script);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(script, f) >= 0 && fclose(f) == 0 && chmod(path, 0755) == 0);
    json_t *settings = stage_settings("postgres", "[\"app\"]");
    json_object_set_new(settings, "tools_dir", json_string(dir));
    return settings;
}

void stage_same(const char *a, const char *b) {
    char *x = pg_server_dump(&stage.server, a), *y = pg_server_dump(&stage.server, b);
    if (strcmp(x, y) != 0) {
        size_t at = 0;
        while (x[at] == y[at]) at++;
        while (at > 0 && x[at - 1] != '\n') at--;
        fail_msg("the dumps of %s and %s differ:\n%.300s\n--- and ---\n%.300s", a, b, x + at, y + at);
    }
    free(x);
    free(y);
}

bool stage_exists(const char *pattern) {
    char query[256];
    snprintf(query, sizeof query, "SELECT count(*) FROM pg_database WHERE datname LIKE '%s'", pattern);
    return strcmp(pg_server_ask(&stage.server, "postgres", query), "0") != 0;
}
