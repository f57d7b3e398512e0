/* Tables for people: columns as wide as their widest cell, two spaces between them. Nothing is printed with --json. */
#ifndef PK_CLI_LISTING_H
#define PK_CLI_LISTING_H

#include "cli/output.h"

struct listing_column {
    const char *title;
    bool right; /* numbers */
};
struct listing;
/* `columns` is borrowed until listing_free. */
int listing_new(const struct listing_column *columns, size_t column_count, struct listing **ret,
                struct error *err) PK_CHECK;
/* One cell a column, copied; NULL is an empty cell. */
int listing_row(struct listing *l, const char *const *cells, struct error *err) PK_CHECK;
/* The style of a cell of the row that was added last. State is a word; colour only repeats it. */
void listing_style(struct listing *l, size_t column, enum style style);
size_t listing_rows(const struct listing *l);
/* Title line, unless there are no rows, and rows. */
void listing_print(const struct listing *l, struct output *o);
void listing_free(struct listing *l); /* NULL is fine */

#endif
