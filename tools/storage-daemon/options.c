/*
 * The command line of qemu-storage-daemon
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <json-c/json.h>

#include "block/export.h"
#include "block/nbd.h"
#include "crypto/object.h"
#include "monitor/blockdev.h"
#include "monitor/chardev.h"
#include "monitor/monitor.h"
#include "qapi/keyval.h"
#include "qapi/qapi-commands.h"
#include "tools/common/command.h"
#include "tools/common/complete.h"
#include "tools/storage-daemon/options.h"

/* Parse @arg as @type; NULL with @errp. */
static void *argument_parse(const QAPIType *type, const char *arg, const char *implied_key, Error **errp)
{
    QAPIInputMode mode;
    g_autoptr(json_object) in = keyval_parse_or_json(arg, implied_key, NULL, &mode, errp);

    return in ? qapi_from_json(type, in, mode, errp) : NULL;
}

/* Print help if @arg is "help" or, for a union, "VALUE,help", which lists the members of that branch. */
static bool print_help(const QAPIType *type, const char *arg, const char *implied_key)
{
    bool help = false;
    QAPIInputMode mode;
    g_autoptr(json_object) in = keyval_parse_or_json(arg, implied_key, &help, &mode, NULL);
    struct json_object *tag;

    if (!help) {
        return false;
    }
    if (in && type->tag && json_object_object_get_ex(in, type->tag->name, &tag)) {
        g_autoptr(Error) err = NULL;

        if (!qapi_print_branch_help(type, json_object_get_string(tag), stdout, &err)) {
            error_report_err(g_steal_pointer(&err));
            exit(1);
        }
    } else {
        qapi_print_help(type, stdout);
    }
    return true;
}

static bool coroutine_fn apply_monitor(char *arg, Error **errp)
{
    g_autoptr(MonitorOptions) options = argument_parse(&qapi_type_MonitorOptions, arg, "chardev", errp);

    return options && monitor_add(options, errp);
}

static bool monitor_is_help(const char *arg)
{
    return print_help(&qapi_type_MonitorOptions, arg, "chardev");
}

static bool coroutine_fn apply_chardev(char *arg, Error **errp)
{
    return chardev_parse(arg, errp);
}

static bool coroutine_fn apply_object(char *arg, Error **errp)
{
    return user_creatable_parse(arg, errp);
}

static bool coroutine_fn apply_nbd_server(char *arg, Error **errp)
{
    g_autoptr(NbdServerOptions) options = argument_parse(&qapi_type_NbdServerOptions, arg, NULL, errp);

    return options && nbd_server_start(options, errp);
}

static bool nbd_server_is_help(const char *arg)
{
    return print_help(&qapi_type_NbdServerOptions, arg, NULL);
}

static bool coroutine_fn apply_export(char *arg, Error **errp)
{
    g_autoptr(BlockExportOptions) options = argument_parse(&qapi_type_BlockExportOptions, arg, "type", errp);

    return options && blk_exp_add(options, errp);
}

static bool export_is_help(const char *arg)
{
    return print_help(&qapi_type_BlockExportOptions, arg, "type");
}

static bool coroutine_fn apply_blockdev(char *arg, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(BlockdevOptions) options = argument_parse(&qapi_type_BlockdevOptions, arg, "driver", errp);
    bool ok = options && blockdev_add(options, errp);

    if (!ok && error_get_class(*errp) == ERROR_CLASS_NO_PASSWORD) {
        error_append_hint(errp, "Define a secret first: --object secret,id=sec0,file=FILE; add key-secret=sec0 to "
                          "the options of the luks node\n");
    }
    return ok;
}

static bool blockdev_is_help(const char *arg)
{
    return print_help(&qapi_type_BlockdevOptions, arg, "driver");
}

enum {
    KEY_BLOCKDEV = TOOL_KEY_OWN,
    KEY_CHARDEV,
    KEY_EXPORT,
    KEY_MONITOR,
    KEY_NBD_SERVER,
    KEY_OBJECT,
    KEY_DAEMONIZE,
    KEY_PIDFILE,
    KEY_VERSION,
};

static const ToolOption options[] = {
    { 0, "blockdev", "BLOCKDEV", "define a node: driver=DRIVER,node-name=NAME,... or JSON", KEY_BLOCKDEV },
    { 0, "chardev", "CHARDEV", "define a character device: TYPE,id=ID,...", KEY_CHARDEV },
    { 0, "export", "EXPORT", "export a node: TYPE,id=ID,node-name=NAME,...", KEY_EXPORT },
    { 0, "monitor", "MONITOR", "start a QMP monitor: CHARDEV-ID[,pretty=on]", KEY_MONITOR },
    { 0, "nbd-server", "SERVER", "start an NBD server: addr.type=TYPE,...", KEY_NBD_SERVER },
    { 0, "object", "OBJDEF", "define an object: TYPE,id=ID,...", KEY_OBJECT },
    { 0, "daemonize", NULL, "run in the background once everything is set up", KEY_DAEMONIZE },
    { 0, "pidfile", "PATH", "write the process id to a file, removed at exit", KEY_PIDFILE },
    { 'V', "version", NULL, "print the version", KEY_VERSION },
    { 0 }
};

static const ToolCommand command = {
    .args = "",
    .summary = "serve disk images, under the control of QMP",
    .description =
        "Options take effect in the order given. With help, or TYPE,help, as its argument an option lists what it\n"
        "takes. An argument may also be JSON.",
    .examples =
        "  qemu-storage-daemon --object secret,id=s0,file=pw.txt \\\n"
        "      --blockdev file,node-name=f0,filename=disk.luks \\\n"
        "      --blockdev luks,node-name=disk,key-secret=s0,file=f0 \\\n"
        "      --nbd-server addr.type=unix,addr.path=nbd.sock --export nbd,id=e0,node-name=disk,writable=on\n"
        "  qemu-storage-daemon --chardev socket,id=c0,path=qmp.sock,server=on,wait=off --monitor c0",
    .options = options,
};

/* Options that define something. Their arguments may be overwritten. */
typedef struct Definition {
    const char *option;
    bool coroutine_fn (*apply)(char *arg, Error **errp);
    bool (*is_help)(const char *arg);   /* prints it */
} Definition;

static const Definition *find_definition(int key)
{
    static const Definition definitions[] = {
        [KEY_BLOCKDEV - KEY_BLOCKDEV] = { "--blockdev", apply_blockdev, blockdev_is_help },
        [KEY_CHARDEV - KEY_BLOCKDEV] = { "--chardev", apply_chardev, chardev_is_help },
        [KEY_EXPORT - KEY_BLOCKDEV] = { "--export", apply_export, export_is_help },
        [KEY_MONITOR - KEY_BLOCKDEV] = { "--monitor", apply_monitor, monitor_is_help },
        [KEY_NBD_SERVER - KEY_BLOCKDEV] = { "--nbd-server", apply_nbd_server, nbd_server_is_help },
        [KEY_OBJECT - KEY_BLOCKDEV] = { "--object", apply_object, user_creatable_is_help },
    };

    return key <= KEY_OBJECT ? &definitions[key - KEY_BLOCKDEV] : NULL;
}

bool daemon_options_parse(DaemonOptions *o, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = &command, .argc = argc, .argv = argv };
    int key;

    if (tool_complete(&command, argc, argv)) {
        return false;
    }
    while ((key = tool_args_next(&args)) != TOOL_ARGS_END) {
        const Definition *definition = find_definition(key);

        if (definition) {
            args.stop = definition->is_help(args.value);
        } else if (key == KEY_DAEMONIZE) {
            o->daemonize = true;
        } else if (key == KEY_PIDFILE) {
            o->pidfile = args.value;
        } else {
            tool_print_version();
            args.stop = true;
        }
    }
    o->status = args.status;
    return !args.stop;
}

bool coroutine_fn daemon_options_apply(int argc, char **argv, Error **errp)
{
    g_auto(ToolArgs) args = { .cmd = &command, .argc = argc, .argv = argv };
    int key;

    while ((key = tool_args_next(&args)) != TOOL_ARGS_END) {
        const Definition *definition = find_definition(key);

        if (definition && !definition->apply(args.value, errp)) {
            error_prepend(errp, "%s: ", definition->option);
            return false;
        }
    }
    return true;
}
