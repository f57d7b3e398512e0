/* 'ledger witness': needs no configuration and no key of a repository, so it opens neither. */
#include "cli/verb.h"

#include "base/seam.h"
#include "base/thread.h"
#include "base/time.h"
#include "cli/verb_ledger.h"
#include "work/counted.h"
#include "work/witness.h"

#define SLICE_MS 200

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

int ledger_witness(struct cli *c, struct error *err) {
    struct witness *w = NULL;
    if (options_flag(c->options, OPT_WITNESS_INIT)) return init(c, err);
    int rc = witness_open(options_text(c->options, OPT_STATE), options_text(c->options, OPT_REPOSITORY), &w, err);
    if (rc < 0) return rc;
    rc = options_given(c->options, OPT_EVERY) ? again(c, w, err) : once(c, w, err);
    witness_close(w);
    return rc;
}
