#include "surface/neo4j/neo4j_offline.h"

#include "base/time.h"

struct job {
    struct neo4j_offline o;
    json_t *names, *databases; /* which, and what became of each */
    json_t *info;
    char version[64];
};

static int in_use(const char *name, struct error *err) {
    return error_set(err, ERR_NEO4J_IN_USE, "the database %s is in use: a server is running", name);
}

/* Those to dump, in the order that neo4j-admin lists them. */
static int choose(struct job *j, struct error *err) {
    const json_t *row, *want;
    size_t i;
    json_array_foreach(j->info, i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (!neo4j_offline_has(&j->o, name)) continue;
        if (json_is_true(json_object_get(row, "in_use"))) return in_use(name, err);
        int r = json_push(j->names, json_string(name), err);
        if (r < 0) return r;
    }
    json_array_foreach(j->o.databases, i, want) {
        const char *name = json_string_value(want);
        if (name && !neo4j_info_of(j->info, name))
            return error_set(err, ERR_NEO4J_ABSENT, "there is no database %s in %s", name, j->o.home);
    }
    if (json_array_size(j->names)) return 0;
    return error_set(err, ERR_NEO4J_ABSENT, "there is no database in %s, by the configuration in %s", j->o.home,
                     j->o.conf);
}

static int dump_all(struct job *j, struct sink *sink, struct capture_result *ret, struct error *err) {
    const json_t *n;
    size_t i;
    json_array_foreach(j->names, i, n) {
        const char *name = json_string_value(n);
        const json_t *row = neo4j_info_of(j->info, name);
        struct neo4j_dumped d;
        int r = neo4j_dump_items(&j->o, name, sink, &d, err);
        if (r < 0) return r;
        ret->items += d.items;
        ret->bytes += d.bytes;
        if (!d.apart && j->o.ctx->events.note)
            j->o.ctx->events.note(
                j->o.ctx->events.ctx, NOTE_WARNING, BYTES_STR(name),
                "its dump is not of the form that is known here: it was kept as it came, and deduplicates little");
        r = json_push(j->databases,
                      json_pack("{s:s, s:O?, s:O?, s:I, s:I, s:I, s:b}", "name", name, "store_format",
                                json_object_get(row, "store_format"), "last_committed_transaction",
                                json_object_get(row, "last_committed"), "files", (json_int_t)d.files, "bytes",
                                (json_int_t)d.bytes, "dump_bytes", (json_int_t)d.dump_bytes, "taken_apart",
                                (int)d.apart),
                      err);
        if (r < 0) return r;
    }
    return 0;
}

static int capture(struct job *j, struct sink *sink, struct capture_result *ret, bool *ret_stopped, struct error *err) {
    int r = neo4j_admin_version(&j->o, j->version, err);
    if (r == 0) r = neo4j_service_stop(&j->o, "backup", ret_stopped, err);
    if (r < 0) return r;
    r = neo4j_admin_info(&j->o, NULL, &j->info, err);
    if (r == 0) r = choose(j, err);
    if (r == 0) r = dump_all(j, sink, ret, err);
    return neo4j_service_start(&j->o, "backup", *ret_stopped, r, err);
}

int neo4j_offline_capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                          struct error *err) {
    struct job j = {.names = json_array(), .databases = json_array()};
    bool stopped = false;
    int64_t began = time_monotonic_ns();
    ret->facts = json_object();
    ret->invariants = json_object();
    ret->method = "snapshot";
    ret->consistency = "exact";
    int r = j.names && j.databases && ret->facts && ret->invariants ? neo4j_offline_load(ctx, &j.o, err)
                                                                    : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = capture(&j, sink, ret, &stopped, err);
    if (r == 0) r = neo4j_home_invariants(j.names, j.info, ret->invariants, err);
    if (r == 0) r = json_put_str(ret->facts, "method", "offline", err);
    if (r == 0) r = json_put_str(ret->facts, "neo4j_version", j.version, err);
    if (r == 0) r = json_put(ret->facts, "stopped", json_boolean(stopped), err);
    if (r == 0) r = json_put_int(ret->facts, "milliseconds", (time_monotonic_ns() - began) / 1000000, err);
    if (r == 0) r = json_put(ret->facts, "databases", json_incref(j.databases), err);
    json_decref(j.names);
    json_decref(j.databases);
    json_decref(j.info);
    if (r == 0) return 0;
    json_decref(ret->facts);
    json_decref(ret->invariants);
    ret->facts = ret->invariants = NULL;
    return error_wrap(err, "neo4j %s", ctx->name ? ctx->name : "");
}
