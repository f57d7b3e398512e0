#include "base/seam.h"
#include "base/time.h"
#include "cli/verb.h"
#include "work/counted.h"
#include "work/repair.h"
#include "work/revive.h"

#include <stdio.h>

static void finding(void *ctx, const char *object, enum check_result result, const char *text, bool mends) {
    struct cli *c = ctx;
    if (output_is_json(c->output)) {
        output_event(c->output, "warning",
                     json_pack("{s:s, s:s, s:s, s:s, s:b}", "kind", "finding", "object", object, "result",
                               check_result_name(result), "text", text, "mends", mends));
        return;
    }
    output_styled(c->output, STYLE_BAD, "DAMAGE  %s  %s\n", check_result_name(result), object);
    output_print(c->output, "  %s\n", text);
    if (!mends) output_print(c->output, "  nothing can be done about this one\n");
}

static void harmed(void *ctx, const char *snapshot, const json_t *paths, uint64_t total, bool listless) {
    struct cli *c = ctx;
    const json_t *v;
    size_t i;
    if (output_is_json(c->output)) {
        output_event(c->output, "warning",
                     json_pack("{s:s, s:s, s:O, s:I, s:b}", "kind", "lost", "snapshot", snapshot, "paths", paths,
                               "paths_total", (json_int_t)total, "list_lost", listless));
        return;
    }
    output_styled(c->output, STYLE_BAD, "LOST    %s\n", snapshot);
    if (listless) output_print(c->output, "  what lists its items is lost\n");
    json_array_foreach(paths, i, v) {
        if (i == 10) {
            output_print(c->output, "  and %llu more paths\n", (unsigned long long)total - 10);
            break;
        }
        output_print(c->output, "  lost path %s\n", json_string_value(v));
    }
}

static void archived_print(struct cli *c, const struct repair_plan *p) {
    if (p->archived)
        output_print(c->output, "  not looked at: %s that lie in an archive class of the bucket\n",
                     COUNTED(p->archived, "pack"));
}

static void planned(void *ctx, const char *id, const struct repair_plan *p, const struct wal_repair *wal) {
    struct cli *c = ctx;
    uint64_t bytes = 0;
    char size[32];
    for (size_t i = 0; i < p->pack_count; i++) bytes += p->packs[i].bytes;
    if (output_is_json(c->output)) {
        output_event(c->output, "plan",
                     json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "plan", id, "packs",
                               (json_int_t)p->pack_count, "pack_bytes", (json_int_t)bytes, "runs",
                               (json_int_t)p->run_count, "lists", (json_int_t)(p->list_count + p->list_lost_count),
                               "derived", (json_int_t)(p->derived + p->summary_count), "unmendable",
                               (json_int_t)p->unmendable, "unreadable", (json_int_t)p->unreadable, "chunks_salvaged",
                               (json_int_t)p->chunks_salvaged, "chunks_rescued", (json_int_t)p->chunks_rescued,
                               "chunks_lost", (json_int_t)p->chunks_lost, "wal_damaged", (json_int_t)wal->count,
                               "wal_mendable", (json_int_t)wal->mendable));
        return;
    }
    if (repair_plan_empty(p) && !p->harmed && !wal->count) {
        output_print(c->output, "nothing to repair: %s looked at\n", COUNTED(p->objects + wal->objects, "object"));
        archived_print(c, p);
        return;
    }
    size_format(bytes, size);
    output_styled(c->output, STYLE_BOLD, "plan %s\n", id);
    if (p->derived + p->summary_count)
        output_print(c->output, "  derive again from the log: %s\n", COUNTED(p->derived + p->summary_count, "object"));
    if (p->run_count) output_print(c->output, "  rebuild from the packs: %s\n", COUNTED(p->run_count, "index run"));
    if (p->list_count)
        output_print(c->output, "  write anew from the items: %s\n", COUNTED(p->list_count, "pack list"));
    if (p->list_lost_count)
        output_print(c->output, "  let go of: %s of collections\n", COUNTED(p->list_lost_count, "lost list"));
    if (p->pack_count) {
        output_print(c->output, "  retire: %s, %s\n", COUNTED(p->pack_count, "damaged pack"), size);
        output_print(c->output, "  store anew: %s from here", COUNTED(p->chunks_salvaged, "chunk"));
        if (p->chunks_rescued) output_print(c->output, ", %llu from elsewhere", (unsigned long long)p->chunks_rescued);
        output_print(c->output, "; lost: %s%s\n", COUNTED(p->chunks_lost, "chunk"),
                     p->run_count ? " (more is known once the index is rebuilt)" : "");
    }
    if (wal->count)
        output_print(c->output, "  bring back: %s of WAL; nowhere to be had: %llu\n", COUNTED(wal->mendable, "object"),
                     (unsigned long long)(wal->count - wal->mendable));
    archived_print(c, p);
    if (p->unreadable)
        output_print(c->output, "  leave as they are: %s that could not be read\n", COUNTED(p->unreadable, "pack"));
}

static json_t *document(const struct repair_done *d, bool dry_run) {
    const struct repair_result *r = &d->result;
    return json_pack(
        "{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "plan",
        d->plan, "dry_run", dry_run, "entries_recovered", (json_int_t)d->entries_recovered, "derived",
        (json_int_t)r->derived, "runs_rebuilt", (json_int_t)r->runs_rebuilt, "lists_rebuilt",
        (json_int_t)r->lists_rebuilt, "packs_retired", (json_int_t)r->packs_retired, "packs_new",
        (json_int_t)r->packs_new, "bytes_new", (json_int_t)r->bytes_new, "chunks_salvaged",
        (json_int_t)r->chunks_salvaged, "chunks_rescued", (json_int_t)r->chunks_rescued, "chunks_lost",
        (json_int_t)r->chunks_lost, "remains", (json_int_t)r->remains, "unmendable", (json_int_t)d->found.unmendable,
        "unreadable", (json_int_t)d->found.unreadable, "snapshots_damaged",
        (json_int_t)(dry_run || !d->acted ? d->found.harmed : r->harmed), "duration_ms",
        (json_int_t)(d->duration_ns / 1000000), "wal_damaged", (json_int_t)d->wal.count, "wal_mended",
        (json_int_t)d->wal.mended, "wal_locked", (json_int_t)d->wal.locked);
}

static int from_versions(struct cli *c, struct work *w, struct error *err) {
    struct revive_totals t;
    bool dry = options_flag(c->options, OPT_DRY_RUN);
    char size[32];
    int rc = work_open_repo(w, options_operand(c->options, 0), err);
    if (rc == 0) rc = work_revive(w, dry, &t, err);
    if (rc < 0) return rc;
    size_format(t.bytes, size);
    output_print(c->output, "%s in use, %llu deleted and %llu overwritten; %llu (%s) %s\n",
                 COUNTED(t.objects, "object"), (unsigned long long)t.hidden, (unsigned long long)t.covered,
                 (unsigned long long)t.revived, size, dry ? "can be put back" : "put back");
    output_set_result(c->output,
                      json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "dry_run", dry, "objects", (json_int_t)t.objects,
                                "hidden", (json_int_t)t.hidden, "covered", (json_int_t)t.covered, "revived",
                                (json_int_t)t.revived, "bytes", (json_int_t)t.bytes, "lost", (json_int_t)t.lost));
    if (t.lost == 0) return 0;
    return error_set(err, ERR_OBJECT_CORRUPT, "%s no good version (first: %s)", COUNTED(t.lost, "object has"),
                     t.first_lost);
}

int verb_run_repair(struct cli *c, struct error *err) {
    CLEANUP(verb_work_close) struct work *w = NULL;
    struct repair_request q = {.environment = options_operand(c->options, 0),
                               .from = options_text(c->options, OPT_FROM),
                               .plan = options_text(c->options, OPT_PLAN),
                               .dry_run = options_flag(c->options, OPT_DRY_RUN),
                               .ctx = c,
                               .finding = finding,
                               .harmed = harmed,
                               .planned = planned};
    struct repair_done d;
    char took[32], size[32];
    output_set_job(c->output, "repair");
    if (q.plan && q.dry_run)
        return error_set(err, ERR_USAGE, "--plan carries out what was planned; it takes no --dry-run");
    bool versions = options_flag(c->options, OPT_FROM_VERSIONS);
    if (versions && (q.plan || q.from)) return error_set(err, ERR_USAGE, "--from-versions takes no --plan and no --from");
    int rc = verb_work(c, &w, err);
    if (rc == 0 && versions) return from_versions(c, w, err);
    if (rc == 0) rc = work_repair(w, &q, &d, err);
    if (rc < 0) return rc;
    output_set_result(c->output, document(&d, q.dry_run));
    duration_format(d.duration_ns, took);
    size_format(d.result.bytes_new, size);
    bool something = !repair_plan_empty(&d.found) || d.wal.count;
    if (d.acted) {
        output_progress_end(c->output, "repository", d.result.harmed ? STYLE_WARN : STYLE_GOOD,
                            "REPAIRED  %s stored anew (%s), %s lost, in %s",
                            COUNTED(d.result.chunks_salvaged + d.result.chunks_rescued, "chunk"), size,
                            COUNTED(d.result.chunks_lost, "chunk"), took);
        if (d.result.remains)
            output_remark(c->output, "%s could not be removed; nothing refers to what is left.",
                          COUNTED(d.result.remains, "damaged pack"));
        if (d.wal.mended) output_print(c->output, "%s of WAL brought back\n", COUNTED(d.wal.mended, "object"));
        if (d.wal.locked)
            output_remark(c->output, "%s of WAL stays damaged: the store has locked it.",
                          COUNTED(d.wal.locked, "object"));
    } else if (q.dry_run && something)
        output_print(c->output, "nothing was changed; next: proofkeep repair --plan %s\n", d.plan);
    uint64_t harm = d.acted ? d.result.harmed : d.found.harmed;
    uint64_t wal = q.dry_run ? d.wal.count - d.wal.mendable : d.wal.count - d.wal.mended;
    if (wal && !harm && !d.found.unmendable && !d.found.unreadable)
        return error_set(err, ERR_REPAIR_PARTIAL, "%s of WAL %s damaged or lost; what that costs stands above",
                         COUNTED(wal, "object"), q.dry_run ? "would stay" : "stay");
    if (harm || d.found.unmendable || d.found.unreadable) {
        error_set(err, ERR_REPAIR_PARTIAL, "%s %s damaged, %s cannot be mended, %s could not be read",
                  COUNTED(harm, "recovery point"), q.dry_run ? "would stay" : "stay",
                  COUNTED(d.found.unmendable, "object"), COUNTED(d.found.unreadable, "pack"));
        return -ERR_REPAIR_PARTIAL;
    }
    return 0;
}
