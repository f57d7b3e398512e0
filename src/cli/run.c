#include "cli/cli.h"
#include "cli/docs.h"

#include "base/seam.h"

const verb_run verb_runs[VERB_COUNT] = {
#define VERB_RUN(id, function) [VERB_##id] = function,
#include "cli/verbs.def"
#undef VERB_RUN
};

static int version_print(struct cli *c, struct error *err) {
    output_print(c->output, "proofkeep %s\n", PROOFKEEP_VERSION);
    if (!output_is_json(c->output)) return 0;
    json_t *j = json_object();
    int r =
        j ? json_put_str(j, "version", PROOFKEEP_VERSION, err) : error_set(err, ERR_NO_MEMORY, "the version's JSON");
    if (r < 0) {
        json_decref(j);
        return r;
    }
    output_document(c->output, j);
    return 0;
}

static int completions_print(struct cli *c, struct error *err) {
    struct buf text = BUF_INIT(DOCS_BYTES_MAX);
    const char *shell = options_text(c->options, OPT_COMPLETIONS);
    int r = 0;
    for (const struct docs_kind *k = docs_kinds; k->name && r == 0; k++)
        if (strcmp(k->name, shell) == 0) r = k->make(&text, err);
    if (r == 0) output_raw(c->output, buf_bytes(&text));
    buf_free(&text);
    return r;
}

static int dispatch(struct cli *c, struct error *err) {
    enum verb_id verb = options_verb(c->options);
    if (options_flag(c->options, OPT_HELP)) return verb_run_help(c, err);
    if (options_flag(c->options, OPT_VERSION)) return version_print(c, err);
    if (options_given(c->options, OPT_COMPLETIONS)) return completions_print(c, err);
    if (verb_runs[verb]) return verb_runs[verb](c, err);
    return error_set(err, ERR_USAGE, "this build cannot run '%s'", verb_table[verb].name);
}

/* By the words alone, as a command line that is wrong must not look like the end of the archive either. */
static bool answers_recovery(int argc, char *const *argv) {
    bool wal = false;
    for (int i = 1; i < argc; i++) {
        if (wal && strcmp(argv[i], "get") == 0) return true;
        wal |= strcmp(argv[i], "wal") == 0;
    }
    return false;
}

/* A server in recovery takes 1 to 125 for "there is no such file", ends its recovery there and opens for writing. */
enum exit_status cli_status(int argc, char *const *argv, enum exit_status status, enum error_code code) {
    if (status == EXIT_OK || status > EXIT_WRONG_KEY || !answers_recovery(argc, argv)) return status;
    return code == ERR_WAL_ABSENT ? EXIT_FAILED : EXIT_CANNOT_TELL;
}

enum exit_status cli_run(int argc, char *const *argv, int out_fd, int err_fd) {
    struct options_early early = options_peek(argc, argv);
    struct output_config config = {0};
    struct error err = ERROR_INIT;
    struct cli c = {argc > 0 ? argv[0] : "proofkeep", NULL, NULL};
    struct options *options = NULL;
    output_config_detect(&config, out_fd, err_fd, early.color);
    config.json = early.json;
    config.quiet = early.quiet;
    config.verbose = early.verbose;
    if (output_new(&config, &c.output, &err) < 0) {
        static const char text[] = "error PK-SYS-001: The system refused memory\n";
        (void)!io_write_full(err_fd, text, sizeof text - 1, "standard error", &err);
        return cli_status(argc, argv, EXIT_FAILED, ERR_NO_MEMORY);
    }
    int r = options_parse(argc, argv, &options, &err);
    c.options = options;
    if (r == 0) r = dispatch(&c, &err);
    /* A verb that fails says why; one that says why has failed. */
    if (r < 0 && err.code == ERR_NONE)
        (void)!error_set(&err, ERR_INTERNAL, "a verb failed with %d and gave no reason", r);
    if (err.code == ERR_USAGE && options && options_verb(options) != VERB_NONE)
        (void)!error_next(&err, "proofkeep %s --help", verb_table[options_verb(options)].name);
    enum exit_status status = output_finish(c.output, &err, options && options_is_job(options));
    options_free(options);
    output_free(c.output);
    return cli_status(argc, argv, status, err.code);
}
