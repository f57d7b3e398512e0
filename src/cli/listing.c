#include "cli/listing.h"
#include "base/seam.h"

#define CELL_BYTES_MAX 65536

struct cell {
    char *text; /* escaped */
    size_t columns;
    enum style style;
};

struct listing {
    const struct listing_column *columns;
    size_t column_count, row_count, cell_cap;
    struct cell *cells;
};

int listing_new(const struct listing_column *columns, size_t column_count, struct listing **ret, struct error *err) {
    void *p;
    int r = mem_alloc(sizeof(struct listing), &p, err);
    if (r < 0) return r;
    struct listing *l = p;
    l->columns = columns;
    l->column_count = column_count;
    *ret = l;
    return 0;
}

static void cells_free(struct cell *cells, size_t n) {
    for (size_t i = 0; i < n; i++) seam_free(cells[i].text);
}

void listing_free(struct listing *l) {
    if (!l) return;
    cells_free(l->cells, l->row_count * l->column_count);
    seam_free(l->cells);
    seam_free(l);
}

static int cell_make(struct cell *cell, const char *text, struct error *err) {
    struct buf b = BUF_INIT(CELL_BYTES_MAX);
    void *p = NULL;
    int r = text_escape(&b, BYTES_STR(text), false, err);
    if (r == 0) r = buf_terminate(&b, err);
    if (r == 0) r = mem_dup(b.ptr, b.len + 1, &p, err);
    if (r == 0) *cell = (struct cell){p, text_columns(buf_bytes(&b)), STYLE_PLAIN};
    buf_free(&b);
    return r;
}

int listing_row(struct listing *l, const char *const *cells, struct error *err) {
    void *p = l->cells;
    size_t first = l->row_count * l->column_count;
    int r = mem_grow(&p, &l->cell_cap, first + l->column_count, sizeof *l->cells, err);
    if (r < 0) return r;
    l->cells = p;
    for (size_t i = 0; i < l->column_count; i++) {
        if ((r = cell_make(&l->cells[first + i], cells[i] ? cells[i] : "", err)) == 0) continue;
        cells_free(l->cells + first, i);
        return r;
    }
    l->row_count++;
    return 0;
}

void listing_style(struct listing *l, size_t column, enum style style) {
    l->cells[(l->row_count - 1) * l->column_count + column].style = style;
}

size_t listing_rows(const struct listing *l) {
    return l->row_count;
}

static size_t column_width(const struct listing *l, size_t column) {
    size_t width = text_columns(BYTES_STR(l->columns[column].title));
    for (size_t i = 0; i < l->row_count; i++) {
        size_t w = l->cells[i * l->column_count + column].columns;
        if (w > width) width = w;
    }
    return width;
}

static void cell_print(const struct listing *l, struct output *o, size_t column, const char *text, size_t text_width,
                       enum style style) {
    size_t pad = column_width(l, column) - text_width;
    bool right = l->columns[column].right, last = column + 1 == l->column_count;
    if (column > 0) output_print(o, "  ");
    if (right) output_print(o, "%*s", (int)pad, "");
    output_styled(o, style, "%s", text);
    if (!right && !last) output_print(o, "%*s", (int)pad, "");
    if (last) output_print(o, "\n");
}

void listing_print(const struct listing *l, struct output *o) {
    if (l->row_count == 0) return;
    for (size_t c = 0; c < l->column_count; c++)
        cell_print(l, o, c, l->columns[c].title, text_columns(BYTES_STR(l->columns[c].title)), STYLE_BOLD);
    for (size_t i = 0; i < l->row_count && output_alive(o); i++)
        for (size_t c = 0; c < l->column_count; c++) {
            const struct cell *cell = &l->cells[i * l->column_count + c];
            cell_print(l, o, c, cell->text, cell->columns, cell->style);
        }
}
