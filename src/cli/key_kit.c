#include "cli/key_kit.h"

#include "base/time.h"
#include "work/recovery.h"

#include <stdio.h>
#include <unistd.h>

/* Not by output_print: a kit is data that was asked for, and never cut or coloured. */
static json_t *result_of(const struct kit_request *q, const struct kit_made *k) {
    struct bytes text = secret_bytes(k->text);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "id", k->id, "role", key_role_name(q->role), "slot",
                     k->slot, "check_word", k->word, "made_at", k->made_at, "kit_file",
                     q->out ? json_name(BYTES_STR(q->out)) : json_null(), "text",
                     q->out ? json_null() : json_stringn((const char *)text.ptr, text.len));
}

int key_kit_print(struct cli *c, struct work *w, struct error *err) {
    struct kit_request q = {.out = options_text(c->options, OPT_KIT_OUT),
                            .out_fd = STDOUT_FILENO,
                            .allow_same_disk = options_flag(c->options, OPT_ALLOW_SAME_DISK)};
    struct kit_made k;
    const char *role = options_text(c->options, OPT_ROLE);
    if (!key_role_parse(role, &q.role)) return error_set(err, ERR_USAGE, "there is no role '%s'", role);
    int rc = recovery_kit_make(w, &q, &k, err);
    if (rc < 0) return rc;
    if (output_is_json(c->output))
        output_set_result(c->output, result_of(&q, &k));
    else if (q.out)
        output_print(c->output, "recovery kit of %s key %.16s in %s\n", role, k.id, q.out);
    else
        output_raw(c->output, secret_bytes(k.text));
    output_remark(c->output, "%s",
                  q.out ? "Print it, and remove the file: it opens the repository."
                        : "Keep it on paper only, away from the repository and its hosts.");
    output_remark(c->output, "Then type it in again from the paper: proofkeep key test-recovery --recovery-kit -");
    recovery_kit_free(&k);
    return 0;
}

int key_kit_test(struct cli *c, struct work *w, struct error *err) {
    struct recovery_test t;
    char size[32], age[48] = "never before";
    int rc = recovery_test(w, &t, err);
    if (rc < 0) return rc;
    size_format(t.decoded_bytes, size);
    if (t.previous_ns) verb_age(t.previous_ns, time_now_ns(), age);
    output_print(c->output, "the recovery kit opens %s with %s %s key, and reads it\n", w->url,
                 t.role == ROLE_ADMIN ? "an" : "a", key_role_name(t.role));
    output_print(c->output, "decoded     %s of %s@%s\n", size, t.label, t.point);
    output_print(c->output, "recorded    log entry %llu; drilled last: %s\n", (unsigned long long)t.seq, age);
    if (!t.slot_stored)
        output_warning(c->output, NULL,
                       "the repository has lost the slot of this kit: the kit's own copy opened it. Make a new kit.");
    if (!t.has_slot) output_remark(c->output, "The S lines of the kit were not typed, and so were not tried.");
    if (!t.has_word) output_remark(c->output, "The check word was not typed, and so was not compared.");
    output_set_result(c->output, json_pack("{s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:b}", "key", t.key, "role",
                                           key_role_name(t.role), "point", t.point, "decoded_bytes",
                                           (json_int_t)t.decoded_bytes, "log_seq", (json_int_t)t.seq, "slot_stored",
                                           t.slot_stored, "slot_lines", t.has_slot, "check_word", t.has_word));
    return 0;
}
