#include "surface/pgphys/pgphys_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES (256u << 10)
#define DEPTH_MAX 64
#define NESTED_MAX 1000

struct walking {
    struct pgphys_list *l;
    const struct pg_settings *s;
    const char *path; /* of the data folder */
    int major;
    char version[64]; /* "PG_15_202209061" */
};

static char *keep(struct pgphys_list *l, const void *p, size_t n, struct error *err) {
    if (l->size - l->used < n + 1) {
        void *block;
        size_t size = n + 1 > BLOCK_BYTES ? n + 1 : BLOCK_BYTES;
        if (mem_grow((void **)&l->blocks, &l->cap_blocks, l->n_blocks + 1, sizeof *l->blocks, err) < 0 ||
            mem_alloc(size, &block, err) < 0)
            return NULL;
        l->blocks[l->n_blocks++] = l->block = block;
        l->size = size;
        l->used = 0;
    }
    char *at = l->block + l->used;
    memcpy(at, p, n);
    at[n] = 0;
    l->used += n + 1;
    return at;
}

int pgphys_list_add(struct pgphys_list *l, struct bytes name, enum pgphys_type type, const struct stat *st,
                    struct bytes target, struct error *err) {
    struct pgphys_entry e = {.type = type, .mode = (uint32_t)st->st_mode & 07777};
    int rc = mem_grow((void **)&l->entries, &l->cap, l->n + 1, sizeof *l->entries, err);
    if (rc < 0) return rc;
    if (!(e.name = keep(l, name.ptr, name.len, err))) return -(int)err->code;
    if (type == PGPHYS_LINK && !(e.target = keep(l, target.ptr, target.len, err))) return -(int)err->code;
    if (type == PGPHYS_FILE) {
        e.bytes = (uint64_t)st->st_size;
        e.pages = pgphys_relation(name, NULL, NULL);
        l->bytes += e.bytes;
    }
    e.mtime_ns = (int64_t)st->st_mtim.tv_sec * NS_PER_S + st->st_mtim.tv_nsec;
    l->entries[l->n++] = e;
    return 0;
}

static int by_name(const void *a, const void *b) {
    const struct pgphys_entry *x = a, *y = b;
    return name_compare(BYTES_STR(x->name), BYTES_STR(y->name));
}

void pgphys_list_sort(struct pgphys_list *l) {
    if (l->n) qsort(l->entries, l->n, sizeof *l->entries, by_name);
}

void pgphys_list_free(struct pgphys_list *l) {
    for (size_t i = 0; i < l->n_blocks; i++) seam_free(l->blocks[i]);
    seam_free(l->blocks);
    seam_free(l->entries);
    seam_free(l->nested);
    seam_free(l->links);
    for (size_t i = 0; i < PGPHYS_CONFIG_NAMES; i++) seam_free(l->replaced[i]);
    *l = (struct pgphys_list){0};
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t number_of(const char *name) {
    return strtoull(strrchr(name, '/') + 1, NULL, 10);
}

/* Of an unlogged relation only the fork goes into a backup that it is made anew from. Entries from `first` on are those
 * of one database's folder. */
static int drop_unlogged(struct pgphys_list *l, size_t first, struct error *err) {
    size_t n_inits = 0, cap = 0, kept = first;
    uint64_t *inits = NULL;
    unsigned fork;
    int rc = 0;
    for (size_t i = first; rc == 0 && i < l->n; i++) {
        if (!pgphys_relation(BYTES_STR(l->entries[i].name), NULL, &fork) || fork != 3) continue;
        rc = mem_grow((void **)&inits, &cap, n_inits + 1, sizeof *inits, err);
        if (rc == 0) inits[n_inits++] = number_of(l->entries[i].name);
    }
    if (rc == 0 && n_inits) {
        qsort(inits, n_inits, sizeof *inits, by_number);
        for (size_t i = first; i < l->n; i++) {
            const struct pgphys_entry *e = &l->entries[i];
            uint64_t number = number_of(e->name);
            if (pgphys_relation(BYTES_STR(e->name), NULL, &fork) && fork != 3 &&
                bsearch(&number, inits, n_inits, sizeof *inits, by_number))
                l->bytes -= e->bytes;
            else
                l->entries[kept++] = *e;
        }
        l->n = kept;
    }
    seam_free(inits);
    return rc;
}

static void note(struct walking *w, const char *name, const char *why) {
    w->l->skipped++;
    pg_note(w->s, NOTE_SKIPPED, BYTES_STR(name), why);
}

static int walk(struct walking *w, int dirfd, const char *name, unsigned depth, bool only_version, struct error *err);

static int enter(struct walking *w, int dirfd, const char *last, const char *name, unsigned depth, bool only_version,
                 bool follow, struct error *err) {
    int fd = seam_openat(dirfd, last, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW), 0);
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0) return error_set_errno(err, ERR_IO_READ, "open the folder %s", name);
    return walk(w, fd, name, depth, only_version, err);
}

static bool is_nested(const struct pgphys_list *l, const char *name) {
    for (size_t i = 0; i < l->n_nested; i++)
        if (!strcmp(l->nested[i], name)) return true;
    return false;
}

static int link_of(struct walking *w, int dirfd, const char *last, const char *name, const struct stat *st,
                   unsigned depth, struct error *err) {
    char target[PATH_MAX];
    ssize_t n = seam_readlinkat(dirfd, last, target, sizeof target - 1);
    if (n < 0) return errno == ENOENT ? 0 : error_set_errno(err, ERR_IO_READ, "read the link %s", name);
    target[n] = 0;
    int rc = pgphys_list_add(w->l, BYTES_STR(name), PGPHYS_LINK, st, BYTES_STR(target), err);
    return rc < 0 ? rc : enter(w, dirfd, last, name, depth + 1, true, true, err);
}

/* A link to a file whose name is that of configuration: it is kept as the file. */
static int config_link(struct walking *w, int dirfd, const char *last, const char *name, bool *ret_is,
                       struct error *err) {
    struct stat st;
    size_t n = strlen(last);
    *ret_is = n > 5 && !strcmp(last + n - 5, ".conf") && seam_fstatat(dirfd, last, &st, 0) == 0 && S_ISREG(st.st_mode);
    if (!*ret_is) return 0;
    int rc = mem_grow((void **)&w->l->links, &w->l->cap_links, w->l->n_links + 1, sizeof *w->l->links, err);
    if (rc == 0) snprintf(w->l->links[w->l->n_links++], PATH_MAX, "%s", name);
    return rc;
}

static int one(struct walking *w, int dirfd, const char *folder, const char *last, unsigned depth, bool only_version,
               struct error *err) {
    char name[PATH_MAX];
    struct stat st;
    if (snprintf(name, sizeof name, "%s%s%s", folder, *folder ? "/" : "", last) >= (int)sizeof name)
        return error_set(err, ERR_IO_READ, "a path below %s is too long", folder);
    struct bytes b = BYTES_STR(name);
    if ((only_version && strcmp(last, w->version) != 0) || pgphys_left_out(b) || !strcmp(name, PGPHYS_CONTROL) ||
        is_nested(w->l, name) || !strcmp(name, PGPHYS_CONFIG) || pgphys_config_replaced(w->l, name))
        return 0;
    if (seam_fstatat(dirfd, last, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : error_set_errno(err, ERR_IO_READ, "look at %s", name);
    bool in_spaces = !strcmp(folder, "pg_tblspc");
    if (pgphys_folder_emptied(b)) {
        /* It may be a link to another disk; a copy gets a plain folder. */
        st.st_mode = S_ISDIR(st.st_mode) ? st.st_mode : 0700;
        int rc = pgphys_list_add(w->l, b, PGPHYS_FOLDER, &st, BYTES_OF(NULL, 0), err);
        if (rc < 0 || strcmp(name, "pg_wal") != 0) return rc;
        rc = pgphys_list_add(w->l, BYTES_STR("pg_wal/archive_status"), PGPHYS_FOLDER, &st, BYTES_OF(NULL, 0), err);
        return rc == 0 && w->major >= 17
                   ? pgphys_list_add(w->l, BYTES_STR("pg_wal/summaries"), PGPHYS_FOLDER, &st, BYTES_OF(NULL, 0), err)
                   : rc;
    }
    if (S_ISREG(st.st_mode) && in_spaces) return 0;
    if (S_ISREG(st.st_mode)) return pgphys_list_add(w->l, b, PGPHYS_FILE, &st, BYTES_OF(NULL, 0), err);
    if (S_ISLNK(st.st_mode) && in_spaces) return link_of(w, dirfd, last, name, &st, depth, err);
    if (S_ISDIR(st.st_mode)) {
        int rc = pgphys_list_add(w->l, b, PGPHYS_FOLDER, &st, BYTES_OF(NULL, 0), err);
        return rc < 0 ? rc : enter(w, dirfd, last, name, depth + 1, in_spaces, false, err);
    }
    bool config = false;
    int rc = S_ISLNK(st.st_mode) ? config_link(w, dirfd, last, name, &config, err) : 0;
    if (rc < 0 || config) return rc;
    note(w, name,
         S_ISLNK(st.st_mode) ? "a link within the data folder: what it leads to is not captured"
                             : "neither a file nor a folder");
    return 0;
}

/* Closes dirfd. */
static int walk(struct walking *w, int dirfd, const char *name, unsigned depth, bool only_version, struct error *err) {
    size_t first = w->l->n;
    DIR *d = depth <= DEPTH_MAX ? seam_fdopendir(dirfd) : NULL;
    if (!d) {
        int rc = depth > DEPTH_MAX ? error_set(err, ERR_IO_READ, "folders are nested too deeply at %s", name)
                                   : error_set_errno(err, ERR_IO_READ, "read the folder %s", name);
        io_close(&dirfd);
        return rc;
    }
    int rc = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = seam_readdir(d);
        if (!e) {
            if (errno) rc = error_set_errno(err, ERR_IO_READ, "read the folder %s", name);
            break;
        }
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        rc = one(w, dirfd, name, e->d_name, depth, only_version, err);
        if (rc < 0) break;
    }
    seam_closedir(d);
    char relation[PATH_MAX + 2];
    snprintf(relation, sizeof relation, "%s/1", name);
    return rc == 0 && pgphys_relation(BYTES_STR(relation), NULL, NULL) ? drop_unlogged(w->l, first, err) : rc;
}

/* Tablespaces whose folder lies within the data folder are seen twice, and are taken as tablespaces. */
static int find_nested(struct walking *w, int dirfd, struct error *err) {
    char path[PATH_MAX], root[PATH_MAX], name[300];
    if (!realpath(w->path, root)) return error_set_errno(err, ERR_IO_READ, "find %s", w->path);
    size_t n = strlen(root), cap = 0;
    int fd = seam_openat(dirfd, "pg_tblspc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return errno == ENOENT ? 0 : error_set_errno(err, ERR_IO_READ, "open pg_tblspc");
    DIR *d = seam_fdopendir(fd);
    if (!d) {
        int rc = error_set_errno(err, ERR_IO_READ, "read pg_tblspc");
        io_close(&fd);
        return rc;
    }
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = seam_readdir(d));) {
        struct stat st;
        if (seam_fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode)) continue;
        snprintf(name, sizeof name, "pg_tblspc/%s", e->d_name);
        char full[PATH_MAX + 300];
        snprintf(full, sizeof full, "%s/%s", root, name);
        if (!realpath(full, path) || strncmp(path, root, n) != 0 || path[n] != '/') continue;
        if (w->l->n_nested == NESTED_MAX)
            rc = error_set(err, ERR_PG_BASE, "too many tablespaces within the data folder");
        if (rc == 0) rc = mem_grow((void **)&w->l->nested, &cap, w->l->n_nested + 1, sizeof *w->l->nested, err);
        if (rc == 0) snprintf(w->l->nested[w->l->n_nested++], PATH_MAX, "%s", path + n + 1);
    }
    seam_closedir(d);
    return rc;
}

int pgphys_list_make(struct pgphys_list *l, const struct pg_settings *s, int dirfd, const char *path, int major,
                     uint32_t catalog, struct error *err) {
    struct walking w = {.l = l, .s = s, .path = path, .major = major};
    snprintf(w.version, sizeof w.version, "PG_%d_%u", major, catalog);
    int rc = find_nested(&w, dirfd, err);
    if (rc == 0) rc = enter(&w, dirfd, ".", "", 0, false, true, err);
    if (rc == 0) pgphys_list_sort(l);
    return rc;
}
