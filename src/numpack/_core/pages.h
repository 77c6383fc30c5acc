#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef NUMPACK_PAGES_H
#define NUMPACK_PAGES_H

#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* The fields of `struct procmap_query` of Linux 6.11 (include/uapi/linux/fs.h), which may be
 * newer than the headers. */
struct numpack_mapping {
    uint64_t size, query_flags, query_addr;
    uint64_t start, end, flags, page_size, offset, inode;
    uint32_t major, minor, name_size, build_id_size;
    uint64_t name, build_id;
};

#ifdef __linux__
#include <sys/ioctl.h>
#include <sys/vfs.h>

/* Find the first mapping that ends after an address, by PROCMAP_QUERY on an open
 * /proc/self/maps: 1, 0 if there is none, -1 if this kernel does not say. */
static int
numpack_mapping_at(
    int maps, uint64_t address, struct numpack_mapping *found, char *name, uint32_t room)
{
    memset(found, 0, sizeof(*found));
    found->size = sizeof(*found);
    found->query_flags = 0x10; /* the one that covers the address, or the next */
    found->query_addr = address;
    found->name_size = room;
    found->name = (uintptr_t)name;
    name[0] = 0;
    if (ioctl(maps, _IOWR('f', 17, struct numpack_mapping), found) == 0) {
        return 1;
    }
    return errno == ENOENT ? 0 : -1;
}

/* The numbers of statfs(2): ext2 to ext4, and tmpfs. Others (xfs, btrfs, overlays, networks)
 * may copy a block on writing, or say later that there is no room. */
static int
numpack_is_written_in_place(int descriptor)
{
    struct statfs status;
    if (fstatfs(descriptor, &status) != 0) {
        return 0;
    }
    return status.f_type == 0xEF53 || status.f_type == 0x01021994;
}

/* Whether even reading a mapped page can find the file system full: tmpfs gives a hole a page of
 * its own when it is read through a mapping, but not when it is read by a call. */
static int
numpack_reading_takes_room(int descriptor, const struct stat *status, int64_t length)
{
    struct statfs system;
    return (int64_t)status->st_blocks * 512 < length && fstatfs(descriptor, &system) == 0 &&
           system.f_type == 0x01021994;
}

/* Where the first hole of a file is, from an offset on; its end if it has none. -1 if the file
 * system does not tell. */
static int64_t
numpack_first_hole(int descriptor, int64_t offset)
{
    return lseek(descriptor, offset, SEEK_HOLE);
}

/* Give a part of a file its blocks, without changing its size: 0, or the error. */
static int
numpack_allocate(int descriptor, int64_t offset, int64_t length)
{
    int result;
    do {
        result = fallocate(descriptor, FALLOC_FL_KEEP_SIZE, offset, length);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? errno : 0;
}
#else
static int
numpack_mapping_at(
    int maps, uint64_t address, struct numpack_mapping *found, char *name, uint32_t room)
{
    (void)maps, (void)address, (void)found, (void)name, (void)room;
    return -1;
}

static int
numpack_is_written_in_place(int descriptor)
{
    (void)descriptor;
    return 0;
}

static int
numpack_reading_takes_room(int descriptor, const struct stat *status, int64_t length)
{
    (void)descriptor, (void)status, (void)length;
    return 0;
}

static int64_t
numpack_first_hole(int descriptor, int64_t offset)
{
    (void)descriptor, (void)offset;
    return -1;
}

static int
numpack_allocate(int descriptor, int64_t offset, int64_t length)
{
    (void)descriptor, (void)offset, (void)length;
    return EOPNOTSUPP;
}
#endif

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/* Whether a page that /proc/self/pagemap describes differs from its file: bit 63 a page is
 * present, 62 swapped, 61 of a file (Linux, admin-guide/mm/pagemap). */
static int
numpack_is_modified(uint64_t entry)
{
    return (entry >> 62) != 0 && !(entry >> 61 & 1);
}

/* Pages of a file that are only read: private, so that any file system maps them, and not
 * writable, so that they take no memory of their own and always show the file. */
static void *
numpack_map_readable(size_t length, int descriptor)
{
    void *found = mmap(NULL, length, PROT_READ, MAP_PRIVATE, descriptor, 0);
    return found == MAP_FAILED ? NULL : found;
}

static void *
numpack_map_shared(size_t length, int descriptor)
{
    void *found = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return found == MAP_FAILED ? NULL : found;
}

/* Pages of the file until they are written. Without MAP_NORESERVE the size of the file would
 * count against the memory of the machine (proc(5), vm.overcommit_memory); where nothing is
 * ever overcommitted, a mapping that cannot be written takes none. */
static void *
numpack_map_private(void *address, size_t length, int descriptor)
{
    int flags = MAP_PRIVATE | MAP_NORESERVE | (address == NULL ? 0 : MAP_FIXED);
    void *found = mmap(address, length, PROT_READ | PROT_WRITE, flags, descriptor, 0);
    if (found == MAP_FAILED && address == NULL) {
        found = mmap(NULL, length, PROT_READ, MAP_PRIVATE, descriptor, 0);
    }
    return found == MAP_FAILED ? NULL : found;
}

#endif
