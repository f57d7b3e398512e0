#include "cli/verb.h"
#include "work/export.h"

#include <stdio.h>

int verb_run_export(struct cli *c, struct error *err) {
    struct work *w = NULL;
    const struct snapshot_info *info;
    const char *to = options_text(c->options, OPT_TO);
    char id[SNAPSHOT_ID_MAX];
    output_set_job(c->output, "export");
    int rc = verb_work_reading(c, &w, err);
    if (rc == 0) rc = work_find_point(w, options_operand(c->options, 0), &info, err);
    if (rc == 0) {
        snprintf(id, sizeof id, "%s", info->id);
        rc = export_snapshot(w, info, to, err);
    }
    verb_copies_say(c, w);
    if (rc == 0) {
        output_print(c->output, "%s is in %s; check it with: cd %s && sha256sum -c CHECKSUMS\n", id, to, to);
        output_set_result(c->output, json_pack("{s:s, s:s}", "snapshot", id, "to", to));
    }
    work_close(w);
    return rc;
}
