#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"
#include <fcntl.h>
#include <stdio.h>

#define PIPE_BYTES (1 << 20)
#define PAIR_TRIES 10
#define PAIR_PAUSE_MS 100

/* The dump reads through our own transaction's snapshot, so that what we say of the database is true of the dump. A
 * server that cannot lend a snapshot (a standby of an old version) dumps with one of its own. */
static int open_snapshot(PGconn *c, char *ret, size_t n, struct error *err) {
    static const char begin[] = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    int r = pg_command(c, err, begin);
    if (r < 0) return r;
    /* No savepoint, although it may fail: nothing is lent from a subtransaction. */
    CLEANUP(pg_clearp) PGresult *q = PQexec(c, "SELECT pg_catalog.pg_export_snapshot()");
    ret[0] = 0;
    if (PQresultStatus(q) == PGRES_TUPLES_OK)
        snprintf(ret, n, "--snapshot=%s", pg_value(q, 0, 0));
    else
        r = pg_command(c, err, "ROLLBACK; %s", begin);
    return r;
}

struct dumping {
    const char *database, *options;
    char snapshot[128];
    bool is_open;
    json_t *item, *facts;
};
struct held { /* a database whose snapshot was opened with that of another */
    PGconn *c;
    char snapshot[128];
};

static int dump(struct pg_capture *c, const struct pg_tools *t, const struct dumping *d, struct pg_captured *got,
                struct error *err) {
    char *conninfo = NULL;
    struct pg_child child;
    int r = pg_conninfo(c->s, d->database, &conninfo, err);
    if (r < 0) return r;
    const json_t *more = json_object_get(json_object_get(c->s->ctx->settings, PG_DUMP_MORE), d->database);
    const char **args = NULL;
    size_t n = 0;
    r = mem_alloc((json_array_size(more) + 8) * sizeof *args, (void **)&args, err);
    if (r == 0) {
        args[n++] = "--format=custom";
        args[n++] = "--compress=0";
        args[n++] = "--no-password";
        for (size_t i = 0; i < json_array_size(more); i++) args[n++] = json_string_value(json_array_get(more, i));
        args[n++] = "--dbname";
        args[n++] = conninfo;
        if (d->snapshot[0]) args[n++] = d->snapshot;
        r = pg_child_start(c->s, t, "pg_dump", args, d->options, NULL, true, &child, err);
    }
    seam_free(args);
    seam_free(conninfo);
    if (r < 0) return r;
    int fd = proc_out(child.proc);
    (void)!fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); /* a wish; the default only costs more switches */
    r = pg_capture_archive(c, d->database, fd, d->item, json_object_get(d->facts, "inherits"), got, err);
    /* A stream that ends early is mostly the shadow of a producer that failed, whose own words say more. */
    struct error why = ERROR_INIT;
    if (r == 0)
        r = proc_wait(child.proc, NULL, err);
    else if (err->code == ERR_SOURCE_TRUNCATED && proc_wait(child.proc, NULL, &why) < 0) {
        *err = why;
        r = -(int)why.code;
    }
    pg_child_free(&child);
    if (r < 0) error_state(err, "nothing was kept as a snapshot");
    return r;
}

static int put_extensions(struct pg_capture *c, const char *database, json_t *facts, struct error *err) {
    json_t *v = json_pack("{s:O, s:s}", "value", json_object_get(facts, "extensions"), "expect", "equal");
    json_t *h = json_object_get(facts, "hypertables");
    if (!v) return error_set(err, ERR_NO_MEMORY, "no memory");
    if (h) {
        json_t *both = json_pack("{s:O, s:s}", "value", h, "expect", "equal");
        int r = both ? pg_key_put(c->invariants, database, BYTES_STR("hypertables"), both, err)
                     : error_set(err, ERR_NO_MEMORY, "no memory");
        if (r < 0) {
            json_decref(v);
            return r;
        }
    }
    return pg_key_put(c->invariants, database, BYTES_STR("extensions"), v, err);
}

/* What pg_dump does not set itself, although it changes how values read. Only where it has to be, because a pooler in
 * between may refuse options. */
static int dump_options(PGconn *c, const char **ret, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err, "SELECT reset_val = 'hex' FROM pg_catalog.pg_settings WHERE name = 'bytea_output'", 0,
                      NULL);
    if (rc == 0) *ret = pg_true(r, 0, 0) ? NULL : "-c bytea_output=hex";
    return rc;
}

static int describe_database(PGconn *c, const struct pg_tools *t, struct dumping *d, struct error *err) {
    int r = d->is_open ? 0 : open_snapshot(c, d->snapshot, sizeof d->snapshot, err);
    if (r == 0) r = pg_preflight(c, d->database, err);
    if (r == 0) r = pg_database_facts(c, &d->facts, err);
    if (r == 0) r = dump_options(c, &d->options, err);
    if (r < 0) return r;
    d->item = json_pack("{s:O, s:O, s:O, s:s, s:s}", "database", json_object_get(d->facts, "name"), "encoding",
                        json_object_get(d->facts, "encoding"), "owner", json_object_get(d->facts, "owner"),
                        "server_version", PQparameterStatus(c, "server_version"), "client_version", t->version);
    return d->item ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
}

/* Asked before the dump begins, in the transaction whose snapshot it borrows. */
static int declared(struct pg_capture *c, PGconn *conn, const char *database, bool only_one, json_t *facts,
                    struct error *err) {
    json_t *list = NULL;
    int r = pg_declared_choose(c->s, database, only_one, &list, err);
    if (r == 0) r = pg_declared_measure(conn, database, list, c->invariants, err);
    if (r == 0) return json_put(facts, "declared", list, err);
    json_decref(list);
    return r;
}

static int capture_one(struct pg_capture *c, const struct pg_tools *t, const char *database, bool only_one,
                       struct held *held, json_t **ret_facts, struct error *err) {
    CLEANUP(pg_finishp) PGconn *conn = held->c;
    struct dumping d = {.database = database, .is_open = conn != NULL};
    struct pg_captured got = {.columns = json_object()};
    memcpy(d.snapshot, held->snapshot, sizeof d.snapshot);
    held->c = NULL;
    int r = conn ? 0 : pg_connect(c->s, database, &conn, err);
    if (r == 0) r = describe_database(conn, t, &d, err);
    if (r == 0) r = declared(c, conn, database, only_one, d.facts, err);
    if (r == 0) r = dump(c, t, &d, &got, err);
    if (r == 0) r = json_put(d.facts, "archive_version", json_incref(json_object_get(d.item, "archive_version")), err);
    if (r == 0) r = json_put(d.facts, "exported_snapshot", json_boolean(d.snapshot[0] != 0), err);
    if (r == 0) r = json_put(d.facts, "opaque", json_boolean(got.opaque), err);
    if (r == 0) r = json_put_int(d.facts, "entries", (int64_t)got.entries, err);
    if (r == 0) r = json_put_int(d.facts, "dump_bytes", (int64_t)got.bytes, err);
    if (r == 0) r = json_put(d.facts, "columns", json_incref(got.columns), err);
    if (r == 0) r = json_object_del(d.facts, "inherits") ? error_set(err, ERR_INTERNAL, "a fact is missing") : 0;
    if (r == 0) r = put_extensions(c, database, d.facts, err);
    if (r == 0 && got.opaque)
        pg_note(c->s, NOTE_WARNING, BYTES_STR(database),
                "this archive version is unknown here: it is kept whole, without row counts and digests");
    if (r == 0)
        *ret_facts = d.facts;
    else
        json_decref(d.facts);
    json_decref(d.item);
    json_decref(got.columns);
    return r < 0 ? error_wrap(err, "database %s", database) : 0;
}

static int put_text(struct pg_capture *c, const char *name, const struct buf *text, struct error *err) {
    struct sink_item *it;
    char attr[64];
    int r = c->sink->ops->open(c->sink, c->seq, BYTES_STR(name), ITEM_RECORDS, &it, err);
    if (r < 0) return r;
    c->seq++;
    struct item_out o = {.sink = c->sink, .item = it};
    r = item_out_put(&o, BYTES_OF(text->ptr, text->len), err);
    if (r == 0) r = item_out_flush(&o, err);
    if (r < 0) {
        c->sink->ops->drop(it);
        return r;
    }
    snprintf(attr, sizeof attr, "{\"type\":\"sql\"}");
    r = c->sink->ops->close(it, BYTES_STR(attr), NULL, err);
    if (r == 0) c->items++, c->bytes += text->len;
    return r;
}

struct globals {
    struct buf roles, passwords;
    bool have_passwords;
};

static int put_globals(struct pg_capture *c, const struct globals *g, struct error *err) {
    if (!g->have_passwords)
        pg_note(c->s, NOTE_SKIPPED, BYTES_STR("globals/passwords.sql"),
                "the role may not read pg_authid: password hashes are not part of this snapshot");
    int r = g->have_passwords ? put_text(c, "globals/passwords.sql", &g->passwords, err) : 0;
    return r == 0 ? put_text(c, "globals/roles.sql", &g->roles, err) : r;
}

/* ---- the databases, several at once ---- */
struct part {
    struct pg_capture c;
    struct held held;
    json_t *facts;
};
struct dumps {
    const struct pg_settings *s;
    struct pg_tools tools;
    struct pg_fleet fleet;
    json_t *names;
    struct part *parts; /* one a name */
};

static int dump_one(void *ctx, size_t i, struct error *err) {
    struct dumps *d = ctx;
    struct part *p = &d->parts[i];
    if (!(p->c.invariants = json_object())) return error_set(err, ERR_NO_MEMORY, "no memory");
    return capture_one(&p->c, &d->tools, json_string_value(json_array_get(d->names, i)), d->fleet.n == 1, &p->held,
                       &p->facts, err);
}

/* ---- databases that belong together ---- */

static struct part *part_of(struct dumps *d, const char *database) {
    const json_t *v;
    size_t i;
    json_array_foreach(d->names, i, v) {
        if (!strcmp(json_string_value(v), database)) return &d->parts[i];
    }
    return NULL;
}

static int server_time(PGconn *c, json_t *facts, const char *key, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(c, &r, err,
                      "SELECT pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', "
                      "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
                      0, NULL);
    return rc == 0 ? json_put_str(facts, key, pg_value(r, 0, 0), err) : rc;
}

static int hold(struct dumps *d, const struct pg_pair *p, json_t *facts, bool first, struct error *err) {
    int rc = 0;
    for (int k = 0; k < 2 && rc == 0; k++) {
        struct part *part = part_of(d, p->database[k]);
        if (!part)
            return error_set(err, ERR_CONFIG_VALUE,
                             "the pair '%s' names the database %s, which this surface does not have", p->name,
                             p->database[k]);
        if (part->held.c) continue;
        rc = pg_connect(d->s, p->database[k], &part->held.c, err);
        if (rc == 0 && first && k == 0) rc = server_time(part->held.c, facts, "from", err);
        if (rc == 0) rc = open_snapshot(part->held.c, part->held.snapshot, sizeof part->held.snapshot, err);
        if (rc == 0) rc = server_time(part->held.c, facts, "to", err);
    }
    return rc;
}

static void let_go(struct dumps *d) {
    for (size_t i = 0; i < json_array_size(d->names); i++) pg_finishp(&d->parts[i].held.c);
}

/* Asked of the very snapshots that are dumped. */
static int agree(struct dumps *d, const json_t *checks, json_t *invariants, unsigned *ret_differ, struct error *err) {
    const json_t *v;
    size_t i;
    int rc = 0;
    json_array_foreach(checks, i, v) {
        struct pg_pair p;
        json_t *value[2] = {NULL, NULL};
        if (rc == 0) rc = pg_pair_read(v, &p, err);
        if (rc < 0) return rc;
        PGconn *const c[2] = {part_of(d, p.database[0])->held.c, part_of(d, p.database[1])->held.c};
        rc = pg_pair_ask(&p, c, value, err);
        if (rc == 0) rc = pg_pair_put(p.name, value, invariants, err);
        json_decref(value[0]);
        json_decref(value[1]);
    }
    *ret_differ = pg_pairs_differ(invariants);
    return rc;
}

/* While one is written to after the other, two snapshots can fall in between. */
static int hold_pairs(struct dumps *d, struct capture_result *ret, struct error *err) {
    json_t *checks = json_object_get(d->s->ctx->settings, "consistent"), *facts;
    unsigned differ = 1;
    int rc = 0;
    if (json_array_size(checks) == 0) return 0;
    for (int tries = 1; rc == 0 && differ && tries <= PAIR_TRIES; tries++) {
        if (tries > 1) (void)!seam_poll(NULL, 0, PAIR_PAUSE_MS);
        let_go(d);
        facts = json_pack("{s:O, s:i}", "checks", checks, "tries", tries);
        rc = facts ? json_put(ret->facts, "consistent", facts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
        for (size_t i = 0; rc == 0 && i < json_array_size(checks); i++) {
            struct pg_pair p;
            rc = pg_pair_read(json_array_get(checks, i), &p, err);
            if (rc == 0) rc = hold(d, &p, facts, i == 0, err);
        }
        if (rc == 0) rc = agree(d, checks, ret->invariants, &differ, err);
        if (rc == 0) rc = stop_check(err);
    }
    if (rc == 0 && differ) {
        char text[160];
        snprintf(text, sizeof text, "%u of %zu declared pairs do not agree, in %d tries: see the invariants", differ,
                 json_array_size(checks), PAIR_TRIES);
        pg_note(d->s, NOTE_CHANGED, BYTES_STR("consistent"), text);
        ret->changed += differ;
    }
    return rc;
}

static int collect(struct part *p, struct capture_result *ret, json_t *list, struct error *err) {
    ret->items += p->c.items;
    ret->bytes += p->c.bytes;
    if (json_object_update(ret->invariants, p->c.invariants) < 0) return error_set(err, ERR_NO_MEMORY, "no memory");
    return json_push(list, json_incref(p->facts), err);
}

static int dump_all(struct dumps *d, struct sink *sink, struct capture_result *ret, json_t *list, struct error *err) {
    size_t n = json_array_size(d->names);
    int r = mem_alloc((n + 1) * sizeof *d->parts, (void **)&d->parts, err);
    if (r < 0) return r;
    for (size_t i = 0; i < n; i++)
        d->parts[i].c = (struct pg_capture){.s = d->s, .sink = sink, .fleet = &d->fleet, .place = i};
    r = hold_pairs(d, ret, err);
    if (r == 0) r = pg_fleet_run(&d->fleet, d->s->ctx->jobs, n, dump_one, d, err);
    for (size_t i = 0; i < n; i++) {
        if (r == 0) r = collect(&d->parts[i], ret, list, err);
        json_decref(d->parts[i].facts);
        json_decref(d->parts[i].c.invariants);
        pg_finishp(&d->parts[i].held.c);
    }
    seam_free(d->parts);
    return r;
}

static int capture_all(const struct pg_settings *s, struct sink *sink, struct capture_result *ret, struct globals *g,
                       struct error *err) {
    CLEANUP(pg_finishp) PGconn *conn = NULL;
    struct dumps d = {.s = s};
    json_t *facts = ret->facts, *list = json_array();
    int r = list ? json_put(facts, "databases", list, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = pg_connect(s, NULL, &conn, err);
    if (r == 0) r = pg_server_facts(conn, facts, err);
    if (r == 0) r = pg_tools_find(s, PQserverVersion(conn) / 10000, false, &d.tools, err);
    if (r == 0) r = json_put_str(facts, "client_version", d.tools.version, err);
    if (r == 0) r = pg_database_list(s, conn, &d.names, err);
    if (r == 0) r = pg_globals_dump(s, &d.tools, conn, &g->roles, &g->passwords, &g->have_passwords, err);
    if (r == 0) r = dump_all(&d, sink, ret, list, err);
    json_decref(d.names);
    struct pg_capture rest = {.s = s, .sink = sink, .seq = d.fleet.next_seq};
    if (r == 0) r = put_globals(&rest, g, err);
    if (r == 0) r = pg_bulk_put(&rest, ret->invariants, facts, err);
    if (r == 0) r = json_put(facts, "password_hashes", json_boolean(g->have_passwords), err);
    ret->items += rest.items;
    ret->bytes += rest.bytes;
    return r;
}

int pg_capture(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    struct capture_result result = {.method = "logical_dump", .consistency = "exact"};
    struct globals g = {.roles = BUF_INIT(PG_GLOBALS_BYTES_MAX), .passwords = BUF_INIT(PG_GLOBALS_BYTES_MAX)};
    int r = pg_settings_load(ctx, NULL, &s, err);
    if (r < 0) return r;
    result.facts = json_object();
    result.invariants = json_object();
    r = result.facts && result.invariants ? capture_all(s, sink, &result, &g, err)
                                          : error_set(err, ERR_NO_MEMORY, "no memory");
    if (g.passwords.ptr) wipe(g.passwords.ptr, g.passwords.cap);
    buf_free(&g.roles);
    buf_free(&g.passwords);
    if (r < 0) {
        json_decref(result.facts);
        json_decref(result.invariants);
        return error_wrap(err, "postgres %s", ctx->name ? ctx->name : "");
    }
    *ret = result;
    return 0;
}
