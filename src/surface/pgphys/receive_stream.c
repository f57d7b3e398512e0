#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <stdlib.h>

#define PG_EPOCH_S INT64_C(946684800) /* 2000-01-01, where PostgreSQL's clock begins */
#define STATUS_NS (10 * NS_PER_S)
#define SILENCE_NS (60 * NS_PER_S)
#define DATA_HEADER 25
#define STORE_PATIENCE_NS (60 * NS_PER_S)
#define GOODBYE_NS (3 * NS_PER_S)

struct stream {
    struct receive *r;
    uint32_t timeline;
    uint64_t place;   /* behind the last byte that was taken */
    uint32_t lacks;   /* bytes of what is open, a segment or a part of it; 0: nothing is */
    uint32_t durable; /* of the first segment */
    bool begun;
    char *message;    /* of libpq; what could not be taken of it yet is rest */
    struct bytes rest;
    int64_t sent_ns, heard_ns, status_ns;
    uint64_t told; /* flushed, as the server was told last */
    bool reply;    /* the server wants a status message now */
    bool asked;    /* we want to hear from it */
};

static void put_be64(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get_be64(const uint8_t *p) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | p[i];
    return v;
}

static int gone(struct stream *s, struct error *err) {
    return pg_result_error(s->r->conn, NULL, err, "streaming WAL");
}

/* Written is what was received; applied stays unsaid, as nothing is replayed here. */
static int status_send(struct stream *s, bool want_reply, struct error *err) {
    struct receive *r = s->r;
    uint8_t m[34] = {'r'};
    int64_t now = time_now_ns();
    put_be64(m + 1, s->place > r->confirm ? s->place : r->confirm);
    put_be64(m + 9, r->confirm);
    put_be64(m + 25, (uint64_t)((now - PG_EPOCH_S * NS_PER_S) / 1000));
    m[33] = want_reply;
    if (PQputCopyData(r->conn, (const char *)m, sizeof m) != 1 || PQflush(r->conn) != 0) return gone(s, err);
    s->sent_ns = time_monotonic_ns();
    s->told = r->confirm;
    s->reply = false;
    return 0;
}

static int begin_segment(struct stream *s, struct error *err) {
    struct wal_name name = wal_name_at(s->timeline, s->place, s->r->server.segment_bytes);
    uint32_t at = (uint32_t)(s->place % s->r->server.segment_bytes);
    if (at == 0 && s->begun) s->durable = 0;
    s->begun = true;
    return receive_store_begin(s->r->store, &name, at, s->durable, &s->lacks, err);
}

/* As much of the message as there is room for. */
static int take(struct stream *s, struct error *err) {
    while (s->rest.len) {
        if (s->lacks == 0) {
            struct receive_stored now;
            receive_store_look(s->r->store, &now);
            if (!now.room) return 0;
            int rc = begin_segment(s, err);
            if (rc < 0) return rc;
        }
        size_t n = s->rest.len < s->lacks ? s->rest.len : s->lacks;
        int rc = receive_store_append(s->r->store, BYTES_OF(s->rest.ptr, n), &s->lacks, err);
        if (rc < 0) return rc;
        s->place += n;
        s->rest.ptr += n;
        s->rest.len -= n;
    }
    s->r->state.received = s->place;
    PQfreemem(s->message);
    s->message = NULL;
    return 0;
}

static int on_message(struct stream *s, char *m, size_t n, struct error *err) {
    const uint8_t *p = (const uint8_t *)m;
    s->heard_ns = time_monotonic_ns();
    s->asked = false;
    if (n >= 18 && p[0] == 'k') {
        s->r->state.server_end = get_be64(p + 1);
        if (p[17]) s->reply = true;
        PQfreemem(m);
        return 0;
    }
    if (n < DATA_HEADER || p[0] != 'w' || get_be64(p + 1) != s->place) {
        char at[24];
        wal_lsn_format(s->place, at);
        int rc = error_set(err, ERR_PG_WAL, "the server sent something else than the WAL from %s on", at);
        PQfreemem(m);
        return rc;
    }
    s->r->state.server_end = get_be64(p + 9);
    s->message = m;
    s->rest = BYTES_OF(p + DATA_HEADER, n - DATA_HEADER);
    return take(s, err);
}

/* The server ended the stream: the timeline's end, its own, or a failure. */
static int ended(struct stream *s, enum receive_end *ret, uint32_t *ret_timeline, uint64_t *ret_lsn,
                 struct error *err) {
    PGconn *c = s->r->conn;
    CLEANUP(pg_clearp) PGresult *r = PQgetResult(c);
    if (PQresultStatus(r) == PGRES_COPY_IN) {
        if (PQputCopyEnd(c, NULL) != 1 || PQflush(c) != 0) return gone(s, err);
        pg_clearp(&r);
        r = PQgetResult(c);
    }
    if (PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1 && PQnfields(r) >= 2) {
        uint32_t next = (uint32_t)strtoul(pg_value(r, 0, 0), NULL, 10);
        if (next <= s->timeline || !wal_lsn_parse(pg_value(r, 0, 1), ret_lsn))
            return error_set(err, ERR_PG_QUERY, "after timeline %u the server named timeline '%s' at '%s'", s->timeline,
                             pg_value(r, 0, 0), pg_value(r, 0, 1));
        *ret_timeline = next;
        *ret = RECEIVE_END_TIMELINE;
        for (PGresult *more; (more = PQgetResult(c));) PQclear(more);
        return 0;
    }
    if (PQresultStatus(r) == PGRES_COMMAND_OK)
        return error_set(err, ERR_PG_CONNECT, "the server ended the stream; it is shutting down");
    return receive_refused(c, r, true, err, "streaming WAL");
}

/* All that came already. *ret: the stream has ended. */
static int receive_all(struct stream *s, bool *ret_ended, struct error *err) {
    PGconn *c = s->r->conn;
    *ret_ended = false;
    for (unsigned n = 0; !s->message && n < 64; n++) {
        char *m = NULL;
        int got = PQgetCopyData(c, &m, 1);
        if (got == 0) {
            if (n > 0) return 0;
            if (PQconsumeInput(c) == 0) return gone(s, err);
            got = PQgetCopyData(c, &m, 1);
        }
        if (got == 0) return 0;
        if (got < 0) {
            *ret_ended = true;
            return 0;
        }
        int rc = on_message(s, m, (size_t)got, err);
        if (rc < 0) return rc;
    }
    return 0;
}

static int heartbeat(struct stream *s, bool reading, struct error *err) {
    int64_t now = time_monotonic_ns();
    int64_t silence = s->r->server.timeout_ns > SILENCE_NS ? s->r->server.timeout_ns : SILENCE_NS;
    if (!reading) s->heard_ns = now; /* it may be speaking, we do not listen */
    if (now - s->heard_ns > silence)
        return error_set(err, ERR_PG_CONNECT, "the server has not been heard of for %lld s",
                         (long long)((now - s->heard_ns) / NS_PER_S));
    bool quiet = now - s->heard_ns > s->status_ns && !s->asked;
    if (!s->reply && !quiet && s->told == s->r->confirm && now - s->sent_ns < s->status_ns) return 0;
    if (quiet) s->asked = true;
    return status_send(s, quiet, err);
}

/* A last word, so that the slot has what is durable, and an orderly end. Best effort. */
static void goodbye(struct stream *s) {
    struct error ignored = ERROR_INIT;
    PGconn *c = s->r->conn;
    int64_t until = time_monotonic_ns() + GOODBYE_NS;
    if (status_send(s, false, &ignored) < 0 || PQputCopyEnd(c, NULL) != 1 || PQflush(c) != 0) return;
    while (time_monotonic_ns() < until) {
        char *m = NULL;
        int got = PQgetCopyData(c, &m, 1);
        if (got > 0) PQfreemem(m);
        if (got < 0) {
            for (PGresult *r; (r = PQgetResult(c));) PQclear(r);
            return;
        }
        if (got == 0) {
            struct pollfd p = {.fd = PQsocket(c), .events = POLLIN};
            if (seam_poll(&p, 1, 100) < 0 || PQconsumeInput(c) == 0) return;
        }
    }
}

static void sleep_on(struct stream *s, bool reading) {
    struct receive *r = s->r;
    struct pollfd p[3];
    nfds_t n = 0;
    p[n++] = (struct pollfd){.fd = r->wake[0], .events = POLLIN};
    if (reading) p[n++] = (struct pollfd){.fd = PQsocket(r->conn), .events = POLLIN};
    int watch = receive_watch_fd(&r->watch);
    if (watch >= 0) p[n++] = (struct pollfd){.fd = watch, .events = POLLIN};
    uint8_t drop[256];
    if (seam_poll(p, n, 200) > 0 && p[0].revents) (void)!seam_read(r->wake[0], drop, sizeof drop);
}

static int stream(struct stream *s, enum receive_end *ret, uint32_t *ret_timeline, uint64_t *ret_lsn,
                  struct error *err) {
    struct receive *r = s->r;
    for (;;) {
        int rc = receive_look(r, err);
        if (rc < 0) return rc;
        bool stopping = atomic_load(&stop_signal) != 0;
        bool enough = r->until && (s->place >= r->until || r->confirm >= r->until);
        receive_store_hurry(r->store, stopping || enough || r->state.synchronous);
        /* When the store fails now, the slot keeps what it did not take. */
        if (stopping ? r->stored.idle || r->stored.failing_ns : enough && (r->stored.idle || r->confirm >= r->until)) {
            goodbye(s);
            *ret = RECEIVE_END_DONE;
            return 0;
        }
        /* A server that is stopped in order waits for us as long as we answer. */
        if (r->stored.failing_ns && time_monotonic_ns() - r->stored.failing_ns > STORE_PATIENCE_NS)
            return error_set(err, ERR_PG_CONNECT, "left the stream, as the store takes nothing");
        if (s->message && (rc = take(s, err)) < 0) return rc;
        bool reading = !s->message && !stopping && !enough, over = false;
        if (reading) rc = receive_all(s, &over, err);
        if (rc == 0 && over) return ended(s, ret, ret_timeline, ret_lsn, err);
        if (rc == 0) rc = heartbeat(s, reading, err);
        if (rc < 0) return rc;
        sleep_on(s, reading);
    }
}

int receive_stream(struct receive *r, uint32_t timeline, uint64_t start, uint32_t durable, enum receive_end *ret,
                   uint32_t *ret_timeline, uint64_t *ret_lsn, struct error *err) {
    int64_t now = time_monotonic_ns();
    struct stream s = {
        .r = r, .timeline = timeline, .place = start, .durable = durable, .sent_ns = now, .heard_ns = now};
    s.status_ns = r->server.timeout_ns && r->server.timeout_ns / 4 < STATUS_NS ? r->server.timeout_ns / 4 : STATUS_NS;
    int rc = status_send(&s, false, err);
    if (rc == 0) rc = stream(&s, ret, ret_timeline, ret_lsn, err);
    /* What came of the last segment is on its way; another stream begins it anew. */
    if (s.lacks) receive_store_end(r->store);
    PQfreemem(s.message);
    return rc;
}
