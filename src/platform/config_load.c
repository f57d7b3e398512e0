#include "base/seam.h"
#include "platform/config_internal.h"

#include <errno.h>
#include <stdlib.h>

static void reader_done(struct config_reader *r) {
    seam_free(r->mentions);
    r->mentions = NULL;
}

static int begin(struct config_reader *r, struct config **ret, struct error *err) {
    void *p;
    int rc = mem_alloc(sizeof(struct config), &p, err);
    if (rc < 0) return rc;
    *ret = p;
    *r = (struct config_reader){.config = p};
    return 0;
}

static int read_text(struct config_reader *r, struct bytes text, const char *name, struct error *err) {
    struct yaml_doc *doc;
    int rc = yaml_parse(text, name, &doc, err);
    if (rc < 0) return rc;
    rc = config_read(r, doc, err);
    yaml_doc_free(doc);
    if (rc == 0 && !r->config->head.file) r->config->head.file = r->file;
    return rc;
}

int config_parse(struct bytes text, const char *name, struct config **ret, struct error *err) {
    CLEANUP(config_freep) struct config *c = NULL;
    CLEANUP(reader_done) struct config_reader r = {0};
    int rc = begin(&r, &c, err);
    if (rc == 0) rc = read_text(&r, text, name, err);
    if (rc == 0) rc = config_check(&r, err);
    if (rc < 0) return rc;
    *ret = c;
    c = NULL;
    return 0;
}

static int read_file(struct config_reader *r, const char *path, struct error *err) {
    CLEANUP(buf_free) struct buf b = BUF_INIT(CONFIG_FILE_BYTES_MAX);
    int rc = io_read_file(AT_FDCWD, path, CONFIG_FILE_BYTES_MAX, &b, err);
    return rc < 0 ? rc : read_text(r, buf_bytes(&b), path, err);
}

struct file_names {
    char *items[CONFIG_FILES_MAX];
    size_t count;
};
static void file_names_free(struct file_names *f) {
    for (size_t i = 0; i < f->count; i++) seam_free(f->items[i]);
}
static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void dir_close(DIR **d) {
    if (*d) (void)seam_closedir(*d);
}

/* The names of conf.d's *.yaml, sorted. A missing folder is an empty one. */
static int list_folder(const char *folder, struct file_names *names, struct error *err) {
    int fd = seam_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return errno == ENOENT ? 0 : error_set_errno(err, ERR_IO_READ, "cannot open the folder %s", folder);
    CLEANUP(dir_close) DIR *d = seam_fdopendir(fd);
    if (!d) {
        int rc = error_set_errno(err, ERR_IO_READ, "cannot list the folder %s", folder);
        io_close(&fd);
        return rc;
    }
    for (;;) {
        errno = 0;
        const struct dirent *e = seam_readdir(d);
        if (!e && errno != 0) return error_set_errno(err, ERR_IO_READ, "cannot list the folder %s", folder);
        if (!e) break;
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.' || n <= 5 || strcmp(e->d_name + n - 5, ".yaml") != 0) continue;
        if (names->count == CONFIG_FILES_MAX)
            return error_set(err, ERR_CONFIG_VALUE, "%s holds more than %d configuration files", folder,
                             CONFIG_FILES_MAX);
        int rc = mem_strdup(e->d_name, &names->items[names->count], err);
        if (rc < 0) return rc;
        names->count++;
    }
    qsort(names->items, names->count, sizeof(names->items[0]), compare_names);
    return 0;
}

static int read_folder(struct config_reader *r, const char *main_path, struct error *err) {
    CLEANUP(file_names_free) struct file_names names = {.count = 0};
    const char *slash = strrchr(main_path, '/');
    int prefix = slash ? (int)(slash - main_path) + 1 : 0;
    char folder[4096], path[4096 + 300];
    if (snprintf(folder, sizeof(folder), "%.*sconf.d", prefix, main_path) >= (int)sizeof(folder))
        return error_set(err, ERR_CONFIG_VALUE, "the configuration's path is too long");
    int rc = list_folder(folder, &names, err);
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names.items[i]);
        rc = read_file(r, path, err);
    }
    return rc;
}

static bool exists(const char *path) {
    struct stat st;
    /* Only "there is none" leads on to the next place; a file that cannot be looked at is an error when it is read. */
    return seam_fstatat(AT_FDCWD, path, &st, 0) == 0 || errno != ENOENT;
}

int config_load(const char *path, struct config **ret, struct error *err) {
    static const char *const places[] = {"proofkeep.yaml", "/etc/proofkeep/proofkeep.yaml"};
    for (size_t i = 0; !path && i < sizeof(places) / sizeof(places[0]); i++)
        if (exists(places[i])) path = places[i];
    if (!path)
        return error_set(err, ERR_CONFIG_NONE, "there is neither ./proofkeep.yaml nor /etc/proofkeep/proofkeep.yaml");
    if (!exists(path)) return error_set(err, ERR_CONFIG_NONE, "there is no file %s", path);
    CLEANUP(config_freep) struct config *c = NULL;
    CLEANUP(reader_done) struct config_reader r = {0};
    int rc = begin(&r, &c, err);
    if (rc == 0) rc = read_file(&r, path, err);
    if (rc == 0) rc = read_folder(&r, path, err);
    if (rc == 0) rc = config_check(&r, err);
    if (rc < 0) return rc;
    *ret = c;
    c = NULL;
    return 0;
}
