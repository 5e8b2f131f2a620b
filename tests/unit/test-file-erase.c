/*
 * How reliably overwriting destroys data, on simulated hosts: file systems, extents, and trees of devices
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "util/osdep.h"

#include <glib/gstdio.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/sysmacros.h>

#include "block/drivers/file-erase.h"

#define EXT4 0xef53
#define XFS 0x58465342
#define BTRFS 0x9123683e
#define TMPFS 0x01021994

#define OVERWRITTEN SECURE_ERASE_ASSURANCE_OVERWRITTEN
#define MAY_SURVIVE SECURE_ERASE_ASSURANCE_MAY_SURVIVE
#define UNKNOWN SECURE_ERASE_ASSURANCE_UNKNOWN

/* The simulated host. Its files have extents of 4 KiB, all but one with the same flags. */
static char *root;
static uint32_t fs_type;
static mode_t mode;
static dev_t device;
static int attributes;
static uint32_t xflags;
static uint32_t extent_flags;
static int extent_number;       /* the one with these flags */
static int extent_count;
static bool has_fiemap;

static int fake_fstat(int fd, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_mode = mode;
    st->st_dev = st->st_rdev = device;
    return 0;
}

static int fake_fstatfs(int fd, struct statfs *fs)
{
    memset(fs, 0, sizeof(*fs));
    fs->f_type = fs_type;
    return 0;
}

static int fake_fiemap(struct fiemap *map)
{
    uint32_t n = 0;

    g_assert_cmphex(map->fm_flags, ==, FIEMAP_FLAG_SYNC);
    for (int i = map->fm_start / 4096; i < extent_count && n < map->fm_extent_count; i++) {
        if ((uint64_t)i * 4096 >= map->fm_start + map->fm_length) {
            break;
        }
        map->fm_extents[n++] = (struct fiemap_extent){
            .fe_logical = i * 4096,
            .fe_length = 4096,
            .fe_flags = (i == extent_number ? extent_flags : 0) |
                        (i == extent_count - 1 ? FIEMAP_EXTENT_LAST : 0),
        };
    }
    map->fm_mapped_extents = n;
    return 0;
}

static int fake_ioctl(int fd, unsigned long request, void *arg)
{
    if (request == FS_IOC_GETFLAGS) {
        *(int *)arg = attributes;
        return 0;
    }
    if (request == FS_IOC_FSGETXATTR) {
        *(struct fsxattr *)arg = (struct fsxattr){ .fsx_xflags = xflags };
        return 0;
    }
    if (request == FS_IOC_FIEMAP && has_fiemap) {
        return fake_fiemap(arg);
    }
    errno = EOPNOTSUPP;
    return -1;
}

static void put(const char *path, const char *text)
{
    g_autofree char *full = g_build_filename(root, path, NULL);
    g_autofree char *dir = g_path_get_dirname(full);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    g_assert_true(g_file_set_contents(full, text, -1, NULL));
}

/* Create device 1:@minor_nr with directory @path in sysfs. */
static void put_device(unsigned minor_nr, const char *path)
{
    g_autofree char *link = g_strdup_printf("%s/sys/dev/block/1:%u", root, minor_nr);
    g_autofree char *target = g_strdup_printf("%s/sys/%s", root, path);
    g_autofree char *dir = g_path_get_dirname(link);
    g_autofree char *dev_path = g_strdup_printf("sys/%s/dev", path);
    g_autofree char *dev = g_strdup_printf("1:%u\n", minor_nr);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    put(dev_path, dev);
    g_assert_cmpint(symlink(target, link), ==, 0);
}

static void put_slave(const char *path, const char *slave)
{
    g_autofree char *dir = g_strdup_printf("%s/sys/%s/slaves", root, path);
    g_autofree char *name = g_path_get_basename(slave);
    g_autofree char *link = g_build_filename(dir, name, NULL);
    g_autofree char *target = g_strdup_printf("%s/sys/%s", root, slave);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    g_assert_cmpint(symlink(target, link), ==, 0);
}

#define DISK "devices/pci/ata1/block/sda"
#define SSD "devices/pci/ata2/block/sdb"

static void setup(void)
{
    root = g_dir_make_tmp("test-file-erase-XXXXXX", NULL);
    erase_host = (EraseHost){
        .fstat = fake_fstat, .fstatfs = fake_fstatfs, .ioctl = fake_ioctl,
        .sysfs = g_build_filename(root, "sys", NULL), .proc = g_build_filename(root, "proc", NULL),
    };
    put("proc/cpuinfo", "flags\t\t: fpu sse\n");
    put("proc/swaps", "Filename Type Size Used Priority\n");
    put("proc/fs/ext4/sda/options", "rw\ndata=ordered\n");
    put("proc/fs/ext4/sda1/options", "rw\ndata=ordered\n");
    put_device(0, DISK);
    put("sys/" DISK "/queue/rotational", "1\n");
    put("sys/" DISK "/queue/zoned", "none\n");
    put_device(1, DISK "/sda1");
    put("sys/" DISK "/sda1/partition", "1\n");
    put_device(2, SSD);
    put("sys/" SSD "/queue/rotational", "0\n");
    put("sys/" SSD "/queue/zoned", "none\n");

    mode = S_IFREG;
    device = makedev(1, 1);
    fs_type = EXT4;
    attributes = 0;
    xflags = 0;
    extent_flags = 0;
    extent_number = -1;
    extent_count = 300;
    has_fiemap = true;
}

/* The range lies in the extents 10 to 259. */
static void expect(SecureEraseAssurance assurance, const char *note)
{
    BdrvEraseInfo info = { .notes = g_ptr_array_new_with_free_func(g_free) };
    bool found = false;

    erase_judge_fd(0, 10 * 4096, 250 * 4096, 0, &info);
    for (guint i = 0; i < info.notes->len; i++) {
        g_test_message("%s", (char *)g_ptr_array_index(info.notes, i));
        found |= strstr(g_ptr_array_index(info.notes, i), note) != NULL;
    }
    g_assert_cmpstr(SecureEraseAssurance_str(info.assurance), ==, SecureEraseAssurance_str(assurance));
    g_assert_true(found);
    g_ptr_array_unref(info.notes);
}

static void expect_device(unsigned minor_nr, SecureEraseAssurance assurance, const char *note)
{
    mode = S_IFBLK;
    device = makedev(1, minor_nr);
    expect(assurance, note);
}

static void test_extents(void)
{
    static const struct {
        uint32_t flags;
        SecureEraseAssurance assurance;
        const char *note;
    } cases[] = {
        { FIEMAP_EXTENT_SHARED, MAY_SURVIVE, "shared" },
        { FIEMAP_EXTENT_ENCODED, MAY_SURVIVE, "compressed" },
        { FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_DATA_ENCRYPTED, OVERWRITTEN, "in place" },
        { FIEMAP_EXTENT_DATA_INLINE, MAY_SURVIVE, "journal" },
        { FIEMAP_EXTENT_UNKNOWN, UNKNOWN, "does not tell where" },
        { FIEMAP_EXTENT_UNWRITTEN, OVERWRITTEN, "in place" },
    };

    setup();
    expect(OVERWRITTEN, "ext4: overwrites in place");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        extent_flags = cases[i].flags;
        extent_number = 10;         /* the first, one of the second batch, the last, then outside */
        expect(cases[i].assurance, cases[i].note);
        extent_number = 200;
        expect(cases[i].assurance, cases[i].note);
        extent_number = 259;
        expect(cases[i].assurance, cases[i].note);
        extent_number = 9;
        expect(OVERWRITTEN, "in place");
        extent_number = 260;
        expect(OVERWRITTEN, "in place");
    }
    extent_count = 0;               /* all of it a hole */
    expect(OVERWRITTEN, "in place");
    has_fiemap = false;
    expect(UNKNOWN, "does not tell whether extents are shared");
}

static void test_file_systems(void)
{
    setup();
    attributes = FS_JOURNAL_DATA_FL;
    expect(MAY_SURVIVE, "data=journal");
    attributes = 0;
    put("proc/fs/ext4/sda1/options", "rw\ndata=journal\n");
    expect(MAY_SURVIVE, "data=journal");
    device = makedev(1, 99);
    expect(UNKNOWN, "does not tell whether content goes through the journal");
    device = makedev(1, 1);

    fs_type = XFS;
    expect(OVERWRITTEN, "xfs: overwrites in place");
    xflags = FS_XFLAG_REALTIME;
    expect(UNKNOWN, "realtime");

    fs_type = BTRFS;
    expect(MAY_SURVIVE, "btrfs: writes new content elsewhere");
    attributes = FS_NOCOW_FL;
    expect(UNKNOWN, "copy-on-write is off");
    extent_number = 20;
    extent_flags = FIEMAP_EXTENT_SHARED;
    expect(UNKNOWN, "shared");
    extent_flags = 0;

    fs_type = TMPFS;
    expect(OVERWRITTEN, "there is no swap");
    put("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 100 0 -2\n");
    expect(MAY_SURVIVE, "swapped out");
    g_autofree char *swaps = g_build_filename(root, "proc/swaps", NULL);
    g_unlink(swaps);
    expect(UNKNOWN, "not known");

    static const struct {
        uint32_t type;
        SecureEraseAssurance assurance;
        const char *note;
    } others[] = {
        { 0x2fc12fc1, MAY_SURVIVE, "zfs" },       { 0xca451a4e, MAY_SURVIVE, "bcachefs" },
        { 0xf2f52010, MAY_SURVIVE, "f2fs" },      { 0x3434, MAY_SURVIVE, "nilfs2" },
        { 0x794c7630, MAY_SURVIVE, "overlayfs" }, { 0x6969, UNKNOWN, "nfs" },
        { 0x65735546, UNKNOWN, "fuse" },          { 0x01021997, UNKNOWN, "9p" },
        { 0x12345678, UNKNOWN, "0x12345678" },    { 0x4d44, OVERWRITTEN, "vfat" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        fs_type = others[i].type;
        expect(others[i].assurance, others[i].note);
    }
    mode = S_IFCHR;
    expect(UNKNOWN, "neither");
}

static void test_disks(void)
{
    setup();
    expect_device(0, OVERWRITTEN, "sda: disk, overwritten in place");
    expect_device(1, OVERWRITTEN, "sda: disk");
    expect_device(2, MAY_SURVIVE, "sdb: flash");
    expect_device(99, UNKNOWN, "could not be examined");

    put("sys/" DISK "/queue/zoned", "host-managed\n");
    expect_device(0, MAY_SURVIVE, "zoned");
    put("sys/" DISK "/queue/zoned", "none\n");
    put("sys/" DISK "/device/model", "QEMU HARDDISK\n");
    expect_device(0, UNKNOWN, "virtual machine");
    put("sys/" DISK "/device/model", "ST4000\n");
    put("proc/cpuinfo", "flags\t\t: fpu hypervisor sse\n");
    expect_device(0, UNKNOWN, "virtual machine");
    put("proc/cpuinfo", "");

    put_device(10, "devices/usb1/block/sdc");
    put("sys/devices/usb1/block/sdc/queue/rotational", "1\n");
    put("sys/devices/usb1/block/sdc/queue/zoned", "none\n");
    expect_device(10, UNKNOWN, "anything may stand");

    static const struct {
        const char *name;
        SecureEraseAssurance assurance;
    } others[] = {
        { "vda", UNKNOWN }, { "nbd0", UNKNOWN }, { "rbd0", UNKNOWN }, { "zd0", MAY_SURVIVE },
        { "bcache0", MAY_SURVIVE }, { "ram0", OVERWRITTEN }, { "zram0", UNKNOWN }, { "loop0", UNKNOWN },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autofree char *path = g_strdup_printf("devices/virtual/block/%s", others[i].name);

        put_device(20 + i, path);
        expect_device(20 + i, others[i].assurance, others[i].name);
    }
}

#define DM(n) "devices/virtual/block/dm-" n

static void test_mapped(void)
{
    setup();
    /* An LVM volume on an encrypted partition of the disk. */
    put_device(50, DM("0"));
    put("sys/" DM("0") "/dm/uuid", "CRYPT-LUKS2-0123-x\n");
    put("sys/" DM("0") "/dm/name", "x\n");
    put_slave(DM("0"), DISK "/sda1");
    put_device(51, DM("1"));
    put("sys/" DM("1") "/dm/uuid", "LVM-0123\n");
    put("sys/" DM("1") "/dm/name", "vg-lv\n");
    put_slave(DM("1"), DM("0"));
    expect_device(51, OVERWRITTEN, "dm-1 (vg-lv): LVM volume");
    expect_device(51, OVERWRITTEN, "dm-0 (x): encrypted");
    expect_device(51, OVERWRITTEN, "sda: disk");

    /* The same with flash below, too. */
    put_slave(DM("1"), SSD);
    expect_device(51, MAY_SURVIVE, "sdb: flash");

    static const struct {
        const char *suffix;
        SecureEraseAssurance assurance;
    } parts[] = {
        { "-tpool", MAY_SURVIVE }, { "-cow", MAY_SURVIVE }, { "-real", MAY_SURVIVE },
        { "-vpool", MAY_SURVIVE }, { "-cpool", MAY_SURVIVE }, { "", UNKNOWN },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *upper = g_strdup_printf(DM("1%zu"), i);
        g_autofree char *lower = g_strdup_printf(DM("2%zu"), i);
        g_autofree char *upper_uuid = g_strdup_printf("sys/%s/dm/uuid", upper);
        g_autofree char *lower_uuid = g_strdup_printf("sys/%s/dm/uuid", lower);
        g_autofree char *uuid = g_strdup_printf("LVM-4567%s\n", parts[i].suffix);

        put_device(60 + i, upper);
        put_device(70 + i, lower);
        put(upper_uuid, "LVM-4567\n");
        put(lower_uuid, uuid);
        put_slave(lower, DISK);
        put_slave(upper, lower);
        expect_device(60 + i, parts[i].assurance, "LVM");
    }

    /* Integrity has a journal; an unknown UUID may be anything. */
    put_device(80, DM("80"));
    put("sys/" DM("80") "/dm/uuid", "CRYPT-INTEGRITY-x\n");
    put_slave(DM("80"), DISK);
    expect_device(80, UNKNOWN, "mapped device");
    put_device(81, DM("81"));
    put_slave(DM("81"), DISK);
    expect_device(81, UNKNOWN, "mapped device");
    put_device(82, DM("82"));
    put("sys/" DM("82") "/dm/uuid", "CRYPT-PLAIN-x\n");
    expect_device(82, UNKNOWN, "what it stands on is not known");
    put_device(83, DM("83"));
    put("sys/" DM("83") "/dm/uuid", "part2-mpath-360\n");
    put_slave(DM("83"), DISK);
    expect_device(83, OVERWRITTEN, "multipath");

    /* An endless stack */
    put_device(84, DM("84"));
    put("sys/" DM("84") "/dm/uuid", "CRYPT-PLAIN-y\n");
    put_slave(DM("84"), DM("84"));
    expect_device(84, UNKNOWN, "too many layers");
}

static void test_arrays(void)
{
    setup();
    put_device(90, "devices/virtual/block/md0");
    put("sys/devices/virtual/block/md0/md/level", "raid1\n");
    put_slave("devices/virtual/block/md0", DISK);
    expect_device(90, OVERWRITTEN, "md0: raid1");
    put("sys/devices/virtual/block/md0/md/consistency_policy", "journal\n");
    expect_device(90, MAY_SURVIVE, "journal");
    put("sys/devices/virtual/block/md0/md/consistency_policy", "bitmap\n");
    put_slave("devices/virtual/block/md0", SSD);
    expect_device(90, MAY_SURVIVE, "flash");
    put("sys/devices/virtual/block/md0/md/level", "new\n");
    expect_device(90, UNKNOWN, "not known");
}

static void run(gconstpointer test)
{
    ((void (*)(void))test)();
    g_autofree char *cmd = g_strdup_printf("rm -rf %s", root);
    g_assert_true(g_spawn_command_line_sync(cmd, NULL, NULL, NULL, NULL));
    g_free((char *)erase_host.sysfs);
    g_free((char *)erase_host.proc);
    g_free(root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/erase/extents", test_extents, run);
    g_test_add_data_func("/erase/file-systems", test_file_systems, run);
    g_test_add_data_func("/erase/disks", test_disks, run);
    g_test_add_data_func("/erase/mapped", test_mapped, run);
    g_test_add_data_func("/erase/arrays", test_arrays, run);
    return g_test_run();
}
