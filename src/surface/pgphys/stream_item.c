#include "surface/pgphys/stream_incremental.h"

#include "base/seam.h"
#include "base/time.h"
#include <stdio.h>
#include <stdlib.h>

#define HEAD_MAX (64u << 10) /* a label holds a name of the user's making */
#define WAL_HEAD_BYTES 8192
#define BAD_FILES_MAX 256 /* more are counted only */
#define REPORT_EVERY_NS (NS_PER_S / 2)

static bool is(struct bytes b, const char *text) {
    return bytes_equal(b, BYTES_STR(text));
}

static bool in_wal(struct bytes name) {
    return name.len > 7 && memcmp(name.ptr, "pg_wal/", 7) == 0;
}

static bool wal_name_of(struct bytes name, struct wal_name *ret) {
    char text[WAL_NAME_BYTES];
    struct error e = ERROR_INIT;
    if (!in_wal(name) || name.len - 7 >= sizeof text) return false;
    memcpy(text, name.ptr + 7, name.len - 7);
    text[name.len - 7] = 0;
    return wal_name_parse(text, ret, &e) == 0;
}

/* Segments alone are not in the server's manifest: what else lies beside them is. */
static bool is_segment(struct bytes name) {
    struct wal_name wal;
    return wal_name_of(name, &wal) && wal.kind == WAL_SEGMENT;
}

static int broken(struct error *err, const char *what) {
    error_set(err, ERR_PG_BASE, "%s", what);
    return error_state(err, "no snapshot was made; earlier ones are untouched");
}

/* How much of an item is looked into. */
static size_t head_want(struct bytes name) {
    if (is(name, "backup_label")) return HEAD_MAX;
    if (is(name, "global/pg_control")) return 8192;
    return is_segment(name) ? WAL_HEAD_BYTES : 0;
}

/* What a copy is to become is decided when it is restored. */
static bool left_out(struct bytes name) {
    return is(name, "recovery.signal") || is(name, "standby.signal");
}

int stream_item_begin(struct stream_base *b, const struct tar_member *m, struct error *err) {
    uint32_t segment = 0;
    buf_clear(&b->name);
    buf_clear(&b->head);
    int rc = buf_append(&b->name, b->prefix.ptr, b->prefix.len, err);
    if (rc == 0) rc = buf_append(&b->name, m->name.ptr, m->name.len, err);
    if (rc < 0) return rc;
    struct stream_incremental *k = b->incremental;
    k->raw = k->same = k->compared = false;
    k->changes = false;
    if (m->type == TAR_FILE && k->mode == STREAM_CHANGES) rc = stream_changes_name(b, &k->changes, err);
    if (rc < 0) return rc;
    const struct bytes name = buf_bytes(&b->name);
    b->type = (enum pgphys_type)m->type;
    b->mode = m->mode;
    b->mtime_s = m->mtime_s;
    b->size = 0;
    b->used = b->room_bytes = 0;
    b->head_want = head_want(name);
    b->is_left_out = m->type == TAR_FILE && left_out(name);
    struct wal_name wal;
    b->is_segment = m->type == TAR_FILE && wal_name_of(name, &wal) && wal.kind == WAL_SEGMENT;
    if (b->is_segment) wal_pages_begin(&b->wal, &wal, b->wal_segment_bytes);
    b->is_relation = m->type == TAR_FILE && pgphys_relation(name, &segment, NULL);
    b->blocks = 0;
    b->pages = (struct pgphys_pages){.block_bytes = b->block_bytes,
                                     .first_block = segment * b->segment_blocks,
                                     .start_lsn = b->start_lsn,
                                     .position = b->position};
    if (b->is_left_out) return b->sha ? 0 : sha256_new(&b->sha, err);
    if (k->changes) return stream_changes_begin(b, err);
    const enum item_kind kind = m->type != TAR_FILE ? ITEM_NONE : b->is_relation ? ITEM_PAGES : ITEM_FILE;
    if (k->mode == STREAM_ALL_COMPARED && b->is_relation) return stream_compared_begin(b, kind, err);
    if (k->mode == STREAM_CHANGES && is(name, "backup_label") && (rc = stream_changes_label(b, err)) < 0) return rc;
    return b->sink->ops->open(b->sink, SINK_ANY_ORDER, name, kind, &b->item, err);
}

/* What lies in the sink's room is judged there, whole pages at a time: the room is a multiple of a page for relations.
 */
static int room_flush(struct stream_base *b, struct error *err) {
    if (b->used == 0) return 0;
    if (b->is_relation && b->checksums) {
        pgphys_pages_check(&b->pages, b->blocks, BYTES_OF(b->room, b->used));
        b->blocks += (uint32_t)(b->used / b->block_bytes);
    }
    int rc = b->incremental->compared ? stream_compared_pages(b, BYTES_OF(b->room, b->used), err) : 0;
    if (rc == 0) rc = b->sink->ops->advance(b->item, b->used, err);
    b->used = b->room_bytes = 0;
    return rc;
}

static int progress(struct stream_base *b, struct error *err) {
    const struct surface_events *e = &b->ctx->events;
    const int64_t now = time_monotonic_ns();
    if (now - b->reported_ns < REPORT_EVERY_NS) return 0;
    b->reported_ns = now;
    /* the server's sum is from the beginning, and leaves WAL out */
    if (e->progress) e->progress(e->ctx, "base backup", b->bytes, b->total > b->bytes ? b->total : b->bytes, b->items);
    return stop_check(err);
}

int stream_item_room(struct stream_base *b, uint8_t **ret, size_t *ret_n, struct error *err) {
    int rc = 0;
    if (b->used == b->room_bytes) {
        rc = room_flush(b, err);
        if (rc == 0) rc = b->sink->ops->space(b->item, &b->room, &b->room_bytes, err);
        if (rc < 0) return rc;
        if (b->is_relation) b->room_bytes -= b->room_bytes % b->block_bytes;
    }
    *ret = b->room + b->used;
    *ret_n = b->room_bytes - b->used;
    return 0;
}

void stream_item_used(struct stream_base *b, size_t n) {
    b->used += n;
}

int stream_item_put(struct stream_base *b, struct bytes piece, struct error *err) {
    uint8_t *room = NULL;
    size_t n = 0;
    int rc = 0;
    while (piece.len && rc == 0 && (rc = stream_item_room(b, &room, &n, err)) == 0) {
        if (piece.len < n) n = piece.len;
        memcpy(room, piece.ptr, n);
        b->used += n;
        piece = BYTES_OF(piece.ptr + n, piece.len - n);
    }
    return rc;
}

int stream_item_content(struct stream_base *b, struct bytes piece, struct error *err) {
    int rc = 0;
    if (b->incremental->changes) {
        rc = stream_changes_content(b, piece, err);
        return rc == 0 ? progress(b, err) : rc;
    }
    b->size += piece.len;
    b->bytes += piece.len;
    if (b->head.len < b->head_want) {
        const size_t n = b->head_want - b->head.len < piece.len ? b->head_want - b->head.len : piece.len;
        if ((rc = buf_append(&b->head, piece.ptr, n, err)) < 0) return rc;
    }
    if (b->is_segment) wal_pages_feed(&b->wal, piece);
    if (b->is_left_out) {
        sha256_update(b->sha, piece);
        return 0;
    }
    if (b->incremental->raw) {
        stream_changes_raw(b->incremental, piece);
        return b->head.len < b->size ? broken(err, "the backup label that the server sent is too long") : 0;
    }
    rc = stream_item_put(b, piece, err);
    return rc == 0 ? progress(b, err) : rc;
}

static int pages_end(struct stream_base *b, struct error *err) {
    const struct pgphys_pages *p = &b->pages;
    char text[320];
    size_t at, n = p->bad_count < 16 ? (size_t)p->bad_count : 16;
    b->pages_checked += p->checked;
    b->pages_unchecked += p->skipped;
    b->bad_pages += p->bad_count;
    int told = p->position ? pgphys_position_told(p->position, err) : 0;
    if (told < 0) return told;
    if (!p->bad_count) return 0;
    b->bad_file_count++;
    json_t *o = json_object(), *blocks = json_array();
    int rc = o && blocks ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    at = (size_t)snprintf(text, sizeof text, "%llu pages with a wrong checksum, block",
                          (unsigned long long)p->bad_count);
    for (size_t i = 0; i < n && rc == 0; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%s %u", i ? "," : "", p->bad[i]);
        rc = json_push(blocks, json_integer(p->bad[i]), err);
    }
    if (b->ctx->events.note) b->ctx->events.note(b->ctx->events.ctx, NOTE_WARNING, buf_bytes(&b->name), text);
    if (rc == 0) rc = pg_json_put(o, BYTES_STR("name"), json_name(buf_bytes(&b->name)), err);
    if (rc == 0) rc = json_put_int(o, "count", (int64_t)p->bad_count, err);
    if (rc == 0) {
        rc = json_put(o, "blocks", blocks, err);
        blocks = NULL;
    }
    json_decref(blocks);
    if (rc < 0 || json_array_size(b->bad_files) >= BAD_FILES_MAX) {
        json_decref(o);
        return rc;
    }
    return json_push(b->bad_files, o, err);
}

/* xlogbackup.c: "START WAL LOCATION: 0/2000028 (file …)", "CHECKPOINT LOCATION: 0/2000060", "START TIMELINE: 1". */
static const char *label_line(const char *text, const char *key) {
    const char *p = text;
    while (p && strncmp(p, key, strlen(key)) != 0) {
        p = strchr(p, '\n');
        if (p) p++;
    }
    return p ? p + strlen(key) : NULL;
}

static bool lsn_behind(const char *text, uint64_t *ret) {
    char word[24];
    if (!text) return false;
    const size_t n = strcspn(text, " \n");
    if (n >= sizeof word) return false;
    memcpy(word, text, n);
    word[n] = 0;
    return wal_lsn_parse(word, ret);
}

static int label_end(struct stream_base *b, struct error *err) {
    uint64_t start = 0;
    int rc = buf_terminate(&b->head, err);
    if (rc < 0) return rc;
    const char *text = (const char *)b->head.ptr, *timeline = label_line(text, "START TIMELINE: ");
    if (!lsn_behind(label_line(text, "START WAL LOCATION: "), &start) ||
        !lsn_behind(label_line(text, "CHECKPOINT LOCATION: "), &b->label_checkpoint) || !timeline)
        return broken(err, "the backup label that the server sent is malformed");
    if (start != b->start_lsn || strtoul(timeline, NULL, 10) != b->timeline)
        return broken(err, "the backup label that the server sent is of another backup");
    b->has_label = true;
    return 0;
}

/* It must be of this cluster, and not older than the backup: another is what a copy or another storage would have. */
static int control_end(struct stream_base *b, struct error *err) {
    int rc = pgphys_control_read(buf_bytes(&b->head), &b->control, err);
    if (rc < 0) return rc;
    if (b->control.system != b->system) return broken(err, "the pg_control that the server sent is of another cluster");
    if (b->control.block_bytes != b->block_bytes || b->control.segment_blocks != b->segment_blocks ||
        b->control.wal_segment_bytes != b->wal_segment_bytes)
        return broken(err, "the pg_control that the server sent has other sizes than the server tells");
    b->has_control = true;
    return 0;
}

static int segment_end(struct stream_base *b, const struct wal_name *wal, struct error *err) {
    int rc = wal_segment_check(wal, buf_bytes(&b->head), b->system, err);
    if (rc < 0) return rc;
    if (b->size != b->wal_segment_bytes)
        return error_set(err, ERR_PG_BASE, "%.*s has %llu bytes, and segments of this cluster have %u",
                         (int)b->name.len, (const char *)b->name.ptr, (unsigned long long)b->size,
                         b->wal_segment_bytes);
    if (wal->timeline != b->timeline) return 0;
    /* how far they are needed is known when all came */
    const uint64_t lsn = wal_name_lsn(wal, b->wal_segment_bytes);
    if (b->wal.fault && (!b->wal_faulty.fault || b->wal.fault_lsn < b->wal_faulty.fault_lsn)) b->wal_faulty = b->wal;
    if (!b->segment_count || lsn >= wal_name_lsn(&b->wal_last.name, b->wal_segment_bytes)) b->wal_last = b->wal;
    rc = mem_grow((void **)&b->segments, &b->segment_cap, b->segment_count + 1, sizeof *b->segments, err);
    if (rc == 0) b->segments[b->segment_count++] = wal_name_lsn(wal, b->wal_segment_bytes) / b->wal_segment_bytes;
    return rc;
}

static int look_into(struct stream_base *b, struct error *err) {
    const struct bytes name = buf_bytes(&b->name);
    struct wal_name wal;
    if (!b->head_want) return 0;
    if (is(name, "backup_label")) return label_end(b, err);
    if (is(name, "global/pg_control")) return control_end(b, err);
    return wal_name_of(name, &wal) ? segment_end(b, &wal, err) : 0;
}

static int close_item(struct stream_base *b, struct bytes target, struct digest *ret, struct error *err) {
    CLEANUP(buf_free) struct buf attr = BUF_INIT(64u << 10);
    const struct pgphys_attr a = {.type = b->type,
                                  .mode = b->mode,
                                  .flags = b->pages.bad_count ? PGPHYS_BAD_PAGES : 0,
                                  .mtime_ns = b->mtime_s * NS_PER_S,
                                  .target = target};
    int rc = pgphys_attr_encode(&a, &attr, err);
    if (rc < 0) return rc;
    struct sink_item *item = b->item;
    b->item = NULL; /* close frees it, whatever comes of it, and so does confirm */
    if (b->incremental->same)
        rc = b->sink->ops->confirm(item, buf_bytes(&attr), err);
    else
        rc = b->sink->ops->close(item, buf_bytes(&attr), ret, err);
    if (rc == 0 && b->incremental->same && ret) *ret = b->incremental->known.sha256;
    if (rc == 0) b->items++;
    return rc;
}

int stream_item_end(struct stream_base *b, struct error *err) {
    const struct bytes name = buf_bytes(&b->name);
    struct digest sha;
    int rc = b->incremental->raw ? stream_changes_end(b, err) : 0;
    if (rc == 0) rc = room_flush(b, err);
    if (rc == 0) rc = pages_end(b, err);
    if (rc == 0) rc = look_into(b, err);
    if (rc == 0 && b->is_left_out)
        sha256_finish(b->sha, &sha);
    else if (rc == 0)
        rc = close_item(b, BYTES_OF(NULL, 0), &sha, err);
    if (rc == 0 && b->type == PGPHYS_FILE && !is_segment(name) && !is(name, "backup_manifest"))
        rc = b->incremental->mode == STREAM_CHANGES ? stream_changes_tally(b, name, &sha, err)
                                                    : stream_tally_add(b->tally, name, b->size, &sha, err);
    return rc;
}

static int link_put(struct stream_base *b, const struct tar_member *m, struct error *err) {
    int rc = stream_item_begin(b, m, err);
    return rc == 0 ? close_item(b, m->target, NULL, err) : rc;
}

static int on_begin(void *ctx, const struct tar_member *m, struct error *err) {
    struct stream_base *b = ctx;
    return m->type == TAR_LINK ? link_put(b, m, err) : stream_item_begin(b, m, err);
}

static int on_content(void *ctx, struct bytes piece, struct error *err) {
    return stream_item_content(ctx, piece, err);
}

static int on_end(void *ctx, struct error *err) {
    struct stream_base *b = ctx;
    return b->type == PGPHYS_LINK ? 0 : stream_item_end(b, err);
}

const struct tar_ops stream_item_ops = {on_begin, on_content, on_end};

int stream_spaces_put(struct stream_base *b, struct error *err) {
    int rc = 0;
    buf_clear(&b->prefix);
    for (size_t i = 0; i < b->space_count && rc == 0; i++) {
        char name[32];
        const char *at = b->spaces[i].location;
        snprintf(name, sizeof name, "pg_tblspc/%u", b->spaces[i].oid);
        struct tar_member m = {.name = BYTES_STR(name), .type = TAR_FOLDER, .mode = 0700};
        if (at[0] == '/')
            m = (struct tar_member){.name = m.name, .type = TAR_LINK, .mode = 0777, .target = BYTES_STR(at)};
        rc = on_begin(b, &m, err);
        if (rc == 0) rc = on_end(b, err);
    }
    return rc;
}

static bool segment_came(const struct stream_base *b, uint64_t number) {
    for (size_t i = 0; i < b->segment_count; i++)
        if (b->segments[i] == number) return true;
    return false;
}

int stream_base_check(const struct stream_base *b, struct error *err) {
    char start[24], stop[24], text[WAL_NAME_BYTES];
    wal_lsn_format(b->start_lsn, start);
    wal_lsn_format(b->stop_lsn, stop);
    if (!b->has_label || !b->has_control)
        return broken(err, b->has_label ? "the server sent no pg_control" : "the server sent no backup label");
    if (b->stop_timeline != b->timeline) {
        error_set(err, ERR_PG_BASE, "the server went from timeline %u to %u during the base backup", b->timeline,
                  b->stop_timeline);
        return error_state(err, "no snapshot was made; earlier ones are untouched");
    }
    if (b->stop_lsn < b->start_lsn) {
        error_set(err, ERR_PG_BASE, "the base backup ends at %s, before its start at %s", stop, start);
        return error_state(err, "no snapshot was made; earlier ones are untouched");
    }
    if (b->control.checkpoint < b->label_checkpoint || b->control.timeline != b->timeline)
        return broken(err, "the pg_control that the server sent is older than the backup's beginning");
    const uint64_t first = b->start_lsn / b->wal_segment_bytes;
    const uint64_t last = (b->stop_lsn - (b->stop_lsn > b->start_lsn)) / b->wal_segment_bytes;
    for (uint64_t n = first, hint = 0; n <= last; n++) {
        while (hint < b->segment_count && b->segments[hint] < n) hint++; /* they come in order, as a rule */
        if (hint < b->segment_count && b->segments[hint] == n) continue;
        if (segment_came(b, n)) continue;
        const struct wal_name wal = wal_name_at(b->timeline, n * b->wal_segment_bytes, b->wal_segment_bytes);
        wal_name_format(&wal, text);
        error_set(err, ERR_PG_BASE, "the WAL segment %s, which the base needs from %s to %s, did not come", text, start,
                  stop);
        return error_state(err, "no snapshot was made; earlier ones are untouched");
    }
    int rc = wal_pages_check(&b->wal_faulty, b->stop_lsn, err);
    if (rc == 0) rc = wal_pages_check(&b->wal_last, b->stop_lsn, err);
    return rc < 0 ? error_state(err, "no snapshot was made; earlier ones are untouched") : 0;
}

void stream_base_clear(struct stream_base *b) {
    if (b->item) b->sink->ops->drop(b->item);
    for (size_t i = 0; i < b->space_count; i++) seam_free(b->spaces[i].location);
    seam_free(b->spaces);
    seam_free(b->segments);
    buf_free(&b->prefix);
    buf_free(&b->name);
    buf_free(&b->head);
    sha256_free(b->sha);
    json_decref(b->bad_files);
    stream_tally_free(b->tally);
}
