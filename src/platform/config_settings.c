#include "platform/config_internal.h"

#include <stdlib.h>

/* The variables of the source documents that a surface's connection honours, in the environment "dev" only. */
static const struct {
    const char *variable, *key;
    bool number, secret;
} dev_variables[] = {
    {"POSTGRES_HOST", "host", false, false},        {"POSTGRES_PORT", "port", true, false},
    {"POSTGRES_DB", "dbname", false, false},        {"POSTGRES_USER", "user", false, false},
    {"POSTGRES_PASSWORD", "password", false, true},
};
#define PASSPHRASE_VARIABLE "BACKUP_ENCRYPTION_KEY"

static const char *variable(const char *name) {
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

static int apply_variable(json_t *connect, size_t i, const char *value, struct error *err) {
    const char *key = dev_variables[i].key;
    if (dev_variables[i].secret) {
        char ref[80];
        snprintf(ref, sizeof(ref), "env:%s", dev_variables[i].variable);
        return json_put_str(connect, key, ref, err);
    }
    if (!dev_variables[i].number) return json_put_str(connect, key, value, err);
    char *end;
    long n = strtol(value, &end, 10);
    if (*end != '\0' || n < 1 || n > 65535)
        return error_set(err, ERR_CONFIG_VALUE, "the variable %s wants a port from 1 to 65535",
                         dev_variables[i].variable);
    return json_put_int(connect, key, n, err);
}

static int apply_variables(json_t *settings, struct error *err) {
    for (size_t i = 0; i < sizeof(dev_variables) / sizeof(dev_variables[0]); i++) {
        const char *value = variable(dev_variables[i].variable);
        if (!value) continue;
        int rc = 0;
        if (!json_object_get(settings, "connect")) rc = json_put(settings, "connect", json_object(), err);
        if (rc == 0) rc = apply_variable(json_object_get(settings, "connect"), i, value, err);
        if (rc < 0) return rc;
    }
    return 0;
}

/* The driver wants the word, not a list of it. */
static int say_all(json_t *settings, struct error *err) {
    const json_t *list = json_object_get(settings, "databases");
    const char *first = json_string_value(json_array_get(list, 0));
    bool all = json_array_size(list) == 1 && first && strcmp(first, "all") == 0;
    return all ? json_put_str(settings, "databases", "all", err) : 0;
}

int config_surface_settings(const struct config *c, const struct config_environment *e, const struct config_surface *s,
                            json_t **ret, struct error *err) {
    (void)c;
    const struct schema *schema = schema_find(&schema_root, "surfaces")->object;
    json_t *settings;
    int rc = schema_dump(schema, s, e->head.name, config_kind_name(s), &settings, err);
    if (rc < 0) return rc;
    if (s->kind == CONFIG_KIND_POSTGRES) rc = say_all(settings, err);
    /* Which there are, and not what they run: a driver says beforehand what it cannot do without. */
    if (rc == 0 && s->hooks)
        rc = json_put(settings, "hooks",
                      json_pack("{s:b, s:b}", "stop", s->hooks->stop != NULL, "start", s->hooks->start != NULL), err);
    if (rc == 0 && config_is_dev(e) && s->kind == CONFIG_KIND_POSTGRES) rc = apply_variables(settings, err);
    if (rc < 0) {
        json_decref(settings);
        return rc;
    }
    *ret = settings;
    return 0;
}

int config_repository_key(const struct config *c, const struct config_environment *e, const char **ret_secret,
                          enum config_key_kind *ret_kind, struct error *err) {
    const struct config_encrypt *encrypt = config_repository(c, e->repository)->encrypt;
    if (config_is_dev(e) && variable(PASSPHRASE_VARIABLE)) {
        *ret_secret = "env:" PASSPHRASE_VARIABLE;
        *ret_kind = CONFIG_KEY_PASSPHRASE;
        return 0;
    }
    if (!encrypt)
        return error_set(err, ERR_KEY_NONE,
                         "the repository '%s' of environment '%s' has no 'encrypt:' in the configuration",
                         e->repository, e->head.name);
    *ret_secret = encrypt->key;
    *ret_kind = encrypt->kind == CONFIG_KEY_UNSET ? CONFIG_KEY_PASSPHRASE : (enum config_key_kind)encrypt->kind;
    return 0;
}
