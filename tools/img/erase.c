/*
 * qemu-img erase: destroy the keys, header or all of an encrypted image, and report the assurance
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include "block/block.h"
#include "crypto/luks.h"
#include "tools/common/image.h"
#include "tools/common/output.h"
#include "tools/common/progress.h"
#include "tools/img/commands.h"
#include "tools/img/confirm.h"

enum {
    KEY_FORCE = TOOL_KEY_OWN,
    KEY_IN_USE,
    KEY_SCOPE,
    KEY_PASSES,
};

typedef struct Erase {
    SecureEraseScope scope;
    int64_t passes;             /* 0: the default */
    bool force;                 /* without confirmation */
    bool in_use;                /* even if others write to the image */
    BlockDriverState *bs;
    SecureEraseReport *report;
} Erase;

static bool coroutine_fn erase_job(Job *job, void *opaque, Error **errp)
{
    Erase *erase = opaque;

    erase->report = bdrv_secure_erase(erase->bs, erase->scope, erase->passes, erase->in_use, job, errp);
    return erase->report;
}

static const char *describe(SecureEraseAssurance assurance)
{
    switch (assurance) {
    case SECURE_ERASE_ASSURANCE_OVERWRITTEN:
        return "overwritten in place";
    case SECURE_ERASE_ASSURANCE_DEVICE_ERASED:
        return "erased by the device's own command";
    case SECURE_ERASE_ASSURANCE_MAY_SURVIVE:
        return "a copy MAY SURVIVE";
    default:
        return "not known: this layer cannot tell";
    }
}

static const char *conclude(SecureEraseAssurance assurance)
{
    switch (assurance) {
    case SECURE_ERASE_ASSURANCE_OVERWRITTEN:
        return "No older copy should be left.";
    case SECURE_ERASE_ASSURANCE_DEVICE_ERASED:
        return "The device says that no older copy is left.";
    case SECURE_ERASE_ASSURANCE_MAY_SURVIVE:
        return "An older copy MAY SURVIVE, for the reasons above.";
    default:
        return "Whether the storage keeps an older copy cannot be told from here.";
    }
}

static bool same_kind(const SecureEraseRegion *a, const SecureEraseRegion *b)
{
    return g_str_equal(a->what, b->what) && a->passes == b->passes && a->verified == b->verified;
}

/* A line a region; one line for those of the same kind, such as the gaps between keyslots. */
static void print_regions(const SecureEraseRegionList *regions)
{
    for (size_t i = 0, n; i < regions->n; i += n) {
        const SecureEraseRegion *r = regions->items[i];
        g_autofree char *where = NULL, *size = NULL;
        int64_t bytes = 0;

        for (n = 0; i + n < regions->n && same_kind(r, regions->items[i + n]); n++) {
            bytes += regions->items[i + n]->length;
        }
        size = tool_size_to_str(bytes);
        where = n == 1 ? g_strdup_printf("at offset %" PRId64, r->offset) : g_strdup_printf("in %zu places", n);
        printf("  %-20s %10s %-20s %" PRId64 " pass%s, %s\n", r->what, size, where, r->passes,
               r->passes == 1 ? "" : "es", r->verified ? "verified" : "not verified");
    }
}

static void print_layers(const SecureEraseLayerList *layers)
{
    for (size_t i = 0; i < layers->n; i++) {
        const SecureEraseLayer *layer = layers->items[i];

        printf("  %s (%s): %s\n", layer->node_name, layer->driver, describe(layer->assurance));
        for (size_t j = 0; layer->notes && j < layer->notes->n; j++) {
            printf("      %s\n", layer->notes->items[j]);
        }
    }
}

static void print_report(const SecureEraseReport *report)
{
    printf("Erased (scope %s):\n", SecureEraseScope_str(report->scope));
    print_regions(report->regions);
    printf("Guarantees of the underlying storage:\n");
    print_layers(report->layers);
    printf("Assurance: %s. %s\n", SecureEraseAssurance_str(report->assurance), conclude(report->assurance));
}

/* The report names nodes; replace their names by filenames, which users know. */
static void name_layers(const SecureEraseReport *report)
{
    for (size_t i = 0; i < report->layers->n; i++) {
        SecureEraseLayer *layer = report->layers->items[i];
        const BlockDriverState *bs = bdrv_find_node(layer->node_name);
        const char *name = bs ? bdrv_get_display_name(bs) : layer->node_name;

        if (name != layer->node_name) {
            g_free(layer->node_name);
            layer->node_name = g_strdup(name);
        }
    }
}

static bool coroutine_fn erase_image(Erase *erase, const ToolArgs *args, Error **errp)
{
    ERRP_GUARD();
    ToolImage image = {
        .name = args->positional[0],
        .instead = { "erase --scope volume" },
        .image_opts = args->image_opts,
        .header = args->header,
        .format = args->format ? args->format : "luks",
        .cache = args->cache,
        .shared_perm = BLK_PERM_ALL,
        .writable = true,
        .no_io = true,
        .damaged = true,
    };
    BlockBackend *blk = tool_image_open(&image, errp);
    bool ok = true;

    if (!blk) {
        return false;
    }
    erase->bs = blk_bs(blk);
    if (!erase->force && !args->quiet) {
        ok = img_confirm_erase(erase->bs, args->positional[0], erase->scope, errp);
    }
    ok = ok && (erase->force || bdrv_check_copies(erase->bs, erase->scope, errp));
    /* Progress would be mixed with the JSON. */
    if (ok && !tool_run_job(JOB_TYPE_SECURE_ERASE, erase_job, erase, args->progress && !args->json, errp)) {
        error_prepend(errp, "Could not erase '%s': ", image.name);
        tool_image_append_hint(&image, errp);
        ok = false;
    }
    if (ok) {
        name_layers(erase->report);
    }
    blk_co_unref(blk);
    return ok;
}

static bool set_option(Erase *erase, int key, const char *value, Error **errp)
{
    int scope;

    switch (key) {
    case KEY_FORCE:
        erase->force = true;
        return true;
    case KEY_IN_USE:
        erase->in_use = true;
        return true;
    case KEY_PASSES:
        return tool_parse_number("number of passes", value, 1, QCRYPTO_LUKS_MAX_PASSES, &erase->passes, errp);
    case KEY_SCOPE:
        scope = tool_parse_enum(&qapi_type_SecureEraseScope, "scope", value, errp);
        erase->scope = scope;
        return scope >= 0;
    default:
        g_assert_not_reached();
    }
}

static int coroutine_fn img_erase_run(const ToolCommand *cmd, int argc, char **argv)
{
    g_auto(ToolArgs) args = { .cmd = cmd, .argc = argc, .argv = argv };
    Erase erase = { .scope = SECURE_ERASE_SCOPE_HEADER };
    Error *err = NULL;
    int c;

    while ((c = tool_args_next(&args)) != TOOL_ARGS_END) {
        if (!set_option(&erase, c, args.value, &err)) {
            tool_args_fail(&args, "%s", error_get_pretty(err));
            error_free(err);
            return args.status;
        }
    }
    if (args.stop) {
        return args.status;
    }
    if (!erase_image(&erase, &args, &err)) {
        error_report_err(err);
        return 1;
    }
    if (args.json) {
        tool_print_qapi(&qapi_type_SecureEraseReport, erase.report);
    } else if (!args.quiet) {
        print_report(erase.report);
    }
    qapi_free_SecureEraseReport(erase.report);
    return 0;
}

static const ToolOption img_erase_options[] = {
    { 0, "scope", "SCOPE",
      "key-material: that of all keyslots; header (default): everything before the payload; image: the payload,\n"
      "too; volume: the whole volume, even if it has no header left",
      KEY_SCOPE },
    { 0, "passes", "N", "how often to overwrite (default: 3; the payload: once)", KEY_PASSES },
    { 0, "force", NULL,
      "do not ask for confirmation on a terminal; erase even if the storage is known to have older copies, such as\n"
      "snapshots, which stay as they are",
      KEY_FORCE },
    { 0, "in-use", NULL, "erase even if another program is writing to the image", KEY_IN_USE },
    TOOL_OPTION_FORMAT_OF("format of the image (default: luks)"),
    TOOL_OPTION_IMAGE_OPTS,
    TOOL_OPTION_OUTPUT,
    TOOL_OPTION_HEADER,
    TOOL_OPTIONS_NO_KEY_FILE,
    TOOL_OPTION_OBJECT,
    TOOL_OPTION_CACHE,
    TOOL_OPTION_PROGRESS,
    TOOL_OPTION_QUIET,
    { 0 }
};

const ToolCommand img_erase = {
    .name = "erase",
    .args = "FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "destroy the keys of an encrypted image, and so its data",
    .description =
        "No password is needed. On a terminal it asks first, unless -q or --force is given. Each region is\n"
        "overwritten with random bytes, flushed after every pass, and read back. The report says for each layer of\n"
        "storage whether an older copy may survive: in snapshots, on copy-on-write file systems, in flash memory. The\n"
        "exit status is 0 even then; look at the assurance. Copies of the header made with 'header backup' are not\n"
        "touched. An erase with --scope image that was interrupted leaves no header: finish it with --scope\n"
        "volume.",
    .examples =
        "  qemu-img erase disk.luks\n"
        "  qemu-img erase --scope key-material --passes 1 --output json disk.luks",
    .options = img_erase_options,
    .run = img_erase_run,
};
