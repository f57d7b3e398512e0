#include "surface/search/search_internal.h"

#include "base/seam.h"
#include <stdio.h>

/* Who else writes snapshots of this cluster: the products' own schedulers, by their names. */
static int schedulers(const struct search_client *c, json_t *facts, struct error *err) {
    json_t *a = NULL, *out = json_array(), *one;
    struct error ignored = ERROR_INIT;
    const char *name;
    bool missing = false;
    size_t i;
    int r = out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 &&
        search_ask(c, "GET", c->opensearch ? "/_plugins/_sm/policies" : "/_slm/policy", NULL, &a, &missing,
                   "ask for schedulers", &ignored) == 0 &&
        a) {
        if (c->opensearch) json_array_foreach(json_object_get(a, "policies"), i, one) {
                name = json_string_value(json_object_get(json_object_get(one, "sm_policy"), "name"));
                if (r == 0 && name) r = json_push(out, json_string(name), err);
            }
        else
            json_object_foreach(a, name, one) if (r == 0) r = json_push(out, json_string(name), err);
    }
    json_decref(a);
    return r == 0 ? json_put(facts, "snapshot_schedulers", out, err) : (json_decref(out), r);
}

/* What is derived from the indices all the time: it is not captured, and has to be made again by its owner. */
static int transforms(const struct search_client *c, json_t *facts, struct error *err) {
    json_t *a = NULL, *out = json_array(), *one;
    struct error ignored = ERROR_INIT;
    bool missing = false;
    size_t i;
    int r = out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && search_ask(c, "GET", c->opensearch ? "/_plugins/_transform" : "/_transform/_all", NULL, &a, &missing,
                             "ask for transforms", &ignored) == 0)
        json_array_foreach(json_object_get(a, "transforms"), i, one) {
            const char *name = json_text(one, c->opensearch ? "_id" : "id", "");
            if (r == 0 && *name) r = json_push(out, json_string(name), err);
        }
    json_decref(a);
    return r == 0 ? json_put(facts, "transforms", out, err) : (json_decref(out), r);
}

/* Which indices ISM has in hand is in no setting and no template of theirs. */
static int managed(const struct search_client *c, json_t *facts, struct error *err) {
    json_t *a = NULL, *out = json_object(), *one;
    struct error ignored = ERROR_INIT;
    const char *name;
    bool missing = false;
    int r = out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 && c->opensearch &&
        search_ask(c, "GET", "/_plugins/_ism/explain?size=10000", NULL, &a, &missing, "ask which indices are managed",
                   &ignored) == 0)
        json_object_foreach(a, name, one) {
            const char *policy = json_text(one, "index.plugins.index_state_management.policy_id", "");
            if (r == 0 && *policy && (search_takes_name(c->s, name) || !strncmp(name, ".ds-", 4)))
                r = json_put_str(out, name, policy, err);
        }
    json_decref(a);
    return r == 0 ? json_put(facts, "managed_indices", out, err) : (json_decref(out), r);
}

static int repositories(const struct search_client *c, json_t *facts, struct error *err) {
    json_t *a = NULL, *out = json_object(), *one;
    struct error ignored = ERROR_INIT;
    const char *name;
    bool missing = false;
    int r = out ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0 &&
        search_ask(c, "GET", "/_snapshot", NULL, &a, &missing, "ask for snapshot repositories", &ignored) == 0)
        json_object_foreach(a, name, one) {
            const char *type = json_string_value(json_object_get(one, "type"));
            if (r == 0) r = json_put_str(out, name, type ? type : "", err);
        }
    json_decref(a);
    return r == 0 ? json_put(facts, "snapshot_repositories", out, err) : (json_decref(out), r);
}

void search_say_missing(const struct search_settings *s, const json_t *facts) {
    static const struct {
        const char *fact, *text;
    } lists[] = {
        {"transforms", "this transform is not part of the backup"},
        {"snapshot_schedulers", "this policy for the cluster's own snapshots is not part of the backup"},
    };
    const json_t *v;
    json_t *policy;
    const char *index;
    char line[400];
    size_t i;
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
        json_array_foreach(json_object_get(facts, lists[k].fact), i, v)
            search_note(s, NOTE_WARNING, json_string_value(v), lists[k].text);
    json_object_foreach(json_object_get(facts, "managed_indices"), index, policy) {
        snprintf(line, sizeof line, "the life-cycle policy %.200s has it in hand: no restore attaches it again",
                 json_string_value(policy));
        search_note(s, NOTE_WARNING, index, line);
    }
}

int search_facts(const struct search_client *c, json_t *facts, struct error *err) {
    json_t *health = NULL;
    int r = search_ask(c, "GET", "/_cluster/health", NULL, &health, NULL, "ask for the cluster's health", err);
    if (r < 0) return r;
    const char *name = json_string_value(json_object_get(health, "cluster_name"));
    const char *status = json_string_value(json_object_get(health, "status"));
    r = json_put_str(facts, "product", c->opensearch ? "opensearch" : "elasticsearch", err);
    if (r == 0) r = json_put_str(facts, "version", c->version, err);
    if (r == 0) r = json_put_str(facts, "cluster_name", name ? name : "", err);
    if (r == 0) r = json_put_str(facts, "health", status ? status : "", err);
    if (r == 0) r = json_put_int(facts, "nodes", json_integer_value(json_object_get(health, "number_of_nodes")), err);
    json_decref(health);
    if (r == 0) r = schedulers(c, facts, err);
    if (r == 0) r = transforms(c, facts, err);
    if (r == 0) r = managed(c, facts, err);
    return r == 0 ? repositories(c, facts, err) : r;
}

int search_invariant(json_t *out, const char *name, json_t *value, struct error *err) {
    json_t *v = value ? json_pack("{s:o, s:s}", "value", value, "expect", "equal") : NULL;
    return v ? json_put(out, name, v, err) : error_set(err, ERR_NO_MEMORY, "no memory");
}

int search_invariants_index(const char *index, uint64_t documents, struct hash128 sum, json_t *out, struct error *err) {
    char name[320], hex[33];
    snprintf(name, sizeof name, "index/%.255s/documents", index);
    int r = search_invariant(out, name, json_integer((json_int_t)documents), err);
    snprintf(name, sizeof name, "index/%.255s/digest", index);
    hash128_hex(sum, hex);
    return r == 0 ? search_invariant(out, name, json_string(hex), err) : r;
}

int search_invariants_section(const char *section, const json_t *bodies, json_t *out, struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(SEARCH_ANSWER_MAX);
    char name[64], hex[2 * DIGEST_BYTES + 1];
    struct digest d;
    json_t *copy = json_copy_whole(bodies), *body;
    const char *key;
    int r = copy ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    json_object_foreach(copy, key, body) {
        json_object_del(body, "created_date"), json_object_del(body, "created_date_millis");
        json_object_del(body, "modified_date"), json_object_del(body, "modified_date_millis");
    }
    if (r == 0) r = json_write(copy, &text, err);
    json_decref(copy);
    if (r < 0) return r;
    sha256(buf_bytes(&text), &d);
    hex_encode(d.b, sizeof d.b, hex);
    snprintf(name, sizeof name, "cluster/%s", section);
    r = search_invariant(out, name, json_integer((json_int_t)json_object_size(bodies)), err);
    snprintf(name, sizeof name, "cluster/%s/digest", section);
    return r == 0 ? search_invariant(out, name, json_string(hex), err) : r;
}
