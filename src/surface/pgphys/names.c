#include "surface/pgphys/pgphys.h"

/* Lists and rules of basebackup.c (excludeDirContents, excludeFiles), versions 15 to 18, and the two recovery signals,
 * since what a copy is to become is decided when it is restored. */
static const char *const folders_emptied[] = {"pg_stat_tmp", "pg_replslot",  "pg_dynshmem", "pg_notify",
                                              "pg_serial",   "pg_snapshots", "pg_subtrans"};
static const char *const top_emptied[] = {"pg_wal", "pg_wal/archive_status", "pg_wal/summaries"};
static const char *const files_out[] = {
    "postgresql.auto.conf.tmp", "current_logfiles.tmp", "backup_label",    "tablespace_map",
    "backup_manifest",          "postmaster.pid",       "postmaster.opts", ".DS_Store"};
static const char *const top_out[] = {"recovery.signal", "standby.signal", "backup_label.old", "tablespace_map.old"};
static const char *const prefixes_out[] = {"pg_internal.init", "pgsql_tmp"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool is(struct bytes b, const char *text) {
    return b.len == strlen(text) && memcmp(b.ptr, text, b.len) == 0;
}

static bool begins(struct bytes b, const char *text) {
    return b.len >= strlen(text) && memcmp(b.ptr, text, strlen(text)) == 0;
}

static bool any(struct bytes b, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (is(b, list[i])) return true;
    return false;
}

/* The last part of a path, and what stands before its slash. */
static struct bytes last_part(struct bytes name, struct bytes *ret_folder) {
    size_t at = name.len;
    while (at > 0 && name.ptr[at - 1] != '/') at--;
    *ret_folder = BYTES_OF(name.ptr, at ? at - 1 : 0);
    return BYTES_OF(name.ptr + at, name.len - at);
}

static struct bytes digits(struct bytes *b) {
    size_t n = 0;
    while (n < b->len && b->ptr[n] >= '0' && b->ptr[n] <= '9') n++;
    struct bytes taken = BYTES_OF(b->ptr, n);
    *b = BYTES_OF(b->ptr + n, b->len - n);
    return taken;
}

static bool number_in(struct bytes b) {
    return b.len > 0 && digits(&b).len > 0 && b.len == 0;
}

/* base/<database>, or the same of a tablespace: pg_tblspc/<oid>/PG_<version>/<database>. */
static bool database_folder(struct bytes folder) {
    struct bytes above, version, space;
    if (!number_in(last_part(folder, &above))) return false;
    if (is(above, "base")) return true;
    version = last_part(above, &space);
    if (!begins(version, "PG_")) return false;
    return number_in(last_part(space, &above)) && is(above, "pg_tblspc");
}

/* "[_fork][.segment]" to its end. */
static bool tail(struct bytes rest, uint32_t *ret_segment, unsigned *ret_fork) {
    static const char *const forks[] = {"", "_fsm", "_vm", "_init"};
    uint64_t segment = 0;
    unsigned fork = 0;
    if (rest.len && rest.ptr[0] == '_') {
        for (fork = 1; fork < COUNT(forks) && !begins(rest, forks[fork]); fork++) continue;
        if (fork == COUNT(forks)) return false;
        rest = BYTES_OF(rest.ptr + strlen(forks[fork]), rest.len - strlen(forks[fork]));
    }
    if (rest.len && rest.ptr[0] == '.') {
        rest = BYTES_OF(rest.ptr + 1, rest.len - 1);
        struct bytes n = digits(&rest);
        if (n.len == 0 || n.len > 9 || n.ptr[0] == '0') return false;
        for (size_t i = 0; i < n.len; i++) segment = segment * 10 + (uint64_t)(n.ptr[i] - '0');
    }
    if (rest.len) return false;
    *ret_segment = (uint32_t)segment;
    *ret_fork = fork;
    return true;
}

bool pgphys_folder_emptied(struct bytes name) {
    struct bytes folder;
    return any(name, top_emptied, COUNT(top_emptied)) ||
           any(last_part(name, &folder), folders_emptied, COUNT(folders_emptied));
}

/* t<backend>_<relation>, with a fork and a segment as others have them. */
static bool temporary(struct bytes last) {
    struct bytes rest = BYTES_OF(last.ptr + 1, last.len - 1);
    uint32_t segment;
    unsigned fork;
    if (last.ptr[0] != 't' || digits(&rest).len == 0 || rest.len == 0 || rest.ptr[0] != '_') return false;
    rest = BYTES_OF(rest.ptr + 1, rest.len - 1);
    return digits(&rest).len > 0 && tail(rest, &segment, &fork);
}

bool pgphys_left_out(struct bytes name) {
    struct bytes folder, last = last_part(name, &folder);
    if (last.len == 0 || any(last, files_out, COUNT(files_out)) || any(name, top_out, COUNT(top_out))) return true;
    for (size_t i = 0; i < COUNT(prefixes_out); i++)
        if (begins(last, prefixes_out[i])) return true;
    return database_folder(folder) && temporary(last);
}

bool pgphys_relation(struct bytes name, uint32_t *ret_segment, unsigned *ret_fork) {
    struct bytes folder, last = last_part(name, &folder);
    uint32_t segment;
    unsigned fork;
    if (!is(folder, "global") && !database_folder(folder)) return false;
    struct bytes number = digits(&last);
    if (number.len == 0 || number.ptr[0] == '0' || !tail(last, &segment, &fork)) return false;
    if (ret_segment) *ret_segment = segment;
    if (ret_fork) *ret_fork = fork;
    return true;
}
