#include "wal_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *path_of(const struct wal_folder *f, const char *name, const char *suffix) {
    static _Thread_local char out[4][512];
    static _Thread_local unsigned at;
    char *p = out[at++ % 4];
    snprintf(p, sizeof out[0], "%s/%s%s", f->path, name, suffix);
    return p;
}

void wal_folder_harm(const struct wal_folder *f, const char *what, const char *content) {
    if (!content) {
        unlink(path_of(f, what, ""));
        return;
    }
    FILE *o = fopen(path_of(f, what, ""), "w");
    if (!o || fputs(content, o) < 0 || fclose(o) != 0) abort();
}

static int harmed(const struct wal_folder *f, struct error *err) {
    FILE *slow = fopen(path_of(f, ".slow", ""), "r");
    double seconds = 0;
    if (slow && fscanf(slow, "%lf", &seconds) == 1) usleep((useconds_t)(seconds * 1e6));
    if (slow) fclose(slow);
    if (access(path_of(f, ".fail", ""), F_OK) == 0)
        return error_set(err, ERR_REPO_UNREACHABLE, "the folder is told to fail");
    return 0;
}

static int store(const char *path, const char *mode, struct bytes b, struct error *err) {
    FILE *o = fopen(path, mode);
    if (!o) return error_set_errno(err, ERR_IO_WRITE, "%s", path);
    size_t n = fwrite(b.ptr, 1, b.len, o);
    if (fflush(o) != 0 || fsync(fileno(o)) != 0 || fclose(o) != 0 || n != b.len)
        return error_set_errno(err, ERR_IO_WRITE, "%s", path);
    return 0;
}

static int put(struct wal_sink *s, uint64_t system, const struct wal_name *name, struct bytes file, struct error *err) {
    struct wal_folder *f = (struct wal_folder *)s;
    char text[WAL_NAME_BYTES];
    struct stat st;
    wal_name_format(name, text);
    int rc = harmed(f, err);
    if (rc < 0) return rc;
    if (name->kind == WAL_SEGMENT && access(path_of(f, ".differs", ""), F_OK) == 0)
        return error_set(err, ERR_WAL_DIFFERS, "%s is told to differ", text);
    if (name->kind == WAL_SEGMENT && (rc = wal_segment_check(name, file, system, err)) < 0) return rc;
    if (stat(path_of(f, text, ""), &st) == 0) {
        uint8_t *was = malloc(file.len + 1);
        FILE *in = fopen(path_of(f, text, ""), "r");
        bool same = was && in && fread(was, 1, file.len + 1, in) == file.len && memcmp(was, file.ptr, file.len) == 0;
        free(was);
        if (in) fclose(in);
        return same ? 0 : error_set(err, ERR_WAL_DIFFERS, "%s has other bytes", text);
    }
    rc = store(path_of(f, text, ".new"), "w", file, err);
    if (rc < 0) return rc;
    if (rename(path_of(f, text, ".new"), path_of(f, text, "")) != 0)
        return error_set_errno(err, ERR_IO_WRITE, "%s", text);
    unlink(path_of(f, text, ".part"));
    return 0;
}

static int put_piece(struct wal_sink *s, uint64_t system, const struct wal_name *name, uint32_t from,
                     struct bytes piece, struct error *err) {
    struct wal_folder *f = (struct wal_folder *)s;
    char text[WAL_NAME_BYTES];
    struct stat st = {0};
    wal_name_format(name, text);
    int rc = harmed(f, err);
    if (rc < 0) return rc;
    if (from == 0 && (rc = wal_segment_check(name, piece, system, err)) < 0) return rc;
    (void)!stat(path_of(f, text, ".part"), &st);
    if (st.st_size != (off_t)from)
        return error_set(err, ERR_INTERNAL, "a piece of %s from %u on, and %lld bytes are there", text, from,
                         (long long)st.st_size);
    return store(path_of(f, text, ".part"), "a", piece, err);
}

static int resume(struct wal_sink *s, uint64_t system, uint32_t *ret_timeline, uint64_t *ret_lsn,
                  uint32_t *ret_segment_bytes, struct error *err) {
    struct wal_folder *f = (struct wal_folder *)s;
    DIR *d = opendir(f->path);
    (void)system;
    *ret_timeline = 0;
    *ret_lsn = 0;
    *ret_segment_bytes = f->segment_bytes;
    if (!d) return error_set_errno(err, ERR_IO_READ, "%s", f->path);
    for (const struct dirent *e; (e = readdir(d));) {
        struct wal_name n;
        struct stat st;
        struct error none = ERROR_INIT;
        char name[256];
        snprintf(name, sizeof name, "%s", e->d_name);
        char *part = strstr(name, ".part");
        if (part && part[5] == 0) *part = 0; /* not PostgreSQL's ".partial" */
        if (wal_name_parse(name, &n, &none) < 0 || n.kind != WAL_SEGMENT || stat(path_of(f, e->d_name, ""), &st) != 0)
            continue;
        uint64_t end = wal_name_lsn(&n, f->segment_bytes) + (uint64_t)st.st_size;
        if (n.timeline < *ret_timeline || (n.timeline == *ret_timeline && end < *ret_lsn)) continue;
        *ret_timeline = n.timeline;
        *ret_lsn = end;
    }
    closedir(d);
    return 0;
}

void wal_folder_open(struct wal_folder *f, const char *path, uint32_t segment_bytes) {
    static const struct wal_sink_ops ops = {put, put_piece, resume};
    *f = (struct wal_folder){.sink = {&ops}, .segment_bytes = segment_bytes};
    snprintf(f->path, sizeof f->path, "%s", path);
}
