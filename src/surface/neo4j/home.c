#include "surface/neo4j/neo4j_offline.h"

#include "base/seam.h"
#include <errno.h>
#include <stdio.h>

static int own(const struct neo4j_offline *o, const char *path, struct error *err) {
    if (!o->become || seam_fchownat(AT_FDCWD, path, o->uid, o->gid, AT_SYMLINK_NOFOLLOW) == 0) return 0;
    return error_set_errno(err, ERR_IO_WRITE, "give %s to %s", path, o->run_as);
}

int neo4j_home_make(const struct neo4j_offline *o, const char *path, struct error *err) {
    static const char *const folders[] = {"", "/conf", "/data", "/logs", "/run", "/plugins", "/import", "/report"};
    char full[PATH_MAX + 16];
    int r = 0;
    for (const char *p = path; *p; p++)
        if (*p == '\\' || (unsigned char)*p < 0x20)
            return error_set(err, ERR_USAGE, "the path %s cannot stand in a configuration of Neo4j", path);
    for (size_t i = 0; r == 0 && i < sizeof folders / sizeof *folders; i++) {
        snprintf(full, sizeof full, "%s%s", path, folders[i]);
        if (seam_mkdirat(AT_FDCWD, full, 0700) < 0)
            return error_set_errno(err, ERR_IO_WRITE, "make the folder %s", full);
        r = own(o, full, err);
    }
    return r;
}

int neo4j_home_configure(const struct neo4j_offline *o, const char *path, const char *as, const char *more,
                         struct error *err) {
    static const struct {
        const char *key, *folder;
    } rows[] = {{"data", "data"},    {"transaction.logs.root", "data/transactions"},
                {"logs", "logs"},    {"dumps.root", "data/dumps"},
                {"run", "run"},      {"plugins", "plugins"},
                {"import", "import"}};
    CLEANUP(buf_free) struct buf text = BUF_INIT(64 << 10);
    char file[PATH_MAX + 32];
    int r = buf_append_str(
        &text, "# Where the data of this copy is; nothing else of a server's configuration is here.\n", err);
    for (size_t i = 0; r == 0 && i < sizeof rows / sizeof *rows; i++)
        r = buf_printf(&text, err, "server.directories.%s=%s/%s\n", rows[i].key, as, rows[i].folder);
    if (r == 0 && more) r = buf_append_str(&text, more, err);
    snprintf(file, sizeof file, "%s/conf/neo4j.conf", path);
    if (r == 0) r = io_replace_file(AT_FDCWD, file, buf_bytes(&text), 0600, err);
    return r == 0 ? own(o, file, err) : r;
}

#define ROUNDS 1024

int neo4j_home_password(const struct neo4j_offline *o, const char *path, struct bytes password, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(1024);
    struct sha256_state *sum = NULL;
    struct digest d;
    uint8_t salt[32];
    char hex[2 * sizeof salt + 1], hash[2 * DIGEST_BYTES + 1], folder[PATH_MAX + 16], file[PATH_MAX + 32];
    int r = random_bytes(salt, sizeof salt, err);
    if (r == 0) r = sha256_new(&sum, err);
    if (r < 0) return r;
    sha256_update(sum, BYTES_OF(salt, sizeof salt));
    sha256_update(sum, password);
    sha256_finish(sum, &d);
    sha256_free(sum);
    for (int i = 1; i < ROUNDS; i++) sha256(BYTES_OF(d.b, DIGEST_BYTES), &d);
    hex_encode(salt, sizeof salt, hex);
    hex_encode(d.b, DIGEST_BYTES, hash);
    snprintf(folder, sizeof folder, "%s/data/dbms", path);
    snprintf(file, sizeof file, "%s/auth.ini", folder);
    if (seam_mkdirat(AT_FDCWD, folder, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ERR_IO_WRITE, "make the folder %s", folder);
    r = buf_printf(&text, err, "neo4j:SHA-256,%s,%s,%d:\n", hash, hex, ROUNDS);
    if (r == 0) r = io_replace_file(AT_FDCWD, file, buf_bytes(&text), 0600, err);
    if (r == 0) r = own(o, folder, err);
    return r == 0 ? own(o, file, err) : r;
}

int neo4j_home_load(const struct neo4j_offline *o, const char *conf, struct source *src, const char *database,
                    struct restore_result *ret, struct error *err) {
    struct proc *p = NULL;
    struct error why = ERROR_INIT;
    char doing[NEO4J_NAME_MAX + 40];
    snprintf(doing, sizeof doing, "load the database %s", database);
    int r = neo4j_admin_start(
        o, conf, (const char *[]){"database", "load", "--from-stdin", "--overwrite-destination=true", database, NULL},
        true, false, &p, err);
    if (r < 0) return r;
    r = neo4j_rebuild(src, database, proc_in(p), doing, &ret->items, &ret->bytes, &why);
    if (r == 0 || why.sys_errno == EPIPE) {
        proc_close_in(p);
        int ended = neo4j_admin_wait(p, doing, err);
        if (ended < 0) r = ended;
    }
    /* What is not whole ends here, without an end to its stream, so that it cannot be taken for whole. */
    if (r < 0 && !err->code) *err = why;
    proc_free(p);
    return r;
}

int neo4j_home_check(const struct neo4j_offline *o, const char *conf, const char *database, const char *reports,
                     struct error *err) {
    struct error why = ERROR_INIT;
    char where[PATH_MAX + 32], doing[NEO4J_NAME_MAX + 40];
    snprintf(where, sizeof where, "--report-path=%s", reports);
    snprintf(doing, sizeof doing, "check the database %s", database);
    int r = neo4j_admin_run(o, conf, (const char *[]){"database", "check", where, database, NULL}, doing, NULL, &why);
    if (r == -ERR_NEO4J_ADMIN)
        return error_set(err, ERR_NEO4J_CHECK, "the restored database %s: %s", database, why.text);
    if (r < 0) *err = why;
    return r;
}

int neo4j_home_invariants(const json_t *databases, const json_t *info, json_t *out, struct error *err) {
    const json_t *d;
    size_t i;
    json_array_foreach(databases, i, d) {
        const char *name = json_string_value(d);
        const json_t *row = name ? neo4j_info_of(info, name) : NULL;
        char key[NEO4J_NAME_MAX + 64];
        if (!row)
            return error_set(err, ERR_NEO4J_ABSENT, "neo4j-admin does not list the database %s", name ? name : "");
        snprintf(key, sizeof key, "database/%s/last_committed_transaction", name);
        int r = json_put(
            out, key, json_pack("{s:O, s:s}", "value", json_object_get(row, "last_committed"), "expect", "equal"), err);
        snprintf(key, sizeof key, "database/%s/store_format", name);
        json_t *format = json_object_get(row, "store_format");
        if (r == 0 && json_is_string(format))
            r = json_put(out, key, json_pack("{s:O, s:s}", "value", format, "expect", "equal"), err);
        if (r < 0) return r;
    }
    return 0;
}
