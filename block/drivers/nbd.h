/*
 * What the files of the nbd driver share
 *
 *   nbd.c              the driver: options, requests
 *   nbd-filename.c     filenames to options, and back
 *   nbd-connect.c      from an address to a socket on which a server is about to greet, with TLS in between
 *   nbd-connection.c   one connection: a handle of libnbd on the loop that is its home
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

/* nbd-filename.c: it works in a build without libnbd, too. */

/* As bdrv_parse_filename: all forms that block/drivers/nbd-filename.c lists. */
bool nbd_parse_filename(const char *filename, struct json_object *options, Error **errp);

/* As bdrv_modernize_options: "path", or "host" and "port", in place of "server". */
bool nbd_modernize_options(struct json_object *options, Error **errp);

/* The name of what @o opens, which opens it again. Caller frees. */
char *nbd_filename(const BlockdevOptionsNbd *o);

/* What libnbd said last in this thread, without the name of its function, else @otherwise; printable. Caller frees. */
char *nbd_last_error(const char *otherwise);

/* Where a server is, and what to ask it for. Does not change while connections are made. */
typedef struct NBDServer {
    SocketAddress *addr;
    char *name;                 /* for people */
    char *lookup_step;          /* what messages call the look-up of its address; NULL: there is none */
    char *export_name;
    char *context;              /* the metadata context that block status is asked from */
    bool is_bitmap;             /* a dirty bitmap, not base:allocation */
    QCryptoTLSCreds *creds;     /* NULL: no TLS */
    char *tls_hostname;         /* whose certificate the server must have; NULL: unknown, as with unix sockets */
} NBDServer;

/* nbd.c: take them from @o; false with @errp. nbd_server_clear() in either case. */
bool nbd_server_init(NBDServer *server, const BlockdevOptionsNbd *o, Error **errp);
void nbd_server_clear(NBDServer *server);

/*
 * nbd-connect.c: connect, and put TLS between where @server says so: a socket for a client that does not know of it,
 * which the caller owns; -1 with @errp. With TLS there is a relay in *@relay, which passes bytes on in the loop @home,
 * and is freed there after the socket is closed. *@step, for messages, is what is being waited for. Main thread; ends
 * when the coroutine is cancelled.
 */
typedef struct NBDRelay NBDRelay;
int coroutine_fn nbd_connect(const NBDServer *server, AioContext *home, NBDRelay **relay, const char **step,
                             Error **errp);
void coroutine_fn nbd_relay_free(NBDRelay *relay);

/* What a server says of an export. */
typedef struct NBDExportInfo {
    int64_t size;               /* bytes, of any number */
    uint32_t min_block;         /* bytes, a power of 2 */
    uint32_t opt_block;         /* bytes; 0: not told */
    uint32_t max_block;         /* bytes of one read or write */
    bool read_only, can_flush, can_fua, can_trim, can_zero, can_fast_zero, can_multi_conn;
    bool has_context;           /* the one that was asked for */
} NBDExportInfo;

typedef enum NBDRequestType {
    NBD_REQUEST_READ,
    NBD_REQUEST_WRITE,
    NBD_REQUEST_FLUSH,
    NBD_REQUEST_TRIM,
    NBD_REQUEST_ZERO,
    NBD_REQUEST_STATUS,
} NBDRequestType;

/* Pieces of an answer that arrive out of order: more gaps than this at a time are taken for malice. */
#define NBD_MAX_GAPS 16

typedef struct NBDConnection NBDConnection;

typedef struct NBDRequest {
    NBDRequestType type;
    uint32_t flags;             /* LIBNBD_CMD_FLAG_* */
    int64_t offset;
    int64_t bytes;
    void *buf;
    bool unflushed;             /* a change that may be lost with the server until a flush */
    int ret;                    /* the result: 0 or -errno */
    bool lost;                  /* the connection was, before the answer */
    uint32_t extent_bytes;      /* of NBD_REQUEST_STATUS: how much, with which flags; 0: no answer */
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
 * A connection to the export of @server, at home in the loop @home; NULL with @errp. The attempt, up to the end of the
 * handshake, takes no longer than @timeout_ns, and ends when @cancelled(@opaque), which is called several times a
 * second. The loop must exist as long as the connection does. Main thread.
 */
NBDConnection *coroutine_fn nbd_connection_new(const NBDServer *server, AioContext *home, int64_t timeout_ns,
                                               bool (*cancelled)(void *opaque), void *opaque, Error **errp);

/* For attempts that no option limits. */
#define NBD_CONNECT_TIMEOUT_NS (20 * NANOSECONDS_PER_SECOND)

/* Say good-bye and close. No request is in flight. NULL is allowed. */
void coroutine_fn nbd_connection_free(NBDConnection *c);

const NBDExportInfo *nbd_connection_get_info(const NBDConnection *c);

/* Make the request, and wait for its end: @r->ret, and @r->lost. From any loop. */
void coroutine_fn nbd_connection_co_request(NBDConnection *c, NBDRequest *r);

/* Give the connection up: what is in flight ends with -ECANCELED, and later requests, too. Main thread. */
void nbd_connection_cancel(NBDConnection *c);

/* nbd-link.c */
typedef struct NBDLink NBDLink;

/* A link of @bs that begins with @conn, which it takes over. Requests wait @delay_ns for another one. Main thread. */
NBDLink *nbd_link_new(BlockDriverState *bs, const NBDServer *server, NBDConnection *conn, int64_t delay_ns);

/* No request is in flight. NULL is allowed. Main thread. */
void coroutine_fn nbd_link_free(NBDLink *l);

/* Make a request, again after each loss of its connection: its result, 0 or -errno. From any loop. */
int coroutine_fn nbd_link_co_request(NBDLink *l, NBDRequest *r);

/* Flush all changes that were acknowledged before, on any connection: 0 or -errno. From any loop. */
int coroutine_fn nbd_link_co_flush(NBDLink *l);

/* End requests in flight with -ECANCELED; or only those that wait for a connection, of a node that is drained. */
void nbd_link_cancel(NBDLink *l);
void nbd_link_drain(NBDLink *l);

#endif
