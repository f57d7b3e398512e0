/* What the log says of WAL that is missing and will not come: who looks for gaps passes over it, and shows it. */
#include "repo/repo_internal.h"

#include <inttypes.h>

static bool half(const char *text, size_t n, uint64_t *ret) {
    uint64_t v = 0;
    if (n == 0 || n > 8) return false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'))) return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'A' + 10);
    }
    *ret = v;
    return true;
}

bool wal_place_parse(const char *text, uint64_t *ret) {
    const char *slash = strchr(text, '/');
    uint64_t high, low;
    if (!slash || !half(text, (size_t)(slash - text), &high) || !half(slash + 1, strlen(slash + 1), &low)) return false;
    *ret = high << 32 | low;
    return true;
}

int judge_wal_ack(struct state *s, const struct ledger_entry *e, const json_t *p, struct error *err) {
    struct wal_ack a = {.seq = e->seq, .time_ns = e->time_ns};
    json_int_t timeline = json_integer_value(json_object_get(p, "timeline"));
    const char *reason = json_text(p, "reason", "");
    bool good = *json_text(p, "environment", "") && *json_text(p, "surface", "") &&
                wal_system_parse(json_text(p, "system", ""), &a.system) && timeline > 0 && timeline <= UINT32_MAX &&
                wal_place_parse(json_text(p, "from", ""), &a.from) && wal_place_parse(json_text(p, "to", ""), &a.to) &&
                a.from <= a.to && *reason && strlen(reason) <= WAL_REASON_BYTES_MAX;
    if (!good)
        return error_set(err, ERR_LEDGER_BROKEN, "log entry %" PRIu64 " does not say which gap is known", e->seq);
    a.timeline = (uint32_t)timeline;
    int rc = mem_grow((void **)&s->wal_acks, &s->wal_ack_cap, s->wal_ack_count + 1, sizeof a, err);
    if (rc == 0) rc = mem_strdup(reason, &a.reason, err);
    if (rc == 0) s->wal_acks[s->wal_ack_count++] = a;
    return rc;
}

size_t wal_log_acks(const struct repo *r) {
    return r->state.wal_ack_count;
}

const struct wal_ack *wal_log_acknowledged(const struct repo *r, uint64_t system, uint32_t timeline, uint64_t from,
                                           uint64_t to) {
    for (size_t i = r->state.wal_ack_count; i-- > 0;) {
        const struct wal_ack *a = &r->state.wal_acks[i];
        if (a->system != system || a->timeline != timeline || (a->to == 0) != (to == 0)) continue;
        if (a->from <= from && to <= a->to) return a;
    }
    return NULL;
}

int wal_log_acknowledge(struct repo *r, const char *environment, const char *surface, const struct wal_ack *a,
                        const char *principal, struct error *err) {
    char system[24], from[24], to[24];
    struct buf b = BUF_INIT(512);
    struct digest subject;
    json_t *statement = NULL;
    if (!*a->reason || strlen(a->reason) > WAL_REASON_BYTES_MAX)
        return error_set(err, ERR_USAGE, "a reason has 1 to %d bytes", WAL_REASON_BYTES_MAX);
    snprintf(system, sizeof system, "%" PRIu64, a->system);
    snprintf(from, sizeof from, "%X/%X", (unsigned)(a->from >> 32), (unsigned)a->from);
    snprintf(to, sizeof to, "%X/%X", (unsigned)(a->to >> 32), (unsigned)a->to);
    int rc = buf_printf(&b, err, "%s %" PRIu32 " %s %s", system, a->timeline, from, to);
    if (rc == 0) sha256(buf_bytes(&b), &subject);
    buf_free(&b);
    if (rc < 0) return rc;
    json_t *p = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:s}", "environment", environment, "surface", surface,
                          "system", system, "timeline", (json_int_t)a->timeline, "from", from, "to", to, "reason",
                          a->reason, "principal", principal);
    if (!p) return error_set(err, ERR_NO_MEMORY, "no memory for a log entry");
    rc = statement_make(PREDICATE_WAL_GAP, "wal-gap", &subject, p, &statement, err);
    if (rc == 0) rc = repo_append(r, statement, NULL, NULL, err);
    json_decref(statement);
    return rc;
}
