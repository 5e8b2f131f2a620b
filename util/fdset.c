/*
 * Sets of file descriptors that somebody else has opened for us
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"
#include "util/fdset.h"

#define PATH_PREFIX "/dev/fdset/"

typedef struct Entry {
    int64_t id;
    int fd;
    char *opaque;
} Entry;

static GMutex lock;
static GArray *entries;     /* of Entry, sorted by id */

void fdset_add(int64_t *id, int fd, const char *opaque)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    guint pos = 0;

    if (!entries) {
        entries = g_array_new(FALSE, FALSE, sizeof(Entry));
    }
    if (*id < 0) {
        for (*id = 0; pos < entries->len && g_array_index(entries, Entry, pos).id <= *id; pos++) {
            *id = g_array_index(entries, Entry, pos).id + 1;
        }
    }
    for (pos = 0; pos < entries->len && g_array_index(entries, Entry, pos).id <= *id; pos++) {
        /* behind those of the same set */
    }
    Entry entry = { .id = *id, .fd = fd, .opaque = g_strdup(opaque) };
    g_array_insert_val(entries, pos, entry);
}

bool fdset_remove(int64_t id, int64_t fd, Error **errp)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    bool found = false;

    for (guint i = 0; entries && i < entries->len;) {
        Entry *entry = &g_array_index(entries, Entry, i);

        if (entry->id != id || (fd != -1 && entry->fd != fd)) {
            i++;
            continue;
        }
        close(entry->fd);
        g_free(entry->opaque);
        g_array_remove_index(entries, i);
        found = true;
    }
    if (!found && fd != -1) {
        error_setg(errp, "File descriptor named 'fdset-id:%" PRId64 ", fd:%" PRId64 "' not found", id, fd);
    } else if (!found) {
        error_setg(errp, "File descriptor named 'fdset-id:%" PRId64 "' not found", id);
    }
    if (entries && entries->len == 0) {
        g_clear_pointer(&entries, g_array_unref);
    }
    return found;
}

void fdset_foreach(void (*fn)(int64_t id, int fd, const char *fd_opaque, void *opaque), void *opaque)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);

    for (guint i = 0; entries && i < entries->len; i++) {
        Entry *entry = &g_array_index(entries, Entry, i);
        fn(entry->id, entry->fd, entry->opaque, opaque);
    }
}

/* A copy of a descriptor of set @id with the access mode of @flags. */
static int dup_from_set(int64_t id, int flags)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    int ret = -ENOENT;

    for (guint i = 0; entries && i < entries->len; i++) {
        Entry *entry = &g_array_index(entries, Entry, i);

        if (entry->id != id) {
            continue;
        }
        int have = fcntl(entry->fd, F_GETFL);
        if (have >= 0 && (have & O_ACCMODE) == (flags & O_ACCMODE)) {
            int fd = fcntl(entry->fd, F_DUPFD_CLOEXEC, 0);
            return fd < 0 ? -errno : fd;
        }
        ret = -EACCES;
    }
    return ret;
}

int qemu_open(const char *path, int flags)
{
    guint64 id;

    if (g_str_has_prefix(path, PATH_PREFIX)) {
        return g_ascii_string_to_unsigned(path + strlen(PATH_PREFIX), 10, 0, INT64_MAX, &id, NULL)
               ? dup_from_set(id, flags) : -EINVAL;
    }
    int fd = RETRY_ON_EINTR(open(path, flags | O_CLOEXEC));
    return fd < 0 ? -errno : fd;
}
