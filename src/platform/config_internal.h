/* Shared by the files that make a struct config. */
#ifndef PK_PLATFORM_CONFIG_INTERNAL_H
#define PK_PLATFORM_CONFIG_INTERNAL_H

#include "base/yaml.h"
#include "platform/config.h"
#include "platform/schema.h"

struct config_block { /* one allocation that a configuration owns */
    struct config_block *next;
    max_align_t data[];
};
/* Zeroed memory that lives as long as the configuration. */
int config_alloc(struct config *c, size_t n, void **ret, struct error *err) PK_CHECK;
int config_copy(struct config *c, const char *s, const char **ret, struct error *err) PK_CHECK;

struct config_list { /* what every CONFIG_LIST looks like */
    void **items;
    size_t count;
};

/* A mention of a map's entry by its name, checked when all files are read. */
struct config_mention {
    const char *file;
    uint32_t line, column;
    const char *map, *name;
};
struct config_reader {
    struct config *config;
    const char *file;            /* the one being read; owned by the configuration */
    struct config_head seen[16]; /* by field of schema_root: where it was set */
    struct config_mention *mentions;
    size_t mention_count, mention_cap;
};

/* Read one document into the configuration. */
int config_read(struct config_reader *r, const struct yaml_doc *doc, struct error *err) PK_CHECK;
/* One value of a field; `path` ("surfaces.pg") stands in messages. */
int config_read_value(struct config_reader *r, const struct field *f, const struct yaml_node *n, const char *path,
                      void *object, struct error *err) PK_CHECK;
int config_read_object(struct config_reader *r, const struct schema *s, const struct yaml_node *n, const char *path,
                       void *object, struct error *err) PK_CHECK;
/* ERR_CONFIG_KEY or ERR_CONFIG_VALUE at a place in the file being read. */
int config_refuse(const struct config_reader *r, enum error_code code, uint32_t line, uint32_t column,
                  struct error *err, const char *fmt, ...) PK_PRINTF(6, 7);
/* After the last file: required keys of the root, mentions, and rules that join several objects. */
int config_check(struct config_reader *r, struct error *err) PK_CHECK;

/* What a repository's `s3` says becomes parameters of its URL, so that one place says how a bucket is reached. */
int config_s3_join(struct config_reader *r, struct config_repository *repository, struct error *err) PK_CHECK;

#endif
