#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/key_kit.h"
#include "cli/listing.h"
#include "work/counted.h"
#include "work/keys.h"

#include <stdio.h>

static const struct listing_column columns[] = {
    {"ID", false}, {"ROLE", false}, {"OPENED BY", false}, {"LABEL", false}, {"NOTES", false}};
#define COLUMNS (sizeof columns / sizeof *columns)

static int key_row(struct listing *l, const json_t *k, struct error *err) {
    const json_t *slot;
    size_t i;
    char id[17], kinds[256] = "nothing";
    snprintf(id, sizeof id, "%s", json_string_value(json_object_get(k, "id")));
    const json_t *slots = json_object_get(k, "slots");
    json_array_foreach(slots, i, slot) {
        size_t n = i ? strlen(kinds) : 0;
        const char *object = strrchr(json_string_value(json_object_get(slot, "object")), '/');
        n += (size_t)snprintf(kinds + n, sizeof kinds - n, "%s%s", i ? ", " : "",
                              json_string_value(json_object_get(slot, "kind")));
        /* several: one of them can be removed alone */
        if (json_array_size(slots) > 1 && object && n < sizeof kinds)
            snprintf(kinds + n, sizeof kinds - n, " %.16s", object + 1);
    }
    const char *note = json_is_string(json_object_get(k, "suspect_since")) ? "revoked"
                       : json_is_true(json_object_get(k, "removed"))       ? "removed"
                       : json_is_false(json_object_get(k, "known"))        ? "unknown to the log"
                       : json_is_true(json_object_get(k, "current"))       ? "this one"
                                                                           : "";
    const char *cells[COLUMNS] = {id, json_string_value(json_object_get(k, "role")), kinds,
                                  json_string_value(json_object_get(k, "label")), note};
    return listing_row(l, cells, err);
}

static int list(struct cli *c, struct work *w, struct error *err) {
    struct listing *l = NULL;
    json_t *document = NULL;
    const json_t *k;
    size_t i;
    int rc = key_list(w, &document, err);
    if (rc == 0) rc = listing_new(columns, COLUMNS, &l, err);
    if (rc == 0) json_array_foreach(json_object_get(document, "keys"), i, k) {
            if (rc == 0) rc = key_row(l, k, err);
        }
    if (rc == 0) listing_print(l, c->output);
    listing_free(l);
    if (rc < 0)
        json_decref(document);
    else
        output_document(c->output, document);
    return rc;
}

static struct key_request request_of(const struct cli *c) {
    return (struct key_request){
        .recipient = options_text(c->options, OPT_RECIPIENT),
        .key_file_out = options_text(c->options, OPT_KEY_FILE_OUT),
        .passphrase_file_new = options_text(c->options, OPT_PASSPHRASE_FILE_NEW),
        .label = options_text(c->options, OPT_LABEL),
    };
}

static void place_warn(struct cli *c, const struct work *w, const char *key_file) {
    if (key_file && key_same_device(key_file, w->url))
        output_warning(c->output, NULL,
                       "the key and the repository lie on one file system; a failed disk, or a thief, takes both");
}

static int add(struct cli *c, struct work *w, struct error *err) {
    struct key_request q = request_of(c);
    const char *role = options_text(c->options, OPT_ROLE);
    char id[65];
    if (!key_role_parse(role, &q.role)) return error_set(err, ERR_USAGE, "there is no role '%s'", role);
    int rc = key_add(w, &q, id, err);
    if (rc < 0) return rc;
    output_print(c->output, "%s key %.16s%s%s\n", role, id, q.key_file_out ? " in " : "",
                 q.key_file_out ? q.key_file_out : "");
    place_warn(c, w, q.key_file_out);
    if (q.role == ROLE_WRITER)
        output_remark(c->output, "It can add backups, and can neither read, change nor delete one.");
    output_set_result(c->output, json_pack("{s:s, s:s, s:o}", "id", id, "role", role, "key_file",
                                           q.key_file_out ? json_name(BYTES_STR(q.key_file_out)) : json_null()));
    return 0;
}

static int remove_key(struct cli *c, struct work *w, struct error *err) {
    char id[65];
    bool slot = false;
    int rc = key_remove(w, options_operand(c->options, 0), id, &slot, err);
    if (rc < 0) return rc;
    output_print(c->output, "%s %.16s is removed\n", slot ? "slot" : "key", id);
    output_remark(c->output, "%s",
                  slot ? "The key itself stays in force; whoever kept a copy of the slot opens that as before."
                       : "Whoever has it can add nothing more; what it could read before, a copy of it still reads.");
    output_set_result(c->output, json_pack("{s:s, s:s}", "id", id, "kind", slot ? "slot" : "key"));
    return 0;
}

static int rotate(struct cli *c, struct work *w, struct error *err) {
    struct key_request q = request_of(c);
    enum key_role role = ROLE_ADMIN;
    char id[65];
    int rc = key_rotate(w, options_operand(c->options, 0), &q, id, &role, err);
    if (rc < 0) return rc;
    output_print(c->output, "%s key %.16s%s%s\n", key_role_name(role), id, q.key_file_out ? " in " : "",
                 q.key_file_out ? q.key_file_out : "");
    place_warn(c, w, q.key_file_out);
    output_remark(c->output, "%s",
                  role == ROLE_ADMIN
                      ? "The old slot is gone. Whoever kept a copy of it and its key still opens that copy."
                      : "The old key is removed: what it signs from now on counts for nothing.");
    output_set_result(c->output, json_pack("{s:s, s:s, s:o}", "id", id, "role", key_role_name(role), "key_file",
                                           q.key_file_out ? json_name(BYTES_STR(q.key_file_out)) : json_null()));
    return 0;
}

static int revoke_key(struct cli *c, struct work *w, struct error *err) {
    const char *since = options_text(c->options, OPT_SINCE);
    json_t *suspects = NULL;
    const json_t *s;
    enum key_role role = ROLE_WRITER;
    int64_t since_ns = 0;
    size_t i;
    char id[65];
    if (since && (!time_parse(since, &since_ns) || since_ns <= 0))
        return error_set(err, ERR_USAGE, "'%.40s' is no time; one is 2026-02-16T07:00:00Z", since);
    int rc = key_revoke(w, options_operand(c->options, 0), since_ns, id, &role, &suspects, err);
    if (rc < 0) return rc;
    output_print(c->output, "key %.16s is revoked; %s of it suspect\n", id,
                 COUNTED(json_array_size(suspects), "recovery point"));
    json_array_foreach(suspects, i, s)
        output_print(c->output, "  %s/%s@%s  stored %s\n", json_string_value(json_object_get(s, "environment")),
                     json_string_value(json_object_get(s, "surface")), json_string_value(json_object_get(s, "id")),
                     json_string_value(json_object_get(s, "stored_at")));
    output_remark(c->output, "What it signs from now on counts for nothing.");
    output_remark(c->output, "Suspect points stay, and count neither as good nor for retention: take new backups.");
    if (role == ROLE_WRITER || role == ROLE_PRUNE)
        output_remark(c->output, "Whoever has it can still recognise what he knows already, until its ids change: "
                                 "proofkeep key rotate-ids");
    else
        output_remark(c->output, "Whoever has it still reads all that he gets hold of, later backups too: only a new "
                                 "repository ends that.");
    output_set_result(c->output, json_pack("{s:s, s:s?, s:o}", "id", id, "since", since, "suspect", suspects));
    return 0;
}

static int rotate_ids(struct cli *c, struct work *w, struct error *err) {
    unsigned epoch = 0;
    uint64_t keys = 0;
    int rc =
        (options_flag(c->options, OPT_LEAVE_SOURCE) ? repo_epoch_leave : repo_epoch_begin)(w->repo, &epoch, &keys, err);
    if (rc < 0) return rc;
    output_print(c->output, "epoch %u has begun; %s of writers and for pruning can enter it\n", epoch,
                 COUNTED((size_t)keys, "key"));
    output_remark(c->output, "Nobody has to be given anything: keys that are in force find the new ids in the log.");
    output_remark(c->output, "The next backup of a surface stores what it reads anew; files that it knows to be "
                             "unchanged stay as they are stored.");
    output_remark(c->output, "Programs that do not know of epochs refuse this repository from now on.");
    output_set_result(c->output, json_pack("{s:I, s:I}", "epoch", (json_int_t)epoch, "keys", (json_int_t)keys));
    return 0;
}

static int generate(struct cli *c, struct error *err) {
    char pub[RECIPIENT_TEXT_BYTES];
    const char *path = options_text(c->options, OPT_KEY_FILE_OUT);
    int rc =
        key_place_check_all(path, options_text(c->options, OPT_CONFIG), options_text(c->options, OPT_REPOSITORY), err);
    if (rc == 0) rc = key_generate(path, NULL, pub, err);
    if (rc < 0) return rc;
    output_print(c->output, "%s\n", pub);
    output_remark(c->output, "The identity is in %s. Others seal keys to the line above: key add --recipient.", path);
    output_document(c->output, json_pack("{s:s, s:o}", "recipient", pub, "key_file", json_name(BYTES_STR(path))));
    return 0;
}

int verb_run_key(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    if (options_is_action(c->options, "generate")) return generate(c, err);
    int rc = verb_work(c, &w, err);
    if (rc == 0) rc = work_open_repo(w, NULL, err);
    if (rc < 0) return rc;
    if (options_is_action(c->options, "list")) return list(c, w, err);
    output_set_job(c->output, "key");
    if (options_is_action(c->options, "recovery-kit")) return key_kit_print(c, w, err);
    if (options_is_action(c->options, "test-recovery")) return key_kit_test(c, w, err);
    if (options_is_action(c->options, "rotate")) return rotate(c, w, err);
    if (options_is_action(c->options, "revoke")) return revoke_key(c, w, err);
    if (options_is_action(c->options, "rotate-ids")) return rotate_ids(c, w, err);
    return options_is_action(c->options, "add") ? add(c, w, err) : remove_key(c, w, err);
}
