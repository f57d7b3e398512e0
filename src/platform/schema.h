/* The configuration's schema: one table (schema_table.c) from which the reader, the checks, the JSON dump, the
 * published JSON Schema and the reference page are all made. A key exists exactly when it has a row.
 *
 * Rules of the table
 *  1. A struct that a schema describes begins with `struct config_head`.
 *  2. A row's offset points at the type that enum field_type names for it.
 *  3. Unset is a value of its own, never a guessed one: pointers NULL, enums 0, config_int and config_duration say so.
 */
#ifndef PK_PLATFORM_SCHEMA_H
#define PK_PLATFORM_SCHEMA_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"
#include <stdbool.h>
#include <stdint.h>

enum field_type {
    FIELD_STRING,   /* const char *: one line of text */
    FIELD_TEXT,     /* const char *: text that may have several lines (SQL) */
    FIELD_NAME,     /* const char *: a name, see schema_name_ok */
    FIELD_PATH,     /* const char *: an absolute path */
    FIELD_URL,      /* const char *: a repository's place */
    FIELD_BOOL,     /* bool: true or false, nothing else */
    FIELD_INT,      /* struct config_int, within min..max */
    FIELD_DURATION, /* struct config_duration; "none" too with FIELD_NONE_OK */
    FIELD_SIZE,     /* struct config_size */
    FIELD_ENUM,     /* int: 0 unset, else 1 + index into values */
    FIELD_STRINGS,  /* struct config_strings: a list of text */
    FIELD_PATHS,    /* struct config_strings: a list of absolute paths */
    FIELD_COMMAND,  /* struct config_strings: a program and its arguments, no shell */
    FIELD_REF,      /* const char *: the name of an entry of the root map `refers` */
    FIELD_REFS,     /* struct config_strings: a list of such names */
    FIELD_OBJECT,   /* pointer to a struct of schema `object`, NULL when absent */
    FIELD_LIST,     /* CONFIG_LIST of structs of schema `object` */
    FIELD_MAP,      /* CONFIG_LIST of structs of schema `object`, each with its name in config_head.name */
    FIELD_TYPE_COUNT
};

enum field_flag {
    FIELD_REQUIRED = 1 << 0,
    FIELD_NONE_OK = 1 << 1,   /* a duration that may be the word "none" */
    FIELD_ENV = 1 << 2,       /* "{env}" is replaced by the environment's name */
    FIELD_ONE_OF = 1 << 3,    /* exactly one of the schema's fields with this flag is set */
    FIELD_NON_EMPTY = 1 << 4, /* a list or map with at least one element */
    FIELD_WITHHELD =
        1 << 5, /* a list of which a dump shows only the first element: arguments may hold what is secret */
};

struct schema;
struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    size_t offset;
    int64_t min, max;            /* FIELD_INT */
    const char *const *values;   /* FIELD_ENUM, NULL-terminated */
    const struct schema *object; /* FIELD_OBJECT, FIELD_LIST, FIELD_MAP */
    const char *refers;   /* FIELD_REF, FIELD_REFS, and maps whose keys are such names: "secrets", "surfaces"… */
    const char *only;     /* only where the schema's `kind` field has this value */
    const char *doc;      /* one or two sentences */
    const char *fallback; /* what holds when it is unset, for the reference; NULL: nothing */
};
struct schema {
    const char *name; /* "surface", a title in the reference */
    const char *doc;
    const struct field *fields;
    size_t field_count;
    size_t bytes;     /* of the struct */
    const char *kind; /* the enum field that `only` looks at; NULL when there is none */
};

extern const struct schema schema_root;

/* Names of environments, surfaces, repositories and secrets: 1 to 63 of a-z 0-9 . _ -, beginning with a letter or
 * digit, and not the word "all". */
#define SCHEMA_NAME_BYTES 64 /* with the NUL */
bool schema_name_ok(const char *name);

const struct field *schema_find(const struct schema *s, const char *name); /* NULL when there is none */

/* The closest of n candidates by edit distance (a swap of neighbours is one edit), or NULL when none is near: at most
 * one edit for words of up to 3 bytes, 2 up to 7, 3 beyond. Candidates may hold NULL. */
const char *schema_suggest(const char *word, const char *const *candidates, size_t n);

/* The text of a set field of an enum: "postgres"; NULL for 0. */
const char *schema_enum_name(const struct field *f, int value);

/* An object as JSON, without unset fields; FIELD_WITHHELD lists keep their first element, then "…". With `environment`,
 * "{env}" is replaced. With `kind`, only fields whose `only` is that kind are taken (a driver's own settings), else
 * all. */
int schema_dump(const struct schema *s, const void *object, const char *environment, const char *kind, json_t **ret,
                struct error *err) PK_CHECK;

/* The published JSON Schema (draft 2020-12) and the reference page, whole, appended to out. Pure functions of the
 * table. */
int schema_write_json(struct buf *out, struct error *err) PK_CHECK;
int schema_write_markdown(struct buf *out, struct error *err) PK_CHECK;

#endif
