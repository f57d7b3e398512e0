/* The configuration: whatever the bytes, a configuration all of whose parts can be used, or an error with its place. */
#include "platform/policy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int holds) {
    if (!holds) abort();
}

static void use(const struct config *c) {
    struct error err = ERROR_INIT;
    json_t *j;
    need(config_dump(c, &j, &err) == 0);
    json_decref(j);
    for (size_t i = 0; i < c->environments.count; i++) {
        const struct config_environment *e = c->environments.items[i];
        need(config_environment(c, e->head.name) == e);
        need(config_repository(c, e->repository) != NULL);
        for (size_t k = 0; k < c->surfaces.count; k++) {
            if (!config_environment_has(e, c->surfaces.items[k])) continue;
            need(config_surface_settings(c, e, c->surfaces.items[k], &j, &err) == 0);
            json_decref(j);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error err = ERROR_INIT;
    struct config *c = NULL;
    int rc = config_parse(BYTES_OF(data, size), "fuzz", &c, &err);
    if (rc < 0) {
        need(rc == -(int)err.code && c == NULL);
        need(strncmp(err.text, "fuzz:", 5) == 0);
        return 0;
    }
    use(c);
    config_free(c);
    return 0;
}
