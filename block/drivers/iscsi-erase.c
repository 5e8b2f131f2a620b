/*
 * Secure erase of LUNs: the assurance, and SANITIZE
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "block/drivers/iscsi.h"

#define OPCODE_SANITIZE 0x48
#define OPCODE_MAINTENANCE_IN 0xa3
#define SERVICE_ACTION_SUPPORTED_OPCODES 0x0c
/* Report one command with a service action. */
#define REPORT_ONE 2
#define SUPPORTED_AS_STANDARD 3

/* SANITIZE: return at once, and leave the LUN usable if it fails. */
#define SANITIZE_IMMED 0x80
#define SANITIZE_AUSE 0x20
/* Interval at which the LUN's progress is queried. */
#define POLL_NS NANOSECONDS_PER_SECOND

enum {
    SANITIZE_OVERWRITE = 0x01,
    SANITIZE_BLOCK_ERASE = 0x02,
    SANITIZE_CRYPTO_ERASE = 0x03,
    SANITIZE_EXIT_FAILURE = 0x1f,
};

void coroutine_fn iscsi_co_erase_info(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvEraseInfo *info)
{
    BDRVISCSIState *s = bs->opaque;

    info->assurance = s->lun.thin ? SECURE_ERASE_ASSURANCE_MAY_SURVIVE : SECURE_ERASE_ASSURANCE_UNKNOWN;
    g_ptr_array_add(info->notes, g_strdup_printf("iSCSI LUN '%s' was sent plain writes and SYNCHRONIZE CACHE; it does "
                                                 "not report how it stores them, nor whether copies remain",
                                                 s->target.name));
    if (s->lun.thin) {
        g_ptr_array_add(info->notes, g_strdup("the LUN is thin: what was unmapped, or written elsewhere, keeps its old "
                                              "data in the pool"));
    }
}

/* Whether the LUN supports this kind of SANITIZE. */
static bool coroutine_fn sanitize_is_reported(BDRVISCSIState *s, uint8_t action)
{
    uint8_t buf[36];
    ISCSIRequest r = iscsi_request_init(OPCODE_MAINTENANCE_IN, SERVICE_ACTION_SUPPORTED_OPCODES);

    r.cdb[2] = REPORT_ONE;
    r.cdb[3] = OPCODE_SANITIZE;
    r.cdb[5] = action;
    r.cdb[9] = sizeof(buf);
    r.direction = ISCSI_FROM_TARGET;
    r.buf = buf;
    r.bytes = sizeof(buf);
    return iscsi_link_co_request(s->link, &r) == 0 && r.transferred >= 2 && (buf[1] & 7) == SUPPORTED_AS_STANDARD;
}

/* The best kind that the LUN supports; 0: none. */
static uint8_t coroutine_fn sanitize_find(BDRVISCSIState *s)
{
    static const uint8_t actions[] = { SANITIZE_BLOCK_ERASE, SANITIZE_OVERWRITE, SANITIZE_CRYPTO_ERASE };

    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        if (sanitize_is_reported(s, actions[i])) {
            return actions[i];
        }
    }
    return 0;
}

static int coroutine_fn sanitize_begin(BDRVISCSIState *s, uint8_t action)
{
    /* Overwrite once, with a pattern of four zeroes. */
    uint8_t parameters[8] = { 1, 0, 0, 4 };
    ISCSIRequest r = iscsi_request_init(OPCODE_SANITIZE, SANITIZE_IMMED | SANITIZE_AUSE | action);

    if (action == SANITIZE_OVERWRITE) {
        r.cdb[8] = sizeof(parameters);
        r.direction = ISCSI_TO_TARGET;
        r.buf = parameters;
        r.bytes = sizeof(parameters);
    }
    return iscsi_link_co_request(s->link, &r);
}

/* Wait for its end, which can take hours. */
static int coroutine_fn sanitize_wait(BDRVISCSIState *s)
{
    for (int64_t pause_ns = POLL_NS / 10; ; pause_ns = POLL_NS) {
        ISCSIRequest r = iscsi_request_init(SCSI_OPCODE_TESTUNITREADY, 0);
        int ret = iscsi_link_co_request(s->link, &r);

        if (ret != -EBUSY || r.sense.code != SCSI_SENSE_ASCQ_SANITIZE_IN_PROGRESS) {
            return ret;
        }
        if (bdrv_must_not_wait() || !co_sleep_ns_cancellable(pause_ns)) {
            return -ECANCELED;
        }
    }
}

int coroutine_fn iscsi_co_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    BDRVISCSIState *s = bs->opaque;
    ISCSIRequest leave = iscsi_request_init(OPCODE_SANITIZE, SANITIZE_EXIT_FAILURE);

    /* SANITIZE always erases the whole LUN. It does not reach what a pool has kept from before. */
    if (offset != 0 || (uint64_t)bytes != s->lun.blocks * s->lun.block_size || s->lun.thin) {
        return -ENOTSUP;
    }
    uint8_t action = sanitize_find(s);
    if (!action) {
        return -ENOTSUP;
    }
    int ret = sanitize_begin(s, action) ?: sanitize_wait(s);
    if (ret < 0 && ret != -ECANCELED) {
        warn_report("node '%s', iSCSI LUN '%s': SANITIZE failed: %s", bdrv_get_display_name(bs), s->target.name,
                    g_strerror(-ret));
        iscsi_link_co_request(s->link, &leave);
    }
    return ret;
}
