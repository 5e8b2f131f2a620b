/*
 * Mirror: requests to the target, and ending the job if it does not respond
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "block/block_int.h"
#include "block/jobs/mirror-int.h"
#include "block/jobs/mirror-top.h"

/*
 * After a cancel in the ready state, the target has this much time to complete a request. Otherwise the job ends
 * without a consistent copy.
 */
#define STALL_NS (5 * NANOSECONDS_PER_SECOND)
/* Once the target has been given up, interval for cancelling requests that have slipped through. */
#define GIVE_UP_NS (100 * SCALE_MS)
/* While nobody writes, interval for probing the target. */
#define PROBE_NS (2 * NANOSECONDS_PER_SECOND)

/* Requests */

static int mirror_begin_request(MirrorJob *s)
{
    if (s->given_up) {
        return -ECANCELED;
    }
    s->in_flight++;
    return 0;
}

static void mirror_end_request(MirrorJob *s, int ret)
{
    s->in_flight--;
    s->failed += ret < 0;
}

int coroutine_fn mirror_copy_write(void *opaque, int64_t offset, int64_t bytes, void *buf)
{
    MirrorJob *s = opaque;
    int ret = mirror_begin_request(s);

    if (ret == 0) {
        ret = block_copy_co_write(s->copy, offset, bytes, buf);
        mirror_end_request(s, ret);
        if (ret == 0) {
            s->copied_bytes += bytes;
            s->succeeded++;
        }
    }
    return ret;
}

/* Probe the target before users switch to it. A flush without new writes would not reach it. */
static int coroutine_fn mirror_probe_target(MirrorJob *s)
{
    int64_t bytes = MIN(s->target_bs->bl.request_alignment, blk_getlength(s->target));
    void *buf = qemu_blockalign(s->target_bs, MAX(bytes, 1));
    int ret = bytes ? blk_co_pread(s->target, 0, bytes, buf) : 0;

    qemu_vfree(buf);
    return ret;
}

int coroutine_fn mirror_flush(MirrorJob *s)
{
    int ret = mirror_begin_request(s);

    if (ret == 0) {
        ret = blk_co_flush(s->target);
        if (ret == 0 && s->should_complete && !s->in_final) {
            ret = mirror_probe_target(s);
        }
        mirror_end_request(s, ret);
    }
    return ret;
}

/* A request outside run() has failed: apply the error policy. If that says report, the loop of run() gets @err. */
static void mirror_report(MirrorJob *s, int ret, Error *err)
{
    /* Once the work has ended, the final section will see the error again. */
    if (s->err || s->given_up || s->common.run_ended ||
        job_error_action(&s->common, s->on_target_error, false, ret) != BLOCK_ERROR_ACTION_REPORT) {
        error_free(err);
        return;
    }
    s->err = err;
    job_wake(&s->common);
}

void coroutine_fn mirror_write_failed(void *opaque, int64_t offset, int ret)
{
    Error *err = NULL;

    error_setg_errno(&err, -ret, "error while writing at byte %" PRId64, offset);
    mirror_report(opaque, ret, err);
}

static void coroutine_fn mirror_probe_idle_entry(void *opaque)
{
    MirrorJob *s = opaque;
    int ret = mirror_probe_target(s);

    s->probing = false;
    s->next_probe_ns = qemu_clock_get_ns() + PROBE_NS;
    /* An error that is ignored is reported once. */
    bool known = s->on_target_error == BLOCKDEV_ON_ERROR_IGNORE && ret == s->probe_ret;
    s->probe_ret = ret;
    if (ret < 0 && !known) {
        Error *err = NULL;

        error_setg_errno(&err, -ret, "error while reading node '%s'", bdrv_get_display_name(s->target_bs));
        mirror_report(s, ret, err);
    }
    job_unref(&s->common);
}

/* Neither a worker nor counted in in_flight, so pauses and cancels work even if it hangs. */
void mirror_probe_idle(MirrorJob *s)
{
    if (!s->probing && qemu_clock_get_ns() >= s->next_probe_ns) {
        s->probing = true;
        job_ref(&s->common);
        qemu_coroutine_enter(qemu_coroutine_create(mirror_probe_idle_entry, s));
    }
}

/* Giving up */

void mirror_end_requests_soon(MirrorJob *s)
{
    s->given_up = true;
    aio_timer_mod_ns(s->end_timer, qemu_clock_get_ns() + GIVE_UP_NS);
}

void mirror_give_up(MirrorJob *s)
{
    if (!s->filter) {
        return;     /* set-up is incomplete */
    }
    mirror_end_requests_soon(s);
    mirror_top_suspend(s->filter, true);
    if (s->in_final) {
        mirror_expire_section(s);
    }
    bdrv_cancel_in_flight(s->target_bs);
}

void mirror_watch_target(MirrorJob *s)
{
    s->succeeded_before = s->succeeded;
    s->failed_before = s->failed;
    aio_timer_mod_ns(s->end_timer, qemu_clock_get_ns() + STALL_NS);
}

void mirror_end_tick(void *opaque)
{
    MirrorJob *s = opaque;
    bool tried = s->in_flight || s->failed > s->failed_before;
    Error *err = NULL;

    if (s->given_up) {
        bdrv_cancel_in_flight(s->target_bs);
        mirror_end_requests_soon(s);
    } else if (tried && s->succeeded == s->succeeded_before && !s->common.run_ended) {
        error_setg(&err, "Node '%s' does not respond: the copy is incomplete", bdrv_get_display_name(s->target_bs));
        job_fail(&s->common, err);
    } else if (!s->common.run_ended) {
        mirror_watch_target(s);
    }
}
