#include "work/hook.h"
#include "base/proc.h"
#include "base/seam.h"
#include "base/time.h"

#include <errno.h>

#define TIMEOUT_NS (300 * NS_PER_S)

const struct config_hook *hook_find(const struct config_hooks *hooks, const char *name) {
    if (!hooks) return NULL;
    const struct {
        const char *name;
        const struct config_hook *hook;
    } rows[] = {{"freeze", hooks->freeze},      {"resume", hooks->resume},   {"stop", hooks->stop},
                {"start", hooks->start},        {"standby", hooks->standby}, {"live", hooks->live},
                {"switch", hooks->switch_over}, {"health", hooks->health}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].name, name)) return rows[i].hook;
    return NULL;
}

static void words_free(char ***words) {
    for (size_t i = 0; *words && (*words)[i]; i++) seam_free((*words)[i]);
    seam_free(*words);
}

static int words_make(const struct config_environment *e, const struct config_strings *run, char ***ret,
                      struct error *err) {
    void *m = NULL;
    int rc = mem_alloc((run->count + 1) * sizeof(char *), &m, err);
    *ret = m;
    for (size_t i = 0; rc == 0 && i < run->count; i++) {
        CLEANUP(buf_free) struct buf b = BUF_INIT(1 << 16);
        rc = config_expand(run->items[i], e->head.name, &b, err);
        if (rc == 0) rc = mem_strdup((const char *)b.ptr, &(*ret)[i], err);
    }
    return rc;
}

static int input_make(const struct config_environment *e, const struct hook_event *event, struct buf *out,
                      struct error *err) {
    json_t *doc = json_pack("{s:i, s:s, s:s, s:s?, s:s?, s:O?}", "v", 1, "hook", event->hook, "environment",
                            e->head.name, "surface", event->surface, "action", event->action, "facts", event->facts);
    if (!doc) return error_set(err, ERR_NO_MEMORY, "no memory for what the hook is told");
    int rc = json_write(doc, out, err);
    json_decref(doc);
    return rc ? rc : buf_append(out, "\n", 1, err);
}

/* A hook need not read what it is told. */
static int input_write(struct proc *p, struct bytes text, struct error *err) {
    while (text.len > 0) {
        ssize_t n = seam_write(proc_in(p), text.ptr, text.len);
        if (n < 0 && errno == EPIPE) return 0;
        if (n < 0) return error_set_errno(err, ERR_IO_WRITE, "tell the hook what it is called for");
        text = BYTES_OF(text.ptr + n, text.len - (size_t)n);
    }
    return 0;
}

static int run(const struct config_environment *e, const struct config_hook *h, const struct hook_event *event,
               bool *ret_overdue, struct error *err) {
    CLEANUP(words_free) char **words = NULL;
    CLEANUP(buf_free) struct buf input = BUF_INIT(HOOK_INPUT_MAX);
    int rc = words_make(e, &h->run, &words, err);
    if (rc == 0) rc = input_make(e, event, &input, err);
    if (rc) return rc;
    struct proc *p = NULL;
    const struct proc_spec spec = {.argv = (const char *const *)words,
                                   .pipe_in = true,
                                   .keep_fd = -1,
                                   .timeout_ns = h->timeout.state == CONFIG_SET ? h->timeout.ns : TIMEOUT_NS};
    rc = proc_start(&spec, &p, err);
    if (rc) return rc;
    rc = input_write(p, buf_bytes(&input), err);
    if (rc == 0) rc = proc_wait(p, NULL, err);
    *ret_overdue = rc == -ERR_PROC_FAILED && proc_overdue(p);
    proc_free(p);
    return rc;
}

int hook_run(struct work *w, const struct config_environment *e, const struct config_hook *h,
             const struct hook_event *event, int64_t *ret_ns, struct error *err) {
    const int64_t begun = time_monotonic_ns();
    struct error why = ERROR_INIT;
    bool overdue = false;
    int rc = known_secrets_error(&w->known, run(e, h, event, &overdue, &why), &why);
    if (ret_ns) *ret_ns = time_monotonic_ns() - begun;
    if (rc == -ERR_PROC_FAILED || rc == -ERR_PROC_SPAWN)
        return error_set(err, overdue ? ERR_HOOK_TIME : ERR_HOOK, "the hook '%s' of %s%s%s: %s", event->hook,
                         e->head.name, event->surface ? "/" : "", event->surface ? event->surface : "", why.text);
    if (rc) *err = why;
    return rc;
}
