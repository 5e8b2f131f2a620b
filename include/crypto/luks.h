/*
 * LUKS1: encrypted volumes whose key lies, under up to eight passwords, in a header
 *
 * A header names the cipher, holds a digest that proves the volume key ("master key"), and has
 * eight keyslots. An active keyslot holds the master key, spread over 4000 stripes and encrypted
 * under a key that PBKDF2 makes from a password. Byte by byte, and what a power cut leaves:
 * docs/luks-on-disk.md.
 *
 * Everything here reads and writes through the callbacks of a QCryptoLUKSIO, so that the same code
 * works on a block node, a detached header, or memory in a test:
 *
 *     QCryptoLUKSIO io = {
 *         .pread = my_pread, .pwrite = my_pwrite, .flush = my_flush, .length = volume_bytes,
 *     };
 *     QCryptoLUKSOpenOptions oo = { .password = password };
 *     QCryptoLUKSFailure why;
 *     g_autoptr(QCryptoLUKS) luks = qcrypto_luks_open(&io, &oo, &why, errp);
 *
 *     if (!luks) {
 *         return false;               // why == QCRYPTO_LUKS_FAILURE_WRONG_PASSWORD: ask again
 *     }
 *     // byte OFFSET of the payload is at qcrypto_luks_payload_offset(luks) + OFFSET of its volume
 *     qcrypto_sectors_decrypt(qcrypto_luks_sector_cipher(luks), OFFSET / QCRYPTO_LUKS_SECTOR_SIZE,
 *                             buf, buf, len / QCRYPTO_LUKS_SECTOR_SIZE);
 *
 * A QCryptoLUKS keeps no reference to the io it was opened with: functions that need one take it,
 * and the caller passes one for the same header volume. Functions that take an io may yield in a
 * coroutine (PBKDF2 runs on THREAD_POOL_LONG); the caller lets only one of them at a time run on
 * one header, across handles. The sector cipher may be used meanwhile, from any thread.
 *
 * Another program may have changed the header since it was opened. Functions that write read it
 * again first: where only keyslots differ they go on with what they find, else they fail with a
 * hint to open it again.
 *
 * Source: LUKS On-Disk Format Specification, version 1.2.3.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef CRYPTO_LUKS_H
#define CRYPTO_LUKS_H

#include "crypto/sector-cipher.h"
#include "qapi/qapi-types.h"
#include "util/coroutine.h"
#include "util/error.h"
#include "util/secret-buffer.h"

#define QCRYPTO_LUKS_SECTOR_SIZE 512
#define QCRYPTO_LUKS_KEYSLOTS 8
#define QCRYPTO_LUKS_DEFAULT_ITER_TIME_MS 2000

/* Progress of a millisecond of key derivation, where some has to be reserved before the machine is measured. */
#define QCRYPTO_LUKS_WORK_PER_MS UINT64_C(1000000)

/* Overwriting passes where nobody says otherwise, and the most that make sense. */
#define QCRYPTO_LUKS_DEFAULT_PASSES 3
#define QCRYPTO_LUKS_MAX_PASSES 100

/*
 * The most PBKDF2 iterations that opening spends on one keyslot, or on the master key digest,
 * unless told otherwise. The default of cryptsetup and QEMU is two seconds of the machine that
 * formats; this is ten seconds of the fastest processor known.
 */
#define QCRYPTO_LUKS_DEFAULT_MAX_ITERATIONS UINT64_C(100000000)

/* What qcrypto_luks_probe() needs to see. */
#define QCRYPTO_LUKS_PROBE_BYTES 8
/* And qcrypto_luks_probe_uuid(). */
#define QCRYPTO_LUKS_UUID_PROBE_BYTES 208

/*
 * The volume that holds the header (with the payload behind it, unless the header is detached).
 *
 * Callbacks return 0 or -errno and may yield. Offsets and lengths are always multiples of 512 for
 * which @offset + @bytes <= @length. A write need not be atomic beyond 512 bytes, nor ordered
 * against others before the next flush; @flush returns once all before it is durable.
 */
typedef struct QCryptoLUKSIO {
    int coroutine_mixed_fn (*pread)(void *opaque, uint64_t offset, void *buf, size_t bytes);
    int coroutine_mixed_fn (*pwrite)(void *opaque, uint64_t offset, const void *buf, size_t bytes);
    int coroutine_mixed_fn (*flush)(void *opaque);
    void *opaque;
    uint64_t length;        /* bytes; rounded down to 512 by whoever looks */

    /*
     * Optional, for progress: up to @work more is to be done (once an operation, before its slow part), and @work of it
     * is done. The unit is a byte that is read, written or hashed; an iteration of PBKDF2 counts as 128 of them.
     */
    void (*plan)(void *opaque, uint64_t work);
    void (*advance)(void *opaque, uint64_t work);

    /*
     * Optional: what is going on from now, in words for people (a literal; NULL: nothing that takes long), and for how
     * many nanoseconds (0: not known).
     */
    void (*activity)(void *opaque, const char *what, int64_t ns);

    /*
     * Optional: called before each read, write and flush, and every 50 ms while a key is derived,
     * but not where ending early would leave no password that opens the volume. Returns when the
     * operation may go on, or false with @errp, which ends it, now and at every later call. Each
     * function says what it leaves then: at worst the same as a power cut.
     */
    bool coroutine_mixed_fn (*pause_point)(void *opaque, Error **errp);
} QCryptoLUKSIO;

/* Which LUKS, if any, the first @len bytes at @buf of a volume belong to. */
typedef enum QCryptoLUKSVersion {
    QCRYPTO_LUKS_VERSION_NONE = 0,
    QCRYPTO_LUKS_VERSION_1 = 1,
    QCRYPTO_LUKS_VERSION_2 = 2,
    QCRYPTO_LUKS_VERSION_UNKNOWN = 3,   /* the magic with a version that nobody knows */
} QCryptoLUKSVersion;
QCryptoLUKSVersion qcrypto_luks_probe(const void *buf, size_t len);

/*
 * The UUID of the LUKS volume, version 1 or 2, that begins with the @len bytes at @buf, for people: what is no
 * printable ASCII is escaped. NULL: there is no such volume, or less than QCRYPTO_LUKS_UUID_PROBE_BYTES. Caller frees.
 */
char *qcrypto_luks_probe_uuid(const void *buf, size_t len);

/* Why qcrypto_luks_open() and others failed, for code that acts on it; the Error tells people. */
typedef enum QCryptoLUKSFailure {
    QCRYPTO_LUKS_FAILURE_NONE,
    QCRYPTO_LUKS_FAILURE_IO,                /* a callback failed, or there were no random bytes */
    QCRYPTO_LUKS_FAILURE_NOT_LUKS,          /* no magic */
    QCRYPTO_LUKS_FAILURE_VERSION,           /* LUKS2, or unknown */
    QCRYPTO_LUKS_FAILURE_DAMAGED,           /* a field breaks a rule, or the volume is too short */
    QCRYPTO_LUKS_FAILURE_UNSUPPORTED,       /* well formed; an algorithm that we do not have */
    QCRYPTO_LUKS_FAILURE_NO_ACTIVE_SLOT,
    QCRYPTO_LUKS_FAILURE_WRONG_PASSWORD,    /* opens no active keyslot */
    QCRYPTO_LUKS_FAILURE_TOO_MUCH_WORK,     /* beyond @max_iterations; no keyslot within it opens */
    QCRYPTO_LUKS_FAILURE_CANCELLED,         /* pause_point() said so */
} QCryptoLUKSFailure;

typedef struct QCryptoLUKS QCryptoLUKS;

typedef struct QCryptoLUKSOpenOptions {
    /*
     * NULL: metadata only. No sector cipher then, but information, removal of keyslots, change. The algorithms need
     * not be supported, nor the payload be there: what does not need them works, anything else tells what is missing.
     */
    const SecretBuffer *password;

    /* The payload is on another volume of @payload_volume_bytes (0: not known, not checked). */
    bool detached;
    uint64_t payload_volume_bytes;

    /* Do not try keyslots with more (max-pbkdf-iterations); 0: the default above. */
    uint64_t max_iterations;
} QCryptoLUKSOpenOptions;

/*
 * Read and check the header and, with a password, try all active keyslots in order.
 *
 * Every field is checked before any is used; the error names the first that breaks a rule ("LUKS
 * header field 'keyslot 3 key-material-offset': ..."). A payload offset of 0 means that the header
 * was made to be detached, which is an error with a password but without @detached. Sets *@failure
 * (may be NULL) on failure only.
 */
QCryptoLUKS *qcrypto_luks_open(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options,
                               QCryptoLUKSFailure *failure, Error **errp);
void qcrypto_luks_free(QCryptoLUKS *luks);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoLUKS, qcrypto_luks_free)

/* What is wrong with a header: a line (char *) for each field. */
typedef struct QCryptoLUKSFindings {
    GPtrArray *damage;          /* against the specification, whether or not qcrypto_luks_open() minds */
    GPtrArray *unsupported;     /* algorithms that are missing here */
    GPtrArray *remarks;         /* what QEMU alone refuses */
} QCryptoLUKSFindings;

/* Look at every field of the header, without a password. NULL where it could not be read or is not LUKS1. */
QCryptoLUKSFindings *qcrypto_luks_check(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options, Error **errp);
void qcrypto_luks_findings_free(QCryptoLUKSFindings *findings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoLUKSFindings, qcrypto_luks_findings_free)

/*
 * Read the header again. Where keyslots were changed meanwhile, by another handle or program, take
 * them over; where anything else was, fail. Every function that changes keyslots begins with it.
 */
bool qcrypto_luks_refresh(QCryptoLUKS *luks, const QCryptoLUKSIO *io, Error **errp);

/* Byte where the payload begins on its volume (for a header made to be detached: 0). */
uint64_t qcrypto_luks_payload_offset(const QCryptoLUKS *luks);

/* Bytes of the header volume that the header needs, from 0 to the end of the last key material. */
uint64_t qcrypto_luks_header_bytes(const QCryptoLUKS *luks);

/* Bytes of a payload sector: what is read and written of the payload is a multiple of it. */
size_t qcrypto_luks_sector_size(const QCryptoLUKS *luks);

/* For payload sectors, numbered from 0; NULL unless opened with a password. Owned by @luks. */
const QCryptoSectorCipher *qcrypto_luks_sector_cipher(const QCryptoLUKS *luks);

bool qcrypto_luks_is_unlocked(const QCryptoLUKS *luks);

/*
 * What qemu-img info and QMP show; free with qapi_free_QCryptoBlockInfoLUKS(). Bytes of the UUID that are not printable
 * are escaped.
 */
QCryptoBlockInfoLUKS *qcrypto_luks_get_info(const QCryptoLUKS *luks);

/*
 * The options that make a volume with the same cipher, mode, IV generator and hashes, for mirror
 * and convert; key-secret and iter-time are absent, and the rest where it is not supported. Free with
 * qapi_free_QCryptoBlockCreateOptionsLUKS().
 */
QCryptoBlockCreateOptionsLUKS *qcrypto_luks_get_create_options(const QCryptoLUKS *luks);

/*
 * Creating
 *
 * Defaults are QEMU's: aes-256, xts, plain64, sha256, 2000 ms; sha256 as ivgen-hash-alg of essiv
 * (it is accepted and has no effect with the others). key-secret is not looked at: the password is
 * a parameter.
 */

/*
 * Check @options and set *@bytes to what the header takes: without a detached header the payload
 * offset, otherwise the length that the header volume needs. 2068480 with the defaults. @bytes may
 * be NULL.
 */
bool qcrypto_luks_create_bytes(const QCryptoBlockCreateOptionsLUKS *options, uint64_t *bytes,
                              Error **errp);

typedef struct QCryptoLUKSCreateOptions {
    const QCryptoBlockCreateOptionsLUKS *options;
    const SecretBuffer *password;       /* opens keyslot 0; any bytes, may be empty */
    bool detached;                      /* payload offset 0 */

    /* 0: as many as iter-time asks for. Otherwise those of keyslot and digest, unmeasured. */
    uint32_t force_iterations;
} QCryptoLUKSCreateOptions;

/*
 * Write a new header with a new master key and UUID, and return it opened. Whatever was in the
 * header area is gone; the caller has asked. @io->length must be at least
 * qcrypto_luks_create_bytes().
 *
 * Everything else is written and flushed before the sector with the magic, and an old magic is
 * removed first: what a cut or an error leaves is either no LUKS header at all or the finished
 * one.
 */
QCryptoLUKS *qcrypto_luks_create(const QCryptoLUKSIO *io, const QCryptoLUKSCreateOptions *options,
                                 Error **errp);

/*
 * Keyslots
 *
 * Slots are 0..7; -1 where the function may choose. All of these leave at least one password that
 * worked before, or its replacement, working after a cut at any point, unless @force allowed it to
 * go.
 */
#define QCRYPTO_LUKS_SLOT_ANY (-1)

bool qcrypto_luks_keyslot_is_active(const QCryptoLUKS *luks, int slot);
unsigned qcrypto_luks_keyslots_active(const QCryptoLUKS *luks);

/* The lowest inactive keyslot, or -1. */
int qcrypto_luks_keyslot_find_free(const QCryptoLUKS *luks);

/*
 * The lowest active keyslot (@slot itself, unless it is -1) that @password opens, or -1 with
 * an error; *@failure (may be NULL) tells a wrong password from the rest. Works on a handle that
 * is not unlocked.
 */
int qcrypto_luks_keyslot_find(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                              const SecretBuffer *password, int slot,
                              QCryptoLUKSFailure *failure, Error **errp);

typedef struct QCryptoLUKSKeyslotOptions {
    const SecretBuffer *new_password;
    int slot;                       /* QCRYPTO_LUKS_SLOT_ANY: the lowest inactive one */
    uint64_t iter_time_ms;          /* 0: QCRYPTO_LUKS_DEFAULT_ITER_TIME_MS */
    bool force;                     /* may overwrite an active @slot */
    uint32_t force_iterations;      /* 0: as many as iter_time_ms asks for */
} QCryptoLUKSKeyslotOptions;

/*
 * Let @options->new_password open the volume, too. @luks must be unlocked. Sets *@slot (may be
 * NULL) to the keyslot used. The new keyslot is read back and proven to give the master key before
 * it becomes active. With @force, an active keyslot is first replaced by a copy in a free one,
 * where there is one.
 */
bool qcrypto_luks_keyslot_add(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                              const QCryptoLUKSKeyslotOptions *options, int *slot, Error **errp);

/*
 * Overwrite the key material of @slot with random bytes @passes times (0:
 * QCRYPTO_LUKS_DEFAULT_PASSES), flushing each time, read the last back, then mark it inactive.
 * Without @force refuses an inactive slot, and the last active one. Needs no password. A cut
 * leaves either the password working, or @slot active with material that opens no more: remove it
 * again.
 */
bool qcrypto_luks_keyslot_remove(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                                 unsigned passes, bool force, Error **errp);

/*
 * Remove every keyslot that @password opens; sets *@removed (may be NULL) to which: bit N for keyslot N. An error
 * where there is none, or where none would be left and @force is not set; then nothing is written.
 */
bool qcrypto_luks_keyslot_remove_password(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                          const SecretBuffer *password, unsigned passes,
                                          bool force, unsigned *removed,
                                          QCryptoLUKSFailure *failure, Error **errp);

/*
 * Replace @old_password by @options->new_password: add the new one, prove that it opens, then
 * remove the lowest keyslot that the old one opens. @luks need not be unlocked. With
 * @options->slot -1 the new keyslot is the lowest free one; if it names the old keyslot itself,
 * the new password passes through a free keyslot on its way there; if it names another active one,
 * @options->force is needed. Where no slot is free, an error, unless @options->force, which
 * overwrites the old keyslot in place: then a cut may leave neither password working. Sets *@old_slot and *@slot (each
 * may be NULL) to the keyslots of the old and the new password, which may be the same.
 */
bool qcrypto_luks_keyslot_change(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                 const SecretBuffer *old_password,
                                 const QCryptoLUKSKeyslotOptions *options, int *old_slot, int *slot,
                                 QCryptoLUKSFailure *failure, Error **errp);

/*
 * Secure erase
 *
 * A plan says what will be overwritten; running it does so, in the order of the plan: key material
 * first, the sectors with the magic last, so that a cut leaves something to run it on again.
 * Making a plan only reads, needs no password, and forgives damaged fields: what it could not make
 * out is in @notes. A caller may append regions of its own, such as the payload, before running
 * it.
 */
typedef enum QCryptoLUKSEraseScope {
    QCRYPTO_LUKS_ERASE_KEY_MATERIAL,    /* all keyslots' material; then they are marked inactive */
    QCRYPTO_LUKS_ERASE_HEADER,          /* up to the payload, or all of a detached header */
} QCryptoLUKSEraseScope;

typedef struct QCryptoLUKSRegion {
    uint64_t offset;        /* bytes, multiple of 512 */
    uint64_t length;
    char *what;             /* "keyslot 0 material", "header", "header padding" */
    int keyslot;            /* -1 where it is none's */
    uint64_t written;       /* bytes from its start that were overwritten at least once, flushed or not */
    unsigned passes;        /* done so far, and flushed */
    bool verified;          /* the last pass was read back and found as written */
} QCryptoLUKSRegion;

typedef struct QCryptoLUKSErasePlan {
    QCryptoLUKSEraseScope scope;
    GArray *regions;                /* of QCryptoLUKSRegion */
    GPtrArray *notes;               /* of char *: what is damaged and could not be located */
    uint64_t header_end;            /* where the header area was taken to end */
    uint64_t payload_offset;        /* the same; 0 where detached */
    bool detached;
} QCryptoLUKSErasePlan;

/* @detached: the payload is elsewhere. No LUKS header, LUKS2, or no keyslot made out: an error. */
QCryptoLUKSErasePlan *qcrypto_luks_erase_plan_new(const QCryptoLUKSIO *io,
                                                  QCryptoLUKSEraseScope scope, bool detached,
                                                  Error **errp);

/* A plan for regions of the caller's alone: the payload's, where that is on another volume. */
QCryptoLUKSErasePlan *qcrypto_luks_erase_plan_new_empty(void);
void qcrypto_luks_erase_plan_free(QCryptoLUKSErasePlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoLUKSErasePlan, qcrypto_luks_erase_plan_free)

/* Append a region to be overwritten last of all. @what is copied. */
void qcrypto_luks_erase_plan_append(QCryptoLUKSErasePlan *plan, uint64_t offset, uint64_t length,
                                    const char *what);

/*
 * Overwrite every region @passes times (0: QCRYPTO_LUKS_DEFAULT_PASSES) with random bytes, flush
 * after each pass, read the last one back. Updates @plan's regions as it goes, on failure too.
 */
bool qcrypto_luks_erase_run(const QCryptoLUKSIO *io, QCryptoLUKSErasePlan *plan, unsigned passes,
                            Error **errp);

/*
 * Backup and restore
 */

/* No known program makes a header larger than a quarter of this. */
#define QCRYPTO_LUKS_MAX_BACKUP_BYTES (16 * 1024 * 1024)

/*
 * The header area as it is: bytes 0 to the payload, or for a detached header to the end of its key
 * material. It must pass all checks of qcrypto_luks_open(). Holds what a password opens: treat it
 * as the volume.
 */
SecretBuffer *qcrypto_luks_backup(const QCryptoLUKSIO *io, bool detached, Error **errp);

/*
 * Write @backup back. It must be a valid header. Unless @force, it must fit what is there: where
 * the volume begins with a LUKS header, even a damaged one, payload offset, key size and UUID must
 * be the same; a volume without the magic is taken to have lost it. @payload_volume_bytes as in
 * QCryptoLUKSOpenOptions.
 *
 * Where the header on the volume is valid and has the same master key, its passwords are exchanged
 * one by one: after a cut or an error, each old password opens unless the one that the backup has
 * in its keyslot does (with eight of each, all but one). Otherwise the magic goes first and comes
 * back last: a cut leaves no LUKS header, and restoring can be repeated.
 *
 * Passwords that were removed since the backup was made work again: the caller warns.
 */
bool qcrypto_luks_restore(const QCryptoLUKSIO *io, const SecretBuffer *backup, bool detached,
                          uint64_t payload_volume_bytes, bool force, Error **errp);

#endif
