/*
 * Secure erase on block devices: what sysfs tells about them and the devices below
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <linux/loop.h>
#include <sys/sysmacros.h>

#include "block/drivers/file-erase.h"

/* More layers of storage than anybody uses. */
#define MAX_DEPTH 8

#define OVERWRITTEN SECURE_ERASE_ASSURANCE_OVERWRITTEN
#define MAY_SURVIVE SECURE_ERASE_ASSURANCE_MAY_SURVIVE
#define UNKNOWN SECURE_ERASE_ASSURANCE_UNKNOWN

/* @dir is the device's directory in sysfs, @name its last component. */
typedef void JudgeFunc(const char *dir, const char *name, unsigned depth, BdrvEraseInfo *info);

char *erase_sysfs_dir(dev_t dev)
{
    g_autofree char *link = g_strdup_printf("%s/dev/block/%u:%u", erase_host.sysfs, major(dev), minor(dev));

    return realpath(link, NULL);
}

static bool attr_is(const char *dir, const char *attr, const char *value)
{
    g_autofree char *text = erase_read_text(dir, attr);

    return text && !strcmp(text, value);
}

/* Judge each device below this one. False if there are none. */
static bool judge_slaves(const char *dir, unsigned depth, BdrvEraseInfo *info)
{
    g_autofree char *path = g_build_filename(dir, "slaves", NULL);
    g_autoptr(GDir) slaves = g_dir_open(path, 0, NULL);
    const char *slave;
    bool any = false;

    while (slaves && (slave = g_dir_read_name(slaves))) {
        g_autofree char *slave_dir = g_build_filename(path, slave, NULL);
        g_autofree char *dev = erase_read_text(slave_dir, "dev");
        unsigned major_nr, minor_nr;

        any = true;
        if (!dev || sscanf(dev, "%u:%u", &major_nr, &minor_nr) != 2) {
            erase_note(info, UNKNOWN, "%s: could not be examined", slave);
        } else {
            erase_judge_device(makedev(major_nr, minor_nr), depth + 1, info);
        }
    }
    return any;
}

/* Whether @fd is the backing file of loop device @name. */
static bool is_backing_file(const char *name, int fd)
{
    g_autofree char *node = g_build_filename("/dev", name, NULL);
    g_auto_fd int loop_fd = open(node, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct loop_info64 loop;
    struct stat st;

    return loop_fd >= 0 && erase_host.ioctl(loop_fd, LOOP_GET_STATUS64, &loop) == 0 &&
           erase_host.fstat(fd, &st) == 0 && loop.lo_device == st.st_dev && loop.lo_inode == st.st_ino;
}

static void judge_loop(const char *dir, const char *name, unsigned depth, BdrvEraseInfo *info)
{
    g_autofree char *path = erase_read_text(dir, "loop/backing_file");
    g_auto_fd int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

    if (fd < 0 || !is_backing_file(name, fd)) {
        erase_note(info, UNKNOWN, "%s: the file behind this loop device could not be examined", name);
        return;
    }
    erase_note(info, OVERWRITTEN, "%s: loop device on %s", name, path);
    /* The position of the range in that file is unknown here, so judge all of it. */
    erase_judge_fd(fd, 0, UINT64_MAX, depth + 1, info);
}

/* Names of the hidden volumes that LVM volumes are built on. */
static const struct {
    const char *suffix;     /* suffix of the UUID */
    const char *what;
} lvm_parts[] = {
    { "-tpool", "a thin volume" },
    { "-cow",   "a snapshot" },
    { "-real",  "a volume with snapshots, or a snapshot," },
    { "-vpool", "a deduplicated volume" },
    { "-cpool", "a cached volume" },
    { "-cvol",  "a cached volume" },
    { "-corig", "a cached volume" },
};

/* Whether an LVM volume is plain: on plain disks, partitions or dm-crypt. */
static bool lvm_is_plain(const char *dir, const char *name, BdrvEraseInfo *info)
{
    g_autofree char *path = g_build_filename(dir, "slaves", NULL);
    g_autoptr(GDir) slaves = g_dir_open(path, 0, NULL);
    const char *slave;

    while (slaves && (slave = g_dir_read_name(slaves))) {
        g_autofree char *slave_dir = g_build_filename(path, slave, NULL);
        g_autofree char *uuid = erase_read_text(slave_dir, "dm/uuid");

        for (size_t i = 0; uuid && i < G_N_ELEMENTS(lvm_parts); i++) {
            if (g_str_has_suffix(uuid, lvm_parts[i].suffix)) {
                erase_note(info, MAY_SURVIVE, "%s: %s of LVM keeps old content elsewhere", name,
                           lvm_parts[i].what);
                return false;
            }
        }
        if (uuid && g_str_has_prefix(uuid, "LVM-")) {
            erase_note(info, UNKNOWN, "%s: an LVM volume on hidden volumes of a kind that is not known", name);
            return false;
        }
    }
    return true;
}

static void judge_dm(const char *dir, const char *name, unsigned depth, BdrvEraseInfo *info)
{
    g_autofree char *uuid = erase_read_text(dir, "dm/uuid");
    g_autofree char *title = erase_read_text(dir, "dm/name");
    g_autofree char *label = g_strdup_printf("%s (%s)", name, title ?: "?");
    const char *kind = uuid ?: "";

    /* a partition of a mapped device */
    if (g_str_has_prefix(kind, "part") && strchr(kind, '-')) {
        kind = strchr(kind, '-') + 1;
    }
    if (g_str_has_prefix(kind, "LVM-")) {
        if (!lvm_is_plain(dir, label, info)) {
            return;
        }
        erase_note(info, OVERWRITTEN, "%s: LVM volume, overwritten in place", label);
    } else if (g_str_has_prefix(kind, "CRYPT-LUKS") || g_str_has_prefix(kind, "CRYPT-PLAIN-")) {
        erase_note(info, OVERWRITTEN, "%s: encrypted device, overwritten in place", label);
    } else if (g_str_has_prefix(kind, "mpath-")) {
        erase_note(info, OVERWRITTEN, "%s: multipath device", label);
    } else {
        erase_note(info, UNKNOWN, "%s: a mapped device that may be thin, a snapshot or cached", label);
        return;
    }
    if (!judge_slaves(dir, depth, info)) {
        erase_note(info, UNKNOWN, "%s: what it stands on is not known", label);
    }
}

static void judge_md(const char *dir, const char *name, unsigned depth, BdrvEraseInfo *info)
{
    g_autofree char *level = erase_read_text(dir, "md/level");
    static const char *const levels[] = {
        "linear", "raid0", "raid1", "raid10", "raid4", "raid5", "raid6", NULL
    };

    if (!level || !g_strv_contains(levels, level)) {
        erase_note(info, UNKNOWN, "%s: an array of a kind that is not known", name);
        return;
    }
    if (attr_is(dir, "md/consistency_policy", "journal")) {
        erase_note(info, MAY_SURVIVE, "%s: the array's journal may hold copies", name);
    }
    erase_note(info, OVERWRITTEN, "%s: %s array, overwritten in place", name, level);
    if (!judge_slaves(dir, depth, info)) {
        erase_note(info, UNKNOWN, "%s: what it stands on is not known", name);
    }
}

/* Whether this is a virtual machine: its disks are files or networks of the host. */
static bool is_virtual(const char *dir)
{
    g_autofree char *cpuinfo = erase_read_text(erase_host.proc, "cpuinfo");
    g_autofree char *model = erase_read_text(dir, "device/model");
    static const char *const models[] = { "QEMU", "VBOX", "Virtual", "VMware" };

    for (size_t i = 0; model && i < G_N_ELEMENTS(models); i++) {
        if (strstr(model, models[i])) {
            return true;
        }
    }
    return cpuinfo && strstr(cpuinfo, " hypervisor");
}

static void judge_disk(const char *dir, const char *name, unsigned depth, BdrvEraseInfo *info)
{
    if (is_virtual(dir)) {
        erase_note(info, UNKNOWN, "%s: disk of a virtual machine; how its host stores it is not visible from "
                   "here", name);
    } else if (attr_is(dir, "queue/rotational", "0")) {
        erase_note(info, MAY_SURVIVE, "%s: flash storage writes new content elsewhere; only the device's own "
                   "secure erase reaches the old", name);
    } else if (!attr_is(dir, "queue/rotational", "1")) {
        erase_note(info, UNKNOWN, "%s: the kernel does not tell what kind of device this is", name);
    } else if (!attr_is(dir, "queue/zoned", "none")) {
        erase_note(info, MAY_SURVIVE, "%s: a zoned disk does not overwrite in place", name);
    } else if (strstr(dir, "/ata") || strstr(dir, "/end_device-")) {
        erase_note(info, OVERWRITTEN, "%s: disk, overwritten in place but for sectors that it has taken out "
                   "of use or keeps in a cache of its own", name);
    } else {
        erase_note(info, UNKNOWN, "%s: a disk on a bus behind which anything may stand", name);
    }
}

static void judge_network(const char *dir, const char *name, unsigned depth, BdrvEraseInfo *info)
{
    erase_note(info, UNKNOWN, "%s: what stores this device is not visible from here", name);
}

static void judge_elsewhere(const char *dir, const char *name, unsigned depth, BdrvEraseInfo *info)
{
    erase_note(info, MAY_SURVIVE, "%s: writes new content elsewhere and leaves the old in place", name);
}

static void judge_ram(const char *dir, const char *name, unsigned depth, BdrvEraseInfo *info)
{
    erase_note(info, OVERWRITTEN, "%s: overwrites in memory", name);
}

static const struct {
    const char *prefix;     /* of the name; followed by a number or, for disks, a letter */
    JudgeFunc *judge;
} devices[] = {
    { "loop",   judge_loop },
    { "dm-",    judge_dm },
    { "md",     judge_md },
    { "sd",     judge_disk },
    { "nvme",   judge_disk },
    { "mmcblk", judge_disk },
    { "vd",     judge_network },
    { "xvd",    judge_network },
    { "nbd",    judge_network },
    { "rbd",    judge_network },
    { "drbd",   judge_network },
    { "zd",     judge_elsewhere },
    { "bcache", judge_elsewhere },
    { "ram",    judge_ram },
};

void erase_judge_device(dev_t dev, unsigned depth, BdrvEraseInfo *info)
{
    g_autofree char *dir = erase_sysfs_dir(dev);

    if (depth > MAX_DEPTH) {
        erase_note(info, UNKNOWN, "too many layers of storage to follow");
        return;
    }
    if (!dir) {
        erase_note(info, UNKNOWN, "device %u:%u could not be examined", major(dev), minor(dev));
        return;
    }
    /* The directory of a partition is inside that of its disk. */
    g_autofree char *partition = erase_read_text(dir, "partition");
    if (partition) {
        char *disk = g_path_get_dirname(dir);
        g_free(dir);
        dir = disk;
    }
    g_autofree char *name = g_path_get_basename(dir);
    for (size_t i = 0; i < G_N_ELEMENTS(devices); i++) {
        if (g_str_has_prefix(name, devices[i].prefix)) {
            devices[i].judge(dir, name, depth, info);
            return;
        }
    }
    erase_note(info, UNKNOWN, "%s: a kind of device that is not known", name);
}
