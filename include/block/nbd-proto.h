/*
 * The NBD protocol's numbers, and reading and writing them in network byte order
 *
 * Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_NBD_PROTO_H
#define BLOCK_NBD_PROTO_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define NBD_INIT_MAGIC      0x4e42444d41474943ULL   /* "NBDMAGIC" */
#define NBD_OPTS_MAGIC      0x49484156454f5054ULL   /* "IHAVEOPT" */
#define NBD_REP_MAGIC       0x0003e889045565a9ULL
#define NBD_REQUEST_MAGIC           0x25609513
#define NBD_SIMPLE_REPLY_MAGIC      0x67446698
#define NBD_STRUCTURED_REPLY_MAGIC  0x668e33ef

/* Maximum length of a name, a description and the like. */
#define NBD_MAX_STRING 4096
/* Maximum bytes of data in one read or write. */
#define NBD_MAX_BUFFER (32 * 1024 * 1024)

/* Flags of the greeting, and of the client's answer. */
enum {
    NBD_FLAG_FIXED_NEWSTYLE = 1 << 0,
    NBD_FLAG_NO_ZEROES      = 1 << 1,
};

/* Transmission flags: what an export supports. */
enum {
    NBD_FLAG_HAS_FLAGS          = 1 << 0,
    NBD_FLAG_READ_ONLY          = 1 << 1,
    NBD_FLAG_SEND_FLUSH         = 1 << 2,
    NBD_FLAG_SEND_FUA           = 1 << 3,
    NBD_FLAG_ROTATIONAL         = 1 << 4,
    NBD_FLAG_SEND_TRIM          = 1 << 5,
    NBD_FLAG_SEND_WRITE_ZEROES  = 1 << 6,
    NBD_FLAG_SEND_DF            = 1 << 7,
    NBD_FLAG_CAN_MULTI_CONN     = 1 << 8,
    NBD_FLAG_SEND_CACHE         = 1 << 10,
    NBD_FLAG_SEND_FAST_ZERO     = 1 << 11,
};

enum {
    NBD_OPT_EXPORT_NAME         = 1,
    NBD_OPT_ABORT               = 2,
    NBD_OPT_LIST                = 3,
    NBD_OPT_STARTTLS            = 5,
    NBD_OPT_INFO                = 6,
    NBD_OPT_GO                  = 7,
    NBD_OPT_STRUCTURED_REPLY    = 8,
    NBD_OPT_LIST_META_CONTEXT   = 9,
    NBD_OPT_SET_META_CONTEXT    = 10,
};

#define NBD_REP_ERR(n) (UINT32_C(1) << 31 | (n))
#define NBD_REP_ACK             1U
#define NBD_REP_SERVER          2U
#define NBD_REP_INFO            3U
#define NBD_REP_META_CONTEXT    4U
#define NBD_REP_ERR_UNSUP       NBD_REP_ERR(1)
#define NBD_REP_ERR_POLICY      NBD_REP_ERR(2)
#define NBD_REP_ERR_INVALID     NBD_REP_ERR(3)
#define NBD_REP_ERR_TLS_REQD    NBD_REP_ERR(5)
#define NBD_REP_ERR_UNKNOWN     NBD_REP_ERR(6)
#define NBD_REP_ERR_BLOCK_SIZE_REQD NBD_REP_ERR(8)
#define NBD_REP_ERR_TOO_BIG     NBD_REP_ERR(9)

enum {
    NBD_INFO_EXPORT         = 0,
    NBD_INFO_NAME           = 1,
    NBD_INFO_DESCRIPTION    = 2,
    NBD_INFO_BLOCK_SIZE     = 3,
};

enum {
    NBD_CMD_READ            = 0,
    NBD_CMD_WRITE           = 1,
    NBD_CMD_DISC            = 2,
    NBD_CMD_FLUSH           = 3,
    NBD_CMD_TRIM            = 4,
    NBD_CMD_CACHE           = 5,
    NBD_CMD_WRITE_ZEROES    = 6,
    NBD_CMD_BLOCK_STATUS    = 7,
};

enum {
    NBD_CMD_FLAG_FUA        = 1 << 0,
    NBD_CMD_FLAG_NO_HOLE    = 1 << 1,
    NBD_CMD_FLAG_DF         = 1 << 2,
    NBD_CMD_FLAG_REQ_ONE    = 1 << 3,
    NBD_CMD_FLAG_FAST_ZERO  = 1 << 4,
};

#define NBD_REPLY_FLAG_DONE         1
#define NBD_REPLY_TYPE_NONE         0
#define NBD_REPLY_TYPE_OFFSET_DATA  1
#define NBD_REPLY_TYPE_BLOCK_STATUS 5
#define NBD_REPLY_TYPE_ERROR        (1 << 15 | 1)

/* Errors on the wire, with the same values as Linux' errno. */
enum {
    NBD_EPERM       = 1,
    NBD_EIO         = 5,
    NBD_ENOMEM      = 12,
    NBD_EINVAL      = 22,
    NBD_ENOSPC      = 28,
    NBD_EOVERFLOW   = 75,
    NBD_ENOTSUP     = 95,
    NBD_ESHUTDOWN   = 108,
};

/* Flags of the metadata context base:allocation. */
enum {
    NBD_STATE_HOLE = 1 << 0,
    NBD_STATE_ZERO = 1 << 1,
    NBD_STATE_DIRTY = 1 << 0,   /* in the context of a dirty bitmap */
};

/* Lengths of messages, in bytes. */
#define NBD_REQUEST_SIZE            28
#define NBD_SIMPLE_REPLY_SIZE       16
#define NBD_CHUNK_SIZE              20

static inline uint16_t nbd_get16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return be16toh(v);
}

static inline uint32_t nbd_get32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static inline uint64_t nbd_get64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

/* The put functions return the position after the value. */
static inline uint8_t *nbd_put16(uint8_t *p, uint16_t v)
{
    v = htobe16(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static inline uint8_t *nbd_put32(uint8_t *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static inline uint8_t *nbd_put64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

#endif
