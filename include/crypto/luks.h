/*
 * LUKS1: encrypted volumes with a header that holds their key under up to eight passwords
 *
 * A header names the cipher, holds a digest that proves the volume key ("master key"), and has
 * eight keyslots. An active keyslot holds the master key, spread over 4000 stripes and encrypted
 * under a key that PBKDF2 derives from a password. docs/luks-on-disk.md describes the bytes, and
 * what a power cut leaves.
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
 *     // byte OFFSET of the payload is byte qcrypto_luks_payload_offset(luks) + OFFSET of its volume
 *     qcrypto_sectors_decrypt(qcrypto_luks_sector_cipher(luks), OFFSET / QCRYPTO_LUKS_SECTOR_SIZE,
 *                             buf, buf, len / QCRYPTO_LUKS_SECTOR_SIZE);
 *
 * A QCryptoLUKS keeps no reference to the io it was opened with: functions that need one take it,
 * and the caller passes one for the same header volume. Functions that take an io may yield in a
 * coroutine (PBKDF2 runs on THREAD_POOL_LONG); the caller runs only one of them at a time on a
 * header, across all handles. The sector cipher may be used meanwhile, from any thread.
 *
 * Another program may have changed the header since it was opened. Functions that write read it
 * again first: if only keyslots differ, they continue with the new ones; otherwise they fail with
 * a hint to open it again.
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

/* Estimated progress of a millisecond of key derivation, for use before the machine has been measured. */
#define QCRYPTO_LUKS_WORK_PER_MS UINT64_C(1000000)

/* Overwriting passes by default, and at most. */
#define QCRYPTO_LUKS_DEFAULT_PASSES 3
#define QCRYPTO_LUKS_MAX_PASSES 100

/*
 * Default limit of PBKDF2 iterations for one keyslot, or for the master key digest, when opening.
 * cryptsetup and QEMU use two seconds of the formatting machine by default; this limit is ten
 * seconds of the fastest processor known.
 */
#define QCRYPTO_LUKS_DEFAULT_MAX_ITERATIONS UINT64_C(100000000)

/* Bytes that qcrypto_luks_probe() needs. */
#define QCRYPTO_LUKS_PROBE_BYTES 8
/* And qcrypto_luks_probe_uuid(). */
#define QCRYPTO_LUKS_UUID_PROBE_BYTES 208

/*
 * The volume that holds the header (followed by the payload, unless the header is detached).
 *
 * Callbacks return 0 or -errno and may yield. Offsets and lengths are multiples of 512, with
 * @offset + @bytes <= @length. A write need not be atomic beyond 512 bytes, nor ordered
 * against others before the next flush; @flush returns once all before it is durable.
 */
typedef struct QCryptoLUKSIO {
    int coroutine_mixed_fn (*pread)(void *opaque, uint64_t offset, void *buf, size_t bytes);
    int coroutine_mixed_fn (*pwrite)(void *opaque, uint64_t offset, const void *buf, size_t bytes);
    int coroutine_mixed_fn (*flush)(void *opaque);
    void *opaque;
    uint64_t length;        /* bytes; the functions below round it down to 512 */

    /*
     * Optional, for progress. @plan: up to @work lies ahead (called once in an operation, before its slow part).
     * @advance: another @work is done. The unit is a byte read, written or hashed; a PBKDF2 iteration counts as 128.
     */
    void (*plan)(void *opaque, uint64_t work);
    void (*advance)(void *opaque, uint64_t work);

    /*
     * Optional: name the step that starts now, for people (a literal; NULL: nothing that takes long), and the
     * nanoseconds it will take (0: not known).
     */
    void (*activity)(void *opaque, const char *what, int64_t ns);

    /*
     * Optional: called before each read, write and flush, and every 50 ms while a key is derived,
     * except where an early end would leave no password that opens the volume. Returns true when
     * the operation may continue; false with @errp cancels it, and every later call must return
     * false too. Each function documents what a cancelled call leaves: at worst what a power cut
     * leaves.
     */
    bool coroutine_mixed_fn (*pause_point)(void *opaque, Error **errp);
} QCryptoLUKSIO;

/* Which LUKS, if any, the first @len bytes at @buf of a volume belong to. */
typedef enum QCryptoLUKSVersion {
    QCRYPTO_LUKS_VERSION_NONE = 0,
    QCRYPTO_LUKS_VERSION_1 = 1,
    QCRYPTO_LUKS_VERSION_2 = 2,
    QCRYPTO_LUKS_VERSION_UNKNOWN = 3,   /* the magic with an unknown version */
} QCryptoLUKSVersion;
QCryptoLUKSVersion qcrypto_luks_probe(const void *buf, size_t len);

/*
 * The UUID of the LUKS volume, version 1 or 2, that begins with the @len bytes at @buf, for display: bytes that are
 * not printable ASCII are escaped. NULL if there is no such volume, or @len is less than
 * QCRYPTO_LUKS_UUID_PROBE_BYTES. Caller frees.
 */
char *qcrypto_luks_probe_uuid(const void *buf, size_t len);

/* Why qcrypto_luks_open() and others failed, for the calling code; the Error is for people. */
typedef enum QCryptoLUKSFailure {
    QCRYPTO_LUKS_FAILURE_NONE,
    QCRYPTO_LUKS_FAILURE_IO,                /* a callback failed, or there were no random bytes */
    QCRYPTO_LUKS_FAILURE_NOT_LUKS,          /* no magic */
    QCRYPTO_LUKS_FAILURE_VERSION,           /* LUKS2, or unknown */
    QCRYPTO_LUKS_FAILURE_DAMAGED,           /* a field breaks a rule, or the volume is too short */
    QCRYPTO_LUKS_FAILURE_UNSUPPORTED,       /* well formed, but an algorithm is not supported */
    QCRYPTO_LUKS_FAILURE_NO_ACTIVE_SLOT,
    QCRYPTO_LUKS_FAILURE_WRONG_PASSWORD,    /* opens no active keyslot */
    QCRYPTO_LUKS_FAILURE_TOO_MUCH_WORK,     /* beyond @max_iterations; no keyslot within it opens */
    QCRYPTO_LUKS_FAILURE_CANCELLED,         /* pause_point() returned false */
} QCryptoLUKSFailure;

typedef struct QCryptoLUKS QCryptoLUKS;

typedef struct QCryptoLUKSOpenOptions {
    /*
     * NULL: open for metadata only, without a sector cipher: for information, and removing or changing keyslots. The
     * algorithms may then be unsupported and the payload missing; operations that need them fail and say so.
     */
    const SecretBuffer *password;

    /* The payload is on another volume of @payload_volume_bytes (0: not known, not checked). */
    bool detached;
    uint64_t payload_volume_bytes;

    /* Do not try keyslots with more iterations (max-pbkdf-iterations); 0: the default above. */
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
    GPtrArray *damage;          /* violates the specification, even if qcrypto_luks_open() accepts it */
    GPtrArray *unsupported;     /* algorithms that are not supported here */
    GPtrArray *remarks;         /* refused by QEMU alone */
} QCryptoLUKSFindings;

/* Check every field of the header, without a password. NULL if it could not be read or is not LUKS1. */
QCryptoLUKSFindings *qcrypto_luks_check(const QCryptoLUKSIO *io, const QCryptoLUKSOpenOptions *options, Error **errp);
void qcrypto_luks_findings_free(QCryptoLUKSFindings *findings);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoLUKSFindings, qcrypto_luks_findings_free)

/*
 * Read the header again. Keyslots that another handle or program has changed meanwhile are taken
 * over; any other change is an error. Every function that changes keyslots begins with this.
 */
bool qcrypto_luks_refresh(QCryptoLUKS *luks, const QCryptoLUKSIO *io, Error **errp);

/* Byte where the payload begins on its volume (for a header made to be detached: 0). */
uint64_t qcrypto_luks_payload_offset(const QCryptoLUKS *luks);

/* Bytes of the header volume that the header needs, from 0 to the end of the last key material. */
uint64_t qcrypto_luks_header_bytes(const QCryptoLUKS *luks);

/* Bytes of a payload sector. The payload is read and written in multiples of it. */
size_t qcrypto_luks_sector_size(const QCryptoLUKS *luks);

/* For payload sectors, numbered from 0; NULL unless opened with a password. Owned by @luks. */
const QCryptoSectorCipher *qcrypto_luks_sector_cipher(const QCryptoLUKS *luks);

bool qcrypto_luks_is_unlocked(const QCryptoLUKS *luks);

/*
 * For qemu-img info and QMP; free with qapi_free_QCryptoBlockInfoLUKS(). Unprintable bytes of the UUID are escaped.
 */
QCryptoBlockInfoLUKS *qcrypto_luks_get_info(const QCryptoLUKS *luks);

/*
 * The options that create a volume with the same cipher, mode, IV generator and hashes, for mirror
 * and convert. key-secret and iter-time are absent; so are all others if an algorithm is not
 * supported. Free with qapi_free_QCryptoBlockCreateOptionsLUKS().
 */
QCryptoBlockCreateOptionsLUKS *qcrypto_luks_get_create_options(const QCryptoLUKS *luks);

/*
 * Creating
 *
 * Defaults are QEMU's: aes-256, xts, plain64, sha256, 2000 ms; sha256 as ivgen-hash-alg of essiv
 * (accepted but without effect with other IV generators). key-secret is ignored: the password is a
 * parameter.
 */

/*
 * Check @options and set *@bytes (may be NULL) to the size of the header: the payload offset or,
 * for a detached header, the length that its volume needs. 2068480 with the defaults.
 */
bool qcrypto_luks_create_bytes(const QCryptoBlockCreateOptionsLUKS *options, uint64_t *bytes,
                              Error **errp);

typedef struct QCryptoLUKSCreateOptions {
    const QCryptoBlockCreateOptionsLUKS *options;
    const SecretBuffer *password;       /* opens keyslot 0; any bytes, may be empty */
    bool detached;                      /* payload offset 0 */

    /* Iterations of keyslot and digest. 0: measure as many as iter-time asks for. */
    uint32_t force_iterations;
} QCryptoLUKSCreateOptions;

/*
 * Write a new header with a new master key and UUID, and return it opened. This destroys what was
 * in the header area, without asking. @io->length must be at least qcrypto_luks_create_bytes().
 *
 * An old magic is removed first, and the sector with the new one is written after everything else
 * is flushed: a power cut or an error leaves either no LUKS header at all or the finished one.
 */
QCryptoLUKS *qcrypto_luks_create(const QCryptoLUKSIO *io, const QCryptoLUKSCreateOptions *options,
                                 Error **errp);

/*
 * Keyslots
 *
 * Slots are 0..7; -1 lets the function choose. After a power cut at any point, at least one
 * password that worked before, or its replacement, still works, unless @force permitted its loss.
 */
#define QCRYPTO_LUKS_SLOT_ANY (-1)

bool qcrypto_luks_keyslot_is_active(const QCryptoLUKS *luks, int slot);
unsigned qcrypto_luks_keyslots_active(const QCryptoLUKS *luks);

/* The lowest inactive keyslot, or -1. */
int qcrypto_luks_keyslot_find_free(const QCryptoLUKS *luks);

/*
 * The lowest active keyslot (@slot itself, unless it is -1) that @password opens, or -1 with
 * an error; *@failure (may be NULL) tells a wrong password from other errors. @luks need not be
 * unlocked.
 */
int qcrypto_luks_keyslot_find(const QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                              const SecretBuffer *password, int slot,
                              QCryptoLUKSFailure *failure, Error **errp);

typedef struct QCryptoLUKSKeyslotOptions {
    const SecretBuffer *new_password;
    int slot;                       /* QCRYPTO_LUKS_SLOT_ANY: the lowest inactive one */
    uint64_t iter_time_ms;          /* 0: QCRYPTO_LUKS_DEFAULT_ITER_TIME_MS */
    bool force;                     /* may overwrite an active @slot */
    uint32_t force_iterations;      /* 0: measure as many as iter_time_ms asks for */
} QCryptoLUKSKeyslotOptions;

/*
 * Add @options->new_password. @luks must be unlocked. Sets *@slot (may be NULL) to the keyslot
 * used. The new keyslot is read back and proven to give the master key before it becomes active.
 * With @force, the new password is stored in a free keyslot, if there is one, until it has replaced
 * the active one.
 */
bool qcrypto_luks_keyslot_add(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                              const QCryptoLUKSKeyslotOptions *options, int *slot, Error **errp);

/*
 * Overwrite the key material of @slot with random bytes @passes times (0:
 * QCRYPTO_LUKS_DEFAULT_PASSES), flushing each time, read the last back, then mark it inactive.
 * Without @force, an inactive slot and the last active one are refused. Needs no password. After a
 * power cut either the password still works, or @slot is active but its material is destroyed:
 * remove it again.
 */
bool qcrypto_luks_keyslot_remove(QCryptoLUKS *luks, const QCryptoLUKSIO *io, int slot,
                                 unsigned passes, bool force, Error **errp);

/*
 * Remove every keyslot that @password opens, and set bit N of *@removed (may be NULL) for each such keyslot N. If
 * there is none, or none would be left and @force is not set, fails without writing.
 */
bool qcrypto_luks_keyslot_remove_password(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                          const SecretBuffer *password, unsigned passes,
                                          bool force, unsigned *removed,
                                          QCryptoLUKSFailure *failure, Error **errp);

/*
 * Replace @old_password by @options->new_password: add the new one, prove that it opens the volume,
 * then remove the lowest keyslot that the old one opens. @luks need not be unlocked.
 *
 * @options->slot -1 stands for the lowest free keyslot. If it names the old keyslot itself, the new
 * password is stored in a free keyslot first, then in the old one. Another active keyslot needs
 * @options->force. If no keyslot is free, fails, unless @options->force permits overwriting the old
 * keyslot in place: then a power cut may leave neither password working. Sets *@old_slot and *@slot
 * (each may be NULL) to the keyslots of the old and the new password, which may be the same.
 */
bool qcrypto_luks_keyslot_change(QCryptoLUKS *luks, const QCryptoLUKSIO *io,
                                 const SecretBuffer *old_password,
                                 const QCryptoLUKSKeyslotOptions *options, int *old_slot, int *slot,
                                 QCryptoLUKSFailure *failure, Error **errp);

/*
 * Secure erase
 *
 * A plan lists the regions to overwrite. Running it overwrites them in order: key material first,
 * the sectors with the magic last, so that it can be repeated after a power cut. Making a plan only
 * reads, needs no password, and tolerates damaged fields: @notes lists what could not be located. A
 * caller may append regions of its own, such as the payload, before running it.
 */
typedef enum QCryptoLUKSEraseScope {
    QCRYPTO_LUKS_ERASE_KEY_MATERIAL,    /* all key material; then mark the keyslots inactive */
    QCRYPTO_LUKS_ERASE_HEADER,          /* up to the payload, or all of a detached header */
} QCryptoLUKSEraseScope;

typedef struct QCryptoLUKSRegion {
    uint64_t offset;        /* bytes, multiple of 512 */
    uint64_t length;
    char *what;             /* "keyslot 0 material", "header", "header padding" */
    int keyslot;            /* -1 if it is not key material */
    uint64_t written;       /* bytes from its start that were overwritten at least once, flushed or not */
    unsigned passes;        /* done so far, and flushed */
    bool verified;          /* the last pass was read back and found as written */
} QCryptoLUKSRegion;

typedef struct QCryptoLUKSErasePlan {
    QCryptoLUKSEraseScope scope;
    GArray *regions;                /* of QCryptoLUKSRegion */
    GPtrArray *notes;               /* of char *: what is damaged and could not be located */
    uint64_t header_end;            /* end of the header area, perhaps a guess */
    uint64_t payload_offset;        /* the same; 0 if detached */
    bool detached;
} QCryptoLUKSErasePlan;

/* @detached: the payload is elsewhere. Fails for LUKS2, and if no LUKS header or keyslot can be found. */
QCryptoLUKSErasePlan *qcrypto_luks_erase_plan_new(const QCryptoLUKSIO *io,
                                                  QCryptoLUKSEraseScope scope, bool detached,
                                                  Error **errp);

/* A plan for regions that the caller appends: a payload on another volume, for example. */
QCryptoLUKSErasePlan *qcrypto_luks_erase_plan_new_empty(void);
void qcrypto_luks_erase_plan_free(QCryptoLUKSErasePlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QCryptoLUKSErasePlan, qcrypto_luks_erase_plan_free)

/* Append a region to the plan, to be overwritten last. @what is copied. */
void qcrypto_luks_erase_plan_append(QCryptoLUKSErasePlan *plan, uint64_t offset, uint64_t length,
                                    const char *what);

/*
 * Overwrite every region @passes times (0: QCRYPTO_LUKS_DEFAULT_PASSES) with random bytes, flush
 * after each pass, and read the last one back. Updates the regions of @plan, also when it fails.
 */
bool qcrypto_luks_erase_run(const QCryptoLUKSIO *io, QCryptoLUKSErasePlan *plan, unsigned passes,
                            Error **errp);

/*
 * Backup and restore
 */

/* No known program makes a header larger than a quarter of this. */
#define QCRYPTO_LUKS_MAX_BACKUP_BYTES (16 * 1024 * 1024)

/*
 * Copy the header area: from byte 0 to the payload or, for a detached header, to the end of the key
 * material. It must pass all checks of qcrypto_luks_open(). Together with a password the backup
 * opens the volume, so keep it as safe.
 */
SecretBuffer *qcrypto_luks_backup(const QCryptoLUKSIO *io, bool detached, Error **errp);

/*
 * Write @backup back. It must be a valid header. Unless @force is set, it must fit the volume: if
 * that begins with a LUKS header, even a damaged one, payload offset, key size and UUID must be the
 * same. A volume without the magic is assumed to have lost its header. @payload_volume_bytes as in
 * QCryptoLUKSOpenOptions.
 *
 * If the header on the volume is valid and has the same master key, keyslots are replaced one by
 * one: after a power cut or an error, each old password works until the backup's password for its
 * keyslot does (with eight keyslots active in both, all but one). Otherwise the magic is removed
 * first and written last: a power cut leaves no LUKS header, and restoring can be repeated.
 *
 * Passwords removed since the backup was made work again: the caller warns of that.
 */
bool qcrypto_luks_restore(const QCryptoLUKSIO *io, const SecretBuffer *backup, bool detached,
                          uint64_t payload_volume_bytes, bool force, Error **errp);

#endif
