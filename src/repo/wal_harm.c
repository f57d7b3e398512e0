#include "base/time.h"
#include "repo/repo_internal.h"

#define SEGMENT_DIGITS 24

/* "wal/<system>/<timeline>/<file>" */
static const char *file_of(const char *key) {
    const char *p = strncmp(key, "wal/", 4) == 0 ? strchr(key + 4, '/') : NULL;
    p = p ? strchr(p + 1, '/') : NULL;
    return p ? p + 1 : NULL;
}

static bool is_segment(const char *file) {
    return strspn(file, "0123456789ABCDEF") == SEGMENT_DIGITS &&
           (!file[SEGMENT_DIGITS] || strncmp(file + SEGMENT_DIGITS, ".pieces/", 8) == 0);
}

static bool stored_at(struct store *store, const char *key, int64_t *ret) {
    struct error e = ERROR_INIT;
    return store_stat(store, key, NULL, ret, &e) == 0 && *ret > 0;
}

/* Of the segment before it, unless that is in another of the groups by which names count. */
static bool before_stored_at(struct store *store, const char *key, const char *file, int64_t *ret) {
    char other[WAL_OBJECT_KEY_BYTES];
    char digits[9] = "";
    memcpy(digits, file + 16, 8);
    unsigned long seg = strtoul(digits, NULL, 16);
    if (seg == 0) return false;
    snprintf(other, sizeof other, "%.*s%08lX", (int)(file + 16 - key), key, seg - 1);
    return stored_at(store, other, ret);
}

static bool is_base(const struct snapshot_info *s, const char *environment, const char *surface) {
    return !s->forgotten && s->complete && strcmp(s->environment, environment) == 0 &&
           strcmp(s->surface, surface) == 0 && strcmp(s->kind, "postgres-physical") == 0;
}

void state_wal_harm(struct store *store, const struct state *st, const char *environment, const char *surface,
                    const char *key, int64_t about_ns, char out[WAL_HARM_BYTES]) {
    const char *file = file_of(key);
    int64_t own_ns = about_ns, from_ns, to_ns = 0;
    char from[32], to[32];
    bool needed = false;
    out[0] = 0;
    if (!file) return;
    size_t n = strlen(file);
    if (n > 8 && strcmp(file + n - 8, ".history") == 0) {
        snprintf(out, WAL_HARM_BYTES, "no recovery leads from an older timeline to %.8s", file);
        return;
    }
    if (!is_segment(file)) return;
    (void)stored_at(store, key, &own_ns);
    if (!before_stored_at(store, key, file, &from_ns)) from_ns = own_ns;
    for (size_t i = 0; i < st->snapshot_count; i++) {
        const struct snapshot_info *s = &st->snapshots[i];
        if (!is_base(s, environment, surface)) continue;
        if (s->started_ns < own_ns)
            needed = true;
        else if (!to_ns || s->completed_ns < to_ns)
            to_ns = s->completed_ns;
    }
    if (!needed) return;
    time_format(from_ns, from);
    if (to_ns) time_format(to_ns, to);
    snprintf(out, WAL_HARM_BYTES, "no recovery leads to instants from about %s %s%s", from,
             to_ns ? "to " : "on: there is no base backup after it", to_ns ? to : "");
}

void wal_harm(struct repo *r, const char *environment, const char *surface, const char *key, int64_t about_ns,
              char out[WAL_HARM_BYTES]) {
    state_wal_harm(r->store, &r->state, environment, surface, key, about_ns, out);
}
