#include "base/seam.h"
#include "base/time.h"
#include "cli/output_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#define PENDING_BYTES_MAX (256u << 10)
#define PENDING_BYTES_FLUSH (32u << 10)
#define LINE_BYTES_MAX (JSON_MAX_BYTES * 4)

static const char *const style_on[] = {
    [STYLE_GOOD] = "\033[32m", [STYLE_WARN] = "\033[33m", [STYLE_BAD] = "\033[31m",
    [STYLE_BOLD] = "\033[1m",  [STYLE_DIM] = "\033[2m",
};
#define STYLE_OFF "\033[0m"

int output_new(const struct output_config *c, struct output **ret, struct error *err) {
    void *p;
    int r = mem_alloc(sizeof(struct output), &p, err);
    if (r < 0) return r;
    struct output *o = p;
    o->config = *c;
    if (o->config.columns < 20) o->config.columns = 80;
    o->pending = BUF_INIT(PENDING_BYTES_MAX);
    pthread_mutex_init(&o->lock, NULL);
    *ret = o;
    return 0;
}

void output_free(struct output *o) {
    if (!o) return;
    buf_free(&o->pending);
    json_decref(o->result);
    json_decref(o->requests);
    pthread_mutex_destroy(&o->lock);
    seam_free(o);
}

bool output_is_json(const struct output *o) {
    return o->config.json;
}

static void output_unlock(pthread_mutex_t **lock) {
    pthread_mutex_unlock(*lock);
}
#define WITH_LOCK(o)                                                                                                   \
    CLEANUP(output_unlock) __attribute__((unused)) pthread_mutex_t *held = &(o)->lock;                                 \
    pthread_mutex_lock(held)

void output_set_job(struct output *o, const char *job) {
    WITH_LOCK(o);
    snprintf(o->job, sizeof o->job, "%s", job);
}

bool output_alive(struct output *o) {
    WITH_LOCK(o);
    return o->failure.code == ERR_NONE;
}

static void out_write_locked(struct output *o, struct bytes data) {
    struct error err = ERROR_INIT;
    if (o->lost || data.len == 0) return;
    if (io_write_full(o->config.out_fd, data.ptr, data.len, "standard output", &err) == 0) return;
    o->lost = true;
    (void)!error_state(&err, "what was printed is incomplete; the work itself may have been done");
    if (o->failure.code == ERR_NONE) o->failure = err;
}

static void out_flush_locked(struct output *o) {
    out_write_locked(o, buf_bytes(&o->pending));
    buf_clear(&o->pending);
}

/* Remarks come after the data that was printed before them, even where both go to one file. */
void output_err_locked(struct output *o, struct bytes text) {
    struct error lost = ERROR_INIT;
    out_flush_locked(o);
    progress_erase_locked(o);
    /* There is nowhere left to say that standard error is lost, and work does not stop for it. */
    (void)!io_write_full(o->config.err_fd, text.ptr, text.len, "standard error", &lost);
}

/* Styled and escaped text; newlines of the format stay, those of the arguments cannot be told apart and stay as well.
 */
static int style_format(struct buf *out, bool colour, enum style style, bool keep_lines, const char *fmt, va_list ap,
                        struct error *err) __attribute__((format(printf, 5, 0)));
static int style_format(struct buf *out, bool colour, enum style style, bool keep_lines, const char *fmt, va_list ap,
                        struct error *err) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0) return error_set(err, ERR_INTERNAL, "a text could not be formatted");
    void *p = NULL;
    int r = mem_alloc((size_t)n + 1, &p, err);
    if (r < 0) return r;
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    colour = colour && style != STYLE_PLAIN;
    if (colour) r = buf_append_str(out, style_on[style], err);
    if (r == 0) r = text_escape(out, BYTES_OF(p, (size_t)n), keep_lines, err);
    if (r == 0 && colour) r = buf_append_str(out, STYLE_OFF, err);
    seam_free(p);
    return r;
}

static void print_locked(struct output *o, enum style style, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static void print_locked(struct output *o, enum style style, const char *fmt, va_list ap) {
    if (o->config.json || o->failure.code != ERR_NONE) return;
    size_t before = o->pending.len;
    if (style_format(&o->pending, o->config.colour_out, style, true, fmt, ap, &o->failure) < 0) {
        o->pending.len = before;
        return;
    }
    if (o->pending.len >= PENDING_BYTES_FLUSH) out_flush_locked(o);
}

void output_print(struct output *o, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    {
        WITH_LOCK(o);
        print_locked(o, STYLE_PLAIN, fmt, ap);
    }
    va_end(ap);
}

void output_styled(struct output *o, enum style style, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    {
        WITH_LOCK(o);
        print_locked(o, style, fmt, ap);
    }
    va_end(ap);
}

void output_raw(struct output *o, struct bytes data) {
    WITH_LOCK(o);
    out_flush_locked(o);
    out_write_locked(o, data);
}

static void line_err_locked(struct output *o, enum style style, const char *prefix, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));
static void line_err_locked(struct output *o, enum style style, const char *prefix, const char *fmt, va_list ap) {
    struct error err = ERROR_INIT;
    struct buf line = BUF_INIT(PENDING_BYTES_MAX);
    int r = text_escape(&line, BYTES_STR(prefix), false, &err);
    if (r == 0) r = style_format(&line, o->config.colour_err, style, false, fmt, ap, &err);
    if (r == 0) r = buf_append_str(&line, "\n", &err);
    if (r == 0) {
        output_err_locked(o, buf_bytes(&line));
        progress_draw_locked(o);
    }
    buf_free(&line);
}

__attribute__((format(printf, 4, 5))) static void line_err_words_locked(struct output *o, enum style style,
                                                                        const char *prefix, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    line_err_locked(o, style, prefix, fmt, ap);
    va_end(ap);
}

void output_line_err_locked(struct output *o, enum style style, const char *name, const char *text) {
    char prefix[128];
    snprintf(prefix, sizeof prefix, "%s: ", name);
    line_err_words_locked(o, style, prefix, "%s", text);
}

void output_remark(struct output *o, const char *fmt, ...) {
    if (o->config.json || o->config.quiet) return;
    va_list ap;
    va_start(ap, fmt);
    {
        WITH_LOCK(o);
        line_err_locked(o, STYLE_PLAIN, "", fmt, ap);
    }
    va_end(ap);
}

void output_detail(struct output *o, const char *fmt, ...) {
    if (o->config.json || o->config.quiet || o->config.verbose == 0) return;
    va_list ap;
    va_start(ap, fmt);
    {
        WITH_LOCK(o);
        line_err_locked(o, STYLE_DIM, "", fmt, ap);
    }
    va_end(ap);
}

void output_fine_detail(struct output *o, const char *fmt, ...) {
    if (o->config.json || o->config.quiet || o->config.verbose < 2) return;
    va_list ap;
    va_start(ap, fmt);
    {
        WITH_LOCK(o);
        line_err_locked(o, STYLE_DIM, "", fmt, ap);
    }
    va_end(ap);
}

/* For JSON, which carries only UTF-8; control characters are JSON's own business, but these texts are for people. */
static json_t *text_to_json(const char *text) {
    struct error err = ERROR_INIT;
    struct buf b = BUF_INIT(PENDING_BYTES_MAX);
    json_t *j = NULL;
    if (text_escape(&b, BYTES_STR(text), true, &err) == 0) j = json_stringn((const char *)b.ptr, b.len);
    buf_free(&b);
    return j;
}

void output_warning(struct output *o, const char *surface, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (o->config.json) {
        char text[1024];
        struct error err = ERROR_INIT;
        json_t *fields = json_object();
        int r = fields ? 0 : -1;
        vsnprintf(text, sizeof text, fmt, ap);
        if (r == 0 && surface) r = json_put(fields, "surface", text_to_json(surface), &err);
        if (r == 0) r = json_put(fields, "text", text_to_json(text), &err);
        if (r < 0) {
            json_decref(fields);
            fields = NULL;
        }
        output_event(o, "warning", fields);
    } else {
        char prefix[160] = "warning: ";
        if (surface) snprintf(prefix, sizeof prefix, "warning: %s: ", surface);
        WITH_LOCK(o);
        line_err_locked(o, STYLE_WARN, prefix, fmt, ap);
    }
    va_end(ap);
}

/* `fields` stays the caller's. */
static int event_write_locked(struct output *o, const char *type, json_t *fields, struct error *err) {
    struct buf line = BUF_INIT(LINE_BYTES_MAX);
    char now[32];
    time_format(time_now_ns(), now);
    int r = json_put_int(fields, "v", 1, err);
    if (r == 0) r = json_put_int(fields, "seq", (int64_t)o->seq, err);
    if (r == 0) r = json_put_str(fields, "t", now, err);
    if (r == 0) r = json_put_str(fields, "type", type, err);
    if (r == 0 && o->job[0]) r = json_put_str(fields, "job", o->job, err);
    if (r == 0) r = json_write(fields, &line, err);
    if (r == 0) r = buf_append_str(&line, "\n", err);
    if (r == 0) {
        out_write_locked(o, buf_bytes(&line));
        o->seq++;
    }
    buf_free(&line);
    return r;
}

void output_event_locked(struct output *o, const char *type, json_t *fields) {
    struct error err = ERROR_INIT;
    int r = 0;
    if (!o->config.json || o->finished) {
        json_decref(fields);
        return;
    }
    if (!fields) r = error_set(&err, ERR_NO_MEMORY, "an event of type %s", type);
    if (r == 0) r = event_write_locked(o, type, fields, &err);
    if (r < 0 && o->failure.code == ERR_NONE) o->failure = err;
    json_decref(fields);
}

void output_event(struct output *o, const char *type, json_t *fields) {
    WITH_LOCK(o);
    output_event_locked(o, type, fields);
}

void output_document(struct output *o, json_t *document) {
    struct buf text = BUF_INIT(64u << 20);
    WITH_LOCK(o);
    int r = 0;
    if (o->config.json && o->failure.code == ERR_NONE) {
        if (!document) r = error_set(&o->failure, ERR_NO_MEMORY, "the document to print");
        if (r == 0) r = json_write_pretty(document, &text, &o->failure);
        if (r == 0) r = buf_append_str(&text, "\n", &o->failure);
        if (r == 0) out_write_locked(o, buf_bytes(&text));
    }
    json_decref(document);
    buf_free(&text);
}

void output_set_result(struct output *o, json_t *fields) {
    WITH_LOCK(o);
    json_decref(o->result);
    o->result = fields;
}

void output_set_requests(struct output *o, json_t *fields) {
    WITH_LOCK(o);
    json_decref(o->requests);
    o->requests = fields;
}

static const char *exit_status_name(enum exit_status s) {
    switch (s) {
#define EXIT_STATUS(name, number, text)                                                                                \
    case EXIT_##name:                                                                                                  \
        return #name;
#include "base/exit_table.def"
#undef EXIT_STATUS
    }
    return "FAILED";
}

/* Without memory the last line is still a result, and still says how it ended. */
static void result_write_short_locked(struct output *o, enum exit_status status) {
    char line[160], now[32];
    time_format(time_now_ns(), now);
    int n = snprintf(line, sizeof line, "{\"exit\":%d,\"seq\":%llu,\"t\":\"%s\",\"type\":\"result\",\"v\":1}\n",
                     (int)status, (unsigned long long)o->seq, now);
    out_write_locked(o, BYTES_OF(line, (size_t)n));
}

static void result_write_locked(struct output *o, const struct error *failure, enum exit_status status) {
    struct error err = ERROR_INIT;
    json_t *fields = o->result ? o->result : json_object(), *problem = NULL;
    uint64_t seq = o->seq;
    o->result = NULL;
    int r = fields ? 0 : -ERR_NO_MEMORY;
    if (r == 0 && failure->code != ERR_NONE) r = error_to_json(failure, &problem, &err);
    if (r == 0 && problem) r = json_put(fields, "error", problem, &err);
    if (r == 0 && o->requests) {
        r = json_put(fields, "requests", o->requests, &err);
        o->requests = NULL;
    }
    if (r == 0) r = json_put_int(fields, "exit", status, &err);
    if (r == 0) r = json_put_str(fields, "status", exit_status_name(status), &err);
    if (r == 0) r = event_write_locked(o, "result", fields, &err);
    if (r < 0) {
        o->seq = seq;
        result_write_short_locked(o, status);
    }
    json_decref(fields);
}

enum exit_status output_finish(struct output *o, const struct error *failure, bool job) {
    WITH_LOCK(o);
    struct error shown = *failure;
    assert(!o->finished);
    out_flush_locked(o);
    if (shown.code == ERR_NONE && o->failure.code != ERR_NONE) shown = o->failure;
    enum exit_status status = shown.code == ERR_NONE ? EXIT_OK : error_info(shown.code)->status;
    if (o->config.json && (job || shown.code != ERR_NONE)) result_write_locked(o, &shown, status);
    if (shown.code == ERR_NONE && o->failure.code != ERR_NONE) {
        shown = o->failure;
        status = error_info(shown.code)->status;
    }
    o->finished = true;
    progress_erase_locked(o);
    /* Standard error is silent with --json, unless it is the only one left to tell. */
    if (shown.code != ERR_NONE && (!o->config.json || o->lost)) {
        struct buf text = BUF_INIT(PENDING_BYTES_MAX);
        struct error lost = ERROR_INIT;
        if (error_describe(&shown, o->config.colour_err, &text, &lost) == 0) output_err_locked(o, buf_bytes(&text));
        buf_free(&text);
    }
    return status;
}
