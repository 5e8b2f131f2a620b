/*
 * What the files of the nbd driver share
 *
 *   nbd.c              the driver: options, requests
 *   nbd-filename.c     filenames to options, and back
 *   nbd-connect.c      connecting, with TLS: from an address to a socket that the server's greeting arrives on
 *   nbd-connection.c   one connection: a handle of libnbd on its home loop
 *   nbd-link.c         connections that are replaced when they are lost
 *   nbd-list.c         listing the exports of a server
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_DRIVERS_NBD_H
#define BLOCK_DRIVERS_NBD_H

#include "block/block_int.h"
#include "crypto/tls-creds.h"
#include "util/aio.h"

/* nbd-filename.c, which is also part of builds without libnbd */

/* As bdrv_parse_filename: all forms that block/drivers/nbd-filename.c lists. */
bool nbd_parse_filename(const char *filename, struct json_object *options, Error **errp);

/* As bdrv_modernize_options: "path", or "host" and "port", in place of "server". */
bool nbd_modernize_options(struct json_object *options, Error **errp);

/* A filename that opens the same as @o. Caller frees. */
char *nbd_filename(const BlockdevOptionsNbd *o);

/* libnbd's last error in this thread, without the function's name, or else @otherwise; printable. Caller frees. */
char *nbd_last_error(const char *otherwise);

/* A server, and the export to request from it. Does not change while connections are made. */
typedef struct NBDServer {
    SocketAddress *addr;
    char *name;                 /* for messages */
    char *lookup_step;          /* the look-up of its address, for messages; NULL: none needed */
    char *export_name;
    char *context;              /* the metadata context for block status */
    bool is_bitmap;             /* a dirty bitmap, not base:allocation */
    QCryptoTLSCreds *creds;     /* NULL: no TLS */
    char *tls_hostname;         /* name in the server's certificate; NULL: any, as with unix sockets */
} NBDServer;

/* nbd.c: set @server from @o; false with @errp. Call nbd_server_clear() in either case. */
bool nbd_server_init(NBDServer *server, const BlockdevOptionsNbd *o, Error **errp);
void nbd_server_clear(NBDServer *server);

/*
 * nbd-connect.c: connect, with TLS if @server has credentials. Returns a socket without TLS, which the caller owns; -1
 * with @errp. With TLS, *@relay is a relay that passes bytes on in the loop @home; free it there after closing the
 * socket. *@step is what is being waited for, for messages. Main thread; ends when the coroutine is cancelled.
 */
typedef struct NBDRelay NBDRelay;
int coroutine_fn nbd_connect(const NBDServer *server, AioContext *home, NBDRelay **relay, const char **step,
                             Error **errp);
void coroutine_fn nbd_relay_free(NBDRelay *relay);

/* What a server reports about an export. */
typedef struct NBDExportInfo {
    int64_t size;               /* bytes, any number */
    uint32_t min_block;         /* bytes, a power of 2 */
    uint32_t opt_block;         /* bytes; 0: not reported */
    uint32_t max_block;         /* bytes of one read or write */
    bool read_only, can_flush, can_fua, can_trim, can_zero, can_fast_zero, can_multi_conn;
    bool has_context;           /* NBDServer.context */
} NBDExportInfo;

typedef enum NBDRequestType {
    NBD_REQUEST_READ,
    NBD_REQUEST_WRITE,
    NBD_REQUEST_FLUSH,
    NBD_REQUEST_TRIM,
    NBD_REQUEST_ZERO,
    NBD_REQUEST_STATUS,
} NBDRequestType;

/* Maximum number of gaps in a reply that arrives out of order; more are treated as malice. */
#define NBD_MAX_GAPS 16

typedef struct NBDConnection NBDConnection;

typedef struct NBDRequest {
    NBDRequestType type;
    uint32_t flags;             /* LIBNBD_CMD_FLAG_* */
    int64_t offset;
    int64_t bytes;
    void *buf;
    bool unflushed;             /* changes data, which the server may lose until a flush */
    int ret;                    /* the result: 0 or -errno */
    bool lost;                  /* the connection was lost before the reply */
    uint32_t extent_bytes;      /* of NBD_REQUEST_STATUS: length and flags; 0: no reply */
    uint32_t extent_flags;      /* LIBNBD_STATE_*, or those of the bitmap */

    /* of nbd-connection.c */
    NBDConnection *conn;
    Coroutine *waiting;
    bool done;
    GList link;
    struct { int64_t start, end; } seen[NBD_MAX_GAPS + 1];  /* bytes of a read that arrived, in order */
    unsigned n_seen;
} NBDRequest;

/*
 * Connect to the export of @server, with a handle in the loop @home; NULL with @errp. The attempt, up to the end of the
 * handshake, takes no longer than @timeout_ns, and ends once @cancelled(@opaque), which is called several times a
 * second, is true. The loop must exist as long as the connection does. Main thread.
 */
NBDConnection *coroutine_fn nbd_connection_new(const NBDServer *server, AioContext *home, int64_t timeout_ns,
                                               bool (*cancelled)(void *opaque), void *opaque, Error **errp);

/* Default time limit of an attempt. */
#define NBD_CONNECT_TIMEOUT_NS (20 * NANOSECONDS_PER_SECOND)

/* Disconnect and close. No request is in flight. NULL is allowed. */
void coroutine_fn nbd_connection_free(NBDConnection *c);

const NBDExportInfo *nbd_connection_get_info(const NBDConnection *c);

/* Send the request, and wait for its end: @r->ret, and @r->lost. From any loop. */
void coroutine_fn nbd_connection_co_request(NBDConnection *c, NBDRequest *r);

/* Give up the connection: requests in flight and later ones end with -ECANCELED. Any thread. */
void nbd_connection_cancel(NBDConnection *c);

/* nbd-link.c */
typedef struct NBDLink NBDLink;

/* A link of @bs that starts with @conn, and takes it over. Requests wait @delay_ns for a new one. Main thread. */
NBDLink *nbd_link_new(BlockDriverState *bs, const NBDServer *server, NBDConnection *conn, int64_t delay_ns);

/* No request is in flight. NULL is allowed. Main thread. */
void coroutine_fn nbd_link_free(NBDLink *l);

/* Send a request, again after each loss of its connection: its result, 0 or -errno. From any loop. */
int coroutine_fn nbd_link_co_request(NBDLink *l, NBDRequest *r);

/* Flush all changes that any connection has acknowledged: 0 or -errno. From any loop. */
int coroutine_fn nbd_link_co_flush(NBDLink *l);

/* End requests in flight with -ECANCELED; or only those that wait for a connection, of a node that is drained. */
void nbd_link_cancel(NBDLink *l);
void nbd_link_drain(NBDLink *l);

#endif
