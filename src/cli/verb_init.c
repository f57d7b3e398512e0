#include "base/seam.h"
#include "cli/verb.h"

#include "work/keys.h"

static json_t *text_or_null(const char *s) {
    return *s ? json_name(BYTES_STR(s)) : json_null();
}

static int result_set(struct cli *c, const struct init_result *r, struct error *err) {
    json_t *j = json_pack("{s:s, s:o, s:o, s:b, s:b, s:o}", "repository", r->id, "url", text_or_null(r->url),
                          "key_file", text_or_null(r->key_file), "key_made", r->key_made, "same_device", r->same_device,
                          "config", text_or_null(r->config));
    if (!j) return error_set(err, ERR_NO_MEMORY, "no memory for the result");
    output_set_result(c->output, j);
    return 0;
}

static void print(struct cli *c, const struct init_request *q, const struct init_result *r) {
    struct output *o = c->output;
    output_print(o, "repository  %s\n            id %s\n", r->url, r->id);
    if (q->source) output_print(o, "            takes copies of %s, whose content keys it shares\n", q->source->url);
    if (*r->key_file) output_print(o, "key         %s (%s)\n", r->key_file, r->key_made ? "new" : "as it was");
    if (q->passphrase_file)
        output_print(o, "passphrase  the first line of %s opens it%s\n", q->passphrase_file,
                     *r->key_file ? " as well" : "");
    if (*r->config) output_print(o, "config      %s, to be edited: it says what is backed up\n", r->config);
    if (*r->config_kept) output_print(o, "config      %s was left as it is\n", r->config_kept);
    if (r->same_device)
        output_warning(o, NULL, "the key and the repository lie on one file system; a failed disk takes both");
    output_styled(o, STYLE_BOLD, "\nRecovery kit");
    output_print(
        o,
        ": keep these three, together and away from this host and from the repository. Without the key nobody\n"
        "can restore anything, and nobody can make it anew.\n"
        "  1. a copy of %s\n  2. where the repository is: %s (id %s)\n  3. the program itself\n",
        *r->key_file ? r->key_file : "the passphrase", r->url, r->id);
    output_print(o, "'proofkeep key recovery-kit --role admin' prints a key for paper, and 'proofkeep key test-recovery' tries it.\n");
    if (q->source)
        output_print(o, "\nnext: proofkeep copy --all --repository %s --to %s\n", q->source->url, r->url);
    else
        output_print(o, "\nnext: proofkeep doctor\n");
}

int verb_run_init(struct cli *c, struct error *err) {
    struct init_request q = {
        .config_path = options_text(c->options, OPT_CONFIG),
        .repository = options_text(c->options, OPT_REPOSITORY),
        .key_file = options_text(c->options, OPT_KEY_FILE),
        .passphrase_file = options_text(c->options, OPT_PASSPHRASE_FILE),
        .cache_dir = options_text(c->options, OPT_CACHE_DIR),
    };
    struct init_result r;
    CLEANUP(verb_work_close) struct work *source = NULL;
    const char *copy_of = options_text(c->options, OPT_COPY_OF), *key = options_text(c->options, OPT_FROM_KEY_FILE);
    int rc = 0;
    output_set_job(c->output, "init");
    if (key && !copy_of) return error_set(err, ERR_USAGE, "--from-key-file opens the repository of --copy-of");
    if (copy_of) rc = verb_work_other(c, copy_of, key, &source, err);
    q.source = source;
    if (rc == 0) rc = work_init(&q, &r, err);
    if (rc < 0) return rc;
    print(c, &q, &r);
    return result_set(c, &r, err);
}
