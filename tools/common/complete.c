/*
 * Completion of command lines, by the tables of commands and options
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/block.h"
#include "qapi/qapi-types.h"
#include "tools/common/complete.h"
#include "tools/common/complete-internal.h"

/* What arguments and the values of options can be, by the names that help gives them. */
static const struct {
    const char *name;
    const QAPIType *type;       /* an enum, or a struct for KEY=VALUE,...; NULL: the name of a file */
    const char *implied_key;
} values[] = {
    { "AIO", &qapi_type_BlockdevAioOptions, NULL },
    { "BACKUP", NULL, NULL },
    { "BLOCKDEV", &qapi_type_BlockdevOptions, "driver" },
    { "CACHE", &qapi_type_ImgCacheMode, NULL },
    { "CHARDEV", &qapi_type_ChardevBackendKind, NULL },
    { "DISCARD", &qapi_type_BlockdevDiscardOptions, NULL },
    { "EXPORT", &qapi_type_BlockExportOptions, "type" },
    { "FILE", NULL, NULL },
    { "FILE1", NULL, NULL },
    { "FILE2", NULL, NULL },
    { "HEADER", NULL, NULL },
    { "MONITOR", &qapi_type_MonitorOptions, "chardev" },
    { "OBJDEF", &qapi_type_ObjectOptions, "qom-type" },
    { "PATH", NULL, NULL },
    { "PREALLOC", &qapi_type_PreallocMode, NULL },
    { "SCOPE", &qapi_type_SecureEraseScope, NULL },
    { "SERVER", &qapi_type_NbdServerOptions, NULL },
    { "TARGET", NULL, NULL },
    { "ZEROES", &qapi_type_BlockdevDetectZeroesOptions, NULL },
};

/* The words of a command, without the last one, as far as they matter. */
typedef struct Words {
    const ToolCommand *cmd;
    const ToolOption *open;     /* an option whose value is the next word; NULL: none */
    int n_positional;
    bool only_positional;       /* "--" was met */
    bool image_opts;
    const char *format;
    const char *target_format;
} Words;

static const ToolOption *find_long(const ToolCommand *cmd, const char *name, size_t len)
{
    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        if (o->name && strlen(o->name) == len && !memcmp(o->name, name, len)) {
            return o;
        }
    }
    return NULL;
}

static const ToolOption *find_letter(const ToolCommand *cmd, char letter)
{
    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        if (o->letter == letter) {
            return o;
        }
    }
    return NULL;
}

static void take_value(Words *w, const ToolOption *o, const char *value)
{
    if (o->key == TOOL_KEY_FORMAT) {
        w->format = value;
    } else if (o->key == TOOL_KEY_TARGET_FORMAT) {
        w->target_format = value;
    }
}

/* An option with its value in the same word, or without one; or the beginning of one. */
static void take_option(Words *w, const ToolOption *o, const char *value)
{
    if (!o) {
        return;
    }
    w->image_opts |= o->key == TOOL_KEY_IMAGE_OPTS;
    if (o->arg && value) {
        take_value(w, o, value);
    } else if (o->arg) {
        w->open = o;
    }
}

static void take_letters(Words *w, const char *letters)
{
    for (; *letters; letters++) {
        const ToolOption *o = find_letter(w->cmd, *letters);

        take_option(w, o, letters[1] ? letters + 1 : NULL);
        if (o && o->arg) {
            return;
        }
    }
}

static void take_word(Words *w, const char *word)
{
    if (w->open) {
        take_value(w, w->open, word);
        w->open = NULL;
    } else if (w->only_positional || word[0] != '-' || !word[1]) {
        w->n_positional++;
    } else if (g_str_equal(word, "--")) {
        w->only_positional = true;
    } else if (word[1] == '-') {
        size_t len = strcspn(word + 2, "=");

        take_option(w, find_long(w->cmd, word + 2, len), word[2 + len] ? word + 3 + len : NULL);
    } else {
        take_letters(w, word + 1);
    }
}

/* Formats of images that are there: drivers that hold a volume which another one stores. */
static void offer_format(const BlockDriver *drv, void *opaque)
{
    if (!bdrv_is_protocol(drv)) {
        completion_offer(opaque, bdrv_get_driver_name(drv), "", NULL);
    }
}

static void offer_formats(const Completion *c, const Words *w, const ToolOption *o)
{
    if (o->key != TOOL_KEY_TARGET_FORMAT) {
        bdrv_iterate_drivers(offer_format, (void *)c);
        return;
    }
    for (BlockdevDriver i = 0; i < BLOCKDEV_DRIVER__MAX; i++) {
        if (w->cmd->options_type && w->cmd->options_type(BlockdevDriver_str(i), NULL)) {
            completion_offer(c, BlockdevDriver_str(i), "", NULL);
        }
    }
}

static void offer_format_options(const Completion *c, const Words *w)
{
    const char *format = tool_takes_option(w->cmd, TOOL_KEY_TARGET_FORMAT) ? w->target_format : w->format;
    const QAPIType *type = NULL;

    if (w->cmd->options_type) {
        type = w->cmd->options_type(format ?: w->cmd->default_format, NULL);
    }
    if (type) {
        completion_offer_keyval(c, type, NULL);
    }
}

/* A value that help calls @name, "FILE" or "human|json"; others are anything. */
static void offer_named(const Completion *c, const char *name)
{
    if (strchr(name, '|')) {
        g_auto(GStrv) words = g_strsplit(name, "|", -1);

        for (char **word = words; *word; word++) {
            completion_offer(c, *word, "", NULL);
        }
        return;
    }
    if (g_str_equal(name, "ID")) {
        completion_offer_defined(c, "id");
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        if (!g_str_equal(values[i].name, name)) {
            continue;
        } else if (!values[i].type) {
            completion_offer_files(c);
        } else if (values[i].type->kind == QAPI_KIND_ENUM) {
            completion_offer_enum(c, values[i].type);
        } else {
            completion_offer_keyval(c, values[i].type, values[i].implied_key);
        }
    }
}

static void offer_value(const Completion *c, const Words *w, const ToolOption *o)
{
    if (g_str_equal(o->arg, "FMT")) {
        offer_formats(c, w, o);
    } else if (g_str_equal(o->arg, "OPTS")) {
        offer_format_options(c, w);
    } else {
        offer_named(c, o->arg);
    }
}

static void offer_options(const Completion *c, const ToolCommand *cmd)
{
    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        g_autofree char *word = o->name ? g_strconcat("--", o->name, NULL) : g_strdup_printf("-%c", o->letter);

        if (o->help) {
            completion_offer(c, word, "", o->help);
        }
    }
    completion_offer(c, "--help", "", "show this help");
}

/* The name that help gives the positional argument @n, without brackets; the last one may repeat. Caller frees. */
static char *positional_name(const ToolCommand *cmd, int n)
{
    g_auto(GStrv) names = g_strsplit(cmd->args, " ", -1);
    int last = (int)g_strv_length(names) - 1;
    GString *name = g_string_new(last >= 0 ? names[MIN(n, last)] : "");

    g_string_replace(name, "[", "", 0);
    g_string_replace(name, "]", "", 0);
    g_string_replace(name, ".", "", 0);
    return g_string_free(name, FALSE);
}

/* "if=FILE": operands have names, and come in any order. */
static void offer_operands(const Completion *c, const ToolCommand *cmd)
{
    g_auto(GStrv) operands = g_strsplit_set(cmd->args, " []", -1);

    for (char **operand = operands; *operand; operand++) {
        char *equals = strchr(*operand, '=');
        g_autofree char *before = g_strndup(*operand, equals ? equals + 1 - *operand : 0);

        if (equals && g_str_has_prefix(c->partial, before)) {
            offer_named(&(Completion) { .before = before, .partial = c->partial + strlen(before) }, equals + 1);
        } else if (equals) {
            completion_offer(c, before, "", NULL);
        }
    }
}

static void offer_positional(const Completion *c, const Words *w)
{
    g_autofree char *name = positional_name(w->cmd, w->n_positional);

    if (strchr(w->cmd->args, '=')) {
        offer_operands(c, w->cmd);
    } else if (w->cmd->max_args >= 0 && w->n_positional >= w->cmd->max_args) {
        return;
    } else if (w->image_opts && g_str_has_prefix(name, "FILE")) {
        completion_offer_keyval(c, &qapi_type_BlockdevOptions, NULL);
    } else {
        offer_named(c, name);
    }
}

/* Complete the last of the @n words of a command, which begin behind its name. */
static void complete_command(const ToolCommand *cmd, int n, char **words)
{
    const char *last = words[n - 1], *equals = strchr(last, '=');
    Words w = { .cmd = cmd };

    for (int i = 0; i < n - 1; i++) {
        take_word(&w, words[i]);
    }
    if (w.open) {
        offer_value(&(Completion) { .before = "", .partial = last }, &w, w.open);
    } else if (!w.only_positional && g_str_has_prefix(last, "--") && equals) {
        const ToolOption *o = find_long(cmd, last + 2, equals - last - 2);
        g_autofree char *before = g_strndup(last, equals + 1 - last);

        if (o && o->arg) {
            offer_value(&(Completion) { .before = before, .partial = equals + 1 }, &w, o);
        }
    } else if (!w.only_positional && last[0] == '-') {
        offer_options(&(Completion) { .before = "", .partial = last }, cmd);
    } else {
        offer_positional(&(Completion) { .before = "", .partial = last }, &w);
    }
}

static void offer_commands(const ToolCommand *program, const char *partial)
{
    const Completion c = { .before = "", .partial = partial };

    for (const ToolCommand *const *cmd = program->commands; *cmd; cmd++) {
        completion_offer(&c, tool_command_word(*cmd), "", (*cmd)->summary);
    }
    completion_offer(&c, "help", "", "show the help of a command");
    if (!program->name && partial[0] == '-') {
        completion_offer(&c, "--help", "", "show the commands");
        completion_offer(&c, "--version", "", "show the version");
    }
}

/* Behind @help nothing but commands follows. */
static void complete(const ToolCommand *program, bool help, int n, char **words)
{
    if (!program->commands) {
        if (!help) {
            complete_command(program, n, words);
        }
        return;
    }
    if (n == 1) {
        offer_commands(program, words[0]);
        return;
    }
    if (g_str_equal(words[0], "help")) {
        complete(program, true, n - 1, words + 1);
        return;
    }
    for (const ToolCommand *const *cmd = program->commands; *cmd; cmd++) {
        if (g_str_equal(tool_command_word(*cmd), words[0])) {
            complete(*cmd, help, n - 1, words + 1);
        }
    }
}

bool tool_complete(const ToolCommand *program, int argc, char **argv)
{
    if (argc < 3 || !g_str_equal(argv[1], "--complete")) {
        return false;
    }
    completion_words = argv + 2;
    completion_n_words = argc - 3;
    complete(program, false, argc - 2, argv + 2);
    return true;
}
