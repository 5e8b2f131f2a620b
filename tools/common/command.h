/*
 * Commands of a program: parsing, the usage line and the help come from one table
 *
 *     static const ToolOption check_options[] = {
 *         TOOL_OPTION_FORMAT,
 *         TOOL_OPTION_IMAGE_OPTS,
 *         TOOL_OPTION_OUTPUT,
 *         { 'r', "repair", "leaks|all", "repair errors", 'r' },
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
 *         if (args.stop) {                    // help or an error was printed
 *             return args.status;
 *         }
 *         use(args.positional[0], args.format, args.json);
 *     }
 *
 * Options may follow positional arguments. The TOOL_OPTION_* are common to many commands: tool_args_next()
 * stores them in ToolArgs and does not return them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

#include "qapi/qapi.h"
#include "util/coroutine.h"
#include "util/error.h"

typedef struct ToolOption {
    char letter;            /* 0: only the long name */
    const char *name;       /* long name; NULL: only the letter */
    const char *arg;        /* name of its value; NULL: it takes none */
    const char *help;       /* NULL: accepted but not shown, such as another name of an option above */
    int key;                /* returned by tool_args_next(): TOOL_KEY_*, TOOL_KEY_OWN and up, or the letter */
} ToolOption;

typedef struct ToolCommand ToolCommand;
struct ToolCommand {
    const char *name;               /* NULL: the program itself; of a subcommand: both words, "keyslot add" */
    const char *args;               /* positional arguments, "FILE [SIZE]" */
    int min_args, max_args;         /* number of them; max_args -1: no limit */
    const char *summary;            /* one line without a full stop */
    const char *description;        /* paragraphs for the command's help, wrapped to the terminal; or NULL */
    const char *examples;           /* command lines, wrapped to the terminal; or NULL */
    const ToolOption *options;      /* ends with { 0 } */
    /*
     * The options that -o takes for @format: the value of TOOL_KEY_TARGET_FORMAT or, if there is no such option, of
     * TOOL_KEY_FORMAT; by default @default_format. NULL with @errp if the format has no options. NULL: there is no -o.
     */
    const QAPIType *(*options_type)(const char *format, Error **errp);
    const char *default_format;
    void (*print_more_help)(void);  /* of a program: prints the end of its help; or NULL */
    const ToolCommand *const *commands; /* subcommands, up to a NULL, instead of the rest */
    int coroutine_fn (*run)(const ToolCommand *cmd, int argc, char **argv);  /* returns the exit status */
};

/* Keys of the common options; a command's own options without a letter count from TOOL_KEY_OWN. */
enum {
    TOOL_KEY_UNKNOWN = 256,     /* internal to the parser */
    TOOL_KEY_UNUSED,            /* accepted and ignored */
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
/* The format of the image to create, as opposed to that of an existing one. */
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

/* For LUKS: each is short for a longer form with --image-opts and --object. */
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
/* A new image has no other password: both names mean the same. */
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

    char *value;            /* of the last option returned; points into argv */
    bool stop;              /* nothing more to do: exit with @status */
    int status;

    /* the positional arguments, once tool_args_next() has returned TOOL_ARGS_END */
    char **positional;
    int n_positional;

    /* values of the common options */
    const char *format;
    const char *target_format;  /* of the image to create; NULL: not given */
    bool image_opts;
    bool force_share;
    bool quiet;
    bool progress;
    bool json;
    const char *cache;
    const char *source_cache;
    char *options;          /* all -o, joined by commas; NULL if there is none */
    const char *header;
    char *key_secret;       /* ID of a secret with the contents of --key-file; NULL: not given, or prompted for */
    char *new_key_secret;   /* of --new-key-file */

    /* internal to the parser */
    struct option *long_options;
    char *short_options;
    bool failed;
    GPtrArray *objects;     /* deferred --object: char *, pointing into argv */
    const char *key_file;
    const char *new_key_file;
    uint64_t keyfile_offset;
    uint64_t keyfile_size;
} ToolArgs;

/*
 * The key of the command's next own option, with its value in @args->value; TOOL_ARGS_END at the end. Then @args->stop
 * says whether to exit. Objects are created in the order of their options, and key files are read at the end.
 */
int tool_args_next(ToolArgs *args);

/* Create the deferred objects in order, and read the key files; false with @errp. */
bool coroutine_mixed_fn tool_args_make_objects(ToolArgs *args, Error **errp);

/* Report a command line error, and refer to the help; the command must then return @args->status. */
void tool_args_fail(ToolArgs *args, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* "; did you mean 'json'?" if one of @words ("human|json") is similar to @word, else "". Caller frees. */
char *tool_guess_word(const char *words, const char *word);

void tool_args_clear(ToolArgs *args);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ToolArgs, tool_args_clear)

/*
 * Find the command that argv[0] names in @program's table and run it; "help" and "help COMMAND" print help. Returns the
 * exit status. Messages use the program name of g_get_prgname().
 */
int coroutine_fn tool_command_run(const ToolCommand *program, int argc, char **argv);

/* The last word of @cmd's name: "add" of "keyslot add". */
const char *tool_command_word(const ToolCommand *cmd);

/* Whether @cmd has an option with @key. */
bool tool_takes_option(const ToolCommand *cmd, int key);

/* Print the help of one command, or the commands of @program, one per line. */
void tool_print_command_help(const ToolCommand *cmd);
void tool_print_program_help(const ToolCommand *program);

/* Print the options that -o takes for @format, which are the members of @type. */
void tool_print_options_help(const QAPIType *type, const char *format);

/* "qemu-img version ..." and the copyright. */
void tool_print_version(void);

#endif
