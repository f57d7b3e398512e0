#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include "surface/setting.h"
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

static int text_of(const json_t *o, const char *key, char **ret, struct error *err) {
    const json_t *v = json_object_get(o, key);
    char number[32];
    if (!json_is_integer(v)) return setting_text(o, key, "postgres", ret, err);
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
    return mem_strdup(number, ret, err);
}

int pg_settings_user(struct pg_settings *s, struct error *err) {
    struct passwd pw, *found = NULL;
    char text[8192];
    if (!s->run_as || geteuid() != 0) return 0;
    if (getpwnam_r(s->run_as, &pw, text, sizeof text, &found) != 0 || !found)
        return error_set(err, ERR_CONFIG_VALUE, "postgres: run_as names %s, who is no user of this system", s->run_as);
    s->become = pw.pw_uid != 0;
    s->uid = pw.pw_uid;
    s->gid = pw.pw_gid;
    return 0;
}

static int load(struct pg_settings *s, const json_t *scratch, struct error *err) {
    const struct surface_context *ctx = s->ctx;
    const json_t *connect = scratch ? scratch : json_object_get(ctx->settings, "connect");
    int r;
    if ((r = text_of(connect, "host", &s->host, err)) < 0 || (r = text_of(connect, "port", &s->port, err)) < 0 ||
        (r = text_of(connect, "user", &s->user, err)) < 0 || (r = text_of(connect, "dbname", &s->dbname, err)) < 0)
        return r;
    if ((r = text_of(ctx->settings, "tools_dir", &s->tools_dir, err)) < 0) return r;
    if ((r = text_of(scratch ? scratch : ctx->settings, "run_as", &s->run_as, err)) < 0) return r;
    if (!s->dbname && (r = mem_strdup(scratch ? "template1" : "postgres", &s->dbname, err)) < 0) return r;
    if ((r = pg_settings_user(s, err)) < 0 || scratch) return r;
    if ((r = text_of(connect, "sslmode", &s->sslmode, err)) < 0) return r;
    if ((r = text_of(connect, "sslrootcert", &s->sslrootcert, err)) < 0) return r;
    s->databases = json_object_get(ctx->settings, "databases");
    if (!s->databases) s->databases = json_object_get(connect, "dbnames");
    return setting_password(ctx, connect, "postgres", &s->password, err);
}

int pg_settings_load(const struct surface_context *ctx, const json_t *scratch, struct pg_settings **ret,
                     struct error *err) {
    struct pg_settings *s;
    int r = mem_alloc(sizeof *s, (void **)&s, err);
    if (r < 0) return r;
    s->ctx = ctx;
    s->scratch = scratch != NULL;
    r = load(s, scratch, err);
    if (r < 0) {
        pg_settings_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void pg_settings_free(struct pg_settings *s) {
    if (!s) return;
    char *all[] = {s->host, s->port, s->user, s->dbname, s->sslmode, s->sslrootcert, s->tools_dir, s->run_as};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) seam_free(all[i]);
    secret_free(s->password);
    seam_free(s);
}

void pg_settings_freep(struct pg_settings **s) {
    pg_settings_free(*s);
}

static int folder_open(const char *path, struct error *err) {
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    return fd >= 0 ? fd : error_set_errno(err, ERR_IO_READ, "open %s", path);
}

int pg_scratch_folder(const struct pg_settings *s, const char *name, bool own, char *path, struct error *err) {
    const char *base = s->ctx->scratch_dir;
    if (!base) return error_set(err, ERR_INTERNAL, "postgres: no scratch folder was given");
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX)
        return error_set(err, ERR_IO_WRITE, "the path of the scratch folder is too long");
    int r = io_mkdirs(path, 0700, err);
    if (r < 0 || !own || !s->become) return r;
    /* The tools run as another user, who has to pass through our private folder but may not list it. */
    int fd = folder_open(base, err);
    if (fd < 0) return fd;
    struct stat st;
    if (seam_fstat(fd, &st) < 0 || seam_fchmod(fd, (st.st_mode & 07777) | 0011) < 0)
        r = error_set_errno(err, ERR_IO_WRITE, "let %s pass through %s", s->run_as, base);
    io_close(&fd);
    if (r == 0 && seam_fchownat(AT_FDCWD, path, s->uid, s->gid, AT_SYMLINK_NOFOLLOW) < 0)
        r = error_set_errno(err, ERR_IO_WRITE, "give %s to %s", path, s->run_as);
    return r;
}
