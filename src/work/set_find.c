#include "base/seam.h"
#include "base/time.h"
#include "ledger/statement.h"
#include "work/point.h"
#include "work/set.h"

#include <stdio.h>

size_t set_members_left(const struct work *w, const struct set_info *s) {
    size_t n = 0;
    for (size_t i = 0; i < s->member_count; i++) {
        const struct snapshot_info *p = repo_snapshot_at(w->repo, s->members[i]);
        n += p && !p->forgotten;
    }
    return n;
}

int64_t set_time(const struct work *w, const struct set_info *s) {
    int64_t t = s->started_ns;
    for (size_t i = 0; i < s->member_count; i++) {
        const struct snapshot_info *p = repo_snapshot_at(w->repo, s->members[i]);
        if (p && point_time(p) < t) t = point_time(p);
    }
    return t;
}

static bool listed(const struct address *a, const char *surface) {
    for (size_t i = 0; i < a->surface_count; i++)
        if (strcmp(a->surfaces[i], surface) == 0) return true;
    return false;
}

/* A list means the set of just these surfaces, in whatever order they were named. */
static bool is_list(const struct work *w, const struct set_info *s, const struct address *a) {
    size_t names = 1, n = 0;
    for (const char *p = s->name; *p; p++) names += *p == ',';
    if (names != a->surface_count) return false;
    for (size_t i = 0; i < s->member_count; i++) {
        const struct snapshot_info *p = repo_snapshot_at(w->repo, s->members[i]);
        n += p && listed(a, p->surface);
    }
    return n == s->member_count && n + s->missing == names;
}

static bool is_meant(const struct work *w, const struct set_info *s, const struct address *a) {
    if (strcmp(s->environment, a->environment) != 0) return false;
    if (a->all) return strcmp(s->name, "all") == 0;
    if (a->class != CONFIG_CLASS_UNSET)
        return *s->name == '@' && strcmp(s->name + 1, address_class_name(a->class)) == 0;
    if (a->surface_count > 1) return is_list(w, s, a);
    return strcmp(s->name, a->surfaces[0]) == 0;
}

/* A single name is a surface's where there is one, of the configuration or of the log. */
static bool is_surface(const struct work *w, const struct address *a) {
    if (a->all || a->class != CONFIG_CLASS_UNSET || a->surface_count != 1) return false;
    if (w->config && config_surface(w->config, a->surfaces[0])) return true;
    if (w->config && config_set(w->config, config_environment(w->config, a->environment), a->surfaces[0])) return false;
    for (size_t i = 0; i < repo_snapshot_count(w->repo); i++) {
        const struct snapshot_info *p = repo_snapshot(w->repo, i);
        if (strcmp(p->environment, a->environment) == 0 && strcmp(p->surface, a->surfaces[0]) == 0) return true;
    }
    for (size_t i = 0; i < repo_set_count(w->repo); i++)
        if (is_meant(w, repo_set(w->repo, i), a)) return false;
    return true;
}

int set_find(struct work *w, const char *address, const struct set_info **ret, struct error *err) {
    struct address a;
    *ret = NULL;
    int rc = address_parse(address, &a, err);
    if (rc == 0) rc = work_open_repo(w, a.environment, err);
    return rc == 0 ? set_find_parsed(w, &a, address, ret, err) : rc;
}

int set_find_parsed(struct work *w, const struct address *a, const char *what, const struct set_info **ret,
                    struct error *err) {
    void *mem = NULL;
    size_t n = 0, at, total;
    int rc;
    *ret = NULL;
    if (is_surface(w, a)) return 0;
    total = repo_set_count(w->repo);
    rc = mem_alloc((total + 1) * (sizeof(struct point_entry) + sizeof(size_t)), &mem, err);
    if (rc < 0) return rc;
    struct point_entry *points = mem;
    size_t *which = (size_t *)(points + total + 1);
    for (size_t i = 0; i < total; i++) {
        const struct set_info *s = repo_set(w->repo, i);
        if (!is_meant(w, s, a)) continue;
        which[n] = i;
        points[n++] =
            (struct point_entry){s->id, set_time(w, s), s->complete && set_members_left(w, s) == s->member_count};
    }
    rc = n ? point_find(&a->point, points, n, what, &at, err)
           : error_set(err, ERR_NO_POINT, "no set of %s was taken: a backup of several surfaces in one run makes one",
                       what);
    if (rc == 0) *ret = repo_set(w->repo, which[at]);
    seam_free(mem);
    return rc;
}

int set_predicate(struct work *w, const struct set_info *s, json_t **ret, struct error *err) {
    CLEANUP(buf_free) struct buf envelope = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    CLEANUP(buf_free) struct buf payload = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
    uint8_t pub[SIGN_PUBLIC_BYTES], sig[SIGN_BYTES];
    json_auto_t *statement = NULL;
    struct digest got;
    int rc = ledger_read(repo_ledger(w->repo), s->seq, &envelope, err);
    if (rc < 0) return rc;
    sha256(buf_bytes(&envelope), &got);
    if (!digest_equal(&got, &s->entry)) /* this one was judged; another was not */
        return error_set(err, ERR_LEDGER_BROKEN, "log entry %llu is not what was read before",
                         (unsigned long long)s->seq);
    rc = dsse_decode(buf_bytes(&envelope), &payload, pub, sig, err);
    if (rc == 0) rc = json_parse(buf_bytes(&payload), payload.max_bytes, "the receipt of a set", &statement, err);
    if (rc == 0) *ret = json_incref((json_t *)statement_predicate(statement));
    return rc;
}

int set_json(const struct work *w, const struct set_info *s, json_t **ret, struct error *err) {
    json_auto_t *members = json_array();
    char entry[65];
    int rc = members ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a set");
    hex_encode(s->entry.b, DIGEST_BYTES, entry);
    for (size_t i = 0; i < s->member_count && rc == 0; i++) {
        const struct snapshot_info *p = repo_snapshot_at(w->repo, s->members[i]);
        if (p)
            rc = json_push(members,
                           json_pack("{s:s, s:s, s:I, s:b}", "surface", p->surface, "id", p->id, "seq",
                                     (json_int_t)p->seq, "forgotten", (int)p->forgotten),
                           err);
    }
    if (rc < 0) return rc;
    *ret = json_pack("{s:s, s:s, s:s, s:I, s:s, s:o, s:o, s:s, s:b, s:O, s:I, s:o, s:o}", "id", s->id, "environment",
                     s->environment, "set", s->name, "seq", (json_int_t)s->seq, "receipt", entry, "started_at",
                     point_time_json(set_time(w, s)), "completed_at", point_time_json(s->completed_ns), "consistency",
                     s->consistency, "complete", (int)s->complete, "members", members, "missing",
                     (json_int_t)s->missing, "restored_at", point_time_json(s->restored_ns), "restore_ms",
                     s->restore_took_ns ? json_integer(s->restore_took_ns / 1000000) : json_null());
    return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a set");
}
