#include "pg_server.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void need(bool holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "# the test server: %s\n", what);
    abort();
}

bool pg_server_find(struct pg_server *s) {
    *s = (struct pg_server){.root = geteuid() == 0};
    for (int major = 40; major >= 10; major--) {
        char path[160];
        snprintf(s->bin, sizeof s->bin, "/usr/lib/postgresql/%d/bin", major);
        snprintf(path, sizeof path, "%s/initdb", s->bin);
        if (access(path, X_OK) == 0) return true;
    }
    return false;
}

int pg_server_shell(struct pg_server *s, const char *fmt, ...) {
    char inner[8192], line[9216];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(inner, sizeof inner, fmt, ap);
    va_end(ap);
    snprintf(line, sizeof line, "cd / && %s env LC_ALL=C.UTF-8 PGHOST=%s PGUSER=postgres sh -c '%s'",
             s->root ? "runuser -u postgres --" : "", s->folder, inner);
    return system(line);
}

void pg_server_run(struct pg_server *s) {
    need(pg_server_shell(s, "%s/pg_ctl -D %s/data -l %s/log -w -s start", s->bin, s->folder, s->folder) == 0, "start");
}

static void write_file(struct pg_server *s, const char *name, const char *mode, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/data/%s", s->folder, name);
    FILE *f = fopen(path, mode);
    need(f && fputs(text, f) >= 0 && fclose(f) == 0, "configure");
}

void pg_server_start(struct pg_server *s) {
    char line[512];
    snprintf(s->folder, sizeof s->folder, "/tmp/pk-pg-XXXXXX");
    need(mkdtemp(s->folder) != NULL, "make a folder");
    snprintf(line, sizeof line, "%s %s", s->root ? "chown postgres" : "true", s->folder);
    need(system(line) == 0, "give the folder away");
    need(pg_server_shell(s, "%s/initdb -D %s/data -A trust -U postgres --no-sync >/dev/null", s->bin, s->folder) == 0,
         "initdb");
    char text[512];
    snprintf(text, sizeof text,
             "listen_addresses = ''\nunix_socket_directories = '%s'\nfsync = off\nmax_connections = 40\n"
             "max_locks_per_transaction = 1024\n",
             s->folder);
    write_file(s, "postgresql.conf", "a", text);
    if (pg_server_shell(s, "test -e $(%s/pg_config --pkglibdir 2>/dev/null || echo %s/../lib)/timescaledb.so", s->bin,
                        s->bin) == 0)
        write_file(s, "postgresql.conf", "a", "shared_preload_libraries = 'timescaledb'\n");
    /* The superuser by its user where we can be that, so that the driver has to; one role by password. */
    snprintf(text, sizeof text, "local all pw scram-sha-256\n%s\nlocal all all trust\n",
             s->root ? "local all postgres peer" : "");
    write_file(s, "pg_hba.conf", "w", text);
    pg_server_run(s);
}

void pg_server_stop(struct pg_server *s, const char *mode) {
    (void)!pg_server_shell(s, "%s/pg_ctl -D %s/data -m %s -w -s stop", s->bin, s->folder, mode);
}

void pg_server_kill(struct pg_server *s) {
    need(pg_server_shell(s, "p=$(head -n 1 %s/data/postmaster.pid); c=$(ps -o pid= --ppid $p); kill -9 $p && { kill -9 $c 2>/dev/null || :; }", s->folder) ==
             0,
         "kill");
    pg_server_gone(s);
}

/* A dead process whose parent has not looked yet still counts for the next start. */
void pg_server_gone(struct pg_server *s) {
    need(pg_server_shell(
             s,
             "p=$(head -n 1 %s/data/postmaster.pid); for i in $(seq 300); do kill -0 $p 2>/dev/null || exit 0;"
             " sleep 0.1; done; exit 1",
             s->folder) == 0,
         "its end");
}

void pg_server_remove(struct pg_server *s) {
    char line[128];
    pg_server_stop(s, "immediate");
    snprintf(line, sizeof line, "rm -rf %s", s->folder);
    need(system(line) == 0, "remove the folder");
}

static char *run_psql(struct pg_server *s, const char *database, const char *text, bool answer) {
    char script[128], out[128], line[1024];
    static unsigned runs;
    snprintf(script, sizeof script, "/tmp/pk-pg-sql-%d", (int)getpid());
    snprintf(out, sizeof out, "/tmp/pk-pg-out-%d-%u", (int)getpid(), ++runs);
    FILE *f = fopen(script, "w");
    need(f && fputs(text, f) >= 0 && fclose(f) == 0, "write a script");
    need(chmod(script, 0644) == 0, "write a script");
    /* The name goes through a variable, because it may hold anything. */
    setenv("PK_TEST_DATABASE", database, 1);
    snprintf(
        line, sizeof line,
        "%s env LC_ALL=C.UTF-8 PGCLIENTENCODING=UTF8 PGHOST=%s PGUSER=postgres PGDATABASE=\"$PK_TEST_DATABASE\" %s/psql"
        " -X -q -At -v ON_ERROR_STOP=1 -f %s > %s",
        s->root ? "runuser -u postgres --" : "", s->folder, s->bin, script, out);
    int rc = system(line);
    if (rc != 0) fprintf(stderr, "# psql failed in %s: %s\n", database, text);
    need(rc == 0, "psql");
    char *all = NULL;
    if (answer) {
        FILE *g = fopen(out, "r");
        size_t cap = 0;
        ssize_t n = g ? getdelim(&all, &cap, 0, g) : -1;
        if (n < 0) {
            free(all);
            all = strdup("");
        } else if (n > 0 && all[n - 1] == '\n') {
            all[n - 1] = 0;
        }
        if (g) fclose(g);
    }
    unlink(script);
    unlink(out);
    return all;
}

void pg_server_sql(struct pg_server *s, const char *database, const char *script) {
    run_psql(s, database, script, false);
}

const char *pg_server_ask(struct pg_server *s, const char *database, const char *query) {
    static char *answers[8];
    static unsigned at;
    char **slot = &answers[at++ % 8];
    free(*slot);
    *slot = run_psql(s, database, query, true);
    return *slot;
}

char *pg_server_dump(struct pg_server *s, const char *database) {
    char line[1024];
    setenv("PK_TEST_DATABASE", database, 1);
    snprintf(line, sizeof line,
             "%s env LC_ALL=C.UTF-8 PGHOST=%s PGUSER=postgres PGTZ=UTC PGOPTIONS=-cbytea_output=hex "
             "PGDATABASE=\"$PK_TEST_DATABASE\" %s/pg_dump"
             " | grep -v '^.\\(un\\)\\?restrict ' | grep -v -- '-- Dumped '",
             s->root ? "runuser -u postgres --" : "", s->folder, s->bin);
    FILE *p = popen(line, "r");
    char *all = NULL;
    size_t cap = 0;
    need(p && getdelim(&all, &cap, 0, p) > 0, "pg_dump");
    need(pclose(p) == 0, "pg_dump");
    return all;
}
