#include "base/seam.h"
#include "base/time.h"
#include "cli/output_internal.h"
#include "work/counted.h"

#include <stdarg.h>
#include <stdio.h>

#define LIVE_EVERY_NS (NS_PER_S / 10)
#define PLAIN_EVERY_NS (30 * NS_PER_S)
#define JSON_EVERY_NS NS_PER_S
#define SAMPLE_EVERY_NS (NS_PER_S / 4)
#define RATE_MEMORY_S 5.0
#define BAR_COLUMNS 16
#define LINE_BYTES 512
#define DRAWING_BYTES_MAX ((PROGRESS_SURFACES_MAX + 1) * (LINE_BYTES + 16))

static struct progress_slot *slot_find(struct output *o, const char *surface) {
    struct progress_slot *unused = NULL;
    for (size_t i = 0; i < PROGRESS_SURFACES_MAX; i++) {
        struct progress_slot *s = &o->slots[i];
        if (s->active && strncmp(s->surface, surface, sizeof s->surface - 1) == 0) return s;
        if (!s->active && !unused) unused = s;
    }
    return unused;
}

/* Smoothed over RATE_MEMORY_S, so that the time left does not jump with every pack. */
static void slot_sample(struct progress_slot *s, int64_t now) {
    int64_t dt = now - s->sampled_ns;
    if (s->bytes < s->sampled_bytes) s->sampled_bytes = s->bytes; /* read again from the start */
    if (dt < SAMPLE_EVERY_NS) return;
    double seconds = (double)dt / (double)NS_PER_S, rate = (double)(s->bytes - s->sampled_bytes) / seconds;
    s->rate = s->rate < 0 ? rate : s->rate + (rate - s->rate) * (seconds / (seconds + RATE_MEMORY_S));
    s->sampled_ns = now;
    s->sampled_bytes = s->bytes;
}

/* Negative while it cannot be known. */
static int64_t slot_eta_ns(const struct progress_slot *s) {
    if (s->rate < 1 || s->bytes_total <= s->bytes) return -1;
    double seconds = (double)(s->bytes_total - s->bytes) / s->rate;
    return seconds > 1e7 ? -1 : (int64_t)seconds * NS_PER_S;
}

static unsigned slot_percent(const struct progress_slot *s) {
    return s->bytes >= s->bytes_total ? 100 : (unsigned)((double)s->bytes * 100.0 / (double)s->bytes_total);
}

/* "1.2 GiB of 2.8 GiB, stored 0.4 GiB, 98 MiB/s, 18 s left", as much of it as is known. */
static void slot_words(const struct progress_slot *s, char *out, size_t cap) {
    char done[32], other[32];
    size_t n = 0;
#define ADD(...) (n += n < cap ? (size_t)snprintf(out + n, cap - n, __VA_ARGS__) : 0)
    size_format(s->bytes, done);
    ADD("%s", done);
    if (s->bytes_total) {
        size_format(s->bytes_total, other);
        ADD(" of %s", other);
    }
    if (s->items) ADD(", %s", COUNTED(s->items, "item"));
    if (s->bytes_stored) {
        size_format(s->bytes_stored, other);
        ADD(", stored %s", other);
    }
    if (s->rate >= 0) {
        size_format((uint64_t)s->rate, other);
        ADD(", %s/s", other);
    }
    if (slot_eta_ns(s) >= 0) {
        duration_format(slot_eta_ns(s), other);
        ADD(", %s left", other);
    }
#undef ADD
}

static void bar_format(const struct output *o, const struct progress_slot *s, char out[BAR_COLUMNS * 3 + 8]) {
    const char *full = o->config.utf8 ? "\u2501" : "#", *empty = o->config.utf8 ? "\u2500" : "-";
    unsigned filled = slot_percent(s) * BAR_COLUMNS / 100;
    out[0] = 0;
    for (unsigned i = 0; i < BAR_COLUMNS; i++) out = stpcpy(out, i < filled ? full : empty);
}

/* Cut to the terminal's width, or the cursor could not find its way back up. */
static size_t line_cut(const char *line, size_t columns) {
    size_t at = 0, last = 0;
    while (line[at]) {
        size_t n = 1;
        while ((line[at + n] & 0xc0) == 0x80) n++;
        if (text_columns(BYTES_OF(line, at + n)) > columns) return last;
        last = at += n;
    }
    return at;
}

static void line_format(const struct output *o, const struct progress_slot *s, char out[LINE_BYTES]) {
    char bar[BAR_COLUMNS * 3 + 8], words[256];
    slot_words(s, words, sizeof words);
    if (s->bytes_total) {
        bar_format(o, s, bar);
        snprintf(out, LINE_BYTES, "%-20s %-9s %s %3u%%  %s", s->surface, s->phase, bar, slot_percent(s), words);
    } else {
        snprintf(out, LINE_BYTES, "%-20s %-9s ~ %s", s->surface, s->phase, words);
    }
}

static int erase_format(struct output *o, struct buf *b, struct error *err) {
    int r = o->drawn_lines ? buf_printf(b, err, "\033[%uA\r\033[J", o->drawn_lines) : 0;
    o->drawn_lines = 0;
    return r;
}

static void err_write(struct output *o, struct bytes text) {
    struct error lost = ERROR_INIT;
    /* Progress is worth nothing to a terminal that has gone. */
    (void)!io_write_full(o->config.err_fd, text.ptr, text.len, "standard error", &lost);
}

void progress_erase_locked(struct output *o) {
    struct error lost = ERROR_INIT;
    struct buf b = BUF_INIT(64);
    if (erase_format(o, &b, &lost) == 0 && b.len) err_write(o, buf_bytes(&b));
    buf_free(&b);
}

void progress_draw_locked(struct output *o) {
    struct error lost = ERROR_INIT;
    struct buf b = BUF_INIT(DRAWING_BYTES_MAX);
    unsigned lines = 0;
    if (!o->config.live || o->config.json || o->config.quiet || o->finished) return;
    int r = erase_format(o, &b, &lost);
    for (size_t i = 0; i < PROGRESS_SURFACES_MAX && r == 0; i++) {
        char line[LINE_BYTES];
        if (!o->slots[i].active) continue;
        line_format(o, &o->slots[i], line);
        r = buf_append(&b, line, line_cut(line, o->config.columns - 1), &lost);
        if (r == 0) r = buf_append_str(&b, "\n", &lost);
        lines++;
    }
    if (r == 0 && b.len) {
        err_write(o, buf_bytes(&b));
        o->drawn_lines = lines;
    }
    buf_free(&b);
}

static void plain_print(struct output *o, const struct progress_slot *s, bool begins) {
    char line[LINE_BYTES], words[256];
    slot_words(s, words, sizeof words);
    if (begins && s->bytes == 0)
        snprintf(line, sizeof line, "%s: %s\n", s->surface, s->phase);
    else if (s->bytes_total)
        snprintf(line, sizeof line, "%s: %s: %u%%, %s\n", s->surface, s->phase, slot_percent(s), words);
    else
        snprintf(line, sizeof line, "%s: %s: ~ %s\n", s->surface, s->phase, words);
    output_err_locked(o, BYTES_STR(line));
}

static void json_print(struct output *o, const struct progress_slot *s, const char *type) {
    json_t *j = json_object();
    struct error err = ERROR_INIT;
    int r = j ? json_put_str(j, "surface", s->surface, &err) : -ERR_NO_MEMORY;
    if (r == 0) r = json_put_str(j, "phase", s->phase, &err);
    if (r == 0) r = json_put_int(j, "bytes", (int64_t)s->bytes, &err);
    if (r == 0 && s->bytes_total) r = json_put_int(j, "total", (int64_t)s->bytes_total, &err);
    if (r == 0 && s->bytes_stored) r = json_put_int(j, "stored", (int64_t)s->bytes_stored, &err);
    if (r == 0 && s->items) r = json_put_int(j, "items", (int64_t)s->items, &err);
    if (r == 0 && s->rate >= 0) r = json_put_int(j, "rate", (int64_t)s->rate, &err);
    if (r == 0 && slot_eta_ns(s) >= 0) r = json_put_int(j, "eta_s", slot_eta_ns(s) / NS_PER_S, &err);
    if (r < 0) {
        json_decref(j);
        j = NULL;
    }
    output_event_locked(o, type, j);
}

/* Names may hold anything; slots hold what may be shown. */
static void name_copy(char *out, size_t cap, const char *name) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(4096);
    if (text_escape(&b, BYTES_STR(name), false, &err) < 0) buf_clear(&b);
    size_t n = b.len < cap - 1 ? b.len : cap - 1;
    while (n > 0 && n < b.len && (b.ptr[n] & 0xc0) == 0x80) n--;
    if (n) memcpy(out, b.ptr, n);
    out[n] = 0;
    buf_free(&b);
}

static void progress_locked(struct output *o, const struct progress_point *p) {
    char surface[sizeof o->slots[0].surface], phase[sizeof o->slots[0].phase];
    name_copy(surface, sizeof surface, p->surface);
    name_copy(phase, sizeof phase, p->phase);
    struct progress_slot *s = slot_find(o, surface);
    int64_t now = time_monotonic_ns();
    if (!s) return;
    bool begins = !s->active || strcmp(s->phase, phase) != 0;
    if (begins) {
        *s = (struct progress_slot){
            .active = true, .rate = -1, .sampled_ns = now, .sampled_bytes = p->bytes, .shown_ns = now};
        memcpy(s->surface, surface, sizeof surface);
        memcpy(s->phase, phase, sizeof phase);
    }
    s->bytes = p->bytes;
    s->bytes_total = p->bytes_total;
    s->bytes_stored = p->bytes_stored;
    s->items = p->items;
    slot_sample(s, now);
    if (o->config.json) {
        if (!begins && now - s->shown_ns < JSON_EVERY_NS) return;
        json_print(o, s, begins ? "phase" : "progress");
    } else if (o->config.live) {
        if (!begins && now - o->drawn_ns < LIVE_EVERY_NS) return;
        progress_draw_locked(o);
        o->drawn_ns = now;
    } else {
        if (!begins && now - s->shown_ns < PLAIN_EVERY_NS) return;
        plain_print(o, s, begins);
    }
    s->shown_ns = now;
}

void output_progress(struct output *o, const struct progress_point *p) {
    if (o->config.quiet) return;
    pthread_mutex_lock(&o->lock);
    if (!o->finished) progress_locked(o, p);
    pthread_mutex_unlock(&o->lock);
}

void output_progress_end(struct output *o, const char *surface, enum style style, const char *fmt, ...) {
    char name[sizeof o->slots[0].surface], text[LINE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    name_copy(name, sizeof name, surface);
    pthread_mutex_lock(&o->lock);
    struct progress_slot *s = slot_find(o, name);
    if (s) s->active = false;
    if (!o->config.json && (!o->config.quiet || style == STYLE_BAD)) output_line_err_locked(o, style, name, text);
    pthread_mutex_unlock(&o->lock);
}
