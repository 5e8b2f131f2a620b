/*
 * Connecting to a Ceph cluster, and opening an image there
 *
 * All of this blocks, and runs on threads of its own. librados would write its own messages to standard error. That is
 * turned off; the errors here tell what was missing, and where it was looked for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <netdb.h>

#include "block/drivers.h"
#include "block/drivers/rbd.h"
#include "crypto/secret.h"
#include "qapi/qapi.h"

/* Maximum number of other pools that an error lists. */
#define MAX_POOLS_LISTED 20
/* For values of settings: lists of monitors and of files. */
#define MAX_SETTING_BYTES 4096
/* A key of cephx begins with its type (2 bytes) and time (8), then comes the length of the rest (2, little endian). */
#define KEY_LENGTH_OFFSET 10

static bool is_cephx_key(const uint8_t *data, size_t len)
{
    const size_t before = KEY_LENGTH_OFFSET + 2;

    return len > before && data[KEY_LENGTH_OFFSET] + (size_t)256 * data[KEY_LENGTH_OFFSET + 1] == len - before;
}

/* For an invalid key, librados only reports "Invalid argument". */
static bool check_key(const RBDOpen *open, Error **errp)
{
    if (is_cephx_key(open->key->data, open->key->len)) {
        return true;
    }
    char *text = g_strndup((const char *)open->key->data, open->key->len);
    size_t len;
    guchar *decoded = g_base64_decode(text, &len);
    bool is_base64 = is_cephx_key(decoded, len);

    secret_wipe(text, strlen(text));
    secret_wipe(decoded, len);
    g_free(text);
    g_free(decoded);
    error_setg(errp, "RBD image '%s': secret '%s' of key-secret is not the key of a Ceph client%s", open->name,
               open->location->key_secret, is_base64 ? ", but the base64 form of one" : "");
    if (is_base64) {
        error_append_hint(errp, "Add format=base64 to the secret object.\n");
    } else {
        error_append_hint(errp, "\"ceph auth get-key client.%s\" prints the key; the secret object for it needs "
                          "format=base64.\n", open->location->user ?: "admin");
    }
    return false;
}

static bool check_ports(const RBDOpen *open, Error **errp)
{
    const InetSocketAddressBaseList *servers = open->location->server;
    guint64 port;

    for (size_t i = 0; servers && i < servers->n; i++) {
        if (!g_ascii_string_to_unsigned(servers->items[i]->port, 10, 1, UINT16_MAX, &port, NULL)) {
            error_setg(errp, "RBD image '%s': port '%s' of monitor '%s' is not a number from 1 to %d", open->name,
                       servers->items[i]->port, servers->items[i]->host, UINT16_MAX);
            return false;
        }
    }
    return true;
}

RBDOpen *qemu_rbd_open_new(const BlockdevOptionsRbd *location, bool direct, bool read_only, Error **errp)
{
    RBDOpen *open = g_new0(RBDOpen, 1);

    open->location = QAPI_CLONE(BlockdevOptionsRbd, location);
    open->name = g_strdup_printf("%s%s%s/%s%s%s", location->pool, location->namespace ? "/" : "",
                                 location->namespace ?: "", location->image, location->snapshot ? "@" : "",
                                 location->snapshot ?: "");
    open->direct = direct;
    open->read_only = read_only;
    if (location->key_secret) {
        open->key = qcrypto_secret_lookup(location->key_secret, errp);
        if (!open->key || !check_key(open, errp)) {
            qemu_rbd_open_free(open);
            return NULL;
        }
    }
    if (!check_ports(open, errp)) {
        qemu_rbd_open_free(open);
        return NULL;
    }
    if (location->encrypt && !qemu_rbd_open_set_passphrase(open, location->encrypt->u.luks.key_secret, errp)) {
        qemu_rbd_open_free(open);
        return NULL;
    }
    return open;
}

bool qemu_rbd_open_set_passphrase(RBDOpen *open, const char *secret, Error **errp)
{
    open->passphrase = qcrypto_secret_lookup(secret, errp);
    return open->passphrase;
}

void qemu_rbd_open_free(RBDOpen *open)
{
    if (open) {
        qemu_rbd_image_free(open->image);
        qapi_free(&qapi_type_BlockdevOptionsRbd, open->location);
        secret_buffer_free(open->key);
        secret_buffer_free(open->passphrase);
        g_free(open->name);
        error_free(open->err);
        g_free(open);
    }
}

/* The value of a setting of @cluster; "" if it has none. Caller frees. */
static char *setting_get(rados_t cluster, const char *name)
{
    g_autofree char *value = g_malloc0(MAX_SETTING_BYTES);

    if (librbd.rados_conf_get(cluster, name, value, MAX_SETTING_BYTES) < 0) {
        *value = '\0';
    }
    return g_strdup(value);
}

static bool setting_set(RBDOpen *open, rados_t cluster, const char *name, const char *value)
{
    int ret = librbd.rados_conf_set(cluster, name, value);

    if (ret < 0) {
        error_setg_errno(&open->err, -ret, "RBD image '%s': librados rejects the setting '%s'", open->name, name);
    }
    return ret == 0;
}

/* Set a time-out unless the configuration has set it: it still has the value @unset. */
static bool timeout_set(RBDOpen *open, rados_t cluster, const char *name, double unset)
{
    g_autofree char *value = setting_get(cluster, name);
    g_autofree char *limit = g_strdup_printf("%d", QEMU_RBD_TIMEOUT_S);

    return g_ascii_strtod(value, NULL) != unset || setting_set(open, cluster, name, limit);
}

static bool settings_read_file(RBDOpen *open, rados_t cluster)
{
    const char *conf = open->location->conf;
    int ret = librbd.rados_conf_read_file(cluster, conf);

    open->has_conf = ret == 0;
    /* Without one, other options may name the monitors. */
    if (ret == 0 || (!conf && ret == -ENOENT)) {
        return true;
    }
    error_setg_errno(&open->err, -ret, "RBD image '%s': could not read Ceph's configuration file%s%s%s", open->name,
                     conf ? " '" : "", conf ?: "", conf ? "'" : "");
    return false;
}

static bool settings_set_key(RBDOpen *open, rados_t cluster)
{
    if (!open->key) {
        return true;
    }
    char *text = g_base64_encode(open->key->data, open->key->len);
    bool ok = setting_set(open, cluster, "key", text);

    secret_wipe(text, strlen(text));
    g_free(text);
    return ok;
}

static bool settings_set_monitors(RBDOpen *open, rados_t cluster)
{
    const InetSocketAddressBaseList *servers = open->location->server;
    g_autoptr(GString) list = g_string_new(NULL);

    if (!servers || servers->n == 0) {
        return true;
    }
    for (size_t i = 0; i < servers->n; i++) {
        bool is_ipv6 = strchr(servers->items[i]->host, ':');

        g_string_append_printf(list, "%s%s%s%s:%s", i ? "," : "", is_ipv6 ? "[" : "", servers->items[i]->host,
                               is_ipv6 ? "]" : "", servers->items[i]->port);
    }
    return setting_set(open, cluster, "mon_host", list->str);
}

static bool settings_set_auth(RBDOpen *open, rados_t cluster)
{
    const RbdAuthModeList *modes = open->location->auth_client_required;
    g_autoptr(GString) list = g_string_new(NULL);

    for (size_t i = 0; modes && i < modes->n; i++) {
        g_string_append_printf(list, "%s%s", i ? ";" : "", RbdAuthMode_str(modes->items[i]));
    }
    return list->len == 0 || setting_set(open, cluster, "auth_client_required", list->str);
}

static bool settings_set_all(RBDOpen *open, rados_t cluster)
{
    return settings_read_file(open, cluster) && settings_set_key(open, cluster) &&
           settings_set_monitors(open, cluster) && settings_set_auth(open, cluster) &&
           setting_set(open, cluster, "log_to_stderr", "false") &&
           setting_set(open, cluster, "err_to_stderr", "false") &&
           setting_set(open, cluster, "rbd_cache", open->direct ? "false" : "true") &&
           /* Requests may be given up while librbd still uses them, so it must copy the data to write. */
           setting_set(open, cluster, "rbd_disable_zero_copy_writes", "true") &&
           timeout_set(open, cluster, "client_mount_timeout", 300) &&
           timeout_set(open, cluster, "rados_mon_op_timeout", 0);
}

/* False with @open->err if @host, the name of a monitor, has no address. */
static bool host_check(RBDOpen *open, const char *host)
{
    struct addrinfo *addresses = NULL;
    int ret = getaddrinfo(host, NULL, NULL, &addresses);

    if (ret) {
        error_setg(&open->err, "RBD image '%s': could not resolve the monitor's host name '%s': %s", open->name, host,
                   gai_strerror(ret));
    } else {
        freeaddrinfo(addresses);
    }
    return ret == 0;
}

/*
 * Find errors in the list of monitors that librados would report on standard error. Entries are HOST, HOST:PORT,
 * v2:HOST:PORT, [v2:HOST:PORT/NONCE,v1:...], or with addresses for hosts.
 */
static bool monitors_check(RBDOpen *open, rados_t cluster)
{
    g_autofree char *monitors = setting_get(cluster, "mon_host");
    g_auto(GStrv) names = g_strsplit_set(monitors, "[];, \t", -1);

    /* Without monitors, librados would query the DNS for services. That is only intended with a configuration file. */
    if (!*monitors && !open->has_conf) {
        error_setg(&open->err, "RBD image '%s': no monitor is known: there is no configuration file", open->name);
        error_append_hint(&open->err, "Ceph looks for $CEPH_CONF, /etc/ceph/ceph.conf, ~/.ceph/ceph.conf and "
                          "ceph.conf. Specify one with the option conf, or monitors with server.\n");
        return false;
    }
    for (char **name = names; *name; name++) {
        bool has_version = g_str_has_prefix(*name, "v1:") || g_str_has_prefix(*name, "v2:");
        char *host = *name + (has_version ? strlen("v1:") : 0);
        const char *colon = strchr(host, ':');
        bool is_ipv6 = colon && strchr(colon + 1, ':');

        host[strcspn(host, ":/")] = '\0';
        if (*host && !is_ipv6 && !host_check(open, host)) {
            return false;
        }
    }
    return true;
}

/* rados_connect() has failed: report what was missing. */
static void explain_connect(RBDOpen *open, rados_t cluster, int ret)
{
    const char *user = open->location->user ?: "admin";
    g_autofree char *monitors = setting_get(cluster, "mon_host");
    g_autofree char *keyring = setting_get(cluster, "keyring");
    g_autofree char *limit = setting_get(cluster, "client_mount_timeout");
    g_autofree char *auth = setting_get(cluster, "auth_client_required");

    if (ret == -ETIMEDOUT) {
        error_setg(&open->err, "RBD image '%s': could not log in to a monitor within %d seconds; tried %s", open->name,
                   (int)g_ascii_strtod(limit, NULL), monitors);
        /* A rejected client keeps trying if the port might be that of the other protocol version. */
        error_append_hint(&open->err, "Check that the cluster runs and can be reached from here, and that client.%s "
                          "has the right key.\n", user);
    } else if (!*monitors && ret == -ENOENT) {
        error_setg(&open->err, "RBD image '%s': no monitor is known: %s%s%s has no mon_host", open->name,
                   open->location->conf ? "'" : "", open->location->conf ?: "the configuration file",
                   open->location->conf ? "'" : "");
        error_append_hint(&open->err, "Add the setting there, or specify monitors with the option server.\n");
    } else if (ret == -ENOENT && !open->key) {
        /* The default ends in a comma. */
        if (g_str_has_suffix(keyring, ",")) {
            keyring[strlen(keyring) - 1] = '\0';
        }
        error_setg(&open->err, "RBD image '%s': found no key for client.%s in %s", open->name, user, keyring);
        error_append_hint(&open->err, "Specify the client with the option user, a keyring in the configuration file, "
                          "or a secret with key-secret.\n");
    } else if ((ret == -EACCES || ret == -EPERM) && g_str_equal(auth, "none")) {
        error_setg(&open->err, "RBD image '%s': the cluster requires authentication with a key (cephx), but "
                   "auth-client-required is 'none'", open->name);
        error_append_hint(&open->err, "Remove that option, or the setting in the configuration file.\n");
    } else if (ret == -EACCES || ret == -EPERM) {
        error_setg(&open->err, "RBD image '%s': the cluster does not accept the key of client.%s", open->name, user);
        error_append_hint(&open->err, "Compare with \"ceph auth get client.%s\".\n", user);
    } else {
        error_setg_errno(&open->err, -ret, "RBD image '%s': could not connect as client.%s to %s", open->name, user,
                         *monitors ? monitors : "the cluster");
    }
}

static bool cluster_connect(rados_t *cluster, RBDOpen *open)
{
    if (!qemu_rbd_load_library(&open->err)) {
        return false;
    }
    int ret = librbd.rados_create(cluster, open->location->user);

    if (ret < 0) {
        error_setg_errno(&open->err, -ret, "RBD image '%s': could not initialise librados", open->name);
        return false;
    }
    bool ok = settings_set_all(open, *cluster) && monitors_check(open, *cluster);
    ret = ok ? librbd.rados_connect(*cluster) : 0;
    if (ret < 0) {
        explain_connect(open, *cluster, ret);
    }
    if (!ok || ret < 0) {
        librbd.rados_shutdown(*cluster);
        return false;
    }
    return true;
}

/* The names of the pools: "'a', 'b'"; NULL where there are none. Caller frees. */
static char *pool_names(rados_t cluster)
{
    int bytes = librbd.rados_pool_list(cluster, NULL, 0);
    g_autofree char *names = bytes > 0 ? g_malloc0(bytes + 2) : NULL;
    g_autoptr(GString) text = g_string_new(NULL);

    if (!names || librbd.rados_pool_list(cluster, names, bytes) > bytes) {
        return NULL;
    }
    unsigned n = 0;
    for (const char *name = names; *name && n < MAX_POOLS_LISTED; name += strlen(name) + 1, n++) {
        g_string_append_printf(text, "%s'%s'", n ? ", " : "", name);
    }
    return n ? bdrv_printable(text->str) : NULL;
}

static void explain_pool(RBDOpen *open, rados_t cluster, int ret)
{
    g_autofree char *names = ret == -ENOENT ? pool_names(cluster) : NULL;

    if (ret != -ENOENT) {
        error_setg_errno(&open->err, -ret, "RBD image '%s': could not open pool '%s'", open->name,
                         open->location->pool);
        return;
    }
    error_setg(&open->err, "RBD image '%s': the cluster has no pool '%s'", open->name, open->location->pool);
    if (names) {
        error_append_hint(&open->err, "It has %s.\n", names);
    }
}

static bool namespace_set(RBDPool *pool, RBDOpen *open)
{
    const char *namespace = open->location->namespace;
    bool exists = false;

    if (!namespace || !*namespace) {
        return true;
    }
    int ret = librbd.rbd_namespace_exists(pool->io, namespace, &exists);
    if (ret < 0) {
        qemu_rbd_explain(open, ret, "look for its namespace");
    } else if (!exists) {
        error_setg(&open->err, "RBD image '%s': pool '%s' has no namespace '%s'", open->name, open->location->pool,
                   namespace);
    } else {
        librbd.rados_ioctx_set_namespace(pool->io, namespace);
    }
    return ret == 0 && exists;
}

bool qemu_rbd_pool_connect(RBDPool *pool, RBDOpen *open)
{
    if (!cluster_connect(&pool->cluster, open)) {
        return false;
    }
    int ret = librbd.rados_ioctx_create(pool->cluster, open->location->pool, &pool->io);
    if (ret < 0) {
        explain_pool(open, pool->cluster, ret);
        librbd.rados_shutdown(pool->cluster);
        pool->io = NULL;
        return false;
    }
    if (!namespace_set(pool, open)) {
        qemu_rbd_pool_disconnect(pool);
        return false;
    }
    return true;
}

void qemu_rbd_pool_disconnect(RBDPool *pool)
{
    if (pool->io) {
        librbd.rados_ioctx_destroy(pool->io);
        librbd.rados_shutdown(pool->cluster);
        pool->io = NULL;
    }
}

void qemu_rbd_explain(RBDOpen *open, int ret, const char *what)
{
    const char *user = open->location->user ?: "admin";

    if (ret == -EPERM || ret == -EACCES) {
        error_setg(&open->err, "RBD image '%s': client.%s has no permission to %s", open->name, user, what);
        error_append_hint(&open->err, "Check its caps with \"ceph auth get client.%s\": reading needs \"profile "
                          "rbd-read-only\" for pool '%s', all else \"profile rbd\".\n", user, open->location->pool);
    } else {
        error_setg_errno(&open->err, -ret, "RBD image '%s': could not %s", open->name, what);
    }
}

static void explain_image(RBDOpen *open, const RBDPool *pool, int ret)
{
    const BlockdevOptionsRbd *o = open->location;
    rbd_image_t image;

    if (ret == -ENOENT && o->snapshot && librbd.rbd_open_read_only(pool->io, o->image, &image, NULL) == 0) {
        error_setg(&open->err, "RBD image '%s': it has no snapshot '%s'", open->name, o->snapshot);
        librbd.rbd_close(image);
    } else if (ret == -ENOENT) {
        error_setg(&open->err, "RBD image '%s': pool '%s' has no image '%s'%s%s%s", open->name, o->pool, o->image,
                   o->namespace ? " in namespace '" : "", o->namespace ?: "", o->namespace ? "'" : "");
    } else {
        qemu_rbd_explain(open, ret, open->read_only || o->snapshot ? "open it" : "open it for writing");
    }
}

/* Whether @i is a clone. */
static bool image_has_parent(const RBDImage *i)
{
    rbd_linked_image_spec_t parent;
    rbd_snap_spec_t snapshot;
    int ret = librbd.rbd_get_parent(i->image, &parent, &snapshot);

    if (ret == 0) {
        librbd.rbd_linked_image_spec_cleanup(&parent);
        librbd.rbd_snap_spec_cleanup(&snapshot);
    }
    return ret != -ENOENT;
}

/* Get what the node needs to know about the image; false with @open->err. */
static bool image_read_info(RBDImage *i, RBDOpen *open)
{
    uint64_t features = 0, flags = 0;
    rbd_image_info_t raw, info;
    int ret = librbd.rbd_stat(i->image, &raw, sizeof(raw));

    i->size = ret == 0 ? raw.size : 0;
    if (ret == 0 && (!qemu_rbd_encryption_probe(i, open) ||
                     (open->passphrase && !qemu_rbd_encryption_load(i, open)))) {
        return false;
    }
    if (ret == 0) {
        ret = librbd.rbd_stat(i->image, &info, sizeof(info));
    }
    if (ret == 0) {
        ret = librbd.rbd_get_features(i->image, &features);
    }
    if (ret == 0) {
        ret = librbd.rbd_get_flags(i->image, &flags);
    }
    if (ret < 0) {
        qemu_rbd_explain(open, ret, "read its metadata");
        return false;
    }
    i->object_size = info.obj_size;
    i->size = info.size;
    i->header_bytes = raw.size - info.size;
    /* librbd does not notice changes of an image that is open read-only. */
    ret = i->read_only ? 0 : qemu_rbd_watch(i);
    if (ret < 0) {
        qemu_rbd_explain(open, ret, "watch it for changes");
        return false;
    }
    i->has_object_map = (features & RBD_FEATURE_FAST_DIFF) && !(flags & RBD_FLAG_FAST_DIFF_INVALID);
    /* For these, librbd 16 reports wrong offsets. */
    i->has_status = !(features & RBD_FEATURE_STRIPINGV2) && !i->is_encrypted && !image_has_parent(i);
    return true;
}

int qemu_rbd_open_worker(void *opaque)
{
    RBDOpen *open = opaque;
    const BlockdevOptionsRbd *o = open->location;
    RBDImage *i = qemu_rbd_image_new(open->name);

    if (!qemu_rbd_pool_connect(&i->pool, open)) {
        qemu_rbd_image_free(i);
        return -1;
    }
    i->read_only = open->read_only || o->snapshot;
    int ret = i->read_only ? librbd.rbd_open_read_only(i->pool.io, o->image, &i->image, o->snapshot)
                           : librbd.rbd_open(i->pool.io, o->image, &i->image, NULL);
    if (ret < 0) {
        i->image = NULL;
        explain_image(open, &i->pool, ret);
    }
    if (ret < 0 || !image_read_info(i, open)) {
        qemu_rbd_image_free(i);
        return -1;
    }
    open->image = i;
    return 0;
}
