/*
 * The options of qemu-storage-daemon that define something
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
#include "tools/storage-daemon/options.h"

/* The typed form of @arg; NULL with @errp. */
static void *parse(const QAPIType *type, const char *arg, const char *implied_key, Error **errp)
{
    QAPIInputMode mode;
    g_autoptr(json_object) in = keyval_parse_or_json(arg, implied_key, NULL, &mode, errp);

    return in ? qapi_from_json(type, in, mode, errp) : NULL;
}

/* Print help where @arg is "help"; for a union also for "VALUE,help", on what that value adds. */
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
            error_report("%s", error_get_pretty(err));
            exit(1);
        }
    } else {
        qapi_print_help(type, stdout);
    }
    return true;
}

static bool coroutine_fn apply_monitor(char *arg, Error **errp)
{
    g_autoptr(MonitorOptions) options = parse(&qapi_type_MonitorOptions, arg, "chardev", errp);

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
    g_autoptr(NbdServerOptions) options = parse(&qapi_type_NbdServerOptions, arg, NULL, errp);

    return options && nbd_server_start(options, errp);
}

static bool nbd_server_is_help(const char *arg)
{
    return print_help(&qapi_type_NbdServerOptions, arg, NULL);
}

static bool coroutine_fn apply_export(char *arg, Error **errp)
{
    g_autoptr(BlockExportOptions) options = parse(&qapi_type_BlockExportOptions, arg, "type", errp);

    return options && blk_exp_add(options, errp);
}

static bool export_is_help(const char *arg)
{
    return print_help(&qapi_type_BlockExportOptions, arg, "type");
}

static bool coroutine_fn apply_blockdev(char *arg, Error **errp)
{
    g_autoptr(BlockdevOptions) options = parse(&qapi_type_BlockdevOptions, arg, "driver", errp);

    return options && blockdev_add(options, errp);
}

static bool blockdev_is_help(const char *arg)
{
    return print_help(&qapi_type_BlockdevOptions, arg, "driver");
}

const DaemonOption daemon_options[] = {
    { "blockdev", "BLOCKDEV", "a node: driver=luks,node-name=NAME,file.driver=file,file.filename=FILE,... or JSON",
      apply_blockdev, blockdev_is_help },
    { "chardev", "CHARDEV",
      "a character device: socket,id=ID,path=P,server=on,wait=off | stdio,id=ID | file,id=ID,path=P | null,id=ID",
      apply_chardev, chardev_is_help },
    { "export", "EXPORT",
      "offer a node to others: nbd,id=ID,node-name=NODE[,name=NAME][,writable=on][,iothread=ID]", apply_export,
      export_is_help },
    { "monitor", "MONITOR", "a QMP monitor: [chardev=]ID[,mode=control][,pretty=on]", apply_monitor, monitor_is_help },
    { "nbd-server", "SERVER",
      "an NBD server: addr.type=unix,addr.path=P | addr.type=inet,addr.host=H,addr.port=P[,tls-creds=ID]",
      apply_nbd_server, nbd_server_is_help },
    { "object", "OBJDEF", "an object that others name by its ID: secret,id=ID,file=FILE", apply_object,
      user_creatable_is_help },
    { NULL, NULL, NULL, NULL, NULL }
};
