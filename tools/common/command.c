/*
 * Commands of a program: lookup, and parsing of arguments
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <getopt.h>

#include <json-c/json.h>

#include "crypto/object.h"
#include "crypto/secret.h"
#include "qapi/keyval.h"
#include "tools/common/command-line.h"
#include "tools/common/command.h"
#include "tools/common/output.h"
#include "tools/common/password.h"
#include "tools/common/progress.h"
#include "tools/common/terminal.h"
#include "util/text.h"

/* getopt also returns '?' and ':', which must differ from our keys. */
#define OPTION_INDEX_BASE 0x10000

static const ToolOption help_option = { 'h', "help", NULL, "show this help", TOOL_KEY_HELP };

static const ToolOption *find_option(const ToolCommand *cmd, int getopt_value)
{
    if (getopt_value == OPTION_INDEX_BASE + TOOL_KEY_HELP || getopt_value == help_option.letter) {
        return &help_option;
    }
    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        if (getopt_value == o->letter || getopt_value == OPTION_INDEX_BASE + o->key) {
            return o;
        }
    }
    return NULL;
}

static void add_option(GArray *longs, GString *shorts, const ToolOption *o)
{
    if (o->letter) {
        g_string_append_c(shorts, o->letter);
        if (o->arg) {
            g_string_append_c(shorts, ':');
        }
    }
    if (o->name) {
        struct option l = {
            .name = o->name,
            .has_arg = o->arg ? required_argument : no_argument,
            .val = OPTION_INDEX_BASE + o->key,
        };

        g_array_append_val(longs, l);
    }
}

/* Long names can be abbreviated, but --force must not stand for --force-share: without this entry, it would. */
static const ToolOption no_force_option = { 0, "force", NULL, NULL, TOOL_KEY_UNKNOWN };

static void start_parsing(ToolArgs *args)
{
    GArray *longs = g_array_new(TRUE, TRUE, sizeof(struct option));
    GString *shorts = g_string_new(":");
    bool has_force = false;

    add_option(longs, shorts, &help_option);
    for (const ToolOption *o = args->cmd->options; o->letter || o->name; o++) {
        add_option(longs, shorts, o);
        has_force |= !g_strcmp0(o->name, "force");
    }
    if (!has_force) {
        add_option(longs, shorts, &no_force_option);
    }
    args->long_options = (struct option *)g_array_free(longs, FALSE);
    args->short_options = g_string_free(shorts, FALSE);
    optind = 0;
    tool_command_line_set(args->cmd, args->argc, args->argv);
}

static void tool_args_stop(ToolArgs *args, int status)
{
    args->stop = true;
    args->status = status;
}

/* A program has no name in its ToolCommand. */
static void print_help_pointer(const ToolCommand *cmd)
{
    fprintf(stderr, "Try '%s%s%s --help' for more information\n", g_get_prgname(),
            cmd->name ? " " : "", cmd->name ? cmd->name : "");
}

void tool_args_fail(ToolArgs *args, const char *fmt, ...)
{
    g_autofree char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    msg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_report("%s", msg);
    print_help_pointer(args->cmd);
    tool_args_stop(args, 1);
}

static void take_object(ToolArgs *args)
{
    g_autoptr(Error) err = NULL;

    if (user_creatable_is_help(optarg)) {
        tool_args_stop(args, 0);
    } else if (args->defer_objects) {
        if (!args->objects) {
            args->objects = g_ptr_array_new();
        }
        g_ptr_array_add(args->objects, optarg);
    } else if (!user_creatable_parse(optarg, &err)) {
        error_report_err(g_steal_pointer(&err));
        tool_args_stop(args, 1);
    }
}

static bool is_stdin(const char *key_file)
{
    return !g_strcmp0(key_file, "-");
}

/* Create a secret with the contents of @name. Returns its ID; NULL with @errp, or if the user is prompted for it. */
static char *coroutine_mixed_fn read_key_file(const char *name, uint64_t offset, uint64_t size, Error **errp)
{
    if (!name || (is_stdin(name) && tool_can_prompt())) {
        return NULL;
    }
    g_autoptr(SecretBuffer) password = qcrypto_secret_read_file(is_stdin(name) ? NULL : name, offset, size, errp);
    return password ? tool_add_secret(password, errp) : NULL;
}

static bool coroutine_mixed_fn read_key_files(ToolArgs *args, Error **errp)
{
    ERRP_GUARD();

    if (is_stdin(args->key_file) && is_stdin(args->new_key_file)) {
        error_setg(errp, "--key-file and --new-key-file cannot both come from standard input");
        return false;
    }
    args->key_secret = read_key_file(args->key_file, args->keyfile_offset, args->keyfile_size, errp);
    if (!*errp) {
        args->new_key_secret = read_key_file(args->new_key_file, 0, 0, errp);
    }
    return !*errp;
}

bool coroutine_mixed_fn tool_args_make_objects(ToolArgs *args, Error **errp)
{
    for (guint i = 0; args->objects && i < args->objects->len; i++) {
        if (!user_creatable_parse(g_ptr_array_index(args->objects, i), errp)) {
            return false;
        }
    }
    return read_key_files(args, errp);
}

char *tool_guess_word(const char *words, const char *word)
{
    g_auto(GStrv) split = g_strsplit(words, "|", -1);
    TextNearest nearest = { .word = word };

    for (char **w = split; *w; w++) {
        text_nearest_offer(&nearest, *w);
    }
    return text_did_you_mean(nearest.name);
}

static void take_output(ToolArgs *args)
{
    if (g_str_equal(optarg, "json")) {
        args->json = true;
    } else if (g_str_equal(optarg, "human")) {
        args->json = false;
    } else {
        g_autofree char *guess = tool_guess_word("human|json", optarg);

        tool_args_fail(args, "--output must be used with human or json as argument%s", *guess ? guess : ".");
    }
}

static void take_options(ToolArgs *args)
{
    char *joined = args->options ? g_strconcat(args->options, ",", optarg, NULL) : g_strdup(optarg);

    g_free(args->options);
    args->options = joined;
}

static void take_size(ToolArgs *args, const char *what, uint64_t min, uint64_t *bytes)
{
    g_autoptr(Error) err = NULL;

    if (!tool_parse_size(what, optarg, min, INT64_MAX, bytes, &err)) {
        tool_args_fail(args, "%s", error_get_pretty(err));
    }
}

/* If @key is a LUKS option, store its value and return true. */
static bool take_luks(ToolArgs *args, int key)
{
    switch (key) {
    case TOOL_KEY_HEADER:
        args->header = optarg;
        return true;
    case TOOL_KEY_KEY_FILE:
        args->key_file = optarg;
        return true;
    case TOOL_KEY_KEYFILE_OFFSET:
        take_size(args, "keyfile-offset", 0, &args->keyfile_offset);
        return true;
    case TOOL_KEY_KEYFILE_SIZE:
        take_size(args, "keyfile-size", 1, &args->keyfile_size);
        return true;
    case TOOL_KEY_NEW_KEY_FILE:
        args->new_key_file = optarg;
        return true;
    case TOOL_KEY_UNUSED:
        return true;
    default:
        return false;
    }
}

/* If @key is a common option, store its value and return true. */
static bool take_common(ToolArgs *args, int key)
{
    switch (key) {
    case TOOL_KEY_HELP:
        tool_print_command_help(args->cmd);
        tool_args_stop(args, 0);
        return true;
    case TOOL_KEY_FORMAT:
        args->format = optarg;
        return true;
    case TOOL_KEY_TARGET_FORMAT:
        args->target_format = optarg;
        return true;
    case TOOL_KEY_IMAGE_OPTS:
        args->image_opts = true;
        return true;
    case TOOL_KEY_OBJECT:
        take_object(args);
        return true;
    case TOOL_KEY_FORCE_SHARE:
        args->force_share = true;
        return true;
    case TOOL_KEY_QUIET:
        args->quiet = true;
        return true;
    case TOOL_KEY_PROGRESS:
        args->progress = true;
        return true;
    case TOOL_KEY_OUTPUT:
        take_output(args);
        return true;
    case TOOL_KEY_CACHE:
        args->cache = optarg;
        return true;
    case TOOL_KEY_SOURCE_CACHE:
        args->source_cache = optarg;
        return true;
    case TOOL_KEY_OPTIONS:
        take_options(args);
        return true;
    default:
        return take_luks(args, key);
    }
}

bool tool_takes_option(const ToolCommand *cmd, int key)
{
    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        if (o->key == key) {
            return true;
        }
    }
    return false;
}

/* The format that -o applies to. */
static const char *options_format(const ToolArgs *args)
{
    const char *format = tool_takes_option(args->cmd, TOOL_KEY_TARGET_FORMAT) ? args->target_format : args->format;

    return format ?: args->cmd->default_format;
}

/* If -o asks for help, print that or an error and return true. Nothing else need be on the command line. */
static bool take_options_help(ToolArgs *args)
{
    g_autoptr(json_object) options = NULL;
    g_autoptr(Error) err = NULL;
    const QAPIType *type;
    bool help = false;

    if (!args->options || !args->cmd->options_type) {
        return false;
    }
    options = keyval_parse(args->options, NULL, &help, NULL);
    if (!help) {
        return false;
    }
    type = args->cmd->options_type(options_format(args), &err);
    if (type) {
        tool_print_options_help(type, options_format(args));
        tool_args_stop(args, 0);
    } else {
        tool_args_fail(args, "%s", error_get_pretty(err));
    }
    return true;
}

static void finish_parsing(ToolArgs *args)
{
    g_autoptr(Error) err = NULL;

    if (take_options_help(args)) {
        return;
    }

    args->positional = args->argv + optind;
    args->n_positional = args->argc - optind;
    if (args->image_opts && args->format) {
        tool_args_fail(args, "--image-opts and --format are mutually exclusive");
    } else if (args->n_positional && !args->cmd->max_args) {
        tool_args_fail(args, "Unexpected argument '%s'", args->positional[0]);
    } else if (args->n_positional < args->cmd->min_args ||
               (args->cmd->max_args >= 0 && args->n_positional > args->cmd->max_args)) {
        tool_args_fail(args, "'%s' expects %s", args->cmd->name ?: g_get_prgname(), args->cmd->args);
    } else if ((args->keyfile_offset || args->keyfile_size) && !args->key_file) {
        tool_args_fail(args, "--keyfile-offset and --keyfile-size need --key-file");
    }
    if (args->progress && !args->quiet && !args->json) {
        tool_progress_enable_words();
    }
    if (!args->stop && !args->defer_objects && !read_key_files(args, &err)) {
        error_report_err(g_steal_pointer(&err));
        tool_args_stop(args, 1);
    }
}

/* @word begins with "--" and may hold a value. */
static char *guess_option(const ToolCommand *cmd, const char *word)
{
    g_autofree char *name = g_strndup(word + 2, strcspn(word + 2, "="));
    TextNearest nearest = { .word = name };
    g_autofree char *option = NULL;

    text_nearest_offer(&nearest, help_option.name);
    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        if (o->name && o->help) {
            text_nearest_offer(&nearest, o->name);
        }
    }
    option = nearest.name ? g_strconcat("--", nearest.name, NULL) : NULL;
    return text_did_you_mean(option);
}

static void fail_unknown_option(ToolArgs *args, const char *word)
{
    if (optopt && optopt < OPTION_INDEX_BASE) {
        tool_args_fail(args, "unrecognized option '-%c'", optopt);
    } else if (g_str_has_prefix(word, "--")) {
        g_autofree char *guess = guess_option(args->cmd, word);

        tool_args_fail(args, "unrecognized option '%s'%s", word, guess);
    } else {
        tool_args_fail(args, "unrecognized option '%s'", word);
    }
}

int tool_args_next(ToolArgs *args)
{
    if (!args->long_options) {
        start_parsing(args);
    }
    while (!args->stop) {
        const ToolOption *option;
        int at = MAX(optind, 1);
        int c;

        opterr = optopt = 0;
        c = getopt_long(args->argc, args->argv, args->short_options, args->long_options, NULL);
        if (c == -1) {
            finish_parsing(args);
            break;
        }
        if (c == ':') {
            tool_args_fail(args, "option '%s' requires an argument", args->argv[optind - 1]);
            break;
        }
        option = c == '?' ? NULL : find_option(args->cmd, c);
        if (!option) {
            /* In a cluster of letters, getopt does not advance; optopt has the letter. */
            fail_unknown_option(args, args->argv[optind == at ? at : optind - 1]);
            break;
        }
        if (!take_common(args, option->key)) {
            args->value = optarg;
            return option->key;
        }
    }
    return TOOL_ARGS_END;
}

void tool_args_clear(ToolArgs *args)
{
    g_clear_pointer(&args->long_options, g_free);
    g_clear_pointer(&args->short_options, g_free);
    g_clear_pointer(&args->options, g_free);
    g_clear_pointer(&args->key_secret, g_free);
    g_clear_pointer(&args->new_key_secret, g_free);
    g_clear_pointer(&args->objects, g_ptr_array_unref);
}

const char *tool_command_word(const ToolCommand *cmd)
{
    const char *space = strrchr(cmd->name, ' ');

    return space ? space + 1 : cmd->name;
}

static const ToolCommand *find_command(const ToolCommand *program, const char *word)
{
    for (const ToolCommand *const *c = program->commands; *c; c++) {
        if (g_str_equal(tool_command_word(*c), word)) {
            return *c;
        }
    }
    return NULL;
}

static int report_unknown_command(const ToolCommand *program, const char *word)
{
    static const char *const others[] = { "help", "--help", "--version" };
    TextNearest nearest = { .word = word };
    g_autofree char *guess = NULL;

    for (const ToolCommand *const *c = program->commands; c && *c; c++) {
        text_nearest_offer(&nearest, tool_command_word(*c));
    }
    for (size_t i = 0; program->commands && i < G_N_ELEMENTS(others); i++) {
        text_nearest_offer(&nearest, others[i]);
    }
    guess = text_did_you_mean(nearest.name);
    error_report("unknown command '%s%s%s'%s", program->name ?: "", program->name ? " " : "", word, guess);
    print_help_pointer(program);
    return 1;
}

/* Print the help of @program, or of the command that @argv names. */
static int print_help(const ToolCommand *program, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        const ToolCommand *cmd = program->commands ? find_command(program, argv[i]) : NULL;

        if (!cmd) {
            return report_unknown_command(program, argv[i]);
        }
        program = cmd;
    }
    if (program->commands) {
        tool_print_program_help(program);
    } else {
        tool_print_command_help(program);
    }
    return 0;
}

int coroutine_fn tool_command_run(const ToolCommand *program, int argc, char **argv)
{
    const ToolCommand *cmd;

    if (!argc) {
        error_report("Not enough arguments");
        print_help_pointer(program);
        return 1;
    }
    if (g_str_equal(argv[0], "--help") || g_str_equal(argv[0], "-h") || g_str_equal(argv[0], "help")) {
        return print_help(program, argc - 1, argv + 1);
    }
    cmd = find_command(program, argv[0]);
    if (!cmd) {
        return report_unknown_command(program, argv[0]);
    }
    if (cmd->commands) {
        return tool_command_run(cmd, argc - 1, argv + 1);
    }
    return cmd->run(cmd, argc, argv);
}
