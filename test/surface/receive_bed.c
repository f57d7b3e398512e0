#include "receive_bed.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int bed_shell(const char *fmt, ...) {
    char line[8192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return system(line);
}

bool bed_find(struct bed *b) {
    if (pg_server_find(&b->server)) return true;
    printf("1..1\nok 1 # SKIP no PostgreSQL server programs (initdb) on this host\n");
    return false;
}

static void conf(const struct pg_server *s, const char *file, const char *mode, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/data/%s", s->folder, file);
    FILE *f = fopen(path, mode);
    if (!f || fputs(text, f) < 0 || fclose(f) != 0) abort();
}

void bed_fresh_folder(struct bed *b, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", b->server.folder, name);
    assert_int_equal(mkdir(path, 0755), 0);
    wal_folder_open(&b->folder, path, BED_SEGMENT);
}

void bed_open(struct bed *b, const char *settings) {
    struct pg_server *s = &b->server;
    struct error err = ERROR_INIT;
    char text[2048];
    claim_ok(crypto_init(&err), err);
    snprintf(s->folder, sizeof s->folder, "/tmp/pk-pg-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(b->archive, sizeof b->archive, "%s/archive", s->folder);
    snprintf(b->hosts, sizeof b->hosts, "%s", s->folder);
    if (s->root) assert_int_equal(bed_shell("chown postgres %s", s->folder), 0);
    assert_int_equal(pg_server_shell(s,
                                     "chmod 755 %s && mkdir %s && %s/initdb -D %s/data -A trust -U postgres --no-sync "
                                     "--wal-segsize=1 >/dev/null",
                                     s->folder, b->archive, s->bin, s->folder),
                     0);
    snprintf(text, sizeof text,
             "listen_addresses = ''\nunix_socket_directories = '%s'\nfsync = off\nmax_connections = 40\n"
             "archive_mode = on\narchive_command = 'cp %%p %s/%%f'\nmin_wal_size = 4MB\nmax_wal_size = 16MB\n"
             "shared_buffers = 16MB\nwal_sender_timeout = 10s\n%s",
             s->folder, b->archive, settings);
    conf(s, "postgresql.conf", "a", text);
    conf(s, "pg_hba.conf", "w", "local all all trust\nlocal replication all trust\n");
    pg_server_run(s);
    bed_fresh_folder(b, "wal");
    pg_server_sql(s, "postgres", "CREATE TABLE filler (id bigserial, t text)");
}

void bed_close(struct bed *b) {
    pg_server_remove(&b->server);
}

void bed_standby(struct bed *b, struct pg_server *ret) {
    char text[512];
    *ret = b->server;
    snprintf(ret->folder, sizeof ret->folder, "/tmp/pk-pg-XXXXXX");
    assert_non_null(mkdtemp(ret->folder));
    if (ret->root) assert_int_equal(bed_shell("chown postgres %s", ret->folder), 0);
    assert_int_equal(pg_server_shell(ret, "%s/pg_basebackup -h %s -D %s/data -R -X stream -c fast --no-sync", ret->bin,
                                     b->server.folder, ret->folder),
                     0);
    snprintf(text, sizeof text, "unix_socket_directories = '%s'\narchive_command = 'cp %%p %s/%%f'\n", ret->folder,
             b->archive);
    conf(ret, "postgresql.conf", "a", text);
    pg_server_run(ret);
}

static void on_event(void *ctx, enum receive_event what, const struct receive_state *s, const char *text) {
    static const char *const names[] = {"",      "started", "progress", "timeline", "branch", "disconnected",
                                        "fails", "works",   "slot", "made",     "gap"};
    const struct bed *b = ctx;
    char path[300];
    snprintf(path, sizeof path, "%s/.events", b->folder.path);
    FILE *f = fopen(path, "a");
    if (!f || s->durable > UINT64_MAX - 1) abort();
    fprintf(f, "%s: %s\n", names[what], text);
    fclose(f);
}

const char *bed_events(const struct bed *b) {
    static char text[1u << 18];
    char path[300];
    snprintf(path, sizeof path, "%s/.events", b->folder.path);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f) fclose(f);
    return text;
}

int bed_receive(struct bed *b, const struct receive_options *o, struct receive_state *ret, struct error *err) {
    json_t *settings = json_pack("{s:{s:s, s:i, s:s, s:s}}", "connect", "host", b->hosts, "port", 5432, "user",
                                 "postgres", "dbname", "postgres");
    struct surface_context ctx = {.environment = "test", .name = "db", .settings = settings, .jobs = 1};
    struct receive_options with = *o;
    with.ctx = b;
    with.event = on_event;
    int rc = pgphys_receive(&ctx, &b->folder.sink, &with, ret, err);
    json_decref(settings);
    return rc;
}

static void on_signal(int number) {
    atomic_store(&stop_signal, number);
}

pid_t bed_start(struct bed *b, const struct receive_options *o) {
    fflush(NULL);
    pid_t child = fork();
    if (child != 0) return child;
    struct error err = ERROR_INIT;
    struct receive_state s;
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    int rc = bed_receive(b, o, &s, &err);
    if (rc < 0 && rc != -ERR_TERMINATED && rc != -ERR_INTERRUPTED)
        fprintf(stderr, "# the receiver: %s; %s\n", err.text, err.state);
    fflush(NULL);
    _exit(rc < 0 ? (int)err.code : 0);
}

int bed_stop(pid_t child, int number) {
    int status;
    if (number) kill(child, number);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void bed_await(struct bed *b, const char *query, const char *want) {
    const char *is = "";
    for (int i = 0; i < 1200; i++) {
        is = pg_server_ask(&b->server, "postgres", query);
        if (!strcmp(is, want)) return;
        usleep(100000);
    }
    fail_msg("%s is '%s' and not '%s'; events:\n%s", query, is, want, bed_events(b));
}

bool bed_await_event(struct bed *b, const char *text) {
    for (int i = 0; i < 2400; i++) {
        if (strstr(bed_events(b), text)) return true;
        usleep(50000);
    }
    fprintf(stderr, "# no event '%s' in:\n%s", text, bed_events(b));
    return false;
}

uint64_t bed_stored(struct bed *b, uint32_t *ret_timeline) {
    struct error err = ERROR_INIT;
    uint32_t timeline, size;
    uint64_t lsn;
    claim_ok(b->folder.sink.ops->resume(&b->folder.sink, 0, &timeline, &lsn, &size, &err), err);
    if (ret_timeline) *ret_timeline = timeline;
    return lsn;
}

uint64_t bed_lsn(struct bed *b, const char *query) {
    uint64_t lsn = 0;
    const char *text = pg_server_ask(&b->server, "postgres", query);
    if (!wal_lsn_parse(text, &lsn)) fail_msg("%s: '%s'", query, text);
    return lsn;
}

void bed_await_stored(struct bed *b) {
    uint64_t want = bed_lsn(b, "SELECT pg_current_wal_flush_lsn()");
    for (int i = 0; i < 2400; i++) {
        if (bed_stored(b, NULL) >= want) return;
        usleep(50000);
    }
    fail_msg("not all came; events:\n%s", bed_events(b));
}

void bed_fill(struct bed *b, unsigned mib) {
    char sql[256];
    snprintf(sql, sizeof sql,
             "INSERT INTO filler (t) SELECT repeat(md5(random()::text), 30) FROM generate_series(1, %u)", mib * 1000);
    pg_server_sql(&b->server, "postgres", sql);
}
