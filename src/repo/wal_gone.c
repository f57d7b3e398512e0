/* What the log says of WAL that was removed: the first segment of each timeline that is still needed. By name, so that
 * who has no key and knows no segment's size can tell. */
#include "repo/repo_internal.h"

#include <inttypes.h>

#define TIMELINE_DIGITS 8
#define SEGMENT_DIGITS 24
#define ENTRY_TIMELINES_MAX 200

static bool is_segment(const char *name) {
    return strspn(name, "0123456789ABCDEF") >= SEGMENT_DIGITS;
}

bool wal_first_valid(const char *name) {
    return strlen(name) == SEGMENT_DIGITS && is_segment(name) && strncmp(name, "00000000", TIMELINE_DIGITS) != 0;
}

static struct wal_first *find(const struct state *s, uint64_t system, const char *name) {
    for (size_t i = 0; i < s->wal_first_count; i++)
        if (s->wal_first[i].system == system && strncmp(s->wal_first[i].name, name, TIMELINE_DIGITS) == 0)
            return &s->wal_first[i];
    return NULL;
}

/* What is gone stays gone: a place never moves back. */
static int advance(struct state *s, uint64_t system, const char *name, struct error *err) {
    struct wal_first *f = find(s, system, name);
    if (!f) {
        int rc = mem_grow((void **)&s->wal_first, &s->wal_first_cap, s->wal_first_count + 1, sizeof *f, err);
        if (rc < 0) return rc;
        f = &s->wal_first[s->wal_first_count++];
        *f = (struct wal_first){.system = system};
    }
    if (strcmp(name, f->name) > 0) memcpy(f->name, name, SEGMENT_DIGITS + 1);
    return 0;
}

int judge_wal_gone(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    const json_t *list = json_object_get(p, "wal_first");
    const char *text = json_string_value(json_object_get(p, "system"));
    uint64_t system = 0;
    size_t n = json_array_size(list);
    bool good = text && wal_system_parse(text, &system) && n > 0 && n <= ENTRY_TIMELINES_MAX;
    for (size_t i = 0; i < n && good; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        good = name && wal_first_valid(name);
    }
    if (!good)
        return error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " does not say which WAL was removed", e->seq);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) rc = advance(s, system, json_string_value(json_array_get(list, i)), err);
    return rc;
}

bool state_wal_gone(const struct state *s, const char *key) {
    for (size_t i = 0; i < s->wal_first_count; i++) {
        const struct wal_first *f = &s->wal_first[i];
        char folder[48];
        int n = snprintf(folder, sizeof folder, "wal/%" PRIu64 "/%.8s/", f->system, f->name);
        if (strncmp(key, folder, (size_t)n) == 0)
            return is_segment(key + n) && strncmp(key + n, f->name, SEGMENT_DIGITS) < 0;
    }
    return false;
}

bool wal_log_gone(const struct repo *r, const char *key) {
    return state_wal_gone(&r->state, key);
}

const char *wal_log_first(const struct repo *r, uint64_t system, uint32_t timeline) {
    char digits[TIMELINE_DIGITS + 1];
    snprintf(digits, sizeof digits, "%08" PRIX32, timeline);
    const struct wal_first *f = find(&r->state, system, digits);
    return f ? f->name : NULL;
}

static int append(struct repo *r, uint64_t system, const struct wal_first *firsts, size_t n, struct error *err) {
    char text[24];
    struct sha256_state *sum = NULL;
    struct digest all;
    json_t *list = json_array(), *statement = NULL;
    int rc = list ? sha256_new(&sum, err) : error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = json_push(list, json_string(firsts[i].name), err);
        sha256_update(sum, BYTES_STR(firsts[i].name));
    }
    if (rc < 0) {
        json_decref(list);
        sha256_free(sum);
        return rc;
    }
    sha256_finish(sum, &all);
    sha256_free(sum);
    snprintf(text, sizeof text, "%" PRIu64, system);
    json_t *p = json_pack("{s:s, s:o}", "system", text, "wal_first", list);
    if (!p) return error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    rc = statement_make(PREDICATE_DELETE, "wal", &all, p, &statement, err);
    if (rc == 0) rc = repo_append(r, statement, NULL, NULL, err);
    json_decref(statement);
    return rc;
}

int wal_log_remove(struct repo *r, uint64_t system, const struct wal_first *firsts, size_t n, struct error *err) {
    int rc = 0;
    for (size_t at = 0; at < n && rc == 0; at += ENTRY_TIMELINES_MAX)
        rc = append(r, system, firsts + at, n - at < ENTRY_TIMELINES_MAX ? n - at : ENTRY_TIMELINES_MAX, err);
    return rc;
}
