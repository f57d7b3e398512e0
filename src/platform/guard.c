#include "platform/guard.h"

#include <stdio.h>

int guard_phrase(enum guard_act act, const char *environment, const char *surfaces, const char *point,
                 char out[GUARD_PHRASE_BYTES], struct error *err) {
    int n;
    if (act == GUARD_PRUNE) {
        n = snprintf(out, GUARD_PHRASE_BYTES, "prune %s/%s", environment, surfaces);
    } else {
        if (!point || strcmp(point, "latest") == 0)
            return error_set(err, ERR_USAGE,
                             "a phrase names the time or the backup that 'latest' stands for, not the word");
        n = snprintf(out, GUARD_PHRASE_BYTES, "restore %s/%s to %s", environment, surfaces, point);
    }
    if (n < 0 || n >= GUARD_PHRASE_BYTES)
        return error_set(err, ERR_USAGE, "the phrase would be longer than %d bytes; name fewer surfaces",
                         GUARD_PHRASE_BYTES - 1);
    return 0;
}

int guard_confirm(const struct config_environment *e, enum guard_act act, const char *surfaces, const char *point,
                  const char *typed, struct error *err) {
    if (!e->protected) return 0;
    char phrase[GUARD_PHRASE_BYTES];
    int rc = guard_phrase(act, e->head.name, surfaces, point, phrase, err);
    if (rc < 0) return rc;
    if (typed && strcmp(typed, phrase) == 0) return 0;
    error_set(err, ERR_CONFIRM, "the environment '%s' is protected, and the phrase %s; it is: %s", e->head.name,
              typed ? "that was given is another" : "is missing", phrase);
    error_state(err, "nothing was touched");
    return error_next(err, "--confirm '%s'", phrase);
}

static bool accepts(const struct config_environment *to, const char *from) {
    for (size_t i = 0; i < to->accepts_from.count; i++)
        if (strcmp(to->accepts_from.items[i]->head.name, from) == 0) return true;
    return false;
}

int guard_cross(const struct config *c, const char *from, const struct config_environment *to, bool sanitised,
                struct error *err) {
    if (strcmp(from, to->head.name) == 0) return 0;
    if (!accepts(to, from)) {
        error_set(err, ERR_CROSS_ENV,
                  "data of '%.64s' may not enter '%s': environments.%s.accepts_from does not name '%.64s'", from,
                  to->head.name, to->head.name, from);
        return error_state(err, "nothing was touched");
    }
    const struct config_environment *source = config_environment(c, from);
    if (config_is_dev(to) && !sanitised && source && source->protected) {
        error_set(err, ERR_CROSS_ENV, "data of the protected environment '%s' enters 'dev' only sanitised",
                  source->head.name);
        error_state(err, "nothing was touched");
        return error_next(err, "Restore into an environment that may hold this data as it is.");
    }
    return 0;
}
