/* A base backup over the replication protocol: BASE_BACKUP as PostgreSQL 15 and later have it ("Streaming Replication
 * Protocol" of the manual).
 *
 * The server goes on checking pages (VERIFY_CHECKSUMS stays true), though we check them too: it reads a page again that
 * a writer tore while it was read, which only it can do. That it found bad pages it says by an error behind the good
 * end. */
#include "surface/pgphys/pgphys_internal.h"
#include "surface/pgphys/stream_incremental.h"

#include <stdio.h>
#include <stdlib.h>

#define SQLSTATE_DATA_CORRUPTED "XX001"

struct stream {
    const struct pg_settings *s;
    struct stream_base base;
    struct stream_incremental incremental;
    PGconn *ask, *copy, *keep; /* for questions, for the backup, and the one whose slot keeps WAL */
    char label[128], start_time[32], stop_time[32];
    int64_t start_ns, begun_ns; /* the same instant by the server's clock, and by ours that only runs on */
    bool map, standby, server_saw_bad;
    enum { NOTHING, ARCHIVE, MANIFEST } within; /* what the messages are of */
    struct tar tar;
    json_t *facts;
    struct pgphys_position position;
};

static int row_of(PGconn *c, const char *command, int columns, PGresult **ret, struct error *err) {
    PGresult *r = PQexec(c, command);
    int rc = 0;
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        rc = stream_server_error(c, r, err);
    else if (PQntuples(r) != 1 || PQnfields(r) < columns)
        rc = error_set(err, ERR_PG_BASE, "the server answered %s otherwise than PostgreSQL does", command);
    if (rc < 0)
        PQclear(r);
    else
        *ret = r;
    return rc;
}

/* Both connections reach one cluster, though a list of hosts may have led them apart. */
static int identify(struct stream *k, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    const char *known = json_string_value(json_object_get(k->facts, "system_identifier"));
    int rc = row_of(k->copy, "IDENTIFY_SYSTEM", 3, &r, err);
    if (rc < 0) return rc;
    k->base.system = strtoull(pg_value(r, 0, 0), NULL, 10);
    if (known && strcmp(known, pg_value(r, 0, 0)) != 0)
        return error_set(err, ERR_PG_BASE, "one connection reaches the cluster %s, another the cluster %s", known,
                         pg_value(r, 0, 0));
    return json_put_str(k->facts, "system_identifier", pg_value(r, 0, 0), err);
}

static int size_fact(struct stream *k, const char *key, uint32_t min, uint32_t *ret, struct error *err) {
    int64_t v = 0;
    int rc = json_need_int(k->facts, key, "the server's facts", &v, err);
    if (rc == 0 && (v < min || v > INT32_MAX))
        rc = error_set(err, ERR_PG_BASE, "the server says that its %s is %lld", key, (long long)v);
    if (rc == 0) *ret = (uint32_t)v;
    return rc;
}

/* A server of 15 sends tablespaces that lie in the data folder as a part of it, and leaves them out when it sends the
 * map. */
static int choose_map(struct stream *k, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = pg_query(k->ask, &r, err,
                      "SELECT current_setting('data_checksums'), pg_is_in_recovery(), EXISTS (SELECT FROM"
                      " pg_catalog.pg_tablespace WHERE pg_catalog.pg_tablespace_location(oid) LIKE 'pg_tblspc/%')",
                      0, NULL);
    if (rc < 0) return rc;
    k->base.checksums = !strcmp(pg_value(r, 0, 0), "on");
    k->standby = pg_true(r, 0, 1);
    k->map = PQserverVersion(k->ask) >= 160000 || !pg_true(r, 0, 2);
    return 0;
}

static int prepare(struct stream *k, struct error *err) {
    int rc = pg_connect(k->s, NULL, &k->ask, err);
    const int major = rc == 0 ? PQserverVersion(k->ask) / 10000 : 0;
    if (rc == 0 && (major < PGPHYS_MAJOR_MIN || major > PGPHYS_MAJOR_MAX))
        rc = error_set(err, ERR_PG_VERSION, "the server is PostgreSQL %d; physical backup knows %d to %d", major,
                       PGPHYS_MAJOR_MIN, PGPHYS_MAJOR_MAX);
    if (rc == 0) rc = pgphys_server_facts(k->ask, k->facts, err);
    if (rc == 0) rc = size_fact(k, "block_bytes", 1u << 10, &k->base.block_bytes, err);
    if (rc == 0) rc = size_fact(k, "segment_blocks", 1, &k->base.segment_blocks, err);
    if (rc == 0) rc = size_fact(k, "wal_segment_bytes", WAL_SEGMENT_MIN, &k->base.wal_segment_bytes, err);
    if (rc == 0) rc = choose_map(k, err);
    if (rc == 0) rc = pg_connect_replication(k->s, "proofkeep", &k->copy, err);
    if (rc == 0) rc = identify(k, err);
    return rc;
}

/* A slot that ends with its connection, so that the server has the WAL still when it comes to send it. Without one the
 * backup may fail at its end, and says so then. */
static void keep_wal(struct stream *k) {
    struct error e = ERROR_INIT;
    char command[128], text[640];
    if (pg_connect_replication(k->s, "proofkeep", &k->keep, &e) == 0) {
        snprintf(command, sizeof command,
                 "CREATE_REPLICATION_SLOT \"proofkeep_base_%d\" TEMPORARY PHYSICAL RESERVE_WAL", PQbackendPID(k->keep));
        PGresult *r = PQexec(k->keep, command);
        if (PQresultStatus(r) != PGRES_TUPLES_OK) (void)!stream_server_error(k->keep, r, &e);
        PQclear(r);
    }
    if (!e.code) return;
    snprintf(text, sizeof text, "no slot keeps WAL for the time of the backup: %.500s", e.text);
    pg_note(k->s, NOTE_WARNING, BYTES_STR("pg_wal"), text);
}

static int begin(struct stream *k, struct error *err) {
    char command[512];
    int rc = pgphys_clock(k->ask, &k->start_ns, err);
    if (rc < 0) return rc;
    k->begun_ns = time_monotonic_ns();
    time_format(k->start_ns, k->start_time);
    snprintf(k->label, sizeof k->label, "proofkeep %s", k->start_time);
    snprintf(command, sizeof command,
             "BASE_BACKUP (LABEL '%s', PROGRESS, CHECKPOINT 'fast', WAIT false, WAL%s, MANIFEST 'yes',"
             " MANIFEST_CHECKSUMS 'SHA256'%s)",
             k->label, k->map ? ", TABLESPACE_MAP" : "", k->incremental.mode == STREAM_CHANGES ? ", INCREMENTAL" : "");
    if (!PQsendQuery(k->copy, command)) return stream_server_error(k->copy, NULL, err);
    return 0;
}

/* The next result, which has to be of that kind. While the server makes its checkpoint, this waits. */
static int expect(struct stream *k, ExecStatusType status, PGresult **ret, struct error *err) {
    while (PQisBusy(k->copy)) {
        int rc = stream_wait(k->copy, NULL, err);
        if (rc < 0) return rc;
    }
    PGresult *r = PQgetResult(k->copy);
    if (r && PQresultStatus(r) == status) {
        *ret = r;
        return 0;
    }
    int rc = stream_server_error(k->copy, r, err);
    PQclear(r);
    return rc;
}

static int position(struct stream *k, uint64_t *ret_lsn, uint32_t *ret_timeline, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    int rc = expect(k, PGRES_TUPLES_OK, &r, err);
    if (rc < 0) return rc;
    if (PQntuples(r) != 1 || PQnfields(r) < 2 || !wal_lsn_parse(pg_value(r, 0, 0), ret_lsn))
        return error_set(err, ERR_PG_BASE, "the server did not say where the base backup begins or ends");
    *ret_timeline = (uint32_t)strtoul(pg_value(r, 0, 1), NULL, 10);
    return 0;
}

static int spaces(struct stream *k, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct stream_base *b = &k->base;
    json_t *list = json_array();
    int rc = list ? expect(k, PGRES_TUPLES_OK, &r, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = mem_alloc(((size_t)PQntuples(r) + 1) * sizeof *b->spaces, (void **)&b->spaces, err);
    for (int i = 0; rc == 0 && i < PQntuples(r); i++) {
        b->total += strtoull(pg_value(r, i, 2), NULL, 10) * 1024;
        if (PQgetisnull(r, i, 0)) continue;
        struct stream_space *t = &b->spaces[b->space_count];
        t->oid = (uint32_t)strtoul(pg_value(r, i, 0), NULL, 10);
        if ((rc = mem_strdup(pg_value(r, i, 1), &t->location, err)) < 0) break;
        b->space_count++;
        json_t *o = json_object();
        rc = o ? json_put_int(o, "oid", t->oid, err) : error_set(err, ERR_NO_MEMORY, "no memory");
        if (rc == 0) rc = pg_json_put(o, BYTES_STR("location"), json_name(BYTES_STR(t->location)), err);
        if (rc == 0)
            rc = json_push(list, o, err);
        else
            json_decref(o);
    }
    if (rc < 0) {
        json_decref(list);
        return rc;
    }
    return json_put(k->facts, "tablespaces_captured", list, err);
}

/* "base.tar" or "<oid>.tar", and behind its NUL the tablespace's folder. */
static int archive_begin(struct stream_base *b, struct bytes name, struct error *err) {
    char *end = NULL;
    buf_clear(&b->prefix);
    if (!memchr(name.ptr, 0, name.len))
        return error_set(err, ERR_PG_BASE, "the server began an archive without a name");
    const char *text = (const char *)name.ptr;
    if (!strcmp(text, "base.tar")) return 0;
    const unsigned long oid = strtoul(text, &end, 10);
    for (size_t i = 0; !strcmp(end, ".tar") && i < b->space_count; i++)
        if (b->spaces[i].oid == oid) return buf_printf(&b->prefix, err, "pg_tblspc/%lu/", oid);
    return error_set(err, ERR_PG_BASE, "the server began the archive %.64s, of which it said nothing", text);
}

static int manifest_begin(struct stream_base *b, struct error *err) {
    const struct tar_member m = {
        .name = BYTES_STR("backup_manifest"), .type = TAR_FILE, .mode = 0600, .mtime_s = time_now_ns() / NS_PER_S};
    buf_clear(&b->prefix);
    return stream_item_begin(b, &m, err);
}

/* Messages: 'n' an archive begins, 'm' the manifest does, 'd' data of either, 'p' how far the server is. They end as
 * well when the server gives up, and what it says of that is the next result. */
static int receive(struct stream *k, struct stream_pump *p, struct error *err) {
    struct stream_base *b = &k->base;
    const bool changes =
        k->incremental.mode == STREAM_CHANGES; /* then its manifest is of what it sent, and not stored */
    struct bytes m;
    struct meter meter;
    int rc;
    meter_init(&meter, b->ctx->bandwidth);
    while ((rc = stream_pump_next(p, &m, err)) == 0 && m.len) {
        meter_wait(&meter, m.len);
        const char kind = (char)m.ptr[0];
        m = BYTES_OF(m.ptr + 1, m.len - 1);
        if (kind == 'd' && k->within == ARCHIVE) {
            rc = tar_feed(&k->tar, m, err);
        } else if (kind == 'd' && k->within == MANIFEST) {
            rc = m.len && !changes ? stream_item_content(b, m, err) : 0;
            if (rc == 0) rc = stream_tally_manifest(b->tally, m, err);
        } else if (kind == 'n' && k->within != MANIFEST) {
            rc = tar_finish(&k->tar, err);
            if (rc == 0) rc = archive_begin(b, m, err);
            tar_init(&k->tar, &stream_item_ops, b);
            k->within = ARCHIVE;
        } else if (kind == 'm' && k->within == ARCHIVE) {
            rc = tar_finish(&k->tar, err);
            if (rc == 0 && !changes) rc = manifest_begin(b, err);
            k->within = MANIFEST;
        } else if (kind != 'p') {
            rc = error_set(err, ERR_PG_BASE, "the server sent a message that base backups do not have");
        }
        if (rc == 0) rc = stop_check(err);
        if (rc < 0) break;
    }
    meter_free(&meter);
    return rc;
}

/* Behind the files: where it ended, and whether the server has anything to say against it. */
static int end(struct stream *k, struct error *err) {
    int rc = position(k, &k->base.stop_lsn, &k->base.stop_timeline, err);
    if (rc == 0 && k->within != MANIFEST) rc = error_set(err, ERR_PG_BASE, "the server sent no backup manifest");
    if (rc == 0 && k->incremental.mode != STREAM_CHANGES) rc = stream_item_end(&k->base, err);
    if (rc == 0) rc = stream_tally_finish(k->base.tally, err);
    if (rc == 0 && k->incremental.mode == STREAM_CHANGES) rc = stream_changes_manifest(&k->base, err);
    if (rc < 0) return rc;
    PGresult *r = PQgetResult(k->copy);
    if (PQresultStatus(r) == PGRES_COMMAND_OK) {
        PQclear(r);
        r = PQgetResult(k->copy);
    }
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    if (r && state && !strcmp(state, SQLSTATE_DATA_CORRUPTED))
        k->server_saw_bad = true;
    else if (r || PQstatus(k->copy) != CONNECTION_OK)
        rc = stream_server_error(k->copy, r, err);
    PQclear(r);
    /* recovery to any instant from here on is possible */
    time_format(k->start_ns + (time_monotonic_ns() - k->begun_ns) + NS_PER_S - 1, k->stop_time);
    return rc;
}

static int put_bad_pages(struct stream *k, struct error *err) {
    struct stream_base *b = &k->base;
    if (!b->bad_pages && !k->server_saw_bad) return 0;
    json_t *o = json_pack("{s:I, s:O}", "count", (json_int_t)b->bad_pages, "files", b->bad_files);
    if (!o) return error_set(err, ERR_NO_MEMORY, "no memory");
    if (!b->bad_pages) /* the two disagree, and neither is taken to be right */
        pg_note(k->s, NOTE_WARNING, BYTES_STR("base"),
                "the server found pages with a wrong checksum and does not say where");
    return json_put(k->facts, "bad_pages", o, err);
}

static int put_facts(struct stream *k, struct error *err) {
    const struct stream_base *b = &k->base;
    char start[24], stop[24];
    json_t *f = k->facts;
    wal_lsn_format(b->start_lsn, start);
    wal_lsn_format(b->stop_lsn, stop);
    int rc = json_put_str(f, "way", "stream", err);
    if (rc == 0) rc = json_put_int(f, "timeline", b->timeline, err);
    if (rc == 0) rc = json_put_str(f, "start_lsn", start, err);
    if (rc == 0) rc = json_put_str(f, "stop_lsn", stop, err);
    if (rc == 0) rc = json_put_str(f, "start_time", k->start_time, err);
    if (rc == 0) rc = json_put_str(f, "stop_time", k->stop_time, err);
    if (rc == 0) rc = json_put_str(f, "label", k->label, err);
    if (rc == 0) rc = json_put(f, "from_standby", json_boolean(k->standby), err);
    if (rc == 0) rc = json_put(f, "checksums", json_boolean(b->checksums), err);
    if (rc == 0) rc = json_put_int(f, "bytes", (int64_t)b->bytes, err);
    if (rc == 0) rc = json_put_int(f, "pages_checked", (int64_t)b->pages_checked, err);
    if (rc == 0) rc = json_put_int(f, "pages_unchecked", (int64_t)b->pages_unchecked, err);
    if (rc == 0) rc = stream_incremental_facts(b, k->start_time, f, err);
    return rc == 0 ? put_bad_pages(k, err) : rc;
}

static int begun(struct stream *k, struct error *err) {
    struct stream_base *b = &k->base;
    struct error why = ERROR_INIT;
    int rc = stream_incremental_choose(b, k->ask, k->copy, time_now_ns(), err);
    if (rc == 0) rc = begin(k, err);
    if (rc == 0) rc = position(k, &b->start_lsn, &b->timeline, &why);
    if (rc == -ERR_PG_BASE && k->incremental.mode == STREAM_CHANGES && PQstatus(k->copy) == CONNECTION_OK) {
        rc = stream_incremental_give_up(b, k->copy, &why, err);
        if (rc == 0) rc = begin(k, err);
        return rc == 0 ? position(k, &b->start_lsn, &b->timeline, err) : rc;
    }
    if (why.code) *err = why;
    return rc;
}

static int run(struct stream *k, struct error *err) {
    CLEANUP(stream_pump_freep) struct stream_pump *p = NULL;
    PGresult *r = NULL;
    struct stream_base *b = &k->base;
    int rc = prepare(k, err);
    if (rc < 0) return rc;
    pgphys_position_init(&k->position, k->ask);
    b->position = &k->position;
    keep_wal(k);
    rc = stream_tally_new(k->s->ctx->scratch_dir, &b->tally, err);
    if (rc == 0) rc = begun(k, err);
    if (rc == 0) rc = spaces(k, err);
    if (rc == 0) rc = expect(k, PGRES_COPY_OUT, &r, err);
    PQclear(r);
    if (rc == 0 && k->map) rc = stream_spaces_put(b, err);
    if (rc == 0) rc = stream_pump_start(k->copy, &p, err);
    if (rc == 0) rc = receive(k, p, err);
    stream_pump_freep(&p);
    if (rc == 0) rc = end(k, err);
    if (rc == 0) rc = stream_base_check(b, err);
    if (rc == 0) rc = stream_summaries_ask(b, k->ask, err);
    return rc == 0 ? put_facts(k, err) : rc;
}

/* Measured before and after: the backup's instant lies between. */
static int measured(struct stream *k, json_t *invariants, struct error *err) {
    json_auto_t *before = json_object();
    int rc = before ? pgphys_declared_facts(k->s, k->facts, err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = pgphys_invariants(k->s, NULL, NULL, before, err);
    if (rc == 0) rc = run(k, err);
    if (rc == 0) rc = pgphys_invariants(k->s, NULL, NULL, invariants, err);
    return rc == 0 ? pgphys_invariants_steady(before, invariants, err) : rc;
}

int pgphys_capture_stream(const struct surface_context *ctx, struct sink *sink, struct capture_result *ret,
                          struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    struct stream k = {.base = {.ctx = ctx,
                                .sink = sink,
                                .prefix = BUF_INIT(64),
                                .name = BUF_INIT(4096),
                                .head = BUF_INIT(128u << 10)},
                       .incremental = {.raw_name = BUF_INIT(4096)}};
    struct capture_result result = {.method = "physical_basebackup", .consistency = "exact"};
    int rc = pg_settings_load(ctx, NULL, &s, err);
    if (rc < 0) return rc;
    k.s = s;
    k.base.incremental = &k.incremental;
    result.facts = k.facts = json_object();
    result.invariants = json_object();
    k.base.bad_files = json_array();
    rc = k.facts && result.invariants && k.base.bad_files ? measured(&k, result.invariants, err)
                                                          : error_set(err, ERR_NO_MEMORY, "no memory");
    result.items = k.base.items;
    result.bytes = k.base.bytes;
    /* whole as it lies there, yet not good: the snapshot is marked as not complete */
    if (rc == 0) result.changed = pgphys_pairs_differ(s, result.invariants);
    result.unreadable = k.base.bad_file_count ? k.base.bad_file_count : k.server_saw_bad;
    pgphys_position_free(&k.position);
    pg_finishp(&k.copy);
    pg_finishp(&k.keep);
    pg_finishp(&k.ask);
    stream_base_clear(&k.base);
    stream_incremental_clear(&k.incremental);
    if (rc < 0) {
        json_decref(result.facts);
        json_decref(result.invariants);
        return error_wrap(err, "postgres %s", ctx->name ? ctx->name : "");
    }
    *ret = result;
    return 0;
}
