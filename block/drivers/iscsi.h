/*
 * What the files of the iscsi driver share
 *
 *   iscsi.c            the driver: options, requests
 *   iscsi-filename.c   filenames to options, and back
 *   iscsi-login.c      connecting and logging in to a target
 *   iscsi-session.c    one session: a handle of libiscsi on its home loop
 *   iscsi-lun.c        querying a LUN
 *   iscsi-sense.c      interpreting its replies
 *   iscsi-erase.c      secure erase
 *   iscsi-link.c       a session that is replaced when it is lost
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_ISCSI_H
#define BLOCK_DRIVERS_ISCSI_H

#include "block/block_int.h"
#include "util/aio.h"
#include "util/secret-buffer.h"

#define ISCSI_DEFAULT_PORT "3260"
#define ISCSI_MAX_BLOCK_SIZE (64 * KiB)

/* iscsi-filename.c, which is also part of builds without libiscsi */

/* As bdrv_parse_filename: iscsi://[USER@]HOST[:PORT]/TARGET/LUN */
bool iscsi_parse_filename(const char *filename, struct json_object *options, Error **errp);

/* A filename that opens the same as @o. Caller frees. */
char *iscsi_filename(const BlockdevOptionsIscsi *o);

/*
 * Split "HOST", "HOST:PORT", "[HOST]:PORT" of a portal, with or without ",GROUP" after it: new strings, or false with
 * @errp.
 */
bool iscsi_parse_portal(const char *portal, char **host, char **port, Error **errp);

/* A LUN, and how to log in to its target. Does not change while sessions are made. */
typedef struct ISCSITarget {
    char *name;                 /* of the LUN, for messages: portal, target and number, printable */
    char *portal;
    char *target;
    unsigned lun;
    char *user;                 /* NULL: no CHAP */
    SecretBuffer *password;     /* terminated with NUL */
    char *initiator;
    int header_digest;          /* enum iscsi_header_digest */
    int64_t timeout_ns;         /* of a request; 0: none */
    uint32_t isid;              /* 24 bits, and */
    uint16_t isid_qualifier;    /* 16 more: the same in all sessions of a node, so that a new one ends the old one */
} ISCSITarget;

typedef enum ISCSIDirection {
    ISCSI_NO_DATA,
    ISCSI_FROM_TARGET,
    ISCSI_TO_TARGET,
} ISCSIDirection;

typedef struct ISCSISense {
    uint8_t key;
    uint16_t code;              /* ASC and ASCQ */
} ISCSISense;

typedef struct ISCSISession ISCSISession;

/* A SCSI command. */
typedef struct ISCSIRequest {
    uint8_t cdb[16];
    uint8_t cdb_bytes;
    ISCSIDirection direction;
    void *buf;
    uint32_t bytes;
    bool no_timeout;            /* ignores ISCSITarget.timeout_ns */
    bool to_lun0;               /* for the target, not for the LUN */
    bool must_fill;             /* all of @buf must be transferred */
    bool flush;                 /* makes all acknowledged changes durable */
    bool unflushed;             /* changes data, which the target may lose until a flush */

    int ret;                    /* -errno if there is no reply; else 0, with */
    int status;                 /* the SCSI status, */
    ISCSISense sense;           /* the sense of a CHECK CONDITION, */
    uint32_t transferred;       /* and the number of bytes transferred, according to the target */
    bool lost;                  /* the session was lost before the reply */

    /* of iscsi-session.c */
    ISCSISession *session;
    struct scsi_task *task;
    CoSleep sleep;
    bool answered;              /* but libiscsi may still send from @buf */
    bool done;
    GList link;
} ISCSIRequest;

/* Properties that a LUN reports. Lengths are in blocks; 0: no limit. */
typedef struct ISCSILunInfo {
    uint32_t block_size;        /* bytes, a power of 2 */
    uint64_t blocks;
    uint64_t max_transfer;
    uint64_t opt_transfer;
    uint64_t max_unmap;         /* of one UNMAP */
    uint64_t max_write_same;
    bool thin;                  /* thin provisioning: blocks can be unmapped, */
    bool zero_when_unmapped;    /* and then read as zeroes */
    bool can_unmap, can_unmap_same; /* with UNMAP, with WRITE SAME(16) */
    bool can_fua;
    bool write_cache;
    bool read_only;
    char identity[2 * 64 + 1];  /* its unique name, in hexadecimal; empty: not reported */
} ISCSILunInfo;

/* A session with a target: a handle of libiscsi. */
struct ISCSISession {
    const ISCSITarget *target;
    AioContext *ctx;            /* home */
    gint refcnt;                /* atomic: the owner, and scheduled bottom halves */
    struct iscsi_context *iscsi; /* NULL: the session is lost */
    int fd;
    bool reading, writing;      /* what the loop watches @fd for */
    bool broken;                /* libiscsi has given the connection up */
    GQueue requests;            /* of ISCSIRequest, in flight */
    uint64_t write_bytes;       /* of them */
    unsigned queued;            /* messages since libiscsi last had none to send */
    uint32_t max_segment;       /* bytes of data that the target accepts in one message */
    CoSleep pause;              /* before a command is repeated */
    uint8_t mark[16];           /* marks blocks for which no data has arrived */
    ISCSILunInfo lun;
    char *why;                  /* why the session was lost, for messages; NULL: it was not */
    int64_t quiet_until_ns;     /* until then, losses are not reported, since another one was */
    bool reported;              /* an error of the target was reported */

    /* of iscsi-login.c */
    const char *step;           /* what is being waited for, for messages */
    char *lookup_step;          /* the look-up of the portal's address, for messages */
    bool connecting, logging_in;
    Coroutine *waiter;          /* waits for the end of a step */
    bool step_done;
    int step_status;            /* enum scsi_status */
    int connect_errno;
    unsigned login_status;      /* class and detail of the target's last reply */
    GPtrArray *names;           /* of targets, for an error */
};

/* Numbers in commands and replies */

static inline uint16_t iscsi_get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static inline uint32_t iscsi_get32(const uint8_t *p)
{
    return (uint32_t)iscsi_get16(p) << 16 | iscsi_get16(p + 2);
}

static inline uint64_t iscsi_get64(const uint8_t *p)
{
    return (uint64_t)iscsi_get32(p) << 32 | iscsi_get32(p + 4);
}

static inline void iscsi_put32(uint8_t *p, uint32_t n)
{
    n = GUINT32_TO_BE(n);
    memcpy(p, &n, sizeof(n));
}

static inline void iscsi_put64(uint8_t *p, uint64_t n)
{
    n = GUINT64_TO_BE(n);
    memcpy(p, &n, sizeof(n));
}

/* iscsi-session.c */

/*
 * Log in to @target and query the LUN. The session's home is this thread's loop. NULL with @errp. The attempt takes no
 * longer than @timeout_ns, and ends once @cancelled(@opaque), which is called several times a second, is true. Main
 * thread.
 */
ISCSISession *coroutine_fn iscsi_session_new(const ISCSITarget *target, int64_t timeout_ns,
                                             bool (*cancelled)(void *opaque), void *opaque, Error **errp);

/* Default time limit of an attempt. */
#define ISCSI_CONNECT_TIMEOUT_NS (20 * NANOSECONDS_PER_SECOND)

/* Log out and close. No request is in flight. NULL is allowed. */
void coroutine_fn iscsi_session_free(ISCSISession *s);

/* Send the command, and wait for its end: @r->ret, and what follows it. From any loop. */
void coroutine_fn iscsi_session_co_request(ISCSISession *s, ISCSIRequest *r);

/* Give up the session: requests in flight and later ones end with -ECANCELED. Main thread. */
void iscsi_session_cancel(ISCSISession *s);

/* For iscsi-login.c, in the home loop: watch the descriptor for what libiscsi waits for; use a new handle. */
void iscsi_session_update(ISCSISession *s);
/* Give up the lost session. Its requests end with @ret. Not from within a callback of libiscsi. */
void iscsi_session_set_lost(ISCSISession *s, int ret, const char *why);

/* iscsi-login.c */

/* Connect and log in to the target of @s; false with @errp. Main thread; ends when the coroutine is cancelled. */
bool coroutine_fn iscsi_login(ISCSISession *s, Error **errp);

/* During login, whether libiscsi may read what has arrived; false: more must arrive, or @s is lost. */
bool iscsi_login_check_incoming(ISCSISession *s);

/* Log out, and wait a moment for the reply. */
void coroutine_fn iscsi_logout(ISCSISession *s);

/* iscsi-lun.c */

/* Query the LUN of @s, and set @s->lun. False with @errp. */
bool coroutine_fn iscsi_read_lun(ISCSISession *s, Error **errp);

/* READ CAPACITY(16) into @buf, of ISCSI_CAPACITY_BYTES; and parsing its reply into @info. */
#define ISCSI_CAPACITY_BYTES 32
ISCSIRequest iscsi_capacity_request(uint8_t *buf);
bool iscsi_capacity_parse(const ISCSIRequest *r, ISCSILunInfo *info, Error **errp);

/* iscsi-sense.c */

/* A command that begins with @opcode and @byte1. */
ISCSIRequest iscsi_request_init(uint8_t opcode, uint8_t byte1);

/* The sense in @bytes of sense data. */
ISCSISense iscsi_sense_parse(const uint8_t *data, size_t bytes);

/* Whether the reply asks to send @r again, after *@pause_ns. @attempt counts from 0. */
bool iscsi_should_retry(const ISCSIRequest *r, unsigned attempt, int64_t *pause_ns);

/* The reply to @r as -errno; 0: success. */
int iscsi_request_result(const ISCSIRequest *r);

/* Whether the LUN does not support the command, or not in this form. */
bool iscsi_is_unsupported(const ISCSIRequest *r);

/* The reply in words; caller frees. */
char *iscsi_request_explain(const ISCSIRequest *r);

/* iscsi-link.c */
typedef struct ISCSILink ISCSILink;

/* A link of @bs that starts with @session, and takes it over. Main thread. */
ISCSILink *iscsi_link_new(BlockDriverState *bs, const ISCSITarget *target, ISCSISession *session);

/* No request is in flight. NULL is allowed. Main thread. */
void coroutine_fn iscsi_link_free(ISCSILink *l);

/*
 * Send the command, and again after each loss of the session, or when the LUN asks for it: its result, 0 or -errno,
 * with the answer in @r. From any loop.
 */
int coroutine_fn iscsi_link_co_request(ISCSILink *l, ISCSIRequest *r);

/* End requests in flight with -ECANCELED; or only those that wait for a session, of a node that is drained. */
void iscsi_link_cancel(ISCSILink *l);
void iscsi_link_drain(ISCSILink *l);

/* iscsi.c */
typedef struct BDRVISCSIState {
    ISCSITarget target;
    ISCSILink *link;
    ISCSILunInfo lun;
    uint8_t zeroes[ISCSI_MAX_BLOCK_SIZE];   /* a block of them */
    gint no_write_same;         /* atomic: the LUN has refused it once */
    gint no_lba_status;         /* the same */
    gint reported;              /* atomic: the last error that was reported */
} BDRVISCSIState;

/* iscsi-erase.c: the callbacks of these names */
void coroutine_fn iscsi_co_erase_info(BlockDriverState *bs, int64_t offset, int64_t bytes, BdrvEraseInfo *info);
int coroutine_fn iscsi_co_secure_discard(BlockDriverState *bs, int64_t offset, int64_t bytes);

#endif
