#include "cli/output.h"

#include <string.h>

static int sentence_length(const char *s) {
    size_t n = strlen(s);
    return (int)(n > 0 && s[n - 1] == '.' ? n - 1 : n);
}

static const char *state_of(const struct error *e) {
    /* The table of exit statuses promises this for every error of that status. */
    if (!e->state[0] && error_info(e->code)->status == EXIT_USAGE) return "nothing was touched";
    return e->state;
}

static const char *next_of(const struct error *e) {
    return e->next[0] ? e->next : error_info(e->code)->next;
}

int error_describe(const struct error *e, bool colour, struct buf *out, struct error *err) {
    const struct error_info *info = error_info(e->code);
    const char *state = state_of(e);
    int r = buf_printf(out, err, "%serror %s: %.*s%s\n", colour ? "\033[31m" : "", info->code,
                       sentence_length(info->what), info->what, colour ? "\033[0m" : "");
    if (r == 0 && e->text[0]) r = buf_printf(out, err, "  why:   %s\n", e->text);
    if (r == 0 && state[0]) r = buf_printf(out, err, "  state: %s\n", state);
    if (r == 0) r = buf_printf(out, err, "  next:  %s\n", next_of(e));
    if (r == 0) r = buf_printf(out, err, "  docs:  proofkeep help %s\n", info->code);
    return r;
}

static int put_all(json_t *j, const struct error *e, struct error *err) {
    const struct error_info *info = error_info(e->code);
    char docs[64] = "proofkeep help ";
    strncat(docs, info->code, sizeof docs - strlen(docs) - 1);
    int r = json_put_str(j, "code", info->code, err);
    if (r == 0) r = json_put_str(j, "name", info->name, err);
    if (r == 0) r = json_put_str(j, "what", info->what, err);
    if (r == 0) r = json_put_str(j, "why", e->text, err);
    if (r == 0) r = json_put_str(j, "state", state_of(e), err);
    if (r == 0) r = json_put_str(j, "next", next_of(e), err);
    if (r == 0) r = json_put_str(j, "docs", docs, err);
    return r;
}

int error_to_json(const struct error *e, json_t **ret, struct error *err) {
    json_t *j = json_object();
    if (!j) return error_set(err, ERR_NO_MEMORY, "the error's JSON");
    int r = put_all(j, e, err);
    if (r < 0) {
        json_decref(j);
        return r;
    }
    *ret = j;
    return 0;
}
