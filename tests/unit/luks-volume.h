/*
 * A volume in memory for LUKS tests, which keeps a log of its writes and flushes
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_LUKS_VOLUME_H
#define TESTS_LUKS_VOLUME_H

#include "crypto/luks.h"

/* Iterations for the keyslots of tests; few, since they open thousands of volumes. */
#define TEST_ITERATIONS 10

/* A write of @bytes at @data; a flush has none. */
typedef struct VolumeOp {
    uint64_t offset;
    size_t bytes;
    uint8_t *data;
} VolumeOp;

typedef struct Volume {
    uint8_t *data;
    uint64_t bytes;
    GArray *log;                /* of VolumeOp */
    unsigned n_reads;
    unsigned n_writes;
    int fail_write;             /* return -EIO from this write on, counted from 1; 0: never */
    bool forget_writes;         /* report success, but change nothing */
    int cancel_at;              /* cancel at this pause point, counted from 1; 0: never */
    int n_pause_points;
    uint64_t done, planned;     /* of the last operation */
    const char *activity;       /* now; NULL: none */
    unsigned n_measured;        /* how often it was to measure the machine */
    QCryptoLUKSIO io;
} Volume;

Volume *volume_new(uint64_t bytes);
void volume_free(Volume *v);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Volume, volume_free)

/* Change the length; the new part is zero. */
void volume_resize(Volume *v, uint64_t bytes);

/* Start a new log. */
void volume_clear_log(Volume *v);

SecretBuffer *password_new(const char *text);

/* Create a volume with a header, @extra bytes of payload, and @password. */
Volume *volume_create(const QCryptoBlockCreateOptionsLUKS *options, const char *password,
                      uint64_t extra);

/* Open with @password; NULL (with *@failure, if not NULL, and @errp set) on failure. */
QCryptoLUKS *volume_open(Volume *v, const char *password, QCryptoLUKSFailure *failure,
                         Error **errp);

/* Add @password, or fail the test. */
int volume_add(Volume *v, QCryptoLUKS *luks, const char *password, int slot);

/* Cipher text of sector 7 of zeroes: equal for equal master keys. */
void luks_fingerprint(const QCryptoLUKS *luks, uint8_t *out);

bool volume_opens(Volume *v, const char *password, const uint8_t *fingerprint);

#endif
