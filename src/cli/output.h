/* Everything the program prints. Data goes to standard output, remarks, progress and errors to standard error. With
 * --json, standard output carries JSON and standard error stays silent: queries print one document; jobs print one
 * event a line,
 * {"v":1,"seq":…,"t":"…","type":"plan|phase|progress|warning|receipt|result",…}, the last of them `result`. A failure
 * of either prints `result` as its last line, usage errors included. Readers must ignore types that they do not know.
 *
 * Invariants
 *  1. Text for people never carries control characters or foreign bytes of names to the terminal: they come out as
 * \xNN.
 *  2. A failed write of standard output latches; output_finish() then reports it and never answers EXIT_OK.
 *  3. Nothing follows the result.
 *
 * All functions may be called from any thread, and none but output_new can fail on the spot.
 */
#ifndef PK_CLI_OUTPUT_H
#define PK_CLI_OUTPUT_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"

enum style { STYLE_PLAIN, STYLE_GOOD, STYLE_WARN, STYLE_BAD, STYLE_BOLD, STYLE_DIM };

struct output_config {
    int out_fd, err_fd;
    bool json, quiet;
    unsigned verbose;
    bool colour_out, colour_err;
    bool live;        /* standard error is a terminal whose lines can be redrawn */
    bool utf8;        /* the terminal draws more than ASCII */
    unsigned columns; /* of that terminal; 0 means 80 */
};
/* Ask the descriptors and the environment (NO_COLOR, TERM, LC_ALL, LC_CTYPE, LANG); `color` is auto, always or never.
 */
void output_config_detect(struct output_config *c, int out_fd, int err_fd, const char *color);

struct output;
int output_new(const struct output_config *c, struct output **ret, struct error *err) PK_CHECK;
void output_free(struct output *o); /* does not flush; NULL is fine */
bool output_is_json(const struct output *o);
/* The name that every event carries from now on ("job"); copied, cut at 63 bytes. */
void output_set_job(struct output *o, const char *job);
/* False once standard output is lost: long listings may stop. */
bool output_alive(struct output *o);

/* ---- for people, on standard output; nothing with --json. No newline is added. */
void output_print(struct output *o, const char *fmt, ...) PK_PRINTF(2, 3);
void output_styled(struct output *o, enum style style, const char *fmt, ...) PK_PRINTF(3, 4);
/* Bytes as they are, --json or not: metrics, completions, receipts. */
void output_raw(struct output *o, struct bytes data);

/* ---- for people, on standard error; one line each, a newline is added; nothing with --json. */
void output_remark(struct output *o, const char *fmt, ...) PK_PRINTF(2, 3); /* not with --quiet */
void output_detail(struct output *o, const char *fmt, ...) PK_PRINTF(2, 3); /* only with --verbose */

void output_fine_detail(struct output *o, const char *fmt, ...) PK_PRINTF(2, 3); /* only with --verbose twice */

/* ---- for both: a line on standard error, or an event. surface may be NULL. */
void output_warning(struct output *o, const char *surface, const char *fmt, ...) PK_PRINTF(3, 4);

/* ---- for programs; nothing without --json. All take over `fields`, which may be NULL only if memory ran out. */
void output_event(struct output *o, const char *type, json_t *fields);
/* A query's one document. */
void output_document(struct output *o, json_t *document);
/* What the result line says beside the exit status; the last call counts. */
void output_set_result(struct output *o, json_t *fields);

/* What the result line says as `requests`, whatever its other fields are. */
void output_set_requests(struct output *o, json_t *fields);

/* End the output: the result line, or the error in words, or nothing. `failure` may hold ERR_NONE. `job` says that a
 * result line is due even on success. Returns the program's exit status. Call once. */
enum exit_status output_finish(struct output *o, const struct error *failure, bool job);

/* An error as people see it:
 *   error PK-IO-001: Reading failed
 *     why:   …
 *     state: …          (left out when nobody knows)
 *     next:  …
 *     docs:  proofkeep help PK-IO-001 */
int error_describe(const struct error *e, bool colour, struct buf *out, struct error *err) PK_CHECK;
/* The same for programs: {"code","name","what","why","state","next","docs"}. */
int error_to_json(const struct error *e, json_t **ret, struct error *err) PK_CHECK;

/* Append text with control characters, and bytes that are no UTF-8, as \xNN; newlines and tabs stay if keep_lines. */
int text_escape(struct buf *out, struct bytes text, bool keep_lines, struct error *err) PK_CHECK;
/* Columns that the text takes on a terminal. */
size_t text_columns(struct bytes text);

#endif
