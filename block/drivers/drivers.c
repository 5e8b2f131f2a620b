/*
 * The list of drivers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "config-host.h"
#include "block/drivers.h"

static const BlockDriver *const drivers[] = {
    &bdrv_blkdebug,
    &bdrv_copy_before_write,
    &bdrv_file,
    &bdrv_host_device,
#ifdef CONFIG_LIBISCSI
    &bdrv_iscsi,
#endif
    &bdrv_luks,
#ifdef CONFIG_LIBNBD
    &bdrv_nbd,
#endif
    &bdrv_null_aio,
    &bdrv_null_co,
    &bdrv_raw,
#ifdef CONFIG_LIBRBD
    &bdrv_rbd,
#endif
    &bdrv_snapshot_access,
    &bdrv_throttle,
};

const BlockDriver *bdrv_find_format(const char *format_name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        if (!strcmp(drivers[i]->format_name, format_name)) {
            return drivers[i];
        }
    }
    return NULL;
}

const BlockDriver *bdrv_find_driver(BlockdevDriver driver)
{
    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        if (drivers[i]->driver == driver) {
            return drivers[i];
        }
    }
    return NULL;
}

const BlockDriver *bdrv_probe_all(const uint8_t *buf, size_t len)
{
    const BlockDriver *best = &bdrv_raw;
    int best_score = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        int score = drivers[i]->bdrv_probe ? drivers[i]->bdrv_probe(buf, len) : 0;

        if (score > best_score) {
            best_score = score;
            best = drivers[i];
        }
    }
    return best;
}

void bdrv_iterate_drivers(void (*fn)(const BlockDriver *drv, void *opaque), void *opaque)
{
    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        fn(drivers[i], opaque);
    }
}

bool bdrv_is_protocol(const BlockDriver *drv)
{
    return drv->is_protocol;
}

const char *bdrv_get_driver_name(const BlockDriver *drv)
{
    return drv->format_name;
}

bool bdrv_opening_cancelled(void *bs)
{
    return !bdrv_may_open(bs, NULL) || qemu_co_is_cancelled() || bdrv_must_not_wait();
}

bool bdrv_apply_auto_read_only(const BlockdevOptions *options, bool *read_only, const char *why, Error **errp)
{
    *read_only |= options->has_auto_read_only && options->auto_read_only;
    if (!*read_only) {
        error_setg(errp, "%s", why);
        error_append_hint(errp, "Open it with read-only=on, or with auto-read-only=on.\n");
    }
    return *read_only;
}

char *bdrv_printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *printable = g_string_new(NULL);

    for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        g_string_append_unichar(printable, g_unichar_iscntrl(c) ? '?' : c);
    }
    return g_string_free(printable, false);
}
