#include "cli/cli.h"
#include "cli/docs.h"

static int unknown_topic(const char *topic, struct error *err) {
    const char *words[VERB_COUNT + ERR_COUNT] = {NULL}, *near;
    size_t n = 0;
    for (int i = 0; i < VERB_COUNT; i++) words[n++] = verb_table[i].name;
    for (int i = 1; i < ERR_COUNT; i++) words[n++] = error_info(i)->code;
    near = options_suggest(topic, words);
    (void)!error_next(err, "proofkeep help");
    if (near) return error_set(err, ERR_USAGE, "there is no verb or error code '%s'; did you mean '%s'?", topic, near);
    return error_set(err, ERR_USAGE, "there is no verb or error code '%s'", topic);
}

/* 'help TOPIC', '--help TOPIC' and 'VERB --help' are one. */
int verb_run_help(struct cli *c, struct error *err) {
    const char *topic = options_operand(c->options, 0);
    enum verb_id verb = options_verb(c->options);
    const struct error_info *info = NULL;
    bool json = output_is_json(c->output), verb_asks = verb != VERB_NONE && verb != VERB_HELP;
    json_t *document = NULL;
    if (!verb_asks) verb = topic ? verb_find(topic) : VERB_NONE;
    if (verb == VERB_NONE && topic && !(info = error_info_by_code(topic))) return unknown_topic(topic, err);

    struct buf text = BUF_INIT(DOCS_BYTES_MAX);
    int r;
    if (info)
        r = json ? docs_json_error(info, &document, err) : docs_help_error(info, &text, err);
    else if (verb != VERB_NONE)
        r = json ? docs_json_verb(verb, &document, err) : docs_help_verb(verb, &text, err);
    else
        r = json ? docs_json_program(&document, err) : docs_help_program(&text, err);
    if (r == 0 && json) output_document(c->output, document);
    if (r == 0 && !json) output_raw(c->output, buf_bytes(&text));
    buf_free(&text);
    return r;
}
