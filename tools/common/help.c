/*
 * Help texts, generated from the tables of commands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"
#include "tools/common/command.h"
#include "tools/common/startup.h"
#include "util/text.h"

#define OPTION_COLUMN 28
#define COMMAND_COLUMN 18

static void append_option_usage(GString *usage, const ToolOption *o)
{
    if (o->letter) {
        g_string_append_printf(usage, " [-%c", o->letter);
    } else {
        g_string_append_printf(usage, " [--%s", o->name);
    }
    if (o->arg) {
        g_string_append_printf(usage, " %s", o->arg);
    }
    g_string_append_c(usage, ']');
}

/* "create [-f FMT] ... FILE [SIZE]" */
static char *command_usage(const ToolCommand *cmd)
{
    GString *usage = g_string_new(cmd->name);

    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        if (o->help) {
            append_option_usage(usage, o);
        }
    }
    g_string_append_printf(usage, " %s", cmd->args);
    /* The program itself has no name before its options. */
    return g_strchug(g_string_free(usage, FALSE));
}

static void print_option(const ToolOption *o)
{
    g_autoptr(GString) left = g_string_new("  ");

    if (o->letter) {
        g_string_append_printf(left, "-%c%s", o->letter, o->name ? ", " : "");
    } else {
        g_string_append(left, "    ");
    }
    if (o->name) {
        g_string_append_printf(left, "--%s", o->name);
    }
    if (o->arg) {
        g_string_append_printf(left, " %s", o->arg);
    }
    if (left->len + 2 > OPTION_COLUMN) {
        printf("%s\n%*s", left->str, OPTION_COLUMN, "");
    } else {
        printf("%-*s", OPTION_COLUMN, left->str);
    }
    text_print_wrapped(stdout, o->help, OPTION_COLUMN, OPTION_COLUMN, "");
}

/* Paragraphs are separated by empty lines. */
static void print_paragraphs(const char *text)
{
    g_autofree char *own = tool_own_text(text);
    g_auto(GStrv) paragraphs = g_strsplit(own, "\n\n", -1);

    for (char **p = paragraphs; *p; p++) {
        putchar('\n');
        text_print_wrapped(stdout, *p, 0, 0, "");
    }
}

/* Command lines, broken anew to fit the terminal. */
static void print_examples(const char *examples)
{
    g_autofree char *own = tool_own_text(examples);
    g_auto(GStrv) parts = g_strsplit(own, " \\\n", -1);
    g_autofree char *joined = g_strjoinv(" ", parts);
    g_auto(GStrv) lines = g_strsplit(joined, "\n", -1);

    printf("\nExamples:\n");
    for (char **line = lines; *line; line++) {
        text_print_wrapped(stdout, *line, printf("  "), 6, " \\");
    }
}

void tool_print_command_help(const ToolCommand *cmd)
{
    static const ToolOption help = { 'h', "help", NULL, "show this help", TOOL_KEY_HELP };
    g_autofree char *usage = command_usage(cmd);
    int column = printf("Usage: %s", g_get_prgname());

    text_print_wrapped(stdout, usage, column, 11, "");
    printf("\n%c%s.\n", g_ascii_toupper(cmd->summary[0]), cmd->summary + 1);
    if (cmd->description) {
        print_paragraphs(cmd->description);
    }
    printf("\nOptions:\n");
    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        if (o->help) {
            print_option(o);
        }
    }
    print_option(&help);
    if (cmd->examples) {
        print_examples(cmd->examples);
    }
}

static void print_command_line(const char *name, const char *summary)
{
    printf("  %-*s", COMMAND_COLUMN - 2, name);
    text_print_wrapped(stdout, summary, COMMAND_COLUMN, COMMAND_COLUMN, "");
}

static void print_commands(const ToolCommand *program)
{
    for (const ToolCommand *const *c = program->commands; *c; c++) {
        if ((*c)->commands) {
            print_commands(*c);
        } else {
            print_command_line((*c)->name, (*c)->summary);
        }
    }
}

void tool_print_program_help(const ToolCommand *program)
{
    g_autofree char *name = program->name ? g_strconcat(g_get_prgname(), " ", program->name, NULL) :
                                            g_strdup(g_get_prgname());

    printf("Usage: %s COMMAND [OPTION]... [ARGUMENT]...\n", name);
    printf("       %s help [COMMAND]\n", name);
    if (!program->name) {
        printf("       %s -h | --help | -V | --version\n", name);
    }
    printf("\n%c%s.\n", g_ascii_toupper(program->summary[0]), program->summary + 1);
    printf("\nCommands (see '%s help COMMAND'):\n", name);
    print_commands(program);
    if (program->description) {
        print_paragraphs(program->description);
    }
    if (program->print_more_help) {
        program->print_more_help();
    }
}

void tool_print_options_help(const QAPIType *type, const char *format)
{
    printf("Supported %s options:\n", format);
    qapi_print_help(type, stdout);
}

void tool_print_version(void)
{
    printf("%s version %s (strongbox %s)\n", g_get_prgname(), QEMU_VERSION, PACKAGE_VERSION);
    printf("Copyright (c) the strongbox authors. License GPL-2.0-or-later.\n");
}
