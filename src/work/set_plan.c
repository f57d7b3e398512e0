#include "base/seam.h"
#include "base/time.h"
#include "platform/guard.h"
#include "work/point.h"
#include "work/set_restore.h"

#include <stdio.h>
#include <unistd.h>

static bool is_member(const json_t *members, const char *name, size_t n) {
    const json_t *m;
    size_t i;
    json_array_foreach(members, i, m) {
        const char *s = json_text(m, "surface", "");
        if (strlen(s) == n && memcmp(s, name, n) == 0) return true;
    }
    return false;
}

/* A comma begins another member only where a member's name and '=' follow: a target may have commas of its own. */
static const char *piece(const char *at, const json_t *members, const char **ret_end) {
    const char *equals = strchr(at, '=');
    if (!equals || !is_member(members, at, (size_t)(equals - at))) return NULL;
    const char *end = strchr(at, ',');
    while (end) {
        const char *next = strchr(end + 1, '=');
        if (next && is_member(members, end + 1, (size_t)(next - end - 1))) break;
        end = strchr(end + 1, ',');
    }
    *ret_end = end ? end : at + strlen(at);
    return equals + 1;
}

bool set_into(const char *into, const char *surface, const json_t *members, char *out, size_t n) {
    const char *end, *value, *at = into;
    while (at && (value = piece(at, members, &end))) {
        size_t name = (size_t)(value - 1 - at), len = (size_t)(end - value);
        if (strlen(surface) == name && memcmp(at, surface, name) == 0 && len < n) {
            memcpy(out, value, len);
            out[len] = 0;
            return true;
        }
        at = *end ? end + 1 : NULL;
    }
    return false;
}

/* Not a Redis, unless asked for by name: what a killed run leaves in a spare database is told by nothing from what
 * somebody else put there, while a restore in place is completed by running it again; and it takes the memory twice. */
static bool can_swap(const char *kind) {
    return strcmp(kind, "files") == 0 || strcmp(kind, "postgres") == 0;
}

static int options_of(const struct set_restore_options *o, const json_t *members, const json_t *m, bool folder,
                      char target[4096], struct restore_options *ret, struct error *err) {
    const char *kind = json_text(m, "kind", ""), *surface = json_text(m, "surface", ""), *end;
    *ret = (struct restore_options){.terminate_connections = o->terminate_connections,
                                    .no_owner = o->no_owner,
                                    .no_backup_first = o->no_backup_first};
    if (o->into && o->replace)
        return error_set(err, ERR_USAGE,
                         "--into says where, and --in-place and --swap say that it is over the live things");
    if (o->into && set_into(o->into, surface, members, target, 4096)) {
        ret->swap = strcmp(target, "swap") == 0;
        ret->in_place = strcmp(target, "in-place") == 0;
        if (!ret->swap && !ret->in_place && strcmp(target, "beside") != 0) ret->into = target;
    } else if (o->into && !piece(o->into, members, &end)) {
        char here[2048] = "";
        if (strchr(o->into, '=') && !strchr(o->into, '/'))
            return error_set(err, ERR_USAGE, "'%.200s' names no surface of the set before its '='", o->into);
        if (*o->into != '/' && !getcwd(here, sizeof here))
            return error_set_errno(err, ERR_IO_READ, "find the current folder");
        snprintf(target, 4096, "%s%s%.1500s/%.100s", here, *here ? "/" : "", o->into, surface);
        if (folder) ret->into = target;
    } else if (o->replace) {
        ret->swap = can_swap(kind);
        ret->in_place = !ret->swap;
    }
    return 0;
}

/* The names of members as a plan wants them; what they depend on by the configuration, where it has all of them, else
 * as recorded. */
static int order(struct work *w, const json_t *recorded, json_t **ret, struct error *err) {
    const struct config_surface *list[SET_MEMBERS_MAX];
    const json_t *m;
    size_t i, n = 0;
    json_array_foreach(recorded, i, m) {
        const struct config_surface *c = w->config ? config_surface(w->config, json_text(m, "surface", "")) : NULL;
        if (c && n < SET_MEMBERS_MAX) list[n++] = c;
    }
    if (n != json_array_size(recorded)) {
        *ret = json_deep_copy(recorded);
        return *ret ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    }
    set_order(w->config, list, n);
    json_auto_t *out = json_array();
    int rc = out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    for (size_t k = 0; k < n && rc == 0; k++) {
        json_t *one = NULL, *depends = set_depends_json(w->config, list[k], list, n);
        json_array_foreach(recorded, i, m) if (strcmp(json_text(m, "surface", ""), list[k]->head.name) == 0) one =
            json_copy((json_t *)m);
        rc = json_put(one, "depends_on", depends, err);
        if (rc == 0)
            rc = json_push(out, one, err);
        else
            json_decref(one);
    }
    if (rc == 0) *ret = json_incref(out);
    return rc;
}

static int member_plan(struct work *w, const struct set_info *s, const struct set_restore_options *o,
                       const json_t *members, json_t *m, struct set_plan *p, struct error *err) {
    struct restore_options ro;
    struct restore_plan one = {0};
    char address[400], target[4096];
    const struct snapshot_info *info =
        repo_snapshot_at(w->repo, (uint64_t)json_integer_value(json_object_get(m, "seq")));
    if (!info || info->forgotten)
        return error_set(err, ERR_NO_POINT,
                         "the recovery point %s of %s was forgotten, so the set is not whole any more",
                         json_text(m, "backup_id", ""), json_text(m, "surface", ""));
    snprintf(address, sizeof address, "%.120s/%.130s@%s", s->environment, info->surface, info->id);
    bool folder = strcmp(info->kind, "redis") == 0; /* offline; else its server */
    int rc = folder ? 0 : restore_makes_folder(w, info, &folder, err);
    if (rc == 0) rc = options_of(o, members, m, folder, target, &ro, err);
    if (rc == 0) rc = restore_plan_make(w, address, &ro, &one, err);
    if (rc < 0) return error_wrap(err, "%s", info->surface);
    const json_t *t = json_object_get(one.doc, "target");
    rc = json_put_str(m, "plan", one.id, err);
    if (rc == 0) rc = json_put(m, "plan_digest", json_incref(json_object_get(one.doc, "digest")), err);
    if (rc == 0) rc = json_put(m, "in_place", json_boolean(ro.in_place), err);
    if (rc == 0) rc = json_put(m, "swap", json_boolean(ro.swap), err);
    if (rc == 0)
        rc = json_put_str(m, "target",
                          json_object_get(t, "target") ? json_text(t, "target", "") : json_text(one.doc, "into", ""),
                          err);
    if (rc == 0) rc = json_put(m, "estimated_seconds", json_incref(json_object_get(one.doc, "estimated_seconds")), err);
    if (rc == 0 && json_object_get(one.doc, "backup_first"))
        rc = json_put(m, "backup_first", json_incref(json_object_get(one.doc, "backup_first")), err);
    if (rc == 0 && json_object_get(t, "steps"))
        rc = json_put(m, "steps", json_incref(json_object_get(t, "steps")), err);
    json_t *said = json_deep_copy(json_object_get(one.doc, "warnings")), *more = json_object_get(t, "warnings");
    if (rc == 0 && said && more && json_array_extend(said, more) < 0) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0)
        rc = json_put(m, "warnings", said, err);
    else
        json_decref(said);
    p->protected |= one.protected;
    p->fresh &= one.fresh;
    p->made[p->made_count++] = one;
    return rc;
}

/* Whether others may be restored to the same place: databases, of a server (whose version its plan has) or of the
 * folder of one that is at rest. */
static bool is_shared(const json_t *member, const struct restore_plan *p) {
    const bool in_place = json_is_true(json_object_get(member, "in_place"));
    return json_object_get(json_object_get(p->doc, "target"), "server_version") ||
           (in_place && strcmp(json_text(member, "kind", ""), "files") != 0);
}

/* Of surfaces with the same paths, and of what --into says: the second would find the first in its place. */
static int targets_differ(const json_t *members, const struct restore_plan *made, struct error *err) {
    for (size_t i = 0; i < json_array_size(members); i++)
        for (size_t k = 0; k < i; k++) {
            const json_t *a = json_array_get(members, k), *b = json_array_get(members, i);
            const char *target = json_text(b, "target", "");
            if (*target != '/' || strcmp(target, json_text(a, "target", "")) != 0) continue;
            if (is_shared(a, &made[k]) && is_shared(b, &made[i])) continue;
            error_set(err, ERR_USAGE, "%.130s and %.130s would both be restored to %.1000s",
                      json_text(a, "surface", ""), json_text(b, "surface", ""), target);
            return error_next(err, "Give each a folder of its own: --into NAME=FOLDER,...");
        }
    return 0;
}

/* The fields of a plan that its document holds. */
static int fill(struct set_plan *p, struct error *err) {
    const json_t *d = p->doc;
    snprintf(p->id, sizeof p->id, "%s", json_text(d, "id", ""));
    snprintf(p->set_id, sizeof p->set_id, "%s", json_text(d, "set_id", ""));
    snprintf(p->label, sizeof p->label, "%.70s/%.1023s", json_text(d, "environment", ""), json_text(d, "set", ""));
    p->seq = (uint64_t)json_integer_value(json_object_get(d, "seq"));
    p->fresh = json_is_true(json_object_get(d, "fresh"));
    return guard_phrase(GUARD_RESTORE, json_text(d, "environment", ""), json_text(d, "set", ""), p->set_id, p->phrase,
                        err);
}

static int warnings(const struct set_info *s, const json_t *predicate, json_t *doc, struct error *err) {
    const json_t *m;
    size_t i;
    json_t *list = json_array();
    int rc = json_put(doc, "warnings", list, err);
    json_array_foreach(json_object_get(predicate, "missing"), i, m) {
        const json_t *from = json_object_get(m, "rebuilt_from"), *one;
        char names[400] = "";
        size_t k;
        json_array_foreach(from, k, one) snprintf(names + strlen(names), sizeof names - strlen(names), "%s%.100s",
                                                  k ? ", " : "; it is rebuilt from ", json_string_value(one));
        if (rc == 0)
            rc = json_push(list,
                           json_sprintf("the set has nothing of %s: %.200s%s", json_text(m, "surface", ""),
                                        json_text(m, "text", ""), names),
                           err);
    }
    if (rc == 0 && strcmp(s->consistency, "quiesced") != 0)
        rc = json_push(list,
                       json_string(strcmp(s->consistency, "fuzzy") == 0
                                       ? "consistency is fuzzy: a surface of it was captured while it was written to"
                                       : "consistency is per-surface: each is exact at an instant of its own"),
                       err);
    return rc;
}

int set_plan_make(struct work *w, const struct set_info *s, const struct set_restore_options *o, struct set_plan *ret,
                  struct error *err) {
    char id[PLAN_ID_BYTES], entry[65];
    json_auto_t *predicate = NULL, *doc = json_object();
    json_t *members = NULL, *m;
    size_t i;
    uint64_t bytes = 0;
    *ret = (struct set_plan){.fresh = true};
    hex_encode(s->entry.b, DIGEST_BYTES, entry);
    int rc = doc ? set_predicate(w, s, &predicate, err) : error_set(err, ERR_NO_MEMORY, "no memory for a plan");
    if (rc == 0) rc = plan_file_name(SET_PLAN_PREFIX, id, err);
    if (rc == 0) rc = order(w, json_object_get(predicate, "members"), &members, err);
    if (rc == 0 && json_array_size(members) == 0)
        rc = error_set(err, ERR_NO_POINT, "the set %s has no recovery point: every surface failed", s->id);
    if (rc == 0 && s->member_count != json_array_size(members))
        rc = error_set(err, ERR_LEDGER_BROKEN, "the set %s is not what was read before", s->id);
    void *mem = NULL;
    if (rc == 0) rc = mem_alloc((json_array_size(members) + 1) * sizeof *ret->made, &mem, err);
    ret->made = mem;
    json_array_foreach(members, i, m) {
        if (rc == 0) rc = member_plan(w, s, o, members, m, ret, err);
        bytes += (uint64_t)json_integer_value(json_object_get(m, "bytes"));
    }
    if (rc == 0) rc = targets_differ(members, ret->made, err);
    if (rc == 0)
        rc = json_put(doc, "members", members, err);
    else
        json_decref(members);
    if (rc == 0) rc = json_put_str(doc, "id", id, err);
    if (rc == 0) rc = json_put_str(doc, "kind", "set", err);
    if (rc == 0) rc = json_put_str(doc, "environment", s->environment, err);
    if (rc == 0) rc = json_put_str(doc, "set", s->name, err);
    if (rc == 0) rc = json_put_str(doc, "set_id", s->id, err);
    if (rc == 0) rc = json_put_int(doc, "seq", (int64_t)s->seq, err);
    if (rc == 0) rc = json_put_str(doc, "receipt", entry, err);
    if (rc == 0) rc = json_put_str(doc, "repository", repo_id_hex(w->repo), err);
    if (rc == 0) rc = json_put(doc, "point", point_time_json(set_time(w, s)), err);
    if (rc == 0) rc = json_put_int(doc, "loss_seconds", (time_now_ns() - set_time(w, s)) / NS_PER_S, err);
    if (rc == 0) rc = json_put_str(doc, "consistency", s->consistency, err);
    if (rc == 0) rc = json_put_int(doc, "bytes", (int64_t)bytes, err);
    if (rc == 0) rc = json_put(doc, "complete", json_boolean(s->complete), err);
    if (rc == 0) rc = json_put(doc, "fresh", json_boolean(ret->fresh), err);
    if (rc == 0)
        rc = json_put(doc, "estimated_seconds",
                      s->restore_took_ns ? json_integer(s->restore_took_ns / NS_PER_S + 1) : json_null(), err);
    if (rc == 0) rc = warnings(s, predicate, doc, err);
    if (rc == 0) rc = plan_file_save(w, id, doc, err);
    ret->doc = json_incref(doc);
    if (rc == 0) rc = fill(ret, err);
    if (rc < 0) set_plan_free(ret);
    return rc;
}

int set_plan_load(struct work *w, const char *id, struct set_plan *ret, struct error *err) {
    *ret = (struct set_plan){0};
    if (!plan_file_is(id, SET_PLAN_PREFIX)) return error_set(err, ERR_PLAN_STALE, "'%.40s' is no plan's id", id);
    int rc = plan_file_load(w, id, &ret->doc, err);
    if (rc == 0) rc = work_open_repo(w, json_text(ret->doc, "environment", ""), err);
    if (rc == 0) rc = fill(ret, err);
    bool found = false;
    for (size_t i = 0; rc == 0 && i < repo_set_count(w->repo); i++) {
        char entry[65];
        const struct set_info *s = repo_set(w->repo, i);
        hex_encode(s->entry.b, DIGEST_BYTES, entry);
        found |= s->seq == ret->seq && strcmp(entry, json_text(ret->doc, "receipt", "")) == 0;
    }
    if (rc == 0 && (!found || strcmp(json_text(ret->doc, "repository", ""), repo_id_hex(w->repo)) != 0))
        rc = error_set(err, ERR_PLAN_STALE, "plan %s: it is for another repository, or its set is not there", id);
    const struct config_environment *e =
        rc == 0 && w->config ? config_environment(w->config, json_text(ret->doc, "environment", "")) : NULL;
    ret->protected = e && e->protected;
    if (rc < 0) set_plan_free(ret);
    return rc;
}

void set_plan_free(struct set_plan *p) {
    json_decref(p->doc);
    for (size_t i = 0; i < p->made_count; i++) restore_plan_free(&p->made[i]);
    seam_free(p->made);
    p->doc = NULL;
    p->made = NULL;
    p->made_count = 0;
}
