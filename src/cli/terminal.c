#include "cli/output.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool locale_is_utf8(void) {
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static bool colour_for(int fd, const char *color, bool dumb) {
    const char *no_color = getenv("NO_COLOR");
    if (strcmp(color, "always") == 0) return true;
    if (strcmp(color, "never") == 0 || dumb || (no_color && *no_color)) return false;
    return isatty(fd) == 1;
}

void output_config_detect(struct output_config *c, int out_fd, int err_fd, const char *color) {
    const char *term = getenv("TERM");
    bool dumb = !term || !*term || strcmp(term, "dumb") == 0;
    struct winsize size;
    c->out_fd = out_fd;
    c->err_fd = err_fd;
    c->colour_out = colour_for(out_fd, color, dumb);
    c->colour_err = colour_for(err_fd, color, dumb);
    c->live = !dumb && isatty(err_fd) == 1;
    c->utf8 = locale_is_utf8();
    c->columns = ioctl(err_fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
