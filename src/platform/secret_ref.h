/* Secret references: the configuration names where a secret is had; the value lives nowhere but in a struct secret. */
#ifndef PK_PLATFORM_SECRET_REF_H
#define PK_PLATFORM_SECRET_REF_H

#include "crypto/crypto.h"
#include "platform/config.h"

#define SECRET_BYTES_MAX (64u << 10)

/* Resolve the secret `name` for an environment. In "dev" its `dev:` reference is used where there is one.
 *  credential NAME  $CREDENTIALS_DIRECTORY/NAME, as systemd's LoadCredential gives it
 *  file PATH        a regular file that belongs to root or to us and that group and others may neither read nor write
 *  command ARGV     its standard output; no shell, minimal environment, ended after its output ends
 *  env NAME         only in the environment "dev"; refused elsewhere, as variables leak into children, dumps and logs
 * "{env}" in the reference is replaced. One trailing newline is dropped. Empty and over 64 KiB are refused.
 * Names of the form "env:NAME", which only config_surface_settings and config_repository_key make, read that variable,
 * in "dev" only. In "dev", a secret whose reference is the very one with which a surface of a protected environment
 * logs in at its server is refused (ERR_POLICY); so is the key or the credentials of a repository of dev's when they
 * are those of a repository that a protected environment has and dev has not. ERR_SECRET says which rule was broken,
 * naming mode and owner of a file; never anything of the value. The caller owns *ret (secret_free). */
int secret_resolve(const struct config *c, const struct config_environment *e, const char *name, struct secret **ret,
                   struct error *err) PK_CHECK;

/* What surface_context.secret wants; ctx is a struct secret_context that outlives it. */
struct secret_context {
    const struct config *config;
    const struct config_environment *environment;
};
int secret_resolve_for(void *ctx, const char *ref, struct secret **ret, struct error *err) PK_CHECK;

/* A secret from a file named on the command line (--key-file), by the rules of `file`. */
int secret_read_file(const char *path, struct secret **ret, struct error *err) PK_CHECK;

#endif
