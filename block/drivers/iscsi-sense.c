/*
 * Interpreting the replies of a LUN
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include "block/drivers/iscsi.h"

/* Maximum repetitions of a command after unit attentions, and while the LUN is busy. */
#define MAX_ATTENTIONS 20
#define MAX_BUSY 10
#define MAX_BUSY_PAUSE_NS NANOSECONDS_PER_SECOND

/* Additional sense codes that the header of libiscsi lacks. */
#define ASCQ_BECOMING_READY 0x0401
#define ASCQ_OPERATION_IN_PROGRESS 0x0407
#define ASCQ_SELF_TEST_IN_PROGRESS 0x0409
#define ASCQ_SPACE_ALLOCATION_FAILED 0x2707

ISCSIRequest iscsi_request_init(uint8_t opcode, uint8_t byte1)
{
    static const uint8_t bytes_of_group[8] = { 6, 10, 10, 16, 16, 12, 16, 16 };

    return (ISCSIRequest){ .cdb = { opcode, byte1 }, .cdb_bytes = bytes_of_group[opcode >> 5] };
}

ISCSISense iscsi_sense_parse(const uint8_t *data, size_t bytes)
{
    ISCSISense sense = { .key = SCSI_SENSE_NO_SENSE };
    uint8_t type = bytes > 0 ? data[0] & 0x7f : 0;

    if (type == SCSI_SENSE_DESCRIPTOR_CURRENT || type == SCSI_SENSE_DESCRIPTOR_DEFERRED_ERRORS) {
        sense.key = bytes > 1 ? data[1] & 0xf : 0;
        sense.code = bytes > 3 ? data[2] << 8 | data[3] : 0;
    } else if (type == SCSI_SENSE_FIXED_CURRENT || type == SCSI_SENSE_FIXED_DEFERRED_ERRORS) {
        sense.key = bytes > 2 ? data[2] & 0xf : 0;
        sense.code = bytes > 13 ? data[12] << 8 | data[13] : 0;
    }
    return sense;
}

static bool is_becoming_ready(uint16_t code)
{
    return code == ASCQ_BECOMING_READY || code == ASCQ_OPERATION_IN_PROGRESS || code == ASCQ_SELF_TEST_IN_PROGRESS;
}

bool iscsi_should_retry(const ISCSIRequest *r, unsigned attempt, int64_t *pause_ns)
{
    bool attention = false, busy = false;

    switch (r->status) {
    case SCSI_STATUS_CHECK_CONDITION:
        attention = r->sense.key == SCSI_SENSE_UNIT_ATTENTION || r->sense.key == SCSI_SENSE_COMMAND_ABORTED;
        busy = r->sense.key == SCSI_SENSE_NOT_READY && is_becoming_ready(r->sense.code);
        break;
    case SCSI_STATUS_TASK_ABORTED:
        attention = true;
        break;
    case SCSI_STATUS_BUSY:
    case SCSI_STATUS_TASK_SET_FULL:
    case SCSI_STATUS_ACA_ACTIVE:
        busy = true;
        break;
    }
    /* A LUN reports queued unit attentions one by one. */
    *pause_ns = attempt < MAX_ATTENTIONS / 2 ? 0 : 100 * SCALE_MS;
    if (busy) {
        *pause_ns = MIN((10 * SCALE_MS) << attempt, MAX_BUSY_PAUSE_NS);
    }
    return r->ret == 0 && ((attention && attempt < MAX_ATTENTIONS) || (busy && attempt < MAX_BUSY));
}

bool iscsi_is_unsupported(const ISCSIRequest *r)
{
    return r->ret == 0 && r->status == SCSI_STATUS_CHECK_CONDITION && r->sense.key == SCSI_SENSE_ILLEGAL_REQUEST &&
           (r->sense.code == SCSI_SENSE_ASCQ_INVALID_OPERATION_CODE ||
            r->sense.code == SCSI_SENSE_ASCQ_INVALID_FIELD_IN_CDB ||
            r->sense.code == SCSI_SENSE_ASCQ_INVALID_FIELD_IN_PARAMETER_LIST);
}

static int sense_result(ISCSISense sense)
{
    switch (sense.key) {
    case SCSI_SENSE_NO_SENSE:
        /* A CHECK CONDITION without a reason is still an error. */
        return -EIO;
    case SCSI_SENSE_RECOVERED_ERROR:
        return 0;
    case SCSI_SENSE_NOT_READY:
        return sense.code >> 8 == 0x3a ? -ENOMEDIUM : -EBUSY;
    case SCSI_SENSE_ILLEGAL_REQUEST:
        return sense.code == SCSI_SENSE_ASCQ_LOGICAL_UNIT_NOT_SUPPORTED ? -ENXIO : -EINVAL;
    case SCSI_SENSE_DATA_PROTECTION:
        return sense.code == ASCQ_SPACE_ALLOCATION_FAILED ? -ENOSPC : -EPERM;
    default:
        return -EIO;
    }
}

int iscsi_request_result(const ISCSIRequest *r)
{
    if (r->ret < 0) {
        return r->ret;
    }
    switch (r->status) {
    case SCSI_STATUS_GOOD:
    case SCSI_STATUS_CONDITION_MET:
        return 0;
    case SCSI_STATUS_CHECK_CONDITION:
        return sense_result(r->sense);
    case SCSI_STATUS_RESERVATION_CONFLICT:
    case SCSI_STATUS_BUSY:
    case SCSI_STATUS_TASK_SET_FULL:
    case SCSI_STATUS_ACA_ACTIVE:
        return -EBUSY;
    default:
        return -EIO;
    }
}

static const char *status_name(int status)
{
    switch (status) {
    case SCSI_STATUS_GOOD:
        return "GOOD";
    case SCSI_STATUS_RESERVATION_CONFLICT:
        return "RESERVATION CONFLICT: another initiator has reserved the LUN";
    case SCSI_STATUS_BUSY:
        return "BUSY";
    case SCSI_STATUS_TASK_SET_FULL:
        return "TASK SET FULL";
    case SCSI_STATUS_ACA_ACTIVE:
        return "ACA ACTIVE";
    case SCSI_STATUS_TASK_ABORTED:
        return "TASK ABORTED";
    default:
        return "an unknown SCSI status";
    }
}

static const char *sense_key_name(uint8_t key)
{
    /* libiscsi has no name for the error that disks report most often. */
    return key == SCSI_SENSE_MEDIUM_ERROR ? "MEDIUM_ERROR" : scsi_sense_key_str(key) ?: "unknown";
}

char *iscsi_request_explain(const ISCSIRequest *r)
{
    if (r->ret < 0) {
        return g_strdup(g_strerror(-r->ret));
    }
    if (r->status != SCSI_STATUS_CHECK_CONDITION) {
        return g_strdup(status_name(r->status));
    }
    return g_strdup_printf("sense %s, 0x%02x/0x%02x%s%s", sense_key_name(r->sense.key), r->sense.code >> 8,
                           r->sense.code & 0xff,
                           r->sense.code == ASCQ_SPACE_ALLOCATION_FAILED ? " (space allocation failed)" : "",
                           r->sense.code >> 8 == 0x3a ? " (no medium)" : "");
}
