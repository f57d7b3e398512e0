/* The local memory of a surface's last snapshot: its manifest chunks and reference lists, in the clear, in the private
 * cache folder of a host that had them in the clear anyway. It is what lets a write-only client skip unchanged files.
 * Every body is checked against its chunk id when the file is opened; a file that does not check is not used.
 *
 * File: magic "PKMEMO01", snapshot entry digest (32, zeros while unfinished), then records {kind u8, id 32, length u32,
 * body}.
 */
#include "repo/writer_internal.h"
#include <sys/mman.h>

#define MEMO_HEADER 40
#define RECORD_HEADER 37

struct memo {
    uint8_t *map;
    size_t len, at; /* at: the next record to walk */
    const struct repo *repo;
    struct {
        const uint8_t *id;
        struct bytes body;
    } * lists;
    size_t list_count, list_cap;
    size_t *chunks; /* where the records of manifest chunks begin, in the order of names */
    size_t chunk_count, chunk_cap;
    struct manifest_parser parser;
    bool parsing, ended, have;
    struct manifest_item item;
};

void memo_path(const struct repo *r, const char *environment, const char *surface, const char *what, char out[4200]) {
    struct digest d;
    char key[400], hex[65];
    int n = snprintf(key, sizeof key, "%s/%s", environment, surface);
    sha256(BYTES_OF(key, (size_t)n < sizeof key ? (size_t)n : sizeof key - 1), &d);
    hex_encode(d.b, DIGEST_BYTES, hex);
    snprintf(out, 4200, "%s/%s-%.32s", r->cache_dir, what, hex);
}

/* Steps to the next record; false at the end or where the file stops making sense (an unfinished one may be cut short).
 */
static bool record_next(const struct memo *m, size_t *at, uint8_t *kind, const uint8_t **id, struct bytes *body) {
    if (m->len - *at < RECORD_HEADER) return false;
    const uint8_t *p = m->map + *at;
    uint32_t n = get_u32(p + 33);
    if (n > m->len - *at - RECORD_HEADER) return false;
    *kind = p[0];
    *id = p + 1;
    *body = BYTES_OF(p + RECORD_HEADER, n);
    *at += RECORD_HEADER + n;
    return true;
}

bool chunk_id_holds(const struct repo *r, enum chunk_kind kind, const struct digest *sha, const uint8_t *id) {
    for (unsigned epoch = r->epoch + 1; epoch-- > 0;) {
        struct error e = ERROR_INIT;
        struct bytes key;
        struct digest want;
        if (repo_id_key(r, epoch, &key, &e) < 0) continue;
        chunk_id(key, kind, sha, &want);
        if (memcmp(want.b, id, DIGEST_BYTES) == 0) return true;
    }
    return false;
}

int memo_open(const struct repo *r, const char *path, const struct digest *snapshot, struct memo **ret,
              struct error *err) {
    *ret = NULL;
    int fd = seam_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0) return 0;
    struct stat st;
    void *map = MAP_FAILED;
    if (seam_fstat(fd, &st) == 0 && st.st_size >= MEMO_HEADER)
        map = seam_mmap((size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    io_close(&fd);
    if (map == MAP_FAILED) return 0;
    void *mem;
    int rc = mem_alloc(sizeof(struct memo), &mem, err);
    if (rc < 0) {
        seam_munmap(map, (size_t)st.st_size);
        return rc;
    }
    struct memo *m = mem;
    m->map = map;
    m->len = (size_t)st.st_size;
    m->repo = r;
    static const struct digest none;
    bool good =
        memcmp(m->map, "PKMEMO01", 8) == 0 && memcmp(m->map + 8, (snapshot ? snapshot : &none)->b, DIGEST_BYTES) == 0;
    size_t at = MEMO_HEADER, end = at;
    uint8_t kind;
    const uint8_t *id;
    struct bytes body;
    while (good && record_next(m, &at, &kind, &id, &body)) {
        struct digest sha;
        sha256(body, &sha);
        if (kind != CHUNK_MANIFEST && kind != CHUNK_LIST) break;
        if (!chunk_id_holds(r, kind, &sha, id)) break;
        if (kind == CHUNK_LIST) {
            rc = mem_grow((void **)&m->lists, &m->list_cap, m->list_count + 1, sizeof *m->lists, err);
            if (rc < 0) {
                memo_free(m);
                return rc;
            }
            m->lists[m->list_count].id = id;
            m->lists[m->list_count++].body = body;
        } else {
            rc = mem_grow((void **)&m->chunks, &m->chunk_cap, m->chunk_count + 1, sizeof *m->chunks, err);
            if (rc < 0) {
                memo_free(m);
                return rc;
            }
            m->chunks[m->chunk_count++] = end;
        }
        end = at;
    }
    /* a finished memory must be whole; an unfinished one is good up to where it broke off */
    if (!good || (snapshot && end != m->len)) {
        memo_free(m);
        return 0;
    }
    m->len = end;
    m->at = MEMO_HEADER;
    *ret = m;
    return 0;
}

bool memo_list(const struct memo *m, const struct digest *id, struct bytes *ret) {
    for (size_t i = 0; m && i < m->list_count; i++)
        if (memcmp(m->lists[i].id, id->b, DIGEST_BYTES) == 0) {
            *ret = m->lists[i].body;
            return true;
        }
    return false;
}

static bool advance(struct memo *m) {
    while (!m->ended) {
        struct error e = ERROR_INIT;
        if (m->parsing) {
            bool end;
            if (manifest_next(&m->parser, &m->item, &end, &e) == 0 && !end) return m->have = true;
            manifest_parser_free(&m->parser);
            m->parsing = false;
        }
        uint8_t kind;
        const uint8_t *id;
        struct bytes body;
        do {
            if (!record_next(m, &m->at, &kind, &id, &body)) {
                m->ended = true;
                return m->have = false;
            }
        } while (kind != CHUNK_MANIFEST);
        manifest_parser_init(&m->parser, body);
        m->parsing = true;
    }
    return m->have = false;
}

static bool seek(struct memo *m, struct bytes name, struct memo_item *ret) {
    if (!m) return false;
    if (!m->have && !advance(m)) return false;
    int order;
    while ((order = name_compare(m->item.name, name)) < 0)
        if (!advance(m)) return false;
    if (order != 0) return false;
    *ret = (struct memo_item){m->item.name,      m->item.attr,   m->item.kind, m->item.bytes,
                              m->item.ref_count, m->item.sha256, m->item.refs};
    return true;
}

/* The first name of a manifest chunk: its first record shares nothing with one before. */
static struct bytes first_name(const struct memo *m, size_t chunk) {
    size_t at = m->chunks[chunk];
    uint8_t kind;
    const uint8_t *id;
    struct bytes body;
    if (!record_next(m, &at, &kind, &id, &body)) return BYTES_OF(NULL, 0);
    struct cursor c = cursor_of(body);
    (void)cursor_varint(&c);
    return cursor_take(&c, cursor_varint(&c));
}

bool memo_find(struct memo *m, struct bytes name, struct memo_item *ret) {
    size_t lo = 0, hi = m ? m->chunk_count : 0;
    while (lo < hi) { /* the first chunk that begins behind the name */
        const size_t mid = lo + (hi - lo) / 2;
        if (name_compare(first_name(m, mid), name) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0) return false;
    const size_t from = m->chunks[lo - 1], end = lo < m->chunk_count ? m->chunks[lo] : m->len;
    const bool within = m->have && m->at > from && m->at <= end && name_compare(m->item.name, name) <= 0;
    if (!within) {
        if (m->parsing) manifest_parser_free(&m->parser);
        m->at = from;
        m->parsing = m->have = m->ended = false;
    }
    return seek(m, name, ret);
}

void memo_free(struct memo *m) {
    if (!m) return;
    if (m->parsing) manifest_parser_free(&m->parser);
    seam_munmap(m->map, m->len);
    seam_free(m->lists);
    seam_free(m->chunks);
    seam_free(m);
}

/* ---- writing ---- */

struct memo_writer {
    int fd;
    char path[4200];
    struct buf b;
};

int memo_writer_open(const char *path, const struct digest *snapshot, struct memo_writer **ret, struct error *err) {
    void *mem;
    int rc = mem_alloc(sizeof(struct memo_writer), &mem, err);
    if (rc < 0) return rc;
    struct memo_writer *m = mem;
    snprintf(m->path, sizeof m->path, "%s", path);
    m->b = BUF_INIT(16u << 20);
    /* Never into a file that another process writes or has mapped: a new one takes the name. */
    (void)seam_unlinkat(AT_FDCWD, path, 0);
    m->fd = seam_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (m->fd < 0) {
        rc = error_set_errno(err, ERR_IO_WRITE, "creating %s", path);
        seam_free(m);
        return rc;
    }
    uint8_t h[MEMO_HEADER] = "PKMEMO01";
    if (snapshot) memcpy(h + 8, snapshot->b, DIGEST_BYTES);
    rc = buf_append(&m->b, h, sizeof h, err);
    if (rc < 0)
        memo_writer_free(m);
    else
        *ret = m;
    return rc;
}

int memo_flush(struct memo_writer *m, struct error *err) {
    int rc = io_write_full(m->fd, m->b.ptr, m->b.len, m->path, err);
    buf_clear(&m->b);
    return rc;
}

int memo_put(struct memo_writer *m, enum chunk_kind kind, const struct digest *id, struct bytes body,
             struct error *err) {
    uint8_t h[RECORD_HEADER];
    h[0] = (uint8_t)kind;
    memcpy(h + 1, id->b, DIGEST_BYTES);
    put_u32(h + 33, (uint32_t)body.len);
    int rc = buf_append(&m->b, h, sizeof h, err);
    if (rc == 0) rc = buf_append(&m->b, body.ptr, body.len, err);
    if (rc == 0 && m->b.len > (1u << 20)) rc = memo_flush(m, err);
    return rc;
}

int memo_rename(struct memo_writer *m, const char *path, struct error *err) {
    int rc = memo_flush(m, err);
    if (rc == 0 && strcmp(m->path, path) != 0 && seam_renameat2(AT_FDCWD, m->path, AT_FDCWD, path, 0) < 0)
        rc = error_set_errno(err, ERR_IO_WRITE, "renaming %s", m->path);
    if (rc == 0) snprintf(m->path, sizeof m->path, "%s", path);
    return rc;
}

int memo_finish(struct memo_writer *m, const char *path, const struct digest *snapshot, struct error *err) {
    int rc = memo_flush(m, err);
    if (rc == 0) rc = io_pwrite_full(m->fd, snapshot->b, DIGEST_BYTES, 8, m->path, err);
    return rc < 0 ? rc : memo_rename(m, path, err);
}

void memo_writer_free(struct memo_writer *m) {
    if (!m) return;
    io_close(&m->fd);
    buf_free(&m->b);
    seam_free(m);
}

/* From the repository, for a reader whose cache is empty. */
int memo_rebuild(struct repo *r, const struct snapshot_info *info, const char *path, struct error *err) {
    struct fetcher *f = NULL;
    struct memo_writer *m = NULL;
    struct root_doc root = {0};
    char temporary[4210];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    int rc = fetcher_new(r, &r->index, NULL, 8u << 20, &f, err);
    if (rc == 0) rc = root_read(f, info, &root, err);
    if (rc == 0) rc = memo_writer_open(temporary, NULL, &m, err);
    for (size_t i = 0; i < root.chunk_count && rc == 0; i++) {
        struct fetched c;
        rc = fetch_chunk(f, root.chunks[i].id.b, &root.chunks[i].id, CHUNK_MANIFEST, &c, err);
        if (rc < 0) break;
        struct manifest_parser p;
        struct manifest_item it;
        bool end = false;
        manifest_parser_init(&p, c.data);
        while (rc == 0 && (rc = manifest_next(&p, &it, &end, err)) == 0 && !end) {
            struct cursor refs = cursor_of(it.refs);
            struct ref ref;
            while (rc == 0 && ref_take(&refs, &ref)) {
                struct fetched list;
                if (ref.type != REF_LIST) continue;
                rc = fetch_chunk(f, ref.id.b, &ref.id, CHUNK_LIST, &list, err);
                if (rc == 0) {
                    rc = memo_put(m, CHUNK_LIST, &ref.id, list.data, err);
                    fetch_release(f, &list);
                }
            }
        }
        manifest_parser_free(&p);
        if (rc == 0) rc = memo_put(m, CHUNK_MANIFEST, &root.chunks[i].id, c.data, err);
        fetch_release(f, &c);
    }
    if (rc == 0) rc = memo_finish(m, path, &info->entry, err);
    memo_writer_free(m);
    root_free(&root);
    fetcher_free(f);
    return rc;
}
