/*
 * What the files of the NBD server share
 *
 * server.c accepts clients; handshake.c talks with them until they have chosen an export, with options.c,
 * info.c and meta-context.c for what they ask; transmission.c then receives requests, request.c carries them
 * out, reply.c and block-status.c answer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NBD_INT_H
#define NBD_INT_H

#include "block/export/export-int.h"
#include "block/nbd-proto.h"
#include "crypto/tls-creds.h"
#include "io/channel.h"
#include "util/aio.h"

/* Requests of one client under way at once; the rest waits in its socket. */
#define NBD_MAX_REQUESTS 16
/* Bytes of data that those may hold, unless a single one needs more. */
#define NBD_MAX_CLIENT_BUFFERS (64 * 1024 * 1024)
/*
 * Requests of all clients together; beyond that, each may have one at a time. A request can take three mappings of
 * memory (its coroutine's stack with a guard page, its data), of which Linux allows a process some 65,000.
 */
#define NBD_MAX_ALL_REQUESTS 4096
/* As much is received ahead, so that many small requests need few system calls. */
#define NBD_AHEAD_BYTES 8192
/* What every driver can use without copying. */
#define NBD_BUFFER_ALIGN 4096

typedef struct NBDExport {
    BlockExport common;
    char *name;                 /* that clients ask for */
    char *description;          /* NULL: none */
    bool allocation_depth;      /* offers the metadata context of that name */
    bool listed;                /* clients can find it */
} NBDExport;

/* Metadata contexts: bits of NBDClient.contexts. Their ids on the wire are the bits' numbers. */
enum {
    NBD_CONTEXT_ALLOCATION,
    NBD_CONTEXT_DEPTH,
    NBD_CONTEXT__MAX,
};

typedef struct NBDClient {
    gint refcnt;                /* atomic; the last one goes on the main loop */
    IOChannel *ch;
    AioContext *ctx;            /* who may use it: the main loop's, then the export's; main loop */
    NBDExport *exp;             /* once chosen, with a reference */
    IOThread *iothread;         /* that it is served in, with a reference; NULL: the main loop */
    bool fixed_newstyle;
    bool no_zeroes;
    bool tls;                   /* the handshake took place */
    bool structured;            /* replies */
    char *contexts_name;        /* of the export whose metadata contexts were chosen */
    unsigned contexts;          /* bits of those chosen */

    /* Transmission, in the loop of the export: */
    CoMutex send_lock;
    CoQueue receiver;           /* waits until there is room for one more request, or none is left */
    bool gone;                  /* nobody waits for answers: no request begins any more */
    bool leaving;               /* the client has said so: what it asked for before is done */
    AioTimer *gone_timer;       /* looks whether it has gone, while there is no room; NULL: need not */
    GQueue requests;            /* of NBDRequest, under way */
    size_t buffer_bytes;        /* that they hold */
    size_t ahead_start, ahead_end;  /* what is not used yet of: */
    uint8_t *ahead;             /* NULL while the client is idle */
} NBDClient;

typedef struct NBDRequest {
    NBDClient *client;
    GList link;                 /* in client->requests */
    Coroutine *co;
    uint16_t flags;
    uint16_t type;
    uint64_t cookie;
    uint64_t offset;
    uint32_t len;
    uint8_t *data;              /* of reads and writes; NULL where there is no memory */
    size_t data_bytes;
} NBDRequest;

/* export.c */

/* NULL where there is none of that name. */
NBDExport *nbd_export_find(const char *name);
/* The exports that clients can find, one after the other; NULL: the first. */
NBDExport *nbd_export_next(NBDExport *exp);
/* NBD_FLAG_* of the export for @client. */
uint16_t nbd_export_flags(const NBDExport *exp, const NBDClient *client);

/* server.c */

/* How the server was started; it is running. */
QCryptoTLSCreds *nbd_server_tls_creds(void);    /* NULL: no TLS */
const char *nbd_server_tls_authz(void);
unsigned nbd_server_max_connections(void);
/* Disconnect the clients of @exp. */
void nbd_server_disconnect(NBDExport *exp);
/* The client is gone; from the main loop. */
void nbd_client_done(NBDClient *client);

/* handshake.c: returns true once client->exp is chosen, false where the client is to be let go */
bool coroutine_fn nbd_handshake(NBDClient *client);

/* One option, as the client sent it. */
typedef struct NBDOption {
    uint32_t option;
    uint32_t len;
    uint8_t *data;
} NBDOption;

/* What becomes of the handshake after an option; negative: -errno, the connection is of no more use. */
enum {
    NBD_HANDSHAKE_GO_ON = 0,
    NBD_HANDSHAKE_DONE,
    NBD_HANDSHAKE_ABORT,
};

/* Answers to an option: 0 or -errno */
int coroutine_fn nbd_send_rep(NBDClient *client, uint32_t option, uint32_t type, const void *data, size_t len);
int coroutine_fn nbd_send_rep_err(NBDClient *client, uint32_t option, uint32_t type, const char *fmt, ...)
    G_GNUC_PRINTF(4, 5);

/* options.c, info.c, meta-context.c: NBD_HANDSHAKE_* or -errno */
int coroutine_fn nbd_handle_option(NBDClient *client, const NBDOption *opt);
int coroutine_fn nbd_handle_info(NBDClient *client, const NBDOption *opt);
int coroutine_fn nbd_handle_meta_context(NBDClient *client, const NBDOption *opt);
/* Take the client to @exp. */
void nbd_client_choose(NBDClient *client, NBDExport *exp);

/*
 * A string from an option's data at *@pos: its length in 32 bits, then its bytes. NULL where it is longer than
 * what is left or than NBD_MAX_STRING, or has a NUL in it.
 */
char *nbd_option_string(const NBDOption *opt, size_t *pos);

/* transmission.c: serves the client until it leaves; one of its requests is no longer under way */
void coroutine_fn nbd_transmission(void *client);
void nbd_request_done(NBDRequest *req);
/* Nobody waits for answers any more: end the connection, and requests under way as soon as that goes; in its loop. */
void nbd_client_abandon(NBDClient *client);

/* request.c: memory for data, to be freed with free(), NULL where there is none; carry out and answer, freeing @req */
void *nbd_buffer_new(size_t bytes);
void coroutine_fn nbd_request_run(void *req);

/* reply.c: answers, unless the client is gone */
void coroutine_fn nbd_reply_error(const NBDRequest *req, int ret);      /* @ret: 0 or -errno */
void coroutine_fn nbd_reply_data(const NBDRequest *req);                /* of a read */
void coroutine_fn nbd_reply_chunk(const NBDRequest *req, bool done, uint16_t type, const void *data, size_t len);

/* block-status.c */
void coroutine_fn nbd_reply_block_status(const NBDRequest *req);

#endif
