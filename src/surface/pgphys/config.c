/* Configuration that is no file of the data folder: what lies outside is kept as it is, for who wants to look at it;
 * what a restored server needs to start without that, under the names that it looks for. */
#include "surface/pgphys/pgphys_internal.h"

#include <fcntl.h>
#include <stdio.h>

#define CONFIG_FILE_MAX (16u << 20)
#define LINK_BYTES "16777216"

static int folders(struct pgphys_config *g, const char *path, struct pgphys_list *done, struct error *err) {
    char name[PATH_MAX];
    struct stat st = {.st_mode = S_IFDIR | 0700};
    int rc = 0;
    for (const char *p = path; rc == 0 && (p = strchr(p, '/')); p++) {
        bool there = false;
        snprintf(name, sizeof name, PGPHYS_CONFIG "%.*s", (int)(p - path), path);
        for (size_t i = 0; i < done->n && !there; i++) there = !strcmp(done->entries[i].name, name);
        if (there) continue;
        struct pgphys_attr a = {.type = PGPHYS_FOLDER, .mode = 0700, .mtime_ns = g->session->start_ns};
        rc = pgphys_list_add(done, BYTES_STR(name), PGPHYS_FOLDER, &st, BYTES_OF(NULL, 0), err);
        if (rc == 0) rc = pgphys_put(g->sink, name, ITEM_NONE, a, BYTES_OF(NULL, 0), NULL, err);
        g->folders++;
    }
    return rc;
}

/* Its folders may belong to the server's user, who can put a link there that leads to what he must not read. */
static int file_read(const struct pgphys_config *g, const char *path, struct buf *ret, struct stat *st,
                     struct error *err) {
    struct stat data;
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0), rc = 0;
    size_t n = 0;
    if (fd < 0 || seam_fstat(fd, st) < 0 || seam_fstat(g->dirfd, &data) < 0)
        rc = error_set_errno(err, ERR_IO_READ, "read %s", path);
    else if (!S_ISREG(st->st_mode) || st->st_size > CONFIG_FILE_MAX)
        rc = error_set(err, ERR_IO_READ, "%s is no file of configuration", path);
    else if (!(st->st_mode & S_IROTH || (st->st_mode & S_IRGRP && st->st_gid == data.st_gid) ||
               (st->st_mode & S_IRUSR && st->st_uid == data.st_uid)))
        rc = error_set(err, ERR_IO_READ, "%s: the server's user may not read it", path);
    if (rc == 0) rc = buf_reserve(ret, (size_t)st->st_size, err);
    if (rc == 0) rc = io_pread_full(fd, ret->ptr, (size_t)st->st_size, 0, &n, path, err);
    ret->len = rc == 0 ? n : 0;
    io_close(&fd);
    return rc;
}

/* A file under another name. `why` says that it cannot be had; `err`, that it cannot be kept. */
static int keep(struct pgphys_config *g, const char *path, const char *name, struct pgphys_list *done, bool *ret_had,
                struct error *why, struct error *err) {
    CLEANUP(buf_free) struct buf content = BUF_INIT(CONFIG_FILE_MAX + 1);
    struct stat st = {0};
    int rc = file_read(g, path, &content, &st, why);
    *ret_had = rc == 0;
    if (rc < 0) return 0;
    struct pgphys_attr a = {.type = PGPHYS_FILE,
                            .mode = (uint32_t)st.st_mode & 07777,
                            .mtime_ns = (int64_t)st.st_mtim.tv_sec * NS_PER_S + st.st_mtim.tv_nsec};
    rc = done ? folders(g, path, done, err) : 0;
    return rc == 0 ? g->put(g->ctx, name, a, buf_bytes(&content), err) : rc;
}

static int outside(struct pgphys_config *g, json_t *o, struct pgphys_list *done, struct error *err) {
    char name[PATH_MAX];
    struct error why = ERROR_INIT;
    bool had;
    const char *path = json_string_value(json_object_get(o, "path"));
    if (!path || *path != '/' || strlen(path) > PATH_MAX - 64) return json_put(o, "captured", json_false(), err);
    snprintf(name, sizeof name, PGPHYS_CONFIG "%s", path);
    int rc = keep(g, path, name, done, &had, &why, err);
    if (rc == 0 && !had)
        pg_note(g->settings, NOTE_WARNING, BYTES_STR(path), "configuration outside the data folder was not captured");
    if (rc == 0) rc = json_put(o, "captured", json_boolean(had), err);
    return rc == 0 && !had ? json_put_str(o, "why", why.text, err) : rc;
}

/* ---- what a restored server starts with ---- */

/* The server is asked, who reads what its own user may read: a link can lead anywhere. */
static int link_of(struct pgphys_config *g, const char *name, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(CONFIG_FILE_MAX);
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct error why = ERROR_INIT;
    const char *params[] = {name};
    int rc = pg_query(g->session->c, &r, &why,
                      "SELECT pg_catalog.encode(pg_catalog.pg_read_binary_file($1, 0, " LINK_BYTES ", true), 'hex')", 1,
                      params);
    if (rc < 0 && PQstatus(g->session->c) != CONNECTION_OK) return error_set(err, why.code, "%s", why.text);
    if (rc < 0 || PQgetisnull(r, 0, 0) || (size_t)PQgetlength(r, 0, 0) >= 2 * (size_t)CONFIG_FILE_MAX) {
        g->skipped++;
        pg_note(
            g->settings, NOTE_SKIPPED, BYTES_STR(name),
            "a link to configuration, which is too long, gone, or what the role may not read: that takes a superuser, "
            "or EXECUTE on pg_read_binary_file and pg_read_server_files");
        return 0;
    }
    const char *hex = PQgetvalue(r, 0, 0);
    const size_t n = strlen(hex) / 2;
    rc = buf_reserve(&b, n, err);
    if (rc == 0 && n && !hex_decode(hex, strlen(hex), b.ptr, n))
        rc = error_set(err, ERR_PG_QUERY, "the server did not answer with bytes");
    struct pgphys_attr a = {.type = PGPHYS_FILE, .mode = 0600, .mtime_ns = g->session->start_ns};
    return rc == 0 ? g->put(g->ctx, name, a, BYTES_OF(b.ptr, n), err) : rc;
}

static int links(struct pgphys_config *g, struct error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < g->list->n_links; i++) rc = link_of(g, g->list->links[i], err);
    return rc;
}

static int line(struct buf *b, const char *name, const char *value, struct error *err) {
    int rc = buf_printf(b, err, "%s = '", name);
    for (const char *p = value; rc == 0 && *p; p++) {
        if (*p == '\n')
            rc = buf_append_str(b, "\\n", err);
        else if (*p == '\'' || *p == '\\')
            rc = buf_printf(b, err, "%c%c", *p, *p);
        else
            rc = buf_append(b, p, 1, err);
    }
    return rc == 0 ? buf_append_str(b, "'\n", err) : rc;
}

/* All that the server has read from there, whatever includes what; but for where its own files are, which a copy would
 * take for its. Of a setting that is there twice the last counts, as ever. */
static int settings(struct pgphys_config *g, const char *path, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(CONFIG_FILE_MAX);
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc =
        pg_query(g->session->c, &r, err,
                 "SELECT name, setting FROM pg_catalog.pg_file_settings WHERE name IS NOT NULL AND setting IS NOT NULL"
                 /* not what it cannot read; what waits for a start of the server is told as an error, too */
                 " AND (error IS NULL OR name IN (SELECT s.name FROM pg_catalog.pg_settings s WHERE s.context = "
                 "'postmaster'))"
                 " AND sourcefile NOT LIKE '%/postgresql.auto.conf' AND name NOT IN ('data_directory', 'config_file',"
                 " 'hba_file', 'ident_file', 'external_pid_file') ORDER BY seqno",
                 0, NULL);
    if (rc < 0) return rc;
    rc = buf_printf(&b, err,
                    "# by proofkeep: what %s said, and what it included, when this was backed up; the files "
                    "themselves are in " PGPHYS_CONFIG "\n",
                    path);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) rc = line(&b, pg_value(r, i, 0), pg_value(r, i, 1), err);
    struct pgphys_attr a = {.type = PGPHYS_FILE, .mode = 0600, .mtime_ns = g->session->start_ns};
    return rc == 0 ? g->put(g->ctx, "postgresql.conf", a, buf_bytes(&b), err) : rc;
}

static bool is_outside(const json_t *facts, const char *path) {
    const json_t *o;
    size_t i;
    json_array_foreach(json_object_get(facts, "config_outside"), i, o) {
        const char *one = json_string_value(json_object_get(o, "path"));
        if (one && !strcmp(one, path)) return true;
    }
    return false;
}

static const char *const names[PGPHYS_CONFIG_NAMES] = {"postgresql.conf", "pg_hba.conf", "pg_ident.conf"};

/* A file of that name in the data folder is one that the server does not read, it may be of an earlier restore. */
bool pgphys_config_replaced(const struct pgphys_list *l, const char *name) {
    for (size_t i = 0; i < PGPHYS_CONFIG_NAMES; i++)
        if (l->replaced[i] && !strcmp(name, names[i])) return true;
    return false;
}

int pgphys_config_look(PGconn *c, const json_t *facts, struct pgphys_list *l, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct error why = ERROR_INIT;
    /* Without the right to see where they are they are not among what is outside either. */
    if (!json_array_size(json_object_get(facts, "config_outside")) ||
        pg_query(c, &r, &why,
                 "SELECT pg_catalog.current_setting('config_file'), pg_catalog.current_setting('hba_file'),"
                 " pg_catalog.current_setting('ident_file'),"
                 " pg_catalog.has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')"
                 " AND pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE')",
                 0, NULL) < 0)
        return PQstatus(c) == CONNECTION_OK ? 0 : error_set(err, ERR_PG_CONNECT, "%s", why.text);
    int rc = 0;
    for (int i = 0; rc == 0 && i < PGPHYS_CONFIG_NAMES; i++)
        if (is_outside(facts, pg_value(r, 0, i)) && (i > 0 || pg_true(r, 0, 3)))
            rc = mem_strdup(pg_value(r, 0, i), &l->replaced[i], err);
    return rc;
}

static int to_start_with(struct pgphys_config *g, struct error *err) {
    struct error why = ERROR_INIT;
    bool had;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < PGPHYS_CONFIG_NAMES; i++) {
        const char *path = g->list->replaced[i];
        error_clear(&why);
        if (!path) continue;
        had = true;
        rc = i == 0 ? settings(g, path, err) : keep(g, path, names[i], NULL, &had, &why, err);
        if (rc == 0 && !had)
            pg_note(g->settings, NOTE_WARNING, BYTES_STR(names[i]),
                    "it could not be read where the server has it: a server that is restored needs one to start");
    }
    return rc;
}

int pgphys_config_put(struct pgphys_config *g, struct error *err) {
    struct pgphys_list done = {0};
    json_t *o;
    size_t i;
    int rc = 0;
    json_array_foreach(json_object_get(g->facts, "config_outside"), i, o) {
        if (rc == 0) rc = outside(g, o, &done, err);
    }
    pgphys_list_free(&done);
    if (rc == 0) rc = links(g, err);
    return rc == 0 ? to_start_with(g, err) : rc;
}
