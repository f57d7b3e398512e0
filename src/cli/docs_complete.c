/* Completion scripts. They hold the tables as data and ask the shell alone; nothing is run while completing. */
#include "cli/docs.h"

#include <stdio.h>

/* ---- bash */

static int bash_verb_options(enum verb_id verb, struct buf *out, struct error *err) {
    int r = buf_printf(out, err, "        %s) options='", verb_table[verb].name);
    bool begun = false;
    for (int i = 0; i < OPT_COUNT && r == 0; i++) {
        if (option_is_global((enum option_id)i) || !option_applies((enum option_id)i, verb)) continue;
        r = buf_printf(out, err, "%s--%s", begun ? " " : "", option_table[i].name);
        begun = true;
    }
    if (r == 0 && verb == VERB_HELP) return buf_append_str(out, "' words=$verbs ;;\n", err);
    if (r == 0) r = buf_append_str(out, "' words='", err);
    begun = false;
    for (const struct action_info *a = action_table; a->name && r == 0; a++) {
        if (a->verb != verb) continue;
        r = buf_printf(out, err, "%s%s", begun ? " " : "", a->name);
        begun = true;
    }
    return r == 0 ? buf_append_str(out, "' ;;\n", err) : r;
}

static int names_of_kinds(unsigned kinds, const char *separator, struct buf *out, struct error *err) {
    bool begun = false;
    int r = 0;
    for (int i = 0; i < OPT_COUNT && r == 0; i++) {
        if (!(kinds & 1u << option_table[i].kind)) continue;
        r = buf_printf(out, err, "%s--%s", begun ? separator : "", option_table[i].name);
        if (r == 0 && option_table[i].short_name)
            r = buf_printf(out, err, "%s-%c", separator, option_table[i].short_name);
        begun = true;
    }
    return r;
}

static int choice_words(const char *choices, struct buf *out, struct error *err) {
    int r = 0;
    for (; *choices && r == 0; choices++) r = buf_append(out, *choices == '|' ? " " : choices, 1, err);
    return r;
}

int docs_bash(struct buf *out, struct error *err) {
    int r = buf_append_str(
        out,
        "# bash completion of proofkeep, made by 'proofkeep --completions bash'.\n"
        "_proofkeep() {\n"
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= action= word i skip=\n"
        "    local options= words= verbs='",
        err);
    for (int i = 0; i < VERB_COUNT && r == 0; i++) r = buf_printf(out, err, "%s%s", i ? " " : "", verb_table[i].name);
    if (r == 0) r = buf_append_str(out, "' global='", err);
    bool begun = false;
    for (int i = 0; i < OPT_COUNT && r == 0; i++) {
        if (!option_is_global((enum option_id)i)) continue;
        r = buf_printf(out, err, "%s--%s", begun ? " " : "", option_table[i].name);
        begun = true;
    }
    if (r == 0)
        r = buf_append_str(out,
                           "'\n"
                           "    COMPREPLY=()\n"
                           "    # '=' is a word of its own to bash: --color=al is --color = al.\n"
                           "    if [[ $cur == = ]]; then cur=\n"
                           "    elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}\n"
                           "    fi\n"
                           "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                           "        word=${COMP_WORDS[i]}\n"
                           "        if [[ -n $skip ]]; then\n"
                           "            [[ $word == = ]] && continue\n"
                           "            skip=\n"
                           "            continue\n"
                           "        fi\n"
                           "        case $word in\n"
                           "        ",
                           err);
    if (r == 0) r = names_of_kinds(~(1u << KIND_FLAG | 1u << KIND_SWITCHES), "|", out, err);
    if (r == 0)
        r = buf_append_str(
            out,
            ") skip=1 ;;\n"
            "        -*|=) ;;\n"
            "        *) if [[ -z $verb ]]; then verb=$word; elif [[ -z $action ]]; then action=$word; fi ;;\n"
            "        esac\n"
            "    done\n"
            "    case $prev in\n",
            err);
    for (int i = 0; i < OPT_COUNT && r == 0; i++) {
        if (option_table[i].kind != KIND_CHOICE) continue;
        r = buf_printf(out, err, "    --%s) COMPREPLY=($(compgen -W '", option_table[i].name);
        if (r == 0) r = choice_words(option_table[i].placeholder, out, err);
        if (r == 0) r = buf_append_str(out, "' -- \"$cur\")); return ;;\n", err);
    }
    if (r == 0) r = buf_append_str(out, "    ", err);
    if (r == 0) r = names_of_kinds(1u << KIND_FOLDER, "|", out, err);
    if (r == 0)
        r = buf_append_str(
            out,
            ") mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); compopt -o filenames 2>/dev/null; return ;;\n    ",
            err);
    if (r == 0) r = names_of_kinds(1u << KIND_FILE | 1u << KIND_PLACE, "|", out, err);
    if (r == 0)
        r = buf_append_str(
            out,
            ") mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); compopt -o filenames 2>/dev/null; return ;;\n    ",
            err);
    if (r == 0)
        r = names_of_kinds(1u << KIND_TEXT | 1u << KIND_DURATION | 1u << KIND_COUNT, "|", out, err);
    if (r == 0) r = buf_append_str(out, ") return ;;\n    esac\n    case $verb in\n", err);
    if (r == 0) r = buf_append_str(out, "        '') words=$verbs ;;\n", err);
    for (int i = 0; i < VERB_COUNT && r == 0; i++) r = bash_verb_options((enum verb_id)i, out, err);
    if (r == 0)
        r = buf_append_str(out,
                           "    esac\n"
                           "    [[ -n $action ]] && words=\n"
                           "    if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$options $global\" -- \"$cur\"))\n"
                           "    elif [[ -n $words ]]; then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                           "    elif [[ $verb == backup ]]; then mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); "
                           "compopt -o filenames 2>/dev/null\n"
                           "    fi\n"
                           "}\n"
                           "complete -F _proofkeep proofkeep\n",
                           err);
    return r;
}

/* ---- zsh */

/* Text inside single quotes inside an _arguments specification. */
static int zsh_text(const char *text, struct buf *out, struct error *err) {
    int r = 0;
    for (; *text && r == 0; text++) {
        if (*text == '\'')
            r = buf_append_str(out, "'\\''", err);
        else if (strchr("[]:\\", *text))
            r = buf_printf(out, err, "\\%c", *text);
        else
            r = buf_append(out, text, 1, err);
    }
    return r;
}

static int zsh_option(enum option_id id, enum verb_id verb, struct buf *out, struct error *err) {
    const struct option_info *o = &option_table[id];
    int r = buf_append_str(out, "        '", err);
    if (r == 0 && o->times != TIMES_ONCE) r = buf_append_str(out, "*", err);
    if (r == 0) r = buf_printf(out, err, "--%s%s[", o->name, option_has_value(id) ? "=" : "");
    if (r == 0) r = zsh_text(option_text(id, verb), out, err);
    if (r == 0) r = buf_append_str(out, "]", err);
    if (r == 0 && option_has_value(id)) {
        r = buf_append_str(out, ":", err);
        if (r == 0) r = zsh_text(o->kind == KIND_CHOICE ? o->name : o->placeholder, out, err);
        if (r == 0) r = buf_append_str(out, ":", err);
        if (r == 0 && o->kind == KIND_CHOICE) {
            r = buf_append_str(out, "(", err);
            if (r == 0) r = choice_words(o->placeholder, out, err);
            if (r == 0) r = buf_append_str(out, ")", err);
        }
        if (r == 0 && o->kind == KIND_FOLDER) r = buf_append_str(out, "_files -/", err);
        if (r == 0 && (o->kind == KIND_FILE || o->kind == KIND_PLACE)) r = buf_append_str(out, "_files", err);
    }
    return r == 0 ? buf_append_str(out, "'\n", err) : r;
}

static int zsh_operands(enum verb_id verb, struct buf *out, struct error *err) {
    int r = 0;
    if (verb == VERB_HELP) return buf_append_str(out, "        \"1:verb:(${${(j: :)verbs%%:*}})\"\n", err);
    if (verb == VERB_BACKUP) return buf_append_str(out, "        '*:target:_files'\n", err);
    if (!verb_has_actions(verb)) return 0;
    r = buf_append_str(out, "        '1:action:(", err);
    bool begun = false;
    for (const struct action_info *a = action_table; a->name && r == 0; a++) {
        if (a->verb != verb) continue;
        r = buf_printf(out, err, "%s%s", begun ? " " : "", a->name);
        begun = true;
    }
    return r == 0 ? buf_append_str(out, ")'\n", err) : r;
}

int docs_zsh(struct buf *out, struct error *err) {
    int r = buf_append_str(out,
                           "#compdef proofkeep\n"
                           "# zsh completion of proofkeep, made by 'proofkeep --completions zsh'.\n"
                           "_proofkeep() {\n"
                           "    local curcontext=$curcontext state line\n"
                           "    local -a global specs verbs\n"
                           "    global=(\n",
                           err);
    for (int i = 0; i < OPT_COUNT && r == 0; i++)
        if (option_is_global((enum option_id)i)) r = zsh_option((enum option_id)i, VERB_NONE, out, err);
    if (r == 0) r = buf_append_str(out, "    )\n    verbs=(\n", err);
    for (int i = 0; i < VERB_COUNT && r == 0; i++) {
        r = buf_printf(out, err, "        '%s:", verb_table[i].name);
        if (r == 0) r = zsh_text(verb_table[i].summary, out, err);
        if (r == 0) r = buf_append_str(out, "'\n", err);
    }
    if (r == 0)
        r = buf_append_str(out,
                           "    )\n"
                           "    _arguments -C $global '1:verb:->verb' '*::operand:->operand' && return\n"
                           "    case $state in\n"
                           "    verb) _describe verb verbs; return ;;\n"
                           "    esac\n"
                           "    specs=()\n"
                           "    case $words[1] in\n",
                           err);
    for (int i = 0; i < VERB_COUNT && r == 0; i++) {
        r = buf_printf(out, err, "    %s) specs=(\n", verb_table[i].name);
        for (int k = 0; k < OPT_COUNT && r == 0; k++)
            if (!option_is_global((enum option_id)k) && option_applies((enum option_id)k, (enum verb_id)i))
                r = zsh_option((enum option_id)k, (enum verb_id)i, out, err);
        if (r == 0) r = zsh_operands((enum verb_id)i, out, err);
        if (r == 0) r = buf_append_str(out, "        ) ;;\n", err);
    }
    if (r == 0)
        r = buf_append_str(
            out,
            "    esac\n"
            "    _arguments $global $specs\n"
            "}\n"
            "if [[ $funcstack[1] == _proofkeep ]]; then _proofkeep \"$@\"; else compdef _proofkeep proofkeep; fi\n",
            err);
    return r;
}

/* ---- fish */

static int fish_text(const char *text, struct buf *out, struct error *err) {
    int r = buf_append_str(out, "'", err);
    for (; *text && r == 0; text++)
        r = *text == '\'' || *text == '\\' ? buf_printf(out, err, "\\%c", *text) : buf_append(out, text, 1, err);
    return r == 0 ? buf_append_str(out, "'", err) : r;
}

static int fish_option(enum option_id id, enum verb_id verb, struct buf *out, struct error *err) {
    const struct option_info *o = &option_table[id];
    int r = buf_append_str(out, "complete -c proofkeep", err);
    if (r == 0 && verb != VERB_NONE)
        r = buf_printf(out, err, " -n '__fish_seen_subcommand_from %s'", verb_table[verb].name);
    if (r == 0) r = buf_printf(out, err, " -l %s", o->name);
    if (r == 0 && o->short_name) r = buf_printf(out, err, " -s %c", o->short_name);
    if (r == 0 && option_has_value(id)) r = buf_append_str(out, " -r", err);
    if (r == 0 && o->kind == KIND_CHOICE) {
        r = buf_append_str(out, " -f -a '", err);
        if (r == 0) r = choice_words(o->placeholder, out, err);
        if (r == 0) r = buf_append_str(out, "'", err);
    }
    if (r == 0 && (o->kind == KIND_FILE || o->kind == KIND_PLACE)) r = buf_append_str(out, " -F", err);
    if (r == 0 && o->kind == KIND_FOLDER) r = buf_append_str(out, " -f -a '(__fish_complete_directories)'", err);
    if (r == 0) r = buf_append_str(out, " -d ", err);
    if (r == 0) r = fish_text(option_text(id, verb), out, err);
    return r == 0 ? buf_append_str(out, "\n", err) : r;
}

int docs_fish(struct buf *out, struct error *err) {
    int r = buf_append_str(out,
                           "# fish completion of proofkeep, made by 'proofkeep --completions fish'.\n"
                           "complete -c proofkeep -f\n",
                           err);
    for (int i = 0; i < VERB_COUNT && r == 0; i++) {
        r = buf_printf(out, err, "complete -c proofkeep -n __fish_use_subcommand -a %s -d ", verb_table[i].name);
        if (r == 0) r = fish_text(verb_table[i].summary, out, err);
        if (r == 0) r = buf_append_str(out, "\n", err);
    }
    for (const struct action_info *a = action_table; a->name && r == 0; a++) {
        r = buf_printf(out, err, "complete -c proofkeep -n '__fish_seen_subcommand_from %s' -a %s -d ",
                       verb_table[a->verb].name, a->name);
        if (r == 0) r = fish_text(a->summary, out, err);
        if (r == 0) r = buf_append_str(out, "\n", err);
    }
    for (int i = 0; i < OPT_COUNT && r == 0; i++) {
        enum option_id id = (enum option_id)i;
        if (option_is_global(id)) {
            r = fish_option(id, VERB_NONE, out, err);
            continue;
        }
        for (int v = 0; v < VERB_COUNT && r == 0; v++)
            if (option_applies(id, (enum verb_id)v)) r = fish_option(id, (enum verb_id)v, out, err);
    }
    return r;
}
