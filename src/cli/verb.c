#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/prompt.h"
#include "work/any_copy.h"

#include <stdio.h>

static void on_progress(void *ctx, const char *surface, const char *phase, uint64_t bytes, uint64_t total,
                        uint64_t stored, uint64_t items) {
    struct cli *c = ctx;
    struct progress_point p = {surface, phase, bytes, total, stored, items};
    output_progress(c->output, &p);
}

static void on_warning(void *ctx, const char *surface, const char *text) {
    struct cli *c = ctx;
    output_warning(c->output, surface, "%s", text);
}

static void on_receipt(void *ctx, const char *surface, const json_t *predicate, uint64_t seq,
                       const struct digest *entry) {
    struct cli *c = ctx;
    char hex[65];
    hex_encode(entry->b, sizeof entry->b, hex);
    if (!output_is_json(c->output)) return;
    output_event(c->output, "receipt",
                 json_pack("{s:s, s:I, s:s, s:O}", "surface", surface, "log_seq", (json_int_t)seq, "entry", hex,
                           "receipt", predicate));
}

static void on_requests(void *ctx, const struct store_requests *r) {
    struct cli *c = ctx;
    char text[200] = "", sent[32], received[32];
    size_t n = 0;
    uint64_t all = 0;
    json_t *fields = json_object();
    for (enum store_verb v = 0; v < STORE_VERBS; v++) {
        all += r->count[v];
        if (fields) json_object_set_new(fields, store_verb_name(v), json_integer((json_int_t)r->count[v]));
        if (r->count[v])
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %llu", n ? ", " : "", store_verb_name(v),
                                  (unsigned long long)r->count[v]);
    }
    if (fields) {
        json_object_set_new(fields, "bytes_sent", json_integer((json_int_t)r->bytes_sent));
        json_object_set_new(fields, "bytes_received", json_integer((json_int_t)r->bytes_received));
    }
    output_set_requests(c->output, fields);
    size_format(r->bytes_sent, sent);
    size_format(r->bytes_received, received);
    output_fine_detail(c->output, "%llu requests to the store (%s); %s sent, %s received", (unsigned long long)all,
                       text, sent, received);
}

static int on_passphrase(void *ctx, struct buf *ret, struct error *err) {
    const struct cli *c = ctx;
    struct prompt p = {"Passphrase of the repository", "--passphrase-file PATH or --key-file PATH", ERR_KEY_NONE};
    return prompt_secret(c, &p, ret, err);
}

static struct work_options work_options_of(struct cli *c) {
    const struct options *o = c->options;
    bool job = options_is_job(o);
    struct work_options w = {
        .config_path = options_text(o, OPT_CONFIG),
        .cache_dir = options_text(o, OPT_CACHE_DIR),
        .jobs = options_count(o, OPT_JOBS, 0),
        .ask_passphrase = on_passphrase,
        .ask_ctx = c,
        .events = {.ctx = c},
    };
    if (job) w.events.progress = on_progress;
    if (job) w.events.receipt = on_receipt;
    w.events.requests = on_requests;
    if (job || !output_is_json(c->output)) w.events.warning = on_warning;
    return w;
}

static int work_first(struct cli *c, const char *from, struct work **ret, struct error *err) {
    struct work_options w = work_options_of(c);
    w.from = from;
    w.repository = options_text(c->options, OPT_REPOSITORY);
    w.key_file = options_text(c->options, OPT_KEY_FILE);
    w.passphrase_file = options_text(c->options, OPT_PASSPHRASE_FILE);
    w.recovery_kit = options_text(c->options, OPT_RECOVERY_KIT);
    return work_open(&w, ret, err);
}

int verb_work(struct cli *c, struct work **ret, struct error *err) {
    return work_first(c, NULL, ret, err);
}

int verb_work_reading(struct cli *c, struct work **ret, struct error *err) {
    int rc = work_first(c, options_text(c->options, OPT_FROM), ret, err);
    if (rc == 0) (*ret)->any_copy = true;
    return rc;
}

void verb_copies_say(struct cli *c, const struct work *w) {
    char text[600];
    if (w && any_copy_sentence(w, text, sizeof text))
        output_warning(c->output, "copies", "%s, as the repository itself could not give them whole", text);
}

int verb_work_other(struct cli *c, const char *repository, const char *key_file, struct work **ret, struct error *err) {
    struct work_options w = work_options_of(c);
    w.repository = repository;
    w.key_file = key_file;
    return work_open(&w, ret, err);
}

void verb_work_close(struct work **w) {
    work_close(*w);
}

void verb_age(int64_t then_ns, int64_t now_ns, char out[48]) {
    char text[32];
    duration_format(now_ns > then_ns ? now_ns - then_ns : 0, text);
    snprintf(out, 48, "%s ago", text);
}

void verb_rate(uint64_t bytes, int64_t duration_ns, char out[40]) {
    char size[32];
    double seconds = duration_ns > 0 ? (double)duration_ns / 1e9 : 1e-9;
    size_format((uint64_t)((double)bytes / seconds), size);
    snprintf(out, 40, "%s/s", size);
}

int verb_budget(struct cli *c, int64_t *ret_ns, uint64_t *ret_bytes, struct error *err) {
    const char *text = options_text(c->options, OPT_BUDGET);
    *ret_ns = 0;
    *ret_bytes = 0;
    if (!text || (duration_parse(text, ret_ns) && *ret_ns > 0)) return 0;
    *ret_ns = 0;
    if (size_parse(text, ret_bytes) && *ret_bytes > 0) return 0;
    return error_set(err, ERR_USAGE, "--budget wants a time such as 1h or a size such as 50GiB, not '%s'", text);
}
