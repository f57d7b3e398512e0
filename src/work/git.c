#include "work/git.h"

#include "base/seam.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define PATH_BYTES 4096
#define FILE_MAX (16u << 20) /* of packed-refs */

/* A whole file as a string; false when it cannot be had. */
static bool text_of(const char *dir, const char *name, struct buf *b) {
    char path[PATH_BYTES + 300];
    struct error lost = ERROR_INIT;
    buf_clear(b);
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path &&
           io_read_file(AT_FDCWD, path, FILE_MAX, b, &lost) == 0 && buf_terminate(b, &lost) == 0;
}

static void line_end(char *s) {
    s[strcspn(s, "\r\n")] = '\0';
}

static bool is_sha(const char *s) {
    size_t n = strspn(s, "0123456789abcdef");
    return (n == 40 || n == 64) && (!s[n] || isspace((unsigned char)s[n]));
}

static void sha_take(const char *from, char out[72]) {
    snprintf(out, 72, "%.*s", (int)strspn(from, "0123456789abcdef"), from);
}

/* `dir` and its parents up to the one with .git. */
static bool find_tree(char dir[PATH_BYTES], char git[PATH_BYTES], struct buf *b) {
    for (;;) {
        struct stat st;
        char path[PATH_BYTES + 8];
        snprintf(path, sizeof path, "%s/.git", dir[1] ? dir : "");
        if (seam_fstatat(AT_FDCWD, path, &st, 0) == 0) {
            if (S_ISDIR(st.st_mode)) return snprintf(git, PATH_BYTES, "%s", path) < PATH_BYTES;
            /* of a linked work tree or a submodule */
            if (!text_of(dir, ".git", b) || strncmp((char *)b->ptr, "gitdir: ", 8) != 0) return false;
            char *to = (char *)b->ptr + 8;
            line_end(to);
            return snprintf(git, PATH_BYTES, "%s%s%s", *to == '/' ? "" : dir, *to == '/' ? "" : "/", to) < PATH_BYTES;
        }
        char *slash = strrchr(dir, '/');
        if (!slash || !dir[1]) return false;
        slash[slash == dir] = '\0';
    }
}

/* Where refs and config lie: the main repository of a linked work tree. */
static bool find_common(const char git[PATH_BYTES], char common[PATH_BYTES], struct buf *b) {
    if (!text_of(git, "commondir", b)) return snprintf(common, PATH_BYTES, "%s", git) < PATH_BYTES;
    char *to = (char *)b->ptr;
    line_end(to);
    return snprintf(common, PATH_BYTES, "%s%s%s", *to == '/' ? "" : git, *to == '/' ? "" : "/", to) < PATH_BYTES;
}

static bool packed_ref(const char *common, const char *ref, char sha[72], struct buf *b) {
    size_t n = strlen(ref);
    if (!text_of(common, "packed-refs", b)) return false;
    for (char *line = (char *)b->ptr; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
        const char *name = line + strcspn(line, " \n");
        if (!is_sha(line) || *name != ' ' || strncmp(name + 1, ref, n) != 0) continue;
        if (name[1 + n] && !isspace((unsigned char)name[1 + n])) continue;
        sha_take(line, sha);
        return true;
    }
    return false;
}

static void head_of(const char *git, const char *common, char sha[72], struct buf *b) {
    char ref[512];
    if (!text_of(git, "HEAD", b)) return;
    for (int hop = 0; hop < 5; hop++) { /* a ref may be symbolic itself */
        char *text = (char *)b->ptr;
        line_end(text);
        if (is_sha(text)) {
            sha_take(text, sha);
            return;
        }
        if (strncmp(text, "ref: refs/", 10) != 0 || strstr(text, "..")) return;
        snprintf(ref, sizeof ref, "%s", text + 5);
        if (text_of(git, ref, b) || text_of(common, ref, b)) continue;
        (void)packed_ref(common, ref, sha, b);
        return;
    }
}

static void remote_of(const char *common, char repo[GIT_TEXT], struct buf *b) {
    bool here = false;
    char *rest;
    if (!text_of(common, "config", b)) return;
    for (char *line = strtok_r((char *)b->ptr, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest)) {
        line += strspn(line, " \t");
        if (*line == '[') here = strncmp(line, "[remote \"origin\"]", 17) == 0;
        if (!here || strncmp(line, "url", 3) != 0) continue;
        line += 3 + strspn(line + 3, " \t");
        if (*line++ != '=') continue;
        snprintf(repo, GIT_TEXT, "%.1000s", line + strspn(line, " \t"));
        return;
    }
}

void git_origin_of(const char *file, struct git_origin *ret) {
    char dir[PATH_BYTES], git[PATH_BYTES], common[PATH_BYTES];
    struct buf b = BUF_INIT(FILE_MAX + 1);
    *ret = (struct git_origin){0};
    char *real = realpath(file, NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    if (slash) slash[slash == real] = '\0';
    if (slash && snprintf(dir, sizeof dir, "%s", real) < (int)sizeof dir - 300 && find_tree(dir, git, &b) &&
        find_common(git, common, &b)) {
        head_of(git, common, ret->sha, &b);
        remote_of(common, ret->repo, &b);
        if (!*ret->repo) snprintf(ret->repo, sizeof ret->repo, "%.1000s", dir);
    }
    free(real); /* seam: allocated by realpath */
    buf_free(&b);
}
