#include "surface/postgres/postgres_internal.h"

#include "base/seam.h"

int pg_describe(struct bytes name, struct bytes attr, json_t **ret, struct error *err) {
    (void)name;
    return json_parse(attr, JSON_MAX_BYTES, "an item's attributes", ret, err);
}

struct names {
    json_t *list; /* databases as their items name them */
};
static int on_item(void *ctx, const struct source_head *h, struct error *err) {
    struct names *n = ctx;
    if (h->name.len < 4) return 0;
    struct bytes rest = BYTES_OF(h->name.ptr + 3, h->name.len - 3);
    const uint8_t *slash = memchr(rest.ptr, '/', rest.len);
    size_t len = slash ? (size_t)(slash - rest.ptr) : 0;
    const char *last = json_string_value(json_array_get(n->list, json_array_size(n->list) - 1));
    if (len == 0 || (last && bytes_equal(BYTES_STR(last), BYTES_OF(rest.ptr, len)))) return 0;
    return json_push(n->list, json_stringn((const char *)rest.ptr, len), err);
}

static int make_folder(int dirfd, const char *name, int *ret_fd, struct error *err) {
    if (seam_mkdirat(dirfd, name, 0700) < 0) return error_set_errno(err, ERR_IO_WRITE, "make the folder %s", name);
    *ret_fd = seam_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
    return *ret_fd >= 0 ? 0 : error_set_errno(err, ERR_IO_READ, "open the folder %s", name);
}

static int export_one(const struct pg_settings *s, struct source *src, const char *part, int dirfd, struct error *err) {
    CLEANUP(buf_free) struct buf name = BUF_INIT(4096);
    struct pg_folder f = {0};
    int fd = -1, r = pg_part_decode(&name, BYTES_STR(part), err);
    if (r == 0) r = buf_terminate(&name, err);
    if (r == 0) r = pg_folder_open(s, src, (const char *)name.ptr, NULL, &f, err);
    if (r == 0) r = make_folder(dirfd, part, &fd, err);
    if (r == 0) r = pg_folder_write(s, src, &f, fd, true, err);
    io_close(&fd);
    pg_folder_free(&f);
    return r < 0 ? error_wrap(err, "export database %s", part) : 0;
}

/* Roles and tablespaces, and the roles' password hashes, as texts for psql. Nothing of ours ever runs them. */
static int export_globals(struct source *src, int dirfd, struct error *err) {
    struct buf roles = BUF_INIT(PG_GLOBALS_BYTES_MAX), passwords = BUF_INIT(PG_GLOBALS_BYTES_MAX);
    CLEANUP(io_close) int fd = -1;
    int r = pg_globals_read(src, &roles, &passwords, err);
    if (r == 0 && roles.len) r = make_folder(dirfd, "globals", &fd, err);
    if (fd >= 0) r = io_replace_file(fd, "roles.sql", buf_bytes(&roles), 0600, err);
    if (r == 0 && fd >= 0 && passwords.len) r = io_replace_file(fd, "passwords.sql", buf_bytes(&passwords), 0600, err);
    if (passwords.ptr) wipe(passwords.ptr, passwords.cap);
    buf_free(&roles);
    buf_free(&passwords);
    return r < 0 ? error_wrap(err, "export the roles") : 0;
}

int pg_export_tree(const struct surface_context *ctx, struct source *src, int dirfd, struct error *err) {
    /* No server is asked, so neither its address nor its password is. */
    struct pg_settings s = {.ctx = ctx};
    struct names n = {json_array()};
    json_t *part;
    size_t i;
    int fd = -1, r = n.list ? 0 : error_set(err, ERR_NO_MEMORY, "no memory");
    if (r == 0) r = export_globals(src, dirfd, err);
    if (r == 0) r = src->ops->walk(src, BYTES_STR("db/"), on_item, &n, err);
    if (r == 0 && json_array_size(n.list)) r = make_folder(dirfd, "db", &fd, err);
    json_array_foreach(n.list, i, part) {
        if (r == 0) r = export_one(&s, src, json_string_value(part), fd, err);
    }
    if (r == 0 && ((fd >= 0 && seam_fsync(fd) < 0) || seam_fsync(dirfd) < 0))
        r = error_set_errno(err, ERR_IO_SYNC, "make the export durable");
    io_close(&fd);
    json_decref(n.list);
    return r;
}
