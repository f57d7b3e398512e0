#include "base/seam.h"
#include "store/s3/credentials.h"
#include <errno.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)256 << 10)

/* What a profile says, as slices of the file. */
struct profile {
    bool found;
    struct bytes access_key, secret_key, token, region;
    const char *unsupported; /* how it wants to be had otherwise */
};

static struct bytes trimmed(struct bytes b) {
    while (b.len > 0 && (b.ptr[0] == ' ' || b.ptr[0] == '\t')) b.ptr++, b.len--;
    while (b.len > 0 && (b.ptr[b.len - 1] == ' ' || b.ptr[b.len - 1] == '\t' || b.ptr[b.len - 1] == '\r')) b.len--;
    return b;
}

/* "[name]", in the file of settings "[profile name]" but for "[default]". */
static bool is_section(struct bytes line, const char *profile, bool is_config) {
    line = trimmed(BYTES_OF(line.ptr + 1, line.len - 1));
    if (line.len == 0 || line.ptr[line.len - 1] != ']') return false;
    line = trimmed(BYTES_OF(line.ptr, line.len - 1));
    if (is_config && line.len > 8 && memcmp(line.ptr, "profile", 7) == 0 && (line.ptr[7] == ' ' || line.ptr[7] == '\t'))
        line = trimmed(BYTES_OF(line.ptr + 8, line.len - 8));
    else if (is_config && strcmp(profile, "default") != 0)
        return false;
    return bytes_equal(line, BYTES_STR(profile));
}

static void take_line(struct profile *p, struct bytes line) {
    static const char *const others[] = {"credential_process", "role_arn", "sso_session", "sso_start_url",
                                         "web_identity_token_file"};
    const uint8_t *equals = memchr(line.ptr, '=', line.len);
    if (!equals) return;
    struct bytes name = trimmed(BYTES_OF(line.ptr, (size_t)(equals - line.ptr)));
    struct bytes value = trimmed(BYTES_OF(equals + 1, line.len - (size_t)(equals + 1 - line.ptr)));
    if (bytes_equal(name, BYTES_STR("aws_access_key_id"))) p->access_key = value;
    if (bytes_equal(name, BYTES_STR("aws_secret_access_key"))) p->secret_key = value;
    if (bytes_equal(name, BYTES_STR("aws_session_token"))) p->token = value;
    if (bytes_equal(name, BYTES_STR("region"))) p->region = value;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (bytes_equal(name, BYTES_STR(others[i]))) p->unsupported = others[i];
}

static void parse(struct bytes in, const char *profile, bool is_config, struct profile *ret) {
    bool inside = false;
    *ret = (struct profile){0};
    for (size_t at = 0; at < in.len;) {
        const uint8_t *end = memchr(in.ptr + at, '\n', in.len - at);
        size_t n = end ? (size_t)(end - in.ptr) - at : in.len - at;
        struct bytes line = trimmed(BYTES_OF(in.ptr + at, n));
        bool nested = n > 0 && (in.ptr[at] == ' ' || in.ptr[at] == '\t'); /* settings of one service */
        at += n + 1;
        if (line.len == 0 || line.ptr[0] == '#' || line.ptr[0] == ';') continue;
        if (line.ptr[0] == '[') {
            inside = is_section(line, profile, is_config);
            ret->found |= inside;
        } else if (inside && !nested) {
            take_line(ret, line);
        }
    }
}

static void wiped_free(struct buf *b) {
    if (b->ptr) wipe(b->ptr, b->cap);
    buf_free(b);
}

/* The whole file, in a buffer that never moved. *ret_there is false when there is none. */
static int read_whole(const char *path, struct buf *b, bool *ret_there, struct stat *st, struct error *err) {
    CLEANUP(io_close) int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    *ret_there = fd >= 0;
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return 0;
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "cannot open %s", path);
    if (seam_fstat(fd, st) < 0) return error_set_errno(err, ERR_IO_READ, "cannot look at %s", path);
    if (!S_ISREG(st->st_mode)) return error_set(err, ERR_IO_READ, "%s is not a regular file", path);
    if ((uint64_t)st->st_size > FILE_BYTES_MAX)
        return error_set(err, ERR_IO_READ, "%s has more than %zu KiB", path, FILE_BYTES_MAX >> 10);
    int rc = buf_reserve(b, (size_t)st->st_size + 1, err);
    return rc < 0 ? rc : io_read_full(fd, b->ptr, (size_t)st->st_size, &b->len, path, err);
}

static int take(const struct profile *p, const char *source, struct credential **ret, struct error *err) {
    char access_key[ACCESS_KEY_BYTES];
    if (p->access_key.len >= sizeof access_key)
        return error_set(err, ERR_S3_NO_CREDENTIALS, "%s: the access key is none", source);
    memcpy(access_key, p->access_key.ptr, p->access_key.len);
    access_key[p->access_key.len] = 0;
    return credential_make(access_key, p->secret_key, p->token, 0, source, ret, err);
}

int credential_from_text(struct bytes text, const char *profile, const char *source, struct credential **ret,
                         char why[CREDENTIAL_WHY_BYTES], struct error *err) {
    struct profile p;
    if (trimmed(text).len > 0 && trimmed(text).ptr[0] == '{') return credential_from_json(text, source, ret, err);
    parse(text, profile, false, &p);
    if (p.access_key.len > 0 && p.secret_key.len > 0) return take(&p, source, ret, err);
    snprintf(why, CREDENTIAL_WHY_BYTES, "%.200s have no keys under [%.100s]", source, profile);
    return 0;
}

int credential_from_file(const char *path, const char *profile, bool is_config, struct credential **ret,
                         char why[CREDENTIAL_WHY_BYTES], struct error *err) {
    CLEANUP(wiped_free) struct buf b = BUF_INIT(FILE_BYTES_MAX + 1);
    struct profile p;
    struct stat st;
    char source[96];
    bool there;
    int rc = read_whole(path, &b, &there, &st, err);
    if (rc < 0) return rc;
    if (!there) {
        snprintf(why, CREDENTIAL_WHY_BYTES, "there is no %.300s", path);
        return 0;
    }
    parse(buf_bytes(&b), profile, is_config, &p);
    if (p.access_key.len == 0 || p.secret_key.len == 0) {
        snprintf(why, CREDENTIAL_WHY_BYTES, "%.200s has no %s%.100s%s%s", path,
                 p.found ? "keys in profile " : "profile ", profile,
                 p.unsupported ? ", and this version does not follow its " : "", p.unsupported ? p.unsupported : "");
        return 0;
    }
    if (st.st_mode & 077 || (st.st_uid != 0 && st.st_uid != geteuid()))
        return error_set(err, ERR_SECRET, "%s holds a secret key and has mode %04o and owner %u: %s", path,
                         (unsigned)(st.st_mode & 07777), (unsigned)st.st_uid,
                         st.st_mode & 077 ? "its group or others may use it" : "it belongs to neither root nor us");
    snprintf(source, sizeof source, "the profile %.30s of %.40s", profile, path);
    return take(&p, source, ret, err);
}

int credential_file_region(const char *path, const char *profile, bool is_config, char out[64], struct error *err) {
    CLEANUP(wiped_free) struct buf b = BUF_INIT(FILE_BYTES_MAX + 1);
    struct profile p;
    struct stat st;
    bool there;
    int rc = read_whole(path, &b, &there, &st, err);
    if (rc < 0 || !there) return rc;
    parse(buf_bytes(&b), profile, is_config, &p);
    if (p.region.len < 64) snprintf(out, 64, "%.*s", (int)p.region.len, (const char *)p.region.ptr);
    return 0;
}
