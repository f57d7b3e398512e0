#include "surface/pgphys/receive_internal.h"

#include "base/seam.h"
#include "base/time.h"
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define SLOT_PATIENCE_NS                                                                                               \
    (75 * NS_PER_S) /* a receiver that died without a word is noticed by its server within a minute */
#define BACKOFF_FIRST_MS 250
#define BACKOFF_LAST_MS 15000
#define PROGRESS_NS NS_PER_S

void receive_say(struct receive *r, enum receive_event what, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->o->event) r->o->event(r->o->ctx, what, &r->state, text);
}

/* ---- the slot, as it was seen ---- */
static void slot_news(struct receive *r) {
    struct receive_watch *w = &r->watch;
    char held[32], left[32];
    if (!w->fresh) return;
    w->fresh = false;
    if (!w->found) return;
    snprintf(r->state.wal_status, sizeof r->state.wal_status, "%s", w->wal_status);
    r->state.slot_bytes = w->slot_bytes;
    r->state.synchronous = w->synchronous;
    size_format(w->slot_bytes, held);
    size_format(w->safe_bytes > 0 ? (uint64_t)w->safe_bytes : 0, left);
    uint64_t limit = r->o->slot_warn_bytes ? r->o->slot_warn_bytes : UINT64_C(1) << 30;
    if (w->slot_bytes < limit)
        r->slot_told = 0;
    else if (w->slot_bytes >= 2 * r->slot_told) {
        r->slot_told = w->slot_bytes;
        receive_say(r, RECEIVE_SLOT, "slot %s holds %s of WAL on the server; %s%s", r->slot, held,
                    w->safe_bytes >= 0 ? "it is given up after more: "
                                       : "nothing limits that: pg_wal may fill its disk",
                    w->safe_bytes >= 0 ? left : "");
    }
    bool bad = !strcmp(w->wal_status, "unreserved") || !strcmp(w->wal_status, "lost");
    if (bad && strcmp(w->wal_status, r->status_told) != 0)
        receive_say(r, RECEIVE_SLOT, "slot %s is '%s': the server %s the WAL that is not stored", r->slot,
                    w->wal_status, w->wal_status[0] == 'u' ? "is about to remove" : "no longer holds");
    snprintf(r->status_told, sizeof r->status_told, "%s", bad ? w->wal_status : "");
}

int receive_look(struct receive *r, struct error *err) {
    int64_t now = time_monotonic_ns();
    receive_watch_tick(&r->watch, r->slot, now);
    slot_news(r);
    if (!r->store) return 0;
    uint64_t before = r->state.durable;
    receive_store_look(r->store, &r->stored);
    const struct receive_stored *s = &r->stored;
    if (s->bytes != r->state.bytes) {
        r->have_timeline = s->timeline;
        r->have_lsn = s->lsn;
        if (s->timeline == r->state.timeline && s->lsn > r->confirm) r->confirm = s->lsn;
    }
    r->state.durable = r->have_lsn;
    r->state.segments = s->segments;
    r->state.pieces = s->pieces;
    r->state.bytes = s->bytes;
    r->state.unsaved_ns = s->unsaved_ns;
    if (s->dead) {
        *err = s->failure;
        return -(int)err->code;
    }
    if (s->failing_ns && s->failures != r->failures_told) {
        r->failures_told = s->failures;
        r->fails_told = true;
        receive_say(r, RECEIVE_STORE_FAILS, "WAL cannot be stored: %s", s->failure.text);
    } else if (!s->failing_ns && r->fails_told && s->failures == r->failures_told) {
        r->fails_told = false;
        receive_say(r, RECEIVE_STORE_WORKS, "WAL is stored again");
    }
    if (r->state.durable != before && now - r->progress_ns >= PROGRESS_NS) {
        r->progress_ns = now;
        receive_say(r, RECEIVE_PROGRESS, "%s", "");
    }
    return 0;
}

void receive_wait(struct receive *r, int timeout_ms) {
    struct pollfd p[2] = {{.fd = r->wake[0], .events = POLLIN}};
    nfds_t n = 1;
    int watch = receive_watch_fd(&r->watch);
    if (watch >= 0) p[n++] = (struct pollfd){.fd = watch, .events = POLLIN};
    uint8_t drop[256];
    if (seam_poll(p, n, timeout_ms) > 0 && p[0].revents) (void)!seam_read(r->wake[0], drop, sizeof drop);
}

/* Until all that was received is durable. 0 as well when we are asked to stop and the store fails. */
static int drain(struct receive *r, struct error *err) {
    for (;;) {
        int rc = receive_look(r, err);
        if (rc < 0 || !r->store) return rc;
        bool stopping = atomic_load(&stop_signal) != 0;
        receive_store_hurry(r->store, true);
        if (r->stored.idle || (stopping && r->stored.failing_ns)) return 0;
        receive_wait(r, 200);
    }
}

/* ---- where a stream begins ---- */
struct start {
    uint32_t timeline;
    uint64_t lsn; /* durable up to here, on it; UINT64_MAX: nothing, begin at `from` */
    uint64_t from;
};

static int gap_error(struct receive *r, struct error *err, const struct receive_slot *slot, const char *why) {
    char have[24], there[24], end[24];
    wal_lsn_format(r->have_lsn, have);
    wal_lsn_format(slot ? slot->lsn : 0, there);
    wal_lsn_format(r->server.end, end);
    struct error said = *err;
    error_clear(err);
    int rc = error_set(err, ERR_RECEIVE_GAP,
                       "%s%s%s: WAL of timeline %" PRIu32 " from %s on is not stored%s%s; the server is at %s", why,
                       said.code ? ": " : "", said.text, r->have_timeline ? r->have_timeline : r->server.timeline, have,
                       slot && slot->lsn > r->have_lsn ? ", and slot holds it only from " : "",
                       slot && slot->lsn > r->have_lsn ? there : "", end);
    error_state(err, "What is stored up to %s is whole.", have);
    return rc;
}

static int branch_error(struct receive *r, struct error *err, const char *why) {
    char have[24], end[24];
    wal_lsn_format(r->have_lsn, have);
    wal_lsn_format(r->server.end, end);
    int rc =
        error_set(err, ERR_RECEIVE_BRANCH,
                  "WAL is stored up to %s of timeline %" PRIu32 "; the server is at %s of timeline %" PRIu32 ": %s",
                  have, r->have_timeline, end, r->server.timeline, why);
    error_state(err, "Nothing was received, and nothing changed.");
    return rc;
}

/* The history of the server's timeline, as it is told to the sink. */
static int history_put(struct receive *r, uint32_t timeline, struct wal_switch **ret, size_t *ret_n,
                       struct error *err) {
    CLEANUP(buf_free) struct buf text = BUF_INIT(WAL_HISTORY_BYTES_MAX);
    struct wal_name name = {.kind = WAL_HISTORY, .timeline = timeline};
    *ret = NULL;
    *ret_n = 0;
    if (timeline < 2) return 0;
    int rc = receive_history(r->conn, timeline, &text, err);
    if (rc == 0) rc = wal_history_parse(buf_bytes(&text), timeline, ret, ret_n, err);
    if (rc == 0) rc = receive_store_file(r->store, &name, buf_bytes(&text), err);
    return rc;
}

static int follow(struct receive *r, const struct wal_switch *history, size_t n, struct start *ret, struct error *err) {
    char have[24], left[24];
    wal_lsn_format(r->have_lsn, have);
    if (r->have_timeline == r->server.timeline) {
        if (r->have_lsn > r->server.end && r->server.standby)
            return error_set(err, ERR_PG_CONNECT, "the standby has not come to %s yet, up to where WAL is stored",
                             have);
        if (r->have_lsn > r->server.end) return branch_error(r, err, "it has lost WAL, or is an older copy");
        *ret = (struct start){r->have_timeline, r->have_lsn, 0};
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (history[i].timeline != r->have_timeline) continue;
        if (history[i].lsn > r->have_lsn) {
            *ret = (struct start){r->have_timeline, r->have_lsn, 0};
            return 0;
        }
        uint32_t next = i + 1 < n ? history[i + 1].timeline : r->server.timeline;
        if (history[i].lsn < r->have_lsn) {
            wal_lsn_format(history[i].lsn, left);
            receive_say(r, RECEIVE_BRANCH,
                        "timeline %" PRIu32 " was left at %s for timeline %" PRIu32
                        ", and WAL of it is stored up to %s: "
                        "the rest lies on a branch of its own",
                        r->have_timeline, left, next, have);
        }
        *ret = (struct start){next, history[i].lsn, 0};
        return 0;
    }
    return branch_error(r, err,
                        r->have_timeline > r->server.timeline ? "it was not promoted when the other was"
                                                              : "its history does not have that timeline");
}

/* Nothing is stored, or the gap was accepted: where the server's slot begins, else with the segment it is in. */
static void begin_fresh(const struct receive *r, const struct receive_slot *slot, struct start *ret) {
    *ret = (struct start){r->server.timeline, UINT64_MAX, r->server.end};
    if (slot->lsn && slot->timeline && slot->timeline <= r->server.timeline)
        *ret = (struct start){slot->timeline, UINT64_MAX, slot->lsn};
}

/* ---- the slot ---- */
static int slot_make(struct receive *r, struct receive_slot *slot, struct error *err) {
    char at[24];
    int rc = receive_slot_create(r->conn, r->slot, err);
    if (rc == 0) rc = receive_slot_read(r->conn, r->slot, slot, err);
    if (rc < 0) return rc;
    wal_lsn_format(slot->lsn, at);
    receive_say(r, RECEIVE_SLOT_MADE, "slot %s was made; it holds WAL from %s on", r->slot, at);
    return 0;
}

/* Some versions let a receiver stream through a slot that was given up and holds nothing; so its status is asked. */
static int slot_ready(struct receive *r, struct receive_slot *slot, struct error *err) {
    int rc = receive_slot_read(r->conn, r->slot, slot, err);
    if (rc < 0) return rc;
    if (!slot->exists && !r->o->create_slot) {
        rc = error_set(err, ERR_RECEIVE_SLOT, "there is no replication slot '%s' on the server", r->slot);
        error_next(err, "Make it with --create-slot, or name another with --slot.");
        return rc;
    }
    if (!slot->exists) return slot_make(r, slot, err);
    if (!slot->physical) return error_set(err, ERR_RECEIVE_SLOT, "slot '%s' is a logical one", r->slot);
    receive_watch_now(&r->watch, r->slot);
    bool lost = r->watch.fresh && r->watch.found && !strcmp(r->watch.wal_status, "lost");
    if (!lost) return 0;
    if (!r->o->accept_gap) {
        rc = gap_error(r, err, slot, "the server has given the slot up, as it held more than max_slot_wal_keep_size");
        return rc;
    }
    rc = receive_slot_drop(r->conn, r->slot, err);
    return rc < 0 ? rc : slot_make(r, slot, err);
}

/* ---- one connection ---- */
static int connect_to(struct receive *r, struct error *err) {
    const char *name = r->o->application_name ? r->o->application_name : r->slot;
    pg_finishp(&r->conn);
    int rc = pg_connect_replication(r->settings, name, &r->conn, err);
    if (rc < 0) return rc;
    struct receive_server now;
    rc = receive_identify(r->conn, &now, err);
    if (rc < 0) return rc;
    uint64_t expected = r->state.system ? r->state.system : r->o->system;
    if (expected && expected != now.system)
        return error_set(err, ERR_RECEIVE_SYSTEM,
                         "the server has the system identifier %" PRIu64 ", and the cluster has %" PRIu64, now.system,
                         expected);
    if (r->server.segment_bytes && r->server.segment_bytes != now.segment_bytes)
        return error_set(err, ERR_RECEIVE_BRANCH, "segments have %u bytes, and had %u", now.segment_bytes,
                         r->server.segment_bytes);
    r->server = now;
    r->state.system = now.system;
    r->state.segment_bytes = now.segment_bytes;
    r->state.server_end = now.end;
    r->state.connections++;
    return 0;
}

static int first_time(struct receive *r, struct error *err) {
    uint32_t segment_bytes = 0;
    int rc = r->sink->ops->resume(r->sink, r->server.system, &r->have_timeline, &r->have_lsn, &segment_bytes, err);
    if (rc < 0) return rc;
    if (r->have_lsn && segment_bytes && segment_bytes != r->server.segment_bytes)
        return error_set(err, ERR_RECEIVE_BRANCH, "segments have %u bytes, and those that are stored have %u",
                         r->server.segment_bytes, segment_bytes);
    r->state.durable = r->have_lsn;
    r->until = r->o->until_lsn;
    if (r->o->once) r->until = r->server.end;
    return receive_store_new(r->sink, r->server.system, r->server.segment_bytes,
                             r->o->piece_ns > 0 ? r->o->piece_ns : RECEIVE_PIECE_NS, r->wake[1], &r->store, err);
}

static void watch_open(struct receive *r) {
    struct error why = ERROR_INIT;
    receive_watch_open(&r->watch, r->settings, &why);
    if (r->watch.conn || r->watch.told_unable) return;
    r->watch.told_unable = true;
    receive_say(r, RECEIVE_SLOT, "the slot cannot be watched: %s", why.text);
}

static int stream_from(struct receive *r, struct start at, enum receive_end *ret, uint32_t *ret_timeline,
                       uint64_t *ret_lsn, struct error *err) {
    uint64_t place = at.lsn == UINT64_MAX ? at.from : at.lsn;
    uint64_t begin = place - place % r->server.segment_bytes;
    bool same = at.lsn != UINT64_MAX && at.timeline == r->have_timeline;
    char text[24];
    wal_lsn_format(begin, text);
    /* After a switch of timelines the end of the old one may still be on its way into the sink. */
    r->confirm = at.lsn == UINT64_MAX ? 0 : at.lsn < r->have_lsn ? at.lsn : r->have_lsn;
    int rc = receive_start(r->conn, r->slot, at.timeline, begin, err);
    if (rc < 0) return rc;
    r->state.timeline = at.timeline;
    receive_say(r, RECEIVE_STARTED, "receiving timeline %" PRIu32 " from %s on", at.timeline, text);
    return receive_stream(r, at.timeline, begin, same ? (uint32_t)(place - begin) : 0, ret, ret_timeline, ret_lsn, err);
}

static int stream_all(struct receive *r, struct start at, struct error *err) {
    for (;;) {
        enum receive_end end;
        uint32_t timeline;
        uint64_t lsn;
        char left[24];
        struct wal_switch *history = NULL;
        size_t n;
        int rc = stream_from(r, at, &end, &timeline, &lsn, err);
        if (rc < 0 || end == RECEIVE_END_DONE) return rc;
        wal_lsn_format(lsn, left);
        receive_say(r, RECEIVE_TIMELINE, "timeline %" PRIu32 " was left at %s for timeline %" PRIu32, at.timeline, left,
                    timeline);
        /* What came of the old one is durable before anything of the new is confirmed: the ring keeps the order. */
        rc = history_put(r, timeline, &history, &n, err);
        seam_free(history);
        if (rc < 0) return rc;
        at = (struct start){timeline, lsn, 0};
    }
}

static int session(struct receive *r, struct error *err) {
    struct receive_slot slot;
    struct wal_switch *history = NULL;
    struct start at = {0};
    size_t n = 0;
    int rc = connect_to(r, err);
    if (rc == 0 && !r->store) rc = first_time(r, err);
    if (rc < 0) return rc;
    watch_open(r);
    r->gap_accepted = false;
    rc = slot_ready(r, &slot, err);
    if (rc == 0) rc = history_put(r, r->server.timeline, &history, &n, err);
    if (rc == 0 && r->have_lsn)
        rc = follow(r, history, n, &at, err);
    else if (rc == 0)
        begin_fresh(r, &slot, &at);
    if (rc == 0) rc = stream_all(r, at, err);
    seam_free(history);
    if (rc != -ERR_RECEIVE_GAP || !r->have_lsn) return rc;
    if (!r->o->accept_gap) return err->state[0] ? rc : gap_error(r, err, &slot, "there is a gap");
    char from[24], to[24];
    begin_fresh(r, &slot, &at);
    if (at.from <= r->have_lsn) return rc;
    wal_lsn_format(r->have_lsn, from);
    wal_lsn_format(at.from - at.from % r->server.segment_bytes, to);
    receive_say(r, RECEIVE_GAP, "WAL from %s to %s is lost: the gap was accepted", from, to);
    error_clear(err);
    r->have_lsn = 0;
    r->gap_accepted = true;
    return 0;
}

/* ---- for as long as it takes ---- */
static void back_off(struct receive *r, unsigned tries) {
    uint32_t dice = 0;
    struct error ignored = ERROR_INIT;
    int64_t ms = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < tries && ms < BACKOFF_LAST_MS; i++) ms *= 2;
    if (ms > BACKOFF_LAST_MS) ms = BACKOFF_LAST_MS;
    (void)!seam_getrandom(&dice, sizeof dice);
    int64_t until = time_monotonic_ns() + (ms / 2 + (int64_t)(dice % (uint32_t)ms) / 2) * 1000000;
    while (atomic_load(&stop_signal) == 0 && time_monotonic_ns() < until) {
        if (receive_look(r, &ignored) < 0) return;
        receive_wait(r, 100);
    }
}

static int again(struct receive *r, struct error *err) {
    int64_t gone_ns = 0;
    for (unsigned tries = 1;; tries++) {
        struct error e = ERROR_INIT;
        uint64_t received = r->state.received;
        int rc = session(r, &e);
        pg_finishp(&r->conn);
        int64_t now = time_monotonic_ns();
        if (rc == 0 && !r->gap_accepted) return 0;
        if (rc == 0) {
            if ((rc = drain(r, err)) < 0) return rc;
            continue;
        }
        bool slot = rc == -ERR_RECEIVE_BUSY;
        bool gone = rc == -ERR_PG_CONNECT && r->state.connections > 0;
        if (atomic_load(&stop_signal) != 0 && (slot || gone)) return 0;
        if (r->state.received != received) tries = 1, gone_ns = 0;
        if (gone_ns == 0) gone_ns = now;
        int64_t patience = r->o->patience_ns ? r->o->patience_ns : slot ? SLOT_PATIENCE_NS : INT64_MAX;
        if ((!slot && !gone) || now - gone_ns > patience) {
            *err = e;
            return rc;
        }
        receive_say(r, RECEIVE_DISCONNECTED, "%s; trying again", e.text);
        if ((rc = drain(r, err)) < 0) return rc;
        back_off(r, tries);
        if (atomic_load(&stop_signal) != 0) return 0;
    }
}

static int run(struct receive *r, struct error *err) {
    int rc = again(r, err);
    /* Whatever came is worth keeping, even when the end is a failure. */
    if (r->store && !r->stored.dead) {
        struct error e = ERROR_INIT;
        int late = drain(r, &e);
        if (rc == 0 && late < 0) {
            *err = e;
            rc = late;
        }
    }
    if (rc < 0) return rc;
    rc = stop_check(err);
    if (rc < 0 && !r->stored.idle && r->store)
        error_state(err, "Not all that was received could be stored; the slot holds it: %s", r->stored.failure.text);
    else if (rc < 0)
        error_state(err, "All that was received is stored.");
    return rc;
}

int pgphys_receive(const struct surface_context *ctx, struct wal_sink *sink, const struct receive_options *o,
                   struct receive_state *ret, struct error *err) {
    struct receive r = {
        .ctx = ctx, .o = o, .sink = sink, .slot = o->slot ? o->slot : WAL_SLOT_DEFAULT, .wake = {-1, -1}};
    r.watch.every_ns = o->watch_ns ? o->watch_ns : 10 * NS_PER_S;
    *ret = (struct receive_state){0};
    if (!receive_slot_name_ok(r.slot))
        return error_set(err, ERR_USAGE, "'%s' is no name of a replication slot: a-z, 0-9 and _ only", r.slot);
    int rc = pg_settings_load(ctx, NULL, &r.settings, err);
    if (rc == 0 && seam_pipe2(r.wake, O_NONBLOCK | O_CLOEXEC) < 0)
        rc = error_set_errno(err, ERR_INTERNAL, "make a pipe");
    if (rc == 0) rc = run(&r, err);
    *ret = r.state;
    receive_store_free(r.store);
    receive_watch_close(&r.watch);
    pg_finishp(&r.conn);
    io_close(&r.wake[0]);
    io_close(&r.wake[1]);
    pg_settings_free(r.settings);
    return rc;
}

int pgphys_slot_drop(const struct surface_context *ctx, const char *slot, struct error *err) {
    CLEANUP(pg_settings_freep) struct pg_settings *s = NULL;
    CLEANUP(pg_finishp) PGconn *c = NULL;
    if (!slot) slot = WAL_SLOT_DEFAULT;
    if (!receive_slot_name_ok(slot))
        return error_set(err, ERR_USAGE, "'%s' is no name of a replication slot: a-z, 0-9 and _ only", slot);
    int rc = pg_settings_load(ctx, NULL, &s, err);
    if (rc == 0) rc = pg_connect_replication(s, "proofkeep", &c, err);
    if (rc == 0) rc = receive_slot_drop(c, slot, err);
    return rc;
}
