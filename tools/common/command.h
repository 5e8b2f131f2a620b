/*
 * Commands of a program: one table gives parsing, the usage line and the help
 *
 *     static const ToolOption check_options[] = {
 *         TOOL_OPTION_FORMAT,
 *         TOOL_OPTION_IMAGE_OPTS,
 *         TOOL_OPTION_OUTPUT,
 *         { 'r', "repair", "leaks|all", "repair what is found", 'r' },
 *         { 0 }
 *     };
 *
 *     static int coroutine_fn check_run(const ToolCommand *cmd, int argc, char **argv)
 *     {
 *         g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
 *         int c;
 *
 *         while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
 *             if (c == 'r') {
 *                 repair = args.value;
 *             }
 *         }
 *         if (args.stop) {                    // the help was printed, or an error
 *             return args.status;
 *         }
 *         use(args.positional[0], args.format, args.json);
 *     }
 *
 * Options may follow positional arguments. The TOOL_OPTION_* are common to many commands: they land in fields
 * of ToolArgs and are not returned.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include "qapi/qapi.h"
#include "util/coroutine.h"
#include "util/error.h"

typedef struct ToolOption {
    char letter;            /* 0: it has only the long name */
    const char *name;       /* long name; NULL: only the letter */
    const char *arg;        /* what its value is called; NULL: it takes none */
    const char *help;       /* NULL: another name of an option above, accepted but not shown */
    int key;                /* what tool_args_next() returns: TOOL_KEY_*, TOOL_KEY_OWN and up, or the letter */
} ToolOption;

typedef struct ToolCommand ToolCommand;
struct ToolCommand {
    const char *name;               /* NULL: the program itself; of a command of a command: both, "keyslot add" */
    const char *args;               /* positional arguments, "FILE [SIZE]" */
    int min_args, max_args;         /* how many; max_args -1: no limit */
    const char *summary;            /* one line without a full stop */
    const char *description;        /* paragraphs for the command's own help, or NULL; filled to the terminal */
    const char *examples;           /* command lines, or NULL; broken anew to fit the terminal */
    const ToolOption *options;      /* ends with { 0 } */
    /*
     * What -o can hold for @format, that of TOOL_KEY_TARGET_FORMAT or of TOOL_KEY_FORMAT where there is no such option;
     * @default_format where none is given. NULL with @errp where the format has no options. NULL: there is no -o.
     */
    const QAPIType *(*options_type)(const char *format, Error **errp);
    const char *default_format;
    void (*print_more_help)(void);  /* of a program: at the end of its help; or NULL */
    const ToolCommand *const *commands; /* commands of its own, up to a NULL, instead of the rest */
    int coroutine_fn (*run)(const ToolCommand *cmd, int argc, char **argv);  /* returns the exit status */
};

/* Keys of the common options; a command's own without a letter count from TOOL_KEY_OWN. */
enum {
    TOOL_KEY_UNKNOWN = 256,     /* the parser's own */
    TOOL_KEY_UNUSED,            /* accepted, and not looked at */
    TOOL_KEY_HELP,
    TOOL_KEY_FORMAT,
    TOOL_KEY_TARGET_FORMAT,
    TOOL_KEY_IMAGE_OPTS,
    TOOL_KEY_OBJECT,
    TOOL_KEY_FORCE_SHARE,
    TOOL_KEY_QUIET,
    TOOL_KEY_PROGRESS,
    TOOL_KEY_OUTPUT,
    TOOL_KEY_CACHE,
    TOOL_KEY_SOURCE_CACHE,
    TOOL_KEY_OPTIONS,
    TOOL_KEY_HEADER,
    TOOL_KEY_KEY_FILE,
    TOOL_KEY_KEYFILE_OFFSET,
    TOOL_KEY_KEYFILE_SIZE,
    TOOL_KEY_NEW_KEY_FILE,
    TOOL_KEY_OWN,
};

#define TOOL_OPTION_FORMAT \
    TOOL_OPTION_FORMAT_OF("format of the image (default: probed)")
#define TOOL_OPTION_FORMAT_OF(help) \
    { 'f', "format", "FMT", help, TOOL_KEY_FORMAT }
/* The format of the image that is made, as opposed to that of one that is there. */
#define TOOL_OPTION_TARGET_FORMAT(letter, name, help) \
    { letter, name, "FMT", help, TOOL_KEY_TARGET_FORMAT }
#define TOOL_OPTION_IMAGE_OPTS \
    { 0, "image-opts", NULL, "FILE is a list of options, such as driver=luks,file.filename=...", \
      TOOL_KEY_IMAGE_OPTS }
#define TOOL_OPTION_OBJECT \
    { 0, "object", "OBJDEF", "define an object, usually secret,id=ID,file=FILE; help lists the types", \
      TOOL_KEY_OBJECT }
#define TOOL_OPTION_FORCE_SHARE \
    { 'U', "force-share", NULL, "open the image even if another program is writing to it", \
      TOOL_KEY_FORCE_SHARE }
#define TOOL_OPTION_QUIET \
    { 'q', "quiet", NULL, "print nothing but errors", TOOL_KEY_QUIET }
#define TOOL_OPTION_PROGRESS \
    { 'p', "progress", NULL, "show progress", TOOL_KEY_PROGRESS }
#define TOOL_OPTION_OUTPUT \
    { 0, "output", "human|json", "format of the result (default: human)", TOOL_KEY_OUTPUT }
#define TOOL_OPTION_CACHE \
    { 't', "cache", "CACHE", "none, writeback (default), writethrough, directsync or unsafe", TOOL_KEY_CACHE }
#define TOOL_OPTION_SOURCE_CACHE \
    { 'T', "cache", "CACHE", "cache mode of the images: none or writeback (default)", TOOL_KEY_SOURCE_CACHE }
#define TOOL_OPTION_OPTIONS \
    { 'o', "options", "OPTS", "options NAME=VALUE,...; may be repeated; -o help lists them", TOOL_KEY_OPTIONS }

/* Of LUKS: each is short for a longer form with --image-opts and --object. */
#define TOOL_OPTION_HEADER \
    { 0, "header", "HEADER", "file or device that holds the detached LUKS header", TOOL_KEY_HEADER }
#define TOOL_OPTIONS_KEY_FILE \
    TOOL_OPTIONS_KEY_FILE_OF("read the password from this file, as it is; - for standard input")
#define TOOL_OPTIONS_KEY_FILE_OF(help) \
    { 0, "key-file", "FILE", help, TOOL_KEY_KEY_FILE }, \
    { 0, "keyfile-offset", "OFFSET", "skip this many bytes of the key file", TOOL_KEY_KEYFILE_OFFSET }, \
    { 0, "keyfile-size", "SIZE", "read at most this many bytes of the key file", TOOL_KEY_KEYFILE_SIZE }
/* Accepted by commands that need no password, so that all take the same options. */
#define TOOL_OPTIONS_NO_KEY_FILE \
    { 0, "key-file", "FILE", NULL, TOOL_KEY_UNUSED }, \
    { 0, "keyfile-offset", "OFFSET", NULL, TOOL_KEY_UNUSED }, \
    { 0, "keyfile-size", "SIZE", NULL, TOOL_KEY_UNUSED }
/* An image that does not exist yet has no other password: both names mean the same. */
#define TOOL_OPTIONS_NEW_IMAGE_KEY_FILE \
    TOOL_OPTIONS_KEY_FILE_OF("read the new password from this file, as it is; - for standard input"), \
    { 0, "new-key-file", "FILE", NULL, TOOL_KEY_KEY_FILE }
#define TOOL_OPTION_NEW_KEY_FILE(help) \
    { 0, "new-key-file", "FILE", help "; - for standard input", TOOL_KEY_NEW_KEY_FILE }

#define TOOL_ARGS_END (-1)

typedef struct ToolArgs {
    /* set by the caller; the rest starts as zeroes */
    const ToolCommand *cmd;
    int argc;
    char **argv;
    bool defer_objects;     /* leave --object to tool_args_make_objects() */

    char *value;            /* of the option that was just returned; points into argv */
    bool stop;              /* nothing more to do: exit with @status */
    int status;

    /* the positional arguments, once tool_args_next() has returned TOOL_ARGS_END */
    char **positional;
    int n_positional;

    /* what the common options said */
    const char *format;
    const char *target_format;  /* of what is made; NULL: not given */
    bool image_opts;
    bool force_share;
    bool quiet;
    bool progress;
    bool json;
    const char *cache;
    const char *source_cache;
    char *options;          /* all -o, joined by commas; NULL where there is none */
    const char *header;
    char *key_secret;       /* ID of a secret with what --key-file holds; NULL: not given, or to be asked for */
    char *new_key_secret;   /* of --new-key-file */

    /* the parser's own */
    struct option *long_options;
    char *short_options;
    bool failed;
    GPtrArray *objects;     /* of char *, that point into argv; deferred */
    const char *key_file;
    const char *new_key_file;
    uint64_t keyfile_offset;
    uint64_t keyfile_size;
} ToolArgs;

/*
 * The next option that is the command's own: its key, with its argument in @args->value. TOOL_ARGS_END at the
 * end; @args->stop then tells whether to go on. Objects are made as they are met, and key files are read at the end.
 */
int tool_args_next(ToolArgs *args);

/* Make the objects that were deferred, in their order, and read the key files; false with @errp. */
bool coroutine_mixed_fn tool_args_make_objects(ToolArgs *args, Error **errp);

/* Report a mistake on the command line, and where to read on; the command is then to return 1. */
void tool_args_fail(ToolArgs *args, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* "; did you mean 'json'?", where one of @words ("human|json") is near to @word; else "". Caller frees. */
char *tool_guess_word(const char *words, const char *word);

void tool_args_clear(ToolArgs *args);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ToolArgs, tool_args_clear)

/*
 * Find the command that argv[0] names in @program's table and run it; "help" and "help COMMAND" print help. Returns the
 * exit status. The program's name in messages is that of g_set_prgname().
 */
int coroutine_fn tool_command_run(const ToolCommand *program, int argc, char **argv);

/* The last word of @cmd's name: "add" of "keyslot add". */
const char *tool_command_word(const ToolCommand *cmd);

/* Whether @cmd has an option with @key. */
bool tool_takes_option(const ToolCommand *cmd, int key);

/* The help of one command; and the commands of @program, a line each. */
void tool_print_command_help(const ToolCommand *cmd);
void tool_print_program_help(const ToolCommand *program);

/* What -o can hold: @type, for @format. */
void tool_print_options_help(const QAPIType *type, const char *format);

/* "qemu-img version ..." and the copyright. */
void tool_print_version(void);

#endif
