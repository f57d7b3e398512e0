#include "cli/verb.h"

#include "base/seam.h"
#include "work/mount.h"

static void mounted(void *ctx) {
    struct cli *c = ctx;
    const char *dir = options_operand(c->options, 0);
    output_event(c->output, "mounted", json_pack("{s:s}", "folder", dir));
    output_remark(c->output, "The recovery points are in %s until this ends: Ctrl-C, or fusermount3 -u %s", dir, dir);
}

int verb_run_mount(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    const struct mount_options o = {
        .dir = options_operand(c->options, 0),
        .allow_other = options_flag(c->options, OPT_ALLOW_OTHER),
        .mounted = mounted,
        .ctx = c,
    };
    output_set_job(c->output, "mount");
    int rc = verb_work_reading(c, &w, err);
    if (rc == 0) rc = mount_run(w, &o, err);
    verb_copies_say(c, w);
    if (rc == 0) output_set_result(c->output, json_pack("{s:s}", "folder", o.dir));
    return rc;
}
