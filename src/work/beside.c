#include "work/beside.h"

#include <stdarg.h>
#include <stdio.h>

const struct config_repository *beside_config(struct work *w, const char *environment) {
    struct error e = ERROR_INIT;
    const char *url;
    if (!w->config || work_repo_url(w, environment, &url, &e) < 0) return NULL;
    return config_repository_at(w->config, url);
}

int beside_open(const struct work *w, const char *name, const char *environment, struct work **ret, struct error *err) {
    struct work_options o = w->options;
    struct work *other = NULL;
    o.repository = name;
    o.from = NULL;
    o.key_file = o.passphrase_file = o.recovery_kit = NULL;
    o.events.requests = NULL;
    int rc = work_open(&o, &other, err);
    if (rc == 0) {
        other->log_only = w->log_only;
        rc = work_open_repo(other, environment, err);
    }
    if (rc < 0)
        work_close(other);
    else
        *ret = other;
    return rc;
}

void beside_warn(const struct work *w, const char *label, const char *fmt, ...) {
    char text[1200];
    va_list ap;
    if (!w->options.events.warning) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    w->options.events.warning(w->options.events.ctx, label, text);
}
