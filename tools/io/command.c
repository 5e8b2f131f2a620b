/*
 * The commands of qemu-io: lookup, checks, execution, help
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "tools/io/io.h"
#include "util/text.h"

static const IOCommand *const commands[] = {
    &io_aio_flush,
    &io_aio_read,
    &io_aio_write,
    &io_alloc,
    &io_close,
    &io_discard,
    &io_flush,
    &io_help,
    &io_info,
    &io_length,
    &io_map,
    &io_open,
    &io_quit,
    &io_read,
    &io_readv,
    &io_reopen,
    &io_sleep,
    &io_truncate,
    &io_write,
    &io_writev,
};

static const IOCommand *find_command(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (g_str_equal(commands[i]->name, name) || !g_strcmp0(commands[i]->letter, name)) {
            return commands[i];
        }
    }
    return NULL;
}

static char *guess_command(const char *name)
{
    TextNearest nearest = { .word = name };

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        text_nearest_offer(&nearest, commands[i]->name);
    }
    return text_did_you_mean(nearest.name);
}

static void print_one_line(const IOCommand *cmd)
{
    g_autofree char *line = g_strdup_printf("%s %s -- %s", cmd->name, cmd->args, cmd->summary);

    text_print_wrapped(stdout, line, 0, 4, "");
}

int io_usage(const IOCommand *cmd)
{
    print_one_line(cmd);
    return -EINVAL;
}

static bool check_count(const IOCommand *cmd, int n)
{
    if (n >= cmd->min_args && (cmd->max_args < 0 || n <= cmd->max_args)) {
        return true;
    }
    fprintf(stderr, "bad argument count %d to %s, expected ", n, cmd->name);
    if (cmd->max_args < 0) {
        fprintf(stderr, "at least %d arguments\n", cmd->min_args);
    } else if (cmd->min_args == cmd->max_args) {
        fprintf(stderr, "%d arguments\n", cmd->min_args);
    } else {
        fprintf(stderr, "between %d and %d arguments\n", cmd->min_args, cmd->max_args);
    }
    return false;
}

/* Ask for permissions only once they are needed, so that looking inside disturbs nobody. */
static bool check_perm(QemuIO *io, const IOCommand *cmd)
{
    g_autoptr(Error) err = NULL;

    if (!(cmd->perm & ~io->perm)) {
        return true;
    }
    if (!blk_set_perm(io->blk, io->perm | cmd->perm, BLK_PERM_ALL, &err)) {
        error_report_err(g_steal_pointer(&err));
        return false;
    }
    io->perm |= cmd->perm;
    return true;
}

int coroutine_fn io_run_line(QemuIO *io, char *line)
{
    g_auto(GStrv) words = g_strsplit_set(g_strstrip(line), " \t", -1);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    const IOCommand *cmd;
    char *name;

    for (char **word = words; *word; word++) {
        if (**word) {
            g_ptr_array_add(argv, *word);
        }
    }
    if (!argv->len) {
        return 0;
    }
    g_ptr_array_add(argv, NULL);
    name = argv->pdata[0];
    cmd = find_command(name);
    if (!cmd) {
        g_autofree char *guess = guess_command(name);

        fprintf(stderr, "command \"%s\" not found%s\n", name, guess);
        return -EINVAL;
    }
    if (!cmd->without_image && !io->blk) {
        fprintf(stderr, "no file open, try 'help open'\n");
        return -EINVAL;
    }
    if (!check_count(cmd, argv->len - 2) || !check_perm(io, cmd)) {
        return -EINVAL;
    }
    return cmd->run(io, cmd, argv->len - 1, (char **)argv->pdata);
}

/* Lines that begin with a space describe an option. */
static void print_help_text(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line; line++) {
        int indent = printf("%s", **line == ' ' ? " " : "");

        text_print_wrapped(stdout, *line, indent, indent ? 8 : 0, "");
    }
}

static int coroutine_fn help_run(QemuIO *io, const IOCommand *unused, int argc, char **argv)
{
    const IOCommand *cmd;

    if (argc < 2) {
        for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
            print_one_line(commands[i]);
        }
        printf("\nUse 'help commandname' for extended help.\n");
        return 0;
    }
    cmd = find_command(argv[1]);
    if (!cmd) {
        g_autofree char *guess = guess_command(argv[1]);

        printf("command %s not found%s\n", argv[1], guess);
        return -EINVAL;
    }
    print_one_line(cmd);
    if (cmd->help) {
        putchar('\n');
        print_help_text(cmd->help);
    }
    return 0;
}

const IOCommand io_help = {
    .name = "help",
    .letter = "?",
    .max_args = 1,
    .without_image = true,
    .args = "[command]",
    .summary = "help for one or all commands",
    .run = help_run,
};
