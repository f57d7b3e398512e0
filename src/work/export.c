#include "work/export.h"

#include "base/seam.h"
#include "base/time.h"
#include "work/leftover.h"
#include "work/reading.h"
#include "work/receipt.h"
#include "work/select.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* coreutils' form: a name with a newline or backslash is escaped, and the line begins with a backslash. */
static int line_append(struct buf *b, const char *hex, const char *name, struct error *err) {
    int rc = strpbrk(name, "\\\n") ? buf_append_str(b, "\\", err) : 0;
    if (rc == 0) rc = buf_printf(b, err, "%s  ", hex);
    for (; *name && rc == 0; name++) {
        if (*name == '\n')
            rc = buf_append_str(b, "\\n", err);
        else if (*name == '\\')
            rc = buf_append_str(b, "\\\\", err);
        else
            rc = buf_append(b, name, 1, err);
    }
    return rc < 0 ? rc : buf_append_str(b, "\n", err);
}

static int file_hash(int dirfd, const char *name, char hex[65], struct error *err) {
    int fd = seam_openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "%s", name);
    struct sha256_state *s = NULL;
    void *mem = NULL;
    int rc = mem_alloc(1 << 20, &mem, err);
    if (rc == 0) rc = sha256_new(&s, err);
    for (size_t got = 1; rc == 0 && got > 0;) {
        rc = io_read_full(fd, mem, 1 << 20, &got, name, err);
        if (rc == 0) sha256_update(s, BYTES_OF(mem, got));
    }
    if (rc == 0) {
        struct digest d;
        sha256_finish(s, &d);
        hex_encode(d.b, sizeof d.b, hex);
    }
    sha256_free(s);
    seam_free(mem);
    io_close(&fd);
    return rc;
}

struct manifest {
    struct buf lines;
    struct buf path; /* of the folder being walked, relative to the export, with a '/' at its end */
    uint64_t files, bytes;
};

/* Hashes what is on disk, not what was meant to be there. */
static int walk(struct manifest *m, int fd, unsigned depth, struct error *err) {
    if (depth > 4000) return error_set(err, ERR_IO_READ, "the exported tree is too deep");
    DIR *d = seam_fdopendir(fd);
    if (!d) {
        int rc = error_set_errno(err, ERR_IO_READ, "listing an exported folder");
        io_close(&fd);
        return rc;
    }
    int rc = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = seam_readdir(d);
        if (!e) {
            if (errno) rc = error_set_errno(err, ERR_IO_READ, "listing an exported folder");
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        struct stat st;
        size_t keep = m->path.len;
        if (seam_fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            rc = error_set_errno(err, ERR_IO_READ, "%s", e->d_name);
        if (rc == 0) rc = buf_append_str(&m->path, e->d_name, err);
        if (rc == 0 && S_ISDIR(st.st_mode)) {
            int sub = seam_openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
            if (sub < 0) rc = error_set_errno(err, ERR_IO_READ, "%s", e->d_name);
            if (rc == 0) rc = buf_append_str(&m->path, "/", err);
            if (rc == 0) rc = walk(m, sub, depth + 1, err);
        } else if (rc == 0 && S_ISREG(st.st_mode)) {
            char hex[65];
            rc = file_hash(dirfd(d), e->d_name, hex, err);
            if (rc == 0) rc = buf_terminate(&m->path, err);
            if (rc == 0) rc = line_append(&m->lines, hex, (const char *)m->path.ptr, err);
            m->files++;
            m->bytes += (uint64_t)st.st_size;
        }
        m->path.len = keep;
        if (rc < 0) break;
    }
    seam_closedir(d);
    return rc;
}

static int write_file(int dir, const char *name, struct bytes content, struct error *err) {
    int fd = seam_openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return error_set_errno(err, ERR_IO_WRITE, "%s", name);
    int rc = io_write_full(fd, content.ptr, content.len, name, err);
    if (rc == 0 && seam_fsync(fd) < 0) rc = error_set_errno(err, ERR_IO_SYNC, "%s", name);
    io_close(&fd);
    return rc;
}

static int receipts_write(struct work *w, const struct snapshot_info *info, int dir, struct error *err) {
    struct buf envelope = BUF_INIT(256 << 10), payload = BUF_INIT(256 << 10), text = BUF_INIT(256 << 10);
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    json_t *statement = NULL;
    int rc = ledger_read(repo_ledger(w->repo), info->seq, &envelope, err);
    if (rc == 0) rc = dsse_decode(buf_bytes(&envelope), &payload, pub, sig, err);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), payload.max_bytes, "receipt", &statement, err);
    if (rc == 0) rc = json_write_pretty(json_object_get(statement, "predicate"), &text, err);
    if (rc == 0) rc = buf_append_str(&text, "\n", err);
    if (rc == 0) rc = write_file(dir, "receipt.dsse.json", buf_bytes(&envelope), err);
    if (rc == 0) rc = write_file(dir, "receipt.json", buf_bytes(&text), err);
    json_decref(statement);
    buf_free(&envelope);
    buf_free(&payload);
    buf_free(&text);
    return rc;
}

static int data_write(struct work *w, const struct snapshot_info *info, const char *staging, int dir, bool *ret_begun,
                      struct error *err) {
    struct work_reading in;
    char data[4200];
    int rc = work_reading_open(w, info, &in, err);
    *ret_begun = rc == 0;
    if (rc == 0 && in.surface.driver->export_tree) {
        int fd = -1;
        if (seam_mkdirat(dir, "data", 0700) < 0) rc = error_set_errno(err, ERR_IO_WRITE, "%s/data", staging);
        if (rc == 0 && (fd = seam_openat(dir, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) < 0)
            rc = error_set_errno(err, ERR_IO_WRITE, "%s/data", staging);
        if (rc == 0) rc = in.surface.driver->export_tree(&in.ctx, &in.source.source, fd, err);
        io_close(&fd);
    } else if (rc == 0) {
        struct restore_request q = {
            .target = data, .facts = in.facts, .invariants = in.invariants, .no_owner = geteuid() != 0};
        struct restore_result r = {0};
        snprintf(data, sizeof data, "%s/data", staging);
        rc = in.surface.driver->restore(&in.ctx, &in.source.source, &q, &r, err);
        json_decref(r.facts);
    }
    work_reading_close(&in);
    return known_secrets_error(&w->known, rc, err);
}

int export_snapshot(struct work *w, const struct snapshot_info *info, const char *folder, struct error *err) {
    static const char bagit[] = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
    char to[4096], staging[sizeof to + 64];
    uint8_t id[4];
    char hex[9];
    struct stat st;
    int dir = -1, data = -1;
    bool begun = false;
    const uint64_t seq = info->seq; /* what `info` points to ends with the next entry */
    const int64_t started = time_now_ns();
    struct manifest m = {.lines = BUF_INIT(1u << 30), .path = BUF_INIT(1u << 20)};
    if (!work_local_folder(folder, to)) return error_set(err, ERR_USAGE, "%.200s is no folder of this host", folder);
    for (size_t n = strlen(to); n > 1 && (to[n - 1] == '/' || (n > 2 && to[n - 1] == '.' && to[n - 2] == '/')); n--)
        to[n - 1] = 0;
    if (strlen(to) > 3500) return error_set(err, ERR_USAGE, "the export folder's name is too long");
    int rc = work_apart_check(to, w->url, err);
    if (rc == 0) rc = random_bytes(id, sizeof id, err);
    if (rc < 0) return rc;
    hex_encode(id, sizeof id, hex);
    snprintf(staging, sizeof staging, "%s.proofkeep-partial-%s", to, hex);
    bool there = seam_fstatat(AT_FDCWD, to, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && (!S_ISDIR(st.st_mode) || seam_unlinkat(AT_FDCWD, to, AT_REMOVEDIR) < 0))
        return error_set(err, ERR_TARGET_NOT_EMPTY, "%s is there and is not an empty folder", to);
    (void)work_partials_remove(w, to, info->id);
    if ((rc = io_mkdirs(staging, 0700, err)) < 0) return rc;
    if ((dir = seam_openat(AT_FDCWD, staging, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) < 0)
        rc = error_set_errno(err, ERR_IO_WRITE, "%s", staging);
    if (rc == 0) rc = leftover_lock(dir, staging, err);
    if (rc == 0) rc = data_write(w, info, staging, dir, &begun, err);
    if (rc == 0 && (data = seam_openat(dir, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) < 0)
        rc = error_set_errno(err, ERR_IO_READ, "%s/data", staging);
    if (rc == 0) rc = buf_append_str(&m.path, "data/", err);
    if (rc == 0) rc = walk(&m, data, 0, err);
    if (rc == 0) rc = write_file(dir, "manifest-sha256.txt", buf_bytes(&m.lines), err);
    if (rc == 0) rc = write_file(dir, "CHECKSUMS", buf_bytes(&m.lines), err);
    if (rc == 0) rc = write_file(dir, "bagit.txt", BYTES_STR(bagit), err);
    if (rc == 0) rc = receipts_write(w, info, dir, err);
    if (rc == 0 && seam_fsync(dir) < 0) rc = error_set_errno(err, ERR_IO_SYNC, "%s", staging);
    if (rc == 0 && seam_renameat2(AT_FDCWD, staging, AT_FDCWD, to, 1 /* RENAME_NOREPLACE */) < 0)
        rc = error_set_errno(err, errno == EEXIST ? ERR_TARGET_NOT_EMPTY : ERR_IO_WRITE, "naming %s", to);
    io_close(&dir);
    if (rc < 0) {
        struct error e = ERROR_INIT;
        (void)!io_remove_tree(AT_FDCWD, staging, &e);
        (void)!error_state(err, "nothing was left under %s", to);
        rc = error_wrap(err, "exporting %s", info->id);
    }
    if (begun) receipt_export(w, seq, to, rc == 0, started, m.files, m.bytes);
    buf_free(&m.lines);
    buf_free(&m.path);
    return rc;
}
