/*
 * Asking for confirmation before data is destroyed
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "tools/common/terminal.h"
#include "tools/img/confirm.h"

bool coroutine_fn img_confirm_erase(BlockDriverState *bs, const char *name, SecureEraseScope scope, Error **errp)
{
    static const char *const what[] = {
        [SECURE_ERASE_SCOPE_KEY_MATERIAL] = "the key material",
        [SECURE_ERASE_SCOPE_HEADER] = "the header and the key material",
        [SECURE_ERASE_SCOPE_IMAGE] = "the header, the key material and the payload",
        [SECURE_ERASE_SCOPE_VOLUME] = "everything that is stored in the volume",
    };
    BlockDriverState *header = bdrv_get_child(bs, "header") ?: bdrv_get_child(bs, "file");
    g_autofree char *uuid = NULL, *question = NULL;

    if (!tool_can_prompt()) {
        return true;
    }
    uuid = header ? bdrv_probe_luks_uuid(header) : NULL;
    if (!uuid && scope != SECURE_ERASE_SCOPE_VOLUME) {
        return true;            /* nothing to destroy: the erase will be refused */
    }
    question = g_strdup_printf("This destroys %s of '%s'%s%s. Its data cannot be read again, with any "
                               "password.", what[scope], name, uuid ? ", LUKS volume UUID " : "", uuid ?: "");
    return tool_terminal_confirm(question, errp);
}

/* Whether @slot (-1: any) is the only active keyslot of @bs. */
static bool coroutine_fn is_last_keyslot(BlockDriverState *bs, int64_t slot)
{
    g_autoptr(BlockGraphInfo) info = bdrv_query_graph_info(bs);
    const ImageInfoSpecific *specific = info->format_specific;
    bool is_active = slot < 0;
    int n_active = 0;

    if (!specific || specific->type != IMAGE_INFO_SPECIFIC_KIND_LUKS) {
        return false;
    }
    const QCryptoBlockInfoLUKSSlotList *slots = specific->u.luks.data->slots;
    for (size_t i = 0; i < slots->n; i++) {
        n_active += slots->items[i]->active;
        is_active |= slots->items[i]->active && (int64_t)i == slot;
    }
    return is_active && n_active == 1;
}

bool coroutine_fn img_confirm_last_password(BlockDriverState *bs, const char *name, int64_t slot, bool *force,
                                            Error **errp)
{
    if (*force || !tool_can_prompt() || !is_last_keyslot(bs, slot)) {
        return true;
    }
    g_autofree char *question = g_strdup_printf("This removes the last password of '%s'. Its data cannot be read "
                                                "again, except with a backup of the header.", name);
    *force = tool_terminal_confirm(question, errp);
    return *force;
}
