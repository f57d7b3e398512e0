/* PostgreSQL's manual, "Recovery Target" and "Archive Recovery": versions 12 and newer have no recovery.conf; settings
 * stand with the others, and an empty file says what the server is to do. */
#include "surface/pgphys/restore_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

static unsigned targets_of(const struct restore_recovery *q) {
    return (q->time != NULL) + (q->lsn != NULL) + (q->xid != NULL) + (q->name != NULL) + q->immediate;
}

static bool one_of(const char *text, const char *a, const char *b, const char *c) {
    return !strcmp(text, a) || !strcmp(text, b) || (c && !strcmp(text, c));
}

static bool all_digits(const char *s) {
    return *s && strspn(s, "0123456789") == strlen(s);
}

static int too_early(struct error *err, const char *what, const char *want, const json_t *facts, const char *key) {
    const char *end = json_string_value(json_object_get(facts, key));
    error_set(err, ERR_PG_TARGET, "the %s %s lies before the end of this backup; the nearest that it reaches is %s",
              what, want, end ? end : "its own");
    return error_next(err, "Restore from an older backup, or choose %s or later.", end ? end : "its end");
}

int pgphys_recovery_check(const struct restore_recovery *q, const json_t *facts, struct error *err) {
    uint64_t lsn = 0, stop = 0;
    int64_t when, end;
    const char *stop_lsn = json_string_value(json_object_get(facts, "stop_lsn"));
    const char *stop_time = json_string_value(json_object_get(facts, "stop_time"));
    if (!q) return 0;
    if (targets_of(q) > 1)
        return error_set(err, ERR_USAGE, "recovery has one target: a time, an LSN, an xid, a name or immediate");
    if (q->standby && (targets_of(q) || q->action))
        return error_set(err, ERR_USAGE,
                         "a standby recovers for ever: it has no target, and nothing to do when it is reached");
    if (q->exclusive && !q->time && !q->lsn && !q->xid)
        return error_set(err, ERR_USAGE, "only a time, an LSN or an xid can be left out itself");
    if (q->action && !one_of(q->action, "pause", "promote", "shutdown"))
        return error_set(err, ERR_USAGE, "at the target a server can pause, promote or shut down, not '%.40s'",
                         q->action);
    if (q->action && !targets_of(q)) return error_set(err, ERR_USAGE, "what to do at the target needs a target");
    if (q->timeline && !one_of(q->timeline, "current", "latest", NULL) && !all_digits(q->timeline))
        return error_set(err, ERR_USAGE, "a timeline is a number, current or latest, not '%.40s'", q->timeline);
    if (q->xid && !all_digits(q->xid)) return error_set(err, ERR_USAGE, "'%.40s' is no transaction's number", q->xid);
    if (q->lsn && !wal_lsn_parse(q->lsn, &lsn))
        return error_set(err, ERR_USAGE, "'%.40s' is no place in the WAL; it looks like 16/B374D848", q->lsn);
    if (q->lsn && stop_lsn && wal_lsn_parse(stop_lsn, &stop) && lsn < stop)
        return too_early(err, "place", q->lsn, facts, "stop_lsn");
    if (q->time && !time_parse(q->time, &when))
        return error_set(err, ERR_USAGE, "'%.40s' is no time; it looks like 2026-02-16T07:00:00Z", q->time);
    if (q->time && stop_time && time_parse(stop_time, &end) && when < end)
        return too_early(err, "time", q->time, facts, "stop_time");
    if ((targets_of(q) > q->immediate || q->standby) && !q->restore_command)
        return error_set(err, ERR_USAGE,
                         "recovery beyond the backup needs WAL, and there is no command that fetches it");
    return 0;
}

/* 'text' as the configuration's lexer reads it. */
static int put(struct buf *b, const char *key, const char *value, struct error *err) {
    int rc = buf_printf(b, err, "%s = '", key);
    for (const char *p = value; rc == 0 && *p; p++) {
        if (*p == '\n' || *p == '\r') return error_set(err, ERR_USAGE, "%s has a line break in its value", key);
        if (*p == '\'' || *p == '\\') rc = buf_append(b, p, 1, err);
        if (rc == 0) rc = buf_append(b, p, 1, err);
    }
    return rc == 0 ? buf_append_str(b, "'\n", err) : rc;
}

/* How long the name is that a line of the file begins with, behind blanks, which go. */
static size_t name_of(struct bytes *line) {
    while (line->len && (*line->ptr == ' ' || *line->ptr == '\t')) *line = BYTES_OF(line->ptr + 1, line->len - 1);
    size_t n = 0;
    while (n < line->len && (isalnum(line->ptr[n]) || line->ptr[n] == '_' || line->ptr[n] == '.')) n++;
    return n;
}

static bool is(struct bytes line, const char *name) {
    size_t n = name_of(&line);
    return n == strlen(name) && !strncasecmp((const char *)line.ptr, name, n);
}

/* As ALTER SYSTEM writes it: NAME = 'VALUE'. */
static bool says(struct bytes line, const char *value) {
    const uint8_t *from = memchr(line.ptr, '\'', line.len);
    const size_t n = strlen(value), left = from ? line.len - (size_t)(from + 1 - line.ptr) : 0;
    return left > n && !memcmp(from + 1, value, n) && from[1 + n] == '\'';
}

/* `value` NULL: whatever it is. */
static bool has(struct bytes text, const char *name, const char *value) {
    while (text.len) {
        const uint8_t *end = memchr(text.ptr, '\n', text.len);
        size_t n = end ? (size_t)(end - text.ptr) : text.len;
        const struct bytes line = BYTES_OF(text.ptr, n);
        if (is(line, name) && (!value || says(line, value))) return true;
        n += end != NULL;
        text = BYTES_OF(text.ptr + n, text.len - n);
    }
    return false;
}

static bool stale(struct bytes line, bool frozen) {
    static const char *const keys[] = {"recovery_target",          "recovery_target_time",
                                       "recovery_target_lsn",      "recovery_target_xid",
                                       "recovery_target_name",     "recovery_target_inclusive",
                                       "recovery_target_timeline", "recovery_target_action",
                                       "restore_command",          "primary_conninfo",
                                       "primary_slot_name",        "recovery_end_command",
                                       "archive_cleanup_command",  NULL};
    for (size_t i = 0; keys[i]; i++)
        if (is(line, keys[i])) return true;
    size_t n = name_of(&line);
    return frozen && (pgphys_freeze_sets((const char *)line.ptr, n) || is(line, PGPHYS_FREEZE_MARK));
}

/* Of a base that was taken while a cutover had frozen the server: what a setting was before. */
static bool thawed(struct bytes *line) {
    static const char was[] = PGPHYS_FREEZE_WAS;
    const size_t n = sizeof was - 1;
    (void)name_of(line);
    if (line->len < n || strncasecmp((const char *)line->ptr, was, n) != 0) return false;
    *line = BYTES_OF(line->ptr + n, line->len - n);
    return true;
}

static int keep_lines(struct bytes was, struct buf *ret, struct error *err) {
    /* A mark alone was left by somebody who undid the freeze by hand. */
    const bool frozen = has(was, PGPHYS_FREEZE_MARK, NULL) && has(was, PGPHYS_FREEZE_READ_ONLY, "on");
    int rc = 0;
    while (rc == 0 && was.len) {
        const uint8_t *end = memchr(was.ptr, '\n', was.len);
        size_t n = end ? (size_t)(end - was.ptr) : was.len;
        struct bytes line = BYTES_OF(was.ptr, n);
        if (!(frozen && thawed(&line)) && stale(line, frozen)) rc = buf_append_str(ret, "#", err);
        if (rc == 0) rc = buf_append(ret, line.ptr, line.len, err);
        if (rc == 0) rc = buf_append_str(ret, "\n", err);
        n += end != NULL;
        was = BYTES_OF(was.ptr + n, was.len - n);
    }
    return rc;
}

/* The configuration comes back as it was, with what the original was once to recover to or to run then; of a setting
 * that is there twice the last counts. The empty ones stand before the target: a server takes what is set beside
 * another for a second. */
static int overrule(const struct restore_recovery *q, struct buf *b, struct error *err) {
    const struct {
        const char *key;
        bool own;
    } targets[] = {{"recovery_target", q->immediate},
                   {"recovery_target_time", q->time},
                   {"recovery_target_lsn", q->lsn},
                   {"recovery_target_xid", q->xid},
                   {"recovery_target_name", q->name}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof targets / sizeof *targets; i++)
        if (!targets[i].own) rc = put(b, targets[i].key, "", err);
    if (rc == 0) rc = put(b, "recovery_end_command", "", err);
    if (rc == 0) rc = put(b, "archive_cleanup_command", "", err);
    /* A standby's own; any other copy would wait for transactions to be old enough. */
    return rc == 0 && !q->standby ? put(b, "recovery_min_apply_delay", "0", err) : rc;
}

static int target(const struct restore_recovery *q, struct buf *b, struct error *err) {
    int rc = 0;
    if (q->immediate) rc = put(b, "recovery_target", "immediate", err);
    if (q->time) {
        /* The server reads it by its own zone otherwise. */
        char text[64];
        int64_t ns;
        if (!time_parse(q->time, &ns)) return error_set(err, ERR_USAGE, "'%.40s' is no time", q->time);
        time_t s = (time_t)(ns / NS_PER_S);
        struct tm tm;
        gmtime_r(&s, &tm);
        size_t n = strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
        snprintf(text + n, sizeof text - n, ".%06d+00", (int)(ns % NS_PER_S / 1000));
        rc = put(b, "recovery_target_time", text, err);
    }
    if (rc == 0 && q->lsn) rc = put(b, "recovery_target_lsn", q->lsn, err);
    if (rc == 0 && q->xid) rc = put(b, "recovery_target_xid", q->xid, err);
    if (rc == 0 && q->name) rc = put(b, "recovery_target_name", q->name, err);
    if (rc == 0 && targets_of(q)) rc = put(b, "recovery_target_inclusive", q->exclusive ? "off" : "on", err);
    if (rc == 0 && targets_of(q)) rc = put(b, "recovery_target_action", q->action ? q->action : "promote", err);
    /* A server that nobody can look into shuts down in place of waiting. */
    if (rc == 0 && q->action && !strcmp(q->action, "pause")) rc = put(b, "hot_standby", "on", err);
    return rc;
}

int pgphys_recovery_text(const struct restore_recovery *q, bool archive_off, struct bytes was, struct buf *ret,
                         const char **ret_signal, struct error *err) {
    *ret_signal = NULL;
    int rc = keep_lines(was, ret, err);
    if (rc == 0) rc = buf_append_str(ret, "# by proofkeep, when this was restored:\n", err);
    if (rc == 0 && archive_off) rc = put(ret, "archive_mode", "off", err);
    if (rc < 0 || !q || (!q->restore_command && !q->standby && !targets_of(q))) return rc;
    /* Without a command the server takes what the backup's own pg_wal has. */
    rc = put(ret, "restore_command", q->restore_command ? q->restore_command : "false", err);
    /* A timeline that branched off later may not reach the point of consistency by this history. */
    const char *timeline = q->timeline ? q->timeline : q->immediate ? "current" : "latest";
    if (rc == 0) rc = put(ret, "recovery_target_timeline", timeline, err);
    if (rc == 0) rc = overrule(q, ret, err);
    if (rc == 0) rc = target(q, ret, err);
    *ret_signal = q->standby ? "standby.signal" : "recovery.signal";
    return rc;
}
