/*
 * Commands for operations on whole images, each run as a job
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block-backend.h"
#include "block/job.h"
#include "monitor/blockdev.h"
#include "qapi/qapi-commands.h"
#include "qapi/qapi-events.h"

/* A job that executes a command, with a copy of the command's arguments. */
typedef struct CommandJob {
    Job common;
    const QAPIType *type;
    void *arg;
    BlockBackend *blk;          /* holds the node in the arguments until the job is concluded; NULL: none */
    SecureEraseReport *report;
} CommandJob;

static void coroutine_fn command_job_clean(Job *job)
{
    CommandJob *cj = container_of(job, CommandJob, common);

    blk_co_unref(g_steal_pointer(&cj->blk));
}

static void command_job_free(Job *job)
{
    CommandJob *cj = container_of(job, CommandJob, common);

    qapi_free(cj->type, cj->arg);
    qapi_free_SecureEraseReport(cj->report);
}

static void command_job_query(const Job *job, JobInfo *info)
{
    const CommandJob *cj = container_of(job, CommandJob, common);

    info->report = cj->report ? QAPI_CLONE(SecureEraseReport, cj->report) : NULL;
}

/* Start a job with @driver on the node @node_name (NULL: no particular node). */
static bool coroutine_fn command_job_start(const JobDriver *driver, const char *job_id, const char *node_name,
                                           const QAPIType *type, const void *arg, Error **errp)
{
    BlockDriverState *bs = NULL;

    if (node_name) {
        bs = blockdev_find(node_name, errp);
        if (!bs) {
            return false;
        }
    }
    CommandJob *cj = job_create(job_id, driver, JOB_MANUAL_DISMISS, errp);
    if (!cj) {
        return false;
    }
    cj->type = type;
    cj->arg = qapi_clone(type, arg);
    if (bs) {
        g_autofree char *user = g_strdup_printf("job '%s'", job_id);

        cj->blk = blk_new(user, 0, BLK_PERM_ALL);
        if (!blk_insert_bs(cj->blk, bs, errp)) {
            job_discard(&cj->common);
            return false;
        }
    }
    job_start(&cj->common);
    return true;
}

#define START_JOB(driver, T, arg, node_name, errp) \
    command_job_start(driver, (arg)->job_id, node_name, &qapi_type_##T, arg, errp)

static int number_or_minus_one(bool present, int64_t value)
{
    return present ? (int)value : -1;
}

/* Check a number from a client that becomes an int. */
static bool check_range(const char *name, bool present, int64_t value, int64_t min, Error **errp)
{
    if (present && (value < min || value > INT_MAX)) {
        error_setg(errp, "Parameter '%s' must be from %" PRId64 " to %d", name, min, INT_MAX);
        return false;
    }
    return true;
}

/* blockdev-create */

static bool coroutine_fn create_run(Job *job, Error **errp)
{
    const BlockdevCreateArg *arg = container_of(job, CommandJob, common)->arg;

    return bdrv_create(arg->options, job, errp);
}

bool coroutine_fn qmp_blockdev_create(const BlockdevCreateArg *arg, Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(CommandJob), .type = JOB_TYPE_CREATE, .run = create_run, .clean = command_job_clean,
        .free = command_job_free,
    };

    if (!bdrv_supports_create(arg->options->driver)) {
        error_setg(errp, "Driver '%s' does not support blockdev-create", BlockdevDriver_str(arg->options->driver));
        return false;
    }
    return START_JOB(&driver, BlockdevCreateArg, arg, NULL, errp);
}

/* x-blockdev-amend */

static bool coroutine_fn amend_run(Job *job, Error **errp)
{
    CommandJob *cj = container_of(job, CommandJob, common);
    const XBlockdevAmendArg *arg = cj->arg;

    return bdrv_amend(blk_bs(cj->blk), arg->options, arg->has_force && arg->force, job, errp);
}

bool coroutine_fn qmp_x_blockdev_amend(const XBlockdevAmendArg *arg, Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(CommandJob), .type = JOB_TYPE_AMEND, .run = amend_run, .clean = command_job_clean,
        .free = command_job_free,
    };

    return START_JOB(&driver, XBlockdevAmendArg, arg, arg->node_name, errp);
}

/* blockdev-format */

static bool coroutine_fn format_run(Job *job, Error **errp)
{
    const BlockdevFormatArg *arg = container_of(job, CommandJob, common)->arg;
    BlockDriverState *header = NULL;
    bool ok = false;

    BlockDriverState *file = bdrv_co_open_blockdev_ref(arg->file, 0, job, errp);
    if (file && (!arg->header || (header = bdrv_co_open_blockdev_ref(arg->header, 0, job, errp)))) {
        ok = bdrv_format(file, header, arg->options, arg->has_force && arg->force, job, errp);
    }
    bdrv_co_unref(header);
    bdrv_co_unref(file);
    return ok;
}

bool coroutine_fn qmp_blockdev_format(const BlockdevFormatArg *arg, Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(CommandJob), .type = JOB_TYPE_FORMAT, .run = format_run, .clean = command_job_clean,
        .free = command_job_free,
    };

    return START_JOB(&driver, BlockdevFormatArg, arg, NULL, errp);
}

/* blockdev-secure-erase */

static bool coroutine_fn erase_run(Job *job, Error **errp)
{
    CommandJob *cj = container_of(job, CommandJob, common);
    const BlockdevSecureEraseArg *arg = cj->arg;
    SecureEraseScope scope = arg->has_scope ? arg->scope : SECURE_ERASE_SCOPE_HEADER;
    unsigned passes = arg->has_passes ? arg->passes : 0;

    bool force = arg->has_force && arg->force;

    if (!force && !bdrv_check_copies(blk_bs(cj->blk), scope, errp)) {
        return false;
    }
    cj->report = bdrv_secure_erase(blk_bs(cj->blk), scope, passes, force, job, errp);
    if (!cj->report) {
        return false;
    }
    qapi_event_send_blockdev_secure_erase_completed(&(BlockdevSecureEraseCompletedArg){
        .job_id = arg->job_id, .node_name = arg->node_name, .report = cj->report,
    });
    return true;
}

bool coroutine_fn qmp_blockdev_secure_erase(const BlockdevSecureEraseArg *arg, Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(CommandJob), .type = JOB_TYPE_SECURE_ERASE, .run = erase_run,
        .query = command_job_query, .clean = command_job_clean,
        .free = command_job_free,
    };

    return check_range("passes", arg->has_passes, arg->passes, 1, errp) &&
           START_JOB(&driver, BlockdevSecureEraseArg, arg, arg->node_name, errp);
}

/* blockdev-keyslot-add */

static bool coroutine_fn keyslot_add_run(Job *job, Error **errp)
{
    CommandJob *cj = container_of(job, CommandJob, common);
    const BlockdevKeyslotAddArg *arg = cj->arg;

    return bdrv_keyslot_add(blk_bs(cj->blk), arg->new_secret, number_or_minus_one(arg->has_keyslot, arg->keyslot),
                            arg->has_iter_time ? arg->iter_time : 0, false, NULL, job, errp);
}

bool coroutine_fn qmp_blockdev_keyslot_add(const BlockdevKeyslotAddArg *arg, Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(CommandJob), .type = JOB_TYPE_KEYSLOT, .run = keyslot_add_run,
        .clean = command_job_clean,
        .free = command_job_free,
    };

    return check_range("keyslot", arg->has_keyslot, arg->keyslot, 0, errp) &&
           check_range("iter-time", arg->has_iter_time, arg->iter_time, 1, errp) &&
           START_JOB(&driver, BlockdevKeyslotAddArg, arg, arg->node_name, errp);
}

/* blockdev-keyslot-remove */

static bool coroutine_fn keyslot_remove_run(Job *job, Error **errp)
{
    CommandJob *cj = container_of(job, CommandJob, common);
    const BlockdevKeyslotRemoveArg *arg = cj->arg;

    return bdrv_keyslot_remove(blk_bs(cj->blk), number_or_minus_one(arg->has_keyslot, arg->keyslot), arg->old_secret,
                               arg->has_force && arg->force, NULL, job, errp);
}

bool coroutine_fn qmp_blockdev_keyslot_remove(const BlockdevKeyslotRemoveArg *arg, Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(CommandJob), .type = JOB_TYPE_KEYSLOT, .run = keyslot_remove_run,
        .clean = command_job_clean,
        .free = command_job_free,
    };

    if (arg->has_keyslot == !!arg->old_secret) {
        error_setg(errp, "Need exactly one of 'keyslot' and 'old-secret'");
        return false;
    }
    return check_range("keyslot", arg->has_keyslot, arg->keyslot, 0, errp) &&
           START_JOB(&driver, BlockdevKeyslotRemoveArg, arg, arg->node_name, errp);
}

/* blockdev-keyslot-change */

static bool coroutine_fn keyslot_change_run(Job *job, Error **errp)
{
    CommandJob *cj = container_of(job, CommandJob, common);
    const BlockdevKeyslotChangeArg *arg = cj->arg;

    return bdrv_keyslot_change(blk_bs(cj->blk), arg->old_secret, arg->new_secret,
                               number_or_minus_one(arg->has_keyslot, arg->keyslot),
                               arg->has_iter_time ? arg->iter_time : 0, false, NULL, job, errp);
}

bool coroutine_fn qmp_blockdev_keyslot_change(const BlockdevKeyslotChangeArg *arg, Error **errp)
{
    static const JobDriver driver = {
        .instance_size = sizeof(CommandJob), .type = JOB_TYPE_KEYSLOT, .run = keyslot_change_run,
        .clean = command_job_clean,
        .free = command_job_free,
    };

    return check_range("keyslot", arg->has_keyslot, arg->keyslot, 0, errp) &&
           check_range("iter-time", arg->has_iter_time, arg->iter_time, 1, errp) &&
           START_JOB(&driver, BlockdevKeyslotChangeArg, arg, arg->node_name, errp);
}
