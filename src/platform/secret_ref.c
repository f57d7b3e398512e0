#include "platform/secret_ref.h"
#include "base/proc.h"
#include "base/seam.h"
#include "platform/config_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define ROOM (SECRET_BYTES_MAX + 1) /* one more, to see what is too long */

/* A buffer of secrets never grows, since a moved block would leave a copy behind, and is wiped. */
static void secret_buf_free(struct buf *b) {
    if (b->ptr) wipe(b->ptr, b->cap);
    buf_free(b);
}

static int finish(struct buf *b, const char *what, struct secret **ret, struct error *err) {
    if (b->len > SECRET_BYTES_MAX)
        return error_set(err, ERR_SECRET, "%s gives more than %u KiB, which is no secret", what,
                         SECRET_BYTES_MAX >> 10);
    if (b->len > 0 && b->ptr[b->len - 1] == '\n') b->len--;
    if (b->len == 0) return error_set(err, ERR_SECRET, "%s is empty", what);
    return secret_new(buf_bytes(b), ret, err);
}

/* `forbidden` are the mode bits that must not be there. */
static int check_file(int fd, const char *what, mode_t forbidden, struct error *err) {
    struct stat st;
    if (seam_fstat(fd, &st) < 0) return error_set_errno(err, ERR_SECRET, "cannot look at %s", what);
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_SECRET, "%s is not a regular file", what);
    const char *fault = st.st_mode & forbidden                     ? "its group or others may use it"
                        : st.st_uid != 0 && st.st_uid != geteuid() ? "it belongs to neither root nor us"
                                                                   : NULL;
    if (fault)
        return error_set(err, ERR_SECRET, "%s has mode %04o and owner %u: %s (we are user %u)", what,
                         (unsigned)(st.st_mode & 07777), (unsigned)st.st_uid, fault, (unsigned)geteuid());
    return 0;
}

static int read_path(const char *path, const char *what, mode_t forbidden, struct secret **ret, struct error *err) {
    CLEANUP(io_close) int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0) {
        error_set_errno(err, ERR_SECRET, "cannot open %s", what);
        return io_whose(path, "read", err);
    }
    int rc = check_file(fd, what, forbidden, err);
    if (rc < 0) return rc;
    CLEANUP(secret_buf_free) struct buf b = BUF_INIT(ROOM);
    rc = buf_reserve(&b, ROOM, err);
    if (rc == 0) rc = io_read_full(fd, b.ptr, ROOM, &b.len, what, err);
    return rc < 0 ? rc : finish(&b, what, ret, err);
}

int secret_read_file(const char *path, struct secret **ret, struct error *err) {
    char what[400];
    snprintf(what, sizeof(what), "the secret's file %.300s", path);
    return read_path(path, what, 077, ret, err);
}

static int read_credential(const char *name, struct secret **ret, struct error *err) {
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (!folder || folder[0] != '/') {
        error_set(err, ERR_SECRET, "the credential '%.64s' cannot be had: CREDENTIALS_DIRECTORY is not set", name);
        return error_next(err, "Run as a systemd unit with LoadCredential=%.64s:…, or give a file: reference.", name);
    }
    char path[4096], what[400];
    if (strchr(name, '/') || name[0] == '.' || snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return error_set(err, ERR_SECRET, "'%.64s' is not the name of a credential", name);
    snprintf(what, sizeof(what), "the credential %.300s", name);
    /* systemd grants its unit's user access by an ACL, which shows as group bits; its folder is closed to others. */
    return read_path(path, what, 007, ret, err);
}

static int read_variable(const struct config_environment *e, const char *name, struct secret **ret, struct error *err) {
    if (!config_is_dev(e)) {
        error_set(err, ERR_SECRET,
                  "the variable %.64s is not read in environment '%s': variables leak into child processes, dumps and "
                  "logs, so "
                  "they serve in 'dev' only",
                  name, e->head.name);
        return error_next(err, "Use a credential:, file: or command: reference.");
    }
    const char *value = getenv(name);
    if (!value || !value[0]) return error_set(err, ERR_SECRET, "the variable %.64s is not set", name);
    if (strlen(value) > SECRET_BYTES_MAX)
        return error_set(err, ERR_SECRET, "the variable %.64s holds more than %u KiB", name, SECRET_BYTES_MAX >> 10);
    return secret_new(BYTES_STR(value), ret, err);
}

static int run_command(const char *const *argv, struct secret **ret, struct error *err) {
    char what[200];
    snprintf(what, sizeof(what), "the output of %.120s", argv[0]);
    CLEANUP(secret_buf_free) struct buf b = BUF_INIT(ROOM);
    int rc = buf_reserve(&b, ROOM, err);
    if (rc < 0) return rc;
    struct proc_spec spec = {.argv = argv, .keep_fd = -1};
    rc = proc_run(&spec, &b, err);
    return rc < 0 ? rc : finish(&b, what, ret, err);
}

static void free_words(char ***words) {
    for (size_t i = 0; *words && (*words)[i]; i++) seam_free((*words)[i]);
    seam_free(*words);
}

static int expand(const char *text, const struct config_environment *e, char **ret, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 16);
    int rc = config_expand(text, e->head.name, &b, err);
    return rc < 0 ? rc : mem_strdup((const char *)b.ptr, ret, err);
}

static void free_text(char **p) {
    seam_free(*p);
}

/* Which reference holds in an environment. */
static const struct config_secret *in_environment(const struct config_secret *s, const struct config_environment *e) {
    return s->dev && config_is_dev(e) ? s->dev : s;
}

static int resolve(const struct config_secret *s, const struct config_environment *e, struct secret **ret,
                   struct error *err) {
    int rc;
    if (s->command.items) {
        CLEANUP(free_words) char **words = NULL;
        void *p;
        rc = mem_alloc((s->command.count + 1) * sizeof(char *), &p, err);
        if (rc < 0) return rc;
        words = p;
        for (size_t i = 0; i < s->command.count; i++) {
            rc = expand(s->command.items[i], e, &words[i], err);
            if (rc < 0) return rc;
        }
        return run_command((const char *const *)words, ret, err);
    }
    CLEANUP(free_text) char *text = NULL;
    rc = expand(s->file ? s->file : s->credential ? s->credential : s->env, e, &text, err);
    if (rc < 0) return rc;
    if (s->file) return secret_read_file(text, ret, err);
    return s->credential ? read_credential(text, ret, err) : read_variable(e, text, ret, err);
}

static bool same_text(const char *a, const char *b) {
    return !a || !b ? a == b : strcmp(a, b) == 0;
}

/* Whether both give the very same value, as far as a reference can tell: equal, and not told apart by "{env}". */
static bool same_reference(const struct config_secret *a, const struct config_secret *b) {
    if (!same_text(a->file, b->file) || !same_text(a->credential, b->credential) || !same_text(a->env, b->env) ||
        a->command.count != b->command.count)
        return false;
    bool told_apart = false;
    for (size_t i = 0; i < a->command.count; i++) {
        if (strcmp(a->command.items[i], b->command.items[i]) != 0) return false;
        told_apart |= strstr(a->command.items[i], "{env}") != NULL;
    }
    const char *texts[] = {a->file, a->credential, a->env};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) told_apart |= texts[i] && strstr(texts[i], "{env}");
    return !told_apart;
}

static bool same_secret(const struct config *c, const char *name, const struct config_environment *of,
                        const struct config_secret *wanted, const struct config_environment *dev) {
    const struct config_secret *theirs = name ? config_secret(c, name) : NULL;
    return theirs && same_reference(in_environment(theirs, of), in_environment(wanted, dev));
}

/* What an environment logs in with at its own servers. Logins of `server.targets` are not among them: they are of
 * servers that are restored into, which may be dev's. */
#define SURFACE_SECRETS 6
static void surface_secrets(const struct config_surface *s, const char *ret[SURFACE_SECRETS]) {
    ret[0] = s->connect ? s->connect->password : NULL;
    ret[1] = s->server ? s->server->password : NULL;
    ret[2] = s->dbms ? s->dbms->password : NULL;
    ret[3] = s->cluster ? s->cluster->password : NULL;
    ret[4] = s->cluster ? s->cluster->api_key : NULL;
    ret[5] = s->cluster ? s->cluster->key : NULL;
}

#define REPOSITORY_SECRETS 2
static void repository_secrets(const struct config_repository *r, const char *ret[REPOSITORY_SECRETS]) {
    ret[0] = r->encrypt ? r->encrypt->key : NULL;
    ret[1] = r->s3 ? r->s3->credentials : NULL;
}

/* Whether dev opens a repository of its own with it. The key of another, which was named on the command line, is not
 * asked for by dev, whichever environment stands first. */
static bool opens_devs(const struct config *c, const struct config_environment *dev, const char *name) {
    for (size_t i = 0; i < c->repositories.count; i++) {
        const char *secrets[REPOSITORY_SECRETS];
        repository_secrets(c->repositories.items[i], secrets);
        if (!config_environment_reaches(c, dev, c->repositories.items[i])) continue;
        for (size_t k = 0; k < REPOSITORY_SECRETS; k++)
            if (same_text(secrets[k], name)) return true;
    }
    return false;
}

static int serves_both(const struct config_secret *wanted, const char *what, const struct config_environment *e,
                       const char *name, struct error *err) {
    error_set(err, ERR_POLICY,
              "the secret '%s' is the very one that the protected environment '%s' %s '%s'), and those never serve in "
              "'dev'",
              wanted->head.name, e->head.name, what, name);
    return error_next(err, "Give the secret '%s' a dev: reference, or put {env} into its reference.",
                      wanted->head.name);
}

/* Credentials of production never serve in dev. A repository that both use is shared by design, and so are its key and
 * its bucket's credentials. */
static int check_dev(const struct config *c, const struct config_environment *dev, const struct config_secret *wanted,
                     struct error *err) {
    const bool opens = opens_devs(c, dev, wanted->head.name);
    for (size_t i = 0; i < c->environments.count; i++) {
        const struct config_environment *e = c->environments.items[i];
        if (!e->protected || e == dev) continue;
        for (size_t j = 0; j < c->surfaces.count; j++) {
            const struct config_surface *s = c->surfaces.items[j];
            const char *theirs[SURFACE_SECRETS];
            surface_secrets(s, theirs);
            for (size_t k = 0; config_environment_has(e, s) && k < SURFACE_SECRETS; k++)
                if (same_secret(c, theirs[k], e, wanted, dev))
                    return serves_both(wanted, "connects with (surface", e, s->head.name, err);
        }
        for (size_t j = 0; opens && j < c->repositories.count; j++) {
            const struct config_repository *r = c->repositories.items[j];
            const char *theirs[REPOSITORY_SECRETS];
            repository_secrets(r, theirs);
            if (!config_environment_reaches(c, e, r) || config_environment_reaches(c, dev, r)) continue;
            for (size_t k = 0; k < REPOSITORY_SECRETS; k++)
                if (same_secret(c, theirs[k], e, wanted, dev))
                    return serves_both(wanted, "opens its backups with (repository", e, r->head.name, err);
        }
    }
    return 0;
}

int secret_resolve(const struct config *c, const struct config_environment *e, const char *name, struct secret **ret,
                   struct error *err) {
    if (strncmp(name, "env:", 4) == 0) return read_variable(e, name + 4, ret, err);
    const struct config_secret *s = config_secret(c, name);
    if (!s) return error_set(err, ERR_SECRET, "the configuration has no secret of the name that was asked for");
    int rc = config_is_dev(e) ? check_dev(c, e, s, err) : 0;
    if (rc == 0) rc = resolve(in_environment(s, e), e, ret, err);
    return rc < 0 ? error_wrap(err, "secret '%s'", s->head.name) : 0;
}

int secret_resolve_for(void *ctx, const char *ref, struct secret **ret, struct error *err) {
    const struct secret_context *s = ctx;
    return secret_resolve(s->config, s->environment, ref, ret, err);
}
