/*
 * Querying a LUN: size, limits and capabilities
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "block/drivers/iscsi.h"

#define ANSWER_BYTES 252
/* Maximum number of LUNs that an error lists. */
#define MAX_LUNS_LISTED 20

#define OPCODE_SERVICE_ACTION_IN 0x9e
#define SERVICE_ACTION_READ_CAPACITY16 0x10
#define OPCODE_REPORT_LUNS 0xa0

enum {
    PAGE_SUPPORTED = 0x00,
    PAGE_SERIAL = 0x80,
    PAGE_IDENTIFICATION = 0x83,
    PAGE_BLOCK_LIMITS = 0xb0,
    PAGE_PROVISIONING = 0xb2,
};

/*
 * Send @r, repeatedly while the LUN asks for that: 0 or -errno. @errp may be NULL, for optional queries.
 */
static int coroutine_fn ask(ISCSISession *s, ISCSIRequest *r, const char *what, Error **errp)
{
    int64_t pause_ns;

    for (unsigned attempt = 0; ; attempt++) {
        if (r->direction == ISCSI_FROM_TARGET) {
            memset(r->buf, 0, r->bytes);
        }
        iscsi_session_co_request(s, r);
        if (!s->iscsi || !iscsi_should_retry(r, attempt, &pause_ns)) {
            break;
        }
        if (pause_ns) {
            co_sleep_ns_wakeable(&s->pause, pause_ns, NULL);
        }
    }
    int ret = iscsi_request_result(r);
    if (ret < 0) {
        g_autofree char *why = r->ret < 0 && s->why ? g_strdup(s->why) : iscsi_request_explain(r);
        error_setg_errno(errp, -ret, "%s failed: %s", what, why);
    }
    return ret;
}

static ISCSIRequest inquiry(uint8_t *buf, bool vital, uint8_t page)
{
    ISCSIRequest r = iscsi_request_init(SCSI_OPCODE_INQUIRY, vital);

    r.cdb[2] = page;
    r.cdb[4] = ANSWER_BYTES;
    r.direction = ISCSI_FROM_TARGET;
    r.buf = buf;
    r.bytes = ANSWER_BYTES;
    return r;
}

/* Read a page of vital product data into @buf: its length in bytes; 0: there is none. */
static size_t coroutine_fn read_page(ISCSISession *s, uint8_t *buf, uint8_t page)
{
    ISCSIRequest r = inquiry(buf, true, page);

    if (ask(s, &r, "INQUIRY", NULL) < 0 || r.transferred < 4 || buf[1] != page) {
        return 0;
    }
    return MIN(r.transferred, 4u + iscsi_get16(buf + 2));
}

/* Add a list of existing LUNs to *@errp as a hint, if the target provides it. */
static void coroutine_fn list_luns(ISCSISession *s, Error **errp)
{
    uint8_t buf[8 + 8 * MAX_LUNS_LISTED];
    ISCSIRequest r = iscsi_request_init(OPCODE_REPORT_LUNS, 0);

    r.to_lun0 = true;
    r.cdb[9] = sizeof(buf);
    r.direction = ISCSI_FROM_TARGET;
    r.buf = buf;
    r.bytes = sizeof(buf);
    if (ask(s, &r, "REPORT LUNS", NULL) == 0 && r.transferred > 8) {
        uint32_t n = MIN(iscsi_get32(buf) / 8, (r.transferred - 8) / 8);
        g_autoptr(GString) list = g_string_new(NULL);

        for (uint32_t i = 0; i < n; i++) {
            g_string_append_printf(list, "%s%u", i ? ", " : "", iscsi_get16(buf + 8 + 8 * i));
        }
        if (n) {
            error_append_hint(errp, "It has LUNs %s%s.\n", list->str, iscsi_get32(buf) / 8 > n ? " and more" : "");
        }
    }
}

static void coroutine_fn report_no_lun(ISCSISession *s, Error **errp)
{
    ERRP_GUARD();

    error_setg(errp, "The target has no LUN %u", s->target->lun);
    list_luns(s, errp);
}

/* @type is that of the INQUIRY. */
static void coroutine_fn report_not_a_disk(ISCSISession *s, uint8_t type, Error **errp)
{
    ERRP_GUARD();

    error_setg(errp, "LUN %u of the target is not a disk, but: %s", s->target->lun, scsi_devtype_to_str(type));
    if (s->target->lun == 0) {
        error_append_hint(errp, "LUN 0 is the default: choose another with lun=NUMBER.\n");
    }
    list_luns(s, errp);
}

static bool coroutine_fn check_type(ISCSISession *s, Error **errp)
{
    uint8_t buf[ANSWER_BYTES];
    ISCSIRequest r = inquiry(buf, false, 0);
    int ret = ask(s, &r, "INQUIRY", errp);

    if (ret == -ENXIO || (ret == 0 && (r.transferred < 5 || buf[0] >> 5 != 0))) {
        if (*errp) {
            error_free(*errp);
            *errp = NULL;
        }
        report_no_lun(s, errp);
        return false;
    }
    if (ret == 0 && (buf[0] & 0x1f) != SCSI_INQUIRY_PERIPHERAL_DEVICE_TYPE_DIRECT_ACCESS) {
        report_not_a_disk(s, buf[0] & 0x1f, errp);
        return false;
    }
    return ret == 0;
}

ISCSIRequest iscsi_capacity_request(uint8_t *buf)
{
    ISCSIRequest r = iscsi_request_init(OPCODE_SERVICE_ACTION_IN, SERVICE_ACTION_READ_CAPACITY16);

    r.cdb[13] = ISCSI_CAPACITY_BYTES;
    r.direction = ISCSI_FROM_TARGET;
    r.buf = buf;
    r.bytes = ISCSI_CAPACITY_BYTES;
    return r;
}

static bool set_capacity(ISCSILunInfo *info, uint64_t last, uint32_t block_size, Error **errp)
{
    if (block_size < BDRV_SECTOR_SIZE || block_size > ISCSI_MAX_BLOCK_SIZE || (block_size & (block_size - 1))) {
        error_setg(errp, "The LUN has blocks of %u bytes, which is not supported", block_size);
        return false;
    }
    if (last >= BDRV_MAX_LENGTH / block_size) {
        error_setg(errp, "The LUN is too large");
        return false;
    }
    info->block_size = block_size;
    info->blocks = last + 1;
    return true;
}

bool iscsi_capacity_parse(const ISCSIRequest *r, ISCSILunInfo *info, Error **errp)
{
    const uint8_t *buf = r->buf;

    if (r->transferred < 12) {
        error_setg(errp, "READ CAPACITY failed: the answer is too short");
        return false;
    }
    info->thin = buf[14] & 0x80;
    info->zero_when_unmapped = buf[14] & 0x40;
    return set_capacity(info, iscsi_get64(buf), iscsi_get32(buf + 8), errp);
}

static bool coroutine_fn read_capacity(ISCSISession *s, Error **errp)
{
    uint8_t buf[ISCSI_CAPACITY_BYTES];
    ISCSIRequest r = iscsi_capacity_request(buf);
    ISCSIRequest r10 = iscsi_request_init(SCSI_OPCODE_READCAPACITY10, 0);

    int ret = ask(s, &r, "READ CAPACITY(16)", NULL);
    if (ret == 0) {
        return iscsi_capacity_parse(&r, &s->lun, errp);
    }
    if (iscsi_is_unsupported(&r)) {
        r10.direction = ISCSI_FROM_TARGET;
        r10.buf = buf;
        r10.bytes = 8;
        if (ask(s, &r10, "READ CAPACITY(10)", errp) < 0) {
            return false;
        }
        if (r10.transferred < 8) {
            error_setg(errp, "READ CAPACITY failed: the answer is too short");
            return false;
        }
        return set_capacity(&s->lun, iscsi_get32(buf), iscsi_get32(buf + 4), errp);
    }
    return ask(s, &r, "READ CAPACITY(16)", errp) == 0 && iscsi_capacity_parse(&r, &s->lun, errp);
}

/* Write protection, FUA and the write cache. */
static void coroutine_fn read_mode(ISCSISession *s)
{
    uint8_t buf[ANSWER_BYTES];
    ISCSIRequest r = iscsi_request_init(SCSI_OPCODE_MODESENSE6, 0x08);

    s->lun.write_cache = true;
    r.cdb[2] = 0x3f;
    r.cdb[4] = sizeof(buf);
    r.direction = ISCSI_FROM_TARGET;
    r.buf = buf;
    r.bytes = sizeof(buf);
    if (ask(s, &r, "MODE SENSE", NULL) < 0 || r.transferred < 4) {
        return;
    }
    s->lun.read_only = buf[2] & 0x80;
    s->lun.can_fua = buf[2] & 0x10;
    for (size_t at = 4 + buf[3], end = MIN(r.transferred, 1u + buf[0]); at + 2 < end; at += 2 + buf[at + 1]) {
        if ((buf[at] & 0x7f) == SCSI_MODEPAGE_CACHING) {
            s->lun.write_cache = buf[at + 2] & 0x04;
        }
    }
}

static void coroutine_fn read_limits(ISCSISession *s)
{
    uint8_t buf[ANSWER_BYTES];
    size_t bytes = read_page(s, buf, PAGE_BLOCK_LIMITS);

    if (bytes >= 16) {
        s->lun.max_transfer = iscsi_get32(buf + 8);
        s->lun.opt_transfer = iscsi_get32(buf + 12);
    }
    if (bytes >= 44) {
        s->lun.max_unmap = iscsi_get32(buf + 20);
        s->lun.max_write_same = iscsi_get64(buf + 36);
    }
}

static void coroutine_fn read_provisioning(ISCSISession *s)
{
    uint8_t buf[ANSWER_BYTES];

    if (s->lun.thin && read_page(s, buf, PAGE_PROVISIONING) >= 6) {
        s->lun.can_unmap = buf[5] & 0x80;
        s->lun.can_unmap_same = buf[5] & 0x40;
    }
}

static void set_identity(ISCSILunInfo *info, const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < MIN(bytes, sizeof(info->identity) / 2); i++) {
        sprintf(info->identity + 2 * i, "%02x", data[i]);
    }
}

/* What distinguishes the LUN from others: its best designator, or its serial number. */
static void coroutine_fn read_identity(ISCSISession *s)
{
    uint8_t buf[ANSWER_BYTES];
    size_t bytes = read_page(s, buf, PAGE_IDENTIFICATION);
    int best = -1;

    for (size_t at = 4; at + 4 <= bytes && at + 4 + buf[at + 3] <= bytes; at += 4 + buf[at + 3]) {
        bool of_lun = (buf[at + 1] & 0x30) == 0;
        int type = buf[at + 1] & 0xf;

        /* NAA, EUI-64 and T10 vendor, in this order */
        if (of_lun && type >= 1 && type <= 3 && type > best) {
            best = type;
            set_identity(&s->lun, buf + at + 4, buf[at + 3]);
        }
    }
    if (best < 0 && (bytes = read_page(s, buf, PAGE_SERIAL)) > 4) {
        set_identity(&s->lun, buf + 4, bytes - 4);
    }
}

bool coroutine_fn iscsi_read_lun(ISCSISession *s, Error **errp)
{
    ERRP_GUARD();
    ISCSIRequest ready = iscsi_request_init(SCSI_OPCODE_TESTUNITREADY, 0);

    s->step = "inquiry of the LUN";
    if (!check_type(s, errp) || ask(s, &ready, "TEST UNIT READY", errp) < 0 || !read_capacity(s, errp)) {
        return false;
    }
    read_mode(s);
    read_limits(s);
    read_provisioning(s);
    read_identity(s);
    if (!s->iscsi) {
        error_setg(errp, "The %s failed: %s", s->step, s->why);
    }
    return s->iscsi;
}
