/*
 * What the files of the NBD server share
 *
 * server.c accepts clients. handshake.c negotiates with them until they have chosen an export, with options.c, info.c
 * and meta-context.c for single options. transmission.c then receives requests, request.c executes them, reply.c and
 * block-status.c answer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NBD_INT_H
#define NBD_INT_H

#include "block/dirty-bitmap.h"
#include "block/export/export-int.h"
#include "block/nbd-proto.h"
#include "crypto/tls-creds.h"
#include "io/channel.h"
#include "util/aio.h"

/* Maximum requests of one client under way. The rest waits in its socket. */
#define NBD_MAX_REQUESTS 16
/* Maximum bytes of data that these hold, unless a single one needs more. */
#define NBD_MAX_CLIENT_BUFFERS (64 * 1024 * 1024)
/*
 * Maximum requests of all clients together; beyond that, each may have one at a time. A request can take three memory
 * mappings (its coroutine's stack with a guard page, its data), of which Linux allows a process some 65,000.
 */
#define NBD_MAX_ALL_REQUESTS 4096
/* Bytes received ahead, so that many small requests need few system calls. */
#define NBD_AHEAD_BYTES 8192
/* Alignment that every driver can use without copying. */
#define NBD_BUFFER_ALIGN 4096

typedef struct NBDExport {
    BlockExport common;
    char *name;                 /* the name that clients ask for */
    char *description;          /* NULL: none */
    bool allocation_depth;      /* offers the metadata context with this name */
    GPtrArray *bitmaps;         /* of BdrvDirtyBitmap, offered as metadata contexts */
    uint64_t serial;            /* differs from that of all other exports, also of earlier ones with this name */
    bool listed;                /* shown in lists */
} NBDExport;

/* Metadata contexts: bits of NBDClient.contexts. Their ids on the wire are the bits' numbers. */
enum {
    NBD_CONTEXT_ALLOCATION,
    NBD_CONTEXT_DEPTH,
    NBD_CONTEXT_BITMAPS,        /* the first of NBDExport.bitmaps */
};
#define NBD_MAX_BITMAPS (64 - NBD_CONTEXT_BITMAPS)

typedef struct NBDClient {
    gint refcnt;                /* atomic; the last reference is dropped on the main loop */
    IOChannel *ch;
    AioContext *ctx;            /* whose thread may use it: the main loop's, then the export's; main loop */
    NBDExport *exp;             /* once chosen; a reference */
    IOThread *iothread;         /* that serves it, a reference; NULL: the main loop */
    bool fixed_newstyle;
    bool no_zeroes;
    bool tls;                   /* the TLS handshake is done */
    bool structured;            /* structured replies are enabled */
    uint64_t contexts_serial;   /* of the export whose metadata contexts were chosen */
    uint64_t contexts;          /* bits of the chosen contexts */

    /* Transmission, in the loop of the export: */
    CoMutex send_lock;
    CoQueue receiver;           /* waits until there is room for another request, or none is left */
    bool gone;                  /* the client is gone: no further request begins */
    bool leaving;               /* the client is disconnecting: its earlier requests are completed */
    AioTimer *gone_timer;       /* checks whether it is gone while there is no room; NULL: no need */
    GQueue requests;            /* of NBDRequest, under way */
    size_t buffer_bytes;        /* bytes that these hold */
    size_t ahead_start, ahead_end;  /* the unused part of: */
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
    uint8_t *data;              /* of reads and writes; NULL if there is no memory */
    size_t data_bytes;
} NBDRequest;

/* export.c */

/* Find an export; NULL if there is none of that name. */
NBDExport *nbd_export_find(const char *name);
/* Iterate over the exports in lists; NULL: the first. */
NBDExport *nbd_export_next(NBDExport *exp);
/* NBD_FLAG_* of the export for @client. */
uint16_t nbd_export_flags(const NBDExport *exp, const NBDClient *client);

/* bitmaps.c */

/* Find the bitmaps that the export offers, and keep them busy. @refs: NULL for none. False with @errp. */
bool nbd_export_take_bitmaps(NBDExport *exp, const BlockDirtyBitmapOrStrList *refs, Error **errp);
void coroutine_fn nbd_export_release_bitmaps(NBDExport *exp);

/* server.c */

/* Settings with which the server was started. It must be running. */
QCryptoTLSCreds *nbd_server_tls_creds(void);    /* NULL: no TLS */
const char *nbd_server_tls_authz(void);
unsigned nbd_server_max_connections(void);
/* Disconnect the clients of @exp. */
void nbd_server_disconnect(NBDExport *exp);
/* The client is gone. From the main loop. */
void nbd_client_done(NBDClient *client);

/* handshake.c: true once client->exp is chosen, false if the client must be disconnected */
bool coroutine_fn nbd_handshake(NBDClient *client);

/* An option as sent by the client. */
typedef struct NBDOption {
    uint32_t option;
    uint32_t len;
    uint8_t *data;
} NBDOption;

/* How the handshake continues after an option; negative: -errno, the connection is broken. */
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
 * Read a string from an option's data at *@pos: its length in 32 bits, then its bytes. NULL if it is longer than the
 * rest or than NBD_MAX_STRING, or contains a NUL.
 */
char *nbd_option_string(const NBDOption *opt, size_t *pos);

/* transmission.c: serve the client until it leaves; a request has ended */
void coroutine_fn nbd_transmission(void *client);
void nbd_request_done(NBDRequest *req);
/* The client is gone: end the connection, and cancel requests under way as soon as possible. In its loop. */
void nbd_client_abandon(NBDClient *client);

/* request.c: allocate memory for data, to be freed with free(), or NULL; execute and answer a request, and free @req */
void *nbd_buffer_new(size_t bytes);
void coroutine_fn nbd_request_run(void *req);

/* reply.c: send an answer, unless the client is gone */
void coroutine_fn nbd_reply_error(const NBDRequest *req, int ret);      /* @ret: 0 or -errno */
void coroutine_fn nbd_reply_data(const NBDRequest *req);                /* of a read */
void coroutine_fn nbd_reply_chunk(const NBDRequest *req, bool done, uint16_t type, const void *data, size_t len);

/* block-status.c */
void coroutine_fn nbd_reply_block_status(const NBDRequest *req);

#endif
