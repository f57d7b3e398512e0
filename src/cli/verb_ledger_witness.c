/* 'ledger witness': needs no configuration and no key of a repository, so it opens neither. */
#include "cli/verb.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "cli/verb_ledger.h"
#include "work/counted.h"
#include "work/witness.h"
#include "work/witness_serve.h"

#define SLICE_MS 200
#define SERVE_SLICE_NS (INT64_C(3600) * NS_PER_S)

static int init(struct cli *c, struct error *err) {
    CLEANUP(buf_free) struct buf verifier = BUF_INIT(4096);
    struct witness_setup s = {
        .dir = options_text(c->options, OPT_STATE),
        .url = options_text(c->options, OPT_REPOSITORY),
        .log_key = options_text(c->options, OPT_LOG_KEY),
        .name = options_text(c->options, OPT_NAME),
    };
    if (!s.url || !s.log_key) return error_set(err, ERR_USAGE, "--init needs %s", s.url ? "--log-key" : "--repository");
    int rc = witness_init(&s, &verifier, err);
    if (rc == 0) rc = buf_terminate(&verifier, err);
    if (rc < 0) return rc;
    output_print(c->output, "%s\n", (char *)verifier.ptr);
    output_remark(c->output,
                  "The witness is in %s. Name the key above under witness.keys of the repository's configuration.",
                  s.dir);
    output_set_result(c->output, json_pack("{s:s, s:s}", "state", s.dir, "verifier", (char *)verifier.ptr));
    return 0;
}

static int show(struct cli *c, const struct witness *w, struct witnessed *v, struct error *err) {
    char root[65], when[32];
    const char *out = options_text(c->options, OPT_OUT);
    hex_encode(v->root.b, sizeof v->root.b, root);
    time_format(v->time_s * NS_PER_S, when);
    int rc = out ? io_replace_file(AT_FDCWD, out, buf_bytes(&v->note), 0644, err) : buf_terminate(&v->note, err);
    if (rc < 0) return rc;
    if (!out && !output_is_json(c->output)) output_raw(c->output, buf_bytes(&v->note));
    output_remark(c->output, "%s of %s vouched for at %s, signed by '%s' (%s before)", COUNTED(v->size, "entry"),
                  witness_url(w), when, v->signer, COUNTED(v->former, "entry"));
    json_t *facts = json_pack("{s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s#}", "former", (json_int_t)v->former, "size",
                              (json_int_t)v->size, "entries", (json_int_t)v->entries, "objects", (json_int_t)v->objects,
                              "root", root, "time", when, "signer", v->signer, "witness", witness_key(w)->name,
                              "checkpoint", (const char *)v->note.ptr, (int)v->note.len);
    if (options_given(c->options, OPT_EVERY)) output_event(c->output, "cosigned", json_incref(facts));
    output_set_result(c->output, facts);
    return 0;
}

static int once(struct cli *c, struct witness *w, struct error *err) {
    struct witnessed v;
    const char *place = options_text(c->options, OPT_PUBLISH);
    int rc = witness_look(w, options_flag(c->options, OPT_ALL), &v, err);
    if (rc == 0 && place) rc = witness_publish(w, place, &v, err);
    if (rc == 0) rc = show(c, w, &v, err);
    if (*v.evidence) output_set_result(c->output, json_pack("{s:s}", "evidence", v.evidence));
    buf_free(&v.note);
    return rc;
}

static int rest(int64_t ns, struct error *err) {
    for (int64_t until = time_monotonic_ns() + ns, left; (left = until - time_monotonic_ns()) > 0;) {
        int rc = stop_check(err);
        if (rc < 0) return rc;
        (void)seam_poll(NULL, 0, left > SLICE_MS * INT64_C(1000000) ? SLICE_MS : (int)(left / 1000000) + 1);
    }
    return stop_check(err);
}

/* What is wrong with the log ends the watch, so that whoever started it sees; what is wrong with the way to it does
 * not. */
static int again(struct cli *c, struct witness *w, struct error *err) {
    int64_t every = options_duration(c->options, OPT_EVERY, 0);
    for (;;) {
        struct error e = ERROR_INIT;
        int rc = once(c, w, &e);
        enum exit_status status = rc < 0 ? error_info(rc)->status : EXIT_OK;
        if (rc < 0 && status != EXIT_UNREACHABLE && rc != -ERR_UNVERIFIABLE && rc != -ERR_REPO_BUSY &&
            rc != -ERR_REPO_NONE && rc != -ERR_IO_READ) {
            *err = e;
            return rc;
        }
        if (rc < 0) output_warning(c->output, NULL, "%s", e.text);
        if ((rc = rest(every, err)) < 0) return rc;
    }
}

/* What stands in the buffer is seen now by whoever reads along. */
static void flush(struct cli *c) {
    output_raw(c->output, BYTES_OF(NULL, 0));
}

static void answered(void *ctx, const struct witness_answer *a, const char *from) {
    struct cli *c = ctx;
    if (output_is_json(c->output)) {
        output_event(c->output, "answered",
                     json_pack("{s:s, s:i, s:I, s:s}", "from", from, "status", a->status, "size", (json_int_t)a->size,
                               "why", a->why));
        return;
    }
    if (a->status == 200)
        output_print(c->output, "%s: %s vouched for\n", from, COUNTED(a->size, "entry"));
    else
        output_warning(c->output, NULL, "%s is answered %d: %s", from, a->status, a->why);
    flush(c);
}

/* Until it is told to stop. */
static int serve(struct cli *c, struct witness *w, struct error *err) {
    struct witness_events events = {.ctx = c, .answered = answered};
    struct witness_server *s = NULL;
    int rc = witness_server_start(w, options_text(c->options, OPT_LISTEN), &events, &s, err);
    if (rc < 0) return rc;
    if (output_is_json(c->output))
        output_event(c->output, "listening", json_pack("{s:s}", "url", witness_server_url(s)));
    else
        output_print(c->output, "listening at %s, for the log of %s\n", witness_server_url(s), witness_url(w));
    flush(c);
    if (witness_server_is_open(s))
        output_warning(c->output, NULL,
                       "others than this host can reach it, without TLS; a proxy before it should have that");
    while ((rc = rest(SERVE_SLICE_NS, err)) == 0) continue;
    witness_server_stop(s);
    return rc;
}

int ledger_witness(struct cli *c, struct error *err) {
    struct witness *w = NULL;
    if (options_flag(c->options, OPT_WITNESS_INIT)) return init(c, err);
    const bool looks = options_given(c->options, OPT_EVERY) || options_given(c->options, OPT_PUBLISH) ||
                       options_given(c->options, OPT_OUT) || options_flag(c->options, OPT_ALL);
    if (options_given(c->options, OPT_LISTEN) && looks)
        return error_set(err, ERR_USAGE,
                         "--listen answers who asks; --every, --publish, --out and --all are for looking");
    int rc = witness_open(options_text(c->options, OPT_STATE), options_text(c->options, OPT_REPOSITORY), &w, err);
    if (rc < 0) return rc;
    if (options_given(c->options, OPT_LISTEN))
        rc = serve(c, w, err);
    else
        rc = options_given(c->options, OPT_EVERY) ? again(c, w, err) : once(c, w, err);
    witness_close(w);
    return rc;
}
