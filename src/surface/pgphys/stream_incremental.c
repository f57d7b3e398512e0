/* Which way a base backup goes: PostgreSQL's manual, "Incremental Backup", and of the streaming replication protocol
 * UPLOAD_MANIFEST and the option INCREMENTAL of BASE_BACKUP. */
#include "surface/pgphys/stream_incremental.h"

#include "base/seam.h"
#include "base/time.h"
#include "surface/pgphys/pgphys_internal.h"
#include <stdio.h>
#include <stdlib.h>

#define FIRST_VERSION 170000
#define FULL_EVERY_NS (7 * 24 * 3600 * NS_PER_S)
#define PIECE (64u << 10)

static void because(struct stream_incremental *k, const char *fmt, ...) PK_PRINTF(2, 3);
static void because(struct stream_incremental *k, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(k->why, sizeof k->why, fmt, ap);
    va_end(ap);
}

/* Drains what the server still has to say of a command, so that another can follow. */
static void settle(PGconn *c) {
    PGresult *r;
    while ((r = PQgetResult(c))) {
        bool copying = PQresultStatus(r) == PGRES_COPY_IN || PQresultStatus(r) == PGRES_COPY_OUT;
        PQclear(r);
        if (copying) return;
    }
}

static int send_manifest(struct stream_base *b, PGconn *c, struct sink_item *item, uint64_t bytes, struct error *err) {
    uint8_t piece[PIECE];
    PGresult *r = PQexec(c, "UPLOAD_MANIFEST");
    int rc = PQresultStatus(r) == PGRES_COPY_IN ? 0 : stream_server_error(c, r, err);
    PQclear(r);
    if (rc < 0) return rc;
    for (uint64_t at = 0; rc == 0 && at < bytes;) {
        const size_t n = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
        rc = b->sink->ops->was(item, at, piece, n, err);
        if (rc == 0 && PQputCopyData(c, (const char *)piece, (int)n) != 1) rc = stream_server_error(c, NULL, err);
        at += n;
    }
    if (PQputCopyEnd(c, rc < 0 ? "given up" : NULL) != 1 && rc == 0) rc = stream_server_error(c, NULL, err);
    r = PQgetResult(c);
    if (rc == 0 && PQresultStatus(r) != PGRES_COMMAND_OK) rc = stream_server_error(c, r, err);
    PQclear(r);
    settle(c);
    return rc;
}

/* The previous snapshot's list of files, by which the server knows what it is to be compared with. */
static int upload(struct stream_base *b, PGconn *c, struct error *err) {
    struct stream_incremental *k = b->incremental;
    struct sink_item *item = NULL;
    struct item_known known;
    int rc = b->sink->ops->again(b->sink, BYTES_STR("backup_manifest"), &known, &item, err);
    if (rc < 0) return rc;
    if (!item) {
        because(k, "the previous backup's content cannot be read, or is not cheap to read");
        return 0;
    }
    struct error why = ERROR_INIT;
    rc = send_manifest(b, c, item, known.bytes, &why);
    b->sink->ops->drop(item);
    if (rc < 0)
        because(k, "%.180s", why.text);
    else
        k->mode = STREAM_CHANGES;
    return 0;
}

static bool same_cluster(const struct stream_base *b, const json_t *former, PGconn *ask, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    char system[24];
    snprintf(system, sizeof system, "%llu", (unsigned long long)b->system);
    if (strcmp(json_text(former, "system_identifier", ""), system) != 0) return false;
    if (pg_query(ask, &r, err, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()", 0, NULL) < 0) return false;
    return json_integer_value(json_object_get(former, "timeline")) == strtoll(pg_value(r, 0, 0), NULL, 10);
}

/* Servers before 17.11 and 18.6 clear bits of visibility maps without saying so in the WAL's list of changed blocks, as
 * a backup that compared everything shows. A map of zeros is right at any time: it says that nothing is known. */
static bool vm_lost(int64_t version) {
    return version < 170011 || (version >= 180000 && version < 180006);
}

static int choose(struct stream_base *b, const json_t *asked, const json_t *former, PGconn *ask, PGconn *copy,
                  int64_t now_ns, struct error *err) {
    CLEANUP(pg_clearp) PGresult *r = NULL;
    struct stream_incremental *k = b->incremental;
    const json_t *before = json_object_get(former, "incremental");
    const char *last = json_text(before, "last_full", ""), *every = json_text(asked, "full_every", "");
    int64_t every_ns = FULL_EVERY_NS, last_ns = 0;
    if (!*last) last = json_text(former, "start_time", "");
    if (*every && !duration_parse(every, &every_ns)) every_ns = FULL_EVERY_NS;
    if (!wal_lsn_parse(json_text(former, "start_lsn", ""), &k->former_lsn) || !time_parse(last, &last_ns)) {
        because(k, "there is no earlier backup whose content can be read");
        return 0;
    }
    const bool same = same_cluster(b, former, ask, err);
    if (err->code) return -(int)err->code;
    if (!same) {
        because(k, "the previous backup is of another cluster or timeline");
        return 0;
    }
    int rc = pg_query(ask, &r, err,
                      "SELECT pg_catalog.current_setting('summarize_wal'), pg_catalog.current_setting('wal_log_hints')",
                      0, NULL);
    if (rc < 0) return rc;
    k->hints = !b->checksums && !pg_true(r, 0, 1) && strcmp(pg_value(r, 0, 1), "on") != 0;
    k->mode = STREAM_ALL_COMPARED;
    snprintf(k->last_full, sizeof k->last_full, "%s", last);
    if (b->ctx->full_read)
        because(k, "everything was to be read");
    else if (strcmp(pg_value(r, 0, 0), "on") != 0)
        because(k, "summarize_wal is off at the server");
    else if (json_object_get(former, "bad_pages"))
        because(k, "the previous backup has bad pages");
    else if (json_is_true(json_object_get(before, "distrusted")))
        because(k, "the server has missed changes before");
    else if (now_ns - last_ns >= every_ns || now_ns < last_ns)
        because(k, "the last backup that read everything is of %.32s", last);
    else
        return upload(b, copy, err);
    return 0;
}

int stream_incremental_choose(struct stream_base *b, PGconn *ask, PGconn *copy, int64_t now_ns, struct error *err) {
    struct stream_incremental *k = b->incremental;
    const json_t *asked = json_object_get(b->ctx->settings, "incremental");
    int64_t version = PQserverVersion(ask);
    void *mem;
    int rc = 0;
    if (!asked) return 0;
    k->vm_lost = vm_lost(version);
    json_auto_t *former = b->ctx->former_facts && b->sink->ops->again ? b->ctx->former_facts(b->ctx->former_ctx) : NULL;
    if (version < FIRST_VERSION)
        because(k, "the server is PostgreSQL %lld, and 17 is the first that knows what has changed",
                (long long)version / 10000);
    else if (!former)
        because(k, "there is no earlier backup whose content can be read");
    else
        rc = choose(b, asked, former, ask, copy, now_ns, err);
    if (rc == 0 && k->mode == STREAM_CHANGES)
        rc = pgphys_manifest_new((int)(version / 10000), b->system, &k->manifest, err);
    if (rc == 0 && k->mode == STREAM_ALL_COMPARED && (rc = mem_alloc(PIECE, &mem, err)) == 0) {
        k->was = mem;
        k->was_bytes = PIECE;
    }
    return rc;
}

int stream_incremental_give_up(struct stream_base *b, PGconn *c, struct error *why, struct error *err) {
    struct stream_incremental *k = b->incremental;
    void *mem;
    because(k, "%.180s", why->text);
    settle(c);
    k->mode = STREAM_ALL_COMPARED;
    int rc = mem_alloc(PIECE, &mem, err);
    if (rc < 0) return rc;
    k->was = mem;
    k->was_bytes = PIECE;
    return 0;
}

int stream_incremental_facts(const struct stream_base *b, const char *start_time, json_t *facts, struct error *err) {
    static const char *const modes[] = {"all", "all_compared", "changes"};
    const struct stream_incremental *k = b->incremental;
    const bool missed = k->missed > 0;
    if (!json_object_get(b->ctx->settings, "incremental")) return 0;
    char of[24], text[400];
    wal_lsn_format(k->former_lsn, of);
    json_t *o = json_object();
    int rc = o ? json_put_str(o, "read", modes[k->mode], err) : error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0 && k->mode != STREAM_CHANGES && k->why[0]) rc = json_put_str(o, "why", k->why, err);
    if (rc == 0) rc = json_put_str(o, "last_full", k->mode == STREAM_CHANGES ? k->last_full : start_time, err);
    if (rc == 0 && k->mode != STREAM_ALL) rc = json_put_str(o, "since_lsn", of, err);
    if (rc == 0 && k->mode == STREAM_CHANGES) {
        rc = json_put_int(o, "files_unchanged", (int64_t)k->files_same, err);
        if (rc == 0) rc = json_put_int(o, "blocks_sent", (int64_t)k->blocks_sent, err);
        if (rc == 0) rc = json_put_int(o, "blocks_kept", (int64_t)k->blocks_kept, err);
    }
    if (rc == 0 && k->mode == STREAM_ALL_COMPARED) {
        rc = json_put_int(o, "blocks_compared", (int64_t)k->compared_blocks, err);
        if (rc == 0 && k->hints) rc = json_put_int(o, "changed_without_wal", (int64_t)k->hinted, err);
        if (rc == 0) rc = json_put_int(o, "missed", (int64_t)k->missed, err);
        if (rc == 0 && k->missed) rc = json_put_int(o, "missed_files", (int64_t)k->missed_files, err);
        if (rc == 0) rc = json_put_str(o, "summaries", k->summaries[0] ? k->summaries : "compared", err);
        if (rc == 0 && missed) rc = json_put(o, "distrusted", json_true(), err);
    }
    if (rc == 0)
        rc = json_put(facts, "incremental", o, err);
    else
        json_decref(o);
    if (missed) {
        snprintf(text, sizeof text,
                 "the server would have left out %llu changed pages in %llu files, the first %s: it is not asked for "
                 "changes until a backup that reads everything finds none",
                 (unsigned long long)k->missed, (unsigned long long)k->missed_files, k->missed_first);
        if (b->ctx->events.note) b->ctx->events.note(b->ctx->events.ctx, NOTE_WARNING, BYTES_STR("incremental"), text);
    }
    return rc;
}

void stream_incremental_clear(struct stream_incremental *k) {
    pgphys_manifest_free(k->manifest);
    sha256_free(k->sha);
    buf_free(&k->raw_name);
    seam_free(k->was);
    seam_free(k->blocks);
    seam_free(k->changed);
}
