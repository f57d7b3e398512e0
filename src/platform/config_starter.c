#include "base/seam.h"
#include "platform/config.h"
#include "platform/schema.h"

/* The text as a double-quoted YAML scalar. */
static int put_quoted(struct buf *out, const char *text, struct error *err) {
    int rc = buf_append_str(out, "\"", err);
    for (const char *p = text; rc == 0 && *p; p++) {
        if (*p == '"' || *p == '\\')
            rc = buf_printf(out, err, "\\%c", *p);
        else if ((unsigned char)*p < 0x20 || *p == 0x7f)
            rc = buf_printf(out, err, "\\x%02x", (unsigned char)*p);
        else
            rc = buf_append(out, p, 1, err);
    }
    return rc < 0 ? rc : buf_append_str(out, "\"", err);
}

/* "<indent><key>: "text"\n"; nothing for NULL. */
static int put_text(struct buf *out, const char *key, const char *text, struct error *err) {
    if (!text) return 0;
    int rc = buf_printf(out, err, "%s: ", key);
    if (rc == 0) rc = put_quoted(out, text, err);
    return rc < 0 ? rc : buf_append_str(out, "\n", err);
}

static int put_secrets(struct buf *out, const struct config_starter *p, struct error *err) {
    bool password = p->postgres && p->pg_password_file;
    int rc = 0;
    if (p->key_file || password)
        rc = buf_append_str(out,
                            "\n"
                            "# Where secrets are had; values never stand in this file. Besides file: there are\n"
                            "# credential: (systemd), command: [program, argument] and, in dev only, env:.\n"
                            "secrets:\n",
                            err);
    if (rc == 0 && p->key_file) rc = buf_append_str(out, "  repository-key:\n", err);
    if (rc == 0) rc = put_text(out, "    file", p->key_file, err);
    if (rc == 0 && password) rc = buf_append_str(out, "  postgres-password:\n", err);
    return rc < 0 || !password ? rc : put_text(out, "    file", p->pg_password_file, err);
}

static int put_repository(struct buf *out, const struct config_starter *p, struct error *err) {
    int rc = buf_append_str(out,
                            "\n"
                            "# Where backups are kept. Never on the disk that holds what is backed up.\n"
                            "repositories:\n"
                            "  main:\n",
                            err);
    if (rc == 0) rc = put_text(out, "    url", p->repository_url, err);
    if (rc < 0 || !p->key_file) return rc;
    return buf_printf(out, err, "    encrypt:\n      key: repository-key\n      kind: %s\n",
                      p->key_kind == CONFIG_KEY_KEY_FILE ? "key_file" : "passphrase");
}

static int put_surfaces(struct buf *out, const struct config_starter *p, struct error *err) {
    bool files = p->paths && p->paths[0];
    int rc = buf_append_str(out,
                            "\n"
                            "# The things that hold state. class: truth | runtime | cache | config.\n"
                            "surfaces:\n",
                            err);
    if (rc == 0 && files) rc = buf_append_str(out, "  files:\n    kind: files\n    class: truth\n    paths:\n", err);
    for (size_t i = 0; rc == 0 && files && p->paths[i]; i++) {
        rc = buf_append_str(out, "      - ", err);
        if (rc == 0) rc = put_quoted(out, p->paths[i], err);
        if (rc == 0) rc = buf_append_str(out, "\n", err);
    }
    if (rc == 0 && files)
        rc = buf_append_str(out, "    # exclude: [\"*.tmp\", \"cache/\"]\n    # one_file_system: true\n", err);
    if (rc < 0 || !p->postgres) return rc;
    rc = buf_append_str(out, "  postgres:\n    kind: postgres\n    class: runtime\n", err);
    if (rc == 0 && (p->pg_host || p->pg_port || p->pg_user || p->pg_dbname || p->pg_password_file))
        rc = buf_append_str(out, "    connect:\n", err);
    if (rc == 0) rc = put_text(out, "      host", p->pg_host, err);
    if (rc == 0 && p->pg_port) rc = buf_printf(out, err, "      port: %d\n", p->pg_port);
    if (rc == 0) rc = put_text(out, "      user", p->pg_user, err);
    if (rc == 0) rc = put_text(out, "      dbname", p->pg_dbname, err);
    if (rc == 0 && p->pg_password_file) rc = buf_append_str(out, "      password: postgres-password\n", err);
    if (rc == 0)
        rc = buf_append_str(out,
                            "    # Measured at capture and again after a restore, and compared:\n"
                            "    # invariants:\n"
                            "    #   - { name: users, sql: \"select count(*) from public.users\", expect: not_shrunk }\n",
                            err);
    return rc;
}

static int put_target(struct buf *out, const char *key, const char *value, const char *example, const char *doc,
                      struct error *err) {
    if (value) return buf_printf(out, err, "      %s: %s  # %s\n", key, value, doc);
    return buf_printf(out, err, "      # %s: %s  # %s; until it is set, it is shown as unset\n", key, example, doc);
}

static int put_environment(struct buf *out, const struct config_starter *p, struct error *err) {
    const char *name = p->environment ? p->environment : "dev";
    int rc = buf_printf(out, err,
                        "\n"
                        "# Where the platform runs. protected: restoring and pruning need a typed phrase.\n"
                        "environments:\n"
                        "  %s:\n"
                        "    protected: %s\n"
                        "    repository: main\n"
                        "    policy:\n"
                        "      # What is approved, not what is hoped for; 'none' says that there is no target.\n",
                        name, p->protected ? "true" : "false");
    if (rc == 0) rc = put_target(out, "rpo", p->rpo, "24h", "the most data, in time, that may be lost", err);
    if (rc == 0) rc = put_target(out, "rto", p->rto, "4h", "the longest that a restore may take", err);
    if (rc == 0)
        rc = buf_append_str(out, "      verify: checksum  # what a backup must have passed to count as proven\n", err);
    return rc;
}

int config_write_starter(struct buf *out, const struct config_starter *p, struct error *err) {
    if (p->environment && !schema_name_ok(p->environment))
        return error_set(err, ERR_USAGE, "'%.64s' is no name for an environment", p->environment);
    if (!(p->paths && p->paths[0]) && !p->postgres)
        return error_set(err, ERR_USAGE, "a configuration needs at least one surface: files to back up, or a database");
    CLEANUP(buf_free) struct buf b = BUF_INIT(CONFIG_FILE_BYTES_MAX);
    int rc = buf_append_str(&b,
                            "# proofkeep's configuration. Every key: doc/reference/configuration.md.\n"
                            "version: 1\n",
                            err);
    if (rc == 0) rc = put_text(&b, "platform", p->platform, err);
    if (rc == 0)
        rc =
            buf_append_str(&b,
                           "\n"
                           "# Proven backups that stay. Only proven ones count, and the newest proven one never goes.\n"
                           "defaults:\n"
                           "  retention:\n"
                           "    keep: { daily: 7, weekly: 5, monthly: 12 }\n"
                           "    min_copies: 2\n",
                           err);
    if (rc == 0) rc = put_secrets(&b, p, err);
    if (rc == 0) rc = put_repository(&b, p, err);
    if (rc == 0) rc = put_surfaces(&b, p, err);
    if (rc == 0) rc = put_environment(&b, p, err);
    if (rc < 0) return rc;
    /* What was given may not be what the schema wants (a relative path, say): better said now than at the next command.
     */
    struct config *c;
    rc = config_parse(buf_bytes(&b), "proofkeep.yaml", &c, err);
    if (rc < 0) return error_wrap(err, "the starter configuration would not be valid");
    config_free(c);
    return buf_append(out, b.ptr, b.len, err);
}
