/*
 * Help texts, made from the tables of commands
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "tools/common/command.h"
#include "tools/common/startup.h"

#define LINE_WIDTH 98
#define OPTION_COLUMN 28

/*
 * Print @text, broken between words; @column is where the cursor stands, and later lines start at @indent.
 * A piece in brackets stays together.
 */
static void print_wrapped(const char *text, size_t column, size_t indent)
{
    bool blank = column <= indent;  /* no space is needed before the next word */

    while (*text) {
        size_t len = 0;

        for (int depth = 0; text[len] && (text[len] != ' ' || depth); len++) {
            depth += (text[len] == '[') - (text[len] == ']');
        }
        if (!blank && column + 1 + len > LINE_WIDTH) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        } else if (!blank) {
            putchar(' ');
            column++;
        }
        blank = false;
        printf("%.*s", (int)len, text);
        column += len;
        text += len;
        text += strspn(text, " ");
    }
    putchar('\n');
}

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
    print_wrapped(o->help, OPTION_COLUMN, OPTION_COLUMN);
}

void tool_print_command_help(const ToolCommand *cmd)
{
    static const ToolOption help = { 'h', "help", NULL, "show this help", TOOL_KEY_HELP };
    g_autofree char *usage = command_usage(cmd);
    int column = printf("Usage: %s", g_get_prgname());

    print_wrapped(usage, column, 11);
    printf("\n%c%s.\n", g_ascii_toupper(cmd->summary[0]), cmd->summary + 1);
    if (cmd->description) {
        printf("\n");
        tool_print_text(cmd->description);
        printf("\n");
    }
    printf("\nOptions:\n");
    for (const ToolOption *o = cmd->options; o->letter || o->name; o++) {
        if (o->help) {
            print_option(o);
        }
    }
    print_option(&help);
    if (cmd->examples) {
        printf("\nExamples:\n");
        tool_print_text(cmd->examples);
        printf("\n");
    }
}

static void print_commands(const ToolCommand *program)
{
    for (const ToolCommand *const *c = program->commands; *c; c++) {
        if ((*c)->commands) {
            print_commands(*c);
        } else {
            g_autofree char *usage = command_usage(*c);

            printf("  ");
            print_wrapped(usage, 2, 6);
            printf("      %s\n", (*c)->summary);
        }
    }
}

void tool_print_program_help(const ToolCommand *program)
{
    printf("Usage: %s [-h | -V] %s%sCOMMAND [OPTION]... [ARGUMENT]...\n", g_get_prgname(),
           program->name ? program->name : "", program->name ? " " : "");
    printf("\n%c%s.\n", g_ascii_toupper(program->summary[0]), program->summary + 1);
    printf("\nCommands ('%s COMMAND --help' tells more):\n", g_get_prgname());
    print_commands(program);
    if (program->description) {
        printf("\n%s\n", program->description);
    }
}

void tool_print_version(void)
{
    printf("%s version %s (strongbox %s)\n", g_get_prgname(), QEMU_VERSION, PACKAGE_VERSION);
    printf("Copyright (c) the strongbox authors. License GPL-2.0-or-later.\n");
}
