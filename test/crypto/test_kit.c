#include "crypto/keyring.h"
#include "crypto/kit.h"
#include "crypto_test.h"

/* of doc/format/keys.md; from an independent program */
#define KIT_VECTOR_LINES "K1   R30W5 GY4RQ 3CFJ6 9SB5W SKEES ZQ93\nK2   8D3MP KTKAX DNYRV 7DDQQ 6XVVF GADB\n"
#define KIT_VECTOR_WORD "hibab-ririt"

static uint8_t key[32], slot[354];
static char paper[8192]; /* a whole kit, as it is printed */

static void write_part(enum kit_part part, struct bytes data, char *out, size_t n) {
    struct buf b = BUF_INIT(4096);
    OK(kit_write(part, data, &b, e));
    OK(buf_terminate(&b, e));
    assert_true(b.len < n);
    memcpy(out, b.ptr, b.len + 1);
    buf_free(&b);
}

static int setup(void **state) {
    char word[KIT_WORD_BYTES], k[256], s[2048];
    if (init_crypto(state) < 0) return -1;
    for (unsigned i = 0; i < sizeof key; i++) key[i] = (uint8_t)(0xc0 + i);
    for (unsigned i = 0; i < sizeof slot; i++) slot[i] = (uint8_t)(i * 7);
    put_u16(slot + 12, 0);
    put_u16(slot + 14, 162);
    write_part(KIT_KEY, BYTES_OF(key, sizeof key), k, sizeof k);
    write_part(KIT_SLOT, BYTES_OF(slot, sizeof slot), s, sizeof s);
    kit_word(BYTES_OF(key, sizeof key), word);
    snprintf(paper, sizeof paper,
             "A KIT\nrepository: 000102030405060708090a0b0c0d0e0f\n\n%scheck word: %s\n\nSlot\n%s1. steps\n", k, word,
             s);
    return 0;
}

static struct paper_kit kit_of(const char *text) {
    struct paper_kit k = {0};
    OK(kit_read(BYTES_STR(text), &k, e));
    return k;
}

static void refused(const char *text, const char *says) {
    struct paper_kit k = {0};
    FAILS(ERR_KIT, says, kit_read(BYTES_STR(text), &k, e));
    assert_null(k.secret);
}

static void a_kit_comes_back_whole(void **state) {
    (void)state;
    struct paper_kit k = kit_of(paper);
    struct bytes b = secret_bytes(k.secret);
    assert_int_equal(b.len, sizeof key + sizeof slot);
    assert_int_equal(k.slot_bytes, sizeof slot);
    assert_memory_equal(b.ptr, key, sizeof key);
    assert_memory_equal(b.ptr + sizeof key, slot, sizeof slot);
    assert_true(k.has_word && k.has_repo_id);
    assert_int_equal(k.repo_id[15], 15);
    secret_free(k.secret);
}

static void every_length_comes_back(void **state) {
    (void)state;
    for (size_t n = 200; n <= KIT_BYTES_MAX; n += 1) {
        char text[4096], k[256];
        uint8_t s[KIT_BYTES_MAX];
        memset(s, 0xff, n);
        put_u16(s + 12, 0);
        put_u16(s + 14, (uint16_t)(n - 192));
        write_part(KIT_KEY, BYTES_OF(key, sizeof key), k, sizeof k);
        write_part(KIT_SLOT, BYTES_OF(s, n), text, sizeof text - sizeof k);
        strcat(text, k);
        struct paper_kit got = kit_of(text);
        assert_int_equal(got.slot_bytes, n);
        assert_memory_equal(secret_bytes(got.secret).ptr + 32, s, n);
        secret_free(got.secret);
    }
    struct buf b = BUF_INIT(8192);
    uint8_t big[KIT_BYTES_MAX + 1] = {0};
    FAILS(ERR_KIT, "no room for 501 bytes", kit_write(KIT_SLOT, BYTES_OF(big, sizeof big), &b, e));
    buf_free(&b);
}

static void the_key_alone_is_enough_and_typing_may_be_sloppy(void **state) {
    (void)state;
    char text[256], sloppy[512] = "";
    write_part(KIT_KEY, BYTES_OF(key, sizeof key), text, sizeof text);
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        char c = *p;
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (c == '0' && p > text && p[-1] != 'k') c = 'o';
        if (c == ' ') sloppy[n++] = '-';
        if (c == '\n') sloppy[n++] = '\r';
        sloppy[n++] = c;
    }
    sloppy[n] = '\0';
    struct paper_kit k = kit_of(sloppy);
    assert_memory_equal(secret_bytes(k.secret).ptr, key, 32);
    assert_int_equal(k.slot_bytes, 0);
    assert_false(k.has_word || k.has_repo_id);
    secret_free(k.secret);
}

static void the_form_is_the_documented_one(void **state) {
    (void)state;
    char text[256], word[KIT_WORD_BYTES];
    write_part(KIT_KEY, BYTES_OF(key, sizeof key), text, sizeof text);
    assert_string_equal(text, KIT_VECTOR_LINES);
    kit_word(BYTES_OF(key, sizeof key), word);
    assert_string_equal(word, KIT_VECTOR_WORD);
    const char *folder = getenv("PK_DOC");
    char path[4096];
    struct buf page = BUF_INIT(1 << 20);
    snprintf(path, sizeof path, "%s/format/keys.md", folder ? folder : "doc");
    OK(io_read_file(AT_FDCWD, path, page.max_bytes, &page, e));
    OK(buf_terminate(&page, e));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        assert_non_null(strstr((char *)page.ptr, line));
    assert_non_null(strstr((char *)page.ptr, "check word:  " KIT_VECTOR_WORD));
    buf_free(&page);
}

/* Position in the text of the i-th character of the line that begins with `label`. */
static char *character(char *text, const char *label, unsigned i) {
    char *p = strstr(text, label);
    assert_non_null(p);
    p += strlen(label);
    for (;; p++) {
        if (*p == ' ') continue;
        if (i-- == 0) return p;
    }
}

static void each_single_mistake_is_placed(void **state) {
    (void)state;
    static const char other[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    for (unsigned line = 1; line <= 2; line++)
        for (unsigned i = 0; i < KIT_LINE_CHARS; i++)
            for (unsigned c = 0; c < 32; c++) {
                char text[sizeof paper], label[8], says[80];
                memcpy(text, paper, sizeof paper);
                snprintf(label, sizeof label, "K%u ", line);
                char *p = character(text, label, i);
                if (*p == other[c]) continue;
                *p = other[c];
                snprintf(says, sizeof says,
                         "line K%u of the recovery kit: character %u (number %u of group %u) is mistyped", line, i + 1,
                         i % 5 + 1, i / 5 + 1);
                refused(text, says);
            }
}

static void two_mistakes_never_pass_for_none(void **state) {
    (void)state;
    for (unsigned i = 0; i < KIT_LINE_CHARS; i++)
        for (unsigned j = i + 1; j < KIT_LINE_CHARS; j++) {
            char text[sizeof paper];
            memcpy(text, paper, sizeof paper);
            char *a = character(text, "S7 ", i), *b = character(text, "S7 ", j);
            *a = *a == 'Z' ? '3' : 'Z';
            *b = *b == '7' ? 'W' : '7';
            refused(text, "line S7 ");
        }
}

static void neighbours_that_were_swapped_are_told(void **state) {
    (void)state;
    unsigned told = 0, tried = 0;
    for (unsigned i = 0; i + 1 < KIT_LINE_CHARS; i++) {
        char text[sizeof paper], says[120];
        memcpy(text, paper, sizeof paper);
        char *a = character(text, "K1 ", i), *b = character(text, "K1 ", i + 1), c = *a;
        if (*a == *b) continue;
        *a = *b;
        *b = c;
        struct paper_kit k = {0};
        struct error err = ERROR_INIT;
        snprintf(says, sizeof says, "character %u (number %u of group %u) and character %u", i + 1, i % 5 + 1,
                 i / 5 + 1, i + 2);
        assert_int_equal(kit_read(BYTES_STR(text), &k, &err), -ERR_KIT);
        tried++;
        told += strstr(err.text, says) != NULL && strstr(err.text, "are swapped") != NULL;
    }
    assert_int_equal(told, tried);
}

static void lines_in_each_others_place_are_told(void **state) {
    (void)state;
    char text[sizeof paper];
    memcpy(text, paper, sizeof paper);
    *strstr(text, "K1") = 'X'; /* out of the way */
    strstr(text, "K2")[1] = '1';
    refused(text, "what stands in line K1 of the recovery kit belongs to line K2");
}

static void what_is_missing_or_foreign_is_named(void **state) {
    (void)state;
    char text[sizeof paper];
    memcpy(text, paper, sizeof paper);
    *strstr(text, "K2") = 'X';
    refused(text, "line K2 of the recovery kit is missing");
    memcpy(text, paper, sizeof paper);
    *strstr(text, "S5 ") = 'X';
    refused(text, "line S5 of the recovery kit is missing");
    memcpy(text, paper, sizeof paper);
    strstr(text, "S22 ")[0] = '\0';
    refused(text, "line S22 of the recovery kit is missing");
    memcpy(text, paper, sizeof paper);
    *character(text, "K1 ", 6) = 'U';
    refused(text, "line K1 of the recovery kit: character 7 (number 2 of group 2) is none that a kit has");
    memcpy(text, paper, sizeof paper);
    *character(text, "K1 ", 6) = ' ';
    refused(text, "has 28 characters where 29 belong");
    memcpy(text, paper, sizeof paper);
    *character(text, "word: ", 2) = 'x';
    refused(text, "the check word is not that of lines K1 and K2");
    refused("", "line K1 of the recovery kit is missing");
    refused("K3 00000 00000 00000 00000 00000 0000\n", "has no line K3");
}

static void kits_are_not_mixed(void **state) {
    (void)state;
    char text[2 * sizeof paper], more[256];
    uint8_t another[32] = {1};
    write_part(KIT_KEY, BYTES_OF(another, 32), more, sizeof more);
    snprintf(text, sizeof text, "%s%s", paper, more);
    refused(text, "line K1 stands there twice");
    snprintf(text, sizeof text, "%s%s", paper, paper);
    struct paper_kit k = kit_of(text); /* the same twice does no harm */
    secret_free(k.secret);
    /* the second line of another kit: the check word tells */
    memcpy(text, paper, sizeof paper);
    memcpy(strstr(text, "K2"), strstr(more, "K2"), strlen(strstr(more, "K2")));
    refused(text, "the check word is not that of lines K1 and K2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kit_comes_back_whole),
        cmocka_unit_test(every_length_comes_back),
        cmocka_unit_test(the_key_alone_is_enough_and_typing_may_be_sloppy),
        cmocka_unit_test(the_form_is_the_documented_one),
        cmocka_unit_test(each_single_mistake_is_placed),
        cmocka_unit_test(two_mistakes_never_pass_for_none),
        cmocka_unit_test(neighbours_that_were_swapped_are_told),
        cmocka_unit_test(lines_in_each_others_place_are_told),
        cmocka_unit_test(what_is_missing_or_foreign_is_named),
        cmocka_unit_test(kits_are_not_mixed),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
