#include "cli/verb.h"

#include "base/seam.h"
#include "base/time.h"
#include "cli/listing_sets.h"
#include "cli/stream.h"
#include "work/counted.h"
#include "work/inspect.h"
#include "work/point.h"

#include <stdio.h>

struct show {
    struct cli *c;
    struct stream stream;
    uint64_t items;
};

/* A line an item: type, mode, owner, size, time, name. What a kind of surface does not have stays empty. */
static int item(void *ctx, const struct surface_driver *d, const struct item_head *h, struct error *err) {
    struct show *s = ctx;
    json_t *j = NULL;
    char size[32] = "";
    int rc = inspect_item_json(d, h, &j, err);
    if (rc < 0) return rc;
    s->items++;
    if (output_is_json(s->c->output)) return stream_item(&s->stream, j, err);
    if (h->kind != CONTENT_NONE) size_format(h->bytes, size);
    const char *target = json_text(j, "target", "");
    output_print(s->c->output, "%-13s  %9s  %20s  %s%s%s\n", json_text(j, "type", ""), size, json_text(j, "mtime", ""),
                 json_text(j, "name", ""), *target ? " -> " : "", target);
    json_decref(j);
    return output_alive(s->c->output) ? 0 : 1;
}

static int items(struct cli *c, struct work *w, const struct snapshot_info *info, const char *const *paths,
                 struct error *err) {
    struct show s = {.c = c};
    json_t *point = NULL, *head = NULL, *tail = NULL;
    int rc = point_json(info, &point, err);
    if (rc == 0 && !(head = json_pack("{s:O}", "point", point))) rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = stream_begin(&s.stream, c->output, head, "items", err);
    if (rc == 0) rc = inspect_items(w, info, paths, item, &s, err);
    if (rc == 0 && !(tail = json_pack("{s:I}", "count", (json_int_t)s.items)))
        rc = error_set(err, ERR_NO_MEMORY, "no memory");
    if (rc == 0) rc = stream_end(&s.stream, tail, err);
    stream_free(&s.stream);
    json_decref(tail);
    json_decref(head);
    json_decref(point);
    return rc > 0 ? 0 : rc;
}

static void print_json(struct output *o, const char *title, const json_t *j) {
    struct buf b = BUF_INIT(8u << 20);
    struct error lost = ERROR_INIT;
    if (json_is_null(j) || (json_is_object(j) && json_object_size(j) == 0) ||
        (json_is_array(j) && json_array_size(j) == 0))
        return;
    if (json_write_pretty(j, &b, &lost) == 0 && buf_terminate(&b, &lost) == 0)
        output_print(o, "\n%s\n%s\n", title, (char *)b.ptr);
    buf_free(&b);
}

static void print_source(struct output *o, const struct snapshot_info *p, const json_t *source) {
    char repository[33], entry[65];
    if (p->before_restore)
        output_print(o, "taken      before a restore wrote over it: only its id means it, never 'latest' or a time\n");
    if (p->fallback)
        output_print(o, "fallback   %s as %s was out of reach\n", p->is_copy ? "first stored there," : "stored here,",
                     p->fallback);
    if (!p->is_copy) return;
    hex_encode(p->source.repository, sizeof p->source.repository, repository);
    hex_encode(p->source.entry.b, sizeof p->source.entry.b, entry);
    output_print(o, "copy of    repository %s, log entry %llu, sha256 %s\n", repository,
                 (unsigned long long)p->source.seq, entry);
    if (*json_text(source, "signer", ""))
        output_print(o, "           whose signature by %.16s holds\n", json_text(source, "signer", ""));
    else
        output_styled(o, STYLE_BAD, "           FORGED or damaged: %s\n", json_text(source, "why", ""));
}

static void print_facts(struct cli *c, const struct snapshot_info *p, const json_t *facts) {
    const json_t *receipt = json_object_get(facts, "receipt"), *root = json_object_get(facts, "snapshot");
    char label[260], when[32], started[32], completed[32], size[32], stored[32], hex[65];
    struct output *o = c->output;
    work_label(p, label);
    time_format(point_time(p), when);
    time_format(p->started_ns, started);
    time_format(p->completed_ns, completed);
    size_format(p->bytes, size);
    size_format(p->stored_bytes, stored);
    hex_encode(p->entry.b, sizeof p->entry.b, hex);
    output_styled(o, STYLE_BOLD, "%s@%s\n", label, p->id);
    output_print(o, "point      %s, %s, %s\n", when, p->complete ? "whole" : "partial", p->kind);
    const json_t *who = json_object_get(receipt, "operator"), *git = json_object_get(receipt, "git");
    output_print(o, "taken      %s to %s by %s\n", started, completed, json_text(who, "principal", ""));
    output_print(o, "size       %s in %s, %s stored for it\n", size, COUNTED(p->items, "item"), stored);
    if (p->verify_failed) {
        output_print(o, "verified   ");
        output_styled(o, STYLE_BAD, "DAMAGED: its last verification failed\n");
    } else if (p->verified == VERIFY_NONE) {
        output_print(o, "verified   never\n");
    } else {
        time_format(p->verified_ns, when);
        output_print(o, "verified   %s at %s\n", point_level(p->verified), when);
    }
    output_print(o, "holds      %u\nreceipt    log entry %llu, sha256 %s\n", p->holds, (unsigned long long)p->seq, hex);
    print_source(o, p, json_object_get(facts, "source"));
    if (*json_text(git, "change_ticket", "")) output_print(o, "ticket     %s\n", json_text(git, "change_ticket", ""));
    if (*json_text(receipt, "notes", "")) output_print(o, "remark     %s\n", json_text(receipt, "notes", ""));
    if (json_is_null(root))
        output_remark(o, "This key may not read what was captured; the receipt is all that it can show.");
    print_json(o, "facts", json_object_get(root, "facts"));
    print_json(o, "invariants", json_object_get(root, "invariants"));
    print_json(o, "notes", json_object_get(root, "notes"));
}

int verb_run_show(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    const struct snapshot_info *info;
    size_t n;
    const char *const *operands = options_operands(c->options, &n);
    int rc = verb_work_reading(c, &w, err);
    if (rc == 0 && options_flag(c->options, OPT_RECEIPT) && n > 1)
        rc = error_set(err, ERR_USAGE, "--receipt shows a whole recovery point's; it takes no path");
    if (rc == 0 && options_flag(c->options, OPT_SOURCE_RECEIPT) && (n > 1 || options_flag(c->options, OPT_RECEIPT)))
        rc = error_set(err, ERR_USAGE,
                       "--source-receipt shows a whole recovery point's; it takes neither a path nor --receipt");
    const struct set_info *set = NULL;
    if (rc == 0) rc = set_find(w, operands[0], &set, err);
    if (rc == 0 && set &&
        (n > 1 || options_flag(c->options, OPT_RECEIPT) || options_flag(c->options, OPT_SOURCE_RECEIPT)))
        rc = error_set(err, ERR_USAGE, "'%s' is a set: a path and a receipt are of one surface's recovery point",
                       operands[0]);
    if (rc == 0 && set) return listing_sets_show(c, w, set, err);
    if (rc == 0) rc = work_find_point(w, operands[0], &info, err);
    if (rc < 0) return rc;
    if (options_flag(c->options, OPT_RECEIPT) || options_flag(c->options, OPT_SOURCE_RECEIPT)) {
        struct buf b = BUF_INIT(LEDGER_ENTRY_MAX_BYTES + 1);
        rc = options_flag(c->options, OPT_RECEIPT) ? inspect_receipt(w, info, &b, err)
                                                   : inspect_source_receipt(w, info, &b, err);
        if (rc == 0) output_raw(c->output, buf_bytes(&b));
        buf_free(&b);
        return rc;
    }
    if (n > 1) return items(c, w, info, operands + 1, err);
    json_t *facts = NULL;
    if ((rc = inspect_facts(w, info, &facts, err)) < 0) return rc;
    print_facts(c, info, facts);
    output_document(c->output, facts);
    return 0;
}
